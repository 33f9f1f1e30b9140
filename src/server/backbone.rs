//! The backbone: one thread with a tokio runtime, for everything that talks to the outside and isn't in a hurry – the
//! admin listener, key sets, exporters. No shard and no sequencer ever waits for it.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Threads for calls that block (look-ups of names, files), at most.
const BLOCKING_THREADS_MAX: usize = 16;

/// The thread and the way to its runtime.
pub(crate) struct Backbone {
    runtime: Handle,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Backbone {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start() -> io::Result<Backbone> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build()?;
        let handle = runtime.handle().clone();
        let (stop, mut stopped) = watch::channel(false);
        let thread = thread::Builder::new().name("backbone".to_owned()).spawn(move || {
            // An error means that nobody can ask for a stop any more.
            let _ = runtime.block_on(stopped.wait_for(|stop| *stop));
            // What blocks is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Backbone { runtime: handle, stop, thread })
    }

    /// Where tasks are spawned.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a task until it ends or the hub does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Drops every task; the thread ends.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.send_replace(true);
        self.thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_until_the_hub_stops() {
        let backbone = Backbone::start().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let endless = sender.clone();
        backbone.spawn(async move { sender.send(1).unwrap() });
        backbone.spawn(async move {
            std::future::pending::<()>().await;
            drop(endless);
        });
        assert_eq!(receiver.recv(), Ok(1));
        backbone.stop().join().unwrap();
        assert!(receiver.recv().is_err(), "what was still running is gone");
    }
}
