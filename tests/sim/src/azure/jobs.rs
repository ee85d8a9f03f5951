//! Jobs: what Azure does after it has accepted an operation, in scaled time.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, filtered, list, page, terms};
use super::request::ArmRequest;
use crate::clock::written;
use crate::digest::fresh_uuid;
use crate::document::{member, set, text};
use crate::world::{Effect, World};

/// How long a job takes at scale 1.
const TAKES: Duration = Duration::from_secs(2);
/// Jobs on one page.
const PAGE: usize = 10;

/// Where a job is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A Recovery Services vault.
    Vault,
    /// A Backup vault (`DataProtection`).
    BackupVault,
    /// The secondary region of a Recovery Services vault.
    Secondary,
}

/// A job.
pub(crate) struct Job {
    pub id: String,
    pub vault: String,
    pub home: Home,
    pub operation: String,
    /// The item or instance as it was when the job began.
    pub item: Value,
    started: Timestamp,
    ends: Timestamp,
    fails: bool,
    cancelled: Option<Timestamp>,
    activity: String,
}

impl World {
    /// Starts a job for a request and returns its id. `effect` happens when the job ends
    /// well. The job's activity is the request's own id.
    pub(crate) fn start_job(
        &mut self,
        ask: &ArmRequest,
        home: Home,
        vault: &str,
        operation: &str,
        item: Value,
        effect: Option<Effect>,
    ) -> String {
        let started = self.clock.now();
        let takes = self.job_plan.lasts_ms.map_or(TAKES, Duration::from_millis);
        let ends = started
            .saturating_add(self.clock.lasts(takes))
            .unwrap_or(started);
        let fails = self.job_plan.fail_next > 0;
        self.job_plan.fail_next = self.job_plan.fail_next.saturating_sub(1);
        let id = fresh_uuid();
        self.jobs.push(Job {
            id: id.clone(),
            vault: vault.to_owned(),
            home,
            operation: operation.to_owned(),
            item,
            started,
            ends,
            fails,
            cancelled: None,
            activity: ask.client_request_id.clone(),
        });
        if let Some(effect) = effect
            && !fails
        {
            let job = id.clone();
            self.at(
                ends,
                Box::new(move |world| {
                    if !world
                        .jobs
                        .iter()
                        .any(|one| one.id == job && one.cancelled.is_some())
                    {
                        effect(world);
                    }
                }),
            );
        }
        id
    }

    /// Whether a job on this item is still running.
    pub(crate) fn busy(&self, item: &str) -> bool {
        let now = self.clock.now();
        self.jobs.iter().any(|job| {
            job.running(now)
                && text(&job.item, "/id").is_some_and(|own| own.eq_ignore_ascii_case(item))
        })
    }
}

impl Job {
    fn running(&self, now: Timestamp) -> bool {
        self.cancelled.is_none() && now < self.ends
    }

    fn status(&self, now: Timestamp) -> &'static str {
        if self.cancelled.is_some() {
            "Cancelled"
        } else if now < self.ends {
            "InProgress"
        } else if self.fails {
            "Failed"
        } else {
            "Completed"
        }
    }

    fn over(&self, now: Timestamp) -> Option<Timestamp> {
        self.cancelled
            .or_else(|| (now >= self.ends).then_some(self.ends))
    }

    /// The job as its vault shows it.
    pub(crate) fn document(&self, now: Timestamp) -> Value {
        match self.home {
            Home::BackupVault => self.backup_vault_document(now),
            Home::Vault | Home::Secondary => self.vault_document(now),
        }
    }

    fn vault_document(&self, now: Timestamp) -> Value {
        let management =
            text(&self.item, "/properties/backupManagementType").unwrap_or("AzureIaasVM");
        let kind = match management {
            "AzureWorkload" => "AzureWorkloadJob",
            "AzureStorage" => "AzureStorageJob",
            "AzureIaasVM" => "AzureIaaSVMJob",
            _ => "VaultJob",
        };
        let status = self.status(now);
        let mut document = json!({
            "id": format!("{}/backupJobs/{}", self.vault, self.id), "name": self.id,
            "type": "Microsoft.RecoveryServices/vaults/backupJobs",
            "properties": {
                "jobType": kind, "backupManagementType": management, "operation": self.operation, "status": status,
                "entityFriendlyName": member(&self.item, "/properties/friendlyName"),
                "startTime": written(self.started), "activityId": self.activity,
                "duration": duration(self.started, self.over(now).unwrap_or(now)),
                "actionsInfo": if status == "InProgress" { json!([1]) } else { json!([]) },
                "extendedInfo": {
                    "tasksList": [{"taskId": "Take Snapshot", "duration": "PT0S", "status": status}, {"taskId": "Transfer data to vault", "duration": "PT0S", "status": status}],
                    "propertyBag": {"VM Name": member(&self.item, "/properties/friendlyName")},
                },
            },
        });
        if management == "AzureIaasVM" {
            set(
                &mut document,
                "/properties/virtualMachineVersion",
                "Compute",
            );
        }
        if let Some(over) = self.over(now) {
            set(&mut document, "/properties/endTime", written(over));
        }
        if status == "Failed" {
            set(
                &mut document,
                "/properties/errorDetails",
                json!([{"errorCode": 400001, "errorTitle": "Failed", "errorString": "The emulator was told to fail this job.", "recommendations": ["Try again."]}]),
            );
        }
        document
    }

    fn backup_vault_document(&self, now: Timestamp) -> Value {
        let source = |name: &str| member(&self.item, &format!("/properties/dataSourceInfo/{name}"));
        let policy = text(&self.item, "/properties/policyInfo/policyId").unwrap_or_default();
        let vault_name = self.vault.rsplit('/').next().unwrap_or_default();
        let status = self.status(now);
        let mut document = json!({
            "id": format!("{}/backupJobs/{}", self.vault, self.id), "name": self.id,
            "type": "Microsoft.DataProtection/backupVaults/backupJobs",
            "properties": {
                "activityID": self.activity, "subscriptionId": self.vault.split('/').nth(2),
                "backupInstanceId": member(&self.item, "/id"), "policyId": policy, "dataSourceId": source("resourceID"),
                "vaultName": vault_name, "backupInstanceFriendlyName": member(&self.item, "/properties/friendlyName"),
                "policyName": policy.rsplit('/').next(), "sourceResourceGroup": "rg1",
                "dataSourceSetName": source("resourceName"), "dataSourceName": source("resourceName"),
                "progressEnabled": false, "sourceSubscriptionID": self.vault.split('/').nth(2),
                "startTime": written(self.started), "dataSourceType": source("datasourceType"),
                "operationCategory": self.operation, "operation": self.operation, "status": status,
                "isUserTriggered": true, "supportedActions": [], "duration": "00:00:02",
                "dataSourceLocation": source("resourceLocation"),
                "extendedInfo": {
                    "subTasks": [{"taskId": 1, "taskName": format!("Trigger {}", self.operation), "taskStatus": status}],
                    "additionalDetails": {"RetentionTag": "Default", "PolicyRuleName": "BackupWeekly", "TaskId": self.id},
                },
            },
        });
        if let Some(over) = self.over(now) {
            set(&mut document, "/properties/endTime", written(over));
        }
        document
    }
}

fn duration(from: Timestamp, to: Timestamp) -> String {
    format!("PT{:.3}S", to.duration_since(from).as_secs_f64())
}

const FILTERS: [(&str, &str); 4] = [
    ("status", "/properties/status"),
    ("operation", "/properties/operation"),
    ("backupManagementType", "/properties/backupManagementType"),
    ("jobId", "/name"),
];

/// The jobs of a vault, newest first.
pub(crate) fn of_vault(world: &World, home: Home, vault: &str) -> Vec<Value> {
    let now = world.clock.now();
    let mine = |job: &&Job| job.home == home && job.vault.eq_ignore_ascii_case(vault);
    world
        .jobs
        .iter()
        .rev()
        .filter(mine)
        .map(|job| job.document(now))
        .collect()
}

/// Everything under `…/backupJobs` of a vault.
pub(crate) fn route(
    world: &mut World,
    ask: &ArmRequest,
    home: Home,
    vault: &str,
    rest: &[&str],
) -> Answer {
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let jobs = filtered(ask, of_vault(world, home, vault), &FILTERS);
            let jobs = within(ask, jobs);
            page(world, ask, jobs, PAGE)
        }
        ("GET", [name]) => {
            let found = of_vault(world, home, vault)
                .into_iter()
                .find(|job| text(job, "/name").is_some_and(|own| own.eq_ignore_ascii_case(name)));
            found.map_or_else(|| Answer::not_found(&ask.whole_id()), Answer::ok)
        }
        ("POST", [name, "cancel"]) => cancel(world, ask, vault, name),
        (method, _) => Answer::method_not_allowed(method),
    }
}

/// Jobs that began in the range that a filter asks for: Azure's own way to say one is `eq` of two
/// times of twelve hours.
fn within(ask: &ArmRequest, jobs: Vec<Value>) -> Vec<Value> {
    let terms = terms(&ask.parameter("$filter").unwrap_or_default());
    let bound = |name: &str| {
        let term = terms
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        let civil = jiff::civil::DateTime::strptime("%Y-%m-%d %I:%M:%S %p", &term.1).ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let (from, to) = (bound("startTime"), bound("endTime"));
    let began = |job: &Value| {
        text(job, "/properties/startTime")?
            .parse::<Timestamp>()
            .ok()
    };
    let inside = |job: &Value| {
        let at = began(job);
        from.is_none_or(|from| at.is_none_or(|at| at >= from))
            && to.is_none_or(|to| at.is_none_or(|at| at <= to))
    };
    jobs.into_iter().filter(inside).collect()
}

fn cancel(world: &mut World, ask: &ArmRequest, vault: &str, name: &str) -> Answer {
    let now = world.clock.now();
    let Some(job) = world
        .jobs
        .iter_mut()
        .find(|job| job.id.eq_ignore_ascii_case(name) && job.vault.eq_ignore_ascii_case(vault))
    else {
        return Answer::not_found(&ask.whole_id());
    };
    if !job.running(now) {
        return Answer::error(
            400,
            "UserErrorJobNotCancellable",
            "The job has ended and cannot be cancelled.",
        );
    }
    job.cancelled = Some(now);
    let id = job.id.clone();
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: None,
            result: Some(format!("{vault}/backupJobs/{id}/operationResults")),
            properties: Value::Null,
            finish: Finish::Nothing,
            effect: None,
        },
    )
}

/// `POST …/backupJobsExport`: a report that anyone who holds the answer can fetch.
pub(crate) fn export(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let report = format!(
        "https://simreports.blob.core.windows.net/reportcontainer/exportjobsreport{}",
        fresh_uuid()
    );
    let finish = json!({"operation": {
        "objectType": "ExportJobsOperationResultInfo", "blobUrl": report,
        "blobSasKey": "?sv=2026-01-01&sr=b&sig=c2ltLXNhcy1zaWduYXR1cmU%3D&sp=r",
    }, "headers": {}});
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: None,
            result: Some(format!("{vault}/backupJobs/operationResults")),
            properties: Value::Null,
            finish: Finish::Body(finish),
            effect: None,
        },
    )
}

/// Jobs of the secondary region, whose vault stands in the body only.
pub(crate) fn secondary(world: &World, ask: &ArmRequest, one: bool) -> Answer {
    let Some(vault) = text(&ask.body, "/resourceId") else {
        return Answer::error(
            400,
            "InvalidRequestContent",
            "The member 'resourceId' is missing.",
        );
    };
    let jobs = of_vault(world, Home::Secondary, vault);
    if !one {
        return list(jobs);
    }
    let wanted = text(&ask.body, "/jobName").unwrap_or_default();
    let found = jobs
        .into_iter()
        .find(|job| text(job, "/name").is_some_and(|own| own.eq_ignore_ascii_case(wanted)));
    found.map_or_else(|| Answer::not_found(wanted), Answer::ok)
}
