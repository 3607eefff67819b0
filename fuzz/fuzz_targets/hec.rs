//! A body of events of Splunk's HEC: nothing panics, where it is cut makes no difference, and no document is blank. Holds no
//! expectations of content.

#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use seenby_api::Protocol;

fuzz_target!(|body: &[u8]| {
    let unwrapped = support::whole(Protocol::Hec, body);
    assert!(unwrapped.documents.iter().all(|(document, _)| !document.trim_ascii().is_empty()));
});
