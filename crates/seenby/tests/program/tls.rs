//! `seenby tls` and `seenby serve` over TLS, with the clients that people have: curl and openssl. Who has neither is told that
//! these tests did not run. Real clients of the original are in `tests/clients`, which `make test-clients` runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, Run, Server, exchange, mde, now};

/// Whether a program is here; says so if it is not.
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    // openssl knows `version` only, and ends with another code than a missing program does.
    let is_here = found.is_ok();
    if !is_here {
        eprintln!("skipped: {program} is not installed");
    }
    is_here
}

/// What curl says of a path, by the CA of a folder; its exit code says the rest.
fn curl(ca: &Path, url: &str, more: &[&str]) -> Run {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "20", "--cacert"]).arg(ca).args(more).arg(url);
    Run::of(command.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE"))
}

fn openssl(arguments: &[&str], inside: &Path) -> Run {
    Run::of(Command::new("openssl").args(arguments).current_dir(inside).env_remove("SSL_CERT_FILE"))
}

/// What somebody who took the CA's key would do: `leaf.pem` for any names, signed by `ca.key` in this folder.
fn sign_leaf(folder: &Path, subject: &str, extensions: &str) {
    std::fs::write(folder.join("leaf.cnf"), extensions).expect("written");
    let request = [
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "leaf.key",
        "-subj",
        subject,
        "-out",
        "leaf.csr",
    ];
    openssl(&request, folder).ends(0);
    let sign = [
        "x509",
        "-req",
        "-in",
        "leaf.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-set_serial",
        "7",
        "-days",
        "5",
        "-extfile",
        "leaf.cnf",
        "-out",
        "leaf.pem",
    ];
    openssl(&sign, folder).ends(0);
}

fn serve_tls(place: &Place) -> Server {
    Server::start_tls(&mut place.command(["serve", "--listen", "127.0.0.1:0"]))
}

impl Server {
    fn url(&self, host: &str, path: &str) -> String {
        let port = self.host.rsplit(':').next().expect("a port");
        format!("https://{host}:{port}{path}")
    }
}

#[test]
fn two_commands_serve_over_tls() {
    if !has("curl") {
        return;
    }
    let place = Place::new();
    let now = now();
    place.ingest("a.json", mde(now, "a1", "pc-1", "198.51.100.20"));
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let init = place.run(["tls", "init"]).ends(0);
    assert!(
        init.stdout.contains("localhost, 127.0.0.1, ::1") && init.stdout.contains("--cacert"),
        "{}",
        init.stdout
    );
    let server = serve_tls(&place);
    let ca = place.data.join("tls/ca.pem");
    let text = |key: &str| added[key].as_str().expect("a text").to_owned();
    for (host, version) in [("localhost", "--http2"), ("127.0.0.1", "--http1.1")] {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={}/.default",
            text("client_id"),
            text("client_secret"),
            server.url("localhost", "")
        );
        let path = format!("/{}/oauth2/v2.0/token", text("tenant"));
        let reply = curl(&ca, &server.url(host, &path), &[version, "-d", &form]).ends(0).json();
        let bearer = format!("Authorization: Bearer {}", reply["access_token"].as_str().expect("a token"));
        let shown = "\n%{http_version} %{http_code}";
        let url = server.url(host, "/api/ips/198.51.100.20/stats");
        let answer = curl(&ca, &url, &[version, "-i", "-w", shown, "-H", &bearer]).ends(0).stdout;
        let expected = if version == "--http2" { "2 200" } else { "1.1 200" };
        assert!(answer.ends_with(expected), "{answer}");
        assert!(answer.contains("strict-transport-security: max-age=31536000"), "{answer}");
        let context = format!("{{\"@odata.context\":\"{}", server.url(host, "/api/$metadata#"));
        assert!(answer.contains(&context), "{answer}");
    }
    // Another host is not ours, though the connection is.
    let url = server.url("localhost", "/api/");
    let rebound = curl(&ca, &url, &["-w", "%{http_code}", "-H", "Host: rebound.example"]).ends(0).stdout;
    assert!(rebound.ends_with("421"), "{rebound}");
    let metrics = server.metrics();
    let expiry =
        metrics.lines().find_map(|it| it.strip_prefix("seenby_tls_certificate_expiry_timestamp_seconds "));
    let expiry: u32 = expiry.and_then(|seconds| seconds.parse().ok()).expect("a time");
    assert!((89 * 86_400..90 * 86_400).contains(&(expiry - now.unix())), "{expiry}");
    // Nobody is served without TLS, nor with an older one.
    let plain = server.url("127.0.0.1", "/healthz").replace("https", "http");
    assert_ne!(curl(&ca, &plain, &[]).code, 0);
    assert_ne!(curl(&ca, &server.url("localhost", "/healthz"), &["--tls-max", "1.1"]).code, 0);
    curl(&ca, &server.url("localhost", "/healthz"), &["--tls-max", "1.2"]).ends(0);
    // Who does not know the CA does not come in: 60 is curl's word for that.
    let strange = Place::new();
    strange.run(["tls", "init"]).ends(0);
    curl(&strange.data.join("tls/ca.pem"), &server.url("localhost", "/healthz"), &[]).ends(60);
    // The other commands go on through the server.
    assert_eq!(place.stats("198.51.100.20").0, 1);
    assert_eq!(server.stop(), 0);
    // Plain HTTP is still there for who asks for it.
    let plain = Server::start(&mut place.command(["serve", "--no-tls", "--listen", "127.0.0.1:0"]));
    assert_eq!(plain.get("/healthz", None).0, 200);
}

#[test]
fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    if !has("curl") {
        return;
    }
    let place = Place::new();
    place.run(["tls", "init"]).ends(0);
    let log = place.root.path().join("log");
    let mut command = place.command(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::start_logged(&mut command, &log);
    let ca = place.data.join("tls/ca.pem");
    let wait_for = |what: &str, times: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::fs::read_to_string(&log).expect("a log").matches(what).count() < times {
            assert!(Instant::now() < deadline, "{what:?} is not logged");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    };
    let serial = || {
        let url = server.url("localhost", "/healthz");
        let run = curl(&ca, &url, &["-w", "%{certs}"]).ends(0);
        run.stdout.lines().find(|line| line.starts_with("Serial Number")).map(str::to_owned)
    };
    let before = serial();
    // The key has been moved off, as the output says.
    let key = place.root.path().join("ca.key");
    std::fs::rename(place.data.join("tls/ca.key"), &key).expect("moved");
    let without = place.run(["tls", "renew"]).ends(2);
    assert!(without.stderr.contains("--ca-key"), "{}", without.stderr);
    place.run(["tls", "renew", "--ca-key", key.to_str().expect("text")]).ends(0);
    wait_for("was exchanged", 1);
    let after = serial();
    assert!(before.is_none() || before != after, "{before:?}");
    // Half a pair: the old one is served on, and it is said once.
    let other = Place::new();
    other.run(["tls", "init"]).ends(0);
    std::fs::copy(other.data.join("tls/server.key"), place.data.join("tls/server.key")).expect("copied");
    wait_for("served on", 1);
    assert_eq!(serial(), after);
    place.run(["tls", "renew", "--ca-key", key.to_str().expect("text")]).ends(0);
    wait_for("was exchanged", 2);
    assert_eq!(std::fs::read_to_string(&log).expect("a log").matches("served on").count(), 1);
    curl(&ca, &server.url("localhost", "/healthz"), &[]).ends(0);
    assert_eq!(server.stop(), 0);
}

/// Whoever gets hold of the CA's key can sign for its hosts, and not for one more.
#[test]
fn a_client_takes_no_other_host_from_the_ca() {
    if !has("openssl") {
        return;
    }
    let place = Place::new();
    place.run(["tls", "init", "--host", "seenby.example.org"]).ends(0);
    let folder = place.data.join("tls");
    let own = openssl(&["verify", "-CAfile", "ca.pem", "-purpose", "sslserver", "server.pem"], &folder);
    assert_eq!(own.code, 0, "{own:?}");
    for (names, good) in [
        ("DNS:localhost", true),
        ("DNS:seenby.example.org,IP:127.0.0.1", true),
        ("DNS:login.microsoftonline.com", false),
        ("DNS:localhost,DNS:example.org", false),
        ("DNS:seenby.example.org.evil.example", false),
        ("DNS:notseenby.example.org", false),
        ("IP:127.0.0.2", false),
        ("IP:::2", false),
    ] {
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n");
        sign_leaf(&folder, "/CN=anybody else", &extensions);
        let verified =
            openssl(&["verify", "-CAfile", "ca.pem", "-purpose", "sslserver", "leaf.pem"], &folder);
        assert_eq!(verified.code == 0, good, "{names}: {verified:?}");
        assert!(
            good || format!("{verified:?}").contains("permitted subtree violation"),
            "{names}: {verified:?}"
        );
    }
    let shown = openssl(&["x509", "-in", "ca.pem", "-noout", "-text"], &folder).ends(0).stdout;
    assert!(shown.contains("X509v3 Name Constraints: critical"), "{shown}");
}

/// The same by a client over the wire: curl refuses a server that shows such a certificate.
#[test]
fn curl_refuses_another_host_from_the_ca() {
    if !has("curl") || !has("openssl") {
        return;
    }
    let place = Place::new();
    place.run(["tls", "init"]).ends(0);
    let folder = place.data.join("tls");
    sign_leaf(&folder, "/CN=x y", "subjectAltName=DNS:login.example,DNS:localhost\n");
    let named = ["--tls-certificate", "leaf.pem", "--tls-key", "leaf.key"];
    let mut command = place.command(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::start_tls(command.args(named).current_dir(&folder));
    let port = server.host.rsplit(':').next().expect("a port");
    let to = format!("login.example:{port}:127.0.0.1");
    curl(&folder.join("ca.pem"), &server.url("login.example", "/healthz"), &["--resolve", &to]).ends(60);
}

#[test]
fn what_init_writes_and_refuses_to_overwrite() {
    let place = Place::new();
    let made = place
        .run(["tls", "init", "--host", "Seenby.example.org", "--host", "192.0.2.7", "--json"])
        .ends(0)
        .json();
    let folder = place.data.join("tls");
    assert_eq!(made["certificate"], folder.join("server.pem").to_str().expect("text"));
    let hosts = made["hosts"].as_array().expect("a list");
    for host in ["localhost", "127.0.0.1", "::1", "seenby.example.org", "192.0.2.7"] {
        assert!(hosts.iter().any(|it| it == host), "{host}: {hosts:?}");
    }
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["ca.pem", "ca.key", "server.pem", "server.key"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let ca = std::fs::read(folder.join("ca.pem")).expect("a file");
    let again = place.run(["tls", "init"]).ends(5);
    assert!(again.stderr.contains("--force") && again.stderr.contains("tls renew"), "{}", again.stderr);
    assert_eq!(std::fs::read(folder.join("ca.pem")).expect("a file"), ca);
    place.run(["tls", "init", "--force"]).ends(0);
    assert_ne!(std::fs::read(folder.join("ca.pem")).expect("a file"), ca);
    // Elsewhere, and without a data folder being made for it.
    let other = Place::new();
    let out = other.root.path().join("out");
    other.run(["tls", "init", "--out", out.to_str().expect("text")]).ends(0);
    assert!(out.join("server.pem").exists() && !other.data.exists());
    let shown = other.run(["tls", "show", "--out", out.to_str().expect("text")]).ends(0).stdout;
    assert!(shown.contains("89 days left") && shown.contains("keytool"), "{shown}");
    // The store does not mind the folder.
    assert_eq!(place.stats("198.51.100.20").0, 0);
}

#[test]
fn hosts_of_the_original_are_for_laboratories() {
    let place = Place::new();
    for host in ["api.securitycenter.microsoft.com", "LOGIN.microsoftonline.com."] {
        let refused = place.run(["tls", "init", "--host", host]).ends(5);
        assert!(refused.stderr.contains("--lab"), "{}", refused.stderr);
        assert!(!place.data.join("tls").exists());
    }
    let made = place
        .run(["tls", "init", "--host", "api.securitycenter.microsoft.com", "--lab", "--json"])
        .ends(0)
        .json();
    assert!(
        made["hosts"].as_array().expect("a list").iter().any(|it| it == "api.securitycenter.microsoft.com")
    );
}

#[test]
fn pairs_that_cannot_be_served_are_said_before_anything_is_listened_to() {
    let place = Place::new();
    place.run(["tls", "init"]).ends(0);
    let folder = place.data.join("tls");
    let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
    let (certificate, key) = (path("server.pem"), path("server.key"));
    let pem = std::fs::read_to_string(&key).expect("a key");
    let secret = pem.lines().nth(1).expect("its first line").to_owned();
    for (certificate, key, says) in [
        (&*path("gone.pem"), &*key, "gone.pem cannot be read"),
        (&certificate, &path("ca.key"), "the key is not that of the first certificate"),
        (&key, &key, "there is no certificate in the certificate file"),
        (&certificate, &certificate, "there is no private key in the key file"),
    ] {
        let run = place
            .run(["serve", "--listen", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key])
            .ends(2);
        assert!(run.stderr.contains(says), "{}", run.stderr);
        assert!(!run.stderr.contains(&secret), "no key is shown");
    }
    place.run(["serve", "--tls-certificate", &certificate]).ends(2);
    // Half of what init wrote is not taken for plain HTTP.
    std::fs::remove_file(&key).expect("it is there");
    let run = place.run(["serve", "--listen", "127.0.0.1:0"]).ends(2);
    assert!(run.stderr.contains("server.key cannot be read"), "{}", run.stderr);
}

#[test]
fn metrics_have_a_listener_of_their_own() {
    let place = Place::new();
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let mut server = Server::start(&mut place.command(["serve", "--listen", listen]));
        server.host = server.host.replace("0.0.0.0", "127.0.0.1");
        assert!(server.operators.starts_with("127.0.0.1:") && server.operators != server.host);
        assert!(server.metrics().contains("seenby_store_segments 0"));
        for (path, of_callers, of_operators) in [
            ("/metrics", 404, 200),
            ("/seenby/v1/roles", 404, 401),
            ("/api/", 200, 404),
            ("/readyz", 200, 200),
        ] {
            let operators =
                exchange(&server.operators, &server.operators, &format!("GET {path} HTTP/1.1\r\n"), "");
            assert_eq!(
                (server.get(path, None).0, operators.0),
                (of_callers, of_operators),
                "{listen} {path}"
            );
        }
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn there_may_be_no_listener_for_the_operator() {
    let place = Place::new();
    let mut command = place.command(["serve", "--listen", "127.0.0.1:0", "--operator-listen", "none"]);
    let server = Server::start_alone(command.stderr(Stdio::null()));
    assert_eq!((server.get("/metrics", None).0, server.get("/readyz", None).0), (404, 200));
    assert_eq!(server.stop(), 0);
}

#[test]
fn proxies_say_for_whom_they_stand() {
    if !has("curl") {
        return;
    }
    let place = Place::new();
    let settings =
        place.write("s.toml", "[serve]\nproxy_protocol = true\n[api]\ntrusted_proxies = ['127.0.0.1/32']\n");
    let log = place.root.path().join("log");
    let mut command = place.command(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::start_logged(command.arg("--settings").arg(settings), &log);
    // curl speaks version 1 alone, which is refused: not one word comes back.
    let url = server.url("127.0.0.1", "/healthz").replace("https", "http");
    assert_ne!(curl(Path::new("/dev/null"), &url, &["--haproxy-protocol"]).code, 0);
    let answer = server.proxied("203.0.113.9", "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !std::fs::read_to_string(&log).expect("a log").contains("peer=\"203.0.113.9\"") {
        assert!(Instant::now() < deadline, "the peer is not in the log");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
