//! The issuer's pages for people: sign in, enter a device's code, what came of it. Plain HTML without scripts, but for the one
//! line that sends a form on. Refuses to hold: what is done with what they send.

use askama::Template;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sighting::{Application, Book, Permission, escape};

use crate::oauth::OAuthError;

/// Where people type who they are.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    organisation: String,
    application: String,
    permissions: Vec<&'static str>,
    problem: Option<String>,
    name: &'a str,
    user_code: Option<&'a str>,
    destination: &'a str,
}

/// Where people type a device's code.
#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage<'a> {
    problem: Option<&'a str>,
    code: &'a str,
}

/// What came of it.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
}

/// What sends a code on to a client that wants it as a form.
#[derive(Template)]
#[template(path = "send_back.html")]
struct SendBackPage<'a> {
    application: String,
    destination: &'a str,
    fields: &'a [(&'static str, String)],
    nonce: &'a str,
}

/// What a page for signing in says.
pub(crate) struct SigningIn<'a> {
    pub(crate) book: &'a Book,
    pub(crate) application: &'a Application,
    pub(crate) permissions: &'a [Permission],
    /// What was wrong with the last try.
    pub(crate) problem: Option<&'a OAuthError>,
    /// The name as it was typed, or as the client hints.
    pub(crate) name: &'a str,
    /// The device's code, or where people are sent back to.
    pub(crate) whereto: Whereto<'a>,
}

/// Where what is signed in for will be.
#[derive(Clone, Copy)]
pub(crate) enum Whereto<'a> {
    Device(&'a str),
    RedirectUri(&'a str),
}

/// The page for signing in, with the status and the wait of what was wrong.
pub(crate) fn sign_in(signing_in: &SigningIn<'_>) -> Response {
    let application = signing_in.application;
    let organisation = signing_in.book.organisations.get(&application.organisation);
    let (user_code, destination) = match signing_in.whereto {
        Whereto::Device(code) => (Some(code), ""),
        Whereto::RedirectUri(uri) => (None, uri),
    };
    let page = SignInPage {
        organisation: organisation.map(|it| escape(&it.name).into_owned()).unwrap_or_default(),
        application: escape(&application.name).into_owned(),
        permissions: signing_in.permissions.iter().map(|permission| told(*permission)).collect(),
        problem: signing_in.problem.map(OAuthError::message),
        name: signing_in.name,
        user_code,
        destination,
    };
    let status = signing_in.problem.map_or(StatusCode::OK, OAuthError::status);
    let mut response = page_of(&page, status, None);
    if let Some(OAuthError::TryLater(seconds)) = signing_in.problem {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
    }
    response
}

/// What a permission lets an application do, for a person to read.
fn told(permission: Permission) -> &'static str {
    match permission {
        Permission::IpReadAll => "read IP address profiles",
        Permission::Manage => "manage the organisation as far as you may",
    }
}

/// The page for a device's code.
pub(crate) fn device(code: &str, problem: Option<&str>) -> Response {
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    page_of(&DevicePage { problem, code }, status, None)
}

/// The same for a network that typed too many made-up codes.
pub(crate) fn too_many_codes(code: &str, wait_s: u64) -> Response {
    let problem = format!("Too many codes that do not exist were typed. Try again in {wait_s} s.");
    let page = DevicePage { problem: Some(&problem), code };
    let mut response = page_of(&page, StatusCode::TOO_MANY_REQUESTS, None);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait_s));
    response
}

/// A page that only says something.
pub(crate) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page_of(&MessagePage { title, text }, status, None)
}

/// A page that sends fields on to where a client wants them.
pub(crate) fn send_back(
    application: &Application,
    destination: &str,
    fields: &[(&'static str, String)],
    nonce: &str,
) -> Response {
    let application = escape(&application.name).into_owned();
    page_of(&SendBackPage { application, destination, fields, nonce }, StatusCode::OK, Some(nonce))
}

/// Any other page without scripts.
pub(crate) fn of(page: &impl Template, status: StatusCode) -> Response {
    page_of(page, status, None)
}

fn page_of(page: &impl Template, status: StatusCode, script_nonce: Option<&str>) -> Response {
    let Ok(html) = page.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    // No `form-action`: browsers hold it against the redirect that follows a form, and that goes to the client.
    let script = script_nonce.map(|nonce| format!("; script-src 'nonce-{nonce}'")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'{script}"
    );
    let mut response = (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
