//! How soon a run is followed whose CI job is over but whose Lease would last for minutes: a real helm-guard that was killed,
//! and the next one with a double of GitHub's API, which answers with the example of the published description.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{lab::Place, product, screen::now};

/// Run whose job was cancelled, and the one after it.
const RUNS: [u64; 2] = [41, 42];

/// A helm-guard that holds the lock dies with its CI job; how long the next one takes for all that it does, in seconds.
pub(crate) fn follow(place: &Place<'_>, api: &Api) -> Result<f64> {
    let [ended, next] = RUNS;
    // It says so when it has the lock, and holds it until it is killed.
    let mut dead =
        run_of(place, api, ended, &["--lease-duration=10m", "--", "sh", "-c", "echo; exec sleep 600"]);
    let mut dead = dead.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("run helm-guard")?;
    let mut line = String::new();
    let has_it = dead.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    dead.kill().context("kill helm-guard")?;
    dead.wait()?;
    has_it.context("helm-guard's stdout")??;
    ensure!(!line.is_empty(), "helm-guard did not get the lock");

    let report = place.file("takeover");
    let mut follower = run_of(place, api, next, &["--", "true"]);
    follower.stdout(Stdio::null()).stderr(std::fs::File::create(&report)?);
    let started = now();
    let status = follower.status().context("run helm-guard")?;
    let took = started.elapsed().as_secs_f64();
    let said = std::fs::read_to_string(&report)?;
    ensure!(
        status.success() && said.contains("its CI run is over"),
        "it was not taken over: {}",
        said.trim()
    );
    Ok(took)
}

fn run_of(place: &Place<'_>, api: &Api, number: u64, arguments: &[&str]) -> Command {
    let mut command = place.command("helm-guard", ["lock", "run", "takeover"].iter().chain(arguments));
    command.envs(testbed::github_run(number));
    command.env("GITHUB_API_URL", &api.url).env("GITHUB_TOKEN", "ghs_0123456789abcdef");
    command
}

/// Says of every run that it was cancelled, for as long as this process lives.
pub(crate) struct Api {
    url: String,
}

impl Api {
    pub(crate) fn start() -> Result<Self> {
        let published = std::fs::read(product::root().join("tests/ci/github.json"))?;
        let mut run = serde_json::from_slice::<Value>(&published)?["attempt"].take();
        (run["id"], run["status"], run["conclusion"]) =
            (testbed::run_id(RUNS[0]).into(), "completed".into(), "cancelled".into());
        let body = run.to_string();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who asked may be gone, and is told by helm-guard's own words.
                let _ = answer(&stream, &body);
            }
        });
        Ok(Self { url })
    }
}

fn answer(mut stream: &TcpStream, body: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
