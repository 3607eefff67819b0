//! How clients find the built-in issuer: discovery documents and the public keys. Refuses to hold: endpoints that are
//! not served.
//!
//! `issuer` is stable (what tokens carry); the endpoints follow the host that was called, so that a client reaches
//! them by the name that it knows.

use axum::Json;
use axum::extract::State as Held;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use sighting::{Directory, Store, Uuid};
use utoipa::ToSchema;

use crate::called::Called;
use crate::error::{ApiError, Envelope};
use crate::issuer::{GrantType, Tenant};
use crate::keys::KeySet;
use crate::mint::{Shape, issuer};
use crate::oauth::{Body, OAuthError};
use crate::openapi::ISSUER;
use crate::query;
use crate::state::State;

/// What an issuer for every tenant writes in place of one, as the original does.
const ANY_TENANT: &str = "{tenantid}";
/// What a tenant's id is made of stands as it is.
const NON_ALPHANUMERIC_BUT_DASH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');

/// OpenID Connect discovery.
#[derive(Serialize, ToSchema)]
#[schema(as = Discovery)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    device_authorization_endpoint: String,
    jwks_uri: String,
    scopes_supported: [&'static str; 3],
    grant_types_supported: Vec<&'static str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 3],
    code_challenge_methods_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 4],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    claims_supported: [&'static str; 10],
    request_uri_parameter_supported: bool,
}

/// How to find the issuer, v2 form
#[utoipa::path(
    get,
    path = "/{tenant}/v2.0/.well-known/openid-configuration",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id; any other word stands for every organisation")),
    responses((status = 200, description = "The discovery document", body = Document), (status = 503, description = "Not ready; see Retry-After", body = Body))
)]
pub(crate) async fn document_v2<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
) -> Result<Response, OAuthError> {
    document(&state, &tenant, &called, Shape::V2)
}

/// How to find the issuer, v1 form
#[utoipa::path(
    get,
    path = "/{tenant}/.well-known/openid-configuration",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id; any other word stands for every organisation")),
    responses((status = 200, description = "The discovery document", body = Document), (status = 503, description = "Not ready; see Retry-After", body = Body))
)]
pub(crate) async fn document_v1<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
) -> Result<Response, OAuthError> {
    document(&state, &tenant, &called, Shape::V1)
}

fn document<S: Store, D: Directory>(
    state: &State<S, D>,
    tenant: &str,
    called: &str,
    shape: Shape,
) -> Result<Response, OAuthError> {
    state.open()?;
    // Any id is answered as if it were a tenant's, any other word as if it stood for every tenant: who is served here is
    // nobody's to find out.
    let (named, path) = match Uuid::try_parse(tenant) {
        Ok(id) => (id.to_string(), id.to_string()),
        Err(_) => (ANY_TENANT.to_owned(), utf8_percent_encode(tenant, NON_ALPHANUMERIC).to_string()),
    };
    let oauth = match shape {
        Shape::V1 => format!("{called}/{path}/oauth2"),
        Shape::V2 => format!("{called}/{path}/oauth2/v2.0"),
    };
    let keys = match shape {
        Shape::V1 => "keys",
        Shape::V2 => "v2.0/keys",
    };
    let document = Document {
        issuer: issuer(shape, &state.shared().issuer_url(), &named),
        authorization_endpoint: format!("{oauth}/authorize"),
        token_endpoint: format!("{oauth}/token"),
        jwks_uri: format!("{called}/{path}/discovery/{keys}"),
        device_authorization_endpoint: format!("{oauth}/devicecode"),
        scopes_supported: ["openid", "profile", "offline_access"],
        grant_types_supported: GrantType::NAMES.iter().map(|(name, _)| *name).collect(),
        response_types_supported: ["code"],
        response_modes_supported: ["query", "fragment", "form_post"],
        code_challenge_methods_supported: ["S256"],
        subject_types_supported: ["pairwise"],
        id_token_signing_alg_values_supported: ["RS256"],
        token_endpoint_auth_methods_supported: [
            "client_secret_post",
            "client_secret_basic",
            "private_key_jwt",
            "none",
        ],
        token_endpoint_auth_signing_alg_values_supported: ["RS256", "PS256"],
        claims_supported: [
            "aud",
            "exp",
            "iat",
            "iss",
            "name",
            "nonce",
            "oid",
            "preferred_username",
            "sub",
            "tid",
        ],
        // What a client would have us fetch is not supported; without this line the opposite is understood.
        request_uri_parameter_supported: false,
    };
    Ok(Json(document).into_response())
}

/// What some clients ask before they ask the issuer itself: whether its host is known, and by which other names.
#[derive(Serialize, ToSchema)]
#[schema(as = InstanceDiscovery)]
struct Instance {
    tenant_discovery_endpoint: String,
    #[serde(rename = "api-version")]
    api_version: &'static str,
    metadata: [Aliases; 1],
}

/// The names of one issuer's host.
#[derive(Serialize, ToSchema)]
struct Aliases {
    preferred_network: String,
    preferred_cache: String,
    aliases: [String; 1],
}

/// Whether the issuer's host is known: this one is, by the name that was called
#[utoipa::path(
    get,
    path = "/{tenant}/discovery/instance",
    tag = ISSUER,
    params(
        ("tenant" = String, Path, description = "Anything"),
        ("authorization_endpoint" = Option<String>, Query, description = "The endpoint that is asked about; its tenant counts"),
    ),
    responses((status = 200, description = "It is", body = Instance))
)]
pub(crate) async fn instance(Called(called): Called, uri: Uri) -> Response {
    let pairs = query::pairs(uri.query().unwrap_or_default().as_bytes());
    let endpoint = pairs.filter(|(name, _)| name == "authorization_endpoint").map(|(_, value)| value).next();
    let tenant = endpoint.as_deref().and_then(|url| url.split('/').nth(3)).unwrap_or("common");
    let tenant = utf8_percent_encode(tenant, NON_ALPHANUMERIC_BUT_DASH);
    let host = called.split_once("://").map_or(&*called, |(_, host)| host).to_owned();
    let metadata =
        [Aliases { preferred_network: host.clone(), preferred_cache: host.clone(), aliases: [host] }];
    let tenant_discovery_endpoint = format!("{called}/{tenant}/v2.0/.well-known/openid-configuration");
    Json(Instance { tenant_discovery_endpoint, api_version: "1.1", metadata }).into_response()
}

/// The public keys, the same for every tenant
#[utoipa::path(
    get,
    path = "/{tenant}/discovery/v2.0/keys",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "Anything")),
    responses((status = 200, description = "A JWK set", body = KeySet<'static>), (status = 503, description = "Not ready; see Retry-After", body = Envelope<'static>))
)]
pub(crate) async fn keys<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
) -> Result<Response, ApiError> {
    let book = state.open()?.directory.book().await?;
    let ring = state.shared().keys.ring(&book);
    Ok(Json(ring.key_set()).into_response())
}

/// The public keys under their older path
#[utoipa::path(
    get,
    path = "/{tenant}/discovery/keys",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "Anything")),
    responses((status = 200, description = "A JWK set", body = KeySet<'static>), (status = 503, description = "Not ready; see Retry-After", body = Envelope<'static>))
)]
pub(crate) async fn keys_v1<S: Store + 'static, D: Directory + 'static>(
    state: Held<State<S, D>>,
) -> Result<Response, ApiError> {
    keys(state).await
}
