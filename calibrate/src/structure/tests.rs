use super::*;
use crate::samples::{SIZE, network};
use ylb_source::ir::{Attribute, Builder};

/// Names of the operators that write the sites, with the number of their grid.
fn sites(network: &Forward, structure: &Structure) -> Vec<(String, usize)> {
    let writer = |id: &TensorId| {
        let position = (0..network.len()).find(|&position| network.node(position).outputs.contains(id));
        network.node(position.unwrap()).op_type.clone()
    };
    structure.sites.iter().map(|(id, grid)| (writer(id), *grid)).collect()
}

#[test]
fn functions_end_in_one_quantizer_and_concats_share_a_grid() {
    let network = Forward::new(network(), SIZE).unwrap();
    let structure = Structure::of(&network);
    let found = sites(&network, &structure);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    // The stem, the layer before the bottleneck, the one in it, the sum, the pyramid and its upper level.
    assert_eq!(names, ["Mul", "Mul", "Mul", "Add", "LeakyRelu", "Relu"]);
    let grids: Vec<usize> = found.iter().map(|(_, grid)| *grid).collect();
    assert_eq!(grids, [0, 1, 2, 3, 4, 4]);
    assert_eq!(structure.grids, 5);
    let ends: Vec<[bool; 3]> = structure
        .convolutions
        .iter()
        .map(|conv| [conv.is_first, conv.is_last, conv.site.is_some()])
        .collect();
    let inner = [false, false, true];
    assert_eq!(ends, [[true, false, true], inner, inner, inner, inner, [false, true, false]]);
}

/// A size that is computed from a feature map's extents is no feature map.
#[test]
fn shapes_are_not_quantized() {
    let (mut builder, picture) = Builder::picture(8, 8);
    let weights = builder.floats(&[4, 3, 1, 1], &[0.5; 12]);
    let first = builder.node("Conv", &[picture, weights], &[]);
    let shape = builder.node("Shape", &[first], &[]);
    let twice = builder.constant(ylb_source::ir::Tensor::indices(&[1, 1, 2, 2]));
    let sizes = builder.node("Mul", &[shape, twice], &[]);
    let none = builder.floats(&[0], &[]);
    let resized = builder.node("Resize", &[first, none, none, sizes], &[]);
    let weights = builder.floats(&[4, 4, 1, 1], &[0.5; 16]);
    let last = builder.node("Conv", &[resized, weights], &[]);
    builder.graph.outputs.push(last);
    let network = Forward::new(builder.graph, [8, 8]).unwrap();
    let structure = Structure::of(&network);
    assert_eq!(structure.sites.keys().copied().collect::<Vec<_>>(), [first]);
}

/// What the file quantizes keeps its grid.
#[test]
fn quantized_tensors_are_left_alone() {
    let (mut builder, picture) = Builder::picture(8, 8);
    let weights = builder.floats(&[4, 3, 1, 1], &[0.5; 12]);
    let first = builder.node("Conv", &[picture, weights], &[]);
    let quantized = builder.quant(first, 0.1, 0.0, 8.0, true);
    let own = builder.node("Relu", &[first], &[]);
    let joined = builder.node("Concat", &[quantized, own], &[("axis", Attribute::Int(1))]);
    let weights = builder.floats(&[4, 8, 1, 1], &[0.5; 32]);
    let last = builder.node("Conv", &[joined, weights], &[]);
    builder.graph.outputs.push(last);
    let network = Forward::new(builder.graph, [8, 8]).unwrap();
    let structure = Structure::of(&network);
    assert_eq!(structure.sites.keys().copied().collect::<Vec<_>>(), [own]);
}

/// Quantizers that are written as arithmetic, of weights and of activations.
#[test]
fn quantizers_written_as_arithmetic_are_left_alone() {
    let (mut builder, picture) = Builder::picture(8, 8);
    let scale = builder.float(0.1);
    let written = |builder: &mut Builder, x| {
        let steps = builder.node("Div", &[x, scale], &[]);
        let codes = builder.node("Round", &[steps], &[]);
        builder.node("Mul", &[codes, scale], &[])
    };
    let weights = builder.floats(&[4, 3, 1, 1], &[0.5; 12]);
    let weights = written(&mut builder, weights);
    let first = builder.node("Conv", &[picture, weights], &[]);
    let quantized = written(&mut builder, first);
    let plain = builder.floats(&[4, 4, 1, 1], &[0.5; 16]);
    let last = builder.node("Conv", &[quantized, plain], &[]);
    builder.graph.outputs.push(last);
    let structure = Structure::of(&Forward::new(builder.graph, [8, 8]).unwrap());
    assert!(structure.sites.is_empty());
    assert_eq!(
        structure.convolutions.iter().map(|conv| conv.is_quantized).collect::<Vec<_>>(),
        [true, false]
    );
}

/// A picture that is normalized and cut before the first convolution has no quantizer: its bytes are codes.
#[test]
fn pictures_are_left_alone() {
    let (mut builder, picture) = Builder::picture(8, 8);
    let number = builder.float(2.0);
    let scaled = builder.node("Mul", &[picture, number], &[]);
    let joined = builder.node("Concat", &[scaled, scaled], &[("axis", Attribute::Int(1))]);
    let weights = builder.floats(&[4, 6, 1, 1], &[0.5; 24]);
    let last = builder.node("Conv", &[joined, weights], &[]);
    builder.graph.outputs.push(last);
    let structure = Structure::of(&Forward::new(builder.graph, [8, 8]).unwrap());
    assert!(structure.sites.is_empty());
    assert_eq!(structure.convolutions.len(), 1);
    assert!(structure.convolutions[0].is_first && structure.convolutions[0].is_last);
}

/// YOLOv8's decode has a convolution of its own, which no layer is.
#[test]
fn convolutions_of_a_decode_are_left_alone() {
    let (mut builder, picture) = Builder::picture(8, 8);
    let weights = builder.floats(&[4, 3, 1, 1], &[0.5; 12]);
    let head = builder.node("Conv", &[picture, weights], &[]);
    let softmax = builder.node("Softmax", &[head], &[("axis", Attribute::Int(1))]);
    let moved = builder.node("Identity", &[softmax], &[]);
    let bins = builder.floats(&[1, 4, 1, 1], &[0.0, 1.0, 2.0, 3.0]);
    let mean = builder.node("Conv", &[moved, bins], &[]);
    builder.graph.outputs.push(mean);
    let structure = Structure::of(&Forward::new(builder.graph, [8, 8]).unwrap());
    assert!(structure.sites.is_empty());
    assert!(structure.convolutions.len() == 1 && structure.convolutions[0].is_last);
}

/// `(x - mean) / deviation` by channel: what the first convolution reads are no multiples of bytes.
#[test]
fn normalized_pictures_get_a_grid() {
    let (mut builder, picture) = Builder::picture(8, 8);
    let means = builder.floats(&[1, 3, 1, 1], &[0.4, 0.5, 0.6]);
    let shifted = builder.node("Sub", &[picture, means], &[]);
    let deviation = builder.float(0.25);
    let scaled = builder.node("Div", &[shifted, deviation], &[]);
    let weights = builder.floats(&[4, 3, 1, 1], &[0.5; 12]);
    let first = builder.node("Conv", &[scaled, weights], &[]);
    let weights = builder.floats(&[4, 4, 1, 1], &[0.5; 16]);
    let last = builder.node("Conv", &[first, weights], &[]);
    builder.graph.outputs.push(last);
    let structure = Structure::of(&Forward::new(builder.graph, [8, 8]).unwrap());
    assert_eq!(structure.sites.keys().copied().collect::<Vec<_>>(), [scaled, first]);
    let ends: Vec<[bool; 2]> =
        structure.convolutions.iter().map(|conv| [conv.is_first, conv.is_last]).collect();
    assert_eq!(ends, [[true, false], [false, true]]);
}
