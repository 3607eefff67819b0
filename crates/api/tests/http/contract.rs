//! Every row of the contract's table, byte for byte.

use crate::common::{
    ACME, ELSEWHERE, HOST, NOW, POWERLESS, QUIET, READER, SEEN, STRANGER, TestApp, get, sighted,
};
use axum::body::Body;
use axum::http::Request;
use seenby_api::{Endpoint, Settings, UnknownIp};
use sighting::{Change, FirstSeen, Retention};

#[tokio::test]
async fn seen_in_the_window() {
    let reply = TestApp::new().await.stats(SEEN).await;
    insta::assert_snapshot!(reply.show(), @r#"
    200 OK
    content-length: 270
    content-type: application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8
    odata-version: 4.0
    ratelimit-policy: "minute";q=100;w=60, "hour";q=1500;w=3600
    ratelimit: "minute";r=99;t=60, "hour";r=1499;t=3600
    vary: accept-encoding
    x-request-id: {request id}

    {"@odata.context":"http://api.securitycenter.microsoft.com/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats","ipAddress":"198.51.100.20","orgPrevalence":"3","organizationPrevalence":3,"orgFirstSeen":"2017-08-28T13:00:00Z","orgLastSeen":"2017-08-29T13:59:00Z"}
    "#);
}

#[tokio::test]
async fn quiet_in_a_shorter_window() {
    let app = TestApp::new().await;
    let reply = app.reader(&format!("/api/ips/{QUIET}/stats?lookBackHours=48")).await;
    insta::assert_snapshot!(reply.show(), @r#"
    200 OK
    content-length: 232
    content-type: application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8
    odata-version: 4.0
    ratelimit-policy: "minute";q=100;w=60, "hour";q=1500;w=3600
    ratelimit: "minute";r=99;t=60, "hour";r=1499;t=3600
    vary: accept-encoding
    x-request-id: {request id}

    {"@odata.context":"http://api.securitycenter.microsoft.com/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats","ipAddress":"2001:db8::5","orgPrevalence":"0","organizationPrevalence":0,"orgFirstSeen":null,"orgLastSeen":null}
    "#);
    let whole = app.stats(QUIET).await;
    assert_eq!(whole.json()["organizationPrevalence"], 1);
}

#[tokio::test]
async fn windows_are_exact_to_the_second() {
    let app = TestApp::new().await;
    for (hours, prevalence, first) in [
        (1, 1, "2017-08-29T13:59:00Z"),
        (2, 2, "2017-08-29T12:00:00Z"),
        (24, 2, "2017-08-28T14:00:00Z"),
        (25, 3, "2017-08-28T13:00:00Z"),
        (720, 3, "2017-08-28T13:00:00Z"),
    ] {
        let reply = app.reader(&format!("/api/ips/{SEEN}/stats?lookBackHours={hours}")).await;
        assert_eq!(reply.json()["organizationPrevalence"], prevalence, "{hours}");
        assert_eq!(reply.json()["orgPrevalence"], prevalence.to_string(), "{hours}");
        assert_eq!(reply.json()["orgFirstSeen"], first, "{hours}");
        assert_eq!(reply.json()["orgLastSeen"], "2017-08-29T13:59:00Z", "{hours}");
    }
}

#[tokio::test]
async fn the_errors_of_the_contract() {
    let app = TestApp::new().await;
    insta::assert_snapshot!(app.stats("203.0.113.77").await.show(), @r#"
    404 Not Found
    content-length: 210
    content-type: application/json; charset=utf-8
    ratelimit-policy: "minute";q=100;w=60, "hour";q=1500;w=3600
    ratelimit: "minute";r=99;t=60, "hour";r=1499;t=3600
    vary: accept-encoding
    x-request-id: {request id}

    {"error":{"code":"ResourceNotFound","message":"No device of the organization opened a connection to 203.0.113.77 in the kept data (since 2017-07-30T14:00:00Z).","target":"{request id}"}}
    "#);
    insta::assert_snapshot!(app.stats("256.1.1.1").await.show(), @r#"
    400 Bad Request
    content-length: 217
    content-type: application/json; charset=utf-8
    ratelimit-policy: "minute";q=100;w=60, "hour";q=1500;w=3600
    ratelimit: "minute";r=98;t=60, "hour";r=1498;t=3600
    vary: accept-encoding
    x-request-id: {request id}

    {"error":{"code":"InvalidIpAddress","message":"'256.1.1.1' is not an IP address. Ask for one IPv4 or IPv6 address, without port, zone, prefix length or leading zeros.","target":"{request id}"}}
    "#);
    let reply = app.reader(&format!("/api/ips/{SEEN}/stats?lookBackHours=721")).await;
    insta::assert_snapshot!(reply.show(), @r#"
    400 Bad Request
    content-length: 160
    content-type: application/json; charset=utf-8
    ratelimit-policy: "minute";q=100;w=60, "hour";q=1500;w=3600
    ratelimit: "minute";r=97;t=60, "hour";r=1497;t=3600
    vary: accept-encoding
    x-request-id: {request id}

    {"error":{"code":"InvalidInput","message":"lookBackHours must be one whole number from 1 to 720; it is '721'.","target":"{request id}"}}
    "#);
    let path = format!("/api/ips/{SEEN}/stats");
    insta::assert_snapshot!(app.anonymous(&path).await.show(), @r#"
    401 Unauthorized
    content-length: 199
    content-type: application/json; charset=utf-8
    vary: accept-encoding
    www-authenticate: Bearer
    x-request-id: {request id}

    {"error":{"code":"Unauthorized","message":"No access token was sent. Get one from the token endpoint and send it as 'Authorization: Bearer {token}'.","target":"{request id}"}}
    "#);
    let powerless = app.token(POWERLESS).await;
    insta::assert_snapshot!(app.with_token(&powerless, &path).await.show(), @r#"
    403 Forbidden
    content-length: 342
    content-type: application/json; charset=utf-8
    vary: accept-encoding
    x-request-id: {request id}

    {"error":{"code":"Forbidden","message":"Missing application roles. API required roles: Ip.Read.All, application roles: none. Give the application the permission and get a new token. The token is for https://api.securitycenter.microsoft.com, organization aaaa0000-0000-4000-8000-000000000001.","target":"{request id}"}}
    "#);
}

#[tokio::test]
async fn what_is_not_an_address() {
    let app = TestApp::new().await;
    for text in [
        "256.1.1.1",
        "010.1.1.1",
        "1.1.1",
        "10.0.0.0/8",
        "10.0.0.0%2F8",
        "10.0.0.1:80",
        "fe80::1%25eth0",
        "[::1]",
        "%20",
        "",
        "1.1.1.1%00",
        "%ff",
        "example.com",
        "1.1.1.1%0a",
        "0x7f000001",
        "2130706433",
        "..%2f..%2fetc",
    ] {
        let reply = app.stats(text).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "InvalidIpAddress"), "{text}");
        assert!(!reply.text().contains(['\n', '\0']), "{text}");
    }
}

#[tokio::test]
async fn spellings_of_one_address() {
    let app = TestApp::new().await;
    for (text, echo) in [
        ("2001:db8::5", "2001:db8::5"),
        ("2001:0DB8:0:0:0:0:0:5", "2001:0DB8:0:0:0:0:0:5"),
        ("2001%3Adb8%3a%3A5", "2001:db8::5"),
    ] {
        let reply = app.stats(text).await;
        assert_eq!(
            (&reply.json()["ipAddress"], &reply.json()["organizationPrevalence"]),
            (&echo.into(), &1.into())
        );
    }
    let mapped = app.stats("::ffff:198.51.100.20").await;
    assert_eq!(mapped.json()["organizationPrevalence"], 3);
    assert_eq!(mapped.json()["ipAddress"], "::ffff:198.51.100.20");
}

#[tokio::test]
async fn paths_and_names_in_any_case() {
    let app = TestApp::new().await;
    for path in [
        "/API/IPS/198.51.100.20/STATS",
        "/api/v1.0/ips/198.51.100.20/stats",
        "/Api/V1.0/Ips/198.51.100.20/Stats/",
        "/api/ips/198.51.100.20/stats?LOOKBACKHOURS=720",
        "/api/ips/198.51.100.20/stats?$select=x&foo",
    ] {
        let reply = app.reader(path).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["organizationPrevalence"]),
            (200, &3.into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn look_backs_that_are_refused() {
    let app = TestApp::new().await;
    for value in [
        "0",
        "-1",
        "721",
        "2147483648",
        "",
        "1.0",
        "+1",
        "%D9%A1",
        "1e1",
        "48&lookbackhours=48",
        "%1b]0;x%07",
    ] {
        let reply = app.reader(&format!("/api/ips/{SEEN}/stats?lookBackHours={value}")).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "InvalidInput"), "{value}");
        let message = reply.message();
        assert!(message.contains("lookBackHours") && message.contains("from 1 to 720"), "{message}");
        assert!(!message.chars().any(char::is_control), "{message}");
    }
}

#[tokio::test]
async fn retention_sets_the_cap_and_clips_the_window() {
    let app = TestApp::new().await;
    let ask = async |hours: u32| {
        app.reader(&format!("/api/ips/{QUIET}/stats?lookBackHours={hours}")).await.status.as_u16()
    };
    app.commit(Change::SetRetention(ACME, Retention::Hours(1_000))).await;
    assert_eq!((ask(1_000).await, ask(1_001).await), (200, 400));
    app.commit(Change::SetRetention(ACME, Retention::Forever)).await;
    assert_eq!(ask(i32::MAX as u32).await, 200);
    // A shorter retention refuses no look-back, and what it does not keep does not exist.
    app.commit(Change::SetRetention(ACME, Retention::Hours(24))).await;
    assert_eq!(ask(720).await, 404);
    assert_eq!(app.stats(SEEN).await.json()["organizationPrevalence"], 2);
}

#[tokio::test]
async fn settings_change_the_answer() {
    let settings = Settings { unknown_ip: UnknownIp::Zero, legacy_prevalence: false, ..Settings::default() };
    let app = TestApp::with(settings).await;
    insta::assert_snapshot!(app.stats("203.0.113.77").await.text(), @r#"{"@odata.context":"http://api.securitycenter.microsoft.com/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats","ipAddress":"203.0.113.77","organizationPrevalence":0,"orgFirstSeen":null,"orgLastSeen":null}"#);
    let app = TestApp::with(Settings { first_seen: FirstSeen::InKept, ..Settings::default() }).await;
    let reply = app.reader(&format!("/api/ips/{SEEN}/stats?lookBackHours=1")).await;
    assert_eq!(reply.json()["orgFirstSeen"], "2017-08-28T13:00:00Z");
}

#[tokio::test]
async fn organisations_see_only_their_own() {
    let app = TestApp::new().await;
    let stranger = app.token(STRANGER).await;
    let theirs = app.with_token(&stranger, &format!("/api/ips/{ELSEWHERE}/stats")).await;
    assert_eq!(theirs.json()["organizationPrevalence"], 1);
    assert_eq!(app.stats(ELSEWHERE).await.status, 404);
    assert_eq!(app.with_token(&stranger, &format!("/api/ips/{SEEN}/stats")).await.status, 404);
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there() {
    let app = TestApp::new().await;
    for path in [
        "/api/ips",
        "/api/ips/1.1.1.1",
        "/api/ips/1.1.1.1/machines",
        "/apis",
        "/favicon.ico",
        "/api/v2.0/ips/1.1.1.1/stats",
    ] {
        let reply = app.reader(path).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (404, 0), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/api/ips/1.1.1.1/stats", "GET,HEAD"),
        ("DELETE", "/api/alerts", "GET,HEAD"),
        ("OPTIONS", "/api/$metadata", "GET,HEAD"),
        ("GET", "/acme/oauth2/token", "POST"),
        ("BREW", "/healthz", "GET,HEAD"),
    ] {
        let reply = app.send(get(path).method(method).body(Body::empty()).expect("a request")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.len(), reply.header("allow")),
            (405, 0, allow),
            "{path}"
        );
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    for path in [
        format!("/api/ips/{SEEN}/stats"),
        "/api/ips/x/stats".into(),
        "/api/$metadata".into(),
        "/healthz".into(),
    ] {
        let ask = async |method: &str| {
            let request = get(&path).method(method).header("authorization", format!("Bearer {token}"));
            app.send(request.body(Body::empty()).expect("a request")).await
        };
        let (got, head) = (ask("GET").await, ask("HEAD").await);
        assert_eq!((head.status, head.body.len()), (got.status, 0), "{path}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{path}");
        assert_eq!(head.header("content-length"), got.body.len().to_string(), "{path}");
    }
}

#[tokio::test]
async fn needless_headers_and_bodies_are_fine() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    for (length, connection) in [(2, ""), (64 * 1024, ""), (64 * 1024 + 1, "close")] {
        let request = get(&format!("/api/ips/{SEEN}/stats"))
            .header("authorization", format!("bEARER {token}"))
            .header("content-type", "application/json")
            .header("accept", "text/html;q=x")
            .body(Body::from(vec![b'x'; length]));
        let reply = app.send(request.expect("a request")).await;
        assert_eq!((reply.status.as_u16(), reply.header("connection")), (200, connection), "{length}");
    }
}

#[tokio::test]
async fn answers_are_compressed_as_asked() {
    use std::io::Read;
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    let plain = app.stats(SEEN).await.body;
    for coding in ["gzip", "deflate", "br", "zstd", "identity", "gzip, deflate"] {
        let request = get(&format!("/api/ips/{SEEN}/stats"))
            .header("authorization", format!("Bearer {token}"))
            .header("accept-encoding", coding);
        let reply = app.send(request.body(Body::empty()).expect("a request")).await;
        let mut decoded = Vec::new();
        match reply.header("content-encoding") {
            "gzip" => {
                assert!(
                    flate2::read::GzDecoder::new(&*reply.body).read_to_end(&mut decoded).expect("gzip") > 0
                );
            }
            "deflate" => {
                assert!(
                    flate2::read::ZlibDecoder::new(&*reply.body).read_to_end(&mut decoded).expect("zlib") > 0
                );
            }
            "zstd" => decoded = zstd::decode_all(&*reply.body).expect("zstd"),
            "br" => {
                assert!(
                    brotli::BrotliDecompress(&mut &*reply.body, &mut decoded).is_ok(),
                    "not brotli: {:?}",
                    reply.body
                );
            }
            "" => decoded.clone_from(&reply.body),
            other => panic!("{other}"),
        }
        assert_eq!(decoded, plain, "{coding}");
        let expected = match coding {
            "identity" => "",
            "gzip, deflate" => "gzip",
            one => one,
        };
        assert_eq!(reply.header("content-encoding"), expected, "{coding}");
        assert!(reply.header("vary").eq_ignore_ascii_case("accept-encoding"), "{coding}");
    }
}

#[tokio::test]
async fn documents_and_connection_tests() {
    let app = TestApp::new().await;
    insta::assert_snapshot!(app.anonymous("/api/$metadata").await.show(), @r#"
    200 OK
    content-length: 1231
    content-type: application/xml
    odata-version: 4.0
    vary: accept-encoding
    x-request-id: {request id}

    <?xml version="1.0" encoding="utf-8"?>
    <edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
      <edmx:DataServices>
        <Schema Namespace="microsoft.windowsDefenderATP.api" xmlns="http://docs.oasis-open.org/odata/ns/edm">
          <EntityType Name="Ip">
            <Key>
              <PropertyRef Name="id" />
            </Key>
            <Property Name="id" Type="Edm.String" Nullable="false" />
          </EntityType>
          <ComplexType Name="InOrgIPStats">
            <Property Name="ipAddress" Type="Edm.String" />
            <Property Name="orgPrevalence" Type="Edm.String" />
            <Property Name="organizationPrevalence" Type="Edm.Int32" />
            <Property Name="orgFirstSeen" Type="Edm.DateTimeOffset" />
            <Property Name="orgLastSeen" Type="Edm.DateTimeOffset" />
          </ComplexType>
          <Function Name="Stats" IsBound="true">
            <Parameter Name="bindingParameter" Type="microsoft.windowsDefenderATP.api.Ip" />
            <ReturnType Type="microsoft.windowsDefenderATP.api.InOrgIPStats" />
          </Function>
          <EntityContainer Name="Container">
            <EntitySet Name="Ips" EntityType="microsoft.windowsDefenderATP.api.Ip" />
          </EntityContainer>
        </Schema>
      </edmx:DataServices>
    </edmx:Edmx>
    "#);
    insta::assert_snapshot!(app.anonymous("/api/").await.show(), @r#"
    200 OK
    content-length: 130
    content-type: application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8
    odata-version: 4.0
    vary: accept-encoding
    x-request-id: {request id}

    {"@odata.context":"http://api.securitycenter.microsoft.com/api/$metadata","value":[{"name":"Ips","kind":"EntitySet","url":"Ips"}]}
    "#);
    for path in ["/api/%24metadata", "/API/V1.0/$METADATA", "/api/v1.0/$metadata/"] {
        assert_eq!(app.anonymous(path).await.text(), app.anonymous("/api/$metadata").await.text(), "{path}");
    }
    let powerless = app.token(POWERLESS).await;
    insta::assert_snapshot!(app.with_token(&powerless, "/api/alerts?$top=1").await.text(), @r#"{"@odata.context":"http://api.securitycenter.microsoft.com/api/$metadata#Alerts","value":[]}"#);
    insta::assert_snapshot!(app.with_token(&powerless, "/api/v1.0/machines?$top=1").await.text(), @r#"{"@odata.context":"http://api.securitycenter.microsoft.com/api/$metadata#Machines","value":[]}"#);
    assert_eq!(app.anonymous("/api/alerts?$top=1").await.status, 401);
    assert_eq!(app.anonymous("/api/machines").await.status, 401);
}

#[tokio::test]
async fn the_context_is_what_was_called() {
    use std::net::SocketAddr;
    let proxy = sighting::Network::parse("192.0.2.0/24").expect("a network");
    let endpoints =
        ["h.example", "[::1]", "outer.example", "inner"].map(|it| Endpoint::new(it).expect("a host"));
    let settings =
        Settings { trusted_proxies: vec![proxy], endpoints: endpoints.to_vec(), ..Settings::default() };
    let app = TestApp::with(settings).await;
    let ask = async |peer: &str, headers: &[(&str, &str)]| {
        let peer: SocketAddr = peer.parse().expect("a peer");
        let mut request = Request::get("/api/").extension(axum::extract::ConnectInfo(peer));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = app.send(request.body(Body::empty()).expect("a request")).await;
        reply.json()["@odata.context"].as_str().expect("text").trim_end_matches("/api/$metadata").to_owned()
    };
    let (proxy, stranger) = ("192.0.2.7:1", "203.0.113.5:1");
    assert_eq!(ask(stranger, &[("host", "h.example:8080")]).await, "http://h.example:8080");
    assert_eq!(ask(stranger, &[("host", "[::1]:8080")]).await, "http://[::1]:8080");
    assert_eq!(ask(stranger, &[("host", "LOCALHOST.")]).await, "http://LOCALHOST.");
    let forwarded =
        [("host", "inner"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer.example, inner")];
    assert_eq!(ask(proxy, &forwarded).await, "https://outer.example");
    assert_eq!(ask(stranger, &forwarded).await, "http://inner");
    assert_eq!(ask(proxy, &[("host", "inner"), ("x-forwarded-proto", "javascript")]).await, "http://inner");
    assert_eq!(ask(proxy, &[("host", "inner"), ("x-forwarded-proto", "HTTPS")]).await, "https://inner");
}

/// What a client writes before `://` is only its word: the scheme is that of the connection.
#[tokio::test]
async fn an_absolute_target_does_not_choose_the_scheme() {
    let app = TestApp::new().await;
    let request =
        Request::get(format!("https://{HOST}/api/")).header("host", "other.example").body(Body::empty());
    let reply = app.send(request.expect("a request")).await;
    assert_eq!(reply.json()["@odata.context"], format!("http://{HOST}/api/$metadata"));
}

#[tokio::test]
async fn head_says_what_get_says() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    let ask = async |method: &str, coding: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/ips/{SEEN}/stats"))
            .header("host", HOST)
            .header("accept-encoding", coding)
            .header("authorization", format!("Bearer {token}"));
        app.send(request.body(Body::empty()).expect("a request")).await
    };
    for coding in ["identity", "gzip", "br"] {
        let (get, head) = (ask("GET", coding).await, ask("HEAD", coding).await);
        assert_eq!(head.body, b"", "{coding}");
        for name in ["content-encoding", "content-type", "odata-version", "vary"] {
            assert_eq!(head.header(name), get.header(name), "{coding}: {name}");
        }
        let length = if coding == "identity" { get.body.len().to_string() } else { String::new() };
        assert_eq!(head.header("content-length"), length, "{coding}");
    }
}

#[tokio::test]
async fn late_data_count_at_once() {
    let app = TestApp::new().await;
    sighted(&app.store, ACME, SEEN, &[("late", NOW - 86_000)]).await;
    assert_eq!(app.stats(SEEN).await.json()["organizationPrevalence"], 4);
}
