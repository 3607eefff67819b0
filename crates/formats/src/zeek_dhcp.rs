//! What makes a conversation in Zeek's dhcp.log a lease, whatever carries it: an address was assigned, and, where the log tells its
//! messages, the server acknowledged it: an offer alone may be taken up by nobody. Refuses to hold: columns and
//! keys (`zeek_tsv`, `zeek_json`), and the `domain` of an answer, which is the server's word and no name of the machine.
//!
//! ```text
//! #fields  ts                 client_addr  mac                host_name  client_fqdn  assigned_addr  lease_time    msg_types
//!          1930557662.345678  -            00:0d:3a:13:e3:69  pc-17      -            10.1.2.3       86400.000000  REQUEST,ACK
//! ```
//!
//! Source: Zeek's `DHCP::Info`; `assigned_ip` is its name before Zeek 2.6.

use sighting::{Address, Second};

use crate::lease::{self, Lease};
use crate::record::{Fault, Ignored, Passed, Sink};
use crate::time::epoch_seconds;

/// One conversation, its fields as text; `None` is unset.
#[derive(Clone, Copy)]
pub(crate) struct Conversation<'a> {
    pub(crate) second: Result<Second, Fault>,
    pub(crate) client: Option<&'a str>,
    pub(crate) mac: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    pub(crate) fqdn: Option<&'a str>,
    pub(crate) assigned: Option<&'a str>,
    pub(crate) lease_seconds: Option<&'a str>,
    pub(crate) messages: Messages,
}

/// What is said in a conversation.
#[derive(Clone, Copy, Default)]
pub(crate) struct Messages {
    is_told: bool,
    has_ack: bool,
    has_release: bool,
}

impl Messages {
    /// The log tells of a message.
    pub(crate) fn add(&mut self, message: &str) {
        self.is_told = true;
        self.has_ack |= message == "ACK";
        self.has_release |= message == "RELEASE";
    }

    fn may_lease(self) -> bool {
        self.has_ack || !self.is_told
    }
}

impl Conversation<'_> {
    /// Tells the sink what the conversation is.
    pub(crate) fn judge(&self, line: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        let is_unspecified = |text: &&str| {
            Address::parse_logged(text.as_bytes()).is_some_and(|address| address.special().is_some())
        };
        let is_leased = |text: &&str| !is_unspecified(text) && self.messages.may_lease();
        let Some(assigned) = self.assigned.filter(is_leased) else {
            if self.messages.has_release && self.client.is_some() {
                return lease::freed((self.client, "client_addr"), self.second, line, sink);
            }
            sink.ignored(&Passed::by_nobody(Ignored::OtherAction, line));
            return Ok(());
        };
        let until = self.second.map(|since| self.lease_seconds.and_then(|text| end(since, text)));
        let lease = Lease {
            address: (Some(assigned), "assigned_addr"),
            mac: self.mac,
            host: self.fqdn.or(self.host),
            holder_field: "host_name",
            since: self.second,
            until,
            free_from: None,
        };
        lease.judge(line, sink)
    }
}

/// When a lease of so many seconds ends; none, where that is longer than time is counted.
fn end(since: Second, seconds: &str) -> Option<Second> {
    let length = epoch_seconds(seconds)?;
    let end = since.plus(u64::from(length.unix()));
    (end < Second::MAX).then_some(end)
}
