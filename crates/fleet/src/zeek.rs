//! Rows of Zeek's `conn.log` in its TSV form. Refuses to hold: rotation, and the `#close` line that a live
//! file lacks.
//!
//! ```text
//! ts  uid  id.orig_h  id.orig_p  id.resp_h  id.resp_p  proto  service  duration  orig_bytes  resp_bytes  conn_state …
//! ```

use crate::events::OtherSort;
use crate::{Event, Kind, text};

/// The header of a `conn.log`, columns and types as Zeek 6 writes them.
const HEADER: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
    #open\t2026-01-01-00-00-00\n\
    #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\
    \tconn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\
    \ttunnel_parents\n\
    #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\
    \tstring\tbool\tbool\tcount\tstring\tcount\tcount\tcount\tcount\
    \tset[string]\n";

/// Appends the header of a `conn.log`.
pub fn zeek_header(out: &mut Vec<u8>) {
    out.extend_from_slice(HEADER.as_bytes());
}

/// Responders' ports, with protocol and service; web first, as everywhere.
const PORTS: [(u16, &str, &str); 16] = [
    (443, "tcp", "ssl"),
    (443, "tcp", "ssl"),
    (443, "tcp", "ssl"),
    (443, "tcp", "ssl"),
    (443, "tcp", "ssl"),
    (443, "tcp", "ssl"),
    (443, "tcp", "-"),
    (443, "udp", "quic"),
    (80, "tcp", "http"),
    (80, "tcp", "http"),
    (53, "udp", "dns"),
    (53, "udp", "dns"),
    (445, "tcp", "gssapi,smb"),
    (389, "tcp", "ldap_tcp"),
    (5228, "tcp", "-"),
    (8080, "tcp", "http"),
];

/// What a row says of its connection beyond who and when.
struct Outcome {
    port: u16,
    protocol: &'static str,
    service: &'static str,
    state: &'static str,
    history: &'static str,
}

impl Outcome {
    fn of(event: &Event) -> Outcome {
        let (port, protocol, service) = PORTS[(event.noise >> 24) as usize % PORTS.len()];
        let said = |state, history| Outcome { port, protocol, service, state, history };
        let silent = |state, history| Outcome { port, protocol, service: "-", state, history };
        match (event.kind, protocol, event.noise % 100) {
            (Kind::Opened, "udp", _) => said("SF", "Dd"),
            (Kind::Opened, _, 0..80) => said("SF", "ShADadFf"),
            (Kind::Opened, _, 80..84) => said("S1", "ShADad"),
            (Kind::Opened, _, 84..87) => said("S2", "ShADadF"),
            (Kind::Opened, _, 87..90) => said("S3", "ShADadf"),
            (Kind::Opened, _, 90..96) => said("RSTO", "ShADadR"),
            (Kind::Opened, _, _) => said("RSTR", "ShADadr"),
            (Kind::Failed, "udp", _) => silent("S0", "D"),
            (Kind::Failed | Kind::Inbound, _, 0..60) => silent("S0", "S"),
            (Kind::Failed, _, 60..94) => silent("REJ", "Sr"),
            (Kind::Failed, _, 94..97) => silent("RSTOS0", "SR"),
            (Kind::Failed, _, _) => silent("SH", "SF"),
            (Kind::Inbound, _, 60..85) => silent("REJ", "Sr"),
            (Kind::Inbound, _, _) => said("SF", "ShADadFf"),
            (Kind::Other, _, part) => Outcome::other(OtherSort::of(event.noise), part),
        }
    }

    fn other(sort: OtherSort, part: u64) -> Outcome {
        let (port, protocol, service, state, history) = match sort {
            OtherSort::Quiet => (5353, "udp", "dns", "S0", "D"),
            OtherSort::Partial if part < 50 => (443, "tcp", "-", "OTH", "C"),
            OtherSort::Partial if part < 75 => (443, "tcp", "-", "RSTRH", "^r"),
            OtherSort::Partial => (443, "tcp", "-", "SHR", "^hf"),
            OtherSort::Wire => (0, "icmp", "-", "OTH", "-"),
        };
        Outcome { port, protocol, service, state, history }
    }
}

pub(crate) fn write(event: &Event, out: &mut Vec<u8>) {
    let outcome = Outcome::of(event);
    text::number(out, u64::from(event.second.unix()));
    out.push(b'.');
    text::padded::<6>(out, event.micros);
    uid(event, out);
    endpoints(event, &outcome, out);
    for field in [outcome.protocol, outcome.service] {
        out.push(b'\t');
        out.extend_from_slice(field.as_bytes());
    }
    volume(event, &outcome, out);
}

fn uid(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\tC");
    text::hex(out, event.noise, 16);
}

fn endpoints(event: &Event, outcome: &Outcome, out: &mut Vec<u8>) {
    let local = event.device.local(event.remote);
    let is_icmp = outcome.protocol == "icmp";
    let port_originator = if is_icmp { 8 } else { 49_152 + (event.noise >> 44) % 16_384 };
    let (originator, responder) =
        if event.kind == Kind::Inbound { (event.remote, local) } else { (local, event.remote) };
    for (address, port) in [(originator, port_originator), (responder, u64::from(outcome.port))] {
        out.push(b'\t');
        text::address(out, address);
        out.push(b'\t');
        text::number(out, port);
    }
}

fn volume(event: &Event, outcome: &Outcome, out: &mut Vec<u8>) {
    let answered = outcome.history.contains('d');
    if answered {
        out.push(b'\t');
        text::number(out, event.lag_micros / 1_000_000);
        out.push(b'.');
        text::padded::<6>(out, (event.lag_micros % 1_000_000) as u32);
        out.push(b'\t');
        text::number(out, 100 + (event.noise >> 30 & 0xfff));
        out.push(b'\t');
        text::number(out, 200 + (event.noise >> 34 & 0xffff));
    } else {
        out.extend_from_slice(b"\t-\t-\t-");
    }
    out.push(b'\t');
    out.extend_from_slice(outcome.state.as_bytes());
    let inside = event.remote.is_v4() && event.remote.octets()[12] == 10;
    out.extend_from_slice(match (event.kind, inside) {
        (Kind::Inbound, _) => b"\tF\tT\t0\t",
        (_, true) => b"\tT\tT\t0\t",
        (_, false) => b"\tT\tF\t0\t",
    });
    out.extend_from_slice(outcome.history.as_bytes());
    let packets =
        if answered { (2 + (event.noise >> 50 & 15), 1 + (event.noise >> 54 & 15)) } else { (1, 0) };
    for count in [packets.0, packets.0 * 140, packets.1, packets.1 * 300] {
        out.push(b'\t');
        text::number(out, count);
    }
    out.extend_from_slice(b"\t-\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fleet, Sensor, Settings};
    use sighting::Address;

    #[test]
    fn every_row_has_the_headers_columns_and_says_what_the_event_says() {
        let settings = Settings { devices: 60, days: 1, thinning: 1.0, ..Settings::default() };
        let mut rows = 0;
        for event in Fleet::new(settings).events().filter(|event| event.sensor == Sensor::Zeek) {
            let mut line = Vec::new();
            event.write_zeek(&mut line);
            let line = str::from_utf8(&line).expect("text").strip_suffix('\n').expect("a whole line");
            let row: Vec<&str> = line.split('\t').collect();
            let fields = HEADER.lines().find(|line| line.starts_with("#fields")).expect("present");
            assert_eq!(row.len(), fields.split('\t').count() - 1, "{line}");
            let (ours, theirs) = if event.kind == Kind::Inbound { (4, 2) } else { (2, 4) };
            assert_eq!(Address::parse(row[theirs]), Ok(event.remote));
            assert_eq!(
                Address::parse(row[ours]).map(|a| a.to_string()).as_deref(),
                Ok(event.identity().name())
            );
            assert_eq!(row[12], if event.kind == Kind::Inbound { "F" } else { "T" });
            let established = ["SF", "S1", "S2", "S3", "RSTO", "RSTR"].contains(&row[11]);
            let counts = established && row[12] == "T" && row[6] != "icmp";
            assert_eq!(counts, event.kind == Kind::Opened, "{line}");
            assert!(row[0].starts_with(&format!("{}.", event.second.unix())));
            rows += 1;
        }
        assert!(rows > 1_000);
    }
}
