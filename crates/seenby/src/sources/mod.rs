//! Sources that a server reads by itself, as `[[sources]]` of the settings file names them: folders and files that are followed,
//! sockets on which syslog and flows come, brokers and buckets that are asked. Each has a thread of its own, so that none stops another. Refuses to hold: sources that push (the HTTP room), and what a record
//! means (`formats`).
//!
//! ```text
//! folder ─ file ── framing ── decode ─┐
//!        ─ file ── framing ── decode ─┴─ one batch, with each file's place ─ Store::append ─ receipt
//! ```

mod documents;
mod feed;
mod fetched;
mod file;
mod folder;
mod kafka;
mod messages;
mod nats;
mod netflow;
mod objects;
mod place;
mod root;
mod settings;
mod status;
mod syslog;
mod udp;
mod whole;

pub(crate) use settings::{Source, SourceConfig, Usual, meant};
pub(crate) use status::{Snapshot, Status};

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use crossbeam_channel::{Sender, bounded};

use crate::store::{AnyDirectory, AnyStore};
use feed::{Around, Feed, Never, Stop, name};
use settings::From;

/// The sources of a running server.
pub(crate) struct Sources {
    threads: Vec<JoinHandle<()>>,
    statuses: Vec<Arc<Status>>,
    /// Dropped to stop them.
    stop: Sender<Never>,
}

impl Sources {
    /// Begins to read. Called on a runtime. The operator's key is that under which keys of certificates may be encrypted.
    pub(crate) fn start(
        sources: &[Source],
        store: &AnyStore,
        directory: &AnyDirectory,
        data: &Path,
        sealing: Option<&api::SealingKey>,
    ) -> anyhow::Result<Sources> {
        let (stop, stopped) = bounded(0);
        let around = Around {
            store: store.clone(),
            directory: directory.clone(),
            runtime: tokio::runtime::Handle::current(),
            stop: Stop(stopped),
        };
        let mut begun = Sources { threads: Vec::new(), statuses: Vec::new(), stop };
        for (number, source) in sources.iter().enumerate() {
            let source = Arc::new(source.clone());
            let status = Arc::new(Status::new(&source));
            begun.statuses.push(Arc::clone(&status));
            let mut feed = Feed::new(Arc::clone(&source), status, around.clone());
            let (data, sealing) = (data.to_owned(), sealing.cloned());
            tracing::info!(source = %name(&source.name), "a source is read");
            let thread = std::thread::Builder::new().name(format!("source-{number}"));
            let run = move || {
                // Whoever asks goes first.
                index::give_way();
                // Who asks hears of it before it has anything to take in.
                feed.introduce();
                match &source.from {
                    From::Files(files) => folder::follow(feed, files, &data),
                    From::Syslog(listener) => syslog::listen(feed, listener, sealing.as_ref()),
                    From::NetFlow(address) => netflow::listen(feed, *address),
                    From::Kafka(topics) => kafka::consume(feed, topics, &data),
                    From::Nats(stream) => nats::consume(feed, stream),
                    From::Objects(objects) => objects::follow(feed, objects, &data),
                }
            };
            begun.threads.push(thread.spawn(run).context("a thread of a source does not start")?);
        }
        Ok(begun)
    }

    /// How each of them stands, now and later: for whoever shows it.
    pub(crate) fn statuses(&self) -> &[Arc<Status>] {
        &self.statuses
    }

    /// Ends them all; what was read is in the store then. Waits for it: not on a thread that answers.
    pub(crate) fn stop(self) {
        drop(self.stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a source ended unexpectedly; this is a mistake in seenby");
            }
        }
        for status in self.statuses {
            tell(&status.snapshot());
        }
    }
}

/// What a source came to, in the log.
fn tell(now: &Snapshot) {
    let Snapshot { name, kind, sighted, ignored, refused, bytes, newest, .. } = now;
    let Snapshot { error, errors, last_refused, open, paused, lost, .. } = now;
    let sum = |counts: &std::collections::BTreeMap<&'static str, u64>| counts.values().sum::<u64>();
    tracing::info!(
        source = %self::name(name),
        kind,
        sighted,
        ignored = sum(ignored),
        refused = sum(refused),
        bytes,
        newest = %newest.map(|second| second.to_string()).unwrap_or_default(),
        error = error.as_deref().unwrap_or_default(),
        errors,
        last_refused = last_refused.as_deref().unwrap_or_default(),
        open,
        paused,
        lost = ?lost,
        "a source was stopped"
    );
}
