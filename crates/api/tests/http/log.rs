//! What the log says of a request, and what it must never say.

use std::io::Write;
use std::sync::{Arc, Mutex};

use crate::common::{ACME, READER, SEEN, TestApp, form, secret_of};

/// A log that is kept in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("whole").clone()).expect("text")
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_line_a_request_with_its_id_and_without_secrets() {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    let wrong = form(READER).replace("client_secret=", "client_secret=x");
    app.post(&format!("/{ACME}/oauth2/token"), &wrong).await;
    app.post("/evil%0a%1b]0;x%07\u{202e}/oauth2/token", &wrong).await;
    let seen = app.with_token(&token, &format!("/api/ips/{SEEN}/stats")).await;
    let refused = app.anonymous(&format!("/api/ips/{SEEN}/stats?access_token={token}")).await;
    let bad = app.with_token(&token, "/api/ips/%1b%0aok%e2%80%ae/stats").await;
    app.with_token(&format!("{token}x"), "/api/alerts").await;
    let long_method = axum::http::Method::from_bytes("M".repeat(5_000).as_bytes()).expect("a method");
    let made_up = axum::http::Request::builder().method(long_method).uri("/api").header("host", "localhost");
    app.send(made_up.body(axum::body::Body::empty()).expect("a request")).await;

    let text = kept.text();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.lines().all(|line| line.len() < 1_000), "{text}");
    for reply in [&seen, &refused, &bad] {
        assert!(text.contains(reply.header("x-request-id")), "{text}");
    }
    assert!(text.contains(&READER.to_string()) && text.contains(&ACME.to_string()), "{text}");
    assert!(text.contains("in_query") && text.contains("signature"), "{text}");
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(!text.contains(signature) && !text.contains(&secret_of(READER)), "{text}");
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
}
