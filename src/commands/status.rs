//! `status`, and the dry run of `repair`: reads the lock and the records, and says what they say.
//! What it means is decided in `status.rs`.

use super::session::{past, unreadable};
use crate::status::health::of_release;
use std::io::Write;

use super::list;
use crate::status::{Standing, render};
use crate::{
    ci,
    cli::{self, ClusterFlags, KubernetesVersion, Repair, Status},
    clock::Clock,
    commands::{
        lock::life,
        session::{CommandError, connect, say, stdout_display},
    },
    deploy::precious,
    env::Env,
    exit,
    lock::{
        belief,
        holder::LockRef,
        lease, lease_name,
        table::{Row, State as LockState},
    },
    output::Format,
    redact::Redact,
    repair::{
        Answer, Strategy,
        adopt::{self, Proof},
        finish_install::objects::survey,
        map_apis, standalone,
        uninstall::told,
    },
    request,
    storage::Store,
    text::duration,
};

/// Runs `status`. Gives the exit code.
pub async fn status(args: &Status, env: &Env, clock: Clock) -> u8 {
    let Some(release) = args.release.as_deref().filter(|_| !args.all_namespaces) else {
        return list::status(args, env, clock).await;
    };
    let what = What {
        release,
        lock_name: args.lock_name.as_deref(),
        cluster: &args.cluster,
        strategy: Strategy::Auto,
        kubernetes_version: match args.kubernetes_version {
            Some(KubernetesVersion::Minor(minor)) => Some(minor),
            // What the cluster does not serve counts anyway.
            Some(KubernetesVersion::OfCluster) | None => None,
        },
        title: "",
    };
    match look(&what, args.output, env, clock).await {
        Ok(_) => 0,
        Err(stop) => stop.tell(),
    }
}

/// Runs `history`. Gives the exit code.
pub async fn history(args: &cli::History, env: &Env, clock: Clock) -> u8 {
    let shown = past(&args.release, &args.cluster, env).await.map(|(cluster, history)| {
        let (release, namespace) = (args.release.clone(), cluster.namespace);
        let place = LockRef { lease: lease_name(&release), release, namespace };
        let _ = write!(
            std::io::stdout(),
            "{}",
            render::history(&place, &history, args.output, clock.wall(), stdout_display(env))
        );
    });
    shown.map_or_else(CommandError::tell, |()| 0)
}

/// Runs `repair --dry-run`. Gives the exit code.
pub(super) async fn dry_run(args: &Repair, env: &Env, clock: Clock) -> u8 {
    let what = What {
        release: args.release.as_deref().unwrap_or_default(),
        lock_name: args.lock_name.as_deref(),
        cluster: &args.cluster,
        strategy: args.strategy.unwrap_or_default().into(),
        kubernetes_version: args.kubernetes_version,
        title: "Dry run",
    };
    let found = match look(&what, args.output, env, clock).await {
        Ok(found) => found,
        Err(stop) => return stop.tell(),
    };
    let refused = found.repair.as_ref().is_some_and(|planned| planned.strategy.is_empty());
    say(match (&found.repair, refused) {
        (None, _) => "dry run: there is nothing to repair",
        (Some(_), true) => "dry run: this repair would be refused",
        (Some(_), false) => "dry run: nothing was changed",
    });
    if refused { exit::REFUSED } else { 0 }
}

struct What<'a> {
    release: &'a str,
    lock_name: Option<&'a str>,
    cluster: &'a ClusterFlags,
    strategy: Strategy,
    /// A minor release of Kubernetes 1 whose removed APIs count as not served.
    kubernetes_version: Option<u32>,
    title: &'a str,
}

/// Reads, prints, and adds to the job summary. Writes nothing to the cluster.
async fn look(what: &What<'_>, format: Format, env: &Env, clock: Clock) -> Result<Standing, CommandError> {
    let storage = request::storage(env).map_err(|error| CommandError::new(exit::USAGE, error, &[]))?;
    let cluster = connect(what.cluster, env).await?;
    let place = LockRef::new(what.release, &cluster.namespace, what.lock_name);
    let found = lease::find(cluster.client.clone(), &place.namespace, &place.lease).await?;
    let row = match &found {
        None => None,
        Some(found) => {
            let view = lease::view(found);
            if view.holder.is_some() {
                say(&format!(
                    "watching the lock holder for at most {}",
                    duration(belief(&view).as_secs_f64())
                ));
            }
            let (view, life) = life(&cluster, found, true, clock).await?;
            Some(Row::new(&place.namespace, &place.lease, &view, life, lease::deployed(found)))
        }
    };
    // After the lock: who worked meanwhile and has ended is seen at the end of its work.
    let store = Store::new(cluster.client.clone(), &place.namespace, &storage);
    let history =
        store.history(what.release).await.map_err(|error| unreadable(what.release, &storage, error))?;
    let precious = precious(&cluster, what.release, &history).await;
    // As many revisions as the repair itself would reckon with.
    let at_work = row.as_ref().is_some_and(|row| matches!(row.state, LockState::Held | LockState::Alive));
    let asked = what.strategy == Strategy::Adopt;
    let proof = if !at_work && (asked || what.strategy == Strategy::Auto) {
        adopt::look::look(&cluster, what.release, &history, asked).await
    } else {
        Proof::None
    };
    let answer = standalone::plan(&history, what.strategy, request::history_max(env), &precious, &proof);
    let answer = match answer {
        Answer::Repair(plan) => {
            let survey = survey(&cluster, what.release, &history, &plan).await;
            told(plan, &survey, true)
        }
        answer => answer,
    };
    let apis = if !at_work && map_apis::is_part_of(what.strategy) {
        let wanted = map_apis::all(&history);
        map_apis::look::look(&cluster, what.release, &history, &wanted, what.kubernetes_version).await
    } else {
        map_apis::Found::default()
    };
    let answer = map_apis::join(answer, &history, &apis);
    let mut standing = Standing::new(&place, row, &history, answer);
    standing.health = of_release(&cluster, standing.state, &history).await;
    if standing.repair.is_some() {
        standing.redact(&history.secrets().redactor());
    }
    let _ =
        write!(std::io::stdout(), "{}", render::render(&standing, format, clock.wall(), stdout_display(env)));
    if let (ci::System::GitHub, Some(path)) = (ci::system(env), env.get("GITHUB_STEP_SUMMARY")) {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let text = render::markdown(&standing, what.title);
        if let Err(error) = opened.and_then(|mut file| file.write_all(text.as_bytes())) {
            say(&format!("warning: cannot write the job summary: {error}"));
        }
    }
    Ok(standing)
}
