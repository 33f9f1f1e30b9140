//! What history in files costs: appending, opening, finding, reading, and the memory it takes.
//!
//!     cargo bench --bench history [-- EVENTS]
//!
//! Every figure stands beside what bounds it, measured in the same run: the disk's own syncs, history in memory. The folder is made
//! below target/ and removed at the end; with the 5,000,000 events it has unless told otherwise it takes 2 GB. To have cold files the page cache is
//! emptied, which takes root; without it the files alone are dropped from it.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use cinnabar::history::{Disk, Durability, FileHistory, FileOptions, FileWriter, MemoryHistory, Opened, Retention};
use cinnabar::hub::{Draft, Event, Found, Gone, Log, Range, Reader};
use cinnabar::protocol::coding::Codings;
use cinnabar::protocol::event_id::IdCipher;
use cinnabar::protocol::topic::Topic;
use cinnabar::protocol::update::Update;

const EVENTS: u64 = 5_000_000;
const BATCH: usize = 64;
const DATA_BYTES: usize = 200;
const PAIRS: usize = 5;
/// One event in so many has an id of its publisher's.
const GIVEN: u64 = 4;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some("write-until-killed") {
        write_until_killed(Path::new(&arguments.next().expect("a folder")));
    }
    let events = first.map_or(EVENTS, |count| count.parse().expect("a number of events"));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("target/history-{}", std::process::id()));
    fs::create_dir_all(&root).expect("target/ can be written");
    println!(
        "\n{events} events of {DATA_BYTES} bytes of data, every {GIVEN}th with a publisher's id, batches of {BATCH}\n"
    );
    println!("| what | figure | beside |\n|---|---|---|");
    appends(&root);
    let folder = root.join("large");
    fill(&folder, events);
    opens(&folder, events);
    finds(&folder, events);
    reads(&folder, events);
    fs::remove_dir_all(&root).expect("it was made here");
}

fn row(what: &str, figure: &str, beside: &str) {
    println!("| {what} | {figure} | {beside} |");
    std::io::stdout().flush().expect("somebody reads");
}

fn options(durability: Durability) -> FileOptions {
    let retention = Retention { events_max: usize::MAX, bytes_max: 1 << 50, age_max_ms: None };
    FileOptions { retention, durability, codings: Codings::default() }
}

fn cipher() -> IdCipher {
    IdCipher::new([7; 32])
}

fn open(folder: &Path, durability: Durability) -> Opened<Disk> {
    let disk = Disk::open(folder).expect("a folder");
    FileHistory::open(disk, options(durability), cipher(), [1, 2, 3]).expect("it can be opened")
}

fn drafts(first: u64) -> Vec<Draft> {
    let draft = |number: u64| {
        Draft::new(Update {
            topics: vec![Topic::of_hub("https://app.example/rooms/7/messages")],
            data: "x".repeat(DATA_BYTES),
            private: false,
            id: number.is_multiple_of(GIVEN).then(|| format!("order-{number}")),
            event_type: None,
            retry: None,
        })
    };
    (first..first + BATCH as u64).map(draft).collect()
}

fn place(log: &mut Log) -> Vec<Arc<Event>> {
    let first = log.head() + 1;
    drafts(first).into_iter().map(|draft| log.append(draft, 0)).collect()
}

/// Appends for a while: events per second, without what it takes to make them.
fn rate(log: &mut Log, mut append: impl FnMut(&[Arc<Event>])) -> f64 {
    let (mut spent, mut events) = (Duration::ZERO, 0);
    while spent < Duration::from_millis(700) {
        let batch = place(log);
        let begun = Instant::now();
        append(&batch);
        spent += begun.elapsed();
        events += batch.len();
    }
    events as f64 / spent.as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn thousands(rate: f64) -> String {
    format!("{:.0},000/s", rate / 1_000.0)
}

/// Bare syncs of as many bytes as a batch has.
fn syncs_per_s(root: &Path) -> f64 {
    let file = File::create(root.join("bare")).expect("a file");
    let bytes = vec![7; BATCH * 330];
    let (begun, mut syncs) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_millis(700) {
        file.write_all_at(&bytes, syncs * bytes.len() as u64).expect("it is written");
        file.sync_data().expect("it is synced");
        syncs += 1;
    }
    syncs as f64 / begun.elapsed().as_secs_f64()
}

fn appends(root: &Path) {
    let (mut bare, mut synced, mut written, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        bare.push(syncs_per_s(root));
        for (durability, rates) in [(Durability::Fsync, &mut synced), (Durability::Written, &mut written)] {
            let folder = root.join(format!("{durability:?}-{pair}"));
            let Opened { mut writer, history, mut log, .. } = open(&folder, durability);
            let mut batches = 0;
            rates.push(rate(&mut log, |events| {
                append(&mut writer, events);
                batches += 1;
                if batches % 512 == 0 {
                    history.keep(0);
                }
            }));
            fs::remove_dir_all(folder).expect("it was made here");
        }
        let mut log = Log::new(1, 0, cipher());
        let retention = Retention { events_max: 100_000, bytes_max: 256 << 20, age_max_ms: None };
        let mut history = MemoryHistory::new(retention, log.locator());
        memory.push(rate(&mut log, |events| history.append(events, 0)));
    }
    let (bare, synced, written, memory) = (median(bare), median(synced), median(written), median(memory));
    let of_bare = format!("{bare:.0} bare syncs/s of {BATCH} events: {:.2}", synced / (bare * BATCH as f64));
    row("append, synced", &thousands(synced), &of_bare);
    row("append, written", &thousands(written), &format!("in memory {}: {:.2}", thousands(memory), written / memory));
}

fn append(writer: &mut FileWriter<Disk>, events: &[Arc<Event>]) {
    let (appended, result) = writer.append(events, 0);
    result.expect("there is room");
    assert_eq!(appended, events.len());
}

fn fill(folder: &Path, events: u64) {
    let Opened { mut writer, history, mut log, .. } = open(folder, Durability::Written);
    while log.head() < events {
        append(&mut writer, &place(&mut log));
        if log.head().is_multiple_of(64_000) {
            history.keep(0);
        }
    }
    history.keep(0);
    let bytes: u64 = history.bytes().iter().sum();
    row("folder", &format!("{:.2} GB in {} files", bytes as f64 / 1e9, files(folder).count()), "");
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path())
}

/// What the child does that is killed.
fn write_until_killed(folder: &Path) -> ! {
    let Opened { mut writer, history, mut log, .. } = open(folder, Durability::Fsync);
    loop {
        append(&mut writer, &place(&mut log));
        if log.head().is_multiple_of(6_400) {
            history.keep(0);
        }
    }
}

/// Empties the page cache, or drops what it has of the folder.
fn cool(folder: &Path) -> &'static str {
    let _ = Command::new("sync").status();
    if fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
        return "page cache emptied";
    }
    for path in files(folder) {
        let _ = Command::new("dd").args(["iflag=nocache", "count=0"]).arg(format!("if={}", path.display())).status();
    }
    "files dropped from the page cache"
}

fn opens(folder: &Path, events: u64) {
    let open_ms = |folder: &Path| {
        let begun = Instant::now();
        let opened = open(folder, Durability::Fsync);
        let spent = begun.elapsed();
        assert!(opened.log.head() >= events && opened.newest.is_some());
        spent.as_secs_f64() * 1e3
    };
    let mut how = "";
    let cold: Vec<f64> = (0..PAIRS)
        .map(|_| {
            how = cool(folder);
            open_ms(folder)
        })
        .collect();
    let warm: Vec<f64> = (0..PAIRS).map(|_| open_ms(folder)).collect();
    row("open, cold", &format!("{:.0} ms", median(cold)), &format!("{how}; warm {:.0} ms", median(warm)));
    let killed: Vec<f64> = (0..PAIRS)
        .map(|_| {
            let mut child = Command::new(std::env::current_exe().expect("this program"))
                .arg("write-until-killed")
                .arg(folder)
                .stdin(Stdio::null())
                .spawn()
                .expect("it starts");
            std::thread::sleep(Duration::from_millis(1_500));
            child.kill().and_then(|()| child.wait()).expect("it was there");
            how = cool(folder);
            open_ms(folder)
        })
        .collect();
    row("open, cold, after kill -9 in the midst of appending", &format!("{:.0} ms", median(killed)), how);
}

fn rss_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("a process has a status");
    let kb =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kb.expect("it has memory") / 1e3
}

fn finds(folder: &Path, events: u64) {
    let before = rss_mb();
    let Opened { history, .. } = open(folder, Durability::Fsync);
    let place = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (events / GIVEN);
    let each_us = |count: u64, find: &dyn Fn(u64)| {
        let begun = Instant::now();
        (0..count).for_each(find);
        begun.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    let given = |number: u64| {
        let offset = (place(number) + 1) * GIVEN;
        assert_eq!(history.find(&format!("order-{offset}"), false), Found::At(offset));
    };
    let missing = |number: u64| assert_eq!(history.find(&format!("nobody-{number}"), false), Found::Unknown);
    let first = each_us(2_000, &given);
    let (hit, miss) = (each_us(2_000, &given), each_us(20_000, &missing));
    row(
        "find a publisher's id",
        &format!("{hit:.0} µs"),
        &format!("the first 2,000: {first:.0} µs; one nobody gave: {miss:.1} µs"),
    );
    row("memory after opening and 24,000 look-ups", &format!("{:.0} MB", rss_mb()), &format!("{before:.0} MB before"));
}

fn reads(folder: &Path, events: u64) {
    let Opened { history, .. } = open(folder, Durability::Fsync);
    let count_max = events.min(1_000_000);
    let read = |reader: &dyn Fn(u64) -> Vec<Arc<Event>>| {
        let (begun, mut after, mut count) = (Instant::now(), 0, 0);
        while count < count_max {
            let events = reader(after);
            after = events.last().expect("there is more").offset;
            count += events.len() as u64;
        }
        count as f64 / begun.elapsed().as_secs_f64()
    };
    let mut log = Log::new(1, 0, cipher());
    let retention = Retention { events_max: usize::MAX, bytes_max: 1 << 40, age_max_ms: None };
    let mut memory = MemoryHistory::new(retention, log.locator());
    while log.head() < count_max {
        memory.append(&place(&mut log), 0);
    }
    let memory = RwLock::new(memory);
    let range = |after| Range { after, forgiven: Gone::default(), announcements: false, count: 256 };
    let (mut files, mut in_memory) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        files.push(read(&|after| history.range(range(after)).expect("it can be read")));
        in_memory.push(read(&|after| memory.range(range(after)).expect("it can be read")));
    }
    let (files, in_memory) = (median(files), median(in_memory));
    row("read in order, warm, one reader", &thousands(files), &format!("in memory {}", thousands(in_memory)));
}
