//! How many calls an application gets: an exact sliding log of grants per (organisation, application). In no 60 s
//! (3,600 s) are more than N granted, and every call is granted that a log of the grants would grant; a token bucket
//! would let nearly twice the number through. Refuses to hold: a clock (the moment is an argument), other servers'
//! grants, what is counted (the route says), which numbers are in force (`settings`), and how the log outlives the
//! process (`recall`).
//!
//! A grant at millisecond t counts until t + 60,000 (3,600,000), that moment excluded. One application's log holds the
//! grants of the last hour, 8 bytes each: at most `per_hour` of them, and without that limit the newest
//! [`REMEMBERED_MIN`] (or `per_minute`, if that is more), so that a limit that is set counts what was granted before it
//! was. Logs older than an hour are dropped. The moments are those of a steady clock: the wall clock may be set.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::{FixedState, RandomState};
use sighting::{ApplicationId, OrganisationId};

use crate::settings::Limits;
use crate::state::Millis;

/// Who is counted: one application of one organisation.
pub(crate) type Key = (OrganisationId, ApplicationId);

/// Locks that unrelated applications do not wait for; the work under one is a few dozen nanoseconds.
const SHARDS: usize = 64;
/// A shard is swept of idle logs when it has grown past this many.
const LOGS_BEFORE_SWEEP: usize = 256;
/// How many grants of the last hour are remembered of an application without a limit of the hour: the default of that limit.
const REMEMBERED_MIN: usize = 1_500;

/// Which of the two limits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Quota {
    /// Calls in 60 seconds.
    Minute,
    /// Calls in 3,600 seconds.
    Hour,
}

impl Quota {
    /// Both, the shorter one first.
    pub const ALL: [Quota; 2] = [Quota::Minute, Quota::Hour];

    pub(crate) const fn span_ms(self) -> u64 {
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

    /// Its name: in metrics and in the RateLimit headers.
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

/// How an application stands with one of its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// The number of the limit.
    pub calls_max: u32,
    /// How many grants count now; more than the number where that was lowered since.
    pub used: u32,
    /// Whole seconds, at least 1, after which there is room for one call more; `None` if nothing is used.
    pub more_after_s: Option<u64>,
}

impl Room {
    /// How many calls would be granted now.
    pub fn remaining(self) -> u32 {
        self.calls_max.saturating_sub(self.used)
    }
}

/// How an application stands with both limits; `None` where it has none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    /// In 60 seconds.
    pub minute: Option<Room>,
    /// In 3,600 seconds.
    pub hour: Option<Room>,
}

impl Standing {
    /// How it stands with one of them.
    pub fn of(self, quota: Quota) -> Option<Room> {
        match quota {
            Quota::Minute => self.minute,
            Quota::Hour => self.hour,
        }
    }
}

/// What came of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Whether it was granted.
    pub granted: Result<(), Refused>,
    /// How the application stands after it, this call included: seen under the same lock.
    pub standing: Standing,
}

/// Counts the calls of every application.
pub struct Limiter {
    // A std mutex: nothing is awaited while it is held.
    shards: Vec<Mutex<Shard>>,
}

/// The applications that share a lock.
#[derive(Default)]
struct Shard {
    logs: HashMap<Key, Log, RandomState>,
    /// Whose log has grants that nobody has collected yet; each once.
    changed: Vec<Key>,
}

/// The moments of the grants that can still matter, oldest first.
#[derive(Default)]
struct Log {
    moments: VecDeque<u64>,
    /// How many of the newest nobody has collected yet.
    uncollected: usize,
}

/// Moments of the grants of one application, oldest first.
pub(crate) type Collected = Vec<(Key, Vec<u64>)>;

/// Moments are those of the steady clock and one hour: so there are moments for what was granted in the hour before
/// that clock began.
pub(crate) fn moment(steady: Millis) -> u64 {
    steady.0.saturating_add(Quota::Hour.span_ms())
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Limiter {
    /// Grants a call now and remembers it, or refuses it and remembers nothing.
    pub fn take(
        &self,
        organisation: OrganisationId,
        application: ApplicationId,
        limits: Limits,
        now: Millis,
    ) -> Taken {
        let key = (organisation, application);
        let now = moment(now);
        let mut shard = self.shard(&key);
        let Shard { logs, changed } = &mut *shard;
        if logs.len() >= LOGS_BEFORE_SWEEP && !logs.contains_key(&key) {
            logs.retain(|_, log| log.is_live(now));
            changed.retain(|key| logs.contains_key(key));
        }
        let log = logs.entry(key).or_default();
        let is_listed = log.uncollected > 0;
        let taken = log.take(limits, now);
        if taken.granted.is_ok() && !is_listed {
            changed.push(key);
        }
        taken
    }

    /// How an application stands.
    pub fn standing(
        &self,
        organisation: OrganisationId,
        application: ApplicationId,
        limits: Limits,
        now: Millis,
    ) -> Standing {
        let key = (organisation, application);
        let shard = self.shard(&key);
        shard.logs.get(&key).unwrap_or(&Log::default()).standing(limits, moment(now))
    }

    /// How many applications would be refused their next call by each limit, in the order of [`Quota::ALL`].
    pub(crate) fn at_limit(
        &self,
        limits_of: impl Fn(&Key) -> Option<Limits>,
        now: Millis,
    ) -> [(Quota, u64); Quota::ALL.len()] {
        let now = moment(now);
        let mut counts = Quota::ALL.map(|quota| (quota, 0));
        for shard in &self.shards {
            for (key, log) in &lock(shard).logs {
                let Some(limits) = limits_of(key) else { continue };
                for (quota, count) in &mut counts {
                    let is_at = |calls_max| log.free_at(*quota, calls_max, now).is_some();
                    *count += u64::from(limits.of(*quota).is_some_and(is_at));
                }
            }
        }
        counts
    }

    /// The grants that were not collected before, which are then.
    pub(crate) fn collect_further(&self) -> Collected {
        let mut collected = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let Shard { logs, changed } = &mut *shard;
            for key in changed.drain(..) {
                let Some(log) = logs.get_mut(&key) else { continue };
                let newest = log.moments.len() - std::mem::take(&mut log.uncollected);
                collected.push((key, log.moments.range(newest..).copied().collect()));
            }
        }
        collected
    }

    /// All grants, collected before or not.
    pub(crate) fn collect_all(&self) -> Collected {
        let mut collected = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.changed.clear();
            for (key, log) in &mut shard.logs {
                log.uncollected = 0;
                collected.push((*key, log.moments.iter().copied().collect()));
            }
        }
        collected
    }

    /// Takes up grants of before, of an application that has none of now yet.
    pub(crate) fn put(&self, key: Key, moments: impl IntoIterator<Item = u64>) {
        let mut shard = self.shard(&key);
        let log = &mut shard.logs.entry(key).or_default().moments;
        for moment in moments {
            let newest = log.back().copied().unwrap_or_default();
            log.push_back(moment.max(newest));
        }
    }

    /// How many applications and grants are remembered, and how many of the grants were not collected yet.
    pub(crate) fn remembered(&self) -> Remembered {
        let mut remembered = Remembered::default();
        for shard in &self.shards {
            let shard = lock(shard);
            remembered.applications += shard.logs.len();
            remembered.grants += shard.logs.values().map(|log| log.moments.len()).sum::<usize>();
            let uncollected = shard.changed.iter().filter_map(|key| shard.logs.get(key));
            remembered.uncollected += uncollected.map(|log| log.uncollected).sum::<usize>();
        }
        remembered
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[FixedState::default().hash_one(key) as usize % SHARDS])
    }
}

/// How much a limiter remembers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Remembered {
    pub(crate) applications: usize,
    pub(crate) grants: usize,
    pub(crate) uncollected: usize,
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn is_live(&self, now: u64) -> bool {
        self.moments.back().is_some_and(|newest| newest + Quota::Hour.span_ms() > now)
    }

    fn take(&mut self, limits: Limits, now: u64) -> Taken {
        // Callers read the clock before they get the lock; the log stays sorted all the same.
        let now = self.moments.back().map_or(now, |newest| now.max(*newest));
        while self.moments.front().is_some_and(|oldest| oldest + Quota::Hour.span_ms() <= now) {
            self.forget_oldest();
        }
        let granted = self.granted(limits, now);
        if granted.is_ok() {
            self.moments.push_back(now);
            self.uncollected += 1;
            if limits.per_hour.is_none() {
                let calls_max = limits.per_minute.unwrap_or_default() as usize;
                while self.moments.len() > calls_max.max(REMEMBERED_MIN) {
                    self.forget_oldest();
                }
            }
        }
        Taken { granted, standing: self.standing(limits, now) }
    }

    fn forget_oldest(&mut self) {
        self.moments.pop_front();
        self.uncollected = self.uncollected.min(self.moments.len());
    }

    fn granted(&self, limits: Limits, now: u64) -> Result<(), Refused> {
        let refusing = Quota::ALL.into_iter().filter_map(|quota| {
            let calls_max = limits.of(quota)?;
            Some((self.free_at(quota, calls_max, now)?, quota, calls_max))
        });
        // The one that holds out longest; of two equal ones the longer.
        refusing.max_by_key(|(free_at, ..)| *free_at).map_or(Ok(()), |(free_at, quota, calls_max)| {
            Err(Refused { quota, calls_max, retry_after_s: seconds_until(free_at, now) })
        })
    }

    /// When a limit lets the next call through; `None` if it does so now.
    fn free_at(&self, quota: Quota, calls_max: u32, now: u64) -> Option<u64> {
        let Some(back) = (calls_max as usize).checked_sub(1) else {
            return Some(now + quota.span_ms());
        };
        // The newest `calls_max` grants: while the oldest of them counts, they all do.
        let oldest = self.moments.iter().nth_back(back)?;
        let free_at = oldest + quota.span_ms();
        (free_at > now).then_some(free_at)
    }

    fn standing(&self, limits: Limits, now: u64) -> Standing {
        let of = |quota| limits.of(quota).map(|calls_max| self.room(quota, calls_max, now));
        Standing { minute: of(Quota::Minute), hour: of(Quota::Hour) }
    }

    fn room(&self, quota: Quota, calls_max: u32, now: u64) -> Room {
        let is_gone = |grant: &u64| grant + quota.span_ms() <= now;
        // Mostly none is: of those of more than an hour ago none is here, and few call for longer than a minute.
        let gone = match self.moments.front() {
            Some(oldest) if is_gone(oldest) => self.moments.partition_point(is_gone),
            _ => 0,
        };
        let used = self.moments.len() - gone;
        // Where more is used than the number, those above it must go first.
        let next = gone + used.saturating_sub((calls_max as usize).max(1));
        let more_at = self.moments.get(next).map(|grant| grant + quota.span_ms());
        Room {
            calls_max,
            used: u32::try_from(used).unwrap_or(u32::MAX),
            more_after_s: more_at.map(|more_at| seconds_until(more_at, now)),
        }
    }
}

/// Whole seconds, rounded up, at least 1.
fn seconds_until(then: u64, now: u64) -> u64 {
    then.saturating_sub(now).div_ceil(1_000).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

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

        /// What is used, what is left, and the first whole second at which there is room for one more.
        fn room(&self, span: u64, calls_max: Option<u32>, at: u64) -> Option<Room> {
            let calls_max = calls_max?;
            let used = self.within(span, at) as u32;
            let room = |at| calls_max.saturating_sub(self.within(span, at) as u32);
            let more_after_s =
                (used > 0).then(|| (1..).find(|s| room(at + s * 1_000) > room(at)).expect("an end"));
            Some(Room { calls_max, used, more_after_s })
        }

        fn standing(&self, limits: Limits, at: u64) -> Standing {
            Standing {
                minute: self.room(60_000, limits.per_minute, at),
                hour: self.room(3_600_000, limits.per_hour, at),
            }
        }
    }

    fn take(limiter: &Limiter, limits: Limits, now: u64) -> Taken {
        limiter.take(ORGANISATION, APPLICATION, limits, Millis(now))
    }

    fn limits(per_minute: u32, per_hour: u32) -> Limits {
        Limits { per_minute: Some(per_minute), per_hour: Some(per_hour) }
    }

    fn any_limits() -> impl Strategy<Value = Limits> {
        let of = |most| prop::option::weighted(0.9, 1..most);
        (of(12u32), of(40u32)).prop_map(|(per_minute, per_hour)| Limits { per_minute, per_hour })
    }

    proptest! {
        /// Limits that are changed in the middle, and taken away, and set again, are judged by the one list of all grants.
        #[test]
        fn as_the_definition_says(
            steps in prop::collection::vec(prop_oneof![0..50u64, 0..3_000u64, 0..200_000u64], 1..400),
            changes in prop::collection::vec((any_limits(), 1..60usize), 1..8),
        ) {
            let (limiter, mut naive, mut now) = (Limiter::default(), Naive::default(), 1_700_000_000_000);
            let mut limits_by_step = changes.iter().flat_map(|(limits, steps)| std::iter::repeat_n(*limits, *steps));
            let mut limits = limits_by_step.next().expect("one change at least");
            for step in steps {
                now += step;
                let taken = take(&limiter, limits, now);
                prop_assert_eq!(taken.granted.map_err(|refused| refused.retry_after_s), naive.take(limits, now));
                prop_assert_eq!(taken.standing, naive.standing(limits, now));
                limits = limits_by_step.next().unwrap_or(limits);
                let standing = limiter.standing(ORGANISATION, APPLICATION, limits, Millis(now));
                prop_assert_eq!(standing, naive.standing(limits, now));
            }
        }
    }

    #[test]
    fn no_minute_and_no_hour_holds_more() {
        let limiter = Limiter::default();
        let mut grants = Vec::new();
        // A caller that never pauses: one call every 7 ms for two hours and a half.
        for now in (0..9_000_000).step_by(7) {
            if take(&limiter, Limits::default(), now).granted.is_ok() {
                grants.push(now);
            }
        }
        for (at, grant) in grants.iter().enumerate() {
            let within = |span| grants[at..].iter().take_while(|other| **other < grant + span).count();
            assert!(within(60_000) <= 100 && within(3_600_000) <= 1_500);
        }
        assert_eq!(grants.len(), 1_500 * 3);
    }

    /// Everybody is told another number: that of the calls left after their own.
    #[test]
    fn sixty_four_callers_at_once_get_the_number_exactly() {
        let limiter = Limiter::default();
        let taken: Vec<Taken> = std::thread::scope(|scope| {
            let take = |_| take(&limiter, Limits::default(), 5_000);
            let callers: Vec<_> =
                (0..64).map(|_| scope.spawn(move || (0..50).map(take).collect::<Vec<_>>())).collect();
            callers.into_iter().flat_map(|caller| caller.join().expect("no panic")).collect()
        });
        let left = |taken: &Taken| taken.standing.minute.expect("a limit").remaining();
        let (granted, refused): (Vec<Taken>, Vec<Taken>) =
            taken.into_iter().partition(|taken| taken.granted.is_ok());
        let mut told: Vec<u32> = granted.iter().map(left).collect();
        told.sort_unstable();
        assert_eq!(told, (0..100).collect::<Vec<_>>());
        assert!(refused.iter().all(|taken| left(taken) == 0));
    }

    /// Sixty-four callers that never pause, while the clock goes on for two hours and a half: each call passes 7 ms.
    #[test]
    fn sixty_four_callers_while_time_passes_get_what_one_would() {
        const STEP_MS: u64 = 7;
        const END_MS: u64 = 9_000_000;
        let mut naive = Naive::default();
        // The definition is slow: it is asked once a second, which is often enough to be granted all that there is.
        for now in (0..END_MS).step_by(1_000) {
            if naive.would_grant(Limits::default(), now) {
                naive.0.push(now);
            }
        }
        let (limiter, clock) = (Limiter::default(), AtomicU64::new(0));
        let call = || {
            let (mut granted, mut collected) = (0usize, Vec::new());
            loop {
                let now = clock.fetch_add(STEP_MS, Ordering::Relaxed);
                if now >= END_MS {
                    return (granted, collected);
                }
                granted += usize::from(take(&limiter, Limits::default(), now).granted.is_ok());
                // Long before a grant is forgotten.
                if now.is_multiple_of(STEP_MS * 10_000) {
                    collected.extend(limiter.collect_further());
                }
            }
        };
        let told: Vec<(usize, Collected)> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..64).map(|_| scope.spawn(call)).collect();
            callers.into_iter().map(|caller| caller.join().expect("no panic")).collect()
        });
        let granted: usize = told.iter().map(|(granted, _)| granted).sum();
        let collected =
            told.into_iter().flat_map(|(_, collected)| collected).chain(limiter.collect_further());
        let mut grants: Vec<u64> = collected.flat_map(|(_, moments)| moments).collect();
        grants.sort_unstable();
        assert_eq!((grants.len(), granted, naive.0.len()), (4_500, 4_500, 4_500));
        for (at, grant) in grants.iter().enumerate() {
            let within = |span| grants[at..].iter().take_while(|other| **other < grant + span).count();
            assert!(within(60_000) <= 100 && within(3_600_000) <= 1_500, "{grant}");
        }
    }

    #[test]
    fn what_a_refusal_says() {
        let limiter = Limiter::default();
        let take = |now| take(&limiter, limits(2, 3), now).granted.map_err(|r| (r.quota, r.retry_after_s));
        assert_eq!((take(0), take(500)), (Ok(()), Ok(())));
        assert_eq!(take(501), Err((Quota::Minute, 60)));
        assert_eq!(take(59_999), Err((Quota::Minute, 1)));
        assert_eq!(take(60_000), Ok(()));
        assert_eq!(take(60_001), Err((Quota::Hour, 3_540)));
        // A clock that steps back stands still instead.
        assert_eq!(take(10), Err((Quota::Hour, 3_540)));
        assert_eq!(take(3_600_000), Ok(()));
        let nothing = limiter.take(ORGANISATION, APPLICATION, limits(0, 0), Millis(0));
        assert!(nothing.granted.is_err());
    }

    #[test]
    fn a_number_that_was_lowered_is_waited_for() {
        let limiter = Limiter::default();
        for now in 0..50 {
            assert!(take(&limiter, limits(50, 1_000), now * 1_000).granted.is_ok());
        }
        let lowered = take(&limiter, limits(10, 1_000), 50_000);
        let room = Room { calls_max: 10, used: 50, more_after_s: Some(50) };
        assert_eq!((lowered.standing.minute, room.remaining()), (Some(room), 0));
        assert_eq!(lowered.granted.map_err(|refused| refused.retry_after_s), Err(50));
        assert!(take(&limiter, limits(10, 1_000), 99_999).granted.is_err());
        assert!(take(&limiter, limits(10, 1_000), 100_000).granted.is_ok());
    }

    #[test]
    fn applications_and_organisations_are_counted_apart() {
        let (limiter, limits) = (Limiter::default(), limits(1, 10));
        for id in 0..1_000 {
            let other = OrganisationId(Uuid::from_u128(id));
            assert!(limiter.take(other, APPLICATION, limits, Millis(0)).granted.is_ok());
            let neighbour = ApplicationId(Uuid::from_u128(1));
            assert!(limiter.take(other, neighbour, limits, Millis(0)).granted.is_ok());
        }
        let at_limit = limiter.at_limit(|(_, id)| (*id == APPLICATION).then_some(limits), Millis(59_999));
        assert_eq!(at_limit, [(Quota::Minute, 1_000), (Quota::Hour, 0)]);
        let later = limiter.at_limit(|_| Some(limits), Millis(60_000));
        assert_eq!(later, [(Quota::Minute, 0), (Quota::Hour, 0)]);
    }

    /// Without a limit of the hour a log is as long as the default of that limit, or as the limit of the minute.
    #[test]
    fn what_is_remembered_has_an_end() {
        let held = |limits, step_ms| {
            let limiter = Limiter::default();
            for now in (0..7_200_000).step_by(step_ms) {
                let _ = take(&limiter, limits, now);
            }
            let remembered = limiter.remembered();
            assert_eq!((remembered.applications, remembered.uncollected), (1, remembered.grants));
            remembered.grants
        };
        assert_eq!(held(Limits::OFF, 1_000), REMEMBERED_MIN);
        assert_eq!(held(Limits::OFF, 10_000), 360);
        assert_eq!(held(Limits { per_minute: Some(3_000), per_hour: None }, 100), 3_000);
        assert_eq!(held(Limits { per_minute: None, per_hour: Some(5_000) }, 1_000), 3_600);
    }

    #[test]
    fn idle_applications_are_forgotten() {
        let limiter = Limiter::default();
        for id in 0..200_000u128 {
            let now = Millis(id as u64 * 1_000);
            let _ = limiter.take(ORGANISATION, ApplicationId(Uuid::from_u128(id)), Limits::default(), now);
        }
        let held = limiter.remembered().applications;
        assert!(held <= SHARDS * (LOGS_BEFORE_SWEEP + 1), "{held}");
    }
}
