//! Crash tests by reconstruction: a run is ended at each of its changes to the folder, the folder is rebuilt as the disk may have
//! it, and opened. What was acknowledged must be there, in order and whole; what was not is there whole or not at all.

use std::collections::HashMap;

use super::*;

/// What a run was told, and what it tried.
#[derive(Default)]
struct Run {
    /// Acknowledged, by offset.
    acknowledged: HashMap<u64, Arc<Event>>,
    /// The commit that was under way at the end: event stream by offset.
    attempted: Vec<Arc<Event>>,
    /// The newest offset that anybody may have seen.
    seen: u64,
    dropped: u64,
}

impl Run {
    /// Commits, keeps order, and starts anew, until the folder ends or so many steps are done.
    fn go(&mut self, folder: &Folder, options: FileOptions, random: &mut Random, steps: usize) {
        let Ok(mut hub) = Hub::try_open(folder, options) else {
            assert!(folder.has_ended(), "only a loss of power keeps it from being opened");
            return;
        };
        assert!(hub.log.head() >= self.seen, "an offset that was seen is never given again");
        for step in 0..steps {
            let drafts: Vec<Draft> = (0..1 + random.below(5))
                .map(|_| match random.below(4) {
                    0 => draft(Some(&format!("id-{}", random.below(20))), random.below(200)),
                    1 if options.retention.events_max > 40 => announcement(),
                    _ => draft(None, random.below(300)),
                })
                .collect();
            let (events, result) = self.commit(&mut hub, drafts, step as u64);
            for event in events {
                self.seen = event.offset;
                self.acknowledged.insert(event.offset, event);
            }
            if result.is_err() {
                assert!(folder.has_ended());
                return;
            }
            self.attempted.clear();
            match random.below(12) {
                0 => hub.history.keep(step as u64),
                1 => _ = hub.writer.tidy(),
                _ => {}
            }
            self.dropped = self.dropped.max(hub.history.bounds().0 - 1);
            if random.chance(20) {
                hub = match Hub::try_open(folder, options) {
                    Ok(hub) => hub,
                    Err(_) => return assert!(folder.has_ended()),
                };
            }
        }
    }

    fn commit(&mut self, hub: &mut Hub, drafts: Vec<Draft>, now_ms: u64) -> (Vec<Arc<Event>>, Result<(), AppendError>) {
        let after = hub.log.head();
        let events: Vec<Arc<Event>> = drafts.into_iter().map(|draft| hub.log.append(draft, now_ms)).collect();
        self.attempted = events.clone();
        let (appended, result) = hub.writer.append(&events, now_ms);
        hub.log.retract(after + appended as u64);
        (events[..appended].to_vec(), result)
    }

    /// Looks into a rebuilt folder.
    fn check(&self, folder: &Folder, options: FileOptions, what: &str) {
        let hub = Hub::open(folder, options);
        assert!(hub.log.head() >= self.seen, "{what}: acknowledged offsets are given again");
        let found = hub.everything();
        assert!(found.is_sorted_by(|one, next| one.offset < next.offset), "{what}: in order");
        let by_offset: HashMap<u64, &Arc<Event>> = found.iter().map(|event| (event.offset, event)).collect();
        let [updates, announcements] =
            [&hub.history.updates, &hub.history.announcements].map(|log| log.segments().dropped);
        for (offset, event) in &self.acknowledged {
            let dropped = if event.announcement { announcements } else { updates };
            match by_offset.get(offset) {
                Some(found) => {
                    assert_eq!((found.frame.plain(), &found.topics), (event.frame.plain(), &event.topics), "{what}")
                }
                None => assert!(
                    *offset <= dropped && self.may_be_dropped(*offset, event, &options),
                    "{what}: {offset} is lost"
                ),
            }
        }
        // One commit was under way: of each of its batches all or nothing.
        for batch in self.attempted.chunk_by(|one, next| one.announcement == next.announcement) {
            let there = batch.iter().filter(|event| {
                by_offset.get(&event.offset).is_some_and(|found| found.frame.plain() == event.frame.plain())
            });
            let (there, all) = (there.count(), batch.len());
            let dropped = if batch[0].announcement { announcements } else { updates };
            assert!(there == 0 || there == all || batch[0].offset <= dropped, "{what}: {there} of {all} in a batch");
        }
        let tried = |event: &Event| self.attempted.iter().any(|one| one.frame.plain() == event.frame.plain());
        for event in &found {
            assert!(
                self.acknowledged.contains_key(&event.offset) || tried(event),
                "{what}: nobody published {event:?}"
            );
            if !event.id_given {
                assert_eq!(
                    hub.history.find(event.id(), false),
                    if event.offset >= updates { Found::At(event.offset) } else { Found::Earliest }
                );
            }
        }
    }

    /// Whether the bounds say that it may be gone.
    fn may_be_dropped(&self, offset: u64, event: &Event, options: &FileOptions) -> bool {
        let share = if event.announcement { ANNOUNCEMENTS_SHARE } else { 1 };
        let later = |other: &&Arc<Event>| other.offset >= offset && other.announcement == event.announcement;
        let mut later: Vec<&Arc<Event>> = self.acknowledged.values().filter(later).collect();
        later.extend(self.attempted.iter().filter(|other| other.announcement == event.announcement));
        // A segment is dropped as a whole; it is an eighth at most, or what a batch takes.
        let bytes: usize = later.iter().map(|event| event.frame.plain().len() + 150).sum();
        later.len() > options.retention.events_max / share || bytes > options.retention.bytes_max / share / 2
    }
}

fn small(durability: Durability) -> FileOptions {
    FileOptions { durability, ..options(60, 48 << 10, None) }
}

/// Every change of a run is where the power goes once.
fn at_every_change(
    seed: u64,
    steps: usize,
    options: FileOptions,
    rebuild: impl Fn(&Folder, &mut Random) -> Folder,
) -> usize {
    let whole = Folder::default();
    Run::default().go(&whole, options, &mut Random(seed), steps);
    let changes = whole.changes();
    for end in 0..changes {
        let folder = Folder::default();
        folder.end_after(end);
        let mut run = Run::default();
        run.go(&folder, options, &mut Random(seed), steps);
        assert!(folder.has_ended());
        for again in 0..3 {
            let mut random = Random(seed ^ (end as u64) << 8 ^ again << 32);
            let what = format!("seed {seed}, ended at change {end}, rebuilt {again}");
            let rebuilt = rebuild(&folder, &mut random);
            // Opening may be interrupted, too.
            if again == 2 {
                rebuilt.end_after(random.below(8));
                let _ = Hub::try_open(&rebuilt, options);
                let rebuilt = rebuild(&rebuilt, &mut random);
                run.check(&rebuilt, options, &what);
                continue;
            }
            run.check(&rebuilt, options, &what);
        }
    }
    changes
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_any_moment() {
    let mut changes = 0;
    for seed in 0..12 {
        changes += at_every_change(seed, 40, small(Durability::Fsync), Folder::after_power_loss);
    }
    assert!(changes > 1_000, "{changes} moments");
}

#[test]
fn what_was_acknowledged_survives_the_end_of_the_process_at_any_moment() {
    for (seed, durability) in [(100, Durability::Written), (101, Durability::Written), (102, Durability::Fsync)] {
        at_every_change(seed, 60, small(durability), |folder, _| folder.after_kill());
    }
}

/// What was only written may be lost with the power, but never so that there is a hole or half a batch.
#[test]
fn a_loss_of_power_costs_the_newest_events_at_most_where_nothing_is_synced() {
    for seed in 200..220 {
        let mut random = Random(seed);
        let folder = Folder::default();
        let options = small(Durability::Written);
        let mut run = Run::default();
        run.go(&folder, options, &mut random, 80);
        let hub = Hub::open(&folder.after_power_loss(&mut random), options);
        let found = hub.everything();
        for event in &found {
            assert_eq!(run.acknowledged[&event.offset].frame.plain(), event.frame.plain());
        }
        let updates: Vec<u64> = found.iter().filter(|event| !event.announcement).map(|event| event.offset).collect();
        let published = |offset: &u64| run.acknowledged.get(offset).is_some_and(|event| !event.announcement);
        if let [first, .., last] = updates[..] {
            assert!((first..=last).filter(published).eq(updates.iter().copied()), "seed {seed}: a hole");
        }
        // Seen: the end of a full segment was lost, and with it everything before the next one.
        let whole = Hub::open(&folder.after_kill(), options);
        whole.history.drop_old(0).unwrap();
        let segments = whole.history.updates.segments();
        let full = segments.dropped + 1..=segments.active.index.summary.after;
        assert!(full.filter(published).all(|offset| updates.contains(&offset)), "seed {seed}: more than the newest");
    }
}

/// The checks above can fail.
#[test]
fn a_batch_that_is_lost_is_noticed() {
    let folder = Folder::default();
    let options = small(Durability::Fsync);
    let mut run = Run::default();
    run.go(&folder, options, &mut Random(1), 3);
    let name = segment::name(UPDATES, 0);
    folder.spoil(&name, folder.length_of(&name) - 1);
    let noticed = std::panic::catch_unwind(|| run.check(&folder.after_kill(), options, "spoilt"));
    assert!(noticed.is_err());
}
