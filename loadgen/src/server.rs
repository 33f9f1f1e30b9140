//! The server under test: one that runs already, or one this program starts and stops.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::agents;
use crate::dialect::{Dialect, Preset};
use crate::options::Options;
use crate::sys;
use crate::target::{HUB_PATH, Target};
use crate::tls::{Shown, Tls, Trust};
use crate::token::Issuer;

/// How long a server may take from its start to its `listening on` line.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take from SIGTERM to its end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Lines of a server's standard error kept for the case that it dies.
const LAST_LINES: usize = 20;
const ISSUER: &str = "https://loadgen.example";
const SECRET: &str = "a secret that only load tests use, 32 bytes and more";

/// What a server has said so far.
#[derive(Debug, Default)]
struct Said {
    last: VecDeque<String>,
    /// Turns of its event loops of more than 2 ms of CPU time that met a full socket: it tells when asked to
    /// (`--log …turns=debug`).
    long_turns_full: u64,
}

impl Said {
    fn hear(&mut self, line: String) {
        self.long_turns_full += u64::from(line.contains("a long turn") && !line.contains("short_sends=0"));
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// A running server.
pub(crate) struct Server {
    child: Option<Child>,
    pid: Option<u32>,
    /// Where it is.
    pub(crate) target: Target,
    /// How TLS is spoken with it, if it is.
    pub(crate) trust: Option<Trust>,
    /// Who makes tokens for subscribers, if this program started the hub.
    pub(crate) issuer: Option<Issuer>,
    /// A token that may publish.
    pub(crate) token: Option<String>,
    said: Arc<Mutex<Said>>,
    data: Option<PathBuf>,
    /// The files of its certificate, which it looks at as long as it runs.
    shown: Option<Shown>,
}

impl Server {
    /// Starts or finds the server the options name. `extra` are arguments for a hub started by `--hub`, which those
    /// after `--` follow. `tls` says how that hub is spoken to; others say by their URL whether it is TLS.
    pub(crate) fn start(options: &Options, extra: &[String], tls: Option<Tls>) -> anyhow::Result<Self> {
        if let Some(binary) = &options.hub {
            return Self::start_hub(options, binary, extra, None, tls);
        }
        let mut server = if let Some(command) = &options.spawn {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("exec {command}")).stdin(Stdio::null());
            // What agents are let in by is none of its business.
            shell.env_remove(agents::SECRET_VARIABLE);
            Self::launch(shell, options.verbose)?
        } else {
            let url = options.url.as_deref().context("say which server: --hub, --spawn or --url")?;
            Self::found(Target::parse(url)?)
        };
        if let Some(url) = &options.url {
            server.target = Target::parse(url)?;
        }
        if tls.is_some() && !server.target.secure {
            bail!("{}: this scenario speaks TLS, so the URL has to begin with https://", server.target.url());
        }
        if server.target.secure {
            let file = options.tls_certificate.as_deref().context(
                "say with --tls-certificate which certificate (in PEM) the server at an https:// URL has: no other is trusted",
            )?;
            server.trust = Some(Trust::new(read_certificate(file)?, server.target.host(), tls.unwrap_or_default())?);
        }
        server.pid = options.server_pid.or(server.pid);
        let audience = options.resource.clone().unwrap_or_else(|| server.target.url());
        let issuer = |secret: &String| Issuer {
            claims: Dialect::claims(options.preset),
            name: options.issuer.clone(),
            secret: secret.clone(),
            audience: audience.clone(),
            now_s: sys::unix_seconds(),
        };
        server.issuer = options.subscriber_jwt_key.as_ref().map(issuer);
        let minted = options.publisher_jwt_key.as_ref().map(|secret| publish_token(&issuer(secret)));
        server.token = options.token.clone().or(minted);
        Ok(server)
    }

    /// Starts one more hub of the cluster that this one is the first of: publishers and subscribers go to both in turn.
    pub(crate) fn start_another(&mut self, options: &Options, extra: &[String]) -> anyhow::Result<Self> {
        let binary = options.hub.as_ref().context("the hubs of a cluster are started by --hub")?;
        let other = Self::start_hub(options, binary, extra, Some(self.target.url()), None)?;
        self.target.others.push(other.target.address);
        Ok(other)
    }

    /// A server somebody else runs.
    fn found(target: Target) -> Self {
        Self {
            child: None,
            pid: None,
            target,
            trust: None,
            issuer: None,
            token: None,
            said: Arc::default(),
            data: None,
            shown: None,
        }
    }

    /// `resource` is what the hub is called, if it isn't its own address.
    fn start_hub(
        options: &Options,
        binary: &Path,
        extra: &[String],
        resource: Option<String>,
        tls: Option<Tls>,
    ) -> anyhow::Result<Self> {
        let listen = SocketAddr::new(options.listen_address, free_port(options.listen_address)?);
        let port = listen.port();
        let resource = resource.unwrap_or_else(|| {
            let scheme = if tls.is_some() { "https" } else { "http" };
            format!("{scheme}://{listen}{HUB_PATH}")
        });
        let data = std::env::temp_dir().join(format!("cinnabar-loadgen-{}-{port}", std::process::id()));
        let mut command = Command::new(binary);
        without_settings(&mut command);
        // A hub that has been measured has nobody left to be gentle with.
        command.env("CINNABAR_DRAIN_WINDOW", "0");
        command.arg("serve");
        let mut shown = None;
        let place = match tls {
            None => listen.to_string(),
            Some(tls) => {
                let shows = Shown::make(options.listen_address, tls)?;
                command.arg("--tls-certificate").arg(&shows.paths.0).arg("--tls-key").arg(&shows.paths.1);
                shown = Some(shows);
                format!("tls:{listen}")
            }
        };
        command.args(["--listen", &place, "--resource", &resource]);
        command.args(["--issuer", ISSUER, "--publisher-jwt-key", SECRET, "--subscriber-jwt-key", SECRET]);
        // Whoever measures history elsewhere says so.
        let memory: &[&str] = if says_history(extra, &options.hub_args) { &[] } else { &["--history", "memory"] };
        command
            .arg("--anonymous")
            .arg("--data")
            .arg(&data)
            .args(memory)
            .args(extra)
            .args(&options.hub_args)
            .stdin(Stdio::null());
        let mut server = Self::launch(command, options.verbose)?;
        server.data = Some(data);
        server.trust = shown.as_ref().map(|shown| shown.trust.clone());
        server.shown = shown;
        let issuer = own_issuer(options.preset, resource);
        server.token = Some(publish_token(&issuer));
        server.issuer = Some(issuer);
        Ok(server)
    }

    /// Starts a command that doesn't say where it listens, and waits until it does. Its folder goes with it.
    pub(crate) fn launch_silent(mut command: Command, url: &str, folder: PathBuf) -> anyhow::Result<Self> {
        sys::prepare_child(&mut command, u64::MAX);
        let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("start {command:?}"))?;
        let said = Arc::default();
        let heard = child.stderr.take().map(|stderr| watch(stderr, Arc::clone(&said), false));
        drop(heard);
        let pid = child.id();
        let mut server = Self::found(Target::parse(url)?);
        (server.child, server.pid, server.said, server.data) = (Some(child), Some(pid), said, Some(folder));
        let end = sys::now_ns() + START_TIMEOUT.as_nanos() as u64;
        while std::net::TcpStream::connect(server.target.address).is_err() {
            if server.ended().is_some() || sys::now_ns() > end {
                let words = server.last_words();
                bail!("the server didn't listen on {url} ({command:?}); it said:\n{words}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Starts a command and waits for its `listening on http://…` (or `https://`) line on standard error.
    pub(crate) fn launch(mut command: Command, verbose: bool) -> anyhow::Result<Self> {
        sys::prepare_child(&mut command, *crate::SOFT_DESCRIPTOR_LIMIT.get().unwrap_or(&u64::MAX));
        let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("start {command:?}"))?;
        let pid = child.id();
        let said = Arc::default();
        let found = child.stderr.take().map(|stderr| watch(stderr, Arc::clone(&said), verbose));
        let url = found.and_then(|found| found.recv_timeout(START_TIMEOUT).ok());
        let nowhere = Target {
            address: ([127, 0, 0, 1], 0).into(),
            authority: String::new(),
            path: String::new(),
            secure: false,
            others: Vec::new(),
        };
        let mut server = Self::found(nowhere);
        (server.child, server.pid, server.said) = (Some(child), Some(pid), said);
        let Some(url) = url else {
            let words = server.last_words();
            bail!("the server didn't say `listening on http://…` ({command:?}); it said:\n{words}");
        };
        server.target = Target::parse(&url)?;
        Ok(server)
    }

    /// The process to watch, if known.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// All its processes: the one to watch and those it has started.
    pub(crate) fn pids(&self) -> Vec<u32> {
        pids_of(self.pid)
    }

    /// The started process, for who wants to talk to it.
    pub(crate) fn child_mut(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// The last lines it wrote to standard error.
    pub(crate) fn last_words(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.last.iter().fold(String::new(), |all, line| all + "  " + line + "\n")
    }

    /// The long turns with a full socket that it has told of.
    pub(crate) fn long_turns_full(&self) -> u64 {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).long_turns_full
    }

    /// Has the started server ended by itself?
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Stops a server this program started, by SIGTERM. Answers how it ended; nothing for one that isn't ours.
    pub(crate) fn stop(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        if child.try_wait()?.is_none() {
            sys::terminate(child.id())?;
        }
        let end = sys::now_ns() + STOP_TIMEOUT.as_nanos() as u64;
        loop {
            if let Some(status) = child.try_wait()? {
                if let Some(data) = self.data.take() {
                    let _ = std::fs::remove_dir_all(data);
                }
                return Ok(Some(status));
            }
            if sys::now_ns() > end {
                child.kill()?;
                child.wait()?;
                bail!("the server didn't end within {STOP_TIMEOUT:?} of SIGTERM and was killed");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(status) = self.ended() {
            eprintln!("the server ended by itself ({status}); it said:\n{}", self.last_words());
        }
        let _ = self.stop();
    }
}

/// Who makes the tokens for a server this program starts.
pub(crate) fn own_issuer(preset: Preset, audience: String) -> Issuer {
    Issuer {
        claims: Dialect::claims(preset),
        name: ISSUER.to_owned(),
        secret: SECRET.to_owned(),
        audience,
        now_s: sys::unix_seconds(),
    }
}

/// A token that may publish to every topic.
pub(crate) fn publish_token(issuer: &Issuer) -> String {
    issuer.mint("publish", &["*".to_owned()], "loadgen")
}

/// A free port; nobody else is likely to take it in the moment until a server does.
pub(crate) fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    if address.is_unspecified() {
        bail!("--listen-address {address}: nobody can connect to that; name one of this machine's addresses");
    }
    let listener = TcpListener::bind((address, 0)).with_context(|| format!("--listen-address {address}"))?;
    Ok(listener.local_addr()?.port())
}

/// A process and those it has started.
pub(crate) fn pids_of(pid: Option<u32>) -> Vec<u32> {
    let Some(pid) = pid else {
        return Vec::new();
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|word| word.parse().ok())).collect()
}

/// Reads a server's standard error for as long as it lives; hands over the URL once it is said.
fn watch(stderr: impl Read + Send + 'static, said: Arc<Mutex<Said>>, verbose: bool) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if verbose {
                eprintln!("server | {line}");
            }
            if let Some(url) = listening_url(&line) {
                let _ = sender.send(url.to_owned());
            }
            said.lock().unwrap_or_else(PoisonError::into_inner).hear(line);
        }
    });
    receiver
}

fn listening_url(line: &str) -> Option<&str> {
    let rest = &line[line.find("listening on ")?..];
    let url = &rest[rest.find("http://").or_else(|| rest.find("https://"))?..];
    Some(url.split(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == ',').next().unwrap_or(url))
}

/// The first certificate of a file.
fn read_certificate(file: &Path) -> anyhow::Result<Vec<u8>> {
    let about = || format!("--tls-certificate {}", file.display());
    let certificate = CertificateDer::from_pem_file(file).map_err(anyhow::Error::msg).with_context(about)?;
    Ok(certificate.to_vec())
}

/// A hub this program starts is set up by its arguments alone, whatever the environment has for another.
fn without_settings(command: &mut Command) {
    let settings = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CINNABAR_") || name.starts_with("MERCURE_")
    });
    for name in settings {
        command.env_remove(name);
    }
}

/// Whether somebody has chosen where a hub keeps its history: in a cluster it is with the engine.
fn says_history(extra: &[String], hub_args: &[String]) -> bool {
    let chooses = |arg: &str| ["--history", "--cluster"].contains(&arg.split('=').next().unwrap_or(arg));
    extra.iter().chain(hub_args).any(|arg| chooses(arg))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_in_a_log_line() {
        let line = "\x1b[2m12:00\x1b[0m INFO listening on http://127.0.0.1:3000/.well-known/mercure\x1b[0m shards=2";
        assert_eq!(listening_url(line), Some("http://127.0.0.1:3000/.well-known/mercure"));
        assert_eq!(listening_url("listening on https://127.0.0.1:3443"), Some("https://127.0.0.1:3443"));
        assert_eq!(listening_url("see http://x, then listen"), None);
    }

    #[test]
    fn where_history_is_kept_may_be_chosen() {
        let says = |arguments: &str| says_history(&[], &arguments.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(says("--history file") && says("--io uring --history=file") && says("--cluster redis://h"));
        assert!(!says("--history-max-bytes 1MiB --cluster-name a"));
    }

    #[test]
    fn long_turns_with_full_sockets_are_counted() {
        let mut said = Said::default();
        for line in ["DEBUG a long turn shard=0 sends=9 short_sends=0", "a long turn short_sends=2", "something else"] {
            said.hear(line.to_owned());
        }
        assert_eq!(said.long_turns_full, 1);
    }

    #[test]
    fn a_started_server_is_stopped_by_sigterm() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap 'exit 3' TERM; echo listening on http://127.0.0.1:9/x >&2; while :; do sleep 0.05; done",
        ]);
        let mut server = Server::launch(command, false).expect("starts");
        assert_eq!(server.target.url(), "http://127.0.0.1:9/x");
        assert_eq!(server.stop().expect("stops").and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn a_server_that_dies_at_once_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option >&2; exit 1"]);
        let error = Server::launch(command, false).err().expect("fails").to_string();
        assert!(error.contains("no such option"), "{error}");
    }
}
