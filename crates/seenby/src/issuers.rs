//! `[[issuers]]` of the settings file: as it is written, as it is meant, and the files that it names, whose changes a running
//! server takes up. Refuses to hold: what is done with tokens and keys (the HTTP room), and the network (`outgoing`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use api::{ApplicationIf, ClaimPath, ClaimPaths, EntraIssuer, IssuerKind, OidcIssuer, OutsideIssuer};
use serde::Deserialize;
use sighting::{Book, CallLimit, CallLimits, NAME_BYTES_MAX, Uuid, escape};

use crate::house::shown;
use crate::pair::{OfFile, of_file};
use crate::store::{AnyDirectory, AnyStore};

/// How often files of keys are looked at. A change is taken up once it has held still from one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file of keys or certificates, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One `[[issuers]]` as written. Which keys go with which `kind` is checked afterwards, so that it can be said.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerConfig {
    /// Who it is: `entra`, `keycloak` or `oidc`.
    kind: Kind,
    /// Entra ID: `commercial` or `us-government`.
    cloud: Option<Cloud>,
    /// Entra ID: the sign-in host's URL, in place of the cloud's.
    authority: Option<String>,
    /// Entra ID: the organisation, by name or GUID, of each tenant's GUID.
    tenants: Option<BTreeMap<String, String>>,
    /// Entra ID: also believe tokens that were made for Microsoft's own API.
    accept_defender_tokens: Option<bool>,
    /// The others: the `iss` of the tokens, letter by letter.
    issuer: Option<String>,
    /// The others: the one organisation, by name or GUID, that the tokens are for.
    organisation: Option<String>,
    /// Where the roles of an application stand in a token.
    roles: Option<PathConfig>,
    /// Where the scopes that a user granted stand.
    scopes: Option<PathConfig>,
    /// Where the ids of a user's groups stand.
    groups: Option<PathConfig>,
    /// Where the client id stands.
    application: Option<PathConfig>,
    /// Where the user's id stands.
    user: Option<PathConfig>,
    /// What makes a token one of an application: `claim` or `claim=value`.
    application_if: Option<String>,
    /// What the tokens must be meant for; this server's own URL if there is none.
    #[serde(default)]
    audiences: Vec<String>,
    /// The keys as a JWK set, in place of asking the issuer.
    keys_file: Option<PathBuf>,
    /// The certificates of the authorities that vouch for the issuer's host, in place of the system's.
    ca_file: Option<PathBuf>,
    /// Call limits of single applications, by client id.
    #[serde(default)]
    limits: BTreeMap<String, LimitsConfig>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Entra,
    Keycloak,
    Oidc,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
enum Cloud {
    Commercial,
    UsGovernment,
}

/// Names with dots between them, or a list of names that may have dots.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum PathConfig {
    Dotted(String),
    Names(Vec<String>),
}

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
struct LimitsConfig {
    per_minute: Option<LimitConfig>,
    per_hour: Option<LimitConfig>,
}

/// A number, `off` or `default`, as `seenby app limit` takes them.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum LimitConfig {
    Calls(u32),
    Word(String),
}

/// An issuer as meant, with files that were not read yet.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    settings: OutsideIssuer,
    keys_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// All issuers of a settings file.
pub(crate) fn meant(written: Vec<IssuerConfig>) -> anyhow::Result<Vec<Issuer>> {
    let mut names = BTreeSet::new();
    let mut issuers = Vec::new();
    for (number, config) in (1..).zip(written) {
        let issuer = Issuer::from_config(config).with_context(|| format!("[[issuers]] number {number}"))?;
        for name in issuer.settings.names() {
            ensure!(
                !names.contains(&name),
                "[[issuers]] number {number} has an issuer that another has too: {}",
                escape(&name)
            );
            names.insert(name);
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

impl Issuer {
    fn from_config(mut config: IssuerConfig) -> anyhow::Result<Issuer> {
        let (keys_file, ca_file) = (config.keys_file.take(), config.ca_file.take());
        ensure!(
            keys_file.is_none() || ca_file.is_none(),
            "has keys_file and ca_file; with a file of keys nothing is asked of the issuer, so leave ca_file out"
        );
        let audiences = std::mem::take(&mut config.audiences);
        ensure!(
            audiences.iter().all(|audience| !audience.is_empty()),
            "has an empty audience; write what the tokens have in aud"
        );
        let limits = std::mem::take(&mut config.limits);
        let kind = match config.kind {
            Kind::Entra => IssuerKind::Entra(entra(config)?),
            kind => IssuerKind::Oidc(oidc(kind, config, keys_file.is_some())?),
        };
        let is_entra = matches!(kind, IssuerKind::Entra(_));
        let limits = limits
            .into_iter()
            .map(|(client, limits)| limit(client, &limits, is_entra))
            .collect::<Result<_, _>>()?;
        let settings = OutsideIssuer { kind, audiences, key_set: None, trust: None, limits };
        Ok(Issuer { settings, keys_file, ca_file })
    }

    /// Reads its files.
    pub(crate) fn open(&self) -> anyhow::Result<OutsideIssuer> {
        let mut settings = self.settings.clone();
        if let Some(path) = &self.keys_file {
            let set = read(path)?;
            api::usable_keys(&set).with_context(|| format!("the keys in {} cannot be used", shown(path)))?;
            settings.key_set = Some(set.into());
        }
        if let Some(path) = &self.ca_file {
            let certificates = read(path)?;
            let count = reqwest::Certificate::from_pem_bundle(&certificates).map_or(0, |found| found.len());
            ensure!(count > 0, "{} has no certificate in PEM", shown(path));
            settings.trust = Some(certificates.into());
        }
        Ok(settings)
    }

    /// Whether it lets in tokens that were made for Microsoft's own API.
    pub(crate) fn accepts_defender_tokens(&self) -> bool {
        matches!(&self.settings.kind, IssuerKind::Entra(entra) if entra.accept_defender_tokens)
    }

    /// The organisations of the settings that a book does not have.
    pub(crate) fn unknown_organisations(&self, book: &Book) -> Vec<&str> {
        let named = self.settings.organisations().into_iter();
        named.filter(|name| book.organisation(name).is_none()).collect()
    }
}

fn entra(config: IssuerConfig) -> anyhow::Result<EntraIssuer> {
    let others = [
        ("issuer", config.issuer.is_some()),
        ("organisation", config.organisation.is_some()),
        ("roles", config.roles.is_some()),
        ("scopes", config.scopes.is_some()),
        ("groups", config.groups.is_some()),
        ("application", config.application.is_some()),
        ("user", config.user.is_some()),
        ("application_if", config.application_if.is_some()),
    ];
    check_none("entra", &others, "it has cloud or authority, and tenants")?;
    ensure!(
        config.cloud.is_none() || config.authority.is_none(),
        "has cloud and authority; write one of them"
    );
    let authority = match (config.authority, config.cloud) {
        (Some(authority), _) => https("authority", &authority)?.trim_end_matches('/').to_owned(),
        (None, Some(Cloud::UsGovernment)) => "https://login.microsoftonline.us".to_owned(),
        (None, _) => "https://login.microsoftonline.com".to_owned(),
    };
    let written = config.tenants.unwrap_or_default();
    ensure!(
        !written.is_empty(),
        "has no tenants; write tenants = {{ \"<tenant's GUID>\" = \"<organisation>\" }}"
    );
    let mut tenants = BTreeMap::new();
    for (tenant, organisation) in written {
        let id = Uuid::try_parse(&tenant).ok().with_context(|| {
            format!("tenants has '{}'; write the tenant's GUID, which its domain is not", escape(&tenant))
        })?;
        check_organisation(&organisation)?;
        ensure!(tenants.insert(id, organisation).is_none(), "tenants has {id} twice");
    }
    let accept_defender_tokens = config.accept_defender_tokens.unwrap_or_default();
    Ok(EntraIssuer { authority, tenants, accept_defender_tokens })
}

fn oidc(kind: Kind, config: IssuerConfig, has_keys: bool) -> anyhow::Result<OidcIssuer> {
    let others = [
        ("cloud", config.cloud.is_some()),
        ("authority", config.authority.is_some()),
        ("tenants", config.tenants.is_some()),
        ("accept_defender_tokens", config.accept_defender_tokens.is_some()),
    ];
    let kind_name = if kind == Kind::Keycloak { "keycloak" } else { "oidc" };
    check_none(kind_name, &others, "it has issuer and organisation")?;
    let issuer = config.issuer.context("has no issuer; write what the tokens have in iss")?;
    if !has_keys {
        https("issuer", &issuer)?;
    }
    sighting::Issuer::new(&issuer).context("issuer")?;
    let organisation = config.organisation.context("has no organisation; write its name or GUID")?;
    check_organisation(&organisation)?;
    let mut claims = match kind {
        Kind::Keycloak => ClaimPaths::keycloak(),
        _ => ClaimPaths::oidc(),
    };
    for (key, written, paths) in [
        ("roles", config.roles, &mut claims.roles),
        ("scopes", config.scopes, &mut claims.scopes),
        ("groups", config.groups, &mut claims.groups),
        ("application", config.application, &mut claims.application),
        ("user", config.user, &mut claims.user),
    ] {
        if let Some(written) = written {
            *paths = vec![claim_path(key, written)?];
        }
    }
    let application_if = match (config.application_if, kind) {
        (Some(written), _) => application_if(&written)?,
        (None, Kind::Keycloak) => ApplicationIf::Keycloak,
        (None, _) => ApplicationIf::Standard,
    };
    Ok(OidcIssuer { issuer, organisation, claims, application_if })
}

fn check_none(kind: &str, others: &[(&str, bool)], instead: &str) -> anyhow::Result<()> {
    match others.iter().find(|(_, is_there)| *is_there) {
        Some((key, _)) => bail!("is of kind {kind} and has {key}, which others have; {instead}"),
        None => Ok(()),
    }
}

fn check_organisation(name: &str) -> anyhow::Result<()> {
    ensure!(
        !name.trim().is_empty(),
        "names no organisation; write its name or GUID (`seenby org list` has them)"
    );
    Ok(())
}

/// The URL of a server that is asked for its keys.
fn https<'a>(key: &str, url: &'a str) -> anyhow::Result<&'a str> {
    let parsed = reqwest::Url::parse(url).ok().filter(|parsed| {
        let is_plain = parsed.query().is_none() && parsed.fragment().is_none();
        parsed.scheme() == "https" && url.starts_with("https://") && is_plain && parsed.username().is_empty()
    });
    ensure!(
        parsed.is_some() && url.len() <= NAME_BYTES_MAX,
        "{key} is '{}'; write it as https://login.example.org/realm",
        escape(url)
    );
    Ok(url)
}

fn claim_path(key: &str, written: PathConfig) -> anyhow::Result<ClaimPath> {
    let path = match written {
        PathConfig::Dotted(path) => ClaimPath::dotted(&path),
        PathConfig::Names(names) => ClaimPath(names),
    };
    ensure!(
        !path.0.is_empty() && path.0.iter().all(|name| !name.is_empty()),
        "{key} is no path; write it as \"realm_access.roles\", or as a list of names where a name has a dot"
    );
    Ok(path)
}

fn application_if(written: &str) -> anyhow::Result<ApplicationIf> {
    let (claim, value) = match written.split_once('=') {
        Some((claim, value)) => (claim.trim(), Some(value.trim().to_owned())),
        None => (written.trim(), None),
    };
    let path = claim_path("application_if", PathConfig::Dotted(claim.to_owned()))?;
    Ok(ApplicationIf::Claim(path, value))
}

fn limit(client: String, written: &LimitsConfig, is_entra: bool) -> anyhow::Result<(String, CallLimits)> {
    let of = |key: &str, written: &Option<LimitConfig>| {
        let parsed = match written {
            None => Some(CallLimit::Default),
            Some(LimitConfig::Calls(calls)) => CallLimit::parse(&calls.to_string()),
            Some(LimitConfig::Word(word)) => CallLimit::parse(word),
        };
        parsed.with_context(|| {
            format!(
                "limits of '{}': {key} is no limit; write a number from 1, \"off\" or \"default\"",
                escape(&client)
            )
        })
    };
    let limits = CallLimits {
        per_minute: of("per_minute", &written.per_minute)?,
        per_hour: of("per_hour", &written.per_hour)?,
    };
    let client = match Uuid::try_parse(&client) {
        Ok(id) if is_entra => id.to_string(),
        Err(_) if is_entra => bail!("limits has '{}'; write the client id, which is a GUID", escape(&client)),
        _ => client,
    };
    Ok((client, limits))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(path).with_context(|| format!("{} cannot be read", shown(path)))?.len();
    ensure!(length <= FILE_BYTES_MAX, "{} has more than {FILE_BYTES_MAX} bytes", shown(path));
    std::fs::read(path).with_context(|| format!("{} cannot be read", shown(path)))
}

/// A file of keys that a server has taken up.
struct KeyFile {
    /// The issuer's place in the settings.
    issuer: usize,
    path: PathBuf,
    /// What it was when it was taken up, and at the last look.
    taken_up: Option<OfFile>,
    last: Option<OfFile>,
}

/// Takes up changes of the files of keys, for ever. What cannot be used is logged once, and the old keys count on.
pub(crate) async fn follow(issuers: Arc<[Issuer]>, state: api::State<AnyStore, AnyDirectory>) {
    let of = |(issuer, of): (usize, &Issuer)| {
        let path = of.keys_file.clone()?;
        let now = of_file(&path);
        Some(KeyFile { issuer, path, taken_up: now, last: now })
    };
    let mut files: Vec<KeyFile> = issuers.iter().enumerate().filter_map(of).collect();
    if files.is_empty() {
        return;
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        for file in &mut files {
            file.look(&state);
        }
    }
}

impl KeyFile {
    fn look(&mut self, state: &api::State<AnyStore, AnyDirectory>) {
        let now = of_file(&self.path);
        let holds_still = std::mem::replace(&mut self.last, now) == now;
        if !holds_still || now == self.taken_up {
            return;
        }
        self.taken_up = now;
        let file = shown(&self.path);
        let given = read(&self.path).and_then(|set| {
            state.give_issuer_keys(self.issuer, &set).context("its keys are fetched")?.map_err(Into::into)
        });
        match given {
            Ok(keys) => tracing::info!(%file, keys, "the keys of an issuer were exchanged"),
            Err(error) => {
                tracing::error!(%file, error = %format!("{error:#}"), "a file of keys changed and cannot be used; the old keys count on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "a0000000-0000-4000-8000-00000000000a";

    #[derive(Deserialize)]
    struct File {
        issuers: Vec<IssuerConfig>,
    }

    fn parse(text: &str) -> anyhow::Result<Vec<Issuer>> {
        meant(toml::from_str::<File>(text)?.issuers)
    }

    #[track_caller]
    fn check_refused(text: &str, says: &[&str]) {
        let error = format!("{:#}", parse(text).expect_err("refused"));
        for part in says {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    #[test]
    fn what_is_written_is_meant() {
        let issuers = parse(&format!(
            "[[issuers]]\nkind = 'entra'\ncloud = 'us-government'\ntenants = {{ '{TENANT}' = 'Acme' }}\n\
             limits = {{ '{}' = {{ per_minute = 300, per_hour = 'off' }} }}\n\
             [[issuers]]\nkind = 'keycloak'\nissuer = 'https://k.example/realms/a'\norganisation = 'Acme'\n\
             roles = ['resource_access', 'soc.api', 'roles']\n\
             [[issuers]]\nkind = 'oidc'\nissuer = 'https://i.example/'\norganisation = 'Other'\n\
             application_if = 'gty=client-credentials'\nscopes = 'a.b'\n",
            TENANT.to_uppercase()
        ))
        .expect("sound");
        let [entra, keycloak, oidc] = &issuers[..] else { panic!("{issuers:?}") };
        assert_eq!(
            entra.settings.names(),
            [
                format!("https://login.microsoftonline.us/{TENANT}/v2.0"),
                format!("https://sts.windows.net/{TENANT}/")
            ]
        );
        let limits = entra.settings.limits[TENANT];
        assert_eq!((limits.per_minute.to_string(), limits.per_hour), ("300".to_owned(), CallLimit::Off));
        let IssuerKind::Oidc(keycloak) = &keycloak.settings.kind else { panic!("{keycloak:?}") };
        let path = |names: &[&str]| vec![ClaimPath(names.iter().map(|&name| name.to_owned()).collect())];
        assert_eq!(keycloak.claims.roles, path(&["resource_access", "soc.api", "roles"]));
        assert_eq!(keycloak.application_if, ApplicationIf::Keycloak);
        let IssuerKind::Oidc(oidc) = &oidc.settings.kind else { panic!("{oidc:?}") };
        assert_eq!(oidc.claims.scopes, path(&["a", "b"]));
        let rule = ApplicationIf::Claim(ClaimPath::dotted("gty"), Some("client-credentials".into()));
        assert_eq!(oidc.application_if, rule);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        let entra = |more: &str| format!("[[issuers]]\nkind = 'entra'\n{more}\n");
        let tenants = format!("tenants = {{ '{TENANT}' = 'Acme' }}");
        let oidc = |more: &str| format!("[[issuers]]\nkind = 'oidc'\n{more}\n");
        let good = "issuer = 'https://i.example'\norganisation = 'Acme'";
        check_refused(&entra(""), &["number 1", "no tenants"]);
        check_refused(&entra("tenants = { 'acme.example' = 'Acme' }"), &["'acme.example'", "GUID"]);
        check_refused(&entra(&format!("tenants = {{ '{TENANT}' = ' ' }}")), &["names no organisation"]);
        check_refused(&entra(&format!("{tenants}\nissuer = 'https://i.example'")), &["kind entra", "issuer"]);
        check_refused(
            &entra(&format!("{tenants}\nauthority = 'http://i.example'")),
            &["authority", "https://"],
        );
        check_refused(
            &entra(&format!("{tenants}\ncloud = 'commercial'\nauthority = 'https://i.example'")),
            &["one of them"],
        );
        check_refused(&entra(&format!("{tenants}\nlimits = {{ soc = {{}} }}")), &["client id", "GUID"]);
        check_refused(&oidc("issuer = 'https://i.example'"), &["no organisation"]);
        check_refused(&oidc("organisation = 'Acme'"), &["no issuer"]);
        check_refused(&oidc(&format!("{good}\ntenants = {{}}")), &["kind oidc", "tenants"]);
        check_refused(&oidc(&format!("{good}\nroles = 'a..b'")), &["roles is no path"]);
        check_refused(&oidc(&format!("{good}\nroles = []")), &["roles is no path"]);
        check_refused(&oidc(&format!("{good}\napplication_if = '=x'")), &["application_if"]);
        check_refused(&oidc(&format!("{good}\naudiences = ['']")), &["empty audience"]);
        check_refused(
            &oidc(&format!("{good}\nlimits = {{ a = {{ per_minute = 0 }} }}")),
            &["'a'", "per_minute"],
        );
        check_refused(&oidc(&format!("{good}\nkeys_file = 'a'\nca_file = 'b'")), &["leave ca_file out"]);
        check_refused(&oidc(&format!("{good}\nkey_file = 'a'")), &["unknown field `key_file`"]);
        check_refused("[[issuers]]\nissuer = 'https://i.example'", &["kind"]);
        check_refused(&format!("{}{}", oidc(good), oidc(good)), &["number 2", "another has too"]);
        for url in [
            "http://i.example",
            "i.example",
            "https://a:b@i.example",
            "https://i.example?x",
            "https://",
            "HTTPS://i.example",
        ] {
            check_refused(
                &oidc(&format!("issuer = '{url}'\norganisation = 'Acme'")),
                &["issuer is", "https://"],
            );
        }
        // Nobody is asked where the keys are given.
        let given = "issuer = 'http://i.example'\norganisation = 'Acme'\nkeys_file = 'keys.json'";
        assert!(parse(&oidc(given)).is_ok());
    }

    #[test]
    fn files_are_read_and_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        let of = |key: &str| {
            let text = format!(
                "[[issuers]]\nkind = 'oidc'\nissuer = 'https://i.example'\norganisation = 'Acme'\n{key} = '{}'\n",
                file.display()
            );
            parse(&text).expect("sound").remove(0)
        };
        for (key, says) in [("keys_file", "not a JWK set"), ("ca_file", "no certificate")] {
            assert!(format!("{:#}", of(key).open().expect_err("missing")).contains("cannot be read"));
            std::fs::write(&file, "{}").expect("written");
            let error = format!("{:#}", of(key).open().expect_err("refused"));
            assert!(error.contains(says), "{error}");
            std::fs::remove_file(&file).expect("removed");
        }
    }
}
