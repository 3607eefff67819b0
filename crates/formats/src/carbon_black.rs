//! Carbon Black as JSON, one object a record: network connections of the Cloud data forwarder (`endpoint.event.netconn`) and
//! of the EDR event forwarder (`ingress.event.netconn`). Refuses to hold: LEEF, and the device's own addresses (`local_ip`,
//! `device_internal_ip`, `device_external_ip`), which its id names better.
//!
//! ```text
//! {"type":"endpoint.event.netconn","device_timestamp":"2031-03-06 10:01:02.345 +0000 UTC","device_id":"4711",
//!  "device_name":"EXAMPLE\\PC-17","action":"ACTION_CONNECTION_CREATE | ACTION_CONNECTION_ESTABLISHED",
//!  "netconn_inbound":false,"netconn_protocol":"PROTO_TCP","local_ip":"10.1.2.3","remote_ip":"198.51.100.20"}
//! {"type":"ingress.event.netconn","event_type":"netconn","timestamp":1930557662,"sensor_id":7,"computer_name":"pc-17",
//!  "cb_server":"cbserver","direction":"outbound","protocol":6,"remote_ip":"198.51.100.20"}
//! ```
//!
//! `action` is a set of words, with or without `ACTION_`. Through a proxy the device opened a connection to the proxy, which
//! is the remote then. Cloud times without a zone are UTC by its definition. EDR blocks are told by `event_type`; forwarders
//! before 5.1 write `ipv4` for the remote. Source: FORMATS.md; the products' schema pages; cb-event-forwarder.

use std::borrow::Cow;

use sighting::{IdentityKind, Second};

use crate::blocks::split;
use crate::connection::Connection;
use crate::fields::{address, first, is_icmp, name, put};
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Mentions, Refusal, Sink};
use crate::settings::Settings;
use crate::text::{Names, trimmed};
use crate::time::{Iso, epoch, iso};

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let some = |keys: &[&str]| keys.iter().any(|key| has(key));
    let is_cloud = some(&["device_id", "device_name"])
        && some(&["org_key", "device_timestamp", "backend_timestamp", "netconn_inbound"]);
    let is_edr = some(&["sensor_id", "computer_name"]) && some(&["cb_server", "process_guid", "link_sensor"]);
    has("type") && (is_cloud || is_edr)
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner))?;
    if (has_escaped_keys || values.are_escaped())
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    values.judge(line, settings, sink)
}

/// The values of one record; most are of one of the products.
#[derive(Default)]
struct Values<'a> {
    kind: Value<'a>,
    remote: Value<'a>,

    device_time: Value<'a>,
    backend_time: Value<'a>,
    device_id: Value<'a>,
    device_name: Value<'a>,
    action: Value<'a>,
    sensor_action: Value<'a>,
    inbound: Value<'a>,
    cloud_protocol: Value<'a>,
    cloud_proxy: Value<'a>,

    event_type: Value<'a>,
    timestamp: Value<'a>,
    sensor_id: Value<'a>,
    server: Value<'a>,
    computer_name: Value<'a>,
    direction: Value<'a>,
    protocol: Value<'a>,
    proxy: Value<'a>,
    ipv4: Value<'a>,
}

impl<'a> Values<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        scanner.each_key(|scanner, name| put(scanner, self.slot(name)))
    }

    fn slot(&mut self, key: &str) -> Option<&mut Value<'a>> {
        Some(match key {
            "type" => &mut self.kind,
            "remote_ip" => &mut self.remote,
            "device_timestamp" => &mut self.device_time,
            "backend_timestamp" => &mut self.backend_time,
            "device_id" => &mut self.device_id,
            "device_name" => &mut self.device_name,
            "action" => &mut self.action,
            "sensor_action" => &mut self.sensor_action,
            "netconn_inbound" => &mut self.inbound,
            "netconn_protocol" => &mut self.cloud_protocol,
            "netconn_proxy_ip" => &mut self.cloud_proxy,
            "event_type" => &mut self.event_type,
            "timestamp" => &mut self.timestamp,
            "sensor_id" => &mut self.sensor_id,
            "cb_server" => &mut self.server,
            "computer_name" => &mut self.computer_name,
            "direction" => &mut self.direction,
            "protocol" => &mut self.protocol,
            "proxy_ip" => &mut self.proxy,
            "ipv4" => &mut self.ipv4,
            _ => return None,
        })
    }

    /// Whether a field that is compared as written was written with escapes.
    fn are_escaped(&self) -> bool {
        let compared = [
            self.kind,
            self.remote,
            self.device_time,
            self.backend_time,
            self.action,
            self.sensor_action,
            self.inbound,
            self.cloud_protocol,
            self.cloud_proxy,
            self.event_type,
            self.timestamp,
            self.direction,
            self.protocol,
            self.proxy,
            self.ipv4,
        ];
        compared.iter().any(Value::is_escaped)
    }

    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let kind = self.kind.plain().ok_or(Fault::of(Refusal::MissingField, "type"))?;
        let sensor = self.sensor();
        let ids = [name(self.device_id), sensor];
        let hosts = [name(self.device_name), name(self.computer_name)];
        let mut names = Names::default();
        for (id, field) in ids.iter().zip(["device_id", "sensor_id"]) {
            names.add(IdentityKind::AgentId, id.as_deref().unwrap_or_default(), field);
        }
        for (host, field) in hosts.iter().zip(["device_name", "computer_name"]) {
            names.add(IdentityKind::Fqdn, without_domain(host.as_deref().unwrap_or_default()), field);
        }
        let device: Result<Mentions<'_>, Fault> =
            names.required(if is_of_edr(kind) { "sensor_id" } else { "device_id" });
        let connection = Connection {
            second: self.second(kind),
            device,
            remote: self.remote(),
            why_not: self.not_opened(kind)?,
        };
        connection.judge(line, settings, sink)
    }

    /// The sensor's number behind the name of its server, because each server counts from 1. Without one the host's name is the
    /// better, if there is one.
    fn sensor(&self) -> Option<Cow<'a, str>> {
        let sensor = name(self.sensor_id)?;
        match name(self.server) {
            Some(server) => Some(Cow::Owned([&server, "/", &sensor].concat())),
            None => name(self.computer_name).is_none().then_some(sensor),
        }
    }

    fn remote(&self) -> (Option<&'a str>, &'static str) {
        let places = [
            (self.cloud_proxy, "netconn_proxy_ip"),
            (self.proxy, "proxy_ip"),
            (self.remote, "remote_ip"),
            (self.ipv4, "ipv4"),
        ];
        let written = places.into_iter().find_map(|(value, field)| Some((address(value)?, field)));
        written.map_or((None, "remote_ip"), |(address, field)| (Some(address), field))
    }

    fn second(&self, kind: &str) -> Result<Second, Fault> {
        let cloud = [(self.device_time, "device_timestamp"), (self.backend_time, "backend_timestamp")];
        let edr = [(self.timestamp, "timestamp")];
        let (value, field) = if is_of_edr(kind) { first(&edr) } else { first(&cloud) }?;
        value.plain().and_then(instant).ok_or(Fault::of(Refusal::BadTime, field))
    }

    /// Why an event opened no connection; `None`, it did.
    fn not_opened(&self, kind: &str) -> Result<Option<Ignored>, Fault> {
        match kind {
            "endpoint.event.netconn" | "endpoint.event.netconn_proxy" => self.not_opened_in_cloud(),
            "ingress.event.netconn" => self.not_opened_in_edr(),
            _ if self.is_of_sensor(kind) => Ok(Some(Ignored::OtherEvent)),
            // Other products have types of records too.
            _ => Err(Fault::of(Refusal::MissingField, "device_id")),
        }
    }

    /// Whether the type or a name says that a record is of one of the products.
    fn is_of_sensor(&self, kind: &str) -> bool {
        let names = [self.device_id, self.device_name, self.sensor_id, self.computer_name];
        is_of_edr(kind) || kind.starts_with("endpoint.") || names.iter().any(|name| *name != Value::Missing)
    }

    fn not_opened_in_cloud(&self) -> Result<Option<Ignored>, Fault> {
        let missing = |field| Fault::of(Refusal::MissingField, field);
        let action = self.action.plain().ok_or(missing("action"))?;
        let outcome = not_opened_by(action);
        if outcome == Some(Ignored::Listening) {
            return Ok(outcome);
        }
        if self.inbound.truth().ok_or(missing("netconn_inbound"))? {
            return Ok(Some(Ignored::Inbound));
        }
        let is_blocked = self
            .sensor_action
            .plain()
            .is_some_and(|action| words(action).any(|word| matches!(word, "BLOCK" | "DENY")));
        Ok(match self.cloud_protocol.plain() {
            Some("PROTO_ICMP" | "PROTO_ICMPV6" | "ICMP") => Some(Ignored::Icmp),
            _ if is_blocked => Some(Ignored::Failed),
            _ => outcome,
        })
    }

    fn not_opened_in_edr(&self) -> Result<Option<Ignored>, Fault> {
        let direction = self.direction.plain().ok_or(Fault::of(Refusal::MissingField, "direction"))?;
        Ok(match direction {
            "inbound" => Some(Ignored::Inbound),
            "outbound" if self.event_type.plain() == Some("blocked_netconn") => Some(Ignored::Failed),
            "outbound" => is_icmp(self.protocol).then_some(Ignored::Icmp),
            _ => Some(Ignored::Midstream),
        })
    }
}

/// Whether an event is told by the EDR event forwarder, whose kinds are the names of its message bus.
fn is_of_edr(kind: &str) -> bool {
    ["ingress.", "watchlist.", "feed.", "alert.", "binaryinfo.", "binarystore."]
        .iter()
        .any(|start| kind.starts_with(start))
}

/// The words in a set of actions.
fn words(actions: &str) -> impl Iterator<Item = &str> {
    split(actions, b'|').map(trimmed).map(|word| word.strip_prefix("ACTION_").unwrap_or(word))
}

/// Why a set of actions is none that opens a connection; `None`, it is one.
fn not_opened_by(actions: &str) -> Option<Ignored> {
    let has = |wanted: &str| words(actions).any(|word| word == wanted);
    match () {
        () if has("CONNECTION_ESTABLISHED") => None,
        () if has("CONNECTION_CREATE_FAILED") => Some(Ignored::Failed),
        () if has("CONNECTION_CREATE") => None,
        () if has("CONNECTION_LISTEN") => Some(Ignored::Listening),
        () => Some(Ignored::OtherAction),
    }
}

/// `2031-03-06 10:01:02.345 +0000 UTC` as Go prints it, ISO 8601, or an epoch number.
fn instant(text: &str) -> Option<Second> {
    let without_name = text.strip_suffix(" UTC").unwrap_or(text);
    iso(without_name).map(Iso::utc).or_else(|| epoch(text))
}

/// `EXAMPLE\PC-17` without the Windows domain.
fn without_domain(host: &str) -> &str {
    host.rsplit_once('\\').map_or(host, |(_, host)| host)
}
