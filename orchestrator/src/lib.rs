//! Scheduled backup flows: declared in a file, durable across crashes, and unable to reach Azure
//! except through the gateway.
//!
//! The orchestrator holds no credential that Azure accepts and opens no port. What it may do, the
//! gateway decides for each request; what it did, the gateway records.
//!
//! Read in this order: [`Flow`], [`Schedule`], [`Journal`], [`Engine`].

mod alerts;
pub mod commands;
mod config;
mod duration;
mod engine;
mod flow;
mod gateway;
mod glob;
mod http;
mod journal;
mod occurrence;
mod otlp;
mod problem;
mod retry;
mod schedule;
mod state;
mod token;
mod verdict;

pub use alerts::Alerts;
pub use config::{Config, ConfigError};
pub use duration::Length;
pub use engine::{Clock, Engine, Running, new_run};
pub use flow::{
    Checks, Deadline, Drill, Event, Expected, Flow, Kind, Notify, Pattern, Poll, RecoveryPoint,
    Region, Retry, Target, Tier, Window, Work,
};
pub use gateway::{
    Asked, Gateway, Job, Kept, Opinion, Point, Posture, Protected, Sent, Standing, Trouble,
};
pub use glob::Glob;
pub use http::{FetchError, Http, HttpError};
pub use journal::{
    Cursor, Event as JournalEvent, Item, Journal, JournalError, Lease, Place, Run, Told,
};
pub use occurrence::{asked_run_id, key, run_id};
pub use otlp::Otlp;
pub use problem::{Problem, Rejected};
pub use retry::next as next_attempt;
pub use schedule::{Catchup, Due, Fire, Overlap, Schedule, Shift, cron, zone};
pub use state::{State, StateType, Step, outcome};
pub use token::{Proof, Source, TokenError, Tokens};
pub use verdict::{Refused, Verdict, of as verdict_of};
