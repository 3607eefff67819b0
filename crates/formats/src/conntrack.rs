//! Events of Linux's connection tracking, a line each, as `conntrack -E -o timestamp` prints them, with or without `extended` and
//! `id`, a syslog header before it or none. Refuses to hold: the addresses of the answering direction, which are those behind NAT; the
//! table (`conntrack -L`) and lines without a time, which are refused; expectations (`-E expect`: ignored).
//!
//! ```text
//! [1930557662.345678]    [UPDATE] ipv4     2 tcp      6 432000 ESTABLISHED src=10.1.2.3 dst=198.51.100.20 sport=50001 dport=443
//!  when                  what                protocol   timeout  state       device       remote, as it was dialled
//!  src=198.51.100.20 dst=203.0.113.1 sport=443 dport=50001 [ASSURED]
//!  the other direction, behind NAT
//! ```
//!
//! A connection of TCP was opened when its state becomes ESTABLISHED, one of another protocol when there is an answer (no
//! `[UNREPLIED]`); its time is that of this event. An end (`[DESTROY]`) counts where it says how long the connection lasted
//! (`delta-time`, which the kernel knows with `nf_conntrack_timestamp=1`), and is none that could be dated otherwise; of TCP it has to be
//! `[ASSURED]`, because a refusal is an answer too. Source: conntrack-tools 1.4, libnetfilter_conntrack 1.0 and 1.1.

use sighting::Second;

use crate::connection::{Connection, by_address};
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::syslog::message;
use crate::time::epoch_seconds;

/// What a line without a time lacks: the option that prints it.
const TIME_OPTION: &str = "conntrack -E -o timestamp";

/// Whether a line is a record of this format, be it none that counts.
pub(crate) fn is_record(line: &str) -> bool {
    let (_, text) = behind_time(message(line));
    Event::of(text).is_some_and(|(_, rest)| rest.contains(" src=") && rest.contains(" dst="))
}

/// Whether an input that begins so has such lines, and is no JSON: its brackets stand around words and times.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    matches!(bytes, [b'[', b'0'..=b'9' | b'N' | b'U' | b'D', ..])
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let message = message(text);
    // What the tool says of itself when it ends.
    if message.starts_with("conntrack v") {
        sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
        return Ok(());
    }
    let (time, text) = behind_time(message);
    let Some((event, rest)) = Event::of(text) else {
        return Err(match Values::of(text).source {
            Some(_) => Fault::of(Refusal::NoTime, TIME_OPTION),
            None => Refusal::Unrecognised.into(),
        });
    };
    let values = Values::of(rest);
    if values.is_expectation {
        sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
        return Ok(());
    }
    let time = time.ok_or(Fault::of(Refusal::NoTime, TIME_OPTION))?;
    // A line that was cut before this may have said that nobody answered.
    if values.directions < 2 {
        return Err(Fault::of(Refusal::MissingField, "dst of the reply"));
    }
    let (device, not_ours) = by_address(values.source, "src", None, settings);
    let connection = Connection {
        second: values.began(time),
        device,
        remote: (values.destination, "dst"),
        why_not: not_ours.or(values.not_opened(event)),
    };
    connection.judge(line, settings, sink)
}

/// The time at the start of a message, and what follows it.
fn behind_time(message: &str) -> (Option<&str>, &str) {
    let stamp =
        message.strip_prefix('[').filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()));
    match stamp.and_then(|rest| rest.split_once(']')) {
        // Versions before 1.4 pad the fraction with blanks.
        Some((time, rest)) => (Some(time.trim_end()), rest.trim_start()),
        None => (None, message.trim_start()),
    }
}

/// What became of an entry of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    New,
    Update,
    Destroy,
}

impl Event {
    /// The event that a text begins with, and what follows it.
    fn of(text: &str) -> Option<(Event, &str)> {
        let events = [("[NEW]", Event::New), ("[UPDATE]", Event::Update), ("[DESTROY]", Event::Destroy)];
        events.into_iter().find_map(|(word, event)| Some((event, text.strip_prefix(word)?)))
    }
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    protocol: Option<&'a str>,
    protocol_number: Option<&'a str>,
    state: Option<&'a str>,
    source: Option<&'a str>,
    destination: Option<&'a str>,
    lasted: Option<&'a str>,
    /// Directions of which both addresses are there.
    directions: usize,
    is_unanswered: bool,
    /// Seen in both directions as a connection of its protocol should be.
    is_assured: bool,
    is_expectation: bool,
}

impl<'a> Values<'a> {
    /// Of what follows the event.
    fn of(text: &'a str) -> Values<'a> {
        let mut values = Values::default();
        for word in text.split_ascii_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => values.set(key, value),
                None => values.word(word),
            }
        }
        values
    }

    /// A word of the flags, or of what stands before the addresses: network (`ipv4 2`), protocol (`tcp 6`), timeout, state.
    fn word(&mut self, word: &'a str) {
        match word {
            "[UNREPLIED]" => self.is_unanswered = true,
            "[ASSURED]" | "[OFFLOAD]" | "[HW_OFFLOAD]" => self.is_assured = true,
            _ if self.source.is_some() => {}
            "ipv4" | "ipv6" => {}
            _ if word.starts_with(|letter: char| letter.is_ascii_lowercase()) => self.protocol = Some(word),
            _ if word.starts_with(|letter: char| letter.is_ascii_uppercase()) => self.state = Some(word),
            _ if self.protocol.is_some() && self.protocol_number.is_none() => {
                self.protocol_number = Some(word);
            }
            _ => {}
        }
    }

    fn set(&mut self, key: &str, value: &'a str) {
        match key {
            // The first direction is the one in which the connection was opened.
            "src" => self.source = self.source.or(Some(value)),
            "dst" => {
                self.destination = self.destination.or(Some(value));
                self.directions += 1;
            }
            "delta-time" => self.lasted = Some(value),
            // Before the addresses, where an expectation has no protocol's name.
            "proto" => self.is_expectation = true,
            _ => {}
        }
    }

    fn began(&self, time: &str) -> Result<Second, Fault> {
        let told = epoch_seconds(time).ok_or(Fault::of(Refusal::BadTime, "timestamp"))?;
        let Some(lasted) = self.lasted else { return Ok(told) };
        let lasted = lasted.parse().ok().filter(|seconds| *seconds <= u64::from(told.unix()));
        Ok(told.minus(lasted.ok_or(Fault::of(Refusal::BadTime, "delta-time"))?))
    }

    /// Why the event is none that tells of a connection that was opened.
    fn not_opened(&self, event: Event) -> Option<Ignored> {
        match event {
            _ if self.is_icmp() => Some(Ignored::Icmp),
            Event::Destroy if self.is_unanswered => Some(Ignored::Failed),
            Event::Destroy if self.has_handshake() && !self.is_assured => Some(Ignored::Failed),
            Event::Destroy => self.lasted.is_none().then_some(Ignored::OtherAction),
            Event::New | Event::Update if self.has_handshake() => self.by_state(),
            Event::New | Event::Update => self.is_unanswered.then_some(Ignored::Attempt),
        }
    }

    /// What the state of a handshake says.
    fn by_state(&self) -> Option<Ignored> {
        match self.state {
            // Taken up in its middle: whoever spoke first after that is said to have opened it.
            Some("ESTABLISHED") if self.is_unanswered => Some(Ignored::Midstream),
            Some("ESTABLISHED") => None,
            Some("NONE" | "SYN_SENT" | "SYN_SENT2" | "SYN_RECV" | "COOKIE_WAIT" | "COOKIE_ECHOED") => {
                Some(Ignored::Attempt)
            }
            Some("CLOSE" | "CLOSED") if !self.is_assured => Some(Ignored::Failed),
            // Something else of the entry changed, or it goes to its end.
            _ => Some(Ignored::OtherAction),
        }
    }

    fn has_handshake(&self) -> bool {
        matches!(self.protocol, Some("tcp" | "sctp" | "dccp"))
            || matches!(self.protocol_number, Some("6" | "132" | "33"))
    }

    fn is_icmp(&self) -> bool {
        matches!(self.protocol, Some("icmp" | "icmpv6")) || matches!(self.protocol_number, Some("1" | "58"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: bool) {
        assert_eq!(is_record(line), expected, "{line}");
    }

    #[test]
    fn its_lines_are_known() {
        let event = "[NEW] udp      17 30 src=10.1.2.3 dst=198.51.100.20";
        for before in
            ["", "[1930557662.345678]\t    ", "[1930557662.3     ]\t", "Mar  4 10:01:02 fw-1 conntrack[7]: "]
        {
            check(&format!("{before}{event}"), true);
        }
        for line in
            ["", "[1,2]", "[NEW]", "[NEW] src=", "[1930557662.345678", "udp 17 30 src=10.1.2.3 dst=192.0.2.1"]
        {
            check(line, false);
        }
    }

    #[test]
    fn brackets_of_json_are_others() {
        for (bytes, expected) in [
            (b"[1930557662.3]".as_slice(), true),
            (b"[UPDATE]", true),
            (b"[", false),
            (b"[{\"x\":1}]", false),
            (b"[ {", false),
            (b"", false),
        ] {
            assert_eq!(begins(bytes), expected);
        }
    }
}
