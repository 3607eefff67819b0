//! People's passwords: what one must be, how it is kept (argon2id), and how one is held against what is kept, never more
//! of them at once than this machine can bear. Refuses to hold: who may try how often (`throttle`), and passwords.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use sighting::PasswordHash;
use tokio::sync::Semaphore;

use crate::throttle::Origin;

/// Fewer characters can be guessed by whoever takes the hashes.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// More bytes are not hashed: nobody types them.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// 19 MiB, two passes, one lane: what OWASP advises for argon2id.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
/// Hashed at once. Each takes its memory, and one processor for some 20 ms.
const AT_ONCE: usize = 2;
/// Waiting for their turn, at most: some two seconds on a slow machine.
const WAITING_MAX: usize = 64;
/// Of one network.
const WAITING_FROM_ONE_MAX: usize = 8;

/// Why a password cannot be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It is too short or too long.
    #[error(
        "a password has at least {PASSWORD_CHARS_MIN} characters, and at most {PASSWORD_BYTES_MAX} bytes"
    )]
    Length,
    /// The library refused to hash it.
    #[error("the password could not be hashed")]
    NotHashed,
}

/// A password as it is to be kept. Cost: 19 MiB and some 20 ms. The salt must be random.
pub fn hash_password(password: &str, salt: [u8; 16]) -> Result<PasswordHash, PasswordError> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::Length);
    }
    let hashed = hasher().and_then(|hasher| hasher.hash_password_with_salt(password.as_bytes(), &salt).ok());
    let hashed: phc::PasswordHash = hashed.ok_or(PasswordError::NotHashed)?;
    Ok(PasswordHash(hashed.to_string()))
}

fn hasher() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn is_password(password: &str, kept: &PasswordHash) -> bool {
    let Ok(kept) = phc::PasswordHash::new(&kept.0) else { return false };
    hasher().is_some_and(|hasher| hasher.verify_password(password.as_bytes(), &kept).is_ok())
}

/// What nobody's password is held against when there is no such user: it must take as long.
static NOBODYS: LazyLock<PasswordHash> = LazyLock::new(|| {
    hash_password("nobody has this password", [0; 16]).unwrap_or_else(|_| PasswordHash(String::new()))
});

/// All who wait for a hash are too many already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Busy;

/// The turns of whoever wants a password checked.
pub(crate) struct Hashing {
    turns: Arc<Semaphore>,
    waiting: Mutex<Waiters>,
}

/// How many wait: in all, and from one network, so that nobody fills all places alone.
#[derive(Default)]
struct Waiters {
    all: usize,
    from: HashMap<Origin, usize>,
}

impl Default for Hashing {
    fn default() -> Hashing {
        Hashing { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Mutex::default() }
    }
}

impl Hashing {
    /// Whether a password is the one that is kept; without one it takes as long and is not. In its turn.
    pub(crate) async fn check(
        &self,
        password: &str,
        kept: Option<&PasswordHash>,
        from: Origin,
    ) -> Result<bool, Busy> {
        let (password, kept) = (password.to_owned(), kept.cloned());
        let check = move || match &kept {
            Some(kept) => is_password(&password, kept),
            None => {
                is_password(&password, &NOBODYS);
                false
            }
        };
        self.in_turn(from, check).await
    }

    /// A password as it is to be kept, in its turn; the salt must be random.
    pub(crate) async fn hash(
        &self,
        password: &str,
        salt: [u8; 16],
        from: Origin,
    ) -> Result<Result<PasswordHash, PasswordError>, Busy> {
        let password = password.to_owned();
        self.in_turn(from, move || hash_password(&password, salt)).await
    }

    /// Works on a thread that may work long.
    async fn in_turn<T: Send + 'static>(
        &self,
        from: Origin,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _waiting = Waiting::among(&self.waiting, from)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Busy)?;
        let working = tokio::task::spawn_blocking(move || {
            // The turn ends with the work, also when nobody waits for the answer any more.
            let _turn = turn;
            work()
        });
        working.await.map_err(|_| Busy)
    }
}

/// One of those who wait, counted until it waits no longer.
struct Waiting<'a> {
    all: &'a Mutex<Waiters>,
    from: Origin,
}

impl<'a> Waiting<'a> {
    fn among(all: &'a Mutex<Waiters>, from: Origin) -> Result<Waiting<'a>, Busy> {
        let mut waiters = all.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = waiters.from.get(&from).copied().unwrap_or_default();
        if waiters.all >= WAITING_MAX || of_one >= WAITING_FROM_ONE_MAX {
            return Err(Busy);
        }
        waiters.all += 1;
        waiters.from.insert(from, of_one + 1);
        Ok(Waiting { all, from })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.all -= 1;
        if let Some(of_one) = waiters.from.get_mut(&self.from) {
            *of_one -= 1;
            if *of_one == 0 {
                waiters.from.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_are_checked_against_what_is_kept() {
        let kept = hash_password("correct horse battery", [7; 16]).expect("a password");
        assert!(kept.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", kept.0);
        assert!(!format!("{kept:?}").contains("argon2"));
        let hashing = Hashing::default();
        for (password, kept, expected) in [
            ("correct horse battery", Some(&kept), true),
            ("correct horse batterx", Some(&kept), false),
            ("", Some(&kept), false),
            ("correct horse battery", None, false),
            ("nobody has this password", None, false),
            ("correct horse battery", Some(&PasswordHash("broken".to_owned())), false),
        ] {
            assert_eq!(
                hashing.check(password, kept, Origin::of(None)).await,
                Ok(expected),
                "{password} {kept:?}"
            );
        }
    }

    #[test]
    fn what_is_no_password() {
        assert_eq!(hash_password("short", [0; 16]), Err(PasswordError::Length));
        assert_eq!(hash_password("elevenchars", [0; 16]), Err(PasswordError::Length));
        assert_eq!(hash_password(&"x".repeat(PASSWORD_BYTES_MAX + 1), [0; 16]), Err(PasswordError::Length));
    }

    #[test]
    fn those_who_wait_have_an_end() {
        let waiters = Mutex::default();
        let network = |number: u8| Origin::of(Some([192, 0, 2, number].into()));
        let of_one: Vec<_> = (0..20).map(|_| Waiting::among(&waiters, network(1))).collect();
        assert_eq!(of_one.iter().filter(|waiting| waiting.is_ok()).count(), WAITING_FROM_ONE_MAX);
        let others: Vec<_> = (2..200).map(|number| Waiting::among(&waiters, network(number))).collect();
        let others = others.iter().filter(|waiting| waiting.is_ok()).count();
        assert_eq!(others, WAITING_MAX - WAITING_FROM_ONE_MAX);
        drop(of_one);
        assert!(Waiting::among(&waiters, network(1)).is_ok());
    }
}
