//! Access tokens: every check before one is believed. Refuses to hold: how one is made (`mint`), what a token may do
//! today (the book says, at every request), keys that a token points to, and tokens themselves: what was checked before
//! is remembered by SHA-256.
//!
//! The issuer of a token is this server or a listed sibling: a signature of ours alone is not enough.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sighting::{ApplicationId, OrganisationId, Uuid};

use crate::keys::Ring;
use crate::secret::sha256;
use crate::state::Shared;

/// How far the clock of whoever made a token may be from ours.
const LEEWAY_S: u64 = 300;
/// A longer token is not looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Checked tokens remembered at once; a token is about 300 bytes here.
const CHECKED_MAX: usize = 10_000;

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
    /// The algorithm is not RS256.
    Algorithm,
    /// The type is not `JWT` or `at+jwt`, or the header wants to bring its own key.
    Header,
    /// The key is none of ours.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// The issuer is not this server for the token's organisation.
    Issuer,
    /// The audience is no resource of this server, or none of the endpoint that was called.
    Audience,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// There is no such organisation.
    UnknownOrganisation,
    /// There is no such application in the organisation.
    UnknownApplication,
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
        }
    }
}

/// What a believed token says. It still has to be held against the book.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) organisation: OrganisationId,
    pub(crate) application: ApplicationId,
    /// The resource that it is for, as it is written.
    pub(crate) audience: String,
    /// The application permissions by their names.
    pub(crate) roles: Vec<String>,
    /// The scopes that it has for a user, where it speaks for one, whatever its roles say.
    pub(crate) delegated: Option<String>,
    kid: String,
    not_before: u64,
    expires: u64,
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
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    jku: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
}

impl Header {
    fn check(&self) -> Result<(), TokenRefusal> {
        if self.alg != "RS256" {
            return Err(TokenRefusal::Algorithm);
        }
        let typ = self.typ.as_deref().unwrap_or_default();
        let known_type = typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt");
        let own_key =
            [&self.jku, &self.jwk, &self.x5u, &self.x5c, &self.crit].iter().any(|field| field.is_some());
        if known_type && !own_key { Ok(()) } else { Err(TokenRefusal::Header) }
    }
}

/// The claims as they are written; a claim that is written twice makes the token malformed.
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
}

/// Every check of a token that does not need the book beyond its keys.
fn verify(shared: &Shared, ring: &Ring, token: &str) -> Result<Claims, TokenRefusal> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
    let header: Header = decode(header)?;
    header.check()?;
    let kid = header.kid.unwrap_or_default();
    let key = ring.key(&kid).ok_or(TokenRefusal::UnknownKey)?;
    if !key.is_signature(signature, message) {
        return Err(TokenRefusal::Signature);
    }
    believed(shared, decode(claims)?, kid)
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenRefusal> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenRefusal::Malformed)
}

/// The signature is ours; what is left is whether the token was meant for this server.
fn believed(shared: &Shared, written: WrittenClaims, kid: String) -> Result<Claims, TokenRefusal> {
    let organisation = Uuid::try_parse(&written.tid).map_err(|_| TokenRefusal::Malformed)?;
    let (suffix, application) = match written.ver.as_str() {
        "1.0" => (format!("/{organisation}/"), written.appid),
        "2.0" => (format!("/{organisation}/v2.0"), written.azp),
        _ => return Err(TokenRefusal::Malformed),
    };
    let application = application.and_then(|id| Uuid::try_parse(&id).ok()).ok_or(TokenRefusal::Malformed)?;
    if !written.iss.strip_suffix(&suffix).is_some_and(|issuer| shared.is_issuer_url(issuer)) {
        return Err(TokenRefusal::Issuer);
    }
    if !shared.is_resource(&written.aud) {
        return Err(TokenRefusal::Audience);
    }
    let scopes = written.scp.as_ref().map(|scopes| scopes.as_str().unwrap_or_default().to_owned());
    let is_for_itself = written.idtyp.as_deref() == Some("app");
    Ok(Claims {
        organisation: OrganisationId(organisation),
        application: ApplicationId(application),
        audience: written.aud,
        roles: written.roles,
        delegated: scopes.or_else(|| (!is_for_itself).then(String::new)),
        kid,
        not_before: written.nbf,
        expires: written.exp,
    })
}

/// Tokens that passed every check before, by SHA-256; the key and the time are looked at again each time.
#[derive(Default)]
pub(crate) struct CheckedTokens(
    // A std mutex: nothing is awaited while it is held.
    Mutex<HashMap<[u8; 32], Arc<Claims>, foldhash::fast::RandomState>>,
);

impl CheckedTokens {
    /// What a token says, if it is to be believed now.
    pub(crate) fn check(
        &self,
        shared: &Shared,
        ring: &Ring,
        token: &str,
        now_s: u64,
    ) -> Result<Arc<Claims>, TokenRefusal> {
        let hash = sha256(token.as_bytes());
        if let Some(claims) = self.get(&hash).filter(|claims| ring.key(&claims.kid).is_some()) {
            claims.check_time(now_s)?;
            return Ok(claims);
        }
        let claims = Arc::new(verify(shared, ring, token)?);
        claims.check_time(now_s)?;
        self.remember(hash, &claims, now_s);
        Ok(claims)
    }

    fn get(&self, hash: &[u8; 32]) -> Option<Arc<Claims>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    fn remember(&self, hash: [u8; 32], claims: &Arc<Claims>, now_s: u64) {
        let mut checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= CHECKED_MAX {
            checked.retain(|_, claims| claims.check_time(now_s).is_ok());
        }
        // Still full of good tokens: forgetting all costs one signature check each, and is bounded.
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(hash, Arc::clone(claims));
    }
}
