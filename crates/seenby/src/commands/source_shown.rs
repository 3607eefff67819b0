//! What `seenby source` shows of a source: text, tables and JSON. Refuses to hold: commands, and tokens (they are not kept).

use std::num::{NonZeroU32, NonZeroU64};

use serde::Serialize;
use sighting::{Book, Network, Organisation, ReadAs, Second, Secret, Source, SourceBounds, escape};

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::output::{counted, grouped, table};

/// A source with its new token, as JSON.
#[derive(Serialize)]
pub(super) struct Added {
    id: String,
    name: String,
    /// Shown once.
    token: String,
    /// When it ends; null: never.
    expires_at: Option<String>,
}

impl Added {
    pub(super) fn of(source: &Source, token: &api::PlainSecret, expires_at: Option<Second>) -> Added {
        Added {
            id: source.id.to_string(),
            name: source.name.as_str().to_owned(),
            token: token.reveal().to_owned(),
            expires_at: expires_at.map(|end| end.to_string()),
        }
    }
}

/// Shows a new token.
pub(super) fn show_added(sentence: &str, added: &Added, context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(added)?;
        return Ok(Exit::Done);
    }
    context.output.line(sentence)?;
    context.output.line(format!("  token  {}", added.token))?;
    if let Some(end) = &added.expires_at {
        context.output.line(format!("  ends   {end}"))?;
    }
    context
        .output
        .line("The token is shown this once; only its hash is kept. It can send, and nothing else.")?;
    Ok(Exit::Done)
}

/// One source as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    tenant: String,
    id: String,
    name: &'a str,
    format: Option<&'a str>,
    time_zone: Option<&'a str>,
    columns: Option<&'a str>,
    local_networks: Option<Vec<String>>,
    from: Vec<String>,
    bytes_per_second: Option<NonZeroU64>,
    new_devices_per_hour: Option<NonZeroU32>,
    back_dating_hours: Option<NonZeroU32>,
    created_at: String,
    tokens: Vec<ShownToken>,
}

/// One token as JSON, without what is secret.
#[derive(Serialize)]
struct ShownToken {
    created_at: String,
    expires_at: Option<String>,
}

impl<'a> From<&'a Source> for Shown<'a> {
    fn from(source: &'a Source) -> Shown<'a> {
        let ReadAs { format, time_zone, columns, local_networks } = &source.read_as;
        let token = |token: &Secret| ShownToken {
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|end| end.to_string()),
        };
        Shown {
            tenant: source.organisation.to_string(),
            id: source.id.to_string(),
            name: source.name.as_str(),
            format: format.as_deref(),
            time_zone: time_zone.as_deref(),
            columns: columns.as_deref(),
            local_networks: local_networks.as_deref().map(texts),
            from: texts(&source.bounds.networks),
            bytes_per_second: source.bounds.bytes_per_second,
            new_devices_per_hour: source.bounds.new_devices_per_hour,
            back_dating_hours: source.bounds.back_dating_hours,
            created_at: source.created_at.to_string(),
            tokens: source.tokens.iter().map(token).collect(),
        }
    }
}

fn texts(networks: &[Network]) -> Vec<String> {
    networks.iter().map(Network::to_string).collect()
}

fn joined(networks: &[Network], none: &str) -> String {
    if networks.is_empty() { none.to_owned() } else { texts(networks).join(" ") }
}

/// Shows one.
pub(super) fn show_one(source: &Source, context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(&Shown::from(source))?;
        return Ok(Exit::Done);
    }
    let ReadAs { format, time_zone, columns, local_networks } = &source.read_as;
    let SourceBounds { networks, bytes_per_second, new_devices_per_hour, back_dating_hours } = &source.bounds;
    let number = |number: Option<u64>, one: &str, none: &str| {
        number.map_or_else(|| none.to_owned(), |number| counted(number, one))
    };
    let mut rows = vec![
        ("id", source.id.to_string()),
        ("format", format.clone().unwrap_or_else(|| "told by the first bytes".to_owned())),
        ("from", joined(networks, "anywhere")),
        ("a second", number(bytes_per_second.map(NonZeroU64::get), "byte", "any number of bytes")),
        (
            "an hour",
            number(new_devices_per_hour.map(|it| it.get().into()), "new device", "any number of new devices"),
        ),
        ("back to", number(back_dating_hours.map(|it| it.get().into()), "hour", "what is kept")),
        ("made", source.created_at.to_string()),
    ];
    rows.extend(time_zone.iter().map(|zone| ("time zone", zone.clone())));
    rows.extend(columns.iter().map(|columns| ("columns", escape(columns).into_owned())));
    rows.extend(local_networks.iter().map(|networks| ("local", joined(networks, "none"))));
    for token in &source.tokens {
        let end = token.expires_at.map_or_else(|| "never ends".to_owned(), |end| format!("ends {end}"));
        rows.push(("token", format!("made {}, {end}", token.created_at)));
    }
    context.output.line(escape(source.name.as_str()))?;
    for (name, value) in rows {
        context.output.line(format!("  {name:<11}{value}"))?;
    }
    Ok(Exit::Done)
}

/// Lists those of an organisation.
pub(super) fn list(book: &Book, organisation: &Organisation, context: &mut Context) -> Outcome {
    let mut sources: Vec<&Source> =
        book.sources.values().filter(|source| source.organisation == organisation.id).collect();
    sources.sort_by_key(|source| source.name.as_str().to_lowercase());
    if context.global.json {
        context.output.json(&sources.into_iter().map(Shown::from).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["name", "format", "from", "new devices an hour", "tokens", "made"]);
    for source in sources {
        let devices = source.bounds.new_devices_per_hour.map(|devices| grouped(devices.get().into()));
        rows.add_row([
            escape(source.name.as_str()).into_owned(),
            source.read_as.format.clone().unwrap_or_else(|| "auto".to_owned()),
            joined(&source.bounds.networks, "anywhere"),
            devices.unwrap_or_else(|| "any".to_owned()),
            source.tokens.len().to_string(),
            source.created_at.to_string(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}
