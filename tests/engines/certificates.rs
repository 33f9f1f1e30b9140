//! A certificate authority of our own, a server's certificate and a client's, made by openssl.

use std::path::PathBuf;

use crate::folder::Folder;
use crate::servers::shell;

/// Files in PEM.
#[derive(Debug)]
pub(crate) struct Certificates(Folder);

impl Certificates {
    pub(crate) fn make() -> Certificates {
        let folder = Folder::new();
        let extensions = "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";
        folder.write("extensions", extensions);
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let sign = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions";
        let mut lines = vec![
            format!("cd {}", folder.path().display()),
            format!("openssl req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=a-private-ca"),
            format!("openssl req -x509 {key} -keyout other.key -out other.pem -days 2 -subj /CN=another-ca"),
        ];
        for name in ["server", "client"] {
            lines.push(format!("openssl req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
            lines.push(format!("openssl x509 -req -in {name}.csr {sign} -out {name}.pem"));
        }
        shell(&lines.join(" && "));
        Certificates(folder)
    }

    /// One of `ca.pem`, `other.pem` (a CA that signed nothing), `server.pem`, `server.key`, `client.pem`, `client.key`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }
}
