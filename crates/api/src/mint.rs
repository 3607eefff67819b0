//! Access tokens as the built-in issuer makes them: their two published shapes, and how one is signed. Refuses to hold:
//! who is given one (`issuer`), and how one is believed (`token`).
//!
//! A token is a JWT signed by one of our own keys with RS256, header `{"typ":"JWT","alg":"RS256","kid":…}`. Its `iss`
//! is `{issuer}/{tid}/v2.0` (`ver` 2.0) or `{issuer}/{tid}/` (`ver` 1.0), where `{issuer}` is this server's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sighting::{ApplicationId, OrganisationId, Permission, Uuid};

use crate::keys::Key;
use crate::secret::sha256;

/// How long a token lives.
pub(crate) const LIFETIME_S: u64 = 3_600;

/// Which of the two published token shapes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    V1,
    V2,
}

/// What the issuer puts into a token.
pub(crate) struct Grant<'a> {
    pub(crate) shape: Shape,
    pub(crate) issuer_url: &'a str,
    pub(crate) organisation: OrganisationId,
    pub(crate) application: ApplicationId,
    pub(crate) permissions: &'a [Permission],
    /// The audience, exactly as it was asked for.
    pub(crate) resource: &'a str,
    pub(crate) now_s: u64,
    /// Makes two tokens of one second differ.
    pub(crate) unique: [u8; 16],
}

#[derive(Serialize)]
struct GrantHeader<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
}

/// Both shapes; what a shape has not is left out.
#[derive(Serialize)]
struct GrantClaims<'a> {
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
    oid: String,
    roles: Vec<&'static str>,
    sub: String,
    tid: String,
    uti: String,
    jti: String,
    ver: &'static str,
}

impl Grant<'_> {
    /// The signed token; `None` if the library refuses to sign.
    pub(crate) fn sign(&self, key: &Key) -> Option<String> {
        let header = GrantHeader { typ: "JWT", alg: "RS256", kid: &key.kid };
        let message = format!("{}.{}", encode(&header)?, encode(&self.claims())?);
        let signature = key.sign(&message)?;
        Some(format!("{message}.{signature}"))
    }

    fn claims(&self) -> GrantClaims<'_> {
        let (tid, application) = (self.organisation, Some(self.application.to_string()));
        let object = object_id(self.organisation, self.application).to_string();
        let unique = URL_SAFE_NO_PAD.encode(self.unique);
        let v2 = self.shape == Shape::V2;
        GrantClaims {
            aud: self.resource,
            iss: issuer(self.shape, self.issuer_url, &tid.to_string()),
            iat: self.now_s,
            nbf: self.now_s,
            exp: self.now_s + LIFETIME_S,
            appid: application.clone().filter(|_| !v2),
            appidacr: (!v2).then_some("1"),
            azp: application.filter(|_| v2),
            azpacr: v2.then_some("1"),
            idtyp: "app",
            oid: object.clone(),
            roles: self.permissions.iter().map(|permission| permission.name()).collect(),
            sub: object,
            tid: tid.to_string(),
            uti: unique.clone(),
            jti: unique,
            ver: if v2 { "2.0" } else { "1.0" },
        }
    }
}

/// The `iss` of a shape for a tenant.
pub(crate) fn issuer(shape: Shape, issuer_url: &str, tenant: &str) -> String {
    match shape {
        Shape::V1 => format!("{issuer_url}/{tenant}/"),
        Shape::V2 => format!("{issuer_url}/{tenant}/v2.0"),
    }
}

/// The id of an application as a principal of its organisation: always the same for the two (a version 8 UUID).
fn object_id(organisation: OrganisationId, application: ApplicationId) -> Uuid {
    let both = [organisation.0.as_bytes().as_slice(), application.0.as_bytes()].concat();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sha256(&both)[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

fn encode(part: &impl Serialize) -> Option<String> {
    serde_json::to_vec(part).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}
