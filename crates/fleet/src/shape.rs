//! When, how often and how late: the distributions over a day, over a pair's repeats and over a line's way to
//! the file. Refuses to hold: who reaches which address (`plan`, `remote`).
//!
//! Activity is measured in 2^32 parts of a device's day, so that an hour is an interval of activity and
//! repeats can be found in any hour without walking the day.

use crate::draw::{Draw, ln, pow};
use crate::{Role, Sensor};

/// Share of a workstation's day in each UTC hour, in 1/1000: nine busy hours, peak three times the mean
/// (measured: 8-9 busy hours, peak 2-6 times the mean).
const OFFICE_HOURS: [u64; 24] =
    [4, 4, 4, 4, 4, 4, 6, 14, 80, 116, 132, 122, 88, 102, 122, 106, 64, 6, 4, 4, 2, 2, 4, 2];

/// Activity in a day.
pub(crate) const DAY_PARTS: u64 = 1 << 32;
/// Microseconds in an hour.
pub(crate) const HOUR_MICROS: u64 = 3_600_000_000;

/// The part of a day's activity that lies in one hour: `start .. start + width`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hour {
    start: u64,
    width: u64,
}

impl Hour {
    /// The activity of an hour of the day, 0 to 23, for a device of this role.
    pub(crate) fn of(role: Role, hour: usize) -> Hour {
        let until = |hour: usize| match role {
            Role::Workstation => OFFICE_HOURS[..hour].iter().sum::<u64>() * DAY_PARTS / 1_000,
            Role::Server | Role::Idle => hour as u64 * DAY_PARTS / 24,
        };
        Hour { start: until(hour), width: until(hour + 1) - until(hour) }
    }

    /// Microseconds into the hour at a point of activity inside it.
    fn micros(self, at: u64) -> u64 {
        (at - self.start) * HOUR_MICROS / self.width
    }
}

/// The connections of one device to one address on one day: bursts of two at equal steps of activity, from a
/// first one, past midnight back to the morning, once around at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeats {
    first: u64,
    step: u64,
    count: u32,
}

/// Connections in a burst; with the step below this gives 2 to 3 an hour and 1.4 a minute (measured: 1.4 to
/// 5.2 and 1.1 to 2.3 in the captures of workstations).
pub(crate) const BURST: u32 = 2;
/// Activity from burst to burst of a pair with few of them: 8 % of the day.
const STEP: u64 = DAY_PARTS * 8 / 100;

impl Repeats {
    pub(crate) fn new(first: u32, count: u32) -> Repeats {
        let bursts = u64::from(count.div_ceil(BURST));
        Repeats { first: u64::from(first), step: STEP.min(DAY_PARTS / bursts.max(1)), count }
    }

    /// Calls back with every connection of an hour: which one it is, and its microseconds into the hour.
    pub(crate) fn in_hour(self, hour: Hour, mut emit: impl FnMut(u32, u64)) {
        if self.count <= BURST {
            if self.first.wrapping_sub(hour.start) < hour.width {
                self.burst(hour, 0, &mut emit);
            }
            return;
        }
        let from = (hour.start + DAY_PARTS - self.first) % DAY_PARTS;
        let to = from + hour.width;
        self.bursts_between(hour, from, to.min(DAY_PARTS), &mut emit);
        self.bursts_between(hour, 0, to.saturating_sub(DAY_PARTS), &mut emit);
    }

    /// The bursts whose activity after the first one lies in `from .. to`.
    fn bursts_between(self, hour: Hour, from: u64, to: u64, emit: &mut impl FnMut(u32, u64)) {
        let bursts = u64::from(self.count.div_ceil(BURST));
        for burst in from.div_ceil(self.step)..to.div_ceil(self.step).min(bursts) {
            self.burst(hour, burst, emit);
        }
    }

    fn burst(self, hour: Hour, burst: u64, emit: &mut impl FnMut(u32, u64)) {
        let micros = hour.micros((self.first + burst * self.step) % DAY_PARTS);
        let index = burst as u32 * BURST;
        for index in index..(index + BURST).min(self.count) {
            emit(index, micros);
        }
    }
}

/// How many connections a pair has in a day: `P(at least k) = k^-exponent`, cut off, then thinned.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// `at_least[k - 2]` is the chance of k or more, in 2^32 parts; falling.
    at_least: Vec<u32>,
    /// In 2^16 parts.
    thinning: u64,
}

/// The most connections of a pair in a day (measured maxima: 500 to 1,900).
const COUNT_MAX: u32 = 1_000;

impl Counts {
    /// The tail that fits a sensor: mean 5, 90th percentile 7, 99th 55 for Zeek (measured: 5, 5-12, 25-109);
    /// mean 1.3 for MDE (assumed: it forwards equal connects once in 24 h).
    pub(crate) fn new(sensor: Sensor, thinning: f64) -> Counts {
        let exponent = match sensor {
            Sensor::Mde => 2.6,
            Sensor::Zeek => 1.15,
        };
        let chance = |k: u32| (pow(f64::from(k), -exponent) * DAY_PARTS as f64) as u32;
        Counts { at_least: (2..=COUNT_MAX).map(chance).collect(), thinning: (thinning * 65_536.0) as u64 }
    }

    pub(crate) fn count(&self, draw: Draw) -> u32 {
        let part = (draw.bits() >> 32) as u32;
        if part >= self.at_least[0] {
            return 1;
        }
        let extra = self.at_least.partition_point(|chance| *chance > part) as u64;
        let rounding = draw.of(1).bits() & 0xffff;
        1 + ((extra * self.thinning + rounding) >> 16) as u32
    }
}

/// Ranks by popularity: chance proportional to `rank^-0.97` (measured exponents: 0.84 to 1.23, mostly 0.95 to
/// 1.0).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Popularity {
    /// `universe^(1 - exponent) - 1`.
    span: f64,
    universe: f64,
}

const POPULARITY_EXPONENT: f64 = 0.97;
/// Addresses of the common universe: this many times devices^0.7 (the growth and the factor are assumed).
const UNIVERSE_FACTOR: f64 = 160.0;

impl Popularity {
    pub(crate) fn new(devices: u32) -> Popularity {
        let universe = UNIVERSE_FACTOR * pow(f64::from(devices), 0.7);
        Popularity { span: pow(universe, 1.0 - POPULARITY_EXPONENT) - 1.0, universe }
    }

    /// A rank from 0, by inverting the continuous distribution.
    pub(crate) fn rank(&self, draw: Draw) -> u64 {
        let x = pow(1.0 + draw.unit() * self.span, 1.0 / (1.0 - POPULARITY_EXPONENT));
        debug_assert!(ln(x) >= 0.0);
        x.min(self.universe) as u64 - 1
    }
}

/// MDE rows are never there sooner: 0.3 minutes (measured lag: 0.3 to 40 minutes).
const MDE_LAG_MICROS: u64 = 18_000_000;

/// Microseconds from a connection to its line: 45 % above 1 s, 14 % above 60 s (to 40 minutes), 0.1 % above 1
/// h (to 18 h). Measured over files: 30-60 %, 6-23 %, 0.01-0.3 %, at most 18 h.
pub(crate) fn lag_micros(sensor: Sensor, draw: Draw) -> u64 {
    const SECOND: u64 = 1_000_000;
    let lag = match draw.of(0).below(1_000) {
        0..550 => octaves(draw, SECOND >> 10, SECOND),
        550..860 => octaves(draw, SECOND, 60 * SECOND),
        860..999 => octaves(draw, 60 * SECOND, 2_400 * SECOND),
        _ => octaves(draw, 3_600 * SECOND, 18 * 3_600 * SECOND),
    };
    match sensor {
        Sensor::Mde => MDE_LAG_MICROS + lag,
        Sensor::Zeek => lag,
    }
}

/// Between two bounds, every doubling as likely as the next; the last one is cut off at `to`.
fn octaves(draw: Draw, from: u64, to: u64) -> u64 {
    let doublings = (to / from).ilog2() + 1;
    let octave = from << draw.of(1).below(doublings);
    let within = draw.of(2).bits() >> 44;
    octave + ((octave.min(to - octave) * within) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repeat_falls_in_exactly_one_hour() {
        for count in [1, 2, 3, 7, 25, 26, 1_000] {
            for role in [Role::Workstation, Role::Server] {
                for seed in 0..50 {
                    let repeats = Repeats::new(Draw::root(seed).bits() as u32, count);
                    let mut seen: Vec<u32> = Vec::new();
                    for hour in 0..24 {
                        repeats.in_hour(Hour::of(role, hour), |index, micros| {
                            assert!(micros < HOUR_MICROS);
                            seen.push(index);
                        });
                    }
                    seen.sort_unstable();
                    assert!(seen.iter().copied().eq(0..count), "{count} {seed}: {seen:?}");
                }
            }
        }
    }

    #[test]
    fn hours_make_a_day() {
        assert_eq!(OFFICE_HOURS.iter().sum::<u64>(), 1_000);
        for role in [Role::Workstation, Role::Server] {
            assert_eq!((0..24).map(|hour| Hour::of(role, hour).width).sum::<u64>(), DAY_PARTS);
        }
        let peak = OFFICE_HOURS.iter().max().expect("not empty");
        assert!((2_900..=3_400).contains(&(peak * 24)), "peak is three times the mean");
    }

    #[track_caller]
    fn check_counts(sensor: Sensor, thinning: f64, mean: std::ops::Range<f64>) {
        let counts = Counts::new(sensor, thinning);
        let sum: u64 = (0..400_000).map(|n| u64::from(counts.count(Draw::root(3).of(n)))).sum();
        let got = sum as f64 / 400_000.0;
        assert!(mean.contains(&got), "{sensor:?} thinned to {thinning}: mean {got}");
    }

    #[test]
    fn mean_repeats() {
        check_counts(Sensor::Mde, 1.0, 1.25..1.35);
        check_counts(Sensor::Zeek, 1.0, 4.5..5.5);
        check_counts(Sensor::Zeek, 0.1, 1.35..1.55);
        check_counts(Sensor::Zeek, 0.0, 1.0..1.000_1);
    }

    #[test]
    fn popularity_falls_by_its_exponent() {
        let popularity = Popularity::new(1_000);
        let mut hits = vec![0u32; 30_000];
        for n in 0..1_000_000 {
            hits[popularity.rank(Draw::root(5).of(n)) as usize] += 1;
        }
        let decade = |from: usize| hits[from..2 * from].iter().sum::<u32>() as f64;
        let exponent = 1.0 - (decade(1_000) / decade(10)).ln() / 100f64.ln();
        assert!((0.95..1.0).contains(&exponent), "{exponent}");
    }
}
