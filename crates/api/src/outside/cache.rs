//! The keys of one outside issuer: fetched when they are due and when a token names one that is not known, kept through an
//! outage. Refuses to hold: how documents are fetched (given), what time it is (given), which keys of a set are taken
//! (`jwk`), where they lie over a restart (`kept`), and what is in a token.
//!
//! At most one fetch runs at a time, and tokens begin at most one in vain in [`FETCH_EVERY_MS`], whoever sends them. One that was
//! due and went well, or that brought the key that a token named, keeps none of them waiting: a key may change right after it.
//! But an issuer whose servers disagree would be asked without end: so no more than [`GOOD_MAX`] of the latter in that time.
//! A fetch runs in a task of its own, so that a caller who goes away does not end it.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use sighting::escape;
use tokio::sync::watch;

use super::jwk::{KID_BYTES_MAX, KeySetError, OutsideKey, OutsideKeys};
use crate::metrics::Metrics;
use crate::state::{Fetch, FetchRequest, Machine, Millis};

/// The least time from the beginning of one fetch to that of the next, unless the first was not in vain.
const FETCH_EVERY_MS: u64 = 30_000;
/// How many fetches that tokens began may be good in that time.
const GOOD_MAX: usize = 4;
/// The age at which keys are fetched anew.
const REFRESH_AFTER_MS: u64 = 3_600_000;
/// The age at which keys that could not be fetched anew are not believed any more: 7 days, a long weekend and then some.
pub(super) const KEEP_FOR_MS: u64 = 7 * 24 * 3_600_000;
/// The largest discovery document or key set, in bytes. Entra ID's set has about 16 KiB.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// How long one document may take.
const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(5);

/// The part of a discovery document that is looked at.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Where the keys of an issuer come from.
pub(super) struct Source {
    /// What its documents call it, and what the log and the metrics do.
    pub(super) issuer: String,
    /// Another name that its discovery document may have for it.
    pub(super) template: Option<String>,
    /// Who may vouch for its host.
    pub(super) trust: Option<Arc<[u8]>>,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoKey {
    /// The issuer has no such key.
    Unknown,
    /// Nobody knows which keys the issuer has; to be asked again after so many seconds.
    NoneYet(u64),
}

/// The keys of one issuer.
pub(super) struct KeyCache {
    source: Source,
    /// Given keys are never fetched.
    is_given: bool,
    held: RwLock<Held>,
    flights: Mutex<Flights>,
    /// How many fetches have ended.
    landed: watch::Sender<u64>,
}

#[derive(Default)]
struct Held {
    keys: Arc<OutsideKeys>,
    /// When this process got them, by the steady clock; `None` is never.
    since: Option<Millis>,
    /// How old they were then.
    already_ms: u64,
    /// The set that they came in, until it is kept elsewhere.
    unkept: Option<Arc<[u8]>>,
}

impl Held {
    fn age_ms(&self, now: Millis) -> Option<u64> {
        let since = self.since?;
        Some(self.already_ms.saturating_add(now.0.saturating_sub(since.0)))
    }
}

/// What a fetch brings.
struct Fetched {
    keys: OutsideKeys,
    set: Vec<u8>,
}

/// Why a fetch begins.
enum Cause {
    /// The keys are old, or there are none.
    Due,
    /// A token names a key that is not known, this one.
    Token(String),
}

#[derive(Default)]
struct Flights {
    /// How many have begun.
    begun: u64,
    /// When the last one began that keeps others waiting.
    last_began: Option<Millis>,
    /// When those began lately that brought what a token named.
    good: VecDeque<Millis>,
    is_up: bool,
    /// Whether the last one failed, so that an outage is told once.
    has_failed: bool,
}

impl Flights {
    /// Whether one that went well, and began then, keeps others waiting.
    fn went_well(&mut self, cause: &Cause, keys: &OutsideKeys, began: Millis) {
        if let Cause::Token(kid) = cause {
            self.good.retain(|good| began.0.saturating_sub(good.0) < FETCH_EVERY_MS);
            if keys.get(kid).is_none() || self.good.len() >= GOOD_MAX {
                return;
            }
            self.good.push_back(began);
        }
        self.last_began = None;
    }
}

impl KeyCache {
    /// A cache that is empty until the first fetch.
    pub(super) fn fetched(source: Source) -> KeyCache {
        let (held, flights) = (RwLock::default(), Mutex::default());
        KeyCache { source, is_given: false, held, flights, landed: watch::Sender::new(0) }
    }

    /// A cache of given keys, which never fetches.
    pub(super) fn given(source: Source, set: &[u8]) -> KeyCache {
        let cache = KeyCache { is_given: true, ..KeyCache::fetched(source) };
        if let Err(error) = cache.give(set) {
            tracing::error!(issuer = cache.name(), %error, "the given keys of an issuer cannot be used");
        }
        cache
    }

    /// Other keys for a cache of given ones.
    pub(super) fn give(&self, set: &[u8]) -> Result<(), KeySetError> {
        let keys = Arc::new(OutsideKeys::parse(set)?);
        self.hold(Held { keys, ..Held::default() });
        Ok(())
    }

    fn hold(&self, held: Held) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// The fetched set, unless it is kept already, and how old it is.
    pub(super) fn to_keep(&self, now: Millis) -> Option<(Arc<[u8]>, u64)> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Some((Arc::clone(held.unkept.as_ref()?), held.age_ms(now)?))
    }

    /// A set is kept.
    pub(super) fn kept(&self, set: &Arc<[u8]>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.unkept.as_ref().is_some_and(|unkept| Arc::ptr_eq(unkept, set)) {
            held.unkept = None;
        }
    }

    /// Whether nothing was ever fetched, and what was tried has failed.
    pub(super) fn is_in_need(&self) -> bool {
        let is_empty = self.held.read().unwrap_or_else(PoisonError::into_inner).since.is_none();
        let flights = self.flights();
        !self.is_given && is_empty && flights.has_failed && !flights.is_up
    }

    /// Takes up a set that an earlier process fetched. It is due at once: what is there counts until the issuer answers.
    pub(super) fn take_up(&self, set: &[u8], age_ms: u64, now: Millis) -> Result<usize, KeySetError> {
        let keys = Arc::new(OutsideKeys::parse(set)?);
        let (count, already_ms) = (keys.len(), age_ms.max(REFRESH_AFTER_MS));
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        // What was fetched meanwhile is newer.
        if held.since.is_none() {
            *held = Held { keys, since: Some(now), already_ms, unkept: None };
        }
        Ok(count)
    }

    pub(super) fn is_given(&self) -> bool {
        self.is_given
    }

    /// The issuer, as the log and the metrics call it.
    pub(super) fn name(&self) -> &str {
        &self.source.issuer
    }

    /// How many keys are believed now.
    pub(super) fn len(&self, now: Millis) -> usize {
        self.current(now).map_or(0, |keys| keys.len())
    }

    /// How long ago the keys were fetched, in milliseconds.
    pub(super) fn age_ms(&self, now: Millis) -> Option<u64> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).age_ms(now)
    }

    /// The keys, unless there are none or they are too old.
    fn current(&self, now: Millis) -> Option<Arc<OutsideKeys>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = held.age_ms(now).map_or(self.is_given, |age| age < KEEP_FOR_MS);
        is_fresh.then(|| Arc::clone(&held.keys))
    }

    /// A key that is known now.
    pub(super) fn known(&self, kid: &str, now: Millis) -> Option<Arc<OutsideKey>> {
        self.current(now)?.get(kid).map(Arc::clone)
    }

    /// The key of a token; one that is not known is asked for, unless somebody asked a moment ago.
    pub(super) async fn key(
        self: &Arc<Self>,
        kid: &str,
        machine: &Machine,
        metrics: &Metrics,
    ) -> Result<Arc<OutsideKey>, NoKey> {
        let now = (machine.steady)();
        if let Some(key) = self.known(kid, now) {
            return Ok(key);
        }
        if self.is_given || kid.is_empty() || kid.len() > KID_BYTES_MAX {
            return Err(NoKey::Unknown);
        }
        if let Some(flight) = self.begin(Cause::Token(kid.to_owned()), machine, metrics) {
            self.landing(flight).await;
        }
        let now = (machine.steady)();
        match self.current(now) {
            Some(keys) => keys.get(kid).map(Arc::clone).ok_or(NoKey::Unknown),
            None => Err(NoKey::NoneYet(self.may_begin_after_s(now))),
        }
    }

    /// Begins to fetch what is due; the number of the fetch, if there is one.
    pub(super) fn begin_if_due(self: &Arc<Self>, machine: &Machine, metrics: &Metrics) -> Option<u64> {
        let is_due = self.age_ms((machine.steady)()).is_none_or(|age| age >= REFRESH_AFTER_MS);
        if self.is_given || !is_due { None } else { self.begin(Cause::Due, machine, metrics) }
    }

    /// The number of the fetch that is under way, or that begins now; `None` if none may begin yet.
    fn begin(self: &Arc<Self>, cause: Cause, machine: &Machine, metrics: &Metrics) -> Option<u64> {
        let mut flights = self.flights();
        let now = (machine.steady)();
        if flights.is_up {
            return Some(flights.begun);
        }
        if flights.last_began.is_some_and(|began| now.0 < began.0.saturating_add(FETCH_EVERY_MS)) {
            return None;
        }
        flights.is_up = true;
        flights.begun += 1;
        flights.last_began = Some(now);
        let flight = Flight { cache: Arc::clone(self), number: flights.begun };
        let (machine, failures) = (machine.clone(), metrics.key_fetch_failures(self.name()));
        tokio::spawn(async move {
            let fetched = flight.cache.fetch(&machine.fetch).await;
            match &fetched {
                Ok(Fetched { keys, .. }) => flight.cache.flights().went_well(&cause, keys, now),
                Err(_) => {
                    failures.inc();
                }
            }
            flight.cache.settle(fetched, (machine.steady)());
        });
        Some(flights.begun)
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a fetch has ended.
    pub(super) async fn landing(&self, flight: u64) {
        // The sender lives as long as this does.
        let _ = self.landed.subscribe().wait_for(|landed| *landed >= flight).await;
    }

    fn may_begin_after_s(&self, now: Millis) -> u64 {
        let flights = self.flights();
        let next = flights.last_began.map_or(0, |began| began.0.saturating_add(FETCH_EVERY_MS));
        next.saturating_sub(now.0).div_ceil(1_000).max(1)
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Fetched, String> {
        let discovery = format!("{}/.well-known/openid-configuration", self.name().trim_end_matches('/'));
        let document = self.document(fetch, discovery).await?;
        let found: Discovery = serde_json::from_slice(&document)
            .map_err(|_| "its discovery document lacks issuer or jwks_uri, or is not JSON".to_owned())?;
        let is_it =
            found.issuer == self.source.issuer || Some(&found.issuer) == self.source.template.as_ref();
        if !is_it {
            return Err(format!("its discovery document is that of {}", found.issuer));
        }
        let set = self.document(fetch, found.jwks_uri).await?;
        let keys =
            OutsideKeys::parse(&set).map_err(|error| format!("its key set cannot be used: {error}"))?;
        Ok(Fetched { keys, set })
    }

    async fn document(&self, fetch: &Fetch, url: String) -> Result<Vec<u8>, String> {
        let about = |error: &dyn Display| format!("{url}: {error}");
        if !url.starts_with("https://") {
            return Err(about(&"it is no https:// URL"));
        }
        let request = FetchRequest {
            url: url.clone(),
            trust: self.source.trust.clone(),
            bytes_max: DOCUMENT_BYTES_MAX,
            time_max: DOCUMENT_TIME_MAX,
        };
        // Whoever fetches keeps the bounds; a flight that never landed would be the last one.
        let fetched = tokio::time::timeout(DOCUMENT_TIME_MAX * 2, fetch(request)).await;
        let document = fetched.map_err(|_| about(&"no answer in time"))?.map_err(|error| about(&error))?;
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(about(&format_args!("it has more than {DOCUMENT_BYTES_MAX} bytes")));
        }
        Ok(document)
    }

    /// Takes up what was fetched; tells the beginning and the end of an outage, once each.
    fn settle(&self, fetched: Result<Fetched, String>, now: Millis) {
        let has_failed = fetched.is_err();
        let had_failed = {
            let mut flights = self.flights();
            std::mem::replace(&mut flights.has_failed, has_failed)
        };
        let issuer = self.name();
        match fetched {
            Ok(Fetched { keys, set }) => {
                let (count, keys) = (keys.len(), Arc::new(keys));
                self.hold(Held { keys, since: Some(now), already_ms: 0, unkept: Some(set.into()) });
                if had_failed {
                    tracing::info!(issuer, keys = count, "the keys of an issuer can be fetched again");
                } else {
                    tracing::debug!(issuer, keys = count, "the keys of an issuer were fetched");
                }
            }
            Err(error) if !had_failed => {
                let (error, keys) = (escape(&error), self.len(now));
                tracing::error!(issuer, %error, keys, "the keys of an issuer cannot be fetched; those that are there count for 7 days");
            }
            Err(error) => tracing::debug!(issuer, error = %escape(&error), "still no keys of an issuer"),
        }
    }
}

/// A fetch that is under way: it has landed when this is dropped, by a panic too.
struct Flight {
    cache: Arc<KeyCache>,
    number: u64,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.cache.flights().is_up = false;
        self.cache.landed.send_replace(self.number);
    }
}
