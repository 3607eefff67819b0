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

use sighting::{IdentityKind, Second};

use crate::chunk::CsvLayout;
use crate::connection::Connection;
use crate::csv::Field;
use crate::json::{Scanner, Value, reread, special};
use crate::record::{Fault, Ignored, Mentions, Refusal, Sink};
use crate::settings::{ColumnMap, Settings};
use crate::text::{Names, is_address, is_null, present, trimmed};
use crate::time::instant;

/// What is looked for, in the order of [`Wishes`] and of values.
const COUNT: usize = 5;
const TIME: usize = 0;
const DEVICE: usize = 1;
const ADDRESS: usize = 2;
const AGENT: usize = 3;
const ACTION: usize = 4;

const NO_ADDRESS: Fault = Fault::of(Refusal::MissingField, "ip");

/// Stands for an action that is an object or a list: no word, and none that an operator can name.
const NO_WORD: &str = "\0";

/// For each value the key it is still to be found under; `None`: not below here.
type Wishes<'m> = [Option<&'m str>; COUNT];

fn wishes(columns: &ColumnMap) -> Wishes<'_> {
    [&columns.time, &columns.device, &columns.ip, &columns.agent_id, &columns.action]
        .map(|name| Some(name.as_str()))
}

/// One JSON record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    match usual(text, &settings.columns) {
        Some(row) => row.judge(line, settings, sink),
        None => unusual(text, line, settings, sink),
    }
}

/// A record that is one flat object of texts without escapes and whole numbers, nothing between them that need not be: such
/// records are short, and the questions that JSON asks of others are most of the work. Nothing, if it is another.
fn usual<'a>(text: &'a str, columns: &ColumnMap) -> Option<Row<'a>> {
    let (bytes, wishes) = (text.as_bytes(), wishes(columns));
    let (mut values, mut is_wished_for) = ([None; COUNT], false);
    let (mut at, mut before) = (0, b'{');
    while before != b'}' {
        let key_end = string_end(bytes, at + 1)?;
        let name = text.get(at + 2..key_end)?;
        let start = key_end + 2;
        let (value, end) = match bytes.get(start)? {
            b'"' => {
                let end = string_end(bytes, start)?;
                (text.get(start + 1..end)?, end + 1)
            }
            b'1'..=b'9' => {
                let end = number_end(bytes, start);
                (text.get(start..end)?, end)
            }
            _ => return None,
        };
        let is_sound = bytes.get(at) == Some(&before) && bytes.get(key_end + 1) == Some(&b':');
        before = *bytes.get(end).filter(|byte| is_sound && matches!(byte, b',' | b'}'))?;
        at = end;
        for (slot, wish) in values.iter_mut().zip(&wishes) {
            if is_wished(*wish, name) {
                *slot = Some(value);
                is_wished_for = true;
            }
        }
    }
    if at + 1 != bytes.len() || !is_wished_for {
        return None;
    }
    let [time, device, address, agent, action] = values;
    let named = |written: Option<&'a str>| written.filter(|written| !is_null(written));
    Some(Row {
        time: time.and_then(present),
        device: named(device),
        agent: named(agent),
        address: address.ok_or(NO_ADDRESS).map(present),
        action: named(action),
    })
}

/// The closing quote of a text without escapes, whose opening one is at `at`.
#[inline(always)]
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = special(bytes, at + 1);
    (bytes.get(at) == Some(&b'"') && bytes.get(end) == Some(&b'"')).then_some(end)
}

/// Where the digits end that begin at `at`.
#[inline(always)]
fn number_end(bytes: &[u8], at: usize) -> usize {
    let digits = bytes.get(at..).unwrap_or_default();
    at + digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len())
}

fn unusual(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    let values = read(&mut scanner, &settings.columns)?;
    scanner.end()?;
    if (scanner.has_escaped_keys() || values[TIME].is_escaped() || values[ADDRESS].is_escaped())
        && let Some(told) = reread(text, &mut |plain| unusual(plain, line, settings, sink))
    {
        return told;
    }
    if values.iter().all(|value| matches!(value, Value::Missing)) {
        // Nothing of what the map names: the map is wrong, or the format is.
        return Err(Fault::of(Refusal::MissingField, "time"));
    }
    let [device, agent] = [values[DEVICE], values[AGENT]].map(named);
    let action = worded(values[ACTION]);
    let row = Row {
        time: values[TIME].plain(),
        device: device.as_deref(),
        agent: agent.as_deref(),
        address: match values[ADDRESS] {
            Value::Missing => Err(NO_ADDRESS),
            // What is there and no text is no address.
            Value::Bool(_) | Value::Object | Value::Array => Ok(Some("?")),
            other => Ok(other.plain()),
        },
        action: action.as_deref(),
    };
    row.judge(line, settings, sink)
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

/// An action may be a truth too. What is there and no word is none that opens: only a record without an action was opened.
fn worded(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        Value::Object | Value::Array => Some(Cow::Borrowed(NO_WORD)),
        other => named(other),
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
    scanner.each_key(|scanner, name| {
        let value = scanner.value()?;
        for (slot, wish) in values.iter_mut().zip(wishes) {
            if is_wished(*wish, name) {
                *slot = value;
            }
        }
        match value {
            Value::Object => read_inside(scanner, name, wishes, values),
            Value::Array => Ok(scanner.leave(value)?),
            _ => Ok(()),
        }
    })
}

/// Whether a key is the wished one; length and first letter tell nearly always.
#[inline(always)]
fn is_wished(wish: Option<&str>, name: &str) -> bool {
    wish.is_some_and(|wish| {
        let (wish, name) = (wish.as_bytes(), name.as_bytes());
        wish.len() == name.len() && wish.first() == name.first() && wish == name
    })
}

/// The object under a key, which was just entered, if anything is to be found in it.
fn read_inside<'a>(
    scanner: &mut Scanner<'a>,
    name: &str,
    wishes: &Wishes<'_>,
    values: &mut [Value<'a>; COUNT],
) -> Result<(), Fault> {
    let below = wishes.map(|wish| wish.and_then(|wish| wish.strip_prefix(name)?.strip_prefix('.')));
    if below.iter().any(Option::is_some) {
        return read_object(scanner, &below, values);
    }
    Ok(scanner.leave(Value::Object)?)
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
        let [time, device, address, agent, action] = self.places;
        let [device, agent, action] =
            [device, agent, action].map(|place| field(place).map(|field| field.resolved()));
        let row = Row {
            time: plain(time),
            device: device.as_deref(),
            agent: agent.as_deref(),
            address: address.ok_or(NO_ADDRESS).map(|place| plain(Some(place))),
            action: action.as_deref(),
        };
        row.judge(line, settings, sink)
    }
}

/// One record's values; `None` is absent.
struct Row<'a> {
    time: Option<&'a str>,
    device: Option<&'a str>,
    agent: Option<&'a str>,
    /// A record without the key is refused; one that says "nothing here" is not.
    address: Result<Option<&'a str>, Fault>,
    action: Option<&'a str>,
}

impl<'a> Row<'a> {
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

    fn device(&self, columns: &ColumnMap) -> Result<Mentions<'a>, Fault> {
        let mut names = Names::default();
        if let Some(agent) = self.agent {
            names.add(IdentityKind::AgentId, agent, "agent_id");
        }
        if let Some(device) = self.device {
            names.add(columns.device_kind.unwrap_or_else(|| kind_of(device)), device, "device");
        }
        names.required("device")
    }

    fn not_opened(&self, columns: &ColumnMap) -> Option<Ignored> {
        let action = present(self.action?)?;
        if columns.opened_actions.is_empty() {
            return classify(action);
        }
        let is_opened = columns.opened_actions.iter().any(|opened| opened.eq_ignore_ascii_case(action));
        (!is_opened).then_some(Ignored::OtherAction)
    }
}

/// A device's name is an address if it reads as one, else a host name.
fn kind_of(device: &str) -> IdentityKind {
    if is_address(trimmed(device)) { IdentityKind::Address } else { IdentityKind::Fqdn }
}

/// The longest word for what happened is shorter.
const WORD_BYTES_MAX: usize = 32;

/// The usual words for what happened.
fn classify(action: &str) -> Option<Ignored> {
    let mut word = [0; WORD_BYTES_MAX];
    let Some(word) = word.get_mut(..action.len()) else { return Some(Ignored::OtherAction) };
    word.copy_from_slice(action.as_bytes());
    word.make_ascii_lowercase();
    match &*word {
        b"open" | b"opened" | b"connect" | b"connected" | b"connection" | b"success" | b"succeeded"
        | b"established" | b"allow" | b"allowed" | b"accept" | b"accepted" | b"permit" | b"permitted"
        | b"pass" | b"outbound" | b"connectionsuccess" | b"true" | b"yes" => None,
        b"fail" | b"failed" | b"failure" | b"deny" | b"denied" | b"block" | b"blocked" | b"drop"
        | b"dropped" | b"reject" | b"rejected" | b"refused" | b"reset" | b"timeout" | b"connectionfailed"
        | b"error" | b"false" | b"no" => Some(Ignored::Failed),
        b"inbound" | b"ingress" | b"accepted_inbound" | b"inboundconnectionaccepted" => {
            Some(Ignored::Inbound)
        }
        _ => Some(Ignored::OtherAction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Calls;
    use proptest::prelude::*;

    type Read = fn(&str, u64, &Settings, &mut Calls) -> Result<(), Fault>;

    /// What a record comes to.
    fn calls(text: &str, settings: &Settings, read: Read) -> (Calls, Result<(), Fault>) {
        let mut calls = Calls::default();
        let told = read(text, 1, settings, &mut calls);
        (calls, told)
    }

    const ANY_PAIR: &str = "\"(time|device|ip|agent_id|action|a.b|other)\":\
        (\"(2031-03-04T10:01:02Z|198[.]51[.]100[.]2|pc-17| pc |-|null|N/A|allowed|Blocked|é|)\"|1930557662|[0-9]{1,4}|true|null|[{][}])";

    proptest! {
        /// A record, as it is and with a byte or two changed, is read as a closer look reads it.
        #[test]
        fn usual_records_are_what_a_closer_look_finds(
            pairs in prop::collection::vec(ANY_PAIR, 0..6),
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:0a .\\\\\\x01-]|"), 0..3),
            device in "device|ip|a.b",
        ) {
            let mut text = format!("{{{}}}", pairs.join(","));
            for (place, with) in changes {
                let place = place.index(text.len().max(1));
                if text.is_char_boundary(place) && text.is_char_boundary(place + 1) {
                    text.replace_range(place..=place, &with);
                }
            }
            let mut settings = Settings::default();
            settings.columns.device = device;
            prop_assert_eq!(calls(&text, &settings, record), calls(&text, &settings, unusual), "{}", text);
        }
    }

    #[test]
    fn only_the_named_actions_count_where_some_are_named() {
        let mut settings = Settings::default();
        settings.columns.opened_actions = vec!["true".to_owned()];
        for (action, is_opened) in [
            ("true", true),
            ("\"True\"", true),
            ("false", false),
            ("[true]", false),
            ("{\"a\":true}", false),
            ("null", true),
        ] {
            let text = format!(
                "{{\"time\":1930557662,\"device\":\"pc-17\",\"ip\":\"198.51.100.20\",\"action\":{action}}}"
            );
            let (Calls(told), _) = calls(&text, &settings, record);
            assert_eq!(told.len() == 1 && told[0].starts_with("Opened"), is_opened, "{action}: {told:?}");
        }
    }

    #[test]
    fn usual_records_are_known() {
        let columns = ColumnMap::default();
        for text in
            [r#"{"time":1930557662,"device":"pc-17","ip":"198.51.100.20"}"#, r#"{"x":"","ip":"","y":7}"#]
        {
            assert!(usual(text, &columns).is_some(), "{text}");
        }
        for text in [
            "",
            "{}",
            r#"{"x":1}"#,
            r#"{"ip":1} "#,
            r#"{ "ip":1}"#,
            r#"{"ip":1.5}"#,
            r#"{"ip":"\u0031"}"#,
            r#"{"ip":"1"},"#,
            r#"{"ip":"1""#,
            r#"{"ip":{}}"#,
            r#"["ip":1}"#,
        ] {
            assert!(usual(text, &columns).is_none(), "{text}");
        }
    }
}
