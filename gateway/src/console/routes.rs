//! The console's addresses: exact ones, and nothing else.

use http::Method;
use uuid::Uuid;

use crate::api::{APPROVALS, DELETIONS, RUNS, canonical_uuid};
use crate::approvals::Which;

const QUARANTINE: &str = "/_vaultgate/v1/quarantine";
const INCIDENT: &str = "/_vaultgate/v1/incident";

/// What somebody says of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Consents.
    Approve,
    /// Refuses.
    Reject,
    /// Takes back what others gave.
    Veto,
}

/// One of the console's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `GET /_vaultgate/v1/approvals`, with `?state=all` for those that ended too.
    Approvals(Which),
    /// `GET /_vaultgate/v1/approvals/{id}`.
    Approval(Uuid),
    /// `POST /_vaultgate/v1/approvals/{id}/approve`, `…/reject`, `…/veto`.
    Judge(Uuid, Word),
    /// `GET /_vaultgate/v1/deletions`.
    Deletions,
    /// `GET /_vaultgate/v1/runs`.
    Runs,
    /// `GET /_vaultgate/v1/quarantine`.
    Quarantine,
    /// `POST /_vaultgate/v1/quarantine`.
    Hold,
    /// `POST /_vaultgate/v1/quarantine/{id}/release`.
    Release(Uuid),
    /// `GET /_vaultgate/v1/incident`.
    Incident,
    /// `POST /_vaultgate/v1/incident/freeze`.
    Freeze,
    /// `POST /_vaultgate/v1/incident/lift`.
    Lift,
    /// `POST /_vaultgate/v1/incident/fast-path`.
    FastPath,
    /// `POST /_vaultgate/v1/incident/fast-path/close`.
    CloseFastPath,
    /// `POST /_vaultgate/v1/incident/break-glass`.
    BreakGlass,
    /// `POST /_vaultgate/v1/incident/break-glass/{id}/end`.
    EndBreakGlass(Uuid),
}

impl Route {
    /// What a request names, if it names something.
    pub(super) fn of(method: &Method, target: &str) -> Option<Route> {
        let get = *method == Method::GET;
        if !get && *method != Method::POST {
            return None;
        }
        match (get, target) {
            (true, APPROVALS) => return Some(Route::Approvals(Which::Open)),
            (true, DELETIONS) => return Some(Route::Deletions),
            (true, RUNS) => return Some(Route::Runs),
            (true, QUARANTINE) => return Some(Route::Quarantine),
            (false, QUARANTINE) => return Some(Route::Hold),
            (true, INCIDENT) => return Some(Route::Incident),
            _ => {}
        }
        if let Some(rest) = target.strip_prefix(APPROVALS) {
            return approval(get, rest);
        }
        if let Some(rest) = target.strip_prefix(QUARANTINE) {
            let id = rest.strip_prefix('/')?.strip_suffix("/release")?;
            return canonical_uuid(id).filter(|_| !get).map(Route::Release);
        }
        match target.strip_prefix(INCIDENT)? {
            "/freeze" if !get => Some(Route::Freeze),
            "/lift" if !get => Some(Route::Lift),
            "/fast-path" if !get => Some(Route::FastPath),
            "/fast-path/close" if !get => Some(Route::CloseFastPath),
            "/break-glass" if !get => Some(Route::BreakGlass),
            rest => {
                let id = rest.strip_prefix("/break-glass/")?.strip_suffix("/end")?;
                let id = canonical_uuid(id).filter(|_| !get)?;
                Some(Route::EndBreakGlass(id))
            }
        }
    }

    /// Whether it changes something, and so needs a recent sign-in.
    pub(super) fn changes(self) -> bool {
        !matches!(
            self,
            Route::Approvals(_)
                | Route::Approval(_)
                | Route::Deletions
                | Route::Runs
                | Route::Quarantine
                | Route::Incident
        )
    }
}

fn approval(get: bool, rest: &str) -> Option<Route> {
    if get && rest == "?state=all" {
        return Some(Route::Approvals(Which::All));
    }
    let rest = rest.strip_prefix('/')?;
    if get {
        return canonical_uuid(rest).map(Route::Approval);
    }
    let (id, word) = rest.split_once('/')?;
    let word = match word {
        "approve" => Word::Approve,
        "reject" => Word::Reject,
        "veto" => Word::Veto,
        _ => return None,
    };
    Some(Route::Judge(canonical_uuid(id)?, word))
}
