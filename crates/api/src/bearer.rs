//! From a request to who asks: the extractors that a handler takes, in the order 401, 403, 429. Refuses to hold: how a
//! token is checked (`token`), how grants are counted (`limits`), and the words of a refusal (`error`).

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use sighting::{
    Application, ApplicationId, Book, Directory, Organisation, OrganisationId, Permission, Store,
};

use crate::called::AtEndpoint;
use crate::error::ApiError;
use crate::limits::Standing;
use crate::query;
use crate::state::{Shared, State};
use crate::token::{Claims, TOKEN_BYTES_MAX, TokenRefusal};

/// Who asks, as a checked token and the book say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Principal {
    /// Whose devices it may ask about.
    pub organisation: OrganisationId,
    /// On whose behalf.
    pub holder: Holder,
}

/// On whose behalf a principal asks. Users join here when delegated tokens are issued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Holder {
    /// An application for itself.
    Application(ApplicationId),
}

/// Where the extractors leave what the outermost layers say of a request, whatever becomes of it.
#[derive(Clone, Default)]
pub(crate) struct Noted(Arc<Notes>);

#[derive(Default)]
struct Notes {
    principal: OnceLock<Principal>,
    standing: OnceLock<Standing>,
}

impl Noted {
    /// Who asked, for the log line.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.0.principal.get()
    }

    /// How the application stands after this call, if it was one that counts.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.0.standing.get().copied()
    }
}

/// A caller with a valid token, whatever it may do.
pub(crate) struct Caller {
    claims: Arc<Claims>,
    book: Arc<Book>,
}

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<Caller, ApiError> {
        let open = state.open()?;
        let token = token_of(&parts.headers, &parts.uri).map_err(ApiError::Unauthorized)?;
        let book = open.directory.book().await?;
        let claims = claims_of(state.shared(), &book, token).map_err(ApiError::Unauthorized)?;
        let endpoint = parts.extensions.get::<AtEndpoint>().map(|at| &*at.0);
        if !state.shared().is_taken_at(endpoint, &claims.audience) {
            return Err(ApiError::Unauthorized(TokenRefusal::Audience));
        }
        let holder = Holder::Application(claims.application);
        if let Some(noted) = parts.extensions.get::<Noted>() {
            let _ = noted.0.principal.set(Principal { organisation: claims.organisation, holder });
        }
        Ok(Caller { claims, book })
    }
}

/// A caller that may read IP address profiles, and whose call was counted and granted.
pub(crate) struct IpReader {
    /// Whose devices it asks about.
    pub(crate) organisation: Organisation,
}

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for IpReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<IpReader, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let (organisation, application) = caller.entry()?;
        permitted(&caller.claims, application, Permission::IpReadAll)?;
        let shared = state.shared();
        let limits = shared.settings.limits.with(application.limits);
        let taken = shared.limiter.take(organisation.id, application.id, limits, shared.steady());
        if let Some(noted) = parts.extensions.get::<Noted>() {
            let _ = noted.0.standing.set(taken.standing);
        }
        taken.granted.map_err(ApiError::TooManyRequests)?;
        shared.metrics.granted();
        Ok(IpReader { organisation: organisation.clone() })
    }
}

impl Caller {
    fn entry(&self) -> Result<(&Organisation, &Application), ApiError> {
        in_book(&self.book, &self.claims).map_err(ApiError::Unauthorized)
    }
}

/// Both the token and the book must have the permission: what was taken away is gone at once, what was given needs a
/// new token, as everywhere that tokens carry roles.
fn permitted(claims: &Claims, application: &Application, required: Permission) -> Result<(), ApiError> {
    if let Some(scopes) = &claims.delegated {
        return Err(ApiError::NoUser { required, scopes: scopes.clone() });
    }
    let named = claims.roles.iter().any(|role| role == required.name());
    let granted = application.permissions.contains(&required);
    if named && granted {
        return Ok(());
    }
    Err(ApiError::Forbidden { required, roles: claims.roles.clone(), granted })
}

/// The one token of a request, where it belongs.
fn token_of<'a>(headers: &'a HeaderMap, uri: &Uri) -> Result<&'a str, TokenRefusal> {
    if query::has(uri.query().unwrap_or_default(), "access_token") {
        return Err(TokenRefusal::InQuery);
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenRefusal::Missing)?;
    if values.next().is_some() {
        return Err(TokenRefusal::Repeated);
    }
    let value = value.to_str().map_err(|_| TokenRefusal::NotBearer)?;
    let (scheme, token) = value.split_once(' ').ok_or(TokenRefusal::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(TokenRefusal::NotBearer);
    }
    let token = token.trim_matches(' ');
    if token.len() > TOKEN_BYTES_MAX { Err(TokenRefusal::TooLong) } else { Ok(token) }
}

fn claims_of(shared: &Shared, book: &Book, token: &str) -> Result<Arc<Claims>, TokenRefusal> {
    let ring = shared.keys.ring(book);
    let now_s = shared.now().0 / 1_000;
    let claims = shared.checked.check(shared, &ring, token, now_s)?;
    in_book(book, &claims)?;
    Ok(claims)
}

/// The organisation and the application of a token as they are now.
fn in_book<'a>(book: &'a Book, claims: &Claims) -> Result<(&'a Organisation, &'a Application), TokenRefusal> {
    let organisation =
        book.organisations.get(&claims.organisation).ok_or(TokenRefusal::UnknownOrganisation)?;
    let application = book
        .applications
        .get(&claims.application)
        .filter(|application| application.organisation == claims.organisation)
        .ok_or(TokenRefusal::UnknownApplication)?;
    Ok((organisation, application))
}
