//! `seenby serve`: answers over real HTTP, and every other command through its control socket.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Place, Run, Server, csv, mde, now, seenby};

#[test]
fn an_application_gets_a_token_and_the_answer() {
    let place = Place::new();
    let now = now();
    place.ingest("a.json", mde(now, "a1", "pc-1", "198.51.100.20"));
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let server = place.serve();
    let token = server.token(&added);
    let (status, body) = server.get("/api/ips/198.51.100.20/stats", Some(&token));
    assert_eq!(status, 200, "{body}");
    let expected = format!(
        "{{\"@odata.context\":\"http://{}/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats\",\
         \"ipAddress\":\"198.51.100.20\",\"orgPrevalence\":\"1\",\"organizationPrevalence\":1,\
         \"orgFirstSeen\":\"{now}\",\"orgLastSeen\":\"{now}\"}}",
        server.host
    );
    assert_eq!(body, expected);
    assert_eq!(server.get("/api/ips/203.0.113.1/stats", Some(&token)).0, 404);
    assert_eq!(server.get("/api/ips/198.51.100.20/stats", None).0, 401);
    assert_eq!(server.get("/readyz", None).0, 200);
    assert_eq!(server.stop(), 0);
    assert!(!place.data.join("seenby.sock").exists(), "the socket goes with the server");
}

/// Everything that a command does, on a folder that may or may not be held by a server.
fn every_command(place: &Place) {
    let now = now();
    let counts = place.ingest(
        "a.json",
        [mde(now, "a1", "pc-1", "198.51.100.20"), mde(now, "a2", "pc-2", "198.51.100.20")].concat(),
    );
    assert_eq!(counts["sighted"], 2);
    place.ingest(
        "b.csv",
        format!("time,device,ip\n{}", csv(now.minus(50 * 3_600), "laptop", "198.51.100.20")),
    );
    assert_eq!(place.stats("198.51.100.20").0, 3);
    place.run(["device", "merge", "laptop", "a1", "--yes"]).ends(0);
    assert_eq!(place.stats("198.51.100.20").0, 2);
    place.run(["device", "domain", "example.org"]).ends(0);
    let show = place.run(["device", "show", "pc-2", "--json"]).ends(0).json();
    assert_eq!(show["name"], "a2");
    assert_eq!(place.run(["device", "list", "--json"]).ends(0).json().as_array().map(Vec::len), Some(2));
    let unseen = place.run(["stats", "203.0.113.1"]).ends(1).stdout;
    assert!(unseen.contains("by csv, mde"), "{unseen}");
    let set = place.run(["retention", "set", "24", "--yes", "--json"]).ends(0).json();
    assert_eq!((&set["deleted"], &set["kept"]), (&json!(1), &json!(2)));
    place.run(["retention", "set", "720", "--yes"]).ends(0);
    place.run(["org", "add", "Contoso"]).ends(0);
    let taken = place.run(["org", "add", "contoso"]).ends(2);
    assert!(taken.stderr.contains("is taken"), "{}", taken.stderr);
    place.run(["org", "rename", "Contoso", "Fabrikam"]).ends(0);
    place.run(["app", "add", "x", "--organisation", "Fabrikam", "--permission", "Ip.Read.All"]).ends(0);
    place.run(["app", "rotate", "x", "--organisation", "Fabrikam"]).ends(0);
    place.run(["app", "limit", "x", "--per-minute", "7", "--organisation", "Fabrikam"]).ends(0);
    let listed = place.run(["app", "list", "--organisation", "Fabrikam", "--json"]).ends(0).json();
    assert_eq!(listed[0]["permissions"], json!(["Ip.Read.All"]));
    assert_eq!(listed[0]["limits"], json!({"per_minute": 7, "per_hour": "default"}));
    place.run(["app", "remove", "x", "--organisation", "Fabrikam", "--yes"]).ends(0);
    place.run(["org", "remove", "Fabrikam", "--yes"]).ends(0);
    let init = place.run(["init", "--json"]).ends(0).json();
    assert_eq!(init["organisation"], place.run(["org", "list", "--json"]).ends(0).json()[0]["organisation"]);
    place.run(["init", "--retention-hours", "5"]).ends(2);
}

#[test]
fn every_command_works_alone_and_while_a_server_holds_the_folder() {
    every_command(&Place::new());
    let place = Place::new();
    let server = place.serve();
    every_command(&place);
    assert_eq!(server.stop(), 0);
    assert_eq!(place.stats("198.51.100.20").0, 2, "what went through the server is in the folder");
}

#[test]
fn what_a_command_changes_the_server_knows_at_once() {
    let place = Place::new();
    let server = place.serve();
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let token = server.token(&added);
    let path = "/api/ips/198.51.100.20/stats";
    assert_eq!(server.get(path, Some(&token)).0, 404);
    place.ingest("a.json", mde(now(), "a1", "pc-1", "198.51.100.20"));
    assert_eq!(server.get(path, Some(&token)).0, 200);
    place.run(["app", "remove", "soar", "--yes"]).ends(0);
    assert_eq!(server.get(path, Some(&token)).0, 401);
}

#[test]
fn a_long_path_is_reached_too() {
    let mut place = Place::new();
    place.data =
        place.root.path().join("a-long-name-".repeat(10)).join("b-long-name-".repeat(10)).join("data");
    let server = place.serve();
    assert!(place.data.join("seenby.sock").exists());
    every_command(&place);
    assert_eq!(server.stop(), 0);
}

#[test]
fn the_socket_is_its_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let server = place.serve();
    let mode = std::fs::metadata(place.data.join("seenby.sock")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.kill();
    // What a killed server leaves behind is in nobody's way.
    assert!(place.data.join("seenby.sock").exists());
    place.run(["stats", "1.1.1.1"]).ends(1);
    let server = place.serve();
    place.run(["stats", "1.1.1.1"]).ends(1);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_folder_that_is_held_by_nobody_who_answers_is_said() {
    let place = Place::new();
    let server = place.serve();
    std::fs::remove_file(place.data.join("seenby.sock")).expect("it is there");
    let run = place.run(["stats", "1.1.1.1"]).ends(3);
    assert!(run.stderr.contains("another seenby process holds"), "{}", run.stderr);
    let second = Run::of(&mut place.command(["serve", "--listen", "127.0.0.1:0"])).ends(3);
    assert!(second.stderr.contains("stop it first"), "{}", second.stderr);
    drop(server);
}

#[test]
fn a_port_that_is_taken_is_said() {
    let place = Place::new();
    let server = place.serve();
    let other = Place::new();
    let run = other.run(["serve", "--listen", &server.host]).ends(3);
    assert!(
        run.stderr.contains("another program listens there") && run.stderr.contains("127.0.0.1:0"),
        "{}",
        run.stderr
    );
    let run = other.run(["serve", "--listen", "192.0.2.1:8787"]).ends(3);
    assert!(run.stderr.contains("does not have that address"), "{}", run.stderr);
}

#[test]
fn settings_reach_the_server() {
    let place = Place::new();
    let path =
        place.write("s.toml", "[api]\nunknown_ip = 'zero'\ncalls_per_minute = 2\n[log]\nformat = 'json'\n");
    let mut command = seenby(place.root.path());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&place.data)
        .arg("--settings")
        .arg(path);
    let server = Server::start(&mut command);
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let token = server.token(&added);
    let (status, body) = server.get("/api/ips/203.0.113.1/stats", Some(&token));
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["organizationPrevalence"]), (200, &json!(0)));
    assert_eq!(server.get("/api/ips/203.0.113.1/stats", Some(&token)).0, 200);
    assert_eq!(server.get("/api/ips/203.0.113.1/stats", Some(&token)).0, 429);
}

#[test]
fn what_comes_in_slowly_is_seen_without_waiting_for_more() {
    let place = Place::new();
    let _server = place.serve();
    let mut ingest = place
        .command(["ingest", "--format", "mde", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut pipe = ingest.stdin.take().expect("piped");
    pipe.write_all(mde(now().minus(60), &"ab".repeat(20), "pc-1.example.org", "198.51.100.9").as_bytes())
        .expect("it reads");
    // The pipe stays open: only a pause tells the program that this was all for now.
    let deadline = Instant::now() + Duration::from_secs(60);
    while place.stats("198.51.100.9").0 != 1 {
        assert!(Instant::now() < deadline, "a line that came alone is not seen");
    }
    drop(pipe);
    assert!(ingest.wait().expect("it ends").success());
}

#[test]
fn metrics_show_what_the_store_holds() {
    let place = Place::new();
    let server = place.serve();
    place.ingest("events.json", mde(now().minus(60), &"ab".repeat(20), "pc-1.example.org", "198.51.100.9"));
    let text = server.metrics();
    for line in [
        "seenby_store_sightings_taken_total 1",
        "seenby_store_leases_dropped_total 0",
        "seenby_store_segments 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line:?} is missing in:\n{text}");
    }
    assert!(!text.contains("198.51.100.9") && !text.contains("pc-1"), "no data in metrics");
}

/// An ingest that is still running when its organisation is removed: nothing of it stays, and nothing comes back with the GUID.
#[test]
fn an_organisation_removed_during_an_ingest_is_gone() {
    let place = Place::keeping_for_ever();
    let guid = "11111111-2222-4333-8444-555555555555";
    place.run(["org", "add", "Fabrikam", "--id", guid, "--retention-hours", "forever"]).ends(0);
    let _server = place.serve();
    let mut ingest = place.command(["ingest", "--organisation", "Fabrikam", "-"]);
    let ingest = ingest.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut ingest = ingest.expect("the binary starts");
    let mut stdin = ingest.stdin.take().expect("piped");
    let seen = || place.run(["stats", "198.51.100.20", "--organisation", "Fabrikam"]).code == 0;
    write!(stdin, "time,device,ip\n{}", csv(now(), "pc-1", "198.51.100.20")).expect("it reads");
    while !seen() {}
    place.run(["org", "remove", "Fabrikam", "--yes"]).ends(0);
    stdin.write_all(csv(now(), "pc-2", "198.51.100.20").as_bytes()).expect("it reads");
    drop(stdin);
    let ended = ingest.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no organisation"), "{said}");
    place.run(["org", "add", "Fabrikam", "--id", guid, "--retention-hours", "forever"]).ends(0);
    assert!(!seen());
}
