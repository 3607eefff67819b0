//! Segments: immutable files of sorted rows, each of one organisation, table and UTC day. Refuses to hold: which
//! segments exist (the manifest), and anything that changes.
//!
//! A file is a header, pages in key order, a filter, an index of pages and a trailer; `docs/format.md` gives every
//! byte. Small keys share **pages** of at most [`PAGE_FACTS`] facts; a key with more facts or identities has a
//! **block** of its own, whose set of identities lies apart from its seconds, so that a whole day of a hot address is
//! read without them.

mod block;
mod handles;
mod page;
mod reader;
mod writer;

use sighting::{Day, OrganisationId};

use crate::row::Table;

pub(crate) use handles::Handles;
pub(crate) use reader::Segment;
pub(crate) use writer::SegmentWriter;

/// The first bytes of every segment.
const MAGIC: [u8; 8] = *b"seenbyS\n";
/// The format's version: readers refuse newer ones.
const VERSION: u16 = 1;
/// Bytes of the header and of the trailer.
const HEADER_BYTES: usize = 48;
const TRAILER_BYTES: usize = 56;
/// Facts that share a page; about 7 KB, which one read and one checksum handle in about 2 us.
const PAGE_FACTS: usize = 1024;

/// Which cell a segment belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Cell {
    pub(crate) organisation: OrganisationId,
    pub(crate) table: Table,
    pub(crate) day: Day,
}

/// What a page index entry points at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Many small keys.
    Page,
    /// One large key.
    Block,
}
