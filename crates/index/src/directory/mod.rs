//! The directory of organisations, applications, roles, sources, keys and the audit log in one redb file, through the same storage
//! seam as everything else. The whole book is in memory; a change writes the rows that it touched and an audit line
//! in one transaction. Granted calls and tickets lie beside it, and never in it. Refuses to hold: what a change means
//! (`sighting::Book`), hashing, tokens and counting.

mod backend;
mod grants;
mod rows;
mod tickets;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use sighting::{
    Actor, AuditEntry, Book, Change, Directory, DirectoryError, Extent, GrantPage, Second, Ticket, TicketKey,
};

use crate::manifest;
use crate::storage::Storage;
use backend::Backend;
use rows::{ApplicationRow, AuditRow, OrganisationRow, RoleRow, SigningKeyRow, SourceRow, UserRow};

/// The file of the directory.
pub(crate) const PATH: &str = "directory.redb";
/// The same while it is being made: a power cut must not leave half a database under the real name.
const PATH_NEW: &str = "directory.new";

/// Rows are JSON by key: few, read whole at the start, and a person with a dump can read them.
const ORGANISATIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("organisations");
const APPLICATIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("applications");
const USERS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("users");
const ROLES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("roles");
const SOURCES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("sources");
const SIGNING_KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("signing_keys");
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
/// Pages of granted calls: not JSON, see there.
const GRANTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("grants");

/// A directory in a data folder.
pub struct FolderDirectory {
    database: Database,
    book: ArcSwap<Book>,
    /// Held from reading the old book to publishing the new one.
    committing: Mutex<()>,
    /// The folder is locked while somebody has its storage; the database, which writes when it is closed, comes first.
    _storage: Arc<dyn Storage>,
}

impl FolderDirectory {
    /// Opens the directory, making it if it is missing.
    pub fn open(storage: Arc<dyn Storage>) -> Result<FolderDirectory, DirectoryError> {
        let is_new = !storage.exists(PATH).map_err(unavailable)?;
        if is_new && storage.exists(manifest::PATH).map_err(unavailable)? {
            // It is made before the first manifest: it was there.
            return Err(unavailable(format!("it is not there, but {} is", manifest::PATH)));
        }
        let file = if is_new { storage.create(PATH_NEW) } else { storage.open(PATH) }.map_err(unavailable)?;
        let database =
            Database::builder().create_with_backend(Backend::new(Arc::clone(&file))).map_err(unavailable)?;
        let write = database.begin_write().map_err(unavailable)?;
        for table in [ORGANISATIONS, APPLICATIONS, USERS, ROLES, SOURCES, SIGNING_KEYS, tickets::TABLE] {
            write.open_table(table).map_err(unavailable)?;
        }
        for table in [AUDIT, GRANTS] {
            write.open_table(table).map_err(unavailable)?;
        }
        write.commit().map_err(unavailable)?;
        if is_new {
            file.sync().map_err(unavailable)?;
            storage.rename(PATH_NEW, PATH).map_err(unavailable)?;
        }
        // The process that gave the name may have been killed before it was durable.
        storage.sync_names(".").map_err(unavailable)?;
        let book = load(&database)?;
        Ok(FolderDirectory {
            database,
            book: ArcSwap::from_pointee(book),
            committing: Mutex::new(()),
            _storage: storage,
        })
    }

    /// [`Directory::book`], at once.
    pub fn book_now(&self) -> Arc<Book> {
        self.book.load_full()
    }

    /// [`Directory::commit`], on the caller's thread.
    pub fn commit_now(&self, change: &Change, actor: &Actor, now: Second) -> Result<(), DirectoryError> {
        let _committing = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.book_now();
        let mut new = Book::clone(&old);
        new.apply(change)?;
        self.write(&old, &new, &AuditRow::new(now, actor, change))?;
        self.book.store(Arc::new(new));
        Ok(())
    }

    fn write(&self, old: &Book, new: &Book, audit: &AuditRow) -> Result<(), DirectoryError> {
        let write = self.database.begin_write().map_err(unavailable)?;
        let (before, after) = (rows::of(old)?, rows::of(new)?);
        for (table, before, after) in [
            (ORGANISATIONS, &before.organisations, &after.organisations),
            (APPLICATIONS, &before.applications, &after.applications),
            (USERS, &before.users, &after.users),
            (ROLES, &before.roles, &after.roles),
            (SOURCES, &before.sources, &after.sources),
            (SIGNING_KEYS, &before.signing_keys, &after.signing_keys),
        ] {
            let mut table = write.open_table(table).map_err(unavailable)?;
            for gone in before.keys().filter(|key| !after.contains_key(*key)) {
                table.remove(gone.as_slice()).map_err(unavailable)?;
            }
            for (key, row) in after.iter().filter(|(key, row)| before.get(*key) != Some(row)) {
                table.insert(key.as_slice(), row.as_slice()).map_err(unavailable)?;
            }
        }
        {
            let mut table = write.open_table(AUDIT).map_err(unavailable)?;
            let number = table.last().map_err(unavailable)?.map_or(0, |(number, _)| number.value() + 1);
            table.insert(number, rows::to_json(audit)?.as_slice()).map_err(unavailable)?;
        }
        write.commit().map_err(unavailable)
    }

    /// [`Directory::keep_grants`], on the caller's thread.
    pub fn keep_grants_now(&self, page: &GrantPage) -> Result<(), DirectoryError> {
        let write = self.database.begin_write().map_err(unavailable)?;
        {
            let mut table = write.open_table(GRANTS).map_err(unavailable)?;
            let number = table.last().map_err(unavailable)?.map_or(0, |(number, _)| number.value() + 1);
            if page.extent == Extent::Whole {
                table.retain(|_, _| false).map_err(unavailable)?;
            }
            table.insert(number, grants::to_bytes(page).as_slice()).map_err(unavailable)?;
        }
        write.commit().map_err(unavailable)
    }

    fn grants_now(&self) -> Result<Vec<GrantPage>, DirectoryError> {
        let read = self.database.begin_read().map_err(unavailable)?;
        let table = read.open_table(GRANTS).map_err(unavailable)?;
        let rows = table.iter().map_err(unavailable)?;
        rows.map(|row| grants::from_bytes(row.map_err(unavailable)?.1.value())).collect()
    }

    fn audit_now(&self, entries_max: usize) -> Result<Vec<AuditEntry>, DirectoryError> {
        let read = self.database.begin_read().map_err(unavailable)?;
        let table = read.open_table(AUDIT).map_err(unavailable)?;
        let mut entries = Vec::new();
        for row in table.iter().map_err(unavailable)?.rev().take(entries_max) {
            let (_, row) = row.map_err(unavailable)?;
            entries.push(rows::from_json::<AuditRow>(row.value())?.into_entry());
        }
        Ok(entries)
    }
}

fn load(database: &Database) -> Result<Book, DirectoryError> {
    let read = database.begin_read().map_err(unavailable)?;
    let mut book = Book::default();
    for row in read.open_table(ORGANISATIONS).map_err(unavailable)?.iter().map_err(unavailable)? {
        let organisation =
            rows::from_json::<OrganisationRow>(row.map_err(unavailable)?.1.value())?.into_organisation()?;
        book.organisations.insert(organisation.id, organisation);
    }
    for row in read.open_table(APPLICATIONS).map_err(unavailable)?.iter().map_err(unavailable)? {
        let application =
            rows::from_json::<ApplicationRow>(row.map_err(unavailable)?.1.value())?.into_application()?;
        book.applications.insert(application.id, application);
    }
    for row in read.open_table(USERS).map_err(unavailable)?.iter().map_err(unavailable)? {
        let user = rows::from_json::<UserRow>(row.map_err(unavailable)?.1.value())?.into_user()?;
        book.users.insert(user.id, user);
    }
    for row in read.open_table(ROLES).map_err(unavailable)?.iter().map_err(unavailable)? {
        let role = rows::from_json::<RoleRow>(row.map_err(unavailable)?.1.value())?.into_role()?;
        book.roles.insert(role.id, role);
    }
    for row in read.open_table(SOURCES).map_err(unavailable)?.iter().map_err(unavailable)? {
        let source = rows::from_json::<SourceRow>(row.map_err(unavailable)?.1.value())?.into_source()?;
        book.sources.insert(source.id, source);
    }
    for row in read.open_table(SIGNING_KEYS).map_err(unavailable)?.iter().map_err(unavailable)? {
        book.signing_keys
            .push(rows::from_json::<SigningKeyRow>(row.map_err(unavailable)?.1.value())?.into_key()?);
    }
    book.signing_keys.sort_by_key(|key| key.created_at);
    Ok(book)
}

/// Every failure of the file is the same to a caller: the directory cannot be used, and why.
fn unavailable(error: impl std::fmt::Display) -> DirectoryError {
    DirectoryError::Unavailable(format!(
        "{PATH}: {error}; check the disk, or restore the whole data folder from a backup"
    ))
}

impl Directory for FolderDirectory {
    async fn book(&self) -> Result<Arc<Book>, DirectoryError> {
        Ok(self.book_now())
    }

    async fn commit(&self, change: Change, actor: Actor, now: Second) -> Result<(), DirectoryError> {
        self.commit_now(&change, &actor, now)
    }

    async fn audit(&self, entries_max: usize) -> Result<Vec<AuditEntry>, DirectoryError> {
        self.audit_now(entries_max)
    }

    async fn keep_grants(&self, page: GrantPage) -> Result<(), DirectoryError> {
        self.keep_grants_now(&page)
    }

    async fn grants(&self) -> Result<Vec<GrantPage>, DirectoryError> {
        self.grants_now()
    }

    async fn add_ticket(&self, key: TicketKey, ticket: Ticket, now: Second) -> Result<bool, DirectoryError> {
        self.add_ticket_now(key, &ticket, now)
    }

    async fn replace_ticket(
        &self,
        key: TicketKey,
        ticket: Ticket,
        now: Second,
    ) -> Result<bool, DirectoryError> {
        self.replace_ticket_now(key, &ticket, now)
    }

    async fn ticket(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        self.ticket_now(key, now)
    }

    async fn take_ticket(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        self.take_ticket_now(key, now)
    }

    async fn sweep_tickets(&self, now: Second) -> Result<u64, DirectoryError> {
        self.sweep_tickets_now(now)
    }
}
