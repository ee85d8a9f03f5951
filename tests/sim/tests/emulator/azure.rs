//! Backing up: trigger, poll, jobs, pages.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::client::{Caller, VERSION, machine, vault};

pub(crate) fn backup_now() -> Value {
    json!({"properties": {"objectType": "IaasVMBackupRequest", "recoveryPointExpiryTimeInUTC": "2027-02-01T00:00:00Z"}})
}

#[tokio::test]
async fn a_backup_is_triggered_polled_and_completed() {
    let caller = Caller::start().await;
    let item = machine(&vault("v1"), "vm1");
    let mut request = caller.request(
        "POST",
        &format!("{item}/backup?{VERSION}"),
        &caller.operator,
        Some(backup_now()),
    );
    request.headers_mut().insert(
        "x-ms-client-request-id",
        HeaderValue::from_static("5e1d0000-0000-4000-8000-000000000001"),
    );
    let accepted = caller.send(request).await.is(202);
    assert!(accepted.text.is_empty());
    let poll = accepted.header("azure-asyncoperation").to_owned();
    let result = accepted.header("location").to_owned();
    assert!(
        poll.contains("/operationsStatus/") && poll.contains("protectedItems/VM;"),
        "{poll}"
    );

    let running = caller.call("GET", &poll, None).await.is(200).json();
    assert_eq!(
        (&running["status"], &running["endTime"]),
        (&json!("InProgress"), &json!("0001-01-01T00:00:00Z"))
    );
    assert_eq!(
        caller
            .call("GET", &result, None)
            .await
            .is(202)
            .header("location"),
        result
    );
    let points =
        async || caller.read(&format!("{item}/recoveryPoints")).await["value"][0]["name"].clone();
    let before = points().await;

    caller.finish();
    let done = caller.call("GET", &poll, None).await.is(200).json();
    assert_eq!(done["status"], "Succeeded");
    assert_eq!(done["id"], done["name"]);
    caller.call("GET", &result, None).await.is(204);
    let job = done["properties"]["jobId"].as_str().unwrap();
    let job = caller
        .read(&format!("{}/backupJobs/{job}", vault("v1")))
        .await;
    assert_eq!(job["properties"]["status"], "Completed");
    assert_eq!(
        job["properties"]["activityId"],
        "5e1d0000-0000-4000-8000-000000000001"
    );
    assert_ne!(
        points().await,
        before,
        "a backup leaves a new recovery point"
    );
}

#[tokio::test]
async fn a_poll_address_must_come_back_byte_for_byte() {
    let caller = Caller::start().await;
    let item = machine(&vault("v1"), "vm2");
    let accepted = caller
        .call("POST", &format!("{item}/backup"), Some(backup_now()))
        .await
        .is(202);
    let poll = accepted.header("azure-asyncoperation");
    for changed in [
        poll.replace("%3D", "%3d"),
        poll.replace("%2B", "+"),
        poll.replace("%2F", "/"),
        poll.replace("~", "%7E"),
        poll.replace("2026-08-01", "2026-10-01"),
        poll.split("&t=").next().unwrap().to_owned(),
    ] {
        assert_ne!(changed, poll);
        caller.call("GET", &changed, None).await.is(403);
    }
    caller.call("GET", poll, None).await.is(200);
    // The Azure CLI knows the operation's id only, and asks the vault.
    let id = poll.split('?').next().unwrap().rsplit('/').next().unwrap();
    caller
        .call(
            "GET",
            &format!("{}/backupOperations/{id}", vault("v1")),
            None,
        )
        .await
        .is(200);
    caller
        .call(
            "GET",
            &format!("{}/backupOperations/{}", vault("v1"), "no-such"),
            None,
        )
        .await
        .is(404);
}

#[tokio::test]
async fn a_job_fails_when_told_and_can_be_cancelled() {
    let caller = Caller::start().await;
    caller
        .control("POST", "jobs", json!({"fail_next": 1}))
        .await
        .is(200);
    for name in ["vm3", "vm4"] {
        caller
            .call(
                "POST",
                &format!("{}/backup", machine(&vault("v1"), name)),
                Some(backup_now()),
            )
            .await
            .is(202);
    }
    let jobs = format!("{}/backupJobs", vault("v1"));
    let running = caller
        .read(&format!(
            "{jobs}?{VERSION}&$filter=status%20eq%20%27InProgress%27"
        ))
        .await;
    let second = running["value"][0]["name"].as_str().unwrap();
    caller
        .call("POST", &format!("{jobs}/{second}/cancel"), None)
        .await
        .is(202);
    caller.finish();
    let listed = caller.read(&jobs).await;
    let states: Vec<&Value> = listed["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["properties"]["status"])
        .collect();
    assert_eq!(states, [&json!("Cancelled"), &json!("Failed")]);
    caller
        .call("POST", &format!("{jobs}/{second}/cancel"), None)
        .await
        .is(400);
}

/// Follows `nextLink` to the end.
async fn all(caller: &Caller, first: &str) -> (usize, Vec<Value>) {
    let (mut pages, mut values, mut next) = (0, Vec::new(), first.to_owned());
    loop {
        let page = caller.read(&next).await;
        pages += 1;
        values.extend(
            page["value"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].clone()),
        );
        match page.get("nextLink").and_then(Value::as_str) {
            Some(link) => {
                assert!(link.starts_with(&caller.sim.azure_url), "{link}");
                link.clone_into(&mut next);
            }
            None => return (pages, values),
        }
    }
}

#[tokio::test]
async fn lists_come_in_pages_and_lose_nothing() {
    let caller = Caller::start().await;
    let (pages, points) = all(
        &caller,
        &format!("{}/recoveryPoints", machine(&vault("v1"), "vm1")),
    )
    .await;
    assert_eq!((pages, points.len()), (4, 33));
    assert!(points.contains(&json!("99999999999999")));
    let mut unique = points.clone();
    unique.sort_by_key(Value::to_string);
    unique.dedup();
    assert_eq!(unique.len(), points.len());
    for _ in 0..12 {
        caller
            .call(
                "POST",
                &format!("{}/backup", machine(&vault("v1"), "vm5")),
                Some(backup_now()),
            )
            .await
            .is(202);
    }
    assert_eq!(
        all(
            &caller,
            &format!(
                "{}/backupJobs?{VERSION}&$filter=operation eq 'Backup'",
                vault("v1")
            )
            .replace(' ', "%20")
        )
        .await
        .0,
        2
    );
    let broken = caller
        .call(
            "GET",
            &format!("{}/backupJobs?{VERSION}&$skipToken=x", vault("v1")),
            None,
        )
        .await;
    assert_eq!(broken.is(400).code(), "InvalidSkipToken");
}
