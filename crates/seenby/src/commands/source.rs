//! `seenby source`: who may send sightings in over HTTP, as what they are read, within which bounds, and with which token. Refuses
//! to hold: the taking in (`receive`), protocols (the HTTP room's), and how a source is shown (`source_shown`).

use std::num::{NonZeroU32, NonZeroU64};

use clap::{Args, Subcommand};
use formats::Wanted;
use serde_json::json;
use sighting::{
    Book, Change, Network, Organisation, ReadAs, Second, Secret, Source, SourceBounds, SourceId, SourceName,
    escape,
};

use super::ingest::{COLUMNS_HELP, parse_network};
use super::source_shown::{Added, list, show_added, show_one};
use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::{House, random_uuid};
use crate::ingest::words::{self, format_names};
use crate::output::counted;
use crate::receive::name_of;

/// What to do with sources.
#[derive(Subcommand, Debug)]
pub(crate) enum SourceCommand {
    /// Add a source; its token is shown once
    #[command(
        after_help = "Examples:\n  seenby source add winlogbeat --format ecs\n  seenby source add branch --from 192.0.2.0/24 --expires-days 90\n  seenby source add proxy --format csv --columns time=ts,device=host,ip=dst"
    )]
    Add(AddArgs),
    /// Change how a source is read, and its bounds; it holds from the next upload on
    #[command(
        after_help = "Examples:\n  seenby source change branch --new-devices-per-hour off\n  seenby source change branch --from 192.0.2.0/24,198.51.100.7"
    )]
    Change(ChangeArgs),
    /// List the sources
    #[command(after_help = "Example:\n  seenby source list --json")]
    List,
    /// Show a source
    #[command(after_help = "Example:\n  seenby source show branch")]
    Show {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        source: String,
    },
    /// Make a new token; the old ones go on for a while
    #[command(after_help = "Example:\n  seenby source rotate branch --overlap-hours 2")]
    Rotate {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        source: String,
        /// How long the old tokens are still accepted, in hours; 0 ends them at once
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = parse_overlap, allow_negative_numbers = true)]
        overlap_hours: u32,
        /// After how many days the new token ends [default: never]
        #[arg(long, value_name = "DAYS")]
        expires_days: Option<NonZeroU32>,
    },
    /// Remove a source; its tokens end at once, what it told stays; asks first
    #[command(after_help = "Example:\n  seenby source remove branch")]
    Remove {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        source: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// A source to be added.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Its name, under which its sightings are kept; unique in its organisation
    #[arg(value_parser = words::source_name)]
    name: SourceName,
    #[command(flatten)]
    said: Said,
    /// After how many days its token ends [default: never]
    #[arg(long, value_name = "DAYS")]
    expires_days: Option<NonZeroU32>,
}

/// Whatever is named replaces what was; the rest stays.
#[derive(Args, Debug)]
pub(crate) struct ChangeArgs {
    /// Its name or id
    #[arg(value_name = "NAME|ID")]
    source: String,
    #[command(flatten)]
    said: Said,
}

/// What can be said of a source.
#[derive(Args, Debug)]
struct Said {
    /// What it sends; auto: the first bytes of each upload tell [default: auto]
    #[arg(long, value_name = "FORMAT", value_parser = words::format, long_help = format!("What it sends, one of: auto, zeek, mde, sysmon, {}", format_names()))]
    format: Option<Wanted>,
    /// Where its clocks are, for times without a zone: a name such as Europe/Zurich, UTC, or none
    #[arg(long, value_name = "ZONE|none", value_parser = parse_zone)]
    time_zone: Option<Choice<String>>,
    /// Which keys or columns of the formats csv and ndjson mean what, or none
    #[arg(long, value_name = "KEY=COLUMN,…|none", value_parser = parse_column_text, long_help = COLUMNS_HELP)]
    columns: Option<Choice<String>>,
    /// The networks whose addresses are ours, for sensors that see both directions; default: what the settings say
    #[arg(long, value_name = "CIDR,CIDR|default", value_parser = parse_networks)]
    local_networks: Option<Choice<Networks>>,
    /// From where it may send; any: from anywhere [default: any]
    #[arg(long, value_name = "CIDR,CIDR|any", value_parser = parse_networks)]
    from: Option<Choice<Networks>>,
    /// How fast it may send; off: as fast as it likes [default: off]
    #[arg(long, value_name = "N|off", value_parser = parse_number::<NonZeroU64>)]
    bytes_per_second: Option<Choice<NonZeroU64>>,
    /// Devices that nobody told of before, in an hour; off: any number [default: 100000]
    #[arg(long, value_name = "N|off", value_parser = parse_number::<NonZeroU32>)]
    new_devices_per_hour: Option<Choice<NonZeroU32>>,
    /// How old a sighting of it may be, in hours; off: as old as is kept [default: 168]
    #[arg(long, value_name = "HOURS|off", value_parser = parse_number::<NonZeroU32>)]
    back_dating_hours: Option<Choice<NonZeroU32>>,
}

/// A value, or the word for having none.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Choice<T>(Option<T>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Networks(Vec<Network>);

impl Said {
    fn reads(&self, was: &ReadAs) -> ReadAs {
        let networks = |choice: &Choice<Networks>| choice.0.clone().map(|networks| networks.0);
        ReadAs {
            format: self
                .format
                .map_or_else(|| was.format.clone(), |wanted| name_of(wanted).map(str::to_owned)),
            time_zone: self.time_zone.clone().map_or_else(|| was.time_zone.clone(), |choice| choice.0),
            columns: self.columns.clone().map_or_else(|| was.columns.clone(), |choice| choice.0),
            local_networks: self.local_networks.as_ref().map_or_else(|| was.local_networks.clone(), networks),
        }
    }

    fn bounds(&self, was: &SourceBounds) -> SourceBounds {
        let from =
            |choice: &Choice<Networks>| choice.0.clone().map(|networks| networks.0).unwrap_or_default();
        SourceBounds {
            networks: self.from.as_ref().map_or_else(|| was.networks.clone(), from),
            bytes_per_second: chosen(&self.bytes_per_second, was.bytes_per_second),
            new_devices_per_hour: chosen(&self.new_devices_per_hour, was.new_devices_per_hour),
            back_dating_hours: chosen(&self.back_dating_hours, was.back_dating_hours),
        }
    }
}

fn chosen<T: Copy>(said: &Option<Choice<T>>, was: Option<T>) -> Option<T> {
    said.as_ref().map_or(was, |choice| choice.0)
}

/// Runs the command.
pub(crate) async fn run(command: SourceCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    match command {
        SourceCommand::List => list(&*house.book().await?, &organisation, &mut context),
        SourceCommand::Show { source } => {
            let source = find(&*house.book().await?, &organisation, &source)?;
            show_one(&source, &mut context)
        }
        SourceCommand::Add(args) => add(&house, &organisation, args, &mut context).await,
        SourceCommand::Change(ChangeArgs { source, said }) => {
            let source = find(&*house.book().await?, &organisation, &source)?;
            let (read_as, bounds) = (said.reads(&source.read_as), said.bounds(&source.bounds));
            let read_as = (read_as != source.read_as).then_some(read_as);
            let bounds = (bounds != source.bounds).then_some(bounds);
            if read_as.is_some() || bounds.is_some() {
                house.commit(Change::ChangeSource { source: source.id, read_as, bounds }).await?;
            }
            let source = find(&*house.book().await?, &organisation, &source.id.to_string())?;
            show_one(&source, &mut context)
        }
        SourceCommand::Rotate { source, overlap_hours, expires_days } => {
            let source = find(&*house.book().await?, &organisation, &source)?;
            rotate(&house, &source, overlap_hours, expires_days, &mut context).await
        }
        SourceCommand::Remove { source, yes } => {
            let source = find(&*house.book().await?, &organisation, &source)?;
            let name = escape(source.name.as_str()).into_owned();
            confirm(
                yes,
                &format!("This ends the tokens of the source '{name}'; what it told stays. Remove it?"),
            )?;
            house.commit(Change::RemoveSource(source.id)).await?;
            if context.global.json {
                context.output.json(&json!({ "id": source.id.to_string() }))?;
            } else {
                context.output.line(format!("Removed source '{name}'."))?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn add(house: &House, organisation: &Organisation, args: AddArgs, context: &mut Context) -> Outcome {
    let now = clock::now();
    let (token, secret) = new_token(now, args.expires_days);
    let expires_at = secret.expires_at;
    let source = Source {
        id: SourceId(random_uuid()?),
        organisation: organisation.id,
        name: args.name,
        read_as: args.said.reads(&ReadAs::default()),
        bounds: args.said.bounds(&SourceBounds::default()),
        tokens: vec![secret],
        created_at: now,
    };
    house.commit(Change::AddSource(source.clone())).await?;
    let sentence = format!("Added source '{}'.", escape(source.name.as_str()));
    show_added(&sentence, &Added::of(&source, &token, expires_at), context)
        .map_err(|failure| lost(&source, &failure))
}

async fn rotate(
    house: &House,
    source: &Source,
    overlap_hours: u32,
    expires_days: Option<NonZeroU32>,
    context: &mut Context,
) -> Outcome {
    let now = clock::now();
    let (token, secret) = new_token(now, expires_days);
    let expires_at = secret.expires_at;
    // Accepted up to and including the last second; without an overlap that second is past.
    let others_until: Second = match overlap_hours {
        0 => now.minus(1),
        hours => now.plus(u64::from(hours) * u64::from(sighting::SECONDS_PER_HOUR)),
    };
    let change = Change::RotateToken { source: source.id, token: secret, others_until };
    house.commit(change).await?;
    let name = escape(source.name.as_str());
    let sentence = match overlap_hours {
        0 => format!("'{name}' has a new token; the old ones ended now."),
        hours => {
            let hours = counted(hours.into(), "hour");
            format!("'{name}' has a new token; the old ones are accepted for {hours} more.")
        }
    };
    show_added(&sentence, &Added::of(source, &token, expires_at), context)
        .map_err(|failure| lost(source, &failure))
}

/// A token, and what is kept of it.
fn new_token(now: Second, expires_days: Option<NonZeroU32>) -> (api::PlainSecret, Secret) {
    let (plain, sha256) = api::new_secret(crate::random::fill);
    let days = expires_days.map(|days| u64::from(days.get()) * u64::from(sighting::SECONDS_PER_DAY));
    (plain, Secret { sha256, created_at: now, expires_at: days.map(|seconds| now.plus(seconds)) })
}

/// The source of a name or an id.
fn find(book: &Book, organisation: &Organisation, named: &str) -> Result<Source, Failure> {
    book.source(organisation.id, named).cloned().ok_or_else(|| {
        Failure::usage(format!(
            "'{}' has no source '{}'; `{}` shows all",
            escape(&organisation.name),
            escape(named),
            hint::run("source list")
        ))
    })
}

/// A token that nobody saw. It is in force all the same, so this is no success, whoever stopped reading.
fn lost(source: &Source, failure: &Failure) -> Failure {
    Failure::unavailable(format!(
        "the new token of '{}' could not be printed ({:#}) and is lost; make another with `{}`",
        escape(source.name.as_str()),
        failure.cause,
        hint::run(format!("source rotate {}", quote(source.name.as_str())))
    ))
}

fn parse_zone(text: &str) -> Result<Choice<String>, String> {
    if text == "none" {
        return Ok(Choice(None));
    }
    words::time_zone(text).map(|_| Choice(Some(text.to_owned())))
}

fn parse_column_text(text: &str) -> Result<Choice<String>, String> {
    if text == "none" {
        return Ok(Choice(None));
    }
    words::columns(text).map(|_| Choice(Some(text.to_owned())))
}

fn parse_networks(text: &str) -> Result<Choice<Networks>, String> {
    if matches!(text, "any" | "default") {
        return Ok(Choice(None));
    }
    let networks: Result<Vec<Network>, String> =
        text.split(',').map(|one| parse_network(one.trim())).collect();
    Ok(Choice(Some(Networks(networks?))))
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Result<Choice<T>, String> {
    if text == "off" {
        return Ok(Choice(None));
    }
    text.parse()
        .map(|number| Choice(Some(number)))
        .map_err(|_| "type a whole number from 1, or off".to_owned())
}

/// Whole hours as typed.
fn parse_overlap(text: &str) -> Result<u32, String> {
    let advice = "type a whole number of hours, such as 24, or 0 to end the old tokens at once";
    text.parse().map_err(|_| advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        said: Said,
    }

    fn said(arguments: &[&str]) -> Said {
        Typed::try_parse_from(std::iter::once(&"x").chain(arguments))
            .unwrap_or_else(|error| panic!("{error}"))
            .said
    }

    #[test]
    fn what_is_named_replaces_and_the_rest_stays() {
        let (read_as, bounds) = (ReadAs::default(), SourceBounds::default());
        let nothing = said(&[]);
        assert_eq!((nothing.reads(&read_as), nothing.bounds(&bounds)), (read_as.clone(), bounds.clone()));
        let all = said(&[
            "--format",
            "conn.log",
            "--time-zone",
            "UTC",
            "--columns",
            "time=ts",
            "--local-networks",
            "10.0.0.0/8",
            "--from",
            "192.0.2.0/24, 198.51.100.7",
            "--bytes-per-second",
            "9",
            "--new-devices-per-hour",
            "off",
            "--back-dating-hours",
            "5",
        ]);
        let (read_as, bounds) = (all.reads(&read_as), all.bounds(&bounds));
        assert_eq!(read_as.format.as_deref(), Some("zeek"));
        assert_eq!(
            (read_as.time_zone.as_deref(), read_as.columns.as_deref()),
            (Some("UTC"), Some("time=ts"))
        );
        assert_eq!(read_as.local_networks.as_ref().map(Vec::len), Some(1));
        assert_eq!((bounds.networks.len(), bounds.bytes_per_second), (2, NonZeroU64::new(9)));
        assert_eq!((bounds.new_devices_per_hour, bounds.back_dating_hours), (None, NonZeroU32::new(5)));
        let none = said(&[
            "--format",
            "auto",
            "--time-zone",
            "none",
            "--columns",
            "none",
            "--local-networks",
            "default",
            "--from",
            "any",
            "--bytes-per-second",
            "off",
        ]);
        assert_eq!(none.reads(&read_as), ReadAs::default());
        assert_eq!(
            none.bounds(&bounds),
            SourceBounds { networks: Vec::new(), bytes_per_second: None, ..bounds }
        );
        for wrong in
            [["--format", "x"], ["--from", "10/8"], ["--bytes-per-second", "0"], ["--time-zone", "Mars"]]
        {
            assert!(Typed::try_parse_from(["x", wrong[0], wrong[1]]).is_err(), "{wrong:?}");
        }
    }
}
