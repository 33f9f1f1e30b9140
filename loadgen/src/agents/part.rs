//! An agent's part of a run: who subscribes where and how, as it goes over the wire, and the plan an agent makes of it once
//! it is sure that it makes sense.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::course::ClockShift;
use crate::coding::CODINGS;
use crate::dialect::{Dialect, Plain, Preset};
use crate::group::{Group, Reads};
use crate::lanes::Lanes;
use crate::payload::TOPICS_MAX;
use crate::scenario::SUBSCRIBERS_MAX;
use crate::sources::Sources;
use crate::swarm::{Plan, Share};
use crate::target::Target;
use crate::token::Issuer;

const GROUPS_MAX: usize = 1_000;
/// Topics times connections that publish to them.
const LANES_MAX: u64 = 4 << 20;
/// Agents of a run.
pub(super) const AGENTS_MAX: usize = 1_000;
/// The longest time between two looks at the sockets.
const POLL_US_MAX: u64 = 1_000_000;

/// Who is to subscribe where and how.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) title: String,
    pub(super) share: Share,
    /// What makes the agent's clock the coordinator's.
    pub(super) clock_shift_ns: i64,
    pub(super) poll_us: u64,
    pub(super) preset: Preset,
    pub(super) url: String,
    pub(super) subscribe: String,
    /// Who makes the subscribers' tokens: name, secret, audience, and since when they are good.
    pub(super) issuer: Option<(String, String, String, u64)>,
    /// Everybody gets everything, on one lane.
    pub(super) single_lane: bool,
    pub(super) groups: Vec<Group>,
}

/// Why an agent won't do its part.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PartError {
    #[error("{0} groups; {GROUPS_MAX} is the most")]
    Groups(usize),
    #[error("more than {SUBSCRIBERS_MAX} subscribers")]
    Subscribers,
    #[error("more topics or publishing connections than a run has")]
    Topics,
    #[error("topic {0} comes twice, or nobody publishes to it")]
    Topic(usize),
    #[error("share {0} of {1}")]
    Share(usize, usize),
    #[error("{0} microseconds between two looks; {POLL_US_MAX} is the most")]
    Poll(u64),
    #[error("the group {0} asks for no topic, reads nothing in a second, or wants a coding nobody knows")]
    Group(String),
    #[error("{0}")]
    Target(String),
}

/// What an agent adds of its own.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub(super) sources: Sources,
    pub(super) threads: usize,
    pub(super) cpus: Vec<usize>,
}

impl Part {
    /// Of a plan, for an agent.
    pub(super) fn of(plan: &Plan, title: &str, share: Share, clock_shift_ns: i64) -> Self {
        let dialect = &plan.dialect;
        let issuer =
            |issuer: &Issuer| (issuer.name.clone(), issuer.secret.clone(), issuer.audience.clone(), issuer.now_s);
        Self {
            title: title.to_owned(),
            share,
            clock_shift_ns,
            poll_us: plan.poll.as_micros() as u64,
            preset: dialect.preset,
            url: dialect.target.url(),
            subscribe: dialect.plain.subscribe.clone(),
            issuer: dialect.issuer.as_ref().map(issuer),
            single_lane: plan.lanes.published().is_none(),
            groups: plan.groups.to_vec(),
        }
    }

    /// The plan, with the topics that came before.
    pub(super) fn plan(self, topics: Vec<(String, u64)>, means: &Means) -> Result<Plan, PartError> {
        self.check(&topics)?;
        let lanes = if self.single_lane { Lanes::single() } else { Lanes::new(topics) };
        let issuer = self.issuer.map(|(name, secret, audience, now_s)| Issuer {
            claims: Dialect::claims(self.preset),
            name,
            secret,
            audience,
            now_s,
        });
        let target = Target::parse(&self.url).map_err(|error| PartError::Target(format!("{error:#}")))?;
        if target.secure {
            return Err(PartError::Target(format!("{}: agents speak plain HTTP only", self.url)));
        }
        let dialect = Dialect {
            preset: self.preset,
            target,
            plain: Plain { subscribe: self.subscribe, ..Plain::default() },
            trust: None,
            issuer,
            // Nothing is published here.
            publish_token: None,
        };
        Ok(Plan {
            dialect: Arc::new(dialect),
            groups: self.groups.into(),
            lanes: Arc::new(lanes.mirrored()),
            sources: means.sources.clone(),
            threads: means.threads,
            cpus: means.cpus.clone(),
            poll: Duration::from_micros(self.poll_us),
            share: self.share,
            clock_shift: ClockShift::new(self.clock_shift_ns),
            // Nobody here sees when the last one has an event.
            arrivals: Arc::default(),
        })
    }

    fn check(&self, topics: &[(String, u64)]) -> Result<(), PartError> {
        let Share { index, of } = self.share;
        if index >= of || of > AGENTS_MAX {
            return Err(PartError::Share(index, of));
        }
        if self.poll_us > POLL_US_MAX {
            return Err(PartError::Poll(self.poll_us));
        }
        if self.groups.len() > GROUPS_MAX {
            return Err(PartError::Groups(self.groups.len()));
        }
        let subscribers = self.groups.iter().try_fold(0_usize, |sum, group| sum.checked_add(group.count));
        if subscribers.is_none_or(|subscribers| subscribers > SUBSCRIBERS_MAX) {
            return Err(PartError::Subscribers);
        }
        let unknown = |coding: &String| !CODINGS.contains(&coding.as_str());
        let senseless = |group: &&Group| {
            group.topics.is_empty()
                || group.reads == Reads::BytesPerSecond(0)
                || group.encoding.as_ref().is_some_and(unknown)
        };
        if let Some(group) = self.groups.iter().find(senseless) {
            return Err(PartError::Group(group.name.clone()));
        }
        let lanes: u64 = topics.iter().map(|(_, publishers)| u64::from(publishers.count_ones())).sum();
        if topics.len() as u64 > TOPICS_MAX || lanes > LANES_MAX {
            return Err(PartError::Topics);
        }
        // Else a topic's place would be another one here than there.
        let mut names = HashSet::new();
        let bad = topics.iter().position(|(name, publishers)| !names.insert(name) || *publishers == 0);
        bad.map_or(Ok(()), |at| Err(PartError::Topic(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::WhenClosed;
    use crate::topic::TopicTemplate;

    fn means() -> Means {
        Means { sources: Sources::default(), threads: 2, cpus: Vec::new() }
    }

    fn group(count: usize) -> Group {
        Group {
            name: "g".to_owned(),
            count,
            topics: vec![TopicTemplate::parse("t/{n % 7}").expect("parses")],
            token: crate::dialect::TokenUse::Own,
            reads: Reads::AtOnce,
            receive_buffer: 0,
            encoding: Some("gzip".to_owned()),
            keeps_id: true,
            earliest: false,
            when_closed: WhenClosed::Return,
            prompt: false,
            watch_kernel: false,
            last: false,
        }
    }

    fn topics() -> Vec<(String, u64)> {
        (0..7).map(|n| (format!("t/{n}"), 0b101)).collect()
    }

    fn part() -> Part {
        let target = Target::parse("http://192.0.2.1:3000/hub").expect("parses");
        let issuer = Issuer {
            claims: Dialect::claims(Preset::Mercure0),
            name: "https://a".to_owned(),
            secret: "s".to_owned(),
            audience: "http://h".to_owned(),
            now_s: 1000,
        };
        let dialect = Dialect {
            preset: Preset::Mercure0,
            target,
            plain: Plain::default(),
            trust: None,
            issuer: Some(issuer),
            publish_token: Some("for the coordinator only".to_owned()),
        };
        let plan = Plan {
            dialect: Arc::new(dialect),
            groups: vec![group(100)].into(),
            lanes: Arc::new(Lanes::new(topics())),
            sources: Sources::default(),
            threads: 1,
            cpus: Vec::new(),
            poll: Duration::from_millis(1),
            share: Share::default(),
            clock_shift: ClockShift::default(),
            arrivals: Arc::default(),
        };
        Part::of(&plan, "a test", Share { index: 1, of: 3 }, -5)
    }

    #[test]
    fn a_plan_arrives_as_it_was_without_what_is_not_needed() {
        let text = serde_json::to_string(&part()).expect("written");
        assert!(!text.contains("coordinator only"), "{text}");
        let sent: Part = serde_json::from_str(&text).expect("read");
        let plan = sent.plan(topics(), &means()).expect("makes sense");
        assert_eq!((plan.share, plan.clock_shift.ns(), plan.threads), (Share { index: 1, of: 3 }, -5, 2));
        assert_eq!(plan.groups[0].topics_of(9), ["t/2"]);
        assert_eq!((plan.lanes.topic("t/6"), plan.lanes.of_topic(6)), (Some(6), 12..14));
        assert!(plan.lanes.ask().is_some(), "its lanes are a mirror");
        let token = plan.dialect.subscriber_token(plan.groups[0].token, &["t/1".to_owned()], 1);
        assert_eq!(
            token,
            part().plan(topics(), &means()).expect("the same").dialect.subscriber_token(
                crate::dialect::TokenUse::Own,
                &["t/1".to_owned()],
                1
            )
        );
    }

    #[test]
    fn a_part_that_makes_no_sense_is_refused() {
        let refused = |change: &dyn Fn(&mut Part), topics: Vec<(String, u64)>| {
            let mut part = part();
            change(&mut part);
            part.plan(topics, &means()).err().expect("refused")
        };
        let share = |part: &mut Part| part.share = Share { index: 3, of: 3 };
        assert_eq!(refused(&share, topics()), PartError::Share(3, 3));
        let none = |part: &mut Part| part.share = Share { index: 0, of: 0 };
        assert_eq!(refused(&none, topics()), PartError::Share(0, 0));
        let poll = |part: &mut Part| part.poll_us = u64::MAX;
        assert_eq!(refused(&poll, topics()), PartError::Poll(u64::MAX));
        let many = |part: &mut Part| part.groups = vec![group(usize::MAX), group(2)];
        assert_eq!(refused(&many, topics()), PartError::Subscribers);
        let coding = |part: &mut Part| part.groups[0].encoding = Some("../../etc/passwd".to_owned());
        assert_eq!(refused(&coding, topics()), PartError::Group("g".to_owned()));
        let url = |part: &mut Part| part.url = "file:///etc/passwd".to_owned();
        assert!(matches!(refused(&url, topics()), PartError::Target(_)));
        let as_it_is = |_: &mut Part| {};
        assert_eq!(refused(&as_it_is, vec![("a".to_owned(), 1), ("a".to_owned(), 2)]), PartError::Topic(1));
        assert_eq!(refused(&as_it_is, vec![("a".to_owned(), 0)]), PartError::Topic(0));
        let many = (0..=LANES_MAX / 64).map(|n| (n.to_string(), u64::MAX)).collect();
        assert_eq!(refused(&as_it_is, many), PartError::Topics);
    }
}
