//! `seenby app certificate`: the certificates whose keys an application's assertions may be signed with. Refuses to hold: how an
//! assertion is checked (the HTTP room), private keys, and whether anybody trusts who signed a certificate (nobody asks).

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use sighting::{Application, Certificate, Change, Organisation, Second, escape, hex};

use super::app::find;
use super::app_shown::ShownCertificate;
use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, ExitWith as _, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::{House, shown};
use crate::output::table;

/// Chains of certificates are a few kilobytes; whatever is longer is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// So many digits of a thumbprint name a certificate, if they name no other.
const PREFIX_DIGITS_MIN: usize = 8;

/// What to do with an application's certificates.
#[derive(Subcommand, Debug)]
pub(crate) enum CertificateCommand {
    /// Add a certificate; assertions signed with its key are accepted from the next request on
    #[command(after_help = "Example:\n  seenby app certificate add playbooks playbooks.pem")]
    Add {
        /// The application's name or client id
        #[arg(value_name = "NAME|CLIENT-ID")]
        application: String,
        /// The certificate (PEM, RSA of at least 2,048 bits); its private key stays with the application
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the certificates
    #[command(after_help = "Example:\n  seenby app certificate list playbooks --json")]
    List {
        /// The application's name or client id
        #[arg(value_name = "NAME|CLIENT-ID")]
        application: String,
    },
    /// Remove a certificate; assertions signed with its key are refused at once; asks first
    #[command(after_help = "Example:\n  seenby app certificate remove playbooks 1f2e3d4c")]
    Remove {
        /// The application's name or client id
        #[arg(value_name = "NAME|CLIENT-ID")]
        application: String,
        /// Its SHA-256 in hexadecimal digits, with colons or without, or the first 8 of them or more
        #[arg(value_name = "THUMBPRINT", value_parser = parse_thumbprint)]
        thumbprint: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// The beginning of a thumbprint as typed: small digits without colons.
fn parse_thumbprint(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let is_sound = (PREFIX_DIGITS_MIN..=64).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let advice = "type 8 to 64 hexadecimal digits of its SHA-256, as `app certificate list` shows it";
    is_sound.then(|| digits.to_ascii_lowercase()).ok_or_else(|| advice.to_owned())
}

/// The certificate in a file.
pub(crate) fn read(file: &Path, now: Second) -> Result<Certificate, Failure> {
    let mut pem = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_end(&mut pem))
        .with_context(|| format!("the certificate {} cannot be read", shown(file)))
        .exit_with(Exit::WrongCommandLine)?;
    api::read_certificate(&pem, now)
        .with_context(|| format!("{} is no certificate of an application", shown(file)))
        .exit_with(Exit::WrongCommandLine)
}

/// Runs the command.
pub(crate) async fn run(
    command: CertificateCommand,
    house: &House,
    organisation: &Organisation,
    context: &mut Context,
) -> Outcome {
    let book = house.book().await?;
    match command {
        CertificateCommand::Add { application, file } => {
            let application = find(&book, organisation, &application)?;
            let certificate = read(&file, clock::now())?;
            house.commit(Change::AddCertificate(application.id, certificate.clone())).await?;
            let added = format!(
                "'{}' may sign in with the certificate {} until {}.",
                escape(&application.name),
                hex(&certificate.sha256),
                certificate.not_after
            );
            tell(&added, &application, &certificate, context)
        }
        CertificateCommand::List { application } => list(&find(&book, organisation, &application)?, context),
        CertificateCommand::Remove { application, thumbprint, yes } => {
            let application = find(&book, organisation, &application)?;
            let certificate = named(&application, &thumbprint)?;
            let (name, sha256) = (escape(&application.name), hex(&certificate.sha256));
            confirm(yes, &format!("This removes the certificate {sha256} of '{name}'. Remove it?"))?;
            house.commit(Change::RemoveCertificate(application.id, certificate.sha256)).await?;
            let removed = format!("'{name}' may not sign in with the certificate {sha256} any more.");
            tell(&removed, &application, certificate, context)
        }
    }
}

/// The certificate whose thumbprint begins so.
fn named<'a>(application: &'a Application, thumbprint: &str) -> Result<&'a Certificate, Failure> {
    let mut found = application.certificates.iter().filter(|it| hex(&it.sha256).starts_with(thumbprint));
    let name = escape(&application.name);
    let all = hint::run(format!("app certificate list {}", quote(&application.name)));
    match (found.next(), found.next()) {
        (Some(certificate), None) => Ok(certificate),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "several certificates of '{name}' begin with {thumbprint}; `{all}` shows all"
        ))),
        (None, _) => {
            Err(Failure::usage(format!("'{name}' has no certificate {thumbprint}; `{all}` shows all")))
        }
    }
}

fn tell(
    sentence: &str,
    application: &Application,
    certificate: &Certificate,
    context: &mut Context,
) -> Outcome {
    if context.global.json {
        let (id, sha256) = (application.id.to_string(), hex(&certificate.sha256));
        context.output.json(&json!({ "client_id": id, "sha256": sha256 }))?;
    } else {
        context.output.line(sentence)?;
    }
    Ok(Exit::Done)
}

fn list(application: &Application, context: &mut Context) -> Outcome {
    let certificates = &application.certificates;
    if context.global.json {
        context.output.json(&certificates.iter().map(ShownCertificate::of).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["sha-256", "good from", "until", "added"]);
    for certificate in certificates {
        rows.add_row([
            hex(&certificate.sha256),
            certificate.not_before.to_string(),
            certificate.not_after.to_string(),
            certificate.created_at.to_string(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}
