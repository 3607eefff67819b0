//! The certificate and the key that `seenby serve` speaks TLS with: which files, how they are read, and how a running server
//! notices that they are others now. Refuses to hold: TLS itself, and how such files are made.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::metrics::gauge::Gauge;
use sighting::Second;

use crate::certificate::Certificate;
use crate::clock;
use crate::exit::{Exit, ExitWith as _, Failure};
use crate::house::shown;
use crate::sealing;

/// The folder in the data folder that `seenby tls init` writes to.
pub(crate) const FOLDER: &str = "tls";
/// The CA's key in it, until somebody moves that off.
pub(crate) const CA_KEY: &str = "ca.key";
/// How often the files are looked at. A change is taken up once it has held still from one look to the next, because
/// two files are never replaced at once.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// From how many days before its end a certificate is warned about, once a day.
const DAYS_WARNED: u32 = 14;

/// Two PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    /// The chain, the server's own certificate first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

impl Pair {
    /// The pair in a folder that `seenby tls init` made.
    pub(crate) fn in_folder(folder: &Path) -> Pair {
        Pair { certificate: folder.join("server.pem"), key: folder.join("server.key") }
    }

    /// The pair of a data folder, if there is one.
    pub(crate) fn of_data_folder(data: &Path) -> Option<Pair> {
        let pair = Pair::in_folder(&data.join(FOLDER));
        // A half is one too: it is said what is missing, instead of speaking without TLS.
        (pair.certificate.exists() || pair.key.exists()).then_some(pair)
    }

    /// Reads it, to serve with.
    pub(crate) fn open(self, sealing: Option<api::SealingKey>) -> Result<Served, Failure> {
        let watch = Watch::new(self);
        let pair = &watch.pair;
        let read = pair.read(sealing.as_ref()).exit_with(Exit::WrongCommandLine)?;
        let tls = api::Tls::new(&read.certificate, &read.key)
            .with_context(|| format!("no TLS with {} and {}", shown(&pair.certificate), shown(&pair.key)))
            .exit_with(Exit::WrongCommandLine)?;
        let mut served = Served { watch, sealing, tls, expires: Gauge::default(), not_after: Second::MAX };
        served.describe(&read.certificate);
        Ok(served)
    }

    /// What is in the two files, the key in the clear.
    pub(crate) fn read(&self, sealing: Option<&api::SealingKey>) -> anyhow::Result<Texts> {
        let read = |what: &str, path: &Path| {
            std::fs::read(path).with_context(|| format!("the TLS {what} {} cannot be read", shown(path)))
        };
        let (certificate, key) = (read("certificate", &self.certificate)?, read("key", &self.key)?);
        Ok(Texts { certificate, key: sealing::opened(key, &self.key, sealing)? })
    }

    fn state(&self) -> State {
        State(of_file(&self.certificate), of_file(&self.key))
    }
}

/// The private keys of a data folder that everybody can use who has a copy of the folder.
pub(crate) fn open_keys_of(data: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = data.join(FOLDER);
    [Pair::in_folder(&folder).key, folder.join(CA_KEY)].into_iter().filter(|key| sealing::lies_open(key))
}

/// The texts of two PEM files.
pub(crate) struct Texts {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Notices that the files of a pair are others now.
pub(crate) struct Watch {
    pub(crate) pair: Pair,
    /// As they were when they were taken up.
    taken: State,
    /// As they were at the last look.
    last: State,
}

impl Watch {
    /// Of files that are about to be read.
    pub(crate) fn new(pair: Pair) -> Watch {
        let state = pair.state();
        Watch { pair, taken: state, last: state }
    }

    /// Whether they changed since they were taken up, and have held still since the last look; then they count as taken up.
    pub(crate) fn look(&mut self) -> bool {
        let now = self.pair.state();
        let holds_still = std::mem::replace(&mut self.last, now) == now;
        let is_news = holds_still && now != self.taken;
        if is_news {
            self.taken = now;
        }
        is_news
    }
}

/// What changes when a file is written or replaced: device, inode, length, seconds and nanoseconds of its last change.
/// Links are followed, which is how some tools replace what they point to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State(Option<OfFile>, Option<OfFile>);

pub(crate) type OfFile = (u64, u64, u64, i64, i64);

/// What changes when one file is written or replaced; `None` if it is not there.
pub(crate) fn of_file(path: &Path) -> Option<OfFile> {
    let it = std::fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec()))
}

/// A pair that a server speaks TLS with.
pub(crate) struct Served {
    watch: Watch,
    /// The operator's key, under which that of the certificate may be encrypted.
    sealing: Option<api::SealingKey>,
    /// What the listener uses; it is exchanged here.
    pub(crate) tls: api::Tls,
    expires: Gauge<i64, AtomicI64>,
    not_after: Second,
}

impl Served {
    /// What Prometheus is told: when it expires, so that somebody hears of it before callers do.
    pub(crate) fn register(&self, metrics: &api::Metrics) {
        metrics.register(|registry| {
            registry.register(
                "seenby_tls_certificate_expiry_timestamp_seconds",
                "When the served certificate expires, as Unix time",
                self.expires.clone(),
            );
        });
    }

    /// Takes up changes of the files, for ever. What cannot be used is logged once, and the old pair is served on.
    pub(crate) async fn follow(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut warned = None;
        loop {
            looks.tick().await;
            warned = self.warn(warned);
            if !self.watch.look() {
                continue;
            }
            let certificate = shown(&self.watch.pair.certificate);
            match self.exchange() {
                Ok(()) => {
                    tracing::info!(%certificate, expires = %self.not_after, "the TLS certificate was exchanged");
                }
                Err(error) => {
                    tracing::error!(%certificate, error = %format!("{error:#}"), "the TLS files changed and cannot be used; the old certificate is served on");
                }
            }
        }
    }

    fn exchange(&mut self) -> anyhow::Result<()> {
        let read = self.watch.pair.read(self.sealing.as_ref())?;
        self.tls.exchange(&read.certificate, &read.key)?;
        self.describe(&read.certificate);
        Ok(())
    }

    /// Notes what the certificate says of itself.
    fn describe(&mut self, certificate: &[u8]) {
        // One that only the library of TLS can read is served all the same.
        self.not_after = Certificate::read(certificate).map_or(Second::MAX, |read| read.not_after);
        self.expires.set(self.not_after.unix().into());
    }

    /// Warns of an end that is near, once on each day that is left; gives the days of the last warning.
    fn warn(&self, warned: Option<u32>) -> Option<u32> {
        let left = self.not_after.unix().saturating_sub(clock::now().unix()) / 86_400;
        if left >= DAYS_WARNED {
            return None;
        }
        if warned != Some(left) {
            let certificate = shown(&self.watch.pair.certificate);
            tracing::warn!(%certificate, expires = %self.not_after, "the TLS certificate expires soon, or has expired; renew it");
        }
        Some(left)
    }
}
