//! What a cgroup path tells of the workload in it: container, pod, systemd unit.
//!
//! Container runtimes name a container's cgroup after the container, each in its own way, and differently
//! again for the two cgroup drivers (`cgroupfs` and `systemd`). Nothing is asked of any runtime.

/// The workload that a cgroup belongs to. What the path does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The innermost container.
    pub container: Option<Container>,
    /// UID of the innermost Kubernetes pod.
    pub pod_uid: Option<String>,
    /// The innermost systemd service or scope that is not merely a container's own.
    pub unit: Option<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Who runs it, where the path tells.
    pub runtime: Option<&'static str>,
}

const ID_LEN: usize = 64;

/// What stands before the id in the name of a container's cgroup, and whose way of naming that is.
const PREFIXES: &[(&str, Option<&'static str>)] = &[
    ("", None),
    ("docker-", Some("docker")),
    ("cri-containerd-", Some("containerd")),
    ("nerdctl-", Some("containerd")),
    ("crio-", Some("cri-o")),
    ("libpod-", Some("podman")),
    // With `podman run --cgroups=split`, below the cgroup of a service.
    ("libpod-payload-", Some("podman")),
];

/// Reads a cgroup path, as `/system.slice/nginx.service`.
pub fn of(cgroup_path: &str) -> Workload {
    let mut workload = Workload::default();
    let mut parent = "";
    for part in cgroup_path.split('/') {
        // containerd with the cgroupfs driver and a systemd path: `SLICE:cri-containerd:ID`.
        let (part, runtime) = match part.split_once(":cri-containerd:") {
            Some((slice, id)) => {
                note_pod(&mut workload, slice);
                (id, Some("containerd"))
            }
            None => (part, None),
        };
        if let Some((id, named_by)) = container_id(part) {
            let runtime = runtime.or(named_by).or_else(|| runtime_of_parent(parent));
            workload.container = Some(Container { id: id.into(), runtime });
        } else if is_unit(part) {
            workload.unit = Some(part.into());
        } else {
            note_pod(&mut workload, part);
        }
        parent = part;
    }
    workload
}

/// The id in a container's cgroup name, and the runtime that names them so. A monitor's cgroup
/// (`crio-conmon-…`, `libpod-conmon-…`) is not the container's.
fn container_id(part: &str) -> Option<(&str, Option<&'static str>)> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix)?;
        (id.len() == ID_LEN && id.bytes().all(is_lower_hex)).then_some((id, *runtime))
    })
}

/// Docker's cgroupfs driver names nothing but the directory above.
fn runtime_of_parent(parent: &str) -> Option<&'static str> {
    (parent == "docker").then_some("docker")
}

/// `podUID` with the cgroupfs driver, `kubepods-burstable-podUID.slice` with systemd, where the UID has
/// underscores for its hyphens. Static pods have a UID of 32 digits without any.
fn note_pod(workload: &mut Workload, part: &str) {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.rsplit_once("-pod") {
        Some((above, uid)) if above.contains("kubepods") => Some(uid),
        _ => name.strip_prefix("pod"),
    };
    if let Some(uid) = uid.map(|uid| uid.replace('_', "-")).filter(|uid| is_pod_uid(uid)) {
        workload.pod_uid = Some(uid);
    }
}

fn is_pod_uid(uid: &str) -> bool {
    let digits = uid.bytes().filter(|&byte| byte != b'-');
    digits.clone().count() == 32 && digits.clone().all(is_lower_hex) && matches!(uid.len(), 32 | 36)
}

fn is_unit(part: &str) -> bool {
    let stem = part.strip_suffix(".service").or_else(|| part.strip_suffix(".scope"));
    stem.is_some_and(|stem| !stem.is_empty())
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::{Container, Workload, of};

    const ID: &str = "3f4e8c0d9b1a27655e8f0c1b2a3d4e5f60718293a4b5c6d7e8f9012345678abc";
    const OUTER: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
    const UID: &str = "1a2b3c4d-5e6f-7081-92a3-b4c5d6e7f809";

    /// Fills the placeholders that the tables below are written with.
    fn fill(path: &str) -> String {
        path.replace("OUTER", OUTER)
            .replace("U_I_D", &UID.replace('-', "_"))
            .replace("UUID", UID)
            .replace("ID", ID)
    }

    fn check(path: &str, runtime: Option<&'static str>, pod: bool, unit: Option<&str>) {
        let expected = Workload {
            container: Some(Container { id: ID.into(), runtime }),
            pod_uid: pod.then(|| UID.into()),
            unit: unit.map(Into::into),
        };
        assert_eq!(of(&fill(path)), expected, "{path}");
    }

    #[test]
    fn containers_of_all_runtimes_and_both_drivers() {
        for (path, runtime) in [
            ("/docker/ID", Some("docker")),
            ("/system.slice/docker-ID.scope", Some("docker")),
            ("/user.slice/user-1000.slice/docker-ID.scope", Some("docker")),
            ("/system.slice/nerdctl-ID.scope", Some("containerd")),
            ("/machine.slice/libpod-ID.scope", Some("podman")),
            ("/machine.slice/libpod-ID.scope/container", Some("podman")),
            ("/libpod_parent/libpod-ID", Some("podman")),
            ("/ecs/0c8b1b2d3e4f/ID", None),
            // Without a cgroup namespace of its own, the path goes on inside the container.
            ("/docker/ID/some/group", Some("docker")),
            ("/../../docker-ID.scope", Some("docker")),
        ] {
            check(path, runtime, false, None);
        }
    }

    #[test]
    fn pods_of_kubernetes() {
        for (path, runtime) in [
            ("/kubepods/burstable/podUUID/ID", None),
            ("/kubepods/podUUID/ID", None),
            ("/kubepods/besteffort/podUUID/crio-ID", Some("cri-o")),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope",
                Some("containerd"),
            ),
            ("/kubepods.slice/kubepods-podU_I_D.slice/crio-ID.scope/container", Some("cri-o")),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/docker-ID.scope",
                Some("docker"),
            ),
            ("/kubepods.slice/kubepods-podU_I_D.slice/libpod-ID.scope", Some("podman")),
            // A cluster in a container: the inner container is meant.
            ("/docker/OUTER/kubelet/kubepods/burstable/podUUID/ID", None),
            (
                "/system.slice/docker-OUTER.scope/kubelet.slice/kubelet-kubepods.slice/\
              kubelet-kubepods-podU_I_D.slice/cri-containerd-ID.scope",
                Some("containerd"),
            ),
        ] {
            check(path, runtime, true, None);
        }
        let mixed = "/system.slice/containerd.service/kubepods-besteffort-podU_I_D.slice:cri-containerd:ID";
        check(mixed, Some("containerd"), true, Some("containerd.service"));
    }

    #[test]
    fn a_container_in_a_container_is_the_inner_one() {
        check("/docker/OUTER/docker/ID", Some("docker"), false, None);
        check("/machine.slice/libpod-OUTER.scope/container/docker/ID", Some("docker"), false, None);
    }

    #[test]
    fn static_pods_have_a_uid_without_hyphens() {
        let uid = "0123456789abcdef0123456789abcdef";
        let workload = of(&format!("/kubepods/burstable/pod{uid}/{ID}"));
        assert_eq!(workload.pod_uid.as_deref(), Some(uid));
    }

    #[test]
    fn systemd_units() {
        let user = "/user.slice/user-1000.slice/user@1000.service";
        for (path, unit) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
            ("/system.slice/systemd-udevd.service/udev", "systemd-udevd.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
            (&format!("{user}/app.slice/dbus.service"), "dbus.service"),
            (r"/system.slice/dev-disk\x2dby.service", r"dev-disk\x2dby.service"),
        ] {
            let expected = Workload { unit: Some(unit.into()), ..Workload::default() };
            assert_eq!(of(path), expected, "{path}");
        }
        check("/system.slice/web.service/libpod-payload-ID", Some("podman"), false, Some("web.service"));
        check(
            &format!("{user}/user.slice/libpod-ID.scope/container"),
            Some("podman"),
            false,
            Some("user@1000.service"),
        );
        check("/docker/ID/system.slice/nginx.service", Some("docker"), false, Some("nginx.service"));
    }

    #[test]
    fn what_is_not_a_container_is_not_taken_for_one() {
        for path in [
            "",
            "/",
            "//",
            "/user.slice",
            "/system.slice",
            "/init.scope/..",
            "/.service",
            "/.scope",
            "/docker",
            "/docker/ID0",
            "/docker/3f4e8c0d9b1a",
            "/podman/podium",
            "/kubepods/podUUI",
            "/docker/zzze8c0d9b1a27655e8f0c1b2a3d4e5f60718293a4b5c6d7e8f9012345678abc",
            "/a-podUUID.slice",
            "/podé",
            "/pod--------------------------------",
        ] {
            let workload = of(&fill(path));
            assert_eq!((workload.container, workload.pod_uid), (None, None), "{path}");
        }
        for monitor in ["/machine.slice/libpod-conmon-ID.scope", "/kubepods.slice/crio-conmon-ID.scope"] {
            assert_eq!(of(&fill(monitor)).container, None, "{monitor}");
        }
    }
}
