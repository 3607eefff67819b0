//! Syslog as it comes over UDP, TCP and TLS: a message is a record. Nobody is told that a message arrived, so what is on its way
//! into the store when the process is killed is lost: the batch of a moment. Refuses to hold: where a message ends in a stream
//! (`messages`), and what its header says (`formats`).
//!
//! ```text
//! listener ── connection (task) ──┐
//!          ── connection (task) ──┴─ channel ── one thread: framing, decode, batch, append
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use formats::{Chunk, Detection, Framer, Opening};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

use super::feed::{Feed, Stopped, name};
use super::messages::{Framed, Messages};
use super::settings::{Syslog, Transport};
use super::udp;
use crate::ingest::Reading;
use crate::pair::{LOOK_EVERY, Pair, Watch};

/// Connections of one listener.
const CONNECTIONS_MAX: usize = 1_024;
/// Senders over UDP that are told apart: each may send another format.
const SENDERS_MAX: usize = 4_096;
/// Pieces that wait for the thread: of 64 KiB each at most.
const WAITING_MAX: usize = 256;
const BYTES_READ: usize = 64 << 10;
/// How long a message waits for others before it is appended.
const BATCH_WAITS: Duration = Duration::from_millis(200);
/// After how long a connection that says nothing is closed, where there is no room for another.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long before an address that was taken is tried again.
const BIND_WAITS: Duration = Duration::from_secs(2);

/// Who sends: a connection, or an address of UDP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Sender {
    Connection(u64, IpAddr),
    Address(IpAddr),
}

/// What came.
enum Came {
    /// Of a stream.
    Bytes(Sender, Vec<u8>),
    /// All of a datagram.
    Datagram(Sender, Vec<u8>),
    Ended(Sender),
}

/// Listens until the server stops.
pub(super) fn listen(mut feed: Feed, settings: &Syslog, sealing: Option<&api::SealingKey>) {
    // A server that stops is the only end.
    let Stopped = run(&mut feed, settings, sealing);
    let _ = feed.commit();
}

fn run(feed: &mut Feed, settings: &Syslog, sealing: Option<&api::SealingKey>) -> Stopped {
    loop {
        match feed.runtime().block_on(Listener::bind(settings, sealing)) {
            Ok(listener) => {
                feed.is_well();
                let address = listener.address;
                tracing::info!(source = %name(&feed.source.name), %address, "syslog is listened for");
                return match receive(feed, listener) {
                    Ok(never) => match never {},
                    Err(stopped) => stopped,
                };
            }
            Err(error) => {
                let address = settings.address;
                feed.trouble(&format!(
                    "{address} cannot be listened on ({error:#}); it is tried again: free it, or correct its [[sources]]"
                ));
            }
        }
        if let Err(stopped) = feed.stop().wait(BIND_WAITS) {
            return stopped;
        }
    }
}

/// A bound socket, whose pieces come out of a channel.
struct Listener {
    address: SocketAddr,
    came: mpsc::Receiver<Came>,
    task: tokio::task::JoinHandle<()>,
    is_udp: bool,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    async fn bind(settings: &Syslog, sealing: Option<&api::SealingKey>) -> anyhow::Result<Listener> {
        let (sender, came) = mpsc::channel(WAITING_MAX);
        let is_udp = settings.transport == Transport::Udp;
        let (address, task) = match &settings.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(settings.address).await?;
                udp::make_room(&socket);
                (socket.local_addr()?, tokio::spawn(datagrams(socket, sender)))
            }
            Transport::Tcp => {
                let listener = TcpListener::bind(settings.address).await?;
                (listener.local_addr()?, tokio::spawn(connections(listener, None, sender)))
            }
            Transport::Tls(pair) => {
                let certificate = Certificate::open(pair.clone(), sealing.cloned())?;
                let listener = TcpListener::bind(settings.address).await?;
                (listener.local_addr()?, tokio::spawn(connections(listener, Some(certificate), sender)))
            }
        };
        Ok(Listener { address, came, task, is_udp })
    }
}

/// The certificate of a listener, which is exchanged when its files are others.
struct Certificate {
    watch: Watch,
    sealing: Option<api::SealingKey>,
    acceptor: TlsAcceptor,
}

impl Certificate {
    fn open(pair: Pair, sealing: Option<api::SealingKey>) -> anyhow::Result<Certificate> {
        let watch = Watch::new(pair);
        let acceptor = acceptor(&watch.pair, sealing.as_ref())?;
        Ok(Certificate { watch, sealing, acceptor })
    }

    /// Takes up files that changed; where they cannot be used, later connections are made with those before.
    fn look(&mut self) {
        if !self.watch.look() {
            return;
        }
        let certificate = crate::house::shown(&self.watch.pair.certificate);
        match acceptor(&self.watch.pair, self.sealing.as_ref()) {
            Ok(acceptor) => {
                self.acceptor = acceptor;
                tracing::info!(%certificate, "the certificate of syslog was exchanged");
            }
            Err(error) => {
                tracing::error!(%certificate, error = %format!("{error:#}"), "the files of syslog's certificate changed and cannot be used; the old one is used on");
            }
        }
    }
}

fn acceptor(pair: &Pair, sealing: Option<&api::SealingKey>) -> anyhow::Result<TlsAcceptor> {
    let shown = crate::house::shown;
    let read = pair.read(sealing)?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read.certificate)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is no certificate", shown(&pair.certificate)))?;
    let key = PrivateKeyDer::from_pem_slice(&read.key)
        .with_context(|| format!("{} is no key", shown(&pair.key)))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("the certificate and its key cannot be used")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn datagrams(socket: UdpSocket, sender: mpsc::Sender<Came>) {
    let mut buffer = vec![0; udp::DATAGRAM_BYTES_MAX];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        // While this waits, the system keeps what comes, and counts what it has no room for.
        if sender.send(Came::Datagram(Sender::Address(peer.ip()), bytes)).await.is_err() {
            return;
        }
    }
}

async fn connections(
    listener: TcpListener,
    mut certificate: Option<Certificate>,
    sender: mpsc::Sender<Came>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        while tasks.try_join_next().is_some() {}
        let mut next = pin!(async {
            // Those that there is no room for wait to be accepted.
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        });
        let next = loop {
            tokio::select! {
                next = &mut next => break next,
                _ = looks.tick() => certificate.iter_mut().for_each(Certificate::look),
            }
        };
        let Some((permit, accepted)) = next else { return };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection of syslog was not accepted");
                tokio::time::sleep(BATCH_WAITS).await;
                continue;
            }
        };
        let from = Sender::Connection(number, peer.ip());
        let acceptor = certificate.as_ref().map(|certificate| certificate.acceptor.clone());
        let (sender, room) = (sender.clone(), Arc::clone(&room));
        tasks.spawn(async move {
            let _permit = permit;
            match acceptor {
                None => carry(stream, from, &sender, &room).await,
                Some(acceptor) => match within(acceptor.accept(stream)).await {
                    Ok(stream) => carry(stream, from, &sender, &room).await,
                    Err(error) => tracing::debug!(%peer, %error, "a sender of syslog does not speak TLS"),
                },
            }
        });
    }
}

async fn within<T>(handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let ended = tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await;
    ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Passes on what comes; a sender that is faster than the store waits, and a silent one goes where there is no room for another.
async fn carry(
    mut stream: impl AsyncRead + Unpin,
    from: Sender,
    sender: &mpsc::Sender<Came>,
    room: &Semaphore,
) {
    let mut buffer = vec![0; BYTES_READ];
    loop {
        match tokio::time::timeout(SILENT_FOR, stream.read(&mut buffer)).await {
            Err(_) if room.available_permits() > 0 => {}
            Ok(Ok(0) | Err(_)) | Err(_) => break,
            Ok(Ok(length)) => {
                let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                if sender.send(Came::Bytes(from, bytes)).await.is_err() {
                    return;
                }
            }
        }
    }
    // Nobody is left who could be told.
    let _ = sender.send(Came::Ended(from)).await;
}

/// What is known of a sender.
struct Known {
    messages: Messages,
    /// None before the first message.
    framer: Option<Framer>,
    reading: Arc<Reading>,
}

/// No value: what gives one goes on for ever.
enum Forever {}

fn receive(feed: &mut Feed, mut listener: Listener) -> Result<Forever, Stopped> {
    let runtime = feed.runtime().clone();
    let mut known: HashMap<Sender, Known> = HashMap::new();
    let mut looked_at = Instant::now();
    loop {
        if feed.stop().is_told() {
            // What has come is taken still.
            while let Ok(came) = listener.came.try_recv() {
                take(feed, &mut known, came)?;
            }
            return Err(Stopped);
        }
        match next(&runtime, &mut listener) {
            Some(came) => take(feed, &mut known, came)?,
            None => feed.commit()?,
        }
        if feed.is_full() || looked_at.elapsed() >= BATCH_WAITS {
            looked_at = Instant::now();
            feed.commit()?;
            let open = known.len() as u64;
            feed.status.change(|status| status.open = open);
            if listener.is_udp {
                feed.status.lost("datagrams", udp::dropped(listener.address));
            }
        }
    }
}

fn next(runtime: &Handle, listener: &mut Listener) -> Option<Came> {
    if let Ok(came) = listener.came.try_recv() {
        return Some(came);
    }
    let came = async { tokio::time::timeout(BATCH_WAITS, listener.came.recv()).await };
    runtime.block_on(came).ok().flatten()
}

fn take(feed: &mut Feed, known: &mut HashMap<Sender, Known>, came: Came) -> Result<(), Stopped> {
    let (from, bytes, is_whole) = match came {
        Came::Bytes(from, bytes) => (from, bytes, false),
        Came::Datagram(from, bytes) => (from, bytes, true),
        Came::Ended(from) => {
            let Some(mut sender) = known.remove(&from) else { return Ok(()) };
            let mut lines = Lines::default();
            sender.messages.finish(&mut |framed| lines.add(framed));
            return sender.take(feed, &lines);
        }
    };
    feed.read(bytes.len() as u64);
    if !known.contains_key(&from) && known.len() >= SENDERS_MAX {
        // Whoever makes up senders makes others forgotten; a sender that comes again is known again by its next message.
        known.clear();
    }
    let sender = known.entry(from).or_insert_with(|| Known::new(from));
    let mut lines = Lines::default();
    sender.messages.push(&bytes, &mut |framed| lines.add(framed));
    if is_whole {
        sender.messages.finish(&mut |framed| lines.add(framed));
    }
    sender.take(feed, &lines)
}

/// Messages as lines of a log.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    too_long: u64,
}

impl Lines {
    fn add(&mut self, framed: Framed<'_>) {
        match framed {
            Framed::TooLong => self.too_long += 1,
            Framed::Message(message) => {
                let message = message.trim_ascii_end();
                // Records of these formats do not know of headers before them.
                let text =
                    std::str::from_utf8(message).map(formats::behind_syslog_header).unwrap_or_default();
                let is_bare = ["{", "[", "<Event"].iter().any(|start| text.starts_with(start));
                let line = if is_bare { text.as_bytes() } else { message };
                // A line end within a counted message is white space in it.
                self.bytes.extend(line.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
                self.bytes.push(b'\n');
            }
        }
    }
}

impl Known {
    fn new(from: Sender) -> Known {
        let (Sender::Connection(_, address) | Sender::Address(address)) = from;
        Known {
            messages: Messages::default(),
            framer: None,
            reading: Arc::new(Reading::new(0, format!("syslog of {address}"), Vec::new())),
        }
    }

    fn take(&mut self, feed: &mut Feed, lines: &Lines) -> Result<(), Stopped> {
        for _ in 0..lines.too_long {
            feed.damaged(&self.reading, "line_too_long", &io::Error::other("a message is too long"))?;
        }
        if lines.bytes.is_empty() {
            return Ok(());
        }
        let columns = &feed.source.formats.columns;
        let framer = self.framer.get_or_insert_with(|| {
            let opening = match formats::detect(&lines.bytes, true, feed.source.wanted, columns) {
                Detection::Known(opening) | Detection::Unknown(opening) => opening,
                Detection::NeedMore => Opening::UNRECOGNISED,
            };
            Framer::new(opening.of_messages(), columns)
        });
        let mut chunks: Vec<Chunk> = Vec::new();
        framer.push(&lines.bytes, &mut |chunk| chunks.push(chunk));
        framer.flush(&mut |chunk| chunks.push(chunk));
        for chunk in chunks {
            feed.take(&self.reading, &chunk)?;
        }
        Ok(())
    }
}
