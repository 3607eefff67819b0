//! How a server starts and ends: it listens before its folder is open and says that it is not ready; a signal ends it at any
//! moment.

use std::fs::{File, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use crate::support::{Place, Server};

/// A command that holds the folder until its standard input ends.
fn hold(place: &Place) -> Child {
    let mut holder = place.command(["ingest", "-"]);
    let holder = holder.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let holder = holder.expect("the binary starts");
    // It holds the folder when nobody else gets the lock.
    let is_held = || {
        let lock = File::open(place.data.join("lock")).ok()?;
        matches!(lock.try_lock(), Err(TryLockError::WouldBlock)).then_some(())
    };
    while is_held().is_none() {
        std::thread::yield_now();
    }
    holder
}

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port()
}

/// Status and body of a GET; waits until somebody listens.
fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => std::thread::yield_now(),
        }
    };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("UTF-8");
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, reply.split_once("\r\n\r\n").expect("a head").1.to_owned())
}

/// What a pipe holds on Linux.
const PIPE_BYTES: usize = 65_536;

/// Its log goes to a file.
fn serve(place: &Place, port: u16) -> Child {
    let log = File::create(place.root.path().join("log")).expect("a file");
    let listen = format!("127.0.0.1:{port}");
    let mut command = place.command(["serve", "--listen", &listen, "--operator-listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts")
}

fn tell(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("it runs");
}

#[test]
fn it_says_that_it_is_not_ready_until_its_folder_is_open() {
    let place = Place::keeping_for_ever();
    let mut holder = hold(&place);
    let port = free_port();
    let mut server = serve(&place, port);
    assert_eq!(get(port, "/readyz"), (503, "not ready: the store is being opened\n".to_owned()));
    assert_eq!(get(port, "/api/ips/192.0.2.1/stats").0, 503);
    assert_eq!(get(port, "/healthz").0, 200);
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
    let (mut first, mut second) = (String::new(), String::new());
    let mut stdout = BufReader::new(server.stdout.take().expect("piped"));
    stdout.read_line(&mut first).expect("a line");
    assert_eq!(first, format!("http://127.0.0.1:{port}\n"));
    assert_eq!(get(port, "/readyz").0, 200);
    stdout.read_line(&mut second).expect("a line");
    let operators = second.trim_end().strip_prefix("http://127.0.0.1:").expect("a URL");
    let operators = operators.strip_suffix("/metrics").and_then(|port| port.parse().ok()).expect("a port");
    assert!(get(operators, "/metrics").1.contains("seenby_store_stopped 0"));
    tell(&server, rustix::process::Signal::INT);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
}

/// A program that starts a server reads where it is, and hangs up before it hears the rest. Here the pipe has room for the first
/// line alone, so that the second waits until that happens.
#[test]
fn whoever_reads_the_first_line_alone_ends_nothing() {
    let place = Place::new();
    let port = free_port();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let first = format!("http://127.0.0.1:{port}\n");
    writer.write_all(&vec![b'x'; PIPE_BYTES - first.len()]).expect("it fits");
    let listen = format!("127.0.0.1:{port}");
    let mut command = place.command(["serve", "--listen", &listen, "--operator-listen", "127.0.0.1:0"]);
    let log = place.root.path().join("log");
    command.stderr(File::create(&log).expect("a file"));
    let mut server = command.stdout(writer).spawn().expect("the binary starts");
    // The command has its copy of the writing end as long as it is there.
    drop(command);
    while rustix::io::ioctl_fionread(&reader).expect("a pipe") < PIPE_BYTES as u64 {
        std::thread::yield_now();
    }
    drop(reader);
    assert!((0..100).all(|_| get(port, "/readyz").0 == 200));
    tell(&server, rustix::process::Signal::TERM);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
    let log = std::fs::read_to_string(log).expect("readable");
    assert!(log.contains("SIGTERM") && log.contains("stopped"), "{log}");
}

/// Two servers on one machine, on two of its addresses and one port: both operators' listeners would be at one place.
#[test]
fn an_operators_listener_that_nobody_asked_for_ends_no_server() {
    let place = Place::new();
    // One that is free, beneath one that is not.
    let (port, _other) = std::iter::repeat_with(|| {
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = other.local_addr().expect("bound").port() - 1_000;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some((port, other))
    })
    .flatten()
    .next()
    .expect("without end");
    let log = place.root.path().join("log");
    let listen = format!("127.0.0.1:{port}");
    let mut command = place.command(["serve", "--listen", &listen]);
    let server = Server::start_alone(command.stderr(File::create(&log).expect("a file")));
    assert_eq!((server.get("/readyz", None).0, server.get("/metrics", None).0), (200, 404));
    assert_eq!(server.stop(), 0);
    let log = std::fs::read_to_string(log).expect("readable");
    let operators = format!("127.0.0.1:{}", port + 1_000);
    assert!(log.contains("WARN") && log.contains(&operators) && log.contains("--operator-listen"), "{log}");
    // One that was asked for does, and it is said what else there is.
    let refused = place.run(["serve", "--listen", &listen, "--operator-listen", &operators]).ends(3).stderr;
    assert!(refused.contains(&operators) && refused.contains("--operator-listen 127.0.0.1:0"), "{refused}");
    let refused =
        place.run(["serve", "--listen", &listen, "--operator-listen", "192.0.2.1:9787"]).ends(3).stderr;
    assert!(refused.contains("--operator-listen 127.0.0.1:9787"), "{refused}");
}

#[test]
fn a_signal_ends_it_while_it_waits_for_its_folder() {
    let place = Place::keeping_for_ever();
    let mut holder = hold(&place);
    let port = free_port();
    let mut server = serve(&place, port);
    assert_eq!(get(port, "/readyz").0, 503);
    tell(&server, rustix::process::Signal::TERM);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::keeping_for_ever();
    let port = free_port();
    let mut server = serve(&place, port);
    // A request that has begun and never ends.
    assert_eq!(get(port, "/healthz").0, 200);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let head = format!(
        "POST /default/oauth2/token HTTP/1.1\r\nHost: localhost:{port}\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("it waits for the body");
    assert_eq!(&answer, b"HTTP/1.1 100");
    tell(&server, rustix::process::Signal::TERM);
    // Nobody new is let in any more: the first signal was heard.
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::yield_now();
    }
    tell(&server, rustix::process::Signal::TERM);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
    let log = std::fs::read_to_string(place.root.path().join("log")).expect("a log");
    assert!(log.contains("stopping at once"), "{log}");
}
