//! A medium that fails on demand, and forgets what was not synced.
//!
//! It works on real files and keeps beside them what would survive a power cut: the
//! content of each file at its last good sync, under the names at the last good sync
//! of their directory. After a failed sync the pages are gone and the next sync says
//! Ok, as the kernel does.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Disk, Medium, MediumFile};

/// A call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Write,
    /// Writes half, then fails.
    ShortWrite,
    Sync,
    SyncDir,
    Rename,
    Create,
    SetLen,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) call: Call,
    pub(crate) path: PathBuf,
}

#[derive(Default)]
struct State {
    /// Calls so far, by sort.
    counts: BTreeMap<Call, u64>,
    /// Which call fails, counted from 1, and with what.
    plan: Option<(Call, u64, io::ErrorKind)>,
    /// Whether nothing can be written beyond the end of a file.
    full: bool,
    failed: Option<Failed>,
    /// Content by inode-like identity: files keep it through renames.
    contents: BTreeMap<u64, Vec<u8>>,
    /// What a failed sync lost: place, the byte that was to be written, the byte there.
    lost: BTreeMap<u64, Vec<(usize, u8, u8)>>,
    live: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    next: u64,
}

/// The medium.
#[derive(Clone, Default)]
pub(crate) struct FaultMedium(Arc<Mutex<State>>);

impl FaultMedium {
    /// Lets the `nth` call of a sort fail.
    pub(crate) fn plan(&self, call: Call, nth: u64, kind: io::ErrorKind) {
        let mut state = self.0.lock().unwrap();
        state.counts.clear();
        state.plan = Some((call, nth, kind));
    }

    /// Fills or empties the disk.
    pub(crate) fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// The call that failed, if it did.
    pub(crate) fn failed(&self) -> Option<Failed> {
        self.0.lock().unwrap().failed.clone()
    }

    /// Writes what a power cut leaves into another directory.
    pub(crate) fn crash(&self, from: &Path, to: &Path) {
        let state = self.0.lock().unwrap();
        for (path, id) in &state.durable {
            let target = to.join(path.strip_prefix(from).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            let content = state.contents.get(id).cloned().unwrap_or_default();
            fs::write(target, content).unwrap();
        }
    }

    fn call(&self, call: Call, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let count = state.counts.entry(call).or_default();
        *count += 1;
        let now = *count;
        match state.plan {
            Some((planned, nth, kind)) if planned == call && nth == now => {
                let path = path.to_owned();
                state.failed = Some(Failed { call, path });
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }
}

struct FaultFile {
    medium: FaultMedium,
    inner: Box<dyn MediumFile>,
    path: PathBuf,
    /// Where the bytes are: a rename does not change it.
    handle: fs::File,
    id: u64,
}

impl MediumFile for FaultFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let length = self.handle.metadata()?.len();
        if self.medium.0.lock().unwrap().full && offset + bytes.len() as u64 > length {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Err(error) = self.medium.call(Call::ShortWrite, &self.path) {
            self.inner
                .write_at(bytes.get(..bytes.len() / 2).unwrap(), offset)?;
            return Err(error);
        }
        self.medium.call(Call::Write, &self.path)?;
        let written = self.inner.write_at(bytes, offset)?;
        // What is written again is dirty again, whatever it holds.
        let start = usize::try_from(offset).unwrap();
        let again = start..start + written;
        let mut state = self.medium.0.lock().unwrap();
        let lost = state.lost.entry(self.id).or_default();
        lost.retain(|(at, _, _)| !again.contains(at));
        Ok(written)
    }

    fn sync(&self) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let mut content = vec![0; self.handle.metadata()?.len() as usize];
        self.handle.read_exact_at(&mut content, 0)?;
        let called = self.medium.call(Call::Sync, &self.path);
        let mut state = self.medium.0.lock().unwrap();
        let State { contents, lost, .. } = &mut *state;
        let lost = lost.entry(self.id).or_default();
        if let Err(error) = called {
            // The kernel marks the pages clean: they are never written again.
            let durable = contents.entry(self.id).or_default();
            let there = durable.iter().copied().chain(std::iter::repeat(0));
            let pairs = content.iter().zip(there).enumerate();
            let gone = pairs.filter(|(_, (new, old))| *new != old);
            lost.extend(gone.map(|(at, (new, old))| (at, *new, old)));
            return Err(error);
        }
        for (at, new, old) in lost.iter() {
            if let Some(byte) = content.get_mut(*at).filter(|byte| **byte == *new) {
                *byte = *old;
            }
        }
        contents.insert(self.id, content);
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.medium.call(Call::SetLen, &self.path)?;
        self.inner.set_len(bytes)
    }
}

impl FaultMedium {
    fn wrap(&self, path: &Path, inner: Box<dyn MediumFile>, new: bool) -> Box<dyn MediumFile> {
        let mut state = self.0.lock().unwrap();
        let known = state.live.get(path).copied().filter(|_| !new);
        let id = known.unwrap_or_else(|| {
            state.next += 1;
            let id = state.next;
            if !new {
                // A file of an earlier run: what is there is durable.
                state.contents.insert(id, fs::read(path).unwrap());
                state.durable.insert(path.to_owned(), id);
            }
            state.live.insert(path.to_owned(), id);
            id
        });
        Box::new(FaultFile {
            medium: self.clone(),
            inner,
            path: path.to_owned(),
            handle: fs::File::open(path).unwrap(),
            id,
        })
    }
}

impl Medium for FaultMedium {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        self.call(Call::Create, path)?;
        let inner = Disk.create(path)?;
        Ok(self.wrap(path, inner, true))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        let inner = Disk.open(path)?;
        Ok(self.wrap(path, inner, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, from)?;
        Disk.rename(from, to)?;
        let mut state = self.0.lock().unwrap();
        if let Some(id) = state.live.remove(from) {
            state.live.insert(to.to_owned(), id);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)?;
        self.0.lock().unwrap().live.remove(path);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Call::SyncDir, path)?;
        let mut state = self.0.lock().unwrap();
        let here = |name: &PathBuf| name.parent() == Some(path);
        let mut durable = std::mem::take(&mut state.durable);
        durable.retain(|name, _| !here(name));
        durable.extend(
            state
                .live
                .iter()
                .filter(|(name, _)| here(name))
                .map(|(n, i)| (n.clone(), *i)),
        );
        state.durable = durable;
        Ok(())
    }
}
