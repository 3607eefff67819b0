//! What is common to all fields that hold text: the spellings of "nothing here", and names of devices. Refuses to
//! hold: the canonical forms of names (`sighting::Identity`).

use sighting::{IdentityKind, Mention, NAME_BYTES_MAX};

use crate::record::{Fault, Mentions, Refusal};

/// The text of a field unless it says "nothing here".
#[inline]
pub(crate) fn present(text: &str) -> Option<&str> {
    let text = if may_be_padded(text) { text.trim() } else { text };
    (!is_null(text)).then_some(text)
}

/// Whether an end of the text is, or may be, white space. Nearly never.
#[inline]
fn may_be_padded(text: &str) -> bool {
    let is_plain = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_graphic);
    !is_plain(text.as_bytes().first()) || !is_plain(text.as_bytes().last())
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
        // Rare kinds: let the vocabulary decide.
        IdentityKind::Mac | IdentityKind::Address => sighting::Identity::new(kind, written).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_here() {
        for text in ["", "-", "(empty)", "N/A", " - ", "null"] {
            assert_eq!(present(text), None, "{text:?}");
        }
        assert_eq!(present(" x "), Some("x"));
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
