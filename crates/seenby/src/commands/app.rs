//! `seenby app`: the applications that may ask over HTTP. Refuses to hold: tokens (the HTTP room) and people.

use std::collections::BTreeSet;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use sighting::{Application, ApplicationId, Book, Change, Organisation, Permission, Second, Secret, escape};

use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::{House, random_uuid};
use crate::output::{counted, table};

/// What to do with applications.
#[derive(Subcommand, Debug)]
pub(crate) enum AppCommand {
    /// Add an application; its secret is shown once
    #[command(after_help = "Example:\n  seenby app add playbooks --permission Ip.Read.All")]
    Add {
        /// Its name, unique in its organisation
        name: String,
        /// What it may do; without one it gets tokens that read nothing
        #[arg(long = "permission", value_name = "PERMISSION", value_parser = permissions())]
        permissions: Vec<String>,
    },
    /// List the applications
    #[command(after_help = "Example:\n  seenby app list --json")]
    List,
    /// Make a new secret; the old ones go on for a while
    #[command(after_help = "Example:\n  seenby app rotate playbooks --overlap-hours 2")]
    Rotate {
        /// Its name or client id
        #[arg(value_name = "NAME|CLIENT-ID")]
        application: String,
        /// How long the old secrets are still accepted, in hours; 0 ends them at once
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = parse_overlap, allow_negative_numbers = true)]
        overlap_hours: u32,
    },
    /// Remove an application; its tokens stop working at once; asks first
    #[command(after_help = "Example:\n  seenby app remove playbooks")]
    Remove {
        /// Its name or client id
        #[arg(value_name = "NAME|CLIENT-ID")]
        application: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

fn permissions() -> PossibleValuesParser {
    PossibleValuesParser::new(Permission::ALL.map(Permission::name))
}

/// What a client needs to get a token, as JSON.
#[derive(Serialize)]
pub(crate) struct Credentials {
    /// The organisation's GUID.
    pub(crate) tenant: String,
    /// The application's id.
    pub(crate) client_id: String,
    /// The secret: shown once.
    pub(crate) client_secret: String,
}

/// One application as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    tenant: String,
    client_id: String,
    name: &'a str,
    permissions: Vec<&'static str>,
    created_at: String,
    secrets: Vec<ShownSecret>,
}

/// One secret as JSON, without what is secret.
#[derive(Serialize)]
struct ShownSecret {
    created_at: String,
    expires_at: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(command: AppCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    match command {
        AppCommand::List => list(&house, &organisation, &mut context).await,
        AppCommand::Add { name, permissions } => {
            let permissions: BTreeSet<Permission> =
                permissions.iter().filter_map(|name| Permission::from_name(name)).collect();
            let may_nothing = permissions.is_empty();
            let credentials = add(&house, &organisation, &name, permissions.into_iter().collect()).await?;
            if may_nothing {
                crate::output::note("It may do nothing yet; --permission Ip.Read.All lets it read.");
            }
            let sentence = format!("Added application '{}'.", escape(&name));
            show(&sentence, &credentials, &mut context).map_err(|failure| lost(&name, &failure))
        }
        AppCommand::Rotate { application, overlap_hours } => {
            let application = find(&*house.book().await?, &organisation, &application)?;
            let credentials = rotate(&house, &application, overlap_hours).await?;
            let old = match overlap_hours {
                0 => "the old one ended now".to_owned(),
                hours => format!("the old ones are accepted for {} more", counted(hours.into(), "hour")),
            };
            let sentence = format!("'{}' has a new secret; {old}.", escape(&application.name));
            show(&sentence, &credentials, &mut context).map_err(|failure| lost(&application.name, &failure))
        }
        AppCommand::Remove { application, yes } => {
            let application = find(&*house.book().await?, &organisation, &application)?;
            let name = escape(&application.name).into_owned();
            confirm(yes, &format!("This removes the application '{name}' ({}). Remove it?", application.id))?;
            house.commit(Change::RemoveApplication(application.id)).await?;
            if context.global.json {
                context.output.json(&serde_json::json!({ "client_id": application.id.to_string() }))?;
            } else {
                context.output.line(format!("Removed application '{name}' ({}).", application.id))?;
            }
            Ok(Exit::Done)
        }
    }
}

/// Adds an application with its first secret.
pub(crate) async fn add(
    house: &House,
    organisation: &Organisation,
    name: &str,
    permissions: Vec<Permission>,
) -> Result<Credentials, Failure> {
    let now = clock::now();
    let (plain, sha256) = api::new_secret(super::serve::fill_random);
    let application = Application {
        id: ApplicationId(random_uuid()?),
        organisation: organisation.id,
        name: name.to_owned(),
        permissions,
        secrets: vec![Secret { sha256, created_at: now, expires_at: None }],
        created_at: now,
    };
    let client_id = application.id.to_string();
    house.commit(Change::AddApplication(application)).await?;
    Ok(Credentials {
        tenant: organisation.id.to_string(),
        client_id,
        client_secret: plain.reveal().to_owned(),
    })
}

/// Gives an application a new secret; the others end after the overlap.
pub(crate) async fn rotate(
    house: &House,
    application: &Application,
    overlap_hours: u32,
) -> Result<Credentials, Failure> {
    let now = clock::now();
    let (plain, sha256) = api::new_secret(super::serve::fill_random);
    // Accepted up to and including the last second; without an overlap that second is past.
    let others_until: Second = match overlap_hours {
        0 => now.minus(1),
        hours => now.plus(u64::from(hours) * u64::from(sighting::SECONDS_PER_HOUR)),
    };
    let secret = Secret { sha256, created_at: now, expires_at: None };
    house.commit(Change::RotateSecret { application: application.id, secret, others_until }).await?;
    Ok(Credentials {
        tenant: application.organisation.to_string(),
        client_id: application.id.to_string(),
        client_secret: plain.reveal().to_owned(),
    })
}

fn find(book: &Book, organisation: &Organisation, named: &str) -> Result<Application, Failure> {
    book.application(organisation.id, named).cloned().ok_or_else(|| {
        Failure::usage(format!(
            "'{}' has no application '{}'; `{}` shows all",
            escape(&organisation.name),
            escape(named),
            hint::run("app list")
        ))
    })
}

fn show(sentence: &str, credentials: &Credentials, context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(credentials)?;
        return Ok(Exit::Done);
    }
    context.output.line(sentence)?;
    context.output.line(format!("  tenant         {}", credentials.tenant))?;
    context.output.line(format!("  client id      {}", credentials.client_id))?;
    context.output.line(format!("  client secret  {}", credentials.client_secret))?;
    context.output.line("The secret is shown this once; only its hash is kept.")?;
    Ok(Exit::Done)
}

/// A secret that nobody saw. It is in force all the same, so this is no success, whoever stopped reading.
fn lost(name: &str, failure: &Failure) -> Failure {
    Failure::unavailable(format!(
        "the new secret of '{}' could not be printed ({:#}) and is lost; make another with `{}`",
        escape(name),
        failure.cause,
        hint::run(format!("app rotate {}", quote(name)))
    ))
}

/// Whole hours as typed.
fn parse_overlap(text: &str) -> Result<u32, String> {
    let advice = "type a whole number of hours, such as 24, or 0 to end the old secrets at once";
    text.parse().map_err(|_| advice.to_owned())
}

async fn list(house: &House, organisation: &Organisation, context: &mut Context) -> Outcome {
    let book = house.book().await?;
    let mut applications: Vec<&Application> =
        book.applications.values().filter(|it| it.organisation == organisation.id).collect();
    applications.sort_by_key(|application| application.name.to_lowercase());
    if context.global.json {
        context.output.json(&applications.into_iter().map(shown).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["name", "client id", "permissions", "secrets", "made"]);
    for application in applications {
        let permissions: Vec<&str> = application.permissions.iter().map(|it| it.name()).collect();
        rows.add_row([
            escape(&application.name).into_owned(),
            application.id.to_string(),
            permissions.join(" "),
            application.secrets.len().to_string(),
            application.created_at.to_string(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}

fn shown(application: &Application) -> Shown<'_> {
    let secret = |secret: &Secret| ShownSecret {
        created_at: secret.created_at.to_string(),
        expires_at: secret.expires_at.map(|at| at.to_string()),
    };
    Shown {
        tenant: application.organisation.to_string(),
        client_id: application.id.to_string(),
        name: &application.name,
        permissions: application.permissions.iter().map(|it| it.name()).collect(),
        created_at: application.created_at.to_string(),
        secrets: application.secrets.iter().map(secret).collect(),
    }
}
