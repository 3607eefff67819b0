//! Times as logs write them, cut to whole seconds: ISO 8601 with or without a zone, and epoch numbers whose unit is
//! told by their size. Refuses to hold: which time zone a source's clocks are in, locale formats (their order of day and
//! month would be a guess), and what the time is now.
//!
//! `2031-03-04T10:01:02.345678Z`, `2031-03-04 10:01:02.345`, `2031-03-04T12:01:02+0200`, `1930557662.345678`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sighting::Second;

use crate::record::{Fault, Refusal};
use crate::settings::Settings;

/// A civil time, and whether it said its zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Iso {
    /// An instant.
    Zoned(Second),
    /// A wall clock's reading; the instant if it was UTC.
    Zoneless(Second),
}

impl Iso {
    /// The instant, where a missing zone means UTC by the format's definition.
    pub(crate) const fn utc(self) -> Second {
        match self {
            Iso::Zoned(second) | Iso::Zoneless(second) => second,
        }
    }

    /// The instant, where a missing zone is the source's.
    pub(crate) fn in_zone_of(self, settings: &Settings) -> Result<Second, Refusal> {
        match (self, &settings.time_zone) {
            (Iso::Zoned(second), _) => Ok(second),
            (Iso::Zoneless(civil), Some(zone)) => in_zone(civil, zone).ok_or(Refusal::BadTime),
            (Iso::Zoneless(_), None) => Err(Refusal::NoTimezone),
        }
    }
}

/// What a field says in ISO 8601, with a zone or in the source's, or as an epoch number.
pub(crate) fn instant(written: &str, field: &'static str, settings: &Settings) -> Result<Second, Fault> {
    let second = match iso(written) {
        Some(time) => time.in_zone_of(settings),
        None => epoch(written).ok_or(Refusal::BadTime),
    };
    second.map_err(|refusal| Fault::of(refusal, field))
}

/// The instant at which clocks in a zone read what clocks in UTC read at `civil`. Of an hour that comes twice it is the first, and
/// one that is left out is read by the clock before it was put forward.
fn in_zone(civil: Second, zone: &TimeZone) -> Option<Second> {
    let reading = TimeZone::UTC.to_datetime(Timestamp::from_second(i64::from(civil.unix())).ok()?);
    Second::from_unix(zone.to_timestamp(reading).ok()?.as_second())
}

/// Date, time, any fraction and any zone.
#[inline]
pub(crate) fn iso(text: &str) -> Option<Iso> {
    let (date, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let &[
        y0,
        y1,
        y2,
        y3,
        b'-',
        mo0,
        mo1,
        b'-',
        d0,
        d1,
        b'T' | b't' | b' ',
        h0,
        h1,
        b':',
        mi0,
        mi1,
        b':',
        s0,
        s1,
    ] = date
    else {
        return None;
    };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let civil = Second::from_civil(
        year as i32,
        two(mo0, mo1)?,
        two(d0, d1)?,
        two(h0, h1)?,
        two(mi0, mi1)?,
        two(s0, s1)?,
    )?;
    zone(civil, fraction(rest)?)
}

/// [`iso`] of a text that lies in parts.
pub(crate) fn iso_of(parts: &[&str]) -> Option<Iso> {
    let (mut copy, mut end) = ([0; 48], 0);
    for part in parts {
        let Some(room) = copy.get_mut(end..end + part.len()) else { return iso(&parts.concat()) };
        room.copy_from_slice(part.as_bytes());
        end += part.len();
    }
    iso(str::from_utf8(copy.get(..end)?).ok()?)
}

/// The longest text that [`slashed`] looks at: date, time, nine digits of a fraction and a zone are shorter.
const SLASHED_BYTES_MAX: usize = 48;

/// `2031/03/04 10:01:02.345678`, as Argus and PAN-OS write times: like [`iso`] but for the slashes.
pub(crate) fn slashed(text: &str) -> Option<Iso> {
    let mut copy = [0; SLASHED_BYTES_MAX];
    let copy = copy.get_mut(..text.len())?;
    copy.copy_from_slice(text.as_bytes());
    for place in [4, 7] {
        let slash = copy.get_mut(place).filter(|byte| **byte == b'/')?;
        *slash = b'-';
    }
    iso(str::from_utf8(copy).ok()?)
}

/// The months as syslog and CEF write them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Which month of the year has this name, from 1.
pub(crate) fn month(name: &str) -> Option<usize> {
    MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name)).map(|index| index + 1)
}

/// `Mar 04 2031 10:01:02.345 UTC`, as CEF writes times; the fraction and the zone may be missing.
pub(crate) fn month_first(text: &str) -> Option<Iso> {
    usual_month_first(text).or_else(|| any_month_first(text))
}

/// `Mar 04 2031 10:01:02`, in exactly these places.
fn usual_month_first(text: &str) -> Option<Iso> {
    let usual = text.as_bytes().first_chunk::<20>().filter(|_| text.len() == 20)?;
    let &[m0, m1, m2, b' ', d0, d1, b' ', y0, y1, y2, y3, b' ', ref clock @ ..] = usual else { return None };
    let month = month(str::from_utf8(&[m0, m1, m2]).ok()?)?;
    let digit = |value: usize| b'0' + value as u8;
    let date = [y0, y1, y2, y3, b'-', digit(month / 10), digit(month % 10), b'-', d0, d1, b'T'];
    iso_of(&[str::from_utf8(&date).ok()?, str::from_utf8(clock).ok()?])
}

fn any_month_first(text: &str) -> Option<Iso> {
    let mut words = text.split_ascii_whitespace();
    let month = month(words.next()?)?;
    let day: u32 = words.next()?.parse().ok()?;
    let (year, clock) = (words.next()?, words.next()?);
    let zone = match words.next() {
        Some("GMT") => "UTC",
        zone => zone.unwrap_or_default(),
    };
    if words.next().is_some() {
        return None;
    }
    iso(&format!("{year}-{month:02}-{day:02}T{clock}{zone}"))
}

/// Two decimal digits.
#[inline]
fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// What follows the fraction; `None` if a point is not followed by digits.
#[inline]
fn fraction(rest: &[u8]) -> Option<&[u8]> {
    let Some((b'.' | b',', digits)) = rest.split_first() else { return Some(rest) };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 { None } else { digits.get(end..) }
}

/// Applies the zone at the end of a civil time.
#[inline]
fn zone(civil: Second, zone: &[u8]) -> Option<Iso> {
    match zone {
        b"Z" | b"z" => Some(Iso::Zoned(civil)),
        b"" => Some(Iso::Zoneless(civil)),
        b" UTC" | b" Z" | b"UTC" => Some(Iso::Zoned(civil)),
        _ => offset(civil, zone.strip_prefix(b" ").unwrap_or(zone)),
    }
}

/// A numeric offset: `+02:00`, `+0200`, `+02`.
fn offset(civil: Second, zone: &[u8]) -> Option<Iso> {
    let (sign, digits) = zone.split_first()?;
    let (hours, minutes) = match *digits {
        [h0, h1] => (two(h0, h1)?, 0),
        [h0, h1, m0, m1] | [h0, h1, b':', m0, m1] => (two(h0, h1)?, two(m0, m1)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    let east = match sign {
        b'+' => seconds,
        b'-' => -seconds,
        _ => return None,
    };
    Second::from_unix(i64::from(civil.unix()) - east).map(Iso::Zoned)
}

/// Epoch seconds with any fraction, the unit known.
#[inline]
pub(crate) fn epoch_seconds(text: &str) -> Option<Second> {
    let whole = whole_part(text)?;
    u32::try_from(whole).ok().map(Second::new)
}

/// An epoch number whose unit is told by its size: below 1e11 seconds, below 1e14 ms, below 1e17 us, else ns.
/// (1e11 ms is March 1973: no log of ours is that old.)
#[inline]
pub(crate) fn epoch(text: &str) -> Option<Second> {
    let whole = match whole_part(text) {
        Some(whole) => whole,
        None => scientific(text)?,
    };
    let seconds = match whole {
        0..100_000_000_000 => whole,
        100_000_000_000..100_000_000_000_000 => whole / 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => whole / 1_000_000,
        _ => whole / 1_000_000_000,
    };
    u32::try_from(seconds).ok().map(Second::new)
}

/// The whole part of a plain decimal; the fraction must be digits too.
#[inline]
fn whole_part(text: &str) -> Option<u64> {
    let (mut rest, mut value, mut digits) = (text.as_bytes(), 0u64, 0u32);
    while digits < 16
        && let Some((block, behind)) = rest.split_first_chunk()
        && let Some(eight) = eight_digits(*block)
    {
        value = value * 100_000_000 + eight;
        digits += 8;
        rest = behind;
    }
    let mut bytes = rest.iter();
    for byte in bytes.by_ref() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            // A fraction is cut, but it has to be one.
            let sound = *byte == b'.' && digits > 0 && bytes.all(u8::is_ascii_digit);
            return sound.then_some(value);
        }
        digits += 1;
        // 19 digits are the most that cannot overflow.
        if digits > 19 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    (digits > 0).then_some(value)
}

/// Eight decimal digits, read at once: pairs of digits, pairs of these, and so on, side by side in one number.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    let text = u64::from_le_bytes(text);
    let high_halves = |number: u64| number & 0xf0f0_f0f0_f0f0_f0f0;
    let zeros = 0x3030_3030_3030_3030;
    // What is above 9 becomes another high half when 6 is added.
    let is_number =
        high_halves(text) == zeros && high_halves(text.wrapping_add(0x0606_0606_0606_0606)) == zeros;
    let ones = text.wrapping_sub(zeros);
    let twos = ones.wrapping_mul(10).wrapping_add(ones >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = twos.wrapping_mul(100).wrapping_add(twos >> 16) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    is_number.then_some(eight)
}

/// `1.930557662e9`, as some JSON writers do.
#[cold]
fn scientific(text: &str) -> Option<u64> {
    const SCIENTIFIC_BYTES_MAX: usize = 64;

    // Nobody writes a longer one; whoever does has it not searched again and again.
    let may_be_one = text.len() <= SCIENTIFIC_BYTES_MAX && text.contains(['e', 'E']);
    let value: f64 = may_be_one.then(|| text.parse().ok())??;
    // Saturating is fine: what saturates is out of range anyway.
    (value.is_finite() && value >= 0.0).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn firewall_times() {
        let utc = |iso: Option<Iso>| iso.map(|iso| iso.utc().to_string());
        assert_eq!(utc(slashed("2031/03/04 10:01:02.345678")).as_deref(), Some("2031-03-04T10:01:02Z"));
        assert_eq!(utc(slashed("2031/03/04 10:01:02+0200")).as_deref(), Some("2031-03-04T08:01:02Z"));
        for text in ["2031-03-04 10:01:02", "03/04/2031 10:01:02", "2031/03/04", "", &"2031/".repeat(20)] {
            assert_eq!(slashed(text), None, "{text}");
        }
        assert_eq!(utc(month_first("Mar  4 2031 10:01:02")).as_deref(), Some("2031-03-04T10:01:02Z"));
        assert_eq!(utc(month_first("Mar 04 2031 10:01:02.345 GMT")).as_deref(), Some("2031-03-04T10:01:02Z"));
        assert!(matches!(month_first("Mar 04 2031 10:01:02 +01:00"), Some(Iso::Zoned(_))));
        for text in
            ["Mar 04 10:01:02", "Mrz 04 2031 10:01:02", "Mar 04 2031 10:01:02 CET", "Mar 32 2031 10:01:02"]
        {
            assert_eq!(month_first(text), None, "{text}");
        }
    }

    #[track_caller]
    fn check_iso(text: &str, zoned: Option<&str>) {
        let got = iso(text).map(|iso| match iso {
            Iso::Zoned(second) => second.to_string(),
            Iso::Zoneless(second) => format!("{second} zoneless"),
        });
        assert_eq!(got.as_deref(), zoned, "{text:?}");
    }

    #[test]
    fn iso_times() {
        check_iso("2031-03-04T10:01:02.345678Z", Some("2031-03-04T10:01:02Z"));
        check_iso("2031-03-04T10:01:02.9999999Z", Some("2031-03-04T10:01:02Z"));
        check_iso("2031-03-04t10:01:02z", Some("2031-03-04T10:01:02Z"));
        check_iso("2031-03-04T12:01:02+0200", Some("2031-03-04T10:01:02Z"));
        check_iso("2031-03-04T12:01:02.5+02:00", Some("2031-03-04T10:01:02Z"));
        check_iso("2031-03-03T23:01:02-11", Some("2031-03-04T10:01:02Z"));
        check_iso("2031-03-04 10:01:02.345", Some("2031-03-04T10:01:02Z zoneless"));
        check_iso("2031-03-04 10:01:02 UTC", Some("2031-03-04T10:01:02Z"));
        check_iso("2099-12-31T23:59:59Z", Some("2099-12-31T23:59:59Z"));
        check_iso("2031-12-31T23:59:60Z", Some("2031-12-31T23:59:59Z"));
        for text in [
            "",
            "2031-03-04",
            "2031-02-29T10:01:02Z",
            "2031-03-04T24:01:02Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2031-03-04T10:01:02.Z",
            "2031-03-04T10:01:02+2",
            "2031-03-04T10:01:02X",
            "2031-03-04T10:01:02+25:00",
            "2031/03/04 10:01:02",
            "3/4/2031, 10:01:02 AM",
            "20310-03-04T10:01:02Z",
        ] {
            check_iso(text, None);
        }
    }

    #[test]
    fn epoch_numbers() {
        let expected = Some(Second::new(1_930_557_662));
        for text in [
            "1930557662",
            "1930557662.345678",
            "1930557662345",
            "1930557662345678",
            "1930557662345678901",
            "1930557662345.5",
            "1.930557662e9",
        ] {
            assert_eq!(epoch(text), expected, "{text}");
        }
        for text in
            ["", "-1", "-0.5", ".5", "1.5.5", "1x", "NaN", "1e40", "99999999999", "99999999999999999999"]
        {
            assert_eq!(epoch(text), None, "{text}");
        }
        assert_eq!(epoch_seconds("13.184015"), Some(Second::new(13)));
        assert_eq!(epoch_seconds("4294967296"), None);
        assert_eq!(epoch_seconds("XXXXXXXXXX.XXXXXX"), None);
    }

    proptest! {
        #[test]
        fn printed_seconds_are_read_back(unix: u32, fraction in 0u32..1_000_000) {
            let second = Second::new(unix);
            prop_assert_eq!(iso(&second.to_string()), Some(Iso::Zoned(second)));
            prop_assert_eq!(epoch_seconds(&format!("{unix}.{fraction:06}")), Some(second));
        }

        #[test]
        fn a_text_in_parts_is_read_like_the_whole(
            date in "[0-9]{4}-[0-9]{2}-[0-9]{2}", clock in "[0-9]{2}:[0-9]{2}:[0-9]{2}", rest in "[.0-9é]{0,40}[Z+]?"
        ) {
            prop_assert_eq!(iso_of(&[&date, "T", &clock, &rest]), iso(&format!("{date}T{clock}{rest}")));
        }

        #[test]
        fn usual_and_other_months_agree(text in "(Mar|may|Mrz|é1) ([0-3][0-9]|[ x][0-9]) 20[0-9x]{2} [0-2][0-9]:[0-9][0-9 ]:[0-6][0-9x]") {
            if let Some(usual) = usual_month_first(&text) {
                prop_assert_eq!(any_month_first(&text), Some(usual), "{}", text);
            }
        }

        #[test]
        fn eight_digits_are_what_they_are_one_by_one(text in "[0-9]{8}|[0-9/:@.p\\x10]{8}") {
            let block = text.as_bytes().first_chunk().expect("eight bytes of ASCII");
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(eight_digits(*block), text.parse().ok().filter(|_| is_number));
        }

        #[test]
        fn whole_numbers_are_read_like_the_standard_library_reads_them(text in "[0-9]{1,21}([.x][0-9x]{0,9})?") {
            let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
            let is_sound = whole.len() <= 19 && rest.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(whole_part(&text), whole.parse().ok().filter(|_| is_sound));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (iso(&text), epoch(&text), epoch_seconds(&text));
        }
    }
}
