//! The settings file: `Config` is what is written in it (TOML), [`Settings`] is what is meant, checked and with
//! defaults. Refuses to hold: what the command line says (it wins, command by command) and anything that an
//! organisation owns (retention lives in the store).

use std::net::{AddrParseError, IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use index::Options;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sighting::{LocalNetworks, Network};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::exit::{Exit, ExitWith as _, Failure};
use crate::house::shown;
use crate::issuers::{self, Issuer, IssuerConfig};
use crate::pair::Pair;
use crate::sources::{self, Source, SourceConfig};

/// The most threads that decode: each holds buffers of megabytes, and one thread reads for all of them.
const INGEST_THREADS_MAX: usize = 256;
/// How old a signing key becomes unless told otherwise, and at most.
const SIGNING_KEY_DAYS: u32 = 90;
const SIGNING_KEY_DAYS_MAX: u32 = 3_650;
const MEGABYTE: u64 = 1_000_000;
/// How far the operator's port lies above the callers'.
const OPERATOR_PORT_ABOVE: u16 = 1_000;
/// Where callers come unless another address is named.
pub(crate) const USUAL_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
/// Where the operator's machines come then.
pub(crate) const USUAL_OPERATOR_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), USUAL_LISTEN.port() + OPERATOR_PORT_ABOVE);

/// The settings file as written. Every key is optional; one that is not listed here is refused.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// The data folder. `--data-dir` and `SEENBY_DATA` win over it.
    data_dir: Option<PathBuf>,
    /// The file of the key under which private keys are encrypted in the data folder. `SEENBY_KEY_FILE` wins over it.
    key_file: Option<PathBuf>,
    /// After how many days another signing key is made, from 1 to 3,650; unset, 90.
    signing_key_days: Option<u32>,
    /// How much memory a process with the data folder takes, in megabytes (10^6 bytes); page cache is not counted.
    memory_mb: Option<u64>,
    /// `[serve]`
    serve: ServeConfig,
    /// `[tls]`
    tls: TlsConfig,
    /// `[api]`
    api: ApiConfig,
    /// `[[issuers]]`
    issuers: Vec<IssuerConfig>,
    /// `[outgoing]`
    outgoing: OutgoingConfig,
    /// `[ingest]`
    ingest: IngestConfig,
    /// `[[sources]]`
    sources: Vec<SourceConfig>,
    /// `[log]`
    log: LogConfig,
    /// `[[endpoints]]`
    endpoints: Vec<EndpointConfig>,
}

/// How the server listens.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct ServeConfig {
    /// Address and port of `seenby serve`; only a loopback address may stand here, another must be given with
    /// `--listen`, where whoever types it sees it.
    #[serde(deserialize_with = "listen")]
    listen: SocketAddr,
    /// Address and port of the operator's listener, with `/metrics`, the probes and administration in plain HTTP, or `none`; a
    /// loopback address, as above (`--operator-listen` takes any).
    operator_listen: OperatorListen,
    /// Every connection begins with a header of the PROXY protocol, version 2, from one of `api.trusted_proxies`.
    proxy_protocol: bool,
}

/// The certificate of `seenby serve`. Without it, the one in the data folder's `tls/` if `seenby tls init` made one there.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
struct TlsConfig {
    /// The chain as PEM, the server's own certificate first.
    certificate: Option<PathBuf>,
    /// Its private key as PEM.
    key: Option<PathBuf>,
}

/// An address and a port; what is neither is told what to write.
fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "'{}' is no address with a port; write it as 127.0.0.1:8787 or [::1]:8787",
            sighting::escape(&text)
        ))
    })
}

/// Where the operator's machines ask for metrics and administration.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum OperatorListen {
    /// On loopback, a thousand ports above the callers'.
    #[default]
    Beside,
    /// At an address.
    At(SocketAddr),
    /// Nowhere.
    Nowhere,
}

impl OperatorListen {
    /// The address, for callers who come to another. A free port (0) goes with a free port.
    pub(crate) fn address(self, callers: SocketAddr) -> Option<SocketAddr> {
        match self {
            OperatorListen::At(address) => Some(address),
            OperatorListen::Nowhere => None,
            OperatorListen::Beside => {
                let ip = callers.ip();
                let ip = if ip.is_loopback() { ip } else { Ipv4Addr::LOCALHOST.into() };
                let port = match callers.port() {
                    0 => 0,
                    port => {
                        port.checked_add(OPERATOR_PORT_ABOVE).unwrap_or_else(|| port - OPERATOR_PORT_ABOVE)
                    }
                };
                Some(SocketAddr::new(ip, port))
            }
        }
    }
}

impl FromStr for OperatorListen {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<OperatorListen, AddrParseError> {
        if text == "none" { Ok(OperatorListen::Nowhere) } else { text.parse().map(OperatorListen::At) }
    }
}

impl<'de> Deserialize<'de> for OperatorListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OperatorListen, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            D::Error::custom(format!(
                "'{}' is no address with a port; write it as 127.0.0.1:9787 or [::1]:9787, or write none",
                sighting::escape(&text)
            ))
        })
    }
}

impl Default for ServeConfig {
    fn default() -> ServeConfig {
        ServeConfig { listen: USUAL_LISTEN, operator_listen: OperatorListen::Beside, proxy_protocol: false }
    }
}

/// How the contract is answered.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct ApiConfig {
    /// What an address that was never seen answers: `not_found` (404) or `zero` (200 with zeros and nulls).
    unknown_ip: UnknownIp,
    /// Whether answers carry `orgPrevalence`, the same number as text, which old clients read.
    legacy_prevalence: bool,
    /// Which first connection is told: the `window`'s, or that of all kept data (`retention`).
    first_seen: FirstSeen,
    /// The URL that callers know this server by, without a path; without it, `https://` (without TLS `http://`) and the
    /// address listened on. It is the issuer of the tokens.
    public_url: Option<String>,
    /// Networks whose `X-Forwarded-Proto` and `X-Forwarded-Host` headers are believed, and who may speak the PROXY protocol.
    trusted_proxies: Vec<String>,
    /// Calls that one application may make in 60 seconds; 0 takes the limit away.
    calls_per_minute: u32,
    /// Calls that one application may make in 3,600 seconds; 0 takes the limit away.
    calls_per_hour: u32,
    /// Further resources (audiences) for which the built-in issuer signs tokens.
    extra_resources: Vec<String>,
    /// Whether the host names of the original service are endpoints too.
    preset_endpoints: bool,
}

impl Default for ApiConfig {
    fn default() -> ApiConfig {
        ApiConfig {
            unknown_ip: UnknownIp::NotFound,
            legacy_prevalence: true,
            first_seen: FirstSeen::Window,
            public_url: None,
            trusted_proxies: Vec::new(),
            calls_per_minute: 100,
            calls_per_hour: 1_500,
            extra_resources: Vec::new(),
            preset_endpoints: true,
        }
    }
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum UnknownIp {
    NotFound,
    Zero,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum FirstSeen {
    Window,
    Retention,
}

/// A host under which callers may call the server.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct EndpointConfig {
    /// A name or an address; without a port any is meant.
    host: String,
    /// The cloud that it belongs to, in a few words.
    cloud: Option<String>,
    /// Its region, in a few words.
    region: Option<String>,
    /// The URL of the sign-in that goes with it.
    authority: Option<String>,
    /// The resources whose tokens it takes; without it, every one that this server grants.
    audiences: Option<Vec<String>>,
}

/// What this server may ask of others.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
struct OutgoingConfig {
    /// Private networks that requests may go to; public addresses need not be listed.
    allowed_networks: Vec<String>,
}

/// How logs are taken in.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
struct IngestConfig {
    /// The networks whose addresses are ours, for sensors that see both directions (`--local-networks` wins).
    local_networks: Option<Vec<String>>,
    /// The networks in which an address is one machine at a time (`--unique-networks` wins; those of the organisation count too).
    unique_networks: Vec<String>,
    /// Addresses behind which there are other devices (those of the organisation count too).
    nat_gateways: Vec<String>,
    /// The networks in which sensors see the hardware address of the device itself (`--mac-networks` wins).
    mac_networks: Vec<String>,
    /// Count loopback, link-local, multicast, broadcast and unspecified remotes too.
    keep_special_remotes: bool,
    /// Threads that decode, from 1 to 256; unset, one for every processor.
    threads: Option<usize>,
}

/// What the server writes to stderr.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
struct LogConfig {
    /// `text` or `json`.
    format: LogFormat,
    /// Least level (usually `info`), or a filter such as `info,seenby_api=debug`; the environment variable `SEENBY_LOG` wins.
    level: Option<String>,
}

/// How a line of the log looks.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings as meant.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The data folder, if the file names one.
    pub(crate) data_dir: Option<PathBuf>,
    /// The file of the key under which private keys are encrypted, if one is named.
    pub(crate) key_file: Option<PathBuf>,
    /// How the store uses memory.
    pub(crate) store: Options,
    /// After how long another signing key is made.
    pub(crate) signing_key_lifetime: Duration,
    /// Where the server listens unless told otherwise; a loopback address.
    pub(crate) listen: SocketAddr,
    /// Where the operator's machines ask; a loopback address, if any.
    pub(crate) operator_listen: OperatorListen,
    /// Connections begin with a proxy's word.
    pub(crate) proxy_protocol: bool,
    /// The certificate with its key, if the file names them.
    pub(crate) tls: Option<Pair>,
    /// How the contract is answered.
    pub(crate) api: Api,
    /// Whose tokens are believed beside those of the built-in issuer.
    pub(crate) issuers: Vec<Issuer>,
    /// Private networks that requests of this server may go to.
    pub(crate) allowed_networks: Vec<Network>,
    /// Which addresses are ours.
    pub(crate) local_networks: LocalNetworks,
    /// Where an address is one machine at a time.
    pub(crate) unique_networks: Vec<Network>,
    /// Where sensors see the hardware address of the device itself.
    pub(crate) mac_networks: Vec<Network>,
    /// Count special remotes too.
    pub(crate) keep_special_remotes: bool,
    /// Threads that decode, at least 1.
    pub(crate) ingest_threads: usize,
    /// What a server reads by itself.
    pub(crate) sources: Vec<Source>,
    /// How a line of the log looks.
    pub(crate) log_format: LogFormat,
    /// What is logged, if the file says so.
    pub(crate) log_filter: Option<String>,
}

/// How the contract is answered, as meant.
#[derive(Debug)]
pub(crate) struct Api {
    /// An address that was never seen answers 200 with zeros.
    pub(crate) unknown_is_zero: bool,
    /// Answers carry `orgPrevalence`.
    pub(crate) legacy_prevalence: bool,
    /// Which first connection is told.
    pub(crate) first_seen: sighting::FirstSeen,
    /// The URL that callers know the server by.
    pub(crate) public_url: Option<String>,
    /// Whose forwarded headers are believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Calls in 60 seconds; `None` is no limit.
    pub(crate) calls_per_minute: Option<u32>,
    /// Calls in 3,600 seconds; `None` is no limit.
    pub(crate) calls_per_hour: Option<u32>,
    /// Further audiences.
    pub(crate) extra_resources: Vec<String>,
    /// The hosts that callers may call beside the presets.
    pub(crate) endpoints: Vec<api::Endpoint>,
    /// Whether the presets are there.
    pub(crate) preset_endpoints: bool,
}

impl Settings {
    /// Reads the file that is named, else the one in the usual place if it is there, else the defaults.
    pub(crate) fn load(named: Option<&Path>) -> Result<Settings, Failure> {
        let usual = usual_file().filter(|path| path.exists());
        let Some(path) = named.map(Path::to_owned).or(usual) else {
            return Settings::parse("").exit_with(Exit::WrongCommandLine);
        };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the settings file {} cannot be read", shown(&path)))
            .exit_with(Exit::WrongCommandLine)?;
        Settings::parse(&text)
            .with_context(|| format!("the settings file {} makes no sense", shown(&path)))
            .exit_with(Exit::WrongCommandLine)
    }

    fn parse(text: &str) -> anyhow::Result<Settings> {
        let config: Config =
            toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))?;
        let ServeConfig { listen, operator_listen, proxy_protocol } = config.serve;
        let operators = operator_listen.address(listen);
        for (key, flag, address) in
            [("listen", "--listen", Some(listen)), ("operator_listen", "--operator-listen", operators)]
        {
            let Some(address) = address.filter(|address| !address.ip().is_loopback()) else { continue };
            anyhow::bail!(
                "serve.{key} is {address}, which is not a loopback address; start the server with `{flag} {address}` to \
                 listen there"
            );
        }
        anyhow::ensure!(
            !proxy_protocol || !config.api.trusted_proxies.is_empty(),
            "serve.proxy_protocol is true, and api.trusted_proxies names nobody who may speak it; write the networks of \
             your proxies there"
        );
        let tls = match (config.tls.certificate, config.tls.key) {
            (Some(certificate), Some(key)) => Some(Pair { certificate, key }),
            (None, None) => None,
            _ => anyhow::bail!("[tls] has one of certificate and key; write both, or neither"),
        };
        let local_networks = match &config.ingest.local_networks {
            None => LocalNetworks::Unstated,
            Some(texts) => LocalNetworks::Listed(networks("ingest.local_networks", texts)?),
        };
        let usual = sources::Usual {
            local_networks,
            keep_special_remotes: config.ingest.keep_special_remotes,
            unique_networks: networks("ingest.unique_networks", &config.ingest.unique_networks)?,
            mac_networks: networks("ingest.mac_networks", &config.ingest.mac_networks)?,
        };
        let nat_gateways = networks("ingest.nat_gateways", &config.ingest.nat_gateways)?;
        let threads = config.ingest.threads.unwrap_or_else(|| processors().min(INGEST_THREADS_MAX));
        anyhow::ensure!(
            (1..=INGEST_THREADS_MAX).contains(&threads),
            "ingest.threads is {threads}; write a number from 1 to {INGEST_THREADS_MAX}, or leave it out to use every \
             processor"
        );
        let days = config.signing_key_days.unwrap_or(SIGNING_KEY_DAYS);
        anyhow::ensure!(
            (1..=SIGNING_KEY_DAYS_MAX).contains(&days),
            "signing_key_days is {days}; write a number from 1 to {SIGNING_KEY_DAYS_MAX}, or leave it out for \
             {SIGNING_KEY_DAYS}"
        );
        let memory =
            config.memory_mb.map_or(Options::USUAL_BYTES, |megabytes| megabytes.saturating_mul(MEGABYTE));
        anyhow::ensure!(
            memory >= Options::LEAST_BYTES,
            "memory_mb is too little; write {} or more, or leave it out for {}",
            Options::LEAST_BYTES / MEGABYTE,
            Options::USUAL_BYTES / MEGABYTE
        );
        Ok(Settings {
            data_dir: config.data_dir,
            store: Options { nat_gateways, ..Options::within(memory) },
            key_file: set("SEENBY_KEY_FILE").or(config.key_file),
            signing_key_lifetime: Duration::from_hours(24 * u64::from(days)),
            listen,
            operator_listen,
            proxy_protocol,
            tls,
            api: Api::from_config(config.api, config.endpoints)?,
            issuers: issuers::meant(config.issuers)?,
            allowed_networks: networks("outgoing.allowed_networks", &config.outgoing.allowed_networks)?,
            sources: sources::meant(config.sources, &usual)?,
            local_networks: usual.local_networks,
            unique_networks: usual.unique_networks,
            mac_networks: usual.mac_networks,
            keep_special_remotes: usual.keep_special_remotes,
            ingest_threads: threads,
            log_format: config.log.format,
            log_filter: config.log.level.map(log_filter).transpose()?,
        })
    }
}

impl Api {
    fn from_config(config: ApiConfig, endpoints: Vec<EndpointConfig>) -> anyhow::Result<Api> {
        let limit = |calls: u32| (calls > 0).then_some(calls);
        Ok(Api {
            unknown_is_zero: config.unknown_ip == UnknownIp::Zero,
            legacy_prevalence: config.legacy_prevalence,
            first_seen: match config.first_seen {
                FirstSeen::Window => sighting::FirstSeen::InWindow,
                FirstSeen::Retention => sighting::FirstSeen::InKept,
            },
            public_url: config.public_url.as_deref().map(public_url).transpose()?,
            trusted_proxies: networks("api.trusted_proxies", &config.trusted_proxies)?,
            calls_per_minute: limit(config.calls_per_minute),
            calls_per_hour: limit(config.calls_per_hour),
            extra_resources: config.extra_resources,
            endpoints: distinct(endpoints.into_iter().map(endpoint).collect::<anyhow::Result<_>>()?)?,
            preset_endpoints: config.preset_endpoints,
        })
    }
}

/// The most characters of a cloud's or a region's name: they stand in a table.
const SHORT_CHARS_MAX: usize = 40;

fn endpoint(config: EndpointConfig) -> anyhow::Result<api::Endpoint> {
    let EndpointConfig { host, cloud, region, authority, audiences } = config;
    let shown = sighting::escape(&host).into_owned();
    let mut endpoint = api::Endpoint::new(&host).with_context(|| format!("endpoints.host is '{shown}'"))?;
    if let Some(cloud) = cloud {
        endpoint = endpoint.in_cloud(short("cloud", &shown, cloud)?);
    }
    if let Some(region) = region {
        endpoint = endpoint.in_region(short("region", &shown, region)?);
    }
    if let Some(authority) = authority {
        let host = authority.strip_prefix("https://").or_else(|| authority.strip_prefix("http://"));
        let is_sound =
            host.is_some_and(|host| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic()));
        anyhow::ensure!(
            is_sound,
            "the authority of endpoint '{shown}' is '{}'; write the URL of its sign-in, such as https://login.example.org",
            sighting::escape(&authority)
        );
        endpoint = endpoint.signed_in_at(authority);
    }
    let Some(audiences) = audiences else { return Ok(endpoint) };
    anyhow::ensure!(
        !audiences.is_empty() && audiences.iter().all(|it| !it.is_empty()),
        "the audiences of endpoint '{shown}' are empty; name those whose tokens it takes, or leave the key out for every one"
    );
    Ok(endpoint.with_audiences(audiences))
}

fn short(key: &str, host: &str, text: String) -> anyhow::Result<String> {
    anyhow::ensure!(
        (1..=SHORT_CHARS_MAX).contains(&text.chars().count()),
        "the {key} of endpoint '{host}' must have 1 to {SHORT_CHARS_MAX} characters"
    );
    Ok(text)
}

/// Two entries for one host could say two things.
fn distinct(endpoints: Vec<api::Endpoint>) -> anyhow::Result<Vec<api::Endpoint>> {
    for (index, endpoint) in endpoints.iter().enumerate() {
        let is_repeated = endpoints[..index].iter().any(|other| other.is_same_host(endpoint));
        anyhow::ensure!(!is_repeated, "[[endpoints]] has '{endpoint}' twice; write it once");
    }
    Ok(endpoints)
}

/// A URL without a path.
fn public_url(url: &str) -> anyhow::Result<String> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_sound = host.is_some_and(|host| api::Endpoint::new(host.trim_end_matches('/')).is_ok());
    anyhow::ensure!(
        is_sound,
        "api.public_url is '{}'; write it as https://seenby.example.org, without a path",
        sighting::escape(url)
    );
    Ok(url.trim_end_matches('/').to_owned())
}

/// A filter of the log. A word alone must be a level: as the name of a part of the program, which the filter's own
/// parser takes it for, it would silence everything else.
fn log_filter(text: String) -> anyhow::Result<String> {
    let mut words = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    let is_sound = words.all(|word| word.parse::<LevelFilter>().is_ok()) && EnvFilter::try_new(&text).is_ok();
    anyhow::ensure!(
        is_sound,
        "log.level is '{}'; write error, warn, info, debug or trace, or a filter such as info,seenby_api=debug",
        sighting::escape(&text)
    );
    Ok(text)
}

fn networks(key: &str, texts: &[String]) -> anyhow::Result<Vec<Network>> {
    let parse = |text: &String| {
        Network::parse(text).with_context(|| {
            format!("{key} has '{}'; write networks as 10.0.0.0/8 or fd00::/8", sighting::escape(text))
        })
    };
    texts.iter().map(parse).collect()
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The path that a variable of the environment holds, if it holds one.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The data folder of a machine on which nobody said where it is: root's under `/var/lib`, a user's where the
/// platform keeps a user's data.
pub(crate) fn usual_data_dir() -> Option<PathBuf> {
    if rustix::process::getuid().is_root() {
        return Some(PathBuf::from("/var/lib/seenby"));
    }
    let base = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(base.join("seenby"))
}

/// The settings file of a machine on which nobody named one.
fn usual_file() -> Option<PathBuf> {
    if rustix::process::getuid().is_root() {
        return Some(PathBuf::from("/etc/seenby/seenby.toml"));
    }
    let base = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(base.join("seenby/seenby.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, says: &[&str]) {
        let error = format!("{:#}", Settings::parse(text).expect_err("refused"));
        for part in says {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let settings = Settings::parse("").expect("the defaults");
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8787");
        assert_eq!(settings.api.calls_per_minute, Some(100));
        assert_eq!(settings.api.calls_per_hour, Some(1_500));
        assert!(settings.api.legacy_prevalence && !settings.api.unknown_is_zero);
        assert_eq!(settings.local_networks, LocalNetworks::Unstated);
    }

    #[test]
    fn what_is_written_is_meant() {
        let settings = Settings::parse(
            "data_dir = '/srv/seenby'\nkey_file = '/etc/k'\nsigning_key_days = 7\nmemory_mb = 512\n[api]\nunknown_ip = 'zero'\nfirst_seen = 'retention'\ncalls_per_hour = 0\n\
             [ingest]\nlocal_networks = ['10.0.0.0/8']\n[log]\nformat = 'json'\n",
        )
        .expect("sound");
        assert_eq!(settings.data_dir.as_deref(), Some(Path::new("/srv/seenby")));
        assert_eq!(settings.key_file.as_deref(), Some(Path::new("/etc/k")));
        assert_eq!(settings.signing_key_lifetime, Duration::from_hours(168));
        assert_eq!(settings.store.live_rows_max, 2_000_000);
        assert!(settings.api.unknown_is_zero && settings.api.calls_per_hour.is_none());
        assert_eq!(settings.api.first_seen, sighting::FirstSeen::InKept);
        assert!(matches!(settings.local_networks, LocalNetworks::Listed(networks) if networks.len() == 1));
        assert_eq!(settings.log_format, LogFormat::Json);
    }

    #[test]
    fn the_operators_listener_is_beside_the_callers_on_loopback() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (written, callers, expected) in [
            ("", "127.0.0.1:8787", Some("127.0.0.1:9787")),
            ("", "0.0.0.0:8787", Some("127.0.0.1:9787")),
            ("", "192.0.2.7:443", Some("127.0.0.1:1443")),
            ("", "[::1]:8787", Some("[::1]:9787")),
            ("", "[::]:0", Some("127.0.0.1:0")),
            ("", "127.0.0.1:65000", Some("127.0.0.1:64000")),
            ("operator_listen = '[::1]:7'", "127.0.0.1:8787", Some("[::1]:7")),
            ("operator_listen = 'none'", "127.0.0.1:8787", None),
        ] {
            let settings = Settings::parse(&format!("[serve]\n{written}")).expect("good settings");
            let found = settings.operator_listen.address(address(callers));
            assert_eq!(found, expected.map(address), "{written} {callers}");
        }
        check_refused("[serve]\noperator_listen = 'no'", &["'no' is no address", "or write none", "line 2"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        check_refused(
            "data_dri = 'x'",
            &["unknown field `data_dri`", "expected one of `data_dir`", "line 1"],
        );
        check_refused("[api]\nunknown_ip = 'nil'", &["`nil`", "`not_found` or `zero`", "line 2"]);
        check_refused("[serve]\nlisten = '0.0.0.0:80'", &["--listen 0.0.0.0:80"]);
        check_refused(
            "[serve]\noperator_listen = '[::]:9100'",
            &["serve.operator_listen", "--operator-listen [::]:9100"],
        );
        check_refused("[serve]\nproxy_protocol = true", &["api.trusted_proxies"]);
        check_refused("[tls]\ncertificate = 'a.pem'", &["[tls]", "write both"]);
        check_refused("[ingest]\nlocal_networks = ['10/8']", &["ingest.local_networks", "10.0.0.0/8"]);
        check_refused("[api]\npublic_url = 'seenby.example.org'", &["api.public_url", "https://"]);
        check_refused(
            "[api]\npublic_url = 'https://seenby.example.org/x'",
            &["api.public_url", "without a path"],
        );
        check_refused("[api]\npublic_url = 'https://a b'", &["api.public_url"]);
        check_refused("[outgoing]\nallowed_networks = ['10/8']", &["outgoing.allowed_networks"]);
        check_refused("[[issuers]]\nkind = 'entra'", &["[[issuers]] number 1", "tenants"]);
        check_refused("[ingest]\nthreads = 0", &["ingest.threads"]);
        check_refused("memory_mb = 127", &["memory_mb", "128 or more", "for 1536"]);
        check_refused("signing_key_days = 0", &["signing_key_days is 0", "1 to 3650", "for 90"]);
    }

    #[test]
    fn endpoints_that_make_no_sense_are_refused() {
        let check = |text: &str, says: &[&str]| check_refused(&format!("[[endpoints]]\n{text}"), says);
        check("region = 'eu'", &["missing field `host`"]);
        check("host = 'https://h.example'", &["endpoints.host is 'https://h.example'", "seenby.example.org"]);
        check("host = '*.example.org'", &["endpoints.host"]);
        check("host = \"a\\u001b\"", &["endpoints.host is 'a\\u{1b}'"]);
        check("host = 'h'\naudiences = []", &["audiences of endpoint 'h'", "leave the key out"]);
        check("host = 'h'\nauthority = 'login.example.org'", &["authority of endpoint 'h'", "https://"]);
        check("host = 'h'\ncloud = ''", &["the cloud of endpoint 'h'", "40"]);
        check("host = 'h'\nregio = 'eu'", &["unknown field `regio`"]);
        check("host = 'h'\n[[endpoints]]\nhost = 'H.'", &["twice"]);
    }

    #[test]
    fn endpoints_are_meant_as_they_are_written() {
        let settings = Settings::parse(
            "[api]\npreset_endpoints = false\n[[endpoints]]\nhost = 'EU.seenby.example'\nregion = 'eu'\n\
             cloud = 'ours'\nauthority = 'https://login.example'\naudiences = ['https://a/']\n\
             [[endpoints]]\nhost = '192.0.2.7:8787'\n",
        )
        .expect("sound");
        assert!(!settings.api.preset_endpoints);
        let [one, two] = &settings.api.endpoints[..] else { panic!("{:?}", settings.api.endpoints) };
        assert_eq!((one.host(), one.region(), one.cloud()), ("eu.seenby.example", Some("eu"), Some("ours")));
        assert_eq!(one.authority(), Some("https://login.example"));
        assert_eq!(one.audiences(), Some(&["https://a".to_owned()][..]));
        assert_eq!((two.host(), two.audiences()), ("192.0.2.7:8787", None));
    }
}
