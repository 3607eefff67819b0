//! What connects a feed: the list of formats, what becomes of the first records of a file and why, and clocks that say no zone.

use serde_json::{Value, json};

use crate::support::{Place, gzip, mde, now};

#[test]
fn every_format_is_listed_under_the_name_that_ingest_takes() {
    let place = Place::new();
    let listed = place.run(["formats", "--json"]).ends(0).json();
    let listed = listed.as_array().expect("a list");
    assert!(listed.len() >= 7, "{listed:?}");
    let shown = place.run(["formats"]).ends(0).stdout;
    for format in listed {
        let name = format["name"].as_str().expect("a name");
        assert!(shown.contains(name), "{name}");
        for key in ["log", "device", "counts"] {
            assert!(!format[key].as_str().expect("a text").is_empty(), "{name} {key}");
        }
        place.feed(["ingest", "--format", name, "-"], b"").ends(0);
    }
}

#[test]
fn the_first_records_are_explained_and_not_taken() {
    let place = Place::new();
    let sound = mde(now(), "a1", "pc-1", "198.51.100.20");
    let inbound = sound.replace("ConnectionSuccess", "InboundConnectionAccepted");
    let bad = mde(now(), "a1", "pc-1", "198.51.100.256");
    let log = [sound.clone(), inbound, bad, "{\n".to_owned(), sound.repeat(40)].concat();
    let path = place.write("events.json.gz", gzip(log.as_bytes()));
    let path = path.to_str().expect("UTF-8");
    let explained = place.run(["ingest", "--explain", "--json", path]).ends(0).json();
    let [input] = explained.as_array().expect("a list").as_slice() else { panic!("one input: {explained}") };
    assert_eq!(input["format"], "mde");
    let records = input["records"].as_array().expect("records");
    assert_eq!(records.len(), 20, "the first ones");
    let of = |line: usize, key: &str| -> &Value { &records[line - 1][key] };
    let became: Vec<&Value> = (1..=5).map(|line| of(line, "became")).collect();
    assert_eq!(became, ["sighted", "ignored", "refused", "refused", "sighted"]);
    assert_eq!(of(1, "remote"), "198.51.100.20");
    assert_eq!(of(1, "time"), &json!(now_of(&sound)));
    assert_eq!(of(1, "device")[0], json!({ "kind": "agent_id", "name": "a1" }));
    assert_eq!((of(2, "code"), of(2, "device")[0]["name"].as_str()), (&json!("inbound"), Some("a1")));
    assert_eq!(of(2, "field"), "ActionType", "what decided it");
    assert_eq!((of(3, "code"), of(3, "field")), (&json!("bad_address"), &json!("RemoteIP")));
    assert_eq!((of(4, "code"), of(4, "line")), (&json!("bad_json"), &json!(4)));
    let shown = place.run(["ingest", "--explain", path]).ends(0).stdout;
    assert!(shown.contains("the device accepted the connection") && shown.contains("(RemoteIP)"), "{shown}");
    assert!(shown.contains("(ActionType)"), "{shown}");
    assert!(!place.data.exists(), "no folder was made for it");
    std::fs::create_dir(&place.data).expect("an empty folder");
    place.run(["ingest", "--explain", path]).ends(0);
    assert!(place.data.read_dir().expect("a folder").next().is_none(), "nothing was put into an empty one");
    let prose = place.write("prose.txt", "Lorem ipsum.\n");
    let shown = place.run(["ingest".as_ref(), "--explain".as_ref(), prose.as_os_str()]).ends(0).stdout;
    assert!(shown.contains("no format that is known"), "{shown}");
    place.run(["ingest", "--explain", "/nowhere/at/all"]).ends(2);
}

/// What is explained of a record is what it counts as when it is taken in.
#[test]
fn the_clock_retention_and_tenants_are_explained_too() {
    let ours = "c7e3c0a4-1d2b-4e5f-8a9b-0c1d2e3f4a5b";
    let of_tenant = |tenant: &str| {
        let record: Value = serde_json::from_str(&mde(now(), "a1", "pc-1", "198.51.100.20")).expect("JSON");
        let mut record = record;
        record["tenantId"] = json!(tenant);
        format!("{record}\n")
    };
    let log = [
        mde(now().plus(4_000), "a1", "pc-1", "198.51.100.20"),
        mde(now().minus(40 * 86_400), "a1", "pc-1", "198.51.100.20"),
        of_tenant(ours),
        of_tenant("11111111-2222-4333-8444-555555555555"),
    ];
    let place = Place::new();
    let path = place.write("events.json", log.concat());
    let path = path.to_str().expect("UTF-8");
    let codes = |more: &[&str]| -> Vec<Value> {
        let explained = ["ingest", "--explain", "--json", path];
        let explained = place.run(explained.iter().chain(more)).ends(0).json();
        explained[0]["records"].as_array().expect("a list").iter().map(|it| it["code"].clone()).collect()
    };
    // Where there is no folder, taking it in would make one with an organisation that keeps 30 days.
    assert_eq!(codes(&[]), [json!("in_future"), json!("too_old"), Value::Null, Value::Null]);
    assert!(!place.data.exists());
    place.run(["init", "--organisation-name", "ours"]).ends(0);
    place.run(["org", "add", "theirs", "--source-tenants", "11111111-2222-4333-8444-555555555555"]).ends(0);
    let whose = ["--organisation", "ours"];
    assert_eq!(codes(&whose), [json!("in_future"), json!("too_old"), Value::Null, json!("foreign_tenant")]);
    let shown = place.run(["ingest", "--explain", path, "--organisation", "ours"]).ends(0).stdout;
    assert!(shown.contains("ahead of this machine's clock") && shown.contains("are kept"), "{shown}");
    let taken = place.run(["ingest", "--json", path, "--organisation", "ours"]).ends(0).json();
    assert_eq!((&taken["sighted"], &taken["ignored"]), (&json!(1), &json!({ "too_old": 1 })));
    assert_eq!(taken["refused"], json!({ "in_future": 1, "foreign_tenant": 1 }));
}

/// The time that a record of ours says, as answers say it.
fn now_of(record: &str) -> String {
    let record: Value = serde_json::from_str(record).expect("JSON");
    let time = record["properties"]["Timestamp"].as_str().expect("a time");
    format!("{}Z", &time[..19])
}

#[test]
fn clocks_without_a_zone_are_read_in_that_of_their_source() {
    let record = |time: &str| {
        format!(
            "{{\"EventID\":3,\"SourceName\":\"Microsoft-Windows-Sysmon\",\"Hostname\":\"pc-1\",\"EventTime\":\"{time}\",\
             \"Initiated\":\"true\",\"DestinationIp\":\"198.51.100.20\"}}\n"
        )
    };
    let place = Place::keeping_for_ever();
    // Half past two comes twice in the night in which summer ends; the first of them counts.
    let log = [record("2024-07-01 12:00:00"), record("2024-10-27 02:30:00")].concat();
    let refused = place.feed(["ingest", "--json", "-"], log.as_bytes()).ends(4).json();
    assert_eq!(refused["refused"], json!({ "no_timezone": 2 }));
    place.feed(["ingest", "--time-zone", "Europe/Zurich", "-"], log.as_bytes()).ends(0);
    let stats = place.run([
        "stats",
        "198.51.100.20",
        "--look-back-hours",
        "100000",
        "--as-of",
        "2025-01-01T00:00:00Z",
        "--json",
    ]);
    let stats = stats.ends(0).json();
    let text = stats.to_string();
    assert!(text.contains("2024-07-01T10:00:00Z") && text.contains("2024-10-27T00:30:00Z"), "{text}");
    let wrong = place.feed(["ingest", "--time-zone", "Mars/Olympus", "-"], b"").ends(2);
    assert!(wrong.stderr.contains("is no time zone"), "{}", wrong.stderr);
}

/// A datagram of NetFlow 9: header, then sets.
fn netflow(sent: u32, sequence: u32, sets: &[&[u8]]) -> Vec<u8> {
    let words = [100_000, sent, sequence, 1];
    let words = words.iter().flat_map(|word: &u32| word.to_be_bytes());
    [0, 9, 0, 1].into_iter().chain(words).chain(sets.concat()).collect()
}

#[test]
fn flow_exports_are_taken_in_from_files() {
    let place = Place::new();
    let sent = now().unix();
    // Addresses and the uptime at the first packet, two seconds before the datagram was sent.
    let template: &[u8] = &[0, 0, 0, 20, 1, 0, 0, 3, 0, 8, 0, 4, 0, 12, 0, 4, 0, 22, 0, 4];
    let flow: &[u8] = &[1, 0, 0, 16, 10, 1, 2, 3, 198, 51, 100, 20, 0, 1, 0x7e, 0xd0];
    let unknown: &[u8] = &[1, 9, 0, 8, 1, 2, 3, 4];
    let capture =
        [netflow(sent, 0, &[flow]), netflow(sent, 1, &[template, unknown]), netflow(sent, 5, &[flow])]
            .concat();
    let path = place.write("flows.dat", &capture);
    let path = path.to_str().expect("UTF-8");
    let taken = place.run(["ingest", "--json", path]).ends(0);
    assert!(taken.stderr.contains("0 flow records and 3 datagrams are missing here"), "{}", taken.stderr);
    assert!(taken.stderr.contains("have the exporter send its templates more often"), "{}", taken.stderr);
    let counts = taken.json();
    assert_eq!((&counts["lines"], &counts["sighted"]), (&json!(4), &json!(2)), "{counts}");
    assert_eq!(counts["refused"], json!({ "no_template": 1 }));
    let stats = place.run(["stats", "198.51.100.20", "--json"]).ends(0).json().to_string();
    assert!(stats.contains("\"organizationPrevalence\":1"), "{stats}");
    let explained = place.run(["ingest", "--explain", "--json", path]).ends(0).json();
    assert_eq!(
        (&explained[0]["format"], &explained[0]["records"][1]["became"]),
        (&json!("netflow"), &json!("sighted"))
    );
    // Cut in the middle: what was whole counts, the rest is refused.
    let cut = place.feed(["ingest", "--json", "-"], &capture[..capture.len() - 3]).ends(0).json();
    assert_eq!(cut["refused"], json!({ "no_template": 1, "truncated": 1 }), "{cut}");
}

#[test]
fn parquet_is_read_from_files_alone() {
    let place = Place::new();
    // What a file that was cut leaves, and what comes through a pipe, are refused once and say what to do.
    let cut = place.write("cut.parquet", b"PAR1 and something, but not its end");
    let cut = place.run(["ingest", "--json", cut.to_str().expect("UTF-8")]).ends(4);
    assert!(cut.stderr.contains("does not end as one"), "{}", cut.stderr);
    assert_eq!(cut.json()["refused"], json!({ "damaged_parquet": 1 }));
    let piped = place.feed(["ingest", "--json", "-"], b"PAR1 and anything").ends(4);
    assert!(piped.stderr.contains("give the file itself"), "{}", piped.stderr);
    assert_eq!(piped.json()["refused"], json!({ "parquet_needs_file": 1 }));
    let gzipped = place.write("rows.parquet.gz", gzip(b"PAR1 and anything"));
    let gzipped = place.run(["ingest", "--json", gzipped.to_str().expect("UTF-8")]).ends(4);
    assert_eq!(gzipped.json()["refused"], json!({ "parquet_needs_file": 1 }));
    // Rows of VPC flow logs, as a data lake keeps them.
    let sound = place.write("flows.parquet", vpc_parquet(now().unix()));
    let sound = sound.to_str().expect("UTF-8");
    let taken = place.run(["ingest", "--json", sound]).ends(0).json();
    assert_eq!((&taken["lines"], &taken["sighted"]), (&json!(2), &json!(1)), "{taken}");
    assert_eq!(taken["ignored"], json!({ "failed": 1 }));
    place.run(["stats", "198.51.100.20"]).ends(0);
    let explained = place.run(["ingest", "--explain", "--json", sound]).ends(0).json();
    assert_eq!(
        (&explained[0]["format"], &explained[0]["records"][0]["became"]),
        (&json!("aws-vpc"), &json!("sighted"))
    );
}

/// A Parquet file of two flows to one address, the second of which was rejected.
pub(crate) fn vpc_parquet(start: u32) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;

    let schema = "message flows { REQUIRED BYTE_ARRAY interface_id (UTF8); REQUIRED BYTE_ARRAY srcaddr (UTF8);
        REQUIRED BYTE_ARRAY dstaddr (UTF8); REQUIRED BYTE_ARRAY action (UTF8); REQUIRED INT64 srcport; REQUIRED INT64 dstport;
        REQUIRED INT64 start; }";
    let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).expect("a schema"));
    let mut file =
        SerializedFileWriter::new(Vec::new(), schema, std::sync::Arc::default()).expect("a writer");
    let mut group = file.next_row_group().expect("a row group");
    for texts in [["eni-1"; 2], ["10.1.2.3"; 2], ["198.51.100.20"; 2], ["ACCEPT", "REJECT"]] {
        let mut column = group.next_column().expect("a column").expect("one for each");
        let texts = texts.map(ByteArray::from);
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).expect("written");
        column.close().expect("written");
    }
    for number in [50_001, 443, i64::from(start)] {
        let mut column = group.next_column().expect("a column").expect("one for each");
        column.typed::<Int64Type>().write_batch(&[number; 2], None, None).expect("written");
        column.close().expect("written");
    }
    group.close().expect("written");
    file.into_inner().expect("written")
}
