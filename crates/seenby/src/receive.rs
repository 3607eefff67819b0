//! What sources push, taken in: the HTTP room's [`api::Intake`] over formats, batches and the store. Refuses to hold: protocols and
//! tokens (the HTTP room's), and what a record means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use api::{RefusedRecord, SourceReport, TakeError, Taking, Upload, UploadTaken};
use crossbeam_channel::{Sender, unbounded};
use formats::{Chunk, Detection, Family, Format, Framer, HEAD_BYTES, Opening, Recogniser, Wanted};
use sighting::{
    Batch, Directory as _, LocalNetworks, OrganisationId, Receipt, SECONDS_PER_HOUR, Source, SourceId,
    Store as _, StoreError,
};

use crate::clock;
use crate::house::House;
use crate::ingest::{Filler, Reading, Rules, Tally, words};
use crate::store::{AnyDirectory, AnyStore};
use crate::told::{Teller, Told};

/// Records of a batch: each upload that is under way has one.
const BATCH_RECORDS_MAX: u64 = 32_768;

/// Bytes that are framed before they are decoded: few enough to be still in the processor's cache then.
const FRAMED_BYTES: usize = 64 << 10;

/// Batches that are kept for the names that they know, of each organisation and of all.
const BATCHES_KEPT_EACH: usize = 4;
const BATCHES_KEPT_MAX: usize = 32;

/// Names that a device may have for each that counts as one: more of them are more devices.
const NAMES_OF_A_DEVICE: usize = 4;

/// Takes in what sources push.
pub(crate) struct Receiver {
    store: AnyStore,
    directory: AnyDirectory,
    /// How records are read where their source does not say.
    usual: formats::Settings,
    runtime: tokio::runtime::Handle,
    workers: Workers,
    batches: Mutex<HashMap<OrganisationId, Vec<Batch>>>,
    told: Told,
    newcomers: Mutex<HashMap<SourceId, Newcomers>>,
}

/// New devices of a source in an hour by the clock; what was too much is owed by the hours that follow.
#[derive(Clone, Copy, Default)]
struct Newcomers {
    hour: u32,
    devices: usize,
}

impl Newcomers {
    /// The same in another hour.
    fn by(self, hour: u32, per_hour: usize) -> Newcomers {
        let passed = hour.saturating_sub(self.hour) as usize;
        Newcomers { hour, devices: self.devices.saturating_sub(passed.saturating_mul(per_hour)) }
    }
}

impl Receiver {
    /// Over a store that this process holds. To be made on the runtime.
    pub(crate) fn open(
        house: &House,
        usual: formats::Settings,
        told: Told,
    ) -> anyhow::Result<Arc<dyn api::Intake>> {
        Ok(Arc::new(Shared(Arc::new(Receiver {
            store: house.store.clone(),
            directory: house.directory.clone(),
            workers: Workers::start()?,
            usual,
            runtime: tokio::runtime::Handle::current(),
            batches: Mutex::default(),
            told,
            newcomers: Mutex::default(),
        }))))
    }

    /// How records of a source are read. Its words were looked at when it was made.
    fn settings_of(&self, source: &Source) -> formats::Settings {
        let read_as = &source.read_as;
        let columns = read_as.columns.as_deref().and_then(|columns| words::columns(columns).ok());
        let zone = read_as.time_zone.as_deref().and_then(|zone| words::time_zone(zone).ok());
        let local = read_as.local_networks.clone().map(LocalNetworks::Listed);
        // What the store cannot say now it will say when it is asked to append.
        let registry = self.runtime.block_on(self.store.registry(source.organisation)).unwrap_or_default();
        let unique = self.usual.unique_networks.iter().copied().chain(registry.unique_networks).collect();
        formats::Settings {
            local_networks: local.unwrap_or_else(|| self.usual.local_networks.clone()),
            columns: columns.unwrap_or_else(|| self.usual.columns.clone()),
            time_zone: zone.or_else(|| self.usual.time_zone.clone()),
            keep_special_remotes: self.usual.keep_special_remotes,
            unique_networks: unique,
            mac_networks: self.usual.mac_networks.clone(),
        }
    }

    fn batch(&self, organisation: OrganisationId) -> Option<Batch> {
        locked(&self.batches).get_mut(&organisation)?.pop()
    }

    fn keep(&self, batch: Batch) {
        let source = batch.source().clone();
        let batch = batch.emptied(source);
        let mut kept = locked(&self.batches);
        if kept.values().map(Vec::len).sum::<usize>() >= BATCHES_KEPT_MAX {
            kept.clear();
        }
        let own = kept.entry(batch.organisation()).or_default();
        if own.len() < BATCHES_KEPT_EACH {
            own.push(batch);
        }
    }

    /// New devices of a batch, if its source has to be held to a number of them; an error if it has had those of this hour.
    fn admit(&self, source: &Source, batch: &Batch) -> Result<usize, TakeError> {
        let (Some(per_hour), AnyStore::Folder(store)) = (source.bounds.new_devices_per_hour, &self.store)
        else {
            return Ok(0);
        };
        let (devices, names) = store.newcomers_in(batch);
        let devices = devices.max(names / NAMES_OF_A_DEVICE);
        let now = clock::now().unix();
        let so_far = self.newcomers_of(source, per_hour.get(), now);
        if devices > 0 && so_far >= per_hour.get() as usize {
            let retry_after_s = u64::from(SECONDS_PER_HOUR - now % SECONDS_PER_HOUR);
            return Err(TakeError::NewDevices { per_hour: per_hour.get(), retry_after_s });
        }
        Ok(devices)
    }

    fn newcomers_of(&self, source: &Source, per_hour: u32, now: u32) -> usize {
        let known = locked(&self.newcomers).get(&source.id).copied().unwrap_or_default();
        known.by(now / SECONDS_PER_HOUR, per_hour as usize).devices
    }

    /// New devices are in the store.
    fn came(&self, source: &Source, devices: usize) {
        let Some(per_hour) = source.bounds.new_devices_per_hour.filter(|_| devices > 0) else { return };
        let mut all = locked(&self.newcomers);
        let known = all.entry(source.id).or_default();
        *known = known.by(clock::now().unix() / SECONDS_PER_HOUR, per_hour.get() as usize);
        known.devices += devices;
    }

    /// Whether a source may still send, as the book says by now.
    fn is_there(&self, source: &Source, token: &[u8; 32]) -> Result<bool, TakeError> {
        let book = self.runtime.block_on(self.directory.book());
        let book = book.map_err(|error| TakeError::Unavailable(error.to_string()))?;
        let known = book.source_of_token(token, clock::now()).is_some_and(|known| known.id == source.id);
        Ok(known && book.organisations.contains_key(&source.organisation))
    }

    /// Makes a batch durable.
    fn append(&self, source: &Source, token: &[u8; 32], batch: &Batch) -> Result<Receipt, TakeError> {
        let unavailable = |error: StoreError| TakeError::Unavailable(error.to_string());
        // It may be long on its way, and what was taken away meanwhile is gone at once.
        if !self.is_there(source, token)? {
            return Err(TakeError::Gone);
        }
        let newcomers = self.admit(source, batch)?;
        let receipt = self.runtime.block_on(self.store.append(batch)).map_err(unavailable)?;
        self.came(source, newcomers);
        let book = self.runtime.block_on(self.directory.book());
        let book = book.map_err(|error| TakeError::Unavailable(error.to_string()))?;
        // If its organisation left the book meanwhile, the store may have been emptied before the batch came.
        if !book.organisations.contains_key(&source.organisation) {
            self.runtime.block_on(self.store.remove(source.organisation)).map_err(unavailable)?;
            return Err(TakeError::Gone);
        }
        Ok(receipt)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts and spare batches: what a panic left behind is sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the HTTP room is given.
struct Shared(Arc<Receiver>);

impl api::Intake for Shared {
    fn format(&self, name: &str) -> Option<&'static str> {
        name_of(Format::from_name(name)?)
    }

    fn work(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.workers.give(work);
    }

    fn begin(&self, upload: Upload) -> Box<dyn Taking> {
        Box::new(Push::new(Arc::clone(&self.0), upload))
    }

    fn failed(&self, source: &Source, why: &str) {
        self.0.told.failed(&teller(source), why.to_owned());
    }

    fn reports(&self, organisation: OrganisationId) -> Vec<SourceReport> {
        self.0.told.reports(organisation)
    }
}

/// The one name of what can be wanted; `None` for whatever it is.
pub(crate) fn name_of(wanted: Wanted) -> Option<&'static str> {
    match wanted {
        Wanted::Detect => None,
        Wanted::Family(Family::Zeek) => Some("zeek"),
        Wanted::Family(Family::Mde) => Some("mde"),
        Wanted::Family(Family::Sysmon) => Some("sysmon"),
        Wanted::Exactly(format) => Some(format.name()),
    }
}

fn wanted(name: Option<&str>) -> Wanted {
    name.and_then(Format::from_name).unwrap_or_default()
}

/// Threads that work on uploads, and let questions go first.
struct Workers(Sender<Box<dyn FnOnce() + Send>>);

impl Workers {
    /// Several for each processor: some of them wait for the disk, and what they append together is synced together.
    fn start() -> anyhow::Result<Workers> {
        let (sender, receiver) = unbounded::<Box<dyn FnOnce() + Send>>();
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        for number in 0..processors * 2 + 2 {
            let receiver = receiver.clone();
            let work = move || {
                index::give_way();
                receiver.into_iter().for_each(|work| work());
            };
            let thread = std::thread::Builder::new().name(format!("receive-{number}"));
            thread.spawn(work).context("a thread for uploads does not start")?;
        }
        Ok(Workers(sender))
    }

    fn give(&self, work: Box<dyn FnOnce() + Send>) {
        // They end when this does, and not before: work never panics, it is caught where it is made.
        let _ = self.0.send(work);
    }
}

/// Where an upload stands.
enum Stage {
    /// Its first bytes do not tell yet what it is. They are looked at when there are twice as many as did not do.
    Head(Vec<u8>, usize),
    Framing(Box<Framer>),
}

/// An upload that is being taken in, on whichever thread calls.
struct Push {
    receiver: Arc<Receiver>,
    source: Source,
    token: [u8; 32],
    settings: formats::Settings,
    /// What the source says that it sends, or the sender.
    wanted: Wanted,
    /// What the document before was said to be, and what that means: the next one mostly is too.
    said: (Option<&'static str>, Wanted),
    recogniser: Recogniser,
    /// How the documents that are framed now are read.
    opening: Option<Opening>,
    stage: Stage,
    reading: Arc<Reading>,
    filler: Filler,
    bytes: u64,
}

impl Push {
    fn new(receiver: Arc<Receiver>, upload: Upload) -> Push {
        let Upload { organisation, source, token, book, format } = upload;
        let settings = receiver.settings_of(&source);
        let rules = Rules::new(&organisation, &book)
            .bounded(source.bounds.back_dating_hours)
            .with_unique_networks(settings.unique_networks.clone());
        let mut filler = Filler::new(Arc::new(rules)).with_batches_of(BATCH_RECORDS_MAX);
        if let Some(batch) = receiver.batch(organisation.id) {
            filler.remember(batch);
        }
        Push {
            recogniser: Recogniser::new(&settings.columns),
            settings,
            wanted: wanted(source.read_as.format.as_deref().or(format)),
            said: (None, Wanted::Detect),
            opening: None,
            stage: Stage::Head(Vec::new(), 0),
            reading: Arc::new(Reading::new(0, source.name.as_str().to_owned(), Vec::new())),
            filler,
            bytes: 0,
            token,
            source,
            receiver,
        }
    }

    fn detect(&self, head: &[u8], is_all: bool) -> Option<Opening> {
        let looked_at = head.get(..HEAD_BYTES).unwrap_or(head);
        match formats::detect(looked_at, is_all, self.wanted, &self.settings.columns) {
            Detection::Known(opening) | Detection::Unknown(opening) => Some(opening),
            Detection::NeedMore if !is_all => None,
            Detection::NeedMore => Some(Opening::UNRECOGNISED),
        }
    }

    /// Looks at the first bytes; a framer if they tell, or if there will be no more.
    fn open(&mut self, is_all: bool) -> Result<(), TakeError> {
        let Stage::Head(head, looked_at_from) = &self.stage else { return Ok(()) };
        let is_all = is_all || head.len() >= HEAD_BYTES;
        if head.len() < *looked_at_from && !is_all {
            return Ok(());
        }
        let opening = self.detect(head, is_all);
        let Stage::Head(head, looked_at_from) = &mut self.stage else { return Ok(()) };
        let Some(opening) = opening else {
            *looked_at_from = head.len() * 2;
            return Ok(());
        };
        let head = std::mem::take(head);
        self.begin(opening);
        self.frame(|framer, out| framer.push(&head, &mut |chunk| out(chunk)))
    }

    fn begin(&mut self, opening: Opening) {
        let framer = Framer::new(opening, &self.settings.columns).in_chunks_of(FRAMED_BYTES);
        self.stage = Stage::Framing(Box::new(framer));
    }

    /// Has the documents that follow read so.
    fn turn_to(&mut self, opening: Opening) -> Result<(), TakeError> {
        if self.opening != Some(opening) || opening.stands_alone() {
            self.frame(|framer, out| framer.finish(&mut |chunk| out(chunk)))?;
            self.begin(opening);
            self.opening = Some(opening);
        }
        Ok(())
    }

    /// Cuts records off, decodes them, and appends what is full.
    fn frame(&mut self, cut: impl FnOnce(&mut Framer, &mut dyn FnMut(Chunk))) -> Result<(), TakeError> {
        let Stage::Framing(framer) = &mut self.stage else { return Ok(()) };
        let mut chunks = Vec::new();
        cut(framer, &mut |chunk| chunks.push(chunk));
        for chunk in chunks {
            let full = self.filler.change_source(&self.source.name);
            self.append(full)?;
            self.filler.begin(&self.reading, None);
            formats::decode(&chunk, &self.settings, &mut self.filler);
            self.filler.end(&self.reading);
            if let Stage::Framing(framer) = &mut self.stage {
                framer.recycle(chunk);
            }
            let full = self.filler.take_full();
            self.append(full)?;
        }
        Ok(())
    }

    fn append(&mut self, batch: Option<Batch>) -> Result<(), TakeError> {
        let Some(batch) = batch else { return Ok(()) };
        let receipt = self.receiver.append(&self.source, &self.token, &batch)?;
        self.filler.receipt(batch, receipt);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TakeError> {
        self.open(true)?;
        self.frame(|framer, out| framer.finish(&mut |chunk| out(chunk)))
    }
}

impl Taking for Push {
    fn take(&mut self, bytes: &[u8]) -> Result<(), TakeError> {
        self.bytes += bytes.len() as u64;
        if let Stage::Head(head, _) = &mut self.stage {
            head.extend_from_slice(bytes);
            return self.open(false);
        }
        let mut pieces = bytes.chunks(FRAMED_BYTES);
        pieces.try_for_each(|piece| self.frame(|framer, out| framer.push(piece, &mut |chunk| out(chunk))))
    }

    fn document(&mut self, bytes: &[u8], format: Option<&'static str>) -> Result<(), TakeError> {
        self.bytes += bytes.len() as u64;
        if self.said.0 != format {
            self.said = (format, wanted(format));
        }
        let wanted = if self.wanted == Wanted::Detect { self.said.1 } else { self.wanted };
        let (record, opening) = self.recogniser.recognise(bytes, wanted);
        self.turn_to(opening.of_messages())?;
        let is_left_open = opening.is_left_open(&record);
        self.frame(|framer, out| {
            framer.push(&record, &mut |chunk| out(chunk));
            framer.push(b"\n", &mut |chunk| out(chunk));
            if is_left_open {
                framer.finish(&mut |chunk| out(chunk));
            }
        })
    }

    fn end(mut self: Box<Self>) -> Result<UploadTaken, TakeError> {
        self.finish()?;
        let rest = self.filler.take();
        self.append(rest)?;
        let Push { receiver, source, mut filler, bytes, .. } = *self;
        if let Some(batch) = filler.remembered() {
            receiver.keep(batch);
        }
        let newest = filler.newest();
        let tally = filler.into_tally();
        receiver.told.taken(&teller(&source), &tally, bytes, newest);
        Ok(taken(tally))
    }
}

fn teller(source: &Source) -> Teller {
    let (organisation, name, format) =
        (source.organisation, source.name.clone(), source.read_as.format.clone());
    Teller { organisation, name, kind: "push", format }
}

fn taken(tally: Tally) -> UploadTaken {
    let first = tally.refused_in.into_values().flat_map(|refused| refused.first);
    UploadTaken {
        sighted: tally.sighted,
        ignored: tally.ignored,
        refused: tally.refused,
        first_refused: first.map(|it| RefusedRecord { line: it.line, reason: it.reason }).collect(),
    }
}
