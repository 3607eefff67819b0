//! What becomes of the first records of an input, one by one: for whoever connects a feed and asks why something does not count. What
//! the format makes of them, the clock, and an organisation's retention and tenants. Refuses to hold: the store.

use std::fs::File;
use std::io;

use formats::{
    Format, Framer, Ignored, Lesson, Mentions, Opened, Passed, Refusal, Settings, Sink, Taught, Warning,
};
use sighting::{Identity, IdentityKind, Mention, Second};

use crate::clock;

use super::batch::{ahead_reason, foreign_reason, latest};
use super::framing::{Head, read_head};
use super::source::{self, Input};
use super::{Plan, Progress, Rules, columnar};

/// Decompressed bytes after which no more is read, however few records there were.
const BYTES_MAX: usize = 4 << 20;

/// The first records of an input.
#[derive(Debug)]
pub(crate) struct Explained {
    /// None, where no record told one.
    pub(crate) format: Option<Format>,
    pub(crate) records: Vec<Explanation>,
}

/// What became of one record.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// On which it starts; 1 is the first.
    pub(crate) line: u64,
    pub(crate) became: Became,
    /// For a person.
    pub(crate) reason: String,
    /// The field that decided, where one did.
    pub(crate) field: Option<&'static str>,
    pub(crate) remote: Option<String>,
    pub(crate) second: Option<Second>,
    /// The names of the device, escaped, each with its kind.
    pub(crate) device: Vec<(&'static str, String)>,
}

/// What a record became, with the reason as counts call it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Became {
    Sighted,
    Ignored(&'static str),
    Refused(&'static str),
}

impl Became {
    /// As counts call it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Became::Sighted => "sighted",
            Became::Ignored(_) => "ignored",
            Became::Refused(_) => "refused",
        }
    }

    /// The reason as counts call it; none for a sighting.
    pub(crate) const fn code(self) -> Option<&'static str> {
        match self {
            Became::Sighted => None,
            Became::Ignored(code) | Became::Refused(code) => Some(code),
        }
    }
}

/// What a record becomes, and why.
type Verdict = (Became, String);

/// Reads the first `most` records of an input.
/// `rules` are those of the organisation that would take it.
pub(crate) fn explain(input: &Input, plan: &Plan, rules: &Rules, most: usize) -> io::Result<Explained> {
    let found =
        Found { settings: &plan.formats, rules, now: clock::now(), format: None, records: Vec::new(), most };
    if let Some(file) = columnar::file(input.path())? {
        return explain_rows(file, plan, found);
    }
    let (progress, stopped) = (Progress::new(None), || false);
    let mut stream = source::open(input, &progress, &stopped)?;
    let Head { mut bytes, opening, ended } = read_head(&mut stream, plan, &stopped)?;
    let mut framer = Framer::new(opening, &plan.formats.columns);
    let mut found = Found { format: opening.format(), ..found };
    let (mut ended, mut read) = (ended.map(|ended| ended.is_ok()), 0);
    loop {
        read += bytes.len();
        framer.push(&bytes, &mut |chunk| found.take(&chunk));
        framer.flush(&mut |chunk| found.take(&chunk));
        if ended.is_some() || found.records.len() >= most || read >= BYTES_MAX {
            break;
        }
        bytes.resize(formats::HEAD_BYTES, 0);
        match stream.reader.read(&mut bytes) {
            Ok(0) => ended = Some(true),
            Ok(more) => bytes.truncate(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => bytes.clear(),
            Err(_) => ended = Some(false),
        }
        if ended.is_some() {
            bytes.clear();
        }
    }
    match ended {
        Some(true) => framer.finish(&mut |chunk| found.take(&chunk)),
        // What is left of a record may read as another one.
        Some(false) => framer.break_off(&mut |chunk| found.take(&chunk)),
        None => {}
    }
    found.records.truncate(most);
    Ok(Explained { format: found.format, records: found.records })
}

/// Reads the first rows of a Parquet file.
fn explain_rows(file: File, plan: &Plan, mut found: Found<'_>) -> io::Result<Explained> {
    let read = columnar::read(file, plan, |chunk| {
        found.take(&chunk);
        found.records.len() < found.most
    });
    match read {
        // What came before the damage is worth showing.
        Err((_, damage)) if found.records.is_empty() => Err(io::Error::other(damage)),
        _ => Ok(Explained { format: found.format, records: found.records }),
    }
}

/// Notes what it is told.
struct Found<'a> {
    settings: &'a Settings,
    rules: &'a Rules,
    /// Standard input may take its time: each chunk is measured against the clock of its own.
    now: Second,
    format: Option<Format>,
    records: Vec<Explanation>,
    most: usize,
}

impl Found<'_> {
    fn take(&mut self, chunk: &formats::Chunk) {
        self.now = clock::now();
        self.format = chunk.format().or(self.format);
        formats::decode(chunk, self.settings, self);
    }

    /// Where a tenant's record is not ours, whatever is in it.
    fn of_tenant(&self, tenant: Option<&str>) -> Option<Verdict> {
        let tenant = tenant?;
        let is_foreign = self.rules.is_foreign(tenant);
        is_foreign.then(|| (Became::Refused("foreign_tenant"), foreign_reason(tenant)))
    }

    /// Where it is too late for this clock.
    fn of_clock(&self, second: Second) -> Option<Verdict> {
        (second > latest(self.now)).then(|| (Became::Refused("in_future"), ahead_reason(second)))
    }

    /// Where it is older than what is kept.
    fn of_retention(&self, second: Second) -> Option<Verdict> {
        let (kept_since, _) = self.rules.since(self.now);
        let reason = || format!("it is from before {kept_since}, since when sightings are kept");
        (second < kept_since).then(|| (Became::Ignored("too_old"), reason()))
    }

    fn add(&mut self, explanation: Explanation) {
        if self.records.len() < self.most {
            self.records.push(explanation);
        }
    }
}

impl Sink for Found<'_> {
    fn opened(&mut self, record: &Opened<'_>) {
        let device = names(&record.device);
        let judged = self
            .of_tenant(record.tenant)
            .or_else(|| self.of_clock(record.second))
            .or_else(|| self.of_retention(record.second))
            .or_else(|| device.is_empty().then(no_device));
        let sighted = || (Became::Sighted, "the device opened a connection".to_owned());
        let (became, reason) = judged.unwrap_or_else(sighted);
        self.add(Explanation {
            line: record.line,
            became,
            reason,
            field: None,
            remote: Some(record.remote.to_string()),
            second: Some(record.second),
            device,
        });
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        let reporter = record.reporter.as_ref();
        let judged = self.of_tenant(record.tenant);
        let field = self.format.filter(|_| judged.is_none()).and_then(|format| format.decided_by(record.why));
        let (became, reason) = judged.unwrap_or_else(|| ignored(record.why));
        self.add(Explanation {
            line: record.line,
            became,
            reason,
            field,
            remote: None,
            second: reporter.map(|reporter| reporter.second),
            device: reporter.map(|reporter| names(&reporter.device)).unwrap_or_default(),
        });
    }

    fn taught(&mut self, record: &Taught<'_>) {
        let (second, device, is_of_some) = match &record.lesson {
            Lesson::Leased(lease) => {
                let (mut device, what) = (lease.holders, names(&lease.holders));
                let is_of_some = what.iter().any(|(kind, _)| *kind != IdentityKind::Address.word());
                device.push(lease.what);
                (lease.since, device, is_of_some || lease.free_from.is_some())
            }
            Lesson::Device(facts) => {
                let mut agents = names(&facts.device).into_iter();
                let is_of_some = agents.any(|(kind, _)| kind == IdentityKind::AgentId.word());
                (facts.second, facts.device, is_of_some)
            }
        };
        // A lease from long ago may last until now.
        let is_device = matches!(record.lesson, Lesson::Device(_));
        let judged = self
            .of_tenant(record.tenant)
            .or_else(|| self.of_clock(second))
            .or_else(|| self.of_retention(second).filter(|_| is_device))
            .or_else(|| (!is_of_some).then(no_device));
        let device = names(&device);
        let (became, reason) = judged.unwrap_or_else(|| ignored(Ignored::Registry));
        self.add(Explanation {
            line: record.line,
            became,
            reason,
            field: None,
            remote: None,
            second: Some(second),
            device,
        });
    }

    fn refused(&mut self, refusal: Refusal, line: u64, field: Option<&'static str>) {
        self.add(Explanation {
            line,
            became: Became::Refused(refusal.code()),
            reason: refusal.to_string(),
            field,
            remote: None,
            second: None,
            device: Vec::new(),
        });
    }

    fn warned(&mut self, _: Warning, _: u64) {
        // It is told with the counts of a whole input.
    }
}

fn ignored(why: Ignored) -> Verdict {
    (Became::Ignored(why.code()), why.to_string())
}

fn no_device() -> Verdict {
    (Became::Refused(Refusal::NoDevice.code()), Refusal::NoDevice.to_string())
}

/// As they are kept: a host name without a domain is none of a domain, however the field was called.
fn names(device: &Mentions<'_>) -> Vec<(&'static str, String)> {
    let kept = |mention: Mention<'_>| {
        let identity = Identity::new(mention.kind, mention.written)?;
        Some((identity.kind().word(), identity.to_string()))
    };
    device.iter().filter_map(kept).collect()
}
