//! TODO

use crate::record::{Fault, Refusal, Sink};
use crate::settings::Settings;

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(_has: &dyn Fn(&str) -> bool) -> bool {
    false
}

/// One record.
pub(crate) fn record(
    _text: &str,
    _line: u64,
    _settings: &Settings,
    _sink: &mut impl Sink,
) -> Result<(), Fault> {
    Err(Refusal::BadJson.into())
}
