//! Device code: approved at once when the request names a persona, else by a control
//! call.

use std::collections::HashMap;

use serde_json::json;

use super::grants::audience;
use super::tokens::{LIFETIME, TokenRequest};
use super::{Form, Issuer, failure, persona, token_answer};
use crate::digest::fresh_hex;
use crate::server::Asked;
use crate::state::State;
use crate::wire::{self, Reply};

#[derive(Clone)]
enum Verdict {
    Pending,
    Approved(String),
    Denied,
}

struct Waiting {
    user_code: String,
    client: String,
    audience: String,
    verdict: Verdict,
}

/// Sign-ins that were started on a device, by device code.
#[derive(Default)]
pub(crate) struct Devices(HashMap<String, Waiting>);

impl Devices {
    /// Approves (or, without a persona, denies) a waiting sign-in.
    pub(crate) fn settle(&mut self, user_code: &str, who: Option<&str>) -> bool {
        let Some(waiting) = self.0.values_mut().find(|one| one.user_code == user_code) else {
            return false;
        };
        waiting.verdict = who.map_or(Verdict::Denied, |who| Verdict::Approved(who.to_owned()));
        true
    }
}

/// Answers the device authorization endpoint.
pub(super) fn start(state: &State, issuer: Issuer, asked: &Asked) -> Reply {
    let form = Form::parse(&asked.body);
    let Some(client) = form.one("client_id") else {
        return failure(
            400,
            "invalid_request",
            "the parameter `client_id` is missing",
        );
    };
    let who = form
        .one("login_hint")
        .or_else(|| persona(client).map(|one| one.name));
    let verdict = match who {
        Some(who) if persona(who).is_some() => Verdict::Approved(who.to_owned()),
        _ => Verdict::Pending,
    };
    let device_code = fresh_hex();
    let user_code = fresh_hex()
        .get(..8)
        .unwrap_or_default()
        .to_ascii_uppercase();
    let waiting = Waiting {
        user_code: user_code.clone(),
        client: client.to_owned(),
        audience: audience(&form),
        verdict,
    };
    let mut idp = state.idp();
    idp.devices.0.insert(device_code.clone(), waiting);
    let page = format!("{}/device", idp.issuer(issuer));
    wire::json(
        200,
        &json!({
            "device_code": device_code, "user_code": user_code, "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": 900, "interval": 1,
            "message": format!("To sign in, open {page} and enter the code {user_code}."),
        }),
    )
}

/// Answers the device-code grant.
pub(super) fn exchange(state: &State, issuer: Issuer, form: &Form) -> Reply {
    let Some(code) = form.one("device_code") else {
        return failure(
            400,
            "invalid_request",
            "the parameter `device_code` is missing",
        );
    };
    let mut idp = state.idp();
    let Some(waiting) = idp.devices.0.get(code) else {
        return failure(
            400,
            "expired_token",
            "AADSTS70019: The device code has expired.",
        );
    };
    if form.one("client_id") != Some(waiting.client.as_str()) {
        return failure(400, "invalid_grant", "the code belongs to another client");
    }
    let who = match &waiting.verdict {
        Verdict::Pending => {
            return failure(
                400,
                "authorization_pending",
                "AADSTS70016: The user has not yet signed in.",
            );
        }
        Verdict::Denied => return failure(400, "access_denied", "the user refused"),
        Verdict::Approved(who) => who.clone(),
    };
    let request = TokenRequest {
        audience: Some(waiting.audience.clone()),
        client_id: Some(waiting.client.clone()),
        ..TokenRequest::new(&who, issuer)
    };
    let id_token = persona(&who).map(|who| idp.id_token(issuer, who, &waiting.client, None));
    let minted = idp.mint(&request);
    idp.devices.0.remove(code);
    match (minted, id_token) {
        (Ok(token), Some(Ok(id_token))) => {
            token_answer(&token, LIFETIME, &json!({"id_token": id_token}))
        }
        _ => failure(500, "server_error", "the token could not be made"),
    }
}
