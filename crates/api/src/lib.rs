//! HTTP for seenby: any client written for Defender for Endpoint's Get IP statistics works against this router.
//!
//! Holds: the two lists that explain the service (`routes`, `layers`), bearer tokens, the built-in issuer for applications and for
//! people, outside issuers and their keys, receivers of what sources push, administration, exact call limits that outlive the process, the OData view,
//! errors, metrics, and the loops that accept connections, with TLS or without.
//!
//! Refuses to hold: files, the wall clock, randomness and the way to other servers (all four are given), how sightings are
//! stored or counted (`Store`), and who keeps the book and the tickets (`Directory`). Only `view` and `presets` know names of
//! the original service.

mod admin;
mod assertion;
mod authorize;
mod bearer;
mod called;
mod client;
mod connection;
mod device_code;
mod discovery;
mod endpoints;
mod error;
mod form;
mod host;
mod issuer;
mod keys;
mod layers;
mod limits;
mod metrics;
mod mint;
mod oauth;
mod openapi;
mod outside;
mod page;
mod password;
mod peer;
mod presets;
mod probes;
mod proxied;
mod query;
mod ratelimit;
mod recall;
mod receive;
mod routes;
mod scope;
mod seal;
mod secret;
mod serve;
mod session;
mod settings;
mod signin;
mod state;
mod stats;
mod strangers;
mod throttle;
mod tls;
mod token;
mod upkeep;
mod view;

pub use assertion::{AssertionRefusal, CertificateError, read_certificate};
pub use bearer::{Holder, Principal};
pub use endpoints::{Endpoint, NoHost};
pub use error::{ApiError, ForAnother, Forbidden, Lacking, NotReceived};
pub use keys::{KeyError, check_signing_keys, new_signing_key};
pub use layers::REQUEST_ID_HEADER;
pub use limits::{Limiter, Quota, Refused, Room, Standing, Taken};
pub use metrics::Metrics;
pub use oauth::OAuthError;
pub use outside::{
    ApplicationIf, ClaimPath, ClaimPaths, EntraIssuer, IssuerKind, KeySetError, OidcIssuer, OutsideIssuer,
    usable_keys,
};
pub use password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, PasswordError, hash_password};
pub use presets::is_vendors_host;
pub use ratelimit::{POLICY_HEADER, STATE_HEADER};
#[cfg(any(test, fuzzing))]
pub use receive::fuzzed::{Protocol, Unwrapped, tokens, unwrapped};
pub use receive::{Intake, RefusedRecord, SourceReport, TakeError, Taken as UploadTaken, Taking, Upload};
pub use routes::router;
pub use seal::SealingKey;
pub use secret::{PlainSecret, new_secret};
pub use serve::{Listeners, serve};
pub use settings::{Limits, Settings, UnknownIp};
pub use state::{Clock, Entropy, Fetch, FetchRequest, Fetching, Machine, Millis, State};
pub use tls::{Tls, TlsError};
pub use token::{Client, TokenRefusal};
pub use upkeep::{UpkeepError, add_signing_key};
