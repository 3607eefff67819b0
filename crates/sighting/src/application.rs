//! Applications: what they may do, how they prove who they are, how people sign in through them, and how often they
//! may ask. Refuses to hold: hashing and checking (the HTTP room), people, and where all of it is kept.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;

use uuid::Uuid;

use crate::{ChangeError, NAME_BYTES_MAX, OrganisationId, Second};

/// An application's client id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ApplicationId(pub Uuid);

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an application may do: for itself, or for the people who sign in through it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Permission {
    /// Read IP address profiles.
    IpReadAll,
    /// Manage the organisation: for itself all of it, for a person what their roles allow.
    Manage,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 2] = [Permission::IpReadAll, Permission::Manage];

    /// Its name on the wire: `Ip.Read.All`.
    pub const fn name(self) -> &'static str {
        match self {
            Permission::IpReadAll => "Ip.Read.All",
            Permission::Manage => "Seenby.Manage",
        }
    }

    /// The permission of a name.
    pub fn from_name(name: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|permission| permission.name() == name)
    }
}

/// A client secret as it is kept: only its SHA-256, so the book can be read without learning it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// SHA-256 of a generated secret of at least 256 random bits.
    pub sha256: [u8; 32],
    /// When it was made.
    pub created_at: Second,
    /// The last second at which it is accepted; `None` has no end.
    pub expires_at: Option<Second>,
}

/// One call limit of one application.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CallLimit {
    /// What the server's settings say for every application.
    #[default]
    Default,
    /// As many calls as it likes.
    Off,
    /// So many.
    Calls(NonZeroU32),
}

/// `default`, `off` or the number.
impl fmt::Display for CallLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallLimit::Default => f.write_str("default"),
            CallLimit::Off => f.write_str("off"),
            CallLimit::Calls(calls) => calls.fmt(f),
        }
    }
}

impl CallLimit {
    /// The limit of a text as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<CallLimit> {
        match text {
            "default" => Some(CallLimit::Default),
            "off" => Some(CallLimit::Off),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().map(CallLimit::Calls)
            }
            _ => None,
        }
    }
}

/// The call limits of one application.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CallLimits {
    /// In any 60 seconds.
    pub per_minute: CallLimit,
    /// In any 3,600 seconds.
    pub per_hour: CallLimit,
}

/// The certificate of an application that signs in with assertions: what is needed of it, and no private key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// SHA-256 of the certificate, by which it is named and found (`x5t#S256`).
    pub sha256: [u8; 32],
    /// SHA-1 of the certificate, by which older clients name it (`x5t`). It finds a key and proves nothing.
    pub sha1: [u8; 20],
    /// The RSA public key, PKCS#1 DER.
    pub public_key: Vec<u8>,
    /// The first second at which it is good.
    pub not_before: Second,
    /// The last one.
    pub not_after: Second,
    /// When it was added.
    pub created_at: Second,
}

/// How people may sign in through an application.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SignIn {
    /// What it may do for them, at most.
    pub delegated: BTreeSet<Permission>,
    /// Where they are sent back with a code. Without one they cannot sign in that way.
    pub redirect_uris: BTreeSet<RedirectUri>,
    /// They may type a code into a page, for a device that has none.
    pub device_code: bool,
    /// The application may ask them for their password and send it on. Not to be had by accident.
    pub password: bool,
    /// It is a program on people's own machines, which can keep no secret: it has none.
    pub public: bool,
}

/// Another way for people to sign in. `None` leaves a part as it is when the change is made, so that of two changes at the same
/// moment each has what it asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SignInChange {
    /// See [`SignIn::delegated`].
    pub delegated: Option<BTreeSet<Permission>>,
    /// See [`SignIn::redirect_uris`].
    pub redirect_uris: Option<BTreeSet<RedirectUri>>,
    /// See [`SignIn::device_code`].
    pub device_code: Option<bool>,
    /// See [`SignIn::password`].
    pub password: Option<bool>,
    /// See [`SignIn::public`].
    pub public: Option<bool>,
}

impl SignInChange {
    /// Whether it leaves everything as it is.
    pub fn is_nothing(&self) -> bool {
        *self == SignInChange::default()
    }

    /// What comes of it.
    #[must_use]
    pub fn applied_to(&self, was: &SignIn) -> SignIn {
        SignIn {
            delegated: self.delegated.as_ref().unwrap_or(&was.delegated).clone(),
            redirect_uris: self.redirect_uris.as_ref().unwrap_or(&was.redirect_uris).clone(),
            device_code: self.device_code.unwrap_or(was.device_code),
            password: self.password.unwrap_or(was.password),
            public: self.public.unwrap_or(was.public),
        }
    }
}

/// Every part as it is there.
impl From<SignIn> for SignInChange {
    fn from(sign_in: SignIn) -> SignInChange {
        SignInChange {
            delegated: Some(sign_in.delegated),
            redirect_uris: Some(sign_in.redirect_uris),
            device_code: Some(sign_in.device_code),
            password: Some(sign_in.password),
            public: Some(sign_in.public),
        }
    }
}

/// Where people are sent back after they signed in: `https`, or a program on their own machine (`http` on loopback, or a
/// scheme of its own).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// The URI of a text.
    pub fn new(text: &str) -> Result<RedirectUri, ChangeError> {
        let bad = || ChangeError::BadRedirectUri(text.to_owned());
        let fits = text.len() <= NAME_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        let (scheme, rest) = text.split_once(':').ok_or_else(bad)?;
        let sound = match scheme {
            "https" => Authority::of(rest).is_some(),
            "http" => Authority::of(rest).is_some_and(|authority| authority.is_loopback()),
            own => is_own_scheme(own) && rest.starts_with('/'),
        };
        if fits && sound && !text.contains(['#', '\\', '<', '>', '"']) {
            Ok(RedirectUri(text.to_owned()))
        } else {
            Err(bad())
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request may ask to be sent there: letter by letter, but for the port of a loopback address, which a
    /// program does not know before it listens (RFC 8252, 7.3).
    pub fn allows(&self, asked: &str) -> bool {
        if self.0 == asked {
            return true;
        }
        let parts = |text: &str| {
            let rest = text.strip_prefix("http:")?;
            let authority = Authority::of(rest).filter(Authority::is_loopback)?;
            Some((authority.host.to_owned(), authority.after.to_owned()))
        };
        let without_slash =
            |(host, after): (String, String)| (host, after.trim_start_matches('/').to_owned());
        match (parts(&self.0), parts(asked)) {
            (Some(ours), Some(theirs)) => without_slash(ours) == without_slash(theirs),
            _ => false,
        }
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a scheme belongs to one program: a domain name backwards (RFC 8252, 7.1), or as MSAL makes them. Never one that a
/// browser knows.
fn is_own_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte))
        && (scheme.contains('.') || scheme.starts_with("msal"))
}

/// The host of a URL without user and port, and what follows.
struct Authority<'a> {
    host: &'a str,
    after: &'a str,
}

impl Authority<'_> {
    /// Of what follows the scheme's colon.
    fn of(rest: &str) -> Option<Authority<'_>> {
        let rest = rest.strip_prefix("//")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                Some(host).filter(|_| is_port)?
            }
            _ => authority,
        };
        let is_host = !host.is_empty() && !host.contains('@');
        is_host.then_some(Authority { host, after })
    }

    fn is_loopback(&self) -> bool {
        ["localhost", "127.0.0.1", "[::1]"].contains(&self.host)
    }
}

/// An application that may get tokens of one organisation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Application {
    /// Its client id.
    pub id: ApplicationId,
    /// The organisation whose answers it may read.
    pub organisation: OrganisationId,
    /// Its name, unique in its organisation, compared without case.
    pub name: String,
    /// What it may do for itself.
    pub permissions: Vec<Permission>,
    /// What people may do through it, and how they sign in.
    pub sign_in: SignIn,
    /// The secrets that it may sign in with: more than one only while they are being rotated.
    pub secrets: Vec<Secret>,
    /// The certificates whose keys its assertions may be signed with.
    pub certificates: Vec<Certificate>,
    /// How often it may ask.
    pub limits: CallLimits,
    /// When it was made.
    pub created_at: Second,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris() {
        for text in [
            "https://soar.example/callback?x=1",
            "https://soar.example:8443",
            "http://localhost",
            "http://127.0.0.1:8400/",
            "http://[::1]/back",
            "msal1111://auth",
            "com.example.tool:/auth",
        ] {
            assert_eq!(RedirectUri::new(text).as_ref().map(RedirectUri::as_str), Ok(text));
        }
        for text in [
            "",
            "soar.example",
            "http://soar.example/",
            "https://",
            "https://a b",
            "https://user@soar.example/",
            "https://soar.example/#x",
            "https://soar.example:port/",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://soar.example",
            "file:///etc/passwd",
            "http://localhost.evil.example/",
            "http://localhost@evil.example/",
        ] {
            assert!(RedirectUri::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn where_people_may_be_sent_back() {
        let check = |kept: &str, asked: &str, expected: bool| {
            let kept = RedirectUri::new(kept).expect("a URI");
            assert_eq!(kept.allows(asked), expected, "{kept} {asked}");
        };
        check("http://localhost", "http://localhost:53124", true);
        check("http://localhost", "http://localhost:53124/", true);
        check("http://localhost/a", "http://localhost:1/a", true);
        check("http://localhost/a", "http://localhost:1/b", false);
        check("http://localhost", "http://127.0.0.1:1", false);
        check("http://localhost", "https://localhost:1", false);
        check("http://localhost", "http://localhost:1@evil.example", false);
        check("http://localhost", "http://localhost.evil.example", false);
        check("https://soar.example/a", "https://soar.example/a", true);
        for asked in ["https://soar.example/a/", "https://soar.example/a?x", "https://soar.example:444/a", ""]
        {
            check("https://soar.example/a", asked, false);
        }
    }

    #[test]
    fn limits_as_text() {
        for text in ["default", "off", "1", "4294967295"] {
            assert_eq!(CallLimit::parse(text).map(|limit| limit.to_string()).as_deref(), Some(text));
        }
        for text in ["", "0", "-1", "+1", "Off", "4294967296", "1.0", " 1"] {
            assert_eq!(CallLimit::parse(text), None, "{text}");
        }
    }
}
