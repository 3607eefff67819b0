//! What shippers send: who may send it (a source's token), the body as it comes, and the protocols that it may come in: our own
//! (`own`), Elasticsearch's `_bulk` (`elastic`), Splunk's HEC (`hec`) and OTLP (`otlp`). An answer comes after the data is durable.
//! Refuses to hold: what a record means and where it is kept. Both are the [`Intake`]'s, which the program gives.
//!
//! ```text
//! body ── Pace ── Unpack ── Envelope ── Taking ── the store ── the protocol's answer
//! (here: bytes/s)  (gzip, zstd)  (_bulk, HEC, OTLP)  (the program's: formats, batches)
//! ```

mod body;
mod elastic;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod hec;
mod otlp;
pub(crate) mod own;
mod pace;
pub(crate) mod page;
mod pusher;
mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use sighting::{Book, Directory, Organisation, OrganisationId, Second, Source, Store};

use crate::state::State;

pub(crate) use body::Slots;
pub(crate) use hec::Channels;
pub(crate) use own::{ingest, sources};
pub(crate) use pace::Paces;
pub(crate) use page::sources_page;

/// Takes uploads in. The program implements it: it knows the formats, and the store.
pub trait Intake: Send + Sync {
    /// The name of a format as it is told, if there is one of that name.
    fn format(&self, name: &str) -> Option<&'static str>;

    /// Does some work on a thread for that.
    fn work(&self, work: Box<dyn FnOnce() + Send>);

    /// Begins to take an upload. It may wait for the store.
    fn begin(&self, upload: Upload) -> Box<dyn Taking>;

    /// An upload of a source was not taken in, and why.
    fn failed(&self, source: &Source, why: &str);

    /// What every source of an organisation has told this server since it started, pushed or read by itself; sorted by name.
    fn reports(&self, organisation: OrganisationId) -> Vec<SourceReport>;
}

/// Who sends, and as what it is read.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Whose devices.
    pub organisation: Organisation,
    /// The source whose token was shown.
    pub source: Source,
    /// The SHA-256 of that token.
    pub token: [u8; 32],
    /// The book by which both were found.
    pub book: Arc<Book>,
    /// What the sender says that it is, where the source does not say it.
    pub format: Option<&'static str>,
}

/// An upload that is being taken in. Its calls do the work on the thread that makes them.
pub trait Taking: Send {
    /// Takes some bytes of its records, cut anywhere.
    fn take(&mut self, bytes: &[u8]) -> Result<(), TakeError>;

    /// Takes one record, whole: a document of one line, or a line. Where the source does not say what it sends, each is looked at by
    /// itself, and is what `format` says, if that says anything.
    fn document(&mut self, bytes: &[u8], format: Option<&'static str>) -> Result<(), TakeError>;

    /// All of it came: what became of it. What is counted as sighted is durable.
    fn end(self: Box<Self>) -> Result<Taken, TakeError>;
}

/// What became of an upload: every record once.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Taken {
    /// Connections that a device of ours opened.
    pub sighted: u64,
    /// Sound records that are no sightings, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Records that could not be taken, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// The first of those.
    pub first_refused: Vec<RefusedRecord>,
}

impl Taken {
    /// Every record that could not be taken.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Every record.
    pub fn records(&self) -> u64 {
        self.sighted + self.ignored.values().sum::<u64>() + self.refused_total()
    }
}

/// A record that could not be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedRecord {
    /// The line it starts on; 1 is the first.
    pub line: u64,
    /// Why, for a person.
    pub reason: String,
}

/// Why an upload was not taken in. What came before it may be in the store: it may come again, and changes nothing then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TakeError {
    /// The store cannot take it now; for the log.
    Unavailable(String),
    /// The source, its token or its organisation has gone since it began.
    Gone,
    /// It would bring more new devices than the source may in an hour.
    NewDevices {
        /// How many it may bring.
        per_hour: u32,
        /// When the next hour begins.
        retry_after_s: u64,
    },
}

/// What a source has told since this program started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceReport {
    /// Under which name its sightings are kept.
    pub name: String,
    /// How they come: `push`, or how they are fetched.
    pub kind: &'static str,
    /// What they are read as, where that is said.
    pub format: Option<String>,
    /// Connections that a device opened.
    pub sighted: u64,
    /// Sound records that are no sightings, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Records that could not be taken, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// What never came, as far as anybody tells: by what it is counted in, such as `datagrams`.
    pub lost: BTreeMap<&'static str, u64>,
    /// Bytes of it that were read: of uploads and messages without compression around them, of files and objects as they lie.
    pub bytes: u64,
    /// Files that are followed, connections that are open, or partitions that are this server's.
    pub open: u64,
    /// Files and objects that are left where they are, because too much of them was refused or they cannot be read.
    pub paused: u64,
    /// The time of the newest sighting.
    pub newest: Option<Second>,
    /// When something was taken last.
    pub last_taken: Option<Second>,
    /// What is wrong now.
    pub error: Option<String>,
    /// What went wrong last, and when.
    pub last_error: Option<(Second, String)>,
}

impl SourceReport {
    /// Of one that has told nothing yet.
    pub const fn new(name: String, kind: &'static str, format: Option<String>) -> SourceReport {
        SourceReport {
            name,
            kind,
            format,
            sighted: 0,
            ignored: BTreeMap::new(),
            refused: BTreeMap::new(),
            lost: BTreeMap::new(),
            bytes: 0,
            open: 0,
            paused: 0,
            newest: None,
            last_taken: None,
            error: None,
            last_error: None,
        }
    }
}

/// The routes of others' protocols. They are those protocols' to document.
pub(crate) fn foreign<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    elastic::routes().merge(hec::routes()).merge(otlp::routes())
}

/// Whether a route takes uploads, whose bodies may be long on their way: it looks after their time itself.
pub(crate) fn is_upload(route: &str) -> bool {
    route == own::INGEST
        || elastic::BULKS.contains(&route)
        || hec::UPLOADS.contains(&route)
        || route == otlp::LOGS
}
