//! A server that reads topics of Kafka's protocol, spoken by the mock cluster of the client library, in this process: killed at random
//! moments, while partitions go from broker to broker, it loses nothing, and goes on where it was. A broker of another make is in
//! `make test-shippers`. Answers are compared with what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use crate::support::{DEADLINE, Place, Reading, Server, now, until};

const PARTITIONS: i32 = 3;
const ADDRESSES: u64 = 40;

/// A cluster with a topic, and somebody who sends to it.
struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    sent: BTreeMap<String, BTreeSet<String>>,
    number: u64,
}

impl Cluster {
    fn new() -> Cluster {
        let mock = MockCluster::new(3).expect("a cluster");
        mock.create_topic("edr", PARTITIONS, 3).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", mock.bootstrap_servers()).set("enable.idempotence", "true");
        let producer = config.create().expect("a producer");
        Cluster { mock, producer, sent: BTreeMap::new(), number: 0 }
    }

    fn settings(&self, more: &str) -> String {
        let servers = self.mock.bootstrap_servers();
        let brokers: Vec<String> = servers.split(',').map(|broker| format!("'{broker}'")).collect();
        format!("kafka = [{}]\ntopics = ['edr']\n{more}", brokers.join(", "))
    }

    /// Sends so many records, several of them in some messages, and waits until the cluster has them.
    fn send(&mut self, records: u64) {
        let until = self.number + records;
        while self.number < until {
            let lines: Vec<String> = (0..1 + self.number % 3).map(|_| self.record()).collect();
            let payload = lines.join("\n");
            let partition = (self.number % PARTITIONS as u64) as i32;
            let mut record = BaseRecord::<(), str>::to("edr").payload(&payload).partition(partition);
            while let Err((_, back)) = self.producer.send(record) {
                self.producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        self.producer.flush(DEADLINE).expect("the cluster takes it");
    }

    fn record(&mut self) -> String {
        self.number += 1;
        let (device, address) =
            (format!("pc-{}", self.number % 997), format!("203.0.113.{}", self.number % ADDRESSES));
        let line = format!("{{\"time\":\"{}\",\"device\":\"{device}\",\"ip\":\"{address}\"}}", now());
        self.sent.entry(address).or_default().insert(device);
        line
    }

    #[track_caller]
    fn check(&self, reading: &Reading) {
        for (address, devices) in &self.sent {
            reading.comes(address, devices.len() as u64);
        }
    }
}

fn sighted(server: &Server) -> u64 {
    let of =
        |line: &str| line.contains("result=\"sighted\"").then(|| line.rsplit(' ').next()?.parse().ok())?;
    server
        .metrics()
        .lines()
        .filter(|line| line.starts_with("seenby_source_records_total"))
        .find_map(of)
        .unwrap_or(0)
}

#[test]
fn messages_are_in_the_answers_and_a_restart_goes_on_behind_them() {
    let mut cluster = Cluster::new();
    cluster.send(500);
    let reading = Reading::new(Place::new(), &cluster.settings("format = 'ndjson'"));
    let server = reading.serve();
    cluster.check(&reading);
    until("the count", || sighted(&server) == cluster.number);
    assert_eq!(server.stop(), 0);
    let before = cluster.number;
    cluster.send(50);
    let server = reading.serve();
    cluster.check(&reading);
    // None of those before is read again.
    until("the count", || sighted(&server) == cluster.number - before);
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_the_store_has_is_gone_on_from_whatever_the_group_says() {
    let mut cluster = Cluster::new();
    cluster.send(300);
    let reading = Reading::new(Place::new(), &cluster.settings("group = 'one'"));
    let server = reading.serve();
    until("the count", || sighted(&server) == cluster.number);
    server.kill();
    // Another store begins at the start, even in the same group.
    let other = Reading::new(Place::new(), &cluster.settings("group = 'two'"));
    let server = other.serve();
    cluster.check(&other);
    server.kill();
    // This one has them, and in a new group too.
    let before = cluster.number;
    cluster.send(30);
    let reading = Reading::new(reading.place, &cluster.settings("group = 'three'"));
    let server = reading.serve();
    cluster.check(&reading);
    until("the count", || sighted(&server) == cluster.number - before);
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_is_wrong_with_one_message_is_nothing_to_the_next() {
    let mut cluster = Cluster::new();
    for payload in ["{\"time\":", "", "what is this", "[{\"time\":\"2031-03-04T00:00:00Z\","] {
        let record = BaseRecord::<(), str>::to("edr").payload(payload).partition(0);
        cluster.producer.send(record).expect("room");
    }
    cluster.send(30);
    let reading = Reading::new(Place::new(), &cluster.settings(""));
    let server = reading.serve();
    cluster.check(&reading);
    assert_eq!(server.stop(), 0);
}

/// Killed at random moments, by `SEENBY_KILLS` as often as that says, while partitions go from broker to broker.
#[test]
fn killed_at_random_moments() {
    let kills = std::env::var("SEENBY_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let each =
        std::env::var("SEENBY_RECORDS").ok().and_then(|records| records.parse().ok()).unwrap_or(12_000)
            / kills;
    let mut cluster = Cluster::new();
    let reading = Reading::new(Place::new(), &cluster.settings("format = 'ndjson'"));
    for kill in 1..=kills {
        let server = reading.serve();
        cluster.send(each / 2);
        if kill % 2 == 0 {
            // A partition is led by another broker from here on.
            let (partition, broker) = ((kill % 3) as i32, (kill / 2 % 3) as i32 + 1);
            cluster.mock.partition_leader("edr", partition, Some(broker)).expect("a broker");
        }
        cluster.send(each / 2);
        // At once, or somewhere in the middle.
        let enough = if kill % 3 == 0 { 0 } else { kill * 7_919 % each };
        until("some of it", || sighted(&server) >= enough);
        server.kill();
    }
    let server = reading.serve();
    cluster.check(&reading);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_cluster_that_is_not_there_is_said_and_waited_for() {
    let reading = Reading::new(Place::new(), "kafka = ['127.0.0.1:9']\ntopics = ['edr']");
    let server = reading.serve();
    until("a word", || {
        std::fs::read_to_string(&reading.log).expect("text").contains("the Kafka cluster cannot be read")
    });
    assert_eq!(server.stop(), 0);
}
