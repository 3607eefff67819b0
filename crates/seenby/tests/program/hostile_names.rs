//! A device, a file or an organisation may be called anything; every exit shows it as text.

use crate::support::{HOSTILE, Place, check_text, mde, now};

#[test]
fn every_command_shows_hostile_names_as_text() {
    let place = Place::new();
    let log = [
        mde(now(), HOSTILE, HOSTILE, "198.51.100.20"),
        mde(now(), "agent-2", HOSTILE, "198.51.100.20"),
        mde(now(), "agent-3", "pc", HOSTILE),
        "{ bad\n".to_owned(),
    ];
    let path = place.write(&HOSTILE.replace('/', "_"), log.concat());
    let path = path.to_str().expect("UTF-8");
    let commands: &[&[&str]] = &[
        &["ingest", path],
        &["ingest", "--json", path],
        &["stats", "198.51.100.20"],
        &["stats", "203.0.113.1"],
        &["stats", HOSTILE],
        &["device", "list"],
        &["device", "list", "--json"],
        &["device", "show", HOSTILE],
        &["device", "show", HOSTILE, "--json"],
        &["device", "show", "#0"],
        &["device", "merge", HOSTILE, "agent-2"],
        &["device", "domain", HOSTILE],
        &["org", "add", "Con\u{202e}toso"],
        &["org", "add", HOSTILE],
        &["org", "list"],
        &["org", "list", "--json"],
        &["stats", "198.51.100.20"],
        &["stats", "198.51.100.20", "--organisation", HOSTILE],
        &["app", "add", "a\u{2066}pp", "--organisation", "default", "--permission", "Ip.Read.All"],
        &["app", "list", "--organisation", "default"],
        &["app", "rotate", "a\u{2066}pp", "--organisation", "default"],
        &["retention", "show", "--organisation", "Con\u{202e}toso"],
        &["org", "rename", "Con\u{202e}toso", "Con\u{2066}toso"],
        &["org", "remove", "Con\u{2066}toso", "--yes"],
        &["ingest", HOSTILE],
        &["ingest", "--source", HOSTILE, path],
    ];
    for arguments in commands {
        let run = place.run(*arguments);
        check_text(&format!("{arguments:?} on standard output"), &run.stdout);
        check_text(&format!("{arguments:?} on standard error"), &run.stderr);
        assert!((0..=5).contains(&run.code), "{run:?}");
    }
    let list = place.run(["device", "list"]).ends(0).stdout;
    assert!(list.contains(r"\u{1b}]0;x\u{7}\n|=cef:0\u{202e}\u{2066}evil"), "{list}");
    assert!(list.lines().count() <= 4, "one line a device: {list}");
    let json = place.run(["device", "list", "--json"]).ends(0).json();
    let names: Vec<&str> =
        json.as_array().expect("a list").iter().filter_map(|device| device["name"].as_str()).collect();
    assert!(names.contains(&HOSTILE.to_lowercase().as_str()), "JSON says the very name: {names:?}");
}
