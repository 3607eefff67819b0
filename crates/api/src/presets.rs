//! The resources (audiences) that clients of the original ask tokens for, so that they need not be changed: the
//! built-in issuer grants them and the bearer check accepts them. Refuses to hold: our own URL (known when listening)
//! and what a resource may do (permissions are in the book).

use std::collections::HashSet;

/// In order: the first commercial family and the second, each with its near servers; US Government GCC, then GCC High
/// and DoD; the newer family; and the application id URI of the original service.
const PRESETS: [&str; 16] = [
    "https://api.securitycenter.windows.com",
    "https://api-us.securitycenter.windows.com",
    "https://api-eu.securitycenter.windows.com",
    "https://api-uk.securitycenter.windows.com",
    "https://api.securitycenter.microsoft.com",
    "https://api-us.securitycenter.microsoft.com",
    "https://api-eu.securitycenter.microsoft.com",
    "https://api-uk.securitycenter.microsoft.com",
    "https://api-gcc.securitycenter.microsoft.us",
    "https://api-gov.securitycenter.microsoft.us",
    "https://api.security.microsoft.com",
    "https://us.api.security.microsoft.com",
    "https://eu.api.security.microsoft.com",
    "https://uk.api.security.microsoft.com",
    "https://au.api.security.microsoft.com",
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
];

/// The domains under which the original and its sign-in are reached. A certificate for one of their hosts makes this server
/// pass for them.
const VENDORS_DOMAINS: [&str; 15] = [
    "azure.com",
    "azure.us",
    "live.com",
    "microsoft.com",
    "microsoft.us",
    "microsoftonline-p.com",
    "microsoftonline.com",
    "microsoftonline.us",
    "office.com",
    "office365.us",
    "onmicrosoft.com",
    "onmicrosoft.us",
    "windows.com",
    "windows.net",
    "windows.us",
];

/// Whether a host name is the original vendor's, in any case, with or without its last dot.
pub fn is_vendors_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let under =
        |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    VENDORS_DOMAINS.iter().any(under)
}

/// The id of the original service, which some tokens have as their audience in place of a URL.
const ORIGINAL_ID: &str = "fc780465-2017-40d4-a0c5-307022471b92";

/// Whether an audience is the original service's.
pub(crate) fn is_original_audience(audience: &str) -> bool {
    let audience = audience.strip_suffix('/').unwrap_or(audience);
    PRESETS.contains(&audience) || audience == ORIGINAL_ID
}

/// A set of resources, each meant with and without its trailing slash.
pub(crate) struct Resources(HashSet<String>);

impl Resources {
    /// The presets and an operator's own.
    pub(crate) fn new(extra: &[String]) -> Resources {
        let presets = PRESETS.iter().map(|preset| (*preset).to_owned());
        let extra = extra.iter().map(|extra| extra.strip_suffix('/').unwrap_or(extra).to_owned());
        Resources(presets.chain(extra).collect())
    }

    /// Whether a resource is in the set, with at most one trailing slash.
    pub(crate) fn contains(&self, resource: &str) -> bool {
        self.0.contains(resource.strip_suffix('/').unwrap_or(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_vendor() {
        for preset in PRESETS {
            let host =
                preset.strip_prefix("https://").and_then(|rest| rest.split('/').next()).expect("a host");
            assert!(is_vendors_host(host), "{host}");
        }
        for host in ["Login.MicrosoftOnline.com.", "microsoft.com", "sts.windows.net", "x.microsoft.us"] {
            assert!(is_vendors_host(host), "{host}");
        }
        for host in ["notmicrosoft.com", "microsoft.com.example", "localhost", "windows", ""] {
            assert!(!is_vendors_host(host), "{host}");
        }
    }

    #[test]
    fn with_and_without_one_slash() {
        let resources = Resources::new(&["https://graph.microsoft.com/".to_owned()]);
        for resource in PRESETS.iter().copied().chain(["https://graph.microsoft.com"]) {
            assert!(
                resources.contains(resource) && resources.contains(&format!("{resource}/")),
                "{resource}"
            );
            assert!(!resources.contains(&format!("{resource}//")), "{resource}");
        }
        assert!(!Resources::new(&[]).contains("https://graph.microsoft.com"));
        assert!(!resources.contains("https://api.security.microsoft.com.evil.example"));
    }
}
