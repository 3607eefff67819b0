//! A stream of syslog messages, by length or by line: nothing panics, where the stream is cut makes no difference, and no message is
//! empty. The file is the program's own, which has no library. Holds no expectations of content.

#![no_main]

extern crate seenby_formats as formats;

mod support;

#[path = "../../crates/seenby/src/sources/messages.rs"]
mod messages;

use libfuzzer_sys::fuzz_target;
use messages::{Framed, Messages};

fuzz_target!(|stream: &[u8]| {
    let whole = read(&[stream]);
    assert_eq!(whole, read(&support::pieces(stream)), "where it is cut makes a difference");
    assert!(whole.iter().all(|message| !message.is_empty()));
});

/// Every message; what is too long is none, and longer than any input.
fn read(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut messages, mut found) = (Messages::default(), Vec::new());
    let mut out = |framed: Framed<'_>| match framed {
        Framed::Message(message) => found.push(message.to_vec()),
        Framed::TooLong => found.push(b"too long".to_vec()),
    };
    pieces.iter().for_each(|piece| messages.push(piece, &mut out));
    messages.finish(&mut out);
    found
}
