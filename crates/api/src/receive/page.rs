//! The sources of every organisation as a page for whoever runs the server: the counts that `/metrics` has, to look at. Refuses to hold:
//! addresses, devices, and what an error said, which may tell of either.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State as Held;
use axum::http::StatusCode;
use axum::response::Response;
use sighting::{Directory, Organisation, Second, Store, escape};

use super::SourceReport;
use super::own::with_silent;
use crate::openapi::OPERATION;
use crate::page;
use crate::state::State;

/// What a cell says of which there is nothing.
const NOTHING: &str = "–";

#[derive(Template)]
#[template(path = "sources.html")]
struct SourcesPage {
    now: String,
    organisations: Vec<ShownOrganisation>,
}

struct ShownOrganisation {
    name: String,
    sources: Vec<Row>,
}

/// A source, as words.
struct Row {
    name: String,
    kind: &'static str,
    state: String,
    format: String,
    sighted: String,
    ignored: String,
    refused: String,
    lost: String,
    bytes: String,
    newest: String,
    last_taken: String,
    last_error: String,
}

impl Row {
    fn of(report: SourceReport) -> Row {
        let time = |second: Option<Second>| second.map_or_else(|| NOTHING.to_owned(), |it| it.to_string());
        Row {
            name: escape(&report.name).into_owned(),
            kind: report.kind,
            state: state(&report),
            format: report.format.unwrap_or_else(|| "told by its bytes".to_owned()),
            sighted: grouped(report.sighted),
            ignored: counts(&report.ignored),
            refused: counts(&report.refused),
            lost: counts(&report.lost),
            bytes: grouped(report.bytes),
            newest: time(report.newest),
            last_taken: time(report.last_taken),
            last_error: time(report.last_error.map(|(at, _)| at)),
        }
    }
}

/// How it stands now.
fn state(report: &SourceReport) -> String {
    let mut words = vec![if report.error.is_some() { "in trouble".to_owned() } else { "well".to_owned() }];
    if report.open > 0 {
        words.push(format!("{} open", grouped(report.open)));
    }
    if report.paused > 0 {
        words.push(format!("{} left", grouped(report.paused)));
    }
    words.join(", ")
}

/// Counts by reason, the greatest first.
fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    let mut all: Vec<(&str, u64)> = counts.iter().map(|(reason, count)| (*reason, *count)).collect();
    all.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
    let words: Vec<String> =
        all.iter().map(|(reason, count)| format!("{} {reason}", grouped(*count))).collect();
    if words.is_empty() { NOTHING.to_owned() } else { words.join(", ") }
}

/// Digits in threes.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// The sources of all organisations and what each has told since the server started, as a page
#[utoipa::path(
    get,
    path = "/sources",
    tag = OPERATION,
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 503, description = "The store is being opened", body = String, content_type = "text/html"),
    )
)]
pub(crate) async fn sources_page<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
) -> Response {
    let unavailable = |why: &str| page::message(StatusCode::SERVICE_UNAVAILABLE, "Not ready", why);
    let Ok(open) = state.open() else {
        return unavailable("The store is being opened. Try again in a moment.");
    };
    let book = match open.directory.book().await {
        Ok(book) => book,
        Err(error) => return unavailable(&escape(&error.to_string())),
    };
    let shown = |organisation: &Organisation| {
        let reports = state.intake().map(|intake| intake.reports(organisation.id)).unwrap_or_default();
        let sources = with_silent(reports, &book, organisation.id).into_iter().map(Row::of).collect();
        ShownOrganisation { name: escape(&organisation.name).into_owned(), sources }
    };
    let mut organisations: Vec<ShownOrganisation> = book.organisations.values().map(shown).collect();
    organisations.sort_by(|a, b| a.name.cmp(&b.name));
    let now = state.shared().now().second().to_string();
    page::of(&SourcesPage { now, organisations }, StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_threes() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), shown);
        }
        assert_eq!(counts(&BTreeMap::from([("blank", 2), ("header", 1_000)])), "1,000 header, 2 blank");
        assert_eq!(counts(&BTreeMap::new()), NOTHING);
        let mut report = SourceReport::new("dc".to_owned(), "files", None);
        assert_eq!(state(&report), "well");
        (report.open, report.paused, report.error) = (1_200, 3, Some("no such folder".to_owned()));
        assert_eq!(state(&report), "in trouble, 1,200 open, 3 left");
    }
}
