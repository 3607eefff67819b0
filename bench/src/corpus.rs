//! Logs of a simulated fleet at the rates that were measured on real networks, as files and as streams. Refuses to
//! hold: the fleet itself (`fleet`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fleet::{DeviceNumber, Fleet, HotSet, Kind, Settings, zeek_header};
use sighting::{Address, Second};

use crate::entropy::Universe;

/// Writes a hot set as Defender's storage NDJSON in rows of about 600 bytes.
pub(crate) fn hot_file(folder: &Path, set: HotSet) -> anyhow::Result<PathBuf> {
    let path = folder.join("hot.json");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).context("the log cannot be made")?);
    let mut line = Vec::new();
    for event in set.events(600) {
        line.clear();
        event.write_mde(&mut line);
        file.write_all(&line)?;
    }
    file.into_inner().context("the log cannot be written")?.sync_all()?;
    Ok(path)
}

/// A log: which sensor wrote it, and of how many devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    /// As in the names of figures.
    pub(crate) name: &'static str,
    devices: u32,
    sensor: Sensor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sensor {
    /// Defender's storage NDJSON in rows of about so many bytes.
    Mde(u16),
    /// Zeek's conn.log as tab-separated values.
    ZeekTsv,
}

impl Log {
    /// Defender's rows as small as they come.
    pub(crate) const MDE: Log = Log { name: "mde.600", devices: 10_000, sensor: Sensor::Mde(600) };
    /// Of a small organisation.
    pub(crate) const MDE_SMALL: Log = Log { name: "mde.600.1k", devices: 1_000, ..Log::MDE };
    /// Of a large one.
    pub(crate) const MDE_LARGE: Log = Log { name: "mde.600.65k", devices: 65_000, ..Log::MDE };
    /// With all that is told of processes.
    pub(crate) const MDE_LONG: Log = Log { name: "mde.2000", sensor: Sensor::Mde(2_000), ..Log::MDE };
    /// Zeek's.
    pub(crate) const ZEEK: Log = Log { name: "zeek.tsv", devices: 10_000, sensor: Sensor::ZeekTsv };

    /// Enough days for that many records.
    fn settings(self, records: u64) -> Settings {
        // A day of 10,000 devices has about a million records by Defender; more by Zeek.
        let days = (records / (50 * u64::from(self.devices))).clamp(2, 365) as u32;
        let measured = Settings { devices: self.devices, days, ..Settings::measured() };
        match self.sensor {
            Sensor::Mde(bytes) => Settings { mde_share: 1.0, mde_row_bytes: bytes, ..measured },
            // With a fifth of the noise from outside that captures of open networks have, 72 of 100 lines are sighted.
            Sensor::ZeekTsv => Settings { mde_share: 0.0, thinning: 0.2, ..measured },
        }
    }

    /// What the first so many records were chosen from.
    pub(crate) fn universe(self, records: u64) -> Universe {
        let settings = self.settings(records);
        // The first and the last day are parts of days.
        Universe { devices: settings.devices, days: settings.days + 1 }
    }

    /// What the first so many records tell.
    pub(crate) fn opened(self, records: u64) -> Vec<(Address, DeviceNumber, Second)> {
        let fleet = Fleet::new(self.settings(records));
        let events = fleet.events().take(records as usize).filter(|event| event.kind == Kind::Opened);
        events.map(|event| (event.remote, event.device, event.second)).collect()
    }

    /// Whether they tell names that agents carry.
    pub(crate) fn has_names(self) -> bool {
        self.sensor != Sensor::ZeekTsv
    }

    /// Hands out the first so many records of the fleet's log in blocks of whole lines. Answers how many there were.
    pub(crate) fn blocks(
        self,
        records: u64,
        out: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        const BLOCK_BYTES: usize = 1 << 18;
        let mut block = Vec::with_capacity(BLOCK_BYTES + (8 << 10));
        if self.sensor == Sensor::ZeekTsv {
            zeek_header(&mut block);
        }
        let mut count = 0;
        for event in Fleet::new(self.settings(records)).events().take(usize::try_from(records)?) {
            event.write(&mut block);
            count += 1;
            if block.len() >= BLOCK_BYTES {
                out(&block)?;
                block.clear();
            }
        }
        out(&block)?;
        Ok(count)
    }

    /// Writes a log of so many records into a folder.
    pub(crate) fn file(self, folder: &Path, records: u64) -> anyhow::Result<PathBuf> {
        let path = folder.join(format!("{}.log", self.name));
        let mut file = BufWriter::new(File::create(&path).context("the log cannot be made")?);
        let written = self.blocks(records, &mut |block| Ok(file.write_all(block)?))?;
        anyhow::ensure!(written == records, "the fleet has {written} records, {records} are wanted");
        file.into_inner().context("the log cannot be written")?.sync_all()?;
        Ok(path)
    }
}
