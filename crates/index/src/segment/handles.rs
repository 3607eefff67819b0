//! Open files of segments, a bounded number at once: long retention makes more segments than a process may have files.
//! And the room that their filters share. Refuses to hold: what is in them, and any order of use (the one that was opened
//! first is closed first).
//!
//! A segment that is about to be unlinked is opened and stays so until the last question that holds it has ended: its name
//! will not lead to it any more.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::fast::FixedState;

use crate::storage::{File, Storage};
use crate::store::Options;

/// The handles of all segments of a folder.
pub(crate) struct Handles {
    storage: Arc<dyn Storage>,
    open_max: usize,
    state: Mutex<State>,
    /// What filters may take yet, in bytes.
    filter_room: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Every handle by the number of its segment.
    all: HashMap<u64, Weak<Handle>, FixedState>,
    /// Those that are open and may be closed, the oldest first.
    open: VecDeque<Weak<Handle>>,
}

/// The way to one segment's file, open or not.
pub(crate) struct Handle {
    handles: Weak<Handles>,
    path: String,
    file: Mutex<Option<Arc<dyn File>>>,
}

impl Handles {
    /// For a folder.
    pub(crate) fn new(storage: Arc<dyn Storage>, options: &Options) -> Arc<Handles> {
        Arc::new(Handles {
            storage,
            open_max: options.open_files_max.max(1),
            state: Mutex::default(),
            filter_room: AtomicU64::new(options.filter_bytes_max),
        })
    }

    /// Takes room for a filter of so many bytes, if there is any.
    pub(super) fn take_filter_room(&self, bytes: u64) -> bool {
        let take = |room: u64| room.checked_sub(bytes);
        self.filter_room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives it back.
    pub(super) fn give_filter_room(&self, bytes: u64) {
        self.filter_room.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The handle of a segment, with its file where that is open already.
    pub(crate) fn handle(self: &Arc<Handles>, number: u64, path: String, file: Arc<dyn File>) -> Arc<Handle> {
        let handle = Handle { handles: Arc::downgrade(self), path, file: Mutex::new(Some(file)) };
        let handle = Arc::new(handle);
        let mut state = lock(&self.state);
        state.all.insert(number, Arc::downgrade(&handle));
        self.opened(&mut state, &handle);
        handle
    }

    /// Makes sure that whoever still reads a segment can go on once its name is gone.
    pub(crate) fn keep_open(&self, number: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        let Some(handle) = state.all.remove(&number).and_then(|handle| handle.upgrade()) else {
            return Ok(());
        };
        state.open.retain(|open| !std::ptr::eq(open.as_ptr(), Arc::as_ptr(&handle)));
        let mut file = lock(&handle.file);
        if file.is_none() {
            *file = Some(self.storage.open(&handle.path)?);
        }
        Ok(())
    }

    /// Notes that a handle is open, and closes the oldest ones that are too many.
    fn opened(&self, state: &mut State, handle: &Arc<Handle>) {
        state.open.push_back(Arc::downgrade(handle));
        while state.open.len() > self.open_max {
            if let Some(oldest) = state.open.pop_front().and_then(|oldest| oldest.upgrade()) {
                *lock(&oldest.file) = None;
            }
        }
    }
}

impl Handle {
    /// The file, opened if it is not.
    pub(crate) fn file(self: &Arc<Handle>) -> io::Result<Arc<dyn File>> {
        if let Some(file) = &*lock(&self.file) {
            return Ok(Arc::clone(file));
        }
        let handles = self.handles.upgrade().ok_or_else(|| io::Error::other("the store is closed"))?;
        // Always in this order: the list, then a file.
        let mut state = lock(&handles.state);
        if let Some(file) = &*lock(&self.file) {
            return Ok(Arc::clone(file));
        }
        let file = handles.storage.open(&self.path)?;
        *lock(&self.file) = Some(Arc::clone(&file));
        handles.opened(&mut state, self);
        Ok(file)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
