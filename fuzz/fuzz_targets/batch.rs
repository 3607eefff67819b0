//! A batch as it travels to a running server, whose bytes have no checksum: what is taken for one is written again as the same.
//! Holds nothing of pages and segments, whose bytes have passed a checksum before anybody reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seenby_index::codec::{decode_batch, encode_batch};

fuzz_target!(|bytes: &[u8]| {
    let Ok(batch) = decode_batch(bytes) else { return };
    let again = encode_batch(&batch);
    let back = decode_batch(&again).expect("what we wrote can be read");
    assert_eq!(encode_batch(&back), again);
});
