//! What was called: the scheme and the host that the client sees, for links in answers, and whether that host is one of ours.
//! Forwarded headers count only from trusted proxies. Refuses to hold: the issuer's URL (it must not follow a header),
//! and the list of endpoints.
//!
//! A host that is not ours is refused because a page of anybody's can make a browser call us by a name of its own that
//! leads here (DNS rebinding), and because links in answers say what was called.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, Request, Uri, Version};
use sighting::{Directory, Store};

use crate::endpoints::Endpoint;
use crate::error::ApiError;
use crate::host::{Host, Name};
use crate::proxied::is_trusted;
use crate::state::{Shared, State};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

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

    /// What a host without a port means.
    pub(crate) fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    fn parse(text: &str) -> Option<Scheme> {
        [Scheme::Http, Scheme::Https].into_iter().find(|known| text.eq_ignore_ascii_case(known.as_str()))
    }
}

/// How a connection came to this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// What it speaks.
    pub(crate) scheme: Scheme,
    /// Where the listener that accepted it listens.
    pub(crate) listener: SocketAddr,
    /// This side's address of the connection itself.
    pub(crate) local: SocketAddr,
    /// Whether requests may call any host here: on an operator's listener that others than browsers of this machine reach.
    pub(crate) by_any_name: bool,
}

impl Reached {
    /// Whether a host is where this connection goes, by its address or by a name of loopback.
    fn is_called(&self, name: &Name<'_>, port: u16) -> bool {
        let (listener, local) = (canonical(self.listener), canonical(self.local));
        let is_everywhere = listener.ip().is_unspecified();
        let is_of_loopback = (listener.ip().is_loopback() || is_everywhere) && port == listener.port();
        match name {
            Name::Dns(name) => is_of_loopback && name == "localhost",
            Name::Address(address) => {
                let called = SocketAddr::new(*address, port);
                called == listener || called == local || (is_of_loopback && is_first_of_loopback(*address))
            }
        }
    }
}

/// An IPv4 address as such, on a listener for both kinds too.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_first_of_loopback(address: IpAddr) -> bool {
    address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
}

/// A name of this server that needs no list: the host of its URL, or of a sibling's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OwnName {
    host: Host<'static>,
    scheme: Scheme,
}

impl OwnName {
    /// The host of a URL.
    pub(crate) fn of_url(url: &str) -> Option<OwnName> {
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?;
        Some(OwnName { host: Host::parse(host)?.into_owned(), scheme: Scheme::parse(scheme)? })
    }

    /// Whether it is what was called: written like it, or with the port that is meant. A proxy that takes TLS off and says
    /// nothing of it passes a host without a port on.
    fn is_called(&self, host: &Host<'_>, port: u16) -> bool {
        let own_port = self.host.port.unwrap_or(self.scheme.port());
        self.host.name == host.name && (self.host.port == host.port || own_port == port)
    }
}

/// The endpoint that a request calls; requests to names that are no endpoint carry none.
#[derive(Clone)]
pub(crate) struct AtEndpoint(pub(crate) Arc<Endpoint>);

/// Whether the host that a request calls is ours, and which endpoint it is, if it is one.
pub(crate) fn admit<B>(shared: &Shared, request: &Request<B>) -> Result<Option<AtEndpoint>, ApiError> {
    let (headers, uri, extensions) = (request.headers(), request.uri(), request.extensions());
    let Some(text) = host_text(shared, headers, uri, extensions)? else {
        // Before version 1.1 nobody had to say it; no browser leaves it out.
        return if request.version() < Version::HTTP_11 { Ok(None) } else { Err(NO_HOST) };
    };
    let host = Host::parse(text).ok_or(NO_HOST)?;
    let port = host.port.unwrap_or(scheme(shared, headers, extensions).port());
    if let Some(endpoint) = shared.endpoints.find(&host.name, port) {
        return Ok(Some(AtEndpoint(Arc::clone(endpoint))));
    }
    let reached = extensions.get::<Reached>();
    let is_ours = reached.is_some_and(|reached| reached.by_any_name || reached.is_called(&host.name, port))
        || shared.own_names().iter().any(|own| own.is_called(&host, port))
        || shared.is_in_certificate(&host.name);
    if is_ours { Ok(None) } else { Err(ApiError::MisdirectedRequest { host: text.to_owned() }) }
}

const NO_HOST: ApiError =
    ApiError::BadRequest { problem: "Send one Host header, with the name of this server." };

/// `{scheme}://{host}` as the client called it, without a slash at the end.
pub(crate) struct Called(pub(crate) String);

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for Called {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<Called, Infallible> {
        let shared = state.shared();
        let Parts { headers, uri, extensions, .. } = parts;
        let host = host_text(shared, headers, uri, extensions).ok().flatten();
        let host = host.filter(|host| Host::parse(host).is_some());
        let scheme = scheme(shared, headers, extensions).as_str();
        Ok(Called(host.map_or_else(|| shared.issuer_url(), |host| format!("{scheme}://{host}"))))
    }
}

fn scheme(shared: &Shared, headers: &HeaderMap, extensions: &Extensions) -> Scheme {
    let forwarded = forwarded(shared, headers, extensions, &FORWARDED_PROTO).ok().flatten();
    let forwarded = forwarded.and_then(Scheme::parse);
    forwarded.unwrap_or_else(|| extensions.get::<Reached>().map_or(Scheme::Http, |reached| reached.scheme))
}

/// The host that the client called, as it is written where it counts most.
fn host_text<'a>(
    shared: &Shared,
    headers: &'a HeaderMap,
    uri: &'a Uri,
    extensions: &Extensions,
) -> Result<Option<&'a str>, ApiError> {
    let forwarded = forwarded(shared, headers, extensions, &FORWARDED_HOST)?;
    if let Some(forwarded) = forwarded.filter(|forwarded| !forwarded.is_empty()) {
        return Ok(Some(forwarded));
    }
    match uri.authority() {
        Some(authority) => Ok(Some(authority.as_str())),
        None => headers.get(HOST).map(|value| value.to_str().map_err(|_| NO_HOST)).transpose(),
    }
}

/// A header that only trusted proxies may send: the first of its comma-separated values, which with several proxies is what
/// the first one was called by.
fn forwarded<'a>(
    shared: &Shared,
    headers: &'a HeaderMap,
    extensions: &Extensions,
    name: &HeaderName,
) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if !peer.is_some_and(|peer| is_trusted(&shared.settings.trusted_proxies, peer)) {
        return Ok(None);
    }
    let value = value.to_str().map_err(|_| NO_HOST)?;
    Ok(value.split(',').next().map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_called(listener: &str, local: &str, host: &str) -> bool {
        let address = |text: &str| text.parse().expect("an address");
        let (scheme, listener, local) = (Scheme::Http, address(listener), address(local));
        let reached = Reached { scheme, listener, local, by_any_name: false };
        let host = Host::parse(host).expect("a host");
        reached.is_called(&host.name, host.port.unwrap_or(80))
    }

    #[test]
    fn where_a_connection_goes() {
        let (loopback, everywhere, one) = ("127.0.0.1:8787", "0.0.0.0:8787", "192.0.2.7:8787");
        for (listener, local, host, expected) in [
            (loopback, loopback, "127.0.0.1:8787", true),
            (loopback, loopback, "LOCALHOST:8787", true),
            (loopback, loopback, "[::1]:8787", true),
            (loopback, loopback, "127.0.0.1", false),
            (loopback, loopback, "127.0.0.1:8788", false),
            (loopback, loopback, "127.0.0.2:8787", false),
            (loopback, loopback, "localhost.example:8787", false),
            ("127.0.0.1:80", "127.0.0.1:80", "localhost", true),
            (everywhere, one, "192.0.2.7:8787", true),
            (everywhere, one, "192.0.2.8:8787", false),
            (everywhere, one, "localhost:8787", true),
            (everywhere, one, "0.0.0.0:8787", true),
            ("[::]:8787", "[::ffff:192.0.2.7]:8787", "192.0.2.7:8787", true),
            ("[::]:8787", "[2001:db8::7]:8787", "[2001:DB8:0::7]:8787", true),
            (one, one, "192.0.2.7:8787", true),
            (one, one, "localhost:8787", false),
        ] {
            assert_eq!(is_called(listener, local, host), expected, "{listener} {local} {host}");
        }
    }

    #[test]
    fn own_urls() {
        for (url, host, port, expected) in [
            ("https://seenby.example", "SEENBY.example.", 443, true),
            ("https://seenby.example", "seenby.example:443", 443, true),
            // Behind a proxy that does not say that TLS was spoken.
            ("https://seenby.example", "seenby.example", 80, true),
            ("https://seenby.example", "seenby.example:8787", 8787, false),
            ("https://seenby.example:8787", "seenby.example:8787", 8787, true),
            ("https://seenby.example:8787", "seenby.example", 443, false),
            ("http://[::1]:80/", "[::1]", 80, true),
            ("https://seenby.example", "x.seenby.example", 443, false),
        ] {
            let own = OwnName::of_url(url).expect("a URL");
            assert_eq!(own.is_called(&Host::parse(host).expect("a host"), port), expected, "{url} {host}");
        }
        assert_eq!(OwnName::of_url("seenby.example"), None);
    }
}
