//! From a request to who asks: the extractors that a handler takes, in the order 401, 403, 429. Refuses to hold: how a
//! token is checked (`token`), how grants are counted (`limits`), and the words of a refusal (`error`).

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use sighting::{
    Application, Book, Directory, Issuer, Organisation, OrganisationId, Permission, Retention,
    RolePermission, Store, UserId,
};

use crate::called::AtEndpoint;
use crate::endpoints::Endpoint;
use crate::error::{ApiError, ForAnother, Forbidden, Lacking};
use crate::limits::Standing;
use crate::mint::Credential;
use crate::query;
use crate::settings::Limits;
use crate::state::{Shared, State};
use crate::token::{Audience, Bound, Claims, Client, Delegated, Rests, TOKEN_BYTES_MAX, TokenRefusal};

/// Who asks, as a checked token and the book say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// Whose devices it may ask about.
    pub organisation: OrganisationId,
    /// On whose behalf.
    pub holder: Holder,
}

/// On whose behalf a principal asks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Holder {
    /// An application for itself.
    Application(Client),
    /// An application for a user.
    User {
        /// The application, whose calls they are.
        client: Client,
        /// The user's id at the issuer of the token.
        user: Arc<str>,
    },
}

impl Holder {
    /// The application that sent the token.
    pub fn client(&self) -> &Client {
        match self {
            Holder::Application(client) | Holder::User { client, .. } => client,
        }
    }

    /// The user's id, if it is about one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Holder::Application(_) => None,
            Holder::User { user, .. } => Some(user),
        }
    }
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
    organisation: OrganisationId,
}

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<Caller, ApiError> {
        let open = state.open()?;
        let token = token_of(&parts.headers, &parts.uri)?;
        let book = open.directory.book().await?;
        let shared = state.shared();
        let claims = shared.checked.check(shared, &book, token).await?;
        let endpoint = parts.extensions.get::<AtEndpoint>().map(|at| &*at.0);
        let organisation = organisation_of(shared, &book, &claims)?;
        let caller = Caller { claims, book, organisation };
        caller.check_what_it_rests_on(shared, endpoint)?;
        // Last: what is wrong with the audience is told, so everything else must be good.
        caller.check_audience(shared, endpoint)?;
        if let Some(noted) = parts.extensions.get::<Noted>() {
            let _ = noted.0.principal.set(caller.principal());
        }
        Ok(caller)
    }
}

/// A caller that may read IP address profiles, and whose call was counted and granted.
pub(crate) struct IpReader {
    /// Whose devices it asks about.
    pub(crate) organisation: OrganisationId,
    /// How long that one keeps what it is told.
    pub(crate) retention: Retention,
}

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for IpReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<IpReader, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.authorise(Permission::IpReadAll, RolePermission::ViewData)?;
        let shared = state.shared();
        let (limits, client) = (caller.limits(shared)?, &caller.claims.client);
        let taken = shared.limiter.take(caller.organisation, client.id, limits, shared.steady());
        if let Some(noted) = parts.extensions.get::<Noted>() {
            let _ = noted.0.standing.set(taken.standing);
        }
        taken.granted.map_err(ApiError::TooManyRequests)?;
        shared.metrics.granted();
        let Organisation { id, retention, .. } = caller.organisation()?;
        Ok(IpReader { organisation: *id, retention: *retention })
    }
}

impl Caller {
    /// Whether the caller may do what a route is for. An application needs the permission: in the token, and at the
    /// built-in issuer in the book too. What was taken away is gone at once, what was given needs a new token, as
    /// everywhere that tokens carry roles. A user needs the scope of the same name, and a role of the organisation with the
    /// right.
    pub(crate) fn authorise(&self, required: Permission, right: RolePermission) -> Result<(), ApiError> {
        let lacking = match &self.claims.delegated {
            None => self.lacking_role(required)?,
            Some(user) => self.lacking_scope(user, required)?.or_else(|| self.lacking_right(user, right)),
        };
        let Some(lacking) = lacking else { return Ok(()) };
        let (audience, organisation) = (self.claims.audience.written().to_owned(), self.organisation);
        Err(ApiError::Forbidden(Box::new(Forbidden { lacking, audience, organisation })))
    }

    /// Whether the token is for a resource that is served where it was shown.
    fn check_audience(&self, shared: &Shared, endpoint: Option<&Endpoint>) -> Result<(), ApiError> {
        let is_taken = match &self.claims.audience {
            Audience::Ours(audience) => shared.is_taken_at(endpoint, audience),
            Audience::Another(_) => false,
        };
        if is_taken {
            return Ok(());
        }
        let issuer = match self.claims.rests {
            Rests::OnOurs { .. } => None,
            Rests::OnOutside { issuer, .. } => Some(issuer),
        };
        Err(ApiError::ForAnother(Box::new(ForAnother {
            required: shared.wanted_audience(endpoint, issuer),
            audience: self.claims.audience.written().to_owned(),
            organisation: self.organisation,
        })))
    }

    /// Whether what made the token good is so still: at every request, so that a change counts at the next.
    fn check_what_it_rests_on(
        &self,
        shared: &Shared,
        endpoint: Option<&Endpoint>,
    ) -> Result<(), TokenRefusal> {
        let application = self.application()?;
        match (&self.claims.rests, application) {
            (Rests::OnOurs { credential, user, password_set_at, .. }, Some(application)) => {
                if !Credential::is_current(*credential, application, shared.now().second()) {
                    return Err(TokenRefusal::EndedCredential);
                }
                self.check_user(*user, *password_set_at)
            }
            (Rests::OnOutside { issuer, .. }, _) => {
                let authority = endpoint.and_then(Endpoint::authority);
                let is_its = shared.issuers.signs_in_at(*issuer, authority);
                is_its.then_some(()).ok_or(TokenRefusal::Issuer)
            }
            (Rests::OnOurs { .. }, None) => Err(TokenRefusal::UnknownApplication),
        }
    }

    /// Somebody who is gone, or who has another password than the one that was typed for the token, is signed out.
    fn check_user(&self, user: Option<UserId>, password_set_at: Option<u32>) -> Result<(), TokenRefusal> {
        if self.claims.delegated.is_none() {
            return Ok(());
        }
        let user = user.and_then(|id| self.book.users.get(&id));
        let user = user.filter(|user| user.organisation == self.organisation);
        let is_current = user.is_some_and(|user| Some(user.password_set_at.unix()) == password_set_at);
        is_current.then_some(()).ok_or(TokenRefusal::UnknownUser)
    }

    fn lacking_role(&self, required: Permission) -> Result<Option<Lacking>, ApiError> {
        let roles = &self.claims.roles;
        let named = roles.iter().any(|role| role == required.name());
        let granted = self.application()?.map(|application| application.permissions.contains(&required));
        let has_it = named && granted != Some(false);
        Ok((!has_it).then(|| Lacking::Role { required, roles: roles.clone(), granted }))
    }

    fn lacking_scope(&self, user: &Delegated, required: Permission) -> Result<Option<Lacking>, ApiError> {
        let of_audience =
            format!("{}/{}", self.claims.audience.written().trim_end_matches('/'), required.name());
        let named = user.scopes.iter().any(|scope| scope == required.name() || *scope == of_audience);
        let granted =
            self.application()?.map(|application| application.sign_in.delegated.contains(&required));
        let has_it = named && granted != Some(false);
        Ok((!has_it).then(|| Lacking::Scope { required, scopes: user.scopes.clone(), granted }))
    }

    fn lacking_right(&self, user: &Delegated, required: RolePermission) -> Option<Lacking> {
        let has_it = user.issuers.iter().any(|issuer| {
            let groups = user.groups.iter().map(String::as_str);
            self.book.permissions_of(self.organisation, issuer, &user.user, groups).contains(&required)
        });
        (!has_it).then(|| Lacking::Right {
            required,
            scopes: user.scopes.clone(),
            groups_overflowed: user.groups_overflowed,
        })
    }

    /// Whose devices, roles and applications it is about.
    pub(crate) fn organisation_id(&self) -> OrganisationId {
        self.organisation
    }

    /// The same caller, held against the book as it is by now.
    pub(crate) fn held_against(self, shared: &Shared, book: Arc<Book>) -> Result<Caller, TokenRefusal> {
        let caller = Caller { book, ..self };
        organisation_of(shared, &caller.book, &caller.claims)?;
        caller.check_what_it_rests_on(shared, None)?;
        Ok(caller)
    }

    /// The book that the token was held against.
    pub(crate) fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// What a person may do by all of their roles; what an application may that manages the organisation for itself.
    pub(crate) fn rights(&self) -> BTreeSet<RolePermission> {
        let Some(user) = &self.claims.delegated else { return RolePermission::ALL.into() };
        let by = |issuer: &Issuer| {
            let groups = user.groups.iter().map(String::as_str);
            self.book.permissions_of(self.organisation, issuer, &user.user, groups)
        };
        user.issuers.iter().flat_map(by).collect()
    }

    /// Who it is, for the audit log.
    pub(crate) fn named(&self) -> String {
        let client = &self.claims.client.written;
        match &self.claims.delegated {
            None => format!("application {client}"),
            Some(user) => format!("user {} through application {client}", user.user),
        }
    }

    fn organisation(&self) -> Result<&Organisation, ApiError> {
        let found = self.book.organisations.get(&self.organisation);
        found.ok_or(ApiError::Unauthorized(TokenRefusal::UnknownOrganisation))
    }

    /// The application as the book has it; `None` for one of an outside issuer, which the book does not know.
    fn application(&self) -> Result<Option<&Application>, TokenRefusal> {
        match self.claims.organisation {
            Bound::Named(_) => Ok(None),
            Bound::Id(organisation) => {
                let found = self.book.applications.get(&self.claims.client.id);
                let found = found.filter(|application| application.organisation == organisation);
                found.map(Some).ok_or(TokenRefusal::UnknownApplication)
            }
        }
    }

    /// How often the application may call.
    fn limits(&self, shared: &Shared) -> Result<Limits, ApiError> {
        let own = match self.application()? {
            Some(application) => application.limits,
            None => shared.issuers.limits(self.claims.client.id),
        };
        Ok(shared.settings.limits.with(own))
    }

    fn principal(&self) -> Principal {
        let client = self.claims.client.clone();
        let holder = match &self.claims.delegated {
            None => Holder::Application(client),
            Some(user) => Holder::User { client, user: Arc::clone(&user.user) },
        };
        Principal { organisation: self.organisation, holder }
    }
}

/// The organisation of a token as it is now.
fn organisation_of(
    shared: &Shared,
    book: &Arc<Book>,
    claims: &Claims,
) -> Result<OrganisationId, TokenRefusal> {
    let id = match &claims.organisation {
        Bound::Id(id) => Some(*id),
        Bound::Named(name) => shared.issuers.organisation(book, name),
    };
    id.filter(|id| book.organisations.contains_key(id)).ok_or(TokenRefusal::UnknownOrganisation)
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
