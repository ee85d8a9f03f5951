//! Whole ways: from the outbox to receivers on this machine, with their failures.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::notice::Notice;
use crate::test_receiver::{Answer, Receiver};
use secrecy::SecretString;
use tokio::task::JoinHandle;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw";

/// Failures are tried again after milliseconds.
const SOON: Backoff = Backoff {
    first: Duration::from_millis(2),
    longest: Duration::from_millis(20),
    longest_asked: Duration::from_millis(20),
};

/// A wait that no test sees the end of.
const NEVER: Backoff = Backoff {
    first: Duration::from_secs(3600),
    longest: Duration::from_secs(3600),
    longest_asked: Duration::from_secs(3600),
};

fn notice(title: &str) -> Notice {
    Notice::new("approval.asked", title, Timestamp::UNIX_EPOCH)
}

fn webhook(name: &str, receiver: &Receiver) -> Channel {
    Channel::webhook(name, &receiver.url("http"), &SecretString::from(SECRET)).unwrap()
}

/// A courier at work, and what stops it.
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(outbox: &Outbox, channels: Vec<Channel>, backoff: Backoff) -> Running {
        let connections = Connections::default();
        let clock: Clock = Arc::new(|| Timestamp::from_second(1_614_265_330).unwrap());
        let courier = Courier::new(outbox.clone(), channels, &connections, backoff, clock);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(courier.unwrap().run(stopping));
        Running { stop, task }
    }

    /// Ends it after the attempts that are under way.
    async fn end(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn what_fails_twice_arrives_once_more_with_the_same_id() {
    let mut receiver = Receiver::start(vec![Answer::of(500), Answer::of(500)]).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let running = Running::start(&outbox, vec![webhook("w", &receiver)], SOON);
    let notice = notice("t");
    // Put while the courier waits: it is woken, there is nothing else that would wake it.
    outbox.put(&notice, &["w"]).unwrap();
    let heard = [
        receiver.next().await,
        receiver.next().await,
        receiver.next().await,
    ];
    running.end().await;
    for heard in &heard {
        assert_eq!(heard.method, http::Method::POST);
        assert_eq!(heard.path, "/hidden-path");
        assert_eq!(heard.header("content-type"), "application/json");
        assert_eq!(heard.header("webhook-id"), notice.id.to_string());
        assert_eq!(heard.header("webhook-timestamp"), "1614265330");
        assert!(heard.header("webhook-signature").starts_with("v1,"));
        let body: serde_json::Value = serde_json::from_slice(&heard.body).unwrap();
        assert_eq!(body.pointer("/type").unwrap(), "approval.asked");
    }
    assert!(receiver.is_silent());
    assert_eq!(outbox.waiting().count, 0);
}

#[tokio::test]
async fn what_waited_over_a_restart_is_delivered_in_its_order() {
    let mut receiver = Receiver::start(Vec::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let notices: Vec<Notice> = (0..9).map(|number| notice(&number.to_string())).collect();
    {
        let outbox = Outbox::open(dir.path()).unwrap();
        for notice in &notices {
            outbox.put(notice, &["w"]).unwrap();
        }
    }
    let outbox = Outbox::open(dir.path()).unwrap();
    let running = Running::start(&outbox, vec![webhook("w", &receiver)], SOON);
    for notice in &notices {
        let heard = receiver.next().await;
        assert_eq!(heard.header("webhook-id"), notice.id.to_string());
    }
    running.end().await;
    assert_eq!(outbox.waiting().count, 0);
}

#[tokio::test]
async fn a_failing_channel_holds_up_no_other_and_a_refused_message_none_behind_it() {
    let mut bad = Receiver::start(vec![Answer::of(503), Answer::of(503)]).await;
    let mut good = Receiver::start(vec![Answer::of(400)]).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let (first, second) = (notice("first"), notice("second"));
    outbox.put(&first, &["bad", "good"]).unwrap();
    outbox.put(&second, &["bad", "good"]).unwrap();
    let channels = vec![webhook("bad", &bad), webhook("good", &good)];
    let running = Running::start(&outbox, channels, NEVER);
    let refused = good.next().await;
    let taken = good.next().await;
    assert_eq!(refused.header("webhook-id"), first.id.to_string());
    assert_eq!(taken.header("webhook-id"), second.id.to_string());
    // The other was asked once and is left alone.
    assert_eq!(bad.next().await.header("webhook-id"), first.id.to_string());
    running.end().await;
    assert!(bad.is_silent() && good.is_silent());
    // Both of the failing channel, and the refused one.
    assert_eq!(outbox.waiting().count, 3);
}

#[tokio::test]
async fn a_channel_that_is_not_configured_keeps_its_messages() {
    let mut receiver = Receiver::start(Vec::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox.put(&notice("t"), &["gone", "w"]).unwrap();
    let running = Running::start(&outbox, vec![webhook("w", &receiver)], SOON);
    receiver.next().await;
    running.end().await;
    assert_eq!(outbox.waiting().count, 1);
    // Configured again, it has them.
    let running = Running::start(&outbox, vec![webhook("gone", &receiver)], SOON);
    receiver.next().await;
    running.end().await;
    assert_eq!(outbox.waiting().count, 0);
}

#[tokio::test]
async fn a_message_that_becomes_unreadable_is_set_aside_and_the_next_is_sent() {
    let mut receiver = Receiver::start(Vec::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let (first, second) = (notice("first"), notice("second"));
    outbox.put(&first, &["w"]).unwrap();
    outbox.put(&second, &["w"]).unwrap();
    let name = format!("{}.w.json", first.id);
    std::fs::write(dir.path().join(&name), "{").unwrap();
    let running = Running::start(&outbox, vec![webhook("w", &receiver)], SOON);
    let heard = receiver.next().await;
    assert_eq!(heard.header("webhook-id"), second.id.to_string());
    running.end().await;
    assert_eq!(outbox.waiting().count, 0);
    assert!(dir.path().join("unreadable").join(name).is_file());
}

#[tokio::test]
async fn the_formats_of_slack_and_teams_arrive() {
    let mut slack = Receiver::start(Vec::new()).await;
    let mut teams = Receiver::start(Vec::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox.put(&notice("<t> [x]"), &["s", "t"]).unwrap();
    let channels = vec![
        Channel::slack("s", &slack.url("http")).unwrap(),
        Channel::teams("t", &teams.url("http")).unwrap(),
    ];
    let running = Running::start(&outbox, channels, SOON);
    let at = |body: &[u8], path: &str| {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        body.pointer(path).unwrap().clone()
    };
    assert_eq!(at(&slack.next().await.body, "/text"), "&lt;t&gt; [x]");
    let heading = "/attachments/0/content/body/0/text";
    assert_eq!(at(&teams.next().await.body, heading), "\\<t\\> \\[x\\]");
    running.end().await;
    assert_eq!(outbox.waiting().count, 0);
}

#[tokio::test]
async fn two_channels_of_one_name_are_refused() {
    let receiver = Receiver::start(Vec::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let clock: Clock = Arc::new(Timestamp::now);
    let twice = vec![webhook("w", &receiver), webhook("w", &receiver)];
    let connections = Connections::default();
    let courier = Courier::new(outbox, twice, &connections, Backoff::default(), clock);
    assert!(matches!(courier.err(), Some(CourierError::Twice(name)) if name == "w"));
}

#[tokio::test]
async fn a_courier_whose_stop_is_lost_ends() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let receiver = Receiver::start(Vec::new()).await;
    let running = Running::start(&outbox, vec![webhook("w", &receiver)], SOON);
    drop(running.stop);
    running.task.await.unwrap();
}
