//! From the payload of an outside issuer's token, whose signature was checked, to what it says: for whom it is meant, how
//! long it counts, which application sent it and whether it speaks for a user. Refuses to hold: signatures, keys, and what
//! an organisation lets anybody do.
//!
//! Where a token leaves room for doubt it speaks for a user, because a user needs a role of this server as well.

use serde_json::{Map, Value};
use sighting::{ApplicationId, Uuid};

use super::Trusted;
use super::settings::{ApplicationIf, ClaimPath, IssuerKind, OidcIssuer};
use crate::secret::uuid_of;
use crate::token::{Audience, Client, Delegated, TokenRefusal};

/// The longest client id or user id, in bytes.
const ID_BYTES_MAX: usize = 255;
/// Groups of a user that are looked at; Entra ID writes 200 at most.
const GROUPS_MAX: usize = 1_000;
/// What the user of a service account is called at Keycloak, before the client's id.
const SERVICE_ACCOUNT: &str = "service-account-";

type Payload = Map<String, Value>;

/// What a token says.
pub(super) struct Said {
    pub(super) client: Client,
    pub(super) audience: Audience,
    pub(super) roles: Vec<String>,
    pub(super) delegated: Option<Delegated>,
    pub(super) not_before: u64,
    pub(super) expires: u64,
}

/// Reads a payload by the rules of its issuer. `accepts` says whether an audience is ours.
pub(super) fn read(
    trusted: &Trusted,
    iss: &str,
    payload: &Payload,
    accepts: impl Fn(&str) -> bool,
) -> Result<Said, TokenRefusal> {
    let audience = audience(payload, accepts)?;
    let expires = moment(payload, "exp")?.ok_or(TokenRefusal::Malformed)?;
    let not_before = moment(payload, "nbf")?.unwrap_or_default();
    let _ = moment(payload, "iat")?;
    let read = match &trusted.settings.kind {
        IssuerKind::Entra(_) => entra(trusted, iss, payload)?,
        IssuerKind::Oidc(oidc) => self::oidc(trusted, oidc, payload)?,
    };
    let Read { client, roles, delegated } = read;
    Ok(Said { client, audience, roles, delegated, not_before, expires })
}

/// What is read by rules of one kind of issuer.
struct Read {
    client: Client,
    roles: Vec<String>,
    delegated: Option<Delegated>,
}

fn entra(trusted: &Trusted, iss: &str, payload: &Payload) -> Result<Read, TokenRefusal> {
    let tenant = text(payload, &["tid"])?.and_then(|tid| Uuid::try_parse(tid).ok());
    if tenant.is_none() || tenant != trusted.tenant {
        return Err(TokenRefusal::Issuer);
    }
    let is_v2 = iss == trusted.keys.name();
    if text(payload, &["ver"])?.is_some_and(|ver| ver != if is_v2 { "2.0" } else { "1.0" }) {
        return Err(TokenRefusal::Issuer);
    }
    let id = text(payload, &[if is_v2 { "azp" } else { "appid" }])?.ok_or(TokenRefusal::Malformed)?;
    // A GUID has one form here, so that limits are found whatever its letters look like.
    let id = Uuid::try_parse(id).map_err(|_| TokenRefusal::Malformed)?.to_string();
    let (oid, sub) = (text(payload, &["oid"])?, text(payload, &["sub"])?);
    let idtyp = text(payload, &["idtyp"])?;
    // A token of an application has its service principal in both. Where `idtyp` is there, that is the word.
    let is_somebody = idtyp.is_none() && oid.is_some() && sub.is_some() && oid != sub;
    let scopes = payload.get("scp").filter(|scopes| !scopes.is_null());
    let is_delegated = scopes.is_some() || idtyp.is_some_and(|idtyp| idtyp != "app") || is_somebody;
    let delegated = is_delegated.then(|| Delegated {
        scopes: scopes.and_then(words).unwrap_or_default(),
        user: oid.or(sub).unwrap_or_default().into(),
        groups: groups(payload.get("groups")),
        groups_overflowed: groups_overflowed(payload) || are_too_many(payload.get("groups")),
        issuers: trusted.member_issuers.clone(),
    });
    let roles = roles(payload.get("roles"))?;
    Ok(Read { client: client(trusted, &id)?, roles, delegated })
}

fn oidc(trusted: &Trusted, oidc: &OidcIssuer, payload: &Payload) -> Result<Read, TokenRefusal> {
    let is_keycloak = oidc.application_if == ApplicationIf::Keycloak;
    // Keycloak signs tokens of sign-in with the same keys, and says what each one is.
    if is_keycloak && text(payload, &["typ"])?.is_some_and(|typ| !typ.eq_ignore_ascii_case("Bearer")) {
        return Err(TokenRefusal::Header);
    }
    let paths = &oidc.claims;
    let id = first(payload, &paths.application).and_then(Value::as_str).ok_or(TokenRefusal::Malformed)?;
    let scopes = first(payload, &paths.scopes).and_then(words).unwrap_or_default();
    let delegated = (!is_of_application(oidc, payload, id, &scopes)).then(|| Delegated {
        scopes,
        user: first(payload, &paths.user).and_then(Value::as_str).unwrap_or_default().into(),
        groups: groups(first(payload, &paths.groups)),
        groups_overflowed: groups_overflowed(payload) || are_too_many(first(payload, &paths.groups)),
        issuers: trusted.member_issuers.clone(),
    });
    let roles = roles(first(payload, &paths.roles))?;
    Ok(Read { client: client(trusted, id)?, roles, delegated })
}

/// Whether a token is one of an application for itself.
fn is_of_application(oidc: &OidcIssuer, payload: &Payload, client: &str, scopes: &[String]) -> bool {
    // Where the issuer says it, that is the word.
    if let Some(idtyp) = payload.get("idtyp").filter(|idtyp| !idtyp.is_null()) {
        return idtyp == "app";
    }
    let is = |name: &str, value: &str| payload.get(name).is_some_and(|found| found == value);
    // RFC 9068. Whoever signed in with OpenID Connect is somebody, even one who is called as the application is.
    if is("sub", client) && !scopes.iter().any(|scope| scope == "openid") {
        return true;
    }
    match &oidc.application_if {
        ApplicationIf::Standard => false,
        ApplicationIf::Keycloak => {
            let name = payload.get("preferred_username").and_then(Value::as_str);
            let is_service_account = name.is_none_or(|name| {
                name.strip_prefix(SERVICE_ACCOUNT).is_some_and(|rest| rest.eq_ignore_ascii_case(client))
            });
            is_service_account && (is("client_id", client) || is("clientId", client))
        }
        ApplicationIf::Claim(path, value) => {
            let found = at(payload, path).filter(|found| !found.is_null());
            found.is_some_and(|found| value.as_ref().is_none_or(|value| is_written(found, value)))
        }
    }
}

/// Whether a claim is what somebody wrote into the settings.
fn is_written(found: &Value, value: &str) -> bool {
    match found {
        Value::String(text) => text == value,
        Value::Bool(found) => found.to_string() == value,
        Value::Number(found) => found.to_string() == value,
        _ => false,
    }
}

fn client(trusted: &Trusted, id: &str) -> Result<Client, TokenRefusal> {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(TokenRefusal::Malformed);
    }
    Ok(Client { id: application_id(&trusted.realm, id), written: id.into() })
}

/// The id that an application of an outside issuer is counted under. A URL has no line end, so no two pairs are one.
pub(super) fn application_id(realm: &str, client: &str) -> ApplicationId {
    ApplicationId(uuid_of(format!("{realm}\n{client}").as_bytes()))
}

/// The first audience that is ours, else all of them.
fn audience(payload: &Payload, accepts: impl Fn(&str) -> bool) -> Result<Audience, TokenRefusal> {
    let listed = match payload.get("aud") {
        Some(Value::String(audience)) => vec![audience.as_str()],
        Some(Value::Array(list)) => {
            list.iter().map(Value::as_str).collect::<Option<_>>().ok_or(TokenRefusal::Malformed)?
        }
        _ => return Err(TokenRefusal::Malformed),
    };
    let ours = listed.iter().find(|audience| accepts(audience));
    Ok(ours.map_or_else(
        || Audience::Another(listed.join(", ")),
        |audience| Audience::Ours((*audience).to_owned()),
    ))
}

/// A moment in whole seconds; JWT lets it have a fraction.
fn moment(payload: &Payload, name: &str) -> Result<Option<u64>, TokenRefusal> {
    match payload.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let whole = |seconds: f64| {
                (seconds >= 0.0 && seconds < u64::MAX as f64).then_some(seconds.trunc() as u64)
            };
            let seconds = number.as_u64().or_else(|| number.as_f64().and_then(whole));
            seconds.map(Some).ok_or(TokenRefusal::Malformed)
        }
        Some(_) => Err(TokenRefusal::Malformed),
    }
}

fn text<'a>(payload: &'a Payload, path: &[&str]) -> Result<Option<&'a str>, TokenRefusal> {
    match walk(payload, path.iter().copied()) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenRefusal::Malformed),
    }
}

fn first<'a>(payload: &'a Payload, paths: &[ClaimPath]) -> Option<&'a Value> {
    paths.iter().filter_map(|path| at(payload, path)).find(|value| !value.is_null())
}

fn at<'a>(payload: &'a Payload, path: &ClaimPath) -> Option<&'a Value> {
    walk(payload, path.0.iter().map(String::as_str))
}

fn walk<'a, 'b>(payload: &'a Payload, path: impl IntoIterator<Item = &'b str>) -> Option<&'a Value> {
    let mut path = path.into_iter();
    let outermost = payload.get(path.next()?)?;
    path.try_fold(outermost, |value, name| value.as_object()?.get(name))
}

/// Words of a text, or the texts of a list; `None` if it is neither.
fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(text.split_ascii_whitespace().map(str::to_owned).collect()),
        Value::Array(list) => list.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn roles(value: Option<&Value>) -> Result<Vec<String>, TokenRefusal> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => words(value).ok_or(TokenRefusal::Malformed),
    }
}

/// Ids of groups. They only ever add to what somebody may do, so what cannot be read is passed over.
fn groups(value: Option<&Value>) -> Vec<String> {
    let listed = value.and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(|group| group.as_str().map(str::to_owned)).take(GROUPS_MAX).collect()
}

/// Whether not all of the groups that are listed are taken.
fn are_too_many(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|list| list.len() > GROUPS_MAX)
}

/// Whether the user has more groups than the issuer writes into a token.
fn groups_overflowed(payload: &Payload) -> bool {
    let elsewhere = walk(payload, ["_claim_names", "groups"]).is_some_and(|value| !value.is_null());
    let says_so =
        payload.get("hasgroups").is_some_and(|value| value == &Value::Bool(true) || value == "true");
    elsewhere || says_so
}
