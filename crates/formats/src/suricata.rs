//! Suricata's eve.json, one event a line, of which `flow` tells who connected to whom. Refuses to hold: the other events
//! (`netflow`, `dns`, `tls`, `alert` and so on repeat the addresses of a flow, some the other way round), and `host`, the
//! sensor's own name.
//!
//! ```text
//! {"timestamp":"2031-03-04T12:03:02.000001+0200","event_type":"flow","src_ip":"10.1.2.3","src_port":50001,
//!  "dest_ip":"198.51.100.20","dest_port":443,"proto":"TCP","flow":{"pkts_toserver":9,"pkts_toclient":8,
//!  "start":"2031-03-04T12:01:02.345678+0200","state":"closed","action":"pass"},"tcp":{"syn":true,"ack":true}}
//! ```
//!
//! The source is the sender of the first packet; a flow was opened if anything came back but a reset that turned it away. `timestamp` is
//! when the flow was logged, which is at its end, so only `flow.start` is its time. Filebeat puts all of it under `suricata.eve`.
//! Source: Suricata's manual on the EVE output; two samples of versions 4 and 6.

use crate::connection::{Connection, by_address};
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::time::iso;

/// Flags of TCP.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let is_bare = has("event_type") && has("timestamp");
    let has_flow = has("flow_id") || has("src_ip") && has("dest_ip");
    let is_engine = has("stats.uptime") || has("engine.message");
    // A pipeline that has moved the addresses makes it a document of the Elastic Common Schema.
    let is_shipped = has("suricata.eve.event_type") && !has("source.ip");
    is_bare && (has_flow || is_engine) || is_shipped
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    event_type: Value<'a>,
    source: Value<'a>,
    destination: Value<'a>,
    protocol: Value<'a>,
    start: Value<'a>,
    packets_back: Value<'a>,
    action: Value<'a>,
    syn: Value<'a>,
    ack: Value<'a>,
    flags_back: Value<'a>,
}

/// Where in a record the scanner is.
#[derive(Clone, Copy)]
enum Place {
    Top,
    Filebeat,
    Flow,
    Tcp,
}

impl Place {
    /// The place of an object under a key.
    fn inside(self, key: &str) -> Option<Place> {
        Some(match (self, key) {
            (Place::Top, "suricata") => Place::Filebeat,
            (Place::Filebeat, "eve") | (Place::Top, "suricata.eve") => Place::Top,
            (Place::Top, "flow") => Place::Flow,
            (Place::Top, "tcp") => Place::Tcp,
            _ => return None,
        })
    }
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner, Place::Top))?;
    if (has_escaped_keys || values.are_escaped())
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    values.judge(line, settings, sink)
}

impl<'a> Values<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>, place: Place) -> Result<(), Fault> {
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            if let Some(slot) = self.slot(place, name) {
                *slot = scanner.scalar()?;
            } else if let Some(inside) = place.inside(name) {
                match scanner.value()? {
                    Value::Object => self.read(scanner, inside)?,
                    other => scanner.leave(other)?,
                }
            } else {
                scanner.skip()?;
            }
            key = scanner.next_key()?;
        }
        Ok(())
    }

    /// Where a value goes; shippers may write the keys of inner objects with dots.
    #[inline]
    fn slot(&mut self, place: Place, name: &str) -> Option<&mut Value<'a>> {
        let name = name.strip_prefix("suricata.eve.").unwrap_or(name);
        Some(match (place, name) {
            (Place::Top, "event_type") => &mut self.event_type,
            (Place::Top, "src_ip") => &mut self.source,
            (Place::Top, "dest_ip") => &mut self.destination,
            (Place::Top, "proto") => &mut self.protocol,
            (Place::Top, "flow.start") | (Place::Flow, "start") => &mut self.start,
            (Place::Top, "flow.pkts_toclient") | (Place::Flow, "pkts_toclient") => &mut self.packets_back,
            (Place::Top, "flow.action") | (Place::Flow, "action") => &mut self.action,
            (Place::Top, "tcp.syn") | (Place::Tcp, "syn") => &mut self.syn,
            (Place::Top, "tcp.ack") | (Place::Tcp, "ack") => &mut self.ack,
            (Place::Top, "tcp.tcp_flags_tc") | (Place::Tcp, "tcp_flags_tc") => &mut self.flags_back,
            _ => return None,
        })
    }

    /// Whether a field that is compared as written was written with escapes.
    fn are_escaped(&self) -> bool {
        self.event_type.is_escaped()
            || self.source.is_escaped()
            || self.destination.is_escaped()
            || self.protocol.is_escaped()
            || self.start.is_escaped()
            || self.packets_back.is_escaped()
            || self.action.is_escaped()
    }

    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let event = self.event_type.plain().ok_or(Fault::of(Refusal::MissingField, "event_type"))?;
        if event != "flow" {
            sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
            return Ok(());
        }
        let (device, not_ours) = by_address(self.source.plain(), "src_ip", None, settings);
        let why_not = match not_ours {
            Some(why) => Some(why),
            None => self.not_opened()?,
        };
        let second = match self.start.plain() {
            None => Err(Fault::of(Refusal::NoTime, "flow.start")),
            Some(time) => iso(time)
                .ok_or(Refusal::BadTime)
                .and_then(|time| time.in_zone_of(settings))
                .map_err(|refusal| Fault::of(refusal, "flow.start")),
        };
        let remote = (self.destination.plain(), "dest_ip");
        Connection { second, device, remote, why_not }.judge(line, settings, sink)
    }

    /// Why the flow is no connection that was opened.
    fn not_opened(&self) -> Result<Option<Ignored>, Fault> {
        if self.protocol.plain().is_some_and(is_icmp) {
            return Ok(Some(Ignored::Icmp));
        }
        let is_dropped = self.action.plain() == Some("drop");
        Ok((is_dropped || self.is_turned_away() || !self.is_answered()?).then_some(Ignored::Failed))
    }

    /// Whether a call was answered by a reset and nothing else. (Whoever was called says so in flags of its own.)
    fn is_turned_away(&self) -> bool {
        let flags = self.flags_back.plain().and_then(|flags| u8::from_str_radix(flags, 16).ok());
        let is_call = self.syn.truth() == Some(true);
        is_call && flags.is_some_and(|flags| flags & RST != 0 && flags & SYN == 0)
    }

    /// Whether anything came back. The flags of TCP are those of both directions together.
    fn is_answered(&self) -> Result<bool, Fault> {
        if self.syn.truth() == Some(true) && self.ack.truth() == Some(true) {
            return Ok(true);
        }
        let packets = self.packets_back.plain().and_then(|packets| packets.parse::<u64>().ok());
        let packets = packets.ok_or(Fault::of(Refusal::MissingField, "flow.pkts_toclient"))?;
        Ok(packets > 0)
    }
}

/// `ICMP`, `IPv6-ICMP`.
fn is_icmp(protocol: &str) -> bool {
    let end = protocol.len().saturating_sub(4);
    protocol.as_bytes().get(end..).is_some_and(|end| end.eq_ignore_ascii_case(b"icmp"))
}
