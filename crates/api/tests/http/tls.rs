//! TLS on a real socket, asked by a client that verifies: both versions of HTTP, handshakes that fail, certificates that are
//! exchanged, and what HTTP/2 lets a peer hold. Nothing leaves loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::common::{ACME, READER, SEEN, TestApp, form};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use seenby_api::{Endpoint, Listeners, Settings, Tls, TlsError, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
const H2: &[&[u8]] = &[b"h2"];
const H1: &[&[u8]] = &[b"http/1.1"];

/// Who signs, and whom clients trust.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn pair(&self) -> Pair {
        self.pair_for(&["localhost"])
    }

    fn pair_for(&self, hosts: &[&str]) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).expect("names");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn connector(&self, versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

impl Pair {
    fn tls(&self) -> Tls {
        Tls::new(self.certificate.as_bytes(), self.key.as_bytes()).expect("a good pair")
    }
}

/// A server over TLS.
struct Server {
    authority: Authority,
    app: TestApp,
    tls: Tls,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(settings: Settings) -> Server {
        let authority = Authority::new();
        let tls = authority.pair().tls();
        let main = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = main.local_addr().expect("an address");
        let app = TestApp::with(settings).await;
        let (stop, stopped) = oneshot::channel();
        let listeners = Listeners { main, tls: Some(tls.clone()), operators: None };
        let served = tokio::spawn(serve(listeners, app.state.clone(), async { drop(stopped.await) }));
        Server { authority, app, tls, address, stop, served }
    }

    async fn connect(&self, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_with(&[&TLS13, &TLS12], alpn).await
    }

    async fn connect_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        self.authority.connector(versions, alpn).connect(name, stream).await
    }

    async fn http1(&self) -> http1::SendRequest<Body> {
        let stream = TokioIo::new(self.connect(H1).await.expect("a handshake"));
        let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        sender
    }

    async fn http2(&self) -> http2::SendRequest<Body> {
        self.http2_with_window(65_535).await
    }

    async fn http2_with_window(&self, bytes: u32) -> http2::SendRequest<Body> {
        let stream = self.connect(BOTH).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(bytes)
            .handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        sender
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    async fn metric(&self, line: &str) {
        let text = self.app.anonymous("/metrics").await.text();
        assert!(text.contains(line), "{line:?} is missing in {text}");
    }

    async fn stop(self) {
        self.stop.send(()).expect("still serving");
        // Far below the shutdown timeout of 8 s.
        let ended = tokio::time::timeout(Duration::from_secs(5), self.served).await.expect("in time");
        ended.expect("no panic").expect("no error");
    }
}

/// A body that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

async fn taken(response: Response<Incoming>) -> (u16, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes().to_vec();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body).expect("text"))
}

#[track_caller]
fn context(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    body["@odata.context"].as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_from_token_to_answer() {
    let server = Server::start(Settings::default()).await;
    let mut client = server.http2().await;
    let form = form(READER).replace(
        "https://api.securitycenter.microsoft.com",
        &format!("https://localhost:{}", server.address.port()),
    );
    let request = Request::post(server.url(&format!("/{ACME}/oauth2/v2.0/token")))
        .body(Body::from(form))
        .expect("good");
    let (status, _, body) = taken(client.send_request(request).await.expect("sent")).await;
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let bearer = format!("Bearer {}", body["access_token"].as_str().expect("a token"));

    let ask = || {
        let request =
            Request::get(server.url(&format!("/API/v1.0/ips/{SEEN}/stats"))).header("authorization", &bearer);
        request.body(Body::empty()).expect("good")
    };
    // Many at once on one connection.
    let sent: Vec<_> = (0..20).map(|_| client.send_request(ask())).collect();
    for response in sent {
        let (status, headers, body) = taken(response.await.expect("sent")).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(headers["strict-transport-security"], "max-age=31536000");
        assert!(context(&body).starts_with(&server.url("/api/$metadata#")), "{body}");
    }
    // The issuer is this server, by TLS.
    let request = Request::get(server.url(&format!("/{ACME}/v2.0/.well-known/openid-configuration")));
    let (_, _, body) =
        taken(client.send_request(request.body(Body::empty()).expect("good")).await.expect("sent")).await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["issuer"], format!("https://{}/{ACME}/v2.0", server.address));
    assert_eq!(body["token_endpoint"], server.url(&format!("/{ACME}/oauth2/v2.0/token")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_by_choice_and_without_one() {
    let endpoints = vec![Endpoint::new("seenby.example").expect("a host")];
    let server = Server::start(Settings { endpoints, ..Settings::default() }).await;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for alpn in [H1, &[]] {
            let mut stream = server.connect_with(versions, alpn).await.expect("a handshake");
            let request = "GET /api/ HTTP/1.1\r\nHost: seenby.example\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("closed with a good-bye");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");
            assert!(answer.contains("\"https://seenby.example/api/$metadata\""), "{answer}");
        }
    }
    // Without TLS nothing is said of it.
    let reply = server.app.anonymous("/api/").await;
    assert!(reply.headers.get("strict-transport-security").is_none());
    server.stop().await;
}

/// A host in the certificate is ours, by any port; with another certificate, another host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_of_the_certificate_are_ours() {
    let server = Server::start(Settings::default()).await;
    let pair = server.authority.pair_for(&["localhost", "seenby.example", "*.near.example", "192.0.2.7"]);
    server.tls.exchange(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("a good pair");
    let ask = async |hosts: &[(&str, u16)]| {
        let (mut one, mut two) = (server.http1().await, server.http2().await);
        for (host, status) in hosts {
            one.ready().await.expect("kept");
            let request = Request::get("/api/").header("host", *host).body(Body::empty()).expect("good");
            let reply = taken(one.send_request(request).await.expect("sent")).await;
            assert_eq!(reply.0, *status, "{host}: {}", reply.2);
            two.ready().await.expect("kept");
            let request = Request::get(format!("https://{host}/api/")).body(Body::empty()).expect("good");
            let reply = taken(two.send_request(request).await.expect("sent")).await;
            assert_eq!(reply.0, *status, "{host}: {}", reply.2);
        }
    };
    let own = format!("127.0.0.1:{}", server.address.port());
    ask(&[
        ("seenby.example", 200),
        ("SEENBY.example.:8443", 200),
        ("eu.near.example", 200),
        ("near.example", 421),
        ("a.b.near.example", 421),
        ("192.0.2.7", 200),
        ("192.0.2.8", 421),
        ("login.microsoftonline.com", 421),
        (&own, 200),
    ])
    .await;
    let pair = server.authority.pair_for(&["localhost", "other.example"]);
    server.tls.exchange(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("a good pair");
    ask(&[("seenby.example", 421), ("192.0.2.7", 421), ("other.example", 200)]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_fail_are_counted() {
    let settings = Settings { handshake_timeout: Duration::from_secs(1), ..Settings::default() };
    let server = Server::start(settings).await;
    // A protocol that nobody speaks.
    assert!(server.connect(&[b"spdy/1"]).await.is_err());
    // Plain HTTP gets an alert, and not a word of HTTP.
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < 20 && !answer.starts_with(b"HTTP"), "{answer:?}");
    // Somebody else's authority.
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(server.address).await.expect("connected");
    let stranger = Authority::new().connector(&[&TLS13], BOTH).connect(name, stream).await;
    assert!(stranger.is_err());
    // Nothing, and the beginning of a handshake: cut in time.
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.write_all(begin).await.expect("written");
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0])).await;
        assert!(matches!(ended.expect("cut"), Ok(0) | Err(_)));
    }
    // A good one after all of that.
    assert!(server.connect(BOTH).await.is_ok());
    for (reason, count) in
        [("no_common_protocol", 1), ("not_tls", 1), ("refused_by_client", 1), ("too_slow", 2)]
    {
        let line = format!("seenby_tls_handshake_failures_total{{reason=\"{reason}\"}} {count}\n");
        server.metric(&line).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_exchanged_while_connections_run() {
    let server = Server::start(Settings::default()).await;
    let shown = |stream: &TlsStream<TcpStream>| -> CertificateDer<'static> {
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
    };
    let before = shown(&server.connect(H1).await.expect("a handshake"));
    let (mut one, mut two) = (server.http1().await, server.http2().await);
    let next = server.authority.pair();
    server.tls.exchange(next.certificate.as_bytes(), next.key.as_bytes()).expect("a good pair");
    let after = shown(&server.connect(H1).await.expect("a handshake"));
    assert_ne!(before, after);
    // What cannot be used changes nothing.
    let other = server.authority.pair();
    for (certificate, key) in [(&*next.certificate, &*other.key), ("", &next.key), (&next.certificate, "")] {
        assert!(server.tls.exchange(certificate.as_bytes(), key.as_bytes()).is_err());
    }
    assert_eq!(shown(&server.connect(H1).await.expect("a handshake")), after);
    // Connections from before go on.
    let request = Request::get("/healthz").header("host", "localhost").body(Body::empty()).expect("good");
    assert_eq!(taken(one.send_request(request).await.expect("sent")).await.0, 200);
    let request = Request::get(server.url("/healthz")).body(Body::empty()).expect("good");
    assert_eq!(taken(two.send_request(request).await.expect("sent")).await.0, 200);
    server.stop().await;
}

#[test]
fn pairs_that_cannot_be_used_say_why() {
    let authority = Authority::new();
    let (pair, other) = (authority.pair(), authority.pair());
    let refused =
        |certificate: &str, key: &str| Tls::new(certificate.as_bytes(), key.as_bytes()).expect_err("refused");
    assert!(matches!(refused("", &pair.key), TlsError::NoCertificate));
    assert!(matches!(refused(&pair.key, &pair.key), TlsError::NoCertificate));
    assert!(matches!(refused(&pair.certificate, &pair.certificate), TlsError::NoKey));
    assert!(matches!(refused(&pair.certificate, &other.key), TlsError::Mismatch));
    let half = &pair.certificate[..pair.certificate.len() / 2];
    assert!(matches!(refused(half, &pair.key), TlsError::Pem { what: "certificate", .. }));
    let garbled = pair.key.replace(|c: char| c.is_ascii_lowercase(), "!");
    assert!(matches!(refused(&pair.certificate, &garbled), TlsError::Pem { what: "key", .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_says_so_over_tls() {
    let server = Server::start(Settings { connections_max: 1, ..Settings::default() }).await;
    let mut inside = server.http2().await;
    let alive = || Request::get(server.url("/healthz")).body(Body::empty()).expect("good");
    assert_eq!(taken(inside.send_request(alive()).await.expect("sent")).await.0, 200);
    let mut outside = server.connect(BOTH).await.expect("a handshake");
    assert_eq!(outside.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut answer = String::new();
    let _ = outside.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After: 5"), "{answer}");
    assert_eq!(taken(inside.send_request(alive()).await.expect("sent")).await.0, 200);
    server.stop().await;
}

/// One connection of HTTP/2 does not get around the bound. On one thread, so that requests are begun in their order.
#[tokio::test]
async fn requests_of_http2_are_bounded_as_connections_are() {
    let settings =
        Settings { connections_max: 2, form_timeout: Duration::from_secs(2), ..Settings::default() };
    let server = Server::start(settings).await;
    let mut client = server.http2().await;
    // Forms that never come keep their requests under way.
    let slow = || {
        let body = Body::new(Never);
        Request::post(server.url(&format!("/{ACME}/oauth2/token"))).body(body).expect("good")
    };
    let (one, two) = (client.send_request(slow()), client.send_request(slow()));
    let (one, two) = (tokio::spawn(one), tokio::spawn(two));
    let alive = || Request::get(server.url("/healthz")).body(Body::empty()).expect("good");
    let (status, headers, body) = taken(client.send_request(alive()).await.expect("sent")).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(headers["retry-after"], "5");
    assert!(body.contains("ServiceUnavailable"), "{body}");
    for slow in [one, two] {
        let (status, _, body) = taken(slow.await.expect("no panic").expect("sent")).await;
        assert_eq!(status, 408, "{body}");
    }
    assert_eq!(taken(client.send_request(alive()).await.expect("sent")).await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_and_open_handshakes_do_not_hold_a_shutdown_up() {
    let server = Server::start(Settings::default()).await;
    let (mut one, two, silent) = (server.http1().await, server.http2().await, server.connect(H2).await);
    let half = TcpStream::connect(server.address).await.expect("connected");
    let request = Request::get("/healthz").header("host", "localhost").body(Body::empty()).expect("good");
    assert_eq!(taken(one.send_request(request).await.expect("sent")).await.0, 200);
    let app = server.app.state.clone();
    server.stop().await;
    drop((one, two, silent, half, app));
}

/// The proxy's word comes before the handshake, and without one there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_speaks_before_the_handshake() {
    let trusted_proxies = vec![sighting::Network::parse("127.0.0.0/8").expect("a network")];
    let server =
        Server::start(Settings { trusted_proxies, proxy_protocol: true, ..Settings::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\xc3\x50\x01\xbb";
    stream.write_all(header).await.expect("written");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = server.authority.connector(&[&TLS13], H1);
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    let request = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("closed with a good-bye");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(server.connect(H1).await.is_err());
    server.metric("seenby_proxy_refusals_total{reason=\"malformed\"} 1\n").await;
    server.stop().await;
}

/// HTTP/2 has no time for a head of its own, and says nothing of connections without requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_of_http2_is_closed() {
    let settings = Settings { header_timeout: Duration::from_secs(1), ..Settings::default() };
    let server = Server::start(settings).await;
    // Not even the preface, half of one, and a whole one.
    for begin in [&b""[..], b"PRI * HTTP", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut stream = server.connect(H2).await.expect("a handshake");
        stream.write_all(begin).await.expect("written");
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{begin:?}");
    }
    // One that was used before.
    let mut client = server.http2().await;
    let request = Request::get(server.url("/healthz")).body(Body::empty()).expect("good");
    assert_eq!(taken(client.send_request(request).await.expect("sent")).await.0, 200);
    let closed = async {
        while client.ready().await.is_ok() && !client.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("closed");
    server.stop().await;
}

/// A peer that opens no window keeps its connection as long as one that does not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_ends_the_connection_of_http2() {
    let settings = Settings { write_timeout: Duration::from_millis(200), ..Settings::default() };
    let server = Server::start(settings).await;
    let mut client = server.http2_with_window(0).await;
    let request = Request::get(server.url("/healthz")).body(Body::empty()).expect("good");
    let response = client.send_request(request).await.expect("a head");
    let taking = tokio::time::timeout(Duration::from_secs(5), response.into_body().collect()).await;
    assert!(taking.expect("cut").is_err());
    server.stop().await;
}

/// As without TLS: a peer that never reads is cut, however much it is owed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_is_cut() {
    let settings = Settings { write_timeout: Duration::from_millis(200), ..Settings::default() };
    let server = Server::start(settings).await;
    let mut stream = server.connect(H1).await.expect("a handshake");
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let asking = async { while stream.write_all(&request).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), asking).await.expect("the server closes the connection");
    server.stop().await;
}

/// Heads that are too large, hosts that differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_http2_refuses() {
    let server = Server::start(Settings::default()).await;
    let mut client = server.http2().await;
    let request = Request::get(server.url("/healthz")).header("host", "another.example").body(Body::empty());
    let (status, _, body) = taken(client.send_request(request.expect("good")).await.expect("sent")).await;
    assert_eq!(status, 400, "{body}");
    let same = format!("LOCALHOST:{}", server.address.port());
    let request = Request::get(server.url("/healthz")).header("host", same).body(Body::empty());
    assert_eq!(taken(client.send_request(request.expect("good")).await.expect("sent")).await.0, 200);
    let mut request = Request::get(server.url("/healthz"));
    for number in 0..10 {
        request = request.header(format!("x-{number}"), "x".repeat(9_000));
    }
    match client.send_request(request.body(Body::empty()).expect("good")).await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
    // A large one that fits: refused with a reason.
    let mut client = server.http2().await;
    let token = format!("Bearer {}", "x".repeat(20_000));
    let request = Request::get(server.url("/api/alerts")).header("authorization", token).body(Body::empty());
    assert_eq!(taken(client.send_request(request.expect("good")).await.expect("sent")).await.0, 401);
    server.stop().await;
}

/// Streams that are opened and taken back in one breath end the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_resets_ends_the_connection() {
    let server = Server::start(Settings::default()).await;
    let mut stream = server.connect(H2).await.expect("a handshake");
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for id in (1..4_000_u32).step_by(2) {
        // GET https /, authority a; then RST_STREAM with CANCEL.
        let head = [0x82, 0x87, 0x84, 0x41, 0x01, b'a'];
        flood.extend([0, 0, head.len() as u8, 1, 5]);
        flood.extend(id.to_be_bytes());
        flood.extend(head);
        flood.extend([0, 0, 4, 3, 0]);
        flood.extend(id.to_be_bytes());
        flood.extend([0, 0, 0, 8]);
    }
    // It may be cut before it has sent everything.
    let _ = stream.write_all(&flood).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "still open");
    let calm = [0, 0, 0, 0x0b];
    assert!(answer.windows(4).any(|bytes| bytes == calm), "GOAWAY says to be calm");
    server.stop().await;
}
