//! Whether an organisation notices that it has a neighbour: two servers, one with organisation A alone, one with A and B, are
//! asked the same by A, and status, headers and bytes must be the same. B has the same addresses and devices, names and secrets,
//! is called all the while, and is at its limits.
//!
//! What is asked is made of the OpenAPI document: every route, with every value of every path parameter, with every token, query and
//! form below. A new route is asked by itself; one with a new path parameter or a body needs values in [`VALUES`] or [`forms`],
//! and fails until it has them. What cannot be the same stands in [`exception`], with its reason.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::{
    ACME, ELSEWHERE, HOST, LEE, NOW, OTHER, POWERLESS, QUIET, READER, RESOURCE, SEEN, STRANGER, clock,
    forged, form, secret_of, sighted,
};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use seenby_api::{
    Entropy, Intake, Machine, Millis, Settings, SourceReport, State, TakeError, Taking, Upload, UploadTaken,
    hash_password, new_secret, router,
};
use serde_json::json;
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{
    Application, ApplicationId, Book, CallLimit, CallLimits, Issuer, Member, MemberId, MemberKind,
    OrganisationId, Permission, ReadAs, RedirectUri, Role, RoleId, RolePermission, Second, Secret, SignIn,
    Source, SourceBounds, SourceId, SourceName, User, UserId, Uuid,
};
use tower::ServiceExt;

/// What manages A.
const MANAGER: ApplicationId = ApplicationId(Uuid::from_u128(0x8888_0000_0000_4000_8000_0000_0000_0008));
/// A's kim's; the kim of B has another.
const PASSWORD: &str = "correct horse battery";
/// A person that both organisations may know.
const PERSON: &str = "7f6e5d4c-0000-4000-8000-00000000000a";
/// B's application that has A's application's name and secret.
const NAMESAKE: ApplicationId = ApplicationId(Uuid::from_u128(0x4444_0000_0000_4000_8000_0000_0000_0004));

/// Values of path parameters, by name: A's, B's, nobody's, and no value at all.
const VALUES: [(&str, &[&str]); 6] = [
    ("format", &["auto", "mde", "x"]),
    ("role", &["77770000-0000-4000-8000-000000000001", "77770000-0000-4000-8000-000000000002", "x"]),
    ("user", &["00000000-0000-0000-0000-000000005555", "00000000-0000-0000-0000-000000006666", "x"]),
    ("application", &["22220000-0000-4000-8000-000000000002", "33330000-0000-4000-8000-000000000003", "x"]),
    ("ip", &[SEEN, QUIET, ELSEWHERE, "203.0.113.77", "x", "bbbb0000-0000-4000-8000-000000000002"]),
    (
        "tenant",
        &[
            "aaaa0000-0000-4000-8000-000000000001",
            "ACME",
            "common",
            "bbbb0000-0000-4000-8000-000000000002",
            "other",
            "nobody",
        ],
    ),
];

/// Queries, of which most routes know nothing.
const QUERIES: [&str; 9] = [
    "kind=group&id=7f6e5d4c-0000-4000-8000-00000000000a&issuer=https%3A%2F%2Flogin.example.org",
    "",
    "lookBackHours=1",
    "lookBackHours=721",
    "$top=1&$format=xml",
    "tenant=bbbb0000-0000-4000-8000-000000000002&organisation=other",
    "access_token=x",
    "client_id=11110000-0000-4000-8000-000000000001&response_type=code&scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default",
    "client_id=22220000-0000-4000-8000-000000000002&response_type=token&redirect_uri=http%3A%2F%2Flocalhost",
];

/// Bodies of a route that takes one.
fn forms(route: &str) -> Vec<String> {
    let good = form(READER);
    let with = |from: &str, to: &str| good.replace(from, to);
    match route {
        "/{tenant}/oauth2/v2.0/token" | "/{tenant}/oauth2/token" => vec![
            good.clone(),
            with("scope=", "resource="),
            with(&secret_of(READER), &secret_of(POWERLESS)),
            with(&secret_of(READER), &secret_of(STRANGER)),
            with(&READER.to_string(), &POWERLESS.to_string()),
            with(RESOURCE, "https://elsewhere.example"),
            with("client_credentials", "password"),
            format!("client_id={READER}"),
            String::new(),
        ],
        "/{tenant}/oauth2/v2.0/devicecode" | "/{tenant}/oauth2/devicecode" => vec![
            good.clone(),
            format!("client_id={POWERLESS}&scope={RESOURCE}/Ip.Read.All"),
            format!("client_id={POWERLESS}&resource={RESOURCE}"),
            String::new(),
        ],
        "/{tenant}/oauth2/v2.0/authorize"
        | "/{tenant}/oauth2/authorize"
        | "/{tenant}/oauth2/deviceauth"
        | "/device" => vec![
            format!("username=kim&password={}", PASSWORD.replace(' ', "+")),
            "username=lee&password=wrong".to_owned(),
            "username=kim&password=wrong".to_owned(),
            "user_code=BCDF-GHJK".to_owned(),
            "answer=no".to_owned(),
            String::new(),
        ],
        "/seenby/v1/roles" => {
            vec![r#"{"name":"x","permissions":["view-data"]}"#.into(), r#"{"name":"x"}"#.into(), "x".into()]
        }
        "/seenby/v1/roles/{role}" => {
            vec![r#"{"permissions":["view-data"]}"#.into(), r#"{"name":"readers"}"#.into()]
        }
        "/seenby/v1/roles/{role}/members" => vec![
            r#"{"kind":"user","id":"00000000-0000-0000-0000-000000005555"}"#.into(),
            r#"{"kind":"user","id":"00000000-0000-0000-0000-000000006666"}"#.into(),
            format!(r#"{{"kind":"group","id":"{PERSON}","issuer":"https://login.example.org"}}"#),
        ],
        "/seenby/v1/users" => {
            vec![r#"{"name":"new"}"#.into(), r#"{"name":"kim"}"#.into(), r#"{"name":"of b"}"#.into()]
        }
        "/seenby/v1/users/{user}/password" => {
            vec![r#"{"password":"another of this kim's"}"#.into(), "{}".into()]
        }
        "/seenby/v1/applications" => {
            vec![r#"{"name":"new","permissions":["Ip.Read.All"]}"#.into(), r#"{"name":"of b"}"#.into()]
        }
        "/seenby/v1/applications/{application}" => {
            vec![r#"{"device_code":true,"limits":{"per_hour":"off"}}"#.into()]
        }
        "/seenby/v1/applications/{application}/secrets" => vec![r#"{"overlap_hours":48}"#.into()],
        "/seenby/v1/applications/{application}/certificates" => vec![r#"{"certificate":"none"}"#.into()],
        "/seenby/v1/ingest/{format}" => vec!["time,device,ip\n".into()],
        _ => panic!("{route} takes a body: say which ones"),
    }
}

/// Forms of B's that A may send: about another's client id the sign-in of an alias tells what it tells everybody.
fn foreign_forms() -> Vec<String> {
    let good = form(READER);
    let of = |application: ApplicationId| good.replace(&READER.to_string(), &application.to_string());
    vec![of(STRANGER), of(NAMESAKE), form(STRANGER)]
}

/// What A may send as a token.
fn tokens() -> Vec<(&'static str, Option<String>)> {
    let of_tenant = |tenant: OrganisationId| format!("http://localhost/{tenant}/v2.0");
    let person =
        json!({"idtyp": "user", "roles": null, "scp": "Ip.Read.All", "oid": LEE.to_string(), "sub": PERSON});
    [
        ("a reader's", json!({})),
        ("a manager's", json!({"azp": MANAGER.to_string(), "roles": ["Seenby.Manage"], "seenby_cred": null})),
        ("one without power", json!({"azp": POWERLESS.to_string(), "roles": []})),
        ("one without the book's permission", json!({"azp": POWERLESS.to_string()})),
        ("one for another cloud", json!({"aud": "https://api-gov.securitycenter.microsoft.us"})),
        ("one for nobody", json!({"aud": "https://elsewhere.example"})),
        ("an old one", json!({"nbf": NOW - 9_000, "exp": NOW - 5_000})),
        ("a person's", person),
        ("A's application with B's tenant", json!({"tid": OTHER.to_string(), "iss": of_tenant(OTHER)})),
        ("A's application with B's tenant, by A's issuer", json!({"tid": OTHER.to_string()})),
        ("B's application with A's tenant", json!({"azp": STRANGER.to_string()})),
        ("B's application of the same name", json!({"azp": NAMESAKE.to_string()})),
    ]
    .into_iter()
    .map(|(name, mut changes)| {
        // They outlive what is asked here.
        if changes.get("exp").is_none() {
            changes["exp"] = (NOW + 100_000).into();
        }
        (name, Some(forged(&changes)))
    })
    .chain([("none", None), ("a word", Some("token".to_owned())), ("a source's", Some(source(ACME, 7).0))])
    .collect()
}

/// A source and its token; those of the two organisations have one name.
fn source(organisation: OrganisationId, byte: u8) -> (String, Source) {
    let (plain, sha256) = new_secret(|bytes| bytes.fill(byte));
    let source = Source {
        id: SourceId(Uuid::from_u128(byte.into())),
        organisation,
        name: SourceName::new("edge").expect("a name"),
        read_as: ReadAs::default(),
        bounds: SourceBounds::default(),
        tokens: vec![Secret { sha256, created_at: Second::MIN, expires_at: None }],
        created_at: Second::MIN,
    };
    (plain.reveal().to_owned(), source)
}

/// Takes everything, and keeps nothing.
struct Void;

impl Intake for Void {
    fn format(&self, name: &str) -> Option<&'static str> {
        (name == "mde").then_some("mde")
    }

    fn work(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn begin(&self, _: Upload) -> Box<dyn Taking> {
        Box::new(Void)
    }

    fn failed(&self, _: &Source, _: &str) {}

    fn reports(&self, _: OrganisationId) -> Vec<SourceReport> {
        Vec::new()
    }
}

impl Taking for Void {
    fn take(&mut self, _: &[u8]) -> Result<(), TakeError> {
        Ok(())
    }

    fn document(&mut self, _: &[u8], _: Option<&'static str>) -> Result<(), TakeError> {
        Ok(())
    }

    fn end(self: Box<Self>) -> Result<UploadTaken, TakeError> {
        Ok(UploadTaken::default())
    }
}

/// Why an answer to A may tell that there is B.
fn exception(case: &Case) -> Option<&'static str> {
    if case.route == "/metrics" {
        return Some("the operator's: it counts everybody's calls, without names");
    }
    if case.route == "/sources" {
        return Some("the operator's: it shows the sources of all organisations");
    }
    None
}

/// One request.
struct Case {
    route: String,
    method: Method,
    path: String,
    token: (&'static str, Option<String>),
    body: String,
}

impl Case {
    fn request(&self) -> Request<Body> {
        let mut request = Request::builder().method(&self.method).uri(&self.path).header("host", HOST);
        if let Some(token) = &self.token.1 {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Body::from(self.body.clone())).expect("a request")
    }
}

/// Every case of a route.
fn cases_of(route: &str, method: &str) -> Vec<Case> {
    let method: Method = method.to_uppercase().parse().expect("a method");
    let takes_a_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
    let mut cases = Vec::new();
    for path in paths(route) {
        for token in tokens() {
            let with = |method: &Method, path: &str, body: &str| Case {
                route: route.to_owned(),
                method: method.clone(),
                path: path.to_owned(),
                token: token.clone(),
                body: body.to_owned(),
            };
            if takes_a_body {
                // A token is no credential where credentials are exchanged for one; two kinds are enough.
                if ["a reader's", "a manager's", "a source's", "none"].contains(&token.0) {
                    cases.extend(forms(route).iter().map(|form| with(&method, &path, form)));
                }
                // What the form of a page is about stands in the query.
                if route.ends_with("/authorize") && token.0 == "none" {
                    for query in QUERIES {
                        let path = format!("{path}?{query}");
                        cases.extend(forms(route).iter().map(|form| with(&method, &path, form)));
                    }
                }
                continue;
            }
            cases.extend(QUERIES.iter().map(|query| with(&method, &format!("{path}?{query}"), "")));
            cases.push(with(&Method::HEAD, &path, ""));
            // What there is to delete is deleted at the end.
            if !route.starts_with("/seenby/v1/") {
                cases.push(with(&Method::DELETE, &path, ""));
            }
        }
    }
    cases
}

/// A route with every value of every parameter.
fn paths(route: &str) -> Vec<String> {
    let mut paths = vec![route.to_owned()];
    while let Some(begin) = paths[0].find('{') {
        let end = paths[0].find('}').expect("a closed parameter");
        let parameter = paths[0][begin + 1..end].to_owned();
        let values = VALUES.iter().find(|(name, _)| *name == parameter);
        let (_, values) = values.unwrap_or_else(|| panic!("{route} has {{{parameter}}}: say which values"));
        let with = |path: &String, value: &&str| path.replacen(&format!("{{{parameter}}}"), value, 1);
        paths = paths.iter().flat_map(|path| values.iter().map(move |value| with(path, value))).collect();
    }
    paths
}

/// A server whose clocks and chance are in the test's hands.
struct Server {
    router: Router,
    now_ms: Arc<AtomicU64>,
    chance: Arc<AtomicU64>,
}

/// Everything of an answer but `date`, which the connection writes.
#[derive(PartialEq, Eq, Debug)]
struct Answer {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: String,
}

impl Server {
    async fn new(with_b: bool) -> Server {
        let store = Arc::new(ModelStore::new());
        sighted(&store, ACME, SEEN, &[("a", NOW - 86_400), ("b", NOW - 90_000), ("c", NOW - 7_200)]).await;
        sighted(&store, ACME, QUIET, &[("a", NOW - 10 * 86_400)]).await;
        let mut book = crate::common::book();
        // People sign in through all of them.
        for application in book.applications.values_mut() {
            application.sign_in = SignIn {
                delegated: [Permission::IpReadAll].into(),
                redirect_uris: [RedirectUri::new("http://localhost").expect("a URI")].into(),
                device_code: true,
                ..SignIn::default()
            };
        }
        let mut kim = User {
            id: UserId(Uuid::from_u128(0x5555)),
            organisation: ACME,
            name: "kim".to_owned(),
            password: hash_password(PASSWORD, [5; 16]).expect("a password"),
            password_set_at: Second::MIN,
            created_at: Second::MIN,
        };
        book.users.insert(kim.id, kim.clone());
        let mut victim = Role {
            id: RoleId(Uuid::from_u128(0x7777_0000_0000_4000_8000_0000_0000_0001)),
            organisation: ACME,
            name: "victims".to_owned(),
            permissions: BTreeSet::new(),
            members: BTreeSet::new(),
            created_at: Second::MIN,
        };
        book.roles.insert(victim.id, victim.clone());
        let manager = Application {
            id: MANAGER,
            organisation: ACME,
            name: "manager".to_owned(),
            permissions: vec![Permission::Manage],
            sign_in: SignIn { public: true, ..SignIn::default() },
            secrets: Vec::new(),
            certificates: Vec::new(),
            limits: CallLimits::default(),
            created_at: Second::MIN,
        };
        book.applications.insert(MANAGER, manager);
        let (_, ours) = source(ACME, 7);
        book.sources.insert(ours.id, ours);
        if with_b {
            let (_, theirs) = source(OTHER, 8);
            book.sources.insert(theirs.id, theirs);
            victim.id = RoleId(Uuid::from_u128(0x7777_0000_0000_4000_8000_0000_0000_0002));
            victim.organisation = OTHER;
            book.roles.insert(victim.id, victim);
            let of_b = User {
                id: UserId(Uuid::from_u128(0x6667)),
                organisation: OTHER,
                name: "of b".to_owned(),
                ..kim.clone()
            };
            book.users.insert(of_b.id, of_b);
            // Of the same name, with another password.
            kim.id = UserId(Uuid::from_u128(0x6666));
            kim.organisation = OTHER;
            kim.password = hash_password("wrong is right for B", [5; 16]).expect("a password");
            book.users.insert(kim.id, kim);
            for (ip, at) in [(SEEN, 1), (SEEN, 100_000), (QUIET, 5), (ELSEWHERE, 7), ("203.0.113.78", 9)] {
                sighted(&store, OTHER, ip, &[("a", NOW - at), ("b", NOW - at), ("x", NOW - at - 1)]).await;
            }
            furnish(&mut book);
        } else {
            book.organisations.remove(&OTHER);
            book.applications.remove(&STRANGER);
        }
        let now_ms = Arc::new(AtomicU64::new(u64::from(NOW) * 1_000));
        let chance = Arc::new(AtomicU64::new(0));
        let machine = Machine {
            wall: clock(&now_ms),
            steady: {
                let now_ms = Arc::clone(&now_ms);
                Arc::new(move || Millis(now_ms.load(Ordering::SeqCst)))
            },
            steady_id: Uuid::from_u128(1),
            entropy: entropy(&chance),
            fetch: crate::common::no_fetch(),
        };
        let directory = Arc::new(ModelDirectory::new(book));
        let state = State::new(store, directory, Settings::default(), machine);
        state.set_intake(Arc::new(Void));
        Server { router: router(state), now_ms, chance }
    }

    /// The answer to the request of a number: its ids and its time are those of the number.
    async fn ask(&self, request: Request<Body>, number: u64, now_ms: u64) -> Answer {
        self.chance.store(number << 16, Ordering::SeqCst);
        self.now_ms.store(now_ms, Ordering::SeqCst);
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        Answer {
            status: parts.status,
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }
}

fn entropy(chance: &Arc<AtomicU64>) -> Entropy {
    let chance = Arc::clone(chance);
    Arc::new(move |bytes: &mut [u8]| {
        let mut state = chance.fetch_add(1, Ordering::SeqCst);
        for byte in bytes.iter_mut() {
            // SplitMix64: the same for the same number, and no pattern that a code could be made of twice.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    })
}

/// What B has: A's names, A's secrets, roles of the same people, an application at its limits.
fn furnish(book: &mut Book) {
    let created_at = Second::new(NOW - 1_000);
    let of_a = book.applications[&READER].clone();
    let one = CallLimit::Calls(NonZeroU32::MIN);
    if let Some(stranger) = book.applications.get_mut(&STRANGER) {
        stranger.limits = CallLimits { per_minute: one, per_hour: one };
        stranger.secrets.extend((0..50).map(|n| Secret { sha256: [n; 32], created_at, expires_at: None }));
    }
    let namesake =
        Application { id: NAMESAKE, organisation: OTHER, permissions: vec![Permission::IpReadAll], ..of_a };
    book.applications.insert(NAMESAKE, namesake);
    let person =
        Member { issuer: Issuer::BuiltIn, kind: MemberKind::User, id: MemberId::new(PERSON).expect("an id") };
    let role = Role {
        id: RoleId(Uuid::from_u128(7)),
        organisation: OTHER,
        name: "analysts".to_owned(),
        permissions: BTreeSet::from([RolePermission::ViewData]),
        members: BTreeSet::from([person]),
        created_at,
    };
    book.roles.insert(role.id, role);
}

/// What B does meanwhile.
fn of_b(ip: &str, application: ApplicationId) -> Request<Body> {
    let claims = json!({
        "tid": OTHER.to_string(), "iss": format!("http://localhost/{OTHER}/v2.0"), "azp": application.to_string(),
    });
    let request = Request::get(format!("/api/ips/{ip}/stats"))
        .header("host", HOST)
        .header("authorization", format!("Bearer {}", forged(&claims)));
    request.body(Body::empty()).expect("a request")
}

/// The routes that there are: path and method.
async fn routes() -> Vec<(String, String)> {
    let app = crate::common::TestApp::new().await;
    let document = app.anonymous("/openapi.json").await.json();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        routes.extend(
            operations.as_object().expect("methods").keys().map(|method| (path.clone(), method.clone())),
        );
    }
    assert!(routes.len() > 15, "{routes:?}");
    // Whatever takes something away comes after everything else.
    let (mut last, mut routes): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|(_, method): &(String, String)| method == "delete");
    // Members before their role.
    last.reverse();
    routes.extend(last);
    routes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_does_not_notice_its_neighbour() {
    let (alone, beside) = (Server::new(false).await, Server::new(true).await);
    let mut number = 1;
    let mut now_ms = u64::from(NOW) * 1_000;
    let (mut same, mut excepted, mut good) = (0, 0, BTreeSet::new());
    for (route, method) in routes().await {
        for case in cases_of(&route, &method) {
            // So that A stays below its limits here.
            now_ms += 2_500;
            number += 1;
            if number % 5 == 0 {
                let noise = of_b(SEEN, if number % 2 == 0 { STRANGER } else { NAMESAKE });
                let _ = beside.ask(noise, number + (1 << 32), now_ms).await;
            }
            let one = alone.ask(case.request(), number, now_ms).await;
            let other = beside.ask(case.request(), number, now_ms).await;
            let what = || format!("{} {} with {} and '{}'", case.method, case.path, case.token.0, case.body);
            if exception(&case).is_some() {
                excepted += 1;
                check_names_nothing(&other, &what());
                continue;
            }
            assert_eq!(one, other, "{}", what());
            assert_ne!(one.status, 429, "{}", what());
            assert!(!one.status.is_server_error(), "{}", what());
            if [200, 201, 204, 303].contains(&one.status.as_u16()) {
                good.insert((route.clone(), method.clone()));
            }
            same += 1;
        }
    }
    // Every route but the excepted one gave a good answer to something; the codes of devices are random, so none is typed here.
    let is_typed = |route: &str| ["/device", "/{tenant}/oauth2/deviceauth"].contains(&route);
    let mut expected: BTreeSet<_> = routes().await.into_iter().collect();
    expected.retain(|(route, method)| {
        !(["/metrics", "/sources"].contains(&route.as_str()) || is_typed(route) && method == "post")
    });
    // No certificate is made here.
    expected.retain(|(route, _)| !route.ends_with("/certificates"));
    assert_eq!(good, expected);
    assert!(same > 1_500 && excepted > 10, "{same} {excepted}");
}

/// An exception tells that there is a tenant; it tells nothing that is in its book.
#[track_caller]
fn check_names_nothing(answer: &Answer, what: &str) {
    for inside in [STRANGER.to_string(), NAMESAKE.to_string(), PERSON.to_owned(), "analysts".to_owned()] {
        assert!(!answer.body.contains(&inside), "{what}: {}", answer.body);
    }
}

/// B's client ids and secrets at A's own tenant are as unknown as anybody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_neighbours_applications_are_unknown() {
    let (alone, beside) = (Server::new(false).await, Server::new(true).await);
    for (number, form) in (1..).zip(foreign_forms()) {
        for tenant in [ACME.to_string(), "acme".to_owned()] {
            for path in ["oauth2/v2.0/token", "oauth2/token"] {
                let request = || {
                    let request = Request::post(format!("/{tenant}/{path}")).header("host", HOST);
                    request.body(Body::from(form.clone())).expect("a request")
                };
                let now_ms = u64::from(NOW) * 1_000;
                let answer = alone.ask(request(), number, now_ms).await;
                assert_eq!(answer.status, 400, "{}", answer.body);
                assert_eq!(answer, beside.ask(request(), number, now_ms).await, "{form}");
            }
        }
    }
}

/// Up to the limits and over them, while B is over its own: the same calls are granted, and the same is said of what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_neighbours_calls_are_its_own() {
    let (alone, beside) = (Server::new(false).await, Server::new(true).await);
    let token = forged(&json!({}));
    let mut refused = (0, 0);
    for number in 1..=260 {
        let now_ms = u64::from(NOW) * 1_000 + number * 300;
        let noise = of_b(SEEN, if number % 2 == 0 { STRANGER } else { NAMESAKE });
        refused.1 += u32::from(beside.ask(noise, number + (1 << 32), now_ms).await.status == 429);
        let request = || {
            let request = Request::get(format!("/api/ips/{SEEN}/stats")).header("host", HOST);
            request.header("authorization", format!("Bearer {token}")).body(Body::empty()).expect("a request")
        };
        let one = alone.ask(request(), number, now_ms).await;
        refused.0 += u32::from(one.status == 429);
        assert_eq!(one, beside.ask(request(), number, now_ms).await, "call {number}");
    }
    assert!(refused.0 > 20 && refused.1 > 100, "{refused:?}");
}

/// A route that is documented with a parameter that nobody gave values for does not pass unasked.
#[test]
fn a_parameter_without_values_is_noticed() {
    let count = |name: &str| VALUES.iter().find(|(known, _)| *known == name).map_or(0, |(_, all)| all.len());
    assert_eq!(paths("/a/{ip}/b/{tenant}").len(), count("ip") * count("tenant"));
    for route in ["/a/{unheard-of}", "/{tenant}/new"] {
        let forgotten = std::panic::catch_unwind(|| cases_of(route, "post"));
        assert!(forgotten.is_err(), "{route}");
    }
}
