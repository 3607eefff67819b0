//! How long a server takes to be ready: on a folder with many sightings and as full a journal as there can be, and on a
//! journal of very many small batches, as a slow stream leaves. Refuses to hold: the server.

use index::Options;

use crate::results::{Better, Results};
use crate::{Given, hot_store};

/// Measures both.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    of_segments_and_journal(given, results)?;
    of_small_batches(given, results)
}

/// Fills a store, leaves it as a crash would, and starts a server on it.
fn of_segments_and_journal(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let Given { program, work, scale } = given;
    let root = tempfile::tempdir_in(work)?;
    let data_dir = root.path().join("data");
    let organisation = program.init(&data_dir)?;
    let journal_max = Options::default().live_rows_max;
    let wanted = scale.restart_sightings.max(journal_max);
    results.say(&format!("restart with {wanted} sightings, {} of them only in the journal", journal_max - 1));
    {
        let folder = hot_store::open(&data_dir)?;
        let store = folder.store();
        let mut sightings = hot_store::hot_set(16).sightings();
        let mut filled = 0;
        // In segments first, then as many as the journal takes before it is written to segments.
        let in_segments = usize::try_from(wanted - journal_max + 1)?;
        filled += hot_store::fill(&store, organisation, sightings.by_ref().take(in_segments))?;
        store.flush()?;
        let in_journal = usize::try_from(journal_max - 1)?;
        filled += hot_store::fill(&store, organisation, sightings.take(in_journal))?;
        anyhow::ensure!(filled == wanted, "the set has {filled} sightings, {wanted} are wanted");
        let figures = store.figures();
        results.say(&format!(
            "{} rows in {} segments, {} live",
            figures.segment_rows, figures.segments, figures.live_rows
        ));
    }
    let name = format!("restart.{}M", wanted / 1_000_000);
    results.add(name, program.best_ready(&data_dir)?, "s", Better::Lower, ("promise", 1.0));
    Ok(())
}

/// Many receipts for a few sightings each, all of them only in the journal.
fn of_small_batches(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let Given { program, work, scale } = given;
    let root = tempfile::tempdir_in(work)?;
    let data_dir = root.path().join("data");
    let organisation = program.init(&data_dir)?;
    let batches = scale.small_batches;
    results.say(&format!("restart with {batches} batches of 70 sightings in the journal"));
    {
        let folder = hot_store::open(&data_dir)?;
        let store = folder.store();
        let mut sightings = hot_store::hot_set(1).sightings();
        for _ in 0..batches {
            hot_store::fill(&store, organisation, sightings.by_ref().take(70))?;
        }
    }
    let name = format!("restart.batches.{}k", batches / 1_000);
    results.add(name, program.best_ready(&data_dir)?, "s", Better::Lower, ("promise", 1.0));
    Ok(())
}
