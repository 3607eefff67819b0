//! What a request costs in process: a token that was checked before, one that was not, and the whole way through the
//! router. Refuses to hold: sockets and a real store.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use seenby_api::{Limits, Machine, Millis, Settings, State, new_secret, new_signing_key, router};
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{
    Application, ApplicationId, Book, CallLimits, Organisation, OrganisationId, Permission,
    RETENTION_DEFAULT, Second, Secret, SignIn, Uuid,
};
use tower::ServiceExt;

const ORGANISATION: OrganisationId = OrganisationId(Uuid::from_u128(1));
const APPLICATION: ApplicationId = ApplicationId(Uuid::from_u128(2));
const NOW: u64 = 1_700_000_000;

fn directory() -> (Arc<ModelDirectory>, String) {
    let created_at = Second::MIN;
    let (plain, sha256) = new_secret(|bytes| bytes.fill(1));
    let mut book = Book::default();
    book.signing_keys.push(new_signing_key(created_at).expect("a key"));
    let organisation = Organisation {
        id: ORGANISATION,
        name: "bench".into(),
        retention: RETENTION_DEFAULT,
        source_tenants: Vec::new(),
    };
    book.organisations.insert(ORGANISATION, organisation);
    let application = Application {
        id: APPLICATION,
        organisation: ORGANISATION,
        name: "bench".into(),
        permissions: vec![Permission::IpReadAll],
        sign_in: SignIn::default(),
        secrets: vec![Secret { sha256, created_at, expires_at: None }],
        certificates: Vec::new(),
        limits: CallLimits::default(),
        created_at,
    };
    book.applications.insert(APPLICATION, application);
    (Arc::new(ModelDirectory::new(book)), plain.reveal().to_owned())
}

fn server(directory: &Arc<ModelDirectory>) -> axum::Router {
    let settings = Settings { limits: Limits::OFF, ..Settings::default() };
    let machine = Machine {
        fetch: Arc::new(|_| Box::pin(async { Err("nothing is fetched here".to_owned()) })),
        wall: Arc::new(|| Millis(NOW * 1_000)),
        steady: Arc::new(|| Millis(0)),
        steady_id: Uuid::nil(),
        entropy: Arc::new(|bytes: &mut [u8]| bytes.fill(7)),
    };
    router(State::new(Arc::new(ModelStore::new()), Arc::clone(directory), settings, machine))
}

fn requests(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (directory, secret) = directory();
    let app = server(&directory);
    let form = format!(
        "grant_type=client_credentials&client_id={APPLICATION}&client_secret={secret}&resource=https://api.securitycenter.microsoft.com"
    );
    let token = runtime.block_on(async {
        let request = Request::post(format!("/{ORGANISATION}/oauth2/token")).body(Body::from(form.clone()));
        let response = app.clone().oneshot(request.expect("a request")).await.expect("infallible");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        body["access_token"].as_str().expect("a token").to_owned()
    });
    let get = |path: &str| {
        let request =
            Request::get(path).header("host", "localhost").header("authorization", format!("Bearer {token}"));
        request.body(Body::empty()).expect("a request")
    };
    let run = |app: axum::Router, request| {
        runtime.block_on(async { app.oneshot(request).await.expect("infallible") })
    };
    // The difference between the next two is the check of a token that was checked before.
    criterion.bench_function("no token needed", |b| b.iter(|| run(app.clone(), get("/api"))));
    criterion.bench_function("token checked before", |b| b.iter(|| run(app.clone(), get("/api/alerts"))));
    criterion.bench_function("token new", |b| {
        let fresh = || {
            let app = server(&directory);
            // Makes the ring of keys ready, remembers no token.
            run(app.clone(), get("/common/discovery/keys"));
            app
        };
        b.iter_batched(fresh, |app| run(app, get("/api/alerts")), BatchSize::SmallInput);
    });
    criterion
        .bench_function("question", |b| b.iter(|| run(app.clone(), get("/api/ips/198.51.100.20/stats"))));
    criterion.bench_function("token issued", |b| {
        b.iter(|| {
            let request =
                Request::post(format!("/{ORGANISATION}/oauth2/token")).body(Body::from(form.clone()));
            run(app.clone(), request.expect("a request"))
        });
    });
}

criterion_group!(benches, requests);
criterion_main!(benches);
