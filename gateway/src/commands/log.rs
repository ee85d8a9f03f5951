//! `vaultgate log tail | show | verify | rotate-key | fork`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;
use vaultgate_decision_log::read::{Follow, Line, Records, find};
use vaultgate_decision_log::verify::{self, VerifyError};
use vaultgate_decision_log::{SigningKey, VerifierKey};

use super::{FAILED, complain, say};
use crate::config::Config;
use crate::serving;

#[derive(Subcommand)]
pub(crate) enum LogVerb {
    /// Print records as they are written
    Tail {
        /// Folder of the log
        dir: PathBuf,
        /// Begin with this sequence number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        from: u64,
        /// Wait for further records
        #[arg(long)]
        follow: bool,
        /// Print whole records instead of one line for each
        #[arg(long)]
        json: bool,
    },
    /// Print the records of a decision: itself and what followed from it
    Show {
        /// Id of the decision
        id: String,
        /// Folder of the log
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Verify a log offline with a key kept elsewhere
    #[command(
        after_help = "Exit codes: 0 verified and anchored, 3 verified but nothing kept \
        outside covers it, 1 broken or not readable."
    )]
    Verify {
        /// Folder of the log
        dir: PathBuf,
        /// Verifier key, `name+hash+base64`: never taken from the log's folder
        #[arg(long, value_name = "VKEY")]
        key: String,
        /// File with checkpoints or receipts that left the gateway; may be repeated
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
    },
    /// Hand the log over to a new signing key; the old key signs the change
    RotateKey {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Accept a log that is shorter than its newest checkpoint, and record why
    Fork {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Why records are missing
        #[arg(long)]
        reason: String,
    },
}

pub(crate) fn run(verb: LogVerb) -> anyhow::Result<u8> {
    match verb {
        LogVerb::Tail {
            dir,
            from,
            follow,
            json,
        } => tail(&dir, from, follow, json),
        LogVerb::Show { id, dir } => show(&dir, &id),
        LogVerb::Verify { dir, key, anchor } => check(&dir, &key, &anchor),
        LogVerb::RotateKey { config } => rotate(&config),
        LogVerb::Fork { config, reason } => fork(&config, reason),
    }
}

fn tail(dir: &Path, from: u64, follow: bool, json: bool) -> anyhow::Result<u8> {
    let mut reader = Follow::from(dir, from)?;
    loop {
        let records = reader.step()?;
        for record in &records {
            say(&if json { text(record) } else { one_line(record) });
        }
        if records.is_empty() {
            if !follow {
                return Ok(0);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn show(dir: &Path, id: &str) -> anyhow::Result<u8> {
    let Some(record) = find(dir, id)? else {
        complain(&format!(
            "no record has the id `{id}`; hint: `vaultgate log tail {}` lists them",
            dir.display()
        ));
        return Ok(FAILED);
    };
    say(&pretty(&record));
    // What followed from a decision stands behind it.
    let needle = format!("\"decision\":\"{id}\"");
    for record in Records::open(dir, record.seq + 1)? {
        let record = record?;
        if text(&record).contains(&needle) {
            say(&pretty(&record));
        }
    }
    Ok(0)
}

fn check(dir: &Path, key: &str, anchors: &[PathBuf]) -> anyhow::Result<u8> {
    let key = VerifierKey::parse(key)?;
    let verified = verify::verify(dir, &key, anchors);
    let code = verify::exit_code(&verified);
    match verified {
        Ok(report) => {
            say(&format!(
                "{} records verified, root {}",
                report.size, report.root
            ));
            if let (Some(first), Some(last)) = (&report.first_time, &report.last_time) {
                say(&format!("from {first} to {last}"));
            }
            for change in &report.key_changes {
                say(&format!(
                    "key changed at record {}: {}",
                    change.seq, change.to
                ));
            }
            for fork in &report.forks {
                say(&format!(
                    "a fork was declared at record {}: {}",
                    fork.seq, fork.reason
                ));
            }
            if report.torn_bytes > 0 {
                say(&format!(
                    "{} bytes of an unfinished record",
                    report.torn_bytes
                ));
            }
            match report.anchored_to {
                Some(size) => say(&format!("the first {size} records are anchored outside")),
                None => say("nothing kept outside covers this log"),
            }
            if let Some(since) = &report.tail_unanchored_since {
                say(&format!("tail not anchored since {since}"));
            }
        }
        Err(VerifyError::Broken(broken)) => say(&format!(
            "BROKEN, first bad sequence number {}: {}",
            broken.first_bad_seq, broken.what
        )),
        Err(error) => say(&format!("BROKEN: {error}")),
    }
    Ok(code)
}

fn rotate(path: &Path) -> anyhow::Result<u8> {
    let config = load(path)?;
    let (log, _) = serving::open_log(&config.log, None)?;
    let aside = config.log.key.with_extension("next");
    let new = SigningKey::generate(&aside, &config.log.origin)?;
    let vkey = new.vkey();
    let signed = log.rotate_key(new)?;
    log.close()?;
    // The hand-over is durable: only now does the new key take the old one's place.
    std::fs::rename(&config.log.key, config.log.key.with_extension("old"))?;
    std::fs::rename(&aside, &config.log.key)?;
    serving::publish_key(&config.log, &SigningKey::load(&config.log.key)?)?;
    say(&format!("new key {vkey}"));
    say(&format!(
        "signed by the old key; checkpoint of {} records",
        signed.head.size
    ));
    Ok(0)
}

fn fork(path: &Path, reason: String) -> anyhow::Result<u8> {
    let config = load(path)?;
    let (log, opened) = serving::open_log(&config.log, Some(reason))?;
    match opened.forked_from {
        Some(size) => say(&format!(
            "fork recorded: a log of {size} records was given up, it goes on with {}",
            opened.size
        )),
        None => say("no checkpoint contradicts this log: there is no fork to declare"),
    }
    log.close()?;
    Ok(0)
}

fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path)
        .map_err(|rejected| anyhow::anyhow!(rejected.render(&path.display().to_string())))
}

fn text(record: &Line) -> String {
    String::from_utf8_lossy(&record.leaf).into_owned()
}

fn pretty(record: &Line) -> String {
    match serde_json::from_slice::<Value>(&record.leaf) {
        Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
        Err(_) => text(record),
    }
}

/// A record as one line for people. Strings of callers are shown escaped: a
/// terminal must not obey what an attacker put into a name.
fn one_line(record: &Line) -> String {
    let seq = record.seq;
    let Ok(record) = serde_json::from_slice::<Value>(&record.leaf) else {
        return format!("{seq:>8}  not a record");
    };
    let field = |pointer: &str| match record.pointer(pointer) {
        Some(Value::String(text)) => text.escape_debug().to_string(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let detail = match field("/kind").as_str() {
        "decision" | "preflight" => format!(
            "{} {} {} {}",
            field("/verdict"),
            field("/input/operation/class"),
            field("/input/principal/subject"),
            field("/input/resource/id")
        ),
        "outcome" => format!("{} of {}", field("/outcome"), field("/decision")),
        "refusal" | "unauthenticated" => {
            format!("{} {}", field("/refusal/reason"), field("/request/target"))
        }
        "observation" => format!("{} for {}", field("/purpose"), field("/decision")),
        _ => field("/event"),
    };
    format!(
        "{seq:>8}  {}  {:15}  {}  {detail}",
        field("/time"),
        field("/kind"),
        field("/id")
    )
}
