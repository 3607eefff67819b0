//! Input that is damaged, foreign or absurd: every record is counted with a reason and its line, the rest is taken.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Place, Run, ZEEK_HEADER, ZEEK_HEADER_LINES, csv, gzip, mde, now, zeek};

/// Takes a file in and gives the counts and what was said; the counts must add up.
#[track_caller]
fn take_in(place: &Place, name: &str, bytes: impl AsRef<[u8]>, code: i32) -> (Value, String) {
    let path = place.write(name, bytes);
    let run = place.run(["ingest", "--json", path.to_str().expect("UTF-8")]).ends(code);
    (counts(&run), run.stderr)
}

#[track_caller]
fn counts(run: &Run) -> Value {
    let counts = run.json();
    let mut keys: Vec<&String> = counts.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["ignored", "lines", "refused", "seconds", "sighted"]);
    let sum = |key: &str| -> u64 {
        counts[key]
            .as_object()
            .expect("an object")
            .values()
            .map(|count| count.as_u64().expect("a count"))
            .sum()
    };
    let sighted = counts["sighted"].as_u64().expect("a count");
    assert_eq!(counts["lines"].as_u64(), Some(sighted + sum("ignored") + sum("refused")), "{counts}");
    counts
}

/// One bad line between two good ones: the good ones are taken, the bad one is told with its line.
#[track_caller]
fn check_line(bad: &[u8], reason: &str) {
    let place = Place::new();
    let good = |agent: &str| mde(now(), agent, "pc", "198.51.100.20").into_bytes();
    let log = [good("a1"), bad.to_vec(), b"\n".to_vec(), good("a2")].concat();
    let (counts, said) = take_in(&place, "a.json", log, 0);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(2), &json!({ reason: 1 })), "{said}");
    assert!(said.contains("a.json:2: "), "{said}");
    assert_eq!(place.stats("198.51.100.20").0, 2);
}

#[test]
fn one_bad_line_among_good_ones() {
    check_line(b"{\"time\":", "bad_json");
    check_line(b"\0\0\0\0", "bad_json");
    check_line(b"{\"category\":\"AdvancedHunting-DeviceNetworkEvents\",\"properties\":{\"DeviceName\":\"\xff\xfe\"}}", "invalid_utf8");
    check_line(mde(now(), "a3", "pc", "198.51.100.256").trim_end().as_bytes(), "bad_address");
    check_line(mde(now().plus(3_600), "a3", "pc", "198.51.100.20").trim_end().as_bytes(), "in_future");
    let far = mde(now(), "a3", "pc", "198.51.100.20").replace(&now().to_string()[..4], "2099");
    check_line(far.trim_end().as_bytes(), "in_future");
    check_line(mde(now(), "", "", "198.51.100.20").trim_end().as_bytes(), "no_device");
    check_line(mde(now(), "-", "(empty)", "198.51.100.20").trim_end().as_bytes(), "no_device");
    check_line(
        mde(now(), &"x".repeat(300), &"y".repeat(300), "198.51.100.20").trim_end().as_bytes(),
        "bad_device",
    );
}

#[test]
fn times_in_1970_are_too_old() {
    let place = Place::new();
    let old = sighting::Second::new(5);
    let (counts, _) =
        take_in(&place, "conn.log", format!("{ZEEK_HEADER}{}", zeek(old, "10.0.0.1", "198.51.100.20")), 0);
    assert_eq!(counts["ignored"], json!({ "header": ZEEK_HEADER_LINES, "too_old": 1 }));
}

#[test]
fn a_truncated_last_line() {
    let place = Place::new();
    let whole = [mde(now(), "a1", "pc", "198.51.100.20"), mde(now(), "a2", "pc", "198.51.100.20")].concat();
    let (counts, said) = take_in(&place, "a.json", &whole[..whole.len() - 20], 0);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(1), &json!({ "truncated": 1 })));
    assert!(said.contains("a.json:2: "), "{said}");
    let (counts, _) = take_in(&place, "b.json", whole.trim_end(), 0);
    assert_eq!(counts["sighted"], 2, "a whole last line needs no line end");
}

#[test]
fn a_truncated_gzip() {
    let place = Place::new();
    // Lines that do not compress, so that most of them are in the part that is left.
    let lines: Vec<String> = (0..5_000_u64)
        .map(|n| {
            mde(now(), &format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)), "pc", "198.51.100.20")
        })
        .collect();
    let whole = gzip(lines.concat().as_bytes());
    let (counts, said) = take_in(&place, "a.json.gz", &whole[..whole.len() / 2], 0);
    assert_eq!(counts["refused"], json!({ "truncated_gzip": 1 }));
    let sighted = counts["sighted"].as_u64().expect("a count");
    assert!((1_000..5_000).contains(&sighted), "{sighted}");
    assert!(said.contains(&format!("a.json.gz:{}: the compressed file ends", sighted + 1)), "{said}");
    assert_eq!(place.stats("198.51.100.20").0, sighted);
    // Cut between the data and their check sum: nothing is missing, and still it is said.
    let (counts, _) = take_in(&place, "b.json.gz", &whole[..whole.len() - 6], 0);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(5_000), &json!({ "truncated_gzip": 1 })));
    let mut flipped = whole.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 0xff;
    let (counts, _) = take_in(&place, "c.json.gz", flipped, 0);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(5_000), &json!({ "damaged_gzip": 1 })));
    let (counts, _) = take_in(&place, "d.gz", &whole[..5], 4);
    assert_eq!((&counts["lines"], &counts["refused"]), (&json!(1), &json!({ "truncated_gzip": 1 })));
}

/// What is left of an address may be another address.
#[test]
fn a_record_cut_by_a_truncated_gzip_is_no_sighting() {
    let place = Place::new();
    let log = format!(
        "time,device,ip\n{}{}",
        csv(now(), "pc-1", "198.51.100.9"),
        csv(now(), "pc-2", "198.51.100.20")
    );
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(log.as_bytes()).expect("memory");
    let whole = encoder.finish().expect("memory");
    // Behind the data lie 8 bytes of check sum; without their last two bytes the address is 198.51.100.2.
    let (counts, said) = take_in(&place, "a.csv.gz", &whole[..whole.len() - 10], 0);
    assert_eq!(
        (&counts["sighted"], &counts["refused"]),
        (&json!(1), &json!({ "truncated_gzip": 1 })),
        "{said}"
    );
    assert!(said.contains("a.csv.gz:3: "), "{said}");
    assert_eq!((place.stats("198.51.100.2").0, place.stats("198.51.100.9").0), (0, 1));
}

#[test]
fn what_follows_a_gzip() {
    let place = Place::new();
    let whole = gzip(mde(now(), "a1", "pc", "198.51.100.20").as_bytes());
    let (counts, _) = take_in(&place, "padded.gz", [&whole[..], &[0; 600]].concat(), 0);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(1), &json!({})));
    let (counts, said) = take_in(&place, "more.gz", [&whole[..], b"garbage"].concat(), 0);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(1), &json!({ "damaged_gzip": 1 })));
    assert!(said.contains("more.gz:2: ") && said.contains("something else follows"), "{said}");
}

#[test]
fn a_truncated_zstd() {
    let place = Place::new();
    let whole =
        zstd::encode_all(mde(now(), "a1", "pc", "198.51.100.20").repeat(20).as_bytes(), 1).expect("memory");
    let (counts, _) = take_in(&place, "a.zst", &whole[..whole.len() - 10], 4);
    assert_eq!(counts["refused"], json!({ "truncated_zstd": 1 }));
}

#[test]
fn a_zeek_file_without_its_header() {
    let place = Place::new();
    let rows = [zeek(now(), "10.0.0.1", "198.51.100.20"), zeek(now(), "10.0.0.2", "198.51.100.20")].concat();
    let path = place.write("conn.log", rows);
    let run = place.run(["ingest", "--json", "--format", "zeek", path.to_str().expect("UTF-8")]).ends(4);
    assert_eq!(counts(&run)["refused"], json!({ "no_header": 2 }));
    assert!(run.stderr.contains("conn.log: every record (2); line 1: "), "{}", run.stderr);
    place.run(["ingest", path.to_str().expect("UTF-8")]).ends(4);
}

#[test]
fn the_wrong_format_is_refused_line_by_line() {
    let place = Place::new();
    let path = place.write("a.json", mde(now(), "a1", "pc", "198.51.100.20"));
    let run = place.run(["ingest", "--json", "--format", "zeek-tsv", path.to_str().expect("UTF-8")]).ends(4);
    assert_eq!(counts(&run)["sighted"], 0);
    let (counts, said) = take_in(&place, "letter.txt", "Dear Sir,\n\nno log is this.\n", 4);
    assert_eq!(
        (&counts["ignored"], &counts["refused"]),
        (&json!({ "blank": 1 }), &json!({ "unrecognised": 2 }))
    );
    assert!(said.contains("letter.txt: every record"), "{said}");
}

#[test]
fn a_folder_with_other_files() {
    let place = Place::new();
    place.write("logs/conn.log", format!("{ZEEK_HEADER}{}", zeek(now(), "10.0.0.1", "198.51.100.20")));
    place.write("logs/README.md", "# Logs\n");
    place.write("logs/empty.log", "");
    place.write("logs/z.bin", [0x7f, b'E', b'L', b'F', 0, 1, 2, 0xff]);
    let logs = place.root.path().join("logs");
    symlink(&logs, logs.join("loop")).expect("a link");
    let run = place.run(["ingest", "--json", logs.to_str().expect("UTF-8")]).ends(4);
    let counts = counts(&run);
    // What looks like a line that was cut is called so.
    let refused = json!({ "truncated": 1, "unrecognised": 1 });
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(1), &refused), "{}", run.stderr);
    for name in ["README.md: every record", "z.bin: every record"] {
        assert!(run.stderr.contains(name), "{}", run.stderr);
    }
    assert_eq!(place.stats("198.51.100.20").0, 1);
}

#[test]
fn strict_ends_with_4() {
    let place = Place::new();
    let log = [mde(now(), "a1", "pc", "198.51.100.20"), "{\n".to_owned()].concat();
    let path = place.write("a.json", log);
    let path = path.to_str().expect("UTF-8");
    place.run(["ingest", path]).ends(0);
    place.run(["ingest", "--strict", path]).ends(4);
    assert_eq!(place.stats("198.51.100.20").0, 1);
}

#[test]
fn marks_line_ends_and_nulls() {
    let place = Place::new();
    let rows = csv(now(), "pc-1", "198.51.100.20").replace('\n', "\r\n");
    let (counts, _) = take_in(&place, "a.csv", format!("\u{feff}time,device,ip\r\n{rows}\r\n"), 0);
    assert_eq!((&counts["sighted"], &counts["ignored"]), (&json!(1), &json!({ "blank": 1, "header": 1 })));
    let rows =
        [zeek(now(), "-", "198.51.100.20"), zeek(now(), "10.0.0.1", "(empty)"), zeek(now(), "10.0.0.1", "-")];
    let (counts, said) = take_in(&place, "conn.log", format!("{ZEEK_HEADER}{}", rows.concat()), 0);
    let ignored = json!({ "header": ZEEK_HEADER_LINES, "no_remote": 2 });
    assert_eq!((&counts["ignored"], &counts["refused"]), (&ignored, &json!({ "no_device": 1 })));
    assert!(said.contains(&format!("conn.log:{}: ", ZEEK_HEADER_LINES + 1)), "{said}");
}

#[test]
fn a_line_of_100_mb() {
    let place = Place::new();
    let good = |agent: &str| mde(now(), agent, "pc", "198.51.100.20").into_bytes();
    let log = [good("a1"), vec![b'x'; 100 << 20], b"\n".to_vec(), good("a2")].concat();
    let (counts, said) = take_in(&place, "a.json", log, 0);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(2), &json!({ "line_too_long": 1 })));
    assert!(said.contains("a.json:2: "), "{said}");
}

#[test]
fn an_empty_file_is_no_mistake() {
    let place = Place::new();
    let (counts, _) = take_in(&place, "a.json", "", 0);
    assert_eq!(counts["lines"], 0);
    let (counts, _) = take_in(&place, "b.json", "\n\n", 0);
    assert_eq!(counts["ignored"], json!({ "blank": 2 }));
}

#[test]
fn a_wrong_format_or_map_is_not_silent() {
    let place = Place::new();
    let log = mde(now(), "a1", "pc", "198.51.100.20");
    let path = place.write("a.json", &log);
    let path = path.to_str().expect("UTF-8");
    for format in ["ndjson", "sysmon", "zeek-json"] {
        place.run(["ingest", "--format", format, path]).ends(4);
    }
    // Records of the right kind and the wrong event: nothing is refused, and still it is said.
    let event = json!({ "EventID": 1, "SourceName": "Microsoft-Windows-Sysmon", "Hostname": "pc" });
    let (counts, said) = take_in(&place, "b.json", format!("{event}\n\n"), 0);
    assert_eq!(counts["ignored"], json!({ "blank": 1, "other_event": 1 }));
    for part in ["b.json: read as sysmon", "(1)", "--format", "--columns"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn mistyped_columns_are_named() {
    let place = Place::new();
    let log = format!("ts,host,dst,verdict\n{},pc,198.51.100.20,deny\n", now());
    let path = place.write("a.csv", log);
    let path = path.to_str().expect("UTF-8");
    let run = place.run(["ingest", "--columns", "time=ts,device=host,ip=dts", path]).ends(4);
    assert!(run.stderr.contains("a.csv: --columns names dts, which"), "{}", run.stderr);
    let run = place.run(["ingest", "--columns", "time=ts,device=host,ip=dst,action=verdikt", path]).ends(0);
    assert!(run.stderr.contains("a.csv: --columns names verdikt, which"), "{}", run.stderr);
    let sound = ["ingest", "--columns", "time=ts,device=host,ip=dst,action=verdict", path];
    assert!(!place.run(sound).ends(0).stderr.contains("note"));
    let hostile = place.run(["ingest", "--columns", "\u{1b}[31m=x", path]).ends(2);
    assert!(hostile.stderr.contains("\\u{1b}"), "{}", hostile.stderr);
}

#[test]
fn an_ignored_record_of_a_foreign_tenant_is_refused() {
    let place = Place::new();
    let tenants = ["--source-tenants", "00000000-0000-0000-0000-00000000000b"];
    place.run(["init"]).ends(0);
    place.run([&["org", "add", "other"][..], &tenants].concat()).ends(0);
    let tenant = ",\"tenantId\":\"00000000-0000-0000-0000-00000000000b\",\"properties\"";
    let log = mde(now(), "a1", "pc", "198.51.100.20").replace(",\"properties\"", tenant);
    let failed = log.replace("ConnectionSuccess", "ConnectionFailed");
    let ours = mde(now(), "a1", "pc", "198.51.100.20").replace("ConnectionSuccess", "ConnectionFailed");
    let path = place.write("a.json", format!("{ours}{failed}{log}"));
    let run = place.run(["ingest", "--json", "--organisation", "default", path.to_str().expect("UTF-8")]);
    let counts = counts(&run.ends(0));
    assert_eq!(
        (&counts["refused"], &counts["ignored"]),
        (&json!({ "foreign_tenant": 2 }), &json!({ "failed": 1 }))
    );
}

#[test]
fn clocks_that_are_far_apart_are_warned_of() {
    let place = Place::new();
    let event = |utc: sighting::Second, host: &str| {
        let utc = utc.to_string().replace('T', " ").replace('Z', ".123");
        json!({
            "@timestamp": now().to_string(),
            "winlog": {
                "event_id": 3, "provider_name": "Microsoft-Windows-Sysmon", "computer_name": host,
                "event_data": { "UtcTime": utc, "Initiated": "true", "DestinationIp": "198.51.100.20" },
            },
        })
    };
    let log: Vec<String> = [now(), now().minus(7_300), now().minus(8_000)]
        .into_iter()
        .zip(["pc-1", "pc-2", "pc-3"])
        .map(|(utc, host)| format!("{}\n", event(utc, host)))
        .collect();
    let (counts, said) = take_in(&place, "a.json", log.concat(), 0);
    assert_eq!(counts["sighted"], 3);
    assert!(said.contains("warning  ") && said.contains("a.json: 2 records, first on line 2: "), "{said}");
}

#[test]
fn all_too_old_says_what_to_do() {
    let place = Place::new();
    let log = format!("time,device,ip\n{}", csv(now().minus(1_000 * 3_600), "pc", "198.51.100.20"));
    let (counts, said) = take_in(&place, "a.csv", log, 0);
    assert_eq!(counts["ignored"], json!({ "header": 1, "too_old": 1 }));
    for part in ["720 hours", "seenby retention set forever", "seenby init --retention-hours forever"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_format_is_told_by_a_later_record() {
    let place = Place::new();
    let log = format!("{}\n{}", "\0".repeat(100_000), mde(now(), "a1", "pc", "198.51.100.20"));
    let (counts, said) = take_in(&place, "a.json", log, 0);
    assert_eq!(
        (&counts["sighted"], &counts["refused"]),
        (&json!(1), &json!({ "unrecognised": 1 })),
        "{said}"
    );
}

#[test]
fn a_pipe_is_opened_once() {
    let place = Place::new();
    let pipe = place.root.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there").success());
    let log = mde(now(), "a1", "pc", "198.51.100.20");
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, log)
    });
    let run = place.run(["ingest", "--json", pipe.to_str().expect("UTF-8")]).ends(0);
    writer.join().expect("it writes").expect("somebody reads");
    assert_eq!(counts(&run)["sighted"], 1);
}

#[test]
fn links_in_a_folder_are_followed_once() {
    let place = Place::new();
    let elsewhere = place.write("elsewhere/b.json", mde(now(), "b1", "pc", "198.51.100.20"));
    let a = place.write("logs/a.json", mde(now(), "a1", "pc", "198.51.100.20"));
    let logs = place.root.path().join("logs");
    symlink(&a, logs.join("a-again.json")).expect("a link");
    symlink(elsewhere.parent().expect("a folder"), logs.join("folder")).expect("a link");
    symlink(&logs, elsewhere.with_file_name("back")).expect("a link");
    symlink(&elsewhere, logs.join("b-again.json")).expect("a link");
    symlink(place.root.path().join("nothing"), logs.join("broken")).expect("a link");
    symlink(Path::new("/dev/null"), logs.join("device")).expect("a link");
    let _socket = UnixListener::bind(logs.join("socket")).expect("a socket");
    let run = place.run(["ingest", "--json", logs.to_str().expect("UTF-8")]).ends(0);
    assert_eq!((&counts(&run)["lines"], place.stats("198.51.100.20").0), (&json!(2), 2));
    for part in ["broken: it leads to nothing", "device: it is a device", "socket: it is a socket"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    std::fs::remove_file(a).expect("a file");
    for name in ["a-again.json", "folder", "b-again.json"] {
        std::fs::remove_file(logs.join(name)).expect("a link");
    }
    let run = place.run(["ingest", logs.to_str().expect("UTF-8")]).ends(2);
    assert!(run.stderr.contains("there is no file to read in the folder"), "{}", run.stderr);
    assert!(run.stderr.contains("socket: it is a socket"), "{}", run.stderr);
}

/// Waits until a program has said how it takes an interrupt; before, it would just be ended.
fn until_it_listens(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    let deadline = Instant::now() + Duration::from_secs(60);
    let listens = || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
    };
    while !listens() {
        assert!(Instant::now() < deadline, "it never listens to interrupts");
    }
}

/// Feeds a program that is interrupted while its input stays open; its output.
fn interrupted(
    place: &Place,
    arguments: &[&str],
    input: &[u8],
    is_ready: impl Fn() -> bool,
) -> (Value, String) {
    let mut child = place
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input).expect("it reads");
    until_it_listens(&child);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_ready() {
        assert!(Instant::now() < deadline, "what was fed is not seen");
    }
    let id = rustix::process::Pid::from_child(&child);
    // A signal between the handler and whoever waits for it is heard by nobody; a person presses again, too.
    for round in 0..600 {
        if round % 200 == 0 {
            rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
        }
        if child.try_wait().expect("ours").is_some() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("UTF-8");
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{stderr}");
    drop(stdin);
    (serde_json::from_str(&stdout).expect("the counts so far"), stderr)
}

#[test]
fn an_interrupt_ends_an_input_on_which_nothing_comes() {
    let place = Place::new();
    for input in [&b""[..], b"{", b"\x1f\x8b\x08\0\0"] {
        let (counts, said) = interrupted(&place, &["ingest", "--json", "-"], input, || true);
        assert_eq!((&counts["lines"], &counts["refused"]), (&json!(0), &json!({})), "{said}");
        assert!(said.contains("Interrupted"), "{said}");
    }
}

#[test]
fn an_interrupt_leaves_no_cut_record() {
    let place = Place::new();
    let _server = place.serve();
    let log = format!(
        "time,device,ip\n{}{}",
        csv(now(), "pc-1", "198.51.100.9"),
        csv(now(), "pc-2", "198.51.100.20")
    );
    let cut = log.trim_end().strip_suffix('0').expect("the last address");
    let is_seen = || place.stats("198.51.100.9").0 == 1;
    let (counts, said) = interrupted(&place, &["ingest", "--json", "-"], cut.as_bytes(), is_seen);
    assert_eq!((&counts["sighted"], &counts["refused"]), (&json!(1), &json!({})), "{said}");
    assert_eq!(place.stats("198.51.100.2").0, 0);
}

#[test]
fn a_full_disk_ends_with_the_counts_of_what_is_in_the_store() {
    let place = Place::new();
    place.run(["init"]).ends(0);
    let log: Vec<String> = (0..700_000)
        .map(|n| csv(now(), &format!("pc-{n:07}"), &format!("198.51.{}.{}", n / 200 % 200, n % 200)))
        .collect();
    let path = place.write("a.csv", format!("time,device,ip\n{}", log.concat()));
    // One thread makes one batch after another: the first fits, the second does not.
    let settings = place.write("settings.toml", "[ingest]\nthreads = 1\n");
    let settings = settings.to_str().expect("UTF-8");
    // A limit on the length of files stands for a disk that fills up: writes fail, once the signal is not deadly.
    let script = "trap '' XFSZ; ulimit -f 15000; exec \"$0\" \"$@\"";
    let mut command = Command::new("bash");
    let wanted = place.command(["ingest", "--json", "--settings", settings, path.to_str().expect("UTF-8")]);
    command.arg("-c").arg(script).arg(wanted.get_program()).args(wanted.get_args());
    let run = Run::of(command.env("HOME", place.root.path()).current_dir(place.root.path())).ends(3);
    let counts = counts(&run);
    assert!(run.stderr.contains("seenby: "), "{}", run.stderr);
    let sighted = counts["sighted"].as_u64().expect("a count");
    assert!((1..700_000).contains(&sighted), "{counts}: {}", run.stderr);
}
