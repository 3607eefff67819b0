//! The figures of a fleet's lines, computed in the way in which those of the real captures were.

use std::collections::{HashMap, HashSet};

use seenby_fleet::{Delivery, DeviceNumber, Event, Fleet, Kind, Role, Sensor};
use sighting::{Address, Day};

type Pairs = HashMap<(Day, DeviceNumber), HashMap<Address, u32>>;

/// Everything that is counted in one walk over a fleet's lines.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) lines: [u64; 2],
    pub(crate) kinds: HashMap<Kind, u64>,
    pub(crate) again: u64,
    pub(crate) opened_v6: u64,
    late: [[u64; 3]; 2],
    newest: [u64; 2],
    /// Opened connections of each device-day by address.
    pub(crate) pairs: Pairs,
    pub(crate) hours: [u64; 24],
    pub(crate) by_day: HashMap<Day, u64>,
    /// Distinct (device, address, hour) and (device, address, minute) of Zeek workstations.
    triples: HashSet<(DeviceNumber, Address, u32)>,
    minutes: HashSet<(DeviceNumber, Address, u32)>,
}

impl Figures {
    pub(crate) fn of(fleet: &Fleet) -> Figures {
        let mut figures = Figures::default();
        fleet.events().for_each(|event| figures.add(&event));
        figures
    }

    fn add(&mut self, event: &Event) {
        let sensor = usize::from(event.sensor == Sensor::Zeek);
        self.lines[sensor] += 1;
        *self.kinds.entry(event.kind).or_default() += 1;
        self.again += u64::from(event.delivery == Delivery::Again);
        let at = u64::from(event.second.unix()) * 1_000_000 + u64::from(event.micros);
        self.newest[sensor] = self.newest[sensor].max(at);
        let late = self.newest[sensor] - at;
        for (count, bound) in self.late[sensor].iter_mut().zip([1_000_000, 60_000_000, 3_600_000_000]) {
            *count += u64::from(late > bound);
        }
        if event.kind == Kind::Opened && event.delivery == Delivery::First {
            self.add_opened(event);
        }
    }

    fn add_opened(&mut self, event: &Event) {
        self.opened_v6 += u64::from(!event.remote.is_v4());
        let day = event.second.day();
        *self.pairs.entry((day, event.device)).or_default().entry(event.remote).or_default() += 1;
        if event.device.role() != Role::Workstation {
            return;
        }
        self.hours[(event.second.of_day() / 3600) as usize] += 1;
        *self.by_day.entry(day).or_default() += 1;
        if event.sensor == Sensor::Zeek {
            self.triples.insert((event.device, event.remote, event.second.unix() / 3600));
            self.minutes.insert((event.device, event.remote, event.second.unix() / 60));
        }
    }

    /// Shares of a sensor's lines that are late by over a second, a minute, an hour.
    pub(crate) fn late(&self, sensor: Sensor) -> [f64; 3] {
        let sensor = usize::from(sensor == Sensor::Zeek);
        self.late[sensor].map(|count| count as f64 / self.lines[sensor] as f64)
    }

    pub(crate) fn kind(&self, kind: Kind) -> f64 {
        self.kinds.get(&kind).copied().unwrap_or(0) as f64
    }

    /// Distinct addresses of each device-day of these roles on a day, ascending.
    pub(crate) fn pairs_per_device(&self, day: Day, role: Role) -> Vec<usize> {
        let of_day = self.pairs.iter().filter(|((on, device), _)| *on == day && device.role() == role);
        let mut counts: Vec<usize> = of_day.map(|(_, addresses)| addresses.len()).collect();
        counts.sort_unstable();
        counts
    }

    /// How many devices reached each address on a day.
    pub(crate) fn prevalences(&self, day: Day) -> HashMap<Address, u32> {
        let mut prevalences = HashMap::new();
        for ((on, _), addresses) in &self.pairs {
            if *on == day {
                addresses.keys().for_each(|address| *prevalences.entry(*address).or_default() += 1);
            }
        }
        prevalences
    }

    /// Of a workstation-day's addresses, those that at most so many devices reached: the mean over
    /// workstations.
    pub(crate) fn nearly_unique(&self, day: Day, devices: u32) -> f64 {
        let prevalences = self.prevalences(day);
        let shares: Vec<f64> = self
            .pairs
            .iter()
            .filter(|((on, device), _)| *on == day && device.role() == Role::Workstation)
            .map(|(_, own)| {
                own.keys().filter(|address| prevalences[address] <= devices).count() as f64 / own.len() as f64
            })
            .collect();
        mean(&shares)
    }

    /// Of each workstation's addresses of one day, the share that it reaches on another one too: mean, 10th,
    /// 90th percentile.
    pub(crate) fn persistence(&self, day: Day, later: Day) -> (f64, f64, f64) {
        let kept = |((on, device), addresses): (&(Day, DeviceNumber), &HashMap<Address, u32>)| {
            let then = self.pairs.get(&(later, *device))?;
            (*on == day && device.role() == Role::Workstation).then(|| {
                addresses.keys().filter(|address| then.contains_key(address)).count() as f64
                    / addresses.len() as f64
            })
        };
        let mut shares: Vec<f64> = self.pairs.iter().filter_map(kept).collect();
        shares.sort_by(f64::total_cmp);
        (mean(&shares), shares[shares.len() / 10], shares[shares.len() * 9 / 10])
    }

    /// Connections per pair and day by a sensor: mean, median, 90th, 99th percentile.
    pub(crate) fn repeats(&self, fleet: &Fleet, sensor: Sensor) -> (f64, u32, u32, u32) {
        let mut counts: Vec<u32> = self
            .pairs
            .iter()
            .filter(|((_, device), _)| fleet.sensor(*device) == sensor)
            .flat_map(|(_, addresses)| addresses.values().copied())
            .collect();
        counts.sort_unstable();
        let mean = counts.iter().map(|count| f64::from(*count)).sum::<f64>() / counts.len() as f64;
        let at = |percent: usize| counts[counts.len() * percent / 100];
        (mean, at(50), at(90), at(99))
    }

    /// Connections of Zeek workstations for each distinct (device, address) in an hour, and in a minute.
    pub(crate) fn duplication(&self, fleet: &Fleet) -> (f64, f64) {
        let of_zeek =
            |device: DeviceNumber| fleet.sensor(device) == Sensor::Zeek && device.role() == Role::Workstation;
        let opened: u32 = self
            .pairs
            .iter()
            .filter(|((_, device), _)| of_zeek(*device))
            .flat_map(|(_, addresses)| addresses.values())
            .sum();
        (f64::from(opened) / self.triples.len() as f64, f64::from(opened) / self.minutes.len() as f64)
    }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
