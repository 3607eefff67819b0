//! The extreme that look-ups are judged by: one address that every device reaches on nearly every day, in a
//! universe of addresses that one device reaches once. Refuses to hold: realism (`Fleet`), text, and memory:
//! a day's sightings are counted out, not stored.

use std::net::{Ipv4Addr, Ipv6Addr};

use sighting::{Address, Day, SECONDS_PER_DAY, Second};

use crate::draw::Draw;
use crate::{Delivery, DeviceNumber, Event, Kind, Sensor, Settings};

/// One hot address and many rare ones; see [`hot_set`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HotSet {
    /// Everything follows from it.
    pub seed: u64,
    /// Every one of them reaches the hot address.
    pub devices: u32,
    /// UTC days, whole ones, the last of which is `last_day`.
    pub days: u32,
    /// The newest day.
    pub last_day: Day,
    /// Rare addresses that a device reaches on a day, each once and by nobody else.
    pub rare_per_device_day: u32,
}

/// Devices that reach the hot address on a day, in 1/1000: 60-100 % of a fleet reach what everyone reaches.
const HOT_PERMILLE: u32 = 900;
/// From a connection to its line's arrival.
const LAG_MICROS: u64 = 20_000_000;

/// One address with exactly `devices` devices over `days` whole UTC days, and one rare address for every
/// device and day.
pub fn hot_set(seed: u64, devices: u32, days: u32) -> HotSet {
    HotSet { seed, devices, days, last_day: Settings::default().until.day(), rare_per_device_day: 1 }
}

impl HotSet {
    /// The hot address.
    pub fn hot(&self) -> Address {
        Address::from(Ipv4Addr::new(203, 0, 113, 200))
    }

    /// An address that nobody reaches.
    pub fn unseen(&self) -> Address {
        Address::from(Ipv4Addr::new(192, 0, 2, 99))
    }

    /// The rare address that a device reaches on one of the days (0 is the oldest): `nth` below
    /// `rare_per_device_day`.
    pub fn rare(&self, device: DeviceNumber, day: u32, nth: u32) -> Address {
        let of_days = u64::from(day) * u64::from(self.devices) + u64::from(device.0);
        let number = of_days * u64::from(self.rare_per_device_day) + u64::from(nth);
        // One in five is IPv6, which holds the number itself; IPv4 ones are a bijection of it below 2^28.
        if Draw::root(self.seed).of(number).permille(200) {
            return Address::from(Ipv6Addr::from(0x3fff << 112 | u128::from(number)));
        }
        Address::from(Ipv4Addr::from(16 << 24 | (number as u32).wrapping_mul(0x9e37_79b1) & 0x0fff_ffff))
    }

    /// Every sighting, day by day, in no order within a day.
    pub fn sightings(self) -> impl Iterator<Item = (Address, DeviceNumber, Second)> {
        (0..self.days).flat_map(move |day| {
            (0..self.devices).flat_map(move |device| self.of_device_day(DeviceNumber(device), day))
        })
    }

    /// The events of which [`HotSet::sightings`] are what counts, as Defender reports them in rows of so many bytes.
    pub fn events(self, row_bytes: u16) -> impl Iterator<Item = Event> {
        self.sightings().zip(0..).map(move |((remote, device, second), number)| {
            let draw = Draw::root(self.seed).of(u64::MAX).of(number);
            Event {
                remote,
                second,
                micros: draw.below(1_000_000),
                device,
                sensor: Sensor::Mde,
                kind: Kind::Opened,
                delivery: Delivery::First,
                row_bytes,
                lag_micros: LAG_MICROS,
                noise: draw.bits(),
            }
        })
    }

    fn of_device_day(
        self,
        device: DeviceNumber,
        day: u32,
    ) -> impl Iterator<Item = (Address, DeviceNumber, Second)> {
        let draw = Draw::root(self.seed).of(u64::from(day)).of(u64::from(device.0));
        let first = self.last_day.first().minus(u64::from(self.days - 1 - day) * u64::from(SECONDS_PER_DAY));
        let second = move |nth: u64| first.plus(u64::from(draw.of(nth).below(SECONDS_PER_DAY)));
        // Every device is there on the day that is its number, so none is missing altogether.
        let is_hot = draw.of(u64::MAX - 1).permille(HOT_PERMILLE) || device.0 % self.days == day;
        let hot = is_hot.then(|| (self.hot(), device, second(0)));
        let rare = move |nth| (self.rare(device, day, nth), device, second(1 + u64::from(nth)));
        hot.into_iter().chain((0..self.rare_per_device_day).map(rare))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn one_is_hot_and_the_others_are_rare() {
        let set = HotSet { rare_per_device_day: 3, ..hot_set(1, 500, 7) };
        let mut devices: HashMap<Address, HashSet<DeviceNumber>> = HashMap::new();
        for (address, device, second) in set.sightings() {
            devices.entry(address).or_default().insert(device);
            let day = second.day().number();
            assert!((set.last_day.number() - 6..=set.last_day.number()).contains(&day));
        }
        assert_eq!(devices.remove(&set.hot()).map(|devices| devices.len()), Some(500));
        assert_eq!(devices.len(), 500 * 7 * 3, "every rare address is another one");
        assert!(devices.values().all(|devices| devices.len() == 1));
        assert!(
            devices.contains_key(&set.rare(DeviceNumber(17), 3, 2)) && !devices.contains_key(&set.unseen())
        );
    }

    #[test]
    fn events_are_the_sightings() {
        let set = hot_set(1, 50, 3);
        assert!(set.sightings().eq(set.events(600).map(|event| (event.remote, event.device, event.second))));
    }
}
