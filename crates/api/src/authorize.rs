//! The authorization endpoint: a person signs in on a page and is sent back to the client with a code (RFC 6749, 4.1, with
//! PKCE, RFC 7636). Refuses to hold: how a name and a password are checked (`signin`), how a code is redeemed (`issuer`,
//! `session`), the pages' text (`page`).
//!
//! Nobody stays signed in here: there is no cookie, each code takes a password. What is wrong with the client or where it
//! wants people sent is shown to the person and sent nowhere; everything else goes back to the client.

use axum::extract::{Request, State as Held};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use sighting::{Application, Book, Directory, Store, User};
use utoipa::ToSchema;

use crate::called::Called;
use crate::client::{Sent, find_application};
use crate::error::shown;
use crate::issuer::{Tenant, read};
use crate::mint::Shape;
use crate::oauth::OAuthError;
use crate::openapi::ISSUER;
use crate::page::{self, SigningIn, Whereto};
use crate::peer::Peer;
use crate::query;
use crate::scope::Asked;
use crate::session::{self, SignedIn, Waiting, unavailable};
use crate::signin;
use crate::state::{Shared, State};

/// What stands unescaped in the value of a query: RFC 3986's unreserved.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What must not stand in a header, whatever a URI holds.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ');
/// A challenge or a verifier has at most 128 letters (RFC 7636, 4.1).
const CHALLENGE_BYTES_MAX: usize = 128;

/// Sign in on a page, v2 form (scope)
#[utoipa::path(
    get,
    path = "/{tenant}/oauth2/v2.0/authorize",
    tag = ISSUER,
    params(
        ("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own"),
        ("client_id" = String, Query, description = "The application's client id"),
        ("response_type" = String, Query, description = "`code`"),
        ("redirect_uri" = String, Query, description = "Where the code is sent: one of the application's"),
        ("scope" = Option<String>, Query, description = "`{resource}/{permission}` or `{resource}/.default`, `openid`, `offline_access`"),
        ("state" = Option<String>, Query, description = "Comes back as it is"),
        ("code_challenge" = Option<String>, Query, description = "S256 of the code_verifier; a public application must send it"),
        ("code_challenge_method" = Option<String>, Query, description = "`S256`"),
        ("response_mode" = Option<String>, Query, description = "`query`, `form_post` or `fragment`"),
    ),
    responses(
        (status = 200, description = "The page for signing in", body = String, content_type = "text/html"),
        (status = 303, description = "Back to the client, with an error"),
        (status = 400, description = "A page that says what is wrong with the client", body = String, content_type = "text/html"),
        (status = 503, description = "Not ready; see Retry-After", body = crate::oauth::Body),
    )
)]
pub(crate) async fn page_v2<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    uri: Uri,
) -> Result<Response, OAuthError> {
    show(&state, &tenant, Shape::V2, &uri).await
}

/// Sign in on a page, v1 form (resource)
#[utoipa::path(
    get,
    path = "/{tenant}/oauth2/authorize",
    tag = ISSUER,
    params(
        ("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own"),
        ("client_id" = String, Query, description = "The application's client id"),
        ("response_type" = String, Query, description = "`code`"),
        ("redirect_uri" = String, Query, description = "Where the code is sent: one of the application's"),
        ("resource" = Option<String>, Query, description = "The resource"),
        ("state" = Option<String>, Query, description = "Comes back as it is"),
    ),
    responses(
        (status = 200, description = "The page for signing in", body = String, content_type = "text/html"),
        (status = 303, description = "Back to the client, with an error"),
        (status = 400, description = "A page that says what is wrong with the client", body = String, content_type = "text/html"),
        (status = 503, description = "Not ready; see Retry-After", body = crate::oauth::Body),
    )
)]
pub(crate) async fn page_v1<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    uri: Uri,
) -> Result<Response, OAuthError> {
    show(&state, &tenant, Shape::V1, &uri).await
}

/// What a person sends from a page.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description; what is read is a `Typed`")]
pub(crate) struct SignInForm {
    /// On the page of a device: its code.
    user_code: Option<String>,
    /// The sign-in name.
    username: Option<String>,
    /// The password.
    password: Option<String>,
    /// `no` declines.
    answer: Option<String>,
}

/// What the page of the v2 form sends
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/v2.0/authorize",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "As for the page; so is the query")),
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A page that sends the code on, where the client wants a form", body = String, content_type = "text/html"),
        (status = 303, description = "Back to the client, with a code or an error"),
        (status = 400, description = "The page again, with what was wrong", body = String, content_type = "text/html"),
        (status = 408, description = "The request did not arrive in time", body = crate::oauth::Body),
        (status = 429, description = "Too many wrong passwords; see Retry-After", body = String, content_type = "text/html"),
        (status = 503, description = "Not ready; see Retry-After", body = crate::oauth::Body),
    )
)]
pub(crate) async fn submit_v2<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    submit(&state, Sent { tenant: &tenant, called: &called }, Shape::V2, peer, request).await
}

/// What the page of the v1 form sends
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/authorize",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "As for the page; so is the query")),
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A page that sends the code on, where the client wants a form", body = String, content_type = "text/html"),
        (status = 303, description = "Back to the client, with a code or an error"),
        (status = 400, description = "The page again, with what was wrong", body = String, content_type = "text/html"),
        (status = 408, description = "The request did not arrive in time", body = crate::oauth::Body),
        (status = 429, description = "Too many wrong passwords; see Retry-After", body = String, content_type = "text/html"),
        (status = 503, description = "Not ready; see Retry-After", body = crate::oauth::Body),
    )
)]
pub(crate) async fn submit_v1<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    submit(&state, Sent { tenant: &tenant, called: &called }, Shape::V1, peer, request).await
}

/// What a client asks of the endpoint, as it is written.
#[derive(Default)]
struct Parameters {
    client_id: Option<String>,
    response_type: Option<String>,
    response_mode: Option<String>,
    redirect_uri: Option<String>,
    scope: Option<String>,
    resource: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    login_hint: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

impl Parameters {
    fn of(uri: &Uri) -> Result<Parameters, OAuthError> {
        let mut parameters = Parameters::default();
        for (name, value) in query::pairs(uri.query().unwrap_or_default().as_bytes()) {
            let Some((name, field)) = parameters.field(&name) else { continue };
            if field.is_some() {
                return Err(OAuthError::Repeated(name));
            }
            *field = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        Ok(parameters)
    }

    fn field(&mut self, name: &str) -> Option<(&'static str, &mut Option<String>)> {
        Some(match name {
            "client_id" => ("client_id", &mut self.client_id),
            "response_type" => ("response_type", &mut self.response_type),
            "response_mode" => ("response_mode", &mut self.response_mode),
            "redirect_uri" => ("redirect_uri", &mut self.redirect_uri),
            "scope" => ("scope", &mut self.scope),
            "resource" => ("resource", &mut self.resource),
            "state" => ("state", &mut self.state),
            "nonce" => ("nonce", &mut self.nonce),
            "login_hint" => ("login_hint", &mut self.login_hint),
            "code_challenge" => ("code_challenge", &mut self.code_challenge),
            "code_challenge_method" => ("code_challenge_method", &mut self.code_challenge_method),
            _ => return None,
        })
    }
}

/// How a client wants its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Query,
    Fragment,
    FormPost,
}

/// A request whose client and destination are sound: whatever else is wrong goes there.
struct Going<'a> {
    application: &'a Application,
    redirect_uri: String,
    state: Option<String>,
    mode: Mode,
}

/// A whole request.
struct Wanted {
    asked: Asked,
    challenge: Option<String>,
    nonce: Option<String>,
    login_hint: String,
}

impl<'a> Going<'a> {
    /// What must be right before anybody is sent anywhere.
    fn of(book: &'a Book, tenant: &str, parameters: &Parameters) -> Result<Going<'a>, OAuthError> {
        let application = find_application(book, tenant, parameters.client_id.as_deref())?;
        let uris = &application.sign_in.redirect_uris;
        let redirect_uri = match &parameters.redirect_uri {
            Some(asked) if uris.iter().any(|kept| kept.allows(asked)) => asked.clone(),
            Some(asked) => return Err(OAuthError::BadRedirectUri(asked.clone())),
            // The only one there is may be left out (RFC 6749, 3.1.2.3).
            None if uris.len() == 1 => uris.iter().map(ToString::to_string).collect(),
            None => return Err(OAuthError::Missing("redirect_uri")),
        };
        let mode = match parameters.response_mode.as_deref() {
            None | Some("query") => Mode::Query,
            Some("fragment") => Mode::Fragment,
            Some("form_post") => Mode::FormPost,
            Some(_) => return Err(OAuthError::BadRequest("response_mode is query, form_post or fragment.")),
        };
        Ok(Going { application, redirect_uri, state: parameters.state.clone(), mode })
    }

    /// Sends the person back with what came of it.
    fn back(&self, shared: &Shared, mut fields: Vec<(&'static str, String)>) -> Response {
        fields.extend(self.state.clone().map(|state| ("state", state)));
        let pair = |(name, value): &(&str, String)| format!("{name}={}", utf8_percent_encode(value, VALUE));
        let pairs = || fields.iter().map(pair).collect::<Vec<_>>().join("&");
        let (uri, separator) = match self.mode {
            Mode::FormPost => {
                let nonce = session::new_token(shared);
                return page::send_back(self.application, &self.redirect_uri, &fields, &nonce);
            }
            Mode::Fragment => (&self.redirect_uri, '#'),
            Mode::Query if self.redirect_uri.contains('?') => (&self.redirect_uri, '&'),
            Mode::Query => (&self.redirect_uri, '?'),
        };
        let location = format!("{}{separator}{}", utf8_percent_encode(uri, IN_HEADER), pairs());
        let mut response = StatusCode::SEE_OTHER.into_response();
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::from_str(&location) {
            headers.insert(LOCATION, location);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn back_with_error(&self, shared: &Shared, error: &OAuthError) -> Response {
        let description = format!("AADSTS{}: {}", error.number(), error.message());
        self.back(shared, vec![("error", error.error().to_owned()), ("error_description", description)])
    }
}

impl Wanted {
    /// The rest of a request.
    fn of(
        shared: &Shared,
        application: &Application,
        shape: Shape,
        parameters: Parameters,
    ) -> Result<Wanted, OAuthError> {
        match parameters.response_type.as_deref() {
            Some("code") => {}
            Some(_) => return Err(OAuthError::UnsupportedResponse),
            None => return Err(OAuthError::Missing("response_type")),
        }
        let (resource, scope) = (parameters.resource.as_deref(), parameters.scope.as_deref());
        let asked = Asked::for_user(shared, shape, resource, scope)?;
        // Said now rather than after a password was typed.
        asked.granted(&application.sign_in.delegated)?;
        let challenge = parameters.code_challenge;
        let method = parameters.code_challenge_method.as_deref();
        if challenge.is_some() && method != Some("S256") {
            return Err(OAuthError::BadRequest("code_challenge_method must be S256."));
        }
        if challenge.as_ref().is_some_and(|challenge| challenge.len() > CHALLENGE_BYTES_MAX) {
            return Err(OAuthError::BadRequest("code_challenge has at most 128 letters."));
        }
        if challenge.is_none() && application.sign_in.public {
            return Err(OAuthError::Missing("code_challenge"));
        }
        let login_hint = parameters.login_hint.unwrap_or_default();
        Ok(Wanted { asked, challenge, nonce: parameters.nonce, login_hint })
    }
}

async fn show<S: Store, D: Directory>(
    state: &State<S, D>,
    tenant: &str,
    shape: Shape,
    uri: &Uri,
) -> Result<Response, OAuthError> {
    let shared = state.shared();
    let book = state.open()?.directory.book().await.map_err(unavailable)?;
    let parameters = match Parameters::of(uri) {
        Ok(parameters) => parameters,
        Err(error) => return Ok(refused(&error)),
    };
    let going = match Going::of(&book, tenant, &parameters) {
        Ok(going) => going,
        Err(error) => return Ok(refused(&error)),
    };
    Ok(match Wanted::of(shared, going.application, shape, parameters) {
        Ok(wanted) => sign_in_page(&book, &going, &wanted, &shown(&wanted.login_hint), None),
        Err(error) => going.back_with_error(shared, &error),
    })
}

/// A page for what is wrong with the client.
fn refused(error: &OAuthError) -> Response {
    let text = format!("{} (AADSTS{})", error.message(), error.number());
    page::message(error.status(), "This sign-in cannot go on", &text)
}

fn sign_in_page(
    book: &Book,
    going: &Going<'_>,
    wanted: &Wanted,
    name: &str,
    problem: Option<&OAuthError>,
) -> Response {
    let permissions = wanted.asked.granted(&going.application.sign_in.delegated).unwrap_or_default();
    page::sign_in(&SigningIn {
        book,
        application: going.application,
        permissions: &permissions,
        problem,
        name,
        whereto: Whereto::RedirectUri(&going.redirect_uri),
    })
}

async fn submit<S: Store, D: Directory>(
    state: &State<S, D>,
    sent: Sent<'_>,
    shape: Shape,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    let shared = state.shared();
    let (parts, body) = request.into_parts();
    if is_from_elsewhere(&parts.headers, sent.called) {
        return Ok(refused(&OAuthError::BadRequest("The form was sent by another site.")));
    }
    let body = read(body, &shared.settings).await?;
    let typed = Typed::of(&body);
    let directory = &*state.open()?.directory;
    let book = directory.book().await.map_err(unavailable)?;
    let parameters = match Parameters::of(&parts.uri) {
        Ok(parameters) => parameters,
        Err(error) => return Ok(refused(&error)),
    };
    let going = match Going::of(&book, sent.tenant, &parameters) {
        Ok(going) => going,
        Err(error) => return Ok(refused(&error)),
    };
    let wanted = match Wanted::of(shared, going.application, shape, parameters) {
        Ok(wanted) => wanted,
        Err(error) => return Ok(going.back_with_error(shared, &error)),
    };
    if typed.declines {
        return Ok(going.back_with_error(shared, &OAuthError::Declined));
    }
    let organisation = going.application.organisation;
    let signed_in =
        signin::sign_in(shared, &book, organisation, &typed.username, &typed.password, peer).await;
    match signed_in {
        Ok(user) => with_code(shared, directory, &going, wanted, user).await,
        Err(error) => Ok(sign_in_page(&book, &going, &wanted, &shown(&typed.username), Some(&error))),
    }
}

async fn with_code<D: Directory>(
    shared: &Shared,
    directory: &D,
    going: &Going<'_>,
    wanted: Wanted,
    user: &User,
) -> Result<Response, OAuthError> {
    let consented = wanted.asked.granted(&going.application.sign_in.delegated)?;
    let waiting = Waiting {
        signed_in: SignedIn::new(user, going.application, &consented),
        redirect_uri: going.redirect_uri.clone(),
        challenge: wanted.challenge,
        asked: wanted.asked,
        nonce: wanted.nonce,
    };
    let code = session::add_code(shared, directory, waiting).await?;
    Ok(going.back(shared, vec![("code", code)]))
}

/// What a person sends from one of the pages.
#[derive(Default)]
pub(crate) struct Typed {
    pub(crate) user_code: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) declines: bool,
}

impl Typed {
    pub(crate) fn of(body: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for (name, value) in query::pairs(body) {
            match &*name {
                "user_code" => typed.user_code = value.into_owned(),
                "username" => typed.username = value.into_owned(),
                "password" => typed.password = value.into_owned(),
                "answer" => typed.declines = value == "no",
                _ => {}
            }
        }
        typed
    }
}

/// Whether a browser says that a page of somebody else sent a form. Without TLS browsers leave `Sec-Fetch-Site` out, and say
/// only the origin. `called` is `{scheme}://{host}`; the scheme is not compared, since a proxy may have taken TLS off.
pub(crate) fn is_from_elsewhere(headers: &HeaderMap, called: &str) -> bool {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = |url: &str| url.split_once("://").map(|(_, host)| host.to_ascii_lowercase());
    match (said("sec-fetch-site"), said("origin")) {
        (Some(site), _) => !["same-origin", "none"].contains(&site),
        (None, Some(origin)) => host(origin).is_none() || host(origin) != host(called),
        (None, None) => false,
    }
}
