//! Addresses as people pass them round: defanged (`1[.]2[.]3[.]4`, `hxxp://…`), quoted, in a URL. Refuses to hold:
//! what an address is (`sighting::Address`) and guesses; what is not one is refused with what to type.

use sighting::{Address, escape};

/// What a person asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// The address.
    pub(crate) address: Address,
    /// As typed, or as it reads without the defanging.
    pub(crate) text: String,
}

/// The address in a text that a person typed or pasted, or what to type instead.
pub(crate) fn parse(typed: &str) -> Result<Asked, String> {
    let trimmed = typed.trim();
    let text = host(&refang(trimmed));
    match Address::parse(&text) {
        Ok(address) => Ok(Asked { address, text }),
        Err(_) => Err(format!("'{}' is not an IP address; {}", escape(trimmed), advice(&text))),
    }
}

/// Undoes the usual ways of making an address unclickable.
fn refang(text: &str) -> String {
    const SPELLINGS: [(&str, &str); 14] = [
        ("[://]", "://"),
        ("[:]//", "://"),
        ("[.]", "."),
        ("(.)", "."),
        ("{.}", "."),
        ("[dot]", "."),
        ("(dot)", "."),
        ("{dot}", "."),
        ("\\.", "."),
        ("[:]", ":"),
        ("(:)", ":"),
        ("{:}", ":"),
        ("[::]", "::"),
        ("[.", "."),
    ];
    let mut text = text.trim_matches(['"', '\'', '`', '<', '>', ',', ';']).to_owned();
    for (defanged, plain) in SPELLINGS {
        // Not lower-casing the rest: the text is echoed.
        while let Some(at) = text.to_ascii_lowercase().find(defanged) {
            text.replace_range(at..at + defanged.len(), plain);
        }
    }
    text
}

/// The host of a URL; a text without a scheme is returned as it is.
fn host(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return text.to_owned();
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((inside, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside.to_owned();
    }
    match authority.split_once(':') {
        // One colon: a port behind it. More: an address without the brackets it should have.
        Some((host, port)) if !port.contains(':') => host.to_owned(),
        _ => authority.to_owned(),
    }
}

/// What to type instead of a text that is no address.
fn advice(text: &str) -> &'static str {
    let plain = |text: &str| Address::parse(text).is_ok();
    let before = |mark: char| text.rsplit_once(mark).is_some_and(|(before, _)| plain(before));
    if text.is_empty() {
        "type one address, such as 198.51.100.20 or 2001:db8::5"
    } else if before('/') {
        "type one address without the prefix length"
    } else if before('%') {
        "type the address without the zone"
    } else if before(':') || text.starts_with('[') {
        "type the address alone, without port and brackets"
    } else if text.split('.').count() == 4 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        "four numbers from 0 to 255 without leading zeros are one, such as 198.51.100.20"
    } else if text.bytes().any(|byte| byte.is_ascii_alphabetic()) && text.contains('.') {
        "it looks like a name: look up its address first, and type that, such as 198.51.100.20"
    } else {
        "type one address, such as 198.51.100.20 or 2001:db8::5"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, text: &str) {
        assert_eq!(parse(typed).map(|asked| asked.text).as_deref(), Ok(text), "{typed}");
    }

    #[track_caller]
    fn check_refused(typed: &str, says: &str) {
        let error = parse(typed).expect_err(typed);
        assert!(error.contains(says), "{error:?} lacks {says:?}");
    }

    #[test]
    fn defanged_addresses() {
        for typed in [
            "1.2.3.4",
            "1[.]2[.]3[.]4",
            "1.2.3[.]4",
            "1(.)2{.}3[dot]4",
            "1[DOT]2.3.4",
            "1\\.2\\.3\\.4",
            "hxxp://1[.]2[.]3[.]4/login.php?x=1",
            "hxxps[:]//1[.]2.3.4:8443/",
            "hXXp[://]1.2.3.4",
            "http://user@1.2.3.4:80",
            " \"1.2.3.4\", ",
        ] {
            check(typed, "1.2.3.4");
        }
        check("2001[:]db8[:]0[:]0[:]0[:]0[:]0[:]5", "2001:db8:0:0:0:0:0:5");
        check("2001:db8[::]5", "2001:db8::5");
        check("hxxp://[2001:db8::5]:80/", "2001:db8::5");
        check("2001:DB8::5", "2001:DB8::5");
    }

    #[test]
    fn what_is_no_address_is_told_what_to_type() {
        check_refused("10.0.0.0/8", "without the prefix length");
        check_refused("10.0.0.1:80", "without port");
        check_refused("[::1]", "without port and brackets");
        check_refused("fe80::1%eth0", "without the zone");
        check_refused("256.1.1.1", "0 to 255");
        check_refused("010.1.1.1", "leading zeros");
        check_refused("evil.example.org", "looks like a name");
        check_refused("", "such as");
        check_refused("\u{1b}]0;x\u{7}", "\\u{1b}]0;x");
    }
}
