//! The keys of a JSON record, and the few of its values, by which its format is told: as names to ask for ([`Traits`]), and as an
//! [`Outline`] that records of one kind have in common, so that what was told of one is known of all. Refuses to hold: the order in
//! which formats are tried.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::document::WRAPPER_KEYS;
use crate::json::{Raw, Scanner, Value, with_plain_escapes};
use crate::record::Refusal;
use crate::wrapper::ENVELOPE_KEYS;

/// By what a JSON record is recognised.
#[derive(Default)]
pub(crate) struct Traits {
    /// Its keys, those of objects in it also as dotted paths; wrappers and envelopes are looked through. The first so many: a line may
    /// have millions, and they take more memory than the line.
    pub(crate) keys: BTreeSet<String>,
    /// What values say.
    said: Said,
    /// The key at hand, as a path.
    spare: String,
}

/// A longer key, or a longer way to one, tells no format.
const KEY_BYTES_MAX: usize = 256;
/// What has more keys, none of them twice, is a record of no format.
const KEYS_MAX: usize = 4_096;

/// Keys whose values name what wrote a Windows event.
const WRITER_KEYS: [&str; 11] = [
    "provider_name",
    "ProviderName",
    "source_name",
    "SourceName",
    "Provider",
    "provider",
    "Name",
    "Channel",
    "channel",
    "log_name",
    "module",
];

/// Whether a key may be one of those, by its end. Nearly none is, and comparing it with each would be most of a walk.
const fn may_be_telling(name: &str) -> bool {
    let ends = name.as_bytes().last_chunk::<4>();
    matches!(ends, Some(b"name" | b"Name" | b"ider" | b"nnel" | b"dule" | b"gory"))
}

/// What a value says of its record, or all of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Said {
    /// A provider, a channel or the like names Sysmon.
    names_sysmon: bool,
    /// The category is a table of Defender's.
    names_hunting: bool,
    /// A wrapper's array has nothing in it.
    is_empty_wrapper: bool,
    /// Escapes hide what a value says.
    is_hidden: bool,
}

impl Said {
    fn by_text(name: &str, raw: Raw<'_>) -> Said {
        let is_category = name == "category";
        let is_writer = WRITER_KEYS.contains(&name.rsplit('.').next().unwrap_or(name));
        if !is_category && !is_writer {
            return Said::default();
        }
        Said {
            names_sysmon: is_writer && (raw.text == "sysmon" || raw.text.contains("Sysmon")),
            names_hunting: is_category && raw.text.starts_with("AdvancedHunting-"),
            is_empty_wrapper: false,
            is_hidden: raw.escaped && raw.text.contains("\\u"),
        }
    }

    fn add(&mut self, other: Said) {
        self.names_sysmon |= other.names_sysmon;
        self.names_hunting |= other.names_hunting;
        self.is_empty_wrapper |= other.is_empty_wrapper;
        self.is_hidden |= other.is_hidden;
    }

    const fn bits(self) -> u8 {
        self.names_sysmon as u8 | (self.names_hunting as u8) << 1 | (self.is_empty_wrapper as u8) << 2
    }
}

/// A key of a record.
struct Key<'a> {
    /// The names above it, each with a point behind it, but those that are looked through.
    path: &'a str,
    name: &'a str,
    /// How many names are above it.
    depth: u8,
    said: Said,
}

/// A walk over the keys of a record.
struct Walk<F> {
    visit: F,
    path: String,
    depth: u8,
}

impl<F: FnMut(&Key<'_>)> Walk<F> {
    fn value(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Refusal> {
        let value = scanner.value()?;
        self.inside(scanner, value)
    }

    /// What is in a container that was just entered.
    fn inside(&mut self, scanner: &mut Scanner<'_>, value: Value<'_>) -> Result<(), Refusal> {
        match value {
            Value::Object => {
                let mut key = scanner.first_key()?;
                while let Some(name) = key {
                    self.key(scanner, name)?;
                    key = scanner.next_key()?;
                }
            }
            Value::Array => {
                let more = scanner.first_element()?;
                self.elements(scanner, more)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn elements(&mut self, scanner: &mut Scanner<'_>, mut more: bool) -> Result<(), Refusal> {
        while more {
            self.value(scanner)?;
            more = scanner.next_element()?;
        }
        Ok(())
    }

    /// One key and what is below it.
    fn key(&mut self, scanner: &mut Scanner<'_>, name: &str) -> Result<(), Refusal> {
        // No format has keys of such length, and to repeat one for each key below it would take any memory.
        if name.len() > KEY_BYTES_MAX || self.path.len() > KEY_BYTES_MAX {
            return scanner.skip();
        }
        // Nearly every key: it is there, and what it says does not matter.
        if !may_be_telling(name) && !scanner.is_before_container() {
            self.seen(name, Said::default());
            return scanner.skip();
        }
        match scanner.value()? {
            Value::Text(raw) => self.seen(name, Said::by_text(name, raw)),
            Value::Object => {
                self.seen(name, Said::default());
                self.below(name, |walk| walk.inside(scanner, Value::Object))?;
            }
            Value::Array => {
                let more = scanner.first_element()?;
                let is_empty_wrapper = !more && self.path.is_empty() && WRAPPER_KEYS.contains(&name);
                self.seen(name, Said { is_empty_wrapper, ..Said::default() });
                self.below(name, |walk| walk.elements(scanner, more))?;
            }
            _ => self.seen(name, Said::default()),
        }
        Ok(())
    }

    fn seen(&mut self, name: &str, said: Said) {
        (self.visit)(&Key { path: &self.path, name, depth: self.depth, said });
    }

    fn below(
        &mut self,
        name: &str,
        walk: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let length = self.path.len();
        if !is_seen_through(name) {
            self.path.push_str(name);
            self.path.push('.');
        }
        self.depth = self.depth.saturating_add(1);
        walk(self)?;
        self.depth = self.depth.saturating_sub(1);
        self.path.truncate(length);
        Ok(())
    }
}

/// Whether a key says nothing of what is below it.
fn is_seen_through(name: &str) -> bool {
    WRAPPER_KEYS.contains(&name) || ENVELOPE_KEYS.contains(&name) || name == "Event"
}

/// Hands out every key of a text that is sound to its end. Whether one was written with escapes.
fn each_key(text: &str, visit: impl FnMut(&Key<'_>)) -> Result<bool, Refusal> {
    let mut scanner = Scanner::new(text);
    Walk { visit, path: String::new(), depth: 0 }.value(&mut scanner)?;
    scanner.end()?;
    Ok(scanner.has_escaped_keys())
}

impl Traits {
    /// Of a text that is sound to its end.
    pub(crate) fn of(text: &str) -> Result<Traits, Refusal> {
        let plain = if text.contains('\\') { with_plain_escapes(text) } else { None };
        let text = plain.map_or(Cow::Borrowed(text), Cow::Owned);
        let mut traits = Traits::default();
        each_key(&text, |key| traits.take(key))?;
        Ok(traits)
    }

    fn take(&mut self, key: &Key<'_>) {
        let Key { path, name, said, .. } = *key;
        // The properties of Defender's envelope are also what a bare record has.
        if path == "properties." {
            self.keep("", name);
        }
        self.keep(path, name);
        self.said.add(said);
    }

    /// Keeps a key that is new. One that is not, and what comes when there is no room, costs no memory.
    fn keep(&mut self, path: &str, name: &str) {
        if self.keys.len() >= KEYS_MAX {
            return;
        }
        self.spare.clear();
        self.spare.push_str(path);
        self.spare.push_str(name);
        if !self.keys.contains(self.spare.as_str()) {
            self.keys.insert(self.spare.clone());
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    fn has_some(&self, wanted: &[&str]) -> bool {
        wanted.iter().any(|key| self.has(key))
    }

    /// Whether it is an object whose array of records is empty.
    pub(crate) const fn are_of_empty_wrapper(&self) -> bool {
        self.said.is_empty_wrapper
    }

    pub(crate) fn are_mde(&self) -> bool {
        let has_properties = self.has_some(&["properties.Timestamp", "properties.DeviceId"]);
        let is_device_info = self.has("DeviceId") && self.has_some(&["MergedToDeviceId", "MachineGroup"]);
        is_device_info
            || self.has("ActionType") && self.has_some(&["DeviceId", "DeviceName", "RemoteIP"])
            || self.said.names_hunting
            || self.has("category") && has_properties
    }

    pub(crate) fn are_zeek(&self) -> bool {
        let is_lease = self.has("ts") && self.has("mac") && self.has_some(&["assigned_addr", "msg_types"]);
        is_lease
            || self.has_some(&["id.orig_h", "id_orig_h"])
            || self.has("ts") && self.has_some(&["_path", "@stream"])
    }

    /// An event's number alone says nothing: many logs have one.
    pub(crate) fn are_sysmon(&self) -> bool {
        let has_places = self.keys.iter().any(|key| {
            let first = key.split('.').next().unwrap_or(key);
            matches!(first, "event_data" | "EventData" | "winlog")
        });
        let has_number = self.has_some(&["EventID", "event_id", "EventId", "event.code", "System.EventID"]);
        let is_bare = self.has("UtcTime") && self.has_some(&["Initiated", "ProcessGuid", "RuleName"]);
        self.said.names_sysmon
            || has_places
            || is_bare
            || has_number && self.has_some(&["UtcTime", "Initiated"])
    }
}

/// All that [`Traits`] are made of, as bytes: records of one kind have the same. Cost: one pass over a record and no memory of its
/// own, a tenth of its traits.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Outline(Vec<u8>);

/// What takes more is an outline that nobody has twice.
const OUTLINE_BYTES_MAX: usize = 16 << 10;

impl Outline {
    /// Makes it the outline of a text; false where it cannot be told apart by it: unsound, with escapes, or with very many keys.
    pub(crate) fn become_that_of(&mut self, text: &str) -> bool {
        let bytes = &mut self.0;
        bytes.clear();
        let mut is_hidden = false;
        let take = |key: &Key<'_>| {
            is_hidden |= key.said.is_hidden;
            if bytes.len() <= OUTLINE_BYTES_MAX {
                bytes.extend_from_slice(key.name.as_bytes());
                // No name has a quote in it that is not escaped.
                bytes.extend_from_slice(&[b'"', key.depth, key.said.bits()]);
            }
        };
        let is_plain = each_key(text, take) == Ok(false);
        is_plain && !is_hidden && bytes.len() <= OUTLINE_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_once_and_up_to_a_bound() {
        let object = |number: usize| format!("{{\"k{number}\":{{\"same\":1}},\"same\":1}}");
        let elements: Vec<String> = (0..50_000).map(object).collect();
        let text = format!("[{}]", elements.join(","));
        let traits = Traits::of(&text).expect("sound");
        assert!(traits.has("k1.same") && traits.keys.len() <= 4_096, "{} keys", traits.keys.len());
        let same = format!("[{}]", vec![object(7); 1_000].join(","));
        assert_eq!(Traits::of(&same).expect("sound").keys.len(), 3);
        assert!(!Outline::default().become_that_of(&text));
    }

    #[test]
    fn telling_keys_are_told_by_their_ends() {
        for name in WRITER_KEYS.into_iter().chain(["category", "winlog.provider_name"]) {
            assert!(may_be_telling(name), "{name}");
        }
        assert!(!may_be_telling("RemoteIP") && !may_be_telling("id"));
    }

    #[test]
    fn outlines_tell_records_apart() {
        let of = |text: &str| {
            let mut outline = Outline::default();
            outline.become_that_of(text).then_some(outline)
        };
        let check = |same: bool, one: &str, other: &str| {
            let (one, other) = (of(one), of(other));
            assert!(one.is_some() && other.is_some());
            assert_eq!(one == other, same);
        };
        check(true, r#"{"a":1,"b":{"c":"x"}}"#, r#"{"a":"C:\\y","b":{"c":[1,2]}}"#);
        check(false, r#"{"a":1,"b":{"c":2}}"#, r#"{"a":1,"b":2,"c":3}"#);
        check(false, r#"{"a":1,"b":2}"#, r#"{"b":1,"a":2}"#);
        check(false, r#"{"category":"AdvancedHunting-X"}"#, r#"{"category":"x"}"#);
        check(false, r#"{"Channel":"Microsoft-Windows-Sysmon"}"#, r#"{"Channel":"x"}"#);
        check(false, r#"{"records":[]}"#, r#"{"records":[1]}"#);
        assert_eq!(of(r#"{"a\u0062":1}"#), None);
        assert_eq!(of(r#"{"Channel":"S\u0079smon"}"#), None);
        assert_eq!(of(r#"{"a":1"#), None);
        assert_eq!(of(r#"{"a":1} x"#), None);
    }
}
