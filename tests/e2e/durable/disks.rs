//! Disks that are full, read-only or broken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::again;
use crate::harness::*;

/// Status and body of a probe.
fn probe(hub: &Hub, path: &str) -> (u16, String) {
    let socket = hub.data_seen().join("admin.sock");
    let answer = Command::new("curl")
        .args(["-sS", "-w", "%{http_code}", "--unix-socket"])
        .arg(socket)
        .arg(format!("http://localhost{path}"))
        .output()
        .expect("curl runs");
    let text = String::from_utf8(answer.stdout).expect("UTF-8");
    let (body, status) = text.split_at(text.len() - 3);
    (status.parse().expect("a status"), body.to_owned())
}

#[test]
fn on_a_full_disk_publishes_get_507_subscribers_stay_and_it_goes_on_when_there_is_room() {
    let mut hub = Launch::keyed().args(&["--anonymous"]).disk("size=2m").start();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "first");
    let filler = hub.data_seen().join("filler");
    // As much as there is room for.
    let filled = fs::write(&filler, vec![0; 4 << 20]);
    assert!(filled.is_err(), "the disk is full");
    let mut stored = 0;
    let refused = loop {
        let response = hub.post(&publisher(), &[("topic", "urn:a"), ("data", &"x".repeat(3_000))]);
        match response.status {
            200 => stored += 1,
            _ => break response,
        }
    };
    assert_eq!(refused.status, 507, "{refused:?}");
    assert!(refused.text().contains("its disk is full; publish this one again later"), "{}", refused.text());
    let retry: u32 = refused.header("retry-after").expect("when to come again").parse().expect("seconds");
    assert!((1..=5).contains(&retry));
    let (status, body) = probe(&hub, "/health/ready");
    assert!(status == 503 && body.contains("updates can't be stored"), "{status} {body}");
    assert_eq!(probe(&hub, "/health/live").0, 200);
    fs::remove_file(&filler).expect("there is a filler");
    eventually("the hub stores again", || {
        hub.post(&publisher(), &[("topic", "urn:a"), ("data", "last")]).status == 200
    });
    eventually("the hub is ready again", || probe(&hub, "/health/ready").0 == 200);
    let mut received = vec![stream.data()];
    while received.last().is_some_and(|data| data != "last") {
        received.push(stream.data());
    }
    assert_eq!(received.iter().filter(|data| data.starts_with('x')).count(), stored, "what was refused nobody got");
    assert!(hub.log().contains("updates can't be stored") && hub.log().contains("updates are stored again"));
    assert!(hub.stop().success());
}

#[test]
fn announcements_wait_until_there_is_room() {
    const SUBSCRIBERS: usize = 60;
    let hub = Launch::keyed().args(&["--anonymous", "--subscriptions"]).disk("size=2m").start();
    let mut watcher = hub.subscribe_as(&subscriber(), &[("match", "*")]);
    let filler = hub.data_seen().join("filler");
    assert!(fs::write(&filler, vec![0; 4 << 20]).is_err(), "the disk is full");
    let subscribers: Vec<Stream> = (0..SUBSCRIBERS).map(|_| hub.subscribe(&[("match", "urn:b")])).collect();
    eventually("what is announced finds no room", || hub.log().contains("updates can't be stored"));
    fs::remove_file(&filler).expect("there is a filler");
    let mut announced = std::collections::HashSet::new();
    while announced.len() < subscribers.len() {
        let data: serde_json::Value = serde_json::from_str(&watcher.data()).expect("JSON");
        if data["match"] == "urn:b" {
            assert!(announced.insert(data["id"].to_string()), "once each: {data}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_start() {
    // The key is made before.
    let said = Launch::keyed().disk("ro").refused();
    assert!(said.contains("Read-only file system"), "{said}");
}

#[test]
fn history_that_cannot_be_written_is_refused_with_what_to_do() {
    let mut hub = Hub::anonymous();
    hub.say("urn:a", "x");
    hub.kill();
    let history = hub.folder().path().join("data/history");
    // A file where the folder would be: root may write everywhere.
    fs::rename(&history, history.with_extension("old")).expect("it is there");
    fs::write(&history, "").expect("a file");
    let said = again(&hub).refused();
    assert!(said.contains("history in") && said.contains("the folder of the history can't be used"), "{said}");
}

/// A library that makes syncs fail as long as a file is there, to be loaded into the hub before the system's.
fn failing_syncs(folder: &Folder) -> String {
    let source = folder.write(
        "sync.c",
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <errno.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         int fdatasync(int fd) {\n  static int (*real)(int);\n  if (!real) real = dlsym(RTLD_NEXT, \"fdatasync\");\n\
         \x20 if (access(getenv(\"SYNCS_FAIL\"), F_OK) == 0) { errno = EIO; return -1; }\n  return real(fd);\n}\n",
    );
    let library = folder.path().join("sync.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    assert!(made.expect("cc, which rustc links with, is there").success());
    library.to_str().expect("UTF-8").to_owned()
}

#[test]
fn after_a_failing_sync_nothing_is_stored_until_another_start_and_subscribers_stay() {
    let helper = Folder::new();
    let (library, switch) = (failing_syncs(&helper), helper.path().join("fail"));
    let mut hub = Launch::keyed()
        .args(&["--anonymous", "--heartbeat", "1s"])
        .env("LD_PRELOAD", &library)
        .env("SYNCS_FAIL", switch.to_str().expect("UTF-8"))
        .start();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "first");
    fs::write(&switch, "").expect("a file");
    for attempt in 0..3 {
        if attempt == 1 {
            // A sync that succeeds says nothing about the one that failed.
            fs::remove_file(&switch).expect("it is there");
        }
        let refused = hub.post(&publisher(), &[("topic", "urn:a"), ("data", "lost")]);
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.text().contains("restart it"), "{}", refused.text());
    }
    let (status, body) = probe(&hub, "/health/ready");
    assert!(status == 503 && body.contains("a sync of history failed"), "{status} {body}");
    assert_eq!(probe(&hub, "/health/live").0, 200);
    assert_eq!(stream.data(), "first");
    // The stream is kept.
    stream.comment();
    // What can be read is read.
    assert_eq!(hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]).data(), "first");
    hub.kill();
    let hub = again(&hub).start();
    hub.say("urn:a", "second");
    let found = super::everything(&hub, "urn:a", "second");
    assert!(
        found.first().is_some_and(|first| first == "first") && found.iter().filter(|data| *data == "lost").count() <= 1
    );
}

#[test]
fn bytes_are_bounded_on_the_disk() {
    let hub = Hub::start(&["--anonymous", "--history-max-bytes", "512KiB"]);
    let mut client = hub.connect();
    let headers = [("Authorization", &*format!("Bearer {}", publisher()))];
    for n in 0..3_000 {
        client.post(&headers, form(&[("topic", "urn:a"), ("data", &format!("{n} {}", "x".repeat(1_000)))]).as_bytes());
        assert_eq!(client.response("POST").status, 200);
    }
    let history = hub.folder().path().join("data/history");
    eventually("what is too much is given back", || {
        let files = fs::read_dir(&history).expect("a folder").flatten();
        let bytes: u64 = files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum();
        bytes < 600 << 10
    });
    let first = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]).data();
    let first: usize = first.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!((2_400..2_800).contains(&first), "{first}");
}

#[test]
fn files_are_for_their_owner_alone() {
    let hub = Hub::anonymous();
    hub.say("urn:a", "x");
    let history = hub.folder().path().join("data/history");
    assert_eq!(fs::metadata(&history).expect("it is there").permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(&history).expect("a folder").flatten() {
        let mode = file.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
}
