//! Which application sends a form, and how it proves that: a secret, an assertion, or (a public one) nothing. Refuses to
//! hold: what it is given then, and people.

use sighting::{Application, ApplicationId, Book, Directory, Second, Ticket, TicketKey, TicketKind, Uuid};

use crate::assertion::{self, ASSERTION_TYPE, AssertionRefusal};
use crate::form::Form;
use crate::mint::Proof;
use crate::oauth::OAuthError;
use crate::secret::sha256;
use crate::state::Shared;

/// An application that proved who it is.
pub(crate) struct Client<'a> {
    pub(crate) application: &'a Application,
    pub(crate) proof: Proof,
}

/// Where a form was sent.
pub(crate) struct Sent<'a> {
    /// The tenant of the path.
    pub(crate) tenant: &'a str,
    /// `{scheme}://{host}` as it was called.
    pub(crate) called: &'a str,
}

/// Whether a tenant stands for every organisation.
pub(crate) fn is_alias(tenant: &str) -> bool {
    ["common", "organizations", "adfs"].iter().any(|alias| tenant.eq_ignore_ascii_case(alias))
}

/// Whether an application belongs to a tenant: by the organisation's id or name, or by an alias, which stands for any.
fn is_of(book: &Book, application: &Application, tenant: &str) -> bool {
    let organisation = || book.organisation(tenant).map(|organisation| organisation.id);
    is_alias(tenant) || organisation() == Some(application.organisation)
}

/// The application of a client id, in the tenant. Whether there is such a tenant is nobody's to find out: without an
/// application of it, it is answered as if there were none.
pub(crate) fn find_application<'a>(
    book: &'a Book,
    tenant: &str,
    id: Option<&str>,
) -> Result<&'a Application, OAuthError> {
    let id = id.ok_or(OAuthError::Missing("client_id"))?;
    let unknown = || OAuthError::UnknownApplication(id.to_owned());
    let uuid = Uuid::try_parse(id).map_err(|_| unknown())?;
    let found = book.applications.get(&ApplicationId(uuid));
    found.filter(|application| is_of(book, application, tenant)).ok_or_else(unknown)
}

/// Who sends a form.
pub(crate) async fn authenticate<'a, D: Directory>(
    shared: &Shared,
    directory: &D,
    book: &'a Book,
    sent: &Sent<'_>,
    form: &Form,
) -> Result<Client<'a>, OAuthError> {
    let named = match (&form.client_id, &form.client_assertion) {
        (Some(id), _) => Some(id.clone()),
        (None, Some(assertion)) => assertion::named_client(assertion),
        (None, None) => None,
    };
    let application = find_application(book, sent.tenant, named.as_deref())?;
    let now = shared.now().second();
    let proof = match (&form.client_secret, &form.client_assertion) {
        (Some(_), Some(_)) => return Err(OAuthError::BadRequest("Send a secret or an assertion, not both.")),
        (None, None) if application.sign_in.public => Proof::None,
        (None, None) => return Err(OAuthError::NoSecret),
        _ if application.sign_in.public => return Err(OAuthError::PublicClient),
        (Some(secret), None) => check_secret(application, secret, now)?,
        (None, Some(assertion)) => {
            if form.client_assertion_type.as_deref() != Some(ASSERTION_TYPE) {
                return Err(OAuthError::Missing("client_assertion_type"));
            }
            let is_for_us = |audience: &str| is_ours(shared, book, sent, application, audience);
            let proven = assertion::verify(assertion, application, is_for_us, now)
                .map_err(OAuthError::BadAssertion)?;
            use_once(directory, proven.use_id, proven.expires_at, now).await?;
            Proof::Certificate(proven.certificate)
        }
    };
    Ok(Client { application, proof })
}

/// Every kept hash is compared, each in constant time, so that the answer's delay says nothing.
fn check_secret(application: &Application, secret: &str, now: Second) -> Result<Proof, OAuthError> {
    let sent = sha256(secret.as_bytes());
    let (mut good, mut expired) = (false, false);
    for kept in &application.secrets {
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(&kept.sha256, &sent).is_ok();
        let current = kept.expires_at.is_none_or(|end| now <= end);
        good |= same && current;
        expired |= same && !current;
    }
    match (good, expired) {
        (true, _) => Ok(Proof::Secret(sent)),
        (false, true) => Err(OAuthError::ExpiredSecret(application.id)),
        (false, false) => Err(OAuthError::WrongSecret(application.id)),
    }
}

/// An assertion is good once: it is known again until it would have expired.
async fn use_once<D: Directory>(
    directory: &D,
    use_id: [u8; 32],
    expires_at: Second,
    now: Second,
) -> Result<(), OAuthError> {
    let key = TicketKey { kind: TicketKind::Assertion, sha256: use_id };
    let ticket = Ticket { expires_at, content: Vec::new() };
    match directory.add_ticket(key, ticket, now).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(OAuthError::BadAssertion(AssertionRefusal::Replayed)),
        Err(error) => Err(OAuthError::Unavailable(error.to_string())),
    }
}

/// Whether the audience of an assertion is our token endpoint (or issuer) for the application's tenant, under the name that
/// was called or one that we give ourselves.
fn is_ours(shared: &Shared, book: &Book, sent: &Sent<'_>, application: &Application, audience: &str) -> bool {
    let own = shared.issuer_url();
    let bases = [sent.called, own.as_str()].into_iter().chain(shared.sibling_urls());
    let mut paths = bases.filter_map(|base| audience.strip_prefix(base)?.strip_prefix('/'));
    paths.any(|path| {
        let (tenant, rest) = path.split_once('/').unwrap_or((path, ""));
        let is_endpoint = ["oauth2/v2.0/token", "oauth2/token", "v2.0", ""].contains(&rest);
        is_endpoint && is_of(book, application, tenant)
    })
}
