//! Applications that prove with a certificate's key who they are: what real clients send is taken (`attacks` has what is not).

use crate::common::certified::{
    TYPE, app, ask, assertion, certificate_pem, claims, endpoint, good, keyed, signed,
};
use crate::common::{ACME, HOST, NOW, READER, RESOURCE, SEEN, changed, secret_of};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use seenby_api::{CertificateError, read_certificate};
use serde_json::{Value, json};
use sighting::{Change, Second};

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
