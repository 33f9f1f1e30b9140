//! One connection while it carries requests: a task that reads heads and bodies, answers, and either goes on, ends, or
//! becomes an event stream, in which case the socket is parked and the task is gone.

mod body;
mod familiar;
mod handshake;
mod input;
mod introduction;
mod wire;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::rc::Rc;

use monoio::net::TcpStream;

use crate::http::body::BodyDecoder;
use crate::http::head::{self, HeadStatus, Version};
use crate::http::problem::problem;
use crate::http::response::{ResponseHead, reason};
use crate::protocol::frame::LAST_CHUNK;
use crate::server::guests::Phase;
use crate::server::http2;
use crate::server::limits::{Client, Hold};
use crate::server::listen::Entrance;
use crate::server::routes::{self, Answer};
use crate::server::shard::{Context, Whose};
use crate::server::sys;
use crate::server::tls::{HTTP2, TURNED_AWAY};
pub(crate) use body::QUERY_BODY_BYTES_MAX;
pub(crate) use body::{Account, Body, BodyBytes, BodyFailure, Counted, SpareBody};
use familiar::{Again, Familiar};
use input::Input;
pub(crate) use wire::{Introduction, Registered};
use wire::{OUTPUT_BYTES_MAX, READ_BYTES, Unanswered, Wire};

/// Publishes of one connection that may be on their way to the log while the next one is read.
const UNANSWERED_MAX: usize = 64;
/// Bytes of heads a shard recognises, and of what they came to: those of some thousand publishers.
const FAMILIAR_BYTES_MAX: usize = 4 << 20;
/// Bytes of an unwanted body read before the connection is closed instead.
const SKIPPED_BYTES_MAX: usize = 64 * 1024;

/// Answers a connection that is one too many, without a task for it.
pub(crate) fn refuse(mut stream: &std::net::TcpStream, tls: bool, answer: &ResponseHead, date: &str) {
    let mut bytes = Vec::new();
    match tls {
        true => bytes.extend_from_slice(TURNED_AWAY),
        false => answer.encode(Version::Http11, false, false, date, &mut bytes),
    }
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        // What has come already is taken: a close with unread input would reset the connection, and the answer with it.
        let _ = stream.read(&mut [0; READ_BYTES]);
    }
}

/// Why a connection ends.
enum End {
    /// The client is gone, or an answer could not be written.
    Gone,
    /// All is said: what is buffered is written, then the connection is closed in order.
    Close,
    /// It goes on as one of HTTP/2.
    Frames,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

/// Serves a connection until it ends or becomes a stream.
pub(crate) async fn serve(
    context: Rc<Context>,
    stream: std::net::TcpStream,
    entrance: Entrance,
    peer: Client,
    held: Option<Hold>,
    guest: u64,
) {
    let registered = Registered { context: context.clone(), guest, entered: Cell::new(None), parked: Cell::new(false) };
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let mut wire = Wire {
        context: &context,
        unanswered: VecDeque::new(),
        registered,
        stream,
        redirects: entrance.redirects,
        tls: None,
        peer,
        introduction: Introduction::None,
        client: peer,
        held,
        input: Input::default(),
        familiar: None,
        output: Vec::new(),
        spare: Vec::new(),
        read_us: 0,
        served: false,
        fresh: false,
    };
    if let Err(end) = begin(&context, &mut wire, entrance.tls).await {
        return finish(&context, wire, end).await;
    }
    loop {
        match exchange(&context, &mut wire).await {
            Ok(Some(answer)) => {
                park(&context, wire, answer).await;
                return;
            }
            Ok(None) => wire.served(),
            Err(end) => return finish(&context, wire, end).await,
        }
    }
}

/// Does what is left to be done for a connection.
async fn finish(context: &Rc<Context>, mut wire: Wire<'_>, end: End) {
    match end {
        End::Gone => {}
        End::Close => close(context, wire).await,
        End::Frames => {
            let input = std::mem::take(wire.input.buffer());
            let Wire { registered, stream, tls, peer, introduction, held, .. } = wire;
            let parts = http2::Parts { registered, stream, tls, peer, introduction, held, input };
            // A task of its own: this one has room for what HTTP/1 needs.
            monoio::spawn(http2::serve(context.clone(), parts));
        }
    }
}

/// What comes before the first request: a proxy's header, then a handshake.
async fn begin(context: &Rc<Context>, wire: &mut Wire<'_>, tls: bool) -> Result<(), End> {
    if context.settings().limits.introduced(wire.peer) {
        introduction::read(context, wire).await?;
    }
    let config = if tls { context.tls_config() } else { None };
    match config {
        Some(config) => {
            handshake::shake(context, wire, config).await?;
            let protocol = wire.tls.as_ref().and_then(|session| session.protocol());
            if protocol == Some(HTTP2) { Err(End::Frames) } else { Ok(()) }
        }
        None if tls => Err(End::Gone),
        None => Ok(()),
    }
}

/// What an answer needs to know of its request.
#[derive(Clone, Copy)]
struct Asked {
    version: Version,
    keep_alive: bool,
    head_only: bool,
}

/// One request and its answer. Some(answer): the connection becomes a stream.
async fn exchange<'c>(context: &'c Rc<Context>, wire: &mut Wire<'c>) -> Result<Option<Box<routes::Stream>>, End> {
    let next = read_head(context, wire).await?;
    let head_bytes = match next {
        Next::Head(bytes) => bytes,
        Next::Again(again) => again.head_bytes,
    };
    if !std::mem::take(&mut wire.fresh) && !context.takes_pipelined(head_bytes) {
        // It was in the buffer already: only so much of pipelined requests per turn, or buffers of them are one long turn.
        context.next_turn().await;
    }
    if let Next::Again(again) = next
        && let Some(familiar) = wire.familiar.take().filter(|familiar| familiar.0.judged.holds(context))
    {
        return publish_again(context, wire, familiar, again).await;
    }
    let raw = wire.input.unused()[..head_bytes].to_vec();
    wire.input.take(head_bytes);
    let head = match head::parse(&raw, &context.settings().head) {
        Ok(HeadStatus::Complete(head)) => head,
        Ok(HeadStatus::Partial) => return Err(End::Gone),
        Err(error) => {
            let answer = problem(error.status(), reason(error.status()), &error.to_string(), &[]);
            wire.answer(&answer, Version::Http11, false, false).await;
            return Err(End::Close);
        }
    };
    wire.registered.enter(Phase::Answer);
    let turned_away = whose_request(context, wire, &head).err();
    let body_bytes_max = context.settings().body_bytes_max;
    let body_bytes_max = match head.method {
        head::Method::Query => body_bytes_max.min(QUERY_BODY_BYTES_MAX),
        _ => body_bytes_max,
    };
    if head.method != head::Method::Post {
        // What is asked after a publish on the same connection, sees it.
        wire.settle().await;
    }
    // Whoever has as many connections as it may, and is no proxy that speaks for others too, doesn't keep this one.
    let one_too_many = turned_away.is_some() && !wire.peer.trusted;
    let decoder = BodyDecoder::new(head.body, body_bytes_max);
    let redirects = wire.redirects;
    let mut body = Body::of_text(context, decoder, head.expect_continue, wire);
    let answer = match turned_away {
        None if redirects => Answer::Response(routes::redirect(context, &head)),
        None => routes::answer(context, &head, &mut body).await.ok_or(End::Gone)?,
        Some(response) => routes::turned_away(context, &head, response),
    };
    let whole = body.skip() && !one_too_many;
    // Of a proxy's requests each may be another client's, and of traced ones each has a place of its own in a trace.
    if let Answer::Published(publishing) = &answer
        && !wire.peer.trusted
        && !context.tracer.is_on()
    {
        let room = context.familiar_bytes.get() < FAMILIAR_BYTES_MAX;
        let familiar = if room { Familiar::new(&head, &raw, publishing.judged.clone()) } else { None };
        wire.familiar = familiar.map(|familiar| {
            let mut counted = Counted::new(context.familiar_bytes.clone());
            counted.set(familiar.bytes());
            Box::new((familiar, counted))
        });
    }
    let (version, head_only) = (head.version, head.method == head::Method::Head);
    respond(context, wire, Asked { version, keep_alive: head.keep_alive && whole, head_only }, answer).await
}

/// A publish whose head was judged before, and its answer.
async fn publish_again<'c>(
    context: &'c Rc<Context>,
    wire: &mut Wire<'c>,
    familiar: Box<(Familiar, Counted)>,
    again: Again,
) -> Result<Option<Box<routes::Stream>>, End> {
    wire.input.take(again.head_bytes);
    wire.registered.enter(Phase::Answer);
    let decoder = again.body(context.settings().body_bytes_max);
    let mut body = Body::of_text(context, decoder, false, wire);
    let known = &familiar.0;
    let answered = routes::answer_again(context, known.judged.clone(), known.raw(), &mut body).await;
    let answer = answered.ok_or(End::Gone)?;
    let asked = Asked { version: known.version, keep_alive: body.skip(), head_only: false };
    wire.familiar = Some(familiar);
    respond(context, wire, asked, answer).await
}

/// Writes an answer, or begins to.
async fn respond<'c>(
    context: &'c Rc<Context>,
    wire: &mut Wire<'c>,
    asked: Asked,
    answer: Answer<'c>,
) -> Result<Option<Box<routes::Stream>>, End> {
    let Asked { version, keep_alive, head_only } = asked;
    let keep_alive = keep_alive && !context.draining();
    match answer {
        Answer::Stream(stream) => Ok(Some(stream)),
        Answer::Published(publishing) => {
            let overtakable = publishing.may_be_overtaken();
            wire.unanswered.push_back(Unanswered { publishing, version, keep_alive });
            if !keep_alive {
                wire.settle().await;
                return Err(End::Close);
            }
            if overtakable || wire.unanswered.len() >= UNANSWERED_MAX {
                wire.flush().await?;
            }
            Ok(None)
        }
        Answer::Response(response) => {
            wire.answer(&response, version, keep_alive, head_only).await;
            if wire.output.len() > OUTPUT_BYTES_MAX {
                wire.flush().await?;
            }
            if keep_alive { Ok(None) } else { Err(End::Close) }
        }
        Answer::Listing(response, mut listing) => {
            wire.settle().await;
            response.encode_stream(version, &context.date(), &mut wire.output);
            if head_only {
                // How long the body would be, nobody knows before it is written.
                return Err(End::Close);
            }
            let chunked = version == Version::Http11;
            wire.registered.enter(Phase::Listing);
            // Cut off when the hub stops: the client sees that it isn't whole.
            while let Some(piece) = listing.next(context).await.map_err(|_| End::Gone)? {
                if chunked {
                    wire.output.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                }
                wire.output.extend_from_slice(&piece);
                if chunked {
                    wire.output.extend_from_slice(b"\r\n");
                }
                wire.flush().await?;
                // As long as the client takes what it asked for, it has time for the rest.
                wire.registered.enter(Phase::Listing);
            }
            if chunked {
                wire.output.extend_from_slice(LAST_CHUNK);
            }
            Err(End::Close)
        }
        Answer::StreamHead(response) => {
            wire.settle().await;
            response.encode_stream(version, &context.date(), &mut wire.output);
            Err(End::Close)
        }
    }
}

/// Finds out whose request it is; one that a proxy of ours passes on counts towards its client's address while it is
/// answered, and as a stream. A reload may have made a proxy of the peer, or have taken that back.
fn whose_request(context: &Context, wire: &mut Wire<'_>, head: &head::Head<'_>) -> Result<(), ResponseHead> {
    let settings = context.settings();
    let peer = wire.peer_now(&settings.limits);
    if !peer.trusted && !wire.peer.trusted {
        return Ok(());
    }
    wire.held = None;
    wire.peer = peer;
    wire.client = peer.who_asks(head, &settings.limits);
    wire.held = context.hold_address(wire.client, &settings.limits)?;
    Ok(())
}

/// What stands first in the input.
#[derive(Clone, Copy)]
enum Next {
    /// So many bytes that can be judged as a head.
    Head(usize),
    /// The same head as before.
    Again(Again),
}

/// Reads until a head can be judged, and leaves it in the input.
async fn read_head(context: &Rc<Context>, wire: &mut Wire<'_>) -> Result<Next, End> {
    let mut scanned = 0;
    // The first head has its time from the accept on, whatever came before it.
    let mut phase = (!wire.served).then_some(Phase::Head);
    loop {
        let input = wire.input.unused();
        if let Some(again) = wire.familiar.as_ref().and_then(|familiar| familiar.0.again(input)) {
            return Ok(Next::Again(again));
        }
        if !wire.served && wire.tls.is_none() && !wire.redirects && input.starts_with(http2::PREFACE) {
            return Err(End::Frames);
        }
        let begun = input.len() >= http2::PREFACE_HEAD_BYTES && http2::PREFACE.starts_with(input);
        let end = head::head_end(input, scanned).filter(|_| !begun || wire.served || wire.tls.is_some());
        let full = input.len() >= context.settings().head.head_bytes_max;
        if let Some(end) = end.or(full.then_some(input.len())) {
            return Ok(Next::Head(end));
        }
        scanned = input.len();
        // What is answered so far goes out before we wait: one write for all pipelined requests.
        wire.flush().await?;
        let next = if wire.served && wire.input.unused().is_empty() { Phase::Idle } else { Phase::Head };
        if phase.replace(next) != Some(next) {
            wire.registered.enter(next);
            wire.shrink();
        }
        if wire.read().await? == 0 {
            if wire.registered.timed_out() && !wire.input.unused().is_empty() {
                let answer = problem(408, "Request Timeout", "the head of the request took too long to arrive", &[]);
                wire.answer(&answer, Version::Http11, false, false).await;
                return Err(End::Close);
            }
            return Err(End::Gone);
        }
    }
}

/// Parks the socket as an event stream.
async fn park(context: &Rc<Context>, mut wire: Wire<'_>, mut stream: Box<routes::Stream>) {
    if wire.flush().await.is_err() {
        return;
    }
    let tickets = wire.tls.as_mut().map(|session| session.take_tickets()).unwrap_or_default();
    if !tickets.is_empty() && wire.send(tickets).await.is_err() {
        return;
    }
    let Wire { registered, stream: socket, tls, input, client, held, .. } = wire;
    // Who has closed already is gone, as with a half-close. What can't be parked can only come back.
    let Ok(tls) = tls.map(|session| session.park().ok_or(End::Gone)).transpose() else {
        return;
    };
    let whose = Whose { client, by_address: held, by_subject: stream.take_hold() };
    registered.parked.set(true);
    drop(registered);
    let fd = sys::adopt(socket.into_raw_fd());
    let (spread, head) = (context.random() as u16, stream.text(&context.date()));
    let parked = context.park(fd, tls, whose, input.unused().len(), |sink, address| {
        stream.registration(head, sink, address, spread, context.logs_lost.get())
    });
    if let Err(error) = parked
        && let Some(left_out) = context.unparked.take(context.now().mono_ms)
    {
        tracing::warn!(shard = context.index, %error, left_out, "a stream could not be parked");
    }
}

/// Writes what is left and closes so that the client can read it: a close with unread input would reset the connection.
async fn close(context: &Rc<Context>, mut wire: Wire<'_>) {
    if wire.flush().await.is_err() || wire.close_notify().await.is_err() {
        return;
    }
    sys::shutdown(wire.stream.as_raw_fd(), Shutdown::Write);
    wire.registered.enter(Phase::Linger);
    let mut skipped = 0;
    while skipped < SKIPPED_BYTES_MAX && !context.stopping() {
        wire.input = Input::default();
        match wire.read().await {
            Ok(0) | Err(_) => return,
            Ok(_) => skipped += wire.input.unused().len(),
        }
    }
}
