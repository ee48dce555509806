//! Offsets of buffers in the arena: greedy by size.
//!
//! Buffers are placed in order of falling size, each at the lowest offset at which it overlaps no
//! placed buffer that lives at the same time (Pisarchyk and Lee, "Efficient Memory Management for
//! Deep Neural Net Inference", 2020, "greedy by size").

use crate::storage::ALIGNMENT;

/// A stretch of memory with the time that it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Bytes.
    pub len: usize,
    /// First time at which it is written.
    pub first: usize,
    /// Last time at which it is read or written.
    pub last: usize,
}

/// The offset of each buffer, and the length of the arena.
pub fn assign_offsets(buffers: &[Buffer]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&buffer| std::cmp::Reverse(buffers[buffer].len));
    let mut offsets = vec![0; buffers.len()];
    // Placed buffers by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    let mut arena_len = 0;
    for buffer in order {
        let mut offset = 0;
        for &other in &placed {
            let together =
                buffers[other].first <= buffers[buffer].last && buffers[buffer].first <= buffers[other].last;
            if together && offset + buffers[buffer].len > offsets[other] {
                let end = offsets[other] + buffers[other].len;
                offset = offset.max(end.next_multiple_of(ALIGNMENT));
            }
        }
        offsets[buffer] = offset;
        arena_len = arena_len.max(offset + buffers[buffer].len);
        let position = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(position, buffer);
    }
    (offsets, arena_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_needs_two_buffers_at_a_time() {
        let buffers: Vec<Buffer> =
            (0..6).map(|step| Buffer { len: 100, first: step, last: step + 1 }).collect();
        let (_, len) = assign_offsets(&buffers);
        assert_eq!(len, 128 + 100);
    }

    #[test]
    fn buffers_that_live_together_never_overlap() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) % below) as usize
        };
        let buffers: Vec<Buffer> = (0..200)
            .map(|_| {
                let first = random(50);
                Buffer { len: 1 + random(5000), first, last: first + random(12) }
            })
            .collect();
        let (offsets, len) = assign_offsets(&buffers);
        for (i, a) in buffers.iter().enumerate() {
            assert!(offsets[i] % ALIGNMENT == 0 && offsets[i] + a.len <= len);
            for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                assert!(!together || apart, "buffers {i} and {j} overlap");
            }
        }
    }
}
