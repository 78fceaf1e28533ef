//! Helm's own rendering of a deploy before it runs, to confirm a refusal.
//!
//! Where helm-guard renders the chart itself (a stuck release, a check, no fence) it uses `helm template`, which knows no
//! revision. What comes out differs from Helm's own run where a template uses that, or makes up values. So Helm does the deploy
//! once more as a dry run, with the release's records in memory as they will be, and a refusal of a field that comes out
//! otherwise is not certain.

use serde_json::{Value, json};

use super::{
    Run,
    cancel::{End, unless_stopped},
    render::{Rendered, read_once},
};
use crate::{
    deploy::helm_process,
    exit, helm,
    manifest::Manifest,
    preflight::{deploy::Deploy, varying::Varying},
    private_file::InMemory,
    release::{History, codec},
    report::Outcome,
    signals::Signals,
};

impl Run<'_> {
    /// The fields of a deploy that Helm renders otherwise in its own run. None if Helm does not say.
    pub(super) async fn varying(
        &self,
        rendered: &Rendered,
        history: &History,
        deploy: &Deploy,
        signals: &Signals,
    ) -> Result<Varying, End> {
        if read_once(&self.invocation).is_some() {
            return Ok(Varying::default());
        }
        let records = if rendered.upgrade { in_memory(history) } else { json!([]) };
        let file = InMemory::new(records.to_string().as_bytes()).map_err(|error| {
            let reason = format!("nothing was changed: file for a dry run: {error}");
            End::new(Outcome::Refused, exit::REFUSED, reason, &[])
        })?;
        let mut launch = self.launch.clone();
        launch.environment.push(("HELM_DRIVER", Some("memory".to_owned())));
        launch.environment.push(("HELM_MEMORY_DRIVER_DATA", Some(file.path())));
        let argv = helm::rehearsal_argv(&self.invocation, &self.version().await?);
        let said =
            unless_stopped(signals, "rendering the chart again", helm_process::quiet(&launch, &argv)).await?;
        let text = said.ok().and_then(Result::ok).unwrap_or_default();
        let texts = codec::texts(&text).ok();
        let all = texts
            .map(|texts| texts.hooks.iter().fold(texts.manifest.clone(), |all, hook| all + "\n---\n" + hook));
        let again = all.and_then(|all| Manifest::parse(&all, &self.cluster.namespace).ok());
        let all = deploy.manifest.objects.iter().chain(&deploy.hooks.objects);
        Ok(again.map_or_else(Varying::default, |again| Varying::between(all, &again)))
    }
}

/// The record that an upgrade starts from, as the only one: deployed, and the one before the next revision.
fn in_memory(history: &History) -> Value {
    let base = history.last_good().or_else(|| history.deployed().next_back()).or_else(|| history.last());
    let json = base.and_then(|base| codec::decode(base.stored.payload()).ok());
    let record = json.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    let Some(mut record) = record else { return json!([]) };
    record["version"] = history.last().map_or(1, |last| last.revision).into();
    record["info"]["status"] = "deployed".into();
    // It is long, and says nothing of what will be rendered.
    record["manifest"] = "".into();
    record["hooks"] = json!([]);
    json!([record])
}
