//! A store in this process, filled with the hot address and the many rare ones. Refuses to hold: what is asked of it.

use std::path::Path;

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
    let new = || Batch::new(organisation, SourceName::new("bench").expect("a sound name"));
    let (mut batch, mut count) = (new(), 0);
    for (address, device, second) in sightings {
        let agent = device.agent_id();
        let agent = str::from_utf8(&agent).expect("hexadecimal digits");
        let identity = batch.identity(Identity::new(IdentityKind::AgentId, agent).expect("a sound name"));
        batch.sighted(address, identity, second);
        count += 1;
        if batch.sightings().len() == BATCH_SIGHTINGS {
            let _ = store.append_now(&std::mem::replace(&mut batch, new()))?;
        }
    }
    let _ = store.append_now(&batch)?;
    Ok(count)
}

/// 50,000 devices over 30 days, with so many rare addresses for each device and day.
pub(crate) fn hot_set(rare_per_device_day: u32) -> HotSet {
    HotSet { rare_per_device_day, ..fleet::hot_set(7, 50_000, 30) }
}
