//! The token endpoint: client credentials, device code, authorization code.

use serde_json::{Value, json};

use super::tokens::{LIFETIME, TokenRequest};
use super::{DATA_AUDIENCE, Form, Issuer, failure, persona, token_answer};
use crate::azure_tokens::identity_of_client;
use crate::digest::from_base64url;
use crate::server::Asked;
use crate::state::State;
use crate::wire::Reply;

/// Answers `POST …/token`.
pub(super) fn token(state: &State, issuer: Issuer, asked: &Asked) -> Reply {
    let form = Form::parse(&asked.body);
    match form.one("grant_type") {
        Some("client_credentials") => client_credentials(state, issuer, asked, &form),
        Some("authorization_code") => super::authorize::exchange(state, issuer, asked, &form),
        Some("urn:ietf:params:oauth:grant-type:device_code") => {
            super::device::exchange(state, issuer, &form)
        }
        Some(_) => failure(
            400,
            "unsupported_grant_type",
            "AADSTS70003: The grant type is not supported.",
        ),
        None => failure(
            400,
            "invalid_request",
            "AADSTS900144: The parameter `grant_type` is missing.",
        ),
    }
}

/// A client that proved itself.
pub(super) struct Client(pub String);

/// Who asks: by secret in the body, by secret in a basic header, or by assertion.
pub(super) fn client(state: &State, asked: &Asked, form: &Form) -> Result<Client, Box<Reply>> {
    let basic = asked
        .header("authorization")
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(basic);
    let (id, secret) = match basic {
        Some((id, secret)) => (id, Some(secret)),
        None => match form.one("client_id") {
            Some(id) => (id.to_owned(), form.one("client_secret").map(str::to_owned)),
            None => {
                return Err(refused(
                    400,
                    "invalid_request",
                    "AADSTS900144: The parameter `client_id` is missing.",
                ));
            }
        },
    };
    let expected = state.idp().clients.get(&id).cloned();
    let Some(expected) = expected else {
        return Err(refused(
            401,
            "unauthorized_client",
            "AADSTS700016: Application not found in the directory.",
        ));
    };
    match (secret, form.one("client_assertion")) {
        (Some(secret), None) if secret == expected => Ok(Client(id)),
        (Some(_), None) => Err(refused(
            401,
            "invalid_client",
            "AADSTS7000215: Invalid client secret provided.",
        )),
        (None, Some(assertion)) if asserts(assertion) => Ok(Client(id)),
        (None, Some(_)) => Err(refused(
            401,
            "invalid_client",
            "AADSTS700027: The client assertion is not valid.",
        )),
        _ => Err(refused(
            401,
            "invalid_client",
            "AADSTS7000218: A client secret or assertion is needed.",
        )),
    }
}

fn refused(status: u16, error: &str, description: &str) -> Box<Reply> {
    Box::new(failure(status, error, description))
}

fn basic(encoded: &str) -> Option<(String, String)> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |part: &str| {
        url::form_urlencoded::parse(format!("v={part}").as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
    };
    Some((decode(id)?, decode(secret)?))
}

/// Whether an assertion looks like a JWT that has not ended. Its signature is not
/// looked at: the emulator does not know the workload's issuer.
fn asserts(assertion: &str) -> bool {
    let mut parts = assertion.split('.');
    let (Some(_), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let claims: Option<Value> =
        from_base64url(claims).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let ends = claims
        .as_ref()
        .and_then(|claims| claims.get("exp"))
        .and_then(Value::as_f64);
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 fit a double exactly"
    )]
    let now = jiff::Timestamp::now().as_second() as f64;
    !signature.is_empty() && ends.is_some_and(|ends| ends > now)
}

fn client_credentials(state: &State, issuer: Issuer, asked: &Asked, form: &Form) -> Reply {
    let client = match client(state, asked, form) {
        Ok(Client(id)) => id,
        Err(refusal) => return *refusal,
    };
    if issuer == Issuer::Entra && form.one("scope").is_none() && form.one("resource").is_none() {
        return failure(
            400,
            "invalid_request",
            "AADSTS900144: The parameter `scope` is missing.",
        );
    }
    if let Some(identity) = identity_of_client(&client) {
        let mut tokens = state.tokens();
        let lifetime = i64::try_from(tokens.lifetime.as_secs()).unwrap_or(LIFETIME);
        return token_answer(&tokens.mint(identity), lifetime, &client_info(form));
    }
    if persona(&client).is_none() {
        return failure(
            401,
            "unauthorized_client",
            "AADSTS700016: Application not found in the directory.",
        );
    }
    let request = TokenRequest {
        audience: Some(audience(form)),
        ..TokenRequest::new(&client, issuer)
    };
    match state.idp().mint(&request) {
        Ok(token) => token_answer(&token, LIFETIME, &client_info(form)),
        Err(error) => failure(500, "server_error", &error.to_string()),
    }
}

/// The audience that a form asks for: the scope without `/.default`, or the resource.
pub(super) fn audience(form: &Form) -> String {
    let named = form.one("audience").or_else(|| form.one("resource"));
    if let Some(named) = named {
        return named.to_owned();
    }
    let scopes = form.one("scope").unwrap_or_default();
    scopes
        .split(' ')
        .find_map(|scope| {
            let api = scope
                .strip_suffix("/.default")
                .or_else(|| scope.strip_suffix("/user_impersonation"));
            api.or_else(|| scope.starts_with("api://").then_some(scope))
        })
        .unwrap_or(DATA_AUDIENCE)
        .to_owned()
}

/// MSAL asks for it with `client_info=1`, and expects to read it.
fn client_info(form: &Form) -> Value {
    match form.one("client_info") {
        Some("1") => {
            json!({"client_info": crate::digest::base64url(r#"{"uid":"sim","utid":"sim"}"#)})
        }
        _ => json!({}),
    }
}
