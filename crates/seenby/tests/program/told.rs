//! What the operator sees of sources, pushed and read by the server: on the page, as JSON and in the metrics; and what is lost of sources
//! that have no receipt, counted where the system tells. Refuses to hold: what each source takes (`receive`, `following`, `flows`, `syslog`).

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};

use rustix::process::Signal;
use serde_json::{Value, json};
use sighting::Second;

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

/// Datagrams for a port that the kernel had no room for: the last column of its table.
fn dropped(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let of_port =
        |line: &&str| line.split_whitespace().nth(1).is_some_and(|it| it.ends_with(&format!(":{port:04X}")));
    let last = |line: &str| line.split_whitespace().last()?.parse().ok();
    table.lines().find(of_port).and_then(last).unwrap_or_default()
}

/// A listener over UDP: its setting, what its log says when it listens, and a datagram of one record, by its number.
struct Listener {
    setting: &'static str,
    says: &'static str,
    datagram: fn(u32) -> Vec<u8>,
}

const LISTENERS: [Listener; 2] = [
    Listener { setting: "syslog = 'udp://127.0.0.1:0'", says: "syslog is listened for", datagram: message },
    Listener {
        setting: "netflow = 'udp://127.0.0.1:0'",
        says: "flows are listened for",
        datagram: |number| netflow5(number, &[number as u8], [198, 51, 100, 1]),
    },
];

/// A syslog message of 8 KiB.
fn message(number: u32) -> Vec<u8> {
    let record = record(&format!("pc-{number}"), now(), "198.51.100.1", &"x".repeat(8 << 10));
    format!("<134>1 - fw app - - - {record}").into_bytes()
}

fn record(device: &str, second: Second, address: &str, note: &str) -> Value {
    json!({ "time": second.to_string(), "device": device, "ip": address, "note": note })
}

/// While a server does nothing, the kernel keeps as many datagrams as it has room for and counts the others; so does the server afterwards.
#[test]
fn what_the_kernel_drops_is_counted() {
    for Listener { setting, says, datagram } in LISTENERS {
        let reading = Reading::new(Place::new(), setting);
        let server = reading.serve();
        let address = reading.address(says);
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        server.signal(Signal::STOP);
        let mut sent = 0;
        // Twice the room that is asked for, at least.
        while dropped(port) < 10 && sent < 40_000 {
            for _ in 0..100 {
                socket.send_to(&datagram(sent), &address).expect("sent");
                sent += 1;
            }
        }
        let lost = dropped(port);
        server.signal(Signal::CONT);
        if lost == 0 {
            println!(
                "SKIPPED: {setting}: of {sent} datagrams to a stopped server the kernel tells of none that it dropped"
            );
            continue;
        }
        until("the count of what was dropped", || {
            counted(&server, "own", "lost", "what=\"datagrams\"") == Some(lost)
        });
        // Each of the others is there: nothing is lost that is not counted.
        until("the others", || {
            counted(&server, "own", "records", "result=\"sighted\"") == Some(u64::from(sent) - lost)
        });
        println!("{setting}: {lost} of {sent} datagrams were dropped, and counted");
        assert_eq!(server.stop(), 0);
    }
}

/// Syslog over TCP has no receipt: a kill costs what came in the last moment, and nothing that was in the answers before. That this moment
/// is less than a second is not measured here, where nothing is.
#[test]
fn a_kill_costs_the_end_of_a_stream_alone() {
    let (portion, kills) = (500, 4);
    let reading = Reading::new(Place::new(), "syslog = 'tcp://127.0.0.1:0'");
    let begun = now().minus(3_600);
    let mut lost = 0;
    for kill in 0..kills {
        let server = reading.serve();
        let address = format!("198.51.100.{kill}");
        let mut stream = TcpStream::connect(reading.address("syslog is listened for")).expect("it listens");
        let mut send = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                let record = record(&format!("pc-{number}"), begun.plus(number), &address, "");
                stream.write_all(format!("<134>1 - fw app - - - {record}\n").as_bytes()).expect("it reads");
            }
        };
        send(0..portion);
        reading.comes(&address, portion);
        send(portion..2 * portion);
        server.kill();
        let server = reading.serve();
        let (found, _, last) = reading.place.stats(&address);
        assert!((portion..=2 * portion).contains(&found), "{found} of {} are there", 2 * portion);
        // They were sent in the order of their seconds: what is there is the beginning of it.
        assert_eq!(last, json!(begun.plus(found - 1).to_string()), "{found} are there");
        lost += 2 * portion - found;
        assert_eq!(server.stop(), 0);
    }
    println!("{lost} of {} records were lost by {kills} kills", 2 * portion * kills);
}
