//! The names file of an organisation: the entries of `names`, appended in frames when memory goes to segments. The
//! manifest says how much of it counts. Refuses to hold: what entries mean.

use std::sync::{PoisonError, RwLock};

use sighting::OrganisationId;

use crate::codec::{CodecError, Reader, put_varint};
use crate::error::IndexError;
use crate::names::{Entry, Filing, Names};
use crate::storage::Storage;

/// The folder of names files.
pub(crate) const FOLDER: &str = "names";

/// The file name of an organisation's names.
pub(crate) fn path(organisation: OrganisationId) -> String {
    format!("{FOLDER}/{organisation}.names")
}

/// Appends a filing behind the first `bytes` bytes of the file and makes it durable; returns its new length. It counts
/// once the manifest says so.
pub(crate) fn file(
    storage: &dyn Storage,
    organisation: OrganisationId,
    bytes: u64,
    names: &RwLock<Names>,
    filing: &Filing,
) -> Result<u64, IndexError> {
    let (learned, entries) = names.read().unwrap_or_else(PoisonError::into_inner).entries_of(filing);
    if entries.is_empty() {
        return Ok(bytes);
    }
    append(storage, organisation, bytes, &frame(learned, &entries))
}

fn append(
    storage: &dyn Storage,
    organisation: OrganisationId,
    at: u64,
    frame: &[u8],
) -> Result<u64, IndexError> {
    let path = path(organisation);
    let is_new = !storage.exists(&path).map_err(IndexError::io(&path))?;
    let file =
        if is_new { storage.create(&path) } else { storage.open(&path) }.map_err(IndexError::io(&path))?;
    file.set_len(at).map_err(IndexError::io(&path))?;
    file.write_at(at, frame).map_err(IndexError::io(&path))?;
    file.sync().map_err(IndexError::io(&path))?;
    if is_new {
        storage.sync_names(FOLDER).map_err(IndexError::io(FOLDER))?;
    }
    Ok(at + frame.len() as u64)
}

/// Length and checksum of what follows: the count of numbered entries ever learned, and these entries.
fn frame(learned: u64, entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    put_varint(&mut body, learned);
    for entry in entries {
        entry.put(&mut body);
    }
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    frame.append(&mut body);
    frame
}

/// Reads the part of a names file that counts.
pub(crate) fn load(
    storage: &dyn Storage,
    organisation: OrganisationId,
    bytes: u64,
) -> Result<Names, IndexError> {
    let mut names = Names::default();
    if bytes == 0 {
        return Ok(names);
    }
    let path = path(organisation);
    let file = storage.open(&path).map_err(|cause| IndexError::absent(&path, cause))?;
    // Whoever wrote it may have been killed before it was durable; what is read must be.
    file.sync().map_err(IndexError::io(&path))?;
    if file.len().map_err(IndexError::io(&path))? < bytes {
        return Err(IndexError::corrupt(&path, bytes, "the file is shorter than the manifest says"));
    }
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.read_at(0, &mut buffer).map_err(IndexError::io(&path))?;
    let mut reader = Reader::new(&buffer);
    while !reader.is_empty() {
        let at = bytes - reader.left() as u64;
        take_frame(&mut reader, &mut names).map_err(|error| IndexError::corrupt(&path, at, error.0))?;
    }
    Ok(names)
}

fn take_frame(reader: &mut Reader<'_>, names: &mut Names) -> Result<(), CodecError> {
    let len = reader.u32()? as usize;
    let checksum = reader.u32()?;
    let body = reader.take(len)?;
    if crc32fast::hash(body) != checksum {
        return Err(CodecError("the checksum of a names frame is wrong"));
    }
    let mut body = Reader::new(body);
    let learned = body.varint()?;
    while !body.is_empty() {
        names.replay_filed(Entry::take(&mut body)?);
    }
    names.set_learned(learned);
    Ok(())
}

/// Removes an organisation's names file, if there is one.
pub(crate) fn remove(storage: &dyn Storage, organisation: OrganisationId) -> Result<(), IndexError> {
    let path = path(organisation);
    if storage.exists(&path).map_err(IndexError::io(&path))? {
        storage.remove(&path).map_err(IndexError::io(&path))?;
    }
    Ok(())
}
