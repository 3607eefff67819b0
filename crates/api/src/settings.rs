//! What an operator may choose about the HTTP side, as it is meant (the binary reads it as it is written). Refuses to
//! hold: settings files, flags, and settings of one organisation (retention is in the book).

use std::time::Duration;

use sighting::{CallLimit, CallLimits, FirstSeen, Network};

use crate::endpoints::{self, Endpoint};
use crate::limits::Quota;
use crate::outside::OutsideIssuer;
use crate::seal::SealingKey;

/// What an address that was never seen in the kept data is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UnknownIp {
    /// 404 `ResourceNotFound`, as the contract is written.
    #[default]
    NotFound,
    /// 200 with zeros and nulls, as the original behaves today.
    Zero,
}

/// How many calls of the counted route one application of one organisation gets; `None` is any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Calls in any 60 seconds.
    pub per_minute: Option<u32>,
    /// Calls in any 3,600 seconds.
    pub per_hour: Option<u32>,
}

impl Limits {
    /// As many as anybody likes.
    pub const OFF: Limits = Limits { per_minute: None, per_hour: None };

    /// These, but for what an application has of its own.
    pub fn with(self, own: CallLimits) -> Limits {
        let chosen = |own: CallLimit, usual| match own {
            CallLimit::Default => usual,
            CallLimit::Off => None,
            CallLimit::Calls(calls) => Some(calls.get()),
        };
        Limits {
            per_minute: chosen(own.per_minute, self.per_minute),
            per_hour: chosen(own.per_hour, self.per_hour),
        }
    }

    /// One of the two.
    pub fn of(self, quota: Quota) -> Option<u32> {
        match quota {
            Quota::Minute => self.per_minute,
            Quota::Hour => self.per_hour,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { per_minute: Some(100), per_hour: Some(1_500) }
    }
}

/// The settings of the HTTP side. Make one from [`Settings::default`] and change what differs.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The answer for an address that was never seen.
    pub unknown_ip: UnknownIp,
    /// Whether answers carry `orgPrevalence`, the number as a string, beside the number itself.
    pub legacy_prevalence: bool,
    /// Which first connection `orgFirstSeen` reports.
    pub first_seen: FirstSeen,
    /// The call limits of every application that has none of its own.
    pub limits: Limits,
    /// The URL that callers know this server by, without a path: the `iss` of its tokens and a resource of its own.
    /// Without it, both are `https://` (without TLS `http://`) and the address listened on.
    pub public_url: Option<String>,
    /// Issuer URLs of other servers that share this server's book and signing keys: their tokens are accepted too.
    pub sibling_urls: Vec<String>,
    /// Peers whose `X-Forwarded-Proto` and `X-Forwarded-Host` are believed, and whose PROXY headers.
    pub trusted_proxies: Vec<Network>,
    /// Whether every connection of callers begins with a header of the PROXY protocol (version 2), from a trusted proxy.
    pub proxy_protocol: bool,
    /// Hosts under which the service is called, beside the presets', our URLs', those in the certificate, and the address
    /// listened on. Another is refused.
    pub endpoints: Vec<Endpoint>,
    /// Whether the hosts of the original service are endpoints.
    pub preset_endpoints: bool,
    /// Resources (audiences) granted and accepted beyond those of the presets, of the endpoints, and our own URL.
    pub extra_resources: Vec<String>,
    /// The key under which private keys are encrypted where they are kept; without it they are kept in the clear.
    pub sealing_key: Option<SealingKey>,
    /// After how long another signing key is made.
    pub signing_key_lifetime: Duration,
    /// Issuers whose tokens are believed beside the built-in one's. No two have the same `iss`.
    pub issuers: Vec<OutsideIssuer>,
    /// How long one request may take before it is answered with 503.
    pub request_timeout: Duration,
    /// How long what comes before the first request may take: a proxy's header, and the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a connection may take to send the head of its next request; also how long it may stay idle.
    pub header_timeout: Duration,
    /// How long a peer may leave an answer unread before its connection is cut.
    pub write_timeout: Duration,
    /// How long a body that no route wants may take to arrive; its connection is closed after the answer then.
    pub drain_timeout: Duration,
    /// How long open requests may go on after the shutdown signal.
    pub shutdown_timeout: Duration,
    /// Connections served at once; further ones are told to come back later (503).
    pub connections_max: usize,
    /// Requests that one connection of HTTP/2 may have under way at once.
    pub streams_max: u32,
    /// The largest form that the token endpoint reads, in bytes.
    pub form_bytes_max: usize,
    /// How long that form may take to arrive.
    pub form_timeout: Duration,
    /// Uploads of sources that are taken in at once; further ones are told to come back.
    pub uploads_max: usize,
    /// The largest body of an upload, as it is decompressed. (Other protocols have bounds of their own.)
    pub upload_bytes_max: u64,
    /// How long an upload may pause.
    pub upload_idle_timeout: Duration,
    /// How much of a needless body is read and thrown away, in bytes; a connection with more is closed.
    pub drained_bytes_max: usize,
}

impl Settings {
    /// The presets and the operator's own endpoints; an own one takes the place of presets of the same name.
    pub fn every_endpoint(&self) -> Vec<Endpoint> {
        endpoints::all(&self.endpoints, self.preset_endpoints)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            unknown_ip: UnknownIp::default(),
            legacy_prevalence: true,
            first_seen: FirstSeen::default(),
            limits: Limits::default(),
            public_url: None,
            sibling_urls: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            endpoints: Vec::new(),
            preset_endpoints: true,
            extra_resources: Vec::new(),
            sealing_key: None,
            signing_key_lifetime: Duration::from_hours(24 * 90),
            issuers: Vec::new(),
            request_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            // Below the 10 s after which container managers kill.
            shutdown_timeout: Duration::from_secs(8),
            connections_max: 4_096,
            streams_max: 100,
            form_bytes_max: 64 * 1024,
            form_timeout: Duration::from_secs(20),
            uploads_max: 64,
            upload_bytes_max: 8 << 30,
            upload_idle_timeout: Duration::from_secs(30),
            drained_bytes_max: 64 * 1024,
        }
    }
}
