//! `seenby audit`: who changed what of organisations, applications, people, roles and keys, and when. Refuses to hold: changes
//! of sightings and devices (the log has those), and what is written down (the directory does that).

use clap::Args;
use serde::Serialize;
use sighting::{AuditEntry, Directory as _, escape};

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::output::{note, table};

/// Who changed what, and when: organisations, applications, people, roles and keys; the newest change is the last line
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  seenby audit\n  seenby audit -n 1000 --json")]
pub(crate) struct AuditArgs {
    /// How many of the newest changes
    #[arg(
        short = 'n',
        long = "entries",
        value_name = "N",
        default_value_t = 50,
        value_parser = parse_entries,
        allow_negative_numbers = true
    )]
    entries: u32,
}

/// One change as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    at: String,
    actor: &'a str,
    what: &'a str,
}

/// Runs the command.
pub(crate) async fn run(args: AuditArgs, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let entries_max = usize::try_from(args.entries).unwrap_or(usize::MAX);
    let mut entries: Vec<AuditEntry> = house.directory.audit(entries_max).await?;
    // As in every log: what happened last stands where the eye is.
    entries.reverse();
    if context.global.json {
        let shown =
            entries.iter().map(|it| Shown { at: it.at.to_string(), actor: &it.actor, what: &it.what });
        context.output.json(&shown.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["when", "who", "what"]);
    for entry in &entries {
        rows.add_row([
            entry.at.to_string(),
            escape(&entry.actor).into_owned(),
            escape(&entry.what).into_owned(),
        ]);
    }
    context.output.table(&rows)?;
    if entries.len() == entries_max {
        note(&format!("These are the newest {entries_max}; -n N shows more."));
    }
    Ok(Exit::Done)
}

/// A number of entries as typed.
fn parse_entries(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "type a whole number from 1, such as 100".to_owned())
}
