//! Accounts of people who sign in here. Refuses to hold: their roles (`roles`), and people of other issuers.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Request, State as Held};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sighting::{Book, Change, Directory, Issuer, RolePermission, Store, User, UserId, Uuid};
use utoipa::ToSchema;

use super::{Everything, Id, List, Manager, done};
use crate::error::{ApiError, Envelope};
use crate::openapi::ADMINISTRATION;
use crate::secret::new_secret;
use crate::state::{Shared, State};
use crate::throttle::Origin;

/// An account.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct ShownUser {
    /// Their id: the `oid` of their tokens.
    user: String,
    name: String,
    /// What they may do by all of their roles.
    permissions: Vec<&'static str>,
    created_at: String,
    password_set_at: String,
    /// Only if it was made now: shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl ShownUser {
    fn of(book: &Book, user: &User) -> ShownUser {
        ShownUser {
            user: user.id.to_string(),
            name: user.name.clone(),
            permissions: rights(book, user).iter().map(|permission| permission.name()).collect(),
            created_at: user.created_at.to_string(),
            password_set_at: user.password_set_at.to_string(),
            password: None,
        }
    }
}

/// A new account. Without a password one is made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// What they type to sign in.
    name: String,
    password: Option<String>,
}

/// Another password. Without one it is made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    password: Option<String>,
}

fn rights(book: &Book, user: &User) -> BTreeSet<RolePermission> {
    book.permissions_of(user.organisation, &Issuer::BuiltIn, &user.id.to_string(), [])
}

fn find(manager: &Manager, id: Uuid) -> Result<&User, ApiError> {
    let user = manager.book.users.get(&UserId(id)).filter(|user| user.organisation == manager.organisation);
    user.ok_or(ApiError::NoSuchThing)
}

/// A password as it is kept, and as it is shown if it was made.
async fn hashed(
    shared: &Shared,
    wanted: Option<String>,
) -> Result<(sighting::PasswordHash, Option<String>), ApiError> {
    let made = wanted.is_none().then(|| {
        let (plain, _) = new_secret(|bytes| bytes.copy_from_slice(&shared.random::<32>()));
        plain.reveal().to_owned()
    });
    let password = made.clone().or(wanted).unwrap_or_default();
    let hash =
        shared.hashing.hash(&password, shared.random(), Origin::of(None)).await.map_err(|_| {
            ApiError::Unavailable { cause: "too many passwords are hashed at once".to_owned() }
        })?;
    let hash = hash.map_err(|error| ApiError::InvalidRequestBody { message: super::sentence(&error) })?;
    Ok((hash, made))
}

/// The accounts
#[utoipa::path(
    get,
    path = "/seenby/v1/users",
    tag = ADMINISTRATION,
    responses(
        (status = 200, description = "All accounts", body = List<ShownUser>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn list(manager: Manager) -> Result<Everything<ShownUser>, ApiError> {
    manager.authorise(RolePermission::ManageRoles)?;
    let users = manager.book.users.values().filter(|user| user.organisation == manager.organisation);
    Ok(List::of(users.map(|user| ShownUser::of(&manager.book, user))))
}

/// A new account; a password that is made is shown this once
#[utoipa::path(
    post,
    path = "/seenby/v1/users",
    tag = ADMINISTRATION,
    request_body = NewUser,
    responses(
        (status = 201, description = "The account", body = ShownUser),
        (status = 400, description = "The body makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
        (status = 409, description = "The name is taken", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn add<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    request: Request,
) -> Result<Response, ApiError> {
    let (shared, directory) = (state.shared(), &*state.open()?.directory);
    let (wanted, manager): (NewUser, _) =
        manager.wants(shared, directory, RolePermission::ManageRoles, request).await?;
    let (password, made) = hashed(shared, wanted.password).await?;
    let manager = manager.now(shared, directory, RolePermission::ManageRoles).await?;
    let now = shared.now().second();
    let user = User {
        id: UserId(shared.random_uuid()),
        organisation: manager.organisation,
        name: wanted.name,
        password,
        password_set_at: now,
        created_at: now,
    };
    manager.commit(shared, directory, Change::AddUser(user.clone())).await?;
    let shown = ShownUser { password: made, ..ShownUser::of(&manager.book, &user) };
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// An account
#[utoipa::path(
    get,
    path = "/seenby/v1/users/{user}",
    tag = ADMINISTRATION,
    params(("user" = String, Path, description = "Their id")),
    responses(
        (status = 200, description = "The account", body = ShownUser),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such account", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn show(manager: Manager, Id(id): Id) -> Result<Json<ShownUser>, ApiError> {
    manager.authorise(RolePermission::ManageRoles)?;
    Ok(Json(ShownUser::of(&manager.book, find(&manager, id)?)))
}

/// An account goes, with its roles
#[utoipa::path(
    delete,
    path = "/seenby/v1/users/{user}",
    tag = ADMINISTRATION,
    params(("user" = String, Path, description = "Their id")),
    responses(
        (status = 204, description = "It is gone, and so is what it was given"),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such account", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn remove<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
) -> Result<Response, ApiError> {
    manager.authorise(RolePermission::ManageRoles)?;
    let user = find(&manager, id)?;
    manager.may_hand_on(&rights(&manager.book, user))?;
    manager.commit(state.shared(), &*state.open()?.directory, Change::RemoveUser(user.id)).await?;
    Ok(done())
}

/// Another password of an account; whoever is signed in as it is so no longer
#[utoipa::path(
    post,
    path = "/seenby/v1/users/{user}/password",
    tag = ADMINISTRATION,
    params(("user" = String, Path, description = "Their id")),
    request_body = NewPassword,
    responses(
        (status = 200, description = "The account; a password that was made is shown this once", body = ShownUser),
        (status = 400, description = "The body makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing, or one that they have", body = Envelope<'static>),
        (status = 404, description = "There is no such account", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn set_password<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    request: Request,
) -> Result<Response, ApiError> {
    let (shared, directory) = (state.shared(), &*state.open()?.directory);
    let (wanted, manager): (NewPassword, _) =
        manager.wants(shared, directory, RolePermission::ManageRoles, request).await?;
    // Whoever knows somebody's password is them.
    manager.may_hand_on(&rights(&manager.book, find(&manager, id)?))?;
    let (password, made) = hashed(shared, wanted.password).await?;
    let manager = manager.now(shared, directory, RolePermission::ManageRoles).await?;
    let user = find(&manager, id)?;
    manager.may_hand_on(&rights(&manager.book, user))?;
    let at = shared.now().second().max(user.password_set_at.plus(1));
    let change = Change::SetPassword { user: user.id, password, at };
    manager.commit(shared, directory, change).await?;
    let shown =
        ShownUser { password: made, password_set_at: at.to_string(), ..ShownUser::of(&manager.book, user) };
    Ok(Json(shown).into_response())
}
