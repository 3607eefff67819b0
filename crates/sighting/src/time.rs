//! Whole seconds, UTC days and windows. Refuses to hold: a clock, time zones, fractions of a second (they are cut
//! on entry) and any look at what the time is now.

use std::fmt;

/// Seconds in a UTC day; leap seconds do not exist in this arithmetic, as in POSIX time.
pub const SECONDS_PER_DAY: u32 = 86_400;
/// Seconds in an hour, the unit of look-backs and of retention.
pub const SECONDS_PER_HOUR: u32 = 3_600;

/// An instant cut to whole seconds, UTC, from 1970-01-01T00:00:00Z to 2106-02-07T06:28:15Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Second(u32);

impl Second {
    /// The earliest instant that exists here, 1970-01-01T00:00:00Z.
    pub const MIN: Second = Second(0);
    /// The latest instant that exists here.
    pub const MAX: Second = Second(u32::MAX);

    /// From seconds since 1970-01-01T00:00:00Z.
    pub const fn new(unix: u32) -> Second {
        Second(unix)
    }

    /// From a signed count of seconds since 1970; `None` outside what exists here.
    pub fn from_unix(unix: i64) -> Option<Second> {
        u32::try_from(unix).ok().map(Second)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn unix(self) -> u32 {
        self.0
    }

    /// From a civil UTC date and time; `None` if a field is out of its range or the date does not exist.
    /// A leap second (`:60`) counts as the last second of its minute.
    pub fn from_civil(
        year: i32,
        month: u32,
        day: u32,
        hour: u32,
        minute: u32,
        second: u32,
    ) -> Option<Second> {
        let in_range = (1970..=2106).contains(&year)
            && (1..=12).contains(&month)
            && day >= 1
            && day <= days_in_month(year, month)
            && hour < 24
            && minute < 60
            && second <= 60;
        if !in_range {
            return None;
        }
        let days = i64::from(days_from_civil(year, month, day));
        let of_day = i64::from(hour * SECONDS_PER_HOUR + minute * 60 + second.min(59));
        Second::from_unix(days * i64::from(SECONDS_PER_DAY) + of_day)
    }

    /// The UTC day that holds this second.
    pub const fn day(self) -> Day {
        // u32::MAX / 86,400 = 49,710, so the quotient always fits.
        Day((self.0 / SECONDS_PER_DAY) as u16)
    }

    /// Seconds since the start of its UTC day, below 86,400.
    pub const fn of_day(self) -> u32 {
        self.0 % SECONDS_PER_DAY
    }

    /// This instant earlier by a number of seconds, at the earliest 1970.
    pub const fn minus(self, seconds: u64) -> Second {
        if seconds > self.0 as u64 { Second(0) } else { Second(self.0 - seconds as u32) }
    }

    /// This instant later by a number of seconds, at the latest the end of time.
    pub const fn plus(self, seconds: u64) -> Second {
        if seconds > (u32::MAX - self.0) as u64 { Second(u32::MAX) } else { Second(self.0 + seconds as u32) }
    }

    /// Year, month and day of the UTC calendar.
    pub fn date(self) -> (i32, u32, u32) {
        civil_from_days(i32::from(self.day().0))
    }
}

/// RFC 3339 in UTC without a fraction: `2017-07-30T13:36:06Z`.
impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let of_day = self.of_day();
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        // By hand, since every answer has two of them: the years end with 2106.
        let mut text = *b"0000-00-00T00:00:00Z";
        let fields = [
            (0, year as u32 / 100),
            (2, year as u32 % 100),
            (5, month),
            (8, day),
            (11, hour),
            (14, minute),
            (17, second),
        ];
        for (at, value) in fields {
            text[at] += (value / 10 % 10) as u8;
            text[at + 1] += (value % 10) as u8;
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(u16);

impl Day {
    /// From days since 1970-01-01; `None` past the last day that holds a [`Second`].
    pub fn new(days: u32) -> Option<Day> {
        u16::try_from(days).ok().map(Day).filter(|day| *day <= Second::MAX.day())
    }

    /// Days since 1970-01-01.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its first second.
    pub const fn first(self) -> Second {
        Second(self.0 as u32 * SECONDS_PER_DAY)
    }

    /// Its last second.
    pub const fn last(self) -> Second {
        self.first().plus(SECONDS_PER_DAY as u64 - 1)
    }

    /// The second at an offset into this day; offsets past its end give its last second.
    pub fn at(self, of_day: u32) -> Second {
        self.first().plus(u64::from(of_day.min(SECONDS_PER_DAY - 1)))
    }
}

/// `2017-07-30`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.first().date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// A span of time with both ends included; `since <= until` by construction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    since: Second,
    until: Second,
}

impl Window {
    /// The window `[until - hours * 3600 s, until]`, clipped at 1970.
    pub fn look_back(until: Second, hours: u32) -> Window {
        Window { since: until.minus(u64::from(hours) * u64::from(SECONDS_PER_HOUR)), until }
    }

    /// From its two ends; `None` if they are in the wrong order.
    pub fn new(since: Second, until: Second) -> Option<Window> {
        (since <= until).then_some(Window { since, until })
    }

    /// The earliest second inside.
    pub const fn since(self) -> Second {
        self.since
    }

    /// The latest second inside.
    pub const fn until(self) -> Second {
        self.until
    }

    /// Whether an instant lies inside, ends included.
    pub fn contains(self, second: Second) -> bool {
        self.since <= second && second <= self.until
    }

    /// The part at or after `since`; `None` if nothing of the window is left.
    pub fn clipped(self, since: Second) -> Option<Window> {
        Window::new(self.since.max(since), self.until)
    }
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a Gregorian date (the era arithmetic of Howard Hinnant's public-domain notes).
fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = (month as i32 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i32 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(Second::new(1_501_421_766).to_string(), "2017-07-30T13:36:06Z");
        assert_eq!(Second::MIN.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Second::MAX.to_string(), "2106-02-07T06:28:15Z");
        assert_eq!(Second::from_civil(2017, 7, 30, 13, 36, 6), Some(Second::new(1_501_421_766)));
        assert_eq!(
            Second::from_civil(2024, 2, 29, 0, 0, 0).map(|s| s.to_string()).as_deref(),
            Some("2024-02-29T00:00:00Z")
        );
    }

    #[test]
    fn dates_that_do_not_exist() {
        for (y, m, d, h, mi, s) in [
            (2023, 2, 29, 0, 0, 0),
            (2023, 13, 1, 0, 0, 0),
            (2023, 4, 31, 0, 0, 0),
            (1969, 12, 31, 23, 59, 59),
            (2023, 1, 1, 24, 0, 0),
            (2107, 1, 1, 0, 0, 0),
        ] {
            assert_eq!(Second::from_civil(y, m, d, h, mi, s), None, "{y}-{m}-{d} {h}:{mi}:{s}");
        }
    }

    #[test]
    fn every_day_survives_the_calendar() {
        for number in 0..=u32::from(Second::MAX.day().number()) {
            let day = Day::new(number).expect("in range");
            let (y, m, d) = day.first().date();
            assert_eq!(Second::from_civil(y, m, d, 0, 0, 0), Some(day.first()));
        }
        assert_eq!(Day::new(49_711), None);
    }

    #[test]
    fn windows_include_both_ends() {
        let window = Window::look_back(Second::new(10_000), 1);
        assert_eq!((window.since(), window.until()), (Second::new(6_400), Second::new(10_000)));
        assert!(window.contains(Second::new(6_400)) && window.contains(Second::new(10_000)));
        assert!(!window.contains(Second::new(6_399)) && !window.contains(Second::new(10_001)));
        assert_eq!(Window::look_back(Second::new(10), u32::MAX).since(), Second::MIN);
        assert_eq!(window.clipped(Second::new(10_001)), None);
    }
}
