//! What was called: the scheme and the host that the client sees, for links in answers. Forwarded headers count only
//! from trusted proxies. Refuses to hold: the issuer's URL (it must not follow a header) and any check of who may call
//! which host.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use sighting::{Directory, Store};

use crate::proxied::is_trusted;
use crate::state::{Shared, State};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// DNS names have at most 253 characters; a port and brackets need a few more.
const HOST_BYTES_MAX: usize = 264;

/// What a connection that this server accepted speaks. What a client writes before `://` in an absolute request target is
/// only its word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As URLs begin.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// `{scheme}://{host}` as the client called it, without a slash at the end.
pub(crate) struct Called(pub(crate) String);

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for Called {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<Called, Infallible> {
        Ok(Called(base(state.shared(), parts)))
    }
}

fn base(shared: &Shared, parts: &Parts) -> String {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let forwarded = peer.is_some_and(|peer| is_trusted(&shared.settings.trusted_proxies, peer));
    let header = |name: &HeaderName| first_value(&parts.headers, name).filter(|_| forwarded);
    let forwarded_scheme = header(&FORWARDED_PROTO)
        .and_then(|scheme| ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known)));
    let scheme =
        forwarded_scheme.unwrap_or_else(|| parts.extensions.get().copied().unwrap_or(Scheme::Http).as_str());
    let host = header(&FORWARDED_HOST)
        .or(parts.uri.authority().map(axum::http::uri::Authority::as_str))
        .or(first_value(&parts.headers, &HOST))
        .filter(|host| is_host(host));
    host.map_or_else(|| shared.issuer_url(), |host| format!("{scheme}://{host}"))
}

/// The first of a header's comma-separated values: with several proxies, what the first one was called by.
fn first_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    value.split(',').next().map(str::trim)
}

/// A name or an address with an optional port; nothing that could end a URL's authority.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(allowed)
}
