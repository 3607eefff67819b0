//! Seenby and ClickHouse over HTTP on loopback, each asked over a connection that is kept for its turn, by the same client; seenby with
//! sign-in, as it always is. Refuses to hold: what the two do in process.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::redis::{free_port, within};
use super::{Asked, Corpus, Loaded, Peer, Told, child};
use crate::connection::Connection;
use crate::program::{Program, Serving};

pub(super) const SEENBY: &str = "seenby http";
pub(super) const CLICKHOUSE: &str = "clickhouse http";

/// The real server.
pub(super) struct Seenby {
    program: Program,
    data_dir: PathBuf,
    serving: Option<(Serving, String)>,
}

impl Seenby {
    pub(super) fn new(program: &Program, folder: &Path) -> anyhow::Result<Seenby> {
        Ok(Seenby { program: program.clone(), data_dir: folder.join("data"), serving: None })
    }
}

/// The answer of the original's API, as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    organization_prevalence: u32,
}

impl Peer for Seenby {
    fn name(&self) -> &'static str {
        SEENBY
    }

    fn takes_file(&self) -> bool {
        true
    }

    fn knows_first(&self) -> bool {
        true
    }

    fn way(&self) -> &'static str {
        "http"
    }

    fn counts_from_now(&self) -> bool {
        true
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        self.program.init(&self.data_dir)?;
        let (_, took) = self.program.ingest(&self.data_dir, corpus.file)?;
        let serving = self.program.serve(&self.data_dir, &[])?;
        let token = serving.token(&self.program.application(&self.data_dir, "bench")?)?;
        self.program.unlimited(&self.data_dir, "bench")?;
        self.serving = Some((serving, token));
        Ok(Loaded { took, bytes: None })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        let (serving, token) = self.serving.as_ref().context("it was loaded")?;
        // One that waited for its turn may have been closed.
        let mut connection = Connection::open(&serving.host)?;
        let mut told = Vec::new();
        for asked in questions {
            let request = format!(
                "GET /api/ips/{}/stats?lookBackHours={} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
                asked.address, asked.hours, serving.host
            );
            let begun_at = Instant::now();
            let (status, body) = connection.exchange(request.as_bytes())?;
            let took = begun_at.elapsed();
            let devices = match status {
                200 => serde_json::from_slice::<Stats>(&body)?.organization_prevalence,
                404 => 0,
                _ => anyhow::bail!("{status}: {}", String::from_utf8_lossy(&body)),
            };
            told.push((took, Told { devices, first: 0, last: 0 }));
        }
        Ok(told)
    }
}

/// The library as a server, over a folder that it fills itself.
pub(super) struct ClickHouse {
    tools: PathBuf,
    folder: PathBuf,
    serving: Option<(Child, String)>,
}

impl ClickHouse {
    pub(super) fn new(tools: &Path, folder: &Path) -> anyhow::Result<ClickHouse> {
        child::library(tools)?;
        Ok(ClickHouse { tools: tools.to_owned(), folder: folder.to_owned(), serving: None })
    }
}

impl Peer for ClickHouse {
    fn name(&self) -> &'static str {
        CLICKHOUSE
    }

    fn takes_file(&self) -> bool {
        true
    }

    fn knows_first(&self) -> bool {
        true
    }

    fn way(&self) -> &'static str {
        "http"
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let loaded = child::clickhouse(&self.tools, &self.folder, "raw")?.load(corpus)?;
        let host = format!("127.0.0.1:{}", free_port()?);
        let port = host.split(':').next_back().unwrap_or_default();
        let server = child::python(&self.tools)
            .arg(child::script("clickhouse_server.py"))
            .arg(child::library(&self.tools)?)
            .arg(self.folder.join("raw"))
            .arg(port)
            .stdin(Stdio::null())
            .spawn()?;
        self.serving = Some((server, host.clone()));
        let is_up = within(Duration::from_secs(20), || Connection::open(&host).ok());
        is_up.context("the server does not answer")?;
        Ok(loaded)
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        let (_, host) = self.serving.as_ref().context("it was loaded")?;
        let mut connection = Connection::open(host)?;
        let mut told = Vec::new();
        for asked in questions {
            let query = format!(
                "SELECT uniqExact(device), toUnixTimestamp(min(second)), toUnixTimestamp(max(second)) FROM raw \
                 WHERE ip = toIPv6('{}') AND second BETWEEN {} AND {}",
                asked.address,
                asked.since.unix(),
                asked.until.unix()
            );
            let request =
                format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{query}", query.len());
            let begun_at = Instant::now();
            let (status, body) = connection.exchange(request.as_bytes())?;
            let took = begun_at.elapsed();
            let body = String::from_utf8(body)?;
            anyhow::ensure!(status == 200, "{status}: {body}");
            let columns = body.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
            let [devices, first, last] = columns[..] else { anyhow::bail!("three columns: {body}") };
            told.push((took, Told { devices, first, last }));
        }
        Ok(told)
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        if let Some((server, ..)) = &mut self.serving {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
