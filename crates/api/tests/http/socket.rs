//! The accept loop on a real socket, asked by a client that writes bytes: raw colons, keep-alive, chunks, shutdown.

use std::time::Duration;

use crate::common::{ACME, QUIET, READER, TestApp, form};
use seenby_api::{Settings, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Server {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

async fn start(app: &TestApp) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(serve(listener, app.state.clone(), async { drop(stopped.await) }));
    Server { address, stop, served }
}

/// One answer with a Content-Length: its head and its body.
async fn read(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(bytes).expect("text").to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

async fn ask(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).await.expect("written");
    read(stream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_from_token_to_shutdown() {
    let app = TestApp::new().await;
    let Server { address, stop, served } = start(&app).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let form = form(READER)
        .replace("https://api.securitycenter.microsoft.com", &format!("http://localhost:{}", address.port()));
    // A form in chunks and without a Content-Type.
    let request = format!(
        "POST /{ACME}/oauth2/v2.0/token HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &form[..5],
        form.len() - 5,
        &form[5..]
    );
    let (head, body) = ask(&mut stream, &request).await;
    assert!(head.starts_with("http/1.1 200"), "{head}{body}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let token = body["access_token"].as_str().expect("a token");

    // The same connection, raw colons, a needless body on GET, and one more after it.
    for _ in 0..2 {
        let request = format!(
            "GET /api/ips/{QUIET}/stats HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let (head, body) = ask(&mut stream, &request).await;
        assert!(head.starts_with("http/1.1 200") && head.contains("odata-version: 4.0"), "{head}{body}");
        assert!(body.contains(&format!(r#""@odata.context":"http://{address}/api/$metadata#"#)), "{body}");
        assert!(
            body.contains(r#""ipAddress":"2001:db8::5","orgPrevalence":"1","organizationPrevalence":1"#),
            "{body}"
        );
    }
    let huge = format!(
        "GET /api/alerts HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let (head, _) = ask(&mut stream, &huge).await;
    assert!(head.starts_with("http/1.1 401") && head.contains("www-authenticate: bearer"), "{head}");

    // Idle connections do not hold a shutdown up, and nobody is let in after it.
    stop.send(()).expect("still serving");
    let ended = tokio::time::timeout(Duration::from_secs(5), served).await.expect("in time");
    ended.expect("no panic").expect("no error");
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(app.anonymous("/readyz").await.text().contains("shutting down"));
}

/// What a client gets that says at once that it has nothing more to ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_connection_gets_its_answer() {
    let app = TestApp::new().await;
    let server = start(&app).await;
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("written");
        stream.shutdown().await.expect("half closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
    server.stop.send(()).expect("still serving");
}

/// A peer that never reads is cut, however much it is owed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_is_cut() {
    let settings = Settings { write_timeout: Duration::from_millis(200), ..Settings::default() };
    let app = TestApp::with(settings).await;
    let server = start(&app).await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let request = format!("GET /openapi.json HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).repeat(100);
    let asking = async {
        // The kernel's buffers take a few megabytes before anybody has to wait.
        while stream.write_all(request.as_bytes()).await.is_ok() {}
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.expect("the server closes the connection");
    server.stop.send(()).expect("still serving");
}

/// Over the bound a peer is told so, and those inside are served on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_says_so() {
    let app = TestApp::with(Settings { connections_max: 1, ..Settings::default() }).await;
    let server = start(&app).await;
    let alive = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut inside = TcpStream::connect(server.address).await.expect("connected");
    assert!(ask(&mut inside, alive).await.0.starts_with("http/1.1 200"));
    let mut outside = TcpStream::connect(server.address).await.expect("connected");
    let (head, body) = ask(&mut outside, alive).await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 5"), "{head}");
    assert!(body.contains("ServiceUnavailable"), "{body}");
    assert!(ask(&mut inside, alive).await.0.starts_with("http/1.1 200"));
    let text = app.anonymous("/metrics").await.text();
    assert!(text.contains("seenby_connections_turned_away_total 1"), "{text}");
    server.stop.send(()).expect("still serving");
}

/// Half a head does not hold a shutdown up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_does_not_hold_a_shutdown_up() {
    let app = TestApp::new().await;
    let Server { address, stop, served } = start(&app).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.expect("written");
    let mut other = TcpStream::connect(address).await.expect("connected");
    assert!(ask(&mut other, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await.0.starts_with("http/1.1 200"));
    stop.send(()).expect("still serving");
    // Far below the shutdown timeout of 8 s.
    let ended = tokio::time::timeout(Duration::from_secs(5), served).await.expect("in time");
    ended.expect("no panic").expect("no error");
}

/// Errors that layers make at the token endpoint have OAuth's shape too, and a client's fault is not called the server's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauth_clients_get_errors_that_they_can_read() {
    let settings = Settings { form_timeout: Duration::from_millis(100), ..Settings::default() };
    let app = TestApp::with(settings).await;
    let server = start(&app).await;
    for (head, body, status) in [
        ("Host: a\r\nHost: b\r\nContent-Length: 0", "", 400),
        ("Host: login.microsoftonline.com\r\nContent-Length: 0", "", 421),
        ("Host: localhost:{port}\r\nContent-Length: 100", "grant_type=", 408),
        ("Host: localhost:{port}\r\nTransfer-Encoding: chunked", "zz\r\n", 400),
    ] {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        let head = head.replace("{port}", &server.address.port().to_string());
        let request = format!("POST /{ACME}/oauth2/token HTTP/1.1\r\n{head}\r\n\r\n{body}");
        let (head, body) = ask(&mut stream, &request).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["error"], "invalid_request", "{body}");
    }
    server.stop.send(()).expect("still serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_and_slow_heads_end_the_connection() {
    let settings = Settings { header_timeout: Duration::from_millis(200), ..Settings::default() };
    let app = TestApp::with(settings).await;
    let server = start(&app).await;
    for request in [
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /x/oauth2/token HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "GET /a\u{0}b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHo",
        &format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(100_000)),
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET http://evil.example/api/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{}", &request[..20.min(request.len())]);
        assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 5"), "{request}");
    }
    server.stop.send(()).expect("still serving");
}
