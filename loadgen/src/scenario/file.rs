//! The shape of a scenario file, as it is parsed. `SCENARIOS.md` explains every field.

use serde::Deserialize;
use toml::{Spanned, Table};

use crate::attack::Kind;
use crate::dialect::TokenUse;
use crate::group::WhenClosed;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) title: String,
    #[serde(default, rename = "variables")]
    pub(super) _variables: Table,
    #[serde(default)]
    pub(super) hub: HubPart,
    #[serde(default)]
    pub(super) target: Vec<TargetPart>,
    #[serde(default)]
    pub(super) group: Vec<GroupPart>,
    #[serde(default)]
    pub(super) publisher: Vec<PublisherPart>,
    #[serde(default)]
    pub(super) attack: Vec<AttackPart>,
    pub(super) steps: StepsPart,
    #[serde(default)]
    pub(super) goal: Vec<BarPart>,
    #[serde(default)]
    pub(super) check: Vec<BarPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HubPart {
    #[serde(default)]
    pub(super) arguments: Vec<String>,
    pub(super) tls: Option<Spanned<TlsPart>>,
    pub(super) resume: Option<Spanned<bool>>,
    pub(super) count: Option<Spanned<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetPart {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) arguments: Vec<String>,
    pub(super) tls: Option<Spanned<TlsPart>>,
}

/// Whether TLS is spoken, or the version of it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum TlsPart {
    Spoken(bool),
    Version(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct GroupPart {
    pub(super) name: Spanned<String>,
    pub(super) count: usize,
    pub(super) topics: Vec<String>,
    #[serde(default)]
    pub(super) token: TokenUse,
    #[serde(default)]
    pub(super) reads: Option<ReadsPart>,
    #[serde(default)]
    pub(super) receive_buffer: usize,
    #[serde(default)]
    pub(super) encoding: Option<String>,
    #[serde(default)]
    pub(super) keep_id: bool,
    #[serde(default)]
    pub(super) from_earliest: bool,
    #[serde(default)]
    pub(super) when_closed: WhenClosed,
    #[serde(default)]
    pub(super) prompt: bool,
    #[serde(default)]
    pub(super) watch_kernel: bool,
    #[serde(default)]
    pub(super) last: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ReadsPart {
    BytesPerSecond(u32),
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PublisherPart {
    pub(super) name: Spanned<String>,
    pub(super) topics: Vec<String>,
    pub(super) sizes: Vec<usize>,
    #[serde(default = "one")]
    pub(super) connections: usize,
    #[serde(default = "one")]
    pub(super) pipeline: usize,
    #[serde(default)]
    pub(super) rate: Option<f64>,
    #[serde(default)]
    pub(super) one_at_a_time: bool,
    #[serde(default)]
    pub(super) ahead: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttackPart {
    pub(super) name: Spanned<String>,
    pub(super) kind: Kind,
    pub(super) connections: usize,
    pub(super) rate: f64,
}

fn one() -> usize {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepsPart {
    #[serde(default)]
    pub(super) rounds: Option<usize>,
    #[serde(default)]
    pub(super) setup: Vec<StepPart>,
    #[serde(default)]
    pub(super) round: Vec<StepPart>,
    #[serde(default)]
    pub(super) finish: Vec<StepPart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum StepPart {
    Connect(ConnectPart),
    Return(ConnectPart),
    Drop(DropPart),
    Leave(GroupRef),
    Churn(ChurnPart),
    StopReading(GroupRef),
    ReadOn(GroupRef),
    Publish(PublishPart),
    Attack(AttackStep),
    Drain(Nothing),
    Wait(WaitPart),
    Settle(SettlePart),
    Together(TogetherPart),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupRef {
    pub(super) group: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ConnectPart {
    pub(super) group: Spanned<String>,
    pub(super) rate: Option<f64>,
    pub(super) at_once: Option<usize>,
    pub(super) measure: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DropPart {
    pub(super) group: Spanned<String>,
    pub(super) share: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChurnPart {
    pub(super) group: Spanned<String>,
    pub(super) rate: f64,
    pub(super) seconds: f64,
    pub(super) measure: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishPart {
    pub(super) by: Spanned<String>,
    pub(super) seconds: Option<f64>,
    pub(super) count: Option<u64>,
    pub(super) measure: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttackStep {
    pub(super) by: Spanned<String>,
    pub(super) seconds: Option<f64>,
    pub(super) count: Option<u64>,
    pub(super) measure: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitPart {
    pub(super) seconds: f64,
    pub(super) measure: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettlePart {
    pub(super) mark: String,
    pub(super) since: Option<Spanned<String>>,
    pub(super) seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TogetherPart {
    pub(super) tracks: Vec<Vec<StepPart>>,
    pub(super) measure: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BarPart {
    pub(super) figure: Spanned<String>,
    pub(super) at_least: Option<f64>,
    pub(super) at_most: Option<f64>,
    pub(super) on: Option<String>,
    pub(super) of: Option<String>,
    pub(super) than: Option<String>,
    pub(super) or_more_by: Option<f64>,
}
