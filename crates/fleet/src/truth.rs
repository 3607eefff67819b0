//! What an exact store must answer: every opened connection that was told, as a sorted list, counted by
//! reading it. Refuses to hold: anything clever, because it is what the clever are judged by, and anything
//! but opened connections.

use std::ops::Range;

use sighting::{Address, Second, Window};

use crate::{Event, Kind};

/// One opened connection. Sorted by address.
type Fact = (Address, u32, Second);

/// The truth over the events that were added. 24 bytes an event; a set, as a store is.
#[derive(Clone, Default, Debug)]
pub struct Truth {
    /// Sorted, distinct.
    settled: Vec<Fact>,
    /// Added since, in any order; never longer than the settled ones or [`RECENT_MAX`].
    recent: Vec<Fact>,
}

/// Facts that may wait unsorted, so that adding is quick and asking does not read too many.
const RECENT_MAX: usize = 1 << 16;

impl Truth {
    /// Adds an event; those that are not opened connections change nothing, nor does a line delivered again.
    pub fn add(&mut self, event: &Event) {
        if event.kind != Kind::Opened {
            return;
        }
        self.recent.push((event.remote, event.identity_number(), event.second));
        if self.recent.len() >= RECENT_MAX.max(self.settled.len()) {
            self.settle();
        }
    }

    /// Sorts what was added, so that further questions are quick. Answers are the same without.
    pub fn settle(&mut self) {
        self.settled.append(&mut self.recent);
        self.settled.sort_unstable();
        self.settled.dedup();
    }

    /// How many identities opened a connection to an address in a window, first and last; `None` if none did.
    pub fn stats(&self, address: Address, window: Window) -> Option<(u32, Second, Second)> {
        let settled = &self.settled[self.settled_of(address)];
        let recent = self.recent.iter().filter(|fact| fact.0 == address);
        let inside = || settled.iter().chain(recent.clone()).filter(|fact| window.contains(fact.2));
        let first = inside().map(|fact| fact.2).min()?;
        let last = inside().map(|fact| fact.2).max()?;
        let mut identities: Vec<u32> = inside().map(|fact| fact.1).collect();
        identities.sort_unstable();
        identities.dedup();
        Some((identities.len() as u32, first, last))
    }

    /// Every address that was reached at any time, ascending, once.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        let mut recent: Vec<Address> = self.recent.iter().map(|fact| fact.0).collect();
        recent.extend(self.settled.iter().map(|fact| fact.0));
        recent.sort_unstable();
        recent.dedup();
        recent.into_iter()
    }

    /// Distinct (address, identity, second) facts, after [`Truth::settle`]; before it, repeats may count.
    pub fn facts(&self) -> usize {
        self.settled.len() + self.recent.len()
    }

    fn settled_of(&self, address: Address) -> Range<usize> {
        let start = self.settled.partition_point(|fact| fact.0 < address);
        let len = self.settled[start..].partition_point(|fact| fact.0 == address);
        start..start + len
    }
}

impl<'a> Extend<&'a Event> for Truth {
    fn extend<I: IntoIterator<Item = &'a Event>>(&mut self, events: I) {
        events.into_iter().for_each(|event| self.add(event));
    }
}
