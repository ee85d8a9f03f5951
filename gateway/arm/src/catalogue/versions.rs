//! Api-versions that changes may use: a version that nobody looked at may give the
//! same path another meaning. Reads may use any well-formed version.

/// Versions of Microsoft.RecoveryServices and Microsoft.DataProtection that the
/// catalogue was held against: specifications, SDKs and recorded clients.
const LISTED: [&str; 24] = [
    "2021-11-15",
    "2023-01-01",
    "2023-02-01",
    "2023-04-01",
    "2023-05-01",
    "2023-06-01",
    "2023-08-01",
    "2023-11-01",
    "2023-12-01",
    "2024-01-01",
    "2024-02-01",
    "2024-03-01",
    "2024-04-01",
    "2024-10-01",
    "2025-01-01",
    "2025-02-01",
    "2025-07-01",
    "2025-08-01",
    "2025-09-01",
    "2026-06-01",
    "2026-07-01",
    "2026-08-01",
    "2026-10-01",
    "2026-11-01",
];

/// Whether changes may use this version.
pub(crate) fn is_listed(version: &str) -> bool {
    LISTED.contains(&version)
}

/// Whether the text is an api-version at all.
pub(crate) fn is_well_formed(version: &str) -> bool {
    let (date, suffix) = version.split_at_checked(10).unwrap_or((version, ""));
    let shape = date.len() == 10
        && date.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    shape
        && matches!(
            suffix,
            "" | "-preview" | "-alpha" | "-beta" | "-privatepreview"
        )
}
