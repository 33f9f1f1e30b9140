//! What becomes of a result, from the outside: the program runs its smallest scenario, which needs no hub, and is then asked
//! for what it kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A folder of a test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cinnabar-loadgen-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cinnabar-loadgen")).args(arguments).output().expect("it runs")
}

fn small_floor(more: &[&str]) -> Output {
    let sizes = ["--set", "connections=40", "--set", "rounds=2", "--set", "events=3"];
    let small = [&["broadcast", "--targets", "floor", "--floor-threads", "1"], &sizes[..]].concat();
    let output = loadgen(&[&small[..], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it was written")
}

#[test]
fn machines_follow_a_run_line_by_line_and_the_lines_can_be_shown_again() {
    let folder = Folder::new("lines");
    let output = small_floor(&["--lines", "--quiet"]);
    assert!(output.stderr.is_empty(), "quiet: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let kinds: Vec<&str> = objects.iter().filter_map(|object| object["type"].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"start"), Some(&"end")));
    for kind in ["sample", "figure", "check"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    let end = objects.last().expect("an end");
    assert_eq!((&end["ok"], &end["record"]["format"]), (&Value::from(true), &Value::from(1)));
    assert!(end["record"]["timeline"].as_array().is_some_and(|samples| !samples.is_empty()));

    let kept = folder.file("run.jsonl");
    std::fs::write(&kept, lines).expect("kept");
    let shown = loadgen(&["report", kept.to_str().expect("a path"), "--markdown"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.starts_with("broadcast: broadcasts to 40 subscribers, 3 one at a time"), "{shown}");
    assert!(shown.contains("| floor: broadcast: deliveries per second |"), "{shown}");
}

#[test]
fn runs_are_kept_shown_as_pages_and_compared() {
    let folder = Folder::new("pages");
    let (runs, page, both) = (folder.file("runs.jsonl"), folder.file("run.html"), folder.file("both.html"));
    let [runs_path, page_path, both_path] = [&runs, &page, &both].map(|path| path.to_str().expect("a path"));
    let table = small_floor(&["--json", runs_path, "--html", page_path]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("check ok"));
    small_floor(&["--json", runs_path]);
    assert_eq!(text(&runs).lines().count(), 2);
    let page = text(&page);
    assert!(page.starts_with("<!doctype html>") && page.contains("<title>broadcast: broadcasts to 40 subscribers"));

    let summed = loadgen(&["summary", runs_path, runs_path]);
    let summed = String::from_utf8_lossy(&summed.stdout).into_owned();
    assert!(summed.contains("- 4 runs from ") && summed.contains("| scenario | what | goal | floor |"), "{summed}");

    let compared = loadgen(&["compare", runs_path, runs_path, "--run-a", "1", "--html", both_path]);
    let compared = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(compared.contains("B / A") && compared.contains("differs  arguments"), "{compared}");
    assert!(text(&both).contains("Two runs side by side"));
}

#[test]
fn a_record_says_whether_threads_went_before_others() {
    let folder = Folder::new("scheduling");
    let used_by = |arguments: &[&str]| {
        let runs = folder.file(arguments[0]);
        let sizes = ["--targets", "floor", "--floor-threads", "1", "--set", "connections=20", "--set", "rounds=1"];
        let output = loadgen(&[arguments, &sizes, &["--json", runs.to_str().expect("a path")]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let record: Value = serde_json::from_str(&text(&runs)).expect("a record");
        record["scheduling"].clone()
    };
    // Both or neither: whoever runs this may or may not be allowed to.
    let (flood, schedule) = (used_by(&["broadcast", "--set", "events=3"]), used_by(&["steady", "--set", "seconds=1"]));
    let both = (flood["real_time"].as_str(), schedule["real_time"].as_str());
    let possible = [(Some("not_used"), Some("used")), (Some("not_allowed"), Some("not_allowed"))];
    assert!(possible.contains(&both), "{flood} {schedule}");
    assert!(["not_used", "not_allowed"].contains(&schedule["nice"].as_str().expect("said")), "{schedule}");
}

#[test]
fn what_can_not_be_shown_is_said_in_a_sentence() {
    let folder = Folder::new("refused");
    let future = folder.file("future.jsonl");
    std::fs::write(&future, "{\"format\":99}\n").expect("written");
    for (arguments, sentence) in [
        (vec!["report", future.to_str().expect("a path")], "line 1 is a record of format 99"),
        (vec!["report", "/nowhere/at/all"], "open /nowhere/at/all"),
    ] {
        let output = loadgen(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn a_run_that_can_not_be_made_ends_with_its_reason() {
    let output = loadgen(&["broadcast", "--url", "http://127.0.0.1:1/", "--set", "connections=1", "--json", "-", "-q"]);
    assert_eq!(output.status.code(), Some(2));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let end: Value = serde_json::from_str(lines.lines().last().unwrap_or_default()).expect("an object");
    assert_eq!((&end["type"], &end["ok"]), (&Value::from("end"), &Value::from(false)));
    assert!(end["error"].as_str().is_some_and(|error| !error.is_empty()));
}
