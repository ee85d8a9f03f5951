//! `vaultgate doctor`: what an operator would check by hand, in one run.

mod roles;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vaultgate_arm::catalogue;

use super::{FAILED, complain, say};
use crate::admit::Admission;
use crate::clock::Clock;
use crate::config::Config;
use crate::observer::{Observer, Purpose};
use crate::outbound::Outbound;
use crate::recorder::Recorder;
use crate::serving;
use crate::telemetry::Metrics;
use crate::upstream::Upstream;

/// One check: its name and what it found.
type Finding = (&'static str, Result<String, String>);

pub(crate) fn run(path: &Path) -> anyhow::Result<u8> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(rejected) => {
            complain(rejected.render(&path.display().to_string()).trim_end());
            return Ok(FAILED);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let findings = runtime.block_on(examine(&config));
    let mut failed = false;
    for (name, found) in findings {
        match found {
            Ok(what) => say(&format!("ok      {name}: {what}")),
            Err(what) => {
                failed = true;
                say(&format!("PROBLEM {name}: {what}"));
            }
        }
    }
    Ok(if failed { FAILED } else { 0 })
}

async fn examine(config: &Config) -> Vec<Finding> {
    crate::authn::install_crypto();
    let mut findings: Vec<Finding> = Vec::new();
    let problems = serving::preflight(config);
    findings.push(match problems.iter().next() {
        None => (
            "files",
            Ok("certificates, bundle and keys are usable".into()),
        ),
        Some(problem) => ("files", Err(problem.to_string())),
    });
    findings.push(("log disk", log_disk(config)));
    let outbound = match Outbound::new(config.upstream.extra_ca.as_deref()) {
        Ok(outbound) => outbound,
        Err(error) => {
            findings.push(("tls", Err(error.to_string())));
            return findings;
        }
    };
    for issuer in &config.issuers {
        findings.push(("issuer", discovery(&issuer.url, &outbound).await));
    }
    findings.extend(azure(config, outbound).await);
    findings
}

fn log_disk(config: &Config) -> Result<String, String> {
    // Writing and syncing is the one question that matters about this disk.
    let probe = config.log.dir.join("doctor.probe");
    let written = std::fs::create_dir_all(&config.log.dir)
        .and_then(|()| std::fs::write(&probe, [0; 4096]))
        .and_then(|()| std::fs::File::open(&probe)?.sync_all());
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) => Ok(format!(
            "`{}` takes and syncs writes",
            config.log.dir.display()
        )),
        Err(error) => Err(format!("`{}`: {error}", config.log.dir.display())),
    }
}

async fn discovery(issuer: &str, outbound: &Outbound) -> Result<String, String> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let request = http::Request::get(&url).body(bytes::Bytes::new());
    let request = request.map_err(|error| error.to_string())?;
    let limits = crate::outbound::FetchLimits {
        total: Duration::from_secs(5),
        max_body: 256 << 10,
    };
    match outbound.with_local_http().fetch(request, limits).await {
        Ok(answer) if answer.status().is_success() => Ok(format!("`{issuer}` answers")),
        Ok(answer) => Err(format!("`{issuer}` answers {}", answer.status())),
        Err(error) => Err(format!("`{issuer}`: {error}")),
    }
}

/// Identities, roles and clock, with reads that are on the record like any other.
/// The roles of both identities in each listed subscription, where it is known whose
/// they are.
async fn all_roles(config: &Config, observer: &Observer) -> Vec<Finding> {
    let ids = &config.upstream.object_ids;
    let reads = catalogue::reader_actions();
    let mut reads: Vec<&str> = reads.into_iter().chain(super::init::ROLE_READS).collect();
    let mut all = catalogue::operator_actions();
    for actions in [&mut reads, &mut all] {
        actions.sort_unstable();
        actions.dedup();
    }
    let mut findings = Vec::new();
    for (name, id, needed) in [
        ("operator roles", &ids.operator, &all),
        ("reader roles", &ids.reader, &reads),
    ] {
        let Some(id) = id else {
            findings.push((
                name,
                Ok("not looked at: `object_id` is not configured".into()),
            ));
            continue;
        };
        for subscription in &config.facts.estate_subscriptions {
            findings.push((
                name,
                roles::compare(observer, subscription, id, needed).await,
            ));
        }
    }
    for id in &ids.without_roles {
        for subscription in &config.facts.estate_subscriptions {
            findings.push((
                "caller roles",
                roles::none(observer, subscription, id).await,
            ));
        }
    }
    findings
}

async fn azure(config: &Config, outbound: Outbound) -> Vec<Finding> {
    let clock = Clock::system();
    let upstream = match Upstream::new(&config.upstream, outbound, &clock) {
        Ok(upstream) => upstream,
        Err(error) => return vec![("identity", Err(error.to_string()))],
    };
    let log = match serving::open_log(&config.log, None) {
        Ok((log, _)) => Arc::new(log),
        Err(error) => {
            let hint =
                format!("{error:#} (a running gateway holds its log: stop it, or ask /readyz)");
            return vec![("log", Err(hint))];
        }
    };
    let metrics = Arc::new(Metrics::default());
    let recorder = Recorder::new(
        log.clone(),
        clock.clone(),
        metrics,
        config.log.append_timeout,
    );
    let admission = Arc::new(Admission::new(&config.limits, clock.clone()));
    let observer = Observer::new(upstream.reader(), recorder, admission);
    let mut findings: Vec<Finding> = Vec::new();
    let target = "/subscriptions?api-version=2022-12-01";
    let answer = observer.one(Purpose::Doctor, None, target).await;
    findings.push(match answer {
        Some(answer) if answer.status.is_success() => {
            ("reader", Ok("the reader identity may read".into()))
        }
        Some(answer) => (
            "reader",
            Err(format!("Azure answers the reader {}", answer.status)),
        ),
        None => (
            "reader",
            Err("no token or no answer for the reader identity".into()),
        ),
    });
    for subscription in &config.facts.estate_subscriptions {
        let target = format!(
            "/subscriptions/{subscription}/providers/Microsoft.RecoveryServices/vaults?api-version=2026-07-01"
        );
        let found = match observer.one(Purpose::Doctor, None, &target).await {
            Some(answer) if answer.status.is_success() => {
                Ok(format!("vaults of {subscription} can be listed"))
            }
            Some(answer) => Err(format!(
                "vaults of {subscription}: Azure answers {}",
                answer.status
            )),
            None => Err(format!("vaults of {subscription}: no answer")),
        };
        findings.push(("roles", found));
    }
    findings.push((
        "operator",
        match upstream.operator_signs_in().await {
            Ok(()) => Ok("the operator identity gets a token".into()),
            Err(error) => Err(error.to_string()),
        },
    ));
    findings.extend(all_roles(config, &observer).await);
    findings.push(if !clock.compared() {
        ("clock", Err("Azure told no time to compare with".into()))
    } else if clock.skew() <= config.gateway.max_clock_skew {
        ("clock", Ok(format!("{:?} from Azure's", clock.skew())))
    } else {
        (
            "clock",
            Err(format!("{:?} from Azure's: synchronise it", clock.skew())),
        )
    });
    if let Err(error) = log.close() {
        findings.push(("log", Err(error.to_string())));
    }
    findings
}
