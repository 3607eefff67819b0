//! Somebody who signs in, a tool that they sign in through, and the forms of both. Refuses to hold: expectations.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seenby_api::{Machine, Settings, hash_password};
use serde_json::Value;
use sighting::{
    Application, ApplicationId, CallLimits, Change, OrganisationId, Permission, RedirectUri, Second, SignIn,
    User, UserId, Uuid,
};

use super::{ACME, NOW, RESOURCE, Reply, TestApp, spread_entropy};

pub const KIM: UserId = UserId(Uuid::from_u128(0x5555_0000_0000_4000_8000_0000_0000_0005));
pub const TOOL: ApplicationId = ApplicationId(Uuid::from_u128(0x7777_0000_0000_4000_8000_0000_0000_0007));
pub const PASSWORD: &str = "correct horse battery";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub fn user(id: UserId, organisation: OrganisationId, name: &str) -> User {
    let password = hash_password(PASSWORD, *id.0.as_bytes()).expect("a password");
    let at = Second::new(NOW - 500);
    User { id, organisation, name: name.to_owned(), password, password_set_at: at, created_at: at }
}

pub fn sign_in() -> SignIn {
    SignIn {
        delegated: [Permission::IpReadAll].into(),
        redirect_uris: [
            RedirectUri::new("http://localhost").expect("a URI"),
            RedirectUri::new("https://tool.example/back?x=1").expect("a URI"),
        ]
        .into(),
        device_code: true,
        password: true,
        public: true,
    }
}

pub fn tool(sign_in: SignIn) -> Application {
    Application {
        id: TOOL,
        organisation: ACME,
        name: "tool <b>".to_owned(),
        permissions: Vec::new(),
        sign_in,
        secrets: Vec::new(),
        certificates: Vec::new(),
        limits: CallLimits::default(),
        created_at: Second::new(NOW - 1_000),
    }
}

pub async fn app() -> TestApp {
    let entropy = spread_entropy();
    let app = TestApp::with_machine(Settings::default(), |machine| Machine { entropy, ..machine }).await;
    app.commit(Change::AddUser(user(KIM, ACME, "Kim@acme.example"))).await;
    app.commit(Change::AddApplication(tool(sign_in()))).await;
    app
}

pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

pub fn authorize(changes: &[(&str, &str)]) -> String {
    let scope = format!("{RESOURCE}/Ip.Read.All openid profile offline_access");
    let client = TOOL.to_string();
    let mut pairs = vec![
        ("client_id", client.as_str()),
        ("response_type", "code"),
        ("redirect_uri", "http://localhost:51234"),
        ("scope", &scope),
        ("state", "a&b"),
        ("nonce", "n-1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        pairs.retain(|(other, _)| other != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    format!("/{ACME}/oauth2/v2.0/authorize?{}", form(&pairs))
}

/// The query that a person is sent back with.
pub fn sent_back(reply: &Reply, to: &str) -> Vec<(String, String)> {
    assert_eq!(reply.status, 303, "{}", reply.text());
    let location = reply.header("location");
    let query = location.strip_prefix(to).unwrap_or_else(|| panic!("{location}"));
    let plain =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
    let pairs = query.trim_start_matches(['?', '&', '#']).split('&');
    pairs.filter_map(|pair| pair.split_once('=')).map(|(name, value)| (plain(name), plain(value))).collect()
}

pub fn value<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
}

pub async fn code(app: &TestApp) -> String {
    let typed = form(&[("username", "kim@acme.example "), ("password", PASSWORD)]);
    let back = sent_back(&app.post(&authorize(&[]), &typed).await, "http://localhost:51234");
    assert_eq!(value(&back, "state"), "a&b");
    value(&back, "code").to_owned()
}

pub async fn token(app: &TestApp, pairs: &[(&str, &str)]) -> Reply {
    app.post(&format!("/{ACME}/oauth2/v2.0/token"), &form(pairs)).await
}

pub fn redemption<'a>(client: &'a str, code: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", "http://localhost:51234"),
        ("code_verifier", VERIFIER),
        ("client_info", "1"),
    ]
}

pub fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON")
}

#[track_caller]
pub fn check_error(reply: &Reply, status: u16, error: &str, number: u32) {
    let body = reply.json();
    let found = (reply.status.as_u16(), body["error"].as_str(), body["error_codes"][0].as_u64());
    assert_eq!(found, (status, Some(error), Some(number.into())), "{}", reply.text());
}

pub async fn device(app: &TestApp) -> (String, String) {
    let pairs = [
        ("client_id", &*TOOL.to_string()),
        ("scope", &*format!("{RESOURCE}/.default offline_access openid profile")),
    ];
    let reply = app.post("/organizations/oauth2/v2.0/devicecode", &form(&pairs)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    let text = |name: &str| body[name].as_str().expect("text").to_owned();
    assert_eq!(text("verification_uri"), "http://api.securitycenter.microsoft.com/device");
    assert!(text("message").contains(&text("user_code")));
    (text("device_code"), text("user_code"))
}

pub async fn poll(app: &TestApp, device_code: &str) -> Reply {
    let client = TOOL.to_string();
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    token(app, &[("grant_type", grant), ("client_id", &client), ("device_code", device_code)]).await
}
