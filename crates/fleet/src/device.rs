//! Who the devices are: numbers, and the names and addresses that follow from a number alone, so that an
//! event needs no table to be written as a line. Refuses to hold: churn. A device keeps its addresses for
//! ever, because behind a network sensor the address is the device, and the truth must be exact.

use std::fmt;

use sighting::{Address, Identity, IdentityKind};

use crate::draw::mix;

/// A device of a fleet, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceNumber(pub u32);

/// Who reports of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sensor {
    /// Microsoft Defender for Endpoint on the device itself: the device is known by an agent id.
    Mde,
    /// Zeek on the network: the device is known by its address, one for IPv4 and one for IPv6.
    Zeek,
}

/// What a device is used for: 85 %, 10 % and 5 % of all (assumed).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Used by a person in office hours.
    Workstation,
    /// Always on, few remotes.
    Server,
    /// Switched on now and then; reaches what everyone reaches and nothing else.
    Idle,
}

/// Devices that share an interest in some addresses (assumed).
pub(crate) const TEAM_DEVICES: u32 = 6;

impl DeviceNumber {
    /// What it is used for.
    pub fn role(self) -> Role {
        match mix(u64::from(self.0) ^ 0x0107_e000_0000) % 20 {
            0..17 => Role::Workstation,
            17 | 18 => Role::Server,
            _ => Role::Idle,
        }
    }

    /// Whether it can be reached from outside: one server in ten (assumed).
    pub fn is_exposed(self) -> bool {
        self.role() == Role::Server && mix(u64::from(self.0) ^ 0xe590_5ed0).is_multiple_of(10)
    }

    /// Its one IPv4 address, in `10.16.0.0` and up.
    pub fn v4(self) -> Address {
        let (host, net) = (self.0 % 250, self.0 / 250);
        Address::from(std::net::Ipv4Addr::new(
            10,
            (16 + net / 256) as u8,
            (net % 256) as u8,
            (host + 1) as u8,
        ))
    }

    /// Its one IPv6 address, a unique local one.
    pub fn v6(self) -> Address {
        let [a, b, c, d] = (self.0 + 1).to_be_bytes();
        Address::from_octets([0xfd, 0x5e, 0x0e, 0xb1, 0, 0, 0, 1, 0, 0, 0, 0, a, b, c, d])
    }

    /// The address from which it reaches a remote one: of the same family.
    pub fn local(self, remote: Address) -> Address {
        if remote.is_v4() { self.v4() } else { self.v6() }
    }

    /// Its agent id: 40 lower-case hexadecimal digits. Different numbers have different ids: the first 16
    /// digits are a bijection of the number.
    pub fn agent_id(self) -> [u8; 40] {
        let mut id = [0u8; 40];
        for (chunk, digits) in id.chunks_mut(16).enumerate() {
            let word = mix(u64::from(self.0) + ((chunk as u64) << 40) + 1);
            for (place, digit) in digits.iter_mut().enumerate() {
                *digit = HEX[(word >> (60 - 4 * place) & 15) as usize];
            }
        }
        id
    }

    /// The identity under which its sighting of a remote address is kept.
    pub(crate) fn identity(self, sensor: Sensor, remote: Address) -> Identity {
        match sensor {
            Sensor::Mde => {
                let id = self.agent_id();
                let text = str::from_utf8(&id).expect("hexadecimal digits are ASCII");
                Identity::from_parts(IdentityKind::AgentId, text)
            }
            Sensor::Zeek => Identity::from(self.local(remote)),
        }
    }

    pub(crate) fn team(self) -> u32 {
        self.0 / TEAM_DEVICES
    }
}

pub(crate) const HEX: [u8; 16] = *b"0123456789abcdef";

/// Its host name: `pc-000017.corp.example`, or `srv-` for a server.
impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.role() == Role::Server { "srv" } else { "pc" };
        write!(f, "{prefix}-{:06}.corp.example", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_devices_share_a_name() {
        let numbers = || (0..70_000).map(DeviceNumber);
        assert_eq!(numbers().map(DeviceNumber::v4).collect::<HashSet<_>>().len(), 70_000);
        assert_eq!(numbers().map(DeviceNumber::v6).collect::<HashSet<_>>().len(), 70_000);
        assert_eq!(numbers().map(DeviceNumber::agent_id).collect::<HashSet<_>>().len(), 70_000);
        assert_eq!(DeviceNumber(9_999_999).v4().to_string(), "10.172.63.250");
    }

    #[test]
    fn roles_have_their_shares() {
        let share = |role| (0..10_000).filter(|n| DeviceNumber(*n).role() == role).count() as f64 / 1e4;
        assert!((share(Role::Workstation) - 0.85).abs() < 0.01);
        assert!((share(Role::Server) - 0.10).abs() < 0.01);
    }

    #[test]
    fn identities_are_canonical() {
        let device = DeviceNumber(17);
        let remote = Address::parse("2001:db8::1").expect("valid");
        let agent = device.identity(Sensor::Mde, remote);
        assert_eq!(Identity::new(agent.kind(), agent.name()).as_ref(), Some(&agent));
        assert_eq!(device.identity(Sensor::Zeek, remote).name(), "fd5e:eb1:0:1::12");
    }
}
