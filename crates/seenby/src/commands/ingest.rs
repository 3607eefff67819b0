//! `seenby ingest`: takes in logs and says what became of every record. Refuses to hold: the taking in (`ingest`).

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use formats::{ColumnMap, Format, Wanted};
use jiff::tz::TimeZone;
use serde::Serialize;
use sighting::{
    Book, LocalNetworks, Network, Organisation, RETENTION_DEFAULT, Retention, SourceName, Store as _, escape,
};

use super::Context;
use crate::exit::{Exit, ExitWith as _, Failure, Outcome};
use crate::house::{DEFAULT_NAME, House, new_organisation};
use crate::ingest::{
    self, Explained, Explanation, Found, Input, Plan, Progress, Rules, Taken, Tally, WarnedIn,
};
use crate::output::{self, Output, align_right, counted, grouped, table};

/// Take in logs: files, folders of files, or - for standard input
///
/// Formats are told by the first bytes, gzip and zstd too. Every record is counted once, as sighted, ignored or
/// refused. Taking in the same data twice changes nothing.
///
/// Exit code 0 also with refused records; 4 with --strict, or when every record of a file was refused.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  seenby ingest /var/log/zeek/\n  zcat events.json.gz | seenby ingest --format mde -\n  seenby ingest --columns time=ts,device=host,ip=dst flows.csv"
)]
pub(crate) struct IngestArgs {
    /// Files, pipes, folders (every file below them, links are followed), or - for standard input
    #[arg(required = true, value_name = "FILE|FOLDER|-")]
    paths: Vec<PathBuf>,
    /// What they are [default: told by the first bytes]
    #[arg(long, value_name = "FORMAT", value_parser = ingest::format, long_help = format!("What they are, one of: auto, zeek, {}", ingest::format_names()))]
    format: Option<Wanted>,
    /// Under whose name to keep it [default: the format's name]
    #[arg(long, value_name = "NAME", value_parser = ingest::source_name)]
    source: Option<SourceName>,
    /// The networks whose addresses are ours, for sensors that see both directions
    #[arg(long, value_name = "CIDR,CIDR", value_delimiter = ',', value_parser = parse_network)]
    local_networks: Option<Vec<Network>>,
    /// The networks in which an address is one machine at a time, beside those of the organisation: records that name a machine and
    /// its address there tell whose the address is
    #[arg(long, value_name = "CIDR,CIDR", value_delimiter = ',', value_parser = parse_network)]
    unique_networks: Option<Vec<Network>>,
    /// The networks in which the sensor sees the hardware address of the device itself, no router in between: there a device is
    /// known by it (orig_l2_addr of Zeek, srcmac of FortiGate)
    #[arg(long, value_name = "CIDR,CIDR", value_delimiter = ',', value_parser = parse_network)]
    mac_networks: Option<Vec<Network>>,
    /// Count loopback, link-local, multicast, broadcast and unspecified remote addresses too
    #[arg(long)]
    keep_special_remotes: bool,
    /// Which keys or columns of the formats csv and ndjson mean what
    #[arg(long, value_name = "KEY=COLUMN,…", value_parser = ingest::columns, long_help = COLUMNS_HELP)]
    columns: Option<ColumnMap>,
    /// Where its clocks are, for times without a zone: a name such as Europe/Zurich, or UTC
    #[arg(long, value_name = "ZONE", value_parser = ingest::time_zone)]
    time_zone: Option<TimeZone>,
    /// Take nothing in: show what becomes of the first records of each input, and why
    ///
    /// That is what would be counted: also whether they are in the future, too old for the organisation, or of a foreign tenant.
    #[arg(long, conflicts_with = "strict")]
    explain: bool,
    /// End with exit code 4 if any record was refused
    #[arg(long)]
    strict: bool,
}

pub(crate) const COLUMNS_HELP: &str = "Which keys or columns of the formats csv and ndjson mean what, as time=ts,device=host,ip=dst. \
    Further keys: agent_id, action, opened (the words of action that count, separated by |), device_kind (agent_id, \
    fqdn, host_name, mac or address), pan_os (all fields of a custom log format of PAN-OS in their order, as \
    start|src|dst|action), aws_vpc (all fields of VPC flow logs without a header, as srcaddr|dstaddr|start|action). A dot in a JSON key descends into an object.";

/// Records of an input that are explained.
const EXPLAINED_MAX: usize = 20;

/// Inputs of which more is said than what was refused.
const NOTES_SHOWN_MAX: usize = 20;

/// Inputs whose refused records are shown.
const REFUSED_INPUTS_SHOWN_MAX: usize = 20;

/// The result as JSON: these five keys are fixed.
#[derive(Serialize)]
struct Counts<'a> {
    lines: u64,
    sighted: u64,
    ignored: &'a std::collections::BTreeMap<&'static str, u64>,
    refused: &'a std::collections::BTreeMap<&'static str, u64>,
    seconds: f64,
}

/// Runs the command.
pub(crate) async fn run(args: IngestArgs, mut context: Context) -> Outcome {
    let data_dir = context.data_dir()?;
    let Found { inputs, skipped } = ingest::inputs(&args.paths, &data_dir)?;
    for line in skipped {
        output::note(&line);
    }
    let mut plan = Plan {
        wanted: args.format.unwrap_or_default(),
        formats: formats::Settings {
            local_networks: args
                .local_networks
                .map_or_else(|| context.settings.local_networks.clone(), LocalNetworks::Listed),
            keep_special_remotes: args.keep_special_remotes || context.settings.keep_special_remotes,
            columns: args.columns.unwrap_or_default(),
            time_zone: args.time_zone,
            unique_networks: args.unique_networks.unwrap_or_else(|| context.settings.unique_networks.clone()),
            mac_networks: args.mac_networks.unwrap_or_else(|| context.settings.mac_networks.clone()),
        },
        source: args.source,
        threads: context.settings.ingest_threads,
    };
    // Explaining makes no folder; taking it in would make one, with an organisation of this retention.
    if args.explain && !House::exists(&data_dir) {
        let organisation = new_organisation(DEFAULT_NAME, None, RETENTION_DEFAULT)?;
        let rules = Rules::new(&organisation, &Book::default());
        return explain(&inputs, &plan, &rules, &mut context);
    }
    let house = House::open(&data_dir, &context.settings.store).await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    plan.formats.unique_networks.extend(house.store.registry(organisation.id).await?.unique_networks);
    if args.explain {
        let rules = Rules::new(&organisation, &*house.book().await?);
        // An input may take its time, and nobody is to wait for the folder meanwhile.
        drop(house);
        return explain(&inputs, &plan, &rules, &mut context);
    }
    let interrupt = Interrupt::listen();
    let begun_at = Instant::now();
    let Taken { tally, failure } =
        take_in_what_comes(&house, &organisation, &plan, &inputs, &interrupt).await?;
    report(&tally, begun_at.elapsed(), context.global.json, &mut context.output)?;
    report_too_old(&tally, &organisation);
    if let Some(failure) = failure {
        return Err(failure);
    }
    if interrupt.is_set() {
        output::note("Interrupted: what was read by then is in the store; run it again to take in the rest.");
        return Ok(Exit::Interrupted);
    }
    let is_refused =
        tally.refused_in.values().any(|input| input.is_all) || (args.strict && tally.refused_total() > 0);
    Ok(if is_refused { Exit::InputRefused } else { Exit::Done })
}

/// Shows what becomes of the first records.
fn explain(inputs: &[Input], plan: &Plan, rules: &Rules, context: &mut Context) -> Outcome {
    let mut all = Vec::new();
    for input in inputs {
        let explained = ingest::explain(input, plan, rules, EXPLAINED_MAX)
            .with_context(|| format!("{} cannot be read", escape(&input.name)))
            .exit_with(Exit::Unavailable)?;
        if context.global.json {
            all.push(ExplainedShown::of(&input.name, &explained));
        } else {
            show_explained(&input.name, &explained, &mut context.output)?;
        }
    }
    if context.global.json {
        context.output.json(&all)?;
    }
    Ok(Exit::Done)
}

fn show_explained(name: &str, explained: &Explained, output: &mut Output) -> Result<(), Failure> {
    let format = explained.format.map_or("no format that is known", Format::name);
    output.line(format!("{}: {format}", escape(name)))?;
    let mut rows = table(&["line", "", "why", "remote", "when", "device"]);
    align_right(&mut rows, 0);
    for record in &explained.records {
        let Explanation { line, became, reason, field, remote, second, device } = record;
        let field = field.map(|field| format!(" ({field})")).unwrap_or_default();
        let device: Vec<String> = device.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        rows.add_row([
            line.to_string(),
            became.word().to_owned(),
            format!("{reason}{field}"),
            remote.clone().unwrap_or_default(),
            second.map(|second| second.to_string()).unwrap_or_default(),
            device.join(", "),
        ]);
    }
    output.table(&rows)
}

/// The same as JSON.
#[derive(Serialize)]
struct ExplainedShown {
    input: String,
    format: Option<&'static str>,
    records: Vec<ExplanationShown>,
}

#[derive(Serialize)]
struct ExplanationShown {
    line: u64,
    became: &'static str,
    code: Option<&'static str>,
    reason: String,
    field: Option<&'static str>,
    remote: Option<String>,
    time: Option<String>,
    device: Vec<NameShown>,
}

#[derive(Serialize)]
struct NameShown {
    kind: &'static str,
    name: String,
}

impl ExplainedShown {
    fn of(name: &str, explained: &Explained) -> ExplainedShown {
        let record = |record: &Explanation| ExplanationShown {
            line: record.line,
            became: record.became.word(),
            code: record.became.code(),
            reason: record.reason.clone(),
            field: record.field,
            remote: record.remote.clone(),
            time: record.second.map(|second| second.to_string()),
            device: record.device.iter().map(|(kind, name)| NameShown { kind, name: name.clone() }).collect(),
        };
        ExplainedShown {
            input: escape(name).into_owned(),
            format: explained.format.map(Format::name),
            records: explained.records.iter().map(record).collect(),
        }
    }
}

/// Takes inputs into an organisation, with a progress bar where somebody watches.
pub(crate) async fn take_in(
    house: &House,
    organisation: &Organisation,
    plan: &Plan,
    inputs: &[Input],
    interrupt: &Interrupt,
) -> Result<Tally, Failure> {
    let Taken { tally, failure } = take_in_what_comes(house, organisation, plan, inputs, interrupt).await?;
    failure.map_or(Ok(tally), Err)
}

/// The same for those who want the counts also where it fails midway.
async fn take_in_what_comes(
    house: &House,
    organisation: &Organisation,
    plan: &Plan,
    inputs: &[Input],
    interrupt: &Interrupt,
) -> Result<Taken, Failure> {
    let rules = Rules::new(organisation, &*house.book().await?)
        .with_unique_networks(plan.formats.unique_networks.clone());
    let rules = Arc::new(rules);
    let progress = Progress::new(ingest::bytes(inputs));
    interrupt.is_watched(&progress);
    let taken = ingest::run(&house.store, &rules, plan, inputs, &progress, &interrupt.flag);
    progress.finish();
    Ok(taken)
}

/// A flag that the first interrupt sets; the second ends the program at once. Interrupts are listened to until it
/// is dropped.
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
    /// The bar that may be on the terminal when it says something.
    progress: Arc<OnceLock<Progress>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Interrupt {
    /// From now on.
    pub(crate) fn listen() -> Interrupt {
        let flag = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(OnceLock::<Progress>::new());
        let listening = tokio::spawn({
            let (flag, progress) = (Arc::clone(&flag), Arc::clone(&progress));
            async move {
                while tokio::signal::ctrl_c().await.is_ok() {
                    if flag.swap(true, Ordering::Relaxed) {
                        std::process::exit(Exit::Interrupted as i32);
                    }
                    let say =
                        || output::note("Stopping after what has been read; once more to stop at once.");
                    match progress.get() {
                        Some(progress) => progress.aside(say),
                        None => say(),
                    }
                }
            }
        });
        Interrupt { flag, progress, listening }
    }

    fn is_watched(&self, progress: &Progress) {
        // There is one bar at a time, and one for each interrupt.
        let _ = self.progress.set(progress.clone());
    }

    /// Whether there was one.
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Tells what became of the records.
fn report(tally: &Tally, took: Duration, json: bool, output: &mut Output) -> Result<(), Failure> {
    report_refused(tally);
    report_odd(tally);
    if json {
        let Tally { sighted, ignored, refused, .. } = tally;
        let seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
        return output.json(&Counts { lines: tally.lines(), sighted: *sighted, ignored, refused, seconds });
    }
    let mut rows = table(&["records", "", "reason"]);
    align_right(&mut rows, 0);
    rows.add_row([grouped(tally.sighted), "sighted".to_owned(), String::new()]);
    for (what, reasons) in [("ignored", &tally.ignored), ("refused", &tally.refused)] {
        for (code, count) in reasons {
            rows.add_row([grouped(*count), what.to_owned(), (*code).to_owned()]);
        }
    }
    rows.add_row([grouped(tally.lines()), "in all".to_owned(), String::new()]);
    output.table(&rows)?;
    let seconds = took.as_secs_f64();
    let rate = if seconds > 0.0 { tally.lines() as f64 / seconds } else { 0.0 };
    output.line(format!(
        "{} in {seconds:.1} s ({} records/s).",
        counted(tally.inputs, "input"),
        grouped(rate.round() as u64)
    ))
}

/// Tells, on standard error, which records were refused, where and why: the first of each input.
fn report_refused(tally: &Tally) {
    let mut told = 0;
    for refused in tally.refused_in.values().take(REFUSED_INPUTS_SHOWN_MAX) {
        let name = escape(&refused.name);
        if refused.is_all {
            let first =
                refused.first.first().map(|record| format!("; line {}: {}", record.line, record.reason));
            output::note(&format!(
                "refused  {name}: every record ({}){}",
                grouped(refused.records),
                first.unwrap_or_default()
            ));
            told += refused.records;
            continue;
        }
        for record in &refused.first {
            output::note(&format!("refused  {name}:{}: {}", record.line, record.reason));
        }
        told += refused.first.len() as u64;
    }
    let untold = tally.refused_total() - told;
    if untold > 0 {
        output::note(&format!("refused  and {} more", grouped(untold)));
    }
}

/// Tells, on standard error, what was odd about records that were taken, and of inputs that a setting does not fit.
fn report_odd(tally: &Tally) {
    for ((warning, _), warned) in &tally.warned_in {
        let WarnedIn { name, records, first_line } = warned;
        output::note(&format!(
            "warning  {}: {}, first on line {first_line}: {warning}",
            escape(name),
            counted(*records, "record")
        ));
    }
    for note in tally.notes.iter().take(NOTES_SHOWN_MAX) {
        output::note(note);
    }
    let untold = tally.notes.len().saturating_sub(NOTES_SHOWN_MAX);
    if untold > 0 {
        output::note(&format!("note     and {} more", counted(untold as u64, "input")));
    }
}

/// Tells why nothing is there where all that could be is too old.
fn report_too_old(tally: &Tally, organisation: &Organisation) {
    let too_old = tally.ignored.get("too_old").copied().unwrap_or(0);
    let Retention::Hours(hours) = organisation.retention else { return };
    if tally.sighted > 0 || too_old == 0 {
        return;
    }
    output::note(&format!(
        "note     every connection ({}) is older than the {} that the organisation '{}' keeps; to keep older ones: \
         `seenby retention set forever`, or in a new data folder `seenby init --retention-hours forever`",
        grouped(too_old),
        counted(u64::from(hours), "hour"),
        escape(&organisation.name)
    ));
}

pub(crate) fn parse_network(text: &str) -> Result<Network, String> {
    Network::parse(text).map_err(|_| "type networks such as 10.0.0.0/8,fd00::/8".to_owned())
}
