//! Sets of records that came before their template: kept for a bounded while, because an exporter sends its templates only every few
//! minutes, and what it sent before them after a restart of ours is lost otherwise. Refuses to hold: anything that is not counted in
//! the end.

use std::collections::VecDeque;

use super::Key;
use super::wire::Header;

/// All that waits, of all exporters: some minutes of a busy one.
const BYTES_MAX: usize = 4 << 20;
/// The same in sets, each of which costs more than its bytes.
const SETS_MAX: usize = 4_096;

/// A set that waits for its template.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) key: Key,
    pub(super) id: u16,
    pub(super) header: Header,
    /// With the set's own header.
    pub(super) set: Box<[u8]>,
}

/// The sets that wait, oldest first.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    sets: VecDeque<Kept>,
    bytes: usize,
}

impl Waiting {
    /// Adds a set; how many of the oldest it pushed out.
    pub(super) fn add(&mut self, kept: Kept) -> usize {
        self.bytes += kept.set.len();
        self.sets.push_back(kept);
        let before = self.sets.len();
        while (self.bytes > BYTES_MAX || self.sets.len() > SETS_MAX)
            && let Some(oldest) = self.sets.pop_front()
        {
            self.bytes -= oldest.set.len();
        }
        before - self.sets.len()
    }

    /// Takes out what waited for these templates, in its order.
    pub(super) fn take(&mut self, key: &Key, ids: &[u16]) -> Vec<Kept> {
        let is_wanted = |kept: &Kept| kept.key == *key && ids.contains(&kept.id);
        if !self.sets.iter().any(is_wanted) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for kept in std::mem::take(&mut self.sets) {
            if is_wanted(&kept) {
                self.bytes -= kept.set.len();
                taken.push(kept);
            } else {
                self.sets.push_back(kept);
            }
        }
        taken
    }

    /// Empties it; how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.sets).len()
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }
}
