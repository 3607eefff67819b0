//! The book and its changes as JSON for the control socket: mirrors of the domain's types (those know no serde). Refuses to
//! hold: private keys and passwords as they are kept, on the way to a command (no command needs them).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sighting::{
    Application, ApplicationId, AuditEntry, Book, CallLimit, CallLimits, Certificate, Change, Issuer, Member,
    MemberId, MemberKind, Organisation, PasswordHash, PrivateKey, Retention, Role, RoleId, RolePermission,
    Second, Secret, SigningKey, Source, SourceId, User, UserId,
};

use super::wire::{Wire128, WireError};
use super::wire_sign_in::{
    WireCertificate, WireSignIn, WireSignInChange, WireUser, permission_names, permissions_of,
};
use super::wire_source::{WireBounds, WireReadAs, WireSource};

/// Hours, or nothing for ever.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub(super) struct WireRetention(Option<u32>);

impl From<Retention> for WireRetention {
    fn from(retention: Retention) -> WireRetention {
        match retention {
            Retention::Hours(hours) => WireRetention(Some(hours)),
            Retention::Forever => WireRetention(None),
        }
    }
}

impl From<WireRetention> for Retention {
    fn from(wire: WireRetention) -> Retention {
        wire.0.map_or(Retention::Forever, Retention::Hours)
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireOrganisation {
    id: Wire128,
    name: String,
    retention: WireRetention,
    source_tenants: Vec<Wire128>,
}

impl From<&Organisation> for WireOrganisation {
    fn from(organisation: &Organisation) -> WireOrganisation {
        WireOrganisation {
            id: organisation.id.into(),
            name: organisation.name.clone(),
            retention: organisation.retention.into(),
            source_tenants: organisation.source_tenants.iter().copied().map(Wire128).collect(),
        }
    }
}

impl From<WireOrganisation> for Organisation {
    fn from(wire: WireOrganisation) -> Organisation {
        Organisation {
            id: wire.id.into(),
            name: wire.name,
            retention: wire.retention.into(),
            source_tenants: wire.source_tenants.into_iter().map(|tenant| tenant.0).collect(),
        }
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireSecret {
    sha256: [u8; 32],
    created_at: u32,
    expires_at: Option<u32>,
}

impl From<&Secret> for WireSecret {
    fn from(secret: &Secret) -> WireSecret {
        WireSecret {
            sha256: secret.sha256,
            created_at: secret.created_at.unix(),
            expires_at: secret.expires_at.map(Second::unix),
        }
    }
}

impl From<WireSecret> for Secret {
    fn from(wire: WireSecret) -> Secret {
        Secret {
            sha256: wire.sha256,
            created_at: Second::new(wire.created_at),
            expires_at: wire.expires_at.map(Second::new),
        }
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireApplication {
    id: Wire128,
    organisation: Wire128,
    name: String,
    permissions: Vec<String>,
    sign_in: WireSignIn,
    secrets: Vec<WireSecret>,
    certificates: Vec<WireCertificate>,
    per_minute: WireLimit,
    per_hour: WireLimit,
    created_at: u32,
}

/// `default`, `off` or a number, as text.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(try_from = "String", into = "String")]
pub(super) struct WireLimit(CallLimit);

impl TryFrom<String> for WireLimit {
    type Error = WireError;

    fn try_from(text: String) -> Result<WireLimit, WireError> {
        CallLimit::parse(&text).map(WireLimit).ok_or(WireError("call limit"))
    }
}

impl From<WireLimit> for String {
    fn from(wire: WireLimit) -> String {
        wire.0.to_string()
    }
}

impl From<&Application> for WireApplication {
    fn from(application: &Application) -> WireApplication {
        WireApplication {
            id: Wire128(application.id.0),
            organisation: application.organisation.into(),
            name: application.name.clone(),
            permissions: permission_names(&application.permissions),
            sign_in: (&application.sign_in).into(),
            secrets: application.secrets.iter().map(WireSecret::from).collect(),
            certificates: application.certificates.iter().map(WireCertificate::from).collect(),
            per_minute: WireLimit(application.limits.per_minute),
            per_hour: WireLimit(application.limits.per_hour),
            created_at: application.created_at.unix(),
        }
    }
}

impl TryFrom<WireApplication> for Application {
    type Error = WireError;

    fn try_from(wire: WireApplication) -> Result<Application, WireError> {
        Ok(Application {
            id: ApplicationId(wire.id.0),
            organisation: wire.organisation.into(),
            name: wire.name,
            permissions: permissions_of(&wire.permissions)?,
            sign_in: wire.sign_in.try_into()?,
            secrets: wire.secrets.into_iter().map(Secret::from).collect(),
            certificates: wire.certificates.into_iter().map(Certificate::from).collect(),
            limits: CallLimits { per_minute: wire.per_minute.0, per_hour: wire.per_hour.0 },
            created_at: Second::new(wire.created_at),
        })
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireRole {
    id: Wire128,
    organisation: Wire128,
    name: String,
    permissions: Vec<String>,
    members: Vec<WireMember>,
    created_at: u32,
}

impl From<&Role> for WireRole {
    fn from(role: &Role) -> WireRole {
        WireRole {
            id: Wire128(role.id.0),
            organisation: role.organisation.into(),
            name: role.name.clone(),
            permissions: names(&role.permissions),
            members: role.members.iter().map(WireMember::from).collect(),
            created_at: role.created_at.unix(),
        }
    }
}

impl TryFrom<WireRole> for Role {
    type Error = WireError;

    fn try_from(wire: WireRole) -> Result<Role, WireError> {
        Ok(Role {
            id: RoleId(wire.id.0),
            organisation: wire.organisation.into(),
            name: wire.name,
            permissions: permissions(&wire.permissions)?,
            members: wire.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?,
            created_at: Second::new(wire.created_at),
        })
    }
}

fn names(permissions: &BTreeSet<RolePermission>) -> Vec<String> {
    permissions.iter().map(|permission| permission.name().to_owned()).collect()
}

fn permissions(names: &[String]) -> Result<BTreeSet<RolePermission>, WireError> {
    names.iter().map(|name| RolePermission::from_name(name).ok_or(WireError("permission"))).collect()
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireMember {
    issuer: String,
    kind: String,
    id: String,
}

impl From<&Member> for WireMember {
    fn from(member: &Member) -> WireMember {
        WireMember {
            issuer: member.issuer.to_string(),
            kind: member.kind.name().to_owned(),
            id: member.id.to_string(),
        }
    }
}

impl TryFrom<WireMember> for Member {
    type Error = WireError;

    fn try_from(wire: WireMember) -> Result<Member, WireError> {
        Ok(Member {
            issuer: Issuer::new(&wire.issuer).map_err(|_| WireError("issuer"))?,
            kind: MemberKind::from_name(&wire.kind).ok_or(WireError("kind of member"))?,
            id: MemberId::new(&wire.id).map_err(|_| WireError("id of a member"))?,
        })
    }
}

/// The book without the private halves of its signing keys.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireBook {
    organisations: Vec<WireOrganisation>,
    applications: Vec<WireApplication>,
    users: Vec<WireUser>,
    roles: Vec<WireRole>,
    sources: Vec<WireSource>,
    signing_keys: Vec<WireKey>,
}

/// A signing key without its private half.
#[derive(Serialize, Deserialize, Debug)]
struct WireKey {
    kid: String,
    is_sealed: bool,
    created_at: u32,
}

impl From<&SigningKey> for WireKey {
    fn from(key: &SigningKey) -> WireKey {
        WireKey {
            kid: key.kid.clone(),
            is_sealed: matches!(key.private, PrivateKey::Sealed(_)),
            created_at: key.created_at.unix(),
        }
    }
}

impl From<WireKey> for SigningKey {
    fn from(wire: WireKey) -> SigningKey {
        let private = if wire.is_sealed { PrivateKey::Sealed } else { PrivateKey::Plain };
        SigningKey { kid: wire.kid, private: private(Vec::new()), created_at: Second::new(wire.created_at) }
    }
}

impl From<&Book> for WireBook {
    fn from(book: &Book) -> WireBook {
        WireBook {
            organisations: book.organisations.values().map(WireOrganisation::from).collect(),
            applications: book.applications.values().map(WireApplication::from).collect(),
            users: book.users.values().map(WireUser::without_password).collect(),
            roles: book.roles.values().map(WireRole::from).collect(),
            sources: book.sources.values().map(WireSource::from).collect(),
            signing_keys: book.signing_keys.iter().map(WireKey::from).collect(),
        }
    }
}

impl TryFrom<WireBook> for Book {
    type Error = WireError;

    fn try_from(wire: WireBook) -> Result<Book, WireError> {
        let organisations = wire.organisations.into_iter().map(Organisation::from);
        let applications = wire.applications.into_iter().map(|application| {
            let application = Application::try_from(application)?;
            Ok((application.id, application))
        });
        let roles = wire.roles.into_iter().map(|role| {
            let role = Role::try_from(role)?;
            Ok((role.id, role))
        });
        let sources = wire.sources.into_iter().map(|source| {
            let source = Source::try_from(source)?;
            Ok((source.id, source))
        });
        let keys = wire.signing_keys.into_iter().map(SigningKey::from);
        Ok(Book {
            organisations: organisations.map(|organisation| (organisation.id, organisation)).collect(),
            applications: applications.collect::<Result<BTreeMap<_, _>, WireError>>()?,
            users: wire.users.into_iter().map(User::from).map(|user| (user.id, user)).collect(),
            roles: roles.collect::<Result<BTreeMap<_, _>, WireError>>()?,
            sources: sources.collect::<Result<BTreeMap<_, _>, WireError>>()?,
            signing_keys: keys.collect(),
        })
    }
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireChange {
    AddOrganisation(WireOrganisation),
    RenameOrganisation(Wire128, String),
    SetRetention(Wire128, WireRetention),
    RemoveOrganisation(Wire128),
    AddApplication(WireApplication),
    RotateSecret { application: Wire128, secret: WireSecret, others_until: u32 },
    SetLimits { application: Wire128, per_minute: Option<WireLimit>, per_hour: Option<WireLimit> },
    ChangeApplication { application: Wire128, permissions: Option<Vec<String>>, sign_in: WireSignInChange },
    AddCertificate(Wire128, WireCertificate),
    RemoveCertificate(Wire128, [u8; 32]),
    RemoveApplication(Wire128),
    AddUser(WireUser),
    SetPassword { user: Wire128, password: String, at: u32 },
    RemoveUser(Wire128),
    AddRole(WireRole),
    ChangeRole { role: Wire128, name: Option<String>, permissions: Option<Vec<String>> },
    RemoveRole(Wire128),
    GrantRole(Wire128, WireMember),
    RevokeRole(Wire128, WireMember),
    RemoveMember(Wire128, WireMember),
    AddSource(WireSource),
    ChangeSource { source: Wire128, read_as: Option<WireReadAs>, bounds: Option<WireBounds> },
    RotateToken { source: Wire128, token: WireSecret, others_until: u32 },
    RemoveSource(Wire128),
    RemoveSigningKey(String),
}

impl TryFrom<&Change> for WireChange {
    type Error = WireError;

    fn try_from(change: &Change) -> Result<WireChange, WireError> {
        Ok(match change {
            Change::AddOrganisation(organisation) => WireChange::AddOrganisation(organisation.into()),
            Change::RenameOrganisation(id, name) => {
                WireChange::RenameOrganisation((*id).into(), name.clone())
            }
            Change::SetRetention(id, retention) => {
                WireChange::SetRetention((*id).into(), (*retention).into())
            }
            Change::RemoveOrganisation(id) => WireChange::RemoveOrganisation((*id).into()),
            Change::AddApplication(application) => WireChange::AddApplication(application.into()),
            Change::RotateSecret { application, secret, others_until } => WireChange::RotateSecret {
                application: Wire128(application.0),
                secret: secret.into(),
                others_until: others_until.unix(),
            },
            Change::SetLimits { application, per_minute, per_hour } => WireChange::SetLimits {
                application: Wire128(application.0),
                per_minute: per_minute.map(WireLimit),
                per_hour: per_hour.map(WireLimit),
            },
            Change::ChangeApplication { application, permissions, sign_in } => {
                WireChange::ChangeApplication {
                    application: Wire128(application.0),
                    permissions: permissions.as_ref().map(permission_names),
                    sign_in: sign_in.into(),
                }
            }
            Change::AddCertificate(id, certificate) => {
                WireChange::AddCertificate(Wire128(id.0), certificate.into())
            }
            Change::RemoveCertificate(id, sha256) => WireChange::RemoveCertificate(Wire128(id.0), *sha256),
            Change::RemoveApplication(id) => WireChange::RemoveApplication(Wire128(id.0)),
            Change::AddUser(user) => WireChange::AddUser(user.into()),
            Change::SetPassword { user, password, at } => {
                WireChange::SetPassword { user: Wire128(user.0), password: password.0.clone(), at: at.unix() }
            }
            Change::RemoveUser(id) => WireChange::RemoveUser(Wire128(id.0)),
            Change::AddRole(role) => WireChange::AddRole(role.into()),
            Change::ChangeRole { role, name, permissions } => WireChange::ChangeRole {
                role: Wire128(role.0),
                name: name.clone(),
                permissions: permissions.as_ref().map(names),
            },
            Change::RemoveRole(id) => WireChange::RemoveRole(Wire128(id.0)),
            Change::GrantRole(id, member) => WireChange::GrantRole(Wire128(id.0), member.into()),
            Change::RevokeRole(id, member) => WireChange::RevokeRole(Wire128(id.0), member.into()),
            Change::RemoveMember(id, member) => WireChange::RemoveMember((*id).into(), member.into()),
            Change::AddSource(source) => WireChange::AddSource(source.into()),
            Change::ChangeSource { source, read_as, bounds } => WireChange::ChangeSource {
                source: Wire128(source.0),
                read_as: read_as.as_ref().map(WireReadAs::from),
                bounds: bounds.as_ref().map(WireBounds::from),
            },
            Change::RotateToken { source, token, others_until } => WireChange::RotateToken {
                source: Wire128(source.0),
                token: token.into(),
                others_until: others_until.unix(),
            },
            Change::RemoveSource(id) => WireChange::RemoveSource(Wire128(id.0)),
            Change::RemoveSigningKey(kid) => WireChange::RemoveSigningKey(kid.clone()),
            // Only a server makes keys, and it holds its folder itself.
            Change::AddSigningKey(_) | Change::KeepSigningKey(..) => return Err(WireError("signing key")),
        })
    }
}

impl TryFrom<WireChange> for Change {
    type Error = WireError;

    fn try_from(wire: WireChange) -> Result<Change, WireError> {
        Ok(match wire {
            WireChange::AddOrganisation(organisation) => Change::AddOrganisation(organisation.into()),
            WireChange::RenameOrganisation(id, name) => Change::RenameOrganisation(id.into(), name),
            WireChange::SetRetention(id, retention) => Change::SetRetention(id.into(), retention.into()),
            WireChange::RemoveOrganisation(id) => Change::RemoveOrganisation(id.into()),
            WireChange::AddApplication(application) => Change::AddApplication(application.try_into()?),
            WireChange::RotateSecret { application, secret, others_until } => Change::RotateSecret {
                application: ApplicationId(application.0),
                secret: secret.into(),
                others_until: Second::new(others_until),
            },
            WireChange::SetLimits { application, per_minute, per_hour } => Change::SetLimits {
                application: ApplicationId(application.0),
                per_minute: per_minute.map(|limit| limit.0),
                per_hour: per_hour.map(|limit| limit.0),
            },
            WireChange::ChangeApplication { application, permissions, sign_in } => {
                Change::ChangeApplication {
                    application: ApplicationId(application.0),
                    permissions: permissions.as_deref().map(permissions_of).transpose()?,
                    sign_in: sign_in.try_into()?,
                }
            }
            WireChange::AddCertificate(id, certificate) => {
                Change::AddCertificate(ApplicationId(id.0), certificate.into())
            }
            WireChange::RemoveCertificate(id, sha256) => {
                Change::RemoveCertificate(ApplicationId(id.0), sha256)
            }
            WireChange::RemoveApplication(id) => Change::RemoveApplication(ApplicationId(id.0)),
            WireChange::AddUser(user) => Change::AddUser(user.into()),
            WireChange::SetPassword { user, password, at } => Change::SetPassword {
                user: UserId(user.0),
                password: PasswordHash(password),
                at: Second::new(at),
            },
            WireChange::RemoveUser(id) => Change::RemoveUser(UserId(id.0)),
            WireChange::AddRole(role) => Change::AddRole(role.try_into()?),
            WireChange::ChangeRole { role, name, permissions: names } => Change::ChangeRole {
                role: RoleId(role.0),
                name,
                permissions: names.as_deref().map(permissions).transpose()?,
            },
            WireChange::RemoveRole(id) => Change::RemoveRole(RoleId(id.0)),
            WireChange::GrantRole(id, member) => Change::GrantRole(RoleId(id.0), member.try_into()?),
            WireChange::RevokeRole(id, member) => Change::RevokeRole(RoleId(id.0), member.try_into()?),
            WireChange::RemoveMember(id, member) => Change::RemoveMember(id.into(), member.try_into()?),
            WireChange::AddSource(source) => Change::AddSource(source.try_into()?),
            WireChange::ChangeSource { source, read_as, bounds } => Change::ChangeSource {
                source: SourceId(source.0),
                read_as: read_as.map(Into::into),
                bounds: bounds.map(Into::into),
            },
            WireChange::RotateToken { source, token, others_until } => Change::RotateToken {
                source: SourceId(source.0),
                token: token.into(),
                others_until: Second::new(others_until),
            },
            WireChange::RemoveSource(id) => Change::RemoveSource(SourceId(id.0)),
            WireChange::RemoveSigningKey(kid) => Change::RemoveSigningKey(kid),
        })
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireAudit {
    at: u32,
    actor: String,
    what: String,
}

impl From<AuditEntry> for WireAudit {
    fn from(entry: AuditEntry) -> WireAudit {
        WireAudit { at: entry.at.unix(), actor: entry.actor, what: entry.what }
    }
}

impl From<WireAudit> for AuditEntry {
    fn from(wire: WireAudit) -> AuditEntry {
        AuditEntry { at: Second::new(wire.at), actor: wire.actor, what: wire.what }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use sighting::{OrganisationId, Permission, RedirectUri, SignIn, SignInChange, Uuid};

    use super::super::wire_source::tests::source;
    use super::*;

    fn through_json<T: Serialize + for<'a> Deserialize<'a>>(value: &T) -> T {
        let json = serde_json::to_string(value).expect("JSON");
        serde_json::from_str(&json).expect("the same type")
    }

    fn organisation() -> Organisation {
        Organisation {
            id: OrganisationId(Uuid::from_u128(7)),
            name: "Contoso \u{202e}".to_owned(),
            retention: Retention::Forever,
            source_tenants: vec![Uuid::from_u128(9)],
        }
    }

    fn calls(number: u32) -> CallLimit {
        CallLimit::Calls(NonZeroU32::new(number).expect("not zero"))
    }

    fn member() -> Member {
        let issuer = Issuer::new("https://login.example.org").expect("a URL");
        Member { issuer, kind: MemberKind::Group, id: MemberId::new("g|1").expect("an id") }
    }

    fn sign_in() -> SignIn {
        SignIn {
            delegated: [Permission::IpReadAll].into(),
            redirect_uris: [RedirectUri::new("http://localhost").expect("a URI")].into(),
            device_code: true,
            password: true,
            public: false,
        }
    }

    fn certificate() -> Certificate {
        Certificate {
            sha256: [1; 32],
            sha1: [2; 20],
            public_key: vec![3; 5],
            not_before: Second::new(1),
            not_after: Second::new(9),
            created_at: Second::new(2),
        }
    }

    fn user(password: &str) -> User {
        User {
            id: UserId(Uuid::from_u128(12)),
            organisation: organisation().id,
            name: "kim@example.org".to_owned(),
            password: PasswordHash(password.to_owned()),
            password_set_at: Second::new(5),
            created_at: Second::new(4),
        }
    }

    fn role() -> Role {
        Role {
            id: RoleId(Uuid::from_u128(11)),
            organisation: organisation().id,
            name: "analysts".to_owned(),
            permissions: RolePermission::ALL.into(),
            members: [member()].into(),
            created_at: Second::new(5),
        }
    }

    #[test]
    fn a_book_arrives_without_what_is_secret() {
        let mut book = Book::default();
        book.apply(&Change::AddOrganisation(organisation())).expect("new");
        let application = Application {
            id: ApplicationId(Uuid::from_u128(8)),
            organisation: organisation().id,
            name: "soar".to_owned(),
            permissions: vec![Permission::IpReadAll],
            sign_in: sign_in(),
            secrets: vec![Secret { sha256: [3; 32], created_at: Second::new(5), expires_at: None }],
            certificates: vec![certificate()],
            limits: CallLimits { per_minute: CallLimit::Off, per_hour: calls(7) },
            created_at: Second::new(5),
        };
        book.apply(&Change::AddApplication(application)).expect("new");
        book.apply(&Change::AddRole(role())).expect("new");
        book.apply(&Change::AddSource(source(organisation().id))).expect("new");
        book.apply(&Change::AddUser(user("$argon2id$x"))).expect("new");
        let private = PrivateKey::Plain(vec![1, 2, 3]);
        let mut key = SigningKey { kid: "k1".to_owned(), private, created_at: Second::new(1) };
        book.apply(&Change::AddSigningKey(key.clone())).expect("new");
        let private = PrivateKey::Sealed(vec![4, 5, 6]);
        let mut sealed = SigningKey { kid: "k2".to_owned(), private, created_at: Second::new(2) };
        book.apply(&Change::AddSigningKey(sealed.clone())).expect("new");
        let arrived = Book::try_from(through_json(&WireBook::from(&book))).expect("makes sense");
        key.private = PrivateKey::Plain(Vec::new());
        sealed.private = PrivateKey::Sealed(Vec::new());
        book.signing_keys = vec![key, sealed];
        book.users = [(user("").id, user(""))].into();
        assert_eq!(arrived, book);
    }

    #[test]
    fn changes_arrive_as_they_were_sent() {
        let id = organisation().id;
        let secret = Secret { sha256: [3; 32], created_at: Second::new(5), expires_at: Some(Second::new(6)) };
        for change in [
            Change::AddOrganisation(organisation()),
            Change::RenameOrganisation(id, "x".to_owned()),
            Change::SetRetention(id, Retention::Hours(5)),
            Change::RemoveOrganisation(id),
            Change::AddSource(source(id)),
            Change::ChangeSource {
                source: source(id).id,
                read_as: Some(source(id).read_as),
                bounds: Some(source(id).bounds),
            },
            Change::ChangeSource { source: source(id).id, read_as: None, bounds: None },
            Change::RotateToken {
                source: source(id).id,
                token: secret.clone(),
                others_until: Second::new(8),
            },
            Change::RemoveSource(source(id).id),
            Change::RotateSecret { application: ApplicationId(id.0), secret, others_until: Second::new(99) },
            Change::SetLimits {
                application: ApplicationId(id.0),
                per_minute: Some(calls(5)),
                per_hour: Some(CallLimit::Default),
            },
            Change::SetLimits {
                application: ApplicationId(id.0),
                per_minute: None,
                per_hour: Some(CallLimit::Off),
            },
            Change::ChangeApplication {
                application: ApplicationId(id.0),
                permissions: Some([Permission::Manage].into()),
                sign_in: sign_in().into(),
            },
            Change::ChangeApplication {
                application: ApplicationId(id.0),
                permissions: None,
                sign_in: SignInChange::default(),
            },
            Change::AddCertificate(ApplicationId(id.0), certificate()),
            Change::RemoveCertificate(ApplicationId(id.0), [7; 32]),
            Change::RemoveApplication(ApplicationId(id.0)),
            Change::AddUser(user("$argon2id$x")),
            Change::SetPassword { user: UserId(id.0), password: user("x").password, at: Second::new(9) },
            Change::RemoveUser(UserId(id.0)),
            Change::RemoveSigningKey("k".to_owned()),
            Change::AddRole(role()),
            Change::ChangeRole { role: role().id, name: Some("x".to_owned()), permissions: None },
            Change::ChangeRole { role: role().id, name: None, permissions: Some(BTreeSet::new()) },
            Change::RemoveRole(role().id),
            Change::GrantRole(role().id, member()),
            Change::RevokeRole(role().id, member()),
            Change::RemoveMember(id, member()),
        ] {
            let wire = WireChange::try_from(&change).expect("may travel");
            assert_eq!(Change::try_from(through_json(&wire)).expect("makes sense"), change);
        }
        let private = PrivateKey::Plain(vec![1]);
        let kept = Change::KeepSigningKey("k".to_owned(), private.clone());
        let key = SigningKey { kid: "k".to_owned(), private, created_at: Second::new(1) };
        for change in [Change::AddSigningKey(key), kept] {
            assert!(WireChange::try_from(&change).is_err(), "a private key never travels");
        }
    }
}
