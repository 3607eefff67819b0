//! AWS VPC flow logs as text: fields separated by spaces, in any order under a header (files in S3) or without one (CloudWatch): then in
//! the default order of version 2, or as the operator says ([`VpcFields`]). Refuses to hold: how rows lie in Parquet, the JSON envelope
//! of CloudWatch subscriptions, and flow logs of transit gateways (they name no action).
//!
//! ```text
//! version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status
//! 2 123456789012 eni-0a1b2c3d 10.1.2.3 198.51.100.20 50001 443 6 12 5040 1930557662 1930557720 ACCEPT OK
//!                device       device   remote                              start, epoch s        outcome
//! ```
//!
//! Each direction of a connection is a row of its own and no row says who opened it. A flow of TCP that begins in the row's window
//! tells it by its flags (2 is SYN: the source opened it; 18 is SYN and ACK: it answered); else the lower port is the server's, and of
//! flows without ports, or with equal ones, those count that leave (decision 0019).
//! `flow-direction` (version 5) says on which side of the interface the source is, before that the local networks do. A connection
//! between two of ours is then logged alike at both interfaces: its device is the source address, not the interface.
//! `pkt-srcaddr` and `pkt-dstaddr` are the ends of the connection where the interface in between is another's (NAT, pods), and win.
//! Rows that CloudWatch exported have the time of the log event in front. Source: the user guide of AWS, flow log records.

use sighting::{Address, IdentityKind, Second};

use crate::chunk::CsvLayout;
use crate::connection::{Connection, by_address};
use crate::csv::Field;
use crate::record::{Fault, Ignored, Mentions, Refusal, Sink};
use crate::settings::{LacksField, Settings};
use crate::text::{Names, present};
use crate::time::{epoch_seconds, iso};

/// The fields of a record without a header.
const DEFAULT_HEADER: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes \
    start end action log-status";
/// The same with what an export from CloudWatch puts in front.
const EXPORTED_HEADER: &str = "timestamp version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
    bytes start end action log-status";

/// TCP flags as AWS writes them: ACK only appears together with SYN.
const SYN: u16 = 2;
const ACK: u16 = 16;

/// A field is also known by the name that its column has in Parquet.
fn both_names(name: &str) -> [String; 2] {
    [name.to_owned(), name.replace('-', "_")]
}

/// Whether a line is a header of this format.
pub(crate) fn is_header(line: &str) -> bool {
    let has = |name: &str| line.split(' ').any(|word| word.trim_end() == name);
    let has_either = |name: &str| both_names(name).iter().any(|name| has(name));
    let has_end = |name: &str, of_packet: &str| has_either(name) || has_either(of_packet);
    has_end("srcaddr", "pkt-srcaddr") && has_end("dstaddr", "pkt-dstaddr") && has("start")
}

/// The fields of rows without a header, in the order of a log format of the organisation's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VpcFields {
    names: Vec<String>,
}

impl VpcFields {
    /// From their names in AWS, between spaces, bars or commas, with or without the `${}` that a log format has.
    ///
    /// # Errors
    ///
    /// A field is not among them without which no record could count.
    pub fn parse(text: &str) -> Result<VpcFields, LacksField> {
        let words = text
            .split([' ', '|', ',', '\n'])
            .map(|word| word.trim_start_matches("${").trim_end_matches('}').trim());
        let names: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
        let has = |wanted: &str| both_names(wanted).iter().any(|wanted| names.contains(wanted));
        let lacks = |field| {
            Err(LacksField {
                field,
                example: "version|srcaddr|dstaddr|srcport|dstport|protocol|start|action",
            })
        };
        match () {
            () if !has("srcaddr") && !has("pkt-srcaddr") => lacks("srcaddr"),
            () if !has("dstaddr") && !has("pkt-dstaddr") => lacks("dstaddr"),
            () if !has("action") => lacks("action"),
            () if !has("start") => lacks("start"),
            () => Ok(VpcFields { names }),
        }
    }

    /// Whether a row may be one of these.
    fn fits(&self, row: &str) -> bool {
        let fields: Vec<&str> = row.split(' ').collect();
        let is_sound = |(name, field): (&String, &&str)| {
            let is_address = name.ends_with("srcaddr") || name.ends_with("dstaddr");
            !is_address || *field == "-" || Address::parse_logged(field.as_bytes()).is_some()
        };
        fields.len() == self.names.len() && self.names.iter().zip(&fields).all(is_sound)
    }

    fn layout(&self, exported: &str) -> CsvLayout {
        CsvLayout::of(&format!("{exported}{}", self.names.join(" ")), Some(b' '))
    }

    /// The layout of an input without a header, if a line looks like a row of these.
    fn row_layout(&self, line: &str) -> Option<CsvLayout> {
        if self.fits(line) {
            return Some(self.layout(""));
        }
        let (time, row) = line.split_once(' ')?;
        (iso(time).is_some() && self.fits(row)).then(|| self.layout("timestamp "))
    }
}

/// The layout that the first line of an input tells: a header, or a row of the operator's fields or the default ones.
pub(crate) fn layout(line: &str, own: Option<&VpcFields>) -> Option<CsvLayout> {
    row_layout(line, own).or_else(|| is_header(line).then(|| CsvLayout::of(line, Some(b' '))))
}

/// The layout of an input without a header, if a line looks like a row of the operator's fields or the default ones.
pub(crate) fn row_layout(line: &str, own: Option<&VpcFields>) -> Option<CsvLayout> {
    let line = line.trim_end();
    if let Some(layout) = own.and_then(|own| own.row_layout(line)) {
        return Some(layout);
    }
    if is_default_row(line) {
        return Some(CsvLayout::of(DEFAULT_HEADER, Some(b' ')));
    }
    let (time, row) = line.split_once(' ')?;
    (iso(time).is_some() && is_default_row(row)).then(|| CsvLayout::of(EXPORTED_HEADER, Some(b' ')))
}

fn is_default_row(line: &str) -> bool {
    let mut fields = line.split(' ');
    let mut next = || fields.next().unwrap_or_default();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_unset_or = |text: &str, is_sound: &dyn Fn(&str) -> bool| text == "-" || is_sound(text);
    let is_address = |text: &str| Address::parse_logged(text.as_bytes()).is_some();
    let version_and_names = next() == "2" && !next().is_empty() && !next().is_empty();
    let addresses = is_unset_or(next(), &is_address) && is_unset_or(next(), &is_address);
    let counts = (0..5).all(|_| is_unset_or(next(), &is_number));
    let window = is_number(next()) && is_number(next());
    let outcome =
        matches!(next(), "ACCEPT" | "REJECT" | "-") && matches!(next(), "OK" | "NODATA" | "SKIPDATA");
    version_and_names && addresses && counts && window && outcome && fields.next().is_none()
}

/// The places of the columns that matter.
pub(crate) struct Columns {
    interface: Option<usize>,
    instance: Option<usize>,
    source: [Option<usize>; 2],
    destination: [Option<usize>; 2],
    source_port: Option<usize>,
    destination_port: Option<usize>,
    protocol: Option<usize>,
    start: Option<usize>,
    action: Option<usize>,
    status: Option<usize>,
    flags: Option<usize>,
    direction: Option<usize>,
}

impl Columns {
    /// From the header.
    pub(crate) fn of(layout: &CsvLayout) -> Columns {
        let place = |name: &str| both_names(name).iter().find_map(|name| layout.place(name));
        Columns {
            interface: place("interface-id"),
            instance: place("instance-id"),
            source: [place("pkt-srcaddr"), place("srcaddr")],
            destination: [place("pkt-dstaddr"), place("dstaddr")],
            source_port: place("srcport"),
            destination_port: place("dstport"),
            protocol: place("protocol"),
            start: place("start"),
            action: place("action"),
            status: place("log-status"),
            flags: place("tcp-flags"),
            direction: place("flow-direction"),
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
        let either = |places: [Option<usize>; 2]| places.into_iter().find_map(value);
        let differ = |places: [Option<usize>; 2]| {
            let [of_packet, of_interface] = places.map(value);
            of_packet.zip(of_interface).is_some_and(|(one, other)| one != other)
        };
        // At a NAT gateway, or at the machine of a container, the interface is not the device's.
        let is_passed_on = differ(self.source) || differ(self.destination);
        let (source, destination) = (either(self.source), either(self.destination));
        let flow = Flow {
            status: value(self.status),
            action: value(self.action),
            protocol: value(self.protocol),
            ports: number(value(self.source_port)).zip(number(value(self.destination_port))),
            flags: number(value(self.flags)),
            direction: value(self.direction),
        };
        let why_not = flow.not_opened()?;
        let (address, not_ours) = by_address(source, "srcaddr", flow.says_local(), settings);
        let owner = |address| names(value(self.instance), value(self.interface), address);
        let device = match flow.direction {
            Some("ingress") => owner(destination),
            // Both interfaces have such a row, and nothing says which of them this is.
            None if is_ours(destination, settings) => address,
            _ if flow.is_none() => owner(None),
            _ if is_passed_on => address,
            _ => address.and_then(|_| owner(source)),
        };
        let connection = Connection {
            second: second(value(self.start)),
            device,
            remote: (destination, "dstaddr"),
            why_not: if flow.is_none() || flow.is_received() { why_not } else { not_ours.or(why_not) },
        };
        connection.judge(line, settings, sink)
    }
}

/// The owner of an interface: an instance is known by its id, anything else by the interface's.
fn names<'a>(
    instance: Option<&'a str>,
    interface: Option<&'a str>,
    address: Option<&'a str>,
) -> Result<Mentions<'a>, Fault> {
    let mut names = Names::default();
    names.add(IdentityKind::AgentId, instance.unwrap_or_default(), "instance-id");
    names.add(IdentityKind::AgentId, interface.unwrap_or_default(), "interface-id");
    names.add(IdentityKind::Address, address.unwrap_or_default(), "srcaddr");
    names.required("interface-id")
}

fn is_ours(written: Option<&str>, settings: &Settings) -> bool {
    let address = written.and_then(|written| Address::parse_logged(written.as_bytes()));
    address.is_some_and(|address| settings.local_networks.is_local(address, None))
}

fn number(written: Option<&str>) -> Option<u16> {
    written?.parse().ok()
}

fn second(written: Option<&str>) -> Result<Second, Fault> {
    let written = written.ok_or(Fault::of(Refusal::NoTime, "start"))?;
    epoch_seconds(written).ok_or(Fault::of(Refusal::BadTime, "start"))
}

/// What tells whether a flow is a connection that its source opened.
struct Flow<'a> {
    status: Option<&'a str>,
    action: Option<&'a str>,
    protocol: Option<&'a str>,
    ports: Option<(u16, u16)>,
    flags: Option<u16>,
    direction: Option<&'a str>,
}

impl Flow<'_> {
    /// What leaves through an interface comes from its owner.
    fn says_local(&self) -> Option<bool> {
        match self.direction {
            Some("egress") => Some(true),
            Some("ingress") => Some(false),
            _ => None,
        }
    }

    /// Whether the row says that there were no flows, or that some were left out.
    fn is_none(&self) -> bool {
        matches!(self.status, Some("NODATA" | "SKIPDATA"))
    }

    fn is_received(&self) -> bool {
        self.direction == Some("ingress")
    }

    fn not_opened(&self) -> Result<Option<Ignored>, Fault> {
        if self.is_none() {
            return Ok(Some(Ignored::OtherEvent));
        }
        if self.is_received() {
            return Ok(Some(Ignored::Inbound));
        }
        if matches!(self.protocol, Some("1" | "58")) {
            return Ok(Some(Ignored::Icmp));
        }
        Ok(match self.action {
            Some("ACCEPT") => self.not_by_the_source(),
            Some("REJECT") => Some(Ignored::Failed),
            Some(_) => Some(Ignored::OtherAction),
            None => return Err(Fault::of(Refusal::MissingField, "action")),
        })
    }

    /// Why the source is not the one that opened it.
    fn not_by_the_source(&self) -> Option<Ignored> {
        match self.flags {
            Some(flags) if flags & SYN != 0 => (flags & ACK != 0).then_some(Ignored::Inbound),
            _ => match self.ports {
                Some((source, destination)) if destination < source => None,
                Some((source, destination)) if source < destination => Some(Ignored::Inbound),
                // Ports that are equal (NTP, IKE) or not there tell nothing: then it is enough that it leaves the machine.
                _ if self.direction == Some("egress") => None,
                _ => Some(Ignored::Midstream),
            },
        }
    }
}
