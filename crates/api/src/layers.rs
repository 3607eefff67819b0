//! What is around every route, outermost first: bodies taken off answers to HEAD, compression, and in one service the word that
//! TLS is spoken here, observation (request id, log, metrics, errors rendered, RateLimit headers), panic guard, timeout,
//! host check, drain. Refuses to hold: who may ask and how often: those belong to a route.
//!
//! One service, because each layer of its own would cost every request a future and a copy of the service on the heap.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, STRICT_TRANSPORT_SECURITY};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, Version};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either, FutureExt, Map};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use sighting::escape;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tower::layer::layer_fn;
use tower::{Service, ServiceBuilder};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::bearer::{Noted, Principal};
use crate::called::{self, Reached, Scheme};
use crate::error::{ApiError, Failure, shown};
use crate::ratelimit;
use crate::receive::is_upload;
use crate::routes::{CalledUri, PROBES, speaks_oauth};
use crate::state::Shared;
use crate::token::TokenRefusal;

/// The response header that carries the request id; an error's `target` and the log line have the same.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// One year. Hosts below this one are not ours to speak for.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The route label of requests that no route matched.
const NO_ROUTE: &str = "none";

/// Puts all of it around the routes.
pub(crate) fn all<S: Clone + Send + Sync + 'static>(routes: Router<S>, shared: &Arc<Shared>) -> Router<S> {
    let shared = Arc::clone(shared);
    let around = ServiceBuilder::new()
        .layer(layer_fn(|inner| WithoutBodyForHead { inner }))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(layer_fn(move |inner| Around { shared: Arc::clone(&shared), inner }));
    routes.layer(around)
}

/// A service that a route can be.
trait Inner:
    Service<Request, Response = Response, Error = Infallible, Future: Send + 'static> + Clone + Send + 'static
{
}

impl<S> Inner for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// What is around a route.
#[derive(Clone)]
struct Around<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S: Inner> Service<Request> for Around<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let observed = Observed::begin(Arc::clone(&self.shared), &mut request);
        let may_be_long = observed.route.as_ref().is_some_and(|route| is_upload(route.as_str()));
        let limit = if may_be_long { Duration::MAX } else { self.shared.settings.request_timeout };
        let begun = catch_unwind(AssertUnwindSafe(|| self.answer(request)));
        Box::pin(async move {
            let answer = match begun {
                Ok(answering) => AssertUnwindSafe(within(limit, answering)).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            Ok(observed.end(match answer {
                Ok(Ok(Ok(response))) => response,
                Ok(Err(_)) => ApiError::TimedOut.into_response(),
                Err(panic) => on_panic(panic),
            }))
        })
    }
}

/// As [`tokio::time::timeout`], without a timer for what is ready at once: most answers come from memory.
async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::time::timeout(limit, future).await,
    }
}

/// The answer of a route, or of what is before it.
type Answering<F> =
    Either<F, Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>>;

impl<S: Inner> Around<S> {
    fn answer(&mut self, mut request: Request) -> Answering<S::Future> {
        if let Err(refused) = check_host(&self.shared, &mut request) {
            return Either::Right(Either::Left(ready(Ok(refused.into_response()))));
        }
        if wants_its_body(&request) {
            return Either::Left(self.inner.call(request));
        }
        let (shared, inner) = (Arc::clone(&self.shared), self.inner.clone());
        Either::Right(Either::Right(Box::pin(drain_and_answer(shared, inner, request))))
    }
}

/// A request that is being answered: what is told of it when it is.
struct Observed {
    shared: Arc<Shared>,
    request_id: String,
    noted: Noted,
    route: Option<MatchedPath>,
    is_https: bool,
    /// A stopwatch, not a clock: it decides nothing and is only shown.
    begun_at: Instant,
    /// For the log, where there is one.
    told: Option<Told>,
}

/// What the log says of a request, as it came.
struct Told {
    /// Any word that a client makes up.
    method: String,
    path: String,
    /// Who called: with a proxy that says so, whom it stands for.
    peer: Option<IpAddr>,
}

impl Told {
    fn of(request: &Request) -> Told {
        let extensions = request.extensions();
        Told {
            method: shown(request.method().as_str()),
            path: extensions.get::<CalledUri>().map(|called| shown(called.0.path())).unwrap_or_default(),
            peer: extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()),
        }
    }
}

impl Observed {
    /// Gives the request its id, and its extractors a place for what they know.
    fn begin(shared: Arc<Shared>, request: &mut Request) -> Observed {
        let noted = Noted::default();
        request.extensions_mut().insert(noted.clone());
        Observed {
            // A version 4 UUID, as the original's targets once were.
            request_id: shared.random_uuid().to_string(),
            noted,
            route: request.extensions().get::<MatchedPath>().cloned(),
            is_https: request
                .extensions()
                .get::<Reached>()
                .is_some_and(|reached| reached.scheme == Scheme::Https),
            begun_at: Instant::now(),
            told: tracing::enabled!(tracing::Level::INFO).then(|| Told::of(request)),
            shared,
        }
    }

    /// Renders the error if there is one, and leaves one log line and the metrics.
    fn end(self, mut response: Response) -> Response {
        let Observed { shared, request_id, .. } = &self;
        let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
        let failure = Failure::of(&mut response);
        let failure = failure.map(|failure| if speaks_oauth(route) { failure.for_oauth() } else { failure });
        if let Some(failure) = &failure {
            count_refusal(shared, failure);
            response = rendered(failure, &response, shared, request_id);
        }
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID_HEADER, id);
        }
        if self.is_https {
            // Browsers that came over TLS come over TLS from now on. Never said without TLS: there it could be anybody's word.
            headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        if let Some(standing) = self.noted.standing() {
            ratelimit::put(headers, standing);
        }
        let (status, elapsed) = (response.status().as_u16(), self.begun_at.elapsed());
        shared.metrics.answered(route, status, elapsed.as_secs_f64());
        if status == 500 {
            let cause = failure.as_deref().map(Failure::cause);
            tracing::error!(request_id, cause = cause.as_deref(), "a fault of this server");
        }
        if let Some(told) = &self.told {
            let line = Line { request_id, told, route, status, elapsed };
            line.log(self.noted.principal(), failure.as_deref());
        }
        response
    }
}

/// What the log says of an answer.
struct Line<'a> {
    request_id: &'a str,
    told: &'a Told,
    route: &'a str,
    status: u16,
    elapsed: Duration,
}

impl Line<'_> {
    fn log(&self, principal: Option<&Principal>, failure: Option<&Failure>) {
        let Line { request_id, told: Told { method, path, peer }, route, status, elapsed } = self;
        let peer = peer.map(|peer| peer.to_string());
        let elapsed_us = elapsed.as_micros() as u64;
        let organisation = principal.map(|principal| principal.organisation.to_string());
        // An outside issuer's ids are anything that it lets them be.
        let application = principal.map(|principal| escape(&principal.holder.client().written));
        let user = principal.and_then(|principal| principal.holder.user()).map(escape);
        let (application, user) = (application.as_deref(), user.as_deref());
        let code = failure.map(Failure::code);
        let cause = failure.map(Failure::cause);
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
            cause = cause.as_deref(),
            "answered"
        );
    }
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
#[derive(Clone)]
struct WithoutBodyForHead<S> {
    inner: S,
}

impl<S, B> Service<Request> for WithoutBodyForHead<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    B: hyper::body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Map<S::Future, fn(Result<Response<B>, Infallible>) -> Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_head = request.method() == Method::HEAD;
        self.inner.call(request).map(match is_head {
            true => |answer| answer.map(without_body),
            false => |answer| answer.map(|response| response.map(Body::new)),
        })
    }
}

fn without_body<B: hyper::body::Body>(mut response: Response<B>) -> Response {
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

/// Two hosts mean different servers to different programs on the way here. HTTP/2 has its own word for the host
/// (`:authority`); a `Host` header beside it must be the same. The one that is called must be ours, but for the probes:
/// load balancers call them by any.
fn check_host(shared: &Shared, request: &mut Request) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let first = hosts.next();
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    let differs = |(authority, host): (&Authority, &HeaderValue)| {
        !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
    };
    if hosts.next().is_some() || authority.zip(first).is_some_and(differs) {
        return Err(ApiError::BadRequest { problem: "Send exactly one Host header." });
    }
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if route.is_some_and(|route| PROBES.contains(&route)) {
        return Ok(());
    }
    if let Some(endpoint) = called::admit(shared, request)? {
        request.extensions_mut().insert(endpoint);
    }
    Ok(())
}

/// Whether there is no body, or one that the route may want.
fn wants_its_body(request: &Request) -> bool {
    let takes_a_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    takes_a_body || request.body().is_end_stream()
}

/// Reads and throws away a body that no route wants, so that the connection can be kept; a larger one ends it.
async fn drain_and_answer<S: Inner>(
    shared: Arc<Shared>,
    mut inner: S,
    request: Request,
) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let draining = drained(body, shared.settings.drained_bytes_max);
    let whole = tokio::time::timeout(shared.settings.drain_timeout, draining).await.unwrap_or_default();
    let mut response = inner.call(Request::from_parts(parts, Body::empty())).await?;
    if !whole {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
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
