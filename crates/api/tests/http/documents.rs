//! What the service says of itself: the OpenAPI document names every route and is the same as last time, the Swagger document
//! is made of it, the page shows it.

use std::collections::BTreeSet;

use crate::common::TestApp;

/// The paths that the router has, as its source lists them; a name stands for the text of its constant.
fn routed() -> BTreeSet<String> {
    let source = include_str!("../../src/routes.rs");
    let others = include_str!("../../src/device_code.rs");
    let named = |name: &str| {
        let line = format!("const {name}: &str = \"");
        let (_, rest) = [source, others].iter().find_map(|text| text.split_once(&line)).expect("a constant");
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let path = |rest: &str| match rest.split(',').next().unwrap_or_default().trim() {
        quoted if quoted.starts_with('"') => quoted.trim_matches('"').to_owned(),
        name => named(name.rsplit("::").next().unwrap_or(name)),
    };
    source.split(".route(").skip(1).map(path).collect()
}

#[tokio::test]
async fn every_route_is_documented_and_nothing_else() {
    let document = TestApp::new().await.anonymous("/openapi.json").await.json();
    let documented: BTreeSet<String> =
        document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(documented, routed());
}

/// A change of the API changes this snapshot; `make bless` accepts it.
#[tokio::test]
async fn the_documents_are_as_they_were() {
    let app = TestApp::new().await;
    for path in ["/openapi.json", "/swagger.json"] {
        let document = serde_json::to_string_pretty(&app.anonymous(path).await.json()).expect("JSON");
        insta::assert_snapshot!(path.trim_matches('/').replace('.', "_"), document);
    }
}

/// What the answer of the contract is made of is what the document says.
#[tokio::test]
async fn answers_are_what_the_document_says() {
    let app = TestApp::new().await;
    let document = app.anonymous("/openapi.json").await.json();
    let schema = &document["components"]["schemas"]["InOrgIPStats"]["properties"];
    let documented: BTreeSet<&String> = schema.as_object().expect("properties").keys().collect();
    let body = app.stats(crate::common::SEEN).await.json();
    assert_eq!(body.as_object().expect("an object").keys().collect::<BTreeSet<_>>(), documented);
}

#[tokio::test]
async fn the_page_shows_every_route_without_scripts() {
    let reply = TestApp::new().await.anonymous("/docs").await;
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert!(reply.header("content-security-policy").starts_with("default-src 'none'"));
    let page = reply.text();
    for path in routed() {
        assert!(page.contains(&path), "{path}");
    }
    assert!(!page.contains("<script") && page.contains("api.securitycenter.microsoft.com"), "{page}");
}
