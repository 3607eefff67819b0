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
