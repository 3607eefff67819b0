//! The file of the key under which private keys are encrypted where they are kept: how it is read and made, what is refused
//! about it, and whether it fits what is kept; and keys of certificates in files, encrypted and not. Refuses to hold: encryption (the HTTP room), and the key any longer than needed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use api::{KeyError, SealingKey};
use sighting::Book;

use crate::exit::{Exit, ExitWith as _, Failure};
use crate::hint;
use crate::house::shown;
use crate::random;
use crate::settings::Settings;

/// A key takes 64 of them; whatever is longer is another file.
const FILE_BYTES_MAX: u64 = 1_024;
/// What nobody but the file's owner may do with it.
const MODE_OF_OTHERS: u32 = 0o077;

/// The operator's key, if the settings or the environment name its file.
pub(crate) fn key(settings: &Settings, data: &Path) -> Result<Option<SealingKey>, Failure> {
    let Some(path) = &settings.key_file else { return Ok(None) };
    read(path, data).map(Some).exit_with(Exit::WrongCommandLine)
}

fn read(path: &Path, data: &Path) -> anyhow::Result<SealingKey> {
    let cannot = || {
        format!(
            "the key file {} (key_file of the settings, or SEENBY_KEY_FILE) cannot be read; `{}` makes one",
            shown(path),
            hint::run(format!("key new-file {}", hint::quote(path))).about_none()
        )
    };
    let file = File::open(path).with_context(cannot)?;
    let mode = file.metadata().with_context(cannot)?.permissions().mode();
    anyhow::ensure!(
        mode & MODE_OF_OTHERS == 0,
        "others than its owner may use the key file {}: `chmod 600 {}`, and make another key if they may have read it",
        shown(path),
        hint::quote(path)
    );
    check_outside(path, data)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(cannot)?;
    SealingKey::parse(&text).with_context(|| {
        format!(
            "the key file {} has no key in it: one line with 32 random bytes, as 64 hexadecimal digits or base64",
            shown(path)
        )
    })
}

/// A key beside what it encrypts goes into every backup with it, and protects nothing.
fn check_outside(path: &Path, data: &Path) -> anyhow::Result<()> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| hint::absolute(path));
    // The file may be about to be made.
    let folder = hint::absolute(path).parent().map(real).unwrap_or_default();
    let data = real(data);
    anyhow::ensure!(
        !real(path).starts_with(&data) && !folder.starts_with(&data),
        "the key file {} lies in the data folder: whoever has a backup of the folder would have the key too; keep it \
         somewhere else",
        shown(path)
    );
    Ok(())
}

/// Makes a file with a new key, for its user alone. What is there is left as it is.
pub(crate) fn make(path: &Path, data: &Path) -> Result<(), Failure> {
    check_outside(path, data).exit_with(Exit::WrongCommandLine)?;
    let mut bytes = [0; 32];
    random::fill(&mut bytes);
    let text = format!("{}\n", SealingKey::new(bytes).to_hex());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                Failure::usage(format!(
                    "{} is there already and is left as it is: what is encrypted under a key is lost with it",
                    shown(path)
                ))
            } else {
                Failure::unavailable(format!("{} cannot be made: {error}", shown(path)))
            }
        })?;
    let mut write = || -> io::Result<()> {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // The name has to last as well.
        hint::absolute(path).parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().with_context(|| format!("{} cannot be written", shown(path))).map_err(Failure::from)
}

/// The key of a certificate as it goes into a file: encrypted if the operator has a key for that.
pub(crate) fn kept(key: &str, sealing: Option<&SealingKey>) -> Result<String, Failure> {
    let Some(sealing) = sealing else { return Ok(key.to_owned()) };
    let mut nonce = [0; 12];
    random::fill(&mut nonce);
    sealing.seal_pem(key, nonce).context("the key cannot be encrypted").exit_with(Exit::Unavailable)
}

/// Whether a file is one with a key in the clear; a link is not, which leads to where its owner keeps it.
pub(crate) fn lies_open(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|it| it.is_file())
        && fs::read(path).is_ok_and(|key| !SealingKey::is_sealed_pem(&key))
}

/// The key of a certificate as it was read from a file, decrypted if it is encrypted.
pub(crate) fn opened(read: Vec<u8>, path: &Path, sealing: Option<&SealingKey>) -> anyhow::Result<Vec<u8>> {
    if !SealingKey::is_sealed_pem(&read) {
        return Ok(read);
    }
    let sealing = sealing.with_context(|| {
        format!(
            "the key {} is encrypted under a key file: name that with key_file in the settings or with SEENBY_KEY_FILE",
            shown(path)
        )
    })?;
    sealing.open_pem(&read).with_context(|| {
        format!(
            "the key {} is encrypted under another key file than the one that is named, or damaged",
            shown(path)
        )
    })
}

/// Whether every signing key can be used with the operator's key; what to do if not.
pub(crate) fn check(book: &Book, sealing: Option<&SealingKey>) -> Result<(), Failure> {
    api::check_signing_keys(book, sealing).map_err(|error| Failure::unavailable(told(&error)))
}

fn told(error: &KeyError) -> String {
    match error {
        KeyError::NoSealingKey(kid) | KeyError::OtherSealingKey(kid) => format!(
            "{error}\nname that file with key_file in the settings or with SEENBY_KEY_FILE. If it is lost, `{}` and then `{}`, \
             for each such key (`{}`), end what they signed and go on without it",
            hint::run("key rotate --lost-key-file").about_none(),
            hint::run(format!("key remove {}", hint::quote(kid))).about_none(),
            hint::run("key list").about_none()
        ),
        error => error.to_string(),
    }
}
