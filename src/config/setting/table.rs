//! The settings there are: a row each, under headings.

use super::{Fallback, Kind, Setting};

const LISTENING: &str = "Listening";
const ACME: &str = "Certificates by ACME";
const ACCESS: &str = "Who may do what";
const BROWSERS: &str = "Browsers";
const HISTORY: &str = "History";
const CLUSTER: &str = "Clusters";
const STREAMS: &str = "Streams";
const LIMITS: &str = "Limits of a request";
const CLIENTS: &str = "Limits of a client";
const ADMIN: &str = "Administration";
const MACHINE: &str = "The machine";

/// The headings, in the order they are shown.
pub const GROUPS: &[&str] =
    &[LISTENING, ACME, ACCESS, BROWSERS, HISTORY, CLUSTER, STREAMS, LIMITS, CLIENTS, ADMIN, MACHINE];

/// A row that is neither secret nor different in development mode; the others are written by update from it.
const fn row(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    kind: Kind,
    default: Fallback,
    doc: &'static str,
) -> Setting {
    Setting { name, value, kind, default, dev_default: None, mercure_env: None, group, secret: false, doc }
}

use Fallback::{Value, Without};
use Kind::{Many, One, Switch};

/// Every setting, in the order of help and docs.
pub const SETTINGS: &[Setting] = &[
    row(
        LISTENING,
        "listen",
        "PLACE",
        Many,
        Value("127.0.0.1:3000"),
        "A place to accept connections at, `ADDR:PORT`. The default is for a proxy on the same machine; \
         `0.0.0.0:3000` accepts from everywhere, `tls:0.0.0.0:443` speaks TLS, which takes a certificate, and \
         `redirect:0.0.0.0:80` sends everybody on to there. `unix:PATH` is a Unix socket for a proxy, `unix:PATH?mode=666` with other \
         permissions than 660. `systemd` takes the sockets systemd has opened, `systemd:NAME` those of a name, also with \
         `tls:` or `redirect:` before it (docs/listeners.md).",
    ),
    row(
        LISTENING,
        "redirect-to-port",
        "PORT",
        One,
        Without("the port of the first place with TLS"),
        "The port in the URLs that the `redirect:` places send to, where it is another one in public.",
    ),
    row(
        LISTENING,
        "tls-certificate",
        "FILE",
        Many,
        Without("none"),
        "A certificate in PEM for the `tls:` addresses, followed by those that lead to its authority. With several, clients get the one \
         for the name they ask for, else the first. An OCSP response in DER in `FILE.ocsp` is sent along. Files that change are \
         read again at once (docs/tls.md).",
    ),
    row(
        LISTENING,
        "tls-key",
        "FILE",
        Many,
        Without("none"),
        "The key of a certificate, in PEM: the first one belongs to the first certificate, and so on.",
    ),
    row(
        LISTENING,
        "dev",
        "",
        Switch,
        Value("false"),
        "Development mode: loopback only, anonymous subscribers let in, loopback origins allowed, a secret of its own \
         in the data folder, ready-made tokens printed at start.",
    ),
    row(
        LISTENING,
        "tls",
        "",
        Switch,
        Value("false"),
        "With `--dev`: speak TLS too, with a certificate for localhost that the hub makes itself, at `tls:127.0.0.1:3443` unless `--listen` \
         names a `tls:` address (docs/tls.md).",
    ),
    row(
        LISTENING,
        "data",
        "FOLDER|none",
        One,
        Value("./cinnabar-data"),
        "The folder for what must survive a restart: history, keys, the deny list, who is subscribed. Made with mode 0700; refused if \
         others can read it. `none` keeps nothing, which takes `--history memory`.",
    ),
    row(
        LISTENING,
        "config",
        "FILE",
        One,
        Without("none"),
        "A TOML file with any of these settings, and with `[[issuer]]` tables where issuers have keys of their own.",
    ),
    row(
        ACME,
        "acme",
        "NAME",
        Many,
        Without("none"),
        "A name of the hub, such as `hub.example`, to get a certificate for and to keep it renewed; several stand one after another or \
         with commas between them. It needs a `tls:` address, which the authority reaches at port 443 of that name, or a plain one at \
         port 80. With it you agree to the terms of service of the authority (docs/tls.md).",
    ),
    row(ACME, "acme-email", "ADDRESS", One, Without("none"), "Whom the authority may write to about the account."),
    row(
        ACME,
        "acme-directory",
        "URL",
        One,
        Value("https://acme-v02.api.letsencrypt.org/directory"),
        "The ACME directory of the authority. The default is Let's Encrypt; \
         `https://acme-staging-v02.api.letsencrypt.org/directory` is theirs for trying things out, which browsers don't trust.",
    ),
    row(
        ACME,
        "acme-ca",
        "FILE",
        One,
        Without("those browsers trust"),
        "Certificates in PEM that the server of a private authority is judged by.",
    ),
    row(
        ACME,
        "acme-challenge",
        "auto|tls-alpn-01|http-01",
        One,
        Value("auto"),
        "How the hub proves that a name is its own: `tls-alpn-01` at port 443, `http-01` at port 80, `auto` by what it listens on, and the \
         other one after a failure.",
    ),
    row(
        ACME,
        "acme-eab-kid",
        "ID",
        One,
        Without("none"),
        "The key identifier that an authority gives its customers (external account binding). It comes with `--acme-eab-key`.",
    ),
    Setting {
        secret: true,
        ..row(
            ACME,
            "acme-eab-key",
            "KEY",
            One,
            Without("none"),
            "The key to it, in base64. Other users of the machine can see flags: prefer the environment or the file.",
        )
    },
    Setting {
        dev_default: Some(Without("the URL it listens on")),
        ..row(
            ACCESS,
            "resource",
            "URL",
            One,
            Without("required outside development"),
            "The hub's public URL, e.g. `https://hub.example/.well-known/mercure`: what tokens must name in `aud`, byte by \
             byte, and what relative topics and patterns are resolved against. The hub answers at its path, whatever that \
             is; behind a proxy the path must arrive as it stands here.",
        )
    },
    row(
        ACCESS,
        "public-url",
        "URL",
        Many,
        Without("not checked; in development loopback names"),
        "A URL the hub is reached under, such as `https://hub.example`. With one or more, requests whose `Host` is none of \
         theirs (or that name no host) are answered 421. Behind a proxy the `Host` it passes on counts.",
    ),
    Setting {
        mercure_env: Some("MERCURE_TRUSTED_ISSUERS"),
        ..row(
            ACCESS,
            "issuer",
            "ISS",
            Many,
            Without("none"),
            "A trusted issuer of tokens, exactly as it stands in `iss`. Several share the keys given by the flags below; \
             in the file, `[[issuer]]` tables give each its own.",
        )
    },
    Setting {
        mercure_env: Some("MERCURE_PUBLISHER_JWT_KEY"),
        secret: true,
        ..row(
            ACCESS,
            "publisher-jwt-key",
            "KEY",
            One,
            Without("none"),
            "The key that tokens for publishing are signed with: a secret (32 bytes or more for HS256) or a public key \
             in PEM. Other users of the machine can see flags: prefer the environment or the file.",
        )
    },
    Setting {
        mercure_env: Some("MERCURE_PUBLISHER_JWT_ALG"),
        ..row(
            ACCESS,
            "publisher-jwt-alg",
            "ALG",
            Many,
            Value("HS256"),
            "The algorithms allowed with that key: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
             ES256, ES384, EdDSA.",
        )
    },
    Setting {
        mercure_env: Some("MERCURE_SUBSCRIBER_JWT_KEY"),
        secret: true,
        ..row(
            ACCESS,
            "subscriber-jwt-key",
            "KEY",
            One,
            Without("none"),
            "The key that tokens for subscribing are signed with, in the same forms.",
        )
    },
    Setting {
        mercure_env: Some("MERCURE_SUBSCRIBER_JWT_ALG"),
        ..row(ACCESS, "subscriber-jwt-alg", "ALG", Many, Value("HS256"), "The algorithms allowed with that key.")
    },
    row(
        ACCESS,
        "authorization-server",
        "",
        Switch,
        Value("false"),
        "Name the issuers given by `--issuer` as authorization servers in the hub's metadata, so that clients find out where \
         tokens are to be had. In `[[issuer]]` tables write `authorization_server = true`.",
    ),
    row(
        ACCESS,
        "publisher-jwks-url",
        "URL",
        One,
        Without("none"),
        "Instead of the key: a JSON Web Key Set of public keys, `https://…` or `file:///…`, fetched and kept fresh by the hub. \
         Its keys may be used with what `--publisher-jwt-alg` says if it is set, else with all algorithms but HS256, HS384 and \
         HS512.",
    ),
    row(ACCESS, "subscriber-jwks-url", "URL", One, Without("none"), "The same for the tokens for subscribing."),
    row(
        ACCESS,
        "jwks-allow-http",
        "",
        Switch,
        Value("false"),
        "Fetch key sets over `http:` from other machines too. Whoever is on the way can then add a key of their own; without it \
         `http:` is for loopback only.",
    ),
    Setting {
        dev_default: Some(Value("true")),
        ..row(
            ACCESS,
            "anonymous",
            "",
            Switch,
            Value("false"),
            "Let subscribers in without a token; they receive public updates only. A token that is presented and \
             invalid is refused all the same.",
        )
    },
    row(
        ACCESS,
        "compat",
        "7|8",
        One,
        Without("off"),
        "Also speak version 7 or 8 of the protocol, which came before 1.0: `topic=` selectors, the claim `mercure`, the \
         cookie `mercureAuthorization` and the query parameter `authorization`. Checks of tokens are loosened by it, which \
         the log says at start; docs/compat.md says how to leave it. With it, keys need no `--issuer`.",
    ),
    row(
        ACCESS,
        "subscriptions",
        "",
        Switch,
        Value("false"),
        "Announce subscriptions that begin and end, and list them, to those whose tokens grant it. With a data folder, what \
         a killed hub left open is ended by the next one.",
    ),
    Setting {
        dev_default: Some(Without("loopback origins")),
        ..row(
            BROWSERS,
            "cors-origin",
            "ORIGIN",
            Many,
            Without("none"),
            "An origin whose pages may use the hub, e.g. `https://app.example`. `*` allows every page, without cookies.",
        )
    },
    Setting {
        dev_default: Some(Without("loopback origins")),
        ..row(
            BROWSERS,
            "publish-origin",
            "ORIGIN",
            Many,
            Without("none"),
            "An origin whose pages may publish with the cookie. Publishing with an `Authorization` header needs none.",
        )
    },
    row(
        BROWSERS,
        "cookie-name",
        "NAME",
        One,
        Value("__Secure-mercure_access_token"),
        "The cookie a token is taken from when there is no `Authorization` header.",
    ),
    row(
        HISTORY,
        "history",
        "file|memory",
        One,
        Value("file"),
        "Where events are kept for subscribers that come back: in files in the data folder, or in memory, which forgets with the \
         process. In a cluster its engine keeps them, and this can't be set.",
    ),
    row(
        HISTORY,
        "history-durability",
        "fsync|written",
        One,
        Value("fsync"),
        "What a publish that was answered survives when history is in files. `fsync`: a loss of power; what is published at the same \
         time shares a sync of the disk. `written`: the end of the process, however it comes; publishes are answered sooner, and a \
         loss of power may take the newest of them.",
    ),
    row(
        HISTORY,
        "history-max-events",
        "N",
        One,
        Without("1000000 in memory, 10000000 in files and clusters"),
        "How many events history keeps. With `--subscriptions`, a fifth as many announcements besides.",
    ),
    row(
        HISTORY,
        "history-max-bytes",
        "SIZE",
        One,
        Without("256MiB in memory, 1GiB in files and clusters"),
        "How many bytes of events history keeps: in memory, or of the disk, in steps of an eighth or 32 MiB. With `--subscriptions`, a \
         fifth as many of announcements besides.",
    ),
    row(
        HISTORY,
        "history-max-age",
        "DURATION",
        One,
        Value("0"),
        "How long history keeps an event; `0` sets no limit of age.",
    ),
    row(
        HISTORY,
        "tail-bytes",
        "SIZE",
        One,
        Value("64MiB"),
        "How many bytes of the newest events stay at hand for subscribers that have fallen behind, over all shards.",
    ),
    row(
        CLUSTER,
        "cluster",
        "URL",
        One,
        Without("none: a hub by itself"),
        "The server that joins this hub with others: `redis://HOST:6379` (`rediss:` with TLS), `nats://HOST:4222` (`tls:`) or \
         `postgres://HOST/DATABASE`. Hubs that name the same server and the same `--cluster-name` are one cluster: they have the same events \
         in the same order under the same ids, and the `--history-max-…` settings are how much the server keeps; give all the same. A \
         password is better given by `CINNABAR_CLUSTER_PASSWORD`. See docs/cluster.md.",
    ),
    row(
        CLUSTER,
        "cluster-name",
        "NAME",
        One,
        Value("cinnabar"),
        "What the cluster is called on that server: what names of keys, streams, buckets and tables begin with. Up to 32 letters, digits \
         and `_`.",
    ),
    row(CLUSTER, "cluster-user", "USER", One, Without("the URL's"), "The user to log in as, if the URL names none."),
    Setting {
        secret: true,
        ..row(
            CLUSTER,
            "cluster-password",
            "PASSWORD",
            One,
            Without("the URL's"),
            "The password, or for NATS without a user the token. Other users of the machine can see flags: prefer the environment or a \
             file.",
        )
    },
    row(
        CLUSTER,
        "cluster-password-file",
        "FILE",
        One,
        Without("none"),
        "A file with that password alone, as Docker and systemd hand out secrets.",
    ),
    row(
        CLUSTER,
        "cluster-credentials",
        "FILE",
        One,
        Without("none"),
        "A file of NATS credentials (`.creds`), instead of user and password.",
    ),
    row(
        CLUSTER,
        "cluster-ca",
        "FILE",
        One,
        Without("those of the system"),
        "Certificates in PEM that the server's certificate is judged by.",
    ),
    row(CLUSTER, "cluster-certificate", "FILE", One, Without("none"), "A certificate in PEM to show to the server."),
    row(CLUSTER, "cluster-key", "FILE", One, Without("none"), "Its key in PEM."),
    row(
        CLUSTER,
        "cluster-lease",
        "DURATION",
        One,
        Value("15s"),
        "With `--subscriptions`: a hub the engine hasn't heard of for so long is taken for dead, and another one announces that its \
         subscriptions have ended. The same for all hubs.",
    ),
    row(
        STREAMS,
        "heartbeat",
        "DURATION",
        One,
        Value("25s"),
        "How long a stream may be silent before a comment is sent, so that proxies keep it; `0` sends none.",
    ),
    row(
        STREAMS,
        "max-lifetime",
        "DURATION",
        One,
        Value("1h"),
        "How long a stream may last before it is ended and the client comes back; `0` sets no limit (a token's `exp` \
         still ends it).",
    ),
    row(
        STREAMS,
        "retry",
        "DURATION",
        One,
        Value("0"),
        "How long clients wait before they come back, said once at the start of a stream; an update's own `retry` replaces \
         it. `0` leaves it to the clients.",
    ),
    row(
        STREAMS,
        "padding",
        "SIZE",
        One,
        Value("0"),
        "Begin every stream with a comment of so many bytes, for proxies and old clients that hold the first ones back \
         (`2KiB` is usual); `0` sends none.",
    ),
    row(
        STREAMS,
        "compression",
        "gzip|zstd|off",
        Many,
        Value("gzip"),
        "The content codings that streams are offered under, the hub's favourite first; which one a client gets is up to its \
         `Accept-Encoding`. Each update is compressed once for all (docs/compression.md). `off` stands alone and offers none.",
    ),
    row(
        STREAMS,
        "write-timeout",
        "DURATION",
        One,
        Value("60s"),
        "How long a subscriber may take nothing of what it is sent before it is closed.",
    ),
    row(
        LIMITS,
        "max-body-bytes",
        "SIZE",
        One,
        Value("1MiB"),
        "The largest body of a publish, and of a subscription by QUERY, which has at most 1 MiB whatever this is.",
    ),
    row(
        LIMITS,
        "max-head-bytes",
        "SIZE",
        One,
        Value("32KiB"),
        "The largest head of a request: request line and header fields. The request target (path and query) has at most \
         12 KiB whatever this is.",
    ),
    row(
        LIMITS,
        "head-timeout",
        "DURATION",
        One,
        Value("10s"),
        "How long a client may take to send the head of a request.",
    ),
    row(
        LIMITS,
        "body-timeout",
        "DURATION",
        One,
        Value("30s"),
        "How long a client may take to send the body of a request.",
    ),
    row(
        CLIENTS,
        "trusted-proxy",
        "NETWORK",
        Many,
        Without("none"),
        "A proxy in front of the hub, as an address or a network (`10.0.0.0/8`), whose word about its clients' addresses \
         counts. List your own proxies only, and nothing a client could have. Limits by address aren't applied to them.",
    ),
    row(
        CLIENTS,
        "forwarded",
        "x-forwarded-for|forwarded|off",
        One,
        Value("x-forwarded-for"),
        "The field in which trusted proxies say who asked them. It is read from the right, past trusted proxies; they have \
         to append to it or to replace it. Nobody else's is looked at.",
    ),
    row(
        CLIENTS,
        "proxy-protocol",
        "",
        Switch,
        Value("false"),
        "Trusted proxies begin each connection with a PROXY protocol header, version 1 or 2 (HAProxy, `nginx` stream, load \
         balancers of clouds). Theirs must have one then; from everybody else it is refused.",
    ),
    row(
        CLIENTS,
        "max-connections-per-address",
        "N",
        One,
        Without("no limit"),
        "How many connections an address may have, over all shards; beyond, 429. IPv6 addresses that share their first 64 \
         bits count as one. Of a trusted proxy's connections, those count that carry a request or stream of the address.",
    ),
    row(
        CLIENTS,
        "max-streams-per-subject",
        "N",
        One,
        Without("no limit"),
        "How many streams the bearers of tokens with the same `iss` and `sub` may have together, over all shards; beyond, \
         429. Streams without a subject aren't counted.",
    ),
    row(
        CLIENTS,
        "max-http2-streams",
        "N",
        One,
        Value("256"),
        "How many requests and event streams an HTTP/2 connection may have at once; what is beyond is refused and comes again when \
         there is room. Connections that are open keep the number they began with.",
    ),
    row(
        CLIENTS,
        "publish-rate",
        "N/s|N/m|N/h",
        One,
        Without("no limit"),
        "How fast the bearers of tokens with the same `iss` and `sub` may publish together; beyond, 429. Tokens of an issuer \
         without `sub` share one rate.",
    ),
    row(
        CLIENTS,
        "publish-burst",
        "N",
        One,
        Without("as many as in a second, 1 at least"),
        "How many updates they may publish at once before that rate holds.",
    ),
    row(
        ADMIN,
        "admin",
        "unix:PATH|ADDR:PORT|off",
        One,
        Without("`admin.sock` in the data folder, if there is one; else off"),
        "Where the hub answers its administrators: health, metrics, what is going on, kicks (docs/admin.md). A Unix \
         socket is open to the hub's user and root alone; an address needs `--admin-token`.",
    ),
    Setting {
        secret: true,
        ..row(
            ADMIN,
            "admin-token",
            "TOKEN",
            One,
            Without("none"),
            "What administrators present as `Authorization: Bearer TOKEN` wherever they don't come over the Unix socket, \
             32 bytes or more. Other users of the machine can see flags: prefer the environment or the file.",
        )
    },
    row(
        ADMIN,
        "health-listen",
        "ADDR:PORT",
        One,
        Without("none"),
        "An address where health and metrics alone are answered, read-only and without a token: for probes and for \
         Prometheus.",
    ),
    Setting {
        dev_default: Some(Value("true")),
        ..row(
            ADMIN,
            "console",
            "",
            Switch,
            Value("false"),
            "Serve the console, a page that shows the hub at work, at `/console/` of the public listener too. What it \
             shows needs `--admin-token`, except in development mode. On the admin listener it is always there.",
        )
    },
    #[cfg(feature = "otel")]
    row(
        ADMIN,
        "otlp-endpoint",
        "URL",
        One,
        Without("none"),
        "The OpenTelemetry collector that spans of requests are sent to, e.g. `http://127.0.0.1:4318`; `/v1/traces` is \
         added (docs/tracing.md).",
    ),
    row(MACHINE, "shards", "N", One, Without("one per core"), "How many event loops share the connections."),
    row(
        MACHINE,
        "max-connections",
        "N",
        One,
        Without("as many as the machine allows"),
        "How many connections are held at once, over all shards.",
    ),
    row(
        MACHINE,
        "max-accept-rate",
        "N",
        One,
        Without("no limit"),
        "How many connections are accepted per second, over all shards; beyond, they wait in the kernel's queue.",
    ),
    row(
        MACHINE,
        "memory-max",
        "SIZE",
        One,
        Without("four fifths of the machine's memory, or of its control group's limit"),
        "How much memory the hub may take, the kernel's for its connections included. From nine tenths of it on, and near \
         the limits of its control group and of TCP, new subscribers get 503 and everything else goes on; `0` refuses nobody.",
    ),
    row(
        MACHINE,
        "io",
        "auto|uring|epoll",
        One,
        Value("auto"),
        "How the hub talks to the kernel: `uring` needs io_uring, `epoll` works wherever io_uring is denied (default \
         container profiles deny it), `auto` takes the first that works.",
    ),
    row(
        MACHINE,
        "drain-delay",
        "DURATION",
        One,
        Value("0"),
        "How long everything is still served on SIGTERM while the readiness probe says 503 already: for balancers that take their time to \
         look (docs/drain.md).",
    ),
    Setting {
        dev_default: Some(Value("0")),
        ..row(
            MACHINE,
            "drain-window",
            "DURATION",
            One,
            Value("5s"),
            "How long the streams are given on SIGTERM to end one by one, in random order, each told by a `retry:` of its own when to come \
             back; `0` ends all at once. Publishes are taken meanwhile, new subscribers get 503 (docs/drain.md).",
        )
    },
    row(
        MACHINE,
        "shutdown-timeout",
        "DURATION",
        One,
        Value("10s"),
        "How long a stop may take when the streams have been ended over `--drain-window`: publishes finish, what is left ends, then the \
         process exits. A second SIGTERM or SIGINT ends it at once.",
    ),
    row(
        MACHINE,
        "log",
        "FILTER",
        One,
        Value("info"),
        "How much is logged on standard error: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as \
         `info,cinnabar::server=debug`.",
    ),
];
