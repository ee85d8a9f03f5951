//! An incident: destruction stops everywhere at once, and the way back is kept open.
//!
//! Any one reviewer may freeze; it takes several people to lift it. While it holds, nothing
//! is weakened, deleted, disclosed or moved, whatever policy and approvals say. Restores have
//! two ways to go faster, both for policy to judge: the fast path, which several people open
//! while the freeze holds, and break-glass, which one reviewer opens for somebody else by
//! name. Neither is told to policy for anything but restores and the reads they need, so that
//! no rule can rest another consent on them. All of it is kept in the store and in memory, as
//! the quarantine is, and a failure lifts nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;
use vaultgate_arm::Class;
use vaultgate_pdp::{Principal, PrincipalKind};

use crate::assent::{self, Assent};
use crate::store::{Change, Row, Statement, Store, StoreError, sql};

/// A freeze that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Freeze {
    /// Since when.
    pub(crate) since: Timestamp,
    /// The person who froze.
    pub(crate) by: String,
    /// Why, in their words.
    pub(crate) why: String,
    /// People who want it lifted.
    #[serde(default)]
    pub(crate) lift: Vec<Assent>,
}

/// The way that restores go faster while the freeze holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FastPath {
    /// People who want it.
    pub(crate) by: Vec<Assent>,
    /// Since when it is open; none while others have to agree.
    pub(crate) since: Option<Timestamp>,
    /// Why, in the words of who asked first.
    pub(crate) why: String,
}

/// Restores opened for one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BreakGlass {
    /// Its id.
    pub(crate) id: Uuid,
    /// For whom.
    pub(crate) person: String,
    /// The reviewer who opened it: never the same person.
    pub(crate) by: Assent,
    /// Why, in their words.
    pub(crate) why: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Until when.
    pub(crate) until: Timestamp,
}

impl BreakGlass {
    /// What others are told of it.
    pub(crate) fn shown(&self) -> Value {
        json!({
            "id": self.id, "person": self.person, "by": self.by.person, "why": self.why,
            "since": self.since, "until": self.until,
        })
    }
}

/// What the one row holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    freeze: Option<Freeze>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fast_path: Option<FastPath>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    break_glass: Vec<BreakGlass>,
}

/// How an incident stands, for people.
#[derive(Serialize)]
pub(crate) struct Standing {
    freeze: Option<Freeze>,
    #[serde(rename = "fastPath")]
    fast_path: Option<FastPath>,
    #[serde(rename = "breakGlass")]
    break_glass: Vec<Value>,
}

/// What came of the wish for the fast path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Faster {
    /// There is no freeze: nothing is an incident.
    NotFrozen,
    /// Others have to agree.
    Waits(FastPath),
    /// It is open.
    Open(FastPath),
}

/// What came of the wish to lift the freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lift {
    /// There is none.
    NotFrozen,
    /// Others have to agree.
    Waits(Freeze),
    /// It is over.
    Lifted(Freeze),
}

/// Whether there is a freeze; cheap to clone.
#[derive(Clone)]
pub(crate) struct Incident {
    store: Store,
    held: Arc<ArcSwap<Content>>,
    /// Held from reading to keeping: what was read earlier never replaces what is newer.
    reading: Arc<Mutex<()>>,
}

impl Incident {
    /// Reads whether there is a freeze.
    pub(crate) async fn open(store: Store) -> Result<Incident, StoreError> {
        let (content, _) = read(&store).await?;
        Ok(Incident {
            store,
            held: Arc::new(ArcSwap::from_pointee(content)),
            reading: Arc::default(),
        })
    }

    /// With a store that was lost: changes are refused without it anyway.
    pub(crate) fn blind(store: Store) -> Incident {
        Incident {
            store,
            held: Arc::default(),
            reading: Arc::default(),
        }
    }

    /// The freeze, if there is one.
    pub(crate) fn freeze(&self) -> Option<Freeze> {
        self.held.load().freeze.clone()
    }

    /// The freeze, if it stops an operation of this class.
    pub(crate) fn stops(&self, class: Class) -> Option<Freeze> {
        let destructive = matches!(
            class,
            Class::Weaken | Class::Delete | Class::Disclose | Class::Move | Class::Guard
        );
        if destructive { self.freeze() } else { None }
    }

    /// How it stands.
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        let content = Content::clone(&self.held.load());
        let open = content.break_glass.iter().filter(|glass| glass.until > now);
        Standing {
            break_glass: open.map(BreakGlass::shown).collect(),
            freeze: content.freeze,
            fast_path: content.fast_path,
        }
    }

    /// What was opened for a caller, who acts for themselves. Not by who was stopped since.
    pub(crate) fn broken_glass(
        &self,
        caller: &Principal,
        counts: impl Fn(&Assent) -> bool,
        now: Timestamp,
    ) -> Option<BreakGlass> {
        let person = caller.person.as_ref()?;
        // An agent that somebody talked into it is not the person that was named.
        let alone = caller.actors.iter().all(|actor| {
            actor.issuer == caller.issuer && caller.app.as_ref() == Some(&actor.subject)
        });
        if caller.kind != PrincipalKind::Human || !alone {
            return None;
        }
        let held = self.held.load();
        let mut named = held.break_glass.iter();
        named
            .find(|glass| glass.person == *person && glass.until > now && counts(&glass.by))
            .cloned()
    }

    /// What policy is told: nothing where nothing is. The ways to restore faster are told for
    /// restores and what they need alone.
    pub(crate) fn told(
        &self,
        caller: &Principal,
        class: Class,
        counts: impl Fn(&Assent) -> bool,
        now: Timestamp,
    ) -> Option<Value> {
        let held = self.held.load();
        if held.freeze.is_none() && held.break_glass.is_empty() {
            return None;
        }
        let restores = matches!(class, Class::Restore | Class::Read | Class::Validate);
        let glass = self.broken_glass(caller, &counts, now).filter(|_| restores);
        let fast = held.freeze.is_some()
            && held
                .fast_path
                .as_ref()
                .is_some_and(|path| path.since.is_some() && path.by.iter().all(&counts));
        Some(json!({
            "frozen": held.freeze.is_some(),
            "restore_fast_path": fast && restores,
            "break_glass": glass.as_ref().map(BreakGlass::shown),
        }))
    }

    /// Wants the fast path; it opens once so many different people do, while the freeze holds.
    pub(crate) async fn faster(
        &self,
        assent: Assent,
        counts: impl Fn(&Assent) -> bool,
        why: &str,
        quorum: u32,
        now: Timestamp,
    ) -> Result<Faster, StoreError> {
        let (mut content, version) = read(&self.store).await?;
        if content.freeze.is_none() {
            return Ok(Faster::NotFrozen);
        }
        let path = content.fast_path.get_or_insert_with(|| FastPath {
            by: Vec::new(),
            since: None,
            why: why.to_owned(),
        });
        path.since = match assent::add(&mut path.by, assent, counts) >= quorum as usize {
            true => path.since.or(Some(now)),
            false => None,
        };
        let path = path.clone();
        self.write(&content, version).await?;
        Ok(match path.since {
            Some(_) => Faster::Open(path),
            None => Faster::Waits(path),
        })
    }

    /// Closes the fast path; tells whether there was one.
    pub(crate) async fn slower(&self) -> Result<bool, StoreError> {
        let (mut content, version) = read(&self.store).await?;
        let was = content.fast_path.take().is_some();
        self.write(&content, version).await?;
        Ok(was)
    }

    /// Opens restores for somebody by name.
    pub(crate) async fn break_glass(&self, glass: BreakGlass) -> Result<(), StoreError> {
        let (mut content, version) = read(&self.store).await?;
        content.break_glass.retain(|old| old.until > glass.since);
        content.break_glass.push(glass);
        self.write(&content, version).await
    }

    /// Ends what was opened; tells whether it was open.
    pub(crate) async fn mend_glass(&self, id: Uuid) -> Result<bool, StoreError> {
        let (mut content, version) = read(&self.store).await?;
        let before = content.break_glass.len();
        content.break_glass.retain(|glass| glass.id != id);
        let was = content.break_glass.len() < before;
        self.write(&content, version).await?;
        Ok(was)
    }

    /// Freezes; one that holds already goes on as it is.
    pub(crate) async fn begin(
        &self,
        by: String,
        why: String,
        now: Timestamp,
    ) -> Result<Freeze, StoreError> {
        let (mut content, version) = read(&self.store).await?;
        if let Some(freeze) = content.freeze {
            return Ok(freeze);
        }
        let freeze = Freeze {
            since: now,
            by,
            why,
            lift: Vec::new(),
        };
        content.freeze = Some(freeze.clone());
        self.write(&content, version).await?;
        Ok(freeze)
    }

    /// Freezes in a change of the store, unless it is frozen.
    pub(crate) async fn freeze_in(
        change: &mut Change,
        by: &str,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let found = change.first(sql(SELECT)).await?;
        let (mut content, version) = parsed(found)?;
        content.freeze.get_or_insert_with(|| Freeze {
            since: now,
            by: by.to_owned(),
            why: why.to_owned(),
            lift: Vec::new(),
        });
        change.execute(update(&content, version)?).await.map(drop)
    }

    /// Lifts the freeze once so many different people want it.
    pub(crate) async fn lift(
        &self,
        assent: Assent,
        counts: impl Fn(&Assent) -> bool,
        quorum: u32,
    ) -> Result<Lift, StoreError> {
        let (mut content, version) = read(&self.store).await?;
        let Some(mut freeze) = content.freeze.take() else {
            return Ok(Lift::NotFrozen);
        };
        let over = assent::add(&mut freeze.lift, assent, counts) >= quorum as usize;
        content.freeze = (!over).then(|| freeze.clone());
        if over {
            // It belongs to the incident, and ends with it.
            content.fast_path = None;
        }
        self.write(&content, version).await?;
        Ok(if over {
            Lift::Lifted(freeze)
        } else {
            Lift::Waits(freeze)
        })
    }

    /// Reads the store again.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let _reading = self.reading.lock().await;
        let (content, _) = read(&self.store).await?;
        self.held.store(Arc::new(content));
        Ok(())
    }

    async fn write(&self, content: &Content, version: i64) -> Result<(), StoreError> {
        let update = update(content, version)?;
        let mut change = self.store.begin().await?;
        let taken = change.execute(update).await?;
        change.commit().await?;
        self.refresh().await?;
        match taken {
            1 => Ok(()),
            _ => Err(StoreError::Busy),
        }
    }
}

const SELECT: &str = "SELECT version, content FROM incident WHERE id = 1";

fn update(content: &Content, version: i64) -> Result<Statement, StoreError> {
    let text =
        serde_json::to_string(content).map_err(|_| StoreError::Value { column: "content" })?;
    Ok(sql("UPDATE incident SET version = version + 1, content = $1
         WHERE id = 1 AND version = $2")
    .bind(text)
    .bind(version))
}

async fn read(store: &Store) -> Result<(Content, i64), StoreError> {
    let row = store.heed(sql(SELECT)).await?.into_iter().next();
    // A server that is behind would lift a freeze: only then is it known that it is not.
    store.check().await?;
    parsed(row)
}

fn parsed(row: Option<Row>) -> Result<(Content, i64), StoreError> {
    let wrong = || StoreError::Value { column: "content" };
    let row = row.ok_or_else(wrong)?;
    let content = serde_json::from_str(&row.value::<String>("content")?);
    Ok((content.map_err(|_| wrong())?, row.value("version")?))
}
