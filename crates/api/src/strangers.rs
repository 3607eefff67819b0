//! What may be done by somebody who has proved nothing: how many codes for devices a network is given, how many wait on this
//! server together, and how many made-up ones a network may type. Refuses to hold: passwords (`throttle`), the codes
//! themselves, and how a refusal is said.
//!
//! All of it is counted over a sliding quarter of an hour, as long as a code lives, so what is counted is never less than
//! what waits on the disk. A flood from many networks fills only the room of networks that nobody knows: those from which
//! somebody signed in have another. And with the id of one application, which is no secret, it fills half of that room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sighting::ApplicationId;

use crate::state::Millis;
use crate::throttle::Origin;

/// For how long what was done is counted, in milliseconds: as long as a code for a device lives.
const COUNTED_FOR_MS: u64 = 15 * 60_000;
/// Codes for one network: a whole office behind one address begins one every 15 s.
const CODES_OF_NETWORK_MAX: u32 = 60;
/// Codes for all networks of a room together. Each is two writes, so a full room is about two a second.
const CODES_OF_ROOM_MAX: usize = 1_000;
/// Codes for one application in the room of networks that nobody knows.
const CODES_OF_APPLICATION_MAX: u32 = 500;
/// Made-up codes that one network may type. Of 2.6e10 codes hardly one is hit.
const WRONG_OF_NETWORK_MAX: u32 = 30;
/// Codes typed that are remembered; a flood of more forgets the oldest and locks nobody out.
const TYPED_MAX: usize = 20_000;
/// How long a network is known as one that somebody signed in from, in milliseconds; and how many are.
const KNOWN_FOR_MS: u64 = 30 * 24 * 3_600_000;
const KNOWN_MAX: usize = 20_000;

/// Why no code is given, with the seconds after which one may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoCode {
    /// The network has had too many.
    OfNetwork(u64),
    /// All together have.
    OfServer(u64),
}

/// What was done lately, the oldest first, and how much of it by or for each.
struct Recent<K> {
    done: VecDeque<(Millis, K)>,
    of: HashMap<K, u32>,
}

impl<K> Default for Recent<K> {
    fn default() -> Recent<K> {
        Recent { done: VecDeque::new(), of: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Recent<K> {
    fn forget_old(&mut self, now: Millis) {
        while self.done.front().is_some_and(|(at, _)| now.0.saturating_sub(at.0) >= COUNTED_FOR_MS) {
            self.forget(0);
        }
    }

    fn forget(&mut self, place: usize) {
        let Some((_, whose)) = self.done.remove(place) else { return };
        if let Some(count) = self.of.get_mut(&whose) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&whose);
            }
        }
    }

    fn of(&self, whose: K) -> u32 {
        self.of.get(&whose).copied().unwrap_or_default()
    }

    fn add(&mut self, whose: K, now: Millis) {
        self.done.push_back((now, whose));
        *self.of.entry(whose).or_default() += 1;
    }

    /// After how many seconds the oldest is forgotten, of one or of all.
    fn free_in_s(&self, whose: Option<K>, now: Millis) -> u64 {
        let mut done = self.done.iter();
        let oldest = done.find(|(_, other)| whose.is_none_or(|whose| whose == *other));
        let until = oldest.map_or(now.0, |(at, _)| at.0 + COUNTED_FOR_MS);
        until.saturating_sub(now.0).div_ceil(1_000).max(1)
    }
}

#[derive(Default)]
struct Counts {
    /// Codes given to networks that nobody knows, and to those that somebody signed in from.
    given: [Recent<Origin>; 2],
    /// The former, by the application.
    given_for: Recent<ApplicationId>,
    /// Codes typed that may be made up.
    typed: Recent<Origin>,
    known: HashMap<Origin, Millis>,
}

impl Counts {
    fn is_known(&self, from: Origin, now: Millis) -> bool {
        self.known.get(&from).is_some_and(|at| now.0.saturating_sub(at.0) < KNOWN_FOR_MS)
    }
}

/// What is counted, by the steady clock. A restart forgets it.
#[derive(Default)]
pub(crate) struct Strangers(
    // A std mutex: nothing is awaited while it is held.
    Mutex<Counts>,
);

impl Strangers {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a network may be given a code for a device now, for an application; it counts as given.
    pub(crate) fn give_code(
        &self,
        from: Origin,
        application: ApplicationId,
        now: Millis,
    ) -> Result<(), NoCode> {
        let counts = &mut *self.counts();
        let is_known = counts.is_known(from, now);
        // Who is not known may have any number of networks.
        let (room, from) = (usize::from(is_known), if is_known { from } else { from.site() });
        counts.given.iter_mut().for_each(|given| given.forget_old(now));
        counts.given_for.forget_old(now);
        let of_network = counts.given.iter().map(|given| given.of(from)).sum::<u32>();
        let wait = counts.given.iter().filter(|given| given.of(from) > 0);
        let wait = wait.map(|given| given.free_in_s(Some(from), now)).min().unwrap_or(1);
        if of_network >= CODES_OF_NETWORK_MAX {
            return Err(NoCode::OfNetwork(wait));
        }
        let given = &mut counts.given[room];
        if given.done.len() >= CODES_OF_ROOM_MAX {
            return Err(NoCode::OfServer(given.free_in_s(None, now)));
        }
        if !is_known {
            if counts.given_for.of(application) >= CODES_OF_APPLICATION_MAX {
                return Err(NoCode::OfServer(counts.given_for.free_in_s(Some(application), now)));
            }
            counts.given_for.add(application, now);
        }
        given.add(from, now);
        Ok(())
    }

    /// Whether a network may type a code now; else after how many seconds. It counts as made up until it is known not to be,
    /// so that many at once are no more than many in a row.
    pub(crate) fn type_code(&self, from: Origin, now: Millis) -> Result<(), u64> {
        let typed = &mut self.counts().typed;
        typed.forget_old(now);
        if typed.of(from) >= WRONG_OF_NETWORK_MAX {
            return Err(typed.free_in_s(Some(from), now));
        }
        if typed.done.len() >= TYPED_MAX {
            typed.forget(0);
        }
        typed.add(from, now);
        Ok(())
    }

    /// The code that was typed was a real one.
    pub(crate) fn typed_well(&self, from: Origin) {
        let typed = &mut self.counts().typed;
        if let Some(place) = typed.done.iter().rposition(|(_, other)| *other == from) {
            typed.forget(place);
        }
    }

    /// Somebody signed in from there.
    pub(crate) fn signed_in(&self, from: Origin, now: Millis) {
        let known = &mut self.counts().known;
        if known.len() >= KNOWN_MAX && !known.contains_key(&from) {
            forget_oldest(known);
        }
        known.insert(from, now);
    }
}

/// Half of the networks (or more, of the same moment), those from which nobody came for the longest: seldom, because all are looked at.
fn forget_oldest(known: &mut HashMap<Origin, Millis>) {
    let mut moments: Vec<Millis> = known.values().copied().collect();
    let middle = moments.len() / 2;
    let (_, &mut oldest_kept, _) = moments.select_nth_unstable(middle);
    known.retain(|_, at| *at > oldest_kept);
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use sighting::Uuid;

    use super::*;

    fn network(number: u32) -> Origin {
        Origin::of(Some(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))))
    }

    fn app(number: u128) -> ApplicationId {
        ApplicationId(Uuid::from_u128(number))
    }

    #[test]
    fn a_network_has_so_many_in_any_quarter_of_an_hour() {
        let strangers = Strangers::default();
        // One each second, and the sixty-first waits for the first to be forgotten.
        for second in 0..60 {
            assert_eq!(strangers.give_code(network(1), app(1), Millis(second * 1_000)), Ok(()), "{second}");
        }
        assert_eq!(strangers.give_code(network(1), app(1), Millis(60_000)), Err(NoCode::OfNetwork(840)));
        assert_eq!(strangers.give_code(network(2), app(1), Millis(60_000)), Ok(()), "another network");
        assert_eq!(strangers.give_code(network(1), app(1), Millis(899_999)), Err(NoCode::OfNetwork(1)));
        assert_eq!(strangers.give_code(network(1), app(1), Millis(900_000)), Ok(()));
        assert_eq!(strangers.give_code(network(1), app(1), Millis(900_000)), Err(NoCode::OfNetwork(1)));
    }

    #[test]
    fn a_flood_from_many_networks_meets_no_network_that_is_known() {
        let strangers = Strangers::default();
        let now = Millis(1_000);
        strangers.signed_in(network(1), now);
        let flood = |application| {
            let given = (100..5_100)
                .filter(|number| strangers.give_code(network(*number), app(application), now).is_ok());
            given.count()
        };
        // One application's id is good for half of the room.
        assert_eq!(flood(1), CODES_OF_APPLICATION_MAX as usize);
        assert_eq!(strangers.give_code(network(2), app(1), now), Err(NoCode::OfServer(900)));
        assert_eq!(strangers.give_code(network(2), app(2), now), Ok(()));
        assert_eq!(flood(3), CODES_OF_ROOM_MAX - CODES_OF_APPLICATION_MAX as usize - 1);
        assert_eq!(strangers.give_code(network(2), app(2), now), Err(NoCode::OfServer(900)));
        assert_eq!(strangers.give_code(network(1), app(1), now), Ok(()));
        assert_eq!(strangers.give_code(network(2), app(2), Millis(901_000)), Ok(()), "the flood is over");
        // Nobody is known for ever.
        let later = Millis(now.0 + KNOWN_FOR_MS);
        (100..1_100).for_each(|number| {
            assert_eq!(strangers.give_code(network(number), app(u128::from(number % 2)), later), Ok(()));
        });
        assert_eq!(strangers.give_code(network(1), app(2), later), Err(NoCode::OfServer(900)));
    }

    #[test]
    fn of_version_6_a_site_counts_as_one_until_somebody_signed_in() {
        let strangers = Strangers::default();
        let network =
            |number: u16| Origin::of(Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, number, 0, 0, 0, 1))));
        let given =
            (0..1_000).filter(|number| strangers.give_code(network(*number), app(1), Millis(0)).is_ok());
        assert_eq!(given.count(), CODES_OF_NETWORK_MAX as usize);
        strangers.signed_in(network(5), Millis(0));
        assert_eq!(strangers.give_code(network(5), app(1), Millis(0)), Ok(()));
        assert_eq!(strangers.give_code(network(6), app(1), Millis(0)), Err(NoCode::OfNetwork(900)));
        // The first network of a site is not the site.
        strangers.signed_in(network(0), Millis(0));
        for _ in 0..CODES_OF_NETWORK_MAX {
            assert_eq!(strangers.give_code(network(0), app(1), Millis(0)), Ok(()));
        }
        assert_eq!(strangers.give_code(network(0), app(1), Millis(0)), Err(NoCode::OfNetwork(900)));
        assert_eq!(strangers.give_code(network(6), app(1), Millis(900_000)), Ok(()));
    }

    #[test]
    fn made_up_codes_end_and_real_ones_cost_nothing() {
        let strangers = Strangers::default();
        let now = Millis(0);
        for _ in 0..1_000 {
            assert_eq!(strangers.type_code(network(1), now), Ok(()));
            strangers.typed_well(network(1));
        }
        for _ in 0..WRONG_OF_NETWORK_MAX {
            assert_eq!(strangers.type_code(network(1), now), Ok(()));
        }
        assert_eq!(strangers.type_code(network(1), Millis(1_000)), Err(899));
        assert_eq!(strangers.type_code(network(2), Millis(1_000)), Ok(()));
        assert_eq!(strangers.type_code(network(1), Millis(900_000)), Ok(()));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let strangers = Strangers::default();
        let count = (TYPED_MAX + 1_000) as u32;
        for number in 0..count {
            assert_eq!(strangers.type_code(network(number), Millis(5)), Ok(()));
            strangers.signed_in(network(number), Millis(5));
            let _ = strangers.give_code(network(number), app(u128::from(number)), Millis(5));
        }
        assert!(strangers.counts().is_known(network(count - 1), Millis(5)), "the newest is known");
        let counts = strangers.counts();
        assert!(counts.typed.done.len() <= TYPED_MAX && counts.typed.of.len() <= TYPED_MAX);
        assert!(counts.known.len() <= KNOWN_MAX);
        assert!(counts.given.iter().all(|given| given.of.len() <= CODES_OF_ROOM_MAX));
    }
}
