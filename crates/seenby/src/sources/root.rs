//! A folder out of which nothing leads: its files are listed and opened by their path below it, links that leave it are not
//! followed, and nothing but a regular file is ever opened for reading. Refuses to hold: what is in the files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// How deep folders are looked into; deeper ones are a loop, or nobody's logs.
const DEPTH_MAX: usize = 64;
/// Tries where somebody renames folders at the same time.
const TRIES_MAX: usize = 8;

/// What makes a file itself, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What changes when a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Look {
    pub(super) bytes: u64,
    changed: (i64, i64),
}

/// A regular file as it was met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Met {
    /// Below the root.
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) look: Look,
}

/// What was found in a folder.
#[derive(Default, Debug)]
pub(super) struct Listed {
    /// Each by every path that leads to it.
    pub(super) files: Vec<Met>,
    /// What is left alone, and why.
    pub(super) skipped: Vec<(PathBuf, String)>,
}

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// It is not there any more.
    Gone,
    /// It may not be read, or never can be.
    Refused(String),
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
}

impl Root {
    /// Opens it; links on the way to it are the operator's own.
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root { folder: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Which folder it is.
    pub(super) fn id(&self) -> io::Result<FileId> {
        Ok(id(&rustix::fs::fstat(&self.folder)?))
    }

    /// Whether it lies on another machine, where nothing tells of changes that are made there.
    pub(super) fn is_remote(&self) -> bool {
        /// NFS, SMB, CIFS, SMB2, AFS, Ceph, 9p, FUSE (which Azure's and other stores' are mounted by): of the system's magic.h.
        const REMOTE: [u64; 8] =
            [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x5346_414f, 0x00c3_6400, 0x0102_1997, 0x6573_5546];
        rustix::fs::fstatfs(&self.folder).is_ok_and(|it| {
            // The kernel's type is signed on some machines.
            let kind = (it.f_type as u64) & 0xffff_ffff;
            REMOTE.contains(&kind)
        })
    }

    /// Opens a regular file for reading.
    pub(super) fn file(&self, path: &Path) -> Result<(File, FileId, Look), NotOpened> {
        // Only looked at: a pipe must not be opened, not even to find out that it is one.
        let looked = self.beneath(path, OFlags::PATH)?;
        regular(&rustix::fs::fstat(&looked)?)?;
        // What stands there by now may be something else: it is not waited for, and judged again.
        let file = self.beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = rustix::fs::fstat(&file)?;
        regular(&stat)?;
        Ok((File::from(file), id(&stat), look(&stat)))
    }

    /// Every regular file below, down to so many folders deep, but not in the folder `but`.
    pub(super) fn list(&self, but: Option<FileId>, depth_max: usize) -> io::Result<Listed> {
        let depth_max = depth_max.min(DEPTH_MAX);
        let mut walk = Walk { root: self, but, depth_max, met: BTreeSet::new(), listed: Listed::default() };
        let folder = self.beneath(Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY);
        let folder = folder.map_err(|error| io::Error::other(error.told()))?;
        walk.folder(folder.as_fd(), Path::new(""), 0)?;
        Ok(walk.listed)
    }

    /// Opens what is below, never through a link that leads out.
    fn beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, NotOpened> {
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES_MAX {
            match rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                // An old kernel, or a container that forbids what it does not know.
                Err(Errno::NOSYS | Errno::PERM) => return step_by_step(self.folder.as_fd(), path, flags),
                opened => return Ok(opened?),
            }
        }
        Err(NotOpened::Gone)
    }
}

/// The same without the kernel's help: no link is followed at all.
fn step_by_step(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, NotOpened> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(NotOpened::Refused("its path leads out of the folder".to_owned())),
        }
    }
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Some((last, folders)) = names.split_last() else {
        return Ok(rustix::fs::openat(root, ".", flags | OFlags::NOFOLLOW, Mode::empty())?);
    };
    let mut at: Option<OwnedFd> = None;
    for name in folders {
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        at = Some(rustix::fs::openat(from, *name, step, Mode::empty())?);
    }
    let from = at.as_ref().map_or(root, AsFd::as_fd);
    Ok(rustix::fs::openat(from, *last, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

impl From<Errno> for NotOpened {
    fn from(error: Errno) -> NotOpened {
        match error {
            Errno::NOENT => NotOpened::Gone,
            Errno::XDEV => NotOpened::Refused("it is a link that leads out of the folder".to_owned()),
            Errno::LOOP => NotOpened::Refused("it is a link that is not followed".to_owned()),
            error => NotOpened::Refused(format!("it cannot be opened ({})", io::Error::from(error))),
        }
    }
}

impl NotOpened {
    /// For a person.
    pub(super) fn told(&self) -> String {
        match self {
            NotOpened::Gone => "it is not there any more".to_owned(),
            NotOpened::Refused(why) => why.clone(),
        }
    }
}

fn id(stat: &Stat) -> FileId {
    FileId { device: stat.st_dev, inode: stat.st_ino }
}

fn look(stat: &Stat) -> Look {
    Look {
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
        changed: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
    }
}

/// How a file looks now.
pub(super) fn look_at(file: &File) -> io::Result<Look> {
    Ok(look(&rustix::fs::fstat(file)?))
}

/// Which file or folder a path leads to.
pub(super) fn id_of(path: &Path) -> Option<FileId> {
    rustix::fs::stat(path).ok().map(|stat| id(&stat))
}

/// Only what has an end is read.
fn regular(stat: &Stat) -> Result<(), NotOpened> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "it is a folder",
        FileType::Fifo => "it is a pipe; only regular files are followed",
        FileType::Socket => "it is a socket; only regular files are followed",
        _ => "it is a device; only regular files are followed",
    };
    Err(NotOpened::Refused(what.to_owned()))
}

/// A way through a folder and what is below it.
struct Walk<'a> {
    root: &'a Root,
    but: Option<FileId>,
    depth_max: usize,
    /// Folders that were met: links that lead in circles end.
    met: BTreeSet<FileId>,
    listed: Listed,
}

impl Walk<'_> {
    fn folder(&mut self, folder: BorrowedFd<'_>, path: &Path, depth: usize) -> io::Result<()> {
        let folder_id = id(&rustix::fs::fstat(folder)?);
        if self.but == Some(folder_id) || !self.met.insert(folder_id) {
            return Ok(());
        }
        if depth > self.depth_max {
            if depth > DEPTH_MAX {
                self.skip(path, "it lies too deep");
            }
            return Ok(());
        }
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            // What is gone by now is nobody's concern.
            if let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                self.entry(&stat, below, depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, stat: &Stat, path: PathBuf, depth: usize) -> io::Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(path, stat),
            FileType::Directory => self.enter(&path, depth)?,
            FileType::Symlink => match self.root.beneath(&path, OFlags::PATH) {
                Ok(target) => {
                    let target = rustix::fs::fstat(&target)?;
                    match FileType::from_raw_mode(target.st_mode) {
                        FileType::RegularFile => self.file(path, &target),
                        FileType::Directory => self.enter(&path, depth)?,
                        _ => self.skip_unless_regular(&path, &target),
                    }
                }
                Err(NotOpened::Gone) => {}
                Err(NotOpened::Refused(why)) => self.skip(&path, &why),
            },
            _ => self.skip_unless_regular(&path, stat),
        }
        Ok(())
    }

    fn enter(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        match self.root.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => self.folder(folder.as_fd(), path, depth + 1)?,
            Err(NotOpened::Gone) => {}
            Err(NotOpened::Refused(why)) => self.skip(path, &why),
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, stat: &Stat) {
        self.listed.files.push(Met { path, id: id(stat), look: look(stat) });
    }

    fn skip_unless_regular(&mut self, path: &Path, stat: &Stat) {
        if let Err(error) = regular(stat) {
            self.skip(path, &error.told());
        }
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.listed.skipped.push((path.to_owned(), why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    fn names(listed: &Listed) -> Vec<String> {
        let mut names: Vec<_> = listed.files.iter().map(|met| met.path.display().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_is_below_and_regular_is_there() {
        let place = tempfile::tempdir().expect("a folder");
        let (inside, outside) = (place.path().join("in"), place.path().join("out"));
        for folder in [&inside.join("sub/data"), &outside] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        for file in [
            inside.join("a.log"),
            inside.join("sub/b.log"),
            inside.join("sub/data/kept"),
            outside.join("secret"),
        ] {
            std::fs::write(file, "x").expect("written");
        }
        symlink(outside.join("secret"), inside.join("leads-out.log")).expect("a link");
        symlink("../out", inside.join("folder-out")).expect("a link");
        symlink("sub/b.log", inside.join("stays.log")).expect("a link");
        symlink("..", inside.join("sub/circle")).expect("a link");
        symlink("nowhere", inside.join("dangling")).expect("a link");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inside.join("pipe.log"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .expect("a pipe");
        let root = Root::open(&inside).expect("a folder");
        let listed = root.list(id_of(&inside.join("sub/data")), usize::MAX).expect("listed");
        let found = names(&listed);
        assert_eq!(found, ["a.log", "stays.log", "sub/b.log"]);
        let mut skipped: Vec<String> =
            listed.skipped.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect();
        skipped.sort();
        let expected = [
            "folder-out: it is a link that leads out of the folder",
            "leads-out.log: it is a link that leads out of the folder",
            "pipe.log: it is a pipe; only regular files are followed",
        ];
        assert_eq!(skipped, expected);
        for path in ["leads-out.log", "folder-out/secret", "pipe.log", "../out/secret", "sub"] {
            assert!(matches!(root.file(Path::new(path)), Err(NotOpened::Refused(_))), "{path}");
            let stepped = step_by_step(root.folder.as_fd(), Path::new(path), OFlags::PATH);
            let is_file = stepped.is_ok_and(|file| regular(&rustix::fs::fstat(&file).expect("open")).is_ok());
            assert!(!is_file, "{path} without the kernel's help");
        }
        let mut text = String::new();
        let (mut file, ..) = root.file(Path::new("stays.log")).expect("a link that stays");
        file.read_to_string(&mut text).expect("text");
        assert_eq!(text, "x");
        assert!(matches!(root.file(Path::new("dangling")), Err(NotOpened::Gone)));
        step_by_step(root.folder.as_fd(), Path::new("sub/b.log"), OFlags::RDONLY).expect("a plain file");
    }
}
