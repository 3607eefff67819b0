//! OTLP logs over HTTP, protobuf or JSON: each log record is given on as a line. Refuses to hold: metrics and traces, and what a
//! record means: what has the semantic conventions' attributes of a connection becomes a document in ECS, whose names those are.

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use serde_json::{Map, Value, json};
use sighting::{Directory, Store};

use super::body::{self, Envelope, Received, Stop, receive};
use super::pusher::{Pusher, Unwelcome};
use super::{Taken, Taking};
use crate::state::State;

/// Where logs are sent.
pub(super) const LOGS: &str = "/v1/logs";

/// The largest body, as it is decompressed: it is looked at whole.
const LOGS_BYTES_MAX: u64 = 32 << 20;
/// How deep a body's values may be nested.
const DEPTH_MAX: usize = 16;

pub(super) fn routes<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    Router::new().route(LOGS, post(logs::<S, D>))
}

/// How a body is written, and so its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
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

    fn taken(self, taken: &Taken) -> Response {
        let refused = taken.refused_total();
        let first = taken.first_refused.first();
        let partial_success = (refused > 0).then(|| ExportLogsPartialSuccess {
            rejected_log_records: i64::try_from(refused).unwrap_or(i64::MAX),
            error_message: first
                .map(|record| sighting::escape(&record.reason).into_owned())
                .unwrap_or_default(),
        });
        // A number of 64 bits is a text in JSON. An answer without anything is `{}`, and no bytes at all.
        let json = partial_success.as_ref().map_or_else(
            || json!({}),
            |partial| {
                let (rejected, message) = (partial.rejected_log_records.to_string(), &partial.error_message);
                json!({ "partialSuccess": { "rejectedLogRecords": rejected, "errorMessage": message } })
            },
        );
        let answer = ExportLogsServiceResponse { partial_success };
        self.answer(StatusCode::OK, answer.encode_to_vec(), &json)
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
        Err(refused) => return unwelcome(written, &refused),
    };
    let envelope = Logs { written, body: Vec::new() };
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

/// A body of logs: nothing can be said of it before it is whole.
struct Logs {
    written: Written,
    body: Vec<u8>,
}

impl Envelope for Logs {
    fn push(&mut self, bytes: &[u8], _: &mut dyn Taking) -> Result<(), Stop> {
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, taking: &mut dyn Taking) -> Result<(), Stop> {
        let malformed = |error: String| Stop::Malformed {
            reason: format!("The body is no ExportLogsServiceRequest ({}).", sighting::escape(&error)),
            code: 3,
            at: None,
        };
        let body = std::mem::take(&mut self.body);
        let request = match self.written {
            Written::Protobuf => ExportLogsServiceRequest::decode(body.as_slice())
                .map_err(|error| malformed(error.to_string()))?,
            Written::Json => serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?,
        };
        for of_resource in &request.resource_logs {
            let resource =
                of_resource.resource.as_ref().map(|it| it.attributes.as_slice()).unwrap_or_default();
            for record in of_resource.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                taking.take(line(resource, record).as_bytes())?;
                taking.take(b"\n")?;
            }
        }
        Ok(())
    }
}

/// The attributes that make a record a connection: where it went; and which way that is, where they say it by themselves: whoever
/// has a destination or a server is the one that opened.
const REMOTE_KEYS: [(&str, Option<&str>); 4] = [
    ("destination.address", Some("egress")),
    ("destination.ip", Some("egress")),
    ("server.address", Some("egress")),
    ("network.peer.address", None),
];

/// A record as a line: a document if it says where a connection went, else its body, which may be a line of any format.
fn line(resource: &[KeyValue], record: &LogRecord) -> String {
    let attribute = |key: &str| text(&record.attributes, key).or_else(|| text(resource, key));
    let remote = REMOTE_KEYS.iter().find_map(|(key, way)| Some((attribute(key)?, *way)));
    match (&record.body, remote) {
        (_, Some((remote, way))) => document(record, remote, way, attribute).to_string(),
        (Some(AnyValue { value: Some(Any::StringValue(text)) }), None) => text.replace('\n', " "),
        (Some(AnyValue { value: Some(value) }), None) => to_json(value, DEPTH_MAX).to_string(),
        _ => "{}".to_owned(),
    }
}

/// The same in ECS.
fn document(
    record: &LogRecord,
    remote: String,
    way: Option<&str>,
    attribute: impl Fn(&str) -> Option<String>,
) -> Value {
    let nanos =
        if record.time_unix_nano > 0 { record.time_unix_nano } else { record.observed_time_unix_nano };
    let mut event = Map::new();
    event.insert("category".to_owned(), json!(["network"]));
    event.insert(
        "type".to_owned(),
        json!([attribute("event.type").unwrap_or_else(|| "connection".to_owned())]),
    );
    for (key, from) in [("action", "event.action"), ("outcome", "event.outcome")] {
        event.extend(attribute(from).map(|value| (key.to_owned(), value.into())));
    }
    if !event.contains_key("action") {
        let name = if record.event_name.is_empty() {
            attribute("event.name")
        } else {
            Some(record.event_name.clone())
        };
        event.extend(name.map(|name| ("action".to_owned(), name.into())));
    }
    let some = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().filter_map(|(key, from)| Some(((*key).to_owned(), attribute(from)?.into())));
        Value::Object(pairs.collect())
    };
    let directions = ["network.direction", "network.connection.direction"];
    let direction = directions.iter().find_map(|key| attribute(key)).or_else(|| way.map(str::to_owned));
    json!({
        "@timestamp": (nanos > 0).then(|| nanos.to_string()),
        "event": event,
        "host": some(&[("id", "host.id"), ("name", "host.name"), ("mac", "host.mac")]),
        "source": some(&[("ip", "source.address"), ("port", "source.port")]),
        "destination": { "ip": remote },
        "network": { "direction": direction, "transport": attribute("network.transport") },
    })
}

/// A text or a number of attributes.
fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|it| it.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn to_json(value: &Any, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let inner =
        |value: &AnyValue| value.value.as_ref().map_or(Value::Null, |value| to_json(value, depth - 1));
    match value {
        Any::StringValue(text) => text.as_str().into(),
        Any::BoolValue(value) => (*value).into(),
        Any::IntValue(number) => (*number).into(),
        Any::DoubleValue(number) => (*number).into(),
        Any::ArrayValue(array) => array.values.iter().map(inner).collect(),
        Any::KvlistValue(list) => list
            .values
            .iter()
            .map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(Value::Null, inner)))
            .collect::<Map<_, _>>()
            .into(),
        _ => Value::Null,
    }
}
