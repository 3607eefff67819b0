//! The loops that accept connections, on the callers' listener and on the operator's: who is let in, what comes before
//! the first request (a proxy's word, the TLS handshake), and how a full server says so. Refuses to hold: HTTP on a
//! connection, signals, and where to listen.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sighting::{Directory, Store};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_io_timeout::TimeoutStream;

use crate::called::{Reached, Scheme};
use crate::connection::{Connection, FULL_BODY, Phase, stopping};
use crate::proxied::named_peer;
use crate::routes::{Face, Faced, face};
use crate::state::{Bound, Shared, State};
use crate::tls::Tls;

/// After a failed accept (no file descriptors left, mostly) the loop waits, so that it does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Connections that the operator's own listener serves at once.
const OPERATORS_CONNECTIONS_MAX: usize = 64;
/// Connections over the bound that are being told so at once; yet more are only closed.
const TURNED_AWAY_MAX: usize = 256;
/// How long one of them may take to read it.
const TURNED_AWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// What it is told: the words of [`FULL_BODY`].
static FULL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{FULL_BODY}",
        FULL_BODY.len()
    )
});

/// Where a server listens, and how.
#[derive(Debug)]
pub struct Listeners {
    /// Where callers come.
    pub main: TcpListener,
    /// With it the callers' listener speaks TLS and nothing else.
    pub tls: Option<Tls>,
    /// Where the operator's machines come, in plain HTTP: `/metrics` and the probes; on a loopback address administration too.
    pub operators: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(main: TcpListener) -> Listeners {
        Listeners { main, tls: None, operators: None }
    }
}

/// Answers on listeners until `shutdown` is ready; then open requests may end within `shutdown_timeout`.
///
/// Errors: only that a listener has no local address. Failed accepts are logged and tried again.
pub async fn serve<S: Store + 'static, D: Directory + 'static>(
    listeners: impl Into<Listeners>,
    state: State<S, D>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Listeners { main, tls, operators } = listeners.into();
    let shared = Arc::clone(state.shared());
    let address = main.local_addr()?;
    shared.set_bound(Bound { address, tls: tls.clone() });
    // What is still open when the sender of phases is dropped, at the end of this function, is cut.
    let (phase, phases) = watch::channel(Phase::Serving);
    // Every connection holds a sender of nothing: when all are gone, so are the connections.
    let (alive, mut gone) = mpsc::channel::<Infallible>(1);
    let entrance = |listener, address, tls, face_shown, connections_max, is_proxied| Entrance {
        listener,
        room: Arc::new(Semaphore::new(connections_max)),
        antechamber: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
        visit: Visit {
            shared: Arc::clone(&shared),
            service: face(state.clone(), face_shown),
            address,
            // Browsers of other machines reach it by any name of the operator's network.
            by_any_name: face_shown == Face::Operator,
            tls,
            is_proxied,
            requests: Arc::new(Semaphore::new(connections_max)),
            phases: phases.clone(),
            _alive: alive.clone(),
        },
    };
    let settings = &shared.settings;
    let callers =
        entrance(main, address, tls, Face::Callers, settings.connections_max, settings.proxy_protocol);
    let operators = match operators {
        Some(listener) => {
            let address = listener.local_addr()?;
            // What manages something is asked with tokens, and this listener speaks in the clear.
            let is_here = address.ip().is_loopback();
            let shown = if is_here { Face::Administrator } else { Face::Operator };
            Some(entrance(listener, address, None, shown, OPERATORS_CONNECTIONS_MAX, false))
        }
        None => None,
    };
    drop((phases, alive));
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => {}
        never = callers.admit() => match never {},
        never = admit(operators.as_ref()) => match never {},
    }
    shared.set_stopping();
    drop((callers, operators));
    // Fails if there is no connection that could be told.
    let _ = phase.send(Phase::Stopping);
    if tokio::time::timeout(shared.settings.shutdown_timeout, gone.recv()).await.is_err() {
        tracing::warn!("requests were still open after the shutdown timeout and are cut");
    }
    Ok(())
}

async fn admit(entrance: Option<&Entrance>) -> Infallible {
    match entrance {
        Some(entrance) => entrance.admit().await,
        None => std::future::pending().await,
    }
}

/// A listener with the room behind it.
struct Entrance {
    listener: TcpListener,
    room: Arc<Semaphore>,
    antechamber: Arc<Semaphore>,
    visit: Visit,
}

impl Entrance {
    /// Lets peers in, or turns them away, for ever.
    async fn admit(&self) -> Infallible {
        loop {
            let (stream, peer) = self.accept().await;
            let visit = self.visit.clone();
            if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
                tokio::spawn(visit.serve(stream, peer, permit));
                continue;
            }
            visit.shared.metrics.turned_away();
            if let Ok(permit) = Arc::clone(&self.antechamber).try_acquire_owned() {
                tokio::spawn(visit.turn_away(stream, peer, permit));
            }
        }
    }

    /// The next connection.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

/// A stream whose peer is cut when it does not read.
type Timed = Pin<Box<TimeoutStream<TcpStream>>>;

/// What one connection needs.
#[derive(Clone)]
struct Visit {
    shared: Arc<Shared>,
    service: Faced,
    /// Where the listener listens.
    address: SocketAddr,
    by_any_name: bool,
    tls: Option<Tls>,
    is_proxied: bool,
    requests: Arc<Semaphore>,
    phases: watch::Receiver<Phase>,
    _alive: mpsc::Sender<Infallible>,
}

impl Visit {
    /// Serves a connection to its end. The permit is its place in the room.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let mut phases = self.phases.clone();
        tokio::select! {
            introduced = self.introduce(stream, peer) => {
                if let Some((stream, peer)) = introduced {
                    self.converse(stream, peer).await;
                }
            }
            // Who has not introduced itself by then has asked nothing.
            () = stopping(&mut phases) => {}
        }
        drop(permit);
    }

    /// What a peer says before anything else: for whom it stands. `None` is one that is closed.
    async fn introduce(&self, mut stream: TcpStream, peer: SocketAddr) -> Option<(Timed, SocketAddr)> {
        let settings = &self.shared.settings;
        // Answers are small and complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let named = if self.is_proxied {
            named_peer(&mut stream, peer, &settings.trusted_proxies, settings.handshake_timeout).await
        } else {
            Ok(peer)
        };
        match named {
            Ok(named) => {
                let mut stream = TimeoutStream::new(stream);
                stream.set_write_timeout(Some(settings.write_timeout));
                Some((Box::pin(stream), named))
            }
            Err(refusal) => {
                let reason = refusal.label();
                tracing::debug!(%peer, reason, "a connection without a good PROXY header was closed");
                self.shared.metrics.proxy_refused(refusal);
                None
            }
        }
    }

    /// Requests and answers.
    async fn converse(&self, stream: Timed, peer: SocketAddr) {
        let local = self.local(&stream);
        let connection = |scheme, is_http2| Connection {
            peer,
            reached: Reached { scheme, listener: self.address, local, by_any_name: self.by_any_name },
            is_http2,
            service: self.service.clone(),
            shared: Arc::clone(&self.shared),
            requests: Arc::clone(&self.requests),
            phases: self.phases.clone(),
        };
        let Some(tls) = &self.tls else { return connection(Scheme::Http, false).run(stream).await };
        let mut phases = self.phases.clone();
        let shaken = tokio::select! {
            shaken = tls.accept(stream, self.shared.settings.handshake_timeout) => shaken,
            () = stopping(&mut phases) => return,
        };
        match shaken {
            Ok(secured) => connection(Scheme::Https, secured.is_http2).run(secured.stream).await,
            Err(failure) => {
                let reason = failure.label();
                tracing::debug!(%peer, reason, "a TLS handshake failed");
                self.shared.metrics.handshake_failed(failure);
            }
        }
    }

    fn local(&self, stream: &Timed) -> SocketAddr {
        // It fails for a connection that is gone already.
        stream.get_ref().local_addr().unwrap_or(self.address)
    }

    /// Tells a peer that there is no room, and gives it a moment to read that.
    async fn turn_away(self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let telling = async {
            let (stream, _) = self.introduce(stream, peer).await?;
            match &self.tls {
                None => tell_full(stream).await.ok(),
                Some(tls) => {
                    let secured = tls.accept_to_refuse(stream, TURNED_AWAY_TIMEOUT).await.ok()?;
                    tell_full(secured.stream).await.ok()
                }
            }
        };
        // It hears it or it does not; nothing depends on it.
        let _ = tokio::time::timeout(TURNED_AWAY_TIMEOUT, telling).await;
        drop(permit);
    }
}

async fn tell_full(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(FULL.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing on bytes that nobody read would take the answer back.
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_full_server_says_its_own_length() {
        let text = FULL.as_str();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        assert_eq!(length, body.len().to_string());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"]["code"], "ServiceUnavailable");
        assert!(text.ends_with(FULL_BODY), "the same in both versions of HTTP");
    }
}
