//! `seenby device`: what is counted, which names belong to it, and an operator's word on both. Refuses to hold: the
//! registry itself (the store's).

use clap::Subcommand;
use serde::Serialize;
use sighting::{
    DeviceEntry, DeviceKey, Identity, IdentityKind, Organisation, RegistryChange, Store as _, StoreError,
    escape,
};

use super::{Context, confirm};
use crate::exit::{Exit, Failure, Outcome};
use crate::hint;
use crate::house::House;
use crate::output::{align_right, table};

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
    /// Say to which DNS domain short host names belong
    #[command(after_help = "Examples:\n  seenby device domain corp.example.org\n  seenby device domain none")]
    Domain {
        /// The domain, or 'none'
        domain: String,
    },
}

const NAMING: &str = "A device is named by any name it reported under (agent id, host name, MAC, address), by a kind and a name\n\
    (agent_id:…, fqdn:…, host_name:…, mac:…, address:…), or by its number as listed: 12 or '#12'.";

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
}

impl<'a> From<&'a DeviceEntry> for Shown<'a> {
    fn from(entry: &'a DeviceEntry) -> Shown<'a> {
        Shown {
            number: entry.number,
            identity: (&entry.identity).into(),
            others: entry.others.iter().map(ShownName::from).collect(),
            last_reported: entry.last_reported.map(|day| day.to_string()),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(command: DeviceCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    match command {
        DeviceCommand::List => {
            let devices = house.store.devices(organisation.id, None).await?;
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
                    "{} becomes part of {}, in every answer about the past too. There is no command yet that takes \
                     this back. Merge them?",
                    told(&from),
                    told(&into)
                ),
            )?;
            let change = RegistryChange::Merge { from: from.identity.clone(), into: into.identity.clone() };
            house.store.teach(organisation.id, change).await?;
            let device = find_key(&house, &organisation, DeviceKey::Identity(into.identity)).await?;
            let device = device.ok_or_else(|| Failure::unavailable("the merged device is gone"))?;
            show(&device, &mut context)
        }
        DeviceCommand::Domain { domain } => set_domain(&house, &organisation, &domain, &mut context).await,
    }
}

fn list(devices: &[DeviceEntry], context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(&devices.iter().map(Shown::from).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["number", "kind", "name", "other names", "last reported"]);
    align_right(&mut rows, 0);
    for device in devices {
        rows.add_row([
            device.number.to_string(),
            device.identity.kind().word().to_owned(),
            device.identity.to_string(),
            device.others.iter().map(Identity::to_string).collect::<Vec<_>>().join(", "),
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
    context.output.line(format!("Device #{}, {last}", device.number))?;
    for (index, identity) in std::iter::once(&device.identity).chain(&device.others).enumerate() {
        let lead = if index == 0 { "counted as" } else { "also" };
        context.output.line(format!("  {lead:<10}  {:<9}  {identity}", identity.kind().word()))?;
    }
    Ok(Exit::Done)
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
    Ok(house.store.devices(organisation.id, Some(key)).await?.into_iter().next())
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
