//! From shippers' requests to the durable store by the real binary, over loopback: Elasticsearch's `_bulk`, Splunk's HEC, and our
//! own way, with the bodies made before. An event counts when its request was answered, which is when it is durable. Refuses to
//! hold: shippers; the sender is as little as one can be, and takes its part of the same processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::Given;
use crate::connection::Connection;
use crate::corpus::Log;
use crate::results::{Better, Results};

/// Events of a request: what shippers send at most where they are tuned.
const EVENTS_MAX: usize = 2_000;
/// Connections that send side by side.
const CONNECTIONS: usize = 4;
/// What is promised of each, in events a second.
const PROMISE: f64 = 500_000.0;

/// A way to send.
struct Way {
    name: &'static str,
    path: &'static str,
    scheme: &'static str,
    /// What the source says that it sends.
    format: &'static str,
    wrap: fn(&[u8], &mut Vec<u8>),
}

const WAYS: [Way; 4] = [
    Way { name: "bulk", path: "/_bulk", scheme: "ApiKey", format: "mde", wrap: in_bulk },
    Way { name: "bulk_auto", path: "/_bulk", scheme: "ApiKey", format: "auto", wrap: in_bulk },
    Way { name: "hec", path: "/services/collector/event", scheme: "Splunk", format: "auto", wrap: in_hec },
    Way { name: "ndjson", path: "/seenby/v1/ingest/mde", scheme: "Bearer", format: "mde", wrap: bare },
];

fn in_bulk(record: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(b"{\"create\":{\"_index\":\"logs-mde\"}}\n");
    bare(record, body);
}

fn in_hec(record: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(b"{\"sourcetype\":\"mde\",\"host\":\"forwarder\",\"event\":");
    body.extend_from_slice(record);
    body.extend_from_slice(b"}");
}

fn bare(record: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(record);
    body.push(b'\n');
}

/// Measures every way.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let records = given.scale.pushed_records;
    let mut bodies: Vec<Vec<Vec<u8>>> = WAYS.iter().map(|_| vec![Vec::new()]).collect();
    let mut in_body = 0;
    Log::MDE.blocks(records, &mut |block| {
        for record in block.split(|byte| *byte == b'\n').filter(|record| !record.is_empty()) {
            let record = record.strip_suffix(b"\r").unwrap_or(record);
            for (way, bodies) in WAYS.iter().zip(&mut bodies) {
                if in_body == EVENTS_MAX {
                    bodies.push(Vec::new());
                }
                (way.wrap)(record, bodies.last_mut().context("there is one")?);
            }
            in_body = if in_body == EVENTS_MAX { 1 } else { in_body + 1 };
        }
        Ok(())
    })?;
    for (way, bodies) in WAYS.iter().zip(bodies) {
        let mut took = Duration::MAX;
        for _ in 0..given.scale.file_runs.min(3) {
            took = took.min(send_all(given, way, &bodies)?);
        }
        let rate = records as f64 / took.as_secs_f64();
        results.add(format!("receive.{}", way.name), rate, "events/s", Better::Higher, ("promise", PROMISE));
    }
    Ok(())
}

/// Sends every body to a new server; how long it took until the last was answered.
fn send_all(given: &Given<'_>, way: &Way, bodies: &[Vec<u8>]) -> anyhow::Result<Duration> {
    let folder = tempfile::tempdir_in(given.work)?;
    let data_dir = folder.path().join("data");
    given.program.init(&data_dir)?;
    given.program.signing_key(&data_dir)?;
    let token = given.program.source(&data_dir, "bench", way.format)?;
    let serving = given.program.serve(&data_dir, &[])?;
    let next = AtomicUsize::new(0);
    let begun_at = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| send_some(&serving.host, way, &token, bodies, &next)))
            .collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| anyhow::anyhow!("a sender failed"))?)
    })?;
    Ok(begun_at.elapsed())
}

fn send_some(
    host: &str,
    way: &Way,
    token: &str,
    bodies: &[Vec<u8>],
    next: &AtomicUsize,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(host)?;
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {} {token}\r\nContent-Length: {}\r\n\r\n",
            way.path,
            way.scheme,
            body.len()
        );
        let (status, answer) = connection.exchange_parts(&[head.as_bytes(), body])?;
        anyhow::ensure!(status == 200, "{}: {}", way.name, String::from_utf8_lossy(&answer));
    }
    Ok(())
}
