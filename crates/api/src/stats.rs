//! The question of this product: from a path and a query to a [`Question`], and from its answer to a view. Refuses to
//! hold: who may ask (`bearer`), the bytes of the answer (`view`), and how it is found (the store).

use std::borrow::Cow;

use axum::extract::State as Held;
use axum::http::Uri;
use axum::response::Response;
use percent_encoding::percent_decode_str;
use sighting::{Address, Answer, Directory, Question, Store, Window};

use crate::bearer::IpReader;
use crate::called::Called;
use crate::error::{ApiError, Envelope, shown};
use crate::openapi::CONTRACT;
use crate::query;
use crate::routes::CalledUri;
use crate::settings::UnknownIp;
use crate::state::State;
use crate::view::{self, InOrgIpStats, Shown};

/// The parameter as documented; it is found in any case.
const LOOK_BACK: &str = "lookBackHours";
/// The look-back of a question that names none, in hours.
const LOOK_BACK_DEFAULT: u32 = 720;

/// How many devices opened a connection to this address, first, last
///
/// The window is `[now - lookBackHours * 3600 s, now]`, both ends included, clipped to what is kept. The answer is exact.
#[utoipa::path(
    get,
    path = "/api/ips/{ip}/stats",
    tag = CONTRACT,
    params(
        ("ip" = String, Path, description = "One IPv4 or IPv6 address, without port, zone or prefix length", example = "203.0.113.10"),
        ("lookBackHours" = Option<i32>, Query, description = "How far to look back: 1 to 720, or to the retention where that is longer", minimum = 1, example = 720),
    ),
    responses(
        (status = 200, description = "Seen, or known and quiet in this window (zeros and nulls)", body = InOrgIpStats<'static>),
        (status = 400, description = "Not an address (`InvalidIpAddress`), or lookBackHours out of its range (`InvalidInput`)", body = Envelope<'static>),
        (status = 401, description = "No token, or one that is not valid here", body = Envelope<'static>),
        (status = 403, description = "The token lacks Ip.Read.All, or its user a role with View Data", body = Envelope<'static>),
        (status = 404, description = "The address is not in the kept data (`ResourceNotFound`)", body = Envelope<'static>),
        (status = 421, description = "The host is none of this server's (`MisdirectedRequest`)", body = Envelope<'static>),
        (status = 429, description = "Over 100 calls in 60 seconds or 1,500 in an hour; see Retry-After", body = Envelope<'static>),
        (status = 503, description = "Not ready or overloaded; see Retry-After", body = Envelope<'static>),
    ),
    security(("token" = ["Ip.Read.All"]))
)]
pub(crate) async fn stats<S: Store + 'static, D: Directory + 'static>(
    Held(state): Held<State<S, D>>,
    reader: IpReader,
    Called(called): Called,
    CalledUri(uri): CalledUri,
) -> Result<Response, ApiError> {
    let text = address_text(&uri)?;
    let address = parse_address(&text)?;
    let retention = reader.retention;
    let hours = look_back(uri.query().unwrap_or_default(), retention.look_back_cap())?;
    let settings = &state.shared().settings;
    let now = state.shared().now().second();
    let kept_since = retention.since(now);
    let question = Question {
        organisation: reader.organisation,
        address,
        window: Window::look_back(now, hours),
        kept_since,
        first_seen: settings.first_seen,
    };
    let answer = state.open()?.store.stats(question).await?;
    if answer == Answer::Unknown && settings.unknown_ip == UnknownIp::NotFound {
        return Err(ApiError::ResourceNotFound { text: text.into_owned(), kept_since });
    }
    let legacy_prevalence = settings.legacy_prevalence;
    Ok(view::stats(&Shown { called: &called, text: &text, legacy_prevalence }, answer))
}

/// The caller's own spelling of the address: what lies between the first `ips/` and the last `/stats` of the path,
/// percent-decoded. A raw prefix length (`10.0.0.0/8`) is part of it, and then refused with its reason.
fn address_text(uri: &Uri) -> Result<Cow<'_, str>, ApiError> {
    let path = uri.path().trim_end_matches('/');
    let path = path.rsplit_once('/').map_or("", |(path, _stats)| path);
    let mut rest = path;
    let text = loop {
        match rest.split_once('/') {
            Some((segment, text)) if segment.eq_ignore_ascii_case("ips") => break text,
            Some((_, behind)) => rest = behind,
            None => break "",
        }
    };
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map_err(|_| ApiError::InvalidIpAddress { text: text.to_owned() })
}

fn parse_address(text: &str) -> Result<Address, ApiError> {
    Address::parse(text).map_err(|_| ApiError::InvalidIpAddress { text: text.to_owned() })
}

/// The look-back in hours: the default if it is absent, else one number from 1 to `hours_max`.
fn look_back(query: &str, hours_max: u32) -> Result<u32, ApiError> {
    let mut values = query::pairs(query.as_bytes()).filter(|(name, _)| name.eq_ignore_ascii_case(LOOK_BACK));
    let Some((_, value)) = values.next() else { return Ok(LOOK_BACK_DEFAULT) };
    let refused = |found| ApiError::InvalidInput { parameter: LOOK_BACK, range: (1, hours_max), found };
    if values.next().is_some() {
        return Err(refused("given more than once".to_owned()));
    }
    if value.is_empty() {
        return Err(refused("empty".to_owned()));
    }
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let hours = value.parse::<u32>().ok().filter(|hours| digits && (1..=hours_max).contains(hours));
    hours.ok_or_else(|| refused(format!("'{}'", shown(&value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, hours_max: u32, expected: Option<u32>) {
        assert_eq!(look_back(query, hours_max).ok(), expected, "{query}");
    }

    #[test]
    fn look_backs() {
        check("", 720, Some(720));
        check("lookBackHours=1", 720, Some(1));
        check("LOOKBACKHOURS=720", 720, Some(720));
        check("$select=x&lookbackhours=48&foo=1", 720, Some(48));
        check("look%42ackHours=4%38", 720, Some(48));
        check("lookBackHours=721", 8_760, Some(721));
        check("lookBackHours=2147483647", i32::MAX as u32, Some(i32::MAX as u32));
        check("lookBackHours=2147483648", i32::MAX as u32, None);
        for value in
            ["0", "-1", "+1", "%2B1", "721", "", "1.0", "1e2", "0x10", " 1", "1 ", "٤٨", "99999999999999"]
        {
            check(&format!("lookBackHours={value}"), 720, None);
        }
        check("lookBackHours", 720, None);
        check("lookBackHours=48&lookBackHours=48", 720, None);
        check("lookBackHours=48&LookBackHours=48", 720, None);
    }

    #[test]
    fn the_callers_own_spelling() {
        for (path, expected) in [
            ("/api/ips/10.0.0.1/stats", Some("10.0.0.1")),
            ("/API/v1.0/Ips/2001:DB8::1/Stats/", Some("2001:DB8::1")),
            ("/api/ips/2001%3Adb8%3a%3A1/stats", Some("2001:db8::1")),
            ("/api/ips/10.0.0.0/8/stats", Some("10.0.0.0/8")),
            ("/api/ips/10.0.0.0%2F8/stats", Some("10.0.0.0/8")),
            ("/api/ips/ips/stats", Some("ips")),
            ("/api/ips/%ff/stats", None),
        ] {
            let uri: Uri = path.parse().expect("a path");
            assert_eq!(address_text(&uri).ok().as_deref(), expected, "{path}");
        }
    }
}
