//! `cargo xtask …`: the project's own commands. Each subcommand is a module; here is only the choice.
#![expect(clippy::print_stdout, reason = "the commands answer on standard output")]

mod bench;
mod cluster;
mod demo;
mod dist;
mod image;
mod interrupt;
mod lab;
mod product;
mod screen;
mod soak;
mod test;

use clap::Parser;

/// The project's own commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Xtask {
    Bench(bench::Arguments),
    #[command(subcommand)]
    Cluster(cluster::Command),
    Demo(demo::Arguments),
    Dist(dist::Arguments),
    Image(image::Arguments),
    Soak(soak::Arguments),
    Test(test::Arguments),
}

fn main() -> anyhow::Result<()> {
    let answer = match Xtask::parse() {
        Xtask::Bench(arguments) => bench::run(&arguments),
        Xtask::Cluster(command) => cluster::run(command),
        Xtask::Demo(arguments) => demo::run(&arguments),
        Xtask::Dist(arguments) => dist::run(&arguments),
        Xtask::Image(arguments) => image::run(&arguments),
        Xtask::Soak(arguments) => soak::run(&arguments),
        Xtask::Test(arguments) => test::run(&arguments),
    };
    interrupt::wait_if_under_way();
    answer
}
