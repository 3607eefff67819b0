//! Seenby beside what one would use instead: the same events, the same questions, answers checked equal before they are
//! timed, everyone's turn in every round. Refuses to hold: how each peer is spoken to.
//!
//! Each has the best schema that we know for it. `raw` keeps every (address, device, second) and answers the whole question;
//! `pairs` keeps the ends of each (address, device, day), so its first sighting is not exact inside the day in which a
//! window begins, and is not compared. Who has no look-back is compared over all of the corpus, and timed like the others.

mod child;
mod http;
mod local;
mod postgres;
mod redis;
mod sightingdb;
mod sqlite;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::{DeviceNumber, HotSet};
use sighting::{Address, Second};

use crate::quantiles::Quantiles;
use crate::results::{Better, Results};
use crate::{Given, Scale, clock};

pub(crate) use self::redis::{free_port, within};

/// Devices of the fleet.
const DEVICES: u32 = 50_000;
/// Questions that one is asked before it is the next one's turn.
const TURN: usize = 10;

/// One question, window ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) address: Address,
    pub(crate) since: Second,
    pub(crate) until: Second,
    /// The same to whoever counts back from now.
    pub(crate) hours: u32,
}

/// What was answered. Without devices, the rest means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) devices: u32,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) took: Duration,
    /// Of files; none where all is in memory.
    pub(crate) bytes: Option<u64>,
}

/// What is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Corpus<'a> {
    pub(crate) set: HotSet,
    /// The set as Defender's storage NDJSON.
    pub(crate) file: &'a Path,
}

impl Corpus<'_> {
    /// The decoded sightings.
    pub(crate) fn sightings(&self) -> impl Iterator<Item = (Address, DeviceNumber, Second)> {
        self.set.sightings()
    }
}

/// Something that keeps sightings and answers for them, in its own process or in this one.
pub(crate) trait Peer {
    /// As in the results.
    fn name(&self) -> &'static str;
    /// Whether it is told the file or the decoded sightings.
    fn takes_file(&self) -> bool;
    /// Whether its first sighting is exact.
    fn knows_first(&self) -> bool;
    /// How it is reached, as in the names of figures.
    fn way(&self) -> &'static str {
        "process"
    }
    /// Whether its windows end now instead of where they are told to.
    fn counts_from_now(&self) -> bool {
        false
    }
    /// Whether it can answer for less than all that it holds.
    fn looks_back(&self) -> bool {
        true
    }
    /// Takes all of it.
    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded>;
    /// Answers each, and says how long it took.
    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>>;
}

/// Where installed peers lie; none, if they were not installed.
pub(crate) fn installed() -> Option<PathBuf> {
    std::env::var_os("PEERS").map(PathBuf::from).filter(|path| path.is_dir())
}

/// Measures all that are there.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let work = tempfile::tempdir_in(given.work)?;
    // All of it in the past, and inside the look-back of whoever counts back from now.
    let set = HotSet {
        last_day: clock::now().day().first().minus(1).day(),
        ..fleet::hot_set(7, DEVICES, given.scale.peer_days)
    };
    let events = set.sightings().count() as f64;
    results.say(&format!("peers: {events} events of {DEVICES} devices over {} days", set.days));
    let file = crate::corpus::hot_file(work.path(), set)?;
    let corpus = Corpus { set, file: &file };
    let mut peers = all(given, work.path(), results)?;
    load(&mut peers, &corpus, events, results)?;
    let questions = Questions { set, until: set.last_day.last() };
    check(&mut peers, &questions, given.scale.peer_checked)?;
    ask(&mut peers, &questions, given.scale, results)
}

/// Ours first, then whoever is there.
fn all(given: &Given<'_>, work: &Path, results: &Results) -> anyhow::Result<Vec<Box<dyn Peer>>> {
    let folder = |name: &str| -> anyhow::Result<PathBuf> {
        let path = work.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    };
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(local::OfFile::new(&given.program, &folder("seenby")?)?),
        Box::new(local::Decoded::new(&folder("decoded")?)?),
        Box::new(http::Seenby::new(&given.program, &folder("seenby-http")?)?),
        Box::new(sqlite::Sqlite::new(&folder("sqlite")?)?),
    ];
    let Some(installed) = installed() else {
        results.say(
            "SKIPPED: DuckDB, ClickHouse, Redis, PostgreSQL and SightingDB were not installed (`make bench` does it)",
        );
        return Ok(peers);
    };
    type Start = fn(&Path, &Path) -> anyhow::Result<Box<dyn Peer>>;
    let others: [(&str, Start); 8] = [
        ("duckdb raw", |tools, folder| Ok(Box::new(child::duckdb(tools, folder, "raw")?))),
        ("duckdb pairs", |tools, folder| Ok(Box::new(child::duckdb(tools, folder, "pairs")?))),
        ("clickhouse raw", |tools, folder| Ok(Box::new(child::clickhouse(tools, folder, "raw")?))),
        ("clickhouse pairs", |tools, folder| Ok(Box::new(child::clickhouse(tools, folder, "pairs")?))),
        ("redis", |_, folder| Ok(Box::new(redis::Redis::start(folder)?))),
        ("postgresql", |_, folder| Ok(Box::new(postgres::Postgres::start(folder)?))),
        ("sightingdb", |tools, folder| Ok(Box::new(sightingdb::SightingDb::start(tools, folder)?))),
        ("clickhouse http", |tools, folder| Ok(Box::new(http::ClickHouse::new(tools, folder)?))),
    ];
    for (name, start) in others {
        match start(&installed, &folder(&name.replace(' ', "-"))?) {
            Ok(peer) => peers.push(peer),
            Err(error) => results.say(&format!("SKIPPED: {name} ({error:#})")),
        }
    }
    Ok(peers)
}

fn load(
    peers: &mut [Box<dyn Peer>],
    corpus: &Corpus<'_>,
    events: f64,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut rates: Vec<(&'static str, bool, f64, Option<f64>)> = Vec::new();
    for peer in peers {
        if !peer.looks_back() {
            results
                .say(&format!("{}: has no look-back, so it answers for all of it at all times", peer.name()));
        }
        let loaded = peer.load(corpus)?;
        let rate = events / loaded.took.as_secs_f64();
        results.say(&format!("{}: {:.1} s, {rate:.0} events/s", peer.name(), loaded.took.as_secs_f64()));
        let each = loaded.bytes.map(|bytes| bytes as f64 / events);
        // The two that are asked over HTTP are filled as those in process are.
        if peer.name() != http::SEENBY && peer.name() != http::CLICKHOUSE {
            rates.push((peer.name(), peer.takes_file(), rate, each));
        }
    }
    for (of_file, what) in [(true, "file"), (false, "decoded")] {
        let mut of_kind = rates.iter().filter(|(_, takes_file, ..)| *takes_file == of_file);
        let Some((_, _, ours, _)) = of_kind.next() else { continue };
        for (name, _, theirs, _) in of_kind {
            results.add(format!("load.{what}"), *ours, "events/s", Better::Higher, (name, *theirs));
        }
    }
    // Nobody else keeps the names of hosts: what is compared is the store of decoded sightings.
    let ours = rates.iter().find(|(name, ..)| *name == local::DECODED).and_then(|(.., each)| *each);
    for (name, _, _, each) in rates.iter().filter(|(name, ..)| !name.starts_with("seenby")) {
        if let (Some(ours), Some(theirs)) = (ours, each) {
            results.add("disk.peers", ours, "bytes/event", Better::Lower, (name, *theirs));
        }
    }
    Ok(())
}

/// The two ways to ask us that others are held against.
fn is_ours(name: &str) -> bool {
    name == local::OF_FILE || name == http::SEENBY
}

/// What is asked.
struct Questions {
    set: HotSet,
    until: Second,
}

impl Questions {
    /// The hot address, over any number of hours.
    fn hot(&self, number: usize) -> Asked {
        self.of(self.set.hot(), number)
    }

    /// An address that one device reached once.
    fn rare(&self, number: usize) -> Asked {
        let mixed = (number as u32).wrapping_mul(0x9e37_79b1);
        let device = DeviceNumber(mixed % self.set.devices);
        self.of(self.set.rare(device, mixed / self.set.devices % self.set.days, 0), number)
    }

    fn of(&self, address: Address, number: usize) -> Asked {
        let hours = 1 + number as u32 * 337 % (self.set.days * 24);
        // Another second each time, as the clock would have it.
        let since = self.until.minus(u64::from(hours) * 3_600 + number as u64 % 3_600);
        Asked { address, since, until: self.until, hours }
    }

    /// The same question over all of the corpus.
    fn of_all(&self, asked: Asked) -> Asked {
        let hours = self.set.days * 24;
        Asked { since: self.until.minus(u64::from(hours) * 3_600), hours, ..asked }
    }
}

/// Everybody says what the first one says; who counts back from now is asked for that.
fn check(peers: &mut [Box<dyn Peer>], questions: &Questions, count: usize) -> anyhow::Result<()> {
    let asked: Vec<Asked> =
        (0..count).flat_map(|number| [questions.hot(number), questions.rare(number)]).collect();
    // What they come to for whoever answers for all that it holds, whatever the window.
    let of_all: Vec<Asked> = asked.iter().map(|asked| questions.of_all(*asked)).collect();
    let Some((ours, others)) = peers.split_first_mut() else { return Ok(()) };
    let expected = answers(&mut **ours, &asked)?;
    let expected_of_all = answers(&mut **ours, &of_all)?;
    let seen = expected.iter().filter(|told| told.devices > 0).count();
    anyhow::ensure!(seen > count, "only {seen} of {} answers are of something seen", asked.len());
    for peer in others {
        if peer.counts_from_now() {
            check_from_now(&mut **ours, &mut **peer, &asked)?;
            continue;
        }
        let (asked, expected) =
            if peer.looks_back() { (&asked, &expected) } else { (&of_all, &expected_of_all) };
        let told = answers(&mut **peer, asked)?;
        for ((told, expected), asked) in told.into_iter().zip(expected).zip(asked) {
            let is_equal = match (expected.devices, peer.knows_first()) {
                (0, _) => told.devices == 0,
                (_, true) => told == *expected,
                (_, false) => (told.devices, told.last) == (expected.devices, expected.last),
            };
            anyhow::ensure!(is_equal, "{} says {told:?} to {asked:?}, ours says {expected:?}", peer.name());
        }
    }
    Ok(())
}

fn answers(peer: &mut dyn Peer, asked: &[Asked]) -> anyhow::Result<Vec<Told>> {
    Ok(peer.ask(asked)?.into_iter().map(|(_, told)| told).collect())
}

fn check_from_now(ours: &mut dyn Peer, peer: &mut dyn Peer, asked: &[Asked]) -> anyhow::Result<()> {
    for asked in asked {
        let (until, told) = loop {
            let now = clock::now();
            let told = peer.ask(&[*asked])?;
            // Which second it counted back from is known only if there was but one.
            if clock::now() == now {
                break (now, told);
            }
        };
        let same = Asked { since: until.minus(u64::from(asked.hours) * 3_600), until, ..*asked };
        let expected = ours.ask(&[same])?;
        let devices = |told: &[(Duration, Told)]| told.first().map(|(_, told)| told.devices);
        let is_equal = devices(&told) == devices(&expected);
        anyhow::ensure!(is_equal, "{} says {told:?} to {same:?}, ours says {expected:?}", peer.name());
    }
    Ok(())
}

fn ask(
    peers: &mut [Box<dyn Peer>],
    questions: &Questions,
    scale: &Scale,
    results: &mut Results,
) -> anyhow::Result<()> {
    for (kind, of) in [("rare", Questions::rare as fn(&Questions, usize) -> Asked), ("hot", Questions::hot)] {
        let mut times: Vec<Quantiles> = peers.iter().map(|_| Quantiles::default()).collect();
        for turn in 0..scale.peer_questions.div_ceil(TURN) {
            // Others than those that were checked.
            let first = scale.peer_checked + turn * TURN;
            let asked: Vec<Asked> = (first..first + TURN).map(|number| of(questions, number)).collect();
            for (peer, times) in peers.iter_mut().zip(&mut times) {
                for (took, _) in peer.ask(&asked)? {
                    times.add(took);
                }
            }
        }
        let times: Vec<(&'static str, &'static str, f64)> = peers
            .iter()
            .zip(&mut times)
            .map(|(peer, times)| (peer.name(), peer.way(), times.micros(500)))
            .collect();
        for way in ["process", "http"] {
            let of_way = || times.iter().filter(|(_, theirs, _)| *theirs == way);
            let Some((.., ours)) = of_way().find(|(name, ..)| is_ours(name)) else { continue };
            for (name, _, theirs) in of_way().filter(|(name, ..)| !name.starts_with("seenby")) {
                results.add(format!("{kind}.{way}.p50"), *ours, "us", Better::Lower, (name, *theirs));
            }
        }
    }
    Ok(())
}
