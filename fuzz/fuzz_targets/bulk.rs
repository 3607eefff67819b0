//! A body of Elasticsearch's `_bulk`: nothing panics, where it is cut makes no difference, no document has a line end in it, and the
//! answer is JSON, with an item for each document at least. Holds no expectations of content.

#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use seenby_api::Protocol;

fuzz_target!(|body: &[u8]| {
    let unwrapped = support::whole(Protocol::Bulk, body);
    assert!(unwrapped.documents.iter().all(|(document, _)| !document.contains(&b'\n')));
    let Ok(answer) = unwrapped.answer else { return };
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("the answer is JSON");
    let items = answer["items"].as_array().expect("the answer has items").len();
    assert!(items >= unwrapped.documents.len(), "{items} items of {}", unwrapped.documents.len());
});
