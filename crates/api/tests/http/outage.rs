//! What the log says of outside issuers: who asked, escaped, and an outage once. Alone in its file: whoever else logs at the
//! same time disturbs what is kept.

use std::io::Write;
use std::sync::{Arc, Mutex};

use crate::common::issuers::{Net, Signer};
use crate::common::{NOW, SEEN, TestApp};
use seenby_api::{ApplicationIf, ClaimPaths, IssuerKind, OidcIssuer, OutsideIssuer, Settings};
use serde_json::json;

const ISSUER: &str = "https://keycloak.example/realms/acme";

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

fn settings() -> Settings {
    let kind = OidcIssuer {
        issuer: ISSUER.into(),
        organisation: "Acme".into(),
        claims: ClaimPaths::keycloak(),
        application_if: ApplicationIf::Keycloak,
    };
    let issuer = OutsideIssuer {
        kind: IssuerKind::Oidc(kind),
        audiences: Vec::new(),
        key_set: None,
        trust: None,
        limits: Default::default(),
    };
    Settings { issuers: vec![issuer], ..Settings::default() }
}

#[tokio::test]
async fn who_asked_is_told_and_an_outage_once() {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (net, signer) = (Net::empty(), Signer::ec("1"));
    net.publish(ISSUER, &[&signer]);
    let app = TestApp::with_fetch(settings(), net.fetch()).await;
    let token = signer.token(&json!({
        "iss": ISSUER, "aud": "http://localhost", "exp": NOW + 300, "azp": "a\u{202e}b", "sub": "kim\n7", "scope": "Ip.Read.All",
    }));
    assert_eq!(app.with_token(&token, &format!("/api/ips/{SEEN}/stats")).await.status, 403);
    net.down();
    for _ in 0..4 {
        app.pass_ms(3_600_000);
        app.state.refresh_issuer_keys().await;
    }
    net.publish(ISSUER, &[&signer]);
    app.pass_ms(3_600_000);
    app.state.refresh_issuer_keys().await;
    let text = kept.text();
    assert!(text.contains(r"u{202e}b") && text.contains(r"kim\\n7"), "{text}");
    assert_eq!(text.matches("cannot be fetched").count(), 1, "{text}");
    assert_eq!(text.matches("can be fetched again").count(), 1, "{text}");
    assert!(!text.contains(token.rsplit('.').next().expect("a signature")), "{text}");
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
}
