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
//! `work` splits itself by recursion over [`join`], which keeps its jobs on the stack. With one thread there is no
//! pool and no driver: `work` runs on the caller.
//!
//! A thread of rayon's that finds no job sleeps at once, and takes tens of microseconds to wake: as long as a whole
//! layer of a small network. So the other threads of the pool, the *attendants*, look for jobs without a pause
//! from the beginning of the work to its end, and whoever waits for a job waits awake. Only one that waits long sleeps:
//! somebody else wants the processor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Times that a thread looks for a job before it sleeps: some 50 microseconds.
const TRIES: u32 = 1000;
/// How long an attendant then sleeps.
const NAP: Duration = Duration::from_micros(50);

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
    /// The process that the threads are of.
    process: u32,
    slot: Arc<Slot<S>>,
    /// `None` only while dropping.
    pool: Option<rayon::ThreadPool>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

struct Slot<S> {
    message: Mutex<Message<S>>,
    changed: Condvar,
    /// Whether there may be jobs.
    working: AtomicBool,
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

/// Runs both, `right` by another thread of the pool if one is free, as [`rayon::join`] does.
pub fn join(left: impl FnOnce() + Send, right: impl FnOnce() + Send) {
    const TAKEN: u8 = 1;
    const DONE: u8 = 2;
    let state = AtomicU8::new(0);
    let left = || {
        left();
        // Once this returns, rayon waits, asleep.
        let mut tries = 0;
        while state.load(Ordering::Acquire) == TAKEN && tries < TRIES {
            if !run_a_job() {
                tries += 1;
                std::hint::spin_loop();
            }
        }
    };
    let right = || {
        state.store(TAKEN, Ordering::Release);
        right();
        state.store(DONE, Ordering::Release);
    };
    rayon::join(left, right);
}

/// Runs a job of the calling thread's pool; `false` if there is none.
fn run_a_job() -> bool {
    rayon::yield_now() == Some(rayon::Yield::Executed)
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

    /// Whether this process is a fork of the one that the threads are of: they are not here.
    pub fn is_forked(&self) -> bool {
        self.driver.as_ref().is_some_and(Driver::is_forked)
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
    /// panic; after one the team is of no more use. If the team [is forked](Self::is_forked), this waits
    /// for ever.
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
        let slot = Slot {
            message: Mutex::new(Message::Empty),
            changed: Condvar::new(),
            working: AtomicBool::new(false),
        };
        let slot = Arc::new(slot);
        // One for each thread: none goes on, and might take another of these jobs, before all have theirs.
        let ready = Arc::new(Barrier::new(threads + 1));
        for number in 0..threads {
            let (slot, ready) = (Arc::clone(&slot), Arc::clone(&ready));
            pool.spawn(move || {
                ready.wait();
                if number == 0 { slot.drive() } else { slot.attend() }
            });
        }
        ready.wait();
        Ok(Self { process: std::process::id(), slot, pool: Some(pool), handles })
    }

    fn run(&self, state: S, work: Work<S>) -> Option<S> {
        let mut message = self.slot.lock();
        *message = Message::Work(state, work);
        self.slot.working.store(true, Ordering::Release);
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

impl<S> Driver<S> {
    fn is_forked(&self) -> bool {
        self.process != std::process::id()
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
                    self.working.store(false, Ordering::Release);
                    message = self.lock();
                    *message = match outcome {
                        Ok(()) => Message::Done(state),
                        Err(_) => Message::Panicked,
                    };
                    self.changed.notify_all();
                }
                Message::Quit => {
                    *message = Message::Quit;
                    return;
                }
                other => *message = other,
            }
            message = self.changed.wait(message).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<S> Slot<S> {
    /// An attendant's life.
    fn attend(&self) {
        loop {
            let mut tries = 0;
            while self.working.load(Ordering::Acquire) {
                match (run_a_job(), tries < TRIES) {
                    (true, _) => tries = 0,
                    (false, true) => {
                        tries += 1;
                        std::hint::spin_loop();
                    }
                    (false, false) => std::thread::sleep(NAP),
                }
            }
            let idle = |message: &mut Message<S>| {
                !self.working.load(Ordering::Acquire) && !matches!(message, Message::Quit)
            };
            let message = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            if matches!(*message, Message::Quit) {
                return;
            }
        }
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        if self.is_forked() {
            // Nobody is there to be told or waited for, and any of them may have held a lock when the
            // memory was copied. What little the pool has stays where it is.
            std::mem::forget(self.pool.take());
            std::mem::forget(std::mem::take(&mut self.handles));
            return;
        }
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
