//! Counters by key, with a bound on the number of keys.
//!
//! When it is full, the keys that are worth least make way: those that never changed
//! anything first, then those idle longest. Never one with a request in flight, so
//! the bound may be passed for a moment by as many keys as there are requests.

use std::collections::HashMap;
use std::sync::Arc;

use super::counters::Counters;

/// Counters by key. Rows are shared with snapshots until they change.
pub(super) struct Table {
    rows: HashMap<String, Arc<Counters>>,
    max_keys: usize,
}

impl Table {
    pub(super) fn new(max_keys: usize) -> Table {
        Table {
            rows: HashMap::new(),
            max_keys,
        }
    }

    /// The row of a key, if there is one.
    pub(super) fn row(&self, key: &str) -> Option<&Counters> {
        self.rows.get(key).map(Arc::as_ref)
    }

    /// The row of a key, made when there is none.
    pub(super) fn row_mut(&mut self, key: &str) -> &mut Counters {
        if !self.rows.contains_key(key) && self.rows.len() >= self.max_keys {
            self.make_room();
        }
        Arc::make_mut(self.rows.entry(key.to_owned()).or_default())
    }

    pub(super) fn forget_if_blank(&mut self, key: &str) {
        if self.row(key).is_some_and(Counters::is_blank) {
            self.rows.remove(key);
        }
    }

    /// Changes every row.
    pub(super) fn each(&mut self, mut change: impl FnMut(&mut Counters)) {
        for row in self.rows.values_mut() {
            change(Arc::make_mut(row));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows, as they are now.
    pub(super) fn share(&self) -> HashMap<String, Arc<Counters>> {
        self.rows.clone()
    }

    pub(super) fn replace(&mut self, rows: HashMap<String, Arc<Counters>>) {
        self.rows = rows;
    }

    /// Drops one in a hundred at once: looking through all keys for each newcomer
    /// would let a flood of newcomers hold the lock.
    fn make_room(&mut self) {
        let count = (self.max_keys / 100).max(1);
        let mut idle: Vec<((u32, u32), &String)> = self
            .rows
            .iter()
            .filter(|(_, row)| !row.is_held())
            .map(|(key, row)| (row.worth(), key))
            .collect();
        if idle.len() > count {
            idle.select_nth_unstable(count);
            idle.truncate(count);
        }
        let leaving: Vec<String> = idle.into_iter().map(|(_, key)| key.clone()).collect();
        for key in leaving {
            self.rows.remove(&key);
        }
    }
}
