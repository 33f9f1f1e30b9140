//! Traces of requests for an OpenTelemetry collector. Without the feature `otel` nothing of it is there: what requests say
//! about themselves goes nowhere, and isn't even made.

#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod on;

#[cfg(feature = "otel")]
pub(crate) use export::{channel, export};
#[cfg(not(feature = "otel"))]
pub(crate) use off::{Trace, Tracer};
#[cfg(feature = "otel")]
pub(crate) use on::{Trace, Tracer};
