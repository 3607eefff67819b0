//! The files of one folder that are followed: found, told of by the system or looked at again and again, read in turns, kept when
//! they are renamed, let go when they are gone. Refuses to hold: how one file is read (`file`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::feed::{Feed, Stopped, name};
use super::file::{Followed, Turn, shown};
use super::root::{FileId, Listed, Met, Root, id_of};
use super::settings::{Files, Which};

/// Bytes that are read at once.
const BYTES_READ: usize = 256 << 10;
/// How often a folder is looked through although the system tells of changes: it may lose some, and tells of none that another
/// machine makes.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often where the system tells of nothing.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Between two rounds: what is written meanwhile is one batch and one sync.
const ROUND_EVERY: Duration = Duration::from_millis(50);
/// What the system told and nobody listened to yet. Of more it is only known that there was some.
const HINTS_MAX: usize = 4_096;
/// Open files of one source; those that did not change for the longest are closed first.
const OPEN_MAX: usize = 256;
/// How long a file stays open that does not change.
const OPEN_FOR: Duration = Duration::from_secs(600);
/// How long a file is read on that is there no more, or not under a name that is followed: whoever writes it may not know yet.
const GONE_FOR: Duration = Duration::from_secs(60);
/// Files that are told to be left alone, each once.
const SAID_MAX: usize = 10_000;
/// A folder that takes long to look through is not looked through all the time.
const REST_PER_LOOK: u32 = 4;

/// Follows the files of a source until the server stops.
pub(super) fn follow(feed: Feed, files: &Files, data: &Path) {
    let mut folder = Folder {
        but: id_of(data),
        settings: files,
        root: None,
        root_id: None,
        watch: None,
        files: BTreeMap::new(),
        unknown: BTreeSet::new(),
        said: BTreeSet::new(),
        buffer: vec![0; BYTES_READ],
        feed,
    };
    // A server that stops is the only end.
    let Stopped = folder.run();
    // What was read is in the store if that is to be had now; else it is read again.
    let _ = folder.feed.commit();
}

struct Folder<'a> {
    feed: Feed,
    settings: &'a Files,
    /// The data folder, which is nobody's logs.
    but: Option<FileId>,
    root: Option<Root>,
    root_id: Option<FileId>,
    watch: Option<Watch>,
    files: BTreeMap<FileId, Entry>,
    /// Files that are left alone because they were not read under another name before.
    unknown: BTreeSet<FileId>,
    said: BTreeSet<PathBuf>,
    buffer: Vec<u8>,
}

/// A file with what is planned for it.
struct Entry {
    file: Followed,
    /// When it is to be looked at, changed or not.
    due: Option<Instant>,
    /// Since when no name leads to it.
    gone_at: Option<Instant>,
}

/// What the system told.
enum Hint {
    /// A file was written.
    Written(PathBuf),
    /// Files came, went or changed their names.
    Moved,
}

/// How a path is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Always,
    /// What the followed file may have become.
    IfKnown,
}

impl Folder<'_> {
    fn run(&mut self) -> Stopped {
        let (mut look_at, mut rest_until) = (Instant::now(), Instant::now());
        loop {
            let begun_at = Instant::now();
            if begun_at >= look_at {
                let every = self.look();
                rest_until = Instant::now() + begun_at.elapsed() * REST_PER_LOOK;
                look_at = rest_until.max(begun_at + every);
            }
            match self.turn_all(look_at) {
                Ok(is_moved) if is_moved => look_at = look_at.min(rest_until),
                Ok(_) => {}
                Err(stopped) => return stopped,
            }
        }
    }

    /// Reads on, and waits until there is something to do; says whether the folder is to be looked through.
    fn turn_all(&mut self, look_at: Instant) -> Result<bool, Stopped> {
        if self.round()? {
            self.feed.stop().wait(ROUND_EVERY)?;
        }
        self.listen(look_at)
    }

    /// Looks through the folder; gives the time until the next look.
    fn look(&mut self) -> Duration {
        let listed = match self.list() {
            Ok(listed) => listed,
            Err(error) => {
                self.feed.trouble(&format!(
                    "the folder {} cannot be read ({error}); it is tried again: make it, or correct its [[sources]]",
                    shown(&self.settings.root)
                ));
                (self.root, self.root_id, self.watch) = (None, None, None);
                return POLL_EVERY;
            }
        };
        self.feed.is_well();
        self.note(listed);
        self.settings.poll.unwrap_or(if self.watch.is_some() { LOOK_EVERY } else { POLL_EVERY })
    }

    /// Opens the folder anew, which another may have taken the place of, and lists what is in it.
    fn list(&mut self) -> io::Result<Listed> {
        let root = Root::open(&self.settings.root)?;
        let id = root.id()?;
        if self.root_id != Some(id) {
            // Before it is listed: what comes after the list is told of.
            self.watch = self.watch_root(&root);
        }
        let depth = if matches!(self.settings.which, Which::Named(_)) { 0 } else { usize::MAX };
        let listed = root.list(self.but, depth)?;
        (self.root, self.root_id) = (Some(root), Some(id));
        Ok(listed)
    }

    /// Has the system tell of changes, where it can.
    fn watch_root(&self, root: &Root) -> Option<Watch> {
        if self.settings.poll.is_some() {
            return None;
        }
        let folder = shown(&self.settings.root);
        let source = name(&self.feed.source.name);
        if root.is_remote() {
            tracing::info!(
                source,
                folder,
                "the folder is on another machine, so it is looked through every two seconds (`poll`)"
            );
            return None;
        }
        match Watch::of(&self.settings.root, matches!(self.settings.which, Which::Named(_))) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(
                    source, folder, %error,
                    "the system does not tell of changes, so the folder is looked through every two seconds; the usual cause is \
                     the limit fs.inotify.max_user_watches"
                );
                None
            }
        }
    }

    /// Takes up what was found.
    fn note(&mut self, listed: Listed) {
        let now = Instant::now();
        for (path, why) in listed.skipped {
            self.skip(&path, &why);
        }
        let mut there = BTreeSet::new();
        for met in listed.files {
            let Some(wanted) = self.wanted(&met.path) else { continue };
            // A file may have several names, of which one says that it is followed.
            if there.insert(met.id) || wanted == Wanted::Always {
                self.meet(met, wanted, now);
            }
        }
        self.unknown.retain(|id| there.contains(id));
        for (id, entry) in &mut self.files {
            if there.contains(id) {
                entry.gone_at = None;
            } else {
                // It may have been written before it went.
                entry.due = Some(now);
                entry.gone_at.get_or_insert(now);
            }
        }
    }

    fn skip(&mut self, path: &Path, why: &str) {
        if self.wanted(path) == Some(Wanted::Always)
            && self.said.len() < SAID_MAX
            && self.said.insert(path.to_owned())
        {
            tracing::warn!(source = %name(&self.feed.source.name), file = %shown(path), why, "a file is left alone");
        }
    }

    fn meet(&mut self, met: Met, wanted: Wanted, now: Instant) {
        let Met { path, id, look } = met;
        if self.unknown.contains(&id) && wanted == Wanted::IfKnown {
            return;
        }
        let is_if_known = wanted == Wanted::IfKnown;
        let entry = self.files.entry(id).or_insert_with(|| Entry {
            file: Followed::new(id, path.clone(), is_if_known, now),
            due: Some(now),
            gone_at: None,
        });
        entry.file.path = path;
        let is_wanted_now = entry.file.only_if_known && !is_if_known;
        entry.file.only_if_known &= is_if_known;
        if is_wanted_now || entry.file.look != look {
            entry.due = Some(now);
        }
    }

    fn wanted(&self, path: &Path) -> Option<Wanted> {
        match &self.settings.which {
            Which::Named(name) if path == Path::new(name) => Some(Wanted::Always),
            Which::Named(name) => {
                let is_like = path.to_str().is_some_and(|path| path.starts_with(name.as_str()));
                is_like.then_some(Wanted::IfKnown)
            }
            Which::Matching(globs) => globs.take(path).then_some(Wanted::Always),
        }
    }

    /// Reads on in every file that has something new, each for a while; says whether there was anything.
    fn round(&mut self) -> Result<bool, Stopped> {
        let now = Instant::now();
        let is_due = |entry: &Entry| entry.due.is_some_and(|due| due <= now) && self.root.is_some();
        let due: Vec<FileId> =
            self.files.iter().filter(|(_, entry)| is_due(entry)).map(|(id, _)| *id).collect();
        for (number, id) in (1..).zip(due) {
            self.turn(id, now)?;
            if self.feed.is_full() {
                self.feed.commit()?;
            }
            if number % OPEN_MAX == 0 {
                self.let_go(now);
            }
        }
        let worked = !self.feed.is_empty();
        self.feed.commit()?;
        self.let_go(now);
        let files = self.files.len() as u64;
        let paused = self.files.values().filter(|entry| entry.file.is_paused()).count() as u64;
        self.feed.status.change(|status| (status.open, status.paused) = (files, paused));
        Ok(worked)
    }

    fn turn(&mut self, id: FileId, now: Instant) -> Result<(), Stopped> {
        let (Some(entry), Some(root)) = (self.files.get_mut(&id), &self.root) else { return Ok(()) };
        entry.due = None;
        match entry.file.turn(root, &mut self.feed, &mut self.buffer, now)? {
            Turn::Done => {}
            Turn::More => entry.due = Some(now),
            Turn::Again(after) => entry.due = Some(now + after),
            Turn::Gone => {
                entry.gone_at.get_or_insert(now);
            }
            Turn::Unknown => {
                self.files.remove(&id);
                self.unknown.insert(id);
            }
        }
        Ok(())
    }

    /// Closes what does not change, and forgets what is gone.
    fn let_go(&mut self, now: Instant) {
        let quiet = |entry: &Entry| now.saturating_duration_since(entry.file.changed_at);
        self.files.retain(|_, entry| {
            let Some(gone_at) = entry.gone_at else { return true };
            let is_over = now.saturating_duration_since(gone_at) >= GONE_FOR && quiet(entry) >= GONE_FOR;
            entry.due.is_some_and(|due| due <= now) || (entry.file.is_open() && !is_over)
        });
        let mut open: Vec<&mut Entry> =
            self.files.values_mut().filter(|entry| entry.file.is_open() && entry.gone_at.is_none()).collect();
        let needless = open.len().saturating_sub(OPEN_MAX);
        open.sort_by_key(|entry| entry.file.changed_at);
        for (index, entry) in open.into_iter().enumerate() {
            if index < needless || quiet(entry) >= OPEN_FOR {
                entry.file.close();
            }
        }
    }

    /// Waits for the system's word, or until something is due; says whether the folder is to be looked through.
    fn listen(&mut self, look_at: Instant) -> Result<bool, Stopped> {
        // Without the folder nothing is read.
        let next = self.root.as_ref().and_then(|_| self.files.values().filter_map(|entry| entry.due).min());
        let until = next.map_or(look_at, |next| next.min(look_at));
        let wait = until.saturating_duration_since(Instant::now());
        let Some(watch) = &self.watch else {
            self.feed.stop().wait(wait)?;
            return Ok(false);
        };
        let (hints, lost) = (watch.hints.clone(), Arc::clone(&watch.lost));
        let stop = &self.feed.stop().0;
        let first = select! {
            recv(hints) -> hint => hint.ok(),
            recv(stop) -> _ => return Err(Stopped),
            default(wait) => None,
        };
        let mut is_moved = lost.swap(false, Ordering::Relaxed);
        for hint in first.into_iter().chain(hints.try_iter()) {
            is_moved |= self.is_moved_by(hint);
        }
        Ok(is_moved)
    }

    /// A file that is known is looked at; what else was told asks for a look through the folder.
    fn is_moved_by(&mut self, hint: Hint) -> bool {
        let Hint::Written(path) = hint else { return true };
        let Ok(path) = path.strip_prefix(&self.settings.root) else { return true };
        if self.wanted(path).is_none() {
            return false;
        }
        let mut known = self.files.values_mut().filter(|entry| entry.file.path == path).peekable();
        if known.peek().is_none() {
            return true;
        }
        let now = Instant::now();
        known.for_each(|entry| entry.due = Some(now));
        false
    }
}

/// The system's word of changes in a folder.
struct Watch {
    /// It tells for as long as it lives.
    _watcher: RecommendedWatcher,
    hints: Receiver<Hint>,
    /// There was more than fits.
    lost: Arc<AtomicBool>,
}

impl Watch {
    fn of(root: &Path, is_flat: bool) -> notify::Result<Watch> {
        let (sender, hints) = bounded(HINTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let told = {
            let lost = Arc::clone(&lost);
            move |event: notify::Result<Event>| tell(event, &sender, &lost)
        };
        // Links may lead out of the folder: what they lead to is looked at, and not watched.
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(told, config)?;
        let mode = if is_flat { RecursiveMode::NonRecursive } else { RecursiveMode::Recursive };
        watcher.watch(root, mode)?;
        Ok(Watch { _watcher: watcher, hints, lost })
    }
}

/// Passes on what matters of an event.
fn tell(event: notify::Result<Event>, sender: &Sender<Hint>, lost: &AtomicBool) {
    let hints: Vec<Hint> = match event {
        // Our own reading is told of too.
        Ok(Event { kind: EventKind::Access(_), .. }) => return,
        Ok(event) if event.need_rescan() => vec![Hint::Moved],
        Ok(Event { kind: EventKind::Modify(notify::event::ModifyKind::Data(_)), paths, .. }) => {
            paths.into_iter().map(Hint::Written).collect()
        }
        Ok(_) | Err(_) => vec![Hint::Moved],
    };
    for hint in hints {
        match sender.try_send(hint) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => lost.store(true, Ordering::Relaxed),
            // Nobody listens any more.
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
}
