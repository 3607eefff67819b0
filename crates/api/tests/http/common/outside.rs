//! Outside issuers as the tests know them: Entra ID with two tenants, a Keycloak, a plain OpenID Connect; good tokens of each,
//! to be changed. Refuses to hold: expectations.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seenby_api::{ApplicationIf, ClaimPaths, EntraIssuer, IssuerKind, OidcIssuer, OutsideIssuer, Settings};
use serde_json::{Value, json};
use sighting::Uuid;

use super::issuers::{Net, Signer};
use super::{NOW, OTHER, Reply, SEEN, TestApp, changed};

/// Tenants of Entra ID: of the two organisations, and one that nobody lists.
pub const TENANT: Uuid = Uuid::from_u128(0xa000_0000_0000_4000_8000_0000_0000_000a);
pub const TENANT_OF_OTHER: Uuid = Uuid::from_u128(0xb000_0000_0000_4000_8000_0000_0000_000b);
pub const TENANT_OF_NOBODY: Uuid = Uuid::from_u128(0xc000_0000_0000_4000_8000_0000_0000_000c);
pub const AUTHORITY: &str = "https://login.microsoftonline.com";
pub const CLIENT: &str = "5d5d5d5d-0000-4000-8000-00000000000d";
pub const USER: &str = "7e7e7e7e-0000-4000-8000-00000000000e";
pub const GROUP: &str = "9f9f9f9f-0000-4000-8000-00000000000f";
pub const KEYCLOAK: &str = "https://keycloak.example/realms/acme";
pub const OIDC: &str = "https://idp.example/";
pub const OWN: &str = "http://localhost";

/// Keys are slow to make: the same for all tests of this file.
pub fn entra_key() -> &'static Signer {
    static KEY: OnceLock<Signer> = OnceLock::new();
    KEY.get_or_init(|| Signer::rsa("entra-1"))
}

pub fn oidc_key() -> &'static Signer {
    static KEY: OnceLock<Signer> = OnceLock::new();
    KEY.get_or_init(|| Signer::rsa("oidc-1"))
}

pub fn keycloak_key() -> &'static Signer {
    static KEY: OnceLock<Signer> = OnceLock::new();
    KEY.get_or_init(|| Signer::ec("keycloak-1"))
}

/// A network with the issuers of the settings, each with its keys.
pub fn network() -> Net {
    let net = Net::empty();
    for tenant in [TENANT, TENANT_OF_OTHER] {
        net.publish(&format!("{AUTHORITY}/{tenant}/v2.0"), &[entra_key()]);
    }
    net.publish(KEYCLOAK, &[keycloak_key()]);
    net.publish(OIDC, &[oidc_key()]);
    net
}

pub fn entra() -> OutsideIssuer {
    let tenants = BTreeMap::from([(TENANT, "acme".to_owned()), (TENANT_OF_OTHER, OTHER.to_string())]);
    let kind = EntraIssuer { authority: AUTHORITY.into(), tenants, accept_defender_tokens: false };
    issuer(IssuerKind::Entra(kind))
}

pub fn keycloak() -> OutsideIssuer {
    oidc_of(KEYCLOAK, "Acme", ClaimPaths::keycloak(), ApplicationIf::Keycloak)
}

pub fn oidc() -> OutsideIssuer {
    oidc_of(OIDC, "Other", ClaimPaths::oidc(), ApplicationIf::Standard)
}

pub fn oidc_of(
    url: &str,
    organisation: &str,
    claims: ClaimPaths,
    application_if: ApplicationIf,
) -> OutsideIssuer {
    let (issuer_url, organisation) = (url.to_owned(), organisation.to_owned());
    issuer(IssuerKind::Oidc(OidcIssuer { issuer: issuer_url, organisation, claims, application_if }))
}

pub fn issuer(kind: IssuerKind) -> OutsideIssuer {
    OutsideIssuer { kind, audiences: Vec::new(), key_set: None, trust: None, limits: BTreeMap::new() }
}

pub async fn app_of(issuers: Vec<OutsideIssuer>, net: &Net) -> TestApp {
    TestApp::with_fetch(Settings { issuers, ..Settings::default() }, net.fetch()).await
}

pub async fn app(net: &Net) -> TestApp {
    app_of(vec![entra(), keycloak(), oidc()], net).await
}

pub fn v2_claims() -> Value {
    json!({
        "aud": OWN, "iss": format!("{AUTHORITY}/{TENANT}/v2.0"), "iat": NOW, "nbf": NOW, "exp": NOW + 3_600,
        "azp": CLIENT, "azpacr": "1", "oid": "sp", "sub": "sp", "roles": ["Ip.Read.All"], "tid": TENANT.to_string(),
        "ver": "2.0",
    })
}

pub fn v1_claims() -> Value {
    let iss = format!("https://sts.windows.net/{TENANT}/");
    changed(v2_claims(), &json!({"iss": iss, "azp": null, "appid": CLIENT, "ver": "1.0"}))
}

/// A v2 token of Entra ID.
pub fn v2(changes: &Value) -> String {
    entra_key().token(&changed(v2_claims(), changes))
}

pub fn v1(changes: &Value) -> String {
    entra_key().token(&changed(v1_claims(), changes))
}

/// A token of a user of Entra ID who may ask, if a role says so.
pub fn of_user(changes: &Value) -> String {
    let user =
        changed(v2_claims(), &json!({"oid": USER, "sub": "pairwise", "roles": null, "scp": "Ip.Read.All"}));
    entra_key().token(&changed(user, changes))
}

/// A token of a service account, as Keycloak writes it.
pub fn of_keycloak(changes: &Value) -> String {
    let good = json!({
        "exp": NOW + 300, "iat": NOW, "jti": "trrtcc:1", "iss": KEYCLOAK, "aud": [OWN, "account"], "sub": USER,
        "typ": "Bearer", "azp": "soc.app", "acr": "1", "realm_access": {"roles": ["offline_access", "Ip.Read.All"]},
        "scope": "email profile", "clientHost": "198.51.100.1", "preferred_username": "service-account-soc.app",
        "clientAddress": "198.51.100.1", "client_id": "soc.app",
    });
    keycloak_key().token(&changed(good, changes))
}

/// A token of RFC 9068.
pub fn of_oidc(changes: &Value) -> String {
    let good = json!({
        "iss": OIDC, "aud": OWN, "exp": NOW + 300, "client_id": "reader", "sub": "reader", "roles": ["Ip.Read.All"],
    });
    let header = changed(oidc_key().header(), &json!({"typ": "at+jwt"}));
    oidc_key().sign(&header.to_string(), &changed(good, changes).to_string())
}

pub fn path() -> String {
    format!("/api/ips/{SEEN}/stats")
}

pub async fn asked(app: &TestApp, token: &str) -> Reply {
    app.with_token(token, &path()).await
}
