//! The command line as typed. Refuses to hold: what it means where that needs the settings file, the environment of
//! the data folder or an organisation (`commands::Context`).

use std::borrow::Cow;
use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use sighting::escape;

use crate::commands::{
    app, audit, demo, device, endpoints, formats, ingest, init, key, org, retention, role, serve, source,
    stats, tls, user,
};
use crate::exit::Exit;
use crate::output;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

const EXAMPLES: &str = "\
Examples:
  seenby demo                                   see it work, on a simulated fleet
  seenby ingest /var/log/zeek/conn.log.gz       take in logs (Zeek, Defender, Sysmon, CSV, JSON)
  seenby stats 198.51.100.20 --last 7d          ask
  seenby app add playbooks --permission Ip.Read.All
  seenby serve                                  answer GET /api/ips/{ip}/stats

Exit codes: 0 seen or done, 1 not seen, 2 wrong command line, 3 store or server unavailable,
4 input refused, 5 not allowed.";

/// How many of our devices opened a connection to this address, first, last.
#[derive(Parser, Debug)]
#[command(name = "seenby", version, styles = STYLES, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The data folder; made when it is missing
    #[arg(long, global = true, env = "SEENBY_DATA", hide_env_values = true, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Whether the data folder was typed, and not the environment's.
    #[arg(skip)]
    pub(crate) data_dir_is_typed: bool,
    /// The settings file (TOML)
    #[arg(long, global = true, env = "SEENBY_SETTINGS", hide_env_values = true, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Whose data, by name or GUID; needed only where there are several organisations
    #[arg(long, global = true, value_name = "NAME|GUID")]
    pub(crate) organisation: Option<String>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Ingest(ingest::IngestArgs),
    Formats(formats::FormatsArgs),
    Stats(stats::StatsArgs),
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    /// Organisations: whose devices they are
    #[command(subcommand, after_help = "Examples:\n  seenby org list\n  seenby org add Contoso")]
    Org(org::OrgCommand),
    /// Applications: who may ask over HTTP
    #[command(
        subcommand,
        after_help = "Examples:\n  seenby app list\n  seenby app add playbooks --permission Ip.Read.All"
    )]
    App(app::AppCommand),
    /// Sources: who may send sightings in over HTTP
    #[command(
        subcommand,
        after_help = "Examples:\n  seenby source add winlogbeat --format ecs\n  seenby source list"
    )]
    Source(source::SourceCommand),
    /// Roles: what people may do
    #[command(
        subcommand,
        after_help = "Examples:\n  seenby role add analysts --permission view-data\n  seenby role grant analysts --user kim"
    )]
    Role(role::RoleCommand),
    /// Users and groups: who signs in here, and who has roles
    #[command(
        subcommand,
        after_help = "Examples:\n  seenby user add kim --role analysts\n  seenby user list"
    )]
    User(user::UserCommand),
    /// Retention: how long sightings are kept
    #[command(subcommand, after_help = "Examples:\n  seenby retention show\n  seenby retention set 2160")]
    Retention(retention::RetentionCommand),
    /// Devices: what is counted, and which names belong together
    #[command(subcommand, after_help = "Examples:\n  seenby device list\n  seenby device show pc-17")]
    Device(device::DeviceCommand),
    /// Keys: what this server's own tokens are signed with
    #[command(subcommand, after_help = key::EXAMPLES)]
    Key(key::KeyCommand),
    Audit(audit::AuditArgs),
    /// TLS: a certificate of your own for `seenby serve`
    #[command(subcommand, after_help = tls::EXAMPLES)]
    Tls(tls::TlsCommand),
    Endpoints(endpoints::EndpointsArgs),
}

/// The command line of this process, or what is wrong with it; help and version are such answers too.
pub(crate) fn read() -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os()).map_err(quote_as_text)?;
    let mut cli =
        Cli::from_arg_matches(&matches).map_err(|error| quote_as_text(error.format(&mut command)))?;
    cli.global.data_dir_is_typed = matches.value_source("data_dir") == Some(ValueSource::CommandLine);
    Ok(cli)
}

/// Escapes what was typed where an error quotes it.
fn quote_as_text(mut error: clap::Error) -> clap::Error {
    let quoted: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in quoted {
        let escaped = match value {
            ContextValue::String(text) => ContextValue::String(escape(&text).into_owned()),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.iter().map(|text| escape(text).into_owned()).collect())
            }
            _ => continue,
        };
        let before = error.insert(kind, escaped);
        if before.as_ref() != error.get(kind) {
            // A tip quotes it between its styles, where it cannot be told apart from them.
            error.remove(ContextKind::Suggested);
        }
    }
    error
}

/// Prints help, version or what is wrong, and gives the code to end with.
pub(crate) fn answer(error: &clap::Error) -> ExitCode {
    // The words of a value's own parser cannot be exchanged. Where they would do harm, styles are given up.
    let words = error.source().map(ToString::to_string).unwrap_or_default();
    if matches!(escape(&words), Cow::Owned(_)) {
        error.render().to_string().lines().for_each(output::note);
    } else {
        // Nobody reading it is no reason for another code.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).map_or(Exit::WrongCommandLine.into(), ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
