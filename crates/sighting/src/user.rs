//! People of the built-in issuer: who signs in with a password here. Refuses to hold: what they may do (roles name them
//! by id), passwords in the clear, how one is hashed, and people of other issuers.

use std::fmt;

use uuid::Uuid;

use crate::{OrganisationId, Second};

/// A user's id: the `oid` of their tokens, and the member of roles that they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Somebody of one organisation who signs in here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Whose answers they may read, if a role says so.
    pub organisation: OrganisationId,
    /// What they type to sign in, unique in the organisation, compared without case.
    pub name: String,
    /// Their password as it is kept.
    pub password: PasswordHash,
    /// When that was set: what they were given before is worth nothing any more.
    pub password_set_at: Second,
    /// When they were added.
    pub created_at: Second,
}

/// A password as it is kept: the text of an argon2id hash, which names its salt and cost. Its `Debug` is its name only.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}
