//! Redis over loopback: a sorted set for each address, with the latest second of each device. It answers how many and when last;
//! when first it does not know, and all of it is in memory. Refuses to hold: anything that needs more than one set.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redis::{Connection, pipe};

use super::{Asked, Corpus, Loaded, Peer, Told};

/// Commands that are sent before their replies are read.
const PIPELINED: usize = 10_000;

/// A server of its own.
pub(super) struct Redis {
    server: Child,
    connection: Connection,
}

impl Redis {
    pub(super) fn start(folder: &Path) -> anyhow::Result<Redis> {
        let port = free_port()?.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]);
        command.arg("--dir").arg(folder).stdout(Stdio::null());
        let server = command.spawn().context("redis-server does not start")?;
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
        let connection = within(Duration::from_secs(10), || client.get_connection().ok())
            .context("redis-server does not answer")?;
        Ok(Redis { server, connection })
    }
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// What comes in time.
pub(crate) fn within<T>(time: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let begun_at = Instant::now();
    loop {
        let done = attempt();
        if done.is_some() || begun_at.elapsed() > time {
            return done;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

impl Peer for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn takes_file(&self) -> bool {
        false
    }

    fn knows_first(&self) -> bool {
        false
    }

    fn way(&self) -> &'static str {
        "http"
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let begun_at = Instant::now();
        let mut sightings = corpus.sightings().peekable();
        while sightings.peek().is_some() {
            let mut pipeline = pipe();
            for (address, device, second) in sightings.by_ref().take(PIPELINED) {
                let (key, member) = (address.octets(), device.0.to_le_bytes());
                pipeline.cmd("ZADD").arg(&key).arg("GT").arg(second.unix()).arg(&member).ignore();
            }
            pipeline.exec(&mut self.connection)?;
        }
        Ok(Loaded { took: begun_at.elapsed(), bytes: None })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        let mut told = Vec::new();
        for asked in questions {
            let key = asked.address.octets();
            let begun_at = Instant::now();
            let (devices, newest): (u32, Vec<(Vec<u8>, u32)>) = pipe()
                .cmd("ZCOUNT")
                .arg(&key)
                .arg(asked.since.unix())
                .arg(asked.until.unix())
                .cmd("ZREVRANGE")
                .arg(&key)
                .arg(0)
                .arg(0)
                .arg("WITHSCORES")
                .query(&mut self.connection)?;
            let took = begun_at.elapsed();
            let last = newest.first().map_or(0, |(_, second)| *second);
            told.push((took, Told { devices, first: 0, last }));
        }
        Ok(told)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // What it holds is of no use any more.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
