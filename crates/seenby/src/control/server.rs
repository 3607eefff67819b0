//! The server's side of the control socket: who may talk to it, and what each request calls. Refuses to hold: any
//! decision of a command; a request does exactly what the same call on the store or directory would.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sighting::{
    Actor, Directory, DirectoryError, Label, NetworkKind, RegistryChange, Store, StoreError, TagChange,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::wire::{Reply, Request, WireError, WireFailure, source_name};
use super::wire_book::WireBook;
use super::{
    FRAME_BYTES_MAX, OPERATION_APPEND, OPERATION_HELLO, OPERATION_REQUEST, PROTOCOL_VERSION, socket,
};
use crate::clock;
use crate::store::{AnyDirectory, AnyStore};

/// After a failed accept the loop waits, so that it does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long a caller may leave a reply unread.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);

/// A bound control socket.
#[derive(Debug)]
pub(crate) struct Listening(UnixListener);

impl Listening {
    /// Binds the socket of a folder whose lock this process holds. Needs a running runtime.
    pub(crate) fn bind(folder: &Path) -> io::Result<Listening> {
        let listener = socket::bind(folder)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Listening)
    }
}

/// What requests are performed on.
pub(crate) struct Served {
    pub(crate) store: AnyStore,
    pub(crate) directory: AnyDirectory,
    /// The HTTP side, which counts calls.
    pub(crate) state: api::State<AnyStore, AnyDirectory>,
}

/// Answers until `stop` turns true, then finishes the requests that have begun and removes the socket.
pub(crate) async fn serve(
    listening: Listening,
    folder: &Path,
    served: Served,
    mut stop: watch::Receiver<bool>,
) {
    let served = Arc::new(served);
    let mut callers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listening.0.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                callers.spawn(converse(stream, Arc::clone(&served), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket could not accept a caller");
                // No file descriptors are left, mostly; without a pause the loop would only fill the log.
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
        while callers.try_join_next().is_some() {}
    }
    while callers.join_next().await.is_some() {}
    if let Err(error) = socket::remove(folder) {
        tracing::warn!(%error, "the control socket could not be removed");
    }
}

/// Answers one caller, one request at a time, until it hangs up or the server stops.
async fn converse(mut stream: UnixStream, served: Arc<Served>, mut stop: watch::Receiver<bool>) {
    let allowed = allowed_uid(&stream);
    loop {
        let frame = tokio::select! {
            frame = read_frame(&mut stream) => frame,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok(Some((operation, payload))) = frame else { return };
        let reply = match &allowed {
            Ok(uid) => answer(operation, payload, &served, *uid).await,
            Err(message) => Reply::Failed { kind: WireFailure::NotAllowed, message: message.clone() },
        };
        let written = tokio::time::timeout(WRITE_WAIT_MAX, write_reply(&mut stream, &reply)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// The caller's user id, if it is ours or root's.
fn allowed_uid(stream: &UnixStream) -> Result<u32, String> {
    let ours = rustix::process::getuid().as_raw();
    let caller = rustix::net::sockopt::socket_peercred(stream)
        .map(|credentials| credentials.uid.as_raw())
        .map_err(|error| format!("the server cannot tell who is calling: {error}"))?;
    if caller == ours || caller == 0 {
        return Ok(caller);
    }
    tracing::warn!(caller, "a caller of the control socket was turned away");
    Err(format!(
        "the server runs as user {ours} and listens to that user and root only, not to user {caller}"
    ))
}

async fn read_frame(stream: &mut UnixStream) -> io::Result<Option<(u8, Vec<u8>)>> {
    let length = match stream.read_u32_le().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame of impossible length"));
    }
    let operation = stream.read_u8().await?;
    // Grows with what arrives, so that a length alone costs no memory.
    let mut payload = Vec::new();
    stream.take(u64::from(length) - 1).read_to_end(&mut payload).await?;
    if payload.len() as u64 + 1 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((operation, payload)))
}

async fn write_reply(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let json = serde_json::to_vec(reply).map_err(io::Error::other)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(&json).await?;
    stream.flush().await
}

async fn answer(operation: u8, payload: Vec<u8>, served: &Served, uid: u32) -> Reply {
    let Served { store, directory, .. } = served;
    match operation {
        OPERATION_HELLO => Reply::Hello { version: PROTOCOL_VERSION },
        OPERATION_APPEND => append(payload, store.clone(), directory).await,
        OPERATION_REQUEST => match serde_json::from_slice(&payload) {
            Ok(request) => perform(request, served, uid).await,
            Err(error) => refused(&error),
        },
        _ => refused(&WireError("operation")),
    }
}

fn refused(error: &dyn std::fmt::Display) -> Reply {
    Reply::Failed { kind: WireFailure::Refused, message: error.to_string() }
}

async fn append(payload: Vec<u8>, store: AnyStore, directory: &AnyDirectory) -> Reply {
    // A batch is megabytes: taking it apart would keep callers of this thread waiting.
    let decoding = bulk(async move { Ok(index::codec::decode_batch(&payload)) });
    let batch = match decoding.await {
        Ok(Ok(batch)) => batch,
        Ok(Err(error)) => return refused(&error),
        Err(error) => return error.into(),
    };
    let organisation = batch.organisation();
    let is_gone = async || match directory.book().await {
        Ok(book) => Ok(!book.organisations.contains_key(&organisation)),
        Err(error) => Err(Reply::from(error)),
    };
    // An ingest may still be running when its organisation is removed: first from the book, then from the store.
    match is_gone().await {
        Ok(false) => {}
        Ok(true) => return refused(&format!("there is no organisation {organisation} any more")),
        Err(reply) => return reply,
    }
    let taker = store.clone();
    let receipt = match bulk(async move { taker.append(&batch).await }).await {
        Ok(receipt) => receipt,
        Err(error) => return error.into(),
    };
    // If it left the book while the batch was on its way, the store may have been emptied before the batch came.
    match is_gone().await {
        Ok(false) => Reply::Received { sightings: receipt.sightings },
        Ok(true) => match blocking(async move { store.remove(organisation).await }).await {
            Ok(()) => refused(&format!("the organisation {organisation} was removed meanwhile")),
            Err(error) => error.into(),
        },
        Err(reply) => reply,
    }
}

/// The store's calls block their thread on disk, so each runs on one that may block.
async fn blocking<T: Send + 'static>(
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(call)).await.unwrap_or_else(|error| {
        Err(StoreError::Unavailable(format!("the request failed in the server: {error}")))
    })
}

/// On a thread of its own, which lets those go first who answer callers.
async fn bulk<T: Send + 'static>(
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let runtime = tokio::runtime::Handle::current();
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("seenby-append".to_owned()).spawn(move || {
        index::give_way();
        // Whoever asked may have gone.
        let _ = done.send(runtime.block_on(call));
    });
    let failed = |error: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("the request failed in the server: {error}"))
    };
    thread.map_err(|error| failed(&error))?;
    result.await.map_err(|error| failed(&error))?
}

/// Why a request was not performed.
enum Trouble {
    Wire(WireError),
    Store(StoreError),
    Directory(DirectoryError),
    Issuer(api::UpkeepError),
}

impl From<WireError> for Trouble {
    fn from(error: WireError) -> Trouble {
        Trouble::Wire(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

impl From<DirectoryError> for Trouble {
    fn from(error: DirectoryError) -> Trouble {
        Trouble::Directory(error)
    }
}

impl From<api::UpkeepError> for Trouble {
    fn from(error: api::UpkeepError) -> Trouble {
        Trouble::Issuer(error)
    }
}

async fn perform(request: Request, served: &Served, uid: u32) -> Reply {
    match try_perform(request, served, uid).await {
        Ok(reply) => reply,
        Err(Trouble::Wire(error)) => refused(&error),
        Err(Trouble::Store(error)) => error.into(),
        Err(Trouble::Directory(error)) => error.into(),
        Err(Trouble::Issuer(error)) => {
            Reply::Failed { kind: WireFailure::Unavailable, message: error.to_string() }
        }
    }
}

async fn try_perform(request: Request, served: &Served, uid: u32) -> Result<Reply, Trouble> {
    let (store, directory) = (served.store.clone(), &served.directory);
    Ok(match request {
        Request::Stats(question) => {
            let question = question.try_into()?;
            Reply::Answer(blocking(async move { store.stats(question).await }).await?.into())
        }
        Request::StatsOf(questions) => {
            let questions = questions.try_into()?;
            let answers = blocking(async move { store.stats_of(questions).await }).await?;
            Reply::Answers(answers.into_iter().map(Into::into).collect())
        }
        Request::Coverage { organisation, kept_since, until } => {
            let (since, until) = (sighting::Second::new(kept_since), sighting::Second::new(until));
            let coverage =
                blocking(async move { store.coverage(organisation.into(), since, until).await }).await?;
            Reply::Coverage(coverage.into())
        }
        Request::Offset { organisation, source, key } => {
            let source = source_name(&source)?;
            Reply::Offset(
                blocking(async move { store.offset(organisation.into(), source, key).await }).await?,
            )
        }
        Request::Offsets { organisation, source } => {
            let source = source_name(&source)?;
            let offsets = blocking(async move { store.offsets(organisation.into(), source).await }).await?;
            Reply::Offsets(offsets.into_iter().map(|offset| (offset.key, offset.position)).collect())
        }
        Request::Devices { organisation, key, at } => {
            let at = sighting::Second::new(at);
            let key = key.map(sighting::DeviceKey::try_from).transpose()?;
            let devices = blocking(async move { store.devices(organisation.into(), key, at).await }).await?;
            Reply::Devices(devices.into_iter().map(Into::into).collect())
        }
        Request::Teach { organisation, change } => {
            let change: RegistryChange = change.try_into()?;
            let (organisation, what) = (organisation.into(), taught(&change));
            blocking(async move { store.teach(organisation, change).await }).await?;
            tracing::info!(caller = uid, %organisation, change = what, "devices changed by the command line");
            Reply::Done
        }
        Request::Registry { organisation } => {
            let settings = blocking(async move { store.registry(organisation.into()).await }).await?;
            Reply::Registry((&settings).into())
        }
        Request::Outside { organisation, kept_since } => {
            let since = sighting::Second::new(kept_since);
            blocking(async move { store.outside(organisation.into(), since).await }).await?.into()
        }
        Request::Retain { organisation, kept_since } => {
            let since = sighting::Second::new(kept_since);
            blocking(async move { store.retain(organisation.into(), since).await }).await?;
            Reply::Done
        }
        Request::Remove { organisation } => {
            blocking(async move { store.remove(organisation.into()).await }).await?;
            Reply::Done
        }
        Request::Book => Reply::Book(WireBook::from(&*directory.book().await?)),
        Request::Commit(change) => {
            let change: sighting::Change = change.try_into()?;
            let what = sighting::escape(&change.to_string()).into_owned();
            directory.commit(change, Actor(actor(uid)), clock::now()).await?;
            tracing::info!(caller = uid, change = what, "changed by the command line");
            Reply::Done
        }
        Request::Standings { organisation } => {
            let book = directory.book().await?;
            let applications = book.applications.values();
            let ours = applications.filter(|application| application.organisation == organisation.into());
            let standing = |application| served.state.standing(application);
            Reply::Standings(ours.map(|it| (it.id, standing(it)).into()).collect())
        }
        Request::RotateSigningKey => {
            let kid = served.state.rotate_signing_key(directory, Actor(actor(uid))).await?;
            tracing::info!(caller = uid, kid, "another signing key was made by the command line");
            Reply::SigningKey { kid }
        }
        Request::Audit { entries_max } => {
            let entries = directory.audit(entries_max).await?;
            Reply::Audit(entries.into_iter().map(Into::into).collect())
        }
    })
}

/// What the registry was taught, for the log.
fn taught(change: &RegistryChange) -> String {
    match change {
        RegistryChange::Merge { from, into } => format!("merged '{from}' into '{into}'"),
        RegistryChange::Split(identity) => format!("took back the merge of '{identity}'"),
        RegistryChange::Rename { identity, name } => {
            let name = name.as_ref().map_or("", Label::as_str);
            format!("calls the device of '{identity}' '{}'", sighting::escape(name))
        }
        RegistryChange::Tag { identity, tag, change } => {
            let word = if *change == TagChange::Add { "tagged" } else { "took a tag off" };
            format!("{word} the device of '{identity}': '{}'", sighting::escape(tag.as_str()))
        }
        RegistryChange::Networks(kind, list) => {
            let word = if *kind == NetworkKind::Nat { "NAT gateways" } else { "unique networks" };
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            format!("{word} are '{}'", list.join(","))
        }
        RegistryChange::Domain(domain) => {
            format!("short names are of the domain '{}'", sighting::escape(domain.as_deref().unwrap_or("")))
        }
    }
}

/// Who a user of the command line is in the audit log.
pub(crate) fn actor(uid: u32) -> String {
    format!("uid {uid} on the command line")
}
