//! `cargo xtask …`: the project's own commands. Each subcommand is a module; here is only the choice.
#![expect(clippy::print_stdout, reason = "the commands answer on standard output")]

mod cluster;
mod test;

use clap::Parser;

/// The project's own commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Xtask {
    #[command(subcommand)]
    Cluster(cluster::Command),
    Test(test::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse() {
        Xtask::Cluster(command) => cluster::run(command),
        Xtask::Test(arguments) => test::run(&arguments),
    }
}
