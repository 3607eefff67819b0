//! What fields of JSON records have in common in several formats: a value that may stand in an array of its own, names that may
//! be numbers, several fields of which the first that says something is the time, protocols by number. Refuses to hold: any
//! product's keys, and the scanning of JSON (`json`).

use std::borrow::Cow;

use sighting::Second;

use crate::json::{Scanner, Value};
use crate::record::{Fault, Refusal};
use crate::settings::Settings;
use crate::time::instant;

/// The scalar here; of an array its first element.
#[inline]
pub(crate) fn one<'a>(scanner: &mut Scanner<'a>) -> Result<Value<'a>, Refusal> {
    match scanner.value()? {
        Value::Array => scanner.first_scalar(),
        Value::Object => scanner.leave(Value::Object).map(|()| Value::Object),
        scalar => Ok(scalar),
    }
}

/// Puts the value here where it belongs, or passes it.
#[inline]
pub(crate) fn put<'a>(scanner: &mut Scanner<'a>, slot: Option<&mut Value<'a>>) -> Result<(), Fault> {
    match slot {
        Some(slot) => *slot = one(scanner)?,
        None => scanner.skip()?,
    }
    Ok(())
}

/// A remote address as written; what is neither text nor nothing reads as no address.
pub(crate) fn address(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Bool(_) | Value::Object | Value::Array => Some("?"),
        value => value.plain(),
    }
}

/// A name of the device; ids are written as numbers too.
pub(crate) fn name(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Number(number) => Some(Cow::Borrowed(number)),
        value => value.present(),
    }
}

/// The first of the fields that says something, as an instant: an epoch number, or ISO 8601.
pub(crate) fn first_time(fields: &[(Value<'_>, &'static str)], settings: &Settings) -> Result<Second, Fault> {
    let (value, field) = first(fields)?;
    instant(value.plain().ok_or(Fault::of(Refusal::BadTime, field))?, field, settings)
}

/// The first of the fields that says something; if none does, the time is missing from the first.
pub(crate) fn first<'a>(fields: &[(Value<'a>, &'static str)]) -> Result<(Value<'a>, &'static str), Fault> {
    let present = fields.iter().copied().find(|(value, _)| !value.is_absent());
    let field = fields.first().map(|(_, field)| *field);
    present.ok_or(Fault { refusal: Refusal::NoTime, field })
}

/// Whether a protocol is ICMP, of IPv4 or IPv6, by its number.
pub(crate) fn is_icmp(protocol: Value<'_>) -> bool {
    matches!(protocol.plain(), Some("1" | "58"))
}
