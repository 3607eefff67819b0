//! Records inside one line: an array, a wrapper object (`{"records":[..]}`), or an envelope that holds one record
//! (`body`, `_source`). Looked at only when a line is no record itself, so that the usual line costs nothing. Refuses
//! to hold: what a record means, and wrappers inside wrappers, which nobody writes.

use crate::document::{Document, Found, WRAPPER_KEYS};
use crate::json::{Scanner, Value};
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};

/// Keys of an object that holds one record: Splunk's add-on, and exports of Elasticsearch.
pub(crate) const ENVELOPE_KEYS: [&str; 2] = ["body", "_source"];

/// Takes a line that was refused as a record for what is inside it, if it is a wrapper or an envelope.
#[cold]
#[inline(never)]
pub(crate) fn look_inside<S: Sink>(
    text: &str,
    fault: Fault,
    line: u64,
    sink: &mut S,
    read: &dyn Fn(&str, &mut S) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let may_be_one = matches!(
        fault.refusal,
        Refusal::BadJson | Refusal::MissingField | Refusal::NoDevice | Refusal::NoTime
    );
    if !may_be_one {
        return Err(fault);
    }
    if is_wrapper(text) {
        return each(Document::new, text, line, sink, &mut |text, sink| {
            read(text, sink).or_else(|fault| in_envelope(text, fault, sink, read))
        });
    }
    in_envelope(text, fault, sink, read)
}

/// Reads every record of a document on one line. An error, if the document ends within one (the line was cut), or if
/// it is damaged and no record in it is left.
pub(crate) fn each<S: Sink>(
    start: impl Fn() -> Document,
    text: &str,
    line: u64,
    sink: &mut S,
    read: &mut dyn FnMut(&str, &mut S) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if !is_sound(text) && !has_records(start(), text) {
        return Err(Refusal::BadJson.into());
    }
    let (mut document, mut is_cut) = (start(), false);
    let mut found = |found: Found<'_>| match found {
        Found::Element(b"", _) => sink.ignored(&Passed::by_nobody(Ignored::Blank, line)),
        Found::Element(element, _) => {
            let text = str::from_utf8(element).map_err(|_| Fault::from(Refusal::InvalidUtf8));
            if let Err(fault) = text.and_then(|text| read(text, sink)) {
                sink.refused(fault.refusal, line, fault.field);
            }
        }
        Found::Damaged(Refusal::Truncated, _) => is_cut = true,
        Found::Damaged(refusal, _) => sink.refused(refusal, line, None),
    };
    document.push(text.as_bytes(), &mut found);
    document.finish(&mut found);
    if is_cut { Err(Refusal::BadJson.into()) } else { Ok(()) }
}

fn is_sound(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.skip().and_then(|()| scanner.end()).is_ok()
}

fn has_records(mut document: Document, text: &str) -> bool {
    let mut has_some = false;
    document.push(text.as_bytes(), &mut |found| {
        if let Found::Element(element, _) = found {
            has_some |= element.starts_with(b"{") && str::from_utf8(element).is_ok_and(is_sound);
        }
    });
    has_some
}

/// The record in an envelope; what was wrong with the outer object stays wrong if the inner is none.
fn in_envelope<S: Sink>(
    text: &str,
    fault: Fault,
    sink: &mut S,
    read: &dyn Fn(&str, &mut S) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some(inner) = envelope(text) else { return Err(fault) };
    read(inner, sink).map_err(|_| fault)
}

/// Whether a text is an array or a wrapper, as far as it can be read.
fn is_wrapper(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    match scanner.value() {
        Ok(Value::Array) => true,
        Ok(Value::Object) => has_wrapper_key(&mut scanner).unwrap_or(false),
        _ => false,
    }
}

fn has_wrapper_key(scanner: &mut Scanner<'_>) -> Result<bool, Refusal> {
    let mut key = scanner.first_key()?;
    while let Some(name) = key {
        let value = scanner.value()?;
        if value == Value::Array && WRAPPER_KEYS.contains(&name) {
            return Ok(true);
        }
        scanner.leave(value)?;
        key = scanner.next_key()?;
    }
    Ok(false)
}

/// The object in an envelope that is sound JSON.
pub(crate) fn envelope(text: &str) -> Option<&str> {
    let mut scanner = Scanner::new(text);
    if scanner.value().ok()? != Value::Object {
        return None;
    }
    let mut inner = None;
    let mut key = scanner.first_key().ok()?;
    while let Some(name) = key {
        let start = scanner.place();
        scanner.skip().ok()?;
        let value = text.get(start..scanner.place())?.trim_ascii_start();
        if ENVELOPE_KEYS.contains(&name) && value.starts_with('{') {
            inner = Some(value);
        }
        key = scanner.next_key().ok()?;
    }
    scanner.end().ok().and(inner)
}
