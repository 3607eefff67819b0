//! What the device registry is told and what it tells: an operator's changes, devices as they are counted, leases and
//! the networks in which an address means something else. Refuses to hold: the joining itself (a store's), and how
//! facts arrive (`batch`).

use crate::{Address, Day, Identity, IdentityKind, NAME_BYTES_MAX, Network, Second};

/// Names a device in a question about devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceKey {
    /// Any identity that belongs to it.
    Identity(Identity),
    /// Its number in this store, as listed.
    Number(u32),
}

/// One device as the registry knows it at a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceEntry {
    /// Its number: stable in one store, meaningless in another.
    pub number: u32,
    /// The identity that owns the device.
    pub identity: Identity,
    /// The other identities that belong to it at this moment, sorted.
    pub others: Vec<Identity>,
    /// The last UTC day on which any of them reported.
    pub last_reported: Option<Day>,
    /// What an operator calls it.
    pub display_name: Option<Label>,
    /// What an operator tagged it with, sorted.
    pub tags: Vec<Label>,
    /// The group that the product counts it to.
    pub machine_group: Option<Label>,
    /// The leases, past ones too, by which an address or MAC was one of its identities', sorted.
    pub leases: Vec<HeldLease>,
}

/// A lease as it is shown: validity is that of the fact, both ends included. Somebody else's lease of the same address that
/// begins before its end has ended it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HeldLease {
    /// When it began.
    pub since: Second,
    /// When it ended; without, it ends when the next lease of the same address begins.
    pub until: Option<Second>,
    /// The address or MAC.
    pub what: Identity,
    /// To whom it was leased.
    pub who: Identity,
}

/// A short text that an operator or a product gives a device: at most [`NAME_BYTES_MAX`] bytes, no control
/// characters, no blanks around it, not empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Label(Box<str>);

impl Label {
    /// `None` if nothing is left without the blanks, or the text is too long or holds control characters.
    pub fn new(text: &str) -> Option<Label> {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
        fits.then(|| Label(text.into()))
    }

    /// The text, raw: show it through [`escape`](crate::escape).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an operator teaches the device registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistryChange {
    /// Two identities are one device, by an operator's word: `from` becomes part of the device of `into`.
    Merge {
        /// The identity that gives up its device.
        from: Identity,
        /// The identity whose device stays.
        into: Identity,
    },
    /// Takes a merge back, an operator's or the product's: the first that leads from this identity to its device. What
    /// the product says of that merge later does not count.
    Split(Identity),
    /// What an identity's device is called (`None`: by its names alone).
    Rename {
        /// Which device.
        identity: Identity,
        /// The name.
        name: Option<Label>,
    },
    /// Puts a tag on an identity's device, or takes it off.
    Tag {
        /// Which device.
        identity: Identity,
        /// The tag.
        tag: Label,
        /// What to do with it.
        change: TagChange,
    },
    /// Short host names belong to this one DNS domain (`None`: to no domain).
    Domain(Option<String>),
    /// The networks that are of a kind; those that were listed before are forgotten.
    Networks(NetworkKind, Vec<Network>),
}

/// What to do with a tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagChange {
    /// It is there from now on.
    Add,
    /// It is not there any more.
    Remove,
}

/// What an address of a network means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NetworkKind {
    /// One machine at a time: what a record carries beside it is that machine.
    Unique,
    /// A gateway behind which are others: one or more devices.
    Nat,
}

/// What an operator said of an organisation's registry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegistrySettings {
    /// The domain of short host names.
    pub domain: Option<String>,
    /// Where a local address is one machine at a time.
    pub unique_networks: Vec<Network>,
    /// Addresses behind which there are others.
    pub nat_gateways: Vec<Network>,
}

impl Identity {
    /// Whether it is an address or a MAC: what a lease is about, and what a device rests on that is known by nothing
    /// stronger.
    pub fn is_address(&self) -> bool {
        matches!(self.kind(), IdentityKind::Mac | IdentityKind::Address)
    }

    /// Whether it is an address of one of these networks.
    pub fn is_in(&self, networks: &[Network]) -> bool {
        self.kind() == IdentityKind::Address
            && Address::parse(self.name())
                .is_ok_and(|address| networks.iter().any(|network| network.contains(address)))
    }
}
