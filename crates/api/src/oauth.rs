//! Everything that can go wrong at the token endpoint, in the shape that OAuth clients read, with the numbers that
//! clients of the original know. Refuses to hold: secrets (an error never repeats one) and errors of the API itself.

use std::borrow::Cow;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sighting::{ApplicationId, escape};
use utoipa::ToSchema;

use crate::assertion::AssertionRefusal;
use crate::error::{ApiError, Failure, misdirected, shown};
use crate::state::Millis;

/// After how many seconds a client may try again.
const RETRY_AFTER_S: u64 = 5;

/// Why no token was given.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OAuthError {
    /// A parameter is not there.
    Missing(&'static str),
    /// A parameter is there twice.
    Repeated(&'static str),
    /// The form is larger than the server reads.
    TooLarge,
    /// The body ended in the middle or was cut wrongly.
    BrokenBody,
    /// The body did not arrive in time.
    SlowBody,
    /// The request contradicts itself.
    BadRequest(&'static str),
    /// The host that was called is none of this server's.
    Misdirected(String),
    /// The grant is not one that this server gives.
    UnsupportedGrant(String),
    /// There is no such application in the organisation.
    UnknownApplication(String),
    /// Neither a secret nor a header with one.
    NoSecret,
    /// The secret is not the application's.
    WrongSecret(ApplicationId),
    /// The secret was the application's once.
    ExpiredSecret(ApplicationId),
    /// The scope is not `{resource}/.default`.
    BadScope(String),
    /// The resource is none that this server grants.
    UnknownResource(String),
    /// The assertion proves nothing.
    BadAssertion(AssertionRefusal),
    /// A public application sent a secret or an assertion.
    PublicClient,
    /// The application may not be used that way.
    FlowOff(&'static str),
    /// The application was not given the permission for people.
    NotDelegated(String),
    /// No such user, or another password.
    WrongPassword,
    /// Too many wrong passwords: after so many seconds another may be tried.
    TryLater(u64),
    /// A network asked for too many codes for devices: after so many seconds it may have another.
    TooManyCodes(u64),
    /// All networks together did.
    NoRoomForCodes(u64),
    /// Where people would be sent back to is none of the application's places.
    BadRedirectUri(String),
    /// The response type is none that this server gives.
    UnsupportedResponse,
    /// A session is refreshed more often than anybody needs: after so many seconds again.
    TooOften(u64),
    /// The code is unknown or has expired, or was meant for another application or redirect URI.
    BadCode,
    /// The code was redeemed before.
    UsedCode,
    /// What proves that a code is the client's own is missing or wrong (PKCE).
    BadVerifier,
    /// The refresh token is unknown, expired, or was ended.
    BadRefreshToken,
    /// Nobody has typed the device's code yet.
    Pending,
    /// Somebody has, and said no.
    Declined,
    /// The device's code is unknown or has expired.
    BadDeviceCode,
    /// The book cannot be read now, or is not open yet.
    Unavailable(String),
    /// A fault of this server.
    Internal(String),
}

impl OAuthError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            OAuthError::NoSecret
            | OAuthError::WrongSecret(_)
            | OAuthError::ExpiredSecret(_)
            | OAuthError::BadAssertion(_)
            | OAuthError::PublicClient => StatusCode::UNAUTHORIZED,
            OAuthError::TryLater(_) | OAuthError::TooManyCodes(_) | OAuthError::TooOften(_) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            OAuthError::SlowBody => StatusCode::REQUEST_TIMEOUT,
            OAuthError::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            OAuthError::Unavailable(_) | OAuthError::NoRoomForCodes(_) => StatusCode::SERVICE_UNAVAILABLE,
            OAuthError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The `error` of RFC 6749.
    pub fn error(&self) -> &'static str {
        match self {
            OAuthError::Missing(_)
            | OAuthError::Repeated(_)
            | OAuthError::TooLarge
            | OAuthError::BrokenBody
            | OAuthError::SlowBody
            | OAuthError::BadRequest(_)
            | OAuthError::BadRedirectUri(_)
            | OAuthError::Misdirected(_) => "invalid_request",
            OAuthError::UnsupportedResponse => "unsupported_response_type",
            OAuthError::UnsupportedGrant(_) => "unsupported_grant_type",
            OAuthError::UnknownApplication(_) | OAuthError::FlowOff(_) => "unauthorized_client",
            OAuthError::NoSecret
            | OAuthError::WrongSecret(_)
            | OAuthError::ExpiredSecret(_)
            | OAuthError::BadAssertion(_)
            | OAuthError::PublicClient => "invalid_client",
            OAuthError::NotDelegated(_)
            | OAuthError::WrongPassword
            | OAuthError::BadCode
            | OAuthError::UsedCode
            | OAuthError::BadVerifier
            | OAuthError::BadRefreshToken => "invalid_grant",
            OAuthError::Pending => "authorization_pending",
            OAuthError::Declined => "access_denied",
            OAuthError::BadDeviceCode => "expired_token",
            OAuthError::BadScope(_) => "invalid_scope",
            OAuthError::UnknownResource(_) => "invalid_resource",
            OAuthError::Unavailable(_)
            | OAuthError::TryLater(_)
            | OAuthError::TooOften(_)
            | OAuthError::TooManyCodes(_)
            | OAuthError::NoRoomForCodes(_) => "temporarily_unavailable",
            OAuthError::Internal(_) => "server_error",
        }
    }

    /// The number that clients of the original know it by.
    pub fn number(&self) -> u32 {
        match self {
            OAuthError::Missing(_) => 900_144,
            OAuthError::Repeated(_)
            | OAuthError::TooLarge
            | OAuthError::BrokenBody
            | OAuthError::SlowBody
            | OAuthError::BadRequest(_)
            | OAuthError::Misdirected(_) => 90_013,
            OAuthError::UnsupportedGrant(_) => 70_003,
            OAuthError::UnknownApplication(_) => 700_016,
            OAuthError::NoSecret => 7_000_218,
            OAuthError::WrongSecret(_) => 7_000_215,
            OAuthError::ExpiredSecret(_) => 7_000_222,
            OAuthError::BadScope(_) => 70_011,
            OAuthError::UnknownResource(_) => 500_011,
            OAuthError::BadAssertion(_) => 700_027,
            OAuthError::PublicClient => 700_025,
            OAuthError::FlowOff(_) => 70_002,
            OAuthError::NotDelegated(_) => 65_001,
            OAuthError::WrongPassword => 50_126,
            OAuthError::TryLater(_) => 50_053,
            OAuthError::TooOften(_) => 50_196,
            OAuthError::TooManyCodes(_) => 50_196,
            OAuthError::BadRedirectUri(_) => 50_011,
            OAuthError::UnsupportedResponse => 70_005,
            OAuthError::BadCode => 70_008,
            OAuthError::UsedCode => 54_005,
            OAuthError::BadVerifier => 501_481,
            OAuthError::BadRefreshToken => 50_173,
            OAuthError::Pending => 70_016,
            OAuthError::Declined => 70_018,
            OAuthError::BadDeviceCode => 70_020,
            OAuthError::Unavailable(_) | OAuthError::NoRoomForCodes(_) => 90_033,
            OAuthError::Internal(_) => 90_020,
        }
    }

    /// What a person is told.
    pub fn message(&self) -> String {
        match self {
            OAuthError::Missing(name) => format!("The request body must contain the parameter '{name}'."),
            OAuthError::Repeated(name) => format!("The parameter '{name}' must be sent once."),
            OAuthError::TooLarge => "The request body is too large.".to_owned(),
            OAuthError::BrokenBody => "The request body did not arrive whole. Send it again.".to_owned(),
            OAuthError::SlowBody => "The request body did not arrive in time. Send it again.".to_owned(),
            OAuthError::BadRequest(problem) => (*problem).to_owned(),
            OAuthError::Misdirected(host) => misdirected(host),
            OAuthError::UnsupportedGrant(grant) => {
                format!("The grant type '{}' is not given here. See grant_types_supported in the discovery document.", shown(grant))
            }
            OAuthError::UnknownApplication(id) => format!(
                "Application with identifier '{}' was not found in the directory. Check the client id and the tenant.",
                shown(id)
            ),
            OAuthError::NoSecret => "The request must contain the parameter 'client_secret' or 'client_assertion'.".to_owned(),
            OAuthError::WrongSecret(id) => {
                format!(
                    "The client secret of application '{id}' is not the one provided. Send the secret itself."
                )
            }
            OAuthError::ExpiredSecret(id) => {
                format!("The client secret provided for application '{id}' has expired. Use the new one.")
            }
            OAuthError::BadScope(scope) => format!(
                "The scope '{}' cannot be granted. Ask for one resource: an application for itself as '{{resource}}/.default'.",
                shown(scope)
            ),
            OAuthError::UnknownResource(resource) => format!(
                "The resource '{}' is not served here. Ask for this server's own URL or a known one, or list it in extra_resources.",
                shown(resource)
            ),
            OAuthError::BadAssertion(refusal) => {
                format!("The client assertion cannot be accepted: {}.", refusal.told())
            }
            OAuthError::PublicClient => {
                "The application is public: send neither client_secret nor client_assertion.".to_owned()
            }
            OAuthError::FlowOff(what) => {
                format!("The application does not allow {what}. Its operator can, with 'seenby app change'.")
            }
            OAuthError::NotDelegated(name) => format!(
                "The application has not been given the permission '{}' for people. Its operator can give it, with 'seenby app change'.",
                shown(name)
            ),
            OAuthError::WrongPassword => "The name or the password is wrong.".to_owned(),
            OAuthError::TooOften(seconds) => format!(
                "This sign-in was refreshed too often. Use the tokens that it was given, and try again in {seconds} s."
            ),
            OAuthError::TryLater(seconds) => {
                format!("Too many wrong passwords were tried. Try again in {seconds} s.")
            }
            OAuthError::TooManyCodes(seconds) => {
                format!("Too many codes for devices were asked for from this network. Try again in {seconds} s.")
            }
            OAuthError::NoRoomForCodes(seconds) => {
                format!("As many codes for devices wait as the server takes. Try again in {seconds} s.")
            }
            OAuthError::BadRedirectUri(uri) => format!(
                "The redirect URI '{}' is none of the application's. Its operator can add it, with 'seenby app change'.",
                shown(uri)
            ),
            OAuthError::UnsupportedResponse => "The response type must be 'code'.".to_owned(),
            OAuthError::BadCode => {
                "The code is unknown, has expired, or was given to another application or redirect URI. Sign in again.".to_owned()
            }
            OAuthError::UsedCode => "The code was redeemed before. Sign in again.".to_owned(),
            OAuthError::BadVerifier => {
                "The code_verifier is missing or does not fit the code_challenge.".to_owned()
            }
            OAuthError::BadRefreshToken => {
                "The refresh token is unknown, has expired or was ended. Sign in again.".to_owned()
            }
            OAuthError::Pending => "Nobody has entered the code yet. Ask again after the interval.".to_owned(),
            OAuthError::Declined => "The sign-in was declined.".to_owned(),
            OAuthError::BadDeviceCode => {
                "The device code is unknown or has expired. Ask for a new one.".to_owned()
            }
            OAuthError::Unavailable(_) => "The server is not ready. Try again in a few seconds.".to_owned(),
            OAuthError::Internal(_) => {
                "The server failed to answer. Its log has the cause under the trace id.".to_owned()
            }
        }
    }

    /// The body, with the request id as trace id and correlation id.
    pub(crate) fn body(&self, request_id: &str, now: Millis) -> Response {
        let timestamp = now.second().to_string().replace('T', " ");
        let body = Body {
            error: self.error(),
            error_description: format!(
                "AADSTS{}: {} Trace ID: {request_id} Correlation ID: {request_id} Timestamp: {timestamp}",
                self.number(),
                self.message()
            ),
            error_codes: [self.number()],
            timestamp: &timestamp,
            trace_id: request_id,
            correlation_id: request_id,
        };
        let mut response = (self.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token endpoint\""));
        }
        match self {
            OAuthError::TryLater(seconds)
            | OAuthError::TooOften(seconds)
            | OAuthError::TooManyCodes(seconds)
            | OAuthError::NoRoomForCodes(seconds) => {
                drop(headers.insert(RETRY_AFTER, HeaderValue::from(*seconds)));
            }
            OAuthError::Unavailable(_) => {
                drop(headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S)));
            }
            _ => {}
        }
        response
    }

    /// For the log only.
    pub(crate) fn cause(&self) -> Cow<'_, str> {
        match self {
            OAuthError::Unavailable(cause) | OAuthError::Internal(cause) => escape(cause),
            other => Cow::Owned(other.message()),
        }
    }
}

/// An error of the token endpoint, as OAuth 2.0 writes it.
#[derive(Serialize, ToSchema)]
#[schema(as = OAuthError)]
pub(crate) struct Body<'a> {
    /// As in RFC 6749.
    error: &'static str,
    /// What is wrong and what to do; begins with the number that clients of the original know.
    error_description: String,
    /// That number.
    error_codes: [u32; 1],
    timestamp: &'a str,
    /// The request id.
    trace_id: &'a str,
    correlation_id: &'a str,
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        Failure::OAuth(self).unrendered()
    }
}

/// What went wrong before this endpoint was reached, said in its words.
impl From<ApiError> for OAuthError {
    fn from(error: ApiError) -> OAuthError {
        match error {
            ApiError::BadRequest { problem } => OAuthError::BadRequest(problem),
            ApiError::MisdirectedRequest { host } => OAuthError::Misdirected(host),
            ApiError::Unavailable { cause } => OAuthError::Unavailable(cause),
            ApiError::NotReady => OAuthError::Unavailable("the store is not open yet".to_owned()),
            ApiError::TimedOut => OAuthError::Unavailable("the answer took too long".to_owned()),
            ApiError::Internal { cause } => OAuthError::Internal(cause),
            other => OAuthError::Internal(other.message()),
        }
    }
}
