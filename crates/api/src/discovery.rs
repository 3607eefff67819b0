//! How clients find the built-in issuer: discovery documents and the public keys. Refuses to hold: endpoints that are
//! not served as something a client may call today (the authorization endpoint is named because clients refuse a
//! document without one).
//!
//! `issuer` is stable (what tokens carry); the endpoints follow the host that was called, so that a client reaches
//! them by the name that it knows.

use axum::Json;
use axum::extract::State as Held;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sighting::{Directory, Store};

use crate::called::Called;
use crate::error::ApiError;
use crate::issuer::{Tenant, find_organisation};
use crate::oauth::OAuthError;
use crate::state::State;
use crate::token::{Shape, issuer};

/// What an issuer for every tenant writes in place of one, as the original does.
const ANY_TENANT: &str = "{tenantid}";

#[derive(Serialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    grant_types_supported: [&'static str; 1],
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 2],
}

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`.
pub(crate) async fn document_v2<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
) -> Result<Response, OAuthError> {
    document(&state, &tenant, &called, Shape::V2).await
}

/// `GET /{tenant}/.well-known/openid-configuration`.
pub(crate) async fn document_v1<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
) -> Result<Response, OAuthError> {
    document(&state, &tenant, &called, Shape::V1).await
}

async fn document<S: Store, D: Directory>(
    state: &State<S, D>,
    tenant: &str,
    called: &str,
    shape: Shape,
) -> Result<Response, OAuthError> {
    let book =
        state.open()?.directory.book().await.map_err(|error| OAuthError::Unavailable(error.to_string()))?;
    let organisation = find_organisation(&book, tenant)?;
    // The path names the tenant as the book does, or by the alias that the client used.
    let (named, path) = match organisation {
        Some(id) => (id.to_string(), id.to_string()),
        None => (ANY_TENANT.to_owned(), tenant.to_owned()),
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
        grant_types_supported: ["client_credentials"],
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        subject_types_supported: ["pairwise"],
        id_token_signing_alg_values_supported: ["RS256"],
        token_endpoint_auth_methods_supported: ["client_secret_post", "client_secret_basic"],
    };
    Ok(Json(document).into_response())
}

/// `GET /{tenant}/discovery/keys` and `GET /{tenant}/discovery/v2.0/keys`: the same for every tenant.
pub(crate) async fn keys<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
) -> Result<Response, ApiError> {
    let book = state.open()?.directory.book().await?;
    let ring = state.shared().keys.ring(&book);
    Ok(Json(ring.key_set()).into_response())
}
