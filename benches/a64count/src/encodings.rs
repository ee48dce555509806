//! Which issue slots an instruction takes, by its encoding.
//!
//! The rows tell apart what costs differently on a Cortex-A72 and lump together the rest. Encodings are
//! those of the "Arm Architecture Reference Manual for A-profile" (DDI 0487), section C4.1. Slots are
//! those of Arm's "Cortex-A72 Software Optimization Guide" (UAN 0016A), section 3; where it gives no
//! throughput (BSL, ZIP, UZP, and TBL of 128 bits) they are those of LLVM's model of the core.
//!
//! Consequences that matter to micro-kernels: every integer multiplication is on F0, and its 128-bit
//! form other than the widening ones takes two slots; shifts, narrowing with saturation and pairwise
//! accumulation are on F1; a broadcast from memory or from a general register takes a load slot beside
//! the vector slot; a store of 128 bits takes two.

use crate::slots::{Pipe, Slots};

/// Class of branches: a straight run ends there.
pub const BRANCH: &str = "branch";
/// Class of system instructions, after which QEMU ends a block.
pub const SYSTEM: &str = "system";

/// Class and slots of an instruction.
pub fn classify(word: u32) -> (&'static str, Slots) {
    // The last row takes every word.
    let row = TABLE.iter().find(|row| row.bits.matches(word)).unwrap_or(&OTHER);
    let mut slots = row.slots[(word >> 30 & 1) as usize];
    if BASE_UPDATES.iter().any(|bits| bits.matches(word)) {
        slots += INT;
    }
    (row.class, Slots { instructions: 1, ..slots })
}

/// Bits that an encoding fixes.
struct Bits {
    mask: u32,
    value: u32,
}

impl Bits {
    /// From text: `0` and `1` fixed bits, `x` any, from bit 31 down; `_` separates fields, and what is
    /// not written is any. Other text is a compile error, since it is only called for constants.
    const fn of(text: &str) -> Self {
        let text = text.as_bytes();
        let (mut mask, mut value, mut bit, mut index) = (0, 0, 32u32, 0);
        while index < text.len() {
            match text[index] {
                b'_' => {}
                b'x' => bit -= 1,
                digit => {
                    assert!(digit == b'0' || digit == b'1', "a bit is 0, 1 or x");
                    bit -= 1;
                    mask |= 1 << bit;
                    value |= ((digit - b'0') as u32) << bit;
                }
            }
            index += 1;
        }
        Self { mask, value }
    }

    const fn matches(&self, word: u32) -> bool {
        word & self.mask == self.value
    }
}

struct Row {
    bits: Bits,
    class: &'static str,
    /// Slots if bit 30 is 0 and 1: in vector instructions, of the 64-bit and the 128-bit form.
    slots: [Slots; 2],
}

const fn row(bits: &str, class: &'static str, slots: Slots) -> Row {
    by_width(bits, class, slots, slots)
}

const fn by_width(bits: &str, class: &'static str, short: Slots, long: Slots) -> Row {
    Row { bits: Bits::of(bits), class, slots: [short, long] }
}

const fn slots(pipe: Pipe, count: u64) -> Slots {
    Slots::NONE.on(pipe, 2 * count)
}

const INT: Slots = slots(Pipe::Int, 1);
const MULTI: Slots = slots(Pipe::Multi, 1);
const LOAD: Slots = slots(Pipe::Load, 1);
const STORE: Slots = slots(Pipe::Store, 1);
const ANY: Slots = slots(Pipe::FAny, 1);
const ANY_2: Slots = slots(Pipe::FAny, 2);
const ANY_3: Slots = slots(Pipe::FAny, 3);
const F0: Slots = slots(Pipe::F0, 1);
const F0_2: Slots = slots(Pipe::F0, 2);
const F1: Slots = slots(Pipe::F1, 1);
const F1_2: Slots = slots(Pipe::F1, 2);
const LOAD_ANY: Slots = LOAD.on(Pipe::FAny, 2);
/// The 128-bit MUL, MLA and the like hold the A76's multiplier twice as well.
const MULTIPLY_Q: Slots = Slots { a76_vector: 4, ..F0_2 };

/// LD2 to LD4: a load slot and half a vector slot (64 bits) or a whole one (128 bits) a register.
const fn interleaved_load(registers: u64, halves: u64) -> Slots {
    slots(Pipe::Load, registers).on(Pipe::FAny, registers * halves)
}

/// ST2 to ST4: a vector slot a register, and a store slot for every 64 bits.
const fn interleaved_store(registers: u64, stores: u64) -> Slots {
    slots(Pipe::Store, stores).on(Pipe::FAny, 2 * registers)
}

/// What no row names: scalar floating point, for the most part.
const OTHER: Row = row("", "f_scalar", ANY);

/// Loads and stores that update their base register, which takes an integer slot more.
const BASE_UPDATES: [Bits; 3] = [
    Bits::of("xx_101_x_0_x1"),                   // pairs, before or after the access
    Bits::of("xx_111_x_0_0_xx_0_xxxxx_xxxx_x1"), // single registers
    Bits::of("xx_001_1_0_x_1"),                  // LD1 to LD4 and ST1 to ST4
];

/// The first row that matches counts.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Integer and control.
    row("xxx_100",                               "int", INT),
    row("11010101",                              SYSTEM, INT),
    row("xxx_101",                               BRANCH, slots(Pipe::Branch, 1)),
    row("xxx_11011",                             "mul", MULTI),
    row("x0x_11010110_xxxxx_00001",              "div", slots(Pipe::Multi, 8)),
    row("xxxx_101",                              "int", INT),

    // Loads and stores of pairs, and relative to the program counter.
    row("10_101_1_0_xx_1",                       "ld_q_pair", slots(Pipe::Load, 2)),
    row("10_101_1_0_xx_0",                       "st_q_pair", slots(Pipe::Store, 4)),
    row("xx_101_1_0_xx_1",                       "ld_d", LOAD),
    row("xx_101_1_0_xx_0",                       "st_d", slots(Pipe::Store, 2)),
    row("xx_101_0_0_xx_1",                       "ld_x_pair", LOAD),
    row("xx_101_0_0_xx_0",                       "st_x", STORE),
    row("xx_011_x_0_0",                          "ld_literal", LOAD),
    // Of one register; the first row is atomic operations on memory.
    row("xx_111_x_0_0_xx_1_xxxxx_xxxx_00",       "atomic", LOAD.on(Pipe::Store, 2)),
    row("xx_111_1_0_x_11",                       "ld_q", LOAD),
    row("xx_111_1_0_x_01",                       "ld_d", LOAD),
    row("xx_111_1_0_x_10",                       "st_q", slots(Pipe::Store, 2)),
    row("xx_111_1_0_x_00",                       "st_d", STORE),
    row("xx_111_0_0_x_00",                       "st_x", STORE),
    row("11_111_0_0_x_10",                       "prefetch", LOAD),
    row("xx_111_0_0_x",                          "ld_x", LOAD),
    // Of several vector registers: LD1, ST1; LD2 to LD4, ST2 to ST4.
    row("xx_001_1_0_0_x_1_xxxxxx_0111",          "ld1", LOAD),
    row("xx_001_1_0_0_x_1_xxxxxx_1010",          "ld1", slots(Pipe::Load, 2)),
    row("xx_001_1_0_0_x_1_xxxxxx_0110",          "ld1", slots(Pipe::Load, 3)),
    by_width("xx_001_1_0_0_x_1_xxxxxx_1000",     "ld_interleaved", interleaved_load(2, 1), interleaved_load(2, 2)),
    by_width("xx_001_1_0_0_x_1_xxxxxx_0100",     "ld_interleaved", interleaved_load(3, 1), interleaved_load(3, 2)),
    by_width("xx_001_1_0_0_x_1_xxxxxx_0000",     "ld_interleaved", interleaved_load(4, 1), interleaved_load(4, 2)),
    row("xx_001_1_0_0_x_1",                      "ld1", slots(Pipe::Load, 4)),
    by_width("xx_001_1_0_0_x_0_xxxxxx_0111",     "st1", STORE, slots(Pipe::Store, 2)),
    by_width("xx_001_1_0_0_x_0_xxxxxx_1010",     "st1", slots(Pipe::Store, 2), slots(Pipe::Store, 4)),
    by_width("xx_001_1_0_0_x_0_xxxxxx_0110",     "st1", slots(Pipe::Store, 3), slots(Pipe::Store, 6)),
    by_width("xx_001_1_0_0_x_0_xxxxxx_1000",     "st_interleaved", interleaved_store(2, 2), interleaved_store(2, 4)),
    by_width("xx_001_1_0_0_x_0_xxxxxx_0100",     "st_interleaved", interleaved_store(3, 3), interleaved_store(3, 6)),
    by_width("xx_001_1_0_0_x_0_xxxxxx_0000",     "st_interleaved", interleaved_store(4, 4), interleaved_store(4, 8)),
    by_width("xx_001_1_0_0_x_0",                 "st1", slots(Pipe::Store, 4), slots(Pipe::Store, 8)),
    // Of one lane, and LD1R.
    row("xx_001_1_0_1_x_1_xxxxxx_11",            "ld1r", LOAD_ANY),
    row("xx_001_1_0_1_x_1",                      "ld_lane", LOAD_ANY),
    row("xx_001_1_0_1_x_0",                      "st_lane", STORE.on(Pipe::FAny, 2)),
    // Exclusive and ordered, and what remains.
    row("xx_001_0_0_0_x_1",                      "atomic", LOAD),
    row("xx_001_0_0_0_x_0",                      "atomic", STORE),
    row("xxxx_1x0",                              "ld_other", LOAD),

    // Vectors, three registers of one width.
    by_width("0x1_01110_x1_1_xxxxx_00011_1",     "v_select", ANY, Slots { a76_vector: 2, ..ANY_2 }),
    by_width("0x1_01110_1x_1_xxxxx_00011_1",     "v_select", ANY, Slots { a76_vector: 2, ..ANY_2 }),
    row("0xx_01110_xx_1_xxxxx_00011_1",          "v_logic", ANY),
    row("0xx_01110_xx_1_xxxxx_0000x_1",          "v_add", ANY),
    row("0xx_01110_xx_1_xxxxx_00010_1",          "v_add", ANY),
    row("0xx_01110_xx_1_xxxxx_0010x_1",          "v_add", ANY),
    row("0xx_01110_xx_1_xxxxx_0011x_1",          "v_compare", ANY),
    by_width("0xx_01110_xx_1_xxxxx_010xx_1",     "v_shift_register", F1, F1_2),
    row("0xx_01110_xx_1_xxxxx_0110x_1",          "v_min_max", ANY),
    row("0xx_01110_xx_1_xxxxx_01110_1",          "v_add", ANY),
    by_width("0xx_01110_xx_1_xxxxx_01111_1",     "v_accumulate", F1, F1_2),
    row("0xx_01110_xx_1_xxxxx_10000_1",          "v_add", ANY),
    row("0xx_01110_xx_1_xxxxx_10001_1",          "v_compare", ANY),
    by_width("0xx_01110_xx_1_xxxxx_1001x_1",     "v_mul", F0, MULTIPLY_Q),
    row("0xx_01110_xx_1_xxxxx_1010x_1",          "v_min_max", ANY),
    by_width("0xx_01110_xx_1_xxxxx_10110_1",     "v_mul", F0, MULTIPLY_Q),
    row("0xx_01110_xx_1_xxxxx_10111_1",          "v_add", ANY),
    by_width("0x0_01110_xx_1_xxxxx_11001_1",     "v_float_fma", ANY, ANY_2),
    by_width("0xx_01110_xx_1_xxxxx_xxxxx_1",     "v_float", ANY, ANY_2),
    // Three registers of different widths.
    row("0xx_01110_xx_1_xxxxx_00xx_00",          "v_add_wide", ANY),
    row("0xx_01110_xx_1_xxxxx_0111_00",          "v_add_wide", ANY),
    row("0xx_01110_xx_1_xxxxx_01x0_00",          "v_narrow", ANY),
    row("0xx_01110_xx_1_xxxxx_0101_00",          "v_accumulate", F1),
    row("0xx_01110_xx_1_xxxxx_xxxx_00",          "v_mul_long", F0),
    // Two registers; across lanes.
    row("0xx_01110_xx_10000_0000x_10",           "v_permute", ANY),
    row("0xx_01110_xx_10000_00010_10",           "v_add_wide", ANY),
    row("0xx_01110_xx_10000_00011_10",           "v_add", ANY),
    row("0xx_01110_xx_10000_00100_10",           "v_add", ANY),
    row("0x0_01110_xx_10000_00101_10",           "v_count", ANY),
    row("0x1_01110_xx_10000_00101_10",           "v_logic", ANY),
    row("0xx_01110_xx_10000_00110_10",           "v_accumulate", F1),
    row("0xx_01110_xx_10000_00111_10",           "v_add", ANY),
    row("0xx_01110_xx_10000_01011_10",           "v_add", ANY), // ABS, NEG
    row("0xx_01110_xx_10000_010xx_10",           "v_compare", ANY),
    row("0x0_01110_xx_10000_10010_10",           "v_narrow", ANY),
    row("0x1_01110_xx_10000_10010_10",           "v_narrow", F1),
    row("0xx_01110_xx_10000_10100_10",           "v_narrow", F1),
    row("0xx_01110_xx_10000_10011_10",           "v_shift", F1),
    by_width("0xx_01110_xx_10000_xxxxx_10",      "v_float_convert", F0, F0_2),
    by_width("0xx_01110_xx_11000_xxxxx_10",      "v_across_lanes", F1, F1_2),
    // Dot products, copies, permutations, tables.
    row("0xx_01110_xx_0_xxxxx_1xxxx_1",          "v_dot", ANY),
    row("0x1_01110_xx_0_xxxxx_0xxxx_1",          "v_copy_lane", ANY),
    row("0x0_01110_xx_0_xxxxx_00000_1",          "v_copy_lane", ANY),
    row("0x0_01110_xx_0_xxxxx_0xxxx_1",          "v_copy_general", LOAD_ANY),
    row("0xx_01110_xx_0_xxxxx_0x10_10",          "v_permute", ANY), // TRN
    by_width("0xx_01110_xx_0_xxxxx_0xxx_10",     "v_permute", ANY, ANY_3), // ZIP, UZP
    row("0x1_01110_xx_0_xxxxx_0xxx_00",          "v_permute", ANY), // EXT
    by_width("0x0_01110_xx_0_xxxxx_000x_00",     "v_table", ANY, ANY_3),
    by_width("0x0_01110_xx_0_xxxxx_001x_00",     "v_table", ANY_2, slots(Pipe::FAny, 5)),
    by_width("0x0_01110_xx_0_xxxxx_010x_00",     "v_table", ANY_3, slots(Pipe::FAny, 7)),
    by_width("0x0_01110_xx_0_xxxxx_011x_00",     "v_table", slots(Pipe::FAny, 4), slots(Pipe::FAny, 9)),
    // Immediate operands.
    row("0xx_01111_0_0000_xxx_xxxxx_1",          "v_immediate", ANY),
    row("0xx_01111_x_xxxx_xxx_100xx_1",          "v_narrow", F1),
    row("0xx_01111_x_xxxx_xxx_xxxxx_1",          "v_shift", F1),
    // By an element of a vector.
    by_width("0x0_01111_xx_xx_xxxx_0x01_x0",     "v_float_fma", ANY, ANY_2),
    by_width("0xx_01111_xx_xx_xxxx_1001_x0",     "v_float", ANY, ANY_2),
    row("0xx_01111_xx_xx_xxxx_1110_x0",          "v_dot", ANY),
    by_width("0x1_01111_xx_xx_xxxx_0x00_x0",     "v_mul", F0, MULTIPLY_Q),
    by_width("0x0_01111_xx_xx_xxxx_1000_x0",     "v_mul", F0, MULTIPLY_Q),
    by_width("0xx_01111_xx_xx_xxxx_110x_x0",     "v_mul", F0, MULTIPLY_Q),
    row("0xx_01111_xx_xx_xxxx_xxxx_x0",          "v_mul_long", F0),
];

#[cfg(test)]
mod tests;
