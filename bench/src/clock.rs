//! The time of day, for what counts back from now. Refuses to hold: measurements, which are of the steady clock.

use std::time::{SystemTime, UNIX_EPOCH};

use sighting::Second;

/// The current second.
#[expect(clippy::disallowed_methods, reason = "the server that is measured reads the real clock too")]
pub(crate) fn now() -> Second {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    Second::new(u32::try_from(since_1970.as_secs()).expect("the clock is right"))
}
