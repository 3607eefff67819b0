//! The lease files of Kea (memfile, CSV), IPv4 and IPv6: which columns say what, and which rows are leases. Refuses to hold:
//! prefixes that are delegated, and rows that only delete a lease: they do not say when it ended.
//!
//! ```text
//! address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
//! 10.1.2.3,00:0d:3a:13:e3:69,,4000,1930561662,1,0,0,pc-17.example.org,0,,0
//! address  device            for, s    ends, epoch s          device    0: assigned
//! ```
//!
//! A file is a journal: a lease has a row for each renewal. It began `valid_lifetime` before `expire`. Source: Kea's manual and the
//! headers that its versions 1.3 to 2.6 write.

use sighting::Second;

use crate::chunk::CsvLayout;
use crate::csv::Field;
use crate::lease::{self, Lease};
use crate::record::{Fault, Refusal, Sink};
use crate::text::present;

/// A lease for ever.
const FOR_EVER: i64 = u32::MAX as i64;

/// Whether a header with these columns is one of this format's.
pub(crate) fn is_header(has: &dyn Fn(&str) -> bool) -> bool {
    has("address") && has("valid_lifetime") && has("expire") && has("subnet_id")
}

/// The places of the columns that matter.
pub(crate) struct Columns {
    address: Option<usize>,
    hardware: Option<usize>,
    lifetime: Option<usize>,
    expire: Option<usize>,
    host: Option<usize>,
    state: Option<usize>,
    prefix: Option<usize>,
    kind: Option<usize>,
}

impl Columns {
    /// From the header.
    pub(crate) fn of(layout: &CsvLayout) -> Columns {
        Columns {
            address: layout.place("address"),
            hardware: layout.place("hwaddr"),
            lifetime: layout.place("valid_lifetime"),
            expire: layout.place("expire"),
            host: layout.place("hostname"),
            state: layout.place("state"),
            prefix: layout.place("prefix_len"),
            kind: layout.place("lease_type"),
        }
    }

    /// One row.
    pub(crate) fn row(&self, fields: &[Field<'_>], line: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        let value = |place: Option<usize>| present(fields.get(place?)?.plain());
        let number = |place, field: &'static str| {
            let written = value(place).ok_or(Fault::of(Refusal::NoTime, field))?;
            written.parse::<i64>().map_err(|_| Fault::of(Refusal::BadTime, field))
        };
        let is_prefix = self.prefix.is_some() && value(self.kind) == Some("2");
        // Declined, released: whoever had it has it no more, and since when is not said. Reclaimed (2): it was a lease until then.
        let is_lease = matches!(value(self.state), None | Some("0" | "2"));
        let lifetime = number(self.lifetime, "valid_lifetime")?;
        if is_prefix || !is_lease || lifetime == 0 {
            lease::other(line, sink);
            return Ok(());
        }
        let expire = number(self.expire, "expire")?;
        let bad = Fault::of(Refusal::BadTime, "expire");
        let lease = Lease {
            address: (value(self.address), "address"),
            mac: value(self.hardware),
            host: value(self.host),
            holder_field: "hostname",
            since: expire.checked_sub(lifetime).and_then(Second::from_unix).ok_or(bad),
            until: match Second::from_unix(expire) {
                Some(end) if lifetime != FOR_EVER => Ok(Some(end)),
                _ if lifetime == FOR_EVER => Ok(None),
                _ => Err(bad),
            },
            free_from: None,
        };
        lease.judge(line, sink)
    }
}
