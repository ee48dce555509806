//! Words as the GNU assembler writes them, with the class and the slots that the guide gives.

use super::*;

const SELECT_Q: Slots = Slots { a76_vector: 2, ..ANY_2 };

#[rustfmt::skip]
const ASSEMBLED: &[(u32, &str, &str, Slots)] = &[
    (0x8b02_0020, "add x0, x1, x2", "int", INT),
    (0x9000_0000, "adrp x0, .", "int", INT),
    (0x9a82_1020, "csel x0, x1, x2, ne", "int", INT),
    (0x9b02_0c20, "madd x0, x1, x2, x3", "mul", MULTI),
    (0x9bc2_7c20, "umulh x0, x1, x2", "mul", MULTI),
    (0x9ac2_0820, "udiv x0, x1, x2", "div", slots(Pipe::Multi, 8)),
    (0xdac0_0020, "rbit x0, x1", "int", INT),
    (0x54ff_ffe1, "b.ne .-4", "branch", slots(Pipe::Branch, 1)),
    (0xb400_0040, "cbz x0, .+8", "branch", slots(Pipe::Branch, 1)),
    (0xd65f_03c0, "ret", "branch", slots(Pipe::Branch, 1)),
    (0xd53b_d040, "mrs x0, tpidr_el0", "system", INT),
    (0xf940_0420, "ldr x0, [x1, #8]", "ld_x", LOAD),
    (0x3862_6820, "ldrb w0, [x1, x2]", "ld_x", LOAD),
    (0xb880_4420, "ldrsw x0, [x1], #4", "ld_x", LOAD.on(Pipe::Int, 2)),
    (0xf85f_d020, "ldur x0, [x1, #-3]", "ld_x", LOAD),
    (0xa940_0440, "ldp x0, x1, [x2]", "ld_x_pair", LOAD),
    (0xa8c1_07e0, "ldp x0, x1, [sp], #16", "ld_x_pair", LOAD.on(Pipe::Int, 2)),
    (0xa9be_7bfd, "stp x29, x30, [sp, #-32]!", "st_x", STORE.on(Pipe::Int, 2)),
    (0xb900_0420, "str w0, [x1, #4]", "st_x", STORE),
    (0xfd40_0420, "ldr d0, [x1, #8]", "ld_d", LOAD),
    (0x6d40_27e8, "ldp d8, d9, [sp]", "ld_d", LOAD),
    (0x6d00_27e8, "stp d8, d9, [sp]", "st_d", slots(Pipe::Store, 2)),
    (0x3dc0_0420, "ldr q0, [x1, #16]", "ld_q", LOAD),
    (0x3cc1_0420, "ldr q0, [x1], #16", "ld_q", LOAD.on(Pipe::Int, 2)),
    (0x3ce2_6820, "ldr q0, [x1, x2]", "ld_q", LOAD),
    (0x9c00_0000, "ldr q0, .", "ld_literal", LOAD),
    (0xad40_0440, "ldp q0, q1, [x2]", "ld_q_pair", slots(Pipe::Load, 2)),
    (0x3d80_0420, "str q0, [x1, #16]", "st_q", slots(Pipe::Store, 2)),
    (0xad00_0440, "stp q0, q1, [x2]", "st_q_pair", slots(Pipe::Store, 4)),
    (0xfd00_0420, "str d0, [x1, #8]", "st_d", STORE),
    (0xf980_2000, "prfm pldl1keep, [x0, #64]", "prefetch", LOAD),
    (0x4c40_7020, "ld1 {v0.16b}, [x1]", "ld1", LOAD),
    (0x4cdf_2020, "ld1 {v0.16b-v3.16b}, [x1], #64", "ld1", slots(Pipe::Load, 4).on(Pipe::Int, 2)),
    (0x4c00_a020, "st1 {v0.16b-v1.16b}, [x1]", "st1", slots(Pipe::Store, 4)),
    (0x4c40_8020, "ld2 {v0.16b-v1.16b}, [x1]", "ld_interleaved", slots(Pipe::Load, 2).on(Pipe::FAny, 4)),
    (0x0c40_4020, "ld3 {v0.8b-v2.8b}, [x1]", "ld_interleaved", slots(Pipe::Load, 3).on(Pipe::FAny, 3)),
    (0x4c00_8420, "st2 {v0.8h-v1.8h}, [x1]", "st_interleaved", slots(Pipe::Store, 4).on(Pipe::FAny, 4)),
    (0x4d40_c020, "ld1r {v0.16b}, [x1]", "ld1r", LOAD.on(Pipe::FAny, 2)),
    (0x4d40_8020, "ld1 {v0.s}[2], [x1]", "ld_lane", LOAD.on(Pipe::FAny, 2)),
    (0x0d00_0c20, "st1 {v0.b}[3], [x1]", "st_lane", STORE.on(Pipe::FAny, 2)),
    (0xc85f_fc20, "ldaxr x0, [x1]", "atomic", LOAD),
    (0x889f_fc20, "stlr w0, [x1]", "atomic", STORE),
    (0xf820_0041, "ldadd x0, x1, [x2]", "atomic", LOAD.on(Pipe::Store, 2)),
    (0x4e22_1c20, "and v0.16b, v1.16b, v2.16b", "v_logic", ANY),
    (0x6e22_1c20, "eor v0.16b, v1.16b, v2.16b", "v_logic", ANY),
    (0x4ea1_1c20, "orr v0.16b, v1.16b, v1.16b", "v_logic", ANY),
    (0x6e20_5820, "mvn v0.16b, v1.16b", "v_logic", ANY),
    (0x6e62_1c20, "bsl v0.16b, v1.16b, v2.16b", "v_select", SELECT_Q),
    (0x2ee2_1c20, "bif v0.8b, v1.8b, v2.8b", "v_select", ANY),
    (0x4e20_5820, "cnt v0.16b, v1.16b", "v_count", ANY),
    (0x4e22_8420, "add v0.16b, v1.16b, v2.16b", "v_add", ANY),
    (0x6e62_8420, "sub v0.8h, v1.8h, v2.8h", "v_add", ANY),
    (0x6e22_0c20, "uqadd v0.16b, v1.16b, v2.16b", "v_add", ANY),
    (0x6e22_0420, "uhadd v0.16b, v1.16b, v2.16b", "v_add", ANY),
    (0x4e22_bc20, "addp v0.16b, v1.16b, v2.16b", "v_add", ANY),
    (0x6ea0_b820, "neg v0.4s, v1.4s", "v_add", ANY),
    (0x2e22_1020, "uaddw v0.8h, v1.8h, v2.8b", "v_add_wide", ANY),
    (0x6e22_0020, "uaddl2 v0.8h, v1.16b, v2.16b", "v_add_wide", ANY),
    (0x6e20_2820, "uaddlp v0.8h, v1.16b", "v_add_wide", ANY),
    (0x6e20_6820, "uadalp v0.8h, v1.16b", "v_accumulate", F1),
    (0x4e60_6820, "sadalp v0.4s, v1.8h", "v_accumulate", F1),
    (0x0e22_5020, "sabal v0.8h, v1.8b, v2.8b", "v_accumulate", F1),
    (0x6e22_7c20, "uaba v0.16b, v1.16b, v2.16b", "v_accumulate", F1_2),
    (0x4e62_3c20, "cmge v0.8h, v1.8h, v2.8h", "v_compare", ANY),
    (0x4e22_8c20, "cmtst v0.16b, v1.16b, v2.16b", "v_compare", ANY),
    (0x4e60_8820, "cmgt v0.8h, v1.8h, #0", "v_compare", ANY),
    (0x6e22_6c20, "umin v0.16b, v1.16b, v2.16b", "v_min_max", ANY),
    (0x4f0b_5420, "shl v0.16b, v1.16b, #3", "v_shift", F1),
    (0x6f0b_5420, "sli v0.16b, v1.16b, #3", "v_shift", F1),
    (0x6f3d_1420, "usra v0.4s, v1.4s, #3", "v_shift", F1),
    (0x2f08_a420, "ushll v0.8h, v1.8b, #0", "v_shift", F1),
    (0x4e62_4420, "sshl v0.8h, v1.8h, v2.8h", "v_shift_register", F1_2),
    (0x0ea2_5420, "srshl v0.2s, v1.2s, v2.2s", "v_shift_register", F1),
    (0x0e21_2820, "xtn v0.8b, v1.8h", "v_narrow", ANY),
    (0x0e21_4820, "sqxtn v0.8b, v1.8h", "v_narrow", F1),
    (0x2e21_2820, "sqxtun v0.8b, v1.8h", "v_narrow", F1),
    (0x0f1b_9c20, "sqrshrn v0.4h, v1.4s, #5", "v_narrow", F1),
    (0x0e22_4020, "addhn v0.8b, v1.8h, v2.8h", "v_narrow", ANY),
    (0x0e22_c020, "smull v0.8h, v1.8b, v2.8b", "v_mul_long", F0),
    (0x6e22_8020, "umlal2 v0.8h, v1.16b, v2.16b", "v_mul_long", F0),
    (0x0f72_2020, "smlal v0.4s, v1.4h, v2.h[3]", "v_mul_long", F0),
    (0x4ea2_9c20, "mul v0.4s, v1.4s, v2.4s", "v_mul", MULTIPLY_Q),
    (0x4e22_9420, "mla v0.16b, v1.16b, v2.16b", "v_mul", MULTIPLY_Q),
    (0x0e22_9420, "mla v0.8b, v1.8b, v2.8b", "v_mul", F0),
    (0x4f52_8020, "mul v0.8h, v1.8h, v2.h[1]", "v_mul", MULTIPLY_Q),
    (0x6e62_b420, "sqrdmulh v0.8h, v1.8h, v2.8h", "v_mul", MULTIPLY_Q),
    (0x0f42_d020, "sqrdmulh v0.4h, v1.4h, v2.h[0]", "v_mul", F0),
    (0x4e82_9420, "sdot v0.4s, v1.16b, v2.16b", "v_dot", ANY),
    (0x4fa2_e820, "sdot v0.4s, v1.16b, v2.4b[3]", "v_dot", ANY),
    (0x6fa2_e820, "udot v0.4s, v1.16b, v2.4b[3]", "v_dot", ANY),
    (0x4e02_0020, "tbl v0.16b, {v1.16b}, v2.16b", "v_table", ANY_3),
    (0x0e02_0020, "tbl v0.8b, {v1.16b}, v2.8b", "v_table", ANY),
    (0x4e02_6020, "tbl v0.16b, {v1.16b-v4.16b}, v2.16b", "v_table", slots(Pipe::FAny, 9)),
    (0x6e02_4020, "ext v0.16b, v1.16b, v2.16b, #8", "v_permute", ANY),
    (0x4e02_2820, "trn1 v0.16b, v1.16b, v2.16b", "v_permute", ANY),
    (0x4e02_3820, "zip1 v0.16b, v1.16b, v2.16b", "v_permute", ANY_3),
    (0x0e02_5820, "uzp2 v0.8b, v1.8b, v2.8b", "v_permute", ANY),
    (0x4e20_0820, "rev64 v0.16b, v1.16b", "v_permute", ANY),
    (0x4e0b_0420, "dup v0.16b, v1.b[5]", "v_copy_lane", ANY),
    (0x6e0c_4420, "mov v0.s[1], v1.s[2]", "v_copy_lane", ANY),
    (0x4e01_0c20, "dup v0.16b, w1", "v_copy_general", LOAD_ANY),
    (0x4e0c_1c20, "mov v0.s[1], w1", "v_copy_general", LOAD_ANY),
    (0x0e05_3c20, "umov w0, v1.b[2]", "v_copy_general", LOAD_ANY),
    (0x4f00_e5e0, "movi v0.16b, #15", "v_immediate", ANY),
    (0x4eb1_b820, "addv s0, v1.4s", "v_across_lanes", F1_2),
    (0x2e30_a820, "umaxv b0, v1.8b", "v_across_lanes", F1),
    (0x4e22_cc20, "fmla v0.4s, v1.4s, v2.4s", "v_float_fma", ANY_2),
    (0x4fa2_1020, "fmla v0.4s, v1.4s, v2.s[1]", "v_float_fma", ANY_2),
    (0x4e22_d420, "fadd v0.4s, v1.4s, v2.4s", "v_float", ANY_2),
    (0x2e22_dc20, "fmul v0.2s, v1.2s, v2.2s", "v_float", ANY),
    (0x4fa2_9020, "fmul v0.4s, v1.4s, v2.s[1]", "v_float", ANY_2),
    (0x4e21_d820, "scvtf v0.4s, v1.4s", "v_float_convert", F0_2),
    (0x1e22_2820, "fadd s0, s1, s2", "f_scalar", ANY),
    (0x1e26_0020, "fmov w0, s1", "f_scalar", ANY),
];

#[test]
fn assembled_instructions_have_their_class_and_slots() {
    let wrong: Vec<String> = ASSEMBLED
        .iter()
        .filter_map(|&(word, text, class, slots)| {
            let expected = (class, Slots { instructions: 1, ..slots });
            let found = classify(word);
            (found != expected).then(|| format!("{text}: {found:?}, expected {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_can_be_reached() {
    // A word that sets nothing but the fixed bits of a row finds that row, or one before it that is
    // more special; a row that differs from all before it in no such word would be dead.
    for (index, row) in TABLE.iter().enumerate() {
        let reached =
            (0..32u32).flat_map(|one| (0..32u32).map(move |other| 1 << one | 1 << other)).any(|more| {
                let word = row.bits.value | more & !row.bits.mask;
                TABLE.iter().position(|row| row.bits.matches(word)) == Some(index)
            });
        assert!(reached, "row {index} ({}) is hidden by the rows above it", row.class);
    }
}

#[test]
fn the_inner_steps_of_micro_kernels_take_the_cycles_of_the_guide() {
    let bound = |words: &[u32]| {
        let mut run = Slots::NONE;
        words.iter().for_each(|&word| run += classify(word).1);
        run.a72_bound() as f64 / crate::slots::PER_CYCLE as f64
    };
    // AND, CNT, ADD: three slots for two pipes.
    assert_eq!(bound(&[0x4e22_1c20, 0x4e20_5820, 0x4e22_8420]), 1.5);
    // SMULL, SMLAL2 on F0 beside SADALP on F1: 16 products in two cycles.
    assert_eq!(bound(&[0x0e22_c020, 0x4e22_8020, 0x4e60_6820]), 2.0);
    // FMLA on both pipes: four products a cycle.
    assert_eq!(bound(&[0x4e22_cc20]), 1.0);
}
