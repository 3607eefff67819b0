//! The requests and replies of the control socket as JSON, mirroring the domain types one to one (those know no
//! serde). Refuses to hold: batches (they travel in the journal's encoding), and the book (`wire_book`).

use std::num::NonZeroU32;

use api::{Room, Standing};
use serde::{Deserialize, Serialize};
use sighting::{
    Address, Answer, ApplicationId, Bound, Coverage, Day, DeviceEntry, DeviceKey, DirectoryError, FirstSeen,
    HeldLease, Identity, IdentityKind, Label, Network, NetworkKind, OrganisationId, Question, Questions,
    RegistryChange, RegistrySettings, Retained, Second, SourceName, Stats, StoreError, TagChange, Uuid,
    Window,
};

use super::wire_book::{WireAudit, WireBook, WireChange};

/// Says that a value on the wire is none of the domain's.
#[derive(Debug, thiserror::Error)]
#[error("the other side of the control socket sent a {0} that makes no sense")]
pub(super) struct WireError(pub(super) &'static str);

/// Everything that can be asked, but appending.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Stats(WireQuestion),
    StatsOf(WireQuestions),
    Coverage {
        organisation: Wire128,
        kept_since: u32,
        until: u32,
    },
    Offset {
        organisation: Wire128,
        source: String,
        key: String,
    },
    Offsets {
        organisation: Wire128,
        source: String,
    },
    Devices {
        organisation: Wire128,
        key: Option<WireDeviceKey>,
        at: u32,
    },
    Registry {
        organisation: Wire128,
    },
    Teach {
        organisation: Wire128,
        change: WireRegistryChange,
    },
    Outside {
        organisation: Wire128,
        kept_since: u32,
    },
    Retain {
        organisation: Wire128,
        kept_since: u32,
    },
    Remove {
        organisation: Wire128,
    },
    Book,
    Commit(WireChange),
    Audit {
        entries_max: usize,
    },
    Standings {
        organisation: Wire128,
    },
    /// The server makes the key: a private key never travels.
    RotateSigningKey,
}

/// Everything that can be answered.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Hello {
        version: u32,
    },
    Done,
    Received {
        sightings: u64,
    },
    Answer(WireAnswer),
    Answers(Vec<WireAnswer>),
    Coverage(WireCoverage),
    Offset(Option<u64>),
    /// Keys and positions.
    Offsets(Vec<(String, u64)>),
    Devices(Vec<WireDevice>),
    Registry(WireRegistrySettings),
    Retained {
        dropped: u64,
        kept: u64,
    },
    Book(WireBook),
    Audit(Vec<WireAudit>),
    Standings(Vec<WireStanding>),
    SigningKey {
        kid: String,
    },
    Failed {
        kind: WireFailure,
        message: String,
    },
}

/// Which error the message belongs to.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireFailure {
    /// The caller asked for something that makes no sense.
    Refused,
    Corrupt,
    Unavailable,
    /// The caller may not talk to this server at all.
    NotAllowed,
}

impl From<StoreError> for Reply {
    fn from(error: StoreError) -> Reply {
        let kind = match error {
            StoreError::Refused(_) => WireFailure::Refused,
            StoreError::Corrupt(_) => WireFailure::Corrupt,
            _ => WireFailure::Unavailable,
        };
        Reply::Failed { kind, message: error.to_string() }
    }
}

impl From<DirectoryError> for Reply {
    fn from(error: DirectoryError) -> Reply {
        let kind = match error {
            DirectoryError::Change(_) => WireFailure::Refused,
            _ => WireFailure::Unavailable,
        };
        Reply::Failed { kind, message: error.to_string() }
    }
}

/// A GUID or key as text.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Wire128(pub(super) Uuid);

impl TryFrom<String> for Wire128 {
    type Error = WireError;

    fn try_from(text: String) -> Result<Wire128, WireError> {
        Uuid::try_parse(&text).map(Wire128).map_err(|_| WireError("GUID"))
    }
}

impl From<Wire128> for String {
    fn from(wire: Wire128) -> String {
        wire.0.to_string()
    }
}

impl From<OrganisationId> for Wire128 {
    fn from(id: OrganisationId) -> Wire128 {
        Wire128(id.0)
    }
}

impl From<Wire128> for OrganisationId {
    fn from(wire: Wire128) -> OrganisationId {
        OrganisationId(wire.0)
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireQuestion {
    organisation: Wire128,
    address: String,
    since: u32,
    until: u32,
    kept_since: u32,
    first_in_kept: bool,
}

impl From<Question> for WireQuestion {
    fn from(question: Question) -> WireQuestion {
        WireQuestion {
            organisation: question.organisation.into(),
            address: question.address.to_string(),
            since: question.window.since().unix(),
            until: question.window.until().unix(),
            kept_since: question.kept_since.unix(),
            first_in_kept: question.first_seen == FirstSeen::InKept,
        }
    }
}

impl TryFrom<WireQuestion> for Question {
    type Error = WireError;

    fn try_from(wire: WireQuestion) -> Result<Question, WireError> {
        Ok(Question {
            organisation: wire.organisation.into(),
            address: Address::parse(&wire.address).map_err(|_| WireError("address"))?,
            window: window(wire.since, wire.until)?,
            kept_since: Second::new(wire.kept_since),
            first_seen: first_seen(wire.first_in_kept),
        })
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireQuestions {
    organisation: Wire128,
    addresses: Vec<String>,
    since: u32,
    until: u32,
    kept_since: u32,
    first_in_kept: bool,
}

impl From<Questions> for WireQuestions {
    fn from(questions: Questions) -> WireQuestions {
        WireQuestions {
            organisation: questions.organisation.into(),
            addresses: questions.addresses.iter().map(Address::to_string).collect(),
            since: questions.window.since().unix(),
            until: questions.window.until().unix(),
            kept_since: questions.kept_since.unix(),
            first_in_kept: questions.first_seen == FirstSeen::InKept,
        }
    }
}

impl TryFrom<WireQuestions> for Questions {
    type Error = WireError;

    fn try_from(wire: WireQuestions) -> Result<Questions, WireError> {
        let addresses =
            wire.addresses.iter().map(|address| Address::parse(address)).collect::<Result<_, _>>();
        Ok(Questions {
            organisation: wire.organisation.into(),
            addresses: addresses.map_err(|_| WireError("address"))?,
            window: window(wire.since, wire.until)?,
            kept_since: Second::new(wire.kept_since),
            first_seen: first_seen(wire.first_in_kept),
        })
    }
}

fn window(since: u32, until: u32) -> Result<Window, WireError> {
    Window::new(Second::new(since), Second::new(until)).ok_or(WireError("window"))
}

fn first_seen(in_kept: bool) -> FirstSeen {
    if in_kept { FirstSeen::InKept } else { FirstSeen::InWindow }
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireAnswer {
    Seen { prevalence: NonZeroU32, first: u32, last: u32, bound: WireBound },
    Quiet,
    Unknown,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireBound {
    Exact,
    AtMost,
    AtLeast,
    About,
}

impl From<Bound> for WireBound {
    fn from(bound: Bound) -> WireBound {
        match bound {
            Bound::Exact => WireBound::Exact,
            Bound::AtMost => WireBound::AtMost,
            Bound::AtLeast => WireBound::AtLeast,
            Bound::About => WireBound::About,
        }
    }
}

impl From<WireBound> for Bound {
    fn from(wire: WireBound) -> Bound {
        match wire {
            WireBound::Exact => Bound::Exact,
            WireBound::AtMost => Bound::AtMost,
            WireBound::AtLeast => Bound::AtLeast,
            WireBound::About => Bound::About,
        }
    }
}

impl From<Answer> for WireAnswer {
    fn from(answer: Answer) -> WireAnswer {
        match answer {
            Answer::Seen(Stats { prevalence, first, last, bound }) => {
                WireAnswer::Seen { prevalence, first: first.unix(), last: last.unix(), bound: bound.into() }
            }
            Answer::Quiet => WireAnswer::Quiet,
            Answer::Unknown => WireAnswer::Unknown,
        }
    }
}

impl From<WireAnswer> for Answer {
    fn from(wire: WireAnswer) -> Answer {
        match wire {
            WireAnswer::Seen { prevalence, first, last, bound } => Answer::Seen(Stats {
                prevalence,
                first: Second::new(first),
                last: Second::new(last),
                bound: bound.into(),
            }),
            WireAnswer::Quiet => Answer::Quiet,
            WireAnswer::Unknown => Answer::Unknown,
        }
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireCoverage {
    span: Option<(u32, u32)>,
    reporters: Vec<(u16, u32)>,
    sources: Vec<String>,
}

impl From<Coverage> for WireCoverage {
    fn from(coverage: Coverage) -> WireCoverage {
        WireCoverage {
            span: coverage.span.map(|(first, last)| (first.unix(), last.unix())),
            reporters: coverage.reporters.iter().map(|(day, count)| (day.number(), *count)).collect(),
            sources: coverage.sources.iter().map(|source| source.as_str().to_owned()).collect(),
        }
    }
}

impl TryFrom<WireCoverage> for Coverage {
    type Error = WireError;

    fn try_from(wire: WireCoverage) -> Result<Coverage, WireError> {
        let reporters = wire.reporters.into_iter().map(|(number, count)| Ok((day(number)?, count)));
        let sources = wire.sources.iter().map(|name| source_name(name));
        Ok(Coverage {
            span: wire.span.map(|(first, last)| (Second::new(first), Second::new(last))),
            reporters: reporters.collect::<Result<_, WireError>>()?,
            sources: sources.collect::<Result<_, WireError>>()?,
        })
    }
}

fn day(number: u16) -> Result<Day, WireError> {
    Day::new(u32::from(number)).ok_or(WireError("day"))
}

pub(super) fn source_name(name: &str) -> Result<SourceName, WireError> {
    SourceName::new(name).ok_or(WireError("source name"))
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireIdentity {
    kind: String,
    name: String,
}

impl From<&Identity> for WireIdentity {
    fn from(identity: &Identity) -> WireIdentity {
        WireIdentity { kind: identity.kind().word().to_owned(), name: identity.name().to_owned() }
    }
}

impl TryFrom<WireIdentity> for Identity {
    type Error = WireError;

    fn try_from(wire: WireIdentity) -> Result<Identity, WireError> {
        let kind = IdentityKind::from_word(&wire.kind).ok_or(WireError("kind of identity"))?;
        Ok(Identity::from_parts(kind, &wire.name))
    }
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireDeviceKey {
    Identity(WireIdentity),
    Number(u32),
}

impl From<DeviceKey> for WireDeviceKey {
    fn from(key: DeviceKey) -> WireDeviceKey {
        match key {
            DeviceKey::Identity(identity) => WireDeviceKey::Identity((&identity).into()),
            DeviceKey::Number(number) => WireDeviceKey::Number(number),
        }
    }
}

impl TryFrom<WireDeviceKey> for DeviceKey {
    type Error = WireError;

    fn try_from(wire: WireDeviceKey) -> Result<DeviceKey, WireError> {
        Ok(match wire {
            WireDeviceKey::Identity(identity) => DeviceKey::Identity(identity.try_into()?),
            WireDeviceKey::Number(number) => DeviceKey::Number(number),
        })
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireDevice {
    number: u32,
    identity: WireIdentity,
    others: Vec<WireIdentity>,
    last_reported: Option<u16>,
    display_name: Option<String>,
    tags: Vec<String>,
    machine_group: Option<String>,
    leases: Vec<WireLease>,
}

#[derive(Serialize, Deserialize, Debug)]
struct WireLease {
    what: WireIdentity,
    who: WireIdentity,
    since: u32,
    until: Option<u32>,
}

impl From<&HeldLease> for WireLease {
    fn from(lease: &HeldLease) -> WireLease {
        WireLease {
            what: (&lease.what).into(),
            who: (&lease.who).into(),
            since: lease.since.unix(),
            until: lease.until.map(Second::unix),
        }
    }
}

impl TryFrom<WireLease> for HeldLease {
    type Error = WireError;

    fn try_from(wire: WireLease) -> Result<HeldLease, WireError> {
        Ok(HeldLease {
            since: Second::new(wire.since),
            until: wire.until.map(Second::new),
            what: wire.what.try_into()?,
            who: wire.who.try_into()?,
        })
    }
}

fn label(text: &str) -> Result<Label, WireError> {
    Label::new(text).ok_or(WireError("label"))
}

impl From<DeviceEntry> for WireDevice {
    fn from(entry: DeviceEntry) -> WireDevice {
        WireDevice {
            number: entry.number,
            identity: (&entry.identity).into(),
            others: entry.others.iter().map(WireIdentity::from).collect(),
            last_reported: entry.last_reported.map(Day::number),
            display_name: entry.display_name.map(|name| name.as_str().to_owned()),
            tags: entry.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            machine_group: entry.machine_group.map(|group| group.as_str().to_owned()),
            leases: entry.leases.iter().map(WireLease::from).collect(),
        }
    }
}

impl TryFrom<WireDevice> for DeviceEntry {
    type Error = WireError;

    fn try_from(wire: WireDevice) -> Result<DeviceEntry, WireError> {
        let others = wire.others.into_iter().map(Identity::try_from);
        Ok(DeviceEntry {
            number: wire.number,
            identity: wire.identity.try_into()?,
            others: others.collect::<Result<_, WireError>>()?,
            last_reported: wire.last_reported.map(day).transpose()?,
            display_name: wire.display_name.as_deref().map(label).transpose()?,
            tags: wire.tags.iter().map(|tag| label(tag)).collect::<Result<_, _>>()?,
            machine_group: wire.machine_group.as_deref().map(label).transpose()?,
            leases: wire.leases.into_iter().map(HeldLease::try_from).collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireRegistryChange {
    Merge { from: WireIdentity, into: WireIdentity },
    Split(WireIdentity),
    Rename { identity: WireIdentity, name: Option<String> },
    Tag { identity: WireIdentity, tag: String, is_added: bool },
    Domain(Option<String>),
    Networks { are_nat: bool, list: Vec<String> },
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireRegistrySettings {
    domain: Option<String>,
    unique_networks: Vec<String>,
    nat_gateways: Vec<String>,
}

impl From<&RegistrySettings> for WireRegistrySettings {
    fn from(settings: &RegistrySettings) -> WireRegistrySettings {
        WireRegistrySettings {
            domain: settings.domain.clone(),
            unique_networks: texts(&settings.unique_networks),
            nat_gateways: texts(&settings.nat_gateways),
        }
    }
}

impl TryFrom<WireRegistrySettings> for RegistrySettings {
    type Error = WireError;

    fn try_from(wire: WireRegistrySettings) -> Result<RegistrySettings, WireError> {
        Ok(RegistrySettings {
            domain: wire.domain,
            unique_networks: networks(&wire.unique_networks)?,
            nat_gateways: networks(&wire.nat_gateways)?,
        })
    }
}

fn texts(networks: &[Network]) -> Vec<String> {
    networks.iter().map(Network::to_string).collect()
}

fn networks(texts: &[String]) -> Result<Vec<Network>, WireError> {
    texts.iter().map(|text| Network::parse(text).map_err(|_| WireError("network"))).collect()
}

impl From<RegistryChange> for WireRegistryChange {
    fn from(change: RegistryChange) -> WireRegistryChange {
        match change {
            RegistryChange::Merge { from, into } => {
                WireRegistryChange::Merge { from: (&from).into(), into: (&into).into() }
            }
            RegistryChange::Split(identity) => WireRegistryChange::Split((&identity).into()),
            RegistryChange::Rename { identity, name } => WireRegistryChange::Rename {
                identity: (&identity).into(),
                name: name.map(|name| name.as_str().to_owned()),
            },
            RegistryChange::Tag { identity, tag, change } => WireRegistryChange::Tag {
                identity: (&identity).into(),
                tag: tag.as_str().to_owned(),
                is_added: change == TagChange::Add,
            },
            RegistryChange::Domain(domain) => WireRegistryChange::Domain(domain),
            RegistryChange::Networks(kind, list) => {
                WireRegistryChange::Networks { are_nat: kind == NetworkKind::Nat, list: texts(&list) }
            }
        }
    }
}

impl TryFrom<WireRegistryChange> for RegistryChange {
    type Error = WireError;

    fn try_from(wire: WireRegistryChange) -> Result<RegistryChange, WireError> {
        Ok(match wire {
            WireRegistryChange::Merge { from, into } => {
                RegistryChange::Merge { from: from.try_into()?, into: into.try_into()? }
            }
            WireRegistryChange::Split(identity) => RegistryChange::Split(identity.try_into()?),
            WireRegistryChange::Rename { identity, name } => RegistryChange::Rename {
                identity: identity.try_into()?,
                name: name.as_deref().map(label).transpose()?,
            },
            WireRegistryChange::Tag { identity, tag, is_added } => RegistryChange::Tag {
                identity: identity.try_into()?,
                tag: label(&tag)?,
                change: if is_added { TagChange::Add } else { TagChange::Remove },
            },
            WireRegistryChange::Domain(domain) => RegistryChange::Domain(domain),
            WireRegistryChange::Networks { are_nat, list } => {
                let kind = if are_nat { NetworkKind::Nat } else { NetworkKind::Unique };
                RegistryChange::Networks(kind, networks(&list)?)
            }
        })
    }
}

impl From<Retained> for Reply {
    fn from(retained: Retained) -> Reply {
        Reply::Retained { dropped: retained.dropped, kept: retained.kept }
    }
}

/// How one application stands with its limits.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireStanding {
    application: Wire128,
    minute: Option<WireRoom>,
    hour: Option<WireRoom>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
struct WireRoom {
    calls_max: u32,
    used: u32,
    more_after_s: Option<u64>,
}

impl From<Room> for WireRoom {
    fn from(Room { calls_max, used, more_after_s }: Room) -> WireRoom {
        WireRoom { calls_max, used, more_after_s }
    }
}

impl From<WireRoom> for Room {
    fn from(WireRoom { calls_max, used, more_after_s }: WireRoom) -> Room {
        Room { calls_max, used, more_after_s }
    }
}

impl From<(ApplicationId, Standing)> for WireStanding {
    fn from((application, standing): (ApplicationId, Standing)) -> WireStanding {
        WireStanding {
            application: Wire128(application.0),
            minute: standing.minute.map(Into::into),
            hour: standing.hour.map(Into::into),
        }
    }
}

impl From<WireStanding> for (ApplicationId, Standing) {
    fn from(wire: WireStanding) -> (ApplicationId, Standing) {
        let standing = Standing { minute: wire.minute.map(Into::into), hour: wire.hour.map(Into::into) };
        (ApplicationId(wire.application.0), standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_json<T: Serialize + for<'a> Deserialize<'a>>(value: &T) -> T {
        let json = serde_json::to_string(value).expect("JSON");
        serde_json::from_str(&json).expect("the same type")
    }

    #[test]
    fn changes_of_the_registry_arrive() {
        let identity = Identity::new(IdentityKind::HostName, "pc").expect("a name");
        let tag = Label::new("red").expect("a label");
        let list = vec![Network::parse("10.0.0.0/8").expect("a network")];
        for change in [
            RegistryChange::Split(identity.clone()),
            RegistryChange::Rename { identity: identity.clone(), name: Some(tag.clone()) },
            RegistryChange::Rename { identity: identity.clone(), name: None },
            RegistryChange::Tag { identity, tag, change: TagChange::Remove },
            RegistryChange::Networks(NetworkKind::Nat, list.clone()),
            RegistryChange::Networks(NetworkKind::Unique, Vec::new()),
        ] {
            let wire = through_json(&WireRegistryChange::from(change.clone()));
            assert_eq!(RegistryChange::try_from(wire).ok(), Some(change));
        }
        let settings = RegistrySettings { nat_gateways: list, ..RegistrySettings::default() };
        let wire = through_json(&WireRegistrySettings::from(&settings));
        assert_eq!(RegistrySettings::try_from(wire).ok(), Some(settings));
    }

    #[test]
    fn a_standing_arrives() {
        let room = Room { calls_max: 7, used: 9, more_after_s: Some(3) };
        let sent = (ApplicationId(Uuid::from_u128(8)), Standing { minute: Some(room), hour: None });
        assert_eq!(<(ApplicationId, Standing)>::from(through_json(&WireStanding::from(sent))), sent);
    }
}
