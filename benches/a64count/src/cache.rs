//! Misses of a program's data accesses in the caches of a Cortex-A72, by a model.
//!
//! Two levels of set-associative caches with lines of 64 bytes. Each set forgets the line that was used
//! longest ago; writes fetch their line as reads do; what the first level misses is looked for in the
//! second. The core's choice of a victim, its prefetcher, write-backs and instruction fetches are not in
//! the model, and addresses are those of the program, not of memory.

/// Bytes of a line.
const LINE: u64 = 64;
/// No line: beyond every address.
const EMPTY: u64 = u64::MAX;

/// One level.
#[derive(Clone, Debug)]
pub struct Cache {
    ways: usize,
    /// Numbers of the lines that it holds, `[set][way]`, the one used last first.
    lines: Vec<u64>,
    accesses: u64,
    misses: u64,
}

impl Cache {
    /// An empty cache of `size` bytes.
    ///
    /// # Panics
    /// If `size` is not a positive number of sets of `ways` lines.
    pub fn new(size: u64, ways: usize) -> Self {
        let lines = usize::try_from(size / LINE).expect("a cache fits the memory");
        assert!(lines > 0 && lines.is_multiple_of(ways), "{size} bytes in {ways} ways");
        Self { ways, lines: vec![EMPTY; lines], accesses: 0, misses: 0 }
    }

    /// Lines looked for.
    pub fn accesses(&self) -> u64 {
        self.accesses
    }

    /// Lines not found.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// Looks for a line, which is there afterwards. Returns whether it was.
    pub fn access(&mut self, line: u64) -> bool {
        self.accesses += 1;
        let sets = self.lines.len() / self.ways;
        let set = (line % sets as u64) as usize;
        let ways = &mut self.lines[set * self.ways..][..self.ways];
        let found = ways.iter().position(|&held| held == line);
        self.misses += u64::from(found.is_none());
        // From the first way to where the line was, or to the last, all move up by one.
        ways[..=found.unwrap_or(self.ways - 1)].rotate_right(1);
        ways[0] = line;
        found.is_some()
    }
}

/// Both levels.
#[derive(Clone, Debug)]
pub struct Caches {
    /// The first level.
    pub first: Cache,
    /// The second level.
    pub second: Cache,
}

impl Caches {
    /// Those of a Cortex-A72 on a Raspberry Pi 4: 32 KiB in 2 ways and 1 MiB in 16 (Arm, "Cortex-A72 MPCore
    /// Processor Technical Reference Manual"; Raspberry Pi, "BCM2711 ARM Peripherals").
    pub fn cortex_a72() -> Self {
        Self { first: Cache::new(32 << 10, 2), second: Cache::new(1 << 20, 16) }
    }

    /// Reads or writes `bytes` bytes, at least one.
    pub fn access(&mut self, address: u64, bytes: u64) {
        let last = address.saturating_add(bytes.max(1) - 1);
        for line in address / LINE..=last / LINE {
            if !self.first.access(line) {
                self.second.access(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_forgets_the_line_used_longest_ago() {
        let mut cache = Cache::new(4 * LINE, 2);
        // Two sets: even and odd lines.
        assert!(!cache.access(0) && !cache.access(2) && !cache.access(1));
        assert!(cache.access(0), "two lines fit a set");
        assert!(!cache.access(4), "takes the place of line 2, not of 0");
        assert!(cache.access(0) && cache.access(4) && cache.access(1));
        assert!(!cache.access(2));
        assert!(!cache.access(0), "4 was used after it");
        assert_eq!((cache.accesses(), cache.misses()), (10, 6));
    }

    #[test]
    fn the_second_level_sees_what_the_first_misses() {
        let mut caches = Caches::cortex_a72();
        let pass = |caches: &mut Caches, len: u64| (0..len).step_by(16).for_each(|at| caches.access(at, 16));
        // 64 KiB in order, twice: more than the first level holds, and least recently used is worst there.
        pass(&mut caches, 64 << 10);
        pass(&mut caches, 64 << 10);
        let lines = (64 << 10) / LINE;
        assert_eq!((caches.first.accesses(), caches.first.misses()), (2 * 4 * lines, 2 * lines));
        assert_eq!((caches.second.accesses(), caches.second.misses()), (2 * lines, lines));
        // 32 KiB fit.
        pass(&mut caches, 32 << 10);
        let before = caches.first.misses();
        pass(&mut caches, 32 << 10);
        assert_eq!(caches.first.misses(), before);
    }

    #[test]
    fn an_access_across_a_boundary_is_two() {
        let mut caches = Caches::cortex_a72();
        caches.access(LINE - 8, 16);
        caches.access(LINE - 8, 8);
        caches.access(LINE, 1);
        assert_eq!((caches.first.accesses(), caches.first.misses()), (4, 2));
        caches.access(u64::MAX, 4);
        assert_eq!(caches.first.accesses(), 5);
    }
}
