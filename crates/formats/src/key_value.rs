//! Pairs of a key and a value in a line of text: `key="value"`, and the extensions of CEF and LEEF with the headers before them.
//! Refuses to hold: what any key means, and values with their escapes resolved: those that are read here hold none.
//!
//! ```text
//! date=2031-03-04 srcip=10.1.2.3 srcname="pc 17" dstip=198.51.100.20
//! CEF:0|vendor|product|1.0|class|name|3|src=10.1.2.3 msg=a b \= c dst=198.51.100.20
//! LEEF:2.0|vendor|product|1.0|id|x7C|src=10.1.2.3|dst=198.51.100.20
//! ```
//!
//! Source: ArcSight's CEF and IBM's LEEF guides, FortiOS log references.

use memchr::{memchr_iter, memchr3};

use crate::blocks::{first_of, split_once, unescaped};
use crate::text::trimmed;

/// The pairs of a text, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pairs<'a> {
    rest: &'a str,
    style: Style,
    is_unclosed: bool,
}

/// How pairs are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    /// By spaces or commas; values with such in them are quoted.
    Quoted,
    /// By a space; values may hold spaces, and `=` behind a backslash.
    Cef,
    /// By a character that no value holds.
    Separated(char),
    /// By a tab that a collector wrote as `#011`.
    EscapedTab,
}

impl<'a> Pairs<'a> {
    /// Of `key=value key="value"`.
    pub(crate) const fn quoted(text: &'a str) -> Pairs<'a> {
        Pairs { rest: text, style: Style::Quoted, is_unclosed: false }
    }

    /// Whether the quote of the last value was never closed.
    pub(crate) const fn is_unclosed(&self) -> bool {
        self.is_unclosed
    }

    fn next_quoted(&mut self) -> Option<(&'a str, &'a str)> {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        loop {
            let between = bytes.get(at..)?.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
            let start = at + between;
            let end = first_of(bytes, start, [b'=', b' ', b'\t', b',']);
            if bytes.get(end) != Some(&b'=') {
                // A word without a value.
                at = end;
                continue;
            }
            let key = self.rest.get(start..end)?;
            let (value, next) = if bytes.get(end + 1) == Some(&b'"') {
                let quote = unescaped(bytes, end + 2, b'"');
                self.is_unclosed = quote == bytes.len();
                (self.rest.get(end + 2..quote)?, quote + 1)
            } else {
                let stop = first_of(bytes, end + 1, [b' ', b'\t', b',']);
                (self.rest.get(end + 1..stop)?, stop)
            };
            self.rest = self.rest.get(next..).unwrap_or_default();
            return Some((key, value));
        }
    }

    fn next_cef(&mut self) -> Option<(&'a str, &'a str)> {
        let (key, text) = split_once(self.rest, b'=')?;
        let end = next_key(text).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        Some((trimmed(key), trimmed(value)))
    }

    fn next_separated(&mut self) -> Option<(&'a str, &'a str)> {
        while !self.rest.is_empty() {
            let split = match self.style {
                Style::Separated(separator) if separator.is_ascii() => split_once(self.rest, separator as u8),
                Style::Separated(separator) => self.rest.split_once(separator),
                _ => self.rest.split_once("#011"),
            };
            let (pair, rest) = split.unwrap_or((self.rest, ""));
            self.rest = rest;
            if let Some((key, value)) = split_once(pair, b'=') {
                return Some((trimmed(key), value));
            }
        }
        None
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        match self.style {
            Style::Quoted => self.next_quoted(),
            Style::Cef => self.next_cef(),
            Style::Separated(_) | Style::EscapedTab => self.next_separated(),
        }
    }
}

/// Where the key of the next pair begins in a text that begins with a value: the word before a `=` that is not escaped.
fn next_key(text: &str) -> Option<usize> {
    let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let bytes = text.as_bytes();
    let mut equals = first_of(bytes, 0, [b'=']);
    while let Some(before) = bytes.get(..equals)
        && equals < bytes.len()
    {
        let key = before.iter().rev().take_while(|byte| is_of_key(**byte)).count();
        let start = equals - key;
        let stands_alone = start > 0 && before.get(start - 1) == Some(&b' ');
        if key > 0 && stands_alone {
            return Some(start);
        }
        equals = first_of(bytes, equals + 1, [b'=']);
    }
    None
}

/// A record of CEF or LEEF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) vendor: &'a str,
    pub(crate) product: &'a str,
    /// The class of the event, LEEF's event id.
    pub(crate) class: &'a str,
    /// Its name; LEEF has none.
    pub(crate) name: Option<&'a str>,
    pub(crate) pairs: Pairs<'a>,
}

/// The record of CEF or LEEF that a message is, with whatever header before it.
pub(crate) fn event(message: &str) -> Option<Event<'_>> {
    // Further on, in a message of another kind, the word is part of a value.
    let header = memchr3(b'=', b'|', b',', message.as_bytes()).and_then(|end| message.get(..end))?;
    let behind = |word: &str| {
        let mut colons = memchr_iter(b':', header.as_bytes());
        let colon = colons.find(|colon| header.get(..*colon).is_some_and(|before| before.ends_with(word)))?;
        message.get(colon + 1..)
    };
    match behind("LEEF") {
        Some(text) => leef(text),
        None => cef(behind("CEF")?),
    }
}

fn cef(text: &str) -> Option<Event<'_>> {
    let mut rest = text.trim_start();
    let version = header_field(&mut rest)?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let (vendor, product) = (header_field(&mut rest)?, header_field(&mut rest)?);
    let _product_version = header_field(&mut rest)?;
    let (class, name) = (header_field(&mut rest)?, header_field(&mut rest)?);
    let _severity = header_field(&mut rest)?;
    Some(Event {
        vendor,
        product,
        class,
        name: Some(name),
        pairs: Pairs { rest, style: Style::Cef, is_unclosed: false },
    })
}

fn leef(text: &str) -> Option<Event<'_>> {
    let mut rest = text.trim_start();
    let version = header_field(&mut rest)?;
    let (vendor, product) = (header_field(&mut rest)?, header_field(&mut rest)?);
    let _product_version = header_field(&mut rest)?;
    let class = header_field(&mut rest)?;
    let told = if version.starts_with('2') { told_separator(&mut rest) } else { None };
    let style = match told {
        Some(separator) => Style::Separated(separator),
        None if rest.contains('\t') => Style::Separated('\t'),
        None if rest.contains("#011") => Style::EscapedTab,
        // The templates for version 1 of more than one vendor.
        None if rest.contains('|') => Style::Separated('|'),
        None => Style::Cef,
    };
    Some(Event { vendor, product, class, name: None, pairs: Pairs { rest, style, is_unclosed: false } })
}

/// The separator that LEEF 2 names behind its header: a character, or its code as `x7C` or `0x7C`. Tab is the default, whatever
/// became of it on its way.
fn told_separator(rest: &mut &str) -> Option<char> {
    let (told, behind) = rest.split_once('|')?;
    let mut letters = told.chars();
    let separator = match (letters.next(), letters.next()) {
        (Some(letter), None) => Some(letter),
        _ => {
            let code = told.trim_start_matches('0').strip_prefix(['x', 'X']);
            code.and_then(|code| u8::from_str_radix(code, 16).ok()).map(char::from)
        }
    };
    if separator.is_some() || !told.contains('=') {
        *rest = behind;
    }
    separator.filter(|separator| !separator.is_whitespace())
}

/// The header field at the start of a text, up to a bar that is not escaped.
fn header_field<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let bar = unescaped(rest.as_bytes(), 0, b'|');
    let field = rest.get(..bar)?;
    *rest = rest.get(bar + 1..)?;
    Some(trimmed(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same pairs, found letter by letter, and whether the last quote is unclosed.
    fn walked(text: &str) -> (Vec<(&str, &str)>, bool) {
        let is_between = |letter: char| matches!(letter, ' ' | '\t' | ',');
        let (mut pairs, mut is_unclosed, mut rest) = (Vec::new(), false, text.trim_start_matches(is_between));
        while !rest.is_empty() {
            let (key, behind) = rest.split_at(rest.find(|c| c == '=' || is_between(c)).unwrap_or(rest.len()));
            rest = behind;
            if let Some(value) = rest.strip_prefix("=\"") {
                let mut is_escaped = false;
                let end = value.find(|letter| {
                    let closes = letter == '"' && !is_escaped;
                    is_escaped = letter == '\\' && !is_escaped;
                    closes
                });
                is_unclosed = end.is_none();
                pairs.push((key, &value[..end.unwrap_or(value.len())]));
                rest = end.map_or("", |end| &value[end + 1..]);
            } else if let Some(value) = rest.strip_prefix('=') {
                let (value, behind) = value.split_at(value.find(is_between).unwrap_or(value.len()));
                pairs.push((key, value));
                rest = behind;
            }
            rest = rest.trim_start_matches(is_between);
        }
        (pairs, is_unclosed)
    }

    /// The same pairs of an extension of CEF.
    fn walked_extension(mut text: &str) -> Vec<(&str, &str)> {
        let mut pairs = Vec::new();
        while let Some((key, rest)) = text.split_once('=') {
            let starts = rest.match_indices(' ').map(|(space, _)| space + 1);
            let is_key = |start: &usize| {
                let of_key = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
                let behind = rest[*start..].trim_start_matches(of_key);
                behind.starts_with('=') && behind.len() < rest.len() - start
            };
            let end = starts.into_iter().find(is_key).unwrap_or(rest.len());
            pairs.push((key.trim(), rest[..end].trim()));
            text = &rest[end..];
        }
        pairs
    }

    proptest! {
        #[test]
        fn pairs_are_what_a_walk_finds(text in "([a-c]{1,9}|[=\"\\\\ ,\t]|é|[a-z]=\"[a =]{0,9}\" )* ?") {
            let mut pairs = Pairs::quoted(&text);
            let found: Vec<_> = pairs.by_ref().collect();
            prop_assert_eq!((found, pairs.is_unclosed()), walked(&text));
        }

        #[test]
        fn pairs_of_an_extension_are_what_a_walk_finds(text in "([a-cé_.]{1,9}|[=\\\\ ]| [a-z]{1,12}=)*") {
            let pairs = Pairs { rest: &text, style: Style::Cef, is_unclosed: false };
            prop_assert_eq!(pairs.collect::<Vec<_>>(), walked_extension(&text));
        }
    }

    fn quoted(text: &str) -> Vec<(&str, &str)> {
        Pairs::quoted(text).collect()
    }

    fn extension(message: &str) -> Vec<(&str, &str)> {
        event(message).expect("an event").pairs.collect()
    }

    #[test]
    fn quoted_pairs() {
        assert_eq!(quoted(r#"a=1 b="x y" c= d="" e"#), [("a", "1"), ("b", "x y"), ("c", ""), ("d", "")]);
        assert_eq!(quoted(r#"a=1,b="x, y",c=2"#), [("a", "1"), ("b", "x, y"), ("c", "2")]);
        assert_eq!(quoted(r#"a="x\" b=2 \\" c=3"#), [("a", r#"x\" b=2 \\"#), ("c", "3")]);
        assert_eq!(quoted(r#"word a="never closed b=2"#), [("a", "never closed b=2")]);
        assert_eq!(quoted(""), []);
        for (text, is_unclosed) in [("a=\"1\"", false), ("a=\"1", true), ("a=\"", true), ("a=1\"", false)] {
            let mut pairs = Pairs::quoted(text);
            pairs.by_ref().for_each(drop);
            assert_eq!(pairs.is_unclosed(), is_unclosed, "{text}");
        }
    }

    #[test]
    fn cef_pairs() {
        let message =
            r"fw-1 CEF: 0|a \| b|p|1|c|n|3|src=10.1.2.3 msg=x y\=1 /p?q=2 e= dst=192.0.2.1 cs1Label=A b ";
        assert_eq!(
            extension(message),
            [
                ("src", "10.1.2.3"),
                ("msg", r"x y\=1 /p?q=2"),
                ("e", ""),
                ("dst", "192.0.2.1"),
                ("cs1Label", "A b")
            ]
        );
        let event = event(message).expect("an event");
        assert_eq!((event.vendor, event.product, event.class, event.name), (r"a \| b", "p", "c", Some("n")));
    }

    #[test]
    fn leef_pairs() {
        let expected = [("src", "10.1.2.3"), ("usr", "a b=c"), ("dst", "192.0.2.1")];
        for message in [
            "LEEF:1.0|v|p|1|id|src=10.1.2.3\tusr=a b=c\tdst=192.0.2.1",
            "LEEF:1.0|v|p|1|id|src=10.1.2.3|usr=a b=c|dst=192.0.2.1",
            "LEEF:2.0|v|p|1|id|^|src=10.1.2.3^usr=a b=c^dst=192.0.2.1",
            "LEEF:2.0|v|p|1|id|x7C|src=10.1.2.3|usr=a b=c|dst=192.0.2.1",
            "LEEF:2.0|v|p|1|id|0x7c|src=10.1.2.3|usr=a b=c|dst=192.0.2.1",
            "LEEF:2.0|v|p|1|id|\t|src=10.1.2.3\tusr=a b=c\tdst=192.0.2.1",
            "LEEF:2.0|v|p|1|id||src=10.1.2.3#011usr=a b=c#011dst=192.0.2.1",
            "LEEF:2.0|v|p|1|id|src=10.1.2.3\tusr=a b=c\tdst=192.0.2.1",
            "LEEF:2.0|v|p|1|id|x09|src=10.1.2.3\tusr=a b=c\tdst=192.0.2.1",
        ] {
            assert_eq!(extension(message), expected, "{message}");
        }
    }

    #[test]
    fn no_events() {
        for text in
            ["", "CEF:", "CEF:0|a|b", "CEF:x|a|b|c|d|e|f|", "LEEF:1.0|a", "a=CEF:0|a|b|c|d|e|f|", "LEEF:"]
        {
            assert_eq!(event(text), None, "{text}");
        }
    }
}
