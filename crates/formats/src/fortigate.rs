//! TODO

use crate::record::{Fault, Refusal, Sink};
use crate::settings::Settings;

/// Whether a line is a record of this format, be it none that counts.
pub(crate) fn is_record(_line: &str) -> bool {
    false
}

/// One record.
pub(crate) fn record(
    _text: &str,
    _line: u64,
    _settings: &Settings,
    _sink: &mut impl Sink,
) -> Result<(), Fault> {
    Err(Refusal::MissingField.into())
}
