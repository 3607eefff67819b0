//! What the operator sees of sources, pushed and read by the server: on the page, as JSON and in the metrics. Refuses to hold: what
//! each source takes (`receive`, `following`, `flows`).

use std::net::UdpSocket;

use serde_json::{Value, json};

use crate::flows::netflow5;
use crate::support::{Place, Reading, Server, csv, now, until};

/// Everything on the page, without its marks.
fn words(page: &str) -> String {
    let text = page.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text);
    text.map(|text| text.trim().to_owned() + " ").collect()
}

#[test]
fn a_page_and_a_list_show_what_each_source_told_and_lost() {
    let place = Place::new();
    place.run(["init", "--organisation-name", "Contoso"]).ends(0);
    let logs = place.root.path().join("logs");
    std::fs::create_dir(&logs).expect("a folder");
    let now = now();
    let rows =
        format!("time,device,ip\n{}{}", csv(now, "pc-1", "198.51.100.1"), csv(now, "pc-2", "198.51.100.1"));
    std::fs::write(logs.join("a.csv"), &rows).expect("a file");
    let added = place.run(["source", "add", "edge", "--format", "csv", "--json"]).ends(0).json();
    let boss = place.run(["app", "add", "boss", "--permission", "Seenby.Manage", "--json"]).ends(0).json();
    let more =
        format!("netflow = 'udp://127.0.0.1:0'\n[[sources]]\nname = 'files'\nfolder = '{}'", logs.display());
    let reading = Reading::new(place, &more);
    let server = reading.serve();
    let authorization = format!("Bearer {}", added["token"].as_str().expect("a token"));
    let upload = format!("time,device,ip\n{}nonsense,pc-3,198.51.100.2\n", csv(now, "pc-3", "198.51.100.2"));
    assert_eq!(server.post("/seenby/v1/ingest/csv", &authorization, upload.as_bytes()).0, 200);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(reading.address("flows are listened for")).expect("an address");
    socket.send(&netflow5(0, &[1, 2, 3], [198, 51, 100, 3])).expect("sent");
    // 1,234 records never come.
    socket.send(&netflow5(1_237, &[4], [198, 51, 100, 3])).expect("sent");
    reading.comes("198.51.100.1", 2);
    reading.comes("198.51.100.3", 4);
    until("the count of what was lost", || {
        counted(&server, "own", "lost", "what=\"flow_records\"") == Some(1_234)
    });

    let (status, body) = server.get_operators("/seenby/v1/sources", &server.token(&boss));
    assert_eq!(status, 200, "{body}");
    let listed: Value = serde_json::from_str(&body).expect("JSON");
    let shown = |source: &Value| {
        ["name", "kind", "format", "sighted", "ignored", "refused", "lost"].map(|key| source[key].clone())
    };
    let found: Vec<_> = listed["value"].as_array().expect("a list").iter().map(shown).collect();
    let none = json!({});
    let header = json!({ "header": 1 });
    let edge = [
        json!("edge"),
        json!("push"),
        json!("csv"),
        json!(1),
        header.clone(),
        json!({ "bad_time": 1 }),
        none.clone(),
    ];
    let files = [json!("files"), json!("files"), Value::Null, json!(2), header, none.clone(), none.clone()];
    let lost = json!({ "flow_records": 1_234 });
    let flows = [json!("own"), json!("netflow-udp"), Value::Null, json!(4), none.clone(), none, lost];
    assert_eq!(found, [edge, files, flows]);

    let (status, page) = server.get_operators("/sources", "");
    assert_eq!(status, 200, "{page}");
    let page = words(&page);
    for row in [
        "Contoso ".to_owned(),
        format!("edge push well csv 1 1 header 1 bad_time – {} {now} ", upload.len()),
        // How many files and exporters are open just then is between these words.
        "files files well".to_owned(),
        format!("told by its bytes 2 1 header – – {} {now} ", rows.len()),
        "own netflow-udp well".to_owned(),
        "told by its bytes 4 – – 1,234 flow_records ".to_owned(),
    ] {
        assert!(shown_once(&page, &row), "{row:?} in {page}");
    }
    assert_eq!(server.stop(), 0);
}

/// The table is read in words with one blank between them.
fn shown_once(page: &str, row: &str) -> bool {
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    page.matches(row.trim()).count() == 1
}

/// A sample of a source.
fn counted(server: &Server, source: &str, of: &str, label: &str) -> Option<u64> {
    let metrics = server.metrics();
    let is_it = |line: &&str| {
        line.starts_with(&format!("seenby_source_{of}"))
            && line.contains(&format!("source=\"{source}\""))
            && line.contains(label)
    };
    metrics.lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
}
