//! The shape of a fleet beside the shape of the captures it imitates: printed (`--nocapture`), and held
//! within the measured ranges. What is asserted is what the heads of `plan`, `remote` and `shape` claim.

mod figures;

use std::ops::RangeInclusive;

use figures::{Figures, mean};
use seenby_fleet::{Fleet, Kind, Role, Sensor, Settings};
use sighting::{Day, Second};

/// Figures beside their ranges; all are shown before one that is outside fails the test.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    outside: usize,
}

impl Report {
    fn check(&mut self, what: &str, got: f64, range: RangeInclusive<f64>) {
        let outside = !range.contains(&got);
        self.outside += usize::from(outside);
        self.lines
            .push(format!("{what:<56}{got:>12.4}  {range:?}{}", if outside { "  <- outside" } else { "" }));
    }

    #[expect(clippy::print_stdout, reason = "a report, shown with --nocapture")]
    fn finish(self) {
        println!("{}", self.lines.join("\n"));
        assert_eq!(self.outside, 0, "figures outside their ranges:\n{}", self.lines.join("\n"));
    }
}

/// 200 devices at measured rates, seven whole days from a Wednesday to a Tuesday.
fn week() -> (Fleet, Day) {
    let until = Second::new(1_782_835_200).day().last();
    let fleet = Fleet::new(Settings { devices: 200, days: 7, until, ..Settings::measured() });
    (fleet, until.day())
}

fn days_before(day: Day, days: u16) -> Day {
    Day::new(u32::from(day.number() - days)).expect("in range")
}

#[test]
fn a_week_of_two_hundred_devices() {
    let (fleet, tuesday) = week();
    let figures = Figures::of(&fleet);
    let mut report = Report::default();
    check_pairs(&mut report, &figures, tuesday);
    check_repeats(&mut report, &figures, &fleet);
    check_popularity(&mut report, &figures, &fleet, tuesday);
    check_noise(&mut report, &figures);
    check_order(&mut report, &figures);
    check_hours(&mut report, &figures, tuesday);
    report.finish();
}

fn check_pairs(report: &mut Report, figures: &Figures, tuesday: Day) {
    let mut pairs: Vec<usize> =
        (0..2).flat_map(|n| figures.pairs_per_device(days_before(tuesday, n), Role::Workstation)).collect();
    pairs.sort_unstable();
    let at = |percent: usize| pairs[pairs.len() * percent / 100] as f64;
    report.check("addresses of a workstation-day, median", at(50), 120.0..=180.0);
    report.check("  90th percentile", at(90), 320.0..=480.0);
    report.check("  most", *pairs.last().expect("some") as f64, 600.0..=1_030.0);
    let (kept, low, high) = figures.persistence(days_before(tuesday, 1), tuesday);
    report.check("yesterday's addresses that are kept, mean", kept, 0.3..=0.7);
    report.check("  10th percentile of workstations", low, 0.2..=0.5);
    report.check("  90th percentile", high, 0.5..=0.8);
    let (kept, _, _) = figures.persistence(days_before(tuesday, 3), days_before(tuesday, 4));
    report.check("Saturday's addresses that were there on Friday", kept, 0.2..=0.8);
}

fn check_repeats(report: &mut Report, figures: &Figures, fleet: &Fleet) {
    let (mean_mde, median_mde, _, _) = figures.repeats(fleet, Sensor::Mde);
    report.check("MDE connections of a pair and day, mean", mean_mde, 1.25..=1.4);
    report.check("  median", f64::from(median_mde), 1.0..=1.0);
    let (mean_zeek, median, p90, p99) = figures.repeats(fleet, Sensor::Zeek);
    report.check("Zeek connections of a pair and day, mean", mean_zeek, 4.3..=5.7);
    report.check("  median", f64::from(median), 1.0..=2.0);
    report.check("  90th percentile", f64::from(p90), 5.0..=12.0);
    report.check("  99th percentile", f64::from(p99), 25.0..=109.0);
    let (hour, minute) = figures.duplication(fleet);
    report.check("  for each pair and hour", hour, 1.4..=5.2);
    report.check("  for each pair and minute", minute, 1.1..=2.3);
}

fn check_popularity(report: &mut Report, figures: &Figures, fleet: &Fleet, tuesday: Day) {
    let prevalences = figures.prevalences(tuesday);
    let by_one = prevalences.values().filter(|count| **count == 1).count() as f64 / prevalences.len() as f64;
    report.check("a day's addresses that one device reached", by_one, 0.75..=0.82);
    report.check(
        "of a workstation-day's, reached by at most 6",
        figures.nearly_unique(tuesday, 6),
        0.70..=0.82,
    );
    let mut common: Vec<f64> = prevalences.values().map(|count| f64::from(*count) / 200.0).collect();
    common.sort_by(|a, b| b.total_cmp(a));
    let everyone = common.iter().filter(|share| **share >= 0.6).count() as f64;
    report.check("addresses that 60 % of all devices reached", everyone, 20.0..=50.0);
    report.check("  mean share of devices of the first 30", mean(&common[..30]), 0.6..=1.0);
    let rich = f64::from(prevalences[&fleet.rich_address()]) / 200.0;
    report.check("  of the rich address", rich, 0.9..=1.0);
}

fn check_noise(report: &mut Report, figures: &Figures) {
    let opened = figures.kind(Kind::Opened);
    let failed = figures.kind(Kind::Failed);
    let lines = (figures.lines[0] + figures.lines[1]) as f64;
    report.check("attempts that failed", failed / (opened + failed), 0.1..=0.3);
    report.check("opened connections over IPv6", figures.opened_v6 as f64 / opened, 0.15..=0.25);
    report.check("inbound lines of all", figures.kind(Kind::Inbound) / lines, 0.001..=0.3);
    report.check("other lines of all", figures.kind(Kind::Other) / lines, 0.01..=0.1);
    report.check("lines delivered twice", figures.again as f64 / lines, 0.001..=0.01);
}

fn check_order(report: &mut Report, figures: &Figures) {
    for sensor in [Sensor::Mde, Sensor::Zeek] {
        let [second, minute, hour] = figures.late(sensor);
        report.check(&format!("{sensor:?} lines late by over a second"), second, 0.3..=0.6);
        report.check("  a minute", minute, 0.06..=0.23);
        report.check("  an hour", hour, 0.000_1..=0.003);
    }
}

fn check_hours(report: &mut Report, figures: &Figures, tuesday: Day) {
    let all: u64 = figures.hours.iter().sum();
    let peak = *figures.hours.iter().max().expect("24 hours") as f64 / (all as f64 / 24.0);
    report.check("workstations' peak hour, in means", peak, 2.5..=3.5);
    let mut hours = figures.hours;
    hours.sort_unstable();
    let busy = hours[24 - 9..].iter().sum::<u64>() as f64 / all as f64;
    report.check("  nine busiest hours", busy, 0.85..=0.97);
    let saturday = figures.by_day.get(&days_before(tuesday, 3)).copied().unwrap_or(0) as f64;
    let share = saturday / figures.by_day[&days_before(tuesday, 4)] as f64;
    report.check("  Saturday in Fridays", share, 0.1..=0.25);
}

#[test]
fn the_demo_is_one_to_two_million_lines() {
    // A tenth of the devices is a tenth of the lines.
    let settings = Settings { devices: 100, ..Settings::default() };
    let lines = Fleet::new(settings).events().count() as f64 * 10.0;
    let mut report = Report::default();
    report.check("lines of the demo", lines, 1_000_000.0..=2_000_000.0);
    report.finish();
}
