//! Peers in the process of a Python interpreter, spoken to in lines of JSON (`bench/peers/door.py`). What is timed is the
//! engine's call there. Refuses to hold: the schemas, which are the scripts'.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Asked, Corpus, Loaded, Peer, Told};

/// A script that has the engine in its process.
pub(super) struct Scripted {
    name: &'static str,
    knows_first: bool,
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

/// DuckDB with one of its tables.
pub(super) fn duckdb(tools: &Path, folder: &Path, table: &'static str) -> anyhow::Result<Scripted> {
    let name = if table == "raw" { "duckdb raw" } else { "duckdb pairs" };
    let script = script("duckdb_peer.py");
    Scripted::start(name, table == "raw", python(tools).arg(script).arg(table).arg(folder))
}

/// ClickHouse with one of its tables.
pub(super) fn clickhouse(tools: &Path, folder: &Path, table: &'static str) -> anyhow::Result<Scripted> {
    let name = if table == "raw" { "clickhouse raw" } else { "clickhouse pairs" };
    let script = script("clickhouse_peer.py");
    let mut python = python(tools);
    Scripted::start(name, table == "raw", python.arg(script).arg(library(tools)?).arg(table).arg(folder))
}

/// The interpreter of the environment that was installed.
pub(super) fn python(tools: &Path) -> Command {
    let mut python = Command::new(tools.join("python/bin/python"));
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// A script of `bench/peers`.
pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// ClickHouse as a library.
pub(super) fn library(tools: &Path) -> anyhow::Result<PathBuf> {
    let path = tools.join("node_modules/@chdb/lib-linux-x64-gnu/libchdb.so");
    anyhow::ensure!(path.is_file(), "{} is missing", path.display());
    Ok(path)
}

impl Scripted {
    fn start(name: &'static str, knows_first: bool, command: &mut Command) -> anyhow::Result<Scripted> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().context("the pipe was asked for")?;
        let replies = BufReader::new(child.stdout.take().context("the pipe was asked for")?);
        let mut peer = Scripted { name, knows_first, child, requests, replies };
        // Whether the engine is there at all.
        let _: Reply = peer.call(&json!({"ask": []}))?;
        Ok(peer)
    }

    fn call<T: DeserializeOwned>(&mut self, request: &Value) -> anyhow::Result<T> {
        writeln!(self.requests, "{request}").with_context(|| format!("{} has ended", self.name))?;
        let mut reply = String::new();
        self.replies.read_line(&mut reply)?;
        serde_json::from_str(&reply).with_context(|| format!("{} says {reply:?}", self.name))
    }
}

#[derive(Deserialize)]
struct Reply {
    told: Vec<(u64, u32, u32, u32)>,
}

#[derive(Deserialize)]
struct Taken {
    seconds: f64,
    bytes: u64,
}

impl Peer for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn takes_file(&self) -> bool {
        true
    }

    fn knows_first(&self) -> bool {
        self.knows_first
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let taken: Taken = self.call(&json!({"load": corpus.file}))?;
        Ok(Loaded { took: Duration::from_secs_f64(taken.seconds), bytes: Some(taken.bytes) })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        let asked: Vec<Value> = questions
            .iter()
            .map(|asked| json!([asked.address.to_string(), asked.since.unix(), asked.until.unix()]))
            .collect();
        let reply: Reply = self.call(&json!({ "ask": asked }))?;
        let told = reply.told.into_iter();
        Ok(told
            .map(|(took, devices, first, last)| (Duration::from_nanos(took), Told { devices, first, last }))
            .collect())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // It has nothing to finish.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
