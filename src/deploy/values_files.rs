//! The values in files of the command line: an error may quote them, so they are redacted.

use std::{fs::File, io::Read};

use serde_json::Value;

use crate::{
    bytes,
    helm::{Invocation, mask},
    redact::Secrets,
    request::Request,
};

/// Largest file that is read for its secrets, bytes. What is in a larger one is known from Helm's record.
const LIMIT: u64 = 1 << 20;

/// All that this run was given and must not show.
pub(super) fn secrets(request: &Request) -> Secrets {
    let invocation = &request.invocation;
    let mut secrets = mask::secrets(invocation);
    add_files(invocation, &mut secrets);
    request.storage.secrets().iter().for_each(|secret| secrets.add(secret));
    if let Some(token) = &request.target.token {
        secrets.add(token);
    }
    if let Some(desk) = &request.desk {
        secrets.add(desk.login.1.reveal());
    }
    request.releases().iter().for_each(|release| secrets.add_name(release));
    secrets
}

fn add_files(invocation: &Invocation, secrets: &mut Secrets) {
    for given in invocation.values("set-file") {
        for (key, file) in given.split(',').filter_map(|pair| pair.split_once('=')) {
            if let Some(text) = read(file) {
                secrets.add_given(key, &Value::String(text));
            }
        }
    }
    for file in invocation.value_sources() {
        // What stands before a fault is known all the same.
        let _ = crate::yaml::each_document(&read(&file).unwrap_or_default(), |values| {
            secrets.add_values(&values);
            Ok(())
        });
    }
}

/// The text of a file; `None` for what can be read only once, is not here, is no text or too large.
fn read(path: &str) -> Option<String> {
    let path = bytes::to_bytes(path);
    let is_file = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= LIMIT);
    let mut text = String::new();
    File::open(path).ok().filter(|_| is_file)?.take(LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::Command;

    #[test]
    fn values_in_files_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("values.yaml"), "db: {password: hunter22}\nreplicas: 3\n---\nlevel: canary-31\n")
            .unwrap();
        std::fs::write(path("key.pem"), "-----BEGIN KEY-----\nMIIEvQIBADAN0Bgkq\n-----END KEY-----\n")
            .unwrap();
        let tokens = [
            "web".to_owned(),
            "chart".to_owned(),
            format!("-f={}", path("values.yaml")),
            format!("--set-file=tls={}", path("key.pem")),
            "-f=-".to_owned(),
            format!("-f={}", path("none.yaml")),
        ];
        let mut secrets = Secrets::default();
        add_files(&Invocation::parse(Command::Upgrade, &tokens).unwrap(), &mut secrets);
        let redactor = secrets.redactor();
        for secret in ["hunter22", "canary-31", "MIIEvQIBADAN0Bgkq"] {
            assert!(redactor.finds(secret), "{secret}");
        }
        assert!(!redactor.finds("replicas: 3 of -----BEGIN KEY-----"));
    }
}
