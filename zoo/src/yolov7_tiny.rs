//! The layers of YOLOv7-tiny (Wang, Bochkovskiy and Liao, "YOLOv7: Trainable bag-of-freebies sets new state-of-the-art
//! for real-time object detectors", 2022).
//!
//! Names are those of its modules where a module is one layer.

use crate::layer::{Layer, Op, Window};
use crate::layers::Layers;

/// Extents of the poolings behind the backbone.
const POOLS: [usize; 3] = [5, 9, 13];

struct Builder {
    net: Layers,
    /// Number of the next module.
    module: usize,
}

/// The network with levels of strides 8, 16 and 32.
pub fn layers() -> Vec<Layer> {
    let mut net = Builder { net: Layers::new(), module: 0 };
    net.conv(32, 3, 2);
    net.conv(64, 3, 2);
    net.aggregation(32, 64);
    net.halved();
    let p3 = net.aggregation(64, 128);
    net.halved();
    let p4 = net.aggregation(128, 256);
    net.halved();
    net.aggregation(256, 512);
    let n5 = net.pyramid_pooling(256);
    let n4 = net.up(128, &p4, [64, 128]);
    let n3 = net.up(64, &p3, [32, 64]);
    let m4 = net.down(128, &n4, [64, 128]);
    let m5 = net.down(256, &n5, [128, 256]);
    let levels =
        [(n3, 128), (m4, 256), (m5, 512)].map(|(level, channels)| net.conv_of(&level, channels, 3, 1));
    net.net.detect(format!("model.{}", net.module), &levels.each_ref().map(String::as_str))
}

impl Builder {
    fn next_module(&mut self) -> String {
        self.module += 1;
        format!("model.{}", self.module - 1)
    }

    fn conv(&mut self, channels: usize, kernel: usize, stride: usize) -> String {
        let last = self.net.last();
        self.conv_of(&last, channels, kernel, stride)
    }

    fn conv_of(&mut self, from: &str, channels: usize, kernel: usize, stride: usize) -> String {
        let name = self.next_module();
        self.net.conv(name, from, channels, kernel, stride)
    }

    fn join(&mut self, from: &[&str]) -> String {
        let name = self.next_module();
        self.net.push(name, Op::Concat, from)
    }

    /// Two convolutions of the input and two of the second one, all joined: "ELAN".
    fn aggregation(&mut self, inner: usize, channels: usize) -> String {
        let input = self.net.last();
        let first = self.conv_of(&input, inner, 1, 1);
        let second = self.conv_of(&input, inner, 1, 1);
        let third = self.conv(inner, 3, 1);
        let fourth = self.conv(inner, 3, 1);
        self.join(&[&fourth, &third, &second, &first]);
        self.conv(channels, 1, 1)
    }

    fn halved(&mut self) {
        let (name, last) = (self.next_module(), self.net.last());
        self.net.push(name, Op::MaxPool(Window::plain(2, 2)), &[&last]);
    }

    fn pyramid_pooling(&mut self, channels: usize) -> String {
        let input = self.net.last();
        let side = self.conv_of(&input, channels, 1, 1);
        let trunk = self.conv_of(&input, channels, 1, 1);
        let name = self.next_module();
        let [small, middle, large] = &self.net.pools(&name, &trunk, &POOLS)[..] else {
            unreachable!("three")
        };
        self.join(&[large, middle, small, &trunk]);
        let joined = self.conv(channels, 1, 1);
        self.join(&[&joined, &side]);
        self.conv(channels, 1, 1)
    }

    /// Twice the size, joined with a finer level.
    fn up(&mut self, channels: usize, finer: &str, [inner, outer]: [usize; 2]) -> String {
        let narrow = self.conv(channels, 1, 1);
        let name = self.next_module();
        let large = self.net.push(name, Op::Upsample(2), &[&narrow]);
        let side = self.conv_of(finer, channels, 1, 1);
        self.join(&[&side, &large]);
        self.aggregation(inner, outer)
    }

    /// Half the size, joined with a coarser level.
    fn down(&mut self, channels: usize, coarser: &str, [inner, outer]: [usize; 2]) -> String {
        let small = self.conv(channels, 3, 2);
        self.join(&[&small, coarser]);
        self.aggregation(inner, outer)
    }
}
