//! How an object of a bucket comes to this machine: into a file without a name, if there is room for it; and in which words it is told
//! why one does not. Refuses to hold: which objects, and what is in them.

use std::cell::Cell;
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use futures_util::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use sighting::escape;

/// Room on the disk that is left to everything else.
const ROOM_LEFT: u64 = 256 << 20;

/// Why an object did not come.
pub(super) struct Failed {
    /// The same whenever it fails in the same way.
    pub(super) why: String,
    /// It says nothing of the object: others will not come either.
    pub(super) is_of_store: bool,
    /// There is no such object any more.
    pub(super) is_gone: bool,
}

/// Room for what is fetched at once.
pub(super) struct Room<'a> {
    folder: &'a Path,
    /// Bytes that are still to come.
    promised: Cell<u64>,
}

impl<'a> Room<'a> {
    pub(super) fn new(folder: &'a Path) -> Room<'a> {
        Room { folder, promised: Cell::new(0) }
    }

    /// Keeps room for so many bytes.
    fn promise(&self, bytes: u64) -> anyhow::Result<()> {
        let disk = rustix::fs::statvfs(self.folder).context("the disk of the data folder")?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let promised = self.promised.get().saturating_add(bytes);
        ensure!(
            promised.saturating_add(ROOM_LEFT) <= free,
            "of {bytes} bytes, for which too little is free on the disk of the data folder"
        );
        self.promised.set(promised);
        Ok(())
    }

    /// So many bytes lie there now.
    fn fill(&self, bytes: u64) {
        self.promised.set(self.promised.get().saturating_sub(bytes));
    }
}

/// Fetches an object into a file that nobody else sees, and that is gone when it is closed.
pub(super) async fn fetch(
    store: &dyn ObjectStore,
    meta: &ObjectMeta,
    room: &Room<'_>,
) -> Result<File, Failed> {
    let of_object =
        |error: anyhow::Error| Failed { why: format!("{error:#}"), is_of_store: false, is_gone: false };
    room.promise(meta.size).map_err(of_object)?;
    let mut file = tempfile::tempfile_in(room.folder).context("it cannot be kept").map_err(of_object)?;
    let mut bytes = store.get(&meta.location).await.map_err(|error| failed(&error))?.into_stream();
    let mut to_come = meta.size;
    while let Some(piece) = bytes.try_next().await.map_err(|error| failed(&error))? {
        let came = piece.len() as u64;
        // It may have grown since it was listed.
        room.promise(came.saturating_sub(to_come)).map_err(of_object)?;
        file.write_all(&piece).context("it cannot be kept").map_err(of_object)?;
        room.fill(came);
        to_come = to_come.saturating_sub(came);
    }
    Ok(file)
}

fn failed(error: &object_store::Error) -> Failed {
    let status = status(error);
    let is_of_store =
        status.as_ref().is_none_or(|status| !status.starts_with('4') || status.starts_with("429"));
    let why = match (status, reason(error)) {
        (Some(status), Some(reason)) => format!("{status}, {reason}"),
        (Some(status), None) => status,
        (None, _) => cause(error),
    };
    let is_gone = matches!(error, object_store::Error::NotFound { .. });
    Failed { why: escape(&why).into_owned(), is_of_store, is_gone }
}

/// Why a bucket is not listed.
pub(super) fn unlisted(error: &object_store::Error) -> anyhow::Error {
    let object_store::Error::InvalidPath { source } = error else {
        return anyhow::anyhow!("it cannot be listed: {}", failed(error).why);
    };
    anyhow::anyhow!(
        "it cannot be listed, because it has a key that no path has: {}. Let somebody rename it, or narrow the prefix in \
         objects",
        escape(&source.to_string())
    )
}

/// What the client library says before an answer's status.
const STATUS: &str = "Server returned non-2xx status code: ";

/// The status of an answer, such as `403 Forbidden`.
fn status(error: &object_store::Error) -> Option<String> {
    let text = answer(error)?;
    let status = text.split_once(": ").map_or(text.as_str(), |(status, _)| status);
    Some(status.to_owned())
}

/// The store's own word for what is wrong. The rest of what it says is different each time.
fn reason(error: &object_store::Error) -> Option<String> {
    let text = answer(error)?;
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code.to_owned())
}

/// Status and body.
fn answer(error: &object_store::Error) -> Option<String> {
    chain(error).find_map(|cause| Some(cause.to_string().strip_prefix(STATUS)?.to_owned()))
}

/// What is at the end of all reasons: those before it say how long it took.
fn cause(error: &object_store::Error) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source())
}
