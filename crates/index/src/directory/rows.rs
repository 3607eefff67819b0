//! The rows of the directory as JSON: mirrors of the domain's types, so that those stay free of encodings. Refuses
//! to hold: tables and transactions.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sighting::{
    Actor, Application, ApplicationId, AuditEntry, Book, CallLimit, CallLimits, Change, ChangeError,
    DirectoryError, Issuer, Member, MemberId, MemberKind, Organisation, OrganisationId, Permission,
    Retention, Role, RoleId, RolePermission, Second, Secret, SigningKey, Uuid,
};

use super::unavailable;

/// The rows of a book by key, as bytes.
pub(super) struct Rows {
    pub(super) organisations: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) applications: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) roles: BTreeMap<Vec<u8>, Vec<u8>>,
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
        roles: book
            .roles
            .values()
            .map(|role| Ok((role.id.0.as_bytes().to_vec(), to_json(&RoleRow::of(role))?)))
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
    secrets: Vec<SecretRow>,
    /// Absent: both are the server's.
    #[serde(default, skip_serializing_if = "LimitsRow::is_default")]
    limits: LimitsRow,
    created_at: u32,
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

#[derive(Serialize, Deserialize)]
struct SecretRow {
    sha256: String,
    created_at: u32,
    #[serde(default)]
    expires_at: Option<u32>,
}

impl ApplicationRow {
    fn of(application: &Application) -> ApplicationRow {
        let secret = |secret: &Secret| SecretRow {
            sha256: to_hex(&secret.sha256),
            created_at: secret.created_at.unix(),
            expires_at: secret.expires_at.map(Second::unix),
        };
        ApplicationRow {
            id: application.id.to_string(),
            organisation: application.organisation.to_string(),
            name: application.name.clone(),
            permissions: application
                .permissions
                .iter()
                .map(|permission| permission.name().to_owned())
                .collect(),
            secrets: application.secrets.iter().map(secret).collect(),
            limits: LimitsRow::of(application.limits),
            created_at: application.created_at.unix(),
        }
    }

    pub(super) fn into_application(self) -> Result<Application, DirectoryError> {
        let permission = |name: &String| {
            Permission::from_name(name)
                .ok_or_else(|| unavailable("a permission of a newer seenby; run that one"))
        };
        let secret = |row: &SecretRow| {
            let sha256 = from_hex(&row.sha256)?
                .try_into()
                .map_err(|_| unavailable("a secret's hash has the wrong length"))?;
            Ok(Secret {
                sha256,
                created_at: Second::new(row.created_at),
                expires_at: row.expires_at.map(Second::new),
            })
        };
        Ok(Application {
            id: ApplicationId(guid(&self.id)?),
            organisation: OrganisationId(guid(&self.organisation)?),
            name: self.name,
            permissions: self.permissions.iter().map(permission).collect::<Result<_, _>>()?,
            secrets: self.secrets.iter().map(secret).collect::<Result<_, DirectoryError>>()?,
            limits: self.limits.into_limits()?,
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
pub(super) struct SigningKeyRow {
    kid: String,
    pkcs8: String,
    created_at: u32,
}

impl SigningKeyRow {
    fn of(key: &SigningKey) -> SigningKeyRow {
        SigningKeyRow { kid: key.kid.clone(), pkcs8: to_hex(&key.pkcs8), created_at: key.created_at.unix() }
    }

    pub(super) fn into_key(self) -> Result<SigningKey, DirectoryError> {
        Ok(SigningKey {
            pkcs8: from_hex(&self.pkcs8)?,
            kid: self.kid,
            created_at: Second::new(self.created_at),
        })
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

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
