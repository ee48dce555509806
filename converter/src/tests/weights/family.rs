//! YOLOv5 in all its sizes.

use ylb_format::model::{Node, Operator};

use super::*;

/// What a row of the table is.
struct Size {
    name: &'static str,
    architecture: &'static str,
    depth: f64,
    width: f64,
    image: [usize; 2],
    /// Whether the model is run too: large ones take long in plain loops.
    run: bool,
    convolutions: usize,
    /// Millions of weights, as published for 80 classes.
    parameters: f64,
}

const fn size(name: &'static str, depth: f64, width: f64, convolutions: usize, parameters: f64) -> Size {
    let architecture = "yolov5";
    Size { name, architecture, depth, width, image: [64, 64], run: false, convolutions, parameters }
}

const fn p6(size: Size) -> Size {
    Size { architecture: "yolov5_p6", ..size }
}

/// Depth and width multiples, and the parameters that the original's documentation lists.
const FAMILY: [Size; 10] = [
    Size { run: true, ..size("n", 0.33, 0.25, 60, 1.9) },
    Size { run: true, ..size("s", 0.33, 0.5, 60, 7.2) },
    size("m", 0.67, 0.75, 82, 21.2),
    size("l", 1.0, 1.0, 104, 46.5),
    size("x", 1.33, 1.25, 126, 86.7),
    Size { run: true, ..p6(size("n6", 0.33, 0.25, 79, 3.2)) },
    p6(size("s6", 0.33, 0.5, 79, 12.6)),
    p6(size("m6", 0.67, 0.75, 107, 35.7)),
    p6(size("l6", 1.0, 1.0, 135, 76.8)),
    p6(size("x6", 1.33, 1.25, 163, 140.7)),
];

fn json(size: &Size, classes: usize, bits: u32) -> String {
    let names: Vec<String> = (0..classes).map(|class| format!("\"c{class}\"")).collect();
    let levels = if size.architecture == "yolov5" { 3 } else { 4 };
    let anchors = vec!["[[10, 13], [16, 30], [33, 23]]"; levels].join(", ");
    let Size { architecture, depth, width, image: [height, columns], .. } = size;
    format!(
        r#"{{"format": "yolo-lowbit weights 1", "image_size": [{height}, {columns}],
            "names": [{}], "anchors": [{anchors}], "activation": "relu",
            "weights": {{"bits": {bits}, "kind": "signed"}},
            "activations": {{"bits": {bits}, "kind": "unsigned"}},
            "overrides": {{"model.0": {{"weights": {{"bits": 8, "kind": "signed"}}}}}},
            "architecture": {{"{architecture}": {{"depth_multiple": {depth}, "width_multiple": {width}}}}}}}"#,
        names.join(", ")
    )
}

/// Networks have the convolutions and parameters that the original's have.
#[test]
fn sizes_are_those_of_the_family() {
    for size in &FAMILY {
        let network = Network::parse(json(size, 80, 4).as_bytes()).unwrap();
        let mut counted = Counted(0, 0);
        weights::build(&network, &mut counted).unwrap_or_else(|error| panic!("{}: {error}", size.name));
        assert_eq!(counted.0, size.convolutions, "{}", size.name);
        let millions = counted.1 as f64 / 1e6;
        assert!((millions - size.parameters).abs() < 0.1, "{}: {millions}", size.name);
    }
}

/// Counts convolutions and parameters, and has arrays of zeros.
struct Counted(usize, usize);

impl Arrays for Counted {
    fn array(&mut self, file: &str, shapes: &[&[usize]]) -> Result<Option<Array>, SourceError> {
        let shape = shapes.last().unwrap().to_vec();
        let count: usize = shape.iter().product();
        if file.ends_with(".weight.npy") {
            self.0 += 1;
            // A batch normalization's gamma and beta, or a head's bias.
            self.1 += count + if shape[0].is_multiple_of(255) { shape[0] } else { 2 * shape[0] };
            return Ok(Some(Array { shape, elements: Elements::Integers(vec![0; count]) }));
        }
        let needed = file.ends_with("_scale.npy");
        Ok(needed.then(|| Array { shape, elements: Elements::F32(vec![1.0; count]) }))
    }
}

/// Real widths and depths, converted; the small ones run too, and every code compared.
#[test]
fn real_widths_and_depths() {
    // Emulated CPUs take their time.
    let most = if cfg!(target_arch = "x86_64") { 30.0 } else { 2.0 };
    for size in FAMILY.iter().filter(|size| size.parameters < most) {
        let (source, _) = made(&json(size, 3, 4), Made::new(4, ALL_QUANTIZED)).unwrap();
        let converted = convert(&source);
        if size.run {
            prove(&source, &converted);
        }
        assert_eq!(
            converted.report.rows.iter().filter(|row| row.operator == "Conv").count(),
            size.convolutions
        );
    }
}

/// The others take 3 s of processor time each, and 2 GB.
#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "minutes in an emulator, and 2 GB")]
fn large_sizes_convert() {
    for size in FAMILY.iter().filter(|size| (30.0..90.0).contains(&size.parameters)) {
        let (source, _) = made(&json(size, 3, 4), Made::new(4, ALL_QUANTIZED)).unwrap();
        let rows = convert(&source).report.rows;
        assert_eq!(
            rows.iter().filter(|row| row.operator == "Conv").count(),
            size.convolutions,
            "{}",
            size.name
        );
    }
}

/// A network of a size's depth and a small width, without quantizers behind sums and concats.
fn naive(size: &Size) -> Source {
    let small = Size { width: 0.125, image: [32, 64], ..*size };
    let mut arrays = Made::new(2, ALL_QUANTIZED);
    arrays.naive = true;
    made(&json(&small, 2, 2), arrays).unwrap().0
}

fn most_terms(converted: &Converted) -> usize {
    let terms_of = |node: &Node| if let Operator::Conv(conv) = &node.operator { conv.terms.len() } else { 0 };
    converted.model.nodes.iter().map(terms_of).max().unwrap_or(0)
}

/// Convolutions over as many scales as the deepest stage has bottlenecks, and two.
#[test]
fn real_depths_without_quantized_joins() {
    let depths = [(&FAMILY[0], 5), (&FAMILY[2], 8), (&FAMILY[3], 11), (&FAMILY[4], 14)];
    // Emulated CPUs take their time.
    let count = if cfg!(target_arch = "x86_64") { 4 } else { 2 };
    for (size, terms) in depths.into_iter().take(count) {
        let source = naive(size);
        let converted = convert(&source);
        assert_eq!(most_terms(&converted), terms, "{}", size.name);
        prove(&source, &converted);
    }
}

/// The deepest sizes join very many scales, which may be requantized instead.
#[test]
fn deep_joins_are_requantized_on_request() {
    let sizes = if cfg!(target_arch = "x86_64") { 3..5 } else { 3..4 };
    for size in &FAMILY[sizes] {
        let source = naive(size);
        for (bits, terms) in [(8, 1), (16, 2)] {
            let options = Options { requantize_joins: Some(bits), ..Options::default() };
            let converted = convert_source(&source, &options, &mut |_| {});
            let converted = converted.unwrap_or_else(|error| panic!("{}: {error}", size.name));
            assert_eq!(most_terms(&converted), terms, "{}", size.name);
        }
    }
}
