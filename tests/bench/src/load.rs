//! A load generator: keep-alive connections, GETs, latencies as measured.
//!
//! Requests are written and answers read by hand: it must cost less than what it
//! measures. All connections are open before the first request is timed, and the
//! measured processes' CPU is read at both ends of the timed part only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Uri;
use tokio::task::JoinSet;

use crate::connection::{Connection, Dialer};
use crate::cpu;

/// The load, as the command line tells it.
#[derive(clap::Args)]
pub(crate) struct Load {
    #[arg(long)]
    url: Uri,
    #[arg(long)]
    ca: PathBuf,
    /// File with bearer tokens, one in each line, used in turn
    #[arg(long)]
    tokens: PathBuf,
    /// File with paths, one in each line, used in turn instead of the URL's own
    #[arg(long)]
    targets: Option<PathBuf>,
    /// Open connections
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How many of them have a request under way; all when left out
    #[arg(long)]
    active: Option<usize>,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Each connection comes from a loopback address of its own
    #[arg(long)]
    sources: bool,
    /// End after this many requests instead
    #[arg(long)]
    requests: Option<u64>,
    /// Requests a second in all; as fast as it goes when left out
    #[arg(long)]
    rate: Option<f64>,
    /// Process whose CPU is measured; may be repeated
    #[arg(long)]
    pid: Vec<u32>,
}

/// What all tasks share.
struct Shared {
    heads: Heads,
    next: AtomicU64,
    last: u64,
    until: Instant,
    pause: Option<Duration>,
}

/// The requests, each put together when it is its turn.
struct Heads {
    targets: Vec<String>,
    host: String,
    tokens: Vec<String>,
}

impl Heads {
    fn write(&self, number: u64, out: &mut Vec<u8>) {
        let of = |list: &[String]| number as usize % list.len().max(1);
        let target = self.targets.get(of(&self.targets)).map_or("/", |t| t);
        let token = self.tokens.get(of(&self.tokens)).map_or("", |t| t);
        out.clear();
        for part in [
            "GET ",
            target,
            " HTTP/1.1\r\nhost: ",
            &self.host,
            "\r\nauthorization: Bearer ",
            token,
            "\r\naccept: */*\r\n\r\n",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// What one task saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<u32>,
    bad: u64,
    /// Answers that were no success, by status; 0 where there was none.
    statuses: BTreeMap<u16, u64>,
    reopened: u64,
}

impl Load {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let dialer = Arc::new(Dialer::new(&self.url, &self.ca, self.sources)?);
        let opening = Instant::now();
        let mut groups = self.open(&dialer).await?;
        let opened = opening.elapsed().as_secs_f64();
        let active = groups.len().max(1);
        let began = Instant::now();
        let before = cpu::ticks(&self.pid);
        let shared = Arc::new(Shared {
            heads: self.heads()?,
            next: AtomicU64::new(0),
            last: self.requests.unwrap_or(u64::MAX),
            until: match self.requests {
                Some(_) => began + Duration::from_secs(24 * 3600),
                None => began + Duration::from_secs_f64(self.seconds),
            },
            pause: self
                .rate
                .map(|rate| Duration::from_secs_f64(active as f64 / rate)),
        });
        let mut tasks = JoinSet::new();
        for (number, group) in groups.drain(..).enumerate() {
            let (shared, dialer) = (Arc::clone(&shared), Arc::clone(&dialer));
            tasks.spawn(async move {
                if let Some(pause) = shared.pause {
                    // Spread over the interval, or they all arrive together.
                    tokio::time::sleep(pause.mul_f64(number as f64 / active as f64)).await;
                }
                work(&shared, &dialer, group).await
            });
        }
        let mut all = Seen::default();
        let mut kept = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (seen, group) = done??;
            all.latencies.extend(seen.latencies);
            all.bad += seen.bad;
            all.reopened += seen.reopened;
            for (status, count) in seen.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
            kept.push(group);
        }
        let took = began.elapsed().as_secs_f64();
        let used = (cpu::ticks(&self.pid) - before) as f64 * cpu::TICK_US;
        drop(kept);
        report(all, took, used, opened)
    }

    /// Opens the connections, in as many groups as requests are under way at a time.
    async fn open(&self, dialer: &Arc<Dialer>) -> anyhow::Result<Vec<Vec<Connection>>> {
        let active = self
            .active
            .unwrap_or(self.connections)
            .clamp(1, self.connections);
        let mut tasks = JoinSet::new();
        for number in 0..active {
            let share = (self.connections - number).div_ceil(active);
            let dialer = Arc::clone(dialer);
            tasks.spawn(async move {
                let mut group = Vec::with_capacity(share);
                for _ in 0..share {
                    group.push(dialer.dial().await?);
                }
                anyhow::Ok(group)
            });
        }
        let mut groups = Vec::new();
        while let Some(group) = tasks.join_next().await {
            groups.push(group??);
        }
        Ok(groups)
    }

    fn heads(&self) -> anyhow::Result<Heads> {
        let lines = |path: &PathBuf| -> anyhow::Result<Vec<String>> {
            let text = std::fs::read_to_string(path)?;
            Ok(text.lines().map(|line| line.trim().to_owned()).collect())
        };
        let own = || {
            let target = self.url.path_and_query().map_or("/", |t| t.as_str());
            vec![target.to_owned()]
        };
        Ok(Heads {
            targets: self.targets.as_ref().map_or_else(|| Ok(own()), lines)?,
            host: self.url.authority().context("a host")?.to_string(),
            tokens: lines(&self.tokens)?,
        })
    }
}

async fn work(
    shared: &Shared,
    dialer: &Dialer,
    mut group: Vec<Connection>,
) -> anyhow::Result<(Seen, Vec<Connection>)> {
    let mut seen = Seen::default();
    let mut head = Vec::with_capacity(4096);
    let mut turn = 0;
    while Instant::now() < shared.until {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.last {
            break;
        }
        shared.heads.write(number, &mut head);
        turn = (turn + 1) % group.len().max(1);
        let connection = group.get_mut(turn).context("a connection")?;
        let sent = Instant::now();
        let answered = connection.ask(&head).await;
        let took = sent.elapsed();
        seen.latencies
            .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        let open = answered.as_ref().is_ok_and(|answer| answer.open);
        let status = answered.map_or(0, |answer| answer.status);
        if !(200..300).contains(&status) {
            seen.bad += 1;
            *seen.statuses.entry(status).or_default() += 1;
        }
        if !open {
            *connection = dialer.dial().await?;
            seen.reopened += 1;
        }
        if let Some(pause) = shared.pause {
            tokio::time::sleep(pause.saturating_sub(took)).await;
        }
    }
    Ok((seen, group))
}

fn report(mut all: Seen, took: f64, used_us: f64, opened: f64) -> anyhow::Result<()> {
    use std::io::Write as _;
    all.latencies.sort_unstable();
    let count = all.latencies.len();
    let at = |share: f64| {
        let index = ((count as f64 * share) as usize).min(count.saturating_sub(1));
        all.latencies.get(index).copied().unwrap_or_default()
    };
    let result = serde_json::json!({
        "requests": count, "bad": all.bad, "bad_statuses": all.statuses, "reopened": all.reopened, "seconds": took,
        "opened_seconds": opened, "rps": count as f64 / took,
        "cpu_us": used_us / (count as f64).max(1.0),
        "p50_us": at(0.50), "p90_us": at(0.90), "p99_us": at(0.99),
    });
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
