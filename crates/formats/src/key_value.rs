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

use memchr::memchr3;

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
        let is_between = |byte: u8| matches!(byte, b' ' | b'\t' | b',');
        loop {
            let (_, rest) = self.rest.split_at_checked(first(self.rest, |byte| !is_between(byte)))?;
            if rest.is_empty() {
                return None;
            }
            let (key, rest) = rest.split_at_checked(first(rest, |byte| byte == b'=' || is_between(byte)))?;
            let Some(rest) = rest.strip_prefix('=') else {
                // A word without a value.
                self.rest = rest;
                continue;
            };
            let (value, rest) = match rest.strip_prefix('"') {
                Some(text) => {
                    let end = closing_quote(text);
                    self.is_unclosed = end == text.len();
                    text.split_at_checked(end)?
                }
                None => rest.split_at_checked(first(rest, is_between))?,
            };
            self.rest = rest.strip_prefix('"').unwrap_or(rest);
            return Some((key, value));
        }
    }

    fn next_cef(&mut self) -> Option<(&'a str, &'a str)> {
        let (key, text) = self.rest.split_once('=')?;
        let end = next_key(text).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        Some((key.trim(), value.trim()))
    }

    fn next_separated(&mut self) -> Option<(&'a str, &'a str)> {
        while !self.rest.is_empty() {
            let split = match self.style {
                Style::Separated(separator) => self.rest.split_once(separator),
                _ => self.rest.split_once("#011"),
            };
            let (pair, rest) = split.unwrap_or((self.rest, ""));
            self.rest = rest;
            if let Some((key, value)) = pair.split_once('=') {
                return Some((key.trim(), value));
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

/// Where the first such byte is, or the end. Only ASCII is looked for, so that it is between two letters.
fn first(text: &str, is_it: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(is_it).unwrap_or(text.len())
}

/// Where the quote that closes a text is, or the end of it; one behind a backslash does not.
fn closing_quote(text: &str) -> usize {
    let mut is_escaped = false;
    let found = text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    });
    found.unwrap_or(text.len())
}

/// Where the key of the next pair begins in a text that begins with a value: the word before a `=` that is not escaped.
fn next_key(text: &str) -> Option<usize> {
    let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    for equals in memchr::memchr_iter(b'=', text.as_bytes()) {
        let before = text.get(..equals)?;
        let key = before.bytes().rev().take_while(|byte| is_of_key(*byte)).count();
        let start = equals - key;
        let stands_alone = before.get(..start).is_some_and(|before| before.ends_with(' '));
        if key > 0 && stands_alone {
            return Some(start);
        }
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
    let behind = |word: &str| message.get(header.find(word)? + word.len()..);
    match behind("LEEF:") {
        Some(text) => leef(text),
        None => cef(behind("CEF:")?),
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
    let mut is_escaped = false;
    let bar = rest.bytes().position(|byte| {
        let ends = byte == b'|' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    let (field, behind) = rest.split_at_checked(bar)?;
    *rest = behind.get(1..)?;
    Some(field.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

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
