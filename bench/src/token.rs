//! What the check of a token costs a request, in this process: the difference between a request that needs no token and
//! one that does, for the three kinds of tokens. Refuses to hold: sockets, a real store, and how a token is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use api::{
    ApplicationIf, ClaimPaths, IssuerKind, Limits, Machine, Millis, OidcIssuer, OutsideIssuer, Settings,
    State, hash_password, new_secret, new_signing_key, router,
};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{
    Application, ApplicationId, Book, CallLimits, Organisation, OrganisationId, Permission,
    RETENTION_DEFAULT, Second, Secret, SignIn, User, UserId, Uuid,
};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::Given;
use crate::results::{Better, Results};

const ORGANISATION: OrganisationId = OrganisationId(Uuid::from_u128(1));
const APPLICATION: ApplicationId = ApplicationId(Uuid::from_u128(2));
const USER: UserId = UserId(Uuid::from_u128(3));
const PASSWORD: &str = "correct horse battery";
const NOW: u64 = 1_700_000_000;
/// The URL that the measured server has, and for which the tokens are.
const OWN_URL: &str = "http://localhost";
/// The URL of the server that plays the outside issuer.
const OUTSIDE_URL: &str = "https://issuer.example";
/// Runs of each figure; the best counts, because others use this machine too.
const RUNS: u32 = 5;
/// How often one sign-in is refreshed: no more is allowed in ten minutes, and no time passes here.
const REFRESHES: usize = 60;
/// What is promised, in microseconds.
const CHECKED_US: f64 = 2.0;
const NEW_US: f64 = 60.0;

/// Measures a token that was checked before and one that was not, for each kind; the dearest kind is the figure.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let scale = given.scale;
    results.say("tokens: what the check of one costs a request");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench::new(runtime)?;
    let kinds = [
        ("application", bench.of_application(scale.tokens)?),
        ("delegated", bench.of_user(scale.tokens)?),
        ("outside", bench.of_outside(scale.tokens)?),
    ];
    let (mut checked, mut new) = (Vec::new(), Vec::new());
    for (kind, tokens) in &kinds {
        checked.push((*kind, bench.best(|| bench.checked(tokens))?));
        new.push((*kind, bench.best(|| bench.new_ones(tokens))?));
    }
    for (name, figures, promise) in [("checked", checked, CHECKED_US), ("new", new, NEW_US)] {
        let dearest = figures.iter().map(|(_, us)| *us).fold(0.0, f64::max);
        results.add(format!("token.{name}.us"), dearest, "us", Better::Lower, ("promise", promise));
        for (kind, us) in figures {
            results.add(format!("token.{name}.{kind}.us"), us, "us", Better::Lower, ("promise", promise));
        }
    }
    Ok(())
}

/// A server with everything that tokens are checked against, and where they are got.
struct Bench {
    runtime: Runtime,
    directory: Arc<ModelDirectory>,
    secret: String,
    issuer: Router,
    outside: Router,
    key_set: Arc<[u8]>,
}

impl Bench {
    fn new(runtime: Runtime) -> anyhow::Result<Bench> {
        let (plain, _) = secret();
        let (directory, directory_of_outside) = (directory()?, directory()?);
        let issuer = server(&directory, Settings { limits: Limits::OFF, ..Settings::default() });
        let outside = server(
            &directory_of_outside,
            Settings {
                public_url: Some(OUTSIDE_URL.to_owned()),
                extra_resources: vec![OWN_URL.to_owned()],
                ..Settings::default()
            },
        );
        let keys = Request::get("/common/discovery/keys").header("host", "issuer.example");
        let key_set = runtime.block_on(answer(&outside, keys.body(Body::empty())?))?.into();
        Ok(Bench { runtime, directory, secret: plain, issuer, outside, key_set })
    }

    /// A server that has seen no token yet. Its keys are ready.
    fn fresh(&self) -> anyhow::Result<Router> {
        let outside = OidcIssuer {
            issuer: format!("{OUTSIDE_URL}/{ORGANISATION}/v2.0"),
            organisation: ORGANISATION.to_string(),
            claims: ClaimPaths::oidc(),
            application_if: ApplicationIf::Standard,
        };
        let outside = OutsideIssuer {
            kind: IssuerKind::Oidc(outside),
            audiences: Vec::new(),
            key_set: Some(Arc::clone(&self.key_set)),
            trust: None,
            limits: BTreeMap::new(),
        };
        let settings = Settings { limits: Limits::OFF, issuers: vec![outside], ..Settings::default() };
        let app = server(&self.directory, settings);
        self.runtime.block_on(answer(&app, get("/common/discovery/keys", None)?))?;
        Ok(app)
    }

    fn of_application(&self, count: usize) -> anyhow::Result<Vec<String>> {
        (0..count).map(|_| self.token(&self.issuer, "localhost", &self.own_form())).collect()
    }

    fn of_outside(&self, count: usize) -> anyhow::Result<Vec<String>> {
        (0..count).map(|_| self.token(&self.outside, "issuer.example", &self.own_form())).collect()
    }

    fn own_form(&self) -> String {
        let secret = &self.secret;
        format!(
            "grant_type=client_credentials&client_id={APPLICATION}&client_secret={secret}&scope={OWN_URL}/.default"
        )
    }

    /// Tokens of sign-ins that are each refreshed as often as may be: a password costs 20 ms by intent.
    fn of_user(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let mut tokens = Vec::with_capacity(count);
        while tokens.len() < count {
            tokens.extend(self.of_sign_in((count - tokens.len()).min(REFRESHES))?);
        }
        Ok(tokens)
    }

    fn of_sign_in(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let client = format!("client_id={APPLICATION}&client_secret={}", self.secret);
        let first = format!(
            "grant_type=password&{client}&username=kim&password={PASSWORD}&scope={OWN_URL}/.default+offline_access"
        );
        let first = self.granted(&self.issuer, "localhost", &first)?;
        let refresh = first["refresh_token"].as_str().context("a refresh token")?;
        let form = format!("grant_type=refresh_token&{client}&refresh_token={refresh}");
        (0..count).map(|_| self.token(&self.issuer, "localhost", &form)).collect()
    }

    fn token(&self, app: &Router, host: &str, form: &str) -> anyhow::Result<String> {
        let granted = self.granted(app, host, form)?;
        Ok(granted["access_token"].as_str().context("an access token")?.to_owned())
    }

    fn granted(&self, app: &Router, host: &str, form: &str) -> anyhow::Result<serde_json::Value> {
        let request = Request::post(format!("/{ORGANISATION}/oauth2/v2.0/token")).header("host", host);
        let request = request.body(Body::from(form.to_owned()))?;
        Ok(serde_json::from_slice(&self.runtime.block_on(answer(app, request))?)?)
    }

    /// The least of some runs, in microseconds.
    fn best(&self, run: impl Fn() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
        (0..RUNS).map(|_| run()).try_fold(f64::MAX, |best, found| Ok(best.min(found?)))
    }

    /// Each request with one token that was checked before.
    fn checked(&self, tokens: &[String]) -> anyhow::Result<f64> {
        let token = tokens.first().context("a token")?;
        let app = self.fresh()?;
        self.runtime.block_on(answer(&app, get("/api/alerts", Some(token))?))?;
        self.difference(&app, tokens.iter().map(|_| token).cycle().take(tokens.len() * 5))
    }

    /// Each request with a token that was never seen.
    fn new_ones(&self, tokens: &[String]) -> anyhow::Result<f64> {
        self.difference(&self.fresh()?, tokens.iter())
    }

    /// The median of requests with a token less that of requests that need none, taken in turn so that both meet the same
    /// machine.
    fn difference<'a>(&self, app: &Router, tokens: impl Iterator<Item = &'a String>) -> anyhow::Result<f64> {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for token in tokens {
            for (times, path, token) in
                [(&mut without, "/api", None), (&mut with, "/api/alerts", Some(token))]
            {
                let (request, app) = (get(path, token)?, app.clone());
                let begun_at = Instant::now();
                let response = self.runtime.block_on(app.oneshot(request));
                let took = begun_at.elapsed();
                anyhow::ensure!(response?.status().is_success(), "{path} was refused");
                times.push(took.as_nanos() as u64);
            }
        }
        Ok((median(&mut with) - median(&mut without)) / 1e3)
    }
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default() as f64
}

fn get(path: &str, token: Option<&String>) -> anyhow::Result<Request<Body>> {
    let mut request = Request::get(path).header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    Ok(request.body(Body::empty())?)
}

async fn answer(app: &Router, request: Request<Body>) -> anyhow::Result<Vec<u8>> {
    let response = app.clone().oneshot(request).await?;
    let (status, body) = (response.status(), to_bytes(response.into_body(), usize::MAX).await?);
    anyhow::ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(body.to_vec())
}

fn server(directory: &Arc<ModelDirectory>, settings: Settings) -> Router {
    let next = AtomicU64::new(1);
    let machine = Machine {
        fetch: Arc::new(|_| Box::pin(async { Err("nothing is fetched here".to_owned()) })),
        wall: Arc::new(|| Millis(NOW * 1_000)),
        steady: Arc::new(|| Millis(0)),
        steady_id: Uuid::nil(),
        // Tokens of one second must differ.
        entropy: Arc::new(move |bytes: &mut [u8]| {
            let number = next.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            bytes
                .iter_mut()
                .zip(number.into_iter().chain(std::iter::repeat(7)))
                .for_each(|(to, from)| *to = from);
        }),
    };
    router(State::new(Arc::new(ModelStore::new()), Arc::clone(directory), settings, machine))
}

/// A book with a key of its own, one application and one user.
fn directory() -> anyhow::Result<Arc<ModelDirectory>> {
    let created_at = Second::MIN;
    let (_, sha256) = secret();
    let mut book = Book::default();
    book.signing_keys.push(new_signing_key(created_at)?);
    let organisation = Organisation {
        id: ORGANISATION,
        name: "bench".into(),
        retention: RETENTION_DEFAULT,
        source_tenants: Vec::new(),
    };
    let sign_in =
        SignIn { delegated: BTreeSet::from([Permission::IpReadAll]), password: true, ..SignIn::default() };
    let application = Application {
        id: APPLICATION,
        organisation: ORGANISATION,
        name: "bench".into(),
        permissions: vec![Permission::IpReadAll],
        sign_in,
        secrets: vec![Secret { sha256, created_at, expires_at: None }],
        certificates: Vec::new(),
        limits: CallLimits::default(),
        created_at,
    };
    let user = User {
        id: USER,
        organisation: ORGANISATION,
        name: "kim".into(),
        password: hash_password(PASSWORD, [1; 16])?,
        password_set_at: created_at,
        created_at,
    };
    book.organisations.insert(ORGANISATION, organisation);
    book.applications.insert(APPLICATION, application);
    book.users.insert(USER, user);
    Ok(Arc::new(ModelDirectory::new(book)))
}

/// The application's secret: always the same one.
fn secret() -> (String, [u8; 32]) {
    let (plain, sha256) = new_secret(|bytes| bytes.fill(1));
    (plain.reveal().to_owned(), sha256)
}
