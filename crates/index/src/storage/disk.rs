//! [`Storage`] over a real folder: files 0600, folders 0700, and the exclusive lock on the whole. Refuses to hold:
//! anything that is not a plain call to the operating system.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Advice;

use super::{File, Storage};

/// A folder on a disk.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    /// The locked file: the folder is ours until the last of those who write through this is gone (or the process ends,
    /// however it ends).
    lock: Option<fs::File>,
}

impl Disk {
    /// A folder; one that is missing is made, and one that is empty is taken over, both with mode 0700.
    pub fn new(root: &Path) -> io::Result<Disk> {
        make_private_folder(root)?;
        if fs::read_dir(root)?.next().is_none() {
            match fs::set_permissions(root, fs::Permissions::from_mode(PRIVATE)) {
                // Somebody else's folder that we may use, as container platforms make them: he says who else may.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!("the data folder belongs to another user, who says who may read it");
                }
                made => made?,
            }
            sync_parents(root)?;
        }
        Ok(Disk { root: root.to_owned(), lock: None })
    }

    /// Takes the lock file of this folder; `false` if another process has it.
    pub fn lock(&mut self, name: &str) -> io::Result<bool> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path(name))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The lock file says that the folder is ours: it must not be the one that a power cut takes.
        self.sync_names(".")?;
        self.lock = Some(file);
        Ok(true)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

/// Nobody but the owner.
const PRIVATE: u32 = 0o700;

fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path)
}

/// Makes the name of a new folder durable, and those of the folders above it, which may be as new. One that is not ours to
/// read is not new.
fn sync_parents(path: &Path) -> io::Result<()> {
    for parent in fs::canonicalize(path)?.ancestors().skip(1) {
        match fs::File::open(parent) {
            // Some file systems have folders that cannot be synced and need not be.
            Ok(folder) => match folder.sync_all() {
                Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
                _ => {}
            },
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Storage for Disk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path(path))?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(path))?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.path(path).try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        make_private_folder(&self.path(folder))
    }

    fn sync_names(&self, folder: &str) -> io::Result<()> {
        fs::File::open(self.path(folder))?.sync_all()
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn will_read(&self, offset: u64, bytes: u64) {
        // An advice: whoever does not take it reads all the same.
        let _ = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(bytes), Advice::WillNeed);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
