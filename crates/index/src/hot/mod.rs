//! What is kept in memory of hot addresses: for each identity its latest sighting, and every second that was active. With that
//! a question costs one pass over the identities, however many days it touches. Refuses to hold: rare addresses, windows that end
//! before the newest sighting (they read the days), devices (`ask` makes them of identities), and anything that is not in
//! the view: it is derived, bounded, and forgotten without loss.
//!
//! Why the latest sighting is enough: where the window ends behind everything that is held, an identity was seen inside it
//! exactly if its latest sighting was. Facts are a set and only grow, but for retention; so a view that is newer is
//! taken up by adding what it has more, in any order and as often as one likes, and after a cut all is read anew.
//!
//! Nobody who asks waits for it, neither for a lock nor for the disk: whoever finds it busy or behind reads the days. All of an
//! address is read by a thread of the store, once it was asked often enough to be worth it.

mod known;
mod times;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use sighting::{Answer, OrganisationId, Question, Second};

use self::known::Known;
use crate::error::IndexError;
use crate::row::Key;
use crate::store::{Options, Shared};

/// An address of an organisation.
type Place = (OrganisationId, Key);
type Entries = HashMap<Place, Arc<Entry>, FixedState>;

/// Addresses that are noted at once, read or not.
const ENTRIES_MAX: usize = 4_096;

/// The hot addresses of a store.
pub(crate) struct Hot {
    entries: ArcSwap<Entries>,
    /// Held while the map changes.
    changing: Mutex<()>,
    /// Counts questions, so that the one that was not asked for the longest is known.
    clock: AtomicU64,
    wanted: Mutex<Wanted>,
    signalled: Condvar,
    identities_min: usize,
    asked_min: u32,
    bytes_max: usize,
}

/// What is to be read, in order.
#[derive(Default)]
struct Wanted {
    places: VecDeque<Place>,
    stop: bool,
}

#[derive(Default)]
struct Entry {
    /// Nothing until it was read.
    known: RwLock<Option<Known>>,
    /// Whether it has to be read: it never was, or what there is cannot be brought up to date otherwise.
    is_behind: AtomicBool,
    /// Whether that is about to be done.
    is_wanted: AtomicBool,
    /// How often the days were read instead.
    asked: AtomicU32,
    /// The latest end of a question.
    until: AtomicU32,
    bytes: AtomicU64,
    used_at: AtomicU64,
}

impl Entry {
    fn used(&self, question: &Question, clock: &AtomicU64) {
        self.used_at.store(clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        self.until.fetch_max(question.window.until().unix(), Ordering::Relaxed);
    }

    fn keep(&self, known: &mut Option<Known>, new: Option<Known>) {
        let bytes = new.as_ref().map_or(0, Known::bytes);
        *known = new;
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// What is known, unless somebody changes it just now.
    fn known(&self) -> Option<RwLockReadGuard<'_, Option<Known>>> {
        match self.known.try_read() {
            Ok(known) => Some(known),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// What became of a question.
enum Look {
    /// It has its answer.
    Told(Result<Answer, IndexError>),
    /// The days must be read.
    Days,
    /// What is known has to catch up first.
    Behind,
}

impl Hot {
    pub(crate) fn new(options: &Options) -> Hot {
        Hot {
            entries: ArcSwap::default(),
            changing: Mutex::new(()),
            clock: AtomicU64::new(0),
            wanted: Mutex::default(),
            signalled: Condvar::new(),
            identities_min: options.hot_identities_min,
            asked_min: options.hot_asked_min,
            bytes_max: usize::try_from(options.hot_bytes_max).unwrap_or(usize::MAX),
        }
    }

    /// The answer, if the address is hot and the question is one that this can answer now; else the days must be read.
    pub(crate) fn answer(&self, shared: &Shared, question: &Question) -> Option<Result<Answer, IndexError>> {
        let place = place(question);
        let entry = Arc::clone(self.entries.load().get(&place)?);
        entry.used(question, &self.clock);
        match look(&entry, shared, question) {
            Look::Told(answer) => Some(answer),
            Look::Days => None,
            Look::Behind => catch_up(&entry, shared, question, place.1),
        }
    }

    /// Notes how many identities the days gave to an answer: from so many on the address is hot, and from so many answers on it is
    /// worth reading as a whole.
    pub(crate) fn note(&self, shared: &Shared, question: &Question, identities: usize) {
        if identities < self.identities_min || self.bytes_max == 0 {
            return;
        }
        let place = place(question);
        let entry = self.entry(place);
        entry.used(question, &self.clock);
        let asked = entry.asked.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let is_due = asked >= self.asked_min && entry.is_behind.load(Ordering::Relaxed);
        if !is_due || entry.is_wanted.swap(true, Ordering::Relaxed) {
            return;
        }
        if shared.options.background {
            self.wanted().places.push_back(place);
            self.signalled.notify_all();
        } else {
            self.read(shared, place);
        }
    }

    /// The life of the thread that reads.
    pub(crate) fn work(&self, shared: &Shared) {
        let mut wanted = self.wanted();
        while !wanted.stop {
            let Some(place) = wanted.places.pop_front() else {
                wanted = self.signalled.wait(wanted).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(wanted);
            self.read(shared, place);
            wanted = self.wanted();
        }
    }

    /// Ends that thread.
    pub(crate) fn stop(&self) {
        self.wanted().stop = true;
        self.signalled.notify_all();
    }

    /// Reads all of an address. What cannot be read is nobody's question: whoever asks for those days hears of it.
    fn read(&self, shared: &Shared, place: Place) {
        let Some(entry) = self.entries.load().get(&place).map(Arc::clone) else { return };
        // Of anything that changes from here on, whoever asks next takes notice.
        entry.is_behind.store(false, Ordering::Relaxed);
        let until = Second::new(entry.until.load(Ordering::Relaxed));
        let before = entry.known().and_then(|known| known.clone());
        let view = shared.view();
        let view = view.organisations.get(&place.0);
        match view.map(|view| Known::read(before, view, place.1, until)) {
            Some(Ok(known)) => {
                let mut held = entry.known.write().unwrap_or_else(PoisonError::into_inner);
                entry.keep(&mut held, Some(known));
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a hot address cannot be kept in memory");
                self.change(|entries| drop(entries.remove(&place)));
            }
            None => self.change(|entries| drop(entries.remove(&place))),
        }
        entry.is_wanted.store(false, Ordering::Relaxed);
        self.make_room();
    }

    /// Forgets what is known of an organisation, of which something was taken away.
    pub(crate) fn forget(&self, organisation: OrganisationId) {
        let entries = self.entries.load();
        for (_, entry) in entries.iter().filter(|(place, _)| place.0 == organisation) {
            let mut known = entry.known.write().unwrap_or_else(PoisonError::into_inner);
            entry.keep(&mut known, None);
            entry.is_behind.store(true, Ordering::Relaxed);
        }
    }

    /// Addresses that are known, and the bytes that they take.
    pub(crate) fn figures(&self) -> (u64, u64) {
        let entries = self.entries.load();
        let bytes = entries.values().map(|entry| entry.bytes.load(Ordering::Relaxed));
        bytes.filter(|bytes| *bytes > 0).fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of an address, made if there is none.
    fn entry(&self, place: Place) -> Arc<Entry> {
        if let Some(entry) = self.entries.load().get(&place) {
            return Arc::clone(entry);
        }
        self.change(|entries| {
            if entries.len() >= ENTRIES_MAX {
                forget_oldest(entries, |_| true);
            }
            let new = || Arc::new(Entry { is_behind: AtomicBool::new(true), ..Entry::default() });
            Arc::clone(entries.entry(place).or_insert_with(new))
        })
    }

    /// Forgets those that were not asked for the longest while all together are too large.
    fn make_room(&self) {
        if self.figures().1 <= self.bytes_max as u64 {
            return;
        }
        self.change(|entries| {
            let bytes_of = |entry: &Entry| entry.bytes.load(Ordering::Relaxed);
            let mut bytes: u64 = entries.values().map(|entry| bytes_of(entry)).sum();
            while bytes > self.bytes_max as u64 {
                let Some(forgotten) = forget_oldest(entries, |entry| bytes_of(entry) > 0) else { return };
                // It may have grown since.
                bytes = bytes.saturating_sub(bytes_of(&forgotten));
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = HashMap::clone(&self.entries.load());
        let changed = change(&mut entries);
        self.entries.store(Arc::new(entries));
        changed
    }
}

fn place(question: &Question) -> Place {
    (question.organisation, Key::of_address(question.address))
}

/// Forgets the one that was not asked for the longest, among some.
fn forget_oldest(entries: &mut Entries, among: impl Fn(&Entry) -> bool) -> Option<Arc<Entry>> {
    let among = entries.iter().filter(|(_, entry)| among(entry));
    let oldest = among.min_by_key(|(_, entry)| entry.used_at.load(Ordering::Relaxed));
    let place = oldest.map(|(place, _)| *place)?;
    entries.remove(&place)
}

/// The answer where nothing has happened since the last question.
fn look(entry: &Entry, shared: &Shared, question: &Question) -> Look {
    let Some(known) = entry.known() else { return Look::Days };
    let Some(known) = &*known else { return Look::Days };
    let view = shared.view();
    let Some(view) = view.organisations.get(&question.organisation) else { return Look::Days };
    match known.is_of(view).then(|| known.answer(view, question)).flatten() {
        Some(answer) => Look::Told(answer),
        None if known.is_past(question) => Look::Days,
        None => Look::Behind,
    }
}

/// The answer after what came since the last question.
fn catch_up(
    entry: &Entry,
    shared: &Shared,
    question: &Question,
    key: Key,
) -> Option<Result<Answer, IndexError>> {
    let mut known = match entry.known.try_write() {
        Ok(known) => known,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    let known = known.as_mut()?;
    // Loaded under the lock: what is known is never newer than the view that is asked.
    let view = shared.view();
    let view = view.organisations.get(&question.organisation)?;
    if !known.catch_up(view, key, question.window.until()) {
        entry.is_behind.store(true, Ordering::Relaxed);
        return None;
    }
    entry.bytes.store(known.bytes() as u64, Ordering::Relaxed);
    known.answer(view, question)
}

#[cfg(test)]
mod tests {
    use sighting::{Address, Batch, FirstSeen, Identity, IdentityKind, SourceName, Stats, Uuid, Window};

    use super::*;
    use crate::storage::Disk;
    use crate::store::IndexStore;

    const WHOSE: OrganisationId = OrganisationId(Uuid::from_u128(1));

    fn batch(devices: u32, second: u32) -> Batch {
        let mut batch = Batch::new(WHOSE, SourceName::new("test").expect("sound"));
        for device in 0..devices {
            let name = format!("{device:040x}");
            let identity = batch.identity(Identity::new(IdentityKind::AgentId, &name).expect("sound"));
            batch.sighted(address(), identity, Second::new(second));
        }
        batch
    }

    fn address() -> Address {
        Address::parse("192.0.2.1").expect("an address")
    }

    /// Whoever finds a hot address busy does not wait: the days give the same answer.
    #[test]
    fn nobody_waits_for_it() {
        let root = tempfile::tempdir().expect("a folder");
        let options =
            Options { background: false, hot_identities_min: 1, hot_asked_min: 3, ..Options::default() };
        let storage = Disk::new(root.path()).expect("a folder");
        let store = IndexStore::open(Arc::new(storage), options).expect("opens");
        let hot = &store.shared.hot;
        let question = Question {
            organisation: WHOSE,
            address: address(),
            window: Window::new(Second::new(50), Second::new(1_000)).expect("a window"),
            kept_since: Second::MIN,
            first_seen: FirstSeen::InWindow,
        };
        let ask = || match store.stats_now(&question).expect("answered") {
            Answer::Seen(Stats { prevalence, .. }) => prevalence.get(),
            other => panic!("{other:?}"),
        };
        let _ = store.append_now(&batch(5, 100)).expect("taken");
        assert!(hot.answer(&store.shared, &question).is_none());
        for asked in 0..3 {
            assert_eq!((ask(), hot.figures().0), (5, u64::from(asked == 2)), "it is worth it the third time");
        }
        assert!(hot.answer(&store.shared, &question).is_some());
        let entry = Arc::clone(&hot.entries.load()[&place(&question)]);
        {
            let _busy = entry.known.write().expect("sound");
            assert!(hot.answer(&store.shared, &question).is_none());
            assert_eq!(ask(), 5);
        }
        // What is in memory is taken up at once, also after it went to segments that were made of it.
        let _ = store.append_now(&batch(7, 200)).expect("taken");
        {
            let _reading = entry.known.read().expect("sound");
            assert!(hot.answer(&store.shared, &question).is_none(), "to catch up, it must be alone");
        }
        assert!(hot.answer(&store.shared, &question).is_some());
        store.flush().expect("flushed");
        assert!(hot.answer(&store.shared, &question).is_some(), "the segment says no more than its runs");
        // A segment with more is read first.
        let _ = store.append_now(&batch(9, 300)).expect("taken");
        store.flush().expect("flushed");
        assert!(hot.answer(&store.shared, &question).is_none());
        assert_eq!((ask(), ask()), (9, 9));
        assert!(hot.answer(&store.shared, &question).is_some());
        // A question that ends before the newest sighting reads the days and changes nothing.
        let before =
            Question { window: Window::new(Second::MIN, Second::new(250)).expect("a window"), ..question };
        assert!(
            hot.answer(&store.shared, &before).is_none() && hot.answer(&store.shared, &question).is_some()
        );
    }
}
