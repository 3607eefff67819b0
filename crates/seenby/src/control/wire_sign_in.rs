//! How people and applications sign in, as JSON for the control socket: mirrors of the domain's types. Refuses to hold:
//! passwords as they are kept, on the way to a command (no command needs them).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sighting::{
    Certificate, PasswordHash, Permission, RedirectUri, Second, SignIn, SignInChange, User, UserId,
};

use super::wire::{Wire128, WireError};

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireSignIn {
    delegated: Vec<String>,
    redirect_uris: Vec<String>,
    device_code: bool,
    password: bool,
    public: bool,
}

impl From<&SignIn> for WireSignIn {
    fn from(sign_in: &SignIn) -> WireSignIn {
        WireSignIn {
            delegated: permission_names(&sign_in.delegated),
            redirect_uris: uri_texts(&sign_in.redirect_uris),
            device_code: sign_in.device_code,
            password: sign_in.password,
            public: sign_in.public,
        }
    }
}

impl TryFrom<WireSignIn> for SignIn {
    type Error = WireError;

    fn try_from(wire: WireSignIn) -> Result<SignIn, WireError> {
        Ok(SignIn {
            delegated: permissions_of(&wire.delegated)?,
            redirect_uris: uris_of(&wire.redirect_uris)?,
            device_code: wire.device_code,
            password: wire.password,
            public: wire.public,
        })
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireSignInChange {
    delegated: Option<Vec<String>>,
    redirect_uris: Option<Vec<String>>,
    device_code: Option<bool>,
    password: Option<bool>,
    public: Option<bool>,
}

impl From<&SignInChange> for WireSignInChange {
    fn from(change: &SignInChange) -> WireSignInChange {
        WireSignInChange {
            delegated: change.delegated.as_ref().map(permission_names),
            redirect_uris: change.redirect_uris.as_ref().map(uri_texts),
            device_code: change.device_code,
            password: change.password,
            public: change.public,
        }
    }
}

impl TryFrom<WireSignInChange> for SignInChange {
    type Error = WireError;

    fn try_from(wire: WireSignInChange) -> Result<SignInChange, WireError> {
        Ok(SignInChange {
            delegated: wire.delegated.as_deref().map(permissions_of).transpose()?,
            redirect_uris: wire.redirect_uris.as_deref().map(uris_of).transpose()?,
            device_code: wire.device_code,
            password: wire.password,
            public: wire.public,
        })
    }
}

fn uri_texts(uris: &BTreeSet<RedirectUri>) -> Vec<String> {
    uris.iter().map(RedirectUri::to_string).collect()
}

fn uris_of(texts: &[String]) -> Result<BTreeSet<RedirectUri>, WireError> {
    texts.iter().map(|text| RedirectUri::new(text).map_err(|_| WireError("redirect URI"))).collect()
}

/// The names of permissions.
pub(super) fn permission_names<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> Vec<String> {
    permissions.into_iter().map(|permission| permission.name().to_owned()).collect()
}

/// The permissions of names.
pub(super) fn permissions_of<C: FromIterator<Permission>>(names: &[String]) -> Result<C, WireError> {
    names.iter().map(|name| Permission::from_name(name).ok_or(WireError("permission"))).collect()
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireCertificate {
    sha256: [u8; 32],
    sha1: [u8; 20],
    public_key: Vec<u8>,
    not_before: u32,
    not_after: u32,
    created_at: u32,
}

impl From<&Certificate> for WireCertificate {
    fn from(certificate: &Certificate) -> WireCertificate {
        WireCertificate {
            sha256: certificate.sha256,
            sha1: certificate.sha1,
            public_key: certificate.public_key.clone(),
            not_before: certificate.not_before.unix(),
            not_after: certificate.not_after.unix(),
            created_at: certificate.created_at.unix(),
        }
    }
}

impl From<WireCertificate> for Certificate {
    fn from(wire: WireCertificate) -> Certificate {
        Certificate {
            sha256: wire.sha256,
            sha1: wire.sha1,
            public_key: wire.public_key,
            not_before: Second::new(wire.not_before),
            not_after: Second::new(wire.not_after),
            created_at: Second::new(wire.created_at),
        }
    }
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireUser {
    id: Wire128,
    organisation: Wire128,
    name: String,
    /// Empty on the way to a command.
    password: String,
    password_set_at: u32,
    created_at: u32,
}

impl WireUser {
    /// As a command gets it.
    pub(super) fn without_password(user: &User) -> WireUser {
        WireUser { password: String::new(), ..WireUser::from(user) }
    }
}

impl From<&User> for WireUser {
    fn from(user: &User) -> WireUser {
        WireUser {
            id: Wire128(user.id.0),
            organisation: user.organisation.into(),
            name: user.name.clone(),
            password: user.password.0.clone(),
            password_set_at: user.password_set_at.unix(),
            created_at: user.created_at.unix(),
        }
    }
}

impl From<WireUser> for User {
    fn from(wire: WireUser) -> User {
        User {
            id: UserId(wire.id.0),
            organisation: wire.organisation.into(),
            name: wire.name,
            password: PasswordHash(wire.password),
            password_set_at: Second::new(wire.password_set_at),
            created_at: Second::new(wire.created_at),
        }
    }
}
