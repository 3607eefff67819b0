//! Defender `DeviceNetworkEvents` and `DeviceInfo` as JSON, and what makes one of its events a sighting in whichever carrier: storage
//! lines, Event Hubs `records`, Splunk's `body`, hunting results. Refuses to hold: other tables (ignored), the CSV
//! carrier's columns (`mde_csv`), and the device's own `LocalIP` outside of unique networks: two homes have the same.
//!
//! ```text
//! {"time":"..","tenantId":"00000000-..-00000000000a","category":"AdvancedHunting-DeviceNetworkEvents","properties":{
//!  "Timestamp":"2031-03-04T10:01:02.345678Z",    when, UTC
//!  "DeviceId":"aa11bb22..","DeviceName":"pc-17.example.org",    the device
//!  "ActionType":"ConnectionSuccess","RemoteIP":"198.51.100.20"}}    what, to where
//! ```
//!
//! Source: the schema page of the table, and streaming exports of 2021 to 2024.

use std::borrow::Cow;

use sighting::{Address, IdentityKind, Second};

use crate::document::Document;
use crate::json::{Raw, Scanner, Value, with_plain_escapes};
use crate::record::{
    DeviceFacts, Fault, Ignored, Lesson, Mentions, Opened, Passed, Refusal, Reporter, Sink, Taught, Warning,
};
use crate::settings::Settings;
use crate::text::{Names, present};
use crate::time::{Iso, iso};
use crate::wrapper;

/// The text of one event's fields; `None` is absent.
#[derive(Default)]
pub(crate) struct Event<'a> {
    /// The table, if the carrier names it.
    pub(crate) table: Option<&'a str>,
    pub(crate) tenant: Option<Cow<'a, str>>,
    pub(crate) time: Option<&'a str>,
    pub(crate) device_id: Option<Cow<'a, str>>,
    pub(crate) device_name: Option<Cow<'a, str>>,
    pub(crate) action: Option<&'a str>,
    pub(crate) remote: Option<&'a str>,
    /// The device's own address: nothing, but in unique networks.
    pub(crate) local: Option<&'a str>,
    pub(crate) info: Info<'a>,
}

/// What a record of `DeviceInfo` says beside the device's names; in others these are absent.
#[derive(Default)]
pub(crate) struct Info<'a> {
    pub(crate) merged_into: Option<Cow<'a, str>>,
    pub(crate) merged: Option<Cow<'a, str>>,
    pub(crate) group: Option<Cow<'a, str>>,
}

impl Event<'_> {
    /// Tells the sink what the event is.
    #[inline]
    pub(crate) fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        if self.is_device_info() {
            return self.teach(line, sink);
        }
        if self.table.is_some_and(|table| !is_network_table(table)) {
            self.ignore(Ignored::OtherEvent, line, sink);
            return Ok(());
        }
        let action = self.action.ok_or(Fault::of(Refusal::MissingField, "ActionType"))?;
        if let Some(why) = not_opened(action) {
            self.ignore(why, line, sink);
            return Ok(());
        }
        let Some(remote) = self.remote else {
            self.ignore(Ignored::NoRemote, line, sink);
            return Ok(());
        };
        let bad_remote = Fault::of(Refusal::BadAddress, "RemoteIP");
        let remote = Address::parse_logged(remote.as_bytes()).ok_or(bad_remote)?;
        let (second, mut device) = (self.second()?, self.device()?);
        settings.unique_address(self.local).into_iter().for_each(|local| device.push(local));
        if !settings.keep_special_remotes && remote.special().is_some() {
            self.ignore(Ignored::Special, line, sink);
            return Ok(());
        }
        sink.opened(&Opened { second, remote, device, tenant: self.tenant.as_deref(), line });
        Ok(())
    }

    /// A table that is not named is told by what only it has.
    #[inline]
    fn is_device_info(&self) -> bool {
        match self.table {
            Some(table) => matches!(table, "AdvancedHunting-DeviceInfo" | "DeviceInfo"),
            None => {
                let has_info = self.info.merged_into.is_some() || self.info.group.is_some();
                has_info && self.action.is_none() && self.remote.is_none()
            }
        }
    }

    #[cold]
    fn teach(&self, line: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        if self.device_id.is_none() {
            self.ignore(Ignored::OtherEvent, line, sink);
            return Ok(());
        }
        let merged = self.info.merged.as_deref().map(without_escapes);
        let facts = DeviceFacts {
            second: self.second()?,
            device: self.device()?,
            merged_into: self.info.merged_into.as_deref().and_then(present),
            merged: merged.as_deref(),
            group: self.info.group.as_deref().and_then(present),
        };
        if facts.is_merged_from_too_many() {
            sink.warned(Warning::ManyMerged, line);
        }
        let tenant = self.tenant.as_deref();
        sink.taught(&Taught { lesson: Lesson::Device(facts), tenant, line });
        Ok(())
    }

    #[inline]
    fn second(&self) -> Result<Second, Fault> {
        let time = self.time.ok_or(Fault::of(Refusal::NoTime, "Timestamp"))?;
        iso(time).map(Iso::utc).ok_or(Fault::of(Refusal::BadTime, "Timestamp"))
    }

    #[inline]
    fn device(&self) -> Result<Mentions<'_>, Fault> {
        let mut names = Names::default();
        if let Some(id) = &self.device_id {
            names.add(IdentityKind::AgentId, id, "DeviceId");
        }
        if let Some(name) = &self.device_name {
            names.add(IdentityKind::Fqdn, name, "DeviceName");
        }
        names.required("DeviceId")
    }

    fn ignore(&self, why: Ignored, line: u64, sink: &mut impl Sink) {
        let reporter = match (self.second(), self.device()) {
            (Ok(second), Ok(device)) => Some(Reporter { second, device }),
            _ => None,
        };
        sink.ignored(&Passed { why, reporter, tenant: self.tenant.as_deref(), line });
    }
}

/// A list as it is meant: it is JSON, and often stands in a text of JSON itself. An escape that were left would be taken for a part of
/// an id: that of a quote ends in two digits.
fn without_escapes(list: &str) -> Cow<'_, str> {
    let resolved = Raw { text: list, escaped: list.contains('\\') }.resolved();
    match resolved.contains('\\') {
        true => Cow::Owned(Raw { text: &resolved, escaped: true }.resolved().into_owned()),
        false => resolved,
    }
}

fn is_network_table(table: &str) -> bool {
    matches!(table, "AdvancedHunting-DeviceNetworkEvents" | "DeviceNetworkEvents")
}

/// Why an action opened no connection; `None`, it did. The portal's schema is the authority.
#[inline]
fn not_opened(action: &str) -> Option<Ignored> {
    match action {
        "ConnectionSuccess"
        | "ConnectionRequest"
        | "ConnectionFound"
        | "ConnectionSuccessAggregatedReport" => None,
        "ConnectionFailed" | "ConnectionFailedAggregatedReport" => Some(Ignored::Failed),
        // SYN and SYN/ACK seen on the wire of devices that have no agent.
        "ConnectionAttempt" | "ConnectionAcknowledged" => Some(Ignored::Attempt),
        _ if action.starts_with("Inbound") => Some(Ignored::Inbound),
        _ if action.starts_with("Listening") => Some(Ignored::Listening),
        _ if action.ends_with("Inspected") => Some(Ignored::Inspected),
        _ => Some(Ignored::OtherAction),
    }
}

/// One line or element: an event, or a wrapper of events.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut reading = Reading { line, settings, sink, is_inside: false, rest: None };
    let read = reading.value(text);
    reading.rest.unwrap_or(read)
}

/// What is needed to finish an event, carried through the nesting.
struct Reading<'r, S: Sink> {
    line: u64,
    settings: &'r Settings,
    sink: &'r mut S,
    /// Inside a wrapper already. Wrappers do not nest: each level is read twice, and nobody writes two.
    is_inside: bool,
    /// A wrapper was damaged: what came of the records from the damage on.
    rest: Option<Result<(), Fault>>,
}

/// The values of one event.
#[derive(Default)]
struct Values<'a> {
    category: Value<'a>,
    /// Sentinel's name of the table.
    kind: Value<'a>,
    tenant: Value<'a>,
    time: Value<'a>,
    /// Sentinel's time, for records without one of their own.
    generated: Value<'a>,
    device_id: Value<'a>,
    device_name: Value<'a>,
    action: Value<'a>,
    remote: Value<'a>,
    local: Value<'a>,
    merged_into: Value<'a>,
    group: Value<'a>,
    /// The list as it stands, whatever it is written as.
    merged: Option<&'a str>,
    /// The object held events rather than being one.
    is_wrapper: bool,
}

impl<S: Sink> Reading<'_, S> {
    /// An event, a wrapper, or an array of these.
    fn value(&mut self, text: &str) -> Result<(), Fault> {
        let mut scanner = Scanner::new(text);
        match scanner.value()? {
            Value::Object => {
                let mut values = Values::default();
                self.envelope(text, &mut scanner, &mut values)?;
                // Only what is sound to its end is told of, and then once.
                scanner.end()?;
                match () {
                    () if values.is_wrapper => Ok(()),
                    () if scanner.has_escaped_keys() || values.are_escaped() => self.escaped(text, &values),
                    () => match self.judge(&values) {
                        Err(fault) if fault.refusal == Refusal::MissingField => self.in_envelope(text, fault),
                        told => told,
                    },
                }
            }
            Value::Array if !self.is_inside => {
                self.elements(text, &mut scanner, false)?;
                Ok(scanner.end()?)
            }
            _ => Err(Refusal::BadJson.into()),
        }
    }

    /// An event with escapes where none are usual.
    #[cold]
    fn escaped(&mut self, text: &str, values: &Values<'_>) -> Result<(), Fault> {
        match with_plain_escapes(text) {
            Some(plain) => self.value(&plain),
            None => self.judge(values),
        }
    }

    /// An object without an action may hold an event under another key than `properties`.
    #[cold]
    fn in_envelope(&mut self, text: &str, fault: Fault) -> Result<(), Fault> {
        let Some(inner) = wrapper::envelope(text) else { return Err(fault) };
        let was_inside = std::mem::replace(&mut self.is_inside, true);
        let told = self.value(inner);
        self.is_inside = was_inside;
        told.map_err(|_| fault)
    }

    /// Every element is a record of its own: one that cannot be read as an event does not cost the others. An array
    /// with nothing in it counts as a blank record, so that its line is counted.
    fn elements(&mut self, text: &str, scanner: &mut Scanner<'_>, in_wrapper: bool) -> Result<(), Fault> {
        let mut more = scanner.first_element()?;
        if !more {
            self.sink.ignored(&Passed::by_nobody(Ignored::Blank, self.line));
        }
        while more {
            let start = scanner.place();
            // The element is checked to its end first, so that damage is met before anything is told of it.
            if scanner.skip().is_err() {
                return self.rest(text.get(start..).unwrap_or_default(), in_wrapper);
            }
            let end = scanner.place();
            self.is_inside = true;
            let told = self.value(text.get(start..end).unwrap_or_default());
            self.is_inside = false;
            if let Err(fault) = told {
                self.sink.refused(fault.refusal, self.line, fault.field);
            }
            let Ok(is_more) = scanner.next_element() else {
                return self.rest(text.get(end..).unwrap_or_default(), in_wrapper);
            };
            more = is_more;
        }
        Ok(())
    }

    /// What follows from a damaged element on, cut into records by brackets alone. The scanner is lost then.
    #[cold]
    fn rest(&mut self, rest: &str, in_wrapper: bool) -> Result<(), Fault> {
        let (line, settings) = (self.line, self.settings);
        let told =
            wrapper::each(|| Document::inside(in_wrapper), rest, line, self.sink, &mut |text, sink| {
                Reading { line, settings, sink, is_inside: true, rest: None }.value(text)
            });
        self.rest = Some(told);
        Err(Refusal::BadJson.into())
    }

    #[inline]
    fn envelope<'a>(
        &mut self,
        text: &str,
        scanner: &mut Scanner<'a>,
        values: &mut Values<'a>,
    ) -> Result<(), Fault> {
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            match name {
                "category" => values.category = scanner.scalar()?,
                "tenantId" => values.tenant = scanner.scalar()?,
                "properties" => match scanner.value()? {
                    Value::Object => values.properties(scanner)?,
                    other => scanner.leave(other)?,
                },
                "body" => match scanner.value()? {
                    Value::Object => self.envelope(text, scanner, values)?,
                    other => scanner.leave(other)?,
                },
                "records" | "Results" | "results" => match scanner.value()? {
                    Value::Array if !self.is_inside => {
                        values.is_wrapper = true;
                        self.elements(text, scanner, true)?;
                    }
                    other => scanner.leave(other)?,
                },
                _ => values.property(name, scanner)?,
            }
            key = scanner.next_key()?;
        }
        Ok(())
    }

    #[inline]
    fn judge(&mut self, values: &Values<'_>) -> Result<(), Fault> {
        let event = Event {
            table: values.category.plain().or_else(|| values.kind.plain()),
            tenant: values.tenant.present(),
            time: values.time.plain().or_else(|| values.generated.plain()),
            device_id: values.device_id.present(),
            device_name: values.device_name.present(),
            action: values.action.plain(),
            remote: match values.remote {
                // A remote that is no text is no address.
                Value::Bool(_) | Value::Object | Value::Array => Some("?"),
                remote => remote.plain(),
            },
            local: values.local.plain(),
            info: Info {
                merged_into: values.merged_into.present(),
                merged: values.merged.map(Cow::Borrowed),
                group: values.group.present(),
            },
        };
        event.judge(self.line, self.settings, self.sink)
    }
}

impl<'a> Values<'a> {
    /// Whether a field that is compared as written was written with escapes.
    #[inline]
    fn are_escaped(&self) -> bool {
        self.category.is_escaped()
            || self.kind.is_escaped()
            || self.time.is_escaped()
            || self.generated.is_escaped()
            || self.action.is_escaped()
            || self.remote.is_escaped()
    }

    #[inline]
    fn properties(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            self.property(name, scanner)?;
            key = scanner.next_key()?;
        }
        Ok(())
    }

    #[inline]
    fn property(&mut self, name: &str, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let slot = match name {
            "Timestamp" => &mut self.time,
            "TimeGenerated" => &mut self.generated,
            "DeviceId" => &mut self.device_id,
            "DeviceName" => &mut self.device_name,
            "ActionType" => &mut self.action,
            "RemoteIP" => &mut self.remote,
            "Type" | "$table" => &mut self.kind,
            "LocalIP" => &mut self.local,
            "MergedToDeviceId" => &mut self.merged_into,
            "MachineGroup" => &mut self.group,
            "MergedDeviceIds" => {
                let start = scanner.place();
                scanner.skip()?;
                self.merged = Some(scanner.since(start));
                return Ok(());
            }
            _ => return Ok(scanner.skip()?),
        };
        *slot = scanner.scalar()?;
        Ok(())
    }
}
