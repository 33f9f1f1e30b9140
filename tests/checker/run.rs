//! A run from its beginning to the record of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::engines::Backend;
use crate::faults;
use crate::plan::{HUBS, LAST, Plan};
use crate::publisher::{Draft, Pen, publish};
use crate::reader::{Last, read, read_all};
use crate::record::{Chain, Fate, Published, Record, essence};

/// What is left when hubs say that they are ready: bytes that were held back and are on their way.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs a plan with servers of its own.
pub(crate) fn run<S: Backend + Send>(plan: &Plan) -> Record {
    let cluster = Cluster::<S>::start();
    let hubs = cluster.addresses();
    let (stop, last) = (AtomicBool::new(false), Last::new());
    let start = Instant::now();
    let (mut published, chains) = std::thread::scope(|scope| {
        // Whatever happens here, nobody waits for the end of it for ever.
        let _stopped = Stopped(&stop, &last);
        let readers: Vec<_> = plan.readers.iter().map(|one| scope.spawn(|| read(one.clone(), &hubs, &last))).collect();
        let publishers: Vec<_> =
            plan.publishers.iter().map(|one| scope.spawn(|| publish(one.clone(), &hubs, &stop))).collect();
        for lane in faults::begin(scope, &cluster, plan) {
            lane.join().expect("faults can be made");
        }
        std::thread::sleep(plan.lasts.saturating_sub(start.elapsed()));
        stop.store(true, Ordering::SeqCst);
        let mut published: Vec<Published> =
            publishers.into_iter().flat_map(|one| one.join().expect("a publisher")).collect();
        cluster.until_ready();
        std::thread::sleep(SETTLE);
        published.extend(publish_last(&hubs, &last));
        let chains = readers.into_iter().map(|one| one.join().expect("a client")).collect();
        (published, chains)
    });
    published.sort_by_key(|update| update.publisher);
    let defect = |hub| plan.log_defect.filter(|_| hub == HUBS - 1);
    let logs: Vec<Chain> = (0..HUBS).map(|hub| read_all(cluster.address(hub), &last, defect(hub))).collect();
    let unread = (0..HUBS).filter(|hub| !logs[*hub].finished).collect();
    let losses = (0..HUBS).map(|hub| cluster.losses(hub)).collect();
    let said = (0..HUBS).map(|hub| cluster.log(hub)).collect();
    Record { published, logs: logs.into_iter().map(|log| log.seen).collect(), unread, chains, losses, said }
}

/// Publishes what everybody waits for, until it is there.
fn publish_last(hubs: &[std::net::SocketAddr], last: &Last) -> Vec<Published> {
    let mut pen = Pen::new(Chance::new(0), hubs);
    let mut published = Vec::new();
    loop {
        let text = format!("the last, try {}", published.len());
        let draft = Draft { topics: vec![LAST.to_owned()], private: false, id: None, text };
        let fate = pen.send(&draft);
        let essence = essence(&draft.text);
        let is_there = fate != Fate::Unknown;
        published.push(draft.noted(usize::MAX, fate));
        if is_there {
            last.set(essence).expect("nobody else says what is the last");
            return published;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Tells everybody to stop when it goes out of scope.
struct Stopped<'a>(&'a AtomicBool, &'a Last);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        let _ = self.1.set("nothing".to_owned());
    }
}
