//! Reads what a list of releases is made of: the metadata of Helm's records, and the Leases; and prints the list.
//! What is asked for is decided in `status/list_queries.rs`, which of it matters in `status/list_entry.rs`.

use super::session::{AT_ONCE, store};
use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Secret},
};
use kube::{
    Api, Resource,
    api::{ListParams, PostParams, VersionMatch},
    core::Request,
};
use serde::Deserialize;

use super::list_apis;
use crate::status::health::of_release;
use crate::{
    cli::Status,
    clock::Clock,
    cluster::Cluster,
    commands::{
        lock::rows,
        session::{CommandError, connect, say, stdout_display},
    },
    env::Env,
    exit,
    lock::{
        lease::{self, LockError},
        table::Row,
    },
    output::Format,
    release::{Status as OfRecord, stored_record::Driver},
    request,
    storage::{Storage, StoreError, dsn::DatabaseError, postgres},
};
use crate::{
    health::Finding,
    status::{
        list_entry::{self, Entry, Sighting, Watched},
        list_queries::{self, Question, UNSETTLED, Which},
    },
};

/// Objects of a page. Metadata of as many take half a megabyte.
const PAGE: u32 = 500;

/// Runs `status` for many releases. Gives the exit code.
pub async fn status(args: &Status, env: &Env, clock: Clock) -> u8 {
    match list(args, env, clock).await {
        Ok(()) => 0,
        Err(stop) => stop.tell(),
    }
}

async fn list(args: &Status, env: &Env, clock: Clock) -> Result<(), CommandError> {
    let cluster = connect(&args.cluster, env).await?;
    let wanted = Wanted {
        everywhere: args.all_namespaces,
        release: args.release.as_deref(),
        all: args.all || args.release.is_some() || args.kubernetes_version.is_some(),
        watch: args.check.then_some(Watched::All),
    };
    let (mut entries, mut unseen) = sweep(&cluster, &wanted, env, clock).await?;
    if let Some(version) = args.kubernetes_version {
        let unread = list_apis::note(&cluster, &mut entries, version, &storages(env)?).await?;
        unread.iter().for_each(|note| say(&format!("warning: {note}")));
        unseen.extend(unread);
        entries.retain(|entry| args.all || args.release.is_some() || entry.needs_somebody());
    }
    if args.health {
        let storages = storages(env)?;
        let findings = stream::iter(&entries).map(|entry| fares(&cluster, entry, &storages));
        let findings: Vec<Option<Finding>> = findings.buffered(AT_ONCE).collect().await;
        for (entry, finding) in entries.iter_mut().zip(findings) {
            entry.health = finding;
        }
    }
    if entries.is_empty() {
        let place =
            if args.all_namespaces { "any namespace" } else { &*format!("namespace {}", cluster.namespace) };
        say(&match &args.release {
            Some(release) => format!("no release {release} in {place}"),
            None if args.all => format!("no release in {place}"),
            None => format!("no release in {place} needs attention; --all also lists healthy releases"),
        });
    }
    if !entries.is_empty() || matches!(args.output, Format::Json | Format::Yaml) {
        let text =
            list_entry::render(&entries, &unseen, args.output, args.all_namespaces, stdout_display(env));
        let _ = write!(std::io::stdout(), "{text}");
    }
    Ok(())
}

/// How a release fares; `None` when its record cannot be read.
async fn fares(cluster: &Cluster, entry: &Entry, storages: &[Storage]) -> Option<Finding> {
    let cluster = Cluster { namespace: entry.namespace.clone(), ..cluster.clone() };
    let store = store(&cluster, entry, storages)?;
    let history = store.history(&entry.release).await.ok()?;
    of_release(&cluster, entry.state, &history).await
}

/// The releases that need somebody, the holders of the locks of stuck ones watched.
pub(crate) async fn in_question(
    cluster: &Cluster,
    everywhere: bool,
    release: Option<&str>,
    env: &Env,
    clock: Clock,
) -> Result<Vec<Entry>, CommandError> {
    let wanted = Wanted { everywhere, release, all: false, watch: Some(Watched::Pending) };
    Ok(sweep(cluster, &wanted, env, clock).await?.0)
}

/// What is looked for.
struct Wanted<'a> {
    everywhere: bool,
    release: Option<&'a str>,
    all: bool,
    /// Whose locks' holders are watched.
    watch: Option<Watched>,
}

/// The entries, and what could not be seen, which is also told.
async fn sweep(
    cluster: &Cluster,
    wanted: &Wanted<'_>,
    env: &Env,
    clock: Clock,
) -> Result<(Vec<Entry>, Vec<String>), CommandError> {
    let storages = storages(env)?;
    let usual = storages.first().map_or(Driver::Secrets, Storage::driver);
    let sweep = Sweep { everywhere: wanted.everywhere, cluster, versions: Mutex::default() };
    let (leases, found) = tokio::join!(sweep.leases(), sweep.records(&storages, wanted.release, wanted.all));
    let (mut seen, mut unseen) = found?;
    let leases = match leases {
        Ok(Seen { items, missing }) => {
            unseen.extend(missing);
            items
        }
        Err(error) => {
            unseen.push(format!("locks are not shown: {error}"));
            Vec::new()
        }
    };
    let unwatched = rows(cluster, &leases, false, clock).await?;
    let (leases, mut locks): (Vec<Lease>, Vec<Row>) =
        leases.into_iter().zip(unwatched).filter(|(_, row)| row.holder.is_some()).unzip();
    if wanted.release.is_none() && !wanted.all {
        sweep.add_the_rest(&mut seen, &locks, &storages).await?;
    }
    if let Some(whose) = wanted.watch {
        let watched = leases.into_iter().zip(&locks);
        let watched = watched.filter(|(_, row)| list_entry::is_watched(row, &seen, whose));
        let watched: Vec<Lease> = watched.map(|(lease, _)| lease).collect();
        locks = rows(cluster, &watched, true, clock).await?;
    }
    for note in &unseen {
        say(&format!("warning: {note}"));
    }
    Ok((list_entry::entries(&seen, &locks, wanted.all, usual, clock.wall()), unseen))
}

/// Where to look. Who says where Helm stores its records has them nowhere else.
fn storages(env: &Env) -> Result<Vec<Storage>, CommandError> {
    let usual = request::storage(env).map_err(|error| CommandError::new(exit::USAGE, error, &[]))?;
    let is_said = env.get("HELM_DRIVER").is_some_and(|driver| !driver.is_empty());
    Ok(if is_said { vec![usual] } else { vec![Storage::Secrets, Storage::ConfigMaps] })
}

/// What was listed, and what could not be, in a sentence.
struct Seen<T> {
    items: Vec<T>,
    missing: Option<String>,
}

struct Sweep<'a> {
    cluster: &'a Cluster,
    everywhere: bool,
    /// How new what was listed is, by resource. The API server answers at once from memory what need not be newer; else it
    /// first asks etcd how new its memory must be, and waits for that.
    versions: Mutex<BTreeMap<String, String>>,
}

impl Sweep<'_> {
    /// The namespace to look in; `None` is all of them.
    fn namespace(&self) -> Option<&str> {
        (!self.everywhere).then_some(&self.cluster.namespace)
    }

    /// The records that may matter: of one release, of all, or those that are not settled.
    async fn records(
        &self,
        storages: &[Storage],
        release: Option<&str>,
        all: bool,
    ) -> Result<(Vec<Sighting>, Vec<String>), CommandError> {
        let which = match release {
            Some(release) => Which { names: Some(vec![release.to_owned()]), without: &[] },
            // Of one that works all other records are superseded.
            None if all => Which { names: None, without: &["superseded"] },
            None => UNSETTLED,
        };
        let (mut seen, mut unseen) = (Vec::new(), Vec::new());
        let lists = storages.iter().map(|storage| self.sightings(storage, &which, None));
        for (storage, listed) in storages.iter().zip(futures::future::join_all(lists).await) {
            match listed {
                Ok(listed) => {
                    seen.extend(listed.items);
                    unseen.extend(listed.missing);
                }
                // It is not where most have their records.
                Err(error) if *storage != storages[0] && is_forbidden(&error) => {
                    let what = storage.driver().resource();
                    unseen.push(format!("records in {what} are not shown: {}", words(&error)));
                }
                Err(error) => return Err(unlisted(storage.driver(), &error)),
            }
        }
        Ok((seen, unseen))
    }

    /// All records of the releases that are in question.
    async fn add_the_rest(
        &self,
        seen: &mut Vec<Sighting>,
        locks: &[Row],
        storages: &[Storage],
    ) -> Result<(), CommandError> {
        let drivers: Vec<Driver> = storages.iter().map(Storage::driver).collect();
        let questions = stream::iter(list_queries::the_rest(seen, locks, &drivers));
        let answers = questions.map(|Question { storage, namespace, which }| async move {
            let Some(storage) = storages.iter().find(|known| known.driver() == storage) else {
                return Ok(Vec::new());
            };
            match self.sightings(storage, &which, namespace).await {
                // What may not be listed has been told of.
                Err(error) if is_forbidden(&error) => Ok(Vec::new()),
                answer => {
                    answer.map(|listed| listed.items).map_err(|error| unlisted(storage.driver(), &error))
                }
            }
        });
        let answers: Vec<Vec<Sighting>> = answers.buffer_unordered(AT_ONCE).try_collect().await?;
        *seen = answers.concat();
        Ok(())
    }

    /// In one namespace, or wherever the list looks.
    async fn sightings(
        &self,
        storage: &Storage,
        which: &Which,
        namespace: Option<String>,
    ) -> Result<Seen<Sighting>, StoreError> {
        let driver = storage.driver();
        let in_maps = match storage {
            Storage::Secrets => false,
            Storage::ConfigMaps => true,
            Storage::Sql(database) => {
                let place = namespace.as_deref().or(self.namespace());
                let listed = postgres::list(database, place, which.names.as_deref(), which.without);
                let items = listed.await?.into_iter().filter_map(sighting).collect();
                return Ok(Seen { items, missing: None });
            }
        };
        let list = async |namespace: Option<String>| {
            let path = if in_maps {
                ConfigMap::url_path(&(), namespace.as_deref())
            } else {
                Secret::url_path(&(), namespace.as_deref())
            };
            let listed = self.metadata(&path, &which.selector()).await?;
            let sighting = |Meta { metadata: About { namespace, labels, creation_timestamp, .. } }| {
                Sighting::new(driver, namespace, &labels, creation_timestamp)
            };
            Ok(listed.into_iter().filter_map(sighting).collect())
        };
        if namespace.is_some() {
            return Ok(Seen { items: list(namespace).await?, missing: None });
        }
        self.allowed(("", driver.resource()), list, is_forbidden).await
    }

    async fn leases(&self) -> Result<Seen<Lease>, LockError> {
        let list = |namespace: Option<String>| async move {
            lease::list(self.cluster.client.clone(), namespace.as_deref()).await
        };
        let is_forbidden = |error: &LockError| matches!(error, LockError::Forbidden { .. });
        self.allowed(("coordination.k8s.io", "leases"), list, is_forbidden).await
    }

    /// Lists in one go; where all namespaces are asked for and may not be listed, in each that may be.
    async fn allowed<T, E: From<kube::Error> + std::fmt::Display, F: Future<Output = Result<Vec<T>, E>>>(
        &self,
        (group, resource): (&str, &str),
        list: impl Fn(Option<String>) -> F,
        is_forbidden: impl Fn(&E) -> bool,
    ) -> Result<Seen<T>, E> {
        let at_once = list(self.namespace().map(str::to_owned)).await;
        let refusal = match at_once {
            Ok(items) => return Ok(Seen { items, missing: None }),
            Err(error) if self.everywhere && is_forbidden(&error) => error,
            Err(error) => return Err(error),
        };
        let (known, of) = match self.metadata(&Namespace::url_path(&(), None), "").await {
            Ok(namespaces) => {
                let names: Vec<String> = namespaces.into_iter().map(|meta| meta.metadata.name).collect();
                let of = format!("{} namespaces", names.len());
                (names, of)
            }
            Err(error) if refuses(&error) => {
                let of = "namespaces that cannot be listed".to_owned();
                (vec![self.cluster.namespace.clone()], of)
            }
            Err(error) => return Err(error.into()),
        };
        let asked = stream::iter(known).map(|namespace| async move {
            let may = self.may_list(&namespace, group, resource).await?;
            Ok::<_, kube::Error>(may.then_some(namespace))
        });
        let allowed: Vec<Option<String>> = asked.buffered(AT_ONCE).try_collect().await?;
        let allowed: Vec<String> = allowed.into_iter().flatten().collect();
        if allowed.is_empty() {
            return Err(refusal);
        }
        let missing = format!(
            "{resource} may not be listed in all namespaces at once: shown are {} of {of}: {}",
            allowed.len(),
            named(&allowed)
        );
        let lists = stream::iter(allowed).map(|namespace| list(Some(namespace)));
        let items: Vec<Vec<T>> = lists.buffered(AT_ONCE).try_collect().await?;
        Ok(Seen { items: items.into_iter().flatten().collect(), missing: Some(missing) })
    }

    async fn may_list(&self, namespace: &str, group: &str, resource: &str) -> Result<bool, kube::Error> {
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some("list".to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.cluster.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Metadata of what is at a path, a page at a time: no page waits in memory for the next.
    async fn metadata(&self, path: &str, selector: &str) -> Result<Vec<Meta>, kube::Error> {
        let mut found = Vec::new();
        let resource = path.rsplit('/').next().unwrap_or(path);
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        let known = self
            .versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(resource)
            .cloned()
            .filter(|version| !version.is_empty());
        if let Some(version) = known {
            params = params.at(&version).matching(VersionMatch::NotOlderThan);
        }
        loop {
            let request = Request::new(path).list_metadata(&params).map_err(kube::Error::BuildRequest)?;
            match self.cluster.client.request::<Page>(request).await {
                Ok(page) => {
                    found.extend(page.items.unwrap_or_default());
                    params.continue_token = Some(page.metadata.next).filter(|token| !token.is_empty());
                    if params.continue_token.is_none() {
                        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
                        versions.insert(resource.to_owned(), page.metadata.resource_version);
                        return Ok(found);
                    }
                    // The token says it all.
                    (params.resource_version, params.version_match) = (None, None);
                }
                // The API server has forgotten where we were: all of it, then, and in one go.
                Err(kube::Error::Api(status)) if status.code == 410 && params.continue_token.is_some() => {
                    found.clear();
                    params = ListParams::default().labels(selector);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// As much of a list as is looked at: the rest of it, which is most, is not kept.
#[derive(Deserialize)]
struct Page {
    metadata: Place,
    /// An empty list may be `null`.
    items: Option<Vec<Meta>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Place {
    #[serde(rename = "continue")]
    next: String,
    resource_version: String,
}

#[derive(Deserialize)]
struct Meta {
    metadata: About,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct About {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    creation_timestamp: Option<jiff::Timestamp>,
}

/// Some of the names, and how many more there are.
fn named(namespaces: &[String]) -> String {
    const SOME: usize = 5;
    let some = namespaces.iter().take(SOME).cloned().collect::<Vec<_>>().join(", ");
    match namespaces.len().saturating_sub(SOME) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

fn refuses(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn is_forbidden(error: &StoreError) -> bool {
    match error {
        StoreError::Api(error) => refuses(error),
        error => matches!(error, StoreError::Database(DatabaseError::Forbidden(..))),
    }
}

fn words(error: &StoreError) -> String {
    match error {
        StoreError::Api(kube::Error::Api(status)) => status.message.clone(),
        error => error.to_string(),
    }
}

fn unlisted(driver: Driver, error: &StoreError) -> CommandError {
    let why = format!("Helm's records in {} cannot be listed: {}", driver.resource(), words(error));
    let (code, next) = error.advice(driver, "your Role, or ClusterRole for -A", "list");
    CommandError::new(code, why, &[&next])
}

fn sighting(row: postgres::Listed) -> Option<Sighting> {
    Some(Sighting {
        namespace: row.namespace,
        release: row.name,
        storage: Driver::Sql,
        revision: row.version.try_into().ok()?,
        status: OfRecord::parse(&row.status),
        since: jiff::Timestamp::from_second(row.created_at.into()).ok(),
    })
}
