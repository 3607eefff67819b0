//! The list of all layers around the routes, outermost first: the word that TLS is spoken here, bodies taken off answers
//! to HEAD, compression, observation (request id, log, metrics, errors rendered, RateLimit headers), panic guard, timeout,
//! host check, drain. Refuses to hold: who may ask and how often: those belong to a route.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Request, State as Held};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, STRICT_TRANSPORT_SECURITY};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use sighting::escape;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::bearer::{Noted, Principal};
use crate::called::{self, Scheme};
use crate::error::{ApiError, Failure, shown};
use crate::ratelimit;
use crate::routes::{CalledUri, PROBES, speaks_oauth};
use crate::state::Shared;
use crate::token::TokenRefusal;

/// The response header that carries the request id; an error's `target` and the log line have the same.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// One year. Hosts below this one are not ours to speak for.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The route label of requests that no route matched.
const NO_ROUTE: &str = "none";

/// All layers; the last one added is the outermost.
pub(crate) fn all<S: Clone + Send + Sync + 'static>(routes: Router<S>, shared: &Arc<Shared>) -> Router<S> {
    let of = || Arc::clone(shared);
    routes
        .layer(from_fn_with_state(of(), drain))
        .layer(from_fn_with_state(of(), check_host))
        .layer(from_fn_with_state(of(), limit_time))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(from_fn_with_state(of(), observe))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(from_fn(without_body_for_head))
        .layer(from_fn(strict_transport_security))
}

/// Browsers that came over TLS come over TLS from now on. Never said without TLS: there it could be anybody's word.
async fn strict_transport_security(request: Request, next: Next) -> Response {
    let is_https = request.extensions().get() == Some(&Scheme::Https);
    let mut response = next.run(request).await;
    if is_https {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}

/// Gives the request its id, renders the error if there is one, and leaves one log line and the metrics.
async fn observe(Held(shared): Held<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let request_id = new_request_id(&shared);
    let noted = Noted::default();
    request.extensions_mut().insert(noted.clone());
    // A method is any word that a client makes up.
    let method = shown(request.method().as_str());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let path =
        request.extensions().get::<CalledUri>().map(|called| shown(called.0.path())).unwrap_or_default();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
    // A stopwatch, not a clock: it decides nothing and is only shown.
    let started = tokio::time::Instant::now();
    let mut response = next.run(request).await;
    let failure = Failure::of(&mut response);
    let failure = failure.map(|failure| if speaks_oauth(route) { failure.for_oauth() } else { failure });
    if let Some(failure) = &failure {
        count_refusal(&shared, failure);
        response = rendered(failure, &response, &shared, &request_id);
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    if let Some(standing) = noted.standing() {
        ratelimit::put(response.headers_mut(), standing);
    }
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    shared.metrics.answered(route, status, elapsed.as_secs_f64());
    let (request_id, method, path, peer) = (&*request_id, &*method, &*path, peer.as_deref());
    let line = Line { request_id, method, path, peer, route, status, elapsed };
    line.log(noted.principal(), failure.as_deref());
    response
}

/// What the log says of every request.
struct Line<'a> {
    request_id: &'a str,
    method: &'a str,
    path: &'a str,
    /// Who called: with a proxy that says so, whom it stands for.
    peer: Option<&'a str>,
    route: &'a str,
    status: u16,
    elapsed: Duration,
}

impl Line<'_> {
    fn log(&self, principal: Option<&Principal>, failure: Option<&Failure>) {
        let Line { request_id, method, path, peer, route, status, elapsed } = self;
        let elapsed_us = elapsed.as_micros() as u64;
        let organisation = principal.map(|principal| principal.organisation.to_string());
        // An outside issuer's ids are anything that it lets them be.
        let application = principal.map(|principal| escape(&principal.holder.client().written));
        let user = principal.and_then(|principal| principal.holder.user()).map(escape);
        let (application, user) = (application.as_deref(), user.as_deref());
        let code = failure.map(Failure::code);
        let cause = failure.map(Failure::cause);
        let cause = cause.as_deref();
        if *status == 500 {
            tracing::error!(request_id, cause, "a fault of this server");
        }
        tracing::info!(
            request_id,
            method,
            path,
            route,
            status,
            elapsed_us,
            peer,
            organisation,
            application,
            user,
            code,
            cause,
            "answered"
        );
    }
}

/// A version 4 UUID, as the original's targets once were.
fn new_request_id(shared: &Shared) -> String {
    shared.random_uuid().to_string()
}

fn count_refusal(shared: &Shared, failure: &Failure) {
    match failure {
        Failure::Api(ApiError::Unauthorized(refusal)) => shared.metrics.token_refused(*refusal),
        Failure::Api(ApiError::ForAnother(_)) => shared.metrics.token_refused(TokenRefusal::Audience),
        Failure::Api(ApiError::TooManyRequests(refused)) => shared.metrics.over_limit(refused.quota),
        _ => {}
    }
}

/// The error in full, with the headers that inner layers gave its empty response.
fn rendered(failure: &Failure, empty: &Response, shared: &Shared, request_id: &str) -> Response {
    let mut response = failure.render(request_id, shared.now());
    if let Some(connection) = empty.headers().get(CONNECTION) {
        response.headers_mut().insert(CONNECTION, connection.clone());
    }
    response
}

/// The answer to HEAD is that to GET without its body, errors and compression included.
async fn without_body_for_head(request: Request, next: Next) -> Response {
    let is_head = request.method() == Method::HEAD;
    let mut response = next.run(request).await;
    if !is_head {
        return response;
    }
    match response.body().size_hint().exact() {
        Some(length) => {
            if length > 0 {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            response.map(|_| Body::empty())
        }
        None => response.map(|_| Body::new(OfUnknownLength)),
    }
}

/// Nothing, without saying so before: a compressed answer has no length in its head, and neither has that to HEAD.
struct OfUnknownLength;

impl hyper::body::Body for OfUnknownLength {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// One request may fail; the service stays, and the client learns nothing of why.
fn on_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map(|text| (*text).to_owned()).unwrap_or_default(),
    };
    ApiError::Internal { cause: format!("panic: {text}") }.into_response()
}

async fn limit_time(Held(shared): Held<Arc<Shared>>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(shared.settings.request_timeout, next.run(request));
    answer.await.unwrap_or_else(|_| ApiError::TimedOut.into_response())
}

/// Two hosts mean different servers to different programs on the way here. HTTP/2 has its own word for the host
/// (`:authority`); a `Host` header beside it must be the same. The one that is called must be ours, but for the probes:
/// load balancers call them by any.
async fn check_host(Held(shared): Held<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).iter();
    let first = hosts.next();
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    let differs = |(authority, host): (&Authority, &HeaderValue)| {
        !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
    };
    if hosts.next().is_some() || authority.zip(first).is_some_and(differs) {
        return ApiError::BadRequest { problem: "Send exactly one Host header." }.into_response();
    }
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if !route.is_some_and(|route| PROBES.contains(&route)) {
        match called::admit(&shared, &request) {
            Ok(None) => {}
            Ok(Some(endpoint)) => {
                request.extensions_mut().insert(endpoint);
            }
            Err(refused) => return refused.into_response(),
        }
    }
    next.run(request).await
}

/// Reads and throws away a body that no route wants, so that the connection can be kept; a larger one ends it.
async fn drain(Held(shared): Held<Arc<Shared>>, request: Request, next: Next) -> Response {
    let takes_a_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    let wanted = takes_a_body || request.body().is_end_stream();
    if wanted {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let draining = drained(body, shared.settings.drained_bytes_max);
    let whole = tokio::time::timeout(shared.settings.drain_timeout, draining).await.unwrap_or_default();
    let mut response = next.run(Request::from_parts(parts, Body::empty())).await;
    if !whole {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a body ended within so many bytes.
async fn drained(mut body: Body, bytes_max: usize) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > bytes_max {
            return false;
        }
    }
    true
}
