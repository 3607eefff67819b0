//! What a client of object storage is told: by the environment, by the settings, and by the file of credentials, each before the one
//! in front of it, under one name for each key. Refuses to hold: files, and what is asked of the store.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use reqwest::Url;
use sighting::escape;

/// How long a store may say nothing. How long all of an answer takes is nobody's business: an object may be large.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// How often a question is asked again, or an object is gone on with where its connection broke.
const ATTEMPTS_MORE: usize = 5;
/// How long an object may be on its way and still be gone on with.
const GONE_ON_WITHIN: Duration = Duration::from_secs(6 * 3_600);

/// Whose protocol is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cloud {
    S3,
    Azure,
    Google,
}

/// Keys of S3 that say together what one wants: whoever writes one of them means none of the environment's.
const OF_S3: &[&[&str]] = &[
    &[
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_container_credentials_relative_uri",
        "aws_container_credentials_full_uri",
        "aws_container_authorization_token_file",
        "aws_web_identity_token_file",
        "aws_role_arn",
        "aws_role_session_name",
        "aws_skip_signature",
    ],
    &["aws_region", "aws_default_region"],
    &["aws_endpoint", "aws_endpoint_url_s3"],
];

/// The same of Azure.
const OF_AZURE: &[&[&str]] = &[&[
    "azure_storage_account_key",
    "azure_storage_client_id",
    "azure_storage_client_secret",
    "azure_storage_tenant_id",
    "azure_storage_sas_key",
    "azure_storage_token",
    "azure_msi_endpoint",
    "azure_object_id",
    "azure_msi_resource_id",
    "azure_federated_token_file",
    "azure_use_azure_cli",
    "azure_skip_signature",
    "azure_fabric_session_token",
    "azure_credential_type",
]];

/// The same of Google.
const OF_GOOGLE: &[&[&str]] = &[&[
    "google_service_account",
    "google_service_account_key",
    "google_application_credentials",
    "google_bearer_token",
    "google_skip_signature",
]];

impl Cloud {
    pub(super) fn of(scheme: &ObjectStoreScheme) -> Option<Cloud> {
        match scheme {
            ObjectStoreScheme::AmazonS3 => Some(Cloud::S3),
            ObjectStoreScheme::MicrosoftAzure => Some(Cloud::Azure),
            ObjectStoreScheme::GoogleCloudStorage => Some(Cloud::Google),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Cloud::S3 => "S3",
            Cloud::Azure => "Azure Blob",
            Cloud::Google => "Google Cloud Storage",
        }
    }

    /// With what variables of the environment begin.
    const fn variables(self) -> &'static str {
        match self {
            Cloud::S3 => "AWS_",
            Cloud::Azure => "AZURE_",
            Cloud::Google => "GOOGLE_",
        }
    }

    const fn together(self) -> &'static [&'static [&'static str]] {
        match self {
            Cloud::S3 => OF_S3,
            Cloud::Azure => OF_AZURE,
            Cloud::Google => OF_GOOGLE,
        }
    }

    /// The one name of a key, which may be written in several ways.
    fn key(self, written: &str) -> Option<String> {
        match self {
            Cloud::S3 => written.parse().ok().map(|key: AmazonS3ConfigKey| key.as_ref().to_owned()),
            Cloud::Azure => written.parse().ok().map(|key: AzureConfigKey| key.as_ref().to_owned()),
            Cloud::Google => written.parse().ok().map(|key: GoogleConfigKey| key.as_ref().to_owned()),
        }
    }

    /// Words under the one name of each key; where they stand is for errors.
    pub(super) fn named(
        self,
        place: &str,
        written: &BTreeMap<String, String>,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut named = BTreeMap::new();
        for (key, value) in written {
            let one = self.key(key).with_context(|| {
                format!("{place} has {}, which is no option of {}", escape(key), self.name())
            })?;
            let twice = format!("{place} says {one} twice, once as {}; leave one of them out", escape(key));
            ensure!(named.insert(one, value.clone()).is_none(), twice);
        }
        Ok(named)
    }

    /// All that the client is told. Of the environment only what goes with the rest.
    pub(super) fn told(
        self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        options: &BTreeMap<String, String>,
        file: &BTreeMap<String, String>,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut written = self.named("options", options)?;
        written.extend(self.named("the file of credentials", file)?);
        let is_said = |key: &str| {
            let mut sets = self.together().iter().filter(|set| set.contains(&key));
            sets.any(|set| set.iter().any(|other| written.contains_key(*other)))
        };
        let of_environment = |(key, value): (OsString, OsString)| {
            let key = key.into_string().ok().filter(|key| key.starts_with(self.variables()))?;
            let key = self.key(&key.to_ascii_lowercase()).filter(|key| !is_said(key))?;
            Some((key, value.into_string().ok()?))
        };
        let mut all: BTreeMap<String, String> = environment.into_iter().filter_map(of_environment).collect();
        all.extend(written);
        Ok(all)
    }

    /// A client for a bucket.
    pub(super) fn store(
        self,
        url: &Url,
        told: BTreeMap<String, String>,
    ) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let client = ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENT_MAX);
        let retry = RetryConfig {
            max_retries: ATTEMPTS_MORE,
            retry_timeout: GONE_ON_WITHIN,
            ..RetryConfig::default()
        };
        macro_rules! store {
            ($builder:ty, $client:expr) => {{
                let begun =
                    <$builder>::new().with_client_options($client).with_retry(retry).with_url(url.as_str());
                let known = told.into_iter().filter_map(|(key, value)| Some((key.parse().ok()?, value)));
                Arc::new(known.fold(begun, |builder, (key, value)| builder.with_config(key, value)).build()?)
            }};
        }
        Ok(match self {
            Cloud::S3 => store!(AmazonS3Builder, client),
            Cloud::Azure => store!(MicrosoftAzureBuilder, client),
            // As its library has it.
            Cloud::Google => store!(GoogleCloudStorageBuilder, client.with_allow_http(true)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    type Words<'a> = &'a [(&'a str, &'a str)];

    fn words(words: Words<'_>) -> BTreeMap<String, String> {
        words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn told(
        cloud: Cloud,
        environment: Words<'_>,
        options: Words<'_>,
        file: Words<'_>,
    ) -> BTreeMap<String, String> {
        let environment = environment.iter().map(|(key, value)| (OsString::from(key), OsString::from(value)));
        cloud.told(environment, &words(options), &words(file)).expect("sound")
    }

    const OF_MACHINE: Words<'_> = &[
        ("AWS_ACCESS_KEY_ID", "theirs"),
        ("AWS_SECRET_ACCESS_KEY", "theirs"),
        ("AWS_SESSION_TOKEN", "theirs"),
    ];

    #[test]
    fn who_asks_is_told_by_one_place() {
        let pair: Words<'_> = &[("access_key_id", "ours"), ("secret_access_key", "ours")];
        let ours: Words<'_> = &[("aws_access_key_id", "ours"), ("aws_secret_access_key", "ours")];
        for (environment, options, file, expected) in [
            (OF_MACHINE, &[][..], pair, ours),
            (OF_MACHINE, pair, &[][..], ours),
            (OF_MACHINE, &[("access_key_id", "older")], pair, ours),
            (&[("AWS_ROLE_ARN", "theirs"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "theirs")], &[], pair, ours),
            (
                OF_MACHINE,
                &[("region", "eu-central-1")],
                &[],
                &[
                    ("aws_access_key_id", "theirs"),
                    ("aws_region", "eu-central-1"),
                    ("aws_secret_access_key", "theirs"),
                    ("aws_session_token", "theirs"),
                ],
            ),
            (
                &[("AWS_REGION", "theirs")],
                &[("default_region", "ours")],
                &[],
                &[("aws_default_region", "ours")],
            ),
            (&[("AWS_ENDPOINT_URL_S3", "theirs")], &[("endpoint", "ours")], &[], &[("aws_endpoint", "ours")]),
            (&[("AWS_ENDPOINT_URL", "theirs")], &[("endpoint", "ours")], &[], &[("aws_endpoint", "ours")]),
            (&[("AWS_PROFILE", "theirs"), ("AZURE_CLIENT_ID", "theirs"), ("PATH", "/")], &[], &[], &[]),
            (&[("AWS_ALLOW_HTTP", "true")], &[], &[], &[("allow_http", "true")]),
        ] {
            let told = told(Cloud::S3, environment, options, file);
            assert_eq!(told, words(expected), "{environment:?} {options:?} {file:?}");
        }
        let key: Words<'_> = &[("account_key", "ours")];
        let environment: Words<'_> = &[
            ("AZURE_STORAGE_ACCOUNT_NAME", "contoso"),
            ("AZURE_CLIENT_ID", "x"),
            ("AZURE_CLIENT_SECRET", "x"),
        ];
        let expected: Words<'_> =
            &[("azure_storage_account_key", "ours"), ("azure_storage_account_name", "contoso")];
        assert_eq!(told(Cloud::Azure, environment, &[], key), words(expected));
        let environment: Words<'_> = &[("GOOGLE_APPLICATION_CREDENTIALS", "/x")];
        let expected: Words<'_> = &[("google_service_account", "/y")];
        assert_eq!(told(Cloud::Google, environment, &[], &[("service_account", "/y")]), words(expected));
    }

    #[test]
    fn a_variable_that_is_no_text_is_nothing_to_us() {
        let no_text = || OsString::from_vec(vec![b'A', b'W', b'S', b'_', 0xff]);
        let environment = [(no_text(), no_text()), ("AWS_REGION".into(), no_text())];
        assert_eq!(Cloud::S3.told(environment, &words(&[]), &words(&[])).expect("sound"), words(&[]));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (options, file, says) in [
            (
                &[][..],
                &[("access_key", "a")][..],
                "the file of credentials has access_key, which is no option of S3",
            ),
            (&[("regoin", "a")], &[], "options has regoin, which is no option of S3"),
            (&[], &[("token", "a"), ("session_token", "b")], "says aws_session_token twice, once as token"),
        ] {
            let error = Cloud::S3.told([], &words(options), &words(file)).expect_err(says).to_string();
            assert!(error.contains(says), "{error:?} lacks {says:?}");
        }
    }
}
