//! The one seam between the store and a disk: everything that the index does to files goes through [`Storage`] and
//! [`File`], so that tests can cut the power between any two calls. Refuses to hold: formats, names of files and any
//! policy.
//!
//! The contract is POSIX's, at its weakest: written bytes may be lost or torn until [`File::sync`] returns, and a
//! created, renamed or removed name may come back or vanish until [`Storage::sync_names`] returns.

mod disk;

use std::io;
use std::sync::Arc;

pub use disk::Disk;

/// A folder of flat files, named by relative paths with `/`.
pub trait Storage: Send + Sync + 'static {
    /// A new empty file, replacing one of the same name.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// A file that exists.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Whether a file exists.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Gives a file another name, replacing a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name; open handles stay readable.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The file names in a folder, without their folder; empty if there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a folder if it is missing.
    fn make_folder(&self, folder: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_names(&self, folder: &str) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset`; short files are an error (`UnexpectedEof`).
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Says that these bytes will be read soon, so that several reads wait together. Nothing comes of it where it cannot be.
    fn will_read(&self, _offset: u64, _bytes: u64) {}

    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or grows it.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;
}
