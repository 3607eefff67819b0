//! The `Authorization` header of a source: whatever it holds, nothing panics, and no token comes out that did not go in; and whatever
//! a token is, it is found where Basic and API keys put it. Holds no expectations of whose it is.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use seenby_api::tokens;

/// Tokens up to this length fit into the longest header that is read.
const TOKEN_BYTES_MAX: usize = 700;

fuzz_target!(|bytes: &[u8]| {
    for token in tokens(bytes).into_iter().flatten() {
        assert!(token.len() < bytes.len(), "a token that is as long as its header");
    }
    if bytes.len() > TOKEN_BYTES_MAX {
        return;
    }
    let pair = STANDARD.encode([b"any:", bytes].concat());
    let basic = tokens(format!("Basic {pair}").as_bytes()).expect("a pair");
    assert_eq!(basic.first().map(Vec::as_slice), Some(bytes), "Basic");
    let key = tokens(format!("apikey {pair}").as_bytes()).expect("a pair or a token");
    assert!(key.iter().any(|token| token == bytes), "ApiKey");
});
