//! The OData view: the only module that knows the original's names, and the exact bytes of its answers. Refuses to
//! hold: how an answer is found, errors, and any other way to show the same answer.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sighting::{Answer, Second, Stats};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::openapi::CONTRACT;

/// The content type of every OData JSON answer.
const ODATA_JSON: HeaderValue =
    HeaderValue::from_static("application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8");
const STATS_TYPE: &str = "microsoft.windowsDefenderATP.api.InOrgIPStats";

/// The metadata document: exactly what is served, nothing that the original has beyond it.
const METADATA: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
  <edmx:DataServices>
    <Schema Namespace="microsoft.windowsDefenderATP.api" xmlns="http://docs.oasis-open.org/odata/ns/edm">
      <EntityType Name="Ip">
        <Key>
          <PropertyRef Name="id" />
        </Key>
        <Property Name="id" Type="Edm.String" Nullable="false" />
      </EntityType>
      <ComplexType Name="InOrgIPStats">
        <Property Name="ipAddress" Type="Edm.String" />
        <Property Name="orgPrevalence" Type="Edm.String" />
        <Property Name="organizationPrevalence" Type="Edm.Int32" />
        <Property Name="orgFirstSeen" Type="Edm.DateTimeOffset" />
        <Property Name="orgLastSeen" Type="Edm.DateTimeOffset" />
      </ComplexType>
      <Function Name="Stats" IsBound="true">
        <Parameter Name="bindingParameter" Type="microsoft.windowsDefenderATP.api.Ip" />
        <ReturnType Type="microsoft.windowsDefenderATP.api.InOrgIPStats" />
      </Function>
      <EntityContainer Name="Container">
        <EntitySet Name="Ips" EntityType="microsoft.windowsDefenderATP.api.Ip" />
      </EntityContainer>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>
"#;

/// How many devices of the organisation opened a connection to an address, first, last. Where it was not seen in the
/// window: zeros and nulls.
// The order of the fields is the order of the keys.
#[derive(Serialize, ToSchema)]
#[schema(as = InOrgIPStats, example = json!({
    "@odata.context": "https://seenby.example.org/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats",
    "ipAddress": "203.0.113.10",
    "orgPrevalence": "923",
    "organizationPrevalence": 923,
    "orgFirstSeen": "2026-11-23T03:07:11Z",
    "orgLastSeen": "2026-11-24T02:34:16Z"
}))]
pub(crate) struct InOrgIpStats<'a> {
    /// The type of this answer, under the address that was called.
    #[serde(rename = "@odata.context")]
    context: String,
    /// The address as it was asked for.
    #[serde(rename = "ipAddress")]
    ip_address: &'a str,
    /// The number again, as a string: old clients read this one. A server may leave it out.
    #[serde(rename = "orgPrevalence", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    org_prevalence: Option<String>,
    /// Distinct devices, exact.
    #[serde(rename = "organizationPrevalence")]
    organization_prevalence: u32,
    /// The earliest connection, UTC, whole seconds.
    #[serde(rename = "orgFirstSeen")]
    #[schema(format = DateTime)]
    org_first_seen: Option<String>,
    /// The latest connection, UTC, whole seconds.
    #[serde(rename = "orgLastSeen")]
    #[schema(format = DateTime)]
    org_last_seen: Option<String>,
}

/// How an answer is shown.
pub(crate) struct Shown<'a> {
    /// `{scheme}://{host}` as it was called.
    pub(crate) called: &'a str,
    /// The address as the caller wrote it.
    pub(crate) text: &'a str,
    /// Whether the number is also sent as a string.
    pub(crate) legacy_prevalence: bool,
}

/// The statistics of an address. One that was not seen inside the window has zeros and nulls.
pub(crate) fn stats(shown: &Shown<'_>, answer: Answer) -> Response {
    let seen = match answer {
        Answer::Seen(seen) => Some(seen),
        Answer::Quiet | Answer::Unknown => None,
    };
    let prevalence = seen.map_or(0, |Stats { prevalence, .. }| prevalence.get());
    odata(InOrgIpStats {
        context: context(shown.called, STATS_TYPE),
        ip_address: shown.text,
        org_prevalence: shown.legacy_prevalence.then(|| prevalence.to_string()),
        organization_prevalence: prevalence,
        org_first_seen: seen.map(|seen| instant(seen.first)),
        org_last_seen: seen.map(|seen| instant(seen.last)),
    })
}

fn instant(second: Second) -> String {
    second.to_string()
}

/// An OData collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Collection<'a> {
    /// The type of its members, under the address that was called.
    #[serde(rename = "@odata.context")]
    context: String,
    /// Its members.
    value: &'a [EntitySet],
}

/// What the service document names.
#[derive(Serialize, ToSchema)]
pub(crate) struct EntitySet {
    name: &'static str,
    kind: &'static str,
    url: &'static str,
}

/// A collection without members, for clients that test their connection with it.
pub(crate) fn empty_collection(called: &str, entity_set: &str) -> Response {
    odata(Collection { context: context(called, entity_set), value: &[] })
}

/// The service document.
pub(crate) fn service_document(called: &str) -> Response {
    let ips = EntitySet { name: "Ips", kind: "EntitySet", url: "Ips" };
    odata(Collection { context: format!("{called}/api/$metadata"), value: &[ips] })
}

/// The metadata document
#[utoipa::path(
    get,
    path = "/api/$metadata",
    tag = CONTRACT,
    responses((status = 200, description = "OData V4 CSDL of what is served", body = String, content_type = "application/xml"))
)]
pub(crate) async fn metadata() -> Response {
    let headers = [(CONTENT_TYPE, "application/xml"), (ODATA_VERSION.0, ODATA_VERSION.1)];
    (headers, METADATA).into_response()
}

const ODATA_VERSION: (axum::http::HeaderName, &str) =
    (axum::http::HeaderName::from_static("odata-version"), "4.0");

/// Room for an answer.
const BODY_BYTES: usize = 512;

fn context(called: &str, fragment: &str) -> String {
    format!("{called}/api/$metadata#{fragment}")
}

fn odata(body: impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(BODY_BYTES);
    let written = serde_json::to_writer(&mut bytes, &body);
    let mut response = match written {
        Ok(()) => Body::from(bytes).into_response(),
        Err(error) => return ApiError::Internal { cause: error.to_string() }.into_response(),
    };
    response.headers_mut().insert(CONTENT_TYPE, ODATA_JSON);
    response.headers_mut().insert(ODATA_VERSION.0, HeaderValue::from_static(ODATA_VERSION.1));
    response
}
