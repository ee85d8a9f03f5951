//! A flow: what is to be backed up, when, and how one knows that it was.
//!
//! A [`Flow`] is checked: zones exist, crons are due some time, lengths of time have units, and
//! nothing in it is unknown. It holds no secret and no address but the gateway's: who it is, is a
//! name in the orchestrator's configuration.

mod check;
mod placed;
mod written;

pub(crate) use check::is_azure;

use crate::duration::Length;
use crate::gateway::Protected;
use crate::glob::Glob;
use crate::problem::Rejected;
use crate::schedule::Schedule;

/// A reviewed definition.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name: letters, digits and hyphens.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Address of the gateway.
    pub gateway: String,
    /// Which of the configured identities it has.
    pub identity: String,
    /// SHA-256 of the file, as policy knows it: `sha256:…`.
    pub digest: String,
    /// Its regions, by name.
    pub regions: Vec<Region>,
    /// Who is told of what, by the name of a configured channel.
    pub notify: Vec<Notify>,
}

/// One region of a flow: it fails and succeeds alone.
#[derive(Clone, Debug)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub schedule: Schedule,
    /// What its runs do with the items.
    pub work: Work,
    /// Which items.
    pub targets: Vec<Target>,
    /// Most items whose backups are started at a time.
    pub parallel: usize,
    /// How what may pass is tried again.
    pub retry: Retry,
    /// How often jobs are looked at.
    pub poll: Poll,
    /// By when it has to begin and end.
    pub deadline: Deadline,
    /// How long what is backed up is kept, where nobody asked otherwise.
    pub retain: Length,
    /// What has to hold of each item afterwards.
    pub checks: Checks,
    /// Times in which nothing is started.
    pub maintenance: Vec<Window>,
    /// Controls that it is evidence for.
    pub controls: Vec<String>,
}

/// What a run does with its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Backs them up, and looks at the recovery points.
    Backup,
    /// Restores their newest recovery points, or asks whether that would work.
    Drill(Drill),
    /// Looks at how long what is backed up is kept, and at what protects the vault.
    Review(Expected),
}

impl Work {
    /// Whether it changes nothing at Azure: no job comes of it.
    pub(crate) fn only_asks(&self) -> bool {
        matches!(self, Work::Drill(drill) if !drill.restores)
    }

    /// Whether a job that somebody else began does as well: any backup does, and its recovery point
    /// is looked at.
    pub(crate) fn adopts(&self) -> bool {
        !matches!(self, Work::Drill(_))
    }

    pub(crate) const ALL: [(&'static str, &'static str); 3] = [
        ("backup", "backup"),
        ("restore-drill", "drill"),
        ("retention-review", "retention"),
    ];
}

/// A restore that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// Whether it is done, and not only asked about.
    pub restores: bool,
    /// ARM id of the resource group that disks are restored into.
    pub resource_group: String,
    /// ARM id of the account through which they go.
    pub storage_account: String,
    /// Azure's name of the region.
    pub location: String,
}

/// What a retention review expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How long what is made each day is kept at least.
    pub daily: Option<Length>,
    /// States of the vault's immutability that are good; any where there are none.
    pub immutability: Vec<String>,
    /// States of its soft delete that are good; any where there are none.
    pub soft_delete: Vec<String>,
}

/// Items of one vault.
#[derive(Clone, Debug)]
pub struct Target {
    /// Resource group of the vault.
    pub resource_group: String,
    /// The vault.
    pub vault: String,
    /// Subscription of the vault.
    pub subscription: String,
    /// Which of its items.
    pub items: Vec<Pattern>,
    /// Those as well of which the resource has this tag, with this value.
    pub tag: Option<(String, String)>,
    /// Which of those are left out.
    pub exclude: Vec<Pattern>,
}

/// Names of items of a kind, such as `vm:rg-app/web-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What it is.
    pub kind: Kind,
    /// Its names.
    pub names: Glob,
    /// As it was written.
    pub text: String,
}

impl Pattern {
    /// The ids of such items of a vault, as a pattern in which `*` stands for any letters but `/`.
    pub fn ids(&self, vault: &str) -> String {
        let names = self.text.split_once(':').map_or("", |(_, names)| names);
        let (place, name) = names.split_once('/').unwrap_or_default();
        let (container, item) = match self.kind {
            Kind::Vm => (
                format!("*;*;{place};{name}"),
                format!("vm;*;{place};{name}"),
            ),
            Kind::Sql => (format!("*;*;*;{place}"), format!("sqldatabase;*;{name}")),
            // The item's own name is a digest that only Azure knows.
            Kind::Share => (
                format!("storagecontainer;*;*;{place}"),
                "azurefileshare;*".to_owned(),
            ),
        };
        let path = format!(
            "{vault}/backupfabrics/*/protectioncontainers/{container}/protecteditems/{item}"
        );
        path.to_lowercase()
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A virtual machine: `resource group/name`.
    Vm,
    /// A database in a virtual machine: `machine/database`.
    Sql,
    /// A file share: `storage account/share`.
    Share,
}

impl Kind {
    const ALL: [(&'static str, Kind); 3] =
        [("vm", Kind::Vm), ("sql", Kind::Sql), ("share", Kind::Share)];

    /// As flow files write it.
    pub fn as_str(self) -> &'static str {
        let found = Kind::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("vm", |(name, _)| name)
    }
}

/// How what may pass is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often in all.
    pub attempts: u32,
    /// The longest first wait.
    pub first: Length,
    /// The longest wait.
    pub cap: Length,
}

/// How often jobs are looked at: once for each vault, whatever the number of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// At first.
    pub first: Length,
    /// After a while.
    pub max: Length,
}

/// By when a run has to begin and to end, both from the time at which it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// To begin.
    pub start_within: Length,
    /// To end.
    pub finish_within: Length,
    /// Whether waiting for approvals counts.
    pub counts_approvals: bool,
}

/// What has to hold of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Its newest recovery point.
    pub recovery_point: Option<RecoveryPoint>,
    /// States of jobs that are good.
    pub accept: Vec<String>,
    /// States of jobs that are good and told.
    pub warn: Vec<String>,
}

/// What has to hold of the newest recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// How old it may be.
    pub younger_than: Length,
    /// In which tier it has to be.
    pub tier: Option<Tier>,
}

/// Where the data of a recovery point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A snapshot beside the machine.
    Snapshot,
    /// In the vault.
    Vault,
    /// In the archive.
    Archive,
}

/// A time in which nothing is started, by the clock of the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Days, Monday first.
    pub days: Vec<jiff::civil::Weekday>,
    /// From this time of the day.
    pub from: jiff::civil::Time,
    /// Until this one; on the next day where it is not later.
    pub to: jiff::civil::Time,
}

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Name of a configured channel.
    pub channel: String,
    /// What is told.
    pub on: Vec<Event>,
    /// After how many failures in a row.
    pub after_failures: u32,
    /// How often what goes on is told again.
    pub repeat: Option<Length>,
}

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A run failed, or some items of it.
    Failed,
    /// A restore that was tried failed, or some of them.
    DrillFailed,
    /// The gateway refused.
    Denied,
    /// A run was due and nobody ran it in time.
    Missed,
    /// A run was due while another went on.
    Skipped,
    /// A run took too long.
    DeadlineExceeded,
    /// An item has no recovery point that is young enough, whatever runs said.
    RpoBreached,
    /// What failed is good again.
    Recovered,
    /// A run ended well.
    Completed,
}

impl Event {
    const ALL: [(&'static str, Event); 9] = [
        ("Failed", Event::Failed),
        ("DrillFailed", Event::DrillFailed),
        ("Denied", Event::Denied),
        ("Missed", Event::Missed),
        ("Skipped", Event::Skipped),
        ("DeadlineExceeded", Event::DeadlineExceeded),
        ("RpoBreached", Event::RpoBreached),
        ("Recovered", Event::Recovered),
        ("Completed", Event::Completed),
    ];

    /// As flow files write it.
    pub fn as_str(self) -> &'static str {
        let found = Event::ALL.iter().find(|(_, event)| *event == self);
        found.map_or("Failed", |(name, _)| name)
    }
}

impl Region {
    /// Whether a target means an item; `tagged` are the resources that have its tag. Of what has a
    /// tag a drill restores the machines only.
    pub(crate) fn means(&self, target: &Target, item: &Protected, tagged: &[String]) -> bool {
        let restorable = !matches!(self.work, Work::Drill(_)) || item.name.starts_with("vm:");
        restorable && target.means(item, tagged)
    }
}

impl Flow {
    /// Reads and checks the text of a flow file; `name` is what people know the file by.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, by place.
    pub fn read(name: &str, text: &str) -> Result<Flow, Rejected> {
        let file = written::read(name, text)?;
        let mut problems = Vec::new();
        let flow = check::flow(&file, digest(text), &mut problems);
        problems.sort();
        problems.dedup();
        match flow {
            Some(flow) if problems.is_empty() => Ok(flow),
            _ => Err(Rejected {
                file: name.to_owned(),
                problems,
            }),
        }
    }
}

/// The JSON Schema of flow files, for editors: what only this crate checks, it cannot say.
pub(crate) fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(written::File);
    schema.insert(
        "title".to_owned(),
        "A flow file of Vaultgate's orchestrator".into(),
    );
    schema.to_value()
}

/// SHA-256 of a file, as policy and records write it.
fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", hex.collect::<String>())
}

#[cfg(test)]
mod tests;
