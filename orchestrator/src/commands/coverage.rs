//! What no flow backs up, what flows name in vain, and what is too old: by what Azure says now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;

use super::{FAILED, Place, asking, running, say};
use crate::config::Config;
use crate::engine::Running;
use crate::flow::{Region, Target, Work};
use crate::gateway::{Protected, Trouble};

/// Something that is not as it has to be.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    vault: String,
    what: &'static str,
    name: String,
    why: String,
}

/// What a vault says.
struct Vault {
    protected: Vec<Protected>,
    protectable: Vec<String>,
}

pub(super) async fn coverage(place: &Place, as_json: bool) -> anyhow::Result<u8> {
    let config = Config::read(&place.config)?;
    let running = running(&config, config.flows()?)?;
    let mut vaults: BTreeMap<String, Result<Vault, Trouble>> = BTreeMap::new();
    // Of each vault the names that some flow backs up.
    let mut covered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (running, region) in backups(&running) {
        for target in &region.targets {
            let id = target.id().to_lowercase();
            if !vaults.contains_key(&id) {
                vaults.insert(id.clone(), vault(running, region, &id).await);
            }
            let Some(Ok(vault)) = vaults.get(&id) else {
                continue;
            };
            let run = asking(&running.flow, region);
            let tagged = target
                .tagged(&running.gateway, &run, Timestamp::now())
                .await;
            let tagged = tagged.map_err(|trouble| {
                anyhow::anyhow!("what has the tag cannot be listed: {}", trouble.said())
            })?;
            let names = covered.entry(id).or_default();
            found.extend(looked(running, region, target, vault, &tagged, names));
        }
    }
    for (id, vault) in &vaults {
        let name = id.rsplit('/').next().unwrap_or_default();
        let finding = |what, name_of: &str, why: &str| Finding {
            vault: name.to_owned(),
            what,
            name: name_of.to_owned(),
            why: why.to_owned(),
        };
        match vault {
            Err(trouble) => {
                found.insert(finding("unknown", name, trouble.said()));
            }
            Ok(vault) => {
                found.extend(
                    vault
                        .protectable
                        .iter()
                        .map(|own| finding("unprotected", own, "no vault backs it up")),
                );
                let known = covered.get(id);
                let missing = vault
                    .protected
                    .iter()
                    .filter(|one| !known.is_some_and(|known| known.contains(&one.name)));
                found.extend(missing.map(|one| match one.stopped {
                    true => finding(
                        "stopped",
                        &one.name,
                        "its protection is stopped, and no flow names it",
                    ),
                    false => finding(
                        "in-no-flow",
                        &one.name,
                        "it is protected, and no flow backs it up",
                    ),
                }));
            }
        }
    }
    for one in &found {
        match as_json {
            true => say(
                &json!({"what": one.what, "vault": one.vault, "item": one.name, "why": one.why})
                    .to_string(),
            ),
            false => say(&format!(
                "{:<11} {}  {}: {}",
                one.what, one.vault, one.name, one.why
            )),
        }
    }
    if !as_json {
        let all: usize = covered.values().map(BTreeSet::len).sum();
        say(&format!("{all} items in flows, {} findings", found.len()));
    }
    Ok(if found.is_empty() { 0 } else { FAILED })
}

/// The regions that back up.
fn backups(running: &[Running]) -> impl Iterator<Item = (&Running, &Region)> {
    let each = running.iter();
    each.flat_map(|running| {
        running
            .flow
            .regions
            .iter()
            .map(move |region| (running, region))
    })
    .filter(|(_, region)| region.work == Work::Backup)
}

async fn vault(running: &Running, region: &Region, id: &str) -> Result<Vault, Trouble> {
    let (run, now) = (asking(&running.flow, region), Timestamp::now());
    Ok(Vault {
        protected: running.gateway.ever_protected(id, &run, now).await?,
        protectable: running.gateway.protectable(id, &run, now).await?,
    })
}

/// What a target names in vain, and what of it is too old; `names` are those that it covers.
fn looked(
    running: &Running,
    region: &Region,
    target: &Target,
    vault: &Vault,
    tagged: &[String],
    names: &mut BTreeSet<String>,
) -> Vec<Finding> {
    let flow = format!("flow {}, {}", running.flow.name, region.name);
    let finding = |what, name: &str, why: String| Finding {
        vault: target.vault.clone(),
        what,
        name: name.to_owned(),
        why,
    };
    let mut found = Vec::new();
    for pattern in &target.items {
        if !vault
            .protected
            .iter()
            .any(|one| pattern.names_it(&one.name))
        {
            found.push(finding(
                "gone",
                &pattern.text,
                format!("{flow} names it, and the vault protects no such item"),
            ));
        }
    }
    let now = Timestamp::now();
    for one in vault
        .protected
        .iter()
        .filter(|one| target.means(one, tagged))
    {
        names.insert(one.name.clone());
        if one.stopped {
            found.push(finding(
                "stopped",
                &one.name,
                format!("{flow} names it, and its protection is stopped"),
            ));
            continue;
        }
        let Some(wanted) = &region.checks.recovery_point else {
            continue;
        };
        match one.last_recovery_point {
            Some(at) if now.duration_since(at) <= wanted.younger_than.signed() => {}
            Some(at) => found.push(finding(
                "stale",
                &one.name,
                format!(
                    "its newest recovery point is of {at:.0}, older than {}",
                    wanted.younger_than
                ),
            )),
            None => found.push(finding(
                "stale",
                &one.name,
                "it has no recovery point".to_owned(),
            )),
        }
    }
    found
}
