//! Lines of Microsoft Defender for Endpoint's streaming export, table `DeviceNetworkEvents`, as a storage
//! account holds them: one envelope a line, CRLF. Refuses to hold: other tables, and the Event Hubs framing
//! of the same records.
//!
//! ```text
//! {"time":T,"tenantId":G,"operationName":"Publish","category":"AdvancedHunting-DeviceNetworkEvents","properties":{
//!   "Timestamp":T,"DeviceId":40 hex,"DeviceName":N,"ActionType":A,"RemoteIP":IP,"RemotePort":n,"RemoteUrl":null,
//!   "LocalIP":IP,"LocalPort":n,"Protocol":"Tcp",…,"InitiatingProcess…":…,"ReportId":n,"AdditionalFields":null,…}}
//! ```

use std::io::Write as _;

use sighting::Second;

use crate::events::OtherSort;
use crate::{Event, Kind, Role, text};

/// The tenant id of every row.
pub const TENANT: &str = "00000000-0000-0000-0000-00000000000a";

/// Bytes of a row after the process description, about.
const TAIL_BYTES: usize = 84;
/// Row sizes with this much room or more get the whole description of the process.
const WHOLE_PROCESS_BYTES: usize = 900;

/// Remote ports and their protocols; web first, as everywhere.
const PORTS: [(u16, &str); 16] = [
    (443, "Tcp"),
    (443, "Tcp"),
    (443, "Tcp"),
    (443, "Tcp"),
    (443, "Tcp"),
    (443, "Tcp"),
    (443, "Tcp"),
    (443, "Udp"),
    (80, "Tcp"),
    (80, "Tcp"),
    (53, "Udp"),
    (445, "Tcp"),
    (88, "Tcp"),
    (389, "Tcp"),
    (5228, "Tcp"),
    (8080, "Tcp"),
];

/// Processes: file, folder as JSON writes it, parent.
const PROCESSES: [(&str, &str, &str); 8] = [
    ("chrome.exe", r"c:\\program files\\google\\chrome\\application", "explorer.exe"),
    ("msedge.exe", r"c:\\program files (x86)\\microsoft\\edge\\application", "explorer.exe"),
    ("svchost.exe", r"c:\\windows\\system32", "services.exe"),
    ("outlook.exe", r"c:\\program files\\microsoft office\\root\\office16", "explorer.exe"),
    ("teams.exe", r"c:\\users\\user\\appdata\\local\\microsoft\\teams\\current", "explorer.exe"),
    ("onedrive.exe", r"c:\\program files\\microsoft onedrive", "explorer.exe"),
    ("powershell.exe", r"c:\\windows\\system32\\windowspowershell\\v1.0", "cmd.exe"),
    ("lsass.exe", r"c:\\windows\\system32", "wininit.exe"),
];

/// Arguments from which a command line of any length is made.
const ARGUMENTS: [&str; 8] = [
    " --type=utility",
    " --lang=en-US",
    " --service-sandbox-type=none",
    " -k netsvcs -p",
    " --mojo-platform-channel-handle=2112",
    r" /prefetch:8",
    " --field-trial-handle=1844,i,9183920741",
    " -s Schedule",
];

pub(crate) fn write(event: &Event, out: &mut Vec<u8>) {
    let start = out.len();
    envelope(event, out);
    who(event, out);
    remote(event, out);
    local(event, out);
    let used = out.len() - start + TAIL_BYTES;
    process(event, usize::from(event.row_bytes).saturating_sub(used), out);
    tail(event, out);
}

fn envelope(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    let micros = (u64::from(event.micros) + event.lag_micros) % 1_000_000;
    instant(event.received(), micros as u32 * 10 + (event.noise >> 8) as u32 % 10, out);
    out.extend_from_slice(b"\",\"tenantId\":\"");
    out.extend_from_slice(TENANT.as_bytes());
    out.extend_from_slice(
        b"\",\"operationName\":\"Publish\",\"category\":\"AdvancedHunting-DeviceNetworkEvents\"",
    );
}

fn who(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"properties\":{\"Timestamp\":\"");
    instant(event.second, event.micros * 10 + (event.noise >> 16) as u32 % 10, out);
    out.extend_from_slice(b"\",\"DeviceId\":\"");
    out.extend_from_slice(&event.device.agent_id());
    out.extend_from_slice(b"\",\"DeviceName\":\"");
    out.extend_from_slice(if event.device.role() == Role::Server { b"srv-" } else { b"pc-" });
    text::padded::<6>(out, event.device.0);
    out.extend_from_slice(b".corp.example\",\"ActionType\":\"");
    out.extend_from_slice(action(event).as_bytes());
    out.push(b'"');
}

/// An instant with seven digits of fraction, trailing zeros dropped down to five.
fn instant(second: Second, tenths_of_micros: u32, out: &mut Vec<u8>) {
    text::instant(out, second);
    out.push(b'.');
    text::padded::<7>(out, tenths_of_micros);
    for _ in 0..2 {
        if out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

fn action(event: &Event) -> &'static str {
    match (event.kind, event.noise % 100) {
        (Kind::Opened, 0..80) => "ConnectionSuccess",
        (Kind::Opened, 80..90) => "ConnectionFound",
        (Kind::Opened, 90..98) => "ConnectionRequest",
        (Kind::Opened, _) => "ConnectionSuccessAggregatedReport",
        (Kind::Failed, _) => "ConnectionFailed",
        (Kind::Inbound, 0..95) => "InboundConnectionAccepted",
        (Kind::Inbound, _) => "InboundInternetScanInspected",
        (Kind::Other, part) => match OtherSort::of(event.noise) {
            OtherSort::Quiet => "ListeningConnectionCreated",
            OtherSort::Partial if part < 60 => "HttpConnectionInspected",
            OtherSort::Partial => "NetworkSignatureInspected",
            OtherSort::Wire => "ConnectionAttempt",
        },
    }
}

fn port(event: &Event) -> (u16, &'static str) {
    PORTS[(event.noise >> 24) as usize % PORTS.len()]
}

fn remote(event: &Event, out: &mut Vec<u8>) {
    let unspecified = event.remote.special() == Some(sighting::Special::Unspecified);
    if unspecified {
        out.extend_from_slice(b",\"RemoteIP\":null,\"RemotePort\":null,\"RemoteUrl\":null");
        return;
    }
    out.extend_from_slice(b",\"RemoteIP\":\"");
    if is_mapped(event) {
        out.extend_from_slice(b"::ffff:");
    }
    text::address(out, event.remote);
    out.extend_from_slice(b"\",\"RemotePort\":");
    let port =
        if event.kind == Kind::Inbound { ephemeral(event.noise >> 28) } else { u64::from(port(event).0) };
    text::number(out, port);
    if (event.noise >> 32) % 10 < 3 {
        out.extend_from_slice(b",\"RemoteUrl\":\"svc-");
        text::number(out, (event.noise >> 36) % 1_000);
        out.extend_from_slice(b".example.net\"");
    } else {
        out.extend_from_slice(b",\"RemoteUrl\":null");
    }
}

/// One IPv4 remote in twenty is written in the mapped form (assumed).
fn is_mapped(event: &Event) -> bool {
    event.remote.is_v4() && (event.noise >> 40).is_multiple_of(20)
}

const fn ephemeral(noise: u64) -> u64 {
    49_152 + noise % 16_384
}

fn local(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"LocalIP\":\"");
    text::address(out, event.device.local(event.remote));
    out.extend_from_slice(b"\",\"LocalPort\":");
    let port_local =
        if event.kind == Kind::Inbound { u64::from(port(event).0) } else { ephemeral(event.noise >> 44) };
    text::number(out, port_local);
    out.extend_from_slice(b",\"Protocol\":\"");
    out.extend_from_slice(port(event).1.as_bytes());
    out.extend_from_slice(b"\",\"LocalIPType\":\"Private\",\"RemoteIPType\":");
    out.extend_from_slice(match (action(event), event.remote.octets()) {
        ("ListeningConnectionCreated", _) => b"null".as_slice(),
        ("ConnectionAttempt", _) => b"\"\"",
        _ if is_mapped(event) => b"\"FourToSixMapping\"",
        (_, [.., 10, _, _, _]) if event.remote.is_v4() => b"\"Private\"",
        _ => b"\"Public\"",
    });
}

/// Describes the initiating process in about so many bytes: nothing, its command line, or everything.
fn process(event: &Event, room: usize, out: &mut Vec<u8>) {
    let (file, folder, parent) = PROCESSES[(event.noise >> 48) as usize % PROCESSES.len()];
    let start = out.len();
    if room >= WHOLE_PROCESS_BYTES {
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            ",\"InitiatingProcessFileName\":\"{file}\",\"InitiatingProcessFolderPath\":\"{folder}\\\\{file}\",\
             \"InitiatingProcessParentFileName\":\"{parent}\",\"InitiatingProcessParentId\":{},\"InitiatingProcessId\":{},\
             \"InitiatingProcessAccountDomain\":\"corp\",\"InitiatingProcessAccountName\":\"user{}\",\
             \"InitiatingProcessAccountUpn\":\"user{2}@corp.example\",\"InitiatingProcessIntegrityLevel\":\"Medium\",\
             \"InitiatingProcessTokenElevation\":\"TokenElevationTypeLimited\",\
             \"InitiatingProcessVersionInfoCompanyName\":\"Example Corporation\"",
            event.noise >> 20 & 0xfff,
            event.noise >> 30 & 0x3fff,
            event.device.0,
        );
        let file_hash = crate::draw::mix(event.noise >> 48 & 7);
        for (name, words) in [("SHA1", 40), ("SHA256", 64), ("MD5", 32)] {
            let _ = write!(out, ",\"InitiatingProcess{name}\":\"");
            (0..words / 8).for_each(|word| text::hex(out, crate::draw::mix(file_hash + word), 8));
            out.push(b'"');
        }
    }
    let left = room.saturating_sub(out.len() - start);
    let key = b",\"InitiatingProcessCommandLine\":\"";
    if left > key.len() + file.len() + 1 {
        out.extend_from_slice(key);
        command_line(file, event.noise, left - key.len() - 1, out);
        out.push(b'"');
    }
}

fn command_line(file: &str, noise: u64, bytes: usize, out: &mut Vec<u8>) {
    let end = out.len() + bytes;
    out.extend_from_slice(file.as_bytes());
    for step in 0.. {
        let argument = ARGUMENTS[(noise >> (step * 3 % 60) & 7) as usize].as_bytes();
        let room = end - out.len();
        if room < argument.len() {
            out.extend_from_slice(&argument[..room]);
            return;
        }
        out.extend_from_slice(argument);
    }
}

fn tail(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"ReportId\":");
    text::number(out, event.noise >> 12 & 0xf_ffff);
    out.extend_from_slice(b",\"AdditionalFields\":");
    out.extend_from_slice(match action(event) {
        "HttpConnectionInspected" => {
            br#""{\"direction\":\"Out\",\"method\":\"GET\",\"status_code\":\"200\"}""#.as_slice()
        }
        "ConnectionSuccessAggregatedReport" => br#""{\"uniqueEventsAggregated\":12}""#,
        _ => b"null",
    });
    out.extend_from_slice(b",\"MachineGroup\":\"Everyone\"}}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fleet, Sensor, Settings};
    use serde_json::Value;
    use sighting::Address;

    fn events(row_bytes: u16) -> Vec<Event> {
        let settings = Settings { devices: 60, days: 1, mde_row_bytes: row_bytes, ..Settings::default() };
        Fleet::new(settings).events().filter(|event| event.sensor == Sensor::Mde).collect()
    }

    #[test]
    fn every_row_is_json_that_says_what_the_event_says() {
        for event in events(600).iter().chain(&events(2_000)) {
            let mut line = Vec::new();
            event.write_mde(&mut line);
            assert!(line.ends_with(b"}}\r\n"));
            let row: Value = serde_json::from_slice(&line).expect("JSON");
            let properties = &row["properties"];
            assert_eq!(properties["DeviceId"], event.identity().name());
            assert_eq!(properties["DeviceName"], event.device.to_string());
            let timestamp = properties["Timestamp"].as_str().expect("a string");
            assert!(timestamp.starts_with(event.second.to_string().trim_end_matches('Z')), "{timestamp}");
            assert!((26..=28).contains(&timestamp.len()), "{timestamp}");
            let remote = properties["RemoteIP"].as_str().map_or(Address::parse("::"), Address::parse);
            assert_eq!(remote, Ok(event.remote));
        }
    }

    #[test]
    fn rows_have_the_size_asked_for() {
        for asked in [600, 1_000, 2_000] {
            let events = events(asked);
            let mut lines = Vec::new();
            events.iter().for_each(|event| event.write_mde(&mut lines));
            let mean = lines.len() / events.len();
            assert!(mean.abs_diff(usize::from(asked)) < 25, "{mean} for {asked}");
        }
    }
}
