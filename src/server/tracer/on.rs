//! What requests say about themselves, on its way to the exporter: a bounded queue that nobody waits for.

use tokio::sync::mpsc::Sender;

use crate::admin::{Note, Span, TraceParent};
use crate::http::head::Head;
use crate::server::shard::Context;

/// What a shard traces with; without an endpoint nothing is traced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracer(pub(super) Option<Sender<Span>>);

/// A request under way; `None`: nobody wants to know.
pub(crate) struct Trace(Option<(Span, u64)>);

impl Tracer {
    /// Whether requests are traced.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl Trace {
    /// Of a request that nobody wants to know about.
    pub(crate) fn none() -> Trace {
        Trace(None)
    }

    /// A request begins. It belongs to the trace its field `traceparent` names, and isn't kept if that says so.
    pub(crate) fn begin(context: &Context, name: &'static str, head: &Head<'_>) -> Trace {
        if context.tracer.0.is_none() {
            return Trace(None);
        }
        let parent = head.get_str("traceparent").and_then(TraceParent::parse);
        if parent.is_some_and(|parent| !parent.sampled) {
            return Trace(None);
        }
        let fresh = || u128::from(context.random()) << 64 | u128::from(context.random());
        let span = Span {
            name,
            trace_id: parent.map_or_else(fresh, |parent| parent.trace_id),
            span_id: context.random() | 1,
            parent_id: parent.map(|parent| parent.span_id),
            start_us: context.now().wall_ms * 1_000,
            took_us: 0,
            status: 0,
            notes: Vec::new(),
        };
        Trace(Some((span, context.clock.mono_us())))
    }

    pub(crate) fn text(&mut self, key: &'static str, value: impl FnOnce() -> String) {
        self.note(key, || Note::Text(value()));
    }

    pub(crate) fn texts(&mut self, key: &'static str, values: impl FnOnce() -> Vec<String>) {
        self.note(key, || Note::Texts(values()));
    }

    pub(crate) fn flag(&mut self, key: &'static str, flag: bool) {
        self.note(key, || Note::Flag(flag));
    }

    fn note(&mut self, key: &'static str, note: impl FnOnce() -> Note) {
        if let Some((span, _)) = &mut self.0 {
            span.notes.push((key, note()));
        }
    }

    /// The request was answered. When the exporter has more than it can take, this one is left out.
    pub(crate) fn end(self, context: &Context, status: u16) {
        if let (Some((span, started_us)), Some(queue)) = (self.0, &context.tracer.0) {
            let took_us = context.clock.mono_us().saturating_sub(started_us);
            let _ = queue.try_send(Span { took_us, status, ..span });
        }
    }
}
