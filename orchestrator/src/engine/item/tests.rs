//! A gateway that is away, and for how long an item bears it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{Timestamp, ToSpan as _};

use super::super::{Clock, Turn, new_run};
use crate::flow::{Drill, Flow, Region, Work};
use crate::gateway::{Gateway, Job, Sent};
use crate::http::Http;
use crate::journal::{Item, Journal, Run, scratch};
use crate::state::{State, Step};
use crate::token::{Source, Tokens};
use crate::verdict::{Refused, Verdict};

fn now() -> Timestamp {
    "2026-11-23T02:30:00Z".parse().unwrap()
}

/// What a turn needs; nobody listens where its gateway is said to be.
struct Stage {
    journal: Journal,
    gateway: Gateway,
    flow: Flow,
    run: Run,
    item: Item,
    clock: Clock,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let journal = scratch::open(dir.path()).await;
        let text = include_str!("../../flow/nightly.yaml");
        let flow = Flow::read("nightly.yaml", text).unwrap();
        let region = flow.regions.first().unwrap();
        let run = new_run(&flow, region, now(), State::Scheduled, "", None);
        let item = Item::new(run.id, "/v", "/v/web".to_owned(), "vm:rg1/web".to_owned());
        journal.ask(&run).await.unwrap();
        let items = std::slice::from_ref(&item);
        journal.resolve(&run, items, now()).await.unwrap();
        let nowhere = "http://127.0.0.1:1";
        let http = Http::new([nowhere], None).unwrap();
        let source = Source::ManagedIdentity {
            endpoint: format!("{nowhere}/token"),
            header: None,
            client_id: None,
            resource: "api://vaultgate".to_owned(),
        };
        let tokens = Tokens::new(source, http.clone());
        Stage {
            journal,
            gateway: Gateway::new(nowhere.to_owned(), tokens, http),
            flow,
            run,
            item,
            clock: Arc::new(now),
            _dir: dir,
        }
    }

    fn turn(&self) -> Turn<'_> {
        Turn {
            journal: &self.journal,
            gateway: &self.gateway,
            region: self.flow.regions.first().unwrap(),
            clock: &self.clock,
        }
    }
}

#[tokio::test]
async fn an_outage_uses_up_no_attempts() {
    let stage = Stage::new().await;
    let turn = stage.turn();
    let limit = turn.region.retry.attempts;
    let mut item = stage.item.clone();
    (item.step, item.sent_at) = (Step::Sent, Some(now()));
    for _ in 0..limit * 3 {
        turn.again(&mut item, "no connection", None, false)
            .await
            .unwrap();
    }
    for _ in 1..limit {
        turn.again(&mut item, "throttled", Some(Duration::from_secs(1)), true)
            .await
            .unwrap();
    }
    assert_eq!((item.step, item.state), (Step::Sent, State::AwaitingRetry));
    turn.again(&mut item, "throttled", None, true)
        .await
        .unwrap();
    assert_eq!((item.step, item.state), (Step::Ended, State::Failed));
    let [kept] = &stage.journal.items(stage.run.id).await.unwrap()[..] else {
        unreachable!("one item");
    };
    assert_eq!((kept.counted, kept.attempts), (limit, limit * 4));
}

#[tokio::test]
async fn an_approval_that_cannot_be_looked_at_stops_no_clock() {
    let stage = Stage::new().await;
    let turn = stage.turn();
    let mut item = stage.item.clone();
    (item.step, item.state) = (Step::Asked, State::AwaitingApproval);
    item.approval = Some("0199f0aa-0000-7000-8000-000000000001".to_owned());
    item.asked_at = Some(now() - 10.minutes());
    turn.approval(&stage.run, &mut item, true).await.unwrap();
    assert_eq!((item.step, item.asked_at), (Step::Asked, None));
    assert_eq!(item.waited, 600_000);
    assert!(
        item.reason.contains("cannot be looked at"),
        "{}",
        item.reason
    );
}

#[tokio::test]
async fn what_surely_reached_nobody_is_not_begun_in_its_maintenance() {
    let stage = Stage::new().await;
    let mut turn = stage.turn();
    let mut region = turn.region.clone();
    let local = region.schedule.local(now());
    region.maintenance = vec![crate::flow::Window {
        days: vec![local.date().weekday()],
        from: jiff::civil::time(0, 0, 0, 0),
        to: jiff::civil::time(23, 59, 0, 0),
    }];
    turn.region = &region;
    for (doubt, attempts) in [(false, 0), (true, 1)] {
        let mut item = stage.item.clone();
        (item.step, item.sent_at, item.doubt) = (Step::Sent, Some(now()), doubt);
        let mut items = [item];
        turn.start(&stage.run, &mut items).await.unwrap();
        let [item] = items;
        assert_eq!(item.attempts, attempts, "{doubt}");
    }
}

/// A region that tries restores, or only asks.
fn drill(stage: &Stage, restores: bool) -> Region {
    let mut region = stage.flow.regions.first().unwrap().clone();
    region.work = Work::Drill(Drill {
        restores,
        resource_group: "/rg".to_owned(),
        storage_account: "/sa".to_owned(),
        location: "westeurope".to_owned(),
    });
    region
}

#[tokio::test]
async fn a_drill_takes_nobody_elses_restore_for_its_own() {
    let stage = Stage::new().await;
    let mut turn = stage.turn();
    let region = drill(&stage, true);
    turn.region = &region;
    let mut item = stage.item.clone();
    (item.step, item.sent_at) = (Step::Sent, Some(now()));
    let busy = (Sent::of(Verdict::InProgress), Bytes::new());
    turn.answered(&mut item, Ok(busy), false).await.unwrap();
    assert_eq!((item.step, item.state), (Step::Sent, State::AwaitingRetry));
    // A job by the same name, after an answer that was lost.
    turn.seek(&mut item, "lost").await.unwrap();
    let other = Job {
        id: "other".to_owned(),
        status: "Completed".to_owned(),
        container: String::new(),
        friendly: "web".to_owned(),
        activity: "somebody's".to_owned(),
        started: Some(now()),
        ended: Some(now()),
        error: None,
    };
    turn.job(&mut item, &[other], &["vm:rg1/web".to_owned()])
        .await
        .unwrap();
    assert_eq!((item.step, item.job), (Step::Adopting, None));
}

#[tokio::test]
async fn a_question_is_asked_again_and_never_looked_for() {
    let stage = Stage::new().await;
    let mut turn = stage.turn();
    let region = drill(&stage, false);
    turn.region = &region;
    let said = || Refused {
        code: "InternalServerError".to_owned(),
        message: "try again".to_owned(),
    };
    for verdict in [
        Verdict::Transient(said(), None),
        Verdict::Unknown,
        Verdict::InProgress,
        Verdict::Done,
    ] {
        let mut item = stage.item.clone();
        (item.step, item.sent_at) = (Step::Sent, Some(now()));
        let mut sent = Sent::of(verdict);
        sent.replayed = true;
        turn.answered(&mut item, Ok((sent, Bytes::from_static(b"<html>"))), true)
            .await
            .unwrap();
        assert_eq!(
            (item.step, item.state, item.doubt),
            (Step::Sent, State::AwaitingRetry, false)
        );
    }
    for (body, state) in [
        (
            r#"{"validateOperationResponse": {"validationResults": []}}"#,
            State::Completed,
        ),
        (r#"{"validateOperationResponse": {}}"#, State::Completed),
        (
            r#"{"validateOperationResponse": {"validationResults": [{"code": "X"}]}}"#,
            State::Failed,
        ),
    ] {
        let mut item = stage.item.clone();
        item.step = Step::Sent;
        let answer = (Sent::of(Verdict::Done), Bytes::from_static(body.as_bytes()));
        turn.answered(&mut item, Ok(answer), false).await.unwrap();
        assert_eq!((item.step, item.state), (Step::Ended, state), "{body}");
    }
}
