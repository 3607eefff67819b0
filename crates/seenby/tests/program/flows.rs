//! NetFlow that comes to a server over UDP: datagrams of several exporters are in the answers, and what never came is counted.
//! Refuses to hold: what a datagram says (the tests of `formats`).

use std::net::UdpSocket;

use crate::support::{Place, Reading, Server, now, until};

const EXPORTER_STARTED_MS_AGO: u32 = 3_600_000;

/// A NetFlow 5 datagram with a flow from each of these sources (the last byte of 10.0.0.x) to a remote, opened now.
fn netflow5(sequence: u32, sources: &[u8], remote: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |more: &[u8]| bytes.extend_from_slice(more);
    put(&5u16.to_be_bytes());
    put(&(sources.len() as u16).to_be_bytes());
    put(&EXPORTER_STARTED_MS_AGO.to_be_bytes());
    put(&now().unix().to_be_bytes());
    put(&[0; 4]);
    put(&sequence.to_be_bytes());
    put(&[0; 4]);
    for source in sources {
        put(&[10, 0, 0, *source]);
        put(&remote);
        // Next hop, interfaces, packets, octets.
        put(&[0; 4 + 2 + 2]);
        put(&3u32.to_be_bytes());
        put(&180u32.to_be_bytes());
        // First and last packet by the exporter's uptime, ports.
        put(&(EXPORTER_STARTED_MS_AGO - 2_000).to_be_bytes());
        put(&(EXPORTER_STARTED_MS_AGO - 1_000).to_be_bytes());
        put(&40_000u16.to_be_bytes());
        put(&443u16.to_be_bytes());
        // Padding, flags (SYN, ACK, FIN), TCP, and the rest.
        put(&[0, 0x13, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

fn listen(reading: &Reading) -> (Server, UdpSocket) {
    let server = reading.serve();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(reading.address("flows are listened for")).expect("an address");
    (server, socket)
}

#[test]
fn datagrams_are_in_the_answers_and_gaps_are_counted() {
    let reading = Reading::new(Place::new(), "netflow = 'udp://127.0.0.1:0'");
    let (server, socket) = listen(&reading);
    socket.send(&netflow5(0, &[1, 2, 3], [198, 51, 100, 1])).expect("sent");
    // Seven records never come.
    socket.send(&netflow5(10, &[3, 4], [198, 51, 100, 1])).expect("sent");
    let other = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    other.connect(socket.peer_addr().expect("connected")).expect("an address");
    other.send(&netflow5(500, &[5], [198, 51, 100, 2])).expect("sent");
    socket.send(b"no flows at all").expect("sent");
    reading.comes("198.51.100.1", 4);
    reading.comes("198.51.100.2", 1);
    let counted = |what: &str| {
        server.metrics().lines().any(|line| line.starts_with("seenby_source") && line.ends_with(what))
    };
    until("the count of what was lost", || {
        counted("what=\"flow_records\"} 7")
            && counted("reason=\"bad_datagram\"} 1")
            && counted("reason=\"\"} 6")
    });
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_has_arrived_is_taken_in_before_the_server_stops() {
    let reading = Reading::new(Place::new(), "netflow = 'udp://127.0.0.1:0'");
    let (server, socket) = listen(&reading);
    for number in 0..100 {
        socket.send(&netflow5(number, &[number as u8], [198, 51, 100, 1])).expect("sent");
    }
    assert_eq!(server.stop(), 0);
    assert_eq!(reading.place.stats("198.51.100.1").0, 100);
}
