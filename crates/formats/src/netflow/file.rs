//! A file of flow exports: datagrams as they came off the wire, one behind the other, of one exporter. Refuses to hold: the records of
//! capture files (pcap, nfcapd), which are other formats, and what stands behind something that is no datagram, because nothing
//! tells where the next one begins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::wire::{End, end};
use super::{Flows, Lost, Told};
use crate::chunk::{Chunk, Content};
use crate::record::Refusal;

/// A file does not say who sent its datagrams.
const EXPORTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Records of a chunk, about 130 bytes each.
const CHUNK_RECORDS: usize = 8_192;

/// The state of reading one.
#[derive(Debug)]
pub(crate) struct File {
    flows: Flows,
    told: Vec<Told>,
    /// Number of the first of `told`.
    first: u64,
    /// Nothing more can be read of it.
    is_over: bool,
}

impl File {
    /// At its start.
    pub(crate) fn new() -> File {
        File { flows: Flows::new(), told: Vec::new(), first: 1, is_over: false }
    }

    /// The number of the record that comes next.
    pub(crate) fn next_record(&self) -> u64 {
        self.first + self.told.len() as u64
    }

    /// What its sequence numbers say is not in it.
    pub(crate) fn lost(&self) -> Lost {
        self.flows.lost()
    }

    /// Reads the whole datagrams at the start of `pending` and takes them out of it.
    pub(crate) fn read(&mut self, pending: &mut Vec<u8>, at_end: bool, out: &mut impl FnMut(Chunk)) {
        let mut at = 0;
        while !self.is_over {
            let rest = pending.get(at..).unwrap_or_default();
            match end(rest, at_end) {
                End::At(length) => {
                    self.datagram(rest.get(..length).unwrap_or_default(), Refusal::BadDatagram, out);
                    at += length;
                }
                End::NeedMore => break,
                End::Nowhere => {
                    self.told.push(Told::Refused(Refusal::BadDatagram));
                    self.is_over = true;
                }
            }
        }
        if self.is_over {
            at = pending.len();
        }
        pending.drain(..at);
        self.give_out(out);
    }

    /// The file has ended; what is left is a datagram that was cut.
    pub(crate) fn finish(&mut self, pending: &mut Vec<u8>, out: &mut impl FnMut(Chunk)) {
        self.read(pending, true, out);
        if !pending.is_empty() {
            self.datagram(&std::mem::take(pending), Refusal::Truncated, out);
        }
        self.stop(out);
    }

    /// The file broke off: what is left may be a part of anything.
    pub(crate) fn break_off(&mut self, pending: &mut Vec<u8>, out: &mut impl FnMut(Chunk)) {
        self.read(pending, false, out);
        if !std::mem::take(pending).is_empty() {
            self.told.push(Told::Refused(Refusal::Truncated));
        }
        self.stop(out);
    }

    /// Nobody reads on: what waits for a template has no other end.
    pub(crate) fn stop(&mut self, out: &mut impl FnMut(Chunk)) {
        for _ in 0..self.flows.waiting.clear() {
            self.told.push(Told::Refused(Refusal::NoTemplate));
        }
        self.give_out(out);
    }

    fn datagram(&mut self, datagram: &[u8], cut: Refusal, out: &mut impl FnMut(Chunk)) {
        let (told, first) = (&mut self.told, &mut self.first);
        self.flows.read(EXPORTER, datagram, cut, &mut |piece| {
            told.push(piece);
            if told.len() >= CHUNK_RECORDS {
                out(chunk(told, first));
            }
        });
    }

    fn give_out(&mut self, out: &mut impl FnMut(Chunk)) {
        if !self.told.is_empty() {
            out(chunk(&mut self.told, &mut self.first));
        }
    }
}

fn chunk(told: &mut Vec<Told>, first: &mut u64) -> Chunk {
    let told = std::mem::take(told);
    let first_line = *first;
    *first += told.len() as u64;
    Chunk { bytes: Vec::new(), first_line, content: Content::Flows(told), is_cut: false }
}
