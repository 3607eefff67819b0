//! What was measured: rows, their table, their JSON. Refuses to hold: how anything is measured.
#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::path::Path;

use anyhow::Context as _;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// One figure beside another. The keys are those of `results.json`.
#[derive(Serialize, Debug)]
pub(crate) struct Row {
    /// What, such as `load.mde.600`: `load.`, `limit.`, `rare.`, `hot.`, `unseen.`, `token.`, `memory.`, `restart.`, `disk.`.
    pub(crate) name: String,
    /// Our figure.
    pub(crate) ours: f64,
    /// Beside what: `promise`, or what the machine can do at all.
    pub(crate) peer: &'static str,
    pub(crate) peer_value: f64,
    unit: &'static str,
    /// Above 1 we are better than the peer.
    ratio: f64,
}

/// Whether a figure is good when it is high or when it is low.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// All rows so far.
#[derive(Default)]
pub(crate) struct Results {
    rows: Vec<Row>,
}

impl Results {
    /// Adds a row and shows it at once, since a whole run takes minutes.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        ours: f64,
        unit: &'static str,
        better: Better,
        (peer, peer_value): (&'static str, f64),
    ) {
        let ratio = match better {
            Better::Higher => ours / peer_value,
            Better::Lower => peer_value / ours,
        };
        let row = Row { name: name.into(), ours, peer, peer_value, unit, ratio };
        println!("{:<28} {:>14} {unit}", row.name, shown(ours));
        self.rows.push(row);
    }

    /// Prints what is being done, since it may take a while.
    pub(crate) fn say(&self, what: &str) {
        println!("- {what}");
    }

    /// Prints the table.
    pub(crate) fn show(&self) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["FIGURE", "MEASURED", "UNIT", "BESIDE", "", "RATIO"]);
        for row in &self.rows {
            let (ours, peer, ratio) = (shown(row.ours), shown(row.peer_value), format!("{:.2}", row.ratio));
            table.add_row([&row.name, &ours, row.unit, row.peer, &peer, &ratio]);
        }
        for number in [1, 4, 5] {
            if let Some(column) = table.column_mut(number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!(
            "
{table}

ratio: above 1, the measured figure is the better one"
        );
    }

    /// All rows.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Writes them as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec_pretty(&self.rows)?;
        json.push(b'\n');
        std::fs::write(path, json).with_context(|| format!("{} cannot be written", path.display()))?;
        println!("written to {}", path.display());
        Ok(())
    }
}

/// Three digits at least, thousands apart.
pub(crate) fn shown(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
