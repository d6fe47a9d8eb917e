//! What every scenario is handed.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Server, Trace};
use crate::vm::protocol::Fact;

/// More than run at once, whatever the number of workers.
const SHARED_TRACES: &str = "64";

/// The binary under test, and one server that most scenarios share.
pub struct Lab {
    binary: PathBuf,
    shared: Mutex<Option<Arc<Server>>>,
    facts: Mutex<Vec<Fact>>,
}

impl Lab {
    /// A lab for this binary; nothing runs yet.
    pub fn new(binary: PathBuf) -> Self {
        Self { binary, shared: Mutex::default(), facts: Mutex::default() }
    }

    /// `SYNSCOPE_BIN`, or the newest build in the target directory that this program stands in; for a program of the release
    /// profile, as benchmarks are, the release build.
    pub fn find_binary() -> Option<PathBuf> {
        if let Some(binary) = env::var_os("SYNSCOPE_BIN") {
            return Some(binary.into());
        }
        let program = env::current_exe().ok()?;
        // TARGET/PROFILE has programs, TARGET/PROFILE/deps tests and benchmarks.
        let own = program.ancestors().find(|it| it.ends_with("release") || it.ends_with("debug"))?;
        let modified = |path: &PathBuf| path.metadata().and_then(|it| it.modified()).ok();
        let profiles: &[&str] = if own.ends_with("release") { &["release"] } else { &["release", "debug"] };
        let built = profiles.iter().map(|profile| own.with_file_name(profile).join("synscope"));
        built.filter(|path| path.exists()).max_by_key(modified)
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The shared server: traces of many scenarios run in it side by side.
    pub fn server(&self) -> Result<Arc<Server>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.as_ref() {
            return Ok(Arc::clone(server));
        }
        let server = Server::start_with(&self.binary, |command| {
            command.args(["--max-traces", SHARED_TRACES]);
        });
        let server = Arc::new(server.context("the shared server")?);
        *shared = Some(Arc::clone(&server));
        Ok(server)
    }

    /// A server that a scenario may signal or count.
    pub fn own_server(&self) -> Result<Server> {
        Server::start(&self.binary)
    }

    /// A trace in the shared server.
    pub fn trace(&self, request: &Value) -> Result<Trace> {
        Trace::start(&*self.server()?, request)
    }

    /// Notes something about this kernel, for reports.
    pub fn note(&self, fact: Fact) {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).push(fact);
    }

    /// What was noted.
    pub fn facts(&self) -> Vec<Fact> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the shared server and returns its log; scenarios that hold it may keep it alive.
    pub fn close(&self) -> Option<String> {
        let server = self.shared.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(server.log())
    }
}
