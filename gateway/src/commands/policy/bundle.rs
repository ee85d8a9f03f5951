//! `vaultgate policy bundle build | sign | inspect` and `policy rollback`: bundles as OPA ships
//! them, and those that were active before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use vaultgate_decision_log::read::Records;
use vaultgate_decision_log::{Digest, blob};
use vaultgate_pdp::Bundle;

use crate::bundle_keys::{self, BundleKeys};
use crate::commands::{FAILED, complain, say};

#[derive(Subcommand)]
pub(crate) enum BundleVerb {
    /// Pack a folder as OPA ships bundles; signed, if a key is given
    Build {
        /// Folder of the bundle
        dir: PathBuf,
        /// File to write, `….tar.gz`
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        signer: Signer,
    },
    /// Sign a packed bundle or a folder
    Sign {
        /// Folder or archive
        bundle: PathBuf,
        /// File to write, `….tar.gz`
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        signer: Signer,
    },
    /// Tell what a bundle holds, and verify its signature if a key is given
    Inspect {
        /// Folder or archive
        bundle: PathBuf,
        /// Public key, PEM
        #[arg(long, value_name = "FILE")]
        verification_key: Option<PathBuf>,
        /// Id of the key
        #[arg(long, value_name = "ID", default_value = "default")]
        key_id: String,
        /// Algorithm of the key
        #[arg(long, value_name = "NAME", default_value = "ES256")]
        algorithm: String,
        /// Scope that it must be signed for
        #[arg(long)]
        scope: Option<String>,
    },
}

/// Who signs.
#[derive(Args)]
pub(crate) struct Signer {
    /// Private key, PEM
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Id of the key
    #[arg(long, value_name = "ID", default_value = "default")]
    key_id: String,
    /// Algorithm of the key
    #[arg(long, value_name = "NAME", default_value = "ES256")]
    algorithm: String,
    /// Scope that it is signed for
    #[arg(long)]
    scope: Option<String>,
}

pub(crate) fn run(verb: BundleVerb) -> anyhow::Result<u8> {
    match verb {
        BundleVerb::Build {
            dir,
            output,
            signer,
        } => pack(&dir, &output, &signer),
        BundleVerb::Sign {
            bundle,
            output,
            signer,
        } => {
            if signer.signing_key.is_none() {
                bail!("with which key? hint: `--signing-key FILE`");
            }
            pack(&bundle, &output, &signer)
        }
        BundleVerb::Inspect {
            bundle,
            verification_key,
            key_id,
            algorithm,
            scope,
        } => {
            let mut keys = BundleKeys::new(scope);
            if let Some(path) = &verification_key {
                let pem = std::fs::read(path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                keys.add(&key_id, &algorithm, &pem)?;
            }
            inspect(&bundle, verification_key.is_some().then_some(&keys))
        }
    }
}

fn pack(from: &Path, output: &Path, signer: &Signer) -> anyhow::Result<u8> {
    let mut bundle = Bundle::load(from)?;
    if let Some(key) = &signer.signing_key {
        let scope = signer.scope.clone();
        let signed = bundle_keys::sign(&bundle, key, &signer.algorithm, &signer.key_id, scope)?;
        bundle = bundle.with_signatures(signed);
    }
    whole(output, &bundle.to_tarball()?)?;
    say(&format!(
        "`{}`: revision {}, {}{}",
        output.display(),
        bundle.revision(),
        bundle.digest(),
        if bundle.signatures().is_some() {
            ", signed"
        } else {
            ""
        }
    ));
    Ok(0)
}

fn inspect(path: &Path, keys: Option<&BundleKeys>) -> anyhow::Result<u8> {
    let bundle = Bundle::load(path)?;
    say(&format!("revision {}", bundle.revision()));
    say(&format!("digest {}", bundle.digest()));
    for (file, text) in bundle.files() {
        say(&format!("{:>9}  {file}", text.len()));
    }
    match (keys, bundle.signatures().is_some()) {
        (None, true) => say("signed; not verified: give `--verification-key`"),
        (None, false) => say("not signed"),
        (Some(keys), _) => match keys.verify(&bundle) {
            Ok(()) => say("the signature holds"),
            Err(error) => {
                complain(&error.to_string());
                return Ok(FAILED);
            }
        },
    }
    Ok(0)
}

/// Puts a bundle back that was active before: by its revision or its digest, from what is kept
/// beside the log.
pub(super) fn rollback(name: Option<&str>, log: &Path, into: Option<&Path>) -> anyhow::Result<u8> {
    let formers = activated(log)?;
    let Some(name) = name else {
        for former in &formers {
            say(&format!(
                "{}  {}  {}",
                former.time, former.revision, former.digest
            ));
        }
        return Ok(0);
    };
    let named = |former: &&Former| former.revision == name || former.digest == name;
    let Some(former) = formers.iter().rev().find(named) else {
        complain(&format!(
            "no bundle `{name}` was ever active here; hint: without a name they are listed"
        ));
        return Ok(FAILED);
    };
    let into = into.context("where to? hint: `--into` the folder or archive of `policy.dir`")?;
    let digest = Digest::parse(&former.archive).context("the record names no kept bundle")?;
    let bundle = Bundle::from_archive_bytes(&blob::read(log, &digest)?)?;
    anyhow::ensure!(
        bundle.digest() == former.digest,
        "what is kept is not the bundle that was active: {}",
        bundle.digest()
    );
    match into.is_dir() {
        true => unpack(&bundle, into)?,
        false => whole(into, &bundle.to_tarball()?)?,
    }
    say(&format!(
        "`{}` holds revision {} of {} again, {}",
        into.display(),
        former.revision,
        former.time,
        former.digest
    ));
    Ok(0)
}

/// A bundle that was active.
struct Former {
    time: String,
    revision: String,
    digest: String,
    archive: String,
}

fn activated(log: &Path) -> anyhow::Result<Vec<Former>> {
    let mut formers = Vec::new();
    for line in Records::open(log, 0)? {
        let line = line?;
        // Few records are of policy.
        let Some(head) = line.head().filter(|head| head.kind == "policy") else {
            continue;
        };
        let time = head.time.to_owned();
        let record: Value = serde_json::from_slice(&line.leaf)?;
        let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
        if text("event").as_deref() != Some("activated") {
            continue;
        }
        if let (Some(revision), Some(digest), Some(archive)) =
            (text("revision"), text("bundle"), text("archive"))
        {
            formers.push(Former {
                time,
                revision,
                digest,
                archive,
            });
        }
    }
    Ok(formers)
}

/// Writes the files of a bundle over those of a folder, the manifest last: a gateway that looks
/// meanwhile finds a bundle that it does not take, or the whole one.
fn unpack(bundle: &Bundle, dir: &Path) -> anyhow::Result<()> {
    let mut kept: BTreeSet<PathBuf> = bundle.files().map(|(path, _)| dir.join(path)).collect();
    if bundle.signatures().is_some() {
        kept.insert(dir.join(".signatures.json"));
    }
    // Whatever could pass for a part of a bundle, whether the folder is one or not.
    for path in parts(dir)? {
        if !kept.contains(&path) {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
    }
    let signatures = bundle.signatures().map(|text| (".signatures.json", text));
    let (manifest, files): (Vec<_>, Vec<_>) = bundle
        .files()
        .chain(signatures)
        .partition(|(path, _)| *path == ".manifest");
    for (path, text) in files.into_iter().chain(manifest) {
        let place = dir.join(path);
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)?;
        }
        whole(&place, text.as_bytes())?;
    }
    let now = Bundle::load(dir)?;
    anyhow::ensure!(
        now.digest() == bundle.digest(),
        "the folder holds something else beside the bundle: it is {} now",
        now.digest()
    );
    Ok(())
}

/// Files below a folder that are read as parts of a bundle.
fn parts(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_part = name.ends_with(".rego")
                || matches!(
                    name.as_str(),
                    "data.json" | ".manifest" | ".signatures.json"
                );
            if entry.file_type()?.is_dir() && !name.starts_with('.') {
                open.push(entry.path());
            } else if is_part {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Writes a file so that it is there whole or not at all.
fn whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write `{}`", path.display()))
}
