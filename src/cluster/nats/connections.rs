//! The connection to NATS: made when needed, given up with the first thing that goes wrong on it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, ServerAddr, ServerError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{CALL_TIMEOUT, locked, refusal};
use crate::cluster::{Address, EngineError, tls};

/// Other servers of the same cluster that are remembered.
const SERVERS_MAX: usize = 16;

/// One question: a message that is answered.
pub(super) struct Ask {
    pub(super) subject: String,
    /// The number the newest message of this subject has to have, 0 if there may be none: else it isn't stored.
    pub(super) expected: Option<u64>,
    pub(super) payload: Bytes,
}

/// How to reach NATS, and what reaches it now.
pub(super) struct Connections {
    address: Address,
    shared: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// Servers of the cluster that one of them has named.
    others: Mutex<Vec<String>>,
}

/// One connection.
pub(super) struct Link {
    client: Client,
    alive: watch::Receiver<bool>,
    /// Something went wrong on it: nobody begins anything on it any more.
    given_up: AtomicBool,
    /// What the server has forbidden: it doesn't answer that, it only says so beside.
    forbidden: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

impl Connections {
    pub(super) fn new(address: Address) -> Connections {
        Connections { address, shared: tokio::sync::Mutex::new(None), others: Mutex::new(Vec::new()) }
    }

    pub(super) async fn server_version(&self) -> Result<String, EngineError> {
        Ok(self.link().await?.client.server_info().version)
    }

    /// Servers there are in the cluster, 1 if it is none.
    pub(super) async fn servers(&self) -> Result<usize, EngineError> {
        Ok(self.link().await?.client.server_info().connect_urls.len().max(1))
    }

    /// Asks one thing.
    pub(super) async fn ask(&self, limit: Duration, ask: Ask) -> Result<Message, EngineError> {
        self.ask_all(limit, vec![ask]).await.pop().expect("one answer for one question")
    }

    /// Asks many things in this order and without waiting in between; an answer for each.
    pub(super) async fn ask_all(&self, limit: Duration, asks: Vec<Ask>) -> Vec<Result<Message, EngineError>> {
        let mut answers: Vec<Option<Result<Message, EngineError>>> = Vec::new();
        answers.resize_with(asks.len(), || None);
        let mut used = None;
        let asked = timeout(limit, async {
            let link = self.link().await?;
            used = Some(link.clone());
            self.exchange(&link, asks, &mut answers).await
        });
        let failed = match asked.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(self.silent(limit, used.as_deref())),
        };
        if let (Some(EngineError::Unavailable(_)), Some(link)) = (&failed, &used) {
            link.given_up.store(true, Ordering::Relaxed);
        }
        let failed = failed.unwrap_or_else(|| EngineError::Unavailable(String::new()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(failed.clone()))).collect()
    }

    async fn exchange(
        &self,
        link: &Link,
        asks: Vec<Ask>,
        answers: &mut [Option<Result<Message, EngineError>>],
    ) -> Result<(), EngineError> {
        let inbox = link.client.new_inbox();
        let broken = |error: &dyn std::fmt::Display| EngineError::Unavailable(format!("{:?}: {error}", self.address));
        let mut inbound = link.client.subscribe(format!("{inbox}.*")).await.map_err(|error| broken(&error))?;
        let bytes_max = link.client.server_info().max_payload;
        let mut open = 0;
        for (number, ask) in asks.into_iter().enumerate() {
            let mut headers = HeaderMap::new();
            if let Some(expected) = ask.expected {
                headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
            }
            if ask.payload.len() + HEADER_BYTES_MAX > bytes_max {
                answers[number] = Some(Err(refusal::too_large(&self.address, ask.payload.len(), bytes_max)));
                continue;
            }
            let reply = format!("{inbox}.{number}");
            let sent = match ask.expected {
                None => link.client.publish_with_reply(ask.subject, reply, ask.payload).await,
                Some(_) => link.client.publish_with_reply_and_headers(ask.subject, reply, headers, ask.payload).await,
            };
            sent.map_err(|error| broken(&error))?;
            open += 1;
        }
        while open > 0 {
            let answer = link.next(&mut inbound).await.ok_or_else(|| self.gone())?;
            let number = answer.subject.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
            if let Some(place) = number.and_then(|number| answers.get_mut(number)) {
                open -= usize::from(place.is_none());
                *place = Some(Ok(answer));
            }
        }
        Ok(())
    }

    /// Asks for messages: what comes is the caller's to read, from an inbox of its own.
    pub(super) async fn pull(&self, subject: String, request: Bytes) -> Result<Inbound, EngineError> {
        let asked = timeout(CALL_TIMEOUT, async {
            let link = self.link().await?;
            let inbox = link.client.new_inbox();
            let inbound = link.client.subscribe(inbox.clone()).await.map_err(|_| self.gone())?;
            link.client.publish_with_reply(subject, inbox, request).await.map_err(|_| self.gone())?;
            Ok(Inbound { link, inbound })
        });
        asked.await.unwrap_or_else(|_| Err(self.silent(CALL_TIMEOUT, None)))
    }

    /// The next message of a pull.
    pub(super) async fn pulled(&self, inbound: &mut Inbound, limit: Duration) -> Result<Message, EngineError> {
        let came = timeout(limit, inbound.link.next(&mut inbound.inbound)).await;
        let failed = match came {
            Ok(Some(message)) => return Ok(message),
            Ok(None) => self.gone(),
            Err(_) => self.silent(limit, Some(&inbound.link)),
        };
        inbound.link.given_up.store(true, Ordering::Relaxed);
        Err(failed)
    }

    async fn link(&self) -> Result<Arc<Link>, EngineError> {
        let linked = timeout(CALL_TIMEOUT, async {
            let mut shared = self.shared.lock().await;
            if let Some(link) = shared.as_ref().filter(|link| link.usable()) {
                return Ok(link.clone());
            }
            // Before the next one is made, which can fail: those still at work on this one keep it.
            *shared = None;
            let link = Arc::new(self.connect().await?);
            *shared = Some(link.clone());
            Ok(link)
        });
        linked.await.unwrap_or_else(|_| Err(self.silent(CALL_TIMEOUT, None)))
    }

    async fn connect(&self) -> Result<Link, EngineError> {
        let (alive_sender, alive) = watch::channel(true);
        let forbidden = Arc::new(Mutex::new(None));
        let heard = forbidden.clone();
        let servers = self.addresses()?;
        let options = self.login()?.name("cinnabar").connection_timeout(CALL_TIMEOUT).request_timeout(None);
        // A client that reconnects would send later what was given up long ago: each is used for one connection.
        let options = options.max_reconnects(servers.len()).retain_servers_order().event_callback(move |event| {
            match event {
                Event::Disconnected | Event::Closed => drop(alive_sender.send(false)),
                Event::ServerError(ServerError::Other(text)) => *locked(&heard) = Some(text),
                _ => {}
            }
            async {}
        });
        let client = options.connect(servers).await.map_err(|error| refusal::connecting(&self.address, &error))?;
        let mut others = client.server_info().connect_urls;
        others.truncate(SERVERS_MAX);
        *locked(&self.others) = others;
        Ok(Link { client, alive, given_up: AtomicBool::new(false), forbidden })
    }

    /// The server that was named, then those it has named.
    fn addresses(&self) -> Result<Vec<ServerAddr>, EngineError> {
        let mut url = self.address.url.clone();
        // Who we are is told otherwise.
        let _ = url.set_username("");
        let scheme = url.scheme().to_owned();
        let named = ServerAddr::from_url(url).map_err(|error| {
            EngineError::Refused(format!("{:?}: {error}; write it as in nats://host:4222", self.address))
        })?;
        let others = locked(&self.others).clone();
        let others = others.into_iter().filter_map(|other| format!("{scheme}://{other}").parse().ok());
        Ok(std::iter::once(named).chain(others).collect())
    }

    fn login(&self) -> Result<ConnectOptions, EngineError> {
        let mut options = ConnectOptions::new();
        if let Some(path) = &self.address.credentials {
            let unreadable =
                |error: &dyn std::fmt::Display| EngineError::Refused(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
            // Its errors may quote the file.
            let parsed = options.credentials(&text);
            options =
                parsed.map_err(|_| unreadable(&"it holds no NATS credentials; make it with `nsc generate creds`"))?;
        } else {
            options = match (self.address.login(), &self.address.password) {
                (Some(user), password) => options.user_and_password(user, password.clone().unwrap_or_default()),
                (None, Some(token)) => options.token(token.clone()),
                (None, None) => options,
            };
        }
        let demanded = self.address.url.scheme() == "tls";
        if demanded || self.address.ca.is_some() || self.address.certificate.is_some() {
            // Who names certificates means TLS, also where the server would do without.
            options = options.require_tls(true).tls_client_config(tls::client_config(&self.address)?);
        }
        Ok(options)
    }

    fn gone(&self) -> EngineError {
        EngineError::Unavailable(format!("{:?}: the connection is gone", self.address))
    }

    fn silent(&self, limit: Duration, link: Option<&Link>) -> EngineError {
        match link.and_then(|link| locked(&link.forbidden).take()) {
            Some(text) => refusal::forbidden(&self.address, &text),
            None => {
                EngineError::Unavailable(format!("{:?} has not answered within {} s", self.address, limit.as_secs()))
            }
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

/// What the headers of a message have at most.
const HEADER_BYTES_MAX: usize = 128;

/// Messages that come one after the other.
pub(super) struct Inbound {
    link: Arc<Link>,
    inbound: Subscriber,
}

impl Link {
    fn usable(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed) && *self.alive.borrow()
    }

    /// `None` when the connection is gone: the client itself would wait for the next one.
    async fn next(&self, inbound: &mut Subscriber) -> Option<Message> {
        let mut alive = self.alive.clone();
        let gone = pin!(alive.wait_for(|alive| !alive));
        match select(pin!(inbound.next()), gone).await {
            Either::Left((message, _)) => message,
            Either::Right(_) => None,
        }
    }
}
