//! A map of addresses by hand, as CSV: which host had which address from when until when. Refuses to hold: guesses: a time needs
//! a zone, its own or the source's.
//!
//! ```text
//! address,host,from,until
//! 10.1.2.3,pc-17.example.org,2031-03-04T10:00:00Z,2031-03-04T18:00:00Z
//! 10.1.2.4,00:0d:3a:13:e3:69,1930557662,
//! address  host name or MAC    from         until, both included; empty: until the next row of the address
//! ```

use sighting::{Identity, IdentityKind};

use crate::chunk::CsvLayout;
use crate::csv::Field;
use crate::lease::Lease;
use crate::record::{Fault, Refusal, Sink};
use crate::settings::Settings;
use crate::text::present;
use crate::time::instant;

/// Whether a header with these columns is one of this format's.
pub(crate) fn is_header(has: &dyn Fn(&str) -> bool) -> bool {
    has("address") && has("host") && has("from") && has("until")
}

/// The places of the columns that matter.
pub(crate) struct Columns {
    address: Option<usize>,
    host: Option<usize>,
    mac: Option<usize>,
    from: Option<usize>,
    until: Option<usize>,
}

impl Columns {
    /// From the header.
    pub(crate) fn of(layout: &CsvLayout) -> Columns {
        Columns {
            address: layout.place("address"),
            host: layout.place("host"),
            mac: layout.place("mac"),
            from: layout.place("from"),
            until: layout.place("until"),
        }
    }

    /// One row.
    pub(crate) fn row(
        &self,
        fields: &[Field<'_>],
        line: u64,
        settings: &Settings,
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        let value = |place: Option<usize>| present(fields.get(place?)?.plain());
        let time = |place, field| value(place).map(|written| instant(written, field, settings)).transpose();
        let host = value(self.host);
        // A MAC may stand in the place of a name.
        let is_mac = |text: &&str| Identity::new(IdentityKind::Mac, text).is_some();
        let lease = Lease {
            address: (value(self.address), "address"),
            mac: value(self.mac).or(host.filter(is_mac)),
            host: host.filter(|text| !is_mac(text)),
            holder_field: "host",
            since: time(self.from, "from").and_then(|from| from.ok_or(Fault::of(Refusal::NoTime, "from"))),
            until: time(self.until, "until"),
            free_from: None,
        };
        lease.judge(line, sink)
    }
}
