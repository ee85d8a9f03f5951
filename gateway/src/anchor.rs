//! Checkpoints leave the process: to standard output, files and addresses.
//!
//! A checkpoint kept elsewhere is what makes a truncated log visible. One that
//! does not reach an anchor is counted and said; the gateway goes on, since the
//! receipts in every answer are anchors too.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;
use url::Url;

use crate::config::{Config, Log as Settings};
use crate::outbound::{FetchLimits, Outbound};
use crate::recorder::Recorder;
use crate::telemetry::Metrics;

/// What an anchor may take to answer.
const LIMITS: FetchLimits = FetchLimits {
    total: Duration::from_secs(10),
    max_body: 64 << 10,
};

/// Publishes checkpoints until `stop` turns true, and once more then.
pub(crate) async fn publish(
    recorder: Recorder,
    config: Arc<Config>,
    outbound: Outbound,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let settings = &config.log;
    let mut last = String::new();
    // The first at once: a gateway that keeps crashing is to leave anchors too.
    let mut wait = Duration::ZERO;
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(wait) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        wait = settings.checkpoint_every;
        match recorder.checkpoint().await {
            Ok(note) if note == last => {}
            Ok(note) => {
                send(&note, settings, &outbound, &metrics).await;
                last = note;
            }
            Err(error) => {
                metrics.checkpoint_failed();
                tracing::error!(%error, "no checkpoint could be made");
            }
        }
        if stopping {
            return;
        }
    }
}

async fn send(note: &str, settings: &Settings, outbound: &Outbound, metrics: &Metrics) {
    // Standard output is the anchor that needs no set-up: a log collector keeps it.
    let line = note.trim_end().replace('\n', " | ");
    let _ = writeln!(std::io::stdout(), "checkpoint {line}");
    for path in &settings.anchor_files {
        if let Err(error) = append(path, note) {
            metrics.checkpoint_failed();
            tracing::error!(%error, path = %path.display(), "checkpoint not anchored");
        }
    }
    for url in &settings.anchor_urls {
        if let Err(error) = post(url, note, outbound).await {
            metrics.checkpoint_failed();
            tracing::error!(%error, %url, "checkpoint not anchored");
        }
    }
}

fn append(path: &Path, note: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let text = format!("{}\n\n", note.trim_end());
    whole(&mut file, text.len() as u64, |file| {
        file.write_all(text.as_bytes())
    })?;
    file.sync_data()
}

/// Appends all of it or nothing: behind a part of a checkpoint, which a full disk may
/// leave, no other could be read any more.
fn whole(
    file: &mut File,
    length: u64,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let before = file.metadata()?.len();
    let written = write(file);
    // What somebody else has appended meanwhile is not ours to cut off.
    if written.is_err() && file.metadata()?.len() < before.saturating_add(length) {
        file.set_len(before)?;
    }
    written
}

async fn post(url: &Url, note: &str, outbound: &Outbound) -> anyhow::Result<()> {
    let request = http::Request::post(url.as_str())
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Bytes::from(note.to_owned()))?;
    let answer = outbound.fetch(request, LIMITS).await?;
    anyhow::ensure!(
        answer.status().is_success(),
        "the anchor answered {}",
        answer.status()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::io::{ErrorKind, Write as _};

    use super::{append, whole};

    #[test]
    fn a_part_of_a_checkpoint_is_not_left_in_an_anchor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchor");
        append(&path, "first\n").unwrap();
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        let failed = whole(&mut file, 8, |file| {
            file.write_all(b"seco")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
        append(&path, "third\n").unwrap();
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept, "first\n\nthird\n\n");
    }
}
