//! When one address was reached, and by whom last. Refuses to hold: where that is known from (`known`).
//!
//! Sightings that are ahead of every question so far (a device's clock may be fast) wait aside, so that one of them does not keep
//! the others from being the latest.

use std::collections::BTreeMap;

use sighting::{Day, SECONDS_PER_DAY, Second};

use crate::ids::IdSet;

const WORDS_OF_DAY: usize = (SECONDS_PER_DAY as usize).div_ceil(64);
/// Identities whose latest sightings lie together: as many as a word has bits.
const PAGE: usize = 64;
/// Sightings that wait aside. With more of them the clocks are not what is wrong, and all count at once.
const AHEAD_MAX: usize = 1 << 16;

/// One more than a Unix second; 0 is before all of them.
type Moment = u32;

fn moment(second: Second) -> Moment {
    second.unix().saturating_add(1)
}

#[derive(Clone, Default)]
pub(super) struct Times {
    latest: Latest,
    /// By day: one bit a second.
    active: BTreeMap<Day, Box<[u64; WORDS_OF_DAY]>>,
    /// Behind this a sighting waits aside.
    until: Moment,
    ahead: Vec<(Second, u32)>,
    /// The earliest of them.
    ahead_from: Option<Second>,
}

/// The latest sighting of each identity.
#[derive(Clone, Default)]
struct Latest {
    /// By the number of a page: one more than its place; 0 for none. The numbers of an organisation's identities may be many more
    /// than those of one address.
    places: Vec<u32>,
    pages: Vec<[Moment; PAGE]>,
    /// The greatest of all.
    newest: Moment,
}

impl Latest {
    fn add(&mut self, identity: u32, at: Moment) {
        let page = identity as usize / PAGE;
        if self.places.len() <= page {
            self.places.resize(page + 1, 0);
        }
        let place = &mut self.places[page];
        if *place == 0 {
            self.pages.push([0; PAGE]);
            *place = self.pages.len() as u32;
        }
        let latest = &mut self.pages[*place as usize - 1][identity as usize % PAGE];
        *latest = at.max(*latest);
        self.newest = at.max(self.newest);
    }
}

/// The sightings of one day, while they are added.
pub(super) struct Adding<'a> {
    day: Day,
    words: &'a mut [u64; WORDS_OF_DAY],
    latest: &'a mut Latest,
    until: Moment,
    ahead: &'a mut Vec<(Second, u32)>,
    ahead_from: &'a mut Option<Second>,
}

impl Adding<'_> {
    pub(super) fn add(&mut self, identity: u32, of_day: u32) {
        let second = self.day.at(of_day);
        let at = moment(second);
        if at > self.until {
            self.ahead.push((second, identity));
            *self.ahead_from = Some(self.ahead_from.map_or(second, |from| from.min(second)));
            return;
        }
        self.latest.add(identity, at);
        self.words[of_day as usize / 64] |= 1 << (of_day % 64);
    }
}

impl Times {
    pub(super) fn day(&mut self, day: Day) -> Adding<'_> {
        Adding {
            day,
            words: self.active.entry(day).or_insert_with(|| Box::new([0; WORDS_OF_DAY])),
            latest: &mut self.latest,
            until: self.until,
            ahead: &mut self.ahead,
            ahead_from: &mut self.ahead_from,
        }
    }

    /// What waited aside and lies at or before a second counts from now on.
    pub(super) fn move_on(&mut self, until: Second) {
        self.until = self.until.max(moment(until));
        let is_due = |from: Second| moment(from) <= self.until;
        if self.ahead.len() > AHEAD_MAX {
            self.until = Moment::MAX;
        } else if !self.ahead_from.is_some_and(is_due) {
            return;
        }
        self.ahead_from = None;
        for (second, identity) in std::mem::take(&mut self.ahead) {
            // Those that are still ahead wait again.
            self.day(second.day()).add(identity, second.of_day());
        }
    }

    /// Whether all that counts lies at or before a second, and all that waits behind it: then an identity was seen since some
    /// moment and until that second exactly if its latest sighting was not before.
    pub(super) fn is_settled_at(&self, until: Second) -> bool {
        self.latest.newest <= moment(until) && self.ahead_from.is_none_or(|from| until < from)
    }

    /// Whether what counts is later than a second: it will never answer for that again.
    pub(super) fn is_past(&self, until: Second) -> bool {
        self.latest.newest > moment(until)
    }

    pub(super) fn bytes(&self) -> usize {
        self.latest.places.capacity() * size_of::<u32>()
            + self.latest.pages.capacity() * size_of::<[Moment; PAGE]>()
            + self.active.len() * WORDS_OF_DAY * size_of::<u64>()
            + self.ahead.capacity() * size_of::<(Second, u32)>()
    }

    /// The newest sighting that counts.
    pub(super) fn newest(&self) -> Option<Second> {
        self.latest.newest.checked_sub(1).map(Second::new)
    }

    /// Every identity whose latest sighting is at a moment or after it.
    pub(super) fn seen_from(&self, since: Second) -> IdSet {
        let since = moment(since);
        let word = |place: &u32| match place.checked_sub(1) {
            None => 0,
            Some(place) => at_least(&self.latest.pages[place as usize], since),
        };
        IdSet::from_words(self.latest.places.iter().map(word))
    }

    /// The first active second from a moment on.
    pub(super) fn first_from(&self, since: Second) -> Option<Second> {
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

/// One bit for each of 64 numbers that is no less than another: without a branch and without a shift for each, so that the
/// compiler compares many at a time.
fn at_least(numbers: &[u32; PAGE], least: u32) -> u64 {
    let mut is_so = [0u8; PAGE];
    for (is_so, number) in is_so.iter_mut().zip(numbers) {
        *is_so = u8::from(*number >= least);
    }
    let (groups, _) = is_so.as_chunks::<8>();
    // Eight bytes of 0 or 1, the first the lowest, become eight bits in the highest byte.
    let packed = |group: &[u8; 8]| u64::from_le_bytes(*group).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    groups.iter().enumerate().fold(0, |word, (place, group)| word | packed(group) << (place * 8))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bit_for_each_number(numbers in prop::array::uniform32(0u32..10), least in 0u32..12) {
            let mut page = [0; PAGE];
            page[16..48].copy_from_slice(&numbers);
            let word = at_least(&page, least);
            for (bit, number) in page.iter().enumerate() {
                prop_assert_eq!(word >> bit & 1 == 1, *number >= least, "{}", bit);
            }
        }

        /// Sightings in any order, questions at rising moments between them, against a list.
        #[test]
        fn the_latest_of_each_answer_for_all(
            steps in prop::collection::vec((0u32..4_000, 0u32..200_000, 0u32..3), 1..60),
        ) {
            let (mut times, mut all, mut now) = (Times::default(), Vec::new(), 100_000);
            for (identity, second, passes) in steps {
                let second = Second::new(second);
                times.day(second.day()).add(identity * 7_919 % 100_000, second.of_day());
                all.push((second, identity * 7_919 % 100_000));
                now += passes * 20_000;
                let (since, until) = (Second::new(now - 90_000), Second::new(now));
                times.move_on(until);
                if !times.is_settled_at(until) {
                    prop_assert!(times.is_past(until));
                    continue;
                }
                let inside = || all.iter().filter(|(at, _)| (since..=until).contains(at));
                let mut expected: Vec<u32> = inside().map(|(_, identity)| *identity).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(times.seen_from(since).iter().collect::<Vec<_>>(), expected);
                if let Some(newest) = times.newest().filter(|newest| *newest >= since) {
                    prop_assert_eq!(Some(newest), inside().map(|(at, _)| *at).max());
                    prop_assert_eq!(times.first_from(since), inside().map(|(at, _)| *at).min());
                }
            }
        }
    }

    #[test]
    fn who_is_ahead_waits_until_then() {
        let (second, day) = (|of_day: u32| Second::new(86_400 + of_day), Second::new(86_400).day());
        let mut times = Times::default();
        times.move_on(second(100));
        times.day(day).add(1, 90);
        times.day(day).add(2, 150);
        times.day(day).add(3, 120);
        assert!(times.is_settled_at(second(100)) && times.is_settled_at(second(119)));
        assert_eq!((times.newest(), times.seen_from(second(0)).len()), (Some(second(90)), 1));
        assert!(!times.is_settled_at(second(120)) && !times.is_past(second(120)));
        times.move_on(second(130));
        assert_eq!((times.newest(), times.seen_from(second(0)).len()), (Some(second(120)), 2));
        assert!(times.is_settled_at(second(149)) && times.is_past(second(119)));
        // Too many at once are no clocks.
        for identity in 0..=AHEAD_MAX as u32 {
            times.day(day).add(identity, 1_000);
        }
        times.move_on(second(130));
        assert!(times.is_past(second(999)) && times.is_settled_at(second(1_000)));
    }
}
