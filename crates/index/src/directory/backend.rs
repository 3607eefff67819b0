//! redb's storage over ours. Refuses to hold: locks (the data folder has its own).

use std::fmt;
use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::storage::File;

/// One file of the data folder, as redb wants it.
pub(super) struct Backend {
    file: Arc<dyn File>,
}

impl Backend {
    pub(super) fn new(file: Arc<dyn File>) -> Backend {
        Backend { file }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}
