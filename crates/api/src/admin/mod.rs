//! Administration of an organisation over HTTP, by people with roles and by applications that were given it. Refuses to hold:
//! organisations other than the caller's, how long sightings are kept (its own command asks first), and the audit log, which is
//! of all organisations.
//!
//! What is needed: a token with `Seenby.Manage`, of an application as a role, for a person as a scope, and for a person a role
//! with the right of the route. Nobody hands on what they have not: a right that somebody lacks they cannot give, neither in a
//! role nor with an application's secret nor with another person's password.

pub(crate) mod applications;
pub(crate) mod organisation;
pub(crate) mod roles;
pub(crate) mod users;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use sighting::{
    Actor, Application, Book, Change, ChangeError, Directory, DirectoryError, OrganisationId, Permission,
    RolePermission, Store, Uuid,
};

use crate::bearer::Caller;
use crate::error::ApiError;
use crate::state::{Shared, State};

/// The largest body that is read, in bytes: a certificate takes a few thousand.
const BODY_BYTES_MAX: usize = 64 * 1_024;

/// Somebody who may manage something of their organisation; which right a route needs is asked by the route.
pub(crate) struct Manager {
    caller: Caller,
    pub(crate) organisation: OrganisationId,
    pub(crate) book: Arc<Book>,
}

impl<S: Store + 'static, D: Directory + 'static> FromRequestParts<State<S, D>> for Manager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State<S, D>) -> Result<Manager, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let (organisation, book) = (caller.organisation_id(), Arc::clone(caller.book()));
        Ok(Manager { caller, organisation, book })
    }
}

impl Manager {
    /// Whether they have a right.
    pub(crate) fn authorise(&self, right: RolePermission) -> Result<(), ApiError> {
        self.caller.authorise(Permission::Manage, right)
    }

    /// What they may do, and so what they may hand on.
    fn rights(&self) -> BTreeSet<RolePermission> {
        self.caller.rights()
    }

    /// Whether they have everything that they are about to hand on.
    pub(crate) fn may_hand_on(&self, rights: &BTreeSet<RolePermission>) -> Result<(), ApiError> {
        let own = self.rights();
        let lacking: Vec<RolePermission> = rights.difference(&own).copied().collect();
        if lacking.is_empty() { Ok(()) } else { Err(ApiError::CannotHandOn { lacking }) }
    }

    /// The same for what an application may do, for itself or for people.
    pub(crate) fn may_hand_on_application(
        &self,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Result<(), ApiError> {
        let rights: BTreeSet<RolePermission> = permissions.into_iter().flat_map(rights_of).collect();
        self.may_hand_on(&rights)
    }

    /// Everything that an application may do for itself, and for the people who trust it: whoever can change where those are
    /// sent back, or has its secret, has that.
    pub(crate) fn may_act_as(&self, application: &Application) -> Result<(), ApiError> {
        let own = application.permissions.iter().copied();
        self.may_hand_on_application(own.chain(application.sign_in.delegated.iter().copied()))
    }

    /// What somebody with a right wants, as the body says, and who they are by then: it may have taken its time, and meanwhile
    /// they may have lost the right.
    pub(crate) async fn wants<T: DeserializeOwned, D: Directory>(
        self,
        shared: &Shared,
        directory: &D,
        right: RolePermission,
        request: Request,
    ) -> Result<(T, Manager), ApiError> {
        self.authorise(right)?;
        let wanted = body(shared, request).await?;
        Ok((wanted, self.now(shared, directory, right).await?))
    }

    /// The same somebody as they are now.
    pub(crate) async fn now<D: Directory>(
        self,
        shared: &Shared,
        directory: &D,
        right: RolePermission,
    ) -> Result<Manager, ApiError> {
        let book = directory.book().await?;
        let caller = self.caller.held_against(shared, Arc::clone(&book))?;
        let manager = Manager { caller, book, ..self };
        manager.authorise(right)?;
        Ok(manager)
    }

    /// Who makes a change, for the audit log.
    fn actor(&self) -> Actor {
        Actor(self.caller.named())
    }

    /// Makes a change in their name.
    pub(crate) async fn commit<D: Directory>(
        &self,
        shared: &Shared,
        directory: &D,
        change: Change,
    ) -> Result<(), ApiError> {
        directory.commit(change, self.actor(), shared.now().second()).await.map_err(refused)
    }
}

/// What an application with a permission of its own can do, in the words of people's rights.
fn rights_of(permission: Permission) -> Vec<RolePermission> {
    match permission {
        Permission::IpReadAll => vec![RolePermission::ViewData],
        Permission::Manage => RolePermission::ALL.to_vec(),
    }
}

/// A change that makes no sense is the caller's to mend.
fn refused(error: DirectoryError) -> ApiError {
    match error {
        DirectoryError::Change(ChangeError::NameTaken(name)) => {
            ApiError::Conflict { message: format!("The name '{}' is taken.", crate::error::shown(&name)) }
        }
        DirectoryError::Change(change) => ApiError::InvalidRequestBody { message: sentence(&change) },
        other => other.into(),
    }
}

/// An error as a sentence.
fn sentence(error: &impl ToString) -> String {
    let text = sighting::escape(&error.to_string()).into_owned();
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// The body of a request as JSON; a field that is not known is told, because it was meant to do something.
async fn body<T: DeserializeOwned>(shared: &Shared, request: Request) -> Result<T, ApiError> {
    let invalid = |message: String| ApiError::InvalidRequestBody { message };
    let reading = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let read = tokio::time::timeout(shared.settings.form_timeout, reading).await;
    let read = read.map_err(|_| invalid("The body did not arrive in time.".to_owned()))?;
    let bytes = read
        .map_err(|_| {
            invalid(format!("The body did not arrive whole, or has more than {BODY_BYTES_MAX} bytes."))
        })?
        .to_bytes();
    // A request for nothing in particular may come without a body.
    let bytes = if bytes.is_empty() { b"{}".as_slice().into() } else { bytes };
    serde_json::from_slice(&bytes).map_err(|error| {
        invalid(format!(
            "The body is not the JSON that is expected: {}.",
            sighting::escape(&error.to_string())
        ))
    })
}

/// The id in a path.
pub(crate) struct Id(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text);
        let id = text.ok().and_then(|text| Uuid::try_parse(&text).ok());
        id.map(Id).ok_or(ApiError::NoSuchThing)
    }
}

/// A page of things.
pub(crate) type Everything<T> = axum::Json<List<T>>;

/// A list as JSON, as the contract's collections are written.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(crate) struct List<T> {
    value: Vec<T>,
}

impl<T> List<T> {
    pub(crate) fn of(value: impl IntoIterator<Item = T>) -> Everything<T> {
        axum::Json(List { value: value.into_iter().collect() })
    }
}

/// An answer without a body, for what was done.
pub(crate) fn done() -> axum::response::Response {
    let mut response = axum::response::Response::new(Body::empty());
    *response.status_mut() = axum::http::StatusCode::NO_CONTENT;
    response
}
