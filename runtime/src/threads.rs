//! The one file that knows threads.
//!
//! A [`Team`] owns a piece of state `S` and runs a function on it inside a rayon pool of its own,
//! again and again, without allocating. Handing work to a pool from outside goes through a queue that
//! allocates now and then; so one of the pool's threads, the *driver*, does nothing else than
//! wait for the state, which moves to it and back through a slot:
//!
//! ```text
//! caller   state ─► slot, wake driver, sleep          ...           wake, slot ─► state
//! driver            wake, slot ─► state, work(&mut state, ...) , state ─► slot, wake caller
//! ```
//!
//! `work` splits itself by recursion over [`rayon::join`], which keeps its jobs on
//! the stack. With one thread there is no pool and no driver: `work` runs on the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A function that works on the state inside the pool.
pub type Work<S> = fn(&mut S);

/// A pool of threads with the state that they work on.
pub struct Team<S> {
    threads: usize,
    /// The state while nobody works on it. `None` only after a panic in `work`.
    state: Option<S>,
    driver: Option<Driver<S>>,
}

struct Driver<S> {
    slot: Arc<Slot<S>>,
    /// `None` only while dropping.
    pool: Option<rayon::ThreadPool>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

struct Slot<S> {
    message: Mutex<Message<S>>,
    changed: Condvar,
}

enum Message<S> {
    Empty,
    Work(S, Work<S>),
    Done(S),
    Panicked,
    Quit,
}

/// Threads for a session: `requested`, or as many as the system offers if that is 0.
pub fn thread_count(requested: usize) -> usize {
    if requested > 0 { requested } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// Index of the pool's thread that runs the caller: 0 outside a pool.
pub fn thread_index() -> usize {
    rayon::current_thread_index().unwrap_or(0)
}

impl<S: Send + 'static> Team<S> {
    /// Starts `threads` threads (at least 1) around the state.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(threads: usize, state: S) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let driver = if threads == 1 { None } else { Some(Driver::start(threads)?) };
        Ok(Self { threads, state: Some(state), driver })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The state, `None` after a panic.
    pub fn state(&self) -> Option<&S> {
        self.state.as_ref()
    }

    /// The state, `None` after a panic.
    pub fn state_mut(&mut self) -> Option<&mut S> {
        self.state.as_mut()
    }

    /// Runs `work` on the state in the pool and waits for it. Returns whether it came back without a
    /// panic; after one the team is of no more use.
    pub fn run(&mut self, work: Work<S>) -> bool {
        let Some(mut state) = self.state.take() else {
            return false;
        };
        self.state = match &self.driver {
            Some(driver) => driver.run(state, work),
            None => catch_unwind(AssertUnwindSafe(|| work(&mut state))).ok().map(|()| state),
        };
        self.state.is_some()
    }
}

impl<S: Send + 'static> Driver<S> {
    fn start(threads: usize) -> std::io::Result<Self> {
        let mut handles = Vec::with_capacity(threads);
        // Threads of our own making, to wait for their end: a pool that is dropped does not. A
        // thread that joined the pool by `use_current_thread` would leak its part of it.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .spawn_handler(|thread| {
                let name = format!("ylb-{}", thread.index());
                handles.push(std::thread::Builder::new().name(name).spawn(|| thread.run())?);
                Ok(())
            })
            .build()
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        // A thread allocates when it first looks for work: better now than during a frame.
        pool.broadcast(|_| ());
        let slot = Arc::new(Slot { message: Mutex::new(Message::Empty), changed: Condvar::new() });
        let driver_slot = Arc::clone(&slot);
        pool.spawn(move || driver_slot.drive());
        Ok(Self { slot, pool: Some(pool), handles })
    }

    fn run(&self, state: S, work: Work<S>) -> Option<S> {
        let mut message = self.slot.lock();
        *message = Message::Work(state, work);
        self.slot.changed.notify_all();
        loop {
            match std::mem::replace(&mut *message, Message::Empty) {
                Message::Done(state) => return Some(state),
                Message::Panicked => return None,
                pending => *message = pending,
            }
            message = self.slot.changed.wait(message).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<S> Slot<S> {
    fn lock(&self) -> MutexGuard<'_, Message<S>> {
        // Nothing panics while the lock is held; and a message is whole at any time.
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self) {
        let mut message = self.lock();
        loop {
            match std::mem::replace(&mut *message, Message::Empty) {
                Message::Work(mut state, work) => {
                    drop(message);
                    let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut state)));
                    message = self.lock();
                    *message = match outcome {
                        Ok(()) => Message::Done(state),
                        Err(_) => Message::Panicked,
                    };
                    self.changed.notify_all();
                }
                Message::Quit => return,
                other => *message = other,
            }
            message = self.changed.wait(message).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        *self.slot.lock() = Message::Quit;
        self.slot.changed.notify_all();
        // Dropping the pool ends its threads, once the driver is back.
        drop(self.pool.take());
        for handle in self.handles.drain(..) {
            // The driver catches panics of the work; a thread's end has nothing to report.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_in_a_pool_of_the_wanted_size() {
        for threads in [1, 2, 5] {
            let mut team = Team::new(threads, 0).expect("threads");
            for _ in 0..100 {
                assert!(team.run(|state| *state += rayon::current_num_threads()));
            }
            let expected = if threads == 1 { rayon::current_num_threads() } else { threads };
            assert_eq!(team.state(), Some(&(100 * expected)));
        }
    }

    #[test]
    fn many_teams_live_side_by_side() {
        let mut teams: Vec<Team<usize>> = (0..4).map(|_| Team::new(3, 0).expect("threads")).collect();
        for _ in 0..10 {
            teams.iter_mut().for_each(|team| assert!(team.run(|state| *state += 1)));
        }
        assert!(teams.iter().all(|team| team.state() == Some(&10)));
    }

    #[test]
    fn a_panic_is_reported_and_not_passed_on() {
        for threads in [1, 2] {
            let mut team = Team::new(threads, ()).expect("threads");
            assert!(!team.run(|()| panic!("expected by this test")));
            assert!(team.state().is_none());
            assert!(!team.run(|()| ()));
        }
    }
}
