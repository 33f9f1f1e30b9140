//! From the file as it is parsed to a scenario that makes sense: names become places, and values are checked.

use std::collections::{HashMap, HashSet};

use toml::Spanned;

use super::file::{AttackPart, BarPart, ConnectPart, File, GroupPart, PublisherPart, ReadsPart, StepPart, TlsPart};
use super::{Bar, Does, PublisherPlan, Scenario, ScenarioError, Step, TargetPlan};
use crate::attack::{AttackPlan, CONNECTIONS_MAX};
use crate::coding::CODINGS;
use crate::group::{Group, Reads};
use crate::payload::{PUBLISHERS_MAX, SIZE_BYTES_MIN, TOPICS_MAX};
use crate::press::Pace;
use crate::tls::Tls;
use crate::topic::TopicTemplate;

/// Connections that may be between connecting and their response head unless a step says otherwise.
const AT_ONCE: usize = 512;
/// Seconds memory gets to stand still unless a step says otherwise.
const SETTLE_S: f64 = 10.0;
/// The targets every run may have.
const TARGETS: [&str; 4] = ["hub", "floor", "nchan", "url"];
/// Hubs of a cluster.
const HUBS_MAX: usize = 16;
/// Subscribers of a scenario, all groups together.
pub(crate) const SUBSCRIBERS_MAX: usize = 10_000_000;

struct Names {
    text: String,
    /// What a goal may be about, or in relation to.
    targets: Vec<String>,
    groups: Vec<String>,
    publishers: Vec<String>,
    attacks: Vec<String>,
}

impl Names {
    fn error<T>(&self, at: &Spanned<T>, key: impl Into<String>, problem: impl Into<String>) -> ScenarioError {
        let line = 1 + self.text[..at.span().start.min(self.text.len())].matches('\n').count();
        ScenarioError::Value { line, key: key.into(), problem: problem.into() }
    }

    fn find(&self, what: &str, among: &[String], name: &Spanned<String>) -> Result<usize, ScenarioError> {
        among.iter().position(|known| known == name.get_ref()).ok_or_else(|| {
            let known = if among.is_empty() { "none".to_owned() } else { among.join(", ") };
            self.error(name, what, format!("there is no {what} `{}`; there are {known}", name.get_ref()))
        })
    }

    fn group(&self, name: &Spanned<String>) -> Result<usize, ScenarioError> {
        self.find("group", &self.groups, name)
    }
}

pub(super) fn scenario(name: &str, text: &str, file: File) -> Result<Scenario, ScenarioError> {
    let own = |name: &Spanned<String>| name.get_ref().clone();
    let names = Names {
        text: text.to_owned(),
        targets: TARGETS
            .iter()
            .map(|name| (*name).to_owned())
            .chain(file.target.iter().map(|part| own(&part.name)))
            .collect(),
        groups: file.group.iter().map(|group| own(&group.name)).collect(),
        publishers: file.publisher.iter().map(|publisher| own(&publisher.name)).collect(),
        attacks: file.attack.iter().map(|attack| own(&attack.name)).collect(),
    };
    let all = file.group.iter().map(|part| &part.name).chain(file.publisher.iter().map(|part| &part.name));
    let mut seen = HashSet::new();
    let all = all.chain(file.attack.iter().map(|part| &part.name));
    for name in all.chain(file.target.iter().map(|part| &part.name)) {
        if !seen.insert(name.get_ref().as_str()) || name.get_ref().contains(['.', ':']) {
            let problem = "groups, publishers, attacks and targets need names of their own, without dots and colons";
            return Err(names.error(name, "name", problem));
        }
    }
    let hubs = file.hub.count.as_ref().map_or(1, |count| *count.get_ref());
    if let Some(count) = &file.hub.count
        && !(1..=HUBS_MAX).contains(&hubs)
    {
        return Err(names.error(count, "count", format!("{hubs} hubs; from 1 to {HUBS_MAX} can be one cluster here")));
    }
    let groups = file.group.iter().map(|part| group(part, &names)).collect::<Result<Vec<_>, _>>()?;
    if groups.iter().map(|group| group.count).sum::<usize>() > SUBSCRIBERS_MAX {
        let problem = format!("more than {SUBSCRIBERS_MAX} subscribers");
        return Err(names.error(&file.group[0].name, "count", problem));
    }
    let publishers = file.publisher.iter().map(|part| publisher(part, &names)).collect::<Result<Vec<_>, _>>()?;
    let connections: usize = publishers.iter().map(|publisher| publisher.connections).sum();
    if connections as u64 > PUBLISHERS_MAX {
        let problem = format!("{connections} publishing connections in all; {PUBLISHERS_MAX} is the most");
        return Err(names.error(&file.publisher[0].name, "connections", problem));
    }
    let steps =
        |parts: Vec<StepPart>| parts.into_iter().map(|part| step(part, &names, true)).collect::<Result<Vec<_>, _>>();
    let resume = file.hub.resume.as_ref().is_some_and(|resume| *resume.get_ref());
    let of_hub = file.hub.tls.as_ref().map_or(Ok(None), |part| tls(part, resume, &names))?;
    if let Some(resume) = file.hub.resume.as_ref().filter(|_| file.hub.tls.is_none()) {
        let problem = "there are no sessions to go on with unless `tls` is spoken";
        return Err(names.error(resume, "resume", problem));
    }
    let targets = file.target.iter().map(|part| {
        // What isn't said is as with the hub.
        let tls = part.tls.as_ref().map_or(Ok(of_hub), |part| tls(part, resume, &names))?;
        Ok(TargetPlan { name: own(&part.name), arguments: part.arguments.clone(), tls })
    });
    let targets: Vec<TargetPlan> = targets.collect::<Result<_, _>>()?;
    let all_tls = if targets.is_empty() { of_hub.is_some() } else { targets.iter().all(|target| target.tls.is_some()) };
    let attacks = file.attack.iter().map(|part| attack(part, all_tls, &names)).collect::<Result<_, _>>()?;
    Ok(Scenario {
        name: name.to_owned(),
        title: file.title,
        hub_arguments: file.hub.arguments,
        hubs,
        tls: of_hub,
        targets,
        groups: groups.into(),
        publishers,
        attacks,
        rounds: file.steps.rounds.unwrap_or(1).max(1),
        setup: steps(file.steps.setup)?,
        round: steps(file.steps.round)?,
        finish: steps(file.steps.finish)?,
        bars: bars(file.goal, false, &names).chain(bars(file.check, true, &names)).collect::<Result<_, _>>()?,
    })
}

fn tls(part: &Spanned<TlsPart>, resume: bool, names: &Names) -> Result<Option<Tls>, ScenarioError> {
    let only_tls12 = match part.get_ref() {
        TlsPart::Spoken(false) => return Ok(None),
        TlsPart::Spoken(true) => false,
        TlsPart::Version(version) if version == "1.3" => false,
        TlsPart::Version(version) if version == "1.2" => true,
        TlsPart::Version(_) => return Err(names.error(part, "tls", "write true, false, \"1.3\" or \"1.2\"")),
    };
    Ok(Some(Tls { only_tls12, resume }))
}

fn topics(texts: &[String], at: &Spanned<String>, names: &Names) -> Result<Vec<TopicTemplate>, ScenarioError> {
    if texts.is_empty() {
        return Err(names.error(at, "topics", "at least one is needed"));
    }
    let parse =
        |text: &String| TopicTemplate::parse(text).map_err(|error| names.error(at, "topics", error.to_string()));
    texts.iter().map(parse).collect()
}

fn group(part: &GroupPart, names: &Names) -> Result<Group, ScenarioError> {
    let reads = match &part.reads {
        None => Reads::AtOnce,
        Some(ReadsPart::BytesPerSecond(bytes)) if *bytes > 0 => Reads::BytesPerSecond(*bytes),
        Some(ReadsPart::Word(word)) if word == "at-once" => Reads::AtOnce,
        Some(ReadsPart::Word(word)) if word == "never" => Reads::Never,
        Some(_) => {
            return Err(names.error(&part.name, "reads", "write \"at-once\", \"never\" or bytes per second"));
        }
    };
    if part.prompt && reads != Reads::AtOnce {
        return Err(names.error(&part.name, "prompt", "who reads slowly or never can't be prompt"));
    }
    if let Some(encoding) = &part.encoding
        && !CODINGS.contains(&encoding.as_str())
    {
        return Err(names.error(&part.name, "encoding", format!("`{encoding}` can't be read here; gzip and zstd can")));
    }
    if part.last
        && (reads != Reads::AtOnce || topics(&part.topics, &part.name, names)?.iter().any(|t| t.period() != Some(1)))
    {
        return Err(names.error(&part.name, "last", "all of the group have to read at once, and the same topics"));
    }
    Ok(Group {
        name: part.name.get_ref().clone(),
        count: part.count,
        topics: topics(&part.topics, &part.name, names)?,
        token: part.token,
        reads,
        receive_buffer: part.receive_buffer,
        encoding: part.encoding.clone(),
        keeps_id: part.keep_id,
        earliest: part.from_earliest,
        when_closed: part.when_closed,
        prompt: part.prompt,
        watch_kernel: part.watch_kernel,
        last: part.last,
    })
}

fn publisher(part: &PublisherPart, names: &Names) -> Result<PublisherPlan, ScenarioError> {
    let error = |key: &str, problem: String| Err(names.error(&part.name, key, problem));
    if let Some(size) = part.sizes.iter().find(|size| **size < SIZE_BYTES_MIN) {
        return error("sizes", format!("{size} is too little; an event has {SIZE_BYTES_MIN} bytes of data at least"));
    }
    if part.sizes.is_empty() || part.connections == 0 || part.pipeline == 0 {
        return error("sizes, connections, pipeline", "at least one of each is needed".to_owned());
    }
    let pace = match (part.rate, part.one_at_a_time) {
        (Some(_), true) => return error("rate", "either `rate` or `one-at-a-time`, not both".to_owned()),
        (Some(rate), false) if rate > 0.0 && rate.is_finite() => Pace::Rate(rate),
        (Some(rate), false) => return error("rate", format!("{rate} events a second can't be published")),
        (None, true) => Pace::OneAtATime,
        (None, false) => Pace::Flood { ahead: part.ahead },
    };
    let plan = PublisherPlan {
        name: part.name.get_ref().clone(),
        topics: topics(&part.topics, &part.name, names)?,
        sizes: part.sizes.clone(),
        connections: part.connections,
        pipeline: part.pipeline,
        pace,
    };
    let periods: Option<u64> =
        plan.topics.iter().try_fold(0_u64, |sum, template| template.period().map(|period| sum.saturating_add(period)));
    match periods {
        Some(count) if count <= TOPICS_MAX => Ok(plan),
        Some(count) => error("topics", format!("{count} topics; {TOPICS_MAX} is the most a publisher may have")),
        None => error("topics", "a publisher's topics must repeat: write {n % 1000} for {n}".to_owned()),
    }
}

fn attack(part: &AttackPart, all_tls: bool, names: &Names) -> Result<AttackPlan, ScenarioError> {
    let error = |key: &str, problem: String| Err(names.error(&part.name, key, problem));
    if part.kind.needs_tls() && !all_tls {
        return error("kind", "it is made on TLS: say `tls` for the hub".to_owned());
    }
    if !(1..=CONNECTIONS_MAX).contains(&part.connections) {
        return error("connections", format!("{}; from 1 to {CONNECTIONS_MAX} can be held", part.connections));
    }
    if !(part.rate > 0.0 && part.rate.is_finite()) {
        return error("rate", format!("{} a second", part.rate));
    }
    let name = part.name.get_ref().clone();
    Ok(AttackPlan { name, kind: part.kind, connections: part.connections, rate: part.rate })
}

fn step(part: StepPart, names: &Names, at_top: bool) -> Result<Step, ScenarioError> {
    let mut measure = None;
    let does = match part {
        StepPart::Connect(part) => connect(part, false, &mut measure, names)?,
        StepPart::Return(part) => connect(part, true, &mut measure, names)?,
        StepPart::Drop(part) => {
            let share = part.share.unwrap_or(1.0);
            if !(0.0..=1.0).contains(&share) {
                return Err(names.error(&part.group, "share", format!("{share} isn't between 0 and 1")));
            }
            Does::Drop { group: names.group(&part.group)?, share }
        }
        StepPart::Leave(part) => Does::Leave { group: names.group(&part.group)? },
        StepPart::Churn(part) => {
            measure = part.measure;
            let rate = Some(part.rate).filter(|rate| *rate > 0.0 && rate.is_finite());
            let rate = rate.ok_or_else(|| names.error(&part.group, "rate", "more than 0 a second is needed"))?;
            Does::Churn { group: names.group(&part.group)?, rate, seconds: part.seconds.max(0.0) }
        }
        StepPart::StopReading(part) => Does::Read { group: names.group(&part.group)?, reads: false },
        StepPart::ReadOn(part) => Does::Read { group: names.group(&part.group)?, reads: true },
        StepPart::Publish(part) => {
            measure = part.measure;
            if at_top && part.seconds.is_none() && part.count.is_none() {
                return Err(names.error(&part.by, "publish", "say for how many `seconds` or a `count` of events"));
            }
            let by = names.find("publisher", &names.publishers, &part.by)?;
            Does::Publish { by, seconds: part.seconds, count: part.count }
        }
        StepPart::Attack(part) => {
            measure = part.measure;
            if at_top && part.seconds.is_none() && part.count.is_none() {
                return Err(names.error(&part.by, "attack", "say for how many `seconds` or a `count`"));
            }
            let by = names.find("attack", &names.attacks, &part.by)?;
            Does::Attack { by, seconds: part.seconds, count: part.count }
        }
        StepPart::Drain(_) => Does::Drain,
        StepPart::Wait(part) => {
            measure = part.measure;
            Does::Wait { seconds: part.seconds.max(0.0) }
        }
        StepPart::Settle(part) => Does::Settle {
            mark: part.mark,
            since: part.since.map(Spanned::into_inner),
            seconds: part.seconds.unwrap_or(SETTLE_S),
        },
        StepPart::Together(part) => {
            measure = part.measure;
            let inside = |part: StepPart| match part {
                StepPart::Together(_) => {
                    Err(ScenarioError::Toml("a `together` can't stand in another `together`".to_owned()))
                }
                other => {
                    let step = self::step(other, names, false)?;
                    match step.measure {
                        None => Ok(step),
                        Some(name) => Err(ScenarioError::Toml(format!(
                            "`measure = \"{name}\"` inside a `together`: only all of it can be measured"
                        ))),
                    }
                }
            };
            let track = |track: Vec<StepPart>| track.into_iter().map(inside).collect::<Result<Vec<_>, _>>();
            let tracks = part.tracks.into_iter().map(track).collect::<Result<Vec<_>, _>>()?;
            if let Some(group) = connected_twice(&tracks) {
                let problem = "is connected in two tracks of a `together`: a group connects by one schedule at a time";
                return Err(ScenarioError::Toml(format!("the group `{}` {problem}", names.groups[group])));
            }
            Does::Together { tracks }
        }
    };
    Ok(Step { does, measure })
}

/// A group that two tracks want to connect.
fn connected_twice(tracks: &[Vec<Step>]) -> Option<usize> {
    let mut by = HashMap::new();
    for (at, step) in tracks.iter().enumerate().flat_map(|(at, track)| track.iter().map(move |step| (at, step))) {
        if let Does::Connect { group, .. } | Does::Churn { group, .. } = step.does
            && *by.entry(group).or_insert(at) != at
        {
            return Some(group);
        }
    }
    None
}

fn connect(
    part: ConnectPart,
    goes_on: bool,
    measure: &mut Option<String>,
    names: &Names,
) -> Result<Does, ScenarioError> {
    *measure = part.measure;
    if let Some(rate) = part.rate
        && !(rate > 0.0 && rate.is_finite())
    {
        return Err(names.error(&part.group, "rate", format!("{rate} connections a second")));
    }
    let at_once = part.at_once.unwrap_or(AT_ONCE).max(1);
    Ok(Does::Connect { group: names.group(&part.group)?, rate: part.rate, goes_on, at_once })
}

fn bars(parts: Vec<BarPart>, is_check: bool, names: &Names) -> impl Iterator<Item = Result<Bar, ScenarioError>> + '_ {
    parts.into_iter().map(move |part| {
        if part.at_least.is_some() == part.at_most.is_some() {
            return Err(names.error(&part.figure, "figure", "either `at-least` or `at-most` is needed"));
        }
        if let Some(unknown) = part.on.iter().chain(&part.of).find(|target| !names.targets.contains(target)) {
            let problem = format!("there is no target `{unknown}`; there are {}", names.targets.join(", "));
            return Err(names.error(&part.figure, "of", problem));
        }
        if part.of.is_some() && part.than.is_some() {
            return Err(names.error(&part.figure, "of", "either `of` (a target) or `than` (a figure), not both"));
        }
        if part.or_more_by.is_some() && (part.than.is_none() || part.at_most.is_none()) {
            return Err(names.error(
                &part.figure,
                "or-more-by",
                "it widens `at-most` of a ratio `than` another figure",
            ));
        }
        if !part.figure.get_ref().contains('.') {
            return Err(names.error(
                &part.figure,
                "figure",
                "write window.figure, such as \"broadcast.latency_p99_ms\"",
            ));
        }
        Ok(Bar {
            figure: part.figure.into_inner(),
            at_least: part.at_least,
            at_most: part.at_most,
            on: part.on,
            of: part.of,
            than: part.than,
            or_more_by: part.or_more_by,
            is_check,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"title = "t"
[[group]]
name = "g"
count = 2
topics = ["urn:x"]
[[publisher]]
name = "p"
topics = ["urn:x"]
sizes = [64]
[steps]
setup = [{ connect = { group = "g" } }]
round = [{ publish = { by = "p", count = 3, measure = "w" } }]
[[goal]]
figure = "w.latency_p99_ms"
at-most = 10.0
"#;

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        Scenario::parse("x", &GOOD.replace(from, to), &[]).expect_err("refused").to_string()
    }

    #[test]
    fn a_small_scenario() {
        let scenario = Scenario::parse("x", GOOD, &[]).expect("makes sense");
        assert_eq!(scenario.round[0].does, Does::Publish { by: 0, seconds: None, count: Some(3) });
        assert_eq!(scenario.publishers[0].pace, Pace::Flood { ahead: 0 });
        assert_eq!(scenario.rounds, 1);
    }

    #[test]
    fn hubs_of_a_scenario_speak_tls_as_it_says_or_as_all_do() {
        let text = GOOD.replace(
            "[[group]]",
            "[hub]\ntls = true\nresume = true\n[[target]]\nname = \"plain\"\ntls = false\n[[target]]\nname = \"old\"\ntls = \"1.2\"\n\
             [[target]]\nname = \"new\"\n[[group]]",
        );
        let scenario = Scenario::parse("x", &text, &[]).expect("makes sense");
        let tls = |only_tls12| Some(Tls { only_tls12, resume: true });
        assert_eq!(scenario.tls, tls(false));
        let found: Vec<_> = scenario.targets.iter().map(|target| target.tls).collect();
        assert_eq!(found, [None, tls(true), tls(false)]);
        let wrong = Scenario::parse("x", &text.replace("\"1.2\"", "\"1.1\""), &[]).expect_err("refused").to_string();
        assert_eq!(wrong, "line 10, `tls`: write true, false, \"1.3\" or \"1.2\"");
        let alone = GOOD.replace("[[group]]", "[hub]\nresume = true\n[[group]]");
        let wrong = Scenario::parse("x", &alone, &[]).expect_err("refused").to_string();
        assert_eq!(wrong, "line 3, `resume`: there are no sessions to go on with unless `tls` is spoken");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_key() {
        let unknown = error("count = 2", "count = 2\ncuont = 3");
        assert!(unknown.contains("line 5") && unknown.contains("cuont"), "{unknown}");
        let kind = error("count = 2", "count = \"two\"");
        assert!(kind.contains("line 4") && kind.contains("integer") || kind.contains("usize"), "{kind}");
        assert_eq!(error("group = \"g\"", "group = \"h\""), "line 11, `group`: there is no group `h`; there are g");
        assert_eq!(
            error("by = \"p\", count = 3", "by = \"p\""),
            "line 12, `publish`: say for how many `seconds` or a `count` of events"
        );
        assert_eq!(
            error("sizes = [64]", "sizes = [10]"),
            "line 7, `sizes`: 10 is too little; an event has 64 bytes of data at least"
        );
        assert_eq!(
            error("topics = [\"urn:x\"]\nsizes", "topics = [\"urn:{n}\"]\nsizes"),
            "line 7, `topics`: a publisher's topics must repeat: write {n % 1000} for {n}"
        );
        assert_eq!(error("at-most = 10.0", ""), "line 14, `figure`: either `at-least` or `at-most` is needed");
        assert!(
            error("at-most = 10.0", "at-most = 10.0\nof = \"none\"")
                .starts_with("line 14, `of`: there is no target `none`")
        );
        assert_eq!(
            error("at-most = 10.0", "at-most = 10.0\nor-more-by = 1"),
            "line 14, `or-more-by`: it widens `at-most` of a ratio `than` another figure"
        );
        assert_eq!(
            error("[[group]]", "[hub]\ncount = 17\n[[group]]"),
            "line 3, `count`: 17 hubs; from 1 to 16 can be one cluster here"
        );
        for differ in ["count = 2\nlast = true\nreads = 5", "count = 2\nlast = true\ntopics = [\"urn:{n}\"] #"] {
            let differ = GOOD.replacen("count = 2", differ, 1).replace("#\ntopics = [\"urn:x\"]\n[[", "\n[[");
            let refused = Scenario::parse("x", &differ, &[]).expect_err("refused").to_string();
            assert!(refused.starts_with("line 3, `last`: all of the group have to read at once"), "{refused}");
        }
        assert!(error("name = \"p\"", "name = \"g\"").starts_with("line 7, `name`: groups, publishers"));
        let inside = "{ together = { tracks = [[{ wait = { seconds = 1, measure = \"w\" } }]] } }";
        assert!(error("{ connect = { group = \"g\" } }", inside).contains("only all of it can be measured"));
        let come = "{ connect = { group = \"g\" } }";
        let churn = "{ churn = { group = \"g\", rate = 1, seconds = 1 } }";
        let twice = error(come, &format!("{{ together = {{ tracks = [[{come}], [{churn}]] }} }}"));
        assert!(twice.starts_with("the group `g` is connected in two tracks"), "{twice}");
        let step = error("{ connect =", "{ conect =");
        assert!(step.contains("line 11") && step.contains("conect"), "{step}");
    }
}
