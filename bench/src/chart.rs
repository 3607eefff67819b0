//! Figures beside those of peers as bars, in SVG: a length for each, on a scale of powers of ten, because they differ by thousands.
//! Refuses to hold: what is measured, and any verdict.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::results::{Row, shown};

/// File, title, and the figures in it.
const CHARTS: [(&str, &str, &[&str]); 4] = [
    (
        "rare.svg",
        "An address that one device reached once (us, shorter is better)",
        &["rare.process.p50", "rare.http.p50"],
    ),
    (
        "hot.svg",
        "An address that 50,000 devices reach (us, shorter is better)",
        &["hot.process.p50", "hot.http.p50"],
    ),
    ("load.svg", "To a durable store (events/s, longer is better)", &["load.file", "load.decoded"]),
    ("disk.svg", "Bytes an event (shorter is better)", &["disk.peers"]),
];

const WIDTH: f64 = 760.0;
/// Where bars begin and how long they may be.
const LEFT: f64 = 170.0;
const LONGEST: f64 = 480.0;
const LINE: f64 = 22.0;

/// Draws every chart of which there is anything into a folder.
pub(crate) fn write(rows: &[Row], folder: &Path) -> anyhow::Result<()> {
    for (file, title, names) in CHARTS {
        let groups: Vec<(&str, Vec<(&str, f64)>)> =
            names.iter().map(|name| (*name, bars(rows, name))).filter(|(_, bars)| !bars.is_empty()).collect();
        if groups.is_empty() {
            continue;
        }
        let path = folder.join(file);
        std::fs::write(&path, draw(title, &groups))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// Ours, then everyone else's.
fn bars<'a>(rows: &'a [Row], name: &str) -> Vec<(&'a str, f64)> {
    // A promise is nobody: its rows are of other measurements with the same name.
    let of_name = || rows.iter().filter(|row| row.name == name && row.peer != "promise");
    let ours = of_name().next().map(|row| ("seenby", row.ours));
    ours.into_iter().chain(of_name().map(|row| (row.peer, row.peer_value))).collect()
}

fn draw(title: &str, groups: &[(&str, Vec<(&str, f64)>)]) -> String {
    let values = || groups.iter().flat_map(|(_, bars)| bars.iter().map(|(_, value)| value.log10()));
    let least = values().fold(f64::INFINITY, f64::min).floor();
    let most = values().fold(f64::NEG_INFINITY, f64::max).ceil().max(least + 1.0);
    let place = |value: f64| LEFT + (value.log10() - least) / (most - least) * LONGEST;
    let lines: usize = groups.iter().map(|(_, bars)| bars.len() + 1).sum();
    let height = 40.0 + LINE * (lines as f64 + 1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" fill=\"#222222\">{title}</text>\n"
    );
    for power in least as i32..=most as i32 {
        let value = 10f64.powi(power);
        let x = place(value);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"36\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>",
            height - LINE
        );
        let (y, value) = (height - 6.0, shown(value));
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"#777777\" text-anchor=\"middle\">{value}</text>"
        );
    }
    let mut y = 36.0;
    for (name, bars) in groups {
        y += LINE;
        let _ = writeln!(svg, "<text x=\"12\" y=\"{:.1}\" fill=\"#777777\">{name}</text>", y - 6.0);
        for (label, value) in bars {
            let (colour, length) =
                (if *label == "seenby" { "#0b6e4f" } else { "#9fb3c8" }, place(*value) - LEFT);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#222222\" text-anchor=\"end\">{label}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#222222\">{}</text>",
                LEFT - 8.0,
                y + LINE - 7.0,
                y + 3.0,
                length.max(1.0),
                LINE - 6.0,
                LEFT + length + 6.0,
                y + LINE - 7.0,
                shown(*value)
            );
            y += LINE;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Better, Results};

    #[test]
    fn ours_comes_first_and_everyone_has_a_bar() {
        let mut results = Results::default();
        results.add("rare.process.p50", 1.8, "us", Better::Lower, ("promise", 20.0));
        for (peer, value) in [("sqlite", 6.4), ("duckdb raw", 1_765.0)] {
            results.add("rare.process.p50", 6.8, "us", Better::Lower, (peer, value));
        }
        let bars = bars(results.rows(), "rare.process.p50");
        assert_eq!(bars, [("seenby", 6.8), ("sqlite", 6.4), ("duckdb raw", 1_765.0)]);
        let svg = draw("A title", &[("rare.process.p50", bars)]);
        for text in ["A title", ">seenby<", ">sqlite<", ">duckdb raw<", ">1,765<", ">6.80<"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        write(results.rows(), folder.path()).expect("written");
        let files: Vec<_> = std::fs::read_dir(folder.path()).expect("readable").collect();
        assert_eq!(files.len(), 1, "charts of which there is nothing are not drawn");
    }
}
