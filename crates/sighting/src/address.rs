//! IP addresses in one canonical form, and the networks that hold them. Refuses to hold: ports, zones (dropped when
//! a log is read, refused when a person asks), name resolution, and any opinion on which addresses matter.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address as 16 canonical bytes: IPv6 as it is, IPv4 in the mapped form (`::ffff:a.b.c.d`), so that the two
/// spellings of one IPv4 address are the same value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address([u8; 16]);

/// Why a text is not an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an IPv4 or IPv6 address")]
pub struct AddressError;

/// Remote addresses that name no peer on a network; ignored on entry unless a switch keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// `0.0.0.0` and `::`.
    Unspecified,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`.
    LinkLocal,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// `255.255.255.255`; directed broadcasts cannot be known without a netmask.
    Broadcast,
}

const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Address {
    /// An address as a person or a client writes it: nothing around it, no zone, no port, no prefix length, no
    /// leading zeros in a dotted quad.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Address::from(v4));
        }
        text.parse::<Ipv6Addr>().map(Address::from).map_err(|_| AddressError)
    }

    /// An address as a log writes it: like [`Address::parse`], and a zone (`%eth0`) is dropped.
    pub fn parse_logged(text: &[u8]) -> Option<Address> {
        if let Some(v4) = parse_dotted_quad(text) {
            return Some(v4);
        }
        let end = text.iter().position(|byte| *byte == b'%').unwrap_or(text.len());
        let text = str::from_utf8(&text[..end]).ok()?;
        Address::parse(text).ok()
    }

    /// From 16 bytes in network order; the mapped form is IPv4.
    pub const fn from_octets(octets: [u8; 16]) -> Address {
        Address(octets)
    }

    /// The 16 canonical bytes in network order.
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }

    /// Whether it is an IPv4 address.
    pub fn is_v4(self) -> bool {
        self.0[..12] == MAPPED
    }

    /// The same address as the standard library writes it.
    pub fn to_ip(self) -> IpAddr {
        if self.is_v4() {
            IpAddr::V4(Ipv4Addr::new(self.0[12], self.0[13], self.0[14], self.0[15]))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.0))
        }
    }

    /// What is special about it, if anything is.
    pub fn special(self) -> Option<Special> {
        match self.to_ip() {
            IpAddr::V4(v4) if v4.is_unspecified() => Some(Special::Unspecified),
            IpAddr::V4(v4) if v4.is_loopback() => Some(Special::Loopback),
            IpAddr::V4(v4) if v4.is_link_local() => Some(Special::LinkLocal),
            IpAddr::V4(v4) if v4.is_multicast() => Some(Special::Multicast),
            IpAddr::V4(v4) if v4.is_broadcast() => Some(Special::Broadcast),
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) if v6.is_unspecified() => Some(Special::Unspecified),
            IpAddr::V6(v6) if v6.is_loopback() => Some(Special::Loopback),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Special::LinkLocal),
            IpAddr::V6(v6) if v6.is_multicast() => Some(Special::Multicast),
            IpAddr::V6(_) => None,
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(v4: Ipv4Addr) -> Address {
        Address(v4.to_ipv6_mapped().octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(v6: Ipv6Addr) -> Address {
        Address(v6.octets())
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

/// RFC 5952; IPv4 as a dotted quad.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

/// The hot case of every log: four decimal octets without leading zeros, nothing else.
fn parse_dotted_quad(text: &[u8]) -> Option<Address> {
    if text.len() < 7 || text.len() > 15 {
        return None;
    }
    let mut octets = [0u8; 16];
    octets[10] = 0xff;
    octets[11] = 0xff;
    let (mut at, mut value, mut digits) = (12usize, 0u32, 0u32);
    for &byte in text {
        if byte.is_ascii_digit() {
            let leading_zero = digits == 1 && value == 0;
            value = value * 10 + u32::from(byte - b'0');
            digits += 1;
            if leading_zero || value > 255 {
                return None;
            }
        } else if byte == b'.' && digits > 0 && at < 15 {
            octets[at] = value as u8;
            at += 1;
            value = 0;
            digits = 0;
        } else {
            return None;
        }
    }
    if at != 15 || digits == 0 {
        return None;
    }
    octets[15] = value as u8;
    Some(Address(octets))
}

/// A network in CIDR form: every address that shares its first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    base: u128,
    /// Leading bits that must agree, counted in the 128-bit form (an IPv4 /24 is 120 here).
    bits: u32,
}

impl Network {
    /// `10.0.0.0/8`, `fc00::/7`, or a lone address. Bits outside the prefix are ignored.
    pub fn parse(text: &str) -> Result<Network, AddressError> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address = Address::parse(address)?;
        let width = if address.is_v4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(text) if text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse::<u32>().map_err(|_| AddressError)?
            }
            Some(_) => return Err(AddressError),
        };
        if prefix > width {
            return Err(AddressError);
        }
        Ok(Network::of(address, prefix + 128 - width))
    }

    fn of(address: Address, bits: u32) -> Network {
        Network { base: u128::from_be_bytes(address.0) & mask(bits), bits }
    }

    /// Whether an address lies inside.
    pub fn contains(&self, address: Address) -> bool {
        u128::from_be_bytes(address.0) & mask(self.bits) == self.base
    }
}

fn mask(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Address::from_octets(self.base.to_be_bytes());
        let bits = if address.is_v4() && self.bits >= 96 { self.bits - 96 } else { self.bits };
        write!(f, "{address}/{bits}")
    }
}

/// Which addresses are ours, for sensors that see both directions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LocalNetworks {
    /// No list was given: a record's own word counts, else RFC 1918 and ULA.
    #[default]
    Unstated,
    /// An operator's list: it wins over what a record says of itself.
    Listed(Vec<Network>),
}

impl LocalNetworks {
    /// Whether an address is ours, given what the record says of it (`local_orig` in Zeek).
    pub fn is_local(&self, address: Address, stated: Option<bool>) -> bool {
        match (self, stated) {
            (LocalNetworks::Listed(networks), _) => networks.iter().any(|network| network.contains(address)),
            (LocalNetworks::Unstated, Some(stated)) => stated,
            (LocalNetworks::Unstated, None) => is_private(address),
        }
    }
}

/// RFC 1918 and unique local addresses.
fn is_private(address: Address) -> bool {
    match address.to_ip() {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, printed: Option<&str>) {
        assert_eq!(Address::parse(text).ok().map(|a| a.to_string()).as_deref(), printed, "{text}");
    }

    #[test]
    fn what_a_person_may_write() {
        check("10.209.67.177", Some("10.209.67.177"));
        check("::ffff:10.0.0.1", Some("10.0.0.1"));
        check("::FFFF:0a00:0001", Some("10.0.0.1"));
        check("2001:0db8:0:0:0:0:0:5", Some("2001:db8::5"));
        check("2001:4860:4860:0000:0000:0000:0000:8888", Some("2001:4860:4860::8888"));
        for text in [
            "256.1.1.1",
            "010.1.1.1",
            "1.1.1",
            "10.0.0.0/8",
            "10.0.0.1:80",
            "fe80::1%eth0",
            "[::1]",
            "",
            " 1.1.1.1",
            "1.1.1.1\n",
            "0x7f.1",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn what_a_log_may_write() {
        assert_eq!(Address::parse_logged(b"fe80::1%eth0").map(|a| a.to_string()).as_deref(), Some("fe80::1"));
        assert_eq!(
            Address::parse_logged(b"fe80:0:0:0:0:0:0:1").map(|a| a.to_string()).as_deref(),
            Some("fe80::1")
        );
        for text in [&b"-"[..], b"(empty)", b"", b"1.2.3.4.5", b"1..2.3", b"1.2.3.", b"\xff\xfe", b"01.2.3.4"]
        {
            assert_eq!(Address::parse_logged(text), None);
        }
    }

    #[test]
    fn special_remotes() {
        for (text, special) in [
            ("0.0.0.0", Some(Special::Unspecified)),
            ("::", Some(Special::Unspecified)),
            ("127.9.9.9", Some(Special::Loopback)),
            ("::1", Some(Special::Loopback)),
            ("169.254.169.254", Some(Special::LinkLocal)),
            ("fe80::1", Some(Special::LinkLocal)),
            ("239.255.255.250", Some(Special::Multicast)),
            ("ff02::1", Some(Special::Multicast)),
            ("255.255.255.255", Some(Special::Broadcast)),
            ("10.0.0.255", None),
            ("192.168.1.1", None),
        ] {
            assert_eq!(Address::parse(text).expect("valid").special(), special, "{text}");
        }
    }

    #[test]
    fn networks() {
        let inside = |network: &str, address: &str| {
            Network::parse(network).expect("valid").contains(Address::parse(address).expect("valid"))
        };
        assert!(inside("10.0.0.0/8", "10.255.1.2") && !inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "200.1.1.1") && !inside("0.0.0.0/0", "2001:db8::1"));
        assert!(inside("::/0", "200.1.1.1") && inside("fc00::/7", "fd12::1"));
        assert!(inside("147.32.83.234", "147.32.83.234") && !inside("147.32.83.234/32", "147.32.83.235"));
        assert_eq!(Network::parse("192.168.1.77/24").expect("valid").to_string(), "192.168.1.0/24");
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "x/8", "10.0.0.0/+8"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_local() {
        let listed = LocalNetworks::Listed(vec![Network::parse("147.32.84.0/24").expect("valid")]);
        let ours = Address::parse("147.32.84.165").expect("valid");
        let private = Address::parse("10.0.0.1").expect("valid");
        assert!(listed.is_local(ours, Some(false)) && !listed.is_local(private, Some(true)));
        assert!(
            LocalNetworks::Unstated.is_local(ours, Some(true))
                && !LocalNetworks::Unstated.is_local(private, Some(false))
        );
        assert!(
            LocalNetworks::Unstated.is_local(private, None) && !LocalNetworks::Unstated.is_local(ours, None)
        );
    }

    proptest! {
        #[test]
        fn quick_and_careful_parsers_agree(text in "[0-9.]{1,16}") {
            prop_assert_eq!(Address::parse_logged(text.as_bytes()), Address::parse(&text).ok());
        }

        #[test]
        fn printing_is_parsed_back(octets: [u8; 16]) {
            let address = Address::from_octets(octets);
            prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }
    }
}
