//! What can be checked before a port is bound: certificates, bundle, log, keys.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use vaultgate_decision_log::{DecisionLog, LogOptions, Opened, SigningKey};
use vaultgate_pdp::Limits;

use crate::config::{Config, Log, Policy, Problems};
use crate::listener::Tls;
use crate::policy_source;

/// Bytes that may wait for the disk before appends are refused.
const QUEUE_BYTES: usize = 16 << 20;

/// Every problem of what the configuration points at.
pub(crate) fn preflight(config: &Config) -> Problems {
    let mut problems = Problems::default();
    if let Err(error) = Tls::load(&config.listener) {
        problems.add(
            "listener.certificate",
            error.to_string(),
            "give a PEM chain and the private key that belongs to it",
        );
    }
    // What a service has not sent yet is tried when it comes.
    let to_come = config.policy.service.is_some() && !config.policy.dir.exists();
    let tried = match to_come {
        true => Ok(()),
        false => policy_source::try_in_child(&config.policy.dir),
    };
    if let Err(error) = tried {
        problems.add(
            "policy.dir",
            error.to_string(),
            format!(
                "run `vaultgate policy check {}`",
                config.policy.dir.display()
            ),
        );
    }
    if config.log.key.exists()
        && let Err(error) = SigningKey::load(&config.log.key)
    {
        problems.add(
            "log.key",
            error.to_string(),
            "restore the key, or move it aside",
        );
    }
    // Made at the first start; a check makes nothing.
    if config.custody.key.exists()
        && let Err(error) = crate::custody::Custody::open(&config.custody.key)
    {
        problems.add(
            "custody.key",
            error.to_string(),
            "restore the file, or move it aside",
        );
    }
    if let Err(error) = writable(&config.log.dir) {
        problems.add(
            "log.dir",
            format!("cannot use `{}`: {error}", config.log.dir.display()),
            "check the path and its permissions",
        );
    }
    problems
}

/// Whether a folder can be written to, or made.
fn writable(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|path| path.exists());
    let there = there.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if !there.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    if there.metadata()?.permissions().readonly() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(())
}

/// Opens the decision log with its key; the public half is written beside the key.
pub(crate) fn open_log(
    settings: &Log,
    declare_fork: Option<String>,
) -> anyhow::Result<(DecisionLog, Opened)> {
    let key = if settings.key.exists() {
        SigningKey::load(&settings.key)?
    } else {
        SigningKey::generate(&settings.key, &settings.origin)?
    };
    publish_key(settings, &key)?;
    let options = LogOptions {
        segment_bytes: settings.segment_bytes,
        emergency_bytes: settings.emergency_bytes,
        queue_bytes: QUEUE_BYTES,
        checkpoint_every: settings.checkpoint_every,
        anchors: settings.anchor_files.clone(),
        declare_fork,
        ..LogOptions::new(&settings.dir, &settings.origin, Timestamp::now)
    };
    DecisionLog::open(options, key).context("the decision log cannot be opened")
}

/// Writes the verifier key to `<key>.pub`: copy it to whoever verifies the log.
pub(crate) fn publish_key(settings: &Log, key: &SigningKey) -> anyhow::Result<()> {
    let mut path = settings.key.clone().into_os_string();
    path.push(".pub");
    std::fs::write(&path, format!("{}\n", key.vkey()))
        .with_context(|| format!("cannot write `{}`", path.to_string_lossy()))
}

/// Limits of an evaluation.
pub(crate) fn policy_limits(settings: &Policy) -> Limits {
    Limits {
        time_limit: settings.time_limit,
        machine: settings.machine,
        ..Limits::default()
    }
}
