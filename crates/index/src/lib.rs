//! The embedded store of seenby: exact, durable, one folder on disk, and the only crate that opens files in it.
//!
//! Holds: the journal, the runs in memory, the segments, the manifest, the names and the device registry (all behind
//! [`IndexStore`]), the directory of organisations and applications ([`FolderDirectory`]), and the folder that holds
//! both ([`DataFolder`]). `docs/format.md` describes every file.
//!
//! Refuses to hold: HTTP, log formats, a clock, and any file that does not go through [`storage::Storage`].

mod ask;
mod bits;
pub mod codec;
mod directory;
mod error;
mod filter;
mod folder;
mod give_way;
mod hot;
mod ids;
mod joins;
mod journal;
mod leases;
mod manifest;
mod names;
mod names_file;
mod record;
mod recover;
mod row;
mod run;
mod segment;
pub mod storage;
mod store;
mod upkeep;
mod view;

pub use directory::FolderDirectory;
pub use error::{IndexError, OpenError};
pub use folder::DataFolder;
pub use give_way::give_way;
pub use store::{Figures, IndexStore, Options};
