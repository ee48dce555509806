//! Working memory of a thread: one stretch of bytes, sized at load for the hungriest step.
//!
//! An operator says how many bytes it needs, and cuts its buffers out of the stretch when it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;

use crate::error::OutOfMemory;
use crate::storage::{ALIGNMENT, AlignedBytes};
use crate::threads::thread_index;

/// The working memory of all threads of a session.
pub struct ScratchPool(Vec<Mutex<AlignedBytes>>);

/// Buffers cut from working memory, one after another. They hold what the last step left there.
pub struct Cutter<'a>(&'a mut [u8]);

/// Bytes of working memory that a buffer of `len` elements takes: a whole number of cache lines.
pub const fn bytes_for<T>(len: usize) -> usize {
    len.saturating_mul(size_of::<T>()).saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
}

impl<'a> Cutter<'a> {
    /// Cuts this working memory, which starts at a multiple of [`ALIGNMENT`].
    pub fn new(scratch: &'a mut [u8]) -> Self {
        Self(scratch)
    }

    /// The next `len` elements.
    ///
    /// # Panics
    /// If there are not so many: an operator asked for fewer bytes than it uses.
    pub fn cut<T: Pod>(&mut self, len: usize) -> &'a mut [T] {
        let (cut, rest) = std::mem::take(&mut self.0).split_at_mut(bytes_for::<T>(len));
        self.0 = rest;
        &mut bytemuck::cast_slice_mut(cut)[..len]
    }
}

impl ScratchPool {
    /// So many bytes for each of a number of threads.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn new(threads: usize, bytes: usize) -> Result<Self, OutOfMemory> {
        (0..threads)
            .map(|_| AlignedBytes::try_zeroed(bytes).map(Mutex::new))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The memory of the calling thread of the pool. Nobody else asks for it: the lock never waits.
    pub fn own(&self) -> MutexGuard<'_, AlignedBytes> {
        // Whatever a panicking step left in scratch memory, the next one writes before it reads.
        self.0[thread_index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes held.
    pub fn len_bytes(&self) -> usize {
        let bytes = |scratch: &Mutex<AlignedBytes>| {
            scratch.lock().unwrap_or_else(PoisonError::into_inner).bytes().len()
        };
        self.0.iter().map(bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_apart() {
        let mut memory = AlignedBytes::zeroed(bytes_for::<i32>(3) + bytes_for::<u8>(65) + bytes_for::<i8>(0));
        let mut cutter = Cutter::new(memory.bytes_mut());
        let (sums, levels, none) = (cutter.cut::<i32>(3), cutter.cut::<u8>(65), cutter.cut::<i8>(0));
        assert_eq!([sums.len(), levels.len(), none.len()], [3, 65, 0]);
        assert_eq!(sums.as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(levels.as_ptr().align_offset(ALIGNMENT), 0);
        sums.fill(-1);
        assert!(levels.iter().all(|&level| level == 0));
    }

    #[test]
    #[should_panic(expected = "mid > len")]
    fn more_than_was_asked_for_panics() {
        let mut memory = AlignedBytes::zeroed(bytes_for::<u8>(64));
        Cutter::new(memory.bytes_mut()).cut::<u8>(65);
    }
}
