//! Access tokens: what is checked of every one before it is believed, and what more of the built-in issuer's. Refuses to
//! hold: how one is made (`mint`), what only outside issuers' tokens have (`outside`), what a token may do today (the book
//! says, at every request), keys that a token points to, and tokens themselves: what was checked before is remembered by
//! SHA-256, with the key that it rests on.
//!
//! The issuer of a token is this server, a listed sibling, or an issuer of the settings: a good signature alone is not
//! enough.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sighting::{ApplicationId, Book, Issuer, OrganisationId, UserId, Uuid};

use crate::error::ApiError;
use crate::keys::Ring;
use crate::mint::Credential;
use crate::outside::algorithm_of;
use crate::secret::sha256;
use crate::state::Shared;

/// How far the clock of whoever made a token may be from ours.
const LEEWAY_S: u64 = 300;
/// A longer token is not looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Bytes of checked tokens that are remembered at once, counted as long as they were sent: what is kept of one is shorter.
const CHECKED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a request has no principal. Callers are told little of it; the metric and the log know all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TokenRefusal {
    /// There is no `Authorization` header.
    Missing,
    /// There is a token in the query string.
    InQuery,
    /// There are several `Authorization` headers.
    Repeated,
    /// The header is not `Bearer` and a token.
    NotBearer,
    /// The token is longer than 16 KiB.
    TooLong,
    /// The token is not three base64url parts around JSON objects of the right types.
    Malformed,
    /// The algorithm is not RS256 (or ES256, at an outside issuer), or not that of the key.
    Algorithm,
    /// The type is not that of an access token (`JWT` or `at+jwt`), or the header wants to bring its own key.
    Header,
    /// The key is none of the issuer's.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// The issuer is not one that may speak for the token's organisation.
    Issuer,
    /// The audience is no resource of this server, none that the issuer may grant, or none of the endpoint that was called.
    Audience,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// There is no such organisation.
    UnknownOrganisation,
    /// There is no such application in the organisation.
    UnknownApplication,
    /// The secret or certificate that it was got by has ended.
    EndedCredential,
    /// There is no such user in the organisation, or they were given another password since.
    UnknownUser,
}

impl TokenRefusal {
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            TokenRefusal::Missing => "missing",
            TokenRefusal::InQuery => "in_query",
            TokenRefusal::Repeated => "repeated",
            TokenRefusal::NotBearer => "not_bearer",
            TokenRefusal::TooLong => "too_long",
            TokenRefusal::Malformed => "malformed",
            TokenRefusal::Algorithm => "algorithm",
            TokenRefusal::Header => "header",
            TokenRefusal::UnknownKey => "unknown_key",
            TokenRefusal::Signature => "signature",
            TokenRefusal::Issuer => "issuer",
            TokenRefusal::Audience => "audience",
            TokenRefusal::Expired => "expired",
            TokenRefusal::NotYetValid => "not_yet_valid",
            TokenRefusal::UnknownOrganisation => "unknown_organisation",
            TokenRefusal::UnknownApplication => "unknown_application",
            TokenRefusal::EndedCredential => "ended_credential",
            TokenRefusal::UnknownUser => "unknown_user",
        }
    }
}

/// What a believed token says. It still has to be held against the book and against what it is shown for.
#[derive(Debug)]
pub(crate) struct Claims {
    /// What made it believed.
    pub(crate) rests: Rests,
    pub(crate) organisation: Bound,
    /// Which application sent it.
    pub(crate) client: Client,
    /// Which resource it is for.
    pub(crate) audience: Audience,
    /// The application permissions by their names.
    pub(crate) roles: Vec<String>,
    /// For whom it speaks, where that is a user, whatever its roles say.
    pub(crate) delegated: Option<Delegated>,
    pub(crate) not_before: u64,
    pub(crate) expires: u64,
}

/// The resource that a token is for, as the token writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Audience {
    /// One that its issuer may grant for this server.
    Ours(String),
    /// Another. The token is good for nothing here, but what is wrong with it can be told to whoever has it.
    Another(String),
}

impl Audience {
    /// What the token says.
    pub(crate) fn written(&self) -> &str {
        match self {
            Audience::Ours(written) | Audience::Another(written) => written,
        }
    }
}

/// The key that a token was checked with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Rests {
    /// One of our own; and what the token rests on beside it.
    OnOurs {
        kid: String,
        /// The secret or certificate that it was got by.
        credential: Option<Credential>,
        /// The user, if it speaks for one.
        user: Option<UserId>,
        /// When their password was set that they typed for it, in seconds since 1970.
        password_set_at: Option<u32>,
    },
    /// One of an outside issuer.
    OnOutside { issuer: usize, kid: String, thumbprint: [u8; 32] },
}

/// The organisation that a token is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// By the token's own word: our issuer writes it.
    Id(OrganisationId),
    /// By that of the settings: a name or an id.
    Named(String),
}

/// An application as a token names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// The id that it is counted under; at the built-in issuer the client id itself.
    pub id: ApplicationId,
    /// The client id as the token has it: anything that its issuer lets it be.
    pub written: Arc<str>,
}

/// A user for whom a token speaks.
#[derive(Clone, Debug)]
pub(crate) struct Delegated {
    /// What the user let the application do.
    pub(crate) scopes: Vec<String>,
    /// The user's id at the issuer; empty for nobody.
    pub(crate) user: Arc<str>,
    /// Ids of the user's groups.
    pub(crate) groups: Vec<String>,
    /// Whether there are more groups than the token has room for.
    pub(crate) groups_overflowed: bool,
    /// The names of the issuer under which the user may have roles.
    pub(crate) issuers: Arc<[Issuer]>,
}

impl Claims {
    fn check_time(&self, now_s: u64) -> Result<(), TokenRefusal> {
        if now_s > self.expires.saturating_add(LEEWAY_S) {
            return Err(TokenRefusal::Expired);
        }
        if now_s.saturating_add(LEEWAY_S) < self.not_before {
            return Err(TokenRefusal::NotYetValid);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
pub(crate) struct Header {
    alg: String,
    typ: Option<String>,
    pub(crate) kid: Option<String>,
    jku: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
}

impl Header {
    fn check(&self) -> Result<(), TokenRefusal> {
        self.algorithm()?;
        let typ = self.typ.as_deref().unwrap_or_default();
        let known_type = typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt");
        let own_key =
            [&self.jku, &self.jwk, &self.x5u, &self.x5c, &self.crit].iter().any(|field| field.is_some());
        if known_type && !own_key { Ok(()) } else { Err(TokenRefusal::Header) }
    }

    /// The algorithm that the token claims, if it is one that any key here is for.
    pub(crate) fn algorithm(&self) -> Result<Algorithm, TokenRefusal> {
        algorithm_of(&self.alg).ok_or(TokenRefusal::Algorithm)
    }
}

/// A token in its parts. Only its header was looked at.
pub(crate) struct Unchecked<'a> {
    pub(crate) header: Header,
    /// What is signed.
    pub(crate) message: &'a str,
    pub(crate) signature: &'a str,
    claims: &'a str,
}

impl<'a> Unchecked<'a> {
    fn parse(token: &'a str) -> Result<Unchecked<'a>, TokenRefusal> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
        let header: Header = decode(header)?;
        header.check()?;
        Ok(Unchecked { header, message, signature, claims })
    }

    /// The claims, which are anybody's word until the signature is checked.
    pub(crate) fn claims<T: for<'de> Deserialize<'de>>(&self) -> Result<T, TokenRefusal> {
        decode(self.claims)
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenRefusal> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenRefusal::Malformed)
}

/// The claims of our own tokens as they are written; a claim that is written twice makes the token malformed.
#[derive(Deserialize)]
struct WrittenClaims {
    aud: String,
    iss: String,
    tid: String,
    ver: String,
    exp: u64,
    nbf: u64,
    #[serde(rename = "iat")]
    _iat: u64,
    azp: Option<String>,
    appid: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    scp: Option<serde_json::Value>,
    idtyp: Option<String>,
    oid: Option<String>,
    seenby_cred: Option<String>,
    seenby_pwd: Option<u32>,
    #[serde(default)]
    groups: Vec<String>,
}

/// Every check of a token of the built-in issuer that does not need the book beyond its keys.
fn verify(shared: &Shared, ring: &Ring, token: &Unchecked<'_>) -> Result<Claims, TokenRefusal> {
    if token.header.algorithm()? != Algorithm::RS256 {
        return Err(TokenRefusal::Algorithm);
    }
    let kid = token.header.kid.as_deref().unwrap_or_default();
    let key = ring.key(kid).ok_or(TokenRefusal::UnknownKey)?;
    if !key.is_signature(token.signature, token.message) {
        return Err(TokenRefusal::Signature);
    }
    believed(shared, token.claims()?, kid.to_owned())
}

/// The signature is ours; what is left is whether the token was meant for this server.
fn believed(shared: &Shared, written: WrittenClaims, kid: String) -> Result<Claims, TokenRefusal> {
    let organisation = Uuid::try_parse(&written.tid).map_err(|_| TokenRefusal::Malformed)?;
    let (suffix, application) = match written.ver.as_str() {
        "1.0" => (format!("/{organisation}/"), &written.appid),
        "2.0" => (format!("/{organisation}/v2.0"), &written.azp),
        _ => return Err(TokenRefusal::Malformed),
    };
    let id = application.as_ref().and_then(|id| Uuid::try_parse(id).ok()).ok_or(TokenRefusal::Malformed)?;
    if !written.iss.strip_suffix(&suffix).is_some_and(|issuer| shared.is_issuer_url(issuer)) {
        return Err(TokenRefusal::Issuer);
    }
    let credential = match &written.seenby_cred {
        Some(text) => Some(Credential::parse(text).ok_or(TokenRefusal::Malformed)?),
        None => None,
    };
    let user = written.oid.as_deref().and_then(|id| Uuid::try_parse(id).ok()).map(UserId);
    let is_ours = shared.is_resource(&written.aud);
    Ok(Claims {
        rests: Rests::OnOurs { kid, credential, user, password_set_at: written.seenby_pwd },
        organisation: Bound::Id(OrganisationId(organisation)),
        client: Client { id: ApplicationId(id), written: id.to_string().into() },
        delegated: delegated(&written),
        audience: if is_ours { Audience::Ours(written.aud) } else { Audience::Another(written.aud) },
        roles: written.roles,
        not_before: written.nbf,
        expires: written.exp,
    })
}

/// For whom a token of ours speaks, where it has a scope or does not say that it is an application's.
fn delegated(written: &WrittenClaims) -> Option<Delegated> {
    let is_for_itself = written.idtyp.as_deref() == Some("app");
    let speaks = written.scp.is_some() || !is_for_itself;
    let scopes = written.scp.as_ref().and_then(|scopes| scopes.as_str()).unwrap_or_default();
    speaks.then(|| Delegated {
        scopes: scopes.split_ascii_whitespace().map(str::to_owned).collect(),
        user: written.oid.as_deref().unwrap_or_default().into(),
        groups: written.groups.clone(),
        groups_overflowed: false,
        issuers: [Issuer::BuiltIn].into(),
    })
}

/// Tokens that passed every check but that of the audience before, by SHA-256: whoever gets to read this memory finds none to use.
/// The key and the time are looked at again each time.
#[derive(Default)]
pub(crate) struct CheckedTokens(
    // A std mutex: nothing is awaited while it is held.
    Mutex<Checked>,
);

#[derive(Default)]
struct Checked {
    /// Each with the bytes that it counts for.
    tokens: HashMap<[u8; 32], (Arc<Claims>, usize), foldhash::fast::RandomState>,
    bytes: usize,
}

impl CheckedTokens {
    /// What a token says, if it is to be believed now.
    pub(crate) async fn check(
        &self,
        shared: &Shared,
        book: &Book,
        token: &str,
    ) -> Result<Arc<Claims>, ApiError> {
        let now_s = shared.now().0 / 1_000;
        let hash = sha256(token.as_bytes());
        let ring = shared.keys.ring(book);
        if let Some(claims) = self.get(&hash).filter(|claims| stands(shared, &ring, &claims.rests)) {
            claims.check_time(now_s)?;
            return Ok(claims);
        }
        let unchecked = Unchecked::parse(token)?;
        let claims = match shared.issuers.of(&unchecked) {
            Some(issuer) => shared.issuers.verify(shared, issuer, &unchecked).await?,
            None => verify(shared, &ring, &unchecked)?,
        };
        let claims = Arc::new(claims);
        claims.check_time(now_s)?;
        self.remember(hash, &claims, token.len(), now_s);
        Ok(claims)
    }

    fn get(&self, hash: &[u8; 32]) -> Option<Arc<Claims>> {
        let checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checked.tokens.get(hash).map(|(claims, _)| Arc::clone(claims))
    }

    fn remember(&self, hash: [u8; 32], claims: &Arc<Claims>, bytes: usize, now_s: u64) {
        let mut checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Checked { tokens, bytes: held } = &mut *checked;
        if *held + bytes > CHECKED_BYTES_MAX {
            tokens.retain(|_, (claims, _)| claims.check_time(now_s).is_ok());
            *held = tokens.values().map(|(_, bytes)| bytes).sum();
        }
        // Still full of good tokens: forgetting all costs one signature check each, and is bounded.
        if *held + bytes > CHECKED_BYTES_MAX {
            tokens.clear();
            *held = 0;
        }
        let replaced = tokens.insert(hash, (Arc::clone(claims), bytes)).map_or(0, |(_, bytes)| bytes);
        *held = *held + bytes - replaced;
    }
}

/// Whether the key that a token was checked with is still its issuer's.
fn stands(shared: &Shared, ring: &Ring, rests: &Rests) -> bool {
    match rests {
        Rests::OnOurs { kid, .. } => ring.key(kid).is_some(),
        Rests::OnOutside { issuer, kid, thumbprint } => {
            shared.issuers.has(*issuer, kid, thumbprint, shared.steady())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(expires: u64) -> Arc<Claims> {
        let rests =
            Rests::OnOurs { kid: "k".to_owned(), credential: None, user: None, password_set_at: None };
        Arc::new(Claims {
            rests,
            organisation: Bound::Named(String::new()),
            client: Client { id: ApplicationId(Uuid::nil()), written: "a".into() },
            audience: Audience::Ours(String::new()),
            roles: Vec::new(),
            delegated: None,
            not_before: 0,
            expires,
        })
    }

    /// Whoever has many good tokens fills the memory up to its bound; what has expired goes first.
    #[test]
    fn what_is_remembered_has_an_end() {
        let (checked, good, old) = (CheckedTokens::default(), claims(9_000), claims(1_000));
        let hash = |number: u32| sha256(&number.to_be_bytes());
        let held = || checked.0.lock().expect("whole").bytes;
        let most = (CHECKED_BYTES_MAX / TOKEN_BYTES_MAX) as u32;
        for number in 0..most {
            let claims = if number % 2 == 0 { &good } else { &old };
            checked.remember(hash(number), claims, TOKEN_BYTES_MAX, 1_000);
        }
        assert_eq!(held(), CHECKED_BYTES_MAX);
        checked.remember(hash(most), &good, TOKEN_BYTES_MAX, 2_000);
        assert_eq!(held(), CHECKED_BYTES_MAX / 2 + TOKEN_BYTES_MAX);
        assert!(checked.get(&hash(0)).is_some() && checked.get(&hash(1)).is_none());
        for number in most..most * 4 {
            checked.remember(hash(number), &good, TOKEN_BYTES_MAX, 2_000);
            assert!(held() <= CHECKED_BYTES_MAX, "{number}");
        }
    }
}
