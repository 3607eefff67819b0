//! The leases of ISC's dhcpd (`dhcpd.leases`): blocks of statements over several lines, each of them one record. Refuses to hold:
//! declarations of other things (hosts, failover peers, `server-duid`), which are ignored, and leases of prefixes.
//!
//! ```text
//! lease 10.1.2.3 {
//!   starts 2 2031/03/04 10:01:02;             day of the week, UTC; or: epoch 1930557662; # ...
//!   ends 2 2031/03/04 22:01:02;               or: never
//!   binding state active;
//!   hardware ethernet 00:0d:3a:13:e3:69;      the device
//!   client-hostname "pc-17";                  the device
//! }
//! ```
//!
//! The file is a journal: a lease has a block for each change. In any other state than `active` it was theirs until `ends`, and nobody's
//! from then on. Source: the manual page dhcpd.leases(5).

use std::iter::Peekable;

use memchr::memmem;
use sighting::Second;

use crate::chunk::{Chunk, LINE_BYTES_MAX};
use crate::lease::{self, Lease};
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::time::{Iso, epoch_seconds, slashed};

/// Whether a line begins a lease.
pub(crate) fn is_start(line: &str) -> bool {
    line.starts_with("lease ") && line.ends_with('{')
}

/// Where the last block that ends in some bytes ends: behind a line that is a closing brace; 0, if none does.
pub(crate) fn last_end(bytes: &[u8]) -> usize {
    let mut within = bytes;
    while let Some(at) = memmem::rfind(within, b"\n}") {
        let rest = bytes.get(at + 2..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        if let Some(end) = end
            && bytes.get(at + 1..at + 2 + end).is_some_and(is_end)
        {
            return at + 2 + end + 1;
        }
        within = within.get(..at).unwrap_or_default();
    }
    0
}

/// Whether a line is a closing brace at its start.
fn is_end(line: &[u8]) -> bool {
    line.strip_prefix(b"}").is_some_and(|rest| rest.trim_ascii().is_empty())
}

/// Every record of a chunk: blocks, and lines outside of them.
pub(crate) fn blocks(chunk: &Chunk, sink: &mut impl Sink) {
    let mut lines = (chunk.first_line..).zip(chunk.bytes.split_inclusive(|byte| *byte == b'\n')).peekable();
    while let Some((number, bytes)) = lines.next() {
        let Ok(line) = str::from_utf8(bytes) else {
            sink.refused(Refusal::InvalidUtf8, number, None);
            continue;
        };
        let line = line.trim_start_matches('\u{feff}').trim();
        if !line.ends_with('{') {
            outside(line, number, sink);
            continue;
        }
        let block = Block::read(line, &mut lines);
        let told = match block {
            Ok(block) => block.judge(number, sink),
            Err(refusal) => Err(refusal.into()),
        };
        if let Err(Fault { refusal, field }) = told {
            sink.refused(refusal, number, field);
        }
    }
}

/// A line that is in no block.
fn outside(line: &str, number: u64, sink: &mut impl Sink) {
    let why = match () {
        () if line.is_empty() => Ignored::Blank,
        () if line.starts_with('#') => Ignored::Header,
        // A statement of another kind, whose words are many.
        () if line.ends_with(';') => Ignored::OtherEvent,
        () => return sink.refused(Refusal::Unrecognised, number, None),
    };
    sink.ignored(&Passed::by_nobody(why, number));
}

/// A block, with what matters of its statements.
#[derive(Default)]
struct Block<'a> {
    /// What it is of; none but of a lease.
    address: Option<&'a str>,
    starts: Option<&'a str>,
    ends: Option<&'a str>,
    state: Option<&'a str>,
    hardware: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> Block<'a> {
    /// From its first line on to the closing brace; nested blocks are passed.
    fn read(
        first: &'a str,
        lines: &mut Peekable<impl Iterator<Item = (u64, &'a [u8])>>,
    ) -> Result<Block<'a>, Refusal> {
        let lease = first.strip_prefix("lease ").and_then(|rest| rest.strip_suffix('{'));
        let mut block = Block { address: lease.map(str::trim), ..Block::default() };
        let (mut depth, mut size, mut refusal) = (1_u32, first.len(), None);
        // Where another lease begins, this one was cut: nothing leases inside of a block.
        while let Some((_, bytes)) = lines.next_if(|(_, bytes)| !bytes.starts_with(b"lease ")) {
            size += bytes.len();
            let Ok(line) = str::from_utf8(bytes) else {
                refusal = Some(Refusal::InvalidUtf8);
                continue;
            };
            let line = line.trim();
            match line {
                // At the start of a line it ends all that is open, as where the file is cut into pieces; what is nested is indented.
                "}" if is_end(bytes) => depth = 0,
                _ if line.ends_with('{') => depth += 1,
                "}" => depth -= 1,
                _ if depth == 1 => block.statement(line),
                _ => {}
            }
            if depth == 0 {
                let is_long = (size > LINE_BYTES_MAX).then_some(Refusal::LineTooLong);
                return refusal.or(is_long).map_or(Ok(block), Err);
            }
        }
        Err(Refusal::Truncated)
    }

    fn statement(&mut self, line: &'a str) {
        // What follows a semicolon is a remark: an epoch's date.
        let statement = line.rfind(';').and_then(|end| line.get(..end)).unwrap_or(line);
        let (word, rest) = statement.split_once(' ').unwrap_or((statement, ""));
        let rest = rest.trim();
        let slot = match word {
            "starts" => &mut self.starts,
            "ends" => &mut self.ends,
            "client-hostname" => &mut self.host,
            "hardware" => &mut self.hardware,
            "binding" => &mut self.state,
            _ => return,
        };
        *slot = Some(match word {
            "client-hostname" => rest.trim_matches('"'),
            "hardware" => rest.rsplit(' ').next().unwrap_or(rest),
            "binding" => rest.strip_prefix("state ").unwrap_or(rest),
            _ => rest,
        });
    }

    fn judge(&self, line: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        let is_named = self.hardware.is_some() || self.host.is_some();
        // A lease that nobody ever had, or has any more, says nothing of anybody.
        if self.address.is_none() || !is_named && self.state.is_some_and(|state| state != "active") {
            lease::other(line, sink);
            return Ok(());
        }
        let is_active = matches!(self.state, None | Some("active"));
        let until = time(self.ends, "ends");
        let lease = Lease {
            address: (self.address, "lease"),
            mac: self.hardware,
            host: self.host,
            holder_field: "hardware",
            since: time(self.starts, "starts")
                .and_then(|starts| starts.ok_or(Fault::of(Refusal::NoTime, "starts"))),
            until,
            free_from: until.ok().flatten().filter(|_| !is_active),
        };
        lease.judge(line, sink)
    }
}

/// `2 2031/03/04 10:01:02` in UTC, `epoch 1930557662`, or `never`, which is none.
fn time(written: Option<&str>, field: &'static str) -> Result<Option<Second>, Fault> {
    let Some(written) = written.filter(|written| *written != "never") else { return Ok(None) };
    let (first, rest) = written.split_once(' ').unwrap_or((written, ""));
    let second = match first {
        "epoch" => epoch_seconds(rest),
        _ => slashed(rest).map(Iso::utc),
    };
    second.map(Some).ok_or(Fault::of(Refusal::BadTime, field))
}
