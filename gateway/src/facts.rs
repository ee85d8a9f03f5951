//! What Azure says before a change is judged: the vault's posture, the resource
//! as it is, the recovery points that are left.
//!
//! Each fact has a status: "nobody answered" is not "low risk". A change holds its
//! vault's lease until Azure's answer begins: what was judged is what is changed.

pub(crate) mod estate;
pub(crate) mod lease;
pub(crate) mod posture;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_arm::json::Document;

use crate::clock::Clock;
use crate::config::Facts as Settings;
use crate::observer::{ObserveError, Observer, Purpose};
use crate::recorder::Read;
use crate::upstream::ReadAnswer;

use estate::Estate;
use lease::{Lease, Leases};
use posture::{Answers, Posture, RecoveryPoints};

/// Vaults whose posture is remembered.
const MAX_VAULTS: u64 = 10_000;
/// Api-versions that the gateway itself reads with.
const VAULTS_VERSION: &str = "2026-07-01";
const BACKUP_VERSION: &str = "2026-08-01";
const DATA_PROTECTION_VERSION: &str = "2025-07-01";
const STORAGE_VERSION: &str = "2023-05-01";

/// What a request needs to be judged.
pub(crate) struct Wanted<'w> {
    /// ARM id of the vault, if the resource has one.
    pub(crate) vault: Option<&'w str>,
    /// The resource before the change: path, and the version to read it with.
    pub(crate) before: Option<(&'w str, &'w str)>,
    /// ARM id of the item whose recovery points matter.
    pub(crate) item: Option<&'w str>,
    /// ARM id of the storage account that a restore writes to.
    pub(crate) staging: Option<&'w str>,
    /// Whether facts must be fresh: true for every change.
    pub(crate) fresh: bool,
    /// Whether a restore rests on them: its share of Azure's budget is then open.
    pub(crate) for_restore: bool,
}

/// The resource before the change, as far as Azure told.
pub(crate) enum Before {
    /// Nothing is there.
    Absent,
    /// What is there.
    Present(Document),
    /// Nobody told.
    Unavailable,
    /// The operation has no state before.
    NotAsked,
}

/// Everything gathered for one request.
pub(crate) struct Gathered {
    /// `facts` of the policy input.
    pub(crate) facts: Value,
    /// The resource before the change.
    pub(crate) before: Before,
    /// ETag of that state, to be sent as `If-Match`.
    pub(crate) etag: Option<String>,
    /// Region of the vault.
    pub(crate) region: Option<String>,
    /// Tags of the vault.
    pub(crate) tags: Value,
    /// The proxies that bind the vault to resource guards, as Azure lists them.
    pub(crate) guards: Option<Value>,
    /// The reads that were made.
    pub(crate) reads: Vec<Read>,
    /// Held until Azure's answer to the change begins.
    pub(crate) lease: Option<Lease>,
}

#[derive(Clone)]
struct Remembered {
    posture: Posture,
    at: Instant,
}

/// Gathers facts with the reader identity.
pub(crate) struct Facts {
    observer: Observer,
    clock: Clock,
    max_age: Duration,
    postures: Cache<String, Remembered>,
    leases: Leases,
    estate: Arc<Estate>,
}

impl Facts {
    /// Facts read through `observer`.
    pub(crate) fn new(
        observer: Observer,
        clock: Clock,
        settings: &Settings,
        estate: Arc<Estate>,
    ) -> Facts {
        Facts {
            observer,
            clock,
            max_age: settings.max_age,
            postures: Cache::new(MAX_VAULTS),
            leases: Leases::default(),
            estate,
        }
    }

    /// Gathers what a request needs. Fails when the reads cannot be recorded, or have
    /// to wait for Azure's budget.
    pub(crate) async fn gather(
        &self,
        wanted: &Wanted<'_>,
        decision: Uuid,
    ) -> Result<Gathered, ObserveError> {
        if !wanted.fresh {
            return Ok(self.remembered(wanted).await);
        }
        let lease = match wanted.vault {
            Some(vault) => Some(self.leases.hold(vault).await),
            None => None,
        };
        let planned = plan(wanted);
        if planned.is_empty() {
            return Ok(Gathered {
                lease,
                ..self.remembered(wanted).await
            });
        }
        let answers = self
            .observer
            .read(Purpose::Facts, Some(decision), &planned, wanted.for_restore)
            .await?;
        let mut gathered = self.assemble(wanted, &planned, answers);
        gathered.lease = lease;
        if let Some(vault) = wanted.vault {
            self.remember(vault, &gathered).await;
        }
        Ok(gathered.public())
    }

    /// The posture as last seen, for requests that change nothing.
    async fn remembered(&self, wanted: &Wanted<'_>) -> Gathered {
        let now = self.clock.monotonic();
        let seen = match wanted.vault {
            Some(vault) => self.postures.get(&vault.to_ascii_lowercase()).await,
            None => None,
        };
        let fresh = seen.filter(|seen| now.saturating_duration_since(seen.at) <= self.max_age);
        let (vault, posture) = match fresh {
            Some(seen) => {
                let age = now.saturating_duration_since(seen.at).as_secs();
                (with_status(&seen.posture, "cached", age), seen.posture)
            }
            None => (json!({"status": "unavailable"}), Posture::default()),
        };
        Gathered {
            facts: json!({"vault": vault, "item": {"status": "unavailable"},
                "estate": self.estate.fact(now)}),
            before: Before::NotAsked,
            etag: None,
            region: posture.region,
            tags: posture.tags,
            guards: None,
            reads: Vec::new(),
            lease: None,
        }
    }

    async fn remember(&self, vault: &str, gathered: &Raw) {
        if gathered.complete {
            let seen = Remembered {
                posture: gathered.posture.clone(),
                at: self.clock.monotonic(),
            };
            self.postures.insert(vault.to_ascii_lowercase(), seen).await;
        }
    }

    fn assemble(
        &self,
        wanted: &Wanted<'_>,
        planned: &[Read],
        answers: Vec<Option<ReadAnswer>>,
    ) -> Raw {
        let mut raw = Raw::new(wanted);
        for (planned, answer) in planned.iter().zip(answers) {
            raw.reads.push(answered(planned, answer.as_ref()));
            raw.take(planned.purpose, answer);
        }
        raw.posture = Posture::of(&raw.answers);
        raw.estate = self.estate.fact(self.clock.monotonic());
        raw
    }
}

/// Answers on their way to facts.
struct Raw {
    vault: Option<String>,
    answers: Answers,
    posture: Posture,
    complete: bool,
    before: Before,
    etag: Option<String>,
    item: Value,
    staging: Value,
    estate: Value,
    reads: Vec<Read>,
    lease: Option<Lease>,
}

impl Raw {
    fn new(wanted: &Wanted<'_>) -> Raw {
        Raw {
            vault: wanted.vault.map(str::to_owned),
            answers: Answers::default(),
            posture: Posture::default(),
            complete: wanted.vault.is_some(),
            before: if wanted.before.is_some() {
                Before::Unavailable
            } else {
                Before::NotAsked
            },
            etag: None,
            item: json!({"status": "unavailable"}),
            staging: Value::Null,
            estate: Value::Null,
            reads: Vec::new(),
            lease: None,
        }
    }

    fn take(&mut self, purpose: &'static str, answer: Option<ReadAnswer>) {
        let status = answer.as_ref().map(|answer| answer.status.as_u16());
        let good = answer.as_ref().filter(|answer| answer.status.is_success());
        let body = good.and_then(|answer| self.fact(purpose, &answer.body));
        match purpose {
            "vault" => self.part(status, body, |answers, body| answers.vault = body),
            "vault-config" => self.part(status, body, |answers, body| answers.config = body),
            "guards" => self.part(status, body, |answers, body| answers.guards = body),
            "before" => self.take_before(answer),
            "recovery-points" => {
                if let Some(points) = body.as_ref().and_then(RecoveryPoints::of) {
                    self.item = json!({"status": "ok", "recovery_points": points});
                }
            }
            "restore-target" => {
                self.staging = match (status, body) {
                    (Some(200), Some(body)) => json!({"status": "ok", "exists": true,
                        "region": body.get("location"), "tags": body.get("tags")}),
                    (Some(404), _) => json!({"status": "ok", "exists": false}),
                    _ => json!({"status": "unavailable"}),
                };
            }
            _ => {}
        }
    }

    /// A part of the posture. A vault that is not there yet has none, which is an
    /// answer; anything else that is no success leaves the posture unavailable.
    fn part(
        &mut self,
        status: Option<u16>,
        body: Option<Value>,
        keep: impl FnOnce(&mut Answers, Option<Value>),
    ) {
        if body.is_none() && status != Some(404) {
            self.complete = false;
        }
        keep(&mut self.answers, body);
    }

    /// An answer that is what was asked for, read as strictly as a caller's body. Anything
    /// else that says "200" is no fact: an error page, another vault, half of a list.
    fn fact(&self, purpose: &'static str, body: &[u8]) -> Option<Value> {
        // Lists of recovery points may be longer than any body that is judged.
        if purpose != "recovery-points" {
            Document::parse(body).ok()?;
        }
        let fact: Value = serde_json::from_slice(body).ok()?;
        let of_vault = || {
            let id = fact.get("id").and_then(Value::as_str)?;
            let (own, rest) = id.split_at_checked(self.vault.as_ref()?.len())?;
            let within = rest.is_empty() || rest.starts_with('/');
            (within && own.eq_ignore_ascii_case(self.vault.as_ref()?)).then_some(rest)
        };
        let fits = match purpose {
            "vault" => {
                of_vault() == Some("") && fact.get("properties").is_some_and(Value::is_object)
            }
            "vault-config" => {
                of_vault().is_some() && fact.get("properties").is_some_and(Value::is_object)
            }
            "guards" => fact.get("value").is_some_and(Value::is_array),
            "before" => fact.get("properties").is_some_and(Value::is_object),
            _ => fact.is_object() && fact.get("error").is_none(),
        };
        fits.then_some(fact)
    }

    fn take_before(&mut self, answer: Option<ReadAnswer>) {
        let Some(answer) = answer else { return };
        match answer.status.as_u16() {
            200 => {
                // Read as strictly as a caller's body: what two parsers could
                // read differently is no state that a change may be judged by.
                let fits = self.fact("before", &answer.body).is_some();
                if let (true, Ok(document)) = (fits, Document::parse(&answer.body)) {
                    self.before = Before::Present(document);
                    self.etag = answer.etag;
                }
            }
            204 | 404 => self.before = Before::Absent,
            _ => {}
        }
    }

    fn public(self) -> Gathered {
        let vault = if self.complete {
            with_status(&self.posture, "ok", 0)
        } else {
            json!({"status": "unavailable"})
        };
        let before = match self.before {
            Before::Present(_) | Before::Absent => "ok",
            Before::Unavailable => "unavailable",
            Before::NotAsked => "not-asked",
        };
        let mut facts = json!({"vault": vault, "item": self.item,
            "before": {"status": before}, "estate": self.estate});
        if !self.staging.is_null()
            && let Some(facts) = facts.as_object_mut()
        {
            facts.insert("restore_target".into(), self.staging);
        }
        Gathered {
            facts,
            guards: self.answers.guards,
            before: self.before,
            etag: self.etag,
            region: self.posture.region,
            tags: self.posture.tags,
            reads: self.reads,
            lease: self.lease,
        }
    }
}

fn with_status(posture: &Posture, status: &str, age_s: u64) -> Value {
    let mut fact = json!({"status": status, "age_s": age_s});
    if let (Some(fact), Ok(Value::Object(posture))) =
        (fact.as_object_mut(), serde_json::to_value(posture))
    {
        fact.extend(posture);
    }
    fact
}

/// A planned read with what came back.
fn answered(planned: &Read, answer: Option<&ReadAnswer>) -> Read {
    Read {
        status: answer.map(|answer| answer.status.as_u16()),
        age_ms: answer.map(|_| 0),
        digest: answer.map(|answer| crate::digest::sha256(&answer.body)),
        ..planned.clone()
    }
}

fn read(purpose: &'static str, path: &str, version: &str) -> Read {
    Read::planned(&format!("{path}?api-version={version}"), purpose)
}

fn plan(wanted: &Wanted<'_>) -> Vec<Read> {
    let mut planned = Vec::new();
    if let Some(vault) = wanted.vault {
        let data_protection = is_data_protection(vault);
        let (vault_version, child_version) = if data_protection {
            (DATA_PROTECTION_VERSION, DATA_PROTECTION_VERSION)
        } else {
            (VAULTS_VERSION, BACKUP_VERSION)
        };
        planned.push(read("vault", vault, vault_version));
        if !data_protection {
            let config = format!("{vault}/backupconfig/vaultconfig");
            planned.push(read("vault-config", &config, child_version));
        }
        let guards = format!("{vault}/backupResourceGuardProxies");
        planned.push(read("guards", &guards, child_version));
    }
    if let Some((path, version)) = wanted.before {
        planned.push(read("before", path, version));
    }
    if let Some(item) = wanted.item {
        let version = if is_data_protection(item) {
            DATA_PROTECTION_VERSION
        } else {
            BACKUP_VERSION
        };
        let points = format!("{item}/recoveryPoints");
        planned.push(read("recovery-points", &points, version));
    }
    if let Some(account) = wanted.staging {
        planned.push(read("restore-target", account, STORAGE_VERSION));
    }
    planned
}

fn is_data_protection(id: &str) -> bool {
    id.to_ascii_lowercase()
        .contains("/providers/microsoft.dataprotection/")
}
