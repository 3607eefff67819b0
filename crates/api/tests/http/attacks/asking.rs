//! Requests with a good token that ask for what they must not get: addresses that are none, hosts that are not ours, another
//! organisation's data, methods and headers that promise more.

use axum::body::Body;
use axum::http::{HeaderValue, Request};

use super::{Outcome, empty, path};
use crate::common::{ACME, ELSEWHERE, HOST, OTHER, READER, RESOURCE, TestApp, get};

pub(crate) async fn outcomes(app: &TestApp) -> Vec<Outcome> {
    let bearer = format!("Bearer {}", app.token(READER).await);
    let mut outcomes = addresses(app, &bearer).await;
    outcomes.extend(paths(app, &bearer).await);
    outcomes.extend(anothers_data(app, &bearer).await);
    outcomes.extend(hosts(app, &bearer).await);
    outcomes.extend(methods(app, &bearer).await);
    outcomes.extend(headers(app, &bearer).await);
    outcomes
}

/// What stands in the place of an address and is none.
const NO_ADDRESSES: [&str; 50] = [
    "256.1.1.1",
    "010.1.1.1",
    "198.51.100.020",
    "0xc6336414",
    "0xc6.0x33.0x64.0x14",
    "0306.063.0144.024",
    "3325256724",
    "198.51.25620",
    "198.13132308",
    "127.1",
    "198.51.100",
    "198.51.100.20.",
    ".198.51.100.20",
    "198.51.100.20.1",
    "198.51..20",
    "-1.51.100.20",
    "+198.51.100.20",
    "198.51.100.20%20",
    "%20198.51.100.20",
    "198.51.100.20%00",
    "198.51.100.20%0a",
    "198.51.100.20%0d%0ax-injected:1",
    "198.51.100.20%2500",
    "%2531%2539%2538.51.100.20",
    "198%252e51%252e100%252e20",
    "198.51.100.20%2f32",
    "198.51.100.20%2F..",
    "198.51.100.20%5c",
    "198.51.100.20:80",
    "198.51.100.20,198.51.100.21",
    "%c0%b1%c0%b9%c0%b8.51.100.20",
    "198%c0%ae51%c0%ae100%c0%ae20",
    "%ff",
    "%e2%82%28",
    "%",
    "%zz",
    "%EF%BC%91%EF%BC%99%EF%BC%98.51.100.20",
    "%D9%A1%D9%A9%D9%A8.51.100.20",
    "198%E3%80%8251%E3%80%82100%E3%80%8220",
    "fe80::1%25eth0",
    "fe80::1%eth0",
    "[2001:db8::5]",
    "%5b2001:db8::5%5d",
    "2001:db8:::5",
    "2001:db8::5::1",
    "2001:db8::00005",
    "::ffff:198.51.100.020",
    "::ffff:0xc6336414",
    "2001:db8::5/128",
    "..%2f..%2f..%2fetc%2fpasswd",
];

async fn addresses(app: &TestApp, bearer: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for text in NO_ADDRESSES {
        let request = get(&format!("/api/ips/{text}/stats")).header("authorization", bearer);
        outcomes.push(Outcome::new("address", text, 400, app.send(empty(request)).await));
    }
    let long = "1".repeat(30_000);
    let request = get(&format!("/api/ips/{long}/stats")).header("authorization", bearer);
    outcomes.push(
        Outcome::new("address", "a very long one", 400, app.send(empty(request)).await).having_sent(&long),
    );
    outcomes
}

/// Paths that lead nowhere, however they are written.
async fn paths(app: &TestApp, bearer: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for path in [
        "/api/ips/../alerts",
        "/api/ips/198.51.100.20/../../alerts",
        "/api/ips/%2e%2e/stats/../../../metrics",
        "/api/%2e%2e/metrics",
        "/%2e%2e/metrics",
        "/..;/metrics",
        "/api/..;/metrics",
        "/api/ips/198.51.100.20/stats/..",
        "/api/ips/198.51.100.20/stats%00",
        "/api/ips/198.51.100.20/stats%2f",
        "/api/ips/198.51.100.20/stats;x=1",
        "/api/ips/198.51.100.20/stats.json",
        "/api/ips/198.51.100.20/%73tats",
        "/%61pi/alerts",
        "/api%2falerts",
        "/api//alerts",
        "//api/alerts",
        "//evil.example/%2f..",
        "/%5cevil.example",
        "/https:%2f%2fevil.example",
        "/.git/config",
        "/.env",
        "/metrics%00",
        "/metrics/../metrics",
        "/debug/pprof",
        "/api/v1.0/v1.0/alerts",
        "/api/ips(198.51.100.20)/stats",
    ] {
        let reply = app.send(empty(get(path).header("authorization", bearer))).await;
        outcomes.push(Outcome::new("path", path, 404, reply));
    }
    for query in [
        "lookBackHours=0",
        "lookBackHours=-1",
        "lookBackHours=%2b1",
        "lookBackHours=1e2",
        "lookBackHours=0x10",
        "lookBackHours=99999999999999999999",
        "lookBackHours=1%00",
        "lookBackHours=%D9%A1",
        "lookBackHours=",
        "lookBackHours=1&lookBackHours=2",
        "lookBackHours=1&LOOKBACKHOURS=1",
        "lookBackHours=1%0d%0aX-Injected:%201",
        "lookBackHours=<xss>",
        "lookBackHours%5b%5d=0&lookbackhours=%ff",
    ] {
        let request = get(&format!("{}?{}", path(), query.replace('<', "%3C").replace('>', "%3E")));
        let reply = app.send(empty(request.header("authorization", bearer))).await;
        outcomes.push(Outcome::new("query", query, 400, reply));
    }
    outcomes
}

/// Whatever else a request says, the token says whose data it is about: the address is one of the other's alone.
async fn anothers_data(app: &TestApp, bearer: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let other = OTHER.to_string();
    for (name, more) in [
        ("nothing more", String::new()),
        ("tenant in the query", format!("?tenant={other}")),
        ("tid in the query", format!("?tid={other}")),
        ("tenantId in the query", format!("?tenantId={other}&mtoid={other}")),
        ("organisation in the query", "?organisation=other&organization=other&org=other".to_owned()),
        ("OData's filter", format!("?$filter=tenantId%20eq%20'{other}'")),
    ] {
        let path = format!("/api/ips/{}/stats{more}", "203.0.113.9");
        let reply = app.send(empty(get(&path).header("authorization", bearer))).await;
        outcomes.push(in_anothers(name, reply));
    }
    for name in [
        "x-tenant",
        "x-tenant-id",
        "x-ms-client-tenant-id",
        "x-ms-tenant",
        "x-organisation",
        "x-forwarded-tenant",
        "tenant",
    ] {
        let request = get("/api/ips/203.0.113.9/stats").header("authorization", bearer).header(name, &other);
        outcomes.push(in_anothers(name, app.send(empty(request)).await));
    }
    for host in ["api-us.securitycenter.microsoft.com", "api-eu.securitycenter.microsoft.com", "localhost"] {
        let request = Request::get("/api/ips/203.0.113.9/stats").header("host", host);
        let reply = app.send(empty(request.header("authorization", bearer))).await;
        outcomes.push(in_anothers(host, reply));
    }
    outcomes
}

/// The address is the caller's own word; it may come back, as one that nobody of theirs saw.
fn in_anothers(name: &str, mut reply: crate::common::Reply) -> Outcome {
    assert_eq!(reply.code(), "ResourceNotFound", "{name}");
    reply.body = reply.text().replace(ELSEWHERE, "{ip}").into_bytes();
    Outcome::new("another's data", name, 404, reply)
}

async fn hosts(app: &TestApp, bearer: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (host, status) in [
        ("evil.example", 421),
        ("api.securitycenter.microsoft.com.evil.example", 421),
        ("evil-api.securitycenter.microsoft.com", 421),
        ("api.securitycenter.microsoft.com@evil.example", 400),
        ("evil.example#api.securitycenter.microsoft.com", 400),
        ("evil.example/api.securitycenter.microsoft.com", 400),
        ("api.securitycenter.microsoft.com, evil.example", 400),
        ("api.securitycenter.microsoft.com evil.example", 400),
        ("api.securitycenter.microsoft.com\tevil.example", 400),
        ("api.securitycenter.microsoft.com:80:80", 400),
        ("api.securitycenter.microsoft.com:-1", 400),
        ("api.securitycenter.microsoft.com:99999", 400),
        ("api.securitycenter.microsoft.com%00", 400),
        ("api%2esecuritycenter.microsoft.com", 400),
        ("[::1", 400),
        ("[::ffff:127.0.0.1]", 421),
        ("0x7f.1", 421),
        ("2130706433", 421),
        ("127.0.0.1", 421),
        ("169.254.169.254", 421),
        ("<xss>", 400),
        ("\"><xss>", 400),
        ("*", 400),
        ("", 400),
    ] {
        for path in [path(), "/docs".to_owned(), "/device".to_owned()] {
            let request = Request::get(&path).header("host", host).header("authorization", bearer);
            let name = format!("{host:?} {}", if path.len() > 8 { "stats" } else { &path });
            outcomes.push(Outcome::new("host", &name, status, app.send(empty(request)).await));
        }
    }
    for (name, header) in [
        ("X-Forwarded-Host", "x-forwarded-host"),
        ("X-Host", "x-host"),
        ("Forwarded", "forwarded"),
        ("X-Original-Host", "x-original-host"),
        ("X-Forwarded-Server", "x-forwarded-server"),
    ] {
        let request = Request::get("/api/").header("host", HOST).header(header, "host=evil.example");
        let reply = app.send(empty(request)).await;
        outcomes.push(Outcome::new("host", name, 200, reply).having_sent("evil.example"));
    }
    let twice = get(&path()).header("host", "evil.example").header("authorization", bearer);
    outcomes.push(Outcome::new("host", "two of them", 400, app.send(empty(twice)).await));
    outcomes
}

async fn methods(app: &TestApp, bearer: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let token_endpoint = format!("/{ACME}/oauth2/v2.0/token");
    let preflight = |request: axum::http::request::Builder| {
        request
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization")
            .header("access-control-request-private-network", "true")
    };
    for path in
        [&*path(), "/api/", "/api/alerts", &token_endpoint, "/device", "/docs", "/openapi.json", "/healthz"]
    {
        let request = preflight(get(path).method("OPTIONS"));
        outcomes.push(Outcome::new("preflight", path, 405, app.send(empty(request)).await));
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get", "GET1", "BREW"] {
        let request = get(&path()).method(method).header("authorization", bearer);
        outcomes.push(Outcome::new("method", method, 405, app.send(empty(request)).await));
    }
    for header in ["x-http-method-override", "x-http-method", "x-method-override", "_method"] {
        let request = get(&path()).method("POST").header("authorization", bearer).header(header, "GET");
        outcomes.push(Outcome::new("POST that says GET", header, 405, app.send(empty(request)).await));
        let request = get(&token_endpoint).header(header, "POST");
        outcomes.push(Outcome::new("GET that says POST", header, 405, app.send(empty(request)).await));
    }
    for method in ["GET", "HEAD"] {
        let request = get("/api/ips/x/stats").method(method).header("authorization", bearer);
        let body = Body::from("POST /common/oauth2/token HTTP/1.1\r\n\r\n".repeat(100));
        let reply = app.send(request.body(body).expect("a request")).await;
        outcomes.push(Outcome::new("body", method, 400, reply));
        let request = get(&token_endpoint).method(method);
        let form = format!("grant_type=client_credentials&client_id={READER}&resource={RESOURCE}");
        let reply = app.send(request.body(Body::from(form)).expect("a request")).await;
        outcomes.push(Outcome::new("form in the body", method, 405, reply));
    }
    outcomes
}

/// Headers that other servers follow.
async fn headers(app: &TestApp, bearer: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("x-original-url", "/metrics"),
        ("x-rewrite-url", "/metrics"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-proto", "javascript"),
        ("x-request-id", "injected-id"),
        ("traceparent", "00-injected-id-01"),
        ("cookie", "session=injected-id"),
        ("content-type", "application/json; charset=injected-id"),
        ("accept", "text/html, <xss>"),
        ("accept-language", "../../injected-id"),
        ("range", "bytes=0-1"),
        ("if-none-match", "*"),
        ("expect", "200-injected-id"),
        ("upgrade", "h2c"),
    ] {
        let request = get("/api/ips/x/stats").header("authorization", bearer).header(name, value);
        let reply = app.send(empty(request)).await;
        outcomes
            .push(Outcome::new("header", &format!("{name}: {value}"), 400, reply).having_sent("injected-id"));
    }
    let request = get("/api/ips/x/stats").header("authorization", bearer);
    let request = request.header("x-odd", HeaderValue::from_bytes(b"\xff\xfe").expect("a value"));
    outcomes.push(Outcome::new("header", "not UTF-8", 400, app.send(empty(request)).await));
    outcomes
}
