//! The command line as a client of a running gateway: one door, one token.
//!
//! Where the gateway is and who asks come from the environment or from options; the token
//! comes from a variable or a file, never from an argument that others on the machine see.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{FAILED, say};
use crate::outbound::{FetchLimits, Outbound};

/// Longest that the gateway may take to answer.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;

/// Where the gateway is, and who asks.
#[derive(Args, Clone)]
pub(crate) struct Connection {
    /// Origin of the data door
    #[arg(long, value_name = "URL", env = "VAULTGATE_URL")]
    url: Option<String>,
    /// Origin of the console door
    #[arg(long, value_name = "URL", env = "VAULTGATE_CONSOLE_URL")]
    console_url: Option<String>,
    /// CA that is trusted beside the system's, PEM
    #[arg(long, value_name = "FILE", env = "VAULTGATE_CA")]
    ca: Option<PathBuf>,
    /// File that holds the token; else VAULTGATE_TOKEN, or VAULTGATE_CONSOLE_TOKEN at the console
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Which door is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The data door.
    Data,
    /// The console door.
    Console,
}

/// An answer of the gateway.
pub(crate) struct Told {
    /// Status.
    pub(crate) status: StatusCode,
    /// Headers.
    pub(crate) headers: http::HeaderMap,
    /// The body, if it is JSON.
    pub(crate) body: Value,
}

/// A client of one door.
pub(crate) struct Client {
    outbound: Outbound,
    origin: String,
    token: SecretString,
}

impl Connection {
    /// A client of one door.
    pub(crate) fn client(&self, at: At) -> anyhow::Result<Client> {
        let ca = match &self.ca {
            Some(path) => Some(
                std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?,
            ),
            None => None,
        };
        let (origin, option, variable) = match at {
            At::Data => (&self.url, "--url", "VAULTGATE_TOKEN"),
            At::Console => (
                &self.console_url,
                "--console-url",
                "VAULTGATE_CONSOLE_TOKEN",
            ),
        };
        let origin = origin
            .clone()
            .with_context(|| format!("where is the gateway? hint: give `{option}`"))?;
        Ok(Client {
            outbound: Outbound::new(ca.as_deref())?,
            origin: origin.trim_end_matches('/').to_owned(),
            token: self.token(variable)?,
        })
    }

    /// Origin of the data door.
    pub(crate) fn data_origin(&self) -> anyhow::Result<&str> {
        let url = self.url.as_deref();
        let url = url.context("where is the gateway? hint: give `--url`")?;
        Ok(url.trim_end_matches('/'))
    }

    /// The CA that is trusted beside the system's.
    pub(crate) fn ca(&self) -> Option<&std::path::Path> {
        self.ca.as_deref()
    }

    /// The token for the data door, as it is now: whoever keeps the file fresh is heard.
    pub(crate) fn data_token(&self) -> anyhow::Result<SecretString> {
        self.token("VAULTGATE_TOKEN")
    }

    fn token(&self, variable: &str) -> anyhow::Result<SecretString> {
        let text = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?,
            None => std::env::var(variable).with_context(|| {
                format!("who asks? hint: set {variable} or give `--token-file`")
            })?,
        };
        Ok(SecretString::from(text.trim().to_owned()))
    }
}

impl Client {
    /// One exchange. Refusals are answers too.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Told> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.token.expose_secret()),
            );
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
            None => Bytes::new(),
        };
        let limits = FetchLimits {
            total: TIMEOUT,
            max_body: MAX_ANSWER,
        };
        let answer = self.outbound.fetch(request.body(bytes)?, limits).await?;
        let (parts, body) = answer.into_parts();
        Ok(Told {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }

    /// The path of an address of this door.
    pub(crate) fn own_path<'a>(&self, address: &'a str) -> Option<&'a str> {
        let path = address.strip_prefix(&self.origin)?;
        path.starts_with('/').then_some(path)
    }

    /// The body of a success; a refusal becomes an error in the gateway's own words.
    pub(crate) async fn expect(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let told = self.ask(method, path, body).await?;
        if told.status.is_success() {
            return Ok(told.body);
        }
        bail!("{}", told.refusal());
    }
}

impl Told {
    /// What a refusal says, for people.
    pub(crate) fn refusal(&self) -> String {
        let said = |pointer: &str| at(&self.body, pointer).as_str().map(str::to_owned);
        let message = said("/error/message")
            .unwrap_or_else(|| format!("the gateway answered {}", self.status));
        match said("/error/additionalInfo/0/info/hint") {
            Some(hint) => format!("{message}; hint: {hint}"),
            None => message,
        }
    }
}

/// A member of an answer; `null` for what is not there.
pub(crate) fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// A member's text; nothing for what is none.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    at(value, pointer).as_str().unwrap_or_default().to_owned()
}

/// Runs one command's conversation.
pub(crate) fn run<T>(conversation: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    crate::authn::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(conversation)
}

/// Has the gateway run a request that it keeps, and tells what Azure answered.
pub(crate) fn carried_out(connection: &Connection, path: &str) -> anyhow::Result<u8> {
    let data = connection.client(At::Data)?;
    let told = run(data.ask(Method::POST, path, None))?;
    let ours = told.headers.get("x-vaultgate-decision");
    if ours.is_none_or(|verdict| verdict != "allow") {
        bail!("{}", told.refusal());
    }
    say(&format!("{}", told.status));
    for name in [
        "azure-asyncoperation",
        "location",
        "x-vaultgate-decision-id",
    ] {
        if let Some(value) = told.headers.get(name).and_then(|value| value.to_str().ok()) {
            say(&format!("{name}: {value}"));
        }
    }
    if !told.body.is_null() {
        say(&serde_json::to_string_pretty(&told.body)?);
    }
    Ok(if told.status.is_success() { 0 } else { FAILED })
}
