//! Issue slots of a straight run of instructions, and the cycles that they take at the least.
//!
//! A slot is one cycle of one execution pipe. The pipes of the Cortex-A72: F0 and F1 for vectors and
//! floating point, a load pipe, a store pipe, two integer pipes, one for integer operations of several
//! cycles, one for branches; three micro-operations are dispatched per cycle (Arm, "Cortex-A72
//! Software Optimization Guide", UAN 0016A). The Cortex-A76 dispatches four, has three integer pipes
//! and loads or stores twice per cycle; its vector pipes take 128 bits at a time, and like the A72 it
//! multiplies integers in one of them only (Arm, "Cortex-A76 Software Optimization Guide").

use std::ops::{AddAssign, Mul};

/// Slots by pipe. All but `instructions` count halves of a slot, so that every sum is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Number of instructions, whole.
    pub instructions: u64,
    /// Vector pipe 0 alone.
    pub f0: u64,
    /// Vector pipe 1 alone.
    pub f1: u64,
    /// Either vector pipe.
    pub f_any: u64,
    /// Load pipe.
    pub load: u64,
    /// Store pipe.
    pub store: u64,
    /// Integer pipes.
    pub int: u64,
    /// Integer pipe for operations of several cycles.
    pub multi: u64,
    /// Branch pipe.
    pub branch: u64,
    /// Micro-operations that the A72 dispatches.
    pub dispatch: u64,
    /// Either vector pipe of the A76.
    pub a76_vector: u64,
}

/// Names a pipe in [`Slots::on`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipe {
    /// Vector pipe 0 alone.
    F0,
    /// Vector pipe 1 alone.
    F1,
    /// Either vector pipe.
    FAny,
    /// Load.
    Load,
    /// Store.
    Store,
    /// Integer.
    Int,
    /// Integer, several cycles.
    Multi,
    /// Branch.
    Branch,
}

/// Parts of a cycle in which bounds are counted: halves of a slot over two, three or four pipes.
pub const PER_CYCLE: u64 = 12;

impl Slots {
    /// No slots.
    pub const NONE: Self = Self {
        instructions: 0,
        f0: 0,
        f1: 0,
        f_any: 0,
        load: 0,
        store: 0,
        int: 0,
        multi: 0,
        branch: 0,
        dispatch: 0,
        a76_vector: 0,
    };

    /// Adds `halves` half slots on `pipe`, with what follows from them: each slot is a micro-operation,
    /// except that a store is one however long it holds its pipe; the A76 needs at most one vector slot.
    pub const fn on(mut self, pipe: Pipe, halves: u64) -> Self {
        let field = match pipe {
            Pipe::F0 => &mut self.f0,
            Pipe::F1 => &mut self.f1,
            Pipe::FAny => &mut self.f_any,
            Pipe::Load => &mut self.load,
            Pipe::Store => &mut self.store,
            Pipe::Int => &mut self.int,
            Pipe::Multi => &mut self.multi,
            Pipe::Branch => &mut self.branch,
        };
        *field += halves;
        self.dispatch += if matches!(pipe, Pipe::Store) { 2 } else { halves };
        if matches!(pipe, Pipe::F0 | Pipe::F1 | Pipe::FAny) {
            self.a76_vector = if halves < 2 { halves } else { 2 };
        }
        self
    }

    /// Twelfths of a cycle in which a Cortex-A72 cannot have issued these slots: [`PER_CYCLE`].
    pub fn a72_bound(&self) -> u64 {
        let vector = self.f0 + self.f1 + self.f_any;
        let alone =
            [self.f0, self.f1, self.load, self.store, self.multi, self.branch].map(|halves| 6 * halves);
        let shared = [3 * vector, 3 * self.int, 2 * self.dispatch];
        alone.into_iter().chain(shared).max().unwrap_or(0)
    }

    /// Twelfths of a cycle in which a Cortex-A76 cannot have issued these slots.
    pub fn a76_bound(&self) -> u64 {
        let alone = [self.f0, self.f1, self.multi, self.branch].map(|halves| 6 * halves);
        let two = [self.a76_vector, self.load, self.store].map(|halves| 3 * halves);
        let shared = [2 * self.int, 3 * self.instructions];
        alone.into_iter().chain(two).chain(shared).max().unwrap_or(0)
    }
}

impl AddAssign for Slots {
    fn add_assign(&mut self, other: Self) {
        self.instructions += other.instructions;
        self.f0 += other.f0;
        self.f1 += other.f1;
        self.f_any += other.f_any;
        self.load += other.load;
        self.store += other.store;
        self.int += other.int;
        self.multi += other.multi;
        self.branch += other.branch;
        self.dispatch += other.dispatch;
        self.a76_vector += other.a76_vector;
    }
}

impl Mul<u64> for Slots {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self {
            instructions: self.instructions * times,
            f0: self.f0 * times,
            f1: self.f1 * times,
            f_any: self.f_any * times,
            load: self.load * times,
            store: self.store * times,
            int: self.int * times,
            multi: self.multi * times,
            branch: self.branch * times,
            dispatch: self.dispatch * times,
            a76_vector: self.a76_vector * times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_pipe_is_the_bound() {
        let none = Slots::NONE;
        assert_eq!(none.a72_bound(), 0);
        // Pipes of one kind: cycles = slots.
        for pipe in [Pipe::F0, Pipe::F1, Pipe::Multi, Pipe::Branch] {
            let slots = none.on(pipe, 2 * 5);
            assert_eq!((slots.a72_bound(), slots.a76_bound()), (5 * PER_CYCLE, 5 * PER_CYCLE), "{pipe:?}");
        }
        // The A72 has one load pipe, the A76 two.
        let loads = none.on(Pipe::Load, 2 * 6);
        assert_eq!((loads.a72_bound(), loads.a76_bound()), (6 * PER_CYCLE, 3 * PER_CYCLE));
        // Two integer pipes against three, both below the A72's dispatch limit.
        let ints = none.on(Pipe::Int, 2 * 6);
        assert_eq!((ints.a72_bound(), ints.a76_bound()), (3 * PER_CYCLE, 2 * PER_CYCLE));
        // F0 and F1 work at the same time; what goes to either fills the emptier one.
        let vectors = none.on(Pipe::F0, 2 * 4).on(Pipe::F1, 2).on(Pipe::FAny, 2 * 3);
        assert_eq!(vectors.a72_bound(), 4 * PER_CYCLE);
        // Three micro-operations per cycle: a store is one, though it holds its pipe for two.
        let mixed = none.on(Pipe::Int, 2).on(Pipe::Load, 2).on(Pipe::Branch, 2).on(Pipe::Store, 4);
        assert_eq!(mixed.dispatch, 2 * 4);
        assert_eq!(mixed.a72_bound(), 2 * PER_CYCLE);
    }

    #[test]
    fn times_is_repeated_addition() {
        let one =
            Slots { instructions: 1, ..Slots::NONE }.on(Pipe::F0, 4).on(Pipe::Store, 2).on(Pipe::Int, 2);
        let mut sum = Slots::NONE;
        for _ in 0..7 {
            sum += one;
        }
        assert_eq!(one * 7, sum);
    }
}
