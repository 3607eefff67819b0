//! What is kept in memory of hot addresses: for each identity its latest sighting, and every second that was active. With that
//! a question costs one pass over the identities, however many days it touches. Refuses to hold: rare addresses, windows that end
//! before the newest sighting (they read the days), devices (`ask` makes them of identities), and anything that is not in
//! the view: it is derived, bounded, and forgotten without loss.
//!
//! Why the latest sighting is enough: where the window ends behind everything that is held, an identity was seen inside it
//! exactly if its latest sighting was. Facts are a set and only grow, but for retention; so a view that is newer is
//! taken up by adding what it has more, in any order and as often as one likes, and after a cut all is read anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError, Weak};

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use sighting::{Answer, Day, FirstSeen, OrganisationId, Question, SECONDS_PER_DAY, Second};

use crate::ask;
use crate::error::IndexError;
use crate::ids::IdSet;
use crate::names::Names;
use crate::row::{Key, Run, Table};
use crate::store::{Options, Shared};
use crate::view::{CellView, OrganisationView};

/// An address of an organisation.
type Place = (OrganisationId, Key);
type Entries = HashMap<Place, Arc<Entry>, FixedState>;

/// Addresses that are noted at once, read or not.
const ENTRIES_MAX: usize = 4_096;
const WORDS_OF_DAY: usize = (SECONDS_PER_DAY as usize).div_ceil(64);

/// The hot addresses of a store.
pub(crate) struct Hot {
    entries: ArcSwap<Entries>,
    /// Held while the map changes.
    changing: Mutex<()>,
    /// Counts questions, so that the one that was not asked for the longest is known.
    clock: AtomicU64,
    identities_min: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Entry {
    /// Nothing until it is asked for a second time.
    known: RwLock<Option<Known>>,
    bytes: AtomicU64,
    used_at: AtomicU64,
}

impl Hot {
    pub(crate) fn new(options: &Options) -> Hot {
        Hot {
            entries: ArcSwap::default(),
            changing: Mutex::new(()),
            clock: AtomicU64::new(0),
            identities_min: options.hot_identities_min,
            bytes_max: options.hot_bytes_max,
        }
    }

    /// The answer, if the address is hot and the question is one that this can answer; else the days must be read.
    pub(crate) fn answer(&self, shared: &Shared, question: &Question) -> Option<Result<Answer, IndexError>> {
        let place = (question.organisation, Key::of_address(question.address));
        let entry = Arc::clone(self.entries.load().get(&place)?);
        entry.used_at.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if let Some(answer) = answer_as_it_is(&entry, shared, question) {
            return answer;
        }
        // The first time it takes long: others read the days meanwhile.
        let mut known = match entry.known.try_write() {
            Ok(known) => known,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // Loaded under the lock: what is known is never newer than the view that is asked.
        let view = shared.view();
        let view = view.organisations.get(&question.organisation)?;
        let taken = known.get_or_insert_default().take(view, place.1);
        let bytes = known.as_ref().map_or(0, Known::bytes);
        entry.bytes.store(bytes as u64, Ordering::Relaxed);
        let answer = match taken {
            Ok(()) => known.as_ref()?.answer(view, question),
            Err(error) => {
                *known = None;
                Some(Err(error))
            }
        };
        drop(known);
        self.make_room();
        answer
    }

    /// Notes how many identities an address had: from so many on it is hot.
    pub(crate) fn note(&self, question: &Question, identities: usize) {
        if identities < self.identities_min || self.bytes_max == 0 {
            return;
        }
        let place = (question.organisation, Key::of_address(question.address));
        if self.entries.load().contains_key(&place) {
            return;
        }
        let used_at = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        self.change(|entries| {
            if entries.len() >= ENTRIES_MAX {
                forget_oldest(entries);
            }
            entries.entry(place).or_insert_with(|| Arc::new(Entry { used_at, ..Entry::default() }));
        });
    }

    /// Forgets those that were not asked for the longest while all together are too large.
    fn make_room(&self) {
        let bytes_of = |entry: &Arc<Entry>| entry.bytes.load(Ordering::Relaxed) as usize;
        if self.entries.load().values().map(bytes_of).sum::<usize>() <= self.bytes_max {
            return;
        }
        self.change(|entries| {
            let mut bytes: usize = entries.values().map(bytes_of).sum();
            while bytes > self.bytes_max {
                let Some(forgotten) = forget_oldest(entries) else { return };
                bytes -= bytes_of(&forgotten);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Entries)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = HashMap::clone(&self.entries.load());
        change(&mut entries);
        self.entries.store(Arc::new(entries));
    }
}

/// Forgets the one that was not asked for the longest.
fn forget_oldest(entries: &mut Entries) -> Option<Arc<Entry>> {
    let oldest = entries.iter().min_by_key(|(_, entry)| entry.used_at.load(Ordering::Relaxed));
    let place = oldest.map(|(place, _)| *place)?;
    entries.remove(&place)
}

/// The answer where nothing has happened since the last question; `None` where something has.
fn answer_as_it_is(
    entry: &Entry,
    shared: &Shared,
    question: &Question,
) -> Option<Option<Result<Answer, IndexError>>> {
    let known = entry.known.read().unwrap_or_else(PoisonError::into_inner);
    let known = known.as_ref()?;
    let view = shared.view();
    let view = view.organisations.get(&question.organisation)?;
    known.is_of(view).then(|| known.answer(view, question))
}

/// What is known of one address.
#[derive(Default)]
struct Known {
    /// The view that was taken up last; a pointer to compare with, which keeps nobody else from having its address.
    view: Weak<OrganisationView>,
    /// Whose names: others are those of another organisation with the same id.
    names: Weak<RwLock<Names>>,
    cuts: u64,
    segments: HashSet<u64, FixedState>,
    /// By address, which nobody else has as long as there is a pointer to it.
    runs: HashMap<usize, Weak<Run>, FixedState>,
    times: Times,
}

impl Known {
    fn bytes(&self) -> usize {
        self.times.bytes() + self.segments.len() * 16 + self.runs.len() * 32
    }

    fn is_of(&self, view: &Arc<OrganisationView>) -> bool {
        std::ptr::eq(self.view.as_ptr(), Arc::as_ptr(view))
    }

    /// Takes up what a view has more than the one before.
    fn take(&mut self, view: &Arc<OrganisationView>, key: Key) -> Result<(), IndexError> {
        let is_same_life = std::ptr::eq(self.names.as_ptr(), Arc::as_ptr(&view.names));
        if !is_same_life || self.cuts != view.cuts {
            *self = Known { names: Arc::downgrade(&view.names), cuts: view.cuts, ..Known::default() };
        }
        let (mut segments, mut runs) = (HashSet::default(), HashMap::default());
        let mut scratch = Vec::new();
        for (day, cell) in view.table(Table::Sightings) {
            self.take_cell(*day, cell, key, &mut scratch)?;
            segments.extend(cell.segments.iter().map(|segment| segment.number));
            runs.extend(cell.runs.iter().map(|run| (address(run), Arc::downgrade(run))));
        }
        (self.segments, self.runs, self.view) = (segments, runs, Arc::downgrade(view));
        Ok(())
    }

    fn take_cell(
        &mut self,
        day: Day,
        cell: &CellView,
        key: Key,
        scratch: &mut Vec<u8>,
    ) -> Result<(), IndexError> {
        for run in cell.runs.iter().filter(|run| !self.runs.contains_key(&address(run))) {
            for row in run.of_key(key) {
                self.times.add(day, row.identity(), row.of_day());
            }
        }
        for segment in cell.segments.iter().filter(|segment| !self.segments.contains(&segment.number)) {
            let times = &mut self.times;
            segment.facts_of(key, scratch, &mut |identity, of_day| times.add(day, identity, of_day))?;
        }
        Ok(())
    }

    fn answer(&self, view: &OrganisationView, question: &Question) -> Option<Result<Answer, IndexError>> {
        let window = question.window.clipped(question.kept_since)?;
        let last = self.times.newest().filter(|newest| window.contains(*newest))?;
        let first = self.times.first_from(match question.first_seen {
            FirstSeen::InWindow => window.since(),
            FirstSeen::InKept => question.kept_since,
        })?;
        let identities = self.times.seen_from(window.since());
        Some(ask::seen(view, question.address, window, identities, (first, last)))
    }
}

/// When an address was reached, and by whom last.
#[derive(Default)]
struct Times {
    /// By identity: one more than the Unix second of its latest sighting; 0 for none.
    latest: Vec<u32>,
    /// The greatest of these.
    newest: u32,
    /// By day: one bit a second.
    active: BTreeMap<Day, Box<[u64; WORDS_OF_DAY]>>,
}

impl Times {
    fn add(&mut self, day: Day, identity: u32, of_day: u32) {
        let moment = day.at(of_day).unix().saturating_add(1);
        let identity = identity as usize;
        if self.latest.len() <= identity {
            self.latest.resize(identity + 1, 0);
        }
        self.latest[identity] = self.latest[identity].max(moment);
        self.newest = self.newest.max(moment);
        let words = self.active.entry(day).or_insert_with(|| Box::new([0; WORDS_OF_DAY]));
        words[of_day as usize / 64] |= 1 << (of_day % 64);
    }

    fn bytes(&self) -> usize {
        self.latest.capacity() * size_of::<u32>() + self.active.len() * WORDS_OF_DAY * size_of::<u64>()
    }

    /// The newest sighting.
    fn newest(&self) -> Option<Second> {
        self.newest.checked_sub(1).map(Second::new)
    }

    /// Every identity whose latest sighting is at a moment or after it.
    fn seen_from(&self, since: Second) -> IdSet {
        let since = since.unix().saturating_add(1);
        IdSet::from_words(self.latest.chunks(64).map(|chunk| at_least(chunk, since)))
    }

    /// The first active second from a moment on.
    fn first_from(&self, since: Second) -> Option<Second> {
        self.active.range(since.day()..).find_map(|(day, words)| {
            let from = if *day == since.day() { since.of_day() as usize } else { 0 };
            let first = words[from / 64] & (u64::MAX << (from % 64));
            let rest = words[from / 64 + 1..].iter().copied();
            let mut words = (from / 64..).zip(std::iter::once(first).chain(rest));
            let (index, word) = words.find(|(_, word)| *word != 0)?;
            Some(day.at(index as u32 * 64 + word.trailing_zeros()))
        })
    }
}

/// One bit for each of up to 64 numbers that is no less than another: without a branch and without a shift for each, so that the
/// compiler compares many at a time.
fn at_least(numbers: &[u32], least: u32) -> u64 {
    let mut is_so = [0u8; 64];
    for (is_so, number) in is_so.iter_mut().zip(numbers) {
        *is_so = u8::from(*number >= least);
    }
    let (groups, _) = is_so.as_chunks::<8>();
    // Eight bytes of 0 or 1, the first the lowest, become eight bits in the highest byte.
    let packed = |group: &[u8; 8]| u64::from_le_bytes(*group).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    groups.iter().enumerate().fold(0, |word, (place, group)| word | packed(group) << (place * 8))
}

fn address(run: &Arc<Run>) -> usize {
    Arc::as_ptr(run).addr()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bit_for_each_number(numbers in prop::collection::vec(0u32..10, 0..=64), least in 0u32..12) {
            let word = at_least(&numbers, least);
            for bit in 0..64 {
                let expected = numbers.get(bit).is_some_and(|number| *number >= least);
                prop_assert_eq!(word >> bit & 1 == 1, expected, "{}", bit);
            }
        }
    }
}
