//! The names by which a record calls a device, each of a kind, in canonical form; and the one way in which names
//! that came from data are shown. Refuses to hold: the joining of names to devices (the registry of a `Store`).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::Address;

/// The longest name that is taken from data, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// What kind of name it is, the strongest first: a record's sighting is kept under its strongest identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IdentityKind {
    /// The product's own device id (never a shipper's).
    AgentId,
    /// A host name with its domain.
    Fqdn,
    /// A host name without a domain.
    HostName,
    /// A hardware address.
    Mac,
    /// A network address of the device itself.
    Address,
}

impl IdentityKind {
    /// Every kind, strongest first.
    pub const ALL: [IdentityKind; 5] = [
        IdentityKind::AgentId,
        IdentityKind::Fqdn,
        IdentityKind::HostName,
        IdentityKind::Mac,
        IdentityKind::Address,
    ];

    /// The word for it in tables, JSON and files: `agent_id`, `fqdn`, `host_name`, `mac`, `address`.
    pub const fn word(self) -> &'static str {
        match self {
            IdentityKind::AgentId => "agent_id",
            IdentityKind::Fqdn => "fqdn",
            IdentityKind::HostName => "host_name",
            IdentityKind::Mac => "mac",
            IdentityKind::Address => "address",
        }
    }

    /// The kind of a [`word`](IdentityKind::word).
    pub fn from_word(word: &str) -> Option<IdentityKind> {
        IdentityKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One canonical name of a device. Two spellings of one name (case, trailing dot, address form) are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    kind: IdentityKind,
    name: Box<str>,
}

impl Identity {
    /// From a kind and a name as a record writes it; `None` if the name is empty, a null marker, longer than
    /// [`NAME_BYTES_MAX`] or not of its kind (an address that is none, a MAC that is none).
    ///
    /// Host names are trimmed, lower-cased and lose their trailing dot; with a dot inside they are [`IdentityKind::Fqdn`], without
    /// one [`IdentityKind::HostName`], whichever of the two was said.
    pub fn new(kind: IdentityKind, written: &str) -> Option<Identity> {
        let written = written.trim();
        if is_null(written) || written.len() > NAME_BYTES_MAX {
            return None;
        }
        match kind {
            IdentityKind::AgentId => Some(Identity { kind, name: written.to_ascii_lowercase().into() }),
            IdentityKind::Fqdn | IdentityKind::HostName => host(written),
            IdentityKind::Mac => mac(written),
            IdentityKind::Address => Address::parse_logged(written.as_bytes()).map(Identity::from),
        }
    }

    /// From the canonical parts that [`Identity::kind`] and [`Identity::name`] gave, for codecs.
    pub fn from_parts(kind: IdentityKind, name: &str) -> Identity {
        Identity { kind, name: name.into() }
    }

    /// Its kind.
    pub const fn kind(&self) -> IdentityKind {
        self.kind
    }

    /// Its canonical name, raw: show it through [`escape`] or this type's `Display`.
    pub const fn name(&self) -> &str {
        &self.name
    }
}

impl From<Address> for Identity {
    fn from(address: Address) -> Identity {
        Identity { kind: IdentityKind::Address, name: address.to_string().into() }
    }
}

/// The name, escaped for any exit.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.name))
    }
}

/// A name as a record writes it, borrowed from the record, not yet canonical.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mention<'a> {
    /// What kind of name the field holds. For host names either kind may be said.
    pub kind: IdentityKind,
    /// The field's text.
    pub written: &'a str,
}

/// The spellings by which logs say "nothing here".
fn is_null(text: &str) -> bool {
    matches!(text, "" | "-" | "(empty)" | "N/A" | "null")
}

fn host(written: &str) -> Option<Identity> {
    let trimmed = written.strip_suffix('.').unwrap_or(written);
    if trimmed.is_empty() {
        return None;
    }
    // An address in a host-name field is an address.
    if let Some(address) = Address::parse_logged(trimmed.as_bytes()) {
        return Some(Identity::from(address));
    }
    let name = trimmed.to_lowercase();
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let kind = if name.contains('.') { IdentityKind::Fqdn } else { IdentityKind::HostName };
    Some(Identity { kind, name: name.into() })
}

/// Six octets in hexadecimal, separated by `:` or `-` or by nothing, printed as `00:0d:3a:13:e3:69`.
fn mac(written: &str) -> Option<Identity> {
    if written.len() == 12 && written.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let octets: Vec<&str> = (0..6).filter_map(|octet| written.get(octet * 2..octet * 2 + 2)).collect();
        return mac(&octets.join(":"));
    }
    let mut name = String::with_capacity(17);
    for (index, octet) in written.split([':', '-']).enumerate() {
        let valid = octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit()) && index < 6;
        if !valid {
            return None;
        }
        if index > 0 {
            name.push(':');
        }
        name.push_str(&octet.to_ascii_lowercase());
    }
    (name.len() == 17 && name != "00:00:00:00:00:00")
        .then(|| Identity { kind: IdentityKind::Mac, name: name.into() })
}

/// Text from data made safe for a terminal, a log, CSV, syslog, a page or a metric label: control, bidirectional
/// and other invisible formatting characters, and the backslash that announces them, become `\u{..}` escapes.
/// Ordinary names are returned as they are, without a copy.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_dangerous(c) => {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Characters that move a cursor, change the reading direction, or cannot be seen.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || c == '\\'
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: IdentityKind, written: &str, expected: Option<(IdentityKind, &str)>) {
        let got = Identity::new(kind, written);
        assert_eq!(got.as_ref().map(|identity| (identity.kind(), identity.name())), expected, "{written:?}");
    }

    #[test]
    fn names_become_canonical() {
        use IdentityKind::{Address, AgentId, Fqdn, HostName, Mac};
        check(AgentId, "AA11BB", Some((AgentId, "aa11bb")));
        check(HostName, " PC-17.Example.ORG. ", Some((Fqdn, "pc-17.example.org")));
        check(Fqdn, "PC-17", Some((HostName, "pc-17")));
        check(HostName, "10.1.2.3", Some((Address, "10.1.2.3")));
        check(Mac, "00-0D-3A-13-E3-69", Some((Mac, "00:0d:3a:13:e3:69")));
        check(Mac, "000D3A13E369", Some((Mac, "00:0d:3a:13:e3:69")));
        check(Mac, "000D3A13E36", None);
        check(Address, "2001:db8:0:0:0:0:0:5", Some((Address, "2001:db8::5")));
        for nothing in ["", "-", "(empty)", "N/A", "  "] {
            check(HostName, nothing, None);
        }
        check(Mac, "00:00:00:00:00:00", None);
        check(Mac, "00:0d:3a:13:e3", None);
        check(Mac, "00:0d:3a:13:e3:69:77", None);
        check(AgentId, &"x".repeat(256), None);
        check(HostName, ".", None);
    }

    #[test]
    fn hostile_names_are_shown_as_text() {
        let hostile = "\u{1b}]0;x\u{7}\n|=CEF:0\u{202e}\u{2066}";
        assert_eq!(escape(hostile), r"\u{1b}]0;x\u{7}\n|=CEF:0\u{202e}\u{2066}");
        assert_eq!(escape(r"a\nb"), r"a\u{5c}nb", "an escape in the data is not mistaken for ours");
        assert!(matches!(escape("pc-17.пример"), Cow::Borrowed(_)));
    }
}
