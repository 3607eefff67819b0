//! The wire beyond the rows of the contract's table (those are in `contract`): codings and their weights, what clients send without
//! need, every route under every method, zeros instead of 404. Refuses to hold: limits, tokens and hosts, which have files
//! of their own.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{ACME, HOST, NOW, QUIET, READER, SEEN, TestApp, get, sighted};
use axum::body::Body;
use seenby_api::{Settings, UnknownIp};

const KEYS: [&str; 6] =
    ["@odata.context", "ipAddress", "orgPrevalence", "organizationPrevalence", "orgFirstSeen", "orgLastSeen"];

/// The keys of a JSON object in the order in which they are written.
fn keys(text: &str) -> Vec<String> {
    let object = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("an object");
    object
        .split(",\"")
        .map(|pair| pair.trim_start_matches('"').split('"').next().expect("a key").to_owned())
        .collect()
}

/// Clients that read by place or by type find every key where it was, of the type that it had.
#[tokio::test]
async fn keys_have_their_order_and_their_types() {
    let app = TestApp::new().await;
    let (seen, quiet) =
        (app.stats(SEEN).await, app.reader(&format!("/api/ips/{QUIET}/stats?lookBackHours=1")).await);
    for reply in [&seen, &quiet] {
        assert_eq!(keys(&reply.text()), KEYS, "{}", reply.text());
        let body = reply.json();
        assert!(body["orgPrevalence"].is_string() && body["organizationPrevalence"].is_u64(), "{body}");
        assert_eq!(body["orgPrevalence"], body["organizationPrevalence"].to_string(), "{body}");
    }
    assert!(quiet.json()["orgFirstSeen"].is_null() && quiet.json()["orgLastSeen"].is_null());
    let app = TestApp::with(Settings { legacy_prevalence: false, ..Settings::default() }).await;
    let without: Vec<&str> = KEYS.into_iter().filter(|key| *key != "orgPrevalence").collect();
    assert_eq!(keys(&app.stats(SEEN).await.text()), without);
}

#[tokio::test]
async fn an_unknown_address_may_be_zero() {
    let app = TestApp::with(Settings { unknown_ip: UnknownIp::Zero, ..Settings::default() }).await;
    insta::assert_snapshot!(app.stats("203.0.113.77").await.show(), @r#"
    200 OK
    content-length: 233
    content-type: application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8
    odata-version: 4.0
    ratelimit-policy: "minute";q=100;w=60, "hour";q=1500;w=3600
    ratelimit: "minute";r=99;t=60, "hour";r=1499;t=3600
    vary: accept-encoding
    x-request-id: {request id}

    {"@odata.context":"http://api.securitycenter.microsoft.com/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats","ipAddress":"203.0.113.77","orgPrevalence":"0","organizationPrevalence":0,"orgFirstSeen":null,"orgLastSeen":null}
    "#);
    // What is wrong is wrong still.
    assert_eq!(app.stats("x").await.status, 400);
    assert_eq!(app.reader("/api/ips/203.0.113.77/stats?lookBackHours=0").await.status, 400);
    assert_eq!(app.stats(SEEN).await.json()["organizationPrevalence"], 3);
}

/// What lies after the clock is not there yet.
#[tokio::test]
async fn no_answer_includes_what_comes_later() {
    let app = TestApp::new().await;
    sighted(&app.store, ACME, SEEN, &[("later", NOW + 1)]).await;
    sighted(&app.store, ACME, "203.0.113.80", &[("later", NOW + 1)]).await;
    assert_eq!(app.stats(SEEN).await.json()["organizationPrevalence"], 3);
    assert_eq!(app.stats("203.0.113.80").await.code(), "ResourceNotFound");
    app.pass_ms(1_000);
    assert_eq!(app.stats(SEEN).await.json()["orgLastSeen"], "2017-08-29T14:00:01Z");
    assert_eq!(app.stats("203.0.113.80").await.json()["organizationPrevalence"], 1);
}

/// RFC 9110, 12.5.3: the heaviest that is known, none that has no weight; the answer says on what it depends.
#[tokio::test]
async fn codings_have_weights() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    for (accepted, coding) in [
        (None, ""),
        (Some(""), ""),
        (Some("gzip;q=0"), ""),
        (Some("br;q=0, gzip;q=0, deflate;q=0, zstd;q=0"), ""),
        (Some("br;q=0.1, gzip;q=0.9"), "gzip"),
        (Some("gzip;q=0.1, deflate;q=0.9"), "deflate"),
        (Some("deflate, gzip;q=0.5"), "deflate"),
        (Some("GZIP"), "gzip"),
        (Some("identity, gzip;q=0.5"), ""),
        (Some("compress, x-unknown"), ""),
        (Some("x-unknown, br"), "br"),
        (Some("gzip;q=nonsense"), ""),
    ] {
        let mut request =
            get(&format!("/api/ips/{SEEN}/stats")).header("authorization", format!("Bearer {token}"));
        if let Some(accepted) = accepted {
            request = request.header("accept-encoding", accepted);
        }
        let reply = app.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-encoding")), (200, coding), "{accepted:?}");
        assert_eq!(reply.header("vary"), "accept-encoding", "{accepted:?}");
    }
}

/// Errors are compressed like answers, because clients that ask for it are ready for it.
#[tokio::test]
async fn errors_are_compressed_too() {
    use std::io::Read;
    let app = TestApp::new().await;
    let request = get("/api/alerts").header("accept-encoding", "gzip").body(Body::empty());
    let reply = app.send(request.expect("a request")).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-encoding")), (401, "gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*reply.body).read_to_string(&mut text).expect("gzip");
    assert!(text.contains("\"code\":\"Unauthorized\""), "{text}");
}

/// There is one representation, and clients ask for it in many words.
#[tokio::test]
async fn any_accept_and_any_unknown_option_is_fine() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    let plain = app.stats(SEEN).await;
    let headers = [
        ("accept", "application/json"),
        ("accept", "*/*"),
        ("accept", "application/json;odata.metadata=none"),
        ("accept", "application/json;odata.metadata=full"),
        ("accept", "application/xml"),
        ("accept", "text/html,*/*;q=0"),
        ("accept", "nonsense"),
        ("accept-charset", "iso-8859-1"),
        ("accept-language", "ko"),
        ("odata-version", "4.01"),
        ("odata-maxversion", "2.0"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("if-none-match", "*"),
        ("range", "bytes=0-1"),
        ("expect", "nothing"),
    ];
    for (name, value) in headers {
        let request = get(&format!("/api/ips/{SEEN}/stats"))
            .header("authorization", format!("Bearer {token}"))
            .header(name, value);
        let reply = app.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!((reply.status, &reply.body), (plain.status, &plain.body), "{name}: {value}");
        assert_eq!(reply.header("content-type"), plain.header("content-type"), "{name}: {value}");
    }
    for query in [
        "$format=xml",
        "$format=application/json;odata.metadata=full",
        "$select=ipAddress",
        "$top=0",
        "foo",
        "=",
        "&&",
        "lookBackHour=1",
        "look BackHours=1",
    ] {
        let reply = app.reader(&format!("/api/ips/{SEEN}/stats?{}", query.replace(' ', "%20"))).await;
        assert_eq!((reply.status, &reply.body), (plain.status, &plain.body), "{query}");
    }
    for collection in ["alerts", "machines"] {
        for query in ["", "?$top=1", "?$filter=x%20eq%201&$expand=y&$skip=7", "?$format=atom"] {
            let reply = app.reader(&format!("/api/{collection}{query}")).await;
            assert_eq!(
                (reply.status.as_u16(), &reply.json()["value"]),
                (200, &serde_json::json!([])),
                "{collection}{query}"
            );
            assert_eq!(reply.header("odata-version"), "4.0");
            assert_eq!(reply.header("content-type"), plain.header("content-type"));
        }
    }
}

/// The errors have the envelope's type and no version of OData.
#[tokio::test]
async fn envelopes_are_no_odata() {
    let app = TestApp::new().await;
    for path in
        ["/api/ips/x/stats", "/api/ips/203.0.113.77/stats", &format!("/api/ips/{SEEN}/stats?lookBackHours=0")]
    {
        let reply = app.reader(path).await;
        assert_eq!(reply.header("content-type"), "application/json; charset=utf-8", "{path}");
        assert_eq!(reply.header("odata-version"), "", "{path}");
        assert_eq!(keys(&reply.text())[0], "error", "{path}");
        let error = reply.json()["error"].to_string();
        assert_eq!(keys(&error).len(), 3, "{error}");
        assert!(reply.text().starts_with("{\"error\":{\"code\":\""), "{}", reply.text());
        assert_eq!(reply.json()["error"]["target"], reply.header("x-request-id"), "{path}");
    }
}

/// Every route under every method that it does not have, as the document lists them, in other letters too.
#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let app = TestApp::new().await;
    let document = app.anonymous("/openapi.json").await.json();
    let mut routes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{ip}", SEEN).replace("{tenant}", "acme");
        let methods = operations.as_object().expect("methods").keys().map(|method| method.to_uppercase());
        routes.entry(path).or_default().extend(methods);
    }
    for (path, mut methods) in routes {
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if methods.contains(method) {
                continue;
            }
            for path in [path.clone(), path.to_uppercase(), format!("{path}/")] {
                let request = get(&path).method(method).body(Body::empty());
                let reply = app.send(request.expect("a request")).await;
                assert_eq!((reply.status.as_u16(), reply.body.len()), (405, 0), "{method} {path}");
                let allowed: BTreeSet<String> =
                    reply.header("allow").split(',').map(|it| it.trim().to_owned()).collect();
                assert_eq!(allowed, methods, "{method} {path}");
                assert_eq!(reply.header("content-type"), "", "{method} {path}");
            }
        }
    }
}

/// What was there once, or never, is 404 and not a word more, with a token and without, by any method.
#[tokio::test]
async fn what_is_not_there_says_nothing() {
    let app = TestApp::new().await;
    for path in [
        "/api/ips/1.1.1.1",
        "/api/ips/1.1.1.1/alerts",
        "/api/ips/1.1.1.1/machines",
        "/api/ips/1.1.1.1/stats/more",
        "/api/v1.0/v1.0/alerts",
        "/api/v2.0/alerts",
        "/api/alerts/1",
        "/api/domains/example.org/stats",
        "/api/$metadata/x",
        "/v1.0/api/alerts",
        "/seenby",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let request = get(path).method(method).body(Body::empty());
            let reply = app.send(request.expect("a request")).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (404, 0), "{method} {path}");
            assert_eq!(reply.header("content-type"), "", "{method} {path}");
            assert_ne!(reply.header("x-request-id"), "", "{method} {path}");
        }
        assert_eq!(app.reader(path).await.status, 404, "{path}");
    }
}

/// Both forms of every path are one route.
#[tokio::test]
async fn the_versioned_form_is_the_same() {
    let app = TestApp::new().await;
    for path in [
        format!("/ips/{SEEN}/stats"),
        "/alerts?$top=1".to_owned(),
        "/machines".to_owned(),
        "/$metadata".to_owned(),
        "/".to_owned(),
    ] {
        let plain = app.reader(&format!("/api{path}")).await;
        let versioned = app.reader(&format!("/api/v1.0{path}")).await;
        assert_eq!((plain.status.as_u16(), &plain.body), (200, &versioned.body), "{path}");
        assert_eq!(plain.header("content-type"), versioned.header("content-type"), "{path}");
    }
    let context = format!("http://{HOST}/api/$metadata#Alerts");
    assert_eq!(app.reader("/api/v1.0/alerts").await.json()["@odata.context"], context);
}
