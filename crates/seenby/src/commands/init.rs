//! `seenby init`: makes a data folder with its first organisation. Refuses to hold: changes of what is there.

use clap::Args;
use serde::Serialize;
use sighting::{Book, Change, Organisation, RETENTION_DEFAULT, Retention, Uuid, escape};

use super::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::{House, choose, new_organisation, shown};

/// Make a data folder and its first organisation
///
/// Other commands make a missing folder too, with an organisation named 'default' that keeps 30 days. On a folder
/// that is there, init changes nothing and says which organisation it has.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  seenby init --data-dir /srv/seenby --organisation-name Contoso --retention-hours 2160"
)]
pub(crate) struct InitArgs {
    /// The organisation's name [default: default]
    #[arg(long, value_name = "NAME")]
    organisation_name: Option<String>,
    /// The organisation's tenant GUID [default: a random one]
    #[arg(long, value_name = "GUID", value_parser = super::parse_guid)]
    organisation_id: Option<Uuid>,
    /// How many hours sightings are kept: a number or 'forever' [default: 720, which is 30 days]
    #[arg(long, value_name = "HOURS", value_parser = super::retention::parse, allow_negative_numbers = true)]
    retention_hours: Option<Retention>,
}

/// The result as JSON.
#[derive(Serialize)]
struct Made {
    organisation: String,
}

/// Runs the command.
pub(crate) async fn run(args: InitArgs, mut context: Context) -> Outcome {
    let path = context.data_dir()?;
    let house = House::reach(&path, &context.settings.store)?;
    let book = house.book().await?;
    let has_none = book.organisations.is_empty();
    let organisation = if has_none {
        let organisation = new_organisation(
            args.organisation_name.as_deref().unwrap_or("default"),
            args.organisation_id,
            args.retention_hours.unwrap_or(RETENTION_DEFAULT),
        )?;
        house.commit(Change::AddOrganisation(organisation.clone())).await?;
        organisation
    } else {
        let by_id = args.organisation_id.map(|id| id.to_string());
        let named = args.organisation_name.as_deref().or(by_id.as_deref()).or(context.organisation_name());
        let organisation = choose(&book, named)
            .map_err(|failure| Failure::usage(format!("{:#}; {}", failure.cause, advice(&args, &book))))?;
        check_same(&args, organisation)?;
        organisation.clone()
    };
    if context.global.json {
        context.output.json(&Made { organisation: organisation.id.to_string() })?;
        return Ok(Exit::Done);
    }
    let state = if has_none { "Made" } else { "There already is" };
    context.output.line(format!(
        "{state} {} with organisation '{}' ({}); its sightings are kept {}.",
        shown(&path),
        escape(&organisation.name),
        organisation.id,
        super::retention::told(organisation.retention)
    ))?;
    Ok(Exit::Done)
}

/// What to type instead of naming an organisation that is not there.
fn advice(args: &InitArgs, book: &Book) -> String {
    let wanted = quote(args.organisation_name.as_deref().unwrap_or("NAME"));
    let add = hint::run(format!("org add {wanted}")).about_none();
    let mut there = book.organisations.values();
    match (there.next(), there.next()) {
        (Some(only), None) if args.organisation_name.is_some() => {
            let rename = hint::run(format!("org rename {} {wanted}", quote(&only.name))).about_none();
            format!("`{rename}` gives that one the name, `{add}` adds another")
        }
        _ => format!("`{add}` adds one"),
    }
}

/// Refuses options that would change an organisation that is there.
fn check_same(args: &InitArgs, organisation: &Organisation) -> Result<(), Failure> {
    let name = escape(&organisation.name);
    if args.organisation_id.is_some_and(|id| id != organisation.id.0) {
        return Err(Failure::usage(format!(
            "the organisation '{name}' is there with the GUID {}, which never changes; leave --organisation-id out, \
             or add another organisation with `{}`",
            organisation.id,
            hint::run("org add NAME").about_none()
        )));
    }
    match args.retention_hours {
        Some(wanted) if wanted != organisation.retention => Err(Failure::usage(format!(
            "the organisation '{name}' is there with retention {}; change it with `{}`",
            organisation.retention,
            hint::run(format!("retention set {wanted}")).about(organisation.id.to_string())
        ))),
        _ => Ok(()),
    }
}
