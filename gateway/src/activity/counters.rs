//! All counters of one principal, agent, person, vault, or of the estate.
//!
//! Only what was ever counted takes memory. Counts in flight are kept apart from
//! those that happened, and are never saved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ActivityEvent;
use super::ring::{Days, Hours, Moment, Series, day_window, month_window};
use vaultgate_arm::Class;

/// Vaults remembered per subject; a count of distinct vaults stops here.
const MAX_VAULTS: usize = 2_048;
/// Names of refused operations remembered per subject.
const MAX_REFUSED: usize = 64;
/// Where further names count.
const OTHER: &str = "other";

/// The counters of one subject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Counters {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    classes: BTreeMap<Class, Series>,
    /// Day on which each class was last allowed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    last_day: BTreeMap<Class, u32>,
    /// Minute in which each vault was last changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vaults: BTreeMap<u64, u32>,
    denied: Series,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<String, Hours>,
    items_weakened: Days,
    retention_days_removed: Days,
    /// Minute of the last change and of the last event of any kind.
    last_change: u32,
    last_seen: u32,
    #[serde(skip)]
    in_flight: InFlight,
}

/// What is reserved and neither committed nor refused yet.
#[derive(Clone, Debug, Default, PartialEq)]
struct InFlight {
    reservations: usize,
    classes: BTreeMap<Class, u64>,
    vaults: BTreeMap<u64, usize>,
    items_weakened: u64,
    retention_days_removed: u64,
}

impl Counters {
    pub(super) fn hold(&mut self, event: &ActivityEvent, at: Moment) {
        self.last_seen = self.last_seen.max(at.minute);
        let held = &mut self.in_flight;
        held.reservations += 1;
        *held.classes.entry(event.class).or_insert(0) += 1;
        if let Some(vault) = event.changed_vault() {
            *held.vaults.entry(vault).or_insert(0) += 1;
        }
        held.items_weakened += u64::from(event.items_weakened);
        held.retention_days_removed += u64::from(event.retention_days_removed);
    }

    pub(super) fn unhold(&mut self, event: &ActivityEvent) {
        let held = &mut self.in_flight;
        held.reservations = held.reservations.saturating_sub(1);
        if let Some(count) = held.classes.get_mut(&event.class) {
            *count = count.saturating_sub(1);
        }
        if let Some(vault) = event.changed_vault()
            && let Some(count) = held.vaults.get_mut(&vault)
        {
            *count = count.saturating_sub(1);
        }
        held.vaults.retain(|_, count| *count > 0);
        held.classes.retain(|_, count| *count > 0);
        let items = u64::from(event.items_weakened);
        held.items_weakened = held.items_weakened.saturating_sub(items);
        let days = u64::from(event.retention_days_removed);
        held.retention_days_removed = held.retention_days_removed.saturating_sub(days);
    }

    pub(super) fn allow(&mut self, event: &ActivityEvent, at: Moment) {
        self.last_seen = self.last_seen.max(at.minute);
        self.classes.entry(event.class).or_default().add(at);
        let last = self.last_day.entry(event.class).or_insert(0);
        *last = at.day().max(*last);
        if event.class.changes() {
            self.last_change = self.last_change.max(at.minute);
        }
        if let Some(vault) = event.changed_vault() {
            self.touch(vault, at);
        }
        if event.items_weakened > 0 {
            self.items_weakened.add(at.day(), event.items_weakened);
        }
        if event.retention_days_removed > 0 {
            let days = event.retention_days_removed;
            self.retention_days_removed.add(at.day(), days);
        }
    }

    pub(super) fn deny(&mut self, operation: &str, at: Moment) {
        self.last_seen = self.last_seen.max(at.minute);
        self.denied.add(at);
        let known = self.refused.contains_key(operation);
        let name = if known || self.refused.len() < MAX_REFUSED {
            operation
        } else {
            OTHER
        };
        self.refused
            .entry(name.to_owned())
            .or_default()
            .add(at.hour(), 1);
    }

    fn touch(&mut self, vault: u64, at: Moment) {
        let last = self.vaults.entry(vault).or_insert(0);
        *last = at.minute.max(*last);
        if self.vaults.len() > MAX_VAULTS {
            let oldest = self.vaults.iter().min_by_key(|(_, last)| **last);
            if let Some(oldest) = oldest.map(|(vault, _)| *vault) {
                self.vaults.remove(&oldest);
            }
        }
    }

    /// How often a class was allowed in an hour, a day and thirty days, with what is
    /// in flight.
    pub(super) fn class(&self, class: Class, at: Moment) -> (u64, u64, u64) {
        let held = self.in_flight.classes.get(&class).copied().unwrap_or(0);
        match self.classes.get(&class) {
            Some(series) => (
                series.hour(at) + held,
                series.day(at) + held,
                series.month(at) + held,
            ),
            None => (held, held, held),
        }
    }

    /// Whether the class was never allowed in the last ninety days. What is in flight
    /// does not count: it may yet be refused.
    pub(super) fn first_in_90d(&self, class: Class, at: Moment) -> bool {
        let last = self.last_day.get(&class);
        last.is_none_or(|last| *last < at.day().saturating_sub(90))
    }

    /// Distinct vaults changed in an hour and in a day, with those in flight.
    pub(super) fn vaults(&self, at: Moment) -> (u64, u64) {
        let held = &self.in_flight.vaults;
        let count = |within: &dyn Fn(u32) -> bool| {
            let touched = self.vaults.iter();
            let touched =
                touched.filter(|(vault, last)| within(**last) && !held.contains_key(vault));
            (touched.count() + held.len()) as u64
        };
        let hour = count(&|last| last >= at.minute.saturating_sub(60));
        let day = count(&|last| last / 60 >= day_window(at));
        (hour, day)
    }

    /// Refused attempts in an hour and in a day.
    pub(super) fn denied(&self, at: Moment) -> (u64, u64) {
        (self.denied.hour(at), self.denied.day(at))
    }

    /// Refused attempts in a day, by name of the operation.
    pub(super) fn refused(&self, at: Moment) -> BTreeMap<String, u64> {
        let sums = self.refused.iter();
        sums.map(|(name, hours)| (name.clone(), hours.sum(day_window(at))))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Items weakened in thirty days, with what is in flight.
    pub(super) fn items_weakened(&self, at: Moment) -> u64 {
        self.items_weakened.sum(month_window(at)) + self.in_flight.items_weakened
    }

    /// Days of retention removed in thirty days, with what is in flight.
    pub(super) fn retention_days_removed(&self, at: Moment) -> u64 {
        let happened = self.retention_days_removed.sum(month_window(at));
        happened + self.in_flight.retention_days_removed
    }

    pub(super) fn is_held(&self) -> bool {
        self.in_flight.reservations > 0
    }

    /// Whether nothing was ever counted or reserved here.
    pub(super) fn is_blank(&self) -> bool {
        !self.is_held() && self.classes.is_empty() && self.refused.is_empty()
    }

    /// How much would be lost with these counters, least first: first those that
    /// never changed anything, then by how long ago it was.
    pub(super) fn worth(&self) -> (u32, u32) {
        (self.last_change, self.last_seen)
    }

    /// Drops refused operations whose day is over.
    pub(super) fn tidy(&mut self, at: Moment) {
        self.refused
            .retain(|_, hours| hours.sum(day_window(at)) > 0);
    }
}
