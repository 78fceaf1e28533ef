//! A running Postgres, and databases in it. Nothing is known here of what is kept in them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::process::{output, progress};
use crate::{Cluster, tools};

/// Who owns what a database is for, and may do there what Helm does.
const OWNER: &str = "helm";

/// The user `nobody` and its group, on every Linux.
const NOBODY: u32 = 65534;

/// How often another port is tried: somebody else may be quicker to take one that was free.
const TRIES: usize = 5;

/// Makes a data directory, serves it, and ends when its standard input does: with whoever holds the other end, however that
/// ends. Then nothing is left. Its arguments are the installation, the directory, the port.
const SCRIPT: &str = r#"
"$1/bin/initdb" --pgdata="$2/data" --username=postgres --auth-local=trust --auth-host=scram-sha-256 \
    --no-sync --encoding=UTF8 --locale=C --set=ssl=on --set=ssl_cert_file="$2/server.crt" --set=ssl_key_file="$2/server.key" \
    --set=fsync=off --set=listen_addresses=127.0.0.1 --set=unix_socket_directories="$2" --set=port="$3" \
    --set=max_connections=200 --set=shared_buffers=16MB >"$2/initdb.log" 2>&1 || { cat "$2/initdb.log" >&2; exit 1; }
"$1/bin/postgres" -D "$2/data" &
read -r _
kill -INT $!
wait $!
rm -rf "$2"
"#;

/// A server that ends with this process, or when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    port: u16,
    password: String,
    databases: AtomicU32,
    process: Child,
    lifeline: Option<ChildStdin>,
}

/// A database of its own, which belongs to one role.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The port on the loopback address.
    pub port: u16,
    /// The owner's password.
    pub password: String,
    socket: PathBuf,
}

impl Postgres {
    /// The server that the tests of this process share; it has the shared cluster's certificate for TLS.
    ///
    /// # Errors
    /// It cannot be fetched or does not start.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let started = Cluster::shared().and_then(|cluster| Self::start(&cluster.info().dir));
            started.map_err(|error| format!("{error:#}"))
        });
        shared.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Starts one, with `server.crt` and `server.key` of a directory.
    ///
    /// # Errors
    /// As [`Postgres::shared`].
    pub fn start(certificates: &Path) -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::try_start(certificates) {
                Ok(postgres) => return Ok(postgres),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no try")))
    }

    fn try_start(certificates: &Path) -> Result<Self> {
        let installation = tools::postgres()?;
        let temporary = tempfile::Builder::new().prefix("hg-postgres-").tempdir()?;
        let directory = temporary.path();
        for file in ["server.crt", "server.key"] {
            fs::copy(certificates.join(file), directory.join(file)).with_context(|| file.to_owned())?;
        }
        let (mut shell, installation) = unprivileged(installation, directory)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        shell.args(["-c", SCRIPT, "sh"]).arg(&installation).arg(directory).arg(port.to_string());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A Ctrl-C is for the tests; this hears of their end.
        let mut process = shell.current_dir("/").process_group(0).spawn().context("start Postgres")?;
        let (lifeline, said) = (process.stdin.take(), process.stderr.take());
        let mut said = BufReader::new(said.context("Postgres' words")?).lines();
        let mut words = String::new();
        loop {
            match said.next().transpose()? {
                Some(line) if line.ends_with("database system is ready to accept connections") => break,
                Some(line) if line.contains("FATAL") || words.len() > 64 << 10 => {
                    bail!("Postgres does not start: {words}{line}")
                }
                Some(line) => words = words + &line + "\n",
                None => bail!("Postgres does not start: {words}"),
            }
        }
        // A pipe that nobody reads would stop it.
        std::thread::spawn(move || said.for_each(drop));
        let password = format!("password-{}", name_of(directory));
        let directory = temporary.keep(); // the script's to remove, which outlives this process
        let postgres = Self { directory, port, password, databases: AtomicU32::new(0), process, lifeline };
        let role = format!("CREATE ROLE {OWNER} LOGIN PASSWORD '{}'", postgres.password);
        postgres.named("postgres").query(&role)?;
        Ok(postgres)
    }

    /// Makes a database that nobody else uses.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn database(&self) -> Result<Database> {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.named("postgres").query(&format!("CREATE DATABASE {name} OWNER {OWNER}"))?;
        Ok(self.named(&name))
    }

    fn named(&self, name: &str) -> Database {
        let (socket, password) = (self.directory.clone(), self.password.clone());
        Database { name: name.to_owned(), port: self.port, password, socket }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if let Ok(Some(status)) = self.process.try_wait() {
            progress(&format!("Postgres ended before its time: {status}"));
        }
        let _ = self.process.wait();
    }
}

impl Database {
    /// How Helm finds it: over TCP, as its owner, without TLS.
    #[must_use]
    pub fn connection(&self) -> String {
        self.connection_with("sslmode=disable")
    }

    /// The same with other parameters.
    #[must_use]
    pub fn connection_with(&self, parameters: &str) -> String {
        let Self { name, port, password, .. } = self;
        format!("postgres://{OWNER}:{password}@127.0.0.1:{port}/{name}?{parameters}")
    }

    /// Waits until there is a row.
    ///
    /// # Errors
    /// There is none within the limit. That there is no table yet is none.
    pub fn wait_for(&self, sql: &str, limit: Duration) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (client, connection) = self.superuser().connect(NoTls).await?;
            tokio::spawn(connection);
            let seen = async {
                while client.query(sql, &[]).await.unwrap_or_default().is_empty() {
                    rest().await
                }
            };
            tokio::time::timeout(limit, seen).await.with_context(|| format!("no row: {sql}"))
        })
    }

    /// Begins a transaction as the superuser that does something, and leaves it open.
    ///
    /// # Errors
    /// The server refuses.
    pub fn begin(&self, sql: &str) -> Result<Transaction> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(async {
            let (client, connection) = self.superuser().connect(NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(&format!("BEGIN; {sql}")).await?;
            anyhow::Ok(client)
        })?;
        Ok(Transaction { client, runtime })
    }

    fn superuser(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.socket).port(self.port).user("postgres").dbname(&self.name);
        config
    }

    /// Does something as the superuser. Gives the rows, each with its columns as text.
    ///
    /// # Errors
    /// The server refuses.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (client, connection) = self.superuser().connect(NoTls).await?;
            let connection = tokio::spawn(connection);
            let messages = client.simple_query(sql).await.with_context(|| sql.to_owned())?;
            drop(client);
            connection.await??;
            let row = |message: &SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect(),
                ),
                _ => None,
            };
            Ok(messages.iter().filter_map(row).collect())
        })
    }
}

/// A transaction that is open until it is committed or dropped.
pub struct Transaction {
    client: tokio_postgres::Client,
    runtime: tokio::runtime::Runtime,
}

impl Transaction {
    /// Waits until another session waits for a row that this one has written.
    ///
    /// # Errors
    /// None does within the limit.
    pub fn wait_for_another(&self, limit: Duration) -> Result<()> {
        const WAITS: &str =
            "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";
        self.runtime.block_on(async {
            let waits = async {
                while self.client.query(WAITS, &[]).await?.is_empty() {
                    rest().await;
                }
                anyhow::Ok(())
            };
            tokio::time::timeout(limit, waits).await.context("nobody waits for the transaction")?
        })
    }

    /// Commits it.
    ///
    /// # Errors
    /// The server refuses.
    pub fn commit(self) -> Result<()> {
        Ok(self.runtime.block_on(self.client.batch_execute("COMMIT"))?)
    }
}

/// A shell for a script that starts Postgres, which refuses to be root: then it is `nobody`, and gets what it needs of root's
/// files as copies of its own.
fn unprivileged(installation: PathBuf, directory: &Path) -> Result<(Command, PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        fs::set_permissions(directory.join("server.key"), fs::Permissions::from_mode(0o600))?;
        return Ok((Command::new("sh"), installation));
    }
    let copy = directory.join("postgres");
    output(Command::new("cp").arg("-r").args([&installation, &copy]))?;
    output(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(directory))?;
    let mut shell = Command::new("setpriv");
    let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    shell.args(ids).args(["--clear-groups", "sh"]);
    Ok((shell, copy))
}

/// Between two looks.
async fn rest() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
