//! What is common to all fields that hold text: the spellings of "nothing here", and names of devices. Refuses to
//! hold: the canonical forms of names (`sighting::Identity`).

use sighting::{Address, IdentityKind, Mention, NAME_BYTES_MAX};

use crate::blocks::first_of;
use crate::record::{Fault, Mentions, Refusal};

/// The text of a field unless it says "nothing here".
#[inline]
pub(crate) fn present(text: &str) -> Option<&str> {
    let text = trimmed(text);
    (!is_null(text)).then_some(text)
}

/// The text without white space around it: like [`str::trim`], but for the usual text, which has none, without a look at letters.
#[inline]
pub(crate) fn trimmed(text: &str) -> &str {
    if may_be_padded(text) { text.trim() } else { text }
}

/// Whether an end of the text is, or may be, white space. Nearly never.
#[inline]
fn may_be_padded(text: &str) -> bool {
    let is_plain = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_graphic);
    !is_plain(text.as_bytes().first()) || !is_plain(text.as_bytes().last())
}

/// Whether a text begins with a word, case aside.
pub(crate) fn begins(text: &str, word: &str) -> bool {
    text.as_bytes().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

/// The spellings by which logs say "nothing here".
pub(crate) fn is_null(text: &str) -> bool {
    // No name and no address is a single character of these, so the length decides nearly always.
    match text.len() {
        0 => true,
        1 => text == "-",
        3 => text == "N/A",
        4 => text == "null",
        7 => text == "(empty)",
        _ => false,
    }
}

/// Whether a text reads as an address. Such begin with a digit or hold a colon, as hardly any name does.
pub(crate) fn is_address(text: &str) -> bool {
    let bytes = text.as_bytes();
    let may_be_one =
        bytes.first().is_some_and(u8::is_ascii_digit) || first_of(bytes, 0, [b':']) < bytes.len();
    may_be_one && Address::parse_logged(bytes).is_some()
}

/// Whether a text is six octets in hexadecimal, not all zero, with nothing between them or a colon or a dash.
pub(crate) fn is_mac(text: &str) -> bool {
    let octets = match text.len() {
        12 => 2,
        17 => 3,
        _ => return false,
    };
    let is_octet = |octet: &[u8]| match octet {
        [high, low] | [high, low, b':' | b'-'] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    };
    text.as_bytes().chunks(octets).all(is_octet)
        && text.bytes().any(|byte| !matches!(byte, b'0' | b':' | b'-'))
}

/// The names of a device, collected from the fields of a record.
#[derive(Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    mentions: Mentions<'a>,
    /// A field that holds a name which cannot be one.
    bad: Option<&'static str>,
}

impl<'a> Names<'a> {
    /// Adds the name in a field; null markers add nothing.
    pub(crate) fn add(&mut self, kind: IdentityKind, written: &'a str, field: &'static str) {
        let Some(written) = present(written) else { return };
        if is_sound(kind, written) {
            self.mentions.push(Mention { kind, written });
        } else {
            self.bad = Some(field);
        }
    }

    /// The names, of which there is at least one.
    pub(crate) fn required(&self, field: &'static str) -> Result<Mentions<'a>, Fault> {
        match self.bad {
            _ if !self.mentions.is_empty() => Ok(self.mentions),
            Some(bad) => Err(Fault::of(Refusal::BadDevice, bad)),
            None => Err(Fault::of(Refusal::NoDevice, field)),
        }
    }
}

/// Whether a name can become an identity of its kind, without building it.
fn is_sound(kind: IdentityKind, written: &str) -> bool {
    match kind {
        IdentityKind::Fqdn | IdentityKind::HostName => {
            // Lower-casing can lengthen a name that is not ASCII, hence the slack.
            let longest = if written.is_ascii() { NAME_BYTES_MAX } else { NAME_BYTES_MAX / 2 };
            written.len() <= longest && written != "."
        }
        IdentityKind::AgentId => written.len() <= NAME_BYTES_MAX,
        IdentityKind::Address => written.len() <= NAME_BYTES_MAX && is_address(written),
        IdentityKind::Mac => is_mac(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_here() {
        for text in ["", "-", "(empty)", "N/A", " - ", "null"] {
            assert_eq!(present(text), None, "{text:?}");
        }
        assert_eq!(present(" x "), Some("x"));
    }

    proptest! {
        /// The vocabulary knows all kinds; what is quicker here must agree with it.
        #[test]
        fn addresses_are_what_the_vocabulary_takes_for_one(text in "[0-9a-f:.%g ]{0,20}|[0-9.]{7,15}|::[0-9a-f:%]{0,300}") {
            let known = Address::parse_logged(text.as_bytes());
            prop_assert_eq!(is_address(&text), known.is_some());
            if let Some(written) = present(&text) {
                let identity = sighting::Identity::new(IdentityKind::Address, written);
                prop_assert_eq!(is_sound(IdentityKind::Address, written), identity.is_some());
            }
        }
    }

    proptest! {
        #[test]
        fn hardware_addresses_are_what_the_vocabulary_takes_for_one(text in "([0-9a-fF]{2}[:\\-]){5}[0-9a-g]{2}|[0-9A-Fg]{11,13}|(00[:x-]?){5,6}") {
            let identity = sighting::Identity::new(IdentityKind::Mac, &text);
            prop_assert_eq!(is_mac(&text), identity.is_some(), "{}", text);
        }
    }

    #[test]
    fn a_bad_name_beside_a_good_one_is_dropped() {
        let long = "x".repeat(256);
        let mut names = Names::default();
        names.add(IdentityKind::HostName, &long, "DeviceName");
        assert_eq!(names.required("d").expect_err("no good name").refusal, Refusal::BadDevice);
        names.add(IdentityKind::AgentId, "a1", "DeviceId");
        assert_eq!(names.required("d").expect("one good name").len(), 1);
        assert_eq!(Names::default().required("d").expect_err("none").refusal, Refusal::NoDevice);
    }
}
