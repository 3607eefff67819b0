//! What a source has done since the server started, shared between the thread that reads it and whoever asks. Refuses to hold:
//! how that is shown.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sighting::{OrganisationId, Second, SourceName};

use api::SourceReport;

use super::settings::{From, Source, Transport};
use crate::clock;
use crate::ingest::Tally;
use crate::receive::name_of;

/// What kind of source it is, as a word for labels.
fn kind(source: &Source) -> &'static str {
    match &source.from {
        From::Files(_) => "files",
        From::Syslog(syslog) => match syslog.transport {
            Transport::Udp => "syslog-udp",
            Transport::Tcp => "syslog-tcp",
            Transport::Tls(_) => "syslog-tls",
        },
        From::NetFlow(_) => "netflow-udp",
        From::Kafka(_) => "kafka",
        From::Nats(_) => "nats",
        From::Objects(_) => "objects",
    }
}

/// A source at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot {
    /// Whose devices it tells of; not known before the first batch.
    pub(crate) organisation: Option<OrganisationId>,
    /// Under whose name its sightings are kept.
    pub(crate) name: SourceName,
    /// What it is read as, where that is said.
    pub(crate) format: Option<String>,
    /// What [`kind`] calls it.
    pub(crate) kind: &'static str,
    /// Records that are sightings, in the store.
    pub(crate) sighted: u64,
    /// Sound records that are none, by reason.
    pub(crate) ignored: BTreeMap<&'static str, u64>,
    /// Records that could not be taken, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// When something of it was taken last.
    pub(crate) last_taken: Option<Second>,
    /// What was wrong last, and when.
    pub(crate) last_error: Option<(Second, String)>,
    /// Bytes read, before decompression.
    pub(crate) bytes: u64,
    /// The newest second of a sighting.
    pub(crate) newest: Option<Second>,
    /// What is wrong now.
    pub(crate) error: Option<String>,
    /// How often something went wrong.
    pub(crate) errors: u64,
    /// Where the last refused record stood, and why it was refused.
    pub(crate) last_refused: Option<String>,
    /// Files that are followed, connections that are open, or partitions that are this server's.
    pub(crate) open: u64,
    /// Files that are left where they are, because too much of them was refused.
    pub(crate) paused: u64,
    /// What never came, as far as anybody tells: by what it is counted in.
    pub(crate) lost: BTreeMap<&'static str, u64>,
}

/// The status of one source.
#[derive(Debug)]
pub(crate) struct Status(Mutex<Snapshot>);

impl Status {
    pub(super) fn new(source: &Source) -> Status {
        Status(Mutex::new(Snapshot {
            organisation: None,
            name: source.name.clone(),
            format: name_of(source.wanted).map(str::to_owned),
            kind: kind(source),
            sighted: 0,
            ignored: BTreeMap::new(),
            refused: BTreeMap::new(),
            last_taken: None,
            last_error: None,
            bytes: 0,
            newest: None,
            error: None,
            errors: 0,
            last_refused: None,
            open: 0,
            paused: 0,
            lost: BTreeMap::new(),
        }))
    }

    /// A copy of how it stands.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// The same as every source is told of; `None` while it is not known whose it is.
    pub(crate) fn report(&self) -> Option<(OrganisationId, SourceReport)> {
        let now = self.snapshot();
        let report = SourceReport {
            name: now.name.as_str().to_owned(),
            kind: now.kind,
            format: now.format,
            sighted: now.sighted,
            ignored: now.ignored,
            refused: now.refused,
            lost: now.lost,
            bytes: now.bytes,
            open: now.open,
            paused: now.paused,
            newest: now.newest,
            last_taken: now.last_taken,
            error: now.error,
            last_error: now.last_error,
        };
        Some((now.organisation?, report))
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // Counts are whole after a panic, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.lock());
    }

    /// Records are counted; with them, what was read for them.
    pub(super) fn count(&self, tally: &Tally, bytes: u64, newest: Option<Second>) {
        let mut now = self.lock();
        now.sighted += tally.sighted;
        for (code, count) in &tally.ignored {
            *now.ignored.entry(code).or_default() += count;
        }
        for (code, count) in &tally.refused {
            *now.refused.entry(code).or_default() += count;
        }
        now.bytes += bytes;
        now.last_taken = Some(clock::now());
        now.newest = now.newest.max(newest);
        let last = tally.refused_in.values().next_back();
        if let Some((refused, record)) = last.and_then(|it| Some((it, it.first.last()?))) {
            now.last_refused =
                Some(format!("{}:{}: {}", sighting::escape(&refused.name), record.line, record.reason));
        }
    }

    /// So much never came in all: by what it is counted in, such as `datagrams`.
    pub(super) fn lost(&self, what: &'static str, count: u64) {
        if count > 0 {
            self.lock().lost.insert(what, count);
        }
    }

    /// Something is wrong; says whether that is news.
    pub(super) fn trouble(&self, error: &str) -> bool {
        let mut now = self.lock();
        if now.error.as_deref() == Some(error) {
            return false;
        }
        now.errors += 1;
        now.error = Some(error.to_owned());
        now.last_error = Some((clock::now(), error.to_owned()));
        true
    }

    /// Whether something is wrong now.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.lock().error.is_some()
    }

    /// Nothing is wrong any more; says whether something was.
    pub(super) fn is_well(&self) -> bool {
        self.lock().error.take().is_some()
    }
}
