//! Metrics: what is counted, under names and with labels that Prometheus recommends. Labels come from closed sets; no
//! channel, user or address is one.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What one server counts. Two servers in one process count apart.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    refusals: Family<Refused, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: Refusal,
}

/// Why somebody was refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Refusal {
    /// As many connections as there may be.
    Connections,
    /// As many connections as the address may have.
    ConnectionsPerIp,
    /// As many connections as the user may have.
    ConnectionsPerUser,
    /// As many connections of TCP as the address may have.
    TcpConnections,
    /// More channels than a connection may have.
    Channels,
}

impl Metrics {
    /// Nothing has been counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("roomcast");
        let refusals = Family::default();
        registry.register("refusals", "What was refused, by reason", refusals.clone());
        Self { registry, refusals }
    }

    /// Counts something that was refused.
    pub fn refuse(&self, reason: Refusal) {
        self.refusals.get_or_create(&Refused { reason }).inc();
    }

    /// All of it, in the text format.
    ///
    /// # Errors
    /// Never: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
