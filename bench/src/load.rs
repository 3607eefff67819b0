//! From a log file to the durable store by the real binary, beside a decode loop on the same file. Refuses to hold:
//! either of the two.

use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fleet::DeviceNumber;
use sighting::Address;

use crate::corpus::Log;
use crate::entropy::Entropy;
use crate::memory::folder_bytes;
use crate::results::{Better, Results};
use crate::{Given, decode_loop, hot_store};

/// Measures every log.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let records = given.scale.file_records;
    for (log, records, promise) in [
        (Log::MDE, records, 2_000_000.0),
        (Log::MDE_SMALL, records / 2, 2_000_000.0),
        (Log::MDE_LARGE, records, 2_000_000.0),
        // As many bytes, about.
        (Log::MDE_LONG, records / 4, 600_000.0),
        (Log::ZEEK, records, 4_000_000.0),
    ] {
        measure_log(given, results, (log, records), promise)?;
    }
    Ok(())
}

fn measure_log(
    given: &Given<'_>,
    results: &mut Results,
    (log, records): (Log, u64),
    promise: f64,
) -> anyhow::Result<()> {
    let Given { program, work, scale } = given;
    let name = log.name;
    results.say(&format!("{name}: {records} records to a file, then {} times each", scale.file_runs));
    let path = log.file(work, records)?;
    let threads = std::thread::available_parallelism()?.get();
    let (mut loading, mut decoding) = (Duration::MAX, Duration::MAX);
    let mut stored = 0;
    let mut filled = None;
    for _ in 0..scale.file_runs {
        let begun_at = Instant::now();
        let decoded = decode_loop::run(&path, threads)?;
        decoding = decoding.min(begun_at.elapsed());
        // A header's lines count too.
        anyhow::ensure!(decoded >= records, "the loop saw {decoded} of {records} records");
        let store = tempfile::tempdir_in(work)?;
        let data_dir = store.path().join("data");
        program.init(&data_dir)?;
        let (counts, took) = program.ingest(&data_dir, &path)?;
        anyhow::ensure!(counts.lines == decoded, "the store counted {} of {decoded} records", counts.lines);
        loading = loading.min(took);
        stored = counts.sighted;
        filled = Some(store);
    }
    let bytes = std::fs::metadata(&path)?.len();
    std::fs::remove_file(&path)?;
    results.say(&format!(
        "{} bytes a record, {:.0} % of {records} sighted",
        bytes / records,
        100.0 * stored as f64 / records as f64
    ));
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    let ours = rate(loading);
    results.add(format!("load.{name}"), ours, "records/s", Better::Higher, ("promise", promise));
    let decode = ("decode loop", rate(decoding));
    results.add(format!("limit.{name}"), ours, "records/s", Better::Higher, decode);
    let store = filled.context("a log is loaded at least once")?;
    weigh(&store.path().join("data"), (log, records), results)
}

/// The bytes of the whole folder beside what its facts need at the least: sightings, and with Defender which agent carried which
/// name when. Of the second and names themselves nothing is asked but to be there.
fn weigh(data_dir: &Path, (log, records): (Log, u64), results: &mut Results) -> anyhow::Result<()> {
    // What is in the journal still is written as it will be.
    hot_store::open(data_dir)?.store().flush()?;
    let universe = log.universe(records);
    let opened = log.opened(records);
    let told = Entropy::of(universe, opened.iter().copied());
    // Names as if they were addresses, next to each other.
    let name = |device: DeviceNumber| Address::from(Ipv6Addr::from(u128::from(device.0)));
    let carriers = opened.iter().filter(|_| log.has_names());
    let carried =
        Entropy::of(universe, carriers.map(|(_, device, second)| (name(*device), *device, *second)));
    let sightings = told.facts() as f64;
    results.say(&format!("{sightings} sightings; {}", told.terms(sightings)));
    results.say(&format!("{} names carried; {}", carried.facts(), carried.terms(carried.facts() as f64)));
    let least = ("entropy", (told.bytes() + carried.bytes()) / sightings);
    let bytes = folder_bytes(data_dir)? as f64;
    results.say(&told.shares(bytes));
    let bytes = bytes / sightings;
    results.add(format!("disk.{}", log.name), bytes, "bytes/sighting", Better::Lower, least);
    Ok(())
}
