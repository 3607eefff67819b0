//! NetFlow that comes to a server over UDP: datagrams of several exporters are in the answers, and what never came is counted.
//! Refuses to hold: what a datagram says (the tests of `formats`).

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{Place, Reading, Server, now, until};

const EXPORTER_STARTED_MS_AGO: u32 = 3_600_000;

/// A NetFlow 5 datagram with a flow from each of these sources (the last byte of 10.0.0.x) to a remote, opened now.
pub(crate) fn netflow5(sequence: u32, sources: &[u8], remote: [u8; 4]) -> Vec<u8> {
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

/// A NetFlow 9 datagram with its template, and a flow from each of these sources to a remote, opened now.
pub(crate) fn netflow9(sources: &[u8], remote: [u8; 4]) -> Vec<u8> {
    // Source, destination, protocol, first packet by the uptime.
    let fields: [[u16; 2]; 4] = [[8, 4], [12, 4], [4, 1], [22, 4]];
    let template: Vec<u8> =
        [[256, 4]].iter().chain(&fields).flatten().flat_map(|it| it.to_be_bytes()).collect();
    let records = sources.iter().flat_map(|source| {
        let first = (EXPORTER_STARTED_MS_AGO - 2_000).to_be_bytes();
        [&[10, 0, 0, *source][..], &remote, &[6], &first].concat()
    });
    let mut records: Vec<u8> = records.collect();
    records.resize(records.len().next_multiple_of(4), 0);
    let set =
        |id: u16, body: &[u8]| [&id.to_be_bytes()[..], &(body.len() as u16 + 4).to_be_bytes(), body].concat();
    let head: Vec<u8> = [9u16, 1 + sources.len() as u16].iter().flat_map(|it| it.to_be_bytes()).collect();
    let times = [EXPORTER_STARTED_MS_AGO, now().unix(), 0, 0].map(u32::to_be_bytes).concat();
    [head, times, set(0, &template), set(256, &records)].concat()
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

/// Fewer datagrams than are taken without a look at anything else.
const FEW: u32 = 200;

/// A datagram every tenth of a second, each of another device, as a quiet network's exporter sends them.
struct Drip {
    sent: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Drip {
    fn begin(socket: UdpSocket) -> Drip {
        let (sent, ends) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, told) = (Arc::clone(&sent), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                // Nobody listens any more, in the end.
                let _ = socket.send(&netflow5(number, &[number as u8], [198, 51, 100, 1]));
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        Drip { sent, ends, thread }
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends");
    }
}

#[test]
fn a_flow_does_not_wait_for_a_pause() {
    let reading = Reading::new(Place::new(), "netflow = 'udp://127.0.0.1:0'");
    let (server, socket) = listen(&reading);
    let drip = Drip::begin(socket);
    until("the first of them", || reading.place.stats("198.51.100.1").0 > 0);
    assert!(drip.sent() < FEW, "{} were sent", drip.sent());
    let before = drip.sent();
    assert_eq!(server.stop(), 0);
    assert!(drip.sent() - before < FEW, "{} were sent", drip.sent() - before);
    drip.end();
}
