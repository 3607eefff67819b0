//! TODO

use crate::chunk::Chunk;
use crate::record::Sink;
use crate::settings::Settings;

/// Tells of every event of a chunk.
pub(crate) fn events(_chunk: &Chunk, _settings: &Settings, _sink: &mut impl Sink) {}

/// Whether a line begins an event of Windows in XML, or a document of such events.
pub(crate) fn is_start(_line: &str) -> bool {
    false
}
