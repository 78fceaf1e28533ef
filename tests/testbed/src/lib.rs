//! Builds and starts what the tests run against: a real control plane, real Helms, a real workflow runner.
//! Knows nothing of helm-guard: the tests bring the two together.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let cluster = testbed::Cluster::shared()?; // one for the whole test process
//! let namespace = cluster.namespace("upgrade")?; // deleted when dropped
//! namespace.apply("{kind: ConfigMap, apiVersion: v1, metadata: {name: settings}}")?;
//! # Ok(())
//! # }
//! ```
//!
//! # How pods fare
//!
//! Pods become ready at once, and pods that are not restarted (those of Jobs, and hooks) succeed at once,
//! unless their annotations say otherwise. All names begin with `testbed.helm-guard.dev/`:
//!
//! | annotation | meaning |
//! |---|---|
//! | `behavior` | `ready` (the default), `fail` (a pod that is not restarted fails), or a state to get stuck in: `never-ready`, `crash-loop`, `oom`, `start-error`, `init-crash-loop`, `init-stuck` (the init container runs on), `liveness` (restarted for it), `startup` (its probe fails), `config-error`, `image-error` (`ImagePullBackOff`), `image-pull-error` (`ErrImagePull`), `stuck-creating`, `evicted` (ended by the kubelet, for its message) |
//! | `delay` | how long until the pod is ready (it runs meanwhile), or stuck: `20s` |
//! | `run-for` | how long a Job's or hook's pod runs once it is ready |
//! | `delete-delay` | how long a deleted pod takes to go |
//! | `container` | the one container that `behavior` and `delay` are about; else all |
//! | `message` | what a stuck container's `state.waiting.message` says |
//! | `logs`, `logs.<container>` | the container's log; who follows it sees what is added |
//! | `previous-logs`, `previous-logs.<container>` | the log of the container before the last restart |
//!
//! Claims of the default class `kwok-volume` are bound at once; the class cannot be expanded.

mod audit;
mod cache;
mod ci;
mod cluster;
mod gate;
mod kubectl;
mod named;
mod namespace;
mod normalise;
mod postgres;
mod process;
pub mod recorder;
mod relay;
pub mod runner;
pub mod tools;
mod webhook;

pub use audit::{Audit, Event};
pub use cache::cache_dir;
pub use ci::{CI_SERVER, github_run, run_id};
pub use cluster::{Cluster, Info, Options, Rule, SHARED_CLUSTER_VARIABLE};
pub use gate::{Fate, Gate, Hold, Seen};
pub use kubectl::{COLLECTOR, Kubectl};
pub use named::Named;
pub use namespace::{LEAVE_VARIABLE, Namespace, TIMES_VARIABLE};
pub use normalise::normalise;
pub use postgres::{Database, Postgres, Transaction};
pub use relay::Relay;
pub use webhook::{Review, Verdict, Webhook};

/// What every annotation begins with that tells how a pod is to fare.
pub const ANNOTATION_PREFIX: &str = "testbed.helm-guard.dev/";
