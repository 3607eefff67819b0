//! `seenby endpoints`: the hosts under which `seenby serve` may be called, as the settings and the presets say. Refuses to
//! hold: what is known only once it listens (its address, the hosts of its certificate), and the check itself.

use clap::Args;
use serde::Serialize;
use sighting::escape;

use super::Context;
use super::serve::api_settings;
use crate::exit::{Exit, Outcome};
use crate::output::table;

/// How many audiences a row names.
const AUDIENCES_SHOWN: usize = 1;

/// List the hosts that `seenby serve` may be called by, and whose tokens each takes
///
/// Beside these it may be called by the address that it listens on and by the hosts of its certificate. A request to any
/// other host is answered with 421.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  seenby endpoints\n  seenby endpoints --json")]
pub(crate) struct EndpointsArgs {}

/// One endpoint as JSON. `null` is: any port, no cloud, no region, any sign-in, every audience.
#[derive(Serialize)]
struct Shown<'a> {
    host: &'a str,
    cloud: Option<&'a str>,
    region: Option<&'a str>,
    authority: Option<&'a str>,
    audiences: Option<&'a [String]>,
}

/// Runs the command.
pub(crate) fn run(_: &EndpointsArgs, mut context: Context) -> Outcome {
    let endpoints = api_settings(&context.settings).every_endpoint();
    if context.global.json {
        let shown: Vec<Shown<'_>> = endpoints.iter().map(shown).collect();
        context.output.json(&shown)?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["host", "cloud", "region", "authority", "audiences"]);
    for endpoint in &endpoints {
        let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), |text| escape(text).into_owned());
        rows.add_row([
            escape(endpoint.host()).into_owned(),
            text(endpoint.cloud()),
            text(endpoint.region()),
            text(endpoint.authority()),
            audiences(endpoint),
        ]);
    }
    context.output.table(&rows)?;
    context
        .output
        .line("Also the address that it listens on, and the hosts of its URL and its certificate.")?;
    Ok(Exit::Done)
}

fn shown(endpoint: &api::Endpoint) -> Shown<'_> {
    Shown {
        host: endpoint.host(),
        cloud: endpoint.cloud(),
        region: endpoint.region(),
        authority: endpoint.authority(),
        audiences: endpoint.audiences(),
    }
}

/// The first ones, and how many more there are.
fn audiences(endpoint: &api::Endpoint) -> String {
    let Some(audiences) = endpoint.audiences() else { return "all".to_owned() };
    let first: Vec<_> = audiences.iter().take(AUDIENCES_SHOWN).map(|it| escape(it)).collect();
    let more = match audiences.len().saturating_sub(AUDIENCES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", first.join(", "))
}
