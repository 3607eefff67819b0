//! A Parquet file: whatever its bytes are, nothing panics or asks for more memory than a file of this size can need, and each row that
//! is given out is told of exactly once. Holds no expectations of content. The seeds are what `crates/formats/tests/columnar.rs` writes.

#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use seenby_formats::{ColumnMap, Columnar, Opened, Passed, Refusal, Settings, Sink, Taught, Wanted, decode};

fuzz_target!(|file: &[u8]| {
    // A panic of the library is damage, and caught; any other still ends the run.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let file = bytes::Bytes::copy_from_slice(file);
    let Ok(mut rows) = Columnar::open(file, Wanted::Detect, &ColumnMap::default()) else { return };
    let settings = Settings::default();
    let mut told = Told(0);
    // A few kilobytes may say billions of times that there is nothing.
    for _ in 0..3 {
        match rows.next_chunk() {
            Some(Ok(chunk)) => decode(&chunk, &settings, &mut told),
            Some(Err(damage)) => assert!(!damage.to_string().is_empty()),
            None => break,
        }
    }
    assert_eq!(told.0 + 1, rows.next_row(), "a row was told of more than once, or never");
});

/// How often it was told of something.
struct Told(u64);

impl Sink for Told {
    fn taught(&mut self, _: &Taught<'_>) {
        self.0 += 1;
    }

    fn opened(&mut self, _: &Opened<'_>) {
        self.0 += 1;
    }

    fn ignored(&mut self, _: &Passed<'_>) {
        self.0 += 1;
    }

    fn refused(&mut self, _: Refusal, _: u64, _: Option<&'static str>) {
        self.0 += 1;
    }
}
