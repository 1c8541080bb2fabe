//! Who owns a process, as an operator names it: a systemd unit, or a container and its pod.
//!
//! Owns the reading of `/proc/PID/cgroup`: versions 1 and 2 of cgroups, the systemd and cgroupfs drivers, and the paths of
//! Docker, containerd, CRI-O, Podman and ECS. A private cgroup namespace shows paths that begin with `/../`.

use serde::Serialize;

/// The longest name of a systemd unit, in bytes.
const LONGEST_NAME: usize = 255;

/// How the unit of a user's own manager begins.
const USER_MANAGER: &str = "user@";

/// The owner of a process. A name is empty where it does not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The systemd unit, such as `orders.service`; `user@1000.service/sync.service` is one of a user's own manager.
    pub unit: String,
    /// The container's id, as its runtime has it.
    pub container_id: String,
    /// The UID of the Kubernetes pod.
    pub pod_uid: String,
}

impl Owner {
    /// Reads the content of `/proc/PID/cgroup`.
    #[must_use]
    pub fn parse(cgroup: &str) -> Self {
        // The line of version 2 first; where both are mounted, it may say nothing.
        let mut paths: Vec<(bool, &str)> = cgroup
            .lines()
            .filter_map(|line| {
                let mut parts = line.splitn(3, ':');
                let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
                Some((!controllers.is_empty(), path))
            })
            .collect();
        paths.sort_by_key(|(is_v1, _)| *is_v1);
        let owners: Vec<_> = paths.into_iter().map(|(_, path)| Self::of_path(path)).collect();
        // A container says more than the unit that it may run in.
        let container = owners.iter().find(|owner| !owner.container_id.is_empty());
        container.or_else(|| owners.iter().find(|owner| !owner.unit.is_empty())).cloned().unwrap_or_default()
    }

    fn of_path(path: &str) -> Self {
        let mut owner = Self::default();
        for segment in path.split('/') {
            // With a misconfigured systemd driver, the parts are joined by colons.
            for part in segment.split(':') {
                if let Some(uid) = pod_uid(part) {
                    owner.pod_uid = uid;
                } else if let Some(id) = container_id(part) {
                    id.clone_into(&mut owner.container_id);
                }
            }
            if is_unit_name(segment) {
                let of_user = owner.unit.split('/').next().filter(|unit| unit.starts_with(USER_MANAGER));
                owner.unit = of_user.map_or_else(|| segment.to_owned(), |manager| format!("{manager}/{segment}"));
            }
        }
        if owner.container_id.is_empty() {
            owner.pod_uid.clear();
        } else {
            owner.unit.clear();
        }
        owner
    }

    /// How an operator restarts what owns the process.
    #[must_use]
    pub fn remedy(&self) -> String {
        let Self { unit, container_id, pod_uid } = self;
        let short = container_id.get(..12).unwrap_or(container_id);
        if !pod_uid.is_empty() {
            format!("delete the pod with the UID {pod_uid} (container {short})")
        } else if !container_id.is_empty() {
            format!("restart the container {short}")
        } else if let Some((manager, unit)) = unit.split_once('/').filter(|(_, unit)| unit.ends_with(".service")) {
            let uid = manager.trim_start_matches(USER_MANAGER).trim_end_matches(".service");
            format!("systemctl --user --machine={uid}@ restart {unit}")
        } else if unit.ends_with(".service") {
            format!("systemctl restart {unit}")
        } else {
            "restart the process".to_owned()
        }
    }
}

/// A service or scope, with the characters that systemd allows: the name becomes part of a command.
fn is_unit_name(name: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || b":_.@\\-".contains(&c);
    let ends = [".service", ".scope"].iter().any(|ending| name.len() > ending.len() && name.ends_with(ending));
    ends && name.len() <= LONGEST_NAME && name.bytes().all(legal) && !name.starts_with('-')
}

/// The UID in `pod<uid>`, `kubepods-burstable-pod<uid>.slice` or `kubepods-pod<uid>.slice`; underscores stand for hyphens
/// there.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = part.strip_prefix("pod").or_else(|| {
        let (_, rest) = part.split_once("kubepods-")?;
        rest.strip_prefix("pod").or_else(|| rest.split_once("-pod").map(|(_, uid)| uid))
    })?;
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let is_uid = digits == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

/// The id in `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>.scope` or `libpod-<id>.scope`.
fn container_id(part: &str) -> Option<&str> {
    // ECS has `<32 digits>-<number>` too, which contains a hyphen itself.
    if is_container_id(part) {
        return Some(part);
    }
    let name = part.strip_suffix(".scope")?;
    let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
    is_container_id(id).then_some(id)
}

fn is_container_id(name: &str) -> bool {
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    is_hex(name, 64)
        || name.split_once('-').is_some_and(|(task, number)| {
            is_hex(task, 32) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c5e9a7b2d4c6e8f0a1b3c5d7e9f1a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d0e";
    const UID: &str = "4c2d1e5f-6a7b-4c8d-9e0f-1a2b3c4d5e6f";

    #[test]
    fn the_owner_is_found_in_the_cgroup_paths_of_every_runtime() {
        let underscored = UID.replace('-', "_");
        let static_pod = UID.replace('-', "");
        let pod = |uid: &str| Owner { container_id: ID.to_owned(), pod_uid: uid.to_owned(), ..Owner::default() };
        let container = |id: &str| Owner { container_id: id.to_owned(), ..Owner::default() };
        let unit = |name: &str| Owner { unit: name.to_owned(), ..Owner::default() };
        let task = "0123456789abcdef0123456789abcdef";
        for (cgroup, owner) in [
            // systemd, versions 2 and 1, a template, a user's service, a nested group, a session.
            ("0::/system.slice/orders.service".to_owned(), unit("orders.service")),
            (
                "12:cpu,cpuacct:/system.slice/orders.service\n1:name=systemd:/system.slice/orders.service\n0::/"
                    .to_owned(),
                unit("orders.service"),
            ),
            ("0::/system.slice/system-worker.slice/worker@3.service".to_owned(), unit("worker@3.service")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service".to_owned(),
                unit("user@1000.service/sync.service"),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/init.scope".to_owned(),
                unit("user@1000.service/init.scope"),
            ),
            ("0::/system.slice/a:b.service".to_owned(), unit("a:b.service")),
            ("0::/system.slice/$(id).service".to_owned(), Owner::default()),
            ("0::/system.slice/a b.service".to_owned(), Owner::default()),
            ("0::/system.slice/--now.service".to_owned(), Owner::default()),
            ("0::/system.slice/.service".to_owned(), Owner::default()),
            (format!("0::/system.slice/{}.service", "x".repeat(5_000)), Owner::default()),
            ("0::/system.slice/x\u{1b}[31m.service".to_owned(), Owner::default()),
            ("0::/system.slice/\u{202e}x.service".to_owned(), Owner::default()),
            ("0::/system.slice/orders.service/workers".to_owned(), unit("orders.service")),
            ("0::/user.slice/user-0.slice/session-3.scope".to_owned(), unit("session-3.scope")),
            // Kubernetes: containerd, CRI-O and Docker with the systemd driver; cgroupfs; a guaranteed and a static pod.
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/cri-containerd-{ID}.scope"
                ),
                pod(UID),
            ),
            (format!("0::/kubepods.slice/kubepods-pod{underscored}.slice/cri-containerd-{ID}.scope"), pod(UID)),
            (
                format!(
                    "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/crio-{ID}.scope"
                ),
                pod(UID),
            ),
            (
                format!(
                    "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/crio-{ID}.scope/container"
                ),
                pod(UID),
            ),
            (
                format!(
                    "11:memory:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/docker-{ID}.scope"
                ),
                pod(UID),
            ),
            (format!("11:memory:/kubepods/burstable/pod{UID}/{ID}\n0::/"), pod(UID)),
            (format!("0::/kubepods/pod{UID}/{ID}"), pod(UID)),
            (format!("0::/kubepods/burstable/pod{static_pod}/{ID}"), pod(&static_pod)),
            (
                format!(
                    "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{underscored}.slice/cri-containerd-{ID}.scope"
                ),
                pod(UID),
            ),
            (
                format!(
                    "0::/system.slice/containerd.service/kubepods-burstable-pod{underscored}.slice:cri-containerd:{ID}"
                ),
                pod(UID),
            ),
            // A private cgroup namespace: seen from another container of the pod, and from another pod.
            (format!("0::/../cri-containerd-{ID}.scope"), container(ID)),
            (format!("0::/../../kubepods-burstable-pod{underscored}.slice/cri-containerd-{ID}.scope"), pod(UID)),
            (format!("0::/../../pod{UID}/{ID}"), pod(UID)),
            ("0::/".to_owned(), Owner::default()),
            ("0::/../orders.service".to_owned(), unit("orders.service")),
            // Docker, Podman and ECS.
            (format!("0::/system.slice/docker-{ID}.scope"), container(ID)),
            (format!("9:pids:/docker/{ID}\n0::/system.slice/containerd.service"), container(ID)),
            (format!("0::/machine.slice/libpod-{ID}.scope/container"), container(ID)),
            (format!("9:pids:/ecs/{task}/{ID}"), container(ID)),
            (format!("9:pids:/ecs/{task}/{task}-1234567890"), container(&format!("{task}-1234567890"))),
            (format!("0::/ecstasks.slice/ecstasks-{task}.slice/docker-{ID}.scope"), container(ID)),
            // Both versions: the unit of version 2 counts.
            ("1:name=systemd:/system.slice/one.service\n0::/system.slice/two.service".to_owned(), unit("two.service")),
            // What only resembles the UID of a pod, or the id of a container of ECS.
            (format!("0::/kubepods/podab/{ID}"), container(ID)),
            (format!("0::/kubepods/pod{UID}x/{ID}"), container(ID)),
            (format!("9:pids:/ecs/{task}/{task}-"), Owner::default()),
            (format!("9:pids:/ecs/{task}/{task}-12a"), Owner::default()),
            ("9:pids:/ecs/worker-3".to_owned(), Owner::default()),
            (format!("0::/{}", ID.to_uppercase()), Owner::default()),
            // Nothing to go by.
            (String::new(), Owner::default()),
            ("no cgroup".to_owned(), Owner::default()),
            ("0::/user.slice/pods/podium/pod-1".to_owned(), Owner::default()),
        ] {
            assert_eq!(Owner::parse(&cgroup), owner, "{cgroup}");
        }
    }

    #[test]
    fn the_remedy_names_what_to_restart() {
        assert_eq!(Owner::parse("0::/system.slice/orders.service").remedy(), "systemctl restart orders.service");
        let of_user = Owner::parse("0::/user.slice/user-1000.slice/user@1000.service/docker.service").remedy();
        assert_eq!(of_user, "systemctl --user --machine=1000@ restart docker.service");
        let docker = Owner::parse(&format!("0::/docker/{ID}")).remedy();
        assert!(docker.contains(&ID[..12]) && !docker.contains(&ID[..13]), "{docker}");
        assert!(Owner::parse(&format!("0::/kubepods/pod{UID}/{ID}")).remedy().contains(UID));
        assert!(!Owner::parse("0::/user.slice/session-3.scope").remedy().contains("systemctl"));
    }
}
