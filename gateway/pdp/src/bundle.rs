//! A policy bundle: an OPA bundle, as a folder or packed, read once, whole and strictly.
//!
//! What is digested is what is evaluated: each file is read one time, and nothing
//! in the folder that could pass for policy or data is left out in silence. A
//! bundle says nothing yet of whether its rules are fit to decide; admission does.

mod archive;
mod canonical;
mod data;
mod folder;
mod manifest;
mod tarball;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::digest;
use serde_json::Value;

use crate::problem::{Problem, Rejected, settle};
use manifest::Manifest;

/// Name of the manifest in a bundle.
const MANIFEST: &str = ".manifest";
/// Name of the signatures, which are no part of what they sign.
const SIGNATURES: &str = ".signatures.json";
/// Name of a data document; its folder is its place in `data`.
const DATA: &str = "data.json";
/// Largest Rego file, bytes.
pub(crate) const MAX_REGO: usize = 1 << 20;
/// Largest data document, bytes.
const MAX_DATA: usize = 64 << 20;
/// Largest bundle, bytes.
const MAX_BUNDLE: usize = 128 << 20;
/// Most files of a bundle.
const MAX_FILES: usize = 2_000;

/// Why a bundle could not be loaded: all of it at once.
pub type BundleError = Rejected;

/// The files of a bundle by path, as bytes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A loaded bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    files: BTreeMap<String, String>,
    manifest: Manifest,
    data: Value,
    digest: String,
    signatures: Option<String>,
}

impl Bundle {
    /// Reads the bundle in a folder, or in the gzipped tar archive that OPA ships bundles in.
    pub fn load(dir: &Path) -> Result<Bundle, BundleError> {
        let (bundle, problems) = Bundle::examine(dir);
        settle(problems)?;
        Ok(bundle)
    }

    /// Reads what can be read, with everything that is wrong. A bundle with
    /// problems is good for finding further problems and for nothing else.
    pub(crate) fn examine(dir: &Path) -> (Bundle, Vec<Problem>) {
        let (files, mut problems) = match dir.is_file() {
            true => packed(dir),
            false => folder::read(dir),
        };
        let bundle = Bundle::of(files, &mut problems);
        (bundle, problems)
    }

    /// Reads a gzipped tar archive.
    pub fn from_tarball(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let (files, mut problems) = tarball::read(bytes);
        let bundle = Bundle::of(files, &mut problems);
        settle(problems)?;
        Ok(bundle)
    }

    /// The bundle as OPA ships it, with its signatures. The same bundle gives the same bytes.
    pub fn to_tarball(&self) -> std::io::Result<Vec<u8>> {
        let signatures = self.signatures.as_deref().map(|text| (SIGNATURES, text));
        tarball::write(signatures.into_iter().chain(self.files()))
    }

    /// The text of `.signatures.json`, if there is one. Nobody has verified it.
    pub fn signatures(&self) -> Option<&str> {
        self.signatures.as_deref()
    }

    /// The same bundle with these signatures.
    pub fn with_signatures(&self, signatures: String) -> Bundle {
        Bundle {
            signatures: Some(signatures),
            ..self.clone()
        }
    }

    /// Path of each file with the bytes that a signature is over.
    pub fn signed_files(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.files().map(|(path, text)| {
            let structured = path == MANIFEST || is_data(path);
            // What is no JSON is refused elsewhere, and has no canonical text.
            let canonical = structured
                .then(|| canonical::canonical(text).ok())
                .flatten();
            let bytes = canonical.map_or_else(|| text.as_bytes().to_vec(), String::into_bytes);
            (path, bytes)
        })
    }

    /// The bundle as one file: the same bundle always gives the same bytes.
    pub fn to_archive_bytes(&self) -> Vec<u8> {
        archive::write(&self.files, self.signatures.as_deref())
    }

    /// Reads what [`Bundle::to_archive_bytes`] wrote.
    pub fn from_archive_bytes(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let (files, mut problems) = archive::read(bytes);
        let bundle = Bundle::of(files, &mut problems);
        settle(problems)?;
        Ok(bundle)
    }

    /// The bundle with one file replaced or added: a candidate, to be checked like any other.
    pub fn replacing(&self, path: &str, bytes: Vec<u8>) -> Bundle {
        let files = self.files.iter();
        let mut files: BTreeMap<String, Vec<u8>> = files
            .map(|(path, text)| (path.clone(), text.clone().into_bytes()))
            .collect();
        files.insert(path.to_owned(), bytes);
        Bundle::of(files, &mut Vec::new())
    }

    /// `sha256:<hex>` of the lines `<hex sha256 of the file>  <path>` in the order
    /// of their paths: what `sha256sum` over the sorted files gives.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The name that the bundle gives to its own state.
    pub fn revision(&self) -> &str {
        &self.manifest.revision
    }

    /// Path and text of each file, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rego files that decide: all but tests.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rego().filter(|(path, _)| !is_test(path))
    }

    /// All Rego files.
    pub(crate) fn rego(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| is_rego(path))
    }

    /// The merged data documents.
    pub(crate) fn data(&self) -> &Value {
        &self.data
    }

    /// Whether something at this path (without `data`) belongs to the bundle.
    pub(crate) fn owns(&self, path: &[String]) -> bool {
        self.manifest.owns(path)
    }

    /// The roots that hold neither a package of these nor data.
    pub(crate) fn unused_roots(&self, packages: &[Vec<String>]) -> Vec<String> {
        self.manifest.unused_roots(packages, &self.data)
    }

    pub(crate) fn of(mut files: Files, problems: &mut Vec<Problem>) -> Bundle {
        let signatures = files.remove(SIGNATURES);
        let signatures = signatures.and_then(|bytes| match text_of(SIGNATURES, bytes) {
            Ok(text) => Some(text),
            Err(problem) => {
                problems.push(problem);
                None
            }
        });
        let digest = digest_of(&files);
        let mut texts = BTreeMap::new();
        for (path, bytes) in files {
            match text_of(&path, bytes) {
                Ok(text) => drop(texts.insert(path, text)),
                Err(problem) => problems.push(problem),
            }
        }
        let manifest = Manifest::of(texts.get(MANIFEST).map(String::as_str), problems);
        let documents = texts.iter().filter(|(path, _)| is_data(path));
        let documents = documents.map(|(path, text)| (path.as_str(), text.as_str()));
        let data = data::merge(documents, &manifest, problems);
        Bundle {
            files: texts,
            manifest,
            data,
            digest,
            signatures,
        }
    }
}

/// Reads a packed bundle, as far as its size allows.
fn packed(path: &Path) -> (Files, Vec<Problem>) {
    let read = std::fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_BUNDLE as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) if bytes.len() <= MAX_BUNDLE => tarball::read(&bytes),
        Ok(_) => {
            let message = format!("the archive is larger than {MAX_BUNDLE} bytes");
            (Files::new(), vec![Problem::error(".", None, message)])
        }
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            (Files::new(), vec![Problem::error(".", None, message)])
        }
    }
}

/// Whether a Rego file holds tests: it never decides.
pub(crate) fn is_test(path: &str) -> bool {
    path.ends_with("_test.rego")
}

fn is_rego(path: &str) -> bool {
    path.ends_with(".rego")
}

fn is_data(path: &str) -> bool {
    path == DATA || path.ends_with("/data.json")
}

/// Largest size of the file at this path.
fn size_limit(path: &str) -> usize {
    if is_data(path) { MAX_DATA } else { MAX_REGO }
}

fn text_of(path: &str, bytes: Vec<u8>) -> Result<String, Problem> {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let lines = error.as_bytes().iter().take(good).filter(|b| **b == b'\n');
            let line = u32::try_from(lines.count())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            return Err(
                Problem::error(path, Some(line), "the file is not UTF-8").hint("save it as UTF-8")
            );
        }
    };
    if text.starts_with('\u{feff}') {
        return Err(
            Problem::error(path, Some(1), "the file begins with a byte order mark")
                .hint("save it without one"),
        );
    }
    Ok(text)
}

fn digest_of(files: &Files) -> String {
    let mut whole = digest::Context::new(&digest::SHA256);
    for (path, bytes) in files {
        let file = hex(digest::digest(&digest::SHA256, bytes).as_ref());
        whole.update(format!("{file}  {path}\n").as_bytes());
    }
    format!("sha256:{}", hex(whole.finish().as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
