//! Objects below a prefix of a bucket (S3, Azure Blob, Google Cloud Storage): listed again and again, and each read once, and again
//! when it changed. That it was read is kept in the same step as its last records. Refuses to hold: what is in an object (`whole`, `formats`).
//!
//! A store keeps `object <path>`: the first 8 bytes of the SHA-256 of its address, length, entity tag and time. What is not listed any
//! more, or is older than anything that is kept, is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use sighting::{Offset, Second};

use super::feed::{Feed, Stopped, name};
use super::place::mark;
use super::settings::Objects;
use super::whole::{self, Broken};
use crate::ingest::Reading;

/// Objects that are fetched ahead: each waits in a file without a name.
const AHEAD: usize = 4;

/// Follows until the server stops.
pub(super) fn follow(mut feed: Feed, settings: &Objects, data: &Path) {
    // A server that stops is the only end.
    let Stopped = run(&mut feed, settings, data);
    let _ = feed.commit();
}

fn run(feed: &mut Feed, settings: &Objects, data: &Path) -> Stopped {
    let known = match feed.offsets_kept() {
        Ok(known) => known,
        Err(stopped) => return stopped,
    };
    let mut bucket = Bucket { settings, data: data.to_owned(), known, left: BTreeSet::new() };
    loop {
        let looked_at = Instant::now();
        let looked = match bucket.look(feed) {
            Ok(()) => {
                feed.is_well();
                Ok(())
            }
            Err(Unread::Stopped) => Err(Stopped),
            Err(Unread::Error(error)) => {
                feed.trouble(&format!(
                    "{} cannot be read ({error:#}); it is tried again, and nothing is lost",
                    settings.url
                ));
                Ok(())
            }
        };
        let waits = settings.every.saturating_sub(looked_at.elapsed());
        if let Err(stopped) = looked.and_then(|()| feed.stop().wait(waits)) {
            return stopped;
        }
    }
}

/// Why a look ended early.
enum Unread {
    Stopped,
    Error(anyhow::Error),
}

impl From<Stopped> for Unread {
    fn from(_: Stopped) -> Unread {
        Unread::Stopped
    }
}

impl From<anyhow::Error> for Unread {
    fn from(error: anyhow::Error) -> Unread {
        Unread::Error(error)
    }
}

/// An object that is to be read.
struct New {
    meta: ObjectMeta,
    mark: u64,
}

struct Bucket<'a> {
    settings: &'a Objects,
    data: PathBuf,
    /// What was read, by key: its mark.
    known: BTreeMap<String, u64>,
    /// Marks of those of which too much was refused.
    left: BTreeSet<u64>,
}

impl Bucket<'_> {
    /// Lists what there is, and reads what is new.
    fn look(&mut self, feed: &mut Feed) -> Result<(), Unread> {
        let runtime = feed.runtime().clone();
        let store = self.settings.store().context("the settings")?;
        let prefix = self.settings.prefix.clone();
        let kept_since = feed.kept_since()?;
        let listed: Vec<ObjectMeta> =
            runtime.block_on(store.list(Some(&prefix)).try_collect()).context("it cannot be listed")?;
        let mut objects: Vec<ObjectMeta> =
            listed.into_iter().filter(|meta| self.is_wanted(&prefix, meta, kept_since)).collect();
        objects.sort_unstable_by(|a, b| (a.last_modified, &a.location).cmp(&(b.last_modified, &b.location)));
        feed.status.change(|status| status.open = objects.len() as u64);
        self.forget(feed, &objects)?;
        let new: Vec<New> = objects.into_iter().filter_map(|meta| self.if_new(meta)).collect();
        let fetched =
            stream::iter(&new).map(|new| fetch(store.as_ref(), &new.meta, &self.data)).buffered(AHEAD);
        let mut fetched = std::pin::pin!(fetched);
        let mut marks = new.iter();
        while let Some((new, file)) = marks.next().zip(runtime.block_on(fetched.next())) {
            let file = file
                .with_context(|| format!("the object '{}'", sighting::escape(new.meta.location.as_ref())))?;
            take(feed, new, file, &mut self.known, &mut self.left)?;
        }
        feed.commit()?;
        Ok(())
    }

    fn is_wanted(&self, prefix: &object_store::path::Path, meta: &ObjectMeta, kept_since: Second) -> bool {
        let below: PathBuf = meta
            .location
            .prefix_match(prefix)
            .map_or_else(PathBuf::new, |parts| parts.map(|part| part.as_ref().to_owned()).collect());
        meta.size > 0
            && self.settings.globs.take(below)
            && meta.last_modified.timestamp() >= i64::from(kept_since.unix())
    }

    fn if_new(&self, meta: ObjectMeta) -> Option<New> {
        let mark = mark_of(self.settings.url.as_str(), &meta);
        let is_known = self.known.get(&key(&meta)) == Some(&mark) || self.left.contains(&mark);
        (!is_known).then_some(New { meta, mark })
    }

    /// Forgets what is not there any more.
    fn forget(&mut self, feed: &mut Feed, objects: &[ObjectMeta]) -> Result<(), Stopped> {
        let there: BTreeSet<String> = objects.iter().map(key).collect();
        let gone: Vec<String> = self.known.keys().filter(|key| !there.contains(*key)).cloned().collect();
        for key in gone {
            self.known.remove(&key);
            feed.set_offsets(vec![Offset { key, position: Offset::FORGOTTEN }])?;
            if feed.is_full() {
                feed.commit()?;
            }
        }
        Ok(())
    }
}

/// Reads an object; what was read of it is in the store before, or with, that it was read.
fn take(
    feed: &mut Feed,
    new: &New,
    file: File,
    known: &mut BTreeMap<String, u64>,
    left: &mut BTreeSet<u64>,
) -> Result<(), Unread> {
    let path = new.meta.location.as_ref();
    let reading = Arc::new(Reading::new(0, path.to_owned(), Vec::new()));
    feed.read(new.meta.size);
    match whole::read(feed, &reading, file) {
        Ok(()) => {}
        Err(Broken::Stopped) => return Err(Unread::Stopped),
        Err(Broken::Io(error)) => return Err(anyhow::Error::from(error).context("a fetched object").into()),
    }
    let (records, refused) = reading.records();
    if feed.source.refused_max.is_exceeded(records, refused) {
        left.insert(new.mark);
        tracing::error!(
            source = %name(&feed.source.name),
            object = %sighting::escape(path),
            records,
            refused,
            "too many records of an object are refused; correct its [[sources]] (format, time_zone, columns, exclude, or \
             refused_max) and start the server again"
        );
        feed.status.change(|status| status.paused += 1);
        return Ok(());
    }
    known.insert(key(&new.meta), new.mark);
    feed.set_offsets(vec![Offset { key: key(&new.meta), position: new.mark }])?;
    if feed.is_full() {
        feed.commit()?;
    }
    Ok(())
}

fn key(meta: &ObjectMeta) -> String {
    format!("object {}", meta.location)
}

fn mark_of(url: &str, meta: &ObjectMeta) -> u64 {
    let ObjectMeta { size, last_modified, e_tag, .. } = meta;
    let time = last_modified.timestamp_millis();
    let mark = mark(format!("{url}\n{size}\n{time}\n{}", e_tag.as_deref().unwrap_or_default()).as_bytes());
    // The one number that says something else.
    mark.min(Offset::FORGOTTEN - 1)
}

/// Fetches an object into a file that nobody else sees, and that is gone when it is closed.
async fn fetch(store: &dyn ObjectStore, meta: &ObjectMeta, data: &Path) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile_in(data).context("there is no room for it")?;
    let mut bytes = store.get(&meta.location).await?.into_stream();
    while let Some(piece) = bytes.try_next().await? {
        file.write_all(&piece)
            .map_err(|error: io::Error| anyhow::Error::from(error).context("there is no room for it"))?;
    }
    Ok(file)
}
