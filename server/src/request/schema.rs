//! What OpenAPI says of the parts of a request that take more than one form.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Cgroup, FilterRequest, Network, Ports};

/// One value, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "a schema only")]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// The filter as an object, or as a text of the filter language; it is always shown as the object.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "a schema only")]
pub(super) enum ObjectOrText {
    Object(FilterRequest),
    Text(String),
}

macro_rules! schemas {
    ($($type:ty, $name:literal = $schema:tt;)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

schemas! {
    Cgroup, "Cgroup" = {"type": ["string", "integer"], "minimum": 0, "description": "path below the cgroup root, or id"};
    Network, "PeerNetwork" = {"type": "string", "description": "an address, or a network like 10.0.0.0/8"};
    Ports, "Ports" = {
        "type": ["integer", "string"], "minimum": 1, "maximum": 65535,
        "pattern": "^ *[+]?[0-9]+ *(- *[+]?[0-9]+ *)?$", "description": "a port, or a range like 8000-9000",
    };
}
