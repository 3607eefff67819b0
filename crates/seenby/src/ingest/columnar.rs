//! Parquet files: read row group by row group from the file itself, not as a stream. Refuses to hold: what rows mean and how they are
//! laid out (`formats::Columnar`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use formats::{Chunk, Columnar, ColumnarDamage, PARQUET_MAGIC};

use super::Plan;

/// A file that cannot be read, or not to its end.
pub(crate) const DAMAGED: &str = "damaged_parquet";

/// One that comes as a stream.
pub(super) const NEEDS_FILE: &str = "parquet_needs_file";

/// The file at a path, if it begins like Parquet. Pipes are not opened, because what was read of them is gone.
pub(super) fn file(path: Option<&Path>) -> io::Result<Option<File>> {
    let Some(path) = path.filter(|path| path.is_file()) else { return Ok(None) };
    let mut file = File::open(path)?;
    let mut magic = Vec::with_capacity(PARQUET_MAGIC.len());
    file.by_ref().take(PARQUET_MAGIC.len() as u64).read_to_end(&mut magic)?;
    Ok((magic == PARQUET_MAGIC).then_some(file))
}

/// Whether a stream begins like Parquet.
pub(super) fn begins(head: &[u8]) -> bool {
    head.starts_with(PARQUET_MAGIC)
}

/// Hands out the chunks of a file until there are no more or nobody wants them. Where it ends in damage: the row, and why.
pub(super) fn read(
    file: File,
    plan: &Plan,
    mut take: impl FnMut(Chunk) -> bool,
) -> Result<(), (u64, ColumnarDamage)> {
    let mut rows = Columnar::open(file, plan.wanted, &plan.formats.columns).map_err(|damage| (1, damage))?;
    while let Some(chunk) = rows.next_chunk() {
        if !take(chunk.map_err(|damage| (rows.next_row(), damage))?) {
            break;
        }
    }
    Ok(())
}
