//! Rows and fields of CSV by RFC 4180: where a row ends (a quoted field may hold line ends) and what its fields are.
//! Refuses to hold: what any column means; and rows that never end, which the framer gives up on.
//!
//! `2031-03-04T10:01:02Z,"PC-17 ""old""",198.51.100.20` = three fields, the second `PC-17 "old"`.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::blocks::{each, first_of, nth};

/// The longest row that may run over several lines. Longer, its opening quote was a mistake; guessed, real fields
/// (command lines) stay below 64 KiB.
pub(crate) const QUOTED_BYTES_MAX: usize = 1 << 20;

/// Where the first row of some bytes ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RowEnd {
    /// At the line feed with this index.
    At(usize),
    /// Not within these bytes.
    Open,
    /// A quote was opened and not closed within [`QUOTED_BYTES_MAX`]; the first line ends at this index.
    Unclosed(usize),
}

/// Where the row that starts at the first byte ends.
pub(crate) fn row_end(bytes: &[u8], separator: u8) -> RowEnd {
    let Some(line_end) = memchr(b'\n', bytes) else { return RowEnd::Open };
    let line = bytes.get(..line_end).unwrap_or_default();
    if memchr(b'"', line).is_none() {
        return RowEnd::At(line_end);
    }
    let within = bytes.get(..QUOTED_BYTES_MAX).unwrap_or(bytes);
    match quoted_row_end(within, separator) {
        Some(end) => RowEnd::At(end),
        None if within.len() >= QUOTED_BYTES_MAX => RowEnd::Unclosed(line_end),
        None => RowEnd::Open,
    }
}

/// The slow way: field by field, because a quote only opens a field at its start.
fn quoted_row_end(bytes: &[u8], separator: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            at = closing_quote(bytes, at + 1)? + 1;
        }
        let stop = at + memchr2(separator, b'\n', bytes.get(at..)?)?;
        if bytes.get(stop) == Some(&b'\n') {
            return Some(stop);
        }
        at = stop + 1;
    }
}

/// The quote that closes a field whose text starts at `at`; a doubled quote does not.
fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let quote = at + memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        at = quote + 2;
    }
}

/// One field of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Field<'a> {
    text: &'a str,
    /// Whether quotes are doubled in it.
    doubled: bool,
}

impl<'a> Field<'a> {
    /// The field as meant.
    pub(crate) fn resolved(self) -> Cow<'a, str> {
        if self.doubled { Cow::Owned(self.text.replace("\"\"", "\"")) } else { Cow::Borrowed(self.text) }
    }

    /// The field as written, for values that hold no quotes.
    pub(crate) const fn plain(self) -> &'a str {
        self.text
    }
}

/// Splits a row into its fields.
pub(crate) fn split<'a>(row: &'a str, separator: u8, fields: &mut Vec<Field<'a>>) {
    fields.clear();
    let bytes = row.as_bytes();
    let mut at = 0;
    if memchr(b'"', bytes).is_none() {
        // As nearly every row: one pass finds all separators.
        let mut add =
            |text: Option<&'a str>| fields.push(Field { text: text.unwrap_or_default(), doubled: false });
        each(bytes, separator, |end| {
            add(row.get(at..end));
            at = end + 1;
        });
        return add(row.get(at..));
    }
    loop {
        let (field, end) = field_at(row, at, separator);
        fields.push(field);
        if bytes.get(end) != Some(&separator) {
            return;
        }
        at = end + 1;
    }
}

/// Some fields of a row without quotes, by their places, which ascend; nothing for those behind its end. For long rows of which little
/// is wanted: the fields between are counted and not looked at.
pub(crate) fn pick<const N: usize>(row: &str, separator: u8, places: [usize; N]) -> [Option<&str>; N] {
    let bytes = row.as_bytes();
    let (mut place, mut start, mut end) = (0, 0, first_of(bytes, 0, [separator]));
    places.map(|wanted| {
        if wanted > place {
            start = nth(bytes, end, separator, wanted - place)? + 1;
            end = first_of(bytes, start, [separator]);
            place = wanted;
        }
        row.get(start..end)
    })
}

/// The field that starts at `at`, and where its separator or the end of the row is.
fn field_at(row: &str, at: usize, separator: u8) -> (Field<'_>, usize) {
    let bytes = row.as_bytes();
    let unquoted_from = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + memchr(separator, rest).unwrap_or(rest.len())
    };
    if bytes.get(at) == Some(&b'"')
        && let Some(quote) = closing_quote(bytes, at + 1)
    {
        let end = unquoted_from(quote + 1);
        // Text after the closing quote is no CSV; the field is then taken as it lies there.
        let text = if end == quote + 1 { row.get(at + 1..quote) } else { row.get(at..end) };
        let text = text.unwrap_or_default();
        return (Field { text, doubled: text.contains("\"\"") }, end);
    }
    let end = unquoted_from(at);
    (Field { text: row.get(at..end).unwrap_or_default(), doubled: false }, end)
}

/// The separator of a header row: the one of comma, semicolon and tab that it has most of, unless it has none.
pub(crate) fn separator(header: &str) -> Option<u8> {
    let count = |separator: u8| header.bytes().filter(|byte| *byte == separator).count();
    // The comma comes last so that it wins a tie.
    [b'\t', b';', b','].into_iter().max_by_key(|byte| count(*byte)).filter(|byte| count(*byte) > 0)
}

/// What a line says by which a spreadsheet is told the separator (`sep=;`).
pub(crate) fn separator_line(line: &str) -> Option<u8> {
    let line = line.trim_end_matches(['\r', '\n', ' ']);
    let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
    let (key, value) = line.split_at_checked(4)?;
    match value.as_bytes() {
        _ if !key.eq_ignore_ascii_case("sep=") => None,
        // White space at the end of the line may be gone.
        [] => Some(b'\t'),
        &[separator @ (b'\t' | b';' | b',' | b'|' | b':')] => Some(separator),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A field as logs have them: quotes, separators, line ends and other letters among the plain ones.
    const ANY_FIELD: &str = "[a-z\",;\r\n\t \\\\é]{0,8}";

    proptest! {
        /// The csv crate writes, this reads: the same rows, the same fields.
        #[test]
        fn what_is_written_is_read(rows in prop::collection::vec(prop::collection::vec(ANY_FIELD, 2..6), 1..6)) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("written");
            }
            let text = String::from_utf8(writer.into_inner().expect("written")).expect("text");
            let (mut read, mut rest) = (Vec::new(), text.as_str());
            while !rest.is_empty() {
                let RowEnd::At(end) = row_end(rest.as_bytes(), b',') else { panic!("no end: {rest:?}") };
                read.push(fields(&rest[..end]));
                rest = &rest[end + 1..];
            }
            prop_assert_eq!(read, rows);
        }
    }

    proptest! {
        /// Whatever the row, what is picked is what it is split into.
        #[test]
        fn picked_fields_are_those_of_the_split_row(row in "[a-c,é]{0,150}", mut places: [prop::sample::Index; 4]) {
            let mut fields = Vec::new();
            split(&row, b',', &mut fields);
            places.sort_by_key(|place| place.index(100));
            let places = places.map(|place| place.index(100));
            let known = places.map(|place| fields.get(place).map(|field| field.plain()));
            prop_assert_eq!(pick(&row, b',', places), known);
        }
    }

    fn fields(row: &str) -> Vec<String> {
        let mut fields = Vec::new();
        split(row, b',', &mut fields);
        fields.iter().map(|field| field.resolved().into_owned()).collect()
    }

    #[test]
    fn fields_of_a_row() {
        assert_eq!(fields("a,b,,c"), ["a", "b", "", "c"]);
        assert_eq!(fields(r#""a,b","c ""d""","""""#), ["a,b", "c \"d\"", "\""]);
        assert_eq!(fields("\"two\nlines\",x,"), ["two\nlines", "x", ""]);
        assert_eq!(fields(""), [""]);
        assert_eq!(fields(r#"a"b,"c"d,e"#), [r#"a"b"#, r#""c"d"#, "e"]);
    }

    #[test]
    fn ends_of_rows() {
        assert_eq!(row_end(b"a,b\nc", b','), RowEnd::At(3));
        assert_eq!(row_end(b"a,\"x\ny\"\nc", b','), RowEnd::At(7));
        assert_eq!(row_end(b"a,\"x\"\"\n\"\nc", b','), RowEnd::At(8));
        assert_eq!(row_end(b"a\"b,c\nd", b','), RowEnd::At(5), "a quote inside a field opens nothing");
        assert_eq!(row_end(b"a,b", b','), RowEnd::Open);
        assert_eq!(row_end(b"a,\"b\n", b','), RowEnd::Open);
        let mut never = b"a,\"b\n".to_vec();
        never.resize(QUOTED_BYTES_MAX + 10, b'x');
        assert_eq!(row_end(&never, b','), RowEnd::Unclosed(4));
    }

    #[test]
    fn separators() {
        assert_eq!(separator("time,device,ip"), Some(b','));
        assert_eq!(separator("time;device;ip"), Some(b';'));
        assert_eq!(separator("time\tdevice\tip"), Some(b'\t'));
        assert_eq!(separator("prose"), None);
        assert_eq!(separator_line("sep=;\r"), Some(b';'));
        assert_eq!(separator_line("\"SEP=,\""), Some(b','));
        assert_eq!(separator_line("sep=\t"), Some(b'\t'));
        for text in ["sep", "sep=ab", "separator;x", "time;device;ip", ""] {
            assert_eq!(separator_line(text), None, "{text}");
        }
    }
}
