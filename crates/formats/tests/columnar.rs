//! Parquet files, written here: rows say what the same records say as text, also compressed in each way; damage is an error that comes
//! behind the rows before it, and never a panic; sizes that no file has are refused before anything is read.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use seenby_formats::{ColumnMap, Columnar, Format, LINE_BYTES_MAX, Settings, Wanted, decode};

mod support;
use support::{Recorder, read};

/// The values of one column, in the order of the rows.
#[derive(Clone)]
enum Values {
    Text(Vec<Option<&'static str>>),
    Int(Vec<Option<i32>>),
    Long(Vec<Option<i64>>),
}

/// A file of these columns, each row group with all of the rows.
fn write(schema: &str, columns: &[Values], groups: usize, compression: Compression) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, properties).expect("a writer");
    for _ in 0..groups {
        let mut group = file.next_row_group().expect("a row group");
        for values in columns {
            let mut column = group.next_column().expect("a column").expect("one for each");
            put(column.untyped(), values);
            column.close().expect("written");
        }
        group.close().expect("written");
    }
    file.into_inner().expect("written")
}

fn put(column: &mut ColumnWriter<'_>, values: &Values) {
    fn levels<T>(values: &[Option<T>]) -> Vec<i16> {
        values.iter().map(|value| i16::from(value.is_some())).collect()
    }
    let written = match (column, values) {
        (ColumnWriter::ByteArrayColumnWriter(column), Values::Text(values)) => {
            let texts: Vec<ByteArray> = values.iter().flatten().map(|text| ByteArray::from(*text)).collect();
            column.write_batch(&texts, Some(&levels(values)), None)
        }
        (ColumnWriter::Int32ColumnWriter(column), Values::Int(values)) => column.write_batch(
            &values.iter().copied().flatten().collect::<Vec<_>>(),
            Some(&levels(values)),
            None,
        ),
        (ColumnWriter::Int64ColumnWriter(column), Values::Long(values)) => column.write_batch(
            &values.iter().copied().flatten().collect::<Vec<_>>(),
            Some(&levels(values)),
            None,
        ),
        _ => panic!("the schema is another one"),
    };
    written.expect("written");
}

const VPC_SCHEMA: &str = "message flows {
    OPTIONAL INT32 version; OPTIONAL BYTE_ARRAY interface_id (UTF8); OPTIONAL BYTE_ARRAY srcaddr (UTF8);
    OPTIONAL BYTE_ARRAY dstaddr (UTF8); OPTIONAL INT32 srcport; OPTIONAL INT32 dstport; OPTIONAL INT32 protocol;
    OPTIONAL INT64 start; OPTIONAL BYTE_ARRAY action (UTF8); OPTIONAL BYTE_ARRAY log_status (UTF8);
}";

/// 2031-03-04T10:01:02Z.
const SECOND: i64 = 1_930_384_862;

fn vpc() -> Vec<Values> {
    vec![
        Values::Int(vec![Some(2), Some(2), Some(2), Some(2)]),
        Values::Text(vec![Some("eni-1"), Some("eni-1"), Some("eni-1"), Some("eni-1")]),
        Values::Text(vec![Some("10.1.2.3"), Some("198.51.100.20"), None, Some("10.1.2.3")]),
        Values::Text(vec![Some("198.51.100.20"), Some("10.1.2.3"), None, Some("198.51.100.999")]),
        Values::Int(vec![Some(50_001), Some(443), None, Some(50_001)]),
        Values::Int(vec![Some(443), Some(50_001), None, Some(443)]),
        Values::Int(vec![Some(6), Some(6), None, Some(6)]),
        Values::Long(vec![Some(SECOND), Some(SECOND), Some(SECOND), Some(SECOND)]),
        Values::Text(vec![Some("ACCEPT"), Some("ACCEPT"), None, Some("ACCEPT")]),
        Values::Text(vec![Some("OK"), Some("OK"), Some("NODATA"), Some("OK")]),
    ]
}

/// The same as text.
const VPC_TEXT: &str = "version interface-id srcaddr dstaddr srcport dstport protocol start action log-status
2 eni-1 10.1.2.3 198.51.100.20 50001 443 6 1930384862 ACCEPT OK
2 eni-1 198.51.100.20 10.1.2.3 443 50001 6 1930384862 ACCEPT OK
2 eni-1 - - - - - 1930384862 - NODATA
2 eni-1 10.1.2.3 198.51.100.999 50001 443 6 1930384862 ACCEPT OK
";

const OCSF_SCHEMA: &str = "message events {
    OPTIONAL INT32 class_uid; OPTIONAL INT32 category_uid; OPTIONAL INT32 activity_id; OPTIONAL INT64 time (TIMESTAMP_MILLIS);
    REQUIRED group src_endpoint { OPTIONAL BYTE_ARRAY ip (UTF8); OPTIONAL BYTE_ARRAY hostname (UTF8); }
    REQUIRED group dst_endpoint { OPTIONAL BYTE_ARRAY ip (UTF8); OPTIONAL INT32 port; }
    REQUIRED group connection_info { OPTIONAL INT32 direction_id; }
}";

fn ocsf() -> Vec<Values> {
    vec![
        Values::Int(vec![Some(4001), Some(4001), Some(4003)]),
        Values::Int(vec![Some(4), Some(4), Some(4)]),
        Values::Int(vec![Some(1), Some(5), Some(1)]),
        Values::Long(vec![Some(SECOND * 1_000); 3]),
        Values::Text(vec![Some("10.1.2.3"), Some("10.1.2.3"), Some("10.1.2.3")]),
        Values::Text(vec![Some("pc-\"17\"\n"), None, None]),
        Values::Text(vec![Some("198.51.100.20"), Some("198.51.100.20"), None]),
        Values::Int(vec![Some(443), Some(443), None]),
        Values::Int(vec![Some(2), Some(2), Some(2)]),
    ]
}

/// How a file ended: in damage, at which row, and why.
type Ended = Result<(), (u64, String)>;

/// Every call for a file, as what it was read, and how it ended.
fn calls(file: Vec<u8>, wanted: Wanted) -> (Vec<String>, Option<Format>, Ended) {
    let (settings, mut recorder) = (Settings::default(), Recorder::default());
    let mut rows = match Columnar::open(Bytes::from(file), wanted, &ColumnMap::default()) {
        Ok(rows) => rows,
        Err(damage) => return (Vec::new(), None, Err((1, damage.to_string()))),
    };
    while let Some(chunk) = rows.next_chunk() {
        match chunk {
            Ok(chunk) => decode(&chunk, &settings, &mut recorder),
            Err(damage) => {
                return (recorder.calls, rows.format(), Err((rows.next_row(), damage.to_string())));
            }
        }
    }
    (recorder.calls, rows.format(), Ok(()))
}

#[test]
fn rows_of_vpc_flow_logs_say_what_they_say_as_text() {
    let text: Vec<String> = read(VPC_TEXT.as_bytes(), &Settings::default())[1..].to_vec();
    assert!(text[0].contains(": opened 2031-03-04T10:01:02Z 198.51.100.20"), "{text:?}");
    for compression in compressions() {
        let (calls, format, ended) = calls(write(VPC_SCHEMA, &vpc(), 1, compression), Wanted::Detect);
        assert_eq!((format, ended), (Some(Format::AwsVpc), Ok(())), "{compression:?}");
        assert_eq!(calls, renumbered(&text, 1), "{compression:?}");
    }
}

/// Lines of text without their header are rows.
fn renumbered(calls: &[String], less: usize) -> Vec<String> {
    let renumber = |call: &String| {
        let (line, rest) = call.strip_prefix("line ").and_then(|rest| rest.split_once(':')).expect("a line");
        format!("line {}:{rest}", line.parse::<usize>().expect("a number") - less)
    };
    calls.iter().map(renumber).collect()
}

#[test]
fn rows_of_ocsf_say_what_they_say_as_json() {
    let json = "\
{\"class_uid\":4001,\"category_uid\":4,\"activity_id\":1,\"time\":1930384862000,\"src_endpoint\":{\"ip\":\"10.1.2.3\",\
\"hostname\":\"pc-\\\"17\\\"\\n\"},\"dst_endpoint\":{\"ip\":\"198.51.100.20\",\"port\":443},\"connection_info\":{\"direction_id\":2}}
{\"class_uid\":4001,\"category_uid\":4,\"activity_id\":5,\"time\":1930384862000,\"src_endpoint\":{\"ip\":\"10.1.2.3\"},\
\"dst_endpoint\":{\"ip\":\"198.51.100.20\",\"port\":443},\"connection_info\":{\"direction_id\":2}}
{\"class_uid\":4003,\"category_uid\":4,\"activity_id\":1,\"time\":1930384862000,\"src_endpoint\":{\"ip\":\"10.1.2.3\"}}
";
    let text = read(json.as_bytes(), &Settings::default());
    assert!(text[0].contains(": opened 2031-03-04T10:01:02Z 198.51.100.20"), "{text:?}");
    for compression in compressions() {
        let (calls, format, ended) = calls(write(OCSF_SCHEMA, &ocsf(), 1, compression), Wanted::Detect);
        assert_eq!((format, ended), (Some(Format::Ocsf), Ok(())), "{compression:?}");
        assert_eq!(calls, text, "{compression:?}");
    }
}

#[test]
fn any_records_will_do_and_what_is_none_is_refused() {
    let schema = "message any { OPTIONAL INT64 time (TIMESTAMP_MICROS); OPTIONAL BYTE_ARRAY device (UTF8); OPTIONAL BYTE_ARRAY ip; }";
    let columns = [
        Values::Long(vec![Some(SECOND * 1_000_000)]),
        Values::Text(vec![Some("pc-17")]),
        Values::Text(vec![Some("198.51.100.20")]),
    ];
    let file = write(schema, &columns, 2, Compression::SNAPPY);
    let opened = |line| format!("line {line}: opened 2031-03-04T10:01:02Z 198.51.100.20 by fqdn=\"pc-17\"");
    assert_eq!(
        calls(file.clone(), Wanted::Detect),
        (vec![opened(1), opened(2)], Some(Format::Ndjson), Ok(()))
    );
    let (refused, _, ended) = calls(file, Wanted::Exactly(Format::ZeekJson));
    assert!(
        ended.is_ok() && refused.len() == 2 && refused.iter().all(|call| call.contains("refused")),
        "{refused:?}"
    );
    let columns = [Values::Long(vec![Some(1)])];
    let (calls, format, _) =
        calls(write("message x { OPTIONAL INT64 x; }", &columns, 1, Compression::SNAPPY), Wanted::Detect);
    assert_eq!((calls, format), (vec!["line 1: refused unrecognised".to_owned()], None));
}

#[test]
fn many_rows_come_in_several_chunks() {
    let repeat = |values: &Values| match values {
        Values::Text(values) => Values::Text(values.repeat(5_000)),
        Values::Int(values) => Values::Int(values.repeat(5_000)),
        Values::Long(values) => Values::Long(values.repeat(5_000)),
    };
    let columns: Vec<Values> = vpc().iter().map(repeat).collect();
    let file = write(VPC_SCHEMA, &columns, 2, Compression::SNAPPY);
    let mut rows =
        Columnar::open(Bytes::from(file.clone()), Wanted::Detect, &ColumnMap::default()).expect("sound");
    assert_eq!(rows.rows(), 40_000);
    let mut chunks = 0;
    while let Some(chunk) = rows.next_chunk() {
        assert!(chunk.expect("sound").len() < 2 << 20);
        chunks += 1;
    }
    assert!(chunks > 1);
    let (calls, _, _) = calls(file, Wanted::Detect);
    assert_eq!(calls.len(), 40_000);
    assert!(calls[39_996].starts_with("line 39997: opened"), "{}", calls[39_996]);
}

#[track_caller]
fn check_damage(file: Vec<u8>, says: &str) {
    let (_, _, ended) = calls(file, Wanted::Detect);
    let (_, said) = ended.expect_err("it is damaged");
    assert!(said.contains(says), "{said:?} lacks {says:?}");
}

#[test]
fn damage_says_what_it_is() {
    let sound = write(VPC_SCHEMA, &vpc(), 2, Compression::SNAPPY);
    check_damage(b"PAR1".to_vec(), "too short");
    check_damage(sound[..sound.len() - 9].to_vec(), "does not end as one");
    let with_tail = |tail: &[u8]| [&sound[..sound.len() - tail.len()], tail].concat();
    check_damage(with_tail(b"PARE"), "encrypted");
    check_damage(with_tail(b"\xff\xff\xff\x00PAR1"), "says that its metadata is 16777215 bytes");
    check_damage(with_tail(b"\x01\0\0\0PAR1"), "");
    // Rows of the first row group are there when the second is damaged.
    let columns: Vec<Values> = vpc();
    let file = write(VPC_SCHEMA, &columns, 2, Compression::UNCOMPRESSED);
    let places: Vec<usize> = (0..file.len()).filter(|at| file[*at..].starts_with(b"198.51.100.20")).collect();
    let at = places[places.len() / 2];
    let mut damaged = file.clone();
    damaged[at - 30..at].fill(0xff);
    let (calls, _, ended) = calls(damaged, Wanted::Detect);
    if let Err((row, _)) = ended {
        assert_eq!(row, calls.len() as u64 + 1);
    }
}

/// What a file says of a column's size is changed to this, in as many bytes.
fn with_said_size(mut file: Vec<u8>, column: usize, size: u64) -> Vec<u8> {
    let whole = Bytes::from(file.clone());
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&whole).expect("sound");
    let true_size = metadata.row_group(0).column(column).uncompressed_size().unsigned_abs();
    let varint = |mut value: u64| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(0x80 | (value & 0x7f) as u8);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    // Doubled: that is how a signed number is written.
    let (from, mut to) = (varint(2 * true_size), varint(2 * size));
    let last = to.len() - 1;
    if to.len() < from.len() {
        to[last] |= 0x80;
        to.resize(from.len() - 1, 0x80);
        to.push(0);
    }
    // The size of the row group, which is the same, comes behind it.
    let at = (0..file.len()).find(|at| file[*at..].starts_with(&from)).expect("it says its size");
    file[at..at + from.len()].copy_from_slice(&to);
    file
}

#[test]
fn a_page_that_is_larger_than_it_says_is_not_unpacked_further() {
    let text: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let columns = [Values::Text(vec![Some(text)])];
    for compression in compressions() {
        let file = write("message x { OPTIONAL BYTE_ARRAY x (UTF8); }", &columns, 1, compression);
        let (_, _, sound) = calls(file.clone(), Wanted::Detect);
        assert_eq!(sound, Ok(()), "{compression:?}");
        if compression != Compression::UNCOMPRESSED {
            check_damage(
                with_said_size(file, 0, 1_000),
                "the column x has a page of more than the 1000 bytes",
            );
        }
    }
}

#[test]
fn what_is_compressed_in_another_way_says_so() {
    let file = write(VPC_SCHEMA, &vpc(), 1, Compression::SNAPPY);
    // The codec of the first column, behind its path.
    let path = b"\x07version\x15";
    let at =
        (0..file.len()).rev().find(|at| file[*at..].starts_with(path)).expect("its metadata") + path.len();
    let mut lz4 = file;
    assert_eq!(lz4[at], 2, "snappy is 1, doubled");
    lz4[at] = 14;
    check_damage(lz4, "compressed with lz4_raw, which is not read");
}

#[test]
fn more_values_than_there_can_be_are_not_made_room_for() {
    let schema = Arc::new(parse_message_type("message x { REPEATED INT32 many; }").expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, properties).expect("a writer");
    let mut group = file.next_row_group().expect("a row group");
    let mut column = group.next_column().expect("a column").expect("the one");
    let count = 1_200_000;
    let (values, defined) = (vec![7; count], vec![1; count]);
    let repeated: Vec<i16> = std::iter::once(0).chain(std::iter::repeat_n(1, count - 1)).collect();
    let ColumnWriter::Int32ColumnWriter(writer) = column.untyped() else {
        panic!("the schema is another one")
    };
    writer.write_batch(&values, Some(&defined), Some(&repeated)).expect("written");
    column.close().expect("written");
    group.close().expect("written");
    let bytes = file.into_inner().expect("written");
    assert!(bytes.len() < 10_000, "{} bytes say it all", bytes.len());
    check_damage(bytes, "the column many says that a page has");

    // One value of a dictionary is called 63.
    let columns = [Values::Text(vec![Some("pc-17")])];
    let mut file =
        write("message x { OPTIONAL BYTE_ARRAY x (UTF8); }", &columns, 1, Compression::UNCOMPRESSED);
    let header = [0x4c, 0x15, 2, 0x15, 0];
    let at = (0..file.len()).find(|at| file[*at..].starts_with(&header)).expect("a dictionary");
    file[at + 2] = 126;
    check_damage(file, "the column x says that a page has 63 values; there can be no more than 2");
}

/// A file of one column of texts, pages and dictionary as large as they come.
fn write_large(values: &[&str], compression: Compression) -> Vec<u8> {
    let schema =
        Arc::new(parse_message_type("message x { OPTIONAL BYTE_ARRAY x (UTF8); }").expect("a schema"));
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_page_size_limit(usize::MAX)
        .set_data_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX);
    let mut file =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).expect("a writer");
    let mut group = file.next_row_group().expect("a row group");
    let mut column = group.next_column().expect("a column").expect("the one");
    let ColumnWriter::ByteArrayColumnWriter(writer) = column.untyped() else {
        panic!("the schema is another one")
    };
    let texts: Vec<ByteArray> = values.iter().map(|text| ByteArray::from(*text)).collect();
    writer.write_batch(&texts, Some(&vec![1; texts.len()]), None).expect("written");
    column.close().expect("written");
    group.close().expect("written");
    file.into_inner().expect("written")
}

/// A number as metadata has it: doubled, seven bits a byte.
fn zigzag(mut value: u64) -> Vec<u8> {
    value *= 2;
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn a_dictionary_has_no_more_values_than_its_bytes_can_hold() {
    let texts: Vec<String> = (0..100_000).map(|number| format!("{number:08}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut file = write_large(&texts, Compression::UNCOMPRESSED);
    let header = [&[0x4c, 0x15], zigzag(100_000).as_slice()].concat();
    let at = (0..file.len()).find(|at| file[*at..].starts_with(&header)).expect("a dictionary") + 2;
    file[at..at + 3].copy_from_slice(&zigzag(1_000_000));
    check_damage(file, "says that a page has 1000000 values; there can be no more than 300000");
}

#[test]
fn a_page_that_is_larger_than_any_is_not_unpacked() {
    let text = "x".repeat(65 << 20);
    for compression in
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())]
    {
        check_damage(write_large(&[&text], compression), "at most 67108864 are read");
    }
}

#[test]
fn what_is_read_to_tell_the_format_is_bounded() {
    let text = "x".repeat(1 << 20);
    let file = write_large(&[text.as_str(); 256], Compression::ZSTD(ZstdLevel::default()));
    let mut rows = Columnar::open(Bytes::from(file), Wanted::Detect, &ColumnMap::default()).expect("sound");
    let first = rows.next_chunk().expect("a chunk").expect("sound");
    assert!(first.len() < 4 << 20, "{} bytes", first.len());
    let mut all = first.len();
    while let Some(chunk) = rows.next_chunk() {
        all += chunk.expect("sound").len();
    }
    assert!(all > 256 << 20 && rows.next_row() == 257, "{all} bytes");
}

#[test]
fn a_row_of_fields_that_is_longer_than_any_line_is_written_no_further() {
    let text: &'static str = Box::leak("x".repeat(LINE_BYTES_MAX / 2).into_boxed_str());
    let names = (0..10).map(|number| format!("OPTIONAL BYTE_ARRAY x{number} (UTF8);")).collect::<String>();
    let schema = format!(
        "message flows {{ OPTIONAL BYTE_ARRAY srcaddr (UTF8); OPTIONAL BYTE_ARRAY dstaddr (UTF8); OPTIONAL INT64 start; {names} }}"
    );
    let mut columns = vec![
        Values::Text(vec![Some("10.1.2.3")]),
        Values::Text(vec![Some("198.51.100.20")]),
        Values::Long(vec![Some(SECOND)]),
    ];
    columns.extend(std::iter::repeat_n(Values::Text(vec![Some(text)]), 10));
    let file = write(&schema, &columns, 1, Compression::SNAPPY);
    let mut rows =
        Columnar::open(Bytes::from(file.clone()), Wanted::Detect, &ColumnMap::default()).expect("sound");
    let chunk = rows.next_chunk().expect("a chunk").expect("sound");
    assert!(chunk.len() < 2 * LINE_BYTES_MAX, "{} bytes", chunk.len());
    let (calls, _, ended) = calls(file, Wanted::Detect);
    assert_eq!((calls, ended), (vec!["line 1: refused line_too_long".to_owned()], Ok(())));
}

/// A file of a column that has nothing in any of its rows.
fn write_nulls(rows: usize) -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message x { OPTIONAL INT64 x; }").expect("a schema"));
    let properties = WriterProperties::builder().set_data_page_row_count_limit(usize::MAX);
    let mut file =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).expect("a writer");
    let mut group = file.next_row_group().expect("a row group");
    let mut column = group.next_column().expect("a column").expect("the one");
    let ColumnWriter::Int64ColumnWriter(writer) = column.untyped() else {
        panic!("the schema is another one")
    };
    writer.write_batch(&[], Some(&vec![0; rows]), None).expect("written");
    column.close().expect("written");
    group.close().expect("written");
    file.into_inner().expect("written")
}

#[test]
fn rows_that_cost_a_file_nothing_are_not_read() {
    let file = write_nulls(1 << 20);
    assert!(file.len() < 1_000, "{} bytes say it all", file.len());
    let rows = Columnar::open(Bytes::from(file), Wanted::Detect, &ColumnMap::default()).expect("sound");
    assert_eq!(rows.rows(), 1 << 20);
    let many = write_nulls(10 << 20);
    check_damage(many.clone(), "the Parquet file says that it has 10485760 rows; its");
    // As many as there can be said in as many bytes: the first is of the whole file or of the row group.
    let claimed = zigzag(10 << 20);
    let claims = |count: u64| {
        let mut file = many.clone();
        let places: Vec<usize> = (0..file.len()).filter(|at| file[*at..].starts_with(&claimed)).collect();
        places.iter().for_each(|at| file[*at..at + 4].copy_from_slice(&zigzag(count)));
        file
    };
    check_damage(claims(134_000_000), "the Parquet file says that it has 134000000 rows; its");
}

#[test]
fn very_many_rows_with_lists_of_usual_length_are_read() {
    let (count, length) = (1 << 20, 10);
    let file = write_lists(&vec![length; count]);
    let mut rows = Columnar::open(Bytes::from(file), Wanted::Exactly(Format::Ndjson), &ColumnMap::default())
        .expect("sound");
    while let Some(chunk) = rows.next_chunk() {
        assert!(!chunk.expect("sound").is_empty());
    }
    assert_eq!(rows.next_row(), count as u64 + 1);
}

#[test]
fn lists_that_are_longer_than_memory_is_made_for_are_not_read() {
    for lengths in [vec![1, 2, 3, 1_200_000, 1], vec![40_000; 60]] {
        // Rows enough for so many elements, were they spread.
        let lengths: Vec<usize> = lengths.into_iter().chain(std::iter::repeat_n(1, 60_000)).collect();
        check_damage(write_lists(&lengths), "elements in 64 rows; at most 1048576 are read");
    }
    let (_, _, ended) = calls(write_lists(&[1, 900_000, 0, 2]), Wanted::Detect);
    assert_eq!(ended, Ok(()));
}

/// A file of one list, as long as this in each row.
fn write_lists(lengths: &[usize]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message x { REPEATED INT32 many; }").expect("a schema"));
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).expect("a writer");
    let mut group = file.next_row_group().expect("a row group");
    let mut column = group.next_column().expect("a column").expect("the one");
    let ColumnWriter::Int32ColumnWriter(writer) = column.untyped() else {
        panic!("the schema is another one")
    };
    for lengths in lengths.chunks(10_000) {
        let (mut defined, mut repeated) = (Vec::new(), Vec::new());
        for length in lengths {
            repeated.push(0);
            repeated.extend(std::iter::repeat_n(1, length.saturating_sub(1)));
            defined.extend(std::iter::repeat_n(i16::from(*length > 0), (*length).max(1)));
        }
        let values = vec![7; lengths.iter().sum()];
        writer.write_batch(&values, Some(&defined), Some(&repeated)).expect("written");
    }
    column.close().expect("written");
    group.close().expect("written");
    file.into_inner().expect("written")
}

#[test]
fn a_row_that_is_longer_than_any_line_is_refused_for_that() {
    let text: &'static str = Box::leak("x".repeat(LINE_BYTES_MAX / 2).into_boxed_str());
    let columns = [Values::Text(vec![Some("a"), Some(text)]), Values::Text(vec![Some("b"), Some(text)])];
    let schema = "message x { OPTIONAL BYTE_ARRAY x (UTF8); OPTIONAL BYTE_ARRAY y (UTF8); }";
    let file = write(schema, &columns, 1, Compression::SNAPPY);
    let (calls, _, ended) = calls(file, Wanted::Exactly(Format::Ndjson));
    assert_eq!(ended, Ok(()));
    assert_eq!(calls[1..], ["line 2: refused line_too_long".to_owned()]);
}

fn compressions() -> [Compression; 4] {
    [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(parquet::basic::GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_panics(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        which in 0..4usize,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = write(VPC_SCHEMA, &vpc(), 2, compressions()[which]);
        for (place, byte) in places {
            *place.get_mut(&mut file) = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let (calls, _, ended) = calls(file, Wanted::Detect);
        if let Err((row, _)) = ended {
            prop_assert_eq!(row, calls.len() as u64 + 1);
        }
    }
}
