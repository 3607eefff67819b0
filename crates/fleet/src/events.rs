//! A fleet and the stream of its events, hour by hour, in order of arrival. Refuses to hold: more than one
//! hour's events and those still on their way (64 bytes each), and any table that grows with the days.

use std::iter::FusedIterator;

use sighting::{Address, Day, Second};

use crate::draw::Draw;
use crate::plan::Plan;
use crate::remote::Remotes;
use crate::shape::{BURST, Counts, HOUR_MICROS, Hour, Repeats, lag_micros};
use crate::{Delivery, DeviceNumber, Event, Kind, Role, Sensor, Settings};

/// Failed attempts for each opened connection, in 1/1000: 20 % of all attempts (measured: 6-36 %, mostly
/// 10-30 %).
const FAILED_PERMILLE: u32 = 250;
/// Of the failed attempts, those to addresses where nothing ever answers, in 1/1000 (assumed).
const DEAD_PERMILLE: u32 = 500;
/// Lines that are neither opened, failed nor inbound, for each opened connection, in 1/1000 (assumed).
const OTHER_PERMILLE: u32 = 40;
/// Lines that are delivered twice, in 1/1000 (assumed: 0.1-1 %).
const AGAIN_PERMILLE: u32 = 5;
/// Unasked connections a day: up to this many to a device inside, and to an exposed one (measured: 0-10,
/// 1,500-7,500).
const INBOUND_INSIDE: u32 = 10;
const INBOUND_EXPOSED: (u32, u32) = (1_500, 7_500);
/// The slots below this one are everyone's addresses.
const SLOTS_FROM: u32 = 64;

/// An organisation's devices and everything they do.
#[derive(Clone, Debug)]
pub struct Fleet {
    settings: Settings,
    devices: Draw,
    remotes: Remotes,
    counts_mde: Counts,
    counts_zeek: Counts,
}

impl Fleet {
    /// The organisation that follows from the settings.
    pub fn new(settings: Settings) -> Fleet {
        let settings = settings.clamped();
        Fleet {
            devices: Draw::root(settings.seed).of(0xde71ce),
            remotes: Remotes::new(&settings),
            counts_mde: Counts::new(Sensor::Mde, settings.thinning),
            counts_zeek: Counts::new(Sensor::Zeek, settings.thinning),
            settings,
        }
    }

    /// What it was made from, with every number inside its range.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every line of both sensors, in the order in which they arrive: nearly by time, with late lines. Lines
    /// that would arrive after `until` are not there. Cost: about an hour's events in memory.
    pub fn events(&self) -> Events<'_> {
        Events::new(self)
    }

    /// The opened connections only, in the same order.
    pub fn sightings(&self) -> impl Iterator<Item = (Address, DeviceNumber, Second)> + '_ {
        let opened = |event: Event| event.kind == Kind::Opened && event.delivery == Delivery::First;
        self.events()
            .filter(move |event| opened(*event))
            .map(|event| (event.remote, event.device, event.second))
    }

    /// Who reports of a device: the two sensors alternate by their shares.
    pub fn sensor(&self, device: DeviceNumber) -> Sensor {
        let reporting = |devices: u32| (f64::from(devices) * self.settings.mde_share) as u32;
        if reporting(device.0 + 1) > reporting(device.0) { Sensor::Mde } else { Sensor::Zeek }
    }

    /// An address with a rich answer: every device reaches it on every day on which it is on.
    pub fn rich_address(&self) -> Address {
        self.remotes.rich()
    }

    /// An address with a small answer: reached three times, by device 0 twice and by device 1 (where there is
    /// one) once.
    pub fn rare_address(&self) -> Address {
        Address::from(std::net::Ipv4Addr::new(198, 51, 100, 23))
    }

    /// An address that no line of any fleet holds.
    pub fn unseen_address(&self) -> Address {
        Address::from(std::net::Ipv4Addr::new(192, 0, 2, 99))
    }

    /// Who reaches the rare address, and when: spread over the days, and never in the last lines that may be
    /// missing.
    fn rare_contacts(&self) -> [(DeviceNumber, Second); 3] {
        let span = u64::from(self.settings.days) * u64::from(sighting::SECONDS_PER_DAY);
        let other = DeviceNumber(1.min(self.settings.devices - 1));
        let before = |part: u64| self.settings.until.minus(span / part);
        [(DeviceNumber(0), before(2)), (other, before(3)), (DeviceNumber(0), before(4))]
    }

    fn counts(&self, sensor: Sensor) -> &Counts {
        match sensor {
            Sensor::Mde => &self.counts_mde,
            Sensor::Zeek => &self.counts_zeek,
        }
    }
}

/// The lines of a fleet in order of arrival; see [`Fleet::events`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    fleet: &'a Fleet,
    /// Hours since 1970, UTC: the next one to make, and the last.
    hour: u32,
    hour_last: u32,
    planned: Option<Day>,
    plans: Vec<Plan>,
    /// Made, but arriving later; sorted at every hour.
    pending: Vec<Line>,
    arrived: std::vec::IntoIter<Line>,
}

/// An event on its way to the file.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Microseconds since 1970.
    arrival: u64,
    event: Event,
}

impl<'a> Events<'a> {
    fn new(fleet: &'a Fleet) -> Events<'a> {
        Events {
            fleet,
            hour: fleet.settings.since().unix() / sighting::SECONDS_PER_HOUR,
            hour_last: fleet.settings.until.unix() / sighting::SECONDS_PER_HOUR,
            planned: None,
            plans: Vec::new(),
            pending: Vec::new(),
            arrived: Vec::new().into_iter(),
        }
    }

    fn plan(&mut self, day: Day) {
        let fleet = self.fleet;
        let plan = |number| {
            let draw = fleet.devices.of(u64::from(number));
            Plan::of(&fleet.settings, &fleet.remotes, DeviceNumber(number), draw, day)
        };
        self.plans.clear();
        self.plans.extend((0..fleet.settings.devices).map(plan));
        self.planned = Some(day);
    }

    /// Makes the next hour's events and takes from the pending ones those that arrive in it.
    fn make_hour(&mut self) {
        let start = Second::new(self.hour * sighting::SECONDS_PER_HOUR);
        if self.planned != Some(start.day()) {
            self.plan(start.day());
        }
        let mut maker = HourMaker::new(self.fleet, start, std::mem::take(&mut self.pending));
        maker.make(&self.plans);
        self.pending = maker.lines;
        // Arrival decides; the rest only makes the order the same on every machine.
        self.pending.sort_unstable_by_key(|line| (line.arrival, line.event.device, line.event.noise));
        let end = micros_of(start) + HOUR_MICROS;
        let on_time = self.pending.partition_point(|line| line.arrival < end);
        let later = self.pending.split_off(on_time);
        self.arrived = std::mem::replace(&mut self.pending, later).into_iter();
        self.hour += 1;
    }
}

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(line) = self.arrived.next() {
                return Some(line.event);
            }
            if self.hour > self.hour_last {
                return None;
            }
            self.make_hour();
        }
    }
}

impl FusedIterator for Events<'_> {}

fn micros_of(second: Second) -> u64 {
    u64::from(second.unix()) * 1_000_000
}

/// Makes every event of one hour.
struct HourMaker<'a> {
    fleet: &'a Fleet,
    start: Second,
    day: Day,
    /// Microseconds since 1970, both inclusive.
    earliest: u64,
    latest: u64,
    lines: Vec<Line>,
}

/// The device whose events are made, with what is asked of it again and again.
#[derive(Clone, Copy)]
struct Current {
    device: DeviceNumber,
    sensor: Sensor,
    draw: Draw,
    today: Draw,
}

impl<'a> HourMaker<'a> {
    fn new(fleet: &'a Fleet, start: Second, lines: Vec<Line>) -> HourMaker<'a> {
        HourMaker {
            fleet,
            start,
            day: start.day(),
            earliest: micros_of(fleet.settings.since()),
            latest: micros_of(fleet.settings.until) + 999_999,
            lines,
        }
    }

    fn make(&mut self, plans: &[Plan]) {
        let of_day = (self.start.of_day() / sighting::SECONDS_PER_HOUR) as usize;
        let hours = [Role::Workstation, Role::Server, Role::Idle].map(|role| Hour::of(role, of_day));
        for (number, plan) in plans.iter().enumerate() {
            let device = DeviceNumber(number as u32);
            let draw = self.fleet.devices.of(number as u64);
            let today = draw.of(u64::from(self.day.number())).of(3);
            let current = Current { device, sensor: self.fleet.sensor(device), draw, today };
            self.opened(current, *plan, hours[device.role() as usize]);
            self.inbound(current);
        }
        self.rare();
    }

    /// The connections that a device opens in this hour, with the failures and other lines beside them.
    fn opened(&mut self, current: Current, plan: Plan, hour: Hour) {
        let fleet = self.fleet;
        let counts = fleet.counts(current.sensor);
        let mut pair = |slot: u32| {
            let draw = current.today.of(u64::from(slot));
            let repeats = Repeats::new(draw.bits() as u32, counts.count(draw));
            repeats.in_hour(hour, |index, micros| self.connection(current, slot, draw, index, micros));
        };
        let mut everyone = plan.everyone;
        while everyone != 0 {
            pair(everyone.trailing_zeros());
            everyone &= everyone - 1;
        }
        (SLOTS_FROM..SLOTS_FROM + u32::from(plan.slots)).for_each(&mut pair);
    }

    fn connection(&mut self, current: Current, slot: u32, pair: Draw, index: u32, micros: u64) {
        let remote = if slot < SLOTS_FROM {
            self.fleet.remotes.everyone(slot)
        } else {
            self.fleet.remotes.slot(current.device, current.draw, slot, self.day)
        };
        let draw = pair.of(100 + u64::from(index));
        // A burst's later connections follow within a minute; the first one's microseconds are made odd.
        let follow = u64::from(index % BURST) * (1_000_000 + u64::from(draw.of(1).below(49_000_000)));
        let at = micros_of(self.start) + micros + follow + draw.bits() % 20;
        self.push(current, Kind::Opened, remote, at, draw);
        if draw.of(2).permille(FAILED_PERMILLE) {
            let failed = draw.of(3);
            let remote =
                if failed.permille(DEAD_PERMILLE) { self.fleet.remotes.dead(failed) } else { remote };
            self.push(current, Kind::Failed, remote, at + u64::from(failed.of(1).below(3_000_000)), failed);
        }
        if draw.of(4).permille(OTHER_PERMILLE) {
            let other = draw.of(5);
            self.push(current, Kind::Other, other_remote(current, remote, other), at, other);
        }
    }

    /// Connections that nobody here asked for.
    fn inbound(&mut self, current: Current) {
        let usual = current.draw.of(u64::MAX - 2);
        let daily = if current.device.is_exposed() {
            INBOUND_EXPOSED.0 + usual.below(INBOUND_EXPOSED.1 - INBOUND_EXPOSED.0)
        } else {
            usual.below(INBOUND_INSIDE + 1)
        };
        let draw = current.today.of(1 << 32 | u64::from(self.start.unix()));
        let count = f64::from(daily) * self.fleet.settings.thinning / 24.0 + draw.unit();
        for index in 0..count as u64 {
            let draw = draw.of(index);
            let remote = self.fleet.remotes.scanner(draw.of(1));
            let at = micros_of(self.start) + (draw.of(2).bits() >> 32) * HOUR_MICROS / (1 << 32);
            self.push(current, Kind::Inbound, remote, at, draw);
        }
    }

    /// The contacts of the rare address that fall in this hour; their lines are never late.
    fn rare(&mut self) {
        for (device, second) in self.fleet.rare_contacts() {
            if second.unix() / sighting::SECONDS_PER_HOUR != self.start.unix() / sighting::SECONDS_PER_HOUR {
                continue;
            }
            let draw = self.fleet.devices.of(1 << 40 | u64::from(second.unix()));
            let event = Event {
                remote: self.fleet.rare_address(),
                second,
                micros: draw.below(1_000_000),
                device,
                sensor: self.fleet.sensor(device),
                kind: Kind::Opened,
                delivery: Delivery::First,
                row_bytes: self.fleet.settings.mde_row_bytes,
                lag_micros: 20_000_000,
                noise: draw.bits(),
            };
            self.lines.push(Line { arrival: micros_of(second) + event.lag_micros, event });
        }
    }

    /// Adds a line, and once more if it is delivered again, unless the time is over before it arrives.
    fn push(&mut self, current: Current, kind: Kind, remote: Address, at: u64, draw: Draw) {
        if at < self.earliest || at > self.latest {
            return;
        }
        let late = draw.of(10);
        let event = Event {
            remote,
            second: Second::new((at / 1_000_000) as u32),
            micros: (at % 1_000_000) as u32,
            device: current.device,
            sensor: current.sensor,
            kind,
            delivery: Delivery::First,
            row_bytes: self.fleet.settings.mde_row_bytes,
            lag_micros: lag_micros(current.sensor, late),
            noise: draw.bits(),
        };
        let arrival = at + event.lag_micros;
        self.arrive(arrival, event);
        if late.of(3).permille(AGAIN_PERMILLE) {
            // Half a minute to half an hour later.
            let again = arrival + 30_000_000 + u64::from(late.of(4).below(1_770_000_000));
            self.arrive(again, Event { delivery: Delivery::Again, ..event });
        }
    }

    fn arrive(&mut self, arrival: u64, event: Event) {
        if arrival <= self.latest {
            self.lines.push(Line { arrival, event });
        }
    }
}

/// The remote of a line that is neither opened, failed nor inbound.
fn other_remote(current: Current, remote: Address, draw: Draw) -> Address {
    match (current.sensor, OtherSort::of(draw.bits())) {
        (Sensor::Mde, OtherSort::Quiet) => Address::from(std::net::Ipv6Addr::UNSPECIFIED),
        (Sensor::Zeek, OtherSort::Quiet) if remote.is_v4() => {
            Address::from(std::net::Ipv4Addr::new(224, 0, 0, 251))
        }
        (Sensor::Zeek, OtherSort::Quiet) => {
            Address::from(std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb))
        }
        _ => remote,
    }
}

/// Sorts of lines that are neither opened, failed nor inbound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OtherSort {
    /// MDE: a socket listens, without a remote. Zeek: a multicast that nobody answers.
    Quiet,
    /// MDE: a packet was inspected. Zeek: a flow without its beginning.
    Partial,
    /// MDE: a SYN was seen on the wire. Zeek: ICMP.
    Wire,
}

impl OtherSort {
    /// The sort that an event's noise says.
    pub(crate) const fn of(noise: u64) -> OtherSort {
        match noise >> 60 {
            0..4 => OtherSort::Quiet,
            4..12 => OtherSort::Partial,
            _ => OtherSort::Wire,
        }
    }
}
