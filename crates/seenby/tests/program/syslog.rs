//! Syslog that comes to a server: over UDP, TCP and TLS, in both framings, with either header. Messages that were sent before the
//! server is stopped are in the answers. Nothing is waited for by a fixed time.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::support::{Place, Reading, Server, now, until};

/// A server with one listener.
struct Listening {
    reading: Reading,
    server: Server,
    /// Of the listener.
    address: String,
}

fn listen(place: Place, settings: &str) -> Listening {
    let reading = Reading::new(place, settings);
    let server = reading.serve();
    let address = reading.address("syslog is listened for");
    Listening { reading, server, address }
}

fn record(device: &str, address: &str) -> String {
    format!("{{\"time\":\"{}\",\"device\":\"{device}\",\"ip\":\"{address}\"}}", now())
}

fn rfc5424(message: &str) -> String {
    format!("<134>1 2031-03-04T10:01:02.345Z fw-1.example.org app 77 - [origin ip=\"192.0.2.1\"] {message}")
}

fn rfc3164(message: &str) -> String {
    format!("<134>Mar  4 10:01:02 fw-1 app[77]: {message}")
}

#[test]
fn datagrams() {
    let listening = listen(Place::new(), "syslog = 'udp://127.0.0.1:0'");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for message in [
        rfc5424(&record("pc-1", "198.51.100.1")),
        rfc3164(&record("pc-2", "198.51.100.1")) + "\n",
        record("pc-3", "198.51.100.1"),
    ] {
        socket.send_to(message.as_bytes(), &listening.address).expect("sent");
    }
    listening.reading.comes("198.51.100.1", 3);
    assert_eq!(listening.server.stop(), 0);
}

#[test]
fn streams_in_both_framings() {
    let listening = listen(Place::new(), "syslog = 'tcp://127.0.0.1:0'");
    let mut lines = TcpStream::connect(&listening.address).expect("it listens");
    let mut counted = TcpStream::connect(&listening.address).expect("it listens");
    for number in 0..500 {
        let message = rfc3164(&record(&format!("pc-{number}"), "198.51.100.1"));
        lines.write_all(format!("{message}\n").as_bytes()).expect("it reads");
        let message = rfc5424(&record(&format!("pc-{number}"), "198.51.100.2"));
        counted.write_all(format!("{} {message}", message.len()).as_bytes()).expect("it reads");
    }
    // The last line has no end, and a line of nothing known stops nobody.
    lines
        .write_all(format!("<134>what is this\n{}", record("pc-last", "198.51.100.3")).as_bytes())
        .expect("it reads");
    drop(lines);
    listening.reading.comes("198.51.100.1", 500);
    listening.reading.comes("198.51.100.2", 500);
    listening.reading.comes("198.51.100.3", 1);
    let message = rfc5424(&record("pc-1", "198.51.100.4"));
    counted.write_all(format!("{} {message}", message.len()).as_bytes()).expect("it reads");
    listening.reading.comes("198.51.100.4", 1);
    assert_eq!(listening.server.stop(), 0);
}

/// A connection of a client that trusts one authority. The handshake is made when something is sent.
fn secured(address: &str, authority: &Path) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut trusted = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).expect("PEM") {
        trusted.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a connection");
    rustls::StreamOwned::new(connection, TcpStream::connect(address).expect("it listens"))
}

#[test]
fn a_certificate_is_exchanged_while_it_listens() {
    let (place, other) = (Place::new(), Place::new());
    // Its key is encrypted under the operator's.
    let key_file = place.root.path().join("operator.key");
    place.run(["key".as_ref(), "new-file".as_ref(), key_file.as_os_str()]).ends(0);
    let sealed = |place: &Place| {
        for arguments in [vec!["init"], vec!["tls", "init"]] {
            let mut command = place.command(arguments);
            command.env("SEENBY_KEY_FILE", &key_file);
            crate::support::Run::of(&mut command).ends(0);
        }
        place.data.join("tls")
    };
    let (tls, others) = (sealed(&place), sealed(&other));
    let settings = format!(
        "syslog = 'tls://127.0.0.1:0'\ncertificate = '{}'\nkey = '{}'",
        tls.join("server.pem").display(),
        tls.join("server.key").display()
    );
    let reading = Reading::new(place, &settings);
    let server = reading.serve_with(&[("SEENBY_KEY_FILE", &key_file)]);
    let address = reading.address("syslog is listened for");
    let first = tls.join("first.pem");
    std::fs::copy(tls.join("ca.pem"), &first).expect("copied");
    let send = |authority: &Path, device: &str| {
        let mut stream = secured(&address, authority);
        let line = format!("{}\n", record(device, "198.51.100.1"));
        stream.write_all(line.as_bytes()).and_then(|()| stream.flush())
    };
    send(&first, "pc-1").expect("it is trusted");
    reading.comes("198.51.100.1", 1);
    for name in ["server.pem", "server.key"] {
        std::fs::copy(others.join(name), tls.join(name)).expect("copied");
    }
    until("the other certificate", || send(&others.join("ca.pem"), "pc-2").is_ok());
    reading.comes("198.51.100.1", 2);
    assert!(send(&first, "pc-3").is_err(), "the first one is gone");
    // What cannot be used changes nothing.
    std::fs::write(tls.join("server.pem"), "no certificate").expect("written");
    let said =
        || std::fs::read_to_string(&reading.log).expect("text").contains("cannot be used; the old one");
    until("a word", said);
    send(&others.join("ca.pem"), "pc-4").expect("it is trusted still");
    reading.comes("198.51.100.1", 3);
    assert_eq!(server.stop(), 0);
}

#[test]
fn over_tls() {
    let place = Place::new();
    place.run(["init"]).ends(0);
    place.run(["tls", "init"]).ends(0);
    let tls = place.data.join("tls");
    let settings = format!(
        "syslog = 'tls://127.0.0.1:0'\ncertificate = '{}'\nkey = '{}'",
        tls.join("server.pem").display(),
        tls.join("server.key").display()
    );
    let listening = listen(place, &settings);
    let mut stream = secured(&listening.address, &tls.join("ca.pem"));
    let message = rfc5424(&record("pc-1", "198.51.100.1"));
    stream.write_all(format!("{} {message}", message.len()).as_bytes()).expect("it reads");
    stream.flush().expect("it reads");
    listening.reading.comes("198.51.100.1", 1);
    // Who speaks no TLS is closed, and disturbs nobody.
    let mut plain = TcpStream::connect(&listening.address).expect("it listens");
    plain.write_all(format!("{}\n", record("pc-2", "198.51.100.2")).as_bytes()).expect("it reads");
    stream.write_all(format!("{}\n", record("pc-3", "198.51.100.1")).as_bytes()).expect("it reads");
    stream.flush().expect("it reads");
    listening.reading.comes("198.51.100.1", 2);
    listening.reading.place.run(["stats", "198.51.100.2"]).ends(1);
    assert_eq!(listening.server.stop(), 0);
}

#[test]
fn what_has_arrived_is_taken_in_before_the_server_stops() {
    let Listening { reading: Reading { place, .. }, server, address } =
        listen(Place::new(), "syslog = 'tcp://127.0.0.1:0'");
    let mut stream = TcpStream::connect(&address).expect("it listens");
    stream.write_all(format!("{}\n", record("pc-1", "198.51.100.1")).as_bytes()).expect("it reads");
    let asked = |address| place.run(["stats", "--json", address]).json()["organizationPrevalence"].as_u64();
    until("the first", || asked("198.51.100.1") == Some(1));
    assert_eq!(server.stop(), 0);
    assert_eq!(asked("198.51.100.1"), Some(1));
}

#[test]
fn an_address_that_is_taken_is_said_and_tried_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let reading = Reading::new(Place::new(), &format!("syslog = 'udp://{address}'"));
    let server = reading.serve();
    let said = |what: &str| std::fs::read_to_string(&reading.log).expect("text").contains(what);
    until("a word", || said("cannot be listened on"));
    drop(socket);
    until("the listener", || said("syslog is listened for"));
    assert_eq!(server.stop(), 0);
}
