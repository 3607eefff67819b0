//! What an organisation is made from. Refuses to hold: the shapes themselves (`shape`, `plan`), which are
//! constants because they were measured; only what a caller has a reason to change is a setting.

use sighting::Second;

/// What a [`crate::Fleet`] is made from. [`Settings::default`] is the demo's fleet; [`Settings::measured`]
/// has the rates of real captures. Numbers outside their range are taken as the nearest one inside.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Everything follows from it.
    pub seed: u64,
    /// How many devices there are, from 1 to 10,000,000. Small organisations have 1,000, large ones 65,000.
    pub devices: u32,
    /// How many times 24 hours before `until` are simulated, at least 1. The contract's look-back goes to 30
    /// days.
    pub days: u32,
    /// No event is later, and no line arrives later. Should be the present where a real clock reads the
    /// lines: times ahead of it are refused.
    pub until: Second,
    /// Share of devices that report by MDE, 0.0 to 1.0; the others are seen by Zeek. Half by half shows both.
    pub mde_share: f64,
    /// Share of the repeated connections of a (device, address, day) that are kept, 0.0 to 1.0, and of
    /// inbound noise. At 1.0 a pair has 1.3 events a day by MDE (assumed: it forwards equal connects once in
    /// 24 h) and 5 by Zeek (measured); at 0.0 it has one.
    pub thinning: f64,
    /// Bytes of an MDE row, reached by describing the initiating process; rows without one are about 550 to
    /// 600. Real rows have 1,700 to 2,600, Microsoft's own sizing says 1,000.
    pub mde_row_bytes: u16,
    /// Median of the addresses that an active workstation reaches on a working day, 1 to 1,000. Measured:
    /// 150, with 400 at the 90th percentile.
    pub pairs_median: u32,
}

impl Default for Settings {
    /// The demo: 1,000 devices over 30 days, thinned to between one and two million lines.
    fn default() -> Settings {
        Settings { thinning: 0.1, pairs_median: 40, ..Settings::measured() }
    }
}

impl Settings {
    /// 1,000 devices over 30 days at the rates that were measured: about 17 million lines.
    pub const fn measured() -> Settings {
        Settings {
            seed: 1,
            devices: 1_000,
            days: 30,
            // 2026-06-30T16:00:00Z, a Tuesday afternoon: a past that every reader's clock agrees with.
            until: Second::new(1_782_835_200),
            mde_share: 0.5,
            thinning: 1.0,
            mde_row_bytes: 600,
            pairs_median: 150,
        }
    }

    /// The earliest second of an event.
    pub fn since(&self) -> Second {
        self.until.minus(u64::from(self.days) * u64::from(sighting::SECONDS_PER_DAY) - 1)
    }

    /// The same settings with every number inside its range.
    pub(crate) fn clamped(self) -> Settings {
        Settings {
            devices: self.devices.clamp(1, 10_000_000),
            days: self.days.clamp(1, 36_500),
            mde_share: self.mde_share.clamp(0.0, 1.0),
            thinning: self.thinning.clamp(0.0, 1.0),
            mde_row_bytes: self.mde_row_bytes.min(32_000),
            pairs_median: self.pairs_median.clamp(1, 1_000),
            ..self
        }
    }
}
