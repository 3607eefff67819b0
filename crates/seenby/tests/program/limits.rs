//! Call limits by the real program: an application's own, how it stands, and that neither a stop nor a kill gives calls
//! away.

use serde_json::{Value, json};

use crate::support::{Place, Server, seenby};

const PATH: &str = "/api/ips/203.0.113.1/stats";

/// A server that gives three calls a minute, and an application of it.
fn three_a_minute(place: &Place) -> Server {
    let settings = place.write("s.toml", "[api]\ncalls_per_minute = 3\n");
    let mut command = seenby(place.root.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&place.data);
    Server::start(command.arg("--settings").arg(settings))
}

fn add(place: &Place) -> Value {
    place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json()
}

#[test]
fn an_application_has_limits_of_its_own() {
    let place = Place::new();
    let added = add(&place);
    let set = place.run(["app", "limit", "soar", "--per-minute", "2", "--json"]).ends(0).json();
    let limits = json!({"per_minute": 2, "per_hour": "default"});
    assert_eq!(set, json!({"client_id": added["client_id"], "limits": limits}));
    let server = three_a_minute(&place);
    let token = server.token(&added);
    let statuses = |count| (0..count).map(|_| server.get(PATH, Some(&token)).0).collect::<Vec<_>>();
    assert_eq!(statuses(3), [404, 404, 429]);
    // From the next call on, while the server runs.
    let told = place.run(["app", "limit", "soar", "--per-minute", "off", "--per-hour", "9"]).ends(0).stdout;
    assert_eq!(told, "'soar' gets any number of calls in a minute and 9 calls in an hour from now on.\n");
    assert_eq!(statuses(8), [404, 404, 404, 404, 404, 404, 404, 429]);
    place.run(["app", "limit", "soar", "--per-minute", "default", "--per-hour", "default"]).ends(0);
    assert_eq!(statuses(1), [429]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_operator_sees_how_an_application_stands() {
    let place = Place::new();
    let added = add(&place);
    place.run(["app", "add", "other"]).ends(0);
    let shown = place.run(["app", "show", "soar"]).ends(0);
    assert!(shown.stdout.contains("the default number of calls") && shown.stderr.contains("No server runs"));
    let shown = place.run(["app", "show", "soar", "--json"]).ends(0).json();
    let limits = json!({"per_minute": "default", "per_hour": "default"});
    assert_eq!((&shown["usage"], &shown["limits"]), (&Value::Null, &limits));

    let server = three_a_minute(&place);
    let token = server.token(&added);
    for _ in 0..4 {
        server.get(PATH, Some(&token));
    }
    let shown = place.run(["app", "show", "soar", "--json"]).ends(0).json();
    for (quota, limit, seconds_max) in [("per_minute", 3, 60), ("per_hour", 1_500, 3_600)] {
        let room = &shown["usage"][quota];
        let found = ["limit", "used", "remaining"].map(|key| room[key].as_u64().expect("a number"));
        assert_eq!(found, [limit, 3, limit - 3], "{quota}");
        let seconds = room["more_after_seconds"].as_u64().expect("a number");
        assert!((1..=seconds_max).contains(&seconds), "{quota}: {seconds}");
    }
    let text = place.run(["app", "show", "soar"]).ends(0).stdout;
    assert!(text.contains("  a minute     3 of 3 calls used (the default), 0 left, the next in "), "{text}");
    assert!(text.contains("  an hour      3 of 1,500 calls used (the default), 1,497 left\n"), "{text}");
    let list = place.run(["app", "list"]).ends(0).stdout;
    assert!(list.contains("3 of 3") && list.contains("3 of 1,500") && list.contains("0 of 3"), "{list}");
    let list = place.run(["app", "list", "--json"]).ends(0).json();
    assert_eq!((&list[0]["name"], &list[0]["usage"]["per_hour"]["used"]), (&json!("other"), &json!(0)));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_restart_gives_no_calls_away() {
    let place = Place::new();
    let added = add(&place);
    let server = three_a_minute(&place);
    let token = server.token(&added);
    assert_eq!([0; 3].map(|_| server.get(PATH, Some(&token)).0), [404; 3]);
    assert_eq!(server.stop(), 0);
    let server = three_a_minute(&place);
    let token = server.token(&added);
    assert_eq!(server.get(PATH, Some(&token)).0, 429);
    assert_eq!(server.stop(), 0);
    // Not even the first page of the second server changed that.
    let server = three_a_minute(&place);
    let token = server.token(&added);
    assert_eq!(server.get(PATH, Some(&token)).0, 429);
}

#[test]
fn a_kill_gives_no_calls_away_but_those_of_the_last_second() {
    let place = Place::new();
    let added = add(&place);
    let server = three_a_minute(&place);
    let token = server.token(&added);
    assert_eq!([0; 3].map(|_| server.get(PATH, Some(&token)).0), [404; 3]);
    // Within a second it says that a crash would forget nothing.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !server.metrics().lines().any(|line| line == "seenby_limit_grants_not_kept 0") {
        assert!(std::time::Instant::now() < deadline, "granted calls are not written down");
    }
    server.kill();
    let server = three_a_minute(&place);
    let token = server.token(&added);
    assert_eq!(server.get(PATH, Some(&token)).0, 429);
}
