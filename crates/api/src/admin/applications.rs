//! Applications, their secrets, certificates and limits. Refuses to hold: how any of them is checked, and how calls are counted.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Request, State as Held};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sighting::{
    Application, ApplicationId, Book, CallLimit, CallLimits, Certificate, Change, Directory, OrganisationId,
    Permission, RedirectUri, RolePermission, SECONDS_PER_HOUR, Secret, SignIn, SignInChange, Store, Uuid,
    hex,
};
use utoipa::ToSchema;

use super::{Everything, Id, List, Manager, done};
use crate::assertion::read_certificate;
use crate::error::{ApiError, Envelope, shown};
use crate::openapi::ADMINISTRATION;
use crate::query;
use crate::secret::new_secret;
use crate::state::{Shared, State};

/// The longest overlap of two secrets, in hours: a year.
const OVERLAP_HOURS_MAX: u32 = 8_784;

/// An application.
#[derive(Serialize, ToSchema)]
#[schema(as = Application)]
pub(crate) struct ShownApplication {
    /// The organisation's id.
    tenant: String,
    client_id: String,
    name: String,
    /// What it may do for itself.
    permissions: Vec<&'static str>,
    /// What it may do for people.
    delegated: Vec<&'static str>,
    redirect_uris: Vec<String>,
    device_code: bool,
    password_grant: bool,
    /// It has no secret.
    public: bool,
    created_at: String,
    secrets: Vec<ShownSecret>,
    certificates: Vec<ShownCertificate>,
    limits: ShownLimits,
    /// Only if it was made now: shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

/// A secret, without what is secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Secret)]
struct ShownSecret {
    created_at: String,
    expires_at: Option<String>,
}

/// A certificate that assertions may be signed with.
#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
struct ShownCertificate {
    sha256: String,
    sha1: String,
    not_before: String,
    not_after: String,
    created_at: String,
}

/// Call limits: a number, `off` or `default`.
#[derive(Serialize, ToSchema)]
#[schema(as = Limits)]
struct ShownLimits {
    per_minute: String,
    per_hour: String,
}

impl ShownApplication {
    fn of(application: &Application) -> ShownApplication {
        let Application { sign_in, limits, .. } = application;
        let names = |permissions: &BTreeSet<Permission>| permissions.iter().map(|it| it.name()).collect();
        let secret = |secret: &Secret| ShownSecret {
            created_at: secret.created_at.to_string(),
            expires_at: secret.expires_at.map(|end| end.to_string()),
        };
        ShownApplication {
            tenant: application.organisation.to_string(),
            client_id: application.id.to_string(),
            name: application.name.clone(),
            permissions: application.permissions.iter().map(|it| it.name()).collect(),
            delegated: names(&sign_in.delegated),
            redirect_uris: sign_in.redirect_uris.iter().map(RedirectUri::to_string).collect(),
            device_code: sign_in.device_code,
            password_grant: sign_in.password,
            public: sign_in.public,
            created_at: application.created_at.to_string(),
            secrets: application.secrets.iter().map(secret).collect(),
            certificates: application.certificates.iter().map(ShownCertificate::of).collect(),
            limits: ShownLimits {
                per_minute: limits.per_minute.to_string(),
                per_hour: limits.per_hour.to_string(),
            },
            client_secret: None,
        }
    }
}

impl ShownCertificate {
    fn of(certificate: &Certificate) -> ShownCertificate {
        ShownCertificate {
            sha256: hex(&certificate.sha256),
            sha1: hex(&certificate.sha1),
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
            created_at: certificate.created_at.to_string(),
        }
    }
}

/// A new application. It gets a secret, unless it is public.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApplication {
    name: String,
    /// What it may do for itself: `Ip.Read.All`, `Seenby.Manage`.
    #[serde(default)]
    permissions: Vec<String>,
    /// What it may do for people.
    #[serde(default)]
    delegated: Vec<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    device_code: bool,
    #[serde(default)]
    password_grant: bool,
    #[serde(default)]
    public: bool,
}

/// What is to be another; what is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationChange {
    permissions: Option<Vec<String>>,
    delegated: Option<Vec<String>>,
    redirect_uris: Option<Vec<String>>,
    device_code: Option<bool>,
    password_grant: Option<bool>,
    public: Option<bool>,
    limits: Option<LimitsChange>,
}

/// Call limits: a number as text, `off` or `default`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsChange {
    per_minute: Option<String>,
    per_hour: Option<String>,
}

/// Another secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the others are accepted still, in hours; 24 if nothing is said, 0 ends them at once.
    overlap_hours: Option<u32>,
}

/// Another certificate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCertificate {
    /// As PEM; the first one counts.
    certificate: String,
}

fn invalid(message: String) -> ApiError {
    ApiError::InvalidRequestBody { message }
}

fn permissions(names: &[String]) -> Result<BTreeSet<Permission>, ApiError> {
    let unknown = |name: &String| invalid(format!("There is no permission '{}'.", shown(name)));
    names.iter().map(|name| Permission::from_name(name).ok_or_else(|| unknown(name))).collect()
}

fn redirect_uris(texts: &[String]) -> Result<BTreeSet<RedirectUri>, ApiError> {
    let uri = |text: &String| RedirectUri::new(text).map_err(|error| invalid(super::sentence(&error)));
    texts.iter().map(uri).collect()
}

fn limit(text: Option<&String>) -> Result<Option<CallLimit>, ApiError> {
    let parse = |text: &String| {
        let refused = || invalid(format!("'{}' is no call limit: a number, off or default.", shown(text)));
        CallLimit::parse(text).ok_or_else(refused)
    };
    text.map(parse).transpose()
}

fn find(book: &Book, organisation: OrganisationId, id: Uuid) -> Result<&Application, ApiError> {
    let found = book.applications.get(&ApplicationId(id));
    found.filter(|application| application.organisation == organisation).ok_or(ApiError::NoSuchThing)
}

/// A new secret with its hash.
fn secret(shared: &Shared) -> (String, Secret) {
    let (plain, sha256) = new_secret(|bytes| bytes.copy_from_slice(&shared.random::<32>()));
    let secret = Secret { sha256, created_at: shared.now().second(), expires_at: None };
    (plain.reveal().to_owned(), secret)
}

/// The application as it is now, as an answer.
async fn as_it_is<D: Directory>(
    directory: &D,
    manager: &Manager,
    id: Uuid,
    client_secret: Option<String>,
) -> Result<Json<ShownApplication>, ApiError> {
    let book = directory.book().await?;
    let application = find(&book, manager.organisation, id)?;
    Ok(Json(ShownApplication { client_secret, ..ShownApplication::of(application) }))
}

/// The applications
#[utoipa::path(
    get,
    path = "/seenby/v1/applications",
    tag = ADMINISTRATION,
    responses(
        (status = 200, description = "All applications", body = List<ShownApplication>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn list(manager: Manager) -> Result<Everything<ShownApplication>, ApiError> {
    manager.authorise(RolePermission::ManageApplications)?;
    let all = manager.book.applications.values();
    let ours = all.filter(|application| application.organisation == manager.organisation);
    Ok(List::of(ours.map(ShownApplication::of)))
}

/// A new application; its secret is shown this once
#[utoipa::path(
    post,
    path = "/seenby/v1/applications",
    tag = ADMINISTRATION,
    request_body = NewApplication,
    responses(
        (status = 201, description = "The application", body = ShownApplication),
        (status = 400, description = "The body makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing, or one that the application would give", body = Envelope<'static>),
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
    let (wanted, manager): (NewApplication, _) =
        manager.wants(shared, directory, RolePermission::ManageApplications, request).await?;
    let permissions = permissions(&wanted.permissions)?;
    let delegated = self::permissions(&wanted.delegated)?;
    manager.may_hand_on_application(permissions.iter().chain(&delegated).copied())?;
    let sign_in = SignIn {
        delegated,
        redirect_uris: redirect_uris(&wanted.redirect_uris)?,
        device_code: wanted.device_code,
        password: wanted.password_grant,
        public: wanted.public,
    };
    let (plain, secret) = secret(shared);
    let application = Application {
        id: ApplicationId(shared.random_uuid()),
        organisation: manager.organisation,
        name: wanted.name,
        permissions: permissions.into_iter().collect(),
        secrets: if sign_in.public { Vec::new() } else { vec![secret] },
        sign_in,
        certificates: Vec::new(),
        limits: CallLimits::default(),
        created_at: shared.now().second(),
    };
    let change = Change::AddApplication(application.clone());
    manager.commit(shared, directory, change).await?;
    let client_secret = Some(plain).filter(|_| !application.sign_in.public);
    let shown = ShownApplication { client_secret, ..ShownApplication::of(&application) };
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// An application
#[utoipa::path(
    get,
    path = "/seenby/v1/applications/{application}",
    tag = ADMINISTRATION,
    params(("application" = String, Path, description = "Its client id")),
    responses(
        (status = 200, description = "The application", body = ShownApplication),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such application", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn show(manager: Manager, Id(id): Id) -> Result<Json<ShownApplication>, ApiError> {
    manager.authorise(RolePermission::ManageApplications)?;
    Ok(Json(ShownApplication::of(find(&manager.book, manager.organisation, id)?)))
}

/// Changes the permissions of an application, how people sign in through it, its limits
#[utoipa::path(
    patch,
    path = "/seenby/v1/applications/{application}",
    tag = ADMINISTRATION,
    params(("application" = String, Path, description = "Its client id")),
    request_body = ApplicationChange,
    responses(
        (status = 200, description = "The application as it is now", body = ShownApplication),
        (status = 400, description = "The body makes no sense", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing, or one that the application has or would give", body = Envelope<'static>),
        (status = 404, description = "There is no such application", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn change<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    request: Request,
) -> Result<Json<ShownApplication>, ApiError> {
    let (shared, directory) = (state.shared(), &*state.open()?.directory);
    let (wanted, manager): (ApplicationChange, _) =
        manager.wants(shared, directory, RolePermission::ManageApplications, request).await?;
    let application = find(&manager.book, manager.organisation, id)?;
    manager.may_act_as(application)?;
    let permissions = wanted.permissions.as_deref().map(permissions).transpose()?;
    manager.may_hand_on_application(permissions.iter().flatten().copied())?;
    let sign_in = sign_in_of(&wanted)?;
    manager.may_hand_on_application(sign_in.delegated.iter().flatten().copied())?;
    let limits = wanted.limits.as_ref();
    let per_minute = limit(limits.and_then(|limits| limits.per_minute.as_ref()))?;
    let per_hour = limit(limits.and_then(|limits| limits.per_hour.as_ref()))?;
    let id_of = application.id;
    if permissions.is_some() || sign_in.applied_to(&application.sign_in) != application.sign_in {
        let change = Change::ChangeApplication { application: id_of, permissions, sign_in };
        manager.commit(shared, directory, change).await?;
    }
    if per_minute.is_some() || per_hour.is_some() {
        let change = Change::SetLimits { application: id_of, per_minute, per_hour };
        manager.commit(shared, directory, change).await?;
    }
    as_it_is(directory, &manager, id, None).await
}

fn sign_in_of(wanted: &ApplicationChange) -> Result<SignInChange, ApiError> {
    Ok(SignInChange {
        delegated: wanted.delegated.as_deref().map(permissions).transpose()?,
        redirect_uris: wanted.redirect_uris.as_deref().map(redirect_uris).transpose()?,
        device_code: wanted.device_code,
        password: wanted.password_grant,
        public: wanted.public,
    })
}

/// An application goes; its tokens are refused from the next request on
#[utoipa::path(
    delete,
    path = "/seenby/v1/applications/{application}",
    tag = ADMINISTRATION,
    params(("application" = String, Path, description = "Its client id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such application", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn remove<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
) -> Result<Response, ApiError> {
    manager.authorise(RolePermission::ManageApplications)?;
    let application = find(&manager.book, manager.organisation, id)?;
    manager.may_act_as(application)?;
    let change = Change::RemoveApplication(application.id);
    manager.commit(state.shared(), &*state.open()?.directory, change).await?;
    Ok(done())
}

/// Another secret of an application, shown this once; the others go on for a while
#[utoipa::path(
    post,
    path = "/seenby/v1/applications/{application}/secrets",
    tag = ADMINISTRATION,
    params(("application" = String, Path, description = "Its client id")),
    request_body = Rotation,
    responses(
        (status = 200, description = "The application with its new secret", body = ShownApplication),
        (status = 400, description = "The body makes no sense, or the application is public", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing, or one that the application has", body = Envelope<'static>),
        (status = 404, description = "There is no such application", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn rotate<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    request: Request,
) -> Result<Json<ShownApplication>, ApiError> {
    let (shared, directory) = (state.shared(), &*state.open()?.directory);
    let (wanted, manager): (Rotation, _) =
        manager.wants(shared, directory, RolePermission::ManageApplications, request).await?;
    let application = find(&manager.book, manager.organisation, id)?;
    manager.may_act_as(application)?;
    let now = shared.now().second();
    let others_until = match wanted.overlap_hours.unwrap_or(24) {
        // Accepted up to and including the last second: that second is past.
        0 => now.minus(1),
        hours if hours <= OVERLAP_HOURS_MAX => now.plus(u64::from(hours) * u64::from(SECONDS_PER_HOUR)),
        _ => return Err(invalid(format!("overlap_hours is at most {OVERLAP_HOURS_MAX}."))),
    };
    let (plain, secret) = secret(shared);
    let change = Change::RotateSecret { application: application.id, secret, others_until };
    manager.commit(shared, directory, change).await?;
    as_it_is(directory, &manager, id, Some(plain)).await
}

/// Another certificate of an application
#[utoipa::path(
    post,
    path = "/seenby/v1/applications/{application}/certificates",
    tag = ADMINISTRATION,
    params(("application" = String, Path, description = "Its client id")),
    request_body = NewCertificate,
    responses(
        (status = 200, description = "The application as it is now", body = ShownApplication),
        (status = 400, description = "It is no certificate with an RSA key, or the application is public", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing, or one that the application has", body = Envelope<'static>),
        (status = 404, description = "There is no such application", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn add_certificate<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    request: Request,
) -> Result<Json<ShownApplication>, ApiError> {
    let (shared, directory) = (state.shared(), &*state.open()?.directory);
    let (wanted, manager): (NewCertificate, _) =
        manager.wants(shared, directory, RolePermission::ManageApplications, request).await?;
    let application = find(&manager.book, manager.organisation, id)?;
    manager.may_act_as(application)?;
    let certificate = read_certificate(wanted.certificate.as_bytes(), shared.now().second())
        .map_err(|error| invalid(super::sentence(&error)))?;
    manager.commit(shared, directory, Change::AddCertificate(application.id, certificate)).await?;
    as_it_is(directory, &manager, id, None).await
}

/// A certificate of an application goes; tokens that were got by it are refused from the next request on
#[utoipa::path(
    delete,
    path = "/seenby/v1/applications/{application}/certificates",
    tag = ADMINISTRATION,
    params(
        ("application" = String, Path, description = "Its client id"),
        ("sha256" = String, Query, description = "Of the certificate, in hexadecimal digits"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The application has no such certificate", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The right manage-applications is missing", body = Envelope<'static>),
        (status = 404, description = "There is no such application", body = Envelope<'static>),
    ),
    security(("token" = ["Seenby.Manage"]))
)]
pub(crate) async fn remove_certificate<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    manager: Manager,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, ApiError> {
    manager.authorise(RolePermission::ManageApplications)?;
    let application = find(&manager.book, manager.organisation, id)?;
    manager.may_act_as(application)?;
    let pairs = query::pairs(uri.query().unwrap_or_default().as_bytes());
    let wanted = pairs.filter(|(name, _)| name == "sha256").map(|(_, value)| value.to_lowercase()).next();
    let is_it = |certificate: &&Certificate| Some(ShownCertificate::of(certificate).sha256) == wanted;
    let certificate = application.certificates.iter().find(is_it);
    let sha256 = certificate.map_or([0; 32], |certificate| certificate.sha256);
    let change = Change::RemoveCertificate(application.id, sha256);
    manager.commit(state.shared(), &*state.open()?.directory, change).await?;
    Ok(done())
}
