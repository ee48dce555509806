//! Whether a converter with a wrong idea of the picture would be found out: every preparation of it that graphs have, and
//! models that were made wrong on purpose.
//!
//! Each is converted, and must equal its source. Then the model is changed to what a converter would make that overlooked
//! the preparation, and compared once more, which must fail: what `compare` and `convert --verify` say is worth something.

use ylb_format::model::{Model, PixelLevels};
use ylb_source::ir::ElementType;

use super::pictures::{Prepare, cast, network, verdict, verdict_of_pictures, with_number};
use super::*;
use crate::compare::Verdict;

/// What a converter overlooks.
#[derive(Clone, Copy, Debug)]
enum Overlooked {
    /// The graph divides by 255, and so does whoever feeds it.
    Division,
    /// The graph does not divide by 255, and nobody does.
    MissingDivision,
    /// The graph reverses the colours.
    Order,
    /// The graph treats each colour on its own.
    Channels,
    /// The graph's channels come last.
    Layout,
}

impl Overlooked {
    /// The verdict over a model that was made so.
    fn verdict(self, net: &Net, model: &Model) -> Verdict {
        let mut wrong = model.clone();
        let mut tables = |of: &dyn Fn(&[u8; 256], u8) -> u8| {
            for table in wrong.input.pixel_levels.tables_mut() {
                *table = std::array::from_fn(|byte| of(table, byte as u8));
            }
        };
        match self {
            // Of byte / 255 a level for 0 and one for 1 are left.
            Self::Division => tables(&|table, byte| table[usize::from(byte >= 128)]),
            // All but 0 are larger than anything that was meant.
            Self::MissingDivision => tables(&|table, byte| if byte == 0 { table[0] } else { table[255] }),
            Self::Channels => {
                let PixelLevels::ByChannel(tables) = &wrong.input.pixel_levels else { panic!("{self:?}") };
                wrong.input.pixel_levels = PixelLevels::Same(tables[0]);
            }
            Self::Order => return verdict_of_pictures(net, model, reversed),
            Self::Layout => return verdict_of_pictures(net, model, planes_for_pixels),
        }
        verdict(net, &wrong)
    }
}

fn reversed(pixels: Vec<u8>) -> Vec<u8> {
    let plane = pixels.len() / 3;
    pixels.chunks_exact(plane).rev().flatten().copied().collect()
}

/// What a graph of channels that come last would see if it were fed planes.
fn planes_for_pixels(pixels: Vec<u8>) -> Vec<u8> {
    (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3)).copied().collect()
}

fn divided(net: &mut Net, image: TensorId) -> TensorId {
    with_number(net, "Div", image, 255.0)
}

fn normalized(net: &mut Net, image: TensorId) -> TensorId {
    let [mean, deviation] =
        [[0.1, 0.5, 0.3], [0.4, 0.2, 0.3]].map(|numbers| net.builder.floats(&[3, 1, 1], &numbers));
    let centred = net.builder.node("Sub", &[image, mean], &[]);
    let scaled = net.builder.node("Div", &[centred, deviation], &[]);
    net.builder.quant(scaled, 0.043, 0.0, 8.0, true)
}

#[test]
fn every_wrong_idea_of_the_picture_is_found() {
    const FLOAT: i64 = 1;
    let uint8 = Some(ElementType::Unsigned(8));
    let preparations: [(&str, Option<ElementType>, f32, Prepare, Overlooked); 12] = [
        (
            "uint8, cast, divided",
            uint8,
            0.25,
            |net, image| {
                let floats = cast(net, image, FLOAT);
                let divided = divided(net, floats);
                net.input(divided)
            },
            Overlooked::Division,
        ),
        (
            "uint8, cast, divided, without a quantizer",
            uint8,
            0.25,
            |net, image| {
                let floats = cast(net, image, FLOAT);
                divided(net, floats)
            },
            Overlooked::Division,
        ),
        (
            "uint8, multiplied",
            uint8,
            0.25,
            |net, image| {
                let floats = cast(net, image, FLOAT);
                let multiplied = with_number(net, "Mul", floats, 1.0 / 255.0);
                net.input(multiplied)
            },
            Overlooked::Division,
        ),
        (
            "uint8, a quantizer of scale 1",
            uint8,
            64.0,
            |net, image| {
                let floats = cast(net, image, FLOAT);
                net.builder.quant(floats, 1.0, 0.0, 8.0, false)
            },
            Overlooked::Division,
        ),
        (
            "floats, divided",
            None,
            0.25,
            |net, image| {
                let divided = divided(net, image);
                net.input(divided)
            },
            Overlooked::Division,
        ),
        ("floats, divided, without a quantizer", None, 0.25, divided, Overlooked::Division),
        (
            "floats, a quantizer of scale 1",
            None,
            64.0,
            |net, image| net.builder.quant(image, 1.0, 0.0, 8.0, false),
            Overlooked::Division,
        ),
        (
            "bytes of QuantizeLinear",
            uint8,
            0.25,
            |net, image| {
                let scale = net.builder.float(1.0 / 255.0);
                net.builder.node("DequantizeLinear", &[image, scale], &[])
            },
            Overlooked::Division,
        ),
        ("as YOLOv5 feeds it", None, 0.25, |net, image| net.input(image), Overlooked::MissingDivision),
        (
            "blue, green, red",
            None,
            0.25,
            |net, image| {
                let order = net.builder.constant(Tensor::indices(&[2, 1, 0]));
                let swapped = net.builder.node("Gather", &[image, order], &[("axis", Attribute::Int(1))]);
                net.input(swapped)
            },
            Overlooked::Order,
        ),
        ("mean and deviation by channel", None, 0.6, normalized, Overlooked::Channels),
        (
            "mean and deviation of bytes",
            uint8,
            0.6,
            |net, image| {
                let floats = cast(net, image, FLOAT);
                let divided = divided(net, floats);
                normalized(net, divided)
            },
            Overlooked::Division,
        ),
    ];
    for (name, element, scale, prepare, overlooked) in preparations {
        let (mut net, last) = network(element, scale, prepare);
        let model = net.check_interpreted(last, 4).model;
        assert_eq!(verdict(&net, &model), Verdict::Equal, "{name}");
        assert_eq!(overlooked.verdict(&net, &model), Verdict::Different, "{name}: {overlooked:?}");
    }
}

#[test]
fn a_wrong_idea_of_sliced_pictures_and_of_layouts_is_found() {
    // A stem that slices, as Focus.
    let (mut net, image) = Net::new();
    let stem = stems::focus(&mut net, image);
    let divided = divided(&mut net, stem);
    let quantized = net.input(divided);
    let first = net.layer(quantized, [5, 12, 3, 3], 0.25);
    let last = net.layer(first, [4, 5, 1, 1], 0.3);
    let model = net.convert(last, 4).unwrap().model;
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    assert_eq!(Overlooked::Division.verdict(&net, &model), Verdict::Different);
    // Channels that come last.
    let (mut net, image) = Net::new();
    net.builder.graph.tensors[image.0].shape = Some(vec![1, SIZE, SIZE, 3]);
    let planes = net.builder.node("Transpose", &[image], &[("perm", ints(&[0, 3, 1, 2]))]);
    let quantized = net.input(planes);
    let first = net.layer(quantized, [5, 3, 3, 3], 0.25);
    let last = net.layer(first, [4, 5, 1, 1], 0.3);
    let model = net.convert(last, 4).unwrap().model;
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    for overlooked in [Overlooked::Layout, Overlooked::Order, Overlooked::Division] {
        assert_eq!(overlooked.verdict(&net, &model), Verdict::Different, "{overlooked:?}");
    }
}
