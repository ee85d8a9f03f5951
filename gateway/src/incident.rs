//! The freeze: destruction stops everywhere at once.
//!
//! Any one reviewer may freeze; it takes several people to lift it. While it holds, nothing
//! is weakened, deleted, disclosed or moved, whatever policy and approvals say. It is kept
//! in the store and in memory, as the quarantine is, and a failure lifts nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use vaultgate_arm::Class;

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
    pub(crate) lift: Vec<String>,
}

/// What the one row holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    freeze: Option<Freeze>,
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

    /// Freezes; one that holds already goes on as it is.
    pub(crate) async fn begin(
        &self,
        by: String,
        why: String,
        now: Timestamp,
    ) -> Result<Freeze, StoreError> {
        let (content, version) = read(&self.store).await?;
        if let Some(freeze) = content.freeze {
            return Ok(freeze);
        }
        let freeze = Freeze {
            since: now,
            by,
            why,
            lift: Vec::new(),
        };
        let content = Content {
            freeze: Some(freeze.clone()),
        };
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
    pub(crate) async fn lift(&self, by: &str, quorum: u32) -> Result<Lift, StoreError> {
        let (content, version) = read(&self.store).await?;
        let Some(mut freeze) = content.freeze else {
            return Ok(Lift::NotFrozen);
        };
        if !freeze.lift.iter().any(|person| person == by) {
            freeze.lift.push(by.to_owned());
        }
        let over = freeze.lift.len() >= quorum as usize;
        let content = Content {
            freeze: (!over).then(|| freeze.clone()),
        };
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
    let row = store.first(sql(SELECT)).await?;
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
