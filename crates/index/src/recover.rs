//! Opens what a folder holds: the manifest's segments and names, then the journals, in order. Removes what no
//! manifest names, and cuts torn frames off the last journal. Refuses to hold: anything done after the start.

use std::sync::Arc;

use sighting::{Offset, OrganisationId};

use crate::error::IndexError;
use crate::journal;
use crate::manifest::Manifest;
use crate::names_file;
use crate::record::{self, CellRows, LearnedNames, Record};
use crate::row::Run;
use crate::segment::Segment;
use crate::storage::Storage;
use crate::store::{Active, Options, Shared};
use crate::upkeep;
use crate::view::{OrganisationView, View};

/// The store of a folder, ready for questions.
pub(crate) fn recover(storage: Arc<dyn Storage>, options: Options) -> Result<Shared, IndexError> {
    for folder in [journal::FOLDER, upkeep::SEGMENTS, names_file::FOLDER] {
        storage.make_folder(folder).map_err(IndexError::io(folder))?;
    }
    let mut manifest = match Manifest::load(&*storage)? {
        Some(manifest) => manifest,
        None => {
            let manifest = Manifest { next_number: 1, journal_floor: 1, ..Manifest::default() };
            storage.sync_names(".").map_err(IndexError::io("."))?;
            manifest.store(&*storage)?;
            manifest
        }
    };
    remove_strays(&*storage, &manifest)?;
    let mut view = load_view(&*storage, &manifest)?;
    replay_journals(&*storage, &mut manifest, &mut view)?;
    let active = Active::new(manifest.next_number);
    manifest.next_number += 1;
    let shared = Shared::new(storage, options, view, manifest, active);
    shared.publish(|_| {});
    Ok(shared)
}

/// Removes segments that no manifest names and journals that are done with: left by a power cut between two steps.
fn remove_strays(storage: &dyn Storage, manifest: &Manifest) -> Result<(), IndexError> {
    let known: Vec<String> = manifest.segments.iter().map(|named| upkeep::path(named.number)).collect();
    for name in storage.list(upkeep::SEGMENTS).map_err(IndexError::io(upkeep::SEGMENTS))? {
        let path = format!("{}/{name}", upkeep::SEGMENTS);
        if name.ends_with(".segment") && !known.contains(&path) {
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

fn load_view(storage: &dyn Storage, manifest: &Manifest) -> Result<View, IndexError> {
    let mut view = View::default();
    for held in &manifest.organisations {
        let names = names_file::load(storage, held.organisation, held.names_bytes)?;
        view.organisations.insert(held.organisation, Arc::new(OrganisationView::of_names(names)));
    }
    for named in &manifest.segments {
        let path = upkeep::path(named.number);
        let file = storage.open(&path).map_err(IndexError::io(&path))?;
        let segment = Segment::open(file, path.clone(), named.number)?;
        if segment.cell != named.cell || segment.rows != named.rows {
            return Err(IndexError::corrupt(&path, 0, "the manifest says something else of this segment"));
        }
        let cell = named.cell;
        view.organisation_mut(cell.organisation)
            .cell_mut(cell.table, cell.day)
            .segments
            .push(Arc::new(segment));
    }
    Ok(view)
}

fn replay_journals(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    view: &mut View,
) -> Result<(), IndexError> {
    let names = storage.list(journal::FOLDER).map_err(IndexError::io(journal::FOLDER))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| journal::number(name)).collect();
    numbers.sort_unstable();
    for number in &numbers {
        let last = Some(number) == numbers.last();
        let mut removed = Vec::new();
        let cut = journal::replay(storage, *number, last, |payload| {
            let (organisation, record) = record::take(payload)
                .map_err(|error| IndexError::corrupt(&journal::path(*number), 0, error.0))?;
            if let Record::Remove = record {
                removed.push(organisation);
            }
            apply(view, organisation, record, *number);
            Ok(())
        })?;
        if cut > 0 {
            tracing::info!(journal = number, bytes = cut, "cut off frames that no receipt covers");
        }
        finish_removals(storage, manifest, view, &removed)?;
    }
    let next = numbers.last().map_or(0, |last| last + 1);
    manifest.next_number = manifest.next_number.max(next);
    Ok(())
}

/// Takes a record into the view.
fn apply(view: &mut View, organisation: OrganisationId, record: Record, generation: u64) {
    match record {
        Record::Append { names, source, offsets, cells } => {
            let held = view.organisation_mut(organisation);
            learn(held, names, source, offsets);
            for CellRows { table, day, rows } in cells {
                let runs = &mut held.cell_mut(table, day).runs;
                runs.push(Arc::new(Run::from_sorted(rows, generation)));
                // Many small batches would leave as many runs to search.
                if runs.len() > 64 {
                    let merged = Run::merged(runs);
                    *runs = vec![Arc::new(merged)];
                }
            }
        }
        Record::Learn { names } => learn(view.organisation_mut(organisation), names, 0, Vec::new()),
        Record::Remove => drop(view.organisations.remove(&organisation)),
    }
}

fn learn(view: &OrganisationView, learned: LearnedNames, source: u16, offsets: Vec<Offset>) {
    let mut names = view.names.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (number, entry) in (learned.first..).zip(learned.entries) {
        names.replay_journalled(number, entry);
    }
    for offset in offsets {
        names.set_offset(source, offset.key, offset.position);
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
