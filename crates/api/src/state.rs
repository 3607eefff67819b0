//! What every request can reach: the store and the directory once they are open, and what the server itself keeps
//! (settings, clock, entropy, limiter, checked tokens, keys, metrics). Refuses to hold: anything of one request, and
//! what the clock and the entropy are made of.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sighting::{Application, Directory, DirectoryError, Second, Store, Uuid};

use crate::called::{OwnName, Scheme};
use crate::endpoints::{Endpoint, Endpoints, Resources, unslashed};
use crate::error::ApiError;
use crate::host::Name;
use crate::keys::Keys;
use crate::limits::{Limiter, Standing};
use crate::metrics::Metrics;
use crate::outside::{Issuers, KeySetError};
use crate::password::Hashing;
use crate::recall::{self, Clocks, Recall};
use crate::receive::{Channels, Intake, Paces, Slots};
use crate::settings::Settings;
use crate::strangers::Strangers;
use crate::throttle::Throttle;
use crate::tls::Tls;
use crate::token::CheckedTokens;

/// A moment in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment cut to a whole second.
    pub fn second(self) -> Second {
        u32::try_from(self.0 / 1_000).map_or(Second::MAX, Second::new)
    }
}

/// Tells a moment.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// Fills a buffer with unpredictable bytes.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A document that an outside issuer offers, and the bounds of getting it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Where it is; begins with `https://`.
    pub url: String,
    /// The certificates (PEM) of the only authorities that may vouch for the host; without them, the system's.
    pub trust: Option<Arc<[u8]>>,
    /// A larger document is not read to its end.
    pub bytes_max: usize,
    /// How long all of it may take.
    pub time_max: Duration,
}

/// A document that is on its way, or why there is none: a sentence for the log.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// Gets a document by https, within its bounds, and follows no redirects.
pub type Fetch = Arc<dyn Fn(FetchRequest) -> Fetching + Send + Sync>;

/// What this side takes from the machine that it runs on.
#[derive(Clone)]
pub struct Machine {
    /// The wall clock: windows, tokens.
    pub wall: Clock,
    /// A clock that is never set and only goes forward, from any beginning: call limits.
    pub steady: Clock,
    /// Which steady clock that is. A later process for which it counts on from the same beginning has the same value, any
    /// other has another: a boot of the machine.
    pub steady_id: Uuid,
    /// Randomness: secrets, ids.
    pub entropy: Entropy,
    /// The way to outside issuers: their keys.
    pub fetch: Fetch,
}

/// Where the server is reached when neither a public URL nor a listening address is known (tests, the command line).
const URL_UNBOUND: &str = "http://localhost";

/// The state of a server over a store and a directory. Cloning it shares it.
pub struct State<S, D> {
    open: Arc<OnceLock<Open<S, D>>>,
    intake: Arc<OnceLock<Arc<dyn Intake>>>,
    shared: Arc<Shared>,
}

/// What a server needs before it can answer.
pub(crate) struct Open<S, D> {
    pub(crate) store: Arc<S>,
    pub(crate) directory: Arc<D>,
}

/// What the layers and every handler use, whatever the store is.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) endpoints: Endpoints,
    resources: Resources,
    /// What we are called by before we listen, and with a public URL.
    own_names: Vec<OwnName>,
    pub(crate) limiter: Limiter,
    recall: Recall,
    pub(crate) keys: Keys,
    /// Held while signing keys change.
    pub(crate) turning_keys: tokio::sync::Mutex<()>,
    pub(crate) issuers: Issuers,
    pub(crate) checked: CheckedTokens,
    pub(crate) hashing: Hashing,
    pub(crate) throttle: Throttle,
    pub(crate) strangers: Strangers,
    pub(crate) slots: Slots,
    pub(crate) paces: Paces,
    pub(crate) channels: Channels,
    pub(crate) metrics: Metrics,
    pub(crate) machine: Machine,
    bound: OnceLock<Bound>,
    stopping: AtomicBool,
}

/// The hosts of our URL and of our siblings'.
fn own_names(settings: &Settings) -> Vec<OwnName> {
    let own = settings.public_url.as_deref().unwrap_or(URL_UNBOUND);
    let siblings = settings.sibling_urls.iter().map(String::as_str);
    // A URL that has no host was refused where settings are read.
    std::iter::once(own).chain(siblings).filter_map(OwnName::of_url).collect()
}

/// Where the callers' listener is, and what it speaks.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Tls>,
}

impl Bound {
    fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }
}

impl<S, D> Clone for State<S, D> {
    fn clone(&self) -> State<S, D> {
        State {
            open: Arc::clone(&self.open),
            intake: Arc::clone(&self.intake),
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Says whether it is ready, nothing of what it holds.
impl<S, D> fmt::Debug for State<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("ready", &self.open.get().is_some()).finish_non_exhaustive()
    }
}

impl<S: Store, D: Directory> State<S, D> {
    /// A server that is ready at once.
    pub fn new(store: Arc<S>, directory: Arc<D>, settings: Settings, machine: Machine) -> State<S, D> {
        let state = State::starting(settings, machine);
        state.set_ready(store, directory);
        state
    }

    /// A server whose store is still being opened: it listens, answers 503 with `Retry-After`, and says so in
    /// `/readyz`, until [`State::set_ready`].
    pub fn starting(settings: Settings, machine: Machine) -> State<S, D> {
        let shared = Shared {
            endpoints: Endpoints::new(settings.every_endpoint()),
            resources: Resources::new(
                &settings.endpoints,
                &settings.extra_resources,
                settings.issuers.iter().flat_map(|issuer| &issuer.audiences),
            ),
            own_names: own_names(&settings),
            limiter: Limiter::default(),
            recall: Recall::default(),
            keys: Keys::new(settings.sealing_key.clone()),
            turning_keys: tokio::sync::Mutex::new(()),
            issuers: Issuers::new(&settings.issuers),
            checked: CheckedTokens::default(),
            hashing: Hashing::default(),
            throttle: Throttle::default(),
            strangers: Strangers::default(),
            slots: Slots::new(settings.uploads_max),
            paces: Paces::default(),
            channels: Channels::default(),
            metrics: Metrics::new(),
            settings,
            machine,
            bound: OnceLock::new(),
            stopping: AtomicBool::new(false),
        };
        State { open: Arc::default(), intake: Arc::default(), shared: Arc::new(shared) }
    }

    /// The store is open. The first call counts; what is open stays open.
    pub fn set_ready(&self, store: Arc<S>, directory: Arc<D>) {
        let _ = self.open.set(Open { store, directory });
    }

    /// What takes uploads in. Without one every upload is told to come later. The first call counts.
    pub fn set_intake(&self, intake: Arc<dyn Intake>) {
        let _ = self.intake.set(intake);
    }

    /// What takes uploads in, if anything does.
    pub(crate) fn intake(&self) -> Option<&Arc<dyn Intake>> {
        self.intake.get()
    }

    /// Whether there are a store and a directory.
    pub fn is_open(&self) -> bool {
        self.open.get().is_some()
    }

    /// Fetches the keys of outside issuers that are due, and waits for them; if the directory is open, takes those from there
    /// whose issuers cannot be asked, and does what [`State::keep_issuer_keys`] does.
    /// To be called from the start on, every half a minute or so, and once the directory is open: what failed is tried again
    /// then.
    pub async fn refresh_issuer_keys(&self) {
        self.shared.issuers.refresh(&self.shared.machine, &self.shared.metrics).await;
        if let Some(Open { directory, .. }) = self.open.get() {
            self.shared.issuers.take_up(&**directory, &self.shared.machine).await;
        }
        self.keep_issuer_keys().await;
    }

    /// Keeps fetched keys of outside issuers in the directory, if that is open.
    pub async fn keep_issuer_keys(&self) {
        if let Some(Open { directory, .. }) = self.open.get() {
            self.shared.issuers.keep(&**directory, &self.shared.machine).await;
        }
    }

    /// Takes up the grants that an earlier process kept in a directory. To be called before [`State::set_ready`]: no call
    /// is granted until then.
    pub async fn recall_grants(&self, directory: &D) -> Result<(), DirectoryError> {
        let pages = directory.grants().await?;
        self.shared.recall.take_up(&self.shared.limiter, &pages, self.shared.clocks());
        Ok(())
    }

    /// Keeps in the directory what was granted since the last time, if anything was: what a crash forgets is what was granted
    /// since this was called. What could not be kept is kept by the next call.
    pub async fn keep_grants(&self) -> Result<(), DirectoryError> {
        let Some(Open { directory, .. }) = self.open.get() else { return Ok(()) };
        let Shared { recall, limiter, .. } = &*self.shared;
        let _turn = recall.turn.lock().await;
        let Some(page) = recall.next_page(limiter, || self.shared.clocks()) else { return Ok(()) };
        let (extent, weight) = (page.extent, recall::weight(&page));
        directory.keep_grants(page).await?;
        recall.kept(extent, weight);
        Ok(())
    }
}

impl<S, D> State<S, D> {
    /// The metrics that `/metrics` shows; more can be registered in them.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Other keys (a JWK set) for an outside issuer whose keys are given, by its place in the settings: how many of them
    /// are usable. `None` if its keys are fetched. After an error the old ones count on.
    pub fn give_issuer_keys(&self, issuer: usize, key_set: &[u8]) -> Option<Result<usize, KeySetError>> {
        self.shared.issuers.give_keys(issuer, key_set)
    }

    /// How an application stands with its limits now.
    pub fn standing(&self, application: &Application) -> Standing {
        let limits = self.shared.settings.limits.with(application.limits);
        self.shared.limiter.standing(application.organisation, application.id, limits, self.shared.steady())
    }

    /// The store and the directory, or the answer of a server that has none yet.
    pub(crate) fn open(&self) -> Result<&Open<S, D>, ApiError> {
        self.open.get().ok_or(ApiError::NotReady)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Millis {
        (self.machine.wall)()
    }

    pub(crate) fn steady(&self) -> Millis {
        (self.machine.steady)()
    }

    fn clocks(&self) -> Clocks {
        Clocks { id: self.machine.steady_id, steady: self.steady(), wall: self.now() }
    }

    /// How many grants a crash would forget now.
    pub(crate) fn grants_not_kept(&self) -> usize {
        self.recall.not_kept(&self.limiter)
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.machine.entropy)(&mut bytes);
        bytes
    }

    /// A random GUID (version 4).
    pub(crate) fn random_uuid(&self) -> Uuid {
        let mut bytes: [u8; 16] = self.random();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Uuid::from_bytes(bytes)
    }

    /// Told by the accept loop where it listens. The first call counts.
    pub(crate) fn set_bound(&self, bound: Bound) {
        let _ = self.bound.set(bound);
    }

    /// The scheme and authority that our tokens name as their issuer: the public URL, else the listening address.
    /// It does not follow the `Host` header, so a token is good whatever name this server is called by.
    pub(crate) fn issuer_url(&self) -> String {
        match (&self.settings.public_url, self.bound.get()) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(bound)) => format!("{}://{}", bound.scheme().as_str(), bound.address),
            (None, None) => URL_UNBOUND.to_owned(),
        }
    }

    /// Whether a URL is one that this server, or one that shares its keys, writes into `iss`.
    pub(crate) fn is_issuer_url(&self, url: &str) -> bool {
        let mut siblings = self.settings.sibling_urls.iter();
        url == self.issuer_url() || siblings.any(|sibling| sibling.trim_end_matches('/') == url)
    }

    /// The URLs of servers that share this server's book, without a slash at the end.
    pub(crate) fn sibling_urls(&self) -> impl Iterator<Item = &str> {
        self.settings.sibling_urls.iter().map(|url| url.trim_end_matches('/'))
    }

    /// Whether a resource is granted to applications and accepted as a token's audience.
    pub(crate) fn is_resource(&self, resource: &str) -> bool {
        let resource = unslashed(resource);
        self.resources.are_granted(resource) || self.is_own_url(resource)
    }

    /// Whether a token for a resource that is granted is taken where it is shown: under our own names always, at an
    /// endpoint that lists its audiences only if it is one of those, ours, or one that the operator added for all.
    pub(crate) fn is_taken_at(&self, endpoint: Option<&Endpoint>, audience: &str) -> bool {
        let audience = unslashed(audience);
        endpoint.is_none_or(|endpoint| endpoint.lists(audience))
            || self.resources.are_everywhere(audience)
            || self.is_own_url(audience)
    }

    /// A resource that a token of an issuer (`None` is the built-in one) could be for, to be taken where it is shown.
    pub(crate) fn wanted_audience(&self, endpoint: Option<&Endpoint>, issuer: Option<usize>) -> String {
        let of_endpoint = || endpoint.and_then(Endpoint::audience).map(str::to_owned);
        match issuer {
            None => of_endpoint(),
            Some(issuer) => self.issuers.audience(issuer).map(str::to_owned),
        }
        .unwrap_or_else(|| self.issuer_url())
    }

    /// The hosts of our URLs. Until the server listens (tests, the command line) it is called by the URL that it has then.
    pub(crate) fn own_names(&self) -> &[OwnName] {
        if self.bound.get().is_some() && self.settings.public_url.is_none() {
            // The first is that of the URL.
            return self.own_names.get(1..).unwrap_or_default();
        }
        &self.own_names
    }

    /// Whether the certificate that is served now is for this host.
    pub(crate) fn is_in_certificate(&self, name: &Name<'_>) -> bool {
        self.bound.get().and_then(|bound| bound.tls.as_ref()).is_some_and(|tls| tls.names(name))
    }

    /// Our own URL; for a server on loopback or on every address, also under the names of loopback.
    pub(crate) fn is_own_url(&self, url: &str) -> bool {
        if self.is_issuer_url(url) {
            return true;
        }
        let Some(bound) = self.bound.get() else { return false };
        let (scheme, address) = (bound.scheme(), bound.address);
        let ip = address.ip();
        let names = ["localhost", "127.0.0.1", "[::1]"];
        (ip.is_loopback() || ip.is_unspecified())
            && names.iter().any(|name| url == format!("{}://{name}:{}", scheme.as_str(), address.port()))
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
