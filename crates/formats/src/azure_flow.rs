//! Azure flow logs as JSON: of virtual networks (version 4) and of network security groups (versions 1 and 2). A record
//! holds many flows, each a tuple in one text; the sink is told of each, on the record's line. Refuses to hold: what joins
//! records (`{"records":[..]}`), and the rules that let a flow pass.
//!
//! ```text
//! {"time":"2031-03-04T10:02:00.0Z","category":"FlowLogFlowEvent","macAddress":"0200AA11BB22","targetResourceID":"/..",
//!  "flowRecords":{"flows":[{"flowGroups":[{"rule":"r","flowTuples":[
//!  "1930557662345,10.1.2.3,198.51.100.20,50001,443,6,O,B,NX,0,0,0,0"]}]}]}}
//! {"time":"..","category":"NetworkSecurityGroupFlowEvent","macAddress":"0200AA11BB22","properties":{"Version":2,"flows":[
//!  {"rule":"r","flows":[{"mac":"0200AA11BB22","flowTuples":["1930557662,10.1.2.3,198.51.100.20,50001,443,T,O,A,B,,,,"]}]}]}}
//!                                 when (ms or s), source, destination, ports, protocol, direction, state or decision
//! ```
//!
//! The interface is a machine's of ours, so that `O`ut is what the machine opened, whatever its address. `D` is denied; B, C
//! and E (a flow begins, goes on, ends) and A (allowed) are not. What the log is set up for (`targetResourceID`) names the
//! device only if it is one: nearly always it is a whole network.
//! Source: Microsoft's pages on the two kinds of flow logs.

use std::borrow::Cow;

use sighting::{IdentityKind, NAME_BYTES_MAX, Second};

use crate::blocks::{split, split_once};
use crate::connection::Connection;
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Passed, Refusal, Reporter, Sink};
use crate::settings::Settings;
use crate::text::{Names, begins, present, trimmed};
use crate::time::{Iso, epoch, iso};

const NO_TUPLE: Fault = Fault::of(Refusal::MissingField, "flowTuples");

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let is_network = has("flowRecords") || has("flowRecords.flows");
    let is_group = has("properties.flows") && (has("macAddress") || has("category"));
    is_network || is_group
}

/// One record: its tuples. Lines of these logs nearly always join records, so that they are looked at for that first.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    match joined(text) {
        Some(records) => records.iter().try_for_each(|values| values.tell(line, settings, sink)),
        None => single(text, line, settings, sink),
    }
}

fn single(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner))?;
    if (has_escaped_keys || values.is_escaped)
        && let Some(told) = reread(text, &mut |plain| single(plain, line, settings, sink))
    {
        return told;
    }
    values.tell(line, settings, sink)
}

/// So many records in a line are kept until all of them are read: Azure writes an hour's, one a minute.
const JOINED_MAX: usize = 65_536;

/// The records of a line that is `{"records":[{..},{..}]}` and nothing else, if each of them is usual: whatever is not is left to
/// those who look more closely (`wrapper`), before anything is told.
fn joined(text: &str) -> Option<Vec<Values<'_>>> {
    if !text.starts_with("{\"records\":[") {
        return None;
    }
    let mut scanner = Scanner::new(text);
    let _wrapper = (scanner.value().ok()?, scanner.first_key().ok()?, scanner.value().ok()?);
    let (mut records, mut more) = (Vec::new(), scanner.first_element().ok()?);
    while more {
        let mut values = Values::default();
        if records.len() == JOINED_MAX || scanner.value().ok()? != Value::Object {
            return None;
        }
        values.read(&mut scanner).ok()?;
        if values.is_escaped || values.is_flow_log().is_none() {
            return None;
        }
        records.push(values);
        more = scanner.next_element().ok()?;
    }
    let is_all = scanner.next_key().ok()?.is_none() && scanner.end().is_ok() && !scanner.has_escaped_keys();
    (is_all && !records.is_empty()).then_some(records)
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    time: Value<'a>,
    category: Value<'a>,
    mac: Value<'a>,
    target: Value<'a>,
    /// There is a place for flows, be it empty.
    has_flows: bool,
    tuples: Vec<Tuple<'a>>,
    /// The hardware addresses of groups that have tuples.
    macs: Vec<Value<'a>>,
    /// How many stand in the place of a tuple and are none. A line may have millions: they are counted, and take no room.
    lacking: usize,
    /// A value was written with escapes.
    is_escaped: bool,
}

/// What is shorter does not have the fields that matter: these are eight, with commas between.
const TUPLE_BYTES_MIN: usize = 7;

/// One flow.
#[derive(Clone, Copy)]
struct Tuple<'a> {
    text: &'a str,
    /// Which of the hardware addresses is that of its group.
    mac: Option<u32>,
}

impl<'a> Values<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            match name {
                "time" => self.time = scanner.scalar()?,
                "category" => self.category = scanner.scalar()?,
                "macAddress" => self.mac = scanner.scalar()?,
                "targetResourceID" | "targetResourceId" => self.target = scanner.scalar()?,
                "flowRecords" | "properties" => self.read_flows(scanner)?,
                _ => scanner.skip()?,
            }
            key = scanner.next_key()?;
        }
        let values = [self.time, self.category, self.mac, self.target];
        self.is_escaped |= values.iter().any(Value::is_escaped);
        Ok(())
    }

    /// The tuples in a value, however deep, each with the hardware address nearest to it.
    fn read_flows(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        match scanner.value()? {
            Value::Object => self.read_group(scanner),
            Value::Array => {
                let mut more = scanner.first_element()?;
                while more {
                    self.read_flows(scanner)?;
                    more = scanner.next_element()?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read_group(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let (first, mut mac) = (self.tuples.len(), Value::Missing);
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            match name {
                "mac" | "macAddress" => mac = scanner.scalar()?,
                "flowTuples" => self.read_tuples(scanner)?,
                "flows" | "flowGroups" => {
                    self.has_flows = true;
                    self.read_flows(scanner)?;
                }
                _ => scanner.skip()?,
            }
            key = scanner.next_key()?;
        }
        self.is_escaped |= mac.is_escaped();
        if self.tuples.len() > first && !mac.is_absent() {
            let place = u32::try_from(self.macs.len()).ok();
            self.macs.push(mac);
            // The address may follow the tuples.
            for tuple in self.tuples.iter_mut().skip(first).filter(|tuple| tuple.mac.is_none()) {
                tuple.mac = place;
            }
        }
        Ok(())
    }

    fn read_tuples(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let value = scanner.value()?;
        if value != Value::Array {
            return Ok(scanner.leave(value)?);
        }
        let mut more = scanner.first_element()?;
        while more {
            let value = scanner.scalar()?;
            self.is_escaped |= value.is_escaped();
            match value.plain().filter(|text| text.len() >= TUPLE_BYTES_MIN) {
                Some(text) => self.tuples.push(Tuple { text, mac: None }),
                None => self.lacking += 1,
            }
            more = scanner.next_element()?;
        }
        Ok(())
    }

    /// Whether the record is of a flow log; nothing, if it does not say what it is.
    fn is_flow_log(&self) -> Option<bool> {
        match self.category.plain() {
            Some(category) => Some(matches!(category, "FlowLogFlowEvent" | "NetworkSecurityGroupFlowEvent")),
            None => self.has_flows.then_some(true),
        }
    }

    /// Tells the sink of each tuple; a bad one costs itself.
    fn tell(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let is_flow_log = self.is_flow_log().ok_or(Fault::of(Refusal::MissingField, "flowRecords"))?;
        if !is_flow_log || self.tuples.is_empty() && self.lacking == 0 {
            let why = if is_flow_log { Ignored::NoRemote } else { Ignored::OtherEvent };
            self.ignore(why, line, sink);
            return Ok(());
        }
        let mac = |tuple: &Tuple<'a>| {
            let of_group = tuple.mac.and_then(|place| self.macs.get(place as usize));
            of_group.copied().unwrap_or(self.mac)
        };
        // Many tuples share their names: these are looked at when they change.
        for group in self.tuples.chunk_by(|tuple, next| mac(tuple) == mac(next)) {
            let named = Named::of(self.target, group.first().map_or(self.mac, mac));
            let names = named.names();
            for tuple in group {
                if let Err(fault) = tuple.tell(names, line, settings, sink) {
                    sink.refused(fault.refusal, line, fault.field);
                }
            }
        }
        (0..self.lacking).for_each(|_| sink.refused(NO_TUPLE.refusal, line, NO_TUPLE.field));
        Ok(())
    }

    /// A record that tells of no flow.
    fn ignore(&self, why: Ignored, line: u64, sink: &mut impl Sink) {
        let second = self.time.plain().and_then(iso).map(Iso::utc);
        let named = Named::of(self.target, self.mac);
        let device = named.names().required("macAddress");
        let reporter = match (second, device) {
            (Some(second), Ok(device)) => Some(Reporter { second, device }),
            _ => None,
        };
        sink.ignored(&Passed { why, reporter, tenant: None, line });
    }
}

impl Tuple<'_> {
    /// Tells the sink of the flow, whose interface has these names and its address.
    fn tell<'n>(
        &'n self,
        mut names: Names<'n>,
        line: u64,
        settings: &Settings,
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        let flow = Flow::of(self.text).ok_or(NO_TUPLE)?;
        names.add(IdentityKind::Address, flow.own.unwrap_or_default(), "flowTuples.1");
        let connection = Connection {
            second: flow.second(),
            device: names.required("macAddress"),
            remote: (flow.destination, "flowTuples.2"),
            why_not: flow.not_opened()?,
        };
        connection.judge(line, settings, sink)
    }
}

/// The first fields of a tuple, which are the same in all versions.
struct Flow<'a> {
    time: Option<&'a str>,
    /// The address of the interface: the source if it is the interface that opened.
    own: Option<&'a str>,
    destination: Option<&'a str>,
    protocol: &'a str,
    direction: &'a str,
    state: &'a str,
}

impl<'a> Flow<'a> {
    fn of(tuple: &'a str) -> Option<Flow<'a>> {
        let mut fields = split(tuple, b',').map(trimmed);
        let time = present(fields.next()?);
        let (source, destination) = (present(fields.next()?), present(fields.next()?));
        let (_ports, protocol) = ((fields.next()?, fields.next()?), fields.next()?);
        let (direction, state) = (fields.next()?, fields.next()?);
        let own = if direction == "I" { destination } else { source };
        Some(Flow { time, own, destination, protocol, direction, state })
    }

    fn second(&self) -> Result<Second, Fault> {
        let time = self.time.ok_or(Fault::of(Refusal::NoTime, "flowTuples.0"))?;
        epoch(time).ok_or(Fault::of(Refusal::BadTime, "flowTuples.0"))
    }

    /// Why the flow is no connection that was opened.
    fn not_opened(&self) -> Result<Option<Ignored>, Fault> {
        match self.direction {
            "I" => return Ok(Some(Ignored::Inbound)),
            "O" => {}
            _ => return Err(Fault::of(Refusal::MissingField, "flowTuples.6")),
        }
        match self.state {
            _ if matches!(self.protocol, "1" | "58") => Ok(Some(Ignored::Icmp)),
            "A" | "B" | "C" | "E" => Ok(None),
            "D" => Ok(Some(Ignored::Failed)),
            _ => Err(Fault::of(Refusal::MissingField, "flowTuples.7")),
        }
    }
}

/// The names of the interface or its machine that the record itself says.
struct Named<'a> {
    /// What the log is set up for, if it is a device.
    id: Option<Cow<'a, str>>,
    mac: Option<String>,
}

impl<'a> Named<'a> {
    fn of(target: Value<'a>, mac: Value<'a>) -> Named<'a> {
        // What is longer is no name, and costs nothing.
        let fits = |text: &str| text.len() <= NAME_BYTES_MAX;
        let id = target.present().filter(|target| fits(target) && is_device(target));
        Named { id, mac: mac.plain().filter(|mac| fits(mac)).map(with_colons) }
    }

    fn names(&self) -> Names<'_> {
        let mut names = Names::default();
        names.add(IdentityKind::AgentId, self.id.as_deref().unwrap_or_default(), "targetResourceID");
        names.add(IdentityKind::Mac, self.mac.as_deref().unwrap_or_default(), "macAddress");
        names
    }
}

/// Whether a resource is one machine or one interface.
fn is_device(resource: &str) -> bool {
    let kinds = ["networkinterfaces/", "virtualmachines/"];
    let mut rest = resource;
    while let Some((_, behind)) = split_once(rest, b'/') {
        if kinds.iter().any(|kind| begins(behind, kind)) {
            return true;
        }
        rest = behind;
    }
    false
}

/// `0200AA11BB22` as `02:00:AA:11:BB:22`; anything else as it is.
fn with_colons(mac: &str) -> String {
    let is_bare = mac.len() == 12 && mac.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_bare {
        return mac.to_owned();
    }
    let mut parted = String::with_capacity(17);
    for place in (0..12).step_by(2) {
        parted.push_str(if place > 0 { ":" } else { "" });
        parted.push_str(mac.get(place..place + 2).unwrap_or_default());
    }
    parted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Calls;
    use crate::wrapper::look_inside;
    use proptest::prelude::*;

    type Read = fn(&str, u64, &Settings, &mut Calls) -> Result<(), Fault>;

    /// What a line comes to if its records are read so.
    fn calls(text: &str, read: Read) -> (Calls, Result<(), Fault>) {
        let (mut calls, settings) = (Calls::default(), Settings::default());
        let inside = |text: &str, sink: &mut Calls| read(text, 1, &settings, sink);
        let told = read(text, 1, &settings, &mut calls)
            .or_else(|fault| look_inside(text, fault, 1, &mut calls, &inside));
        (calls, told)
    }

    #[test]
    fn what_is_no_tuple_takes_no_room() {
        let many = vec!["\"\",7,\",,,,,,\""; 50_000].join(",");
        let text = format!(
            "{{\"macAddress\":\"0200AA11BB22\",\"flowRecords\":{{\"flows\":[{{\"flowTuples\":[{many}]}}]}}}}"
        );
        let mut values = Values::default();
        object(&text, |scanner| values.read(scanner)).expect("sound");
        assert!(values.tuples.is_empty(), "{} tuples", values.tuples.len());
        let (Calls(told), end) = calls(&text, record);
        assert!(end.is_ok() && told.len() == 150_000, "{} calls", told.len());
        assert!(told.iter().all(|call| call.contains("MissingField 1 Some(\"flowTuples\")")));
    }

    const RECORDS: [&str; 6] = [
        r#"{"macAddress":"0200AA11BB22","category":"FlowLogFlowEvent","flowRecords":{"flows":[{"flowGroups":[{"flowTuples":["1930557662345,10.1.2.3,198.51.100.20,50001,443,6,O,B,NX,0,0,0,0","1930557663000,10.1.2.3,198.51.100.20,50001,443,6,I,C,NX,5,600,4,500"]}]}]}}"#,
        r#"{"category":"NetworkSecurityGroupFlowEvent","properties":{"flows":[{"flows":[{"mac":"0200AA11BB33","flowTuples":["1930557662,10.1.2.4,198.51.100.21,50001,443,T,O,A",7]},{"flowTuples":[]}]}]}}"#,
        r#"{"time":"2031-03-04T10:02:00Z","category":"other","records":[{"a":"}]"}],"targetResourceID":"/x/virtualMachines/y"}"#,
        r#"{"flowRecords":{"flows":[]},"macAddress":"0200\u0041A11BB22"}"#,
        r#"{"body":{"macAddress":"x","flowRecords":{"flows":[{"flowTuples":["1,2"]}]}}}"#,
        r#"{"records":[],"mac":"\"{"}"#,
    ];

    proptest! {
        /// Lines that join records, as they are and with a byte or two changed, are read as a closer look reads them.
        #[test]
        fn joined_records_are_what_a_closer_look_finds(
            records in prop::collection::vec(prop::sample::select(&RECORDS[..]), 0..4),
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:0a ]|records|\\\\u0041|"), 0..3),
        ) {
            let mut text = format!("{{\"records\":[{}]}}", records.join(","));
            for (place, with) in changes {
                let place = place.index(text.len());
                text.replace_range(place..=place, &with);
            }
            prop_assert_eq!(calls(&text, record), calls(&text, single), "{}", text);
        }
    }

    #[test]
    fn what_joins_records_is_known() {
        for (text, count) in [
            (format!("{{\"records\":[{},{}]}}", RECORDS[0], RECORDS[1]), Some(2)),
            (format!("{{\"records\":[{}]}} ", RECORDS[2]), Some(1)),
            (format!("{{\"records\":[{}],\"a\":1}}", RECORDS[0]), None),
            (format!("{{\"records\":[{},{}]}}", RECORDS[0], RECORDS[3]), None),
            (format!("{{\"records\":[{},{}]}}", RECORDS[0], RECORDS[4]), None),
            (format!("{{\"records\":[{},]}}", RECORDS[0]), None),
            ("{\"records\":[]}".to_owned(), None),
        ] {
            assert_eq!(joined(&text).map(|records| records.len()), count, "{text}");
        }
    }
}
