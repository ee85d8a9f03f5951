//! The part of the tour in which people decide together: one deletion, two approvers, one
//! use, and the way back.

use anyhow::{Context as _, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use vaultgate_sim::{CONSOLE_AUDIENCE, Issuer, SimHandle, TokenRequest};

use crate::client::{Answer, Client};
use crate::environment::{Environment, value};
use crate::gateway::Running;
use crate::tour::{expect, message, told};

const VM: &str = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/vm2";
const ITEM: &str = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Brg1%3Bvm2/protectedItems/VM%3Biaasvmcontainerv2%3Brg1%3Bvm2?api-version=2026-08-01";

/// The steps, and the approval that they are about.
pub(crate) struct Approvals<'t> {
    custodian: Client,
    agent: Client,
    console: Client,
    sim: &'t SimHandle,
    asked: OnceCell<(String, String)>,
}

impl<'t> Approvals<'t> {
    pub(crate) fn new(
        running: &Running,
        sim: &'t SimHandle,
        environment: &Environment,
    ) -> anyhow::Result<Approvals<'t>> {
        let data = Client::new(&running.url, &running.dev.ca)?;
        Ok(Approvals {
            custodian: data.with_token(value(environment, "TOKEN_CUSTODIAN")),
            agent: data.with_token(value(environment, "TOKEN_AGENT")),
            console: Client::new(&running.console_url, &running.dev.ca)?,
            sim,
            asked: OnceCell::new(),
        })
    }

    pub(crate) async fn asked_for(&self) -> anyhow::Result<String> {
        let answer = self.delete(None).await?;
        expect(&answer, StatusCode::FORBIDDEN, "approval")?;
        let json = answer.json();
        let approval = json.pointer("/error/additionalInfo/0/info/approval");
        let approval = approval.context("the refusal names no approval")?;
        let text = |name: &str| approval[name].as_str().unwrap_or_default().to_owned();
        self.asked.set((text("approvalId"), text("digest")))?;
        Ok(message(&answer))
    }

    pub(crate) async fn not_by_these(&self) -> anyhow::Result<String> {
        // Somebody who could approve, and asks: another of their tokens.
        let own = self.console_token("custodian", json!({"groups": ["backup-approvers"]}))?;
        let own = self.approve(&self.console.with_token(&own)).await?;
        ensure!(own.reason() == "approver-is-requester", "{}", told(&own));
        let token = self
            .sim
            .token(&TokenRequest::new("approver-a", Issuer::Oidc))?;
        let foreign = self.approve(&self.console.with_token(&token)).await?;
        ensure!(foreign.reason() == "token-audience", "{}", told(&foreign));
        Ok(format!("{}; {}", message(&own), message(&foreign)))
    }

    pub(crate) async fn given_and_used(&self) -> anyhow::Result<String> {
        for name in ["approver-a", "approver-b"] {
            let token = self.console_token(name, json!({}))?;
            let said = self.approve(&self.console.with_token(&token)).await?;
            ensure!(said.status == StatusCode::OK, "{}", told(&said));
        }
        let (id, _) = self.asked()?;
        let answer = self.delete(Some(id)).await?;
        expect(&answer, StatusCode::ACCEPTED, "allow")?;
        self.custodian.poll(&answer).await?;
        Ok(format!("by approval {id}"))
    }

    pub(crate) async fn not_twice(&self) -> anyhow::Result<String> {
        let (id, _) = self.asked()?;
        let answer = self.delete(Some(id)).await?;
        ensure!(answer.reason() == "approval-used", "{}", told(&answer));
        Ok(message(&answer))
    }

    pub(crate) async fn undelete(&self) -> anyhow::Result<String> {
        let body = json!({"properties": {"protectedItemType": "Microsoft.Compute/virtualMachines",
            "policyId": "", "protectionState": "ProtectionStopped", "sourceResourceId": VM,
            "isRehydrate": true}});
        let answer = self
            .custodian
            .send(Method::PUT, ITEM, Some(&body), &[])
            .await?;
        expect(&answer, StatusCode::ACCEPTED, "allow")?;
        self.custodian.poll(&answer).await?;
        let item = self.custodian.get(ITEM).await?.json();
        let gone = item.pointer("/properties/isScheduledForDeferredDelete");
        ensure!(gone != Some(&Value::Bool(true)), "it is still deleted");
        Ok("the item is there again".to_owned())
    }

    pub(crate) async fn quarantine(&self) -> anyhow::Result<String> {
        let read = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1/backupJobs?api-version=2026-08-01";
        expect(&self.agent.get(read).await?, StatusCode::OK, "allow")?;
        let soc = self.console_token("soc", json!({}))?;
        let stop = json!({"reason": "a drill", "target":
            {"kind": "subject", "issuer": self.sim.idp_issuer_oidc, "value": "agent"}});
        let path = "/_vaultgate/v1/quarantine";
        let console = self.console.with_token(&soc);
        let held = console.send(Method::POST, path, Some(&stop), &[]).await?;
        ensure!(held.status == StatusCode::OK, "{}", told(&held));
        let answer = self.agent.get(read).await?;
        ensure!(answer.reason() == "quarantined", "{}", told(&answer));
        Ok(message(&answer))
    }

    fn asked(&self) -> anyhow::Result<(&str, &str)> {
        let asked = self.asked.get().context("no approval was asked for")?;
        Ok((&asked.0, &asked.1))
    }

    fn console_token(&self, name: &str, claims: Value) -> anyhow::Result<String> {
        self.sim.token(&TokenRequest {
            audience: Some(CONSOLE_AUDIENCE.into()),
            claims: Some(claims),
            ..TokenRequest::new(name, Issuer::Oidc)
        })
    }

    async fn approve(&self, as_whom: &Client) -> anyhow::Result<Answer> {
        let (id, digest) = self.asked()?;
        let path = format!("/_vaultgate/v1/approvals/{id}/approve");
        let said = json!({"digest": digest, "reason": "agreed in the change meeting"});
        as_whom.send(Method::POST, &path, Some(&said), &[]).await
    }

    async fn delete(&self, approval: Option<&str>) -> anyhow::Result<Answer> {
        let shown = approval.map(|id| ("vaultgate-approval", id));
        let headers: Vec<(&str, &str)> = shown.into_iter().collect();
        self.custodian
            .send(Method::DELETE, ITEM, None, &headers)
            .await
    }
}
