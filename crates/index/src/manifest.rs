//! The manifest: which segments there are, how much of each organisation's names file counts, and from which journal
//! on to replay. Replaced as a whole, atomically; what it does not name does not exist. Refuses to hold: rows, names
//! and anything that changes with each batch.

use sighting::{Day, OrganisationId};

use crate::codec::{CodecError, Reader, put_varint};
use crate::error::IndexError;
use crate::row::Table;
use crate::segment::Cell;
use crate::storage::Storage;

/// Its file.
pub(crate) const PATH: &str = "manifest";
const PATH_NEW: &str = "manifest.new";
const MAGIC: [u8; 8] = *b"seenbyM\n";
/// The version of the data folder: written here, refused if newer than known.
const VERSION: u16 = 1;

/// What the data folder consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Manifest {
    /// The next unused number for a segment or journal.
    pub(crate) next_number: u64,
    /// Journals below this number are done with.
    pub(crate) journal_floor: u64,
    pub(crate) organisations: Vec<Held>,
    pub(crate) segments: Vec<Named>,
}

/// One organisation's names file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) organisation: OrganisationId,
    /// Bytes of the names file that count.
    pub(crate) names_bytes: u64,
}

/// One segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) number: u64,
    pub(crate) cell: Cell,
    pub(crate) rows: u64,
}

impl Manifest {
    /// The manifest of a folder; `None` if the folder has none yet.
    pub(crate) fn load(storage: &dyn Storage) -> Result<Option<Manifest>, IndexError> {
        if !storage.exists(PATH).map_err(IndexError::io(PATH))? {
            return Ok(None);
        }
        let file = storage.open(PATH).map_err(IndexError::io(PATH))?;
        let len = file.len().map_err(IndexError::io(PATH))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_at(0, &mut bytes).map_err(IndexError::io(PATH))?;
        let corrupt = |error: CodecError| IndexError::corrupt(PATH, 0, error.0);
        let (version, body) = open_envelope(&bytes).map_err(corrupt)?;
        if version > VERSION {
            return Err(IndexError::Version { path: PATH.to_owned(), found: version, supported: VERSION });
        }
        decode(body).map(Some).map_err(corrupt)
    }

    /// Makes this the manifest, durably.
    pub(crate) fn store(&self, storage: &dyn Storage) -> Result<(), IndexError> {
        let body = self.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let file = storage.create(PATH_NEW).map_err(IndexError::io(PATH_NEW))?;
        file.write_at(0, &bytes).map_err(IndexError::io(PATH_NEW))?;
        file.sync().map_err(IndexError::io(PATH_NEW))?;
        storage.rename(PATH_NEW, PATH).map_err(IndexError::io(PATH))?;
        storage.sync_names(".").map_err(IndexError::io("."))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, self.next_number);
        put_varint(&mut bytes, self.journal_floor);
        put_varint(&mut bytes, self.organisations.len() as u64);
        for held in &self.organisations {
            bytes.extend_from_slice(held.organisation.0.as_bytes());
            put_varint(&mut bytes, held.names_bytes);
        }
        put_varint(&mut bytes, self.segments.len() as u64);
        for segment in &self.segments {
            put_varint(&mut bytes, segment.number);
            bytes.extend_from_slice(segment.cell.organisation.0.as_bytes());
            bytes.push(segment.cell.table as u8);
            bytes.extend_from_slice(&segment.cell.day.number().to_le_bytes());
            put_varint(&mut bytes, segment.rows);
        }
        bytes
    }
}

fn open_envelope(bytes: &[u8]) -> Result<(u16, &[u8]), CodecError> {
    let mut reader = Reader::new(bytes);
    if reader.array()? != MAGIC {
        return Err(CodecError("this is not a manifest"));
    }
    let version = reader.u16()?;
    let checksum = reader.u32()?;
    let body = reader.take(reader.left())?;
    if version <= VERSION && crc32fast::hash(body) != checksum {
        return Err(CodecError("the checksum of the manifest is wrong"));
    }
    Ok((version, body))
}

fn decode(body: &[u8]) -> Result<Manifest, CodecError> {
    let mut reader = Reader::new(body);
    let mut manifest =
        Manifest { next_number: reader.varint()?, journal_floor: reader.varint()?, ..Manifest::default() };
    for _ in 0..reader.count(17)? {
        manifest
            .organisations
            .push(Held { organisation: reader.organisation()?, names_bytes: reader.varint()? });
    }
    for _ in 0..reader.count(21)? {
        let number = reader.varint()?;
        let organisation = reader.organisation()?;
        let table = Table::from_byte(reader.byte()?).ok_or(CodecError("unknown table"))?;
        let day = Day::new(u32::from(reader.u16()?)).ok_or(CodecError("a day out of range"))?;
        manifest.segments.push(Named {
            number,
            cell: Cell { organisation, table, day },
            rows: reader.varint()?,
        });
    }
    Ok(manifest)
}
