//! What a journal frame says: names learned, and the rows of one batch, cell by cell, already sorted. Refuses to
//! hold: frames and checksums (the journal's) and the meaning of names (see `names`).

use sighting::{Day, Offset, OrganisationId};

use crate::codec::{CodecError, Reader, put_text, put_varint};
use crate::names::Entry;
use crate::row::{Key, Row, Table};

/// Rows of one cell of one batch, sorted.
pub(crate) struct CellRows {
    pub(crate) table: Table,
    pub(crate) day: Day,
    pub(crate) rows: Vec<Row>,
}

/// A record, read back.
pub(crate) enum Record {
    /// A batch: names first, then rows.
    Append { names: LearnedNames, source: u16, offsets: Vec<Offset>, cells: Vec<CellRows> },
    /// Names or joins alone.
    Learn { names: LearnedNames },
    /// Everything held of the organisation before this record is gone.
    Remove,
}

/// Entries of the names part with the number of the first.
pub(crate) struct LearnedNames {
    pub(crate) first: u64,
    pub(crate) entries: Vec<Entry>,
}

const APPEND: u8 = 1;
const LEARN: u8 = 2;
const REMOVE: u8 = 3;

/// Starts a record that carries a batch; [`cells`]'s bytes follow.
pub(crate) fn put_append(bytes: &mut Vec<u8>, organisation: OrganisationId, names: (u64, &[Entry])) {
    put_head(bytes, APPEND, organisation);
    put_names(bytes, names);
}

/// A record of names alone.
pub(crate) fn put_learn(bytes: &mut Vec<u8>, organisation: OrganisationId, names: (u64, &[Entry])) {
    put_head(bytes, LEARN, organisation);
    put_names(bytes, names);
}

/// A record of removal.
pub(crate) fn put_remove(bytes: &mut Vec<u8>, organisation: OrganisationId) {
    put_head(bytes, REMOVE, organisation);
}

fn put_head(bytes: &mut Vec<u8>, kind: u8, organisation: OrganisationId) {
    bytes.push(kind);
    bytes.extend_from_slice(organisation.0.as_bytes());
}

fn put_names(bytes: &mut Vec<u8>, (first, entries): (u64, &[Entry])) {
    put_varint(bytes, first);
    put_varint(bytes, entries.len() as u64);
    for entry in entries {
        entry.put(bytes);
    }
}

/// The part of a record that says what a batch holds: made before the journal's lock is taken.
pub(crate) fn cells(source: u16, offsets: &[Offset], cells: &[CellRows]) -> Vec<u8> {
    // More than it will be, which costs nothing where it is not written to.
    let rows: usize = cells.iter().map(|cell| cell.rows.len()).sum();
    let mut bytes = Vec::with_capacity(rows * size_of::<Row>() + cells.len() * 64 + 64);
    put_varint(&mut bytes, u64::from(source));
    put_varint(&mut bytes, offsets.len() as u64);
    for offset in offsets {
        put_text(&mut bytes, &offset.key);
        put_varint(&mut bytes, offset.position);
    }
    put_varint(&mut bytes, cells.len() as u64);
    for cell in cells {
        bytes.push(cell.table as u8);
        bytes.extend_from_slice(&cell.day.number().to_le_bytes());
        put_rows(&mut bytes, &cell.rows);
    }
    bytes
}

/// IPv4 keys sort first and differ in 32 bits only, so they are written in half the room.
fn put_rows(bytes: &mut Vec<u8>, rows: &[Row]) {
    let prefix = rows.first().map_or(0, |row| row.key.as_u128() >> 32);
    let narrow = rows.iter().take_while(|row| row.key.as_u128() >> 32 == prefix).count();
    bytes.reserve(32 + narrow * 12 + (rows.len() - narrow) * 24);
    put_varint(bytes, narrow as u64);
    put_varint(bytes, (rows.len() - narrow) as u64);
    bytes.extend_from_slice(&prefix.to_le_bytes());
    let (narrow, wide) = rows.split_at(narrow);
    for row in narrow {
        bytes.extend_from_slice(&(row.key.as_u128() as u32).to_le_bytes());
        bytes.extend_from_slice(&row.tail().to_le_bytes());
    }
    for row in wide {
        bytes.extend_from_slice(&row.key.as_u128().to_le_bytes());
        bytes.extend_from_slice(&row.tail().to_le_bytes());
    }
}

/// Reads a record.
pub(crate) fn take(bytes: &[u8]) -> Result<(OrganisationId, Record), CodecError> {
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    let organisation = reader.organisation()?;
    let record = match kind {
        APPEND => {
            let names = take_names(&mut reader)?;
            let source = u16::try_from(reader.varint()?).map_err(|_| CodecError("a source out of range"))?;
            let mut offsets = Vec::new();
            for _ in 0..reader.count(2)? {
                let key = reader.text()?.to_owned();
                offsets.push(Offset { key, position: reader.varint()? });
            }
            let mut cells = Vec::new();
            for _ in 0..reader.count(5)? {
                cells.push(take_cell(&mut reader)?);
            }
            Record::Append { names, source, offsets, cells }
        }
        LEARN => Record::Learn { names: take_names(&mut reader)? },
        REMOVE => Record::Remove,
        _ => return Err(CodecError("unknown kind of record")),
    };
    if reader.is_empty() { Ok((organisation, record)) } else { Err(CodecError("bytes follow a record")) }
}

fn take_names(reader: &mut Reader<'_>) -> Result<LearnedNames, CodecError> {
    let first = reader.varint()?;
    let count = reader.count(1)?;
    let entries = (0..count).map(|_| Entry::take(reader)).collect::<Result<_, _>>()?;
    Ok(LearnedNames { first, entries })
}

fn take_cell(reader: &mut Reader<'_>) -> Result<CellRows, CodecError> {
    let table = Table::from_byte(reader.byte()?).ok_or(CodecError("unknown table"))?;
    let day = Day::new(u32::from(reader.u16()?)).ok_or(CodecError("a day out of range"))?;
    let narrow = reader.count(12)?;
    let wide = reader.count(24)?;
    let prefix = u128::from_le_bytes(reader.array()?) << 32;
    let mut rows = Vec::with_capacity(narrow + wide);
    for row in reader.take(narrow * 12)?.chunks_exact(12) {
        let (key, tail) = row.split_at(4);
        let key = u32::from_le_bytes(key.try_into().unwrap_or_default());
        rows.push(Row::from_parts(
            Key::from_u128(prefix | u128::from(key)),
            u64::from_le_bytes(tail.try_into().unwrap_or_default()),
        ));
    }
    let wide_bytes = wide.checked_mul(24).ok_or(CodecError("a count is too large"))?;
    for row in reader.take(wide_bytes)?.chunks_exact(24) {
        let (key, tail) = row.split_at(16);
        let key = u128::from_le_bytes(key.try_into().unwrap_or_default());
        rows.push(Row::from_parts(
            Key::from_u128(key),
            u64::from_le_bytes(tail.try_into().unwrap_or_default()),
        ));
    }
    Ok(CellRows { table, day, rows })
}
