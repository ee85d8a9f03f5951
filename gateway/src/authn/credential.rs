//! Where a request may carry its token: one `Authorization` header, nowhere else.
//!
//! A token in the query ends up in logs, one in a cookie is sent by any page that
//! a browser shows (CSRF), two of them are two answers to one question.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::refused::Failure;

/// Longest token, bytes. Signed tokens with hundreds of groups stay below it.
const MAX_TOKEN: usize = 16 << 10;

/// How a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Bearer,
    Dpop,
}

/// A presented token. No `Debug`: it must not reach a log.
pub(super) struct Credential<'h> {
    pub(super) scheme: Scheme,
    pub(super) token: &'h str,
}

impl<'h> Credential<'h> {
    /// Reads the one `Authorization` header.
    pub(super) fn read(headers: &'h HeaderMap) -> Result<Credential<'h>, Failure> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Failure::Missing)?;
        if values.next().is_some() {
            return Err(Failure::Malformed("the authorization header is repeated"));
        }
        let text = value
            .to_str()
            .map_err(|_| Failure::Malformed("it is not ASCII text"))?;
        let (scheme, rest) = text.split_once(' ').ok_or(Failure::Scheme)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
            _ if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
            _ => return Err(Failure::Scheme),
        };
        let token = rest.trim_start_matches(' ');
        if token.len() > MAX_TOKEN {
            return Err(Failure::Malformed("it is longer than 16 KiB"));
        }
        // No comma, no blank, no padding: one token, in one spelling.
        let spelled = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if token.is_empty() || !token.bytes().all(spelled) {
            return Err(Failure::Malformed("it is not one signed token"));
        }
        Ok(Credential { scheme, token })
    }
}
