//! Defender `DeviceNetworkEvents` or `DeviceInfo` as a hunting export in CSV: which column is which. Refuses to hold: what the values
//! mean (`mde`), and times in a locale's order, which would be a guess.
//!
//! ```text
//! Timestamp,DeviceId,DeviceName,ActionType,RemoteIP,RemotePort
//! 2031-03-04T10:01:02.345678Z,aa11bb22..,pc-17.example.org,ConnectionSuccess,198.51.100.20,443
//! when, UTC                   the device                   what              to where
//! ```

use crate::chunk::CsvLayout;
use crate::csv::Field;
use crate::mde::{Event, Info};
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
    local: Option<usize>,
    merged_into: Option<usize>,
    merged: Option<usize>,
    group: Option<usize>,
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
            local: layout.place("LocalIP"),
            merged_into: layout.place("MergedToDeviceId"),
            merged: layout.place("MergedDeviceIds"),
            group: layout.place("MachineGroup"),
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
        let is_device_info = self.merged_into.is_some() || self.group.is_some();
        if self.remote.is_none() && !is_device_info {
            return Err(Fault::of(Refusal::MissingField, "RemoteIP"));
        }
        let event = Event {
            // An export of the other table has its columns and no remote, whether or not a row fills them.
            table: plain(self.table).or((self.remote.is_none()).then_some("DeviceInfo")),
            tenant: None,
            time: plain(self.time).or_else(|| plain(self.generated)),
            device_id: field(self.device_id).map(|field| field.resolved()),
            device_name: field(self.device_name).map(|field| field.resolved()),
            action: plain(self.action),
            remote: plain(self.remote),
            local: plain(self.local),
            info: Info {
                merged_into: field(self.merged_into).map(|field| field.resolved()),
                merged: field(self.merged).map(|field| field.resolved()),
                group: field(self.group).map(|field| field.resolved()),
            },
        };
        event.judge(line, settings, sink)
    }
}
