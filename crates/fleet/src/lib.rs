//! A simulated organisation: devices, the connections they open, the log lines that two kinds of sensor write
//! of them, and what an exact store must answer afterwards. The demo, the tests and the benchmarks all draw
//! from here.
//!
//! Holds: a [`Fleet`] made from [`Settings`], its [`Event`]s as a stream in order of arrival, each event's
//! line as Microsoft Defender for Endpoint (storage NDJSON) and Zeek (TSV) write it, the [`Truth`] over the
//! opened ones, and a [`HotSet`] for look-up benchmarks.
//!
//! Refuses to hold: I/O, a clock, threads, state from one run to the next. Everything is a function of the
//! seed, in arithmetic that is the same on every machine: the same settings give the same bytes.
//!
//! ```text
//! settings ─ fleet ─┬─ plan    who is there on a day, and how many remote addresses each device reaches
//!                   ├─ remote  which addresses those are
//!                   ├─ shape   when, how often, how late
//!                   └─ events ── event ─┬─ mde, zeek  one log line
//!                                       └─ truth      what must be answered
//! ```
//!
//! The figures are those of small public captures (four university workstations, an office, a home, a server)
//! and the rates that follow for larger fleets; the constants say which are measured and which are assumed.

mod device;
mod draw;
mod event;
mod events;
mod hot;
mod mde;
mod plan;
mod remote;
mod settings;
mod shape;
mod text;
mod truth;
mod zeek;

pub use device::{DeviceNumber, Role, Sensor};
pub use event::{Delivery, Event, Kind};
pub use events::{Events, Fleet};
pub use hot::{HotSet, hot_set};
pub use mde::TENANT;
pub use settings::Settings;
pub use truth::Truth;
pub use zeek::zeek_header;
