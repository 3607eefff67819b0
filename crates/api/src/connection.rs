//! One accepted connection and the HTTP on it, version 1.1 or 2, with a bound on everything that a peer could hold: the
//! head's size and time, idle time, answers that nobody reads, streams at once. Refuses to hold: handshakes, who is let
//! in, and what is answered.
//!
//! Each version has bounds of its own in the libraries. What they lack is here: a connection without a request, or with a
//! part of one, is closed (the library's own timer for HTTP/1.1 is set anew for each request), and one of HTTP/2 whose peer
//! opens no window for an answer is cut.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tower::Service as _;

use crate::called::Reached;
use crate::routes::Faced;
use crate::state::Shared;

/// The largest head of a request: a 16 KiB token beside the usual headers must fit, to be refused with a reason.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How much of a stream's body may be under way unread: one whole form.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// How much of a stream's answer is kept for a peer that has not opened its window.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams that a peer opened and took back before they were looked at; with more its connection ends (the rapid reset
/// attack). The library's own bound, written down so that it stays.
const RESET_STREAMS_MAX: usize = 20;
/// Streams that had to be reset for a peer's errors; with more its connection ends.
const ERROR_STREAMS_MAX: usize = 100;
/// After the stop signal a connection without a request under way has this long to write what it still has.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The error of a server that has no room for one more connection or request.
pub(crate) const FULL_BODY: &str = r#"{"error":{"code":"ServiceUnavailable","message":"The server has as many connections as it can. Try again in a few seconds.","target":"none"}}"#;

/// How far a shutdown has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Serving,
    /// No new requests; those under way may end.
    Stopping,
}

/// Ready when the server begins to stop, or is gone.
pub(crate) async fn stopping(phases: &mut watch::Receiver<Phase>) {
    // An error means that the sender is gone, and the server with it.
    let _ = phases.wait_for(|phase| *phase == Phase::Stopping).await;
}

/// A connection that is let in.
pub(crate) struct Connection {
    /// Who called, as far as is known.
    pub(crate) peer: SocketAddr,
    pub(crate) reached: Reached,
    /// The peer chose HTTP/2.
    pub(crate) is_http2: bool,
    pub(crate) service: Faced,
    pub(crate) shared: Arc<Shared>,
    /// How many requests of HTTP/2 may be answered at once, on all connections together: as many as there may be
    /// connections, so that one that carries a hundred of them costs no more than a hundred of HTTP/1.1.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) phases: watch::Receiver<Phase>,
}

impl Connection {
    /// Answers until either side ends it.
    pub(crate) async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Connection { peer, reached, is_http2, service, shared, requests, phases } = self;
        let settings = &shared.settings;
        let activity = Arc::new(Activity::new());
        let caller = Arc::new(Caller {
            peer,
            reached,
            service,
            requests,
            activity: Arc::clone(&activity),
            shared: Arc::clone(&shared),
        });
        let stream = TokioIo::new(stream);
        let idle = activity.idle_for(settings.header_timeout);
        let ended = if is_http2 {
            let answer = service_fn(move |request| Arc::clone(&caller).answer_http2(request));
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(HEAD_BYTES_MAX as u32)
                .max_concurrent_streams(settings.streams_max)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
                .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
                .max_local_error_reset_streams(ERROR_STREAMS_MAX)
                .serve_connection(stream, answer);
            let stalled = activity.unread_for(settings.write_timeout);
            tokio::select! {
                ended = drive(connection, phases, idle, &activity) => ended,
                () = stalled => Ok(()),
            }
        } else {
            let answer = service_fn(move |request| Arc::clone(&caller).answer_http1(request));
            let connection = http1::Builder::new()
                .header_read_timeout(None)
                .max_buf_size(HEAD_BYTES_MAX)
                // A client may say that it has nothing more to ask while it waits for the answer.
                .half_close(true)
                .serve_connection(stream, answer);
            drive(connection, phases, idle, &activity).await
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended with an error");
        }
    }
}

/// A connection of either version.
trait Ends: Future<Output = hyper::Result<()>> {
    /// No new requests; those under way may end.
    fn end(self: Pin<&mut Self>);
}

impl<I, S> Ends for http1::Connection<I, S>
where
    http1::Connection<I, S>: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<Incoming, ResBody = Unread>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Ends for http2::Connection<I, S, TokioExecutor>
where
    http2::Connection<I, S, TokioExecutor>: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<Incoming, ResBody = Unread>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    TokioExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, Unread>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection to its end: its own, that of an idle one, or the server's.
async fn drive(
    connection: impl Ends,
    mut phases: watch::Receiver<Phase>,
    idle: impl Future<Output = ()>,
    activity: &Activity,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stopping(&mut phases) => {}
        () = idle => {}
    }
    connection.as_mut().end();
    tokio::select! {
        ended = connection => ended,
        () = to_be_cut(phases, activity) => Ok(()),
    }
}

/// Ready when a connection that is asked to end is to be cut: soon, if it has no request under way (half a head may never
/// become a whole one), else when the server ends.
async fn to_be_cut(mut phases: watch::Receiver<Phase>, activity: &Activity) {
    tokio::time::sleep(LAST_WORDS).await;
    if activity.under_way.load(Ordering::Relaxed) > 0 {
        // Only the end of the server is still to come.
        while phases.changed().await.is_ok() {}
    }
}

/// What a request is answered with.
struct Caller {
    peer: SocketAddr,
    reached: Reached,
    service: Faced,
    requests: Arc<Semaphore>,
    activity: Arc<Activity>,
    shared: Arc<Shared>,
}

impl Caller {
    /// The request is under way until its answer has been taken.
    async fn answer_http1(
        self: Arc<Caller>,
        request: Request<Incoming>,
    ) -> Result<Response<Unread>, Infallible> {
        let counted = Counted::new(Arc::clone(&self.activity));
        Ok(self.answer(request).await?.map(|body| Unread::new(body, counted)))
    }

    /// As [`Caller::answer_http1`], if there is room for one more.
    async fn answer_http2(
        self: Arc<Caller>,
        request: Request<Incoming>,
    ) -> Result<Response<Unread>, Infallible> {
        let counted = Counted::new(Arc::clone(&self.activity));
        let response = match Arc::clone(&self.requests).try_acquire_owned() {
            Ok(_permit) => self.answer(request).await?,
            Err(_) => {
                self.shared.metrics.turned_away();
                full()
            }
        };
        Ok(response.map(|body| Unread::new(body, counted)))
    }

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(self.reached);
        // It is always ready.
        self.service.clone().call(request)
    }
}

/// What a full server says, in the words of [`FULL_BODY`].
fn full() -> Response<Body> {
    let mut response = Response::new(Body::from(FULL_BODY));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// What happens on a connection.
struct Activity {
    begun_at: Instant,
    /// Requests that are not yet answered, or whose answers are not yet taken.
    under_way: AtomicUsize,
    /// When the last request began or ended, in milliseconds since `begun_at`.
    last_ms: AtomicU64,
    /// Counts up; its lowest bit says which of the two below is the newer.
    turn: AtomicUsize,
    /// Answers that were given, or of which a part was taken, in a turn, and that are not taken whole.
    unread: [AtomicUsize; 2],
}

impl Activity {
    fn new() -> Activity {
        Activity {
            begun_at: Instant::now(),
            under_way: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            unread: [AtomicUsize::new(0), AtomicUsize::new(0)],
        }
    }

    fn touch(&self) {
        let elapsed = u64::try_from(self.begun_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Ready when there was no request for so long.
    async fn idle_for(&self, timeout: Duration) {
        loop {
            let last = self.begun_at + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let is_busy = self.under_way.load(Ordering::Relaxed) > 0;
            let until = if is_busy { Instant::now() } else { last } + timeout;
            if !is_busy && until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Ready when no part of an answer was taken for at least so long, at most twice that.
    async fn unread_for(&self, timeout: Duration) {
        loop {
            tokio::time::sleep(timeout).await;
            let next = self.turn.load(Ordering::Relaxed) + 1;
            if self.unread[next % 2].load(Ordering::Relaxed) > 0 {
                return;
            }
            self.turn.store(next, Ordering::Relaxed);
        }
    }
}

/// A request under way, however it ends.
struct Counted(Arc<Activity>);

impl Counted {
    fn new(activity: Arc<Activity>) -> Counted {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        activity.touch();
        Counted(activity)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

/// The body of an answer, noted as long as it is not taken whole.
struct Unread {
    body: Body,
    /// The half of [`Activity::unread`] that it is counted in.
    half: usize,
    counted: Counted,
}

impl Unread {
    fn new(body: Body, counted: Counted) -> Unread {
        let half = counted.0.turn.load(Ordering::Relaxed) % 2;
        counted.0.unread[half].fetch_add(1, Ordering::Relaxed);
        Unread { body, half, counted }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.counted.0.unread[self.half].fetch_sub(1, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // A part was taken: the time begins anew.
        let (before, now) = (self.half, self.counted.0.turn.load(Ordering::Relaxed) % 2);
        if before != now {
            self.counted.0.unread[now].fetch_add(1, Ordering::Relaxed);
            self.counted.0.unread[before].fetch_sub(1, Ordering::Relaxed);
            self.half = now;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
