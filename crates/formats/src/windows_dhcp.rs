//! The audit log of a Windows DHCP server (`DhcpSrvLog-Mon.log`, `DhcpV6SrvLog-…`): which events are leases. Refuses to hold: how long
//! a lease is, which the log does not say: one lasts until the next event of its address.
//!
//! ```text
//!         Microsoft DHCP Service Activity Log
//! Event ID  Meaning
//! 10      A new IP address was leased to a client.
//! ID,Date,Time,Description,IP Address,Host Name,MAC Address,User Name, TransactionID, …
//! 10,03/04/31,10:01:02,Assign,10.1.2.3,PC-17.example.org,000D3A13E369,,1234,0,,,,,,,,,0
//! what, month/day/year, local time    address device         device
//!
//! ID,Date,Time,Description,IPv6 Address,Host Name,Error Code, Duid Length, Duid Bytes(Hex),User Name,Dhcid,Subnet Prefix.
//! 11002,03/04/31,10:01:02,DHCPV6 Request,2001:db8::5,PC-17.example.org,,18,0004000102030405060708090A0B0C0D0E0F,,,,,
//! what                                   address      device           why not
//! ```
//!
//! The first seven columns are those of every version. Those of DHCPv6 have numbers from 11000 on, and no hardware address: the DUID may
//! have one in it, of whichever interface the machine had when it was made. Lines before the header explain the numbers. Clocks are
//! the server's and say no zone: the source's setting does. Source: Microsoft's page on the audit log; its own legend.

use sighting::Second;

use crate::lease::{self, Lease};
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::text::present;
use crate::time::iso;

/// Columns of a row that are looked at.
const COLUMNS: usize = 7;

/// Whether a line is the header above the rows, or one of this log's first lines.
pub(crate) fn is_start(line: &str) -> bool {
    let is_title =
        ["DHCP Service Activity Log", "DHCPv6 Service Activity Log"].iter().any(|title| line.contains(title));
    is_title || (line.starts_with("ID,Date,Time,Description,IP") && line.contains("Address,Host Name,"))
}

/// One line: a row, or one that explains the others.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut fields = text.splitn(COLUMNS + 1, ',');
    let mut next = || fields.next().map(str::trim);
    let event = next().and_then(|number| number.parse::<u32>().ok());
    let Some(event) = event.filter(|_| text.contains(',')) else {
        sink.ignored(&Passed::by_nobody(Ignored::Header, line));
        return Ok(());
    };
    let mut column = || next().ok_or(Fault::from(Refusal::TooFewColumns));
    let (date, time, _, address, host, seventh) =
        (column()?, column()?, column()?, column()?, column()?, column()?);
    let (at, address, seventh) = (second(date, time, settings), present(address), present(seventh));
    let lease = |mac| Lease {
        address: (address, "IP Address"),
        mac,
        host: present(host),
        holder_field: "Host Name",
        since: at,
        until: Ok(None),
        free_from: None,
    };
    match event {
        // Assigned, renewed; BOOTP, dynamic BOOTP.
        10 | 11 | 20 | 21 => lease(seventh).judge(line, sink),
        // Of DHCPv6: requested, renewed, rebound. Where there is an error, it was not.
        11002 | 11004 | 11005 if matches!(seventh, None | Some("0")) => lease(None).judge(line, sink),
        // Released, deleted, expired.
        12 | 16 | 17 | 18 | 11007 | 11016 | 11018 => lease::freed((address, "IP Address"), at, line, sink),
        // Expired and deleted: of an address, or how many there were.
        11019 if address.is_some() => lease::freed((address, "IP Address"), at, line, sink),
        _ => {
            lease::other(line, sink);
            Ok(())
        }
    }
}

/// `03/04/31` and `10:01:02`, by the source's clocks.
fn second(date: &str, time: &str, settings: &Settings) -> Result<Second, Fault> {
    let bad = Fault::of(Refusal::BadTime, "Date");
    let mut parts = date.split('/');
    let (Some(month), Some(day), Some(year), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad);
    };
    let century = if year.len() == 2 { "20" } else { "" };
    let civil = iso(&format!("{century}{year}-{month:0>2}-{day:0>2}T{time:0>8}")).ok_or(bad)?;
    civil.in_zone_of(settings).map_err(|refusal| Fault::of(refusal, "Date"))
}
