//! One frame: the steps of a [`Program`] over an arena.
//!
//! Steps run one after another; the rows of each are shared out among the threads. Nothing here
//! allocates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accumulators::Accumulators;
use crate::bands::{self, Band};
use crate::detect::Elements;
use crate::error::OutOfMemory;
use crate::ops::{Context, Pass};
use crate::program::{MAX_MEMORY, Program, Step, written_ranges};
use crate::scratch::ScratchPool;
use crate::storage::{AlignedBytes, Borrowed, Store, ValueStorage};

/// Bands a thread: more than one, so that a thread that was held up leaves work to the others.
const BANDS_PER_THREAD: usize = 2;

/// A program with the memory that a frame changes.
pub struct Executor {
    program: Arc<Program>,
    arena: AlignedBytes,
    scratch: ScratchPool,
    bands: usize,
    /// Time of each step of the last frame; empty if it is not wanted.
    profile: Vec<Duration>,
}

/// Bands that a step is cut into.
fn band_count(threads: usize) -> usize {
    if threads == 1 { 1 } else { threads * BANDS_PER_THREAD }
}

/// How well a step keeps so many threads busy, 0 to 1: see [`bands::balance`].
pub fn balance(step: &Step, threads: usize) -> f64 {
    if step.passes.is_empty() {
        return 1.0;
    }
    bands::balance(step.height, band_count(threads), threads)
}

impl Executor {
    /// Allocates the memory of a program for a number of threads.
    ///
    /// # Errors
    /// If there is not so much, or it is more than the limit.
    pub fn new(program: Arc<Program>, threads: usize, profile: bool) -> Result<Self, OutOfMemory> {
        let bytes = program.memory_len(threads);
        if bytes > MAX_MEMORY {
            return Err(OutOfMemory { bytes });
        }
        let arena = AlignedBytes::try_zeroed(program.plan.arena_len)?;
        let scratch = ScratchPool::new(threads, program.scratch)?;
        let bands = band_count(threads);
        let profile = if profile { vec![Duration::ZERO; program.steps.len()] } else { Vec::new() };
        Ok(Self { program, arena, scratch, bands, profile })
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Time of each step of the last frame, if it was wanted.
    pub fn profile(&self) -> &[Duration] {
        &self.profile
    }

    /// Bytes of arena and working memory.
    pub fn memory_len(&self) -> usize {
        self.arena.bytes().len() + self.scratch.len_bytes()
    }

    /// The bytes of a store's buffer.
    pub fn store_bytes(&self, store: &Store) -> &[u8] {
        &self.arena.bytes()[store.range.clone()]
    }

    /// The accumulators of a head, `[row][column][channel]`.
    pub fn accumulators(&self, storage: &ValueStorage) -> Option<Elements<'_>> {
        let store = storage.accumulators.as_ref()?;
        let bytes = &self.arena.bytes()[store.range.clone()];
        Some(if store.narrow {
            Elements::NarrowAccumulators(bytemuck::cast_slice(bytes))
        } else {
            Elements::Accumulators(bytemuck::cast_slice(bytes))
        })
    }

    /// The store of the picture's levels and its buffer, to be filled before a frame.
    pub fn input(&mut self) -> (&Store, &mut [u8]) {
        let store = &self.program.input;
        (store, &mut self.arena.bytes_mut()[store.range.clone()])
    }

    /// Runs all steps on the levels in the input.
    pub fn run(&mut self) {
        let program = Arc::clone(&self.program);
        self.finish_input(&program);
        for (number, step) in program.steps.iter().enumerate() {
            let start = Instant::now();
            step.passes.iter().for_each(|pass| self.run_pass(&program, pass, step.height));
            if let Some(time) = self.profile.get_mut(number) {
                *time = start.elapsed();
            }
        }
    }

    /// Writes the border around the picture, and its bit planes if they are read.
    fn finish_input(&mut self, program: &Program) {
        let input = &program.input;
        bands::write_border(input, &mut self.arena.bytes_mut()[input.range.clone()]);
        if let Some(copy) = &program.input_copy {
            self.run_pass(program, copy, input.layout.height);
        }
    }

    /// Runs an operator on all rows of what it writes.
    fn run_pass(&mut self, program: &Program, pass: &Pass, height: usize) {
        let storage = &pass.writes;
        let mut memory = Borrowed::cut(self.arena.bytes_mut(), written_ranges(storage));
        let written = std::mem::take(&mut memory.written);
        let band = match &storage.accumulators {
            Some(store) => {
                let [buffer, _] = written;
                let accumulators = if store.narrow {
                    Accumulators::Narrow(bytemuck::cast_slice_mut(buffer))
                } else {
                    Accumulators::Wide(bytemuck::cast_slice_mut(buffer))
                };
                Band::accumulators(height, accumulators)
            }
            None => Band::levels(height, storage, written),
        };
        let (memory, scratch) = (&memory, &self.scratch);
        band.for_each(self.bands, &|mut band| {
            let scratch = &mut *scratch.own();
            let scratch = scratch.bytes_mut();
            pass.op.run(&mut band, &mut Context { memory, rows: &program.rows, scratch });
        });
    }
}
