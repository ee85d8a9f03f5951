//! Restores of Recovery Services items: in the region, across regions, and their
//! validation.

use serde_json::{Value, json};

use super::jobs::Home;
use super::operations::{Begin, Finish, Style};
use super::reply::Answer;
use super::request::ArmRequest;
use crate::document::{member, text};
use crate::world::{World, workload_of};

/// What is wrong with a restore request for that item, if anything.
fn wrong(world: &World, request: &Value, item: &Value) -> Option<Answer> {
    let refused = |code: &str, message: &str| Some(Answer::error(400, code, message));
    let kind = text(request, "/objectType").unwrap_or_default();
    let fits = match workload_of(text(item, "/name").unwrap_or_default()).1 {
        "AzureIaasVM" => kind.starts_with("IaasVMRestore"),
        "AzureStorage" => kind == "AzureFileShareRestoreRequest",
        _ => kind.starts_with("AzureWorkload"),
    };
    if !fits {
        return refused(
            "BMSUserErrorInvalidInput",
            "Input provided for the call is invalid: 'objectType' does not fit the item.",
        );
    }
    let kinds = [
        "Invalid",
        "OriginalLocation",
        "AlternateLocation",
        "RestoreDisks",
        "Offline",
    ];
    if !text(request, "/recoveryType").is_some_and(|kind| kinds.contains(&kind)) {
        return refused(
            "BMSUserErrorInvalidInput",
            "Input provided for the call is invalid: 'recoveryType'.",
        );
    }
    if let Some(account) = text(request, "/storageAccountId") {
        // The Azure CLI writes `storageAccounts//<name>` here as well.
        let account = account.replace("//", "/");
        if !world.holds(&account) {
            return refused(
                "UserErrorStorageAccountNotFound",
                "The storage account of the restore was not found.",
            );
        }
    }
    None
}

/// `POST …/recoveryPoints/{id}/restore`.
pub(super) fn restore(world: &mut World, ask: &ArmRequest, vault: &str, item: &Value) -> Answer {
    if let Some(refusal) = wrong(world, &member(&ask.body, "/properties"), item) {
        return refusal;
    }
    let id = text(item, "/id").unwrap_or_default();
    let job = world.start_job(ask, Home::Vault, vault, "Restore", item.clone(), None);
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{id}/operationsStatus")),
            result: Some(format!("{id}/operationResults")),
            properties: json!({"objectType": "OperationStatusJobExtendedInfo", "jobId": job}),
            finish: Finish::Nothing,
            effect: None,
        },
    )
}

/// The item that a validation names by its source.
fn named_item<'a>(world: &'a World, vault: &str, request: &Value) -> Option<&'a Value> {
    let source = text(request, "/sourceResourceId")?;
    let items = world.of_type(vault, super::protected_items::TYPE);
    items.into_iter().find(|item| {
        text(item, "/properties/sourceResourceId")
            .is_some_and(|own| own.eq_ignore_ascii_case(source))
    })
}

/// `POST …/backupValidateOperation` and `…/backupTriggerValidateOperation`.
pub(super) fn validate(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    if ask.method != "POST" {
        return Answer::method_not_allowed(&ask.method);
    }
    // The synchronous form's request stands at the top, the other's under `properties`.
    let request = ask
        .body
        .pointer("/restoreRequest")
        .or_else(|| ask.body.pointer("/properties/restoreRequest"));
    let Some(request) = request.cloned() else {
        return Answer::error(
            400,
            "BMSUserErrorInvalidInput",
            "The member 'restoreRequest' is missing.",
        );
    };
    let fault = named_item(world, vault, &request).map(|item| wrong(world, &request, item));
    let results = match fault {
        None => {
            json!([{"code": "UserErrorItemNotFound", "message": "No protected item has this source.", "recommendations": ["Name a protected source."]}])
        }
        Some(Some(refusal)) => {
            json!([{"code": refusal.body.as_ref().and_then(|body| text(body, "/error/code")), "message": "The restore would fail.", "recommendations": []}])
        }
        Some(None) => json!([]),
    };
    let response = json!({"validateOperationResponse": {"validationResults": results}});
    if ask.last().eq_ignore_ascii_case("backupValidateOperation") {
        return Answer::ok(response);
    }
    let mut status = response.clone();
    crate::document::set(
        &mut status,
        "/objectType",
        "OperationStatusValidateOperationExtendedInfo",
    );
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{vault}/backupValidateOperationsStatuses")),
            result: Some(format!("{vault}/backupValidateOperationResults")),
            properties: status,
            finish: Finish::Body(response),
            effect: None,
        },
    )
}

/// `POST …/locations/{region}/backupCrossRegionRestore`: the vault stands in the body only.
pub(super) fn cross_region(world: &mut World, ask: &ArmRequest) -> Answer {
    let access = "/crossRegionRestoreAccessDetails";
    let token = text(&ask.body, &format!("{access}/accessTokenString"));
    if !token.is_some_and(|token| token.starts_with("sim-crr-")) {
        return Answer::error(
            400,
            "UserErrorInvalidCrrAccessToken",
            "The cross-region access details are missing or not valid.",
        );
    }
    let vault = text(&ask.body, &format!("{access}/vaultId"))
        .unwrap_or_default()
        .to_owned();
    let name =
        text(&ask.body, &format!("{access}/protectableObjectUniqueName")).unwrap_or_default();
    let item = world
        .of_type(&vault, super::protected_items::TYPE)
        .into_iter()
        .find(|item| text(item, "/name").is_some_and(|own| own.eq_ignore_ascii_case(name)))
        .cloned();
    let Some(item) = item else {
        return Answer::not_found(&vault);
    };
    if let Some(refusal) = wrong(world, &member(&ask.body, "/restoreRequest"), &item) {
        return refusal;
    }
    let job = world.start_job(
        ask,
        Home::Secondary,
        &vault,
        "CrossRegionRestore",
        item,
        None,
    );
    let base = ask.id(6);
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{base}/backupCrrOperationsStatus")),
            result: Some(format!("{base}/backupCrrOperationResults")),
            properties: json!({"objectType": "OperationStatusJobExtendedInfo", "jobId": job}),
            finish: Finish::Nothing,
            effect: None,
        },
    )
}
