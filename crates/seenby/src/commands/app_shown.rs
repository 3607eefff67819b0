//! What `seenby app` shows of an application: text, tables and JSON. Refuses to hold: commands, and secrets (they are not
//! kept).

use serde::Serialize;
use serde_json::{Value, json};
use sighting::{
    Application, CallLimit, Certificate, Organisation, Permission, RedirectUri, Secret, SignIn, escape, hex,
};

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::house::House;
use crate::output::{counted, grouped, note, table};

/// One application as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    tenant: String,
    client_id: String,
    name: &'a str,
    permissions: Vec<&'static str>,
    #[serde(flatten)]
    sign_in: ShownSignIn<'a>,
    created_at: String,
    secrets: Vec<ShownSecret>,
    certificates: Vec<ShownCertificate>,
    limits: ShownLimits,
    /// Null if no server is running: nobody counts then.
    usage: Option<ShownUsage>,
}

/// How people sign in through it, as JSON.
#[derive(Serialize)]
struct ShownSignIn<'a> {
    delegated: Vec<&'static str>,
    redirect_uris: Vec<&'a str>,
    device_code: bool,
    password_grant: bool,
    public: bool,
}

impl ShownSignIn<'_> {
    fn of(sign_in: &SignIn) -> ShownSignIn<'_> {
        ShownSignIn {
            delegated: names(&sign_in.delegated),
            redirect_uris: sign_in.redirect_uris.iter().map(RedirectUri::as_str).collect(),
            device_code: sign_in.device_code,
            password_grant: sign_in.password,
            public: sign_in.public,
        }
    }
}

/// The limits of its own as JSON: a number, `off` or `default`.
#[derive(Serialize)]
pub(crate) struct ShownLimits {
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

/// One certificate as JSON.
#[derive(Serialize)]
pub(crate) struct ShownCertificate {
    sha256: String,
    sha1: String,
    not_before: String,
    not_after: String,
    created_at: String,
}

impl ShownCertificate {
    pub(crate) fn of(certificate: &Certificate) -> ShownCertificate {
        ShownCertificate {
            sha256: hex(&certificate.sha256),
            sha1: hex(&certificate.sha1),
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
            created_at: certificate.created_at.to_string(),
        }
    }
}

fn names<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> Vec<&'static str> {
    permissions.into_iter().map(|permission| permission.name()).collect()
}

/// What it may do, for a person.
fn named<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> String {
    let names = names(permissions);
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// How people sign in through it; nothing if they do not.
fn ways(sign_in: &SignIn) -> Vec<String> {
    let mut ways: Vec<String> =
        sign_in.redirect_uris.iter().map(|uri| format!("back to {}", escape(uri.as_str()))).collect();
    ways.extend(sign_in.device_code.then(|| "device code".to_owned()));
    ways.extend(sign_in.password.then(|| "password grant".to_owned()));
    ways
}

/// Its secrets, counted.
fn secrets(application: &Application) -> String {
    if application.sign_in.public { "public".to_owned() } else { application.secrets.len().to_string() }
}

/// Shows one.
pub(crate) fn show_one(house: &House, application: &Application, context: &mut Context) -> Outcome {
    let standings = house.standings(application.organisation)?;
    let standing = standings.map(|standings| standings.get(&application.id).copied().unwrap_or_default());
    if context.global.json {
        context.output.json(&shown(application, standing))?;
        return Ok(Exit::Done);
    }
    let limits = application.limits;
    let mut rows = vec![
        ("tenant", application.organisation.to_string()),
        ("client id", application.id.to_string()),
        ("permissions", named(&application.permissions)),
    ];
    if application.sign_in != SignIn::default() {
        rows.push(("for people", named(&application.sign_in.delegated)));
    }
    rows.extend(ways(&application.sign_in).into_iter().map(|way| ("sign-in", way)));
    rows.extend([("made", application.created_at.to_string()), ("secrets", secrets(application))]);
    for certificate in &application.certificates {
        let (sha256, end) = (hex(&certificate.sha256), certificate.not_after);
        rows.push(("certificate", format!("{sha256} until {end}")));
    }
    rows.extend([
        ("a minute", usage(limits.per_minute, standing.map(|standing| standing.minute))),
        ("an hour", usage(limits.per_hour, standing.map(|standing| standing.hour))),
    ]);
    context.output.line(escape(&application.name))?;
    for (name, value) in rows {
        context.output.line(format!("  {name:<13}{value}"))?;
    }
    if standing.is_none() {
        note("No server runs on this data folder, so no calls are counted.");
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
pub(crate) fn told(limit: CallLimit) -> String {
    match limit {
        CallLimit::Default => "the default number of calls".to_owned(),
        CallLimit::Off => "any number of calls".to_owned(),
        CallLimit::Calls(calls) => counted(calls.get().into(), "call"),
    }
}

/// Lists those of an organisation.
pub(crate) async fn list(house: &House, organisation: &Organisation, context: &mut Context) -> Outcome {
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
    let mut rows = table(&[
        "name",
        "client id",
        "permissions",
        "for people",
        "secrets",
        "certificates",
        "a minute",
        "an hour",
        "made",
    ]);
    for application in applications {
        let (limits, standing) = (application.limits, standing(application));
        rows.add_row([
            escape(&application.name).into_owned(),
            application.id.to_string(),
            names(&application.permissions).join(" "),
            names(&application.sign_in.delegated).join(" "),
            secrets(application),
            application.certificates.len().to_string(),
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

/// The limits of its own.
pub(crate) fn shown_limits(application: &Application) -> ShownLimits {
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
        permissions: names(&application.permissions),
        sign_in: ShownSignIn::of(&application.sign_in),
        created_at: application.created_at.to_string(),
        secrets: application.secrets.iter().map(secret).collect(),
        certificates: application.certificates.iter().map(ShownCertificate::of).collect(),
        limits: shown_limits(application),
        usage: standing.map(|standing| ShownUsage {
            per_minute: standing.minute.map(room),
            per_hour: standing.hour.map(room),
        }),
    }
}
