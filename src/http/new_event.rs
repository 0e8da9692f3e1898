//! What a back end asks to be published, as it comes.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::realtime::{Channel, EventName, SocketId};

/// One event, as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(examples(json!({ "channels": ["order:42"], "event": "paid", "data": { "total": 19.90 }, "idempotencyKey": "order-42-paid" })))]
pub(super) struct NewEvent {
    /// Who is in several of them gets the event once.
    #[schema(value_type = Vec<Channel>, min_items = 1, max_items = 1_000)]
    pub(super) channels: Vec<String>,
    #[schema(value_type = EventName)]
    pub(super) event: String,
    /// Any JSON; `null` where it is left out.
    #[serde(default)]
    #[schema(value_type = Value)]
    pub(super) data: Option<Box<RawValue>>,
    /// Only for whoever is there; it is not kept.
    #[serde(default)]
    pub(super) volatile: bool,
    /// Who does not get it, live and whenever they resume.
    #[serde(default)]
    #[schema(value_type = Vec<SocketId>, max_items = 1_000)]
    pub(super) except_sockets: Vec<String>,
    /// Milliseconds until it is told: 30 days at most.
    #[serde(default)]
    #[schema(maximum = 2_592_000_000i64)]
    pub(super) delay_ms: Option<u64>,
    /// When it is told, instead of `delayMs`.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub(super) deliver_at: Option<String>,
    /// 1 to 128 bytes of one's own.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "events": [{ "channels": ["order:42"], "event": "paid" }, { "channels": ["order:43"], "event": "reminder", "delayMs": 900_000 }] })))]
pub(super) struct NewEvents {
    #[schema(min_items = 1, max_items = 1_000)]
    pub(super) events: Vec<NewEvent>,
}
