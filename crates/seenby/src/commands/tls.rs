//! `seenby tls`: a certificate of one's own, where no company or public authority gives one. `init` makes a CA that can sign
//! for this server's hosts alone, `renew` signs anew, `show` says what there is and how clients come to trust it. Refuses
//! to hold: how certificates are made and read, and certificates that are served (`serve` finds them by itself).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use sighting::Second;

use super::Context;
use crate::authority::{self, Host, Made};
use crate::certificate::Certificate;
use crate::clock;
use crate::exit::{Exit, ExitWith as _, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::shown;
use crate::output::{Output, counted};
use crate::pair::{CA_KEY, FOLDER, Pair};
use crate::sealing;

pub(crate) const EXAMPLES: &str = "\
Examples:
  seenby tls init                                 for this machine's name and for localhost
  seenby tls init --host seenby.example.org       for one more name
  seenby tls renew --ca-key /media/usb/ca.key     once a quarter
  seenby tls show                                 until when it is good, and how clients trust it";

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum TlsCommand {
    Init(InitArgs),
    Renew(RenewArgs),
    Show(ShowArgs),
}

/// Make a CA for this server alone, and a certificate
///
/// The CA can sign for localhost, 127.0.0.1, ::1, this machine's name and what --host adds, and for nothing else. The certificate
/// is good for 90 days. `seenby serve` takes it from the data folder by itself.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// A further name or address by which clients reach this server; may be given several times
    #[arg(long = "host", value_name = "NAME", value_parser = Host::parse)]
    hosts: Vec<Host>,
    /// Allow host names of the original service, to stand in for it in a closed laboratory
    #[arg(long)]
    lab: bool,
    /// Where to write the four files [default: tls in the data folder]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Replace what is there: every client has to be told of the new CA
    #[arg(long)]
    force: bool,
}

/// Make a new certificate for the same hosts, with the CA's key
///
/// A running server takes it up by itself; clients need to be told nothing. With a key file, the CA's key is encrypted under it too,
/// if it lies beside the certificate in the clear.
#[derive(Args, Debug)]
pub(crate) struct RenewArgs {
    /// The CA's key, wherever it is kept [default: ca.key beside the certificate]
    #[arg(long, value_name = "FILE")]
    ca_key: Option<PathBuf>,
    /// The folder that `seenby tls init` wrote to [default: tls in the data folder]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Show the certificate, until when it is good, and how clients trust it
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The folder that `seenby tls init` wrote to [default: the settings file's certificate, else tls in the data folder]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The four files of a folder.
struct Files {
    ca: PathBuf,
    ca_key: PathBuf,
    pair: Pair,
}

impl Files {
    fn in_folder(folder: &Path) -> Files {
        Files { ca: folder.join("ca.pem"), ca_key: folder.join(CA_KEY), pair: Pair::in_folder(folder) }
    }

    fn all(&self) -> [&Path; 4] {
        [&self.ca, &self.ca_key, &self.pair.certificate, &self.pair.key]
    }
}

/// The result as JSON.
#[derive(Serialize)]
struct Told {
    certificate: String,
    key: String,
    /// Whether the key is encrypted under the operator's key file.
    key_encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    /// Where the CA's key lies, if it still is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_key_encrypted: Option<bool>,
    hosts: Vec<String>,
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    days_left: u32,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_sha256: Option<String>,
}

/// Runs one of them.
pub(crate) async fn run(command: TlsCommand, context: Context) -> Outcome {
    match command {
        TlsCommand::Init(args) => init(args, context).await,
        TlsCommand::Renew(args) => renew(&args, context),
        TlsCommand::Show(args) => show(&args, context),
    }
}

async fn init(args: InitArgs, mut context: Context) -> Outcome {
    let machine = machine_name();
    let hosts = hosts(&args, machine.as_ref())?;
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => {
            // Only what is a data folder gets something put into it; a missing one is made.
            context.house().await?;
            context.data_dir()?.join(FOLDER)
        }
    };
    let files = Files::in_folder(&folder);
    if !args.force
        && let Some(there) = files.all().iter().find(|path| path.symlink_metadata().is_ok())
    {
        return Err(Failure::not_allowed(format!(
            "{} is there already; `{}` makes a new certificate with the CA that is there, and --force replaces both (then \
             every client has to be told of the new CA); nothing was changed",
            shown(there),
            renewing(args.out.as_deref())
        )));
    }
    let sealing = sealing::key(&context.settings, &context.data_dir()?)?;
    let now = clock::now();
    let name = machine.as_ref().map(ToString::to_string);
    let ca = authority::new_authority(&hosts, name.as_deref(), now, serial()?)
        .context("the CA cannot be made")
        .exit_with(Exit::Unavailable)?;
    let leaf = authority::new_leaf(&ca, &hosts, now, serial()?)
        .context("the certificate cannot be made")
        .exit_with(Exit::Unavailable)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("the folder {} cannot be made", shown(&folder)))?;
    write(&files.ca_key, &sealing::kept(&ca.key, sealing.as_ref())?)?;
    write(&files.ca, &ca.certificate)?;
    write_pair(&files.pair, &leaf, sealing.as_ref())?;
    let told = tell(&files.pair, Some(&files), now)?;
    if context.global.json {
        context.output.json(&told)?;
        return Ok(Exit::Done);
    }
    let output = &mut context.output;
    output.line(format!(
        "Made a CA that can sign for {} and for no other host, and a",
        told.hosts.join(", ")
    ))?;
    output.line(format!("certificate for these, good until {}.", told.not_after))?;
    told.show_files(output)?;
    output.line("")?;
    match &args.out {
        None => output.line("`serve` speaks TLS with it from its next start.")?,
        Some(_) => output.line(format!("Serve with it: {}", serving(&files.pair)))?,
    }
    output.line("")?;
    output.line("Move the CA's key off this machine now, to where you keep what is not needed every day:")?;
    output.line(format!("only `{}` needs it.", renewing(args.out.as_deref())))?;
    output.line("Whoever has it can pass for the hosts above, to clients that trust this CA.")?;
    output.line("")?;
    told.show_trust(output)?;
    Ok(Exit::Done)
}

/// The command that needs the CA's key.
fn renewing(out: Option<&Path>) -> hint::Hint {
    let out = out.map(|folder| format!(" --out {}", quote(hint::absolute(folder)))).unwrap_or_default();
    hint::run(format!("tls renew --ca-key FILE{out}")).about_none()
}

/// The command that serves with a pair outside the data folder.
fn serving(pair: &Pair) -> hint::Hint {
    let of = |path: &Path| quote(hint::absolute(path));
    let (certificate, key) = (of(&pair.certificate), of(&pair.key));
    hint::run(format!("serve --tls-certificate {certificate} --tls-key {key}")).about_none()
}

fn renew(args: &RenewArgs, mut context: Context) -> Outcome {
    let files = Files::in_folder(&folder(args.out.as_ref(), &context)?);
    let ca_key = args.ca_key.as_ref().unwrap_or(&files.ca_key);
    let sealing = sealing::key(&context.settings, &context.data_dir()?)?;
    let ca_certificate = read(&files.ca, "make one with `tls init`")?;
    let key = read(ca_key, "name the file to which you moved it with --ca-key FILE")?.into_bytes();
    let key = sealing::opened(key, ca_key, sealing.as_ref()).exit_with(Exit::WrongCommandLine)?;
    let ca = Made {
        certificate: ca_certificate,
        key: String::from_utf8(key).context("the CA's key is no text").exit_with(Exit::WrongCommandLine)?,
    };
    let old = certificate(&files.pair.certificate)?;
    let now = clock::now();
    let leaf = authority::new_leaf(&ca, &old.hosts, now, serial()?)
        .context("the certificate cannot be made")
        .exit_with(Exit::WrongCommandLine)?;
    // Only what has just signed: another file of that name is none of ours.
    let is_hidden = args.ca_key.is_none() && hide(&files.ca_key, &ca.key, sealing.as_ref())?;
    write_pair(&files.pair, &leaf, sealing.as_ref())?;
    let told = tell(&files.pair, Some(&files), now)?;
    if context.global.json {
        context.output.json(&told)?;
        return Ok(Exit::Done);
    }
    context.output.line(format!(
        "Made a new certificate for {}, good until {}.",
        told.hosts.join(", "),
        told.not_after
    ))?;
    context
        .output
        .line("A running server takes it up within a few seconds; clients need to be told nothing.")?;
    if is_hidden {
        context
            .output
            .line("The CA's key, which lay there in the clear, is encrypted under the key file now.")?;
        context.output.line("Copies of the folder from before still have it in the clear.")?;
    }
    if told.ca_key.is_some() {
        context.output.line(format!("The CA's key is still in {}; move it off.", shown(&files.ca_key)))?;
    }
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, mut context: Context) -> Outcome {
    let now = clock::now();
    let told = match (&args.out, &context.settings.tls) {
        (None, Some(pair)) => tell(pair, None, now)?,
        (out, _) => {
            let files = Files::in_folder(&folder(out.as_ref(), &context)?);
            tell(&files.pair, Some(&files), now)?
        }
    };
    if context.global.json {
        context.output.json(&told)?;
        return Ok(Exit::Done);
    }
    let output = &mut context.output;
    output.line(format!("A certificate for {}.", told.hosts.join(", ")))?;
    let left = if told.days_left == 0 {
        "less than a day or none".to_owned()
    } else {
        counted(told.days_left.into(), "day")
    };
    output.line(format!("  good          from {} to {} ({left} left)", told.not_before, told.not_after))?;
    output.line(format!("  issued by     {}", told.issuer))?;
    output.line(format!("  SHA-256       {}", told.sha256))?;
    told.show_files(output)?;
    if let (Some(not_after), Some(sha256)) = (&told.ca_not_after, &told.ca_sha256) {
        output.line(format!("  CA good to    {not_after}"))?;
        output.line(format!("  CA's SHA-256  {sha256}"))?;
        output.line("")?;
        told.show_trust(output)?;
    }
    Ok(Exit::Done)
}

/// The folder that was typed, else that in the data folder.
fn folder(out: Option<&PathBuf>, context: &Context) -> Result<PathBuf, Failure> {
    out.cloned().map_or_else(|| Ok(context.data_dir()?.join(FOLDER)), Ok)
}

/// Whom to sign for: always the machine itself, its name, what was typed.
fn hosts(args: &InitArgs, machine: Option<&Host>) -> Result<Vec<Host>, Failure> {
    let is_vendors = |host: &&Host| matches!(host, Host::Name(name) if api::is_vendors_host(name));
    if let Some(host) = args.hosts.iter().find(is_vendors).filter(|_| !args.lab) {
        return Err(Failure::not_allowed(format!(
            "{host} is a host name of the original service: a certificate for it lets this server pass for that service to \
             every client that trusts the CA. Add --lab if this is a closed laboratory; nothing was made"
        )));
    }
    let own = ["localhost", "127.0.0.1", "::1"].iter().filter_map(|host| Host::parse(host).ok());
    let mut hosts = Vec::new();
    for host in own.chain(machine.cloned()).chain(args.hosts.iter().cloned()) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// This machine's name, if it is one that a certificate can have.
fn machine_name() -> Option<Host> {
    let uname = rustix::system::uname();
    let host = Host::parse(uname.nodename().to_str().ok()?).ok()?;
    let is_own = matches!(&host, Host::Name(name) if name != "localhost" && !api::is_vendors_host(name));
    is_own.then_some(host)
}

fn serial() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system gives no random numbers").exit_with(Exit::Unavailable)?;
    Ok(bytes)
}

fn read(path: &Path, advice: &str) -> Result<String, Failure> {
    fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read; {advice}", shown(path)))
        .exit_with(Exit::WrongCommandLine)
}

fn certificate(path: &Path) -> Result<Certificate, Failure> {
    let advice = format!("make one with `{}`", hint::run("tls init").about_none());
    let pem = read(path, &advice)?;
    Certificate::read(pem.as_bytes())
        .with_context(|| format!("{} is no certificate", shown(path)))
        .exit_with(Exit::WrongCommandLine)
}

/// The key first: a server that looks in between finds the two at odds, and waits for the other.
fn write_pair(pair: &Pair, made: &Made, sealing: Option<&api::SealingKey>) -> Result<(), Failure> {
    write(&pair.key, &sealing::kept(&made.key, sealing)?)?;
    write(&pair.certificate, &made.certificate)
}

/// Encrypts a CA's key from before there was a key file; whether it did.
fn hide(ca_key: &Path, key: &str, sealing: Option<&api::SealingKey>) -> Result<bool, Failure> {
    if sealing.is_none() || !sealing::lies_open(ca_key) {
        return Ok(false);
    }
    write(ca_key, &sealing::kept(key, sealing)?)?;
    Ok(true)
}

/// Replaces a file as a whole, for its user alone.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let writing = || -> io::Result<()> {
        // One that was left over by a run that was cut off.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    writing().with_context(|| format!("{} cannot be written", shown(path))).map_err(Failure::from)
}

/// What is there, as it is told.
fn tell(pair: &Pair, files: Option<&Files>, now: Second) -> Result<Told, Failure> {
    let leaf = certificate(&pair.certificate)?;
    let ca = files.map(|files| certificate(&files.ca)).transpose()?;
    let full = |path: &Path| hint::absolute(path).display().to_string();
    // One that cannot be read is its owner's business.
    let is_sealed = |path: &Path| fs::read(path).is_ok_and(|key| api::SealingKey::is_sealed_pem(&key));
    let ca_key = files.map(|files| &*files.ca_key).filter(|path| path.exists());
    Ok(Told {
        certificate: full(&pair.certificate),
        key: full(&pair.key),
        key_encrypted: is_sealed(&pair.key),
        ca: files.map(|files| full(&files.ca)),
        ca_key: ca_key.map(full),
        ca_key_encrypted: ca_key.map(is_sealed),
        hosts: leaf.hosts.iter().map(ToString::to_string).collect(),
        days_left: leaf.days_left(now),
        not_before: leaf.not_before.to_string(),
        not_after: leaf.not_after.to_string(),
        subject: leaf.subject,
        issuer: leaf.issuer,
        sha256: leaf.sha256,
        ca_not_after: ca.as_ref().map(|ca| ca.not_after.to_string()),
        ca_sha256: ca.map(|ca| ca.sha256),
    })
}

impl Told {
    fn show_files(&self, output: &mut Output) -> Result<(), Failure> {
        output.line(format!("  certificate   {}", sighting::escape(&self.certificate)))?;
        let how = if self.key_encrypted { "   (encrypted under the key file)" } else { "" };
        output.line(format!("  its key       {}{how}", sighting::escape(&self.key)))?;
        if let Some(ca) = &self.ca {
            output.line(format!("  CA            {}   (for clients)", sighting::escape(ca)))?;
        }
        match (&self.ca, &self.ca_key) {
            (_, Some(key)) => {
                let how =
                    if self.ca_key_encrypted == Some(true) { "encrypted under the key file; " } else { "" };
                output.line(format!("  CA's key      {}   ({how}move it off)", sighting::escape(key)))
            }
            (Some(_), None) => output.line("  CA's key      not here, as it should be"),
            (None, None) => Ok(()),
        }
    }

    /// How each kind of client comes to trust the CA.
    fn show_trust(&self, output: &mut Output) -> Result<(), Failure> {
        let Some(ca) = &self.ca else { return Ok(()) };
        let ca = quote(ca);
        output.line("Clients trust it once they know the CA's certificate (which is no secret):")?;
        for (client, how) in [
            ("curl", format!("curl --cacert {ca} https://localhost:8787/healthz")),
            ("Python: requests, MSAL, azure-identity", format!("export REQUESTS_CA_BUNDLE={ca}")),
            (
                "Python: MSAL alone, in its constructor",
                format!("verify=\"{}\"", sighting::escape(self.ca.as_deref().unwrap_or_default())),
            ),
            ("OpenSSL, Go, Ruby, PHP", format!("export SSL_CERT_FILE={ca}")),
            ("Node.js", format!("export NODE_EXTRA_CA_CERTS={ca}")),
            (
                "Debian, Ubuntu",
                format!(
                    "sudo cp {ca} /usr/local/share/ca-certificates/seenby.crt && sudo update-ca-certificates"
                ),
            ),
            ("Windows, as administrator", "certutil -addstore -f Root ca.pem".to_owned()),
            ("Java", format!("keytool -importcert -cacerts -noprompt -alias seenby -file {ca}")),
        ] {
            output.line(format!("  {client}"))?;
            output.line(format!("    {how}"))?;
        }
        Ok(())
    }
}
