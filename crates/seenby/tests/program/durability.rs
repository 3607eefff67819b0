//! What was acknowledged survives whatever ends the process; what was not is taken in again without harm.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Place, mde, now};

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
