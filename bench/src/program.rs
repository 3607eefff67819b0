//! The real binary in processes of its own: how long it took, how much memory it held. Refuses to hold: what is asked
//! of it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use sighting::{OrganisationId, Uuid};

use crate::connection::Connection;

/// What clients of the original ask a token for.
const SCOPE: &str = "https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default";

/// Where the binary lies.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
}

/// What `ingest --json` prints, as far as it is looked at.
#[derive(Deserialize, Debug)]
pub(crate) struct Counts {
    /// Records.
    pub(crate) lines: u64,
    /// Those of them that are sightings.
    pub(crate) sighted: u64,
}

/// A server.
pub(crate) struct Serving {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
}

/// What `app add --json` prints, as far as it is looked at.
#[derive(Deserialize, Debug)]
pub(crate) struct Application {
    tenant: String,
    client_id: String,
    client_secret: String,
}

impl Serving {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has held so far, in bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        peak_memory(self.child.id()).context("the server runs")
    }

    /// A token for an application.
    pub(crate) fn token(&self, application: &Application) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
        }
        let Application { tenant, client_id, client_secret } = application;
        let form = format!(
            "grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}&scope={SCOPE}"
        );
        let request = format!(
            "POST /{tenant}/oauth2/v2.0/token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            self.host,
            form.len()
        );
        let (status, body) = Connection::open(&self.host)?.exchange(request.as_bytes())?;
        anyhow::ensure!(status == 200, "no token: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice::<Granted>(&body)?.access_token)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // What it has acknowledged is durable.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// The binary that cargo built beside this one.
    pub(crate) fn find() -> anyhow::Result<Program> {
        let path = std::env::current_exe()?.with_file_name("seenby");
        anyhow::ensure!(
            path.is_file(),
            "{} is missing; build it first: cargo build --release -p seenby",
            path.display()
        );
        Ok(Program { path })
    }

    fn command(&self, name: &str, data_dir: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command
            .env_remove("SEENBY_SETTINGS")
            .env_remove("SEENBY_LOG")
            .arg(name)
            .arg("--data-dir")
            .arg(data_dir);
        command.stderr(Stdio::inherit()).stdin(Stdio::null());
        command
    }

    /// `seenby init`: keeps everything for ever, since the fleet lives in a fixed past.
    pub(crate) fn init(&self, data_dir: &Path) -> anyhow::Result<OrganisationId> {
        #[derive(Deserialize)]
        struct Made {
            organisation: String,
        }
        let output =
            self.command("init", data_dir).args(["--retention-hours", "forever", "--json"]).output()?;
        anyhow::ensure!(output.status.success(), "seenby init failed");
        let made: Made = serde_json::from_slice(&output.stdout)?;
        Ok(OrganisationId(made.organisation.parse::<Uuid>().context("the organisation is a GUID")?))
    }

    /// `seenby ingest FILE`, from the start of the process to its end, the store being durable by then.
    pub(crate) fn ingest(&self, data_dir: &Path, file: &Path) -> anyhow::Result<(Counts, Duration)> {
        let begun_at = Instant::now();
        let output = self.command("ingest", data_dir).arg("--json").arg(file).output()?;
        let took = begun_at.elapsed();
        anyhow::ensure!(output.status.success(), "seenby ingest failed");
        Ok((serde_json::from_slice(&output.stdout)?, took))
    }

    /// `seenby ingest -`, fed by `feed` while its memory is watched. Answers the most that it held, in bytes.
    pub(crate) fn ingest_stdin(
        &self,
        data_dir: &Path,
        feed: impl FnOnce(&mut dyn FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<u64>,
    ) -> anyhow::Result<(Counts, u64)> {
        let mut command = self.command("ingest", data_dir);
        command.args(["--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut pipe = child.stdin.take().context("the pipe was asked for")?;
        let mut stdout = child.stdout.take().context("the pipe was asked for")?;
        let (id, is_done) = (child.id(), AtomicBool::new(false));
        let (counts, peak) = thread::scope(|scope| {
            let watching = scope.spawn(|| watch_memory(id, &is_done));
            let counts = (|| {
                feed(&mut |block| Ok(pipe.write_all(block)?))?;
                drop(pipe);
                let mut printed = Vec::new();
                stdout.read_to_end(&mut printed)?;
                anyhow::Ok(serde_json::from_slice(&printed)?)
            })();
            is_done.store(true, Ordering::Relaxed);
            watching.thread().unpark();
            (counts, watching.join().unwrap_or_default())
        });
        anyhow::ensure!(child.wait()?.success(), "seenby ingest - failed");
        Ok((counts?, peak))
    }

    /// `seenby serve`, ready, until it is dropped.
    pub(crate) fn serve(&self, data_dir: &Path, more: &[&OsStr]) -> anyhow::Result<Serving> {
        let mut command = self.command("serve", data_dir);
        command.args(more).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).env("SEENBY_LOG", "warn");
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("the pipe was asked for")?;
        let mut url = String::new();
        BufReader::new(stdout).read_line(&mut url)?;
        let host = url.trim().strip_prefix("http://").context("the first line is the address")?.to_owned();
        Ok(Serving { child, host })
    }

    /// Adds an application: what it signs in with.
    pub(crate) fn application(&self, data_dir: &Path, name: &str) -> anyhow::Result<Application> {
        let mut add = self.command("app", data_dir);
        let output = add.args(["add", name, "--permission", "Ip.Read.All", "--json"]).output()?;
        anyhow::ensure!(output.status.success(), "seenby app add failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Adds a source that pushes: its token.
    pub(crate) fn source(&self, data_dir: &Path, name: &str, format: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Added {
            token: String,
        }
        let mut add = self.command("source", data_dir);
        // The fleet lives in a fixed past, all of it new.
        let bounds = ["--back-dating-hours", "off", "--new-devices-per-hour", "off"];
        let output = add.args(["add", name, "--format", format, "--json"]).args(bounds).output()?;
        anyhow::ensure!(output.status.success(), "seenby source add failed");
        Ok(serde_json::from_slice::<Added>(&output.stdout)?.token)
    }

    /// Makes a key to sign tokens with, which a server would else do of itself when it has begun, beside what it is asked.
    pub(crate) fn signing_key(&self, data_dir: &Path) -> anyhow::Result<()> {
        let output = self.command("key", data_dir).args(["rotate", "--json"]).output()?;
        anyhow::ensure!(output.status.success(), "seenby key rotate failed");
        Ok(())
    }

    /// Lets an application ask as often as it likes.
    pub(crate) fn unlimited(&self, data_dir: &Path, name: &str) -> anyhow::Result<()> {
        let mut limit = self.command("app", data_dir);
        let limited = limit.args(["limit", name, "--per-minute", "off", "--per-hour", "off", "--json"]);
        anyhow::ensure!(limited.output()?.status.success(), "seenby app limit failed");
        Ok(())
    }

    /// The best of three starts, in seconds; see [`Program::ready`].
    pub(crate) fn best_ready(&self, data_dir: &Path) -> anyhow::Result<f64> {
        let starts = (0..3).map(|_| self.ready(data_dir)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(starts.iter().min().map_or(f64::NAN, Duration::as_secs_f64))
    }

    /// `seenby serve`, from the start of the process to the first `/readyz` that says yes.
    pub(crate) fn ready(&self, data_dir: &Path) -> anyhow::Result<Duration> {
        let begun_at = Instant::now();
        let mut child = self
            .command("serve", data_dir)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .env("SEENBY_LOG", "warn")
            .spawn()?;
        let ready = wait_ready(&mut child, begun_at);
        child.kill()?;
        child.wait()?;
        ready
    }
}

fn wait_ready(child: &mut Child, begun_at: Instant) -> anyhow::Result<Duration> {
    let stdout = child.stdout.take().context("the pipe was asked for")?;
    let mut url = String::new();
    BufReader::new(stdout).read_line(&mut url)?;
    let address = url.trim().strip_prefix("http://").context("the first line is the address")?;
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "the server is not ready: {answer}");
    Ok(begun_at.elapsed())
}

/// Follows the most memory that a process has held, until it is done.
fn watch_memory(process: u32, is_done: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !is_done.load(Ordering::Relaxed) {
        peak = peak_memory(process).unwrap_or(peak);
        thread::park_timeout(Duration::from_millis(10));
    }
    peak
}

/// The most memory that a running process has held so far, as the system counts it (`VmHWM`); none at its end.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
