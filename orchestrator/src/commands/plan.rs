//! What the flows would do: when, to which items, in how many calls, and what the gateway would say.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use super::{FAILED, Place, asking, running, say};
use crate::config::Config;
use crate::engine::{Running, next_look, work};
use crate::flow::{Region, Work};
use crate::gateway::{Gateway, Opinion, Trouble};
use crate::journal::{Item, Run};

/// Times of a region that are shown.
const TIMES: usize = 3;
/// Questions that are asked at a time.
const AT_A_TIME: usize = 8;
/// How often a question is asked again that came too soon, and how long it waits at most.
const PATIENCE: u32 = 10;
const LONGEST: Duration = Duration::from_secs(90);
/// What Azure lets one identity do in a subscription in an hour: a bucket of 250 reads that fills by
/// 25 a second, and one of 200 writes that fills by 10.
const READS: u64 = 250 + 25 * 3_600;
const WRITES: u64 = 200 + 10 * 3_600;

/// What would become of an item.
struct Planned {
    name: String,
    verdict: &'static str,
    why: String,
}

pub(super) async fn plan(
    place: &Place,
    flow: Option<&str>,
    most: usize,
    as_json: bool,
) -> anyhow::Result<u8> {
    let config = Config::read(&place.config)?;
    let mut flows = config.flows()?;
    if let Some(wanted) = flow {
        flows.retain(|flow| flow.name == wanted);
        anyhow::ensure!(
            !flows.is_empty(),
            "there is no flow `{wanted}` in `{}`",
            config.flows.display()
        );
    }
    let mut refused = false;
    for running in running(&config, flows)? {
        for region in &running.flow.regions {
            let (items, left) = items(&running, region, most).await;
            // A run that means nothing backs nothing up, and fails.
            refused |= items.iter().all(|item| item.verdict == "none");
            refused |= items
                .iter()
                .any(|item| matches!(item.verdict, "deny" | "unknown"));
            told(&running, region, &items, left, as_json);
        }
    }
    Ok(if refused { FAILED } else { 0 })
}

/// The items of a region and what the gateway would say of each; how many more it was not asked of.
async fn items(running: &Running, region: &Region, most: usize) -> (Vec<Planned>, usize) {
    let run = asking(&running.flow, region);
    let now = Timestamp::now();
    let gateway = &running.gateway;
    let (mut planned, mut found) = (Vec::new(), Vec::new());
    for target in &region.targets {
        let vault = target.id();
        let listed = async {
            let items = gateway.protected(&vault, &run, now).await?;
            Ok((items, target.tagged(gateway, &run, now).await?))
        };
        let listed: Result<_, Trouble> = listed.await;
        let (protected, tagged) = match listed {
            Ok(listed) => listed,
            Err(trouble) => {
                planned.push(unknown(target.vault.clone(), &trouble));
                continue;
            }
        };
        for pattern in &target.items {
            if !protected.iter().any(|one| pattern.names_it(&one.name)) {
                planned.push(Planned {
                    name: pattern.text.clone(),
                    verdict: if pattern.text.contains('*') {
                        "none"
                    } else {
                        "deny"
                    },
                    why: "the vault protects no such item".to_owned(),
                });
            }
        }
        for one in protected
            .into_iter()
            .filter(|one| region.means(target, one, &tagged))
        {
            let mut item = Item::new(run.id, &vault, one.id, one.name);
            item.source = one.source;
            item.keep_until = run.due.checked_add(region.retain.signed()).ok();
            found.push(item);
        }
    }
    let left = found.len().saturating_sub(most);
    found.truncate(most);
    let asked = stream::iter(found).map(|item| opinion(gateway, region, &run, item));
    planned.extend(asked.buffered(AT_A_TIME).collect::<Vec<_>>().await);
    planned.sort_by(|one, other| one.name.cmp(&other.name));
    (planned, left)
}

async fn opinion(gateway: &Gateway, region: &Region, run: &Run, mut item: Item) -> Planned {
    let name = item.name.clone();
    let now = Timestamp::now();
    match &region.work {
        Work::Review(_) => {
            return Planned {
                name,
                verdict: "allow",
                why: "it is only looked at".to_owned(),
            };
        }
        Work::Drill(_) => {
            match patiently(async || gateway.points(&item.item, run, now).await).await {
                Ok(points) => item.point = work::newest(&points).map(|point| point.id.clone()),
                Err(trouble) => return unknown(name, &trouble),
            }
        }
        Work::Backup => {}
    }
    if matches!(region.work, Work::Drill(_)) && item.point.is_none() {
        let why = "it has no recovery point that could be restored".to_owned();
        return Planned {
            name,
            verdict: "deny",
            why,
        };
    }
    let asked = work::asked(region, run, &item);
    match patiently(async || gateway.question(&asked, run, now).await).await {
        Ok(Opinion::Allow) => Planned {
            name,
            verdict: "allow",
            why: String::new(),
        },
        Ok(Opinion::Approval) => Planned {
            name,
            verdict: "approval",
            why: "others have to agree".to_owned(),
        },
        Ok(Opinion::Deny(said)) => Planned {
            name,
            verdict: "deny",
            why: format!("{}: {}", said.code, said.message),
        },
        Err(trouble) => unknown(name, &trouble),
    }
}

/// Asks again what came too soon: many questions, and what they need to know, wait for their rate.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let mut answer = ask().await;
    for _ in 0..PATIENCE {
        let asked = answer.as_ref().err().and_then(Trouble::wait);
        let Some(wait) = asked.filter(|wait| *wait <= LONGEST) else {
            break;
        };
        tokio::time::sleep(wait).await;
        answer = ask().await;
    }
    answer
}

fn unknown(name: String, trouble: &Trouble) -> Planned {
    Planned {
        name,
        verdict: "unknown",
        why: trouble.said().to_owned(),
    }
}

/// Reads and writes of the first hour of a run: reads grow with the vaults.
fn calls(region: &Region, items: usize) -> (u64, u64) {
    let mut vaults: Vec<String> = region.targets.iter().map(crate::flow::Target::id).collect();
    vaults.sort();
    vaults.dedup();
    let (start, mut at, mut looks) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH, 0_u64);
    let end = start + 1.hours();
    while let Some(next) = next_look(start, at, region.poll).filter(|next| *next <= end) {
        (at, looks) = (next, looks + 1);
    }
    let (vaults, items) = (vaults.len() as u64, items as u64);
    let by_item = match &region.work {
        Work::Drill(_) => true,
        _ => region
            .checks
            .recovery_point
            .as_ref()
            .is_some_and(|wanted| wanted.tier.is_some()),
    };
    let (of_vault, writes) = match &region.work {
        Work::Review(_) => (3, 0),
        Work::Drill(drill) if !drill.restores => (1, items),
        Work::Drill(_) | Work::Backup => (2 + looks, items),
    };
    (vaults * of_vault + if by_item { items } else { 0 }, writes)
}

fn told(running: &Running, region: &Region, items: &[Planned], left: usize, as_json: bool) {
    let (flow, now) = (&running.flow, Timestamp::now());
    let (reads, writes) = calls(region, items.len() + left);
    let times = region.schedule.next_times(now, TIMES);
    let count = |verdict: &str| items.iter().filter(|item| item.verdict == verdict).count();
    if as_json {
        let items = items
            .iter()
            .map(|item| json!({"name": item.name, "verdict": item.verdict, "why": item.why}));
        say(&json!({
            "flow": flow.name, "region": region.name, "definition_digest": flow.digest,
            "next": times.iter().map(|fire| fire.at.to_string()).collect::<Vec<_>>(),
            "items": items.collect::<Vec<_>>(), "not_asked": left,
            "first_hour": {"reads": reads, "writes": writes, "most_reads": READS, "most_writes": WRITES},
        }).to_string());
        return;
    }
    say(&format!(
        "{} {}: `{}` {}",
        flow.name,
        region.name,
        region.schedule.cron(),
        region.schedule.zone()
    ));
    for fire in times {
        let (local, utc) = (
            fire.local.strftime("%a %Y-%m-%d %H:%M %:z"),
            fire.at.strftime("%Y-%m-%dT%H:%MZ"),
        );
        let shift = fire.shift.map(|shift| format!("  {}", shift.as_str()));
        say(&format!(
            "  next  {local}  {utc}{}",
            shift.unwrap_or_default()
        ));
    }
    for item in items {
        let why = if item.why.is_empty() {
            String::new()
        } else {
            format!("  {}", item.why)
        };
        say(&format!("  {:<9} {}{why}", item.verdict, item.name));
    }
    if left > 0 {
        say(&format!(
            "  {left} more items, of which the gateway was not asked"
        ));
    }
    let (allowed, approvals, denied) = (count("allow"), count("approval"), count("deny"));
    say(&format!(
        "  {allowed} allowed, {approvals} with approval, {denied} refused"
    ));
    say(&format!(
        "  first hour: {reads} reads of {READS}, {writes} writes of {WRITES} that Azure allows"
    ));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::calls;
    use crate::flow::Flow;

    #[test]
    fn calls_grow_with_vaults_and_not_with_items() {
        let text = r#"
version: 1
flow: nightly
owner: backup@contoso.com
gateway: { url: "https://gw.internal:8443", identity: nightly }
defaults:
  poll: { first: 1m, max: 5m }
regions:
  weu:
    schedule: { cron: "30 2 * * *", timezone: Europe/Berlin }
    targets:
      - { vault: 22222222-2222-2222-2222-222222222222/rg1/v1, items: ["vm:*/*"] }
"#;
        let region = |text: &str| Flow::read("f", text).unwrap().regions.remove(0);
        let one = region(text);
        // Ten looks in the first ten minutes, then one every two.
        assert_eq!(calls(&one, 10), (37, 10));
        assert_eq!(calls(&one, 10_000), (37, 10_000));
        let more = format!(
            "{text}      - {{ vault: 22222222-2222-2222-2222-222222222222/rg1/v2, items: [\"vm:*/*\"] }}\n"
        );
        assert_eq!(calls(&region(&more), 10).0, 74);
    }
}
