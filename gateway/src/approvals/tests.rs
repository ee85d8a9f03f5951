//! What an approval is bound to, who may give it, and what may follow what.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_pdp::{Actor, Approval as Terms, Binding, Principal, PrincipalKind};

use super::request::Link;
use super::shown::{Shown, changes, visible};
use super::stage::Pending;
use super::{Approval, Approvals, Approved, BoundRequest, Ineligible, Requester, Stage, State};
use crate::clock::Clock;
use crate::store::scratch;

mod model;

fn now() -> Timestamp {
    "2026-11-23T03:00:00Z".parse().unwrap()
}

fn terms(quorum: u32, cooling_off: &str) -> Terms {
    let written = json!({"quorum": quorum, "from": ["group:approvers", "role:approver"],
        "ttl": "4h", "cooling_off": cooling_off});
    serde_json::from_value(written).unwrap()
}

fn request() -> BoundRequest {
    BoundRequest {
        requester: Requester {
            issuer: "https://idp".into(),
            subject: "asker".into(),
            person: Some("person-asker".into()),
            kind: json!("human"),
            app: None,
            actors: vec![Link {
                issuer: "https://idp".into(),
                subject: "helper".into(),
            }],
        },
        method: "DELETE".into(),
        target: "/subscriptions/s/x?api-version=1".into(),
        headers: super::Headers::new(),
        body_sha256: "00".into(),
        sealed_body: None,
        state: json!({"resource": {"/properties/protectionState": "Protected"}}),
        operation: "x/delete".into(),
        class: "delete".into(),
        resource: "/subscriptions/s/x".into(),
        asked_under: ("sha256:b".into(), "r".into()),
        decision: Uuid::nil(),
        shown: Shown::default(),
    }
}

fn person(name: &str) -> Principal {
    Principal {
        issuer: "https://idp".into(),
        subject: name.into(),
        person: Some(format!("person-{name}")),
        kind: PrincipalKind::Human,
        tenant: None,
        app: None,
        roles: vec!["approver".into()],
        groups: Vec::new(),
        scopes: Vec::new(),
        acr: None,
        auth_time: None,
        actors: Vec::new(),
        bound: Binding::None,
        flow: None,
    }
}

fn settings(folder: &std::path::Path) -> crate::config::Approvals {
    crate::config::Approvals {
        acr: Vec::new(),
        max_sign_in_age: std::time::Duration::from_secs(300),
        reviewers: Vec::new(),
        quorum: 2,
        pending_per_principal: 2,
        outbox: folder.join("outbox"),
    }
}

fn approval(terms: Terms) -> Approval {
    Approval::asked(request(), vec![terms], now())
}

fn pending(approval: Approval) -> Pending {
    match approval.stage(now()) {
        Stage::Pending(pending) => pending,
        _ => panic!("it is not pending"),
    }
}

fn approved(approval: Approval, at: Timestamp) -> Approved {
    match approval.stage(at) {
        Stage::Approved(approved) => approved,
        _ => panic!("it is not approved"),
    }
}

/// Given by two at once.
fn given(cooling_off: &str) -> Approval {
    let one = pending(approval(terms(2, cooling_off)));
    let one = one.vote(&person("a"), now()).unwrap().approval;
    assert_eq!(one.state, State::Pending);
    pending(one).vote(&person("b"), now()).unwrap().approval
}

#[test]
fn every_part_of_the_request_is_in_the_digest() {
    let until = now();
    let whole = request().digest(until);
    type Change = (&'static str, fn(&mut BoundRequest));
    let changes: [Change; 9] = [
        ("issuer", |r| r.requester.issuer.push('x')),
        ("subject", |r| r.requester.subject.push('x')),
        ("actor", |r| r.requester.actors.clear()),
        ("method", |r| r.method = "PUT".into()),
        ("target", |r| r.target.push('x')),
        ("header", |r| {
            r.headers.insert("if-match".into(), "\"x\"".into());
        }),
        ("body", |r| r.body_sha256.push('0')),
        ("state", |r| r.state = Value::Null),
        ("order", |r| {
            std::mem::swap(&mut r.requester.issuer, &mut r.requester.subject);
        }),
    ];
    for (what, change) in changes {
        let mut changed = request();
        change(&mut changed);
        assert_ne!(changed.digest(until), whole, "{what} is not bound");
        // The state may move; everything else makes it another request.
        let same = changed.request_digest() == request().request_digest();
        assert_eq!(same, what == "state", "{what}");
    }
    let later = until + SignedDuration::from_secs(1);
    assert_ne!(request().digest(later), whole, "the end is not bound");
}

#[test]
fn nobody_approves_what_is_theirs() {
    let check = |change: fn(&mut Principal)| {
        let mut approver = person("a");
        change(&mut approver);
        let voted = pending(approval(terms(1, "0s"))).vote(&approver, now());
        voted.err().map(|why| why.code())
    };
    assert_eq!(check(|_| {}), None);
    type Change = fn(&mut Principal);
    let refused: [(Change, &str); 8] = [
        (|p| p.kind = PrincipalKind::Agent, "approver-not-human"),
        (|p| p.kind = PrincipalKind::Unknown, "approver-not-human"),
        (|p| p.person = None, "approver-no-person"),
        (|p| p.person = Some(String::new()), "approver-no-person"),
        (|p| p.subject = "asker".into(), "approver-is-requester"),
        // Under another identity, and of another issuer.
        (
            |p| {
                p.issuer = "https://other".into();
                p.person = Some("person-asker".into());
            },
            "approver-is-requester",
        ),
        (|p| p.subject = "helper".into(), "approver-is-actor"),
        (|p| p.roles.clear(), "approver-not-asked"),
    ];
    for (change, code) in refused {
        assert_eq!(check(change), Some(code));
    }
    let through = check(|p| {
        p.actors = vec![Actor {
            issuer: p.issuer.clone(),
            subject: "assistant".into(),
        }];
    });
    assert_eq!(through, Some("approver-through-actor"));
    // The application that somebody signed in with is no third party.
    let own = check(|p| {
        p.app = Some("browser".into());
        p.actors = vec![Actor {
            issuer: p.issuer.clone(),
            subject: "browser".into(),
        }];
    });
    assert_eq!(own, None);
}

#[test]
fn one_person_counts_once_whatever_identity() {
    let one = pending(approval(terms(2, "0s")))
        .vote(&person("a"), now())
        .unwrap()
        .approval;
    let again = Principal {
        issuer: "https://other".into(),
        subject: "a-elsewhere".into(),
        ..person("a")
    };
    let voted = pending(one).vote(&again, now());
    assert_eq!(*voted.err().unwrap(), Ineligible::Voted);
}

#[test]
fn what_has_ended_has_no_way_on() {
    let given = given("0s");
    assert!(matches!(given.state, State::Approved { .. }));
    let used = approved(given.clone(), now())
        .used(Uuid::nil(), now())
        .approval;
    let void = approved(given.clone(), now())
        .void("moved".into(), now())
        .approval;
    let vetoed = approved(given.clone(), now())
        .veto("p".into(), "no".into(), now())
        .approval;
    let rejected = pending(approval(terms(2, "0s")));
    let rejected = rejected
        .reject(&person("a"), "no".into(), now())
        .unwrap()
        .approval;
    for ended in [used, void, vetoed, rejected] {
        assert!(matches!(ended.stage(now()), Stage::Over(_)));
    }
    let late = now() + SignedDuration::from_hours(4);
    for open in [given, approval(terms(2, "0s"))] {
        match open.stage(late) {
            Stage::Over(over) => assert_eq!(over.state, State::Expired),
            _ => panic!("it outlived its end"),
        }
    }
}

#[test]
fn a_time_for_a_veto_is_waited_for() {
    let given = given("1h");
    let hour = now() + SignedDuration::from_hours(1);
    assert_eq!(given.usable_from(), Some(hour));
    assert_eq!(approved(given.clone(), now()).usable(now()), Err(hour));
    assert_eq!(approved(given, hour).usable(hour), Ok(()));
}

#[test]
fn more_than_was_given_is_not_covered() {
    let given = || approved(given("0s"), now());
    let all = |_: &super::Vote| true;
    assert!(given().covers(&[terms(2, "0s")], all, now()));
    assert!(given().covers(&[terms(1, "0s")], all, now()));
    assert!(!given().covers(&[terms(3, "0s")], all, now()));
    assert!(!given().covers(&[terms(2, "1h")], all, now()));
    assert!(!given().covers(&[], all, now()));
    // Consent of somebody who is stopped no longer counts.
    let but_a = |vote: &super::Vote| vote.person != "person-a";
    assert!(!given().covers(&[terms(2, "0s")], but_a, now()));
    let mut others = terms(2, "0s");
    others.from = vec!["group:owners".into()];
    assert!(!given().covers(&[terms(2, "0s"), others], all, now()));
}

#[tokio::test]
async fn an_approval_that_a_crash_cut_off_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = scratch::open(folder.path()).await;
    let clock = Clock::manual(now());
    let settings = settings(folder.path());
    let approvals = Approvals::new(store, &settings, clock);
    let (asked, new) = approvals
        .ask(request(), vec![terms(1, "0s")])
        .await
        .unwrap();
    assert!(new);
    // The same request is the same approval; another one counts, up to the limit.
    let (again, new) = approvals
        .ask(request(), vec![terms(1, "0s")])
        .await
        .unwrap();
    assert_eq!((again.id, new), (asked.id, false));
    for (target, fits) in [("/other", true), ("/third", false)] {
        let mut other = request();
        other.target = target.into();
        let another = approvals.ask(other, vec![terms(1, "0s")]).await;
        assert_eq!(another.is_ok(), fits, "{target}");
    }
    let step = pending(asked).vote(&person("a"), now()).unwrap();
    assert!(approvals.take(&step).await.unwrap());
    // A step from what is no longer so is not taken.
    assert!(!approvals.take(&step).await.unwrap());
    let id = step.approval.id;
    let decision = Uuid::now_v7();
    approvals.spend(id, decision).await.unwrap();
    let state = approvals.find(id).await.unwrap().unwrap().state;
    assert!(matches!(state, State::Used { decision: by, .. } if by == decision));
    // It stays that decision's.
    approvals.spend(id, Uuid::now_v7()).await.unwrap();
    let state = approvals.find(id).await.unwrap().unwrap().state;
    assert!(matches!(state, State::Used { decision: by, .. } if by == decision));
}

#[test]
fn nothing_in_a_name_hides() {
    let hostile = "vm\u{202e}gnp\u{200b}\n\u{7}x\u{feff}";
    let shown = visible(hostile);
    assert!(shown.is_ascii(), "{shown}");
    assert!(
        shown.contains("\\u{202e}") && shown.contains("\\u{a}"),
        "{shown}"
    );
    assert_eq!(visible("Größe 中文"), "Größe 中文");
    assert!(visible(&"x".repeat(10_000)).chars().count() < 500);
}

#[test]
fn differences_are_told_member_by_member() {
    let before = json!({"properties": {"policyId": "daily", "state": "on", "a/b": [1]}});
    let after = json!({"properties": {"policyId": "weekly", "a/b": [1, 2]}});
    let told = |partial| {
        let (found, more) = changes(&before, &after, partial);
        assert_eq!(more, 0);
        found
            .into_iter()
            .map(|c| (c.member, c.before, c.after))
            .collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    let swapped = (
        "/properties/policyId".to_owned(),
        some("daily"),
        some("weekly"),
    );
    let grown = ("/properties/a~1b/1".to_owned(), None, some("2"));
    let gone = ("/properties/state".to_owned(), some("on"), None);
    assert_eq!(told(true), [grown.clone(), swapped.clone()]);
    assert_eq!(told(false), [grown, swapped, gone]);
}
