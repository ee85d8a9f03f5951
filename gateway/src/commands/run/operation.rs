//! A long-running operation of Azure, followed to its end.

use std::time::Duration;

use anyhow::bail;
use http::{HeaderMap, Method, StatusCode};

use crate::commands::client::{Client, Told, text};

/// Between two looks, unless the answer says how long.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Follows an accepted operation until it has ended; the last answer.
pub(super) async fn follow(
    data: &Client,
    begun: Told,
    until: tokio::time::Instant,
) -> anyhow::Result<Told> {
    let mut last = begun;
    let mut place = place(&last.headers);
    while let Some(handle) = place.clone() {
        if !goes_on(&last) {
            break;
        }
        if tokio::time::Instant::now() >= until {
            bail!("the operation has not ended; hint: look at {handle}");
        }
        tokio::time::sleep(pause(&last.headers)).await;
        let Some(path) = data.own_path(&handle) else {
            bail!("`{handle}` is no address of this gateway");
        };
        last = data.ask(Method::GET, path, None).await?;
        place = self::place(&last.headers).or(place);
    }
    Ok(last)
}

/// Whether it went well.
pub(super) fn succeeded(last: &Told) -> bool {
    let status = text(&last.body, "/status");
    last.status.is_success() && !matches!(status.as_str(), "Failed" | "Canceled" | "Cancelled")
}

fn goes_on(told: &Told) -> bool {
    let status = text(&told.body, "/status");
    told.status == StatusCode::ACCEPTED
        || told.status.is_success() && matches!(status.as_str(), "InProgress" | "Running")
}

fn place(headers: &HeaderMap) -> Option<String> {
    let named = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let found = named("azure-asyncoperation").or_else(|| named("location"));
    found.map(str::to_owned)
}

fn pause(headers: &HeaderMap) -> Duration {
    let told = headers
        .get("retry-after")
        .and_then(|value| value.to_str().ok());
    let told = told.and_then(|seconds| seconds.parse().ok());
    told.map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE)
}
