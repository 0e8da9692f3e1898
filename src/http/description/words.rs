//! The words of the protocol as schemas: channels, cursors, ids. Said here, because rooms know nothing of HTTP.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::realtime::{Channel, Cursor, EventName, SocketId, User, UserId};

fn text(description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .examples([example])
}

/// A type of the realtime part, by its schema.
macro_rules! word {
    ($type:ty, $name:literal, $schema:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    };
}

word!(
    Channel,
    "Channel",
    text("The name of a channel.", "document:42").pattern(Some(
        "^(global|admin|[a-z][a-z0-9-]{0,31}:[A-Za-z0-9._~@:-]{1,128})$"
    ))
);
word!(
    EventName,
    "EventName",
    text("The name of an event.", "changed-order")
        .pattern(Some("^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"))
);
word!(
    Cursor,
    "Cursor",
    text(
        "A position in the log: `{epoch}-{position}`. Positions of one epoch may be compared.",
        "5f3a9c21-1042"
    )
    .pattern(Some("^[0-9a-f]{8}-[0-9]{1,20}$"))
);
word!(
    SocketId,
    "SocketId",
    text(
        "The id of a client, across reconnects.",
        "0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11"
    )
    .format(Some(SchemaFormat::Custom("uuid".into())))
);
word!(
    UserId,
    "UserId",
    text("The id of a user.", "0190a6d1-0c5e-7a41-9d0b-6a1f5e2c7b30")
        .pattern(Some("^[A-Za-z0-9._~@:-]{1,128}$"))
);
word!(
    User,
    "User",
    ObjectBuilder::new()
        .description(Some("A user as the others see one."))
        .property("id", UserId::schema())
        .required("id")
        .property("name", text("What people read.", "ada"))
        .required("name")
        .property("admin", ObjectBuilder::new().schema_type(Type::Boolean))
        .required("admin")
);
