//! Tokens of outside issuers: bent ones, those of one issuer for another's tenant, those of one cloud at the host of another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::{GOVERNMENT, Outcome, TENANT_OF_GOVERNMENT, government_key, path, with_token};
use crate::common::issuers::Signer;
use crate::common::outside::{
    AUTHORITY, CLIENT, KEYCLOAK, OIDC, OWN, TENANT, TENANT_OF_NOBODY, TENANT_OF_OTHER, entra_key,
    keycloak_key, of_keycloak, of_oidc, of_user, oidc_key, v1, v1_claims, v2, v2_claims,
};
use crate::common::{ACME, HOST, NOW, OTHER, READER, RESOURCE, TestApp, changed, forged, unsigned};

const GOVERNMENT_HOST: &str = "api-gov.securitycenter.microsoft.us";

pub(crate) async fn outcomes(app: &TestApp) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, token) in of_others_tenants() {
        outcomes.push(with_token(app, "another's tenant", name, &token, 401).await);
    }
    for (name, token) in bent() {
        outcomes.push(with_token(app, "outside", name, &token, 401).await);
    }
    for (name, token) in without_right() {
        outcomes.push(with_token(app, "outside right", name, &token, 403).await);
    }
    outcomes.extend(of_another_cloud(app).await);
    outcomes
}

fn of_others_tenants() -> Vec<(&'static str, String)> {
    // An organisation that has no issuer of this kind, and ids that are the organisation's own here.
    let (nobody, other, acme) = (TENANT_OF_NOBODY.to_string(), OTHER.to_string(), ACME.to_string());
    let v2_of = |tenant: &str| format!("{AUTHORITY}/{tenant}/v2.0");
    let other_tenant = TENANT_OF_OTHER.to_string();
    vec![
        ("v2 of a tenant that is not listed", v2(&json!({"tid": nobody, "iss": v2_of(&nobody)}))),
        (
            "v1 of a tenant that is not listed",
            v1(&json!({"tid": nobody, "iss": format!("https://sts.windows.net/{nobody}/")})),
        ),
        ("the tenant of another, our iss", v2(&json!({"tid": other_tenant}))),
        ("our tenant, the iss of another", v2(&json!({"iss": v2_of(&other_tenant)}))),
        ("the organisation's id as tenant", v2(&json!({"tid": acme, "iss": v2_of(&acme)}))),
        ("the organisation's id as tid alone", v2(&json!({"tid": acme}))),
        ("the built-in issuer's iss", v2(&json!({"tid": other, "iss": format!("{OWN}/{other}/v2.0")}))),
        ("no tenant", v2(&json!({"tid": null}))),
        ("a list of tenants", v2(&json!({"tid": [TENANT.to_string(), other]}))),
        ("Keycloak with the iss of Entra ID", of_keycloak(&json!({"iss": v2_of(&TENANT.to_string())}))),
        (
            "Keycloak with the iss of another realm",
            of_keycloak(&json!({"iss": "https://keycloak.example/realms/other"})),
        ),
        ("Keycloak with a tenant", of_keycloak(&json!({"iss": OIDC, "tid": other}))),
        ("OIDC with the iss of Keycloak", of_oidc(&json!({"iss": KEYCLOAK, "azp": "soc.app"}))),
        (
            "OIDC with the iss of Entra ID",
            of_oidc(&json!({"iss": v2_of(&TENANT.to_string()), "tid": TENANT.to_string(), "azp": CLIENT})),
        ),
        (
            "OIDC with the built-in issuer's",
            of_oidc(
                &json!({"iss": format!("{OWN}/{ACME}/v2.0"), "tid": acme, "azp": READER.to_string(), "ver": "2.0", "nbf": NOW, "iat": NOW}),
            ),
        ),
        (
            "the built-in issuer with the iss of Entra ID",
            forged(&json!({"iss": v2_of(&TENANT.to_string()), "tid": TENANT.to_string(), "azp": CLIENT})),
        ),
        ("the built-in issuer with the iss of OIDC", forged(&json!({"iss": OIDC}))),
        ("iss without its slash", of_oidc(&json!({"iss": "https://idp.example"}))),
        ("iss in capitals", of_oidc(&json!({"iss": "HTTPS://IDP.EXAMPLE/"}))),
        ("iss as a list", of_oidc(&json!({"iss": [OIDC]}))),
        ("no iss", of_oidc(&json!({"iss": null}))),
    ]
}

fn bent() -> Vec<(&'static str, String)> {
    let claims = v2_claims().to_string();
    let header = |changes: &Value| changed(entra_key().header(), changes).to_string();
    let with_header = |changes: &Value| entra_key().sign(&header(changes), &claims);
    let hmac = |secret: &[u8]| {
        let message = unsigned(&header(&json!({"alg": "HS256"})), &claims);
        let key = EncodingKey::from_secret(secret);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
        format!("{message}.{signature}")
    };
    let stranger = Signer::rsa(entra_key().kid());
    let ec_stranger = Signer::ec(entra_key().kid());
    let set = json!({"keys": [entra_key().jwk]}).to_string().into_bytes();
    let n = entra_key().jwk["n"].as_str().expect("a modulus").to_owned();
    vec![
        ("no signature", format!("{}.", unsigned(&header(&json!({})), &claims))),
        ("none", format!("{}.", unsigned(&header(&json!({"alg": "none"})), &claims))),
        ("HS256 with the modulus", hmac(n.as_bytes())),
        ("HS256 with the raw modulus", hmac(&URL_SAFE_NO_PAD.decode(&n).expect("base64"))),
        ("HS256 with the key set", hmac(&set)),
        ("HS256 with the key", hmac(entra_key().jwk.to_string().as_bytes())),
        ("RS384", with_header(&json!({"alg": "RS384"}))),
        ("PS256", with_header(&json!({"alg": "PS256"}))),
        ("ES256 on an RSA key", with_header(&json!({"alg": "ES256"}))),
        ("an EC signature on an RSA key", ec_stranger.token(&v2_claims())),
        ("an EC signature that says RS256", ec_stranger.sign(&header(&json!({})), &claims)),
        ("an RSA signature on an EC key", {
            let header = changed(keycloak_key().header(), &json!({"alg": "RS256"})).to_string();
            oidc_key()
                .sign(&header, &json!({"iss": KEYCLOAK, "aud": OWN, "exp": NOW + 60, "azp": "a"}).to_string())
        }),
        ("another key of the same kid", stranger.token(&v2_claims())),
        ("no type", with_header(&json!({"typ": null}))),
        ("an ID token's type", with_header(&json!({"typ": "id+jwt"}))),
        ("jku", with_header(&json!({"jku": "https://evil.example/keys"}))),
        ("x5u", with_header(&json!({"x5u": "https://evil.example/cert"}))),
        ("jwk", with_header(&json!({"jwk": stranger.jwk}))),
        ("x5c", with_header(&json!({"x5c": ["MII"]}))),
        ("crit", with_header(&json!({"crit": ["exp"]}))),
        ("no kid", with_header(&json!({"kid": null}))),
        ("a kid in other letters", with_header(&json!({"kid": "ENTRA-1"}))),
        ("a kid that is a URL", with_header(&json!({"kid": "https://evil.example/"}))),
        ("a very long kid", with_header(&json!({"kid": "k".repeat(2_000)}))),
        ("expired", v2(&json!({"exp": NOW - 301}))),
        ("not yet valid", v2(&json!({"nbf": NOW + 301}))),
        ("no exp", v2(&json!({"exp": null}))),
        ("exp as text", v2(&json!({"exp": "9999999999"}))),
        ("exp below zero", v2(&json!({"exp": -1}))),
        ("nbf as text", v2(&json!({"nbf": "1"}))),
        ("no audience", v2(&json!({"aud": null}))),
        ("an empty list of audiences", v2(&json!({"aud": []}))),
        ("other audiences", v2(&json!({"aud": ["https://graph.microsoft.com", "x"]}))),
        (
            "for another resource and expired",
            v2(&json!({"aud": "https://graph.microsoft.com", "exp": NOW - 301})),
        ),
        (
            "for another resource, of no application",
            v2(&json!({"aud": "https://graph.microsoft.com", "azp": null})),
        ),
        ("a list with a number", v2(&json!({"aud": [OWN, 7]}))),
        ("an audience of the built-in issuer's presets", v2(&json!({"aud": RESOURCE}))),
        ("that audience in a v1 token", v1(&json!({"aud": format!("{RESOURCE}/")}))),
        ("audience with two slashes", v2(&json!({"aud": format!("{OWN}//")}))),
        ("the v1 application in a v2 token", v2(&json!({"azp": null, "appid": CLIENT}))),
        ("the v2 application in a v1 token", v1(&json!({"appid": null, "azp": CLIENT}))),
        ("a v1 token that says 2.0", v1(&json!({"ver": "2.0"}))),
        ("an application that is no GUID", v2(&json!({"azp": "x"}))),
        ("an ID token of Keycloak", of_keycloak(&json!({"typ": "ID"}))),
        ("a refresh token of Keycloak", of_keycloak(&json!({"typ": "Refresh"}))),
        ("no application", of_oidc(&json!({"client_id": null}))),
        ("an application that is a list", of_oidc(&json!({"client_id": ["reader"]}))),
        ("a very long application", of_oidc(&json!({"client_id": "a".repeat(256)}))),
        ("roles as a number", of_oidc(&json!({"roles": 7}))),
        ("a list as claims", entra_key().sign(&header(&json!({})), "[]")),
        ("exp twice", entra_key().sign(&header(&json!({})), &claims.replacen('{', "{\"exp\":1,", 1))),
        ("roles twice", entra_key().sign(&header(&json!({})), &claims.replacen('{', "{\"roles\":[],", 1))),
        (
            "tid twice",
            entra_key()
                .sign(&header(&json!({})), &claims.replacen('{', &format!("{{\"tid\":\"{OTHER}\","), 1)),
        ),
        (
            "iss twice",
            entra_key()
                .sign(&header(&json!({})), &claims.replacen('{', &format!("{{\"iss\":\"{OIDC}\","), 1)),
        ),
        (
            "a name twice, inside",
            entra_key().sign(&header(&json!({})), &claims.replacen('{', "{\"a\":{\"b\":1,\"b\":2},", 1)),
        ),
        (
            "deep claims",
            entra_key().sign(
                &header(&json!({})),
                &claims.replacen('{', &format!("{{\"a\":{}{},", "[".repeat(500), "]".repeat(500)), 1),
            ),
        ),
    ]
}

/// Believed, and not enough.
fn without_right() -> Vec<(&'static str, String)> {
    vec![
        ("scp with roles", v2(&json!({"scp": "Ip.Read.All"}))),
        ("an empty scp with roles", v2(&json!({"scp": ""}))),
        ("a user without a role", of_user(&json!({}))),
        ("a user with roles of the application", of_user(&json!({"roles": ["Ip.Read.All"]}))),
        ("a user of an unknown group", of_user(&json!({"groups": ["admins"], "wids": ["x"]}))),
        ("a user whose name is that of another", of_user(&json!({"upn": "kim@acme.example", "oid": "x"}))),
        ("a sub that is not the oid", v2(&json!({"sub": "somebody"}))),
        ("another type with roles", v1(&json!({"idtyp": "device"}))),
        (
            "a service account of another name",
            of_keycloak(&json!({"preferred_username": "service-account-x"})),
        ),
        ("roles of another kind", of_keycloak(&json!({"realm_access": null, "roles": ["Ip.Read.All"]}))),
    ]
}

/// An endpoint names its sign-in: tokens of another cloud's are none there, though they are good elsewhere.
async fn of_another_cloud(app: &TestApp) -> Vec<Outcome> {
    let of_government = |claims: Value, iss: String| {
        let changes = json!({"tid": TENANT_OF_GOVERNMENT.to_string(), "iss": iss});
        government_key().token(&changed(claims, &changes))
    };
    let v2_iss = format!("{GOVERNMENT}/{TENANT_OF_GOVERNMENT}/v2.0");
    let v1_iss = format!("https://sts.windows.net/{TENANT_OF_GOVERNMENT}/");
    let government_v2 = of_government(v2_claims(), v2_iss.clone());
    let government_v1 = of_government(v1_claims(), v1_iss);
    let mixed = entra_key()
        .token(&changed(v2_claims(), &json!({"tid": TENANT_OF_GOVERNMENT.to_string(), "iss": v2_iss})));
    let other_name = of_government(v2_claims(), format!("{AUTHORITY}/{TENANT_OF_GOVERNMENT}/v2.0"));
    // Each is good at home.
    for (host, token) in
        [(GOVERNMENT_HOST, &government_v2), (GOVERNMENT_HOST, &government_v1), (HOST, &v2(&json!({})))]
    {
        let reply = app.called(host, token, &path()).await;
        assert_eq!(reply.status, 200, "{host}: {}", reply.text());
    }
    let mut outcomes = Vec::new();
    for (name, host, token) in [
        ("commercial v2 in the government's", GOVERNMENT_HOST, v2(&json!({}))),
        ("commercial v1 in the government's", GOVERNMENT_HOST, v1(&json!({}))),
        ("a commercial user in the government's", GOVERNMENT_HOST, of_user(&json!({}))),
        ("government v2 in the commercial", HOST, government_v2.clone()),
        ("government v1 in the commercial", HOST, government_v1.clone()),
        ("government v2 in the moderate cloud", "api-gcc.securitycenter.microsoft.us", government_v2),
        ("government v1 in a region", "api-eu.securitycenter.microsoft.com", government_v1),
        ("a commercial key with the government's iss", GOVERNMENT_HOST, mixed),
        ("a government key with the commercial iss", HOST, other_name),
        ("the built-in issuer's token for the commercial audience", GOVERNMENT_HOST, forged(&json!({}))),
        (
            "the built-in issuer's token for the government's audience",
            HOST,
            forged(&json!({"aud": format!("https://{GOVERNMENT_HOST}")})),
        ),
    ] {
        // Twice: a token that was checked before is asked again.
        for time in ["first", "again"] {
            let reply = app.called(host, &token, &path()).await;
            outcomes.push(Outcome::new("cloud", &format!("{name}, {time}"), 401, reply).having_sent(&token));
        }
    }
    outcomes
}
