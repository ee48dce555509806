//! The vector operations that bodies of micro-kernels are written over.
//!
//! A value of a type that implements [`Simd`] proves that the CPU has the instructions, so that plain
//! arithmetic is safe; only memory access is not. All methods are `#[inline(always)]` and none has
//! `#[target_feature]`: see [`crate::arch`].

/// Byte vectors of one instruction set.
pub(crate) trait Simd: Copy + sealed::Sealed {
    /// Bytes of a vector.
    const LANES: usize;
    /// Vector registers that a body may fill, those that operations need for constants set aside.
    const REGISTERS: usize;
    /// A vector of [`Simd::LANES`] bytes.
    type Bytes: Copy;
    /// A sum of 16 bits for each byte lane: two registers.
    type Sums: Copy;
    /// Bytes of memory, to be broadcast one at a time.
    type Source: Copy;

    /// All lanes 0.
    fn zero(self) -> Self::Bytes;

    /// Loads a vector from memory of any alignment.
    ///
    /// # Safety
    /// - `LANES` bytes from `pointer` on are readable.
    unsafe fn load(self, pointer: *const u8) -> Self::Bytes;

    /// Prepares bytes of memory for [`Simd::broadcast`].
    ///
    /// # Safety
    /// - 16 bytes from `pointer` on are readable, now and as long as the source is used.
    unsafe fn source(self, pointer: *const u8) -> Self::Source;

    /// The byte `lane` of a source in every lane. `lane` should be a constant once inlined.
    ///
    /// # Safety
    /// - `lane`, counted from where the source was made, is less than 16.
    unsafe fn broadcast(self, source: Self::Source, lane: usize) -> Self::Bytes;

    /// The same source without its first `N` bytes, 1 to 4.
    ///
    /// # Safety
    /// - All such steps together skip at most 16 bytes.
    unsafe fn skip<const N: usize>(self, source: Self::Source) -> Self::Source;

    /// The same source, but only once `other` has been computed: keeps a compiler from starting so
    /// much at a time that the registers do not suffice. No instruction.
    fn after(self, source: Self::Source, other: Self::Bytes) -> Self::Source;

    /// Keeps a compiler from holding these sums in registers. No instruction.
    fn keep_in_memory(self, sums: &mut [Self::Sums]);

    /// Bitwise and.
    fn and(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Bitwise exclusive or.
    fn xor(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Sum by byte; the caller keeps it below 256.
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Number of set bits by byte.
    fn popcount(self, a: Self::Bytes) -> Self::Bytes;

    /// Sum of all bytes.
    fn reduce(self, a: Self::Bytes) -> u32;

    /// All sums 0.
    fn zero_sums(self) -> Self::Sums;

    /// `sums + (a << shift)` by lane; the caller keeps it below 65536. `shift`, at most 6, should be
    /// a constant once inlined.
    fn add_shifted(self, sums: Self::Sums, a: Self::Bytes, shift: u32) -> Self::Sums;

    /// `sums - (a << shift)` by lane, modulo 2^16. `shift` as in [`Simd::add_shifted`].
    fn subtract_shifted(self, sums: Self::Sums, a: Self::Bytes, shift: u32) -> Self::Sums;

    /// Writes the sums in the order of the lanes, or adds them to what is there.
    ///
    /// # Safety
    /// - `LANES` numbers from `pointer` on are writable, and initialised if `accumulate` is set.
    unsafe fn store_sums(self, sums: Self::Sums, pointer: *mut i32, accumulate: bool);
}

pub(crate) mod sealed {
    /// Implemented by the instruction sets of this crate only.
    pub trait Sealed {}
}
