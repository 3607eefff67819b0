//! What holds for the service as a whole: limits, readiness, metrics, faults of the store, and any input at all.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::common::{ACME, HOST, NOW, POWERLESS, READER, SEEN, TestApp, book, forged, form, get, machine};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use proptest::prelude::*;
use seenby_api::{
    ApiError, ForAnother, Forbidden, Lacking, Limits, Quota, Refused, Settings, State, TokenRefusal, router,
};
use serde_json::json;
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{
    Answer, Batch, Coverage, DeviceEntry, DeviceKey, Offset, OrganisationId, Permission, Question, Questions,
    Receipt, RegistryChange, RegistrySettings, Retained, RolePermission, Second, SourceName, Store,
    StoreError,
};
use tower::ServiceExt;

#[tokio::test]
async fn a_hundred_a_minute_then_the_message() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    let path = format!("/api/ips/{SEEN}/stats");
    // What does not count, however often: refused callers, connection tests, documents.
    let powerless = app.token(POWERLESS).await;
    for _ in 0..40 {
        assert_eq!(app.anonymous(&path).await.status, 401);
        assert_eq!(app.with_token(&format!("{token}x"), &path).await.status, 401);
        assert_eq!(app.with_token(&powerless, &path).await.status, 403);
        assert_eq!(app.with_token(&forged(&json!({"roles": []})), &path).await.status, 403);
        assert_eq!(app.with_token(&token, "/api/ips/1.1.1.1/machines/stats").await.status, 404);
        for path in ["/api/alerts", "/api/machines", "/api/$metadata"] {
            assert_eq!(app.with_token(&token, path).await.status, 200);
        }
    }
    for call in 0..100 {
        // Whatever a call answers, it counts; these three count alike.
        let path = [&*path, "/api/ips/x/stats", "/api/ips/203.0.113.77/stats"][call % 3];
        assert_ne!(app.with_token(&token, path).await.status, 429);
    }
    app.pass_ms(500);
    insta::assert_snapshot!(app.with_token(&token, &path).await.show(), @r#"
    429 Too Many Requests
    content-length: 155
    content-type: application/json; charset=utf-8
    ratelimit-policy: "minute";q=100;w=60, "hour";q=1500;w=3600
    ratelimit: "minute";r=0;t=60, "hour";r=1400;t=3600
    retry-after: 60
    vary: accept-encoding
    x-request-id: {request id}

    {"error":{"code":"TooManyRequests","message":"API calls quota exceeded! maximum allowed 100 per 00:01:00","target":"{request id}"}}
    "#);
    // Over the limit comes before a bad address, no token before over the limit.
    assert_eq!(app.with_token(&token, "/api/ips/x/stats").await.status, 429);
    assert_eq!(app.anonymous("/api/ips/x/stats").await.status, 401);
    app.pass_ms(59_499);
    assert_eq!(app.with_token(&token, &path).await.header("retry-after"), "1");
    app.pass_ms(1);
    assert_eq!(app.with_token(&token, &path).await.status, 200);
}

#[tokio::test]
async fn setting_the_clock_gives_no_calls_and_takes_none() {
    let settings =
        Settings { limits: Limits { per_minute: Some(2), per_hour: Some(100) }, ..Settings::default() };
    let app = TestApp::with(settings).await;
    let token = app.token(READER).await;
    let path = format!("/api/ips/{SEEN}/stats");
    assert_eq!(app.with_token(&token, &path).await.status, 200);
    app.set_wall_s(NOW + 120);
    assert_eq!(app.with_token(&token, &path).await.status, 200);
    assert_eq!(app.with_token(&token, &path).await.header("retry-after"), "60");
    app.set_wall_s(NOW - 120);
    app.steady_ms.fetch_add(60_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(app.with_token(&token, &path).await.status, 200);
}

#[tokio::test]
async fn fifteen_hundred_an_hour_then_the_message() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    for call in 0..1_500 {
        assert_eq!(app.with_token(&token, "/api/ips/x/stats").await.status, 400, "{call}");
        if call % 100 == 99 {
            app.pass_ms(60_000);
        }
    }
    let reply = app.with_token(&token, "/api/ips/x/stats").await;
    assert_eq!(reply.message(), "API calls quota exceeded! maximum allowed 1500 per 01:00:00");
    assert_eq!(reply.header("retry-after"), (3_600 - 900).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exact_with_sixty_four_callers_at_once() {
    let app = Arc::new(TestApp::new().await);
    let token = app.token(READER).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (app, token) = (Arc::clone(&app), token.clone());
        callers.spawn(async move {
            let mut granted = 0;
            for _ in 0..10 {
                granted += u32::from(app.with_token(&token, "/api/ips/x/stats").await.status == 400);
            }
            granted
        });
    }
    assert_eq!(callers.join_all().await.iter().sum::<u32>(), 100);
}

#[tokio::test]
async fn a_server_that_is_starting_says_so() {
    let now_ms = Arc::new(AtomicU64::new(u64::from(NOW) * 1_000));
    let state = State::starting(Settings::default(), machine(&now_ms, &now_ms));
    let ask = async |method: &str, path: &str| {
        let request = get(path).method(method).body(Body::from(form(READER)));
        let response = router(state.clone()).oneshot(request.expect("a request")).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let retry = parts.headers.contains_key("retry-after");
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        (parts.status.as_u16(), retry, String::from_utf8_lossy(&body).into_owned())
    };
    for (method, path) in [
        ("GET", "/api/ips/1.1.1.1/stats"),
        ("GET", "/readyz"),
        ("POST", "/acme/oauth2/token"),
        ("GET", "/common/discovery/keys"),
    ] {
        let (status, retry, body) = ask(method, path).await;
        assert_eq!((status, retry), (503, true), "{path}: {body}");
    }
    assert_eq!(ask("GET", "/readyz").await.2, "not ready: the store is being opened\n");
    assert_eq!((ask("GET", "/healthz").await.0, ask("GET", "/api/$metadata").await.0), (200, 200));
    state.set_ready(Arc::new(ModelStore::new()), Arc::new(ModelDirectory::new(book())));
    assert_eq!(ask("GET", "/readyz").await.2, "ready\ncall limits are counted by this server alone\n");
    assert_eq!(ask("GET", "/api/ips/1.1.1.1/stats").await.0, 401);
}

#[tokio::test]
async fn metrics_count_by_route_not_by_path() {
    let app = TestApp::new().await;
    app.stats(SEEN).await;
    app.stats("x").await;
    app.anonymous("/api/ips/1.2.3.4/stats").await;
    app.anonymous("/secret\u{20}path".replace(' ', "%20").as_str()).await;
    app.state.metrics().register(|registry| {
        let gauge: prometheus_client::metrics::gauge::Gauge = Default::default();
        registry.register("seenby_made_elsewhere", "By the binary", gauge);
    });
    let text = app.anonymous("/metrics").await.text();
    for line in [
        r#"seenby_http_requests_total{route="/api/ips/{ip}/stats",status="200"} 1"#,
        r#"seenby_http_requests_total{route="/api/ips/{ip}/stats",status="401"} 1"#,
        r#"seenby_http_requests_total{route="none",status="404"} 1"#,
        r#"seenby_token_refusals_total{reason="missing"} 1"#,
        r#"seenby_http_request_seconds_count{route="/api/ips/{ip}/stats"} 3"#,
        "seenby_made_elsewhere 0",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("1.2.3.4") && !text.contains("secret"));
}

#[test]
fn every_error_has_its_row() {
    let refused = Refused { quota: Quota::Minute, calls_max: 100, retry_after_s: 7 };
    let (required, right) = (Permission::IpReadAll, RolePermission::ViewData);
    let forbidden = |lacking| {
        ApiError::Forbidden(Box::new(Forbidden { lacking, audience: "a".into(), organisation: ACME }))
    };
    let another = ForAnother { required: "r".into(), audience: "a".into(), organisation: ACME };
    let rows = [
        (ApiError::InvalidIpAddress { text: "x".into() }, 400, "InvalidIpAddress"),
        (
            ApiError::InvalidInput { parameter: "p", range: (1, 2), found: "empty".into() },
            400,
            "InvalidInput",
        ),
        (ApiError::BadRequest { problem: "A problem." }, 400, "BadRequest"),
        (ApiError::MisdirectedRequest { host: "h".into() }, 421, "MisdirectedRequest"),
        (ApiError::Unauthorized(TokenRefusal::Signature), 401, "Unauthorized"),
        (ApiError::ForAnother(Box::new(another)), 401, "Unauthorized"),
        (forbidden(Lacking::Role { required, roles: vec![], granted: Some(false) }), 403, "Forbidden"),
        (forbidden(Lacking::Scope { required, scopes: vec![], granted: None }), 403, "Forbidden"),
        (
            forbidden(Lacking::Right { required: right, scopes: vec![], groups_overflowed: true }),
            403,
            "Forbidden",
        ),
        (
            ApiError::ResourceNotFound { text: "1.1.1.1".into(), kept_since: Second::MIN },
            404,
            "ResourceNotFound",
        ),
        (ApiError::TooManyRequests(refused), 429, "TooManyRequests"),
        (ApiError::Internal { cause: "secret cause".into() }, 500, "InternalServerError"),
        (ApiError::Unavailable { cause: "secret cause".into() }, 503, "ServiceUnavailable"),
        (
            ApiError::NoIssuerKeys { issuer: "secret cause".into(), retry_after_s: 7 },
            503,
            "ServiceUnavailable",
        ),
        (ApiError::NotReady, 503, "ServiceUnavailable"),
        (ApiError::TimedOut, 503, "ServiceUnavailable"),
    ];
    for (error, status, code) in rows {
        assert_eq!((error.status().as_u16(), error.code()), (status, code));
        let message = error.message();
        assert!(!message.is_empty() && !message.contains("secret cause"), "{message}");
    }
}

/// A store that does one thing to every question.
#[derive(Clone, Copy)]
enum Broken {
    Unavailable,
    Corrupt,
    Panics,
    Hangs,
}

impl Store for Broken {
    async fn stats(&self, _: Question) -> Result<Answer, StoreError> {
        match self {
            Broken::Unavailable => Err(StoreError::Unavailable("page 7 of /data".into())),
            Broken::Corrupt => Err(StoreError::Corrupt("page 7 of /data".into())),
            Broken::Panics => panic!("page 7 of /data"),
            Broken::Hangs => std::future::pending().await,
        }
    }
    async fn stats_of(&self, _: Questions) -> Result<Vec<Answer>, StoreError> {
        unreachable!()
    }
    async fn append(&self, _: &Batch) -> Result<Receipt, StoreError> {
        unreachable!()
    }
    async fn coverage(&self, _: OrganisationId, _: Second, _: Second) -> Result<Coverage, StoreError> {
        unreachable!()
    }
    async fn offset(&self, _: OrganisationId, _: SourceName, _: String) -> Result<Option<u64>, StoreError> {
        unreachable!()
    }
    async fn offsets(&self, _: OrganisationId, _: SourceName) -> Result<Vec<Offset>, StoreError> {
        unreachable!()
    }
    async fn devices(
        &self,
        _: OrganisationId,
        _: Option<DeviceKey>,
        _: Second,
    ) -> Result<Vec<DeviceEntry>, StoreError> {
        unreachable!()
    }
    async fn registry(&self, _: OrganisationId) -> Result<RegistrySettings, StoreError> {
        unreachable!()
    }
    async fn teach(&self, _: OrganisationId, _: RegistryChange) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn outside(&self, _: OrganisationId, _: Second) -> Result<Retained, StoreError> {
        unreachable!()
    }
    async fn retain(&self, _: OrganisationId, _: Second) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn remove(&self, _: OrganisationId) -> Result<(), StoreError> {
        unreachable!()
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_store_are_not_told() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    for (broken, status) in
        [(Broken::Unavailable, 503), (Broken::Corrupt, 500), (Broken::Panics, 500), (Broken::Hangs, 503)]
    {
        let directory = Arc::clone(&app.directory);
        let machine = machine(&app.now_ms, &app.steady_ms);
        let state = State::new(Arc::new(broken), directory, Settings::default(), machine);
        let request =
            get(&format!("/api/ips/{SEEN}/stats")).header("authorization", format!("Bearer {token}"));
        let response =
            router(state).oneshot(request.body(Body::empty()).expect("a request")).await.expect("infallible");
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().contains_key("retry-after"), status == 503);
        assert!(response.headers().contains_key("ratelimit"), "it was counted, whatever became of it");
        let id = response.headers()["x-request-id"].to_str().expect("ASCII").to_owned();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("an envelope");
        assert_eq!(body["error"]["target"], id);
        assert!(!body.to_string().contains("page 7"));
    }
}

fn never_limited() -> Settings {
    Settings { limits: Limits::OFF, ..Settings::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_path_and_no_query_is_a_fault(
        address in prop_oneof!["[0-9a-fA-F:.%/]{0,40}", "\\PC{0,20}", "(%[0-9a-f]{2}){0,10}"],
        query in prop_oneof!["[lL]ook[bB]ack[hH]ours=[-+0-9eE. ]{0,12}", "\\PC{0,30}", "([a-z%=&+]{0,4}){0,8}"],
        path in prop_oneof![Just("/api/ips/{}/stats"), Just("/{}"), Just("/api/{}"), Just("/{}/oauth2/token"), Just("/{}/.well-known/openid-configuration")],
    ) {
        let target = format!("{}?{query}", path.replace("{}", &address));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let status = runtime.block_on(async {
            let app = TestApp::with(never_limited()).await;
            let token = app.token(READER).await;
            let request = Request::get(&target).header("host", HOST).header("authorization", format!("Bearer {token}")).body(Body::empty());
            match request {
                Ok(request) => app.send(request).await.status,
                Err(_) => StatusCode::OK,
            }
        });
        prop_assert!(!status.is_server_error(), "{} {}", target, status);
    }

    #[test]
    fn no_form_and_no_header_is_a_fault(form in prop::collection::vec(any::<u8>(), 0..200), header in "[ -~]{0,60}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let status = runtime.block_on(async {
            let app = TestApp::new().await;
            let request = Request::post(format!("/{ACME}/oauth2/token")).header("host", HOST).header("authorization", &header).body(Body::from(form));
            app.send(request.expect("a request")).await.status
        });
        prop_assert!(status.is_client_error(), "{}", status);
    }
}
