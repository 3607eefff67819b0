//! How long things took, in their distribution. Refuses to hold: what took so long.

use std::time::Duration;

/// Durations, sorted when they are asked for.
#[derive(Clone, Default, Debug)]
pub(crate) struct Quantiles(Vec<Duration>);

impl Quantiles {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The duration that so many in 1,000 do not exceed, in microseconds.
    pub(crate) fn micros(&mut self, permille: usize) -> f64 {
        self.0.sort_unstable();
        let place = (self.0.len() * permille / 1_000).min(self.0.len().saturating_sub(1));
        self.0.get(place).map_or(f64::NAN, |took| took.as_nanos() as f64 / 1e3)
    }
}
