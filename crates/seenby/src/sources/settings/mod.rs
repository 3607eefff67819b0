//! `[[sources]]` of the settings file: as it is written, and as it is meant. Refuses to hold: sources that push with a token (the
//! directory has those), and the reading.

mod cloud;
mod remote;

pub(crate) use remote::{Kafka, Nats, Objects};

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use formats::{ColumnMap, Wanted};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use sighting::{LocalNetworks, Network, SourceName, escape};

use crate::ingest;
use crate::pair::Pair;

/// How often a folder is looked through where nothing tells of changes and nobody said another time.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// The longest time between two looks.
const POLL_SECONDS_MAX: u64 = 3_600;
/// The share of refused records from which on a file is left where it is, in percent.
const REFUSED_PERCENT_MAX: u8 = 95;

/// One `[[sources]]` as written. Which keys go together is checked afterwards, so that it can be said.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceConfig {
    /// Under whose name its sightings are kept.
    name: String,
    /// Whose they are, by name or GUID; may be left out where there is one organisation.
    organisation: Option<String>,
    /// A folder whose files, and those below it, are followed.
    folder: Option<PathBuf>,
    /// A file that is followed.
    file: Option<PathBuf>,
    /// Where syslog is listened for: `udp://127.0.0.1:5514`, `tcp://…` or `tls://…`.
    syslog: Option<String>,
    /// Where NetFlow and IPFIX are listened for: `udp://127.0.0.1:2055`.
    netflow: Option<String>,
    /// The brokers of a Kafka cluster.
    kafka: Option<Vec<String>>,
    /// Its topics that are read.
    topics: Option<Vec<String>>,
    /// The consumer group.
    group: Option<String>,
    /// Speak TLS with the brokers.
    tls: Option<bool>,
    /// The servers of a NATS system.
    nats: Option<Vec<String>>,
    /// Its stream.
    stream: Option<String>,
    /// The durable consumer.
    consumer: Option<String>,
    /// The only subject of the stream that is read.
    subject: Option<String>,
    /// A bucket and a prefix in it: `s3://…`, `az://…` or `gs://…`.
    objects: Option<String>,
    /// A file with names and passwords.
    credentials: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that vouch for a server.
    ca_file: Option<PathBuf>,
    /// What the client library is told besides.
    options: Option<BTreeMap<String, String>>,
    /// The certificate chain of a `tls://` listener (PEM).
    certificate: Option<PathBuf>,
    /// Its private key (PEM).
    key: Option<PathBuf>,
    /// What it is, as for `seenby ingest --format`.
    format: Option<String>,
    /// Globs of the paths below the folder that are read; unset, all are.
    include: Option<Vec<String>>,
    /// Globs of those that are not.
    #[serde(default)]
    exclude: Vec<String>,
    /// Where its clocks are.
    time_zone: Option<String>,
    /// The networks whose addresses are ours; unset, those of `[ingest]`.
    local_networks: Option<Vec<String>>,
    /// Where it sees the hardware address of the device itself; unset, those of `[ingest]`.
    mac_networks: Option<Vec<String>>,
    /// Count special remotes too; unset, as `[ingest]` says.
    keep_special_remotes: Option<bool>,
    /// Which keys or columns mean what.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// Look again and again instead of being told: `true`, or after how many seconds.
    poll: Option<PollConfig>,
    /// From which share (`"95%"`) or number of refused records on a file is left where it is; `"off"` never.
    refused_max: Option<RefusedMaxConfig>,
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum PollConfig {
    Switch(bool),
    Seconds(u64),
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum RefusedMaxConfig {
    Records(u64),
    Word(String),
}

/// A source as meant.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: SourceName,
    /// By name or GUID; none is the only one.
    pub(crate) organisation: Option<String>,
    pub(crate) from: From,
    pub(crate) wanted: Wanted,
    pub(crate) formats: formats::Settings,
    pub(crate) refused_max: RefusedMax,
}

/// Where a source's records come from.
#[derive(Clone, Debug)]
pub(crate) enum From {
    Files(Files),
    Syslog(Syslog),
    /// NetFlow over UDP, to this address.
    NetFlow(SocketAddr),
    Kafka(Kafka),
    Nats(Nats),
    Objects(Objects),
}

/// Files that are followed.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The folder that nothing leads out of.
    pub(crate) root: PathBuf,
    pub(crate) which: Which,
    /// How often it is looked through, if that is to be the only way to notice anything.
    pub(crate) poll: Option<Duration>,
}

/// Which files of a folder.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    /// One, by its name; and what became of it when it was rotated.
    Named(String),
    /// Those that match.
    Matching(Globs),
}

/// What is read of what lies below a folder or a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Globs {
    /// None is everything.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Globs {
    /// Whether a path below it is read.
    pub(crate) fn take(&self, path: impl AsRef<Path>) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(&path)) && !self.exclude.is_match(&path)
    }
}

/// A syslog listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Syslog {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
}

/// What syslog comes over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls(Pair),
}

/// How much of a file may be refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RefusedMax {
    /// Not more than so many percent of its records, once there are enough to tell.
    Percent(u8),
    /// Not more than so many records.
    Records(u64),
    /// Anything.
    Off,
}

/// Records of a file before a share of them says anything.
pub(crate) const RECORDS_JUDGED_MIN: u64 = 100;

impl RefusedMax {
    /// Whether a file of so many records, of which so many were refused, is to be left where it is.
    pub(crate) fn is_exceeded(self, records: u64, refused: u64) -> bool {
        match self {
            RefusedMax::Off => false,
            RefusedMax::Records(most) => refused > most,
            RefusedMax::Percent(most) => {
                records >= RECORDS_JUDGED_MIN
                    && u128::from(refused) * 100 > u128::from(records) * u128::from(most)
            }
        }
    }
}

/// What holds for a source that says nothing of its own.
#[derive(Clone, Debug)]
pub(crate) struct Usual {
    pub(crate) local_networks: LocalNetworks,
    pub(crate) keep_special_remotes: bool,
    pub(crate) unique_networks: Vec<Network>,
    pub(crate) mac_networks: Vec<Network>,
}

/// All sources of a settings file.
pub(crate) fn meant(written: Vec<SourceConfig>, usual: &Usual) -> anyhow::Result<Vec<Source>> {
    let mut names = BTreeSet::new();
    let mut sources: Vec<Source> = Vec::new();
    for (number, config) in (1..).zip(written) {
        let named = escape(&config.name).into_owned();
        let source = Source::from_config(config, usual)
            .with_context(|| format!("[[sources]] number {number} ('{named}')"))?;
        ensure!(
            names.insert(source.name.clone()),
            "[[sources]] number {number} has the name of another one, '{named}'; give it one of its own"
        );
        if let Some(other) = sources.iter().find(|other| shares_messages(&other.from, &source.from)) {
            bail!(
                "[[sources]] number {number} ('{named}') and '{}' would share messages, each of which one of them would get; give it \
                 a {} of its own",
                escape(other.name.as_str()),
                if matches!(source.from, From::Kafka(_)) { "group" } else { "consumer" }
            );
        }
        sources.push(source);
    }
    Ok(sources)
}

/// Whether two sources are one reader to their broker, which gives each message to one of them.
fn shares_messages(one: &From, other: &From) -> bool {
    let overlap = |ours: &[String], theirs: &[String]| ours.iter().any(|it| theirs.contains(it));
    match (one, other) {
        (From::Kafka(one), From::Kafka(other)) => {
            one.group == other.group
                && overlap(&one.topics, &other.topics)
                && overlap(&one.brokers, &other.brokers)
        }
        (From::Nats(one), From::Nats(other)) => {
            (&one.stream, &one.consumer) == (&other.stream, &other.consumer)
                && overlap(&one.servers, &other.servers)
        }
        _ => false,
    }
}

impl Source {
    fn from_config(config: SourceConfig, usual: &Usual) -> anyhow::Result<Source> {
        let from = from(&config)?;
        let told = |key: &'static str| move |error: String| anyhow!("{key}: {error}");
        let mut columns = ColumnMap::default();
        for (key, column) in &config.columns {
            ensure!(!column.is_empty(), "columns.{} is empty; write the name of a column", escape(key));
            ingest::set_column(&mut columns, key, column).map_err(told("columns"))?;
        }
        let local_networks = match &config.local_networks {
            None => usual.local_networks.clone(),
            Some(texts) => LocalNetworks::Listed(networks("local_networks", texts)?),
        };
        let mac_networks = match &config.mac_networks {
            None => usual.mac_networks.clone(),
            Some(texts) => networks("mac_networks", texts)?,
        };
        let wanted = config.format.as_deref().map(ingest::format).transpose().map_err(told("format"))?;
        let zone = |zone: &str| {
            ingest::time_zone(zone).map_err(|error| anyhow!("time_zone '{}' {error}", escape(zone)))
        };
        Ok(Source {
            name: ingest::source_name(&config.name).map_err(told("name"))?,
            organisation: config.organisation,
            from,
            wanted: wanted.unwrap_or_default(),
            formats: formats::Settings {
                local_networks,
                keep_special_remotes: config.keep_special_remotes.unwrap_or(usual.keep_special_remotes),
                unique_networks: usual.unique_networks.clone(),
                mac_networks,
                columns,
                time_zone: config.time_zone.as_deref().map(zone).transpose()?,
            },
            refused_max: refused_max(config.refused_max)?,
        })
    }
}

/// What a source reads, by the key that says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Folder,
    File,
    Syslog,
    NetFlow,
    Kafka,
    Nats,
    Objects,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Folder, Kind::File, Kind::Syslog, Kind::NetFlow, Kind::Kafka, Kind::Nats, Kind::Objects];

    const fn key(self) -> &'static str {
        match self {
            Kind::Folder => "folder",
            Kind::File => "file",
            Kind::Syslog => "syslog",
            Kind::NetFlow => "netflow",
            Kind::Kafka => "kafka",
            Kind::Nats => "nats",
            Kind::Objects => "objects",
        }
    }

    const fn is_in(self, config: &SourceConfig) -> bool {
        match self {
            Kind::Folder => config.folder.is_some(),
            Kind::File => config.file.is_some(),
            Kind::Syslog => config.syslog.is_some(),
            Kind::NetFlow => config.netflow.is_some(),
            Kind::Kafka => config.kafka.is_some(),
            Kind::Nats => config.nats.is_some(),
            Kind::Objects => config.objects.is_some(),
        }
    }

    fn of(config: &SourceConfig) -> anyhow::Result<Kind> {
        let mut there = Kind::ALL.into_iter().filter(|kind| kind.is_in(config));
        match (there.next(), there.next()) {
            (Some(kind), None) => Ok(kind),
            _ => bail!("needs exactly one of folder, file, syslog, netflow, kafka, nats and objects"),
        }
    }
}

/// The keys that only some kinds of sources have.
fn check_keys(kind: Kind, config: &SourceConfig) -> anyhow::Result<()> {
    use Kind::{File, Folder, Kafka, Nats, Objects, Syslog};
    for (key, is_there, kinds) in [
        ("include", config.include.is_some(), &[Folder, Objects][..]),
        ("exclude", !config.exclude.is_empty(), &[Folder, Objects]),
        ("poll", config.poll.is_some(), &[Folder, File, Objects]),
        ("certificate", config.certificate.is_some(), &[Syslog]),
        ("key", config.key.is_some(), &[Syslog]),
        ("topics", config.topics.is_some(), &[Kafka]),
        ("group", config.group.is_some(), &[Kafka]),
        ("tls", config.tls.is_some(), &[Kafka]),
        ("stream", config.stream.is_some(), &[Nats]),
        ("consumer", config.consumer.is_some(), &[Nats]),
        ("subject", config.subject.is_some(), &[Nats]),
        ("credentials", config.credentials.is_some(), &[Kafka, Nats, Objects]),
        ("ca_file", config.ca_file.is_some(), &[Kafka, Nats]),
        ("options", config.options.is_some(), &[Kafka, Objects]),
        ("refused_max", config.refused_max.is_some(), &[Folder, File, Objects]),
        ("format", config.format.is_some(), &[Folder, File, Syslog, Kafka, Nats, Objects]),
        ("columns", !config.columns.is_empty(), &[Folder, File, Syslog, Kafka, Nats, Objects]),
        ("time_zone", config.time_zone.is_some(), &[Folder, File, Syslog, Kafka, Nats, Objects]),
    ] {
        let own: Vec<&str> = kinds.iter().map(|kind| kind.key()).collect();
        ensure!(
            !is_there || kinds.contains(&kind),
            "has {} and {key}, which is for {}; leave {key} out",
            kind.key(),
            own.join(" and ")
        );
    }
    Ok(())
}

fn from(config: &SourceConfig) -> anyhow::Result<From> {
    let kind = Kind::of(config)?;
    check_keys(kind, config)?;
    match kind {
        Kind::Folder => {
            let folder = config.folder.as_deref().unwrap_or(Path::new(""));
            let which = Which::Matching(globs(config)?);
            Ok(From::Files(Files { root: whole("folder", folder)?, which, poll: poll(config)? }))
        }
        Kind::File => {
            let file = whole("file", config.file.as_deref().unwrap_or(Path::new("")))?;
            let parts = file.parent().zip(file.file_name().and_then(|name| name.to_str()));
            let (root, name) = parts.context("file names no file; write its whole path")?;
            let which = Which::Named(name.to_owned());
            Ok(From::Files(Files { root: root.to_owned(), which, poll: poll(config)? }))
        }
        Kind::Syslog => Ok(From::Syslog(syslog(config.syslog.as_deref().unwrap_or_default(), config)?)),
        Kind::NetFlow => Ok(From::NetFlow(netflow(config.netflow.as_deref().unwrap_or_default())?)),
        Kind::Kafka => Ok(From::Kafka(remote::kafka(config)?)),
        Kind::Nats => Ok(From::Nats(remote::nats(config)?)),
        Kind::Objects => Ok(From::Objects(remote::objects(config)?)),
    }
}

fn globs(config: &SourceConfig) -> anyhow::Result<Globs> {
    let include = config.include.as_deref().map(|globs| glob_set("include", globs)).transpose()?;
    Ok(Globs { include, exclude: glob_set("exclude", &config.exclude)? })
}

/// A path that does not depend on where the server was started.
fn whole(key: &str, path: &Path) -> anyhow::Result<PathBuf> {
    ensure!(
        path.is_absolute(),
        "{key} is '{}'; write the whole path, such as /var/log/zeek",
        escape(&path.display().to_string())
    );
    Ok(path.to_owned())
}

fn poll(config: &SourceConfig) -> anyhow::Result<Option<Duration>> {
    match config.poll {
        None | Some(PollConfig::Switch(false)) => Ok(None),
        Some(PollConfig::Switch(true)) => Ok(Some(POLL_EVERY)),
        Some(PollConfig::Seconds(seconds)) => {
            ensure!(
                (1..=POLL_SECONDS_MAX).contains(&seconds),
                "poll is {seconds}; write true, or seconds from 1 to {POLL_SECONDS_MAX}"
            );
            Ok(Some(Duration::from_secs(seconds)))
        }
    }
}

fn refused_max(written: Option<RefusedMaxConfig>) -> anyhow::Result<RefusedMax> {
    let word = match written {
        None => return Ok(RefusedMax::Percent(REFUSED_PERCENT_MAX)),
        Some(RefusedMaxConfig::Records(records)) => return Ok(RefusedMax::Records(records)),
        Some(RefusedMaxConfig::Word(word)) => word,
    };
    let percent = word.strip_suffix('%').and_then(|percent| percent.trim_end().parse().ok());
    match percent {
        _ if word == "off" => Ok(RefusedMax::Off),
        Some(percent @ 0..=100) => Ok(RefusedMax::Percent(percent)),
        _ => bail!(
            "refused_max is '{}'; write a share such as \"50%\", a number of records, or \"off\"",
            escape(&word)
        ),
    }
}

/// Globs of paths: `*` stays in one folder, `**` goes through any.
fn glob_set(key: &str, globs: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let parsed = GlobBuilder::new(glob).literal_separator(true).build();
        set.add(parsed.with_context(|| {
            format!("{key} has '{}'; write globs such as *.log or **/conn*.log.gz", escape(glob))
        })?);
    }
    set.build().with_context(|| format!("{key} is too much"))
}

fn networks(key: &str, texts: &[String]) -> anyhow::Result<Vec<Network>> {
    let parse = |text: &String| {
        Network::parse(text).with_context(|| {
            format!("{key} has '{}'; write networks as 10.0.0.0/8 or fd00::/8", escape(text))
        })
    };
    texts.iter().map(parse).collect()
}

fn netflow(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.strip_prefix("udp://").and_then(|address| address.parse().ok());
    address.with_context(|| {
        format!(
            "netflow is '{}'; write udp://, an address and a port, such as udp://127.0.0.1:2055",
            escape(url)
        )
    })
}

fn syslog(url: &str, config: &SourceConfig) -> anyhow::Result<Syslog> {
    let told = || {
        format!(
            "syslog is '{}'; write udp://, tcp:// or tls://, an address and a port, such as udp://127.0.0.1:5514",
            escape(url)
        )
    };
    let (scheme, address) = url.split_once("://").with_context(told)?;
    let address = address.parse().ok().with_context(told)?;
    let pair = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            Some(Pair { certificate: whole("certificate", certificate)?, key: whole("key", key)? })
        }
        (None, None) => None,
        _ => bail!("has one of certificate and key; write both"),
    };
    let transport = match (scheme, pair) {
        ("udp", None) => Transport::Udp,
        ("tcp", None) => Transport::Tcp,
        ("tls", Some(pair)) => Transport::Tls(pair),
        ("tls", None) => bail!("listens with tls:// and has no certificate; write certificate and key"),
        ("udp" | "tcp", Some(_)) => bail!("has a certificate, and {scheme}:// does not use it; write tls://"),
        _ => bail!(told()),
    };
    Ok(Syslog { address, transport })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Vec<Source>> {
        #[derive(Deserialize)]
        struct Written {
            sources: Vec<SourceConfig>,
        }
        let written: Written = toml::from_str(text)?;
        let usual = Usual {
            local_networks: LocalNetworks::Unstated,
            keep_special_remotes: false,
            unique_networks: Vec::new(),
            mac_networks: Vec::new(),
        };
        meant(written.sources, &usual)
    }

    #[test]
    fn what_is_written_is_meant() {
        let sources = parse(
            "[[sources]]\nname = 'zeek'\nfolder = '/var/log/zeek'\ninclude = ['**/conn*.log*']\nexclude = ['**/*.tmp']\npoll = 5\n\
             [[sources]]\nname = 'pan'\norganisation = 'Contoso'\nsyslog = 'udp://127.0.0.1:5514'\nformat = 'pan-os'\ntime_zone = 'UTC'\n\
             [[sources]]\nname = 'own'\nfile = '/srv/own.csv'\nrefused_max = 10\ncolumns = { time = 'ts', device = 'host', ip = 'dst' }\n",
        )
        .expect("sound");
        let From::Files(zeek) = &sources[0].from else { panic!("files") };
        assert_eq!(
            (zeek.root.as_path(), zeek.poll),
            (Path::new("/var/log/zeek"), Some(Duration::from_secs(5)))
        );
        let Which::Matching(globs) = &zeek.which else { panic!("matching") };
        for (path, included) in [
            ("conn.log", true),
            ("2031-03-04/conn.10.log.gz", true),
            ("dns.log", false),
            ("conn.log.d/x", false),
        ] {
            assert_eq!(globs.take(path), included, "{path}");
        }
        assert!(!globs.take("a/conn.log.tmp"));
        assert_eq!(sources[0].refused_max, RefusedMax::Percent(95));
        let From::Syslog(pan) = &sources[1].from else { panic!("syslog") };
        assert_eq!((pan.address.port(), &pan.transport), (5514, &Transport::Udp));
        assert_eq!(sources[1].organisation.as_deref(), Some("Contoso"));
        assert_eq!(sources[2].refused_max, RefusedMax::Records(10));
        assert_eq!(sources[2].formats.columns.time, "ts");
        assert!(
            matches!(&sources[2].from, From::Files(Files { which: Which::Named(name), .. }) if name == "own.csv")
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        for (text, says) in [
            ("folder = '/a'\nfile = '/b'", "exactly one of folder, file, syslog"),
            ("", "exactly one of folder"),
            ("folder = 'logs'", "the whole path"),
            ("folder = '/a'\ninclude = ['[']", "include has '['"),
            ("folder = '/a'\npoll = 0", "poll is 0"),
            ("folder = '/a'\nrefused_max = '101%'", "refused_max is '101%'"),
            ("folder = '/a'\nrefused_max = 'some'", "write a share such as"),
            ("folder = '/a'\nformat = 'evtx'", "format: type one of"),
            ("folder = '/a'\ntime_zone = 'Zurich'", "time_zone 'Zurich' is no time zone"),
            ("folder = '/a'\nlocal_networks = ['10/8']", "local_networks has '10/8'"),
            ("folder = '/a'\nmac_networks = ['10/8']", "mac_networks has '10/8'"),
            ("folder = '/a'\ncolumns = { when = 'ts' }", "'when' is no key"),
            ("folder = '/a'\ncertificate = '/c'", "has folder and certificate, which is for syslog"),
            ("file = '/a/b'\ninclude = ['*']", "has file and include, which is for folder and objects"),
            ("syslog = '127.0.0.1:514'", "write udp://"),
            ("syslog = 'udp://localhost:514'", "write udp://"),
            ("syslog = 'tls://127.0.0.1:6514'", "has no certificate"),
            ("syslog = 'tcp://127.0.0.1:514'\npoll = true", "has syslog and poll"),
            ("netflow = '127.0.0.1:2055'", "write udp://"),
            ("kafka = []\ntopics = ['a']", "kafka names no broker"),
            ("kafka = ['a']\ntopics = ['a']", "kafka has 'a'; write a host and a port"),
            ("kafka = ['a:9092']", "needs topics"),
            ("kafka = ['a:9092']\ntopics = ['a']\noptions = { 'group.id' = 'x' }", "options has group.id"),
            ("kafka = ['a:9092']\ntopics = ['a']\nca_file = '/c'", "tls = true"),
            (
                "kafka = ['a:9092']\ntopics = ['a']\ntls = true\noptions = { 'ssl.ca.location' = '/c' }",
                "leave it out",
            ),
            (
                "kafka = ['a:9092']\ntopics = ['a']\noptions = { 'sasl.password' = 'x' }",
                "options has sasl.password",
            ),
            (
                "kafka = ['a:9092']\ntopics = ['a']\noptions = { 'sasl.mechanisms' = 'PLAIN' }",
                "needs credentials",
            ),
            ("kafka = ['a:9092']\ntopics = ['a']\ncredentials = 'c'", "the whole path"),
            ("kafka = ['a:9092']\ntopics = ['a']\nstream = 'a'", "has kafka and stream, which is for nats"),
            ("nats = ['nats://a']", "needs stream"),
            ("nats = ['http://a']\nstream = 'a'", "nats has 'http://a'"),
            ("nats = ['nats://a']\nstream = 'a.b'", "stream is 'a.b'"),
            ("objects = 'ftp://a'", "objects is 'ftp://a'"),
            ("objects = 's3://a'\noptions = { regoin = 'x' }", "options has regoin"),
            ("objects = 's3://a'\npoll = true", "has objects and poll = true"),
            (
                "kafka = ['a:9092']\ntopics = ['a']\nrefused_max = 3",
                "has kafka and refused_max, which is for folder",
            ),
            ("nats = ['nats://a']\nstream = 'a'\nrefused_max = 'off'", "has nats and refused_max"),
            ("syslog = 'udp://127.0.0.1:514'\nrefused_max = '5%'", "has syslog and refused_max"),
            ("netflow = 'udp://127.0.0.1:2055'\nrefused_max = 3", "has netflow and refused_max"),
            ("netflow = 'udp://127.0.0.1:2055'\nformat = 'csv'", "has netflow and format"),
            ("netflow = 'udp://127.0.0.1:2055'\ncolumns = { ip = 'dst' }", "has netflow and columns"),
            ("netflow = 'udp://127.0.0.1:2055'\ntime_zone = 'UTC'", "has netflow and time_zone"),
            ("folder = '/a'\nfoldr = '/b'", "unknown field `foldr`"),
        ] {
            let error =
                format!("{:#}", parse(&format!("[[sources]]\nname = 'x'\n{text}\n")).expect_err(text));
            assert!(error.contains(says), "{error:?} lacks {says:?}");
        }
        let one = "[[sources]]\nname = 'x'\nfolder = '/a'\n";
        let error = format!("{:#}", parse(&one.repeat(2)).expect_err("twice"));
        assert!(error.contains("name of another one, 'x'"), "{error}");
    }

    #[test]
    fn two_sources_are_not_one_reader() {
        let written = |one: &str, other: &str| {
            parse(&format!("[[sources]]\nname = 'a'\n{one}\n[[sources]]\nname = 'b'\n{other}\n"))
        };
        let stream = "nats = ['nats://a', 'nats://b']\nstream = 'edr'";
        let topics = "kafka = ['a:9092', 'b:9092']\ntopics = ['edr', 'dns']";
        for (one, other, says) in [
            (
                stream,
                "nats = ['nats://b']\nstream = 'edr'\nsubject = 'b.>'",
                "'a' would share messages, each of which one of them would get",
            ),
            (stream, stream, "give it a consumer of its own"),
            (topics, "kafka = ['b:9092']\ntopics = ['dns']", "give it a group of its own"),
        ] {
            let error = format!("{:#}", written(one, other).expect_err(other));
            assert!(error.contains("number 2 ('b')") && error.contains(says), "{error:?} lacks {says:?}");
        }
        for (one, other) in [
            (stream, "nats = ['nats://c']\nstream = 'edr'"),
            (stream, "nats = ['nats://b']\nstream = 'edr'\nconsumer = 'b'"),
            (topics, "kafka = ['b:9092']\ntopics = ['dhcp']"),
            (topics, "kafka = ['b:9092']\ntopics = ['dns']\ngroup = 'b'"),
        ] {
            written(one, other).expect(other);
        }
    }

    #[test]
    fn when_too_much_is_refused() {
        for (most, records, refused, expected) in [
            (RefusedMax::Percent(95), 99, 99, false),
            (RefusedMax::Percent(95), 100, 95, false),
            (RefusedMax::Percent(95), 100, 96, true),
            (RefusedMax::Percent(100), 1_000, 1_000, false),
            (RefusedMax::Records(3), 3, 3, false),
            (RefusedMax::Records(3), 4, 4, true),
            (RefusedMax::Off, 1_000, 1_000, false),
        ] {
            assert_eq!(most.is_exceeded(records, refused), expected, "{most:?} {records} {refused}");
        }
    }
}
