//! Azure Network Analytics (traffic analytics, table `AzureNetworkAnalytics_CL`) exported as CSV: summaries of flows of a virtual
//! machine. Refuses to hold: the flow logs they are made of (`azure_flow`), topology and status rows (ignored), and times in a
//! locale's order.
//!
//! ```text
//! FlowStartTime,VMName,VMIPAddress,FlowDirection,AllowedOutFlows,DeniedOutFlows,AllExtIPs
//! 2031-03-04 10:01:02.000,pc-17,10.1.2.3,O,4.0,0.0,198.51.100.20
//! start, UTC              device         who opened, how often   remotes
//! ```
//!
//! Columns are also read under the names of the table itself (`FlowStartTime_t`, `VM_s`, `PublicIPs_s` ...). One row may name
//! several remotes, as a list (`['198.51.100.20', '198.51.100.21']`) or with counts behind bars (`198.51.100.20|2|0|0`): each is a
//! record of its own for the sink, on the row's line. A row without a machine's name is refused although it may have its address:
//! the same machine has a name in other rows and would be counted twice.
//! Source: Microsoft's schema of traffic analytics; one real export.

use sighting::{IdentityKind, Second};

use crate::chunk::CsvLayout;
use crate::connection::Connection;
use crate::csv::Field;
use crate::record::{Fault, Ignored, Mentions, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::text::{Names, present};
use crate::time::{Iso, iso};

const START: [&str; 4] = ["FlowStartTime", "FlowStartTime [UTC]", "FlowStartTime_t", "FlowStartTime_t [UTC]"];
const MACHINE: [&str; 2] = ["VMName", "VM_s"];
const MACHINE_ADDRESS: [&str; 2] = ["VMIPAddress", "VMIP_s"];
const DIRECTION: [&str; 2] = ["FlowDirection", "FlowDirection_s"];
const ALLOWED: [&str; 2] = ["AllowedOutFlows", "AllowedOutFlows_d"];
const KIND: [&str; 2] = ["SubType", "SubType_s"];
/// The remotes: the first of these that a row has something in.
const REMOTES: [[&str; 2]; 3] =
    [["AllExtIPs", "AllExtIPs_s"], ["PublicIPs", "PublicIPs_s"], ["DestIP", "DestIP_s"]];

/// Whether a header with these columns is one of this format's.
pub(crate) fn is_header(has: &dyn Fn(&str) -> bool) -> bool {
    let has_one = |names: &[&str]| names.iter().any(|name| has(name));
    has_one(&START) && has_one(&DIRECTION) && has_one(&ALLOWED)
}

/// The places of the columns that matter.
pub(crate) struct Columns {
    start: Option<usize>,
    machine: Option<usize>,
    machine_address: Option<usize>,
    direction: Option<usize>,
    allowed: Option<usize>,
    kind: Option<usize>,
    remotes: [Option<usize>; 3],
}

impl Columns {
    /// From the header.
    pub(crate) fn of(layout: &CsvLayout) -> Columns {
        let place = |names: &[&str]| names.iter().find_map(|name| layout.place(name));
        Columns {
            start: place(&START),
            machine: place(&MACHINE),
            machine_address: place(&MACHINE_ADDRESS),
            direction: place(&DIRECTION),
            allowed: place(&ALLOWED),
            kind: place(&KIND),
            remotes: REMOTES.map(|names| place(&names)),
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
        let value = |place: Option<usize>| present(fields.get(place?)?.plain());
        if value(self.kind).is_some_and(|kind| !kind.eq_ignore_ascii_case("FlowLog")) {
            sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
            return Ok(());
        }
        let why_not = not_opened(value(self.direction), value(self.allowed))?;
        let second = second(value(self.start));
        let device = device(value(self.machine), value(self.machine_address));
        let connection = |remote| Connection { second, device, remote: (remote, "AllExtIPs"), why_not };
        let written = self.remotes.iter().find_map(|place| value(*place)).unwrap_or_default();
        let mut remotes = addresses(written).peekable();
        if remotes.peek().is_none() {
            return connection(None).judge(line, settings, sink);
        }
        for remote in remotes {
            // A remote at fault must not cost the others.
            if let Err(fault) = connection(Some(remote)).judge(line, settings, sink) {
                sink.refused(fault.refusal, line, fault.field);
            }
        }
        Ok(())
    }
}

/// The addresses in a cell: one, or a list in brackets and quotes, or several each with counts behind bars.
fn addresses(cell: &str) -> impl Iterator<Item = &str> {
    let words = cell.split(|letter: char| letter.is_whitespace() || "[](),;'\"".contains(letter));
    words.filter_map(|word| present(word.split('|').next()?))
}

fn second(written: Option<&str>) -> Result<Second, Fault> {
    let written = written.ok_or(Fault::of(Refusal::NoTime, "FlowStartTime"))?;
    // UTC by the definition of the table.
    iso(written).map(Iso::utc).ok_or(Fault::of(Refusal::BadTime, "FlowStartTime"))
}

/// The machine's name stands alone or behind its resource group.
fn device<'a>(machine: Option<&'a str>, address: Option<&'a str>) -> Result<Mentions<'a>, Fault> {
    let machine = machine.ok_or(Fault::of(Refusal::NoDevice, "VMName"))?;
    let name = machine.rsplit('/').next().unwrap_or(machine);
    let mut names = Names::default();
    names.add(IdentityKind::HostName, name, "VMName");
    names.required("VMName")?;
    names.add(IdentityKind::Address, address.unwrap_or_default(), "VMIPAddress");
    names.required("VMName")
}

fn not_opened(direction: Option<&str>, allowed: Option<&str>) -> Result<Option<Ignored>, Fault> {
    match direction {
        None => return Err(Fault::of(Refusal::MissingField, "FlowDirection")),
        Some("O" | "o") => {}
        Some("I" | "i") => return Ok(Some(Ignored::Inbound)),
        Some(_) => return Ok(Some(Ignored::OtherAction)),
    }
    // Exports of data frames write counts as decimals.
    let allowed = allowed.and_then(|allowed| allowed.parse::<f64>().ok());
    let allowed = allowed.ok_or(Fault::of(Refusal::MissingField, "AllowedOutFlows"))?;
    // Whatever is no number above nothing.
    Ok((allowed.is_nan() || allowed <= 0.0).then_some(Ignored::Failed))
}
