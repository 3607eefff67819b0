//! `seenby app`: the applications that may ask over HTTP, how they prove who they are, how people sign in through them, and how
//! often they may ask. Refuses to hold: tokens and counting (the HTTP room), people, and how an application is shown
//! (`app_shown`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use sighting::{
    Application, ApplicationId, Book, CallLimit, Certificate, Change, Organisation, Permission, RedirectUri,
    Second, Secret, SignIn, SignInChange, escape, hex,
};

use super::app_certificate::{self, CertificateCommand};
use super::app_shown::{list, show_one, shown_limits, told};
use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::{House, random_uuid};
use crate::output::{counted, note};

/// What to do with applications.
#[derive(Subcommand, Debug)]
pub(crate) enum AppCommand {
    /// Add an application; its secret is shown once
    #[command(
        after_help = "Examples:\n  seenby app add playbooks --permission Ip.Read.All\n  seenby app add playbooks --permission Ip.Read.All --certificate playbooks.pem\n  seenby app add hunting --public --delegated Ip.Read.All --redirect-uri http://localhost --device-code"
    )]
    Add(AddArgs),
    /// Change what an application may do, and how people sign in through it; it holds from the next request on
    #[command(
        after_help = "Examples:\n  seenby app change playbooks --no-permissions\n  seenby app change hunting --delegated Ip.Read.All --device-code --no-redirect-uris"
    )]
    Change(ChangeArgs),
    /// Certificates whose keys sign an application's assertions, in place of a secret
    #[command(
        subcommand,
        after_help = "Examples:\n  seenby app certificate add playbooks playbooks.pem\n  seenby app certificate list playbooks"
    )]
    Certificate(CertificateCommand),
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

/// An application to be added.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Its name, unique in its organisation
    name: String,
    /// What it may do for itself; without one it gets tokens that read nothing
    #[arg(long = "permission", value_name = "PERMISSION", value_parser = permissions())]
    permissions: Vec<String>,
    /// What people may do through it, if a role of theirs allows it too
    #[arg(long = "delegated", value_name = "PERMISSION", value_parser = permissions())]
    delegated: Vec<String>,
    /// Where people are sent back to after they signed in: https, http on localhost (any port), or a scheme of its own
    #[arg(long = "redirect-uri", value_name = "URI", value_parser = parse_uri)]
    redirect_uris: Vec<RedirectUri>,
    /// People may sign in with a code that they type on another device
    #[arg(long)]
    device_code: bool,
    /// It may ask people for their password and send it on; better is any other way
    #[arg(long)]
    password_grant: bool,
    /// It is a program on people's own machines, which can keep no secret: none is made
    #[arg(long, conflicts_with_all = ["certificates", "secret"])]
    public: bool,
    /// A certificate (PEM) whose key signs its assertions; no secret is made then
    #[arg(long = "certificate", value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// Make a secret as well as taking a certificate
    #[arg(long, requires = "certificates")]
    secret: bool,
}

/// Whatever is named replaces what was; the rest stays.
#[derive(Args, Debug)]
pub(crate) struct ChangeArgs {
    /// Its name or client id
    #[arg(value_name = "NAME|CLIENT-ID")]
    application: String,
    /// All that it may do for itself from now on
    #[arg(long = "permission", value_name = "PERMISSION", value_parser = permissions())]
    permissions: Vec<String>,
    /// It may do nothing for itself from now on
    #[arg(long, conflicts_with = "permissions")]
    no_permissions: bool,
    /// All that people may do through it from now on
    #[arg(long = "delegated", value_name = "PERMISSION", value_parser = permissions())]
    delegated: Vec<String>,
    /// People may do nothing through it from now on
    #[arg(long, conflicts_with = "delegated")]
    no_delegated: bool,
    /// All places where people are sent back to from now on
    #[arg(long = "redirect-uri", value_name = "URI", value_parser = parse_uri)]
    redirect_uris: Vec<RedirectUri>,
    /// People are sent back nowhere: they cannot sign in with a browser
    #[arg(long, conflicts_with = "redirect_uris")]
    no_redirect_uris: bool,
    /// People may sign in with a code that they type on another device
    #[arg(long)]
    device_code: bool,
    /// They may not
    #[arg(long, conflicts_with = "device_code")]
    no_device_code: bool,
    /// It may ask people for their password and send it on
    #[arg(long)]
    password_grant: bool,
    /// It may not
    #[arg(long, conflicts_with = "password_grant")]
    no_password_grant: bool,
    /// It can keep no secret; only for one that has none
    #[arg(long)]
    public: bool,
    /// It can keep a secret; `app rotate` makes one
    #[arg(long, conflicts_with = "public")]
    no_public: bool,
}

impl ChangeArgs {
    /// Its permissions, if they change.
    fn permissions(&self) -> Option<BTreeSet<Permission>> {
        (self.no_permissions || !self.permissions.is_empty()).then(|| parsed(&self.permissions))
    }

    /// Whether any change was typed, if only to what is so already.
    fn says_anything(&self) -> bool {
        let flags = [
            (self.device_code, self.no_device_code),
            (self.password_grant, self.no_password_grant),
            (self.public, self.no_public),
            (self.no_permissions, self.no_delegated),
            (self.no_redirect_uris, !self.redirect_uris.is_empty()),
            (!self.permissions.is_empty(), !self.delegated.is_empty()),
        ];
        flags.iter().any(|(one, other)| *one || *other)
    }

    /// What changes of how people sign in.
    fn sign_in(&self) -> SignInChange {
        let flag = |on: bool, off: bool| (on || off).then_some(on);
        let has_delegated = self.no_delegated || !self.delegated.is_empty();
        let has_uris = self.no_redirect_uris || !self.redirect_uris.is_empty();
        SignInChange {
            delegated: has_delegated.then(|| parsed(&self.delegated)),
            redirect_uris: has_uris.then(|| self.redirect_uris.iter().cloned().collect()),
            device_code: flag(self.device_code, self.no_device_code),
            password: flag(self.password_grant, self.no_password_grant),
            public: flag(self.public, self.no_public),
        }
    }
}

fn permissions() -> PossibleValuesParser {
    PossibleValuesParser::new(Permission::ALL.map(Permission::name))
}

fn parsed(names: &[String]) -> BTreeSet<Permission> {
    names.iter().filter_map(|name| Permission::from_name(name)).collect()
}

/// A place where people are sent back to, as typed.
fn parse_uri(text: &str) -> Result<RedirectUri, String> {
    RedirectUri::new(text).map_err(|error| escape(&error.to_string()).into_owned())
}

/// An application that was added, as JSON.
#[derive(Serialize)]
struct Added {
    tenant: String,
    client_id: String,
    /// Shown once; absent if none was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// SHA-256 of its certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
}

impl From<Credentials> for Added {
    fn from(Credentials { tenant, client_id, client_secret }: Credentials) -> Added {
        Added { tenant, client_id, client_secret: Some(client_secret), certificates: Vec::new() }
    }
}

/// What a client needs to get a token.
pub(crate) struct Credentials {
    /// The organisation's GUID.
    pub(crate) tenant: String,
    /// The application's id.
    pub(crate) client_id: String,
    /// The secret: shown once.
    pub(crate) client_secret: String,
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
        AppCommand::Add(args) => {
            let name = args.name.clone();
            let added = add_typed(&house, &organisation, args).await?;
            let sentence = format!("Added application '{}'.", escape(&name));
            show(&sentence, &added, &mut context).map_err(|failure| lost(&name, &failure))
        }
        AppCommand::Change(args) => change(&house, &organisation, &args, &mut context).await,
        AppCommand::Certificate(command) => {
            app_certificate::run(command, &house, &organisation, &mut context).await
        }
        AppCommand::Rotate { application, overlap_hours } => {
            let application = find(&*house.book().await?, &organisation, &application)?;
            let credentials = rotate(&house, &application, overlap_hours).await?;
            let name = escape(&application.name);
            let sentence = match overlap_hours {
                _ if application.secrets.is_empty() => format!("'{name}' has a secret now."),
                0 => format!("'{name}' has a new secret; the old one ended now."),
                hours => {
                    let hours = counted(hours.into(), "hour");
                    format!("'{name}' has a new secret; the old ones are accepted for {hours} more.")
                }
            };
            let credentials = Added::from(credentials);
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

/// Adds an application that asks for itself, with its first secret.
pub(crate) async fn add(
    house: &House,
    organisation: &Organisation,
    name: &str,
    permissions: Vec<Permission>,
) -> Result<Credentials, Failure> {
    let (plain, sha256) = api::new_secret(crate::random::fill);
    let mut application = new(organisation, name)?;
    let secret = Secret { sha256, created_at: application.created_at, expires_at: None };
    application.permissions = permissions;
    application.secrets.push(secret);
    let client_id = application.id.to_string();
    house.commit(Change::AddApplication(application)).await?;
    Ok(Credentials {
        tenant: organisation.id.to_string(),
        client_id,
        client_secret: plain.reveal().to_owned(),
    })
}

/// One that has nothing yet.
fn new(organisation: &Organisation, name: &str) -> Result<Application, Failure> {
    Ok(Application {
        id: ApplicationId(random_uuid()?),
        organisation: organisation.id,
        name: name.to_owned(),
        permissions: Vec::new(),
        sign_in: SignIn::default(),
        secrets: Vec::new(),
        certificates: Vec::new(),
        limits: sighting::CallLimits::default(),
        created_at: clock::now(),
    })
}

/// Adds what was typed.
async fn add_typed(house: &House, organisation: &Organisation, args: AddArgs) -> Result<Added, Failure> {
    let mut application = new(organisation, &args.name)?;
    let now = application.created_at;
    let read = |file: &PathBuf| app_certificate::read(file, now);
    let certificates: Vec<Certificate> = args.certificates.iter().map(read).collect::<Result<_, _>>()?;
    let has_secret = !args.public && (certificates.is_empty() || args.secret);
    let secret = has_secret.then(|| api::new_secret(crate::random::fill));
    if let Some((_, sha256)) = &secret {
        application.secrets.push(Secret { sha256: *sha256, created_at: now, expires_at: None });
    }
    application.permissions = parsed(&args.permissions).into_iter().collect();
    application.sign_in = SignIn {
        delegated: parsed(&args.delegated),
        redirect_uris: args.redirect_uris.into_iter().collect(),
        device_code: args.device_code,
        password: args.password_grant,
        public: args.public,
    };
    application.certificates = certificates;
    let added = Added {
        tenant: organisation.id.to_string(),
        client_id: application.id.to_string(),
        client_secret: secret.map(|(plain, _)| plain.reveal().to_owned()),
        certificates: application.certificates.iter().map(|it| hex(&it.sha256)).collect(),
    };
    house.commit(Change::AddApplication(application.clone())).await?;
    advise(&application);
    Ok(added)
}

/// Says what is missing for an application to be of any use.
fn advise(application: &Application) {
    let SignIn { delegated, redirect_uris, device_code, password, .. } = &application.sign_in;
    let has_way = !redirect_uris.is_empty() || *device_code || *password;
    if !delegated.is_empty() && !has_way {
        note(
            "People cannot sign in through it yet; --redirect-uri, --device-code or --password-grant say how.",
        );
    } else if delegated.is_empty() && has_way {
        note("People may do nothing through it yet; --delegated Ip.Read.All lets them read.");
    } else if application.permissions.is_empty() && !has_way {
        note("It may do nothing yet; --permission Ip.Read.All lets it read.");
    }
}

/// Changes what was typed.
async fn change(
    house: &House,
    organisation: &Organisation,
    args: &ChangeArgs,
    context: &mut Context,
) -> Outcome {
    let application = find(&*house.book().await?, organisation, &args.application)?;
    let id = application.id;
    if args.public && !(application.secrets.is_empty() && application.certificates.is_empty()) {
        return Err(Failure::usage(format!(
            "'{}' has a secret or a certificate, and a public application has neither; add another with `{}`",
            escape(&application.name),
            hint::run("app add NAME --public")
        )));
    }
    let (permissions, sign_in) = (args.permissions(), args.sign_in());
    if !args.says_anything() {
        return Err(Failure::usage(format!(
            "say what changes: --permission, --delegated, --redirect-uri, --device-code, --password-grant, --public, or --no-… \
             of these; `{}` shows all",
            hint::run("app change --help").about_none()
        )));
    }
    if permissions.is_some() || sign_in.applied_to(&application.sign_in) != application.sign_in {
        house.commit(Change::ChangeApplication { application: id, permissions, sign_in }).await?;
    }
    let application = find(&*house.book().await?, organisation, &id.to_string())?;
    advise(&application);
    show_one(house, &application, context)
}

/// Gives an application a new secret; the others end after the overlap.
pub(crate) async fn rotate(
    house: &House,
    application: &Application,
    overlap_hours: u32,
) -> Result<Credentials, Failure> {
    let now = clock::now();
    let (plain, sha256) = api::new_secret(crate::random::fill);
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

/// The application of a name or a client id.
pub(crate) fn find(book: &Book, organisation: &Organisation, named: &str) -> Result<Application, Failure> {
    book.application(organisation.id, named).cloned().ok_or_else(|| {
        Failure::usage(format!(
            "'{}' has no application '{}'; `{}` shows all",
            escape(&organisation.name),
            escape(named),
            hint::run("app list")
        ))
    })
}

fn show(sentence: &str, added: &Added, context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(added)?;
        return Ok(Exit::Done);
    }
    context.output.line(sentence)?;
    context.output.line(format!("  tenant         {}", added.tenant))?;
    context.output.line(format!("  client id      {}", added.client_id))?;
    for certificate in &added.certificates {
        context.output.line(format!("  certificate    {certificate}"))?;
    }
    if let Some(secret) = &added.client_secret {
        context.output.line(format!("  client secret  {secret}"))?;
        context.output.line("The secret is shown this once; only its hash is kept.")?;
    }
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
