//! Envelopes and tokens as whoever tries them with any bytes at all reaches them: a body in pieces in, documents out. Holds nothing that
//! the service runs, and is in no build of it (`cfg(fuzzing)`, and tests). Refuses to hold: HTTP, decompression, and what a document means.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use sighting::{OrganisationId, Source};

use super::body::{Envelope, Stop};
use super::elastic::Bulk;
use super::hec::Events;
use super::otlp::{Logs, Written};
use super::pusher::candidates;
use super::{Intake, SourceReport, TakeError, Taken, Taking, Upload};

/// What a body is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Elasticsearch's `_bulk`.
    Bulk,
    /// Events of Splunk's HEC.
    Hec,
    /// `ExportLogsServiceRequest` in protobuf.
    OtlpProtobuf,
    /// The same in JSON.
    OtlpJson,
}

/// What a body holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unwrapped {
    /// Its documents, each with the format that it is said to be in.
    pub documents: Vec<(Vec<u8>, Option<&'static str>)>,
    /// What is answered, where the envelope makes the answer; or why the body is none of this protocol.
    pub answer: Result<Vec<u8>, String>,
}

/// What a body that comes in these pieces holds.
pub fn unwrapped<'a>(protocol: Protocol, pieces: impl IntoIterator<Item = &'a [u8]>) -> Unwrapped {
    let mut given = Given::default();
    let pieces = pieces.into_iter();
    let answer = match protocol {
        Protocol::Bulk => {
            read(Bulk::new(Some("logs"), false), pieces, &mut given).map(|bulk| bulk.into_answer(0))
        }
        Protocol::Hec => read(Events::new(Arc::new(FewFormats)), pieces, &mut given).map(|_| Vec::new()),
        Protocol::OtlpProtobuf => {
            read(Logs::new(Written::Protobuf, true), pieces, &mut given).map(|_| Vec::new())
        }
        Protocol::OtlpJson => read(Logs::new(Written::Json, true), pieces, &mut given).map(|_| Vec::new()),
    };
    Unwrapped { documents: given.0, answer: answer.map_err(|stop| format!("{stop:?}")) }
}

/// The tokens that a value of `Authorization` may hold, the likeliest of several first but for an API key; nothing if it holds none.
pub fn tokens(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).ok()?);
    candidates(&headers).ok()
}

fn read<'a, E: Envelope>(
    mut envelope: E,
    pieces: impl Iterator<Item = &'a [u8]>,
    given: &mut Given,
) -> Result<E, Stop> {
    for piece in pieces {
        envelope.push(piece, given)?;
    }
    envelope.end(given)?;
    Ok(envelope)
}

/// Remembers the documents that it was given.
#[derive(Default)]
struct Given(Vec<(Vec<u8>, Option<&'static str>)>);

impl Taking for Given {
    fn take(&mut self, bytes: &[u8]) -> Result<(), TakeError> {
        self.document(bytes, None)
    }

    fn document(&mut self, bytes: &[u8], format: Option<&'static str>) -> Result<(), TakeError> {
        self.0.push((bytes.to_vec(), format));
        Ok(())
    }

    fn end(self: Box<Self>) -> Result<Taken, TakeError> {
        Ok(Taken::default())
    }
}

/// Knows two formats and takes nothing.
struct FewFormats;

impl Intake for FewFormats {
    fn format(&self, name: &str) -> Option<&'static str> {
        ["zeek-json", "suricata"].into_iter().find(|known| *known == name)
    }

    fn work(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn begin(&self, _: Upload) -> Box<dyn Taking> {
        Box::new(Given::default())
    }

    fn failed(&self, _: &Source, _: &str) {}

    fn reports(&self, _: OrganisationId) -> Vec<SourceReport> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers too: a shipper's body is cut by the network wherever it likes.
    #[test]
    fn a_body_of_events_is_the_same_wherever_it_is_cut() {
        let body = br#"{"time":1930557662.345,"event":{"a":1}}
            {"time":-1.5e+9,"event":"x","sourcetype":"suricata"}{"event":[true,null]}"#;
        let whole = unwrapped(Protocol::Hec, [&body[..]]);
        assert_eq!((whole.documents.len(), &whole.answer), (3, &Ok(Vec::new())));
        for cut in 0..body.len() {
            let (first, rest) = body.split_at(cut);
            assert_eq!(unwrapped(Protocol::Hec, [first, rest]), whole, "cut at {cut}");
        }
    }

    const BULK: &str =
        "{\"create\":{}}\r\n{\"a\":1}\n\n{\"delete\":{\"_id\":\"8\"}}\n{\"update\":{}}\n{\"doc\":{\"c\":3}}";
    const HEC: &str =
        "{\"event\":{\"a\":\n1},\"sourcetype\":\"bro:conn:json\"}{\"event\":\"\\u00e9\"} {\"event\":[1]}";
    const OTLP: &str =
        "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"stringValue\":\"a\"}},{}]}]}]}";

    #[test]
    fn bodies_hold_documents() {
        for (protocol, body, documents) in [
            (Protocol::Bulk, BULK, &["{\"a\":1}", "{\"c\":3}"][..]),
            (Protocol::Hec, HEC, &["{\"a\":1}", "\u{e9}", "[1]"]),
            (Protocol::OtlpJson, OTLP, &["a", "{}"]),
            (Protocol::OtlpProtobuf, "\n\x0b\x12\x09\x12\x07\x2a\x05\n\x03abc", &["abc"]),
        ] {
            let Unwrapped { documents: got, answer } = unwrapped(protocol, [body.as_bytes()]);
            let got: Vec<_> = got.iter().map(|(text, _)| String::from_utf8_lossy(text)).collect();
            assert_eq!(got, documents, "{protocol:?}");
            assert!(answer.is_ok(), "{answer:?}");
        }
        assert_eq!(unwrapped(Protocol::Hec, [HEC.as_bytes()]).documents[0].1, Some("zeek-json"));
        assert!(unwrapped(Protocol::Bulk, ["{}".as_bytes()]).answer.is_err());
    }

    #[test]
    fn headers_hold_tokens() {
        assert_eq!(tokens(b"Bearer abc"), Some(vec![b"abc".to_vec()]));
        assert_eq!(tokens(b"Bearer\n"), None);
        assert_eq!(tokens(b"abc"), None);
    }

    proptest! {
        #[test]
        fn where_a_body_is_cut_changes_nothing(
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            damaged_at in any::<prop::sample::Index>(),
            with in prop_oneof![Just(None), any::<u8>().prop_map(Some)],
        ) {
            for (protocol, body) in [(Protocol::Bulk, BULK), (Protocol::Hec, HEC), (Protocol::OtlpJson, OTLP)] {
                let mut body = body.as_bytes().to_vec();
                if let Some(with) = with {
                    let at = damaged_at.index(body.len());
                    body[at] = with;
                }
                let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
                places.extend([0, body.len()]);
                places.sort_unstable();
                let pieces = places.windows(2).map(|pair| &body[pair[0]..pair[1]]);
                prop_assert_eq!(unwrapped(protocol, [body.as_slice()]), unwrapped(protocol, pieces), "{:?}", protocol);
            }
        }
    }
}
