//! The loop that accepts connections: HTTP/1.1, with a bound on everything that a peer could hold. Refuses to hold:
//! TLS (a stream is a stream: it joins before hyper sees it), signals, and where to listen.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use sighting::{Directory, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use crate::routes::router;
use crate::settings::Settings;
use crate::state::State;

/// The largest head of a request: a 16 KiB token beside the usual headers must fit, to be refused with a reason.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// After a failed accept (no file descriptors left, mostly) the loop waits, so that it does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// After the stop signal a connection without a request under way has this long to write what it still has.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Connections over the bound that are being told so at once; yet more are only closed.
const TURNED_AWAY_MAX: usize = 256;
/// How long one of them may take to read it.
const TURNED_AWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// What it is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 141\r\n\r\n{\"error\":{\"code\":\"ServiceUnavailable\",\"message\":\"The server has as many connections as it can. Try again in a few seconds.\",\"target\":\"none\"}}";

/// How far a shutdown has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Serving,
    /// No new requests; those under way may end.
    Stopping,
}

/// Answers on a listener until `shutdown` is ready; then open requests may end within `shutdown_timeout`.
///
/// Errors: only that the listener has no local address. Failed accepts are logged and tried again.
pub async fn serve<S: Store + 'static, D: Directory + 'static>(
    listener: TcpListener,
    state: State<S, D>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let shared = Arc::clone(state.shared());
    shared.set_bound(listener.local_addr()?);
    let room = Arc::new(Semaphore::new(shared.settings.connections_max));
    let antechamber = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let graceful = GracefulShutdown::new();
    let service = router(state);
    // What is still open when the sender is dropped, at the end of this function, is cut.
    let (phase, phases) = watch::channel(Phase::Serving);
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener) => accepted,
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            shared.metrics.turned_away();
            if let Ok(permit) = Arc::clone(&antechamber).try_acquire_owned() {
                tokio::spawn(turn_away(stream, permit));
            }
            continue;
        };
        let (service, watcher, phases) = (service.clone(), graceful.watcher(), phases.clone());
        let connection = Connection { stream, peer, service, watcher, phases };
        tokio::spawn(connection.run(shared.settings.clone(), permit));
    }
    shared.set_stopping();
    drop(listener);
    // Fails if there is no connection that could be told.
    let _ = phase.send(Phase::Stopping);
    let ended = tokio::time::timeout(shared.settings.shutdown_timeout, graceful.shutdown()).await;
    if ended.is_err() {
        tracing::warn!("requests were still open after the shutdown timeout and are cut");
    }
    Ok(())
}

/// The next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Tells a peer that there is no room, and gives it a moment to read that.
async fn turn_away(mut stream: TcpStream, permit: OwnedSemaphorePermit) {
    let telling = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        // Closing on bytes that nobody read would take the answer back.
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // It hears it or it does not; nothing depends on it.
    let _ = tokio::time::timeout(TURNED_AWAY_TIMEOUT, telling).await;
    drop(permit);
}

/// One accepted connection.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    service: Router,
    watcher: Watcher,
    phases: watch::Receiver<Phase>,
}

impl Connection {
    async fn run(self, settings: Settings, permit: OwnedSemaphorePermit) {
        let Connection { stream, peer, service, watcher, phases } = self;
        // Answers are small and complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(settings.write_timeout));
        let under_way = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&under_way);
        let answer = service_fn(move |request| answer(service.clone(), peer, request, Arc::clone(&counted)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            // A client may say that it has nothing more to ask while it waits for the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(Box::pin(stream)), answer);
        let ended = tokio::select! {
            ended = watcher.watch(connection) => ended,
            () = to_be_cut(phases, &under_way) => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended with an error");
        }
        drop(permit);
    }
}

/// Ready when a connection is to be cut: soon after the stop signal if it has no request under way (half a head may never
/// become a whole one), else when the server ends.
async fn to_be_cut(mut phases: watch::Receiver<Phase>, under_way: &AtomicUsize) {
    if phases.wait_for(|phase| *phase == Phase::Stopping).await.is_err() {
        return;
    }
    tokio::time::sleep(LAST_WORDS).await;
    if under_way.load(Ordering::Relaxed) > 0 {
        // Only the end of the server is still to come.
        while phases.changed().await.is_ok() {}
    }
}

async fn answer(
    service: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
    under_way: Arc<AtomicUsize>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let _counted = Counted::new(under_way);
    service.oneshot(request).await
}

/// A request under way, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(under_way: Arc<AtomicUsize>) -> Counted {
        under_way.fetch_add(1, Ordering::Relaxed);
        Counted(under_way)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_full_server_says_its_own_length() {
        let text = str::from_utf8(FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        assert_eq!(length, body.len().to_string());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"]["code"], "ServiceUnavailable");
    }
}
