//! What the built-in issuer does of itself, called from time to time: a first signing key, another before the old one is
//! stale, old ones removed when nothing that they signed is good any more, private keys encrypted, expired tickets swept.
//! Refuses to hold: when that time is (the binary calls), and how keys are made and encrypted.
//!
//! No caller is dropped by a rotation: every key of the book verifies, the newest signs.

use aws_lc_rs::aead::NONCE_LEN;
use sighting::{Actor, Book, Change, Directory, DirectoryError, PrivateKey, Second, SigningKey, Store};

use crate::keys::{KeyError, new_signing_key};
use crate::mint::LIFETIME_S;
use crate::seal::SealingKey;
use crate::state::State;

/// How long after its successor was made a key still verifies: a token's life, and twice the clocks' leeway.
const RETIRED_AFTER_S: u64 = LIFETIME_S + 600;

/// Why the issuer's affairs could not be put in order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpkeepError {
    /// A key could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The directory could not be read or changed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl<S: Store, D: Directory> State<S, D> {
    /// Puts the issuer's affairs in order; does nothing if they are. Each step is a change of its own in the audit log.
    pub async fn upkeep(&self, directory: &D) -> Result<(), UpkeepError> {
        let now = self.shared().now().second();
        directory.sweep_tickets(now).await?;
        let _turn = self.shared().turning_keys.lock().await;
        let book = directory.book().await?;
        let lifetime_s = self.shared().settings.signing_key_lifetime.as_secs();
        let is_sealing = self.shared().settings.sealing_key.is_some();
        if is_due(&book, lifetime_s, now) || (is_sealing && is_in_the_clear(&book)) {
            self.add_signing_key(directory, Actor("the server, of itself".to_owned())).await?;
        }
        self.seal_signing_keys(directory).await?;
        for kid in retired(&*directory.book().await?, now) {
            let actor = Actor("the server, of itself".to_owned());
            directory.commit(Change::RemoveSigningKey(kid), actor, now).await?;
        }
        Ok(())
    }

    /// Makes a new signing key, which signs from now on, and gives its id. Tokens of the one before stay good.
    pub async fn rotate_signing_key(&self, directory: &D, actor: Actor) -> Result<String, UpkeepError> {
        let _turn = self.shared().turning_keys.lock().await;
        self.add_signing_key(directory, actor).await
    }

    async fn add_signing_key(&self, directory: &D, actor: Actor) -> Result<String, UpkeepError> {
        let now = self.shared().now().second();
        let sealing = self.shared().settings.sealing_key.as_ref();
        add_signing_key(directory, sealing, self.shared().random(), now, actor).await
    }

    /// Keys that were made before the operator gave a key to encrypt them under.
    async fn seal_signing_keys(&self, directory: &D) -> Result<(), UpkeepError> {
        for key in &directory.book().await?.signing_keys {
            let Some(private) = self.sealed(key)? else { continue };
            let actor = Actor("the server, of itself".to_owned());
            let change = Change::KeepSigningKey(key.kid.clone(), private);
            directory.commit(change, actor, self.shared().now().second()).await?;
        }
        Ok(())
    }

    fn sealed(&self, key: &SigningKey) -> Result<Option<PrivateKey>, KeyError> {
        let sealing = self.shared().settings.sealing_key.as_ref();
        sealing.map_or(Ok(None), |sealing| sealed(key, sealing, self.shared().random()))
    }
}

/// Makes a new signing key, which signs from now on, and gives its id; for whoever holds a directory that no server has. The
/// nonce must be random.
pub async fn add_signing_key(
    directory: &impl Directory,
    sealing: Option<&SealingKey>,
    nonce: [u8; NONCE_LEN],
    now: Second,
    actor: Actor,
) -> Result<String, UpkeepError> {
    let newest = directory.book().await?.signing_keys.last().map(|key| key.created_at);
    // Keys are in the order of their making, also of two that were made in one second.
    let created_at = newest.map_or(now, |newest| now.max(newest.plus(1)));
    // Finding large primes takes a moment.
    let made = tokio::task::spawn_blocking(move || new_signing_key(created_at)).await;
    let key = made.unwrap_or(Err(KeyError::NotMade))?;
    let kid = key.kid.clone();
    let private = sealing.map_or(Ok(None), |sealing| sealed(&key, sealing, nonce))?;
    let key = match private {
        Some(private) => SigningKey { private, ..key },
        None => key,
    };
    directory.commit(Change::AddSigningKey(key), actor, now).await?;
    Ok(kid)
}

/// The private half of a key as it is to be kept, if that is not how it is.
fn sealed(
    key: &SigningKey,
    sealing: &SealingKey,
    nonce: [u8; NONCE_LEN],
) -> Result<Option<PrivateKey>, KeyError> {
    match &key.private {
        PrivateKey::Plain(pkcs8) => sealing.seal(&key.kid, pkcs8, nonce).map(Some),
        PrivateKey::Sealed(_) => Ok(None),
    }
}

/// Whether there is no key, or the newest is old.
fn is_due(book: &Book, lifetime_s: u64, now: Second) -> bool {
    book.signing_keys.last().is_none_or(|newest| newest.created_at.plus(lifetime_s) < now)
}

/// Whether the newest key lies in the clear. Encrypting it is not enough: it is in backups by now, and in pages of the
/// directory that are not used any more. Another one takes over that was never seen.
fn is_in_the_clear(book: &Book) -> bool {
    book.signing_keys.last().is_some_and(|newest| matches!(newest.private, PrivateKey::Plain(_)))
}

/// The keys whose successors have signed alone for long enough.
fn retired(book: &Book, now: Second) -> Vec<String> {
    let keys = &book.signing_keys;
    let successors = keys.iter().skip(1);
    let pairs = keys.iter().zip(successors);
    let is_done = |successor: &SigningKey| successor.created_at.plus(RETIRED_AFTER_S) < now;
    pairs.filter(|(_, successor)| is_done(successor)).map(|(key, _)| key.kid.clone()).collect()
}
