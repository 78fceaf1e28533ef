//! `cargo xtask cluster`: clusters that stay up while one works. The test bed does the work.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use testbed::tools::{self, Helm};
use testbed::{Info, Named, Options, SHARED_CLUSTER_VARIABLE};

/// Run a real Kubernetes control plane on this machine, with no container engine
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster and leave it running; says so if it is up already
    Up {
        #[command(flatten)]
        name: Name,
        /// The version of Kubernetes to build and run
        #[arg(long, value_name = "VERSION", default_value = tools::KUBERNETES_VERSION)]
        kubernetes: String,
    },
    /// End a cluster and remove its files
    Down {
        #[command(flatten)]
        name: Name,
        /// Every cluster that `up` has started
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Print what a shell needs to use a cluster: eval "$(cargo xtask cluster env)"
    Env {
        #[command(flatten)]
        name: Name,
    },
    /// List the clusters
    List,
    /// Build every tool that the tests use, and print where each is
    Tools,
}

/// Which cluster
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The cluster's name
    #[arg(long, default_value = "default")]
    name: String,
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { name, kubernetes } => up(&Named::new(&name.name)?, &Options { kubernetes }),
        Command::Down { all: true, .. } => Named::all()?.iter().try_for_each(down),
        Command::Down { name, .. } => down(&Named::new(&name.name)?),
        Command::Env { name } => env(&Named::new(&name.name)?),
        Command::List => list(),
        Command::Tools => {
            for (name, path) in tools::all()? {
                println!("{name:<32} {}", path.display());
            }
            Ok(())
        }
    }
}

fn up(cluster: &Named, options: &Options) -> Result<()> {
    if let Some(info) = cluster.running()? {
        println!("cluster {} is already up: {}", cluster.name(), about(&info));
        return Ok(());
    }
    let info = cluster.start(options)?;
    let seconds = info.started_in_millis as f64 / 1000.0;
    println!("cluster {} is up after {seconds:.1} s: {}", cluster.name(), about(&info));
    println!("hint: eval \"$(cargo xtask cluster env{})\"", option(cluster));
    Ok(())
}

fn down(cluster: &Named) -> Result<()> {
    let was_up = cluster.running()?.is_some();
    cluster.stop()?;
    println!("cluster {} {}", cluster.name(), if was_up { "is down" } else { "was not up" });
    Ok(())
}

fn env(cluster: &Named) -> Result<()> {
    let info = cluster.running()?.with_context(|| {
        format!("cluster {} is not up\nhint: cargo xtask cluster up{}", cluster.name(), option(cluster))
    })?;
    let kubernetes = info.kubernetes_version.trim_start_matches('v');
    let mut exports = String::new();
    for (variable, path) in [
        ("KUBECONFIG", info.kubeconfig.clone()),
        ("HELM3", tools::helm(Helm::V3)?),
        ("HELM4", tools::helm(Helm::V4)?),
        ("KUBECTL", tools::kubectl(kubernetes)?),
        (SHARED_CLUSTER_VARIABLE, cluster.cluster_json()),
    ] {
        let quoted = path.display().to_string().replace('\'', r"'\''");
        writeln!(exports, "export {variable}='{quoted}'")?;
    }
    print!("{exports}");
    Ok(())
}

fn list() -> Result<()> {
    for cluster in Named::all()? {
        match cluster.running()? {
            Some(info) => println!("{:<16} up    {}", cluster.name(), about(&info)),
            None => println!("{:<16} down", cluster.name()),
        }
    }
    Ok(())
}

fn about(info: &Info) -> String {
    format!("Kubernetes {} at {}, files in {}", info.kubernetes_version, info.server, info.dir.display())
}

/// What to add to a command so that it means this cluster.
fn option(cluster: &Named) -> String {
    if cluster.name() == "default" { String::new() } else { format!(" --name {}", cluster.name()) }
}
