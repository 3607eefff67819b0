//! The rows of the directory as JSON: mirrors of the domain's types, so that those stay free of encodings. Refuses
//! to hold: tables and transactions.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sighting::{
    Actor, Application, ApplicationId, AuditEntry, Book, CallLimit, CallLimits, Certificate, Change,
    ChangeError, DirectoryError, Issuer, Member, MemberId, MemberKind, Network, Organisation, OrganisationId,
    PasswordHash, Permission, PrivateKey, ReadAs, RedirectUri, Retention, Role, RoleId, RolePermission,
    Second, Secret, SignIn, SigningKey, Source, SourceBounds, SourceId, SourceName, User, UserId, Uuid, hex,
};

use super::unavailable;

/// The rows of a book by key, as bytes.
pub(super) struct Rows {
    pub(super) organisations: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) applications: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) users: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) roles: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sources: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) signing_keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The rows of a book.
pub(super) fn of(book: &Book) -> Result<Rows, DirectoryError> {
    let organisations = book.organisations.values();
    let applications = book.applications.values();
    Ok(Rows {
        organisations: organisations
            .map(|organisation| {
                Ok((organisation.id.0.as_bytes().to_vec(), to_json(&OrganisationRow::of(organisation))?))
            })
            .collect::<Result<_, DirectoryError>>()?,
        applications: applications
            .map(|application| {
                Ok((application.id.0.as_bytes().to_vec(), to_json(&ApplicationRow::of(application))?))
            })
            .collect::<Result<_, DirectoryError>>()?,
        users: book
            .users
            .values()
            .map(|user| Ok((user.id.0.as_bytes().to_vec(), to_json(&UserRow::of(user))?)))
            .collect::<Result<_, DirectoryError>>()?,
        roles: book
            .roles
            .values()
            .map(|role| Ok((role.id.0.as_bytes().to_vec(), to_json(&RoleRow::of(role))?)))
            .collect::<Result<_, DirectoryError>>()?,
        sources: book
            .sources
            .values()
            .map(|source| Ok((source.id.0.as_bytes().to_vec(), to_json(&SourceRow::of(source))?)))
            .collect::<Result<_, DirectoryError>>()?,
        signing_keys: book
            .signing_keys
            .iter()
            .map(|key| Ok((key.kid.as_bytes().to_vec(), to_json(&SigningKeyRow::of(key))?)))
            .collect::<Result<_, DirectoryError>>()?,
    })
}

pub(super) fn to_json(row: &impl Serialize) -> Result<Vec<u8>, DirectoryError> {
    serde_json::to_vec(row).map_err(unavailable)
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DirectoryError> {
    serde_json::from_slice(bytes).map_err(unavailable)
}

#[derive(Serialize, Deserialize)]
pub(super) struct OrganisationRow {
    id: String,
    name: String,
    /// `forever` or hours.
    retention: String,
    #[serde(default)]
    source_tenants: Vec<String>,
}

impl OrganisationRow {
    fn of(organisation: &Organisation) -> OrganisationRow {
        OrganisationRow {
            id: organisation.id.to_string(),
            name: organisation.name.clone(),
            retention: organisation.retention.to_string(),
            source_tenants: organisation.source_tenants.iter().map(Uuid::to_string).collect(),
        }
    }

    pub(super) fn into_organisation(self) -> Result<Organisation, DirectoryError> {
        Ok(Organisation {
            id: OrganisationId(guid(&self.id)?),
            retention: Retention::parse(&self.retention)
                .ok_or_else(|| unavailable("a retention cannot be read"))?,
            name: self.name,
            source_tenants: self.source_tenants.iter().map(|id| guid(id)).collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ApplicationRow {
    id: String,
    organisation: String,
    name: String,
    permissions: Vec<String>,
    /// Absent: people do not sign in through it.
    #[serde(default, skip_serializing_if = "SignInRow::is_none")]
    sign_in: SignInRow,
    secrets: Vec<SecretRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<CertificateRow>,
    /// Absent: both are the server's.
    #[serde(default, skip_serializing_if = "LimitsRow::is_default")]
    limits: LimitsRow,
    created_at: u32,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Default)]
struct SignInRow {
    delegated: Vec<String>,
    redirect_uris: Vec<String>,
    device_code: bool,
    password: bool,
    public: bool,
}

impl SignInRow {
    fn of(sign_in: &SignIn) -> SignInRow {
        SignInRow {
            delegated: sign_in.delegated.iter().map(|permission| permission.name().to_owned()).collect(),
            redirect_uris: sign_in.redirect_uris.iter().map(RedirectUri::to_string).collect(),
            device_code: sign_in.device_code,
            password: sign_in.password,
            public: sign_in.public,
        }
    }

    fn is_none(&self) -> bool {
        *self == SignInRow::default()
    }

    fn into_sign_in(self) -> Result<SignIn, DirectoryError> {
        let uri = |text: &String| RedirectUri::new(text).map_err(unavailable);
        Ok(SignIn {
            delegated: self.delegated.iter().map(|name| permission(name)).collect::<Result<_, _>>()?,
            redirect_uris: self.redirect_uris.iter().map(uri).collect::<Result<_, _>>()?,
            device_code: self.device_code,
            password: self.password,
            public: self.public,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct CertificateRow {
    sha256: String,
    sha1: String,
    public_key: String,
    not_before: u32,
    not_after: u32,
    created_at: u32,
}

impl CertificateRow {
    fn of(certificate: &Certificate) -> CertificateRow {
        CertificateRow {
            sha256: hex(&certificate.sha256),
            sha1: hex(&certificate.sha1),
            public_key: hex(&certificate.public_key),
            not_before: certificate.not_before.unix(),
            not_after: certificate.not_after.unix(),
            created_at: certificate.created_at.unix(),
        }
    }

    fn into_certificate(self) -> Result<Certificate, DirectoryError> {
        Ok(Certificate {
            sha256: from_hex_array(&self.sha256)?,
            sha1: from_hex_array(&self.sha1)?,
            public_key: from_hex(&self.public_key)?,
            not_before: Second::new(self.not_before),
            not_after: Second::new(self.not_after),
            created_at: Second::new(self.created_at),
        })
    }
}

/// `default`, `off` or a number of calls, as text.
#[derive(Serialize, Deserialize)]
struct LimitsRow {
    per_minute: String,
    per_hour: String,
}

impl Default for LimitsRow {
    fn default() -> LimitsRow {
        LimitsRow::of(CallLimits::default())
    }
}

impl LimitsRow {
    fn of(limits: CallLimits) -> LimitsRow {
        LimitsRow { per_minute: limits.per_minute.to_string(), per_hour: limits.per_hour.to_string() }
    }

    fn is_default(&self) -> bool {
        let default = CallLimit::Default.to_string();
        self.per_minute == default && self.per_hour == default
    }

    fn into_limits(self) -> Result<CallLimits, DirectoryError> {
        let limit =
            |text: &str| CallLimit::parse(text).ok_or_else(|| unavailable("a call limit cannot be read"));
        Ok(CallLimits { per_minute: limit(&self.per_minute)?, per_hour: limit(&self.per_hour)? })
    }
}

/// A secret or a token.
#[derive(Serialize, Deserialize)]
struct SecretRow {
    sha256: String,
    created_at: u32,
    #[serde(default)]
    expires_at: Option<u32>,
}

impl SecretRow {
    fn of(secret: &Secret) -> SecretRow {
        SecretRow {
            sha256: hex(&secret.sha256),
            created_at: secret.created_at.unix(),
            expires_at: secret.expires_at.map(Second::unix),
        }
    }

    fn to_secret(&self) -> Result<Secret, DirectoryError> {
        Ok(Secret {
            sha256: from_hex_array(&self.sha256)?,
            created_at: Second::new(self.created_at),
            expires_at: self.expires_at.map(Second::new),
        })
    }
}

impl ApplicationRow {
    fn of(application: &Application) -> ApplicationRow {
        ApplicationRow {
            id: application.id.to_string(),
            organisation: application.organisation.to_string(),
            name: application.name.clone(),
            permissions: application
                .permissions
                .iter()
                .map(|permission| permission.name().to_owned())
                .collect(),
            sign_in: SignInRow::of(&application.sign_in),
            secrets: application.secrets.iter().map(SecretRow::of).collect(),
            certificates: application.certificates.iter().map(CertificateRow::of).collect(),
            limits: LimitsRow::of(application.limits),
            created_at: application.created_at.unix(),
        }
    }

    pub(super) fn into_application(self) -> Result<Application, DirectoryError> {
        Ok(Application {
            id: ApplicationId(guid(&self.id)?),
            organisation: OrganisationId(guid(&self.organisation)?),
            name: self.name,
            permissions: self.permissions.iter().map(|name| permission(name)).collect::<Result<_, _>>()?,
            sign_in: self.sign_in.into_sign_in()?,
            secrets: self.secrets.iter().map(SecretRow::to_secret).collect::<Result<_, _>>()?,
            certificates: self
                .certificates
                .into_iter()
                .map(CertificateRow::into_certificate)
                .collect::<Result<_, _>>()?,
            limits: self.limits.into_limits()?,
            created_at: Second::new(self.created_at),
        })
    }
}

fn permission(name: &str) -> Result<Permission, DirectoryError> {
    Permission::from_name(name).ok_or_else(|| unavailable("a permission of a newer seenby; run that one"))
}

#[derive(Serialize, Deserialize)]
pub(super) struct UserRow {
    id: String,
    organisation: String,
    name: String,
    /// The text of an argon2id hash.
    password: String,
    password_set_at: u32,
    created_at: u32,
}

impl UserRow {
    fn of(user: &User) -> UserRow {
        UserRow {
            id: user.id.to_string(),
            organisation: user.organisation.to_string(),
            name: user.name.clone(),
            password: user.password.0.clone(),
            password_set_at: user.password_set_at.unix(),
            created_at: user.created_at.unix(),
        }
    }

    pub(super) fn into_user(self) -> Result<User, DirectoryError> {
        Ok(User {
            id: UserId(guid(&self.id)?),
            organisation: OrganisationId(guid(&self.organisation)?),
            name: self.name,
            password: PasswordHash(self.password),
            password_set_at: Second::new(self.password_set_at),
            created_at: Second::new(self.created_at),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct RoleRow {
    id: String,
    organisation: String,
    name: String,
    permissions: Vec<String>,
    members: Vec<MemberRow>,
    created_at: u32,
}

#[derive(Serialize, Deserialize)]
struct MemberRow {
    /// `built-in` or a URL.
    issuer: String,
    /// `user` or `group`.
    kind: String,
    id: String,
}

impl RoleRow {
    fn of(role: &Role) -> RoleRow {
        let member = |member: &Member| MemberRow {
            issuer: member.issuer.to_string(),
            kind: member.kind.name().to_owned(),
            id: member.id.to_string(),
        };
        RoleRow {
            id: role.id.to_string(),
            organisation: role.organisation.to_string(),
            name: role.name.clone(),
            permissions: role.permissions.iter().map(|permission| permission.name().to_owned()).collect(),
            members: role.members.iter().map(member).collect(),
            created_at: role.created_at.unix(),
        }
    }

    pub(super) fn into_role(self) -> Result<Role, DirectoryError> {
        let permission = |name: &String| {
            RolePermission::from_name(name)
                .ok_or_else(|| unavailable("a permission of a newer seenby; run that one"))
        };
        Ok(Role {
            id: RoleId(guid(&self.id)?),
            organisation: OrganisationId(guid(&self.organisation)?),
            name: self.name,
            permissions: self.permissions.iter().map(permission).collect::<Result<_, _>>()?,
            members: self.members.into_iter().map(MemberRow::into_member).collect::<Result<_, _>>()?,
            created_at: Second::new(self.created_at),
        })
    }
}

impl MemberRow {
    fn into_member(self) -> Result<Member, DirectoryError> {
        let broken = |error: ChangeError| unavailable(error);
        Ok(Member {
            issuer: Issuer::new(&self.issuer).map_err(broken)?,
            kind: MemberKind::from_name(&self.kind)
                .ok_or_else(|| unavailable("a member of a newer seenby; run that one"))?,
            id: MemberId::new(&self.id).map_err(broken)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct SourceRow {
    id: String,
    organisation: String,
    name: String,
    read_as: ReadAsRow,
    bounds: BoundsRow,
    tokens: Vec<SecretRow>,
    created_at: u32,
}

#[derive(Serialize, Deserialize)]
struct ReadAsRow {
    format: Option<String>,
    time_zone: Option<String>,
    columns: Option<String>,
    local_networks: Option<Vec<String>>,
}

/// Absent numbers are no bounds.
#[derive(Serialize, Deserialize)]
struct BoundsRow {
    networks: Vec<String>,
    bytes_per_second: Option<NonZeroU64>,
    new_devices_per_hour: Option<NonZeroU32>,
    back_dating_hours: Option<NonZeroU32>,
}

impl SourceRow {
    fn of(source: &Source) -> SourceRow {
        let ReadAs { format, time_zone, columns, local_networks } = source.read_as.clone();
        let SourceBounds { networks, bytes_per_second, new_devices_per_hour, back_dating_hours } =
            &source.bounds;
        SourceRow {
            id: source.id.to_string(),
            organisation: source.organisation.to_string(),
            name: source.name.as_str().to_owned(),
            read_as: ReadAsRow {
                format,
                time_zone,
                columns,
                local_networks: local_networks.as_deref().map(network_texts),
            },
            bounds: BoundsRow {
                networks: network_texts(networks),
                bytes_per_second: *bytes_per_second,
                new_devices_per_hour: *new_devices_per_hour,
                back_dating_hours: *back_dating_hours,
            },
            tokens: source.tokens.iter().map(SecretRow::of).collect(),
            created_at: source.created_at.unix(),
        }
    }

    pub(super) fn into_source(self) -> Result<Source, DirectoryError> {
        let ReadAsRow { format, time_zone, columns, local_networks } = self.read_as;
        let bounds = self.bounds;
        Ok(Source {
            id: SourceId(guid(&self.id)?),
            organisation: OrganisationId(guid(&self.organisation)?),
            name: SourceName::new(&self.name).ok_or_else(|| unavailable("a source's name cannot be read"))?,
            read_as: ReadAs {
                format,
                time_zone,
                columns,
                local_networks: local_networks.as_deref().map(networks_of).transpose()?,
            },
            bounds: SourceBounds {
                networks: networks_of(&bounds.networks)?,
                bytes_per_second: bounds.bytes_per_second,
                new_devices_per_hour: bounds.new_devices_per_hour,
                back_dating_hours: bounds.back_dating_hours,
            },
            tokens: self.tokens.iter().map(SecretRow::to_secret).collect::<Result<_, _>>()?,
            created_at: Second::new(self.created_at),
        })
    }
}

fn network_texts(networks: &[Network]) -> Vec<String> {
    networks.iter().map(Network::to_string).collect()
}

fn networks_of(texts: &[String]) -> Result<Vec<Network>, DirectoryError> {
    let network = |text: &String| Network::parse(text).map_err(|_| unavailable("a network cannot be read"));
    texts.iter().map(network).collect()
}

#[derive(Serialize, Deserialize)]
pub(super) struct SigningKeyRow {
    kid: String,
    /// Present if it is kept in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pkcs8: Option<String>,
    /// Present if it is kept encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    created_at: u32,
}

impl SigningKeyRow {
    fn of(key: &SigningKey) -> SigningKeyRow {
        let (pkcs8, sealed) = match &key.private {
            PrivateKey::Plain(bytes) => (Some(hex(bytes)), None),
            PrivateKey::Sealed(bytes) => (None, Some(hex(bytes))),
        };
        SigningKeyRow { kid: key.kid.clone(), pkcs8, sealed, created_at: key.created_at.unix() }
    }

    pub(super) fn into_key(self) -> Result<SigningKey, DirectoryError> {
        let private = match (self.pkcs8, self.sealed) {
            (Some(hex), None) => PrivateKey::Plain(from_hex(&hex)?),
            (None, Some(hex)) => PrivateKey::Sealed(from_hex(&hex)?),
            _ => return Err(unavailable("a signing key cannot be read")),
        };
        Ok(SigningKey { private, kid: self.kid, created_at: Second::new(self.created_at) })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct AuditRow {
    at: u32,
    actor: String,
    what: String,
}

impl AuditRow {
    pub(super) fn new(at: Second, actor: &Actor, change: &Change) -> AuditRow {
        AuditRow { at: at.unix(), actor: actor.0.clone(), what: change.to_string() }
    }

    pub(super) fn into_entry(self) -> AuditEntry {
        AuditEntry { at: Second::new(self.at), actor: self.actor, what: self.what }
    }
}

fn guid(text: &str) -> Result<Uuid, DirectoryError> {
    Uuid::try_parse(text).map_err(unavailable)
}

fn from_hex(text: &str) -> Result<Vec<u8>, DirectoryError> {
    let broken = || unavailable("a hexadecimal text cannot be read");
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(broken());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| broken()))
        .collect()
}

fn from_hex_array<const N: usize>(text: &str) -> Result<[u8; N], DirectoryError> {
    from_hex(text)?.try_into().map_err(|_| unavailable("a hexadecimal text has the wrong length"))
}
