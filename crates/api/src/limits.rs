//! How many calls an application gets: an exact sliding log of grants per (organisation, application). In no 60 s
//! (3,600 s) are more than N granted, and every call is granted that a log of the grants would grant; a token bucket
//! would let nearly twice the number through. Refuses to hold: a clock (the moment is an argument), other servers'
//! grants, and what is counted (the route says).
//!
//! A grant at millisecond t counts until t + 60,000 (3,600,000), that moment excluded. One application's log holds at
//! most `per_hour` moments of 8 bytes (without that limit `per_minute`, without any nothing), and logs older than an hour
//! are dropped. The moments are those of a steady clock: the wall clock may be set.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use sighting::{ApplicationId, OrganisationId};
use std::hash::BuildHasher;

use crate::settings::Limits;
use crate::state::Millis;

/// Who is counted: one application of one organisation.
type Key = (OrganisationId, ApplicationId);

/// Locks that unrelated applications do not wait for; the work under one is a few dozen nanoseconds.
const SHARDS: usize = 64;
/// A shard is swept of idle logs when it has grown past this many.
const LOGS_BEFORE_SWEEP: usize = 256;

/// Which of the two limits was reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Quota {
    /// Calls in 60 seconds.
    Minute,
    /// Calls in 3,600 seconds.
    Hour,
}

impl Quota {
    const fn span_ms(self) -> u64 {
        match self {
            Quota::Minute => 60_000,
            Quota::Hour => 3_600_000,
        }
    }

    /// The span as the message of a refusal writes it.
    pub const fn span(self) -> &'static str {
        match self {
            Quota::Minute => "00:01:00",
            Quota::Hour => "01:00:00",
        }
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Quota::Minute => "minute",
            Quota::Hour => "hour",
        }
    }
}

/// A call that was not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The limit that holds out longest.
    pub quota: Quota,
    /// The number of that limit.
    pub calls_max: u32,
    /// Whole seconds, at least 1, after which the call would be granted if no other is made.
    pub retry_after_s: u64,
}

/// Counts the calls of every application.
pub struct Limiter {
    limits: Limits,
    // A std mutex: nothing is awaited while it is held.
    shards: Vec<Mutex<HashMap<Key, Log>>>,
}

/// The moments of the grants that can still matter, oldest first.
#[derive(Default)]
struct Log(VecDeque<u64>);

impl Limiter {
    /// A limiter that has granted nothing yet.
    pub fn new(limits: Limits) -> Limiter {
        Limiter { limits, shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Grants a call now and remembers it, or refuses it and remembers nothing.
    pub fn take(
        &self,
        organisation: OrganisationId,
        application: ApplicationId,
        now: Millis,
    ) -> Result<(), Refused> {
        let key = (organisation, application);
        let mut logs = self.shard(&key);
        if logs.len() >= LOGS_BEFORE_SWEEP && !logs.contains_key(&key) {
            logs.retain(|_, log| log.is_live(now.0));
        }
        logs.entry(key).or_default().take(self.limits, now.0)
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Log>> {
        let shard = FixedState::default().hash_one(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn is_live(&self, now: u64) -> bool {
        self.0.back().is_some_and(|newest| newest + Quota::Hour.span_ms() > now)
    }

    fn take(&mut self, limits: Limits, now: u64) -> Result<(), Refused> {
        // Callers read the clock before they get the lock; the log stays sorted all the same.
        let now = self.0.back().map_or(now, |newest| now.max(*newest));
        let longest = if limits.per_hour.is_some() { Quota::Hour } else { Quota::Minute };
        while self.0.front().is_some_and(|oldest| oldest + longest.span_ms() <= now) {
            self.0.pop_front();
        }
        let both = [(Quota::Minute, limits.per_minute), (Quota::Hour, limits.per_hour)];
        let refusing = both.into_iter().filter_map(|(quota, calls_max)| {
            let calls_max = calls_max?;
            Some((self.free_at(quota, calls_max, now)?, quota, calls_max))
        });
        // The one that holds out longest; of two equal ones the longer.
        match refusing.max_by_key(|(free_at, ..)| *free_at) {
            None if limits == Limits::OFF => Ok(()),
            None => {
                self.0.push_back(now);
                Ok(())
            }
            Some((free_at, quota, calls_max)) => {
                let retry_after_s = (free_at - now).div_ceil(1_000).max(1);
                Err(Refused { quota, calls_max, retry_after_s })
            }
        }
    }

    /// When a limit lets the next call through; `None` if it does so now.
    fn free_at(&self, quota: Quota, calls_max: u32, now: u64) -> Option<u64> {
        let Some(back) = (calls_max as usize).checked_sub(1) else {
            return Some(now + quota.span_ms());
        };
        // The newest `calls_max` grants: while the oldest of them counts, they all do.
        let oldest = self.0.iter().nth_back(back)?;
        let free_at = oldest + quota.span_ms();
        (free_at > now).then_some(free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sighting::Uuid;

    const ORGANISATION: OrganisationId = OrganisationId(Uuid::nil());
    const APPLICATION: ApplicationId = ApplicationId(Uuid::nil());

    /// The definition, word for word: a list of all grants, counted anew at every call.
    #[derive(Default)]
    struct Naive(Vec<u64>);

    impl Naive {
        fn within(&self, span: u64, at: u64) -> usize {
            self.0.iter().filter(|grant| **grant + span > at).count()
        }

        fn would_grant(&self, limits: Limits, at: u64) -> bool {
            let fits = |span, calls_max: Option<u32>| {
                calls_max.is_none_or(|calls_max| self.within(span, at) < calls_max as usize)
            };
            fits(60_000, limits.per_minute) && fits(3_600_000, limits.per_hour)
        }

        fn take(&mut self, limits: Limits, at: u64) -> Result<(), u64> {
            if self.would_grant(limits, at) {
                self.0.push(at);
                return Ok(());
            }
            let seconds = (1..).find(|seconds| self.would_grant(limits, at + seconds * 1_000));
            Err(seconds.unwrap_or(u64::MAX))
        }
    }

    proptest! {
        #[test]
        fn as_the_definition_says(
            steps in prop::collection::vec(prop_oneof![0..50u64, 0..3_000u64, 0..200_000u64], 1..400),
            per_minute in prop::option::weighted(0.9, 1..12u32),
            per_hour in prop::option::weighted(0.9, 1..40u32),
        ) {
            let limits = Limits { per_minute, per_hour };
            let (limiter, mut naive, mut now) = (Limiter::new(limits), Naive::default(), 1_700_000_000_000);
            for step in steps {
                now += step;
                let taken = limiter.take(ORGANISATION, APPLICATION, Millis(now));
                prop_assert_eq!(taken.map_err(|refused| refused.retry_after_s), naive.take(limits, now));
            }
        }
    }

    #[test]
    fn no_minute_and_no_hour_holds_more() {
        let limiter = Limiter::new(Limits::default());
        let mut grants = Vec::new();
        // A caller that never pauses: one call every 7 ms for two hours and a half.
        for now in (0..9_000_000).step_by(7) {
            if limiter.take(ORGANISATION, APPLICATION, Millis(now)).is_ok() {
                grants.push(now);
            }
        }
        for (at, grant) in grants.iter().enumerate() {
            let within = |span| grants[at..].iter().take_while(|other| **other < grant + span).count();
            assert!(within(60_000) <= 100 && within(3_600_000) <= 1_500);
        }
        assert_eq!(grants.len(), 1_500 * 3);
    }

    #[test]
    fn sixty_four_callers_at_once_get_the_number_exactly() {
        let limiter = Limiter::new(Limits::default());
        let granted: usize = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        let take = |_: &u64| limiter.take(ORGANISATION, APPLICATION, Millis(5_000)).is_ok();
                        (0..50u64).filter(take).count()
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().expect("no panic")).sum()
        });
        assert_eq!(granted, 100);
    }

    #[test]
    fn what_a_refusal_says() {
        let limiter = Limiter::new(Limits { per_minute: Some(2), per_hour: Some(3) });
        let take = |now| {
            limiter.take(ORGANISATION, APPLICATION, Millis(now)).map_err(|r| (r.quota, r.retry_after_s))
        };
        assert_eq!((take(0), take(500)), (Ok(()), Ok(())));
        assert_eq!(take(501), Err((Quota::Minute, 60)));
        assert_eq!(take(59_999), Err((Quota::Minute, 1)));
        assert_eq!(take(60_000), Ok(()));
        assert_eq!(take(60_001), Err((Quota::Hour, 3_540)));
        // A clock that steps back stands still instead.
        assert_eq!(take(10), Err((Quota::Hour, 3_540)));
        assert_eq!(take(3_600_000), Ok(()));
        let none = Limiter::new(Limits { per_minute: Some(0), per_hour: Some(0) });
        assert!(none.take(ORGANISATION, APPLICATION, Millis(0)).is_err());
    }

    #[test]
    fn applications_and_organisations_are_counted_apart() {
        let limiter = Limiter::new(Limits { per_minute: Some(1), per_hour: Some(10) });
        for id in 0..1_000 {
            let other = OrganisationId(Uuid::from_u128(id));
            assert!(limiter.take(other, APPLICATION, Millis(0)).is_ok());
            assert!(limiter.take(other, ApplicationId(Uuid::from_u128(1)), Millis(0)).is_ok());
        }
    }

    #[test]
    fn what_no_limit_needs_is_not_remembered() {
        let held = |limits| {
            let limiter = Limiter::new(limits);
            for now in (0..7_200_000).step_by(1_000) {
                let _ = limiter.take(ORGANISATION, APPLICATION, Millis(now));
            }
            let shards = limiter.shards.iter().map(|shard| shard.lock().expect("whole"));
            shards.map(|shard| shard.values().map(|log| log.0.len()).sum::<usize>()).sum::<usize>()
        };
        assert_eq!(held(Limits::OFF), 0);
        assert_eq!(held(Limits { per_minute: Some(1_000), per_hour: None }), 60);
        assert_eq!(held(Limits { per_minute: None, per_hour: Some(5_000) }), 3_600);
    }

    #[test]
    fn idle_applications_are_forgotten() {
        let limiter = Limiter::new(Limits::default());
        for id in 0..200_000u128 {
            let now = Millis(id as u64 * 1_000);
            let _ = limiter.take(ORGANISATION, ApplicationId(Uuid::from_u128(id)), now);
        }
        let held: usize = limiter.shards.iter().map(|shard| shard.lock().expect("whole").len()).sum();
        assert!(held <= SHARDS * (LOGS_BEFORE_SWEEP + 1), "{held}");
    }
}
