//! The page says what each refusal means and what to do about it: its words must be those that are said.

use std::collections::BTreeSet;

use ylb_source::ir::ElementType;

use super::*;

/// A network that is refused: layers over the picture, and something in its way.
type Refused = fn(&mut Net, TensorId) -> Result<(), ConvertError>;

impl Net {
    /// The error of a network whose last layer has 4 channels.
    fn ends(&mut self, last: TensorId) -> Result<(), ConvertError> {
        self.convert(last, 4).map(|_| ())
    }

    /// The error of a network with these outputs.
    fn gives(&self, outputs: &[TensorId], options: Options) -> Result<(), ConvertError> {
        let mut graph = self.builder.graph.clone();
        graph.outputs = outputs.to_vec();
        convert_graph(graph, Metadata::default(), &options, &mut |_| {}).map(|_| ())
    }

    fn first(&mut self, image: TensorId) -> TensorId {
        let input = self.input(image);
        self.layer(input, [4, 3, 3, 3], 0.25)
    }

    fn plain_conv(&mut self, input: TensorId, shape: [usize; 4]) -> TensorId {
        let weights = self.weights(shape);
        self.conv(input, weights)
    }

    fn head(&mut self, input: TensorId) -> TensorId {
        self.plain_conv(input, [18, 4, 1, 1])
    }
}

fn named() -> Options {
    Options { class_names: vec!["thing".into()], ..Options::default() }
}

/// What is said, and a network of which it is said.
const REFUSALS: [(&str, Refused); 26] = [
    ("are plain floats; those of output channel 0 lie on no grid of at most 8 bits", |net, image| {
        let layer = net.first(image);
        let floats = net.numbers(4 * 4 * 9);
        let weights = net.builder.floats(&[4, 4, 3, 3], &floats);
        let conv = net.builder.node("Conv", &[layer, weights], &[("pads", ints(&[1; 4]))]);
        let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
        net.ends(last)
    }),
    ("train the first and the last layers with 8-bit weights", |net, image| {
        let layer = net.first(image);
        let floats = net.numbers(18 * 4);
        let weights = net.builder.floats(&[18, 4, 1, 1], &floats);
        let head = net.builder.node("Conv", &[layer, weights], &[]);
        net.gives(&[head], named())
    }),
    ("its input is not quantized: expected a quantizer between convolution", |net, image| {
        let layer = net.first(image);
        let last = net.plain_conv(layer, [4, 4, 3, 3]);
        net.ends(last)
    }),
    ("its input is not quantized: expected a quantizer behind", |net, image| {
        let layer = net.first(image);
        let last = net.builder.node("Sigmoid", &[layer], &[]);
        net.ends(last)
    }),
    ("of two activations that are not quantized; train with a quantizer on both operands", |net, image| {
        let layer = net.first(image);
        let sides = [0, 1].map(|_| {
            let conv = net.plain_conv(layer, [4, 4, 3, 3]);
            let relu = net.builder.node("Relu", &[conv], &[]);
            let factors = net.builder.floats(&[1, 4, 1, 1], &[0.7, 0.9, 1.1, 1.3]);
            net.builder.node("Mul", &[relu, factors], &[])
        });
        let sum = net.builder.node("Add", &sides, &[]);
        let last = net.builder.quant(sum, 0.3, 0.0, 4.0, false);
        net.ends(last)
    }),
    ("averages an activation that is not quantized", |net, image| {
        let layer = net.first(image);
        let conv = net.plain_conv(layer, [4, 4, 3, 3]);
        let window = [
            ("kernel_shape", ints(&[3, 3])),
            ("strides", ints(&[1, 1])),
            ("pads", ints(&[1; 4])),
            ("count_include_pad", Attribute::Int(1)),
        ];
        let mean = net.builder.node("AveragePool", &[conv], &window);
        let last = net.builder.quant(mean, 0.3, 0.0, 4.0, true);
        net.ends(last)
    }),
    ("expected at most 8 bits", |net, image| {
        let input = net.input(image);
        let conv = net.plain_conv(input, [4, 3, 3, 3]);
        let last = net.builder.quant(conv, 0.001, 0.0, 16.0, true);
        net.ends(last)
    }),
    ("an operator of dynamic quantization, whose scales depend on the picture", |net, image| {
        let codes = net.builder.node("DynamicQuantizeLinear", &[image], &[]);
        net.ends(codes)
    }),
    ("an operator of a tool's own, which the converter does not know", |net, image| {
        let layer = net.first(image);
        let last = net.builder.node("trt::FP8QuantizeLinear", &[layer], &[]);
        net.ends(last)
    }),
    ("an operator that the converter does not know in the body of a detector", |net, image| {
        let layer = net.first(image);
        let last = net.builder.node("Erf", &[layer], &[]);
        net.ends(last)
    }),
    ("as a classifier's does: no detector", |net, image| {
        let layer = net.first(image);
        let mean = net.builder.node("GlobalAveragePool", &[layer], &[]);
        let head = net.head(mean);
        let flat = net.builder.node("Flatten", &[head], &[]);
        let mean = net.builder.node("GlobalAveragePool", &[head], &[]);
        net.gives(&[mean, flat], named())
    }),
    ("leave it out (--outputs", |net, image| {
        let layer = net.first(image);
        let head = net.head(layer);
        let map = net.plain_conv(layer, [8, 4, 1, 1]);
        let map = net.builder.node("Relu", &[map], &[]);
        let map = net.builder.quant(map, 0.25, 0.0, 4.0, false);
        net.gives(&[head, map], named())
    }),
    ("it selects boxes, which \"run\" does itself", |net, image| {
        let layer = net.first(image);
        let head = net.head(layer);
        let selected = net.builder.node("NonMaxSuppression", &[head], &[]);
        net.gives(&[selected], named())
    }),
    ("is not what a known head gives there", |net, image| {
        let layer = net.first(image);
        let head = net.head(layer);
        let other = net.builder.node("Tanh", &[head], &[]);
        net.gives(&[other], named())
    }),
    ("give an image size (--imgsz)", |net, image| {
        net.builder.graph.tensors[image.0].shape = Some(vec![1, 3, 0, 0]);
        let layer = net.first(image);
        net.ends(layer)
    }),
    ("expected one RGB picture [1, 3, h, w]", |net, image| {
        net.builder.graph.tensors[image.0].shape = Some(vec![1, 1, SIZE, SIZE]);
        let input = net.input(image);
        let layer = net.layer(input, [4, 1, 3, 3], 0.25);
        net.ends(layer)
    }),
    ("[1, 3, h, w]: export it with a batch of 1", |net, image| {
        net.builder.graph.tensors[image.0].shape = Some(vec![4, 3, SIZE, SIZE]);
        let input = net.input(image);
        let layer = net.layer(input, [4, 3, 3, 3], 0.25);
        net.ends(layer)
    }),
    ("what range its numbers have cannot be told", |net, image| {
        let quantized = net.builder.quant(image, 1e4, 0.0, 8.0, false);
        let layer = net.layer(quantized, [4, 3, 3, 3], 0.25);
        net.ends(layer)
    }),
    ("expected a picture of floats or of uint8", |net, image| {
        net.builder.graph.input_types.insert(image, ElementType::Signed(8));
        let layer = net.first(image);
        net.ends(layer)
    }),
    ("nothing behind it undoes this transposition", |net, image| {
        let layer = net.first(image);
        let turned = net.builder.node("Transpose", &[layer], &[("perm", ints(&[0, 1, 3, 2]))]);
        net.ends(turned)
    }),
    ("expected zeros in rows and columns around a feature map", |net, image| {
        let layer = net.first(image);
        let pads = net.builder.constant(Tensor::indices(&[0, 0, 1, 1, 0, 0, 1, 1]));
        let one = net.builder.float(1.0);
        let padded = net.builder.node("Pad", &[layer, pads, one], &[]);
        let weights = net.weights([4, 4, 3, 3]);
        let conv = net.builder.node("Conv", &[padded, weights], &[]);
        let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
        net.ends(last)
    }),
    ("expected nearest neighbours, repeated 2 to 8 times", |net, image| {
        let layer = net.first(image);
        let empty = net.builder.floats(&[0], &[]);
        let scales = net.builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let large = net.builder.node(
            "Resize",
            &[layer, empty, scales],
            &[("mode", Attribute::Text("linear".into()))],
        );
        let weights = net.weights([4, 4, 3, 3]);
        let attributes = [("pads", ints(&[1; 4])), ("strides", ints(&[2, 2]))];
        let conv = net.builder.node("Conv", &[large, weights], &attributes);
        let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
        net.ends(last)
    }),
    ("write BipolarQuant for -1 and +1", |net, image| {
        let input = net.input(image);
        let conv = net.plain_conv(input, [4, 3, 3, 3]);
        let last = net.builder.quant(conv, 1.0, 0.0, 1.0, true);
        net.ends(last)
    }),
    ("class names for a model of", |net, image| {
        let layer = net.first(image);
        let head = net.head(layer);
        let shape = net.builder.constant(Tensor::indices(&[1, 3, 6, SIZE as i64, SIZE as i64]));
        let rows = net.builder.node("Reshape", &[head, shape], &[]);
        let rows = net.builder.node("Transpose", &[rows], &[("perm", ints(&[0, 1, 3, 4, 2]))]);
        net.gives(&[rows], Options { class_names: vec!["a".into(), "b".into()], ..Options::default() })
    }),
    ("the anchors given (--anchors) do not fit", |net, image| {
        let layer = net.first(image);
        let head = net.head(layer);
        net.gives(&[head], Options { anchors: Some(vec![vec![[1.0, 1.0]; 3]; 2]), ..named() })
    }),
    ("a transposed convolution of", |net, image| {
        let layer = net.first(image);
        let weights = net.weights([4, 4, 3, 3]);
        let large = net.builder.node("ConvTranspose", &[layer, weights], &[("strides", ints(&[2, 2]))]);
        let quantized = net.builder.quant(large, 0.3, 0.0, 4.0, true);
        let weights = net.weights([4, 4, 3, 3]);
        let conv = net.builder.node("Conv", &[quantized, weights], &[("strides", ints(&[2, 2]))]);
        let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
        net.ends(last)
    }),
];

#[test]
fn each_answer_is_what_is_said() {
    for (said, refused) in REFUSALS {
        let (mut net, image) = Net::new();
        let error = refused(&mut net, image).expect_err(said).to_string();
        assert!(error.contains(said), "{error}\ndoes not say\n{said}");
        assert!(!error.contains('\n'), "{error}");
    }
}

/// The table of answers has these words, in this order, and no others.
#[test]
fn the_page_has_a_row_for_each() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/converting.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## Answers\n").nth(1).expect("a section of answers");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split("` |").next());
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows, REFUSALS.map(|(said, _)| said));
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len());
}
