//! `cinnabar history` on folders that real hubs wrote: it looks while they run, and changes only what nobody has.

use crate::harness::*;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

/// A folder of its own for a hub and the command.
struct Place(Arc<Folder>);

/// What a command came to: its exit code, standard output, standard error.
struct Said(Option<i32>, String, String);

impl Place {
    fn of(hub: &Hub) -> Place {
        Place(hub.folder())
    }

    fn new() -> Place {
        Place(Arc::new(Folder::new()))
    }

    fn run(&self, args: &[&str], input: &str) -> Said {
        let launch = Launch::bare().in_place_of(1, Arc::clone(&self.0)).args(&["history"]).args(args);
        let Output { status, stdout, stderr } = launch.output(input);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let said = Said(status.code(), text(stdout), text(stderr));
        assert!(!said.2.contains("panicked"), "{args:?}: {}", said.2);
        said
    }

    /// Runs a command that has to succeed and gives its standard output.
    fn ok(&self, args: &[&str], input: &str) -> String {
        let Said(code, out, error) = self.run(args, input);
        assert_eq!(code, Some(0), "{args:?}: {out}{error}");
        out
    }

    /// Runs a command that has to fail and gives both.
    fn fails(&self, args: &[&str], input: &str) -> (String, String) {
        let Said(code, out, error) = self.run(args, input);
        assert_eq!(code, Some(1), "{args:?}: {out}{error}");
        (out, error)
    }

    fn show(&self) -> Value {
        serde_json::from_str(&self.ok(&["show", "--json"], "")).expect("one JSON object")
    }

    fn exported(&self, args: &[&str]) -> Vec<Value> {
        let lines = self.ok(&[&["export"], args].concat(), "");
        lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The file of the first events.
    fn segment(&self) -> PathBuf {
        self.0.path().join("data/history/updates-00000000000000000000.log")
    }

    fn hub(&self, args: &[&str]) -> Hub {
        Launch::keyed().args(&["--anonymous"]).args(args).in_place_of(free_port(), Arc::clone(&self.0)).start()
    }
}

fn offsets(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["offset"].as_u64().expect("a number")).collect()
}

fn replayed(hub: &Hub, since: &str, count: usize) -> Vec<Event> {
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", since)]);
    (0..count).map(|_| stream.next()).collect()
}

#[test]
fn it_looks_while_a_hub_runs_and_after_it_was_killed() {
    let mut hub = Hub::anonymous();
    let place = Place::of(&hub);
    let ids: Vec<String> = (1..=20).map(|number| hub.say("urn:a", &format!("event {number}"))).collect();
    let private = [("topic", "urn:b"), ("data", "two\r\nlines"), ("private", "on"), ("id", "mine"), ("retry", "1500")];
    hub.publish(&[&private[..], &[("type", "price"), ("topic", "urn:c")]].concat());
    let look = |in_use: bool| {
        let shown = place.show();
        assert_eq!((&shown["format"], shown["in_use"].as_bool()), (&1.into(), Some(in_use)));
        let updates = &shown["updates"];
        assert_eq!((&updates["events"], &updates["first"], &updates["last"]), (&21.into(), &1.into(), &21.into()));
        assert_eq!(shown["announcements"]["events"], 0);
        let table = place.ok(&["show"], "");
        let in_words = if in_use { "a hub has it now" } else { "no hub has it" };
        assert!(table.contains(in_words) && table.contains("1 to 21") && table.contains(" GMT"), "{table}");
        assert!(place.ok(&["check"], "").starts_with("sound: 21 events in "));
        let lines = place.exported(&[]);
        assert_eq!(offsets(&lines), (1..=21).collect::<Vec<u64>>());
        assert_eq!(lines[4]["id"], *ids[4]);
        assert_eq!((&lines[4]["data"], &lines[4]["private"]), (&"event 5".into(), &false.into()));
        let Value::Object(last) = &lines[20] else { panic!("an object") };
        let expected = serde_json::json!({
            "id": "mine", "topics": ["urn:b", "urn:c"], "data": "two\nlines", "type": "price", "retry": 1500,
            "private": true, "published": last["published"], "offset": 21,
        });
        assert_eq!(lines[20], expected);
        assert_eq!(offsets(&place.exported(&["--after", "18"])), [19, 20, 21]);
        assert_eq!(offsets(&place.exported(&["--after-id", &ids[17]])), [19, 20, 21]);
        assert_eq!(offsets(&place.exported(&["--topic", "urn:c"])), [21]);
        let (_, error) = place.fails(&["export", "--after-id", "never"], "");
        assert!(error.contains("no event with the id \"never\""), "{error}");
    };
    look(true);
    for command in [&["trim", "--keep", "3"][..], &["import", "-"]] {
        let (_, error) = place.fails(command, "");
        assert!(error.contains("a hub has the history in") && error.contains("stop it first"), "{error}");
    }
    hub.kill();
    look(false);
}

#[test]
fn announcements_come_when_they_are_asked_for() {
    let hub = Hub::start(&["--anonymous", "--subscriptions"]);
    let place = Place::of(&hub);
    let _stream = hub.subscribe(&[("match", "urn:a")]);
    eventually("the subscription is announced", || place.show()["announcements"]["events"] == 1);
    hub.say("urn:a", "x");
    assert_eq!(place.exported(&[]).len(), 1);
    let lines = place.exported(&["--announcements"]);
    assert_eq!((lines.len(), &lines[0]["announcement"]), (2, &true.into()));
    let other = Place::new();
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(other.ok(&["import", "-"], &input), "imported 1 event; skipped 1 announcement\n");
}

#[test]
fn a_spoilt_byte_is_named_and_what_is_whole_can_be_exported() {
    let mut hub = Hub::anonymous();
    let place = Place::of(&hub);
    for number in 1..=50 {
        hub.say("urn:a", &format!("event {number}"));
    }
    hub.kill();
    let mut bytes = fs::read(place.segment()).expect("the first segment");
    let at = bytes.windows(8).position(|eight| eight == b"event 30").expect("it is there");
    bytes[at] ^= 1;
    fs::write(place.segment(), &bytes).expect("a byte changed");
    let (said, _) = place.fails(&["check"], "");
    let named = "updates-00000000000000000000.log: byte ";
    assert!(said.starts_with(named) && said.contains("events after offset 29 up to 30 are damaged"), "{said}");
    assert!(said.contains("1 problem: 49 events"), "{said}");
    // Mended, but with the half of a batch at its end: that is no problem.
    bytes[at] ^= 1;
    bytes.extend_from_slice(&[1; 50]);
    fs::write(place.segment(), &bytes).expect("bytes appended");
    let Said(code, out, error) = place.run(&["check"], "");
    assert_eq!((code, out.starts_with("sound: 50 events")), (Some(0), true), "{out}{error}");
    assert!(error.contains("the last 50 bytes") && error.contains("no whole batch"), "{error}");
    assert_eq!(place.show()["updates"]["unfinished_bytes"], 50);
    assert_eq!(place.exported(&[]).len(), 50);
}

#[test]
fn what_was_trimmed_is_gone_after_the_next_start_and_the_rest_is_replayed() {
    let mut hub = Hub::anonymous();
    let place = Place::of(&hub);
    let ids: Vec<String> = (1..=30).map(|number| hub.say("urn:a", &format!("event {number}"))).collect();
    assert!(hub.stop().success());
    let said = place.ok(&["trim", "--keep", "10"], "");
    assert!(said.starts_with("dropped 20 events, ") && said.ends_with("left: 10 events\n"), "{said}");
    assert!(place.ok(&["check"], "").starts_with("sound: 10 events"));
    let mut hub = place.hub(&[]);
    let datas = |from: usize| (from..=30).map(|number| format!("event {number}")).collect::<Vec<_>>();
    let data = |events: Vec<Event>| events.into_iter().map(|event| event.data).collect::<Vec<_>>();
    assert_eq!(data(replayed(&hub, "earliest", 10)), datas(21));
    assert_eq!(data(replayed(&hub, &ids[24], 5)), datas(26));
    assert_eq!(data(replayed(&hub, &ids[4], 10)), datas(21), "trimmed: everything that is kept");
    hub.stop();
    assert!(place.ok(&["trim", "--before-id", &ids[27]], "").contains("left: 3 events"));
    assert!(place.ok(&["trim", "--older-than", "1h"], "").contains("dropped 0 events"));
    let mut hub = place.hub(&[]);
    assert_eq!(data(replayed(&hub, "earliest", 3)), datas(28));
    hub.stop();
    assert!(place.ok(&["trim", "--older-than", "0"], "").contains("left: 0 events"));
    let mut stream = place.hub(&[]).subscribe(&[("match", "urn:a"), ("last_event_id", &ids[29])]);
    assert_eq!(stream.last_event_id(), Some(&*ids[29]));
    assert!(stream.try_next().is_none(), "nothing before the hub stops");
}

#[test]
fn what_is_imported_elsewhere_is_served_under_the_same_ids() {
    let mut hub = Hub::anonymous();
    let (place, other) = (Place::of(&hub), Place::new());
    let mut ids = Vec::new();
    for number in 1..=40 {
        let (data, own) = (format!("line {number}\n\nend"), format!("own {number}"));
        let fields = [("topic", "urn:a"), ("data", data.as_str())];
        ids.push(match number % 4 {
            0 => hub.publish(&[&fields[..], &[("id", &own), ("type", "t"), ("retry", "7")]].concat()),
            _ => hub.publish(&fields),
        });
    }
    let before = replayed(&hub, "earliest", 40);
    hub.kill();
    let lines = place.ok(&["export"], "");
    let file = other.0.path().join("backup.jsonl");
    place.ok(&["export", file.to_str().expect("UTF-8")], "");
    assert_eq!(fs::read_to_string(&file).expect("a file"), lines);
    assert_eq!(other.ok(&["import", file.to_str().expect("UTF-8")], ""), "imported 40 events\n");
    assert!(other.ok(&["check"], "").starts_with("sound: 40 events"));
    let times = |place: &Place| place.exported(&[]).iter().map(|line| line["published"].clone()).collect::<Vec<_>>();
    assert_eq!(times(&other), times(&place));
    let hub = other.hub(&[]);
    assert_eq!(replayed(&hub, "earliest", 40), before);
    for place in [0, 3, 17, 38] {
        assert_eq!(replayed(&hub, &ids[place], 1)[0], before[place + 1], "{}", ids[place]);
    }
    hub.say("urn:a", "new");
    assert_eq!(replayed(&hub, &ids[39], 1)[0].data, "new");
}

#[test]
fn a_bad_line_is_named_and_ends_an_import_unless_it_is_to_be_skipped() {
    let lines = "{\"topics\":[\"urn:a\"],\"data\":\"one\"}\n\n{\"topics\":[\"urn:a\"],\"type\":\"mercure\"}\n\
                 {\"topics\":[\"urn:a\"],\"data\":\"three\",\"id\":\"3\"}\nno JSON\n";
    let place = Place::new();
    let (out, error) = place.fails(&["import", "-"], lines);
    assert_eq!(out, "imported 1 event\n");
    assert!(error.contains("line 3: the field type is \"mercure\"") && error.contains("tail -n +3"), "{error}");
    let place = Place::new();
    let (out, error) = place.fails(&["import", "--skip-bad", "-"], lines);
    assert_eq!(out, "imported 2 events; skipped 2 lines that can't be imported\n");
    assert!(error.contains("line 3: ") && error.contains("line 5: not a line of"), "{error}");
    let hub = place.hub(&[]);
    let events = replayed(&hub, "earliest", 2);
    assert_eq!((events[0].data.as_str(), events[1].data.as_str(), events[1].id.as_str()), ("one", "three", "3"));
}

#[test]
fn where_there_is_no_history_that_is_said() {
    let place = Place::new();
    for command in [&["show"][..], &["check"], &["export"], &["trim", "--keep", "1"]] {
        let (_, error) = place.fails(command, "");
        assert!(error.contains("there is no history in") && error.contains("--data"), "{command:?}: {error}");
    }
    assert!(!place.0.path().join("data").exists(), "looking makes nothing");
    let Said(code, ..) = place.run(&["trim"], "");
    assert_eq!(code, Some(2), "what to trim has to be said");
}
