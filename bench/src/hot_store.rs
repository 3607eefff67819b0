//! A store in this process, filled with the hot address and the many rare ones. Refuses to hold: what is asked of it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fleet::{DeviceNumber, HotSet};
use index::{DataFolder, IndexStore, Options};
use sighting::{Address, Batch, Identity, IdentityKind, OrganisationId, Second, SourceName};

/// Sightings in one batch: a receipt for each is a sync, and few enough that memory holds several.
const BATCH_SIGHTINGS: usize = 262_144;

/// Opens a data folder.
pub(crate) fn open(path: &Path) -> anyhow::Result<DataFolder> {
    Ok(DataFolder::open(path, Options::default())?)
}

/// Appends sightings of a set to the store until there are no more.
pub(crate) fn fill(
    store: &IndexStore,
    organisation: OrganisationId,
    sightings: impl Iterator<Item = (Address, DeviceNumber, Second)>,
) -> anyhow::Result<u64> {
    fill_with(store, batches(organisation, sightings))
}

/// Appends batches one after the other; how many sightings.
pub(crate) fn fill_with(store: &IndexStore, batches: impl Iterator<Item = Batch>) -> anyhow::Result<u64> {
    let mut count = 0;
    for batch in batches {
        count += store.append_now(&batch)?.sightings;
    }
    Ok(count)
}

/// Appends batches on so many threads, and hands memory to segments.
pub(crate) fn append(store: &IndexStore, batches: &[Batch], threads: usize) -> anyhow::Result<u64> {
    let next = AtomicUsize::new(0);
    let append = || {
        // As the server's threads do that take batches in.
        index::give_way();
        let mut sightings = 0;
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            sightings += store.append_now(batch)?.sightings;
        }
        anyhow::Ok(sightings)
    };
    let sightings = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(append)).collect();
        let counts = threads.into_iter().map(|thread| thread.join().expect("appending does not panic"));
        counts.sum::<anyhow::Result<u64>>()
    })?;
    store.flush()?;
    Ok(sightings)
}

/// Sightings of a set in batches.
pub(crate) fn batches(
    organisation: OrganisationId,
    sightings: impl Iterator<Item = (Address, DeviceNumber, Second)>,
) -> impl Iterator<Item = Batch> {
    batches_of(organisation, sightings, |batch, device, _| agent(batch, device))
}

/// The same from two sensors: one in ten devices is seen by its host name on every other day, and every agent carries its name.
pub(crate) fn joined_batches(
    organisation: OrganisationId,
    sightings: impl Iterator<Item = (Address, DeviceNumber, Second)>,
) -> impl Iterator<Item = Batch> {
    batches_of(organisation, sightings, |batch, device, second| {
        let agent = agent(batch, device);
        let name = format!("pc-{}.example.org", device.0);
        let name = batch.identity(Identity::new(IdentityKind::Fqdn, &name).expect("a sound name"));
        batch.carried(name, agent, second);
        let is_by_name = device.0.is_multiple_of(10) && second.day().number().is_multiple_of(2);
        if is_by_name { name } else { agent }
    })
}

fn agent(batch: &mut Batch, device: DeviceNumber) -> u32 {
    let agent = device.agent_id();
    let agent = str::from_utf8(&agent).expect("hexadecimal digits");
    batch.identity(Identity::new(IdentityKind::AgentId, agent).expect("a sound name"))
}

/// Sightings in batches by whichever identity each is told of.
fn batches_of(
    organisation: OrganisationId,
    sightings: impl Iterator<Item = (Address, DeviceNumber, Second)>,
    identity: impl Fn(&mut Batch, DeviceNumber, Second) -> u32,
) -> impl Iterator<Item = Batch> {
    let mut sightings = sightings.peekable();
    std::iter::from_fn(move || {
        sightings.peek()?;
        let mut batch = Batch::new(organisation, SourceName::new("bench").expect("a sound name"));
        for (address, device, second) in sightings.by_ref().take(BATCH_SIGHTINGS) {
            let identity = identity(&mut batch, device, second);
            batch.sighted(address, identity, second);
        }
        Some(batch)
    })
}

/// 50,000 devices over 30 days, with so many rare addresses for each device and day.
pub(crate) fn hot_set(rare_per_device_day: u32) -> HotSet {
    HotSet { rare_per_device_day, ..fleet::hot_set(7, 50_000, 30) }
}
