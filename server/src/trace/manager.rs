//! All traces of this server.

use std::{
    io,
    sync::{Arc, Mutex},
};

use synscope_tracer::{Kernel, Tracer};

use super::{EndReason, Trace, lock, worker};
use crate::{
    request::{FieldError, TraceRequest},
    token::random_hex,
};

/// Ended traces whose events stay readable. The oldest leave first.
const MAX_ENDED: usize = 32;

pub(crate) struct Manager {
    /// What the kernel is like, or why nothing can be traced on it. Found out once.
    kernel: Result<Kernel, Arc<synscope_tracer::Error>>,
    max_running: usize,
    /// Oldest first.
    traces: Mutex<Vec<Arc<Trace>>>,
}

/// Why a trace was not created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("{0} traces run already, and no more may")]
    TooMany(usize),
    #[error(transparent)]
    Kernel(Arc<synscope_tracer::Error>),
    #[error("cannot start the trace's thread: {0}")]
    Io(#[from] io::Error),
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl Manager {
    pub(crate) fn new(max_running: usize) -> Self {
        let kernel = Kernel::of_this_host().map_err(Arc::new);
        Self { kernel, max_running, traces: Mutex::default() }
    }

    /// Why nothing can be traced here, if so.
    pub(crate) fn kernel_error(&self) -> Option<&synscope_tracer::Error> {
        self.kernel.as_ref().err().map(Arc::as_ref)
    }

    /// Starts a trace. When it returns, its probes are attached. Loading blocks for some milliseconds.
    pub(crate) fn create(&self, request: TraceRequest) -> Result<Arc<Trace>, CreateError> {
        let options = request.options()?;
        let kernel = self.kernel.as_ref().map_err(|error| CreateError::Kernel(Arc::clone(error)))?;
        // Held while loading, so that the limit is never exceeded by two requests at once.
        let mut traces = lock(&self.traces);
        let running = traces.iter().filter(|trace| trace.is_running()).count();
        if running >= self.max_running {
            return Err(CreateError::TooMany(running));
        }
        let (probes, counters) =
            Tracer::start(kernel, &options).map_err(|error| CreateError::Kernel(Arc::new(error)))?;
        let trace = Trace::new(random_hex(6)?, request, counters);
        worker::start(&trace, probes, kernel.clone())?;
        traces.push(Arc::clone(&trace));
        forget_oldest_ended(&mut traces);
        tracing::info!(trace = trace.id, "started");
        Ok(trace)
    }

    /// Newest first.
    pub(crate) fn list(&self) -> Vec<Arc<Trace>> {
        lock(&self.traces).iter().rev().cloned().collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Trace>> {
        lock(&self.traces).iter().find(|trace| trace.id == id).cloned()
    }

    /// Stops a trace and forgets it and its events.
    pub(crate) async fn delete(&self, id: &str) -> bool {
        let Some(trace) = self.get(id) else { return false };
        trace.stop(EndReason::Requested).await;
        lock(&self.traces).retain(|trace| trace.id != id);
        tracing::info!(trace = id, "deleted");
        true
    }

    /// Stops every trace.
    pub(crate) async fn stop_all(&self) {
        for trace in self.list() {
            trace.ask_to_stop(EndReason::Shutdown);
        }
        for trace in self.list() {
            trace.stop(EndReason::Shutdown).await;
        }
    }
}

fn forget_oldest_ended(traces: &mut Vec<Arc<Trace>>) {
    while traces.iter().filter(|trace| !trace.is_running()).count() > MAX_ENDED {
        if let Some(oldest) = traces.iter().position(|trace| !trace.is_running()) {
            traces.remove(oldest);
        }
    }
}
