//! The same figures at 1, 10 and 100 million (address, device) pairs: loading, bytes beside what the facts need at the
//! least, look-ups warm and cold, restart with a journal as full as there can be. Refuses to hold: the look-ups' corpus of
//! joins (`look_up`).

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleet::{DeviceNumber, HotSet};
use index::{DataFolder, IndexStore, Options};
use rustix::fs::Advice;
use sighting::{Batch, OrganisationId, Second};

use crate::corpus::Log;
use crate::entropy::{Entropy, Universe};
use crate::look_up::{batch, is_seen, times, warm_up};
use crate::memory::folder_bytes;
use crate::quantiles::Quantiles;
use crate::results::{Better, Results};
use crate::{Given, hot_store};

const DEVICES: u32 = 50_000;
/// Questions of each kind that find nothing in the page cache.
const COLD: u32 = 200;
/// Questions before the store is busy.
const ASKED_AT_EASE: u32 = 20_000;
/// Between two questions to a busy store.
const PAUSE: Duration = Duration::from_micros(200);

/// A store of about so many pairs: the days, and the rare addresses of a device and day.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) days: u32,
    pub(crate) rare: u32,
}

/// Measures each size.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    given.scale.growth.iter().try_for_each(|size| measure_size(given, results, *size))
}

fn measure_size(given: &Given<'_>, results: &mut Results, size: Size) -> anyhow::Result<()> {
    let set = HotSet { rare_per_device_day: size.rare, ..fleet::hot_set(7, DEVICES, size.days) };
    let root = tempfile::tempdir_in(given.work)?;
    let data_dir = root.path().join("data");
    let organisation = given.program.init(&data_dir)?;
    let store = Grown { set, organisation, data_dir: &data_dir, size: size.name };
    results.say(&format!("{} pairs", size.name));
    let sightings = store.fill(results)?;
    store.weigh(sightings, results)?;
    store.look_up_warm(given.scale.questions, results)?;
    store.look_up_cold(results)?;
    store.serve_in_little_memory(given, results)?;
    store.look_up_while_ingesting(results)?;
    store.fill_journal()?;
    let ready = given.program.best_ready(&data_dir)?;
    results.add(format!("restart.{}", size.name), ready, "s", Better::Lower, ("promise", 1.0));
    Ok(())
}

/// A data folder and what it holds.
struct Grown<'a> {
    set: HotSet,
    organisation: OrganisationId,
    data_dir: &'a Path,
    size: &'static str,
}

impl Grown<'_> {
    /// The last moment that is told of.
    fn until(&self) -> Second {
        self.set.last_day.last()
    }

    fn open(&self, options: Options) -> anyhow::Result<DataFolder> {
        Ok(DataFolder::open(self.data_dir, options)?)
    }

    /// Loads all of it; how many sightings.
    fn fill(&self, results: &mut Results) -> anyhow::Result<f64> {
        let folder = self.open(Options::default())?;
        let store = folder.store();
        // All of them first, 24 bytes each: their making is not what is measured.
        let batches: Vec<Batch> = hot_store::batches(self.organisation, self.set.sightings()).collect();
        let threads = thread::available_parallelism()?.get();
        let begun_at = Instant::now();
        let sightings = hot_store::append(&store, &batches, threads)? as f64;
        let rate = sightings / begun_at.elapsed().as_secs_f64();
        let promise = ("promise", 5e6);
        results.add(format!("load.decoded.{}", self.size), rate, "sightings/s", Better::Higher, promise);
        let figures = store.figures();
        results.say(&format!(
            "{} rows in {} segments, {} bytes of filters and page indexes in memory",
            figures.segment_rows, figures.segments, figures.index_bytes
        ));
        Ok(sightings)
    }

    /// The files' bytes beside what the facts need at the least.
    fn weigh(&self, sightings: f64, results: &mut Results) -> anyhow::Result<()> {
        let bytes = folder_bytes(self.data_dir)? as f64;
        let universe = Universe { devices: self.set.devices, days: self.set.days };
        let entropy = Entropy::of(universe, self.set.sightings());
        results.say(&entropy.terms(sightings));
        results.say(&entropy.shares(bytes));
        let least = ("entropy", entropy.bytes() / sightings);
        results.add(
            format!("disk.pairs.{}", self.size),
            bytes / sightings,
            "bytes/sighting",
            Better::Lower,
            least,
        );
        Ok(())
    }

    fn rare(&self, number: u32) -> sighting::Address {
        let mixed = number.wrapping_mul(0x9e37_79b1);
        let set = &self.set;
        set.rare(
            DeviceNumber(mixed % set.devices),
            mixed / set.devices % set.days,
            number % set.rare_per_device_day,
        )
    }

    fn look_up_warm(&self, questions: u32, results: &mut Results) -> anyhow::Result<()> {
        let folder = self.open(Options::default())?;
        let store = folder.store();
        // Twice the same: in the first round the system puts every page that it had only written among those in use.
        let ask_rare = |number| is_seen(&store, self.organisation, self.rare(number), self.until(), 720);
        times(questions, ask_rare)?;
        let rare = times(questions, ask_rare)?;
        self.add("rare.process", "warm", rare, 20.0, results);
        warm_up(&store, self.organisation, self.set.hot(), self.until())?;
        let hot = times(questions / 100, |number| self.ask_hot(&store, number))?;
        self.add("hot.process", "warm", hot, 100.0, results);
        Ok(())
    }

    fn ask_hot(&self, store: &IndexStore, number: u32) -> anyhow::Result<bool> {
        is_seen(store, self.organisation, self.set.hot(), self.until(), 1 + number * 337 % 720)
    }

    /// Nothing is in the page cache when a question comes, and nothing is kept of hot addresses.
    fn look_up_cold(&self, results: &mut Results) -> anyhow::Result<()> {
        let folder = self.open(Options { hot_asked_min: u32::MAX, ..Options::default() })?;
        let store = folder.store();
        let mut rare = Quantiles::default();
        let mut hot = Quantiles::default();
        for number in 0..COLD {
            for (quantiles, is_hot) in [(&mut rare, false), (&mut hot, true)] {
                forget(&self.data_dir.join("segments"))?;
                let begun_at = Instant::now();
                let seen = if is_hot {
                    self.ask_hot(&store, number)?
                } else {
                    is_seen(&store, self.organisation, self.rare(number), self.until(), 720)?
                };
                quantiles.add(begun_at.elapsed());
                anyhow::ensure!(seen, "question {number} has a wrong answer");
            }
        }
        self.add("rare.process", "cold", rare, 2_000.0, results);
        self.add("hot.process", "cold", hot, 2_000.0, results);
        forget(&self.data_dir.join("segments"))?;
        let took = batch(&store, self.organisation, |number| self.rare(number), self.until())?;
        results.add(format!("batch.100k.cold.{}", self.size), took, "s", Better::Lower, ("promise", 1.0));
        Ok(())
    }

    fn add(&self, name: &str, state: &str, mut times: Quantiles, promise: f64, results: &mut Results) {
        for (quantile, permille) in [("p50", 500), ("p99", 990)] {
            let name = format!("{name}.{quantile}.{state}.{}", self.size);
            results.add(name, times.micros(permille), "us", Better::Lower, ("promise", promise));
        }
    }

    /// Both cores take sightings in, of the next day, while one thread asks.
    fn look_up_while_ingesting(&self, results: &mut Results) -> anyhow::Result<()> {
        let folder = self.open(Options::default())?;
        let store = folder.store();
        let asked = |number| {
            // As questions come: one after the other, with a pause. Nobody asks without one all the time.
            thread::park_timeout(PAUSE);
            let begun_at = Instant::now();
            is_seen(&store, self.organisation, self.rare(number), self.until(), 720)?;
            anyhow::Ok(begun_at.elapsed())
        };
        // Twice, as above.
        let mut idle = Quantiles::default();
        for _ in 0..2 {
            idle = Quantiles::default();
            for number in 0..ASKED_AT_EASE {
                idle.add(asked(number)?);
            }
        }
        let next = HotSet { seed: 9, rare_per_device_day: 400, days: 1, ..self.set };
        let batches: Vec<Batch> = hot_store::batches(self.organisation, next.sightings()).collect();
        let threads = thread::available_parallelism()?.get();
        let is_done = AtomicBool::new(false);
        let mut busy = Quantiles::default();
        thread::scope(|scope| {
            let ingesting = scope.spawn(|| {
                let appended = hot_store::append(&store, &batches, threads);
                is_done.store(true, Ordering::Relaxed);
                appended
            });
            for number in 0.. {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                busy.add(asked(number)?);
            }
            ingesting.join().expect("appending does not panic").map(drop)
        })?;
        for (quantile, permille, promise) in [
            ("p50", 500, 3.0 * idle.micros(500)),
            ("p99", 990, 3.0 * idle.micros(990)),
            ("p99.9", 999, 10_000.0),
        ] {
            let name = format!("rare.process.{quantile}.ingesting.{}", self.size);
            results.add(name, busy.micros(permille), "us", Better::Lower, ("promise", promise));
        }
        Ok(())
    }

    /// A server in 512 MB while a log is loaded through it.
    fn serve_in_little_memory(&self, given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
        let settings = self.data_dir.with_file_name("settings.toml");
        std::fs::write(&settings, "memory_mb = 512\n")?;
        let serving = given.program.serve(self.data_dir, &["--settings".as_ref(), settings.as_os_str()])?;
        let at_ease = serving.peak_memory()?;
        let records = given.scale.file_records;
        given
            .program
            .ingest_stdin(self.data_dir, |write| Log::MDE.blocks(records, &mut |block| write(block)))?;
        let peak = serving.peak_memory()? as f64 / 1e6;
        let cached = cached(&self.data_dir.join("segments"))?;
        results.say(&format!(
            "{} MB before the load; page cache of the store's files, which the system takes back as it likes: {cached}",
            at_ease / 1_000_000
        ));
        results.add(format!("memory.512MB.{}", self.size), peak, "MB", Better::Lower, ("promise", 512.0));
        Ok(())
    }

    /// Adds as many sightings as the journal takes before it is written to segments.
    fn fill_journal(&self) -> anyhow::Result<()> {
        let folder = self.open(Options::default())?;
        let store = folder.store();
        let wanted = usize::try_from(Options::default().live_rows_max - 1)?;
        // Of the fleet's next days.
        let next = HotSet { seed: 8, rare_per_device_day: 200, days: 1, ..self.set };
        let filled = hot_store::fill(&store, self.organisation, next.sightings().take(wanted))?;
        anyhow::ensure!(filled as usize == wanted, "the set has {filled} sightings, {wanted} are wanted");
        Ok(())
    }
}

/// What the page cache holds of the files in a folder.
fn cached(folder: &Path) -> anyhow::Result<String> {
    let files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    let told =
        Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).args(files).output();
    let Ok(told) = told else { return Ok("not known, fincore (util-linux) is missing".to_owned()) };
    let bytes: u64 = String::from_utf8_lossy(&told.stdout)
        .lines()
        .filter_map(|line| line.trim().parse::<u64>().ok())
        .sum();
    Ok(format!("{} MB of {}", bytes / 1_000_000, folder_bytes(folder)? / 1_000_000))
}

/// Has the system forget what it holds of the files in a folder.
fn forget(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        rustix::fs::fadvise(File::open(entry?.path())?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
