//! From a request to the source that sends it: the token in any of the ways in which shippers send one. Refuses to hold: tokens of
//! people and applications (`bearer`), and each protocol's words for a refusal.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sighting::{Address, Book, Directory, Organisation, Source, Store};

use super::Intake;
use crate::error::ApiError;
use crate::secret::sha256;
use crate::state::{Open, State};

/// No token, or what is around one, is longer.
const AUTHORIZATION_BYTES_MAX: usize = 1_024;

/// A source that may send.
pub(crate) struct Pusher {
    pub(crate) organisation: Organisation,
    pub(crate) source: Source,
    /// The SHA-256 of its token.
    pub(crate) token: [u8; 32],
    pub(crate) book: Arc<Book>,
    pub(crate) intake: Arc<dyn Intake>,
}

/// Why somebody may not send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unwelcome {
    /// There is no token.
    Missing,
    /// What is there is no token.
    Malformed,
    /// It is no source's, or not any more.
    Unknown,
    /// It is a source's that may not send from there.
    Elsewhere,
    /// Nothing can be taken now.
    NotNow(ApiError),
}

impl Unwelcome {
    /// What a person is told.
    pub(crate) fn message(&self) -> &'static str {
        match self {
            Unwelcome::Missing => {
                "A source's token is required, as Authorization: Bearer, Splunk, ApiKey or Basic; `seenby source add` makes one."
            }
            Unwelcome::Malformed => {
                "The Authorization header has no token: send it as Bearer, Splunk, ApiKey, or as the password of Basic."
            }
            Unwelcome::Unknown => {
                "The token is no source's, or it has ended; `seenby source rotate` makes another. Tokens of applications do not send."
            }
            Unwelcome::Elsewhere => {
                "This source may not send from this address; `seenby source show` tells from where it may."
            }
            Unwelcome::NotNow(_) => "The server cannot take anything now; send it again after Retry-After.",
        }
    }
}

impl From<ApiError> for Unwelcome {
    fn from(error: ApiError) -> Unwelcome {
        Unwelcome::NotNow(error)
    }
}

impl Pusher {
    /// Who sends a request.
    pub(crate) async fn of<S: Store, D: Directory>(
        parts: &Parts,
        state: &State<S, D>,
    ) -> Result<Pusher, Unwelcome> {
        let candidates = candidates(&parts.headers)?;
        let Open { directory, .. } = state.open()?;
        let intake = Arc::clone(state.intake().ok_or(ApiError::NotReady)?);
        let book = directory.book().await.map_err(ApiError::from)?;
        let now = state.shared().now().second();
        let mut known = candidates.iter().filter_map(|token| {
            let token = sha256(token);
            book.source_of_token(&token, now).map(|source| (token, source))
        });
        let (token, source) = known.next().ok_or(Unwelcome::Unknown)?;
        let source = source.clone();
        if !source.bounds.networks.is_empty() && !peer(parts).is_some_and(|peer| source.bounds.admits(peer)) {
            return Err(Unwelcome::Elsewhere);
        }
        let organisation = book.organisations.get(&source.organisation).ok_or(Unwelcome::Unknown)?.clone();
        Ok(Pusher { organisation, source, token, book, intake })
    }
}

/// Whence it comes; behind a proxy that says so, whence that says.
fn peer(parts: &Parts) -> Option<Address> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Address::parse(&peer.ip().to_string()).ok()
}

/// What may be the token.
pub(super) fn candidates(headers: &HeaderMap) -> Result<Vec<Vec<u8>>, Unwelcome> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unwelcome::Missing)?;
    if values.next().is_some() || value.len() > AUTHORIZATION_BYTES_MAX {
        return Err(Unwelcome::Malformed);
    }
    let value = value.to_str().map_err(|_| Unwelcome::Malformed)?;
    let (scheme, rest) = value.split_once(' ').ok_or(Unwelcome::Malformed)?;
    let rest = rest.trim_matches(' ');
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "splunk" => Ok(vec![rest.as_bytes().to_vec()]),
        // The token itself, or what Elasticsearch makes of an id and a key.
        "apikey" => {
            Ok(std::iter::once(rest.as_bytes().to_vec()).chain(pair(rest).into_iter().flatten()).collect())
        }
        "basic" => pair(rest).map(Vec::from).ok_or(Unwelcome::Malformed),
        _ => Err(Unwelcome::Malformed),
    }
}

/// The second and the first of a pair in base64: a token is usually the password.
fn pair(encoded: &str) -> Option<[Vec<u8>; 2]> {
    let decoded = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
    let at = decoded.iter().position(|byte| *byte == b':')?;
    Some([decoded[at + 1..].to_vec(), decoded[..at].to_vec()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_token_is() {
        let check = |value: &str, expected: Result<&[&str], Unwelcome>| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a header"));
            let expected =
                expected.map(|all| all.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>());
            assert_eq!(candidates(&headers), expected, "{value}");
        };
        check("Bearer abc", Ok(&["abc"]));
        check("splunk  abc", Ok(&["abc"]));
        check("ApiKey abc", Ok(&["abc"]));
        check(&format!("ApiKey {}", STANDARD.encode("id:abc")), Ok(&["aWQ6YWJj", "abc", "id"]));
        check(&format!("Basic {}", STANDARD.encode("any:a:b")), Ok(&["a:b", "any"]));
        check(&format!("Basic {}", STANDARD.encode("no colon")), Err(Unwelcome::Malformed));
        check("Basic ?", Err(Unwelcome::Malformed));
        check("abc", Err(Unwelcome::Malformed));
        check("Digest abc", Err(Unwelcome::Malformed));
        check(&format!("Bearer {}", "a".repeat(2_000)), Err(Unwelcome::Malformed));
        assert_eq!(candidates(&HeaderMap::new()), Err(Unwelcome::Missing));
    }
}
