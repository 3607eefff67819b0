//! What a token is asked for: one resource, and what of it. Refuses to hold: who may have it, and which resources there are.
//!
//! The v1 form names the resource (`resource=https://r`), the v2 form writes it before each permission
//! (`scope=https://r/Ip.Read.All`); `https://r/.default` is all that the application was given, and `https://r//.default` the
//! same of `https://r/`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sighting::Permission;

use crate::mint::Shape;
use crate::oauth::OAuthError;
use crate::state::Shared;

/// What a scope ends with that asks for everything given.
const DEFAULT: &str = ".default";
/// Scopes of sign-in itself; they ask for no resource.
const OPENID: &str = "openid";
const OFFLINE: &str = "offline_access";
const HABITUAL: [&str; 4] = [OPENID, "profile", "email", OFFLINE];

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The audience, exactly as it was written.
    pub(crate) resource: String,
    /// Permissions by name; `None` is all that was given.
    names: Option<BTreeSet<String>>,
    /// An id token too.
    pub(crate) openid: bool,
    /// A refresh token too.
    pub(crate) offline: bool,
}

impl Asked {
    /// What an application asks for itself: one resource, and all of it.
    pub(crate) fn by_application(
        shared: &Shared,
        shape: Shape,
        resource: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Asked, OAuthError> {
        let asked = match (shape, resource, scope) {
            (Shape::V1, Some(resource), _) => Asked::all_of(resource.to_owned()),
            (_, _, Some(scope)) => {
                let asked = Asked::of_scope(scope)?;
                let is_whole = asked.as_ref().is_some_and(|asked| asked.names.is_none());
                asked.filter(|_| is_whole).ok_or_else(|| OAuthError::BadScope(scope.to_owned()))?
            }
            (Shape::V1, None, None) => return Err(OAuthError::Missing("resource")),
            (Shape::V2, _, None) => return Err(OAuthError::Missing("scope")),
        };
        asked.granted_here(shared)
    }

    /// What a person's client asks for; without a resource it is this server.
    pub(crate) fn for_user(
        shared: &Shared,
        shape: Shape,
        resource: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Asked, OAuthError> {
        let of_scope = scope.map(Asked::of_scope).transpose()?.flatten();
        let has = |name: &str| scope.is_some_and(|scope| scope.split_ascii_whitespace().any(|it| it == name));
        let mut asked = match (shape, resource, of_scope) {
            (Shape::V1, Some(resource), _) => Asked::all_of(resource.to_owned()),
            (_, _, Some(asked)) => asked,
            (_, _, None) => Asked::all_of(shared.issuer_url()),
        };
        asked.openid = has(OPENID);
        // The v1 form has no word for it and always gives one.
        asked.offline = has(OFFLINE) || shape == Shape::V1;
        asked.granted_here(shared)
    }

    fn all_of(resource: String) -> Asked {
        Asked { resource, names: None, openid: false, offline: false }
    }

    /// The one resource of a scope; `None` if it names none.
    fn of_scope(scope: &str) -> Result<Option<Asked>, OAuthError> {
        let bad = || OAuthError::BadScope(scope.to_owned());
        let mut asked: Option<Asked> = None;
        for word in scope.split_ascii_whitespace().filter(|word| !HABITUAL.contains(word)) {
            let (resource, name) = word.rsplit_once('/').filter(|(it, _)| !it.is_empty()).ok_or_else(bad)?;
            let names = (name != DEFAULT).then(|| BTreeSet::from([name.to_owned()]));
            match &mut asked {
                None => {
                    let resource = resource.to_owned();
                    asked = Some(Asked { resource, names, openid: false, offline: false });
                }
                Some(first) if first.resource == resource => {
                    // Everything and something of it is everything.
                    first.names = first.names.take().zip(names).map(|(mut all, more)| {
                        all.extend(more);
                        all
                    });
                }
                Some(_) => return Err(bad()),
            }
        }
        Ok(asked)
    }

    fn granted_here(self, shared: &Shared) -> Result<Asked, OAuthError> {
        if shared.is_resource(&self.resource) {
            Ok(self)
        } else {
            Err(OAuthError::UnknownResource(self.resource))
        }
    }

    /// What of it a person gets, of what the application may do for people.
    pub(crate) fn granted(&self, delegated: &BTreeSet<Permission>) -> Result<Vec<Permission>, OAuthError> {
        let Some(names) = &self.names else { return Ok(delegated.iter().copied().collect()) };
        let granted = |name: &String| {
            let permission = Permission::from_name(name).filter(|permission| delegated.contains(permission));
            permission.ok_or_else(|| OAuthError::NotDelegated(name.clone()))
        };
        names.iter().map(granted).collect()
    }

    /// The scope of an answer: what was granted, as it is asked for.
    pub(crate) fn told(&self, granted: &[Permission]) -> String {
        let default = self.names.is_none().then_some(DEFAULT);
        let names = granted.iter().map(|permission| permission.name()).chain(default);
        let mut words: Vec<String> = names.map(|name| format!("{}/{name}", self.resource)).collect();
        let habitual = [(self.openid, OPENID), (self.openid, "profile"), (self.offline, OFFLINE)];
        words.extend(habitual.iter().filter(|(is_asked, _)| *is_asked).map(|(_, word)| (*word).to_owned()));
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scope: &str, expected: Option<(&str, Option<&[&str]>)>) {
        let found = Asked::of_scope(scope).expect("one resource");
        let expected = expected.map(|(resource, names)| Asked {
            names: names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            ..Asked::all_of(resource.to_owned())
        });
        assert_eq!(found, expected, "{scope}");
    }

    #[test]
    fn scopes_name_one_resource() {
        check("https://r/.default", Some(("https://r", None)));
        check("https://r//.default", Some(("https://r/", None)));
        check("openid https://r/.default  offline_access", Some(("https://r", None)));
        check("https://r/A https://r/B", Some(("https://r", Some(&["A", "B"]))));
        check("https://r/A https://r/.default", Some(("https://r", None)));
        check("https://r/.default https://r/A", Some(("https://r", None)));
        check("api://1111/A", Some(("api://1111", Some(&["A"]))));
        check("openid profile", None);
        check("", None);
        for scope in ["https://r/A https://s/A", "A", "/.default", "User.Read https://r/A"] {
            assert!(Asked::of_scope(scope).is_err(), "{scope}");
        }
    }
}
