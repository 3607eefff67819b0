//! Flow exports of three exporters, one datagram after the other: nothing panics, the records are numbered without a gap, nothing
//! waits at the end. `|~|` parts one datagram from the next. Holds no expectations of content.

#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use seenby_formats::{Flows, Opened, Passed, Refusal, Settings, Sink, Taught};

const BETWEEN: &[u8] = b"|~|";

fuzz_target!(|bytes: &[u8]| {
    let (mut flows, mut told, settings) = (Flows::new(), Numbered::default(), Settings::default());
    for (number, datagram) in datagrams(bytes).into_iter().enumerate() {
        let exporter = SocketAddr::from(([192, 0, 2, 1], (number % 3) as u16));
        flows.datagram(exporter, datagram, &settings, &mut told);
    }
    flows.finish(&mut told);
    assert_eq!(flows.waiting(), 0);
    let (all, each) = (flows.lost(), flows.lost_of_each());
    assert_eq!(all.records, each.values().map(|lost| lost.records).sum::<u64>());
});

fn datagrams(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut datagrams = Vec::new();
    while let Some(at) = bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        datagrams.push(&bytes[..at]);
        bytes = &bytes[at + BETWEEN.len()..];
    }
    datagrams.push(bytes);
    datagrams
}

#[derive(Default)]
struct Numbered {
    last: u64,
}

impl Numbered {
    fn next(&mut self, line: u64) {
        assert_eq!(line, self.last + 1);
        self.last = line;
    }
}

impl Sink for Numbered {
    fn taught(&mut self, record: &Taught<'_>) {
        self.next(record.line);
    }

    fn opened(&mut self, record: &Opened<'_>) {
        self.next(record.line);
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        self.next(record.line);
    }

    fn refused(&mut self, _: Refusal, line: u64, _: Option<&'static str>) {
        self.next(line);
    }
}
