//! `seenby app`: the applications that may ask over HTTP, and how often. Refuses to hold: tokens and counting (the HTTP
//! room) and people.

use std::collections::BTreeSet;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use serde_json::{Value, json};
use sighting::{
    Application, ApplicationId, Book, CallLimit, Change, Organisation, Permission, Second, Secret, SignIn,
    escape,
};

use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::{House, random_uuid};
use crate::output::{counted, grouped, table};

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
    /// Show an application, and how it stands with its call limits while a server runs
    #[command(after_help = "Example:\n  seenby app show playbooks")]
    Show {
        /// Its name or client id
        #[arg(value_name = "NAME|CLIENT-ID")]
        application: String,
    },
    /// Give an application call limits of its own; they hold from its next call on
    #[command(
        after_help = "Examples:\n  seenby app limit playbooks --per-minute 300 --per-hour off\n  seenby app limit playbooks --per-hour default"
    )]
    Limit {
        /// Its name or client id
        #[arg(value_name = "NAME|CLIENT-ID")]
        application: String,
        /// Calls in any 60 seconds: a number, 'off' for any number, 'default' for what the settings say
        #[arg(long, value_name = "N|off|default", value_parser = parse_limit, required_unless_present = "per_hour", allow_negative_numbers = true)]
        per_minute: Option<CallLimit>,
        /// Calls in any 3,600 seconds, likewise
        #[arg(long, value_name = "N|off|default", value_parser = parse_limit, allow_negative_numbers = true)]
        per_hour: Option<CallLimit>,
    },
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
    limits: ShownLimits,
    /// Null if no server is running: nobody counts then.
    usage: Option<ShownUsage>,
}

/// The limits of its own as JSON: a number, `off` or `default`.
#[derive(Serialize)]
struct ShownLimits {
    per_minute: Value,
    per_hour: Value,
}

/// How it stands with both limits; null where one is off.
#[derive(Serialize)]
struct ShownUsage {
    per_minute: Option<ShownRoom>,
    per_hour: Option<ShownRoom>,
}

#[derive(Serialize)]
struct ShownRoom {
    limit: u32,
    used: u32,
    remaining: u32,
    more_after_seconds: Option<u64>,
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
        AppCommand::Show { application } => {
            let application = find(&*house.book().await?, &organisation, &application)?;
            show_one(&house, &application, &mut context)
        }
        AppCommand::Limit { application, per_minute, per_hour } => {
            let application = find(&*house.book().await?, &organisation, &application)?;
            let id = application.id;
            house.commit(Change::SetLimits { application: id, per_minute, per_hour }).await?;
            // As it is now, whoever else changed it meanwhile.
            let application = find(&*house.book().await?, &organisation, &id.to_string())?;
            if context.global.json {
                let limits = shown_limits(&application);
                context.output.json(&json!({ "client_id": id.to_string(), "limits": limits }))?;
                return Ok(Exit::Done);
            }
            let (minute, hour) = (application.limits.per_minute, application.limits.per_hour);
            let name = escape(&application.name);
            context.output.line(format!(
                "'{name}' gets {} in a minute and {} in an hour from now on.",
                told(minute),
                told(hour)
            ))?;
            Ok(Exit::Done)
        }
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
        sign_in: SignIn::default(),
        secrets: vec![Secret { sha256, created_at: now, expires_at: None }],
        certificates: Vec::new(),
        limits: sighting::CallLimits::default(),
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

fn show_one(house: &House, application: &Application, context: &mut Context) -> Outcome {
    let standings = house.standings(application.organisation)?;
    let standing = standings.map(|standings| standings.get(&application.id).copied().unwrap_or_default());
    if context.global.json {
        context.output.json(&shown(application, standing))?;
        return Ok(Exit::Done);
    }
    let limits = application.limits;
    let permissions: Vec<&str> = application.permissions.iter().map(|it| it.name()).collect();
    let permissions = if permissions.is_empty() { "none".to_owned() } else { permissions.join(" ") };
    let rows = [
        ("tenant", application.organisation.to_string()),
        ("client id", application.id.to_string()),
        ("permissions", permissions),
        ("made", application.created_at.to_string()),
        ("secrets", application.secrets.len().to_string()),
        ("a minute", usage(limits.per_minute, standing.map(|standing| standing.minute))),
        ("an hour", usage(limits.per_hour, standing.map(|standing| standing.hour))),
    ];
    context.output.line(escape(&application.name))?;
    for (name, value) in rows {
        context.output.line(format!("  {name:<13}{value}"))?;
    }
    if standing.is_none() {
        crate::output::note("No server runs on this data folder, so no calls are counted.");
    }
    Ok(Exit::Done)
}

/// How an application stands with one limit, or what the limit is if nobody counts.
fn usage(limit: CallLimit, room: Option<Option<api::Room>>) -> String {
    match room {
        None => told(limit),
        Some(None) => "any number of calls".to_owned(),
        Some(Some(room)) => {
            let default = if limit == CallLimit::Default { " (the default)" } else { "" };
            let more = match (room.remaining(), room.more_after_s) {
                (0, Some(seconds)) => format!(", the next in {seconds} s"),
                _ => String::new(),
            };
            let (used, left) = (grouped(room.used.into()), grouped(room.remaining().into()));
            let calls = counted(room.calls_max.into(), "call");
            format!("{used} of {calls} used{default}, {left} left{more}")
        }
    }
}

/// A limit for a person.
fn told(limit: CallLimit) -> String {
    match limit {
        CallLimit::Default => "the default number of calls".to_owned(),
        CallLimit::Off => "any number of calls".to_owned(),
        CallLimit::Calls(calls) => counted(calls.get().into(), "call"),
    }
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

/// A call limit as typed.
fn parse_limit(text: &str) -> Result<CallLimit, String> {
    let advice = "type a number of calls from 1, such as 300, or 'off' or 'default'";
    CallLimit::parse(text).ok_or_else(|| advice.to_owned())
}

async fn list(house: &House, organisation: &Organisation, context: &mut Context) -> Outcome {
    let book = house.book().await?;
    let mut applications: Vec<&Application> =
        book.applications.values().filter(|it| it.organisation == organisation.id).collect();
    applications.sort_by_key(|application| application.name.to_lowercase());
    let standings = house.standings(organisation.id)?;
    let standing = |application: &Application| {
        standings.as_ref().map(|standings| standings.get(&application.id).copied().unwrap_or_default())
    };
    if context.global.json {
        let shown = applications.into_iter().map(|application| shown(application, standing(application)));
        context.output.json(&shown.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["name", "client id", "permissions", "secrets", "a minute", "an hour", "made"]);
    for application in applications {
        let (limits, standing) = (application.limits, standing(application));
        let permissions: Vec<&str> = application.permissions.iter().map(|it| it.name()).collect();
        rows.add_row([
            escape(&application.name).into_owned(),
            application.id.to_string(),
            permissions.join(" "),
            application.secrets.len().to_string(),
            cell(limits.per_minute, standing.map(|standing| standing.minute)),
            cell(limits.per_hour, standing.map(|standing| standing.hour)),
            application.created_at.to_string(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}

/// One limit in a table: calls used of calls allowed, or the limit alone if nobody counts.
fn cell(limit: CallLimit, room: Option<Option<api::Room>>) -> String {
    match room {
        None => limit.to_string(),
        Some(None) => CallLimit::Off.to_string(),
        Some(Some(room)) => format!("{} of {}", grouped(room.used.into()), grouped(room.calls_max.into())),
    }
}

fn shown_limits(application: &Application) -> ShownLimits {
    let limit = |limit: CallLimit| match limit {
        CallLimit::Calls(calls) => json!(calls),
        word => json!(word.to_string()),
    };
    ShownLimits {
        per_minute: limit(application.limits.per_minute),
        per_hour: limit(application.limits.per_hour),
    }
}

fn shown(application: &Application, standing: Option<api::Standing>) -> Shown<'_> {
    let room = |room: api::Room| ShownRoom {
        limit: room.calls_max,
        used: room.used,
        remaining: room.remaining(),
        more_after_seconds: room.more_after_s,
    };
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
        limits: shown_limits(application),
        usage: standing.map(|standing| ShownUsage {
            per_minute: standing.minute.map(room),
            per_hour: standing.hour.map(room),
        }),
    }
}
