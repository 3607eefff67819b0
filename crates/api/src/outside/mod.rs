//! Issuers that the operator names beside the built-in one: whose tokens are believed, with which keys, and for which
//! organisation. Refuses to hold: requests, the network (documents are fetched by what is given), the header of a token
//! (`token`), and what an organisation lets its users do (the book says).
//!
//! One [`Trusted`] is one issuer of one organisation with keys of its own: a tenant of Entra ID, or an issuer of the
//! settings. The `iss` of a token that nobody has checked yet chooses whose keys are tried, and nothing else; a key of one
//! never verifies a token of another.

mod cache;
mod claims;
mod jwk;
mod kept;
mod settings;
mod strict;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::Value;
use sighting::{ApplicationId, Book, CallLimits, Issuer, OrganisationId, Uuid};

use self::cache::{KeyCache, NoKey, Source};
use self::claims::Said;
use self::strict::Strict;
use crate::endpoints::unslashed;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::presets;
use crate::state::{Machine, Millis, Shared};
use crate::token::{Bound, Claims, Rests, TokenRefusal, Unchecked};

pub(crate) use self::jwk::algorithm_of;
pub use self::jwk::{KeySetError, usable_keys};
pub use self::settings::{
    ApplicationIf, ClaimPath, ClaimPaths, EntraIssuer, IssuerKind, OidcIssuer, OutsideIssuer,
};

/// How many issuers are asked for their keys at once.
const FETCHES_MAX: usize = 8;

/// All outside issuers of a server.
#[derive(Default)]
pub(crate) struct Issuers {
    trusted: Vec<Arc<Trusted>>,
    /// Which one an `iss` means.
    by_iss: HashMap<String, usize>,
    limits: HashMap<ApplicationId, CallLimits>,
    organisations: RwLock<Arc<Organisations>>,
}

/// Which organisation of a book each name of the settings means.
#[derive(Default)]
struct Organisations {
    of: Arc<Book>,
    ids: HashMap<String, OrganisationId>,
}

/// One issuer of one organisation.
struct Trusted {
    settings: Arc<OutsideIssuer>,
    /// Which issuer of the settings it is.
    entry: usize,
    /// The tenant, at Entra ID.
    tenant: Option<Uuid>,
    /// The organisation, by name or id.
    organisation: String,
    /// Under which names the members of roles may have it.
    member_issuers: Arc<[Issuer]>,
    /// Whose client ids are unique.
    realm: String,
    keys: Arc<KeyCache>,
}

impl Trusted {
    /// What the settings name, with every `iss` that its tokens have.
    fn of(entry: usize, settings: &Arc<OutsideIssuer>) -> Vec<(Trusted, Vec<String>)> {
        match &settings.kind {
            IssuerKind::Entra(entra) => {
                let authority = entra.authority.trim_end_matches('/');
                let of_tenant = |(tenant, organisation): (&Uuid, &String)| {
                    let iss = entra.names(*tenant).to_vec();
                    let template = Some(format!("{authority}/{{tenantid}}/v2.0"));
                    let organisation = organisation.clone();
                    Trusted::new(entry, settings, Some(*tenant), organisation, authority, iss, template)
                };
                entra.tenants.iter().map(of_tenant).collect()
            }
            IssuerKind::Oidc(oidc) => {
                let (iss, organisation) = (vec![oidc.issuer.clone()], oidc.organisation.clone());
                vec![Trusted::new(entry, settings, None, organisation, &oidc.issuer, iss, None)]
            }
        }
    }

    fn new(
        entry: usize,
        settings: &Arc<OutsideIssuer>,
        tenant: Option<Uuid>,
        organisation: String,
        realm: &str,
        iss: Vec<String>,
        template: Option<String>,
    ) -> (Trusted, Vec<String>) {
        let source = Source {
            issuer: iss.first().cloned().unwrap_or_default(),
            template,
            trust: settings.trust.clone(),
        };
        let keys = match &settings.key_set {
            Some(set) => KeyCache::given(source, set),
            None => KeyCache::fetched(source),
        };
        let trusted = Trusted {
            settings: Arc::clone(settings),
            entry,
            tenant,
            organisation,
            member_issuers: iss.iter().cloned().map(Issuer::Outside).collect(),
            realm: realm.to_owned(),
            keys: Arc::new(keys),
        };
        (trusted, iss)
    }

    fn accepts(&self, shared: &Shared, audience: &str) -> bool {
        let of_defender = matches!(&self.settings.kind, IssuerKind::Entra(entra) if entra.accept_defender_tokens)
            && presets::is_original_audience(audience);
        let of_settings = match self.settings.audiences.as_slice() {
            [] => shared.is_own_url(unslashed(audience)),
            listed => listed.iter().any(|own| unslashed(own) == unslashed(audience)),
        };
        of_settings || of_defender
    }
}

impl Issuers {
    /// The issuers of the settings. Of two with the same `iss` the first counts.
    pub(crate) fn new(settings: &[OutsideIssuer]) -> Issuers {
        let mut issuers = Issuers::default();
        for (entry, settings) in settings.iter().enumerate() {
            let settings = Arc::new(settings.clone());
            for (trusted, iss) in Trusted::of(entry, &settings) {
                for (client, limits) in &settings.limits {
                    issuers.limits.insert(claims::application_id(&trusted.realm, client), *limits);
                }
                let at = issuers.trusted.len();
                for iss in iss {
                    issuers.by_iss.entry(iss).or_insert(at);
                }
                issuers.trusted.push(Arc::new(trusted));
            }
        }
        issuers
    }

    /// Which issuer's keys a token is to be tried with; `None` is the built-in one.
    pub(crate) fn of(&self, token: &Unchecked<'_>) -> Option<usize> {
        #[derive(Deserialize)]
        struct Issued {
            iss: String,
        }
        if self.trusted.is_empty() {
            return None;
        }
        let issued: Issued = token.claims().ok()?;
        self.by_iss.get(&issued.iss).copied()
    }

    /// Every check of a token of one issuer that does not need the book.
    pub(crate) async fn verify(
        &self,
        shared: &Shared,
        at: usize,
        token: &Unchecked<'_>,
    ) -> Result<Claims, ApiError> {
        let trusted = self.trusted.get(at).ok_or(TokenRefusal::Issuer)?;
        let kid = token.header.kid.as_deref().unwrap_or_default();
        let key =
            trusted.keys.key(kid, &shared.machine, &shared.metrics).await.map_err(|no_key| match no_key {
                NoKey::Unknown => ApiError::Unauthorized(TokenRefusal::UnknownKey),
                NoKey::NoneYet(retry_after_s) => {
                    ApiError::NoIssuerKeys { issuer: trusted.keys.name().to_owned(), retry_after_s }
                }
            })?;
        // What the token says of its algorithm is compared, never followed.
        if token.header.algorithm()? != key.algorithm {
            return Err(TokenRefusal::Algorithm.into());
        }
        let signs = trusted.tenant.is_none_or(|tenant| key.signs_for(trusted.keys.name(), tenant));
        if !signs {
            return Err(TokenRefusal::UnknownKey.into());
        }
        if !key.is_signature(token.signature, token.message) {
            return Err(TokenRefusal::Signature.into());
        }
        let Strict(Value::Object(payload)) = token.claims()? else {
            return Err(TokenRefusal::Malformed.into());
        };
        // Chosen by what a lenient reader saw: the strict one must have seen the same.
        let iss = payload.get("iss").and_then(Value::as_str).unwrap_or_default();
        if self.by_iss.get(iss) != Some(&at) {
            return Err(TokenRefusal::Issuer.into());
        }
        let Said { client, audience, roles, delegated, not_before, expires } =
            claims::read(trusted, iss, &payload, |audience| trusted.accepts(shared, audience))?;
        let (kid, thumbprint) = (key.kid.clone(), key.thumbprint);
        Ok(Claims {
            rests: Rests::OnOutside { issuer: at, kid, thumbprint },
            organisation: Bound::Named(trusted.organisation.clone()),
            client,
            audience,
            roles,
            delegated,
            not_before,
            expires,
        })
    }

    /// Whether a key that a token was checked with is one of its issuer's still.
    pub(crate) fn has(&self, at: usize, kid: &str, thumbprint: &[u8; 32], now: Millis) -> bool {
        let key = self.trusted.get(at).and_then(|trusted| trusted.keys.known(kid, now));
        key.is_some_and(|key| key.thumbprint == *thumbprint)
    }

    /// The organisation that a name or an id of the settings means in a book. A book is searched once.
    pub(crate) fn organisation(&self, book: &Arc<Book>, name: &str) -> Option<OrganisationId> {
        let found = Arc::clone(&self.organisations.read().unwrap_or_else(PoisonError::into_inner));
        if Arc::ptr_eq(&found.of, book) {
            return found.ids.get(name).copied();
        }
        let names = self.trusted.iter().map(|trusted| &trusted.organisation);
        let ids = names.filter_map(|name| Some((name.clone(), book.organisation(name)?.id))).collect();
        let found = Arc::new(Organisations { of: Arc::clone(book), ids });
        *self.organisations.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&found);
        found.ids.get(name).copied()
    }

    /// The call limits that the settings give one application.
    pub(crate) fn limits(&self, application: ApplicationId) -> CallLimits {
        self.limits.get(&application).copied().unwrap_or_default()
    }

    /// Whether one of them signs people and applications in where an endpoint says that it is done. Only Entra ID's clouds are told
    /// apart by that: any other issuer is there because the operator put it there.
    pub(crate) fn signs_in_at(&self, issuer: usize, authority: Option<&str>) -> bool {
        let (Some(trusted), Some(authority)) = (self.trusted.get(issuer), authority) else { return true };
        match &trusted.settings.kind {
            IssuerKind::Entra(entra) => unslashed(&entra.authority) == unslashed(authority),
            IssuerKind::Oidc(_) => true,
        }
    }

    /// The resource that an issuer's tokens are to be for, if the settings name one.
    pub(crate) fn audience(&self, issuer: usize) -> Option<&str> {
        self.trusted.get(issuer)?.settings.audiences.first().map(String::as_str)
    }

    /// Whether an id may be one of theirs: those are made, see [`claims::application_id`].
    pub(crate) fn may_have(&self, application: ApplicationId) -> bool {
        !self.trusted.is_empty() && application.0.get_version_num() == 8
    }

    /// Fetches the keys that are due, a few issuers at a time.
    pub(crate) async fn refresh(&self, machine: &Machine, metrics: &Metrics) {
        for some in self.trusted.chunks(FETCHES_MAX) {
            // Each fetch is a task of its own, so waiting for them one by one waits for the slowest.
            let begun: Vec<_> =
                some.iter().map(|trusted| trusted.keys.begin_if_due(machine, metrics)).collect();
            for (trusted, flight) in some.iter().zip(begun) {
                if let Some(flight) = flight {
                    trusted.keys.landing(flight).await;
                }
            }
        }
    }

    /// Other given keys for one issuer of the settings; `None` if its keys are fetched.
    pub(crate) fn give_keys(&self, entry: usize, set: &[u8]) -> Option<Result<usize, KeySetError>> {
        let of_entry =
            self.trusted.iter().filter(|trusted| trusted.entry == entry && trusted.keys.is_given());
        let given: Vec<_> = of_entry.map(|trusted| trusted.keys.give(set)).collect();
        if given.is_empty() {
            return None;
        }
        Some(given.into_iter().collect::<Result<Vec<()>, _>>().and_then(|_| usable_keys(set)))
    }

    /// What is told of the keys as they are at this moment: before each scrape.
    pub(crate) fn report(&self, metrics: &Metrics, now: Millis) {
        for Trusted { keys, .. } in self.trusted.iter().map(Arc::as_ref) {
            metrics.issuer_keys_are(keys.name(), keys.len(now), keys.age_ms(now));
        }
    }
}
