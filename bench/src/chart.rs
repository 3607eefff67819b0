//! Figures beside those of peers as bars, and figures over the size of a store as lines, in SVG and on scales of powers of ten,
//! because they differ by thousands. Refuses to hold: what is measured, and any verdict.

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

/// What grows with a store: the names of figures without its size.
const GROWING: [(&str, &str); 5] = [
    ("rare.process.p99.warm", "#0b6e4f"),
    ("hot.process.p99.warm", "#c06014"),
    ("rare.process.p99.cold", "#5fae93"),
    ("hot.process.p99.cold", "#e0a878"),
    ("rare.process.p99.ingesting", "#4a6fa5"),
];
/// Sizes, as names of figures end.
const SIZES: [&str; 3] = ["1M", "10M", "100M"];

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
        put(folder, file, &draw(title, &groups))?;
    }
    let lines: Vec<(&str, &str, Vec<f64>)> =
        GROWING.iter().filter_map(|(name, colour)| Some((*name, *colour, line(rows, name)?))).collect();
    if lines.is_empty() { Ok(()) } else { put(folder, "growth.svg", &draw_lines(&lines)) }
}

fn put(folder: &Path, file: &str, svg: &str) -> anyhow::Result<()> {
    let path = folder.join(file);
    std::fs::write(&path, svg).with_context(|| format!("{} cannot be written", path.display()))
}

/// A figure at each size, if all were measured.
fn line(rows: &[Row], name: &str) -> Option<Vec<f64>> {
    let at = |size| rows.iter().find(|row| row.name == format!("{name}.{size}")).map(|row| row.ours);
    SIZES.iter().map(at).collect()
}

fn draw_lines(lines: &[(&str, &str, Vec<f64>)]) -> String {
    const TOP: f64 = 50.0;
    const HEIGHT: f64 = 300.0;
    let values = || lines.iter().flat_map(|(.., values)| values.iter().map(|value| value.log10()));
    let least = values().fold(f64::INFINITY, f64::min).floor();
    let most = values().fold(f64::NEG_INFINITY, f64::max).ceil().max(least + 1.0);
    let x = |index: usize| 90.0 + index as f64 * 200.0;
    let y = |value: f64| TOP + HEIGHT - (value.log10() - least) / (most - least) * HEIGHT;
    let mut svg = opened("Look-ups in stores of 1, 10 and 100 million pairs (p99, us)", TOP + HEIGHT + 40.0);
    for power in least as i32..=most as i32 {
        let value = 10f64.powi(power);
        let at = y(value);
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#777777\" text-anchor=\"end\">{}</text>",
            x(0),
            x(2),
            x(0) - 8.0,
            at + 4.0,
            shown(value)
        );
    }
    for (index, size) in SIZES.iter().enumerate() {
        let (x, y) = (x(index), TOP + HEIGHT + 20.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"#777777\" text-anchor=\"middle\">{size}</text>"
        );
    }
    let ends: Vec<f64> = lines.iter().map(|(.., values)| y(values.last().copied().unwrap_or(1.0))).collect();
    for ((name, colour, values), label) in lines.iter().zip(apart(&ends)) {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(index, value)| format!("{:.1},{:.1}", x(index), y(*value)))
            .collect();
        let last = values.last().copied().unwrap_or(1.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name} {}</text>",
            points.join(" "),
            x(2) + 8.0,
            label + 4.0,
            shown(last)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The same places, moved down where two would lie on each other.
fn apart(places: &[f64]) -> Vec<f64> {
    const LEAST: f64 = 16.0;
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut moved = places.to_vec();
    for pair in order.windows(2) {
        moved[pair[1]] = moved[pair[1]].max(moved[pair[0]] + LEAST);
    }
    moved
}

/// The beginning of a drawing: its ground and its title.
fn opened(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" fill=\"#222222\">{title}</text>\n"
    )
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
    let mut svg = opened(title, height);
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

    #[test]
    fn labels_do_not_lie_on_each_other() {
        assert_eq!(apart(&[100.0, 20.0, 101.0, 102.0]), [100.0, 20.0, 116.0, 132.0]);
        assert_eq!(apart(&[]), [0.0; 0]);
    }

    #[test]
    fn a_figure_of_every_size_is_a_line() {
        let mut results = Results::default();
        for (size, value) in [("1M", 2.0), ("10M", 4.2), ("100M", 6.9)] {
            let name = format!("rare.process.p99.warm.{size}");
            results.add(name, value, "us", Better::Lower, ("promise", 20.0));
        }
        results.add("hot.process.p99.warm.1M", 7.0, "us", Better::Lower, ("promise", 100.0));
        let folder = tempfile::tempdir().expect("a folder");
        write(results.rows(), folder.path()).expect("written");
        let svg = std::fs::read_to_string(folder.path().join("growth.svg")).expect("a chart");
        assert!(svg.contains("rare.process.p99.warm 6.90") && !svg.contains("hot."), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 1);
    }
}
