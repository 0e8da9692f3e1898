//! Traces: what a request led to, for a collector that speaks OTLP over HTTP. In builds with the feature `otel`, where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says where that is.
//!
//! A request continues the trace that it came with (W3C Trace Context), its commit stands below it, and below that the
//! publication to all who hear of it: sampled as the request is, never by itself.

use std::time::Duration;

use ::http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// How long the last traces may take to be sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where traces go. They are gathered and sent by a thread of its own.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Nowhere, unless the environment says where. The variables are OpenTelemetry's own, and its library reads them
    /// (OpenTelemetry specification, "Environment Variable Specification"): the endpoint, headers, sampler, names.
    pub(super) fn to_collector() -> Result<Option<Self>, opentelemetry_otlp::ExporterBuildError> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !is_set("OTEL_EXPORTER_OTLP_ENDPOINT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let mut resource = Resource::builder().with_attribute(version);
        if !is_set("OTEL_SERVICE_NAME") {
            resource = resource.with_service_name("roomcast");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Some(Self(provider)))
    }

    /// Ours alone: spans of libraries are for whoever works on them.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let ours = Targets::new()
            .with_target("roomcast", LevelFilter::INFO)
            .with_target("roomcast::trace", LevelFilter::TRACE);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("roomcast"))
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    }

    /// Sends what has been gathered.
    pub(super) fn end(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Makes a request's span a part of the trace that it came with, and names it.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap, method: &str, route: &str) {
    let context = TraceContextPropagator::new().extract(&Headers(headers));
    if span.set_parent(context).is_ok() {
        span.record("otel.name", format!("{method} {route}"));
        span.record("otel.kind", "server");
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(::http::HeaderName::as_str).collect()
    }
}
