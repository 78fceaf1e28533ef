//! Reads kubeconfig files and what a pod is given, in the places where client-go looks.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{
    Target,
    access::{Machine, Overrides, Pod, Resolved, resolve},
    kubeconfig::Kubeconfig,
    tls_trust::Pool,
};

/// Where a pod finds what is its own.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How the cluster is reached, by all that is said about it.
///
/// # Errors
/// When a file cannot be read, or client-go refuses what is in them.
pub fn resolved(target: &Target) -> anyhow::Result<Resolved> {
    let kubeconfig = load(target)?;
    Ok(resolve(&kubeconfig, &overrides(target), pod(target, Path::new(POD)).as_ref(), &Disk)?)
}

fn overrides(target: &Target) -> Overrides {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Overrides {
        context: text(&target.context),
        namespace: text(&target.namespace),
        server: text(&target.server),
        token: text(&target.token),
        ca_file: target.ca_file.clone().unwrap_or_default(),
        as_user: text(&target.as_user),
        as_groups: target.as_groups.clone(),
        insecure: target.insecure,
        tls_server_name: text(&target.tls_server_name),
        default_server: target.place.default_server.clone(),
    }
}

/// All files, merged. A file of a list may be missing; one that a flag names may not.
fn load(target: &Target) -> anyhow::Result<Kubeconfig> {
    let mut files = target.kubeconfig.clone();
    if files.is_empty()
        && let Some(home) = &target.place.home
    {
        files.push(in_home(home)?);
    }
    let mut merged = Kubeconfig::default();
    let mut seen: Vec<&PathBuf> = Vec::new();
    for file in &files {
        if file.as_os_str().is_empty() || seen.contains(&file) {
            continue;
        }
        seen.push(file);
        let content = match std::fs::read(file) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound && !target.is_explicit => continue,
            Err(error) => anyhow::bail!("{}: {error}", file.display()),
        };
        let mut read = Kubeconfig::read(&content).with_context(|| file.display().to_string())?;
        let file = super::absolute(file);
        read.resolve_paths(file.parent().unwrap_or(&file));
        merged.merge(read);
    }
    Ok(merged)
}

/// The user's own file, else the one that it was before 2015, which client-go would copy.
fn in_home(home: &Path) -> anyhow::Result<PathBuf> {
    let file = home.join(".kube/config");
    let is_there = |file: &Path| match std::fs::metadata(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // What cannot be looked at is passed over, too.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(true),
        Err(error) => Err(error),
    };
    let old = home.join(".kube/.kubeconfig");
    let is_old = !is_there(&file).with_context(|| file.display().to_string())?
        && std::fs::metadata(&old).is_ok_and(|old| old.is_file());
    Ok(if is_old { old } else { file })
}

/// What this pod is given, if this is a pod.
fn pod(target: &Target, folder: &Path) -> Option<Pod> {
    let (host, port) = target.place.service.clone()?;
    let token_file = folder.join("token");
    if host.is_empty() || port.is_empty() || !std::fs::metadata(&token_file).ok()?.is_file() {
        return None;
    }
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    let ca_file = folder.join("ca.crt");
    let has_ca = std::fs::read(&ca_file).is_ok_and(|text| Pool::of_pem(&text).is_ok());
    let written = || read("namespace").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let named = Some(target.place.pod_namespace.clone()).filter(|name| !name.is_empty());
    Some(Pod {
        service: (host, port),
        token: read("token").unwrap_or_default(),
        token_file,
        ca_file: has_ca.then_some(ca_file),
        namespace: named.or_else(written).unwrap_or_else(|| "default".to_owned()),
    })
}

struct Disk;

impl Machine for Disk {
    fn cannot_open(&self, path: &Path) -> Option<String> {
        std::fs::File::open(path).err().map(|error| error.to_string())
    }

    fn token(&self, path: &Path) -> Result<String, String> {
        let read = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        String::from_utf8(read).map_err(|_| format!("{}: not text", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Place;

    #[test]
    fn files_are_looked_for_where_client_go_looks() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, context: &str| {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), format!("current-context: {context}\n")).unwrap();
        };
        let context = |target: Target| load(&target).map(|read| read.current_context);
        let list = |names: &[&str]| Target {
            kubeconfig: names.iter().map(|name| at(name)).collect(),
            ..Target::default()
        };
        let home =
            || Target { place: Place { home: Some(at("home")), ..Place::default() }, ..Target::default() };

        assert_eq!(context(home()).unwrap(), "");
        write("home/.kube/.kubeconfig", "old");
        assert_eq!(context(home()).unwrap(), "old");
        write("home/.kube/config", "own");
        assert_eq!(context(home()).unwrap(), "own");
        write("one", "''");
        write("two", "second");
        assert_eq!(context(list(&["missing", "one", "two", "home/.kube/config"])).unwrap(), "second");
        assert_eq!(context(list(&["missing"])).unwrap(), "");
        assert!(context(Target { is_explicit: true, ..list(&["missing"]) }).is_err());
        assert!(context(list(&["home"])).is_err(), "a folder");
        std::fs::write(at("odd"), "current-context: [").unwrap();
        let error = context(list(&["two", "odd"])).unwrap_err();
        assert!(format!("{error:#}").contains("odd: it is not YAML"), "{error:#}");
    }

    #[test]
    fn a_pod_has_what_its_service_account_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let target = |service: Option<(&str, &str)>, namespace: &str| Target {
            place: Place {
                service: service.map(|(host, port)| (host.to_owned(), port.to_owned())),
                pod_namespace: namespace.to_owned(),
                ..Place::default()
            },
            ..Target::default()
        };
        let here = target(Some(("10.0.0.1", "443")), "");
        assert_eq!(pod(&here, folder.path()), None, "no token");
        std::fs::write(folder.path().join("token"), "t").unwrap();
        std::fs::write(folder.path().join("ca.crt"), "no certificate").unwrap();
        let found = pod(&here, folder.path()).unwrap();
        assert_eq!((&*found.namespace, &*found.token, found.ca_file), ("default", "t", None));
        std::fs::write(folder.path().join("namespace"), " shop\n").unwrap();
        assert_eq!(pod(&here, folder.path()).unwrap().namespace, "shop");
        assert_eq!(
            pod(&target(Some(("10.0.0.1", "443")), "named"), folder.path()).unwrap().namespace,
            "named"
        );
        assert_eq!(pod(&target(Some(("10.0.0.1", "")), ""), folder.path()), None);
        assert_eq!(pod(&target(None, ""), folder.path()), None);
    }
}
