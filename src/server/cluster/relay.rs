//! The outbox of PostgreSQL: what applications have put there is published by one hub at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::backoff::Backoff;
use super::state::LinkState;
use crate::cluster::{EngineError, OutboxRules, Postgres, Relayed};

/// How long a look may wait for rows.
const WAIT: Duration = Duration::from_secs(1);

/// Relays until the hub ends.
pub(super) async fn run(engine: Arc<Postgres>, state: Arc<LinkState>, rules: OutboxRules) {
    let mut backoff = Backoff::default();
    let mut refused_why = None;
    loop {
        match engine.relay(&state.identity(), &rules, WAIT).await {
            Ok(Relayed { refused, .. }) => {
                if refused > 0 {
                    tracing::warn!(
                        refused,
                        "rows of the outbox break a rule of updates: they are in outbox_refused, with the reason"
                    );
                }
                (backoff, refused_why) = (Backoff::default(), None);
            }
            Err(error) => {
                // What can't be reached is said by who follows the log.
                if let EngineError::Refused(why) = error
                    && refused_why.as_ref() != Some(&why)
                {
                    tracing::warn!(why, "the outbox can't be relayed");
                    refused_why = Some(why);
                }
                sleep(backoff.next()).await;
            }
        }
    }
}
