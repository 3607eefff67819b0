//! The whole server under load over loopback: signed tokens of 1,000 applications, call limits counting, beside axum answering a
//! constant body of the same size without any layer. Both in a process of their own, asked by the same client from
//! here. Refuses to hold: the client's side of other measurements (`connection`).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use fleet::{DeviceNumber, HotSet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::connection::{self, Connection, Length};
use crate::peers::{free_port, within};
use crate::program::Serving;
use crate::quantiles::Quantiles;
use crate::results::{Better, Results};
use crate::{Given, clock, hot_store};

/// With this argument the program is the bare server: port and body follow.
pub(crate) const BARE: &str = "--bare-server";

const APPLICATIONS: usize = 1_000;
const CONNECTIONS: usize = 64;
/// So many that each asks much less often than the client's timer has steps.
const PACED_CONNECTIONS: usize = 256;
/// Each is measured so often, in turn.
const ROUNDS: usize = 3;
/// Limits that count and are not met.
const SETTINGS: &str = "[api]\ncalls_per_minute = 10000000\ncalls_per_hour = 100000000\n";

/// Measures requests a second of both, and how long one takes at half of ours.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    results.say(&format!("the server with {APPLICATIONS} applications, beside axum alone"));
    let folder = tempfile::tempdir_in(given.work)?;
    let data_dir = folder.path().join("data");
    let organisation = given.program.init(&data_dir)?;
    let last_day = clock::now().day().first().minus(1).day();
    let set = HotSet { last_day, ..fleet::hot_set(7, 1_000, 20) };
    hot_store::fill(&hot_store::open(&data_dir)?.store(), organisation, set.sightings())?;
    let settings = folder.path().join("settings.toml");
    std::fs::write(&settings, SETTINGS)?;
    let serving = given.program.serve(&data_dir, &["--settings".as_ref(), settings.as_os_str()])?;
    let requests = requests(given, &data_dir, &serving, set)?;
    let (status, body) = Connection::open(&serving.host)?.exchange(&requests[0])?;
    anyhow::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    let bare = Bare::start(&String::from_utf8(body)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let time = Duration::from_secs(given.scale.service_seconds);
    let (mut ours, mut theirs) = (Flood::default(), Flood::default());
    for _ in 0..ROUNDS {
        for (best, process, host) in
            [(&mut ours, serving.id(), &serving.host), (&mut theirs, bare.child.id(), &bare.host)]
        {
            let before = cpu_seconds(process)?;
            let rate = runtime.block_on(flood(host, &requests, time))?;
            let cpu_micros = (cpu_seconds(process)? - before) * 1e6 / (rate * time.as_secs_f64());
            if rate > best.rate {
                *best = Flood { rate, cpu_micros };
            }
        }
    }
    let beside = ("axum, constant body", theirs.rate);
    results.add("rare.http.rate", ours.rate, "requests/s", Better::Higher, beside);
    let above = ours.cpu_micros - theirs.cpu_micros;
    results.say(&format!(
        "{:.1} us of the server's CPU a request, {:.1} of the bare one's",
        ours.cpu_micros, theirs.cpu_micros
    ));
    results.add("rare.http.cpu.above", above, "us", Better::Lower, ("promise", 8.0));
    let ours = ours.rate;
    let mut times = runtime.block_on(pace(&serving.host, &requests, ours / 2.0, time))?;
    results.add("rare.http.half.p50", times.micros(500), "us", Better::Lower, ("promise", 5_000.0));
    results.add("rare.http.half.p99", times.micros(990), "us", Better::Lower, ("promise", 5_000.0));
    Ok(())
}

/// A request of each application, for an address that one device reached.
fn requests(
    given: &Given<'_>,
    data_dir: &Path,
    serving: &Serving,
    set: HotSet,
) -> anyhow::Result<Vec<Vec<u8>>> {
    (0..APPLICATIONS)
        .map(|number| {
            let application = given.program.application(data_dir, &format!("bench-{number}"))?;
            let token = serving.token(&application)?;
            let address = set.rare(DeviceNumber(number as u32 % set.devices), 1 + number as u32 % 18, 0);
            Ok(format!(
                "GET /api/ips/{address}/stats HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
                serving.host
            )
            .into_bytes())
        })
        .collect()
}

/// What a server came to that was asked without a pause.
#[derive(Clone, Copy, Default)]
struct Flood {
    /// Requests a second.
    rate: f64,
    /// What a request took of the server's processors.
    cpu_micros: f64,
}

/// The time that a process has had of the processors, in seconds.
fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything: state, then ten numbers, then ticks in user mode and in the kernel.
    let (_, rest) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks: Vec<u64> =
        rest.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Asks without a pause over all connections; requests a second.
async fn flood(host: &str, requests: &[Vec<u8>], time: Duration) -> anyhow::Result<f64> {
    let end = Instant::now() + time;
    let asking = (0..CONNECTIONS).map(|first| async move {
        let mut client = Client::open(host).await?;
        let mut count = 0;
        for request in requests.iter().cycle().skip(first * requests.len() / CONNECTIONS) {
            if Instant::now() > end {
                break;
            }
            client.exchange(request).await?;
            count += 1;
        }
        anyhow::Ok(count)
    });
    let counts: u64 = all(asking).await?.into_iter().sum();
    Ok(counts as f64 / time.as_secs_f64())
}

/// Asks so many times a second, however long the answers take: from when each was due.
async fn pace(host: &str, requests: &[Vec<u8>], rate: f64, time: Duration) -> anyhow::Result<Quantiles> {
    let clients = all((0..PACED_CONNECTIONS).map(|_| Client::open(host))).await?;
    let begun_at = Instant::now();
    let every = Duration::from_secs_f64(PACED_CONNECTIONS as f64 / rate);
    let asking = clients.into_iter().enumerate().map(|(first, mut client)| async move {
        let mut times = Vec::new();
        let mut due = begun_at + every.mul_f64(first as f64 / PACED_CONNECTIONS as f64);
        for request in requests.iter().cycle().skip(first * requests.len() / PACED_CONNECTIONS) {
            if due > begun_at + time {
                break;
            }
            // The timer has steps of a millisecond; waiting for less would keep a core busy that the server needs. Its
            // lateness is the client's, but one that still waits for an answer is late by the server's doing.
            let is_waiting = due > Instant::now();
            tokio::time::sleep_until(due).await;
            let since = if is_waiting { Instant::now() } else { due };
            client.exchange(request).await?;
            times.push(since.elapsed());
            due += every;
        }
        anyhow::Ok(times)
    });
    let mut quantiles = Quantiles::default();
    all(asking).await?.into_iter().flatten().for_each(|took| quantiles.add(took));
    Ok(quantiles)
}

async fn all<T>(
    asking: impl Iterator<Item = impl Future<Output = anyhow::Result<T>>>,
) -> anyhow::Result<Vec<T>> {
    futures_util::future::try_join_all(asking).await
}

/// One connection that is kept. Of an answer only its status and where it ends are looked for.
struct Client {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Client {
    async fn open(host: &str) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, came: Vec::with_capacity(4 << 10) })
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.came.clear();
        loop {
            let bytes = self.stream.read_buf(&mut self.came).await?;
            anyhow::ensure!(bytes > 0, "the server hung up");
            let Some((status, head, length)) = connection::head(&self.came)? else { continue };
            let Length::Bytes(body) = length else { anyhow::bail!("an answer without a length") };
            anyhow::ensure!(status == 200, "{}", String::from_utf8_lossy(&self.came));
            if self.came.len() >= head + body {
                return Ok(());
            }
        }
    }
}

/// The bare server in a process of its own.
struct Bare {
    child: Child,
    host: String,
}

impl Bare {
    fn start(body: &str) -> anyhow::Result<Bare> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.arg(BARE).arg(port.to_string()).arg(body).stdin(Stdio::null()).spawn()?;
        let host = format!("127.0.0.1:{port}");
        let is_up = within(Duration::from_secs(10), || Connection::open(&host).ok());
        is_up.context("the bare server does not answer")?;
        Ok(Bare { child, host })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It has nothing to finish.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the bare server: every path has the same answer.
pub(crate) fn be_bare(port: &str, body: &str) -> anyhow::Result<()> {
    let (port, body): (u16, &'static str) = (port.parse()?, String::leak(body.to_owned()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], body) };
        Ok(axum::serve(listener, Router::new().fallback(get(answer))).await?)
    })
}
