//! A client: reads at one hub, leaves, comes back to another with the id of the last event it had whole.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::audience::Entitlement;
use crate::chance::Chance;
use crate::event_stream::{Came, EventStream};
use crate::harness::query;
use crate::plan::ReaderPlan;
use crate::planted::Defect;
use crate::record::{Chain, Seen};

/// How long it tries to reach the end once all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// What comes last, once that is known.
pub(crate) type Last = std::sync::OnceLock<String>;

/// Reads until the last event has come.
pub(crate) fn read(mut plan: ReaderPlan, hubs: &[SocketAddr], last: &Last) -> Chain {
    let mut chain = Chain {
        entitlement: plan.entitlement.clone(),
        seen: Vec::new(),
        connections: 0,
        unknown: Vec::new(),
        finished: false,
    };
    let mut cursor = "earliest".to_owned();
    let calm = || last.get().is_some();
    let mut since_calm = None;
    let mut defect = plan.defect;
    while !chain.finished {
        if calm() && since_calm.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            break;
        }
        let asks_as = defect.map_or(plan.entitlement.clone(), |defect| defect.asks_as(&plan.entitlement));
        let hub = *plan.chance.one_of(hubs);
        let Some(mut stream) = EventStream::ask(hub, &request(&asks_as, &cursor, &mut plan.chance)) else {
            std::thread::sleep(plan.chance.ms(5..100));
            continue;
        };
        if stream.head.status != 200 {
            assert_eq!(stream.head.status, 503, "{:?}", stream.head);
            std::thread::sleep(plan.chance.ms(20..300));
            continue;
        }
        chain.connections += 1;
        let answered = stream.head.header("mercure-last-event-id").unwrap_or("nothing");
        if answered != cursor {
            chain.unknown.push((cursor.clone(), answered.to_owned()));
        }
        let leaves = Instant::now() + plan.chance.ms(50..plan.stays_ms + 100);
        let leaves_after = if plan.chance.one_in(3) { plan.chance.below(100_000) } else { usize::MAX };
        loop {
            let at_once = if plan.slow && !calm() { 1_000 } else { 1 + plan.chance.below(20_000) };
            match stream.next(at_once) {
                Came::Event(event) => {
                    cursor.clone_from(&event.id);
                    chain.seen.push(event);
                    if Defect::read(&mut defect, &mut chain.seen, &mut cursor) {
                        break;
                    }
                }
                Came::Nothing => {}
                Came::End => break,
            }
            chain.finished = is_finished(&mut chain.seen, last);
            if chain.finished {
                break;
            }
            if since_calm.is_some_and(|since: Instant| since.elapsed() > PATIENCE) {
                break;
            }
            if calm() {
                since_calm.get_or_insert_with(Instant::now);
            } else if Instant::now() > leaves || stream.bytes > leaves_after {
                break;
            } else if plan.slow {
                std::thread::sleep(plan.chance.ms(1..40));
            }
        }
        if plan.chance.one_in(2) {
            stream.slam();
        }
    }
    chain
}

/// The last event may have come before anybody was told that it is the last. What came behind it doesn't count.
fn is_finished(seen: &mut Vec<Seen>, last: &Last) -> bool {
    let Some(place) = last.get().and_then(|last| seen.iter().rposition(|event| event.essence == *last)) else {
        return false;
    };
    seen.truncate(place + 1);
    true
}

/// The whole log, by somebody who may read everything; up to the last event.
pub(crate) fn read_all(hub: SocketAddr, last: &Last, defect: Option<Defect>) -> Chain {
    let plan = ReaderPlan {
        chance: Chance::new(0),
        entitlement: Entitlement::everything(),
        slow: false,
        stays_ms: 60_000,
        defect,
    };
    read(plan, &[hub], last)
}

/// With the cursor in a field or in the query, in HTTP/1.1 or, as proxies do, in 1.0.
fn request(entitlement: &Entitlement, cursor: &str, chance: &mut Chance) -> String {
    let selectors: Vec<(&str, String)> = entitlement.selectors.iter().map(|selector| selector.parameter()).collect();
    let mut parameters: Vec<(&str, &str)> = selectors.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut fields = String::new();
    if chance.one_in(2) {
        fields.push_str(&format!("Last-Event-ID: {cursor}\r\n"));
    } else {
        parameters.push(("last_event_id", cursor));
    }
    if let Some(token) = entitlement.token() {
        fields.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    let version = if chance.one_in(3) { "1.0" } else { "1.1" };
    format!("GET {} HTTP/{version}\r\nHost: hub.example\r\n{fields}\r\n", query(&parameters))
}
