//! Argus flows as CSV, as `ra -c ,` and the binetflow files of the CTU data sets write them: which columns say what, and what makes
//! a flow a sighting. Refuses to hold: rows of other layers (ARP, LLC), the binary format of Argus, and hardware addresses, which
//! behind a router are the router's.
//!
//! ```text
//! StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,TotPkts
//! 2031/03/04 10:01:02.345678,1.25,tcp,10.1.2.3,50001,   ->,198.51.100.20,443,SPA_SPA,12
//! start, a clock without zone     device                   remote            outcome
//! ```
//!
//! `Dir` tells who opened: `<->` is a flow with an answer; of TCP `->` the `State` (flags of the originator `_` flags of the
//! responder) tells whether the responder answered with a SYN; a `?` or `<-` means that the beginning was not seen. Clocks say no
//! zone: the source's setting does. Source: the manual of `ra`; one real file of a day.

use sighting::Second;

use crate::chunk::CsvLayout;
use crate::connection::{Connection, by_address};
use crate::csv::Field;
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::text::present;
use crate::time::{epoch, iso, slashed};

/// Protocols below IP and the sensor's own reports: their rows name no addresses of IP, or name them for another purpose.
const BELOW_IP: [&str; 5] = ["arp", "rarp", "llc", "ipx/spx", "man"];

/// Whether a header with these columns is one of this format's.
pub(crate) fn is_header(has: &dyn Fn(&str) -> bool) -> bool {
    has("StartTime") && has("SrcAddr") && has("Dir") && has("DstAddr")
}

/// The places of the columns that matter.
pub(crate) struct Columns {
    start: Option<usize>,
    protocol: Option<usize>,
    source: Option<usize>,
    direction: Option<usize>,
    destination: Option<usize>,
    state: Option<usize>,
}

impl Columns {
    /// From the header.
    pub(crate) fn of(layout: &CsvLayout) -> Columns {
        Columns {
            start: layout.place("StartTime"),
            protocol: layout.place("Proto"),
            source: layout.place("SrcAddr"),
            direction: layout.place("Dir"),
            destination: layout.place("DstAddr"),
            state: layout.place("State"),
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
        let (protocol, direction) = (value(self.protocol).unwrap_or_default(), value(self.direction));
        if direction == Some("who") || BELOW_IP.iter().any(|name| name.eq_ignore_ascii_case(protocol)) {
            sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
            return Ok(());
        }
        let direction = direction.ok_or(Fault::of(Refusal::MissingField, "Dir"))?;
        let flow = Flow { protocol, direction, state: value(self.state) };
        let (device, not_ours) = by_address(value(self.source), "SrcAddr", None, settings);
        let connection = Connection {
            second: second(value(self.start), settings),
            device,
            remote: (value(self.destination), "DstAddr"),
            why_not: match not_ours {
                None => flow.not_opened()?,
                why => why,
            },
        };
        connection.judge(line, settings, sink)
    }
}

/// What tells whether a flow is a connection that its source opened.
struct Flow<'a> {
    protocol: &'a str,
    direction: &'a str,
    state: Option<&'a str>,
}

impl Flow<'_> {
    fn not_opened(&self) -> Result<Option<Ignored>, Fault> {
        if matches!(self.protocol, "icmp" | "ipv6-icmp") {
            return Ok(Some(Ignored::Icmp));
        }
        match self.direction {
            // In the middle: normal, reset, timed out.
            "<->" | "<|>" | "<o>" => Ok(None),
            "->" | "|>" | "o>" if self.protocol == "tcp" => {
                let state = self.state.ok_or(Fault::of(Refusal::MissingField, "State"))?;
                Ok(not_answered(state))
            }
            "->" | "|>" | "o>" => Ok(Some(Ignored::Failed)),
            _ => Ok(Some(Ignored::Midstream)),
        }
    }
}

/// What the flags of a TCP flow say of its beginning. (`S_RA`: tried and refused. `PA_PA`: under way when it was first seen.)
fn not_answered(state: &str) -> Option<Ignored> {
    // Without flags (`ra` without `-Z b`) it is a word.
    match state {
        "CON" | "EST" | "FIN" | "CLO" => return None,
        "REQ" | "RST" | "TIM" => return Some(Ignored::Failed),
        "ACC" => return Some(Ignored::Midstream),
        _ => {}
    }
    let (originator, responder) = state.split_once('_').unwrap_or((state, ""));
    match () {
        () if responder.contains('S') => None,
        () if originator.contains('S') => Some(Ignored::Failed),
        () => Some(Ignored::Midstream),
    }
}

fn second(written: Option<&str>, settings: &Settings) -> Result<Second, Fault> {
    let written = written.ok_or(Fault::of(Refusal::NoTime, "StartTime"))?;
    match slashed(written).or_else(|| iso(written)) {
        Some(time) => time.in_zone_of(settings).map_err(|refusal| Fault::of(refusal, "StartTime")),
        None => epoch(written).ok_or(Fault::of(Refusal::BadTime, "StartTime")),
    }
}
