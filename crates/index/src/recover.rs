//! Opens what a folder holds: the manifest's segments and names, then the journals, in order. Removes what no
//! manifest names, and cuts torn frames off the last journal. Refuses to hold: anything done after the start.
//!
//! Whoever had the folder before may have been killed between a write and its sync. What is believed here is made
//! durable first: nothing is built on bytes or names that the next power cut could take away.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sighting::{Day, Offset, OrganisationId};

use crate::error::IndexError;
use crate::journal;
use crate::manifest::{self, Manifest};
use crate::names_file;
use crate::record::{self, LearnedNames, Record};
use crate::row::{Row, Table};
use crate::run::Run;
use crate::segment::{Handles, Segment};
use crate::storage::Storage;
use crate::store::{Active, Options, Shared};
use crate::upkeep;
use crate::view::{OrganisationView, View};

/// The folders of a store.
const FOLDERS: [&str; 3] = [journal::FOLDER, upkeep::SEGMENTS, names_file::FOLDER];

/// The store of a folder, ready for questions.
pub(crate) fn recover(storage: Arc<dyn Storage>, options: Options) -> Result<Shared, IndexError> {
    for folder in FOLDERS {
        storage.make_folder(folder).map_err(IndexError::io(folder))?;
    }
    for folder in FOLDERS.into_iter().chain(["."]) {
        storage.sync_names(folder).map_err(IndexError::io(folder))?;
    }
    let mut manifest = match Manifest::load(&*storage)? {
        Some(manifest) => manifest,
        None => first_manifest(&*storage)?,
    };
    remove_strays(&*storage, &manifest)?;
    let handles = Handles::new(Arc::clone(&storage), &options);
    let mut view = load_view(&*storage, &handles, &manifest, &options)?;
    replay_journals(&*storage, &mut manifest, &mut view)?;
    load_leases(&mut view)?;
    let active = Active::new(manifest.next_number);
    manifest.next_number += 1;
    let shared = Shared::new(storage, handles, options, view, manifest, active);
    shared.derive_joins();
    Ok(shared)
}

/// The manifest of a new folder. A folder that lost its manifest is not new: what is in it would all be taken for strays.
fn first_manifest(storage: &dyn Storage) -> Result<Manifest, IndexError> {
    for folder in FOLDERS {
        let names = storage.list(folder).map_err(IndexError::io(folder))?;
        if let Some(name) = names.first() {
            let what = format!("it is not there, but {folder}/{name} is");
            return Err(IndexError::corrupt(manifest::PATH, 0, what));
        }
    }
    let manifest = Manifest { next_number: 1, journal_floor: 1, ..Manifest::default() };
    manifest.store(storage)?;
    Ok(manifest)
}

/// Removes segments and names files that no manifest names and journals that are done with: left by a power cut between
/// two steps. What a names file of a new organisation says is in the journals still.
fn remove_strays(storage: &dyn Storage, manifest: &Manifest) -> Result<(), IndexError> {
    let known: HashSet<String> = manifest.segments.iter().map(|named| upkeep::path(named.number)).collect();
    for name in storage.list(upkeep::SEGMENTS).map_err(IndexError::io(upkeep::SEGMENTS))? {
        let path = format!("{}/{name}", upkeep::SEGMENTS);
        if name.ends_with(".segment") && !known.contains(&path) {
            storage.remove(&path).map_err(IndexError::io(&path))?;
        }
    }
    let named: HashSet<String> =
        manifest.organisations.iter().map(|held| names_file::path(held.organisation)).collect();
    for name in storage.list(names_file::FOLDER).map_err(IndexError::io(names_file::FOLDER))? {
        let path = format!("{}/{name}", names_file::FOLDER);
        if name.ends_with(".names") && !named.contains(&path) {
            storage.remove(&path).map_err(IndexError::io(&path))?;
        }
    }
    for name in storage.list(journal::FOLDER).map_err(IndexError::io(journal::FOLDER))? {
        if journal::number(&name).is_some_and(|number| number < manifest.journal_floor) {
            let path = format!("{}/{name}", journal::FOLDER);
            storage.remove(&path).map_err(IndexError::io(&path))?;
        }
    }
    Ok(())
}

fn load_view(
    storage: &dyn Storage,
    handles: &Arc<Handles>,
    manifest: &Manifest,
    options: &Options,
) -> Result<View, IndexError> {
    let mut view = View { gateways: options.nat_gateways.as_slice().into(), ..View::default() };
    for held in &manifest.organisations {
        let names = names_file::load(storage, held.organisation, held.names_bytes)?;
        let known = OrganisationView::new(names, &view.gateways);
        view.organisations.insert(held.organisation, Arc::new(known));
    }
    for named in &manifest.segments {
        let path = upkeep::path(named.number);
        let file = storage.open(&path).map_err(|cause| IndexError::absent(&path, cause))?;
        let segment = Segment::open(handles, file, path.clone(), named.number, Vec::new())?;
        if segment.cell != named.cell || segment.rows != named.rows {
            return Err(IndexError::corrupt(&path, 0, "the manifest says something else of this segment"));
        }
        let cell = named.cell;
        view.organisation_mut(cell.organisation)
            .cell_mut(cell.table, cell.day)
            .segments
            .push(Arc::new(segment));
    }
    upkeep::take_filters(&view)?;
    Ok(view)
}

/// Reads all leases: questions find them in memory.
fn load_leases(view: &mut View) -> Result<(), IndexError> {
    let ids: Vec<OrganisationId> = view.organisations.keys().copied().collect();
    for id in ids {
        let held = view.organisation_mut(id);
        let mut rows: Vec<Row> = Vec::new();
        for cell in held.table(Table::Leases).values() {
            rows.extend(cell.runs.iter().flat_map(|run| run.rows()));
            for page in cell.segments.iter().flat_map(|segment| segment.pages()) {
                rows.extend(page?);
            }
        }
        if rows.is_empty() {
            continue;
        }
        {
            let mut names = held.names.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            rows.iter().for_each(|row| names.leased_once(row.key.lease().0));
        }
        held.take_leases(rows.iter());
    }
    Ok(())
}

fn replay_journals(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    view: &mut View,
) -> Result<(), IndexError> {
    let names = storage.list(journal::FOLDER).map_err(IndexError::io(journal::FOLDER))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| journal::number(name)).collect();
    numbers.sort_unstable();
    let mut replay = Replay { view, rows: BTreeMap::new(), gaps: BTreeMap::new(), removed: Vec::new() };
    for number in &numbers {
        let last = Some(number) == numbers.last();
        let path = journal::path(*number);
        let cut = journal::replay(storage, *number, last, |payload, at| {
            let (organisation, record) =
                record::take(payload).map_err(|error| IndexError::corrupt(&path, at, error.0))?;
            replay.take(organisation, record, (&path, at));
            Ok(())
        })?;
        if cut > 0 {
            tracing::info!(journal = number, bytes = cut, "cut off frames that no receipt covers");
        }
    }
    let removed = replay.finish(numbers.last().copied().unwrap_or_default())?;
    finish_removals(storage, manifest, view, &removed)?;
    let next = numbers.last().map_or(0, |last| last + 1);
    manifest.next_number = manifest.next_number.max(next);
    Ok(())
}

/// What the journals say, while they are read.
struct Replay<'a> {
    view: &'a mut View,
    /// Rows of each cell, sorted once all are here: a journal may hold very many small batches.
    rows: BTreeMap<(OrganisationId, Table, Day), Vec<Row>>,
    /// Organisations whose records build on names that are not there, with the place where that showed. Only a removal
    /// that follows explains it: the names file was removed already.
    gaps: BTreeMap<OrganisationId, (String, u64)>,
    removed: Vec<OrganisationId>,
}

impl Replay<'_> {
    fn take(&mut self, organisation: OrganisationId, record: Record, (path, at): (&str, u64)) {
        match record {
            Record::Append { names, source, offsets, cells } => {
                self.learn(organisation, names, source, offsets, (path, at));
                for cell in cells {
                    if cell.table == Table::Carriers {
                        self.carried(organisation, &cell.rows);
                    }
                    self.rows.entry((organisation, cell.table, cell.day)).or_default().extend(cell.rows);
                }
            }
            Record::Learn { names } => self.learn(organisation, names, 0, Vec::new(), (path, at)),
            Record::Remove => {
                self.view.organisations.remove(&organisation);
                self.rows.retain(|(whose, ..), _| *whose != organisation);
                self.gaps.remove(&organisation);
                self.removed.push(organisation);
            }
        }
    }

    fn learn(
        &mut self,
        organisation: OrganisationId,
        learned: LearnedNames,
        source: u16,
        offsets: Vec<Offset>,
        (path, at): (&str, u64),
    ) {
        let held = self.view.organisation_mut(organisation);
        let mut names = held.names.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut is_whole = learned.first <= names.learned();
        for (number, entry) in (learned.first..).zip(learned.entries) {
            is_whole &= names.replay_journalled(number, entry);
        }
        for offset in offsets {
            names.set_offset(source, offset.key, offset.position);
        }
        if !is_whole {
            self.gaps.entry(organisation).or_insert_with(|| (path.to_owned(), at));
        }
    }

    fn carried(&mut self, organisation: OrganisationId, rows: &[Row]) {
        let held = self.view.organisation_mut(organisation);
        let mut names = held.names.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for row in rows {
            names.carried_by(row.key.number(), row.identity());
        }
    }

    /// Puts the rows into the view as runs of the newest journal; answers which organisations were removed.
    fn finish(self, generation: u64) -> Result<Vec<OrganisationId>, IndexError> {
        if let Some((path, at)) = self.gaps.into_values().next() {
            return Err(IndexError::corrupt(&path, at, "names are missing that this record builds on"));
        }
        for ((organisation, table, day), mut rows) in self.rows {
            rows.sort();
            rows.dedup();
            let run = Run::from_sorted(rows, generation);
            self.view.organisation_mut(organisation).cell_mut(table, day).runs.push(Arc::new(run));
        }
        Ok(self.removed)
    }
}

/// Ends removals that a power cut interrupted: the segments of the time before are still in the manifest.
fn finish_removals(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    view: &View,
    removed: &[OrganisationId],
) -> Result<(), IndexError> {
    let gone: Vec<u64> = manifest
        .segments
        .iter()
        .filter(|named| removed.contains(&named.cell.organisation))
        .map(|named| named.number)
        .collect();
    manifest.segments.retain(|named| !removed.contains(&named.cell.organisation));
    let held_before = manifest.organisations.len();
    manifest.organisations.retain(|held| !removed.contains(&held.organisation));
    if gone.is_empty() && manifest.organisations.len() == held_before {
        return Ok(());
    }
    manifest.store(storage)?;
    for number in gone {
        let path = upkeep::path(number);
        storage.remove(&path).map_err(IndexError::io(&path))?;
    }
    for organisation in removed.iter().filter(|id| !view.organisations.contains_key(id)) {
        names_file::remove(storage, *organisation)?;
    }
    Ok(())
}
