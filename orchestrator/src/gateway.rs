//! The gateway, as the engine sees it: lists of a vault, one backup of an item, how an approval
//! stands.
//!
//! Every request has the flow's own token and names the run. What an answer means is
//! [`crate::verdict`]'s to say; what is in it is read here, and nothing of it is trusted to be there.

use std::collections::BTreeMap;

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

mod told;

pub use told::{Job, Kept, Point, Posture, Protected};
use told::{instant, text};

/// Version of Azure's interface for backups.
const API: &str = "2026-08-01";
/// Version of the interface that lists resources.
const RESOURCES_API: &str = "2021-04-01";
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

/// A change that can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its path, without the version of Azure's interface.
    pub path: String,
    /// Its body.
    pub body: Value,
}

/// What the gateway would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// It would let it pass.
    Allow,
    /// Others would have to agree.
    Approval,
    /// It would refuse.
    Deny(Refused),
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

    /// The items of a vault that are backed up.
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
        let mut items = self.ever_protected(vault, run, now).await?;
        items.retain(|item| !item.stopped);
        Ok(items)
    }

    /// The items of a vault, those as well whose protection is stopped.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn ever_protected(
        &self,
        vault: &str,
        run: &Run,
        now: Timestamp,
    ) -> Result<Vec<Protected>, Trouble> {
        let path = format!("{vault}/backupProtectedItems?api-version={API}");
        let pages = self.list(&path, run, now).await?;
        Ok(pages.iter().filter_map(Protected::read).collect())
    }

    /// Machines that a vault could protect and none does, by names of flow files.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn protectable(
        &self,
        vault: &str,
        run: &Run,
        now: Timestamp,
    ) -> Result<Vec<String>, Trouble> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("api-version", API);
        query.append_pair("$filter", "backupManagementType eq 'AzureIaasVM'");
        let query = query.finish().replace('+', "%20");
        let pages = self
            .list(&format!("{vault}/backupProtectableItems?{query}"), run, now)
            .await?;
        let free = |one: &&Value| text(one, "/properties/protectionState") == Some("NotProtected");
        let name = |one: &Value| {
            let machine = text(one, "/properties/virtualMachineId")?;
            let group = machine.split('/').nth(4)?;
            Some(format!(
                "vm:{group}/{}",
                text(one, "/properties/friendlyName")?
            ))
        };
        Ok(pages.iter().filter(free).filter_map(name).collect())
    }

    /// Ids of the resources of a subscription that have a tag, in lower case.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn tagged(
        &self,
        subscription: &str,
        tag: (&str, &str),
        run: &Run,
        now: Timestamp,
    ) -> Result<Vec<String>, Trouble> {
        let quoted = |text: &str| text.replace('\'', "''");
        let filter = format!(
            "tagName eq '{}' and tagValue eq '{}'",
            quoted(tag.0),
            quoted(tag.1)
        );
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("api-version", RESOURCES_API);
        query.append_pair("$filter", &filter);
        let query = query.finish().replace('+', "%20");
        let path = format!("/subscriptions/{subscription}/resources?{query}");
        let pages = self.list(&path, run, now).await?;
        let id = |one: &Value| text(one, "/id").map(str::to_lowercase);
        Ok(pages.iter().filter_map(id).collect())
    }

    /// How long the policies of a vault keep what they make.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn kept(&self, vault: &str, run: &Run, now: Timestamp) -> Result<Vec<Kept>, Trouble> {
        let path = format!("{vault}/backupPolicies?api-version={API}");
        let pages = self.list(&path, run, now).await?;
        Ok(pages.iter().filter_map(Kept::read).collect())
    }

    /// What protects a vault itself.
    ///
    /// # Errors
    ///
    /// Where the vault cannot be read.
    pub async fn posture(
        &self,
        vault: &str,
        run: &Run,
        now: Timestamp,
    ) -> Result<Posture, Trouble> {
        let path = format!("{vault}?api-version={API}");
        let (sent, body) = self
            .send(Method::GET, &path, &[], String::new(), run, now)
            .await?;
        done(sent)?;
        let vault: Value = serde_json::from_slice(&body).map_err(|_| garbage())?;
        Ok(Posture::read(&vault))
    }

    /// The jobs of a kind (`Backup`, `Restore`) of a vault since an instant.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn jobs(
        &self,
        vault: &str,
        operation: &str,
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
            "operation eq '{operation}' and startTime eq '{}' and endTime eq '{}'",
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

    /// The recovery points of an item.
    ///
    /// # Errors
    ///
    /// Where the list cannot be read whole.
    pub async fn points(
        &self,
        item: &str,
        run: &Run,
        now: Timestamp,
    ) -> Result<Vec<Point>, Trouble> {
        let path = format!("{item}/recoveryPoints?api-version={API}");
        let pages = self.list(&path, run, now).await?;
        Ok(pages.iter().filter_map(Point::read).collect())
    }

    /// Asks for a change of an item, under its key: sent twice it is done once. What only asks has no
    /// key, since an answer of before is none of now. An approval that was given for it is used by it.
    ///
    /// # Errors
    ///
    /// Where there is no answer.
    pub async fn change(
        &self,
        asked: &Asked,
        key: Option<Uuid>,
        approval: Option<&str>,
        run: &Run,
        now: Timestamp,
    ) -> Result<(Sent, Bytes), Trouble> {
        let path = format!("{}?api-version={API}", asked.path);
        let mut headers: Vec<(&str, String)> = Vec::new();
        headers.extend(key.map(|key| ("idempotency-key", key.to_string())));
        headers.extend(approval.map(|id| ("vaultgate-approval", id.to_owned())));
        let body = asked.body.to_string();
        self.send(Method::POST, &path, &headers, body, run, now)
            .await
    }

    /// What the gateway would say to a change: recorded as a question, and never sent on.
    ///
    /// # Errors
    ///
    /// Where it does not say.
    pub async fn question(
        &self,
        asked: &Asked,
        run: &Run,
        now: Timestamp,
    ) -> Result<Opinion, Trouble> {
        let path = format!("{}?api-version={API}", asked.path);
        let headers = [("vaultgate-dry-run", "true".to_owned())];
        let body = asked.body.to_string();
        let (sent, body) = self
            .send(Method::POST, &path, &headers, body, run, now)
            .await?;
        done(sent)?;
        let told: Value = serde_json::from_slice(&body).map_err(|_| garbage())?;
        let first = |name: &str| text(&told, &format!("/reasons/0/{name}")).map(str::to_owned);
        let owes = told.pointer("/obligations").and_then(Value::as_array);
        Ok(match told.pointer("/allow") {
            Some(Value::Bool(true)) => Opinion::Allow,
            _ if first("code").is_none() && owes.is_some_and(|owes| !owes.is_empty()) => {
                Opinion::Approval
            }
            Some(Value::Bool(false)) => Opinion::Deny(Refused {
                code: first("code")
                    .unwrap_or_else(|| text(&told, "/fault").unwrap_or("denied").to_owned()),
                message: first("message").unwrap_or_default(),
            }),
            _ => return Err(garbage()),
        })
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

    /// Who this identity is at the gateway: issuer and subject.
    ///
    /// # Errors
    ///
    /// Where the gateway does not say.
    pub async fn who(&self, run: &Run, now: Timestamp) -> Result<String, Trouble> {
        let path = "/_vaultgate/v1/whoami";
        let (sent, body) = self
            .send(Method::GET, path, &[], String::new(), run, now)
            .await?;
        done(sent)?;
        let told: Value = serde_json::from_slice(&body).map_err(|_| garbage())?;
        match (text(&told, "/issuer"), text(&told, "/subject")) {
            (Some(issuer), Some(subject)) => Ok(format!("{issuer} {subject}")),
            _ => Err(garbage()),
        }
    }

    /// Tells the gateway how a run stands, for people to read there.
    ///
    /// # Errors
    ///
    /// Where it does not take it.
    pub async fn report(
        &self,
        run: &Run,
        items: &[Item],
        controls: &[String],
        now: Timestamp,
    ) -> Result<(), Trouble> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for item in items {
            *counts.entry(item.state.as_str()).or_default() += 1;
        }
        let reason: String = run
            .reason
            .chars()
            .filter(|c| !c.is_control())
            .take(500)
            .collect();
        let body = json!({
            "flow": run.flow, "region": run.region, "state": run.state.as_str(), "reason": reason,
            "due": run.due, "started": run.started, "ended": run.ended,
            "definition_digest": run.digest, "items": counts, "controls": controls,
        });
        let path = format!("/_vaultgate/v1/runs/{}", run.id);
        let (sent, _) = self
            .send(Method::PUT, &path, &[], body.to_string(), run, now)
            .await?;
        done(sent)
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
