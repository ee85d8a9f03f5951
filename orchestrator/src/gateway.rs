//! The gateway, as the engine sees it: lists of a vault, one backup of an item, how an approval
//! stands.
//!
//! Every request has the flow's own token and names the run. What an answer means is
//! [`crate::verdict`]'s to say; what is in it is read here, and nothing of it is trusted to be there.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{FetchError, Http};
use crate::journal::{Item, Run};
use crate::token::{TokenError, Tokens};
use crate::verdict::{self, Refused, Verdict};

/// Version of Azure's interface for backups.
const API: &str = "2026-08-01";
/// Most pages of one list.
const MOST_PAGES: usize = 400;

/// The gateway, asked by one identity.
pub struct Gateway {
    url: String,
    tokens: Tokens,
    http: Http,
}

/// Why there is nothing to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What was said.
    Said(Verdict),
    /// Nothing was sent: no connection, or no token.
    NotSent(String),
    /// It may have arrived.
    Broken(String),
}

impl Trouble {
    /// What was said, for people.
    pub fn said(&self) -> &str {
        match self {
            Trouble::Said(
                Verdict::Denied(said)
                | Verdict::Failed(said)
                | Verdict::Missing(said)
                | Verdict::Unauthenticated(said)
                | Verdict::Transient(said, _),
            ) => &said.message,
            Trouble::Said(_) => "the answer means nothing",
            Trouble::NotSent(why) | Trouble::Broken(why) => why,
        }
    }

    /// How long the other side asks to be left alone.
    pub fn wait(&self) -> Option<std::time::Duration> {
        match self {
            Trouble::Said(Verdict::Transient(_, wait)) => *wait,
            _ => None,
        }
    }
}

/// An item that Azure protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// ARM id.
    pub id: String,
    /// Its name as flow files write it, with its kind.
    pub name: String,
    /// Its newest recovery point, as the list tells it.
    pub last_recovery_point: Option<Timestamp>,
}

/// A job of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// `InProgress`, `Completed`, …
    pub status: String,
    /// The container of what it works on, where Azure tells it.
    pub container: String,
    /// What it works on.
    pub friendly: String,
    /// The client request id of the request that began it, which is the decision's.
    pub activity: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
}

/// An answer to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What it means.
    pub verdict: Verdict,
    /// The decision that let it through, or refused it.
    pub decision: Option<String>,
    /// Whether it says that nothing was done.
    pub nothing_done: bool,
    /// Whether it is the answer to an earlier request under the same key.
    pub replayed: bool,
}

impl Sent {
    /// An answer of which no more is known.
    pub fn of(verdict: Verdict) -> Sent {
        Sent {
            verdict,
            decision: None,
            nothing_done: false,
            replayed: false,
        }
    }
}

/// How an approval stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not yet.
    Pending,
    /// It may be used.
    Approved,
    /// It was used, by this decision.
    Used(String),
    /// It will not be given.
    Gone,
}

impl Gateway {
    /// The gateway at an address, asked with these tokens.
    pub fn new(url: String, tokens: Tokens, http: Http) -> Gateway {
        Gateway { url, tokens, http }
    }

    /// The protected items of a vault.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn protected(
        &self,
        vault: &str,
        run: &Run,
        now: Timestamp,
    ) -> Result<Vec<Protected>, Trouble> {
        let pages = self
            .list(
                &format!("{vault}/backupProtectedItems?api-version={API}"),
                run,
                now,
            )
            .await?;
        Ok(pages.iter().filter_map(Protected::read).collect())
    }

    /// The backups of a vault since an instant.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn backups(
        &self,
        vault: &str,
        since: Timestamp,
        run: &Run,
        now: Timestamp,
    ) -> Result<Vec<Job>, Trouble> {
        // Azure's own way to say a range of times.
        let shown = |at: Timestamp| at.strftime("%Y-%m-%d %I:%M:%S %p").to_string();
        let end = now
            .checked_add(SignedDuration::from_hours(1))
            .unwrap_or(now);
        let filter = format!(
            "operation eq 'Backup' and startTime eq '{}' and endTime eq '{}'",
            shown(since),
            shown(end)
        );
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("api-version", API);
        query.append_pair("$filter", &filter);
        // Spaces as `%20`: a `+` is a plus to others.
        let query = query.finish().replace('+', "%20");
        let pages = self
            .list(&format!("{vault}/backupJobs?{query}"), run, now)
            .await?;
        Ok(pages.iter().filter_map(Job::read).collect())
    }

    /// The newest recovery point of an item in a tier.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn newest_point(
        &self,
        item: &str,
        tier: &str,
        run: &Run,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Trouble> {
        let pages = self
            .list(
                &format!("{item}/recoveryPoints?api-version={API}"),
                run,
                now,
            )
            .await?;
        let of_tier = |point: &&Value| tiers(point).contains(&tier);
        let times = pages.iter().filter(of_tier);
        Ok(times.filter_map(made_at).max())
    }

    /// Asks for a backup of an item, under a key: sent twice it is done once. An approval that was
    /// given for it is used by it.
    ///
    /// # Errors
    ///
    /// Where there is no answer.
    pub async fn back_up(
        &self,
        item: &Item,
        keep_until: Timestamp,
        approval: Option<&str>,
        run: &Run,
        now: Timestamp,
    ) -> Result<Sent, Trouble> {
        let until = keep_until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let kind = match item.name.split(':').next() {
            Some("sql") => "AzureWorkloadBackupRequest",
            Some("share") => "AzureFileShareBackupRequest",
            _ => "IaasVMBackupRequest",
        };
        let body =
            json!({"properties": {"objectType": kind, "recoveryPointExpiryTimeInUTC": until}});
        let path = format!("{}/backup?api-version={API}", item.item);
        let mut headers = vec![("idempotency-key", item.key.to_string())];
        headers.extend(approval.map(|id| ("vaultgate-approval", id.to_owned())));
        let answer = self
            .send(Method::POST, &path, &headers, body.to_string(), run, now)
            .await?;
        Ok(answer.0)
    }

    /// How an approval stands.
    ///
    /// # Errors
    ///
    /// Where the gateway does not say.
    pub async fn approval(&self, id: &str, run: &Run, now: Timestamp) -> Result<Standing, Trouble> {
        let path = format!("/_vaultgate/v1/approvals/{id}");
        let (sent, body) = self
            .send(Method::GET, &path, &[], String::new(), run, now)
            .await?;
        if let Verdict::Missing(said) = &sent.verdict
            && said.code == "approval-unknown"
        {
            return Ok(Standing::Gone);
        }
        done(sent)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(match body.get("state").and_then(Value::as_str) {
            Some("pending") => Standing::Pending,
            // Who vetoes has some time for it.
            Some("approved") => match instant(&body, "/usableFrom") {
                Some(from) if from > now => Standing::Pending,
                _ => Standing::Approved,
            },
            Some("used") => Standing::Used(text(&body, "/usedBy").unwrap_or_default().to_owned()),
            Some("rejected" | "vetoed" | "expired" | "void") => Standing::Gone,
            // A page of whoever stands before the gateway takes nothing back.
            _ => return Err(garbage()),
        })
    }

    /// All of a list, page by page.
    async fn list(&self, path: &str, run: &Run, now: Timestamp) -> Result<Vec<Value>, Trouble> {
        let mut found = Vec::new();
        let mut next = Some(path.to_owned());
        for _ in 0..MOST_PAGES {
            let Some(path) = next.take() else {
                return Ok(found);
            };
            let (sent, body) = self
                .send(Method::GET, &path, &[], String::new(), run, now)
                .await?;
            done(sent)?;
            let mut page: Value = serde_json::from_slice(&body).map_err(|_| garbage())?;
            match page.get_mut("value").map(Value::take) {
                Some(Value::Array(values)) => found.extend(values),
                _ => return Err(garbage()),
            }
            let link = page
                .get("nextLink")
                .and_then(Value::as_str)
                .filter(|link| !link.is_empty());
            // A link that leads elsewhere is none: a list that ends early would look whole.
            next = match link {
                None => None,
                Some(link) => Some(link.strip_prefix(&self.url).ok_or_else(garbage)?.to_owned()),
            };
        }
        match next {
            None => Ok(found),
            Some(_) => Err(garbage()),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: String,
        run: &Run,
        now: Timestamp,
    ) -> Result<(Sent, Bytes), Trouble> {
        let first = self.once(&method, path, headers, &body, run, now).await?;
        if !matches!(first.0.verdict, Verdict::Unauthenticated(_)) {
            return Ok(first);
        }
        // The token may have been taken back, or its key been rotated: once more with another.
        self.tokens.forget().await;
        self.once(&method, path, headers, &body, run, now).await
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
        run: &Run,
        now: Timestamp,
    ) -> Result<(Sent, Bytes), Trouble> {
        // A path from an answer must not go on in the name of the host.
        if !path.starts_with('/') {
            return Err(garbage());
        }
        let token = self
            .tokens
            .token(now)
            .await
            .map_err(|error| not_sent(&error))?;
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut bearer = HeaderValue::try_from(bearer)
            .map_err(|_| Trouble::NotSent("the token is none".to_owned()))?;
        bearer.set_sensitive(true);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(AUTHORIZATION, bearer)
            .header("x-vaultgate-flow-run", run.id.to_string())
            .header("x-vaultgate-flow-digest", run.digest.as_str());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Bytes::from(body.to_owned()));
        let request = request.map_err(|error| Trouble::NotSent(error.to_string()))?;
        let answer = self
            .http
            .fetch(request)
            .await
            .map_err(|error| match error {
                FetchError::Broken(why) => Trouble::Broken(why),
                other => Trouble::NotSent(other.to_string()),
            })?;
        let verdict = verdict::of(answer.status(), answer.headers(), answer.body());
        let sent = Sent {
            nothing_done: verdict::nothing_done(answer.status(), &verdict),
            replayed: answer.headers().contains_key("x-vaultgate-replayed-of"),
            decision: decision(answer.headers()),
            verdict,
        };
        let (parts, body) = answer.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(garbage());
        }
        Ok((sent, body))
    }
}

/// The decision that Azure knows: of what was sent twice, the first.
fn decision(headers: &HeaderMap) -> Option<String> {
    let first = headers.get("x-vaultgate-replayed-of");
    let id = first.or_else(|| headers.get("x-vaultgate-decision-id"))?;
    let id = id.to_str().ok()?;
    Uuid::try_parse(id).ok().map(|id| id.to_string())
}

fn not_sent(error: &TokenError) -> Trouble {
    Trouble::NotSent(error.to_string())
}

fn garbage() -> Trouble {
    let said = Refused {
        code: "answer-malformed".to_owned(),
        message: "the answer cannot be read".to_owned(),
    };
    Trouble::Said(Verdict::Transient(said, None))
}

fn done(sent: Sent) -> Result<(), Trouble> {
    match sent.verdict {
        Verdict::Done => Ok(()),
        verdict => Err(Trouble::Said(verdict)),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn instant(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer)?.parse().ok()
}

/// When a recovery point was made: those of workloads say it under a name of their own.
fn made_at(point: &Value) -> Option<Timestamp> {
    let at = |name| instant(point, name);
    at("/properties/recoveryPointTime").or_else(|| at("/properties/recoveryPointTimeInUTC"))
}

/// Where the data of a recovery point is, in the words of flow files.
fn tiers(point: &Value) -> Vec<&'static str> {
    // A share's is a snapshot where nothing is told of a vault.
    let share = text(point, "/properties/objectType") == Some("AzureFileShareRecoveryPoint");
    if share
        && point
            .pointer("/properties/recoveryPointTierDetails")
            .is_none()
    {
        return vec!["snapshot"];
    }
    let details = point
        .pointer("/properties/recoveryPointTierDetails")
        .and_then(Value::as_array);
    let named = |detail: &Value| {
        let status = text(detail, "/status").unwrap_or_default();
        if matches!(status, "Deleted" | "Disabled" | "Invalid") {
            return None;
        }
        match text(detail, "/type")? {
            "InstantRP" => Some("snapshot"),
            "HardenedRP" => Some("vault"),
            "ArchivedRP" => Some("archive"),
            _ => None,
        }
    };
    details.into_iter().flatten().filter_map(named).collect()
}

impl Protected {
    fn read(value: &Value) -> Option<Protected> {
        let id = text(value, "/id")?.to_owned();
        let friendly = text(value, "/properties/friendlyName")?.to_owned();
        let management = text(value, "/properties/backupManagementType")?.to_owned();
        let source = text(value, "/properties/sourceResourceId")
            .unwrap_or_default()
            .to_owned();
        let part = |name: &str| {
            let mut parts = source.split('/');
            parts.find(|part| part.eq_ignore_ascii_case(name))?;
            parts.next().map(str::to_owned)
        };
        let server = || text(value, "/properties/serverName").map(str::to_owned);
        let name = match management.as_str() {
            "AzureIaasVM" => format!("vm:{}/{friendly}", part("resourceGroups")?),
            "AzureWorkload" => format!("sql:{}/{friendly}", server()?),
            "AzureStorage" => format!("share:{}/{friendly}", part("storageAccounts")?),
            _ => return None,
        };
        // What is stopped, or waits to be deleted, is not backed up by asking for it.
        let state = text(value, "/properties/protectionState").unwrap_or_default();
        let stopped = matches!(
            state,
            "ProtectionStopped" | "ProtectionPaused" | "BackupsSuspended"
        );
        let deleted =
            value.pointer("/properties/isScheduledForDeferredDelete") == Some(&Value::Bool(true));
        (!stopped && !deleted).then_some(Protected {
            id,
            name,
            last_recovery_point: instant(value, "/properties/lastRecoveryPoint"),
        })
    }
}

impl Job {
    fn read(value: &Value) -> Option<Job> {
        let property = |name: &str| {
            text(value, &format!("/properties/{name}"))
                .unwrap_or_default()
                .to_owned()
        };
        let error = text(value, "/properties/errorDetails/0/errorString").map(str::to_owned);
        Some(Job {
            id: text(value, "/name")?.to_owned(),
            status: property("status"),
            container: property("containerName"),
            friendly: property("entityFriendlyName"),
            activity: property("activityId"),
            started: instant(value, "/properties/startTime"),
            ended: instant(value, "/properties/endTime"),
            error,
        })
    }

    /// Whether a decision began it. Azure's examples show the id twice, with something between.
    pub fn is_of(&self, decision: &str) -> bool {
        let given = self.activity.get(..decision.len());
        !decision.is_empty() && given.is_some_and(|given| given.eq_ignore_ascii_case(decision))
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        matches!(self.status.as_str(), "InProgress" | "Cancelling")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{made_at, tiers};

    #[test]
    fn points_say_when_and_where_in_the_words_of_their_kind() {
        let at = "2026-11-23T02:30:00Z";
        let read = |point: Value| (made_at(&point).is_some(), tiers(&point));
        let details = json!([{"type": "InstantRP", "status": "Valid"},
            {"type": "HardenedRP", "status": "Valid"}, {"type": "ArchivedRP", "status": "Deleted"}]);
        let machine = json!({"properties": {"objectType": "IaasVMRecoveryPoint",
            "recoveryPointTime": at, "recoveryPointTierDetails": details}});
        assert_eq!(read(machine), (true, vec!["snapshot", "vault"]));
        let database = json!({"properties": {"objectType": "AzureWorkloadSQLRecoveryPoint",
            "recoveryPointTimeInUTC": at, "recoveryPointTierDetails": [{"type": "HardenedRP", "status": "Valid"}]}});
        assert_eq!(read(database), (true, vec!["vault"]));
        let share = json!({"properties": {"objectType": "AzureFileShareRecoveryPoint",
            "recoveryPointTime": at}});
        assert_eq!(read(share), (true, vec!["snapshot"]));
        // Of anything else nothing is assumed.
        let other =
            json!({"properties": {"objectType": "IaasVMRecoveryPoint", "recoveryPointTime": 1}});
        assert_eq!(read(other), (false, Vec::new()));
    }
}
