//! Lines as messages of their own, one after another: whatever came before, each is read as if it had come alone. Holds no expectations
//! of what a message is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seenby_formats::{ColumnMap, Detection, HEAD_BYTES, Opening, Recogniser, Wanted, detect};

fuzz_target!(|bytes: &[u8]| {
    let columns = ColumnMap::default();
    let mut recogniser = Recogniser::new(&columns);
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| line.len() < HEAD_BYTES);
    lines.by_ref().take(64).for_each(|line| {
        let (record, opening) = recogniser.recognise(line, Wanted::Detect);
        let alone = match detect(&record, true, Wanted::Detect, &columns) {
            Detection::Known(opening) | Detection::Unknown(opening) => opening,
            Detection::NeedMore => Opening::UNRECOGNISED,
        };
        assert_eq!(opening, alone, "{:?}", String::from_utf8_lossy(line));
    });
});
