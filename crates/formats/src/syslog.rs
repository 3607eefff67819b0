//! What syslog puts before a message: the headers of RFC 3164 and RFC 5424, as senders and collectors write them. Refuses to hold:
//! the messages, and the times and names in the headers, which are often the collector's.
//!
//! ```text
//! <189>Mar  4 10:01:02 fw-1 date=2031-03-04 ...
//! <14>1 2031-03-04T10:01:02.345Z fw-1.example.org app - - [origin ip="192.0.2.1"] 1,2031/03/04 10:01:02,...
//! 2031-03-04T10:01:02+01:00 fw-1 CEF:0|...
//! ```
//!
//! Any part may be missing, and a collector may have put its own header before the sender's. What cannot be a header stays: a
//! message begins at the first word with `=`, `,` or `|` in it.

use crate::blocks::split_once;
use crate::time::{iso, month};

/// The sender's header, and the one of a collector before it.
const HEADERS_MAX: usize = 2;

/// The message on a line, without headers.
pub fn message(line: &str) -> &str {
    let mut rest = line.trim_start();
    for _ in 0..HEADERS_MAX {
        match behind_header(rest) {
            Some(message) => rest = message,
            None => break,
        }
    }
    rest
}

/// What follows one header, if there is one.
fn behind_header(text: &str) -> Option<&str> {
    if is_none(text) { None } else { behind_known_header(text) }
}

/// The same of a text that looks as if it had one.
fn behind_known_header(text: &str) -> Option<&str> {
    let text = behind_count(text).unwrap_or(text);
    let prioritised = behind_priority(text);
    let body = prioritised.unwrap_or(text).trim_start();
    behind_version_1(body)
        .or_else(|| behind_time(body).map(behind_host))
        .or_else(|| prioritised.map(str::trim_start))
}

/// Whether the first bytes say that there is no header: one glance for the usual line. A header begins with a priority, a number,
/// or the three letters of a month.
fn is_none(text: &str) -> bool {
    match text.as_bytes() {
        [b'0'..=b'9', b',', ..] => true,
        // White space and marks are for a closer look.
        [b'<' | b'0'..=b'9' | ..=b' ' | 0x80.., ..] | [_, _, _, b' ', ..] => false,
        _ => true,
    }
}

/// Behind the length that precedes a message in a stream (RFC 6587).
fn behind_count(text: &str) -> Option<&str> {
    let (count, rest) = split_once(text, b' ')?;
    (is_number(count) && rest.starts_with('<')).then_some(rest)
}

/// Behind `<189>`.
fn behind_priority(text: &str) -> Option<&str> {
    let (priority, rest) = split_once(text.strip_prefix('<')?, b'>')?;
    (is_number(priority) && priority.len() <= 3).then_some(rest)
}

/// Behind a header of RFC 5424: version, time, host, application, process, message id, structured data.
fn behind_version_1(text: &str) -> Option<&str> {
    let (time, mut rest) = split_once(text.strip_prefix("1 ")?, b' ')?;
    if time != "-" && iso(time).is_none() {
        return None;
    }
    for _ in 0..4 {
        rest = split_once(rest, b' ')?.1;
    }
    let message = behind_structured_data(rest)?.trim_start();
    Some(message.strip_prefix('\u{feff}').unwrap_or(message))
}

/// Behind `-` or `[id name="value"][id ...]`.
fn behind_structured_data(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some(rest);
    }
    let mut rest = text;
    while rest.starts_with('[') {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = rest.bytes().position(|byte| {
            let is_end = byte == b']' && !is_quoted;
            is_quoted ^= byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })?;
        rest = rest.get(end + 1..)?;
    }
    (rest.len() < text.len()).then_some(rest)
}

/// Behind `2031-03-04T10:01:02Z`, `Mar  4 10:01:02` or `Mar 04 2031 10:01:02`.
fn behind_time(text: &str) -> Option<&str> {
    let (word, rest) = next_word(text);
    if word.as_bytes().get(10) == Some(&b'T') && iso(word).is_some() {
        return Some(rest);
    }
    month(word)?;
    let (day, rest) = next_word(rest);
    let (mut clock, mut rest) = next_word(rest);
    if clock.len() == 4 && is_number(clock) {
        (clock, rest) = next_word(rest);
    }
    (is_number(day) && is_clock(clock)).then_some(rest)
}

/// Behind a host and a tag (`logger:`, `app[7]:`), as far as there are any.
fn behind_host(text: &str) -> &str {
    let (host, rest) = next_word(text);
    if is_message_start(host) {
        return text;
    }
    let (tag, behind_tag) = next_word(rest);
    if tag.ends_with(':') && !is_message_start(tag) { behind_tag } else { rest }
}

/// Whether a message begins with this word.
fn is_message_start(word: &str) -> bool {
    word.bytes().any(|byte| matches!(byte, b'=' | b',' | b'|' | b'<'))
        || word.starts_with("CEF:")
        || word.starts_with("LEEF:")
}

fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = split_once(text, b' ').unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `10:01:02`, a fraction or a colon behind it.
fn is_clock(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_digit() || b":.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What the first bytes say is what a closer look finds.
        #[test]
        fn a_glance_finds_no_less(text in "([ \u{feff}]|<14>|1 |120 |Mar |dec  4 |10:01:02 |2031-03-04T10:01:02Z |[0-9,a-z<]){0,6}") {
            if is_none(&text) {
                prop_assert_eq!(behind_known_header(&text), None);
            }
        }
    }

    #[test]
    fn headers_go_and_messages_stay() {
        for header in [
            "",
            "<189>",
            "<189>Mar  4 10:01:02 fw-1 ",
            "<14>Mar 04 2031 10:01:02 192.0.2.1 logger: ",
            "Mar  4 10:01:02 fw-1 pan[7]: ",
            "Mar  4 10:01:02.345 fw-1 ",
            "<14>1 2031-03-04T10:01:02.345Z fw-1.example.org app - - - ",
            "<14>1 - - - - - [a x=\"]\\\"]\" y=\"2\"][b] \u{feff}",
            "1 2031-03-04T10:01:02Z fw-1 app 7 id - ",
            "2031-03-04T10:01:02.345678+01:00 fw-1 ",
            "120 <14>1 2031-03-04T10:01:02Z fw-1 app - - - ",
            "Mar 4 10:01:02 collector 120 <14>1 2031-03-04T10:01:02Z fw-1 app - x - ",
            "Mar 4 10:01:02 ",
        ] {
            for text in
                ["1,2031/03/04 10:01:02,0001", "date=2031-03-04 time=10:01:02", "CEF: 0|a|b", "LEEF:1.0|a"]
            {
                assert_eq!(message(&format!("{header}{text}")), text, "{header}");
            }
        }
        for text in
            ["", "<", "<189", "Mar", "1 2", "prose of some kind", "<x>y", "1 2031-03-04T10:01:02Z a b c d [e"]
        {
            assert_eq!(message(text), text);
        }
    }
}
