//! What an answer of the gateway means for what was asked: refused for good, to wait for people,
//! to try again, or done.
//!
//! The gateway says itself whether it was policy, a limit or Azure: `x-vaultgate-decision`. Nothing
//! is read off a status that somebody else could have sent.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was done, or taken.
    Done,
    /// Policy, or the form of the request: never again as it is.
    Denied(Refused),
    /// Others have to agree first, under this approval.
    Approval(String),
    /// Azure works on the same item already.
    InProgress,
    /// It may have reached Azure, and nobody knows: look before anything else.
    Unknown,
    /// It may pass: not before so long.
    Transient(Refused, Option<Duration>),
    /// The token was not taken.
    Unauthenticated(Refused),
    /// What is named is not there.
    Missing(Refused),
    /// Azure refuses, and would again.
    Failed(Refused),
}

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// A stable code: the gateway's reason, or Azure's.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Reads an answer of a change, or of a read.
pub fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let decision = text("x-vaultgate-decision").unwrap_or_default();
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = refused(status, &error);
    let wait = text("retry-after").and_then(|text| text.trim().parse().ok());
    let wait = wait.map(Duration::from_secs);
    match (status.as_u16(), decision, said.code.as_str()) {
        (200..=299, _, _) => Verdict::Done,
        (401, _, _) => Verdict::Unauthenticated(said),
        // An answer of whoever stands before the gateway: it says nothing of what was asked.
        (_, "", _) => Verdict::Transient(said, wait),
        (403, "approval", _) => match approval(&error) {
            Some(id) => Verdict::Approval(id),
            None => Verdict::Denied(said),
        },
        (_, _, "request-in-flight" | "approval-cooling-off") => Verdict::Transient(said, wait),
        (_, _, "outcome-unknown" | "reply-not-kept") => Verdict::Unknown,
        (429, _, _) | (_, "limit", _) => Verdict::Transient(said, wait),
        (403, "deny", _) => Verdict::Denied(said),
        // Azure's own: a role may not have spread yet.
        (403, _, _) => Verdict::Transient(said, wait),
        (_, _, code) if in_progress(code) => Verdict::InProgress,
        (408 | 412 | 500 | 502..=504, _, _) => Verdict::Transient(said, wait),
        (404, _, _) => Verdict::Missing(said),
        (_, "deny", _) => Verdict::Denied(said),
        // A redirect, or a page in place of an error: it says nothing that would last.
        (300..=399, _, _) => Verdict::Transient(said, wait),
        (status, _, code) if code == status.to_string() => Verdict::Transient(said, wait),
        _ => Verdict::Failed(said),
    }
}

/// Whether an answer says that nothing was done: neither by this request nor by another under its
/// key.
pub(crate) fn nothing_done(status: StatusCode, verdict: &Verdict) -> bool {
    let code = match verdict {
        Verdict::Done | Verdict::Unknown => return false,
        Verdict::Denied(said)
        | Verdict::Transient(said, _)
        | Verdict::Unauthenticated(said)
        | Verdict::Missing(said)
        | Verdict::Failed(said) => said.code.as_str(),
        Verdict::Approval(_) | Verdict::InProgress => "",
    };
    match code {
        "request-in-flight" => false,
        // The gateway says so.
        "upstream-unreachable" | "gateway-credential" | "log-unavailable" | "store-unavailable" => {
            true
        }
        _ => !matches!(status.as_u16(), 408 | 500 | 502 | 504),
    }
}

/// Codes with which Azure says that a job runs already.
pub(crate) fn in_progress(code: &str) -> bool {
    let code = code.to_ascii_lowercase();
    code.contains("operationinprogress") || code.contains("backupinprogress")
}

fn refused(status: StatusCode, error: &Value) -> Refused {
    let text = |pointer: &str| error.pointer(pointer).and_then(Value::as_str);
    let reason = text("/error/additionalInfo/0/info/reason");
    // Of a denial by policy the rule's own code says more than that it was one.
    let rule = text("/error/details/0/code").filter(|_| reason == Some("policy-denied"));
    let code = rule.or(reason).or(text("/error/code"));
    let code = code.unwrap_or(status.as_str());
    let message = text("/error/message").unwrap_or("there is no reason in the answer");
    // Databases take no NUL in a text, and people no other control characters.
    let short = |text: &str, most: usize| {
        let plain = text.chars().filter(|c| !c.is_control());
        plain.take(most).collect::<String>()
    };
    Refused {
        code: short(code, 64),
        message: short(message, 500),
    }
}

fn approval(error: &Value) -> Option<String> {
    let id = error.pointer("/error/additionalInfo/0/info/approval/approvalId")?;
    let id = id.as_str()?;
    // It stands in an address later.
    uuid::Uuid::try_parse(id).ok().map(|id| id.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::{Verdict, of};

    fn read(status: u16, decision: &str, code: &str, wait: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-vaultgate-decision", decision), ("retry-after", wait)] {
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        let body = format!(
            r#"{{"error": {{"code": "X", "message": "m", "additionalInfo": [{{"info": {{"reason": "{code}",
                "approval": {{"approvalId": "0199f0aa-0000-7000-8000-000000000001"}}}}}}]}}}}"#
        );
        of(
            StatusCode::from_u16(status).unwrap(),
            &headers,
            body.as_bytes(),
        )
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let wait = Duration::from_secs(7);
        assert_eq!(read(202, "allow", "", ""), Verdict::Done);
        assert!(
            matches!(read(403, "deny", "outside-window", ""), Verdict::Denied(said) if said.code == "outside-window")
        );
        assert!(matches!(
            read(403, "approval", "approval-required", ""),
            Verdict::Approval(_)
        ));
        // Azure's 403 is none of policy.
        assert!(matches!(
            read(403, "allow", "AuthorizationFailed", ""),
            Verdict::Transient(..)
        ));
        assert!(
            matches!(read(429, "limit", "rate", "7"), Verdict::Transient(_, Some(asked)) if asked == wait)
        );
        assert!(matches!(
            read(503, "error", "log-unavailable", ""),
            Verdict::Transient(_, None)
        ));
        assert!(matches!(
            read(409, "error", "request-in-flight", "7"),
            Verdict::Transient(_, Some(_))
        ));
        assert_eq!(read(502, "error", "outcome-unknown", ""), Verdict::Unknown);
        assert_eq!(read(409, "error", "outcome-unknown", ""), Verdict::Unknown);
        assert_eq!(
            read(409, "allow", "UserErrorBackupOperationInProgress", ""),
            Verdict::InProgress
        );
        assert!(matches!(
            read(401, "deny", "token-expired", ""),
            Verdict::Unauthenticated(_)
        ));
        assert!(matches!(
            read(404, "allow", "ResourceNotFound", ""),
            Verdict::Missing(_)
        ));
        assert!(matches!(
            read(400, "allow", "UserErrorVmNotRunning", ""),
            Verdict::Failed(_)
        ));
        assert!(matches!(
            read(400, "deny", "body-malformed", ""),
            Verdict::Denied(_)
        ));
        // Whoever redirects, or answers with a page, says nothing of what was asked.
        assert!(matches!(read(302, "allow", "", ""), Verdict::Transient(..)));
        let mut headers = HeaderMap::new();
        headers.insert("x-vaultgate-decision", HeaderValue::from_static("allow"));
        let page = of(StatusCode::BAD_REQUEST, &headers, b"<html>");
        assert!(matches!(page, Verdict::Transient(..)), "{page:?}");
        // The gateway redirects nobody, and says of each answer whose it is.
        for status in [302, 400, 403, 404, 409] {
            let verdict = read(status, "", "", "");
            assert!(matches!(verdict, Verdict::Transient(..)), "{verdict:?}");
        }
    }

    #[test]
    fn garbage_means_nothing_good() {
        for body in [&b""[..], b"<html>", b"[]", b"{\"error\": 1}", b"\xff"] {
            let verdict = of(StatusCode::FORBIDDEN, &HeaderMap::new(), body);
            assert!(matches!(verdict, Verdict::Transient(..)), "{verdict:?}");
            let verdict = of(StatusCode::BAD_GATEWAY, &HeaderMap::new(), body);
            assert!(matches!(verdict, Verdict::Transient(..)), "{verdict:?}");
        }
    }
}
