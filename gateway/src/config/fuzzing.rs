//! What the fuzz targets reach: a configuration's text checked, and what of the
//! result can be held against what was written. `tests/fuzz` builds with
//! `--cfg fuzzing`, and nothing else does.

use std::path::Path;
use std::time::Duration;

use super::issuers::{Issuer, IssuerFile};
use super::source::Source;
use super::{Config, Problems};

/// One thing wrong with a configuration.
pub struct Told {
    /// Its line, where that is known.
    pub line: Option<usize>,
    /// The setting.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// What was taken.
pub struct Taken {
    /// Digest and text, as they are kept.
    pub kept: (String, String),
    /// Origin that callers use.
    pub public_url: String,
    /// Names of hosts.
    pub hosts: Vec<String>,
    /// Origin of the log.
    pub log_origin: String,
    /// Sizes of a segment and of the emergency space.
    pub log_sizes: (u64, u64),
    /// Name, address, audiences, console audiences and algorithms of the issuers.
    pub issuers: Vec<(String, String, Vec<String>, Vec<String>, Vec<String>)>,
    /// Azure's origin and authority.
    pub azure: [String; 2],
    /// Where checkpoints are posted to.
    pub anchors: Vec<String>,
    /// Times by name.
    pub times: Vec<(&'static str, Duration)>,
    /// Evaluation threads.
    pub threads: usize,
}

/// Checks the text of a configuration.
pub fn check(text: &str, base: &Path) -> Result<Taken, Vec<Told>> {
    let config = Config::parse(text, base).map_err(|rejected| {
        let told = rejected.problems.into_iter().map(|(line, problem)| Told {
            line,
            key: problem.key,
            message: problem.message,
            hint: problem.hint,
        });
        told.collect::<Vec<_>>()
    })?;
    let issuers = config.issuers.iter().map(|issuer| {
        let algorithms = issuer.algorithms.iter().map(|one| format!("{one:?}"));
        let (audiences, console) = (&issuer.audiences, &issuer.console_audiences);
        let names = (issuer.name.clone(), issuer.url.clone());
        (
            names.0,
            names.1,
            audiences.clone(),
            console.clone(),
            algorithms.collect(),
        )
    });
    Ok(Taken {
        issuers: issuers.collect(),
        public_url: config.gateway.public_url,
        hosts: config.gateway.hosts,
        log_origin: config.log.origin,
        log_sizes: (config.log.segment_bytes, config.log.emergency_bytes),
        azure: [config.upstream.resource_manager, config.upstream.authority],
        anchors: config
            .log
            .anchor_urls
            .iter()
            .map(ToString::to_string)
            .collect(),
        times: vec![
            ("policy.time_limit", config.policy.time_limit),
            ("log.checkpoint_every", config.log.checkpoint_every),
            ("log.append_timeout", config.log.append_timeout),
            (
                "listener.handshake_timeout",
                config.listener.handshake_timeout,
            ),
            ("listener.header_timeout", config.listener.header_timeout),
            (
                "listener.body_idle_timeout",
                config.listener.body_idle_timeout,
            ),
            ("listener.answer_timeout", config.listener.answer_timeout),
            ("azure.change_timeout", config.upstream.change_timeout),
            ("azure.read_timeout", config.upstream.read_timeout),
            ("custody.ttl", config.custody.ttl),
            ("custody.watch_every", config.custody.watch_every),
        ],
        threads: config.policy.threads,
        kept: (config.digest, config.text),
    })
}

/// The issuers of a configuration that says nothing else.
pub(crate) fn issuers(text: &str) -> Vec<Issuer> {
    let mut problems = Problems::default();
    let Ok(source) = Source::parse(text) else {
        return Vec::new();
    };
    let written: Vec<Option<IssuerFile>> = source.array("issuer", &mut problems);
    let written = written.into_iter().flatten();
    written
        .filter_map(|issuer| issuer.check("issuer", &mut problems))
        .collect()
}
