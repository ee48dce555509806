//! The layers of YOLOv8, from its published configuration.
//!
//! Names are those of its modules. A C2f block splits its first convolution's channels in two: here these are two
//! convolutions, `cv1.0` and `cv1.1`.

use crate::layer::{Layer, Op};
use crate::layers::Layers;
use crate::yolov5::Size;

/// Numbers of each distance's distribution.
pub const BINS: u8 = 16;

/// Of bottlenecks and of channels; and the most channels before the latter.
const fn multiples(size: Size) -> (f64, f64, usize) {
    match size {
        Size::N => (0.33, 0.25, 1024),
        Size::S => (0.33, 0.5, 1024),
        Size::M => (0.67, 0.75, 768),
        Size::L => (1.0, 1.0, 512),
        Size::X => (1.0, 1.25, 512),
    }
}

struct Builder {
    net: Layers,
    depth: f64,
    width: f64,
    most: usize,
    /// Number of the next module.
    module: usize,
}

/// The network with levels of strides 8, 16 and 32.
pub fn layers(size: Size, classes: usize) -> Vec<Layer> {
    let (depth, width, most) = multiples(size);
    let mut net = Builder { net: Layers::new(), depth, width, most, module: 0 };
    net.conv(64, 2);
    net.conv(128, 2);
    net.c2f(128, 3, true);
    net.conv(256, 2);
    let p3 = net.c2f(256, 6, true);
    net.conv(512, 2);
    let p4 = net.c2f(512, 6, true);
    net.conv(1024, 2);
    net.c2f(1024, 3, true);
    let p5 = net.pyramid_pooling(1024);
    let n4 = net.up(&p5, &p4, 512);
    let n3 = net.up(&n4, &p3, 256);
    let m4 = net.down(256, &n4, 512);
    let m5 = net.down(512, &p5, 1024);
    net.detect(&[n3, m4, m5], classes)
}

impl Builder {
    fn channels(&self, full: usize) -> usize {
        (full.min(self.most) as f64 * self.width / 8.0).ceil() as usize * 8
    }

    fn next_module(&mut self) -> String {
        self.module += 1;
        format!("model.{}", self.module - 1)
    }

    /// 3x3.
    fn conv(&mut self, channels: usize, stride: usize) -> String {
        let (name, last, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        self.net.conv(name, &last, channels, 3, stride)
    }

    fn c2f(&mut self, channels: usize, depth: usize, sums: bool) -> String {
        let (name, input, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        let half = channels / 2;
        let mut parts: Vec<String> =
            (0..2).map(|part| self.net.conv(format!("{name}.cv1.{part}"), &input, half, 1, 1)).collect();
        let depth = (depth as f64 * self.depth).round().max(1.0) as usize;
        for index in 0..depth {
            let own = format!("{name}.m.{index}");
            let trunk = parts[index + 1].clone();
            let first = self.net.conv(format!("{own}.cv1"), &trunk, half, 3, 1);
            let second = self.net.conv(format!("{own}.cv2"), &first, half, 3, 1);
            parts.push(match sums {
                true => self.net.push(format!("{own}.add"), Op::Add, &[&trunk, &second]),
                false => second,
            });
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let joined = self.net.push(format!("{name}.concat"), Op::Concat, &parts);
        self.net.conv(format!("{name}.cv2"), &joined, channels, 1, 1)
    }

    /// Three poolings of 5x5 in a row.
    fn pyramid_pooling(&mut self, channels: usize) -> String {
        let (name, last, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        let mut parts = vec![self.net.conv(format!("{name}.cv1"), &last, channels / 2, 1, 1)];
        for index in 0..3 {
            let pooled = self.net.pools(&format!("{name}.{index}"), &parts[index], &[5]);
            parts.extend(pooled);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let joined = self.net.push(format!("{name}.concat"), Op::Concat, &parts);
        self.net.conv(format!("{name}.cv2"), &joined, channels, 1, 1)
    }

    /// Twice the size, joined with a finer level.
    fn up(&mut self, from: &str, finer: &str, channels: usize) -> String {
        let name = self.next_module();
        let large = self.net.push(name, Op::Upsample(2), &[from]);
        let name = self.next_module();
        self.net.push(name, Op::Concat, &[&large, finer]);
        self.c2f(channels, 3, false)
    }

    /// Half the size, joined with a coarser level.
    fn down(&mut self, own: usize, coarser: &str, channels: usize) -> String {
        let small = self.conv(own, 2);
        let name = self.next_module();
        self.net.push(name, Op::Concat, &[&small, coarser]);
        self.c2f(channels, 3, false)
    }

    /// Two convolutions for the boxes and two for the classes of each level, before the head's own.
    fn detect(mut self, levels: &[String], classes: usize) -> Vec<Layer> {
        let finest = self.channels(256);
        // As wide as the head's own convolutions ask for, and not much less than the finest level.
        let boxes = (finest / 4).max(16).max(4 * usize::from(BINS));
        let scores = finest.max(classes.min(100));
        let name = self.next_module();
        let mut inputs = Vec::new();
        for (level, input) in levels.iter().enumerate() {
            for (branch, channels) in [("cv2", boxes), ("cv3", scores)] {
                let own = format!("{name}.{branch}.{level}");
                let first = self.net.conv(format!("{own}.0"), input, channels, 3, 1);
                inputs.push(self.net.conv(format!("{own}.1"), &first, channels, 3, 1));
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.net.detect(name, &inputs)
    }
}
