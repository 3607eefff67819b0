//! The hosts that a server may be called by: how they are listed, and that the running binary holds to them. Names and
//! certificates of other machines are not here.

use serde_json::{Value, json};

use crate::support::{HOSTILE, Place, Server, check_text, exchange, mde, now};

const SETTINGS: &str = "[[endpoints]]
host = 'eu.seenby.example'
cloud = 'ours'
region = 'eu'
authority = 'https://login.example'
audiences = ['https://eu.seenby.example/', 'https://api.securitycenter.microsoft.com']

[[endpoints]]
host = 'api-gov.securitycenter.microsoft.us:8443'
";

#[test]
fn endpoints_are_listed() {
    let place = Place::new();
    let plain = place.run(["endpoints"]).ends(0).stdout;
    assert!(plain.starts_with("HOST "), "{plain}");
    for row in [
        "api-gcc.securitycenter.microsoft.us",
        "https://login.microsoftonline.us",
        "eu.api.security.microsoft.com",
    ] {
        assert!(plain.contains(row), "{row} in\n{plain}");
    }
    let settings = place.write("seenby.toml", SETTINGS);
    let settings = settings.to_str().expect("UTF-8");
    let listed = place.run(["endpoints", "--json", "--settings", settings]).ends(0).json();
    let listed = listed.as_array().expect("a list");
    let of = |host: &str| listed.iter().find(|it| it["host"] == host).cloned().unwrap_or(Value::Null);
    assert_eq!(
        of("eu.seenby.example"),
        json!({
            "host": "eu.seenby.example", "cloud": "ours", "region": "eu", "authority": "https://login.example",
            "audiences": ["https://eu.seenby.example", "https://api.securitycenter.microsoft.com"],
        })
    );
    assert_eq!(of("api-gov.securitycenter.microsoft.us"), Value::Null, "an own one takes its place");
    assert_eq!(of("api-gov.securitycenter.microsoft.us:8443")["audiences"], Value::Null);
    assert_eq!(of("api-uk.securitycenter.microsoft.com")["authority"], "https://login.microsoftonline.com");
    let alone = place.write("alone.toml", format!("[api]\npreset_endpoints = false\n{SETTINGS}"));
    let alone = alone.to_str().expect("UTF-8");
    let listed = place.run(["endpoints", "--json", "--settings", alone]).ends(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert!(!place.data.exists(), "the command needs no data folder");
}

#[test]
fn hostile_words_of_an_endpoint_are_shown_as_text() {
    let place = Place::new();
    let quoted = Value::from(HOSTILE).to_string().replace('|', "\\u007c");
    for (key, code) in [("region", 0), ("cloud", 0), ("audiences", 0), ("host", 2), ("authority", 2)] {
        let host = if key == "host" { String::new() } else { "host = 'h.example'\n".to_owned() };
        let value = if key == "audiences" { format!("[{quoted}]") } else { quoted.clone() };
        let settings = place.write("hostile.toml", format!("[[endpoints]]\n{host}{key} = {value}\n"));
        let settings = settings.to_str().expect("UTF-8");
        for json in [&[][..], &["--json"]] {
            let arguments = [&["endpoints", "--settings", settings][..], json].concat();
            let run = place.run(arguments).ends(code);
            check_text(key, &run.stdout);
            check_text(key, &run.stderr);
        }
    }
}

#[test]
fn a_running_server_answers_as_its_hosts_and_as_no_other() {
    let place = Place::new();
    let now = now();
    place.ingest("a.json", mde(now, "a1", "pc-1", "198.51.100.20"));
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let settings = place.write("seenby.toml", SETTINGS);
    let settings = settings.to_str().expect("UTF-8");
    let server =
        Server::start(&mut place.command(["serve", "--listen", "127.0.0.1:0", "--settings", settings]));
    let token = server.token(&added);
    let path = "/api/ips/198.51.100.20/stats";
    let port = server.host.rsplit(':').next().expect("a port");
    let localhost = format!("localhost:{port}");
    for (host, status) in [
        (&*server.host, 200),
        (&*localhost, 200),
        ("EU.seenby.example", 200),
        ("api-us.securitycenter.microsoft.com", 200),
        // Its tokens are others.
        ("api-gcc.securitycenter.microsoft.us", 401),
        ("api-gov.securitycenter.microsoft.us", 421),
        ("rebound.example", 421),
        ("localhost", 421),
        ("a b", 400),
    ] {
        let (found, body) = server.get_as(host, path, Some(&token));
        assert_eq!(found, status, "{host}: {body}");
        if status == 200 {
            assert!(
                body.starts_with(&format!("{{\"@odata.context\":\"http://{host}/api/$metadata#")),
                "{body}"
            );
        }
    }
    let metrics_of = |host: &str| exchange(&server.operators, host, "GET /metrics HTTP/1.1\r\n", "").0;
    assert_eq!((metrics_of(&server.operators), metrics_of("rebound.example")), (200, 421));
    assert_eq!(server.get_as("rebound.example", "/readyz", None).0, 200);
    assert_eq!(server.stop(), 0);
}
