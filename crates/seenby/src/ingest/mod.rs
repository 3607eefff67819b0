//! Taking in logs: sources are read and framed on one thread, decoded and appended on several, and every record is
//! counted once. Refuses to hold: what a record means (`formats`) and what is kept of it (the store).
//!
//! ```text
//! source ─ decompression ─ framing ──chunks──┬─ decode ─ batch ─ Store::append
//!          (one thread)                      └─ decode ─ batch ─ Store::append   (as many as there are processors)
//! ```

mod batch;
mod columnar;
mod explain;
mod framing;
mod progress;
mod source;
mod tally;
pub(crate) mod words;

pub(crate) use batch::{Filler, Rules};
pub(crate) use columnar::DAMAGED as DAMAGED_ROWS;
pub(crate) use explain::{Explained, Explanation, explain};
pub(crate) use framing::UNREADABLE;
pub(crate) use progress::Progress;
pub(crate) use source::{Compression, Found, Input, bytes, decompressed, inputs};
pub(crate) use tally::{Tally, WarnedIn};
pub(crate) use words::{columns, format, format_names, set_column, source_name, time_zone};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use formats::{Chunk, Format, Lost, Wanted};
use sighting::{SourceName, Store as _, StoreError};

use crate::exit::Failure;
use crate::output::counted;
use crate::store::AnyStore;

/// Chunks (about 1 MiB each) that wait for each decoder: enough that none is ever idle while the reader fills more.
const CHUNKS_WAITING_PER_THREAD: usize = 2;

/// How long a decoder with nothing to do keeps a batch that is not full: what comes in slowly (`tail -f`) is seen
/// after a moment.
const BATCH_WAITS_MAX: Duration = Duration::from_secs(1);

/// How logs are read.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What the operator says they are.
    pub(crate) wanted: Wanted,
    /// How records are read.
    pub(crate) formats: formats::Settings,
    /// The source's name; without one, each input's format names it.
    pub(crate) source: Option<SourceName>,
    /// Decoders.
    pub(crate) threads: usize,
}

/// One input that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Its place in the order of reading.
    index: usize,
    /// Its name, as it is shown (unescaped).
    name: String,
    /// What it was read as; unset while nothing told.
    format: OnceLock<Format>,
    /// Keys or columns that the operator named and that it does not have.
    missing_columns: Vec<String>,
    /// Records that a sighting could have come from: all but headers and blank lines.
    records: AtomicU64,
    /// Those of them that were refused.
    refused: AtomicU64,
    /// Those of them that were another kind of event.
    other_events: AtomicU64,
    /// Where reading ended badly.
    damage: OnceLock<Damage>,
    /// The input was cut inside a record, and that record was refused for it.
    cut_is_told: AtomicBool,
    /// What the input itself says is not in it.
    lost: OnceLock<Lost>,
}

/// Where and why reading an input ended before the input did.
#[derive(Debug)]
struct Damage {
    code: &'static str,
    line: u64,
    error: String,
}

impl Reading {
    /// Nothing of it was read yet.
    pub(crate) fn new(index: usize, name: String, missing_columns: Vec<String>) -> Reading {
        Reading {
            index,
            name,
            format: OnceLock::new(),
            missing_columns,
            records: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            other_events: AtomicU64::new(0),
            damage: OnceLock::new(),
            cut_is_told: AtomicBool::new(false),
            lost: OnceLock::new(),
        }
    }

    /// Records so far that a sighting could have come from, and how many of them were refused.
    pub(crate) fn records(&self) -> (u64, u64) {
        (self.records.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// A record told the format.
    fn is_format(&self, format: Format) {
        // Once told, it stays.
        let _ = self.format.set(format);
    }

    /// Reading ended badly.
    fn damage(&self, code: &'static str, line: u64, error: String) {
        // Reading ends once.
        let _ = self.damage.set(Damage { code, line, error });
    }

    /// Adds what is only known when all of it was decoded: damage that no record told of, and whether every record
    /// was refused.
    fn conclude(&self, tally: &mut Tally) {
        tally.inputs += 1;
        let mut records = self.records.load(Ordering::Relaxed);
        let mut refused = self.refused.load(Ordering::Relaxed);
        if let Some(damage) = self.damage.get()
            && !self.cut_is_told.load(Ordering::Relaxed)
        {
            (records, refused) = (records + 1, refused + 1);
            tally.refuse(damage.code, (self.index, &self.name), damage.line, || {
                format!("{} ({})", framing::damage_reason(damage.code), damage.error)
            });
        }
        if records > 0
            && refused == records
            && let Some(of_this) = tally.refused_in.get_mut(&self.index)
        {
            of_this.is_all = true;
        }
        self.note(records, tally);
    }

    /// Adds what the operator may want to know although nothing was refused: that a setting fits no record.
    fn note(&self, records: u64, tally: &mut Tally) {
        let name = sighting::escape(&self.name);
        let format = self.format.get();
        if let Some(lost) = self.lost.get().filter(|lost| **lost != Lost::default()) {
            tally.notes.push(format!(
                "note     {name}: by the exporter's sequence numbers {} and {} are missing here; it began to count anew {}",
                counted(lost.records, "flow record"),
                counted(lost.datagrams, "datagram"),
                counted(lost.restarts, "time"),
            ));
        }
        let is_generic = matches!(format, None | Some(Format::Ndjson | Format::Csv));
        if is_generic && records > 0 && !self.missing_columns.is_empty() {
            let names: Vec<_> = self.missing_columns.iter().map(|column| sighting::escape(column)).collect();
            tally.notes.push(format!(
                "note     {name}: --columns names {}, which neither a header nor a record at its start has",
                names.join(", ")
            ));
        }
        if records > 0
            && records == self.other_events.load(Ordering::Relaxed)
            && let Some(format) = format
        {
            tally.notes.push(format!(
                "note     {name}: read as {}, and every record ({records}) was another kind of event; if it holds \
                 connections, say what it is with --format, or map its columns with --columns",
                format.name()
            ));
        }
    }
}

/// A piece of work for a decoder.
struct Work {
    reading: Arc<Reading>,
    /// Under whose name its sightings are kept.
    source: SourceName,
    chunk: Chunk,
    /// Why its last record may be cut, where the input ended in damage.
    damage: Option<&'static str>,
}

/// What an ingest came to.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The counts, as far as it came.
    pub(crate) tally: Tally,
    /// Why it did not come to its end.
    pub(crate) failure: Option<Failure>,
}

/// Reads every input into the store. `stop` ends it early and cleanly: what was read by then is in the store.
pub(crate) fn run(
    store: &AnyStore,
    rules: &Arc<Rules>,
    plan: &Plan,
    inputs: &[Input],
    progress: &Progress,
    stop: &AtomicBool,
) -> Taken {
    if let AnyStore::Remote(_) = store {
        // A server on the same machine holds the folder and answers callers: they go first.
        index::give_way();
    }
    let runtime = tokio::runtime::Handle::current();
    let rules = &Arc::new(rules.clone());
    let (sender, receiver) = bounded(CHUNKS_WAITING_PER_THREAD * plan.threads);
    let failed = AtomicBool::new(false);
    let decoders = Decoders { store, rules, plan, runtime: &runtime, receiver: &receiver, failed: &failed };
    let ended = std::thread::scope(|scope| -> Result<_, Failure> {
        let mut handles = Vec::new();
        for number in 0..plan.threads {
            let thread = std::thread::Builder::new().name(format!("decode-{number}"));
            handles
                .push(thread.spawn_scoped(scope, || decoders.decode()).context("a thread does not start")?);
        }
        let stopped = || stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed);
        let read = framing::read_all(inputs, plan, progress, &stopped, sender);
        let decoded: Vec<_> = handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        Ok((read, decoded))
    });
    let mut tally = Tally::default();
    let (readings, decoded) = match ended {
        Ok(ended) => ended,
        Err(failure) => return Taken { tally, failure: Some(failure) },
    };
    let mut failure = None;
    for result in decoded {
        let failed = match result {
            Ok((part, failed)) => {
                tally.merge(part);
                failed.map(Failure::from)
            }
            Err(_) => {
                Some(Failure::unavailable("a decoder stopped unexpectedly; this is a mistake in seenby"))
            }
        };
        failure = failure.or(failed);
    }
    for reading in readings {
        reading.conclude(&mut tally);
    }
    Taken { tally, failure }
}

/// What a decoder does next.
enum Next {
    Work(Work),
    Pause,
    End,
}

/// What every decoder works with.
struct Decoders<'a> {
    store: &'a AnyStore,
    rules: &'a Arc<Rules>,
    plan: &'a Plan,
    runtime: &'a tokio::runtime::Handle,
    receiver: &'a Receiver<Work>,
    failed: &'a AtomicBool,
}

impl Decoders<'_> {
    /// Decodes chunks until there are no more, or the store fails: the counts up to there, and how it failed.
    fn decode(&self) -> (Tally, Option<StoreError>) {
        let mut filler = Filler::new(Arc::clone(self.rules));
        let failed = self.decode_all(&mut filler).err();
        (filler.into_tally(), failed)
    }

    /// Decodes chunks into a batch of its own and appends it whenever it is full.
    fn decode_all(&self, filler: &mut Filler) -> Result<(), StoreError> {
        loop {
            let work = match self.next() {
                Next::Work(work) => work,
                Next::Pause => {
                    let rest = filler.take();
                    self.append(rest, filler)?;
                    continue;
                }
                Next::End => break,
            };
            let full = filler.change_source(&work.source);
            self.append(full, filler)?;
            filler.begin(&work.reading, work.damage);
            formats::decode(&work.chunk, &self.plan.formats, filler);
            filler.end(&work.reading);
            let full = filler.take_full();
            self.append(full, filler)?;
        }
        let rest = filler.take();
        self.append(rest, filler)
    }

    fn next(&self) -> Next {
        if self.failed.load(Ordering::Relaxed) {
            return Next::End;
        }
        match self.receiver.recv_timeout(BATCH_WAITS_MAX) {
            Ok(work) => Next::Work(work),
            Err(RecvTimeoutError::Timeout) => Next::Pause,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Only what has a receipt is counted as sighted.
    fn append(&self, batch: Option<sighting::Batch>, filler: &mut Filler) -> Result<(), StoreError> {
        let Some(batch) = batch else { return Ok(()) };
        match self.runtime.block_on(self.store.append(&batch)) {
            Ok(receipt) => {
                filler.receipt(batch, receipt);
                Ok(())
            }
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                // The reader may be waiting for room: take what there is until it notices.
                while self.receiver.recv().is_ok() {}
                Err(error)
            }
        }
    }
}

/// Sends a chunk on its way; `false` if nobody decodes any more.
fn send(sender: &Sender<Work>, work: Work) -> bool {
    sender.send(work).is_ok()
}
