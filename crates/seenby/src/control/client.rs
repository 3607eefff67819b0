//! The caller's side of the control socket: a [`Store`] and a [`Directory`] whose maker is a running server.
//! Refuses to hold: asynchrony. It is only used by commands, whose threads may block; its futures are ready at once.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sighting::{
    Actor, Answer, ApplicationId, AuditEntry, Batch, Book, Change, Coverage, DeviceEntry, DeviceKey,
    Directory, DirectoryError, GrantPage, Offset, OrganisationId, Question, Questions, Receipt,
    RegistryChange, RegistrySettings, Retained, Second, SourceName, Store, StoreError, Ticket, TicketKey,
};

use super::wire::{Reply, Request, WireError, WireFailure};
use super::{
    FRAME_BYTES_MAX, OPERATION_APPEND, OPERATION_HELLO, OPERATION_REQUEST, PROTOCOL_VERSION, socket,
};

/// How long a server may take to say hello. It does so from a thread that nothing blocks; only a process that was
/// stopped, or a machine that is swapping, takes longer.
const HELLO_WAIT_MAX: Duration = Duration::from_secs(5);

/// A running server, as a store and a directory.
#[derive(Debug)]
pub(crate) struct Remote {
    folder: PathBuf,
    /// Connections that are not in use.
    idle: Mutex<Vec<UnixStream>>,
}

/// Why the server that holds a folder cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody listens (yet, or any more).
    #[error("nobody listens on its control socket")]
    NobodyListens(#[source] io::Error),
    /// Somebody does, and says nothing: the process with this id, where it is known.
    #[error("it does not answer")]
    Silent(Option<u32>),
    /// Somebody does, and does not talk to us.
    #[error("{0}")]
    NotAllowed(String),
    /// Somebody does, in another language.
    #[error("{0}")]
    Incompatible(String),
}

impl Remote {
    /// Connects to the server that holds a folder.
    pub(crate) fn connect(folder: &Path) -> Result<Remote, ConnectError> {
        let stream = greet(folder)?;
        Ok(Remote { folder: folder.to_owned(), idle: Mutex::new(vec![stream]) })
    }

    fn call(&self, operation: u8, payload: &[u8]) -> Result<Reply, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => greet(&self.folder).map_err(|error| gone(&self.folder, &error))?,
        };
        let reply = exchange(&mut stream, operation, payload).map_err(|error| gone(&self.folder, &error))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        match reply {
            Reply::Failed { kind: WireFailure::Refused, message } => Err(StoreError::Refused(message)),
            Reply::Failed { kind: WireFailure::Corrupt, message } => Err(StoreError::Corrupt(message)),
            Reply::Failed { message, .. } => Err(StoreError::Unavailable(message)),
            reply => Ok(reply),
        }
    }

    /// How the applications of an organisation stand with their limits, as the server counts.
    pub(crate) fn standings(
        &self,
        organisation: OrganisationId,
    ) -> Result<BTreeMap<ApplicationId, api::Standing>, StoreError> {
        match self.request(&Request::Standings { organisation: organisation.into() })? {
            Reply::Standings(standings) => Ok(standings.into_iter().map(Into::into).collect()),
            _ => Err(unexpected()),
        }
    }

    /// Has the server make another signing key, and gives its id.
    pub(crate) fn rotate_signing_key(&self) -> Result<String, StoreError> {
        match self.request(&Request::RotateSigningKey)? {
            Reply::SigningKey { kid } => Ok(kid),
            _ => Err(unexpected()),
        }
    }

    fn request(&self, request: &Request) -> Result<Reply, StoreError> {
        let json = serde_json::to_vec(request).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.call(OPERATION_REQUEST, &json)
    }
}

fn greet(folder: &Path) -> Result<UnixStream, ConnectError> {
    let mut stream = socket::connect(folder, HELLO_WAIT_MAX).map_err(|error| unheard(error, None))?;
    let reply = hello(&mut stream)
        .map_err(|error| unheard(error, rustix::net::sockopt::socket_peercred(&stream).ok()))?;
    match reply {
        Reply::Hello { version: PROTOCOL_VERSION } => Ok(stream),
        Reply::Hello { version } => Err(ConnectError::Incompatible(format!(
            "the server that holds it is another version of seenby (its control protocol is {version}, ours is \
             {PROTOCOL_VERSION}): restart it with this program, or use the program that it runs"
        ))),
        Reply::Failed { message, .. } => Err(ConnectError::NotAllowed(message)),
        _ => Err(ConnectError::Incompatible("the server that holds it answered something else".to_owned())),
    }
}

/// Asks who is there. Only this has a time limit: an append or a question takes what it takes.
fn hello(stream: &mut UnixStream) -> io::Result<Reply> {
    stream.set_read_timeout(Some(HELLO_WAIT_MAX))?;
    let reply = exchange(stream, OPERATION_HELLO, &PROTOCOL_VERSION.to_le_bytes())?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok(reply)
}

fn unheard(error: io::Error, peer: Option<rustix::net::UCred>) -> ConnectError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            ConnectError::Silent(peer.and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok()))
        }
        _ => ConnectError::NobodyListens(error),
    }
}

fn exchange(stream: &mut UnixStream, operation: u8, payload: &[u8]) -> io::Result<Reply> {
    let bytes = u32::try_from(payload.len() + 1).ok().filter(|bytes| *bytes <= FRAME_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| io::Error::other("a request too large for the control socket"))?;
    stream.write_all(&bytes.to_le_bytes())?;
    stream.write_all(&[operation])?;
    stream.write_all(payload)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a reply too large for the control socket"));
    }
    let mut reply = vec![0; length as usize];
    stream.read_exact(&mut reply)?;
    serde_json::from_slice(&reply).map_err(io::Error::other)
}

fn gone(folder: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!(
        "the server that holds {} went away in the middle ({error}); run the command again",
        crate::house::shown(folder)
    ))
}

fn senseless(error: &WireError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// A reply of the wrong kind; cannot happen between two sides of one version.
fn unexpected() -> StoreError {
    senseless(&WireError("reply"))
}

impl Store for Remote {
    async fn append(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        match self.call(OPERATION_APPEND, &index::codec::encode_batch(batch))? {
            Reply::Received { sightings } => Ok(Receipt { sightings }),
            _ => Err(unexpected()),
        }
    }

    async fn stats(&self, question: Question) -> Result<Answer, StoreError> {
        match self.request(&Request::Stats(question.into()))? {
            Reply::Answer(answer) => Ok(answer.into()),
            _ => Err(unexpected()),
        }
    }

    async fn stats_of(&self, questions: Questions) -> Result<Vec<Answer>, StoreError> {
        match self.request(&Request::StatsOf(questions.into()))? {
            Reply::Answers(answers) => Ok(answers.into_iter().map(Into::into).collect()),
            _ => Err(unexpected()),
        }
    }

    async fn coverage(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
        until: Second,
    ) -> Result<Coverage, StoreError> {
        let request = Request::Coverage {
            organisation: organisation.into(),
            kept_since: kept_since.unix(),
            until: until.unix(),
        };
        match self.request(&request)? {
            Reply::Coverage(coverage) => Coverage::try_from(coverage).map_err(|error| senseless(&error)),
            _ => Err(unexpected()),
        }
    }

    async fn offset(
        &self,
        organisation: OrganisationId,
        source: SourceName,
        key: String,
    ) -> Result<Option<u64>, StoreError> {
        let source = source.as_str().to_owned();
        match self.request(&Request::Offset { organisation: organisation.into(), source, key })? {
            Reply::Offset(offset) => Ok(offset),
            _ => Err(unexpected()),
        }
    }

    async fn offsets(
        &self,
        organisation: OrganisationId,
        source: SourceName,
    ) -> Result<Vec<Offset>, StoreError> {
        let source = source.as_str().to_owned();
        match self.request(&Request::Offsets { organisation: organisation.into(), source })? {
            Reply::Offsets(offsets) => {
                Ok(offsets.into_iter().map(|(key, position)| Offset { key, position }).collect())
            }
            _ => Err(unexpected()),
        }
    }

    async fn devices(
        &self,
        organisation: OrganisationId,
        key: Option<DeviceKey>,
        at: Second,
    ) -> Result<Vec<DeviceEntry>, StoreError> {
        let (organisation, key) = (organisation.into(), key.map(Into::into));
        match self.request(&Request::Devices { organisation, key, at: at.unix() })? {
            Reply::Devices(devices) => devices
                .into_iter()
                .map(|it| DeviceEntry::try_from(it).map_err(|error| senseless(&error)))
                .collect(),
            _ => Err(unexpected()),
        }
    }

    async fn teach(&self, organisation: OrganisationId, change: RegistryChange) -> Result<(), StoreError> {
        let request = Request::Teach { organisation: organisation.into(), change: change.into() };
        self.request(&request).map(drop)
    }

    async fn registry(&self, organisation: OrganisationId) -> Result<RegistrySettings, StoreError> {
        match self.request(&Request::Registry { organisation: organisation.into() })? {
            Reply::Registry(settings) => settings.try_into().map_err(|error| senseless(&error)),
            _ => Err(unexpected()),
        }
    }

    async fn outside(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
    ) -> Result<Retained, StoreError> {
        let request = Request::Outside { organisation: organisation.into(), kept_since: kept_since.unix() };
        match self.request(&request)? {
            Reply::Retained { dropped, kept } => Ok(Retained { dropped, kept }),
            _ => Err(unexpected()),
        }
    }

    async fn retain(&self, organisation: OrganisationId, kept_since: Second) -> Result<(), StoreError> {
        let request = Request::Retain { organisation: organisation.into(), kept_since: kept_since.unix() };
        self.request(&request).map(drop)
    }

    async fn remove(&self, organisation: OrganisationId) -> Result<(), StoreError> {
        self.request(&Request::Remove { organisation: organisation.into() }).map(drop)
    }
}

impl Directory for Remote {
    async fn book(&self) -> Result<Arc<Book>, DirectoryError> {
        match self.request(&Request::Book).map_err(unavailable)? {
            Reply::Book(book) => {
                Book::try_from(book).map(Arc::new).map_err(|error| unavailable(senseless(&error)))
            }
            _ => Err(unavailable(unexpected())),
        }
    }

    /// The server writes its own clock and the caller's user id into the audit log, whatever is said here.
    async fn commit(&self, change: Change, _actor: Actor, _now: Second) -> Result<(), DirectoryError> {
        let change = (&change).try_into().map_err(|error| unavailable(senseless(&error)))?;
        self.request(&Request::Commit(change)).map(drop).map_err(unavailable)
    }

    async fn audit(&self, entries_max: usize) -> Result<Vec<AuditEntry>, DirectoryError> {
        match self.request(&Request::Audit { entries_max }).map_err(unavailable)? {
            Reply::Audit(entries) => Ok(entries.into_iter().map(AuditEntry::from).collect()),
            _ => Err(unavailable(unexpected())),
        }
    }

    async fn keep_grants(&self, _page: GrantPage) -> Result<(), DirectoryError> {
        Err(counts_itself())
    }

    async fn grants(&self) -> Result<Vec<GrantPage>, DirectoryError> {
        Err(counts_itself())
    }

    async fn add_ticket(&self, _: TicketKey, _: Ticket, _: Second) -> Result<bool, DirectoryError> {
        Err(issues_itself())
    }

    async fn replace_ticket(&self, _: TicketKey, _: Ticket, _: Second) -> Result<bool, DirectoryError> {
        Err(issues_itself())
    }

    async fn ticket(&self, _: TicketKey, _: Second) -> Result<Option<Ticket>, DirectoryError> {
        Err(issues_itself())
    }

    async fn take_ticket(&self, _: TicketKey, _: Second) -> Result<Option<Ticket>, DirectoryError> {
        Err(issues_itself())
    }

    async fn sweep_tickets(&self, _: Second) -> Result<u64, DirectoryError> {
        Err(issues_itself())
    }
}

/// Only a server issues tokens, and it holds its folder itself.
fn issues_itself() -> DirectoryError {
    DirectoryError::Unavailable("tickets are kept by the server that issues them".to_owned())
}

/// Only a server counts calls, and it holds its folder itself.
fn counts_itself() -> DirectoryError {
    DirectoryError::Unavailable("granted calls are kept by the server that grants them".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unavailable(error: StoreError) -> DirectoryError {
    DirectoryError::Unavailable(error.to_string())
}
