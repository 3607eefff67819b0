//! Where logs come from: files, folders, pipes, standard input, as they are or compressed. Refuses to hold: what is in
//! them.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::Progress;
use crate::exit::Failure;
use crate::house::shown;

/// One thing to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Input {
    /// Its name, as it is shown (unescaped).
    pub(crate) name: String,
    /// Its file; none is standard input.
    path: Option<PathBuf>,
    /// How long it is, if that is known.
    bytes: Option<u64>,
}

impl Input {
    /// A file.
    pub(crate) fn file(path: &Path) -> Input {
        let bytes = std::fs::metadata(path).ok().filter(Metadata::is_file).map(|it| it.len());
        Input { name: path.display().to_string(), path: Some(path.to_owned()), bytes }
    }

    /// Its file, unless it is standard input.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// How long it is, as far as that is known.
    pub(super) fn length(&self) -> u64 {
        self.bytes.unwrap_or(0)
    }

    fn standard_input() -> Input {
        Input { name: "standard input".to_owned(), path: None, bytes: None }
    }
}

/// The inputs that a person named, and what in their folders is none.
#[derive(Default, Debug)]
pub(crate) struct Found {
    pub(crate) inputs: Vec<Input>,
    /// What was left out and why, in a line each.
    pub(crate) skipped: Vec<String>,
}

/// The inputs that a person named: files, folders (with every regular file below them, sorted), `-`. `but` is the
/// data folder, which is never read as logs.
pub(crate) fn inputs(named: &[PathBuf], but: &Path) -> Result<Found, Failure> {
    let but = std::fs::metadata(but).ok().map(|metadata| identity(&metadata));
    let mut found = Found::default();
    for path in named {
        if path.as_os_str() == "-" {
            found.inputs.push(Input::standard_input());
            continue;
        }
        let metadata = std::fs::metadata(path).map_err(|error| {
            Failure::usage(format!(
                "{}: {error}; name a file or folder of logs, or - for standard input",
                shown(path)
            ))
        })?;
        if metadata.is_dir() {
            let before = found.inputs.len();
            let met = BTreeSet::from([identity(&metadata)]);
            Walk { but, met, found: &mut found }.folder(path)?;
            if found.inputs.len() == before {
                return Err(nothing_in(path, &found.skipped));
            }
            continue;
        }
        // Only a file can be opened to try: what a pipe gave then would be lost.
        if metadata.is_file() {
            File::open(path)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", shown(path))))?;
        }
        found.inputs.push(Input::file(path));
    }
    Ok(found)
}

fn nothing_in(folder: &Path, skipped: &[String]) -> Failure {
    let mut message =
        format!("there is no file to read in the folder {}; name files or folders of logs", shown(folder));
    for line in skipped {
        message.push('\n');
        message.push_str(line);
    }
    Failure::usage(message)
}

/// What makes a file or folder itself, whatever leads to it: its device and its number there.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// How many bytes all of them are, if that is known.
pub(crate) fn bytes(inputs: &[Input]) -> Option<u64> {
    inputs.iter().map(|input| input.bytes).sum()
}

/// A way through a folder and what is below it. Links are followed; what was met is not met again, so that links that
/// lead in circles end and no file is read twice.
struct Walk<'a> {
    but: Option<(u64, u64)>,
    met: BTreeSet<(u64, u64)>,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            Failure::usage(format!("the folder {} cannot be read: {error}", shown(folder)))
        };
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            self.entry(&entry.path())?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<(), Failure> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.skip(path, &format!("it leads to nothing that can be read ({error})"));
                return Ok(());
            }
        };
        let identity = identity(&metadata);
        if self.but == Some(identity) || !self.met.insert(identity) {
            return Ok(());
        }
        let kind = metadata.file_type();
        match () {
            () if kind.is_dir() => return self.folder(path),
            () if kind.is_file() => self.found.inputs.push(Input::file(path)),
            () if kind.is_socket() => self.skip(path, "it is a socket"),
            () if kind.is_fifo() => self.skip(path, "it is a pipe; name it itself to read it"),
            () => self.skip(path, "it is a device"),
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.found.skipped.push(format!("skipped  {}: {why}", shown(path)));
    }
}

/// How an input is compressed, told by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// The first bytes that tell it.
    pub(crate) const MAGIC_BYTES: usize = 4;

    /// What the first bytes say.
    pub(crate) fn of(head: &[u8]) -> Option<Compression> {
        match head {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            // A frame, or a skippable frame that comes before one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The code of a refused record where such an input ends early or is not what it says.
    pub(crate) fn damage(self, error: &io::Error) -> &'static str {
        let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
        match (self, is_cut) {
            (Compression::Gzip, true) => "truncated_gzip",
            (Compression::Gzip, false) => "damaged_gzip",
            (Compression::Zstd, true) => "truncated_zstd",
            (Compression::Zstd, false) => "damaged_zstd",
        }
    }
}

/// An opened input, decompressed.
pub(super) struct Stream<'a> {
    pub(super) reader: Box<dyn Read + 'a>,
    pub(super) compression: Option<Compression>,
    /// What may pause for long: standard input, pipes. A decompressor holds back bytes, so a compressed one is not
    /// watched.
    pausing: Option<File>,
}

/// Waits until there is something to read from a file, or its end. `false` if there was nothing for a while.
fn wait(file: &File) -> io::Result<bool> {
    const WHILE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&WHILE)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Stream<'_> {
    /// Waits until there is something to read, or its end. `false` if there was nothing for a while.
    pub(super) fn wait(&self) -> io::Result<bool> {
        self.pausing.as_ref().map_or(Ok(true), wait)
    }
}

/// Opens an input. Where it may pause for long, it is read only until `stopped` says so; then an error says that.
pub(super) fn open<'a>(
    input: &Input,
    progress: &'a Progress,
    stopped: &'a dyn Fn() -> bool,
) -> io::Result<Stream<'a>> {
    let file = match &input.path {
        Some(path) => open_path(path)?,
        // Without the buffer of `io::stdin`, which would hide from `wait` what there is to read.
        None => File::from(io::stdin().as_fd().try_clone_to_owned()?),
    };
    let may_pause = !file.metadata()?.is_file();
    let pausing = if may_pause { Some(file.try_clone()?) } else { None };
    let mut raw = Counted { raw: file, progress, stopped: may_pause.then_some(stopped) };
    let mut head = Vec::with_capacity(Compression::MAGIC_BYTES);
    (&mut raw).take(Compression::MAGIC_BYTES as u64).read_to_end(&mut head)?;
    let compression = Compression::of(&head);
    let whole = io::Cursor::new(head).chain(raw);
    let reader: Box<dyn Read + 'a> = match compression {
        None => Box::new(whole),
        Some(compression) => decompressed(compression, whole)?,
    };
    let pausing = pausing.filter(|_| compression.is_none());
    Ok(Stream { reader, compression, pausing })
}

/// The bytes of a compressed stream that begins with its first byte.
pub(crate) fn decompressed<'a>(
    compression: Compression,
    raw: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(Gunzip::new(io::BufReader::with_capacity(COMPRESSED_BYTES_READ, raw))),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(raw)?),
    })
}

/// Opens a file. A pipe that nobody writes to yet must not hold up an interrupt.
fn open_path(path: &Path) -> io::Result<File> {
    let is_pipe = std::fs::metadata(path)?.file_type().is_fifo();
    let flags = if is_pipe { OFlags::NONBLOCK.bits().cast_signed() } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Compressed bytes that are read at once.
const COMPRESSED_BYTES_READ: usize = 128 << 10;

/// Every member of a gzip file, one after another. Zeros behind the last one are padding, as for gzip itself.
struct Gunzip<R> {
    /// None at the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    fn new(raw: R) -> Gunzip<R> {
        Gunzip { member: Some(GzDecoder::new(raw)) }
    }

    /// The member that follows, if one does.
    fn next(mut raw: R) -> io::Result<Option<GzDecoder<R>>> {
        loop {
            let bytes = raw.fill_buf()?;
            match bytes.first() {
                None => return Ok(None),
                Some(0) => {
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    raw.consume(zeros);
                }
                Some(0x1f) => return Ok(Some(GzDecoder::new(raw))),
                Some(_) => {
                    let what = "something else follows the compressed data";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let bytes = member.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            self.member = match self.member.take() {
                Some(member) => Gunzip::next(member.into_inner())?,
                None => None,
            };
        }
        Ok(0)
    }
}

/// Tells the progress bar what was read.
struct Counted<'a> {
    raw: File,
    progress: &'a Progress,
    /// Asked while there is nothing to read; none where there always is.
    stopped: Option<&'a dyn Fn() -> bool>,
}

impl Counted<'_> {
    /// Waits until a read would not wait.
    fn wait(&self) -> io::Result<()> {
        let Some(stopped) = self.stopped else { return Ok(()) };
        while !wait(&self.raw)? {
            if stopped() {
                return Err(io::Error::other("stopped"));
            }
        }
        Ok(())
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait()?;
            match self.raw.read(buffer) {
                // Somebody else took what there was.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.stopped.is_some() => {}
                Err(error) => return Err(error),
                Ok(bytes) => {
                    self.progress.advance(bytes as u64);
                    return Ok(bytes);
                }
            }
        }
    }
}
