//! What is counted, for Prometheus. Every label has a bounded set of values that this program or its settings chose: route
//! patterns, statuses, reasons, issuers. Refuses to hold: names, addresses or ids from requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::limits::Quota;
use crate::proxied::ProxyRefusal;
use crate::signin::SignIn;
use crate::tls::HandshakeFailure;
use crate::token::TokenRefusal;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfRoute {
    route: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Limited {
    limit: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfIssuer {
    issuer: String,
}

/// What is counted of the answers of one route with one status.
#[derive(Clone)]
struct Figures {
    requests: Counter,
    /// That of the route, whatever the status.
    seconds: Histogram,
}

impl Figures {
    fn note(&self, seconds: f64) {
        self.requests.inc();
        self.seconds.observe(seconds);
    }
}

/// By status, then by route: each as many as there are.
type Answers =
    HashMap<u16, HashMap<Box<str>, Figures, foldhash::fast::RandomState>, foldhash::fast::RandomState>;

/// The metrics of one server. The binary registers its own beside them.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// The next two, found by a route and a status without a text of their own.
    answers: ArcSwap<Answers>,
    requests: Family<Answered, Counter>,
    seconds: Family<OfRoute, Histogram, fn() -> Histogram>,
    granted: Counter,
    over_limit: Family<Limited, Counter>,
    at_limit: Family<Limited, Gauge>,
    grants_not_kept: Gauge,
    refused_tokens: Family<Because, Counter>,
    sign_ins: Family<Ended, Counter>,
    turned_away: Counter,
    failed_handshakes: Family<Because, Counter>,
    refused_proxies: Family<Because, Counter>,
    issuer_keys: Family<OfIssuer, Gauge>,
    issuer_keys_age: Family<OfIssuer, Gauge>,
    failed_key_fetches: Family<OfIssuer, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let metrics = Metrics {
            registry: Mutex::default(),
            answers: ArcSwap::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            granted: Counter::default(),
            over_limit: Family::default(),
            at_limit: Family::default(),
            grants_not_kept: Gauge::default(),
            refused_tokens: Family::default(),
            sign_ins: Family::default(),
            turned_away: Counter::default(),
            failed_handshakes: Family::default(),
            refused_proxies: Family::default(),
            issuer_keys: Family::default(),
            issuer_keys_age: Family::default(),
            failed_key_fetches: Family::default(),
        };
        metrics.register(|registry| {
            let Metrics { requests, seconds, refused_tokens, turned_away, .. } = &metrics;
            let Metrics { failed_handshakes, refused_proxies, sign_ins, .. } = &metrics;
            registry.register("seenby_http_requests", "Requests by route and status", requests.clone());
            registry.register("seenby_http_request_seconds", "Time to the answer by route", seconds.clone());
            registry.register(
                "seenby_token_refusals",
                "Requests without a valid token",
                refused_tokens.clone(),
            );
            registry.register("seenby_sign_ins", "People who typed a password, by outcome", sign_ins.clone());
            registry.register(
                "seenby_connections_turned_away",
                "Connections and requests over the bound, told to come back later",
                turned_away.clone(),
            );
            registry.register(
                "seenby_tls_handshake_failures",
                "TLS handshakes that came to nothing",
                failed_handshakes.clone(),
            );
            registry.register(
                "seenby_proxy_refusals",
                "Connections closed for want of a good PROXY header",
                refused_proxies.clone(),
            );
        });
        metrics.register(|registry| {
            let Metrics { granted, over_limit, at_limit, grants_not_kept, .. } = &metrics;
            registry.register("seenby_limit_grants", "Calls that counted and were granted", granted.clone());
            registry.register("seenby_limit_refusals", "Calls over a limit", over_limit.clone());
            registry.register(
                "seenby_limit_applications_at",
                "Applications whose next call is over a limit",
                at_limit.clone(),
            );
            registry.register(
                "seenby_limit_grants_not_kept",
                "Granted calls that a crash would forget",
                grants_not_kept.clone(),
            );
        });
        metrics.register(|registry| {
            let Metrics { issuer_keys, issuer_keys_age, failed_key_fetches, .. } = &metrics;
            registry.register(
                "seenby_issuer_keys",
                "Keys of an outside issuer that are believed now",
                issuer_keys.clone(),
            );
            registry.register(
                "seenby_issuer_keys_age_seconds",
                "Time since the keys of an outside issuer were fetched",
                issuer_keys_age.clone(),
            );
            registry.register(
                "seenby_issuer_key_fetch_failures",
                "Fetches of the keys of an outside issuer that failed",
                failed_key_fetches.clone(),
            );
        });
        metrics
    }

    /// Lets more metrics be registered; `/metrics` shows them beside these.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The Prometheus text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics could not be written as text");
        }
        text
    }

    pub(crate) fn answered(&self, route: &str, status: u16, seconds: f64) {
        let answers = self.answers.load();
        match answers.get(&status).and_then(|of_status| of_status.get(route)) {
            Some(figures) => figures.note(seconds),
            None => self.figures_of(route, status).note(seconds),
        }
    }

    /// The figures of a route and a status that nobody was answered with before.
    #[cold]
    fn figures_of(&self, route: &str, status: u16) -> Figures {
        let requests = self.requests.get_or_create(&Answered { route: route.to_owned(), status }).clone();
        let seconds = self.seconds.get_or_create(&OfRoute { route: route.to_owned() }).clone();
        let figures = Figures { requests, seconds };
        self.answers.rcu(|answers| {
            let mut answers = Answers::clone(answers);
            answers.entry(status).or_default().insert(route.into(), figures.clone());
            Arc::new(answers)
        });
        figures
    }

    pub(crate) fn granted(&self) {
        self.granted.inc();
    }

    /// What is told of the limits as they are at this moment: before each scrape.
    pub(crate) fn limits_are(&self, at_limit: &[(Quota, u64)], not_kept: usize) {
        for (quota, applications) in at_limit {
            let gauge = self.at_limit.get_or_create(&Limited { limit: quota.label() });
            gauge.set(i64::try_from(*applications).unwrap_or(i64::MAX));
        }
        self.grants_not_kept.set(i64::try_from(not_kept).unwrap_or(i64::MAX));
    }

    /// What is told of an outside issuer's keys as they are at this moment: before each scrape.
    pub(crate) fn issuer_keys_are(&self, issuer: &str, keys: usize, age_ms: Option<u64>) {
        let of = OfIssuer { issuer: issuer.to_owned() };
        self.issuer_keys.get_or_create(&of).set(i64::try_from(keys).unwrap_or(i64::MAX));
        if let Some(age_ms) = age_ms {
            self.issuer_keys_age.get_or_create(&of).set(i64::try_from(age_ms / 1_000).unwrap_or(i64::MAX));
        }
        // So that a counter is there before it is needed.
        drop(self.key_fetch_failures(issuer));
    }

    /// The counter of an outside issuer's fetches that failed.
    pub(crate) fn key_fetch_failures(&self, issuer: &str) -> Counter {
        self.failed_key_fetches.get_or_create(&OfIssuer { issuer: issuer.to_owned() }).clone()
    }

    pub(crate) fn over_limit(&self, quota: Quota) {
        self.over_limit.get_or_create(&Limited { limit: quota.label() }).inc();
    }

    pub(crate) fn turned_away(&self) {
        self.turned_away.inc();
    }

    pub(crate) fn handshake_failed(&self, failure: HandshakeFailure) {
        self.failed_handshakes.get_or_create(&Because { reason: failure.label() }).inc();
    }

    pub(crate) fn proxy_refused(&self, refusal: ProxyRefusal) {
        self.refused_proxies.get_or_create(&Because { reason: refusal.label() }).inc();
    }

    pub(crate) fn signed_in(&self, outcome: SignIn) {
        self.sign_ins.get_or_create(&Ended { outcome: outcome.label() }).inc();
    }

    pub(crate) fn token_refused(&self, refusal: TokenRefusal) {
        self.refused_tokens.get_or_create(&Because { reason: refusal.label() }).inc();
    }
}

/// From 50 us, below which nothing is served, to about 1.6 s in steps of two.
fn histogram() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(50e-6, 2.0, 16))
}
