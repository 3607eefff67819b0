//! An opened data folder with its organisations: found, created when missing, or reached through the server that
//! holds it. Refuses to hold: files of the folder (the index has those) and the commands' own work.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use index::{DataFolder, IndexError, OpenError};
use sighting::{
    Actor, Book, Change, Directory as _, Organisation, OrganisationId, RETENTION_DEFAULT, Retention, Uuid,
    escape,
};

use crate::clock;
use crate::control::{self, ConnectError, Remote};
use crate::exit::{Exit, ExitWith as _, Failure};
use crate::store::{AnyDirectory, AnyStore};

/// How long to wait for another process to let go of the folder or to begin to listen: another short command, or a
/// server that is still replaying its journal. A guess: longer than both take, short enough to wait for.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How often to look again.
const WAIT_STEP: Duration = Duration::from_millis(20);

/// The organisation that the first command on a missing folder makes.
const DEFAULT_NAME: &str = "default";

/// An opened data folder.
pub(crate) struct House {
    /// Its sightings.
    pub(crate) store: AnyStore,
    /// Its organisations and applications.
    pub(crate) directory: AnyDirectory,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Holds the lock, when this process does.
    _folder: Option<DataFolder>,
}

impl House {
    /// Opens a folder for a command: itself, or through the server that holds it; makes the organisation `default`
    /// in a new one.
    pub(crate) async fn open(path: &Path) -> Result<House, Failure> {
        let house = House::reach(path)?;
        house.make_default().await?;
        Ok(house)
    }

    /// Opens a folder for a server: this process must hold it.
    pub(crate) async fn hold(path: &Path) -> Result<House, Failure> {
        let house = wait(|last| match open_folder(path) {
            Err(Unopened::Locked) if !last => None,
            Err(Unopened::Locked) => Some(Err(Failure::unavailable(format!(
                "another seenby process holds {}: stop it first, or name another folder with --data-dir",
                shown(path)
            )))),
            Err(Unopened::Failed(failure)) => Some(Err(failure)),
            Ok(folder) => Some(Ok(House::of_folder(folder, path))),
        })?;
        house.make_default().await?;
        Ok(house)
    }

    /// Opens a folder in which there may be no organisation yet.
    pub(crate) fn reach(path: &Path) -> Result<House, Failure> {
        wait(|last| match open_folder(path) {
            Ok(folder) => Some(Ok(House::of_folder(folder, path))),
            Err(Unopened::Failed(failure)) => Some(Err(failure)),
            Err(Unopened::Locked) => match Remote::connect(path) {
                Ok(remote) => Some(Ok(House::of_server(remote, path))),
                Err(ConnectError::NobodyListens(_)) if !last => None,
                Err(error) => Some(Err(unreachable(path, &error))),
            },
        })
    }

    fn of_folder(folder: DataFolder, path: &Path) -> House {
        House {
            store: AnyStore::Folder(folder.store()),
            directory: AnyDirectory::Folder(folder.directory()),
            path: path.to_owned(),
            _folder: Some(folder),
        }
    }

    fn of_server(remote: Remote, path: &Path) -> House {
        let remote = Arc::new(remote);
        House {
            store: AnyStore::Remote(Arc::clone(&remote)),
            directory: AnyDirectory::Remote(remote),
            path: path.to_owned(),
            _folder: None,
        }
    }

    async fn make_default(&self) -> Result<(), Failure> {
        if self.directory.book().await?.organisations.is_empty() {
            let organisation = new_organisation(DEFAULT_NAME, None, RETENTION_DEFAULT)?;
            self.commit(Change::AddOrganisation(organisation)).await?;
        }
        Ok(())
    }

    /// Everything the directory holds now.
    pub(crate) async fn book(&self) -> Result<Arc<Book>, Failure> {
        Ok(self.directory.book().await?)
    }

    /// Makes a change of the directory in the name of whoever runs this command.
    pub(crate) async fn commit(&self, change: Change) -> Result<(), Failure> {
        // Tried on a copy first: a change that makes no sense is then told apart from a server that fails.
        Book::clone(&*self.directory.book().await?).apply(&change)?;
        let actor = Actor(control::actor(rustix::process::getuid().as_raw()));
        self.directory.commit(change, actor, clock::now()).await?;
        Ok(())
    }

    /// The organisation that a command is about: the one named, or the only one.
    pub(crate) async fn organisation(&self, named: Option<&str>) -> Result<Organisation, Failure> {
        choose(&*self.book().await?, named).cloned()
    }
}

/// The organisation of a name or GUID, or the only one there is.
pub(crate) fn choose<'a>(book: &'a Book, named: Option<&str>) -> Result<&'a Organisation, Failure> {
    let mut all = book.organisations.values();
    match (named, all.next(), all.next()) {
        (Some(named), ..) => book.organisation(named).ok_or_else(|| {
            Failure::usage(format!(
                "there is no organisation '{}'; there are: {}",
                escape(named),
                names(book)
            ))
        }),
        (None, Some(only), None) => Ok(only),
        (None, None, _) => {
            Err(Failure::usage("there is no organisation; make one with `seenby org add NAME`"))
        }
        (None, Some(_), Some(_)) => Err(Failure::usage(format!(
            "there are several organisations; say which with --organisation NAME: {}",
            names(book)
        ))),
    }
}

fn names(book: &Book) -> String {
    let names: Vec<String> =
        book.organisations.values().map(|organisation| format!("'{}'", escape(&organisation.name))).collect();
    names.join(", ")
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

fn open_folder(path: &Path) -> Result<DataFolder, Unopened> {
    match DataFolder::open(path, index::Options::default()) {
        Ok(folder) => Ok(folder),
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
             `seenby serve` first (then every command goes through it)"
        )),
        ConnectError::Incompatible(message) => Failure::unavailable(format!("{folder} is held: {message}")),
        ConnectError::NotAllowed(message) => Failure::not_allowed(format!("{folder} is held: {message}")),
    }
}

/// Tries until there is a result; the last try must give one. There is no event to wait for: the other process may
/// let go of the folder or begin to listen, whichever comes first.
fn wait<T>(mut attempt: impl FnMut(bool) -> Option<Result<T, Failure>>) -> Result<T, Failure> {
    let begun_at = Instant::now();
    loop {
        let last = begun_at.elapsed() >= WAIT_MAX;
        if let Some(result) = attempt(last) {
            return result;
        }
        assert!(!last, "the last attempt gives a result");
        std::thread::park_timeout(WAIT_STEP);
    }
}
