//! All traces of this server.

use std::{
    io,
    sync::{Arc, Mutex},
};

use synscope_tracer::{Kernel, Tracer};

use super::{EndReason, Totals, Trace, lock, worker};
use crate::{
    history::{History, HistoryError, Kept},
    memory,
    otlp::Outlet,
    request::{FieldError, TraceRequest},
    token::random_hex,
};

/// Ended traces whose events stay readable. The oldest leave first.
const MAX_ENDED: usize = 32;

pub(crate) struct Manager {
    /// What the kernel is like, or why nothing can be traced on it. Found out once.
    kernel: Result<Kernel, Arc<synscope_tracer::Error>>,
    max_running: usize,
    history: Arc<History>,
    outlet: Option<Outlet>,
    traces: Mutex<Traces>,
}

#[derive(Default)]
struct Traces {
    /// Those that run, and those that are not in history as a whole. Oldest first.
    held: Vec<Arc<Trace>>,
    /// What those that were forgotten had added up to.
    gone: Totals,
    /// Traces whose programs are being loaded. They count towards the limit, and nobody waits for them.
    loading: usize,
    /// No more may start.
    closed: bool,
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
    pub(crate) fn new(max_running: usize, history: Arc<History>, outlet: Option<Outlet>) -> Self {
        let kernel = Kernel::of_this_host().map_err(Arc::new);
        memory::give_back();
        Self { kernel, max_running, history, outlet, traces: Mutex::default() }
    }

    /// Why nothing can be traced here, if so.
    pub(crate) fn kernel_error(&self) -> Option<&synscope_tracer::Error> {
        self.kernel.as_ref().err().map(Arc::as_ref)
    }

    /// Starts a trace. When it returns, its probes are attached. Loading blocks for some milliseconds.
    pub(crate) fn create(&self, request: TraceRequest) -> Result<Arc<Trace>, CreateError> {
        let options = request.options()?;
        if request.recorder.is_some() && self.history.record().is_none() {
            let detail = self.history.status().detail;
            return Err(FieldError {
                field: "recorder".into(),
                problem: format!("needs a history: {detail}"),
            }
            .into());
        }
        let kernel = self.kernel.as_ref().map_err(|error| CreateError::Kernel(Arc::clone(error)))?;
        self.reserve()?;
        let loaded = Tracer::start(kernel, &options);
        let mut traces = lock(&self.traces);
        traces.loading -= 1;
        if traces.closed {
            return Err(CreateError::ShuttingDown);
        }
        let (probes, counters) = loaded.map_err(|error| CreateError::Kernel(Arc::new(error)))?;
        let trace = Trace::new(random_hex(6)?, request, counters, self.history.record(), self.outlet.clone());
        self.history.follow(&trace);
        worker::start(&trace, probes, kernel.clone())?;
        memory::give_back();
        traces.held.push(Arc::clone(&trace));
        traces.forget_oldest_ended();
        tracing::info!(trace = trace.id, "started");
        Ok(trace)
    }

    /// Takes a place before the programs are loaded, so that two requests at once never exceed the limit.
    fn reserve(&self) -> Result<(), CreateError> {
        let mut traces = lock(&self.traces);
        let running = traces.loading + traces.running();
        if running >= self.max_running {
            return Err(CreateError::TooMany(running));
        }
        traces.loading += 1;
        Ok(())
    }

    /// How history is.
    pub(crate) fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Where attempts leave the host, if they do.
    pub(crate) fn outlet(&self) -> Option<&Outlet> {
        self.outlet.as_ref()
    }

    /// Newest first.
    pub(crate) fn list(&self) -> Result<Vec<Arc<Trace>>, HistoryError> {
        let mut traces = lock(&self.traces).held.clone();
        let kept = self.history.list()?;
        let unknown = |kept: &Kept| !traces.iter().any(|trace| trace.id == kept.id);
        let kept: Vec<_> = kept.into_iter().filter(unknown).collect();
        traces.extend(kept.into_iter().map(|kept| Trace::kept(kept, &self.history)));
        traces.sort_by_key(|trace| std::cmp::Reverse(trace.created.0));
        Ok(traces)
    }

    pub(crate) fn get(&self, id: &str) -> Result<Option<Arc<Trace>>, HistoryError> {
        if let Some(trace) = lock(&self.traces).held.iter().find(|trace| trace.id == id) {
            return Ok(Some(Arc::clone(trace)));
        }
        Ok(self.history.get(id)?.map(|kept| Trace::kept(kept, &self.history)))
    }

    /// Stops a trace and forgets it and its events.
    pub(crate) async fn delete(&self, id: &str) -> Result<bool, HistoryError> {
        let Some(trace) = self.get(id)? else { return Ok(false) };
        trace.stop(EndReason::Requested).await;
        if let Some(record) = trace.record() {
            self.history.delete(record.key).await?;
        }
        lock(&self.traces).forget(id);
        tracing::info!(trace = id, "deleted");
        Ok(true)
    }

    /// Traces that run, and those held that have ended.
    pub(crate) fn count(&self) -> (usize, usize) {
        let traces = lock(&self.traces);
        let running = traces.running();
        (running, traces.held.len() - running)
    }

    /// What all traces since the start of the server add up to.
    pub(crate) fn totals(&self) -> Totals {
        let traces = lock(&self.traces);
        let mut totals = traces.gone.clone();
        traces.held.iter().for_each(|trace| totals.add(trace));
        totals
    }

    /// Stops every trace, lets no more start, and writes history to its end.
    pub(crate) async fn stop_all(&self) {
        let traces = {
            let mut traces = lock(&self.traces);
            traces.closed = true;
            traces.held.clone()
        };
        for trace in &traces {
            trace.ask_to_stop(EndReason::Shutdown);
        }
        for trace in &traces {
            trace.stop(EndReason::Shutdown).await;
        }
        self.history.close().await;
    }
}

impl Traces {
    fn running(&self) -> usize {
        self.held.iter().filter(|trace| trace.is_running()).count()
    }

    fn forget_oldest_ended(&mut self) {
        let ended: Vec<_> = self.held.iter().filter(|trace| !trace.is_running()).cloned().collect();
        let beyond = ended.len().saturating_sub(MAX_ENDED);
        ended[..beyond].iter().for_each(|trace| self.forget(&trace.id));
    }

    /// Twice does nothing more.
    fn forget(&mut self, id: &str) {
        let Some(place) = self.held.iter().position(|trace| trace.id == id) else { return };
        let trace = self.held.remove(place);
        self.gone.add(&trace);
    }
}
