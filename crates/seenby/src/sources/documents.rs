//! Messages of a broker, each of which is a log of its own: a record, some lines of them, a document. Each is looked at by itself, and
//! what is wrong with one is nothing to the next. Refuses to hold: where messages come from.

use std::sync::Arc;

use formats::{Framer, Opening, Recogniser};

use super::feed::{Feed, Stopped};
use crate::ingest::Reading;

/// Cuts messages into chunks. Those that are one line each, and look alike, share chunks.
#[derive(Default)]
pub(super) struct Documents {
    recogniser: Option<Recogniser>,
    lines: Option<(Opening, Framer)>,
}

impl Documents {
    /// Takes a message. Its records may wait for [`Documents::flush`].
    pub(super) fn take(
        &mut self,
        feed: &mut Feed,
        reading: &Arc<Reading>,
        message: &[u8],
    ) -> Result<(), Stopped> {
        feed.read(message.len() as u64);
        // Of UTF-16 the last byte may be half a letter.
        let is_utf16 = message.starts_with(b"\xff\xfe") || message.starts_with(b"\xfe\xff");
        let message = if is_utf16 { message } else { message.trim_ascii_end() };
        if message.is_empty() {
            return Ok(());
        }
        let source = Arc::clone(&feed.source);
        let columns = &source.formats.columns;
        let recogniser = self.recogniser.get_or_insert_with(|| Recogniser::new(columns));
        let (message, opening) = recogniser.recognise(message, source.wanted);
        let is_line = opening.is_line_by_line() && !message.contains(&b'\n');
        if self.lines.as_ref().is_some_and(|(lines, _)| !is_line || *lines != opening) {
            self.flush(feed, reading)?;
            self.lines = None;
        }
        if !is_line {
            let mut framer = Framer::new(opening, columns);
            let mut chunks = Vec::new();
            framer.push(&message, &mut |chunk| chunks.push(chunk));
            framer.finish(&mut |chunk| chunks.push(chunk));
            return feed.take_all(reading, chunks, &mut framer);
        }
        let (_, framer) = self.lines.get_or_insert_with(|| (opening, Framer::new(opening, columns)));
        let mut chunks = Vec::new();
        framer.push(&message, &mut |chunk| chunks.push(chunk));
        framer.push(b"\n", &mut |chunk| chunks.push(chunk));
        feed.take_all(reading, chunks, framer)
    }

    /// Has all records of the messages so far in the batch.
    pub(super) fn flush(&mut self, feed: &mut Feed, reading: &Arc<Reading>) -> Result<(), Stopped> {
        let Some((_, framer)) = &mut self.lines else { return Ok(()) };
        let mut chunks = Vec::new();
        framer.flush(&mut |chunk| chunks.push(chunk));
        feed.take_all(reading, chunks, framer)
    }
}
