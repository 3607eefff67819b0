//! A server over the models, called without a socket: clients by kind, a clock that stands until it is moved, and a
//! hand that forges tokens. Refuses to hold: expectations.
#![allow(dead_code, reason = "a part may be used by no test for a while")]
#![allow(unreachable_pub, reason = "each test file has its own copy of this module")]

pub mod certified;
pub mod issuers;
pub mod outside;
pub mod people;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use seenby_api::{
    Clock, Entropy, Fetch, Machine, Millis, Settings, State, new_secret, new_signing_key, router,
};
use serde_json::{Value, json};
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{
    Actor, Address, Application, ApplicationId, Batch, Book, CallLimits, Change, Directory, Identity,
    IdentityKind, Organisation, OrganisationId, PasswordHash, Permission, PrivateKey, Retention, Second,
    Secret, SignIn, SigningKey, SourceName, Store, User, UserId, Uuid,
};
use tower::ServiceExt;

/// 2017-08-29T14:00:00Z.
pub const NOW: u32 = 1_504_015_200;
pub const ACME: OrganisationId = OrganisationId(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001));
pub const OTHER: OrganisationId = OrganisationId(Uuid::from_u128(0xbbbb_0000_0000_4000_8000_0000_0000_0002));
pub const READER: ApplicationId = ApplicationId(Uuid::from_u128(0x1111_0000_0000_4000_8000_0000_0000_0001));
pub const POWERLESS: ApplicationId =
    ApplicationId(Uuid::from_u128(0x2222_0000_0000_4000_8000_0000_0000_0002));
pub const STRANGER: ApplicationId = ApplicationId(Uuid::from_u128(0x3333_0000_0000_4000_8000_0000_0000_0003));
/// Somebody of Acme who signs in here.
pub const LEE: UserId = UserId(Uuid::from_u128(0x4444_0000_0000_4000_8000_0000_0000_0004));
/// Seen in the window, seen only long ago, seen only by the other organisation.
pub const SEEN: &str = "198.51.100.20";
pub const QUIET: &str = "2001:db8::5";
pub const ELSEWHERE: &str = "203.0.113.9";
/// What is called, unless a test says otherwise: one of the presets.
pub const HOST: &str = "api.securitycenter.microsoft.com";
pub const RESOURCE: &str = "https://api.securitycenter.microsoft.com";

/// Made once: keys are slow to make.
pub fn signing_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| new_signing_key(Second::new(NOW - 1_000)).expect("a key"))
}

/// The secret of an application: always the same one.
pub fn secret_of(application: ApplicationId) -> String {
    let (plain, _) = secret(application);
    plain
}

fn secret(application: ApplicationId) -> (String, [u8; 32]) {
    let (plain, sha256) = new_secret(|bytes| bytes.fill(application.0.as_bytes()[0]));
    (plain.reveal().to_owned(), sha256)
}

fn application(id: ApplicationId, organisation: OrganisationId, permissions: &[Permission]) -> Application {
    let created_at = Second::new(NOW - 1_000);
    let secret = Secret { sha256: secret(id).1, created_at, expires_at: None };
    let name = format!("application {id}");
    Application {
        id,
        organisation,
        name,
        permissions: permissions.to_vec(),
        sign_in: SignIn { delegated: [Permission::IpReadAll].into(), ..SignIn::default() },
        secrets: vec![secret],
        certificates: Vec::new(),
        limits: CallLimits::default(),
        created_at,
    }
}

pub fn book() -> Book {
    let organisation = |id, name: &str| Organisation {
        id,
        name: name.to_owned(),
        retention: Retention::Hours(720),
        source_tenants: Vec::new(),
    };
    let mut book = Book { signing_keys: vec![signing_key().clone()], ..Book::default() };
    for organisation in [organisation(ACME, "Acme"), organisation(OTHER, "Other")] {
        book.organisations.insert(organisation.id, organisation);
    }
    for application in [
        application(READER, ACME, &[Permission::IpReadAll]),
        application(POWERLESS, ACME, &[]),
        application(STRANGER, OTHER, &[Permission::IpReadAll]),
    ] {
        book.applications.insert(application.id, application);
    }
    let at = Second::new(NOW - 1_000);
    let lee = User {
        id: LEE,
        organisation: ACME,
        name: "lee".to_owned(),
        password: PasswordHash("of nobody".to_owned()),
        password_set_at: at,
        created_at: at,
    };
    book.users.insert(LEE, lee);
    book
}

pub struct TestApp {
    pub router: axum::Router,
    pub state: State<ModelStore, ModelDirectory>,
    pub store: Arc<ModelStore>,
    pub directory: Arc<ModelDirectory>,
    pub now_ms: Arc<AtomicU64>,
    /// The clock that nobody sets.
    pub steady_ms: Arc<AtomicU64>,
}

/// What came back, decompressed by nobody.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("a code").to_owned()
    }

    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().expect("a message").to_owned()
    }

    /// Status, headers (sorted, the request id masked) and body, for snapshots.
    pub fn show(&self) -> String {
        let mut headers: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
            .collect();
        headers.sort();
        let shown = format!("{}\n{}\n\n{}", self.status, headers.join("\n"), self.text());
        match self.header("x-request-id") {
            "" => shown,
            id => shown.replace(id, "{request id}"),
        }
    }
}

pub fn clock(now_ms: &Arc<AtomicU64>) -> Clock {
    let now_ms = Arc::clone(now_ms);
    Arc::new(move || Millis(now_ms.load(Ordering::SeqCst)))
}

/// Two clocks and the randomness of [`entropy`].
pub fn machine(now_ms: &Arc<AtomicU64>, steady_ms: &Arc<AtomicU64>) -> Machine {
    let steady_id = Uuid::from_u128(1);
    let (wall, steady, fetch) = (clock(now_ms), clock(steady_ms), no_fetch());
    Machine { wall, steady, steady_id, entropy: entropy(), fetch }
}

/// No way out.
pub fn no_fetch() -> Fetch {
    Arc::new(|_| Box::pin(async { Err("nothing is fetched here".to_owned()) }))
}

/// Counts up: no two buffers are the same.
pub fn entropy() -> Entropy {
    let next = AtomicU64::new(1);
    Arc::new(move |bytes: &mut [u8]| {
        let number = next.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (at, byte) in bytes.iter_mut().rev().enumerate() {
            *byte = number.iter().rev().nth(at).copied().unwrap_or(7);
        }
    })
}

/// The same for what is made of few of the bytes: every one of them differs from buffer to buffer.
pub fn spread_entropy() -> Entropy {
    let next = AtomicU64::new(1);
    Arc::new(move |bytes: &mut [u8]| {
        for chunk in bytes.chunks_mut(4) {
            // SplitMix64, so that no remainder of it has a short period.
            let mut mixed = next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    })
}

impl TestApp {
    pub async fn new() -> TestApp {
        TestApp::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> TestApp {
        TestApp::with_fetch(settings, no_fetch()).await
    }

    /// With a way to outside issuers.
    pub async fn with_fetch(settings: Settings, fetch: Fetch) -> TestApp {
        TestApp::with_machine(settings, |machine| Machine { fetch, ..machine }).await
    }

    /// With a machine that differs.
    pub async fn with_machine(settings: Settings, change: impl FnOnce(Machine) -> Machine) -> TestApp {
        let store = Arc::new(ModelStore::new());
        sighted(
            &store,
            ACME,
            SEEN,
            &[("a", NOW - 86_400), ("b", NOW - 90_000), ("a", NOW - 60), ("c", NOW - 7_200)],
        )
        .await;
        sighted(&store, ACME, QUIET, &[("a", NOW - 10 * 86_400)]).await;
        sighted(&store, OTHER, ELSEWHERE, &[("x", NOW - 10)]).await;
        let directory = Arc::new(ModelDirectory::new(book()));
        let now_ms = Arc::new(AtomicU64::new(u64::from(NOW) * 1_000));
        let steady_ms = Arc::new(AtomicU64::new(0));
        let machine = change(machine(&now_ms, &steady_ms));
        let state = State::new(Arc::clone(&store), Arc::clone(&directory), settings, machine);
        TestApp { router: router(state.clone()), state, store, directory, now_ms, steady_ms }
    }

    pub fn pass_ms(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.steady_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Somebody sets the clock of the machine.
    pub fn set_wall_s(&self, second: u32) {
        self.now_ms.store(u64::from(second) * 1_000, Ordering::SeqCst);
    }

    pub async fn commit(&self, change: Change) {
        self.directory.commit(change, Actor("test".into()), Second::new(NOW)).await.expect("a good change");
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub async fn anonymous(&self, path: &str) -> Reply {
        self.send(get(path).body(Body::empty()).expect("a request")).await
    }

    pub async fn with_token(&self, token: &str, path: &str) -> Reply {
        let request = get(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    /// The same under another host.
    pub async fn called(&self, host: &str, token: &str, path: &str) -> Reply {
        let request =
            Request::get(path).header("host", host).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    pub async fn reader(&self, path: &str) -> Reply {
        self.with_token(&self.token(READER).await, path).await
    }

    pub async fn stats(&self, ip: &str) -> Reply {
        self.reader(&format!("/api/ips/{ip}/stats")).await
    }

    /// A token as a client gets it.
    pub async fn token(&self, application: ApplicationId) -> String {
        let tenant = if application == STRANGER { OTHER } else { ACME };
        let reply = self.post(&format!("/{tenant}/oauth2/v2.0/token"), &form(application)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// A form without a Content-Type, as one real client sends it.
    pub async fn post(&self, path: &str, form: &str) -> Reply {
        let request = Request::post(path).header("host", HOST).body(Body::from(form.to_owned()));
        self.send(request.expect("a request")).await
    }
}

pub fn get(path: &str) -> axum::http::request::Builder {
    Request::get(path).header("host", HOST)
}

pub fn form(application: ApplicationId) -> String {
    let secret = secret_of(application);
    format!(
        "client_id={application}&client_secret={secret}&grant_type=client_credentials&scope={RESOURCE}/.default"
    )
}

pub async fn sighted(store: &ModelStore, organisation: OrganisationId, ip: &str, seen: &[(&str, u32)]) {
    let mut batch = Batch::new(organisation, SourceName::new("test").expect("a name"));
    let address = Address::parse(ip).expect("an address");
    for (device, second) in seen {
        let identity = batch.identity(Identity::new(IdentityKind::AgentId, device).expect("a name"));
        batch.sighted(address, identity, Second::new(*second));
    }
    let _ = store.append(&batch).await.expect("the model takes everything");
}

/// The claims of a good v2 token of the reader.
pub fn good_claims() -> Value {
    json!({
        "aud": RESOURCE, "iss": format!("http://localhost/{ACME}/v2.0"), "iat": NOW, "nbf": NOW, "exp": NOW + 3_600,
        "azp": READER.to_string(), "azpacr": "1", "idtyp": "app", "roles": ["Ip.Read.All"], "tid": ACME.to_string(),
        "ver": "2.0",
        "seenby_cred": credential(READER),
    })
}

pub fn good_header() -> Value {
    json!({"typ": "JWT", "alg": "RS256", "kid": signing_key().kid})
}

/// The private half of a key that is kept in the clear.
pub fn pkcs8(key: &SigningKey) -> &[u8] {
    match &key.private {
        PrivateKey::Plain(bytes) => bytes,
        PrivateKey::Sealed(_) => panic!("it is encrypted"),
    }
}

/// Any header and any claims under our own key: what a leaked key, or a bug, could make.
pub fn signed(header: &str, claims: &str) -> String {
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(pkcs8(signing_key()))
    );
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("our key");
    let message = unsigned(header, claims);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS256).expect("a signature");
    format!("{message}.{signature}")
}

pub fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// By which secret an application's token was got, as tokens say it.
pub fn credential(application: ApplicationId) -> String {
    URL_SAFE_NO_PAD.encode(&secret(application).1[..12])
}

/// A good token with some claims changed; null takes one away. Whatever application it is of, it was got by its secret.
pub fn forged(changes: &Value) -> String {
    let mut claims = changed(good_claims(), changes);
    let client = ["azp", "appid"].into_iter().find_map(|name| Uuid::try_parse(claims[name].as_str()?).ok());
    if let Some(client) = client.filter(|_| changes.get("seenby_cred").is_none()) {
        claims["seenby_cred"] = credential(ApplicationId(client)).into();
    }
    if claims["oid"] == LEE.to_string() && changes.get("seenby_pwd").is_none() {
        claims["seenby_pwd"] = (NOW - 1_000).into();
    }
    signed(&good_header().to_string(), &claims.to_string())
}

pub fn changed(mut good: Value, changes: &Value) -> Value {
    let object = good.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    good
}
