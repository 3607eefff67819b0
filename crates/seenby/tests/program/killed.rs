//! What is killed at random moments while it takes in: how often and of how many records (`SEENBY_KILLS` and `SEENBY_RECORDS`, for every
//! such test), moments by a seed, what must be answered afterwards; and sources that push, by each of their protocols. Refuses to
//! hold: folders and Kafka (`following`, `brokers`), and other brokers and buckets (`tests/shippers/killed.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sighting::Second;

use crate::support::{DEADLINE, Place, Server, now};

/// How often somebody is killed, and how many records are sent around that.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) kills: u64,
    pub(crate) records: u64,
}

impl Run {
    /// Few for every day; what the environment says for a long run.
    pub(crate) fn wanted() -> Run {
        let of = |name: &str, usual: u64| {
            let said = std::env::var(name).ok();
            said.map_or(usual, |said| said.parse().unwrap_or_else(|_| panic!("{name}={said:?}: no number")))
        };
        let run = Run { kills: of("SEENBY_KILLS", 6), records: of("SEENBY_RECORDS", 12_000) };
        assert!(run.kills > 0 && run.records >= run.kills * 10, "SEENBY_RECORDS is to be ten for each kill");
        run
    }

    /// How many records are sent around each kill.
    pub(crate) fn each(self) -> u64 {
        self.records.div_ceil(self.kills)
    }
}

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Does nothing for a moment, so that what follows comes somewhere within what others do.
    pub(crate) fn pass(&mut self) {
        for _ in 0..self.below(400_000) {
            std::hint::spin_loop();
        }
    }
}

/// Devices, first and last of an address, as an answer has them.
type Answer = (u64, String, String);

/// What a store must answer that lost nothing and made nothing up.
#[derive(Default)]
pub(crate) struct Model(BTreeMap<String, Told>);

struct Told {
    devices: BTreeSet<String>,
    first: Second,
    last: Second,
}

impl Model {
    pub(crate) fn tell(&mut self, address: String, device: String, second: Second) {
        let none = Told { devices: BTreeSet::new(), first: second, last: second };
        let told = self.0.entry(address).or_insert(none);
        told.devices.insert(device);
        (told.first, told.last) = (told.first.min(second), told.last.max(second));
    }

    fn answer(told: &Told) -> Answer {
        (told.devices.len() as u64, told.first.to_string(), told.last.to_string())
    }

    /// One of its addresses, and what must be answered of it.
    fn any(&self, random: &mut Random) -> Option<(String, Answer)> {
        let index = random.below((self.0.len() as u64).max(1));
        let (address, told) = self.0.iter().nth(usize::try_from(index).expect("few"))?;
        Some((address.clone(), Model::answer(told)))
    }

    fn expected(&self) -> Vec<(String, Answer)> {
        self.0.iter().map(|(address, told)| (address.clone(), Model::answer(told))).collect()
    }

    fn found(&self, place: &Place) -> Vec<(String, Answer)> {
        let addresses: String = self.0.keys().map(|address| format!("{address}\n")).collect();
        let run = place.feed(["stats", "--json", "-"], addresses.as_bytes());
        run.stdout.lines().map(answer_of).collect()
    }

    /// Waits until every answer is as it must be, for as long as they change.
    #[track_caller]
    pub(crate) fn check(&self, place: &Place) {
        let (expected, mut changed_at) = (self.expected(), Instant::now());
        let mut before = Vec::new();
        loop {
            let found = self.found(place);
            if found == expected {
                return;
            }
            if found != before {
                changed_at = Instant::now();
                before.clone_from(&found);
            }
            if changed_at.elapsed() > DEADLINE {
                let differing: Vec<_> =
                    expected.iter().zip(&found).filter(|(expected, found)| expected != found).collect();
                let (many, some) = (differing.len(), &differing[..differing.len().min(5)]);
                panic!(
                    "{many} of {} answers ({} came) are wrong, such as {some:?}",
                    expected.len(),
                    found.len()
                );
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

fn answer_of(line: &str) -> (String, Answer) {
    let body: Value = serde_json::from_str(line).expect("JSON");
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let devices = body["organizationPrevalence"].as_u64().unwrap_or_default();
    (text("ipAddress"), (devices, text("orgFirstSeen"), text("orgLastSeen")))
}

/// A protocol, as somebody speaks it who sends each upload until it is acknowledged.
struct Road {
    name: &'static str,
    /// What the records of an upload are made.
    wrap: fn(&[Value]) -> String,
    path: &'static str,
    /// Headers besides those that every request has, with TOKEN in them.
    headers: &'static str,
    /// Whether the upload is taken, by its answer; more may be asked for it.
    is_taken: fn(&Shipper<'_>, &str) -> bool,
}

const CHANNEL: &str = "11111111-2222-4333-8444-555555555555";

const ROADS: [Road; 4] = [
    Road {
        name: "_bulk",
        wrap: |records| records.iter().map(|record| format!("{{\"create\":{{}}}}\n{record}\n")).collect(),
        path: "/_bulk",
        headers: "Authorization: ApiKey TOKEN\r\nContent-Type: application/x-ndjson\r\n",
        is_taken: |_, answer| answer.contains("\"errors\":false"),
    },
    Road {
        name: "HEC",
        wrap: |records| records.iter().map(|record| json!({ "event": record }).to_string()).collect(),
        path: "/services/collector/event",
        headers: "Authorization: Splunk TOKEN\r\nX-Splunk-Request-Channel: 11111111-2222-4333-8444-555555555555\r\n",
        is_taken: is_acknowledged,
    },
    Road {
        name: "OTLP",
        wrap: |records| {
            let records: Vec<Value> = records
                .iter()
                .map(|record| json!({ "body": { "stringValue": record.to_string() } }))
                .collect();
            json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] }).to_string()
        },
        path: "/v1/logs",
        headers: "Authorization: Bearer TOKEN\r\nContent-Type: application/json\r\n",
        is_taken: |_, answer| answer.ends_with("{}"),
    },
    Road {
        name: "ingest/ndjson",
        wrap: |records| records.iter().map(|record| format!("{record}\n")).collect(),
        path: "/seenby/v1/ingest/ndjson",
        headers: "Authorization: Bearer TOKEN\r\n",
        is_taken: |_, answer| answer.contains("\"ignored\":{},\"refused\":{}"),
    },
];

/// As a forwarder with acknowledgements does: only what the channel confirms is taken.
fn is_acknowledged(shipper: &Shipper<'_>, answer: &str) -> bool {
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let Ok(body) = serde_json::from_str::<Value>(body) else { return false };
    let Some(number) = body["ackId"].as_u64() else { return false };
    let path = format!("/services/collector/ack?channel={CHANNEL}");
    let asked = json!({ "acks": [number] }).to_string();
    let confirmed = shipper.answer(&path, asked.as_bytes()).unwrap_or_default();
    confirmed.contains(&format!("\"{number}\":true"))
}

struct Shipper<'a> {
    road: &'a Road,
    host: &'a str,
    token: &'a str,
}

impl Shipper<'_> {
    /// Sends until it is acknowledged, and dies now and then in the middle of it: whoever takes its place sends all of it again.
    fn deliver(&self, body: &str, random: &mut Random) {
        loop {
            if random.below(8) == 0 {
                self.die_within(body, random);
            } else if self
                .answer(self.road.path, body.as_bytes())
                .is_some_and(|answer| self.is_taken(&answer))
            {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn is_taken(&self, answer: &str) -> bool {
        answer.starts_with("HTTP/1.1 200") && (self.road.is_taken)(self, answer)
    }

    /// All of an answer, where one came.
    fn answer(&self, path: &str, body: &[u8]) -> Option<String> {
        let mut stream = self.send(path, body, body.len()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn die_within(&self, body: &str, random: &mut Random) {
        // With all of it sent too, and no answer heard.
        let sent = usize::try_from(random.below(body.len() as u64 + 1)).expect("short");
        // Where nobody listens, it dies all the same.
        drop(self.send(self.road.path, body.as_bytes(), sent));
    }

    fn send(&self, path: &str, body: &[u8], bytes: usize) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.host)?;
        let headers = self.road.headers.replace("TOKEN", self.token);
        let host = self.host;
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(&body[..bytes])?;
        Ok(stream)
    }
}

/// Uploads between two kills.
const UPLOADS: u64 = 10;

/// What both hands share: who sends, and who kills.
#[derive(Default)]
struct Between {
    /// Uploads that were begun.
    begun: AtomicU64,
    kills: AtomicU64,
    acknowledged: Mutex<Model>,
}

impl Between {
    fn acknowledged(&self) -> MutexGuard<'_, Model> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the other hand, unless it has failed.
    fn until(&self, what: &str, counter: impl Fn(&Between) -> &AtomicU64, number: u64) {
        let begun_at = Instant::now();
        while counter(self).load(Ordering::SeqCst) < number {
            assert!(begun_at.elapsed() < DEADLINE, "{what} {number} did not come");
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
}

/// Sends everything, in step with the kills: as many uploads around each.
fn ship(shipper: &Shipper<'_>, run: Run, begun: Second, between: &Between) {
    let mut random = Random(1);
    let in_one = run.each().div_ceil(UPLOADS);
    for upload in 0..run.kills * UPLOADS {
        between.until("kill", |it| &it.kills, upload / UPLOADS);
        let told = (upload * in_one..(upload + 1) * in_one).map(|number| {
            let address = format!("198.51.{}.{}", number % 7, number / 7 % 50);
            (address, format!("pc-{}", number * 7_919 % 20_011), begun.plus(number * 31 % 80_000))
        });
        let told: Vec<(String, String, Second)> = told.collect();
        let records: Vec<Value> = told
            .iter()
            .map(|(ip, device, second)| json!({ "time": second.to_string(), "device": device, "ip": ip }))
            .collect();
        between.begun.fetch_add(1, Ordering::SeqCst);
        shipper.deliver(&(shipper.road.wrap)(&records), &mut random);
        let mut acknowledged = between.acknowledged();
        told.into_iter().for_each(|(address, device, second)| acknowledged.tell(address, device, second));
    }
}

/// Kills the server within the uploads of each kill, starts it again, and asks for something that was acknowledged.
fn kill(place: &Place, first: Server, run: Run, between: &Between) -> Server {
    let (host, mut server, mut random) = (first.host.clone(), first, Random(2));
    for kill in 0..run.kills {
        between.until("upload", |it| &it.begun, kill * UPLOADS + 1 + random.below(UPLOADS));
        random.pass();
        let acknowledged = between.acknowledged().any(&mut random);
        server.kill();
        server = Server::start(&mut place.command(["serve", "--listen", &host]));
        if let Some((address, (devices, first, last))) = acknowledged {
            let (found, found_first, found_last) = answered(place, &address);
            let is_there = found >= devices && found_first <= first && found_last >= last;
            assert!(
                is_there,
                "{address}: {devices} devices, {first}, {last} were acknowledged; {found} are there"
            );
        }
        between.kills.fetch_add(1, Ordering::SeqCst);
    }
    server
}

fn answered(place: &Place, address: &str) -> Answer {
    answer_of(&place.run(["stats", "--json", address]).stdout).1
}

/// A shipper sends each upload until it is acknowledged, whatever becomes of the server and of itself: nothing is lost, nothing counts
/// twice, and what was acknowledged is there after every kill.
#[test]
fn pushed_and_killed_at_random_moments() {
    let run = Run::wanted();
    for road in &ROADS {
        let begun_at = Instant::now();
        let place = Place::new();
        let added = place.run(["source", "add", "edge", "--format", "ndjson", "--json"]).ends(0).json();
        let token = added["token"].as_str().expect("a token");
        let first = place.serve();
        let (host, begun) = (first.host.clone(), now().minus(86_400));
        let shipper = Shipper { road, host: &host, token };
        let between = Between::default();
        let server = std::thread::scope(|scope| {
            let shipping = scope.spawn(|| ship(&shipper, run, begun, &between));
            let server = kill(&place, first, run, &between);
            shipping.join().expect("every upload was taken");
            server
        });
        between.acknowledged().check(&place);
        assert_eq!(server.stop(), 0);
        println!("{}: {} kills of the server, {:.0?}", road.name, run.kills, begun_at.elapsed());
    }
}
