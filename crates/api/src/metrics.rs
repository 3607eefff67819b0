//! What is counted, for Prometheus. Every label has a bounded set of values that this program chose: route patterns,
//! statuses, reasons. Refuses to hold: names, addresses or ids from requests.

use std::sync::{Mutex, PoisonError};

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

/// The metrics of one server. The binary registers its own beside them.
pub struct Metrics {
    registry: Mutex<Registry>,
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
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let metrics = Metrics {
            registry: Mutex::default(),
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
        self.requests.get_or_create(&Answered { route: route.to_owned(), status }).inc();
        self.seconds.get_or_create(&OfRoute { route: route.to_owned() }).observe(seconds);
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
