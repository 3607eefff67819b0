//! The hosts that this server answers as, and which tokens it takes under each: the presets' and the operator's. Refuses to
//! hold: how a request says which host it calls, and names that need no list (`called`); who signed a token.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::host::{Host, Name};
use crate::presets;

/// A host under which the service is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The host as a URL has it.
    text: String,
    host: Host<'static>,
    cloud: Option<String>,
    region: Option<String>,
    authority: Option<String>,
    /// Without their last slash; `None` is every resource.
    audiences: Option<Arc<[String]>>,
}

/// Text that is no host name and no address, with or without a port.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error(
    "it is no host: a name such as seenby.example.org, or an address such as 192.0.2.7 or [2001:db8::7], each with a port or without"
)]
pub struct NoHost;

impl Endpoint {
    /// A host (`seenby.example.org`, `192.0.2.7:8787`; without a port any port is meant) that takes tokens for every resource
    /// of this server.
    pub fn new(host: &str) -> Result<Endpoint, NoHost> {
        let parsed = Host::parse(host).ok_or(NoHost)?.into_owned();
        Ok(Endpoint {
            text: parsed.to_string(),
            host: parsed,
            cloud: None,
            region: None,
            authority: None,
            audiences: None,
        })
    }

    /// Says to which cloud it belongs.
    #[must_use]
    pub fn in_cloud(mut self, cloud: impl Into<String>) -> Endpoint {
        self.cloud = Some(cloud.into());
        self
    }

    /// Says in which region it is.
    #[must_use]
    pub fn in_region(mut self, region: impl Into<String>) -> Endpoint {
        self.region = Some(region.into());
        self
    }

    /// Says which sign-in goes with it.
    #[must_use]
    pub fn signed_in_at(mut self, authority: impl Into<String>) -> Endpoint {
        self.authority = Some(authority.into());
        self
    }

    /// Takes tokens for these resources alone, each with and without its last slash, beside what is taken everywhere (our own
    /// URL, the operator's further resources).
    #[must_use]
    pub fn with_audiences(mut self, audiences: impl IntoIterator<Item = impl AsRef<str>>) -> Endpoint {
        self.audiences = Some(audiences.into_iter().map(|it| unslashed(it.as_ref()).to_owned()).collect());
        self
    }

    /// The host with its port, if it has one of its own.
    pub fn host(&self) -> &str {
        &self.text
    }

    /// The cloud that it belongs to.
    pub fn cloud(&self) -> Option<&str> {
        self.cloud.as_deref()
    }

    /// Its region.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The URL of the sign-in that goes with it; `None` is any that this server trusts.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The resources whose tokens it takes, without their last slash; `None` is every one.
    pub fn audiences(&self) -> Option<&[String]> {
        self.audiences.as_deref()
    }

    /// Whether another one is for the same host and port.
    pub fn is_same_host(&self, other: &Endpoint) -> bool {
        self.host == other.host
    }

    /// Whether a resource (without its last slash) is on its list.
    pub(crate) fn lists(&self, audience: &str) -> bool {
        self.audiences.as_ref().is_none_or(|listed| listed.iter().any(|it| it == audience))
    }

    /// The resource that its clients ask tokens for most likely, if it has a list: its own URL, else the first.
    pub(crate) fn audience(&self) -> Option<&str> {
        let listed = self.audiences()?;
        let own = format!("https://{}", self.text);
        listed.iter().find(|it| **it == own).or(listed.first()).map(String::as_str)
    }

    /// What it adds to the resources of the server: those on its list, else its own URL, because clients ask for that.
    fn resources(&self) -> Vec<String> {
        self.audiences
            .as_ref()
            .map_or_else(|| vec![format!("https://{}", self.text)], |listed| listed.to_vec())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A resource is meant with and without one slash at its end.
pub(crate) fn unslashed(resource: &str) -> &str {
    resource.strip_suffix('/').unwrap_or(resource)
}

/// The presets and an operator's own. An operator's takes the place of presets of the same name.
pub(crate) fn all(own: &[Endpoint], with_presets: bool) -> Vec<Endpoint> {
    let presets = if with_presets { presets::endpoints() } else { Vec::new() };
    let is_replaced = |preset: &Endpoint| own.iter().any(|it| it.host.name == preset.host.name);
    presets.into_iter().filter(|preset| !is_replaced(preset)).chain(own.iter().cloned()).collect()
}

/// The same, to be looked up in at every request.
pub(crate) struct Endpoints {
    by_name: HashMap<Name<'static>, Vec<Arc<Endpoint>>, foldhash::fast::RandomState>,
}

impl Endpoints {
    pub(crate) fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Endpoints {
        let mut by_name: HashMap<_, Vec<_>, _> = HashMap::default();
        for endpoint in endpoints {
            by_name.entry(endpoint.host.name.clone()).or_default().push(Arc::new(endpoint));
        }
        Endpoints { by_name }
    }

    /// The endpoint of a name and a port: the one that has the port of its own, else the one that has none.
    pub(crate) fn find<'a>(&'a self, name: &'a Name<'a>, port: u16) -> Option<&'a Arc<Endpoint>> {
        let of_name = self.by_name.get(name)?;
        let with = |wanted| of_name.iter().find(move |endpoint| endpoint.host.port == wanted);
        with(Some(port)).or_else(|| with(None))
    }
}

/// The resources that are granted and accepted, beside our own URL.
pub(crate) struct Resources {
    /// Those of the presets, of the endpoints, and the operator's further ones.
    granted: HashSet<String>,
    /// The operator's further ones, and those that outside issuers were told to grant.
    everywhere: HashSet<String>,
}

impl Resources {
    /// The presets' (their hosts may be taken away, what clients ask tokens for stays), the endpoints', and further ones.
    /// What outside issuers grant is not ours to grant.
    pub(crate) fn new<'a>(
        own: &[Endpoint],
        extra: &[String],
        of_outside: impl IntoIterator<Item = &'a String>,
    ) -> Resources {
        let bare = |it: &String| unslashed(it).to_owned();
        let extra: HashSet<String> = extra.iter().map(bare).collect();
        let everywhere = extra.iter().cloned().chain(of_outside.into_iter().map(bare)).collect();
        let of_presets = presets::endpoints().iter().flat_map(Endpoint::resources).collect::<Vec<_>>();
        let of_own = own.iter().flat_map(Endpoint::resources);
        Resources { granted: of_presets.into_iter().chain(of_own).chain(extra).collect(), everywhere }
    }

    /// Whether a resource (without its last slash) is granted.
    pub(crate) fn are_granted(&self, resource: &str) -> bool {
        self.granted.contains(resource)
    }

    /// Whether it is one of those that every endpoint takes.
    pub(crate) fn are_everywhere(&self, resource: &str) -> bool {
        self.everywhere.contains(resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(endpoints: &Endpoints, host: &str, port: u16) -> Option<String> {
        let host = Host::parse(host).expect("a host");
        endpoints.find(&host.name, port).map(ToString::to_string)
    }

    #[test]
    fn a_host_with_its_port_before_one_with_any() {
        let own = ["Near.example.", "near.example:8443", "ported.example:443", "[2001:DB8::7]"]
            .map(|host| Endpoint::new(host).expect("a host"));
        let endpoints = Endpoints::new(all(&own, true));
        for (host, port, expected) in [
            ("NEAR.example.", 443, Some("near.example")),
            ("near.example", 8443, Some("near.example:8443")),
            ("ported.example", 443, Some("ported.example:443")),
            ("ported.example", 80, None),
            ("[2001:db8:0::7]", 1, Some("[2001:db8::7]")),
            ("api-eu.securitycenter.microsoft.com", 443, Some("api-eu.securitycenter.microsoft.com")),
            ("x.near.example", 443, None),
        ] {
            assert_eq!(found(&endpoints, host, port).as_deref(), expected, "{host} {port}");
        }
    }

    #[test]
    fn an_own_endpoint_takes_the_place_of_a_preset_and_presets_can_go() {
        let host = "api.securitycenter.microsoft.com";
        let own = [Endpoint::new(host).expect("a host").in_cloud("ours")];
        let with = all(&own, true);
        let of_host: Vec<_> = with.iter().filter(|it| it.host() == host).map(Endpoint::cloud).collect();
        assert_eq!(of_host, [Some("ours")]);
        assert_eq!(all(&own, false), own);
        assert!(Endpoint::new("https://h").is_err() && Endpoint::new("*.example.org").is_err());
    }

    #[test]
    fn resources_are_meant_with_and_without_one_slash() {
        let own = [
            Endpoint::new("near.example:8443").expect("a host"),
            Endpoint::new("gov.example").expect("a host").with_audiences(["https://gov/"]),
        ];
        let resources = Resources::new(&own, &["https://graph.microsoft.com/".to_owned()], []);
        let granted = |resource: &str| resources.are_granted(unslashed(resource));
        for resource in ["https://graph.microsoft.com", "https://near.example:8443", "https://gov"] {
            assert!(granted(resource) && granted(&format!("{resource}/")), "{resource}");
            assert!(!granted(&format!("{resource}//")), "{resource}");
        }
        assert!(!granted("https://gov.example"), "what a list does not name");
        assert!(!granted("https://api.security.microsoft.com.evil.example"));
        assert!(granted("https://api-gcc.securitycenter.microsoft.us/"));
        assert!(
            resources.are_everywhere("https://graph.microsoft.com")
                && !resources.are_everywhere("https://gov")
        );
    }
}
