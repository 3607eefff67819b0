//! `seenby serve`: the HTTP side and the control socket over one data folder, until a signal. Refuses to hold:
//! routes and tokens (the HTTP room), and what the control socket carries.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use sighting::{Book, Directory as _, Store as _};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing_subscriber::EnvFilter;

use super::Context;
use crate::clock;
use crate::control;
use crate::exit::{Exit, ExitWith as _, Failure, Outcome};
use crate::figures;
use crate::hint;
use crate::house::{House, random_uuid, shown};
use crate::issuers::{self, Issuer};
use crate::outgoing;
use crate::pair::{self, Pair};
use crate::random;
use crate::receive::Receiver;
use crate::sealing;
use crate::settings::{LogFormat, OperatorListen, Settings, USUAL_LISTEN, USUAL_OPERATOR_LISTEN};
use crate::sources::{Source, Sources};
use crate::store::{AnyDirectory, AnyStore};
use crate::told::Told;

/// How often sightings outside retention are freed. No answer depends on it.
const RETAIN_EVERY: Duration = Duration::from_secs(3_600);
/// How often granted calls are written down, where there are any: so that with the writing itself a crash forgets those
/// of the last second at most.
const KEEP_GRANTS_EVERY: Duration = Duration::from_millis(800);
/// How often the issuer's keys and tickets are looked after.
const UPKEEP_EVERY: Duration = Duration::from_secs(60);

/// How often keys of outside issuers that are due are asked for; keys that are there are due after an hour.
const FETCH_KEYS_EVERY: Duration = Duration::from_secs(15);
/// Until the data folder is open, in which those of issuers lie that cannot be asked.
const LOOK_FOR_FOLDER_EVERY: Duration = Duration::from_millis(250);

/// Answer GET /api/ips/{ip}/stats over HTTP
///
/// The first line of standard output is the address it listens on, printed once it is ready (before that it answers 503);
/// logs go to standard error. Other commands on the same data folder go through the running server. It speaks TLS with the
/// certificate that is named here or in the settings file, else with the one that `seenby tls init` made.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  seenby serve\n  seenby serve --listen 127.0.0.1:0         a free port\n  seenby serve --listen 0.0.0.0:8787        on every network\n  seenby serve --tls-certificate /etc/ssl/seenby.pem --tls-key /etc/ssl/private/seenby.key"
)]
pub(crate) struct ServeArgs {
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// Certificate chain (PEM), the server's own first; read again when the file changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Speak plain HTTP, whatever certificate there is
    #[arg(long, conflicts_with_all = ["tls_certificate", "tls_key"])]
    no_tls: bool,
    /// The operator's listener: /metrics, the probes and (on loopback) administration, in plain HTTP; 'none' for none. Its URL
    /// is the second line of standard output [default: on loopback, a thousand ports above --listen: 127.0.0.1:9787]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_operator_listen)]
    operator_listen: Option<OperatorListen>,
}

impl ServeArgs {
    /// The certificate to serve with: what was typed, the settings file's, the data folder's.
    fn pair(&self, settings: &Settings, data: &Path) -> Option<Pair> {
        if self.no_tls {
            return None;
        }
        let typed = self.tls_certificate.clone().zip(self.tls_key.clone());
        typed
            .map(|(certificate, key)| Pair { certificate, key })
            .or_else(|| settings.tls.clone())
            .or_else(|| Pair::of_data_folder(data))
    }
}

/// Runs the command.
pub(crate) async fn run(args: ServeArgs, mut context: Context) -> Outcome {
    start_logging(&context.settings, "info")?;
    let path = context.data_dir()?;
    let sealing = sealing::key(&context.settings, &path)?;
    if sealing.is_some() {
        warn_of_open_keys(&path);
    }
    let pair = args.pair(&context.settings, &path);
    let served = pair.map(|pair| pair.open(sealing.clone())).transpose()?;
    let address = args.listen.unwrap_or(context.settings.listen);
    let main = listen(address).await?;
    let operators = args.operator_listen.unwrap_or(context.settings.operator_listen);
    let operators = listen_for_operators(operators, address).await?;
    let tls = served.as_ref().map(|served| served.tls.clone());
    let listeners = api::Listeners { main, tls, operators };
    let stop = Stop::on_signals()?;
    let opening = async {
        // A journal may have to be replayed first: not on a thread that answers.
        let (runtime, options) = (tokio::runtime::Handle::current(), context.settings.store.clone());
        let opened = tokio::task::spawn_blocking(move || runtime.block_on(House::hold(&path, &options)));
        opened.await.context("the data folder was not opened")?
    };
    let server = Server::new(listeners, &context.settings, sealing)?;
    let (url, metrics_url) = (server.url(), server.metrics_url()?);
    if server.is_in_the_clear() {
        tracing::warn!(
            "secrets and tokens come over the network in plain HTTP; make a certificate with `{}`, or name one with --tls-certificate",
            hint::run("tls init").about_none()
        );
    }
    if server.has_no_name() {
        tracing::info!(
            "callers reach this server by its address alone; for a name, set api.public_url, list it under [[endpoints]], or serve a certificate with it"
        );
    }
    if context.settings.issuers.iter().any(Issuer::accepts_defender_tokens) {
        tracing::warn!(
            "accept_defender_tokens is on: whoever has a token for Microsoft's own API may ask here with it, and whoever runs this server may ask there with the tokens that come"
        );
    }
    let following = served.map(|served| {
        served.register(server.state.metrics());
        tokio::spawn(served.follow())
    });
    let ready = || {
        context.output.line(url)?;
        if let Some(url) = metrics_url {
            // Whoever reads the first line and hangs up has what they want: that ends no server.
            let _ = context.output.line(url);
        }
        Ok(())
    };
    server.run(opening, stop, ready).await?;
    if let Some(following) = following {
        following.abort();
    }
    Ok(Exit::Done)
}

/// Private keys that a copy of the data folder gives away, although the operator has a key file against that.
fn warn_of_open_keys(data: &Path) {
    for key in pair::open_keys_of(data) {
        tracing::warn!(
            "there is a key file, and {} lies in the data folder in the clear; `{}` encrypts it if `tls init` made it, another one belongs elsewhere",
            shown(&key),
            hint::run("tls renew").about_none()
        );
    }
}

/// The operator's listener. One that nobody asked for is done without where another program has its place: two servers on one machine,
/// each with an address of its own, would have it at the same one.
async fn listen_for_operators(
    wanted: OperatorListen,
    callers: SocketAddr,
) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = wanted.address(callers) else { return Ok(None) };
    let failure =
        |error: &io::Error| cannot_listen(address, "--operator-listen", USUAL_OPERATOR_LISTEN, error);
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if wanted == OperatorListen::Beside && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(
                "there are no /metrics and no administration over HTTP: {}",
                failure(&error).cause
            );
            Ok(None)
        }
        Err(error) => Err(failure(&error)),
    }
}

/// What serves: it listens from the start, and says that it is not ready until its data folder is open.
pub(crate) struct Server {
    listeners: api::Listeners,
    settings: api::Settings,
    issuers: Arc<[Issuer]>,
    sources: Vec<Source>,
    /// How records are read where their source does not say.
    usual: formats::Settings,
    address: SocketAddr,
    state: api::State<AnyStore, AnyDirectory>,
}

impl Server {
    /// Prepares a server on its listeners.
    pub(crate) fn new(
        listeners: api::Listeners,
        meant: &Settings,
        sealing: Option<api::SealingKey>,
    ) -> Result<Server, Failure> {
        let address = listeners.main.local_addr().context("the listening address is not known")?;
        let machine = api::Machine {
            wall: Arc::new(|| api::Millis(clock::now_millis())),
            steady: Arc::new(|| api::Millis(clock::steady_millis())),
            steady_id: clock::boot().map_or_else(random_uuid, Ok)?,
            entropy: Arc::new(random::fill_often),
            fetch: outgoing::fetch(meant.allowed_networks.clone()),
        };
        let issuers = Arc::from(meant.issuers.clone());
        let usual = formats::Settings {
            local_networks: meant.local_networks.clone(),
            keep_special_remotes: meant.keep_special_remotes,
            unique_networks: meant.unique_networks.clone(),
            mac_networks: meant.mac_networks.clone(),
            ..formats::Settings::default()
        };
        let settings = api::Settings { sealing_key: sealing, ..api_settings(meant)? };
        let state = api::State::starting(settings.clone(), machine);
        let sources = meant.sources.clone();
        Ok(Server { listeners, settings, issuers, sources, usual, address, state })
    }

    /// `http://127.0.0.1:8787`; with TLS it begins with `https`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.listeners.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// `http://127.0.0.1:9787/metrics`, if there is an operator's listener.
    fn metrics_url(&self) -> Result<Option<String>, Failure> {
        let Some(listener) = &self.listeners.operators else { return Ok(None) };
        let address = listener.local_addr().context("the listening address is not known")?;
        Ok(Some(format!("http://{address}/metrics")))
    }

    /// Whether callers on other machines talk to it without TLS. Behind proxies that is their business.
    fn is_in_the_clear(&self) -> bool {
        let is_local = self.address.ip().is_loopback() || !self.settings.trusted_proxies.is_empty();
        self.listeners.tls.is_none() && !is_local
    }

    /// Whether callers of other machines come and no setting says by which name: by any but its address they are refused.
    fn has_no_name(&self) -> bool {
        let is_told = self.settings.public_url.is_some() || !self.settings.endpoints.is_empty();
        !self.address.ip().is_loopback() && self.listeners.tls.is_none() && !is_told
    }

    /// Listens at once, answers questions once the folder is open (then it calls `ready`), and goes on until it is told to
    /// stop; then it finishes what has begun, unless it is told again.
    pub(crate) async fn run(
        self,
        opening: impl Future<Output = Result<House, Failure>>,
        mut stop: Stop,
        ready: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Server { listeners, settings, issuers, sources, usual, address, state } = self;
        // From the start on: the data folder may take longer than they do.
        let believing = [
            tokio::spawn(fetch_keys(state.clone())),
            tokio::spawn(issuers::follow(Arc::clone(&issuers), state.clone())),
        ];
        let (stopping, stopped) = watch::channel(false);
        let mut serving = tokio::spawn(api::serve(listeners, state.clone(), is_told(stopped.clone())));
        let open = tokio::select! {
            house = opening => Some(Open::new(house?, &state, settings.sealing_key.as_ref(), (&sources, usual), stopped).await?),
            signal = stop.signalled() => {
                tracing::info!(signal, "stopping before the data folder was open");
                None
            }
        };
        if let Some(open) = &open {
            let book = open.house.book().await?;
            warn_of_unknown_organisations(&issuers, &book);
            tracing::info!(%address, folder = %shown(&open.house.path), "listening");
            ready()?;
            let signal = stop.signalled().await;
            tracing::info!(signal, "stopping");
        }
        for task in believing {
            task.abort();
        }
        // Nobody listens any more if this fails, which is what it asks for.
        let _ = stopping.send(true);
        let served = tokio::select! {
            served = &mut serving => served.context("the server failed")?,
            signal = stop.signalled() => {
                tracing::warn!(signal, "stopping at once");
                serving.abort();
                Ok(())
            }
        };
        if let Some(open) = open {
            tokio::select! {
                closed = open.close() => closed?,
                signal = stop.signalled() => tracing::warn!(signal, "stopping at once"),
            }
        }
        served.context("the server failed")?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// An open data folder with what works on it beside the HTTP side.
struct Open {
    house: House,
    state: api::State<AnyStore, AnyDirectory>,
    sources: Sources,
    controlled: JoinHandle<()>,
    retaining: JoinHandle<()>,
    keeping: JoinHandle<()>,
    tending: JoinHandle<()>,
}

impl Open {
    async fn new(
        house: House,
        state: &api::State<AnyStore, AnyDirectory>,
        sealing: Option<&api::SealingKey>,
        (sources, usual): (&[Source], formats::Settings),
        stopped: watch::Receiver<bool>,
    ) -> Result<Open, Failure> {
        sealing::check(&*house.book().await?, sealing)?;
        upkeep_once(state, &house.directory).await.exit_with(Exit::Unavailable)?;
        let control = control::Listening::bind(&house.path)
            .with_context(|| format!("the control socket in {} cannot be made", shown(&house.path)))
            .exit_with(Exit::Unavailable)?;
        if let AnyStore::Folder(store) = &house.store {
            figures::register(state.metrics(), store);
        }
        state.recall_grants(&house.directory).await?;
        let told = Told::default();
        told.register(state.metrics());
        state.set_intake(Receiver::open(&house, usual, told.clone())?);
        state.set_ready(Arc::new(house.store.clone()), Arc::new(house.directory.clone()));
        let controlled = tokio::spawn({
            let served = control::Served {
                store: house.store.clone(),
                directory: house.directory.clone(),
                state: state.clone(),
            };
            let folder = house.path.clone();
            async move { control::serve(control, &folder, served, stopped).await }
        });
        let retaining = tokio::spawn(retain(house.store.clone(), house.directory.clone()));
        let keeping = tokio::spawn(keep_grants(state.clone()));
        let tending = tokio::spawn(tend(state.clone(), house.directory.clone()));
        let sources = Sources::start(sources, &house.store, &house.directory, &house.path, sealing)?;
        told.follow(sources.statuses());
        Ok(Open { house, state: state.clone(), sources, controlled, retaining, keeping, tending })
    }

    /// Once the HTTP side has ended. The control socket has been told by the same signal.
    async fn close(self) -> Result<(), Failure> {
        self.retaining.abort();
        self.keeping.abort();
        self.tending.abort();
        let sources = self.sources;
        tokio::task::spawn_blocking(move || sources.stop()).await.context("the sources failed")?;
        self.controlled.await.context("the control socket failed")?;
        // No call is granted any more.
        if let Err(error) = keep_grants_once(&self.state).await {
            tracing::error!(%error, "the last granted calls were not written down");
        }
        self.state.keep_issuer_keys().await;
        Ok(())
    }
}

/// Ready when the server is told to stop.
async fn is_told(mut stopped: watch::Receiver<bool>) {
    // An error means that nobody is left who could tell: that is the end as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What ends a server.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// SIGINT and SIGTERM, from now on.
    pub(crate) fn on_signals() -> Result<Stop, Failure> {
        let listen =
            |kind| signal(kind).context("signals cannot be listened to").exit_with(Exit::Unavailable);
        Ok(Stop { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The next one.
    async fn signalled(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Binds where callers come.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| cannot_listen(address, "--listen", USUAL_LISTEN, &error))
}

/// Says what to do with which option, and what it usually is.
fn cannot_listen(address: SocketAddr, option: &str, usual: SocketAddr, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program listens there: stop it, or take a free port with {option} 127.0.0.1:0")
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 are root's: take a higher one, such as {option} {usual}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine does not have that address: take one that it has, such as {option} {usual}")
        }
        _ => format!("take another address with {option}"),
    };
    Failure::unavailable(format!("cannot listen on {address} ({error}); {advice}"))
}

/// Files that are not connections: segments, journals, standard streams, the control socket.
const FILES_RESERVED: u64 = 640;

/// As many connections as are usual, or as the system gives files for.
fn connections_max() -> usize {
    let usual = api::Settings::default().connections_max;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(FILES_RESERVED)).map_or(usual, |files| files.clamp(16, usual))
}

/// The settings of the HTTP side.
pub(super) fn api_settings(settings: &Settings) -> Result<api::Settings, Failure> {
    let written = &settings.api;
    let issuers = settings.issuers.iter().map(Issuer::open).collect::<Result<_, _>>();
    Ok(api::Settings {
        unknown_ip: if written.unknown_is_zero { api::UnknownIp::Zero } else { api::UnknownIp::NotFound },
        legacy_prevalence: written.legacy_prevalence,
        first_seen: written.first_seen,
        limits: api::Limits { per_minute: written.calls_per_minute, per_hour: written.calls_per_hour },
        public_url: written.public_url.clone(),
        trusted_proxies: written.trusted_proxies.clone(),
        proxy_protocol: settings.proxy_protocol,
        endpoints: written.endpoints.clone(),
        preset_endpoints: written.preset_endpoints,
        extra_resources: written.extra_resources.clone(),
        issuers: issuers.context("a file of [[issuers]]").exit_with(Exit::WrongCommandLine)?,
        signing_key_lifetime: settings.signing_key_lifetime,
        connections_max: connections_max(),
        ..api::Settings::default()
    })
}

/// Tokens for an organisation that is not there are refused; a name in the settings may be a mistake.
fn warn_of_unknown_organisations(issuers: &[Issuer], book: &Book) {
    for organisation in issuers.iter().flat_map(|issuer| issuer.unknown_organisations(book)) {
        let organisation = sighting::escape(organisation);
        tracing::warn!(%organisation, "an issuer of the settings names an organisation that is not there; its tokens are refused until it is");
    }
}

/// Asks outside issuers for their keys when they are due, until it is aborted.
async fn fetch_keys(state: api::State<AnyStore, AnyDirectory>) {
    loop {
        let was_open = state.is_open();
        state.refresh_issuer_keys().await;
        tokio::time::sleep(if was_open { FETCH_KEYS_EVERY } else { LOOK_FOR_FOLDER_EVERY }).await;
    }
}

/// Writes granted calls down as they are made, until it is aborted.
async fn keep_grants(state: api::State<AnyStore, AnyDirectory>) {
    let mut turns = tokio::time::interval(KEEP_GRANTS_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    loop {
        turns.tick().await;
        match keep_grants_once(&state).await {
            Ok(()) => is_failing = false,
            // Said once: it is tried again with every turn.
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::error!(%error, "granted calls are not written down; a restart would forget them");
            }
            Err(_) => {}
        }
    }
}

/// It waits for the disk: not on a thread that answers questions.
async fn keep_grants_once(state: &api::State<AnyStore, AnyDirectory>) -> anyhow::Result<()> {
    let (state, runtime) = (state.clone(), tokio::runtime::Handle::current());
    let kept = tokio::task::spawn_blocking(move || runtime.block_on(state.keep_grants())).await;
    Ok(kept.context("granted calls were not written down")??)
}

/// Keeps the issuer's keys and tickets in order, until it is aborted.
async fn tend(state: api::State<AnyStore, AnyDirectory>, directory: AnyDirectory) {
    let mut turns = tokio::time::interval(UPKEEP_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if let Err(error) = upkeep_once(&state, &directory).await {
            tracing::error!(%error, "the issuer's keys were not looked after");
        }
    }
}

/// It may wait for the disk, and a key takes a moment: not on a thread that answers questions.
async fn upkeep_once(
    state: &api::State<AnyStore, AnyDirectory>,
    directory: &AnyDirectory,
) -> anyhow::Result<()> {
    let (state, directory, runtime) = (state.clone(), directory.clone(), tokio::runtime::Handle::current());
    let done = tokio::task::spawn_blocking(move || runtime.block_on(state.upkeep(&directory))).await;
    done.context("the issuer's keys were not looked after")?.context("the issuer's keys cannot be used")
}

/// Frees what is outside retention, at the start and every hour.
async fn retain(store: AnyStore, directory: AnyDirectory) {
    let mut hours = tokio::time::interval(RETAIN_EVERY);
    loop {
        hours.tick().await;
        let book = match directory.book().await {
            Ok(book) => book,
            Err(error) => {
                tracing::error!(%error, "retention was not applied");
                continue;
            }
        };
        remove_orphans(&store, &book).await;
        for organisation in book.organisations.values() {
            // Whole days only: nothing is written anew every hour, and questions are clipped anyway.
            let (id, since) = (organisation.id, organisation.retention.since(clock::now()).day().first());
            let (store, runtime) = (store.clone(), tokio::runtime::Handle::current());
            // It unlinks files and syncs: not on a thread that answers questions.
            let freed = tokio::task::spawn_blocking(move || {
                runtime.block_on(async { store.retain(id, since).await })
            })
            .await;
            match freed {
                Ok(Ok(())) => tracing::debug!(organisation = %id, %since, "retention applied"),
                Ok(Err(error)) => tracing::error!(organisation = %id, %error, "retention was not applied"),
                Err(error) => tracing::error!(organisation = %id, %error, "retention was not applied"),
            }
        }
    }
}

/// Removes what is held of organisations that are not in the book: a removal was interrupted between the two.
async fn remove_orphans(store: &AnyStore, book: &Book) {
    let AnyStore::Folder(folder) = store else { return };
    for organisation in folder.organisations() {
        if book.organisations.contains_key(&organisation) {
            continue;
        }
        let (store, runtime) = (store.clone(), tokio::runtime::Handle::current());
        let removing = move || runtime.block_on(async { store.remove(organisation).await });
        match tokio::task::spawn_blocking(removing).await {
            Ok(Ok(())) => tracing::info!(%organisation, "an interrupted removal was finished"),
            Ok(Err(error)) => tracing::error!(%organisation, %error, "a removal was not finished"),
            Err(error) => tracing::error!(%organisation, %error, "a removal was not finished"),
        }
    }
}

/// Logs go to standard error; standard output is the first line's alone. What is logged: `SEENBY_LOG`, the settings
/// file, what is usual for the command.
pub(crate) fn start_logging(settings: &Settings, usual: &str) -> Result<(), Failure> {
    let wanted = std::env::var("SEENBY_LOG").ok().filter(|filter| !filter.is_empty());
    let wanted = wanted.or_else(|| settings.log_filter.clone()).unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&wanted).map_err(|error| {
        Failure::usage(format!("log.level (or SEENBY_LOG) is '{wanted}', which is no filter ({error}); type info, or info,seenby_api=debug"))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match settings.log_format {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn parse_operator_listen(text: &str) -> Result<OperatorListen, String> {
    text.parse().map_err(|_| "type an address and a port, such as 127.0.0.1:9787, or none".to_owned())
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "type an address and a port, such as 127.0.0.1:8787 or [::1]:8787".to_owned())
}
