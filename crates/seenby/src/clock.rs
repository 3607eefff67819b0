//! The only place that reads the wall clock, the steady one and the machine's time zone. Refuses to hold: any arithmetic;
//! whoever needs the time gets it as an argument.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sighting::Second;

/// The time now, cut to whole seconds.
pub(crate) fn now() -> Second {
    let seconds = now_millis() / 1000;
    Second::new(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub(crate) fn now_millis() -> u64 {
    // A clock before 1970 is a clock that was never set: everything then counts as being in the future.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since this was first asked: they go on whatever the wall clock is set to.
pub(crate) fn steady_millis() -> u64 {
    static BEGUN_AT: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN_AT.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// An instant in the machine's own time zone, for a person: `2017-07-30 15:36:06+02:00`.
pub(crate) fn local(second: Second) -> String {
    jiff::Timestamp::from_second(i64::from(second.unix()))
        .map(|instant| instant.to_zoned_datetime(jiff::tz::TimeZone::system()))
        .map(|zoned| zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string())
        .unwrap_or_default()
}
