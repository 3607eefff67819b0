//! NetFlow and IPFIX as exporters send them: datagrams over UDP. Nobody is told that one arrived, so what is on its way into the store
//! when the process is killed is lost: the batch of a moment. Refuses to hold: what a datagram says (`formats::Flows`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use formats::Flows;

use super::feed::{Feed, Stopped, name};
use super::udp;
use crate::ingest::Reading;

/// How long a flow waits for others before it is appended.
const BATCH_WAITS: Duration = Duration::from_millis(200);
/// How long before an address that was taken is tried again.
const BIND_WAITS: Duration = Duration::from_secs(2);
/// Datagrams that are taken without a look at how full the batch is.
const AT_ONCE: usize = 256;
/// How long a server that stops takes what has arrived: where more comes all the time, it would not end.
const END_WAITS: Duration = Duration::from_secs(5);
/// Exporters whose refused records are told apart.
const EXPORTERS_MAX: usize = 4_096;

/// Listens until the server stops.
pub(super) fn listen(mut feed: Feed, address: SocketAddr) {
    // A server that stops is the only end.
    let Stopped = run(&mut feed, address);
    let _ = feed.commit();
}

fn run(feed: &mut Feed, address: SocketAddr) -> Stopped {
    loop {
        match bind(address) {
            Ok((socket, address)) => {
                feed.is_well();
                tracing::info!(source = %name(&feed.source.name), %address, "flows are listened for");
                return Listening::new(socket, address).receive(feed);
            }
            Err(error) => feed.trouble(&format!(
                "{address} cannot be listened on ({error}); it is tried again: free it, or correct its [[sources]]"
            )),
        }
        if let Err(stopped) = feed.stop().wait(BIND_WAITS) {
            return stopped;
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind(address)?;
    udp::make_room(&socket);
    socket.set_read_timeout(Some(BATCH_WAITS))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// What came of listening for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Came {
    /// Datagrams, and there may be more.
    Some,
    /// No more for now.
    Pause,
}

/// A bound socket, and what its exporters have said so far.
struct Listening {
    socket: UdpSocket,
    address: SocketAddr,
    buffer: Vec<u8>,
    flows: Flows,
    exporters: HashMap<IpAddr, Arc<Reading>>,
}

impl Listening {
    fn new(socket: UdpSocket, address: SocketAddr) -> Listening {
        let buffer = vec![0; udp::DATAGRAM_BYTES_MAX];
        Listening { socket, address, buffer, flows: Flows::new(), exporters: HashMap::new() }
    }

    fn receive(mut self, feed: &mut Feed) -> Stopped {
        match self.until_stopped(feed).and_then(|()| self.end(feed)) {
            Ok(()) => Stopped,
            Err(stopped) => stopped,
        }
    }

    fn until_stopped(&mut self, feed: &mut Feed) -> Result<(), Stopped> {
        let mut begun_at = Instant::now();
        while !feed.stop().is_told() {
            let until = begun_at + BATCH_WAITS;
            if self.take_some(feed, until)? == Came::Pause || feed.is_full() || Instant::now() >= until {
                feed.commit()?;
                self.tell(feed);
                begun_at = Instant::now();
            }
        }
        Ok(())
    }

    /// What has come is taken still; what waits for a template waits in vain.
    fn end(&mut self, feed: &mut Feed) -> Result<(), Stopped> {
        if self.socket.set_nonblocking(true).is_ok() {
            let until = Instant::now() + END_WAITS;
            while self.take_some(feed, until)? == Came::Some && Instant::now() < until {
                if feed.is_full() {
                    feed.commit()?;
                }
            }
        }
        if self.flows.waiting() > 0 {
            let reading = Arc::new(Reading::new(0, "netflow".to_owned(), Vec::new()));
            let flows = &mut self.flows;
            feed.fill(&reading, |_, filler| flows.finish(filler))?;
        }
        feed.commit()?;
        self.tell(feed);
        Ok(())
    }

    /// Takes datagrams until there are none, or it is time, or as many as are taken at once.
    fn take_some(&mut self, feed: &mut Feed, until: Instant) -> Result<Came, Stopped> {
        for _ in 0..AT_ONCE {
            // A pause, or a router that says that something sent from here was not taken: nothing is.
            let Ok((length, exporter)) = self.socket.recv_from(&mut self.buffer) else {
                return Ok(Came::Pause);
            };
            self.take(feed, length, exporter)?;
            if Instant::now() >= until {
                break;
            }
        }
        Ok(Came::Some)
    }

    fn take(&mut self, feed: &mut Feed, length: usize, exporter: SocketAddr) -> Result<(), Stopped> {
        feed.read(length as u64);
        if !self.exporters.contains_key(&exporter.ip()) && self.exporters.len() >= EXPORTERS_MAX {
            // Only what is said of refused records is by exporter: whoever makes up addresses costs nobody anything.
            self.exporters.clear();
        }
        let reading = self.exporters.entry(exporter.ip()).or_insert_with(|| {
            Arc::new(Reading::new(0, format!("netflow of {}", exporter.ip()), Vec::new()))
        });
        let (flows, datagram) = (&mut self.flows, self.buffer.get(..length).unwrap_or_default());
        feed.fill(reading, |settings, filler| flows.datagram(exporter, datagram, settings, filler))
    }

    fn tell(&self, feed: &Feed) {
        let lost = self.flows.lost();
        feed.status.lost("datagrams", udp::dropped(self.address));
        feed.status.lost("flow_records", lost.records);
        feed.status.lost("flow_datagrams", lost.datagrams);
        feed.status.change(|status| status.open = self.exporters.len() as u64);
    }
}
