//! Space prepared ahead: the next segment, and the emergency segment.
//!
//! Both are files full of zeros, synced, so that a commit never extends a file and
//! never meets a full disk halfway. When one of them cannot be made the disk is
//! short: reads and snapshots are refused then, restores and approvals go on, first
//! in the rest of the segment in use, then in the emergency segment.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Space, hold};
use crate::medium::{Failure, Medium, MediumFile, zeroed};
use crate::open::LogOptions;

/// Directory of the next segment.
pub(crate) const SPARE: &str = "spare";
/// Directory of the emergency segment.
pub(crate) const EMERGENCY: &str = "emergency";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The emergency segment. First: it matters more.
    Reserve,
    /// The next segment.
    Next,
}

/// A prepared file.
pub(super) struct Prepared {
    pub(super) file: Box<dyn MediumFile>,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

enum Slot {
    /// Switched off by the options.
    Off,
    /// Being made, or about to be.
    Wanted,
    Ready(Box<dyn MediumFile>),
    Failed(String),
}

struct Slots {
    next: Slot,
    reserve: Slot,
    reserve_in_use: bool,
}

/// The prepared files of a log.
pub(super) struct Spares {
    slots: Mutex<Slots>,
    changed: Condvar,
    short: AtomicBool,
    dir: PathBuf,
    segment_bytes: u64,
    reserve_bytes: u64,
}

impl Spares {
    /// What an earlier run left: its emergency segment, if whole. The next segment
    /// is always made anew.
    pub(super) fn new(medium: &dyn Medium, options: &LogOptions) -> Spares {
        let path = reserve_path(&options.dir);
        let whole = fs::metadata(&path).is_ok_and(|file| file.len() == options.emergency_bytes);
        let reserve = match (options.emergency_bytes, whole) {
            (0, _) => Slot::Off,
            (_, true) => medium.open(&path).map_or(Slot::Wanted, Slot::Ready),
            (_, false) => Slot::Wanted,
        };
        Spares {
            slots: Mutex::new(Slots {
                next: Slot::Wanted,
                reserve,
                reserve_in_use: false,
            }),
            changed: Condvar::new(),
            short: AtomicBool::new(false),
            dir: options.dir.clone(),
            segment_bytes: options.segment_bytes,
            reserve_bytes: options.emergency_bytes,
        }
    }

    /// Whether only restores and approvals may be taken.
    pub(super) fn short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    pub(super) fn space(&self) -> Space {
        match (self.short(), hold(&self.slots).reserve_in_use) {
            (false, _) => Space::Ample,
            (true, false) => Space::Low,
            (true, true) => Space::Emergency,
        }
    }

    /// What the system said when a file could not be made.
    pub(super) fn error(&self) -> Option<String> {
        let slots = hold(&self.slots);
        [&slots.reserve, &slots.next]
            .into_iter()
            .find_map(|slot| match slot {
                Slot::Failed(reason) => Some(reason.clone()),
                Slot::Off | Slot::Wanted | Slot::Ready(_) => None,
            })
    }

    /// Wants again what failed or was used; tells what is to be made.
    pub(super) fn want(&self) -> Vec<Which> {
        let mut slots = hold(&self.slots);
        let mut wanted = Vec::new();
        for which in [Which::Reserve, Which::Next] {
            let slot = slots.slot(which);
            if matches!(slot, Slot::Failed(_)) {
                *slot = Slot::Wanted;
            }
            if matches!(slot, Slot::Wanted) {
                wanted.push(which);
            }
        }
        wanted
    }

    /// Makes a file if it is wanted. Runs on the second thread: a first version
    /// that zeroed in the commit path cost two thirds of the throughput.
    pub(super) fn prepare(&self, medium: &dyn Medium, which: Which) -> Result<(), Failure> {
        if !matches!(hold(&self.slots).slot(which), Slot::Wanted) {
            return Ok(());
        }
        let made = match which {
            Which::Next => zeroed(medium, &next_path(&self.dir), self.segment_bytes),
            Which::Reserve => self.make_reserve(medium),
        };
        let (slot, result) = match made {
            Ok(file) => (Slot::Ready(file), Ok(())),
            Err(failure) => {
                let half = match which {
                    Which::Next => next_path(&self.dir),
                    Which::Reserve => reserve_path(&self.dir).with_extension("new"),
                };
                // Gives back the space that it took in vain; best effort.
                let _ = medium.remove(&half);
                (Slot::Failed(failure.to_string()), Err(failure))
            }
        };
        let mut slots = hold(&self.slots);
        *slots.slot(which) = slot;
        slots.reserve_in_use &= which == Which::Next || result.is_err();
        // Short at once; ample only when nothing is still being made.
        if slots.failed() || !slots.wanted() {
            self.short.store(slots.failed(), Ordering::Release);
        }
        drop(slots);
        self.changed.notify_all();
        result
    }

    fn make_reserve(&self, medium: &dyn Medium) -> Result<Box<dyn MediumFile>, Failure> {
        let path = reserve_path(&self.dir);
        let temporary = path.with_extension("new");
        let file = zeroed(medium, &temporary, self.reserve_bytes)?;
        medium.rename(&temporary, &path).map_err(Failure::Write)?;
        medium
            .sync_dir(&self.dir.join(EMERGENCY))
            .map_err(Failure::Sync)?;
        Ok(file)
    }

    /// Takes the next segment, waiting while it is being made; none when it could
    /// not be. `gone` ends the waiting when the other thread cannot make it any more.
    pub(super) fn take_next(&self, gone: impl Fn() -> bool) -> Option<Prepared> {
        let mut slots = hold(&self.slots);
        while matches!(slots.next, Slot::Wanted) && !gone() {
            let waited = self.changed.wait_timeout(slots, Duration::from_secs(1));
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let file = slots.next.take()?;
        Some(Prepared {
            file,
            path: next_path(&self.dir),
            bytes: self.segment_bytes,
        })
    }

    /// Takes the emergency segment, if it is there.
    pub(super) fn take_reserve(&self) -> Option<Prepared> {
        let mut slots = hold(&self.slots);
        let file = slots.reserve.take()?;
        slots.reserve_in_use = true;
        Some(Prepared {
            file,
            path: reserve_path(&self.dir),
            bytes: self.reserve_bytes,
        })
    }
}

impl Slots {
    fn slot(&mut self, which: Which) -> &mut Slot {
        match which {
            Which::Next => &mut self.next,
            Which::Reserve => &mut self.reserve,
        }
    }

    fn failed(&self) -> bool {
        matches!(self.next, Slot::Failed(_)) || matches!(self.reserve, Slot::Failed(_))
    }

    fn wanted(&self) -> bool {
        matches!(self.next, Slot::Wanted) || matches!(self.reserve, Slot::Wanted)
    }
}

impl Slot {
    /// Takes the file and wants another.
    fn take(&mut self) -> Option<Box<dyn MediumFile>> {
        match std::mem::replace(self, Slot::Wanted) {
            Slot::Ready(file) => Some(file),
            other => {
                *self = other;
                None
            }
        }
    }
}

pub(super) fn next_path(dir: &Path) -> PathBuf {
    dir.join(SPARE).join("next")
}

pub(super) fn reserve_path(dir: &Path) -> PathBuf {
    dir.join(EMERGENCY).join("reserve")
}
