//! Checkpoints leave the process: to standard output, files and addresses.
//!
//! A checkpoint kept elsewhere is what makes a truncated log visible. One that
//! does not reach an anchor is counted and said; the gateway goes on, since the
//! receipts in every answer are anchors too.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
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

/// Longest line that is written to an anchor, bytes.
const MAX_LINE: u64 = 64 << 10;

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
    let line = format!("checkpoint {}\n", note.trim_end().replace('\n', " | "));
    // Standard output is the anchor that needs no set-up: a log collector keeps it.
    let _ = std::io::stdout().write_all(line.as_bytes());
    for path in &settings.anchor_files {
        if let Err(error) = append(path, &line) {
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

/// Adds one line, whole or not at all: half of one, left by a full disk or a crash, would
/// be read as an anchor that says nothing.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path)?;
    let end = whole_lines(&mut file)?;
    file.set_len(end)?;
    let written = file.write_all(line.as_bytes());
    if written.is_err() {
        file.set_len(end)?;
    }
    written.and_then(|()| file.sync_data())
}

/// Where the last whole line ends, looked for within the length of a line.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    let near = length.saturating_sub(MAX_LINE);
    file.seek(SeekFrom::Start(near))?;
    let mut tail = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n');
    Ok(match end {
        Some(place) => near + place as u64 + 1,
        // Not a file of ours: nothing of it is cut off.
        None if near > 0 => length,
        None => 0,
    })
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

    use std::fs;

    use super::append;

    #[test]
    fn half_a_line_makes_way_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchor");
        for (before, after) in [
            ("", "checkpoint b\n"),
            ("checkpoint a\n", "checkpoint a\ncheckpoint b\n"),
            ("checkpoint a\ncheckp", "checkpoint a\ncheckpoint b\n"),
            ("checkp", "checkpoint b\n"),
        ] {
            fs::write(&path, before).unwrap();
            append(&path, "checkpoint b\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after, "{before}");
        }
    }
}
