//! Follows the decisions as they are written, until somebody stops the demo.

use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::gateway::Running;

/// Prints decisions until interrupted, the time is over or the gateway ends.
pub(crate) async fn until_stopped(
    running: &mut Running,
    seconds: Option<u64>,
    quiet: bool,
) -> anyhow::Result<()> {
    let segments = running.log_dir.join("segments");
    let mut place = Place::default();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let limit = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    let mut tick = tokio::time::interval(Duration::from_millis(300));
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = &mut limit => return Ok(()),
            ended = running.ended() => anyhow::bail!("the gateway ended: {}", ended?),
            _ = tick.tick() => {}
        }
        if !quiet {
            place.print_new(&segments)?;
        }
    }
}

/// How far the segments have been printed.
#[derive(Default)]
struct Place {
    file: Option<PathBuf>,
    offset: u64,
}

impl Place {
    fn print_new(&mut self, segments: &Path) -> anyhow::Result<()> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(segments)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
            .collect();
        files.sort();
        for path in files {
            if self.file.as_ref().is_some_and(|file| path < *file) {
                continue;
            }
            if self.file.as_ref() != Some(&path) {
                (self.file, self.offset) = (Some(path.clone()), 0);
            }
            let mut file = std::fs::File::open(&path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            for line in BufReader::new(file).split(b'\n') {
                let line = line?;
                // Zeros are space prepared for records to come; half a line comes again.
                let Ok(record) = serde_json::from_slice::<Value>(&line) else {
                    break;
                };
                self.offset += line.len() as u64 + 1;
                if let Some(text) = one_line(&record) {
                    println!("{text}");
                }
            }
        }
        Ok(())
    }
}

/// A record as one line for people.
fn one_line(record: &Value) -> Option<String> {
    let text = |pointer: &str| {
        record
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("-")
    };
    let time = text("/time");
    match text("/kind") {
        "decision" => Some(format!(
            "{time}  {:5}  {:8}  {}  {}",
            text("/verdict"),
            text("/input/operation/class"),
            text("/input/principal/subject"),
            text("/input/resource/id"),
        )),
        "refusal" | "unauthenticated" => Some(format!(
            "{time}  refused   {}  {}",
            text("/refusal/reason"),
            text("/request/target"),
        )),
        "outcome" => Some(format!(
            "{time}  outcome   {}  of {}",
            text("/outcome"),
            text("/decision")
        )),
        _ => None,
    }
}
