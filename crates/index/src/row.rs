//! The fact as the index moves it: (key, identity, second of the day, source), of one organisation, table and UTC day.
//! Refuses to hold: files, days and organisations (the cell says those), many rows (see `run`) and names (numbers only).

use sighting::{Address, SECONDS_PER_DAY};

/// What a cell's rows say. The tables share runs, segments, merges and retention.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub(crate) enum Table {
    /// Key: remote address. Identity: who opened the connection.
    Sightings = 0,
    /// Key: number of a name. Identity: the agent that carried it.
    Carriers = 1,
    /// Key: zero. Identity: who reported at all that day, at second zero.
    Reporters = 2,
    /// Key: number of an address or MAC, from when to when it was leased. Identity: to whom.
    Leases = 3,
}

impl Table {
    pub(crate) const ALL: [Table; 4] = [Table::Sightings, Table::Carriers, Table::Reporters, Table::Leases];

    pub(crate) fn from_byte(byte: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| *table as u8 == byte)
    }
}

/// A key of 16 bytes as two words, so that a row needs no padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Key {
    high: u64,
    low: u64,
}

impl Key {
    pub(crate) fn of_address(address: Address) -> Key {
        Key::from_u128(u128::from_be_bytes(address.octets()))
    }

    pub(crate) fn of_number(number: u32) -> Key {
        Key { high: 0, low: u64::from(number) }
    }

    /// The number that [`Key::of_number`] was made of.
    pub(crate) fn number(self) -> u32 {
        self.low as u32
    }

    /// What was leased, the first and the last second.
    pub(crate) fn of_lease(what: u32, since: u32, until: u32) -> Key {
        Key { high: u64::from(what) << 32 | u64::from(since), low: u64::from(until) }
    }

    /// What [`Key::of_lease`] was made of.
    pub(crate) fn lease(self) -> (u32, u32, u32) {
        ((self.high >> 32) as u32, self.high as u32, self.low as u32)
    }

    pub(crate) fn from_u128(value: u128) -> Key {
        Key { high: (value >> 64) as u64, low: value as u64 }
    }

    pub(crate) fn as_u128(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// One fact. Ordered by key, identity, second and source; 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Row {
    pub(crate) key: Key,
    /// The identity in the upper half, then 17 bits of second and 15 bits of source.
    tail: u64,
}

/// Sources of one organisation have numbers below this.
pub(crate) const SOURCES_MAX: u32 = 1 << SOURCE_BITS;
const SOURCE_BITS: u32 = 15;

impl Row {
    pub(crate) fn new(key: Key, identity: u32, of_day: u32, source: u16) -> Row {
        debug_assert!(of_day < SECONDS_PER_DAY && u32::from(source) < SOURCES_MAX);
        Row { key, tail: u64::from(identity) << 32 | u64::from(of_day << SOURCE_BITS | u32::from(source)) }
    }

    pub(crate) fn from_parts(key: Key, tail: u64) -> Row {
        Row { key, tail }
    }

    pub(crate) fn tail(self) -> u64 {
        self.tail
    }

    pub(crate) fn identity(self) -> u32 {
        (self.tail >> 32) as u32
    }

    pub(crate) fn of_day(self) -> u32 {
        self.tail as u32 >> SOURCE_BITS
    }

    pub(crate) fn source(self) -> u16 {
        (self.tail as u32 & (SOURCES_MAX - 1)) as u16
    }
}
