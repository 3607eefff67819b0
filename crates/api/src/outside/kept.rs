//! The keys of outside issuers over a restart: written into the directory when they were fetched, read from it where an issuer
//! cannot be asked. Refuses to hold: which keys count and for how long (`cache`).
//!
//! Kept keys are taken up only after a fetch has failed. While the issuer answers, what it says counts from the first token on.

use sighting::{Directory, DirectoryError, Ticket, TicketKind};

use super::Issuers;
use super::cache::{KEEP_FOR_MS, KeyCache};
use crate::session::key;
use crate::state::{Machine, Millis};

impl Issuers {
    /// Keeps what was fetched since the last time. What a directory does not do is tried again by the next call.
    pub(crate) async fn keep<D: Directory>(&self, directory: &D, machine: &Machine) {
        for cache in self.caches() {
            if let Err(error) = keep(cache, directory, machine).await {
                tracing::warn!(issuer = cache.name(), %error, "the keys of an issuer are not kept for a restart");
            }
        }
    }

    /// Takes up what is kept of issuers that cannot be asked.
    pub(crate) async fn take_up<D: Directory>(&self, directory: &D, machine: &Machine) {
        for cache in self.caches().filter(|cache| cache.is_in_need()) {
            if let Err(error) = take_up(cache, directory, machine).await {
                tracing::warn!(issuer = cache.name(), %error, "the kept keys of an issuer that cannot be asked cannot be read");
            }
        }
    }

    fn caches(&self) -> impl Iterator<Item = &KeyCache> {
        self.trusted.iter().map(|trusted| &*trusted.keys)
    }
}

async fn keep<D: Directory>(
    cache: &KeyCache,
    directory: &D,
    machine: &Machine,
) -> Result<(), DirectoryError> {
    let Some((set, age_ms)) = cache.to_keep((machine.steady)()) else { return Ok(()) };
    let now = (machine.wall)();
    let expires_at = Millis(now.0.saturating_sub(age_ms).saturating_add(KEEP_FOR_MS)).second();
    let (key, now) = (key(TicketKind::IssuerKeys, cache.name()), now.second());
    let ticket = Ticket { expires_at, content: set.to_vec() };
    let is_replaced = directory.replace_ticket(key, ticket.clone(), now).await?;
    if is_replaced || directory.add_ticket(key, ticket, now).await? {
        cache.kept(&set);
    }
    Ok(())
}

async fn take_up<D: Directory>(
    cache: &KeyCache,
    directory: &D,
    machine: &Machine,
) -> Result<(), DirectoryError> {
    let now = (machine.wall)();
    let found = directory.ticket(key(TicketKind::IssuerKeys, cache.name()), now.second()).await?;
    let Some(Ticket { expires_at, content }) = found else { return Ok(()) };
    let left_ms = (u64::from(expires_at.unix()) * 1_000).saturating_sub(now.0);
    let age_ms = KEEP_FOR_MS.saturating_sub(left_ms);
    let issuer = cache.name();
    match cache.take_up(&content, age_ms, (machine.steady)()) {
        Ok(keys) => {
            tracing::warn!(
                issuer,
                keys,
                "the keys of an issuer that cannot be asked are those of before the start"
            );
        }
        Err(error) => tracing::warn!(issuer, %error, "the keys of an issuer that were kept cannot be used"),
    }
    Ok(())
}
