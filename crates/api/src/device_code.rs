//! The device code (RFC 8628): a program without a browser shows a code, a person types it on a page here and signs in, and the
//! program, which asks again and again, gets a token. Refuses to hold: how a name and a password are checked (`signin`), the
//! pages' text (`page`).

use axum::Json;
use axum::extract::{Request, State as Held};
use axum::http::header::CACHE_CONTROL;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sighting::{Application, ApplicationId, Book, Directory, Second, Store, TicketKind, User, Uuid};
use utoipa::ToSchema;

use crate::authorize::{SignInForm, Typed, is_from_elsewhere};
use crate::called::Called;
use crate::client::{Sent, find_application};
use crate::error::{Envelope, shown};
use crate::form::Form;
use crate::issuer::{Tenant, read};
use crate::mint::Shape;
use crate::oauth::{Body, OAuthError};
use crate::openapi::ISSUER;
use crate::page::{self, SigningIn, Whereto};
use crate::peer::Peer;
use crate::query;
use crate::scope::Asked;
use crate::session::{SignedIn, content, key, new_token, ticket, unavailable};
use crate::signin;
use crate::state::{Shared, State};
use crate::strangers::NoCode;
use crate::throttle::Origin;

/// How long a code waits for somebody to type it.
const LIFETIME_S: u64 = 900;
/// How often a program should ask, in seconds.
const INTERVAL_S: u64 = 5;
/// Letters that are not mistaken for others, and spell no words: 20 of them.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// As many letters make 2.6e10 codes, of which one waits for a quarter of an hour.
const LETTERS_IN_CODE: usize = 8;
/// How often another code is made where one waits already.
const CODES_TRIED: usize = 8;
/// Where people type the code.
pub(crate) const PAGE: &str = "/device";
/// Where the original has it.
pub(crate) const PAGE_OF_TENANT: &str = "/{tenant}/oauth2/deviceauth";

/// A code for a device.
#[derive(Serialize, ToSchema)]
struct DeviceCode {
    /// What a person types.
    user_code: String,
    /// What the program asks with.
    device_code: String,
    /// Where the person types it.
    verification_uri: String,
    /// The same, as the v1 form names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_url: Option<String>,
    expires_in: u64,
    interval: u64,
    /// For the person.
    message: String,
}

/// A code for a program without a browser, v2 form (scope)
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/v2.0/devicecode",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own")),
    request_body(content = DeviceRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A code", body = DeviceCode),
        (status = 400, description = "The request cannot be granted", body = Body),
        (status = 408, description = "The request did not arrive in time", body = Body),
        (status = 429, description = "Too many codes for one network in a quarter of an hour; see Retry-After", body = Body),
        (status = 503, description = "Not ready, or as many codes wait as may; see Retry-After", body = Body),
    )
)]
pub(crate) async fn code_v2<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    code(&state, Sent { tenant: &tenant, called: &called }, Shape::V2, peer, request).await
}

/// A code for a program without a browser, v1 form (resource)
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/devicecode",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "The organisation's id or name; `common` and `organizations` stand for the application's own")),
    request_body(content = DeviceRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A code", body = DeviceCode),
        (status = 400, description = "The request cannot be granted", body = Body),
        (status = 408, description = "The request did not arrive in time", body = Body),
        (status = 429, description = "Too many codes for one network in a quarter of an hour; see Retry-After", body = Body),
        (status = 503, description = "Not ready, or as many codes wait as may; see Retry-After", body = Body),
    )
)]
pub(crate) async fn code_v1<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Tenant(tenant): Tenant,
    Called(called): Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    code(&state, Sent { tenant: &tenant, called: &called }, Shape::V1, peer, request).await
}

/// The form of a request for a device's code.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description for clients; what is read is a `Form`")]
pub(crate) struct DeviceRequest {
    /// The application's client id.
    client_id: String,
    /// For the v2 form: `{resource}/{permission}` or `{resource}/.default`, `openid`, `offline_access`.
    scope: Option<String>,
    /// For the v1 form: the resource.
    resource: Option<String>,
}

/// A device's code as it waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Device {
    application: String,
    asked: Asked,
    answer: Answer,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Answer {
    Pending,
    Declined,
    Approved(SignedIn),
}

/// What somebody typed leads here.
#[derive(Debug, Serialize, Deserialize)]
struct Typing {
    device_code: [u8; 32],
}

async fn code<S: Store, D: Directory>(
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
    let application = find_application(&book, sent.tenant, form.client_id.as_deref())?;
    if !application.sign_in.device_code {
        return Err(OAuthError::FlowOff("the device code"));
    }
    let asked = Asked::for_user(shared, shape, form.resource.as_deref(), form.scope.as_deref())?;
    asked.granted(&application.sign_in.delegated)?;
    // Nothing was proved, and two tickets are written.
    let from = Origin::of(peer.0);
    shared.strangers.give_code(from, application.id, shared.steady()).map_err(|no_code| match no_code {
        NoCode::OfNetwork(seconds) => OAuthError::TooManyCodes(seconds),
        NoCode::OfServer(seconds) => OAuthError::NoRoomForCodes(seconds),
    })?;
    let (device_code, user_code) = add(shared, directory, application, asked).await?;
    let verification_uri = format!("{}{PAGE}", sent.called);
    let message = format!("To sign in, open {verification_uri} in a browser and enter the code {user_code}.");
    let verification_url = (shape == Shape::V1).then(|| verification_uri.clone());
    let reply = DeviceCode {
        user_code,
        device_code,
        verification_uri,
        verification_url,
        expires_in: LIFETIME_S,
        interval: INTERVAL_S,
        message,
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(reply)).into_response())
}

async fn add<D: Directory>(
    shared: &Shared,
    directory: &D,
    application: &Application,
    asked: Asked,
) -> Result<(String, String), OAuthError> {
    let now = shared.now().second();
    let device_code = new_token(shared);
    let device = Device { application: application.id.to_string(), asked, answer: Answer::Pending };
    let device_key = key(TicketKind::DeviceCode, &device_code);
    let waits = ticket(&device, now.plus(LIFETIME_S))?;
    directory.add_ticket(device_key, waits, now).await.map_err(unavailable)?;
    let typing = Typing { device_code: device_key.sha256 };
    for _ in 0..CODES_TRIED {
        let user_code = new_user_code(shared);
        let leads = ticket(&typing, now.plus(LIFETIME_S))?;
        let user_key = key(TicketKind::UserCode, &user_code);
        if directory.add_ticket(user_key, leads, now).await.map_err(unavailable)? {
            return Ok((device_code, user_code));
        }
    }
    Err(OAuthError::Unavailable("no free code was found".to_owned()))
}

/// `BCDF-GHJK`.
fn new_user_code(shared: &Shared) -> String {
    // Four times as many random bytes as letters, so that the remainder prefers none that anybody could tell.
    let random: [u8; LETTERS_IN_CODE * 4] = shared.random();
    let letter = |bytes: &[u8]| {
        let number = bytes.iter().fold(0u32, |number, byte| (number << 8) | u32::from(*byte));
        char::from(LETTERS[number as usize % LETTERS.len()])
    };
    let letters: String = random.chunks(4).map(letter).collect();
    let (first, second) = letters.split_at(LETTERS_IN_CODE / 2);
    format!("{first}-{second}")
}

/// A code as somebody types it: in any case, with or without what stands between the letters.
fn typed_code(text: &str) -> Option<String> {
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let letters = letters.to_ascii_uppercase();
    let (first, second) = letters.split_at_checked(LETTERS_IN_CODE / 2)?;
    (letters.len() == LETTERS_IN_CODE).then(|| format!("{first}-{second}"))
}

/// What a program gets once somebody signed in.
pub(crate) struct Approved {
    pub(crate) signed_in: SignedIn,
    pub(crate) asked: Asked,
}

/// Whether somebody has signed in for a device's code; once they have, it is used up.
pub(crate) async fn redeem<D: Directory>(
    shared: &Shared,
    directory: &D,
    application: &Application,
    code: &str,
) -> Result<Approved, OAuthError> {
    let (key, now) = (key(TicketKind::DeviceCode, code), shared.now().second());
    let found = directory.ticket(key, now).await.map_err(unavailable)?;
    let device: Device = found.as_ref().and_then(content).ok_or(OAuthError::BadDeviceCode)?;
    if device.application != application.id.to_string() {
        return Err(OAuthError::BadDeviceCode);
    }
    match device.answer {
        Answer::Pending => return Err(OAuthError::Pending),
        Answer::Declined => return Err(OAuthError::Declined),
        Answer::Approved(_) => {}
    }
    // Of several who ask at once, one gets it.
    let taken = directory.take_ticket(key, now).await.map_err(unavailable)?;
    match taken.as_ref().and_then(content) {
        Some(Device { asked, answer: Answer::Approved(signed_in), .. }) => Ok(Approved { signed_in, asked }),
        _ => Err(OAuthError::BadDeviceCode),
    }
}

/// Where a person types a device's code, under its older path
#[utoipa::path(
    get,
    path = "/{tenant}/oauth2/deviceauth",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "Anything")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(crate) async fn page_of_tenant(uri: Uri) -> Response {
    page(uri).await
}

/// Where a person types a device's code
#[utoipa::path(
    get,
    path = "/device",
    tag = ISSUER,
    params(("user_code" = Option<String>, Query, description = "The code, to have it typed already")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(crate) async fn page(uri: Uri) -> Response {
    let pairs = query::pairs(uri.query().unwrap_or_default().as_bytes());
    let code = pairs.filter(|(name, _)| name == "user_code").map(|(_, value)| value).next();
    page::device(&shown(&code.unwrap_or_default()), None)
}

/// What the pages send, under its older path
#[utoipa::path(
    post,
    path = "/{tenant}/oauth2/deviceauth",
    tag = ISSUER,
    params(("tenant" = String, Path, description = "Anything")),
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The next page", body = String, content_type = "text/html"),
        (status = 400, description = "The page again, with what was wrong", body = String, content_type = "text/html"),
        (status = 408, description = "The request did not arrive in time", body = Envelope<'static>),
        (status = 429, description = "Too many wrong passwords or codes; see Retry-After", body = String, content_type = "text/html"),
        (status = 503, description = "Not ready; see Retry-After", body = Envelope<'static>),
    )
)]
pub(crate) async fn submit_of_tenant<S: Store + 'static, D: Directory + 'static>(
    state: Held<State<S, D>>,
    called: Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    submit(state, called, peer, request).await
}

/// What the pages send: first the code alone, then with it who signs in
#[utoipa::path(
    post,
    path = "/device",
    tag = ISSUER,
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The next page", body = String, content_type = "text/html"),
        (status = 400, description = "The page again, with what was wrong", body = String, content_type = "text/html"),
        (status = 408, description = "The request did not arrive in time", body = Envelope<'static>),
        (status = 429, description = "Too many wrong passwords or codes; see Retry-After", body = String, content_type = "text/html"),
        (status = 503, description = "Not ready; see Retry-After", body = Envelope<'static>),
    )
)]
pub(crate) async fn submit<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    Called(called): Called,
    peer: Peer,
    request: Request,
) -> Result<Response, OAuthError> {
    let shared = state.shared();
    let (parts, body) = request.into_parts();
    if is_from_elsewhere(&parts.headers, &called) {
        return Ok(page::device("", Some("The form was sent by another site.")));
    }
    let typed = Typed::of(&read(body, &shared.settings).await?);
    let directory = &*state.open()?.directory;
    let book = directory.book().await.map_err(unavailable)?;
    let no_such = || {
        let problem = "There is no such code, or it has expired. Look at it again, or start anew.";
        Ok(page::device(&shown(&typed.user_code), Some(problem)))
    };
    let Some(user_code) = typed_code(&typed.user_code) else { return no_such() };
    let from = Origin::of(peer.0);
    if let Err(seconds) = shared.strangers.type_code(from, shared.steady()) {
        return Ok(page::too_many_codes(&shown(&typed.user_code), seconds));
    }
    let found = waiting(shared, directory, &book, user_code).await?;
    let Some(found) = found else { return no_such() };
    shared.strangers.typed_well(from);
    if typed.declines {
        answer(shared, directory, &found, Answer::Declined).await?;
        let text = "The device was not signed in. You can close this page.";
        return Ok(page::message(StatusCode::OK, "Declined", text));
    }
    if typed.username.is_empty() && typed.password.is_empty() {
        return Ok(sign_in_page(&book, &found, "", None));
    }
    let organisation = found.application.organisation;
    match signin::sign_in(shared, &book, organisation, &typed.username, &typed.password, peer).await {
        Ok(user) => approve(shared, directory, &found, user).await,
        Err(error) => Ok(sign_in_page(&book, &found, &shown(&typed.username), Some(&error))),
    }
}

/// A code that waits, as somebody typed it.
struct Found<'a> {
    application: &'a Application,
    user_code: String,
    key: sighting::TicketKey,
    device: Device,
    expires_at: Second,
}

async fn waiting<'a, D: Directory>(
    shared: &Shared,
    directory: &D,
    book: &'a Book,
    user_code: String,
) -> Result<Option<Found<'a>>, OAuthError> {
    let now = shared.now().second();
    let typing = directory.ticket(key(TicketKind::UserCode, &user_code), now).await.map_err(unavailable)?;
    let Some(typing) = typing.as_ref().and_then(content::<Typing>) else { return Ok(None) };
    let key = sighting::TicketKey { kind: TicketKind::DeviceCode, sha256: typing.device_code };
    let Some(kept) = directory.ticket(key, now).await.map_err(unavailable)? else { return Ok(None) };
    let device = content::<Device>(&kept).filter(|device| matches!(device.answer, Answer::Pending));
    let Some(device) = device else { return Ok(None) };
    let id = Uuid::try_parse(&device.application).ok().map(ApplicationId);
    let Some(application) = id.and_then(|id| book.applications.get(&id)) else { return Ok(None) };
    Ok(Some(Found { application, user_code, key, device, expires_at: kept.expires_at }))
}

fn sign_in_page(book: &Book, found: &Found<'_>, name: &str, problem: Option<&OAuthError>) -> Response {
    let permissions = found.device.asked.granted(&found.application.sign_in.delegated).unwrap_or_default();
    page::sign_in(&SigningIn {
        book,
        application: found.application,
        permissions: &permissions,
        problem,
        name,
        whereto: Whereto::Device(&found.user_code),
    })
}

async fn approve<D: Directory>(
    shared: &Shared,
    directory: &D,
    found: &Found<'_>,
    user: &User,
) -> Result<Response, OAuthError> {
    let consented = found.device.asked.granted(&found.application.sign_in.delegated)?;
    let signed_in = SignedIn::new(user, found.application, &consented);
    answer(shared, directory, found, Answer::Approved(signed_in)).await?;
    let text = "The device is signed in. You can close this page.";
    Ok(page::message(StatusCode::OK, "Signed in", text))
}

/// Writes the answer down and lets nobody type the code again.
async fn answer<D: Directory>(
    shared: &Shared,
    directory: &D,
    found: &Found<'_>,
    answer: Answer,
) -> Result<(), OAuthError> {
    let now = shared.now().second();
    let user_key = key(TicketKind::UserCode, &found.user_code);
    // Of several who type it at once, one answers.
    if directory.take_ticket(user_key, now).await.map_err(unavailable)?.is_none() {
        return Err(OAuthError::BadDeviceCode);
    }
    let device = Device { answer, ..found.device.clone() };
    let answered = ticket(&device, found.expires_at)?;
    directory.replace_ticket(found.key, answered, now).await.map_err(unavailable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_as_people_type_them() {
        for (typed, expected) in [
            ("BCDF-GHJK", Some("BCDF-GHJK")),
            (" bcdf ghjk ", Some("BCDF-GHJK")),
            ("bcdfghjk", Some("BCDF-GHJK")),
            ("bcdfghj", None),
            ("bcdfghjkl", None),
            ("ÄÖÜ", None),
            ("", None),
        ] {
            assert_eq!(typed_code(typed).as_deref(), expected, "{typed}");
        }
    }
}
