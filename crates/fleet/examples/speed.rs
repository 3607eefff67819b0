//! How fast lines are made on one core: `cargo run --release -p seenby-fleet --example speed`. Prints, for
//! the demo and for larger fleets, events alone and events as text.
#![expect(clippy::print_stdout, reason = "an example that reports")]

use std::time::Instant;

use seenby_fleet::{Event, Fleet, Sensor, Settings, Truth, hot_set};

fn main() {
    let demo = Settings::default();
    timed("demo, events", || Fleet::new(demo).events().count() as u64);
    timed("demo, lines", || lines(demo, |_| true));
    timed("demo, lines and truth", || {
        let mut truth = Truth::default();
        let fleet = Fleet::new(demo);
        let mut line = Vec::new();
        let mut count = 0;
        for event in fleet.events() {
            line.clear();
            event.write(&mut line);
            truth.add(&event);
            count += 1;
        }
        truth.settle();
        count
    });
    let large = Settings { devices: 65_000, days: 1, ..Settings::default() };
    timed("65,000 devices, a day, lines", || lines(large, |_| true));
    let measured = Settings { devices: 5_000, days: 1, ..Settings::measured() };
    timed("5,000 devices, a day at measured rates, events", || Fleet::new(measured).events().count() as u64);
    timed("  MDE lines of 600 bytes", || lines(measured, |event| event.sensor == Sensor::Mde));
    timed("  Zeek lines", || lines(measured, |event| event.sensor == Sensor::Zeek));
    let long = Settings { mde_row_bytes: 2_000, mde_share: 1.0, ..measured };
    timed("  all by MDE, lines of 2,000 bytes", || lines(long, |_| true));
    timed("  sightings", || Fleet::new(measured).sightings().count() as u64);
    timed("hot set of 50,000 devices, 30 days", || hot_set(1, 50_000, 30).sightings().count() as u64);
}

/// Writes the lines of a fleet that are asked for, over and over into the same 64 KB.
fn lines(settings: Settings, wanted: impl Fn(&Event) -> bool) -> u64 {
    let mut block = Vec::with_capacity(1 << 17);
    let mut count = 0;
    for event in Fleet::new(settings).events().filter(wanted) {
        event.write(&mut block);
        if block.len() > 1 << 16 {
            block.clear();
        }
        count += 1;
    }
    count
}

fn timed(what: &str, work: impl FnOnce() -> u64) {
    let start = Instant::now();
    let count = work();
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<52}{count:>12} in {seconds:>7.3} s{:>8.2} M/s", count as f64 / seconds / 1e6);
}
