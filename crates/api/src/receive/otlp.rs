//! OTLP logs over HTTP, protobuf or JSON: what is read of them, each log record given on as a document. Refuses to hold: metrics
//! and traces, and what a record means: what has the semantic conventions' attributes of a connection becomes a document in ECS,
//! whose names those are; any other is its body, which may be a line of any format.
//!
//! Decoded is one record at a time, so that a body that is small and says much takes no more memory than one record may.

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sighting::{Address, Directory, Store};

use super::body::{self, Envelope, Received, Stop, receive};
use super::pusher::{Pusher, Unwelcome};
use super::{Taken, Taking};
use crate::state::State;

/// Where logs are sent.
pub(super) const LOGS: &str = "/v1/logs";

/// The largest body, as it is decompressed: it is looked at whole.
const LOGS_BYTES_MAX: u64 = 16 << 20;
/// The largest record, and the most that is said of a resource: decoded, they may be a hundred times as large.
const PART_BYTES_MAX: usize = 1 << 20;
/// How deep a body's values may be nested.
const DEPTH_MAX: usize = 16;

pub(super) fn routes<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    Router::new().route(LOGS, post(logs::<S, D>))
}

/// How a body is written, and so its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Written {
    Protobuf,
    Json,
}

impl Written {
    fn of(headers: &HeaderMap) -> Option<Written> {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
        match kind.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Written::Protobuf),
            "application/json" => Some(Written::Json),
            _ => None,
        }
    }

    fn answer(self, status: StatusCode, protobuf: Vec<u8>, json: &Value) -> Response {
        let (kind, body) = match self {
            Written::Protobuf => ("application/x-protobuf", protobuf),
            Written::Json => ("application/json", json.to_string().into_bytes()),
        };
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    /// An answer without anything to say is `{}`, and no bytes at all. A number of 64 bits is a text in JSON.
    fn taken(self, taken: &Taken) -> Response {
        let refused = taken.refused_total();
        if refused == 0 {
            return self.answer(StatusCode::OK, Vec::new(), &json!({}));
        }
        let first = taken.first_refused.first();
        let partial = Partial {
            rejected_log_records: i64::try_from(refused).unwrap_or(i64::MAX),
            error_message: first.map(|it| sighting::escape(&it.reason).into_owned()).unwrap_or_default(),
        };
        let (rejected, message) = (partial.rejected_log_records.to_string(), &partial.error_message);
        let json = json!({ "partialSuccess": { "rejectedLogRecords": rejected, "errorMessage": message } });
        self.answer(StatusCode::OK, Exported { partial_success: Some(partial) }.encode_to_vec(), &json)
    }

    /// A status, as gRPC numbers and writes it.
    fn failed(self, status: StatusCode, code: i32, message: &str, retry_after_s: Option<u64>) -> Response {
        let told = Status { code, message: message.to_owned() };
        let json = json!({ "code": code, "message": message });
        let mut response = self.answer(status, told.encode_to_vec(), &json);
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// `ExportLogsServiceResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Exported {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<Partial>,
}

/// `ExportLogsPartialSuccess`.
#[derive(Clone, PartialEq, prost::Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected_log_records: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status` without details.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

async fn logs<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(written) = Written::of(&parts.headers) else {
        let message = "Content-Type must be application/x-protobuf or application/json.";
        return Written::Json.failed(StatusCode::UNSUPPORTED_MEDIA_TYPE, 3, message, None);
    };
    let pusher = match Pusher::of(&parts, &state).await {
        Ok(pusher) => pusher,
        Err(refused) => {
            body::discard(body).await;
            return unwelcome(written, &refused);
        }
    };
    let own = pusher.source.read_as.format.as_deref();
    let envelope = Logs::new(written, own.is_none_or(|own| own == ECS));
    match receive(state.shared(), &pusher, None, &parts.headers, body, envelope, LOGS_BYTES_MAX).await {
        Ok(Received { taken, .. }) => written.taken(&taken),
        Err(stop) => {
            // 14 is UNAVAILABLE, which is sent again; 3 is INVALID_ARGUMENT, which is not.
            let code = if stop.retry_after_s().is_some() { 14 } else { 3 };
            written.failed(stop.status(), code, &stop.message(), stop.retry_after_s())
        }
    }
}

fn unwelcome(written: Written, refused: &Unwelcome) -> Response {
    let message = refused.message();
    match refused {
        Unwelcome::NotNow(_) => {
            written.failed(StatusCode::SERVICE_UNAVAILABLE, 14, message, Some(body::RETRY_AFTER_S))
        }
        Unwelcome::Elsewhere => written.failed(StatusCode::FORBIDDEN, 7, message, None),
        _ => written.failed(StatusCode::UNAUTHORIZED, 16, message, None),
    }
}

/// What records with attributes are read as.
const ECS: &str = "ecs";

/// A body of logs: nothing can be said of it before it is whole.
pub(super) struct Logs {
    written: Written,
    /// Whether the source may send documents of ECS; else what a record's attributes say is nothing.
    is_ecs_wanted: bool,
    body: Vec<u8>,
}

impl Logs {
    pub(super) const fn new(written: Written, is_ecs_wanted: bool) -> Logs {
        Logs { written, is_ecs_wanted, body: Vec::new() }
    }
}

impl Envelope for Logs {
    fn push(&mut self, bytes: &[u8], _: &mut dyn Taking) -> Result<(), Stop> {
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, taking: &mut dyn Taking) -> Result<(), Stop> {
        let body = std::mem::take(&mut self.body);
        let mut give = |known: &Known, record: Record| {
            let remote = record.known.remote().or_else(|| known.remote()).filter(|_| self.is_ecs_wanted);
            match remote {
                Some(remote) => {
                    let document = document(&record, known, &remote).to_string();
                    taking.document(document.as_bytes(), Some(ECS))
                }
                None => taking.document(line(record.body).as_bytes(), None),
            }
            .map_err(Stop::from)
        };
        match self.written {
            Written::Protobuf => protobuf(&body, &mut give),
            Written::Json => from_json(&body, &mut give),
        }
    }
}

fn malformed(why: &str) -> Stop {
    let reason = format!("The body is no ExportLogsServiceRequest ({}).", sighting::escape(why));
    Stop::Malformed { reason, code: 3, at: None }
}

fn undecoded<E: std::fmt::Display>(error: E) -> Stop {
    malformed(&error.to_string())
}

fn bounded(part: &[u8]) -> Result<&[u8], Stop> {
    if part.len() > PART_BYTES_MAX {
        Err(Stop::TooLarge { bytes_max: PART_BYTES_MAX as u64 })
    } else {
        Ok(part)
    }
}

/// The attributes that say something, of a resource or of a record; the first of each.
#[derive(Default)]
struct Known([Option<String>; KEYS.len()]);

const DESTINATION: [&str; 2] = ["destination.address", "destination.ip"];
const PEER: &str = "network.peer.address";
const KEYS: [&str; 14] = [
    DESTINATION[0],
    DESTINATION[1],
    PEER,
    "network.direction",
    "network.connection.direction",
    "network.transport",
    "event.action",
    "event.outcome",
    "event.type",
    "event.name",
    "host.id",
    "host.name",
    "source.address",
    "source.port",
];

impl Known {
    fn note(&mut self, key: &str, value: impl FnOnce() -> Option<String>) {
        if let Some(at) = KEYS.iter().position(|known| *known == key)
            && let Some(slot @ None) = self.0.get_mut(at)
        {
            *slot = value();
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        let at = KEYS.iter().position(|known| *known == key)?;
        self.0.get(at)?.as_deref()
    }

    /// Where a connection went, and which way that is where the attribute says it: who has a destination is who opened.
    fn remote(&self) -> Option<(String, Option<&'static str>)> {
        let ways = [(DESTINATION[0], Some("egress")), (DESTINATION[1], Some("egress")), (PEER, None)];
        let is_address = |text: &&str| Address::parse(text).is_ok();
        ways.into_iter().find_map(|(key, way)| Some((self.get(key).filter(is_address)?.to_owned(), way)))
    }
}

/// A log record, as far as it is read.
#[derive(Default)]
struct Record {
    nanos: u64,
    event_name: String,
    known: Known,
    body: Option<Value>,
}

/// A record without attributes of a connection, as a line.
fn line(body: Option<Value>) -> String {
    match body {
        Some(Value::String(text)) => text.replace('\n', " "),
        Some(value) => value.to_string(),
        None => "{}".to_owned(),
    }
}

/// A record with them, in ECS.
fn document(record: &Record, resource: &Known, (remote, way): &(String, Option<&'static str>)) -> Value {
    let attribute = |key: &str| record.known.get(key).or_else(|| resource.get(key));
    let some = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().filter_map(|(key, from)| Some(((*key).to_owned(), attribute(from)?.into())));
        pairs.collect::<Map<String, Value>>()
    };
    let mut event =
        some(&[("action", "event.name"), ("action", "event.action"), ("outcome", "event.outcome")]);
    if !record.event_name.is_empty() && attribute("event.action").is_none() {
        event.insert("action".to_owned(), record.event_name.as_str().into());
    }
    event.insert("category".to_owned(), json!(["network"]));
    event.insert("type".to_owned(), json!([attribute("event.type").unwrap_or("connection")]));
    let direction = attribute("network.direction").or_else(|| attribute("network.connection.direction"));
    json!({
        "@timestamp": (record.nanos > 0).then(|| record.nanos.to_string()),
        "event": event,
        "host": some(&[("id", "host.id"), ("name", "host.name")]),
        "source": some(&[("ip", "source.address"), ("port", "source.port")]),
        "destination": { "ip": remote },
        "network": { "direction": direction.or(*way), "transport": attribute("network.transport") },
    })
}

type Give<'a> = &'a mut dyn FnMut(&Known, Record) -> Result<(), Stop>;

/// `ExportLogsServiceRequest`, level by level.
fn protobuf(body: &[u8], give: Give<'_>) -> Result<(), Stop> {
    for resource_logs in fields(body, 1) {
        let resource_logs = resource_logs?;
        let mut known = Known::default();
        for resource in fields(resource_logs, 1) {
            let resource = wire::Resource::decode(bounded(resource?)?).map_err(undecoded)?;
            resource.attributes.into_iter().for_each(|pair| pair.note_in(&mut known));
        }
        for scope_logs in fields(resource_logs, 2) {
            for record in fields(scope_logs?, 2) {
                let record = wire::LogRecord::decode(bounded(record?)?).map_err(undecoded)?;
                give(&known, record.into())?;
            }
        }
    }
    Ok(())
}

/// The messages under a tag.
fn fields(mut bytes: &[u8], wanted: u32) -> impl Iterator<Item = Result<&[u8], Stop>> {
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            match field(&mut bytes) {
                Ok((tag, Some(field))) if tag == wanted => return Some(Ok(field)),
                Ok(_) => {}
                Err(stop) => {
                    bytes = &[];
                    return Some(Err(stop));
                }
            }
        }
        None
    })
}

/// The next field; its bytes if it has a length.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Option<&'a [u8]>), Stop> {
    let cut = || malformed("it is cut");
    let (tag, kind) = decode_key(bytes).map_err(undecoded)?;
    let length = match kind {
        WireType::Varint => {
            decode_varint(bytes).map_err(undecoded)?;
            return Ok((tag, None));
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => {
            usize::try_from(decode_varint(bytes).map_err(undecoded)?).map_err(|_| cut())?
        }
        WireType::StartGroup | WireType::EndGroup => return Err(malformed("it has groups")),
    };
    let (field, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    Ok((tag, (kind == WireType::LengthDelimited).then_some(field)))
}

/// The messages that are decoded, with the fields that are read of them.
mod wire {
    use super::{DEPTH_MAX, Known, Record};
    use serde_json::{Map, Value};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LogRecord {
        #[prost(fixed64, tag = "1")]
        time_unix_nano: u64,
        #[prost(message, optional, tag = "5")]
        body: Option<AnyValue>,
        #[prost(message, repeated, tag = "6")]
        attributes: Vec<KeyValue>,
        #[prost(fixed64, tag = "11")]
        observed_time_unix_nano: u64,
        #[prost(string, tag = "12")]
        event_name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(message, optional, tag = "2")]
        value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6")]
        value: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    enum Any {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(message, tag = "5")]
        Array(ArrayValue),
        #[prost(message, tag = "6")]
        List(KeyValueList),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct ArrayValue {
        #[prost(message, repeated, tag = "1")]
        values: Vec<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct KeyValueList {
        #[prost(message, repeated, tag = "1")]
        values: Vec<KeyValue>,
    }

    impl KeyValue {
        pub(super) fn note_in(self, known: &mut Known) {
            let KeyValue { key, value } = self;
            known.note(&key, || match value?.value? {
                Any::Text(text) => Some(text),
                Any::Int(number) => Some(number.to_string()),
                _ => None,
            });
        }
    }

    impl From<LogRecord> for Record {
        fn from(wire: LogRecord) -> Record {
            let mut record = Record {
                nanos: if wire.time_unix_nano > 0 {
                    wire.time_unix_nano
                } else {
                    wire.observed_time_unix_nano
                },
                event_name: wire.event_name,
                body: wire.body.map(|body| json(body, DEPTH_MAX)),
                ..Record::default()
            };
            wire.attributes.into_iter().for_each(|pair| pair.note_in(&mut record.known));
            record
        }
    }

    fn json(value: AnyValue, depth: usize) -> Value {
        let Some(value) = value.value.filter(|_| depth > 0) else { return Value::Null };
        match value {
            Any::Text(text) => text.into(),
            Any::Bool(value) => value.into(),
            Any::Int(number) => number.into(),
            Any::Double(number) => number.into(),
            Any::Array(array) => array.values.into_iter().map(|value| json(value, depth - 1)).collect(),
            Any::List(list) => list
                .values
                .into_iter()
                .map(|pair| (pair.key, pair.value.map_or(Value::Null, |value| json(value, depth - 1))))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

/// The same in JSON, where whatever is a default may be left out.
fn from_json(body: &[u8], give: Give<'_>) -> Result<(), Stop> {
    let request: written::Request<'_> = serde_json::from_slice(body).map_err(undecoded)?;
    for of_resource in request.resource_logs {
        let of_resource: written::ResourceLogs<'_> = part(of_resource)?;
        let mut known = Known::default();
        if let Some(resource) = of_resource.resource {
            bounded(resource.get().as_bytes())?;
            let resource: written::Resource = part(resource)?;
            resource.attributes.into_iter().for_each(|pair| pair.note_in(&mut known));
        }
        for scope in of_resource.scope_logs {
            let scope: written::ScopeLogs<'_> = part(scope)?;
            for record in scope.log_records {
                bounded(record.get().as_bytes())?;
                give(&known, part::<written::LogRecord>(record)?.into())?;
            }
        }
    }
    Ok(())
}

fn part<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Stop> {
    serde_json::from_str(raw.get()).map_err(undecoded)
}

/// The same messages as JSON has them.
mod written {
    use super::{DEPTH_MAX, Known, Record};
    use serde::Deserialize;
    use serde_json::value::RawValue;
    use serde_json::{Map, Value};

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Request<'a> {
        #[serde(borrow, default)]
        pub(super) resource_logs: Vec<&'a RawValue>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct ResourceLogs<'a> {
        #[serde(borrow, default)]
        pub(super) resource: Option<&'a RawValue>,
        #[serde(borrow, default)]
        pub(super) scope_logs: Vec<&'a RawValue>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct ScopeLogs<'a> {
        #[serde(borrow, default)]
        pub(super) log_records: Vec<&'a RawValue>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub(super) struct Resource {
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    pub(super) struct LogRecord {
        time_unix_nano: Number,
        observed_time_unix_nano: Number,
        event_name: String,
        body: Option<AnyValue>,
        attributes: Vec<KeyValue>,
    }

    /// A number of 64 bits is a text; some write it as a number all the same.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(i128),
        Text(String),
    }

    impl Default for Number {
        fn default() -> Number {
            Number::Number(0)
        }
    }

    impl Number {
        fn text(self) -> String {
            match self {
                Number::Number(number) => number.to_string(),
                Number::Text(text) => text,
            }
        }
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub(super) struct KeyValue {
        key: String,
        value: Option<AnyValue>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct AnyValue {
        string_value: Option<String>,
        bool_value: Option<bool>,
        int_value: Option<Number>,
        double_value: Option<f64>,
        array_value: Option<ArrayValue>,
        kvlist_value: Option<KeyValueList>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct ArrayValue {
        values: Vec<AnyValue>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct KeyValueList {
        values: Vec<KeyValue>,
    }

    impl KeyValue {
        pub(super) fn note_in(self, known: &mut Known) {
            let KeyValue { key, value } = self;
            known.note(&key, || {
                let AnyValue { string_value, int_value, .. } = value?;
                string_value.or_else(|| int_value.map(Number::text))
            });
        }
    }

    impl From<LogRecord> for Record {
        fn from(written: LogRecord) -> Record {
            let nanos = |number: Number| number.text().parse().unwrap_or_default();
            let (at, observed): (u64, u64) =
                (nanos(written.time_unix_nano), nanos(written.observed_time_unix_nano));
            let mut record = Record {
                nanos: if at > 0 { at } else { observed },
                event_name: written.event_name,
                body: written.body.map(|body| json(body, DEPTH_MAX)),
                ..Record::default()
            };
            written.attributes.into_iter().for_each(|pair| pair.note_in(&mut record.known));
            record
        }
    }

    fn json(value: AnyValue, depth: usize) -> Value {
        if depth == 0 {
            return Value::Null;
        }
        let AnyValue { string_value, bool_value, int_value, double_value, array_value, kvlist_value } = value;
        let text = string_value.map(Value::from).or_else(|| bool_value.map(Value::from));
        let number = || {
            let int = int_value.and_then(|number| number.text().parse::<i64>().ok());
            int.map(Value::from).or_else(|| double_value.map(Value::from))
        };
        let array = || {
            let values = array_value?.values.into_iter().map(|value| json(value, depth - 1));
            Some(values.collect::<Value>())
        };
        let list = || {
            let pairs = kvlist_value?.values.into_iter();
            let pair =
                |pair: KeyValue| (pair.key, pair.value.map_or(Value::Null, |value| json(value, depth - 1)));
            Some(Value::from(pairs.map(pair).collect::<Map<_, _>>()))
        };
        text.or_else(number).or_else(array).or_else(list).unwrap_or(Value::Null)
    }
}
