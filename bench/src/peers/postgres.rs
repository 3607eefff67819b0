//! PostgreSQL over loopback: every (address, second, device), copied in and indexed so that a question reads the index alone.
//! Refuses to hold: names of devices, which are numbers already.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use postgres::{Client, NoTls, Statement};

use super::redis::{free_port, within};
use super::{Asked, Corpus, Loaded, Peer, Told};
use crate::memory::folder_bytes;

/// A server of its own.
pub(super) struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    /// Gone with it.
    _folder: tempfile::TempDir,
    client: Client,
    ask: Option<Statement>,
}

const SCHEMA: &str = "CREATE TABLE seen (ip inet NOT NULL, second int4 NOT NULL, device int4 NOT NULL)";
const INDEX: &str = "CREATE INDEX of_seen ON seen (ip, second) INCLUDE (device)";
const ASK: &str = "
    SELECT count(DISTINCT device), coalesce(min(second), 0), coalesce(max(second), 0) FROM seen
    WHERE ip = $1::text::inet AND second BETWEEN $2 AND $3";

/// Where Debian keeps the programs of the newest version.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").is_file()).max().context("PostgreSQL has no server here")
}

/// A command of the server's user: it refuses to run as root.
fn command(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

impl Postgres {
    pub(super) fn start(_: &Path) -> anyhow::Result<Postgres> {
        let programs = programs()?;
        // The server's user must get there: not below a folder that is ours alone.
        let folder = tempfile::Builder::new().prefix("seenby-bench-").tempdir()?;
        if rustix::process::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        run(command(&programs.join("initdb")).arg("-D").arg(&data).args(["-A", "trust", "-U", "bench"]))?;
        let port = free_port()?;
        let options = format!(
            "-p {port} -h 127.0.0.1 -k '' -c shared_buffers=1GB -c max_wal_size=8GB -c maintenance_work_mem=1GB"
        );
        let mut start = command(&programs.join("pg_ctl"));
        start.arg("-D").arg(&data).args(["-w", "-l"]).arg(folder.path().join("log")).arg("-o").arg(options);
        let started = start.arg("start").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        anyhow::ensure!(started.success(), "the server does not start");
        let url = format!("host=127.0.0.1 port={port} user=bench dbname=postgres");
        let client = within(Duration::from_secs(10), || Client::connect(&url, NoTls).ok())
            .context("the server does not answer")?;
        Ok(Postgres { programs, data, _folder: folder, client, ask: None })
    }
}

impl Peer for Postgres {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn takes_file(&self) -> bool {
        false
    }

    fn knows_first(&self) -> bool {
        true
    }

    fn way(&self) -> &'static str {
        "http"
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let begun_at = Instant::now();
        self.client.batch_execute(SCHEMA)?;
        let mut copy = self.client.copy_in("COPY seen FROM STDIN")?;
        for (address, device, second) in corpus.sightings() {
            writeln!(copy, "{address}\t{}\t{}", second.unix(), device.0)?;
        }
        copy.finish()?;
        self.client.batch_execute(INDEX)?;
        self.client.batch_execute("VACUUM ANALYZE seen")?;
        let took = begun_at.elapsed();
        self.ask = Some(self.client.prepare(ASK)?);
        self.client.batch_execute("CHECKPOINT")?;
        Ok(Loaded { took, bytes: Some(folder_bytes(&self.data.join("base"))?) })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        let Some(ask) = &self.ask else { return Ok(Vec::new()) };
        let mut told = Vec::new();
        for asked in questions {
            let (since, until) = (asked.since.unix() as i32, asked.until.unix() as i32);
            let begun_at = Instant::now();
            let row = self.client.query_one(ask, &[&asked.address.to_string(), &since, &until])?;
            let took = begun_at.elapsed();
            let (devices, first, last): (i64, i32, i32) = (row.get(0), row.get(1), row.get(2));
            told.push((took, Told { devices: devices as u32, first: first as u32, last: last as u32 }));
        }
        Ok(told)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // If it does not stop, it is left with a folder that is gone.
        let _ = command(&self.programs.join("pg_ctl"))
            .arg("-D")
            .arg(&self.data)
            .args(["-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .status();
    }
}
