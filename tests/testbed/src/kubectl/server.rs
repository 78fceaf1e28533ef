//! `kubectl serve`: kubectl's commands without kubectl's starts. Nothing that knows what is asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::COLLECTOR;

/// One `kubectl` that serves this process, and ends with it however that ends: it reads a pipe that only this process holds.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    _process: Child,
}

impl Server {
    /// The one that runs this program; it is started on first use.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn of(program: &Path) -> Result<Arc<Self>> {
        static SERVERS: Mutex<BTreeMap<PathBuf, Arc<Server>>> = Mutex::new(BTreeMap::new());
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(program) {
            return Ok(server.clone());
        }
        let name = format!("kubectl-{}-{}", std::process::id(), servers.len());
        let server = Arc::new(Self::start(program, name)?);
        servers.insert(program.to_owned(), server.clone());
        Ok(server)
    }

    fn start(program: &Path, name: String) -> Result<Self> {
        let mut serve = Command::new(program);
        serve.args(["serve", &name]).env("KUBERC", "off").env(COLLECTOR.0, COLLECTOR.1);
        serve.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A Ctrl-C is for the tests; this hears of their end.
        let mut process = serve.process_group(0).spawn().context("start kubectl")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("kubectl's output")?).read_line(&mut line)?;
        if line.is_empty() {
            bail!("kubectl does not serve");
        }
        Ok(Self { name, _process: process })
    }

    /// Begins a command, whose standard output can be read from what is returned.
    ///
    /// # Errors
    /// The server is gone.
    pub(super) fn call(&self, kubeconfig: &Path, arguments: &[String]) -> Result<Call> {
        let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&self.name)?)?;
        let call = serde_json::json!({"kubeconfig": kubeconfig, "arguments": arguments});
        stream.write_all(call.to_string().as_bytes())?;
        Ok(Call { stream: BufReader::new(stream), left: 0, errors: Vec::new(), code: None })
    }
}

/// A command that runs. When this is dropped, nobody hears any more of what it does.
#[derive(Debug)]
pub(super) struct Call {
    stream: BufReader<UnixStream>,
    /// Bytes of output until the next frame.
    left: usize,
    errors: Vec<u8>,
    code: Option<u8>,
}

impl Call {
    /// Its output, once it has ended.
    ///
    /// # Errors
    /// It fails; the error quotes what it says.
    pub(super) fn output(mut self) -> Result<String> {
        let mut output = String::new();
        self.read_to_string(&mut output)?;
        match self.code {
            Some(0) => Ok(output),
            Some(code) => bail!("exit code {code}: {}", String::from_utf8_lossy(&self.errors).trim()),
            None => bail!("the server ended before the command did"),
        }
    }

    /// Reads frames up to the next of output: a kind, the length in four bytes, the content; see `kubectl/serve.go`.
    fn next(&mut self) -> std::io::Result<()> {
        while self.left == 0 && self.code.is_none() {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head)?;
            let [kind, length @ ..] = head;
            let length = u32::from_be_bytes(length);
            match kind {
                0 => self.left = usize::try_from(length).map_err(std::io::Error::other)?,
                1 => {
                    self.stream.by_ref().take(length.into()).read_to_end(&mut self.errors)?;
                }
                _ => {
                    let mut code = [0];
                    self.stream.read_exact(&mut code)?;
                    self.code = Some(code[0]);
                }
            }
        }
        Ok(())
    }
}

impl Read for Call {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.next()?;
        let wanted = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}
