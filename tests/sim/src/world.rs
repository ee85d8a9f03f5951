//! The emulator's Azure: documents by ARM id, operations and jobs under way, and what
//! will happen when their time comes.
//!
//! Documents are looked up by their id in lower case, because ARM ids have no case.

mod policies;
mod seed;
mod shapes;
mod throttle;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use seed::{CORPUS, PROD, STAGING};
pub(crate) use shapes::{
    Guarded, container_of, item, last, numbers, recovery_point, settings, vault, workload_of,
};
pub(crate) use throttle::{Kind, Limits, Taken, Throttle};

use crate::azure::{Job, Operation};
use crate::clock::Clock;
use crate::document::{set, text};

/// What happens when an operation's time has come.
pub(crate) type Effect = Box<dyn FnOnce(&mut World) + Send>;

/// How jobs started from now on go.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobPlan {
    /// So many of the next jobs fail.
    #[serde(default)]
    pub fail_next: u32,
    /// How long jobs take, in milliseconds at scale 1.
    #[serde(default)]
    pub lasts_ms: Option<u64>,
    /// Whether an item that is being backed up refuses a second backup, as Azure's documents say.
    #[serde(default)]
    pub exclusive: bool,
}

/// Everything that the emulated Azure knows.
pub(crate) struct World {
    pub origin: String,
    pub clock: Clock,
    documents: BTreeMap<String, Value>,
    pub operations: HashMap<String, Operation>,
    pub jobs: Vec<Job>,
    /// Resources that a guard has unlocked for deletion, until when.
    pub unlocked: HashMap<String, Timestamp>,
    due: Vec<(Timestamp, Effect)>,
    pub throttle: Throttle,
    pub job_plan: JobPlan,
    revision: u64,
}

impl World {
    /// The world of the contract: three subscriptions and what lies in them.
    pub(crate) fn seeded(origin: &str, time_scale: f64) -> World {
        let mut world = World {
            origin: origin.to_owned(),
            clock: Clock::new(time_scale),
            documents: BTreeMap::new(),
            operations: HashMap::new(),
            jobs: Vec::new(),
            unlocked: HashMap::new(),
            due: Vec::new(),
            throttle: Throttle::default(),
            job_plan: JobPlan::default(),
            revision: 0,
        };
        seed::fill(&mut world);
        world
    }

    /// The document with that id, in any case.
    pub(crate) fn find(&self, id: &str) -> Option<&Value> {
        self.documents.get(&id.to_ascii_lowercase())
    }

    pub(crate) fn find_mut(&mut self, id: &str) -> Option<&mut Value> {
        self.documents.get_mut(&id.to_ascii_lowercase())
    }

    pub(crate) fn holds(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    /// Puts a document under the id that it says it has.
    pub(crate) fn put(&mut self, mut document: Value) {
        let Some(id) = text(&document, "/id").map(str::to_ascii_lowercase) else {
            return;
        };
        if document.get("etag").is_some() {
            set(&mut document, "/etag", self.next_etag());
        }
        self.documents.insert(id, document);
    }

    /// Puts a document under another id than its own: what is remembered, not served.
    pub(crate) fn put_at(&mut self, id: &str, document: Value) {
        self.documents.insert(id.to_ascii_lowercase(), document);
    }

    /// Takes away a document and everything below it.
    pub(crate) fn remove(&mut self, id: &str) {
        let key = id.to_ascii_lowercase();
        let below = format!("{key}/");
        self.documents
            .retain(|id, _| *id != key && !id.starts_with(&below));
    }

    /// Takes away the document alone and returns it.
    pub(crate) fn take(&mut self, id: &str) -> Option<Value> {
        self.documents.remove(&id.to_ascii_lowercase())
    }

    /// The documents directly inside a collection, by id.
    pub(crate) fn children(&self, collection: &str) -> Vec<&Value> {
        let direct = |rest: &&str| !rest.contains('/');
        let below = self.below(collection);
        below
            .filter(|(rest, _)| direct(rest))
            .map(|(_, document)| document)
            .collect()
    }

    /// The documents anywhere below an id whose own type is `type_`.
    pub(crate) fn of_type(&self, id: &str, type_: &str) -> Vec<&Value> {
        self.below(id)
            .map(|(_, document)| document)
            .filter(|document| {
                text(document, "/type").is_some_and(|own| own.eq_ignore_ascii_case(type_))
            })
            .collect()
    }

    /// The documents below an id, each with what its own id has more.
    fn below(&self, id: &str) -> impl Iterator<Item = (&str, &Value)> {
        let prefix = format!("{}/", id.to_ascii_lowercase());
        self.documents
            .range(prefix.clone()..)
            .map_while(move |(id, document)| Some((id.strip_prefix(&prefix)?, document)))
    }

    /// Marks a document as changed: it gets a new ETag if it has one.
    pub(crate) fn touch(&mut self, id: &str) {
        let etag = self.next_etag();
        if let Some(document) = self.find_mut(id)
            && document.get("etag").is_some()
        {
            set(document, "/etag", etag);
        }
    }

    fn next_etag(&mut self) -> String {
        self.revision += 1;
        format!(
            "W/\"datetime'2026-11-23T00%3A00%3A00.{:07}Z'\"",
            self.revision
        )
    }

    /// Lets something happen at a moment.
    pub(crate) fn at(&mut self, when: Timestamp, effect: Effect) {
        self.due.push((when, effect));
    }

    /// Lets everything happen that is due, oldest first.
    pub(crate) fn settle(&mut self) {
        let now = self.clock.now();
        while let Some(next) = self
            .due
            .iter()
            .enumerate()
            .filter(|(_, (when, _))| *when <= now)
            .min_by_key(|(_, (when, _))| *when)
            .map(|(i, _)| i)
        {
            let (_, effect) = self.due.swap_remove(next);
            effect(self);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::World;

    #[test]
    fn ids_have_no_case_and_children_are_direct() {
        let mut world = World::seeded("https://localhost:1", 1.0);
        world.put(json!({"id": "/A/b", "type": "t", "etag": ""}));
        world.put(json!({"id": "/a/b/c/D", "type": "t"}));
        assert!(world.holds("/a/B"));
        assert_eq!(world.children("/A/b/C").len(), 1);
        assert!(
            world.children("/a/b").is_empty(),
            "a grandchild is no child"
        );
        let before = world.find("/a/b").unwrap().clone();
        world.touch("/a/b");
        assert_ne!(&before, world.find("/a/b").unwrap());
        world.remove("/a/b");
        assert!(!world.holds("/a/b/c/d"));
    }

    #[test]
    fn the_seed_is_what_the_contract_names() {
        let world = World::seeded("https://localhost:1", 1.0);
        let vaults = "Microsoft.RecoveryServices/vaults";
        let prod = format!("/subscriptions/{}", super::PROD);
        assert_eq!(world.of_type(&prod, vaults).len(), 4);
        let items =
            "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems";
        let v1 =
            format!("{prod}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1");
        assert_eq!(world.of_type(&v1, items).len(), 7);
        for item in world.of_type(&prod, items) {
            let id = item.get("id").unwrap().as_str().unwrap();
            assert!(
                world.children(&format!("{id}/recoveryPoints")).len() >= 30,
                "{id}"
            );
            let policy = item
                .pointer("/properties/policyId")
                .unwrap()
                .as_str()
                .unwrap();
            assert!(world.holds(policy), "{policy}");
        }
        let staging = format!("/subscriptions/{}", super::STAGING);
        assert_eq!(
            world
                .of_type(&staging, "Microsoft.Storage/storageAccounts")
                .len(),
            1
        );
    }
}
