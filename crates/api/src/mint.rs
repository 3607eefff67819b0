//! Tokens as the built-in issuer makes them: access tokens in their two published shapes, for an application or for a
//! person, and id tokens. Refuses to hold: who is given one (`issuer`), and how one is believed (`token`).
//!
//! A token is a JWT signed by one of our own keys with RS256, header `{"typ":"JWT","alg":"RS256","kid":…}`. Its `iss`
//! is `{issuer}/{tid}/v2.0` (`ver` 2.0) or `{issuer}/{tid}/` (`ver` 1.0), where `{issuer}` is this server's. `seenby_cred`
//! names the secret or the certificate by which it was got, `seenby_pwd` when the password was set that was typed for it: with those, it
//! ends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sighting::{Application, ApplicationId, OrganisationId, Permission, Second, User};

use crate::keys::Key;
use crate::secret::uuid_of;

/// How long a token lives.
pub(crate) const LIFETIME_S: u64 = 3_600;
/// Bytes of a hash that name a secret or a certificate among those of one application.
const CREDENTIAL_BYTES: usize = 12;

/// Which of the two published token shapes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    V1,
    V2,
}

/// By what an application proved who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// A secret, by its SHA-256.
    Secret([u8; 32]),
    /// A certificate's key, by the certificate's SHA-256.
    Certificate([u8; 32]),
    /// Nothing: it is public and can keep no secret.
    None,
}

impl Proof {
    /// How tokens name it.
    pub(crate) fn credential(self) -> Option<Credential> {
        match self {
            Proof::Secret(sha256) | Proof::Certificate(sha256) => Some(Credential::of(&sha256)),
            Proof::None => None,
        }
    }

    /// `azpacr`: 0 nothing, 1 a secret, 2 a certificate.
    fn acr(self) -> &'static str {
        match self {
            Proof::None => "0",
            Proof::Secret(_) => "1",
            Proof::Certificate(_) => "2",
        }
    }
}

/// A secret or a certificate as tokens name it: the beginning of its hash, which finds it among those of the application
/// and gives nothing away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Credential([u8; CREDENTIAL_BYTES]);

impl Credential {
    fn of(sha256: &[u8; 32]) -> Credential {
        let mut bytes = [0; CREDENTIAL_BYTES];
        bytes.copy_from_slice(&sha256[..CREDENTIAL_BYTES]);
        Credential(bytes)
    }

    /// The credential that a token writes.
    pub(crate) fn parse(text: &str) -> Option<Credential> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Credential)
    }

    fn written(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether an application still has what a token was got by: a secret that has not ended, a certificate that is good; a
    /// public application has nothing and needs nothing.
    pub(crate) fn is_current(named: Option<Credential>, application: &Application, now: Second) -> bool {
        let Some(named) = named else { return application.sign_in.public };
        let secrets = application.secrets.iter();
        let mut secrets = secrets.filter(|secret| secret.expires_at.is_none_or(|end| now <= end));
        let certificates = application.certificates.iter();
        let mut certificates = certificates.filter(|certificate| now <= certificate.not_after);
        secrets.any(|secret| Credential::of(&secret.sha256) == named)
            || certificates.any(|certificate| Credential::of(&certificate.sha256) == named)
    }
}

/// For whom a token speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// The application itself, with its permissions.
    Application(&'a [Permission]),
    /// Somebody who signed in, with what the application may do for them.
    User(&'a User, &'a [Permission]),
}

/// What the issuer puts into a token.
pub(crate) struct Grant<'a> {
    pub(crate) shape: Shape,
    pub(crate) issuer_url: String,
    pub(crate) organisation: OrganisationId,
    pub(crate) application: ApplicationId,
    pub(crate) proof: Proof,
    pub(crate) subject: Subject<'a>,
    /// The audience, exactly as it was asked for.
    pub(crate) resource: &'a str,
    pub(crate) now_s: u64,
    /// Makes two tokens of one second differ.
    pub(crate) unique: [u8; 16],
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
}

/// Both shapes, of applications and of people; what one has not is left out.
#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    appid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appidacr: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    azp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    azpacr: Option<&'static str>,
    idtyp: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    oid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seenby_cred: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seenby_pwd: Option<u32>,
    sub: String,
    tid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_name: Option<&'a str>,
    uti: String,
    jti: String,
    ver: &'static str,
}

impl Grant<'_> {
    /// The signed token; `None` if the library refuses to sign.
    pub(crate) fn sign(&self, key: &Key) -> Option<String> {
        signed(&self.claims(), key)
    }

    fn claims(&self) -> Claims<'_> {
        let (tid, application) = (self.organisation, Some(self.application.to_string()));
        let unique = URL_SAFE_NO_PAD.encode(self.unique);
        let v2 = self.shape == Shape::V2;
        let user = match self.subject {
            Subject::Application(_) => None,
            Subject::User(user, _) => Some(user),
        };
        let (roles, scp) = match self.subject {
            Subject::Application(permissions) => (Some(names(permissions)), None),
            Subject::User(_, permissions) => (None, Some(names(permissions).join(" "))),
        };
        let object = || {
            uuid_of(&[self.organisation.0.as_bytes().as_slice(), self.application.0.as_bytes()].concat())
                .to_string()
        };
        Claims {
            aud: self.resource,
            iss: issuer(self.shape, &self.issuer_url, &tid.to_string()),
            iat: self.now_s,
            nbf: self.now_s,
            exp: self.now_s + LIFETIME_S,
            appid: application.clone().filter(|_| !v2),
            appidacr: (!v2).then_some(self.proof.acr()),
            azp: application.filter(|_| v2),
            azpacr: v2.then_some(self.proof.acr()),
            idtyp: if user.is_some() { "user" } else { "app" },
            name: user.map(|user| user.name.as_str()),
            oid: user.map_or_else(object, |user| user.id.to_string()),
            preferred_username: user.filter(|_| v2).map(|user| user.name.as_str()),
            roles,
            scp,
            seenby_cred: self.proof.credential().map(Credential::written),
            seenby_pwd: user.map(|user| user.password_set_at.unix()),
            sub: user.map_or_else(object, |user| subject(user, self.application)),
            tid: tid.to_string(),
            unique_name: user.filter(|_| !v2).map(|user| user.name.as_str()),
            uti: unique.clone(),
            jti: unique,
            ver: if v2 { "2.0" } else { "1.0" },
        }
    }
}

/// What a client learns of who signed in.
#[derive(Serialize)]
struct IdClaims<'a> {
    aud: String,
    iss: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    oid: String,
    preferred_username: &'a str,
    sub: String,
    tid: String,
    ver: &'static str,
}

impl Grant<'_> {
    /// An id token for who signed in; `None` for an application, or if the library refuses to sign.
    pub(crate) fn sign_id(&self, nonce: Option<&str>, key: &Key) -> Option<String> {
        let Subject::User(user, _) = self.subject else { return None };
        let claims = IdClaims {
            aud: self.application.to_string(),
            iss: issuer(self.shape, &self.issuer_url, &self.organisation.to_string()),
            iat: self.now_s,
            nbf: self.now_s,
            exp: self.now_s + LIFETIME_S,
            name: &user.name,
            nonce,
            oid: user.id.to_string(),
            preferred_username: &user.name,
            sub: subject(user, self.application),
            tid: self.organisation.to_string(),
            ver: if self.shape == Shape::V2 { "2.0" } else { "1.0" },
        };
        signed(&claims, key)
    }
}

/// What some clients know an account by, if they ask for it (`client_info=1`).
pub(crate) fn client_info(user: &User) -> Option<String> {
    #[derive(Serialize)]
    struct ClientInfo {
        uid: String,
        utid: String,
    }
    encode(&ClientInfo { uid: user.id.to_string(), utid: user.organisation.to_string() })
}

fn names(permissions: &[Permission]) -> Vec<&'static str> {
    permissions.iter().map(|permission| permission.name()).collect()
}

/// The `iss` of a shape for a tenant.
pub(crate) fn issuer(shape: Shape, issuer_url: &str, tenant: &str) -> String {
    match shape {
        Shape::V1 => format!("{issuer_url}/{tenant}/"),
        Shape::V2 => format!("{issuer_url}/{tenant}/v2.0"),
    }
}

/// Who a person is to one application: two applications cannot tell by it that they have the same person.
fn subject(user: &User, application: ApplicationId) -> String {
    uuid_of(&[user.id.0.as_bytes().as_slice(), application.0.as_bytes()].concat()).to_string()
}

fn signed(claims: &impl Serialize, key: &Key) -> Option<String> {
    let header = Header { typ: "JWT", alg: "RS256", kid: &key.kid };
    let message = format!("{}.{}", encode(&header)?, encode(claims)?);
    let signature = key.sign(&message)?;
    Some(format!("{message}.{signature}"))
}

fn encode(part: &impl Serialize) -> Option<String> {
    serde_json::to_vec(part).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}
