//! The real logs that lie beside the repository, where they do: every cell of their README's "rule B" (the device
//! opened it) is asked for and must be answered so, and every record must be accounted for.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Place;

/// One file of the README.
struct Sample {
    path: PathBuf,
    local_networks: Option<String>,
    cells: Vec<Cell>,
}

/// One address under rule B: devices, first and last, cut to seconds.
struct Cell {
    address: String,
    seen: Option<(u64, String, String)>,
}

/// Where the README counts otherwise, and why we do not: the events of this file name no computer, which it counts as
/// one device; their own `SourceHostname`s are three.
const OTHERWISE: [(&str, &str, u64); 1] = [("rdp-honeypot.eventdata.jsonl.gz", "172.31.12.105", 3)];

/// The formats that are taken in so far, by the README's folders.
const FOLDERS: [&str; 8] = [
    "zeek-tsv/",
    "zeek-json/",
    "sysmon-json/",
    "sysmon-xml/",
    "suricata-eve/",
    "argus-binetflow/",
    "azure-nsg/",
    // The others are cut out of captures, and told of in the tests of the formats.
    "netflow/netflow5_test_juniper",
];

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("SEENBY_SAMPLES").map_or(beside, PathBuf::from);
    folder.join("README.md").is_file().then_some(folder)
}

fn samples(folder: &Path) -> Vec<Sample> {
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
    let mut samples: Vec<Sample> = Vec::new();
    for line in readme.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            let path = folder.join(title.trim().trim_matches('`'));
            samples.push(Sample { path, local_networks: None, cells: Vec::new() });
        }
        let Some(sample) = samples.last_mut() else { continue };
        if let Some(networks) = line.strip_prefix("Local networks for rule B: ") {
            sample.local_networks = Some(networks.trim_end_matches('.').replace(", ", ","));
        }
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", address, _, cell, ""] = columns[..]
            && sighting::Address::parse(address).is_ok()
        {
            let mut seen = seen(cell);
            let other = OTHERWISE.iter().find(|(file, of, _)| sample.path.ends_with(file) && *of == address);
            if let (Some((devices, ..)), Some((.., counted))) = (&mut seen, other) {
                *devices = *counted;
            }
            sample.cells.push(Cell { address: address.to_owned(), seen });
        }
    }
    let known = |sample: &Sample| {
        FOLDERS.iter().any(|name| sample.path.starts_with(folder.join(name))) && !sample.cells.is_empty()
    };
    samples.retain(known);
    samples
}

/// `4 · 2009-11-18T17:48:58.471578Z · 2009-11-19T05:28:35.948636Z (81)`, or `0 (0)`.
fn seen(cell: &str) -> Option<(u64, String, String)> {
    let (devices, times) = cell.split_once(" · ")?;
    let (first, last) = times.split_once(" · ")?;
    let second = |time: &str| format!("{}Z", &time[.."2009-11-18T17:48:58".len()]);
    Some((devices.parse().expect("a number"), second(first), second(last)))
}

/// How many records a sample has: lines, but in XML, whose events run over several.
fn records(path: &Path) -> u64 {
    let raw = std::fs::read(path).expect("a sample");
    let mut bytes = Vec::new();
    match path.extension() {
        Some(extension) if extension == "gz" => {
            flate2::read::MultiGzDecoder::new(&raw[..]).read_to_end(&mut bytes).expect("gzip")
        }
        _ => (&raw[..]).read_to_end(&mut bytes).expect("memory"),
    };
    if path.to_string_lossy().contains("sysmon-xml") {
        return String::from_utf8_lossy(&bytes).matches("<Event ").count() as u64;
    }
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
        + u64::from(bytes.last().is_some_and(|it| *it != b'\n'))
}

/// What is wrong with the answers about one file.
fn mistakes(sample: &Sample) -> Vec<String> {
    let place = Place::keeping_for_ever();
    let path = sample.path.to_str().expect("UTF-8");
    // Argus says no zone; the README reads its clocks as UTC.
    let mut arguments = vec!["ingest", "--json", "--keep-special-remotes", "--time-zone", "UTC", path];
    if let Some(networks) = &sample.local_networks {
        arguments.extend(["--local-networks", networks]);
    }
    let run = place.run(&arguments);
    let counts = run.json();
    let mut mistakes = Vec::new();
    if counts["lines"].as_u64() != Some(records(&sample.path)) {
        mistakes.push(format!("{} records are not all there: {counts}", records(&sample.path)));
    }
    for cell in &sample.cells {
        let asked = place.run(["stats", "--json", "--look-back-hours", "2147483647", &cell.address]);
        let body = asked.json();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let devices = body["organizationPrevalence"].as_u64().expect("a number");
        let found = (devices > 0).then(|| (devices, text("orgFirstSeen"), text("orgLastSeen")));
        if found != cell.seen {
            mistakes.push(format!(
                "{}: {found:?} is not {:?} ({counts}) {}",
                cell.address, cell.seen, run.stderr
            ));
        }
        assert_eq!(asked.code, i32::from(found.is_none()));
        assert_eq!(body["orgFirstSeen"] == Value::Null, found.is_none());
    }
    mistakes
}

#[test]
fn every_cell_of_rule_b() {
    let Some(folder) = folder() else {
        eprintln!(
            "skipped: there are no samples in ../shared/data beside the repository; SEENBY_SAMPLES names their folder"
        );
        return;
    };
    let samples = samples(&folder);
    let cells: usize = samples.iter().map(|sample| sample.cells.len()).sum();
    assert!(samples.len() >= 20 && cells >= 80, "the README is read: {} files, {cells} cells", samples.len());
    let wrong: Vec<String> = samples
        .iter()
        .flat_map(|sample| mistakes(sample).into_iter().map(|it| format!("{}: {it}", sample.path.display())))
        .collect();
    assert!(wrong.is_empty(), "{} of {cells} cells:\n{}", wrong.len(), wrong.join("\n"));
}
