//! The original service's clouds, so that its clients need not be changed: the hosts that they call, the resources (audiences)
//! that they ask tokens for, and the sign-in that goes with them. Refuses to hold: our own names, and what a resource may
//! do (permissions are in the book).

use crate::endpoints::Endpoint;

/// Hosts that take each other's tokens, because they are one service.
struct Cloud {
    name: &'static str,
    /// Where its users and applications sign in.
    authority: &'static str,
    /// Each with its region; `https://` and the host is a resource too.
    hosts: &'static [(&'static str, Option<&'static str>)],
    /// Resources that are no host.
    further: &'static [&'static str],
}

/// The application id URI of the service in the directory that the commercial cloud and GCC share.
const SERVICE: &str = "https://securitycenter.onmicrosoft.com/windowsatpservice";

const CLOUDS: [Cloud; 3] = [
    Cloud {
        name: "commercial",
        authority: "https://login.microsoftonline.com",
        // The newest family, then the two before it, each with its near servers.
        hosts: &[
            ("api.security.microsoft.com", None),
            ("us.api.security.microsoft.com", Some("us")),
            ("eu.api.security.microsoft.com", Some("eu")),
            ("uk.api.security.microsoft.com", Some("uk")),
            ("au.api.security.microsoft.com", Some("au")),
            ("swa.api.security.microsoft.com", Some("swa")),
            ("ina.api.security.microsoft.com", Some("ina")),
            ("api.securitycenter.microsoft.com", None),
            ("api-us.securitycenter.microsoft.com", Some("us")),
            ("api-eu.securitycenter.microsoft.com", Some("eu")),
            ("api-uk.securitycenter.microsoft.com", Some("uk")),
            ("api-au.securitycenter.microsoft.com", Some("au")),
            ("api.securitycenter.windows.com", None),
            ("api-us.securitycenter.windows.com", Some("us")),
            ("api-eu.securitycenter.windows.com", Some("eu")),
            ("api-uk.securitycenter.windows.com", Some("uk")),
        ],
        further: &[SERVICE],
    },
    Cloud {
        name: "GCC",
        authority: "https://login.microsoftonline.com",
        hosts: &[("api-gcc.securitycenter.microsoft.us", None)],
        further: &[SERVICE],
    },
    Cloud {
        name: "GCC High, DoD",
        authority: "https://login.microsoftonline.us",
        hosts: &[("api-gov.securitycenter.microsoft.us", None)],
        further: &[],
    },
];

/// Every host of every cloud, with the audiences of its cloud.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    CLOUDS.iter().flat_map(Cloud::endpoints).collect()
}

impl Cloud {
    fn endpoints(&self) -> Vec<Endpoint> {
        let of_hosts = self.hosts.iter().map(|(host, _)| format!("https://{host}"));
        let audiences: Vec<String> = of_hosts.chain(self.further.iter().map(|it| (*it).to_owned())).collect();
        let endpoint = |(host, region): &(&str, Option<&str>)| {
            let endpoint = Endpoint::new(host).ok()?.in_cloud(self.name).signed_in_at(self.authority);
            let endpoint = endpoint.with_audiences(&audiences);
            Some(region.map_or_else(|| endpoint.clone(), |region| endpoint.clone().in_region(region)))
        };
        self.hosts.iter().filter_map(endpoint).collect()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_vendor() {
        for endpoint in endpoints() {
            assert!(is_vendors_host(endpoint.host()), "{endpoint}");
        }
        for host in ["Login.MicrosoftOnline.com.", "microsoft.com", "sts.windows.net", "x.microsoft.us"] {
            assert!(is_vendors_host(host), "{host}");
        }
        for host in ["notmicrosoft.com", "microsoft.com.example", "localhost", "windows", ""] {
            assert!(!is_vendors_host(host), "{host}");
        }
    }

    #[test]
    fn one_cloud_has_one_list_and_another_has_another() {
        let endpoints = endpoints();
        assert_eq!(
            endpoints.len(),
            CLOUDS.iter().map(|cloud| cloud.hosts.len()).sum::<usize>(),
            "every host is one"
        );
        for endpoint in &endpoints {
            for other in &endpoints {
                let (one_cloud, one_list) =
                    (endpoint.cloud() == other.cloud(), endpoint.audiences() == other.audiences());
                assert_eq!(one_cloud, one_list, "{endpoint} {other}");
                assert_eq!(endpoint.lists(&format!("https://{other}")), one_cloud, "{endpoint} {other}");
            }
        }
        let authority =
            |host: &str| endpoints.iter().find(|it| it.host() == host).and_then(Endpoint::authority);
        for (host, expected) in [
            ("api-uk.securitycenter.microsoft.com", "https://login.microsoftonline.com"),
            ("api-gcc.securitycenter.microsoft.us", "https://login.microsoftonline.com"),
            ("api-gov.securitycenter.microsoft.us", "https://login.microsoftonline.us"),
        ] {
            assert_eq!(authority(host), Some(expected), "{host}");
        }
    }
}
