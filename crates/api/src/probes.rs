//! What an operator's machines ask: is it alive, is it ready and why not, what does it count. Refuses to hold: data of
//! any organisation.

use axum::extract::State as Held;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sighting::{Directory, Store, escape};

use crate::limits::Key;
use crate::openapi::OPERATION;
use crate::state::State;

/// The process answers
#[utoipa::path(get, path = "/healthz", tag = OPERATION, responses((status = 200, description = "Alive", body = String)))]
pub(crate) async fn alive() -> &'static str {
    "alive\n"
}

/// Questions can be answered, or why they cannot
#[utoipa::path(
    get,
    path = "/readyz",
    tag = OPERATION,
    responses((status = 200, description = "Ready", body = String), (status = 503, description = "Not ready, and why", body = String))
)]
pub(crate) async fn ready<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
) -> Response {
    if state.shared().is_stopping() {
        return not_ready("the server is shutting down");
    }
    let Ok(open) = state.open() else { return not_ready("the store is being opened") };
    match open.directory.book().await {
        Ok(_) => "ready\ncall limits are counted by this server alone\n".into_response(),
        Err(error) => not_ready(&escape(&error.to_string())),
    }
}

fn not_ready(why: &str) -> Response {
    let retry = [(RETRY_AFTER, HeaderValue::from_static("5"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, format!("not ready: {why}\n")).into_response()
}

/// The Prometheus text format
#[utoipa::path(get, path = "/metrics", tag = OPERATION, responses((status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
) -> Response {
    let shared = state.shared();
    if let Ok(open) = state.open()
        && let Ok(book) = open.directory.book().await
    {
        let limits_of = |key: &Key| {
            let own = match book.applications.get(&key.1) {
                Some(application) => application.limits,
                None if shared.issuers.may_have(key.1) => shared.issuers.limits(key.1),
                None => return None,
            };
            Some(shared.settings.limits.with(own))
        };
        let at_limit = shared.limiter.at_limit(limits_of, shared.steady());
        shared.metrics.limits_are(&at_limit, shared.grants_not_kept());
    }
    shared.issuers.report(&shared.metrics, shared.steady());
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], state.metrics().render()).into_response()
}
