//! A person signs in with a name and a password: found, throttled, hashed, counted. Refuses to hold: pages and forms, what
//! they get then, and people of other issuers.

use sighting::{Book, OrganisationId, User};

use crate::oauth::OAuthError;
use crate::password::PASSWORD_BYTES_MAX;
use crate::peer::Peer;
use crate::secret::sha256;
use crate::state::Shared;
use crate::throttle::{Account, Origin};

/// What came of it, for the metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SignIn {
    /// They are who they say.
    Succeeded,
    /// No such name, or another password: nobody is told which.
    Wrong,
    /// Too many failures before.
    Throttled,
    /// Too many others at once.
    Busy,
}

impl SignIn {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            SignIn::Succeeded => "succeeded",
            SignIn::Wrong => "wrong",
            SignIn::Throttled => "throttled",
            SignIn::Busy => "busy",
        }
    }
}

/// Who signs in. The answer to a wrong name takes as long as that to a wrong password, and says the same.
pub(crate) async fn sign_in<'a>(
    shared: &Shared,
    book: &'a Book,
    organisation: OrganisationId,
    name: &str,
    password: &str,
    peer: Peer,
) -> Result<&'a User, OAuthError> {
    let mut users = book.users.values().filter(|user| user.organisation == organisation);
    let user = users.find(|user| user.name.to_lowercase() == name.trim().to_lowercase());
    if password.len() > PASSWORD_BYTES_MAX {
        // Nobody has such a one, so it is no try either.
        shared.metrics.signed_in(SignIn::Wrong);
        return Err(OAuthError::WrongPassword);
    }
    let (account, origin) = (account(organisation, name, user), Origin::of(peer.0));
    if let Err(seconds) = shared.throttle.attempt(&account, origin, shared.steady()) {
        shared.metrics.signed_in(SignIn::Throttled);
        return Err(OAuthError::TryLater(seconds));
    }
    let Ok(is_theirs) = shared.hashing.check(password, user.map(|user| &user.password), origin).await else {
        shared.throttle.not_tried(&account, origin);
        shared.metrics.signed_in(SignIn::Busy);
        return Err(OAuthError::Unavailable("too many people sign in at once".to_owned()));
    };
    let Some(user) = user.filter(|_| is_theirs) else {
        shared.metrics.signed_in(SignIn::Wrong);
        return Err(OAuthError::WrongPassword);
    };
    shared.throttle.succeeded(&account, origin, shared.steady());
    shared.strangers.signed_in(origin, shared.steady());
    shared.metrics.signed_in(SignIn::Succeeded);
    Ok(user)
}

/// What is counted by: the user, or what was typed if there is none, so that both are treated alike.
fn account(organisation: OrganisationId, name: &str, user: Option<&User>) -> Account {
    let typed = || name.trim().to_lowercase().into_bytes();
    let who = user.map_or_else(typed, |user| user.id.0.as_bytes().to_vec());
    sha256(&[organisation.0.as_bytes(), who.as_slice()].concat())
}
