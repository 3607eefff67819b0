//! `seenby stats`: the question of this product, on the command line. Refuses to hold: HTTP's words for the same
//! answers (the HTTP room) and the counting (the store).

use std::io::{BufRead, IsTerminal as _};

use clap::Args;
use serde::Serialize;
use sighting::{
    Answer, Bound, Coverage, FirstSeen, Organisation, Questions, Retention, Second, Store as _, Window,
    escape,
};

use super::Context;
use crate::clock;
use crate::defang::{self, Asked};
use crate::exit::{Exit, Failure, Outcome};
use crate::hint;
use crate::house::House;
use crate::output::{counted, grouped};

/// The look-back when none is asked for, in hours: the contract's.
const LOOK_BACK_DEFAULT: u32 = 720;

/// Ask how many devices opened a connection to an address, first, last
///
/// Exit code 0 if at least one address was seen, 1 if none was.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  seenby stats 198.51.100.20 --last 7d\n  seenby stats 'hxxp://198[.]51[.]100[.]20/x' --json\n  cut -f1 iocs.txt | seenby stats - --json"
)]
pub(crate) struct StatsArgs {
    /// Addresses, also defanged (198[.]51[.]100[.]20); - reads them from standard input, one a line
    #[arg(required = true, value_name = "IP|-")]
    addresses: Vec<String>,
    /// How far to look back, in hours [default: 720]
    #[arg(long, value_name = "HOURS", conflicts_with = "last", allow_negative_numbers = true)]
    look_back_hours: Option<String>,
    /// The same with a unit: 48h, 7d or 4w
    #[arg(long, value_name = "TIME", value_parser = parse_last, allow_hyphen_values = true)]
    last: Option<u32>,
    /// Answer as at an earlier moment: 2024-04-29T21:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = parse_instant)]
    as_of: Option<Second>,
}

/// The body of the contract; the order of its keys is part of it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "@odata.context")]
    context: &'static str,
    #[serde(rename = "ipAddress")]
    ip_address: &'a str,
    #[serde(rename = "orgPrevalence", skip_serializing_if = "Option::is_none")]
    legacy_prevalence: Option<String>,
    #[serde(rename = "organizationPrevalence")]
    prevalence: u32,
    #[serde(rename = "orgFirstSeen")]
    first_seen: Option<String>,
    #[serde(rename = "orgLastSeen")]
    last_seen: Option<String>,
    /// Ours, and only where the number is not exact: the contract has nothing of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<String>,
}

/// The contract's host is that of the call; a command line has none.
const CONTEXT: &str = "https://localhost/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats";

/// Wrong lines of standard input that are told; more are counted.
const WRONG_LINES_TOLD_MAX: usize = 20;

/// What some editors put before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Addresses that are asked for together: sorted they are quicker, and nobody waits long for the first answers.
const ASKED_AT_ONCE: usize = 4_096;

/// What is asked of every address alike.
struct Asking {
    organisation: Organisation,
    window: Window,
    hours: u32,
    kept_since: Second,
    first_seen: FirstSeen,
}

/// Runs the command.
pub(crate) async fn run(args: StatsArgs, mut context: Context) -> Outcome {
    let asked = addresses(&args.addresses)?;
    let now = clock::now();
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    let hours = look_back(&args, &organisation)?;
    let asking = Asking {
        window: Window::look_back(args.as_of.unwrap_or(now), hours),
        kept_since: organisation.retention.since(now),
        organisation,
        hours,
        first_seen: context.settings.api.first_seen,
    };
    let mut exit = Exit::NotSeen;
    let mut is_read = true;
    for some in asked.chunks(ASKED_AT_ONCE) {
        let answers = ask(&house, &asking, some).await?;
        if answers.iter().any(|answer| matches!(answer, Answer::Seen(_))) {
            exit = Exit::Done;
        }
        for (one, answer) in some.iter().zip(answers) {
            is_read = is_read && print(&house, &asking, one, answer, &mut context).await?;
        }
        // The exit code tells of all answers, also when nobody reads them; it is known as soon as one was seen.
        if !is_read && exit == Exit::Done {
            break;
        }
    }
    Ok(exit)
}

/// Prints an answer; says whether anybody reads.
async fn print(
    house: &House,
    asking: &Asking,
    asked: &Asked,
    answer: Answer,
    context: &mut Context,
) -> Result<bool, Failure> {
    let printed = if context.global.json {
        context.output.json(&body(asked, answer, context.settings.api.legacy_prevalence))
    } else {
        let lines = tell(house, asking, asked, answer).await?;
        lines.into_iter().try_for_each(|line| context.output.line(line))
    };
    match printed {
        Err(failure) if failure.is_broken_pipe() => Ok(false),
        printed => printed.map(|()| true),
    }
}

async fn ask(house: &House, asking: &Asking, asked: &[Asked]) -> Result<Vec<Answer>, Failure> {
    let questions = Questions {
        organisation: asking.organisation.id,
        addresses: asked.iter().map(|one| one.address).collect(),
        window: asking.window,
        kept_since: asking.kept_since,
        first_seen: asking.first_seen,
    };
    Ok(house.store.stats_of(questions).await?)
}

fn body(asked: &Asked, answer: Answer, legacy_prevalence: bool) -> Body<'_> {
    let (prevalence, first, last, bound) = match answer {
        Answer::Seen(stats) => (stats.prevalence.get(), Some(stats.first), Some(stats.last), stats.bound),
        Answer::Quiet | Answer::Unknown => (0, None, None, Bound::Exact),
    };
    Body {
        context: CONTEXT,
        ip_address: &asked.text,
        legacy_prevalence: legacy_prevalence.then(|| prevalence.to_string()),
        prevalence,
        first_seen: first.map(|second| second.to_string()),
        last_seen: last.map(|second| second.to_string()),
        bound: bound.words().map(|words| words.replace(' ', "_")),
    }
}

/// The answer in sentences.
async fn tell(house: &House, asking: &Asking, asked: &Asked, answer: Answer) -> Result<Vec<String>, Failure> {
    let Asking { organisation, window, hours, kept_since, first_seen } = asking;
    let address = asked.address;
    let name = escape(&organisation.name);
    let span = format!("in the {} up to {}", counted(u64::from(*hours), "hour"), window.until());
    let stats = match answer {
        Answer::Seen(stats) => stats,
        Answer::Quiet | Answer::Unknown => {
            let mut lines =
                vec![format!("{address}: no device of '{name}' opened a connection to it {span}.")];
            if answer == Answer::Quiet {
                lines.push("  It was seen before that window: look back further.".to_owned());
            }
            let coverage = house.store.coverage(organisation.id, *kept_since, window.until()).await?;
            lines.extend(tell_coverage(&coverage, asking));
            return Ok(lines);
        }
    };
    let bound = stats.bound.words().map(|words| format!("{words} ")).unwrap_or_default();
    let devices = format!("{bound}{}", counted(stats.prevalence.get().into(), "device"));
    let mut lines = vec![format!("{address}: {devices} of '{name}' opened a connection to it {span}.")];
    for (what, second) in [("First", stats.first), ("Last ", stats.last)] {
        lines.push(format!("  {what}  {second}   ({} here)", clock::local(second)));
    }
    if *first_seen == FirstSeen::InKept {
        lines.push("  First is of all kept data, not of that window (setting api.first_seen).".to_owned());
    }
    lines.extend(tell_bound(stats.bound).map(str::to_owned));
    lines.extend(tell_clip(asking));
    Ok(lines)
}

/// Why the number is not exact.
fn tell_bound(bound: Bound) -> Option<&'static str> {
    match bound {
        Bound::Exact => None,
        Bound::AtMost => Some(
            "  At most, because some are known by an address or MAC alone, which may be another one's: DHCP leases or a map \
             of addresses tell (`ingest`).",
        ),
        Bound::AtLeast => Some("  At least, because one is a NAT gateway, behind which there may be more."),
        Bound::About => Some(
            "  About, because some are known by an address or MAC alone, which may be another one's, and one is a NAT \
             gateway, behind which there may be more.",
        ),
    }
}

/// Whether there are data at all: what a zero is worth.
fn tell_coverage(coverage: &Coverage, asking: &Asking) -> Vec<String> {
    let Some((first, last)) = coverage.span else {
        let kept = if asking.window.until() < asking.kept_since {
            format!(
                "nothing from before {} is kept (see `{}`)",
                asking.kept_since,
                hint::run("retention show")
            )
        } else {
            format!("feed logs with `{}`", hint::run("ingest FILE"))
        };
        return vec![format!("  There are no data at all for that time, so this says nothing: {kept}.")];
    };
    let sources: Vec<_> = coverage.sources.iter().map(|source| escape(source.as_str())).collect();
    let sources = sources.join(", ");
    if last < asking.window.since() {
        return vec![format!(
            "  There are no data for that time, so this says nothing: those up to then are from {first} to {last}, by \
             {sources}."
        )];
    }
    let most = coverage.reporters.iter().map(|(_, count)| *count).max().unwrap_or_default();
    let mut lines = vec![format!(
        "  There are data from {first} to {last}, by {sources}; up to {} reported on one day.",
        counted(most.into(), "device")
    )];
    lines.extend(tell_clip(asking));
    lines
}

/// Says that the window reaches back further than what is kept.
fn tell_clip(asking: &Asking) -> Option<String> {
    (asking.window.since() < asking.kept_since)
        .then(|| {
            format!("  What is older than {} is not kept, so the window begins there.", asking.kept_since)
        })
        // The usual question on the usual retention is not clipped, but for the seconds since it was asked.
        .filter(|_| asking.kept_since.unix() - asking.window.since().unix() > 60)
}

/// Every address asked about, before any is answered: a typing error costs nothing then.
fn addresses(typed: &[String]) -> Result<Vec<Asked>, Failure> {
    let mut asked = Vec::new();
    for text in typed {
        if text != "-" {
            asked.push(defang::parse(text).map_err(Failure::usage)?);
            continue;
        }
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            crate::output::note("Type addresses, one a line; end with Ctrl-D.");
        }
        asked.extend(listed(stdin.lock())?);
    }
    Ok(asked)
}

/// The addresses of standard input, or everything that is wrong with it.
fn listed(input: impl BufRead) -> Result<Vec<Asked>, Failure> {
    let (mut asked, mut told, mut wrong) = (Vec::new(), Vec::new(), 0_usize);
    for (index, line) in input.split(b'\n').enumerate() {
        let line = line?;
        let line = if index == 0 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line) } else { &line };
        match parse_line(line) {
            Ok(one) => asked.extend(one),
            Err(error) => {
                wrong += 1;
                if told.len() < WRONG_LINES_TOLD_MAX {
                    told.push(format!("standard input, line {}: {error}", index + 1));
                }
            }
        }
    }
    if wrong > told.len() {
        told.push(format!("and {} more", grouped((wrong - told.len()) as u64)));
    }
    if wrong > 0 {
        return Err(Failure::usage(told.join("\n")));
    }
    if asked.is_empty() {
        return Err(Failure::usage("there is no address on standard input; give some, one a line"));
    }
    Ok(asked)
}

/// One line: an address, or none on one that is empty or a remark.
fn parse_line(line: &[u8]) -> Result<Option<Asked>, String> {
    let line = std::str::from_utf8(line)
        .map_err(|_| "is not UTF-8; write one address a line, such as 198.51.100.20".to_owned())?;
    match line.trim() {
        "" => Ok(None),
        remark if remark.starts_with('#') => Ok(None),
        address => defang::parse(address).map(Some),
    }
}

fn look_back(args: &StatsArgs, organisation: &Organisation) -> Result<u32, Failure> {
    let cap = organisation.retention.look_back_cap();
    let (option, typed, hours) = match (&args.look_back_hours, args.last) {
        (Some(typed), _) => ("--look-back-hours", typed.clone(), digits(typed)),
        (None, Some(hours)) => ("--last", format!("{hours} hours"), Some(hours)),
        (None, None) => return Ok(LOOK_BACK_DEFAULT),
    };
    hours.filter(|hours| (1..=cap).contains(hours)).ok_or_else(|| {
        Failure::usage(format!(
            "{option} is '{}'; it must be a whole number of hours from 1 to {cap} ({})",
            escape(&typed),
            why_no_more(organisation)
        ))
    })
}

/// Where the largest look-back comes from.
fn why_no_more(organisation: &Organisation) -> String {
    let name = escape(&organisation.name);
    match organisation.retention {
        Retention::Forever => "the largest number there is".to_owned(),
        Retention::Hours(hours) if hours > LOOK_BACK_DEFAULT => format!("the retention of '{name}'"),
        Retention::Hours(hours) => {
            format!(
                "what the API allows at most, with the retention of '{name}' at {}",
                counted(hours.into(), "hour")
            )
        }
    }
}

fn digits(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `48h`, `7d`, `4w` in hours.
fn parse_last(text: &str) -> Result<u32, String> {
    let hours = |digits_of: &str, unit: u32| digits(digits_of)?.checked_mul(unit);
    let parsed = match text.char_indices().last() {
        Some((at, 'h' | 'H')) => hours(&text[..at], 1),
        Some((at, 'd' | 'D')) => hours(&text[..at], 24),
        Some((at, 'w' | 'W')) => hours(&text[..at], 24 * 7),
        _ => None,
    };
    parsed.ok_or_else(|| "type a number and a unit: 48h, 7d or 4w".to_owned())
}

/// An instant of RFC 3339, cut to whole seconds.
fn parse_instant(text: &str) -> Result<Second, String> {
    let advice = "type date, time and offset, such as 2024-04-29T21:00:00Z or 2024-04-29T23:00:00+02:00";
    let instant: jiff::Timestamp = text.parse().map_err(|_| advice.to_owned())?;
    Second::from_unix(instant.as_second()).ok_or_else(|| format!("{advice}, between 1970 and 2106"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_look_back() {
        assert_eq!(parse_last("48h"), Ok(48));
        assert_eq!(parse_last("7d"), Ok(168));
        assert_eq!(parse_last("4W"), Ok(672));
        for wrong in ["", "7", "d", "-7d", "7 d", "7m", "99999999999d", "４d"] {
            assert!(parse_last(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants() {
        assert_eq!(parse_instant("2017-07-30T13:36:06.9Z").map(Second::unix), Ok(1_501_421_766));
        assert_eq!(parse_instant("2017-07-30T15:36:06+02:00").map(Second::unix), Ok(1_501_421_766));
        for wrong in
            ["2017-07-30", "2017-07-30T13:36:06", "yesterday", "1969-01-01T00:00:00Z", "2200-01-01T00:00:00Z"]
        {
            assert!(parse_instant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_body_is_the_contract_s() {
        let asked = defang::parse("10.209.67.177").expect("an address");
        let stats = sighting::Stats {
            prevalence: std::num::NonZeroU32::new(63_515).expect("not zero"),
            first: Second::new(1_501_421_766),
            last: Second::new(1_504_013_579),
            bound: Bound::Exact,
        };
        let seen = serde_json::to_string(&body(&asked, Answer::Seen(stats), true)).expect("JSON");
        assert_eq!(
            seen,
            r#"{"@odata.context":"https://localhost/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats","ipAddress":"10.209.67.177","orgPrevalence":"63515","organizationPrevalence":63515,"orgFirstSeen":"2017-07-30T13:36:06Z","orgLastSeen":"2017-08-29T13:32:59Z"}"#
        );
        let stats = sighting::Stats { bound: Bound::AtMost, ..stats };
        let seen = serde_json::to_string(&body(&asked, Answer::Seen(stats), true)).expect("JSON");
        assert!(seen.ends_with(r#""orgLastSeen":"2017-08-29T13:32:59Z","bound":"at_most"}"#), "{seen}");
        let quiet = serde_json::to_string(&body(&asked, Answer::Quiet, false)).expect("JSON");
        assert!(
            quiet.ends_with(r#""organizationPrevalence":0,"orgFirstSeen":null,"orgLastSeen":null}"#),
            "{quiet}"
        );
    }
}
