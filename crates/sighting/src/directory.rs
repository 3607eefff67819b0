//! Who may ask, how often, and who may tell: organisations, applications, people and their roles, sources that push, signing keys and the audit log, as one
//! immutable [`Book`] that changes by [`Change`]s; and the trait of whoever keeps it. Refuses to hold: hashing, randomness,
//! tokens and counting (the HTTP room), files (the index) and sightings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::{
    Application, ApplicationId, Change, ChangeError, GrantPage, Issuer, Member, MemberId, MemberKind,
    Organisation, OrganisationId, Permission, Role, RoleId, RolePermission, Second, Secret, SignInChange,
    Source, SourceId, Ticket, TicketKey, User, UserId,
};

/// A key of the built-in issuer.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its id in tokens and in the key set.
    pub kid: String,
    /// The RSA private key.
    pub private: PrivateKey,
    /// When it was made; the newest signs, all are published.
    pub created_at: Second,
}

/// A private key as it is kept. Its `Debug` is its name only.
#[derive(Clone, PartialEq, Eq)]
pub enum PrivateKey {
    /// PKCS#8 DER.
    Plain(Vec<u8>),
    /// The same, encrypted under a key that is kept elsewhere.
    Sealed(Vec<u8>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrivateKey::Plain(_) => "Plain(..)",
            PrivateKey::Sealed(_) => "Sealed(..)",
        })
    }
}

/// Names the key, never its bytes.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// Who made a change, for the audit log: `uid 1000 on the command line`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor(pub String);

/// One line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    /// When.
    pub at: Second,
    /// Who.
    pub actor: String,
    /// What, as a sentence without secrets.
    pub what: String,
}

/// Everything a directory holds, as one value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Book {
    /// The organisations.
    pub organisations: BTreeMap<OrganisationId, Organisation>,
    /// The applications.
    pub applications: BTreeMap<ApplicationId, Application>,
    /// The people who sign in here.
    pub users: BTreeMap<UserId, User>,
    /// The roles.
    pub roles: BTreeMap<RoleId, Role>,
    /// The sources that push.
    pub sources: BTreeMap<SourceId, Source>,
    /// The signing keys, oldest first.
    pub signing_keys: Vec<SigningKey>,
}

impl Book {
    /// The organisation of a name (without case) or a GUID.
    pub fn organisation(&self, name_or_id: &str) -> Option<&Organisation> {
        let by_id =
            Uuid::try_parse(name_or_id).ok().and_then(|id| self.organisations.get(&OrganisationId(id)));
        by_id
            .or_else(|| self.organisations.values().find(|organisation| same(&organisation.name, name_or_id)))
    }

    /// The application of a name (without case) or a client id, inside one organisation.
    pub fn application(&self, organisation: OrganisationId, name_or_id: &str) -> Option<&Application> {
        let id = Uuid::try_parse(name_or_id).ok().map(ApplicationId);
        self.applications
            .values()
            .filter(|application| application.organisation == organisation)
            .find(|application| Some(application.id) == id || same(&application.name, name_or_id))
    }

    /// The user of a name (without case) or an id, inside one organisation.
    pub fn user(&self, organisation: OrganisationId, name_or_id: &str) -> Option<&User> {
        let id = Uuid::try_parse(name_or_id).ok().map(UserId);
        let mut users = self.users.values().filter(|user| user.organisation == organisation);
        users.find(|user| Some(user.id) == id || same(&user.name, name_or_id))
    }

    /// The role of a name (without case) or an id, inside one organisation.
    pub fn role(&self, organisation: OrganisationId, name_or_id: &str) -> Option<&Role> {
        let id = Uuid::try_parse(name_or_id).ok().map(RoleId);
        let mut roles = self.roles.values().filter(|role| role.organisation == organisation);
        roles.find(|role| Some(role.id) == id || same(&role.name, name_or_id))
    }

    /// The source of a name (without case) or an id, inside one organisation.
    pub fn source(&self, organisation: OrganisationId, name_or_id: &str) -> Option<&Source> {
        let id = Uuid::try_parse(name_or_id).ok().map(SourceId);
        let mut sources = self.sources.values().filter(|source| source.organisation == organisation);
        sources.find(|source| Some(source.id) == id || same(source.name.as_str(), name_or_id))
    }

    /// The source that a token is of, by the token's SHA-256, if it is good now. Cost: a look at every token there is.
    pub fn source_of_token(&self, sha256: &[u8; 32], now: Second) -> Option<&Source> {
        self.sources.values().find(|source| source.has_token(sha256, now))
    }

    /// What somebody may do in an organisation: as a user, and as a member of groups, by all roles together.
    pub fn permissions_of<'a>(
        &self,
        organisation: OrganisationId,
        issuer: &Issuer,
        user: &str,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<RolePermission> {
        let groups = groups.into_iter().map(|id| (MemberKind::Group, id));
        let who = std::iter::once((MemberKind::User, user)).chain(groups);
        // What is no id is nobody's.
        let who: Vec<Member> = who
            .filter_map(|(kind, id)| {
                Some(Member { issuer: issuer.clone(), kind, id: MemberId::new(id).ok()? })
            })
            .collect();
        let roles = self.roles.values().filter(|role| role.organisation == organisation);
        let has = |role: &&Role| who.iter().any(|member| role.members.contains(member));
        roles.filter(has).flat_map(|role| role.permissions.iter().copied()).collect()
    }

    /// Makes a change, or says why it makes no sense and stays as it was.
    pub fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::AddOrganisation(organisation) => self.add_organisation(organisation),
            Change::RenameOrganisation(id, name) => {
                self.check_organisation_name(name, Some(*id))?;
                self.organisation_mut(*id)?.name.clone_from(name);
                Ok(())
            }
            Change::SetRetention(id, retention) => {
                self.organisation_mut(*id)?.retention = *retention;
                Ok(())
            }
            Change::RemoveOrganisation(id) => {
                self.organisations.remove(id).ok_or(ChangeError::NoOrganisation(*id))?;
                self.applications.retain(|_, application| application.organisation != *id);
                self.users.retain(|_, user| user.organisation != *id);
                self.roles.retain(|_, role| role.organisation != *id);
                self.sources.retain(|_, source| source.organisation != *id);
                Ok(())
            }
            Change::AddApplication(application) => self.add_application(application),
            Change::RotateSecret { application, secret, others_until } => {
                let application = self.application_mut(*application)?;
                if application.sign_in.public {
                    return Err(ChangeError::PublicHasNoSecret);
                }
                rotate(&mut application.secrets, secret, *others_until);
                Ok(())
            }
            Change::SetLimits { application, per_minute, per_hour } => {
                let limits = &mut self.application_mut(*application)?.limits;
                limits.per_minute = per_minute.unwrap_or(limits.per_minute);
                limits.per_hour = per_hour.unwrap_or(limits.per_hour);
                Ok(())
            }
            Change::ChangeApplication { application, permissions, sign_in } => {
                self.change_application(*application, permissions, sign_in)
            }
            Change::AddCertificate(application, certificate) => {
                let application = self.application_mut(*application)?;
                if application.sign_in.public {
                    return Err(ChangeError::PublicHasNoSecret);
                }
                application.certificates.retain(|other| other.sha256 != certificate.sha256);
                application.certificates.push(certificate.clone());
                Ok(())
            }
            Change::RemoveCertificate(application, sha256) => {
                let certificates = &mut self.application_mut(*application)?.certificates;
                let before = certificates.len();
                certificates.retain(|certificate| certificate.sha256 != *sha256);
                if certificates.len() < before { Ok(()) } else { Err(ChangeError::NoCertificate) }
            }
            Change::RemoveApplication(id) => {
                self.applications.remove(id).map(drop).ok_or(ChangeError::NoApplication(*id))
            }
            Change::AddUser(user) => self.add_user(user),
            Change::SetPassword { user, password, at } => {
                let user = self.users.get_mut(user).ok_or(ChangeError::NoUser(*user))?;
                user.password = password.clone();
                // Two of one second are two.
                user.password_set_at = (*at).max(user.password_set_at.plus(1));
                Ok(())
            }
            Change::RemoveUser(id) => self.remove_user(*id),
            Change::AddRole(role) => self.add_role(role),
            Change::ChangeRole { role, name, permissions } => self.change_role(*role, name, permissions),
            Change::RemoveRole(id) => self.roles.remove(id).map(drop).ok_or(ChangeError::NoRole(*id)),
            Change::GrantRole(role, member) => {
                self.role_mut(*role)?.members.insert(member.clone());
                Ok(())
            }
            Change::RevokeRole(role, member) => {
                let had = self.role_mut(*role)?.members.remove(member);
                had.then_some(()).ok_or_else(|| ChangeError::NoMember(member.clone()))
            }
            Change::RemoveMember(organisation, member) => self.remove_member(*organisation, member),
            Change::AddSource(source) => self.add_source(source),
            Change::ChangeSource { source, read_as, bounds } => {
                let source = self.source_mut(*source)?;
                source.read_as = read_as.as_ref().unwrap_or(&source.read_as).clone();
                source.bounds = bounds.as_ref().unwrap_or(&source.bounds).clone();
                Ok(())
            }
            Change::RotateToken { source, token, others_until } => {
                rotate(&mut self.source_mut(*source)?.tokens, token, *others_until);
                Ok(())
            }
            Change::RemoveSource(id) => self.sources.remove(id).map(drop).ok_or(ChangeError::NoSource(*id)),
            Change::AddSigningKey(key) => {
                self.signing_keys.push(key.clone());
                self.signing_keys.sort_by_key(|key| key.created_at);
                Ok(())
            }
            Change::KeepSigningKey(kid, private) => {
                let mut keys = self.signing_keys.iter_mut();
                let key = keys.find(|key| key.kid == *kid).ok_or_else(|| no_key(kid))?;
                key.private = private.clone();
                Ok(())
            }
            Change::RemoveSigningKey(kid) => self.remove_signing_key(kid),
        }
    }

    fn add_organisation(&mut self, organisation: &Organisation) -> Result<(), ChangeError> {
        if self.organisations.contains_key(&organisation.id) {
            return Err(ChangeError::IdTaken(organisation.id.0));
        }
        self.check_organisation_name(&organisation.name, None)?;
        self.organisations.insert(organisation.id, organisation.clone());
        Ok(())
    }

    fn add_application(&mut self, application: &Application) -> Result<(), ChangeError> {
        if self.applications.contains_key(&application.id) {
            return Err(ChangeError::IdTaken(application.id.0));
        }
        if !self.organisations.contains_key(&application.organisation) {
            return Err(ChangeError::NoOrganisation(application.organisation));
        }
        if application.sign_in.public
            && !(application.secrets.is_empty() && application.certificates.is_empty())
        {
            return Err(ChangeError::PublicHasNoSecret);
        }
        check_name(&application.name)?;
        let mut names =
            self.applications.values().filter(|other| other.organisation == application.organisation);
        if names.any(|other| same(&other.name, &application.name)) {
            return Err(ChangeError::NameTaken(application.name.clone()));
        }
        self.applications.insert(application.id, application.clone());
        Ok(())
    }

    fn change_application(
        &mut self,
        id: ApplicationId,
        permissions: &Option<BTreeSet<Permission>>,
        sign_in: &SignInChange,
    ) -> Result<(), ChangeError> {
        let application = self.application_mut(id)?;
        let has_credentials = !application.secrets.is_empty() || !application.certificates.is_empty();
        if has_credentials && sign_in.public == Some(true) {
            return Err(ChangeError::PublicHasNoSecret);
        }
        if let Some(permissions) = permissions {
            application.permissions = permissions.iter().copied().collect();
        }
        application.sign_in = sign_in.applied_to(&application.sign_in);
        Ok(())
    }

    fn add_user(&mut self, user: &User) -> Result<(), ChangeError> {
        if self.users.contains_key(&user.id) {
            return Err(ChangeError::IdTaken(user.id.0));
        }
        if !self.organisations.contains_key(&user.organisation) {
            return Err(ChangeError::NoOrganisation(user.organisation));
        }
        check_name(&user.name)?;
        let mut others = self.users.values().filter(|other| other.organisation == user.organisation);
        if others.any(|other| same(&other.name, &user.name)) {
            return Err(ChangeError::NameTaken(user.name.clone()));
        }
        self.users.insert(user.id, user.clone());
        Ok(())
    }

    /// An id is never given to anybody else, so nobody would inherit the roles; they go all the same.
    fn remove_user(&mut self, id: UserId) -> Result<(), ChangeError> {
        let user = self.users.remove(&id).ok_or(ChangeError::NoUser(id))?;
        let Ok(member) = MemberId::new(&id.to_string()) else { return Ok(()) };
        let member = Member { issuer: Issuer::BuiltIn, kind: MemberKind::User, id: member };
        for role in self.roles.values_mut().filter(|role| role.organisation == user.organisation) {
            role.members.remove(&member);
        }
        Ok(())
    }

    fn remove_signing_key(&mut self, kid: &str) -> Result<(), ChangeError> {
        if self.signing_keys.last().is_some_and(|newest| newest.kid == kid) {
            return Err(ChangeError::SigningKeyInUse(kid.to_owned()));
        }
        let before = self.signing_keys.len();
        self.signing_keys.retain(|key| key.kid != kid);
        if self.signing_keys.len() < before { Ok(()) } else { Err(no_key(kid)) }
    }

    fn add_role(&mut self, role: &Role) -> Result<(), ChangeError> {
        if self.roles.contains_key(&role.id) {
            return Err(ChangeError::IdTaken(role.id.0));
        }
        if !self.organisations.contains_key(&role.organisation) {
            return Err(ChangeError::NoOrganisation(role.organisation));
        }
        self.check_role_name(role.organisation, &role.name, None)?;
        self.roles.insert(role.id, role.clone());
        Ok(())
    }

    fn change_role(
        &mut self,
        id: RoleId,
        name: &Option<String>,
        permissions: &Option<BTreeSet<RolePermission>>,
    ) -> Result<(), ChangeError> {
        let organisation = self.role_mut(id)?.organisation;
        if let Some(name) = name {
            self.check_role_name(organisation, name, Some(id))?;
            self.role_mut(id)?.name.clone_from(name);
        }
        if let Some(permissions) = permissions {
            self.role_mut(id)?.permissions.clone_from(permissions);
        }
        Ok(())
    }

    fn remove_member(&mut self, organisation: OrganisationId, member: &Member) -> Result<(), ChangeError> {
        let mut had = false;
        for role in self.roles.values_mut().filter(|role| role.organisation == organisation) {
            had |= role.members.remove(member);
        }
        had.then_some(()).ok_or_else(|| ChangeError::NoMember(member.clone()))
    }

    fn add_source(&mut self, source: &Source) -> Result<(), ChangeError> {
        if self.sources.contains_key(&source.id) {
            return Err(ChangeError::IdTaken(source.id.0));
        }
        if !self.organisations.contains_key(&source.organisation) {
            return Err(ChangeError::NoOrganisation(source.organisation));
        }
        let name = source.name.as_str();
        check_name(name)?;
        let mut others = self.sources.values().filter(|other| other.organisation == source.organisation);
        if others.any(|other| same(other.name.as_str(), name)) {
            return Err(ChangeError::NameTaken(name.to_owned()));
        }
        self.sources.insert(source.id, source.clone());
        Ok(())
    }

    fn source_mut(&mut self, id: SourceId) -> Result<&mut Source, ChangeError> {
        self.sources.get_mut(&id).ok_or(ChangeError::NoSource(id))
    }

    fn role_mut(&mut self, id: RoleId) -> Result<&mut Role, ChangeError> {
        self.roles.get_mut(&id).ok_or(ChangeError::NoRole(id))
    }

    fn check_role_name(
        &self,
        organisation: OrganisationId,
        name: &str,
        but: Option<RoleId>,
    ) -> Result<(), ChangeError> {
        check_name(name)?;
        let others = self.roles.values().filter(|role| role.organisation == organisation);
        let mut others = others.filter(|role| Some(role.id) != but);
        if others.any(|role| same(&role.name, name)) {
            return Err(ChangeError::NameTaken(name.to_owned()));
        }
        Ok(())
    }

    fn organisation_mut(&mut self, id: OrganisationId) -> Result<&mut Organisation, ChangeError> {
        self.organisations.get_mut(&id).ok_or(ChangeError::NoOrganisation(id))
    }

    fn application_mut(&mut self, id: ApplicationId) -> Result<&mut Application, ChangeError> {
        self.applications.get_mut(&id).ok_or(ChangeError::NoApplication(id))
    }

    fn check_organisation_name(&self, name: &str, but: Option<OrganisationId>) -> Result<(), ChangeError> {
        check_name(name)?;
        let mut others = self.organisations.values().filter(|other| Some(other.id) != but);
        if others.any(|other| same(&other.name, name)) {
            return Err(ChangeError::NameTaken(name.to_owned()));
        }
        Ok(())
    }
}

/// Adds a secret; the others end at a second at the latest, and those that ended before the new one go.
fn rotate(secrets: &mut Vec<Secret>, new: &Secret, others_until: Second) {
    for other in &mut *secrets {
        other.expires_at = Some(other.expires_at.map_or(others_until, |end| end.min(others_until)));
    }
    secrets.retain(|other| other.expires_at.is_none_or(|end| end >= new.created_at));
    secrets.push(new.clone());
}

fn no_key(kid: &str) -> ChangeError {
    ChangeError::NoSigningKey(kid.to_owned())
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn check_name(name: &str) -> Result<(), ChangeError> {
    let fits =
        !name.trim().is_empty() && name.len() <= crate::NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if !fits {
        return Err(ChangeError::BadName);
    }
    // Whatever is named by a name may be named by its id: a name that reads as one would stand for two things.
    match Uuid::try_parse(name.trim()) {
        Ok(_) => Err(ChangeError::NameLikeId(name.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Why a directory did not make a change or could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The change makes no sense.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The directory cannot be read or written; the text says what to do.
    #[error("{0}")]
    Unavailable(String),
}

/// Keeps the book. A change is durable when `commit` returns, and the next `book` shows it.
pub trait Directory: Send + Sync {
    /// The book as it is now. Cheap: called for every request.
    fn book(&self) -> impl Future<Output = Result<Arc<Book>, DirectoryError>> + Send;

    /// Makes a change and writes it into the audit log, or does neither.
    fn commit(
        &self,
        change: Change,
        actor: Actor,
        now: Second,
    ) -> impl Future<Output = Result<(), DirectoryError>> + Send;

    /// The newest lines of the audit log, newest first.
    fn audit(
        &self,
        entries_max: usize,
    ) -> impl Future<Output = Result<Vec<AuditEntry>, DirectoryError>> + Send;

    /// Keeps a page of granted calls behind the others, or in their place if it is a whole one. Durable when it returns.
    fn keep_grants(&self, page: GrantPage) -> impl Future<Output = Result<(), DirectoryError>> + Send;

    /// The pages that are kept, in the order in which they came; only the first can be a whole one.
    fn grants(&self) -> impl Future<Output = Result<Vec<GrantPage>, DirectoryError>> + Send;

    /// Keeps a ticket if there is none of its key, one that has expired aside; says whether it did. Of several who try at
    /// once one succeeds. Durable when it returns.
    fn add_ticket(
        &self,
        key: TicketKey,
        ticket: Ticket,
        now: Second,
    ) -> impl Future<Output = Result<bool, DirectoryError>> + Send;

    /// Puts a ticket in the place of the one of its key, if that is there; says whether it was. Durable when it returns.
    fn replace_ticket(
        &self,
        key: TicketKey,
        ticket: Ticket,
        now: Second,
    ) -> impl Future<Output = Result<bool, DirectoryError>> + Send;

    /// The ticket of a key.
    fn ticket(
        &self,
        key: TicketKey,
        now: Second,
    ) -> impl Future<Output = Result<Option<Ticket>, DirectoryError>> + Send;

    /// Removes the ticket of a key and gives it to one of those who ask. Durable when it returns.
    fn take_ticket(
        &self,
        key: TicketKey,
        now: Second,
    ) -> impl Future<Output = Result<Option<Ticket>, DirectoryError>> + Send;

    /// Forgets the tickets that have expired, and says how many they were. Changes no answer.
    fn sweep_tickets(&self, now: Second) -> impl Future<Output = Result<u64, DirectoryError>> + Send;
}

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{
        CallLimit, CallLimits, Certificate, PasswordHash, RETENTION_DEFAULT, ReadAs, SignIn, SourceBounds,
        SourceName,
    };

    const GUIDS: [&str; 4] = [
        "11111111-2222-4333-8444-555555555555",
        "AAAAAAAA-2222-4333-8444-555555555555",
        "11111111222243338444555555555555",
        "{11111111-2222-4333-8444-555555555555}",
    ];

    fn organisation(number: u128, name: &str) -> Organisation {
        Organisation {
            id: OrganisationId(Uuid::from_u128(number)),
            name: name.to_owned(),
            retention: RETENTION_DEFAULT,
            source_tenants: Vec::new(),
        }
    }

    pub(crate) fn application(number: u128, name: &str) -> Application {
        Application {
            id: ApplicationId(Uuid::from_u128(number)),
            organisation: OrganisationId(Uuid::from_u128(1)),
            name: name.to_owned(),
            permissions: Vec::new(),
            sign_in: SignIn::default(),
            secrets: Vec::new(),
            certificates: Vec::new(),
            limits: CallLimits::default(),
            created_at: Second::new(0),
        }
    }

    pub(crate) fn token(byte: u8) -> Secret {
        Secret { sha256: [byte; 32], created_at: Second::new(10), expires_at: None }
    }

    pub(crate) fn source(number: u128, organisation: u128, name: &str) -> Source {
        Source {
            id: SourceId(Uuid::from_u128(number)),
            organisation: OrganisationId(Uuid::from_u128(organisation)),
            name: SourceName::new(name).expect("a name"),
            read_as: ReadAs::default(),
            bounds: SourceBounds::default(),
            tokens: vec![token(number as u8)],
            created_at: Second::new(0),
        }
    }

    /// A token is one source's, until it ends, is rotated away, or its source or its organisation goes.
    #[test]
    fn what_a_source_may_show() {
        let mut book = two_organisations();
        for (number, organisation, name) in [(1, 1, "zeek"), (2, 1, "edr"), (3, 2, "Zeek")] {
            book.apply(&Change::AddSource(source(number, organisation, name))).expect("new");
        }
        let taken = Err(ChangeError::NameTaken("ZEEK".to_owned()));
        assert_eq!(book.apply(&Change::AddSource(source(4, 1, "ZEEK"))), taken);
        let found = |book: &Book, byte: u8, now: u32| {
            book.source_of_token(&[byte; 32], Second::new(now)).map(|source| source.id.0.as_u128())
        };
        assert_eq!((found(&book, 1, 50), found(&book, 3, 50), found(&book, 9, 50)), (Some(1), Some(3), None));
        let id = SourceId(Uuid::from_u128(1));
        let rotated = Change::RotateToken { source: id, token: token(9), others_until: Second::new(60) };
        book.apply(&rotated).expect("there");
        assert_eq!((found(&book, 1, 60), found(&book, 1, 61), found(&book, 9, 61)), (Some(1), None, Some(1)));
        book.apply(&Change::RemoveSource(id)).expect("there");
        assert_eq!(
            (found(&book, 9, 61), book.apply(&Change::RemoveSource(id))),
            (None, Err(ChangeError::NoSource(id)))
        );
        book.apply(&Change::RemoveOrganisation(OrganisationId(Uuid::from_u128(2)))).expect("there");
        assert_eq!((found(&book, 3, 50), found(&book, 2, 50)), (None, Some(2)));
    }

    /// A name or an id finds one thing: no name may look like another's id.
    #[test]
    fn a_name_that_looks_like_an_id_is_refused() {
        let mut book = Book::default();
        book.apply(&Change::AddOrganisation(organisation(1, "Contoso"))).expect("new");
        for name in GUIDS {
            let refused = Err(ChangeError::NameLikeId(name.to_owned()));
            assert_eq!(book.apply(&Change::AddOrganisation(organisation(2, name))), refused);
            let id = OrganisationId(Uuid::from_u128(1));
            assert_eq!(book.apply(&Change::RenameOrganisation(id, name.to_owned())), refused);
            assert_eq!(book.apply(&Change::AddApplication(application(3, name))), refused);
        }
        book.apply(&Change::AddApplication(application(3, "11111111-2222"))).expect("a name");
        assert_eq!((book.organisations.len(), book.applications.len()), (1, 1));
    }

    #[test]
    fn limits_change_one_at_a_time() {
        let id = ApplicationId(Uuid::from_u128(3));
        let mut book = Book::default();
        book.apply(&Change::AddOrganisation(organisation(1, "Contoso"))).expect("new");
        book.apply(&Change::AddApplication(application(3, "soar"))).expect("new");
        let calls = |calls| CallLimit::Calls(NonZeroU32::new(calls).expect("not zero"));
        let (minute, hour) = (Some(calls(200)), Some(CallLimit::Off));
        for (per_minute, per_hour, expected, sentence) in [
            (minute, None, (calls(200), CallLimit::Default), "200 per minute"),
            (None, hour, (calls(200), CallLimit::Off), "off per hour"),
            (
                Some(CallLimit::Default),
                Some(calls(9)),
                (CallLimit::Default, calls(9)),
                "default per minute and 9 per hour",
            ),
        ] {
            let change = Change::SetLimits { application: id, per_minute, per_hour };
            book.apply(&change).expect("it is there");
            let limits = book.applications[&id].limits;
            assert_eq!((limits.per_minute, limits.per_hour), expected);
            assert_eq!(change.to_string(), format!("set the call limits of application {id} to {sentence}"));
        }
        let nobody = ApplicationId(Uuid::from_u128(4));
        let change = Change::SetLimits { application: nobody, per_minute: minute, per_hour: hour };
        assert_eq!(book.apply(&change), Err(ChangeError::NoApplication(nobody)));
    }

    fn member(issuer: Issuer, kind: MemberKind, id: &str) -> Member {
        Member { issuer, kind, id: MemberId::new(id).expect("an id") }
    }

    fn new_role(number: u128, organisation: u128, name: &str, permissions: &[RolePermission]) -> Role {
        Role {
            id: RoleId(Uuid::from_u128(number)),
            organisation: OrganisationId(Uuid::from_u128(organisation)),
            name: name.to_owned(),
            permissions: permissions.iter().copied().collect(),
            members: BTreeSet::new(),
            created_at: Second::new(0),
        }
    }

    fn two_organisations() -> Book {
        let mut book = Book::default();
        for (number, name) in [(1, "Contoso"), (2, "Fabrikam")] {
            book.apply(&Change::AddOrganisation(organisation(number, name))).expect("new");
        }
        book
    }

    /// The same id of another issuer, in another organisation, or of a group instead of a user, is somebody else.
    #[test]
    fn who_may_do_what() {
        use RolePermission::{ManageRoles, ViewData, WriteSightings};
        let mut book = two_organisations();
        let outside = Issuer::new("https://sts.windows.net/t/").expect("a URL");
        for (role, members) in [
            (new_role(1, 1, "analysts", &[ViewData]), [member(outside.clone(), MemberKind::User, "kim")]),
            (
                new_role(2, 1, "admins", &[ManageRoles, ViewData]),
                [member(outside.clone(), MemberKind::Group, "g")],
            ),
            (
                new_role(3, 2, "analysts", &[WriteSightings]),
                [member(Issuer::BuiltIn, MemberKind::User, "kim")],
            ),
        ] {
            let id = role.id;
            book.apply(&Change::AddRole(role)).expect("new");
            for member in members {
                book.apply(&Change::GrantRole(id, member)).expect("there");
            }
        }
        let check = |organisation: u128,
                     issuer: &Issuer,
                     user: &str,
                     groups: &[&str],
                     expected: &[RolePermission]| {
            let organisation = OrganisationId(Uuid::from_u128(organisation));
            let found = book.permissions_of(organisation, issuer, user, groups.iter().copied());
            assert_eq!(
                found.into_iter().collect::<Vec<_>>(),
                expected,
                "{organisation} {issuer} {user} {groups:?}"
            );
        };
        check(1, &outside, "kim", &[], &[ViewData]);
        check(1, &outside, "kim", &["other", "g"], &[ViewData, ManageRoles]);
        check(1, &outside, "lee", &["g"], &[ViewData, ManageRoles]);
        check(1, &outside, "g", &["kim"], &[]);
        check(1, &Issuer::BuiltIn, "kim", &["g"], &[]);
        check(2, &outside, "kim", &["g"], &[]);
        check(2, &Issuer::BuiltIn, "kim", &[], &[WriteSightings]);
        check(1, &outside, "kim@example.org", &[""], &[]);
    }

    #[test]
    fn roles_come_change_and_go() {
        let mut book = two_organisations();
        let (first, second) = (RoleId(Uuid::from_u128(1)), RoleId(Uuid::from_u128(2)));
        let kim = member(Issuer::BuiltIn, MemberKind::User, "kim");
        let contoso = OrganisationId(Uuid::from_u128(1));
        let add = |role| Change::AddRole(role);
        let rename =
            |name: &str| Change::ChangeRole { role: first, name: Some(name.to_owned()), permissions: None };
        let taken = |name: &str| Err(ChangeError::NameTaken(name.to_owned()));
        for (change, expected) in [
            (add(new_role(1, 1, "analysts", &[])), Ok(())),
            (add(new_role(1, 1, "other", &[])), Err(ChangeError::IdTaken(first.0))),
            (add(new_role(2, 1, "ANALYSTS", &[])), taken("ANALYSTS")),
            (add(new_role(2, 1, "", &[])), Err(ChangeError::BadName)),
            (
                add(new_role(2, 9, "x", &[])),
                Err(ChangeError::NoOrganisation(OrganisationId(Uuid::from_u128(9)))),
            ),
            (add(new_role(2, 1, "admins", &[])), Ok(())),
            (add(new_role(3, 2, "analysts", &[])), Ok(())),
            (rename("Admins"), taken("Admins")),
            (rename("Analysts"), Ok(())),
            (Change::GrantRole(first, kim.clone()), Ok(())),
            (Change::GrantRole(first, kim.clone()), Ok(())),
            (Change::GrantRole(second, kim.clone()), Ok(())),
            (Change::RevokeRole(second, kim.clone()), Ok(())),
            (Change::RevokeRole(second, kim.clone()), Err(ChangeError::NoMember(kim.clone()))),
            (Change::RemoveMember(contoso, kim.clone()), Ok(())),
            (Change::RemoveMember(contoso, kim.clone()), Err(ChangeError::NoMember(kim.clone()))),
            (Change::RemoveRole(second), Ok(())),
            (Change::RemoveRole(second), Err(ChangeError::NoRole(second))),
            (Change::GrantRole(second, kim.clone()), Err(ChangeError::NoRole(second))),
        ] {
            assert_eq!(book.apply(&change), expected, "{change}");
        }
        assert_eq!(book.role(contoso, "ANALYSTS").map(|role| role.id), Some(first));
        assert_eq!(book.role(contoso, &first.to_string()).map(|role| role.id), Some(first));
        assert_eq!(book.role(OrganisationId(Uuid::from_u128(2)), &first.to_string()), None);
        book.apply(&Change::RemoveOrganisation(contoso)).expect("there");
        assert_eq!(book.roles.len(), 1);
    }

    #[test]
    fn changes_of_roles_as_sentences() {
        let id = RoleId(Uuid::from_u128(1));
        let kim = member(Issuer::BuiltIn, MemberKind::Group, "kim");
        let permissions = Some([RolePermission::ViewData, RolePermission::ManageRoles].into());
        for (change, sentence) in [
            (
                Change::ChangeRole { role: id, name: Some("x".to_owned()), permissions },
                format!("changed role {id}, its name to 'x', its permissions to view-data manage-roles"),
            ),
            (Change::GrantRole(id, kim.clone()), format!("granted role {id} to group kim of built-in")),
            (
                Change::AddRole(new_role(1, 2, "x", &[])),
                format!("added role {id} 'x' of organisation {} with nothing", Uuid::from_u128(2)),
            ),
        ] {
            assert_eq!(change.to_string(), sentence);
        }
    }

    pub(crate) fn user(number: u128, organisation: u128, name: &str) -> User {
        User {
            id: UserId(Uuid::from_u128(number)),
            organisation: OrganisationId(Uuid::from_u128(organisation)),
            name: name.to_owned(),
            password: PasswordHash("$argon2id$old".to_owned()),
            password_set_at: Second::new(1),
            created_at: Second::new(1),
        }
    }

    #[test]
    fn users_come_change_and_go() {
        let mut book = two_organisations();
        let (kim, nobody) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(9)));
        let add = |number, organisation, name: &str| Change::AddUser(user(number, organisation, name));
        let taken = |name: &str| Err(ChangeError::NameTaken(name.to_owned()));
        let password = |user| {
            let password = PasswordHash("$argon2id$new".to_owned());
            Change::SetPassword { user, password, at: Second::new(5) }
        };
        let like_id = ChangeError::NameLikeId(GUIDS[0].to_owned());
        for (change, expected) in [
            (add(1, 1, "kim@example.org"), Ok(())),
            (add(1, 1, "lee"), Err(ChangeError::IdTaken(kim.0))),
            (add(2, 1, "KIM@example.org"), taken("KIM@example.org")),
            (add(2, 1, " "), Err(ChangeError::BadName)),
            (add(2, 1, GUIDS[0]), Err(like_id)),
            (add(2, 9, "lee"), Err(ChangeError::NoOrganisation(OrganisationId(Uuid::from_u128(9))))),
            (add(2, 2, "kim@example.org"), Ok(())),
            (password(kim), Ok(())),
            (password(nobody), Err(ChangeError::NoUser(nobody))),
            (Change::RemoveUser(nobody), Err(ChangeError::NoUser(nobody))),
        ] {
            assert_eq!(book.apply(&change), expected, "{change}");
        }
        let (contoso, fabrikam) = (OrganisationId(Uuid::from_u128(1)), OrganisationId(Uuid::from_u128(2)));
        let found = book.user(contoso, "Kim@Example.org").expect("there");
        assert_eq!((found.id, found.password_set_at), (kim, Second::new(5)));
        assert_eq!(book.user(contoso, &kim.to_string().to_uppercase()).map(|user| user.id), Some(kim));
        assert_eq!(book.user(fabrikam, &kim.to_string()), None, "the other's");
        book.apply(&Change::RemoveOrganisation(fabrikam)).expect("there");
        assert_eq!(book.users.keys().copied().collect::<Vec<_>>(), [kim]);
    }

    /// Who bears the same id at another issuer, or is a group, is somebody else and keeps the role.
    #[test]
    fn a_user_who_goes_has_no_role_any_more() {
        let mut book = two_organisations();
        let id = UserId(Uuid::from_u128(1));
        let outside = Issuer::new("https://login.example.org").expect("a URL");
        book.apply(&Change::AddUser(user(1, 1, "kim"))).expect("new");
        let others = [
            member(outside, MemberKind::User, &id.to_string()),
            member(Issuer::BuiltIn, MemberKind::Group, &id.to_string()),
        ];
        for number in [1, 2] {
            let role = new_role(number, 1, &format!("role {number}"), &[RolePermission::ViewData]);
            let role_id = role.id;
            book.apply(&Change::AddRole(role)).expect("new");
            let kim = member(Issuer::BuiltIn, MemberKind::User, &id.to_string());
            for member in others.iter().cloned().chain([kim]) {
                book.apply(&Change::GrantRole(role_id, member)).expect("there");
            }
        }
        book.apply(&Change::RemoveUser(id)).expect("there");
        for role in book.roles.values() {
            assert_eq!(role.members, others.clone().into(), "{}", role.name);
        }
    }

    pub(crate) fn certificate(byte: u8) -> Certificate {
        Certificate {
            sha256: [byte; 32],
            sha1: [byte; 20],
            public_key: vec![byte],
            not_before: Second::new(1),
            not_after: Second::new(9),
            created_at: Second::new(2),
        }
    }

    fn secret() -> Secret {
        Secret { sha256: [1; 32], created_at: Second::new(1), expires_at: None }
    }

    #[test]
    fn what_is_public_has_no_secret() {
        let mut book = two_organisations();
        let refused = Err(ChangeError::PublicHasNoSecret);
        let public = SignIn { public: true, ..SignIn::default() };
        let with_public = |number, name| Application { sign_in: public.clone(), ..application(number, name) };
        for wrong in [
            Application { secrets: vec![secret()], ..with_public(3, "a") },
            Application { certificates: vec![certificate(1)], ..with_public(3, "a") },
        ] {
            assert_eq!(book.apply(&Change::AddApplication(wrong)), refused);
        }
        let id = ApplicationId(Uuid::from_u128(3));
        book.apply(&Change::AddApplication(with_public(3, "a"))).expect("new");
        let rotate = Change::RotateSecret { application: id, secret: secret(), others_until: Second::new(1) };
        let change = |public: bool| {
            let sign_in = SignInChange { public: Some(public), ..SignInChange::default() };
            Change::ChangeApplication { application: id, permissions: None, sign_in }
        };
        assert_eq!(book.apply(&rotate), refused);
        assert_eq!(book.apply(&Change::AddCertificate(id, certificate(1))), refused);
        // One that can keep a secret gets one, and cannot be made public again while it has it.
        book.apply(&change(false)).expect("it has none");
        book.apply(&rotate).expect("not public");
        assert_eq!(book.apply(&change(true)), refused);
        assert!(!book.applications[&id].sign_in.public);
    }

    /// Two administrators who each saw the application as it was before.
    #[test]
    fn of_two_changes_each_has_what_it_asked_for() {
        let mut book = two_organisations();
        let id = ApplicationId(Uuid::from_u128(3));
        book.apply(&Change::AddApplication(application(3, "a"))).expect("new");
        let change = |sign_in| Change::ChangeApplication { application: id, permissions: None, sign_in };
        let delegated = BTreeSet::from([Permission::IpReadAll]);
        let first = SignInChange { delegated: Some(delegated.clone()), ..SignInChange::default() };
        let second = SignInChange { device_code: Some(true), ..SignInChange::default() };
        for sign_in in [first, second] {
            book.apply(&change(sign_in)).expect("a good change");
        }
        let expected = SignIn { delegated, device_code: true, ..SignIn::default() };
        assert_eq!(book.applications[&id].sign_in, expected);
    }

    #[test]
    fn certificates_come_and_go() {
        let mut book = two_organisations();
        let (id, nobody) = (ApplicationId(Uuid::from_u128(3)), ApplicationId(Uuid::from_u128(4)));
        book.apply(&Change::AddApplication(application(3, "a"))).expect("new");
        for (change, expected) in [
            (Change::AddCertificate(nobody, certificate(1)), Err(ChangeError::NoApplication(nobody))),
            (Change::AddCertificate(id, certificate(1)), Ok(())),
            (Change::AddCertificate(id, certificate(2)), Ok(())),
            // The same again is the same.
            (Change::AddCertificate(id, certificate(1)), Ok(())),
            (Change::RemoveCertificate(id, [2; 32]), Ok(())),
            (Change::RemoveCertificate(id, [2; 32]), Err(ChangeError::NoCertificate)),
        ] {
            assert_eq!(book.apply(&change), expected, "{change}");
        }
        assert_eq!(book.applications[&id].certificates, [certificate(1)]);
    }

    #[test]
    fn the_key_that_signs_stays() {
        let mut book = Book::default();
        let key = |kid: &str, second| SigningKey {
            kid: kid.to_owned(),
            private: PrivateKey::Plain(vec![1]),
            created_at: Second::new(second),
        };
        let remove = |kid: &str| Change::RemoveSigningKey(kid.to_owned());
        let keep = |kid: &str| Change::KeepSigningKey(kid.to_owned(), PrivateKey::Sealed(vec![2]));
        let in_use = |kid: &str| Err(ChangeError::SigningKeyInUse(kid.to_owned()));
        let unknown = |kid: &str| Err(ChangeError::NoSigningKey(kid.to_owned()));
        for (change, expected) in [
            (remove("a"), unknown("a")),
            (Change::AddSigningKey(key("b", 5)), Ok(())),
            (remove("b"), in_use("b")),
            // Not in the order of their making.
            (Change::AddSigningKey(key("a", 3)), Ok(())),
            (remove("b"), in_use("b")),
            (keep("a"), Ok(())),
            (keep("c"), unknown("c")),
            (remove("c"), unknown("c")),
            (remove("a"), Ok(())),
        ] {
            assert_eq!(book.apply(&change), expected, "{change}");
        }
        assert_eq!(book.signing_keys, [key("b", 5)]);
    }
}
