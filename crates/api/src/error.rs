//! Everything that can go wrong with a call of the contract, and the only place that turns it into a response. The
//! words for the client and the cause for the log are kept apart. Refuses to hold: errors of the token endpoint (they
//! have OAuth's shape, see `oauth`) and the request id (the outermost layer adds it).
//!
//! A handler returns an [`ApiError`]; its response is empty and carries the error as an extension, and the layer that
//! knows the request id renders it: `{"error":{"code","message","target"}}`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sighting::{DirectoryError, OrganisationId, Permission, RolePermission, Second, StoreError, escape};
use utoipa::ToSchema;

use crate::limits::Refused;
use crate::oauth::OAuthError;
use crate::state::Millis;
use crate::token::TokenRefusal;

/// After how many seconds a caller may try again when the server cannot answer now; a guess at how long a store
/// takes to open or a burst to pass.
const RETRY_AFTER_S: u64 = 5;
/// Characters of a caller's text that a message repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// Why a call was not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ApiError {
    /// 400: the path names no address.
    InvalidIpAddress {
        /// What it names.
        text: String,
    },
    /// 400: a parameter is not what it must be.
    InvalidInput {
        /// Its name.
        parameter: &'static str,
        /// The smallest and the largest number that it may be.
        range: (u32, u32),
        /// What it is: the value, or why there is none.
        found: String,
    },
    /// 400: the request contradicts itself.
    BadRequest {
        /// How, as a sentence.
        problem: &'static str,
    },
    /// 421: the host that was called is none of this server's.
    MisdirectedRequest {
        /// What was called.
        host: String,
    },
    /// 401: there is no principal.
    Unauthorized(TokenRefusal),
    /// 401: the token was checked, and is for another resource than what it was shown for.
    ForAnother(Box<ForAnother>),
    /// 403: the caller may not do this.
    Forbidden(Box<Forbidden>),
    /// 404: the address is not in the kept data.
    ResourceNotFound {
        /// The address as it was asked for.
        text: String,
        /// Since when data are kept.
        kept_since: Second,
    },
    /// 403: what the caller is about to give to somebody else they have not themselves.
    CannotHandOn {
        /// What they lack.
        lacking: Vec<RolePermission>,
    },
    /// 400: the body of a request for administration makes no sense.
    InvalidRequestBody {
        /// What is wrong, as a sentence.
        message: String,
    },
    /// 404: the organisation has no such role, account or application.
    NoSuchThing,
    /// 409: something else has it.
    Conflict {
        /// What, as a sentence.
        message: String,
    },
    /// Records that a source sends were not taken in.
    NotReceived(Box<NotReceived>),
    /// 429: a limit is reached.
    TooManyRequests(Refused),
    /// 500: a fault of this server.
    Internal {
        /// For the log.
        cause: String,
    },
    /// 503: the store or the directory cannot answer now.
    Unavailable {
        /// For the log.
        cause: String,
    },
    /// 503: the token's issuer has not told its keys yet.
    NoIssuerKeys {
        /// The issuer, for the log.
        issuer: String,
        /// When it may be asked again.
        retry_after_s: u64,
    },
    /// 503: the store is still being opened.
    NotReady,
    /// 503: the answer took too long.
    TimedOut,
}

/// Why records were not taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotReceived {
    /// The HTTP status.
    pub status: StatusCode,
    /// What a person is told.
    pub message: String,
    /// For the log, where it says more.
    pub cause: Option<String>,
    /// When to send them again, where that helps.
    pub retry_after_s: Option<u64>,
}

impl NotReceived {
    fn code(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::NOT_FOUND => "ResourceNotFound",
            StatusCode::REQUEST_TIMEOUT => "RequestTimeout",
            StatusCode::PAYLOAD_TOO_LARGE => "RequestTooLarge",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "UnsupportedMediaType",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            _ => "BadRequest",
        }
    }
}

/// What a token, which was checked, is for, and what it would have to be for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForAnother {
    /// A resource whose tokens are taken.
    pub required: String,
    /// Which resource the token is for.
    pub audience: String,
    /// Which organisation it is for.
    pub organisation: OrganisationId,
}

/// What a caller lacks, and what its token, which was checked, has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forbidden {
    /// What is required and missing.
    pub lacking: Lacking,
    /// Which resource the token is for.
    pub audience: String,
    /// Which organisation it is for.
    pub organisation: OrganisationId,
}

/// What is required and missing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Lacking {
    /// The application has not the permission.
    Role {
        /// What the route needs.
        required: Permission,
        /// What the token has.
        roles: Vec<String>,
        /// Whether the application has the permission in the book now; `None` for one that the book does not know.
        granted: Option<bool>,
    },
    /// The token speaks for a user who did not let the application do this.
    Scope {
        /// What the route needs.
        required: Permission,
        /// What the token has.
        scopes: Vec<String>,
        /// Whether the application may do it for people in the book now; `None` for one that the book does not know.
        granted: Option<bool>,
    },
    /// The token speaks for a user without a role that allows this.
    Right {
        /// What the route needs.
        required: RolePermission,
        /// What the token has.
        scopes: Vec<String>,
        /// Whether the user has more groups than the token says.
        groups_overflowed: bool,
    },
}

impl ApiError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::InvalidIpAddress { .. }
            | ApiError::InvalidInput { .. }
            | ApiError::InvalidRequestBody { .. }
            | ApiError::BadRequest { .. } => StatusCode::BAD_REQUEST,
            ApiError::MisdirectedRequest { .. } => StatusCode::MISDIRECTED_REQUEST,
            ApiError::Unauthorized(_) | ApiError::ForAnother(_) => StatusCode::UNAUTHORIZED,
            ApiError::Forbidden(_) | ApiError::CannotHandOn { .. } => StatusCode::FORBIDDEN,
            ApiError::ResourceNotFound { .. } | ApiError::NoSuchThing => StatusCode::NOT_FOUND,
            ApiError::Conflict { .. } => StatusCode::CONFLICT,
            ApiError::NotReceived(not) => not.status,
            ApiError::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::Unavailable { .. }
            | ApiError::NoIssuerKeys { .. }
            | ApiError::NotReady
            | ApiError::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable code of the envelope.
    pub fn code(&self) -> &'static str {
        match self {
            ApiError::InvalidIpAddress { .. } => "InvalidIpAddress",
            ApiError::InvalidInput { .. } => "InvalidInput",
            ApiError::BadRequest { .. } => "BadRequest",
            ApiError::MisdirectedRequest { .. } => "MisdirectedRequest",
            ApiError::Unauthorized(_) | ApiError::ForAnother(_) => "Unauthorized",
            ApiError::InvalidRequestBody { .. } => "InvalidRequestBody",
            ApiError::Conflict { .. } => "Conflict",
            ApiError::Forbidden(_) | ApiError::CannotHandOn { .. } => "Forbidden",
            ApiError::ResourceNotFound { .. } | ApiError::NoSuchThing => "ResourceNotFound",
            ApiError::NotReceived(not) => not.code(),
            ApiError::TooManyRequests(_) => "TooManyRequests",
            ApiError::Internal { .. } => "InternalServerError",
            ApiError::Unavailable { .. }
            | ApiError::NoIssuerKeys { .. }
            | ApiError::NotReady
            | ApiError::TimedOut => "ServiceUnavailable",
        }
    }

    /// What a person is told: what is wrong and what to do.
    pub fn message(&self) -> String {
        match self {
            ApiError::InvalidIpAddress { text } => format!(
                "'{}' is not an IP address. Ask for one IPv4 or IPv6 address, without port, zone, prefix length or leading zeros.",
                shown(text)
            ),
            ApiError::InvalidInput { parameter, range: (least, most), found } => {
                format!("{parameter} must be one whole number from {least} to {most}; it is {found}.")
            }
            ApiError::BadRequest { problem } => (*problem).to_owned(),
            ApiError::MisdirectedRequest { host } => misdirected(host),
            ApiError::Unauthorized(refusal) => unauthorized(*refusal).to_owned(),
            ApiError::ForAnother(another) => another.message(),
            ApiError::Forbidden(forbidden) => forbidden.message(),
            ApiError::InvalidRequestBody { message } | ApiError::Conflict { message } => message.clone(),
            ApiError::NoSuchThing => {
                "The organization has nothing of this id. Look at the list for the ids that it has.".to_owned()
            }
            ApiError::CannotHandOn { lacking } => {
                let names: Vec<&str> = lacking.iter().map(|right| right.name()).collect();
                format!(
                    "Nobody can give what they do not have: this would give {}. Somebody who has it can.",
                    names.join(", ")
                )
            }
            ApiError::ResourceNotFound { text, kept_since } => format!(
                "No device of the organization opened a connection to {} in the kept data (since {kept_since}).",
                shown(text)
            ),
            ApiError::NotReceived(not) => not.message.clone(),
            ApiError::TooManyRequests(Refused { quota, calls_max, .. }) => {
                format!("API calls quota exceeded! maximum allowed {calls_max} per {}", quota.span())
            }
            ApiError::Internal { .. } => {
                "The server failed to answer. Its log has the cause under the request id in target."
                    .to_owned()
            }
            ApiError::Unavailable { .. } => {
                "The data cannot be read at the moment. Try again in a few seconds.".to_owned()
            }
            ApiError::NoIssuerKeys { .. } => {
                "The server cannot get the keys of the token's issuer at the moment. Try again later; the server's log has the cause."
                    .to_owned()
            }
            ApiError::NotReady => {
                "The server is starting and has not opened its data yet. Try again in a few seconds."
                    .to_owned()
            }
            ApiError::TimedOut => "The answer took too long. Try again in a few seconds.".to_owned(),
        }
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self {
            ApiError::NotReceived(not) => not.retry_after_s,
            ApiError::TooManyRequests(refused) => Some(refused.retry_after_s),
            ApiError::NoIssuerKeys { retry_after_s, .. } => Some(*retry_after_s),
            ApiError::Unavailable { .. } | ApiError::NotReady | ApiError::TimedOut => Some(RETRY_AFTER_S),
            _ => None,
        }
    }

    fn envelope(&self, request_id: &str) -> Response {
        let inner = Inner { code: self.code(), message: self.message(), target: request_id };
        let mut response = (self.status(), Json(Envelope { error: inner })).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// What the log says beyond the status and the code.
    fn cause(&self) -> Cow<'_, str> {
        match self {
            ApiError::Internal { cause } | ApiError::Unavailable { cause } => escape(cause),
            ApiError::NotReceived(not) => escape(not.cause.as_deref().unwrap_or(&not.message)),
            ApiError::Unauthorized(refusal) => Cow::Borrowed(refusal.label()),
            ApiError::NoIssuerKeys { issuer, .. } => Cow::Owned(format!("no keys of {}", escape(issuer))),
            other => Cow::Owned(other.message()),
        }
    }
}

/// Told alike at every route.
pub(crate) fn misdirected(host: &str) -> String {
    format!(
        "This server does not answer as '{}'. Call it by a name that it has, or list this host under [[endpoints]] in its settings.",
        shown(host)
    )
}

/// A token that is not to be believed is told nothing that helps to make a better one.
fn unauthorized(refusal: TokenRefusal) -> &'static str {
    match refusal {
        TokenRefusal::Missing => {
            "No access token was sent. Get one from the token endpoint and send it as 'Authorization: Bearer {token}'."
        }
        TokenRefusal::InQuery => {
            "An access token does not belong in the query string. Send it as 'Authorization: Bearer {token}', and get a new one: this one may be in logs."
        }
        TokenRefusal::Repeated => "Send exactly one Authorization header.",
        TokenRefusal::Expired => "The access token has expired. Get a new one from the token endpoint.",
        _ => {
            "The access token is not valid here. Get a new one from this server's token endpoint or an issuer that it trusts, for a resource that it serves."
        }
    }
}

impl ForAnother {
    /// What was required and what the token has; nothing that whoever asked for it does not know.
    fn message(&self) -> String {
        let ForAnother { required, audience, organisation } = self;
        let required = shown(required);
        let audience = if audience.is_empty() { "none".to_owned() } else { shown(audience) };
        format!(
            "The access token is for another resource. API required audience: {required}, token audience: {audience}. Get a new token for {required}. The token is for organization {organisation}."
        )
    }
}

impl Forbidden {
    /// What was required, what the token has, and what to do; nothing that the caller does not know.
    fn message(&self) -> String {
        let Forbidden { lacking, audience, organisation } = self;
        format!("{lacking} The token is for {}, organization {organisation}.", shown(audience))
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lacking::Role { required, roles, granted } => {
                let has_it = roles.iter().any(|role| role == required.name());
                let remedy = match (granted, has_it) {
                    (Some(true), _) => "Get a new token: this one is older than the permission.",
                    (Some(false), true) => {
                        "The permission was taken away from the application since this token was made."
                    }
                    (Some(false), false) => "Give the application the permission and get a new token.",
                    (None, _) => "Give the application the role at its issuer and get a new token.",
                };
                let (required, roles) = (required.name(), listed(roles));
                write!(
                    f,
                    "Missing application roles. API required roles: {required}, application roles: {roles}. {remedy}"
                )
            }
            Lacking::Scope { required, scopes, granted } => {
                let remedy = match granted {
                    Some(false) => {
                        "Let the application have it for people (seenby app change), and get a new token."
                    }
                    _ => "Let the application ask for the scope, let the user consent, and get a new token.",
                };
                let (required, scopes) = (required.name(), listed(scopes));
                write!(
                    f,
                    "Missing user scopes. API required scopes: {required}, token scopes: {scopes}. {remedy}"
                )
            }
            Lacking::Right { required, scopes, groups_overflowed } => {
                let remedy = if *groups_overflowed {
                    "The user's groups did not fit into the token, so roles of groups do not count: give a role to the user by id, or have the issuer write fewer groups (in Entra ID: those assigned to the application) and get a new token."
                } else {
                    "No such role names the user or a group that the token names; an administrator gives one, and the next call has it."
                };
                let (required, scopes) = (titled(*required), listed(scopes));
                write!(
                    f,
                    "Missing user role. API required: a role with {required}, token scopes: {scopes}. {remedy}"
                )
            }
        }
    }
}

/// A right as a sentence has it: `View Data`.
fn titled(right: RolePermission) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    right.name().split('-').map(word).collect::<Vec<_>>().join(" ")
}

/// What a token has, as a message shows it.
fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

/// A caller's text as a message may repeat it.
pub(crate) fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{}{more}", escape(&start))
}

/// An error of the contract.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Envelope<'a> {
    error: Inner<'a>,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorBody)]
struct Inner<'a> {
    /// Stable; for programs.
    code: &'static str,
    /// What is wrong and what to do; for people, and may change.
    message: String,
    /// The request id: also in the header `x-request-id` and in the server's log.
    target: &'a str,
}

impl From<TokenRefusal> for ApiError {
    fn from(refusal: TokenRefusal) -> ApiError {
        ApiError::Unauthorized(refusal)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::Unavailable(cause) => ApiError::Unavailable { cause },
            other => ApiError::Internal { cause: other.to_string() },
        }
    }
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> ApiError {
        match error {
            DirectoryError::Unavailable(cause) => ApiError::Unavailable { cause },
            other => ApiError::Internal { cause: other.to_string() },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Failure::Api(self).unrendered()
    }
}

/// An error on its way to the layer that renders it.
#[derive(Debug)]
pub(crate) enum Failure {
    Api(ApiError),
    OAuth(OAuthError),
}

/// The extension that carries it.
#[derive(Clone)]
struct Carried(Arc<Failure>);

impl Failure {
    /// A response with the right status and nothing else yet.
    pub(crate) fn unrendered(self) -> Response {
        let status = match &self {
            Failure::Api(error) => error.status(),
            Failure::OAuth(error) => error.status(),
        };
        let mut response = status.into_response();
        response.extensions_mut().insert(Carried(Arc::new(self)));
        response
    }

    /// The error that a response carries, if it is one.
    pub(crate) fn of(response: &mut Response) -> Option<Arc<Failure>> {
        response.extensions_mut().remove::<Carried>().map(|carried| carried.0)
    }

    /// The same in the shape that clients of the token endpoint read; a layer knows only the API's.
    pub(crate) fn for_oauth(self: Arc<Failure>) -> Arc<Failure> {
        match &*self {
            Failure::Api(error) => Arc::new(Failure::OAuth(OAuthError::from(error.clone()))),
            Failure::OAuth(_) => self,
        }
    }

    /// The response as the client gets it.
    pub(crate) fn render(&self, request_id: &str, now: Millis) -> Response {
        match self {
            Failure::Api(error) => error.envelope(request_id),
            Failure::OAuth(error) => error.body(request_id, now),
        }
    }

    /// The stable code, for the log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Failure::Api(error) => error.code(),
            Failure::OAuth(error) => error.error(),
        }
    }

    /// The cause, for the log only.
    pub(crate) fn cause(&self) -> Cow<'_, str> {
        match self {
            Failure::Api(error) => error.cause(),
            Failure::OAuth(error) => error.cause(),
        }
    }
}
