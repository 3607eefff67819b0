//! Objects below a prefix of a bucket (S3, Azure Blob, Google Cloud Storage): listed again and again, and each read once, and again
//! when it changed. That it was read is kept in the same step as its last records. Refuses to hold: how an object comes here (`fetched`),
//! and what is in it (`whole`, `formats`).
//!
//! A store keeps `object <path>`: the first 8 bytes of the SHA-256 of its address, length, entity tag and time. What is not listed any
//! more, or is older than anything that is kept, is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use object_store::{ObjectMeta, ObjectStore};
use sighting::{Offset, OrganisationId, Second, escape};

use super::feed::{Feed, Stopped, name};
use super::fetched::{self, Failed, Room};
use super::place::mark;
use super::settings::Objects;
use super::whole::{self, Broken};
use crate::ingest::{Reading, UNREADABLE};

/// Objects that are fetched at once: each waits in a file without a name.
const AT_ONCE: usize = 4;
/// The longest time before an object that could not be fetched is asked for again, unless looks are rarer.
const AGAIN_WITHIN: Duration = Duration::from_secs(3_600);

/// Follows until the server stops.
pub(super) fn follow(mut feed: Feed, settings: &Objects, data: &Path) {
    // A server that stops is the only end.
    let Stopped = run(&mut feed, settings, data);
    let _ = feed.commit();
}

fn run(feed: &mut Feed, settings: &Objects, data: &Path) -> Stopped {
    let mut bucket = Bucket::new(settings, data);
    loop {
        let looked_at = Instant::now();
        let looked = match bucket.look(feed) {
            Ok(()) => {
                bucket.tell(feed);
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

/// An object as it was once: its key, and its mark.
type Version = (String, u64);

/// An object that is to be read.
struct New {
    meta: ObjectMeta,
    version: Version,
}

/// An object that could not be fetched.
struct Missed {
    why: String,
    attempts: u32,
    again_at: Instant,
    /// It is no news that an object is gone that was listed a moment ago.
    is_told: bool,
}

struct Bucket<'a> {
    settings: &'a Objects,
    data: &'a Path,
    /// Whose source it was at the last look.
    organisation: Option<OrganisationId>,
    /// What was read, by key: its mark.
    known: BTreeMap<String, u64>,
    /// Those of which too much was refused.
    left: BTreeSet<Version>,
    /// Those that could not be fetched.
    missed: BTreeMap<Version, Missed>,
}

impl<'a> Bucket<'a> {
    fn new(settings: &'a Objects, data: &'a Path) -> Bucket<'a> {
        let (known, left, missed) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Bucket { settings, data, organisation: None, known, left, missed }
    }

    /// Lists what there is, and reads what is new.
    fn look(&mut self, feed: &mut Feed) -> Result<(), Unread> {
        let looked = self.read_new(feed);
        // What was read before something went wrong is not held back by it.
        feed.commit()?;
        looked
    }

    fn read_new(&mut self, feed: &mut Feed) -> Result<(), Unread> {
        self.know_whose(feed)?;
        let store = self.settings.store().context("the settings")?;
        let objects = self.list(feed, store.as_ref())?;
        feed.status.change(|status| status.open = objects.len() as u64);
        self.forget(feed, &objects)?;
        let new: Vec<New> = objects.into_iter().filter_map(|meta| self.if_new(meta)).collect();
        for some in new.chunks(AT_ONCE) {
            let room = Room::new(self.data);
            let coming = some.iter().map(|new| fetched::fetch(store.as_ref(), &new.meta, &room));
            let came = feed.wait_for(join_all(coming))?;
            let mut of_store = None;
            for (new, came) in some.iter().zip(came) {
                match came {
                    Ok(file) => self.take(feed, new, file)?,
                    Err(failed) => {
                        self.miss(feed, new, &failed)?;
                        of_store = of_store.or(failed.is_of_store.then_some((new, failed.why)));
                    }
                }
            }
            // A store that says nothing sound is not asked for all the others.
            if let Some((new, why)) = of_store {
                return Err(
                    anyhow::anyhow!("the object '{}': {why}", escape(new.meta.location.as_ref())).into()
                );
            }
            // The next ones may be long on their way.
            feed.commit()?;
        }
        Ok(())
    }

    /// Begins anew when the source is another organisation's: what one was told of is news to the other.
    fn know_whose(&mut self, feed: &mut Feed) -> Result<(), Stopped> {
        let organisation = feed.organisation()?;
        if self.organisation != Some(organisation) {
            self.known = feed.offsets_kept()?;
            self.left.clear();
            self.missed.clear();
            self.organisation = Some(organisation);
        }
        Ok(())
    }

    /// What is there and wanted, the oldest first.
    fn list(&self, feed: &mut Feed, store: &dyn ObjectStore) -> Result<Vec<ObjectMeta>, Unread> {
        let kept_since = feed.kept_since()?;
        let listed: Result<Vec<ObjectMeta>, _> =
            feed.wait_for(store.list(Some(&self.settings.prefix)).try_collect())?;
        let listed = listed.map_err(|error| fetched::unlisted(&error))?;
        let mut objects: Vec<ObjectMeta> =
            listed.into_iter().filter(|meta| self.is_wanted(meta, kept_since)).collect();
        objects.sort_unstable_by(|a, b| (a.last_modified, &a.location).cmp(&(b.last_modified, &b.location)));
        Ok(objects)
    }

    fn is_wanted(&self, meta: &ObjectMeta, kept_since: Second) -> bool {
        let below: PathBuf = meta
            .location
            .prefix_match(&self.settings.prefix)
            .map_or_else(PathBuf::new, |parts| parts.map(|part| part.as_ref().to_owned()).collect());
        meta.size > 0
            && self.settings.globs.take(below)
            && meta.last_modified.timestamp() >= i64::from(kept_since.unix())
    }

    fn if_new(&self, meta: ObjectMeta) -> Option<New> {
        let version = self.version(&meta);
        let is_known = self.known.get(&version.0) == Some(&version.1) || self.left.contains(&version);
        let is_later = self.missed.get(&version).is_some_and(|missed| missed.again_at > Instant::now());
        (!is_known && !is_later).then_some(New { meta, version })
    }

    fn version(&self, meta: &ObjectMeta) -> Version {
        (key(meta), mark_of(self.settings.url.as_str(), meta))
    }

    /// Forgets what is not there any more.
    fn forget(&mut self, feed: &mut Feed, objects: &[ObjectMeta]) -> Result<(), Stopped> {
        let there: BTreeMap<String, u64> = objects.iter().map(|meta| self.version(meta)).collect();
        let is_there = |(key, mark): &Version| there.get(key) == Some(mark);
        self.left.retain(is_there);
        self.missed.retain(|version, _| is_there(version));
        let gone: Vec<String> = self.known.keys().filter(|key| !there.contains_key(*key)).cloned().collect();
        for key in gone {
            self.known.remove(&key);
            feed.set_offsets(vec![Offset { key, position: Offset::FORGOTTEN }])?;
            if feed.is_full() {
                feed.commit()?;
            }
        }
        Ok(())
    }

    /// Notes that an object could not be fetched.
    fn miss(&mut self, feed: &mut Feed, new: &New, failed: &Failed) -> Result<(), Stopped> {
        let (before, was_told) =
            self.missed.get(&new.version).map_or((0, false), |missed| (missed.attempts, missed.is_told));
        let attempts = before.saturating_add(1);
        let is_told = was_told || !failed.is_gone || attempts > 1;
        if is_told && !was_told {
            let reading = Arc::new(Reading::new(0, new.meta.location.to_string(), Vec::new()));
            feed.damaged(&reading, UNREADABLE, &io::Error::other(failed.why.clone()))?;
        }
        // At the next look; then one, three, seven looks are left out.
        let waits = self.settings.every.saturating_mul(2u32.saturating_pow(attempts - 1) - 1);
        let again_at = Instant::now() + waits.min(AGAIN_WITHIN.max(self.settings.every));
        let missed = Missed { why: failed.why.clone(), attempts, again_at, is_told };
        self.missed.insert(new.version.clone(), missed);
        Ok(())
    }

    /// Says how it stands after a look at all of it.
    fn tell(&self, feed: &Feed) {
        let missed = || self.missed.iter().filter(|(_, missed)| missed.is_told);
        feed.status.change(|status| status.paused = (self.left.len() + missed().count()) as u64);
        let Some(((key, _), first)) = missed().next() else { return feed.is_well() };
        feed.trouble(&format!(
            "{} of the objects of {} cannot be read, first of them '{}' ({}); the others are, and these are tried again, once an \
             hour in the end: let them be read, bring them back from an archive, or exclude them",
            missed().count(),
            self.settings.url,
            escape(key.strip_prefix(KEY).unwrap_or(key)),
            first.why
        ));
    }

    /// Reads an object; what was read of it is in the store before, or with, that it was read.
    fn take(&mut self, feed: &mut Feed, new: &New, file: File) -> Result<(), Unread> {
        let path = new.meta.location.as_ref();
        let reading = Arc::new(Reading::new(0, path.to_owned(), Vec::new()));
        feed.read(new.meta.size);
        match whole::read(feed, &reading, file) {
            Ok(()) => {}
            Err(Broken::Stopped) => return Err(Unread::Stopped),
            Err(Broken::Io(error)) => {
                return Err(anyhow::Error::from(error).context("a fetched object").into());
            }
        }
        self.missed.remove(&new.version);
        let (records, refused) = reading.records();
        if feed.source.refused_max.is_exceeded(records, refused) {
            self.left.insert(new.version.clone());
            tracing::error!(
                source = %name(&feed.source.name),
                object = %escape(path),
                records,
                refused,
                "too many records of an object are refused; correct its [[sources]] (format, time_zone, columns, exclude, or \
                 refused_max) and start the server again"
            );
            return Ok(());
        }
        let (key, mark) = new.version.clone();
        self.known.insert(key.clone(), mark);
        feed.set_offsets(vec![Offset { key, position: mark }])?;
        if feed.is_full() {
            feed.commit()?;
        }
        Ok(())
    }
}

/// Begins the key of what is kept of an object.
const KEY: &str = "object ";

fn key(meta: &ObjectMeta) -> String {
    format!("{KEY}{}", meta.location)
}

fn mark_of(url: &str, meta: &ObjectMeta) -> u64 {
    let ObjectMeta { size, last_modified, e_tag, .. } = meta;
    let time = last_modified.timestamp_millis();
    let mark = mark(format!("{url}\n{size}\n{time}\n{}", e_tag.as_deref().unwrap_or_default()).as_bytes());
    // The one number that says something else.
    mark.min(Offset::FORGOTTEN - 1)
}
