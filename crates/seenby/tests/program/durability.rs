//! What was acknowledged survives whatever ends the process; what was not is taken in again without harm.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::support::{Place, csv, mde, now};

/// Sightings whose answers tell of every one of them.
fn log(lines: u64) -> Vec<u8> {
    let now = now().minus(3_600);
    let line = |n: u64| {
        mde(now.minus(n % 86_400), &format!("agent-{}", n % 997), "pc", &format!("198.51.100.{}", n % 251))
    };
    (0..lines).flat_map(|n| line(n).into_bytes()).collect()
}

/// The answers about every address of [`log`].
fn answers(place: &Place) -> String {
    let addresses: String = (0..=251).map(|n| format!("198.51.100.{n}\n")).collect();
    let as_of = ["stats", "--json", "--last", "29d", "-"];
    place.feed(as_of, addresses.as_bytes()).ends(0).stdout
}

#[test]
fn the_same_data_twice_changes_nothing() {
    let place = Place::new();
    let log = log(20_000);
    place.ingest("a.json", &log);
    let once = answers(&place);
    let counts = place.ingest("a.json", &log);
    assert_eq!(counts["sighted"], 20_000);
    assert_eq!(answers(&place), once);
}

#[test]
fn killed_in_the_middle_and_fed_again() {
    let log = log(700_000);
    let undisturbed = Place::new();
    undisturbed.ingest("a.json", &log);
    let expected = answers(&undisturbed);

    let place = Place::new();
    for part in [3, 2] {
        let mut child = place
            .command(["ingest", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        // When the pipe has taken so much, batches are on their way to the disk.
        stdin.write_all(&log[..log.len() / part * (part - 1)]).expect("it reads");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    // Nothing is damaged by it, whatever is there.
    place.run(["stats", "203.0.113.1"]).ends(1);
    place.ingest("a.json", &log);
    assert_eq!(answers(&place), expected);
}

#[test]
fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    let server = place.serve();
    place.ingest("a.json", log(20_000));
    let before = answers(&place);
    server.kill();
    assert_eq!(answers(&place), before);
}

#[test]
fn an_interrupt_ends_cleanly() {
    let place = Place::new();
    let mut child = place
        .command(["ingest", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let log = log(50_000);
    stdin.write_all(&log).expect("it reads");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
    // It notices at its next read, which this makes return.
    let _ = stdin.write_all(b"\n");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let counts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the counts so far");
    let sighted = counts["sighted"].as_u64().expect("a count");
    assert!(sighted > 0, "{counts}");
    let known: u64 = place.stats("198.51.100.20").0;
    assert!(known > 0, "what was counted is in the store");
}

/// What retention deleted is gone: a longer one does not bring it back, not even of the day of its first second, and
/// setting it again has nothing to delete and nobody to ask.
#[test]
fn what_retention_deleted_stays_deleted() {
    let place = Place::new();
    let now = now();
    let row = |hours: u64, address: &str| csv(now.minus(hours * 3_600 + 60), "pc-1", address);
    let rows = [row(1, "198.51.100.1"), row(2, "198.51.100.2"), row(50, "198.51.100.3")];
    place.ingest("a.csv", format!("time,device,ip\n{}", rows.concat()));
    let set = place.run(["retention", "set", "2", "--yes", "--json"]).ends(0).json();
    assert_eq!((&set["deleted"], &set["kept"]), (&json!(2), &json!(1)));
    let again = place.run(["retention", "set", "2", "--json"]).ends(0).json();
    assert_eq!((&again["deleted"], &again["kept"]), (&json!(0), &json!(1)));
    place.run(["retention", "set", "720"]).ends(0);
    for (address, code) in [("198.51.100.1", 0), ("198.51.100.2", 1), ("198.51.100.3", 1)] {
        place.run(["stats", address]).ends(code);
    }
    // The same logs once more are taken in again.
    assert_eq!(place.ingest("b.csv", format!("time,device,ip\n{}", rows.concat()))["sighted"], 3);
    place.run(["stats", "198.51.100.3"]).ends(0);
}
