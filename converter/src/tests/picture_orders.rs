//! Order and layout of the picture's channels, functions of it by channel, and layers between transpositions.

use ylb_format::model::{ChannelOrder, PicturePlacement, PixelLevels, TensorLayout};
use ylb_source::ir::ElementType;

use super::pictures::{
    Prepare, cast, network, note, operators, plain, verdict, verdict_of_pictures, with_number,
};
use super::*;
use crate::compare::Verdict;

const TO_FRONT: [i64; 4] = [0, 3, 1, 2];
const TO_BACK: [i64; 4] = [0, 2, 3, 1];

fn transposed(net: &mut Net, x: TensorId, perm: [i64; 4]) -> TensorId {
    net.builder.node("Transpose", &[x], &[("perm", ints(&perm))])
}

fn gathered(net: &mut Net, x: TensorId, order: &[i64]) -> TensorId {
    let order = net.builder.constant(Tensor::indices(order));
    net.builder.node("Gather", &[x, order], &[("axis", Attribute::Int(1))])
}

fn sliced(net: &mut Net, x: TensorId, [start, end, axis, step]: [i64; 4]) -> TensorId {
    let bounds = [start, end, axis, step].map(|value| net.builder.constant(Tensor::indices(&[value])));
    net.builder.node("Slice", &[x, bounds[0], bounds[1], bounds[2], bounds[3]], &[])
}

/// The three channels of a tensor, in some order, joined again.
fn joined(net: &mut Net, x: TensorId, order: [usize; 3]) -> TensorId {
    let parts = order.map(|channel| sliced(net, x, [channel as i64, channel as i64 + 1, 1, 1]));
    net.builder.node("Concat", &parts, &[("axis", Attribute::Int(-3))])
}

/// A number for each channel, along an axis of the last that a tensor has.
fn by_channel(net: &mut Net, op_type: &str, x: TensorId, numbers: [f32; 3], shape: &[usize]) -> TensorId {
    let numbers = net.builder.floats(shape, &numbers);
    net.builder.node(op_type, &[x, numbers], &[])
}

fn normalized(net: &mut Net, x: TensorId, unit: f32, shape: &[usize]) -> TensorId {
    let centred = by_channel(net, "Sub", x, [0.485, 0.456, 0.406].map(|mean| mean * unit), shape);
    by_channel(net, "Div", centred, [0.229, 0.324, 0.125].map(|deviation| deviation * unit), shape)
}

fn quantized(net: &mut Net, x: TensorId) -> TensorId {
    net.builder.quant(x, 0.043, -20.0, 8.0, true)
}

fn blue_first(pixels: Vec<u8>) -> Vec<u8> {
    let plane = pixels.len() / 3;
    pixels.chunks_exact(plane).rev().flatten().copied().collect()
}

/// The same network as one that takes red, green, blue; told; and a runtime that feeds the colours as they are is found.
#[test]
fn reversed_channels_are_the_pictures() {
    let plain = plain();
    let spellings: [Prepare; 5] = [
        |net, image| {
            let swapped = gathered(net, image, &[2, 1, 0]);
            net.input(swapped)
        },
        |net, image| {
            let swapped = sliced(net, image, [-1, i64::MIN, 1, -1]);
            net.input(swapped)
        },
        |net, image| {
            let swapped = joined(net, image, [2, 1, 0]);
            net.input(swapped)
        },
        // Behind the quantizer, and behind a division.
        |net, image| {
            let quantized = net.input(image);
            gathered(net, quantized, &[2, 1, 0])
        },
        |net, image| {
            let divided = with_number(net, "Div", image, 255.0);
            let swapped = gathered(net, divided, &[2, 1, 0]);
            net.input(swapped)
        },
    ];
    for (index, prepare) in spellings.into_iter().enumerate() {
        let (mut net, last) = network(None, 0.25, prepare);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(converted.model.input.pixel_levels, plain.input.pixel_levels, "{index}");
        assert_eq!(operators(&converted.model), operators(&plain), "{index}");
        assert!(note(&converted).contains("taken to be blue, green, red"), "{index}: {}", note(&converted));
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{index}");
        let wrong = verdict_of_pictures(&net, &converted.model, blue_first);
        assert_eq!(wrong, Verdict::Different, "{index}");
    }
    // Taken apart and joined as it was.
    let (mut net, last) = network(None, 0.25, |net, image| {
        let same = joined(net, image, [0, 1, 2]);
        net.input(same)
    });
    let converted = net.check_interpreted(last, 4);
    assert_eq!(operators(&converted.model), operators(&plain));
    assert!(note(&converted).is_empty());
}

#[test]
fn other_orders_of_channels_are_those_of_the_weights() {
    let (mut net, last) = network(None, 0.25, |net, image| gathered(net, image, &[1, 2, 0]));
    net.check_interpreted(last, 4);
}

#[test]
fn both_orders_of_channels_are_refused() {
    let refused = |prepare: Prepare| {
        let (mut net, last) = network(None, 0.25, prepare);
        net.convert(last, 4).unwrap_err().to_string()
    };
    let error = refused(|net, image| {
        let swapped = gathered(net, image, &[2, 1, 0]);
        let [swapped, own] = [swapped, image].map(|x| net.input(x));
        net.builder.node("Add", &[swapped, own], &[])
    });
    assert!(error.contains("input \"images\": its channels are read reversed in one place"), "{error}");
}

/// Mean and deviation by channel are a table for each channel.
#[test]
fn functions_by_channel_are_tables() {
    let uint8 = Some(ElementType::Unsigned(8));
    let spellings: [(Option<ElementType>, Prepare); 5] = [
        (None, |net, image| {
            let normal = normalized(net, image, 1.0, &[1, 3, 1, 1]);
            quantized(net, normal)
        }),
        (None, |net, image| {
            let normal = normalized(net, image, 255.0, &[3, 1, 1]);
            quantized(net, normal)
        }),
        (uint8, |net, image| {
            let floats = cast(net, image, 1);
            let normal = normalized(net, floats, 255.0, &[1, 3, 1, 1]);
            quantized(net, normal)
        }),
        (None, |net, image| {
            let swapped = gathered(net, image, &[2, 1, 0]);
            let normal = normalized(net, swapped, 1.0, &[1, 3, 1, 1]);
            quantized(net, normal)
        }),
        (None, |net, image| {
            let normal = normalized(net, image, 1.0, &[1, 3, 1, 1]);
            let swapped = gathered(net, normal, &[2, 1, 0]);
            quantized(net, swapped)
        }),
    ];
    for (index, (element, prepare)) in spellings.into_iter().enumerate() {
        let (mut net, last) = network(element, 1.1, prepare);
        let converted = net.check_interpreted(last, 4);
        let PixelLevels::ByChannel(tables) = &converted.model.input.pixel_levels else {
            panic!("{index}: one table")
        };
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{index}");
        // The guard: another channel's table is found.
        let mut wrong = converted.model.clone();
        let mut tables = tables.clone();
        tables.rotate_left(1);
        wrong.input.pixel_levels = PixelLevels::ByChannel(tables);
        assert_eq!(verdict(&net, &wrong), Verdict::Different, "{index}");
    }
    // The same numbers for all channels are one table.
    let (mut net, last) = network(None, 1.1, |net, image| {
        let centred = by_channel(net, "Sub", image, [0.5; 3], &[1, 3, 1, 1]);
        quantized(net, centred)
    });
    assert!(matches!(net.check_interpreted(last, 4).model.input.pixel_levels, PixelLevels::Same(_)));
    // Two quantizers by channel have no place in a file.
    let (mut net, last) = network(None, 1.1, |net, image| {
        let normal = normalized(net, image, 1.0, &[1, 3, 1, 1]);
        let [first, second] = [0.043, 0.044].map(|scale| net.builder.quant(normal, scale, -20.0, 8.0, true));
        net.builder.node("Add", &[first, second], &[])
    });
    let error = net.convert(last, 4).unwrap_err().to_string();
    assert!(error.contains("quantized in more than one way"), "{error}");
}

/// A network whose picture is `[1, height, width, 3]`.
fn channels_last(element: Option<ElementType>, scale: f32, prepare: Prepare) -> (Net, TensorId) {
    let (mut net, last) = network(element, scale, prepare);
    let image = net.builder.graph.inputs[0];
    net.builder.graph.tensors[image.0].shape = Some(vec![1, SIZE, SIZE, 3]);
    (net, last)
}

#[test]
fn channels_may_come_last() {
    let plain = plain();
    let uint8 = Some(ElementType::Unsigned(8));
    let spellings: [(Option<ElementType>, Prepare); 4] = [
        (None, |net, image| {
            let front = transposed(net, image, TO_FRONT);
            net.input(front)
        }),
        (uint8, |net, image| {
            let front = transposed(net, image, TO_FRONT);
            let floats = cast(net, front, 1);
            let divided = with_number(net, "Div", floats, 255.0);
            net.input(divided)
        }),
        (None, |net, image| {
            let divided = with_number(net, "Div", image, 255.0);
            let quantized = net.input(divided);
            transposed(net, quantized, TO_FRONT)
        }),
        // Blue first.
        (None, |net, image| {
            let swapped = sliced(net, image, [2, -4, -1, -1]);
            let front = transposed(net, swapped, TO_FRONT);
            net.input(front)
        }),
    ];
    for (index, (element, prepare)) in spellings.into_iter().enumerate() {
        let (mut net, last) = channels_last(element, 0.25, prepare);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(converted.model.input.preprocessing.layout, TensorLayout::Nhwc, "{index}");
        assert_eq!(converted.model.input.pixel_levels, plain.input.pixel_levels, "{index}");
        assert_eq!(operators(&converted.model), operators(&plain), "{index}");
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{index}");
        assert_eq!(verdict_of_pictures(&net, &converted.model, blue_first), Verdict::Different, "{index}");
    }
    let (mut net, last) = channels_last(None, 1.1, |net, image| {
        let normal = normalized(net, image, 1.0, &[3]);
        let swapped = sliced(net, normal, [-1, i64::MIN, 3, -1]);
        let front = transposed(net, swapped, TO_FRONT);
        quantized(net, front)
    });
    let converted = net.check_interpreted(last, 4);
    assert!(matches!(converted.model.input.pixel_levels, PixelLevels::ByChannel(_)));
    assert_eq!(verdict(&net, &converted.model), Verdict::Equal);
    // Nothing brings the channels to the front.
    let (mut net, last) = channels_last(None, 0.25, |net, image| {
        let swapped = transposed(net, image, [0, 3, 2, 1]);
        net.input(swapped)
    });
    let error = net.convert(last, 4).unwrap_err().to_string();
    assert!(error.contains("input \"images\": its channels come last, and nothing brings them"), "{error}");
}

/// Layers between transpositions are those without.
#[test]
fn transpositions_that_are_undone_are_taken_out() {
    let build = |transpose: bool| {
        let (mut net, image) = Net::new();
        let turn = |net: &mut Net, x, perm| if transpose { transposed(net, x, perm) } else { x };
        let input = net.input(image);
        let x = turn(&mut net, input, TO_BACK);
        let x = turn(&mut net, x, TO_FRONT);
        let weights = net.weights([5, 3, 3, 3]);
        let conv = net.conv(x, weights);
        let x = turn(&mut net, conv, TO_BACK);
        let shape: &[usize] = if transpose { &[5] } else { &[1, 5, 1, 1] };
        let bias = net.builder.floats(shape, &[0.1, -0.2, 0.3, 0.05, 0.0]);
        let x = net.builder.node("Add", &[x, bias], &[]);
        let x = net.builder.node("Relu", &[x], &[]);
        let a = net.builder.quant(x, 0.25, 0.0, 4.0, false);
        let b = net.builder.quant(x, 0.2, 0.0, 4.0, false);
        let axis = if transpose { -1 } else { 1 };
        let x = net.builder.node("Concat", &[a, b], &[("axis", Attribute::Int(axis))]);
        let x = turn(&mut net, x, TO_FRONT);
        let last = net.layer(x, [4, 10, 1, 1], 0.3);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal);
        converted.model
    };
    assert_eq!(operators(&build(true)), operators(&build(false)));
    // One that nothing undoes.
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let x = transposed(&mut net, input, [0, 1, 3, 2]);
    let last = net.layer(x, [4, 3, 3, 3], 0.25);
    let error = net.convert(last, 4).unwrap_err().to_string();
    assert!(error.contains("(Transpose): nothing behind it undoes this transposition"), "{error}");
}

/// What no graph says, options do: which colours the channels are, and where the picture lies.
#[test]
fn options_say_colours_and_place() {
    let bgr = Options {
        class_names: vec!["thing".into()],
        channels: ChannelOrder::Bgr,
        placement: PicturePlacement::Corner,
        fill: Some(127),
        ..Options::default()
    };
    let convert =
        |net: &Net| convert_graph(net.builder.graph.clone(), Metadata::default(), &bgr, &mut |_| {});
    let with_head = |prepare: Prepare| {
        let (mut net, last) = network(None, 0.25, prepare);
        let weights = net.weights([18, 4, 1, 1]);
        net.builder.graph.outputs = vec![net.conv(last, weights)];
        net
    };
    let model = convert(&with_head(|net, image| net.input(image))).unwrap().model;
    let wanted = model.input.preprocessing;
    assert_eq!((wanted.order, wanted.placement), (ChannelOrder::Bgr, PicturePlacement::Corner));
    assert_eq!(wanted.fill, [127; 3]);
    // Who exchanges the colours twice is told.
    let reversed = with_head(|net, image| {
        let swapped = gathered(net, image, &[2, 1, 0]);
        net.input(swapped)
    });
    let error = convert(&reversed).unwrap_err().to_string();
    assert!(error.contains("reverses the picture's channels: leave out --bgr"), "{error}");
}
