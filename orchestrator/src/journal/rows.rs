//! What the journal holds, as the engine has it: runs, items, what happened.

use jiff::Timestamp;
use uuid::Uuid;

use crate::occurrence;
use crate::state::{State, Step};

/// A run of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// The flow.
    pub flow: String,
    /// The region.
    pub region: String,
    /// Digest of the definition that it runs.
    pub digest: String,
    /// When it was due.
    pub due: Timestamp,
    /// Its state.
    pub state: State,
    /// Why it is in that state.
    pub reason: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether its items are known.
    pub resolved: bool,
    /// When it is looked at again.
    pub due_at: Option<Timestamp>,
    /// How often its items could not be listed.
    pub attempts: u32,
    /// Whether somebody asked to end it.
    pub cancel: bool,
}

/// An item of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The run.
    pub run: Uuid,
    /// Its ARM id.
    pub item: String,
    /// Its name as flow files write it.
    pub name: String,
    /// ARM id of its vault.
    pub vault: String,
    /// ARM id of what is protected; empty where Azure does not tell it.
    pub source: String,
    /// The key under which its backup is sent.
    pub key: Uuid,
    /// How far it has come.
    pub step: Step,
    /// Its state.
    pub state: State,
    /// Why it is in that state.
    pub reason: String,
    /// How often its step was tried.
    pub attempts: u32,
    /// How often of those it was refused in a way that may pass: of these there are only so many.
    pub counted: u32,
    /// When it is looked at again.
    pub due_at: Option<Timestamp>,
    /// When its backup was first sent.
    pub sent_at: Option<Timestamp>,
    /// How long what is backed up is kept: as it was first asked for.
    pub keep_until: Option<Timestamp>,
    /// Whether it may have reached Azure without an answer that says so.
    pub doubt: bool,
    /// When Azure was last known to have it.
    pub seen_at: Option<Timestamp>,
    /// When its job began.
    pub job_started: Option<Timestamp>,
    /// The decision that let it through.
    pub decision: Option<String>,
    /// The approval that it waits for.
    pub approval: Option<String>,
    /// Since when people are asked.
    pub asked_at: Option<Timestamp>,
    /// Milliseconds for which people were asked before.
    pub waited: i64,
    /// The job at Azure.
    pub job: Option<String>,
    /// The recovery point that came of it.
    pub recovery_point: Option<Timestamp>,
    /// ARM id of the recovery point that a drill restores.
    pub point: Option<String>,
}

impl Item {
    /// An item of which nothing is done yet.
    #[must_use]
    pub fn new(run: Uuid, vault: &str, id: String, name: String) -> Item {
        Item {
            run,
            key: occurrence::key(run, &id),
            item: id,
            name,
            vault: vault.to_owned(),
            source: String::new(),
            step: Step::Ready,
            state: State::Scheduled,
            reason: String::new(),
            attempts: 0,
            counted: 0,
            due_at: None,
            sent_at: None,
            keep_until: None,
            doubt: false,
            seen_at: None,
            job_started: None,
            decision: None,
            approval: None,
            asked_at: None,
            waited: 0,
            job: None,
            recovery_point: None,
            point: None,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// In which run.
    pub run: Uuid,
    /// To which item; empty for the run itself.
    pub item: String,
    /// The state after it.
    pub state: State,
    /// What happened, for people.
    pub message: String,
}

/// Where a region's schedule was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything until here is a run.
    pub looked_until: Timestamp,
    /// Whether somebody holds the region.
    pub paused: bool,
}
