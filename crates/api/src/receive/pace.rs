//! How fast each source may send: a bound in bytes a second, over all of its uploads together. Refuses to hold: waiting, and
//! call limits (`limits`).

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sighting::SourceId;

use crate::state::Millis;

/// When each source may send on, by the steady clock, in nanoseconds: of small pieces less than a millisecond each is due. A source whose time has passed is as good as none.
#[derive(Default)]
pub(crate) struct Paces(Mutex<HashMap<SourceId, u64>>);

const NANOS_PER_MILLI: u64 = 1_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Sources that are remembered; beyond, those whose time has passed are forgotten.
const REMEMBERED_MAX: usize = 4_096;

impl Paces {
    /// Notes that some bytes of a source came, and says how long to wait before more is read.
    pub(crate) fn came(
        &self,
        source: SourceId,
        bytes: usize,
        per_second: NonZeroU64,
        now: Millis,
    ) -> Duration {
        let now = now.0.saturating_mul(NANOS_PER_MILLI);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_MAX {
            all.retain(|_, free_at| *free_at > now);
        }
        let free_at = all.entry(source).or_insert(now);
        let takes = (bytes as u64).saturating_mul(NANOS_PER_SECOND).div_ceil(per_second.get());
        *free_at = (*free_at).max(now).saturating_add(takes);
        Duration::from_nanos(*free_at - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sighting::Uuid;

    #[test]
    fn what_came_takes_its_time() {
        let paces = Paces::default();
        let (one, other) = (SourceId(Uuid::from_u128(1)), SourceId(Uuid::from_u128(2)));
        let rate = NonZeroU64::new(1_000).expect("not zero");
        let check = |source, bytes, now, wait| {
            let waited = paces.came(source, bytes, rate, Millis(now));
            assert_eq!(waited, Duration::from_millis(wait), "{bytes} at {now}");
        };
        check(one, 500, 10_000, 500);
        check(one, 500, 10_000, 1_000);
        check(other, 100, 10_000, 100);
        check(one, 100, 10_500, 600);
        check(one, 100, 60_000, 100);
        // Small pieces are due as well.
        let fast = NonZeroU64::new(1_000_000).expect("not zero");
        let three = SourceId(Uuid::from_u128(3));
        let waits: Vec<Duration> = (0..2_000).map(|_| paces.came(three, 500, fast, Millis(0))).collect();
        assert_eq!(waits.last(), Some(&Duration::from_secs(1)));
    }
}
