//! Call limits as a caller and an operator see them: RateLimit headers, an application's own numbers, a restart between
//! two calls, metrics. The numbers themselves are judged by the unit tests of `limits` and `recall`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::common::{ACME, POWERLESS, READER, SEEN, STRANGER, TestApp, machine};
use axum::body::Body;
use axum::http::Request;
use seenby_api::{Limits, Room, Settings, State, router};
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{ApplicationId, CallLimit, Change, Directory, Extent, Uuid};

fn settings(per_minute: u32, per_hour: u32) -> Settings {
    let limits = Limits { per_minute: Some(per_minute), per_hour: Some(per_hour) };
    Settings { limits, ..Settings::default() }
}

fn calls(number: u32) -> Option<CallLimit> {
    Some(CallLimit::Calls(NonZeroU32::new(number).expect("not zero")))
}

fn set(application: ApplicationId, per_minute: Option<CallLimit>, per_hour: Option<CallLimit>) -> Change {
    Change::SetLimits { application, per_minute, per_hour }
}

#[tokio::test]
async fn every_counted_answer_says_what_is_left_and_no_other() {
    let app = TestApp::with(settings(4, 100)).await;
    let token = app.token(READER).await;
    let ask = async |token: &str, path: &str| {
        let reply = app.with_token(token, path).await;
        let headers = ["ratelimit-policy", "ratelimit"].map(|name| reply.header(name).to_owned());
        (reply.status.as_u16(), headers)
    };
    let policy = "\"minute\";q=4;w=60, \"hour\";q=100;w=3600";
    for (path, status, state) in [
        ("/api/ips/198.51.100.20/stats", 200, "\"minute\";r=3;t=60, \"hour\";r=99;t=3600"),
        ("/api/ips/203.0.113.77/stats", 404, "\"minute\";r=2;t=59, \"hour\";r=98;t=3599"),
        ("/api/ips/x/stats", 400, "\"minute\";r=1;t=58, \"hour\";r=97;t=3598"),
        ("/api/ips/1.1.1.1/stats?lookBackHours=0", 400, "\"minute\";r=0;t=57, \"hour\";r=96;t=3597"),
        ("/api/ips/198.51.100.20/stats", 429, "\"minute\";r=0;t=56, \"hour\";r=96;t=3596"),
    ] {
        assert_eq!(ask(&token, path).await, (status, [policy, state].map(str::to_owned)), "{path}");
        app.pass_ms(1_000);
    }
    let none = [String::new(), String::new()];
    let powerless = app.token(POWERLESS).await;
    for (token, path, status) in [
        ("x", "/api/ips/198.51.100.20/stats", 401),
        (&*powerless, "/api/ips/198.51.100.20/stats", 403),
        (&token, "/api/alerts", 200),
        (&token, "/api/$metadata", 200),
        (&token, "/nowhere", 404),
        (&token, "/metrics", 200),
    ] {
        assert_eq!(ask(token, path).await, (status, none.clone()), "{path}");
    }
}

#[tokio::test]
async fn what_is_left_grows_as_grants_leave_the_window() {
    let app = TestApp::with(settings(3, 5)).await;
    let token = app.token(READER).await;
    for (pass_ms, state) in [
        (0, "\"minute\";r=2;t=60, \"hour\";r=4;t=3600"),
        (20_000, "\"minute\";r=1;t=40, \"hour\";r=3;t=3580"),
        (39_999, "\"minute\";r=0;t=1, \"hour\";r=2;t=3541"),
        (1, "\"minute\";r=0;t=20, \"hour\";r=1;t=3540"),
        (60_000, "\"minute\";r=2;t=60, \"hour\";r=0;t=3480"),
        // Refused by the hour: the minute has room, and neither is used by it.
        (1_000, "\"minute\";r=2;t=59, \"hour\";r=0;t=3479"),
    ] {
        app.pass_ms(pass_ms);
        let reply = app.with_token(&token, &format!("/api/ips/{SEEN}/stats")).await;
        assert_eq!(reply.header("ratelimit"), state);
    }
}

/// HEAD has the headers of GET, and so has an answer that took too long: whatever it is, it was counted.
#[tokio::test]
async fn head_is_told_too() {
    let app = TestApp::with(settings(9, 9)).await;
    let token = app.token(READER).await;
    let request = Request::head(format!("/api/ips/{SEEN}/stats"))
        .header("host", crate::common::HOST)
        .header("accept-encoding", "gzip")
        .header("authorization", format!("Bearer {token}"));
    let reply = app.send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(reply.header("ratelimit"), "\"minute\";r=8;t=60, \"hour\";r=8;t=3600");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_is_told_another_number() {
    let app = Arc::new(TestApp::new().await);
    let token = app.token(READER).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (app, token) = (Arc::clone(&app), token.clone());
        callers.spawn(async move {
            let mut told = Vec::new();
            for _ in 0..4 {
                let reply = app.with_token(&token, "/api/ips/x/stats").await;
                told.push((reply.status.as_u16(), reply.header("ratelimit").to_owned()));
            }
            told
        });
    }
    let mut told: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    told.sort();
    let expected =
        |status, left: u32| (status, format!("\"minute\";r={left};t=60, \"hour\";r={};t=3600", left + 1_400));
    let mut all: Vec<_> = (0..100).map(|left| expected(400, left)).collect();
    all.extend((0..156).map(|_| expected(429, 0)));
    all.sort();
    assert_eq!(told, all);
}

#[tokio::test]
async fn own_limits_hold_from_the_next_call_on() {
    let app = TestApp::with(settings(2, 100)).await;
    let (token, other) = (app.token(READER).await, app.token(STRANGER).await);
    let ask = async |token: &str| {
        let reply = app.with_token(token, "/api/ips/x/stats").await;
        (reply.status.as_u16(), reply.header("ratelimit").to_owned())
    };
    assert_eq!((ask(&token).await.0, ask(&token).await.0, ask(&token).await.0), (400, 400, 429));
    app.commit(set(READER, calls(3), None)).await;
    assert_eq!(ask(&token).await, (400, "\"minute\";r=0;t=60, \"hour\";r=97;t=3600".into()));
    assert_eq!(ask(&token).await.0, 429);
    // Without any limit there is nothing to tell.
    app.commit(set(READER, Some(CallLimit::Off), Some(CallLimit::Off))).await;
    for _ in 0..10 {
        assert_eq!(ask(&token).await, (400, String::new()));
    }
    // What was granted meanwhile counts when there is a limit again.
    app.commit(set(READER, Some(CallLimit::Off), calls(14))).await;
    assert_eq!(ask(&token).await, (400, "\"hour\";r=0;t=3600".into()));
    let reply = app.with_token(&token, "/api/ips/x/stats").await;
    assert_eq!(reply.message(), "API calls quota exceeded! maximum allowed 14 per 01:00:00");
    app.commit(set(READER, Some(CallLimit::Default), Some(CallLimit::Default))).await;
    app.pass_ms(60_000);
    assert_eq!(ask(&token).await, (400, "\"minute\";r=1;t=60, \"hour\";r=85;t=3540".into()));
    // Another application was never concerned.
    assert_eq!(ask(&other).await.1, "\"minute\";r=1;t=60, \"hour\";r=99;t=3600");
    let audit = app.directory.audit(10).await.expect("an audit log");
    let sentence =
        format!("set the call limits of application {READER} to default per minute and default per hour");
    assert_eq!((audit.len(), &audit[0].what), (4, &sentence));
}

#[tokio::test]
async fn metrics_tell_of_limits_without_names() {
    let app = TestApp::with(settings(2, 3)).await;
    for application in [READER, STRANGER] {
        let token = app.token(application).await;
        for _ in 0..3 {
            app.with_token(&token, "/api/ips/x/stats").await;
        }
    }
    app.commit(set(STRANGER, Some(CallLimit::Off), calls(2))).await;
    let text = app.anonymous("/metrics").await.text();
    for line in [
        "seenby_limit_grants_total 4",
        "seenby_limit_refusals_total{limit=\"minute\"} 2",
        "seenby_limit_applications_at{limit=\"minute\"} 1",
        "seenby_limit_applications_at{limit=\"hour\"} 1",
        "seenby_limit_grants_not_kept 4",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    app.state.keep_grants().await.expect("the model keeps");
    app.pass_ms(60_000);
    let text = app.anonymous("/metrics").await.text();
    for line in [
        "seenby_limit_applications_at{limit=\"minute\"} 0",
        "seenby_limit_applications_at{limit=\"hour\"} 1",
        "seenby_limit_grants_not_kept 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    assert!(!text.contains(&READER.to_string()) && !text.contains(&ACME.to_string()), "{text}");
}

/// The same application at another process: on the same directory, at the same clocks.
async fn restarted(app: TestApp, settings: Settings, steady_id: u128) -> TestApp {
    let TestApp { store, directory, now_ms, steady_ms, .. } = app;
    let mut machine = machine(&now_ms, &steady_ms);
    machine.steady_id = Uuid::from_u128(steady_id);
    let state: State<ModelStore, ModelDirectory> = State::starting(settings, machine);
    state.recall_grants(&directory).await.expect("the model has them");
    state.set_ready(Arc::clone(&store), Arc::clone(&directory));
    TestApp { router: router(state.clone()), state, store, directory, now_ms, steady_ms }
}

async fn used(app: &TestApp, application: ApplicationId) -> [u32; 2] {
    let book = app.directory.book().await.expect("a book");
    let standing = app.state.standing(&book.applications[&application]);
    [standing.minute, standing.hour].map(|room: Option<Room>| room.expect("a limit").used)
}

#[tokio::test]
async fn an_orderly_restart_changes_nothing() {
    let app = TestApp::with(settings(2, 3)).await;
    let token = app.token(READER).await;
    let ask = async |app: &TestApp| app.with_token(&token, "/api/ips/x/stats").await;
    assert_eq!(ask(&app).await.status, 400);
    app.pass_ms(10_000);
    assert_eq!(ask(&app).await.status, 400);
    app.state.keep_grants().await.expect("the model keeps");
    app.pass_ms(5_000);
    let app = restarted(app, settings(2, 3), 1).await;
    assert_eq!(ask(&app).await.header("retry-after"), "45");
    app.pass_ms(44_999);
    assert_eq!(ask(&app).await.status, 429);
    app.pass_ms(1);
    let reply = ask(&app).await;
    assert_eq!(reply.header("ratelimit"), "\"minute\";r=0;t=10, \"hour\";r=0;t=3540");
    assert_eq!(used(&app, READER).await, [2, 3]);
    // Nothing of it is left after the hour.
    app.state.keep_grants().await.expect("the model keeps");
    app.pass_ms(3_600_000);
    let app = restarted(app, settings(2, 3), 1).await;
    assert_eq!(used(&app, READER).await, [0, 0]);
}

/// The wall clock may be set to anything while the server is down: at the same boot nobody looks at it.
#[tokio::test]
async fn a_wall_clock_that_is_set_at_a_restart_changes_nothing() {
    for wall_s in [1, crate::common::NOW - 86_400, crate::common::NOW + 1_800, crate::common::NOW + 86_400] {
        let app = TestApp::with(settings(2, 3)).await;
        let token = app.token(READER).await;
        app.with_token(&token, "/api/ips/x/stats").await;
        app.state.keep_grants().await.expect("the model keeps");
        app.set_wall_s(wall_s);
        app.steady_ms.fetch_add(59_999, Ordering::SeqCst);
        let app = restarted(app, settings(2, 3), 1).await;
        assert_eq!(used(&app, READER).await, [1, 1], "{wall_s}");
        app.steady_ms.fetch_add(1, Ordering::SeqCst);
        assert_eq!(used(&app, READER).await, [0, 1], "{wall_s}");
    }
}

/// After a restart of the machine only the wall clock tells how long that took. Set back, it tells nothing.
#[tokio::test]
async fn a_restart_of_the_machine_is_judged_by_the_wall_clock() {
    for (wall_s, expected) in [(0, [1, 1]), (-86_400, [1, 1]), (59, [1, 1]), (60, [0, 1]), (3_600, [0, 0])] {
        let app = TestApp::with(settings(2, 3)).await;
        let token = app.token(READER).await;
        app.steady_ms.store(77_000_000, Ordering::SeqCst);
        app.with_token(&token, "/api/ips/x/stats").await;
        app.state.keep_grants().await.expect("the model keeps");
        app.set_wall_s(crate::common::NOW.saturating_add_signed(wall_s));
        app.steady_ms.store(12, Ordering::SeqCst);
        let app = restarted(app, settings(2, 3), 2).await;
        assert_eq!(used(&app, READER).await, expected, "{wall_s}");
    }
}

/// What was granted since the last page is what a kill forgets; a page is written only where there is something new.
#[tokio::test]
async fn pages_hold_what_is_new() {
    let app = TestApp::with(settings(50, 50)).await;
    let (reader, stranger) = (app.token(READER).await, app.token(STRANGER).await);
    for (token, calls) in [(&reader, 3), (&stranger, 1), (&reader, 2)] {
        for _ in 0..calls {
            app.with_token(token, "/api/ips/x/stats").await;
        }
        app.state.keep_grants().await.expect("the model keeps");
        app.state.keep_grants().await.expect("the model keeps");
        app.pass_ms(100);
    }
    app.with_token(&reader, "/api/ips/x/stats").await;
    let pages = app.directory.grants().await.expect("pages");
    let grants = |page: &sighting::GrantPage| page.granted.iter().map(|it| it.ages_ms.len()).sum::<usize>();
    assert_eq!(pages.iter().map(grants).collect::<Vec<_>>(), [3, 1, 2]);
    assert!(pages.iter().all(|page| page.extent == Extent::Further));
    let app = restarted(app, settings(50, 50), 1).await;
    assert_eq!((used(&app, READER).await, used(&app, STRANGER).await), ([5, 5], [1, 1]));
    // The new process writes what it found as one page by its own clocks.
    app.state.keep_grants().await.expect("the model keeps");
    let pages = app.directory.grants().await.expect("pages");
    assert_eq!(
        pages.iter().map(|page| (page.extent, grants(page))).collect::<Vec<_>>(),
        [(Extent::Whole, 6)]
    );
}
