//! From a chunk to calls of a sink: walks the records, hands each to its format, and makes sure that each is told of
//! exactly once. Refuses to hold: any state that outlives the chunk.

use memchr::memchr;

use crate::chunk::{Chunk, Content, CsvLayout, LINE_BYTES_MAX};
use crate::csv::{RowEnd, row_end, separator_line, split};
use crate::format::Format;
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::{
    address_map, argus, aws_vpc, azure_analytics, azure_flow, carbon_black, conntrack, crowdstrike, ecs,
    fortigate, generic, isc_dhcpd, kea, mde, mde_csv, ocsf, osquery, pan_os, sentinel_one, suricata, sysmon,
    sysmon_xml, windows_dhcp, wrapper, zeek_json, zeek_tsv,
};

/// Tells the sink of every record of a chunk, in order. Pure: the same chunk gives the same calls, on any thread.
pub fn decode(chunk: &Chunk, settings: &Settings, sink: &mut impl Sink) {
    match &chunk.content {
        Content::Refused(refusal) => sink.refused(*refusal, chunk.first_line, None),
        Content::Flows(told) => {
            (chunk.first_line..).zip(told).for_each(|(number, told)| told.tell(number, settings, sink));
        }
        Content::Headers => each_line(chunk, None, sink, |_, line, sink| {
            sink.ignored(&Passed::by_nobody(Ignored::Header, line));
            Ok(())
        }),
        Content::Unrecognised => each_line(chunk, None, sink, |_, _, _| Err(Refusal::Unrecognised.into())),
        Content::JsonLines(format) => json(chunk, *format, None, settings, sink),
        Content::JsonElements(format, lines) => json(chunk, *format, Some(lines), settings, sink),
        Content::ZeekRows(layout) => {
            let mut reader = zeek_tsv::Reader::new(layout.clone(), settings);
            each_line(chunk, None, sink, |text, line, sink| reader.line(text, line, sink));
        }
        Content::Lines(Format::FortiGate) => {
            each_line(chunk, None, sink, |text, line, sink| fortigate::record(text, line, settings, sink));
        }
        Content::Lines(Format::Conntrack) => {
            each_line(chunk, None, sink, |text, line, sink| conntrack::record(text, line, settings, sink));
        }
        Content::Lines(Format::IscDhcpd) => isc_dhcpd::blocks(chunk, sink),
        Content::Lines(Format::WindowsDhcp) => {
            each_line(chunk, None, sink, |text, line, sink| windows_dhcp::record(text, line, settings, sink));
        }
        Content::Lines(_) => {
            each_line(chunk, None, sink, |text, line, sink| pan_os::record(text, line, settings, sink));
        }
        Content::XmlEvents { begins_line, .. } => sysmon_xml::events(chunk, *begins_line, settings, sink),
        Content::CsvRows(Format::AwsVpc, layout) => {
            let columns = aws_vpc::Columns::of(layout);
            each_row(chunk, layout, sink, |fields, line, sink| columns.row(fields, line, settings, sink));
        }
        Content::CsvRows(Format::Argus, layout) => {
            let columns = argus::Columns::of(layout);
            each_row(chunk, layout, sink, |fields, line, sink| columns.row(fields, line, settings, sink));
        }
        Content::CsvRows(Format::AzureAnalytics, layout) => {
            let columns = azure_analytics::Columns::of(layout);
            each_row(chunk, layout, sink, |fields, line, sink| columns.row(fields, line, settings, sink));
        }
        Content::CsvRows(Format::Kea, layout) => {
            let columns = kea::Columns::of(layout);
            each_row(chunk, layout, sink, |fields, line, sink| columns.row(fields, line, sink));
        }
        Content::CsvRows(Format::AddressMap, layout) => {
            let columns = address_map::Columns::of(layout);
            each_row(chunk, layout, sink, |fields, line, sink| columns.row(fields, line, settings, sink));
        }
        Content::CsvRows(Format::MdeCsv, layout) => {
            let columns = mde_csv::Columns::of(layout);
            each_row(chunk, layout, sink, |fields, line, sink| columns.row(fields, line, settings, sink));
        }
        Content::CsvRows(_, layout) => {
            let columns = generic::Columns::of(layout, &settings.columns);
            each_row(chunk, layout, sink, |fields, line, sink| columns.row(fields, line, settings, sink));
        }
    }
}

fn json<S: Sink>(chunk: &Chunk, format: Format, lines: Option<&[u64]>, settings: &Settings, sink: &mut S) {
    match format {
        Format::Mde => {
            each_line(chunk, lines, sink, |text, line, sink| mde::record(text, line, settings, sink));
        }
        Format::ZeekJson => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            zeek_json::record(text, line, settings, sink)
        }),
        Format::Sysmon => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            sysmon::record(text, line, settings, sink)
        }),
        Format::Suricata => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            suricata::record(text, line, settings, sink)
        }),
        Format::Ecs => {
            each_json(chunk, lines, sink, |text, line, sink: &mut S| ecs::record(text, line, settings, sink));
        }
        Format::Ocsf => {
            each_json(chunk, lines, sink, |text, line, sink: &mut S| {
                ocsf::record(text, line, settings, sink)
            });
        }
        Format::CrowdStrike => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            crowdstrike::record(text, line, settings, sink)
        }),
        Format::SentinelOne => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            sentinel_one::record(text, line, settings, sink)
        }),
        Format::CarbonBlack => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            carbon_black::record(text, line, settings, sink)
        }),
        Format::Osquery => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            osquery::record(text, line, settings, sink)
        }),
        Format::AzureFlow => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            azure_flow::record(text, line, settings, sink)
        }),
        _ => each_json(chunk, lines, sink, |text, line, sink: &mut S| {
            generic::record(text, line, settings, sink)
        }),
    }
}

/// Walks JSON texts that are a record each, or hold some.
fn each_json<S: Sink>(
    chunk: &Chunk,
    lines: Option<&[u64]>,
    sink: &mut S,
    read: impl Fn(&str, u64, &mut S) -> Result<(), Fault>,
) {
    each_line(chunk, lines, sink, |text, line, sink| match read(text, line, sink) {
        Ok(()) => Ok(()),
        Err(fault) => wrapper::look_inside(text, fault, line, sink, &|text, sink| read(text, line, sink)),
    });
}

/// Walks records that are a line each. `lines` numbers them where they do not follow each other in the input.
fn each_line<'c, S: Sink>(
    chunk: &'c Chunk,
    lines: Option<&[u64]>,
    sink: &mut S,
    mut read: impl FnMut(&'c str, u64, &mut S) -> Result<(), Fault>,
) {
    let bytes = chunk.bytes.as_slice();
    // Once for the whole chunk is quicker than once a line; line by line only if there is something to find.
    let text = str::from_utf8(bytes).ok();
    let (mut start, mut index) = (0, 0u64);
    while let Some(length) = bytes.get(start..).and_then(|rest| memchr(b'\n', rest)) {
        let end = start + length;
        let line = match lines {
            None => chunk.first_line + index,
            Some(lines) => lines.get(index as usize).copied().unwrap_or(chunk.first_line),
        };
        let told = match text {
            Some(text) => text.get(start..end).ok_or(Refusal::InvalidUtf8),
            None => {
                bytes.get(start..end).and_then(|line| str::from_utf8(line).ok()).ok_or(Refusal::InvalidUtf8)
            }
        };
        let told = match told {
            _ if length > LINE_BYTES_MAX => Err(Refusal::LineTooLong.into()),
            Err(refusal) => Err(refusal.into()),
            Ok(text) => {
                let text = without_mark(text.strip_suffix('\r').unwrap_or(text));
                if is_blank(text) {
                    sink.ignored(&Passed::by_nobody(Ignored::Blank, line));
                    Ok(())
                } else {
                    read(text, line, sink)
                }
            }
        };
        start = end + 1;
        index += 1;
        if let Err(fault) = told {
            refuse(fault, line, chunk.is_cut && start == bytes.len(), sink);
        }
    }
}

/// Walks rows of CSV, which may run over several lines.
fn each_row<'c, S: Sink>(
    chunk: &'c Chunk,
    layout: &CsvLayout,
    sink: &mut S,
    mut read: impl FnMut(&[crate::csv::Field<'c>], u64, &mut S) -> Result<(), Fault>,
) {
    let bytes = chunk.bytes.as_slice();
    let mut fields = Vec::with_capacity(layout.columns.len());
    let (mut start, mut line) = (0, chunk.first_line);
    while let Some(rest) = bytes.get(start..)
        && let RowEnd::At(length) = row_end(rest, layout.separator)
    {
        let row = rest.get(..length).unwrap_or_default();
        let told = match row_text(row) {
            Ok(text) => each_text(text, layout, &mut fields, line, sink, &mut read),
            Err(_) if is_header(&String::from_utf8_lossy(row), layout) => {
                sink.ignored(&Passed::by_nobody(Ignored::Header, line));
                Ok(())
            }
            Err(fault) => Err(fault),
        };
        start += length + 1;
        if let Err(fault) = told {
            refuse(fault, line, chunk.is_cut && start == bytes.len(), sink);
        }
        line += 1 + memchr::memchr_iter(b'\n', row).count() as u64;
    }
}

/// Reads one row.
#[inline(always)]
fn each_text<'c, S: Sink>(
    row: &'c str,
    layout: &CsvLayout,
    fields: &mut Vec<crate::csv::Field<'c>>,
    line: u64,
    sink: &mut S,
    read: &mut impl FnMut(&[crate::csv::Field<'c>], u64, &mut S) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let ignored = if is_blank(row) {
        Ignored::Blank
    } else if is_header(row, layout) {
        Ignored::Header
    } else {
        split(row, layout.separator, fields);
        match check_count(fields.len(), layout) {
            Ok(()) => return read(fields, line, sink),
            // Files that were strung together may each begin so.
            Err(_) if separator_line(row).is_some() => Ignored::Header,
            Err(fault) => return Err(fault),
        }
    };
    sink.ignored(&Passed::by_nobody(ignored, line));
    Ok(())
}

fn is_header(row: &str, layout: &CsvLayout) -> bool {
    row.trim_end() == layout.header
}

fn row_text(row: &[u8]) -> Result<&str, Fault> {
    if row.len() > LINE_BYTES_MAX {
        return Err(Refusal::LineTooLong.into());
    }
    let row = str::from_utf8(row).map_err(|_| Refusal::InvalidUtf8)?;
    Ok(without_mark(row.strip_suffix('\r').unwrap_or(row)))
}

/// Without a byte order mark: files that were strung together may each bring one. One glance for the usual line.
#[inline]
fn without_mark(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(0xef) => text.strip_prefix('\u{feff}').unwrap_or(text),
        _ => text,
    }
}

fn check_count(count: usize, layout: &CsvLayout) -> Result<(), Fault> {
    match count {
        _ if count > layout.columns.len() => Err(Refusal::TooManyColumns.into()),
        _ if count < layout.fewest => Err(Refusal::TooFewColumns.into()),
        _ => Ok(()),
    }
}

/// One glance for the usual line, which starts with something.
#[inline]
fn is_blank(text: &str) -> bool {
    text.as_bytes().first().is_none_or(|byte| *byte <= b' ' && text.trim().is_empty())
}

#[cold]
fn refuse(fault: Fault, line: u64, is_cut: bool, sink: &mut impl Sink) {
    if is_cut && fault.refusal.is_from_a_cut() {
        sink.refused(Refusal::Truncated, line, None);
    } else {
        sink.refused(fault.refusal, line, fault.field);
    }
}
