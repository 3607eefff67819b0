//! Inputs cut into pieces by their own last bytes, so that any file is an input. Holds nothing of what is read.
#![allow(dead_code, reason = "every target uses its own part")]

use seenby_api::{Protocol, Unwrapped, unwrapped};

/// The same bytes in up to five pieces.
pub fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let last = bytes.len().saturating_sub(8);
    let numbers = bytes[last..].chunks_exact(2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut places: Vec<usize> = numbers.map(|number| number % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// What a body holds, wherever it is cut.
pub fn whole(protocol: Protocol, body: &[u8]) -> Unwrapped {
    let whole = unwrapped(protocol, [body]);
    assert_eq!(whole, unwrapped(protocol, pieces(body)), "where it is cut makes a difference");
    whole
}
