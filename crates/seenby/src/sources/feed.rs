//! From chunks of a source to the store: a batch with the offsets that go with it, appended until it has its receipt, by rules
//! that are taken fresh for each. Refuses to hold: where chunks come from, and what a record means.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use formats::{Chunk, Framer};
use sighting::{
    Batch, Book, Directory as _, Network, Offset, Organisation, OrganisationId, Receipt, Second, SourceName,
    Store as _,
};
use tokio::runtime::Handle;

use super::settings::Source;
use super::status::{Snapshot, Status};
use crate::clock;
use crate::ingest::{Filler, Reading, Rules};
use crate::store::{AnyDirectory, AnyStore};

/// How long to wait before a store that failed is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// How long a stop is not heard by whoever waits for others.
const HEARD_WITHIN: Duration = Duration::from_millis(250);

/// Offsets in one batch; what is more is appended first. Each is looked for among the others.
const OFFSETS_MAX: usize = 1_024;

/// The server is told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stopped;

/// Tells the threads of sources to stop: it is dropped where they are started.
pub(super) enum Never {}

/// Heard by every thread of a source.
#[derive(Clone, Debug)]
pub(super) struct Stop(pub(super) Receiver<Never>);

impl Stop {
    /// Waits, unless the server stops.
    pub(super) fn wait(&self, how_long: Duration) -> Result<(), Stopped> {
        match self.0.recv_timeout(how_long) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Stopped),
            Ok(never) => match never {},
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.wait(Duration::ZERO).is_err()
    }
}

/// What a source needs of the house around it.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) store: AnyStore,
    pub(super) directory: AnyDirectory,
    pub(super) runtime: Handle,
    pub(super) stop: Stop,
}

/// One source's way into the store. It belongs to one thread.
pub(super) struct Feed {
    pub(super) source: Arc<Source>,
    pub(super) status: Arc<Status>,
    around: Around,
    /// How its records are read, with what the organisation says of its networks.
    formats: formats::Settings,
    /// None before the first batch.
    filler: Option<Filler>,
    organisation: Option<OrganisationId>,
    /// Whose the batch is that has begun.
    filled_for: Option<OrganisationId>,
    /// A batch has begun.
    is_open: bool,
    offsets: usize,
    /// Bytes that were read for what is not appended yet.
    bytes: u64,
}

impl Feed {
    pub(super) fn new(source: Arc<Source>, status: Arc<Status>, around: Around) -> Feed {
        Feed {
            formats: source.formats.clone(),
            source,
            status,
            around,
            filler: None,
            organisation: None,
            filled_for: None,
            is_open: false,
            offsets: 0,
            bytes: 0,
        }
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.around.stop
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.around.runtime
    }

    pub(super) fn around(&self) -> &Around {
        &self.around
    }

    /// Waits for what others do, which is given up in the middle when the server stops.
    pub(super) fn wait_for<T>(&self, awaited: impl Future<Output = T>) -> Result<T, Stopped> {
        let Around { runtime, stop, .. } = &self.around;
        let mut awaited = std::pin::pin!(awaited);
        runtime.block_on(async {
            loop {
                if let Ok(came) = tokio::time::timeout(HEARD_WITHIN, &mut awaited).await {
                    return Ok(came);
                }
                if stop.is_told() {
                    return Err(Stopped);
                }
            }
        })
    }

    /// Decodes a chunk into the batch.
    pub(super) fn take(&mut self, reading: &Arc<Reading>, chunk: &Chunk) -> Result<(), Stopped> {
        self.fill(reading, |settings, filler| formats::decode(chunk, settings, filler))
    }

    /// The same of several, in their order; their framer has them back.
    pub(super) fn take_all(
        &mut self,
        reading: &Arc<Reading>,
        chunks: Vec<Chunk>,
        framer: &mut Framer,
    ) -> Result<(), Stopped> {
        for chunk in chunks {
            self.take(reading, &chunk)?;
            framer.recycle(chunk);
        }
        Ok(())
    }

    /// Puts into the batch what is told of.
    pub(super) fn fill(
        &mut self,
        reading: &Arc<Reading>,
        tell: impl FnOnce(&formats::Settings, &mut Filler),
    ) -> Result<(), Stopped> {
        self.open()?;
        let Some(filler) = &mut self.filler else { return Ok(()) };
        filler.begin(reading, None);
        tell(&self.formats, filler);
        filler.end(reading);
        Ok(())
    }

    /// An input ends in damage.
    pub(super) fn damaged(
        &mut self,
        reading: &Arc<Reading>,
        code: &'static str,
        error: &io::Error,
    ) -> Result<(), Stopped> {
        self.open()?;
        let Some(filler) = &mut self.filler else { return Ok(()) };
        filler.begin(reading, None);
        filler.damaged(code, error);
        filler.end(reading);
        Ok(())
    }

    /// Bytes of the source were read.
    pub(super) fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Notes how far a part of it is read with what is in the batch.
    pub(super) fn set_offsets(&mut self, offsets: Vec<Offset>) -> Result<(), Stopped> {
        self.open()?;
        let Some(filler) = &mut self.filler else { return Ok(()) };
        for offset in offsets {
            self.offsets += 1;
            filler.set_offset(offset);
        }
        Ok(())
    }

    /// Whether the batch should be appended before more comes in.
    pub(super) fn is_full(&self) -> bool {
        self.offsets >= OFFSETS_MAX || self.filler.as_ref().is_some_and(Filler::is_full)
    }

    /// Whether nothing waits to be appended.
    pub(super) const fn is_empty(&self) -> bool {
        !self.is_open
    }

    /// What was kept under a key, in the organisation whose source it is now.
    pub(super) fn offset(&mut self, key: &str) -> Result<Option<u64>, Stopped> {
        let organisation = self.organisation()?;
        let mut patience = Patience::default();
        loop {
            let asked = self.around.store.offset(organisation, self.source.name.clone(), key.to_owned());
            match self.around.runtime.block_on(asked) {
                Ok(found) => return Ok(found),
                Err(error) => patience.wait(self, &format!("the store cannot be asked ({error})"))?,
            }
        }
    }

    /// Appends what there is, for as long as it takes. Nothing is lost by a store that fails: only a receipt ends this, or the
    /// server's end, after which it is read again.
    pub(super) fn commit(&mut self) -> Result<(), Stopped> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        self.offsets = 0;
        let bytes = std::mem::take(&mut self.bytes);
        let Some(mut filler) = self.filler.take() else { return Ok(()) };
        let batch = filler.take();
        let newest = batch.as_ref().and_then(|batch| batch.sightings().iter().map(|it| it.second).max());
        if let Some(batch) = batch
            && let Some(receipt) = self.append(&batch)?
        {
            filler.receipt(batch, receipt);
        }
        let tally = filler.take_tally();
        if self.filled_for == self.organisation {
            self.status.count(&tally, bytes, newest);
        } else {
            let (source, sighted) = (name(&self.source.name), tally.sighted);
            tracing::info!(%source, sighted, bytes, "records of an organisation whose source it was");
        }
        self.filler = Some(filler);
        Ok(())
    }

    /// None: the organisation left the book meanwhile, and nothing of the batch is kept.
    fn append(&self, batch: &Batch) -> Result<Option<Receipt>, Stopped> {
        let mut patience = Patience::default();
        loop {
            match self.around.runtime.block_on(self.append_once(batch)) {
                Ok(receipt) => {
                    patience.end(self);
                    return Ok(receipt);
                }
                Err(error) => patience.wait(self, &format!("the store takes nothing ({error})"))?,
            }
        }
    }

    async fn append_once(&self, batch: &Batch) -> anyhow::Result<Option<Receipt>> {
        let Around { store, directory, .. } = &self.around;
        let is_there = async || -> anyhow::Result<bool> {
            Ok(directory.book().await?.organisations.contains_key(&batch.organisation()))
        };
        if !is_there().await? {
            return Ok(None);
        }
        let receipt = store.append(batch).await?;
        // If it left the book meanwhile, the store may have been emptied before the batch came.
        if !is_there().await? {
            store.remove(batch.organisation()).await?;
            return Ok(None);
        }
        Ok(Some(receipt))
    }

    /// Begins a batch, by the rules of this moment.
    fn open(&mut self) -> Result<(), Stopped> {
        if self.is_open {
            return Ok(());
        }
        let rules = self.with_book(|book, organisation| Rules::new(organisation, book))?;
        self.filled_for = self.organisation;
        let unique = self.unique_networks()?;
        self.formats.unique_networks.clone_from(&unique);
        let rules = Arc::new(rules.with_unique_networks(unique));
        let mut filler = match self.filler.take() {
            None => Filler::new(rules),
            Some(mut filler) => {
                filler.change_rules(rules);
                filler
            }
        };
        // Nothing of another source is in it.
        let before = filler.change_source(&self.source.name);
        debug_assert!(before.is_none());
        self.filler = Some(filler);
        self.is_open = true;
        Ok(())
    }

    /// The settings' networks and the organisation's own in which an address is one machine at a time.
    fn unique_networks(&mut self) -> Result<Vec<Network>, Stopped> {
        let organisation = self.organisation()?;
        let mut patience = Patience::default();
        loop {
            match self.around.runtime.block_on(self.around.store.registry(organisation)) {
                Ok(registry) => {
                    let own = self.source.formats.unique_networks.iter().copied();
                    return Ok(own.chain(registry.unique_networks).collect());
                }
                Err(error) => patience.wait(self, &format!("the store cannot be asked ({error})"))?,
            }
        }
    }

    /// Whose source it is by the book of this moment; waits until there is one.
    pub(super) fn organisation(&mut self) -> Result<OrganisationId, Stopped> {
        self.with_book(|_, organisation| organisation.id)
    }

    /// Whoever's source it is by the book of this moment; waits until there is one.
    fn with_book<T>(&mut self, make: impl Fn(&Book, &Organisation) -> T) -> Result<T, Stopped> {
        let mut patience = Patience::default();
        loop {
            let named = self.source.organisation.as_deref();
            match self.around.runtime.block_on(self.around.directory.book()) {
                Err(error) => patience.wait(self, &format!("the directory cannot be read ({error})"))?,
                Ok(book) => match crate::house::choose(&book, named) {
                    Err(failure) => {
                        let hint = "name one with `organisation` in its [[sources]]";
                        let shown = format!("{}; {hint}", unchosen(&book, named));
                        // Only the log may name them: the rest is for whoever manages one of them.
                        patience.wait_told(self, &shown, &format!("{}; {hint}", failure.cause))?;
                    }
                    Ok(organisation) => {
                        patience.end(self);
                        self.belongs_to(organisation.id);
                        return Ok(make(&book, organisation));
                    }
                },
            }
        }
    }

    /// Says whose source it is, if that is known already.
    pub(super) fn introduce(&mut self) {
        let Ok(book) = self.around.runtime.block_on(self.around.directory.book()) else { return };
        if let Ok(organisation) = crate::house::choose(&book, self.source.organisation.as_deref()) {
            self.belongs_to(organisation.id);
        }
    }

    /// What was counted of one organisation is not shown to another.
    fn belongs_to(&mut self, organisation: OrganisationId) {
        self.organisation = Some(organisation);
        self.status.change(|now| {
            if now.organisation.is_some_and(|before| before != organisation) {
                begin_anew(now);
            }
            now.organisation = Some(organisation);
        });
    }

    /// All that was kept of the source, by key, in the organisation whose it is now.
    pub(super) fn offsets_kept(&mut self) -> Result<BTreeMap<String, u64>, Stopped> {
        let organisation = self.organisation()?;
        let mut patience = Patience::default();
        loop {
            let asked = self.around.store.offsets(organisation, self.source.name.clone());
            match self.around.runtime.block_on(asked) {
                Ok(found) => return Ok(found.into_iter().map(|it| (it.key, it.position)).collect()),
                Err(error) => patience.wait(self, &format!("the store cannot be asked ({error})"))?,
            }
        }
    }

    /// The first second that the organisation keeps.
    pub(super) fn kept_since(&mut self) -> Result<Second, Stopped> {
        self.with_book(|_, organisation| organisation.retention.since(clock::now()))
    }

    /// Something is wrong with the source: it is said when it is news.
    pub(super) fn trouble(&self, error: &str) {
        self.trouble_told(error, error);
    }

    /// The same where the log says more than whoever asks for the source may know.
    fn trouble_told(&self, shown: &str, error: &str) {
        if self.status.trouble(shown) {
            tracing::warn!(source = %name(&self.source.name), error, "a source is in trouble");
        }
    }

    /// Nothing is wrong any more.
    pub(super) fn is_well(&self) {
        if self.status.is_well() {
            tracing::info!(source = %name(&self.source.name), "the source goes on");
        }
    }
}

/// Why an organisation was not chosen, without a name of any.
fn unchosen(book: &Book, named: Option<&str>) -> &'static str {
    match named {
        _ if book.organisations.is_empty() => "there is no organisation",
        Some(_) => "there is no organisation of the name or GUID in its [[sources]]",
        None => "there are several organisations, and its [[sources]] names none",
    }
}

/// Forgets what was counted, and what went wrong.
fn begin_anew(now: &mut Snapshot) {
    (now.sighted, now.bytes, now.errors, now.paused) = (0, 0, 0, 0);
    now.ignored.clear();
    now.refused.clear();
    now.lost.clear();
    (now.last_taken, now.last_error, now.newest) = (None, None, None);
    (now.error, now.last_refused) = (None, None);
}

/// For a log.
pub(super) fn name(name: &SourceName) -> String {
    sighting::escape(name.as_str()).into_owned()
}

/// Waits longer each time.
#[derive(Default)]
struct Patience {
    /// None before the first wait.
    last: Option<Duration>,
}

impl Patience {
    fn wait(&mut self, feed: &Feed, error: &str) -> Result<(), Stopped> {
        self.wait_told(feed, error, error)
    }

    /// The same where the log says more than is shown.
    fn wait_told(&mut self, feed: &Feed, shown: &str, error: &str) -> Result<(), Stopped> {
        let next = self.last.map_or(RETRY_FIRST, |last| (last * 2).min(RETRY_LAST));
        self.last = Some(next);
        let whole = |what: &str| format!("{what}; it is tried again until it works, and nothing is lost");
        feed.trouble_told(&whole(shown), &whole(error));
        feed.around.stop.wait(next)
    }

    fn end(&self, feed: &Feed) {
        if self.last.is_some() {
            feed.is_well();
        }
    }
}
