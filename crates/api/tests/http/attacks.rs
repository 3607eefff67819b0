//! The attack corpus: every hostile token and request that this project knows, what each is answered with, and that no
//! answer says more than the rule. A new attack is one more line of a list. Refuses to hold: what good callers get, and
//! how often anybody may call.
//!
//! - `attacks/tokens.rs`: tokens of the built-in issuer, and requests that carry one wrongly;
//! - `attacks/outside.rs`: tokens of outside issuers, of one for another's tenant, of one cloud in another;
//! - `attacks/asking.rs`: addresses, hosts, methods, headers, whose data;
//! - `attacks/signing_in.rs`: the issuer's endpoints and pages: theft, downgrades, redirects, markup;
//! - `attacks/removed.rs`: what was good a moment ago;
//! - `attacks/wire.rs`: bytes on a socket, for HTTP/1.1 and HTTP/2.

mod asking;
mod outside;
mod removed;
mod signing_in;
mod tokens;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use crate::common::certified::good as certified;
use crate::common::issuers::{Net, Signer};
use crate::common::outside::{entra, issuer, keycloak, network, oidc};
use crate::common::people::{KIM, PASSWORD, sign_in, tool, user};
use crate::common::{
    ACME, ELSEWHERE, OTHER, POWERLESS, READER, Reply, SEEN, STRANGER, TestApp, get, pkcs8, secret_of,
    signing_key,
};
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use seenby_api::{EntraIssuer, IssuerKind, Limits, Settings};
use sighting::{Change, SignIn, Uuid};

/// Where Microsoft's government cloud signs people in, and a tenant of it.
const GOVERNMENT: &str = "https://login.microsoftonline.us";
const TENANT_OF_GOVERNMENT: Uuid = Uuid::from_u128(0xd000_0000_0000_4000_8000_0000_0000_000d);

/// What came of one attack.
struct Outcome {
    /// What was tried: unique.
    name: String,
    /// The status that it must be answered with.
    expected: u16,
    reply: Reply,
    /// Where the caller may be sent; nowhere without it.
    back: Option<&'static str>,
    /// What was sent and must not come back.
    sent: Vec<String>,
}

impl Outcome {
    fn new(group: &str, name: &str, expected: u16, reply: Reply) -> Outcome {
        Outcome { name: format!("{group}: {name}"), expected, reply, back: None, sent: Vec::new() }
    }

    fn having_sent(mut self, secret: &str) -> Outcome {
        // A word comes back in many sentences.
        if secret.len() > 8 {
            self.sent.push(secret.to_owned());
        }
        self
    }

    fn may_go_to(mut self, prefix: &'static str) -> Outcome {
        self.back = Some(prefix);
        self
    }

    /// Everything that is wrong with the answer.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let (status, text) = (self.reply.status.as_u16(), String::from_utf8_lossy(&self.reply.body));
        let mut check = |is_good: bool, what: &str| {
            if !is_good {
                faults.push(format!("{}: {what}: {status} {:?} {text:.300}", self.name, self.reply.headers));
            }
        };
        check(status == self.expected, &format!("not {}", self.expected));
        check(status != 500, "a fault of the server");
        let said = secrets().into_iter().chain(self.sent.iter().map(String::as_str));
        for secret in said {
            check(!text.contains(secret), &format!("says {secret:.40}"));
            let in_header = self
                .reply
                .headers
                .values()
                .any(|value| String::from_utf8_lossy(value.as_bytes()).contains(secret));
            check(!in_header, &format!("says {secret:.40} in a header"));
        }
        for name in self.reply.headers.keys() {
            let name = name.as_str();
            let is_telling = ["set-cookie", "server", "x-powered-by", "x-injected", "via"].contains(&name)
                || name.starts_with("access-control-");
            check(!is_telling, name);
        }
        let location = self.reply.header("location");
        match self.back {
            None => check(location.is_empty(), "sent away"),
            Some(prefix) => check(location.starts_with(prefix), "sent elsewhere"),
        }
        let kind = self.reply.header("content-type");
        if kind.starts_with("text/html") {
            check(self.reply.header("content-security-policy").contains("frame-ancestors 'none'"), "framed");
            check(!text.to_lowercase().contains("<xss"), "markup of the caller's");
            check(!text.contains("<script"), "a script");
        }
        if status == 401 && kind.starts_with("application/json") && text.starts_with("{\"error\":{") {
            check(self.reply.header("www-authenticate") == "Bearer", "no challenge");
            let message = self.reply.message();
            let is_known_good_but_for_audience =
                self.name.contains("audience") && message.starts_with(FOR_ANOTHER);
            let is_told = TOLD.iter().any(|told| message.starts_with(told));
            check(is_told || is_known_good_but_for_audience, "says why");
        }
        faults
    }
}

/// All that a caller without a principal is told.
const TOLD: [&str; 5] = [
    "The access token is not valid here.",
    "The access token has expired.",
    "No access token was sent.",
    "Send exactly one Authorization header.",
    "An access token does not belong in the query string.",
];

/// What is told besides to whoever has a token that is good in everything but what it is for.
const FOR_ANOTHER: &str = "The access token is for another resource.";

/// What no answer may hold: keys, secrets, another organisation, and the words of a program that fell over.
fn secrets() -> Vec<&'static str> {
    static SECRETS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let secrets = SECRETS.get_or_init(|| {
        let key = STANDARD.encode(pkcs8(signing_key()));
        let mut secrets = vec![key[80..140].to_owned(), PASSWORD.to_owned(), ELSEWHERE.to_owned()];
        secrets.extend([READER, POWERLESS, STRANGER].map(secret_of));
        secrets.extend([OTHER.to_string(), "Other".to_owned()]);
        let words = ["panicked", "stack", "RUST_BACKTRACE", ".rs:", "thread '", "unwrap", "serde", "hyper"];
        secrets.extend(words.map(str::to_owned));
        secrets
    });
    secrets.iter().map(String::as_str).collect()
}

fn government_key() -> &'static Signer {
    static KEY: std::sync::OnceLock<Signer> = std::sync::OnceLock::new();
    KEY.get_or_init(|| Signer::rsa("government-1"))
}

fn settings() -> Settings {
    let tenants = BTreeMap::from([(TENANT_OF_GOVERNMENT, "acme".to_owned())]);
    let government = EntraIssuer { authority: GOVERNMENT.into(), tenants, accept_defender_tokens: false };
    let issuers = vec![entra(), keycloak(), oidc(), issuer(IssuerKind::Entra(government))];
    Settings { issuers, limits: Limits::OFF, ..Settings::default() }
}

/// A server with everything that can be attacked: outside issuers, people, a public tool, an application with a
/// certificate.
async fn app() -> (TestApp, Net) {
    let net = network();
    net.publish(&format!("{GOVERNMENT}/{TENANT_OF_GOVERNMENT}/v2.0"), &[government_key()]);
    let app = TestApp::with_fetch(settings(), net.fetch()).await;
    app.commit(Change::AddUser(user(KIM, ACME, "Kim@acme.example"))).await;
    app.commit(Change::AddApplication(tool(sign_in()))).await;
    app.commit(Change::AddCertificate(READER, certified().certificate.clone())).await;
    let confidential = SignIn { public: false, ..sign_in() };
    let change =
        Change::ChangeApplication { application: READER, permissions: None, sign_in: confidential.into() };
    app.commit(change).await;
    app.state.refresh_issuer_keys().await;
    (app, net)
}

/// The question that every token is tried on.
fn path() -> String {
    format!("/api/ips/{SEEN}/stats")
}

fn empty(request: axum::http::request::Builder) -> Request<Body> {
    request.body(Body::empty()).expect("a request")
}

/// The question, with a token.
async fn with_token(app: &TestApp, group: &str, name: &str, token: &str, expected: u16) -> Outcome {
    let reply = app.send(empty(get(&path()).header("authorization", format!("Bearer {token}")))).await;
    Outcome::new(group, name, expected, reply).having_sent(token)
}

/// Every attack is refused as it must be, and tells nobody anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_is_refused() {
    let (app, net) = app().await;
    let mut outcomes = tokens::outcomes(&app).await;
    outcomes.extend(outside::outcomes(&app).await);
    outcomes.extend(asking::outcomes(&app).await);
    outcomes.extend(signing_in::outcomes(&app).await);
    outcomes.extend(removed::outcomes().await);
    outcomes.extend(wire::outcomes().await);
    let faults: Vec<String> = outcomes.iter().flat_map(Outcome::faults).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let fetched = net.fetched.lock().expect("whole");
    assert!(fetched.iter().all(|url| !url.contains("evil")), "{fetched:?}");
    let names: BTreeSet<&str> = outcomes.iter().map(|outcome| &*outcome.name).collect();
    assert_eq!(names.len(), outcomes.len(), "two attacks of one name");
    assert!(outcomes.len() >= 900, "{} attacks", outcomes.len());
}
