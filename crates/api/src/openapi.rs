//! What the service is, as documents: OpenAPI 3.1 made of the types and handlers themselves, Swagger 2.0 of the
//! contract's routes for low-code connectors, and a page to read. Refuses to hold: words that belong to a type or a handler
//! (they stand there), and scripts.

use std::sync::LazyLock;

use axum::Json;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{
    ClientCredentials, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Scopes, SecurityScheme,
};
use utoipa::{Modify, OpenApi};

use crate::called::Called;
use crate::{admin, authorize, device_code, discovery, issuer, probes, receive, routes, stats, view};

/// Routes of the contract.
pub(crate) const CONTRACT: &str = "Contract";
/// Routes of the built-in issuer.
pub(crate) const ISSUER: &str = "Issuer";
/// Routes for sources.
pub(crate) const SENDING: &str = "Sending";
/// Routes for whoever manages an organisation.
pub(crate) const ADMINISTRATION: &str = "Administration";
/// Routes for whoever runs the server.
pub(crate) const OPERATION: &str = "Operation";

/// Where tokens come from, in the documents.
const TOKEN_URL: &str = "/common/oauth2/v2.0/token";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "seenby",
        description = "How many of our devices opened a connection to this address, first, last. The contract's routes are those of \
                       Microsoft Defender for Endpoint's Get IP statistics; this is not a product of Microsoft. Paths of the contract \
                       match in any case and under /api/v1.0 too.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = CONTRACT, description = "The question, and what belongs to it"),
        (name = ISSUER, description = "Tokens for applications, and for people through them"),
        (name = SENDING, description = "For sources, which tell of connections. Elasticsearch's _bulk, Splunk's HEC and OTLP logs are served too, as those define them"),
        (name = ADMINISTRATION, description = "An organisation's roles, accounts and applications, for whoever has the right; on the operator's listener alone, if that is a loopback address"),
        (name = OPERATION, description = "For whoever runs the server"),
    ),
    paths(
        stats::stats,
        routes::service_document,
        view::metadata,
        routes::alerts,
        routes::machines,
        issuer::token_v2,
        issuer::token_v1,
        authorize::page_v2,
        authorize::page_v1,
        authorize::submit_v2,
        authorize::submit_v1,
        device_code::code_v2,
        device_code::code_v1,
        device_code::page,
        device_code::page_of_tenant,
        device_code::submit,
        device_code::submit_of_tenant,
        discovery::document_v2,
        discovery::document_v1,
        discovery::keys,
        discovery::keys_v1,
        discovery::instance,
        receive::own::ingest,
        receive::own::sources,
        admin::organisation::show,
        admin::roles::list,
        admin::roles::add,
        admin::roles::show,
        admin::roles::change,
        admin::roles::remove,
        admin::roles::grant,
        admin::roles::revoke,
        admin::users::list,
        admin::users::add,
        admin::users::show,
        admin::users::remove,
        admin::users::set_password,
        admin::applications::list,
        admin::applications::add,
        admin::applications::show,
        admin::applications::change,
        admin::applications::remove,
        admin::applications::rotate,
        admin::applications::add_certificate,
        admin::applications::remove_certificate,
        probes::alive,
        probes::ready,
        probes::metrics,
        receive::page::sources_page,
        openapi,
        swagger,
        page,
    ),
    modifiers(&Tokens)
)]
struct Documents;

/// What `Ip.Read.All` is called for people, in the two languages that it has a name in.
const IP_READ_ALL: &str = "Read IP address profiles (IP 주소 프로필 읽기)";

/// How callers sign in.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scopes =
            Scopes::from_iter([("Ip.Read.All", IP_READ_ALL), ("Seenby.Manage", "Manage the organisation")]);
        let flow = Flow::ClientCredentials(ClientCredentials::new(TOKEN_URL, scopes));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::OAuth2(OAuth2::new([flow])));
        let source = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token of a source"))
            .build();
        components.add_security_scheme("source", SecurityScheme::Http(source));
    }
}

/// The OpenAPI document; it never changes while the program runs.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::to_value(Documents::openapi()).expect("a document of strings and numbers is JSON")
});

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = OPERATION, responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(crate) async fn openapi(Called(called): Called) -> Response {
    let mut document = DOCUMENT.clone();
    document["servers"] = json!([{ "url": called }]);
    Json(document).into_response()
}

/// The contract's routes as Swagger 2.0, which low-code connectors import
#[utoipa::path(get, path = "/swagger.json", tag = OPERATION, responses((status = 200, description = "Swagger 2.0", body = Object)))]
pub(crate) async fn swagger(Called(called): Called) -> Response {
    Json(swagger_of(&DOCUMENT, &called)).into_response()
}

/// The contract's part of an OpenAPI 3.1 document as Swagger 2.0, for a server that was called so.
fn swagger_of(document: &Value, called: &str) -> Value {
    let (scheme, host) = called.split_once("://").unwrap_or(("http", called));
    let mut paths = Map::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        let operations: Map<String, Value> = operations
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, operation)| operation["tags"][0] == CONTRACT)
            .map(|(method, operation)| (method.clone(), swagger_operation(operation)))
            .collect();
        if !operations.is_empty() {
            paths.insert(path.clone(), operations.into());
        }
    }
    let mut definitions = document["components"]["schemas"].clone();
    if let Some(definitions) = definitions.as_object_mut() {
        definitions.retain(|name, _| {
            ["InOrgIPStats", "Error", "ErrorBody", "Collection", "EntitySet"].contains(&name.as_str())
        });
    }
    json!({
        "swagger": "2.0",
        "info": { "title": document["info"]["title"], "description": document["info"]["description"], "version": document["info"]["version"] },
        "host": host,
        "basePath": "/",
        "schemes": [scheme],
        "produces": ["application/json"],
        "securityDefinitions": { "token": {
            "type": "oauth2",
            "flow": "application",
            "tokenUrl": format!("{called}{TOKEN_URL}"),
            "scopes": { "Ip.Read.All": IP_READ_ALL },
        } },
        "paths": paths,
        "definitions": older(definitions),
    })
}

fn swagger_operation(operation: &Value) -> Value {
    let mut swagger = json!({
        "operationId": operation["operationId"],
        "summary": operation["summary"],
        "tags": operation["tags"],
    });
    for key in ["description", "security"] {
        if !operation[key].is_null() {
            swagger[key] = operation[key].clone();
        }
    }
    let parameters = operation["parameters"].as_array().into_iter().flatten().map(|parameter| {
        let mut written = json!({
            "name": parameter["name"],
            "in": parameter["in"],
            "required": parameter["required"],
            "description": parameter["description"],
        });
        if let (Some(written), Value::Object(schema)) =
            (written.as_object_mut(), older(parameter["schema"].clone()))
        {
            written.extend(schema.into_iter().filter(|(key, _)| key != "x-nullable"));
        }
        written
    });
    swagger["parameters"] = parameters.collect();
    let responses = operation["responses"].as_object().into_iter().flatten().map(|(status, response)| {
        let mut written = json!({ "description": response["description"] });
        if let Some(content) = response["content"].as_object().and_then(|content| content.values().next()) {
            written["schema"] = older(content["schema"].clone());
        }
        (status.clone(), written)
    });
    swagger["responses"] = responses.collect::<Map<_, _>>().into();
    swagger
}

/// A schema in the words of the older version: no lists of types, definitions in another place.
fn older(schema: Value) -> Value {
    match schema {
        Value::Array(items) => items.into_iter().map(older).collect(),
        Value::Object(fields) => {
            let mut older_fields: Map<String, Value> = fields
                .into_iter()
                .filter(|(key, _)| key != "propertyNames")
                .map(|(key, value)| (key, older(value)))
                .collect();
            if let Some(Value::Array(types)) = older_fields.get("type") {
                let one = types.iter().find(|kind| *kind != "null").cloned().unwrap_or_default();
                older_fields.insert("type".to_owned(), one);
                older_fields.insert("x-nullable".to_owned(), true.into());
            }
            older_fields.into()
        }
        Value::String(text) => text.replace("#/components/schemas/", "#/definitions/").into(),
        other => other,
    }
}

/// The same to read
#[utoipa::path(get, path = "/docs", tag = OPERATION, responses((status = 200, description = "A page without scripts", body = String, content_type = "text/html")))]
pub(crate) async fn page(Called(called): Called) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    (headers, page_of(&DOCUMENT, &called)).into_response()
}

/// The document as a page.
fn page_of(document: &Value, called: &str) -> String {
    let mut page = String::from(PAGE_HEAD);
    let text = |value: &Value| prose(value.as_str().unwrap_or_default());
    page += &format!(
        "<h1>{}</h1><p>{}</p>",
        text(&document["info"]["title"]),
        text(&document["info"]["description"])
    );
    page += &format!(
        "<p>Served at <code>{}</code>. As documents: <a href=\"/openapi.json\">OpenAPI 3.1</a>, <a href=\"/swagger.json\">Swagger 2.0</a> (the contract).</p>",
        html(called)
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        page += &format!("<h2>{}</h2><p>{}</p>", text(&tag["name"]), text(&tag["description"]));
        for (path, operations) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in operations.as_object().into_iter().flatten() {
                if operation["tags"][0] == tag["name"] {
                    page += &operation_of(method, path, operation);
                }
            }
        }
    }
    page += "<h2>Types</h2>";
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        page += &schema_of(name, schema);
    }
    page + "</main>"
}

fn operation_of(method: &str, path: &str, operation: &Value) -> String {
    let text = |value: &Value| prose(value.as_str().unwrap_or_default());
    let mut part = format!(
        "<section id=\"{id}\"><h3><code>{} {}</code></h3><p>{}</p><p>{}</p>",
        html(&method.to_uppercase()),
        html(path),
        text(&operation["summary"]),
        text(&operation["description"]),
        id = text(&operation["operationId"]),
    );
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters: String = parameters
        .map(|it| {
            format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(&it["name"]),
                text(&it["in"]),
                text(&it["description"])
            )
        })
        .collect();
    if !parameters.is_empty() {
        part += &format!(
            "<table class=\"in\"><tr><th>parameter</th><th>in</th><th></th></tr>{parameters}</table>"
        );
    }
    part += "<table class=\"out\"><tr><th>status</th><th></th><th>body</th></tr>";
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let content = response["content"].as_object().and_then(|content| content.values().next());
        let body = content.map(|content| type_of(&content["schema"])).unwrap_or_default();
        part += &format!(
            "<tr><td>{}</td><td>{}</td><td>{body}</td></tr>",
            html(status),
            text(&response["description"])
        );
    }
    part + "</table></section>"
}

fn schema_of(name: &str, schema: &Value) -> String {
    let text = |value: &Value| prose(value.as_str().unwrap_or_default());
    let mut part = format!(
        "<section id=\"type-{0}\"><h3><code>{0}</code></h3><p>{1}</p><table class=\"type\"><tr><th>field</th><th>type</th><th></th></tr>",
        html(name),
        text(&schema["description"])
    );
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        part += &format!(
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            html(field),
            type_of(schema),
            text(&schema["description"])
        );
    }
    part + "</table></section>"
}

/// A schema in a word, with a link where it has a name.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#type-{0}\">{0}</a>", html(name));
    }
    let kind = match &schema["type"] {
        Value::String(kind) => html(kind),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).map(html).collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    };
    if kind == "array" { format!("list of {}", type_of(&schema["items"])) } else { kind }
}

/// Text in which backticks stand around code.
fn prose(text: &str) -> String {
    let mut shown = String::new();
    for (place, part) in text.split('`').enumerate() {
        let part = html(part);
        shown += &if place % 2 == 1 { format!("<code>{part}</code>") } else { part };
    }
    shown
}

/// Text that a page shows as it is.
fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const PAGE_HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>seenby: the API</title><style>\
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#1c2733;background:#fff}\
main{max-width:60rem;margin:0 auto;padding:2rem 1rem}\
h2{margin-top:3rem;border-bottom:1px solid #c8d1da}h3{margin-top:2rem}\
code{font:15px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}\
table{width:100%;table-layout:fixed;border-collapse:collapse;margin:.5rem 0}th{text-align:left;font-weight:600}\
h3 code{font-weight:600}th:nth-child(1){width:11rem}th:nth-child(2){width:auto}.in th:nth-child(2){width:5rem}\
.out th:nth-child(1){width:5rem}.out th:nth-child(3){width:9rem}.type th:nth-child(1){width:18rem}.type th:nth-child(2){width:9rem}\
th,td{padding:.3rem .6rem .3rem 0;vertical-align:top;border-bottom:1px solid #e6ebf0}\
@media(prefers-color-scheme:dark){body{color:#dbe4ec;background:#12181f}h2{border-color:#3a4653}th,td{border-color:#28323c}a{color:#8ab8ff}}\
</style><main>";
