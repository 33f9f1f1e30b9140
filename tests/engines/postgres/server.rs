//! A PostgreSQL of the test's own: a cluster in a temporary folder, as the user the server insists on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use cinnabar::cluster::{Address, Postgres, Retention};

use crate::servers::{Daemon, PATIENCE, PLENTY, Server, shell};

pub(crate) struct PostgresServer {
    daemon: Daemon,
    pub(crate) address: Address,
}

impl PostgresServer {
    /// With more settings, each a `name=value`.
    pub(crate) fn with(settings: &[String]) -> PostgresServer {
        let daemon = Daemon::start(setpriv(), "postgresql", |port, data| {
            initialise(data);
            let folder = data.display().to_string();
            let mut arguments: Vec<_> = as_postgres().iter().map(|&word| word.to_owned()).collect();
            arguments.extend([program("postgres"), "-D".to_owned(), folder.clone()]);
            let fixed = [
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={port}"),
                format!("unix_socket_directories={folder}"),
            ];
            arguments.extend(fixed.iter().chain(settings).flat_map(|setting| ["-c".to_owned(), setting.clone()]));
            arguments
        });
        let address = Address {
            url: format!("postgres://postgres@127.0.0.1:{}/postgres", daemon.port).parse().expect("a URL"),
            name: "cinnabar".to_owned(),
            user: None,
            password: None,
            credentials: None,
            ca: None,
            certificate: None,
        };
        let server = PostgresServer { daemon, address };
        server.wait();
        server
    }

    /// It listens before it answers.
    fn wait(&self) {
        let start = Instant::now();
        while !self.psql_with("-c 'select 1'").0 {
            assert!(start.elapsed() < PATIENCE, "PostgreSQL did not start");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What psql, as the superuser, says of statements: rows without ornaments. They have to succeed.
    pub(crate) fn psql(&self, statements: &str) -> String {
        let file = self.daemon.data().with_extension("sql");
        std::fs::write(&file, statements).expect("a file in the temporary folder");
        let (well, said) = self.psql_with(&format!("-f {}", file.display()));
        assert!(well, "{statements}: {said}");
        said
    }

    fn psql_with(&self, arguments: &str) -> (bool, String) {
        let (bin, port) = (program("psql"), self.daemon.port);
        let line = format!(
            "{bin} -X -q -A -t -v ON_ERROR_STOP=1 -h {} -p {port} -U postgres {arguments} 2>&1",
            self.daemon.data().display()
        );
        let output = Command::new("bash").args(["-c", &line]).output().expect("bash is there");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Where its socket is.
    pub(crate) fn folder(&self) -> String {
        self.daemon.data().display().to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.daemon.port
    }

    /// Who is let in how, from now on: lines of pg_hba.conf for connections over the network.
    pub(crate) fn let_in(&self, lines: &str) {
        let file = self.daemon.data().join("pg_hba.conf");
        std::fs::write(file, format!("local all all trust\n{lines}\n")).expect("the file is there");
        self.psql("SELECT pg_reload_conf()");
        // The postmaster takes it up a moment later.
        let expected = lines.lines().count() + 1;
        let start = Instant::now();
        while self.psql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NULL") != expected.to_string() {
            assert!(start.elapsed() < PATIENCE, "{lines}");
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }

    /// An engine for an address that differs.
    pub(crate) fn at(&self, change: impl FnOnce(&mut Address)) -> Postgres {
        let mut address = self.address.clone();
        change(&mut address);
        Postgres::new(address, PLENTY)
    }
}

impl Server for PostgresServer {
    type Engine = Postgres;

    fn start() -> PostgresServer {
        PostgresServer::with(&[])
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn engine(&self, retention: Retention) -> Postgres {
        Postgres::new(self.address.clone(), retention)
    }

    fn wipe(&mut self) {
        self.daemon.kill();
        self.daemon.empty();
        initialise(&self.daemon.data());
        self.daemon.run();
    }
}

/// Makes an empty cluster.
fn initialise(data: &Path) {
    let mut line =
        format!("{} --no-sync -A trust -U postgres -E UTF8 --locale=C.UTF-8 -D {}", program("initdb"), data.display());
    if is_root() {
        shell(&format!("chown postgres {}", data.display()));
        line = format!("setpriv {} {line}", as_postgres().join(" "));
    }
    shell(&line);
}

/// The server refuses to run as root.
fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("Linux")) == 0
}

/// What becomes the user of the Debian package, if that may be changed, and then the program that is named behind.
fn setpriv() -> &'static str {
    if is_root() { "setpriv" } else { "env" }
}

fn as_postgres() -> &'static [&'static str] {
    if is_root() { &["--reuid=postgres", "--regid=postgres", "--clear-groups"] } else { &[] }
}

/// A program of PostgreSQL's: Debian keeps those of every version in a folder of its own.
fn program(name: &str) -> String {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        folders.map(|folder| folder.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    match found.pop() {
        Some(path) => path.display().to_string(),
        None => panic!(
            "PostgreSQL's {name} is not installed, and this test needs it: apt-get install postgresql (tests/run does that)"
        ),
    }
}
