//! SQLite in this process: every (address, second, device) in the order in which it is asked for, without a second copy. Refuses to
//! hold: names of devices, which are numbers already.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{Asked, Corpus, Loaded, Peer, Told};

/// An open database.
pub(super) struct Sqlite {
    path: PathBuf,
    connection: Connection,
}

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -1000000;
    PRAGMA mmap_size = 4000000000;
    CREATE TABLE seen (ip BLOB NOT NULL, second INTEGER NOT NULL, device INTEGER NOT NULL, PRIMARY KEY (ip, second, device)) WITHOUT ROWID";
const ADD: &str = "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)";
const ASK: &str = "
    SELECT count(DISTINCT device), coalesce(min(second), 0), coalesce(max(second), 0) FROM seen
    WHERE ip = ? AND second BETWEEN ? AND ?";

impl Sqlite {
    pub(super) fn new(folder: &Path) -> anyhow::Result<Sqlite> {
        let path = folder.join("seen.sqlite");
        let connection = Connection::open(&path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Sqlite { path, connection })
    }
}

impl Peer for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn takes_file(&self) -> bool {
        false
    }

    fn knows_first(&self) -> bool {
        true
    }

    fn load(&mut self, corpus: &Corpus<'_>) -> anyhow::Result<Loaded> {
        let begun_at = Instant::now();
        // Rows in the order of the key are several times as fast.
        let mut rows: Vec<_> = corpus.sightings().collect();
        rows.sort_unstable_by_key(|(address, device, second)| (*address, *second, device.0));
        let transaction = self.connection.transaction()?;
        {
            let mut add = transaction.prepare(ADD)?;
            for (address, device, second) in rows {
                add.execute(params![address.octets(), second.unix(), device.0])?;
            }
        }
        transaction.commit()?;
        self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(Loaded { took: begun_at.elapsed(), bytes: Some(std::fs::metadata(&self.path)?.len()) })
    }

    fn ask(&mut self, questions: &[Asked]) -> anyhow::Result<Vec<(Duration, Told)>> {
        let mut ask = self.connection.prepare_cached(ASK)?;
        let mut told = Vec::new();
        for asked in questions {
            let begun_at = Instant::now();
            let window = params![asked.address.octets(), asked.since.unix(), asked.until.unix()];
            let one = ask.query_row(window, |row| {
                Ok(Told { devices: row.get(0)?, first: row.get(1)?, last: row.get(2)? })
            })?;
            told.push((begun_at.elapsed(), one));
        }
        Ok(told)
    }
}
