//! Makes things break, and mends them.

use std::thread::{Scope, sleep};

use crate::cluster::Cluster;
use crate::engines::Backend;
use crate::plan::{EngineFault, LinkFault, Plan};
use crate::proxy::Mode;

/// Begins all three lanes. When they have ended, everything runs and is connected again.
pub(crate) fn begin<'scope, S: Backend + Send>(
    scope: &'scope Scope<'scope, '_>,
    cluster: &'scope Cluster<S>,
    plan: &'scope Plan,
) -> Vec<std::thread::ScopedJoinHandle<'scope, ()>> {
    let engine = scope.spawn(|| {
        for (after, fault) in &plan.engine {
            sleep(*after);
            break_engine(cluster, *fault);
        }
    });
    let links = scope.spawn(|| {
        for (after, hub, fault) in &plan.links {
            sleep(*after);
            break_link(cluster, *hub, *fault);
        }
    });
    let hubs = scope.spawn(|| {
        for (after, fault) in &plan.hubs {
            sleep(*after);
            cluster.kill_hub(fault.hub);
            sleep(fault.down);
            cluster.start_hub(fault.hub);
        }
    });
    vec![engine, links, hubs]
}

fn break_engine<S: Backend>(cluster: &Cluster<S>, fault: EngineFault) {
    match fault {
        EngineFault::Kill { down } => {
            cluster.server().daemon().kill();
            sleep(down);
            cluster.server().daemon().run();
        }
        EngineFault::Pause { lasts } => {
            cluster.server().pause();
            sleep(lasts);
            cluster.server().resume();
        }
    }
}

fn break_link<S: Backend>(cluster: &Cluster<S>, hub: usize, fault: LinkFault) {
    let proxy = cluster.proxy(hub);
    match fault {
        LinkFault::Cut => proxy.cut(),
        LinkFault::Refuse { lasts } => {
            proxy.set(Mode::Refusing);
            proxy.cut();
            sleep(lasts);
        }
        LinkFault::Silence { lasts, then_cut } => {
            proxy.set(Mode::Silent);
            sleep(lasts);
            if then_cut {
                proxy.cut();
            }
        }
        LinkFault::LoseAnswers { lasts } => {
            proxy.set(Mode::Unanswered);
            sleep(lasts);
            proxy.cut();
        }
    }
    // What was held back of connections that are cut must not slip through.
    sleep(std::time::Duration::from_millis(30));
    proxy.set(Mode::Open);
}
