//! What each command prints and leaves behind.

use serde_json::{Value, json};

use crate::support::{Place, ZEEK_HEADER, csv, mde, now, zeek};

#[test]
fn init_makes_a_folder_once() {
    let place = Place::new();
    let guid = "11111111-2222-4333-8444-555555555555";
    let arguments =
        ["init", "--organisation-name", "Contoso", "--organisation-id", guid, "--retention-hours", "2160"];
    let made = place.run(arguments.iter().chain(&["--json"])).ends(0);
    assert_eq!(made.json(), json!({ "organisation": guid }));
    assert_eq!(place.run(["init", "--json"]).ends(0).json(), made.json(), "it is there");
    place.run(arguments).ends(0);
    let other = place.run(["init", "--retention-hours", "forever"]).ends(2);
    assert!(other.stderr.contains("seenby retention set forever"), "{}", other.stderr);
    let listed = place.run(["org", "list", "--json"]).ends(0).json();
    let expected = json!([
        { "organisation": guid, "name": "Contoso", "retention_hours": 2160, "source_tenants": [], "applications": 0 }
    ]);
    assert_eq!(listed, expected);
}

#[test]
fn the_first_command_makes_a_missing_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.run(["stats", "1.1.1.1"]).ends(1);
    let listed = place.run(["org", "list", "--json"]).ends(0).json();
    assert_eq!((&listed[0]["name"], &listed[0]["retention_hours"]), (&json!("default"), &json!(720)));
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&place.data), 0o700);
    for entry in std::fs::read_dir(&place.data).expect("a folder") {
        let entry = entry.expect("an entry");
        let expected = if entry.file_type().expect("a type").is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expected, "{:?}", entry.path());
    }
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let place = Place::new();
    place.write("data/letter.txt", "dear");
    let run = place.run(["stats", "1.1.1.1"]).ends(3);
    assert!(run.stderr.contains("not a seenby data folder"), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(&place.data).expect("a folder").count(), 1);
}

#[test]
fn the_answer_in_every_form() {
    let place = Place::new();
    let now = now();
    let (first, last) = (now.minus(90_000), now.minus(60));
    let log = [
        mde(last, "a1", "pc-1.example.org", "198.51.100.20"),
        mde(first, "a2", "pc-2.example.org", "198.51.100.20"),
        mde(now.minus(200 * 3_600), "a3", "pc-3.example.org", "198.51.100.99"),
    ];
    let counts = place.ingest("a.json", log.concat());
    assert_eq!((&counts["lines"], &counts["sighted"]), (&json!(3), &json!(3)));

    let body = place.run(["stats", "--json", "198.51.100.20"]).ends(0).stdout;
    let expected = format!(
        "{{\"@odata.context\":\"https://localhost/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats\",\
         \"ipAddress\":\"198.51.100.20\",\"orgPrevalence\":\"2\",\"organizationPrevalence\":2,\
         \"orgFirstSeen\":\"{first}\",\"orgLastSeen\":\"{last}\"}}\n"
    );
    assert_eq!(body, expected);

    let told = place.run(["stats", "hxxp://198[.]51[.]100[.]20/x"]).ends(0).stdout;
    for part in [
        "198.51.100.20: 2 devices of 'default'",
        "720 hours",
        &first.to_string(),
        &last.to_string(),
        "+00:00 here",
    ] {
        assert!(told.contains(part), "{told:?} lacks {part:?}");
    }
    let earlier = now.minus(3_600).to_string();
    let as_of = place.run(["stats", "--json", "198.51.100.20", "--as-of", &earlier]).ends(0).json();
    assert_eq!(
        (&as_of["organizationPrevalence"], &as_of["orgLastSeen"]),
        (&json!(1), &json!(first.to_string()))
    );

    let quiet = place.run(["stats", "198.51.100.99", "--last", "7d"]).ends(1).stdout;
    assert!(quiet.contains("no device") && quiet.contains("look back further"), "{quiet}");
    place.run(["stats", "198.51.100.99", "--last", "9d"]).ends(0);
    let unseen = place.run(["stats", "203.0.113.1"]).ends(1).stdout;
    assert!(unseen.contains("There are data from") && unseen.contains("by mde"), "{unseen}");
    let unseen = place.run(["stats", "--json", "203.0.113.1"]).ends(1).json();
    assert_eq!(unseen["orgPrevalence"], "0");
    assert_eq!((&unseen["organizationPrevalence"], &unseen["orgFirstSeen"]), (&json!(0), &Value::Null));

    let several = place.feed(["stats", "--json", "-"], b"203.0.113.1\n198[.]51[.]100[.]20\n").ends(0).stdout;
    let several: Vec<Value> = several.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let prevalences: Vec<&Value> = several.iter().map(|body| &body["organizationPrevalence"]).collect();
    assert_eq!(prevalences, [0, 2]);
}

#[test]
fn a_zero_without_data_says_so() {
    let place = Place::new();
    let empty = place.run(["stats", "1.1.1.1"]).ends(1).stdout;
    assert!(empty.contains("no data at all") && empty.contains("seenby ingest"), "{empty}");
    let before = place.run(["stats", "1.1.1.1", "--as-of", "2009-11-20T00:00:00Z"]).ends(1).stdout;
    assert!(before.contains("seenby retention show"), "{before}");
    place.ingest(
        "a.csv",
        format!("time,device,ip\n{}", csv(now().minus(100 * 3_600), "pc-1", "198.51.100.20")),
    );
    let silent = place.run(["stats", "1.1.1.1", "--last", "24h"]).ends(1).stdout;
    assert!(silent.contains("no data for that time"), "{silent}");
}

#[test]
fn settings_reach_the_commands() {
    let place = Place::new();
    let elsewhere = place.root.path().join("elsewhere");
    let text = format!("data_dir = {elsewhere:?}\n[api]\nlegacy_prevalence = false\n");
    let path = place.write("s.toml", text);
    let mut command = crate::support::seenby(place.root.path());
    command.args(["stats", "--json", "1.1.1.1"]).env("SEENBY_SETTINGS", path);
    let body = crate::support::Run::of(&mut command).ends(1).json();
    assert!(body.get("orgPrevalence").is_none(), "{body}");
    assert!(elsewhere.is_dir() && !place.data.exists());
}

#[test]
fn organisations_are_separate() {
    let place = Place::new();
    place.run(["org", "add", "Contoso", "--retention-hours", "48", "--json"]).ends(0);
    let log = place.write("a.csv", format!("time,device,ip\n{}", csv(now(), "pc-1", "198.51.100.20")));
    let log = log.to_str().expect("UTF-8");
    place.run(["ingest", "--organisation", "contoso", log]).ends(0);
    place.run(["stats", "198.51.100.20", "--organisation", "Contoso"]).ends(0);
    place.run(["stats", "198.51.100.20", "--organisation", "default"]).ends(1);
    place.run(["org", "rename", "contoso", "Fabrikam"]).ends(0);
    place.run(["app", "add", "x", "--organisation", "Fabrikam", "--permission", "Ip.Read.All"]).ends(0);
    let table = place.run(["org", "list"]).ends(0).stdout;
    assert!(table.contains("Fabrikam") && table.contains("for 48 hours (2 days)"), "{table}");
    place.run(["org", "remove", "Fabrikam", "--yes"]).ends(0);
    let listed = place.run(["org", "list", "--json"]).ends(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    place.run(["stats", "198.51.100.20"]).ends(1);
}

#[test]
fn records_of_another_tenant_are_refused() {
    let place = Place::new();
    let ours = place.run(["init", "--json"]).ends(0).json()["organisation"].clone();
    let theirs = place.run(["org", "add", "Contoso", "--json"]).ends(0).json()["organisation"].clone();
    let line = |tenant: &Value| {
        let line = mde(now(), "a1", "pc-1", "198.51.100.20");
        line.replacen('{', &format!("{{\"tenantId\":{tenant},"), 1)
    };
    let other = json!("99999999-2222-4333-8444-555555555555");
    let log = place.write("a.json", [line(&ours), line(&theirs), line(&other)].concat());
    let run =
        place.run(["ingest", "--json", "--organisation", "default", log.to_str().expect("UTF-8")]).ends(0);
    let counts = run.json();
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(2), &json!({ "foreign_tenant": 1 })));
    assert!(run.stderr.contains("a.json:2: the record is of tenant"), "{}", run.stderr);
}

#[test]
fn retention_asks_before_it_deletes() {
    let place = Place::new();
    let now = now();
    let rows = [csv(now.minus(50 * 3_600), "pc-1", "198.51.100.20"), csv(now, "pc-1", "198.51.100.21")];
    place.ingest("a.csv", format!("time,device,ip\n{}", rows.concat()));
    assert!(place.run(["retention", "show"]).ends(0).stdout.contains("for 720 hours (30 days)"));
    let asked = place.run(["retention", "set", "24"]).ends(5);
    assert!(
        asked.stderr.contains("deletes 1 sighting of 'default'") && asked.stderr.contains("--yes"),
        "{}",
        asked.stderr
    );
    place.run(["stats", "198.51.100.20"]).ends(0);
    let set = place.run(["retention", "set", "24", "--yes", "--json"]).ends(0).json();
    assert_eq!((&set["retention_hours"], &set["deleted"], &set["kept"]), (&json!(24), &json!(1), &json!(1)));
    place.run(["stats", "198.51.100.20"]).ends(1);
    place.run(["stats", "198.51.100.21", "--look-back-hours", "720"]).ends(0);
    // Nothing to delete: nothing to ask.
    let forever = place.run(["retention", "set", "forever", "--json"]).ends(0).json();
    assert_eq!(forever["retention_hours"], Value::Null);
    place.run(["stats", "198.51.100.21", "--look-back-hours", "2147483647"]).ends(0);
}

#[test]
fn applications_and_their_secrets() {
    let place = Place::new();
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let mut keys: Vec<&String> = added.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["client_id", "client_secret", "tenant"]);
    place.run(["app", "add", "SOAR", "--permission", "Ip.Read.All"]).ends(2);
    let rotated = place.run(["app", "rotate", "soar", "--json"]).ends(0).json();
    assert_eq!(rotated["client_id"], added["client_id"]);
    assert_ne!(rotated["client_secret"], added["client_secret"]);
    let listed = place.run(["app", "list", "--json"]).ends(0);
    assert_eq!(listed.json()[0]["secrets"].as_array().map(Vec::len), Some(2));
    for secret in [&added["client_secret"], &rotated["client_secret"]] {
        assert!(!listed.stdout.contains(secret.as_str().expect("a text")));
    }
    place.run(["app", "remove", "soar"]).ends(5);
    let ended = place.run(["app", "rotate", "soar", "--overlap-hours", "0"]).ends(0).stdout;
    assert!(ended.contains("the old one ended now"), "{ended}");
    place.run(["app", "remove", "soar", "--yes"]).ends(0);
    assert_eq!(place.run(["app", "list", "--json"]).ends(0).json(), json!([]));
}

#[test]
fn devices_and_an_operators_word() {
    let place = Place::new();
    let now = now();
    place.ingest("a.json", mde(now, "agent-1", "PC-1.example.org", "198.51.100.20"));
    place.ingest("b.csv", format!("time,device,ip\n{}", csv(now, "laptop-7", "198.51.100.20")));
    assert_eq!(place.stats("198.51.100.20").0, 2);
    let shown = place.run(["device", "show", "pc-1.EXAMPLE.org", "--json"]).ends(0).json();
    assert_eq!((&shown["kind"], &shown["name"]), (&json!("agent_id"), &json!("agent-1")));
    assert_eq!(shown["others"][0]["name"], "pc-1.example.org");
    place.run(["device", "show", "nobody"]).ends(1);
    let asked = place.run(["device", "merge", "laptop-7", "agent-1"]).ends(5).stderr;
    assert!(asked.contains("device split host_name:laptop-7"), "{asked}");
    let number = place.run(["device", "show", "laptop-7", "--json"]).ends(0).json()["number"].to_string();
    for typed in [number.clone(), format!("#{number}")] {
        let shown = place.run(["device", "show", &typed, "--json"]).ends(0).json();
        assert_eq!(shown["name"], "laptop-7", "{typed}");
    }
    let other = place.run(["device", "show", "agent-1", "--json"]).ends(0).json()["number"].to_string();
    place.run(["device", "merge", &number, &other, "--yes"]).ends(0);
    assert_eq!(place.stats("198.51.100.20").0, 1, "for the past too");
    let again = place.run(["device", "merge", "laptop-7", "agent-1", "--yes"]).ends(2);
    assert!(again.stderr.contains("one device already"), "{}", again.stderr);
    let listed = place.run(["device", "list"]).ends(0).stdout;
    assert!(listed.contains("agent-1") && listed.contains("laptop-7"), "{listed}");
    // A short name joins the full one only in a domain that an operator named.
    let rows = [csv(now, "pc-9", "198.51.100.30"), csv(now, "pc-9.corp.example.org", "198.51.100.30")];
    place.ingest("c.csv", format!("time,device,ip\n{}", rows.concat()));
    assert_eq!(place.stats("198.51.100.30").0, 2);
    place.run(["device", "domain", "corp.example.org"]).ends(0);
    assert_eq!(place.stats("198.51.100.30").0, 1);
    place.run(["device", "domain", "none"]).ends(0);
    assert_eq!(place.stats("198.51.100.30").0, 2);
}

#[test]
fn where_logs_may_lie() {
    let place = Place::new();
    let now = now();
    let row = |device: &str| format!("{ZEEK_HEADER}{}", zeek(now, device, "198.51.100.20"));
    place.write("logs/b/conn.log.gz", crate::support::gzip(row("10.0.0.1").as_bytes()));
    place.write("logs/a/conn.log.zst", zstd::encode_all(row("10.0.0.2").as_bytes(), 1).expect("memory"));
    place.write("logs/conn.log", row("10.0.0.3"));
    let members = [
        crate::support::gzip(row("10.0.0.4").as_bytes()),
        crate::support::gzip(zeek(now, "10.0.0.5", "198.51.100.20").as_bytes()),
    ];
    place.write("logs/two-members.gz", members.concat());
    let logs = place.root.path().join("logs");
    let run = place.run(["ingest", "--json", logs.to_str().expect("UTF-8")]).ends(0);
    assert_eq!(run.json()["sighted"], 5);
    place.feed(["ingest", "-"], row("10.0.0.6").as_bytes()).ends(0);
    place.feed(["ingest", "-"], &crate::support::gzip(row("10.0.0.7").as_bytes())).ends(0);
    assert_eq!(place.stats("198.51.100.20").0, 7);
    let table = place.run(["ingest", logs.to_str().expect("UTF-8")]).ends(0).stdout;
    assert!(
        table.contains("sighted") && table.contains("ignored  header") && table.contains("in all"),
        "{table}"
    );
    assert_eq!(place.stats("198.51.100.20").0, 7, "the same data twice changes nothing");
}

#[test]
fn columns_sources_and_networks() {
    let place = Place::new();
    let now = now();
    let log = place.write("a.csv", format!("ts,host,dst\n{}", csv(now, "pc-1", "198.51.100.20")));
    let log = log.to_str().expect("UTF-8");
    let run = place.run(["ingest", "--columns", "time=ts,device=host,ip=dst", "--source", "fire wall", log]);
    run.ends(0);
    assert_eq!(place.stats("198.51.100.20").0, 1);
    assert!(place.run(["stats", "9.9.9.9"]).ends(1).stdout.contains("by fire wall"));
    let log = place.write("conn.log", format!("{ZEEK_HEADER}{}", zeek(now, "147.32.84.165", "127.0.0.1")));
    let log = log.to_str().expect("UTF-8");
    let ignored = |arguments: &[&str]| place.run(arguments).ends(0).json()["ignored"].clone();
    assert_eq!(ignored(&["ingest", "--json", log])["not_local"], 1);
    assert_eq!(ignored(&["ingest", "--json", "--local-networks", "147.32.0.0/16", log])["special"], 1);
    let kept =
        ["ingest", "--json", "--keep-special-remotes", "--local-networks", "10.0.0.0/8,147.32.0.0/16", log];
    assert_eq!(place.run(kept).ends(0).json()["sighted"], 1);
}

#[test]
fn nobody_reading_is_no_error() {
    let place = Place::new();
    place.run(["init"]).ends(0);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut child = place.command(["org", "list"]).stdout(writer).spawn().expect("it starts");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_closed_output_hides_no_answer_and_loses_no_secret() {
    let place = Place::new();
    place.ingest("a.json", mde(now(), "a1", "pc-1", "198.51.100.20"));
    let closed = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = place.command(arguments).stdout(writer).output().expect("it starts");
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    assert_eq!(closed(&["stats", "198.51.100.20"]).0, 0);
    assert_eq!(closed(&["stats", "203.0.113.1"]).0, 1);
    assert_eq!(closed(&["stats", "203.0.113.1", "198.51.100.20"]).0, 0, "by all answers, printed or not");
    for arguments in [&["app", "add", "x"][..], &["app", "rotate", "x"], &["app", "rotate", "x", "--json"]] {
        let (code, stderr) = closed(arguments);
        assert_eq!(code, 3, "{arguments:?}: {stderr}");
        assert!(stderr.contains("is lost") && stderr.contains("seenby app rotate x"), "{stderr}");
    }
    for arguments in [["user", "add", "kim"], ["user", "password", "kim"]] {
        let (code, stderr) = closed(&arguments);
        assert_eq!(code, 3, "{arguments:?}: {stderr}");
        assert!(stderr.contains("is lost") && stderr.contains("seenby user password kim"), "{stderr}");
    }
}

#[test]
fn lists_are_in_the_order_of_names_and_permissions_stand_once() {
    let place = Place::new();
    place.run(["init", "--organisation-name", "m"]).ends(0);
    for name in ["Zeta", "alpha", "Mike", "beta"] {
        place.run(["org", "add", name]).ends(0);
        let twice = ["--permission", "Ip.Read.All", "--permission", "Ip.Read.All", "--organisation", "m"];
        place.run(["app", "add", name].iter().chain(&twice)).ends(0);
    }
    let names = |arguments: &[&str]| -> Vec<String> {
        let json = place.run(arguments).ends(0).json();
        json.as_array()
            .expect("a list")
            .iter()
            .map(|it| it["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(&["org", "list", "--json"]), ["alpha", "beta", "m", "Mike", "Zeta"]);
    assert_eq!(names(&["app", "list", "--json", "--organisation", "m"]), ["alpha", "beta", "Mike", "Zeta"]);
    let listed = place.run(["app", "list", "--json", "--organisation", "m"]).ends(0).json();
    assert_eq!(listed[0]["permissions"], json!(["Ip.Read.All"]));
    let table = place.run(["org", "list"]).ends(0).stdout;
    assert!(table.find("alpha") < table.find("Zeta"), "{table}");
}

#[test]
fn what_first_means_is_said() {
    let place = Place::new();
    let now = now();
    let log =
        [mde(now.minus(200_000), "a1", "pc-1", "198.51.100.20"), mde(now, "a1", "pc-1", "198.51.100.20")];
    place.ingest("a.json", log.concat());
    let path = place.write("s.toml", "[api]\nfirst_seen = 'retention'\n");
    let path = path.to_str().expect("UTF-8");
    let told = place.run(["stats", "198.51.100.20", "--last", "1h", "--settings", path]).ends(0).stdout;
    assert!(
        told.contains(&now.minus(200_000).to_string()) && told.contains("First is of all kept data"),
        "{told}"
    );
    let told = place.run(["stats", "198.51.100.20", "--last", "1h"]).ends(0).stdout;
    assert!(!told.contains("of all kept data"), "{told}");
}
