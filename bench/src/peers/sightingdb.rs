//! SightingDB over HTTP on loopback. It counts the sightings of a value in a namespace, with its first and last, and for each
//! value the namespaces that have it, which it calls consensus. So each device is a namespace of the addresses that it
//! reached, and one namespace more has the sightings of all devices: an address is read in that one, and the answer has
//! its first, its last and, with one too many, its devices. All three are exact. Each sighting is written twice for it.
//!
//! It has no look-back: whatever the window, its answer is of all that it was told. What is not needed here is off, as its
//! manual says how: TLS, keys, logs, the record of searches, snapshots; its statistics by hour cannot be, and keep one hour.
//! All of it is in memory. Refuses to hold: windows, names of devices.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fleet::DeviceNumber;
use serde::Deserialize;
use sighting::{Address, Second};

use super::redis::{free_port, within};
use super::{Asked, Corpus, Loaded, Peer, Told};
use crate::connection::Connection;

/// Sightings in one bulk write. Thousands are slower, and more connections than processors are not faster.
const BATCH: usize = 200;
/// The namespace that has the sightings of all devices.
const ALL: &str = "all";
/// What has to be free for the sightings of a whole run: it took 7.3 GB, 2.6 KB each.
const MEMORY: u64 = 8 << 30;

/// A server of its own.
pub(super) struct SightingDb {
    server: Child,
    host: String,
}

impl SightingDb {
    pub(super) fn start(tools: &Path, folder: &Path) -> anyhow::Result<SightingDb> {
        let program = tools.join("bin/sightingdb");
        anyhow::ensure!(program.is_file(), "{} is missing", program.display());
        let available = available_memory().context("the memory that is free is not known")?;
        anyhow::ensure!(available > MEMORY, "it needs {} GB of free memory", MEMORY >> 30);
        let port = free_port()?;
        let (settings, log) = (folder.join("sightingdb.toml"), folder.join("log4rs.yml"));
        std::fs::write(&settings, self::settings(port))?;
        std::fs::write(&log, "root:\n  level: off\n")?;
        let mut command = Command::new(program);
        command.arg("--config").arg(settings).arg("--logging-config").arg(log);
        // It makes a folder in the home of whoever starts it.
        command.env("HOME", folder).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
        let server = command.spawn().context("sightingdb does not start")?;
        // Stopped when it is dropped, also if it never answers.
        let peer = SightingDb { server, host: format!("127.0.0.1:{port}") };
        within(Duration::from_secs(10), || Connection::open(&peer.host).ok())
            .context("sightingdb does not answer")?;
        Ok(peer)
    }
}

/// In bytes.
fn available_memory() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    available.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn settings(port: u16) -> String {
    format!(
        "[daemon]\nlisten_ip = \"127.0.0.1\"\nlisten_port = {port}\nssl = false\nauthenticate = false\n\
         sweep_interval = 0\nstats_retention = 1\nactivity = false\nlatest_writes = 0\n"
    )
}

/// What it says of a bulk write.
#[derive(Deserialize)]
struct Written {
    written: usize,
}

/// What it says of an address in the namespace of all.
#[derive(Deserialize)]
struct View {
    first_seen: u32,
    last_seen: u32,
    consensus: u32,
}

/// The body of a bulk write: every sighting of its device, and of all.
fn bulk(sightings: &[(Address, DeviceNumber, Second)]) -> String {
    let mut body = String::with_capacity(sightings.len() * 160);
    for (address, device, second) in sightings {
        let opening = if body.is_empty() { "{\"items\":[" } else { "," };
        let timestamp = second.unix();
        write!(
            body,
            "{opening}{{\"namespace\":\"device/{}\",\"value\":\"{address}\",\"timestamp\":{timestamp}}},\
             {{\"namespace\":\"{ALL}\",\"value\":\"{address}\",\"timestamp\":{timestamp}}}",
            device.0
        )
        .expect("a string takes all");
    }
    body.push_str("]}");
    body
}

/// Writes every batch whose number leaves `first` when divided by `connections`.
fn write(host: &str, corpus: &Corpus<'_>, first: usize, connections: usize) -> anyhow::Result<()> {
    let mut connection = Connection::open(host)?;
    let mut sightings = corpus.sightings();
    for number in 0.. {
        let batch: Vec<_> = sightings.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        if number % connections == first {
            write_batch(host, &mut connection, &batch)?;
        }
    }
    Ok(())
}

fn write_batch(
    host: &str,
    connection: &mut Connection,
    batch: &[(Address, DeviceNumber, Second)],
) -> anyhow::Result<()> {
    let body = bulk(batch);
    let request = format!(
        "POST /wb HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = connection.exchange(request.as_bytes())?;
    anyhow::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&answer));
    let Written { written } = serde_json::from_slice(&answer)?;
    anyhow::ensure!(written == 2 * batch.len(), "{written} of {} were written", 2 * batch.len());
    Ok(())
}

impl Peer for SightingDb {
    fn name(&self) -> &'static str {
        "sightingdb"
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

    fn looks_back(&self) -> bool {
        false
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let connections = std::thread::available_parallelism()?.get();
        let begun_at = Instant::now();
        let written = std::thread::scope(|scope| {
            let write = |first| {
                let host = &self.host;
                move || write(host, corpus, first, connections)
            };
            let writing: Vec<_> = (0..connections).map(|first| scope.spawn(write(first))).collect();
            writing.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        });
        written?;
        Ok(Loaded { took: begun_at.elapsed(), bytes: None })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        // One that waited for its turn may have been closed.
        let mut connection = Connection::open(&self.host)?;
        let mut told = Vec::new();
        for asked in questions {
            let request = format!(
                "GET /r/{ALL}?val={}&noshadow HTTP/1.1\r\nHost: {}\r\n\r\n",
                asked.address, self.host
            );
            let begun_at = Instant::now();
            let (status, body) = connection.exchange(request.as_bytes())?;
            let took = begun_at.elapsed();
            let answer = match status {
                200 => {
                    let View { first_seen, last_seen, consensus } = serde_json::from_slice(&body)?;
                    // The namespace of all is one of those that have it.
                    let devices = consensus.checked_sub(1).context("the namespace that was asked has it")?;
                    Told { devices, first: first_seen, last: last_seen }
                }
                404 => Told { devices: 0, first: 0, last: 0 },
                _ => anyhow::bail!("{status}: {}", String::from_utf8_lossy(&body)),
            };
            told.push((took, answer));
        }
        Ok(told)
    }
}

impl Drop for SightingDb {
    fn drop(&mut self) {
        // What it holds is of no use any more.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_sighting_is_written_for_its_device_and_for_all() {
        let address = Address::parse("3fff::1").expect("an address");
        let sightings = [7, 8].map(|device| (address, DeviceNumber(device), Second::new(100 + device)));
        let item = |namespace: &str, second: u32| json!({"namespace": namespace, "value": "3fff::1", "timestamp": second});
        let expected = [item("device/7", 107), item("all", 107), item("device/8", 108), item("all", 108)];
        let written: Value = serde_json::from_str(&bulk(&sightings)).expect("JSON");
        assert_eq!(written, json!({ "items": expected }));
    }
}
