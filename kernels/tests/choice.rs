//! Which micro-kernel is taken where the instructions alone do not say which is faster.
#![cfg(target_arch = "aarch64")]

use ylb_kernels::families::direct::{self, Operands};
use ylb_kernels::registry::Dispatch;
use ylb_kernels::ukernel::Engine;

/// TBL of 128 bits is three times as dear on a Cortex-A72 as on the cores with dot products.
#[test]
fn weights_of_one_bit_are_looked_up_on_cores_with_dot_products_only() {
    let dispatch = Dispatch::restricted_to("").expect("no restriction");
    for outputs in [8, 16, 32, 48, 64, 80, 96, 128, 255, 256] {
        for depth in [16, 48, 64, 192, 384] {
            let operands =
                Operands { max_level: 3, weight_bits: 1, min_weight: -1, max_weight: 1, depth, outputs };
            let chosen = direct::candidate(&dispatch, &[operands]).expect("something takes everything");
            let name = chosen.kernel.kernel().name;
            assert_eq!(name.ends_with("neon_tbl"), Engine::Dotprod.is_available(), "{operands:?}: {name}");
        }
    }
}
