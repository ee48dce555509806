//! Stages of random models: sums and products of functions of accumulators and of levels.

use ylb_format::model::{
    Combine, Conv, Curve, CurveOperand, Curves, OperandFunction, Operator, ValueId, ValueKind, Window,
};

use super::Builder;

impl Builder {
    /// A join of a value, of convolutions of it, or of one and a gate.
    pub(super) fn join(&mut self, input: ValueId) -> ValueId {
        let shape = self.shape(input);
        let product = self.rng.one_in(2);
        let curves = vec![self.curve(), self.curve()];
        let mut operands = vec![self.operand(input, shape[0])];
        if self.rng.one_in(2) {
            operands.push(self.table(input));
        }
        let channels = if product && self.rng.one_in(2) { 1 } else { shape[0] };
        let another = self.operand(input, channels);
        operands.push(another);
        if product && self.rng.one_in(3) && operands.len() == 2 {
            let window = Window { kernel: [shape[1], shape[2]], stride: [1, 1], padding: [0; 4] };
            if shape[1].max(shape[2]) < 200 {
                let gate = self.value([shape[0], 1, 1], ValueKind::Levels(self.encoding_of(input)));
                let gate = self.node(gate, Operator::MaxPool { input, window });
                operands.push(self.table(gate));
            }
        }
        let combine = if product { Combine::Product { shift: 28 } } else { Combine::Sum };
        let to = self.encoding();
        let mut thresholds: Vec<i64> =
            (0..self.rng.below(40)).map(|_| self.rng.range(-1 << 36, 1 << 36)).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        let levels = (0..=thresholds.len()).map(|_| self.level(to.max_level)).collect();
        let output = self.value(shape, ValueKind::Levels(to));
        self.node(output, Operator::Curves(Curves { operands, combine, curves, thresholds, levels }))
    }

    /// Accumulators of a convolution, in 16 bits or more, with a curve.
    fn operand(&mut self, input: ValueId, channels: u32) -> CurveOperand {
        let kernel = self.rng.pick(&[1, 3]);
        let window = Window { kernel: [kernel; 2], stride: [1, 1], padding: [kernel / 2; 4] };
        let term = self.term(input, window, 1, channels);
        let reach = self.reach(&term);
        let [_, height, width] = self.shape(input);
        let kept = self.value([channels, height, width], ValueKind::Accumulators);
        let conv = Conv { terms: vec![term], window, groups: 1, requantize: None };
        let kept = self.node(kept, Operator::Conv(conv));
        // Most of them lie on one of the pieces, which are 2^26 wide.
        let most = (9 << 40) / reach.max(1);
        let multipliers = (0..channels).map(|_| self.rng.range(-most, most)).collect();
        let bias = (0..channels).map(|_| self.rng.range(0, 9 << 26)).collect();
        let curve = self.rng.below(2) as u8;
        CurveOperand { input: kept, function: OperandFunction::Curve { curve, multipliers, bias, shift: 14 } }
    }

    fn table(&mut self, input: ValueId) -> CurveOperand {
        let levels = usize::from(self.encoding_of(input).max_level) + 1;
        let table = (0..levels).map(|_| self.rng.range(-1 << 35, 1 << 35)).collect();
        CurveOperand { input, function: OperandFunction::Table(table) }
    }

    fn curve(&mut self) -> Curve {
        let count = 1 + self.rng.below(9);
        let piece = |builder: &mut Self, end: bool| {
            let [k0, k1, k2, k3] = [(); 4].map(|()| builder.rng.range(-1 << 33, 1 << 33));
            if end { [k0, k1 >> 4, 0, 0] } else { [k0, k1, k2, k3] }
        };
        let pieces = (0..count).map(|index| piece(self, index == 0 || index + 1 == count)).collect();
        Curve { width: 26, pieces }
    }
}
