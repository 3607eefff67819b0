//! `seenby key`: the keys that this server's own tokens are signed with, and the file of the key that they are encrypted under.
//! Refuses to hold: how keys are made and encrypted (the HTTP room), when the server makes another, and private keys.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use sighting::{Book, Change, PrivateKey, SigningKey, escape};

use super::{Context, confirm};
use crate::exit::{Exit, Failure, Outcome};
use crate::hint;
use crate::house::shown;
use crate::output::{note, table};
use crate::sealing;

pub(crate) const EXAMPLES: &str =
    "Examples:\n  seenby key list\n  seenby key rotate\n  seenby key new-file /etc/seenby/seenby.key";

/// So many letters of a key id name it, if they name no other.
const PREFIX_LETTERS_MIN: usize = 8;

/// What to do with signing keys.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// List the signing keys, the one that signs last, and whether they are encrypted
    #[command(after_help = "Example:\n  seenby key list --json")]
    List,
    /// Make another signing key, which signs from now on; tokens of the others stay good
    ///
    /// The server does the same of itself every 90 days (signing_key_days of the settings). It removes a key an hour and ten
    /// minutes after another took over: what it signed has expired by then.
    #[command(after_help = "Example:\n  seenby key rotate")]
    Rotate {
        /// Make it although the keys that are there cannot be read, because the file of their key is lost
        #[arg(long)]
        lost_key_file: bool,
    },
    /// Remove a signing key; every token that it signed is refused at once; asks first
    #[command(after_help = "Example:\n  seenby key remove NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    Remove {
        /// Its id, or the first 8 letters or more
        #[arg(value_name = "KID", allow_hyphen_values = true)]
        kid: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Make a file with a new key to encrypt signing keys under; it must lie outside the data folder
    ///
    /// Name the file with key_file in the settings, or with SEENBY_KEY_FILE: the server encrypts what it has, and makes another
    /// signing key. Without that file nobody can use them: keep a copy of it, apart from copies of the data folder.
    #[command(after_help = "Example:\n  seenby key new-file /etc/seenby/seenby.key")]
    NewFile {
        /// The file; one that is there is left as it is
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// One signing key as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    kid: &'a str,
    created_at: String,
    encrypted: bool,
    /// Whether it signs; the others only verify.
    signs: bool,
}

/// Runs the command.
pub(crate) async fn run(command: KeyCommand, mut context: Context) -> Outcome {
    match command {
        KeyCommand::List => list(&mut context).await,
        KeyCommand::Rotate { lost_key_file } => rotate(lost_key_file, &mut context).await,
        KeyCommand::Remove { kid, yes } => remove(&kid, yes, &mut context).await,
        KeyCommand::NewFile { file } => new_file(&file, &mut context),
    }
}

async fn list(context: &mut Context) -> Outcome {
    let house = context.house().await?;
    let book = house.book().await?;
    let newest = book.signing_keys.last().map(|key| &key.kid);
    let shown = book.signing_keys.iter().map(|key| Shown {
        kid: &key.kid,
        created_at: key.created_at.to_string(),
        encrypted: matches!(key.private, PrivateKey::Sealed(_)),
        signs: Some(&key.kid) == newest,
    });
    if context.global.json {
        context.output.json(&shown.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["key id", "made", "use", "kept"]);
    for key in shown {
        rows.add_row([
            escape(key.kid).into_owned(),
            key.created_at,
            if key.signs { "signs" } else { "verifies" }.to_owned(),
            if key.encrypted { "encrypted" } else { "in the clear" }.to_owned(),
        ]);
    }
    context.output.table(&rows)?;
    if newest.is_none() {
        note("There is none yet; a server makes the first when it starts.");
    }
    Ok(Exit::Done)
}

async fn rotate(lost_key_file: bool, context: &mut Context) -> Outcome {
    let data = context.data_dir()?;
    let house = context.house().await?;
    let sealing = if house.is_held_here() { sealing::key(&context.settings, &data)? } else { None };
    if house.is_held_here() && !lost_key_file {
        // Whoever forgot to name the file would make a key in the clear.
        sealing::check(&*house.book().await?, sealing.as_ref())?;
    }
    let kid = house.rotate_signing_key(sealing.as_ref()).await?;
    let book = house.book().await?;
    let made = book.signing_keys.iter().find(|key| key.kid == kid);
    let encrypted = made.is_some_and(|key| matches!(key.private, PrivateKey::Sealed(_)));
    if context.global.json {
        context.output.json(&json!({ "kid": kid, "encrypted": encrypted }))?;
        return Ok(Exit::Done);
    }
    let kept = if encrypted { "It is kept encrypted." } else { "It is kept in the clear." };
    context.output.line(format!("Signing key '{}' signs from now on. {kept}", escape(&kid)))?;
    Ok(Exit::Done)
}

async fn remove(typed: &str, yes: bool, context: &mut Context) -> Outcome {
    let house = context.house().await?;
    let book = house.book().await?;
    let kid = &find(&book, typed)?.kid;
    let change = Change::RemoveSigningKey(kid.clone());
    if book.signing_keys.last().is_some_and(|newest| newest.kid == *kid) {
        return Err(Failure::usage(format!(
            "'{}' is the key that signs now; make another first with `{}`",
            escape(kid),
            hint::run("key rotate").about_none()
        )));
    }
    let kid_shown = escape(kid);
    confirm(
        yes,
        &format!(
            "This removes the signing key '{kid_shown}': every token that it signed is refused at once. Remove it?"
        ),
    )?;
    house.commit(change).await?;
    if context.global.json {
        context.output.json(&json!({ "kid": kid }))?;
    } else {
        context.output.line(format!("Removed signing key '{kid_shown}'."))?;
    }
    Ok(Exit::Done)
}

fn find<'a>(book: &'a Book, typed: &str) -> Result<&'a SigningKey, Failure> {
    if let Some(key) = book.signing_keys.iter().find(|key| key.kid == typed) {
        return Ok(key);
    }
    let is_prefix = |key: &&SigningKey| typed.len() >= PREFIX_LETTERS_MIN && key.kid.starts_with(typed);
    let mut found = book.signing_keys.iter().filter(is_prefix);
    let all = hint::run("key list").about_none();
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "several signing keys begin with '{}'; `{all}` shows all",
            escape(typed)
        ))),
        (None, _) => {
            Err(Failure::usage(format!("there is no signing key '{}'; `{all}` shows all", escape(typed))))
        }
    }
}

fn new_file(file: &Path, context: &mut Context) -> Outcome {
    let data = context.data_dir()?;
    sealing::make(file, &data)?;
    let file = hint::absolute(file);
    if context.global.json {
        context.output.json(&json!({ "key_file": file.display().to_string() }))?;
        return Ok(Exit::Done);
    }
    context.output.line(format!("Wrote a new key into {}.", shown(&file)))?;
    context.output.line(
        "Name it with key_file in the settings, or with SEENBY_KEY_FILE, and keep a copy apart from the data folder's.",
    )?;
    Ok(Exit::Done)
}
