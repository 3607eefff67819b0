//! Bytes on a socket: requests that two programs would cut in two places, heads that are bent or too large, and the frames of
//! HTTP/2 that no library sends. Whatever comes of one, no second request hidden in it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use seenby_api::{Listeners, Tls, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::{Outcome, app};
use crate::common::{ACME, READER, Reply, TestApp, forged};

pub(crate) async fn outcomes() -> Vec<Outcome> {
    let (app, _) = app().await;
    let mut outcomes = bytes(&app).await;
    outcomes.extend(frames().await);
    outcomes
}

/// What is hidden in others: it would be answered with 200.
const HIDDEN: &str = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
/// No answer at all: the connection was closed.
const CLOSED: u16 = 444;

/// Each with the status of its only answer.
fn requests(host: &str, token: &str) -> Vec<(&'static str, String, u16)> {
    let post = |headers: &str, body: &str| {
        format!("POST /{ACME}/oauth2/token HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n{body}")
    };
    let get = |headers: &str| format!("GET /api/ips/x/stats HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n");
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let hidden = HIDDEN;
    vec![
        // Two words for one length.
        (
            "CL.TE",
            post("Content-Length: 4\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{hidden}")),
            400,
        ),
        (
            "TE.CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4", &format!("0\r\n\r\n{hidden}")),
            400,
        ),
        (
            "TE.CL with a hidden chunk",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4",
                &format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
            ),
            400,
        ),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 40", hidden), 400),
        ("two lengths, the longer first", post("Content-Length: 40\r\nContent-Length: 0", hidden), 400),
        ("two lengths in one line", post("Content-Length: 0, 40", hidden), 400),
        ("one length twice in one line", post("Content-Length: 5, 5", "hello"), 400),
        ("a length with a sign", post("Content-Length: +5", "hello"), 400),
        ("a length below zero", post("Content-Length: -1", hidden), 400),
        ("a length in hexadecimal", post("Content-Length: 0x5", "hello"), 400),
        ("a length with a space", post("Content-Length: 1 0", "hello"), 400),
        ("a length beyond all numbers", post("Content-Length: 99999999999999999999999", hidden), 400),
        ("an empty length", post("Content-Length: ", hidden), 400),
        ("a length as a word", post("Content-Length: chunked", hidden), 400),
        ("a length behind a space", post("Content-Length : 0", hidden), 400),
        ("a coding behind a space", post("Transfer-Encoding : chunked", &format!("0\r\n\r\n{hidden}")), 400),
        (
            "a coding on a folded line",
            post("Transfer-Encoding:\r\n chunked", &format!("0\r\n\r\n{hidden}")),
            400,
        ),
        ("a coding behind a tab", post("Transfer-Encoding\t: chunked", &format!("0\r\n\r\n{hidden}")), 400),
        (
            "a coding with a vertical tab",
            post("Transfer-Encoding: \u{b}chunked", &format!("0\r\n\r\n{hidden}")),
            400,
        ),
        (
            "a coding with a null byte",
            post("Transfer-Encoding: chunked\0", &format!("0\r\n\r\n{hidden}")),
            400,
        ),
        ("another coding", post("Transfer-Encoding: xchunked", &format!("0\r\n\r\n{hidden}")), 400),
        ("the coding identity", post("Transfer-Encoding: identity", hidden), 400),
        (
            "chunked, then identity",
            post("Transfer-Encoding: chunked, identity", &format!("0\r\n\r\n{hidden}")),
            400,
        ),
        (
            "chunked, then another line",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", &format!("0\r\n\r\n{hidden}")),
            400,
        ),
        ("the coding in quotes", post("Transfer-Encoding: \"chunked\"", &format!("0\r\n\r\n{hidden}")), 400),
        (
            "a coding in HTTP/1.0",
            post("Transfer-Encoding: chunked", &format!("0\r\n\r\n{hidden}"))
                .replace("HTTP/1.1\r\nHost", "HTTP/1.0\r\nHost"),
            400,
        ),
        // Chunks.
        ("a chunk below zero", chunked(&format!("-1\r\n{hidden}")), 400),
        ("a chunk with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n"), 400),
        ("a chunk in hexadecimal with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400),
        ("a chunk beyond all numbers", chunked(&format!("FFFFFFFFFFFFFFFFF\r\n{hidden}")), 400),
        ("a chunk of the largest number", chunked(&format!("FFFFFFFFFFFFFFFF\r\n{hidden}")), 400),
        ("a chunk without a size", chunked(&format!("\r\n{hidden}")), 400),
        ("a chunk with a word", chunked("hello\r\n0\r\n\r\n"), 400),
        ("a chunk longer than it says", chunked(&format!("1\r\nhello\r\n0\r\n\r\n{hidden}")), 400),
        ("a chunk ended by LF", chunked(&format!("5\nhello\n0\n\n{hidden}")), 400),
        ("a chunk ended by CR", chunked(&format!("5\rhello\r0\r\r{hidden}")), 400),
        ("a chunk's extension with LF", chunked(&format!("5;a\nb\r\nhello\r\n0\r\n\r\n{hidden}")), 400),
        ("a chunk's extension without an end", chunked(&format!("5;{}", "x".repeat(40_000))), 400),
        ("chunks that end early", chunked("ff\r\nhello"), 400),
        ("trailers without an end", chunked(&format!("0\r\n{}", "x: y\r\n".repeat(20_000))), 400),
        (
            "a token in a trailer",
            format!(
                "GET /api/alerts HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTrailer: authorization\r\n\r\n0\r\nAuthorization: Bearer {token}\r\n\r\n"
            ),
            401,
        ),
        // Heads.
        ("a folded line", get("X-A: b\r\n c"), 400),
        ("a folded token", get(&format!("Authorization: Bearer\r\n {token}")), 400),
        ("a first line that is folded", format!("GET /api/alerts HTTP/1.1\r\n Host: {host}\r\n\r\n"), 400),
        ("CR in a value", get("X-A: b\rX-B: c"), 400),
        ("a null byte in a value", get("X-A: b\0c"), 400),
        ("a null byte in a name", get("X\0A: b"), 400),
        ("a space in a name", get("X A: b"), 400),
        ("no colon", get("X-A"), 400),
        ("no name", get(": b"), 400),
        ("a name that is not ASCII", get("X-\u{e4}: b"), 400),
        ("two hosts", get("Host: evil.example"), 400),
        ("two hosts, the same", get(&format!("Host: {host}")), 400),
        ("no host", "GET /api/alerts HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "a host with a token of CR",
            format!("GET /docs HTTP/1.1\r\nHost: {host}\rX-Injected: 1\r\n\r\n"),
            400,
        ),
        (
            "another host as target",
            format!("GET http://evil.example/docs HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            421,
        ),
        (
            "a target with a user",
            format!("GET http://{host}@evil.example/docs HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            400,
        ),
        (
            "a target of another scheme",
            format!("GET file:///etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            400,
        ),
        ("CONNECT", format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        ("CONNECT to another", format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"), 421),
        ("OPTIONS of everything", format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        (
            "TRACE",
            format!("TRACE /api/alerts HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"),
            405,
        ),
        ("two spaces", format!("GET  /api/alerts HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("a tab", format!("GET\t/api/alerts HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("a space in the path", format!("GET /api/al erts HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("a null byte in the path", format!("GET /api/al\0erts HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("CR in the path", format!("GET /api/alerts\rX: y HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("a null byte in the method", format!("GE\0T /api/alerts HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("another version", format!("GET /api/alerts HTTP/1.9\r\nHost: {host}\r\n\r\n"), 400),
        ("no version", "GET /healthz\r\n\r\n".to_owned(), 400),
        ("a path without a slash", format!("GET api/alerts HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), CLOSED),
        (
            "an upgrade to h2c",
            get("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
            401,
        ),
        ("a handshake of TLS", "\u{16}\u{3}\u{1}\u{0}\u{5}hello\r\n\r\n".to_owned(), 400),
        // Sizes.
        ("a very long path", format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(60_000)), 404),
        (
            "a path over the bound",
            format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(70_000)),
            414,
        ),
        ("a header over the bound", get(&format!("X-A: {}", "x".repeat(200_000))), 431),
        ("very many headers", get(&"X-A: b\r\n".repeat(2_000)), 431),
        ("a very long token", get(&format!("Authorization: Bearer {}", "x".repeat(30_000))), 401),
        ("a very long name", get(&format!("{}: b", "x".repeat(66_000))), 431),
        // Requests in bodies.
        (
            "a request in the body of GET",
            format!(
                "GET /api/alerts HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
            401,
        ),
        (
            "a request in the body of HEAD",
            format!(
                "HEAD /api/alerts HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
            401,
        ),
        ("a request in the body of a form", post(&format!("Content-Length: {}", hidden.len()), hidden), 400),
        (
            "two tokens on two lines",
            get(&format!("Authorization: Bearer {token}\r\nauthorization: Bearer {token}")),
            401,
        ),
        (
            "an empty token before a good one",
            get(&format!("Authorization:\r\nAuthorization: Bearer {token}")),
            401,
        ),
        ("a form that promises more", post("Content-Length: 400", "grant_type=x"), 400),
        (
            "an expectation that is none",
            format!("GET /api/alerts HTTP/1.1\r\nHost: {host}\r\nExpect: x\r\n\r\n"),
            401,
        ),
    ]
}

async fn bytes(app: &TestApp) -> Vec<Outcome> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, app.state.clone(), std::future::pending()));
    let token = forged(&serde_json::json!({"azp": READER.to_string()}));
    let mut outcomes = Vec::new();
    for (name, request, status) in requests(&format!("localhost:{}", address.port()), &token) {
        let answer =
            exchange(TcpStream::connect(address).await.expect("connected"), request.as_bytes()).await;
        let (reply, answers) = read(&answer);
        assert!(answers <= 1, "{name}: {answers} answers: {}", String::from_utf8_lossy(&answer));
        outcomes.push(Outcome::new("bytes", name, status, reply).having_sent(&token));
    }
    outcomes
}

/// Everything that comes back until the server ends the connection, which it must.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchanged = async {
        // It may be cut before it has sent everything.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(Duration::from_secs(10), exchanged).await.expect("the server ends the connection");
    answer
}

/// The first answer, and how many there are.
fn read(answer: &[u8]) -> (Reply, usize) {
    let text = String::from_utf8_lossy(answer);
    let answers = text.matches("HTTP/1.1 ").count();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let status = StatusCode::from_u16(status.unwrap_or(CLOSED)).expect("a status");
    (Reply { status, headers, body: body.as_bytes().to_vec() }, answers)
}

/// A field of HPACK, literal and not remembered.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, name.len() as u8];
    field.extend(name.as_bytes());
    field.push(value.len() as u8);
    field.extend(value.as_bytes());
    field
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// Heads that a library refuses to write. Each is refused: its stream or connection is reset, or it gets an error.
fn heads(host: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let good = || {
        vec![
            (":method", "GET".to_owned()),
            (":scheme", "https".to_owned()),
            (":path", "/api/".to_owned()),
            (":authority", host.to_owned()),
        ]
    };
    let with = |name: &'static str, value: &str| {
        let mut fields = good();
        fields.retain(|(other, _)| *other != name || name == "host");
        fields.push((name, value.to_owned()));
        fields
    };
    let also = |name: &'static str, value: &str| {
        let mut fields = good();
        fields.push((name, value.to_owned()));
        fields
    };
    let without = |name: &str| good().into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    vec![
        ("two paths", also(":path", "/metrics")),
        ("two methods", also(":method", "POST")),
        ("two authorities", also(":authority", "evil.example")),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no authority", without(":authority")),
        ("an empty path", with(":path", "")),
        ("a path without a slash", with(":path", "api/")),
        ("a path with a space", with(":path", "/api/ HTTP/1.1")),
        ("a path with line breaks", with(":path", "/api/\r\nX: y")),
        ("a path that is a URL", with(":path", "http://evil.example/api/")),
        ("an unknown pseudo-header", also(":evil", "x")),
        ("a pseudo-header of answers", also(":status", "200")),
        ("a pseudo-header behind a field", {
            let mut fields = vec![("x-a", "b".to_owned())];
            fields.extend(good());
            fields
        }),
        ("another host", also("host", "evil.example")),
        ("two hosts", {
            let mut fields = also("host", host);
            fields.push(("host", "evil.example".to_owned()));
            fields
        }),
        ("another authority", with(":authority", "evil.example")),
        ("an authority with a user", with(":authority", &format!("{host}@evil.example"))),
        ("an authority with a path", with(":authority", &format!("{host}/x"))),
        ("an authority with line breaks", with(":authority", &format!("{host}\r\nX: y"))),
        ("a method with line breaks", with(":method", "GET / HTTP/1.1\r\nX: y")),
        ("a name in capitals", also("X-A", "b")),
        ("a name with a colon", also("x:a", "b")),
        ("a name with line breaks", also("x\r\ny", "b")),
        ("a value with line breaks", also("x-a", "b\r\nx-b: c")),
        ("a value with a null byte", also("x-a", "b\0c")),
        ("a field of the connection", also("connection", "close")),
        ("a coding", also("transfer-encoding", "chunked")),
        ("an upgrade", also("upgrade", "h2c")),
        ("CONNECT with a path", with(":method", "CONNECT")),
        ("a length and no body", also("content-length", "10")),
        ("two lengths", {
            let mut fields = also("content-length", "0");
            fields.push(("content-length", "5".to_owned()));
            fields
        }),
        ("a length with a sign", also("content-length", "+0")),
    ]
}

async fn frames() -> Vec<Outcome> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let tls = Tls::new(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("a pair");
    let main = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = main.local_addr().expect("an address");
    let listeners = Listeners { main, tls: Some(tls), operators: None };
    let app = TestApp::new().await;
    tokio::spawn(serve(listeners, app.state.clone(), std::future::pending()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let host = format!("localhost:{}", address.port());
    let mut outcomes = Vec::new();
    let good: Vec<(&str, String)> = vec![
        (":method", "GET".to_owned()),
        (":scheme", "https".to_owned()),
        (":path", "/api/".to_owned()),
        (":authority", host.clone()),
    ];
    assert!(is_answered(&connector, address, &good).await, "a good head is answered");
    for (name, fields) in heads(&host) {
        let status = if is_answered(&connector, address, &fields).await { 200 } else { CLOSED };
        let status = StatusCode::from_u16(status).expect("a status");
        let reply = Reply { status, headers: HeaderMap::new(), body: Vec::new() };
        outcomes.push(Outcome::new("frames", name, CLOSED, reply));
    }
    outcomes
}

/// Whether a head gets an answer that is no error.
async fn is_answered(connector: &TlsConnector, address: SocketAddr, fields: &[(&str, String)]) -> bool {
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // The end of the head and of the stream.
    bytes.extend(frame(1, 5, 1, &block));
    let answered = async {
        // It may be cut before it has sent everything.
        let _ = stream.write_all(&bytes).await;
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return false;
            }
            let mut content = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            if stream.read_exact(&mut content).await.is_err() {
                return false;
            }
            match head[3] {
                // HEADERS, whose first field is one of 200, 204, 206 in HPACK's table if it is no error.
                1 => return content.first().is_some_and(|field| (0x88..=0x8a).contains(field)),
                // RST_STREAM and GOAWAY.
                3 | 7 => return false,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect("an answer, or none")
}
