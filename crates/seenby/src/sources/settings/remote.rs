//! Sources on other machines, as they are written and meant: Kafka, NATS, object storage. What is secret stands in a file of its own,
//! which is read when a connection is made, so that it can be replaced. Refuses to hold: the connections.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use object_store::{ObjectStore, ObjectStoreScheme};
use reqwest::Url;
use sighting::escape;

use super::cloud::Cloud;
use super::{Globs, SourceConfig, globs, poll, whole};

/// A file of credentials is some lines.
const CREDENTIALS_BYTES_MAX: u64 = 64 << 10;
/// Whatever others than the owner may do with a file.
const MODE_OF_OTHERS: u32 = 0o077;
/// How often a bucket is listed where nobody said another time.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// Who reads, where nobody said another name.
const READER: &str = "seenby";

/// What this program says to the Kafka client itself.
const KAFKA_OWN: [&str; 11] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "partition.assignment.strategy",
    "security.protocol",
    "ssl.ca.location",
    "sasl.username",
    "sasl.password",
];
/// How the client proves who it is: both of the names that it has for that.
const KAFKA_MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

/// Topics of a Kafka cluster.
#[derive(Clone, Debug)]
pub(crate) struct Kafka {
    pub(crate) brokers: Vec<String>,
    pub(crate) topics: Vec<String>,
    pub(crate) group: String,
    tls: bool,
    ca_file: Option<PathBuf>,
    options: Options,
    credentials: Option<Credentials>,
}

impl Kafka {
    /// All that the client is told of how to speak with the brokers.
    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        let mut options = self.options.clone();
        let mut set = |key: &str, value: &str| options.0.insert(key.to_owned(), value.to_owned());
        let secrets = self.credentials.as_ref().map(Credentials::named).transpose()?;
        if let Some(secrets) = &secrets {
            set("sasl.username", secrets.of("username")?);
            set("sasl.password", secrets.of("password")?);
        }
        set(
            "security.protocol",
            match (self.tls, secrets.is_some()) {
                (false, false) => "plaintext",
                (false, true) => "sasl_plaintext",
                (true, false) => "ssl",
                (true, true) => "sasl_ssl",
            },
        );
        match &self.ca_file {
            Some(file) => set("ssl.ca.location", &file.display().to_string()),
            // Wherever this system keeps its own.
            None if self.tls => set("ssl.ca.location", "probe"),
            None => None,
        };
        if secrets.is_some() && self.mechanism().is_none() {
            options.0.insert("sasl.mechanism".to_owned(), PLAIN.to_owned());
        }
        Ok(options)
    }

    fn mechanism(&self) -> Option<&str> {
        KAFKA_MECHANISM.iter().find_map(|key| self.options.0.get(*key)).map(String::as_str)
    }

    /// Whether a password goes to the brokers as it is, for everybody on the way to read.
    pub(crate) fn tells_password(&self) -> bool {
        !self.tls && self.credentials.is_some() && self.mechanism().unwrap_or(PLAIN) == PLAIN
    }
}

/// The mechanism of SASL that shows the password to the broker.
const PLAIN: &str = "PLAIN";

/// A stream of a NATS system.
#[derive(Clone, Debug)]
pub(crate) struct Nats {
    pub(crate) servers: Vec<String>,
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) subject: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) credentials: Option<Credentials>,
}

impl Nats {
    /// Whether nothing is said to a server that speaks no TLS, whatever it says of itself first, which anybody on the way can change.
    pub(crate) fn is_tls(&self) -> bool {
        self.ca_file.is_some() || self.servers.iter().any(|server| server.starts_with("tls:"))
    }
}

/// Objects below a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    pub(crate) url: Url,
    /// What follows the bucket in the address.
    pub(crate) prefix: object_store::path::Path,
    pub(crate) globs: Globs,
    pub(crate) every: Duration,
    cloud: Cloud,
    options: Options,
    credentials: Option<Credentials>,
}

impl Objects {
    /// A client for the bucket. It is told the words of the file of credentials before the settings', and those before what the
    /// environment says.
    pub(crate) fn store(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let secrets = self.credentials.as_ref().map(Credentials::named).transpose()?.unwrap_or_default();
        let told = self.cloud.told(std::env::vars_os(), &self.options.0, &secrets.0)?;
        self.cloud.store(&self.url, told)
    }
}

/// Words for a client library. Some are secret, so none is shown.
#[derive(Clone, Default)]
pub(crate) struct Options(pub(crate) BTreeMap<String, String>);

impl Options {
    /// A word that has to be there.
    pub(crate) fn of(&self, key: &str) -> anyhow::Result<&str> {
        let found = self.0.get(key).map(String::as_str);
        found.with_context(|| format!("there is no {key} in the file of credentials; write {key} = \"…\""))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A file with what proves who we are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Credentials(PathBuf);

impl Credentials {
    /// What is in it.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let shown = crate::house::shown(&self.0);
        let cannot = || format!("the file of credentials {shown} cannot be read");
        let file = File::open(&self.0).with_context(cannot)?;
        let mode = file.metadata().with_context(cannot)?.permissions().mode();
        ensure!(
            mode & MODE_OF_OTHERS == 0,
            "others than its owner may read the file of credentials {shown}: `chmod 600` it, and change what is in it if \
             they may have read it"
        );
        let mut text = String::new();
        file.take(CREDENTIALS_BYTES_MAX).read_to_string(&mut text).with_context(cannot)?;
        Ok(text)
    }

    /// What is in it, by name.
    pub(crate) fn named(&self) -> anyhow::Result<Options> {
        let read = toml::from_str(&self.text()?);
        // The library's message would show the line.
        read.map(Options).map_err(|_| {
            let shown = crate::house::shown(&self.0);
            anyhow!("the file of credentials {shown} is not made of lines such as password = \"…\"")
        })
    }
}

fn credentials(config: &SourceConfig) -> anyhow::Result<Option<Credentials>> {
    let path = config.credentials.as_deref().map(|path| whole("credentials", path)).transpose()?;
    Ok(path.map(Credentials))
}

fn ca_file(config: &SourceConfig) -> anyhow::Result<Option<PathBuf>> {
    config.ca_file.as_deref().map(|path| whole("ca_file", path)).transpose()
}

pub(super) fn kafka(config: &SourceConfig) -> anyhow::Result<Kafka> {
    let brokers = config.kafka.clone().unwrap_or_default();
    ensure!(!brokers.is_empty(), "kafka names no broker; write kafka = [\"kafka-1.example.org:9092\"]");
    for broker in &brokers {
        let port = broker.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        ensure!(
            port.is_some() && !broker.contains(','),
            "kafka has '{}'; write a host and a port, such as kafka-1.example.org:9092",
            escape(broker)
        );
    }
    let topics = config.topics.clone().unwrap_or_default();
    ensure!(!topics.is_empty(), "needs topics, those of the cluster that are read: topics = [\"edr\"]");
    let options = Options(config.options.clone().unwrap_or_default());
    for key in options.0.keys() {
        ensure!(
            !KAFKA_OWN.contains(&key.as_str()),
            "options has {}, which is kafka, group, tls, ca_file and credentials here, or how nothing is lost; leave it out",
            escape(key)
        );
    }
    let has_mechanism = KAFKA_MECHANISM.iter().any(|key| options.0.contains_key(*key));
    ensure!(
        !has_mechanism || config.credentials.is_some(),
        "options has a mechanism of SASL and needs credentials, a file with username = \"…\" and password = \"…\""
    );
    let tls = config.tls.unwrap_or(false);
    let ca_file = ca_file(config)?;
    ensure!(tls || ca_file.is_none(), "has a ca_file, and does not speak TLS; write tls = true");
    Ok(Kafka {
        brokers,
        topics,
        group: config.group.clone().unwrap_or_else(|| READER.to_owned()),
        tls,
        ca_file,
        options,
        credentials: credentials(config)?,
    })
}

pub(super) fn nats(config: &SourceConfig) -> anyhow::Result<Nats> {
    let servers = config.nats.clone().unwrap_or_default();
    ensure!(!servers.is_empty(), "nats names no server; write nats = [\"nats://nats-1.example.org:4222\"]");
    for server in &servers {
        let url =
            Url::parse(server).ok().filter(|url| matches!(url.scheme(), "nats" | "tls") && url.has_host());
        let url = url.with_context(|| {
            format!("nats has '{}'; write nats:// or tls://, a host and a port", escape(server))
        })?;
        ensure!(
            url.password().is_none(),
            "nats has a password in it; write it into a file, and credentials = \"…\""
        );
    }
    let stream = config.stream.clone().context("needs stream, the one that is read: stream = \"edr\"")?;
    let consumer = config.consumer.clone().unwrap_or_else(|| READER.to_owned());
    for (key, name) in [("stream", &stream), ("consumer", &consumer)] {
        let is_sound =
            !name.is_empty() && name.chars().all(|it| it.is_ascii_graphic() && !".*>/\\".contains(it));
        ensure!(is_sound, "{key} is '{}'; names have no spaces and none of . * > / \\", escape(name));
    }
    let (ca_file, credentials) = (ca_file(config)?, credentials(config)?);
    Ok(Nats { servers, stream, consumer, subject: config.subject.clone(), ca_file, credentials })
}

pub(super) fn objects(config: &SourceConfig) -> anyhow::Result<Objects> {
    let written = config.objects.as_deref().unwrap_or_default();
    let told = || {
        format!(
            "objects is '{}'; write s3://, az:// or gs://, a bucket or container, and a prefix, such as s3://logs/AWSLogs/",
            escape(written)
        )
    };
    let url = Url::parse(written).ok().with_context(told)?;
    let (scheme, prefix) = ObjectStoreScheme::parse(&url).ok().with_context(told)?;
    let cloud = Cloud::of(&scheme).with_context(told)?;
    let options = Options(config.options.clone().unwrap_or_default());
    cloud.named("options", &options.0)?;
    ensure!(
        !matches!(config.poll, Some(super::PollConfig::Switch(true))),
        "has objects and poll = true; write after how many seconds it is listed, such as poll = {}",
        LIST_EVERY.as_secs()
    );
    let every = poll(config)?.unwrap_or(LIST_EVERY);
    Ok(Objects {
        url,
        prefix,
        globs: globs(config)?,
        every,
        cloud,
        options,
        credentials: credentials(config)?,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_secret_is_read_when_it_is_needed_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hub");
        let credentials = Credentials(path.clone());
        assert!(credentials.named().expect_err("no file").to_string().contains("cannot be read"));
        std::fs::write(&path, "username = '$ConnectionString'\npassword = 'Endpoint=sb://x/;Key=abc='\n")
            .expect("written");
        assert!(credentials.named().expect_err("everybody's").to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mine");
        let kafka = Kafka {
            brokers: vec!["a:9093".to_owned()],
            topics: vec!["t".to_owned()],
            group: "g".to_owned(),
            tls: true,
            ca_file: None,
            options: Options::default(),
            credentials: Some(credentials.clone()),
        };
        let options = kafka.options().expect("sound");
        for (key, value) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "$ConnectionString"),
            ("sasl.password", "Endpoint=sb://x/;Key=abc="),
            ("ssl.ca.location", "probe"),
        ] {
            assert_eq!(options.of(key).expect(key), value, "{key}");
        }
        assert!(!format!("{options:?}").contains("abc"), "{options:?}");
        std::fs::write(&path, "password = abc\n").expect("written");
        let error = format!("{:#}", credentials.named().expect_err("no TOML"));
        assert!(error.contains("is not made of lines") && !error.contains("abc"), "{error}");
    }
}
