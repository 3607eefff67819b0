//! Who is there on a day, and how much they do: one small plan for every device and day. Refuses to hold:
//! addresses and times; a plan is 16 bytes, so that a large fleet's day fits in memory many times over.

use sighting::Day;

use crate::draw::{Draw, exp};
use crate::remote::Remotes;
use crate::{DeviceNumber, Role, Settings};

/// What a device does on one day.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Plan {
    /// The common addresses that it reaches, one bit each.
    pub(crate) everyone: u64,
    /// How many further addresses it reaches.
    pub(crate) slots: u16,
}

/// Median and 90th percentile of pairs per active workstation-day, measured as 150 and 400, make this the
/// standard deviation of the logarithm, `ln(400 / 150) / 1.2816 = 0.765`; its split into devices and days is
/// assumed.
const SIGMA_DEVICES: f64 = 0.60;
const SIGMA_DAYS: f64 = 0.475;
/// A device-day's most addresses, in medians (measured: 1,000 at a median of 150).
const PAIRS_MAX: f64 = 1_000.0 / 150.0;
/// Slots for each distinct address: several slots of a device hold the same popular one (counted on 1,500
/// devices).
const SLOTS_PER_PAIR: f64 = 1.05;
/// A server's median in a workstation's (assumed; measured from 1 to 358 addresses a day).
const SERVER_SHARE: f64 = 0.3;
/// Workstations that are on, in 1/1000, and what those do at a weekend: together 15 % of a working day
/// (measured: 10-25 %).
const PRESENT_WORKDAY: u32 = 970;
const PRESENT_WEEKEND: u32 = 250;
const WEEKEND_SHARE: f64 = 0.6;
/// Days on which an idle device is switched on, in 1/1000 (assumed).
const PRESENT_IDLE: u32 = 500;

/// Saturday or Sunday, UTC.
pub(crate) fn is_weekend(day: Day) -> bool {
    // 1970-01-01 was a Thursday.
    matches!((day.number() + 4) % 7, 0 | 6)
}

impl Plan {
    /// The plan of one device for one day. `draw` is the device's own.
    pub(crate) fn of(
        settings: &Settings,
        remotes: &Remotes,
        device: DeviceNumber,
        draw: Draw,
        day: Day,
    ) -> Plan {
        let role = device.role();
        let today = draw.of(u64::from(day.number()));
        let present = match role {
            Role::Workstation if is_weekend(day) => PRESENT_WEEKEND,
            Role::Workstation => PRESENT_WORKDAY,
            Role::Server => 1_000,
            Role::Idle => PRESENT_IDLE,
        };
        if !today.of(0).permille(present) {
            return Plan::default();
        }
        let everyone = remotes.everyone_reached(today.of(1));
        let share = match role {
            Role::Workstation if is_weekend(day) => WEEKEND_SHARE,
            Role::Workstation => 1.0,
            Role::Server => SERVER_SHARE,
            Role::Idle => 0.0,
        };
        let spread = exp(SIGMA_DEVICES * draw.of(u64::MAX - 1).normal() + SIGMA_DAYS * today.of(2).normal());
        let pairs = f64::from(settings.pairs_median) * share * (SLOTS_PER_PAIR * spread).min(PAIRS_MAX);
        Plan { everyone, slots: (pairs as u16).saturating_sub(everyone.count_ones() as u16) }
    }
}
