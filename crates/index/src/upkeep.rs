//! What the store does to its files besides journalling: memory into segments, segments into larger ones, retention,
//! removal. Refuses to hold: when to do it (the store's), answers and recovery.
//!
//! Each change follows one order: write the new file and sync it, replace the manifest, publish the view, unlink the
//! old file. A power cut leaves either state whole, and files that no manifest names are removed at the next start.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use sighting::{Day, OrganisationId, Second};

use crate::error::IndexError;
use crate::journal::{self, Frame};
use crate::leases::{Fact, Needed};
use crate::manifest::{Held, Manifest, Named};
use crate::names::{Filing, Names};
use crate::names_file;
use crate::record;
use crate::row::{Row, Table};
use crate::run::{Merged, Run};
use crate::segment::{Cell, Segment, SegmentWriter};
use crate::store::{Active, Shared};
use crate::view::{CellView, View};

/// The folder of segments.
pub(crate) const SEGMENTS: &str = "segments";
/// Segments of one cell and size class that become one.
const MERGED_MIN: usize = 4;

/// The file name of a segment.
pub(crate) fn path(number: u64) -> String {
    format!("{SEGMENTS}/{number:010}.segment")
}

/// Writes everything in memory into segments, files the names, and lets the journals go.
pub(crate) fn spill(shared: &Shared) -> Result<(), IndexError> {
    with_manifest(shared, |manifest| {
        empty_memory(shared, manifest)?;
        merge_segments(shared, manifest)
    })
}

/// Does work on the manifest, one at a time. A failure or a panic stops all writing before anybody else gets the
/// manifest: what is on the disk then is known to a restart only.
fn with_manifest(
    shared: &Shared,
    work: impl FnOnce(&mut Manifest) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut manifest = shared.manifest.lock().unwrap_or_else(PoisonError::into_inner);
    shared.check()?;
    let work = || work(&mut manifest).and_then(|()| take_filters(&shared.view()));
    let outcome = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(IndexError::Stopped("changing the segments panicked".to_owned())));
    outcome.inspect_err(|error| shared.fail(&error.to_string()))
}

/// Takes the filters into memory that found no room before, those of the newest days first, which every question is about.
pub(crate) fn take_filters(view: &View) -> Result<(), IndexError> {
    let segments = view.cells().flat_map(|(_, held)| &held.segments);
    let mut unfiltered: Vec<&Arc<Segment>> = segments.filter(|segment| !segment.is_filtered()).collect();
    unfiltered.sort_by_key(|segment| Reverse(segment.cell.day));
    unfiltered.into_iter().try_for_each(|segment| segment.take_filter())
}

fn empty_memory(shared: &Shared, manifest: &mut Manifest) -> Result<(), IndexError> {
    let Rotated { floor, filings } = rotate(shared, manifest)?;
    let view = shared.view();
    let mut next = manifest.clone();
    let mut written: Vec<(Cell, Arc<Segment>)> = Vec::new();
    for (cell, held) in view.cells() {
        let runs = older_runs(held, floor);
        if runs.is_empty() {
            continue;
        }
        let made_of = runs.iter().map(|run| run.number).collect();
        let segment = write_segment(shared, &mut next, cell, made_of, Merged::of(&runs).map(Ok))?;
        written.push((cell, segment));
    }
    if !written.is_empty() {
        sync_segment_names(shared)?;
    }
    for (organisation, names, filing) in &filings {
        let known = next.organisations.iter().find(|held| held.organisation == *organisation);
        let bytes = known.map_or(0, |held| held.names_bytes);
        let names_bytes = names_file::file(&*shared.storage, *organisation, bytes, names, filing)?;
        next.organisations.retain(|held| held.organisation != *organisation);
        next.organisations.push(Held { organisation: *organisation, names_bytes });
    }
    let old_floor = next.journal_floor;
    next.journal_floor = floor;
    next.store(&*shared.storage)?;
    *manifest = next;
    for (_, names, filing) in &filings {
        names.write().unwrap_or_else(PoisonError::into_inner).filed(filing);
    }
    shared.publish(|view| {
        for (cell, segment) in &written {
            let held = view.organisation_mut(cell.organisation).cell_mut(cell.table, cell.day);
            held.runs.retain(|run| run.generation >= floor);
            held.segments.push(Arc::clone(segment));
        }
    });
    drop(view);
    remove_journals(shared, old_floor, floor)
}

/// The moment at which a new journal took over.
struct Rotated {
    /// The number of the new journal.
    floor: u64,
    /// What the older ones say of names.
    filings: Vec<(OrganisationId, Arc<RwLock<Names>>, Filing)>,
}

/// Starts a new journal; every batch of the older ones is durable and in the view when it returns.
fn rotate(shared: &Shared, manifest: &mut Manifest) -> Result<Rotated, IndexError> {
    let mut active = shared.close_gate();
    shared.check()?;
    if active.is_used() {
        *active = Active::new(take_number(manifest));
    }
    shared.reset_live_rows();
    let view = shared.view();
    let filings = view
        .organisations
        .iter()
        .map(|(organisation, view)| (*organisation, Arc::clone(&view.names), view.names().filing()))
        .collect();
    Ok(Rotated { floor: active.number, filings })
}

fn take_number(manifest: &mut Manifest) -> u64 {
    manifest.next_number += 1;
    manifest.next_number - 1
}

fn older_runs(cell: &CellView, floor: u64) -> Vec<Arc<Run>> {
    cell.runs.iter().filter(|run| run.generation < floor).cloned().collect()
}

/// Writes a segment of rows in rising order and opens it. Its name is not durable yet.
fn write_segment(
    shared: &Shared,
    manifest: &mut Manifest,
    cell: Cell,
    made_of: Vec<u64>,
    rows: impl Iterator<Item = Result<Row, IndexError>>,
) -> Result<Arc<Segment>, IndexError> {
    let number = take_number(manifest);
    let path = path(number);
    let file = shared.storage.create(&path).map_err(IndexError::io(&path))?;
    let mut writer = SegmentWriter::new(Arc::clone(&file), path.clone(), cell);
    for row in rows {
        writer.push(row?)?;
    }
    let rows = writer.finish()?;
    manifest.segments.push(Named { number, cell, rows });
    let segment = Segment::open(&shared.handles, file, path, number, made_of)?;
    segment.take_filter()?;
    Ok(Arc::new(segment))
}

fn sync_segment_names(shared: &Shared) -> Result<(), IndexError> {
    shared.storage.sync_names(SEGMENTS).map_err(IndexError::io(SEGMENTS))
}

fn remove_journals(shared: &Shared, from: u64, to: u64) -> Result<(), IndexError> {
    for name in shared.storage.list(journal::FOLDER).map_err(IndexError::io(journal::FOLDER))? {
        if journal::number(&name).is_some_and(|number| (from..to).contains(&number)) {
            let path = format!("{}/{name}", journal::FOLDER);
            shared.storage.remove(&path).map_err(IndexError::io(&path))?;
        }
    }
    Ok(())
}

/// Merges segments of one cell and similar size, until no four are of one size.
fn merge_segments(shared: &Shared, manifest: &mut Manifest) -> Result<(), IndexError> {
    loop {
        let view = shared.view();
        let candidates: Vec<(Cell, Vec<Arc<Segment>>)> =
            view.cells().filter_map(|(cell, held)| Some((cell, similar(&held.segments)?))).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        for (cell, segments) in candidates {
            replace(shared, manifest, cell, (&segments, Taken::Nothing), |rows| rows)?;
        }
    }
}

/// Four or more segments of one size class (a power of four), if there are.
fn similar(segments: &[Arc<Segment>]) -> Option<Vec<Arc<Segment>>> {
    let mut classes: BTreeMap<u32, Vec<Arc<Segment>>> = BTreeMap::new();
    for segment in segments {
        classes.entry(segment.rows.max(1).ilog2() / 2).or_default().push(Arc::clone(segment));
    }
    classes.into_values().find(|class| class.len() >= MERGED_MIN)
}

/// Whether sightings are gone afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    Sightings,
}

/// Replaces segments of one cell by one, made of their rows in order after `change`.
fn replace<I: Iterator<Item = Result<Row, IndexError>>>(
    shared: &Shared,
    manifest: &mut Manifest,
    cell: Cell,
    (segments, taken): (&[Arc<Segment>], Taken),
    change: impl FnOnce(Merge) -> I,
) -> Result<(), IndexError> {
    let mut next = manifest.clone();
    let gone: Vec<u64> = segments.iter().map(|segment| segment.number).collect();
    let merged = write_segment(shared, &mut next, cell, gone.clone(), change(Merge::new(segments)?))?;
    sync_segment_names(shared)?;
    next.segments.retain(|named| !gone.contains(&named.number));
    next.store(&*shared.storage)?;
    *manifest = next;
    shared.publish(|view| {
        for segment in segments {
            let place = segment.cell;
            let held = view.organisation_mut(place.organisation).cell_mut(place.table, place.day);
            held.segments.retain(|held| held.number != segment.number);
        }
        let view = view.organisation_mut(cell.organisation);
        view.cell_mut(cell.table, cell.day).segments.push(Arc::clone(&merged));
        view.cuts += u64::from(taken == Taken::Sightings);
        view.drop_empty();
    });
    unlink(shared, &gone)
}

/// Removes segments that no view shows any more; questions that still hold one read on.
fn unlink(shared: &Shared, numbers: &[u64]) -> Result<(), IndexError> {
    for number in numbers {
        let path = path(*number);
        shared.handles.keep_open(*number).map_err(IndexError::io(&path))?;
        shared.storage.remove(&path).map_err(IndexError::io(&path))?;
    }
    Ok(())
}

/// The rows of several segments in order, repeats next to each other; memory for one page of each.
struct Merge {
    inputs: Vec<Input>,
    heads: BinaryHeap<Reverse<(Row, usize)>>,
}

struct Input {
    segment: Arc<Segment>,
    next_page: usize,
    rows: std::vec::IntoIter<Row>,
}

impl Input {
    fn next(&mut self) -> Result<Option<Row>, IndexError> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            match self.segment.page(self.next_page) {
                Some(rows) => self.rows = rows?.into_iter(),
                None => return Ok(None),
            }
            self.next_page += 1;
        }
    }
}

impl Merge {
    fn new(segments: &[Arc<Segment>]) -> Result<Merge, IndexError> {
        let input = |segment: &Arc<Segment>| Input {
            segment: Arc::clone(segment),
            next_page: 0,
            rows: Vec::new().into_iter(),
        };
        let mut merge = Merge { inputs: segments.iter().map(input).collect(), heads: BinaryHeap::new() };
        for index in 0..merge.inputs.len() {
            merge.refill(index)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, index: usize) -> Result<(), IndexError> {
        if let Some(row) = self.inputs[index].next()? {
            self.heads.push(Reverse((row, index)));
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<Row, IndexError>;

    fn next(&mut self) -> Option<Result<Row, IndexError>> {
        let Reverse((row, index)) = self.heads.pop()?;
        Some(self.refill(index).map(|()| row))
    }
}

/// Deletes what lies before `kept_since`: whole days are unlinked, its own day is written anew if it holds anything
/// older. Of the carriers of earlier days each name keeps its newest: it still decides whose the name was when the kept
/// days began. Room is freed before any is taken.
pub(crate) fn retain(
    shared: &Shared,
    organisation: OrganisationId,
    kept_since: Second,
) -> Result<(), IndexError> {
    with_manifest(shared, |manifest| {
        if holds_older_in_memory(&shared.view(), organisation, kept_since) {
            // The journal would bring it back.
            empty_memory(shared, manifest)?;
        }
        let cuts = || shared.view().organisations.get(&organisation).map(|view| view.cuts);
        let before = cuts();
        drop_old_days(shared, manifest, organisation, kept_since.day())?;
        fold_old_carriers(shared, manifest, organisation, kept_since.day())?;
        fold_old_leases(shared, manifest, organisation, kept_since.day())?;
        cut_first_day(shared, manifest, organisation, kept_since)?;
        if cuts() != before {
            // It would be read anew by the next question; what is gone does not stay until then.
            shared.hot.forget(organisation);
        }
        Ok(())
    })
}

fn holds_older_in_memory(view: &View, organisation: OrganisationId, kept_since: Second) -> bool {
    let Some(view) = view.organisations.get(&organisation) else { return false };
    let is_older = |day: &Day, cell: &CellView| match day.cmp(&kept_since.day()) {
        Ordering::Less => !cell.runs.is_empty(),
        Ordering::Equal => {
            let mut rows = cell.runs.iter().flat_map(|run| run.rows());
            rows.any(|row| row.of_day() < kept_since.of_day())
        }
        Ordering::Greater => false,
    };
    let sightings = view.table(Table::Sightings).range(..=kept_since.day());
    let mut older = sightings.filter(|(day, cell)| is_older(day, cell));
    older.next().is_some()
        || view.table(Table::Reporters).range(..kept_since.day()).any(|(_, cell)| !cell.runs.is_empty())
}

fn drop_old_days(
    shared: &Shared,
    manifest: &mut Manifest,
    organisation: OrganisationId,
    first_kept: Day,
) -> Result<(), IndexError> {
    let old = |named: &Named| {
        let cell = &named.cell;
        let outlives_its_day = matches!(cell.table, Table::Carriers | Table::Leases);
        cell.organisation == organisation && !outlives_its_day && cell.day < first_kept
    };
    drop_segments(shared, manifest, old, |view| {
        if let Some(view) = view.organisations.get_mut(&organisation) {
            let view = Arc::make_mut(view);
            for table in [Table::Sightings, Table::Reporters] {
                for day in view.table(table).range(..first_kept).map(|(day, _)| *day).collect::<Vec<_>>() {
                    // What came meanwhile stays in memory, as it does in the journal, until the next time.
                    let segments = std::mem::take(&mut view.cell_mut(table, day).segments);
                    view.cuts += u64::from(table == Table::Sightings && !segments.is_empty());
                }
            }
            view.drop_empty();
        }
    })
}

/// Writes the sightings of the first kept day anew without those before its first kept second, if there are any.
fn cut_first_day(
    shared: &Shared,
    manifest: &mut Manifest,
    organisation: OrganisationId,
    kept_since: Second,
) -> Result<(), IndexError> {
    let cell = Cell { organisation, table: Table::Sightings, day: kept_since.day() };
    let first = kept_since.of_day();
    let view = shared.view();
    let held = view.organisations.get(&organisation).and_then(|view| view.table(cell.table).get(&cell.day));
    let Some(here) = held else { return Ok(()) };
    let (gone, cut): (Vec<_>, Vec<_>) = here
        .segments
        .iter()
        .filter(|segment| segment.span.0 < first)
        .cloned()
        .partition(|segment| segment.span.1 < first);
    if !gone.is_empty() {
        let is_gone = |number: u64| gone.iter().any(|segment| segment.number == number);
        drop_segments(
            shared,
            manifest,
            |named| is_gone(named.number),
            |view| {
                let view = view.organisation_mut(organisation);
                view.cell_mut(cell.table, cell.day).segments.retain(|segment| !is_gone(segment.number));
                view.cuts += 1;
                view.drop_empty();
            },
        )?;
    }
    if cut.is_empty() {
        return Ok(());
    }
    replace(shared, manifest, cell, (&cut, Taken::Sightings), |rows| {
        rows.filter(move |row| row.as_ref().map_or(true, |row| row.of_day() >= first))
    })
}

/// Removes segments: from the manifest, then from the view, then from the disk.
fn drop_segments(
    shared: &Shared,
    manifest: &mut Manifest,
    gone: impl Fn(&Named) -> bool,
    change: impl FnOnce(&mut View),
) -> Result<(), IndexError> {
    let mut next = manifest.clone();
    let numbers = take_segments(&mut next, gone);
    if !numbers.is_empty() {
        next.store(&*shared.storage)?;
        *manifest = next;
    }
    shared.publish(change);
    unlink(shared, &numbers)
}

/// Takes segments out of a manifest; answers their numbers.
fn take_segments(manifest: &mut Manifest, gone: impl Fn(&Named) -> bool) -> Vec<u64> {
    let numbers = manifest.segments.iter().filter(|named| gone(named)).map(|named| named.number).collect();
    manifest.segments.retain(|named| !gone(named));
    numbers
}

/// Folds the segments of carriers before a day into one of the day before it, with the newest facts of each name.
/// The seconds of days before that one are lost, and with them nothing: no kept sighting lies before them.
fn fold_old_carriers(
    shared: &Shared,
    manifest: &mut Manifest,
    organisation: OrganisationId,
    first_kept: Day,
) -> Result<(), IndexError> {
    let Some(base) = day_before(first_kept) else { return Ok(()) };
    let old = old_segments(shared, manifest, (organisation, Table::Carriers), first_kept)?;
    if old.iter().all(|(day, _)| *day == base) {
        return Ok(());
    }
    let mut newest: BTreeMap<crate::row::Key, (Second, Vec<u32>)> = BTreeMap::new();
    for (day, segment) in &old {
        for page in segment.pages() {
            for row in page? {
                keep_newest(&mut newest, row, *day);
            }
        }
    }
    let mut rows: Vec<Row> = newest
        .into_iter()
        .flat_map(|(key, (second, agents))| {
            let of_day = if second.day() == base { second.of_day() } else { 0 };
            agents.into_iter().map(move |agent| Row::new(key, agent, of_day, 0))
        })
        .collect();
    rows.sort_unstable();
    let segments: Vec<Arc<Segment>> = old.into_iter().map(|(_, segment)| segment).collect();
    let cell = Cell { organisation, table: Table::Carriers, day: base };
    replace(shared, manifest, cell, (&segments, Taken::Nothing), |_| rows.into_iter().map(Ok))
}

/// Moves the leases that kept moments depend on from before a day into the day before it, and drops the others.
fn fold_old_leases(
    shared: &Shared,
    manifest: &mut Manifest,
    organisation: OrganisationId,
    first_kept: Day,
) -> Result<(), IndexError> {
    let Some(base) = day_before(first_kept) else { return Ok(()) };
    let old = old_segments(shared, manifest, (organisation, Table::Leases), first_kept)?;
    if old.iter().all(|(day, _)| *day == base) {
        return Ok(());
    }
    let mut leases: BTreeMap<u32, Vec<Fact>> = BTreeMap::new();
    for page in old.iter().flat_map(|(_, segment)| segment.pages()) {
        for (what, fact) in page?.iter().map(Fact::of_row) {
            leases.entry(what).or_default().push(fact);
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    for (what, facts) in leases {
        let needed = Needed::of(&facts, first_kept);
        rows.extend(facts.iter().filter(|fact| needed.has(fact)).map(|fact| fact.row(what)));
    }
    rows.sort_unstable();
    rows.dedup();
    let segments: Vec<Arc<Segment>> = old.into_iter().map(|(_, segment)| segment).collect();
    let cell = Cell { organisation, table: Table::Leases, day: base };
    replace(shared, manifest, cell, (&segments, Taken::Nothing), |_| rows.into_iter().map(Ok))?;
    shared.publish_leases_of(organisation, |leases, _| leases.forget_before(first_kept), |_| {});
    Ok(())
}

fn day_before(day: Day) -> Option<Day> {
    u32::from(day.number()).checked_sub(1).and_then(Day::new)
}

/// The segments of a table before a day, with what of it was in memory.
fn old_segments(
    shared: &Shared,
    manifest: &mut Manifest,
    (organisation, table): (OrganisationId, Table),
    first_kept: Day,
) -> Result<Vec<(Day, Arc<Segment>)>, IndexError> {
    let is_live = |view: &View| {
        let old = view.organisations.get(&organisation).map(|held| held.table(table).range(..first_kept));
        old.into_iter().flatten().any(|(_, cell)| !cell.runs.is_empty())
    };
    if is_live(&shared.view()) {
        // Facts in memory count too.
        empty_memory(shared, manifest)?;
    }
    let view = shared.view();
    let Some(held) = view.organisations.get(&organisation) else { return Ok(Vec::new()) };
    let old = held.table(table).range(..first_kept);
    Ok(old.flat_map(|(day, cell)| cell.segments.iter().map(|segment| (*day, Arc::clone(segment)))).collect())
}

fn keep_newest(newest: &mut BTreeMap<crate::row::Key, (Second, Vec<u32>)>, row: Row, day: Day) {
    let second = day.at(row.of_day());
    let known = newest.entry(row.key).or_insert((second, Vec::new()));
    if known.0 < second {
        *known = (second, Vec::new());
    }
    if known.0 == second && !known.1.contains(&row.identity()) {
        known.1.push(row.identity());
    }
}

/// Removes everything of an organisation. The journal says so first: what it holds of it must not come back.
pub(crate) fn remove(shared: &Shared, organisation: OrganisationId) -> Result<(), IndexError> {
    with_manifest(shared, |manifest| {
        let active = shared.close_gate();
        shared.check()?;
        // A failure must be known before the gate opens: whoever waits there would build on what is gone.
        let numbers = forget(shared, manifest, &active, organisation)
            .inspect_err(|error| shared.fail(&error.to_string()))?;
        // Batches may go on from here; what is left is nobody's any more.
        drop(active);
        shared.hot.forget(organisation);
        unlink(shared, &numbers)?;
        names_file::remove(&*shared.storage, organisation)
    })
}

/// Takes an organisation out of journal, manifest and view; answers the numbers of its segments.
fn forget(
    shared: &Shared,
    manifest: &mut Manifest,
    active: &Active,
    organisation: OrganisationId,
) -> Result<Vec<u64>, IndexError> {
    let journal = active.journal(shared)?;
    let put_remove = |frame: &mut Frame| {
        record::put_remove(frame.bytes(), organisation);
        Ok(())
    };
    let position = journal.append(put_remove, &[])?;
    journal.sync_to(position)?;
    let mut next = manifest.clone();
    next.organisations.retain(|held| held.organisation != organisation);
    let numbers = take_segments(&mut next, |named| named.cell.organisation == organisation);
    next.store(&*shared.storage)?;
    *manifest = next;
    shared.publish(|view| drop(view.organisations.remove(&organisation)));
    Ok(numbers)
}
