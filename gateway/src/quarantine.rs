//! Quarantine: one identity is stopped now, whatever tokens it still has.
//!
//! Who is stopped is looked up at every request, after the token was verified and again
//! before anything is sent, in a list held in memory. The store is the truth: it is written
//! first, and read again every moment, so that every replica on it follows. When it cannot
//! be read the list that is known goes on; nobody is let go by a failure.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;
use vaultgate_pdp::Principal;

use crate::assent::{self, Assent};
use crate::store::{Store, StoreError, sql};

/// How often the store is read for what another replica wrote: an identity that is stopped
/// there is stopped here within a second.
pub(crate) const REFRESH: Duration = Duration::from_millis(500);

/// What is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Target {
    /// One subject of one issuer.
    Subject {
        /// The issuer.
        issuer: String,
        /// The subject.
        value: String,
    },
    /// Every token that a client application obtained.
    App {
        /// The application's id.
        value: String,
    },
    /// Whatever is done through an actor.
    Actor {
        /// The actor's subject.
        value: String,
    },
    /// A person, under whichever identity.
    Person {
        /// The person.
        value: String,
    },
    /// One token, by its id (`jti`, `uti`) or its SHA-256.
    Token {
        /// Id or hex digest.
        value: String,
    },
}

/// One identity that is stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Its id.
    pub(crate) id: Uuid,
    /// What is stopped.
    pub(crate) target: Target,
    /// Since when.
    pub(crate) since: Timestamp,
    /// The person who stopped it.
    pub(crate) by: String,
    /// Why, in their words.
    pub(crate) why: String,
    /// People who want it to go on.
    pub(crate) release: Vec<Assent>,
    #[serde(skip)]
    version: i64,
}

/// What came of the wish to let an identity go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Nobody is held under this id.
    Unknown,
    /// Another person has to agree.
    Waits(Held),
    /// It goes on.
    Released(Held),
}

/// What a token is known by, for [`Quarantine::holds`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'t> {
    /// The issuer's own name of it.
    pub(crate) id: Option<&'t str>,
    /// Hex SHA-256 of the whole token.
    pub(crate) sha256: &'t str,
}

/// Who is stopped; cheap to clone.
#[derive(Clone)]
pub(crate) struct Quarantine {
    store: Store,
    held: Arc<ArcSwap<Vec<Held>>>,
    /// Held from reading to keeping: what was read earlier never replaces what is newer.
    reading: Arc<Mutex<()>>,
}

impl Target {
    fn is(&self, caller: &Principal, token: Option<Token<'_>>) -> bool {
        match self {
            Target::Subject { issuer, value } => {
                caller.issuer == *issuer && caller.subject == *value
                    || caller
                        .actors
                        .iter()
                        .any(|actor| actor.issuer == *issuer && actor.subject == *value)
            }
            Target::App { value } => caller.app.as_ref() == Some(value),
            Target::Actor { value } => caller.actors.iter().any(|actor| actor.subject == *value),
            Target::Person { value } => caller.person.as_ref() == Some(value),
            Target::Token { value } => token.is_some_and(|token| {
                token.id == Some(value) || token.sha256.eq_ignore_ascii_case(value)
            }),
        }
    }
}

impl Quarantine {
    /// Reads who is stopped. A store that cannot be read is an error: nobody would be.
    pub(crate) async fn open(store: Store) -> Result<Quarantine, StoreError> {
        let held = read(&store).await?;
        Ok(Quarantine {
            store,
            held: Arc::new(ArcSwap::from_pointee(held)),
            reading: Arc::default(),
        })
    }

    /// With a store that was lost: changes are refused without it anyway.
    pub(crate) fn blind(store: Store) -> Quarantine {
        Quarantine {
            store,
            held: Arc::default(),
            reading: Arc::default(),
        }
    }

    /// Why a caller is stopped, if it is.
    pub(crate) fn holds(&self, caller: &Principal, token: Option<Token<'_>>) -> Option<Held> {
        let held = self.held.load();
        held.iter()
            .find(|held| held.target.is(caller, token))
            .cloned()
    }

    /// Whether somebody who consented is stopped since: their consent no longer counts.
    pub(crate) fn holds_voter(&self, person: &str, issuer: &str, subject: &str) -> bool {
        let held = self.held.load();
        held.iter().any(|held| match &held.target {
            Target::Person { value } => value == person,
            Target::Subject { issuer: own, value } => own == issuer && value == subject,
            _ => false,
        })
    }

    /// Whether somebody's word counts: they were not stopped since.
    pub(crate) fn counts(&self, one: &Assent) -> bool {
        !self.holds_voter(&one.person, &one.issuer, &one.subject)
    }

    /// Everybody who is stopped.
    pub(crate) fn all(&self) -> Vec<Held> {
        self.held.load().to_vec()
    }

    /// Stops an identity; holds from the next request on.
    pub(crate) async fn hold(
        &self,
        target: Target,
        by: String,
        why: String,
        now: Timestamp,
    ) -> Result<Held, StoreError> {
        let held = Held {
            id: Uuid::now_v7(),
            target,
            since: now,
            by,
            why,
            release: Vec::new(),
            version: 1,
        };
        let insert = sql("INSERT INTO quarantine (id, state, version, since, content)
             VALUES ($1, 'held', 1, $2, $3)")
        .bind(held.id.to_string())
        .bind(now.as_millisecond())
        .bind(content(&held)?);
        let mut change = self.store.begin().await?;
        change.execute(insert).await?;
        change.commit().await?;
        self.refresh().await?;
        Ok(held)
    }

    /// Lets an identity go on once so many different people want it, whoever stopped it.
    pub(crate) async fn release(
        &self,
        id: Uuid,
        assent: Assent,
        quorum: u32,
    ) -> Result<Release, StoreError> {
        // Read anew: the list in memory may be behind another replica's.
        let known = read(&self.store).await?;
        let Some(mut held) = known.into_iter().find(|held| held.id == id) else {
            return Ok(Release::Unknown);
        };
        let counts = |one: &Assent| self.counts(one);
        let free = assent::add(&mut held.release, assent, counts) >= quorum as usize;
        let update = sql(
            "UPDATE quarantine SET state = $1, version = version + 1, content = $2
             WHERE id = $3 AND version = $4 AND state = 'held'",
        )
        .bind(if free { "released" } else { "held" })
        .bind(content(&held)?)
        .bind(id.to_string())
        .bind(held.version);
        let mut change = self.store.begin().await?;
        let taken = change.execute(update).await?;
        change.commit().await?;
        self.refresh().await?;
        if taken == 0 {
            // Somebody else was quicker: they ask again, and see what is.
            return Err(StoreError::Busy);
        }
        Ok(if free {
            Release::Released(held)
        } else {
            Release::Waits(held)
        })
    }

    /// Reads the store again.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let _reading = self.reading.lock().await;
        let held = read(&self.store).await?;
        self.held.store(Arc::new(held));
        Ok(())
    }
}

async fn read(store: &Store) -> Result<Vec<Held>, StoreError> {
    let select = sql(
        "SELECT version, content FROM quarantine WHERE state = 'held'
         ORDER BY since, id",
    );
    let rows = store.heed(select).await?;
    // A server that is behind would let somebody go: only then is it known that it is not.
    store.check().await?;
    rows.iter()
        .map(|row| {
            let held: Held = serde_json::from_str(&row.value::<String>("content")?)
                .map_err(|_| StoreError::Value { column: "content" })?;
            let version = row.value("version")?;
            Ok(Held { version, ..held })
        })
        .collect()
}

fn content(held: &Held) -> Result<String, StoreError> {
    serde_json::to_string(held).map_err(|_| StoreError::Value { column: "content" })
}
