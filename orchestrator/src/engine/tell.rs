//! Who is told of runs: channels, the gateway, a collector. All of them by what the journal holds, and
//! nothing waits for them.

use std::time::Duration;

use super::{Engine, Running};
use crate::gateway::Trouble;
use crate::journal::JournalError;
use crate::verdict::Verdict;

/// How often it is looked whom to tell.
const ALERTS_EVERY: Duration = Duration::from_secs(2);
/// How often a collector is sent what there is.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

impl Engine {
    /// Tells whoever is to know, for ever.
    pub(super) async fn tell(&self) -> Result<(), JournalError> {
        let Some(alerts) = &self.alerts else {
            return std::future::pending().await;
        };
        loop {
            for running in &self.flows {
                alerts
                    .look(&self.journal, &running.flow, self.now())
                    .await?;
            }
            tokio::time::sleep(ALERTS_EVERY).await;
        }
    }

    /// Sends a collector what became of the runs, for ever.
    pub(super) async fn measure(&self) -> Result<(), JournalError> {
        let Some(otlp) = &self.otlp else {
            return std::future::pending().await;
        };
        loop {
            for running in &self.flows {
                otlp.look(&self.journal, &running.flow, self.now()).await?;
            }
            tokio::time::sleep(MEASURED_EVERY).await;
        }
    }

    /// Tells the gateway how the runs of each flow stand, for ever. What it does not take now it is
    /// told later; nothing waits for it.
    pub(super) async fn report(&self) -> Result<(), JournalError> {
        loop {
            for running in &self.flows {
                self.report_once(running).await?;
            }
            tokio::time::sleep(ALERTS_EVERY).await;
        }
    }

    pub(super) async fn report_once(&self, running: &Running) -> Result<(), JournalError> {
        for run in self.journal.unreported(&running.flow.name).await? {
            let items = self.journal.items(run.id).await?;
            let mut regions = running.flow.regions.iter();
            let region = regions.find(|region| region.name == run.region);
            let controls = region.map_or(&[][..], |region| &region.controls);
            let told = running.gateway.report(&run, &items, controls, self.now());
            match told.await {
                Ok(()) => {}
                // Refused for good: told again it would be refused again.
                Err(
                    trouble @ Trouble::Said(
                        Verdict::Denied(_) | Verdict::Failed(_) | Verdict::Missing(_),
                    ),
                ) => {
                    tracing::warn!(run = %run.id, why = trouble.said(), "the gateway takes no report of this run");
                }
                Err(_) => return Ok(()),
            }
            self.journal.note_reported(&run).await?;
        }
        Ok(())
    }
}
