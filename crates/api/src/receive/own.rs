//! Our own way to send sightings in, and what every source has told. Refuses to hold: others' protocols.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sighting::{Book, Directory, OrganisationId, RolePermission, Source, Store, escape};
use utoipa::ToSchema;

use super::body::{Bare, Received, Stop, discard, receive};
use super::pusher::{Pusher, Unwelcome};
use super::{SourceReport, Taken};
use crate::admin::{Everything, List, Manager};
use crate::error::{ApiError, Envelope, NotReceived, shown};
use crate::openapi::{ADMINISTRATION, SENDING};
use crate::state::State;

/// Where records of a format are sent.
pub(super) const INGEST: &str = "/seenby/v1/ingest/{format}";

/// The kind of sources that send by themselves.
const PUSH: &str = "push";

/// What became of a body: every record once.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counts {
    /// Records.
    lines: u64,
    /// Connections that a device opened; they are durable and in every answer from now on.
    sighted: u64,
    /// Sound records that are no sightings, by reason.
    ignored: BTreeMap<&'static str, u64>,
    /// Records that could not be taken, by reason.
    refused: BTreeMap<&'static str, u64>,
    /// The first of those.
    first_refused: Vec<RefusedLine>,
}

/// A record that could not be taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedLine {
    /// The line it starts on; 1 is the first.
    line: u64,
    /// Why.
    reason: String,
}

impl Counts {
    fn of(taken: Taken) -> Counts {
        let lines = taken.records();
        let refused = |record: super::RefusedRecord| RefusedLine { line: record.line, reason: record.reason };
        Counts {
            lines,
            sighted: taken.sighted,
            ignored: taken.ignored,
            refused: taken.refused,
            first_refused: taken.first_refused.into_iter().map(refused).collect(),
        }
    }
}

/// Send records in
///
/// With the token of a source (`seenby source add`). The body is what the format is: lines, JSON documents, rows; also as gzip, zstd or
/// deflate. The answer comes when all of it is durable. Sending the same again changes nothing.
#[utoipa::path(
    post,
    path = "/seenby/v1/ingest/{format}",
    tag = SENDING,
    params(("format" = String, Path, description = "A format that `seenby formats` lists, or `auto`: its first bytes tell")),
    request_body(content = String, description = "The records", content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "What became of every record", body = Counts),
        (status = 400, description = "The body is damaged or did not arrive whole", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is no source's", body = Envelope<'static>),
        (status = 403, description = "The source may not send this, or not from there", body = Envelope<'static>),
        (status = 404, description = "There is no such format", body = Envelope<'static>),
        (status = 408, description = "The body did not arrive in time", body = Envelope<'static>),
        (status = 413, description = "The body is too large", body = Envelope<'static>),
        (status = 415, description = "A Content-Encoding that is not known", body = Envelope<'static>),
        (status = 429, description = "The source would bring too many new devices in an hour", body = Envelope<'static>),
        (status = 503, description = "Nothing can be taken now", body = Envelope<'static>),
    ),
    security(("source" = []))
)]
pub(crate) async fn ingest<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    Path(format): Path<String>,
    request: Request,
) -> Result<Json<Counts>, ApiError> {
    let (parts, body) = request.into_parts();
    let welcomed = Pusher::of(&parts, &state).await.map_err(unwelcome);
    let format = welcomed.and_then(|pusher| Ok((wanted(&pusher, &format)?, pusher)));
    let (format, pusher) = match format {
        Ok(welcomed) => welcomed,
        Err(error) => {
            discard(body).await;
            return Err(error);
        }
    };
    let shared = state.shared();
    let bytes_max = shared.settings.upload_bytes_max;
    let received = receive(shared, &pusher, format, &parts.headers, body, Bare, bytes_max).await;
    let Received { taken, .. } = received.map_err(|stop| stopped(&stop))?;
    Ok(Json(Counts::of(taken)))
}

/// The format of a body: what the path says must be what the source says, if that says any.
fn wanted(pusher: &Pusher, named: &str) -> Result<Option<&'static str>, ApiError> {
    if named == "auto" {
        return Ok(None);
    }
    let format = pusher.intake.format(named).ok_or_else(|| {
        let message = format!(
            "There is no format '{}'. `seenby formats` lists them; auto tells it by the first bytes.",
            shown(named)
        );
        refused(StatusCode::NOT_FOUND, message)
    })?;
    match &pusher.source.read_as.format {
        Some(own) if own != format => {
            let message =
                format!("The source sends {own} and nothing else. Send to /seenby/v1/ingest/{own}.");
            Err(refused(StatusCode::FORBIDDEN, message))
        }
        _ => Ok(Some(format)),
    }
}

fn refused(status: StatusCode, message: String) -> ApiError {
    ApiError::NotReceived(Box::new(NotReceived { status, message, cause: None, retry_after_s: None }))
}

fn unwelcome(unwelcome: Unwelcome) -> ApiError {
    let message = unwelcome.message().to_owned();
    match unwelcome {
        Unwelcome::NotNow(error) => error,
        Unwelcome::Elsewhere => refused(StatusCode::FORBIDDEN, message),
        _ => refused(StatusCode::UNAUTHORIZED, message),
    }
}

fn stopped(stop: &Stop) -> ApiError {
    ApiError::NotReceived(Box::new(NotReceived {
        status: stop.status(),
        message: stop.message(),
        cause: stop.cause().map(str::to_owned),
        retry_after_s: stop.retry_after_s(),
    }))
}

/// A source and what it has told since the server started.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownSource {
    name: String,
    /// How its records come: `push`, or how they are fetched.
    kind: &'static str,
    /// What they are read as; null: their first bytes tell.
    format: Option<String>,
    /// Tokens that are good now.
    tokens: Option<usize>,
    sighted: u64,
    ignored: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    /// What never came, as far as anybody tells: `datagrams` that this machine had no room for, `flow_records` and `flow_datagrams` that
    /// an exporter's numbers say are missing.
    lost: BTreeMap<&'static str, u64>,
    /// Bytes of it that were read: of uploads and messages without compression around them, of files and objects as they lie.
    bytes: u64,
    /// Files that are followed, connections that are open, or partitions that are this server's.
    open: u64,
    /// Files and objects that are left where they are, because too much of them was refused or they cannot be read.
    paused: u64,
    /// The time of the newest sighting.
    newest: Option<String>,
    /// When something was taken last.
    last_taken: Option<String>,
    /// What is wrong now; null: nothing.
    error: Option<String>,
    last_error: Option<ShownError>,
}

/// What went wrong last.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownError {
    at: String,
    message: String,
}

impl ShownSource {
    fn of(report: SourceReport, tokens: Option<usize>) -> ShownSource {
        let SourceReport {
            name,
            kind,
            format,
            sighted,
            ignored,
            refused,
            lost,
            bytes,
            open,
            paused,
            newest,
            last_taken,
            error,
            last_error,
        } = report;
        ShownSource {
            name,
            kind,
            format,
            tokens,
            sighted,
            ignored,
            refused,
            lost,
            bytes,
            open,
            paused,
            newest: newest.map(|second| second.to_string()),
            last_taken: last_taken.map(|second| second.to_string()),
            error: error.map(|message| escape(&message).into_owned()),
            last_error: last_error.map(|(at, message)| ShownError {
                at: at.to_string(),
                message: escape(&message).into_owned(),
            }),
        }
    }
}

/// What sources told, with those that push and have told nothing since the server started; by name.
pub(super) fn with_silent(
    reports: Vec<SourceReport>,
    book: &Book,
    organisation: OrganisationId,
) -> Vec<SourceReport> {
    // One that pushes may have the name of one that is read.
    let mut all: BTreeMap<(String, &'static str), SourceReport> =
        reports.into_iter().map(|report| ((report.name.clone(), report.kind), report)).collect();
    for source in book.sources.values().filter(|source| source.organisation == organisation) {
        all.entry((source.name.as_str().to_owned(), PUSH)).or_insert_with(|| silent(source));
    }
    all.into_values().collect()
}

/// One that has told nothing since the server started.
fn silent(source: &Source) -> SourceReport {
    SourceReport::new(source.name.as_str().to_owned(), PUSH, source.read_as.format.clone())
}

/// The sources, and what each has told since the server started
#[utoipa::path(
    get,
    path = "/seenby/v1/sources",
    tag = ADMINISTRATION,
    responses(
        (status = 200, description = "The sources of the organisation", body = List<ShownSource>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-sources is missing", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn sources<S: Store + 'static, D: Directory + 'static>(
    axum::extract::State(state): axum::extract::State<State<S, D>>,
    manager: Manager,
) -> Result<Everything<ShownSource>, ApiError> {
    manager.authorise(RolePermission::ManageSources)?;
    let reports = state.intake().map(|intake| intake.reports(manager.organisation)).unwrap_or_default();
    let all = with_silent(reports, &manager.book, manager.organisation);
    let now = state.shared().now().second();
    let mut tokens: BTreeMap<String, usize> = BTreeMap::new();
    for source in manager.book.sources.values().filter(|source| source.organisation == manager.organisation) {
        let name = source.name.as_str().to_owned();
        let good = source.tokens.iter().filter(|token| token.expires_at.is_none_or(|end| now <= end)).count();
        tokens.insert(name, good);
    }
    Ok(List::of(all.into_iter().map(|report| {
        let tokens = tokens.get(&report.name).copied().filter(|_| report.kind == PUSH);
        ShownSource::of(report, tokens)
    })))
}

/// What a protocol of others answers with: a status, a body in JSON, and when to come again.
pub(super) fn answered(status: StatusCode, body: Vec<u8>, retry_after_s: Option<u64>) -> Response {
    let headers = [(axum::http::header::CONTENT_TYPE, "application/json")];
    let mut response = (status, headers, body).into_response();
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}
