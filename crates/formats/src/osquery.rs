//! osquery results of `socket_events` and `bpf_socket_events`: a row a line (`columns`), or many in one line (`diffResults`,
//! `snapshot`), each of which is a record; and what its TLS logger posts, many such results in `data`. Refuses to hold: `process_open_sockets`, a picture of what is open that tells
//! neither direction nor start; the names of queries, which operators choose; and `local_address`.
//!
//! ```text
//! {"name":"socket_events","hostIdentifier":"pc-17.example.org","unixTime":1930557700,"action":"added",
//!  "decorations":{"host_uuid":"aa11bb22-cc33-dd44-ee55-ff66aa77bb88"},"columns":{"action":"connect",
//!  "status":"succeeded","family":"2","remote_address":"198.51.100.20","remote_port":"443","time":"1930557662"}}
//! {"name":"..","hostIdentifier":"..","unixTime":1930557700,"diffResults":{"added":[{..},{..}],"removed":[]}}
//! {"node_key":"..","log_type":"result","data":[{"name":"..","hostIdentifier":"..","columns":{..}},{..}]}
//! ```
//!
//! A row is of a socket if it has `remote_address`, or if the query's name has `socket_events` in it; `action` (`syscall` in
//! `bpf_socket_events`) then tells what happened and `status`, `success` or `exit_code` how it ended. A connect that is in
//! progress counts: it is how non-blocking sockets connect. Source: FORMATS.md; osquery's tables and logging pages.

use sighting::{IdentityKind, Second};

use crate::connection::Connection;
use crate::fields::{address, first_time, is_icmp, name, one, put};
use crate::json::{Scanner, Value, object, reread, with_plain_escapes};
use crate::record::{Fault, Ignored, Mentions, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::text::Names;

/// `-EINPROGRESS` of a connect, as the signed number and as unsigned ones of 64 and 32 bits.
const IN_PROGRESS: [&str; 3] = ["-115", "18446744073709551501", "4294967181"];

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let has_rows = has("columns") || has("diffResults") || has("snapshot");
    let is_posted = has("node_key") && has("log_type") && has("data");
    has("hostIdentifier") && has_rows || has("calendarTime") && has("unixTime") || is_posted
}

/// One line: a result, or many that were posted together.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let told = result(text, line, settings, sink);
    if told.is_err_and(|fault| fault.refusal == Refusal::MissingField) {
        let plain = with_plain_escapes(text);
        if let Some(results) = posted(plain.as_deref().unwrap_or(text)) {
            return each_posted(results, line, settings, sink);
        }
    }
    told
}

/// The scanner before the first of the results that were posted; nothing, if these are none.
#[cold]
fn posted(text: &str) -> Option<Scanner<'_>> {
    let (mut results, mut is_told_of_what) = (None, false);
    let read = object(text, |scanner| {
        scanner.each_key(|scanner, name| {
            is_told_of_what |= name == "log_type";
            match name {
                "data" => results = list(scanner)?,
                _ => scanner.skip()?,
            }
            Ok(())
        })
    });
    results.filter(|_| read.is_ok() && is_told_of_what)
}

/// Every result is what a line of a file would be; a status log among them says so by itself.
fn each_posted(
    mut results: Scanner<'_>,
    line: u64,
    settings: &Settings,
    sink: &mut impl Sink,
) -> Result<(), Fault> {
    let mut more = results.first_element()?;
    if !more {
        sink.ignored(&Passed::by_nobody(Ignored::Blank, line));
    }
    while more {
        let start = results.place();
        results.skip()?;
        if let Err(fault) = result(results.since(start), line, settings, sink) {
            sink.refused(fault.refusal, line, fault.field);
        }
        more = results.next_element()?;
    }
    Ok(())
}

/// One result: a row, or many.
fn result(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut outcome = Outcome::default();
    let has_escaped_keys = object(text, |scanner| outcome.read(scanner))?;
    // Rows are read last, so whether they hold escapes is not known yet.
    if (has_escaped_keys || outcome.is_escaped() || outcome.has_lists())
        && let Some(told) = reread(text, &mut |plain| result(plain, line, settings, sink))
    {
        return told;
    }
    outcome.judge(line, settings, sink)
}

/// What one run of a query gave.
#[derive(Default)]
struct Outcome<'a> {
    query: Value<'a>,
    action: Value<'a>,
    unix_time: Value<'a>,
    host_identifier: Value<'a>,
    host_name: Value<'a>,
    decorated_uuid: Value<'a>,
    decorated_name: Value<'a>,
    /// Of a status log, which shares the envelope.
    severity: Value<'a>,
    /// The only row.
    columns: Option<Row<'a>>,
    /// Lists of rows, the scanners before their first.
    added: Option<Scanner<'a>>,
    removed: Option<Scanner<'a>>,
    snapshot: Option<Scanner<'a>>,
}

impl<'a> Outcome<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        scanner.each_key(|scanner, name| self.field(scanner, name))
    }

    fn field(&mut self, scanner: &mut Scanner<'a>, name: &str) -> Result<(), Fault> {
        let slot = match name {
            "name" => &mut self.query,
            "action" => &mut self.action,
            "unixTime" => &mut self.unix_time,
            "hostIdentifier" => &mut self.host_identifier,
            // Before 2016, and beside `hostIdentifier` where shippers add it.
            "hostname" => &mut self.host_name,
            "severity" => &mut self.severity,
            "decorations" => return self.read_decorations(scanner),
            "columns" => return self.read_columns(scanner),
            "diffResults" => return self.read_differences(scanner),
            "snapshot" => {
                self.snapshot = list(scanner)?;
                return Ok(());
            }
            _ => return Ok(scanner.skip()?),
        };
        *slot = one(scanner)?;
        Ok(())
    }

    fn read_decorations(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let value = scanner.value()?;
        if value != Value::Object {
            return Ok(scanner.leave(value)?);
        }
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            match name {
                "host_uuid" => self.decorated_uuid = one(scanner)?,
                "hostname" => self.decorated_name = one(scanner)?,
                _ => scanner.skip()?,
            }
            key = scanner.next_key()?;
        }
        Ok(())
    }

    fn read_columns(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        match scanner.value()? {
            Value::Object => self.columns = Some(Row::read(scanner)?),
            other => scanner.leave(other)?,
        }
        Ok(())
    }

    fn read_differences(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let value = scanner.value()?;
        if value != Value::Object {
            return Ok(scanner.leave(value)?);
        }
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            match name {
                "added" => self.added = list(scanner)?,
                "removed" => self.removed = list(scanner)?,
                _ => scanner.skip()?,
            }
            key = scanner.next_key()?;
        }
        Ok(())
    }

    /// Whether a field that is compared as written was written with escapes.
    fn is_escaped(&self) -> bool {
        self.query.is_escaped()
            || self.action.is_escaped()
            || self.unix_time.is_escaped()
            || self.columns.as_ref().is_some_and(Row::is_escaped)
    }

    const fn has_lists(&self) -> bool {
        self.added.is_some() || self.removed.is_some() || self.snapshot.is_some()
    }

    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let uuid = name(self.decorated_uuid);
        let identifier = name(self.host_identifier);
        let host_names = [name(self.host_name), name(self.decorated_name)];
        let host_names = host_names.each_ref().map(|name| name.as_deref());
        let teller = Teller {
            device: device(uuid.as_deref(), identifier.as_deref(), host_names),
            second: first_time(&[(self.unix_time, "unixTime")], settings),
            is_of_socket_events: self.query.plain().is_some_and(|name| name.contains("socket_events")),
            line,
            settings,
        };
        if let Some(row) = &self.columns {
            return teller.row(row, self.action.plain() == Some("removed"), sink);
        }
        if self.has_lists() {
            return self.rows(&teller, sink);
        }
        if self.severity.is_absent() {
            return Err(Fault::of(Refusal::MissingField, "columns"));
        }
        teller.other_event(sink)
    }

    /// Every row is a record; lists with nothing in them are a blank one, so that their line is counted.
    fn rows(&self, teller: &Teller<'_>, sink: &mut impl Sink) -> Result<(), Fault> {
        let mut has_rows = false;
        for (list, is_removed) in [(&self.added, false), (&self.snapshot, false), (&self.removed, true)] {
            let Some(list) = list else { continue };
            let mut scanner = list.clone();
            let mut more = scanner.first_element()?;
            while more {
                has_rows = true;
                let told = match scanner.value()? {
                    Value::Object => teller.row(&Row::read(&mut scanner)?, is_removed, sink),
                    other => scanner.leave(other).map_err(Fault::from).and(Err(Refusal::BadJson.into())),
                };
                if let Err(fault) = told {
                    sink.refused(fault.refusal, teller.line, fault.field);
                }
                more = scanner.next_element()?;
            }
        }
        if !has_rows {
            sink.ignored(&Passed::by_nobody(Ignored::Blank, teller.line));
        }
        Ok(())
    }
}

/// The scanner before the first row of the list here, which is passed; nothing if here is none.
fn list<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Scanner<'a>>, Fault> {
    let value = scanner.value()?;
    let rows = scanner.clone();
    scanner.leave(value)?;
    Ok((value == Value::Array).then_some(rows))
}

/// A row of a result.
#[derive(Default)]
struct Row<'a> {
    action: Value<'a>,
    syscall: Value<'a>,
    status: Value<'a>,
    success: Value<'a>,
    exit_code: Value<'a>,
    protocol: Value<'a>,
    remote: Value<'a>,
    time: Value<'a>,
}

impl<'a> Row<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Row<'a>, Fault> {
        let mut row = Row::default();
        scanner.each_key(|scanner, name| put(scanner, row.slot(name)))?;
        Ok(row)
    }

    fn slot(&mut self, column: &str) -> Option<&mut Value<'a>> {
        Some(match column {
            "action" => &mut self.action,
            "syscall" => &mut self.syscall,
            "status" => &mut self.status,
            "success" => &mut self.success,
            "exit_code" => &mut self.exit_code,
            "protocol" => &mut self.protocol,
            "remote_address" => &mut self.remote,
            "time" => &mut self.time,
            _ => return None,
        })
    }

    fn is_escaped(&self) -> bool {
        self.action.is_escaped()
            || self.syscall.is_escaped()
            || self.status.is_escaped()
            || self.success.is_escaped()
            || self.exit_code.is_escaped()
            || self.protocol.is_escaped()
            || self.remote.is_escaped()
            || self.time.is_escaped()
    }

    /// Whether the row says how a call ended, as `process_open_sockets` never does.
    fn tells_outcome(&self) -> bool {
        [self.status, self.success, self.exit_code].iter().any(|value| *value != Value::Missing)
    }

    /// Why the call opened no connection; `None`, it did.
    fn not_opened(&self, action: &str) -> Result<Option<Ignored>, Fault> {
        Ok(match action {
            "connect" if is_icmp(self.protocol) => Some(Ignored::Icmp),
            "connect" => (!self.has_succeeded()?).then_some(Ignored::Failed),
            "bind" | "listen" => Some(Ignored::Listening),
            "accept" | "accept4" => Some(Ignored::Inbound),
            _ => Some(Ignored::OtherAction),
        })
    }

    /// `success` is the older of the two, and `bpf_socket_events` has only what the call returned.
    fn has_succeeded(&self) -> Result<bool, Fault> {
        if let Some(status) = self.status.plain() {
            return Ok(matches!(status, "succeeded" | "in_progress"));
        }
        if let Some(success) = self.success.truth() {
            return Ok(success);
        }
        let code = self.exit_code.plain().ok_or(Fault::of(Refusal::MissingField, "columns.status"))?;
        Ok(code == "0" || IN_PROGRESS.contains(&code))
    }

    /// The remote; sockets without one (UNIX) have `unknown` in older versions.
    fn remote(&self) -> Option<&'a str> {
        address(self.remote).filter(|remote| *remote != "unknown")
    }
}

/// Who tells rows, and when.
struct Teller<'t> {
    device: Result<Mentions<'t>, Fault>,
    /// When the query was run.
    second: Result<Second, Fault>,
    /// The query's name has the table's in it.
    is_of_socket_events: bool,
    line: u64,
    settings: &'t Settings,
}

impl Teller<'_> {
    fn row(&self, row: &Row<'_>, is_removed: bool, sink: &mut impl Sink) -> Result<(), Fault> {
        if !self.is_of_socket_events && row.remote == Value::Missing {
            return self.other_event(sink);
        }
        let Some(action) = row.action.plain().or_else(|| row.syscall.plain()) else {
            if self.is_of_socket_events || row.tells_outcome() {
                return Err(Fault::of(Refusal::MissingField, "columns.action"));
            }
            return self.other_event(sink);
        };
        // A row that is gone from the result was told when it came.
        let why_not = if is_removed { Some(Ignored::OtherAction) } else { row.not_opened(action)? };
        let second = match row.time {
            time if time.is_absent() => self.second,
            time => first_time(&[(time, "columns.time")], self.settings),
        };
        let connection = Connection {
            second,
            device: self.device,
            remote: (row.remote(), "columns.remote_address"),
            why_not,
        };
        connection.judge(self.line, self.settings, sink)
    }

    /// A row of another table, or a status log: its `time`, if any, may mean anything.
    fn other_event(&self, sink: &mut impl Sink) -> Result<(), Fault> {
        let connection = Connection {
            second: self.second,
            device: self.device,
            remote: (None, "columns.remote_address"),
            why_not: Some(Ignored::OtherEvent),
        };
        connection.judge(self.line, self.settings, sink)
    }
}

/// `--host_identifier` makes `hostIdentifier` a host name (the default) or one of several UUIDs; the host's own in
/// `decorations` is the steadier one.
fn device<'n>(
    uuid: Option<&'n str>,
    identifier: Option<&'n str>,
    host_names: [Option<&'n str>; 2],
) -> Result<Mentions<'n>, Fault> {
    let mut names = Names::default();
    let (id, host) = match identifier {
        Some(identifier) if is_uuid(identifier) => (uuid.or(Some(identifier)), None),
        host => (uuid, host),
    };
    if let Some(id) = id {
        names.add(IdentityKind::AgentId, id, "hostIdentifier");
    }
    let mut known = "";
    for host in std::iter::once(host).chain(host_names).flatten() {
        if !host.eq_ignore_ascii_case(known) {
            names.add(IdentityKind::Fqdn, host, "hostIdentifier");
            known = host;
        }
    }
    names.required("hostIdentifier")
}

fn is_uuid(text: &str) -> bool {
    const LENGTH: usize = 36;

    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    // The length of a host name nearly never.
    text.len() == LENGTH && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_told_from_host_names() {
        assert!(is_uuid("AA11BB22-cc33-dd44-ee55-ff66aa77bb88"));
        for text in ["", "pc-17", "aa11bb22-cc33-dd44-ee55", "xx11bb22-cc33-dd44-ee55-ff66aa77bb88"] {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
