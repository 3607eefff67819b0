//! The RateLimit headers: how an application stands with its limits, as
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/> writes it (structured fields; draft 10 and 11
//! agree in all that is used here). Refuses to hold: what is counted, and `Retry-After`, which only a refusal has.
//!
//! ```text
//! RateLimit-Policy: "minute";q=100;w=60, "hour";q=1500;w=3600
//! RateLimit: "minute";r=97;t=42, "hour";r=1497;t=3442
//! ```
//!
//! `q` calls in any `w` seconds; `r` calls are left, and for `t` seconds no more than those. A limit that is off is not
//! there; without any there are no headers.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits::{Quota, Standing};

/// What the limits are.
pub const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them.
pub const STATE_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// Of a header, mostly.
const LENGTH: usize = 64;

/// Writes the headers of a counted call.
pub(crate) fn put(headers: &mut HeaderMap, standing: Standing) {
    let rooms = Quota::ALL.into_iter().filter_map(|quota| Some((quota, standing.of(quota)?)));
    let (mut policy, mut state) = (String::with_capacity(LENGTH), String::with_capacity(LENGTH));
    for (quota, room) in rooms {
        let comma = if policy.is_empty() { "" } else { ", " };
        let (name, window_s) = (quota.label(), quota.span_ms() / 1_000);
        // Writing to a string does not fail.
        let _ = write!(policy, "{comma}\"{name}\";q={};w={window_s}", room.calls_max);
        let _ = write!(state, "{comma}\"{name}\";r={}", room.remaining());
        if let Some(seconds) = room.more_after_s {
            let _ = write!(state, ";t={seconds}");
        }
    }
    for (name, value) in [(POLICY_HEADER, policy), (STATE_HEADER, state)] {
        if let Ok(value) = HeaderValue::try_from(value)
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Room;

    #[track_caller]
    fn check(standing: Standing, policy: Option<&str>, state: Option<&str>) {
        let mut headers = HeaderMap::new();
        put(&mut headers, standing);
        let text = |name| headers.get(name).map(|value| value.to_str().expect("ASCII"));
        assert_eq!((text(POLICY_HEADER), text(STATE_HEADER)), (policy, state));
    }

    #[test]
    fn as_the_draft_writes_them() {
        let minute = Room { calls_max: 100, used: 3, more_after_s: Some(42) };
        let hour = Room { calls_max: 1_500, used: 1_600, more_after_s: Some(7) };
        check(
            Standing { minute: Some(minute), hour: Some(hour) },
            Some("\"minute\";q=100;w=60, \"hour\";q=1500;w=3600"),
            Some("\"minute\";r=97;t=42, \"hour\";r=0;t=7"),
        );
        let unused = Room { used: 0, more_after_s: None, ..hour };
        check(
            Standing { minute: None, hour: Some(unused) },
            Some("\"hour\";q=1500;w=3600"),
            Some("\"hour\";r=1500"),
        );
        check(Standing::default(), None, None);
    }
}
