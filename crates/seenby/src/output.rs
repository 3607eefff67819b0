//! How results reach a person or a program: tables, JSON lines, escaped names, colours only on a terminal.
//! Refuses to hold: logs (tracing writes those to stderr) and any decision about what is shown.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::Failure;

/// Standard output, with every failure to write it reported instead of panicking.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: io::Stdout,
}

impl Output {
    /// The program's standard output.
    pub(crate) fn new() -> Output {
        Output { stdout: io::stdout() }
    }

    /// Writes one line. Whatever came from data has been escaped by the caller; what was forgotten is made harmless.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        let mut lock = self.stdout.lock();
        lock.write_all(harmless(line.as_ref(), |c| format!("\\u{{{:x}}}", u32::from(c))).as_bytes())?;
        lock.write_all(b"\n")?;
        lock.flush()?;
        Ok(())
    }

    /// Writes a value as one line of JSON; strings in it are written raw, with what is dangerous on a terminal
    /// as `\u` escapes, which every parser reads back as the same text.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(value).map_err(anyhow::Error::from)?;
        self.line(harmless_json(&json))
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        for line in table.to_string().lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// Asks a person to confirm on the terminal. `None` when there is nobody to ask.
pub(crate) fn confirmed(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).ok()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A table without borders, its heading in capitals.
pub(crate) fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.iter().map(|text| text.to_uppercase()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Right-aligns a column of numbers.
pub(crate) fn align_right(table: &mut Table, index: usize) {
    if let Some(column) = table.column_mut(index) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 device`, `12 devices`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// Tells the person at the terminal what went wrong. Names in it have been escaped where it was written.
pub(crate) fn complain(message: &str) {
    for (index, line) in message.lines().enumerate() {
        let lead = if index == 0 { "seenby: " } else { "        " };
        note(&format!("{lead}{line}"));
    }
}

/// Tells the person at the terminal something that is no result. Nobody reading it is no reason to stop.
pub(crate) fn note(line: &str) {
    let line = harmless(line, |c| format!("\\u{{{:x}}}", u32::from(c)));
    let _ = writeln!(io::stderr(), "{line}");
}

/// JSON text whose invisible, control and bidirectional characters are `\u` escapes. Outside strings JSON has none
/// of them, so this changes no value.
fn harmless_json(json: &str) -> Cow<'_, str> {
    harmless(json, |c| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    })
}

/// Text without dangerous characters. A backslash stays: here it is JSON's own, or that of an escape already made.
fn harmless(text: &str, replacement: impl Fn(char) -> String) -> Cow<'_, str> {
    if matches!(sighting::escape(text), Cow::Borrowed(_)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let dangerous = c != '\\' && !c.is_ascii_graphic() && {
            let mut bytes = [0; 4];
            matches!(sighting::escape(c.encode_utf8(&mut bytes)), Cow::Owned(_))
        };
        if dangerous {
            safe.push_str(&replacement(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "device"), "1 device");
        assert_eq!(counted(2_000, "device"), "2,000 devices");
    }

    #[test]
    fn json_is_safe_on_a_terminal_and_says_the_same() {
        let hostile = "\u{1b}]0;x\u{7}\n\\|=CEF:0\u{202e}\u{e0041}\u{7f}\"";
        let json = serde_json::to_string(&hostile).expect("a string");
        let safe = harmless_json(&json);
        assert!(!safe.chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{e0041}'), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).expect("still JSON"), hostile);
    }
}
