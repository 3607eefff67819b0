//! The most memory that the real binary holds while a long stream goes through it. Refuses to hold: how it is read.

use std::path::Path;
use std::time::Instant;

use crate::Given;
use crate::corpus::Log;
use crate::results::{Better, Results};

const GIGABYTE: f64 = 1e9;

/// Feeds Defender records through standard input. The rate is said too, but the writer of the stream needs a core.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let Given { program, work, scale } = given;
    let records = scale.memory_records;
    results.say(&format!("{records} records through standard input"));
    let store = tempfile::tempdir_in(work)?;
    let data_dir = store.path().join("data");
    program.init(&data_dir)?;
    let begun_at = Instant::now();
    let (counts, peak) =
        program.ingest_stdin(&data_dir, |write| Log::MDE.blocks(records, &mut |block| write(block)))?;
    let seconds = begun_at.elapsed().as_secs_f64();
    anyhow::ensure!(counts.lines == records, "the store counted {} of {records} records", counts.lines);
    let rate = records as f64 / seconds;
    results.say(&format!("{seconds:.0} s, {rate:.0} records/s with the writer on the same cores"));
    let name = format!("memory.ingest.{}M", records / 1_000_000);
    results.add(name, peak as f64 / GIGABYTE, "GB", Better::Lower, ("promise", 1.5));
    let ready = program.ready(&data_dir)?.as_secs_f64();
    let name = format!("restart.after.{}M", records / 1_000_000);
    results.add(name, ready, "s", Better::Lower, ("promise", 2.0));
    Ok(())
}

/// Bytes of all files in a folder.
pub(crate) fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += folder_bytes(&entry.path())?;
        } else if kind.is_file() {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
