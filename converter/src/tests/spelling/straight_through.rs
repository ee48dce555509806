//! `x + (q − x)`, as training needs it and exporters write it.

use super::*;
use crate::report::WarningKind;

/// LSQ as most copies of it have it: `(round(c) - c).detach() + c`.
#[test]
fn straight_through_rounding_is_exact() {
    for rounding in ["Round", "Floor", "Ceil"] {
        let (mut net, _) = Net::new();
        let relu = activation(&mut net);
        let divided = net.with("Div", relu, 0.37);
        // Off zero, where sums of floats are a hair above or below.
        let shifted = net.with("Sub", divided, 0.013);
        let clipped = net.clip(shifted, 0.0, 15.0);
        let rounded = net.one(rounding, clipped);
        let difference = net.builder.node("Sub", &[rounded, clipped], &[]);
        let estimated = net.builder.node("Add", &[difference, clipped], &[]);
        let real = net.with("Mul", estimated, 0.37);
        let converted = net.check_interpreted(real, 4);
        let told = |kind| converted.report.warnings.iter().any(|warning| warning.kind == kind);
        assert!(!told(WarningKind::StraightThrough));
    }
}

/// `x + (q - x)` round a whole quantizer, with the sign of binary networks too.
#[test]
fn straight_through_quantizers_are_taken_with_a_note() {
    for quantizer in ["Round", "Sign"] {
        let (mut net, _) = Net::new();
        let relu = activation(&mut net);
        let x = net.with("Sub", relu, 0.3);
        let divided = net.with("Div", x, 0.37);
        let clipped = net.clip(divided, -7.0, 7.0);
        let rounded = net.one(quantizer, clipped);
        let real = net.with("Mul", rounded, 0.37);
        let difference = net.builder.node("Sub", &[real, x], &[]);
        let estimated = net.builder.node("Add", &[x, difference], &[]);
        let converted = net.check_interpreted(estimated, 4);
        let told = |kind| converted.report.warnings.iter().any(|warning| warning.kind == kind);
        assert!(told(WarningKind::StraightThrough));
    }
}
