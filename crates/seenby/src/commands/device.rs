//! `seenby device`: what is counted, which names belong to it, and an operator's word on both. Refuses to hold: the
//! registry itself (the store's).

use clap::Subcommand;
use serde::Serialize;
use sighting::{
    DeviceEntry, DeviceKey, HeldLease, Identity, IdentityKind, Label, Network, NetworkKind, Organisation,
    RegistryChange, RegistrySettings, Store as _, StoreError, TagChange, escape,
};

use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint;
use crate::house::House;
use crate::output::{align_right, counted, table};

/// What to do with devices.
#[derive(Subcommand, Debug)]
pub(crate) enum DeviceCommand {
    /// List the devices
    #[command(after_help = "Example:\n  seenby device list --json")]
    List,
    /// Show one device and every name that belongs to it
    #[command(after_help = format!("{NAMING}\n\nExamples:\n  seenby device show pc-17.corp.example.org\n  seenby device show 12"))]
    Show {
        /// Any of its names, or its number as listed
        #[arg(value_name = "DEVICE")]
        device: String,
    },
    /// Say that two devices are one, for the past too; asks first
    #[command(after_help = format!("{NAMING}\n\nExample:\n  seenby device merge host_name:pc-17 12"))]
    Merge {
        /// The device that becomes part of the other
        from: String,
        /// The device that stays
        into: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Take a merge back, an operator's or the product's, for the past too; asks first
    #[command(after_help = format!("{NAMING}\n\nExample:\n  seenby device split host_name:pc-17"))]
    Split {
        /// What was merged: a name or agent id of its own
        #[arg(value_name = "DEVICE")]
        device: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Say what a device is called where it is shown
    #[command(after_help = format!("{NAMING}\n\nExamples:\n  seenby device rename pc-17 'Reception'\n  seenby device rename pc-17 --none"))]
    Rename {
        /// Any of its names, or its number as listed
        #[arg(value_name = "DEVICE")]
        device: String,
        /// What it is called
        #[arg(value_parser = parse_label, required_unless_present = "none")]
        name: Option<Label>,
        /// It is called by its names alone
        #[arg(long, conflicts_with = "name")]
        none: bool,
    },
    /// Put tags on a device, or take them off
    #[command(after_help = format!("{NAMING}\n\nExamples:\n  seenby device tag pc-17 vip finance\n  seenby device tag pc-17 vip --remove"))]
    Tag {
        /// Any of its names, or its number as listed
        #[arg(value_name = "DEVICE")]
        device: String,
        /// The tags
        #[arg(value_name = "TAG", value_parser = parse_label, required = true)]
        tags: Vec<Label>,
        /// Take them off
        #[arg(long)]
        remove: bool,
    },
    /// Say in which networks an address is one machine at a time, and which addresses are NAT gateways; without options, show them
    #[command(
        after_help = "Examples:\n  seenby device networks --unique 10.20.0.0/16 --nat 10.0.0.1/32,198.51.100.7/32\n  seenby device networks --nat none"
    )]
    Networks {
        /// Where an address is one machine at a time: from now on, records taken in that name a machine and its address there tell
        /// whose the address is; 'none' for nowhere
        #[arg(long, value_name = "CIDR,CIDR", value_parser = parse_networks)]
        unique: Option<Networks>,
        /// Gateways behind which there are other devices: answers that hold one say "at least"; 'none' for no gateways
        #[arg(long, value_name = "CIDR,CIDR", value_parser = parse_networks)]
        nat: Option<Networks>,
    },
    /// Say to which DNS domain short host names belong
    #[command(after_help = "Examples:\n  seenby device domain corp.example.org\n  seenby device domain none")]
    Domain {
        /// The domain, or 'none'
        domain: String,
    },
}

const NAMING: &str = "A device is named by any name it reported under (agent id, host name, MAC, address), by a kind and a name\n\
    (agent_id:…, fqdn:…, host_name:…, mac:…, address:…), or by its number as listed: 12 or '#12'.";

/// A list of networks that was typed.
#[derive(Clone, Debug)]
pub(crate) struct Networks(Vec<Network>);

fn parse_networks(text: &str) -> Result<Networks, String> {
    if text.trim() == "none" {
        return Ok(Networks(Vec::new()));
    }
    let list = text.split(',').map(|part| Network::parse(part.trim())).collect::<Result<_, _>>();
    list.map(Networks).map_err(|_| "type networks such as 10.0.0.0/8,fd00::/8, or 'none'".to_owned())
}

fn parse_label(text: &str) -> Result<Label, String> {
    Label::new(text).ok_or_else(|| "type 1 to 255 bytes without control characters".to_owned())
}

/// One name as JSON.
#[derive(Serialize)]
struct ShownName<'a> {
    kind: &'static str,
    name: &'a str,
}

impl<'a> From<&'a Identity> for ShownName<'a> {
    fn from(identity: &'a Identity) -> ShownName<'a> {
        ShownName { kind: identity.kind().word(), name: identity.name() }
    }
}

/// One device as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    number: u32,
    #[serde(flatten)]
    identity: ShownName<'a>,
    others: Vec<ShownName<'a>>,
    last_reported: Option<String>,
    display_name: Option<&'a str>,
    tags: Vec<&'a str>,
    machine_group: Option<&'a str>,
    leases: Vec<ShownLease<'a>>,
}

/// One lease as JSON.
#[derive(Serialize)]
struct ShownLease<'a> {
    of: ShownName<'a>,
    to: ShownName<'a>,
    since: String,
    /// None: until the next lease.
    until: Option<String>,
}

impl<'a> From<&'a HeldLease> for ShownLease<'a> {
    fn from(lease: &'a HeldLease) -> ShownLease<'a> {
        ShownLease {
            of: (&lease.what).into(),
            to: (&lease.who).into(),
            since: lease.since.to_string(),
            until: lease.until.map(|until| until.to_string()),
        }
    }
}

impl<'a> From<&'a DeviceEntry> for Shown<'a> {
    fn from(entry: &'a DeviceEntry) -> Shown<'a> {
        Shown {
            number: entry.number,
            identity: (&entry.identity).into(),
            others: entry.others.iter().map(ShownName::from).collect(),
            last_reported: entry.last_reported.map(|day| day.to_string()),
            display_name: entry.display_name.as_ref().map(Label::as_str),
            tags: entry.tags.iter().map(Label::as_str).collect(),
            machine_group: entry.machine_group.as_ref().map(Label::as_str),
            leases: entry.leases.iter().map(ShownLease::from).collect(),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(command: DeviceCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    match command {
        DeviceCommand::List => {
            let devices = house.store.devices(organisation.id, None, clock::now()).await?;
            list(&devices, &mut context)
        }
        DeviceCommand::Show { device } => {
            let found = find(&house, &organisation, &device).await?;
            let found = found.ok_or_else(|| unknown(&organisation, &device, Exit::NotSeen))?;
            show(&found, &mut context)
        }
        DeviceCommand::Merge { from, into, yes } => {
            let from = find_to_merge(&house, &organisation, &from).await?;
            let into = find_to_merge(&house, &organisation, &into).await?;
            if from.number == into.number {
                return Err(Failure::usage(format!("the two are one device already: {}", told(&from))));
            }
            confirm(
                yes,
                &format!(
                    "{} becomes part of {}, in every answer about the past too; `{}` takes it back. Merge them?",
                    told(&from),
                    told(&into),
                    hint::run(format!("device split {}:{}", from.identity.kind().word(), from.identity))
                ),
            )?;
            let change = RegistryChange::Merge { from: from.identity.clone(), into: into.identity.clone() };
            house.store.teach(organisation.id, change).await?;
            let device = find_key(&house, &organisation, DeviceKey::Identity(into.identity)).await?;
            let device = device.ok_or_else(|| Failure::unavailable("the merged device is gone"))?;
            show(&device, &mut context)
        }
        DeviceCommand::Split { device, yes } => {
            split(&house, &organisation, (&device, yes), &mut context).await
        }
        DeviceCommand::Rename { device, name, none: _ } => {
            let device = find_to_merge(&house, &organisation, &device).await?;
            // It may have been called something by any of its identities; a name of the owner goes before all others.
            for identity in told_to(&device, name.is_none()) {
                let change = RegistryChange::Rename { identity: identity.clone(), name: name.clone() };
                house.store.teach(organisation.id, change).await?;
            }
            show_again(&house, &organisation, device.identity, &mut context).await
        }
        DeviceCommand::Tag { device, tags, remove } => {
            let device = find_to_merge(&house, &organisation, &device).await?;
            for tag in tags {
                // A device's tags may have been given to any of its identities.
                for identity in told_to(&device, remove) {
                    let change = if remove { TagChange::Remove } else { TagChange::Add };
                    let change = RegistryChange::Tag { identity: identity.clone(), tag: tag.clone(), change };
                    house.store.teach(organisation.id, change).await?;
                }
            }
            show_again(&house, &organisation, device.identity, &mut context).await
        }
        DeviceCommand::Networks { unique, nat } => {
            for (kind, list) in [(NetworkKind::Unique, unique), (NetworkKind::Nat, nat)] {
                if let Some(Networks(list)) = list {
                    house.store.teach(organisation.id, RegistryChange::Networks(kind, list)).await?;
                }
            }
            show_networks(&house.store.registry(organisation.id).await?, &mut context)
        }
        DeviceCommand::Domain { domain } => set_domain(&house, &organisation, &domain, &mut context).await,
    }
}

/// The identities to which an operator's word on a device goes: its owner, to take something off all of them.
fn told_to(device: &DeviceEntry, takes_off: bool) -> impl Iterator<Item = &Identity> {
    let all = std::iter::once(&device.identity).chain(&device.others);
    all.take(if takes_off { usize::MAX } else { 1 })
}

/// Takes back a merge of what a person means: a name of its own, since its device is the one that it is merged into.
async fn split(
    house: &House,
    organisation: &Organisation,
    (typed, yes): (&str, bool),
    context: &mut Context,
) -> Outcome {
    let Some((identity, device)) = find_identity(house, organisation, typed).await? else {
        return Err(unknown(organisation, typed, Exit::WrongCommandLine));
    };
    confirm(
        yes,
        &format!(
            "The merge by which {} '{identity}' is part of {} is taken back, in every answer about the past too. Split them?",
            identity.kind().word(),
            told(&device)
        ),
    )?;
    house.store.teach(organisation.id, RegistryChange::Split(identity.clone())).await?;
    show_again(house, organisation, identity, context).await
}

async fn show_again(
    house: &House,
    organisation: &Organisation,
    identity: Identity,
    context: &mut Context,
) -> Outcome {
    let device = find_key(house, organisation, DeviceKey::Identity(identity)).await?;
    let device = device.ok_or_else(|| Failure::unavailable("the device is gone"))?;
    show(&device, context)
}

fn show_networks(settings: &RegistrySettings, context: &mut Context) -> Outcome {
    let texts = |list: &[Network]| list.iter().map(Network::to_string).collect::<Vec<_>>();
    let (unique, nat) = (texts(&settings.unique_networks), texts(&settings.nat_gateways));
    if context.global.json {
        context.output.json(
            &serde_json::json!({ "unique_networks": unique, "nat_gateways": nat, "domain": settings.domain }),
        )?;
        return Ok(Exit::Done);
    }
    let of_all = [texts(&context.settings.unique_networks), texts(&context.settings.store.nat_gateways)];
    let both = [("One machine at a time:", unique), ("NAT gateways:", nat)];
    for ((what, list), of_all) in both.into_iter().zip(of_all) {
        let mut list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        if !of_all.is_empty() {
            list.push_str(&format!("; in every organisation, by the settings: {}", of_all.join(", ")));
        }
        context.output.line(format!("{what:<23}{list}"))?;
    }
    Ok(Exit::Done)
}

fn list(devices: &[DeviceEntry], context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(&devices.iter().map(Shown::from).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows =
        table(&["number", "called", "kind", "name", "other names", "tags", "group", "last reported"]);
    align_right(&mut rows, 0);
    for device in devices {
        rows.add_row([
            device.number.to_string(),
            label(device.display_name.as_ref()),
            device.identity.kind().word().to_owned(),
            device.identity.to_string(),
            device.others.iter().map(Identity::to_string).collect::<Vec<_>>().join(", "),
            labels(&device.tags),
            label(device.machine_group.as_ref()),
            device.last_reported.map(|day| day.to_string()).unwrap_or_default(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}

fn show(device: &DeviceEntry, context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(&Shown::from(device))?;
        return Ok(Exit::Done);
    }
    let last = device
        .last_reported
        .map_or_else(|| "never reported".to_owned(), |day| format!("last reported {day}"));
    let called = device.display_name.as_ref().map(|name| format!(" '{}'", escape(name.as_str())));
    context.output.line(format!("Device #{}{}, {last}", device.number, called.unwrap_or_default()))?;
    for (index, identity) in std::iter::once(&device.identity).chain(&device.others).enumerate() {
        let lead = if index == 0 { "counted as" } else { "also" };
        context.output.line(format!("  {lead:<10}  {:<9}  {identity}", identity.kind().word()))?;
    }
    if !device.tags.is_empty() {
        context.output.line(format!("  tagged      {}", labels(&device.tags)))?;
    }
    if device.machine_group.is_some() {
        context.output.line(format!("  in group    {}", label(device.machine_group.as_ref())))?;
    }
    show_leases(&device.leases, context)?;
    Ok(Exit::Done)
}

/// The newest of a device's leases; JSON has all.
const LEASES_SHOWN_MAX: usize = 20;

fn show_leases(leases: &[HeldLease], context: &mut Context) -> Result<(), Failure> {
    for lease in leases.iter().rev().take(LEASES_SHOWN_MAX) {
        let until = lease.until.map_or_else(|| "the next lease".to_owned(), |until| until.to_string());
        context
            .output
            .line(format!("  leased      {} to {}, {} until {until}", lease.what, lease.who, lease.since))?;
    }
    let rest = leases.len().saturating_sub(LEASES_SHOWN_MAX);
    if rest > 0 {
        context.output.line(format!("  and {} before; --json shows all", counted(rest as u64, "lease")))?;
    }
    Ok(())
}

fn label(label: Option<&Label>) -> String {
    label.map(|label| escape(label.as_str()).into_owned()).unwrap_or_default()
}

fn labels(labels: &[Label]) -> String {
    labels.iter().map(|label| escape(label.as_str())).collect::<Vec<_>>().join(", ")
}

async fn set_domain(
    house: &House,
    organisation: &Organisation,
    typed: &str,
    context: &mut Context,
) -> Outcome {
    let domain = match typed.trim().trim_matches('.').to_lowercase() {
        none if none.is_empty() || none == "none" => None,
        domain => Some(domain),
    };
    if domain.as_ref().is_some_and(|domain| !is_domain(domain)) {
        return Err(Failure::usage(format!(
            "'{}' is not a DNS domain; type one such as corp.example.org, or 'none'",
            escape(typed)
        )));
    }
    house.store.teach(organisation.id, RegistryChange::Domain(domain.clone())).await?;
    if context.global.json {
        context.output.json(&serde_json::json!({ "domain": domain }))?;
        return Ok(Exit::Done);
    }
    let sentence = match &domain {
        Some(domain) => format!("Short host names belong to the domain '{}'.", escape(domain)),
        None => "Short host names belong to no domain.".to_owned(),
    };
    context.output.line(sentence)?;
    Ok(Exit::Done)
}

/// Labels of letters, digits, hyphens and underscores, in the lengths that DNS allows.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn told(device: &DeviceEntry) -> String {
    format!("#{} ({} '{}')", device.number, device.identity.kind().word(), device.identity)
}

/// The device that a person means.
async fn find(
    house: &House,
    organisation: &Organisation,
    typed: &str,
) -> Result<Option<DeviceEntry>, Failure> {
    for key in keys(typed) {
        if let Some(device) = find_key(house, organisation, key).await? {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// The identity that a person means, and its device. A number means the owner of what is listed so.
async fn find_identity(
    house: &House,
    organisation: &Organisation,
    typed: &str,
) -> Result<Option<(Identity, DeviceEntry)>, Failure> {
    for key in keys(typed) {
        if let Some(device) = find_key(house, organisation, key.clone()).await? {
            let identity = match key {
                DeviceKey::Identity(identity) => identity,
                DeviceKey::Number(_) => device.identity.clone(),
            };
            return Ok(Some((identity, device)));
        }
    }
    Ok(None)
}

/// The same for a command that needs one: a name that is nobody's makes no sense there.
async fn find_to_merge(
    house: &House,
    organisation: &Organisation,
    typed: &str,
) -> Result<DeviceEntry, Failure> {
    let found = find(house, organisation, typed).await?;
    found.ok_or_else(|| unknown(organisation, typed, Exit::WrongCommandLine))
}

fn unknown(organisation: &Organisation, typed: &str, exit: Exit) -> Failure {
    let cause = anyhow::anyhow!(
        "'{}' has no device '{}'; `{}` shows all",
        escape(&organisation.name),
        escape(typed),
        hint::run("device list")
    );
    Failure { exit, cause }
}

async fn find_key(
    house: &House,
    organisation: &Organisation,
    key: DeviceKey,
) -> Result<Option<DeviceEntry>, StoreError> {
    Ok(house.store.devices(organisation.id, Some(key), clock::now()).await?.into_iter().next())
}

/// What a text may mean: a number as listed, a kind and a name, else a name of any kind, the strongest first. Digits
/// alone are a number before they are a name; the name has its kind to be told by.
fn keys(typed: &str) -> Vec<DeviceKey> {
    let number = |digits: &str| digits.parse().ok().map(DeviceKey::Number);
    if let Some(listed) = typed.strip_prefix('#').and_then(number) {
        return vec![listed];
    }
    let said = typed.split_once(':').and_then(|(word, name)| Some((IdentityKind::from_word(word)?, name)));
    let identities: Vec<Identity> = match said {
        Some((kind, name)) => Identity::new(kind, name).into_iter().collect(),
        None => [IdentityKind::AgentId, IdentityKind::HostName, IdentityKind::Mac]
            .into_iter()
            .filter_map(|kind| Identity::new(kind, typed))
            .collect(),
    };
    number(typed).into_iter().chain(identities.into_iter().map(DeviceKey::Identity)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_may_mean() {
        assert_eq!(keys("#12"), [DeviceKey::Number(12)]);
        let kinds = |typed: &str| -> Vec<&'static str> {
            let word = |key| match key {
                DeviceKey::Identity(identity) => identity.kind().word(),
                DeviceKey::Number(_) => "number",
            };
            keys(typed).into_iter().map(word).collect()
        };
        assert_eq!(kinds("12"), ["number", "agent_id", "host_name"]);
        assert_eq!(kinds("host_name:12"), ["host_name"]);
        assert_eq!(kinds("PC-17"), ["agent_id", "host_name"]);
        assert_eq!(kinds("pc-17.example.org"), ["agent_id", "fqdn"]);
        assert_eq!(kinds("10.0.0.5"), ["agent_id", "address"]);
        assert_eq!(kinds("00:0d:3a:13:e3:69"), ["agent_id", "host_name", "mac"]);
        assert_eq!(kinds("mac:00:0d:3a:13:e3:69"), ["mac"]);
    }
}
