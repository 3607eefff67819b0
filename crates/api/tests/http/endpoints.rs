//! Which hosts are answered as, and which tokens are taken under each: the presets' clouds, own names, and everything that is
//! called and not ours. Nothing leaves this process; what a connection knows of itself is in `listeners` and `tls`.

use crate::common::{ACME, HOST, READER, Reply, SEEN, TestApp, forged, form};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Version};
use seenby_api::{Endpoint, Settings};
use serde_json::json;

fn endpoint(host: &str) -> Endpoint {
    Endpoint::new(host).expect("a host")
}

async fn ask(app: &TestApp, host: &str, path: &str) -> Reply {
    app.send(Request::get(path).header("host", host).body(Body::empty()).expect("a request")).await
}

/// Every pair of a host and a resource, the resource with and without its slash.
#[tokio::test]
async fn tokens_are_taken_where_their_audience_is_listed() {
    let own = endpoint("gov.example").with_audiences(["https://api-gov.securitycenter.microsoft.us/"]);
    let settings = Settings {
        endpoints: vec![own, endpoint("any.example")],
        extra_resources: vec!["https://graph.microsoft.com/".into()],
        public_url: Some("https://seenby.example".into()),
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    // Under which of the hosts a resource's tokens are taken: two of one cloud, GCC, GCC High, own with and without a list,
    // and our URL's.
    let hosts = [
        HOST,
        "us.api.security.microsoft.com",
        "api-gcc.securitycenter.microsoft.us",
        "api-gov.securitycenter.microsoft.us",
        "gov.example",
        "any.example",
        "seenby.example",
    ];
    for (resource, taken) in [
        ("https://api.securitycenter.microsoft.com", [true, true, false, false, false, true, true]),
        ("https://api-uk.securitycenter.microsoft.com", [true, true, false, false, false, true, true]),
        ("https://api.securitycenter.windows.com", [true, true, false, false, false, true, true]),
        ("https://api.security.microsoft.com", [true, true, false, false, false, true, true]),
        (
            "https://securitycenter.onmicrosoft.com/windowsatpservice",
            [true, true, true, false, false, true, true],
        ),
        ("https://api-gcc.securitycenter.microsoft.us", [false, false, true, false, false, true, true]),
        ("https://api-gov.securitycenter.microsoft.us", [false, false, false, true, true, true, true]),
        ("https://graph.microsoft.com", [true; 7]),
        ("https://seenby.example", [true; 7]),
        ("https://any.example", [false, false, false, false, false, true, true]),
        ("https://gov.example", [false; 7]),
    ] {
        for audience in [resource.to_owned(), format!("{resource}/")] {
            let claims = json!({"aud": audience, "iss": format!("https://seenby.example/{ACME}/v2.0")});
            let token = forged(&claims);
            for (host, is_taken) in hosts.into_iter().zip(taken) {
                // Twice: a token that was checked before is asked for its audience again.
                for _ in 0..2 {
                    let reply = app.called(host, &token, "/api/alerts").await;
                    let expected = if is_taken { 200 } else { 401 };
                    assert_eq!(reply.status, expected, "{audience} under {host}: {}", reply.text());
                }
            }
        }
    }
    let text = ask(&app, "seenby.example", "/metrics").await.text();
    assert!(text.contains("seenby_token_refusals_total{reason=\"audience\"}"), "{text}");
}

/// What the issuer grants it grants under every host; only where a token is shown matters.
#[tokio::test]
async fn regional_servers_take_each_others_tokens_and_say_their_own_name() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    for host in ["api-eu.securitycenter.microsoft.com", "UK.api.security.microsoft.com", "localhost"] {
        let reply = app.called(host, &token, &format!("/api/ips/{SEEN}/stats")).await;
        assert_eq!(reply.status, 200, "{host}");
        let context = format!("http://{host}/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats");
        assert_eq!(reply.json()["@odata.context"], context);
    }
    let reply =
        app.called("api-gov.securitycenter.microsoft.us", &token, &format!("/api/ips/{SEEN}/stats")).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "Unauthorized"));
    assert_eq!(reply.header("www-authenticate"), "Bearer");
    insta::assert_snapshot!(reply.message(), @"The access token is for another resource. API required audience: https://api-gov.securitycenter.microsoft.us, token audience: https://api.securitycenter.microsoft.com. Get a new token for https://api-gov.securitycenter.microsoft.us. The token is for organization aaaa0000-0000-4000-8000-000000000001.");
    assert_eq!(reply.header("ratelimit"), "", "it does not count");
}

#[tokio::test]
async fn other_hosts_are_refused() {
    let app = TestApp::new().await;
    let reply = ask(&app, "rebound.example:8787", &format!("/api/ips/{SEEN}/stats")).await;
    insta::assert_snapshot!(reply.show(), @r#"
    421 Misdirected Request
    content-length: 240
    content-type: application/json; charset=utf-8
    vary: accept-encoding
    x-request-id: {request id}

    {"error":{"code":"MisdirectedRequest","message":"This server does not answer as 'rebound.example:8787'. Call it by a name that it has, or list this host under [[endpoints]] in its settings.","target":"{request id}"}}
    "#);
    for host in [
        "evil.example",
        "api.securitycenter.microsoft.com.evil.example",
        "xapi.securitycenter.microsoft.com",
        "securitycenter.microsoft.com",
        "login.microsoftonline.com",
        "192.0.2.7",
        "[::1]",
        "127.1",
        "localhost:8787",
    ] {
        for path in [
            "/api/",
            "/api/$metadata",
            "/docs",
            "/openapi.json",
            "/metrics",
            "/nowhere",
            "/common/discovery/keys",
        ] {
            let reply = ask(&app, host, path).await;
            assert_eq!(
                (reply.status.as_u16(), reply.code().as_str()),
                (421, "MisdirectedRequest"),
                "{host} {path}"
            );
        }
        for path in ["/healthz", "/readyz", "/HEALTHZ/"] {
            assert_eq!(ask(&app, host, path).await.status, 200, "{host} {path}");
        }
    }
    let request = Request::post(format!("/{ACME}/oauth2/v2.0/token"))
        .header("host", "evil.example")
        .body(Body::from(form(READER)));
    let reply = app.send(request.expect("a request")).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]), (421, &json!("invalid_request")));
    let said = reply.json()["error_description"].as_str().expect("a text").to_owned();
    assert!(said.contains("'evil.example'") && said.contains("[[endpoints]]"), "{said}");
}

#[tokio::test]
async fn no_host_and_what_is_none() {
    let app = TestApp::new().await;
    let send = async |version: Version, hosts: &[&[u8]], path: &str| {
        let mut request = Request::get(path).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        app.send(request.body(Body::empty()).expect("a request")).await
    };
    for host in [
        &b""[..],
        b"a b",
        b"u@h",
        b"evil\"/x",
        b"h/../",
        b"a:b",
        b"::1",
        b"\xe9.example",
        b"a,b",
        &[b'a'; 300],
    ] {
        let reply = send(Version::HTTP_11, &[host], "/api/").await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "BadRequest"), "{host:?}");
        assert!(reply.message().contains("Host"), "{host:?}");
    }
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(send(version, &[], "/api/").await.status, 400, "{version:?}");
        assert_eq!(send(version, &[], "/healthz").await.status, 200, "{version:?}");
    }
    // Before version 1.1 it was nobody's duty.
    let reply = send(Version::HTTP_10, &[], "/api/").await;
    assert_eq!(reply.json()["@odata.context"], "http://localhost/api/$metadata");
    assert_eq!(send(Version::HTTP_10, &[b"evil.example"], "/api/").await.status, 421);
    for path in ["/api/", "/healthz"] {
        assert_eq!(
            send(Version::HTTP_11, &[HOST.as_bytes(), b"evil.example"], path).await.status,
            400,
            "{path}"
        );
    }
}

#[tokio::test]
async fn ports_are_those_that_are_written_or_meant() {
    let settings = Settings {
        endpoints: vec![endpoint("any.example"), endpoint("one.example:8443"), endpoint("web.example:80")],
        public_url: Some("https://seenby.example".into()),
        sibling_urls: vec!["https://other.example:8787".into()],
        preset_endpoints: false,
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    for (host, status) in [
        ("any.example", 200),
        ("ANY.example.:1234", 200),
        ("one.example:8443", 200),
        ("one.example", 421),
        ("one.example:443", 421),
        ("web.example", 200),
        ("web.example:80", 200),
        ("web.example:443", 421),
        ("seenby.example", 200),
        ("seenby.example:443", 200),
        ("seenby.example:8787", 421),
        ("other.example:8787", 200),
        ("other.example", 421),
        // With a public URL it is not called by the one that it has without.
        ("localhost", 421),
        (HOST, 421),
    ] {
        assert_eq!(ask(&app, host, "/api/").await.status, status, "{host}");
    }
    // Without its host a preset's resource is granted still: clients ask for what they asked for before.
    let request = Request::post(format!("/{ACME}/oauth2/v2.0/token"))
        .header("host", "any.example")
        .body(Body::from(form(READER)));
    let reply = app.send(request.expect("a request")).await;
    let token = reply.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(app.called("any.example", &token, "/api/alerts").await.status, 200);
}

/// With a proxy it is the host that the proxy was called by that counts, and the scheme that it says.
#[tokio::test]
async fn proxies_are_asked_by_which_host_they_were_called() {
    let proxy = sighting::Network::parse("192.0.2.0/24").expect("a network");
    let endpoints = vec![endpoint("outer.example:443")];
    let app =
        TestApp::with(Settings { trusted_proxies: vec![proxy], endpoints, ..Settings::default() }).await;
    let ask = async |peer: &str, forwarded: &str, scheme: &str| {
        let peer: std::net::SocketAddr = peer.parse().expect("a peer");
        let request = Request::get("/api/")
            .extension(ConnectInfo(peer))
            .header("host", "backend:8787")
            .header("x-forwarded-host", forwarded)
            .header("x-forwarded-proto", scheme);
        app.send(request.body(Body::empty()).expect("a request")).await.status.as_u16()
    };
    let (proxy, stranger) = ("192.0.2.7:1", "203.0.113.5:1");
    assert_eq!(ask(proxy, "outer.example", "https").await, 200);
    assert_eq!(ask(proxy, "outer.example, backend", "https").await, 200);
    assert_eq!(ask(proxy, "outer.example", "http").await, 421);
    assert_eq!(ask(proxy, "evil.example", "https").await, 421);
    assert_eq!(ask(proxy, "a b", "https").await, 400);
    assert_eq!(ask(proxy, "", "https").await, 421, "then it is `backend` that was called");
    // A stranger's word is none: what it called is `backend`.
    assert_eq!(ask(stranger, "outer.example", "https").await, 421);
}

/// A name of our own that is a preset's too is what the settings say of it.
#[tokio::test]
async fn an_own_endpoint_takes_a_presets_place() {
    let endpoints = vec![endpoint(HOST).with_audiences(["https://ours.example"])];
    let app = TestApp::with(Settings { endpoints, ..Settings::default() }).await;
    let token = |audience: &str| forged(&json!({ "aud": audience }));
    let ours = token("https://ours.example/");
    assert_eq!(app.called(HOST, &ours, "/api/alerts").await.status, 200);
    assert_eq!(app.called(HOST, &token(crate::common::RESOURCE), "/api/alerts").await.status, 401);
    assert_eq!(app.called("api-us.securitycenter.microsoft.com", &ours, "/api/alerts").await.status, 401);
    assert_eq!(app.called("localhost", &ours, "/api/alerts").await.status, 200);
}

/// What stands in the message is text, whatever was called.
#[tokio::test]
async fn a_long_host_is_cut_in_the_message() {
    let app = TestApp::new().await;
    let reply = ask(&app, &"x".repeat(200), "/api/").await;
    assert_eq!(reply.status, 421);
    assert!(reply.message().contains('…') && reply.message().len() < 250, "{}", reply.message());
}
