//! Flow exports, datagram by datagram: what each version says, templates of each exporter, what comes before its template, times in
//! every unit, loss, damage, and bounds that hold whatever is sent. The datagrams are made of small descriptions (`support/datagram.rs`);
//! the samples of `testdata/netflow` are made here too. Nothing of a real network is in them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use proptest::prelude::*;
use seenby_formats::{Flows, Format, Settings, Wanted};

#[path = "support/datagram.rs"]
mod datagram;
mod support;

use datagram::{SENT, ipfix, options, set, template, v5, v9};
use support::{Recorder, open, read_pieces};

const OURS: [u8; 4] = [10, 1, 2, 3];
const THEIRS: [u8; 4] = [198, 51, 100, 20];
const OURS_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
const THEIRS_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
const TCP: u8 = 6;

/// From, to, protocol, uptime at the first packet.
const PLAIN: [(u16, u16); 4] = [(8, 4), (12, 4), (4, 1), (22, 4)];

fn exporter(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// Every call for datagrams of one exporter, and what still waits at the end.
fn read(datagrams: &[Vec<u8>]) -> Vec<String> {
    read_of(&datagrams.iter().map(|datagram| (exporter(2055), datagram.clone())).collect::<Vec<_>>()).0
}

fn read_of(datagrams: &[(SocketAddr, Vec<u8>)]) -> (Vec<String>, Flows) {
    let (mut flows, mut recorder) = (Flows::new(), Recorder::default());
    for (exporter, datagram) in datagrams {
        flows.datagram(*exporter, datagram, &Settings::default(), &mut recorder);
    }
    flows.finish(&mut recorder);
    (recorder.calls, flows)
}

/// A flow of ours to theirs under `PLAIN`.
fn plain(uptime: u32) -> Vec<u8> {
    [&OURS[..], &THEIRS, &[TCP], &uptime.to_be_bytes()].concat()
}

const OPENED: &str = "opened 2031-03-04T10:01:00Z 198.51.100.20 by address=\"10.1.2.3\"";

#[test]
fn netflow_5() {
    let records = [
        (OURS, THEIRS, TCP, 98_000),
        (THEIRS, OURS, TCP, 98_000),
        (OURS, THEIRS, 1, 98_000),
        (OURS, [224, 0, 0, 251], 17, 98_000),
    ];
    let calls = read(&[v5(100_000, 0, &records)]);
    let told = ", told at 2031-03-04T10:01:00Z by address=\"10.1.2.3\"";
    assert_eq!(
        calls,
        [
            format!("line 1: {OPENED}"),
            "line 2: ignored not_local".to_owned(),
            format!("line 3: ignored icmp{told}"),
            format!("line 4: ignored special{told}"),
        ]
    );
}

/// When a flow of NetFlow 5 began whose first packet came at this uptime, if the datagram was sent at that one.
#[track_caller]
fn check_uptime(first: u32, sent: u32, began: &str) {
    let calls = read(&[v5(sent, 0, &[(OURS, THEIRS, TCP, first)])]);
    assert_eq!(
        calls,
        [format!("line 1: opened {began} 198.51.100.20 by address=\"10.1.2.3\"")],
        "{first} {sent}"
    );
}

#[test]
fn uptimes_wrap() {
    check_uptime(100_000, 100_000, "2031-03-04T10:01:02Z");
    check_uptime(99_999, 100_000, "2031-03-04T10:01:01Z");
    check_uptime(u32::MAX - 1_000, 999, "2031-03-04T10:01:00Z");
    check_uptime(0, 86_400_000, "2031-03-03T10:01:02Z");
    // A line card whose clock is ahead.
    check_uptime(100_500, 100_000, "2031-03-04T10:01:02Z");
    check_uptime(500, u32::MAX - 499, "2031-03-04T10:01:03Z");
}

/// What one record becomes under a template of addresses, protocol and these fields.
#[track_caller]
fn check(fields: &[(u16, u16, u64)], expected: &str) {
    let all: Vec<(u16, u16)> = [(8, 4), (12, 4), (4, 1)]
        .into_iter()
        .chain(fields.iter().map(|(number, length, _)| (*number, *length)))
        .collect();
    let mut record = [&OURS[..], &THEIRS, &[TCP]].concat();
    for (_, length, value) in fields {
        record.extend_from_slice(&value.to_be_bytes()[8 - usize::from(*length)..]);
    }
    let of_v9 = v9(1, 100_000, 0, &[template(0, 256, &all), set(256, &record)]);
    let of_ipfix = ipfix(1, 0, &[template(2, 256, &all), set(256, &record)]);
    for datagram in [of_v9, of_ipfix] {
        let calls = read(std::slice::from_ref(&datagram));
        assert_eq!(
            calls,
            ["line 1: ignored header".to_owned(), format!("line 2: {expected}")],
            "{fields:?} {datagram:?}"
        );
    }
}

/// So many seconds before 10:01:02.
const BEFORE: u64 = 2;

#[test]
fn starts_in_every_unit() {
    let seconds = u64::from(SENT) - BEFORE;
    let ntp = (seconds + 2_208_988_800) << 32 | 0x8000_0000;
    for field in [
        (150, 4, seconds),
        (152, 8, seconds * 1_000 + 999),
        (154, 8, ntp),
        (156, 8, ntp),
        // Some count since 1970 instead.
        (154, 8, seconds * 1_000_000 + 999_999),
        (156, 8, seconds * 1_000_000_000 + 999_999_999),
        (158, 4, BEFORE * 1_000_000),
        (322, 4, seconds),
        (323, 8, seconds * 1_000),
        (324, 8, ntp),
        (325, 8, ntp),
    ] {
        check(&[field], OPENED);
    }
    // The start is a better word than when it was noted.
    check(&[(323, 8, seconds * 1_000 + 60_000), (152, 8, seconds * 1_000)], OPENED);
    check(&[(152, 8, 0), (150, 4, seconds)], OPENED);
    check(&[(160, 8, (seconds - 98) * 1_000), (22, 4, 98_000)], OPENED);
    check(&[], "refused no_time (flowStart)");
    check(&[(152, 8, u64::MAX)], "refused bad_time (flowStart)");
    check(&[(152, 8, u64::from(u32::MAX) * 1_000_000)], "refused bad_time (flowStart)");
}

#[test]
fn uptimes_of_ipfix_need_the_boot() {
    let boot = (u64::from(SENT) - 100) * 1_000;
    let templates = [template(2, 256, &PLAIN), options(257, &[(149, 4), (160, 8)])];
    let boot = set(257, &[&1u32.to_be_bytes()[..], &boot.to_be_bytes()].concat());
    let calls = read(&[
        ipfix(1, 0, &templates),
        ipfix(1, 0, &[set(256, &plain(98_000))]),
        ipfix(1, 1, &[boot]),
        ipfix(1, 2, &[set(256, &plain(98_000))]),
    ]);
    assert_eq!(
        calls[2..],
        [
            "line 3: refused no_time (flowStart)".to_owned(),
            "line 4: ignored other_event".to_owned(),
            format!("line 5: {OPENED}")
        ]
    );
}

#[test]
fn what_a_record_says_of_itself() {
    let start = (152, 8, (u64::from(SENT) - BEFORE) * 1_000);
    let told = ", told at 2031-03-04T10:01:00Z by address=\"10.1.2.3\"";
    for (field, expected) in [
        ((61, 1, 0), OPENED.to_owned()),
        ((61, 1, 1), OPENED.to_owned()),
        ((231, 8, 0), OPENED.to_owned()),
        ((239, 1, 1), OPENED.to_owned()),
        ((239, 1, 2), "ignored not_local".to_owned()),
        ((239, 1, 3), format!("ignored inbound{told}")),
        ((233, 1, 1), OPENED.to_owned()),
        ((233, 1, 3), format!("ignored failed{told}")),
        ((233, 1, 4), format!("ignored other_event{told}")),
        ((89, 1, 0b0100_0000), OPENED.to_owned()),
        ((89, 1, 0b1000_0001), format!("ignored failed{told}")),
        ((230, 1, 4), OPENED.to_owned()),
        ((230, 1, 13), format!("ignored other_event{told}")),
        // What it is translated to is not who it is, nor whom it called.
        ((225, 4, 0xc633_6401), OPENED.to_owned()),
        ((226, 4, 0xc633_6402), OPENED.to_owned()),
    ] {
        check(&[start, field], &expected);
    }
    // What was observed when a session ended is no start of it; a start that is told beside it is.
    let observed = (323, 8, (u64::from(SENT) - BEFORE) * 1_000);
    for (event, is_end) in [
        ((230, 1, 4), false),
        ((230, 1, 5), true),
        ((230, 1, 7), true),
        ((233, 1, 1), false),
        ((233, 1, 2), true),
    ] {
        let ended = format!("ignored other_event{told}");
        check(&[observed, event], if is_end { &ended } else { OPENED });
        check(&[start, event], OPENED);
    }
}

#[test]
fn ends_that_are_turned_round_or_translated() {
    let start = ((u64::from(SENT) - BEFORE) * 1_000).to_be_bytes();
    // The answer half of a flow that our machine opened behind a gateway: to the gateway's address, translated to the machine's.
    let fields = [(8, 4), (12, 4), (226, 4), (239, 1), (152, 8)];
    let record = [&THEIRS[..], &[192, 0, 2, 99], &OURS, &[2], &start].concat();
    let calls = read(&[ipfix(1, 0, &[template(2, 256, &fields), set(256, &record)])]);
    assert_eq!(calls[1], format!("line 2: {OPENED}"));
    // Room for both kinds of address, one of them unspecified; and only translated ones.
    let both = [(27, 16), (28, 16), (8, 4), (12, 4), (152, 8)];
    let record = [&[0; 32][..], &OURS, &THEIRS, &start].concat();
    let only = [(225, 4), (226, 4), (152, 8)];
    let calls = read(&[ipfix(
        1,
        0,
        &[
            template(2, 256, &both),
            set(256, &record),
            template(2, 257, &only),
            set(257, &[&OURS[..], &THEIRS, &start].concat()),
        ],
    )]);
    assert_eq!((&calls[1], &calls[3]), (&format!("line 2: {OPENED}"), &format!("line 4: {OPENED}")));
    // Counters of an interface are no flows.
    let calls = read(&[ipfix(
        1,
        0,
        &[template(2, 256, &[(10, 4), (152, 8)]), set(256, &[&[0; 4][..], &start].concat())],
    )]);
    assert_eq!(calls[1], "line 2: ignored other_event");
}

#[test]
fn ipv6_enterprise_fields_and_fields_of_their_own_length() {
    let start = ((u64::from(SENT) - BEFORE) * 1_000).to_be_bytes();
    // 82 is an interface's name; 0x8000 marks a field of an enterprise, whose number follows.
    let fields = [(27, 16), (82, u16::MAX), (28, 16), (0x8000 | 8, 4), (0, 9), (152, 8)];
    let mut known = template(2, 256, &fields);
    // The number of the enterprise is four bytes of its own, and not a field.
    known[6..8].copy_from_slice(&5u16.to_be_bytes());
    let long = [&[255, 1, 44][..], &[b'x'; 300]].concat();
    let record = |name: &[u8]| [&OURS_V6[..], name, &THEIRS_V6, &[9; 4], &start].concat();
    let calls = read(&[ipfix(
        1,
        0,
        &[known, set(256, &[record(b"\x04eth0"), record(b"\0"), record(&long)].concat())],
    )]);
    let opened = "opened 2031-03-04T10:01:00Z 2001:db8::5 by address=\"fd00::3\"";
    assert_eq!(calls[1..], [2, 3, 4].map(|line| format!("line {line}: {opened}")));
}

#[test]
fn templates_are_those_of_an_exporter_and_a_domain() {
    let turned = [(12, 4), (8, 4), (4, 1), (22, 4)];
    let turned_record = [&THEIRS[..], &OURS, &[TCP], &98_000u32.to_be_bytes()].concat();
    let (calls, _) = read_of(&[
        (exporter(1), v9(1, 100_000, 0, &[template(0, 256, &PLAIN)])),
        (exporter(2), v9(1, 100_000, 0, &[template(0, 256, &turned)])),
        (exporter(1), v9(2, 100_000, 0, &[template(0, 256, &turned)])),
        (exporter(1), v9(1, 100_000, 1, &[set(256, &plain(98_000))])),
        (exporter(2), v9(1, 100_000, 1, &[set(256, &turned_record)])),
        (exporter(1), v9(2, 100_000, 1, &[set(256, &turned_record)])),
        // Another one under the same number counts from now on.
        (exporter(1), v9(1, 100_000, 2, &[template(0, 256, &turned), set(256, &turned_record)])),
        (exporter(3), v9(1, 100_000, 0, &[set(256, &turned_record)])),
    ]);
    let opened = |line: usize| format!("line {line}: {OPENED}");
    assert_eq!(calls[3..6], [4, 5, 6].map(opened));
    assert_eq!(calls[7..], [opened(8), "line 9: refused no_template".to_owned()]);
}

#[test]
fn what_comes_before_its_template_waits() {
    let sets =
        |uptimes: &[u32]| set(256, &uptimes.iter().flat_map(|uptime| plain(*uptime)).collect::<Vec<u8>>());
    let (mut flows, mut recorder) = (Flows::new(), Recorder::default());
    let mut take = |flows: &mut Flows, datagram: Vec<u8>| {
        flows.datagram(exporter(1), &datagram, &Settings::default(), &mut recorder);
        std::mem::take(&mut recorder.calls)
    };
    assert_eq!(take(&mut flows, v9(1, 100_000, 0, &[sets(&[98_000, 97_000])])), [""; 0]);
    assert_eq!(take(&mut flows, v9(1, 100_000, 1, &[set(300, &plain(98_000))])), [""; 0]);
    assert_eq!(flows.waiting(), 2);
    let calls = take(&mut flows, v9(1, 900_000, 2, &[template(0, 256, &PLAIN)]));
    assert_eq!(calls[0], "line 1: ignored header");
    assert_eq!(calls[1], format!("line 2: {OPENED}"));
    assert!(calls[2].starts_with("line 3: opened 2031-03-04T10:00:59Z"), "{calls:?}");
    assert_eq!(flows.waiting(), 1);
    flows.finish(&mut recorder);
    assert_eq!(recorder.calls, ["line 4: refused no_template"]);
}

#[test]
fn loss_is_told() {
    let flows = |count: usize| vec![(OURS, THEIRS, TCP, 98_000); count];
    let record = set(256, &plain(98_000));
    let (_, state) = read_of(&[
        (exporter(1), v5(100_000, 0, &flows(3))),
        (exporter(1), v5(100_000, 10, &flows(1))),
        (exporter(2), v9(1, 100_000, 7, &[template(0, 256, &PLAIN)])),
        (exporter(2), v9(1, 100_000, 9, std::slice::from_ref(&record))),
        (exporter(3), ipfix(1, 0, &[template(2, 256, &PLAIN), record.clone(), record.clone()])),
        (exporter(3), ipfix(1, 6, std::slice::from_ref(&record))),
        (exporter(3), ipfix(1, 1 << 30, std::slice::from_ref(&record))),
    ]);
    let each = state.lost_of_each();
    let lost = |port| each.get(&exporter(port)).map(|lost| (lost.records, lost.datagrams, lost.restarts));
    assert_eq!((lost(1), lost(2), lost(3)), (Some((7, 0, 0)), Some((0, 1, 0)), Some((4, 0, 1))));
    let all = state.lost();
    assert_eq!((all.records, all.datagrams, all.restarts), (11, 1, 1));
}

#[test]
fn damage_costs_the_set_that_it_is_in() {
    let good = set(256, &plain(98_000));
    let padded = set(256, &[plain(98_000), vec![0; 3]].concat());
    let cut = set(256, &[plain(98_000), plain(98_000)[..9].to_vec()].concat());
    let opened = |line: usize| format!("line {line}: {OPENED}");
    let with = |sets: &[Vec<u8>]| {
        let mut all = vec![template(0, 256, &PLAIN)];
        all.extend_from_slice(sets);
        read(&[v9(1, 100_000, 0, &all)])
    };
    assert_eq!(with(&[padded, good.clone()])[1..], [opened(2), opened(3)]);
    let bad = "line 3: refused bad_datagram".to_owned();
    assert_eq!(with(&[cut, good.clone()])[1..], [opened(2), bad.clone(), opened(4)]);
    assert_eq!(with(&[good.clone(), template(0, 300, &[]), good.clone()])[1..], [opened(2), bad, opened(4)]);
    // A set that nobody knows, and one that ends behind the datagram.
    assert_eq!(
        with(&[set(77, &[1; 8]), good.clone()])[1..],
        ["line 2: ignored other_event".to_owned(), opened(3)]
    );
    let mut short = v9(1, 100_000, 0, &[template(0, 256, &PLAIN), good.clone(), good.clone()]);
    short.truncate(short.len() - 2);
    assert_eq!(read(&[short])[1..], [opened(2), "line 3: refused bad_datagram".to_owned()]);
    let mut behind = ipfix(1, 0, &[template(2, 256, &PLAIN)]);
    behind.extend_from_slice(&[1; 9]);
    assert_eq!(read(&[behind]), ["line 1: ignored header", "line 2: refused bad_datagram"]);
    // A field of no length that the library wants a byte of: all records of the set are counted.
    let odd = [template(0, 400, &[(95, 0), (8, 4)]), set(400, &[0; 14])];
    assert_eq!(with(&odd)[2..], [3, 4, 5].map(|line| format!("line {line}: refused bad_datagram")));
    for nonsense in
        [vec![], vec![0], b"hello, world".to_vec(), vec![0, 5, 0, 31], vec![0, 7, 0, 1], vec![0, 9, 0, 1]]
    {
        assert_eq!(read(std::slice::from_ref(&nonsense)), ["line 1: refused bad_datagram"], "{nonsense:?}");
    }
}

/// Whoever fills memory with templates, exporters and sets that wait is forgotten before it is full.
#[test]
fn memory_is_bounded() {
    let fields: Vec<(u16, u16)> = (0..1_000).map(|at| (1 + at % 60, 1)).collect();
    let (mut flows, mut counter) = (Flows::new(), Counter::default());
    let mut most = 0;
    for at in 0..3_000u32 {
        let id = 256 + (at % 300) as u16;
        let known = template(2, id, &fields);
        let unknown = set(60_000, &[1; 1_400]);
        let datagram = ipfix(at / 40, at, &[known, unknown]);
        flows.datagram(exporter(1), &datagram, &Settings::default(), &mut counter);
        most = most.max(flows.waiting());
    }
    for at in 0..3_000u32 {
        let datagram = v9(at, 1, at, &[set(300, &[1; 8])]);
        flows.datagram(exporter((at % 1_000) as u16), &datagram, &Settings::default(), &mut counter);
        most = most.max(flows.waiting());
    }
    assert!(most <= 4_096, "{most}");
    let shown = format!("{flows:?}").len();
    assert!(shown < 200 << 20, "{shown} bytes of state, written out");
    flows.finish(&mut counter);
    assert_eq!(counter.calls, 3_000 + 3_000 + 3_000, "templates, and two sets that waited");
}

#[derive(Default)]
struct Counter {
    calls: usize,
}

impl seenby_formats::Sink for Counter {
    fn taught(&mut self, _: &seenby_formats::Taught<'_>) {
        self.calls += 1;
    }

    fn opened(&mut self, _: &seenby_formats::Opened<'_>) {
        self.calls += 1;
    }

    fn ignored(&mut self, _: &seenby_formats::Passed<'_>) {
        self.calls += 1;
    }

    fn refused(&mut self, _: seenby_formats::Refusal, _: u64, _: Option<&'static str>) {
        self.calls += 1;
    }
}

/// Some datagrams that know of each other.
fn conversation() -> Vec<Vec<u8>> {
    let start = ((u64::from(SENT) - BEFORE) * 1_000).to_be_bytes();
    let names = [(27, 16), (28, 16), (82, u16::MAX), (152, 8)];
    let named = [&OURS_V6[..], &THEIRS_V6, b"\x04eth0", &start].concat();
    vec![
        v9(1, 100_000, 0, &[set(256, &plain(98_000))]),
        v9(1, 100_000, 1, &[template(0, 256, &PLAIN), set(256, &[plain(98_000), plain(97_000)].concat())]),
        v5(100_000, 0, &[(OURS, THEIRS, TCP, 98_000), (THEIRS, OURS, TCP, 99_000)]),
        ipfix(1, 0, &[template(2, 256, &names), set(256, &[named.clone(), named].concat())]),
        ipfix(1, 2, &[options(257, &[(149, 4), (160, 8)]), set(257, &[1; 12])]),
        v9(1, 100_000, 2, &[set(256, &plain(98_000)), set(999, &[7; 20])]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_panic(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6)) {
        let _ = read(&datagrams);
    }

    #[test]
    fn no_damage_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut datagrams = conversation();
        for (which, place, byte) in changes {
            let datagram = which.get(&datagrams).clone();
            let mut changed = datagram.clone();
            *place.get_mut(&mut changed) = byte;
            datagrams.push(changed);
            datagrams.push(datagram);
        }
        let (calls, _) = read_of(&datagrams.iter().map(|datagram| (exporter(1), datagram.clone())).collect::<Vec<_>>());
        for (number, call) in (1..).zip(&calls) {
            let start = format!("line {number}: ");
            prop_assert!(call.starts_with(&start), "{}", call);
        }
    }

    #[test]
    fn a_file_says_what_its_datagrams_say(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let datagrams = conversation();
        let file = datagrams.concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len())).chain([0, file.len()]).collect();
        places.sort_unstable();
        let opening = open(&file, Wanted::Detect, &Settings::default().columns);
        prop_assert_eq!(opening.format(), Some(Format::NetFlow));
        let pieces = places.windows(2).map(|pair| &file[pair[0]..pair[1]]);
        prop_assert_eq!(read_pieces(opening, &Settings::default(), pieces), read(&datagrams));
    }
}

/// The logs of `testdata/netflow`, so that every test of all formats reads them too.
#[test]
fn the_samples_are_these() {
    let start = ((u64::from(SENT) - BEFORE) * 1_000).to_be_bytes();
    let mut other = v9(1, 100_000, 3, &[set(256, &plain(98_000))]);
    other.truncate(other.len() - 5);
    let events = [(8, 4), (12, 4), (4, 1), (152, 8), (233, 1), (230, 1), (239, 1)];
    let event = |firewall: u8, nat: u8, biflow: u8| {
        [&OURS[..], &THEIRS, &[TCP], &start, &[firewall, nat, biflow]].concat()
    };
    let all_events = [
        event(1, 4, 1),
        event(2, 5, 0),
        event(3, 0, 1),
        event(4, 0, 1),
        event(0, 13, 1),
        event(0, 0, 2),
        event(0, 0, 3),
    ];
    let unrelated = [
        options(257, &[(149, 4), (160, 8)]),
        set(257, &[0, 0, 0, 1, 0, 0, 1, 0x7d, 0x50, 0x36, 0xc2, 0xc0]),
        template(2, 256, &[(10, 4), (2, 8)]),
        set(256, &[0; 24]),
        set(99, &[0; 8]),
    ];
    let samples: [(&str, Vec<Vec<u8>>); 4] = [
        ("basic", conversation()),
        (
            "refused",
            vec![
                v9(1, 100_000, 0, &[set(256, &plain(98_000))]),
                ipfix(1, 0, &[template(2, 256, &[(8, 4), (12, 4)]), set(256, &[1; 8])]),
                v9(2, 100_000, 2, &[template(0, 256, &[(95, 0), (8, 4)]), set(256, &[0; 12])]),
                other,
            ],
        ),
        ("unrelated", vec![ipfix(1, 0, &unrelated)]),
        (
            "edge",
            vec![
                ipfix(7, 0, &[template(2, 300, &events), set(300, &all_events.concat())]),
                v5(5, 0, &[(OURS, THEIRS, TCP, u32::MAX - 1_995)]),
            ],
        ),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/netflow");
    for (name, datagrams) in samples {
        let path = folder.join(name).with_extension("log");
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).expect("the folder can be made");
            fs::write(&path, datagrams.concat()).expect("the sample can be written");
        }
        let known = fs::read(&path).unwrap_or_default();
        assert!(
            known == datagrams.concat(),
            "{} is not what this test makes; BLESS=1 writes it",
            path.display()
        );
    }
}
