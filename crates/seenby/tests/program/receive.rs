//! Sources that push, with the real program: tokens made, changed and ended by commands, records sent in each protocol, and the
//! answer that comes of them; and what a source may not. Refuses to hold: each protocol's replies (the HTTP room's tests), and kills
//! (`killed`).

use std::net::UdpSocket;

use serde_json::{Value, json};
use sighting::Second;

use crate::support::{Place, Reading, Server, csv, gzip, mde, now, until};

/// Adds a source; its token.
#[track_caller]
fn add(place: &Place, arguments: &[&str]) -> String {
    let added = place.run([&["source", "add", "--json"], arguments].concat()).ends(0).json();
    added["token"].as_str().expect("a token").to_owned()
}

/// Sends a body as a source; status and answer.
fn send(server: &Server, token: &str, path: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
    let (status, text) = server.post(path, &format!("Bearer {token}"), body.as_ref());
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?}")))
}

#[test]
fn one_device_by_every_road_is_one_device() {
    let place = Place::new();
    let (edr, any) = (add(&place, &["edr", "--format", "mde"]), add(&place, &["any"]));
    let server = place.serve();
    let now = now();
    let record = mde(now, "a1", "pc-1", "198.51.100.20");
    let (status, counts) = send(&server, &edr, "/seenby/v1/ingest/mde", gzip(record.as_bytes()));
    assert_eq!((status, &counts["sighted"]), (200, &json!(1)));
    let record = record.trim_end();
    let bulk = format!("{{\"create\":{{}}}}\n{record}\n\n{{\"create\":{{}}}}\n{{\"what\":\"else\"}}\n");
    let (status, answer) = send(&server, &any, "/_bulk", &bulk);
    assert_eq!((status, answer["items"].as_array().map(Vec::len)), (200, Some(2)));
    let event = format!("{{\"event\":{record},\"host\":\"forwarder\"}}{{\"event\":{}}}", json!(record));
    assert_eq!(send(&server, &edr, "/services/collector/event", &event).1["code"], 0);
    assert_eq!(send(&server, &edr, "/services/collector/raw", record).1["code"], 0);
    let otlp = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "body": { "stringValue": record } }] }] }] });
    let (status, text) =
        server.post_as("/v1/logs", &format!("Bearer {edr}"), "application/json", otlp.to_string().as_bytes());
    assert_eq!((status, text.as_str()), (200, "{}"));
    assert_eq!(place.stats("198.51.100.20").0, 1);
    let rows = format!("time,device,ip\n{}", csv(now, "pc-2", "198.51.100.20"));
    assert_eq!(send(&server, &any, "/seenby/v1/ingest/csv", rows).0, 200);
    assert_eq!(place.stats("198.51.100.20").0, 2);
    let metrics = server.metrics();
    let line = metrics.lines().find(|line| {
        line.contains("seenby_source_records") && line.contains("source=\"edr\"") && line.contains("sighted")
    });
    assert!(line.is_some_and(|line| line.ends_with(" 5")), "{line:?}\n{metrics}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_a_command_changes_holds_from_the_next_upload_on() {
    let place = Place::new();
    let server = place.serve();
    let token = add(&place, &["edge", "--format", "ndjson", "--expires-days", "9"]);
    let now = now();
    let record = |device: &str, second: Second| {
        json!({ "time": second.to_string(), "device": device, "ip": "198.51.100.20" }).to_string()
    };
    let path = "/seenby/v1/ingest/ndjson";
    assert_eq!(send(&server, &token, path, record("pc-1", now)).0, 200);
    // Older than it may tell of, which is a week where nobody says otherwise; a command is not held to that.
    let (status, counts) = send(&server, &token, path, record("pc-1", now.minus(200 * 3_600)));
    assert_eq!((status, &counts["ignored"]), (200, &json!({ "back_dated": 1 })));
    place.run(["source", "change", "edge", "--back-dating-hours", "off"]).ends(0);
    assert_eq!(send(&server, &token, path, record("pc-1", now.minus(200 * 3_600))).1["sighted"], 1);
    place.run(["source", "change", "edge", "--new-devices-per-hour", "1"]).ends(0);
    let two = [record("pc-2", now), record("pc-3", now)].join("\n");
    let (status, answer) = send(&server, &token, path, &two);
    assert_eq!((status, &answer["error"]["code"]), (429, &json!("TooManyRequests")));
    assert_eq!(place.stats("198.51.100.20").0, 1, "nothing of it is taken");
    place.run(["source", "change", "edge", "--new-devices-per-hour", "off"]).ends(0);
    assert_eq!(send(&server, &token, path, &two).0, 200);
    assert_eq!(place.stats("198.51.100.20").0, 3);
    place.run(["source", "change", "edge", "--from", "192.0.2.0/24"]).ends(0);
    assert_eq!(send(&server, &token, path, &two).0, 403);
    place.run(["source", "change", "edge", "--from", "127.0.0.0/8,::1"]).ends(0);
    assert_eq!(send(&server, &token, path, &two).0, 200);
    let rotated = place.run(["source", "rotate", "edge", "--overlap-hours", "0", "--json"]).ends(0).json();
    assert_eq!(send(&server, &token, path, &two).0, 401);
    let token = rotated["token"].as_str().expect("a token");
    assert_eq!(send(&server, token, path, &two).0, 200);
    let shown = place.run(["source", "show", "edge", "--json"]).ends(0);
    assert!(!shown.stdout.contains(token));
    assert_eq!(
        (&shown.json()["format"], &shown.json()["from"][0]),
        (&json!("ndjson"), &json!("127.0.0.0/8"))
    );
    place.run(["source", "remove", "edge", "--yes"]).ends(0);
    assert_eq!(send(&server, token, path, &two).0, 401);
    assert_eq!(place.stats("198.51.100.20").0, 3, "what it told stays");
    let audit = place.run(["audit"]).ends(0).stdout;
    for says in ["added source", "changed source", "rotated the token", "removed source"] {
        assert!(audit.contains(says), "{audit}");
    }
}

/// Shippers put documents of many inputs into one body.
#[test]
fn each_document_tells_its_format_where_the_source_does_not() {
    let place = Place::new();
    let token = add(&place, &["mixed"]);
    let server = place.serve();
    let now = now();
    let zeek = json!({ "ts": now.unix(), "uid": "C1", "id.orig_h": "10.1.2.4", "id.orig_p": 1, "id.resp_h": "198.51.100.20",
        "id.resp_p": 443, "proto": "tcp", "conn_state": "SF" })
    .to_string();
    let own = json!({ "time": now.to_string(), "device": "pc-3", "ip": "198.51.100.20" }).to_string();
    let defender = mde(now, "a1", "pc-1", "198.51.100.20").trim_end().to_owned();
    let documents =
        [&defender, &zeek, "{\"what\":\"else\"}", &own, &zeek.replace("10.1.2.4", "10.1.2.5"), &defender];
    let bulk: String =
        documents.iter().map(|document| format!("{{\"create\":{{}}}}\n{document}\n")).collect();
    assert_eq!(send(&server, &token, "/_bulk", bulk).0, 200);
    assert_eq!(place.stats("198.51.100.20").0, 4);
    // A sourcetype that says nothing leaves each to itself.
    let zeek = zeek.replace("10.1.2.4", "10.1.2.6");
    let events = format!(
        "{{\"sourcetype\":\"mde\",\"event\":{defender}}}{{\"sourcetype\":\"my:own\",\"event\":{zeek}}}"
    );
    assert_eq!(send(&server, &token, "/services/collector", events).0, 200);
    assert_eq!(place.stats("198.51.100.20").0, 5);
}

/// What came before an event that makes no sense is taken: its sender may drop the body.
#[test]
fn one_bad_event_loses_no_other() {
    let place = Place::new();
    let token = add(&place, &["edge", "--format", "mde"]);
    let server = place.serve();
    let record = |device: &str| mde(now(), device, "pc", "198.51.100.20").trim_end().to_owned();
    let events = format!("{{\"event\":{}}}{{\"event\":\"\"}}{{\"event\":{}}}", record("a1"), record("a2"));
    let (status, answer) = send(&server, &token, "/services/collector", events);
    assert_eq!((status, &answer["code"], &answer["invalid-event-number"]), (400, &json!(13), &json!(1)));
    assert_eq!(place.stats("198.51.100.20").0, 1);
    let bulk = format!("{{\"create\":{{}}}}\n{}\nno action\n", record("a3"));
    assert_eq!(send(&server, &token, "/_bulk", bulk).0, 400);
    assert_eq!(place.stats("198.51.100.20").0, 2);
}

#[test]
fn a_document_is_no_part_of_the_one_before() {
    let place = Place::new();
    let flows = add(&place, &["flows", "--format", "suricata"]);
    let rows = add(&place, &["rows", "--format", "csv"]);
    let any = add(&place, &["any"]);
    let server = place.serve();
    let now = now();
    let flow = |device: &str| {
        let flow = json!({ "start": now.to_string(), "pkts_toclient": 8, "state": "closed" });
        json!({
            "timestamp": now.to_string(),
            "event_type": "flow",
            "src_ip": device,
            "dest_ip": "198.51.100.20",
            "proto": "TCP",
            "flow": flow,
            "tcp": { "syn": true, "ack": true },
        })
        .to_string()
    };
    // One was cut; those behind it are sound.
    let lists =
        ["[{\"event_type\":\"flow\",\"x\":".to_owned(), format!("[{}]", flow("10.1.2.3")), flow("10.1.2.4")];
    let bulk: String = lists.iter().map(|list| format!("{{\"create\":{{}}}}\n{list}\n")).collect();
    assert_eq!(send(&server, &flows, "/_bulk", bulk).0, 200);
    assert_eq!(place.stats("198.51.100.20").0, 2);
    // The header holds for every row, also behind one that begins like a list.
    let row = |device: &str| csv(now, device, "198.51.100.21").trim_end().to_owned();
    let events = ["time,device,ip".to_owned(), format!("[{}", row("pc-1")), row("pc-2"), row("pc-3")];
    let events: String = events.iter().map(|event| json!({ "event": event }).to_string()).collect();
    assert_eq!(send(&server, &rows, "/services/collector/event", events).0, 200);
    assert_eq!(place.stats("198.51.100.21").0, 2);
    // And a row behind a prose that has a header in it has none.
    let events = ["note:\ntime,device,ip".to_owned(), csv(now, "pc-4", "198.51.100.22")];
    let events: String = events.iter().map(|event| json!({ "event": event }).to_string()).collect();
    assert_eq!(send(&server, &any, "/services/collector/event", events).0, 200);
    place.run(["stats", "198.51.100.22"]).ends(1);
    // Each header is that of its own rows, and a quote that is open that of its own row.
    let events = [
        format!("time,device,ip\n{now},pc-1,198.51.100.23"),
        format!("time,ip,device\n{now},198.51.100.23,pc-2"),
    ];
    let events: String = events.iter().map(|event| json!({ "event": event }).to_string()).collect();
    assert_eq!(send(&server, &any, "/services/collector/event", events).0, 200);
    assert_eq!(place.stats("198.51.100.23").0, 2);
    let events = [
        "time,device,ip".to_owned(),
        format!("{now},\"pc-1,198.51.100.24"),
        format!("{now},\"pc-2\",198.51.100.24"),
        format!("{now},pc-3,198.51.100.24"),
    ];
    let events: String = events.iter().map(|event| json!({ "event": event }).to_string()).collect();
    assert_eq!(send(&server, &rows, "/services/collector/event", events).0, 200);
    assert_eq!(place.stats("198.51.100.24").0, 2);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_manager_sees_what_each_source_told() {
    let place = Place::new();
    let (edge, _) = (add(&place, &["edge"]), add(&place, &["silent"]));
    let application =
        place.run(["app", "add", "boss", "--permission", "Seenby.Manage", "--json"]).ends(0).json();
    let server = place.serve();
    let now = now();
    let lines = format!(
        "{}{}no json\n",
        mde(now, "a1", "pc-1", "198.51.100.20"),
        mde(now.minus(9_000_000), "a1", "pc-1", "198.51.100.20")
    );
    assert_eq!(send(&server, &edge, "/seenby/v1/ingest/mde", &lines).0, 200);
    let (status, _) = send(&server, &edge, "/_bulk", "no action\n");
    assert_eq!(status, 400);
    let (status, body) = server.get_operators("/seenby/v1/sources", &server.token(&application));
    assert_eq!(status, 200, "{body}");
    let listed: Value = serde_json::from_str(&body).expect("JSON");
    let listed = listed["value"].as_array().expect("a list");
    assert_eq!((listed.len(), &listed[0]["name"], &listed[1]["name"]), (2, &json!("edge"), &json!("silent")));
    let told = &listed[0];
    assert_eq!((&told["kind"], &told["sighted"], &told["tokens"]), (&json!("push"), &json!(1), &json!(1)));
    assert_eq!((&told["ignored"], &told["refused"]), (&json!({ "too_old": 1 }), &json!({ "bad_json": 1 })));
    assert_eq!((&told["newest"], &told["bytes"]), (&json!(now.to_string()), &json!(lines.len())));
    assert!(told["last_error"]["message"].as_str().is_some_and(|why| why.contains("line [1]")), "{told}");
    assert_eq!((&listed[1]["sighted"], &listed[1]["last_taken"]), (&json!(0), &Value::Null));
}

/// Whoever manages one organisation learns nothing of another's name by what is wrong with a source.
#[test]
fn what_is_wrong_with_a_source_names_no_other_organisation() {
    let reading = Reading::new(Place::new(), "syslog = 'udp://127.0.0.1:0'\nformat = 'ndjson'");
    let place = &reading.place;
    place.run(["init", "--organisation-name", "Contoso"]).ends(0);
    let application =
        place.run(["app", "add", "boss", "--permission", "Seenby.Manage", "--json"]).ends(0).json();
    let server = reading.serve();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(reading.address("syslog is listened for")).expect("an address");
    let told = || -> Value {
        let (status, body) = server.get_operators("/seenby/v1/sources", &server.token(&application));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")["value"][0].clone()
    };
    let record = || format!("{{\"time\":\"{}\",\"device\":\"pc-1\",\"ip\":\"198.51.100.20\"}}", now());
    socket.send(record().as_bytes()).expect("sent");
    until("a sighting", || told()["sighted"] == 1);
    place.run(["org", "add", "Fabrikam"]).ends(0);
    until("a word in the log", || {
        socket.send(record().as_bytes()).expect("sent");
        std::fs::read_to_string(&reading.log).expect("text").contains("NAME: 'Contoso', 'Fabrikam'")
    });
    let told = told();
    let message = told["last_error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("several organisations"), "{told}");
    assert!(!told.to_string().contains("Fabrikam"), "{told}");
    // What was counted of one is not the other's.
    let theirs = ["--organisation", "Fabrikam", "--permission", "Seenby.Manage", "--json"];
    let theirs = place.run([&["app", "add", "their-boss"][..], &theirs].concat()).ends(0).json();
    place.run(["org", "remove", "Contoso", "--yes"]).ends(0);
    until("a sighting of the other", || {
        socket.send(record().as_bytes()).expect("sent");
        let (_, body) = server.get_operators("/seenby/v1/sources", &server.token(&theirs));
        let told = serde_json::from_str::<Value>(&body).expect("JSON")["value"][0].clone();
        assert_eq!(told["last_error"], Value::Null, "{told}");
        told["sighted"].as_u64().is_some_and(|count| count > 0)
    });
    assert_eq!(server.stop(), 0);
}

/// What a token may not tell of by sightings it may not tell of by leases either.
#[test]
fn a_lease_is_held_to_the_age_that_its_source_may_tell_of() {
    let place = Place::new();
    let hours_ago = |hours: u64| now().minus(hours * 3_600);
    let lines: String = [(48, "203.0.113.1"), (2, "203.0.113.2")]
        .map(|(hours, remote)| csv(hours_ago(hours), "10.0.0.5", remote))
        .concat();
    place.ingest("sightings.csv", format!("time,device,ip\n{lines}"));
    let token = add(&place, &["leases", "--format", "address-map", "--back-dating-hours", "24"]);
    let server = place.serve();
    let bound = |remote: &str| place.run(["stats", "--json", remote]).ends(0).json()["bound"].clone();
    let told = |hours: u64, host: &str| {
        let map = format!("address,host,from,until\n10.0.0.5,{host},{},\n", hours_ago(hours));
        let (status, counts) = send(&server, &token, "/seenby/v1/ingest/address-map", map);
        assert_eq!(status, 200, "{counts}");
        counts["ignored"].clone()
    };
    // Moved to the bound, each of these would begin in the same second, and end what began before that in truth.
    for (hours, host) in [(24 * 20, "zz-older"), (25, "victim")] {
        assert_eq!(told(hours, host), json!({ "header": 1, "back_dated": 1 }), "{host}");
    }
    assert_eq!((bound("203.0.113.1"), bound("203.0.113.2")), (json!("at_most"), json!("at_most")));
    assert_eq!(told(23, "victim"), json!({ "header": 1, "registry": 1 }));
    // Of the older sighting nothing but the address is known, as before.
    assert_eq!((bound("203.0.113.1"), bound("203.0.113.2")), (json!("at_most"), Value::Null));
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_makes_no_sense_is_said_when_it_is_typed() {
    let place = Place::new();
    add(&place, &["edge"]);
    for (arguments, says) in [
        (vec!["source", "add", "EDGE"], "is taken"),
        (vec!["source", "add", "x", "--format", "nonsense"], "zeek"),
        (vec!["source", "add", "x", "--from", "10/8"], "10.0.0.0/8"),
        (vec!["source", "add", "x", "--time-zone", "Mars"], "time zone"),
        (vec!["source", "add", "x", "--columns", "when=ts"], "keys are"),
        (vec!["source", "add", "x", "--bytes-per-second", "0"], "from 1"),
        (vec!["source", "show", "nobody"], "source list"),
    ] {
        let run = place.run(&arguments).ends(2);
        assert!(run.stderr.contains(says), "{arguments:?}: {}", run.stderr);
    }
    assert!(place.run(["source", "remove", "edge"]).ends(5).stderr.contains("--yes"));
    let listed = place.run(["source", "list"]).ends(0).stdout;
    assert!(listed.contains("edge") && listed.contains("anywhere"), "{listed}");
}
