//! Defender `DeviceNetworkEvents` as a hunting export in CSV: which column is which. Refuses to hold: what the values
//! mean (`mde`), and times in a locale's order, which would be a guess.
//!
//! ```text
//! Timestamp,DeviceId,DeviceName,ActionType,RemoteIP,RemotePort
//! 2031-03-04T10:01:02.345678Z,aa11bb22..,pc-17.example.org,ConnectionSuccess,198.51.100.20,443
//! when, UTC                   the device                   what              to where
//! ```

use crate::chunk::CsvLayout;
use crate::csv::Field;
use crate::mde::Event;
use crate::record::{Fault, Refusal, Sink};
use crate::settings::Settings;
use crate::text::present;

/// The places of the columns that matter.
pub(crate) struct Columns {
    time: Option<usize>,
    /// Sentinel's time, for rows without one of their own.
    generated: Option<usize>,
    device_id: Option<usize>,
    device_name: Option<usize>,
    action: Option<usize>,
    remote: Option<usize>,
    table: Option<usize>,
}

impl Columns {
    /// From the header.
    pub(crate) fn of(layout: &CsvLayout) -> Columns {
        let first_of = |names: [&str; 2]| names.into_iter().find_map(|name| layout.place(name));
        Columns {
            time: first_of(["Timestamp", "Timestamp [UTC]"]),
            generated: first_of(["TimeGenerated", "TimeGenerated [UTC]"]),
            device_id: layout.place("DeviceId"),
            device_name: layout.place("DeviceName"),
            action: layout.place("ActionType"),
            remote: layout.place("RemoteIP"),
            table: first_of(["Type", "$table"]),
        }
    }

    /// One row.
    pub(crate) fn row(
        &self,
        fields: &[Field<'_>],
        line: u64,
        settings: &Settings,
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        let field = |place: Option<usize>| place.and_then(|place| fields.get(place));
        let plain = |place| field(place).and_then(|field| present(field.plain()));
        if self.remote.is_none() {
            return Err(Fault::of(Refusal::MissingField, "RemoteIP"));
        }
        let event = Event {
            table: plain(self.table),
            tenant: None,
            time: plain(self.time).or_else(|| plain(self.generated)),
            device_id: field(self.device_id).map(|field| field.resolved()),
            device_name: field(self.device_name).map(|field| field.resolved()),
            action: plain(self.action),
            remote: plain(self.remote),
        };
        event.judge(line, settings, sink)
    }
}
