//! Applications that prove with a certificate's key who they are: what real clients send is taken, and nothing else.

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use common::{ACME, HOST, NOW, OTHER, POWERLESS, READER, RESOURCE, Reply, SEEN, TestApp, changed, secret_of};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use seenby_api::{CertificateError, read_certificate};
use serde_json::{Value, json};
use sighting::{Certificate, Change, Second};
use std::sync::OnceLock;

const TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

struct Keyed {
    pem: String,
    key: EncodingKey,
    certificate: Certificate,
}

fn keyed(from: i64, until: i64) -> Keyed {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let pem = certificate_pem(&pair, from, until);
    let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).expect("a key");
    // Read at a time at which it is good.
    let certificate = read_certificate(pem.as_bytes(), Second::MIN).expect("a certificate");
    Keyed { pem, key, certificate }
}

fn certificate_pem(pair: &KeyPair, from: i64, until: i64) -> String {
    let moment = |unix| time::OffsetDateTime::from_unix_timestamp(unix).expect("a moment");
    let mut params = CertificateParams::new(vec!["app.example".to_owned()]).expect("a name");
    params.not_before = moment(from);
    params.not_after = moment(until);
    params.self_signed(pair).expect("a certificate").pem()
}

/// Made once: keys are slow to make.
fn good() -> &'static Keyed {
    static KEYED: OnceLock<Keyed> = OnceLock::new();
    KEYED.get_or_init(|| keyed(i64::from(NOW) - 1_000, i64::from(NOW) + 86_400))
}

fn thumbprint() -> String {
    // With padding, as one library writes it.
    URL_SAFE.encode(good().certificate.sha1)
}

fn endpoint() -> String {
    format!("http://api.securitycenter.microsoft.com/{ACME}/oauth2/v2.0/token")
}

fn claims(id: &str) -> Value {
    json!({
        "iss": READER.to_string(), "sub": READER.to_string(), "aud": endpoint(), "jti": id,
        "exp": f64::from(NOW) + 599.25, "nbf": f64::from(NOW) - 0.5, "iat": f64::from(NOW),
    })
}

fn signed(header: &Value, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).expect("a signature");
    format!("{message}.{signature}")
}

fn assertion(header: &Value, claims_: &Value) -> String {
    let header = changed(json!({"typ": "JWT", "alg": "RS256", "x5t": thumbprint()}), header);
    signed(&header, &claims_.to_string(), &good().key, Algorithm::RS256)
}

async fn app() -> TestApp {
    let app = TestApp::new().await;
    app.commit(Change::AddCertificate(READER, good().certificate.clone())).await;
    app
}

async fn ask(app: &TestApp, assertion: &str) -> Reply {
    let form = format!(
        "grant_type=client_credentials&client_id={READER}&scope={RESOURCE}/.default&client_assertion_type={TYPE}&client_assertion={assertion}"
    );
    app.post(&format!("/{ACME}/oauth2/v2.0/token"), &form).await
}

#[tokio::test]
async fn what_real_clients_send() {
    let app = app().await;
    let s256 = URL_SAFE_NO_PAD.encode(good().certificate.sha256);
    for (number, (header, claims_)) in [
        (json!({}), json!({})),
        (json!({"x5t": URL_SAFE_NO_PAD.encode(good().certificate.sha1)}), json!({})),
        (json!({"x5t": STANDARD.encode(good().certificate.sha1)}), json!({})),
        (json!({"x5t": null, "x5t#S256": s256}), json!({})),
        (json!({"x5t#S256": s256, "x5c": ["MII"]}), json!({})),
        (json!({}), json!({"exp": NOW + 600, "nbf": null, "iat": null})),
        (json!({}), json!({"aud": [endpoint()]})),
        (json!({}), json!({"aud": format!("http://localhost/{ACME}/v2.0")})),
        (json!({}), json!({"aud": "http://localhost/common/oauth2/token"})),
        (json!({}), json!({"aud": "http://api.securitycenter.microsoft.com/acme/oauth2/v2.0/token"})),
    ]
    .into_iter()
    .enumerate()
    {
        let assertion = assertion(&header, &changed(claims(&format!("id-{number}")), &claims_));
        let reply = ask(&app, &assertion).await;
        assert_eq!(reply.status, 200, "{header} {claims_}: {}", reply.text());
    }
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": s256});
    let ps256 = signed(&header, &claims("ps").to_string(), &good().key, Algorithm::PS256);
    let reply = ask(&app, &ps256).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let token = reply.json()["access_token"].as_str().expect("a token").to_owned();
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64");
    let said: Value = serde_json::from_slice(&part).expect("JSON");
    assert_eq!(said["azpacr"], "2");
    assert_eq!(app.with_token(&token, &format!("/api/ips/{SEEN}/stats")).await.status, 200);
    // The client id may be in the assertion alone.
    let form = format!(
        "grant_type=client_credentials&resource={RESOURCE}&client_assertion_type={TYPE}&client_assertion={}",
        assertion(&json!({}), &claims("alone"))
    );
    assert_eq!(app.post(&format!("/{ACME}/oauth2/token"), &form).await.status, 200);
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let app = app().await;
    let first = assertion(&json!({}), &claims("once"));
    assert_eq!(ask(&app, &first).await.status, 200);
    for _ in 0..2 {
        let reply = ask(&app, &first).await;
        assert_eq!(reply.status, 401);
        assert!(reply.text().contains("it was used before"), "{}", reply.text());
    }
    // Signed anew, the same id is the same assertion.
    let again = assertion(&json!({}), &changed(claims("once"), &json!({"exp": NOW + 500})));
    assert_eq!(ask(&app, &again).await.status, 401);
    assert_eq!(ask(&app, &assertion(&json!({}), &claims("twice"))).await.status, 200);
    // Of 64 at once one is taken.
    let one = assertion(&json!({}), &claims("at once"));
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let router = app.router.clone();
        let form = format!(
            "grant_type=client_credentials&client_id={READER}&scope={RESOURCE}/.default&client_assertion_type={TYPE}&client_assertion={one}"
        );
        asked.spawn(async move {
            let request = axum::http::Request::post(format!("/{ACME}/oauth2/v2.0/token"));
            let request = request.header("host", HOST).body(axum::body::Body::from(form)).expect("a request");
            tower::ServiceExt::oneshot(router, request).await.expect("infallible").status().as_u16()
        });
    }
    let statuses = asked.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[tokio::test]
async fn assertions_that_prove_nothing() {
    let app = app().await;
    let other = keyed(i64::from(NOW) - 1_000, i64::from(NOW) + 86_400);
    let header = json!({"typ": "JWT", "alg": "RS256", "x5t": thumbprint()});
    let text = claims("x").to_string();
    let with = |header: Value, claims_: Value| assertion(&header, &changed(claims("x"), &claims_));
    let hs256 = {
        let header = changed(header.clone(), &json!({"alg": "HS256"}));
        signed(&header, &text, &EncodingKey::from_secret(good().pem.as_bytes()), Algorithm::HS256)
    };
    let unsigned = |alg: &str| {
        let header = changed(header.clone(), &json!({"alg": alg}));
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(&text))
    };
    for (name, assertion, said) in [
        ("a word", "x".to_owned(), "it is no JWT"),
        ("not JSON", signed(&json!("x"), "x", &good().key, Algorithm::RS256), "it is no JWT"),
        ("too long", "x".repeat(20_000), "it is no JWT"),
        ("alg none", unsigned("none"), "its header"),
        ("alg None", unsigned("None"), "its header"),
        ("no signature", unsigned("RS256"), "its signature"),
        ("HS256 with the certificate", hs256, "its header"),
        ("RS384", with(json!({"alg": "RS384"}), json!({})), "its header"),
        ("RS256 called PS256", with(json!({"alg": "PS256"}), json!({})), "its signature"),
        ("another key", signed(&header, &text, &other.key, Algorithm::RS256), "its signature"),
        ("no thumbprint", with(json!({"x5t": null}), json!({})), "its header"),
        ("an unknown one", with(json!({"x5t": "AAAA"}), json!({})), "its thumbprint"),
        (
            "another certificate's",
            with(json!({"x5t": URL_SAFE.encode(other.certificate.sha1)}), json!({})),
            "its thumbprint",
        ),
        ("two that differ", with(json!({"x5t#S256": "AAAA"}), json!({})), "its thumbprint"),
        ("jku", with(json!({"jku": "https://evil.example"}), json!({})), "its header"),
        ("jwk", with(json!({"jwk": {"kty": "RSA"}}), json!({})), "its header"),
        ("x5u", with(json!({"x5u": "https://evil.example"}), json!({})), "its header"),
        ("crit", with(json!({"crit": ["x"]}), json!({})), "its header"),
        ("another issuer", with(json!({}), json!({"iss": POWERLESS.to_string()})), "its iss and sub"),
        ("another subject", with(json!({}), json!({"sub": POWERLESS.to_string()})), "its iss and sub"),
        ("no subject", with(json!({}), json!({"sub": null})), "it is no JWT"),
        (
            "another server",
            with(json!({}), json!({"aud": "https://login.example/x/oauth2/v2.0/token"})),
            "its aud",
        ),
        (
            "another tenant",
            with(
                json!({}),
                json!({"aud": format!("http://api.securitycenter.microsoft.com/{OTHER}/oauth2/v2.0/token")}),
            ),
            "its aud",
        ),
        (
            "another path",
            with(json!({}), json!({"aud": format!("http://api.securitycenter.microsoft.com/{ACME}/oauth2")})),
            "its aud",
        ),
        ("a prefix", with(json!({}), json!({"aud": format!("{}/x", endpoint())})), "its aud"),
        ("no audience", with(json!({}), json!({"aud": null})), "it is no JWT"),
        ("no jti", with(json!({}), json!({"jti": null})), "it is no JWT"),
        ("an empty jti", with(json!({}), json!({"jti": ""})), "it is no JWT"),
        ("a long jti", with(json!({}), json!({"jti": "x".repeat(257)})), "it is no JWT"),
        ("expired", with(json!({}), json!({"exp": NOW - 301})), "it has expired"),
        ("a long life", with(json!({}), json!({"exp": NOW + 3_901})), "it has expired"),
        ("endless", with(json!({}), json!({"exp": 1e300})), "it has expired"),
        ("no exp", with(json!({}), json!({"exp": null})), "it is no JWT"),
        ("exp as text", with(json!({}), json!({"exp": "99"})), "it is no JWT"),
        ("not yet valid", with(json!({}), json!({"nbf": NOW + 301})), "it is not valid yet"),
        ("made tomorrow", with(json!({}), json!({"iat": NOW + 86_400})), "it is not valid yet"),
        (
            "a claim twice",
            signed(&header, &text.replacen('{', "{\"exp\":1,", 1), &good().key, Algorithm::RS256),
            "it is no JWT",
        ),
    ] {
        let reply = ask(&app, &assertion).await;
        let body = reply.json();
        let found = (reply.status.as_u16(), body["error"].as_str(), body["error_codes"][0].as_u64());
        assert_eq!(found, (401, Some("invalid_client"), Some(700_027)), "{name}: {}", reply.text());
        assert!(reply.text().contains(said), "{name}: {}", reply.text());
    }
}

#[tokio::test]
async fn certificates_and_applications_come_and_go() {
    let app = app().await;
    let ask = async |id: &str| ask(&app, &assertion(&json!({}), &claims(id))).await;
    assert_eq!(ask("1").await.status, 200);
    app.commit(Change::RemoveCertificate(READER, good().certificate.sha256)).await;
    assert_eq!(ask("2").await.status, 401);
    app.commit(Change::AddCertificate(READER, good().certificate.clone())).await;
    assert_eq!(ask("3").await.status, 200);
    // Past its end, an assertion that is itself in time is worth nothing.
    app.pass_ms(86_401_000);
    let late = changed(claims("4"), &json!({"exp": NOW + 86_500, "nbf": NOW, "iat": NOW}));
    let reply = self::ask(&app, &assertion(&json!({}), &late)).await;
    assert!(reply.text().contains("its certificate is not valid now"), "{}", reply.text());
    // A secret and an assertion are too much.
    let form = format!(
        "grant_type=client_credentials&client_id={READER}&scope={RESOURCE}/.default&client_assertion_type={TYPE}&client_assertion=x&client_secret={}",
        secret_of(READER)
    );
    assert_eq!(app.post(&format!("/{ACME}/oauth2/v2.0/token"), &form).await.status, 400);
}

#[test]
fn certificates_that_are_none() {
    let now = Second::new(NOW);
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let ec = certificate_pem(&ec, 0, i64::from(NOW) + 10);
    let old = keyed(0, i64::from(NOW) - 1);
    for (pem, expected) in [
        ("", CertificateError::Missing),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", CertificateError::Missing),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CertificateError::Unreadable),
        (&*ec, CertificateError::Key),
        (&*old.pem, CertificateError::Expired(Second::new(NOW - 1))),
    ] {
        assert_eq!(read_certificate(pem.as_bytes(), now), Err(expected), "{pem}");
    }
}
