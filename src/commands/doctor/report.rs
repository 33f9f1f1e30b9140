//! How the findings are shown: for people, and for programs.

use super::super::outside::Paint;
use anyhow::Result;
use cinnabar::doctor::{Capacity, Finding, Hub, IoUring, Level, Machine, bytes, count};
use serde::Serialize;
use std::io::Write;

/// Lines of sentences are no longer, their indentation aside.
const LINE_CHARS_MAX: usize = 100;

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    /// Findings that break something.
    broken: usize,
    /// Findings that only warn.
    warnings: usize,
    capacity: Capacity,
    findings: Vec<Finding>,
    hub: Hub,
    machine: Machine,
}

impl Report {
    pub(super) fn new(machine: Machine, hub: Hub, capacity: Capacity, findings: Vec<Finding>) -> Report {
        let of = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (broken, warnings) = (of(Level::Fail), of(Level::Warn));
        let version = env!("CARGO_PKG_VERSION");
        Report { version, broken, warnings, capacity, findings, hub, machine }
    }

    /// Whether what was asked for would break.
    pub(super) fn breaks(&self) -> bool {
        self.broken > 0 || self.capacity.asked && !self.capacity.fits()
    }

    pub(super) fn json(&self, out: &mut impl Write) -> Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)?;
        Ok(())
    }

    pub(super) fn text(&self, out: &mut impl Write, paint: Paint) -> Result<()> {
        self.headline(out, paint)?;
        self.limits(out, paint)?;
        self.price(out)?;
        writeln!(out)?;
        for level in [Level::Fail, Level::Warn, Level::Note] {
            for finding in self.findings.iter().filter(|finding| finding.level == level) {
                show(out, finding, paint)?;
            }
        }
        let fine = self.findings.iter().filter(|finding| finding.level == Level::Ok);
        let fine: Vec<_> = fine.map(|finding| format!("{} ({})", finding.name, finding.found)).collect();
        writeln!(out, "{} {}", paint.green("ok"), fine.join(", "))?;
        let summary = match (self.broken, self.warnings) {
            (0, 0) => "nothing to do".to_owned(),
            (0, warnings) => format!("nothing breaks; {warnings} to look at"),
            (broken, warnings) => format!("{broken} would break, {warnings} to look at"),
        };
        writeln!(out, "\n{}", paint.bold(&summary))?;
        Ok(())
    }

    fn headline(&self, out: &mut impl Write, paint: Paint) -> Result<()> {
        let Machine { kernel, cores, memory_bytes, io_uring, .. } = &self.machine;
        let io = match (self.hub.uring, io_uring) {
            (true, _) => "io_uring",
            (false, IoUring::Works) => "epoll, as set",
            (false, IoUring::Denied(_)) => "epoll, as io_uring is denied",
        };
        writeln!(out, "Linux {}, {cores} cores, {}, {io}\n", kernel.release, bytes(*memory_bytes))?;
        let Capacity { holds, first, target, asked, .. } = &self.capacity;
        let text = match (asked, self.capacity.fits()) {
            (true, true) => format!("{} connections fit: there is room for {}.", count(*target), count(*holds)),
            (true, false) => format!(
                "{} connections don't fit: it holds {}, and {} stops it first.",
                count(*target),
                count(*holds),
                first.text()
            ),
            (false, _) => format!("This machine holds {} connections; {} stops it first.", count(*holds), first.text()),
        };
        writeln!(out, "{}\n", paint.bold(&text))?;
        Ok(())
    }

    fn limits(&self, out: &mut impl Write, paint: Paint) -> Result<()> {
        for limit in &self.capacity.limits {
            // No table ends at the largest number.
            let connections =
                if limit.connections > 1 << 40 { "no limit".to_owned() } else { count(limit.connections) };
            writeln!(out, "  {:20} {connections:>12}  {}", limit.resource.text(), paint.dim(&limit.says))?;
        }
        writeln!(out)?;
        Ok(())
    }

    fn price(&self, out: &mut impl Write) -> Result<()> {
        let Capacity { memory, price, target, .. } = &self.capacity;
        let tracked = if price.tracked > 0 { format!(", tracked {}", count(price.tracked)) } else { String::new() };
        writeln!(
            out,
            "  A connection: {} B = kernel {}, hub {}, an event on its way {}, a share of stalled ones {}{tracked}",
            count(price.sum()),
            count(price.kernel),
            count(price.hub),
            count(price.in_flight),
            count(price.stalled),
        )?;
        writeln!(
            out,
            "  {} of them: {} with the hub's history and tail ({}) and the system ({}); {} stay spare of {}",
            count(*target),
            bytes(memory.sum(price, *target)),
            bytes(memory.hub),
            bytes(memory.system),
            bytes(memory.spare),
            bytes(memory.total),
        )?;
        let core = self.capacity.heartbeat_core_thousandths;
        let broadcast =
            self.capacity.broadcast_core_ms as f64 / 1000.0 / self.machine.cores.min(self.hub.shards).max(1) as f64;
        writeln!(
            out,
            "  Heartbeats take {}.{} % of a core, an event for everybody about {broadcast:.1} s (7.5 µs a send, as over loopback)",
            core / 10,
            core % 10
        )?;
        Ok(())
    }
}

fn show(out: &mut impl Write, finding: &Finding, paint: Paint) -> Result<()> {
    let level = match finding.level {
        Level::Fail => paint.red("FAIL"),
        Level::Warn => paint.bold("warn"),
        Level::Note => paint.dim("note"),
        Level::Ok => paint.green("ok"),
    };
    let wanted = if finding.wanted.is_empty() { String::new() } else { format!("; wanted: {}", finding.wanted) };
    writeln!(out, "{level} {}: {}{wanted}", paint.bold(finding.name), finding.found)?;
    if !finding.why.is_empty() {
        for line in wrapped(&finding.why) {
            writeln!(out, "     {line}")?;
        }
    }
    for fix in &finding.fixes {
        if fix.text.contains('\n') {
            writeln!(out, "     {}:", paint.dim(&fix.place))?;
            for line in fix.text.lines() {
                writeln!(out, "       {line}")?;
            }
        } else {
            writeln!(out, "     {}: {}", paint.dim(&fix.place), fix.text)?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// A sentence in lines that fit a terminal.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped_at_words() {
        let text = "word ".repeat(50) + &"x".repeat(150);
        let lines = wrapped(&text);
        assert_eq!(lines.join(" "), text);
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() <= LINE_CHARS_MAX), "{lines:?}");
    }
}
