//! Who is served where: the operator's own listener, `/metrics` on the callers' only where nobody else comes, and proxies that
//! say for whom they stand. Nothing leaves loopback.

use std::net::SocketAddr;

use crate::common::TestApp;
use seenby_api::{Endpoint, Listeners, Settings, serve};
use sighting::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

async fn bind(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A server until the sender is dropped.
fn start(app: &TestApp, listeners: Listeners) -> oneshot::Sender<()> {
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(serve(listeners, app.state.clone(), async { drop(stopped.await) }));
    stop
}

/// What comes back for some bytes, until the server closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    // One that closes without a word may reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

async fn status(address: SocketAddr, path: &str) -> String {
    status_of(address, &format!("localhost:{}", address.port()), path).await
}

async fn status_of(address: SocketAddr, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes()).await.chars().skip(9).take(3).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_listener_has_metrics_probes_and_administration_and_nothing_else() {
    let app = TestApp::new().await;
    let ((main, callers), (metrics, operators)) = (bind("127.0.0.1:0").await, bind("127.0.0.1:0").await);
    let _stop = start(&app, Listeners { main, tls: None, operators: Some(metrics) });
    for (path, of_callers, of_operators) in [
        ("/metrics", "404", "200"),
        ("/healthz", "200", "200"),
        ("/readyz", "200", "200"),
        ("/api/", "200", "404"),
        ("/common/discovery/keys", "200", "404"),
        ("/seenby/v1/roles", "404", "401"),
        ("/x", "404", "404"),
    ] {
        assert_eq!(status(callers, path).await, of_callers, "{path}");
        assert_eq!(status(operators, path).await, of_operators, "{path}");
    }
}

/// Nor where nobody but this machine's programs comes: a proxy of this machine brings everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_see_neither_metrics_nor_administration() {
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let app = TestApp::new().await;
        let (main, callers) = bind(address).await;
        let _stop = start(&app, main.into());
        for (path, expected) in [("/metrics", "404"), ("/seenby/v1/roles", "404"), ("/readyz", "200")] {
            assert_eq!(status(callers, path).await, expected, "{address} {path}");
        }
    }
}

/// A page that a browser of this machine opened can call a listener on loopback by a name of its own (DNS rebinding).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_called_by_its_address() {
    for listener in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let app = TestApp::new().await;
        let Ok(main) = TcpListener::bind(listener).await else { continue };
        let port = main.local_addr().expect("an address").port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (metrics, operators) = bind("127.0.0.1:0").await;
        let _stop = start(&app, Listeners { main, tls: None, operators: Some(metrics) });
        let (own, other) = (operators.port(), if operators.port() == 1 { 2 } else { 1 });
        for (host, expected) in [
            (format!("127.0.0.1:{own}"), "200"),
            (format!("LocalHost:{own}"), "200"),
            (format!("[::1]:{own}"), "200"),
            (format!("localhost:{other}"), "421"),
            ("localhost".to_owned(), "421"),
            ("127.0.0.1".to_owned(), "421"),
            (format!("rebound.example:{own}"), "421"),
            (format!("127.0.0.1.nip.example:{own}"), "421"),
        ] {
            assert_eq!(status_of(operators, &host, "/metrics").await, expected, "{listener} {host} /metrics");
            assert_eq!(status_of(operators, &host, "/healthz").await, "200", "{listener} {host} /healthz");
        }
        assert_eq!(
            status_of(address, &format!("rebound.example:{port}"), "/api/").await,
            "421",
            "{listener}"
        );
        // By another address of this machine, where one connection goes to it.
        let second = SocketAddr::from(([127, 0, 0, 2], port));
        if listener != "127.0.0.1:0" && TcpStream::connect(second).await.is_ok() {
            assert_eq!(status_of(second, &second.to_string(), "/api/").await, "200", "{listener}");
            assert_eq!(status_of(address, &second.to_string(), "/api/").await, "421", "{listener}");
        }
    }
}

/// Prometheus comes to an operator's listener by any name of the operator's network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_listener_that_others_reach_is_called_by_any_name() {
    let app = TestApp::new().await;
    let ((main, _), (metrics, operators)) = (bind("127.0.0.1:0").await, bind("0.0.0.0:0").await);
    let _stop = start(&app, Listeners { main, tls: None, operators: Some(metrics) });
    assert_eq!(status_of(operators, "seenby.monitoring.example:9787", "/metrics").await, "200");
    assert_eq!(status_of(operators, "a b", "/metrics").await, "400");
    // Tokens of whoever manages something do not come over the network in the clear.
    assert_eq!(status_of(operators, "seenby.monitoring.example:9787", "/seenby/v1/roles").await, "404");
}

/// A header of the PROXY protocol; `0x20` is the proxy's own, `0x21` somebody's.
fn proxied(command: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x11][..], &length, rest].concat()
}

const SOMEBODY: &[u8] = &[203, 0, 113, 9, 192, 0, 2, 1, 0xc3, 0x50, 0x01, 0xbb];
const REQUEST: &[u8] =
    b"GET /api/ HTTP/1.1\r\nHost: h.example\r\nX-Forwarded-Host: forwarded.example\r\nConnection: close\r\n\r\n";

async fn proxied_app(proxies: &str) -> TestApp {
    let trusted_proxies = vec![Network::parse(proxies).expect("a network")];
    let endpoints = ["h.example", "forwarded.example"].map(|it| Endpoint::new(it).expect("a host")).to_vec();
    TestApp::with(Settings { trusted_proxies, proxy_protocol: true, endpoints, ..Settings::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_says_for_whom_it_stands() {
    let app = proxied_app("127.0.0.0/8").await;
    let (main, address) = bind("127.0.0.1:0").await;
    let _stop = start(&app, main.into());
    // The proxy's own headers are believed, those of whom it stands for are not.
    let own = exchange(address, &[&proxied(0x20, SOMEBODY), REQUEST].concat()).await;
    assert!(own.contains("http://forwarded.example/api"), "{own}");
    let others = exchange(address, &[&proxied(0x21, SOMEBODY), REQUEST].concat()).await;
    assert!(others.contains("http://h.example/api"), "{others}");
    let oversize = proxied(0x21, &[0; 5_000]);
    for (bytes, reason) in [
        (REQUEST, "malformed"),
        (b"PROXY TCP4 203.0.113.9 192.0.2.1 50000 443\r\n", "malformed"),
        (&oversize, "oversize"),
    ] {
        assert_eq!(exchange(address, bytes).await, "", "{reason}");
    }
    let text = app.anonymous("/metrics").await.text();
    for line in [
        "seenby_proxy_refusals_total{reason=\"malformed\"} 2\n",
        "seenby_proxy_refusals_total{reason=\"oversize\"} 1\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_says_for_whom_he_stands() {
    let app = proxied_app("192.0.2.0/24").await;
    let (main, address) = bind("127.0.0.1:0").await;
    let _stop = start(&app, main.into());
    assert_eq!(exchange(address, &[&proxied(0x21, SOMEBODY), REQUEST].concat()).await, "");
    let text = app.anonymous("/metrics").await.text();
    assert!(text.contains("seenby_proxy_refusals_total{reason=\"untrusted\"} 1\n"), "{text}");
}
