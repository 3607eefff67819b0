//! A log that is read from its start to its end at once, because it changes no more: as it is, compressed, or Parquet. Refuses to hold:
//! where it lies, and whether it is time to read it.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::sync::Arc;

use formats::{Chunk, Columnar, Detection, Framer, HEAD_BYTES, Opening, PARQUET_MAGIC};

use super::feed::{Feed, Stopped};
use crate::ingest::{Compression, DAMAGED_ROWS, Reading, UNREADABLE, decompressed};

/// Decompressed bytes that are read at once.
const BYTES_READ: usize = 256 << 10;

/// Why nothing more is read.
pub(super) enum Broken {
    Stopped,
    Io(io::Error),
}

impl From<Stopped> for Broken {
    fn from(_: Stopped) -> Broken {
        Broken::Stopped
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

/// Reads all of a file; damage in it is counted like a refused record. What was full on the way is in the store.
pub(super) fn read(feed: &mut Feed, reading: &Arc<Reading>, mut file: File) -> Result<(), Broken> {
    let mut magic = Vec::new();
    file.rewind()?;
    file.by_ref().take(PARQUET_MAGIC.len().max(Compression::MAGIC_BYTES) as u64).read_to_end(&mut magic)?;
    file.rewind()?;
    if magic.starts_with(PARQUET_MAGIC) {
        return Ok(rows(feed, reading, file)?);
    }
    match Compression::of(&magic) {
        None => stream(feed, reading, file, None),
        Some(compression) => stream(feed, reading, decompressed(compression, file)?, Some(compression)),
    }
}

/// Reads all of a Parquet file.
pub(super) fn rows(feed: &mut Feed, reading: &Arc<Reading>, file: File) -> Result<(), Stopped> {
    let source = Arc::clone(&feed.source);
    let opened = Columnar::open(file, source.wanted, &source.formats.columns);
    let mut rows = match opened {
        Ok(rows) => rows,
        Err(damage) => return feed.damaged(reading, DAMAGED_ROWS, &io::Error::other(damage)),
    };
    while let Some(chunk) = rows.next_chunk() {
        match chunk {
            Ok(chunk) => take(feed, reading, vec![chunk])?,
            Err(damage) => return feed.damaged(reading, DAMAGED_ROWS, &io::Error::other(damage)),
        }
    }
    Ok(())
}

fn stream(
    feed: &mut Feed,
    reading: &Arc<Reading>,
    mut stream: impl Read,
    compression: Option<Compression>,
) -> Result<(), Broken> {
    let source = Arc::clone(&feed.source);
    let columns = &source.formats.columns;
    let mut head = Vec::new();
    let mut ended =
        stream.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map(|_| head.len() < HEAD_BYTES);
    let opening = match formats::detect(&head, true, source.wanted, columns) {
        Detection::Known(opening) | Detection::Unknown(opening) => opening,
        Detection::NeedMore => Opening::UNRECOGNISED,
    };
    let mut framer = Framer::new(opening, columns);
    let push = |feed: &mut Feed, framer: &mut Framer, bytes: &[u8]| {
        let mut chunks = Vec::new();
        framer.push(bytes, &mut |chunk| chunks.push(chunk));
        take(feed, reading, chunks)
    };
    push(feed, &mut framer, &head)?;
    let mut buffer = vec![0; BYTES_READ];
    while let Ok(false) = ended {
        match stream.read(&mut buffer) {
            Ok(0) => ended = Ok(true),
            Ok(came) => push(feed, &mut framer, buffer.get(..came).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => ended = Err(error),
        }
    }
    let mut chunks = Vec::new();
    match &ended {
        Ok(_) => framer.finish(&mut |chunk| chunks.push(chunk)),
        Err(_) => framer.stop(&mut |chunk| chunks.push(chunk)),
    }
    take(feed, reading, chunks)?;
    if let Err(error) = ended {
        let code = compression.map_or(UNREADABLE, |compression| compression.damage(&error));
        feed.damaged(reading, code, &error)?;
    }
    Ok(())
}

fn take(feed: &mut Feed, reading: &Arc<Reading>, chunks: Vec<Chunk>) -> Result<(), Stopped> {
    for chunk in chunks {
        feed.take(reading, &chunk)?;
        if feed.is_full() {
            feed.commit()?;
        }
    }
    if feed.stop().is_told() { Err(Stopped) } else { Ok(()) }
}
