//! A host as requests and settings write it: a DNS name or an address, with an optional port, in one form in which two
//! can be compared. Refuses to hold: which hosts are ours (`endpoints`, `called`), and look-ups of names.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// DNS names have at most 253 characters; a last dot, a port and brackets need a few more.
const BYTES_MAX: usize = 264;

/// Whom a URL or a `Host` header names.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Name<'a> {
    Address(IpAddr),
    /// In lower case, without its last dot.
    Dns(Cow<'a, str>),
}

/// A name with the port that stands behind it, if one does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Host<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) port: Option<u16>,
}

impl Host<'_> {
    /// What `name`, `name:443`, `192.0.2.7:8787` or `[2001:db8::7]` names. `None` is no host: an empty one, one with a user
    /// or a path, an address that is not written as one. Nothing is allocated for one in lower case.
    pub(crate) fn parse(text: &str) -> Option<Host<'_>> {
        if text.len() > BYTES_MAX {
            return None;
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = if rest.is_empty() { None } else { port(rest.strip_prefix(':')?)? };
            return Some(Host { name: Name::Address(IpAddr::V6(address).to_canonical()), port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, after)) => (name, port(after)?),
            None => (text, None),
        };
        Some(Host { name: Name::parse(name)?, port })
    }

    /// The same, kept.
    pub(crate) fn into_owned(self) -> Host<'static> {
        let name = match self.name {
            Name::Address(address) => Name::Address(address),
            Name::Dns(name) => Name::Dns(Cow::Owned(name.into_owned())),
        };
        Host { name, port: self.port }
    }
}

/// As a URL has it.
impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Name::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Name::Dns(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Name<'_> {
    fn parse(text: &str) -> Option<Name<'_>> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Name::Address(address.into()));
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_allowed) {
            return None;
        }
        let has_capitals = text.bytes().any(|byte| byte.is_ascii_uppercase());
        Some(Name::Dns(if has_capitals {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }))
    }
}

/// The port behind a colon; behind a colon alone there is none, as URLs have it. The outer `None` is no port.
fn port(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, port: Option<u16>) {
        let host = Host::parse(text).unwrap_or_else(|| panic!("{text}"));
        let shown = match &host.name {
            Name::Address(address) => address.to_string(),
            Name::Dns(name) => name.to_string(),
        };
        assert_eq!((shown.as_str(), host.port), (name, port), "{text}");
    }

    #[test]
    fn hosts() {
        check("seenby.example.org", "seenby.example.org", None);
        check("SeenBy.Example.ORG.:8787", "seenby.example.org", Some(8787));
        check("192.0.2.7:80", "192.0.2.7", Some(80));
        check("[2001:DB8:0::7]", "2001:db8::7", None);
        check("[::1]:8787", "::1", Some(8787));
        check("[::ffff:192.0.2.7]:1", "192.0.2.7", Some(1));
        check("log_1:", "log_1", None);
        // No address, though some programs take it for one: a name that nobody lists.
        check("127.1", "127.1", None);
        check("0x7f000001", "0x7f000001", None);
    }

    #[test]
    fn what_is_no_host() {
        for text in [
            "",
            ".",
            ":80",
            "a:b",
            "a:80:80",
            "a:+80",
            "a:65536",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]:x",
            "[a]",
            "u@h",
            "h/p",
            "h?",
            "h#",
            "a b",
            "a\"",
            "a,b",
            "bücher.example",
            "a%2e",
            "[fe80::1%25eth0]",
            "*.example",
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
        assert_eq!(Host::parse(&"a".repeat(265)), None);
    }
}
