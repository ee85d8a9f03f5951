//! Spellings that proxies and servers have disagreed on, and what each must end with.

use super::super::case::Expect::{self, Either, Hides, Passes, Refused};

/// What is put somewhere into a segment.
#[rustfmt::skip]
pub(super) const PIECES: [(&str, Expect); 66] = [
    // Separators that somebody decodes.
    ("%2f", Refused), ("%2F", Refused), ("%252f", Refused), ("%5c", Refused), ("%255c", Refused),
    ("\\", Refused), ("%c0%af", Refused), ("%e0%80%af", Refused), ("%c0%ae", Refused),
    ("%f0%80%80%af", Refused), ("%c1%9c", Refused), ("%ef%bc%8f", Refused), ("%e2%88%95", Refused),
    ("\u{ff0f}", Refused), ("%u002f", Refused), ("%3f", Refused), ("%23", Refused),
    ("%25", Refused),
    // What ends a text or a line somewhere.
    ("%00", Refused), ("%0d%0a", Refused), ("%0a", Refused), ("%09", Refused), ("%7f", Refused),
    (" ", Refused), ("\t", Refused), ("\0", Refused), ("\r\n", Refused), ("\r", Refused),
    ("\n", Refused), ("\x7f", Refused), ("\u{85}", Refused), ("%c2%85", Refused),
    ("%e2%80%a8", Refused),
    // Letters that fold to others.
    ("\u{212a}", Refused), ("\u{17f}", Refused), ("\u{130}", Refused), ("\u{131}", Refused),
    ("%e2%84%aa", Refused), ("%c5%bf", Refused), ("%c4%b0", Refused), ("%ef%bd%96", Refused),
    ("%cc%81", Refused), ("%e2%80%8b", Refused), ("%ff", Refused), ("%zz", Refused),
    ("%u002e", Refused), ("{", Refused), ("}", Refused), ("|", Refused), ("^", Refused),
    ("`", Refused), ("\"", Refused),
    // Data in a name, nothing in a fixed segment.
    (";", Either), (";a=b", Either), ("%3b", Either), ("+", Either), ("%20", Either), (".", Either),
    ("%2e", Either), ("&", Either), ("@", Either), (":", Either), ("*", Either), ("%", Either),
    // The rest is no path any more.
    ("?", Hides), ("#", Hides),
];

/// What is put in as a segment.
#[rustfmt::skip]
pub(super) const SEGMENTS: [(&str, Expect); 17] = [
    (".", Refused), ("..", Refused), ("%2e", Refused), ("%2e%2e", Refused), (".%2e", Refused),
    ("%2E.", Refused), ("..;", Refused), ("..;x=y", Refused), ("..%3b", Refused),
    ("..%20", Refused), ("...", Refused), ("..%00", Refused), ("%20", Refused),
    ("backupJobs", Either), ("providers", Either), ("evil.example", Either), ("a@b", Either),
];

/// What follows the path.
#[rustfmt::skip]
pub(super) const TRAILS: [(&str, Expect); 20] = [
    ("/.", Refused), ("/..", Refused), ("/%2e%2e", Refused), (".", Refused), ("%20", Refused),
    ("%00", Refused), ("/%2f", Refused), ("%2fbackupJobs", Refused), ("/../backupJobs", Refused),
    (";", Either), (".json", Either), ("$", Either), (":delete", Either), ("/*", Either),
    ("/$batch", Either), ("/providers/Microsoft.Authorization/locks/l1", Either),
    ("/providers/Microsoft.Insights/diagnosticSettings/d1", Either),
    ("/providers/Microsoft.RecoveryServices/vaults/v2", Either),
    ("/providers/Microsoft.DataProtection/backupInstances", Either), ("#/backupJobs", Hides),
];

/// Queries for every method, for reads only, and for changes only; what stands there
/// for others is refused.
#[rustfmt::skip]
pub(super) const QUERIES: [(&str, Expect, Expect); 40] = [
    ("API-VERSION=2024-04-01", Passes, Passes), ("%61pi-version=2024-04-01", Passes, Passes),
    ("api%2dversion=2024%2D04-01", Passes, Passes), ("api-version=2026-08-01", Passes, Passes),
    ("$top=10&api-version=2024-04-01", Passes, Passes),
    ("api-version=2024-04-01&%24filter=name%20eq%20%27a%2bb%27", Passes, Passes),
    ("api-version=2024-04-01&$skipToken=%2F%3D%26x%3Dy", Passes, Passes),
    ("api-version=2024-04-01&$filter=%0d%0aHost:x", Passes, Passes),
    ("api-version=2024-04-01&$filter=%c3%a9", Passes, Passes),
    ("api-version=2016-12-01", Passes, Refused),
    ("api-version=2026-08-01-preview", Passes, Refused), ("", Refused, Refused),
    ("api-version", Refused, Refused), ("api-version=", Refused, Refused),
    ("api-version=latest", Refused, Refused), ("api-version=2024-4-1", Refused, Refused),
    ("api-version=2024-04-01&api-version=2024-04-01", Refused, Refused),
    ("api-version=2024-04-01&API-version=2016-12-01", Refused, Refused),
    ("api-version=2024-04-01&%61pi-version=2016-12-01", Refused, Refused),
    ("api-version[]=2024-04-01", Refused, Refused), ("api-version%00=2024-04-01", Refused, Refused),
    ("api-version=2024-04-01%00", Refused, Refused),
    ("api-version=2024-04-01;x=1", Refused, Refused), ("api-version=2024-04-01+", Refused, Refused),
    (" api-version=2024-04-01", Refused, Refused), ("api-version=2024-04-01&", Refused, Refused),
    ("&api-version=2024-04-01", Refused, Refused), ("?api-version=2024-04-01", Refused, Refused),
    ("api-version=2024-04-01?x", Refused, Refused), ("api_version=2024-04-01", Refused, Refused),
    ("api-version=2024-04-01&x=1", Refused, Refused),
    ("api-version=2024-04-01&$filter=a+b", Refused, Refused),
    ("api-version=2024-04-01&$filter=%ff", Refused, Refused),
    ("api-version=2024-04-01&$filter=%zz", Refused, Refused),
    ("api-version=2024-04-01&$filter=%00", Refused, Refused),
    ("api-version=2024-04-01&$FILTER=a&$filter=b", Refused, Refused),
    ("api-version=2024-04-01&access_token=x", Refused, Refused),
    ("api-vers\u{131}on=2024-04-01", Refused, Refused), ("api-version=2024-04-01#x", Hides, Hides),
    ("api-version=2024-04-01&$filter=#&x=1", Hides, Hides),
];

/// Headers with which some servers take another method or path; refused on changes
/// where they begin as ARM's own.
#[rustfmt::skip]
pub(super) const HEADERS: [(&str, &str, Expect, Expect); 11] = [
    ("x-http-method-override", "DELETE", Passes, Passes),
    ("x-method-override", "GET", Passes, Passes),
    ("x-original-url", "/subscriptions", Passes, Passes),
    ("x-rewrite-url", "/subscriptions", Passes, Passes),
    ("x-forwarded-host", "evil.example", Passes, Passes),
    ("x-forwarded-prefix", "/a/..", Passes, Passes), ("x-ms-force", "true", Passes, Refused),
    ("x-ms-path", "/subscriptions", Passes, Refused),
    ("if-unmodified-since", "Mon, 23 Nov 2026 03:00:00 GMT", Passes, Refused),
    ("x-ms-deleted-vault-id", "/subscriptions/s", Either, Either),
    ("if-match", "*", Passes, Passes),
];
