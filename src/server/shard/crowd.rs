//! When most streams of a shard have left, and aren't coming back at once: then their memory shall go, too.

/// Streams that have to have left, besides being three quarters of all.
const STREAMS_MIN: u32 = 1024;
/// How long they have to have been gone, ticks.
const GONE_TICKS: u64 = 20;

/// How many there were and are.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// The most since the last time a crowd had left.
    most: u32,
    /// Since which tick there are far fewer.
    thinned: Option<u64>,
}

impl Crowd {
    /// Called at every tick with the streams there are: true once for each crowd that has left.
    pub(super) fn has_left(&mut self, streams: u32, tick: u64) -> bool {
        self.most = self.most.max(streams);
        if self.most - streams < STREAMS_MIN || streams > self.most / 4 {
            self.thinned = None;
            return false;
        }
        let gone = tick >= *self.thinned.get_or_insert(tick) + GONE_TICKS;
        if gone {
            *self = Crowd { most: streams, thinned: None };
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ticks of a second each count of streams lasts, at which a crowd had left.
    fn left(streams: &[u32]) -> Vec<usize> {
        let mut crowd = Crowd::default();
        let mut seconds = Vec::new();
        for (second, &streams) in streams.iter().enumerate() {
            for tick in 0..20 {
                if crowd.has_left(streams, second as u64 * 20 + tick) {
                    seconds.push(second);
                }
            }
        }
        seconds
    }

    #[test]
    fn a_crowd_has_left_once_and_a_second_later() {
        assert_eq!(left(&[0, 5000, 5000, 10, 10, 10, 0]), [4]);
        assert_eq!(left(&[5000, 0, 0, 3000, 20, 20]), [2, 5]);
    }

    #[test]
    fn few_are_no_crowd_and_some_that_leave_have_not_all_left() {
        assert_eq!(left(&[1000, 0, 0, 0]), [0; 0]);
        assert_eq!(left(&[100_000, 40_000, 40_000, 40_000]), [0; 0]);
        assert_eq!(left(&[5000, 0, 5000, 0, 5000]), [0; 0], "they come back at once");
    }
}
