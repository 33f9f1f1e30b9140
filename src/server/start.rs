//! Starting and stopping: threads in the right order, and out again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;

use crate::config::data_folder::random_key;
use crate::config::{AdminListen, Config, HistoryEngine, IoChoice, memory};
use crate::history::{
    Disk, Durability, FileHistory, FileOptions, FileWriter, HISTORY_FOLDER, History, MemoryHistory, OpenError, Opened,
};
use crate::hub::{Event, Log};
use crate::kernel::{Root, memory::there_is_bytes};
use crate::protocol::event_id::{EPOCH_MAX, IdCipher};
use crate::server::acme::{Acme, AcmeError};
use crate::server::admin::{self, Admin, Caller, DenyList, DenyListFileError, Door, Order, TokenGuard};
use crate::server::backbone::Backbone;
use crate::server::clock::{self, Clock};
use crate::server::cluster::elsewhere::Asked;
use crate::server::cluster::{self, Joined, Link, LinkState};
use crate::server::compile;
use crate::server::compressor::{Coder, CompressionCounters, CompressorThread};
use crate::server::ending::{Ended, WayOut};
use crate::server::guests::GuestLimits;
use crate::server::inbox::{Inbox, Message};
use crate::server::key_sets::KeySets;
use crate::server::limits::Machine;
use crate::server::listen::{ListenError, Listening};
use crate::server::notify::{Notifier, Watch};
use crate::server::presence::{self, Announcer, Journal, Roster, SubscriberIds};
use crate::server::recall;
use crate::server::reload::Reloader;
use crate::server::sender::Sender;
use crate::server::sequencer::{Relay, SequencerHandle};
use crate::server::settings::Settings;
use crate::server::shard::{self, Driver, ShardParts};
use crate::server::shared::Shared;
use crate::server::tls::{CertificateError, Certificates, DevelopmentCertificateError, development};
use crate::server::tracer::Tracer;
use crate::server::{listen, sys};

/// Entries of a shard's own event loop ring.
const LOOP_RING_ENTRIES: u32 = 1024;
/// What all that subscribers ask for may take of the memory: one part of so many.
const SELECTORS_SHARE: u64 = 10;
/// Descriptors the hub needs for itself, without its shards.
pub(super) const OWN_DESCRIPTORS: usize = 64;
/// What a hub that gives up leaves the log to be written.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Room for fewer connections than this is worth a warning.
const FEW_CONNECTIONS: usize = 64;
/// Descriptors a shard needs for itself: one listener to eight, wake-ups, rings; eight besides the listeners.
pub(super) const SHARD_DESCRIPTORS: usize = 16;
/// Time the threads beside the shards have to end once the shards have, milliseconds.
const REST_STOP_MS: u64 = 1_000;
/// Connections that carry requests, not streams, per shard at most.
const GUESTS_MAX: usize = 16_384;
/// Unfinished request heads among them at most.
const HEADS_MAX: usize = 4096;
/// What either limit is at least, however few descriptors there are.
const GUESTS_MIN: usize = 16;

/// Why a hub could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// See [`ListenError`].
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// io_uring was asked for by name and isn't to be had.
    #[error("io_uring can't be used here ({0}); containers often deny it: use --io auto or --io epoll")]
    Uring(io::Error),
    /// Administrators can't be heard where they should be.
    #[error("can't listen on {place} for administrators: {error}; choose another place with {flag}")]
    Admin {
        /// The socket or address.
        place: String,
        /// The setting that names it.
        flag: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Certificates can't be used.
    #[error("{}", sentences(.0))]
    Certificates(Vec<CertificateError>),
    /// See [`AcmeError`].
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// See [`DevelopmentCertificateError`].
    #[error(transparent)]
    DevelopmentCertificate(#[from] DevelopmentCertificateError),
    /// See [`DenyListFileError`].
    #[error(transparent)]
    DenyList(#[from] DenyListFileError),
    /// Another hub uses the data folder.
    #[error(
        "another hub has the history in {}: stop it first, or give this one a data folder of its own with --data", folder.display()
    )]
    HistoryInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// History can't be opened.
    #[error("history in {}: {error}", folder.display())]
    History {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        error: OpenError,
    },
    /// The engine of the cluster can't be used.
    #[error(
        "can't join the cluster at {place}: {why}; is the server there, and are --cluster and what is said besides right?"
    )]
    Cluster {
        /// The engine's address, without a password.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// Something every system has is missing.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

fn sentences(errors: &[CertificateError]) -> String {
    errors.iter().map(CertificateError::to_string).collect::<Vec<_>>().join("\n")
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System { what, error }
}

/// Keeps signals for [`run`], which waits for them: to be called before any thread is started.
///
/// # Errors
/// What the system says.
pub fn block_signals() -> io::Result<()> {
    sys::Signals::block().map(drop)
}

/// Runs a hub until SIGTERM or SIGINT, then stops it in order, unless another of these says that it is to end at once. `ready` is called once it listens, with the configuration
/// as it is now that the ports are known.
///
/// # Errors
/// [`StartError`]: nothing runs then.
pub fn run(mut config: Config, ready: impl FnOnce(&Config)) -> Result<Ended, StartError> {
    // Before any thread exists, so that all inherit the mask and one place takes signals.
    let signals = sys::Signals::block().map_err(system("can't block signals"))?;
    let notifier = Notifier::from_environment();
    let descriptors = sys::raise_descriptor_limit().map_err(system("can't read the descriptor limit"))?;
    if let Some(made) = &config.development_certificate
        && development::make_ready(made, clock::wall_ms() / 1000)?
    {
        let authority = made.authority();
        tracing::info!(authority = %authority.display(), "a local certificate and an authority for it were made; browsers that trusted an earlier one have to trust this one");
    }
    let shared = Arc::new(Shared::new(config.shards));
    let acme = match (&config.acme, &config.data) {
        (Some(wanted), Some(data)) => Some(Arc::new(Acme::open(wanted, data, shared.challenges.clone())?)),
        _ => None,
    };
    let managed = acme.as_ref().map(|acme| acme.managed()).unwrap_or_default();
    let certificates = Certificates::open(&config.certificates, managed, shared.challenges.clone());
    let certificates = Arc::new(certificates.map_err(StartError::Certificates)?);
    let Listening { bound, shards: listeners, mut files } =
        listen::open_all(&config.listen, config.shards, config.write_timeout, config.dev)?;
    config.set_bound(bound);
    let mut settings = Settings::new(&config);
    if let Some(bytes) = there_is_bytes(&Root::machine()) {
        settings.shard.selectors_bytes_max = (bytes / SELECTORS_SHARE) as usize / settings.shards;
    }
    let deny_list = DenyList::open(config.data.as_deref(), clock::wall_ms())?;
    let doors = admin_doors(&config)?;
    sys::grow_descriptor_table(&listeners[0][0].socket, descriptors);
    let driver = choose_driver(config.io, descriptors)?;
    let capacity = Capacity { driver, descriptors };
    let connections_max = capacity.connections_max(&settings);
    let random = random_words(settings.shards).map_err(system("can't get random numbers"))?;

    let backbone = Backbone::start().map_err(system("can't start the backbone's thread"))?;
    let Remembered { history, writer, log, newest, _lock, joined } = remember(&config, &settings, &shared, &backbone)?;
    let (history, head) = (Arc::new(history), log.head());
    let (keeper, kept) = bounded(1);
    let (finder, finds) = recall::channel();
    let (reader, reads) = recall::channel();
    let (compiler, jobs) = compile::channel();
    let settings = Arc::new(settings);
    let compression_counters = Arc::new(CompressionCounters::default());
    let clock = Clock::start();
    let cores = sys::cores();
    let (admin_queue, admin_asked) = admin::channel();
    let tracer = start_tracer(&config, &backbone);

    let (mut inboxes, mut receivers) = (Vec::new(), Vec::new());
    for _ in &listeners {
        let (inbox, messages, bell) = Inbox::new().map_err(system("can't make a wake-up descriptor"))?;
        // Before anybody can come in.
        inbox.send(Message::Admin(Order::Deny(deny_list.current())));
        inboxes.push(inbox);
        receivers.push((messages, bell));
    }
    let (mut go, mut roster, mut elsewhere, in_cluster) = (None, None, None, joined.is_some());
    let (sequencer, sequencer_thread, sequencer_counters) = match joined {
        None => SequencerHandle::new(log, history.clone(), writer, keeper.clone(), inboxes.clone(), clock),
        Some(joined) => {
            (go, roster, elsewhere) = (Some(joined.go), joined.roster, joined.elsewhere);
            let coder = Coder::new(settings.codings, shared.clone(), compression_counters.clone());
            let relay = Relay::new(joined.link, joined.state, coder);
            SequencerHandle::of_cluster(log, history.clone(), relay, keeper.clone(), inboxes.clone(), clock)
        }
    };
    // In a cluster events are made when they come from the engine, and compressed then.
    let (compressor, sequencer) = if settings.codings.is_empty() || in_cluster {
        (None, sequencer)
    } else {
        let (codings, counters) = (settings.codings, compression_counters.clone());
        let (thread, handle) = CompressorThread::new(codings, shared.clone(), counters, sequencer.clone());
        (Some(thread), sequencer.behind(handle))
    };
    let subscriber_ids = Arc::new(SubscriberIds::new(random_key()));
    let (announcer, announcements) = presence::channel();
    // Before the first request: what is fetched now isn't missing then.
    let key_sets = KeySets::start(&config, inboxes.clone(), &backbone, clock);
    let mut shards = Vec::new();
    for (index, (listeners, (messages, bell))) in listeners.into_iter().zip(receivers).enumerate() {
        let parts = ShardParts {
            index,
            settings: settings.clone(),
            tls: certificates.config(),
            keys: key_sets.live(),
            shared: shared.clone(),
            clock,
            listeners,
            messages,
            bell,
            sequencer: sequencer.clone(),
            finder: finder.clone(),
            reader: reader.clone(),
            compiler: compiler.clone(),
            announcer: announcer.clone(),
            subscriber_ids: subscriber_ids.clone(),
            elsewhere: elsewhere.clone(),
            neighbours: inboxes.clone(),
            driver,
            connections_max,
            guest_limits: guest_limits(descriptors, settings.shards),
            random: random[index],
            admin: admin_queue.clone(),
            tracer: tracer.clone(),
            head: (head, newest.clone()),
        };
        let core = cores[index % cores.len()];
        let spawned = spawn(format!("shard {index}"), move || shard_thread(parts, core, descriptors));
        shards.push(spawned.map_err(system("can't start a thread"))?);
    }
    drop((finder, reader, compiler, announcer));
    let mut others = Vec::new();
    let mut spawn_other = |name: &str, body: Box<dyn FnOnce() + Send>| {
        others.push(spawn(name.into(), body).map_err(system("can't start a thread"))?);
        Ok::<(), StartError>(())
    };
    {
        let (settings, shared, inboxes) = (settings.clone(), shared.clone(), inboxes.clone());
        spawn_other("pattern compiler", Box::new(move || compile::run(&jobs, &settings, &shared, &inboxes)))?;
    }
    {
        let (history, shared, inboxes) = (history.clone(), shared.clone(), inboxes.clone());
        spawn_other("history finder", Box::new(move || recall::find(&finds, &history, &shared, &inboxes)))?;
    }
    {
        let (settings, shared, inboxes, history) = (settings.clone(), shared.clone(), inboxes.clone(), history.clone());
        let body = move || recall::read(&reads, &history, &settings.hub, &shared, &inboxes);
        spawn_other("history reader", Box::new(body))?;
    }
    if settings.shard.announces {
        let announcer = Announcer {
            hub: settings.hub.clone(),
            ids: subscriber_ids,
            sequencer: sequencer.clone(),
            shared: shared.clone(),
            journal: config.data.as_deref().filter(|_| roster.is_none()).and_then(open_journal),
            roster,
        };
        spawn_other("announcer", Box::new(move || announcer.run(&announcements)))?;
    }
    {
        let (history, shared) = (history.clone(), shared.clone());
        spawn_other("history keeper", Box::new(move || recall::keep(&kept, &history, &shared)))?;
    }
    spawn_other("sequencer", Box::new(move || sequencer_thread.run()))?;
    if let Some(go) = go {
        go(&backbone, &sequencer, inboxes.clone());
    }
    if let Some(compressor) = compressor {
        spawn_other("compressor", Box::new(move || compressor.run()))?;
    }
    let io = match driver {
        Driver::Uring => "io_uring",
        Driver::Epoll => "epoll",
    };
    let reloader = Arc::new(Reloader::new(
        config.clone(),
        capacity,
        key_sets.clone(),
        certificates.clone(),
        acme.clone(),
        shared.clone(),
        inboxes.clone(),
    ));
    let admin = Arc::new(Admin {
        clock,
        started_ms: clock::wall_ms(),
        driver: io,
        hub: settings.hub.clone(),
        shared: shared.clone(),
        inboxes: inboxes.clone(),
        sequencer: sequencer.clone(),
        sequencer_counters: sequencer_counters.clone(),
        compression_counters,
        history,
        deny_list,
        token: config.admin.token.as_ref().map(TokenGuard::new),
        key_sets: key_sets.clone(),
        certificates: certificates.clone(),
        acme: acme.clone(),
        reloader: reloader.clone(),
        errands: Admin::errands(),
    });
    {
        let shared = shared.clone();
        shared.limits.ceiling.set_max(settings.memory_max);
        let machine = Machine::this(sys::page_bytes());
        // Whoever asks at once is told, too.
        shared.limits.ceiling.look(&machine, 0, true);
        backbone.spawn(async move {
            let connections = || shared.connections.load(Ordering::Relaxed) as u64;
            shared.limits.ceiling.watch(machine, connections).await;
        });
    }
    if let Some(acme) = acme {
        backbone.spawn(acme.keep(certificates.clone(), inboxes.clone()));
    }
    backbone.spawn(certificates.watch(inboxes.clone()));
    for (door, caller) in doors {
        backbone.spawn(admin::serve(door, admin.clone(), caller));
    }
    backbone.spawn(admin::answer_shards(admin_asked, admin, inboxes.clone()));
    tracing::info!(shards = settings.shards, io, connections_max, "started");
    ready(&config);
    notifier.ready("serving");

    let watch = Watch::new(&notifier, &shared, clock);
    wait_for_stop(&signals, &reloader, &watch);
    let way_out =
        WayOut { signals: &signals, watch: &watch, shared: &shared, inboxes: &inboxes, shards: &shards, clock };
    if let Err(at_once) = way_out.go(reloader.ending(), random[0], &mut files) {
        return Ok(Ended::AtOnce(at_once));
    }
    shared.end();
    others.push(backbone.stop());
    sequencer.stop(Duration::from_millis(REST_STOP_MS));
    // It looks whether the hub has ended.
    let _ = keeper.try_send(());
    // Whoever is left works for nobody: a queue full of costly questions doesn't hold the stop up.
    wait_for_end(&others, &clock, REST_STOP_MS);
    let (events, commits) = sequencer_counters.totals();
    tracing::info!(events, commits, "stopped");
    Ok(Ended::InOrder)
}

/// The log and where it is remembered.
struct Remembered {
    history: History,
    writer: Option<FileWriter>,
    log: Log,
    /// The newest event there is.
    newest: Option<Arc<Event>>,
    /// The folder is ours as long as it lives.
    _lock: Option<File>,
    /// By whom else, if by somebody else.
    joined: Option<Ties>,
}

/// What ties a hub to its cluster.
struct Ties {
    link: Link,
    state: Arc<LinkState>,
    go: cluster::Go,
    roster: Option<Arc<dyn Roster>>,
    elsewhere: Option<mpsc::Sender<Asked>>,
}

fn remember(
    config: &Config,
    settings: &Settings,
    shared: &Arc<Shared>,
    backbone: &Backbone,
) -> Result<Remembered, StartError> {
    if let Some(named) = &config.cluster {
        let joined = cluster::join(named, settings, config.max_body_bytes, shared, backbone);
        let Joined { history, log, newest, link, state, go, roster, elsewhere } =
            joined.map_err(|why| StartError::Cluster { place: format!("{:?}", named.address), why })?;
        let joined = Some(Ties { link, state, go, roster, elsewhere });
        return Ok(Remembered { history: History::Remote(history), writer: None, log, newest, _lock: None, joined });
    }
    let random = random_words(3).map_err(system("can't get random numbers"))?;
    let cipher = IdCipher::new(settings.id_key);
    let (HistoryEngine::File { fsync }, Some(data)) = (config.history.engine, &config.data) else {
        let epoch = (random[0] % u64::from(EPOCH_MAX)) as u32 + 1;
        let log = Log::new(epoch, 0, cipher);
        let history = History::Memory(RwLock::new(MemoryHistory::new(settings.retention, log.locator())));
        return Ok(Remembered { history, writer: None, log, newest: None, _lock: None, joined: None });
    };
    let folder = data.join(HISTORY_FOLDER);
    let refused = |error| StartError::History { folder: folder.clone(), error };
    let unusable = |error: io::Error| {
        let read_only = matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied);
        let advice =
            if read_only { "; make it writable for this user, or name another data folder with --data" } else { "" };
        refused(OpenError::Io { what: "the folder".to_owned(), why: format!("{error}{advice}") })
    };
    let disk = Disk::open(&folder).map_err(unusable)?;
    let lock = disk.lock().map_err(unusable)?.ok_or_else(|| StartError::HistoryInUse { folder: folder.clone() })?;
    let durability = if fsync { Durability::Fsync } else { Durability::Written };
    let options = FileOptions { retention: settings.retention, durability, codings: settings.codings };
    let Opened { writer, history, log, newest } =
        FileHistory::open(disk, options, cipher, [random[0], random[1], random[2]]).map_err(refused)?;
    // Before anybody reads. What can't be dropped now is tried again, and said then.
    let _ = history.drop_old(clock::wall_ms());
    let ([updates, announcements], [bytes, more]) = (history.counts(), history.bytes());
    tracing::info!(
        folder = %folder.display(), events = updates + announcements, bytes = bytes + more, fsync, "history is open"
    );
    Ok(Remembered {
        history: History::File(history),
        writer: Some(writer),
        log,
        newest,
        _lock: Some(lock),
        joined: None,
    })
}

/// The journal of who is subscribed. A hub can do without.
fn open_journal(folder: &Path) -> Option<Journal> {
    let refused = |error: &io::Error| {
        tracing::warn!(%error, "no journal of subscriptions is kept (another hub may use the data folder): after a crash some may seem to go on");
    };
    Journal::open(folder).inspect_err(refused).ok()
}

/// Sends spans of requests to the collector, if there is one.
#[cfg(feature = "otel")]
fn start_tracer(config: &Config, backbone: &Backbone) -> Tracer {
    let Some(endpoint) = config.otlp_endpoint.clone() else {
        return Tracer::default();
    };
    let (tracer, spans) = crate::server::tracer::channel();
    backbone.spawn(crate::server::tracer::export(spans, endpoint));
    tracer
}

#[cfg(not(feature = "otel"))]
fn start_tracer(_: &Config, _: &Backbone) -> Tracer {
    Tracer
}

/// Opens the doors for administrators and probes.
fn admin_doors(config: &Config) -> Result<Vec<(Door, Caller)>, StartError> {
    let mut doors = Vec::new();
    let opened = match &config.admin.listen {
        AdminListen::Off => None,
        AdminListen::Unix(path) => Some((admin::bind_unix(path), format!("unix:{}", path.display()), Caller::Owner)),
        AdminListen::Tcp(address) => Some((admin::bind_tcp(*address), address.to_string(), Caller::Bearer)),
    };
    if let Some((bound, place, caller)) = opened {
        match bound {
            Ok(door) => {
                tracing::info!(place, "administrators are heard");
                doors.push((door, caller));
            }
            // Nobody asked for it: the hub works without.
            Err(error) if config.admin.by_default => {
                tracing::warn!(place, %error, "no socket for administrators; choose another place with --admin");
            }
            Err(error) => return Err(StartError::Admin { place, flag: "--admin", error }),
        }
    }
    if let Some(address) = config.admin.health {
        let (place, flag) = (address.to_string(), "--health-listen");
        let door = admin::bind_tcp(address).map_err(|error| StartError::Admin { place, flag, error })?;
        tracing::info!(%address, "health and metrics are answered");
        doors.push((door, Caller::Anybody));
    }
    Ok(doors)
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(body)
}

/// Waits until all of these threads have ended, or the time is up.
fn wait_for_end(threads: &[thread::JoinHandle<()>], clock: &Clock, patience_ms: u64) {
    let deadline_ms = clock.now().mono_ms + patience_ms;
    while clock.now().mono_ms < deadline_ms && threads.iter().any(|thread| !thread.is_finished()) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Blocks until the hub is to stop; reloads on the way.
fn wait_for_stop(signals: &sys::Signals, reloader: &Reloader, watch: &Watch<'_>) {
    loop {
        watch.look();
        match signals.wait_for(watch.patience()) {
            Some(libc::SIGHUP) => {
                watch.notifier.reloading();
                // What came of it is in the log, too.
                watch.notifier.ready(match reloader.reload() {
                    Ok(_) => "serving",
                    Err(_) => "serving; the configuration was not reloaded, the log says why",
                });
            }
            Some(_) => return,
            None => {}
        }
    }
}

fn shard_thread(parts: ShardParts, core: usize, descriptors: usize) {
    if let Err(error) = sys::pin_to_core(core) {
        tracing::warn!(core, %error, "a shard could not be pinned to its core");
    }
    let outcome = match parts.driver {
        Driver::Uring => uring_runtime().and_then(|mut runtime| {
            let sender = Sender::ring(descriptors)?;
            runtime.block_on(shard::run(parts, sender))
        }),
        Driver::Epoll => monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
            .build()
            .and_then(|mut runtime| runtime.block_on(shard::run(parts, Sender::calls()))),
    };
    if let Err(error) = outcome {
        // A hub without one of its shards would lose a share of its clients silently.
        tracing::error!(%error, "a shard's event loop failed");
        // The log is written by another thread.
        thread::sleep(LAST_WORDS);
        std::process::exit(1);
    }
}

pub(super) fn uring_runtime() -> io::Result<monoio::Runtime<monoio::IoUringDriver>> {
    let mut ring = io_uring_monoio::IoUring::builder();
    ring.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun();
    monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(LOOP_RING_ENTRIES).uring_builder(ring).build()
}

/// Tries what the shards will need.
fn choose_driver(io: IoChoice, descriptors: usize) -> Result<Driver, StartError> {
    let probe = || {
        uring_runtime()?;
        Sender::ring(descriptors)
    };
    match io {
        IoChoice::Epoll => Ok(Driver::Epoll),
        IoChoice::Uring => probe().map(|_| Driver::Uring).map_err(StartError::Uring),
        IoChoice::Auto => match probe() {
            Ok(_) => Ok(Driver::Uring),
            Err(error) => {
                tracing::warn!(%error, "io_uring can't be used here, epoll is");
                Ok(Driver::Epoll)
            }
        },
    }
}

/// What the machine allows, as far as it limits the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    driver: Driver,
    descriptors: usize,
}

impl Capacity {
    /// The limit on connections: as configured, or what descriptors and memory allow.
    pub(crate) fn connections_max(self, settings: &Settings) -> usize {
        // A hub without a ceiling has a limit all the same.
        let ceiling = settings.memory_max.or_else(|| there_is_bytes(&Root::machine()).map(memory::share));
        let by_memory = ceiling.map_or(usize::MAX, |bytes| memory::connections_max(bytes) as usize);
        let by_descriptors = match self.driver {
            Driver::Uring => usize::MAX,
            Driver::Epoll => free_descriptors(self.descriptors, settings.shards),
        };
        let wanted = settings.connections_max.unwrap_or(by_memory);
        if by_descriptors < FEW_CONNECTIONS.min(wanted) {
            tracing::warn!(
                descriptors = self.descriptors,
                connections = by_descriptors.max(1),
                "the limit on descriptors leaves room for few connections: raise LimitNOFILE or the hard limit of ulimit -n"
            );
        }
        wanted.min(by_descriptors).max(1)
    }
}

/// The descriptors left for connections.
fn free_descriptors(descriptors: usize, shards: usize) -> usize {
    descriptors.saturating_sub(OWN_DESCRIPTORS + SHARD_DESCRIPTORS * shards)
}

/// How many requests a shard carries at a time: all shards together must not use up the descriptors.
fn guest_limits(descriptors: usize, shards: usize) -> GuestLimits {
    let share = free_descriptors(descriptors, shards) / shards;
    GuestLimits { guests_max: share.clamp(GUESTS_MIN, GUESTS_MAX), heads_max: (share / 4).clamp(GUESTS_MIN, HEADS_MAX) }
}

#[allow(clippy::disallowed_methods, reason = "the start of the server is a room that draws randomness")]
fn random_words(count: usize) -> io::Result<Vec<u64>> {
    let random = SystemRandom::new();
    (0..count)
        .map(|_| {
            let mut bytes = [0; 8];
            random.fill(&mut bytes).map_err(|_| io::Error::other("the system's random generator failed"))?;
            Ok(u64::from_ne_bytes(bytes) ^ clock::wall_ms())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_all_shards_fit_into_the_descriptors() {
        for (descriptors, shards) in [(1024, 1), (1024, 8), (20_000, 2), (1 << 20, 64)] {
            let limits = guest_limits(descriptors, shards);
            assert!(limits.heads_max <= limits.guests_max && limits.guests_max <= GUESTS_MAX);
            assert!(limits.guests_max * shards + 9 * shards + 64 <= descriptors, "{descriptors}, {shards}");
        }
        assert_eq!(guest_limits(64, 4).guests_max, GUESTS_MIN, "too few for anything: still some");
    }
}
