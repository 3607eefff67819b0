//! Query strings and forms as they arrive: names and values percent-decoded, in order, repeats kept. Refuses to hold:
//! what any name means.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The pairs of a query string or of a form; what is not UTF-8 becomes replacement characters.
pub(crate) fn pairs(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (decoded(&pair[..equals]), decoded(pair.get(equals + 1..).unwrap_or_default()))
    })
}

/// Whether a query string has a name, in any case.
pub(crate) fn has(query: &str, name: &str) -> bool {
    pairs(query.as_bytes()).any(|(other, _)| other.eq_ignore_ascii_case(name))
}

/// The first value of a name.
pub(crate) fn value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    pairs(query.as_bytes()).find(|(other, _)| other == name).map(|(_, value)| value)
}

fn decoded(text: &[u8]) -> Cow<'_, str> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return String::from_utf8_lossy(text);
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let found: Vec<(String, String)> =
            pairs(text.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pairs_of_a_query() {
        check("", &[]);
        check("a=1&a=2&&b&=3", &[("a", "1"), ("a", "2"), ("b", ""), ("", "3")]);
        check("a+b=c%20d%2B&e=f=g", &[("a b", "c d+"), ("e", "f=g")]);
        check("%61=%ff%", &[("a", "\u{fffd}%")]);
        assert_eq!((value("a=1&b=2&b=3", "b").as_deref(), value("a=1", "b")), (Some("2"), None));
        assert!(has("x=1&ACCESS%5FTOKEN=t", "access_token") && !has("access_tokens=t", "access_token"));
    }
}
