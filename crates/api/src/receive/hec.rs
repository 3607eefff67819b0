//! Splunk's HTTP Event Collector, with acknowledgements. Refuses to hold: what an event means; of its metadata only `sourcetype`
//! is read, which tells the format where the source does not. `host` may be a forwarder's.
//!
//! An answer comes after the data is durable, so an acknowledgement that was given out is true at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sighting::{Directory, SourceId, Store};

use super::body::{self, Bare, Envelope, Stop, receive};
use super::own::answered;
use super::pusher::{Pusher, Unwelcome};
use super::{Intake, Taking};
use crate::query;
use crate::state::State;

const EVENT: [&str; 3] =
    ["/services/collector", "/services/collector/event", "/services/collector/event/1.0"];
const RAW: [&str; 2] = ["/services/collector/raw", "/services/collector/raw/1.0"];

/// Where events are sent.
pub(super) const UPLOADS: [&str; 5] = [EVENT[0], EVENT[1], EVENT[2], RAW[0], RAW[1]];

/// The largest body, as it is decompressed.
const EVENTS_BYTES_MAX: u64 = 256 << 20;
/// The longest event, as everywhere.
const EVENT_BYTES_MAX: usize = 16 << 20;
/// Fewer bytes are not looked at for the end of an event, but at the end of the body.
const LOOKED_AT_MIN: usize = 4 << 10;
/// The longest question for acknowledgements, in bytes, and how many channels of a source are remembered.
const ACKS_BYTES_MAX: usize = 1 << 20;
const CHANNELS_MAX: usize = 256;

/// The channel of a request.
const CHANNEL_HEADER: &str = "x-splunk-request-channel";
const CHANNEL_BYTES_MAX: usize = 64;

pub(super) fn routes<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    let mut routes = Router::new()
        .route("/services/collector/ack", post(acks::<S, D>))
        .route("/services/collector/ack/1.0", post(acks::<S, D>))
        .route("/services/collector/health", get(health::<S, D>))
        .route("/services/collector/health/1.0", get(health::<S, D>));
    for path in EVENT {
        routes = routes.route(path, post(events::<S, D>).options(options));
    }
    for path in RAW {
        routes = routes.route(path, post(raw::<S, D>).options(options));
    }
    routes
}

/// How many acknowledgements each channel of a source was given.
#[derive(Default)]
pub(crate) struct Channels(Mutex<HashMap<(SourceId, String), u64>>);

impl Channels {
    /// Another one.
    fn next(&self, source: SourceId, channel: &str) -> u64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source, channel.to_owned());
        if !all.contains_key(&key) && all.keys().filter(|(of, _)| *of == source).count() >= CHANNELS_MAX {
            // Whoever asks for one that is forgotten hears that it is not acknowledged, sends again, and nothing changes by it.
            all.retain(|(of, _), _| *of != source);
        }
        let given = all.entry(key).or_default();
        *given += 1;
        *given - 1
    }

    /// How many were given.
    fn given(&self, source: SourceId, channel: &str) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(source, channel.to_owned())).copied().unwrap_or_default()
    }
}

/// Docker's driver asks so whether there is anybody.
async fn options() -> Response {
    said(StatusCode::OK, "HEC is available", 17)
}

async fn health<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
) -> Response {
    if state.intake().is_some() && state.is_open() && !state.shared().slots.are_full() {
        return said(StatusCode::OK, "HEC is healthy", 17);
    }
    said(StatusCode::SERVICE_UNAVAILABLE, "HEC is unhealthy, queues are full", 18)
}

async fn events<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    take(&state, &query.unwrap_or_default(), request, |pusher| Events::new(Arc::clone(&pusher.intake))).await
}

async fn raw<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    take(&state, &query.unwrap_or_default(), request, |_| Bare).await
}

async fn take<S: Store, D: Directory, E: Envelope>(
    state: &State<S, D>,
    query: &str,
    request: Request,
    envelope: impl FnOnce(&Pusher) -> E,
) -> Response {
    let (parts, body) = request.into_parts();
    let pusher = match Pusher::of(&parts, state).await {
        Ok(pusher) => pusher,
        Err(refused) => {
            body::discard(body).await;
            return unwelcome(&refused);
        }
    };
    let channel = match channel(&parts.headers, query) {
        Ok(channel) => channel,
        Err(refused) => return *refused,
    };
    let sourcetype = query::value(query, "sourcetype");
    let format = sourcetype.and_then(|sourcetype| format_of(&*pusher.intake, &sourcetype));
    let envelope = envelope(&pusher);
    let shared = state.shared();
    match receive(shared, &pusher, format, &parts.headers, body, envelope, EVENTS_BYTES_MAX).await {
        Ok(received) if received.bytes == 0 => said(StatusCode::BAD_REQUEST, "No data", 5),
        Ok(_) => {
            let mut answer = json!({ "text": "Success", "code": 0 });
            if let Some(channel) = channel {
                answer["ackId"] = shared.channels.next(pusher.source.id, &channel).into();
            }
            answered(StatusCode::OK, answer.to_string().into_bytes(), None)
        }
        Err(stop) => stopped(&stop),
    }
}

/// The channel, if one is named.
fn channel(headers: &HeaderMap, query: &str) -> Result<Option<String>, Box<Response>> {
    let header = headers.get(CHANNEL_HEADER).map(|value| value.to_str().unwrap_or_default().to_owned());
    let Some(channel) = header.or_else(|| query::value(query, "channel").map(Cow::into_owned)) else {
        return Ok(None);
    };
    let is_sound = !channel.is_empty() && channel.len() <= CHANNEL_BYTES_MAX && channel.is_ascii();
    if is_sound {
        Ok(Some(channel))
    } else {
        Err(Box::new(said(StatusCode::BAD_REQUEST, "Invalid data channel", 11)))
    }
}

/// A question for acknowledgements.
#[derive(Deserialize)]
struct Acks {
    acks: Vec<u64>,
}

async fn acks<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let pusher = match Pusher::of(&parts, &state).await {
        Ok(pusher) => pusher,
        Err(refused) => return unwelcome(&refused),
    };
    let channel = match channel(&parts.headers, &query.unwrap_or_default()) {
        Ok(Some(channel)) => channel,
        Ok(None) => return said(StatusCode::BAD_REQUEST, "Data channel is missing", 10),
        Err(refused) => return *refused,
    };
    let asked = asked(body, state.shared().settings.form_timeout).await;
    let Some(Acks { acks }) = asked.and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
        return said(StatusCode::BAD_REQUEST, "Invalid data format", 6);
    };
    let given = state.shared().channels.given(pusher.source.id, &channel);
    let acks: serde_json::Map<String, Value> =
        acks.into_iter().map(|ack| (ack.to_string(), (ack < given).into())).collect();
    answered(StatusCode::OK, json!({ "acks": acks }).to_string().into_bytes(), None)
}

async fn asked(body: Body, time_max: std::time::Duration) -> Option<Bytes> {
    let reading = Limited::new(body, ACKS_BYTES_MAX).collect();
    Some(tokio::time::timeout(time_max, reading).await.ok()?.ok()?.to_bytes())
}

fn said(status: StatusCode, text: &str, code: u8) -> Response {
    answered(status, json!({ "text": text, "code": code }).to_string().into_bytes(), None)
}

fn unwelcome(refused: &Unwelcome) -> Response {
    match refused {
        Unwelcome::Missing => said(StatusCode::UNAUTHORIZED, "Token is required", 2),
        Unwelcome::Malformed => said(StatusCode::UNAUTHORIZED, "Invalid authorization", 3),
        Unwelcome::Unknown | Unwelcome::Elsewhere => said(StatusCode::FORBIDDEN, "Invalid token", 4),
        Unwelcome::NotNow(_) => busy(body::RETRY_AFTER_S),
    }
}

fn busy(retry_after_s: u64) -> Response {
    let body = json!({ "text": "Server is busy", "code": 9 }).to_string().into_bytes();
    answered(StatusCode::SERVICE_UNAVAILABLE, body, Some(retry_after_s))
}

fn stopped(stop: &Stop) -> Response {
    match stop {
        Stop::Malformed { reason, code, at } => {
            let mut answer = json!({ "text": reason, "code": code });
            if let Some(at) = at {
                answer["invalid-event-number"] = (*at).into();
            }
            answered(stop.status(), answer.to_string().into_bytes(), None)
        }
        Stop::Busy | Stop::NotTaken(_) => busy(stop.retry_after_s().unwrap_or(body::RETRY_AFTER_S)),
        _ => {
            let answer = json!({ "text": stop.message(), "code": 6 });
            answered(stop.status(), answer.to_string().into_bytes(), stop.retry_after_s())
        }
    }
}

/// Sourcetypes of Splunk's own add-ons, in lower case, and which of our formats they are.
const SOURCETYPES: [(&str, &str); 15] = [
    ("aws:cloudwatchlogs:vpcflow", "aws-vpc"),
    ("bro:conn:json", "zeek-json"),
    ("bro_conn", "zeek-tsv"),
    ("corelight_conn", "zeek-json"),
    ("crowdstrike:events:sensor", "crowdstrike"),
    ("fgt_traffic", "fortigate"),
    ("fortigate_traffic", "fortigate"),
    ("osquery:results", "osquery"),
    ("pan:traffic", "pan-os"),
    ("suricata", "suricata"),
    ("suricata:eve", "suricata"),
    ("xmlwineventlog", "sysmon-xml"),
    ("xmlwineventlog:microsoft-windows-sysmon/operational", "sysmon-xml"),
    ("zeek:conn:json", "zeek-json"),
    ("zeek_conn", "zeek-tsv"),
];

/// The format of a sourcetype: one of those, or a format's own name.
fn format_of(intake: &dyn Intake, sourcetype: &str) -> Option<&'static str> {
    let lower = sourcetype.to_ascii_lowercase();
    let known = SOURCETYPES.iter().find(|(name, _)| *name == lower).map(|(_, format)| *format);
    intake.format(known.unwrap_or(&lower))
}

/// Whether an error is at the end of what there is. The library takes a number that was cut behind its point for no number.
fn is_at_end(error: &serde_json::Error, bytes: &[u8]) -> bool {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let last = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    error.line() == lines + 1 && error.column() == bytes.len() - last
}

/// An event with what is around it.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    sourcetype: Option<Cow<'a, str>>,
}

/// A body of events on its way.
pub(super) struct Events {
    intake: Arc<dyn Intake>,
    /// The sourcetype of the event before, and what that says.
    last: (String, Option<&'static str>),
    /// What came and is not whole yet.
    begun: Vec<u8>,
    /// It is looked at again when there are so many bytes: twice as many as did not do.
    looked_at_from: usize,
    events: u64,
}

impl Events {
    pub(super) fn new(intake: Arc<dyn Intake>) -> Events {
        Events { intake, last: (String::new(), None), begun: Vec::new(), looked_at_from: 0, events: 0 }
    }

    /// Takes the whole events at the beginning of some bytes; how many bytes those were.
    fn whole(&mut self, bytes: &[u8], taking: &mut dyn Taking) -> Result<usize, Stop> {
        let mut events = serde_json::Deserializer::from_slice(bytes).into_iter::<Event<'_>>();
        let mut taken = 0;
        loop {
            match events.next() {
                None => return Ok(bytes.len()),
                Some(Ok(event)) => self.event(&event, taking)?,
                Some(Err(error)) if error.is_eof() || is_at_end(&error, bytes) => return Ok(taken),
                Some(Err(_)) => return Err(self.malformed("Invalid data format", 6)),
            }
            taken = events.byte_offset();
            self.events += 1;
        }
    }

    fn event(&mut self, event: &Event<'_>, taking: &mut dyn Taking) -> Result<(), Stop> {
        let Some(raw) = event.event.map(RawValue::get).filter(|raw| *raw != "null") else {
            return Err(self.malformed("Event field is required", 12));
        };
        if raw.len() > EVENT_BYTES_MAX {
            return Err(self.too_long());
        }
        let format = event.sourcetype.as_deref().and_then(|sourcetype| self.format(sourcetype));
        let text: Cow<'_, str> = if raw.starts_with('"') {
            serde_json::from_str(raw).map_err(|_| self.malformed("Invalid data format", 6))?
        } else if raw.contains('\n') {
            // Written over several lines; records are one each.
            let value: Value =
                serde_json::from_str(raw).map_err(|_| self.malformed("Invalid data format", 6))?;
            value.to_string().into()
        } else {
            raw.into()
        };
        if text.trim().is_empty() {
            return Err(self.malformed("Event field cannot be blank", 13));
        }
        Ok(taking.document(text.as_bytes(), format)?)
    }

    /// What a sourcetype says; the one before mostly says it again.
    fn format(&mut self, sourcetype: &str) -> Option<&'static str> {
        if self.last.0 != sourcetype {
            self.last = (sourcetype.to_owned(), format_of(&*self.intake, sourcetype));
        }
        self.last.1
    }

    fn too_long(&self) -> Stop {
        self.malformed("An event is longer than 16 MiB", 6)
    }

    fn malformed(&self, text: &str, code: u8) -> Stop {
        Stop::Malformed { reason: text.to_owned(), code, at: Some(self.events) }
    }
}

impl Envelope for Events {
    fn push(&mut self, mut bytes: &[u8], taking: &mut dyn Taking) -> Result<(), Stop> {
        while !self.begun.is_empty() {
            // As much as a look needs: what is behind an event that was begun is read from where it lies.
            let wanted = bytes.len().min(self.looked_at_from.saturating_sub(self.begun.len()));
            self.begun.extend_from_slice(&bytes[..wanted]);
            if self.begun.len() < self.looked_at_from {
                return Ok(());
            }
            let unread = self.look(taking)?;
            if unread > EVENT_BYTES_MAX {
                return Err(self.too_long());
            }
            let is_whole = unread <= wanted;
            bytes = &bytes[if is_whole { wanted - unread } else { wanted }..];
            if is_whole {
                self.begun.clear();
            }
        }
        let taken = self.whole(bytes, taking)?;
        self.begun.extend_from_slice(&bytes[taken..]);
        self.look_later();
        Ok(())
    }

    fn end(&mut self, taking: &mut dyn Taking) -> Result<(), Stop> {
        self.look(taking)?;
        let rest = self.begun.iter().all(u8::is_ascii_whitespace);
        if rest { Ok(()) } else { Err(self.malformed("Invalid data format", 6)) }
    }
}

impl Events {
    /// Takes the whole events of what was begun; how many bytes of it are not read.
    fn look(&mut self, taking: &mut dyn Taking) -> Result<usize, Stop> {
        let mut begun = std::mem::take(&mut self.begun);
        let taken = self.whole(&begun, taking)?;
        begun.drain(..taken);
        self.begun = begun;
        self.look_later();
        Ok(self.begun.len())
    }

    /// When there is twice as much of it: however small the pieces are in which an event comes, it is not read too often.
    fn look_later(&mut self) {
        self.looked_at_from = (self.begun.len() * 2).clamp(LOOKED_AT_MIN, EVENT_BYTES_MAX + 1);
    }
}
