//! Answers questions from one view. Refuses to hold: the view's upkeep and the words of an answer.
//!
//! A day that lies whole inside the window gives its set of identities and its two ends; only the days at the
//! window's ends look at seconds. Identities become devices last, and only those that are joined to others cost
//! anything.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::FixedState;
use sighting::{
    Address, Answer, Bound, Coverage, Day, DeviceEntry, DeviceKey, FirstSeen, HeldLease, Identity, Label,
    Question, Questions, Retained, SECONDS_PER_DAY, Second, Stats, Window,
};

use crate::error::IndexError;
use crate::filter::Probe;
use crate::ids::IdSet;
use crate::joins::{self, Owner, Step, Timeline};
use crate::leases::Fact;
use crate::names::Names;
use crate::row::{Key, Row, Table};
use crate::view::{CellView, OrganisationView};

const LAST_OF_DAY: u32 = SECONDS_PER_DAY - 1;

thread_local! {
    /// Room that every question of a thread uses again.
    static ROOM: RefCell<Room> = const { RefCell::new(Room { page: Vec::new(), may_hold: Vec::new() }) };
}

struct Room {
    /// For a page.
    page: Vec<u8>,
    /// What each filter says.
    may_hold: Vec<bool>,
}

/// From how many parts that may hold an address on the system is told what will be read.
const WILL_READ_MIN: usize = 4;

/// The question of the product, and how many identities were seen inside its window.
pub(crate) fn stats(view: &OrganisationView, question: &Question) -> Result<(Answer, usize), IndexError> {
    ROOM.with_borrow_mut(|room| Asking::new(view, room, question.address).answer(question))
}

/// The question about many addresses. They are asked in the order of their keys, so that one that lies on a page follows those
/// that lie on the same.
pub(crate) fn stats_of(view: &OrganisationView, questions: &Questions) -> Result<Vec<Answer>, IndexError> {
    let addresses = &questions.addresses;
    let mut order: Vec<usize> = (0..addresses.len()).collect();
    order.sort_unstable_by_key(|place| addresses[*place]);
    let mut answers = vec![Answer::Unknown; addresses.len()];
    for place in order {
        answers[place] = stats(view, &questions.about(addresses[place]))?.0;
    }
    Ok(answers)
}

/// The answer where it is known already whom the window holds, and the first and last that are told.
pub(crate) fn seen(
    view: &OrganisationView,
    address: Address,
    window: Window,
    identities: IdSet,
    (first, last): (Second, Second),
) -> Result<Answer, IndexError> {
    ROOM.with_borrow_mut(|room| {
        let (prevalence, bound) = Asking::new(view, room, address).prevalence(identities, window)?;
        Ok(Answer::Seen(Stats { prevalence, first, last, bound }))
    })
}

struct Asking<'a> {
    view: &'a OrganisationView,
    scratch: &'a mut Vec<u8>,
    may_hold: &'a mut Vec<bool>,
    key: Key,
}

/// What a window holds of one address.
#[derive(Default)]
struct Gathered {
    identities: IdSet,
    span: Option<(Second, Second)>,
}

impl Gathered {
    fn widen(&mut self, first: Second, last: Second) {
        self.span = Some(self.span.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
    }
}

impl<'a> Asking<'a> {
    fn new(view: &'a OrganisationView, room: &'a mut Room, address: Address) -> Asking<'a> {
        let Room { page, may_hold } = room;
        Asking { view, scratch: page, may_hold, key: Key::of_address(address) }
    }

    fn answer(mut self, question: &Question) -> Result<(Answer, usize), IndexError> {
        let Some(kept) = Window::new(question.kept_since, question.window.until()) else {
            return Ok((Answer::Unknown, 0));
        };
        let Some(window) = question.window.clipped(question.kept_since) else {
            return Ok((Answer::Unknown, 0));
        };
        let gathered = self.gather(window)?;
        let Some((first, last)) = gathered.span else {
            let seen_before = self.first_in(kept)?.is_some();
            return Ok((if seen_before { Answer::Quiet } else { Answer::Unknown }, 0));
        };
        let identities = gathered.identities.len();
        let (prevalence, bound) = self.prevalence(gathered.identities, window)?;
        let first = match question.first_seen {
            FirstSeen::InWindow => first,
            FirstSeen::InKept => self.first_in(kept)?.unwrap_or(first),
        };
        Ok((Answer::Seen(Stats { prevalence, first, last, bound }), identities))
    }

    /// How many devices a set of identities is that is not empty, and what that is of the number of machines.
    fn prevalence(&mut self, identities: IdSet, window: Window) -> Result<(NonZeroU32, Bound), IndexError> {
        let joins = &self.view.joins;
        let is_behind_gateway = identities.meets(&joins.gateways);
        let devices = self.devices(identities, window)?;
        let bound = Bound::new(devices.meets(&joins.alone), is_behind_gateway);
        let prevalence = u32::try_from(devices.len()).ok().and_then(NonZeroU32::new);
        Ok((prevalence.unwrap_or(NonZeroU32::MIN), bound))
    }

    fn gather(&mut self, window: Window) -> Result<Gathered, IndexError> {
        let days = self.view.table(Table::Sightings).range(window.since().day()..=window.until().day());
        // All filters first: each is a cache line that is far away, and they come side by side.
        let probe = Probe::of(self.key);
        self.may_hold.clear();
        self.may_hold.extend(days.clone().flat_map(|(_, cell)| cell.may_hold(&probe)));
        if self.may_hold.iter().filter(|may_hold| **may_hold).count() >= WILL_READ_MIN {
            self.will_gather(days.clone(), window);
        }
        let mut gathered = Gathered::default();
        let mut may_hold = self.may_hold.iter();
        for (day, cell) in days {
            let part = part_of_day(window, *day);
            for (run, _) in cell.runs.iter().zip(&mut may_hold).filter(|(_, may_hold)| **may_hold) {
                if let Some((first, last)) = join_rows(run.of_key(self.key), part, &mut gathered.identities) {
                    gathered.widen(day.at(first), day.at(last));
                }
            }
            for (segment, _) in cell.segments.iter().zip(&mut may_hold).filter(|(_, may_hold)| **may_hold) {
                let span = segment.join(self.key, part, self.scratch, &mut gathered.identities)?;
                if let Some((first, last)) = span {
                    gathered.widen(day.at(first), day.at(last));
                }
            }
        }
        Ok(gathered)
    }

    /// Has the system read all days side by side.
    fn will_gather(&self, days: impl Iterator<Item = (&'a Day, &'a Arc<CellView>)>, window: Window) {
        let mut may_hold = self.may_hold.iter();
        for (day, cell) in days {
            may_hold.by_ref().take(cell.runs.len()).for_each(drop);
            for (segment, may_hold) in cell.segments.iter().zip(&mut may_hold) {
                if *may_hold {
                    segment.will_join(self.key, part_of_day(window, *day));
                }
            }
        }
    }

    /// The earliest sighting inside a window.
    fn first_in(&mut self, window: Window) -> Result<Option<Second>, IndexError> {
        for (day, cell) in
            self.view.table(Table::Sightings).range(window.since().day()..=window.until().day())
        {
            let part = part_of_day(window, *day);
            let mut first: Option<u32> = None;
            each_fact(cell, self.key, self.scratch, &mut |_, second| {
                if (part.0..=part.1).contains(&second) {
                    first = Some(first.map_or(second, |known| known.min(second)));
                }
            })?;
            if let Some(first) = first {
                return Ok(Some(day.at(first)));
            }
        }
        Ok(None)
    }

    /// The devices that a set of identities is, given that each was seen inside the window, by their owners.
    fn devices(&mut self, mut identities: IdSet, window: Window) -> Result<IdSet, IndexError> {
        let joined = identities.common(&self.view.joins.joined);
        let mut timed = HashSet::with_hasher(FixedState::default());
        for id in joined {
            identities.remove(id);
            match self.view.joins.owner(id) {
                Owner::Fixed(owner) => identities.insert(owner),
                Owner::Timed => drop(timed.insert(id)),
            }
        }
        if !timed.is_empty() {
            self.resolve_timed(&timed, window, &mut identities)?;
        }
        Ok(identities)
    }

    /// Adds the owners of identities whose owner depends on when they were seen.
    fn resolve_timed(
        &mut self,
        timed: &HashSet<u32, FixedState>,
        window: Window,
        devices: &mut IdSet,
    ) -> Result<(), IndexError> {
        let mut seen: HashSet<(u32, Second), FixedState> = HashSet::default();
        for (day, cell) in
            self.view.table(Table::Sightings).range(window.since().day()..=window.until().day())
        {
            let part = part_of_day(window, *day);
            each_fact(cell, self.key, self.scratch, &mut |identity, second| {
                if (part.0..=part.1).contains(&second) && timed.contains(&identity) {
                    seen.insert((identity, day.at(second)));
                }
            })?;
        }
        let mut owners = Owners::new(self.view);
        for (identity, second) in seen {
            devices.insert(owners.at(identity, second, self.scratch)?);
        }
        Ok(())
    }
}

/// Rows of one key from which on identities are added a word at a time.
const MANY_ROWS: usize = 64;

/// Adds every identity with a second inside `part` to `ids`; returns the first and last of those seconds. The rows of a
/// key rise by identity, so those of a hot address are judged without a branch and added 64 identities at a time.
fn join_rows(rows: &[Row], part: (u32, u32), ids: &mut IdSet) -> Option<(u32, u32)> {
    let (mut first, mut last) = (u32::MAX, 0);
    let length = part.1.saturating_sub(part.0);
    let is_many = rows.len() >= MANY_ROWS;
    let (mut index, mut word) = (0, 0u64);
    for row in rows {
        let (identity, second) = (row.identity(), row.of_day());
        let inside = second.wrapping_sub(part.0) <= length;
        first = first.min(if inside { second } else { u32::MAX });
        last = last.max(if inside { second } else { 0 });
        if !is_many {
            if inside {
                ids.insert(identity);
            }
            continue;
        }
        if identity / 64 != index {
            if word != 0 {
                ids.insert_word(index, word);
            }
            (index, word) = (identity / 64, 0);
        }
        word |= u64::from(inside) << (identity % 64);
    }
    if word != 0 {
        ids.insert_word(index, word);
    }
    (first <= last).then_some((first, last))
}

/// What is to be done once, the least first, also if it is said again when it is done.
#[derive(Debug)]
struct Once<T> {
    waiting: BTreeSet<T>,
    done: BTreeSet<T>,
}

impl<T: Ord> Default for Once<T> {
    fn default() -> Once<T> {
        Once { waiting: BTreeSet::new(), done: BTreeSet::new() }
    }
}

impl<T: Ord + Copy> Once<T> {
    fn add(&mut self, more: impl IntoIterator<Item = T>) {
        // Looked at as they come: to look at all that wait would take the square of their number.
        self.waiting.extend(more.into_iter().filter(|it| !self.done.contains(it)));
    }

    fn next(&mut self) -> Option<T> {
        let next = self.waiting.pop_first()?;
        self.done.insert(next);
        Some(next)
    }
}

/// Who owns which identity's device at which moment; what was read for one answer helps the next. Names are locked for
/// a step at a time and never while a page is read: batches that bring new ones wait for nobody.
struct Owners<'a> {
    view: &'a OrganisationView,
    timelines: HashMap<u32, Timeline, FixedState>,
}

impl<'a> Owners<'a> {
    fn new(view: &'a OrganisationView) -> Owners<'a> {
        Owners { view, timelines: HashMap::default() }
    }

    /// The owner's identity.
    fn at(&mut self, id: u32, at: Second, scratch: &mut Vec<u8>) -> Result<u32, IndexError> {
        if !self.view.joins.joined.contains(id) {
            return Ok(id);
        }
        if let Owner::Fixed(owner) = self.view.joins.owner(id) {
            return Ok(owner);
        }
        let path = joins::walk(id, |current| self.next(current, at, scratch))?;
        Ok(path.owner(&self.view.names()))
    }

    /// Adds the owners of an identity that reported on a day: where it was leased to anybody on it, whoever owned it at any second
    /// at which it was; else its owner when the day ends.
    fn on(
        &mut self,
        id: u32,
        day: Day,
        scratch: &mut Vec<u8>,
        devices: &mut IdSet,
    ) -> Result<(), IndexError> {
        if !self.view.leases.is_held_on(id, day) {
            devices.insert(self.at(id, day.last(), scratch)?);
            return Ok(());
        }
        // Between two moments at which nothing on its way changes, its owner does not change either.
        let mut moments = Once::default();
        moments.add([day.first()]);
        let mut met = BTreeSet::new();
        while let Some(at) = moments.next() {
            let mut way = vec![id];
            if self.view.leases.at(id, at).is_some() {
                let path = joins::walk(id, |current| {
                    way.push(current);
                    self.next(current, at, scratch)
                })?;
                devices.insert(path.owner(&self.view.names()));
            }
            for stop in way {
                if met.insert(stop) {
                    moments.add(self.changes_on(stop, day, scratch)?);
                }
            }
        }
        Ok(())
    }

    /// The moments of a day at which an identity becomes another's.
    fn changes_on(&mut self, id: u32, day: Day, scratch: &mut Vec<u8>) -> Result<Vec<Second>, IndexError> {
        let mut moments: Vec<Second> = self.view.leases.changes_on(id, day).collect();
        let step = joins::step_without_lease(&self.view.names(), id);
        if step == Step::Timed {
            moments.extend(self.timeline(id, scratch)?.changes().filter(|second| second.day() == day));
        }
        Ok(moments)
    }

    /// Where the joins of an identity lead next at a moment.
    fn next(&mut self, id: u32, at: Second, scratch: &mut Vec<u8>) -> Result<Option<u32>, IndexError> {
        if let Some(who) = self.view.leases.at(id, at) {
            return Ok(Some(who));
        }
        let (step, is_address, merged) = {
            let names = self.view.names();
            (joins::step_without_lease(&names, id), names.is_address(id), names.merged_into(id))
        };
        match step {
            Step::None => Ok(None),
            Step::To(next) => Ok(Some(next)),
            Step::Timed => {
                let timeline = self.timeline(id, scratch)?;
                let carrier = if is_address { timeline.since(at) } else { timeline.at(at) };
                Ok(carrier.or(merged))
            }
        }
    }

    /// The identity whose merge is the first on the way of another to its device.
    fn merged_on_the_way(&mut self, id: u32, scratch: &mut Vec<u8>) -> Result<Option<u32>, IndexError> {
        let mut merged = None;
        let _ = joins::walk(id, |current| {
            let next = self.next(current, Second::MAX, scratch)?;
            let names = self.view.names();
            let is_merge = joins::is_merge(&names, current) && next == names.merged_into(current);
            if merged.is_none() && is_merge && !self.is_named(&names, current) {
                merged = Some(current);
            }
            Ok::<_, IndexError>(next)
        })?;
        Ok(merged)
    }

    /// Whether something stronger than a merge says whose an identity is, now.
    fn is_named(&self, names: &Names, id: u32) -> bool {
        !names.carriers(id).is_empty() || self.view.leases.at(id, Second::MAX).is_some()
    }

    /// When which agent carried a name, read once.
    fn timeline(&mut self, name: u32, scratch: &mut Vec<u8>) -> Result<&Timeline, IndexError> {
        let view = self.view;
        match self.timelines.entry(name) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let mut facts = Vec::new();
                for (day, cell) in view.table(Table::Carriers) {
                    each_fact(cell, Key::of_number(name), scratch, &mut |agent, second| {
                        facts.push((day.at(second), agent));
                    })?;
                }
                Ok(place.insert(Timeline::new(facts, &view.names())))
            }
        }
    }
}

/// Calls `each` with every (identity, second of the day) of a key in a cell.
pub(crate) fn each_fact(
    cell: &CellView,
    key: Key,
    scratch: &mut Vec<u8>,
    each: &mut impl FnMut(u32, u32),
) -> Result<(), IndexError> {
    let probe = Probe::of(key);
    for run in cell.runs.iter().filter(|run| run.may_hold(&probe)) {
        for row in run.of_key(key) {
            each(row.identity(), row.of_day());
        }
    }
    for segment in cell.segments.iter().filter(|segment| segment.may_hold(&probe)) {
        segment.facts_of(key, scratch, each)?;
    }
    Ok(())
}

/// The seconds of a day that lie inside a window, ends included; the day touches the window.
fn part_of_day(window: Window, day: Day) -> (u32, u32) {
    let start = if window.since() > day.first() { window.since().of_day() } else { 0 };
    let end = if window.until() < day.last() { window.until().of_day() } else { LAST_OF_DAY };
    (start, end)
}

/// What is held from `kept_since` to `until`.
pub(crate) fn coverage(
    view: &OrganisationView,
    kept_since: Second,
    until: Second,
) -> Result<Coverage, IndexError> {
    let mut sources = view.names().sources().to_vec();
    sources.sort();
    let Some(window) = Window::new(kept_since, until) else {
        return Ok(Coverage { sources, ..Coverage::default() });
    };
    let mut scratch = Vec::new();
    let mut owners = Owners::new(view);
    let mut reporters = Vec::new();
    for (day, cell) in view.table(Table::Reporters).range(window.since().day()..=window.until().day()) {
        let mut identities = IdSet::default();
        each_fact(cell, Key::of_number(0), &mut scratch, &mut |identity, _| identities.insert(identity))?;
        let mut devices = IdSet::default();
        for identity in identities.iter() {
            owners.on(identity, *day, &mut scratch, &mut devices)?;
        }
        reporters.push((*day, devices.len() as u32));
    }
    Ok(Coverage { span: span(view, window)?, reporters, sources })
}

/// The earliest and the latest sighting inside a window.
fn span(view: &OrganisationView, window: Window) -> Result<Option<(Second, Second)>, IndexError> {
    let days = || view.table(Table::Sightings).range(window.since().day()..=window.until().day());
    let mut first = None;
    for (day, cell) in days() {
        first = day_span(cell, part_of_day(window, *day))?.map(|(first, _)| day.at(first));
        if first.is_some() {
            break;
        }
    }
    let mut last = None;
    for (day, cell) in days().rev() {
        last = day_span(cell, part_of_day(window, *day))?.map(|(_, last)| day.at(last));
        if last.is_some() {
            break;
        }
    }
    Ok(first.zip(last))
}

/// The earliest and the latest second of a cell inside a part of its day.
fn day_span(cell: &CellView, part: (u32, u32)) -> Result<Option<(u32, u32)>, IndexError> {
    let mut seconds: Option<(u32, u32)> = None;
    let mut add = |second: u32| {
        if (part.0..=part.1).contains(&second) {
            seconds = Some(seconds.map_or((second, second), |(a, b)| (a.min(second), b.max(second))));
        }
    };
    for row in cell.runs.iter().flat_map(|run| run.rows()) {
        add(row.of_day());
    }
    for segment in &cell.segments {
        if part.0 <= segment.span.0 && segment.span.1 <= part.1 {
            add(segment.span.0);
            add(segment.span.1);
            continue;
        }
        for page in segment.pages() {
            page?.iter().for_each(|row| add(row.of_day()));
        }
    }
    Ok(seconds)
}

/// What lies before a moment and what does not. Repeats that are not merged yet count again.
pub(crate) fn outside(view: &OrganisationView, kept_since: Second) -> Result<Retained, IndexError> {
    let mut counted = Retained::default();
    for (day, cell) in view.table(Table::Sightings) {
        let rows = cell.runs.iter().map(|run| run.rows().len() as u64).sum::<u64>()
            + cell.segments.iter().map(|segment| segment.rows).sum::<u64>();
        let dropped = match day.cmp(&kept_since.day()) {
            std::cmp::Ordering::Less => rows,
            std::cmp::Ordering::Equal => rows_before(cell, kept_since.of_day())?,
            std::cmp::Ordering::Greater => 0,
        };
        counted.dropped += dropped;
        counted.kept += rows - dropped;
    }
    Ok(counted)
}

fn rows_before(cell: &CellView, second: u32) -> Result<u64, IndexError> {
    let mut rows =
        cell.runs.iter().flat_map(|run| run.rows()).filter(|row| row.of_day() < second).count() as u64;
    for page in cell.segments.iter().flat_map(|segment| segment.pages()) {
        rows += page?.iter().filter(|row| row.of_day() < second).count() as u64;
    }
    Ok(rows)
}

/// The identity whose merge a split takes back.
pub(crate) fn merged_on_the_way(
    view: &OrganisationView,
    identity: &Identity,
) -> Result<Option<Identity>, IndexError> {
    let Some(id) = view.names().number(identity) else { return Ok(None) };
    let merged = Owners::new(view).merged_on_the_way(id, &mut Vec::new())?;
    Ok(merged.and_then(|merged| view.names().identity(merged).cloned()))
}

/// Every device as it is counted at a moment, or the one that a key names.
pub(crate) fn devices(
    view: &OrganisationView,
    key: Option<&DeviceKey>,
    at: Second,
) -> Result<Vec<DeviceEntry>, IndexError> {
    let (mut scratch, mut owners) = (Vec::new(), Owners::new(view));
    let mut owner = |id| owners.at(id, at, &mut scratch);
    let number = |identity: &Identity| view.names().number(identity);
    let wanted = match key {
        None => None,
        Some(DeviceKey::Number(number)) => Some(*number),
        Some(DeviceKey::Identity(identity)) => match number(identity) {
            Some(id) => Some(owner(id)?),
            None => return Ok(Vec::new()),
        },
    };
    let identity_count = view.names().identity_count();
    let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for id in 0..identity_count {
        let owner = owner(id)?;
        if wanted.is_none_or(|wanted| wanted == owner) {
            members.entry(owner).or_default().push(id);
        }
    }
    let reported = last_reported(view)?;
    let leases = leases_by_holder(view);
    let names = view.names();
    let entries = members.into_iter().filter_map(|(owner, ids)| {
        let last_reported = ids.iter().filter_map(|id| reported.get(id)).max().copied();
        let entry = entry(&names, owner, ids, &leases)?;
        Some(DeviceEntry { last_reported, ..entry })
    });
    Ok(entries.collect())
}

/// The leases to each identity.
type Held = HashMap<u32, Vec<(u32, Fact)>, FixedState>;

fn leases_by_holder(view: &OrganisationView) -> Held {
    let mut held = Held::default();
    for (what, fact) in view.leases.iter() {
        held.entry(fact.who).or_default().push((what, fact));
    }
    held
}

/// A device of an owner and its members; when they reported is not told here.
fn entry(names: &Names, owner: u32, members: Vec<u32>, leases: &Held) -> Option<DeviceEntry> {
    let identity = |id: u32| names.identity(id).cloned();
    let held = members.iter().filter_map(|id| leases.get(id)).flatten();
    let mut leases: Vec<HeldLease> = held
        .filter_map(|(what, fact)| {
            Some(HeldLease {
                since: fact.since,
                until: fact.until(),
                what: identity(*what)?,
                who: identity(fact.who)?,
            })
        })
        .collect();
    leases.sort();
    let tags: BTreeSet<Label> = members.iter().flat_map(|id| names.tags(*id)).cloned().collect();
    let mut others: Vec<(Identity, u32)> =
        members.into_iter().filter(|id| *id != owner).filter_map(|id| Some((identity(id)?, id))).collect();
    others.sort();
    // The owner's word first, then that of the least of the others.
    let all = || std::iter::once(owner).chain(others.iter().map(|(_, id)| *id));
    Some(DeviceEntry {
        number: owner,
        identity: identity(owner)?,
        last_reported: None,
        display_name: all().find_map(|id| names.display_name(id)).cloned(),
        tags: tags.into_iter().collect(),
        machine_group: all().find_map(|id| names.group(id)).cloned(),
        leases,
        others: others.into_iter().map(|(identity, _)| identity).collect(),
    })
}

fn last_reported(view: &OrganisationView) -> Result<HashMap<u32, Day, FixedState>, IndexError> {
    let mut last = HashMap::default();
    let mut scratch = Vec::new();
    for (day, cell) in view.table(Table::Reporters) {
        each_fact(cell, Key::of_number(0), &mut scratch, &mut |identity, _| {
            last.insert(identity, *day);
        })?;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::*;
    use proptest::prelude::*;

    thread_local! {
        static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// A moment that counts how often moments are compared.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Counted(u32);

    impl Ord for Counted {
        fn cmp(&self, other: &Counted) -> Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Counted) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn each_moment_of_a_day_costs_the_same_however_many_there_are() {
        let cost = |count: u32| {
            COMPARED.set(0);
            let mut moments = Once::default();
            moments.add((0..count).map(Counted));
            while let Some(Counted(at)) = moments.next() {
                moments.add([Counted(at), Counted(at / 2)]);
            }
            COMPARED.get() / u64::from(count)
        };
        let (few, many) = (cost(1_000), cost(16_000));
        assert!(many < few * 2, "{many} comparisons for each of many, {few} for each of few");
    }

    proptest! {
        #[test]
        fn what_was_done_is_not_done_again(steps in prop::collection::vec(prop::collection::vec(0u32..20, 0..6), 1..12)) {
            let (mut moments, mut all, mut told) = (Once::default(), BTreeSet::new(), Vec::new());
            for step in steps {
                let undone = |all: &BTreeSet<u32>, told: &[u32]| all.iter().find(|it| !told.contains(it)).copied();
                all.extend(step.iter().copied());
                moments.add(step);
                let expected = undone(&all, &told);
                let next = moments.next();
                prop_assert_eq!(next, expected);
                told.extend(next);
            }
        }
    }
}
