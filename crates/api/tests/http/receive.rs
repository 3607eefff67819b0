//! What shippers send and hear, protocol by protocol: probes, bodies and literal replies as their clients look for them; tokens in
//! every way in which they are sent; bodies that are too large, cut, damaged or slow. The taking in is a recorder's here. Refuses
//! to hold: formats and the store (the binary's tests).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::common::{ACME, HOST, NOW, OTHER, Reply, TestApp};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seenby_api::{
    Intake, RefusedRecord, Settings, SourceReport, TakeError, Taking, Upload, UploadTaken, new_secret,
};
use serde_json::{Value, json};
use sighting::{
    Change, Network, OrganisationId, ReadAs, Second, Secret, Source, SourceBounds, SourceId, SourceName, Uuid,
};

/// Remembers what it was given, and answers as it is told.
#[derive(Default)]
struct Recorder {
    given: Arc<Mutex<Vec<String>>>,
    failed: Mutex<Vec<String>>,
    error: Mutex<Option<TakeError>>,
    refused: bool,
}

struct Recording {
    text: String,
    given: Arc<Mutex<Vec<String>>>,
    error: Option<TakeError>,
    refused: bool,
}

impl Intake for Recorder {
    fn format(&self, name: &str) -> Option<&'static str> {
        ["zeek-json", "suricata", "ndjson"].into_iter().find(|known| *known == name)
    }

    fn work(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn begin(&self, upload: Upload) -> Box<dyn Taking> {
        let text = format!("{} {}: ", upload.source.name.as_str(), upload.format.unwrap_or("auto"));
        let error = self.error.lock().expect("whole").clone();
        Box::new(Recording { text, given: Arc::clone(&self.given), error, refused: self.refused })
    }

    fn failed(&self, source: &Source, why: &str) {
        self.failed.lock().expect("whole").push(format!("{}: {why}", source.name.as_str()));
    }

    fn reports(&self, _: OrganisationId) -> Vec<SourceReport> {
        Vec::new()
    }
}

impl Taking for Recording {
    fn take(&mut self, bytes: &[u8]) -> Result<(), TakeError> {
        self.text.push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn document(&mut self, bytes: &[u8], format: Option<&'static str>) -> Result<(), TakeError> {
        if let Some(format) = format {
            self.text.push_str(&format!("<{format}>"));
        }
        self.take(bytes)?;
        self.take(b"\n")
    }

    fn end(self: Box<Self>) -> Result<UploadTaken, TakeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let lines = self.text.lines().count() as u64;
        self.given.lock().expect("whole").push(self.text);
        let mut taken = UploadTaken { sighted: lines, ..UploadTaken::default() };
        if self.refused {
            taken.refused = BTreeMap::from([("bad_time", 1)]);
            taken.first_refused =
                vec![RefusedRecord { line: 1, reason: "the time cannot be read".to_owned() }];
        }
        Ok(taken)
    }
}

fn token(byte: u8) -> (String, Secret) {
    let (plain, sha256) = new_secret(|bytes| bytes.fill(byte));
    (plain.reveal().to_owned(), Secret { sha256, created_at: Second::new(NOW), expires_at: None })
}

fn source(byte: u8, organisation: OrganisationId, name: &str) -> Source {
    Source {
        id: SourceId(Uuid::from_u128(byte.into())),
        organisation,
        name: SourceName::new(name).expect("a name"),
        read_as: ReadAs::default(),
        bounds: SourceBounds::default(),
        tokens: vec![token(byte).1],
        created_at: Second::new(NOW),
    }
}

struct Receiving {
    app: TestApp,
    recorder: Arc<Recorder>,
    token: String,
}

impl Receiving {
    async fn new() -> Receiving {
        Receiving::with(Settings::default(), Recorder::default()).await
    }

    async fn with(settings: Settings, recorder: Recorder) -> Receiving {
        let app = TestApp::with(settings).await;
        let recorder = Arc::new(recorder);
        app.state.set_intake(Arc::clone(&recorder) as Arc<dyn Intake>);
        app.commit(Change::AddSource(source(7, ACME, "edge"))).await;
        Receiving { app, recorder, token: token(7).0 }
    }

    fn given(&self) -> Vec<String> {
        std::mem::take(&mut self.recorder.given.lock().expect("whole"))
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", HOST);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.app.send(request.body(body.into()).expect("a request")).await
    }

    /// With the source's token as the password of Basic, as most of Elastic's clients have it.
    async fn basic(&self, method: &str, path: &str, body: &str) -> Reply {
        let basic = format!("Basic {}", STANDARD.encode(format!("any:{}", self.token)));
        self.send(
            method,
            path,
            &[("authorization", &basic), ("content-type", "application/x-ndjson")],
            body.to_owned(),
        )
        .await
    }

    async fn splunk(&self, path: &str, body: &str) -> Reply {
        let splunk = format!("Splunk {}", self.token);
        self.send("POST", path, &[("authorization", &splunk)], body.to_owned()).await
    }

    async fn own(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
        self.send("POST", path, &headers, body).await
    }
}

#[tokio::test]
async fn every_way_to_show_a_token() {
    let receiving = Receiving::new().await;
    let token = &receiving.token;
    for good in [
        format!("Bearer {token}"),
        format!("Splunk {token}"),
        format!("ApiKey {token}"),
        format!("ApiKey {}", STANDARD.encode(format!("id:{token}"))),
        format!("Basic {}", STANDARD.encode(format!("elastic:{token}"))),
        format!("Basic {}", STANDARD.encode(format!("{token}:"))),
    ] {
        let reply = receiving.send("GET", "/", &[("authorization", &good)], "").await;
        assert_eq!(reply.status, 200, "{good}: {}", reply.text());
    }
    let application = receiving.app.token(crate::common::READER).await;
    for bad in [
        format!("Bearer {token}x"),
        format!("Digest {token}"),
        format!("Bearer {application}"),
        "Basic !".to_owned(),
    ] {
        let reply = receiving.send("GET", "/", &[("authorization", &bad)], "").await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("x-elastic-product")),
            (401, "Elasticsearch"),
            "{bad}"
        );
        assert!(reply.header("www-authenticate").starts_with("Basic "));
        assert_eq!(reply.json()["error"]["type"], "security_exception");
    }
    assert_eq!(receiving.app.anonymous("/").await.status, 401);
    // A source's token is no token of the contract.
    assert_eq!(receiving.app.with_token(token, "/api/ips/192.0.2.1/stats").await.status, 401);
}

#[tokio::test]
async fn a_token_ends_with_its_source_its_time_and_its_rotation() {
    let receiving = Receiving::new().await;
    let answers = async |expected: u16| {
        let reply = receiving.own("/seenby/v1/ingest/auto", &[], "x\n").await;
        assert_eq!(reply.status, expected, "{}", reply.text());
    };
    answers(200).await;
    let id = SourceId(Uuid::from_u128(7));
    let rotated = Change::RotateToken { source: id, token: token(8).1, others_until: Second::new(NOW + 60) };
    receiving.app.commit(rotated).await;
    answers(200).await;
    receiving.app.pass_ms(61_000);
    answers(401).await;
    receiving.app.commit(Change::AddSource(source(9, OTHER, "edge"))).await;
    let other = Receiving { token: token(9).0, ..receiving };
    assert_eq!(other.own("/seenby/v1/ingest/auto", &[], "y\n").await.status, 200);
    other.app.commit(Change::RemoveSource(SourceId(Uuid::from_u128(9)))).await;
    assert_eq!(other.own("/seenby/v1/ingest/auto", &[], "y\n").await.status, 401);
}

#[tokio::test]
async fn a_source_sends_what_it_is_for_and_from_where_it_may() {
    let receiving = Receiving::new().await;
    let (read_as, networks) =
        (ReadAs { format: Some("suricata".to_owned()), ..ReadAs::default() }, vec!["192.0.2.0/24"]);
    let networks = networks.into_iter().map(|text| Network::parse(text).expect("a network")).collect();
    receiving
        .app
        .commit(Change::ChangeSource {
            source: SourceId(Uuid::from_u128(7)),
            read_as: Some(read_as),
            bounds: Some(SourceBounds { networks, ..SourceBounds::default() }),
        })
        .await;
    let from = async |peer: &str, format: &str| {
        let peer: SocketAddr = peer.parse().expect("an address");
        let request = Request::post(format!("/seenby/v1/ingest/{format}"))
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", receiving.token))
            .extension(ConnectInfo(peer))
            .body(Body::from("x\n"));
        receiving.app.send(request.expect("a request")).await
    };
    assert_eq!(from("192.0.2.7:9", "suricata").await.status, 200);
    assert_eq!(from("192.0.2.7:9", "auto").await.status, 200);
    let elsewhere = from("198.51.100.7:9", "suricata").await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.code().as_str()), (403, "Forbidden"));
    let another = from("192.0.2.7:9", "ndjson").await;
    assert_eq!(another.status, 403);
    assert!(another.message().contains("suricata"), "{}", another.message());
    let none = from("192.0.2.7:9", "nonsense").await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (404, "ResourceNotFound"));
}

#[tokio::test]
async fn our_own_way_counts_every_record() {
    let refusing = Recorder { refused: true, ..Recorder::default() };
    let receiving = Receiving::with(Settings::default(), refusing).await;
    let reply = receiving.own("/seenby/v1/ingest/ndjson", &[], "a\nb\n").await;
    assert_eq!(
        reply.json(),
        json!({ "lines": 3, "sighted": 2, "ignored": {}, "refused": { "bad_time": 1 },
            "first_refused": [{ "line": 1, "reason": "the time cannot be read" }] })
    );
    assert_eq!(receiving.given(), ["edge ndjson: a\nb\n"]);
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).expect("written");
    encoder.finish().expect("finished")
}

#[tokio::test]
async fn bodies_that_are_compressed_or_not_what_they_say() {
    let receiving =
        Receiving::with(Settings { upload_bytes_max: 1_000_000, ..Settings::default() }, Recorder::default())
            .await;
    let path = "/seenby/v1/ingest/auto";
    let text = b"line\n".repeat(1_000);
    let zstd = zstd::encode_all(text.as_slice(), 1).expect("encoded");
    for (encoding, body) in
        [("gzip", gzip(&text)), ("zstd", zstd), ("identity", text.clone()), ("", gzip(&text))]
    {
        let headers = [("content-encoding", encoding)];
        let headers = if encoding.is_empty() { &headers[..0] } else { &headers[..] };
        assert_eq!(receiving.own(path, headers, body).await.status, 200, "{encoding}");
        assert_eq!(receiving.given()[0].len(), text.len() + "edge auto: ".len());
    }
    let bomb = gzip(&vec![b'\n'; 40_000_000]);
    assert!(bomb.len() < 100_000);
    let mut damaged = gzip(&text);
    damaged.truncate(damaged.len() - 9);
    for (encoding, body, status, code, says) in [
        ("br", text.clone(), 415, "UnsupportedMediaType", "gzip"),
        ("gzip", bomb, 413, "RequestTooLarge", "1000000 bytes"),
        ("gzip", damaged, 400, "BadRequest", "damaged or cut"),
        ("identity", vec![b'x'; 1_000_001], 413, "RequestTooLarge", "1000000 bytes"),
    ] {
        let reply = receiving.own(path, &[("content-encoding", encoding)], body).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{encoding}");
        assert!(reply.message().contains(says), "{}", reply.message());
        assert!(receiving.given().is_empty(), "{encoding}");
    }
}

/// A body that breaks off.
fn broken() -> Body {
    let parts = [Ok("x\n"), Err(std::io::Error::other("gone"))];
    Body::from_stream(futures_util::stream::iter(parts))
}

#[tokio::test(start_paused = true)]
async fn senders_that_go_away_or_dawdle() {
    let receiving = Receiving::new().await;
    let path = "/seenby/v1/ingest/auto";
    assert_eq!(receiving.own(path, &[], broken()).await.status, 400);
    let never = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
    let reply = receiving.own(path, &[], never).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (408, "RequestTimeout"));
    // A byte every 20 seconds is never idle for too long, and is still too slow.
    let drops = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        Some((Ok::<_, std::io::Error>("x"), ()))
    });
    assert_eq!(receiving.own(path, &[], Body::from_stream(drops)).await.status, 408);
    assert!(receiving.given().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_source_is_held_to_its_pace() {
    let receiving = Receiving::new().await;
    let bounds = SourceBounds { bytes_per_second: 1_000.try_into().ok(), ..SourceBounds::default() };
    let id = SourceId(Uuid::from_u128(7));
    receiving.app.commit(Change::ChangeSource { source: id, read_as: None, bounds: Some(bounds) }).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(receiving.own("/seenby/v1/ingest/auto", &[], "x".repeat(200_000)).await.status, 200);
    assert_eq!(begun.elapsed().as_secs(), 200);
}

#[tokio::test]
async fn what_cannot_be_taken_now_is_to_be_sent_again() {
    let receiving = Receiving::new().await;
    for (error, statuses, retry_after) in [
        (TakeError::Unavailable("full".to_owned()), [503, 503, 503, 503], "2"),
        (TakeError::NewDevices { per_hour: 5, retry_after_s: 77 }, [429, 429, 503, 429], "77"),
    ] {
        *receiving.recorder.error.lock().expect("whole") = Some(error);
        let replies = [
            receiving.own("/seenby/v1/ingest/auto", &[], "x\n").await,
            receiving.basic("POST", "/_bulk", "{\"create\":{}}\n{}\n").await,
            receiving.splunk("/services/collector", "{\"event\":\"x\"}").await,
            receiving.own("/v1/logs", &[("content-type", "application/json")], "{}").await,
        ];
        for (reply, status) in replies.iter().zip(statuses) {
            assert_eq!(
                (reply.status.as_u16(), reply.header("retry-after")),
                (status, retry_after),
                "{}",
                reply.text()
            );
        }
    }
    let full = Settings { uploads_max: 0, ..Settings::default() };
    let receiving = Receiving::with(full, Recorder::default()).await;
    assert_eq!(receiving.own("/seenby/v1/ingest/auto", &[], "x\n").await.status, 503);
    let bulk = receiving.basic("POST", "/_bulk", "").await;
    assert_eq!((bulk.status.as_u16(), bulk.header("retry-after")), (429, "2"));
    assert_eq!(bulk.json()["error"]["type"], "es_rejected_execution_exception");
    let hec = receiving.splunk("/services/collector", "{\"event\":\"x\"}").await;
    assert_eq!((hec.status.as_u16(), hec.text().as_str()), (503, "{\"code\":9,\"text\":\"Server is busy\"}"));
}

/// What Beats, Logstash and Vector ask before they send, and what they look for in the answers.
#[tokio::test]
async fn probes_of_elastics_clients() {
    let receiving = Receiving::new().await;
    for method in ["GET", "HEAD"] {
        let reply = receiving.basic(method, "/", "").await;
        assert_eq!((reply.status.as_u16(), reply.header("x-elastic-product")), (200, "Elasticsearch"));
    }
    let about = receiving.basic("GET", "/", "").await.json();
    assert_eq!(
        (&about["version"]["number"], &about["tagline"]),
        (&json!("8.9.0"), &json!("You Know, for Search"))
    );
    let license = receiving.basic("GET", "/_license?human=false", "").await.json();
    assert_eq!(
        (&license["license"]["status"], &license["license"]["type"]),
        (&json!("active"), &json!("basic"))
    );
    assert_eq!(receiving.basic("GET", "/_cluster/health", "").await.json()["status"], "green");
    for (method, path) in [
        ("PUT", "/_index_template/winlogbeat-8.9.0"),
        ("GET", "/_ilm/policy/filebeat"),
        ("PUT", "/_data_stream/logs-x"),
        ("PUT", "/_ingest/pipeline/filebeat-8.9.0-suricata-eve-pipeline"),
        ("GET", "/_nodes/ingest"),
        ("PUT", "/_template/logstash"),
        ("PUT", "/_component_template/ecs@mappings"),
    ] {
        let reply = receiving.basic(method, path, "{}").await;
        assert_eq!(
            (reply.status.as_u16(), reply.text().as_str()),
            (200, "{\"acknowledged\":true}"),
            "{path}"
        );
        assert_eq!(reply.header("x-elastic-product"), "Elasticsearch", "{path}");
    }
}

#[tokio::test]
async fn bulk_as_each_shipper_writes_it() {
    let receiving = Receiving::new().await;
    // rsyslog: an empty line after each document.
    let reply = receiving.basic("POST", "/_bulk", "{\"index\":{\"_index\": \"logs\"}}\n{\"a\":1}\n\n").await;
    let text = reply.text();
    let (took, rest) = text.split_once(",\"errors\"").expect("took comes first");
    assert!(
        took.strip_prefix("{\"took\":").is_some_and(|took| took.bytes().all(|byte| byte.is_ascii_digit())),
        "{took}"
    );
    // The very bytes that Fluent Bit looks for.
    assert_eq!(rest, ":false,\"items\":[{\"index\":{\"_index\":\"logs\",\"status\":201}}]}");
    assert_eq!(reply.header("content-type"), "application/json");
    // Logstash.
    let path = "/_bulk?filter_path=errors,items.*.error,items.*.status";
    let reply = receiving.basic("POST", path, "{\"create\":{\"_index\":\"logs\"}}\n{\"b\":2}\n").await;
    assert_eq!(reply.text(), "{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}]}");
    // Elastic's client for 8, with the index in the path.
    let headers = [
        ("authorization", &*format!("ApiKey {}", STANDARD.encode(format!("id:{}", receiving.token)))),
        ("content-type", "application/vnd.elasticsearch+x-ndjson; compatible-with=8"),
        ("content-encoding", "gzip"),
    ];
    let body = gzip(b"{\"create\":{\"_id\":\"9\"}}\n{\"c\":3}\n");
    let reply = receiving.send("PUT", "/beats/_bulk?pipeline=x", &headers, body).await;
    assert!(
        reply
            .text()
            .ends_with("\"items\":[{\"create\":{\"_index\":\"beats\",\"_id\":\"9\",\"status\":201}}]}"),
        "{}",
        reply.text()
    );
    assert_eq!(
        receiving.given(),
        ["edge auto: {\"a\":1}\n", "edge auto: {\"b\":2}\n", "edge auto: {\"c\":3}\n"]
    );
    let reply = receiving.basic("POST", "/_bulk", "{\"a\":1}\n").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["error"]["type"]),
        (400, &json!("illegal_argument_exception"))
    );
}

#[tokio::test]
async fn splunks_codes() {
    let receiving = Receiving::new().await;
    let path = "/services/collector/event";
    for (body, status, expected) in [
        ("{\"event\":{\"a\":1}}{\"event\":\"b\"}", 200, json!({ "text": "Success", "code": 0 })),
        ("", 400, json!({ "text": "No data", "code": 5 })),
        (
            "{\"event\":1} no",
            400,
            json!({ "text": "Invalid data format", "code": 6, "invalid-event-number": 1 }),
        ),
        ("{\"event\":", 400, json!({ "text": "Invalid data format", "code": 6, "invalid-event-number": 0 })),
        (
            "{\"event\":1}{\"time\":1}",
            400,
            json!({ "text": "Event field is required", "code": 12, "invalid-event-number": 1 }),
        ),
        (
            "{\"event\":\" \"}",
            400,
            json!({ "text": "Event field cannot be blank", "code": 13, "invalid-event-number": 0 }),
        ),
    ] {
        let reply = receiving.splunk(path, body).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (status, expected), "{body}");
    }
    // Nothing is no event; what came before one that makes no sense is taken.
    let begun = ["{\"a\":1}\nb\n", "", "1\n", "", "1\n", ""].map(|text| format!("edge auto: {text}"));
    assert_eq!(receiving.given(), begun);
    for (value, status, code) in [("Splunk nonsense", 403, 4), ("Digest x", 401, 3)] {
        let reply = receiving.send("POST", path, &[("authorization", value)], "{}").await;
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (status, &json!(code)), "{value}");
    }
    let reply = receiving.send("POST", path, &[], "{}").await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (401, json!({ "text": "Token is required", "code": 2 }))
    );
    assert_eq!(
        receiving.app.anonymous("/services/collector/health/1.0").await.json(),
        json!({ "text": "HEC is healthy", "code": 17 })
    );
    assert_eq!(receiving.send("OPTIONS", path, &[], "").await.status, 200);
}

#[tokio::test]
async fn hec_says_that_it_is_full_where_it_is() {
    let full = Settings { uploads_max: 0, ..Settings::default() };
    let receiving = Receiving::with(full, Recorder::default()).await;
    let reply = receiving.app.anonymous("/services/collector/health").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (503, &json!(18)));
}

/// What it is, event by event, where the source does not say.
#[tokio::test]
async fn sourcetypes_tell_the_format() {
    let receiving = Receiving::new().await;
    let body = "{\"event\":{\"a\":\n1},\"sourcetype\":\"bro:conn:json\"}\n{\"event\":{\"b\":2},\"sourcetype\":\"bro:conn:json\"}\
                {\"sourcetype\":\"suricata\",\"event\":\"{\\\"c\\\":3}\"}{\"event\":{},\"sourcetype\":\"unheard:of\"}";
    assert_eq!(receiving.splunk("/services/collector", body).await.status, 200);
    assert_eq!(receiving.splunk("/services/collector/raw?sourcetype=suricata", "x\ny").await.status, 200);
    assert_eq!(
        receiving.given(),
        [
            "edge auto: <zeek-json>{\"a\":1}\n<zeek-json>{\"b\":2}\n<suricata>{\"c\":3}\n{}\n",
            "edge suricata: x\ny"
        ]
    );
}

#[tokio::test]
async fn acknowledgements_are_true_once_given() {
    let receiving = Receiving::new().await;
    let channel = "0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba";
    for expected in 0..2 {
        let reply =
            receiving.splunk(&format!("/services/collector?channel={channel}"), "{\"event\":1}").await;
        assert_eq!(reply.json()["ackId"], expected);
    }
    let ack = format!("/services/collector/ack?channel={channel}");
    let reply = receiving.splunk(&ack, "{\"acks\":[0,1,2]}").await;
    assert_eq!(reply.json(), json!({ "acks": { "0": true, "1": true, "2": false } }));
    let reply = receiving.splunk("/services/collector/ack?channel=another", "{\"acks\":[0]}").await;
    assert_eq!(reply.json(), json!({ "acks": { "0": false } }));
    assert_eq!(receiving.splunk("/services/collector/ack", "{\"acks\":[0]}").await.json()["code"], 10);
    assert_eq!(receiving.splunk(&ack, "[]").await.json()["code"], 6);
    let long = "x".repeat(65);
    assert_eq!(
        receiving.splunk(&format!("/services/collector?channel={long}"), "{}").await.json()["code"],
        11
    );
}

fn otlp(attributes: &[(&str, &str)], body: Option<Value>) -> String {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<Value> {
        pairs.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
    };
    let mut record = json!({ "timeUnixNano": "1504015200123456789", "attributes": pairs(attributes) });
    if let Some(body) = body {
        record["body"] = body;
    }
    json!({ "resourceLogs": [{
        "resource": { "attributes": pairs(&[("host.name", "pc-9"), ("host.id", "h9")]) },
        "scopeLogs": [{ "logRecords": [record] }],
    }] })
    .to_string()
}

#[tokio::test]
async fn otlp_logs_in_both_spellings() {
    let receiving = Receiving::new().await;
    let json_kind = [("content-type", "application/json")];
    let connection =
        otlp(&[("network.peer.address", "198.51.100.20"), ("network.direction", "egress")], None);
    let reply = receiving.own("/v1/logs", &json_kind, connection).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "{}"));
    let given = receiving.given();
    let document: Value =
        serde_json::from_str(given[0].strip_prefix("edge auto: <ecs>").expect("begun")).expect("JSON");
    assert_eq!(document["destination"]["ip"], "198.51.100.20");
    assert_eq!(
        (&document["host"]["id"], &document["@timestamp"]),
        (&json!("h9"), &json!("1504015200123456789"))
    );
    assert_eq!(document["network"]["direction"], "egress");
    let line = otlp(&[], Some(json!({ "stringValue": "{\"ts\":1}" })));
    assert_eq!(receiving.own("/v1/logs", &json_kind, line).await.status, 200);
    let map = otlp(
        &[],
        Some(json!({ "kvlistValue": { "values": [{ "key": "a", "value": { "intValue": "1" } }] } })),
    );
    assert_eq!(receiving.own("/v1/logs", &json_kind, map).await.status, 200);
    assert_eq!(receiving.given(), ["edge auto: {\"ts\":1}\n", "edge auto: {\"a\":1}\n"]);
    // One record with the body "x", as protobuf has it.
    let protobuf = vec![0x0a, 0x09, 0x12, 0x07, 0x12, 0x05, 0x2a, 0x03, 0x0a, 0x01, b'x'];
    let reply = receiving.own("/v1/logs", &[("content-type", "application/x-protobuf")], protobuf).await;
    assert_eq!(
        (reply.status.as_u16(), reply.body.len(), reply.header("content-type")),
        (200, 0, "application/x-protobuf")
    );
    assert_eq!(receiving.given(), ["edge auto: x\n"]);
    let reply = receiving.own("/v1/logs", &json_kind, "no").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (400, &json!(3)));
    assert_eq!(receiving.own("/v1/logs", &[("content-type", "text/plain")], "x").await.status, 415);
    let reply = receiving.send("POST", "/v1/logs", &json_kind, "{}").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (401, &json!(16)));
    // A name is no address; a list may leave its values out.
    let pairs = [("destination.address", "example.org"), ("network.peer.address", "198.51.100.20")];
    assert_eq!(
        receiving.own("/v1/logs", &json_kind, otlp(&pairs, Some(json!({ "arrayValue": {} })))).await.status,
        200
    );
    let given = receiving.given();
    assert!(
        given.last().is_some_and(|last| last.contains("\"destination\":{\"ip\":\"198.51.100.20\"}")),
        "{given:?}"
    );
    let refusing = Recorder { refused: true, ..Recorder::default() };
    let receiving = Receiving::with(Settings::default(), refusing).await;
    let reply = receiving.own("/v1/logs", &json_kind, otlp(&[], None)).await;
    assert_eq!(reply.json()["partialSuccess"]["rejectedLogRecords"], json!("1"));
}

/// What is small and says much takes no more memory than one record may.
#[tokio::test]
async fn otlp_bodies_that_say_much() {
    let receiving = Receiving::new().await;
    let kind = [("content-type", "application/x-protobuf")];
    let field = |tag: u8, bytes: &[u8]| {
        let mut field = vec![tag << 3 | 2];
        prost_length(bytes.len(), &mut field);
        field.extend_from_slice(bytes);
        field
    };
    let records = field(1, &field(2, &b"\x12\0".repeat(500_000)));
    assert_eq!(receiving.own("/v1/logs", &kind, gzip(&records)).await.status, 200);
    assert_eq!(receiving.given()[0].lines().count(), 500_000);
    let attributes = field(1, &field(1, &b"\x0a\0".repeat(2_000_000)));
    assert_eq!(receiving.own("/v1/logs", &kind, gzip(&attributes)).await.status, 413);
    let one_record = field(1, &field(2, &field(2, &b"\x32\0".repeat(2_000_000))));
    assert_eq!(receiving.own("/v1/logs", &kind, gzip(&one_record)).await.status, 413);
    for cut in [&records[..records.len() - 1], &[0x0b], &[0x08]] {
        assert_eq!(receiving.own("/v1/logs", &kind, cut.to_vec()).await.status, 400);
    }
}

fn prost_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 127 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Nobody else learns of a source what an administrator does.
#[tokio::test]
async fn sources_are_shown_to_who_may_manage_them() {
    let receiving = Receiving::new().await;
    assert_eq!(receiving.app.anonymous("/seenby/v1/sources").await.status, 401);
    assert_eq!(receiving.own("/seenby/v1/sources", &[], "").await.status, 405);
    assert_eq!(receiving.app.with_token(&receiving.token, "/seenby/v1/sources").await.status, 401);
    assert_eq!(receiving.app.reader("/seenby/v1/sources").await.status, 403);
}
