//! An opened data folder with its organisations: found, created when missing, or reached through the server that
//! holds it. Refuses to hold: files of the folder (the index has those) and the commands' own work.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use index::{DataFolder, IndexError, OpenError, Options};
use sighting::{
    Actor, ApplicationId, Book, Change, Directory as _, Organisation, OrganisationId, RETENTION_DEFAULT,
    Retention, Uuid, escape,
};

use crate::clock;
use crate::control::{self, ConnectError, Remote};
use crate::exit::{Exit, ExitWith as _, Failure};
use crate::hint;
use crate::output::note;
use crate::store::{AnyDirectory, AnyStore};

/// How long to wait for another process to let go of the folder or to begin to listen: other short commands, or a
/// server that is still replaying its journal. A guess: some fifty commands at once, short enough to wait for.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How long a server waits for another server that answers. One that was told to end is gone by then.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(5);
/// After how long somebody at a terminal is told what they wait for.
const WAIT_UNTOLD_MAX: Duration = Duration::from_secs(1);
/// How often to look again. The same for all who wait, so that nobody's chance shrinks with waiting.
const WAIT_STEP: Duration = Duration::from_millis(20);

/// The organisation that the first command on a missing folder makes.
pub(crate) const DEFAULT_NAME: &str = "default";

/// An opened data folder.
pub(crate) struct House {
    /// Its sightings.
    pub(crate) store: AnyStore,
    /// Its organisations and applications.
    pub(crate) directory: AnyDirectory,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// This process made it.
    is_new: bool,
    /// Holds the lock, when this process does.
    _folder: Option<DataFolder>,
}

impl House {
    /// Opens a folder for a command: itself, or through the server that holds it; makes the organisation `default`
    /// in a new one.
    pub(crate) async fn open(path: &Path, options: &Options) -> Result<House, Failure> {
        let house = House::reach(path, options)?;
        if house.make_default().await? {
            note(&format!(
                "note: made a new data folder {} with the organisation '{DEFAULT_NAME}'",
                shown(&hint::absolute(path))
            ));
        }
        Ok(house)
    }

    /// Opens a folder for a server: this process must hold it. That it is a new one is told in the server's log.
    pub(crate) async fn hold(path: &Path, options: &Options) -> Result<House, Failure> {
        let house = wait(path, |waited| match open_folder(path, options) {
            Ok((folder, is_new)) => Some(Ok(House::of_folder(folder, is_new, path))),
            Err(Unopened::Failed(failure)) => Some(Err(failure)),
            Err(Unopened::Locked) if is_held_for_good(path, waited) => {
                Some(Err(Failure::unavailable(format!(
                    "another seenby process holds {}: stop it first, or name another folder with --data-dir",
                    shown(path)
                ))))
            }
            Err(Unopened::Locked) => None,
        })?;
        if house.make_default().await? {
            // A warning, because a folder that was mistyped is a server without data.
            tracing::warn!(folder = %shown(&hint::absolute(path)), "made a new data folder");
        }
        Ok(house)
    }

    /// Whether there is a data folder at a path; opening what is none makes one.
    pub(crate) fn exists(path: &Path) -> bool {
        DataFolder::exists(path)
    }

    /// Opens a folder in which there may be no organisation yet.
    pub(crate) fn reach(path: &Path, options: &Options) -> Result<House, Failure> {
        wait(path, |waited| match open_folder(path, options) {
            Ok((folder, is_new)) => Some(Ok(House::of_folder(folder, is_new, path))),
            Err(Unopened::Failed(failure)) => Some(Err(failure)),
            Err(Unopened::Locked) => match Remote::connect(path) {
                Ok(remote) => Some(Ok(House::of_server(remote, path))),
                Err(ConnectError::NobodyListens(_)) if waited < WAIT_MAX => None,
                Err(error) => Some(Err(unreachable(path, &error))),
            },
        })
    }

    fn of_folder(folder: DataFolder, is_new: bool, path: &Path) -> House {
        House {
            store: AnyStore::Folder(folder.store()),
            directory: AnyDirectory::Folder(folder.directory()),
            path: path.to_owned(),
            is_new,
            _folder: Some(folder),
        }
    }

    fn of_server(remote: Remote, path: &Path) -> House {
        let remote = Arc::new(remote);
        House {
            store: AnyStore::Remote(Arc::clone(&remote)),
            directory: AnyDirectory::Remote(remote),
            path: path.to_owned(),
            is_new: false,
            _folder: None,
        }
    }

    /// Gives a new folder its organisation; says whether it did. One that was there and has none is left so: its
    /// operator removed the last.
    async fn make_default(&self) -> Result<bool, Failure> {
        if !self.is_new || !self.book().await?.organisations.is_empty() {
            return Ok(false);
        }
        let organisation = new_organisation(DEFAULT_NAME, None, RETENTION_DEFAULT)?;
        self.commit(Change::AddOrganisation(organisation)).await?;
        Ok(true)
    }

    /// Everything the directory holds now.
    pub(crate) async fn book(&self) -> Result<Arc<Book>, Failure> {
        Ok(self.directory.book().await?)
    }

    /// Makes a change of the directory in the name of whoever runs this command.
    pub(crate) async fn commit(&self, change: Change) -> Result<(), Failure> {
        // Tried on a copy first: a change that makes no sense is then told apart from a server that fails.
        Book::clone(&*self.directory.book().await?).apply(&change)?;
        self.directory.commit(change, actor(), clock::now()).await?;
        Ok(())
    }

    /// Makes another signing key and gives its id: a server that holds the folder does it, else this process, which
    /// encrypts it if it has a key to do it with.
    pub(crate) async fn rotate_signing_key(
        &self,
        sealing: Option<&api::SealingKey>,
    ) -> Result<String, Failure> {
        match &self.directory {
            AnyDirectory::Remote(remote) => Ok(remote.rotate_signing_key()?),
            AnyDirectory::Folder(folder) => {
                let mut nonce = [0; 12];
                getrandom::fill(&mut nonce).context("the system gives no random numbers")?;
                let kid = api::add_signing_key(&**folder, sealing, nonce, clock::now(), actor()).await;
                kid.exit_with(Exit::Unavailable)
            }
        }
    }

    /// Whether this process holds the folder, and no server does.
    pub(crate) fn is_held_here(&self) -> bool {
        matches!(self.directory, AnyDirectory::Folder(_))
    }

    /// How the applications of an organisation stand with their limits; `None` if no server is running, because then
    /// nobody counts.
    pub(crate) fn standings(
        &self,
        organisation: OrganisationId,
    ) -> Result<Option<BTreeMap<ApplicationId, api::Standing>>, Failure> {
        match &self.directory {
            AnyDirectory::Folder(_) => Ok(None),
            AnyDirectory::Remote(remote) => Ok(Some(remote.standings(organisation)?)),
        }
    }

    /// The organisation that a command is about: the one named, or the only one.
    pub(crate) async fn organisation(&self, named: Option<&str>) -> Result<Organisation, Failure> {
        choose(&*self.book().await?, named).cloned()
    }
}

/// Whoever runs this command, for the audit log.
fn actor() -> Actor {
    Actor(control::actor(rustix::process::getuid().as_raw()))
}

/// The organisation of a name or GUID, or the only one there is.
pub(crate) fn choose<'a>(book: &'a Book, named: Option<&str>) -> Result<&'a Organisation, Failure> {
    let mut all = book.organisations.values();
    match (named, all.next(), all.next()) {
        (Some(_), None, _) => Err(no_organisation()),
        (Some(named), ..) => book.organisation(named).ok_or_else(|| {
            Failure::usage(format!(
                "there is no organisation '{}'; there are: {}",
                escape(named),
                names(book)
            ))
        }),
        (None, Some(only), None) => Ok(only),
        (None, None, _) => Err(no_organisation()),
        (None, Some(_), Some(_)) => Err(Failure::usage(format!(
            "there are several organisations; say which with --organisation NAME: {}",
            names(book)
        ))),
    }
}

fn no_organisation() -> Failure {
    Failure::usage(format!(
        "there is no organisation; make one with `{}`",
        hint::run("org add NAME").about_none()
    ))
}

fn names(book: &Book) -> String {
    let names: Vec<String> =
        by_name(book).map(|organisation| format!("'{}'", escape(&organisation.name))).collect();
    names.join(", ")
}

/// The organisations in the order of their names, as people look for them.
pub(crate) fn by_name(book: &Book) -> impl Iterator<Item = &Organisation> {
    let mut all: Vec<&Organisation> = book.organisations.values().collect();
    all.sort_by_key(|organisation| organisation.name.to_lowercase());
    all.into_iter()
}

/// An organisation that is about to be added.
pub(crate) fn new_organisation(
    name: &str,
    id: Option<Uuid>,
    retention: Retention,
) -> Result<Organisation, Failure> {
    let id = id.map_or_else(random_uuid, Ok)?;
    Ok(Organisation { id: OrganisationId(id), name: name.to_owned(), retention, source_tenants: Vec::new() })
}

/// A random GUID (version 4).
pub(crate) fn random_uuid() -> Result<Uuid, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system gives no random numbers").exit_with(Exit::Unavailable)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// A path for a person; it may hold anything.
pub(crate) fn shown(path: &Path) -> String {
    escape(&path.display().to_string()).into_owned()
}

/// Why the folder was not opened.
enum Unopened {
    /// Another process holds it.
    Locked,
    /// It cannot be opened.
    Failed(Failure),
}

/// The folder, and whether it was made just now.
fn open_folder(path: &Path, options: &Options) -> Result<(DataFolder, bool), Unopened> {
    let is_new = !DataFolder::exists(path);
    match DataFolder::open(path, options.clone()) {
        Ok(folder) => Ok((folder, is_new)),
        Err(OpenError::Locked { .. }) => Err(Unopened::Locked),
        Err(error) => {
            let exit = if is_forbidden(&error) { Exit::NotAllowed } else { Exit::Unavailable };
            // Its text has the cause in it already.
            let cause = anyhow::anyhow!("the data folder {} cannot be opened: {error}", shown(path));
            Err(Unopened::Failed(Failure { exit, cause }))
        }
    }
}

/// Whether the folder is somebody else's.
fn is_forbidden(error: &OpenError) -> bool {
    matches!(error, OpenError::Index(IndexError::Io { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied)
}

/// The folder is held by a process that we cannot work through.
fn unreachable(path: &Path, error: &ConnectError) -> Failure {
    let folder = shown(path);
    match error {
        ConnectError::NobodyListens(_) => Failure::unavailable(format!(
            "another seenby process holds {folder} and does not answer: if it is an ingest, wait for it, or start \
             `{}` first (then every command goes through it)",
            hint::run("serve").about_none()
        )),
        ConnectError::Silent(process) => Failure::unavailable(silent(&folder, *process)),
        ConnectError::Incompatible(message) => Failure::unavailable(format!("{folder} is held: {message}")),
        ConnectError::NotAllowed(message) => Failure::not_allowed(format!("{folder} is held: {message}")),
    }
}

/// A server is there, and its process was stopped or has no time.
fn silent(folder: &str, process: Option<u32>) -> String {
    match process {
        Some(process) => format!(
            "the server that holds {folder} (process {process}) does not answer: if it was stopped, \
             `kill -CONT {process}` lets it go on; if it is busy, run this again"
        ),
        None => format!(
            "the server that holds {folder} does not answer: if it was stopped, `kill -CONT` with its process id \
             lets it go on; if it is busy, run this again"
        ),
    }
}

/// Whether a server need not wait any longer for whoever holds the folder.
fn is_held_for_good(path: &Path, waited: Duration) -> bool {
    waited >= WAIT_MAX || (waited >= SERVER_WAIT_MAX && Remote::connect(path).is_ok())
}

/// Tries until there is a result, which there must be after [`WAIT_MAX`]. There is no event to wait for: the other
/// process may let go of the folder or begin to listen, whichever comes first.
fn wait<T>(
    path: &Path,
    mut attempt: impl FnMut(Duration) -> Option<Result<T, Failure>>,
) -> Result<T, Failure> {
    let begun_at = Instant::now();
    let mut is_told = !io::stderr().is_terminal();
    loop {
        let waited = begun_at.elapsed();
        if let Some(result) = attempt(waited) {
            return result;
        }
        assert!(waited < WAIT_MAX, "the last attempt gives a result");
        if !is_told && waited >= WAIT_UNTOLD_MAX {
            note(&format!(
                "Waiting for another seenby process, which holds {}, for up to {} s.",
                shown(path),
                WAIT_MAX.as_secs()
            ));
            is_told = true;
        }
        std::thread::park_timeout(WAIT_STEP);
    }
}
