//! People's passwords: what one must be, how it is kept (argon2id), and how one is held against what is kept, never more
//! of them at once than this machine can bear. Refuses to hold: who may try how often (`throttle`), and passwords.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use sighting::PasswordHash;
use tokio::sync::Semaphore;

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
    waiting: AtomicUsize,
}

impl Default for Hashing {
    fn default() -> Hashing {
        Hashing { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: AtomicUsize::new(0) }
    }
}

impl Hashing {
    /// Whether a password is the one that is kept; without one it takes as long and is not. On a thread that may work
    /// long, in its turn.
    pub(crate) async fn check(&self, password: &str, kept: Option<&PasswordHash>) -> Result<bool, Busy> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let _waiting = Waiting::among(&self.waiting)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Busy)?;
        let (password, kept) = (password.to_owned(), kept.cloned());
        let checking = tokio::task::spawn_blocking(move || {
            // The turn ends with the work, also when nobody waits for the answer any more.
            let _turn = turn;
            match &kept {
                Some(kept) => is_password(&password, kept),
                None => {
                    is_password(&password, &NOBODYS);
                    false
                }
            }
        });
        checking.await.map_err(|_| Busy)
    }
}

impl Hashing {
    /// A password as it is to be kept, in its turn; the salt must be random.
    pub(crate) async fn hash(
        &self,
        password: &str,
        salt: [u8; 16],
    ) -> Result<Result<PasswordHash, PasswordError>, Busy> {
        let _waiting = Waiting::among(&self.waiting)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Busy)?;
        let password = password.to_owned();
        let hashing = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            hash_password(&password, salt)
        });
        hashing.await.map_err(|_| Busy)
    }
}

/// One of those who wait, counted until it waits no longer.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Result<Waiting<'a>, Busy> {
        let one = Waiting(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX { Ok(one) } else { Err(Busy) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
            assert_eq!(hashing.check(password, kept).await, Ok(expected), "{password} {kept:?}");
        }
        assert_eq!(hashing.check(&"x".repeat(PASSWORD_BYTES_MAX + 1), Some(&kept)).await, Ok(false));
    }

    #[test]
    fn what_is_no_password() {
        assert_eq!(hash_password("short", [0; 16]), Err(PasswordError::Length));
        assert_eq!(hash_password("elevenchars", [0; 16]), Err(PasswordError::Length));
        assert_eq!(hash_password(&"x".repeat(PASSWORD_BYTES_MAX + 1), [0; 16]), Err(PasswordError::Length));
    }

    #[test]
    fn those_who_wait_have_an_end() {
        let waiting = AtomicUsize::new(0);
        let all: Vec<_> = (0..WAITING_MAX).map(|_| Waiting::among(&waiting)).collect();
        assert!(all.iter().all(Result::is_ok) && Waiting::among(&waiting).is_err());
        drop(all);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
