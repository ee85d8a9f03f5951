//! What is taken for an answer, and what an error says of an address.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::test_receiver::{Answer, Receiver};

fn connections() -> Connections {
    Connections {
        exchange: Duration::from_secs(30),
        ..Connections::default()
    }
}

fn letter(target: &Target) -> Letter<'_> {
    Letter {
        target,
        headers: Vec::new(),
        body: b"{}".to_vec(),
    }
}

async fn post(connections: &Connections, url: &SecretString) -> Result<(), PostError> {
    let client = Client::new(connections, connections.extra_ca.as_deref()).unwrap();
    let target = Target::new(url).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    client.post(letter(&target), now).await
}

/// An error as it may be shown, which must not hold what was hidden.
fn shown(error: &PostError) -> String {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(shown.contains("127.0.0.1"), "{shown}");
    shown
}

#[tokio::test]
async fn only_a_2xx_is_taken_and_no_redirect_is_followed() {
    let moved = Answer {
        status: 307,
        headers: vec![("location", "/elsewhere")],
    };
    let busy = Answer {
        status: 429,
        headers: vec![("retry-after", "7")],
    };
    let mut receiver = Receiver::start(vec![Answer::of(202), moved, busy]).await;
    let url = receiver.url("http");
    post(&connections(), &url).await.unwrap();
    let error = post(&connections(), &url).await.unwrap_err();
    assert!(shown(&error).contains("307"));
    let error = post(&connections(), &url).await.unwrap_err();
    assert!(shown(&error).contains("429"));
    let PostError::Status { retry_after, .. } = error else {
        unreachable!("a status was shown")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
    for _ in 0..3 {
        assert_eq!(receiver.next().await.path, "/hidden-path");
    }
    assert!(receiver.is_silent());
}

#[tokio::test]
async fn tls_is_verified_against_the_extra_ca() {
    let (mut receiver, pem) = Receiver::start_tls(Vec::new()).await;
    let url = receiver.url("https");
    let error = post(&connections(), &url).await.unwrap_err();
    assert!(matches!(error, PostError::Unreachable { .. }), "{error}");
    shown(&error);
    let trusting = Connections {
        extra_ca: Some(pem.into_bytes()),
        ..connections()
    };
    post(&trusting, &url).await.unwrap();
    assert_eq!(receiver.next().await.path, "/hidden-path");
    // Plain HTTP to a server that speaks TLS is no delivery either.
    let error = post(&trusting, &receiver.url("http")).await.unwrap_err();
    shown(&error);
}

#[tokio::test]
async fn nobody_there_is_told_without_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = SecretString::from(format!("http://{address}/hidden-path?hidden"));
    // It accepts and never answers.
    let impatient = Connections {
        exchange: Duration::from_millis(50),
        ..Connections::default()
    };
    let error = post(&impatient, &url).await.unwrap_err();
    assert!(matches!(error, PostError::Late { .. }), "{error}");
    shown(&error);
    drop(listener);
    let error = post(&connections(), &url).await.unwrap_err();
    assert!(matches!(error, PostError::Unreachable { .. }), "{error}");
    shown(&error);
    assert_eq!(
        format!("{:?}", Target::new(&url).unwrap()),
        "Target(127.0.0.1)"
    );
}

#[test]
fn a_ca_without_a_certificate_is_refused() {
    assert!(matches!(
        Client::new(&connections(), Some(b"nothing")),
        Err(ClientError::Ca(_))
    ));
}

#[test]
fn a_receiver_may_ask_in_seconds_or_by_a_date() {
    let now: Timestamp = "2026-10-18T08:00:00Z".parse().unwrap();
    let asked = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        retry_after(&headers, now)
    };
    assert_eq!(asked("120"), Some(Duration::from_secs(120)));
    let minute = Some(Duration::from_secs(60));
    assert_eq!(asked("Sun, 18 Oct 2026 08:01:00 GMT"), minute);
    assert_eq!(asked("Sun, 18 Oct 2026 07:59:00 GMT"), None);
    assert_eq!(asked("soon"), None);
    assert_eq!(asked("-1"), None);
}
