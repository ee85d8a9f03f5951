//! Flow files as Prefect deploys them: `prefect.yaml`, `limits.sh`, `automations.yaml`.
//!
//! The Python package beside this crate runs what stands in them, under the same keys.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::commands::{FAILED, complain, read_all, say};
use crate::engine::patience;
use crate::flow::{Flow, Region, Tier, Work};
use crate::schedule::Overlap;

/// Most requests for backups at a time, over all regions.
const MOST_WRITES: usize = 100;
/// Times of a schedule that are looked at for hours that clocks skip: a year of nights.
const LOOKED_AT: usize = 400;

/// Writes the files of these flows into a folder.
pub(in crate::commands) fn prefect(files: &[PathBuf], out: &Path) -> anyhow::Result<u8> {
    let Some(flows) = read_all(files)? else {
        return Ok(FAILED);
    };
    for flow in &flows {
        flow.regions
            .iter()
            .try_for_each(|region| fits(flow, region))?;
    }
    let names = files.iter().filter_map(|file| file.file_name());
    let names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let from = names.join(", ");
    std::fs::create_dir_all(out).with_context(|| format!("`{}`", out.display()))?;
    for (name, text) in [
        ("prefect.yaml", deployments(&flows, &from)),
        ("limits.sh", limits(&flows, &from)),
        ("automations.yaml", automations(&flows, &from)),
    ] {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("`{}`", path.display()))?;
        say(&path.display().to_string());
    }
    Ok(0)
}

/// What Prefect cannot do is an error where a night would be lost, and told where it is done
/// otherwise.
fn fits(flow: &Flow, region: &Region) -> anyhow::Result<()> {
    let name = format!("{}, {}", flow.name, region.name);
    if region.work != Work::Backup {
        bail!("{name}: only backups are run on Prefect; hint: leave drills and reviews to `serve`");
    }
    if region.targets.iter().any(|target| target.tag.is_some()) {
        bail!("{name}: items by tag are not run on Prefect; hint: name them by `items`");
    }
    if !region.maintenance.is_empty() {
        complain(&format!(
            "{name}: Prefect knows no maintenance windows: they are left out"
        ));
    }
    if region.schedule.overlap != Overlap::Skip {
        complain(&format!(
            "{name}: on Prefect a run that is due while another goes on is cancelled, whatever `overlap` says"
        ));
    }
    let times = region.schedule.next_times(Timestamp::now(), LOOKED_AT);
    if let Some(fire) = times.iter().find(|fire| fire.shift.is_some()) {
        let local = fire.local.strftime("%Y-%m-%d %H:%M %:z");
        let shift = fire.shift.map_or("", |shift| shift.as_str());
        complain(&format!(
            "{name}: {local} ({shift}) is another time on Prefect"
        ));
    }
    Ok(())
}

fn deployments(flows: &[Flow], from: &str) -> String {
    let mut text = format!(
        "# Written by `vaultgate-orchestrator export prefect` from: {from}
# Deploy with `prefect deploy --all --no-prompt`, after limits.sh.
name: vaultgate-flows
prefect-version: \">=3.6.22,<4\"
build: null
push: null
# The package is installed where workers are: nothing is fetched.
pull: []

deployments:
"
    );
    for (flow, region) in regions(flows) {
        text.push_str(&deployment(flow, region));
    }
    text
}

fn deployment(flow: &Flow, region: &Region) -> String {
    let (name, digest) = (format!("{}-{}", flow.name, region.name), &flow.digest);
    let about = quoted(&format!(
        "{}, {}; owner {}",
        flow.name, region.name, flow.owner
    ));
    let spec = serde_json::to_string_pretty(&spec(flow, region)).unwrap_or_default();
    // JSON is YAML; its lines stand below their key.
    let spec = spec.replace('\n', "\n      ");
    let (cron, zone) = (quoted(region.schedule.cron()), region.schedule.zone());
    format!(
        "- name: {name}
  description: {about}
  version: {digest}
  entrypoint: vaultgate_flows.flow.backup_region
  tags:
  - flow:{flow_name}
  - region:{region_name}
  - definition:{digest}
  parameters:
    spec: {spec}
  enforce_parameter_schema: true
  work_pool:
    name: vaultgate
    work_queue_name: default
    job_variables:
      env:
        VAULTGATE_CLIENT_SECRET_FILE: /etc/vaultgate/flow.secret
        VAULTGATE_CA: /etc/vaultgate/ca.pem
  concurrency_limit:
    limit: 1
    collision_strategy: CANCEL_NEW
  schedules:
  - cron: {cron}
    timezone: {zone}
    slug: {name}
    active: true
",
        flow_name = flow.name,
        region_name = region.name,
    )
}

/// One region as plain numbers, which the package reads strictly.
fn spec(flow: &Flow, region: &Region) -> Value {
    let targets = region.targets.iter().map(|target| {
        let texts = |patterns: &[crate::flow::Pattern]| {
            patterns.iter().map(|one| one.text.clone()).collect::<Vec<_>>()
        };
        json!({"vault": target.id(), "items": texts(&target.items), "exclude": texts(&target.exclude)})
    });
    let point = region.checks.recovery_point.as_ref();
    let tier = point.and_then(|point| point.tier).map(|tier| match tier {
        Tier::Snapshot => "snapshot",
        Tier::Vault => "vault",
        Tier::Archive => "archive",
    });
    json!({
        "flow": flow.name, "region": region.name, "definition_digest": flow.digest, "gateway": flow.gateway,
        "targets": targets.collect::<Vec<_>>(), "parallel": region.parallel,
        "retry": {
            "attempts": region.retry.attempts, "first_s": region.retry.first.as_secs(),
            "cap_s": region.retry.cap.as_secs(),
        },
        "poll": {"first_s": region.poll.first.as_secs(), "max_s": region.poll.max.as_secs()},
        "deadline": {
            "start_within_s": patience(region).as_secs(),
            "finish_within_s": region.deadline.finish_within.as_secs(),
            "counts_approvals": region.deadline.counts_approvals,
        },
        "retain_s": region.retain.as_secs(),
        "checks": {
            "younger_than_s": point.map(|point| point.younger_than.as_secs()), "tier": tier,
            "accept": region.checks.accept, "warn": region.checks.warn,
        },
    })
}

fn limits(flows: &[Flow], from: &str) -> String {
    let writes: usize = regions(flows).map(|(_, region)| region.parallel).sum();
    let writes = writes.min(MOST_WRITES);
    format!(
        "#!/bin/sh
# Written by `vaultgate-orchestrator export prefect` from: {from}
# What has to be there before `prefect deploy`: the pool, and the places that all regions share.
set -eu
prefect work-pool inspect vaultgate >/dev/null 2>&1 || prefect work-pool create vaultgate --type process
if prefect gcl inspect arm-writes >/dev/null 2>&1; then
    prefect gcl update arm-writes --limit {writes}
else
    prefect gcl create arm-writes --limit {writes}
fi
"
    )
}

fn automations(flows: &[Flow], from: &str) -> String {
    let tags: Vec<String> = flows
        .iter()
        .map(|flow| quoted(&format!("prefect.tag.flow:{}", flow.name)))
        .collect();
    let mut text = AUTOMATIONS
        .replace("@FROM@", from)
        .replace("@FLOWS@", &tags.join(", "));
    for (flow, region) in regions(flows) {
        let own = LATE
            .replace("@FLOW@", &flow.name)
            .replace("@REGION@", &region.name);
        text.push_str(&own.replace("@WITHIN@", &patience(region).as_secs().to_string()));
    }
    text
}

fn regions(flows: &[Flow]) -> impl Iterator<Item = (&Flow, &Region)> {
    let each = flows.iter();
    each.flat_map(|flow| flow.regions.iter().map(move |region| (flow, region)))
}

/// Text in double quotes, which YAML reads as JSON does.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

const AUTOMATIONS: &str = include_str!("automations.yaml");
const LATE: &str = include_str!("late.yaml");

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{automations, deployments, fits, limits};
    use crate::flow::Flow;

    const NIGHTLY: &str = include_str!("../../../prefect/example/nightly.yaml");

    #[test]
    fn the_example_is_what_is_written() {
        let flow = Flow::read("nightly.yaml", NIGHTLY).unwrap();
        let flows = [flow];
        let from = "nightly.yaml";
        let example = include_str!("../../../prefect/example/prefect.yaml");
        assert_eq!(deployments(&flows, from), example);
        let example = include_str!("../../../prefect/example/limits.sh");
        assert_eq!(limits(&flows, from), example);
        let example = include_str!("../../../prefect/example/automations.yaml");
        assert_eq!(automations(&flows, from), example);
    }

    #[test]
    fn what_prefect_cannot_do_is_an_error() {
        for (good, bad) in [
            ("items: [\"vm:rg1/vm*\"]", "tag: \"backup=nightly\""),
            ("owner:", "kind: retention-review\nowner:"),
        ] {
            let text = NIGHTLY.replacen(good, bad, 1).replacen(
                "defaults:",
                "defaults:\n  retention: { daily: 7d }",
                usize::from(bad.contains("review")),
            );
            let flow = Flow::read("nightly.yaml", &text).unwrap();
            let told = fits(&flow, flow.regions.first().unwrap())
                .unwrap_err()
                .to_string();
            assert!(told.contains("hint: "), "{told}");
        }
    }
}
