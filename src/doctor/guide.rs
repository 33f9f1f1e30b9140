//! tuning/ held against the doctor: whoever follows the one must satisfy the other.

use super::findings::findings;
use super::made_up::{MadeUp, hub};
use super::{Capacity, Level, Load, Resource, SYSCTLS, bytes, count, unit};
use crate::config::setting::SETTINGS;
use crate::doctor::Hub;

const README: &str = include_str!("../../tuning/README.md");
const SYSCTL_D: &str = include_str!("../../tuning/sysctl.d/90-cinnabar.conf");
const UNIT: &str = include_str!("../../tuning/cinnabar.service");
const DROP_IN: &str = include_str!("../../tuning/cinnabar.service.d/limits.conf");

const BEGIN: &str = "<!-- begin: written by `UPDATE_DOCS=1 cargo test --lib doctor::guide` -->\n";
const END: &str = "<!-- end -->\n";

/// What the worked example aims at.
const AIM: Load = Load { connections: Some(300_000), frame_bytes: 300, own: false };

/// Names and values of the sysctl.d file.
pub(super) fn lines() -> Vec<(&'static str, &'static str)> {
    let lines = SYSCTL_D.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(" = ").expect("name = value")).collect()
}

/// The arithmetic of the worked example, as Markdown.
fn worked_example() -> String {
    let machine = MadeUp::tuned_vm().machine();
    let Capacity { limits, memory, price, target, heartbeat_core_thousandths, broadcast_core_ms, .. } =
        Capacity::new(&machine, &hub(), &AIM);
    let row = |what: &str, each: u64| format!("| {what} | {} B | {} |\n", count(each), bytes(each * target));
    let once = |what: &str, all: u64| format!("| {what} | | {} |\n", bytes(all));
    let mut text = format!("| for {} connections | each | together |\n|---|---|---|\n", count(target));
    text += &row("kernel, idle", price.kernel);
    text += &row("hub, topic and token shared", price.hub);
    text += &row("an event of 300 B on its way to everybody", price.in_flight);
    text += &row("stalled clients: 1 in 100 with 24 KiB", price.stalled);
    text += &once("hub with full history (256 MiB) and tail (64 MiB)", memory.hub);
    text += &once("the rest of the system", memory.system);
    text += &format!("| **sum** | | **{}** |\n", bytes(memory.sum(&price, target)));
    text += &once("kept spare: 20 %", memory.spare);
    text += &once("memory of the machine", memory.total);
    text += "\n| what would run out | at |\n|---|---|\n";
    for limit in limits.iter().filter(|limit| limit.connections < 1 << 40) {
        let text_of = match limit.resource {
            Resource::Ceiling | Resource::Setting => format!("`{}`, not set", limit.resource.text()),
            other => other.text().to_owned(),
        };
        text += &format!("| {text_of} | {} |\n", count(limit.connections));
    }
    let (cores, tenths) = (machine.cores as f64, broadcast_core_ms as f64 / 1000.0);
    text += &format!(
        "\nHeartbeats every 25 s take {} % of a core; an event for everybody takes {:.1} s on two cores, at 7.5 µs a send.\n",
        heartbeat_core_thousandths / 10,
        tenths / cores
    );
    text
}

#[test]
fn the_worked_example_is_the_doctor_s_arithmetic() {
    let (before, rest) = README.split_once(BEGIN).expect("the example begins");
    let (found, after) = rest.split_once(END).expect("the example ends");
    let right = worked_example();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/README.md");
        std::fs::write(path, [before, BEGIN, &right, END, after].concat()).unwrap();
        return;
    }
    assert!(
        found == right,
        "tuning/README.md is not up to date: run `UPDATE_DOCS=1 cargo test --lib doctor::guide`\n{right}"
    );
}

#[test]
fn every_sysctl_the_doctor_reads_or_sets_is_explained() {
    let mut names: Vec<String> = SYSCTLS.iter().map(|&name| name.to_owned()).collect();
    let load = Load { connections: Some(3_000_000), ..AIM };
    for made in [MadeUp::small_vm(), MadeUp::tuned_vm(), MadeUp::container(), MadeUp::small_vm().without_io_uring()] {
        let (machine, hub) = (made.machine(), Hub { uring: false, behind_local_proxy: true, ..hub() });
        let found = findings(&machine, &hub, &Capacity::new(&machine, &hub, &load));
        let commands =
            found.iter().flat_map(|finding| &finding.fixes).filter_map(|fix| fix.text.strip_prefix("sysctl -w "));
        names.extend(commands.map(|command| command.split('=').next().unwrap().to_owned()));
    }
    for name in names {
        assert!(SYSCTLS.contains(&name.as_str()), "{name} is in the doctor's list");
        assert!(README.contains(&format!("`{name}`")), "tuning/README.md says nothing about {name}");
    }
}

#[test]
fn every_limit_that_can_be_set_is_named() {
    let machine = ["max-connections", "max-accept-rate", "memory-max", "compression"];
    let limits =
        SETTINGS.iter().filter(|setting| setting.group == "Limits of a client" || machine.contains(&setting.name));
    let names: Vec<_> = limits.map(|setting| setting.name).collect();
    assert!(names.len() > machine.len());
    for name in names {
        assert!(README.contains(&format!("`--{name}`")), "tuning/README.md says nothing about --{name}");
    }
}

#[test]
fn the_lines_of_sysctl_d_are_well_formed_and_known() {
    let lines = lines();
    assert!(lines.len() > 3);
    for (index, (name, value)) in lines.iter().enumerate() {
        assert!(SYSCTLS.contains(name), "{name}");
        assert!(value.split(' ').all(|word| word.parse::<u64>().is_ok()), "{name}: {value}");
        assert!(lines[..index].iter().all(|(earlier, _)| earlier != name), "{name} stands twice");
    }
}

#[test]
fn the_unit_and_the_drop_in_give_the_hub_what_the_doctor_wants() {
    let made = MadeUp::tuned_vm().with("etc/systemd/system/cinnabar.service", UNIT);
    let dropped = MadeUp::tuned_vm()
        .with("lib/systemd/system/cinnabar.service", "[Service]\nExecStart=x\n")
        .with("etc/systemd/system/cinnabar.service.d/limits.conf", DROP_IN);
    for made in [made, dropped] {
        let unit = unit::read(made.root(), "cinnabar", 1 << 32).unwrap();
        assert_eq!((unit.descriptors, unit.memory_max, unit.tasks_max), (1_048_576, None, Some(256)));
        // On epoll, where every connection is a descriptor.
        let (machine, hub) = (made.machine(), Hub { uring: false, ..hub() });
        for finding in findings(&machine, &hub, &Capacity::new(&machine, &hub, &AIM)) {
            assert!(finding.level < Level::Warn, "{finding:?}");
        }
    }
}

#[test]
fn the_guide_s_proxies_have_a_source_port_for_every_stream() {
    const PORTS: u64 = 60_999 - 32_768 + 1;
    for config in [include_str!("../../tuning/nginx.conf"), include_str!("../../tuning/haproxy.cfg")] {
        let sources: std::collections::HashSet<&str> = config
            .split_whitespace()
            .map(|word| word.trim_end_matches(';'))
            .filter(|word| word.starts_with("127.0.1."))
            .collect();
        assert!(sources.len() as u64 * PORTS > AIM.connections.unwrap(), "{sources:?}");
    }
}
