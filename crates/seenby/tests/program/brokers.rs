//! A server that reads topics of Kafka's protocol, spoken by the mock cluster of the client library, in this process: killed at random
//! moments, while partitions go from broker to broker, it loses nothing, and goes on where it was. A broker of another make is in
//! `make test-shippers`. Answers are compared with what was sent.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use sighting::Second;

use crate::killed::{Model, Random, Run};
use crate::support::{DEADLINE, Place, Reading, Server, now, until};

const PARTITIONS: i32 = 3;
const ADDRESSES: u64 = 40;
/// Messages of 100 KB, of which the mock cluster keeps five megabytes in a partition.
const MORE_THAN_KEPT: u64 = 70;

/// A cluster with a topic, and somebody who sends to it.
struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    sent: Model,
    begun: Second,
    number: u64,
}

impl Cluster {
    fn new() -> Cluster {
        let mock = MockCluster::new(3).expect("a cluster");
        mock.create_topic("edr", PARTITIONS, 3).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", mock.bootstrap_servers()).set("enable.idempotence", "true");
        // A broker that was away is asked again at once.
        config.set("reconnect.backoff.max.ms", "200");
        let producer = config.create().expect("a producer");
        Cluster { mock, producer, sent: Model::default(), begun: now().minus(86_400), number: 0 }
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

    /// Sends a record into each partition, with more in it than is read.
    fn send_each_partition(&mut self, more: &str) {
        for partition in 0..PARTITIONS {
            let payload = self.record().replace('}', &format!("{more}}}"));
            let record = BaseRecord::<(), str>::to("edr").payload(&payload).partition(partition);
            self.producer.send(record).expect("room");
        }
        self.producer.flush(DEADLINE).expect("the cluster takes it");
    }

    fn record(&mut self) -> String {
        self.number += 1;
        let (device, address) =
            (format!("pc-{}", self.number % 997), format!("203.0.113.{}", self.number % ADDRESSES));
        let second = self.begun.plus(self.number * 31 % 80_000);
        let line = format!("{{\"time\":\"{second}\",\"device\":\"{device}\",\"ip\":\"{address}\"}}");
        self.sent.tell(address, device, second);
        line
    }

    #[track_caller]
    fn check(&self, reading: &Reading) {
        self.sent.check(&reading.place);
    }
}

fn sighted(server: &Server) -> u64 {
    metric(server, "seenby_source_records_total", "result=\"sighted\"")
}

/// The first sample of a metric with such a label; 0, if there is none.
fn metric(server: &Server, name: &str, label: &str) -> u64 {
    let of = |line: &str| line.contains(label).then(|| line.rsplit(' ').next()?.parse().ok())?;
    let metrics = server.metrics();
    metrics.lines().filter(|line| line.starts_with(&format!("{name}{{"))).find_map(of).unwrap_or(0)
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

/// The server is killed at random moments, as often as `SEENBY_KILLS` says; around every other kill a broker is away, or a partition goes
/// from one broker to another.
#[test]
fn killed_at_random_moments() {
    let run = Run::wanted();
    let mut random = Random(4);
    let mut cluster = Cluster::new();
    // As long as that the mock waits for a member that was killed while it joined.
    let options = "options = { 'session.timeout.ms' = '5000', 'heartbeat.interval.ms' = '500' }";
    let reading = Reading::new(Place::new(), &cluster.settings(&format!("format = 'ndjson'\n{options}")));
    let mut away = None;
    for _ in 0..run.kills {
        let server = reading.serve();
        if let Some(broker) = away.take() {
            cluster.mock.broker_up(broker).expect("a broker");
        }
        cluster.send(run.each() / 2);
        let enough = if random.below(3) == 0 { 0 } else { random.below(run.each() / 2) };
        let broker = random.below(3) as i32 + 1;
        match random.below(4) {
            0 => {
                let partition = random.below(PARTITIONS as u64) as i32;
                cluster.mock.partition_leader("edr", partition, Some(broker)).expect("a broker");
            }
            1 => {
                // What only this broker has does not come before it is back.
                cluster.mock.broker_down(broker).expect("a broker");
                away = Some(broker);
            }
            _ => until("some of it", || sighted(&server) >= enough),
        }
        if away.is_none() {
            cluster.send(run.each() - run.each() / 2);
        }
        random.pass();
        server.kill();
    }
    if let Some(broker) = away {
        cluster.mock.broker_up(broker).expect("a broker");
    }
    cluster.send(run.records.saturating_sub(cluster.number));
    let server = reading.serve();
    cluster.check(&reading);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_broker_that_is_not_there_is_said_and_waited_for() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let netflow = format!("netflow = 'udp://{}'", taken.local_addr().expect("bound"));
    for (settings, says) in [
        ("kafka = ['127.0.0.1:9']\ntopics = ['edr']", "the Kafka cluster cannot be read"),
        ("nats = ['nats://127.0.0.1:9']\nstream = 'edr'", "the stream 'edr' cannot be read"),
        (&netflow, "Address already in use"),
    ] {
        let reading = Reading::new(Place::new(), settings);
        let server = reading.serve();
        until(says, || std::fs::read_to_string(&reading.log).expect("text").contains(says));
        // It is on the list before anything of it came.
        assert_eq!(metric(&server, "seenby_source_in_trouble", ""), 1, "{settings}");
        assert_eq!(server.stop(), 0);
    }
}

/// Another server with the same name took its place, and went: the client library itself would never join again.
#[test]
fn a_server_that_was_put_out_of_its_group_joins_again() {
    let mut cluster = Cluster::new();
    cluster.send(30);
    let reading = Reading::new(Place::new(), &cluster.settings(""));
    let server = reading.serve();
    cluster.check(&reading);
    let fenced = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID];
    cluster.mock.request_errors(RDKafkaApiKey::Heartbeat, &fenced);
    until("a word", || {
        std::fs::read_to_string(&reading.log).expect("text").contains("the group put this server out")
    });
    cluster.send(30);
    cluster.check(&reading);
    until("it is well", || metric(&server, "seenby_source_in_trouble", "") == 0);
    assert_eq!(server.stop(), 0);
}

/// The cluster answers, and lets its topics be seen; that is not being let into the group.
#[test]
fn what_is_not_allowed_is_wrong_until_it_is() {
    let mut cluster = Cluster::new();
    cluster.send(30);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1_000];
    cluster.mock.request_errors(RDKafkaApiKey::FindCoordinator, &refused);
    let reading = Reading::new(Place::new(), &cluster.settings(""));
    let server = reading.serve();
    until("trouble", || metric(&server, "seenby_source_in_trouble", "") == 1);
    cluster.mock.clear_request_errors(RDKafkaApiKey::FindCoordinator);
    cluster.check(&reading);
    until("it is well", || metric(&server, "seenby_source_in_trouble", "") == 0);
    assert_eq!(server.stop(), 0);
}

#[test]
fn messages_that_were_deleted_before_they_were_read_are_counted() {
    let mut cluster = Cluster::new();
    cluster.send_each_partition("");
    let reading = Reading::new(Place::new(), &cluster.settings(""));
    let server = reading.serve();
    until("the count", || sighted(&server) == cluster.number);
    assert_eq!(server.stop(), 0);
    let padding = format!(",\"more\":\"{}\"", "x".repeat(100_000));
    (0..MORE_THAN_KEPT).for_each(|_| cluster.send_each_partition(&padding));
    let messages = MORE_THAN_KEPT * PARTITIONS as u64;
    let server = reading.serve();
    until("all of them, read or lost", || {
        sighted(&server) + metric(&server, "seenby_source_lost_total", "what=\"messages\"") == messages
    });
    let lost = metric(&server, "seenby_source_lost_total", "what=\"messages\"");
    assert!(lost >= 3, "{lost} of {messages} were lost");
    assert!(std::fs::read_to_string(&reading.log).expect("text").contains("deleted before they were read"));
    assert_eq!(server.stop(), 0);
}
