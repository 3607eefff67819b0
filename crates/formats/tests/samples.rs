//! Real logs against answers that were counted independently: every "rule B" cell and every record total of the
//! samples' README. The samples are third-party data outside the project; without them the test says so and passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use seenby_formats::{Flows, Ignored, Opened, Passed, Refusal, Settings, Sink, Taught, Wanted, decode};
use sighting::{Identity, LocalNetworks, Network, Second};

mod support;

/// What one sample must answer.
#[derive(Default, Debug)]
struct Expected {
    networks: Vec<Network>,
    records: usize,
    remotes: usize,
    /// By remote address.
    cells: Vec<(String, Cell)>,
}

/// How many devices, and the first and the last second, if any.
type Cell = (usize, Option<(String, String)>);

/// What one sample did answer.
#[derive(Default)]
struct Tally {
    seen: BTreeMap<String, (BTreeSet<Identity>, Second, Second)>,
    opened: usize,
    ignored: BTreeMap<Ignored, usize>,
    refused: BTreeMap<Refusal, usize>,
}

impl Sink for Tally {
    fn opened(&mut self, record: &Opened<'_>) {
        self.opened += 1;
        let device = record.device.iter().find_map(|mention| Identity::new(mention.kind, mention.written));
        let entry = self.seen.entry(record.remote.to_string());
        let (devices, first, last) = entry.or_insert((BTreeSet::new(), record.second, record.second));
        devices.insert(device.expect("a device has a name"));
        *first = record.second.min(*first);
        *last = record.second.max(*last);
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        *self.ignored.entry(record.why).or_default() += 1;
    }

    fn taught(&mut self, _record: &Taught<'_>) {
        *self.ignored.entry(Ignored::Registry).or_default() += 1;
    }

    fn refused(&mut self, refusal: Refusal, _line: u64, _field: Option<&'static str>) {
        *self.refused.entry(refusal).or_default() += 1;
    }
}

impl Tally {
    fn records(&self) -> usize {
        self.opened + self.ignored.values().sum::<usize>() + self.refused.values().sum::<usize>()
    }

    /// Connections, whoever opened them and however they ended.
    fn connections(&self) -> usize {
        use Ignored::{Failed, Icmp, Inbound, Midstream, NotLocal};
        let of = |why| self.ignored.get(&why).copied().unwrap_or(0);
        self.opened + [Failed, Icmp, Inbound, Midstream, NotLocal].map(of).iter().sum::<usize>()
    }
}

fn samples() -> PathBuf {
    std::env::var_os("SEENBY_SAMPLES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    )
}

fn load(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("the sample can be read");
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).expect("sound gzip");
    plain
}

/// How samples are read whose networks are these.
fn listed(networks: Vec<Network>) -> Settings {
    let local_networks =
        if networks.is_empty() { LocalNetworks::Unstated } else { LocalNetworks::Listed(networks) };
    // The clocks of Argus say no zone; the README's answers read them as UTC.
    let time_zone = Some(jiff::tz::TimeZone::UTC);
    Settings { local_networks, keep_special_remotes: true, time_zone, ..Settings::default() }
}

fn count(path: &Path, networks: Vec<Network>) -> (Tally, Option<seenby_formats::Format>) {
    let settings = listed(networks);
    let bytes = load(path);
    let opening = support::open(&bytes, Wanted::Detect, &settings.columns);
    let mut tally = Tally::default();
    for chunk in support::chunks(opening, &settings.columns, [bytes.as_slice()]) {
        decode(&chunk, &settings, &mut tally);
    }
    (tally, opening.format())
}

/// `4 · 2009-11-18T17:48:58.471578Z · 2009-11-19T05:28:35.948636Z (81)` or `0 (0)`.
fn cell(text: &str) -> Cell {
    let mut parts = text.trim().split(" · ");
    let devices = parts.next().and_then(|part| part.split(' ').next()).and_then(|part| part.parse().ok());
    let whole = |part: &str| format!("{}Z", part.split('.').next().expect("a time"));
    let span = parts.next().zip(parts.next()).map(|(first, last)| (whole(first), whole(last)));
    (devices.expect("a count of devices"), span)
}

fn parse(readme: &str) -> BTreeMap<String, Expected> {
    let mut samples: BTreeMap<String, Expected> = BTreeMap::new();
    let mut name = String::new();
    for line in readme.lines() {
        if let Some(heading) = line.strip_prefix("### `") {
            name = heading.trim_end_matches('`').to_owned();
            samples.entry(name.clone()).or_default();
            continue;
        }
        let Some(sample) = samples.get_mut(&name) else { continue };
        if let Some(networks) = line.strip_prefix("Local networks for rule B: ") {
            let networks = networks.trim_end_matches('.').split(", ");
            sample.networks = networks.map(|network| Network::parse(network).expect("a network")).collect();
        } else if let Some(totals) = line.strip_prefix("records counted ") {
            let number = |text: &str| {
                let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().expect("a number")
            };
            sample.records = number(totals);
            sample.remotes = number(totals.split("(rule B: ").nth(1).expect("rule B remotes"));
        } else if line.starts_with("| ") && !line.starts_with("| remote IP") {
            let columns: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            let [address, _, ours] = columns.as_slice() else { panic!("three columns: {line}") };
            sample.cells.push((address.trim().to_owned(), cell(ours.trim_end_matches('|'))));
        }
    }
    samples
}

/// Where the README and the format's rule disagree: its script saw no computer name in bare EventData and took all of
/// it for one device, but the four initiated records name three machines in `SourceHostname`, which is the device.
const THREE_MACHINES: (&str, &str) = ("sysmon-json/rdp-honeypot.eventdata.jsonl.gz", "172.31.12.105");

/// Where the README counts what machines opened and no more: rows of what they accepted are connections here too.
const ACCEPTED: (&str, usize) = ("azure-nsg/az_net_flows.csv", 7);

#[track_caller]
fn check(name: &str, expected: &Expected, tally: &Tally) {
    for (address, (devices, span)) in &expected.cells {
        let got = tally.seen.get(address);
        let devices = if (name, address.as_str()) == THREE_MACHINES { &3 } else { devices };
        let got_span = got.map(|(_, first, last)| (first.to_string(), last.to_string()));
        assert_eq!(got.map_or(0, |(devices, ..)| devices.len()), *devices, "{name}: devices of {address}");
        assert_eq!(&got_span, span, "{name}: first and last of {address}");
    }
    let accepted = if name == ACCEPTED.0 { ACCEPTED.1 } else { 0 };
    assert_eq!(
        tally.connections(),
        expected.records + accepted,
        "{name}: records; {:?} {:?}",
        tally.ignored,
        tally.refused
    );
    assert_eq!(tally.seen.len(), expected.remotes, "{name}: remote addresses");
}

/// How many records a sample has: lines, but in XML, whose events run over several.
fn records(name: &str, bytes: &[u8]) -> usize {
    if name.starts_with("sysmon-xml/") {
        return String::from_utf8_lossy(bytes).matches("<Event ").count();
    }
    bytes.split_inclusive(|byte| *byte == b'\n').count()
}

/// Where the README adds an uptime of 2^32 - 1 ms to the boot although the exporter ran for three seconds, which puts the start seven
/// weeks behind the datagram. Here counts of milliseconds wrap, as they do: the flow began a millisecond before the exporter did.
const WRAPPED: (&str, &str) = ("netflow/netflow5.dat", "2015-05-02T18:38:04Z");

/// Each sample of NetFlow 5 is a datagram; what follows it in one of them is refused once.
#[test]
fn samples_of_netflow_5_give_the_counted_answers() {
    let folder = samples();
    let Ok(readme) = fs::read_to_string(folder.join("README.md")) else {
        println!("skipped: no samples at {}", folder.display());
        return;
    };
    let all = parse(&readme);
    let names = all.keys().filter(|name| name.starts_with("netflow/netflow5"));
    for name in names.clone() {
        let expected = all.get(name).expect("it is one of them");
        let mut tally = Tally::default();
        let mut flows = Flows::new();
        let settings = listed(expected.networks.clone());
        flows.datagram(EXPORTER, &load(&folder.join(name)), &settings, &mut tally);
        println!("{name}: {} opened, {:?}, {:?}", tally.opened, tally.ignored, tally.refused);
        for (address, (devices, span)) in &expected.cells {
            let (got, first, last) = tally.seen.get(address).expect("the address was seen");
            let naive = (first.to_string(), last.to_string());
            let is_wrapped = *name == WRAPPED.0 && naive == (WRAPPED.1.to_owned(), WRAPPED.1.to_owned());
            assert!(
                is_wrapped || Some(&naive) == span.as_ref(),
                "{name}: first and last of {address}: {naive:?}"
            );
            assert_eq!(got.len(), *devices, "{name}: devices of {address}");
        }
        assert_eq!((tally.connections(), tally.seen.len()), (expected.records, expected.remotes), "{name}");
    }
    assert_eq!(names.count(), 2);
}

/// The exporter of all samples.
const EXPORTER: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2055);

/// The samples of templates, with the records under them: how many of these there are was counted by hand, from the lengths of
/// template and set. Their own order must not matter.
const UNDER_TEMPLATES: [(&[&str], usize); 6] = [
    (&["netflow9_test_softflowd_tpl_data.dat"], 7),
    (&["netflow9_test_paloalto_panos_tpl.dat", "netflow9_test_paloalto_panos_data.dat"], 8),
    (&["netflow9_test_cisco_asa_1_tpl.dat", "netflow9_test_cisco_asa_1_data.dat"], 14),
    (&["netflow9_test_fortigate_fortios_521_tpl.dat", "netflow9_test_fortigate_fortios_521_data256.dat"], 0),
    (&["ipfix_test_openbsd_pflow_tpl.dat", "ipfix_test_openbsd_pflow_data.dat"], 26),
    (&["ipfix_test_vmware_vds_tpl.dat", "ipfix_test_vmware_vds_data264.dat"], 1),
];

#[test]
fn samples_under_templates_are_read() {
    let folder = samples().join("netflow");
    if !folder.is_dir() {
        println!("skipped: no samples at {}", folder.display());
        return;
    }
    for (names, records) in UNDER_TEMPLATES {
        let read = |names: &mut dyn Iterator<Item = &&str>| {
            let (mut flows, mut tally) = (Flows::new(), Tally::default());
            for name in names {
                let settings = listed(vec![
                    Network::parse("0.0.0.0/0").expect("all"),
                    Network::parse("::/0").expect("all"),
                ]);
                flows.datagram(EXPORTER, &load(&folder.join(name)), &settings, &mut tally);
            }
            flows.finish(&mut tally);
            tally
        };
        let tally = read(&mut names.iter());
        println!("{}: {} opened, {:?}, {:?}", names[0], tally.opened, tally.ignored, tally.refused);
        assert_eq!(tally.connections(), records, "{names:?}");
        let turned = read(&mut names.iter().rev());
        assert_eq!((turned.opened, &turned.seen), (tally.opened, &tally.seen), "{names:?}");
    }
}

#[test]
fn every_sample_gives_the_counted_answers() {
    let folder = samples();
    let Ok(readme) = fs::read_to_string(folder.join("README.md")) else {
        println!("skipped: no samples at {}", folder.display());
        return;
    };
    let mut checked = 0;
    for (name, expected) in parse(&readme) {
        let kinds = [
            "zeek-tsv/",
            "zeek-json/",
            "sysmon-json/",
            "sysmon-xml/",
            "suricata-eve/",
            "argus-binetflow/",
            "azure-nsg/",
        ];
        let is_ours = kinds.iter().any(|kind| name.starts_with(kind));
        if !is_ours {
            continue;
        }
        let path = folder.join(&name);
        let (tally, format) = count(&path, expected.networks.clone());
        assert_eq!(tally.records(), records(&name, &load(&path)), "{name}: every record is counted once");
        println!("{name}: {format:?}, {} opened, {:?}, {:?}", tally.opened, tally.ignored, tally.refused);
        check(&name, &expected, &tally);
        match name.as_str() {
            "zeek-tsv/truncated.conn_top.log" => {
                assert_eq!(format, Some(seenby_formats::Format::ZeekTsv));
                assert_eq!(tally.refused, BTreeMap::from([(Refusal::NoHeader, 59)]));
            }
            "zeek-tsv/not-a-log.conn.log" => {
                assert_eq!(format, None);
                assert!(tally.refused.keys().all(|refusal| *refusal == Refusal::Unrecognised));
            }
            _ if name.contains("/truncated.") => {
                assert_eq!(tally.refused, BTreeMap::from([(Refusal::Truncated, 1)]), "{name}");
            }
            "azure-nsg/az_net_flows.csv" => {
                // Flows between machines that the export does not name.
                assert_eq!(tally.refused, BTreeMap::from([(Refusal::NoDevice, 5)]));
            }
            _ => assert!(tally.refused.is_empty(), "{name}: {:?}", tally.refused),
        }
        checked += 1;
    }
    assert!(checked >= 26, "only {checked} samples were found in the README");
}
