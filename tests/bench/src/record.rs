//! Records: one durable record for each request as a layer, and a log that is filled
//! ahead of a run with copies of records that a gateway wrote.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Uri};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;
use vaultgate_decision_log::{
    AppendError, DecisionLog, Entry, Kind, LogOptions, Members, Priority, SigningKey,
};

/// Members that the log itself writes.
const HEAD: [&str; 5] = ["schema", "seq", "time", "kind", "id"];

/// An open log.
pub(crate) struct Records(DecisionLog);

impl Records {
    /// Begins a log of its own.
    pub(crate) fn begin(dir: &Path) -> anyhow::Result<Records> {
        std::fs::create_dir_all(dir)?;
        let origin = "vaultgate.example/floor";
        let key = SigningKey::generate(&dir.join("log.key"), origin)?;
        Ok(Records(open(&dir.join("log"), origin, key)?))
    }

    /// Returns when the record is durable.
    pub(crate) async fn write(
        &self,
        method: &Method,
        target: &Uri,
        subject: &str,
        allowed: bool,
    ) -> anyhow::Result<()> {
        let fields = json!({
            "verdict": if allowed { "allow" } else { "deny" },
            "input": {
                "operation": {"method": method.as_str()}, "resource": {"id": target.path()},
                "principal": {"subject": subject}, "query": target.query(),
            },
        });
        let entry = Entry {
            kind: Kind::Decision,
            id: Uuid::now_v7().to_string(),
            fields: Members::of(&fields)?,
        };
        let (done, durable) = oneshot::channel();
        self.0.append(entry, Priority::Normal, move |result| {
            // Nobody listens when the caller has gone.
            let _ = done.send(result);
        })?;
        durable.await??;
        Ok(())
    }
}

fn open(dir: &Path, origin: &str, key: SigningKey) -> anyhow::Result<DecisionLog> {
    let options = LogOptions::new(dir, origin, jiff::Timestamp::now);
    Ok(DecisionLog::open(options, key)?.0)
}

/// A log to be filled.
#[derive(clap::Args)]
pub(crate) struct Fill {
    /// Folder of the log, which nobody else may have open
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    key: PathBuf,
    #[arg(long)]
    origin: String,
    /// Records that the log holds at the end
    #[arg(long)]
    size: u64,
    /// Records of a gateway, one JSON object in each line, that are copied in turn
    #[arg(long)]
    template: PathBuf,
}

/// A record to be copied: its text between the places where its id stands.
struct Template {
    kind: Kind,
    parts: Vec<String>,
}

impl Template {
    fn read(line: &str) -> anyhow::Result<Template> {
        let mut record: serde_json::Map<String, Value> = serde_json::from_str(line)?;
        let (kind, id) = match record.get("kind").and_then(Value::as_str) {
            Some("decision") => (Kind::Decision, record.get("id")),
            Some("outcome") => (Kind::Outcome, record.get("decision")),
            kind => anyhow::bail!("a record of kind {kind:?} is no template"),
        };
        let id = id.and_then(Value::as_str).context("an id")?.to_owned();
        for name in HEAD {
            record.remove(name);
        }
        let text = Value::Object(record).to_string();
        Ok(Template {
            kind,
            parts: text.split(&id).map(str::to_owned).collect(),
        })
    }

    fn copy(&self, id: &str) -> anyhow::Result<Entry> {
        Ok(Entry {
            kind: self.kind,
            id: id.to_owned(),
            fields: Members::parse(self.parts.join(id))?,
        })
    }
}

impl Fill {
    /// Fills the log: decisions, each under an id of its own that its outcome names as well.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.template)?;
        let read = text.lines().map(Template::read);
        let templates = read.collect::<anyhow::Result<Vec<_>>>()?;
        let log = open(&self.dir, &self.origin, SigningKey::load(&self.key)?)?;
        let mut written = log.size();
        while written < self.size {
            let mut id = String::new();
            for template in &templates {
                if template.kind == Kind::Decision {
                    id = Uuid::now_v7().to_string();
                }
                append(&log, template.copy(&id)?)?;
                written += 1;
            }
        }
        log.close()?;
        Ok(())
    }
}

/// Appends, and waits while the queue is full.
fn append(log: &DecisionLog, entry: Entry) -> anyhow::Result<()> {
    loop {
        match log.append(entry.clone(), Priority::Restore, |_| {}) {
            Err(AppendError::Busy) => std::thread::sleep(Duration::from_millis(1)),
            appended => return Ok(appended?),
        }
    }
}
