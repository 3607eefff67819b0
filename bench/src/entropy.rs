//! How many bytes facts need at the least: the logarithm of how many sets of sightings there are that look alike. Refuses
//! to hold: what a store takes for them.
//!
//! The terms, each of which a store must pay for in some way: which addresses are there, on which of the days each was
//! reached, by whom on each day, and at which seconds of the day by each. One source told everything, so sources
//! cost nothing.

use fleet::DeviceNumber;
use sighting::{Address, SECONDS_PER_DAY, Second};

/// The terms, in bits.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Entropy {
    /// The set of addresses among those between the least and the greatest of their family.
    addresses: f64,
    /// Each address's days.
    days: f64,
    /// The devices of each address and day.
    devices: f64,
    /// The seconds of each address, day and device.
    seconds: f64,
    facts: usize,
    /// (address, device, day) triples.
    device_days: usize,
    /// (address, device) pairs.
    pairs: usize,
}

/// An address and who reached it when.
type Fact = (u128, u32, u32);

/// Of a fleet of so many devices in so many days.
#[derive(Clone, Copy)]
pub(crate) struct Universe {
    pub(crate) devices: u32,
    pub(crate) days: u32,
}

impl Entropy {
    /// Of sightings in any order; repeats say nothing. Holds 32 bytes for each meanwhile.
    pub(crate) fn of(
        universe: Universe,
        sightings: impl Iterator<Item = (Address, DeviceNumber, Second)>,
    ) -> Entropy {
        let fact = |(address, device, second): (Address, DeviceNumber, Second)| {
            (u128::from_be_bytes(address.octets()), device.0, second.unix())
        };
        let mut facts: Vec<Fact> = sightings.map(fact).collect();
        // By address and day, then by device.
        facts.sort_unstable_by_key(|(address, device, second)| {
            (*address, second / SECONDS_PER_DAY, *device, *second)
        });
        facts.dedup();
        let mut entropy = Entropy { facts: facts.len(), ..Entropy::default() };
        let ipv4_ends = facts.partition_point(|(address, ..)| address >> 32 < 0xffff)
            ..facts.partition_point(|(address, ..)| address >> 32 <= 0xffff);
        for family in [&facts[..ipv4_ends.start], &facts[ipv4_ends.clone()], &facts[ipv4_ends.end..]] {
            entropy.add_family(universe, family);
        }
        entropy
    }

    fn add_family(&mut self, universe: Universe, facts: &[Fact]) {
        let (Some(least), Some(greatest)) = (facts.first(), facts.last()) else { return };
        let mut addresses = 0u64;
        for of_address in facts.chunk_by(|a, b| a.0 == b.0) {
            addresses += 1;
            let mut reached_by: Vec<u32> = of_address.iter().map(|(_, device, _)| *device).collect();
            reached_by.sort_unstable();
            reached_by.dedup();
            self.pairs += reached_by.len();
            let mut days = 0;
            for of_day in of_address.chunk_by(|a, b| a.2 / SECONDS_PER_DAY == b.2 / SECONDS_PER_DAY) {
                days += 1;
                let mut devices = 0;
                for of_device in of_day.chunk_by(|a, b| a.1 == b.1) {
                    devices += 1;
                    self.seconds += choices(f64::from(SECONDS_PER_DAY), of_device.len() as u64);
                }
                self.device_days += devices as usize;
                self.devices += choices(f64::from(universe.devices), devices);
            }
            self.days += choices(f64::from(universe.days), days);
        }
        self.addresses += choices((greatest.0 - least.0) as f64 + 1.0, addresses);
    }

    /// How many they are.
    pub(crate) fn facts(&self) -> usize {
        self.facts
    }

    /// What so many bytes come to for each (address, device, day) and each (address, device), for people.
    pub(crate) fn shares(&self, bytes: f64) -> String {
        format!(
            "{:.2} bytes for each of {} (address, device, day), {:.2} for each of {} (address, device)",
            bytes / self.device_days as f64,
            self.device_days,
            bytes / self.pairs as f64,
            self.pairs
        )
    }

    /// All of it, in bytes.
    pub(crate) fn bytes(&self) -> f64 {
        (self.addresses + self.days + self.devices + self.seconds) / 8.0
    }

    /// Each term in bits a sighting, for people.
    pub(crate) fn terms(&self, sightings: f64) -> String {
        let each = |bits: f64| bits / sightings;
        format!(
            "bits a sighting: {:.2} which addresses, {:.2} their days, {:.2} their devices, {:.2} their seconds",
            each(self.addresses),
            each(self.days),
            each(self.devices),
            each(self.seconds)
        )
    }
}

/// The logarithm to base 2 of how many ways there are to choose `k` of `n`, within a thousandth.
fn choices(n: f64, k: u64) -> f64 {
    if k as f64 >= n {
        return 0.0;
    }
    if k <= 32 {
        return (0..k).map(|one| ((n - one as f64) / (one as f64 + 1.0)).log2()).sum();
    }
    let (k, p) = (k as f64, k as f64 / n);
    if n - k <= 32.0 {
        return choices(n, (n - k) as u64);
    }
    // Stirling's formula, in a form that loses nothing where k is tiny beside n.
    let bits = -k * p.log2() - (n - k) * (-p).ln_1p() / std::f64::consts::LN_2;
    bits - 0.5 * (std::f64::consts::TAU * k * (1.0 - p)).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_counted() {
        let check = |n: u32, k: u64, wanted: f64| {
            let found = choices(f64::from(n), k);
            assert!(
                (found - wanted).abs() <= 0.001 * wanted.max(1.0),
                "{n} over {k}: {found} is not {wanted}"
            );
        };
        check(30, 1, 30f64.log2());
        check(30, 30, 0.0);
        check(52, 5, 2_598_960f64.log2());
        // 100 over 50 is about 1.00891e29; 1000 over 40, by logarithms of factorials, 5.5595e71.
        check(100, 50, 1.008_91e29f64.log2());
        check(100, 90, 1.731_03e13f64.log2());
        check(1_000, 40, (0..40).map(|i| (f64::from(1_000 - i) / f64::from(i + 1)).log2()).sum());
    }

    #[test]
    fn one_sighting_costs_what_there_was_to_choose_from() {
        let set = fleet::HotSet { rare_per_device_day: 0, ..fleet::hot_set(1, 1, 1) };
        let universe = Universe { devices: 1, days: 30 };
        let entropy = Entropy::of(universe, set.sightings());
        let wanted = (30f64.log2() + 86_400f64.log2()) / 8.0;
        assert!((entropy.bytes() - wanted).abs() < 0.01, "{entropy:?}, {wanted} bytes are wanted");
    }
}
