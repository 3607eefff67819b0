//! Whose folder it is: one that is made is said to be, one that is held is waited for, one that is not ours is left
//! alone, and one without an organisation is not given any.

use std::process::Stdio;
use std::time::Instant;

use serde_json::json;

use crate::support::{Place, Run, mde, now, seenby};

#[test]
fn a_new_folder_is_said_to_be_new() {
    for arguments in [
        &["stats", "1.1.1.1"][..],
        &["stats", "1.1.1.1", "--json"],
        &["org", "list"],
        &["app", "list"],
        &["device", "list"],
        &["retention", "show"],
    ] {
        let place = Place::new();
        let note = format!("note: made a new data folder {}", place.data.display());
        let first = place.run(arguments);
        assert!(first.stderr.contains(&note), "{arguments:?}: {}", first.stderr);
        let second = place.run(arguments);
        assert_eq!(
            (second.code, second.stderr.contains("new data folder")),
            (first.code, false),
            "{second:?}"
        );
    }
    let place = Place::new();
    let log = place.write("a.json", mde(now(), "a1", "pc-1", "198.51.100.20"));
    let run = place.run(["ingest", log.to_str().expect("UTF-8")]).ends(0);
    assert!(run.stderr.contains("note: made a new data folder"), "{}", run.stderr);
    // Whose result says it needs no note.
    let place = Place::new();
    let made = place.run(["init"]).ends(0);
    assert!(made.stdout.starts_with("Made ") && made.stderr.is_empty(), "{made:?}");
}

#[test]
fn a_server_says_in_its_log_that_its_folder_is_new() {
    let place = Place::new();
    let log = place.root.path().join("log");
    let logged = |place: &Place| {
        let file = std::fs::File::create(&log).expect("a file");
        let mut child = place
            .command(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        std::fs::read_to_string(&log).expect("text")
    };
    assert!(logged(&place).contains("made a new data folder"));
    assert!(!logged(&place).contains("made a new data folder"));
}

#[test]
fn many_commands_at_once_wait_for_each_other() {
    let place = Place::new();
    place.run(["init"]).ends(0);
    // Held for longer than anybody used to wait: an ingest from a pipe that stays open.
    let mut holder = place
        .command(["ingest", "--format", "mde", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let pipe = holder.stdin.take().expect("piped");
    let begun_at = Instant::now();
    let waiting: Vec<_> = (0..6)
        .map(|number| {
            let name = format!("app-{number}");
            let mut command = place.command(["app", "add", &name, "--json"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    while begun_at.elapsed().as_secs() < 6 {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    drop(pipe);
    assert!(holder.wait().expect("it ends").success());
    for child in waiting {
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(place.run(["app", "list", "--json"]).ends(0).json().as_array().map(Vec::len), Some(6));
}

#[test]
fn a_server_that_was_stopped_in_place_is_said() {
    let place = Place::new();
    let server = place.serve();
    server.signal(rustix::process::Signal::STOP);
    let begun_at = Instant::now();
    let run = place.run(["stats", "1.1.1.1"]).ends(3);
    assert!(begun_at.elapsed().as_secs() < 12, "it does not wait for ever");
    assert!(run.stderr.contains("does not answer") && run.stderr.contains("kill -CONT"), "{}", run.stderr);
    server.signal(rustix::process::Signal::CONT);
    place.run(["stats", "1.1.1.1"]).ends(1);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_second_server_is_refused_soon() {
    let place = Place::new();
    let server = place.serve();
    let begun_at = Instant::now();
    let second = place.run(["serve", "--listen", "127.0.0.1:0"]).ends(3);
    assert!(begun_at.elapsed().as_secs() < 12, "a server that answers is not waited for as long");
    assert!(second.stderr.contains("stop it first"), "{}", second.stderr);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_folder_without_an_organisation_is_given_none() {
    let place = Place::new();
    place.run(["init", "--organisation-name", "Contoso"]).ends(0);
    let removed = place.run(["org", "remove", "Contoso", "--yes"]).ends(0);
    assert!(removed.stdout.contains("seenby org add"), "{}", removed.stdout);
    for arguments in
        [&["stats", "1.1.1.1"][..], &["app", "list"], &["device", "list"], &["retention", "show"]]
    {
        let run = place.run(arguments).ends(2);
        assert!(run.stderr.contains("no organisation") && run.stderr.contains("org add"), "{}", run.stderr);
    }
    assert_eq!(place.run(["org", "list", "--json"]).ends(0).json(), json!([]));
    place.run(["org", "add", "Fabrikam"]).ends(0);
    let listed = place.run(["org", "list", "--json"]).ends(0).json();
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["name"]), (Some(1), &json!("Fabrikam")));
}

#[test]
fn a_foreign_folder_is_left_alone_by_every_command() {
    let place = Place::new();
    let letter = place.write("data/letter.txt", "dear");
    for arguments in [
        &["stats", "1.1.1.1"][..],
        &["init"],
        &["ingest", "-"],
        &["org", "list"],
        &["retention", "show"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["demo", "--exit"],
        &["demo", "--exit", "--fresh"],
    ] {
        let run = place.run(arguments).ends(3);
        assert!(run.stderr.contains("name another folder"), "{arguments:?}: {}", run.stderr);
    }
    assert_eq!(std::fs::read_dir(&place.data).expect("a folder").count(), 1);
    // A file in its place is no folder either.
    for arguments in [&["stats", "1.1.1.1"][..], &["demo", "--exit"]] {
        let mut command = seenby(place.root.path());
        Run::of(command.args(arguments).arg("--data-dir").arg(&letter)).ends(3);
    }
}
