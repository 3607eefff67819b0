//! What is known of one hot address, and of which view that is: reading it all once, catching up with what views have more.
//! Refuses to hold: which addresses are hot, and when they are read (`hot`).

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, Weak};

use sighting::{Answer, Day, FirstSeen, Question, Second};

use super::times::Times;
use crate::ask;
use crate::error::IndexError;
use crate::filter::Probe;
use crate::names::Names;
use crate::row::{Key, Table};
use crate::run::Run;
use crate::segment::Segment;
use crate::view::{CellView, OrganisationView};

/// What is known of one address.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// The view that was taken up last; a pointer to compare with, which keeps nobody else from having its address.
    view: Weak<OrganisationView>,
    /// Whose names: others are those of another organisation with the same id.
    names: Weak<RwLock<Names>>,
    cuts: u64,
    cells: BTreeMap<Day, KnownCell>,
    times: Times,
}

/// What is known of one day.
#[derive(Clone, Default)]
struct KnownCell {
    view: Weak<CellView>,
    /// The numbers of its runs and segments.
    parts: Vec<u64>,
}

impl KnownCell {
    fn is_of(&self, cell: &Arc<CellView>) -> bool {
        std::ptr::eq(self.view.as_ptr(), Arc::as_ptr(cell))
    }

    /// Whether there is nothing new in a part, or in one that was made of others.
    fn holds(&self, number: u64, made_of: &[u64]) -> bool {
        let is_held = |number: &u64| self.parts.contains(number);
        is_held(&number) || (!made_of.is_empty() && made_of.iter().all(is_held))
    }

    fn new_runs<'a>(&self, cell: &'a CellView) -> impl Iterator<Item = &'a Arc<Run>> {
        cell.runs.iter().filter(|run| !self.holds(run.number, &run.made_of))
    }

    fn new_segments<'a>(&self, cell: &'a CellView) -> impl Iterator<Item = &'a Arc<Segment>> {
        cell.segments.iter().filter(|segment| !self.holds(segment.number, &segment.made_of))
    }

    fn took(&mut self, cell: &Arc<CellView>) {
        self.view = Arc::downgrade(cell);
        let runs = cell.runs.iter().map(|run| run.number);
        self.parts = runs.chain(cell.segments.iter().map(|segment| segment.number)).collect();
    }
}

impl Known {
    /// All that a view holds of an address, from what was known before where that still counts.
    pub(super) fn read(
        before: Option<Known>,
        view: &Arc<OrganisationView>,
        key: Key,
        until: Second,
    ) -> Result<Known, IndexError> {
        let before = before.filter(|known| known.is_of_life(view));
        let mut known = before.unwrap_or_else(|| Known {
            names: Arc::downgrade(&view.names),
            cuts: view.cuts,
            ..Known::default()
        });
        let (mut scratch, probe) = (Vec::new(), Probe::of(key));
        known.times.move_on(until);
        for (day, cell) in view.table(Table::Sightings) {
            let held = known.cells.entry(*day).or_default();
            if held.is_of(cell) {
                continue;
            }
            let mut adding = known.times.day(*day);
            for segment in held.new_segments(cell).filter(|segment| segment.may_hold(&probe)) {
                segment.facts_of(key, &mut scratch, &mut |identity, of_day| adding.add(identity, of_day))?;
            }
            known.take_runs(*day, cell, key, &probe);
        }
        known.view = Arc::downgrade(view);
        known.times.move_on(until);
        Ok(known)
    }

    /// Takes up what a view has more in memory. `false`, and nothing done, where more than that is new: all has to be read.
    pub(super) fn catch_up(&mut self, view: &Arc<OrganisationView>, key: Key, until: Second) -> bool {
        if !self.is_of(view) {
            if !self.is_of_life(view) {
                return false;
            }
            let none = KnownCell::default();
            let held = |day: &Day| self.cells.get(day).unwrap_or(&none);
            let changed = || view.table(Table::Sightings).iter().filter(|(day, cell)| !held(day).is_of(cell));
            if changed().any(|(day, cell)| held(day).new_segments(cell).next().is_some()) {
                return false;
            }
            let changed: Vec<_> = changed().map(|(day, cell)| (*day, Arc::clone(cell))).collect();
            let probe = Probe::of(key);
            for (day, cell) in changed {
                self.take_runs(day, &cell, key, &probe);
            }
            self.view = Arc::downgrade(view);
        }
        self.times.move_on(until);
        true
    }

    /// Takes up the new runs of a cell whose segments are known.
    fn take_runs(&mut self, day: Day, cell: &Arc<CellView>, key: Key, probe: &Probe) {
        let held = self.cells.entry(day).or_default();
        let mut adding = self.times.day(day);
        for run in held.new_runs(cell).filter(|run| run.may_hold(probe)) {
            run.of_key(key).iter().for_each(|row| adding.add(row.identity(), row.of_day()));
        }
        held.took(cell);
    }

    /// Whether it is of a view, and of nothing before it.
    pub(super) fn is_of(&self, view: &Arc<OrganisationView>) -> bool {
        std::ptr::eq(self.view.as_ptr(), Arc::as_ptr(view))
    }

    /// Whether nothing was taken away since.
    fn is_of_life(&self, view: &OrganisationView) -> bool {
        std::ptr::eq(self.names.as_ptr(), Arc::as_ptr(&view.names)) && self.cuts == view.cuts
    }

    pub(super) fn bytes(&self) -> usize {
        let cells = self.cells.values().map(|cell| size_of::<KnownCell>() + cell.parts.capacity() * 8);
        self.times.bytes() + cells.sum::<usize>()
    }

    /// Whether a question can never be answered from here, because it ends before what is known.
    pub(super) fn is_past(&self, question: &Question) -> bool {
        self.times.is_past(question.window.until())
    }

    /// The answer, if the question is one that can be answered from here.
    pub(super) fn answer(
        &self,
        view: &OrganisationView,
        question: &Question,
    ) -> Option<Result<Answer, IndexError>> {
        let window = question.window.clipped(question.kept_since)?;
        if !self.times.is_settled_at(window.until()) {
            return None;
        }
        let last = self.times.newest().filter(|newest| *newest >= window.since())?;
        let first = self.times.first_from(match question.first_seen {
            FirstSeen::InWindow => window.since(),
            FirstSeen::InKept => question.kept_since,
        })?;
        let identities = self.times.seen_from(window.since());
        Some(ask::seen(view, question.address, window, identities, (first, last)))
    }
}
