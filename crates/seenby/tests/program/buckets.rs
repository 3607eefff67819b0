//! A server that reads a bucket of S3's protocol, which a few lines here speak: what cannot be read stops nothing else, what is stopped
//! ends soon, and an organisation that is new has all that lies there. Emulators of three clouds are in `make test-shippers`. Nothing
//! here is about what a record says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::{Place, Reading, now, until, until_some};

const ADDRESS: &str = "203.0.113.31";
/// Far less than the client library waits for a server that says nothing, with all its attempts.
const SOON: Duration = Duration::from_secs(30);

/// What a store answers when it is asked for an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Sound,
    /// A status, and a reason that is another one each time.
    Refused(&'static str),
    /// The head comes, and then nothing.
    Stalls,
}

struct Object {
    body: Vec<u8>,
    /// What the list says of its size, if not the truth.
    size: Option<u64>,
    answer: Answer,
    /// How often it was asked for.
    asked: u64,
}

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Object>,
    lists: u64,
}

/// A bucket that is served until the test ends.
struct Bucket {
    address: String,
    kept: Arc<Mutex<Kept>>,
}

impl Bucket {
    fn new() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let served = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                // Whoever asks may go away in the middle.
                std::thread::spawn(move || answer(stream, &served));
            }
        });
        Bucket { address, kept }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: &str, body: &str) {
        self.put_as(key, body, None, Answer::Sound);
    }

    fn put_as(&self, key: &str, body: &str, size: Option<u64>, answer: Answer) {
        let object = Object { body: body.as_bytes().to_vec(), size, answer, asked: 0 };
        self.kept().objects.insert(key.to_owned(), object);
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut Object)) {
        change(self.kept().objects.get_mut(key).expect("it is there"));
    }

    fn asked(&self, key: &str) -> u64 {
        self.kept().objects.get(key).expect("it is there").asked
    }

    /// Waits until it was listed so many times more.
    fn is_listed(&self, times: u64) {
        let before = self.kept().lists;
        until("a list", || self.kept().lists >= before + times);
    }

    fn reading(&self, more: &str) -> Reading {
        Reading::new(Place::new(), &settings(&self.address, more))
    }
}

fn settings(address: &str, more: &str) -> String {
    format!(
        "objects = 's3://logs/edr/'\nformat = 'ndjson'\npoll = 1\n{more}\noptions = {{ region = 'eu-central-1', \
         endpoint = 'http://{address}', allow_http = 'true', access_key_id = 'a', secret_access_key = 'b' }}"
    )
}

fn answer(mut stream: TcpStream, kept: &Mutex<Kept>) {
    let mut head = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
    let Some(asked) = head.next() else { return };
    // The rest says who asks.
    let _ = head.take_while(|line| !line.is_empty()).count();
    let path = asked.split(' ').nth(1).unwrap_or_default();
    if path.contains("list-type=2") {
        let listed = list(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
        reply(&mut stream, "200 OK", listed.as_bytes());
        return;
    }
    let (answer, body, asked) = {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = path.trim_start_matches("/logs/");
        let Some(object) = kept.objects.get_mut(key) else {
            return reply(&mut stream, "404 Not Found", b"");
        };
        object.asked += 1;
        (object.answer, object.body.clone(), object.asked)
    };
    match answer {
        Answer::Sound => reply(&mut stream, "200 OK", &body),
        Answer::Refused(status) => {
            let why = format!("<Error><Code>NotForYou</Code><RequestId>{asked}</RequestId></Error>");
            reply(&mut stream, status, why.as_bytes());
        }
        Answer::Stalls => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 1000\r\n\r\n{{");
            // Until whoever asked goes away.
            let _ = BufReader::new(stream).lines().count();
        }
    }
}

fn list(kept: &mut Kept) -> String {
    kept.lists += 1;
    let objects = kept.objects.iter().map(|(key, object)| {
        let (size, time) = (object.size.unwrap_or(object.body.len() as u64), now());
        // An object that is not replaced keeps its time; size and tag tell them apart here.
        let time = &time.to_string()[..10];
        format!(
            "<Contents><Key>{key}</Key><LastModified>{time}T00:00:00.000Z</LastModified><ETag>\"{}\"</ETag>\
             <Size>{size}</Size></Contents>",
            object.body.len()
        )
    });
    let objects: String = objects.collect();
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
    )
}

fn reply(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nETag: \"{length}\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn record(device: &str) -> String {
    format!("{{\"time\":\"{}\",\"device\":\"{device}\",\"ip\":\"{ADDRESS}\"}}\n", now())
}

fn said(reading: &Reading) -> String {
    std::fs::read_to_string(&reading.log).expect("text")
}

#[test]
fn one_object_that_cannot_be_read_stops_no_other() {
    let bucket = Bucket::new();
    for (key, device) in [("edr/1.ndjson", "pc-1"), ("edr/2.ndjson", "pc-2"), ("edr/3.ndjson", "pc-3")] {
        bucket.put(key, &record(device));
    }
    bucket.change("edr/2.ndjson", |object| object.answer = Answer::Refused("403 Forbidden"));
    let reading = bucket.reading("");
    let server = reading.serve();
    reading.comes(ADDRESS, 2);
    until("a word", || said(&reading).contains("'edr/2.ndjson' (403 Forbidden, NotForYou)"));
    // It is asked for again, and what was said once is not said again.
    until("another attempt", || bucket.asked("edr/2.ndjson") > 2);
    assert_eq!(said(&reading).matches("edr/2.ndjson").count(), 1, "{}", said(&reading));
    let counted = until_some("its count", || {
        let metrics = server.metrics();
        metrics.lines().find(|line| line.contains("reason=\"unreadable\"")).map(str::to_owned)
    });
    assert!(counted.ends_with(" 1"), "{counted}\n{}", said(&reading));
    bucket.change("edr/2.ndjson", |object| (object.answer, object.asked) = (Answer::Sound, 0));
    reading.comes(ADDRESS, 3);
    bucket.is_listed(2);
    for key in ["edr/1.ndjson", "edr/2.ndjson", "edr/3.ndjson"] {
        assert_eq!(bucket.asked(key), 1, "{key}");
    }
    assert!(said(&reading).contains("the source goes on"), "{}", said(&reading));
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_object_that_finds_no_room_is_left_and_told() {
    let bucket = Bucket::new();
    bucket.put_as("edr/1.ndjson", &record("pc-1"), Some(1 << 60), Answer::Sound);
    bucket.put("edr/2.ndjson", &record("pc-2"));
    let reading = bucket.reading("");
    let server = reading.serve();
    reading.comes(ADDRESS, 1);
    until("a word", || said(&reading).contains("edr/1.ndjson") && said(&reading).contains("free"));
    assert_eq!(bucket.asked("edr/1.ndjson"), 0);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_key_that_no_path_has_is_told() {
    let bucket = Bucket::new();
    bucket.put("edr/a//b.ndjson", &record("pc-1"));
    let reading = bucket.reading("");
    let server = reading.serve();
    until("a word", || {
        let said = said(&reading);
        said.contains("edr/a//b.ndjson") && said.contains("rename") && said.contains("prefix")
    });
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_stop_is_heard_while_a_store_says_nothing() {
    // It connects, and is never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let reading = Reading::new(Place::new(), &settings(&address, ""));
    let server = reading.serve();
    let _asked = silent.accept().expect("it asks");
    let told_at = Instant::now();
    assert_eq!(server.stop(), 0);
    assert!(told_at.elapsed() < SOON, "{:?}", told_at.elapsed());
}

#[test]
fn a_stop_is_heard_while_an_object_is_on_its_way() {
    let bucket = Bucket::new();
    bucket.put_as("edr/1.ndjson", &record("pc-1"), None, Answer::Stalls);
    let reading = bucket.reading("");
    let server = reading.serve();
    until("the question", || bucket.asked("edr/1.ndjson") > 0);
    let told_at = Instant::now();
    assert_eq!(server.stop(), 0);
    assert!(told_at.elapsed() < SOON, "{:?}", told_at.elapsed());
}

#[test]
fn an_organisation_that_is_new_has_all_that_lies_there() {
    let bucket = Bucket::new();
    bucket.put("edr/1.ndjson", &record("pc-1"));
    let reading = bucket.reading("");
    reading.place.run(["init", "--organisation-name", "Contoso"]).ends(0);
    let server = reading.serve();
    reading.comes(ADDRESS, 1);
    reading.place.run(["org", "remove", "Contoso", "--yes"]).ends(0);
    reading.place.run(["org", "add", "Fabrikam"]).ends(0);
    reading.comes(ADDRESS, 1);
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_object_that_was_mended_is_left_no_more() {
    let bucket = Bucket::new();
    bucket.put("edr/1.ndjson", "{\"time\":\"yesterday\"}\n");
    let reading = bucket.reading("refused_max = 0");
    let server = reading.serve();
    until("a word", || said(&reading).contains("too many records of an object"));
    bucket.put("edr/1.ndjson", &record("pc-1"));
    reading.comes(ADDRESS, 1);
    bucket.is_listed(2);
    assert_eq!(server.stop(), 0);
    assert!(said(&reading).contains("paused=0"), "{}", said(&reading));
}
