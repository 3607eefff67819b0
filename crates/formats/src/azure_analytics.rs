//! TODO

use crate::chunk::CsvLayout;
use crate::csv::Field;
use crate::record::{Fault, Refusal, Sink};
use crate::settings::Settings;

/// Whether a header with these columns is one of this format's.
pub(crate) fn is_header(_has: &dyn Fn(&str) -> bool) -> bool {
    false
}

/// The places of the columns that matter.
pub(crate) struct Columns {}

impl Columns {
    /// From the header.
    pub(crate) fn of(_layout: &CsvLayout) -> Columns {
        Columns {}
    }

    /// One row.
    pub(crate) fn row(
        &self,
        _fields: &[Field<'_>],
        _line: u64,
        _settings: &Settings,
        _sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        Err(Refusal::MissingField.into())
    }
}
