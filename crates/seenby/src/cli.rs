//! The command line as typed. Refuses to hold: what it means where that needs the settings file, the environment of
//! the data folder or an organisation (`commands::Context`).

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

use crate::commands::{app, demo, device, ingest, init, org, retention, serve, stats};

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
    #[arg(long, global = true, env = "SEENBY_DATA", value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The settings file (TOML)
    #[arg(long, global = true, env = "SEENBY_SETTINGS", value_name = "FILE")]
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
    Stats(stats::StatsArgs),
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    /// Organisations: whose devices they are
    #[command(subcommand)]
    Org(org::OrgCommand),
    /// Applications: who may ask over HTTP
    #[command(subcommand)]
    App(app::AppCommand),
    /// Retention: how long sightings are kept
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// Devices: what is counted, and which names belong together
    #[command(subcommand)]
    Device(device::DeviceCommand),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
