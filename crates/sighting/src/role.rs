//! What people may do: roles with permissions, and their members, users and groups by the ids that their issuer never gives
//! to anybody else. Refuses to hold: names and e-mail addresses of people (those change hands), passwords, tokens, and
//! applications (they have permissions of their own).

use std::collections::BTreeSet;
use std::fmt;

use uuid::Uuid;

use crate::{ChangeError, NAME_BYTES_MAX, OrganisationId, Second};

/// What a role allows inside its organisation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RolePermission {
    /// See data: ask questions.
    ViewData,
    /// Make roles, change them and their members.
    ManageRoles,
    /// Make applications, their secrets and limits.
    ManageApplications,
    /// Say where sightings come from.
    ManageSources,
    /// Change the organisation.
    ManageOrganisations,
    /// Send sightings in.
    WriteSightings,
}

impl RolePermission {
    /// Every one.
    pub const ALL: [RolePermission; 6] = [
        RolePermission::ViewData,
        RolePermission::ManageRoles,
        RolePermission::ManageApplications,
        RolePermission::ManageSources,
        RolePermission::ManageOrganisations,
        RolePermission::WriteSightings,
    ];

    /// Its name where it is typed or read by a program: `view-data`.
    pub const fn name(self) -> &'static str {
        match self {
            RolePermission::ViewData => "view-data",
            RolePermission::ManageRoles => "manage-roles",
            RolePermission::ManageApplications => "manage-applications",
            RolePermission::ManageSources => "manage-sources",
            RolePermission::ManageOrganisations => "manage-organisations",
            RolePermission::WriteSightings => "write-sightings",
        }
    }

    /// The permission of a name.
    pub fn from_name(name: &str) -> Option<RolePermission> {
        RolePermission::ALL.into_iter().find(|permission| permission.name() == name)
    }
}

/// Names of permissions, separated by blanks, as a sentence has them.
pub(crate) fn named(permissions: &BTreeSet<RolePermission>) -> String {
    let names: Vec<&str> = permissions.iter().map(|permission| permission.name()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

/// A role's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoleId(pub Uuid);

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A role of one organisation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// Where its permissions hold.
    pub organisation: OrganisationId,
    /// Its name, unique in its organisation, compared without case.
    pub name: String,
    /// What its members may do.
    pub permissions: BTreeSet<RolePermission>,
    /// Who has it.
    pub members: BTreeSet<Member>,
    /// When it was made.
    pub created_at: Second,
}

/// Somebody who can have a role: who an issuer's tokens for the role's organisation speak for. The same id of another
/// issuer, or in a role of another organisation, is somebody else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    /// Whose ids they are.
    pub issuer: Issuer,
    /// One user or a group.
    pub kind: MemberKind,
    /// Which one.
    pub id: MemberId,
}

/// `user 7f6e… of built-in`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.kind.name(), self.id, self.issuer)
    }
}

/// What a member is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemberKind {
    /// One person: the token's `oid`, or its `sub` where it has none.
    User,
    /// Everybody whose token names the group.
    Group,
}

impl MemberKind {
    /// `user` or `group`.
    pub const fn name(self) -> &'static str {
        match self {
            MemberKind::User => "user",
            MemberKind::Group => "group",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<MemberKind> {
        [MemberKind::User, MemberKind::Group].into_iter().find(|kind| kind.name() == name)
    }
}

/// Who made the token that names a member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Issuer {
    /// This server, under whatever URL it is reached.
    BuiltIn,
    /// Another: the `iss` of its tokens, letter by letter.
    Outside(String),
}

impl Issuer {
    const BUILT_IN: &str = "built-in";

    /// The issuer of a text: `built-in` or a URL.
    pub fn new(text: &str) -> Result<Issuer, ChangeError> {
        let is_url = ["https://", "http://"]
            .iter()
            .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
        let fits = text.len() <= NAME_BYTES_MAX && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        match text {
            Issuer::BUILT_IN => Ok(Issuer::BuiltIn),
            url if is_url && fits => Ok(Issuer::Outside(url.to_owned())),
            other => Err(ChangeError::BadIssuer(other.to_owned())),
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Issuer::BuiltIn => Issuer::BUILT_IN,
            Issuer::Outside(url) => url,
        })
    }
}

/// The id of a user or a group at its issuer. A GUID is written in its usual form, anything else is kept letter by letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberId(String);

impl MemberId {
    /// The id of a text, as a token or an operator writes it. What looks like an e-mail address is none: those are given to
    /// somebody else one day.
    pub fn new(text: &str) -> Result<MemberId, ChangeError> {
        let fits = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '@');
        match Uuid::try_parse(text) {
            Ok(id) if text.len() == 36 => Ok(MemberId(id.to_string())),
            _ if fits => Ok(MemberId(text.to_owned())),
            _ => Err(ChangeError::BadMember(text.to_owned())),
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ids() {
        for (text, id) in [
            ("7F6E5D4C-0000-4000-8000-00000000000A", Some("7f6e5d4c-0000-4000-8000-00000000000a")),
            ("7F6E5D4C0000400080000000000000AA", Some("7F6E5D4C0000400080000000000000AA")),
            ("auth0|5f7c8ec7c33c6c004bbafe82", Some("auth0|5f7c8ec7c33c6c004bbafe82")),
            ("Kim", Some("Kim")),
            ("kim@example.org", None),
            ("Kim Lee", None),
            ("", None),
            ("a\u{1b}", None),
        ] {
            assert_eq!(MemberId::new(text).ok().as_ref().map(MemberId::as_str), id, "{text}");
        }
        assert!(MemberId::new(&"x".repeat(NAME_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn issuers_are_urls_or_this_server() {
        for text in ["built-in", "https://sts.windows.net/t/", "http://localhost:8080/realms/x"] {
            assert_eq!(Issuer::new(text).map(|issuer| issuer.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "https://", "sts.windows.net", "https://a b", "Built-in"] {
            assert!(Issuer::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permissions_have_names() {
        for permission in RolePermission::ALL {
            assert_eq!(RolePermission::from_name(permission.name()), Some(permission));
        }
        assert_eq!(named(&BTreeSet::new()), "nothing");
        for kind in [MemberKind::User, MemberKind::Group] {
            assert_eq!(MemberKind::from_name(kind.name()), Some(kind));
        }
    }
}
