//! The commands, one file each, and what they have in common: the command line and the settings put together.
//! Refuses to hold: anything that only one command does.

pub(crate) mod app;
mod app_certificate;
mod app_shown;
mod ask_http;
pub(crate) mod audit;
pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod endpoints;
pub(crate) mod formats;
pub(crate) mod ingest;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod org;
pub(crate) mod retention;
pub(crate) mod role;
pub(crate) mod serve;
pub(crate) mod source;
mod source_shown;
pub(crate) mod stats;
pub(crate) mod tls;
pub(crate) mod user;

use std::path::PathBuf;

use anyhow::Context as _;
use sighting::Uuid;

use crate::cli::{Cli, Command, Global};
use crate::exit::{Exit, ExitWith as _, Failure, Outcome};
use crate::house::House;
use crate::output::{self, Output};
use crate::settings::{self, Settings};

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The options of every command.
    pub(crate) global: Global,
    /// The settings file as meant.
    pub(crate) settings: Settings,
    /// Where results go.
    pub(crate) output: Output,
}

/// Runs the command that was typed.
pub(crate) fn run(cli: Cli) -> Outcome {
    let settings = Settings::load(cli.global.settings.as_deref())?;
    let context = Context { global: cli.global, settings, output: Output::new() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime does not start")
        .exit_with(Exit::Unavailable)?;
    let outcome = runtime.block_on(dispatch(cli.command, context));
    // What still waits (a listener for signals, say) has nothing left to do.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, context: Context) -> Outcome {
    match command {
        Command::Init(args) => init::run(args, context).await,
        Command::Formats(args) => formats::run(&args, context),
        Command::Ingest(args) => ingest::run(args, context).await,
        Command::Stats(args) => stats::run(args, context).await,
        Command::Serve(args) => serve::run(args, context).await,
        Command::Demo(args) => demo::run(args, context).await,
        Command::Org(command) => org::run(command, context).await,
        Command::App(command) => app::run(command, context).await,
        Command::Source(command) => source::run(command, context).await,
        Command::Role(command) => role::run(command, context).await,
        Command::User(command) => user::run(command, context).await,
        Command::Retention(command) => retention::run(command, context).await,
        Command::Device(command) => device::run(command, context).await,
        Command::Key(command) => key::run(command, context).await,
        Command::Audit(args) => audit::run(args, context).await,
        Command::Tls(command) => tls::run(command, context).await,
        Command::Endpoints(args) => endpoints::run(&args, context),
    }
}

impl Context {
    /// The data folder: the flag or `SEENBY_DATA`, the settings file, the platform's usual place.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        let named = self.global.data_dir.clone().or_else(|| self.settings.data_dir.clone());
        named.filter(|path| !path.as_os_str().is_empty()).or_else(settings::usual_data_dir).ok_or_else(|| {
            Failure::usage("there is no home folder to keep data in; say where with --data-dir FOLDER")
        })
    }

    /// The data folder, opened.
    pub(crate) async fn house(&self) -> Result<House, Failure> {
        House::open(&self.data_dir()?, &self.settings.store).await
    }

    /// The organisation named on the command line, if one is.
    pub(crate) fn organisation_name(&self) -> Option<&str> {
        self.global.organisation.as_deref()
    }
}

/// A GUID as typed.
fn parse_guid(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text)
        .map_err(|_| "type a GUID such as 5ad73df1-700c-4c65-8d46-0123456789ab, or leave it out".to_owned())
}

/// Asks before something that cannot be taken back, unless `--yes` was typed.
fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match output::confirmed(question) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::not_allowed("not confirmed; nothing was changed")),
        None => Err(Failure::not_allowed(format!(
            "{question} There is nobody to ask here: add --yes if you mean it; nothing was changed"
        ))),
    }
}
