//! The text of a configuration: what is refused says where and why and gives no
//! secret away; what is taken keeps the promises that nobody checks again.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vaultgate::fuzzing::{Taken, Told, check};
use vaultgate_decision_log::note::is_name;

/// What marks a secret that somebody wrote into the file.
const SECRET: &str = "hunter2";

/// A folder with the files that the seeds name.
static BASE: LazyLock<PathBuf> = LazyLock::new(|| {
    // A fuzzer ends without cleaning up: `tests/fuzz/run` gives it a folder to fill.
    let base = tempfile::tempdir().unwrap().keep();
    for folder in ["tls", "policies"] {
        fs::create_dir(base.join(folder)).unwrap();
    }
    for file in [
        "tls/cert.pem",
        "tls/key.pem",
        "tls/client-ca.pem",
        "tls/extra-ca.pem",
        "secret",
    ] {
        fs::write(base.join(file), "x").unwrap();
    }
    base
});

fuzz_target!(init: LazyLock::force(&BASE), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // A device has no end, and reading one is what was asked for.
    if ["/dev", "/proc", "/sys", "..", "//"].iter().any(|path| path_in(text, path)) {
        return;
    }
    match check(text, &BASE) {
        Ok(taken) => holds(text, &taken),
        Err(told) => says(text, &told),
    }
});

fn path_in(text: &str, path: &str) -> bool {
    // Addresses have two slashes too.
    text.replace("://", "").contains(path)
}

/// Every refusal names a setting and what is wrong with it, on a line of the file.
fn says(text: &str, told: &[Told]) {
    let lines = text.split('\n').count();
    assert!(!told.is_empty(), "refused for nothing: {text}");
    let secrets = secrets(text);
    let secret = secrets
        .iter()
        .map(|one| one.matches(SECRET).count())
        .sum::<usize>();
    let secret = secret > 0 && secret == text.matches(SECRET).count();
    for problem in told {
        let Told {
            line,
            key,
            message,
            hint,
        } = problem;
        assert!(!message.trim().is_empty(), "{key}: {text}");
        assert!(
            !key.is_empty() || message.contains('`'),
            "{message}: {text}"
        );
        assert!(
            line.is_none_or(|line| (1..=lines).contains(&line)),
            "{line:?}: {text}"
        );
        assert!(!key.contains('\n'), "{key:?}: {text}");
        let shown = [key, message, hint]
            .iter()
            .any(|part| part.contains(SECRET));
        assert!(!shown || !secret, "a secret is shown: {key}: {message}");
    }
}

/// Secrets that somebody wrote where a reference belongs.
fn secrets(text: &str) -> Vec<String> {
    let Ok(table) = text.parse::<toml::Table>() else {
        return Vec::new();
    };
    let secret = |identity: &str| {
        let secret = table.get("azure")?.get(identity)?.get("secret")?.as_str()?;
        let reference = ["file:", "env:"]
            .iter()
            .any(|kind| secret.starts_with(kind));
        (!reference).then(|| secret.to_owned())
    };
    ["operator", "reader"]
        .into_iter()
        .filter_map(secret)
        .collect()
}

fn holds(text: &str, taken: &Taken) {
    assert!(
        secrets(text)
            .iter()
            .all(|secret| secret.starts_with("keyvault:https://")),
        "{text}"
    );
    assert_eq!(taken.kept.1, text);
    assert_eq!(taken.kept.0.len(), "sha256:".len() + 64);
    let origin = |url: &str| url.starts_with("https://") && !url.ends_with('/');
    assert!(origin(&taken.public_url), "{}", taken.public_url);
    assert!(
        taken.azure.iter().all(|url| origin(url)),
        "{:?}",
        taken.azure
    );
    assert!(
        !taken.hosts.is_empty() && taken.hosts.iter().all(|host| !host.is_empty()),
        "{text}"
    );
    assert!(
        is_name(&taken.log_origin),
        "a log that cannot be opened: {:?}",
        taken.log_origin
    );
    let (segment, emergency) = taken.log_sizes;
    assert!(
        segment >= 131_072 && (emergency == 0 || emergency >= 131_072),
        "{:?}",
        taken.log_sizes
    );
    assert!((1..=64).contains(&taken.threads));
    for (name, time) in &taken.times {
        let most = match *name {
            "policy.time_limit" => Duration::from_millis(20),
            "log.checkpoint_every" => Duration::from_secs(60),
            _ => Duration::MAX,
        };
        assert!(*time <= most, "{name}: {time:?}");
        // Never, or without a pause.
        assert!(!time.is_zero(), "{name} is zero: {text}");
    }
    assert!(!taken.issuers.is_empty(), "{text}");
    for (name, url, audiences, console, algorithms) in &taken.issuers {
        assert!(!name.is_empty() && !audiences.is_empty(), "{text}");
        assert!(
            url.starts_with("https://") || text.contains("allow_insecure_loopback"),
            "{url}"
        );
        assert!(
            audiences
                .iter()
                .all(|one| !one.is_empty() && !console.contains(one)),
            "{text}"
        );
        assert!(!algorithms.is_empty(), "{text}");
        assert!(
            algorithms
                .iter()
                .all(|one| !one.starts_with("HS") && one != "none"),
            "{algorithms:?}"
        );
    }
    // The text is kept beside the log: it may refer to secrets and hold none.
    for url in taken.anchors.iter().chain([&taken.public_url]) {
        let authority = url.split("://").nth(1).unwrap_or_default();
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        assert!(
            !authority.contains('@'),
            "an address with a password: {url}"
        );
    }
}
