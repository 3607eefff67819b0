//! The form of a token request, with the client's credentials from its fields or from HTTP Basic. Refuses to hold: what
//! is granted, and fields that no grant here reads (clients send many; they are ignored).

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use utoipa::ToSchema;

use crate::oauth::OAuthError;
use crate::query;

/// The form of a token request. The client's id and secret may come as HTTP Basic instead; further fields are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description for clients; what is read is a `Form`")]
pub(crate) struct TokenRequest {
    /// `client_credentials`, `authorization_code`, `refresh_token`, `urn:ietf:params:oauth:grant-type:device_code` or, where an
    /// application may, `password`.
    grant_type: String,
    /// The application's client id.
    client_id: Option<String>,
    /// Its secret.
    client_secret: Option<String>,
    /// Instead of a secret: a JWT signed with the key of one of its certificates.
    client_assertion: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// For the v2 form: `{resource}/.default`, for people also `{resource}/{permission}`, `openid` and `offline_access`.
    scope: Option<String>,
    /// For the v1 form: the resource.
    resource: Option<String>,
    /// For `authorization_code`: the code.
    code: Option<String>,
    /// The redirect URI that it was sent to.
    redirect_uri: Option<String>,
    /// What its challenge was made of (PKCE).
    code_verifier: Option<String>,
    /// For `refresh_token`: the refresh token.
    refresh_token: Option<String>,
    /// For the device code: the code that the device holds.
    device_code: Option<String>,
    /// For `password`: the sign-in name.
    username: Option<String>,
    /// For `password`: the password.
    password: Option<String>,
}

/// What a token request says. An empty field is no field.
#[derive(Default)]
pub(crate) struct Form {
    pub(crate) grant_type: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) client_assertion: Option<String>,
    pub(crate) client_assertion_type: Option<String>,
    pub(crate) client_info: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) redirect_uri: Option<String>,
    pub(crate) code_verifier: Option<String>,
    pub(crate) refresh_token: Option<String>,
    pub(crate) device_code: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

/// Names the client, never its secret.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Form {
    /// From a body, whatever its Content-Type says (real clients send none), and the headers. A header wins: RFC 6749
    /// forbids credentials in both, and clients that do it send the same ones.
    pub(crate) fn parse(body: &[u8], headers: &HeaderMap) -> Result<Form, OAuthError> {
        let mut form = Form::default();
        for (name, value) in query::pairs(body) {
            let Some((name, field)) = form.field(&name) else { continue };
            if field.is_some() {
                return Err(OAuthError::Repeated(name));
            }
            *field = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        // Of two, one reader takes the first and another the last.
        if headers.get_all(AUTHORIZATION).iter().count() > 1 {
            return Err(OAuthError::BadRequest("Send at most one Authorization header."));
        }
        if let Some((id, secret)) = basic(headers) {
            form.client_id = Some(id);
            form.client_secret = Some(secret);
        }
        Ok(form)
    }

    fn field(&mut self, name: &str) -> Option<(&'static str, &mut Option<String>)> {
        Some(match name {
            "grant_type" => ("grant_type", &mut self.grant_type),
            "client_id" => ("client_id", &mut self.client_id),
            "client_secret" => ("client_secret", &mut self.client_secret),
            "client_assertion" => ("client_assertion", &mut self.client_assertion),
            "client_assertion_type" => ("client_assertion_type", &mut self.client_assertion_type),
            "client_info" => ("client_info", &mut self.client_info),
            "scope" => ("scope", &mut self.scope),
            "resource" => ("resource", &mut self.resource),
            "code" => ("code", &mut self.code),
            "redirect_uri" => ("redirect_uri", &mut self.redirect_uri),
            "code_verifier" => ("code_verifier", &mut self.code_verifier),
            "refresh_token" => ("refresh_token", &mut self.refresh_token),
            "device_code" => ("device_code", &mut self.device_code),
            "username" => ("username", &mut self.username),
            "password" => ("password", &mut self.password),
            _ => return None,
        })
    }
}

/// The client's id and secret from HTTP Basic; both are form-encoded inside it (RFC 6749, 2.3.1).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((plain(id), plain(secret)))
}
