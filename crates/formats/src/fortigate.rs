//! FortiGate traffic logs: a line of `key=value` a record, or CEF, each with or without a syslog header. Refuses to hold: other logs
//! of FortiOS (events, UTM: ignored), logs of FortiOS 4 (`src=`, `dst=`), and the hardware address of the source (`srcmac`) outside of the
//! networks of which the operator says that it is the device's: behind a router it is the router's, and nothing in a record tells.
//!
//! ```text
//! date=2031-03-04 time=10:01:09 logid="0000000013" type="traffic" subtype="forward" eventtime=1930557669345678901 tz="+0000"
//!  srcip=10.1.2.3 srcname="pc-17" srcport=50001 dstip=198.51.100.20 dstport=443 proto=6 action="close" duration=7
//! CEF:0|Fortinet|Fortigate|v7.4.3|00013|traffic:forward close|3|cat=traffic:forward FTNTFGTeventtime=1930557669345678901
//!  src=10.1.2.3 shost=pc-17 dst=198.51.100.20 proto=6 act=close FTNTFGTduration=7
//! ```
//!
//! A session is logged when it ends, and while it lasts: its start is `eventtime` (seconds in 6.0, nanoseconds since) less `duration`.
//! Without `eventtime` it is `date` and `time` in `tz`, or in the source's zone. The first of two equal keys counts, because names that
//! a machine gives itself come later in a line than its address. Source: FortiOS log references 5.6 to 7.6, their CEF chapters.

use sighting::{Address, IdentityKind, Second};

use crate::connection::{Connection, by_address};
use crate::key_value::{Pairs, event};
use crate::record::{Fault, Ignored, Mentions, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::syslog::message;
use crate::text::{Names, begins, present};
use crate::time::{epoch, iso_of};

/// Whether a line is a record of this format, be it none that counts.
pub(crate) fn is_record(line: &str) -> bool {
    let message = message(line);
    if let Some(event) = event(message) {
        return is_fortigate(event.vendor, event.product);
    }
    let has = |key: &str| Pairs::quoted(message).any(|(name, _)| name == key);
    has("type") && has("subtype") && (has("logid") || has("devid"))
}

fn is_fortigate(vendor: &str, product: &str) -> bool {
    vendor.eq_ignore_ascii_case("Fortinet")
        && (begins(product, "fortigate") || product.to_ascii_lowercase().contains("fortigate"))
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let values = Values::of(message(text))?;
    if !values.is_traffic()? {
        sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
        return Ok(());
    }
    let (address, not_ours) = by_address(values.source, "srcip", None, settings);
    let connection = Connection {
        second: values.start(settings),
        device: address.and_then(|_| values.device(settings)),
        remote: (values.destination, "dstip"),
        why_not: match not_ours {
            None => values.not_opened()?,
            why => why,
        },
    };
    connection.judge(line, settings, sink)
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    /// `traffic`, in CEF with the subtype behind a colon.
    kind: Option<&'a str>,
    action: Option<&'a str>,
    source: Option<&'a str>,
    source_name: Option<&'a str>,
    source_mac: Option<&'a str>,
    /// The id that FortiClient gave the source.
    client: Option<&'a str>,
    destination: Option<&'a str>,
    protocol: Option<&'a str>,
    event_time: Option<&'a str>,
    date: Option<&'a str>,
    clock: Option<&'a str>,
    zone: Option<&'a str>,
    duration: Option<&'a str>,
}

impl<'a> Values<'a> {
    /// Of a message without a syslog header.
    fn of(message: &'a str) -> Result<Values<'a>, Fault> {
        let mut values = Values::default();
        let Some(event) = event(message) else {
            let mut pairs = Pairs::quoted(message);
            let mut is_none = true;
            for (key, value) in pairs.by_ref() {
                values.set(key, value);
                is_none = false;
            }
            return match () {
                () if is_none => Err(Refusal::Unrecognised.into()),
                () if pairs.is_unclosed() => Err(Refusal::UnclosedQuote.into()),
                () => Ok(values),
            };
        };
        if !is_fortigate(event.vendor, event.product) {
            return Err(Refusal::Unrecognised.into());
        }
        event.pairs.for_each(|(key, value)| values.set_cef(key, value));
        // The name is type, subtype and action.
        values.kind = values.kind.or_else(|| present(event.name?.split(' ').next()?));
        Ok(values)
    }

    fn set(&mut self, key: &str, value: &'a str) {
        let slot = match key {
            "type" => &mut self.kind,
            "action" => &mut self.action,
            "srcip" => &mut self.source,
            "srcname" => &mut self.source_name,
            "srcmac" => &mut self.source_mac,
            "fctuid" => &mut self.client,
            "dstip" => &mut self.destination,
            "proto" => &mut self.protocol,
            "eventtime" => &mut self.event_time,
            "date" => &mut self.date,
            "time" => &mut self.clock,
            "tz" => &mut self.zone,
            "duration" => &mut self.duration,
            _ => return,
        };
        *slot = slot.or(present(value));
    }

    fn set_cef(&mut self, key: &str, value: &'a str) {
        let key = match key {
            "cat" => "type",
            "act" => "action",
            "src" => "srcip",
            "shost" => "srcname",
            "smac" => "srcmac",
            "dst" => "dstip",
            "proto" => "proto",
            _ => key.strip_prefix("FTNTFGT").unwrap_or_default(),
        };
        self.set(key, value);
    }

    fn is_traffic(&self) -> Result<bool, Fault> {
        let kind = self.kind.ok_or(Fault::of(Refusal::MissingField, "type"))?;
        Ok(kind.split(':').next().is_some_and(|kind| kind.eq_ignore_ascii_case("traffic")))
    }

    /// The address is known to be sound.
    fn device(&self, settings: &Settings) -> Result<Mentions<'a>, Fault> {
        let mut names = Names::default();
        names.add(IdentityKind::AgentId, self.client.unwrap_or_default(), "fctuid");
        // Without a name there is the address once more.
        let name = self.source_name.filter(|name| Some(*name) != self.source);
        names.add(IdentityKind::HostName, name.unwrap_or_default(), "srcname");
        let source = self.source.unwrap_or_default();
        let Some(address) =
            Address::parse_logged(source.as_bytes()).filter(|_| !settings.mac_networks.is_empty())
        else {
            names.add(IdentityKind::Address, source, "srcip");
            return names.required("srcip");
        };
        let seen = settings.originator((address, source), self.source_mac);
        seen.iter().for_each(|name| names.add(name.kind, name.written, "srcip"));
        names.required("srcip")
    }

    fn start(&self, settings: &Settings) -> Result<Second, Fault> {
        let logged = match self.event_time {
            Some(time) => epoch(time).ok_or(Fault::of(Refusal::BadTime, "eventtime"))?,
            None => self.clock_time(settings)?,
        };
        let Some(duration) = self.duration else { return Ok(logged) };
        let seconds = duration.parse().map_err(|_| Fault::of(Refusal::BadTime, "duration"))?;
        Ok(logged.minus(seconds))
    }

    fn clock_time(&self, settings: &Settings) -> Result<Second, Fault> {
        let (Some(date), Some(clock)) = (self.date, self.clock) else {
            return Err(Fault::of(Refusal::NoTime, "eventtime"));
        };
        let time = iso_of(&[date, "T", clock, self.zone.unwrap_or_default()]);
        let time = time.ok_or(Fault::of(Refusal::BadTime, "time"))?;
        time.in_zone_of(settings).map_err(|refusal| Fault::of(refusal, "time"))
    }

    fn not_opened(&self) -> Result<Option<Ignored>, Fault> {
        if matches!(self.protocol, Some("1" | "58")) {
            return Ok(Some(Ignored::Icmp));
        }
        let action = self.action.ok_or(Fault::of(Refusal::MissingField, "action"))?;
        Ok(match action {
            // How the session ended, or that it began.
            "accept" | "start" | "close" | "client-rst" | "server-rst" | "timeout" => None,
            // The last two are errors: of the connection, of the name look-up.
            "deny" | "ip-conn" | "dns" => Some(Ignored::Failed),
            _ => Some(Ignored::OtherAction),
        })
    }
}
