//! Files of records, as `--json` and `--lines` write them: finds one and reads it.

use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use crate::record::{FORMAT, Record};
use crate::timeline::{SAMPLES_MAX, thin};

/// A longer line is no record: one of the most samples has about a megabyte.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Entries of any list of a record, samples aside: figures, checks, notes, facts. A run has a few dozen.
const ENTRIES_MAX: usize = 1_000;

/// Why there is no record to show.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("there is no finished run in it")]
    Empty,
    #[error("there is no run {asked} in it: it has {there}, counted from 1")]
    NoSuchRun { asked: usize, there: usize },
    #[error(
        "line {line} is a record of format {format}, and this program reads format {FORMAT} only: use the version of \
         cinnabar-loadgen that wrote it, or run the scenario again"
    )]
    Format { line: usize, format: u64 },
    #[error("line {line} is a record from before records had a format: run the scenario again")]
    NoFormat { line: usize },
    #[error("line {line} is no record: {why}")]
    Malformed { line: usize, why: String },
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes, which no record is")]
    TooLong { line: usize },
    #[error("line {line} has a record with more than {ENTRIES_MAX} {what}, which no run has")]
    TooMany { line: usize, what: &'static str },
    #[error("line {line} can't be read: {why}")]
    Unreadable { line: usize, why: String },
}

/// What tells a line's kind.
#[derive(Deserialize)]
struct Peek {
    #[serde(rename = "type")]
    kind: Option<String>,
    format: Option<u64>,
    record: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    format: Option<u64>,
}

/// The last line of `--lines`.
#[derive(Deserialize)]
struct End {
    record: Record,
}

/// A line that holds a record.
struct Found {
    line: usize,
    format: Option<u64>,
    wrapped: bool,
    text: String,
}

/// Reads a record from a file: the last one, or the one with that number.
pub(crate) fn open(path: &Path, run: Option<usize>) -> anyhow::Result<Record> {
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    read(io::BufReader::new(file), run).with_context(|| format!("no run can be read from {}", path.display()))
}

/// Reads every record of a file.
pub(crate) fn open_all(path: &Path) -> anyhow::Result<Vec<Record>> {
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    read_all(io::BufReader::new(file)).with_context(|| format!("no runs can be read from {}", path.display()))
}

/// Reads all records; there is at least one.
fn read_all(mut lines: impl BufRead) -> Result<Vec<Record>, ArchiveError> {
    let (mut records, mut line) = (Vec::new(), 0);
    while let Some(found) = next(&mut lines, &mut line)? {
        records.push(parse(&found)?);
    }
    if records.is_empty() { Err(ArchiveError::Empty) } else { Ok(records) }
}

/// Reads a record: the last one, or that with this number, counted from 1.
pub(crate) fn read(mut lines: impl BufRead, run: Option<usize>) -> Result<Record, ArchiveError> {
    let (mut there, mut line, mut wanted) = (0, 0, None);
    while let Some(found) = next(&mut lines, &mut line)? {
        there += 1;
        if run.is_none_or(|run| run == there) {
            wanted = Some(found);
        }
    }
    match (wanted, run) {
        (Some(found), _) => parse(&found),
        (None, None) => Err(ArchiveError::Empty),
        (None, Some(asked)) => Err(ArchiveError::NoSuchRun { asked, there }),
    }
}

/// The next line with a record; `line` is the number of the one read last.
fn next(lines: &mut impl BufRead, line: &mut usize) -> Result<Option<Found>, ArchiveError> {
    loop {
        *line += 1;
        let line = *line;
        let mut text = String::new();
        let unreadable = |error: io::Error| ArchiveError::Unreadable { line, why: error.to_string() };
        let taken = lines.by_ref().take(LINE_BYTES_MAX).read_line(&mut text).map_err(unreadable)?;
        if taken == 0 {
            return Ok(None);
        }
        if taken as u64 == LINE_BYTES_MAX {
            return Err(ArchiveError::TooLong { line });
        }
        if let Some((format, wrapped)) = peek(&text, line)? {
            return Ok(Some(Found { line, format, wrapped, text }));
        }
    }
}

/// The format of a line's record and whether it is wrapped; nothing for a line without one.
fn peek(text: &str, line: usize) -> Result<Option<(Option<u64>, bool)>, ArchiveError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let peek: Peek =
        serde_json::from_str(text).map_err(|error| ArchiveError::Malformed { line, why: error.to_string() })?;
    Ok(match (peek.kind.as_deref(), peek.record) {
        (None, _) => Some((peek.format, false)),
        (Some("end"), Some(record)) => Some((record.format, true)),
        (Some(_), _) => None,
    })
}

fn parse(found: &Found) -> Result<Record, ArchiveError> {
    let line = found.line;
    match found.format {
        Some(FORMAT) => {}
        Some(format) => return Err(ArchiveError::Format { line, format }),
        None => return Err(ArchiveError::NoFormat { line }),
    }
    let record = match found.wrapped {
        true => serde_json::from_str::<End>(&found.text).map(|end| end.record),
        false => serde_json::from_str(&found.text),
    };
    let mut record: Record = record.map_err(|error| ArchiveError::Malformed { line, why: error.to_string() })?;
    // Whoever wrote it may have kept to no bound.
    let machine = &record.machine;
    let lists = [
        ("figures", record.figures.len()),
        ("notes", record.notes.len()),
        ("goals", record.goals.len()),
        ("checks", record.checks.len()),
        ("agents", record.agents.len()),
        ("latencies", record.latencies.len()),
        ("points of a latency", record.latencies.iter().map(|latency| latency.curve.len()).max().unwrap_or(0)),
        ("facts", machine.mitigations.len() + machine.sysctls.len() + machine.container.len()),
    ];
    if let Some((what, _)) = lists.into_iter().find(|(_, entries)| *entries > ENTRIES_MAX) {
        return Err(ArchiveError::TooMany { line, what });
    }
    record.timeline = thin(record.timeline, SAMPLES_MAX);
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn a_record_of_format_1_is_read_back_as_it_was() {
        let record = read(example::LINE.as_bytes(), None).expect("a record");
        assert_eq!(record.scenario, "broadcast");
        let again = serde_json::to_string(&record).expect("it is written");
        assert_eq!(read(again.as_bytes(), None).expect("a record"), record);
    }

    #[test]
    fn the_last_run_is_shown_unless_another_is_asked_for() {
        let other = example::LINE.trim().replace("\"broadcast\"", "\"idle\"");
        let file = format!("{}\n\n{other}\n", example::LINE.trim());
        let scenario = |run| read(file.as_bytes(), run).map(|record| record.scenario);
        assert_eq!(scenario(None), Ok("idle".to_owned()));
        assert_eq!(scenario(Some(1)), Ok("broadcast".to_owned()));
        assert_eq!(scenario(Some(3)), Err(ArchiveError::NoSuchRun { asked: 3, there: 2 }));
        let all = read_all(file.as_bytes()).expect("two records");
        assert_eq!(all.iter().map(|record| record.scenario.as_str()).collect::<Vec<_>>(), ["broadcast", "idle"]);
        assert_eq!(read_all(&b""[..]), Err(ArchiveError::Empty));
    }

    #[test]
    fn what_follows_a_run_line_by_line_can_be_kept_and_shown() {
        let lines = format!(
            "{}\n{}\n{{\"type\":\"end\",\"ok\":true,\"record\":{}}}\n",
            r#"{"type":"start","scenario":"broadcast"}"#,
            r#"{"type":"figure","key":"a","value":1}"#,
            example::LINE.trim()
        );
        assert_eq!(read(lines.as_bytes(), None).map(|record| record.scenario), Ok("broadcast".to_owned()));
        let failed = r#"{"type":"end","ok":false,"error":"no hub"}"#;
        assert_eq!(read(failed.as_bytes(), None), Err(ArchiveError::Empty));
    }

    #[test]
    fn another_format_is_refused_with_a_sentence() {
        let newer = example::LINE.replace("\"format\":1", "\"format\":7");
        let error = read(newer.as_bytes(), None).expect_err("refused");
        assert_eq!(error, ArchiveError::Format { line: 1, format: 7 });
        assert!(error.to_string().contains("format 7") && error.to_string().contains("run the scenario again"));
        let older = r#"{"scenario":"idle","figures":{"a":1.0}}"#;
        assert_eq!(read(older.as_bytes(), None), Err(ArchiveError::NoFormat { line: 1 }));
    }

    #[test]
    fn a_record_without_bounds_is_refused() {
        let mut record = example::record();
        record.figures = vec![record.figures[0].clone(); ENTRIES_MAX + 1];
        let text = serde_json::to_string(&record).expect("it is written");
        assert_eq!(read(text.as_bytes(), None), Err(ArchiveError::TooMany { line: 1, what: "figures" }));
        let mut record = example::record();
        record.timeline = vec![record.timeline[0].clone(); 3 * SAMPLES_MAX];
        let text = serde_json::to_string(&record).expect("it is written");
        assert!(read(text.as_bytes(), None).expect("a record").timeline.len() <= SAMPLES_MAX);
    }

    /// Seen: the record of `topics`, with 24 latencies of some 50 points each, couldn't be read.
    #[test]
    fn a_record_may_have_many_latencies_but_none_without_bounds() {
        let mut record = example::record();
        let latency = &mut record.latencies[0];
        latency.curve = vec![(0.5, 1); 50];
        record.latencies = vec![latency.clone(); 100];
        let text = serde_json::to_string(&record).expect("it is written");
        assert_eq!(read(text.as_bytes(), None).map(|record| record.latencies.len()), Ok(100));
        record.latencies[9].curve = vec![(0.5, 1); ENTRIES_MAX + 1];
        let text = serde_json::to_string(&record).expect("it is written");
        assert_eq!(read(text.as_bytes(), None), Err(ArchiveError::TooMany { line: 1, what: "points of a latency" }));
    }

    #[test]
    fn what_is_no_record_is_said_with_its_line() {
        assert_eq!(read(&b""[..], None), Err(ArchiveError::Empty));
        let error = read(&b"\n{oops\n"[..], None).expect_err("refused");
        assert!(matches!(error, ArchiveError::Malformed { line: 2, .. }), "{error}");
        let error = read(&b"{\"format\":1,\"scenario\":5}"[..], None).expect_err("refused");
        assert!(matches!(error, ArchiveError::Malformed { line: 1, .. }), "{error}");
        let error = read(&b"\xff\xfe\n"[..], None).expect_err("refused");
        assert!(matches!(error, ArchiveError::Unreadable { line: 1, .. }), "{error}");
        let long = io::repeat(b' ').take(LINE_BYTES_MAX + 5);
        assert_eq!(read(io::BufReader::new(long), None), Err(ArchiveError::TooLong { line: 1 }));
    }
}
