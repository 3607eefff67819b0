//! The built-in issuer's token endpoint: client credentials with a client secret, in both published forms. Refuses to
//! hold: other grants, tokens' contents (`token`), the form's syntax (`form`), and how a book is changed.
//!
//! The tenant of the path is an organisation's id or name. `common`, `organizations` and `adfs` stand for the one
//! organisation of the application that asks: some clients know no other path.

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{FromRequestParts, Path, Request, State as Held};
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use sighting::{Application, Book, Directory, OrganisationId, Second, Store, Uuid};
use utoipa::ToSchema;

use crate::form::Form;
use crate::form::TokenRequest;
use crate::mint::{Grant, LIFETIME_S, Shape};
use crate::oauth::{Body, OAuthError};
use crate::openapi::ISSUER;
use crate::secret::sha256;
use crate::settings::Settings;
use crate::state::{Shared, State};

/// What an application's scope ends with: everything that the application was given.
const DEFAULT_SCOPE: &str = "/.default";
/// Scopes of sign-in that clients add by habit; they ask for no resource.
const HABITUAL_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];
/// The answer says one second less than the token lives, as the original's does.
const EXPIRES_IN_S: u64 = LIFETIME_S - 1;

/// The tenant of a path, percent-decoded; what is not UTF-8 is no tenant.
pub(crate) struct Tenant(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Tenant {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Tenant, Self::Rejection> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        Ok(Tenant(path.map_or_else(|_| "\u{fffd}".to_owned(), |Path(tenant)| tenant)))
    }
}

/// Whether a tenant stands for every organisation.
pub(crate) fn is_alias(tenant: &str) -> bool {
    ["common", "organizations", "adfs"].iter().any(|alias| tenant.eq_ignore_ascii_case(alias))
}

/// A token, in the v2 form (scope)
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/v2.0/token",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own")),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token", body = GrantedV2<'static>),
        (status = 400, description = "The request cannot be granted", body = Body),
        (status = 401, description = "The secret is missing, wrong or expired", body = Body),
        (status = 408, description = "The request did not arrive in time", body = Body),
        (status = 503, description = "Not ready; see Retry-After", body = Body),
    )
)]
pub(crate) async fn token_v2<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    request: Request,
) -> Result<Response, OAuthError> {
    token(&state, &tenant, Shape::V2, request).await
}

/// A token, in the v1 form (resource)
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/token",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own")),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token", body = GrantedV1<'static>),
        (status = 400, description = "The request cannot be granted", body = Body),
        (status = 401, description = "The secret is missing, wrong or expired", body = Body),
        (status = 408, description = "The request did not arrive in time", body = Body),
        (status = 503, description = "Not ready; see Retry-After", body = Body),
    )
)]
pub(crate) async fn token_v1<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    request: Request,
) -> Result<Response, OAuthError> {
    token(&state, &tenant, Shape::V1, request).await
}

async fn token<S: Store, D: Directory>(
    state: &State<S, D>,
    tenant: &str,
    shape: Shape,
    request: Request,
) -> Result<Response, OAuthError> {
    let (parts, body) = request.into_parts();
    let shared = state.shared();
    let form = Form::parse(&read(body, &shared.settings).await?, &parts.headers)?;
    let book =
        state.open()?.directory.book().await.map_err(|error| OAuthError::Unavailable(error.to_string()))?;
    let now_s = shared.now().0 / 1_000;
    check_grant_type(&form)?;
    let application = find_application(&book, tenant, &form)?;
    check_secret(application, &form, shared.now().second())?;
    let resource = resource(shared, &form, shape)?;
    let grant = Grant {
        shape,
        issuer_url: &shared.issuer_url(),
        organisation: application.organisation,
        application: application.id,
        permissions: &application.permissions,
        resource: &resource,
        now_s,
        unique: shared.random(),
    };
    let ring = shared.keys.ring(&book);
    let signer =
        ring.signer().ok_or_else(|| OAuthError::Internal("the book has no signing key".to_owned()))?;
    let token =
        grant.sign(signer).ok_or_else(|| OAuthError::Internal("a token was not signed".to_owned()))?;
    Ok(granted(shape, &token, &resource, now_s))
}

/// The whole body, within its bounds of size and time.
async fn read(body: HttpBody, settings: &Settings) -> Result<Vec<u8>, OAuthError> {
    let reading = Limited::new(body, settings.form_bytes_max).collect();
    let read =
        tokio::time::timeout(settings.form_timeout, reading).await.map_err(|_| OAuthError::SlowBody)?;
    match read {
        Ok(whole) => Ok(whole.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(OAuthError::TooLarge),
        Err(_) => Err(OAuthError::BrokenBody),
    }
}

fn check_grant_type(form: &Form) -> Result<(), OAuthError> {
    match form.grant_type.as_deref() {
        Some("client_credentials") => Ok(()),
        Some(other) => Err(OAuthError::UnsupportedGrant(other.to_owned())),
        None => Err(OAuthError::Missing("grant_type")),
    }
}

fn find_application<'a>(book: &'a Book, tenant: &str, form: &Form) -> Result<&'a Application, OAuthError> {
    let organisation = find_organisation(book, tenant)?;
    let id = form.client_id.as_deref().ok_or(OAuthError::Missing("client_id"))?;
    let unknown = || OAuthError::UnknownApplication(id.to_owned());
    let uuid = Uuid::try_parse(id).map_err(|_| unknown())?;
    book.applications
        .get(&sighting::ApplicationId(uuid))
        .filter(|application| {
            organisation.is_none_or(|organisation| application.organisation == organisation)
        })
        .ok_or_else(unknown)
}

/// The organisation of a tenant; `None` for an alias, which stands for any.
pub(crate) fn find_organisation(book: &Book, tenant: &str) -> Result<Option<OrganisationId>, OAuthError> {
    match book.organisation(tenant) {
        Some(organisation) => Ok(Some(organisation.id)),
        None if is_alias(tenant) => Ok(None),
        None => Err(OAuthError::UnknownTenant(tenant.to_owned())),
    }
}

/// Every kept hash is compared, each in constant time, so that the answer's delay says nothing.
fn check_secret(application: &Application, form: &Form, now: Second) -> Result<(), OAuthError> {
    let sent = sha256(form.client_secret.as_deref().ok_or(OAuthError::NoSecret)?.as_bytes());
    let (mut good, mut expired) = (false, false);
    for kept in &application.secrets {
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(&kept.sha256, &sent).is_ok();
        let current = kept.expires_at.is_none_or(|end| now <= end);
        good |= same && current;
        expired |= same && !current;
    }
    match (good, expired) {
        (true, _) => Ok(()),
        (false, true) => Err(OAuthError::ExpiredSecret(application.id)),
        (false, false) => Err(OAuthError::WrongSecret(application.id)),
    }
}

/// The resource that is asked for, exactly as it is written, if it is granted.
fn resource(shared: &Shared, form: &Form, shape: Shape) -> Result<String, OAuthError> {
    let resource = match (shape, &form.resource, &form.scope) {
        (Shape::V1, Some(resource), _) => resource.as_str(),
        (_, _, Some(scope)) => scoped_resource(scope).ok_or_else(|| OAuthError::BadScope(scope.clone()))?,
        (Shape::V1, None, None) => return Err(OAuthError::Missing("resource")),
        (Shape::V2, _, None) => return Err(OAuthError::Missing("scope")),
    };
    if shared.is_resource(resource) {
        Ok(resource.to_owned())
    } else {
        Err(OAuthError::UnknownResource(resource.to_owned()))
    }
}

/// `https://r/.default` asks for `https://r`, `https://r//.default` for `https://r/`.
fn scoped_resource(scope: &str) -> Option<&str> {
    let mut scopes = scope.split_ascii_whitespace().filter(|scope| !HABITUAL_SCOPES.contains(scope));
    let resource = scopes.next()?.strip_suffix(DEFAULT_SCOPE)?;
    scopes.next().is_none().then_some(resource)
}

/// A token.
#[derive(Serialize, ToSchema)]
struct GrantedV2<'a> {
    token_type: &'static str,
    expires_in: u64,
    ext_expires_in: u64,
    access_token: &'a str,
}

/// The same with numbers as strings, and a little more.
#[derive(Serialize, ToSchema)]
struct GrantedV1<'a> {
    token_type: &'static str,
    expires_in: String,
    ext_expires_in: String,
    expires_on: String,
    not_before: String,
    resource: &'a str,
    access_token: &'a str,
}

fn granted(shape: Shape, access_token: &str, resource: &str, now_s: u64) -> Response {
    let body = match shape {
        Shape::V2 => Json(GrantedV2 {
            token_type: "Bearer",
            expires_in: EXPIRES_IN_S,
            ext_expires_in: EXPIRES_IN_S,
            access_token,
        })
        .into_response(),
        Shape::V1 => Json(GrantedV1 {
            token_type: "Bearer",
            expires_in: EXPIRES_IN_S.to_string(),
            ext_expires_in: EXPIRES_IN_S.to_string(),
            expires_on: (now_s + LIFETIME_S).to_string(),
            not_before: now_s.to_string(),
            resource,
            access_token,
        })
        .into_response(),
    };
    ([(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], body).into_response()
}
