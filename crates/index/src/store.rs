//! The store: takes batches into the journal and memory, answers from the current view, and hands what memory holds
//! to segments. Refuses to hold: the making of files from rows (see `upkeep`), recovery (see `recover`), answers
//! (see `ask`).
//!
//! Who may do what: appends run side by side, each under the gate's read half from journal to view; a rotation takes
//! the write half, so after it no batch of the old journal is missing from the view. Changes of the manifest hold
//! its lock. Questions take none of these: they load the current view.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use sighting::{
    Answer, Batch, Coverage, Day, DeviceEntry, DeviceKey, Identity, Network, Numbering, Offset,
    OrganisationId, Question, Questions, Receipt, RegistryChange, RegistrySettings, Retained, Second,
    SourceName, Store, StoreError,
};

use crate::ask;
use crate::error::IndexError;
use crate::give_way::give_way;
use crate::hot::Hot;
use crate::journal::{self, Frame, Journal, PAYLOAD_BYTES_MAX};
use crate::leases::{Fact, Leases};
use crate::manifest::Manifest;
use crate::names::{Entry, Names};
use crate::record::{self, CellRows};
use crate::row::{Key, Row, Table};
use crate::run::Run;
use crate::segment::{Cell, Handles};
use crate::storage::Storage;
use crate::upkeep;
use crate::view::{CellView, OrganisationView, View};

/// How the store uses memory and threads.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows in memory (24 bytes each) at which they are handed to segments. As many again may wait while the
    /// segments are written. The journal is bounded by the same number, and with it the time to open the folder.
    pub live_rows_max: u64,
    /// Whether threads of its own write segments and read hot addresses. Without them the append that fills memory and the
    /// question that is one of many do, which tests use to have one order of events.
    pub background: bool,
    /// Files of segments that are open at once; further ones are opened when they are asked.
    pub open_files_max: usize,
    /// From how many identities of one answer on an address is hot: what answers need of it stays in memory.
    pub hot_identities_min: usize,
    /// So many such answers later all of it is read: reading it costs as much as many questions.
    pub hot_asked_min: u32,
    /// The most bytes that all hot addresses take together.
    pub hot_bytes_max: u64,
    /// The most bytes that the filters of all segments take together. While one finds no room, every question about
    /// its day reads a page.
    pub filter_bytes_max: u64,
    /// The most bytes of one record of the journal, which holds a batch; 1 GiB at most. A larger batch is refused.
    pub journal_record_bytes_max: usize,
    /// Addresses behind which there are other devices, in every organisation, beside those that each was taught.
    pub nat_gateways: Vec<Network>,
}

impl Default for Options {
    fn default() -> Options {
        Options::within(Options::USUAL_BYTES)
    }
}

impl Options {
    /// What a store takes unless told otherwise.
    pub const USUAL_BYTES: u64 = 1_536_000_000;
    /// Rows beyond which nothing is won by more: a start must read them all from the journal, which takes a second.
    const LIVE_ROWS_MOST: u64 = 12_000_000;
    /// The least that one works with.
    pub const LEAST_BYTES: u64 = 128_000_000;

    /// A store in so many bytes of memory, what the process needs beside it included; page cache, which the system takes
    /// back as it likes, is not counted.
    ///
    /// Three eighths are for filters: 100 million addresses of a day take 150 MB. A quarter is for rows, 12 million at most:
    /// 24 bytes and a filter's share for each that is live, as much for each that waits to be written, and what the filter of
    /// its segment is made of, 60 in all. A sixteenth is for hot addresses: one of 50,000 devices on 30 days takes half
    /// a megabyte. The rest is for batches on their way, names, and the program.
    pub fn within(bytes: u64) -> Options {
        Options {
            live_rows_max: (bytes / 256).min(Options::LIVE_ROWS_MOST),
            background: true,
            open_files_max: 512,
            hot_identities_min: 2_048,
            hot_asked_min: 16,
            hot_bytes_max: bytes / 16,
            filter_bytes_max: bytes / 8 * 3,
            journal_record_bytes_max: PAYLOAD_BYTES_MAX,
            nat_gateways: Vec::new(),
        }
    }
}

/// The embedded store. Dropping it stops its threads; nothing needs to be closed.
pub struct IndexStore {
    pub(crate) shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What the store and its threads share.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) handles: Arc<Handles>,
    pub(crate) options: Options,
    view: ArcSwap<View>,
    pub(crate) hot: Hot,
    /// Held while a new view is made of the old one.
    publishing: Mutex<()>,
    /// Held while the leases of a new view are made of those of the old one, which takes longer: nobody else waits for it.
    leasing: Mutex<()>,
    gate: RwLock<Active>,
    pub(crate) manifest: Mutex<Manifest>,
    /// Rows in runs of the active journal.
    live_rows: AtomicU64,
    signals: Mutex<Signals>,
    signalled: Condvar,
    /// Sightings taken since the store was opened, for metrics.
    appended: AtomicU64,
}

/// The journal that takes batches now; its file is made by the first one.
pub(crate) struct Active {
    pub(crate) number: u64,
    journal: OnceLock<Arc<Journal>>,
    creating: Mutex<()>,
}

#[derive(Default)]
struct Signals {
    spill_wanted: bool,
    spilling: bool,
    stop: bool,
    failed: Option<String>,
}

/// Runs of one cell and journal beyond this are merged in memory, so a look-up searches few.
const RUNS_MAX: usize = 16;
/// How many of the smallest runs become one.
const RUNS_MERGED: usize = 12;

impl Active {
    pub(crate) fn new(number: u64) -> Active {
        Active { number, journal: OnceLock::new(), creating: Mutex::new(()) }
    }

    pub(crate) fn journal(&self, shared: &Shared) -> Result<Arc<Journal>, IndexError> {
        if let Some(journal) = self.journal.get() {
            return Ok(Arc::clone(journal));
        }
        let _creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = self.journal.get() {
            return Ok(Arc::clone(journal));
        }
        let bytes_max = shared.options.journal_record_bytes_max;
        let journal = Arc::new(Journal::create(&*shared.storage, self.number, bytes_max)?);
        Ok(Arc::clone(self.journal.get_or_init(|| journal)))
    }

    /// Whether any batch was written to it.
    pub(crate) fn is_used(&self) -> bool {
        self.journal.get().is_some()
    }
}

impl Shared {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        handles: Arc<Handles>,
        options: Options,
        view: View,
        manifest: Manifest,
        active: Active,
    ) -> Shared {
        let live_rows =
            view.cells().flat_map(|(_, cell)| &cell.runs).map(|run| run.rows().len() as u64).sum();
        Shared {
            storage,
            handles,
            hot: Hot::new(&options),
            options,
            view: ArcSwap::from_pointee(view),
            publishing: Mutex::new(()),
            leasing: Mutex::new(()),
            gate: RwLock::new(active),
            manifest: Mutex::new(manifest),
            live_rows: AtomicU64::new(live_rows),
            signals: Mutex::default(),
            signalled: Condvar::new(),
            appended: AtomicU64::new(0),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Replaces the view by a changed copy.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) {
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// Replaces the view by a copy with one organisation changed, its joins brought up to date; nothing happens to one
    /// that was removed.
    pub(crate) fn publish_of(
        &self,
        organisation: OrganisationId,
        change: impl FnOnce(&mut OrganisationView),
    ) {
        self.publish(|view| {
            if let Some(view) = view.organisations.get_mut(&organisation) {
                let view = Arc::make_mut(view);
                change(view);
                view.update_joins();
            }
        });
    }

    /// Replaces the leases of an organisation by a changed copy, and in the same view what else comes with them.
    pub(crate) fn publish_leases_of(
        &self,
        organisation: OrganisationId,
        change: impl FnOnce(&mut Leases, &Names),
        rest: impl FnOnce(&mut OrganisationView),
    ) {
        let _leasing = self.leasing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.view.load().organisations.get(&organisation).map(Arc::clone);
        let Some(known) = known else { return };
        let mut leases = Leases::clone(&known.leases);
        change(&mut leases, &known.names());
        drop(known);
        self.publish_of(organisation, |view| {
            view.leases = Arc::new(leases);
            rest(view);
        });
    }

    /// Derives the joins of every organisation, at the start.
    pub(crate) fn derive_joins(&self) {
        self.publish(|view| {
            let ids: Vec<OrganisationId> = view.organisations.keys().copied().collect();
            for id in ids {
                view.organisation_mut(id).update_joins();
            }
        });
    }

    fn gate(&self) -> RwLockReadGuard<'_, Active> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate's write half: no append is under way while it is held.
    pub(crate) fn close_gate(&self) -> RwLockWriteGuard<'_, Active> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is live any more: everything in memory belongs to older journals.
    pub(crate) fn reset_live_rows(&self) {
        self.live_rows.store(0, Ordering::Relaxed);
        // Under the lock: whoever has just seen that memory is full waits by then, and hears it.
        let _signals = self.signals();
        self.signalled.notify_all();
    }

    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.live_rows.load(Ordering::Relaxed) >= self.options.live_rows_max
    }

    /// Refuses to go on after a failure. What must not build on a journal that failed asks under the gate: a failure is
    /// noted before the gate is let go.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        Shared::check_signals(&self.signals())
    }

    fn check_signals(signals: &Signals) -> Result<(), IndexError> {
        match &signals.failed {
            Some(failure) => Err(IndexError::Stopped(failure.clone())),
            None => Ok(()),
        }
    }

    /// Waits while memory is full and being emptied.
    fn admit(&self) -> Result<(), IndexError> {
        let mut signals = self.signals();
        loop {
            Shared::check_signals(&signals)?;
            let is_being_emptied = signals.spill_wanted || signals.spilling;
            if !(self.options.background && self.is_full() && is_being_emptied) {
                return Ok(());
            }
            signals = self.signalled.wait(signals).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stops all writing: what was acknowledged is safe, nothing more is.
    pub(crate) fn fail(&self, failure: &str) {
        // First of all it is known; the log may be slow.
        self.signals().failed.get_or_insert_with(|| failure.to_owned());
        self.signalled.notify_all();
        tracing::error!(failure, "the store stopped writing");
    }

    /// Hands memory to segments, here or on the store's thread.
    fn request_spill(self: &Arc<Shared>) {
        if self.options.background {
            self.signals().spill_wanted = true;
            self.signalled.notify_all();
        } else {
            self.spill();
        }
    }

    /// Writes segments now. A failure has stopped the store's writing by then, and is logged: it is not lost here.
    fn spill(&self) {
        let _ = upkeep::spill(self);
    }

    /// Whether these are still the names of the organisation; asked under the gate, which a removal closes.
    fn is_current(&self, organisation: OrganisationId, names: &Arc<RwLock<Names>>) -> bool {
        self.view.load().organisations.get(&organisation).is_some_and(|view| Arc::ptr_eq(&view.names, names))
    }

    fn names(&self, organisation: OrganisationId) -> Arc<RwLock<Names>> {
        if let Some(view) = self.view.load().organisations.get(&organisation) {
            return Arc::clone(&view.names);
        }
        self.publish(|view| {
            view.organisation_mut(organisation);
        });
        self.names(organisation)
    }
}

/// The life of the thread that writes segments.
fn work(shared: &Shared) {
    let mut signals = shared.signals();
    loop {
        if signals.stop || signals.failed.is_some() {
            return;
        }
        if !signals.spill_wanted {
            signals = shared.signalled.wait(signals).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        signals.spill_wanted = false;
        signals.spilling = true;
        drop(signals);
        shared.spill();
        signals = shared.signals();
        signals.spilling = false;
        signals.spill_wanted |= shared.is_full();
        shared.signalled.notify_all();
    }
}

impl IndexStore {
    pub(crate) fn start(shared: Shared) -> IndexStore {
        let shared = Arc::new(shared);
        let spawn = |name: &str, work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(name.to_owned());
            let work = move || {
                give_way();
                work(&shared);
            };
            thread.spawn(work).expect("the system can start one more thread")
        };
        let workers = if shared.options.background {
            vec![spawn("seenby-segments", work), spawn("seenby-hot", |shared| shared.hot.work(shared))]
        } else {
            Vec::new()
        };
        let store = IndexStore { shared, workers };
        if store.shared.is_full() {
            store.shared.request_spill();
        }
        store
    }

    /// Opens the store in a folder of files, taking in what its journals hold.
    pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<IndexStore, IndexError> {
        Ok(IndexStore::start(crate::recover::recover(storage, options)?))
    }

    /// [`Store::append`], on the caller's thread: returns when the batch is durable and visible. Callers may run
    /// side by side; they share the sync.
    pub fn append_now(&self, batch: &Batch) -> Result<Receipt, IndexError> {
        let shared = &self.shared;
        shared.admit()?;
        let names = shared.names(batch.organisation());
        let numbered = Numbered::new(batch, &names)?;
        let cells = cells_of(batch, &numbered);
        let body = record::cells(numbered.source, batch.offsets(), &cells);
        // Nothing refers to it yet, and the names that are new go with the next batch: whoever sends less may go on.
        journal::check_payload(body.len(), shared.options.journal_record_bytes_max)?;

        let active = shared.gate();
        shared.check()?;
        if !shared.is_current(batch.organisation(), &names) {
            // Its numbers mean nothing any more, and nobody wants its sightings.
            return Err(IndexError::Refused("the organisation was removed meanwhile".to_owned()));
        }
        let journal = active.journal(shared)?;
        let put_names = |frame: &mut Frame| {
            let mut names = write(&names);
            // Learned only now: nobody else's record brings them, so they are there with this batch or not at all.
            numbered.learn_product_words(batch, &mut names);
            record::put_append(frame.bytes(), batch.organisation(), names.unjournalled());
            frame.check()?;
            names.journalled();
            Ok(())
        };
        let position = journal.append(put_names, &body);
        // A failed write, or names that do not fit, leave them learned but unjournalled: the store has stopped, nothing refers to them.
        let position = position.inspect_err(|error| shared.fail(&error.to_string()))?;
        drop(body);
        journal.sync_to(position).inspect_err(|error| shared.fail(&error.to_string()))?;

        let rows: usize = cells.iter().map(|cell| cell.rows.len()).sum();
        numbered.note(batch, &names);
        let places = self.publish_runs(batch.organisation(), cells, active.number);
        let full = shared.live_rows.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64
            >= shared.options.live_rows_max;
        let generation = active.number;
        drop(active);
        for (table, day) in places {
            merge_runs(shared, Cell { organisation: batch.organisation(), table, day }, generation);
        }
        if full {
            shared.request_spill();
        }
        let sightings = batch.sightings().len() as u64;
        shared.appended.fetch_add(sightings, Ordering::Relaxed);
        Ok(Receipt { sightings })
    }

    fn publish_runs(
        &self,
        organisation: OrganisationId,
        cells: Vec<CellRows>,
        generation: u64,
    ) -> Vec<(Table, Day)> {
        let places = cells.iter().map(|cell| (cell.table, cell.day)).collect();
        let run_of =
            |cell: CellRows| (cell.table, cell.day, Arc::new(Run::from_sorted(cell.rows, generation)));
        // Before the view is held: the filters of runs take time.
        let runs: Vec<_> = cells.into_iter().map(run_of).collect();
        let leases: Vec<Arc<Run>> = runs
            .iter()
            .filter(|(table, ..)| *table == Table::Leases)
            .map(|(_, _, run)| Arc::clone(run))
            .collect();
        let take_runs = |view: &mut OrganisationView| {
            for (table, day, run) in runs {
                view.cell_mut(table, day).runs.push(run);
            }
        };
        if leases.is_empty() {
            self.shared.publish_of(organisation, take_runs);
        } else {
            let rows = leases.iter().flat_map(|run| run.rows());
            self.shared.publish_leases_of(organisation, |leases, names| leases.add(rows, names), take_runs);
        }
        places
    }

    /// [`Store::stats`], on the caller's thread.
    pub fn stats_now(&self, question: &Question) -> Result<Answer, IndexError> {
        if let Some(answer) = self.shared.hot.answer(&self.shared, question) {
            return answer;
        }
        let view = self.shared.view.load();
        let Some(view) = view.organisations.get(&question.organisation) else { return Ok(Answer::Unknown) };
        let (answer, identities) = ask::stats(view, question)?;
        self.shared.hot.note(&self.shared, question, identities);
        Ok(answer)
    }

    /// [`Store::stats_of`], on the caller's thread.
    pub fn stats_of_now(&self, questions: &Questions) -> Result<Vec<Answer>, IndexError> {
        // One view for all: what is kept of hot addresses may be of a newer one.
        match self.organisation(questions.organisation) {
            Some(view) => ask::stats_of(&view, questions),
            None => Ok(vec![Answer::Unknown; questions.addresses.len()]),
        }
    }

    /// Writes everything in memory into segments, now.
    pub fn flush(&self) -> Result<(), IndexError> {
        upkeep::spill(&self.shared)
    }

    /// Of the devices that a batch tells of, and of all the names in it, how many nobody has told of before. Cost: a look-up for each.
    pub fn newcomers_in(&self, batch: &Batch) -> (usize, usize) {
        let mut devices = vec![false; batch.identities().len()];
        for identity in batch.reporters().iter().map(|(identity, _)| *identity) {
            devices[identity as usize] = true;
        }
        for sighting in batch.sightings() {
            devices[sighting.identity as usize] = true;
        }
        let view = self.organisation(batch.organisation());
        let names = view.as_ref().map(|view| view.names());
        let is_new = |identity| names.as_ref().is_none_or(|names| names.number(identity).is_none());
        let new = (0..).zip(batch.identities()).filter(|(at, it)| batch.is_used(*at) && is_new(it));
        new.fold((0, 0), |(told, all), (at, _)| (told + usize::from(devices[at as usize]), all + 1))
    }

    /// Organisations of which anything is held.
    pub fn organisations(&self) -> Vec<OrganisationId> {
        self.shared.view().organisations.keys().copied().collect()
    }

    /// Figures for metrics.
    pub fn figures(&self) -> Figures {
        let view = self.shared.view();
        let (hot_addresses, hot_bytes) = self.shared.hot.figures();
        let mut figures = Figures {
            hot_addresses,
            hot_bytes,
            appended: self.shared.appended.load(Ordering::Relaxed),
            organisations: view.organisations.len() as u64,
            is_stopped: self.shared.check().is_err(),
            ..Figures::default()
        };
        for held in view.organisations.values() {
            figures.leases_dropped += held.leases.dropped();
            figures.merges_dropped += held.names().merges_dropped();
        }
        for (_, cell) in view.cells() {
            figures.live_rows += cell.runs.iter().map(|run| run.rows().len() as u64).sum::<u64>();
            figures.segments += cell.segments.len() as u64;
            figures.segment_rows += cell.segments.iter().map(|segment| segment.rows).sum::<u64>();
            figures.unfiltered_segments +=
                cell.segments.iter().filter(|segment| !segment.is_filtered()).count() as u64;
            figures.index_bytes += cell.segments.iter().map(|segment| segment.memory() as u64).sum::<u64>();
        }
        figures
    }

    fn organisation(&self, organisation: OrganisationId) -> Option<Arc<OrganisationView>> {
        self.shared.view.load().organisations.get(&organisation).map(Arc::clone)
    }

    fn teach_now(&self, organisation: OrganisationId, change: &RegistryChange) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.admit()?;
        let names = shared.names(organisation);
        let change = match change {
            RegistryChange::Merge { .. } => self.owners_merged(organisation, change)?,
            RegistryChange::Split(identity) => self.merge_taken_back(organisation, identity)?,
            change => change.clone(),
        };
        let entry = write(&names).change_entry(&change).map_err(|identity| no_device(&identity))?;
        if matches!(entry, Entry::Merge { from, into } if from == into) {
            return Ok(());
        }
        let active = shared.gate();
        shared.check()?;
        if !shared.is_current(organisation, &names) {
            return Err(StoreError::Refused("the organisation was removed meanwhile".to_owned()));
        }
        let journal = active.journal(shared)?;
        let put_names = |frame: &mut Frame| {
            let mut names = write(&names);
            names.learn(entry);
            record::put_learn(frame.bytes(), organisation, names.unjournalled());
            frame.check()?;
            names.journalled();
            Ok(())
        };
        let position = journal.append(put_names, &[]);
        let position = position.inspect_err(|error| shared.fail(&error.to_string()))?;
        journal.sync_to(position).inspect_err(|error| shared.fail(&error.to_string()))?;
        shared.publish_of(organisation, |_| {});
        Ok(())
    }

    /// A merge joins the devices that own the two identities now, not the identities themselves.
    fn owners_merged(
        &self,
        organisation: OrganisationId,
        change: &RegistryChange,
    ) -> Result<RegistryChange, StoreError> {
        let RegistryChange::Merge { from, into } = change else { return Ok(change.clone()) };
        Ok(RegistryChange::Merge {
            from: self.owner(organisation, from)?,
            into: self.owner(organisation, into)?,
        })
    }

    /// A split takes back the first merge on the way to a device.
    fn merge_taken_back(
        &self,
        organisation: OrganisationId,
        identity: &Identity,
    ) -> Result<RegistryChange, StoreError> {
        let view = self.organisation(organisation).ok_or_else(|| no_device(identity))?;
        view.names().number(identity).ok_or_else(|| no_device(identity))?;
        let merged = ask::merged_on_the_way(&view, identity)?;
        let refused = || StoreError::Refused(format!("'{identity}' was not merged into another device"));
        merged.map(RegistryChange::Split).ok_or_else(refused)
    }

    fn owner(&self, organisation: OrganisationId, identity: &Identity) -> Result<Identity, StoreError> {
        let view = self.organisation(organisation).ok_or_else(|| no_device(identity))?;
        let devices = ask::devices(&view, Some(&DeviceKey::Identity(identity.clone())), Second::MAX)?;
        devices.into_iter().next().map(|device| device.identity).ok_or_else(|| no_device(identity))
    }
}

fn no_device(identity: &Identity) -> StoreError {
    StoreError::Refused(format!("there is no device '{identity}'"))
}

impl Drop for IndexStore {
    fn drop(&mut self) {
        self.shared.signals().stop = true;
        self.shared.signalled.notify_all();
        self.shared.hot.stop();
        for worker in self.workers.drain(..) {
            // A panic was reported there.
            let _ = worker.join();
        }
    }
}

/// What the store holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Sightings taken since the store was opened, repeats included.
    pub appended: u64,
    /// Organisations with any data.
    pub organisations: u64,
    /// Rows in memory.
    pub live_rows: u64,
    /// Segment files.
    pub segments: u64,
    /// Rows in segment files.
    pub segment_rows: u64,
    /// Those of them whose filters find no room in memory.
    pub unfiltered_segments: u64,
    /// Bytes of filters and page indexes in memory.
    pub index_bytes: u64,
    /// Hot addresses that are held in memory.
    pub hot_addresses: u64,
    /// The bytes that they take.
    pub hot_bytes: u64,
    /// Leases that found no room beside newer ones of the same address, since the start; repeats count again.
    pub leases_dropped: u64,
    /// Merges of the product that found no room beside others of the same agent, since the start; repeats count again.
    pub merges_dropped: u64,
    /// Whether a failure stopped all writing; questions are answered all the same.
    pub is_stopped: bool,
}

/// The numbers of what a batch names.
struct Numbered<'b> {
    /// By the batch's own index. Batches that come after this one find them here: most of what they name has one.
    identities: MutexGuard<'b, Numbering>,
    source: u16,
}

impl<'b> Numbered<'b> {
    fn new(batch: &'b Batch, names: &RwLock<Names>) -> Result<Numbered<'b>, IndexError> {
        let mut unknown = Vec::new();
        let mut identities = batch.numbering();
        let mut source = {
            let names = read(names);
            let numbers = identities.of(names.id(), batch.identities().len());
            for (number, (index, identity)) in numbers.iter_mut().zip((0..).zip(batch.identities())) {
                // Of what the batch only mentions, nothing is kept and no number is given.
                if number.is_none() && batch.is_used(index) {
                    *number = names.number(identity);
                    unknown.extend(number.is_none().then_some(index));
                }
            }
            names.source(batch.source())
        };
        if source.is_none() || !unknown.is_empty() {
            let mut names = write(names);
            let numbers = identities.of(names.id(), batch.identities().len());
            for index in unknown {
                let index = index as usize;
                numbers[index] = Some(names.number_or_learn(&batch.identities()[index]));
            }
            source = names.source_or_learn(batch.source());
        }
        let source = source
            .ok_or_else(|| IndexError::Refused("an organisation has at most 32,768 sources".to_owned()))?;
        Ok(Numbered { identities, source })
    }

    fn identity(&self, index: u32) -> u32 {
        self.identities.get(index).expect("what a batch uses has a number")
    }

    /// Learns what the product says of merges and groups, as far as it is news: it says the same again and again.
    fn learn_product_words(&self, batch: &Batch, names: &mut Names) {
        for merge in batch.merges() {
            let (from, into, second) = (self.identity(merge.from), self.identity(merge.into), merge.second);
            names.learn_product_merge(from, into, second);
        }
        for fact in batch.groups() {
            let (of, group, second) = (self.identity(fact.agent), fact.group.clone(), fact.second);
            if names.is_group_news(of, &group, second) {
                names.learn(Entry::Group { of, group, second });
            }
        }
    }

    /// Notes in the names what the batch's journal record says with its rows and offsets.
    fn note(&self, batch: &Batch, names: &RwLock<Names>) {
        let mut carriers = distinct_carriers(batch);
        {
            let names = read(names);
            carriers = carriers
                .into_iter()
                .map(|(name, agent)| (self.identity(name), self.identity(agent)))
                .collect();
            carriers.retain(|(name, agent)| name != agent && !names.knows_carrier(*name, *agent));
        }
        if carriers.is_empty() && batch.offsets().is_empty() && batch.leases().is_empty() {
            return;
        }
        let mut names = write(names);
        for lease in batch.leases() {
            names.leased_once(self.identity(lease.what));
        }
        for (name, agent) in carriers {
            names.carried_by(name, agent);
        }
        for offset in batch.offsets() {
            names.set_offset(self.source, offset.key.clone(), offset.position);
        }
    }
}

/// The pairs of a batch's registry facts, nearly without repeats: one device's records mostly repeat its last pair.
fn distinct_carriers(batch: &Batch) -> Vec<(u32, u32)> {
    let mut last = vec![u32::MAX; batch.identities().len()];
    let mut pairs = Vec::new();
    for fact in batch.carriers() {
        let slot = &mut last[fact.name as usize];
        if *slot != fact.agent {
            *slot = fact.agent;
            pairs.push((fact.name, fact.agent));
        }
    }
    pairs
}

/// A batch's rows by cell, sorted.
fn cells_of(batch: &Batch, numbered: &Numbered<'_>) -> Vec<CellRows> {
    let number = |index: u32| numbered.identity(index);
    // Room for all rows of a cell at once: growing would copy each of them, and touch twice the memory.
    let mut counts = Counts::default();
    batch.sightings().iter().for_each(|sighting| counts.add(Table::Sightings, sighting.second.day()));
    batch.carriers().iter().for_each(|fact| counts.add(Table::Carriers, fact.second.day()));
    let mut cells = Cells { counts: counts.finished(), ..Cells::default() };
    for sighting in batch.sightings() {
        let (day, of_day) = (sighting.second.day(), sighting.second.of_day());
        let row =
            Row::new(Key::of_address(sighting.address), number(sighting.identity), of_day, numbered.source);
        cells.rows(Table::Sightings, day).push(row);
    }
    for fact in batch.carriers() {
        let (name, agent) = (number(fact.name), number(fact.agent));
        if name != agent {
            let row = Row::new(Key::of_number(name), agent, fact.second.of_day(), 0);
            cells.rows(Table::Carriers, fact.second.day()).push(row);
        }
    }
    for lease in batch.leases() {
        let row = Fact::new(lease.since, lease.until, number(lease.who)).row(number(lease.what));
        cells.rows(Table::Leases, lease.since.day()).push(row);
    }
    for (identity, day) in batch.reporters() {
        cells.rows(Table::Reporters, *day).push(Row::new(Key::of_number(0), number(*identity), 0, 0));
    }
    cells.sorted()
}

/// How many rows each cell will have.
#[derive(Default)]
struct Counts {
    rows: BTreeMap<(Table, Day), usize>,
    /// Of the last cell, those that are not in `rows` yet.
    last: Option<((Table, Day), usize)>,
}

impl Counts {
    #[inline]
    fn add(&mut self, table: Table, day: Day) {
        match &mut self.last {
            Some((cell, count)) if *cell == (table, day) => *count += 1,
            last => {
                if let Some((cell, count)) = last.replace(((table, day), 1)) {
                    *self.rows.entry(cell).or_default() += count;
                }
            }
        }
    }

    /// All of them.
    fn finished(mut self) -> BTreeMap<(Table, Day), usize> {
        if let Some((cell, count)) = self.last {
            *self.rows.entry(cell).or_default() += count;
        }
        self.rows
    }
}

/// Rows by cell while a batch is taken apart. Records mostly stay on one day for long, so the last cell is tried first.
#[derive(Default)]
struct Cells {
    counts: BTreeMap<(Table, Day), usize>,
    places: BTreeMap<(Table, Day), usize>,
    cells: Vec<CellRows>,
    last: usize,
}

impl Cells {
    #[inline]
    fn rows(&mut self, table: Table, day: Day) -> &mut Vec<Row> {
        let same = self.cells.get(self.last).is_some_and(|cell| cell.table == table && cell.day == day);
        if !same {
            let next = self.cells.len();
            self.last = *self.places.entry((table, day)).or_insert(next);
            if self.last == next {
                let count = self.counts.get(&(table, day)).copied().unwrap_or_default();
                self.cells.push(CellRows { table, day, rows: Vec::with_capacity(count) });
            }
        }
        &mut self.cells[self.last].rows
    }

    fn sorted(self) -> Vec<CellRows> {
        let mut cells = self.cells;
        for cell in &mut cells {
            cell.rows.sort_unstable();
            cell.rows.dedup();
        }
        cells
    }
}

/// Merges the smallest runs of a cell when there are many. Runs of older journals are left alone: they are on their
/// way into a segment.
fn merge_runs(shared: &Shared, cell: Cell, generation: u64) {
    let view = shared.view();
    let Some(organisation) = view.organisations.get(&cell.organisation) else { return };
    let Some(known) = organisation.table(cell.table).get(&cell.day) else { return };
    let mut runs: Vec<Arc<Run>> =
        known.runs.iter().filter(|run| run.generation == generation).cloned().collect();
    if runs.len() <= RUNS_MAX {
        return;
    }
    runs.sort_by_key(|run| run.rows().len());
    runs.truncate(RUNS_MERGED);
    let merged = Arc::new(Run::merged(&runs));
    shared.publish_of(cell.organisation, |view| {
        replace_runs(view.cell_mut(cell.table, cell.day), &runs, merged);
    });
}

/// Puts `merged` in the place of `runs`, unless one of them is gone: then another merge or a spill was quicker.
fn replace_runs(cell: &mut CellView, runs: &[Arc<Run>], merged: Arc<Run>) {
    let is_one = |run: &Arc<Run>| runs.iter().any(|one| Arc::ptr_eq(one, run));
    if cell.runs.iter().filter(|run| is_one(run)).count() == runs.len() {
        cell.runs.retain(|run| !is_one(run));
        cell.runs.push(merged);
    }
}

fn read(names: &RwLock<Names>) -> RwLockReadGuard<'_, Names> {
    names.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(names: &RwLock<Names>) -> RwLockWriteGuard<'_, Names> {
    names.write().unwrap_or_else(PoisonError::into_inner)
}

impl Store for IndexStore {
    async fn append(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        Ok(self.append_now(batch)?)
    }

    async fn stats(&self, question: Question) -> Result<Answer, StoreError> {
        Ok(self.stats_now(&question)?)
    }

    async fn stats_of(&self, questions: Questions) -> Result<Vec<Answer>, StoreError> {
        Ok(self.stats_of_now(&questions)?)
    }

    async fn coverage(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
        until: Second,
    ) -> Result<Coverage, StoreError> {
        match self.organisation(organisation) {
            Some(view) => Ok(ask::coverage(&view, kept_since, until)?),
            None => Ok(Coverage::default()),
        }
    }

    async fn offset(
        &self,
        organisation: OrganisationId,
        source: SourceName,
        key: String,
    ) -> Result<Option<u64>, StoreError> {
        Ok(self.organisation(organisation).and_then(|view| view.names().offset(&source, &key)))
    }

    async fn offsets(
        &self,
        organisation: OrganisationId,
        source: SourceName,
    ) -> Result<Vec<Offset>, StoreError> {
        Ok(self.organisation(organisation).map(|view| view.names().offsets(&source)).unwrap_or_default())
    }

    async fn devices(
        &self,
        organisation: OrganisationId,
        key: Option<DeviceKey>,
        at: Second,
    ) -> Result<Vec<DeviceEntry>, StoreError> {
        match self.organisation(organisation) {
            Some(view) => Ok(ask::devices(&view, key.as_ref(), at)?),
            None => Ok(Vec::new()),
        }
    }

    async fn teach(&self, organisation: OrganisationId, change: RegistryChange) -> Result<(), StoreError> {
        self.teach_now(organisation, &change)
    }

    async fn registry(&self, organisation: OrganisationId) -> Result<RegistrySettings, StoreError> {
        let view = self.organisation(organisation);
        Ok(view.map(|view| view.names().settings().clone()).unwrap_or_default())
    }

    async fn outside(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
    ) -> Result<Retained, StoreError> {
        match self.organisation(organisation) {
            Some(view) => Ok(ask::outside(&view, kept_since)?),
            None => Ok(Retained::default()),
        }
    }

    async fn retain(&self, organisation: OrganisationId, kept_since: Second) -> Result<(), StoreError> {
        Ok(upkeep::retain(&self.shared, organisation, kept_since)?)
    }

    async fn remove(&self, organisation: OrganisationId) -> Result<(), StoreError> {
        Ok(upkeep::remove(&self.shared, organisation)?)
    }
}
