//! One file that is followed: gone on with where it was left, read to its end, read anew when it is not what it was. Refuses to
//! hold: which files there are, and when to look at them.
//!
//! What was read is known by the last bytes of it (`place`). They are compared each time, after the read: a file that was
//! truncated, overwritten, or whose number another file got, is read from its start; records are a set, so what was read before
//! does no harm. A line without its end is waited for. Compressed files are read whole, once they hold still.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formats::{Detection, Framer, HEAD_BYTES, Opening, PARQUET_MAGIC, Place};
use rustix::fs::{SeekFrom, seek};

use super::feed::{Feed, Stopped, name};
use super::place::{Kept, Key, MARK_BYTES, Recent, mark};
use super::root::{FileId, Look, NotOpened, Root, look_at};
use super::whole::{self, Broken};
use crate::ingest::{Compression, DAMAGED_ROWS, Reading, decompressed};

/// Bytes that are read of one file before others have their turn.
const TURN_BYTES: usize = 8 << 20;
/// How long a file must hold still before what it is is decided by less than a whole head of it.
const DETECT_WAITS: Duration = Duration::from_secs(2);
/// How long a compressed file must hold still before it is read: whoever compresses takes a while.
const COMPRESSED_WAITS: Duration = Duration::from_secs(1);
/// After how long without a change a compressed file that ends in its middle is taken for damaged.
const CUT_WAITS: Duration = Duration::from_secs(60);
/// How long before a file that cannot be opened is tried again.
const REFUSED_WAITS: Duration = Duration::from_secs(30);

/// A file that is followed.
pub(super) struct Followed {
    pub(super) id: FileId,
    /// Below the root, by the name it was last seen under.
    pub(super) path: PathBuf,
    /// As it was when it was last read.
    pub(super) look: Look,
    /// When it last changed.
    pub(super) changed_at: Instant,
    /// It is read only if it was read before under another name.
    pub(super) only_if_known: bool,
    /// Too much of it was refused: it is left as it was when it had been read up to there.
    paused_at: Option<Kept>,
    /// How far it is taken, in the store or in the batch on its way there.
    kept: Kept,
    /// The store was asked how far it was read before.
    is_looked_up: bool,
    reading: Arc<Reading>,
    stream: Option<Stream>,
    /// Why it was last left alone; each reason is said once.
    said: Option<String>,
}

/// An open file.
struct Stream {
    file: File,
    /// None until it is known what the file is.
    reader: Option<Reader>,
}

/// What is in the middle of being read.
struct Reader {
    framer: Framer,
    recent: Recent,
    /// The first bytes of the file, by which a copy of it is known.
    first: Vec<u8>,
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// All there is was read.
    Done,
    /// There is more.
    More,
    /// It is to be looked at again after a while, changed or not.
    Again(Duration),
    /// It is not there under its name.
    Gone,
    /// It was to be read only if it was known, and is not.
    Unknown,
}

/// How beginning with a file ended.
enum Begun {
    Reader(Box<Reader>),
    /// There is nothing to read yet, or nothing new.
    Nothing(Turn),
    Whole(Whole),
}

/// What can only be read whole.
#[derive(Clone, Copy)]
enum Whole {
    Compressed(Compression),
    Parquet,
}

impl Whole {
    fn of(head: &[u8]) -> Option<Whole> {
        if head.starts_with(PARQUET_MAGIC) {
            return Some(Whole::Parquet);
        }
        Compression::of(head).map(Whole::Compressed)
    }

    /// What ends in its middle is.
    fn damage(self, error: &io::Error) -> &'static str {
        match self {
            Whole::Compressed(compression) => compression.damage(error),
            Whole::Parquet => DAMAGED_ROWS,
        }
    }
}

impl Followed {
    pub(super) fn new(id: FileId, path: PathBuf, only_if_known: bool, now: Instant) -> Followed {
        Followed {
            reading: reading(&path),
            id,
            path,
            look: Look::default(),
            changed_at: now,
            only_if_known,
            paused_at: None,
            kept: Kept::default(),
            is_looked_up: false,
            stream: None,
            said: None,
        }
    }

    /// Whether what is read of it does not depend on its name.
    pub(super) const fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether it is left where it is, because too much of it was refused.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    /// Lets it go until it changes.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Reads on, for a while at most.
    pub(super) fn turn(
        &mut self,
        root: &Root,
        feed: &mut Feed,
        buffer: &mut [u8],
        now: Instant,
    ) -> Result<Turn, Stopped> {
        let Stream { file, reader } = match self.stream.take() {
            Some(stream) => stream,
            None => match root.file(&self.path) {
                Ok((file, id, _)) if id == self.id => Stream { file, reader: None },
                Ok(_) | Err(NotOpened::Gone) => return Ok(Turn::Gone),
                Err(NotOpened::Refused(why)) => {
                    self.say(feed, &why);
                    return Ok(Turn::Again(REFUSED_WAITS));
                }
            },
        };
        match self.turn_with(&file, reader, feed, buffer, now) {
            Ok((turn, reader)) => {
                self.stream = Some(Stream { file, reader });
                Ok(turn)
            }
            Err(Broken::Stopped) => Err(Stopped),
            Err(Broken::Io(error)) => {
                // It is opened and gone on with anew.
                self.say(feed, &format!("it cannot be read ({error})"));
                Ok(Turn::Again(REFUSED_WAITS))
            }
        }
    }

    fn turn_with(
        &mut self,
        file: &File,
        reader: Option<Reader>,
        feed: &mut Feed,
        buffer: &mut [u8],
        now: Instant,
    ) -> Result<(Turn, Option<Reader>), Broken> {
        let look = look_at(file)?;
        if look != self.look {
            (self.look, self.changed_at) = (look, now);
        }
        if let Some(paused) = self.paused_at {
            if paused.position <= look.bytes && paused.is_marked_by(&before(file, paused)?) {
                return Ok((Turn::Done, None));
            }
            // It was truncated or written anew.
            (self.paused_at, self.kept) = (None, Kept::default());
            self.reading = reading(&self.path);
        }
        let begun = match reader {
            Some(reader) => Begun::Reader(Box::new(reader)),
            None => self.begin(file, feed, now)?,
        };
        match begun {
            Begun::Reader(reader) => self.read_on(file, *reader, feed, buffer),
            Begun::Nothing(turn) => Ok((turn, None)),
            Begun::Whole(whole) => Ok((self.whole(file, whole, feed, buffer, now)?, None)),
        }
    }

    /// Finds out where to begin, and with what.
    fn begin(&mut self, file: &File, feed: &mut Feed, now: Instant) -> Result<Begun, Broken> {
        if !std::mem::replace(&mut self.is_looked_up, true) {
            self.kept = look_up(feed, &Key::File(self.id))?.unwrap_or_default();
        }
        let bytes = self.look.bytes;
        let mut before = before(file, self.kept)?;
        let is_same = self.kept.position <= bytes && self.kept.is_marked_by(&before);
        if self.kept.position > 0 && is_same && self.kept.place().is_none() && self.kept.position == bytes {
            return Ok(Begun::Nothing(Turn::Done));
        }
        if !is_same || self.kept.place().is_none() {
            (self.kept, before) = (Kept::default(), Vec::new());
        }
        let start = first_byte(file)?;
        let head = read_at(file, start, HEAD_BYTES)?;
        if head.is_empty() {
            return Ok(Begun::Nothing(Turn::Done));
        }
        if let Some(whole) = Whole::of(&head) {
            return Ok(Begun::Whole(whole));
        }
        if head.len() < Compression::MAGIC_BYTES && self.is_young(now, DETECT_WAITS) {
            return Ok(Begun::Nothing(Turn::Again(DETECT_WAITS)));
        }
        if self.kept.position == 0 && head.len() >= MARK_BYTES {
            let copied = look_up(feed, &Key::Content(mark(&head[..MARK_BYTES])))?;
            if let Some(copied) = copied.filter(|kept| kept.position <= bytes) {
                let copied_before = self::before(file, copied)?;
                if copied.is_marked_by(&copied_before) {
                    (self.kept, before) = (copied, copied_before);
                }
            }
        }
        if self.only_if_known && self.kept.position == 0 {
            return Ok(Begun::Nothing(Turn::Unknown));
        }
        let opening = match self.opening(&head, feed, now) {
            Ok(opening) => opening,
            Err(waits) => return Ok(Begun::Nothing(Turn::Again(waits))),
        };
        self.only_if_known = false;
        let first = head.get(..MARK_BYTES).unwrap_or(&head).to_vec();
        let (framer, recent) = self.reader(file, opening, (start, &head), before, feed)?;
        Ok(Begun::Reader(Box::new(Reader { framer, recent, first })))
    }

    /// Goes on at the place that is kept, or begins at the start.
    fn reader(
        &mut self,
        file: &File,
        opening: Opening,
        (start, head): (u64, &[u8]),
        before: Vec<u8>,
        feed: &Feed,
    ) -> io::Result<(Framer, Recent)> {
        let columns = &feed.source.formats.columns;
        if let Some(place) = self.kept.place().filter(|place| place.position > 0) {
            let header = match place.header {
                0 => head.to_vec(),
                at => read_at(file, at, HEAD_BYTES)?,
            };
            if let Some(framer) = Framer::resume(opening, columns, place, &header, before.last().copied()) {
                return Ok((framer, Recent::until(place.position, before)));
            }
        }
        self.kept = Kept::default();
        // A hole at the start (who writes on after a truncation leaves one) is no part of the first record.
        let place = Place { position: start, line: 1, header: start };
        let resumed = Framer::resume(opening, columns, place, head, Some(b'\n')).filter(|_| start > 0);
        let Some(framer) = resumed else {
            return Ok((Framer::new(opening, columns), Recent::default()));
        };
        // The hole is a part of what the place is known by.
        let hole = vec![0; usize::try_from(start).unwrap_or(MARK_BYTES).min(MARK_BYTES)];
        Ok((framer, Recent::until(start, hole)))
    }

    /// What the file is; or after how long to look again, where its first bytes may yet tell more.
    fn opening(&self, head: &[u8], feed: &Feed, now: Instant) -> Result<Opening, Duration> {
        let (wanted, columns) = (feed.source.wanted, &feed.source.formats.columns);
        let detect = |at_end| match formats::detect(head, at_end, wanted, columns) {
            Detection::Known(opening) | Detection::Unknown(opening) => Some(opening),
            Detection::NeedMore => None,
        };
        match detect(false) {
            Some(opening) => Ok(opening),
            None if self.is_young(now, DETECT_WAITS) => Err(DETECT_WAITS),
            None => Ok(detect(true).unwrap_or(Opening::UNRECOGNISED)),
        }
    }

    /// Whether it changed lately.
    fn is_young(&self, now: Instant, age: Duration) -> bool {
        now.saturating_duration_since(self.changed_at) < age
    }

    fn read_on(
        &mut self,
        file: &File,
        mut reader: Reader,
        feed: &mut Feed,
        buffer: &mut [u8],
    ) -> Result<(Turn, Option<Reader>), Broken> {
        let mut turn = 0;
        let ended = loop {
            let at = reader.recent.end();
            let came = match file.read_at(buffer, at) {
                Ok(came) => came,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            // Looked at after the read: what came is the same file's only if this is.
            let tail = reader.recent.tail();
            if read_at(file, at - tail.len() as u64, tail.len())? != tail {
                return Ok((self.begin_anew(reader, feed)?, None));
            }
            if came == 0 {
                break Turn::Done;
            }
            feed.read(came as u64);
            reader.push(&buffer[..came], feed, &self.reading)?;
            turn += came;
            if feed.is_full() {
                self.settle(&mut reader, feed, Flush::Lines)?;
                feed.commit()?;
                if self.is_paused() {
                    return Ok((Turn::Done, None));
                }
            }
            if turn >= TURN_BYTES {
                break Turn::More;
            }
            if feed.stop().is_told() {
                break Turn::Done;
            }
        };
        if ended == Turn::Done && look_at(file).is_ok_and(|look| look.bytes < reader.recent.end()) {
            return Ok((self.begin_anew(reader, feed)?, None));
        }
        self.settle(&mut reader, feed, Flush::Whole)?;
        if self.is_paused() {
            return Ok((Turn::Done, None));
        }
        reader.framer.rest();
        Ok((ended, Some(reader)))
    }

    /// The file is not what it was. The whole lines that were read of it are taken: nobody can read them again.
    fn begin_anew(&mut self, mut reader: Reader, feed: &mut Feed) -> Result<Turn, Stopped> {
        self.settle(&mut reader, feed, Flush::Lines)?;
        tracing::debug!(source = %name(&feed.source.name), file = %shown(&self.path), "a file was truncated or written anew");
        self.kept = Kept::default();
        self.reading = reading(&self.path);
        Ok(Turn::More)
    }

    /// Takes the whole records so far, and with them the place behind them; unless too much was refused, where the place stays,
    /// so that nothing is lost once somebody has mended the settings.
    fn settle(&mut self, reader: &mut Reader, feed: &mut Feed, how: Flush) -> Result<(), Stopped> {
        let mut chunks = Vec::new();
        match how {
            Flush::Lines => reader.framer.flush(&mut |chunk| chunks.push(chunk)),
            Flush::Whole => reader.framer.flush_whole(&mut |chunk| chunks.push(chunk)),
        }
        feed.take_all(&self.reading, chunks, &mut reader.framer)?;
        let place = reader.framer.place();
        let kept = match place {
            Some(place) => Kept::at(place, reader.recent.before(place.position)),
            None => Kept::all(reader.recent.end(), reader.recent.tail()),
        };
        if kept == self.kept {
            return Ok(());
        }
        let (records, refused) = self.reading.records();
        if feed.source.refused_max.is_exceeded(records, refused) {
            self.pause(feed, (records, refused), Kept::all(reader.recent.end(), reader.recent.tail()));
            return Ok(());
        }
        reader.recent.forget_before(kept.position);
        self.kept = kept;
        feed.set_offsets(kept.offsets(&Key::File(self.id)))?;
        let is_copyable = reader.first.len() == MARK_BYTES
            && kept.position >= MARK_BYTES as u64
            && place.is_some()
            && kept.has_first_header();
        if is_copyable {
            feed.set_offsets(kept.offsets(&Key::Content(mark(&reader.first))))?;
        }
        Ok(())
    }

    fn pause(&mut self, feed: &Feed, (records, refused): (u64, u64), at: Kept) {
        self.paused_at = Some(at);
        tracing::error!(
            source = %name(&feed.source.name),
            file = %shown(&self.path),
            records,
            refused,
            "too many records of a file are refused, so it is left where it is: look with `seenby ingest --explain` what is wrong, \
             correct its [[sources]] (format, time_zone, columns, exclude, or refused_max) and start the server again"
        );
    }

    /// Reads a compressed file, or one of Parquet, from its start to its end.
    fn whole(
        &mut self,
        file: &File,
        whole: Whole,
        feed: &mut Feed,
        buffer: &mut [u8],
        now: Instant,
    ) -> Result<Turn, Broken> {
        if self.is_young(now, COMPRESSED_WAITS) {
            return Ok(Turn::Again(COMPRESSED_WAITS));
        }
        let ended = match whole {
            Whole::Parquet => self.rows(file, feed)?,
            Whole::Compressed(compression) => self.unpacked(file, compression, feed, buffer)?,
        };
        match ended {
            Unpacked::Unknown => return Ok(Turn::Unknown),
            Unpacked::Whole | Unpacked::NotACopy => {}
            // It may still be written.
            Unpacked::Cut(error) if self.is_young(now, CUT_WAITS) => {
                tracing::debug!(source = %name(&feed.source.name), file = %shown(&self.path), %error, "a compressed file has no end yet");
                return Ok(Turn::Again(CUT_WAITS));
            }
            Unpacked::Cut(error) => feed.damaged(&self.reading, whole.damage(&error), &error)?,
        }
        // What the decompressor saw is marked, and a change since then is noticed by its length or its end.
        let bytes = self.look.bytes;
        let tail = read_at(file, bytes.saturating_sub(MARK_BYTES as u64), MARK_BYTES)?;
        let kept = Kept::all(bytes, &tail);
        let (records, refused) = self.reading.records();
        if feed.source.refused_max.is_exceeded(records, refused) {
            self.pause(feed, (records, refused), kept);
            return Ok(Turn::Done);
        }
        self.kept = kept;
        feed.set_offsets(self.kept.offsets(&Key::File(self.id)))?;
        Ok(Turn::Done)
    }

    /// Reads a Parquet file, if it is whole.
    fn rows(&mut self, file: &File, feed: &mut Feed) -> Result<Unpacked, Broken> {
        if self.only_if_known {
            return Ok(Unpacked::Unknown);
        }
        let magic = PARQUET_MAGIC.len();
        let end = read_at(file, self.look.bytes.saturating_sub(magic as u64), magic)?;
        if end != PARQUET_MAGIC {
            return Ok(Unpacked::Cut(io::Error::other("it does not end like a Parquet file")));
        }
        self.reading = reading(&self.path);
        whole::rows(feed, &self.reading, file.try_clone()?)?;
        feed.read(self.look.bytes);
        Ok(Unpacked::Whole)
    }

    /// Reads what is in a compressed file.
    fn unpacked(
        &mut self,
        file: &File,
        compression: Compression,
        feed: &mut Feed,
        buffer: &mut [u8],
    ) -> Result<Unpacked, Broken> {
        match self.unpack(file, compression, feed, buffer, true)? {
            Unpacked::NotACopy => self.unpack(file, compression, feed, buffer, false),
            ended => Ok(ended),
        }
    }

    /// Reads what is in a compressed file; of a copy of what was read already, what is new in it.
    fn unpack(
        &mut self,
        file: &File,
        compression: Compression,
        feed: &mut Feed,
        buffer: &mut [u8],
        may_be_copy: bool,
    ) -> Result<Unpacked, Broken> {
        self.reading = reading(&self.path);
        let raw = Counted { file, at: 0 };
        let mut stream = decompressed(compression, raw)?;
        let mut head = Vec::new();
        let mut ended = stream.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map(|_| ());
        let mut is_all = head.len() < HEAD_BYTES;
        let (wanted, columns) = (feed.source.wanted, feed.source.formats.columns.clone());
        let opening = match formats::detect(&head, is_all, wanted, &columns) {
            Detection::Known(opening) | Detection::Unknown(opening) => opening,
            Detection::NeedMore => Opening::UNRECOGNISED,
        };
        let copied = if may_be_copy && head.len() >= MARK_BYTES {
            look_up(feed, &Key::Content(mark(&head[..MARK_BYTES])))?
        } else {
            None
        };
        if self.only_if_known && copied.is_none() {
            return Ok(Unpacked::Unknown);
        }
        let resumed = copied.and_then(|kept| {
            let framer = Framer::resume(opening, &columns, kept.place()?, &head, Some(b'\n'))?;
            Some((kept, framer))
        });
        let mut skip = resumed.as_ref().map(|(kept, _)| *kept);
        let framer = resumed.map_or_else(|| Framer::new(opening, &columns), |(_, framer)| framer);
        let mut reader = Reader { framer, recent: Recent::default(), first: Vec::new() };
        let mut piece = std::mem::take(&mut head);
        loop {
            let mut new = piece.as_slice();
            if let Some(kept) = skip {
                let before = reader.recent.end();
                let known = usize::try_from(kept.position - before).unwrap_or(usize::MAX).min(new.len());
                reader.recent.push(&new[..known]);
                reader.recent.forget_before(reader.recent.end());
                new = &new[known..];
                if reader.recent.end() == kept.position {
                    if !kept.is_marked_by(reader.recent.tail()) {
                        return Ok(Unpacked::NotACopy);
                    }
                    skip = None;
                }
            }
            if skip.is_none() {
                reader.push(new, feed, &self.reading)?;
                reader.recent.forget_before(reader.recent.end());
            }
            if feed.is_full() {
                feed.commit()?;
            }
            if feed.stop().is_told() {
                return Err(Broken::Stopped);
            }
            // A decompressor is not asked again behind its end.
            if ended.is_err() || std::mem::take(&mut is_all) {
                break;
            }
            match stream.read(buffer) {
                Ok(0) => break,
                Ok(came) => piece = buffer[..came].to_vec(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => piece.clear(),
                Err(error) => {
                    ended = Err(error);
                    piece.clear();
                }
            }
        }
        if skip.is_some() && ended.is_ok() {
            // It ends before what was read of what it looked like a copy of.
            return Ok(Unpacked::NotACopy);
        }
        let mut chunks = Vec::new();
        match &ended {
            Ok(()) => reader.framer.finish(&mut |chunk| chunks.push(chunk)),
            Err(_) => reader.framer.stop(&mut |chunk| chunks.push(chunk)),
        }
        feed.take_all(&self.reading, chunks, &mut reader.framer)?;
        feed.read(self.look.bytes);
        self.only_if_known = false;
        Ok(ended.map_or_else(Unpacked::Cut, |()| Unpacked::Whole))
    }

    fn say(&mut self, feed: &Feed, why: &str) {
        if self.said.as_deref() != Some(why) {
            self.said = Some(why.to_owned());
            tracing::warn!(source = %name(&feed.source.name), file = %shown(&self.path), why, "a file is left alone");
        }
    }
}

/// Which records are whole.
#[derive(Clone, Copy)]
enum Flush {
    /// Those whose line ended.
    Lines,
    /// A JSON text at the end of the file, too.
    Whole,
}

/// What came of a compressed file.
enum Unpacked {
    Whole,
    /// It ends before its end, or is damaged.
    Cut(io::Error),
    /// It begins like something that was read, and goes on otherwise.
    NotACopy,
    Unknown,
}

impl Reader {
    fn push(&mut self, bytes: &[u8], feed: &mut Feed, reading: &Arc<Reading>) -> Result<(), Stopped> {
        if self.recent.end() == self.first.len() as u64 {
            let room = MARK_BYTES - self.first.len();
            self.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.recent.push(bytes);
        let mut chunks = Vec::new();
        self.framer.push(bytes, &mut |chunk| chunks.push(chunk));
        feed.take_all(reading, chunks, &mut self.framer)
    }
}

/// A file from its start, without moving where others read it.
struct Counted<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let came = self.file.read_at(buffer, self.at)?;
        self.at += came as u64;
        Ok(came)
    }
}

/// How far something was read, by what the store keeps.
fn look_up(feed: &mut Feed, key: &Key) -> Result<Option<Kept>, Stopped> {
    let Some(position) = feed.offset(&key.position())? else { return Ok(None) };
    let Some(mark) = feed.offset(&key.part("mark"))? else { return Ok(None) };
    let (line, header) = (feed.offset(&key.part("line"))?, feed.offset(&key.part("header"))?);
    Ok(Some(Kept::of_parts(position, mark, line, header)))
}

/// The bytes by which a place is known.
fn before(file: &File, kept: Kept) -> io::Result<Vec<u8>> {
    let bytes = kept.mark_bytes();
    read_at(file, kept.position - bytes as u64, bytes)
}

/// Up to so many bytes from a position on.
fn read_at(file: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Where a file begins to hold anything: 0, or behind a hole. A flow export begins with one byte of 0; more of them are a hole.
fn first_byte(file: &File) -> io::Result<u64> {
    if read_at(file, 0, 2)? != [0, 0] {
        return Ok(0);
    }
    // The system knows where there is anything; behind that less than a block is a part of the hole.
    let at = seek(file, SeekFrom::Data(0)).unwrap_or(0);
    let bytes = read_at(file, at, HEAD_BYTES)?;
    let place = bytes.iter().position(|byte| *byte != 0);
    Ok(place.map_or(0, |place| at + place as u64))
}

fn reading(path: &std::path::Path) -> Arc<Reading> {
    Arc::new(Reading::new(0, path.display().to_string(), Vec::new()))
}

/// For a log.
pub(super) fn shown(path: &std::path::Path) -> String {
    sighting::escape(&path.display().to_string()).into_owned()
}
