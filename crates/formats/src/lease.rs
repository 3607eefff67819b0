//! What makes a record of any DHCP server, or of a map by hand, a lease: an address, somebody who had it, a time. Refuses to
//! hold: the words of any server, and whose device a name is (the registry's).

use sighting::{Address, IdentityKind, Mention, Second};

use crate::record::{Fault, Ignored, Leased, Lesson, Mentions, Passed, Refusal, Sink, Taught};
use crate::text::{Names, present};

/// One lease, as far as its record could be read.
pub(crate) struct Lease<'a> {
    /// The address as written, and the field that holds it.
    pub(crate) address: (Option<&'a str>, &'static str),
    pub(crate) mac: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    /// The field that has to name somebody.
    pub(crate) holder_field: &'static str,
    pub(crate) since: Result<Second, Fault>,
    pub(crate) until: Result<Option<Second>, Fault>,
    pub(crate) free_from: Option<Second>,
}

impl Lease<'_> {
    /// Tells the sink of it.
    pub(crate) fn judge(&self, line: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        let what = address(self.address)?;
        let mut names = Names::default();
        if let Some(mac) = self.mac {
            names.add(IdentityKind::Mac, mac, "mac");
        }
        // A machine that has no name of its own calls itself so.
        let is_name = |host: &&str| !host.eq_ignore_ascii_case("localhost");
        if let Some(host) = self.host.filter(is_name) {
            names.add(IdentityKind::HostName, host, self.holder_field);
        }
        let holders = names.required(self.holder_field)?;
        let (since, until) = (self.since?, self.until?);
        if until.is_some_and(|until| until < since) {
            return Err(Fault::of(Refusal::BadTime, "until"));
        }
        let leased = Leased { what, holders, since, until, free_from: self.free_from };
        sink.taught(&Taught { lesson: Lesson::Leased(leased), tenant: None, line });
        Ok(())
    }
}

/// Tells the sink that an address became nobody's.
pub(crate) fn freed(
    written: (Option<&str>, &'static str),
    at: Result<Second, Fault>,
    line: u64,
    sink: &mut impl Sink,
) -> Result<(), Fault> {
    let (what, since) = (address(written)?, at?);
    let leased = Leased { what, holders: Mentions::new(), since, until: None, free_from: Some(since) };
    sink.taught(&Taught { lesson: Lesson::Leased(leased), tenant: None, line });
    Ok(())
}

/// Tells the sink of a record of the server's that leases nothing.
pub(crate) fn other(line: u64, sink: &mut impl Sink) {
    sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
}

fn address<'a>((written, field): (Option<&'a str>, &'static str)) -> Result<Mention<'a>, Fault> {
    let written = written.and_then(present).ok_or(Fault::of(Refusal::MissingField, field))?;
    let address = Address::parse_logged(written.as_bytes());
    let is_one = address.is_some_and(|address| address.special().is_none());
    let mention = Mention { kind: IdentityKind::Address, written };
    is_one.then_some(mention).ok_or(Fault::of(Refusal::BadAddress, field))
}
