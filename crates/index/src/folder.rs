//! A data folder as one thing: locked, with its store and its directory. Refuses to hold: what is in either.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::FolderDirectory;
use crate::error::{IndexError, OpenError};
use crate::storage::{Disk, Storage};
use crate::store::{IndexStore, Options};

const LOCK: &str = "lock";
const MANIFEST: &str = "manifest";

/// An open data folder. One process holds it at a time; the lock goes with the last of its parts, and after whatever they
/// still had to write.
pub struct DataFolder {
    path: PathBuf,
    store: Arc<IndexStore>,
    directory: Arc<FolderDirectory>,
}

impl DataFolder {
    /// Opens a data folder, making it if it is missing or empty.
    pub fn open(path: &Path, options: Options) -> Result<DataFolder, OpenError> {
        let shown = || sighting::escape(&path.to_string_lossy()).into_owned();
        let io = |cause| IndexError::Io { path: shown(), cause };
        if is_foreign(path).map_err(io)? {
            return Err(OpenError::Foreign { path: shown() });
        }
        let mut disk = Disk::new(path).map_err(io)?;
        if !disk.lock(LOCK).map_err(io)? {
            return Err(OpenError::Locked { path: shown() });
        }
        let storage: Arc<dyn Storage> = Arc::new(disk);
        let directory = FolderDirectory::open(Arc::clone(&storage))
            .map_err(|error| OpenError::Directory(error.to_string()))?;
        let store = IndexStore::open(storage, options)?;
        Ok(DataFolder { path: path.to_owned(), store: Arc::new(store), directory: Arc::new(directory) })
    }

    /// Whether a path holds a data folder already.
    pub fn exists(path: &Path) -> bool {
        path.join(MANIFEST).is_file()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its store.
    pub fn store(&self) -> Arc<IndexStore> {
        Arc::clone(&self.store)
    }

    /// Its directory.
    pub fn directory(&self) -> Arc<FolderDirectory> {
        Arc::clone(&self.directory)
    }
}

/// Whether a folder exists that is neither empty nor ours. Ours has a lock file from its first moment on.
fn is_foreign(path: &Path) -> std::io::Result<bool> {
    if !path.try_exists()? || path.join(LOCK).try_exists()? {
        return Ok(false);
    }
    Ok(path.read_dir()?.next().is_some())
}
