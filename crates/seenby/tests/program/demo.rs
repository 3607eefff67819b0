//! `seenby demo`, small: the whole way from a simulated fleet to an answer over HTTP that is the fleet's own truth.

use std::path::Path;

use crate::support::{Place, Run, Server, seenby};

fn demo(home: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = seenby(home);
    command.args(["demo", "--devices", "40", "--days", "3"]).args(arguments);
    command
}

#[test]
fn it_asks_itself_and_ends() {
    let place = Place::new();
    let home = place.root.path();
    let first = Run::of(&mut demo(home, &["--exit"])).ends(0);
    assert!(first.stderr.contains("demo-data/logs"), "it says where first: {}", first.stderr);
    // Nearly all of them: a few were never switched on. Whether it is exact the demo has checked itself.
    let devices = first.json()["organizationPrevalence"].as_u64().expect("a number");
    assert!((20..=40).contains(&devices), "{devices}");
    let again = Run::of(&mut demo(home, &["--exit"])).ends(0);
    assert!(again.stderr.contains("again"), "{}", again.stderr);
    assert_eq!(again.json()["organizationPrevalence"], devices);
    let other = Run::of(&mut demo(home, &["--exit", "--days", "2"]));
    assert_eq!(other.code, 2, "{other:?}");
    let mut other = seenby(home);
    let other = Run::of(other.args(["demo", "--exit", "--devices", "10", "--days", "2"])).ends(2);
    assert!(other.stderr.contains("demo --fresh --devices 10 --days 2"), "{}", other.stderr);
    // The folder of the other commands is not the demo's.
    let mut elsewhere = demo(home, &["--exit", "--fresh"]);
    Run::of(elsewhere.env("SEENBY_DATA", home.join("elsewhere"))).ends(0);
    assert!(!home.join("elsewhere").exists(), "only an explicit --data-dir counts");
    let named = Run::of(&mut demo(home, &["--exit", "--data-dir", "a demo"])).ends(0);
    assert!(!named.stderr.contains("made a new data folder"), "it says so itself: {}", named.stderr);
    let mut other = seenby(home);
    let other = Run::of(other.args(["demo", "--exit", "--data-dir", "a demo"])).ends(2);
    let folder = home.join("a demo");
    assert!(other.stderr.contains(&format!("--data-dir '{}'", folder.display())), "{}", other.stderr);
}

#[test]
fn it_leaves_other_folders_alone() {
    let place = Place::new();
    let letter = place.write("demo-data/letter.txt", "dear");
    for arguments in [&["--exit"][..], &["--exit", "--fresh"]] {
        let run = Run::of(&mut demo(place.root.path(), arguments)).ends(3);
        assert!(run.stderr.contains("is not a demo's"), "{}", run.stderr);
    }
    assert!(letter.exists());
    place.run(["init"]).ends(0);
    let data = place.data.to_str().expect("UTF-8");
    Run::of(&mut demo(place.root.path(), &["--exit", "--fresh", "--data-dir", data])).ends(3);
    place.run(["stats", "1.1.1.1"]).ends(1);
}

#[test]
fn what_it_prints_can_be_pasted() {
    let place = Place::new();
    let server = Server::start_demo(&mut demo(place.root.path(), &[]));
    let lines = server.lines.clone();
    let paste = format!("{}\n{}\n", lines[2], lines[3]);
    assert!(paste.starts_with("TOKEN=$(curl -s http://") && paste.contains("\ncurl -s -H"), "{paste}");
    // Only where there is a curl, as on any machine that would paste it.
    if std::process::Command::new("curl").arg("--version").output().is_ok() {
        let shell = Run::of(std::process::Command::new("sh").arg("-c").arg(&paste)).ends(0);
        assert!(shell.stdout.contains("\"organizationPrevalence\":"), "{shell:?}");
    } else {
        eprintln!("skipped the pasting: there is no curl here");
    }
    // From any folder, with the program that this is.
    let asked = &lines[7];
    assert!(asked.contains(env!("CARGO_BIN_EXE_seenby")), "{asked}");
    Run::of(std::process::Command::new("sh").current_dir("/").arg("-c").arg(asked)).ends(0);
    assert_eq!(server.stop(), 0);
}
