//! Passwords of people on the command line: one that is made, one that is read from standard input, and either as it is kept.
//! Refuses to hold: what a good one is and how it is hashed (the HTTP room), and prompts: a password is never asked for twice.

use std::io::{self, Read as _};

use anyhow::Context as _;
use sighting::PasswordHash;

use crate::exit::{Exit, ExitWith as _, Failure};
use crate::random;

/// Small letters and digits that are not taken for one another: five bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Six groups of four letters: 120 bits.
const GROUPS: usize = 6;
const GROUP_LETTERS: usize = 4;

/// A new password, to be shown this once and typed by hand: `k7mq-x2ab-…`.
pub(crate) fn make() -> String {
    let mut bytes = [0; GROUPS * GROUP_LETTERS];
    random::fill(&mut bytes);
    spelled(&bytes)
}

fn spelled(bytes: &[u8]) -> String {
    // 32 divides 256: every letter is as likely as any other.
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    let groups = bytes.chunks(GROUP_LETTERS).map(|group| group.iter().map(letter).collect::<String>());
    groups.collect::<Vec<_>>().join("-")
}

/// The one line of standard input, without its end.
pub(crate) fn read() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let limit = api::PASSWORD_BYTES_MAX as u64 + 3;
    io::stdin().take(limit).read_to_end(&mut bytes).context("standard input cannot be read")?;
    let text = String::from_utf8(bytes)
        .context("the password on standard input is not UTF-8")
        .exit_with(Exit::WrongCommandLine)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\r']) {
        return Err(Failure::usage(
            "standard input has several lines; write the password alone, on one line",
        ));
    }
    Ok(line.to_owned())
}

/// A password as it is kept.
pub(crate) fn hashed(password: &str) -> Result<PasswordHash, Failure> {
    let mut salt = [0; 16];
    random::fill(&mut salt);
    api::hash_password(password, salt).exit_with(Exit::WrongCommandLine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_password_can_be_typed() {
        assert_eq!(spelled(&[0, 1, 31, 32, 255, 24]), "ab9a-92");
        let made = make();
        assert_eq!(made.len(), GROUPS * (GROUP_LETTERS + 1) - 1, "{made}");
        assert!(made.chars().all(|c| c == '-' || LETTERS.contains(&(c as u8))), "{made}");
        assert_ne!(made, make());
        let mut letters = LETTERS.to_vec();
        letters.dedup();
        assert_eq!(letters.len(), 32);
    }
}
