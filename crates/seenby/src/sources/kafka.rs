//! Topics of a Kafka cluster (or of Event Hubs, which speaks its protocol), read as a member of a consumer group: the group says which
//! partitions are ours, the store says from where. The offset behind the last message is kept in the same step as its records, so
//! a server that is killed goes on exactly there; the group is told afterwards, for whoever watches its lag. Refuses to hold: what
//! is in a message (`documents`, `formats`).
//!
//! ```text
//! group ─ partitions ─ the store's offset of each ─┐
//!                            messages ─ records ───┴─ one batch, with the next offsets ─ Store::append ─ the group's offsets
//! ```
//!
//! A store keeps `kafka <cluster id>/<topic>/<partition>`: the offset of the next message. Where it has none, the group's holds; where the
//! group has none either, or the offset is not there any more, the oldest message that is kept.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use sighting::{OrganisationId, SourceName, Store as _};

use super::documents::Documents;
use super::feed::{Around, Feed, Stopped, name};
use super::place::mark;
use super::settings::Kafka;
use crate::ingest::Reading;

/// How long a message waits for others before it is appended.
const BATCH_WAITS: Duration = Duration::from_millis(200);
/// How long before a client that cannot be made is tried again.
const CLIENT_WAITS: Duration = Duration::from_secs(5);
/// How long a cluster has to say what it is called, and that it is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// After how long without a word a member counts as gone, and its partitions are another's.
const SESSION_MS: &str = "10000";
/// How often a cluster in trouble is asked whether it is there.
const TROUBLE_WAITS: Duration = Duration::from_secs(5);

type Consumer = BaseConsumer<Places>;

/// Reads until the server stops.
pub(super) fn consume(mut feed: Feed, settings: &Kafka, data: &Path) {
    // A server that stops is the only end.
    let member = member(&feed.source.name, data);
    let Stopped = run(&mut feed, settings, &member);
    let _ = feed.commit();
}

fn run(feed: &mut Feed, settings: &Kafka, member: &str) -> Stopped {
    loop {
        let ended =
            feed.organisation().and_then(|organisation| match open(feed, settings, member, organisation) {
                Ok(consumer) => Consuming::new(consumer, organisation).read(feed),
                Err(error) => {
                    feed.trouble(&format!(
                        "the Kafka client cannot be made ({error:#}); correct its [[sources]]"
                    ));
                    feed.stop().wait(CLIENT_WAITS)
                }
            });
        if let Err(stopped) = ended {
            return stopped;
        }
    }
}

/// Who we are in the group. The same after a restart, so that a server that was killed has its partitions again at once.
fn member(source: &SourceName, data: &Path) -> String {
    let data = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let machine = rustix::system::uname();
    let words = [
        machine.nodename().to_string_lossy().into_owned(),
        data.display().to_string(),
        source.as_str().to_owned(),
    ];
    format!("seenby-{:016x}", mark(words.join("\n").as_bytes()))
}

fn open(
    feed: &Feed,
    settings: &Kafka,
    member: &str,
    organisation: OrganisationId,
) -> anyhow::Result<Consumer> {
    if settings.tells_password() {
        tracing::warn!(source = %name(&feed.source.name), "a password goes to Kafka in the clear; write tls = true");
    }
    let mut config = ClientConfig::new();
    config.set("session.timeout.ms", SESSION_MS).set("group.instance.id", member);
    for (key, value) in &settings.options()?.0 {
        config.set(key, value);
    }
    // What follows is how nothing is lost; the settings have refused to change it.
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("group.id", &settings.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "range,roundrobin")
        .set_log_level(RDKafkaLogLevel::Warning);
    let places = Places {
        around: feed.around().clone(),
        source: feed.source.name.clone(),
        organisation,
        brokers: settings.brokers.join(","),
        cluster: OnceLock::new(),
        begun: Mutex::default(),
        reason: Mutex::default(),
    };
    let consumer: Consumer = config.create_with_context(places)?;
    let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    Ok(consumer)
}

/// Where partitions are gone on with: asked by the client when it is given some.
struct Places {
    around: Around,
    source: SourceName,
    organisation: OrganisationId,
    /// What a cluster is called that does not say.
    brokers: String,
    /// What it is called: asked once, because one that does not say makes whoever asks wait.
    cluster: OnceLock<String>,
    /// Where the store says that partitions go on, until the first message of each came.
    begun: Mutex<HashMap<(String, i32), i64>>,
    /// What the client said last of what is wrong: its errors are codes.
    reason: Mutex<String>,
}

impl Places {
    fn cluster(&self, consumer: &Consumer) -> &str {
        self.cluster.get_or_init(|| {
            consumer.client().fetch_cluster_id(ANSWERS_WITHIN).unwrap_or_else(|| self.brokers.clone())
        })
    }

    /// The offset that the store has. One that cannot be had now is not waited for here: the group's is never ahead of it.
    fn kept(&self, key: String) -> Option<i64> {
        let asked = self.around.store.offset(self.organisation, self.source.clone(), key);
        let kept = self.around.runtime.block_on(asked).unwrap_or_else(|error| {
            tracing::warn!(source = %name(&self.source), %error, "an offset cannot be had; the group's is taken");
            None
        });
        kept.and_then(|position| i64::try_from(position).ok())
    }

    fn assign(&self, consumer: &Consumer, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let cluster = self.cluster(consumer);
        for mut partition in partitions.elements() {
            let key = key(cluster, partition.topic(), partition.partition());
            if let Some(position) = self.kept(key) {
                partition.set_offset(Offset::Offset(position))?;
                let begun = (partition.topic().to_owned(), partition.partition());
                self.lock_begun().insert(begun, position);
            }
        }
        consumer.assign(partitions)
    }

    fn lock_begun(&self) -> std::sync::MutexGuard<'_, HashMap<(String, i32), i64>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_reason(&self) -> std::sync::MutexGuard<'_, String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Places {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(source = %name(&self.source), ?level, facility, message, "the Kafka client says");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(source = %name(&self.source), %error, reason, "the Kafka client is in trouble");
        reason.clone_into(&mut self.lock_reason());
    }
}

impl ConsumerContext for Places {
    fn rebalance(&self, consumer: &Consumer, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, partitions)
        } else {
            consumer.unassign()
        };
        if let Err(error) = done {
            tracing::warn!(source = %name(&self.source), %error, "partitions cannot be taken or given up");
        }
    }
}

/// Under which the store keeps how far a partition was read.
fn key(cluster: &str, topic: &str, partition: i32) -> String {
    format!("kafka {cluster}/{topic}/{partition}")
}

/// One of the topics.
struct Topic {
    documents: Documents,
    reading: Arc<Reading>,
    /// The offset behind the last message, of each partition that was read since the last batch.
    next: BTreeMap<i32, i64>,
}

impl Topic {
    fn new(topic: &str) -> Topic {
        Topic {
            documents: Documents::default(),
            reading: Arc::new(Reading::new(0, format!("topic {topic}"), Vec::new())),
            next: BTreeMap::new(),
        }
    }
}

/// A client that reads, and what came that is not appended yet.
struct Consuming {
    consumer: Consumer,
    organisation: OrganisationId,
    topics: HashMap<String, Topic>,
    /// When the first message of the batch came.
    begun_at: Option<Instant>,
    looked_at: Instant,
    /// What was wrong last, until a message comes.
    trouble: Option<Trouble>,
}

/// What tells that something is not wrong any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// An answer of the cluster.
    Connection,
    /// That the group gave us partitions.
    Group,
    /// A message.
    Topic,
    /// Nothing that this client will see.
    Fatal,
}

impl Trouble {
    fn of(error: &KafkaError) -> Trouble {
        use RDKafkaErrorCode as Code;
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Trouble::Fatal;
        }
        match error.rdkafka_error_code() {
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic,
            ) => Trouble::Connection,
            Some(Code::GroupAuthorizationFailed | Code::CoordinatorNotAvailable | Code::NotCoordinator) => {
                Trouble::Group
            }
            _ => Trouble::Topic,
        }
    }
}

/// What a look for the next message found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Message,
    Pause,
    /// This client will read no more; a new one may.
    Over,
}

impl Consuming {
    fn new(consumer: Consumer, organisation: OrganisationId) -> Consuming {
        Consuming {
            consumer,
            organisation,
            topics: HashMap::new(),
            begun_at: None,
            looked_at: Instant::now(),
            trouble: None,
        }
    }

    /// Reads until the server stops, or another client is needed: this one is done for, or the source is another organisation's.
    fn read(mut self, feed: &mut Feed) -> Result<(), Stopped> {
        tracing::info!(source = %name(&feed.source.name), "topics are read");
        while !feed.stop().is_told() {
            let next = self.next(feed)?;
            let is_pause = next != Next::Message;
            let is_due = self.begun_at.is_some_and(|at| is_pause || at.elapsed() >= BATCH_WAITS);
            if feed.is_full() || is_due {
                self.commit(feed)?;
            }
            if next == Next::Over {
                return feed.stop().wait(CLIENT_WAITS);
            }
            if is_pause {
                self.look_after(feed);
                if feed.organisation()? != self.organisation {
                    return Ok(());
                }
            }
        }
        self.commit(feed)?;
        Err(Stopped)
    }

    /// Takes the next message, if there is one.
    fn next(&mut self, feed: &mut Feed) -> Result<Next, Stopped> {
        let message = match self.consumer.poll(BATCH_WAITS) {
            None => return Ok(Next::Pause),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Ok(self.in_trouble(feed, &error)),
        };
        self.trouble = None;
        feed.is_well();
        self.look_for_deleted(feed, message.topic(), message.partition(), message.offset());
        if !self.topics.contains_key(message.topic()) {
            self.topics.insert(message.topic().to_owned(), Topic::new(message.topic()));
        }
        let Some(topic) = self.topics.get_mut(message.topic()) else { return Ok(Next::Message) };
        topic.documents.take(feed, &topic.reading, message.payload().unwrap_or_default())?;
        topic.next.insert(message.partition(), message.offset() + 1);
        self.begun_at.get_or_insert_with(Instant::now);
        Ok(Next::Message)
    }

    /// Counts the messages of a partition that are not there any more of those that the store lacks, when its first one came.
    fn look_for_deleted(&self, feed: &Feed, topic: &str, partition: i32, came: i64) {
        let begun = {
            let mut begun = self.consumer.context().lock_begun();
            // So it is nearly always.
            if begun.is_empty() {
                return;
            }
            begun.remove(&(topic.to_owned(), partition))
        };
        let Some(begun) = begun.filter(|begun| came > *begun) else { return };
        // A gap alone tells nothing: compaction makes some, and transactions.
        let first =
            self.consumer.fetch_watermarks(topic, partition, ANSWERS_WITHIN).map_or(begun, |(low, _)| low);
        let count = u64::try_from(first.min(came).saturating_sub(begun)).unwrap_or_default();
        if count > 0 {
            // Another client may have counted some before.
            feed.status.change(|now| *now.lost.entry("messages").or_default() += count);
            tracing::warn!(
                source = %name(&feed.source.name),
                topic = %sighting::escape(topic),
                partition,
                count,
                "messages were deleted before they were read; keep them longer in the cluster than this server may be away"
            );
        }
    }

    fn in_trouble(&mut self, feed: &Feed, error: &KafkaError) -> Next {
        let trouble = Trouble::of(error);
        self.trouble = Some(trouble);
        let reason = std::mem::take(&mut *self.consumer.context().lock_reason());
        let fatal = self.consumer.client().fatal_error().map(|(_, why)| why).unwrap_or_default();
        let why = [fatal, reason].into_iter().find(|why| !why.is_empty());
        let why = why.map(|why| format!(": {}", sighting::escape(&why))).unwrap_or_default();
        if trouble == Trouble::Fatal {
            feed.trouble(&format!(
                "the group put this server out ({error}{why}); it joins again. If that goes on, another server has the same host \
                 name, data folder and source: give one of them a group of its own"
            ));
            return Next::Over;
        }
        feed.trouble(&format!(
            "the Kafka cluster cannot be read ({error}{why}); it is tried again, and nothing is lost"
        ));
        Next::Pause
    }

    /// Makes durable what came, with the offsets behind it; then tells the group.
    fn commit(&mut self, feed: &mut Feed) -> Result<(), Stopped> {
        if self.begun_at.take().is_none() {
            return feed.commit();
        }
        let places = Arc::clone(self.consumer.context());
        let cluster = places.cluster(&self.consumer);
        let mut told = TopicPartitionList::new();
        for (name, topic) in &mut self.topics {
            topic.documents.flush(feed, &topic.reading)?;
            for (partition, next) in std::mem::take(&mut topic.next) {
                let position = u64::try_from(next).unwrap_or_default();
                let key = key(cluster, name, partition);
                feed.set_offsets(vec![sighting::Offset { key, position }])?;
                // An offset that cannot be told of is one that the group does not hear.
                let _ = told.add_partition_offset(name, partition, Offset::Offset(next));
            }
        }
        feed.commit()?;
        if let Err(error) = self.consumer.commit(&told, CommitMode::Async) {
            // It may be another member's by now. The store knows better anyway.
            tracing::debug!(source = %name(&feed.source.name), %error, "the group did not take the offsets");
        }
        Ok(())
    }

    /// Looks now and then whether a cluster that was in trouble is there again.
    fn look_after(&mut self, feed: &Feed) {
        feed.status.change(|status| {
            status.open = self.consumer.assignment().map_or(0, |partitions| partitions.count() as u64);
        });
        if !feed.status.is_in_trouble() || self.looked_at.elapsed() < TROUBLE_WAITS {
            return;
        }
        self.looked_at = Instant::now();
        let is_over = match self.trouble {
            Some(Trouble::Connection) | None => self.is_there(),
            Some(Trouble::Group) => self.consumer.assignment().is_ok_and(|partitions| partitions.count() > 0),
            // Being there is not being allowed to read.
            Some(Trouble::Topic | Trouble::Fatal) => false,
        };
        if is_over {
            feed.is_well();
        }
    }

    /// Whether the cluster answers, has the topics, and lets us see them.
    fn is_there(&self) -> bool {
        let Ok(wanted) = self.consumer.subscription() else { return false };
        let answers = |topic: Option<&str>| {
            let found = self.consumer.fetch_metadata(topic, ANSWERS_WITHIN);
            found.is_ok_and(|found| found.topics().iter().all(|topic| topic.error().is_none()))
        };
        // A pattern is no topic.
        wanted
            .elements()
            .iter()
            .all(|topic| answers(Some(topic.topic()).filter(|topic| !topic.starts_with('^'))))
    }
}
