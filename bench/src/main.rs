//! `make bench`: what this machine measures of seenby, as a table and as `target/bench/results.json`.
//!
//! Holds: the order of the measurements and how large each is. What they are made of is a [`corpus`] by the fleet
//! simulator, the real [`program`] in processes of its own, the store in this process for [`look_up`]s, the service in
//! this process for [`token`]s, and what others do with the same events ([`peers`]). `ONLY=token,load` measures those parts
//! alone. Whatever is no quick run draws its charts; only a whole run writes the results.
//!
//! Refuses to hold: verdicts. Machines differ and are shared; a figure stands beside a promise or beside what the
//! machine can do at all, measured in the same run, and the reader judges the ratio.

mod chart;
mod clock;
mod connection;
mod corpus;
mod decode_loop;
mod entropy;
mod format_rates;
mod growth;
mod hot_store;
mod load;
mod look_up;
mod memory;
mod peers;
mod program;
mod quantiles;
mod receive;
mod restart;
mod results;
mod service;
mod token;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use growth::Size;
use program::Program;
use results::Results;

/// How much is measured.
pub(crate) struct Scale {
    /// Records of each file that is loaded.
    file_records: u64,
    /// Times that each file is loaded; the best counts.
    file_runs: u32,
    /// Records that are pushed in each way.
    pushed_records: u64,
    /// Records that go through standard input while memory is watched.
    memory_records: u64,
    /// Sightings in the store that is opened again.
    restart_sightings: u64,
    /// Batches in the journal of the store that was fed by a slow stream.
    small_batches: u64,
    /// Questions for rare and for unseen addresses; a hundredth of it for the hot one.
    questions: u32,
    /// Tokens of each kind; each is shown once where new ones are measured.
    tokens: usize,
    /// Days of the fleet that peers are given.
    peer_days: u32,
    /// Questions of each kind that everybody answers before anybody is timed.
    peer_checked: usize,
    /// Questions of each kind that each peer is timed with.
    peer_questions: usize,
    /// Stores that grow.
    growth: &'static [Size],
    /// For how long the server is under load each time, in seconds.
    service_seconds: u64,
}

const FULL: Scale = Scale {
    file_records: 5_000_000,
    file_runs: 5,
    pushed_records: 1_000_000,
    memory_records: 100_000_000,
    restart_sightings: 20_000_000,
    small_batches: 20_000,
    questions: 200_000,
    tokens: 4_000,
    peer_days: 30,
    peer_checked: 100,
    peer_questions: 1_000,
    growth: &[
        Size { name: "1M", days: 19, rare: 1 },
        Size { name: "10M", days: 28, rare: 7 },
        Size { name: "100M", days: 30, rare: 67 },
    ],
    service_seconds: 10,
};

/// For a look in between, in some minutes. The memory figure says how few records it is for.
const QUICK: Scale = Scale {
    file_records: 1_000_000,
    file_runs: 2,
    pushed_records: 500_000,
    memory_records: 5_000_000,
    restart_sightings: 20_000_000,
    small_batches: 5_000,
    questions: 20_000,
    tokens: 2_000,
    peer_days: 10,
    peer_checked: 30,
    peer_questions: 60,
    growth: &[Size { name: "1M", days: 19, rare: 1 }, Size { name: "10M", days: 28, rare: 7 }],
    service_seconds: 2,
};

/// What every part is given.
pub(crate) struct Given<'a> {
    program: Program,
    work: &'a Path,
    scale: &'a Scale,
}

type Part = fn(&Given<'_>, &mut Results) -> anyhow::Result<()>;

/// Every part, in order.
const PARTS: [(&str, Part); 10] = [
    ("load", load::measure),
    ("formats", format_rates::measure),
    ("receive", receive::measure),
    ("look-up", look_up::measure),
    ("growth", growth::measure),
    ("peers", peers::measure),
    ("service", service::measure),
    ("token", token::measure),
    ("restart", restart::measure),
    ("memory", memory::measure),
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [service::BARE, port, body] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return service::be_bare(port, body);
    }
    let is_quick = std::env::var("QUICK").is_ok_and(|quick| !quick.is_empty() && quick != "0");
    let scale = if is_quick { QUICK } else { FULL };
    let only = std::env::var("ONLY").unwrap_or_default();
    let target = target_folder()?;
    std::fs::create_dir_all(target.join("bench")).context("the folder for results cannot be made")?;
    // Beside the results, where there is room; many systems keep /tmp in memory.
    let work = tempfile::tempdir_in(target.join("bench")).context("the folder for work cannot be made")?;
    let given = Given { program: Program::find()?, work: work.path(), scale: &scale };
    let mut results = Results::default();
    let mut measured = 0;
    for (name, measure) in PARTS {
        if only.is_empty() || only.split(',').any(|one| one == name) {
            measure(&given, &mut results)?;
            measured += 1;
        }
    }
    let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    anyhow::ensure!(measured > 0, "ONLY={only} is none of {}", names.join(", "));
    results.show();
    if !is_quick {
        chart::write(results.rows(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bench"))?;
    }
    if only.is_empty() {
        results.write(&target.join("bench/results.json"))?;
    }
    Ok(())
}

/// `target`, where cargo put this program.
fn target_folder() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("this program does not know where it is")?;
    let folder = this.ancestors().nth(2).context("this program does not lie in a target folder")?;
    Ok(folder.to_owned())
}
