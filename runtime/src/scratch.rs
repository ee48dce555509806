//! Working memory of a thread, sized at load for the hungriest step.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::OutOfMemory;
use crate::storage::zeros;
use crate::threads::thread_index;

/// Lengths that a step needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScratchLen {
    /// i32 sums of a tile, all terms.
    pub sums: usize,
    /// Totals of a tile.
    pub totals: usize,
    /// Bytes of level rows.
    pub levels: usize,
    /// Transformed levels of a strip.
    pub transformed: usize,
    /// Bytes of tables.
    pub tables: usize,
    /// Bytes of interleaved rows.
    pub columns: usize,
}

/// Working memory of one thread.
#[derive(Default)]
pub struct Scratch {
    /// Sums of a tile.
    pub sums: Vec<i32>,
    /// Totals of a tile.
    pub totals: Vec<i32>,
    /// Rows of levels.
    pub levels: Vec<u8>,
    /// Transformed levels of a strip.
    pub transformed: Vec<i8>,
    /// Tables of rows of levels.
    pub tables: Vec<u8>,
    /// Interleaved rows of levels.
    pub columns: Vec<u8>,
}

/// The working memory of all threads of a session.
pub struct ScratchPool(Vec<Mutex<Scratch>>);

impl ScratchLen {
    /// What suffices for both.
    pub fn max(self, other: Self) -> Self {
        Self {
            sums: self.sums.max(other.sums),
            totals: self.totals.max(other.totals),
            levels: self.levels.max(other.levels),
            transformed: self.transformed.max(other.transformed),
            tables: self.tables.max(other.tables),
            columns: self.columns.max(other.columns),
        }
    }

    /// Bytes of a thread.
    pub fn bytes(self) -> u64 {
        let words = self.sums as u64 + self.totals as u64;
        let bytes = [self.levels, self.transformed, self.tables, self.columns].map(|len| len as u64);
        words * size_of::<i32>() as u64 + bytes.iter().sum::<u64>()
    }
}

impl ScratchPool {
    /// Memory for a number of threads.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn new(threads: usize, len: ScratchLen) -> Result<Self, OutOfMemory> {
        let scratch = || -> Result<Scratch, OutOfMemory> {
            Ok(Scratch {
                sums: zeros(len.sums)?,
                totals: zeros(len.totals)?,
                levels: zeros(len.levels)?,
                transformed: zeros(len.transformed)?,
                tables: zeros(len.tables)?,
                columns: zeros(len.columns)?,
            })
        };
        (0..threads).map(|_| scratch().map(Mutex::new)).collect::<Result<_, _>>().map(Self)
    }

    /// The memory of the calling thread of the pool. Nobody else asks for it: the lock never waits.
    pub fn own(&self) -> MutexGuard<'_, Scratch> {
        // Whatever a panicking step left in scratch memory, the next one writes before it reads.
        self.0[thread_index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes held.
    pub fn len_bytes(&self) -> usize {
        let bytes = |scratch: &Mutex<Scratch>| {
            let scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
            let words = scratch.sums.len() + scratch.totals.len();
            let bytes = scratch.levels.len()
                + scratch.transformed.len()
                + scratch.tables.len()
                + scratch.columns.len();
            words * size_of::<i32>() + bytes
        };
        self.0.iter().map(bytes).sum()
    }
}
