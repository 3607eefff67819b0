//! What the issuer does of itself: keys are made, follow each other without dropping a caller, go when they are done, and are
//! encrypted where the operator gave a key; tickets that have expired are forgotten.

use crate::common::{NOW, READER, SEEN, TestApp, book, machine};
use seenby_api::{SealingKey, Settings, State, check_signing_keys, router};
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{Actor, Book, Directory, PrivateKey, Second, Ticket, TicketKey, TicketKind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const DAY_MS: u64 = 86_400_000;

async fn kids(app: &TestApp) -> Vec<String> {
    let book = app.directory.book().await.expect("a book");
    book.signing_keys.iter().map(|key| key.kid.clone()).collect()
}

fn kid(token: &str) -> String {
    use base64::Engine;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(token.split('.').next().expect("a header"))
        .expect("base64");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}

#[tokio::test]
async fn keys_follow_each_other_and_drop_nobody() {
    let app = TestApp::new().await;
    let path = format!("/api/ips/{SEEN}/stats");
    app.state.upkeep(&*app.directory).await.expect("in order");
    let first = kids(&app).await;
    assert_eq!(first.len(), 1, "the one that was there is good");
    app.pass_ms(91 * DAY_MS);
    let before = app.token(READER).await;
    app.state.upkeep(&*app.directory).await.expect("in order");
    let both = kids(&app).await;
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    let after = app.token(READER).await;
    assert_eq!((kid(&before), kid(&after)), (both[0].clone(), both[1].clone()));
    // Nothing was seen in 91 days: 404, which is as good as 200 here.
    for token in [&before, &after] {
        assert_eq!(app.with_token(token, &path).await.status, 404);
    }
    // The old one verifies as long as anything that it signed can be good.
    app.pass_ms(3_600_000);
    app.state.upkeep(&*app.directory).await.expect("in order");
    assert_eq!(kids(&app).await, both);
    assert_eq!(app.with_token(&before, &path).await.status, 404);
    app.pass_ms(601_000);
    app.state.upkeep(&*app.directory).await.expect("in order");
    assert_eq!(kids(&app).await, both[1..]);
    let audit = app.directory.audit(10).await.expect("an audit log");
    let said: Vec<&str> = audit.iter().map(|entry| entry.what.as_str()).collect();
    assert!(
        said[0].starts_with("removed signing key") && said[1].starts_with("added signing key"),
        "{said:?}"
    );
}

#[tokio::test]
async fn two_keys_of_one_second_are_in_order() {
    let app = TestApp::new().await;
    let actor = || Actor("test".to_owned());
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(app.state.rotate_signing_key(&*app.directory, actor()).await.expect("a key"));
        assert_eq!(kid(&app.token(READER).await), *made.last().expect("a key"));
    }
    assert_eq!(kids(&app).await[1..], made);
}

#[tokio::test]
async fn private_keys_are_encrypted_once_there_is_a_key_for_it() {
    let directory = Arc::new(ModelDirectory::new(book()));
    let sealing = SealingKey::new([9; 32]);
    let settings = Settings { sealing_key: Some(sealing.clone()), ..Settings::default() };
    let now = Arc::new(AtomicU64::new(u64::from(NOW) * 1_000));
    let machine = machine(&now, &Arc::new(AtomicU64::new(0)));
    let state = State::new(Arc::new(ModelStore::new()), Arc::clone(&directory), settings, machine);
    let router = router(state.clone());
    // The key that lay in the clear may be known to others by now: it is encrypted, and one that never did signs. Once.
    let plain = directory.book().await.expect("a book").signing_keys[0].kid.clone();
    for _ in 0..2 {
        state.upkeep(&*directory).await.expect("in order");
        let book = directory.book().await.expect("a book");
        assert_eq!((book.signing_keys.len(), &book.signing_keys[0].kid), (2, &plain));
    }
    state.rotate_signing_key(&*directory, Actor("test".to_owned())).await.expect("a key");
    let book = directory.book().await.expect("a book");
    assert_eq!(book.signing_keys.len(), 3);
    assert!(book.signing_keys.iter().all(|key| matches!(key.private, PrivateKey::Sealed(_))));
    assert_eq!(check_signing_keys(&book, Some(&sealing)), Ok(()));
    for other in [None, Some(&SealingKey::new([8; 32]))] {
        let refused = check_signing_keys(&book, other).expect_err("refused").to_string();
        assert!(refused.contains("encrypted"), "{refused}");
    }
    assert_eq!(check_signing_keys(&Book::default(), None), Ok(()));
    let request = axum::http::Request::get("/common/discovery/keys").header("host", "localhost");
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let response = tower::ServiceExt::oneshot(router, request).await.expect("infallible");
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    let keys: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn expired_tickets_are_forgotten() {
    let app = TestApp::new().await;
    let now = Second::new(NOW);
    let key = |byte| TicketKey { kind: TicketKind::Assertion, sha256: [byte; 32] };
    for (byte, expires_at) in [(1, NOW - 1), (2, NOW)] {
        let ticket = Ticket { expires_at: Second::new(expires_at), content: Vec::new() };
        app.directory.add_ticket(key(byte), ticket, now).await.expect("kept");
    }
    app.state.upkeep(&*app.directory).await.expect("in order");
    assert_eq!(app.directory.ticket(key(1), Second::MIN).await, Ok(None));
    assert!(app.directory.ticket(key(2), now).await.expect("read").is_some());
}
