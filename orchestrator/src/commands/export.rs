//! What others need of flow files: definitions for the policy bundle, deployments for Prefect.

mod prefect;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::json;

pub(super) use prefect::prefect;

use super::{FAILED, asking, read_all, running, say};
use crate::config::Config;
use crate::flow::{Flow, Kind, Pattern, Target, Work};

/// The definition of each flow, where the policy bundle has it.
pub(super) async fn policy_data(
    files: &[PathBuf],
    bundle: &Path,
    config: Option<&Path>,
) -> anyhow::Result<u8> {
    let Some(flows) = read_all(files)? else {
        return Ok(FAILED);
    };
    for (flow, file) in flows.into_iter().zip(files) {
        let folder = bundle.join("flows").join(&flow.name);
        let definition = definition(&flow, file, config).await?;
        std::fs::create_dir_all(&folder).with_context(|| format!("`{}`", folder.display()))?;
        let path = folder.join("data.json");
        let text = serde_json::to_string_pretty(&definition)?;
        std::fs::write(&path, format!("{text}\n"))
            .with_context(|| format!("`{}`", path.display()))?;
        say(&format!("{}", path.display()));
    }
    Ok(0)
}

/// What policy has to know of a flow: the digest that was reviewed, the vaults that it may touch,
/// and with which operations.
async fn definition(
    flow: &Flow,
    file: &Path,
    config: Option<&Path>,
) -> anyhow::Result<serde_json::Value> {
    let mut resources: Vec<String> = Vec::new();
    let (mut targets, mut operations) = (Vec::new(), Vec::new());
    let mut by_item = true;
    for region in &flow.regions {
        let operation = match &region.work {
            Work::Backup => Some(
                "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/backup/action",
            ),
            Work::Drill(drill) if drill.restores => Some(
                "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/recoveryPoints/restore/action",
            ),
            // The item stands in the body only; nothing is changed.
            Work::Drill(_) => {
                by_item = false;
                Some("Microsoft.RecoveryServices/vaults/backupValidateOperation/action")
            }
            Work::Review(_) => None,
        };
        operations.extend(operation);
        for target in &region.targets {
            let vault = target.id();
            let ids = |patterns: &[Pattern]| {
                patterns
                    .iter()
                    .map(|one| one.ids(&vault))
                    .collect::<Vec<_>>()
            };
            // A share is known by a name that only Azure has: leaving one out would leave out all.
            let out: Vec<Pattern> = target
                .exclude
                .iter()
                .filter(|one| one.kind != Kind::Share)
                .cloned()
                .collect();
            let mut items = ids(&target.items);
            if target.tag.is_some() {
                items.extend(tagged(flow, file, target, config).await?);
            }
            targets.push(json!({"items": items, "exclude": ids(&out)}));
            resources.push(vault);
        }
    }
    resources.sort();
    resources.dedup();
    operations.sort_unstable();
    operations.dedup();
    // What is only asked about has no item in its path: it must not free what is restored of its items.
    anyhow::ensure!(
        by_item || operations.len() < 2,
        "`{}` has drills that restore and drills that only ask; hint: write two flows",
        file.display()
    );
    let mut definition = json!({
        "digest": flow.digest, "owner": flow.owner, "resources": resources, "operations": operations,
    });
    if let Some(members) = definition.as_object_mut().filter(|_| by_item) {
        members.insert("targets".to_owned(), targets.into());
    }
    Ok(definition)
}

/// The items that have the tag of a target now. Policy cannot see tags, and whoever may set one could
/// widen a flow: what is tagged later is refused until it was reviewed.
async fn tagged(
    flow: &Flow,
    file: &Path,
    target: &Target,
    config: Option<&Path>,
) -> anyhow::Result<Vec<String>> {
    let Some(config) = config else {
        bail!(
            "`{}` names items by a tag; hint: give `--config`, so that the gateway is asked which items have it now",
            file.display()
        );
    };
    let config = Config::read(config)?;
    let (region, own) = (
        flow.regions.first().context("a region")?,
        config.flow(file)?,
    );
    let running = running(&config, vec![own])?;
    let gateway = &running.first().context("a flow")?.gateway;
    let (run, vault) = (asking(flow, region), target.id());
    let failed = |trouble: crate::gateway::Trouble| {
        anyhow::anyhow!("what has the tag cannot be listed: {}", trouble.said())
    };
    let tags = target
        .tagged(gateway, &run, Timestamp::now())
        .await
        .map_err(failed)?;
    let items = gateway
        .protected(&vault, &run, Timestamp::now())
        .await
        .map_err(failed)?;
    let mut ids: Vec<String> = items
        .iter()
        .filter(|item| tags.contains(&item.source.to_lowercase()))
        .map(|item| item.id.to_lowercase())
        .collect();
    ids.sort();
    Ok(ids)
}
