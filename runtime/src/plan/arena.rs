//! Offsets of buffers in the arena: greedy by size.
//!
//! Buffers are placed in order of falling size, each at the lowest offset at which it overlaps no
//! placed buffer that lives at the same time (Pisarchyk and Lee, "Efficient Memory Management for
//! Deep Neural Net Inference", 2020, "greedy by size"). Very many are placed in order of time instead.

use std::collections::{BTreeMap, BTreeSet};

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

/// Most buffers that are placed by size, which takes time with their square. A YOLOv5x has some 350.
const MANY: usize = 2048;

/// The offset of each buffer, and the length of the arena.
pub fn assign_offsets(buffers: &[Buffer]) -> (Vec<usize>, usize) {
    if buffers.len() <= MANY { by_size(buffers) } else { by_time(buffers) }
}

fn by_size(buffers: &[Buffer]) -> (Vec<usize>, usize) {
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

/// In the order in which they are first written, each into the smallest gap that it fits, as `malloc` would: for
/// networks that nobody trained, but that a file can hold.
fn by_time(buffers: &[Buffer]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&buffer| buffers[buffer].first);
    // One that nobody uses never ends.
    let used = |buffer: &usize| buffers[*buffer].first <= buffers[*buffer].last;
    let mut ends: Vec<usize> = order.iter().copied().filter(used).collect();
    ends.sort_by_key(|&buffer| buffers[buffer].last);
    let mut ends = ends.into_iter().peekable();
    let len = |buffer: usize| buffers[buffer].len.next_multiple_of(ALIGNMENT);
    let mut offsets = vec![0; buffers.len()];
    let mut gaps = Gaps::default();
    for buffer in order {
        while let Some(over) = ends.next_if(|&other| buffers[other].last < buffers[buffer].first) {
            gaps.free(offsets[over], len(over));
        }
        offsets[buffer] = gaps.take(len(buffer));
    }
    (offsets, gaps.end)
}

/// Stretches of the arena that are not in use.
#[derive(Default)]
struct Gaps {
    /// Lengths by offset.
    by_offset: BTreeMap<usize, usize>,
    /// The same: length, then offset.
    by_len: BTreeSet<(usize, usize)>,
    /// End of the arena so far.
    end: usize,
}

impl Gaps {
    /// Takes `len` bytes of the smallest gap that has them, or of the arena's end, and returns their offset.
    fn take(&mut self, len: usize) -> usize {
        if let Some(&(gap, offset)) = self.by_len.range((len, 0)..).next() {
            self.remove(offset, gap);
            self.insert(offset + len, gap - len);
            return offset;
        }
        let last = self.by_offset.last_key_value().map(|(&offset, &gap)| (offset, gap));
        let offset = match last {
            Some((offset, gap)) if offset + gap == self.end => {
                self.remove(offset, gap);
                offset
            }
            _ => self.end,
        };
        self.end = offset + len;
        offset
    }

    /// Gives bytes back, and joins them with the gaps beside them.
    fn free(&mut self, mut offset: usize, mut len: usize) {
        if let Some((&before, &gap)) = self.by_offset.range(..offset).next_back()
            && before + gap == offset
        {
            self.remove(before, gap);
            (offset, len) = (before, len + gap);
        }
        if let Some(&gap) = self.by_offset.get(&(offset + len)) {
            self.remove(offset + len, gap);
            len += gap;
        }
        self.insert(offset, len);
    }

    fn insert(&mut self, offset: usize, len: usize) {
        if len > 0 {
            self.by_offset.insert(offset, len);
            self.by_len.insert((len, offset));
        }
    }

    fn remove(&mut self, offset: usize, len: usize) {
        self.by_offset.remove(&offset);
        self.by_len.remove(&(len, offset));
    }
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
        assert_eq!(by_time(&buffers).1, 256);
        let buffers: Vec<Buffer> =
            (0..100_000).map(|step| Buffer { len: 100 + step % 3, first: step, last: step + 1 }).collect();
        assert_eq!(assign_offsets(&buffers).1, 256);
    }

    #[test]
    fn gaps_are_used_and_joined() {
        let mut gaps = Gaps::default();
        assert_eq!([64, 128, 64, 192].map(|len| gaps.take(len)), [0, 64, 192, 256]);
        gaps.free(64, 128);
        gaps.free(256, 192);
        // The smallest that is large enough.
        assert_eq!(gaps.take(64), 64);
        assert_eq!(gaps.take(128), 256);
        gaps.free(192, 64);
        assert_eq!(gaps.take(128), 128);
        // The last gap grows into the arena's end.
        assert_eq!((gaps.take(128), gaps.end), (384, 512));
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
        for (offsets, len) in [by_size(&buffers), by_time(&buffers)] {
            check(&buffers, &offsets, len);
        }
    }

    fn check(buffers: &[Buffer], offsets: &[usize], len: usize) {
        for (i, a) in buffers.iter().enumerate() {
            assert!(offsets[i].is_multiple_of(ALIGNMENT) && offsets[i] + a.len <= len);
            for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                assert!(!together || apart, "buffers {i} and {j} overlap");
            }
        }
    }
}
