//! Which addresses devices reach. Four sorts: what everyone reaches (DNS, directory, proxy, updates), what is
//! popular (a universe in which few are reached by many), what a small team shares, and what one device alone
//! reaches. Refuses to hold: real services. Well-known ones are in documentation and private ranges; the rest
//! is drawn from the public IPv4 space and from 3fff::/20 (RFC 9637, documentation).

use std::net::{Ipv4Addr, Ipv6Addr};

use sighting::{Address, Day};

use crate::draw::Draw;
use crate::shape::Popularity;
use crate::{DeviceNumber, Settings};

/// Remotes that are IPv6, in 1/1000 (measured: 15-25 %).
const V6_PERMILLE: u32 = 200;
/// A device's slots that hold an address of its own, and those shared with some of its team, in 1/1000; the
/// others are popular ones. With everyone's addresses this leaves 75 % of a device-day's to it or its team,
/// and 80 % of a day's addresses to one device (measured: 74-82 %).
const OWN_PERMILLE: u32 = 370;
const TEAM_PERMILLE: u32 = 540;
const NOT_POPULAR_PERMILLE: u32 = OWN_PERMILLE + TEAM_PERMILLE;
/// Slots that keep their address, in 1/1000, by team: with the days' different lengths this keeps 30-70 % of
/// yesterday's addresses (measured: 27-74 %).
const STEADY_FROM: u32 = 450;
const STEADY_TO: u32 = 900;
/// Days for which a steady slot keeps its address (assumed).
const STEADY_DAYS: u64 = 15;

/// Every address that the devices of one fleet reach.
#[derive(Clone, Debug)]
pub(crate) struct Remotes {
    root: Draw,
    everyone: Vec<Everyone>,
    popularity: Popularity,
}

#[derive(Clone, Copy, Debug)]
struct Everyone {
    address: Address,
    /// Of the devices that are on, how many reach it on a day, in 1/1000.
    reach: u32,
}

impl Remotes {
    pub(crate) fn new(settings: &Settings) -> Remotes {
        // 30 at the measured 150 pairs a day (measured: 20 to 50); fewer where pairs are thinned, to keep
        // their share.
        let count = (settings.pairs_median / 5).clamp(6, 50);
        Remotes {
            root: Draw::root(settings.seed).of(0x5e307e),
            everyone: (0..count).map(|index| Everyone::of(index, count)).collect(),
            popularity: Popularity::new(settings.devices),
        }
    }

    /// The address that all devices reach on every day on which they are on.
    pub(crate) fn rich(&self) -> Address {
        self.everyone[0].address
    }

    /// Which of everyone's addresses a device reaches on a day, one bit each.
    pub(crate) fn everyone_reached(&self, draw: Draw) -> u64 {
        let bit = |(index, everyone): (usize, &Everyone)| {
            u64::from(draw.of(index as u64).permille(everyone.reach)) << index
        };
        self.everyone.iter().enumerate().map(bit).sum()
    }

    /// One of everyone's addresses.
    pub(crate) fn everyone(&self, index: u32) -> Address {
        self.everyone[index as usize].address
    }

    /// The address in one slot of a device on a day. `draw` is the device's own.
    pub(crate) fn slot(&self, device: DeviceNumber, draw: Draw, slot: u32, day: Day) -> Address {
        let team = self.root.of(1).of(u64::from(device.team()));
        let of_team = team.of(u64::from(slot));
        let period = of_team.of(period(team, of_team, day));
        let own = draw.of(u64::from(slot)).of(period.bits());
        match self.root.of(2).of(u64::from(slot)).below(1_000) {
            0..OWN_PERMILLE => public(own),
            // Two addresses for each slot of the team: half of its devices reach the same one.
            OWN_PERMILLE..NOT_POPULAR_PERMILLE => public(period.of(own.bits() & 1)),
            _ => public(self.root.of(3).of(self.popularity.rank(own))),
        }
    }

    /// An address that nobody ever reaches, because nothing answers there.
    pub(crate) fn dead(&self, draw: Draw) -> Address {
        public(self.root.of(4).of(draw.bits()))
    }

    /// Where unasked connections come from: 30 % from sources that come again (measured: 27-35 %).
    pub(crate) fn scanner(&self, draw: Draw) -> Address {
        let source = if draw.of(0).permille(300) {
            self.root.of(5).of(u64::from(draw.of(1).below(5_000)))
        } else {
            self.root.of(6).of(draw.bits())
        };
        public(source)
    }
}

impl Everyone {
    fn of(index: u32, count: u32) -> Everyone {
        let low = (10 + index) as u8;
        let address = match index % 5 {
            1 => Address::from(Ipv4Addr::new(10, 0, 0, low)),
            3 => Address::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(low))),
            _ => Address::from(Ipv4Addr::new(203, 0, 113, low)),
        };
        // From all devices that are on down to 65 %; with the absent ones 60-97 % (measured: 60-100 %).
        Everyone { address, reach: 1_000 - 350 * index / count }
    }
}

/// Which of its lives a slot is in: its address changes with this number.
fn period(team: Draw, of_team: Draw, day: Day) -> u64 {
    let day = u64::from(day.number());
    let steady = STEADY_FROM + team.of(u64::MAX - 1).below(STEADY_TO - STEADY_FROM);
    if of_team.of(u64::MAX - 1).permille(steady) {
        (day + of_team.bits() % STEADY_DAYS) / STEADY_DAYS
    } else {
        day << 32
    }
}

/// An address of the public internet, or of what stands for it in IPv6.
fn public(draw: Draw) -> Address {
    if draw.of(0).permille(V6_PERMILLE) {
        public_v6(draw.of(1).bits(), draw.of(2).bits())
    } else {
        public_v4(draw)
    }
}

fn public_v4(mut draw: Draw) -> Address {
    loop {
        let [first, rest @ ..] = (draw.bits() as u32).to_be_bytes();
        // Private, special and documentation ranges are inside these.
        if !matches!(first, 0 | 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 | 224..) {
            return Address::from(Ipv4Addr::new(first, rest[0], rest[1], rest[2]));
        }
        draw = draw.of(3);
    }
}

/// A site of 3fff::/20, a subnet, and an interface: half of them numbered, half random.
fn public_v6(high: u64, low: u64) -> Address {
    let interface = if high & 1 == 0 { low } else { low & 0xff };
    let network = 0x3fff << 48 | (high >> 20 & 0x0fff_ffff) << 16 | (high >> 8 & 0x0f);
    Address::from(Ipv6Addr::from(u128::from(network) << 64 | u128::from(interface)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sighting::Network;

    #[test]
    fn addresses_are_never_special_or_reserved_for_the_unseen() {
        let documentation = Network::parse("3fff::/20").expect("valid");
        let mut v6 = 0;
        for n in 0..100_000 {
            let address = public(Draw::root(9).of(n));
            assert_eq!(address.special(), None);
            if address.is_v4() {
                let std::net::IpAddr::V4(v4) = address.to_ip() else { panic!("it is IPv4") };
                assert!(!v4.is_private() && !v4.is_documentation());
            } else {
                assert!(documentation.contains(address), "{address}");
                v6 += 1;
            }
        }
        assert!((19_000..21_000).contains(&v6), "{v6}");
    }
}
