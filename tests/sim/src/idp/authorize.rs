//! Authorization code with PKCE: signs in at once as `login_hint`, or shows the
//! personas to choose from.

use std::collections::HashMap;

use http::{HeaderValue, Response};
use serde_json::json;

use super::grants::audience;
use super::tokens::{LIFETIME, TokenRequest};
use super::{Form, Issuer, PERSONAS, failure, persona, token_answer};
use crate::digest::{fresh_hex, sha256_base64url};
use crate::server::{Asked, add};
use crate::state::State;
use crate::wire::{self, Reply, full};

struct Granted {
    issuer: Issuer,
    persona: String,
    client: String,
    redirect: String,
    challenge: String,
    nonce: Option<String>,
    audience: String,
}

/// Codes that were handed out and not yet used.
#[derive(Default)]
pub(crate) struct Codes(HashMap<String, Granted>);

/// Answers the authorization endpoint.
pub(super) fn authorize(state: &State, issuer: Issuer, asked: &Asked) -> Reply {
    let form = Form::parse(asked.query.as_bytes());
    let (Some(client), Some(redirect)) = (form.one("client_id"), form.one("redirect_uri")) else {
        return failure(
            400,
            "invalid_request",
            "`client_id` and `redirect_uri` are needed",
        );
    };
    if url::Url::parse(redirect).is_err() {
        return failure(400, "invalid_request", "`redirect_uri` is not an address");
    }
    if form.one("response_type") != Some("code") {
        return back(redirect, &form, &[("error", "unsupported_response_type")]);
    }
    let Some(challenge) = form
        .one("code_challenge")
        .filter(|_| form.one("code_challenge_method") == Some("S256"))
    else {
        return back(
            redirect,
            &form,
            &[
                ("error", "invalid_request"),
                ("error_description", "PKCE with S256 is needed"),
            ],
        );
    };
    let Some(who) = form.one("login_hint").and_then(persona) else {
        return choose(asked);
    };
    let code = fresh_hex();
    let granted = Granted {
        issuer,
        persona: who.name.to_owned(),
        client: client.to_owned(),
        redirect: redirect.to_owned(),
        challenge: challenge.to_owned(),
        nonce: form.one("nonce").map(str::to_owned),
        audience: audience(&form),
    };
    let mut idp = state.idp();
    idp.codes.0.insert(code.clone(), granted);
    let named = idp.issuer(issuer);
    back(redirect, &form, &[("code", &code), ("iss", &named)])
}

/// Sends the browser back to the client.
fn back(redirect: &str, form: &Form, parameters: &[(&str, &str)]) -> Reply {
    let Ok(mut url) = url::Url::parse(redirect) else {
        return failure(400, "invalid_request", "`redirect_uri` is not an address");
    };
    url.query_pairs_mut().extend_pairs(parameters);
    if let Some(state) = form.one("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    let mut reply = wire::json(302, &json!({}));
    add(&mut reply, "location", url.as_str());
    reply
}

/// A page with one link for each persona.
fn choose(asked: &Asked) -> Reply {
    let links: String = PERSONAS
        .iter()
        .map(|one| {
            let query = asked
                .query
                .replace('&', "&amp;")
                .replace('"', "&quot;")
                .replace('<', "&lt;");
            format!(
                "<li><a href=\"{}?{query}&amp;login_hint={}\">{} ({})</a></li>",
                asked.path, one.name, one.display_name, one.name
            )
        })
        .collect();
    let page = format!(
        "<!doctype html><title>Sign in</title><h1>Development sign-in</h1><ul>{links}</ul>"
    );
    let mut reply = Response::new(full(page));
    reply.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    reply
}

/// Answers the authorization-code grant. A code works once, right or wrong.
pub(super) fn exchange(state: &State, issuer: Issuer, asked: &Asked, form: &Form) -> Reply {
    let known = form
        .one("client_id")
        .is_some_and(|id| state.idp().clients.contains_key(id));
    if (known || form.one("client_secret").is_some())
        && let Err(refusal) = super::grants::client(state, asked, form)
    {
        return *refusal;
    }
    let mut idp = state.idp();
    let granted = form.one("code").and_then(|code| idp.codes.0.remove(code));
    let Some(granted) = granted else {
        return failure(
            400,
            "invalid_grant",
            "AADSTS70008: The code has expired or was used.",
        );
    };
    let verifier = form.one("code_verifier").unwrap_or_default();
    let holds = granted.issuer == issuer
        && form.one("redirect_uri") == Some(granted.redirect.as_str())
        && form
            .one("client_id")
            .is_none_or(|client| client == granted.client)
        && sha256_base64url(verifier.as_bytes()) == granted.challenge;
    if !holds {
        return failure(
            400,
            "invalid_grant",
            "AADSTS50148: The code does not belong to this request.",
        );
    }
    let request = TokenRequest {
        audience: Some(granted.audience),
        client_id: Some(granted.client.clone()),
        ..TokenRequest::new(&granted.persona, issuer)
    };
    let id_token = persona(&granted.persona)
        .map(|who| idp.id_token(issuer, who, &granted.client, granted.nonce.as_deref()));
    match (idp.mint(&request), id_token) {
        (Ok(token), Some(Ok(id_token))) => token_answer(
            &token,
            LIFETIME,
            &json!({"id_token": id_token, "scope": "openid profile"}),
        ),
        _ => failure(500, "server_error", "the token could not be made"),
    }
}
