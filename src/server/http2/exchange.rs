//! One request of a connection that has others, and its answer.

use std::borrow::Cow;
use std::future::poll_fn;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{COOKIE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};

use super::body::FramedBody;
use super::session::Underway;
use crate::http::assemble::{Pseudo, assemble};
use crate::http::head::{BodyFraming, Method};
use crate::http::problem::problem;
use crate::http::response::{ResponseHead, reason};
use crate::server::connection::{Body, QUERY_BODY_BYTES_MAX};
use crate::server::routes::{self, Answer};
use crate::server::shard::{ANSWER_TIMEOUT_MS, Whose};

/// Bytes of an answer's body that wait to be sent at most.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// The client is gone, or has taken too long to take its answer.
struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Gone {
        Gone
    }
}

/// Answers a request, whatever becomes of it.
pub(super) async fn serve(underway: Underway, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (context, session) = (underway.context.clone(), underway.session.clone());
    let (parts, incoming) = request.into_parts();
    // A client may cut its cookies into fields of their own, and they are one again before anybody reads them (RFC 9113 §8.2.3).
    let cookies: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let cookies = match cookies[..] {
        [one] => Cow::Borrowed(one),
        _ => Cow::Owned(cookies.join(&b"; "[..])),
    };
    let fields = parts.headers.iter().filter(|(name, _)| *name != COOKIE);
    let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let fields = fields.chain((!cookies.is_empty()).then_some(("cookie", &*cookies))).collect();
    let pseudo = Pseudo {
        method: parts.method.as_str(),
        authority: parts.uri.authority().map(http::uri::Authority::as_str),
        path: parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str),
    };
    let settings = context.settings();
    let head = match assemble(pseudo, fields, incoming.is_end_stream(), &settings.head) {
        Ok(head) => head,
        Err(error) => {
            let answer = problem(error.status(), reason(error.status()), &error.to_string(), &[]);
            let _ = underway.send(respond, &answer, answer.body_bytes(), parts.method == http::Method::HEAD).await;
            return;
        }
    };
    let whose = session.whose_request(&context, &head);
    let bytes_max = match head.method {
        Method::Query => settings.body_bytes_max.min(QUERY_BODY_BYTES_MAX),
        _ => settings.body_bytes_max,
    };
    let (answer, whose) = match whose {
        Ok((client, by_address)) => {
            let body = FramedBody::new(&context, &session, &head, bytes_max, incoming, respond);
            let mut body = Body::Frames(body);
            let answer = Box::pin(routes::answer(&context, &head, &mut body)).await;
            let Body::Frames(mut body) = body else {
                unreachable!("it was made of frames");
            };
            if head.body != BodyFraming::None && !body.discard().await {
                return;
            }
            respond = body.into_respond();
            let Some(answer) = answer else {
                respond.send_reset(Reason::CANCEL);
                return;
            };
            (answer, Whose { client, by_address, by_subject: None })
        }
        Err(response) => {
            let nobody = Whose { client: session.peer, by_address: None, by_subject: None };
            (routes::turned_away(&context, &head, response), nobody)
        }
    };
    let head_only = head.method == Method::Head;
    // Whoever is gone needs no answer; what was reset is.
    let _ = underway.answer(respond, answer, whose, head_only).await;
}

impl Underway {
    async fn answer(
        &self,
        mut respond: SendResponse<Bytes>,
        answer: Answer<'_>,
        mut whose: Whose,
        head_only: bool,
    ) -> Result<(), Gone> {
        match answer {
            Answer::Response(response) => self.send(respond, &response, response.body_bytes(), head_only).await,
            Answer::Published(publishing) => {
                self.context.commit_queued();
                match publishing.finish().await {
                    Ok((judged, stored)) => self.send(respond, judged.response(), stored.id().as_bytes(), false).await,
                    Err(refused) => self.send(respond, &refused, refused.body_bytes(), false).await,
                }
            }
            Answer::StreamHead(response) => {
                respond.send_response(self.head(&response, None), true)?;
                Ok(())
            }
            Answer::Stream(mut stream) => {
                let send = respond.send_response(self.head(stream.response(), None), false)?;
                whose.by_subject = stream.take_hold();
                let (spread, logs_lost) = (self.context.random() as u16, self.context.logs_lost.get());
                let prelude = stream.prelude().into();
                self.context.attach(&self.session, send, whose, |sink, address| {
                    stream.registration(prelude, sink, address, spread, logs_lost)
                });
                Ok(())
            }
            Answer::Listing(response, mut listing) => {
                let mut send = respond.send_response(self.head(&response, None), head_only)?;
                if head_only {
                    // How long the body would be, nobody knows before it is written.
                    return Ok(());
                }
                loop {
                    // Cut off when the hub stops: the client sees that it isn't whole.
                    let Ok(piece) = listing.next(&self.context).await else {
                        send.send_reset(Reason::CANCEL);
                        return Err(Gone);
                    };
                    let Some(piece) = piece else { break };
                    self.send_body(&mut send, &piece, false).await?;
                }
                send.send_data(Bytes::new(), true)?;
                Ok(())
            }
        }
    }

    /// The head of an answer. `length`: of its body.
    fn head(&self, response: &ResponseHead, length: Option<usize>) -> Response<()> {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(response.status()).expect("an answer has a status");
        for (name, value) in response.frame_fields(length, &self.context.date()) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                head.headers_mut().append(name, value);
            }
        }
        head
    }

    /// Sends a whole answer.
    async fn send(
        &self,
        mut respond: SendResponse<Bytes>,
        response: &ResponseHead,
        body: &[u8],
        head_only: bool,
    ) -> Result<(), Gone> {
        let bodiless = head_only || body.is_empty() || !response.has_body();
        let mut send = respond.send_response(self.head(response, Some(body.len())), bodiless)?;
        if bodiless {
            return Ok(());
        }
        self.send_body(&mut send, body, true).await
    }

    /// Sends a body, or a part of it, as the client opens its window for it.
    async fn send_body(&self, send: &mut SendStream<Bytes>, mut body: &[u8], last: bool) -> Result<(), Gone> {
        let (context, session, id) = (&self.context, &self.session, send.stream_id().as_u32());
        while !body.is_empty() {
            let room = async {
                session.wait_for_room().await;
                send.reserve_capacity(body.len().min(PIECE_BYTES_MAX));
                match send.capacity() {
                    0 => poll_fn(|cx| send.poll_capacity(cx)).await.and_then(Result::ok),
                    room => Some(room),
                }
            };
            let deadline_ms = context.clock.mono_ms() + ANSWER_TIMEOUT_MS;
            let Some(room) = session.within(context, id, deadline_ms, Box::pin(room)).await else {
                send.send_reset(Reason::CANCEL);
                return Err(Gone);
            };
            let count = room.ok_or(Gone)?.min(body.len()).min(PIECE_BYTES_MAX);
            let (piece, rest) = body.split_at(count);
            body = rest;
            session.use_room(count);
            send.send_data(Bytes::copy_from_slice(piece), last && body.is_empty())?;
        }
        Ok(())
    }
}
