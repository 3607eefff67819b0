//! The frame of a flow export: the headers of its three versions, where its sets begin and end, and where a datagram ends that
//! others follow in a file. Refuses to hold: what is inside a set (`netflow_parser` reads that).
//!
//! ```text
//! NetFlow 5  version count uptime seconds nanoseconds sequence engine sampling     24 bytes, then `count` records of 48
//! NetFlow 9  version count uptime seconds sequence source-id                       20 bytes, then sets to the datagram's end
//! IPFIX      version length seconds sequence domain                                16 bytes, then sets up to `length`
//! set        id length ...          0 to 3 are templates, 4 to 255 are nobody's, 256 and more are records of that template
//! ```

/// No datagram is longer.
pub(super) const DATAGRAM_BYTES_MAX: usize = u16::MAX as usize;

/// Of a NetFlow 5 datagram, as Cisco defines it.
const V5_RECORDS_MAX: u16 = 30;
const V5_HEADER_BYTES: usize = 24;
const V5_RECORD_BYTES: usize = 48;
const V9_HEADER_BYTES: usize = 20;
const IPFIX_HEADER_BYTES: usize = 16;
const SET_HEADER_BYTES: usize = 4;

/// Which protocol a datagram speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Version {
    V5,
    V9,
    Ipfix,
}

impl Version {
    const fn of(number: u16) -> Option<Version> {
        match number {
            5 => Some(Version::V5),
            9 => Some(Version::V9),
            10 => Some(Version::Ipfix),
            _ => None,
        }
    }

    const fn header_bytes(self) -> usize {
        match self {
            Version::V5 => V5_HEADER_BYTES,
            Version::V9 => V9_HEADER_BYTES,
            Version::Ipfix => IPFIX_HEADER_BYTES,
        }
    }
}

/// What a datagram says of itself before its sets or records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) version: Version,
    /// Milliseconds since the exporter booted, modulo 2^32; IPFIX does not say.
    pub(super) uptime: Option<u32>,
    /// When it was sent, in microseconds since 1970.
    pub(super) sent_us: i64,
    /// What IPFIX says of the datagram's length.
    pub(super) length: Option<usize>,
    pub(super) sequence: u32,
    /// Source id, observation domain, or engine: within an exporter, templates and sequences are each domain's own.
    pub(super) domain: u32,
    /// As it stood, padded with zeros.
    raw: [u8; V5_HEADER_BYTES],
}

impl Header {
    pub(super) fn read(datagram: &[u8]) -> Option<Header> {
        let version = Version::of(u16_at(datagram, 0)?)?;
        let head = datagram.get(..version.header_bytes())?;
        let mut raw = [0; V5_HEADER_BYTES];
        raw.get_mut(..head.len())?.copy_from_slice(head);
        let seconds = |at| Some(i64::from(u32_at(head, at)?) * 1_000_000);
        Some(match version {
            Version::V5 => Header {
                version,
                uptime: u32_at(head, 4),
                sent_us: seconds(8)? + i64::from(fraction(u32_at(head, 12)?) / 1_000),
                length: None,
                sequence: u32_at(head, 16)?,
                domain: u32::from(u16_at(head, 20)?),
                raw,
            },
            Version::V9 => Header {
                version,
                uptime: u32_at(head, 4),
                sent_us: seconds(8)?,
                length: None,
                sequence: u32_at(head, 12)?,
                domain: u32_at(head, 16)?,
                raw,
            },
            Version::Ipfix => Header {
                version,
                uptime: None,
                sent_us: seconds(4)?,
                length: u16_at(head, 2).map(usize::from),
                sequence: u32_at(head, 8)?,
                domain: u32_at(head, 12)?,
                raw,
            },
        })
    }

    /// A datagram of this header and one set, so that damage in a set costs that set.
    pub(super) fn with_set(&self, id: u16, body: impl FnOnce(&mut Vec<u8>), datagram: &mut Vec<u8>) {
        let header_bytes = self.version.header_bytes();
        datagram.clear();
        datagram.extend_from_slice(self.raw.get(..header_bytes).unwrap_or_default());
        datagram.extend_from_slice(&id.to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        body(datagram);
        let (whole, set) = (datagram.len(), datagram.len() - header_bytes);
        put_length(datagram, header_bytes + 2, set);
        if self.version == Version::Ipfix {
            put_length(datagram, 2, whole);
        }
    }
}

/// Writes a length at a place; one that is too long is written as what nobody can read.
fn put_length(datagram: &mut [u8], at: usize, length: usize) {
    if let Some(slot) = datagram.get_mut(at..at + 2) {
        slot.copy_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
    }
}

/// A set, with its own header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set<'a> {
    pub(super) id: u16,
    pub(super) bytes: &'a [u8],
}

impl<'a> Set<'a> {
    /// From its bytes, header first.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Set<'a>> {
        Some(Set { id: u16_at(bytes, 0)?, bytes })
    }

    /// What is behind its header.
    pub(super) fn body(self) -> &'a [u8] {
        self.bytes.get(SET_HEADER_BYTES..).unwrap_or_default()
    }
}

/// The sets of a datagram of NetFlow 9 or IPFIX; at last `None` once, if something is left that is no whole set.
pub(super) struct Sets<'a> {
    rest: &'a [u8],
}

impl<'a> Sets<'a> {
    pub(super) fn of(header: &Header, datagram: &'a [u8]) -> Sets<'a> {
        Sets { rest: datagram.get(header.version.header_bytes()..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Sets<'a> {
    type Item = Option<Set<'a>>;

    fn next(&mut self) -> Option<Option<Set<'a>>> {
        // Zeros too short for a set are padding of the datagram.
        if self.rest.len() < SET_HEADER_BYTES && self.rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let length = u16_at(rest, 2).map(usize::from).filter(|length| *length >= SET_HEADER_BYTES);
        let Some((set, after)) = length.and_then(|length| rest.split_at_checked(length)) else {
            return Some(None);
        };
        self.rest = after;
        Some(Set::of(set))
    }
}

/// Where the first datagram of some bytes ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// After so many bytes.
    At(usize),
    /// More bytes have to tell.
    NeedMore,
    /// Nothing here is a datagram.
    Nowhere,
}

/// Where the first of the datagrams that were written into a file one behind the other ends. NetFlow 9 does not say how long it is:
/// it ends where the number of another version stands in place of a set's, which is one that no set has.
pub(super) fn end(bytes: &[u8], at_end: bool) -> End {
    let Some(number) = u16_at(bytes, 0) else { return End::NeedMore };
    match Version::of(number) {
        Some(Version::V5) => end_of_v5(bytes),
        Some(Version::V9) => end_of_v9(bytes, at_end),
        Some(Version::Ipfix) => end_of_ipfix(bytes),
        None => End::Nowhere,
    }
}

fn end_of_v5(bytes: &[u8]) -> End {
    let Some(count) = u16_at(bytes, 2) else { return End::NeedMore };
    if !(1..=V5_RECORDS_MAX).contains(&count) {
        return End::Nowhere;
    }
    at_or_later(V5_HEADER_BYTES + V5_RECORD_BYTES * usize::from(count), bytes)
}

fn end_of_ipfix(bytes: &[u8]) -> End {
    match u16_at(bytes, 2).map(usize::from) {
        None => End::NeedMore,
        Some(length) if length < IPFIX_HEADER_BYTES => End::Nowhere,
        Some(length) => at_or_later(length, bytes),
    }
}

fn end_of_v9(bytes: &[u8], at_end: bool) -> End {
    let mut at = V9_HEADER_BYTES;
    while at <= DATAGRAM_BYTES_MAX {
        match u16_at(bytes, at) {
            None if at_end && at == bytes.len() => return End::At(at),
            None => return End::NeedMore,
            Some(number) if Version::of(number).is_some() => return End::At(at),
            Some(_) => {}
        }
        match u16_at(bytes, at + 2).map(usize::from) {
            None => return End::NeedMore,
            Some(length) if length < SET_HEADER_BYTES => return End::At(at),
            Some(length) => at += length,
        }
    }
    End::Nowhere
}

fn at_or_later(length: usize, bytes: &[u8]) -> End {
    if bytes.len() < length { End::NeedMore } else { End::At(length) }
}

/// Whether an input begins with a datagram; nothing while more bytes could tell. The first byte is one that no text begins with.
pub(crate) fn begins(head: &[u8], is_all: bool) -> Option<bool> {
    let needed = V5_HEADER_BYTES + V5_RECORD_BYTES;
    let looks_like = || {
        let header = Header::read(head)?;
        Some(match header.version {
            Version::V5 => (1..=V5_RECORDS_MAX).contains(&u16_at(head, 2)?),
            Version::V9 => is_set(head, V9_HEADER_BYTES, DATAGRAM_BYTES_MAX)?,
            Version::Ipfix => is_set(head, IPFIX_HEADER_BYTES, usize::from(u16_at(head, 2)?))?,
        })
    };
    match head {
        [0, 5 | 9 | 10, ..] if head.len() < needed && !is_all => None,
        [0, 5 | 9 | 10, ..] => Some(looks_like().unwrap_or(false)),
        [0] if !is_all => None,
        _ => Some(false),
    }
}

fn is_set(head: &[u8], at: usize, end: usize) -> Option<bool> {
    let (id, length) = (u16_at(head, at)?, usize::from(u16_at(head, at + 2)?));
    Some(!(4..=255).contains(&id) && length >= SET_HEADER_BYTES && at + length <= end)
}

/// Nanoseconds; what is no fraction of a second is none.
fn fraction(nanoseconds: u32) -> u32 {
    if nanoseconds < 1_000_000_000 { nanoseconds } else { 0 }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let (number, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u16::from_be_bytes(*number))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let (number, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_be_bytes(*number))
}
