//! A stream of NATS JetStream, read by a durable pull consumer: a message is acknowledged once its records are in the store. A
//! server that is killed in between is given those messages again, which changes no answer, because sightings are a set; so there is no
//! offset to keep here. Refuses to hold: what is in a message (`documents`, `formats`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, ConnectOptions};
use futures_util::TryStreamExt as _;

use super::documents::Documents;
use super::feed::{Feed, Stopped, name};
use super::settings::Nats;
use crate::ingest::Reading;

/// Messages that are asked for at once, and appended together.
const MESSAGES_MAX: usize = 8_192;
/// How many bytes they may be together: more than the largest message that a server takes.
const BYTES_MAX: usize = 72 << 20;
/// How long messages are waited for until those that came are appended.
const BATCH_WAITS: Duration = Duration::from_millis(500);
/// After how long without an acknowledgement the server gives a message again.
const APPENDED_WITHIN: Duration = Duration::from_secs(60);
/// How long before a server that is not there, or has no such stream, is asked again.
const TROUBLE_WAITS: Duration = Duration::from_secs(2);

/// Begins a creds file, which holds a token and the key that signs with it.
const CREDS: &str = "-----BEGIN NATS USER JWT-----";

/// Reads until the server stops.
pub(super) fn consume(mut feed: Feed, settings: &Nats) {
    // A server that stops is the only end.
    let Stopped = run(&mut feed, settings);
    let _ = feed.commit();
}

fn run(feed: &mut Feed, settings: &Nats) -> Stopped {
    loop {
        let runtime = feed.runtime().clone();
        let ended = match runtime.block_on(Consuming::open(settings)) {
            Ok(consuming) => {
                tracing::info!(source = %name(&feed.source.name), "a stream is read");
                consuming.read(feed)
            }
            Err(error) => Ok(error),
        };
        let waited = ended.and_then(|error| {
            feed.trouble(&format!(
                "the stream '{}' cannot be read ({error:#}); it is tried again, and nothing is lost",
                settings.stream
            ));
            feed.stop().wait(TROUBLE_WAITS)
        });
        if let Err(stopped) = waited {
            return stopped;
        }
    }
}

async fn connect(settings: &Nats) -> anyhow::Result<Client> {
    let mut options = ConnectOptions::new().name("seenby");
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some(credentials) = &settings.credentials {
        let text = credentials.text()?;
        options = if text.contains(CREDS) {
            options.credentials(&text).context("the creds file cannot be used")?
        } else {
            let named = credentials.named()?;
            match named.of("token") {
                Ok(token) => options.token(token.to_owned()),
                Err(_) => options
                    .user_and_password(named.of("username")?.to_owned(), named.of("password")?.to_owned()),
            }
        };
    }
    Ok(options.connect(settings.servers.as_slice().join(",")).await?)
}

/// A consumer, and how its messages are read.
struct Consuming {
    client: Client,
    consumer: PullConsumer,
    documents: Documents,
    reading: Arc<Reading>,
}

impl Consuming {
    async fn open(settings: &Nats) -> anyhow::Result<Consuming> {
        let client = connect(settings).await?;
        let stream = jetstream::new(client.clone()).get_stream(&settings.stream).await?;
        let wanted = pull::Config {
            durable_name: Some(settings.consumer.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: APPENDED_WITHIN,
            max_ack_pending: 2 * MESSAGES_MAX as i64,
            filter_subject: settings.subject.clone().unwrap_or_default(),
            ..pull::Config::default()
        };
        let consumer: PullConsumer = stream.get_or_create_consumer(&settings.consumer, wanted).await?;
        let policy = consumer.cached_info().config.ack_policy;
        anyhow::ensure!(
            policy == AckPolicy::Explicit,
            "its consumer '{}' takes no acknowledgement for each message; name another with consumer = \"…\"",
            settings.consumer
        );
        let reading = Arc::new(Reading::new(0, format!("stream {}", settings.stream), Vec::new()));
        Ok(Consuming { client, consumer, documents: Documents::default(), reading })
    }

    /// Reads until the server stops; or until something is wrong, which is returned.
    fn read(mut self, feed: &mut Feed) -> Result<anyhow::Error, Stopped> {
        let runtime = feed.runtime().clone();
        while !feed.stop().is_told() {
            let messages = match runtime.block_on(self.fetch()) {
                Ok(messages) => messages,
                Err(error) => return Ok(error),
            };
            feed.is_well();
            for message in &messages {
                self.documents.take(feed, &self.reading, &message.payload)?;
                if feed.is_full() {
                    feed.commit()?;
                }
            }
            self.documents.flush(feed, &self.reading)?;
            feed.commit()?;
            if let Err(error) = runtime.block_on(self.acknowledge(&messages)) {
                return Ok(error);
            }
        }
        Err(Stopped)
    }

    async fn fetch(&self) -> anyhow::Result<Vec<Message>> {
        let asked =
            self.consumer.batch().max_messages(MESSAGES_MAX).max_bytes(BYTES_MAX).expires(BATCH_WAITS);
        let came = asked.messages().await?.try_collect().await;
        came.map_err(|error: async_nats::Error| anyhow::anyhow!(error))
    }

    async fn acknowledge(&self, messages: &[Message]) -> anyhow::Result<()> {
        for message in messages {
            message.ack().await.map_err(|error| anyhow::anyhow!(error))?;
        }
        Ok(self.client.flush().await?)
    }
}
