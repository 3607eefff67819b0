//! Where logs come from: files, folders, standard input, as they are or compressed. Refuses to hold: what is in them.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

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
        let bytes = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|it| it.len());
        Input { name: path.display().to_string(), path: Some(path.to_owned()), bytes }
    }

    fn standard_input() -> Input {
        Input { name: "standard input".to_owned(), path: None, bytes: None }
    }
}

/// The inputs that a person named: files, folders (with every regular file below them, sorted), `-`. `but` is the
/// data folder, which is never read as logs.
pub(crate) fn inputs(named: &[PathBuf], but: &Path) -> Result<Vec<Input>, Failure> {
    let but = but.canonicalize().ok();
    let mut inputs = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            inputs.push(Input::standard_input());
            continue;
        }
        let metadata = std::fs::metadata(path).map_err(|error| {
            Failure::usage(format!(
                "{}: {error}; name a file or folder of logs, or - for standard input",
                shown(path)
            ))
        })?;
        if metadata.is_dir() {
            walk(path, but.as_deref(), &mut inputs)?;
        } else {
            File::open(path)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", shown(path))))?;
            inputs.push(Input::file(path));
        }
    }
    Ok(inputs)
}

/// How many bytes all of them are, if that is known.
pub(crate) fn bytes(inputs: &[Input]) -> Option<u64> {
    inputs.iter().map(|input| input.bytes).sum()
}

fn walk(folder: &Path, but: Option<&Path>, inputs: &mut Vec<Input>) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::usage(format!("the folder {} cannot be read: {error}", shown(folder)));
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        // A link is neither: what it leads to may lie above us.
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if kind.is_file() {
            inputs.push(Input::file(&path));
        } else if kind.is_dir() && !(but.is_some() && path.canonicalize().ok().as_deref() == but) {
            walk(&path, but, inputs)?;
        }
    }
    Ok(())
}

/// How an input is compressed, told by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    const MAGIC_BYTES: usize = 4;

    fn of(head: &[u8]) -> Option<Compression> {
        match head {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            // A frame, or a skippable frame that comes before one.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The code of a refused record where such an input ends early or is not what it says.
    pub(super) fn damage(self, error: &io::Error) -> &'static str {
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
    /// What may pause for long: standard input. A decompressor holds back bytes, so a compressed one is not watched.
    pausing: Option<File>,
}

impl Stream<'_> {
    /// Waits until there is something to read, or its end. `false` if there was nothing for a while.
    pub(super) fn wait(&self) -> io::Result<bool> {
        const WHILE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
        let Some(file) = &self.pausing else { return Ok(true) };
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&WHILE)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens an input.
pub(super) fn open<'a>(input: &Input, progress: &'a Progress) -> io::Result<Stream<'a>> {
    let file = match &input.path {
        Some(path) => File::open(path)?,
        // Without the buffer of `io::stdin`, which would hide from `wait` what there is to read.
        None => File::from(io::stdin().as_fd().try_clone_to_owned()?),
    };
    let pausing = if input.path.is_none() { Some(file.try_clone()?) } else { None };
    let mut raw = Counted { raw: file, progress };
    let mut head = Vec::with_capacity(Compression::MAGIC_BYTES);
    (&mut raw).take(Compression::MAGIC_BYTES as u64).read_to_end(&mut head)?;
    let compression = Compression::of(&head);
    let whole = io::Cursor::new(head).chain(raw);
    let reader: Box<dyn Read + 'a> = match compression {
        None => Box::new(whole),
        Some(Compression::Gzip) => {
            Box::new(Gunzip::new(io::BufReader::with_capacity(COMPRESSED_BYTES_READ, whole)))
        }
        Some(Compression::Zstd) => Box::new(zstd::stream::read::Decoder::new(whole)?),
    };
    let pausing = pausing.filter(|_| compression.is_none());
    Ok(Stream { reader, compression, pausing })
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
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.raw.read(buffer)?;
        self.progress.advance(bytes as u64);
        Ok(bytes)
    }
}
