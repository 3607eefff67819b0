//! Bytes of connection logs in, sightings out: which format it is ([`detect()`]), where its records are ([`Framer`]),
//! and what each of them says ([`decode()`]).
//!
//! Holds: one module per format, the scanner and splitters they share, and the reasons ([`Ignored`], [`Refusal`]) why
//! a record is not a sighting. Every record (a line, an array element, a CSV row) makes exactly one call of the
//! [`Sink`], header rows and blank lines included, so that the caller's counts always add up; a [`Warning`] comes on top.
//!
//! Refuses to hold: I/O, decompression, a clock (too old and in the future are the caller's words), threads (chunks
//! are `Send`, who decodes them where is the caller's choice), and the joining of names to devices.
//!
//! UTF-8 is expected; what begins with the byte order mark of UTF-16 is turned into it by the framer.
//!
//! The road of a byte: `detect` sees the first bytes and gives an [`Opening`]; a [`Framer`] made of it cuts the
//! stream into [`Chunk`]s of whole records, in order, keeping all state that runs from record to record (column
//! orders, open quotes, nesting, and the search for a format that the first bytes did not tell); `decode` turns a
//! chunk into sink calls and needs nothing but the chunk.

#![warn(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a test may panic"))]

mod address_map;
mod argus;
mod aws_vpc;
mod azure_analytics;
mod azure_flow;
mod blocks;
mod carbon_black;
mod carried;
mod chunk;
mod columnar;
mod connection;
mod conntrack;
mod crowdstrike;
mod csv;
mod decided;
mod decode;
mod detect;
mod document;
mod ecs;
mod fields;
mod format;
mod fortigate;
mod framer;
mod generic;
mod isc_dhcpd;
mod json;
mod kea;
mod key_value;
mod lease;
mod mde;
mod mde_csv;
mod netflow;
mod ocsf;
mod osquery;
mod pan_os;
mod recogniser;
mod record;
mod sentinel_one;
mod settings;
mod suricata;
mod syslog;
mod sysmon;
mod sysmon_xml;
mod text;
mod time;
mod traits;
mod utf16;
mod windows_dhcp;
mod wrapper;
mod zeek;
mod zeek_dhcp;
mod zeek_json;
mod zeek_tsv;

pub use aws_vpc::VpcFields;
pub use chunk::{CHUNK_BYTES, Chunk, LINE_BYTES_MAX};
pub use columnar::{ChunkReader, Columnar, ColumnarDamage, Length, PARQUET_MAGIC};
pub use decode::decode;
pub use detect::{Detection, HEAD_BYTES, Opening, detect, missing_columns};
pub use format::{About, Family, Format, Wanted};
pub use framer::{Framer, Place};
pub use netflow::{Flows, Lost};
pub use pan_os::FieldOrder;
pub use recogniser::Recogniser;
pub use record::{
    DeviceFacts, Ignored, Leased, Lesson, MENTIONS_MAX, Mentions, Opened, Passed, Refusal, Reporter, Sink,
    Taught, Warning,
};
pub use settings::{ColumnMap, LacksField, Settings};
pub use syslog::message as behind_syslog_header;
