//! Waiting for conditions.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks at a condition.
pub const STEP: Duration = Duration::from_millis(20);

/// Looks at `condition` until it gives a value; the error is the last reason for not having one.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut condition: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() > deadline => {
                bail!("not within {within:?}: {what}: {reason:#}")
            }
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}
