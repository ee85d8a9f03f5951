//! The one document that policy judges: `vaultgate.input/1`.
//!
//! The text of [`Document`] is what is recorded, its value what is evaluated: the same,
//! so that a decision can be repeated from its record alone. Nothing secret may
//! be put in here, since nothing is taken out again afterwards.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::principal::Principal;
use crate::value;

/// Name and version of the document.
pub const SCHEMA: &str = "vaultgate.input/1";

/// Everything that policy may look at.
#[derive(Clone, Debug, Serialize)]
pub struct Input<'a, A> {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Time of the request, RFC 3339 in UTC with milliseconds.
    pub now: &'a str,
    /// Who asks.
    pub principal: &'a Principal,
    /// What is asked.
    pub operation: Operation<'a>,
    /// Of which resource.
    pub resource: Resource<'a>,
    /// The request itself, and what it would change.
    pub request: Request<'a>,
    /// What Azure says of the resource, each fact with its status.
    pub facts: Json<'a>,
    /// What was done before this request, what is in flight included.
    pub activity: &'a A,
    /// The reviewed flow that the principal runs.
    pub flow: Option<Flow<'a>>,
    /// The approval that is being used.
    pub approval: Json<'a>,
    /// The incident, if there is one: whether destruction is frozen, and how restores may go
    /// faster.
    pub incident: Json<'a>,
    /// Whether this is a question only: nothing is forwarded.
    pub preflight: bool,
    /// What the caller merely says.
    pub claimed: Claimed<'a>,
    /// How the request came.
    pub transport: Transport<'a>,
}

/// What is asked.
#[derive(Clone, Debug, Serialize)]
pub struct Operation<'a> {
    /// RBAC action.
    pub name: &'a str,
    /// Class of the operation.
    pub class: &'a str,
    /// HTTP method.
    pub method: &'a str,
    /// Api-version.
    pub api_version: &'a str,
    /// Whether what is done can be undone.
    pub reversible: bool,
    /// JSON pointers of members of the body that the catalogue does not know.
    pub body_unknown: &'a [String],
}

/// The resource that is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Resource<'a> {
    /// Canonical ARM id.
    pub id: &'a str,
    /// Subscription.
    pub subscription: Option<&'a str>,
    /// Resource group.
    pub resource_group: Option<&'a str>,
    /// ARM id of the vault.
    pub vault: Option<&'a str>,
    /// ARM type.
    #[serde(rename = "type")]
    pub type_: &'a str,
    /// ARM id of the protected item or backup instance.
    pub item: Option<&'a str>,
    /// Workload of the protected item.
    pub workload: Option<&'a str>,
    /// Region of the vault.
    pub region: Option<&'a str>,
    /// Tags of the vault: they may only tighten.
    pub tags: Json<'a>,
}

/// The request and what it would change.
#[derive(Clone, Debug, Serialize)]
pub struct Request<'a> {
    /// The body, secret members replaced by digests.
    pub body: Json<'a>,
    /// The resource before the change.
    pub before: Json<'a>,
    /// What the change makes less or more.
    pub delta: Json<'a>,
    /// Where a restore goes.
    pub restore: Option<Restore<'a>>,
}

/// Where a restore goes.
#[derive(Clone, Debug, Serialize)]
pub struct Restore<'a> {
    /// `original`, `alternate`, `disks`, `files`, `cross-region` or `unknown`.
    pub kind: &'a str,
    /// What the target is named by: ARM ids and a region.
    pub target: Json<'a>,
    /// What the target differs in from the vault: `subscription`, `region`, ….
    pub crosses: &'a [&'a str],
}

/// The flow that a principal runs, from its reviewed definition.
#[derive(Clone, Debug, Serialize)]
pub struct Flow<'a> {
    /// Name.
    pub name: &'a str,
    /// Digest of the reviewed definition.
    pub definition_digest: &'a str,
    /// Whether that definition covers this request.
    pub covers: bool,
}

/// What a caller merely says. No grant may rest on it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Claimed<'a> {
    /// Run of a flow.
    pub flow_run: Option<&'a str>,
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// Command of the Azure CLI.
    pub command: Option<&'a str>,
    /// Why, in the caller's words.
    pub justification: Option<&'a str>,
}

/// How the request came.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Transport<'a> {
    /// Address of the caller.
    pub remote: &'a str,
    /// Version of TLS.
    pub tls: &'a str,
    /// Version of HTTP.
    pub http: &'a str,
}

/// A part that is JSON already.
#[derive(Clone, Copy, Debug, Default)]
pub enum Json<'a> {
    /// `null`.
    #[default]
    Null,
    /// A value.
    Value(&'a Value),
    /// Text that was checked to be JSON; put in as it is.
    Raw(&'a RawValue),
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Value(value) => value.serialize(serializer),
            Json::Raw(raw) => raw.serialize(serializer),
        }
    }
}

impl<'a> From<&'a Value> for Json<'a> {
    fn from(value: &'a Value) -> Json<'a> {
        Json::Value(value)
    }
}

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(raw: &'a RawValue) -> Json<'a> {
        Json::Raw(raw)
    }
}

impl<'a> From<Option<&'a Value>> for Json<'a> {
    fn from(value: Option<&'a Value>) -> Json<'a> {
        value.map_or(Json::Null, Json::Value)
    }
}

impl<A: Serialize> Input<'_, A> {
    /// The document that is judged and recorded.
    pub fn to_document(&self) -> Document {
        // Text keys only, so neither can fail. If one did, it would be denied.
        let text = serde_json::value::to_raw_value(self);
        Document {
            text: text.unwrap_or_else(|_| RawValue::NULL.to_owned()),
            value: value::of(self).map_err(|error| error.to_string()),
        }
    }
}

/// What is judged, or why there is none.
pub(crate) type Judged = Result<regorus::Value, String>;

/// An input in its two forms, written by the same hand: the text that is recorded and
/// replayed, and the value that is judged.
#[derive(Clone)]
pub struct Document {
    text: Box<RawValue>,
    value: Judged,
}

impl Document {
    /// The text.
    pub fn text(&self) -> &RawValue {
        &self.text
    }

    /// A document that a test or a fuzzer wrote.
    #[cfg(any(test, fuzzing))]
    pub fn of_text(text: &str) -> Document {
        Document {
            text: RawValue::from_string(text.to_owned()).unwrap_or_default(),
            value: value::parse(text).map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn value(&self) -> &Judged {
        &self.value
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.get())
    }
}

#[cfg(test)]
mod tests;
