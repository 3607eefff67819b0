//! Roles and who has them. Refuses to hold: accounts (`users`).

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Request, State as Held};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sighting::{
    Book, Change, Directory, Issuer, Member, MemberId, MemberKind, OrganisationId, Role, RoleId,
    RolePermission, Store, Uuid,
};
use utoipa::ToSchema;

use super::{Everything, Id, List, Manager, done};
use crate::error::{ApiError, Envelope};
use crate::openapi::ADMINISTRATION;
use crate::query;
use crate::state::State;

/// A role.
#[derive(Serialize, ToSchema)]
#[schema(as = Role)]
pub(crate) struct ShownRole {
    /// Its id.
    role: String,
    name: String,
    /// `view-data`, `manage-roles`, `manage-applications`, `manage-sources`, `manage-organisations`, `write-sightings`.
    permissions: Vec<&'static str>,
    members: Vec<ShownMember>,
    created_at: String,
}

/// A user or a group.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(crate) struct ShownMember {
    /// `user` or `group`.
    kind: &'static str,
    /// As its issuer's tokens have it.
    id: String,
    /// `built-in`, or the `iss` of its tokens.
    issuer: String,
}

impl ShownRole {
    fn of(role: &Role) -> ShownRole {
        let member = |member: &Member| ShownMember {
            kind: member.kind.name(),
            id: member.id.to_string(),
            issuer: member.issuer.to_string(),
        };
        ShownRole {
            role: role.id.to_string(),
            name: role.name.clone(),
            permissions: role.permissions.iter().map(|permission| permission.name()).collect(),
            members: role.members.iter().map(member).collect(),
            created_at: role.created_at.to_string(),
        }
    }
}

/// What a role is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRole {
    name: String,
    #[serde(default)]
    permissions: Vec<String>,
}

/// What is to be another; what is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleChange {
    name: Option<String>,
    permissions: Option<Vec<String>>,
}

/// Who is to have a role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMember {
    /// `user` or `group`.
    kind: String,
    /// As its issuer's tokens have it: `oid`, else `sub`; a group's id. An account here: its id.
    id: String,
    /// `built-in` (the default), or the `iss` of its tokens.
    #[serde(default)]
    issuer: Option<String>,
}

fn permissions(names: &[String]) -> Result<BTreeSet<RolePermission>, ApiError> {
    let unknown = |name: &String| ApiError::InvalidRequestBody {
        message: format!("There is no permission '{}'.", crate::error::shown(name)),
    };
    names.iter().map(|name| RolePermission::from_name(name).ok_or_else(|| unknown(name))).collect()
}

fn find(book: &Book, organisation: OrganisationId, id: Uuid) -> Result<&Role, ApiError> {
    let role = book.roles.get(&RoleId(id)).filter(|role| role.organisation == organisation);
    role.ok_or(ApiError::NoSuchThing)
}

impl NewMember {
    /// Who is meant; an account here must be one of the organisation.
    fn member(&self, book: &Book, organisation: OrganisationId) -> Result<Member, ApiError> {
        let invalid =
            |error: sighting::ChangeError| ApiError::InvalidRequestBody { message: super::sentence(&error) };
        let issuer = Issuer::new(self.issuer.as_deref().unwrap_or("built-in")).map_err(invalid)?;
        let kind = MemberKind::from_name(&self.kind)
            .ok_or_else(|| ApiError::InvalidRequestBody { message: "kind is user or group.".to_owned() })?;
        let id = MemberId::new(&self.id).map_err(invalid)?;
        let is_account =
            || book.user(organisation, id.as_str()).is_some_and(|user| user.id.to_string() == id.as_str());
        if issuer == Issuer::BuiltIn && kind == MemberKind::User && !is_account() {
            return Err(ApiError::InvalidRequestBody {
                message: "There is no account of this id; make it first.".to_owned(),
            });
        }
        Ok(Member { issuer, kind, id })
    }

    /// The same from a query.
    fn of_query(uri: &Uri) -> NewMember {
        let mut member = NewMember { kind: String::new(), id: String::new(), issuer: None };
        for (name, value) in query::pairs(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "kind" => member.kind = value.into_owned(),
                "id" => member.id = value.into_owned(),
                "issuer" => member.issuer = Some(value.into_owned()),
                _ => {}
            }
        }
        member
    }
}

/// The roles
#[utoipa::path(
    get,
    path = "/seenby/v1/roles",
    tag = ADMINISTRATION,
    responses(
        (status = 200, description = "All roles", body = List<ShownRole>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn list(manager: Manager) -> Result<Everything<ShownRole>, ApiError> {
    manager.authorise(RolePermission::ManageRoles)?;
    let roles = manager.book.roles.values().filter(|role| role.organisation == manager.organisation);
    Ok(List::of(roles.map(ShownRole::of)))
}

/// A new role
#[utoipa::path(
    post,
    path = "/seenby/v1/roles",
    tag = ADMINISTRATION,
    request_body = NewRole,
    responses(
        (status = 201, description = "The role", body = ShownRole),
        (status = 400, description = "The body makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing, or one that the role would give", body = Envelope<'static>),
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
    let (wanted, manager): (NewRole, _) =
        manager.wants(shared, directory, RolePermission::ManageRoles, request).await?;
    let permissions = permissions(&wanted.permissions)?;
    manager.may_hand_on(&permissions)?;
    let role = Role {
        id: RoleId(shared.random_uuid()),
        organisation: manager.organisation,
        name: wanted.name,
        permissions,
        members: BTreeSet::new(),
        created_at: shared.now().second(),
    };
    manager.commit(shared, directory, Change::AddRole(role.clone())).await?;
    Ok((StatusCode::CREATED, Json(ShownRole::of(&role))).into_response())
}

/// A role
#[utoipa::path(
    get,
    path = "/seenby/v1/roles/{role}",
    tag = ADMINISTRATION,
    params(("role" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The role", body = ShownRole),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such role", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn show(manager: Manager, Id(id): Id) -> Result<Json<ShownRole>, ApiError> {
    manager.authorise(RolePermission::ManageRoles)?;
    Ok(Json(ShownRole::of(find(&manager.book, manager.organisation, id)?)))
}

/// Another name or other permissions of a role
#[utoipa::path(
    patch,
    path = "/seenby/v1/roles/{role}",
    tag = ADMINISTRATION,
    params(("role" = String, Path, description = "Its id")),
    request_body = RoleChange,
    responses(
        (status = 200, description = "The role as it is now", body = ShownRole),
        (status = 400, description = "The body makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing, or one that the role would give", body = Envelope<'static>),
        (status = 404, description = "There is no such role", body = Envelope<'static>),
        (status = 409, description = "The name is taken", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn change<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    request: Request,
) -> Result<Json<ShownRole>, ApiError> {
    let (shared, directory) = (state.shared(), &*state.open()?.directory);
    let (wanted, manager): (RoleChange, _) =
        manager.wants(shared, directory, RolePermission::ManageRoles, request).await?;
    let permissions = wanted.permissions.as_deref().map(permissions).transpose()?;
    manager.may_hand_on(&find(&manager.book, manager.organisation, id)?.permissions)?;
    manager.may_hand_on(permissions.as_ref().unwrap_or(&BTreeSet::new()))?;
    let change = Change::ChangeRole { role: RoleId(id), name: wanted.name, permissions };
    manager.commit(shared, directory, change).await?;
    Ok(Json(ShownRole::of(find(&*directory.book().await?, manager.organisation, id)?)))
}

/// A role goes
#[utoipa::path(
    delete,
    path = "/seenby/v1/roles/{role}",
    tag = ADMINISTRATION,
    params(("role" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such role", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn remove<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
) -> Result<Response, ApiError> {
    manager.authorise(RolePermission::ManageRoles)?;
    manager.may_hand_on(&find(&manager.book, manager.organisation, id)?.permissions)?;
    manager.commit(state.shared(), &*state.open()?.directory, Change::RemoveRole(RoleId(id))).await?;
    Ok(done())
}

/// Somebody gets a role; whoever has it has it still
#[utoipa::path(
    put,
    path = "/seenby/v1/roles/{role}/members",
    tag = ADMINISTRATION,
    params(("role" = String, Path, description = "Its id")),
    request_body = NewMember,
    responses(
        (status = 204, description = "They have it from the next request on"),
        (status = 400, description = "The body makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing, or one that the role gives", body = Envelope<'static>),
        (status = 404, description = "There is no such role", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn grant<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    request: Request,
) -> Result<Response, ApiError> {
    let (shared, directory) = (state.shared(), &*state.open()?.directory);
    let (wanted, manager): (NewMember, _) =
        manager.wants(shared, directory, RolePermission::ManageRoles, request).await?;
    let role = find(&manager.book, manager.organisation, id)?;
    manager.may_hand_on(&role.permissions)?;
    let member = wanted.member(&manager.book, manager.organisation)?;
    manager.commit(shared, directory, Change::GrantRole(RoleId(id), member)).await?;
    Ok(done())
}

/// Somebody has a role no longer
#[utoipa::path(
    delete,
    path = "/seenby/v1/roles/{role}/members",
    tag = ADMINISTRATION,
    params(
        ("role" = String, Path, description = "Its id"),
        ("kind" = String, Query, description = "`user` or `group`"),
        ("id" = String, Query, description = "Their id"),
        ("issuer" = Option<String>, Query, description = "`built-in` (the default), or the `iss` of their tokens"),
    ),
    responses(
        (status = 204, description = "They do not have it from the next request on"),
        (status = 400, description = "They did not have it, or the query makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-roles is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such role", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn revoke<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, ApiError> {
    manager.authorise(RolePermission::ManageRoles)?;
    manager.may_hand_on(&find(&manager.book, manager.organisation, id)?.permissions)?;
    let member = NewMember::of_query(&uri).member(&manager.book, manager.organisation)?;
    let change = Change::RevokeRole(RoleId(id), member);
    manager.commit(state.shared(), &*state.open()?.directory, change).await?;
    Ok(done())
}
