//! A body of OTLP logs, in JSON if it begins like it, else in protobuf: nothing panics, where it is cut makes no difference, and every
//! document is one line of text. Holds no expectations of content.

#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use seenby_api::Protocol;

fuzz_target!(|body: &[u8]| {
    let protocol = if body.starts_with(b"{") { Protocol::OtlpJson } else { Protocol::OtlpProtobuf };
    let unwrapped = support::whole(protocol, body);
    for (document, _) in unwrapped.documents {
        let text = std::str::from_utf8(&document).expect("a document is text");
        assert!(!text.contains('\n'), "a document has a line end in it");
    }
});
