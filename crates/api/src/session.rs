//! What the issuer remembers of a sign-in: codes that wait to be redeemed, the session, its refresh tokens. All of it lies
//! in tickets, so that a restart ends no session and a second use is known. Refuses to hold: who signs in and how, and what
//! goes into a token.
//!
//! A code is good once: whoever brings it again ends the session that came of it. A refresh token is exchanged for another;
//! the old one is good for another minute (its answer may have been lost), and after that it ends the session as well:
//! somebody has stolen it.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sighting::{
    Application, ApplicationId, Book, Directory, DirectoryError, Permission, Second, Ticket, TicketKey,
    TicketKind, User, UserId, Uuid,
};

use crate::oauth::OAuthError;
use crate::scope::Asked;
use crate::secret::sha256;
use crate::state::Shared;

/// How long a code waits for its client.
const CODE_S: u64 = 300;
/// How long a session lives without being used, and a refresh token.
const SESSION_S: u64 = 90 * 86_400;
/// How often one session may be refreshed in how many seconds: each time leaves something behind for as long as it lives.
const EXCHANGES_MAX: u32 = 60;
const EXCHANGES_WITHIN_S: u64 = 600;
/// How long a refresh token that was exchanged is good once more.
const LOST_ANSWER_S: u64 = 60;

/// Something random that only its holder knows: 256 bits as letters. It is kept as a hash.
pub(crate) fn new_token(shared: &Shared) -> String {
    URL_SAFE_NO_PAD.encode(shared.random::<32>())
}

/// The key of the ticket of a thing.
pub(crate) fn key(kind: TicketKind, thing: &str) -> TicketKey {
    TicketKey { kind, sha256: sha256(thing.as_bytes()) }
}

/// A ticket with something written down in it.
pub(crate) fn ticket(content: &impl Serialize, expires_at: Second) -> Result<Ticket, OAuthError> {
    let content = serde_json::to_vec(content).map_err(|error| OAuthError::Internal(error.to_string()))?;
    Ok(Ticket { expires_at, content })
}

/// What was written down in a ticket; what an older program wrote and this one cannot read is as good as expired.
pub(crate) fn content<T: DeserializeOwned>(ticket: &Ticket) -> Option<T> {
    serde_json::from_slice(&ticket.content).ok()
}

/// The directory's word for what the token endpoint says.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn unavailable(error: DirectoryError) -> OAuthError {
    OAuthError::Unavailable(error.to_string())
}

/// Somebody who signed in through an application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    user: String,
    application: String,
    /// Of the password that they typed, in seconds since 1970.
    password_set_at: u32,
    /// What they were told that the application gets, by name: it gets no more for this, whatever it is given later.
    consented: BTreeSet<String>,
}

impl SignedIn {
    pub(crate) fn new(user: &User, application: &Application, consented: &[Permission]) -> SignedIn {
        SignedIn {
            user: user.id.to_string(),
            application: application.id.to_string(),
            password_set_at: user.password_set_at.unix(),
            consented: consented.iter().map(|permission| permission.name().to_owned()).collect(),
        }
    }

    /// What the application may have for this, of what it may do for people now.
    pub(crate) fn allowed(&self, delegated: &BTreeSet<Permission>) -> BTreeSet<Permission> {
        delegated.iter().copied().filter(|it| self.consented.contains(it.name())).collect()
    }

    /// The user as they are now, if what they did then still counts: nothing of it was taken back.
    pub(crate) fn user<'a>(&self, book: &'a Book, application: &Application) -> Option<&'a User> {
        let id = UserId(Uuid::try_parse(&self.user).ok()?);
        let is_its = Uuid::try_parse(&self.application).ok().map(ApplicationId) == Some(application.id);
        let user = book.users.get(&id).filter(|user| user.organisation == application.organisation)?;
        (is_its && user.password_set_at.unix() == self.password_set_at).then_some(user)
    }
}

/// A code as it waits for its client, and as it is known after that.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Code {
    /// Not redeemed yet.
    Waiting(Waiting),
    /// Redeemed; the session that came of it, if any did.
    Redeemed(Option<String>),
}

/// What a code stands for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) signed_in: SignedIn,
    pub(crate) redirect_uri: String,
    /// The S256 challenge of PKCE.
    pub(crate) challenge: Option<String>,
    pub(crate) asked: Asked,
    pub(crate) nonce: Option<String>,
}

/// Makes a code.
pub(crate) async fn add_code<D: Directory>(
    shared: &Shared,
    directory: &D,
    waiting: Waiting,
) -> Result<String, OAuthError> {
    let (code, now) = (new_token(shared), shared.now().second());
    let ticket = ticket(&Code::Waiting(waiting), now.plus(CODE_S))?;
    directory.add_ticket(key(TicketKind::Code, &code), ticket, now).await.map_err(unavailable)?;
    Ok(code)
}

/// Redeems a code: what it stands for, and (where that wants one) the session that begins. Whoever fails the `check` has used
/// it up, and has no session.
pub(crate) async fn redeem_code<D: Directory>(
    shared: &Shared,
    directory: &D,
    code: &str,
    check: impl FnOnce(&Waiting) -> Result<(), OAuthError>,
) -> Result<(Waiting, Option<String>), OAuthError> {
    let (key, now) = (key(TicketKind::Code, code), shared.now().second());
    // Taken first: of several who bring it at once, one gets it.
    let taken = directory.take_ticket(key, now).await.map_err(unavailable)?.ok_or(OAuthError::BadCode)?;
    let (left, result) = match content::<Code>(&taken) {
        Some(Code::Waiting(waiting)) => {
            let checked = check(&waiting);
            let session = match &checked {
                Ok(()) => begin(shared, directory, &waiting.signed_in, &waiting.asked).await?,
                Err(_) => None,
            };
            (Code::Redeemed(session.clone()), checked.map(|()| (waiting, session)))
        }
        Some(Code::Redeemed(session)) => {
            if let Some(session) = &session {
                end(directory, session, now).await?;
            }
            (Code::Redeemed(None), Err(OAuthError::UsedCode))
        }
        None => return Err(OAuthError::BadCode),
    };
    directory.add_ticket(key, ticket(&left, taken.expires_at)?, now).await.map_err(unavailable)?;
    result
}

/// A session as it is known, with how often it was used of late.
#[derive(Debug, Serialize, Deserialize)]
struct Session {
    signed_in: SignedIn,
    /// Since when exchanges are counted, in seconds since 1970.
    since: u32,
    exchanges: u32,
}

impl Session {
    /// Counts an exchange; one that is used too often has to wait.
    fn used(self, now: Second) -> Result<Session, OAuthError> {
        let passed = u64::from(now.unix().saturating_sub(self.since));
        if passed >= EXCHANGES_WITHIN_S {
            return Ok(Session { since: now.unix(), exchanges: 1, ..self });
        }
        if self.exchanges >= EXCHANGES_MAX {
            return Err(OAuthError::TooOften(EXCHANGES_WITHIN_S - passed));
        }
        Ok(Session { exchanges: self.exchanges + 1, ..self })
    }
}

/// Begins a session, if one is asked for; its id is not for clients.
pub(crate) async fn begin<D: Directory>(
    shared: &Shared,
    directory: &D,
    signed_in: &SignedIn,
    asked: &Asked,
) -> Result<Option<String>, OAuthError> {
    if !asked.offline {
        return Ok(None);
    }
    let (session, now) = (new_token(shared), shared.now().second());
    let begun = Session { signed_in: signed_in.clone(), since: now.unix(), exchanges: 0 };
    let ticket = ticket(&begun, now.plus(SESSION_S))?;
    directory.add_ticket(key(TicketKind::Session, &session), ticket, now).await.map_err(unavailable)?;
    Ok(Some(session))
}

async fn end<D: Directory>(directory: &D, session: &str, now: Second) -> Result<(), OAuthError> {
    directory.take_ticket(key(TicketKind::Session, session), now).await.map(drop).map_err(unavailable)
}

/// A refresh token as it is known.
#[derive(Debug, Serialize, Deserialize)]
struct Refresh {
    session: String,
    asked: Asked,
    /// When it was exchanged, in seconds since 1970.
    exchanged_at: Option<u32>,
}

/// Makes a refresh token of a session.
pub(crate) async fn add_refresh_token<D: Directory>(
    shared: &Shared,
    directory: &D,
    session: &str,
    asked: &Asked,
) -> Result<String, OAuthError> {
    let (token, now) = (new_token(shared), shared.now().second());
    let refresh = Refresh { session: session.to_owned(), asked: asked.clone(), exchanged_at: None };
    let ticket = ticket(&refresh, now.plus(SESSION_S))?;
    directory.add_ticket(key(TicketKind::RefreshToken, &token), ticket, now).await.map_err(unavailable)?;
    Ok(token)
}

/// A session whose refresh token was brought.
pub(crate) struct Resumed {
    pub(crate) session: String,
    pub(crate) signed_in: SignedIn,
    /// What the token was given for.
    pub(crate) asked: Asked,
}

/// Exchanges a refresh token, which its holder must have proved to be theirs: `is_holders` is asked before anything changes.
pub(crate) async fn exchange_refresh_token<D: Directory>(
    shared: &Shared,
    directory: &D,
    token: &str,
    is_holders: impl Fn(&SignedIn) -> bool,
) -> Result<Resumed, OAuthError> {
    let bad = || OAuthError::BadRefreshToken;
    let (token_key, now) = (key(TicketKind::RefreshToken, token), shared.now().second());
    let found = directory.ticket(token_key, now).await.map_err(unavailable)?.ok_or_else(bad)?;
    let refresh: Refresh = content(&found).ok_or_else(bad)?;
    let session_key = key(TicketKind::Session, &refresh.session);
    let session = directory.ticket(session_key, now).await.map_err(unavailable)?.ok_or_else(bad)?;
    let session: Session =
        content(&session).filter(|it: &Session| is_holders(&it.signed_in)).ok_or_else(bad)?;
    match refresh.exchanged_at {
        Some(at) if now.unix().saturating_sub(at) > LOST_ANSWER_S as u32 => {
            end(directory, &refresh.session, now).await?;
            Err(bad())
        }
        Some(_) => resumed(directory, refresh, session.used(now)?, now).await,
        None => {
            let session = session.used(now)?;
            let exchanged = Refresh { exchanged_at: Some(now.unix()), ..refresh };
            let ticket = ticket(&exchanged, found.expires_at)?;
            directory.replace_ticket(token_key, ticket, now).await.map_err(unavailable)?;
            resumed(directory, exchanged, session, now).await
        }
    }
}

/// A session that is used lives on.
async fn resumed<D: Directory>(
    directory: &D,
    refresh: Refresh,
    session: Session,
    now: Second,
) -> Result<Resumed, OAuthError> {
    let renewed = ticket(&session, now.plus(SESSION_S))?;
    let key = key(TicketKind::Session, &refresh.session);
    let is_there = directory.replace_ticket(key, renewed, now).await.map_err(unavailable)?;
    if is_there {
        Ok(Resumed { session: refresh.session, signed_in: session.signed_in, asked: refresh.asked })
    } else {
        Err(OAuthError::BadRefreshToken)
    }
}
