//! Where an attempt comes from, as JSON: program, ancestors, container, pod, unit, namespace.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use synscope_tracer::{
    Code, Event,
    container::{self, Workload},
    netns::Names,
    process::{self, Processes},
};

/// What is known of the calling process beyond what the kernel's record holds.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Program {
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<Executable>,
    /// Parent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    ancestry: Vec<Ancestor>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Executable {
    path: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Ancestor {
    pid: u32,
    comm: String,
}

/// What the caller is a part of.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Surroundings {
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k8s: Option<Kubernetes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    systemd: Option<Systemd>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Container {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Kubernetes {
    pod: Pod,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Pod {
    uid: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Systemd {
    unit: String,
}

impl Program {
    /// What was read of the process; of one that was gone before, its executable as the kernel had kept it.
    pub(super) fn of(process: Option<&process::Process>, code: Option<&Code>) -> Self {
        let path = process.and_then(|process| process.executable.as_ref());
        let path = path.or_else(|| code?.executable.as_ref());
        let ancestor =
            |ancestor: &process::Ancestor| Ancestor { pid: ancestor.pid, comm: ancestor.comm.clone() };
        let ancestry = process.map(|process| process.ancestry.iter().map(ancestor).collect());
        Self {
            executable: path.map(|path| Executable { path: path.to_string_lossy().into_owned() }),
            ancestry: ancestry.unwrap_or_default(),
        }
    }
}

impl From<Workload> for Surroundings {
    fn from(workload: Workload) -> Self {
        Self {
            container: workload.container.map(|found| Container { id: found.id, runtime: found.runtime }),
            k8s: workload.pod_uid.map(|uid| Kubernetes { pod: Pod { uid } }),
            systemd: workload.unit.map(|unit| Systemd { unit }),
        }
    }
}

/// Finds where attempts come from.
#[derive(Debug)]
pub(super) struct Origins {
    /// Shared with whoever reads events first: a process that failed to connect may exit at once.
    processes: Arc<Processes>,
    namespaces: Names,
}

impl Origins {
    pub(super) fn new(processes: Arc<Processes>) -> Self {
        Self { processes, namespaces: Names::default() }
    }

    /// The process that called connect(), if anybody looked at it while it was there.
    pub(super) fn process(&self, event: &Event) -> Option<Arc<process::Process>> {
        self.processes.at(event.owner?.pid, event.start_unix_ns, event.code.as_deref())
    }

    /// The name of a network namespace; `initial` for the host's own.
    pub(super) fn netns_name(&mut self, number: u32) -> Option<String> {
        if self.namespaces.is_initial(number) {
            return Some("initial".into());
        }
        self.namespaces.name(number)
    }
}

/// What a cgroup path and the process say together. The path alone knows nothing of version 1 hierarchies, and
/// the process may be gone.
pub(super) fn surroundings(cgroup: &str, process: Option<&process::Process>) -> Surroundings {
    let of_process = process.map(|process| process.workload.clone());
    of_process
        .filter(|workload| *workload != Workload::default())
        .unwrap_or_else(|| container::of(cgroup))
        .into()
}

#[cfg(test)]
mod tests {
    use super::surroundings;

    #[test]
    fn a_pod_is_nested_by_its_opentelemetry_names() {
        let (id, uid) = ("ab".repeat(32), "1a2b3c4d-5e6f-7081-92a3-b4c5d6e7f809");
        let found = surroundings(&format!("/kubepods/burstable/pod{uid}/crio-{id}"), None);
        let expected = serde_json::json!({
            "container": {"id": id, "runtime": "cri-o"},
            "k8s": {"pod": {"uid": uid}},
        });
        assert_eq!(serde_json::to_value(found).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let unit = surroundings("/system.slice/ssh.service", None);
        assert_eq!(
            serde_json::to_value(unit).unwrap(),
            serde_json::json!({"systemd": {"unit": "ssh.service"}})
        );
        assert_eq!(serde_json::to_value(surroundings("/", None)).unwrap(), serde_json::json!({}));
    }
}
