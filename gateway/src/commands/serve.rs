//! `vaultgate serve`: checks everything, then opens the doors.

use std::path::Path;

use anyhow::Context as _;
use tokio::sync::watch;

use super::{FAILED, complain};
use crate::config::Config;
use crate::{serving, telemetry};

pub(crate) fn run(path: &Path, json: bool) -> anyhow::Result<u8> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(rejected) => {
            complain(rejected.render(&path.display().to_string()).trim_end());
            return Ok(FAILED);
        }
    };
    let problems = serving::preflight(&config);
    if !problems.is_empty() {
        for problem in problems.iter() {
            complain(&format!("{}: {problem}", path.display()));
        }
        return Ok(FAILED);
    }
    telemetry::init(json);
    // Policies that are quick are judged on these threads: the same stack as theirs.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(vaultgate_pdp::Limits::default().stack_bytes)
        .on_thread_start(vaultgate_pdp::on_thread_with_stack)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        keep_file_limits_survivable();
        let (tell, stop) = watch::channel(false);
        tokio::spawn(async move {
            terminated().await;
            tracing::info!("stopping: letting requests in flight end");
            let _ = tell.send(true);
        });
        serving::serve(config, stop).await
    })?;
    Ok(0)
}

/// A file that may not grow further is to be a failed write, which refuses requests
/// and is told; by default the system would end the process instead.
fn keep_file_limits_survivable() {
    use tokio::signal::unix::{SignalKind, signal};
    // SIGXFSZ; its registration stays in place when the stream is dropped.
    const FILE_SIZE_EXCEEDED: i32 = 25;
    if let Err(error) = signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED)) {
        tracing::warn!(%error, "a file size limit would end the process");
    }
}

/// Returns when the process is asked to stop.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without signal handlers the default action ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
