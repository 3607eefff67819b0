//! A line with whatever header of syslog before it: nothing panics, the message is the end of the line, and one that has no header
//! comes out of a header as it went in. Holds no expectations of what a header is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seenby_formats::behind_syslog_header;

const HEADERS: [&str; 2] = ["<14>1 2031-03-04T10:01:02Z fw-1 app - - - ", "120 <14>1 - - - - - [a b=\"]\"] "];

fuzz_target!(|bytes: &[u8]| {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    let message = behind_syslog_header(line);
    assert!(line.ends_with(message), "a message that is no end of its line");
    let is_bare = message == behind_syslog_header(message) && !message.starts_with('\u{feff}');
    for header in HEADERS.into_iter().filter(|_| is_bare) {
        assert_eq!(behind_syslog_header(&format!("{header}{message}")), message, "{header}");
    }
});
