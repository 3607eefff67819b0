//! `seenby org`: the organisations of a store. Refuses to hold: who may ask about them (`app`).

use clap::Subcommand;
use serde::Serialize;
use sighting::{Change, Organisation, RETENTION_DEFAULT, Retention, Second, Store as _, Uuid, escape};

use super::retention::{hours, parse, told};
use super::{Context, confirm};
use crate::exit::{Exit, Outcome};
use crate::hint;
use crate::house::{by_name, choose, new_organisation};
use crate::output::{counted, table};

/// What to do with organisations.
#[derive(Subcommand, Debug)]
pub(crate) enum OrgCommand {
    /// Add an organisation
    #[command(after_help = "Example:\n  seenby org add Contoso --retention-hours 2160")]
    Add {
        /// Its name, unique in this store
        name: String,
        /// Its tenant GUID [default: a random one]
        #[arg(long, value_name = "GUID", value_parser = super::parse_guid)]
        id: Option<Uuid>,
        /// How many hours its sightings are kept: a number or 'forever' [default: 720, which is 30 days]
        #[arg(long, value_name = "HOURS", value_parser = parse, allow_negative_numbers = true)]
        retention_hours: Option<Retention>,
        /// Tenant ids that its records may carry; without one, any that is not another organisation's
        #[arg(long, value_name = "GUID,GUID", value_delimiter = ',', value_parser = super::parse_guid)]
        source_tenants: Vec<Uuid>,
    },
    /// List the organisations
    #[command(after_help = "Example:\n  seenby org list --json")]
    List,
    /// Give an organisation another name
    #[command(after_help = "Example:\n  seenby org rename default Contoso")]
    Rename {
        /// Its name or GUID
        #[arg(value_name = "NAME|GUID")]
        organisation: String,
        /// Its new name
        new_name: String,
    },
    /// Remove an organisation, its applications, its roles and its sightings; asks first
    #[command(after_help = "Example:\n  seenby org remove Contoso")]
    Remove {
        /// Its name or GUID
        #[arg(value_name = "NAME|GUID")]
        organisation: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// One organisation as JSON. `retention_hours` is null for ever.
#[derive(Serialize)]
struct Shown<'a> {
    organisation: String,
    name: &'a str,
    retention_hours: Option<u32>,
    source_tenants: Vec<String>,
    applications: usize,
}

/// Runs the command.
pub(crate) async fn run(command: OrgCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let (id, sentence) = match command {
        OrgCommand::List => return list(&house, &mut context).await,
        OrgCommand::Add { name, id, retention_hours, source_tenants } => {
            let retention = retention_hours.unwrap_or(RETENTION_DEFAULT);
            let organisation = Organisation { source_tenants, ..new_organisation(&name, id, retention)? };
            house.commit(Change::AddOrganisation(organisation.clone())).await?;
            let sentence = format!(
                "Added organisation '{}' ({}); its sightings are kept {}.",
                escape(&name),
                organisation.id,
                told(retention)
            );
            (organisation.id, sentence)
        }
        OrgCommand::Rename { organisation, new_name } => {
            let organisation = house.organisation(Some(&organisation)).await?;
            house.commit(Change::RenameOrganisation(organisation.id, new_name.clone())).await?;
            let sentence = format!("'{}' is now '{}'.", escape(&organisation.name), escape(&new_name));
            (organisation.id, sentence)
        }
        OrgCommand::Remove { organisation, yes } => {
            let book = house.book().await?;
            let organisation = choose(&book, Some(&organisation))?.clone();
            let name = escape(&organisation.name).into_owned();
            let held = house.store.outside(organisation.id, Second::MAX).await?;
            let applications = applications(&book, &organisation);
            confirm(
                yes,
                &format!(
                    "This removes '{name}' ({}) with {} and {} for good. Remove it?",
                    organisation.id,
                    counted(held.dropped + held.kept, "sighting"),
                    counted(applications as u64, "application")
                ),
            )?;
            // The book first: from then on nothing new is taken for it. What the store still holds after a failure is
            // nobody's, and the server removes it at its next start.
            house.commit(Change::RemoveOrganisation(organisation.id)).await?;
            house.store.remove(organisation.id).await.map_err(|error| {
                anyhow::Error::from(error).context(format!(
                    "'{name}' is removed, but not all of its data were deleted (`seenby serve` does it at its next start)"
                ))
            })?;
            let last = if book.organisations.len() == 1 {
                format!(" It was the last; `{}` makes another.", hint::run("org add NAME").about_none())
            } else {
                String::new()
            };
            (organisation.id, format!("Removed '{name}' ({}).{last}", organisation.id))
        }
    };
    if context.global.json {
        context.output.json(&serde_json::json!({ "organisation": id.to_string() }))?;
    } else {
        context.output.line(sentence)?;
    }
    Ok(Exit::Done)
}

fn applications(book: &sighting::Book, organisation: &Organisation) -> usize {
    book.applications.values().filter(|application| application.organisation == organisation.id).count()
}

async fn list(house: &crate::house::House, context: &mut Context) -> Outcome {
    let book = house.book().await?;
    let organisations = by_name(&book);
    if context.global.json {
        let shown: Vec<Shown<'_>> = organisations
            .map(|organisation| Shown {
                organisation: organisation.id.to_string(),
                name: &organisation.name,
                retention_hours: hours(organisation.retention),
                source_tenants: organisation.source_tenants.iter().map(Uuid::to_string).collect(),
                applications: applications(&book, organisation),
            })
            .collect();
        context.output.json(&shown)?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["name", "tenant", "kept", "applications"]);
    for organisation in organisations {
        rows.add_row([
            escape(&organisation.name).into_owned(),
            organisation.id.to_string(),
            told(organisation.retention),
            applications(&book, organisation).to_string(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}
