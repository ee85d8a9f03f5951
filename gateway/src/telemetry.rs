//! Traces and metrics. Never the record of truth: that is the decision log.
//!
//! Labels come from closed sets (classes, reason codes): a caller can neither
//! grow the number of series nor put text of its own into one.

use std::fmt::Write as _;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;
use vaultgate_pdp::MachineReport;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DecisionLabels {
    class: &'static str,
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// The gateway's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    outcomes: Family<OutcomeLabels, Counter>,
    connections_refused: Family<ReasonLabels, Counter>,
    handling: Histogram,
    durable: Histogram,
    log_size: Gauge,
    log_poisoned: Gauge,
    machine: Family<ReasonLabels, Gauge>,
    shadow: Family<ReasonLabels, Gauge>,
    policy_changes: Family<ReasonLabels, Gauge>,
    unknown_outcomes: Counter,
    checkpoint_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vaultgate");
        let decisions = Family::default();
        let outcomes = Family::default();
        let connections_refused = Family::default();
        let handling = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let durable = Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        let log_size = Gauge::default();
        let log_poisoned = Gauge::default();
        let machine = Family::<ReasonLabels, Gauge>::default();
        let shadow = Family::<ReasonLabels, Gauge>::default();
        let policy_changes = Family::<ReasonLabels, Gauge>::default();
        let unknown_outcomes = Counter::default();
        let checkpoint_failures = Counter::default();
        let mut register = |name: &str, help: &str, metric: Registered| match metric {
            Registered::Decisions(m) => registry.register(name, help, m),
            Registered::Outcomes(m) => registry.register(name, help, m),
            Registered::Reasons(m) => registry.register(name, help, m),
            Registered::Histogram(m) => registry.register(name, help, m),
            Registered::Gauge(m) => registry.register(name, help, m),
            Registered::Gauges(m) => registry.register(name, help, m),
            Registered::Counter(m) => registry.register(name, help, m),
        };
        register(
            "requests",
            "Requests by class, verdict and reason",
            Registered::Decisions(Family::clone(&decisions)),
        );
        register(
            "outcomes",
            "Outcomes of forwarded requests",
            Registered::Outcomes(Family::clone(&outcomes)),
        );
        register(
            "connections_refused",
            "Connections closed before a request was read",
            Registered::Reasons(Family::clone(&connections_refused)),
        );
        register(
            "request_seconds",
            "Time from a request's headers to its answer",
            Registered::Histogram(handling.clone()),
        );
        register(
            "record_durable_seconds",
            "Time for a decision record to become durable",
            Registered::Histogram(durable.clone()),
        );
        register(
            "log_records",
            "Records in the decision log",
            Registered::Gauge(log_size.clone()),
        );
        register(
            "log_poisoned",
            "1 when a failed write has closed the decision log",
            Registered::Gauge(log_poisoned.clone()),
        );
        register(
            "policy_machine",
            "What the bytecode machine did under the active policy; `out` is 1 when it disagreed with the interpreter",
            Registered::Gauges(Family::clone(&machine)),
        );
        register(
            "policy_shadow",
            "What a candidate bundle said to requests that the active one decided",
            Registered::Gauges(Family::clone(&shadow)),
        );
        register(
            "policy_changes",
            "Bundles that were activated and that were rejected since the start",
            Registered::Gauges(Family::clone(&policy_changes)),
        );
        register(
            "unknown_outcomes",
            "Changes that may or may not have reached Azure: each needs a look",
            Registered::Counter(unknown_outcomes.clone()),
        );
        register(
            "checkpoint_failures",
            "Checkpoints that did not reach an anchor",
            Registered::Counter(checkpoint_failures.clone()),
        );
        Metrics {
            registry,
            decisions,
            outcomes,
            connections_refused,
            handling,
            durable,
            log_size,
            log_poisoned,
            machine,
            shadow,
            policy_changes,
            unknown_outcomes,
            checkpoint_failures,
        }
    }
}

/// What shadows came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShadowCounts {
    /// Requests that both judged alike.
    pub(crate) alike: u64,
    /// Requests that the candidate would allow and that were denied, or owed more approval.
    pub(crate) looser: u64,
    /// Requests that the candidate would deny and that were allowed, or owed less approval.
    pub(crate) stricter: u64,
    /// The same verdict for other reasons.
    pub(crate) reworded: u64,
    /// Faults of the candidate.
    pub(crate) faults: u64,
    /// Requests that it was too slow for.
    pub(crate) late: u64,
}

/// What became of bundles that were offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyChanges {
    /// Bundles that came into force.
    pub(crate) activated: u64,
    /// Bundles that did not.
    pub(crate) rejected: u64,
}

/// The kinds of metric that are registered above.
enum Registered {
    Decisions(Family<DecisionLabels, Counter>),
    Outcomes(Family<OutcomeLabels, Counter>),
    Reasons(Family<ReasonLabels, Counter>),
    Histogram(Histogram),
    Gauge(Gauge),
    Gauges(Family<ReasonLabels, Gauge>),
    Counter(Counter),
}

impl Metrics {
    /// Counts a judged or refused request.
    pub(crate) fn request(
        &self,
        class: &'static str,
        verdict: &'static str,
        reason: &'static str,
        seconds: f64,
    ) {
        let labels = DecisionLabels {
            class,
            verdict,
            reason,
        };
        self.decisions.get_or_create(&labels).inc();
        self.handling.observe(seconds);
    }

    /// Counts the outcome of a forwarded request.
    pub(crate) fn outcome(&self, outcome: &'static str) {
        self.outcomes
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
        if outcome == "unknown" {
            self.unknown_outcomes.inc();
        }
    }

    /// Counts a connection that was closed before a request was read.
    pub(crate) fn connection_refused(&self, reason: &'static str) {
        self.connections_refused
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    /// Notes how long a record took to become durable.
    pub(crate) fn durable(&self, seconds: f64) {
        self.durable.observe(seconds);
    }

    /// Counts a checkpoint that did not reach an anchor.
    pub(crate) fn checkpoint_failed(&self) {
        self.checkpoint_failures.inc();
    }

    /// The page for Prometheus.
    pub(crate) fn render(
        &self,
        log_size: u64,
        poisoned: bool,
        machine: Option<&MachineReport>,
        shadow: ShadowCounts,
        changes: PolicyChanges,
    ) -> String {
        for (reason, count) in [
            ("activated", changes.activated),
            ("rejected", changes.rejected),
        ] {
            let gauge = self.policy_changes.get_or_create(&ReasonLabels { reason });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (reason, count) in [
            ("alike", shadow.alike),
            ("looser", shadow.looser),
            ("stricter", shadow.stricter),
            ("reworded", shadow.reworded),
            ("fault", shadow.faults),
            ("late", shadow.late),
        ] {
            let gauge = self.shadow.get_or_create(&ReasonLabels { reason });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let machine = machine.cloned().unwrap_or_default();
        for (reason, count) in [
            ("decided", machine.decided),
            ("handed-over", machine.handed_over),
            ("checked", machine.checked),
            ("out", u64::from(machine.out)),
        ] {
            let gauge = self.machine.get_or_create(&ReasonLabels { reason });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.log_size
            .set(i64::try_from(log_size).unwrap_or(i64::MAX));
        self.log_poisoned.set(i64::from(poisoned));
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // A String cannot refuse to be written to; said rather than hidden.
            let _ = writeln!(text, "# metrics could not be rendered");
        }
        text
    }
}

/// Sends traces to standard error; `RUST_LOG` filters, `info` by default.
pub(crate) fn init(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A full or closed error output would otherwise be told to itself, by a panic.
        .log_internal_errors(false)
        .with_ansi(false);
    let set = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    // A second call, as tests make, keeps the first.
    let _ = set;
}
