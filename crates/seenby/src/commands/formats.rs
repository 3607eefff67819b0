//! `seenby formats`: which logs are understood, and what of each counts. Refuses to hold: how they are read (`formats`).

use clap::Args;
use formats::{About, Format};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::output::table;

/// List the log formats, by what a device is known in each, and what of it counts
///
/// `seenby ingest` tells the format by the first bytes; `--format NAME` says it. `seenby ingest --explain FILE` shows what
/// becomes of the first records of a file.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  seenby formats\n  seenby formats --json")]
pub(crate) struct FormatsArgs {}

/// One format as JSON.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    log: &'static str,
    device: &'static str,
    counts: &'static str,
}

/// Runs the command.
pub(crate) fn run(_: &FormatsArgs, mut context: Context) -> Outcome {
    let shown = Format::ALL.map(|format| {
        let About { log, device, counts } = format.about();
        Shown { name: format.name(), log, device, counts }
    });
    if context.global.json {
        context.output.json(&shown)?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["format", "log", "device", "counts"]);
    for Shown { name, log, device, counts } in &shown {
        rows.add_row([*name, *log, *device, *counts]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}
