//! A stream of NATS JetStream, read by a durable pull consumer: a message is acknowledged once its records are in the store. A
//! server that is killed in between is given those messages again, which changes no answer, because sightings are a set; so there is no
//! offset to keep here. Refuses to hold: what is in a message (`documents`, `formats`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use async_nats::connection::State;
use async_nats::jetstream::consumer::{AckPolicy, Config, PullConsumer, pull};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt as _;

use super::documents::Documents;
use super::feed::{Feed, Stopped, name};
use super::settings::Nats;
use crate::ingest::Reading;

/// Messages that are asked for at once, and appended together.
const MESSAGES_MAX: usize = 8_192;
/// How many bytes they may be together: less than what a server keeps for a client that is slow (64 MB, unless told otherwise).
const BYTES_MAX: usize = 16 << 20;
/// How long a server has to take acknowledgements.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// What a server says if the next message is larger than all that was asked for.
const TOO_LARGE: &str = "Exceeds MaxBytes";
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
        let ended = match feed.wait_for(Consuming::open(settings)) {
            Ok(Ok(consuming)) => {
                tracing::info!(source = %name(&feed.source.name), "a stream is read");
                consuming.read(feed)
            }
            Ok(Err(error)) => Ok(error),
            Err(stopped) => Err(stopped),
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
    let mut options = ConnectOptions::new().name("seenby").require_tls(settings.is_tls());
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some(credentials) = &settings.credentials {
        let text = credentials.text()?;
        options = if text.contains(CREDS) {
            options.credentials(&text).context("the creds file cannot be used")?
        } else {
            if !settings.is_tls() {
                tracing::warn!(
                    servers = ?settings.servers,
                    "a password goes to a NATS server in the clear; write tls:// or a ca_file"
                );
            }
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
        check(settings, &consumer.cached_info().config)?;
        let reading = Arc::new(Reading::new(0, format!("stream {}", settings.stream), Vec::new()));
        Ok(Consuming { client, consumer, documents: Documents::default(), reading })
    }

    /// Reads until the server stops; or until something is wrong, which is returned.
    fn read(mut self, feed: &mut Feed) -> Result<anyhow::Error, Stopped> {
        while !feed.stop().is_told() {
            let messages = match feed.wait_for(self.fetch())? {
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
            if let Err(error) = feed.wait_for(self.acknowledge(&messages))? {
                return Ok(error);
            }
        }
        Err(Stopped)
    }

    /// The next messages; none, if none came for a moment.
    async fn fetch(&self) -> anyhow::Result<Vec<Message>> {
        let asked = self.consumer.batch().max_messages(MESSAGES_MAX).max_bytes(BYTES_MAX);
        match self.collect(asked).await {
            Err(error) if error.to_string().contains(TOO_LARGE) => {
                self.collect(self.consumer.batch().max_messages(1)).await
            }
            came => came,
        }
    }

    async fn collect(&self, asked: pull::BatchBuilder<'_>) -> anyhow::Result<Vec<Message>> {
        self.check_connection()?;
        let mut coming = asked.expires(BATCH_WAITS).messages().await?;
        let mut came = Vec::new();
        while let Some(next) = coming.next().await {
            match next {
                Ok(message) => came.push(message),
                // A server also ends a batch with a word, as where the next message is beyond its bytes. What came, came.
                Err(_) if !came.is_empty() => break,
                Err(error) => return Err(anyhow!(error)),
            }
        }
        Ok(came)
    }

    /// The client would go on by itself, and for ever with what proved at first who we are: a new one is made instead.
    fn check_connection(&self) -> anyhow::Result<()> {
        ensure!(self.client.connection_state() == State::Connected, "the connection was lost");
        Ok(())
    }

    /// Tells the server that messages are in the store. One that does not hear it gives them again, which changes nothing.
    async fn acknowledge(&self, messages: &[Message]) -> anyhow::Result<()> {
        self.check_connection()?;
        let acknowledged = async {
            for message in messages {
                message.ack().await.map_err(|error| anyhow!(error))?;
            }
            Ok(self.client.flush().await?)
        };
        let ended = tokio::time::timeout(ACKNOWLEDGED_WITHIN, acknowledged).await;
        ended.context("the server does not take acknowledgements")?
    }
}

/// Whether a consumer that was there already gives us what we want.
fn check(settings: &Nats, consumer: &Config) -> anyhow::Result<()> {
    let name = &settings.consumer;
    ensure!(
        consumer.ack_policy == AckPolicy::Explicit,
        "its consumer '{name}' takes no acknowledgement for each message; name another with consumer = \"…\""
    );
    let Some(subject) = &settings.subject else { return Ok(()) };
    let one = Some(&consumer.filter_subject).filter(|subject| !subject.is_empty());
    let read: Vec<&String> = one.into_iter().chain(&consumer.filter_subjects).collect();
    ensure!(
        read == [subject],
        "its consumer '{name}' reads {read:?} and not '{subject}'; name another with consumer = \"…\", or delete that one"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_is_there_has_to_read_what_is_asked_for() {
        let settings = |subject: Option<&str>| Nats {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            stream: "edr".to_owned(),
            consumer: "seenby".to_owned(),
            subject: subject.map(str::to_owned),
            ca_file: None,
            credentials: None,
        };
        let consumer = |ack_policy, subject: &str, subjects: &[&str]| Config {
            ack_policy,
            filter_subject: subject.to_owned(),
            filter_subjects: subjects.iter().map(|it| (*it).to_owned()).collect(),
            ..Config::default()
        };
        let says = |subject, found| match check(&settings(subject), &found) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        let explicit = AckPolicy::Explicit;
        assert_eq!(says(None, consumer(explicit, "a.>", &[])), "", "it was made so by whoever named it");
        assert_eq!(says(Some("a.>"), consumer(explicit, "a.>", &[])), "");
        assert_eq!(says(Some("a.>"), consumer(explicit, "", &["a.>"])), "");
        for (found, said) in [
            (consumer(explicit, "a.>", &[]), "reads [\"a.>\"] and not 'b.>'"),
            (consumer(explicit, "", &[]), "reads [] and not 'b.>'"),
            (consumer(explicit, "", &["b.>", "c.>"]), "reads [\"b.>\", \"c.>\"] and not 'b.>'"),
            (consumer(AckPolicy::None, "b.>", &[]), "takes no acknowledgement"),
        ] {
            assert!(says(Some("b.>"), found).contains(said), "{said}");
        }
    }
}
