//! What holds for every input: where it was cut into pieces changes nothing, nothing panics, every record is told of
//! once, and each kind of damage costs the record it is in and no other.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use seenby_formats::{
    CHUNK_BYTES, Chunk, ColumnMap, Family, Format, Framer, HEAD_BYTES, LINE_BYTES_MAX, Opening, Place,
    Settings, Wanted, decode,
};

mod support;
use support::{Recorder, open, read, read_pieces};

const MDE: &str = r#"{"category":"AdvancedHunting-DeviceNetworkEvents","properties":{"Timestamp":"2031-03-04T10:01:02Z","DeviceId":"aa","ActionType":"ConnectionSuccess","RemoteIP":"198.51.100.20"}}"#;
const SEEN: &str = "opened 2031-03-04T10:01:02Z 198.51.100.20 by agent_id=\"aa\"";

fn logs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let folders = Format::ALL.map(|format| root.join(format.name()));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of samples"));
    let mut logs: Vec<PathBuf> = entries.map(|entry| entry.expect("a listed file").path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs
}

/// Cuts bytes at the given places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Every opening that an input could be given.
fn openings(bytes: &[u8]) -> Vec<Opening> {
    let columns = ColumnMap::default();
    let mut openings: Vec<Opening> =
        Format::ALL.map(|format| open(bytes, Wanted::Exactly(format), &columns)).to_vec();
    openings.extend([Opening::UNRECOGNISED, open(bytes, Wanted::Detect, &columns)]);
    openings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn how_much_is_in_a_chunk_changes_nothing(
        chunk_bytes in prop_oneof![1usize..9, 9usize..2_000],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let settings = Settings::default();
        for log in logs() {
            let bytes = fs::read(&log).expect("the log can be read");
            for opening in openings(&bytes) {
                let whole = read_pieces(opening, &settings, [bytes.as_slice()]);
                let mut framer = Framer::new(opening, &settings.columns).in_chunks_of(chunk_bytes);
                let mut recorder = Recorder::default();
                let mut chunks = Vec::new();
                for piece in pieces(&bytes, &cuts) {
                    framer.push(piece, &mut |chunk| chunks.push(chunk));
                    for chunk in chunks.drain(..) {
                        decode(&chunk, &settings, &mut recorder);
                        framer.recycle(chunk);
                    }
                }
                framer.finish(&mut |chunk| chunks.push(chunk));
                chunks.iter().for_each(|chunk| decode(chunk, &settings, &mut recorder));
                prop_assert_eq!(whole, recorder.calls, "{} as {:?}", log.display(), opening);
            }
        }
    }
}

proptest! {
    // Each case goes through every log as every format.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn where_pieces_are_cut_changes_nothing(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let settings = Settings::default();
        for log in logs() {
            let bytes = fs::read(&log).expect("the log can be read");
            for opening in openings(&bytes) {
                let whole = read_pieces(opening, &settings, [bytes.as_slice()]);
                let parts = read_pieces(opening, &settings, pieces(&bytes, &cuts));
                prop_assert_eq!(whole, parts, "{} as {:?}", log.display(), opening);
            }
        }
    }

    #[test]
    fn it_knows_its_line(
        text in "([{}\\[\\]\":,a \\\\]{0,9}\r?\n?){0,30}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        // Of datagrams the records are counted.
        let of_lines = openings(text.as_bytes()).into_iter().filter(|opening| opening.format() != Some(Format::NetFlow));
        for opening in of_lines {
            let (mut framer, mut pushed) = (Framer::new(opening, &ColumnMap::default()), 0);
            for piece in pieces(text.as_bytes(), &cuts) {
                framer.push(piece, &mut |_| {});
                pushed += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                prop_assert_eq!(framer.line(), 1 + pushed, "{:?}", opening);
            }
        }
    }

    #[test]
    fn what_is_gone_on_with_is_what_would_have_come(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        for log in logs() {
            let bytes = fs::read(&log).expect("the log can be read");
            for opening in openings(&bytes) {
                check_resumed(&bytes, opening, &cuts, &log)?;
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for opening in openings(&bytes) {
            let _ = read_pieces(opening, &Settings::default(), [bytes.as_slice()]);
        }
    }

    #[test]
    fn every_line_is_told_of_once(// An array may hold several records, so no line opens one.
        text in "(([{}\":,a#0\\\\][{}\\[\\]\":,a#0\\t\\\\]{0,11})?\r?\n){0,20}") {
        let lines = text.matches('\n').count();
        let columns = ColumnMap::default();
        let openings = [Format::ZeekTsv, Format::ZeekJson].map(|format| open(b"x", Wanted::Exactly(format), &columns));
        for opening in openings {
            prop_assert_eq!(read_pieces(opening, &Settings::default(), [text.as_bytes()]).len(), lines);
        }
    }

    #[test]
    fn no_damage_panics(
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\n'), Just(b'{'), Just(b']'), any::<u8>()], 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for log in logs() {
            let mut bytes = fs::read(&log).expect("the log can be read");
            let place = at.index(bytes.len());
            bytes.splice(place..(place + 1).min(bytes.len()), with.iter().copied());
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = read(&bytes, &Settings::default());
        }
    }
}

/// Stops wherever a place is told, and goes on from there as somebody else.
fn check_resumed(
    bytes: &[u8],
    opening: Opening,
    cuts: &[prop::sample::Index],
    log: &Path,
) -> Result<(), TestCaseError> {
    let settings = Settings::default();
    let whole = read_pieces(opening, &settings, [bytes]);
    let mut recorder = Recorder::default();
    let mut framer = Framer::new(opening, &settings.columns);
    for piece in pieces(bytes, cuts) {
        framer.push(piece, &mut |chunk| decode(&chunk, &settings, &mut recorder));
        framer.flush(&mut |chunk| decode(&chunk, &settings, &mut recorder));
        let Some(place) = framer.place() else { continue };
        let position = usize::try_from(place.position).expect("short");
        let pushed = usize::try_from(framer.pushed()).expect("short");
        let header = &bytes[usize::try_from(place.header).expect("short")..];
        let before = position.checked_sub(1).map(|at| bytes[at]);
        if let Some(other) = Framer::resume(opening, &settings.columns, place, header, before) {
            framer = other;
            framer.push(&bytes[position..pushed], &mut |chunk| decode(&chunk, &settings, &mut recorder));
        }
    }
    framer.finish(&mut |chunk| decode(&chunk, &settings, &mut recorder));
    prop_assert_eq!(whole, recorder.calls, "{} as {:?}", log.display(), opening);
    Ok(())
}

/// Most inputs can be gone on with from most places: the property above would hold as well if none could.
#[test]
fn places_are_told() {
    let zeek = "#separator \\x09\n#path\tconn\n#fields\tts\tid.orig_h\tid.resp_h\tconn_state\n1930557662.0\t10.0.0.1\t198.51.100.20\tSF\n";
    let csv = "time,device,ip\n1930557662,pc,198.51.100.20\n1930557662,pc,198.51";
    let open_quote = "time,device,ip\n1930557662,pc,198.51.100.20\n1930557662,\"pc\n";
    let twice = format!("{zeek}{zeek}");
    for (format, log, expected) in [
        (Format::Mde, format!("{MDE}\n{MDE}"), Some((MDE.len() + 1, 2, 0))),
        (Format::Csv, csv.to_owned(), Some((43, 3, 0))),
        (Format::Csv, open_quote.to_owned(), Some((43, 3, 0))),
        (Format::ZeekTsv, zeek.to_owned(), Some((zeek.len(), 5, 0))),
        (Format::ZeekTsv, twice.clone(), Some((twice.len(), 9, zeek.len()))),
        (Format::ZeekTsv, format!("{zeek}#close\n"), None),
        (Format::ZeekTsv, format!("{zeek}#fields\tts\n"), None),
        (Format::Mde, format!("[{MDE},\n"), None),
        (
            Format::Mde,
            format!("{MDE}\n{}", "x".repeat(LINE_BYTES_MAX + 2 * CHUNK_BYTES)),
            Some((MDE.len() + 1, 2, 0)),
        ),
    ] {
        for pieces in [log.len(), 7_001, 5] {
            let settings = Settings::default();
            let opening = open(log.as_bytes(), Wanted::Exactly(format), &settings.columns);
            let mut framer = Framer::new(opening, &settings.columns);
            for piece in log.as_bytes().chunks(pieces.max(log.len() / 50)) {
                framer.push(piece, &mut |_| {});
                framer.flush(&mut |_| {});
            }
            let place = framer.place().map(|it| (it.position, it.line, it.header));
            let expected = expected.map(|(at, line, header)| (at as u64, line, header as u64));
            assert_eq!(place, expected, "{format:?} {}", log.get(..200).unwrap_or(&log));
            assert_eq!(framer.pushed(), log.len() as u64);
        }
    }
}

/// An input in UTF-16 is read from its start; its bytes are counted as they came, and half a letter is a part of a record.
#[test]
fn utf16_is_counted_in_its_own_bytes() {
    let settings = Settings::default();
    let text = format!("\u{feff}{MDE}\n{MDE}\n");
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let opening = open(&bytes, Wanted::Detect, &settings.columns);
    let mut recorder = Recorder::default();
    let mut framer = Framer::new(opening, &settings.columns);
    framer.push(&bytes, &mut |chunk| decode(&chunk, &settings, &mut recorder));
    framer.flush(&mut |chunk| decode(&chunk, &settings, &mut recorder));
    assert_eq!(recorder.calls, [format!("line 1: {SEEN}"), format!("line 2: {SEEN}")]);
    assert_eq!((framer.pushed(), framer.line(), framer.place()), (bytes.len() as u64, 3, None));
    framer.push(&[0], &mut |chunk| decode(&chunk, &settings, &mut recorder));
    framer.break_off(&mut |chunk| decode(&chunk, &settings, &mut recorder));
    assert_eq!(recorder.calls.last().map(String::as_str), Some("line 3: refused truncated"));
    let place = Place { position: 4, line: 1, header: 0 };
    assert!(Framer::resume(opening, &settings.columns, place, &bytes, None).is_none());
}

#[test]
fn a_whole_json_text_needs_no_line_end() {
    let settings = Settings::default();
    for (cut, end) in [(0, ""), (0, "\n"), (0, "\r\n"), (1, ""), (17, "\n")] {
        let mut recorder = Recorder::default();
        let opening = open(MDE.as_bytes(), Wanted::Exactly(Format::Mde), &settings.columns);
        let mut framer = Framer::new(opening, &settings.columns);
        let (first, second) = MDE.split_at(MDE.len() - cut);
        let mut take = |framer: &mut Framer, text: &str| {
            framer.push(text.as_bytes(), &mut |chunk| decode(&chunk, &settings, &mut recorder));
            framer.flush_whole(&mut |chunk| decode(&chunk, &settings, &mut recorder));
            recorder.calls.len()
        };
        assert_eq!(take(&mut framer, first), usize::from(cut == 0));
        assert_eq!(take(&mut framer, second), 1);
        let pushed = MDE.len() as u64;
        assert_eq!(framer.place().map(|place| place.position), Some(pushed));
        assert_eq!(take(&mut framer, end), 1, "{end:?} ends the record that was taken");
        assert_eq!(take(&mut framer, &format!("{MDE}\n")), 2);
        framer.finish(&mut |_| panic!("nothing is left"));
    }
}

/// That a log says the same in one piece and in these, if all that is whole is given out after each.
#[track_caller]
fn check_pauses<'a>(bytes: &[u8], pieces: impl Iterator<Item = &'a [u8]>, name: &str) {
    let settings = Settings::default();
    let opening = open(bytes, Wanted::Detect, &settings.columns);
    let whole = read_pieces(opening, &settings, [bytes]);
    let mut recorder = Recorder::default();
    let mut framer = Framer::new(opening, &settings.columns);
    for piece in pieces {
        framer.push(piece, &mut |chunk| decode(&chunk, &settings, &mut recorder));
        framer.flush(&mut |chunk| decode(&chunk, &settings, &mut recorder));
    }
    framer.finish(&mut |chunk| decode(&chunk, &settings, &mut recorder));
    assert_eq!(whole, recorder.calls, "{name}");
}

#[test]
fn byte_by_byte_and_with_pauses() {
    for log in logs() {
        let bytes = fs::read(&log).expect("the log can be read");
        check_pauses(&bytes, bytes.chunks(1), &log.display().to_string());
    }
}

/// What fuzzing found: each log with one pause, anywhere.
#[test]
fn pauses_in_logs_that_were_strung_together() {
    let zeek = "#path\tconn\n#fields\tts\tid.orig_h\tid.resp_h\tconn_state\n1930557662.5\t10.1.2.3\t198.51.100.20\tSF\n";
    let commas = "\u{feff}#separator \\x2c\n#path,conn\n#fields,ts,id.orig_h,id.resp_h,conn_state\n1930557662.5,10.1.2.3,198.51.100.20,SF\n";
    let event = "<Event xmlns='x'><System><Provider Name='Microsoft-Windows-Sysmon'/><EventID>3</EventID></System></Event>\n";
    let lease =
        "lease 10.1.2.3 {\n  starts 2 2031/03/04 10:01:02;\n  hardware ethernet 00:00:5e:00:53:01;\n}\n";
    for (log, name) in [
        (format!("{lease}}}\n"), "a brace too many at the end"),
        (format!("{zeek}{commas}\u{feff}{zeek}"), "a mark before a header that has another separator"),
        (
            format!("{event}lost</Event>lost too</Event> rest\nlost</Event>\n{event}"),
            "two lost events on a line",
        ),
    ] {
        for at in 0..log.len() {
            let (before, behind) = log.as_bytes().split_at(at);
            check_pauses(log.as_bytes(), [before, behind].into_iter(), name);
        }
    }
}

#[test]
fn many_chunks_are_like_one() {
    let lines = 3 * CHUNK_BYTES / MDE.len();
    for (separator, start, end) in [("\r\n", "", ""), (",\n", "{\"records\":[\n", "]}"), (",", "[", "]")] {
        let log = format!("{start}{}{end}", vec![MDE; lines].join(separator));
        let calls = read(log.as_bytes(), &Settings::default());
        assert_eq!(calls.len(), lines);
        assert!(calls.iter().all(|call| call.ends_with(SEEN)), "{:?}", calls.first());
        let last_line = log.matches('\n').count() + 1;
        assert!(calls.last().is_some_and(|call| call.starts_with(&format!("line {last_line}:"))));
    }
}

#[test]
fn chunks_end_between_records_of_every_kind() {
    let settings = Settings::default();
    for log in logs() {
        let bytes = fs::read(&log).expect("the log can be read");
        // Datagrams have no line ends, and where they end is tested with them.
        if log.parent().is_some_and(|folder| folder.ends_with("netflow")) {
            continue;
        }
        // Nor has UTF-16 a line end that is one byte.
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            continue;
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        // Documents end once; all others can be strung together, headers and all.
        if ["document.log", "hunting.log", "cut.log"].iter().any(|name| log.ends_with(name)) {
            continue;
        }
        let many = [text, b"\n"].concat().repeat(2 * CHUNK_BYTES / text.len() + 1);
        let opening = open(&many, Wanted::Detect, &settings.columns);
        let whole = read_pieces(opening, &settings, [many.as_slice()]);
        let parts = read_pieces(opening, &settings, many.chunks(65_537));
        assert!(whole == parts, "{}", log.display());
        assert!(whole.len() > CHUNK_BYTES / 1000, "{}", log.display());
    }
}

#[test]
fn wrappers_do_not_nest() {
    let nested = format!("{{\"records\":[{{\"records\":[{MDE}]}},[{MDE}],{MDE}]}}\n{MDE}\n");
    let expected = [
        "line 1: refused missing_field (ActionType)".to_owned(),
        "line 1: refused bad_json".to_owned(),
        format!("line 1: {SEEN}"),
        format!("line 2: {SEEN}"),
    ];
    assert_eq!(read(nested.as_bytes(), &Settings::default()), expected);
}

#[test]
fn a_huge_line_costs_itself() {
    let settings = Settings::default();
    for format in [Format::Mde, Format::ZeekTsv, Format::Csv] {
        let opening = open(MDE.as_bytes(), Wanted::Exactly(format), &settings.columns);
        let mut recorder = Recorder::default();
        let mut framer = Framer::new(opening, &settings.columns);
        let mut out = |chunk: Chunk| {
            assert!(chunk.len() <= LINE_BYTES_MAX + 2 * CHUNK_BYTES, "the line was kept");
            decode(&chunk, &settings, &mut recorder);
        };
        framer.push(b"time,device,ip\n", &mut out);
        for _ in 0..100 {
            framer.push(&vec![b'x'; 1_000_000], &mut out);
        }
        framer.push(b"\n{}\n", &mut out);
        framer.finish(&mut out);
        assert_eq!(
            recorder.calls.get(1).map(String::as_str),
            Some("line 2: refused line_too_long"),
            "{format:?}"
        );
        assert!(recorder.calls.get(2).is_some_and(|call| call.starts_with("line 3:")), "{format:?}");
        assert_eq!(recorder.calls.len(), 3);
    }
}

#[test]
fn a_huge_element_costs_itself() {
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
    let calls = read(format!("[{MDE},\n{huge},\n{MDE}]").as_bytes(), &Settings::default());
    assert_eq!(
        calls,
        [format!("line 1: {SEEN}"), "line 2: refused line_too_long".into(), format!("line 3: {SEEN}")]
    );
}

#[test]
fn prose_is_refused_line_by_line() {
    let calls = read(b"Lorem ipsum\n\ndolor sit amet", &Settings::default());
    assert_eq!(
        calls,
        ["line 1: refused unrecognised", "line 2: ignored blank", "line 3: refused unrecognised"]
    );
}

#[test]
fn pretty_printed_documents() {
    let pretty = format!("[\n  {{\n    \"broken\": \"x,\n    \"y\": {{\n    }}\n  }},\n  {MDE}\n]\n");
    let calls = read(pretty.as_bytes(), &Settings::default());
    assert_eq!(calls, ["line 2: refused bad_json".to_owned(), format!("line 7: {SEEN}")]);
    let objects = format!("{}\n{}\n", MDE.replace(',', ",\n"), MDE.replace(',', ",\n"));
    let calls = read(objects.as_bytes(), &Settings::default());
    assert_eq!(calls, [format!("line 1: {SEEN}"), format!("line 6: {SEEN}")]);
    let strays = format!("[1, true, {MDE}, \"x\"]\ngarbage\n");
    assert_eq!(read(strays.as_bytes(), &Settings::default()).len(), 5);
}

#[test]
fn the_head_is_enough() {
    let blank = "\n".repeat(HEAD_BYTES - 1000);
    let calls = read(format!("{blank}{MDE}\n").as_bytes(), &Settings::default());
    assert!(calls.last().is_some_and(|call| call.ends_with(SEEN)));
}

/// Every call for an input of which only the first bytes came.
fn read_cut(
    format: Format,
    bytes: &[u8],
    end: impl FnOnce(&mut Framer, &mut dyn FnMut(Chunk)),
) -> Vec<String> {
    let settings = Settings::default();
    let mut recorder = Recorder::default();
    let mut framer = Framer::new(open(bytes, Wanted::Exactly(format), &settings.columns), &settings.columns);
    let mut out = |chunk: Chunk| decode(&chunk, &settings, &mut recorder);
    framer.push(bytes, &mut out);
    end(&mut framer, &mut out);
    recorder.calls
}

#[test]
fn what_is_left_of_a_record_is_none() {
    let csv = "time,device,ip\n1930557662,pc-17,198.51.100.20\n1930557662,pc-17,198.51.100.2";
    let zeek = "#path\tconn\n#fields\tts\tid.orig_h\tconn_state\tid.resp_h\n1930557662.0\t10.0.0.1\tSF\t198.51.100.20\n1930557662.0\t10.0.0.1\tSF\t198.51.100.2";
    let open_quote = "time,device,ip,note\n1930557662,pc-17,198.51.100.20,\"one\ntwo\nthr";
    let lines = format!("{MDE}\n{MDE}");
    let document = format!("[\n{MDE},\n{}", MDE.strip_suffix('}').expect("an object"));
    let stray = format!("[\n{MDE},\n12");
    for (format, log, line) in [
        (Format::Csv, csv, 3),
        (Format::ZeekTsv, zeek, 4),
        (Format::Csv, open_quote, 2),
        (Format::Mde, &lines, 2),
        (Format::Mde, &document, 3),
        (Format::Mde, &stray, 3),
        (Format::Mde, &format!("{MDE}\n{}", "x".repeat(LINE_BYTES_MAX + 2 * CHUNK_BYTES)), 2),
    ] {
        let stopped = read_cut(format, log.as_bytes(), |framer, mut out| framer.stop(&mut out));
        let broken = read_cut(format, log.as_bytes(), |framer, mut out| framer.break_off(&mut out));
        let (last, others) = broken.split_last().expect("the record is told of");
        assert_eq!(last, &format!("line {line}: refused truncated"));
        assert_eq!(others, stopped, "{format:?}");
        let ended = format!("{log}\n");
        let whole = read_cut(format, ended.as_bytes(), |framer, mut out| framer.break_off(&mut out));
        assert!(whole.starts_with(&stopped) && whole.len() > stopped.len(), "{whole:?}");
    }
}

/// Every call for an input of which something is said.
fn read_as(wanted: Wanted, columns: &ColumnMap, bytes: &[u8]) -> Vec<String> {
    let settings = Settings { columns: columns.clone(), ..Settings::default() };
    let opening = open(bytes, wanted, columns);
    let whole = read_pieces(opening, &settings, [bytes]);
    let parts = read_pieces(opening, &settings, bytes.chunks(1_021));
    assert_eq!(whole, parts);
    whole
}

#[test]
fn the_format_may_be_told_late() {
    let default = ColumnMap::default();
    let prose = "Lorem ipsum, dolor sit amet.\n".repeat(HEAD_BYTES / 20);
    let long_json = format!("{{\"x\":\"{}\"}}\n", "x".repeat(2 * HEAD_BYTES));
    let unrelated = format!("{{\n  \"x\": \"{}\"\n}}\n", "x".repeat(100)).repeat(HEAD_BYTES / 50);
    let zeek = "#path\tconn\n#fields\tts\tid.orig_h\tid.resp_h\tconn_state\n1930557662.0\t10.0.0.1\t198.51.100.20\tSF\n";
    let nul = "\0".repeat(100_000);
    for before in
        [&prose, &long_json, &unrelated, &format!("{nul}\n"), &nul, &format!("[2031] INFO x\n{prose}")]
    {
        let is_joined = before.ends_with('\0');
        for (rest, told) in [
            (format!("{MDE}\n{MDE}\n"), 2),
            (format!("{{\"records\":[{MDE},{MDE}]}}\n"), 2),
            ("\u{feff}time;device;ip\n1930557662;pc;198.51.100.20\n".to_owned(), 1),
            (zeek.to_owned(), 1),
            (format!("{{\"x\":1}}\n\n{MDE}"), 1),
        ] {
            if is_joined && !rest.starts_with("{\"category") {
                continue;
            }
            let log = format!("{before}{rest}");
            // A document of unrelated objects goes on as one: text is no part of it.
            if std::ptr::eq(before, &raw const unrelated) && !rest.starts_with('{') {
                continue;
            }
            let calls = read_as(Wanted::Detect, &default, log.as_bytes());
            let opened: Vec<&String> = calls.iter().filter(|call| call.contains(": opened")).collect();
            assert_eq!(opened.len(), told - usize::from(is_joined), "{:?}", calls.last());
            let line = log.trim_end().matches('\n').count() + 1;
            assert!(opened.iter().all(|call| call.contains("198.51.100.20")), "{opened:?}");
            assert!(
                calls.last().is_some_and(|call| call.starts_with(&format!("line {line}: opened"))),
                "{calls:?}"
            );
            let refused = calls.iter().filter(|call| call.ends_with("refused unrecognised")).count();
            let records = if std::ptr::eq(before, &raw const unrelated) { 4 } else { 1 };
            assert!(refused >= before.trim_end().lines().count() / records, "{refused}");
        }
    }
}

#[test]
fn a_long_first_line_costs_itself() {
    let mut log = vec![b'x'; LINE_BYTES_MAX + CHUNK_BYTES];
    log.extend_from_slice(format!("\n{MDE}\n").as_bytes());
    let calls = read(&log, &Settings::default());
    assert_eq!(calls, ["line 1: refused line_too_long".to_owned(), format!("line 2: {SEEN}")]);
    log.splice(..1, *b"{");
    let calls = read(&log, &Settings::default());
    assert_eq!(calls, ["line 1: refused line_too_long".to_owned(), format!("line 2: {SEEN}")]);
}

#[test]
fn a_family_is_recognised_by_its_records() {
    let default = ColumnMap::default();
    let zeek = r#"{"ts":1930557662,"id.orig_h":"10.0.0.1","id.resp_h":"198.51.100.20","conn_state":"SF"}"#;
    let (mde, zeek_family) = (Wanted::Family(Family::Mde), Wanted::Family(Family::Zeek));
    let csv =
        "Timestamp,DeviceId,ActionType,RemoteIP\n2031-03-04T10:01:02Z,aa,ConnectionSuccess,198.51.100.20";
    for (wanted, log) in [
        (mde, format!("tegory\":\"x\"}}\n{MDE}\n")),
        (mde, format!("{zeek}\n{MDE}\n")),
        (zeek_family, format!("\":\"SF\"}}\n{zeek}\n")),
        (zeek_family, format!("{MDE}\n{zeek}\n")),
        (mde, format!("{}\n{csv}\n", "x".repeat(2 * HEAD_BYTES))),
    ] {
        let calls = read_as(wanted, &default, log.as_bytes());
        assert!(calls.first().is_some_and(|call| call.starts_with("line 1: refused")), "{calls:?}");
        assert!(calls.last().is_some_and(|call| call.contains("198.51.100.20")), "{calls:?}");
    }
}

#[test]
fn named_columns_come_first() {
    let columns = ColumnMap {
        time: "@timestamp".to_owned(),
        device: "host.name".to_owned(),
        ip: "destination.ip".to_owned(),
        ..ColumnMap::default()
    };
    let ecs = r#"{"@timestamp":"2031-03-04T10:01:02Z","event":{"code":"3","provider":"Microsoft-Windows-Sysmon"},"host":{"name":"pc"},"destination":{"ip":"198.51.100.20"},"winlog":{"event_id":1}}"#;
    let seen = "line 1: opened 2031-03-04T10:01:02Z 198.51.100.20 by fqdn=\"pc\"";
    assert_eq!(read_as(Wanted::Detect, &columns, ecs.as_bytes()), [seen]);
    let wrapped = format!("{{\"records\":[{ecs}]}}\n");
    assert_eq!(read_as(Wanted::Detect, &columns, wrapped.as_bytes()), [seen]);
    let columns = ColumnMap {
        time: "Timestamp".to_owned(),
        device: "DeviceName".to_owned(),
        ip: "LocalIP".to_owned(),
        ..columns
    };
    let csv = "Timestamp,DeviceName,ActionType,RemoteIP,LocalIP\n2031-03-04T10:01:02Z,pc,x,192.0.2.1,198.51.100.20\n";
    assert_eq!(
        read_as(Wanted::Detect, &columns, csv.as_bytes()).last(),
        Some(&seen.replace("line 1", "line 2"))
    );
    // What lacks them is still what it is.
    assert_eq!(read_as(Wanted::Detect, &columns, MDE.as_bytes()), [format!("line 1: {SEEN}")]);
}

#[test]
fn columns_that_are_missing() {
    let columns = ColumnMap {
        time: "ts".to_owned(),
        ip: "net.dst".to_owned(),
        action: "verdict".to_owned(),
        ..ColumnMap::default()
    };
    for (head, missing) in [
        ("TS;device;x\n1;2;3\n", vec!["net.dst", "verdict"]),
        ("sep=;\nts;device;net.dst;verdict\n", vec![]),
        ("{\"ts\":1}\n{\"net\":{\"dst\":1}}\n", vec!["verdict"]),
        ("{\"records\":[{\"ts\":1,\"verdict\":2}]}", vec!["net.dst"]),
        ("{\"ts\":1", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(seenby_formats::missing_columns(head.as_bytes(), true, &columns), missing, "{head}");
    }
}

#[test]
fn a_damaged_element_on_a_line_costs_itself() {
    for bad in [
        "{\"a\":\"b,\"c\":1}",
        "{\"a\":1]}",
        "{\"a\" 1}",
        "{a\":\"b\"}",
        "{\"a\":1",
        "{\"a\":[{\"b\":\"c}],\"d\":1}",
    ] {
        for (start, end) in
            [("[", "]"), ("{\"records\":[", "],\"x\":1}"), ("{\"Schema\":[{\"a\":1}],\"Results\":[", "]}")]
        {
            let log = format!("{start}{MDE},{bad},{MDE}, {MDE}{end}\n{MDE}\n");
            let document = Wanted::Exactly(Format::Mde);
            for log in [log.clone(), format!("[\n{MDE}\n]\n{log}")] {
                let calls = read_as(document, &ColumnMap::default(), log.as_bytes());
                let refused = calls.iter().filter(|call| call.contains("refused")).count();
                let opened = calls.iter().filter(|call| call.ends_with(SEEN)).count();
                assert_eq!(
                    (opened, refused),
                    (4 + usize::from(log.starts_with("[\n")), 1),
                    "{log}\n{calls:#?}"
                );
            }
        }
    }
}

/// Lines cut before a value, each of which may be the last whole one.
#[test]
fn many_cut_lines_are_read_in_time() {
    let log = format!("[\n{}{MDE}\n]\n", "{\"broken\":\n".repeat(100_000));
    let calls = read_as(Wanted::Exactly(Format::Mde), &ColumnMap::default(), log.as_bytes());
    assert_eq!(calls.len(), 100_001);
    assert_eq!(calls.last(), Some(&format!("line 100002: {SEEN}")));
}

/// A block that lacks its end has another in it: where the log is cut must not decide whose brace is whose.
#[test]
fn a_block_within_a_cut_one() {
    let lease =
        "lease 10.1.2.3 {\n  starts 2 2031/03/04 10:01:02;\n  hardware ethernet 00:00:5e:00:53:01;\n}\n";
    let log = format!(
        "failover peer \"dhcp\" state {{\n  my state normal;\nfailover {{\n  {{\n  }}\n}}\n{lease}}}\n{lease}"
    );
    check_pauses(log.as_bytes(), log.as_bytes().chunks(7), "blocks");
    let marked = format!("{}#fields\tts\n1\n\u{feff}#separ", "#separator \\x09\n");
    check_pauses(marked.as_bytes(), marked.as_bytes().chunks(3), "a mark");
}
