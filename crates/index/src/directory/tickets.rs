//! Tickets in a table of their own: the kind's name and SHA-256 are the key; the last second (four bytes) and the issuer's
//! bytes are the row. Refuses to hold: what a ticket means.

use redb::{ReadableDatabase, ReadableTable, Table, TableDefinition};
use sighting::{DirectoryError, Second, Ticket, TicketKey};

use super::{FolderDirectory, unavailable};

pub(super) const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("tickets");

type Rows<'a> = Table<'a, &'static [u8], &'static [u8]>;

fn key_bytes(key: TicketKey) -> Vec<u8> {
    [key.kind.name().as_bytes(), &[0], &key.sha256].concat()
}

fn row_bytes(ticket: &Ticket) -> Vec<u8> {
    [&ticket.expires_at.unix().to_le_bytes(), ticket.content.as_slice()].concat()
}

fn from_row(row: &[u8]) -> Result<Ticket, DirectoryError> {
    let (expires_at, content) =
        row.split_first_chunk::<4>().ok_or_else(|| unavailable("a ticket cannot be read"))?;
    let expires_at = Second::new(u32::from_le_bytes(*expires_at));
    Ok(Ticket { expires_at, content: content.to_vec() })
}

/// A row as it counts now: one that has expired is none.
fn current(rows: &Rows<'_>, key: &[u8], now: Second) -> Result<Option<Ticket>, DirectoryError> {
    let row = rows.get(key).map_err(unavailable)?;
    let ticket = row.map(|row| from_row(row.value())).transpose()?;
    Ok(ticket.filter(|ticket| ticket.expires_at >= now))
}

impl FolderDirectory {
    /// [`sighting::Directory::add_ticket`], on the caller's thread.
    pub fn add_ticket_now(
        &self,
        key: TicketKey,
        ticket: &Ticket,
        now: Second,
    ) -> Result<bool, DirectoryError> {
        self.with_tickets(|rows| {
            let key = key_bytes(key);
            let is_free = current(rows, &key, now)?.is_none();
            if is_free {
                rows.insert(key.as_slice(), row_bytes(ticket).as_slice()).map_err(unavailable)?;
            }
            Ok(is_free)
        })
    }

    /// [`sighting::Directory::replace_ticket`], on the caller's thread.
    pub fn replace_ticket_now(
        &self,
        key: TicketKey,
        ticket: &Ticket,
        now: Second,
    ) -> Result<bool, DirectoryError> {
        if self.ticket_now(key, now)?.is_none() {
            return Ok(false);
        }
        self.with_tickets(|rows| {
            let key = key_bytes(key);
            let is_there = current(rows, &key, now)?.is_some();
            if is_there {
                rows.insert(key.as_slice(), row_bytes(ticket).as_slice()).map_err(unavailable)?;
            }
            Ok(is_there)
        })
    }

    /// [`sighting::Directory::ticket`], on the caller's thread.
    pub fn ticket_now(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        let read = self.database.begin_read().map_err(unavailable)?;
        let rows = read.open_table(TABLE).map_err(unavailable)?;
        let row = rows.get(key_bytes(key).as_slice()).map_err(unavailable)?;
        let ticket = row.map(|row| from_row(row.value())).transpose()?;
        Ok(ticket.filter(|ticket| ticket.expires_at >= now))
    }

    /// [`sighting::Directory::take_ticket`], on the caller's thread.
    pub fn take_ticket_now(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        // Anybody can bring a made-up code: looking costs no write.
        if self.ticket_now(key, now)?.is_none() {
            return Ok(None);
        }
        self.with_tickets(|rows| {
            let key = key_bytes(key);
            let ticket = current(rows, &key, now)?;
            rows.remove(key.as_slice()).map_err(unavailable)?;
            Ok(ticket)
        })
    }

    /// [`sighting::Directory::sweep_tickets`], on the caller's thread.
    pub fn sweep_tickets_now(&self, now: Second) -> Result<u64, DirectoryError> {
        if !self.has_expired(now)? {
            return Ok(0);
        }
        self.with_tickets(|rows| {
            let mut swept = 0;
            // What cannot be read stays: a question for it says so.
            let stays = |row: &[u8]| from_row(row).map_or(true, |ticket| ticket.expires_at >= now);
            rows.retain(|_, row| {
                let stays = stays(row);
                swept += u64::from(!stays);
                stays
            })
            .map_err(unavailable)?;
            Ok(swept)
        })
    }

    /// Whether there is anything to sweep: looking costs no write.
    fn has_expired(&self, now: Second) -> Result<bool, DirectoryError> {
        let read = self.database.begin_read().map_err(unavailable)?;
        let rows = read.open_table(TABLE).map_err(unavailable)?;
        for row in rows.iter().map_err(unavailable)? {
            let (_, row) = row.map_err(unavailable)?;
            if from_row(row.value())?.expires_at < now {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One transaction over the tickets.
    fn with_tickets<T>(
        &self,
        work: impl FnOnce(&mut Rows<'_>) -> Result<T, DirectoryError>,
    ) -> Result<T, DirectoryError> {
        let write = self.database.begin_write().map_err(unavailable)?;
        let result = {
            let mut rows = write.open_table(TABLE).map_err(unavailable)?;
            work(&mut rows)?
        };
        write.commit().map_err(unavailable)?;
        Ok(result)
    }
}
