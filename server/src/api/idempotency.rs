//! Creating a trace twice by accident: a client that got no answer may ask again with the same key, and gets the
//! trace that its first request made.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    num::NonZeroUsize,
    sync::Arc,
};

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::Operation,
    operation::{ParamLocation, add_parameters, parameters_from_schema},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use lru::LruCache;
use schemars::JsonSchema;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::problem::Problem;
use crate::{history::HistoryError, trace::Trace};

/// Keys that are remembered; those not used for longest are forgotten first.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Longest key, in characters.
const MAX_KEY: usize = 128;

/// What was asked with a key, and the trace that it made.
struct Made {
    /// A hash of the request: it may be large.
    asked: u64,
    trace: String,
}

/// The keys of this run of the server.
pub(crate) struct Keys(Mutex<LruCache<String, Made>>);

/// Held from the look-up to the creation, so that two requests with one key never make two traces.
pub(super) struct Slot<'a> {
    keys: MutexGuard<'a, LruCache<String, Made>>,
    key: String,
    asked: u64,
}

/// What is known of a request with a key.
pub(super) enum Known<'a> {
    Trace(Arc<Trace>),
    Nothing(Slot<'a>),
}

impl Default for Keys {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_KEYS)))
    }
}

impl Keys {
    /// The trace that this key has made, if `find` still finds it.
    pub(super) async fn look_up(
        &self,
        key: String,
        asked: &Value,
        find: impl Fn(&str) -> Result<Option<Arc<Trace>>, HistoryError>,
    ) -> Result<Known<'_>, Problem> {
        let mut hasher = DefaultHasher::new();
        asked.to_string().hash(&mut hasher);
        let asked = hasher.finish();
        let mut keys = self.0.lock().await;
        if let Some(made) = keys.get(&key)
            && let Some(trace) = find(&made.trace)?
        {
            let is_same = made.asked == asked;
            return if is_same { Ok(Known::Trace(trace)) } else { Err(Problem::key_of_another_request()) };
        }
        Ok(Known::Nothing(Slot { keys, key, asked }))
    }
}

impl Slot<'_> {
    /// Remembers what the key made.
    pub(super) fn made(mut self, trace: &Trace) {
        self.keys.put(self.key, Made { asked: self.asked, trace: trace.id.clone() });
    }
}

/// The request's key, if it has one.
pub(super) struct Key(pub(super) Option<String>);

#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "a schema only")]
struct KeyHeader {
    /// Repeated with the same key, a request gets the trace that it has made already.
    #[schemars(rename = "Idempotency-Key", length(min = 1, max = MAX_KEY))]
    key: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(key) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let fits = |key: &&str| (1..=MAX_KEY).contains(&key.len());
        match key.to_str().ok().filter(fits) {
            Some(key) => Ok(Self(Some(key.to_owned()))),
            None => Err(Problem::bad_key(MAX_KEY)),
        }
    }
}

impl OperationInput for Key {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = context.schema.subschema_for::<KeyHeader>();
        let parameters = parameters_from_schema(context, schema, ParamLocation::Header);
        add_parameters(context, operation, parameters);
    }
}
