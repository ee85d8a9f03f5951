//! Reading a bundle's folder: bounded, inside the folder only, nothing guessed.
//!
//! Hidden names are not part of a bundle (editors and Kubernetes volumes put
//! things there), except the manifest. A link counts as the file it leads to, if
//! that is inside the folder: a link that leads out would put a file under a
//! digest that somebody else can change.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{Files, MANIFEST, MAX_BUNDLE, MAX_FILES, SIGNATURES, is_data, is_rego, size_limit};
use crate::problem::Problem;

/// Deepest folder of a bundle.
const MAX_DEPTH: usize = 16;

/// Reads the files of a bundle.
pub(super) fn read(dir: &Path) -> (Files, Vec<Problem>) {
    let mut walk = Walk::default();
    match fs::canonicalize(dir) {
        Ok(root) => {
            walk.root = root.clone();
            walk.folder(&root, "", 0);
        }
        Err(error) => {
            let message = format!("cannot read the folder `{}`: {error}", dir.display());
            walk.problems.push(Problem::error(".", None, message));
        }
    }
    (walk.files, walk.problems)
}

#[derive(Default)]
struct Walk {
    root: PathBuf,
    files: Files,
    bytes: usize,
    full: bool,
    problems: Vec<Problem>,
}

impl Walk {
    fn complain(&mut self, file: &str, message: impl Into<String>, hint: &str) {
        let problem = Problem::error(file, None, message);
        self.problems.push(problem.hint(hint));
    }

    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) {
        if depth > MAX_DEPTH {
            self.complain(prefix, "the folder lies too deep", "flatten the bundle");
            return;
        }
        let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let shown = if prefix.is_empty() { "." } else { prefix };
                self.complain(
                    shown,
                    format!("cannot read it: {error}"),
                    "check its rights",
                );
                return;
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            self.entry(&entry, prefix, depth);
        }
    }

    fn entry(&mut self, entry: &fs::DirEntry, prefix: &str, depth: usize) {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let shown = format!("{prefix}{}", name.to_string_lossy());
            self.complain(&shown, "the name is not UTF-8", "rename it");
            return;
        };
        let path = format!("{prefix}{name}");
        if name.starts_with('.') && path != MANIFEST && path != SIGNATURES {
            return;
        }
        match self.kind(entry, &path) {
            Some(Kind::Folder) => self.folder(&entry.path(), &format!("{path}/"), depth + 1),
            Some(Kind::File) => self.file(&entry.path(), path),
            None => {}
        }
    }

    /// What an entry is, links followed as far as the bundle reaches.
    fn kind(&mut self, entry: &fs::DirEntry, path: &str) -> Option<Kind> {
        let plain = match entry.file_type() {
            Ok(plain) => plain,
            Err(error) => {
                self.complain(
                    path,
                    format!("cannot look at it: {error}"),
                    "check its rights",
                );
                return None;
            }
        };
        if !plain.is_symlink() {
            if plain.is_dir() {
                return Some(Kind::Folder);
            }
            if !plain.is_file() {
                self.complain(path, "it is neither a file nor a folder", "remove it");
                return None;
            }
            return Some(Kind::File);
        }
        let target = fs::canonicalize(entry.path());
        match target {
            Ok(target) if !target.starts_with(&self.root) => {
                self.complain(
                    path,
                    "the link leads out of the bundle",
                    "copy the file here",
                );
                None
            }
            Ok(target) if target.is_file() => Some(Kind::File),
            Ok(_) => {
                self.complain(
                    path,
                    "the link does not lead to a file",
                    "copy the folder here",
                );
                None
            }
            Err(error) => {
                self.complain(
                    path,
                    format!("the link leads nowhere: {error}"),
                    "remove it",
                );
                None
            }
        }
    }

    fn file(&mut self, at: &Path, path: String) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let known = path == MANIFEST || path == SIGNATURES || is_rego(&path) || is_data(&path);
        if !known {
            if !is_reading_matter(name) {
                self.complain(
                    &path,
                    "a bundle has no such file, and it would be left out",
                    "a bundle holds `.manifest`, `*.rego`, `data.json` and text such as `*.md`",
                );
            }
            return;
        }
        if path.chars().any(char::is_control) {
            self.complain(&path, "the name holds a control character", "rename it");
            return;
        }
        self.take(at, path);
    }

    fn take(&mut self, at: &Path, path: String) {
        let most = size_limit(&path);
        let bytes = match read_bounded(at, most) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let message = format!("the file is larger than {most} bytes");
                self.complain(&path, message, "split it");
                return;
            }
            Err(error) => {
                self.complain(
                    &path,
                    format!("cannot read it: {error}"),
                    "check its rights",
                );
                return;
            }
        };
        self.bytes += bytes.len();
        if self.bytes > MAX_BUNDLE || self.files.len() >= MAX_FILES {
            if !self.full {
                self.full = true;
                let message =
                    format!("the bundle has more than {MAX_FILES} files or {MAX_BUNDLE} bytes");
                self.complain(".", message, "split it");
            }
            return;
        }
        self.files.insert(path, bytes);
    }
}

enum Kind {
    Folder,
    File,
}

/// Text for people: the one thing that a bundle may hold beside policy.
fn is_reading_matter(name: &str) -> bool {
    name.ends_with(".md") || name.ends_with(".txt") || name == "LICENSE"
}

/// The file's bytes; none when there are more than `most`.
fn read_bounded(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= most).then_some(bytes))
}
