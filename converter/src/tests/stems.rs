//! Stems and poolings of older networks.

use ylb_source::ir::ElementType;

use super::*;

/// `x[..., y::2, x::2]` as two slices.
fn every_second(net: &mut Net, x: TensorId, phase: [i64; 2]) -> TensorId {
    let mut sliced = x;
    for (axis, start) in [2, 3].into_iter().zip(phase) {
        let bounds = [start, i64::MAX, axis, 2].map(|value| net.builder.constant(Tensor::indices(&[value])));
        sliced = net.builder.node("Slice", &[sliced, bounds[0], bounds[1], bounds[2], bounds[3]], &[]);
    }
    sliced
}

pub(super) fn focus(net: &mut Net, x: TensorId) -> TensorId {
    let quarters = [[0, 0], [1, 0], [0, 1], [1, 1]].map(|phase| every_second(net, x, phase));
    net.builder.node("Concat", &quarters, &[("axis", Attribute::Int(1))])
}

fn check_stem(net: &mut Net, stem: TensorId) -> Converted {
    let first = net.layer(stem, [5, 12, 3, 3], 0.25);
    let second = net.layer(first, [4, 5, 1, 1], 0.3);
    let converted = net.check(second, 4);
    assert_eq!(windows(&converted.model), [[6, 2], [1, 1], [1, 1]]);
    converted
}

#[test]
fn focus_is_a_convolution_of_twice_the_stride() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let stem = focus(&mut net, input);
    check_stem(&mut net, stem);
}

/// The same as one operator, of the picture and of a feature map.
#[test]
fn space_to_depth_is_a_stem() {
    let blocks = [("blocksize", Attribute::Int(2))];
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let stem = net.builder.node("SpaceToDepth", &[input], &blocks);
    let first = net.layer(stem, [5, 12, 3, 3], 0.25);
    let inner = net.builder.node("SpaceToDepth", &[first], &blocks);
    let second = net.layer(inner, [4, 20, 1, 1], 0.3);
    let converted = net.check_interpreted(second, 4);
    assert_eq!(windows(&converted.model), [[6, 2], [2, 2], [1, 1]]);
}

/// The image itself is sliced and a quantizer sits behind the concat: its codes are those of the
/// source model in another arrangement, so they lose their name.
#[test]
fn quantizers_behind_focus_move_before_it() {
    for written_out in [false, true] {
        let (mut net, image) = Net::new();
        let stem = focus(&mut net, image);
        let stem = if written_out {
            let [step, low, high] = [1.0 / 127.0, 0.0, 127.0].map(|number| net.builder.float(number));
            let scaled = net.builder.node("Div", &[stem, step], &[]);
            let clipped = net.builder.node("Clip", &[scaled, low, high], &[]);
            let rounded = net.builder.node("Round", &[clipped], &[]);
            net.builder.node("Mul", &[rounded, step], &[])
        } else {
            net.builder.quant(stem, 1.0 / 63.0, 0.0, 6.0, false)
        };
        let converted = check_stem(&mut net, stem);
        let input = converted.model.picture();
        assert_eq!((input.shape(), input.name.as_str()), ([3, 16, 16], ""));
    }
}

#[test]
fn focus_without_a_quantizer_reads_the_picture() {
    let (mut net, image) = Net::new();
    let stem = focus(&mut net, image);
    check_stem(&mut net, stem);
}

/// As ONNX Runtime writes it: every slice has its `QuantizeLinear`, and so has the concat. The nodes that wrote the
/// codes stay behind in the graph, and read the stem still.
#[test]
fn a_quantizer_for_every_slice_moves_before_focus() {
    let (mut net, image) = Net::new();
    let pair = |net: &mut Net, x: TensorId, steps: f32| {
        let scale = net.builder.float(1.0 / steps);
        let zero =
            net.builder.constant(Tensor::integers(&[], ElementType::Signed(8), [-128].into_iter()).unwrap());
        let codes = net.builder.node("QuantizeLinear", &[x, scale, zero], &[]);
        net.builder.node("DequantizeLinear", &[codes, scale, zero], &[])
    };
    let quarters = [[0, 0], [1, 0], [0, 1], [1, 1]].map(|phase| every_second(&mut net, image, phase));
    let quarters = quarters.map(|quarter| pair(&mut net, quarter, 255.0));
    let stem = net.builder.node("Concat", &quarters, &[("axis", Attribute::Int(1))]);
    let stem = pair(&mut net, stem, 255.0);
    check_stem(&mut net, stem);

    // Slices on grids of their own are no stem.
    let (mut net, image) = Net::new();
    let quarters = [[0, 0], [1, 0], [0, 1], [1, 1]].map(|phase| every_second(&mut net, image, phase));
    let mut steps = 255.0;
    let quarters = quarters.map(|quarter| {
        steps -= 1.0;
        pair(&mut net, quarter, steps)
    });
    let stem = net.builder.node("Concat", &quarters, &[("axis", Attribute::Int(1))]);
    let first = net.layer(stem, [5, 12, 3, 3], 0.25);
    assert_eq!(net.convert(first, 5).unwrap_err().op_type(), Some("Slice"));
}

/// A stem that something else reads too, and slices that are no stem, are refused by name.
#[test]
fn other_slices_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let quarters = [[0, 0], [1, 0], [0, 1], [0, 1]].map(|phase| every_second(&mut net, input, phase));
    let stem = net.builder.node("Concat", &quarters, &[("axis", Attribute::Int(1))]);
    let first = net.layer(stem, [5, 12, 3, 3], 0.25);
    let error = net.convert(first, 5).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::Unsupported, Some("Slice")));
}

/// SPP: poolings of 5, 9 and 13 side by side.
#[test]
fn spatial_pyramids_of_any_window() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let first = net.layer(input, [5, 3, 3, 3], 0.25);
    let mut parts = vec![first];
    for extent in [5, 9, 13] {
        let window = [("kernel_shape", ints(&[extent; 2])), ("pads", ints(&[extent / 2; 4]))];
        parts.push(net.builder.node("MaxPool", &[first], &window));
    }
    let joined = net.builder.node("Concat", &parts, &[("axis", Attribute::Int(1))]);
    let second = net.layer(joined, [4, 20, 1, 1], 0.4);
    net.check(second, 4);
}
