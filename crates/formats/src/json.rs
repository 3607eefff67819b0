//! A forward scanner over JSON text that hands out scalars as they lie in the text and skips what nobody asked for,
//! yet checks all of it: strings, escapes, numbers, commas, nesting. Refuses to hold: a tree, numbers as numbers, any
//! key's meaning. Keys and most values are compared as written; [`with_plain_escapes`] writes a text so that they can be.
//!
//! `{"RemoteIP":"198.51.100.20","Ports":[443],"Url":null}` = keys, then [`Value`]s; RFC 8259 is the grammar.

use std::borrow::Cow;

use memchr::memchr;

use crate::blocks::{lowest, lowest_below, split_once};
use crate::record::{Fault, Refusal};

/// The deepest nesting that is read. Real records need 6; the recursion of [`Scanner::skip`] is bounded by it.
const DEPTH_MAX: u32 = 64;

/// What stands at a place in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Value<'a> {
    /// Nothing: the key did not occur.
    #[default]
    Missing,
    Null,
    Bool(bool),
    /// A number as written.
    Number(&'a str),
    Text(Raw<'a>),
    /// The scanner stands after the opening brace.
    Object,
    /// The scanner stands after the opening bracket.
    Array,
}

impl<'a> Value<'a> {
    /// The text of a string, with its escapes resolved; `None` for everything else and for null markers.
    pub(crate) fn present(self) -> Option<Cow<'a, str>> {
        match self {
            Value::Text(raw) if !crate::text::is_null(raw.text) => Some(raw.resolved()),
            _ => None,
        }
    }

    /// Whether it is a string with a backslash in it.
    #[inline]
    pub(crate) const fn is_escaped(&self) -> bool {
        matches!(self, Value::Text(Raw { escaped: true, .. }))
    }

    /// The text of a string or a number as written, without null markers: for fields whose sound values hold no
    /// escapes (times, addresses, numbers, words).
    pub(crate) fn plain(self) -> Option<&'a str> {
        match self {
            Value::Text(Raw { text, .. }) | Value::Number(text) => crate::text::present(text),
            _ => None,
        }
    }

    /// A whole number. Writers whose numbers all have a point write 2 as 2.0.
    pub(crate) fn whole(self) -> Option<u64> {
        let written = self.plain()?;
        let digits = match split_once(written, b'.') {
            Some((digits, behind)) if !behind.is_empty() && behind.bytes().all(|byte| byte == b'0') => digits,
            _ => written,
        };
        digits.parse().ok()
    }

    /// Whether the key is missing or says "nothing here".
    pub(crate) fn is_absent(self) -> bool {
        match self {
            Value::Missing | Value::Null => true,
            Value::Text(raw) => crate::text::present(raw.text).is_none(),
            _ => false,
        }
    }

    /// A truth: a JSON one, or one of the words and letters that stand for it.
    pub(crate) fn truth(self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(truth),
            Value::Text(Raw { text: "true" | "True" | "TRUE" | "T" | "1", .. }) | Value::Number("1") => {
                Some(true)
            }
            Value::Text(Raw { text: "false" | "False" | "FALSE" | "F" | "0", .. }) | Value::Number("0") => {
                Some(false)
            }
            _ => None,
        }
    }
}

/// A string as it lies between its quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) text: &'a str,
    /// Whether there is a backslash in it.
    pub(crate) escaped: bool,
}

impl<'a> Raw<'a> {
    /// With its escapes resolved. A lone surrogate becomes U+FFFD.
    pub(crate) fn resolved(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.text)) } else { Cow::Borrowed(self.text) }
    }
}

/// Resolves the escapes of a string that the scanner has checked.
#[cold]
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = split_once(rest, b'\\') {
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let (resolved, after) = unescape_utf16(chars.as_str());
                out.push(resolved);
                rest = after;
                continue;
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// The character after `\u`, and what follows it; a pair of surrogates is one character.
fn unescape_utf16(text: &str) -> (char, &str) {
    let Some((high, rest)) = hex4(text) else { return (char::REPLACEMENT_CHARACTER, text) };
    if let Some((low, after)) = rest.strip_prefix("\\u").and_then(hex4)
        && (0xd800..0xdc00).contains(&high)
        && (0xdc00..0xe000).contains(&low)
    {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), after);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let sound = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((u32::from_str_radix(digits, 16).ok().filter(|_| sound)?, rest))
}

/// The same JSON with every escape resolved that need not be one; `None` if there is none. For the rare text whose
/// keys, times or addresses are written with escapes.
#[cold]
pub(crate) fn with_plain_escapes(text: &str) -> Option<String> {
    // Nearly always there is none at all, and nothing is copied.
    memchr(b'\\', text.as_bytes())?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        let (resolved, follows) = match chars.next() {
            Some('u') => unescape_utf16(chars.as_str()),
            Some('/') => ('/', chars.as_str()),
            // A quote, a backslash or a control character has to stay escaped.
            _ => (char::REPLACEMENT_CHARACTER, ""),
        };
        let is_plain =
            !resolved.is_control() && !matches!(resolved, '"' | '\\' | char::REPLACEMENT_CHARACTER);
        if is_plain {
            out.push(resolved);
            rest = follows;
            continue;
        }
        // Both characters at once: the second may be a backslash too.
        let length = after.chars().next().map_or(0, char::len_utf8);
        let (kept, follows) = after.split_at_checked(length).unwrap_or((after, ""));
        out.push('\\');
        out.push_str(kept);
        rest = follows;
    }
    out.push_str(rest);
    (out.len() < text.len()).then_some(out)
}

/// Reads a text again, its escapes resolved, if it has any. Far from the usual record, which must not pay for it: the
/// reader comes as a pointer so that no reader calls itself.
#[cold]
#[inline(never)]
pub(crate) fn reread(
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<(), Fault>,
) -> Option<Result<(), Fault>> {
    with_plain_escapes(text).map(|plain| read(&plain))
}

/// Reads a text that is one object and nothing else. Whether a key in it was written with escapes: then, or if a value that is
/// compared as written was, it has to be [`reread`].
#[inline(always)]
pub(crate) fn object<'a>(
    text: &'a str,
    read: impl FnOnce(&mut Scanner<'a>) -> Result<(), Fault>,
) -> Result<bool, Fault> {
    let mut scanner = Scanner::new(text);
    if scanner.value()? != Value::Object {
        return Err(Refusal::BadJson.into());
    }
    read(&mut scanner)?;
    scanner.end()?;
    Ok(scanner.has_escaped_keys())
}

/// A place in a JSON text.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    escaped_keys: bool,
}

const MALFORMED: Refusal = Refusal::BadJson;

impl<'a> Scanner<'a> {
    /// At the start of a text.
    pub(crate) const fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0, depth: 0, escaped_keys: false }
    }

    /// The byte here; 0, which is never JSON, at the end.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that is not white space.
    #[inline(always)]
    fn token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            // One comparison for everything but white space, which compact JSON does not have.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Hands out every key of an object that was just entered; `take` passes its value.
    #[inline(always)]
    pub(crate) fn each_key(
        &mut self,
        mut take: impl FnMut(&mut Scanner<'a>, &'a str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut key = self.first_key()?;
        while let Some(name) = key {
            take(self, name)?;
            key = self.next_key()?;
        }
        Ok(())
    }

    /// How far it has come, in bytes.
    pub(crate) const fn place(&self) -> usize {
        self.at
    }

    /// What it has passed since a place.
    pub(crate) fn since(&self, place: usize) -> &'a str {
        self.text.get(place..self.at).unwrap_or_default()
    }

    /// Whether a key so far was written with escapes.
    #[inline]
    pub(crate) const fn has_escaped_keys(&self) -> bool {
        self.escaped_keys
    }

    /// The first value of an array that was just entered, and past its end.
    #[cold]
    pub(crate) fn first_scalar(&mut self) -> Result<Value<'a>, Refusal> {
        let (mut first, mut more) = (Value::Null, self.first_element()?);
        if more {
            first = self.scalar()?;
            more = self.next_element()?;
        }
        while more {
            self.skip()?;
            more = self.next_element()?;
        }
        Ok(first)
    }

    /// Nothing but white space may follow.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<(), Refusal> {
        self.token();
        if self.at >= self.text.len() { Ok(()) } else { Err(MALFORMED) }
    }

    /// The value here. A container is entered: go on with [`Scanner::first_key`] or [`Scanner::first_element`].
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Refusal> {
        match self.token() {
            b'"' => {
                self.at += 1;
                self.string().map(Value::Text)
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'{' => self.enter(Value::Object),
            b'[' => self.enter(Value::Array),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => Err(MALFORMED),
        }
    }

    /// The value here if it is a scalar; a container is skipped and reported as what it is.
    #[inline(always)]
    pub(crate) fn scalar(&mut self) -> Result<Value<'a>, Refusal> {
        let value = self.value()?;
        if matches!(value, Value::Object | Value::Array) {
            self.leave(value)?;
        }
        Ok(value)
    }

    /// Skips the value here. Most of a record is skipped, so this takes the shortest way past each kind of scalar.
    pub(crate) fn skip(&mut self) -> Result<(), Refusal> {
        match self.token() {
            b'"' => {
                self.at = string_end(self.text.as_bytes(), self.at + 1)?.0 + 1;
                Ok(())
            }
            b'-' | b'0'..=b'9' => self.pass_number(),
            b'n' => self.word("null", ()),
            _ => {
                let value = self.value()?;
                self.leave(value)
            }
        }
    }

    /// Whether the value here is an object or an array.
    #[inline(always)]
    pub(crate) fn is_before_container(&mut self) -> bool {
        matches!(self.token(), b'{' | b'[')
    }

    /// Skips the rest of a container that was just entered.
    pub(crate) fn leave(&mut self, entered: Value<'a>) -> Result<(), Refusal> {
        match entered {
            Value::Object => {
                let mut key = self.first_key()?;
                while key.is_some() {
                    self.skip()?;
                    key = self.next_key()?;
                }
            }
            Value::Array => {
                let mut more = self.first_element()?;
                while more {
                    self.skip()?;
                    more = self.next_element()?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The first key of an object that was just entered, the scanner before its value; `None` at its end.
    #[inline]
    pub(crate) fn first_key(&mut self) -> Result<Option<&'a str>, Refusal> {
        match self.token() {
            b'"' => self.key().map(Some),
            b'}' => self.exit().map(|()| None),
            _ => Err(MALFORMED),
        }
    }

    /// The next key of an object, after a value.
    #[inline(always)]
    pub(crate) fn next_key(&mut self) -> Result<Option<&'a str>, Refusal> {
        match self.token() {
            b',' => {
                self.at += 1;
                if self.token() == b'"' { self.key().map(Some) } else { Err(MALFORMED) }
            }
            b'}' => self.exit().map(|()| None),
            _ => Err(MALFORMED),
        }
    }

    /// Whether an array that was just entered has an element; the scanner is before it, or after the end.
    #[inline]
    pub(crate) fn first_element(&mut self) -> Result<bool, Refusal> {
        if self.token() == b']' { self.exit().map(|()| false) } else { Ok(true) }
    }

    /// Whether an array has another element, after one.
    #[inline]
    pub(crate) fn next_element(&mut self) -> Result<bool, Refusal> {
        match self.token() {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            b']' => self.exit().map(|()| false),
            _ => Err(MALFORMED),
        }
    }

    #[inline(always)]
    fn key(&mut self) -> Result<&'a str, Refusal> {
        let start = self.at + 1;
        let mut end = special(self.text.as_bytes(), start);
        if self.text.as_bytes().get(end) != Some(&b'"') {
            end = self.escaped_key_end(end)?;
        }
        self.at = end + 1;
        if self.token() != b':' {
            return Err(MALFORMED);
        }
        self.at += 1;
        // Both ends lie beside ASCII quotes, so this is always on a boundary.
        self.text.get(start..end).ok_or(MALFORMED)
    }

    /// The end of a key that has a backslash at `at`, if it has an end.
    #[cold]
    #[inline(never)]
    fn escaped_key_end(&mut self, at: usize) -> Result<usize, Refusal> {
        self.escaped_keys = true;
        Ok(interrupted_string_end(self.text.as_bytes(), at)?.0)
    }

    #[inline]
    fn enter(&mut self, container: Value<'a>) -> Result<Value<'a>, Refusal> {
        self.depth += 1;
        self.at += 1;
        if self.depth > DEPTH_MAX { Err(Refusal::TooDeep) } else { Ok(container) }
    }

    #[inline]
    fn exit(&mut self) -> Result<(), Refusal> {
        self.depth = self.depth.saturating_sub(1);
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn word<T>(&mut self, word: &str, value: T) -> Result<T, Refusal> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(MALFORMED);
        }
        self.at += word.len();
        Ok(value)
    }

    /// The string whose opening quote was just passed.
    #[inline(always)]
    fn string(&mut self) -> Result<Raw<'a>, Refusal> {
        let start = self.at;
        let (end, escaped) = string_end(self.text.as_bytes(), start)?;
        self.at = end + 1;
        // Both ends lie beside ASCII quotes, so this is always on a boundary.
        let text = self.text.get(start..end).ok_or(MALFORMED)?;
        Ok(Raw { text, escaped })
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'a>, Refusal> {
        let start = self.at;
        self.pass_number()?;
        self.text.get(start..self.at).map(Value::Number).ok_or(MALFORMED)
    }

    #[inline]
    fn pass_number(&mut self) -> Result<(), Refusal> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        let leading_zero = self.peek() == b'0';
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            return Err(MALFORMED);
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Passes at least one digit; how many.
    #[inline]
    fn digits(&mut self) -> Result<usize, Refusal> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        let count = self.at - start;
        if count == 0 { Err(MALFORMED) } else { Ok(count) }
    }
}

/// The place of the closing quote of a string whose text starts at `at`, and whether there are escapes in it.
#[inline(always)]
fn string_end(bytes: &[u8], at: usize) -> Result<(usize, bool), Refusal> {
    let end = special(bytes, at);
    if bytes.get(end) == Some(&b'"') { Ok((end, false)) } else { interrupted_string_end(bytes, end) }
}

/// The rest of a string from its first byte that is not plain.
fn interrupted_string_end(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Refusal> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok((at, true)),
            Some(b'\\') => at = special(bytes, escape_end(bytes, at)?),
            // A control character, or the end of the text.
            _ => return Err(MALFORMED),
        }
    }
}

/// The place of the first byte from `at` on that ends or interrupts a string: a quote, a backslash, a control
/// character, or the end of the text. Eight bytes at a time: keys and values are short, wider blocks measured slower.
#[inline(always)]
pub(crate) fn special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let hits = hits(u64::from_le_bytes(*block));
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    special_in_tail(bytes, at)
}

/// The high bit of the lowest byte that is a quote, a backslash or a control character; bits above it mean nothing.
#[inline(always)]
const fn hits(block: u64) -> u64 {
    lowest(block, b'"') | lowest(block, b'\\') | lowest_below(block, b' ')
}

/// Less than a block before the end of the text.
fn special_in_tail(bytes: &[u8], at: usize) -> usize {
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ')).unwrap_or(tail.len())
}

/// The place after an escape that begins at `at`.
#[inline]
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, Refusal> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let digits = bytes.get(at + 2..at + 6).ok_or(MALFORMED)?;
            if digits.iter().all(u8::is_ascii_hexdigit) { Ok(at + 6) } else { Err(MALFORMED) }
        }
        _ => Err(MALFORMED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> Result<(), Refusal> {
        let mut scanner = Scanner::new(text);
        scanner.skip().and_then(|()| scanner.end())
    }

    #[test]
    fn what_is_json() {
        for text in [
            "{}",
            " [ ] ",
            r#"{"a":[1,-2.5e+3,0,0.1],"b":{"c":null},"d":"\u00e9\n\\","e":true}"#,
            "\"a string of more than sixteen bytes, with \\\" in it\"",
            "-0",
        ] {
            assert_eq!(accepts(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "[1,]",
            "[1 2]",
            "{\"a\":1]",
            "01",
            "1.",
            "-",
            "+1",
            "tru",
            "nul",
            "\"abc",
            "\"a\\x\"",
            "\"\\u12g4\"",
            "\"tab\there\"",
            "\"nul\0here, and it is long\"",
            "{}{}",
            "{'a':1}",
            "NaN",
        ] {
            assert_eq!(accepts(text), Err(Refusal::BadJson), "{text:?}");
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(accepts(&deep), Err(Refusal::TooDeep));
        let allowed = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert_eq!(accepts(&allowed), Ok(()));
    }

    #[test]
    fn escapes_are_resolved() {
        let resolve = |text: &str| match Scanner::new(text).value() {
            Ok(Value::Text(raw)) => raw.resolved().into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(resolve(r#""PC\\17\u002eexample""#), "PC\\17.example");
        assert_eq!(resolve(r#""\ud83d\ude00 \ud83d x \u001b""#), "\u{1f600} \u{fffd} x \u{1b}");
        assert_eq!(resolve(r#""a\/b\"\n\t\r\b\f""#), "a/b\"\n\t\r\u{8}\u{c}");
    }

    #[test]
    fn truths() {
        let truth = |text: &str| Scanner::new(text).value().ok().and_then(Value::truth);
        assert_eq!(truth("true"), Some(true));
        assert_eq!(truth("\"F\""), Some(false));
        assert_eq!(truth("\"-\""), None);
    }

    #[test]
    fn whole_numbers() {
        let whole = |text: &str| Scanner::new(text).value().ok().and_then(Value::whole);
        for text in ["2", "2.0", "\"2\"", "\"2.000\"", "\" 2 \""] {
            assert_eq!(whole(text), Some(2), "{text}");
        }
        for text in
            ["2.5", "2.01", "\"2.\"", "\".0\"", "-2", "2e0", "\"-\"", "true", "{}", "99999999999999999999"]
        {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,40}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::hash_map(".{0,12}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_json_text_is_accepted(value in any_json()) {
            prop_assert_eq!(accepts(&value.to_string()), Ok(()));
            prop_assert_eq!(accepts(&format!("{value:#}")), Ok(()));
        }

        #[test]
        fn agrees_with_serde_json_on_damaged_text(value in any_json(), at in any::<prop::sample::Index>(), with in "[\\x00-\\x7f]") {
            let mut text = value.to_string();
            let place = at.index(text.len());
            prop_assume!(text.is_char_boundary(place) && text.is_char_boundary(place + 1));
            text.replace_range(place..=place, &with);
            let known: Result<serde_json::Value, _> = serde_json::from_str(&text);
            // serde_json refuses lone surrogates and numbers past f64, which are no matter of grammar here.
            if known.is_ok() {
                prop_assert_eq!(accepts(&text), Ok(()), "{}", text);
            } else if accepts(&text).is_ok() {
                prop_assert!(text.contains("\\u") || text.contains(['e', 'E']) , "{}", text);
            }
        }

        #[test]
        fn strings_survive(text in ".{0,80}") {
            let written = serde_json::Value::from(text.clone()).to_string();
            match Scanner::new(&written).value() {
                Ok(Value::Text(raw)) => prop_assert_eq!(raw.resolved(), text),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
