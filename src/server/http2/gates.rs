//! What a client may do how often on one connection: each frame costs the hub something, some of them more than they cost to send.
//!
//! Frames are counted by the second. What the library bounds itself isn't counted here: streams at once, the size of heads and of
//! frames, small DATA frames, streams reset before they were looked at.

use super::scanner::{FrameHead, flag, kind};
use crate::admin::Http2End;

/// PINGs per second. They are answered each.
const PINGS_MAX: u32 = 100;
/// SETTINGS per second, acknowledgements aside.
const SETTINGS_MAX: u32 = 50;
/// WINDOW_UPDATEs per second, and how many more for each DATA frame the client was sent in this second or the one before: clients
/// say of every frame that they have read it, on the stream and on the connection.
const WINDOW_UPDATES_MAX: u32 = 1_000;
const WINDOW_UPDATES_PER_DATA: u32 = 2;
/// DATA frames per second that have no data and don't end their stream.
const EMPTY_FRAMES_MAX: u32 = 100;
/// Frames per second that mean nothing here: priorities, and types nobody knows.
const USELESS_FRAMES_MAX: u32 = 1_000;
/// CONTINUATIONs of one head: as a rule it fits into the frame it begins with.
const CONTINUATIONS_MAX: u32 = 4;
/// Streams reset per second, as a multiple of those there may be at once: a page that is left closes all it has.
const RESETS_PER_STREAM: u32 = 2;
/// And at least so many.
const RESETS_MIN: u32 = 100;

/// The counts of one connection.
#[derive(Debug)]
pub(super) struct Gates {
    second: u64,
    pings: u32,
    settings: u32,
    window_updates: u32,
    empty: u32,
    useless: u32,
    resets: u32,
    /// DATA frames sent, in this second and the one before.
    data: [u32; 2],
    resets_max: u32,
    /// CONTINUATIONs of the head under way, if one is.
    continuations: Option<u32>,
}

impl Gates {
    pub(super) fn new(streams_max: u32) -> Gates {
        Gates {
            second: 0,
            pings: 0,
            settings: 0,
            window_updates: 0,
            empty: 0,
            useless: 0,
            resets: 0,
            data: [0; 2],
            resets_max: streams_max.saturating_mul(RESETS_PER_STREAM).max(RESETS_MIN),
            continuations: None,
        }
    }

    /// Whether the client has begun a head that isn't whole.
    pub(super) fn is_within_head(&self) -> bool {
        self.continuations.is_some()
    }

    /// A frame of the client's.
    ///
    /// # Errors
    /// It is one too many: what the connection is closed for.
    pub(super) fn received(&mut self, frame: FrameHead, now_ms: u64) -> Result<(), Http2End> {
        self.begin_second(now_ms);
        match frame.kind {
            kind::DATA if frame.length == 0 && !frame.has(flag::END_STREAM) => {
                one_more(&mut self.empty, EMPTY_FRAMES_MAX, Http2End::Frames)
            }
            kind::DATA => Ok(()),
            kind::HEADERS => {
                self.continuations = (!frame.has(flag::END_HEADERS)).then_some(0);
                Ok(())
            }
            kind::CONTINUATION => {
                let mut count = self.continuations.unwrap_or_default();
                one_more(&mut count, CONTINUATIONS_MAX, Http2End::Heads)?;
                self.continuations = (!frame.has(flag::END_HEADERS)).then_some(count);
                Ok(())
            }
            kind::RST_STREAM => one_more(&mut self.resets, self.resets_max, Http2End::Resets),
            kind::SETTINGS if frame.has(flag::ACK) => Ok(()),
            kind::SETTINGS => one_more(&mut self.settings, SETTINGS_MAX, Http2End::Settings),
            kind::PING => one_more(&mut self.pings, PINGS_MAX, Http2End::Pings),
            kind::WINDOW_UPDATE => {
                let data = self.data[0].saturating_add(self.data[1]);
                let max = WINDOW_UPDATES_MAX.saturating_add(data.saturating_mul(WINDOW_UPDATES_PER_DATA));
                one_more(&mut self.window_updates, max, Http2End::WindowUpdates)
            }
            _ => one_more(&mut self.useless, USELESS_FRAMES_MAX, Http2End::Frames),
        }
    }

    /// A frame that the client is sent. Streams that the hub resets count like those that the client does: it may be made to.
    ///
    /// # Errors
    /// As of [`Gates::received`].
    pub(super) fn sent(&mut self, frame: FrameHead, now_ms: u64) -> Result<(), Http2End> {
        self.begin_second(now_ms);
        match frame.kind {
            kind::DATA => {
                self.data[0] = self.data[0].saturating_add(1);
                Ok(())
            }
            kind::RST_STREAM => one_more(&mut self.resets, self.resets_max, Http2End::Resets),
            _ => Ok(()),
        }
    }

    fn begin_second(&mut self, now_ms: u64) {
        let second = now_ms / 1000;
        if second == self.second {
            return;
        }
        let before = if second == self.second + 1 { self.data[0] } else { 0 };
        let Gates { resets_max, continuations, .. } = *self;
        *self = Gates { second, data: [0, before], resets_max, continuations, ..Gates::new(0) };
    }
}

fn one_more(count: &mut u32, max: u32, end: Http2End) -> Result<(), Http2End> {
    *count += 1;
    if *count > max { Err(end) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8) -> FrameHead {
        FrameHead { length: 0, kind, flags, stream: 1 }
    }

    /// How many of these frames pass within one second, and what the next one is closed for.
    fn passed(kind: u8, flags: u8) -> (u32, Option<Http2End>) {
        let mut gates = Gates::new(256);
        let end =
            (0..5_000).find_map(|count| gates.received(frame(kind, flags), 1_500).err().map(|end| (count, Some(end))));
        end.unwrap_or((5_000, None))
    }

    #[test]
    fn each_kind_of_frame_has_its_own_bound() {
        assert_eq!(passed(kind::PING, 0), (PINGS_MAX, Some(Http2End::Pings)));
        assert_eq!(passed(kind::SETTINGS, 0), (SETTINGS_MAX, Some(Http2End::Settings)));
        assert_eq!(passed(kind::SETTINGS, flag::ACK), (5_000, None));
        assert_eq!(passed(kind::WINDOW_UPDATE, 0), (WINDOW_UPDATES_MAX, Some(Http2End::WindowUpdates)));
        assert_eq!(passed(kind::DATA, 0), (EMPTY_FRAMES_MAX, Some(Http2End::Frames)));
        assert_eq!(passed(kind::DATA, flag::END_STREAM), (5_000, None));
        assert_eq!(passed(2, 0), (USELESS_FRAMES_MAX, Some(Http2End::Frames)));
        assert_eq!(passed(99, 0), (USELESS_FRAMES_MAX, Some(Http2End::Frames)));
        assert_eq!(passed(kind::RST_STREAM, 0), (512, Some(Http2End::Resets)));
        assert_eq!(passed(kind::CONTINUATION, 0), (CONTINUATIONS_MAX, Some(Http2End::Heads)));
        assert_eq!(passed(kind::HEADERS, flag::END_HEADERS), (5_000, None));
    }

    #[test]
    fn a_second_later_it_may_again_but_a_head_goes_on() {
        let mut gates = Gates::new(1);
        gates.received(frame(kind::HEADERS, 0), 0).unwrap();
        for second in 0..3 {
            for _ in 0..PINGS_MAX {
                gates.received(frame(kind::PING, 0), second * 1000).unwrap();
            }
        }
        for _ in 0..CONTINUATIONS_MAX {
            assert!(gates.is_within_head());
            gates.received(frame(kind::CONTINUATION, 0), 5_000).unwrap();
        }
        assert_eq!(gates.received(frame(kind::CONTINUATION, flag::END_HEADERS), 9_000), Err(Http2End::Heads));
    }

    #[test]
    fn a_head_ends_with_its_last_piece() {
        let mut gates = Gates::new(1);
        for _ in 0..3 {
            gates.received(frame(kind::HEADERS, 0), 0).unwrap();
            assert!(gates.is_within_head());
            gates.received(frame(kind::CONTINUATION, flag::END_HEADERS), 0).unwrap();
            assert!(!gates.is_within_head());
        }
    }

    #[test]
    fn who_is_sent_more_may_open_its_windows_more_often() {
        let mut gates = Gates::new(1);
        (0..1_000).for_each(|_| gates.sent(frame(kind::DATA, 0), 0).unwrap());
        for _ in 0..WINDOW_UPDATES_MAX + 2 * 1_000 {
            gates.received(frame(kind::WINDOW_UPDATE, 0), 1_000).unwrap();
        }
        assert_eq!(gates.received(frame(kind::WINDOW_UPDATE, 0), 1_000), Err(Http2End::WindowUpdates));
    }

    #[test]
    fn resets_count_whoever_makes_them() {
        let mut gates = Gates::new(1);
        for _ in 0..RESETS_MIN / 2 {
            gates.received(frame(kind::RST_STREAM, 0), 0).unwrap();
            gates.sent(frame(kind::RST_STREAM, 0), 0).unwrap();
        }
        assert_eq!(gates.sent(frame(kind::RST_STREAM, 0), 0), Err(Http2End::Resets));
    }
}
