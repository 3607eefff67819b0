//! The makers of [`Store`] and [`Directory`] that this program has, as one enum each: commands are written once and
//! do not know which they got. Refuses to hold: any logic of its own.

use std::sync::Arc;

use index::{FolderDirectory, IndexStore};
use sighting::{
    Actor, Answer, AuditEntry, Batch, Book, Change, Coverage, DeviceEntry, DeviceKey, Directory,
    DirectoryError, GrantPage, Offset, OrganisationId, Question, Questions, Receipt, RegistryChange,
    RegistrySettings, Retained, Second, SourceName, Store, StoreError, Ticket, TicketKey,
};

use crate::control::Remote;

/// Where sightings are kept.
#[derive(Clone)]
pub(crate) enum AnyStore {
    /// A data folder that this process holds.
    Folder(Arc<IndexStore>),
    /// A data folder that a running server holds.
    Remote(Arc<Remote>),
}

/// Where organisations and applications are kept.
#[derive(Clone)]
pub(crate) enum AnyDirectory {
    /// A data folder that this process holds.
    Folder(Arc<FolderDirectory>),
    /// A data folder that a running server holds.
    Remote(Arc<Remote>),
}

/// The same call on whichever maker it is.
macro_rules! either {
    ($any:expr, $maker:ident => $call:expr) => {
        match $any {
            Self::Folder($maker) => $call.await,
            Self::Remote($maker) => $call.await,
        }
    };
}

impl Store for AnyStore {
    async fn append(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        either!(self, maker => maker.append(batch))
    }

    async fn stats(&self, question: Question) -> Result<Answer, StoreError> {
        either!(self, maker => maker.stats(question))
    }

    async fn stats_of(&self, questions: Questions) -> Result<Vec<Answer>, StoreError> {
        either!(self, maker => maker.stats_of(questions))
    }

    async fn coverage(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
        until: Second,
    ) -> Result<Coverage, StoreError> {
        either!(self, maker => maker.coverage(organisation, kept_since, until))
    }

    async fn offset(
        &self,
        organisation: OrganisationId,
        source: SourceName,
        key: String,
    ) -> Result<Option<u64>, StoreError> {
        either!(self, maker => maker.offset(organisation, source, key))
    }

    async fn offsets(
        &self,
        organisation: OrganisationId,
        source: SourceName,
    ) -> Result<Vec<Offset>, StoreError> {
        either!(self, maker => maker.offsets(organisation, source))
    }

    async fn devices(
        &self,
        organisation: OrganisationId,
        key: Option<DeviceKey>,
        at: Second,
    ) -> Result<Vec<DeviceEntry>, StoreError> {
        either!(self, maker => maker.devices(organisation, key, at))
    }

    async fn teach(&self, organisation: OrganisationId, change: RegistryChange) -> Result<(), StoreError> {
        either!(self, maker => maker.teach(organisation, change))
    }

    async fn registry(&self, organisation: OrganisationId) -> Result<RegistrySettings, StoreError> {
        either!(self, maker => maker.registry(organisation))
    }

    async fn outside(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
    ) -> Result<Retained, StoreError> {
        either!(self, maker => maker.outside(organisation, kept_since))
    }

    async fn retain(&self, organisation: OrganisationId, kept_since: Second) -> Result<(), StoreError> {
        either!(self, maker => maker.retain(organisation, kept_since))
    }

    async fn remove(&self, organisation: OrganisationId) -> Result<(), StoreError> {
        either!(self, maker => maker.remove(organisation))
    }
}

impl Directory for AnyDirectory {
    async fn book(&self) -> Result<Arc<Book>, DirectoryError> {
        either!(self, maker => maker.book())
    }

    async fn commit(&self, change: Change, actor: Actor, now: Second) -> Result<(), DirectoryError> {
        either!(self, maker => maker.commit(change, actor, now))
    }

    async fn audit(&self, entries_max: usize) -> Result<Vec<AuditEntry>, DirectoryError> {
        either!(self, maker => maker.audit(entries_max))
    }

    async fn keep_grants(&self, page: GrantPage) -> Result<(), DirectoryError> {
        either!(self, maker => maker.keep_grants(page))
    }

    async fn grants(&self) -> Result<Vec<GrantPage>, DirectoryError> {
        either!(self, maker => maker.grants())
    }

    async fn add_ticket(&self, key: TicketKey, ticket: Ticket, now: Second) -> Result<bool, DirectoryError> {
        match self {
            Self::Folder(folder) => {
                on_disk(folder, move |folder| folder.add_ticket_now(key, &ticket, now)).await
            }
            Self::Remote(remote) => remote.add_ticket(key, ticket, now).await,
        }
    }

    async fn replace_ticket(
        &self,
        key: TicketKey,
        ticket: Ticket,
        now: Second,
    ) -> Result<bool, DirectoryError> {
        match self {
            Self::Folder(folder) => {
                on_disk(folder, move |folder| folder.replace_ticket_now(key, &ticket, now)).await
            }
            Self::Remote(remote) => remote.replace_ticket(key, ticket, now).await,
        }
    }

    async fn ticket(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| folder.ticket_now(key, now)).await,
            Self::Remote(remote) => remote.ticket(key, now).await,
        }
    }

    async fn take_ticket(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| folder.take_ticket_now(key, now)).await,
            Self::Remote(remote) => remote.take_ticket(key, now).await,
        }
    }

    async fn sweep_tickets(&self, now: Second) -> Result<u64, DirectoryError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| folder.sweep_tickets_now(now)).await,
            Self::Remote(remote) => remote.sweep_tickets(now).await,
        }
    }
}

/// Tickets come while others are being answered: whoever waits for the disk does it on a thread that may.
async fn on_disk<T: Send + 'static>(
    folder: &Arc<FolderDirectory>,
    work: impl FnOnce(&FolderDirectory) -> Result<T, DirectoryError> + Send + 'static,
) -> Result<T, DirectoryError> {
    let folder = Arc::clone(folder);
    let done = tokio::task::spawn_blocking(move || work(&folder)).await;
    done.unwrap_or_else(|error| Err(DirectoryError::Unavailable(format!("it failed in the server: {error}"))))
}
