//! `seenby retention`: how long an organisation's sightings are kept. Refuses to hold: the deletion itself.

use clap::Subcommand;
use serde::Serialize;
use sighting::{Change, Retention, Store as _, escape};

use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Outcome};
use crate::output::{counted, grouped};

/// What to do with retention.
#[derive(Subcommand, Debug)]
pub(crate) enum RetentionCommand {
    /// Say how long sightings are kept
    #[command(after_help = "Example:\n  seenby retention show")]
    Show,
    /// Keep sightings for another time; says what that would delete, and asks
    #[command(
        after_help = "Examples:\n  seenby retention set 2160        90 days\n  seenby retention set forever"
    )]
    Set {
        /// A number of hours, or 'forever'
        #[arg(value_name = "HOURS|forever", value_parser = parse, allow_negative_numbers = true)]
        retention: Retention,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// The result as JSON. `retention_hours` is null for ever.
#[derive(Serialize)]
struct Shown {
    organisation: String,
    name: String,
    retention_hours: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<u64>,
}

/// Runs the command.
pub(crate) async fn run(command: RetentionCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    let name = escape(&organisation.name).into_owned();
    let mut shown = Shown {
        organisation: organisation.id.to_string(),
        name: organisation.name.clone(),
        retention_hours: hours(organisation.retention),
        deleted: None,
        kept: None,
    };
    let sentence = match command {
        RetentionCommand::Show => {
            format!("'{name}' keeps sightings {}.", told(organisation.retention))
        }
        RetentionCommand::Set { retention, yes } => {
            let now = clock::now();
            let since = retention.since(now);
            // What is outside already, and only waits for its room to be freed, is nobody's loss any more.
            let gone = house.store.outside(organisation.id, organisation.retention.since(now)).await?.dropped;
            let mut before = house.store.outside(organisation.id, since).await?;
            before.dropped = before.dropped.saturating_sub(gone);
            if before.dropped > 0 {
                confirm(
                    yes,
                    &format!(
                        "To keep sightings {} deletes {} of '{name}' from before {since}, {} stay. Delete them?",
                        told(retention),
                        counted(before.dropped, "sighting"),
                        grouped(before.kept)
                    ),
                )?;
            }
            house.commit(Change::SetRetention(organisation.id, retention)).await?;
            house.store.retain(organisation.id, since).await.map_err(|error| {
                anyhow::Error::from(error).context(format!(
                    "'{name}' now keeps sightings {}; what is older is not seen any more, but was not deleted yet \
                     (`seenby serve` does it every hour)",
                    told(retention)
                ))
            })?;
            shown.retention_hours = hours(retention);
            shown.deleted = Some(before.dropped);
            shown.kept = Some(before.kept);
            format!(
                "'{name}' now keeps sightings {} ({} deleted, {} kept).",
                told(retention),
                counted(before.dropped, "sighting"),
                grouped(before.kept)
            )
        }
    };
    if context.global.json {
        context.output.json(&shown)?;
    } else {
        context.output.line(sentence)?;
    }
    Ok(Exit::Done)
}

/// Retention as typed.
pub(crate) fn parse(text: &str) -> Result<Retention, String> {
    Retention::parse(text).ok_or_else(|| {
        "type a number of hours from 1 to 2147483647, such as 720 for 30 days, or 'forever'".to_owned()
    })
}

/// Hours, or none for ever.
pub(crate) fn hours(retention: Retention) -> Option<u32> {
    match retention {
        Retention::Hours(hours) => Some(hours),
        Retention::Forever => None,
    }
}

/// `for 720 hours (30 days)`.
pub(crate) fn told(retention: Retention) -> String {
    match retention {
        Retention::Hours(hours) if hours.is_multiple_of(24) => {
            format!("for {} ({})", counted(hours.into(), "hour"), counted(u64::from(hours / 24), "day"))
        }
        Retention::Hours(hours) => format!("for {}", counted(hours.into(), "hour")),
        Retention::Forever => "for ever".to_owned(),
    }
}
