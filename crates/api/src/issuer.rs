//! The built-in issuer's token endpoint in both published forms: from a form and who sends it to a token, for each grant.
//! Refuses to hold: how an application proves who it is (`client`), how people sign in (`authorize`, `device_code`,
//! `signin`), tokens' contents (`mint`), and the form's syntax (`form`).
//!
//! The tenant of the path is an organisation's id or name. `common`, `organizations` and `adfs` stand for the one
//! organisation of the application that asks: some clients know no other path.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{FromRequestParts, Path, Request, State as Held};
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use sighting::{Book, Directory, Permission, Store, User};
use utoipa::ToSchema;

use crate::called::Called;
use crate::client::{self, Client, Sent};
use crate::device_code;
use crate::form::{Form, TokenRequest};
use crate::keys::Key;
use crate::mint::{self, Grant, LIFETIME_S, Shape, Subject};
use crate::oauth::{Body, OAuthError};
use crate::openapi::ISSUER;
use crate::peer::Peer;
use crate::scope::Asked;
use crate::secret::sha256;
use crate::session::{self, SignedIn, Waiting, unavailable};
use crate::settings::Settings;
use crate::signin;
use crate::state::{Shared, State};

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

/// A token, in the v2 form (scope)
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/v2.0/token",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own")),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token", body = GrantedV2),
        (status = 400, description = "The request cannot be granted", body = Body),
        (status = 401, description = "The secret or assertion is missing, wrong or expired", body = Body),
        (status = 408, description = "The request did not arrive in time", body = Body),
        (status = 429, description = "Too many wrong passwords; see Retry-After", body = Body),
        (status = 503, description = "Not ready; see Retry-After", body = Body),
    )
)]
pub(crate) async fn token_v2<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    token(&state, Sent { tenant: &tenant, called: &called }, Shape::V2, peer, request).await
}

/// A token, in the v1 form (resource)
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/token",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own")),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token", body = GrantedV1),
        (status = 400, description = "The request cannot be granted", body = Body),
        (status = 401, description = "The secret or assertion is missing, wrong or expired", body = Body),
        (status = 408, description = "The request did not arrive in time", body = Body),
        (status = 429, description = "Too many wrong passwords; see Retry-After", body = Body),
        (status = 503, description = "Not ready; see Retry-After", body = Body),
    )
)]
pub(crate) async fn token_v1<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    token(&state, Sent { tenant: &tenant, called: &called }, Shape::V1, peer, request).await
}

async fn token<S: Store, D: Directory>(
    state: &State<S, D>,
    sent: Sent<'_>,
    shape: Shape,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    let (parts, body) = request.into_parts();
    let shared = state.shared();
    let form = Form::parse(&read(body, &shared.settings).await?, &parts.headers)?;
    let directory = &*state.open()?.directory;
    let book = directory.book().await.map_err(unavailable)?;
    let grant = GrantType::of(form.grant_type.as_deref())?;
    let client = client::authenticate(shared, directory, &book, &sent, &form).await?;
    let asking = Asking { shared, book: &book, client, shape };
    match grant {
        GrantType::ClientCredentials => asking.for_itself(&form),
        GrantType::Code => asking.with_code(directory, &form).await,
        GrantType::RefreshToken => asking.with_refresh_token(directory, &form).await,
        GrantType::DeviceCode => asking.with_device_code(directory, &form).await,
        GrantType::Password => asking.with_password(directory, &form, peer).await,
    }
}

/// The whole body, within its bounds of size and time.
pub(crate) async fn read(body: HttpBody, settings: &Settings) -> Result<Vec<u8>, OAuthError> {
    let reading = Limited::new(body, settings.form_bytes_max).collect();
    let read =
        tokio::time::timeout(settings.form_timeout, reading).await.map_err(|_| OAuthError::SlowBody)?;
    match read {
        Ok(whole) => Ok(whole.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(OAuthError::TooLarge),
        Err(_) => Err(OAuthError::BrokenBody),
    }
}

/// The grants that are given here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GrantType {
    ClientCredentials,
    Code,
    RefreshToken,
    DeviceCode,
    Password,
}

impl GrantType {
    /// By their names.
    pub(crate) const NAMES: [(&'static str, GrantType); 6] = [
        ("client_credentials", GrantType::ClientCredentials),
        ("authorization_code", GrantType::Code),
        ("refresh_token", GrantType::RefreshToken),
        ("urn:ietf:params:oauth:grant-type:device_code", GrantType::DeviceCode),
        // As the v1 form had it.
        ("device_code", GrantType::DeviceCode),
        ("password", GrantType::Password),
    ];

    fn of(name: Option<&str>) -> Result<GrantType, OAuthError> {
        let name = name.ok_or(OAuthError::Missing("grant_type"))?;
        let mut known = GrantType::NAMES.iter();
        let found = known.find(|(known, _)| *known == name).map(|(_, grant)| *grant);
        found.ok_or_else(|| OAuthError::UnsupportedGrant(name.to_owned()))
    }
}

/// An application that proved who it is, and asks.
struct Asking<'a> {
    shared: &'a Shared,
    book: &'a Book,
    client: Client<'a>,
    shape: Shape,
}

/// What a person's client gets beside the token.
#[derive(Default)]
struct Beside {
    /// The session that a refresh token is made of.
    session: Option<String>,
    nonce: Option<String>,
    client_info: bool,
}

impl Asking<'_> {
    fn for_itself(&self, form: &Form) -> Result<Response, OAuthError> {
        let application = self.client.application;
        if application.sign_in.public {
            return Err(OAuthError::FlowOff("client credentials: it is public"));
        }
        let (resource, scope) = (form.resource.as_deref(), form.scope.as_deref());
        let asked = Asked::by_application(self.shared, self.shape, resource, scope)?;
        let subject = Subject::Application(&application.permissions);
        let grant = self.grant(subject, &asked.resource);
        Ok(self.reply(&grant, Granted { access_token: self.signed(&grant)?, ..Granted::default() }))
    }

    async fn with_code<D: Directory>(&self, directory: &D, form: &Form) -> Result<Response, OAuthError> {
        let code = form.code.as_deref().ok_or(OAuthError::Missing("code"))?;
        let application = self.client.application;
        let check = |waiting: &Waiting| {
            let is_its = waiting.signed_in.user(self.book, application).is_some()
                && form.redirect_uri.as_deref() == Some(&waiting.redirect_uri);
            is_its.then_some(()).ok_or(OAuthError::BadCode)?;
            check_verifier(waiting.challenge.as_deref(), form.code_verifier.as_deref())
        };
        let (waiting, session) = session::redeem_code(self.shared, directory, code, check).await?;
        let user = waiting.signed_in.user(self.book, application).ok_or(OAuthError::BadCode)?;
        let allowed = waiting.signed_in.allowed(&application.sign_in.delegated);
        let nonce = waiting.nonce;
        let beside = Beside { session, nonce, client_info: form.client_info.is_some() };
        self.for_user(directory, user, &waiting.asked, &allowed, beside).await
    }

    async fn with_refresh_token<D: Directory>(
        &self,
        directory: &D,
        form: &Form,
    ) -> Result<Response, OAuthError> {
        let token = form.refresh_token.as_deref().ok_or(OAuthError::Missing("refresh_token"))?;
        let application = self.client.application;
        // Another resource may be asked for. What cannot be had is refused before the token is exchanged.
        let other = match (&form.resource, &form.scope) {
            (None, None) => None,
            (resource, scope) => {
                let asked = Asked::for_user(self.shared, self.shape, resource.as_deref(), scope.as_deref())?;
                asked.granted(&application.sign_in.delegated)?;
                Some(asked)
            }
        };
        let is_holders = |signed_in: &SignedIn| signed_in.user(self.book, application).is_some();
        let resumed = session::exchange_refresh_token(self.shared, directory, token, is_holders).await?;
        let user = resumed.signed_in.user(self.book, application).ok_or(OAuthError::BadRefreshToken)?;
        let mut asked = other.unwrap_or(resumed.asked);
        asked.offline = true;
        let session = Some(resumed.session);
        let beside = Beside { session, client_info: form.client_info.is_some(), ..Beside::default() };
        let allowed = resumed.signed_in.allowed(&application.sign_in.delegated);
        self.for_user(directory, user, &asked, &allowed, beside).await
    }

    async fn with_device_code<D: Directory>(
        &self,
        directory: &D,
        form: &Form,
    ) -> Result<Response, OAuthError> {
        // The v1 form called it `code`.
        let code = form.device_code.as_deref().or(form.code.as_deref());
        let code = code.ok_or(OAuthError::Missing("device_code"))?;
        let application = self.client.application;
        let approved = device_code::redeem(self.shared, directory, application, code).await?;
        let user = approved.signed_in.user(self.book, application).ok_or(OAuthError::BadDeviceCode)?;
        let session = session::begin(self.shared, directory, &approved.signed_in, &approved.asked).await?;
        let beside = Beside { session, client_info: form.client_info.is_some(), ..Beside::default() };
        let allowed = approved.signed_in.allowed(&application.sign_in.delegated);
        self.for_user(directory, user, &approved.asked, &allowed, beside).await
    }

    async fn with_password<D: Directory>(
        &self,
        directory: &D,
        form: &Form,
        peer: Peer,
    ) -> Result<Response, OAuthError> {
        let application = self.client.application;
        if !application.sign_in.password {
            return Err(OAuthError::FlowOff("the password grant"));
        }
        let name = form.username.as_deref().ok_or(OAuthError::Missing("username"))?;
        let password = form.password.as_deref().ok_or(OAuthError::Missing("password"))?;
        let (resource, scope) = (form.resource.as_deref(), form.scope.as_deref());
        let asked = Asked::for_user(self.shared, self.shape, resource, scope)?;
        let organisation = application.organisation;
        let user = signin::sign_in(self.shared, self.book, organisation, name, password, peer).await?;
        let consented = asked.granted(&application.sign_in.delegated)?;
        let signed_in = SignedIn::new(user, application, &consented);
        let session = session::begin(self.shared, directory, &signed_in, &asked).await?;
        let beside = Beside { session, client_info: form.client_info.is_some(), ..Beside::default() };
        self.for_user(directory, user, &asked, &application.sign_in.delegated, beside).await
    }

    async fn for_user<D: Directory>(
        &self,
        directory: &D,
        user: &User,
        asked: &Asked,
        allowed: &BTreeSet<Permission>,
        beside: Beside,
    ) -> Result<Response, OAuthError> {
        let permissions = asked.granted(allowed)?;
        let grant = self.grant(Subject::User(user, &permissions), &asked.resource);
        let id_token = match asked.openid {
            true => Some(self.signed_by(|key| grant.sign_id(beside.nonce.as_deref(), key))?),
            false => None,
        };
        let refresh_token = match &beside.session {
            Some(session) => Some(session::add_refresh_token(self.shared, directory, session, asked).await?),
            None => None,
        };
        let granted = Granted {
            access_token: self.signed(&grant)?,
            scope: Some(asked.told(&permissions)),
            refresh_token,
            id_token,
            client_info: mint::client_info(user).filter(|_| beside.client_info),
        };
        Ok(self.reply(&grant, granted))
    }

    fn grant<'b>(&'b self, subject: Subject<'b>, resource: &'b str) -> Grant<'b> {
        let application = self.client.application;
        Grant {
            shape: self.shape,
            issuer_url: self.shared.issuer_url(),
            organisation: application.organisation,
            application: application.id,
            proof: self.client.proof,
            subject,
            resource,
            now_s: self.shared.now().0 / 1_000,
            unique: self.shared.random(),
        }
    }

    fn signed(&self, grant: &Grant<'_>) -> Result<String, OAuthError> {
        self.signed_by(|key| grant.sign(key))
    }

    fn signed_by(&self, sign: impl FnOnce(&Key) -> Option<String>) -> Result<String, OAuthError> {
        let ring = self.shared.keys.ring(self.book);
        let key =
            ring.signer().ok_or_else(|| OAuthError::Internal("the book has no signing key".to_owned()))?;
        sign(key).ok_or_else(|| OAuthError::Internal("a token was not signed".to_owned()))
    }

    fn reply(&self, grant: &Grant<'_>, granted: Granted) -> Response {
        reply(self.shape, grant, granted)
    }
}

/// What was promised when the code was asked for must be shown now; a code without a promise needs none.
fn check_verifier(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), OAuthError> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (Some(challenge), Some(verifier)) => {
            let found = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
            let same = aws_lc_rs::constant_time::verify_slices_are_equal(
                found.as_bytes(),
                challenge.trim_end_matches('=').as_bytes(),
            );
            same.map_err(|_| OAuthError::BadVerifier)
        }
        _ => Err(OAuthError::BadVerifier),
    }
}

/// What a client gets.
#[derive(Default)]
struct Granted {
    access_token: String,
    scope: Option<String>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    client_info: Option<String>,
}

/// A token.
#[derive(Serialize, ToSchema)]
struct GrantedV2 {
    token_type: &'static str,
    /// What it is good for; for people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    expires_in: u64,
    ext_expires_in: u64,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_info: Option<String>,
}

/// The same with numbers as strings, and a little more.
#[derive(Serialize, ToSchema)]
struct GrantedV1 {
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    expires_in: String,
    ext_expires_in: String,
    expires_on: String,
    not_before: String,
    resource: String,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_info: Option<String>,
}

fn reply(shape: Shape, grant: &Grant<'_>, granted: Granted) -> Response {
    let Granted { access_token, scope, refresh_token, id_token, client_info } = granted;
    let body = match shape {
        Shape::V2 => Json(GrantedV2 {
            token_type: "Bearer",
            scope,
            expires_in: EXPIRES_IN_S,
            ext_expires_in: EXPIRES_IN_S,
            access_token,
            refresh_token,
            id_token,
            client_info,
        })
        .into_response(),
        Shape::V1 => Json(GrantedV1 {
            token_type: "Bearer",
            scope,
            expires_in: EXPIRES_IN_S.to_string(),
            ext_expires_in: EXPIRES_IN_S.to_string(),
            expires_on: (grant.now_s + LIFETIME_S).to_string(),
            not_before: grant.now_s.to_string(),
            resource: grant.resource.to_owned(),
            access_token,
            refresh_token,
            id_token,
            client_info,
        })
        .into_response(),
    };
    ([(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], body).into_response()
}
