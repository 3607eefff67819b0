//! The only place that reads the wall clock, the steady one and the machine's time zone. Refuses to hold: any arithmetic;
//! whoever needs the time gets it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use sighting::{Second, Uuid};

/// Where the system tells which boot this is: a GUID that is made at each.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

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

/// Milliseconds since the machine was started, sleep included: they go on whatever the wall clock is set to, and every
/// process of one [`boot`] counts the same.
pub(crate) fn steady_millis() -> u64 {
    let since_boot = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (since_boot.tv_sec, since_boot.tv_nsec);
    u64::try_from(seconds * 1_000 + nanoseconds / 1_000_000).unwrap_or_default()
}

/// Which start of the machine this is, where the system tells it.
pub(crate) fn boot() -> Option<Uuid> {
    let text = std::fs::read_to_string(BOOT_ID).ok()?;
    Uuid::try_parse(text.trim()).ok()
}

/// An instant in the machine's own time zone, for a person: `2017-07-30 15:36:06+02:00`.
pub(crate) fn local(second: Second) -> String {
    jiff::Timestamp::from_second(i64::from(second.unix()))
        .map(|instant| instant.to_zoned_datetime(jiff::tz::TimeZone::system()))
        .map(|zoned| zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string())
        .unwrap_or_default()
}
