//! What every format makes of logs written for it: `testdata/<format>/<case>.log` beside `<case>.expected`, one line a
//! call of the sink; a `<case>.zone` names the time zone of its clocks, a `<case>.pan_os` or `<case>.aws_vpc` the fields of a log format of
//! somebody's own, a `<case>.mac_networks` where its sensor sees hardware addresses. All of these logs are synthetic. `BLESS=1` rewrites what is expected; read the difference.

use std::fs;
use std::path::Path;

use seenby_formats::{ColumnMap, FieldOrder, Format, Ignored, Settings, VpcFields};
use sighting::Network;

mod support;

fn check(format: Format, log: &Path) {
    let bytes = fs::read(log).expect("the log can be read");
    // Beside a log of clocks that say no zone lies the name of their zone.
    let zone = fs::read_to_string(log.with_extension("zone")).ok();
    let zone = zone.map(|name| jiff::tz::TimeZone::get(name.trim()).expect("a time zone"));
    let order = fs::read_to_string(log.with_extension("pan_os")).ok();
    let order = order.map(|text| FieldOrder::parse(&text).expect("the fields of a row"));
    let vpc = fs::read_to_string(log.with_extension("aws_vpc")).ok();
    let vpc = vpc.map(|text| VpcFields::parse(&text).expect("the fields of a row"));
    let seen = fs::read_to_string(log.with_extension("mac_networks")).unwrap_or_default();
    let seen = seen.split_whitespace().map(|text| Network::parse(text).expect("a network")).collect();
    let columns = ColumnMap { pan_os: order, aws_vpc: vpc, ..ColumnMap::default() };
    let settings = Settings { time_zone: zone, columns, mac_networks: seen, ..Settings::default() };
    let opening = support::open(&bytes, seenby_formats::Wanted::Detect, &settings.columns);
    assert_eq!(opening.format(), Some(format), "{}", log.display());
    let got = support::read(&bytes, &settings).join("\n") + "\n";
    let expected = log.with_extension("expected");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&expected, &got).expect("the expectation can be written");
    }
    let known = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(got, known, "{}", log.display());
}

#[test]
fn every_log_gives_the_expected_calls() {
    for format in Format::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format.name());
        for case in ["basic", "refused", "unrelated", "edge"] {
            assert!(folder.join(case).with_extension("log").exists(), "{} has no {case}.log", format.name());
        }
        for entry in fs::read_dir(&folder).expect("every format has samples") {
            let path = entry.expect("a listed file").path();
            if path.extension().is_some_and(|extension| extension == "log") {
                check(format, &path);
            }
        }
    }
}

/// Where a format names its fields, those that decide are among them.
#[test]
fn what_decides_is_a_field_of_the_format() {
    // Tuples, rows without a header, datagrams and lines of words name nothing.
    let unnamed = [
        Format::AzureFlow,
        Format::PanOs,
        Format::NetFlow,
        Format::Conntrack,
        Format::IscDhcpd,
        Format::Ndjson,
        Format::Csv,
    ];
    let mut lacks = Vec::new();
    for format in Format::ALL.into_iter().filter(|format| !unnamed.contains(format)) {
        let text = logs_of(format);
        for why in Ignored::ALL {
            let Some(fields) = format.decided_by(why) else { continue };
            // Nested in an object, its own name is what the text has; in columns of Parquet no name has a hyphen.
            let has = |field: &str| {
                let name = field.rsplit('.').next().unwrap_or(field);
                text.contains(name) || text.contains(&name.replace('-', "_"))
            };
            let unknown = fields.split(", ").filter(|field| !has(field));
            lacks.extend(unknown.map(|field| format!("{}, {}: {field}", format.name(), why.code())));
        }
    }
    assert!(lacks.is_empty(), "no sample has {lacks:#?}");
}

/// All samples of a format, as one text.
fn logs_of(format: Format) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format.name());
    let paths = fs::read_dir(&folder).expect("samples").map(|entry| entry.expect("a file").path());
    let logs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|log| String::from_utf8_lossy(&fs::read(log).expect("a log")).into_owned()).collect()
}

/// A list of merged devices is taken up to a bound, and the record says that there were more.
#[test]
fn of_very_many_merged_devices_the_first_are_taken() {
    for (count, taken, warned) in [(256, 256, 0), (257, 256, 1), (5_000, 256, 1)] {
        let ids: Vec<String> = (0..count).map(|number| format!("\\\"m{number}\\\"")).collect();
        let record = format!(
            "{{\"category\":\"AdvancedHunting-DeviceInfo\",\"properties\":{{\"Timestamp\":\"2031-03-04T10:01:02Z\",\
             \"DeviceId\":\"aa11\",\"MergedDeviceIds\":\"[{}]\"}}}}\n",
            ids.join(",")
        );
        let calls = support::read(record.as_bytes(), &Settings::default());
        let (told, others): (Vec<&String>, Vec<&String>) =
            calls.iter().partition(|call| call.contains("taught"));
        assert_eq!((told.len(), told[0].matches("\"m").count()), (1, taken), "{count}");
        assert_eq!(others, vec!["line 1: warned ManyMerged"; warned], "{count}");
    }
}
