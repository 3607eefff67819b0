//! The rules of the house that no compiler checks, over the files of the repository: heads, the direction of dependencies, the one
//! clock, paths and links that exist, decision records, the table of settings. Each rule is a function from a tree of files to
//! faults, and is shown to find the fault that it is there for. Nothing here judges what code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Path from the root, with slashes, to text.
type Tree = BTreeMap<String, String>;

/// From files to what is wrong with them.
type Rule = fn(&Tree) -> Vec<String>;

/// Which of our crates a crate may name. Who is not listed may name nobody.
const MAY_KNOW: [(&str, &[&str]); 7] = [
    ("crates/formats", &["sighting"]),
    ("crates/index", &["sighting"]),
    ("crates/api", &["sighting"]),
    ("crates/fleet", &["sighting"]),
    ("crates/seenby", &["sighting", "formats", "index", "api", "fleet"]),
    ("fuzz", &["sighting", "formats", "index", "api"]),
    ("bench", &["sighting", "formats", "index", "api", "fleet"]),
];

/// Crates whose tests and benches may use the simulator too.
const TESTED_WITH_FLEET: [&str; 1] = ["crates/index"];

const OURS: [&str; 6] = ["sighting", "formats", "index", "api", "fleet", "seenby"];

/// Crates that must not touch files, threads, sockets or the environment at all.
const PURE: [&str; 2] = ["crates/sighting/src/", "crates/formats/src/"];

/// Settings that stand in no section.
const TOP_SETTINGS: [&str; 4] = ["data_dir", "key_file", "signing_key_days", "memory_mb"];

const LONGEST_LINE: usize = 150;

#[test]
fn the_repository_is_tidy() {
    let tree = repository();
    assert!(tree.len() > 100, "only {} files were found: is this the repository?", tree.len());
    let rules: [(&str, Rule); 7] = [
        ("heads", heads),
        ("dependencies", dependencies),
        ("clock", clock),
        ("pure", pure),
        ("paths", paths),
        ("decisions", decisions),
        ("lines", lines),
    ];
    let faults: Vec<String> = rules
        .iter()
        .flat_map(|(name, rule)| rule(&tree).into_iter().map(move |fault| format!("{name}: {fault}")))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every source file opens with what it holds; a file of a crate's `src` also says what it does not hold.
fn heads(tree: &Tree) -> Vec<String> {
    let limits = [
        "not",
        "no",
        "nothing",
        "never",
        "none",
        "without",
        "nobody",
        "only",
        "cannot",
        "elsewhere",
        "refuses",
    ];
    let mut faults = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let head: String =
            text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join(" ");
        let says_limit = head
            .split(|c: char| !c.is_alphabetic())
            .any(|word| limits.contains(&word.to_lowercase().as_str()));
        if head.is_empty() {
            faults.push(format!("{path}: the first line does not say what the file holds (//! ...)"));
        } else if path.contains("/src/") && !says_limit {
            faults.push(format!("{path}: the head does not say what the file refuses to hold"));
        }
    }
    faults
}

/// The arrows of ARCHITECTURE.md: `sighting` at the bottom, the binary at the top, nobody sideways.
fn dependencies(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let home = path.trim_end_matches("/Cargo.toml");
        let may: &[&str] = MAY_KNOW.iter().find(|(name, _)| *name == home).map_or(&[], |(_, may)| may);
        let manifest: toml::Table = text.parse().expect("cargo has read it already");
        for (section, for_tests) in
            [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
        {
            let Some(named) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for name in named.keys().filter(|name| OURS.contains(&name.as_str())) {
                let granted = may.contains(&name.as_str())
                    || (for_tests && name == "fleet" && TESTED_WITH_FLEET.contains(&home));
                if !granted {
                    faults.push(format!(
                        "{path}: [{section}] names {name}, against the arrows in ARCHITECTURE.md"
                    ));
                }
            }
        }
    }
    faults
}

/// Only `seenby::clock` reads the wall clock; everything else takes `now`.
fn clock(tree: &Tree) -> Vec<String> {
    let readings =
        [["SystemTime", "::now"].concat(), ["Timestamp", "::now"].concat(), ["Zoned", "::now"].concat()];
    let granted = [
        "crates/seenby/src/clock.rs",
        "crates/seenby/tests/program/support.rs",
        // It asks a real server, which counts back from now.
        "bench/src/clock.rs",
    ];
    tree.iter()
        .filter(|(path, _)| path.ends_with(".rs") && !granted.contains(&path.as_str()))
        .flat_map(|(path, text)| text.lines().enumerate().map(move |(at, line)| (path, at + 1, line)))
        .filter(|(_, _, line)| readings.iter().any(|reading| line.contains(reading)))
        .map(|(path, at, _)| format!("{path}:{at}: reads the clock; take `now` as an argument"))
        .collect()
}

/// The vocabulary and the formats do no I/O and start no threads.
fn pure(tree: &Tree) -> Vec<String> {
    let doors = [
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::env",
        "std::process",
        "std::thread",
        "std::time::Instant",
        "tokio",
    ];
    let mut faults = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| PURE.iter().any(|home| path.starts_with(home))) {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for door in doors.iter().filter(|door| line.contains(**door)) {
                faults.push(format!("{path}:{}: {door} in a crate that is a function of its input", at + 1));
            }
        }
    }
    faults
}

/// A link in a document leads to a file that is there, and so does a path that it names in backticks.
fn paths(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(text) {
            if !exists(tree, &joined(folder, link)) {
                faults.push(format!("{path}: the link to {link} leads nowhere"));
            }
        }
        for named in quoted(text).filter(|word| is_path(word)) {
            if !exists(tree, named) {
                faults.push(format!("{path}: `{named}` does not exist"));
            }
        }
    }
    faults
}

/// Targets of `[words](target)` that lie in the repository, without their `#part`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or(""))
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
}

/// What stands between single backticks on one line, outside blocks of code.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines()
        .filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A path from the root that is meant literally: it begins with one of the root's folders and has no placeholder.
fn is_path(word: &str) -> bool {
    ["crates/", "docs/", "bench/", ".ci/"].iter().any(|root| word.starts_with(root))
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
}

fn joined(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// A file, or a folder with a file in it.
fn exists(tree: &Tree, path: &str) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    tree.contains_key(path)
        || tree.range(folder.clone()..).next().is_some_and(|(first, _)| first.starts_with(&folder))
}

/// Records are numbered without gaps and have the three parts that make them worth reading.
fn decisions(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let records: Vec<(&String, &String)> =
        tree.iter().filter(|(path, _)| path.starts_with("docs/decisions/")).collect();
    for (number, (path, text)) in (1..).zip(&records) {
        let name = path.trim_start_matches("docs/decisions/");
        if !name.starts_with(&format!("{number:04}-")) {
            faults.push(format!("{path}: the record {number:04} is missing, or there are two"));
            break;
        }
        if !text.starts_with(&format!("# {number:04}: ")) {
            faults.push(format!("{path}: the title does not begin with '# {number:04}: '"));
        }
        for part in ["## Context", "## Options", "## Choice"] {
            if !text.lines().any(|line| line == part) {
                faults.push(format!("{path}: no '{part}'"));
            }
        }
    }
    faults
}

/// Documents that can be read beside code, and no line that ends in blanks. Tables are as wide as they are; rustfmt has the code.
fn lines(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| [".rs", ".md"].iter().any(|end| path.ends_with(end))) {
        for (at, line) in text.lines().enumerate() {
            let is_prose = path.ends_with(".md") && !line.starts_with('|');
            if is_prose && line.chars().count() > LONGEST_LINE {
                faults.push(format!("{path}:{}: longer than {LONGEST_LINE} characters", at + 1));
            }
            if line.ends_with([' ', '\t']) {
                faults.push(format!("{path}:{}: blanks at the end", at + 1));
            }
        }
        if !text.ends_with('\n') {
            faults.push(format!("{path}: no line end at the end"));
        }
    }
    faults
}

/// Every key of the example file is one that the binary reads, and README's table has the same keys.
#[test]
fn the_settings_are_the_same_in_the_example_and_in_readme() {
    let tree = repository();
    let example = keys_of_example(&tree["docs/settings.example.toml"]);
    let readme: BTreeSet<String> = tree["README.md"]
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(key, _)| key.to_owned())
        .filter(|key| TOP_SETTINGS.contains(&key.as_str()) || key.contains('.'))
        .collect();
    assert_eq!(example, readme);
    assert!(example.contains("api.unknown_ip"), "{example:?}");
}

/// `section.key` of each line of the example, those that are commented out included.
fn keys_of_example(text: &str) -> BTreeSet<String> {
    let table: toml::Table = uncommented(text).parse().expect("TOML");
    let mut keys = BTreeSet::new();
    for (name, value) in &table {
        // A section may be there several times.
        let sections: Vec<&toml::Table> = match value {
            toml::Value::Array(list) => list.iter().filter_map(toml::Value::as_table).collect(),
            other => other.as_table().into_iter().collect(),
        };
        if sections.is_empty() {
            keys.insert(name.clone());
        }
        for section in sections {
            keys.extend(section.keys().map(|key| format!("{name}.{key}")));
        }
    }
    keys
}

/// The example with every setting switched on: a `#` that no blank follows is taken away.
fn uncommented(text: &str) -> String {
    let line_on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line_on).collect()
}

/// The binary takes the example as it is, with all settings on, and refuses it with a key that it does not know.
#[test]
fn the_binary_reads_the_example() {
    let example = repository().remove("docs/settings.example.toml").expect("the example");
    let all_on = uncommented(&example);
    check_settings(&example, true);
    check_settings(&all_on, true);
    check_settings(&all_on.replace("unknown_ip", "unknown_ib"), false);
}

fn check_settings(text: &str, taken: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("seenby.toml");
    fs::write(&file, text).expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_seenby"))
        .args(["retention", "show", "--settings"])
        .arg(&file)
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .env_clear()
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(if taken { 0 } else { 2 }), "{said}");
    assert!(taken || said.contains("unknown_ib"), "{said}");
}

/// Each rule finds the fault that it is there for, and nothing in a tree without it.
#[test]
fn each_rule_finds_its_fault() {
    check(heads, "crates/index/src/a.rs", "//! Holds rows, never pages.\n", "fn a() {}\n");
    check(heads, "crates/index/src/a.rs", "//! Holds rows, never pages.\n", "//! Holds rows.\n");
    check(
        dependencies,
        "crates/api/Cargo.toml",
        "[dependencies]\nsighting.workspace = true\n",
        "[dependencies]\nindex.workspace = true\n",
    );
    check(
        dependencies,
        "crates/index/Cargo.toml",
        "[dev-dependencies]\nfleet.workspace = true\n",
        "[dependencies]\nfleet.workspace = true\n",
    );
    check(
        dependencies,
        "crates/new/Cargo.toml",
        "[dependencies]\n",
        "[build-dependencies]\nsighting.workspace = true\n",
    );
    check(
        clock,
        "crates/api/src/a.rs",
        "let now = given;\n",
        &["let now = SystemTime", "::now();\n"].concat(),
    );
    check(pure, "crates/formats/src/a.rs", "// not std::fs\n", "use std::fs;\n");
    check(paths, "docs/a.md", "[a](a.md), `docs/a.md`, `docs/<any>`\n", "[a](b.md)\n");
    check(paths, "docs/a.md", "```\n`docs/gone.md`\n```\n", "`docs/gone.md`\n");
    check(
        decisions,
        "docs/decisions/0001-a.md",
        "# 0001: A\n## Context\n## Options\n## Choice\n",
        "# 0001: A\n## Context\n## Choice\n",
    );
    check(
        decisions,
        "docs/decisions/0001-a.md",
        "# 0001: A\n## Context\n## Options\n## Choice\n",
        "# 1. A\n## Context\n## Options\n## Choice\n",
    );
    check(lines, "a.md", "short\n", "blanks \n");
    check(lines, "a.md", "short\n", &"x".repeat(LONGEST_LINE + 1));
}

fn check(rule: Rule, path: &str, good: &str, bad: &str) {
    let with = |text: &str| rule(&Tree::from([(path.to_owned(), text.to_owned())]));
    assert_eq!(with(good), Vec::<String>::new(), "{path}: {good}");
    assert!(!with(bad).is_empty(), "{path}: {bad}");
}

/// The text files of the repository, without what is built.
fn repository() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up");
    let mut tree = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let name = entry.file_name().into_string().expect("a name");
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() && !["target", ".git", "demo-data"].contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file() {
                let key = path.strip_prefix(root).expect("below").to_str().expect("a name").to_owned();
                // A file that is not text is there for the links; no rule reads it.
                drop(tree.insert(key, fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    tree
}
