//! nginx with nchan, from Debian's packages, as a server to compare with.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::options::cores;
use crate::server::{Server, free_port};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const NGINX: &str = "/usr/sbin/nginx";
/// Messages kept per topic, for clients that come back.
const MESSAGES_KEPT: usize = 20_000;

/// Connections of one worker: it may have 20,000 descriptors here.
pub(crate) const CONNECTIONS_PER_WORKER_MAX: usize = 19_000;

/// Starts it on a free port of an address.
pub(crate) fn start(address: IpAddr) -> anyhow::Result<Server> {
    for file in [NGINX, MODULE] {
        if !Path::new(file).exists() {
            bail!("nchan isn't installed ({file} is missing): apt-get install nginx-light libnginx-mod-nchan");
        }
    }
    let listen = SocketAddr::new(address, free_port(address)?);
    let port = listen.port();
    let folder = std::env::temp_dir().join(format!("cinnabar-loadgen-nchan-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration(listen, &folder, cores()))
        .with_context(|| format!("write {}", file.display()))?;
    let mut command = Command::new(NGINX);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-g", "daemon off;"]).stdin(Stdio::null());
    Server::launch_silent(command, &format!("http://{listen}/"), folder)
}

/// As many workers as cores, each pinned to one as a hub's shards are, and with as many descriptors as it may have; a topic's id is the query's `id`, which
/// nginx leaves percent-encoded.
fn configuration(listen: SocketAddr, folder: &Path, workers: usize) -> String {
    let folder = folder.display();
    format!(
        r#"load_module {MODULE};
worker_processes {workers};
worker_cpu_affinity auto;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log stderr error;
events {{
  worker_connections {CONNECTIONS_PER_WORKER_MAX};
}}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  nchan_shared_memory_size 512M;
  nchan_message_buffer_length {MESSAGES_KEPT};
  nchan_message_timeout 10m;
  server {{
    listen {listen} reuseport backlog=4096;
    location = /sub {{
      nchan_subscriber eventsource;
      nchan_subscriber_first_message newest;
      nchan_channel_id $arg_id;
      nchan_channel_id_split_delimiter ",";
    }}
    location = /pub {{
      nchan_publisher http;
      nchan_channel_id $arg_id;
    }}
  }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_port_folder_and_workers() {
        let text = configuration("127.0.0.1:8123".parse().expect("an address"), Path::new("/x/y"), 3);
        for line in [
            "listen 127.0.0.1:8123 reuseport backlog=4096;",
            "pid /x/y/nginx.pid;",
            "worker_processes 3;",
            "worker_cpu_affinity auto;",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
