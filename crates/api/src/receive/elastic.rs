//! Elasticsearch's `_bulk`, as Beats, Logstash, Vector, Fluent Bit, rsyslog and syslog-ng speak it, with what they ask before they
//! send. Refuses to hold: an index, a search, and what a document means.
//!
//! A body is pairs of lines, an action and its document. Every action is answered with one item, in order; a document that is
//! ignored or refused is answered as taken, since shippers drop or send for ever what is not, and is counted at its source.

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Path, RawQuery, Request};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{any, get, post};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sighting::{Directory, Store};
use tokio::time::Instant;

use super::Taking;
use super::body::{self, Received, Stop, receive};
use super::own::answered;
use super::pusher::{Pusher, Unwelcome};
use crate::query;
use crate::state::State;

/// Where bulk bodies are sent.
pub(super) const BULKS: [&str; 2] = ["/_bulk", "/{tenant}/_bulk"];

/// Without it, Elastic's own clients send nothing.
const PRODUCT: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-elastic-product"), HeaderValue::from_static("Elasticsearch"));

/// The version that we say we are: one that every shipper of today knows.
const VERSION: &str = "8.9.0";

/// The longest line of actions or documents, as everywhere.
const LINE_BYTES_MAX: usize = 16 << 20;
/// The longest answer: each action has an item in it.
const ITEMS_BYTES_MAX: usize = 32 << 20;
/// The largest body, as it is decompressed: Elasticsearch's own bound.
const BULK_BYTES_MAX: u64 = 100 << 20;

pub(super) fn routes<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    let set_up = || any(done::<S, D>);
    Router::new()
        .route("/", get(about::<S, D>))
        .route("/_license", get(license::<S, D>))
        .route("/_xpack", get(license::<S, D>))
        .route("/_cluster/health", get(health::<S, D>))
        .route(BULKS[0], post(bulk::<S, D>).put(bulk::<S, D>))
        .route(BULKS[1], post(bulk_of_index::<S, D>).put(bulk_of_index::<S, D>))
        .route("/_template/{*name}", set_up())
        .route("/_index_template/{*name}", set_up())
        .route("/_component_template/{*name}", set_up())
        .route("/_ilm/policy/{*name}", set_up())
        .route("/_data_stream/{*name}", set_up())
        .route("/_ingest/pipeline/{*name}", set_up())
        .route("/_ingest/pipeline", set_up())
        .route("/_nodes", set_up())
        .route("/_nodes/{*name}", set_up())
        .route("/_logstash/pipeline/{*name}", set_up())
        // Logstash asks for its alias, and makes it where it is not there.
        .route("/logstash", set_up())
        .route("/ecs-logstash", set_up())
}

async fn about<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    request: Request,
) -> Response {
    let about = json!({
        "name": "seenby",
        "cluster_name": "seenby",
        "cluster_uuid": "c2VlbmJ5c2VlbmJ5c2VlYg",
        "version": {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "docker",
            "build_hash": "0000000000000000000000000000000000000000",
            "build_date": "2023-07-19T14:43:58.555259655Z",
            "build_snapshot": false,
            "lucene_version": "9.7.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    });
    constant(&state, request, &about).await
}

async fn license<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    request: Request,
) -> Response {
    let license = json!({ "license": {
        "status": "active",
        "uid": "00000000-0000-4000-8000-000000000000",
        "type": "basic",
        "issue_date": "2023-01-01T00:00:00.000Z",
        "issue_date_in_millis": 1_672_531_200_000_u64,
        "max_nodes": 1000,
        "issued_to": "seenby",
        "issuer": "elasticsearch",
        "start_date_in_millis": -1,
    } });
    constant(&state, request, &license).await
}

async fn health<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    request: Request,
) -> Response {
    let health = json!({
        "cluster_name": "seenby",
        "status": "green",
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": 0,
        "active_shards": 0,
    });
    constant(&state, request, &health).await
}

/// Templates, policies and pipelines: there is nothing to set up, and nothing to fail.
async fn done<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    request: Request,
) -> Response {
    constant(&state, request, &json!({ "acknowledged": true })).await
}

/// An answer that is always the same, to a source.
async fn constant<S: Store, D: Directory>(
    state: &State<S, D>,
    request: Request,
    answer: &serde_json::Value,
) -> Response {
    let (parts, _) = request.into_parts();
    match Pusher::of(&parts, state).await {
        Ok(_) => product(answered(StatusCode::OK, answer.to_string().into_bytes(), None)),
        Err(refused) => unwelcome(&refused),
    }
}

async fn bulk<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    take(&state, None, query.as_deref().unwrap_or_default(), request).await
}

async fn bulk_of_index<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    Path(index): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    take(&state, Some(&index), query.as_deref().unwrap_or_default(), request).await
}

async fn take<S: Store, D: Directory>(
    state: &State<S, D>,
    index: Option<&str>,
    query: &str,
    request: Request,
) -> Response {
    let begun_at = Instant::now();
    let (parts, body) = request.into_parts();
    let pusher = match Pusher::of(&parts, state).await {
        Ok(pusher) => pusher,
        Err(refused) => {
            body::discard(body).await;
            return unwelcome(&refused);
        }
    };
    let envelope = Bulk::new(index, is_terse(query));
    let headers = &parts.headers;
    match receive(state.shared(), &pusher, None, headers, body, envelope, BULK_BYTES_MAX).await {
        Ok(Received { envelope, .. }) => {
            let took = begun_at.elapsed().as_millis();
            product(answered(StatusCode::OK, envelope.into_answer(took), None))
        }
        Err(stop) => stopped(&stop),
    }
}

/// Whether the caller asked for the states of items alone (Logstash, Elastic's own clients).
fn is_terse(query: &str) -> bool {
    query::value(query, "filter_path").is_some_and(|paths| !paths.split(',').any(|path| path == "took"))
}

fn product(mut response: Response) -> Response {
    let (name, value) = PRODUCT;
    response.headers_mut().insert(name, value);
    response
}

/// An error in Elasticsearch's words.
fn error(status: StatusCode, kind: &str, reason: &str, retry_after_s: Option<u64>) -> Response {
    let cause = json!({ "type": kind, "reason": reason });
    let body = json!({
        "error": { "root_cause": [cause], "type": kind, "reason": reason },
        "status": status.as_u16(),
    });
    product(answered(status, body.to_string().into_bytes(), retry_after_s))
}

fn unwelcome(refused: &Unwelcome) -> Response {
    let message = refused.message();
    match refused {
        Unwelcome::NotNow(_) => {
            let retry_after_s = Some(body::RETRY_AFTER_S);
            error(StatusCode::SERVICE_UNAVAILABLE, "cluster_block_exception", message, retry_after_s)
        }
        Unwelcome::Elsewhere => error(StatusCode::FORBIDDEN, "security_exception", message, None),
        Unwelcome::Missing | Unwelcome::Malformed | Unwelcome::Unknown => {
            let mut response = error(StatusCode::UNAUTHORIZED, "security_exception", message, None);
            let realm = HeaderValue::from_static("Basic realm=\"seenby\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
            response
        }
    }
}

fn stopped(stop: &Stop) -> Response {
    let (status, kind) = match stop {
        // What shippers wait for and send again.
        Stop::Busy => (StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception"),
        Stop::Malformed { .. } => (stop.status(), "illegal_argument_exception"),
        _ => (stop.status(), "seenby_exception"),
    };
    error(status, kind, &stop.message(), stop.retry_after_s())
}

/// What an action says.
#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow, rename = "_index")]
    index: Option<&'a RawValue>,
    #[serde(borrow, rename = "_id")]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action<'a> {
    #[serde(borrow)]
    index: Option<Target<'a>>,
    #[serde(borrow)]
    create: Option<Target<'a>>,
    #[serde(borrow)]
    update: Option<Target<'a>>,
    #[serde(borrow)]
    delete: Option<Target<'a>>,
}

/// A name as answers have it: a text, also where it was written as a whole number. What else is written there names nothing, and is not
/// repeated: not every number that JSON allows is one that its readers take.
fn named(written: &RawValue) -> Option<Cow<'_, str>> {
    let written = written.get();
    match written.as_bytes() {
        [b'"', ..] => Some(Cow::Borrowed(written)),
        digits if digits.iter().all(u8::is_ascii_digit) => Some(Cow::Owned(format!("\"{written}\""))),
        _ => None,
    }
}

/// The document of an update.
#[derive(Deserialize)]
struct Update<'a> {
    #[serde(borrow)]
    doc: Option<&'a RawValue>,
    #[serde(borrow)]
    upsert: Option<&'a RawValue>,
}

/// What comes after an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Follows {
    Action,
    Document,
    Update,
}

/// A bulk body on its way.
pub(super) struct Bulk {
    /// The index of the path, as JSON.
    index: Option<String>,
    /// Items say their state alone.
    is_terse: bool,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    lines: u64,
    follows: Follows,
    /// The items of the answer, joined by commas.
    items: Vec<u8>,
    /// The action before, what follows it and its item: shippers repeat them.
    last: (Vec<u8>, Follows, Vec<u8>),
}

impl Bulk {
    pub(super) fn new(index: Option<&str>, is_terse: bool) -> Bulk {
        Bulk {
            index: index.map(|index| json!(index).to_string()),
            is_terse,
            begun: Vec::new(),
            lines: 0,
            follows: Follows::Action,
            items: Vec::new(),
            last: (Vec::new(), Follows::Action, Vec::new()),
        }
    }

    fn line(&mut self, line: &[u8], taking: &mut dyn Taking) -> Result<(), Stop> {
        self.lines += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // rsyslog puts an empty line after each document.
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match self.follows {
            Follows::Action => return self.action(line),
            Follows::Document => give(line, taking)?,
            Follows::Update => self.update(line, taking)?,
        }
        self.follows = Follows::Action;
        Ok(())
    }

    fn action(&mut self, line: &[u8]) -> Result<(), Stop> {
        if self.last.0 != line {
            let (follows, item) = self.read_action(line)?;
            self.last = (line.to_vec(), follows, item);
        }
        if self.items.len() > ITEMS_BYTES_MAX {
            return Err(Stop::TooLarge { bytes_max: BULK_BYTES_MAX });
        }
        if !self.items.is_empty() {
            self.items.push(b',');
        }
        self.items.extend_from_slice(&self.last.2);
        self.follows = self.last.1;
        Ok(())
    }

    fn read_action(&self, line: &[u8]) -> Result<(Follows, Vec<u8>), Stop> {
        let bad = || {
            self.malformed(
                "expected an action such as {\"create\":{\"_index\":\"…\"}} and found something else",
            )
        };
        let action: Action<'_> = serde_json::from_slice(line).map_err(|_| bad())?;
        let (word, status, follows, target) = match action {
            Action { create: Some(target), index: None, update: None, delete: None } => {
                ("create", 201, Follows::Document, target)
            }
            Action { index: Some(target), create: None, update: None, delete: None } => {
                ("index", 201, Follows::Document, target)
            }
            Action { update: Some(target), create: None, index: None, delete: None } => {
                ("update", 200, Follows::Update, target)
            }
            // There never was such a document.
            Action { delete: Some(target), create: None, index: None, update: None } => {
                ("delete", 404, Follows::Action, target)
            }
            _ => return Err(bad()),
        };
        let index = target.index.and_then(named);
        let index = index.as_deref().or(self.index.as_deref()).unwrap_or("\"seenby\"");
        let mut item = format!("{{\"{word}\":{{");
        if !self.is_terse {
            item.push_str(&format!("\"_index\":{index},"));
            if let Some(id) = target.id.and_then(named) {
                item.push_str(&format!("\"_id\":{id},"));
            }
        }
        item.push_str(&format!("\"status\":{status}}}}}"));
        Ok((follows, item.into_bytes()))
    }

    fn update(&self, line: &[u8], taking: &mut dyn Taking) -> Result<(), Stop> {
        let update: Update<'_> =
            serde_json::from_slice(line).map_err(|_| self.malformed("expected the document of an update"))?;
        match update.doc.or(update.upsert) {
            Some(document) => give(document.get().as_bytes(), taking),
            None => Err(self.malformed("expected an update with doc or upsert")),
        }
    }

    fn malformed(&self, reason: &str) -> Stop {
        let reason = format!("Malformed action/metadata line [{}], {reason}.", self.lines);
        Stop::Malformed { reason, code: 0, at: Some(self.lines) }
    }

    /// The answer, in the order and as tightly as shippers look for it.
    pub(super) fn into_answer(self, took: u128) -> Vec<u8> {
        let took = if self.is_terse { String::new() } else { format!("\"took\":{took},") };
        let mut answer = format!("{{{took}\"errors\":false,\"items\":[").into_bytes();
        answer.extend_from_slice(&self.items);
        answer.extend_from_slice(b"]}");
        answer
    }
}

fn give(document: &[u8], taking: &mut dyn Taking) -> Result<(), Stop> {
    Ok(taking.document(document, None)?)
}

impl body::Envelope for Bulk {
    fn push(&mut self, mut bytes: &[u8], taking: &mut dyn Taking) -> Result<(), Stop> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.begun.is_empty() {
                self.line(line, taking)?;
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(line);
                self.line(&whole, taking)?;
                whole.clear();
                self.begun = whole;
            }
            bytes = rest;
        }
        if self.begun.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(self.malformed("the line that follows is longer than 16 MiB"));
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, taking: &mut dyn Taking) -> Result<(), Stop> {
        let last = std::mem::take(&mut self.begun);
        self.line(&last, taking)?;
        match self.follows {
            Follows::Action => Ok(()),
            Follows::Document | Follows::Update => {
                Err(self.malformed("the document of the last action is missing"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::body::Envelope as _;
    use crate::receive::{TakeError, Taken};

    /// Remembers what it was given.
    #[derive(Default)]
    struct Given(Vec<u8>);

    impl Taking for Given {
        fn take(&mut self, bytes: &[u8]) -> Result<(), TakeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn document(&mut self, bytes: &[u8], _: Option<&'static str>) -> Result<(), TakeError> {
            self.0.extend_from_slice(bytes);
            self.0.push(b'\n');
            Ok(())
        }

        fn end(self: Box<Self>) -> Result<Taken, TakeError> {
            Ok(Taken::default())
        }
    }

    #[track_caller]
    fn check(index: Option<&str>, query: &str, body: &str, documents: &str, answer: &str) {
        for piece in [1, 7, body.len().max(1)] {
            let (mut bulk, mut given) = (Bulk::new(index, is_terse(query)), Given::default());
            for piece in body.as_bytes().chunks(piece) {
                bulk.push(piece, &mut given).expect("sound");
            }
            bulk.end(&mut given).expect("sound");
            assert_eq!(String::from_utf8_lossy(&given.0), documents);
            assert_eq!(String::from_utf8_lossy(&bulk.into_answer(3)), answer);
        }
    }

    #[test]
    fn one_item_an_action_in_order() {
        check(
            Some("logs"),
            "",
            "{\"create\":{}}\n{\"a\":1}\n\n{\"index\":{\"_index\":\"x\\\"y\",\"_id\":\"7\"}}\r\n{\"b\":2}\r\n{\"delete\":{\"_id\":\"8\"}}\n\
             {\"update\":{\"_id\":\"9\"}}\n{\"doc\":{\"c\":3},\"doc_as_upsert\":true}",
            "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n",
            "{\"took\":3,\"errors\":false,\"items\":[{\"create\":{\"_index\":\"logs\",\"status\":201}},\
             {\"index\":{\"_index\":\"x\\\"y\",\"_id\":\"7\",\"status\":201}},{\"delete\":{\"_index\":\"logs\",\"_id\":\"8\",\"status\":404}},\
             {\"update\":{\"_index\":\"logs\",\"_id\":\"9\",\"status\":200}}]}",
        );
        check(
            None,
            "filter_path=errors%2Citems.*.error,items.*.status",
            "{\"create\":{\"_index\":\"x\"}}\n{}\n{\"create\":{\"_index\":\"x\"}}\n{}\n",
            "{}\n{}\n",
            "{\"errors\":false,\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}",
        );
        check(None, "", "", "", "{\"took\":3,\"errors\":false,\"items\":[]}");
        // Found by fuzzing: a number that no reader takes was repeated.
        check(
            None,
            "",
            "{\"create\":{\"_index\":1e999,\"_id\":7}}\n{}\n{\"create\":{\"_index\":null,\"_id\":{}}}\n{}\n",
            "{}\n{}\n",
            "{\"took\":3,\"errors\":false,\"items\":[{\"create\":{\"_index\":\"seenby\",\"_id\":\"7\",\"status\":201}},\
             {\"create\":{\"_index\":\"seenby\",\"status\":201}}]}",
        );
    }

    #[test]
    fn what_is_no_bulk_body_is_told_with_its_line() {
        for (body, line, says) in [
            ("{\"a\":1}\n", 1, "expected an action"),
            ("{\"create\":{},\"index\":{}}\n", 1, "expected an action"),
            ("{\"create\":{}}\n{}\nno\n", 3, "expected an action"),
            ("{\"create\":{}}\n", 2, "missing"),
            ("{\"update\":{}}\n{\"script\":{}}\n", 2, "doc or upsert"),
            ("{\"update\":{}}\nno\n", 2, "document of an update"),
        ] {
            let (mut bulk, mut given) = (Bulk::new(None, false), Given::default());
            let stop = bulk.push(body.as_bytes(), &mut given).and_then(|()| bulk.end(&mut given));
            let Err(Stop::Malformed { reason, at, .. }) = stop else { panic!("{body} was taken") };
            assert_eq!(at, Some(line), "{body}");
            assert!(reason.contains(says), "{reason}");
        }
        let (mut bulk, mut given) = (Bulk::new(None, false), Given::default());
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(matches!(bulk.push(&long, &mut given), Err(Stop::Malformed { .. })));
    }
}
