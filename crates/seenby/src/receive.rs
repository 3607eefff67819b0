//! What sources push, taken in: the HTTP room's [`api::Intake`] over formats, batches and the store. Refuses to hold: protocols and
//! tokens (the HTTP room's), and what a record means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{RefusedRecord, SourceReport, TakeError, Taking, Upload, UploadTaken};
use formats::{Chunk, Detection, Family, Format, Framer, HEAD_BYTES, Opening, Wanted};
use sighting::{
    Batch, LocalNetworks, OrganisationId, SECONDS_PER_HOUR, Source, SourceId, Store as _, StoreError,
};

use crate::clock;
use crate::ingest::{Filler, Reading, Rules, Tally, words};
use crate::store::AnyStore;
use crate::told::{Teller, Told};

/// Batches that are kept for the names that they know, of each organisation and of all.
const BATCHES_KEPT_EACH: usize = 4;
const BATCHES_KEPT_MAX: usize = 64;

/// Takes in what sources push.
pub(crate) struct Receiver {
    store: AnyStore,
    /// How records are read where their source does not say.
    usual: formats::Settings,
    runtime: tokio::runtime::Handle,
    batches: Mutex<HashMap<OrganisationId, Vec<Batch>>>,
    told: Told,
    newcomers: Mutex<HashMap<SourceId, Newcomers>>,
}

/// New devices of a source in an hour by the clock.
#[derive(Clone, Copy, Default)]
struct Newcomers {
    hour: u32,
    devices: usize,
}

impl Receiver {
    /// Over a store that this process holds. To be made on the runtime.
    pub(crate) fn new(store: AnyStore, usual: formats::Settings, told: Told) -> Arc<dyn api::Intake> {
        Arc::new(Shared(Arc::new(Receiver {
            store,
            usual,
            runtime: tokio::runtime::Handle::current(),
            batches: Mutex::default(),
            told,
            newcomers: Mutex::default(),
        })))
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
        }
    }

    fn batch(&self, organisation: OrganisationId) -> Option<Batch> {
        locked(&self.batches).get_mut(&organisation)?.pop()
    }

    fn keep(&self, batch: Batch) {
        let mut kept = locked(&self.batches);
        if kept.values().map(Vec::len).sum::<usize>() >= BATCHES_KEPT_MAX {
            kept.clear();
        }
        let own = kept.entry(batch.organisation()).or_default();
        if own.len() < BATCHES_KEPT_EACH {
            own.push(batch);
        }
    }

    /// Whether a batch keeps within the new devices that its source may bring in an hour; if so they are counted.
    fn admit(&self, source: &Source, batch: &Batch) -> Result<(), TakeError> {
        let (Some(per_hour), AnyStore::Folder(store)) = (source.bounds.new_devices_per_hour, &self.store)
        else {
            return Ok(());
        };
        let devices = store.new_devices_in(batch);
        if devices == 0 {
            return Ok(());
        }
        let now = clock::now().unix();
        let hour = now / SECONDS_PER_HOUR;
        let mut all = locked(&self.newcomers);
        let known = all.entry(source.id).or_default();
        if known.hour != hour {
            *known = Newcomers { hour, devices: 0 };
        }
        if known.devices + devices > per_hour.get() as usize {
            let retry_after_s = u64::from(SECONDS_PER_HOUR - now % SECONDS_PER_HOUR);
            return Err(TakeError::NewDevices { per_hour: per_hour.get(), retry_after_s });
        }
        known.devices += devices;
        Ok(())
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

/// Where an upload stands.
enum Stage {
    /// Its first bytes do not tell yet what it is.
    Head(Vec<u8>),
    Framing(Box<Framer>),
}

/// An upload that is being taken in, on whichever thread calls.
struct Push {
    receiver: Arc<Receiver>,
    source: Source,
    settings: formats::Settings,
    wanted: Wanted,
    stage: Stage,
    reading: Arc<Reading>,
    filler: Filler,
    bytes: u64,
}

impl Push {
    fn new(receiver: Arc<Receiver>, upload: Upload) -> Push {
        let Upload { organisation, source, book, format } = upload;
        let settings = receiver.settings_of(&source);
        let rules = Rules::new(&organisation, &book)
            .bounded(source.bounds.back_dating_hours)
            .with_unique_networks(settings.unique_networks.clone());
        let mut filler = Filler::new(Arc::new(rules));
        if let Some(batch) = receiver.batch(organisation.id) {
            filler.remember(batch);
        }
        Push {
            settings,
            wanted: wanted(source.read_as.format.as_deref().or(format)),
            stage: Stage::Head(Vec::new()),
            reading: Arc::new(Reading::new(0, source.name.as_str().to_owned(), Vec::new())),
            filler,
            bytes: 0,
            source,
            receiver,
        }
    }

    /// Looks at the first bytes; a framer if they tell, or if there will be no more.
    fn open(&mut self, is_all: bool) -> Result<(), TakeError> {
        let Stage::Head(head) = &mut self.stage else { return Ok(()) };
        let is_all = is_all || head.len() >= HEAD_BYTES;
        let looked_at = &head[..head.len().min(HEAD_BYTES)];
        let opening = match formats::detect(looked_at, is_all, self.wanted, &self.settings.columns) {
            Detection::Known(opening) | Detection::Unknown(opening) => opening,
            Detection::NeedMore if !is_all => return Ok(()),
            Detection::NeedMore => Opening::UNRECOGNISED,
        };
        let head = std::mem::take(head);
        self.stage = Stage::Framing(Box::new(Framer::new(opening, &self.settings.columns)));
        self.frame(|framer, out| framer.push(&head, &mut |chunk| out(chunk)))
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
            let full = self.filler.take_full();
            self.append(full)?;
        }
        Ok(())
    }

    fn append(&mut self, batch: Option<Batch>) -> Result<(), TakeError> {
        let Some(batch) = batch else { return Ok(()) };
        let taken = self.receiver.admit(&self.source, &batch).and_then(|()| {
            self.receiver.runtime.block_on(self.receiver.store.append(&batch)).map_err(|error| {
                TakeError::Unavailable(match error {
                    StoreError::Unavailable(cause) => cause,
                    other => other.to_string(),
                })
            })
        });
        self.filler.receipt(batch, taken?);
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
        if let Stage::Head(head) = &mut self.stage {
            head.extend_from_slice(bytes);
            return self.open(false);
        }
        self.frame(|framer, out| framer.push(bytes, &mut |chunk| out(chunk)))
    }

    fn turn(&mut self, format: &'static str) -> Result<(), TakeError> {
        let wanted = wanted(Some(format));
        if self.wanted == wanted {
            return Ok(());
        }
        self.finish()?;
        self.wanted = wanted;
        self.stage = Stage::Head(Vec::new());
        Ok(())
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
