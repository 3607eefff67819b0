//! Traffic logs of firewalls of Palo Alto Networks, a line a record: the default CSV of PAN-OS, CEF, or LEEF, each with or without a
//! syslog header, and the forms in which Strata Logging Service forwards them. Refuses to hold: other logs (threat, system ...:
//! ignored), the user (`Source User`), who is no device, and addresses behind NAT.
//!
//! ```text
//! 1,2031/03/04 10:01:40,0001,TRAFFIC,end,0,2031/03/04 10:01:40,10.1.2.3,198.51.100.20,...,tcp,allow,...,2031/03/04 10:01:02,...
//! 0 1                   2    3       4   5 6 generated         7 device 8 remote              30         35 start
//! CEF:0|Palo Alto Networks|PAN-OS|11.1.0|end|TRAFFIC|1|src=10.1.2.3 dst=198.51.100.20 act=allow start=Mar 04 2031 10:01:40
//!  cn3Label=Elapsed time in seconds cn3=38
//! LEEF:2.0|Palo Alto Networks|PAN-OS Syslog Integration|11.1.0|allow|x7C|cat=TRAFFIC|src=10.1.2.3|dst=198.51.100.20|
//!  StartTime=2031/03/04 10:01:02
//! ```
//!
//! Fields of CSV keep their places from version to version; new ones come at the end. A firewall may be told to write others, in an
//! order of the organisation's own (a custom log format); such rows say nothing of their fields, so the operator does ([`FieldOrder`]).
//! Clocks say no zone: the source's setting does,
//! or `dtz` in CEF. CEF has no start of the session but the time of the log and how long it lasted. A session counts when the policy
//! allowed it; whether the other side answered is not asked.
//! Source: the field descriptions of PAN-OS 6.1 to 11.1, the CEF and LEEF templates for it, the log reference of Strata Logging.

use memchr::memchr;
use sighting::{Address, IdentityKind, Second};

use crate::connection::{Connection, by_address};
use crate::csv::{Field, pick, split};
use crate::key_value::{Event, event};
use crate::record::{Fault, Ignored, Mentions, Passed, Refusal, Sink};
use crate::settings::{LacksField, Settings};
use crate::syslog::message;
use crate::text::{Names, begins, present};
use crate::time::{Iso, iso, month_first, slashed};

/// Places of fields in CSV.
const RECEIVED: usize = 1;
const TYPE: usize = 3;
const SUBTYPE: usize = 4;
const GENERATED: usize = 6;
const SOURCE: usize = 7;
const DESTINATION: usize = 8;
const PROTOCOL: usize = 29;
const ACTION: usize = 30;
const START: usize = 35;
const ELAPSED: usize = 36;
/// From version 10.0.
const SOURCE_HOST: usize = 82;
const SOURCE_MAC: usize = 83;
const HOST_ID: usize = 97;
/// All of these, in their order.
const PLACES: [usize; 13] = [
    RECEIVED,
    TYPE,
    SUBTYPE,
    GENERATED,
    SOURCE,
    DESTINATION,
    PROTOCOL,
    ACTION,
    START,
    ELAPSED,
    SOURCE_HOST,
    SOURCE_MAC,
    HOST_ID,
];
/// About the most fields that any version has.
const FIELDS: usize = 128;

/// The logs, by the names in their records.
const LOGS: [&str; 17] = [
    "TRAFFIC",
    "THREAT",
    "SYSTEM",
    "CONFIG",
    "HIPMATCH",
    "HIP-MATCH",
    "GLOBALPROTECT",
    "USERID",
    "IPTAG",
    "AUTH",
    "AUTHENTICATION",
    "DECRYPTION",
    "TUNNEL",
    "SCTP",
    "GTP",
    "CORRELATION",
    "AUDIT",
];

/// The fields of a custom log format that matter, by the names that PAN-OS has for them there, and by what [`Values::set`] knows them.
const CUSTOM_FIELDS: [(&str, &str); 16] = [
    ("type", "Type"),
    ("subtype", "Subtype"),
    ("action", "action"),
    ("src", "src"),
    ("src_host", "SourceDeviceHost"),
    ("src_mac", "SourceDeviceMac"),
    ("hostid", "HostID"),
    ("dst", "dst"),
    ("proto", "proto"),
    ("start", "StartTime"),
    ("time_generated", "start"),
    ("cef-formatted-time_generated", "start"),
    ("high_res_timestamp", "start"),
    ("receive_time", "rt"),
    ("cef-formatted-receive_time", "rt"),
    ("elapsed", "ElapsedTime"),
];

/// The fields of a row in an order of the organisation's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldOrder {
    /// A key of [`Values::set`] for each field; nothing for those that do not matter.
    keys: Vec<Option<&'static str>>,
}

impl FieldOrder {
    /// From their names in PAN-OS, between bars or commas, with or without the `$` that a custom log format has.
    ///
    /// # Errors
    ///
    /// A field is not among them without which no record could count.
    pub fn parse(text: &str) -> Result<FieldOrder, LacksField> {
        let name = |text: &str| text.trim().trim_start_matches('$').to_ascii_lowercase();
        let key = |name: String| CUSTOM_FIELDS.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
        let keys: Vec<_> = text.split(['|', ',']).map(|field| key(name(field))).collect();
        let has = |wanted: &str| keys.contains(&Some(wanted));
        let lacks = |field| Err(LacksField { field, example: "start|src|dst|action" });
        match () {
            () if !has("src") => lacks("src"),
            () if !has("dst") => lacks("dst"),
            () if !has("action") => lacks("action"),
            () if !["StartTime", "start", "rt"].into_iter().any(has) => lacks("start"),
            () => Ok(FieldOrder { keys }),
        }
    }

    /// Whether a row may be one of these.
    fn fits(&self, fields: &[Field<'_>]) -> bool {
        let is_sound = |(key, field): (&Option<&str>, &Field<'_>)| {
            !matches!(key, Some("src" | "dst")) || Address::parse_logged(field.plain().as_bytes()).is_some()
        };
        self.keys.len() == fields.len() && self.keys.iter().zip(fields).all(is_sound)
    }
}

/// Whether a line is a record of this format, be it none that counts.
pub(crate) fn is_record(line: &str, order: Option<&FieldOrder>) -> bool {
    let message = message(line);
    match (event(message), order) {
        (Some(event), _) => is_ours(&event),
        (None, Some(order)) => {
            let mut fields = Vec::new();
            split(message, b',', &mut fields);
            order.fits(&fields)
        }
        // Cheaper than splitting what is none.
        (None, None) => {
            message.split(',').nth(RECEIVED).is_some_and(is_time) && Values::of_csv(message).is_some()
        }
    }
}

fn is_time(text: &str) -> bool {
    slashed(text).or_else(|| iso(text)).is_some()
}

fn is_ours(event: &Event<'_>) -> bool {
    let product = event.product;
    let is_firewall = begins(product, "pan-os")
        || product.eq_ignore_ascii_case("lf")
        || product.to_ascii_lowercase().contains("firewall");
    is_firewall && event.vendor.eq_ignore_ascii_case("Palo Alto Networks")
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let message = message(text);
    let values = match (event(message), &settings.columns.pan_os) {
        (Some(event), _) if is_ours(&event) => Values::of_event(&event),
        (Some(_), _) => return Err(Refusal::Unrecognised.into()),
        (None, Some(order)) => Values::of_order(order, message)?,
        (None, None) => Values::of_csv(message).ok_or(Refusal::Unrecognised)?,
    };
    let kind = values.kind.ok_or(Fault::of(Refusal::MissingField, "Type"))?;
    if !kind.eq_ignore_ascii_case("TRAFFIC") {
        sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
        return Ok(());
    }
    if values.is_short {
        return Err(Refusal::TooFewColumns.into());
    }
    values.connection(settings)?.judge(line, settings, sink)
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    /// CSV that ends before the start of the session.
    is_short: bool,
    kind: Option<&'a str>,
    subtype: Option<&'a str>,
    action: Option<&'a str>,
    source: Option<&'a str>,
    /// In CEF, of IPv6, if it stands apart.
    source_v6: Option<&'a str>,
    source_host: Option<&'a str>,
    source_mac: Option<&'a str>,
    /// The id that GlobalProtect gave the source.
    host_id: Option<&'a str>,
    destination: Option<&'a str>,
    destination_v6: Option<&'a str>,
    protocol: Option<&'a str>,
    start: Option<&'a str>,
    generated: Option<&'a str>,
    received: Option<&'a str>,
    elapsed: Option<&'a str>,
    zone: Option<&'a str>,
}

impl<'a> Values<'a> {
    /// Of a message in CSV, of whatever log. The first field may hold what is left of a header.
    fn of_csv(message: &'a str) -> Option<Values<'a>> {
        let fields = if memchr(b'"', message.as_bytes()).is_none() {
            pick(message, b',', PLACES)
        } else {
            let mut fields = Vec::with_capacity(FIELDS);
            split(message, b',', &mut fields);
            PLACES.map(|place| fields.get(place).map(|field| field.plain()))
        };
        let [received, kind, subtype, generated, source, destination, protocol, action, start, elapsed, ..] =
            fields;
        let [.., source_host, source_mac, host_id] = fields.map(|field| field.and_then(present));
        LOGS.contains(&kind?).then(|| Values {
            is_short: start.is_none(),
            kind: kind.and_then(present),
            subtype: subtype.and_then(present),
            action: action.and_then(present),
            source: source.and_then(present),
            source_host,
            source_mac,
            host_id,
            destination: destination.and_then(present),
            protocol: protocol.and_then(present),
            start: start.and_then(present),
            generated: generated.and_then(present),
            received: received.and_then(present),
            elapsed: elapsed.and_then(present),
            ..Values::default()
        })
    }

    /// Of a row whose fields are known from elsewhere. A custom log format is for one kind of log, which it need not name.
    fn of_order(order: &FieldOrder, message: &'a str) -> Result<Values<'a>, Fault> {
        let mut fields = Vec::with_capacity(order.keys.len());
        split(message, b',', &mut fields);
        match fields.len() {
            count if count < order.keys.len() => return Err(Refusal::TooFewColumns.into()),
            count if count > order.keys.len() => return Err(Refusal::TooManyColumns.into()),
            _ => {}
        }
        let names_kind = order.keys.contains(&Some("Type"));
        let mut values = Values { kind: (!names_kind).then_some("TRAFFIC"), ..Values::default() };
        for (key, field) in order.keys.iter().zip(&fields) {
            values.set(key.unwrap_or_default(), field.plain());
        }
        Ok(values)
    }

    fn of_event(event: &Event<'a>) -> Values<'a> {
        let mut values = Values::default();
        event.pairs.for_each(|(key, value)| values.set(key, value));
        match event.name {
            // CEF has type and subtype in its header: PAN-OS the subtype first, the logging service the type.
            Some(name) => {
                let is_type_first = LOGS.contains(&event.class);
                let (kind, subtype) = if is_type_first { (event.class, name) } else { (name, event.class) };
                (values.kind, values.subtype) = (present(kind), values.subtype.or(present(subtype)));
            }
            // LEEF has the type in a field, and may have the action as its event id.
            None => {
                values.kind = values.kind.or(present(event.class));
                values.action = values.action.or(present(event.class));
            }
        }
        values.source = values.source.or(values.source_v6);
        values.destination = values.destination.or(values.destination_v6);
        values
    }

    fn set(&mut self, key: &str, value: &'a str) {
        let slot = match key {
            "Type" | "cat" => &mut self.kind,
            "Subtype" | "SubType" => &mut self.subtype,
            "act" | "action" | "Action" => &mut self.action,
            "src" => &mut self.source,
            "c6a2" => &mut self.source_v6,
            "shost" | "PanSrcHostname" | "PanOSSourceDeviceHost" | "SourceDeviceHost" => {
                &mut self.source_host
            }
            "PanSrcMac" | "PanOSSourceDeviceMac" | "SourceDeviceMac" => &mut self.source_mac,
            "PanGPHostID" | "PanOSHostID" | "HostID" => &mut self.host_id,
            "dst" => &mut self.destination,
            "c6a3" => &mut self.destination_v6,
            "proto" => &mut self.protocol,
            "StartTime" | "SessionStartTime" | "PanOSSessionStartTime" => &mut self.start,
            "start" => &mut self.generated,
            "rt" | "devTime" | "ReceiveTime" | "TimeReceived" => &mut self.received,
            "cn3" | "ElapsedTime" | "SessionDuration" => &mut self.elapsed,
            "dtz" => &mut self.zone,
            _ => return,
        };
        *slot = slot.or(present(value));
    }

    fn connection(&self, settings: &Settings) -> Result<Connection<'a>, Fault> {
        let (address, not_ours) = by_address(self.source, "Source Address", None, settings);
        Ok(Connection {
            second: self.started(settings),
            device: address.and_then(|_| self.device()),
            remote: (self.destination, "Destination Address"),
            why_not: match not_ours {
                None => self.not_opened()?,
                why => why,
            },
        })
    }

    /// The address is known to be sound.
    fn device(&self) -> Result<Mentions<'a>, Fault> {
        let mut names = Names::default();
        names.add(IdentityKind::AgentId, self.host_id.unwrap_or_default(), "Host ID");
        names.add(IdentityKind::HostName, self.source_host.unwrap_or_default(), "Source Hostname");
        names.add(IdentityKind::Mac, self.source_mac.unwrap_or_default(), "Source Mac Address");
        names.add(IdentityKind::Address, self.source.unwrap_or_default(), "Source Address");
        names.required("Source Address")
    }

    /// The start of the session; where there is none, what the log's time and the session's length make of it.
    fn started(&self, settings: &Settings) -> Result<Second, Fault> {
        if let Some(start) = self.start {
            return self.instant(start, "Start Time", settings);
        }
        let logged = match (self.generated, self.received) {
            (Some(generated), _) => self.instant(generated, "Generated Time", settings)?,
            (None, Some(received)) => self.instant(received, "Receive Time", settings)?,
            (None, None) => return Err(Fault::of(Refusal::NoTime, "Start Time")),
        };
        let Some(elapsed) = self.elapsed else { return Ok(logged) };
        let seconds = elapsed.parse().map_err(|_| Fault::of(Refusal::BadTime, "Elapsed Time"))?;
        Ok(logged.minus(seconds))
    }

    fn instant(&self, written: &str, field: &'static str, settings: &Settings) -> Result<Second, Fault> {
        let time = slashed(written).or_else(|| month_first(written)).or_else(|| iso(written));
        match time.ok_or(Fault::of(Refusal::BadTime, field))? {
            Iso::Zoneless(second) if matches!(self.zone, Some("UTC" | "GMT" | "Z")) => Ok(second),
            time => time.in_zone_of(settings).map_err(|refusal| Fault::of(refusal, field)),
        }
    }

    fn not_opened(&self) -> Result<Option<Ignored>, Fault> {
        let is_one_of =
            |word: &str, words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
        match self.subtype {
            Some(subtype) if is_one_of(subtype, &["drop", "deny"]) => return Ok(Some(Ignored::Failed)),
            Some(subtype) if !is_one_of(subtype, &["start", "end"]) => return Ok(Some(Ignored::OtherAction)),
            _ => {}
        }
        if self.protocol.is_some_and(|name| is_one_of(name, &["icmp", "icmp6", "ipv6-icmp", "1", "58"])) {
            return Ok(Some(Ignored::Icmp));
        }
        let action = self.action.ok_or(Fault::of(Refusal::MissingField, "Action"))?;
        Ok(match () {
            () if action.eq_ignore_ascii_case("allow") => None,
            () if ["deny", "drop", "reset", "block"].iter().any(|word| begins(action, word)) => {
                Some(Ignored::Failed)
            }
            () => Some(Ignored::OtherAction),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_fields() {
        let order = FieldOrder::parse("$receive_time,$SRC, $dst ,$rule,$action").expect("an order");
        assert_eq!(order.keys, [Some("rt"), Some("src"), Some("dst"), None, Some("action")]);
        assert_eq!(FieldOrder::parse("receive_time|src|dst|x|action"), Ok(order));
        for (text, lacks) in [
            ("", "src"),
            ("src", "dst"),
            ("src|dst|start", "action"),
            ("src|dst|action|natsrc", "start"),
            ("src;dst;action;start", "src"),
        ] {
            let lacks = LacksField { field: lacks, example: "start|src|dst|action" };
            assert_eq!(FieldOrder::parse(text), Err(lacks), "{text}");
        }
    }

    #[test]
    fn lines_in_an_order() {
        let order = FieldOrder::parse("start|src|dst|action").expect("an order");
        for (line, expected) in [
            ("2031/03/04 10:01:02,10.1.2.3,198.51.100.20,allow", true),
            ("<14>Mar  4 10:01:45 fw-1 2031/03/04 10:01:02,10.1.2.3,2001:db8::20,allow", true),
            ("2031/03/04 10:01:02,10.1.2.3,198.51.100.20,allow,more", false),
            ("start,src,dst,action", false),
            ("", false),
        ] {
            assert_eq!(is_record(line, Some(&order)), expected, "{line}");
        }
    }
}
