//! One change of the book at a time: what can be changed, why a change makes no sense, and the sentence that the audit log has
//! of it. Refuses to hold: what a change does to the book (`directory`), and secrets.

use std::collections::BTreeSet;
use std::fmt;

use uuid::Uuid;

use crate::{
    Application, ApplicationId, CallLimit, Certificate, Member, Network, Organisation, OrganisationId,
    PasswordHash, Permission, PrivateKey, ReadAs, RedirectUri, Retention, Role, RoleId, RolePermission,
    Second, Secret, SignIn, SignInChange, SigningKey, Source, SourceBounds, SourceId, User, UserId, hex,
    role,
};

/// One change of the book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new organisation.
    AddOrganisation(Organisation),
    /// Another name for it.
    RenameOrganisation(OrganisationId, String),
    /// Another retention.
    SetRetention(OrganisationId, Retention),
    /// The organisation, its applications, its people and its roles go.
    RemoveOrganisation(OrganisationId),
    /// A new application.
    AddApplication(Application),
    /// A new secret; the others end at the given second at the latest.
    RotateSecret {
        /// Whose secret.
        application: ApplicationId,
        /// The new one.
        secret: Secret,
        /// When the others end.
        others_until: Second,
    },
    /// Other call limits; `None` leaves one as it is.
    SetLimits {
        /// Whose limits.
        application: ApplicationId,
        /// In any 60 seconds.
        per_minute: Option<CallLimit>,
        /// In any 3,600 seconds.
        per_hour: Option<CallLimit>,
    },
    /// Other permissions, or another way for people to sign in; `None` leaves one as it is.
    ChangeApplication {
        /// Which application.
        application: ApplicationId,
        /// All that it may do for itself.
        permissions: Option<BTreeSet<Permission>>,
        /// What people may do through it, and how.
        sign_in: SignInChange,
    },
    /// Another certificate that its assertions may be signed with.
    AddCertificate(ApplicationId, Certificate),
    /// Assertions signed with it are refused; named by the certificate's SHA-256.
    RemoveCertificate(ApplicationId, [u8; 32]),
    /// The application goes.
    RemoveApplication(ApplicationId),
    /// Somebody who signs in here.
    AddUser(User),
    /// Another password; what was given on the old one ends.
    SetPassword {
        /// Whose.
        user: UserId,
        /// The new one.
        password: PasswordHash,
        /// When it was set.
        at: Second,
    },
    /// They sign in no longer, and have no role any more.
    RemoveUser(UserId),
    /// A new role.
    AddRole(Role),
    /// Another name or other permissions; `None` leaves them as they are.
    ChangeRole {
        /// Which role.
        role: RoleId,
        /// Its name.
        name: Option<String>,
        /// All that its members may do.
        permissions: Option<BTreeSet<RolePermission>>,
    },
    /// The role goes.
    RemoveRole(RoleId),
    /// Somebody gets a role.
    GrantRole(RoleId, Member),
    /// Somebody has a role no longer.
    RevokeRole(RoleId, Member),
    /// Somebody has no role of the organisation any more.
    RemoveMember(OrganisationId, Member),
    /// A new source that pushes.
    AddSource(Source),
    /// A source is read in another way, or has other bounds; `None` leaves one as it is.
    ChangeSource {
        /// Which source.
        source: SourceId,
        /// How what it sends is read.
        read_as: Option<ReadAs>,
        /// What it may send.
        bounds: Option<SourceBounds>,
    },
    /// A new token; the others end at the given second at the latest.
    RotateToken {
        /// Whose token.
        source: SourceId,
        /// The new one.
        token: Secret,
        /// When the others end.
        others_until: Second,
    },
    /// The source goes, and what its tokens were good for. What it told stays.
    RemoveSource(SourceId),
    /// A new signing key.
    AddSigningKey(SigningKey),
    /// The same key, kept in another form.
    KeepSigningKey(String, PrivateKey),
    /// A signing key goes: tokens that it signed are refused.
    RemoveSigningKey(String),
}

/// Why a change makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The name is taken.
    #[error("the name '{0}' is taken")]
    NameTaken(String),
    /// The id is taken.
    #[error("the id {0} is taken")]
    IdTaken(Uuid),
    /// There is no such organisation.
    #[error("there is no organisation {0}")]
    NoOrganisation(OrganisationId),
    /// There is no such application.
    #[error("there is no application {0}")]
    NoApplication(ApplicationId),
    /// There is no such certificate.
    #[error("the application has no such certificate")]
    NoCertificate,
    /// There is no such user.
    #[error("there is no user {0}")]
    NoUser(UserId),
    /// There is no such role.
    #[error("there is no role {0}")]
    NoRole(RoleId),
    /// There is no such source.
    #[error("there is no source {0}")]
    NoSource(SourceId),
    /// There is no such signing key.
    #[error("there is no signing key '{0}'")]
    NoSigningKey(String),
    /// Without it nothing could be signed.
    #[error("'{0}' is the key that signs now; make a new one first")]
    SigningKeyInUse(String),
    /// A program that can keep no secret gets none.
    #[error("the application is public: it can keep no secret and gets none")]
    PublicHasNoSecret,
    /// Where people would be sent back is no place for them.
    #[error(
        "'{0}' is no place to send people back to: write an https URL without fragment, http on localhost, or a scheme of the \
         program's own"
    )]
    BadRedirectUri(String),
    /// Somebody has not the role that is taken away, or none at all.
    #[error("{0} does not have it")]
    NoMember(Member),
    /// An issuer is neither this server nor a URL.
    #[error("'{0}' is no issuer: write built-in, or the URL that its tokens have in iss")]
    BadIssuer(String),
    /// An id of a user or a group is none.
    #[error(
        "'{0}' is no id of a user or a group: write the oid (or sub) of its tokens, never a name or an e-mail address"
    )]
    BadMember(String),
    /// A name is empty, too long or holds control characters.
    #[error("a name has 1 to 255 bytes and no control characters")]
    BadName,
    /// A name reads as a GUID, so that it could be mistaken for the id of something else.
    #[error("the name '{0}' looks like a GUID, which is what ids look like; take another name")]
    NameLikeId(String),
}

/// A sentence for the audit log: what changed, without secrets.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::AddOrganisation(organisation) => write!(
                f,
                "added organisation {} '{}', retention {}",
                organisation.id, organisation.name, organisation.retention
            ),
            Change::RenameOrganisation(id, name) => write!(f, "renamed organisation {id} to '{name}'"),
            Change::SetRetention(id, retention) => {
                write!(f, "set the retention of organisation {id} to {retention}")
            }
            Change::RemoveOrganisation(id) => write!(f, "removed organisation {id}"),
            Change::AddApplication(application) => {
                write!(
                    f,
                    "added application {} '{}' of organisation {} with {}",
                    application.id,
                    application.name,
                    application.organisation,
                    named(&application.permissions)
                )?;
                if application.sign_in != SignIn::default() {
                    write!(f, ", for people {}", told(&application.sign_in))?;
                }
                Ok(())
            }
            Change::RotateSecret { application, others_until, .. } => {
                write!(f, "rotated the secret of application {application}, the old one ends {others_until}")
            }
            Change::SetLimits { application, per_minute, per_hour } => {
                let of = |span: &str, limit: &Option<CallLimit>| {
                    limit.as_ref().map(|limit| format!("{limit} per {span}"))
                };
                let set: Vec<String> =
                    [of("minute", per_minute), of("hour", per_hour)].into_iter().flatten().collect();
                write!(f, "set the call limits of application {application} to {}", set.join(" and "))
            }
            Change::ChangeApplication { application, permissions, sign_in } => {
                write!(f, "changed application {application}")?;
                if let Some(permissions) = permissions {
                    write!(f, ", its permissions to {}", named(permissions))?;
                }
                if !sign_in.is_nothing() {
                    write!(f, ", for people to {}", told_change(sign_in))?;
                }
                Ok(())
            }
            Change::AddCertificate(id, certificate) => {
                write!(f, "added certificate {} to application {id}", hex(&certificate.sha256))
            }
            Change::RemoveCertificate(id, sha256) => {
                write!(f, "removed certificate {} from application {id}", hex(sha256))
            }
            Change::RemoveApplication(id) => write!(f, "removed application {id}"),
            Change::AddUser(user) => {
                write!(f, "added user {} '{}' of organisation {}", user.id, user.name, user.organisation)
            }
            Change::SetPassword { user, .. } => write!(f, "set the password of user {user}"),
            Change::RemoveUser(id) => write!(f, "removed user {id}"),
            Change::AddRole(new) => write!(
                f,
                "added role {} '{}' of organisation {} with {}",
                new.id,
                new.name,
                new.organisation,
                role::named(&new.permissions)
            ),
            Change::ChangeRole { role: id, name, permissions } => {
                write!(f, "changed role {id}")?;
                if let Some(name) = name {
                    write!(f, ", its name to '{name}'")?;
                }
                if let Some(permissions) = permissions {
                    write!(f, ", its permissions to {}", role::named(permissions))?;
                }
                Ok(())
            }
            Change::RemoveRole(id) => write!(f, "removed role {id}"),
            Change::GrantRole(id, member) => write!(f, "granted role {id} to {member}"),
            Change::RevokeRole(id, member) => write!(f, "revoked role {id} from {member}"),
            Change::RemoveMember(id, member) => {
                write!(f, "revoked all roles of organisation {id} from {member}")
            }
            Change::AddSource(source) => write!(
                f,
                "added source {} '{}' of organisation {}, {}, {}",
                source.id,
                source.name.as_str(),
                source.organisation,
                told_reading(&source.read_as),
                told_bounds(&source.bounds)
            ),
            Change::ChangeSource { source, read_as, bounds } => {
                write!(f, "changed source {source}")?;
                if let Some(read_as) = read_as {
                    write!(f, ", {}", told_reading(read_as))?;
                }
                if let Some(bounds) = bounds {
                    write!(f, ", {}", told_bounds(bounds))?;
                }
                Ok(())
            }
            Change::RotateToken { source, others_until, .. } => {
                write!(f, "rotated the token of source {source}, the old one ends {others_until}")
            }
            Change::RemoveSource(id) => write!(f, "removed source {id}"),
            Change::AddSigningKey(key) => write!(f, "added signing key {}", key.kid),
            Change::KeepSigningKey(kid, PrivateKey::Plain(_)) => {
                write!(f, "wrote signing key {kid} in the clear")
            }
            Change::KeepSigningKey(kid, PrivateKey::Sealed(_)) => write!(f, "encrypted signing key {kid}"),
            Change::RemoveSigningKey(kid) => write!(f, "removed signing key {kid}"),
        }
    }
}

/// Names of permissions, separated by blanks, as a sentence has them.
fn named<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> String {
    let names: Vec<&str> = permissions.into_iter().map(|permission| permission.name()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

/// How a source is read, as a sentence has it.
fn told_reading(read_as: &ReadAs) -> String {
    let ReadAs { format, time_zone, columns, local_networks } = read_as;
    let mut parts = vec![format!("read as {}", format.as_deref().unwrap_or("what it is"))];
    parts.extend(time_zone.iter().map(|zone| format!("its clocks in {zone}")));
    parts.extend(columns.iter().map(|columns| format!("columns {columns}")));
    parts.extend(local_networks.iter().map(|networks| format!("local networks {}", listed(networks))));
    parts.join(", ")
}

/// What a source may send, as a sentence has it.
fn told_bounds(bounds: &SourceBounds) -> String {
    let SourceBounds { networks, bytes_per_second, new_devices_per_hour, back_dating_hours } = bounds;
    let any = |number: Option<String>| number.unwrap_or_else(|| "any number of".to_owned());
    let whence = if networks.is_empty() { "anywhere".to_owned() } else { listed(networks) };
    let age = back_dating_hours
        .map_or("as old as is kept".to_owned(), |hours| format!("{hours} hours old at most"));
    format!(
        "from {whence}, {} bytes a second, {} new devices an hour, {age}",
        any(bytes_per_second.map(|bytes| bytes.to_string())),
        any(new_devices_per_hour.map(|devices| devices.to_string()))
    )
}

fn listed(networks: &[Network]) -> String {
    let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
    if networks.is_empty() { "none".to_owned() } else { networks.join(" ") }
}

/// What changes of how people sign in, as a sentence has it.
fn told_change(change: &SignInChange) -> String {
    let mut parts: Vec<String> = change.delegated.iter().map(named).collect();
    if let Some(uris) = &change.redirect_uris {
        let uris: Vec<&str> = uris.iter().map(RedirectUri::as_str).collect();
        parts.push(if uris.is_empty() { "no redirect URI".to_owned() } else { uris.join(", ") });
    }
    for (is_on, on, off) in [
        (change.device_code, "device code", "no device code"),
        (change.password, "password grant", "no password grant"),
        (change.public, "no secret", "secrets"),
    ] {
        parts.extend(is_on.map(|is_on| (if is_on { on } else { off }).to_owned()));
    }
    parts.join(", ")
}

/// How people sign in, as a sentence has it.
fn told(sign_in: &SignIn) -> String {
    let mut ways: Vec<String> = sign_in.redirect_uris.iter().map(RedirectUri::to_string).collect();
    for (is_on, way) in [
        (sign_in.device_code, "device code"),
        (sign_in.password, "password grant"),
        (sign_in.public, "no secret"),
    ] {
        ways.extend(is_on.then(|| way.to_owned()));
    }
    let ways = if ways.is_empty() { "no way to sign in".to_owned() } else { ways.join(", ") };
    format!("{} ({ways})", named(&sign_in.delegated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    use crate::directory::tests::{application, certificate, source, token, user};

    #[test]
    fn changes_of_sign_in_as_sentences() {
        let id = Uuid::from_u128(3);
        let (app, kim) = (ApplicationId(id), UserId(id));
        let uri = RedirectUri::new("http://localhost").expect("a URI");
        let sign_in = SignIn {
            delegated: [Permission::IpReadAll].into(),
            redirect_uris: [uri].into(),
            device_code: true,
            password: true,
            public: true,
        };
        let added = Application { sign_in: sign_in.clone(), ..application(3, "hunting") };
        let change =
            |permissions, sign_in| Change::ChangeApplication { application: app, permissions, sign_in };
        let (key, kid) = (PrivateKey::Sealed(vec![255]), "k1".to_owned());
        let password = PasswordHash("$argon2id$secret".to_owned());
        let organisation = Uuid::from_u128(1);
        for (change, sentence) in [
            (
                Change::AddApplication(added),
                format!(
                    "added application {id} 'hunting' of organisation {organisation} with nothing, for people Ip.Read.All \
                     (http://localhost, device code, password grant, no secret)"
                ),
            ),
            (
                change(Some([Permission::Manage].into()), SignIn::default().into()),
                format!(
                    "changed application {id}, its permissions to Seenby.Manage, for people to nothing, no redirect URI, no \
                     device code, no password grant, secrets"
                ),
            ),
            (
                change(None, SignInChange { device_code: Some(true), ..SignInChange::default() }),
                format!("changed application {id}, for people to device code"),
            ),
            (change(None, SignInChange::default()), format!("changed application {id}")),
            (
                Change::AddCertificate(app, certificate(171)),
                format!("added certificate {} to application {id}", "ab".repeat(32)),
            ),
            (
                Change::RemoveCertificate(app, [171; 32]),
                format!("removed certificate {} from application {id}", "ab".repeat(32)),
            ),
            (
                Change::AddUser(user(3, 1, "kim")),
                format!("added user {id} 'kim' of organisation {organisation}"),
            ),
            (
                Change::SetPassword { user: kim, password, at: Second::new(1) },
                format!("set the password of user {id}"),
            ),
            (Change::RemoveUser(kim), format!("removed user {id}")),
            (
                Change::AddSource(source(3, 1, "zeek")),
                format!(
                    "added source {id} 'zeek' of organisation {organisation}, read as what it is, from anywhere, any number \
                     of bytes a second, 100000 new devices an hour, 168 hours old at most"
                ),
            ),
            (
                Change::ChangeSource {
                    source: SourceId(id),
                    read_as: Some(ReadAs {
                        format: Some("argus".to_owned()),
                        time_zone: Some("UTC".to_owned()),
                        columns: None,
                        local_networks: Some(vec![Network::parse("10.0.0.0/8").expect("a network")]),
                    }),
                    bounds: Some(SourceBounds {
                        networks: vec![Network::parse("192.0.2.0/24").expect("a network")],
                        bytes_per_second: NonZeroU64::new(9),
                        new_devices_per_hour: None,
                        back_dating_hours: None,
                    }),
                },
                format!(
                    "changed source {id}, read as argus, its clocks in UTC, local networks 10.0.0.0/8, from 192.0.2.0/24, \
                     9 bytes a second, any number of new devices an hour, as old as is kept"
                ),
            ),
            (
                Change::RotateToken { source: SourceId(id), token: token(1), others_until: Second::new(0) },
                format!("rotated the token of source {id}, the old one ends 1970-01-01T00:00:00Z"),
            ),
            (Change::RemoveSource(SourceId(id)), format!("removed source {id}")),
            (Change::KeepSigningKey(kid.clone(), key), "encrypted signing key k1".to_owned()),
            (Change::RemoveSigningKey(kid), "removed signing key k1".to_owned()),
        ] {
            assert_eq!(change.to_string(), sentence);
        }
    }
}
