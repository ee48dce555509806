//! The layers of YOLO11 and YOLO26, from their published configurations.
//!
//! Names are those of their modules. What a block splits, or an attention, are convolutions of their own here: the two halves
//! of a block's first convolution `cv1.0` and `cv1.1`, queries, keys and values `qkv.0` to `qkv.2`.

use crate::layer::{Along, Function, Layer, Op};
use crate::layers::Layers;
use crate::yolov5::Size;
use crate::yolov8::BINS;

/// Channels of a head of an attention; half of them are those of its queries and keys.
const HEAD: usize = 64;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// YOLO11.
    Eleven,
    /// YOLO26: a sum around the pyramid of poolings, deeper blocks behind it, an attention in the last, and distances as
    /// they are.
    TwentySix,
}

/// What bottlenecks a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    /// One.
    Plain,
    /// Two in a row beside a convolution.
    Partial,
    /// One and an attention.
    Attention,
}

/// Of bottlenecks and of channels; the most channels before the latter; and whether all blocks are deep.
const fn multiples(size: Size) -> (f64, f64, usize, bool) {
    match size {
        Size::N => (0.5, 0.25, 1024, false),
        Size::S => (0.5, 0.5, 1024, false),
        Size::M => (0.5, 1.0, 512, true),
        Size::L => (1.0, 1.0, 512, true),
        Size::X => (1.0, 1.5, 512, true),
    }
}

struct Builder {
    net: Layers,
    version: Version,
    depth: f64,
    width: f64,
    most: usize,
    deep: bool,
    /// Number of the next module.
    module: usize,
}

/// The network with levels of strides 8, 16 and 32.
pub fn layers(version: Version, size: Size, classes: usize) -> Vec<Layer> {
    let (depth, width, most, deep) = multiples(size);
    let mut net = Builder { net: Layers::new(), version, depth, width, most, deep, module: 0 };
    // Of the blocks behind the pyramid: YOLO26's are deep where YOLO11's are not.
    let later = if version == Version::TwentySix { Inner::Partial } else { Inner::Plain };
    net.conv(64);
    net.conv(128);
    net.block(256, 2, Inner::Plain, 4);
    net.conv(256);
    let p3 = net.block(512, 2, Inner::Plain, 4);
    net.conv(512);
    let p4 = net.block(512, 2, Inner::Partial, 2);
    net.conv(1024);
    net.block(1024, 2, Inner::Partial, 2);
    net.pyramid_pooling(1024);
    let p5 = net.attentions(1024, 2);
    let n4 = net.up(&p5, &p4, 512, later);
    let n3 = net.up(&n4, &p3, 256, later);
    let m4 = net.down(256, &n4, 512, 2, later);
    let m5 = match version {
        Version::Eleven => net.down(512, &p5, 1024, 2, Inner::Partial),
        Version::TwentySix => net.down(512, &p5, 1024, 1, Inner::Attention),
    };
    net.detect(&[n3, m4, m5], classes)
}

impl Builder {
    fn channels(&self, full: usize) -> usize {
        (full.min(self.most) as f64 * self.width / 8.0).ceil() as usize * 8
    }

    fn repeats(&self, full: usize) -> usize {
        (full as f64 * self.depth).round().max(1.0) as usize
    }

    fn next_module(&mut self) -> String {
        self.module += 1;
        format!("model.{}", self.module - 1)
    }

    /// 3x3, half the size.
    fn conv(&mut self, channels: usize) -> String {
        let (name, last, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        self.net.conv(name, &last, channels, 3, 2)
    }

    fn join(&mut self, name: &str, parts: &[String]) -> String {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.net.push(format!("{name}.concat"), Op::Concat, &parts)
    }

    fn sum(&mut self, name: String, parts: [&str; 2]) -> String {
        self.net.push(name, Op::Add, &parts)
    }

    /// Two halves, the second of which goes on through bottlenecks; all joined. A half has `channels / share`.
    fn block(&mut self, channels: usize, repeats: usize, inner: Inner, share: usize) -> String {
        let inner = if self.deep && inner == Inner::Plain { Inner::Partial } else { inner };
        let (name, input, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        let half = channels / share;
        let mut parts: Vec<String> =
            (0..2).map(|part| self.net.conv(format!("{name}.cv1.{part}"), &input, half, 1, 1)).collect();
        for index in 0..self.repeats(repeats) {
            let (own, trunk) = (format!("{name}.m.{index}"), parts[index + 1].clone());
            parts.push(match inner {
                Inner::Plain => self.bottleneck(&own, &trunk, half / 2, half),
                Inner::Partial => self.partial(&own, &trunk, half),
                Inner::Attention => {
                    let first = self.bottleneck(&format!("{own}.0"), &trunk, half / 2, half);
                    self.attention(&format!("{own}.1"), &first, half)
                }
            });
        }
        let joined = self.join(&name, &parts);
        self.net.conv(format!("{name}.cv2"), &joined, channels, 1, 1)
    }

    /// Two convolutions of 3x3 and a sum.
    fn bottleneck(&mut self, name: &str, input: &str, hidden: usize, channels: usize) -> String {
        let first = self.net.conv(format!("{name}.cv1"), input, hidden, 3, 1);
        let second = self.net.conv(format!("{name}.cv2"), &first, channels, 3, 1);
        self.sum(format!("{name}.add"), [input, &second])
    }

    /// Two bottlenecks beside a convolution.
    fn partial(&mut self, name: &str, input: &str, channels: usize) -> String {
        let half = channels / 2;
        let mut trunk = self.net.conv(format!("{name}.cv1"), input, half, 1, 1);
        for index in 0..2 {
            trunk = self.bottleneck(&format!("{name}.m.{index}"), &trunk, half, half);
        }
        let side = self.net.conv(format!("{name}.cv2"), input, half, 1, 1);
        let joined = self.join(name, &[trunk, side]);
        self.net.conv(format!("{name}.cv3"), &joined, channels, 1, 1)
    }

    /// Three poolings of 5x5 in a row; in YOLO26 behind a convolution that nothing follows, and with a sum around all.
    fn pyramid_pooling(&mut self, channels: usize) -> String {
        let (name, input, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        let newer = self.version == Version::TwentySix;
        let function = if newer { Function::Identity } else { Function::Activation };
        let mut parts =
            vec![self.net.function(format!("{name}.cv1"), &input, channels / 2, [1, 1], function)];
        for index in 0..3 {
            let pooled = self.net.pools(&format!("{name}.{index}"), &parts[index], &[5]);
            parts.extend(pooled);
        }
        let joined = self.join(&name, &parts);
        let output = self.net.conv(format!("{name}.cv2"), &joined, channels, 1, 1);
        if newer { self.sum(format!("{name}.add"), [&output, &input]) } else { output }
    }

    /// Two halves, the second of which goes through attentions.
    fn attentions(&mut self, channels: usize, repeats: usize) -> String {
        let (name, input, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        let half = channels / 2;
        let [side, mut trunk] =
            [0, 1].map(|part| self.net.conv(format!("{name}.cv1.{part}"), &input, half, 1, 1));
        for index in 0..self.repeats(repeats) {
            trunk = self.attention(&format!("{name}.m.{index}"), &trunk, half);
        }
        let joined = self.join(&name, &[side, trunk]);
        self.net.conv(format!("{name}.cv2"), &joined, channels, 1, 1)
    }

    /// An attention with a convolution of its values beside it, and two convolutions; sums around both.
    fn attention(&mut self, name: &str, input: &str, channels: usize) -> String {
        let own = format!("{name}.attn");
        let heads = (channels / HEAD).max(1);
        let [query, key, value] = [(0, channels / 2), (1, channels / 2), (2, channels)]
            .map(|(part, channels)| self.net.linear(format!("{own}.qkv.{part}"), input, channels));
        let along = |along| Op::MatMul { heads, along };
        let products = self.net.push(format!("{own}.products"), along(Along::Channels), &[&query, &key]);
        let shares = self.net.push(format!("{own}.softmax"), Op::Softmax { heads }, &[&products]);
        let mean = self.net.push(format!("{own}.mean"), along(Along::Positions), &[&shares, &value]);
        let near = self.net.depthwise(format!("{own}.pe"), &value, channels, [3, 1], Function::Identity);
        let both = self.sum(format!("{own}.add"), [&mean, &near]);
        let attended = self.net.linear(format!("{own}.proj"), &both, channels);
        let trunk = self.sum(format!("{name}.add.0"), [input, &attended]);
        let wide = self.net.conv(format!("{name}.ffn.0"), &trunk, 2 * channels, 1, 1);
        let narrow = self.net.linear(format!("{name}.ffn.1"), &wide, channels);
        self.sum(format!("{name}.add.1"), [&trunk, &narrow])
    }

    /// Twice the size, joined with a finer level.
    fn up(&mut self, from: &str, finer: &str, channels: usize, inner: Inner) -> String {
        let name = self.next_module();
        let large = self.net.push(name, Op::Upsample(2), &[from]);
        let name = self.next_module();
        self.net.push(name, Op::Concat, &[&large, finer]);
        self.block(channels, 2, inner, 2)
    }

    /// Half the size, joined with a coarser level.
    fn down(&mut self, own: usize, coarser: &str, channels: usize, repeats: usize, inner: Inner) -> String {
        let small = self.conv(own);
        let name = self.next_module();
        self.net.push(name, Op::Concat, &[&small, coarser]);
        self.block(channels, repeats, inner, 2)
    }

    /// Two convolutions for the boxes, and four for the classes, of each channel and of all in turn, of each level, before the
    /// head's own.
    fn detect(mut self, levels: &[String], classes: usize) -> Vec<Layer> {
        let finest = self.channels(256);
        let distances = match self.version {
            Version::Eleven => 4 * usize::from(BINS),
            Version::TwentySix => 4,
        };
        let boxes = (finest / 4).max(16).max(distances);
        let scores = finest.max(classes.min(100));
        let name = self.next_module();
        let mut inputs = Vec::new();
        for (level, input) in levels.iter().enumerate() {
            let own = format!("{name}.cv2.{level}");
            let first = self.net.conv(format!("{own}.0"), input, boxes, 3, 1);
            inputs.push(self.net.conv(format!("{own}.1"), &first, boxes, 3, 1));
            let mut trunk = input.clone();
            for index in 0..2 {
                let own = format!("{name}.cv3.{level}.{index}");
                let channels = self.net.channels(&trunk).expect("a layer with channels");
                let function = Function::Activation;
                let each = self.net.depthwise(format!("{own}.0"), &trunk, channels, [3, 1], function);
                trunk = self.net.conv(format!("{own}.1"), &each, scores, 1, 1);
            }
            inputs.push(trunk);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.net.detect(name, &inputs)
    }
}
