//! A host that gives no more threads: a request ends in an error, the server goes on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vm_tests::harness::{Lab, kernel};

use crate::Scale;

pub(crate) fn no_thread_is_an_answer(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let api = server.api();
    let start = || api.post("/api/v1/traces", &json!({}));
    let delete = |path: &str| api.delete(path).map(drop);
    // The runtime has its threads now.
    delete(&start()?.location)?;
    let limit = Limit::around(server.pid())?;
    limit.set(&limit.current()?)?;
    let refused = start()?.problem(503)?;
    ensure!(refused.text("/detail")?.contains("thread"), "no word of threads: {}", refused.0);
    ensure!(kernel::programs_of(server.pid())?.is_empty(), "programs of a trace that never was");
    api.get("/api/v1/traces")?.expect(200)?;
    limit.set("max")?;
    let started = start()?;
    started.expect(201)?;
    delete(&started.location)
}

/// A cgroup that counts threads.
struct Limit(PathBuf);

impl Limit {
    /// Of either version of cgroups.
    fn around(pid: u32) -> Result<Self> {
        let root =
            ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new).into_iter().find(|root| root.exists());
        let root = root.context("no cgroups")?;
        if root.join("cgroup.subtree_control").exists() {
            fs::write(root.join("cgroup.subtree_control"), "+pids")
                .context("asking for the pids controller")?;
        }
        let limit = Self(root.join(format!("synscope-threads-{pid}")));
        fs::create_dir(&limit.0).context("a cgroup")?;
        fs::write(limit.0.join("cgroup.procs"), pid.to_string()).context("moving the server")?;
        Ok(limit)
    }

    fn current(&self) -> Result<String> {
        Ok(fs::read_to_string(self.0.join("pids.current"))?.trim().to_owned())
    }

    fn set(&self, threads: &str) -> Result<()> {
        fs::write(self.0.join("pids.max"), threads).with_context(|| format!("at most {threads} threads"))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // The server goes back where it came from: a cgroup is removed when it is empty.
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            let _ = self.0.parent().map(|root| fs::write(root.join("cgroup.procs"), pid));
        }
        let _ = fs::remove_dir(&self.0);
    }
}
