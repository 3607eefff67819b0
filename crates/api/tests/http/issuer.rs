//! The built-in issuer as its clients meet it: both forms, both replies, OAuth's errors, discovery.

use crate::common::{ACME, HOST, NOW, POWERLESS, READER, RESOURCE, SEEN, STRANGER, TestApp, form, secret_of};
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use seenby_api::{Settings, new_secret};
use serde_json::{Value, json};
use sighting::{Change, Second, Secret};

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

#[tokio::test]
async fn both_shapes_of_token_and_reply() {
    let app = TestApp::new().await;
    let v2 = app.post(&format!("/{ACME}/oauth2/v2.0/token"), &form(READER)).await;
    let mut body = v2.json();
    insta::assert_snapshot!(pretty(&claims(body["access_token"].as_str().expect("a token"))), @r#"
    {
      "aud": "https://api.securitycenter.microsoft.com",
      "azp": "11110000-0000-4000-8000-000000000001",
      "azpacr": "1",
      "exp": 1504018800,
      "iat": 1504015200,
      "idtyp": "app",
      "iss": "http://localhost/aaaa0000-0000-4000-8000-000000000001/v2.0",
      "jti": "BwcHBwcHBwcAAAAAAAAAAg",
      "nbf": 1504015200,
      "oid": "b573a90d-61ec-8b13-897d-69067678b8a0",
      "roles": [
        "Ip.Read.All"
      ],
      "seenby_cred": "tZ5lxAKmKebFsoNV",
      "sub": "b573a90d-61ec-8b13-897d-69067678b8a0",
      "tid": "aaaa0000-0000-4000-8000-000000000001",
      "uti": "BwcHBwcHBwcAAAAAAAAAAg",
      "ver": "2.0"
    }
    "#);
    body["access_token"] = "…".into();
    insta::assert_snapshot!(body.to_string(), @r#"{"access_token":"…","expires_in":3599,"ext_expires_in":3599,"token_type":"Bearer"}"#);
    assert_eq!((v2.header("cache-control"), v2.header("content-type")), ("no-store", "application/json"));

    let secret = secret_of(READER);
    let form = format!(
        "grant_type=client_credentials&client_id={READER}&client_secret={secret}&resource={RESOURCE}/"
    );
    let mut body = app.post("/acme/oauth2/token", &form).await.json();
    let token = body["access_token"].as_str().expect("a token").to_owned();
    insta::assert_snapshot!(pretty(&claims(&token)), @r#"
    {
      "appid": "11110000-0000-4000-8000-000000000001",
      "appidacr": "1",
      "aud": "https://api.securitycenter.microsoft.com/",
      "exp": 1504018800,
      "iat": 1504015200,
      "idtyp": "app",
      "iss": "http://localhost/aaaa0000-0000-4000-8000-000000000001/",
      "jti": "BwcHBwcHBwcAAAAAAAAABA",
      "nbf": 1504015200,
      "oid": "b573a90d-61ec-8b13-897d-69067678b8a0",
      "roles": [
        "Ip.Read.All"
      ],
      "seenby_cred": "tZ5lxAKmKebFsoNV",
      "sub": "b573a90d-61ec-8b13-897d-69067678b8a0",
      "tid": "aaaa0000-0000-4000-8000-000000000001",
      "uti": "BwcHBwcHBwcAAAAAAAAABA",
      "ver": "1.0"
    }
    "#);
    body["access_token"] = "…".into();
    insta::assert_snapshot!(body.to_string(), @r#"{"access_token":"…","expires_in":"3599","expires_on":"1504018800","ext_expires_in":"3599","not_before":"1504015200","resource":"https://api.securitycenter.microsoft.com/","token_type":"Bearer"}"#);
    assert_eq!(app.with_token(&token, &format!("/api/ips/{SEEN}/stats")).await.status, 200);
}

#[tokio::test]
async fn ways_to_ask_that_must_work() {
    let app = TestApp::new().await;
    let secret = secret_of(READER);
    let base = format!("grant_type=client_credentials&client_id={READER}&client_secret={secret}");
    for (path, rest, audience) in [
        ("v2.0/", "scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default", RESOURCE),
        ("v2.0/", &format!("scope={RESOURCE}//.default"), &format!("{RESOURCE}/")),
        (
            "v2.0/",
            &format!("scope=openid+{RESOURCE}/.default+offline_access&client_info=1&claims=%7B%7D"),
            RESOURCE,
        ),
        (
            "v2.0/",
            "scope=https://securitycenter.onmicrosoft.com/windowsatpservice/.default",
            "https://securitycenter.onmicrosoft.com/windowsatpservice",
        ),
        ("v2.0/", "scope=http://localhost/.default", "http://localhost"),
        (
            "",
            "resource=https://api-gov.securitycenter.microsoft.us/",
            "https://api-gov.securitycenter.microsoft.us/",
        ),
        ("", &format!("scope={RESOURCE}/.default"), RESOURCE),
    ] {
        for tenant in
            [ACME.to_string(), "ACME".into(), "common".into(), "organizations".into(), "adfs".into()]
        {
            let reply = app.post(&format!("/{tenant}/oauth2/{path}token"), &format!("{base}&{rest}")).await;
            assert_eq!(reply.status, 200, "{rest}: {}", reply.text());
            let body = reply.json();
            let token = body["access_token"].as_str().expect("a token");
            assert_eq!(claims(token)["aud"], audience);
            assert_eq!(app.called("localhost", token, "/api/alerts").await.status, 200);
        }
    }
}

#[tokio::test]
async fn credentials_in_the_basic_header() {
    let app = TestApp::new().await;
    let credentials = STANDARD.encode(format!("{READER}:{}", secret_of(READER)));
    let ask = async |credentials: &str| {
        let form = format!("grant_type=client_credentials&scope={RESOURCE}/.default");
        let request = Request::post(format!("/{ACME}/oauth2/v2.0/token"))
            .header("host", HOST)
            .header("authorization", format!("Basic {credentials}"))
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        app.send(request.body(Body::from(form)).expect("a request")).await.status.as_u16()
    };
    assert_eq!(ask(&credentials).await, 200);
    assert_eq!(ask(&STANDARD.encode(format!("{READER}:wrong"))).await, 401);
    assert_eq!(ask("%%%").await, 400);
}

#[tokio::test]
async fn errors_as_oauth_writes_them() {
    let app = TestApp::new().await;
    let good = form(READER);
    let wrong = app
        .post(&format!("/{ACME}/oauth2/v2.0/token"), &good.replace("client_secret=", "client_secret=x"))
        .await;
    insta::assert_snapshot!(wrong.show(), @r#"
    401 Unauthorized
    cache-control: no-store
    content-length: 481
    content-type: application/json
    vary: accept-encoding
    www-authenticate: Basic realm="token endpoint"
    x-request-id: {request id}

    {"error":"invalid_client","error_description":"AADSTS7000215: The client secret of application '11110000-0000-4000-8000-000000000001' is not the one provided. Send the secret itself. Trace ID: {request id} Correlation ID: {request id} Timestamp: 2017-08-29 14:00:00Z","error_codes":[7000215],"timestamp":"2017-08-29 14:00:00Z","trace_id":"{request id}","correlation_id":"{request id}"}
    "#);
    let secret = secret_of(READER);
    let without =
        |name: &str| good.split('&').filter(|pair| !pair.starts_with(name)).collect::<Vec<_>>().join("&");
    let acme = ACME.to_string();
    let huge = "x".repeat(64 * 1024 + 1);
    for (tenant, form, status, error, number) in [
        ("nobody", good.clone(), 400, "unauthorized_client", 700_016),
        ("%ff", good.clone(), 400, "unauthorized_client", 700_016),
        (&*acme, String::new(), 400, "invalid_request", 900_144),
        (&*acme, without("grant_type"), 400, "invalid_request", 900_144),
        (&*acme, without("client_id"), 400, "invalid_request", 900_144),
        (&*acme, without("scope"), 400, "invalid_request", 900_144),
        (&*acme, without("client_secret"), 401, "invalid_client", 7_000_218),
        (&*acme, good.replace(&secret, ""), 401, "invalid_client", 7_000_218),
        (&*acme, good.replace(&secret, &secret.to_lowercase()), 401, "invalid_client", 7_000_215),
        (&*acme, good.replace(&secret, &secret_of(POWERLESS)), 401, "invalid_client", 7_000_215),
        (&*acme, format!("{good}&client_id={READER}"), 400, "invalid_request", 90_013),
        (&*acme, huge, 400, "invalid_request", 90_013),
        (&*acme, good.replace("client_credentials", "implicit"), 400, "unsupported_grant_type", 70_003),
        (&*acme, good.replace("client_credentials", "password"), 400, "unauthorized_client", 70_002),
        (&*acme, good.replace(&READER.to_string(), "application"), 400, "unauthorized_client", 700_016),
        (
            &*acme,
            good.replace(&READER.to_string(), &STRANGER.to_string()),
            400,
            "unauthorized_client",
            700_016,
        ),
        ("other", good.clone(), 400, "unauthorized_client", 700_016),
        (&*acme, good.replace("/.default", ""), 400, "invalid_scope", 70_011),
        (&*acme, good.replace("/.default", "/Ip.Read.All"), 400, "invalid_scope", 70_011),
        (&*acme, format!("{good}+{RESOURCE}//.default"), 400, "invalid_scope", 70_011),
        (&*acme, good.replace(RESOURCE, "https://graph.microsoft.com"), 400, "invalid_resource", 500_011),
        (&*acme, good.replace(RESOURCE, "http://seenby.example"), 400, "invalid_resource", 500_011),
    ] {
        let reply = app.post(&format!("/{tenant}/oauth2/v2.0/token"), &form).await;
        let body = reply.json();
        assert_eq!((reply.status.as_u16(), &body["error"]), (status, &error.into()), "{}", reply.text());
        assert_eq!(body["error_codes"][0], number);
        let description = body["error_description"].as_str().expect("text");
        assert!(description.starts_with(&format!("AADSTS{number}: ")), "{description}");
        assert_eq!(body["trace_id"], reply.header("x-request-id"));
        assert!(!reply.text().contains(&secret));
    }
}

#[tokio::test]
async fn secrets_end_when_the_book_says() {
    let app = TestApp::new().await;
    let (plain, sha256) = new_secret(|bytes| bytes.fill(99));
    let secret = Secret { sha256, created_at: Second::new(NOW), expires_at: None };
    let others_until = Second::new(NOW + 60);
    app.commit(Change::RotateSecret { application: READER, secret, others_until }).await;
    let old = form(READER);
    let new = old.replace(&secret_of(READER), plain.reveal());
    let path = format!("/{ACME}/oauth2/v2.0/token");
    app.pass_ms(60_000);
    assert_eq!(
        (app.post(&path, &old).await.status, app.post(&path, &new).await.status),
        (http(200), http(200))
    );
    app.pass_ms(1_000);
    let expired = app.post(&path, &old).await;
    assert_eq!((expired.status, &expired.json()["error_codes"][0]), (http(401), &7_000_222.into()));
    assert_eq!(app.post(&path, &new).await.status, 200);
}

fn http(status: u16) -> axum::http::StatusCode {
    axum::http::StatusCode::from_u16(status).expect("a status")
}

#[tokio::test]
async fn extra_resources_are_granted_and_accepted() {
    let settings = Settings {
        extra_resources: vec!["https://graph.microsoft.com".into()],
        public_url: Some("https://seenby.example/".into()),
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    for resource in ["https://graph.microsoft.com", "https://seenby.example", "https://seenby.example/"] {
        let form = form(READER).replace(RESOURCE, resource);
        let body = app.post(&format!("/{ACME}/oauth2/v2.0/token"), &form).await.json();
        let token = body["access_token"].as_str().expect("a token");
        assert_eq!(claims(token)["iss"], format!("https://seenby.example/{ACME}/v2.0"));
        assert_eq!(app.with_token(token, "/api/alerts").await.status, 200);
    }
}

#[tokio::test]
async fn discovery_and_keys() {
    let app = TestApp::new().await;
    let v2 = app.anonymous("/Acme/v2.0/.well-known/openid-configuration").await;
    insta::assert_snapshot!(pretty(&v2.json()), @r#"
    {
      "authorization_endpoint": "http://api.securitycenter.microsoft.com/acme/oauth2/v2.0/authorize",
      "claims_supported": [
        "aud",
        "exp",
        "iat",
        "iss",
        "name",
        "nonce",
        "oid",
        "preferred_username",
        "sub",
        "tid"
      ],
      "code_challenge_methods_supported": [
        "S256"
      ],
      "device_authorization_endpoint": "http://api.securitycenter.microsoft.com/acme/oauth2/v2.0/devicecode",
      "grant_types_supported": [
        "client_credentials",
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "device_code",
        "password"
      ],
      "id_token_signing_alg_values_supported": [
        "RS256"
      ],
      "issuer": "http://localhost/{tenantid}/v2.0",
      "jwks_uri": "http://api.securitycenter.microsoft.com/acme/discovery/v2.0/keys",
      "request_uri_parameter_supported": false,
      "response_modes_supported": [
        "query",
        "fragment",
        "form_post"
      ],
      "response_types_supported": [
        "code"
      ],
      "scopes_supported": [
        "openid",
        "profile",
        "offline_access"
      ],
      "subject_types_supported": [
        "pairwise"
      ],
      "token_endpoint": "http://api.securitycenter.microsoft.com/acme/oauth2/v2.0/token",
      "token_endpoint_auth_methods_supported": [
        "client_secret_post",
        "client_secret_basic",
        "private_key_jwt",
        "none"
      ],
      "token_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "PS256"
      ]
    }
    "#);
    let v1 = app.anonymous(&format!("/{ACME}/.well-known/openid-configuration")).await.json();
    assert_eq!(v1["issuer"], format!("http://localhost/{ACME}/"));
    assert_eq!(v1["token_endpoint"], format!("http://api.securitycenter.microsoft.com/{ACME}/oauth2/token"));
    let adfs = app.anonymous("/adfs/.well-known/openid-configuration").await.json();
    assert_eq!(adfs["token_endpoint"], "http://api.securitycenter.microsoft.com/adfs/oauth2/token");
    assert_eq!(adfs["issuer"], "http://localhost/{tenantid}/");
    let host = "api.securitycenter.microsoft.com";
    let asked = format!("http%3A%2F%2F{host}%2F{ACME}%2Foauth2%2Fv2.0%2Fauthorize");
    let path = format!("/common/discovery/instance?api-version=1.1&authorization_endpoint={asked}");
    let instance = app.anonymous(&path).await.json();
    assert_eq!(
        instance["tenant_discovery_endpoint"],
        format!("http://{host}/{ACME}/v2.0/.well-known/openid-configuration")
    );
    assert_eq!(instance["metadata"][0]["aliases"], json!([host]));
    // Who is served here is nobody's to find out.
    let unknown = app.anonymous("/no%20body/v2.0/.well-known/openid-configuration").await.json();
    assert_eq!(unknown["issuer"], "http://localhost/{tenantid}/v2.0");
    let token_endpoint = unknown["token_endpoint"].as_str().expect("a URL");
    assert!(token_endpoint.ends_with("/no%20body/oauth2/v2.0/token"), "{token_endpoint}");
    let tenant = ACME.to_string();
    for path in [&*tenant, "common"]
        .iter()
        .flat_map(|t| [format!("/{t}/discovery/keys"), format!("/{t}/discovery/v2.0/keys")])
    {
        let keys = app.anonymous(&path).await.json();
        let key = &keys["keys"][0];
        assert_eq!(
            (&key["kid"], &key["alg"], &key["e"]),
            (&crate::common::signing_key().kid.clone().into(), &"RS256".into(), &"AQAB".into())
        );
        assert!(key.get("d").is_none());
    }
}
