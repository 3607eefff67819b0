//! Outside issuers as an operator means them: whose tokens are believed, for which organisation, and where in a token the
//! words stand. Refuses to hold: how the settings file writes it, files (what they hold is given), and keys that were
//! fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use sighting::{CallLimits, Uuid};

/// An issuer whose tokens are believed beside the built-in one's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutsideIssuer {
    /// Who it is, and how its tokens look.
    pub kind: IssuerKind,
    /// What its tokens must be meant for, each with or without one slash at the end; none is this server's own URL.
    pub audiences: Vec<String>,
    /// Its keys as a JWK set, where they are given instead of fetched: then nothing is ever asked of it.
    pub key_set: Option<Arc<[u8]>>,
    /// The certificates (PEM) of the only authorities that may vouch for its host; without them, the system's.
    pub trust: Option<Arc<[u8]>>,
    /// Call limits of its applications by their client id; others have those of every application.
    pub limits: BTreeMap<String, CallLimits>,
}

impl OutsideIssuer {
    /// Everything that its tokens may have in `iss`. No two issuers of a server share one.
    pub fn names(&self) -> Vec<String> {
        match &self.kind {
            IssuerKind::Entra(entra) => {
                entra.tenants.keys().flat_map(|tenant| entra.names(*tenant)).collect()
            }
            IssuerKind::Oidc(oidc) => vec![oidc.issuer.clone()],
        }
    }

    /// The organisations, by name or id, that its tokens may be for.
    pub fn organisations(&self) -> Vec<&str> {
        match &self.kind {
            IssuerKind::Entra(entra) => entra.tenants.values().map(String::as_str).collect(),
            IssuerKind::Oidc(oidc) => vec![&oidc.organisation],
        }
    }
}

/// Who an issuer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IssuerKind {
    /// Microsoft Entra ID.
    Entra(EntraIssuer),
    /// Anybody who speaks OpenID Connect.
    Oidc(OidcIssuer),
}

/// Some tenants of one cloud of Entra ID.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntraIssuer {
    /// The sign-in host's URL, without a slash at the end.
    pub authority: String,
    /// The organisation (by name or id) of each tenant. A tenant that is not listed is nobody.
    pub tenants: BTreeMap<Uuid, String>,
    /// Whether tokens for Microsoft's own API are accepted too.
    pub accept_defender_tokens: bool,
}

impl EntraIssuer {
    /// What a tenant's tokens have in `iss`: in the v2 form, which is also what the issuer calls itself, and in the v1 form,
    /// which is the same in every cloud.
    pub(super) fn names(&self, tenant: Uuid) -> [String; 2] {
        let authority = self.authority.trim_end_matches('/');
        [format!("{authority}/{tenant}/v2.0"), format!("https://sts.windows.net/{tenant}/")]
    }
}

/// One issuer with one `iss`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OidcIssuer {
    /// The `iss` of its tokens, letter by letter.
    pub issuer: String,
    /// The one organisation (by name or id) that its tokens are for.
    pub organisation: String,
    /// Where in a token the words stand.
    pub claims: ClaimPaths,
    /// What makes a token one of an application.
    pub application_if: ApplicationIf,
}

/// The road to one claim: names of members, from the outside in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimPath(pub Vec<String>);

impl ClaimPath {
    /// The path of names with dots between them.
    pub fn dotted(path: &str) -> ClaimPath {
        ClaimPath(path.split('.').map(str::to_owned).collect())
    }
}

/// Where the words of a token stand. Of several paths the first that leads somewhere counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimPaths {
    /// The permissions of an application.
    pub roles: Vec<ClaimPath>,
    /// What a user let the application do.
    pub scopes: Vec<ClaimPath>,
    /// The ids of a user's groups.
    pub groups: Vec<ClaimPath>,
    /// The client id.
    pub application: Vec<ClaimPath>,
    /// The user's id.
    pub user: Vec<ClaimPath>,
}

impl ClaimPaths {
    /// As most issuers write them.
    pub fn oidc() -> ClaimPaths {
        let paths = |paths: &[&str]| paths.iter().map(|path| ClaimPath::dotted(path)).collect();
        ClaimPaths {
            roles: paths(&["roles"]),
            scopes: paths(&["scope", "scp"]),
            groups: paths(&["groups"]),
            application: paths(&["azp", "client_id", "appid"]),
            user: paths(&["oid", "sub"]),
        }
    }

    /// As Keycloak writes them: the roles of the realm.
    pub fn keycloak() -> ClaimPaths {
        ClaimPaths { roles: vec![ClaimPath::dotted("realm_access.roles")], ..ClaimPaths::oidc() }
    }
}

/// What makes a token one of an application for itself, beyond `idtyp` and a `sub` that is the client id. Every other token
/// speaks for a user, which is the safe side: it then needs a role of this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplicationIf {
    /// Nothing more.
    Standard,
    /// What Keycloak writes for service accounts alone: `client_id` (older versions: `clientId`), the client's id
    /// again, and a user name that is the service account's.
    Keycloak,
    /// A claim, with any value or with this one.
    Claim(ClaimPath, Option<String>),
}
