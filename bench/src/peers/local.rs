//! Seenby itself: the store in this process, filled by the real binary from the file, or from decoded sightings. Refuses to hold:
//! the way over HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use index::{DataFolder, IndexStore};
use sighting::{Answer, Batch, FirstSeen, OrganisationId, Question, Second, Stats, Uuid, Window};

use super::{Asked, Corpus, Loaded, Peer, Told};
use crate::hot_store;
use crate::memory::folder_bytes;
use crate::program::Program;

pub(super) const OF_FILE: &str = "seenby";
pub(super) const DECODED: &str = "seenby decoded";

/// The store that the real binary fills.
pub(super) struct OfFile {
    program: Program,
    data_dir: PathBuf,
    open: Option<Open>,
}

/// The store that is told sightings.
pub(super) struct Decoded {
    data_dir: PathBuf,
    open: Option<Open>,
}

struct Open {
    organisation: OrganisationId,
    store: Arc<IndexStore>,
    /// Held as long as the store is asked.
    _folder: DataFolder,
}

impl OfFile {
    pub(super) fn new(program: &Program, folder: &Path) -> anyhow::Result<OfFile> {
        Ok(OfFile { program: program.clone(), data_dir: folder.join("data"), open: None })
    }
}

impl Decoded {
    pub(super) fn new(folder: &Path) -> anyhow::Result<Decoded> {
        Ok(Decoded { data_dir: folder.join("data"), open: None })
    }
}

impl Open {
    fn new(data_dir: &Path, organisation: OrganisationId) -> anyhow::Result<Open> {
        let folder = hot_store::open(data_dir)?;
        Ok(Open { organisation, store: folder.store(), _folder: folder })
    }

    fn ask(&self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        let ask = |asked: &Asked| {
            let question = Question {
                organisation: self.organisation,
                address: asked.address,
                window: Window::new(asked.since, asked.until).context("a window")?,
                kept_since: Second::MIN,
                first_seen: FirstSeen::InWindow,
            };
            let begun_at = Instant::now();
            let answer = self.store.stats_now(&question)?;
            let took = begun_at.elapsed();
            Ok((took, told(&answer)))
        };
        questions.iter().map(ask).collect()
    }
}

fn append_on_all_cores(store: &IndexStore, batches: &[Batch]) -> anyhow::Result<Duration> {
    let threads = std::thread::available_parallelism()?.get();
    let begun_at = Instant::now();
    let appended = std::thread::scope(|scope| {
        let append = |first: usize| {
            move || {
                batches
                    .iter()
                    .skip(first)
                    .step_by(threads)
                    .try_for_each(|batch| store.append_now(batch).map(drop))
            }
        };
        let appending: Vec<_> = (0..threads).map(|first| scope.spawn(append(first))).collect();
        appending.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    });
    appended?;
    Ok(begun_at.elapsed())
}

fn told(answer: &Answer) -> Told {
    match answer {
        Answer::Seen(Stats { prevalence, first, last, .. }) => {
            Told { devices: prevalence.get(), first: first.unix(), last: last.unix() }
        }
        Answer::Quiet | Answer::Unknown => Told { devices: 0, first: 0, last: 0 },
    }
}

impl Peer for OfFile {
    fn name(&self) -> &'static str {
        OF_FILE
    }

    fn takes_file(&self) -> bool {
        true
    }

    fn knows_first(&self) -> bool {
        true
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let organisation = self.program.init(&self.data_dir)?;
        let (_, took) = self.program.ingest(&self.data_dir, corpus.file)?;
        let open = Open::new(&self.data_dir, organisation)?;
        open.store.flush()?;
        self.open = Some(open);
        Ok(Loaded { took, bytes: Some(folder_bytes(&self.data_dir)?) })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        self.open.as_ref().context("it was loaded")?.ask(questions)
    }
}

impl Peer for Decoded {
    fn name(&self) -> &'static str {
        DECODED
    }

    fn takes_file(&self) -> bool {
        false
    }

    fn knows_first(&self) -> bool {
        true
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let organisation = OrganisationId(Uuid::from_u128(1));
        let open = Open::new(&self.data_dir, organisation)?;
        // Making them is not what is measured.
        let batches: Vec<Batch> = hot_store::batches(organisation, corpus.sightings()).collect();
        let took = append_on_all_cores(&open.store, &batches)?;
        open.store.flush()?;
        self.open = Some(open);
        Ok(Loaded { took, bytes: Some(folder_bytes(&self.data_dir)?) })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        self.open.as_ref().context("it was loaded")?.ask(questions)
    }
}
