//! The list of all routes, and how a path as it was called becomes one of them: in any case, with or without the
//! version, with or without a slash at the end; and which of them a listener shows. Refuses to hold: what a handler does, and layers.

use std::convert::Infallible;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post, put};
use sighting::{Directory, Store};
use tower::util::MapRequest;

use crate::bearer::Caller;
use crate::called::Called;
use crate::error::Envelope;
use crate::openapi::CONTRACT;
use crate::state::State;
use crate::view::Collection;
use crate::{
    admin, authorize, device_code, discovery, issuer, layers, openapi, probes, receive, stats, view,
};

/// The token endpoint in its two forms.
pub(crate) const TOKEN_V2: &str = "/{tenant}/oauth2/v2.0/token";
pub(crate) const TOKEN_V1: &str = "/{tenant}/oauth2/token";
/// Where people sign in; and where a program without a browser asks for a code.
pub(crate) const AUTHORIZE_V2: &str = "/{tenant}/oauth2/v2.0/authorize";
pub(crate) const AUTHORIZE_V1: &str = "/{tenant}/oauth2/authorize";
pub(crate) const DEVICE_CODE_V2: &str = "/{tenant}/oauth2/v2.0/devicecode";
pub(crate) const DEVICE_CODE_V1: &str = "/{tenant}/oauth2/devicecode";

/// Whether errors of a route have OAuth's shape, those of the layers too.
pub(crate) fn speaks_oauth(route: &str) -> bool {
    [TOKEN_V2, TOKEN_V1, AUTHORIZE_V2, AUTHORIZE_V1, DEVICE_CODE_V2, DEVICE_CODE_V1].contains(&route)
}

/// What load balancers ask, by whatever name.
pub(crate) const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// What a listener shows of the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Face {
    /// Every route, for a program that has no listeners and looks after that itself.
    Whole,
    /// What callers need, and the probes, which say nothing of anybody.
    Callers,
    /// What the operator's machines need.
    Operator,
    /// The same and administration, where only this machine comes.
    Administrator,
}

/// The service of a state: every route and every layer. A wrong method on a known route is 405 with `Allow`, an
/// unknown route is 404, both with an empty body.
pub fn router<S: Store + 'static, D: Directory + 'static>(state: State<S, D>) -> Router {
    Router::new().fallback_service(face(state, Face::Whole))
}

/// Routes that are asked by a path in its one form.
pub(crate) type Faced = MapRequest<Router, fn(Request) -> Request>;

/// A part of the service, with every layer.
pub(crate) fn face<S: Store + 'static, D: Directory + 'static>(state: State<S, D>, face: Face) -> Faced {
    let shared = std::sync::Arc::clone(state.shared());
    let routes = match face {
        Face::Whole => callers::<S, D>().merge(probes()).merge(metrics()).merge(administration()),
        Face::Callers => callers().merge(probes()),
        Face::Operator => probes().merge(metrics()),
        Face::Administrator => probes().merge(metrics()).merge(administration()),
    };
    let routes = routes.fallback(async || StatusCode::NOT_FOUND);
    let routes = layers::all(routes, &shared).with_state(state);
    // Outside of the routes, because a path must be in its one form before a route is chosen.
    MapRequest::new(routes, normalise)
}

fn callers<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    Router::new()
        // the contract
        .route("/api/ips/{ip}/stats", get(stats::stats))
        .route("/api", get(service_document))
        .route("/api/$metadata", get(view::metadata))
        // what clients test their connection with
        .route("/api/alerts", get(alerts))
        .route("/api/machines", get(machines))
        // the built-in issuer
        .route(TOKEN_V2, post(issuer::token_v2))
        .route(TOKEN_V1, post(issuer::token_v1))
        .route(AUTHORIZE_V2, get(authorize::page_v2).post(authorize::submit_v2))
        .route(AUTHORIZE_V1, get(authorize::page_v1).post(authorize::submit_v1))
        .route(DEVICE_CODE_V2, post(device_code::code_v2))
        .route(DEVICE_CODE_V1, post(device_code::code_v1))
        .route(device_code::PAGE, get(device_code::page).post(device_code::submit))
        .route(
            device_code::PAGE_OF_TENANT,
            get(device_code::page_of_tenant).post(device_code::submit_of_tenant),
        )
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery::document_v2))
        .route("/{tenant}/.well-known/openid-configuration", get(discovery::document_v1))
        .route("/{tenant}/discovery/v2.0/keys", get(discovery::keys))
        .route("/{tenant}/discovery/keys", get(discovery::keys_v1))
        .route("/{tenant}/discovery/instance", get(discovery::instance))
        // what sources send; the routes of others' protocols are with those
        .route("/seenby/v1/ingest/{format}", post(receive::ingest))
        .merge(receive::foreign())
        // what all of this is
        .route("/openapi.json", get(openapi::openapi))
        .route("/swagger.json", get(openapi::swagger))
        .route("/docs", get(openapi::page))
}

fn probes<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    Router::new().route("/healthz", get(probes::alive)).route("/readyz", get(probes::ready))
}

fn metrics<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    Router::new().route("/metrics", get(probes::metrics)).route("/sources", get(receive::sources_page))
}

fn administration<S: Store + 'static, D: Directory + 'static>() -> Router<State<S, D>> {
    use admin::{applications, organisation, roles, users};
    Router::new()
        .route("/seenby/v1/organisation", get(organisation::show))
        .route("/seenby/v1/roles", get(roles::list).post(roles::add))
        .route("/seenby/v1/roles/{role}", get(roles::show).patch(roles::change).delete(roles::remove))
        .route("/seenby/v1/roles/{role}/members", put(roles::grant).delete(roles::revoke))
        .route("/seenby/v1/sources", get(receive::sources))
        .route("/seenby/v1/users", get(users::list).post(users::add))
        .route("/seenby/v1/users/{user}", get(users::show).delete(users::remove))
        .route("/seenby/v1/users/{user}/password", post(users::set_password))
        .route("/seenby/v1/applications", get(applications::list).post(applications::add))
        .route(
            "/seenby/v1/applications/{application}",
            get(applications::show).patch(applications::change).delete(applications::remove),
        )
        .route("/seenby/v1/applications/{application}/secrets", post(applications::rotate))
        .route(
            "/seenby/v1/applications/{application}/certificates",
            post(applications::add_certificate).delete(applications::remove_certificate),
        )
}

/// The service document
#[utoipa::path(get, path = "/api", tag = CONTRACT, responses((status = 200, description = "What is served", body = Collection<'static>)))]
async fn service_document(Called(called): Called) -> Response {
    view::service_document(&called)
}

/// An empty collection, by which clients test their connection
#[utoipa::path(
    get,
    path = "/api/alerts",
    tag = CONTRACT,
    responses(
        (status = 200, description = "The token is valid", body = Collection<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
    ),
    security(("token" = []))
)]
async fn alerts(_: Caller, Called(called): Called) -> Response {
    view::empty_collection(&called, "Alerts")
}

/// An empty collection, by which clients test their connection
#[utoipa::path(
    get,
    path = "/api/machines",
    tag = CONTRACT,
    responses(
        (status = 200, description = "The token is valid", body = Collection<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
    ),
    security(("token" = []))
)]
async fn machines(_: Caller, Called(called): Called) -> Response {
    view::empty_collection(&called, "Machines")
}

/// The URI as the client wrote it, before it was brought into its one form.
#[derive(Clone)]
pub(crate) struct CalledUri(pub(crate) Uri);

impl<S: Sync> FromRequestParts<S> for CalledUri {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<CalledUri, Infallible> {
        Ok(parts.extensions.get::<CalledUri>().cloned().unwrap_or_else(|| CalledUri(parts.uri.clone())))
    }
}

/// Keeps the URI as it was called and puts the path's one form in its place.
fn normalise(mut request: Request) -> Request {
    let called = request.uri().clone();
    if let Some(path) = normal_path(called.path())
        && let Some(uri) = with_path(&called, &path)
    {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(CalledUri(called));
    request
}

/// The one form of a path: lower case, without version and last slash, a raw prefix length (`/api/ips/10.0.0.0/8/stats`)
/// as part of its address; `None` if it is in it.
fn normal_path(path: &str) -> Option<String> {
    // As it mostly comes.
    if let Some(address) = path.strip_prefix("/api/ips/").and_then(|rest| rest.strip_suffix("/stats"))
        && !address.is_empty()
        && address.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'.' | b':'))
    {
        return None;
    }
    let mut normal = path.to_ascii_lowercase().replace("%24", "$");
    while normal.len() > 1 && normal.ends_with('/') {
        normal.pop();
    }
    if let Some(rest) = normal.strip_prefix("/api/v1.0")
        && (rest.is_empty() || rest.starts_with('/'))
    {
        normal = format!("/api{rest}");
    }
    if let Some((address, prefix)) = prefixed(&normal) {
        normal = format!("/api/ips/{address}%2f{prefix}/stats");
    }
    (normal != path).then_some(normal)
}

/// The address and the prefix length of a question for a network, which is refused with its reason.
fn prefixed(path: &str) -> Option<(&str, &str)> {
    let (address, prefix) = path.strip_prefix("/api/ips/")?.strip_suffix("/stats")?.split_once('/')?;
    let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((address, prefix))
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_of_a_path() {
        for (path, expected) in [
            ("/api/ips/10.0.0.1/stats", None),
            ("/API/v1.0/Ips/2001:DB8::1/STATS", Some("/api/ips/2001:db8::1/stats")),
            ("/api/v1.0", Some("/api")),
            ("/api/", Some("/api")),
            ("/api/v1.0/", Some("/api")),
            ("/api/%24metadata", Some("/api/$metadata")),
            ("/api/v1.00/x", None),
            ("/api/ips/10.0.0.0/8/stats", Some("/api/ips/10.0.0.0%2f8/stats")),
            ("/api/ips/10.0.0.0/machines/stats", None),
            ("/", None),
            ("//", Some("/")),
            ("*", None),
        ] {
            assert_eq!(normal_path(path).as_deref(), expected, "{path}");
        }
    }
}
