//! Records of anybody's making, JSON or CSV, whose keys or columns an operator can name: time, device, address, and
//! optionally an agent's id and an action. Refuses to hold: guesses: a time needs a zone, an action that no list knows
//! opens nothing.
//!
//! ```text
//! {"time":"2031-03-04T10:01:02Z","device":"pc-17.example.org","ip":"198.51.100.20"}
//! time,device,ip
//! 1930557662,10.1.2.3,198.51.100.20
//! ```

use std::borrow::Cow;

use sighting::{Address, IdentityKind, Second};

use crate::chunk::CsvLayout;
use crate::connection::Connection;
use crate::csv::Field;
use crate::json::{Scanner, Value, reread};
use crate::record::{Fault, Ignored, Mentions, Refusal, Sink};
use crate::settings::{ColumnMap, Settings};
use crate::text::{Names, present};
use crate::time::instant;

/// What is looked for, in the order of [`Wishes`] and of values.
const COUNT: usize = 5;
const TIME: usize = 0;
const DEVICE: usize = 1;
const ADDRESS: usize = 2;
const AGENT: usize = 3;
const ACTION: usize = 4;

const NO_ADDRESS: Fault = Fault::of(Refusal::MissingField, "ip");

/// For each value the key it is still to be found under; `None`: not below here.
type Wishes<'m> = [Option<&'m str>; COUNT];

fn wishes(columns: &ColumnMap) -> Wishes<'_> {
    [&columns.time, &columns.device, &columns.ip, &columns.agent_id, &columns.action]
        .map(|name| Some(name.as_str()))
}

/// One JSON record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    let values = read(&mut scanner, &settings.columns)?;
    scanner.end()?;
    if (scanner.has_escaped_keys() || values[TIME].is_escaped() || values[ADDRESS].is_escaped())
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    if values == [Value::Missing; COUNT] {
        // Nothing of what the map names: the map is wrong, or the format is.
        return Err(Fault::of(Refusal::MissingField, "time"));
    }
    Row {
        time: values[TIME].plain(),
        device: named(values[DEVICE]),
        agent: named(values[AGENT]),
        address: match values[ADDRESS] {
            Value::Missing => Err(NO_ADDRESS),
            // What is there and no text is no address.
            Value::Bool(_) | Value::Object | Value::Array => Ok(Some("?")),
            other => Ok(other.plain()),
        },
        action: named(values[ACTION]),
    }
    .judge(line, settings, sink)
}

/// Whether a record that has some keys or columns has those of a generic one.
pub(crate) fn is_record(columns: &ColumnMap, has: impl Fn(&str) -> bool) -> bool {
    has(&columns.time) && has(&columns.ip) && (has(&columns.device) || has(&columns.agent_id))
}

/// A name may be a number in JSON.
fn named(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Number(number) => Some(Cow::Borrowed(number)),
        other => other.present(),
    }
}

#[inline]
fn read<'a>(scanner: &mut Scanner<'a>, columns: &ColumnMap) -> Result<[Value<'a>; COUNT], Fault> {
    if scanner.value()? != Value::Object {
        return Err(Refusal::BadJson.into());
    }
    let mut values = [Value::Missing; COUNT];
    read_object(scanner, &wishes(columns), &mut values)?;
    Ok(values)
}

fn read_object<'a>(
    scanner: &mut Scanner<'a>,
    wishes: &Wishes<'_>,
    values: &mut [Value<'a>; COUNT],
) -> Result<(), Fault> {
    let mut key = scanner.first_key()?;
    while let Some(name) = key {
        let value = scanner.value()?;
        for (slot, wish) in values.iter_mut().zip(wishes) {
            if *wish == Some(name) {
                *slot = value;
            }
        }
        let below = wishes.map(|wish| wish.and_then(|wish| wish.strip_prefix(name)?.strip_prefix('.')));
        if value == Value::Object && below.iter().any(Option::is_some) {
            read_object(scanner, &below, values)?;
        } else {
            scanner.leave(value)?;
        }
        key = scanner.next_key()?;
    }
    Ok(())
}

/// The places of the columns that matter.
pub(crate) struct Columns {
    places: [Option<usize>; COUNT],
}

impl Columns {
    /// From the header.
    pub(crate) fn of(layout: &CsvLayout, columns: &ColumnMap) -> Columns {
        Columns { places: wishes(columns).map(|name| name.and_then(|name| layout.place(name))) }
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
        let resolved = |place| field(place).map(|field| field.resolved());
        let [time, device, address, agent, action] = self.places;
        Row {
            time: plain(time),
            device: resolved(device),
            agent: resolved(agent),
            address: address.ok_or(NO_ADDRESS).map(|place| plain(Some(place))),
            action: resolved(action),
        }
        .judge(line, settings, sink)
    }
}

/// One record's values; `None` is absent.
struct Row<'a> {
    time: Option<&'a str>,
    device: Option<Cow<'a, str>>,
    agent: Option<Cow<'a, str>>,
    /// A record without the key is refused; one that says "nothing here" is not.
    address: Result<Option<&'a str>, Fault>,
    action: Option<Cow<'a, str>>,
}

impl Row<'_> {
    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let why_not = self.not_opened(&settings.columns);
        let address = match self.address {
            Err(fault) if why_not.is_none() => return Err(fault),
            address => address.unwrap_or_default(),
        };
        let connection = Connection {
            second: self.second(settings),
            device: self.device(&settings.columns),
            remote: (address, "ip"),
            why_not,
        };
        connection.judge(line, settings, sink)
    }

    fn second(&self, settings: &Settings) -> Result<Second, Fault> {
        instant(self.time.ok_or(Fault::of(Refusal::NoTime, "time"))?, "time", settings)
    }

    fn device(&self, columns: &ColumnMap) -> Result<Mentions<'_>, Fault> {
        let mut names = Names::default();
        if let Some(agent) = &self.agent {
            names.add(IdentityKind::AgentId, agent, "agent_id");
        }
        if let Some(device) = &self.device {
            names.add(columns.device_kind.unwrap_or_else(|| kind_of(device)), device, "device");
        }
        names.required("device")
    }

    fn not_opened(&self, columns: &ColumnMap) -> Option<Ignored> {
        let action = present(self.action.as_deref()?)?;
        if columns.opened_actions.is_empty() {
            return classify(action);
        }
        let is_opened = columns.opened_actions.iter().any(|opened| opened.eq_ignore_ascii_case(action));
        (!is_opened).then_some(Ignored::OtherAction)
    }
}

/// A device's name is an address if it reads as one, else a host name.
fn kind_of(device: &str) -> IdentityKind {
    let is_address = Address::parse_logged(device.trim().as_bytes()).is_some();
    if is_address { IdentityKind::Address } else { IdentityKind::Fqdn }
}

/// The usual words for what happened.
fn classify(action: &str) -> Option<Ignored> {
    const OPENED: [&str; 19] = [
        "open",
        "opened",
        "connect",
        "connected",
        "connection",
        "success",
        "succeeded",
        "established",
        "allow",
        "allowed",
        "accept",
        "accepted",
        "permit",
        "permitted",
        "pass",
        "outbound",
        "connectionsuccess",
        "true",
        "yes",
    ];
    const FAILED: [&str; 18] = [
        "fail",
        "failed",
        "failure",
        "deny",
        "denied",
        "block",
        "blocked",
        "drop",
        "dropped",
        "reject",
        "rejected",
        "refused",
        "reset",
        "timeout",
        "connectionfailed",
        "error",
        "false",
        "no",
    ];
    const INBOUND: [&str; 4] = ["inbound", "ingress", "accepted_inbound", "inboundconnectionaccepted"];
    let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(action));
    match () {
        () if is_one_of(&OPENED) => None,
        () if is_one_of(&FAILED) => Some(Ignored::Failed),
        () if is_one_of(&INBOUND) => Some(Ignored::Inbound),
        () => Some(Ignored::OtherAction),
    }
}
