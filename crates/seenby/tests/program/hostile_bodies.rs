//! Bodies that hurt a server that does not look out: a line of a gigabyte, a bomb, one that never ends, ones that trickle. Over real
//! sockets, to the real binary; each gets a clear answer, the good records around it are taken, and the process never grows
//! beyond a bound. Refuses to hold: slow senders by the clock (the HTTP room's tests, where time is an argument).

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::TcpStream;

use flate2::write::GzEncoder;

use crate::support::{Place, Server, now};

/// What the process may have had at its highest, in KiB: far less than what is sent.
const PEAK_KIB_MAX: u64 = 700 << 10;
const GIB: usize = 1 << 30;

struct Hostile {
    place: Place,
    server: Server,
    token: String,
}

impl Hostile {
    fn new() -> Hostile {
        let place = Place::new();
        let added = place.run(["source", "add", "edge", "--format", "ndjson", "--json"]).ends(0).json();
        let token = added["token"].as_str().expect("a token").to_owned();
        let server = place.serve();
        Hostile { place, server, token }
    }

    /// Begins a request whose body comes in pieces; what it is answered is read by [`answer`].
    fn begin(&self, path: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.server.host).expect("it listens");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Transfer-Encoding: chunked\r\n{more}\r\n",
            self.server.host, self.token
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        stream
    }

    fn record(device: &str) -> String {
        format!("{{\"time\":\"{}\",\"device\":\"{device}\",\"ip\":\"203.0.113.7\"}}\n", now())
    }

    #[track_caller]
    fn check(&self, devices: u64) {
        assert_eq!(self.place.stats("203.0.113.7").0, devices);
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.server.process())).expect("Linux");
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        let peak: u64 = peak.expect("a number");
        assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
    }
}

/// Sends a piece; an error if nobody reads any more.
fn chunk(stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

fn answer(stream: TcpStream) -> (u16, String) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).expect("an answer");
    let mut rest = String::new();
    // The other side may have closed on us because we went on sending.
    let _ = reader.read_to_string(&mut rest);
    (first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), rest)
}

#[test]
fn a_line_of_a_gigabyte() {
    let hostile = Hostile::new();
    let mut stream = hostile.begin("/seenby/v1/ingest/ndjson", "");
    chunk(&mut stream, Hostile::record("pc-1").as_bytes()).expect("it reads");
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..GIB / piece.len() {
        chunk(&mut stream, &piece).expect("it reads");
    }
    chunk(&mut stream, format!("\n{}", Hostile::record("pc-2")).as_bytes()).expect("it reads");
    stream.write_all(b"0\r\n\r\n").expect("it reads");
    let (status, body) = answer(stream);
    assert_eq!(status, 200, "{body}");
    for told in ["\"lines\":3", "\"sighted\":2", "\"line_too_long\":1"] {
        assert!(body.contains(told), "{body} lacks {told}");
    }
    hostile.check(2);
    assert_eq!(hostile.server.stop(), 0);
}

#[test]
fn a_bomb() {
    let hostile = Hostile::new();
    // A gigabyte of line ends in a megabyte, for a protocol whose bodies may have 100 of them.
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = vec![b'\n'; 1 << 20];
    for _ in 0..1_024 {
        packed.write_all(&piece).expect("memory");
    }
    let bomb = packed.finish().expect("memory");
    let (status, body) = {
        let mut stream =
            hostile.begin("/_bulk", "Content-Encoding: gzip\r\nContent-Type: application/x-ndjson\r\n");
        // Nobody has to read on to the end.
        let _ = chunk(&mut stream, &bomb).and_then(|()| stream.write_all(b"0\r\n\r\n"));
        answer(stream)
    };
    assert_eq!(status, 413, "{body}");
    assert!(body.contains("bytes"), "{body}");
    hostile.place.run(["stats", "203.0.113.7"]).ends(1);
    assert_eq!(hostile.server.stop(), 0);
}

#[test]
fn a_body_that_never_ends() {
    let hostile = Hostile::new();
    let mut stream = hostile.begin("/_bulk", "Content-Type: application/x-ndjson\r\n");
    let pair = format!("{{\"index\":{{}}}}\n{}", Hostile::record("pc-1")).repeat(4_096);
    let mut sent = 0;
    // Until nobody reads; a server that read for ever would end this far above any bound.
    while sent < 2 * GIB && chunk(&mut stream, pair.as_bytes()).is_ok() {
        sent += pair.len();
    }
    assert!(sent < GIB, "{sent} bytes were read of a body that may have 100 MiB");
    hostile.check(1);
    assert_eq!(hostile.server.stop(), 0);
}

#[test]
fn many_that_trickle_keep_nobody_out() {
    let hostile = Hostile::new();
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        let mut stream = hostile.begin("/seenby/v1/ingest/ndjson", "");
        chunk(&mut stream, b"{").expect("it reads");
        slow.push(stream);
    }
    // Some of them have a place each; the rest hear that there is none, and so does whoever comes now, with when to come again.
    let (status, head) = {
        let mut stream = hostile.begin("/_bulk", "Content-Type: application/x-ndjson\r\n");
        let _ = chunk(&mut stream, b"{\"index\":{}}\n{}\n").and_then(|()| stream.write_all(b"0\r\n\r\n"));
        answer(stream)
    };
    assert!(
        status == 200 || (status == 429 && head.to_lowercase().contains("retry-after")),
        "{status} {head}"
    );
    // Questions are answered all the same.
    hostile.place.run(["stats", "203.0.113.7"]).ends(1);
    drop(slow);
    let (status, body) = {
        let mut last;
        loop {
            let mut stream = hostile.begin("/seenby/v1/ingest/ndjson", "");
            let _ = chunk(&mut stream, Hostile::record("pc-1").as_bytes())
                .and_then(|()| stream.write_all(b"0\r\n\r\n"));
            last = answer(stream);
            if last.0 != 429 && last.0 != 503 {
                break last;
            }
            std::thread::yield_now();
        }
    };
    assert_eq!(status, 200, "{body}");
    hostile.check(1);
    assert_eq!(hostile.server.stop(), 0);
}
