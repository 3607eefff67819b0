//! The road of a body: read within bounds of time and size, at the source's pace, and given through decompression and the
//! protocol's envelope to whoever takes it in. Refuses to hold: protocols, and what a refusal looks like in each.
//!
//! The reading waits on the runtime; the work (decompression, decoding, the store's disk) is done on the intake's threads, one
//! piece after another, so that slow senders hold no thread.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use sighting::{OrganisationId, SourceId, escape};
use tokio::time::Instant;

use super::pusher::Pusher;
use super::unpack::{Unpack, said};
use super::{TakeError, Taken, Taking, Upload};
use crate::state::Shared;

/// Bytes of a body that are worked on at once.
const PIECE_BYTES: usize = 256 << 10;

/// Slower than this on the average, after a while, and a sender holds a place in vain.
const BYTES_PER_SECOND_MIN: u64 = 1_024;
/// That while.
const SLOW_WHILE: Duration = Duration::from_secs(60);

/// Of a body that is not wanted so much is read, and for so long.
const DISCARDED_BYTES_MAX: usize = 1 << 20;
const DISCARDED_WHILE: Duration = Duration::from_secs(2);

/// When a sender that was turned away may come again.
pub(crate) const RETRY_AFTER_S: u64 = 2;

/// Places for uploads: as many are taken in at once. No organisation has more than half of them.
pub(crate) struct Slots {
    uploads_max: usize,
    taken: Arc<Mutex<HashMap<OrganisationId, usize>>>,
}

/// A place of an organisation, until it is dropped.
struct Slot {
    organisation: OrganisationId,
    taken: Arc<Mutex<HashMap<OrganisationId, usize>>>,
}

impl Slots {
    pub(crate) fn new(uploads_max: usize) -> Slots {
        Slots { uploads_max, taken: Arc::default() }
    }

    /// Whether nobody's upload would be taken in now.
    pub(super) fn are_full(&self) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().sum::<usize>() >= self.uploads_max
    }

    fn take(&self, organisation: OrganisationId) -> Result<Slot, Stop> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&organisation).copied().unwrap_or_default();
        if taken.values().sum::<usize>() >= self.uploads_max || own >= self.uploads_max.div_ceil(2) {
            return Err(Stop::Busy);
        }
        taken.insert(organisation, own + 1);
        Ok(Slot { organisation, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.organisation) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.organisation)),
        }
    }
}

/// What a protocol puts around records. It says what it found when the body has ended.
pub(super) trait Envelope: Send + 'static {
    /// Takes some of the body, cut anywhere, and gives the records in it to `taking`.
    fn push(&mut self, bytes: &[u8], taking: &mut dyn Taking) -> Result<(), Stop>;

    /// The body has ended.
    fn end(&mut self, taking: &mut dyn Taking) -> Result<(), Stop>;
}

/// Records without anything around them.
pub(super) struct Bare;

impl Envelope for Bare {
    fn push(&mut self, bytes: &[u8], taking: &mut dyn Taking) -> Result<(), Stop> {
        Ok(taking.take(bytes)?)
    }

    fn end(&mut self, _: &mut dyn Taking) -> Result<(), Stop> {
        Ok(())
    }
}

/// Why an upload was not taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// As many uploads as there are places for are under way.
    Busy,
    /// A compression that is not known.
    UnknownEncoding,
    /// The compressed body is damaged or cut.
    Damaged(String),
    /// More came out of the body than may.
    TooLarge {
        /// How much may, in bytes.
        bytes_max: u64,
    },
    /// It came too slowly.
    Slow,
    /// The sender went away.
    Cut,
    /// The protocol's own words make no sense.
    Malformed {
        /// What is wrong, as a sentence.
        reason: String,
        /// The protocol's number for it, where it has one.
        code: u8,
        /// Which event or line it was; 0 is the first event, 1 the first line.
        at: Option<u64>,
    },
    /// It could not be taken.
    NotTaken(TakeError),
}

impl From<TakeError> for Stop {
    fn from(error: TakeError) -> Stop {
        Stop::NotTaken(error)
    }
}

impl Stop {
    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Stop::Busy | Stop::NotTaken(TakeError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Stop::UnknownEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Stop::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Stop::Slow => StatusCode::REQUEST_TIMEOUT,
            Stop::NotTaken(TakeError::NewDevices { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Stop::NotTaken(TakeError::Gone) => StatusCode::FORBIDDEN,
            Stop::Damaged(_) | Stop::Cut | Stop::Malformed { .. } => StatusCode::BAD_REQUEST,
        }
    }

    /// When to send it again, if that may help.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        match self {
            Stop::Busy | Stop::NotTaken(TakeError::Unavailable(_)) => Some(RETRY_AFTER_S),
            Stop::NotTaken(TakeError::NewDevices { retry_after_s, .. }) => Some(*retry_after_s),
            _ => None,
        }
    }

    /// What a person is told.
    pub(crate) fn message(&self) -> String {
        match self {
            Stop::Busy => {
                "As many uploads as the server takes at once are under way. Send it again.".to_owned()
            }
            Stop::UnknownEncoding => "Content-Encoding must be gzip, zstd, deflate or identity.".to_owned(),
            Stop::Damaged(how) => format!("The compressed body is damaged or cut ({how}). Send it whole."),
            Stop::TooLarge { bytes_max } => {
                format!("The body has more than {bytes_max} bytes (as it is decompressed). Send it in parts.")
            }
            Stop::Slow => {
                "The body did not arrive in time. Send smaller ones, or on a better line.".to_owned()
            }
            Stop::Cut => "The body did not arrive whole. Send it again.".to_owned(),
            Stop::Malformed { reason, .. } => reason.clone(),
            Stop::NotTaken(TakeError::Unavailable(_)) => {
                "The store cannot take anything now. Send it again after Retry-After.".to_owned()
            }
            Stop::NotTaken(TakeError::Gone) => {
                "The source, its token or its organization was removed meanwhile.".to_owned()
            }
            Stop::NotTaken(TakeError::NewDevices { per_hour, .. }) => format!(
                "The source would bring more than {per_hour} new devices in an hour, which is its limit. Send it again after \
                 Retry-After, or raise the limit with `seenby source change --new-devices-per-hour`."
            ),
        }
    }

    /// For the log, where it says more.
    pub(crate) fn cause(&self) -> Option<&str> {
        match self {
            Stop::NotTaken(TakeError::Unavailable(cause)) | Stop::Damaged(cause) => Some(cause),
            _ => None,
        }
    }
}

/// The end of decompression: counts, and gives on.
struct Outlet<E> {
    /// None once it takes no more: a decoder writes what it holds back also when it is dropped, wherever that is.
    open: Option<(E, Box<dyn Taking>)>,
    bytes: u64,
    bytes_max: u64,
    /// Why it takes no more: an error of input and output could not carry it.
    stop: Option<Stop>,
}

impl<E: Envelope> Outlet<E> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        // Out of its place while it works: a panic in there leaves nothing behind that could be worked with.
        let (mut envelope, mut taking) = self.open.take().ok_or(Stop::Cut)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(Stop::TooLarge { bytes_max: self.bytes_max });
        }
        match envelope.push(bytes, &mut *taking) {
            Ok(()) => {
                self.open = Some((envelope, taking));
                Ok(())
            }
            Err(stop) => Err(given_up(taking, stop)),
        }
    }
}

/// What came before something that makes no sense is sound, and is taken; its sender may not send it again.
fn given_up(taking: Box<dyn Taking>, stop: Stop) -> Stop {
    match stop {
        Stop::Malformed { .. } => taking.end().map_or_else(Stop::from, |_| stop),
        stop => stop,
    }
}

impl<E: Envelope> Write for Outlet<E> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).map(|()| bytes.len()).map_err(|stop| {
            self.stop.get_or_insert(stop);
            io::Error::other("it takes no more")
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<E: Envelope> Unpack<Outlet<E>> {
    fn outlet_mut(&mut self) -> Option<&mut Outlet<E>> {
        match self {
            Unpack::Begun(outlet, _) | Unpack::Plain(outlet) => Some(outlet),
            Unpack::Gzip(decoder) => Some(decoder.get_mut()),
            Unpack::Deflate(decoder) => Some(decoder.get_mut()),
            Unpack::Zstd(decoder) => Some(decoder.get_mut()),
            Unpack::Failed => None,
        }
    }

    /// Why it failed: what the outlet says, else the compression.
    fn why(&mut self, error: &io::Error) -> Stop {
        let told = self.outlet_mut().and_then(|outlet| outlet.stop.take());
        told.unwrap_or_else(|| Stop::Damaged(error.to_string()))
    }

    fn give(&mut self, piece: &[u8]) -> Result<(), Stop> {
        self.push(piece).map_err(|error| self.why(&error))
    }

    /// What is held back comes out, and the envelope and the taking end.
    fn finish(&mut self) -> Result<Received<E>, Stop> {
        self.settle().map_err(|error| self.why(&error))?;
        let Some(outlet) = self.outlet_mut() else { return Err(Stop::Cut) };
        let bytes = outlet.bytes;
        let (mut envelope, mut taking) = outlet.open.take().ok_or(Stop::Cut)?;
        match envelope.end(&mut *taking) {
            Ok(()) => Ok(Received { envelope, taken: taking.end()?, bytes }),
            Err(stop) => Err(given_up(taking, stop)),
        }
    }
}

/// An upload under way.
struct Receiving<E: Envelope> {
    unpack: Unpack<Outlet<E>>,
    _slot: Slot,
}

impl<E: Envelope> Drop for Receiving<E> {
    fn drop(&mut self) {
        if let Some(outlet) = self.unpack.outlet_mut() {
            outlet.open = None;
        }
    }
}

/// What came of a body.
pub(super) struct Received<E> {
    pub(super) envelope: E,
    pub(super) taken: Taken,
    /// As they were decompressed.
    pub(super) bytes: u64,
}

/// Takes a body in. `bytes_max` is how much may come out of it. Where it fails, that is told of the source, and logged.
pub(super) async fn receive<E: Envelope>(
    shared: &Shared,
    pusher: &Pusher,
    format: Option<&'static str>,
    headers: &HeaderMap,
    body: Body,
    envelope: E,
    bytes_max: u64,
) -> Result<Received<E>, Stop> {
    let received = receive_all(shared, pusher, format, headers, body, envelope, bytes_max).await;
    if let Err(stop) = &received {
        let (source, reason) = (escape(pusher.source.name.as_str()), stop.message());
        let (organisation, cause) = (pusher.organisation.id, stop.cause().map(escape));
        tracing::warn!(%organisation, %source, reason = &*escape(&reason), cause = cause.as_deref(), "an upload was not taken in");
        pusher.intake.failed(&pusher.source, cause.as_deref().unwrap_or(&reason));
    }
    received
}

async fn receive_all<E: Envelope>(
    shared: &Shared,
    pusher: &Pusher,
    format: Option<&'static str>,
    headers: &HeaderMap,
    body: Body,
    envelope: E,
    bytes_max: u64,
) -> Result<Received<E>, Stop> {
    let mut reading = Reading::new(shared, pusher, body);
    let begun = begin(shared, pusher, format, headers, envelope, bytes_max).await;
    let taken = match begun {
        Ok(receiving) => reading.give_to(receiving, pusher).await,
        Err(stop) => Err(stop),
    };
    if taken.is_err() {
        discard(reading.body).await;
    }
    taken
}

async fn begin<E: Envelope>(
    shared: &Shared,
    pusher: &Pusher,
    format: Option<&'static str>,
    headers: &HeaderMap,
    envelope: E,
    bytes_max: u64,
) -> Result<Receiving<E>, Stop> {
    let slot = shared.slots.take(pusher.organisation.id)?;
    let said = said(headers)?;
    let upload = Upload {
        organisation: pusher.organisation.clone(),
        source: pusher.source.clone(),
        token: pusher.token,
        book: Arc::clone(&pusher.book),
        format,
    };
    let intake = Arc::clone(&pusher.intake);
    let taking = worked(pusher, move || intake.begin(upload)).await?;
    let outlet = Outlet { open: Some((envelope, taking)), bytes: 0, bytes_max, stop: None };
    Ok(Receiving { unpack: Unpack::new(said, outlet), _slot: slot })
}

/// Has work done on a thread for that. If it panicked, that is the log's to tell.
async fn worked<T: Send + 'static>(
    pusher: &Pusher,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stop> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    pusher.intake.work(Box::new(move || {
        let done = catch_unwind(AssertUnwindSafe(work));
        // Nobody may be waiting any more.
        let _ = sender.send(done);
    }));
    let broken = || {
        Stop::NotTaken(TakeError::Unavailable(
            "an upload failed unexpectedly; this is a mistake in seenby".to_owned(),
        ))
    };
    receiver.await.ok().and_then(Result::ok).ok_or_else(broken)
}

/// Reads some of a body that nobody wants: whoever still sends it does not hear an answer.
pub(super) async fn discard(mut body: Body) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DISCARDED_BYTES_MAX {
                break;
            }
        }
    };
    // What comes later is cut off.
    let _ = tokio::time::timeout(DISCARDED_WHILE, reading).await;
}

enum Work<E: Envelope> {
    More(Receiving<E>),
    Done(Received<E>),
}

/// The body as it comes.
struct Reading<'a> {
    shared: &'a Shared,
    body: Body,
    source: SourceId,
    bytes_per_second: Option<NonZeroU64>,
    bytes: u64,
    /// A stopwatch: how long it may take depends on how much comes.
    begun_at: Instant,
    /// Spent waiting for the source's pace, which is not the sender's fault.
    paced: Duration,
}

impl Reading<'_> {
    fn new<'a>(shared: &'a Shared, pusher: &Pusher, body: Body) -> Reading<'a> {
        Reading {
            shared,
            body,
            source: pusher.source.id,
            bytes_per_second: pusher.source.bounds.bytes_per_second,
            bytes: 0,
            begun_at: Instant::now(),
            paced: Duration::ZERO,
        }
    }

    /// Reads it to its end.
    async fn give_to<E: Envelope>(
        &mut self,
        mut receiving: Receiving<E>,
        pusher: &Pusher,
    ) -> Result<Received<E>, Stop> {
        loop {
            let (piece, is_last) = self.piece().await?;
            let working = move || {
                for part in &piece {
                    receiving.unpack.give(part)?;
                }
                let done =
                    if is_last { Work::Done(receiving.unpack.finish()?) } else { Work::More(receiving) };
                Ok::<_, Stop>(done)
            };
            match worked(pusher, working).await?? {
                Work::More(on) => receiving = on,
                Work::Done(received) => return Ok(received),
            }
        }
    }

    /// The next piece of the body, and whether it is the last.
    async fn piece(&mut self) -> Result<(Vec<Bytes>, bool), Stop> {
        let mut piece = Vec::new();
        let mut bytes = 0;
        while bytes < PIECE_BYTES {
            let Some(part) = self.part().await? else { return Ok((piece, true)) };
            bytes += part.len();
            self.bytes += part.len() as u64;
            self.pace(part.len()).await;
            piece.push(part);
        }
        Ok((piece, false))
    }

    /// What comes next, if it comes in time.
    async fn part(&mut self) -> Result<Option<Bytes>, Stop> {
        loop {
            let frame = tokio::time::timeout(self.shared.settings.upload_idle_timeout, self.body.frame());
            let Some(frame) = frame.await.map_err(|_| Stop::Slow)? else { return Ok(None) };
            let spent = self.begun_at.elapsed().saturating_sub(self.paced);
            if spent > SLOW_WHILE && self.bytes / spent.as_secs().max(1) < BYTES_PER_SECOND_MIN {
                return Err(Stop::Slow);
            }
            // Trailers say nothing.
            if let Ok(data) = frame.map_err(|_| Stop::Cut)?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// Waits where the source may not send so fast.
    async fn pace(&mut self, bytes: usize) {
        let Some(per_second) = self.bytes_per_second else { return };
        let wait = self.shared.paces.came(self.source, bytes, per_second, self.shared.steady());
        tokio::time::sleep(wait).await;
        self.paced += wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sighting::Uuid;

    #[test]
    fn no_organisation_has_every_place() {
        let slots = Slots::new(4);
        let source = |number| OrganisationId(Uuid::from_u128(number));
        let (one, two) = (slots.take(source(1)), slots.take(source(1)));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(slots.take(source(1)).err(), Some(Stop::Busy));
        let others = [slots.take(source(2)), slots.take(source(3))];
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(slots.take(source(4)).err(), Some(Stop::Busy));
        assert!(slots.are_full());
        drop(one);
        assert!(!slots.are_full());
        assert!(slots.take(source(1)).is_ok());
        drop((two, others));
        assert!(slots.taken.lock().expect("whole").is_empty());
    }
}
