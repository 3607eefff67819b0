//! The caller's organisation, to be read. Refuses to hold: changes of it. Its name is told apart from those of others, which are not
//! theirs to know, and how long sightings are kept has a command of its own, which says what would be deleted and asks.

use axum::Json;
use serde::Serialize;
use sighting::{Organisation, RolePermission};
use utoipa::ToSchema;

use super::Manager;
use crate::error::{ApiError, Envelope};
use crate::openapi::ADMINISTRATION;

/// An organisation.
#[derive(Serialize, ToSchema)]
#[schema(as = Organisation)]
pub(crate) struct ShownOrganisation {
    /// Its id, the tenant of its tokens.
    tenant: String,
    name: String,
    /// How long sightings are kept: hours, or `forever`.
    retention: String,
}

impl ShownOrganisation {
    fn of(organisation: &Organisation) -> Json<ShownOrganisation> {
        Json(ShownOrganisation {
            tenant: organisation.id.to_string(),
            name: organisation.name.clone(),
            retention: organisation.retention.to_string(),
        })
    }
}

/// The organisation
#[utoipa::path(
    get,
    path = "/seenby/v1/organisation",
    tag = ADMINISTRATION,
    responses(
        (status = 200, description = "The organisation of the token", body = ShownOrganisation),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-organisations is missing", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn show(manager: Manager) -> Result<Json<ShownOrganisation>, ApiError> {
    manager.authorise(RolePermission::ManageOrganisations)?;
    let organisation = manager.book.organisations.get(&manager.organisation);
    organisation.map(ShownOrganisation::of).ok_or(ApiError::NoSuchThing)
}
