//! The exporter: spans in batches to a collector, by OTLP over HTTP, from the backbone.

use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel as queue};
use url::Url;

use super::Tracer;
use crate::admin::{Span, otlp};

/// Spans that may wait; further ones are left out.
const WAITING_SPANS_MAX: usize = 2_048;
/// Spans of one batch.
const BATCH_SPANS_MAX: usize = 256;
/// How long a batch gathers.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Failures between two lines of the log.
const FAILURES_PER_LINE: u64 = 60;

/// A tracer for the shards and what it fills.
pub(crate) fn channel() -> (Tracer, Receiver<Span>) {
    let (sender, receiver) = queue(WAITING_SPANS_MAX);
    (Tracer(Some(sender)), receiver)
}

/// Sends spans for as long as the hub runs. What the collector doesn't take is gone.
pub(crate) async fn export(mut spans: Receiver<Span>, endpoint: Url) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(SEND_TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(true)
        .user_agent(concat!("cinnabar/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut failures: u64 = 0;
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, BATCH_SPANS_MAX).await > 0 {
        if batch.len() < BATCH_SPANS_MAX {
            tokio::time::sleep(GATHER).await;
            while batch.len() < BATCH_SPANS_MAX
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
        }
        let body = otlp(&batch, env!("CARGO_PKG_VERSION")).to_string();
        batch.clear();
        let (agent, url) = (agent.clone(), endpoint.clone());
        let send = move || {
            let sent = agent.post(url.as_str()).header("Content-Type", "application/json").send(body);
            sent.map(|_| ()).map_err(|why| why.to_string())
        };
        let sent = tokio::task::spawn_blocking(send).await;
        if let Err(why) = sent.map_err(|why| why.to_string()).and_then(|sent| sent) {
            if failures.is_multiple_of(FAILURES_PER_LINE) {
                tracing::warn!(why, failures, "traces can't be handed to the collector of --otlp-endpoint");
            }
            failures += 1;
        }
    }
}
