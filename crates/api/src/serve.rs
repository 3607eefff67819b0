//! The loop that accepts connections: HTTP/1.1, with a bound on everything that a peer could hold. Refuses to hold:
//! TLS (a stream is a stream: it joins before hyper sees it), signals, and where to listen.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use crate::routes::router;
use crate::settings::Settings;
use crate::state::State;

/// The largest head of a request: a 16 KiB token beside the usual headers must fit, to be refused with a reason.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// After a failed accept (no file descriptors left, mostly) the loop waits, so that it does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

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
    let graceful = GracefulShutdown::new();
    let service = router(state);
    // Dropped when this function returns: what is still open then is cut.
    let (_open, cut) = watch::channel(());
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (service, watcher, cut) = (service.clone(), graceful.watcher(), cut.clone());
        let connection = Connection { stream, peer, service, watcher, cut };
        tokio::spawn(connection.run(shared.settings.clone(), permit));
    }
    shared.set_stopping();
    drop(listener);
    let ended = tokio::time::timeout(shared.settings.shutdown_timeout, graceful.shutdown()).await;
    if ended.is_err() {
        tracing::warn!("requests were still open after the shutdown timeout and are cut");
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// One accepted connection.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    service: Router,
    watcher: Watcher,
    cut: watch::Receiver<()>,
}

impl Connection {
    async fn run(self, settings: Settings, permit: Option<OwnedSemaphorePermit>) {
        let Connection { stream, peer, service, watcher, mut cut } = self;
        // Answers are small and complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let answer = service_fn(move |request| answer(service.clone(), peer, request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), answer);
        let ended = tokio::select! {
            ended = watcher.watch(connection) => ended,
            _ = cut.changed() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended with an error");
        }
        drop(permit);
    }
}

async fn answer(
    service: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    service.oneshot(request).await
}
