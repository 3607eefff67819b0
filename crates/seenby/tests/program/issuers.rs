//! Outside issuers of `seenby serve`: another seenby stands for the issuer, over real TLS, with curl to get its tokens. Who
//! has no curl is told that these tests did not run. Tokens that are forged are the HTTP room's tests, not these.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Place, Run, Server, mde, now};

const ADDRESS: &str = "198.51.100.20";
const RESOURCE: &str = "https://api.securitycenter.microsoft.com";

/// A server whose tokens are believed elsewhere.
struct Issuer {
    place: Place,
    server: Server,
    /// What `app add` printed.
    application: Value,
}

#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn has_curl() -> bool {
    let is_here = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_here {
        eprintln!("skipped: curl is not installed");
    }
    is_here
}

impl Issuer {
    fn new() -> Issuer {
        let place = Place::new();
        place.run(["tls", "init"]).ends(0);
        let application = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]);
        let application = application.ends(0).json();
        let server = Server::start_tls(&mut place.command(["serve", "--listen", "127.0.0.1:0"]));
        Issuer { place, server, application }
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.host)
    }

    fn tenant(&self) -> &str {
        self.application["tenant"].as_str().expect("a tenant")
    }

    fn curl(&self, path: &str, more: &[&str]) -> Run {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "20", "--cacert"]);
        command.arg(self.place.data.join("tls/ca.pem")).args(more).arg(format!("{}{path}", self.url()));
        Run::of(command.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE")).ends(0)
    }

    fn token(&self) -> String {
        let text = |key: &str| self.application[key].as_str().expect("a text");
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={RESOURCE}/.default",
            text("client_id"),
            text("client_secret")
        );
        let reply = self.curl(&format!("/{}/oauth2/v2.0/token", self.tenant()), &["-d", &form]).json();
        reply["access_token"].as_str().expect("a token").to_owned()
    }

    /// As an issuer of the kind `entra`, with the authority that vouches for it.
    fn entra(&self, more: &str) -> String {
        let ca = self.place.data.join("tls/ca.pem");
        format!(
            "[[issuers]]\nkind = 'entra'\nauthority = '{}'\ntenants = {{ '{}' = 'default' }}\nca_file = '{}'\n{more}\n",
            self.url(),
            self.tenant(),
            ca.display()
        )
    }
}

/// A place with one sighting and a settings file.
fn believing(settings: &str) -> Place {
    let place = Place::new();
    place.ingest("a.json", mde(now(), "a1", "pc-1", ADDRESS));
    place.write("seenby.toml", settings);
    place
}

fn serve(place: &Place) -> Server {
    let mut command = place.command(["serve", "--listen", "127.0.0.1:0"]);
    Server::start_logged(
        command.arg("--settings").arg(place.root.path().join("seenby.toml")),
        &place.root.path().join("log"),
    )
}

fn log(place: &Place) -> String {
    std::fs::read_to_string(place.root.path().join("log")).expect("a log")
}

fn wait_for(place: &Place, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !log(place).contains(what) {
        assert!(Instant::now() < deadline, "{what:?} is not logged: {}", log(place));
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn stats(server: &Server, token: &str) -> (u16, String) {
    server.get(&format!("/api/ips/{ADDRESS}/stats"), Some(token))
}

#[test]
fn a_server_believes_the_tokens_of_another() {
    if !has_curl() {
        return;
    }
    let issuer = Issuer::new();
    let token = issuer.token();
    let audiences = format!("audiences = ['{RESOURCE}']");
    let place =
        believing(&format!("[outgoing]\nallowed_networks = ['127.0.0.0/8']\n{}", issuer.entra(&audiences)));
    let server = serve(&place);
    let (status, body) = stats(&server, &token);
    assert_eq!(status, 200, "{body}\n{}", log(&place));
    assert!(body.contains("\"organizationPrevalence\":1"), "{body}");
    let metrics = server.metrics();
    let named = format!("seenby_issuer_keys{{issuer=\"{}/{}/v2.0\"}} 1", issuer.url(), issuer.tenant());
    assert!(metrics.contains(&named), "{metrics}");
    assert!(log(&place).contains(issuer.application["client_id"].as_str().expect("an id")));
    assert!(!log(&place).contains(token.rsplit('.').next().expect("a signature")));
    // The commands read the same settings, and ask nobody.
    assert_eq!(place.stats(ADDRESS).0, 1);
    assert_eq!(server.stop(), 0);
    // By default tokens must be for this server, and those for the original API are a choice that is warned of.
    for (more, status) in [("", 401), ("accept_defender_tokens = true", 200)] {
        place.write(
            "seenby.toml",
            format!("[outgoing]\nallowed_networks = ['127.0.0.0/8']\n{}", issuer.entra(more)),
        );
        let server = serve(&place);
        assert_eq!(stats(&server, &token).0, status, "{more}");
        assert_eq!(log(&place).contains("accept_defender_tokens is on"), status == 200, "{}", log(&place));
        assert_eq!(server.stop(), 0);
    }
    // Its keys are there still when the other is not.
    let Issuer { place: _certificate, server: other, .. } = issuer;
    assert_eq!(other.stop(), 0);
    let server = serve(&place);
    wait_for(&place, "those of before the start");
    assert_eq!(stats(&server, &token).0, 200, "{}", log(&place));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_private_network_that_is_not_listed_is_not_reached() {
    if !has_curl() {
        return;
    }
    let issuer = Issuer::new();
    let place = believing(&issuer.entra("accept_defender_tokens = true").replace("'default'", "'Acme'"));
    let server = serve(&place);
    wait_for(&place, "outgoing.allowed_networks");
    let (status, body) = stats(&server, &issuer.token());
    assert_eq!(status, 503, "{body}");
    assert!(!body.contains("127.0.0.1") && !body.contains("allowed_networks"), "{body}");
    assert!(log(&place).contains("organisation that is not there"), "{}", log(&place));
    assert_eq!(server.stop(), 0);
}

#[test]
fn keys_in_a_file_need_no_network_and_are_taken_up_when_they_change() {
    if !has_curl() {
        return;
    }
    let (issuer, another) = (Issuer::new(), Issuer::new());
    let token = issuer.token();
    let keys = |issuer: &Issuer| issuer.curl("/common/discovery/v2.0/keys", &[]).stdout;
    let (own, others) = (keys(&issuer), keys(&another));
    let place = believing("");
    let file = place.write("keys.json", &own);
    let settings = format!(
        "[[issuers]]\nkind = 'oidc'\nissuer = '{}/{}/v2.0'\norganisation = 'default'\naudiences = ['{RESOURCE}']\nkeys_file = '{}'\n",
        issuer.url(),
        issuer.tenant(),
        file.display()
    );
    place.write("seenby.toml", settings);
    let server = serve(&place);
    drop(issuer);
    assert_eq!(stats(&server, &token).0, 200, "{}", log(&place));
    replace(&file, "{}");
    wait_for(&place, "cannot be used");
    assert_eq!(stats(&server, &token).0, 200);
    replace(&file, &others);
    wait_for(&place, "the keys of an issuer were exchanged");
    assert_eq!(stats(&server, &token).0, 401);
    assert_eq!(server.stop(), 0);
    // A file that is no key set, or that is not there, is said at the start.
    replace(&file, "[]");
    for says in ["not a JWK set", "cannot be read"] {
        let mut command = place.command(["serve", "--listen", "127.0.0.1:0"]);
        let run = Run::of(command.arg("--settings").arg(place.root.path().join("seenby.toml"))).ends(2);
        assert!(run.stderr.contains(says) && run.stderr.contains("keys.json"), "{}", run.stderr);
        let _ = std::fs::remove_file(&file);
    }
}

/// As tools do it that do not want anybody to see half a file.
fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).expect("written");
    std::fs::rename(beside, file).expect("renamed");
}
