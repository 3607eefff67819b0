//! Who calls: the address of the connection, or the one that trusted proxies name. Refuses to hold: what is done with it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderName;
use axum::http::request::Parts;
use sighting::{Directory, Network, Store};

use crate::proxied::is_trusted;
use crate::state::State;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The caller's address, if it came over a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<Peer, Infallible> {
        let connected = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let forwarded = parts.headers.get_all(FORWARDED_FOR).iter();
        let forwarded: Vec<&str> = forwarded.filter_map(|value| value.to_str().ok()).collect();
        let proxies = &state.shared().settings.trusted_proxies;
        Ok(Peer(connected.map(|peer| named(peer, &forwarded.join(","), proxies))))
    }
}

/// The last address that no trusted proxy has: each proxy adds at the end whom it heard, and what stands before an
/// untrusted one is only its word.
fn named(peer: IpAddr, forwarded: &str, proxies: &[Network]) -> IpAddr {
    let mut nearest = peer;
    for hop in forwarded.rsplit(',').map(str::trim) {
        if !is_trusted(proxies, nearest) {
            break;
        }
        match hop.parse() {
            Ok(address) => nearest = address,
            Err(_) => break,
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_name_others() {
        let proxies = [Network::parse("10.0.0.0/8").expect("a network")];
        for (peer, forwarded, expected) in [
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "unknown, 10.0.0.2", "10.0.0.2"),
            ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ] {
            let peer = peer.parse().expect("an address");
            assert_eq!(named(peer, forwarded, &proxies).to_string(), expected, "{peer} {forwarded}");
        }
    }
}
