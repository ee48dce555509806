//! The layers of YOLOv5, release 6.0 and later, of any depth and width.
//!
//! Names are those of the modules in the original's checkpoints: `model.2.m.0.cv1` is the first
//! convolution of the first bottleneck of module 2. Joins, which have no module there, are called
//! after the module that makes them: `model.2.m.0.add`, `model.2.concat`.

use crate::layer::{Function, Layer, Op, PICTURE, Window};
use crate::layers::Layers;

/// Largest multiple accepted; YOLOv5x has 1.33 and 1.25.
const MAX_MULTIPLE: f64 = 4.0;
/// Channels are multiples of this.
const DIVISOR: f64 = 8.0;

/// What sets the sizes of the family apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Multiples {
    /// Of the number of bottlenecks: 0.33, 0.33, 0.67, 1.0, 1.33 for n, s, m, l, x.
    pub depth_multiple: f64,
    /// Of the number of channels: 0.25, 0.5, 0.75, 1.0, 1.25 for n, s, m, l, x.
    pub width_multiple: f64,
}

/// Sizes of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Nano: depth 1/3, width 1/4.
    N,
    /// Small: depth 1/3, width 1/2.
    S,
    /// Medium: depth 2/3, width 3/4.
    M,
    /// Large: depth 1, width 1.
    L,
    /// Extra large: depth 4/3, width 5/4.
    X,
}

impl Size {
    /// The multiples that the original's configurations give, rounded as there.
    pub const fn multiples(self) -> Multiples {
        let (depth_multiple, width_multiple) = match self {
            Self::N => (0.33, 0.25),
            Self::S => (0.33, 0.5),
            Self::M => (0.67, 0.75),
            Self::L => (1.0, 1.0),
            Self::X => (1.33, 1.25),
        };
        Multiples { depth_multiple, width_multiple }
    }
}

/// The network with levels of strides 8, 16 and 32.
///
/// # Errors
/// If a multiple is not positive, or too large.
pub fn p5(multiples: Multiples) -> Result<Vec<Layer>, String> {
    let mut net = Builder::new(multiples)?;
    net.stem();
    net.stage(128.0, 3.0);
    let p3 = net.stage(256.0, 6.0);
    let p4 = net.stage(512.0, 9.0);
    net.stage(1024.0, 3.0);
    Ok(net.neck(&p3, &p4))
}

/// The network behind another backbone, whose last layer has a stride of 32, and which has written so many modules.
///
/// # Panics
/// If a multiple is not positive, or too large.
pub(crate) fn behind(backbone: Layers, module: usize, multiples: Multiples, finer: [&str; 2]) -> Vec<Layer> {
    let mut net = Builder::new(multiples).expect("multiples of the family");
    net.net = backbone;
    net.module = module;
    net.neck(finer[0], finer[1])
}

/// The network with levels of strides 8, 16, 32 and 64.
///
/// # Errors
/// If a multiple is not positive, or too large.
pub fn p6(multiples: Multiples) -> Result<Vec<Layer>, String> {
    let mut net = Builder::new(multiples)?;
    net.stem();
    net.stage(128.0, 3.0);
    let p3 = net.stage(256.0, 6.0);
    let p4 = net.stage(512.0, 9.0);
    let p5 = net.stage(768.0, 3.0);
    net.stage(1024.0, 3.0);
    net.pyramid_pooling(1024.0);
    let (n6, _) = net.up(768.0, &p5, 768.0);
    let (n5, _) = net.up(512.0, &p4, 512.0);
    let (n4, p3) = net.up(256.0, &p3, 256.0);
    let p4 = net.down(256.0, &n4, 512.0);
    let p5 = net.down(512.0, &n5, 768.0);
    let p6 = net.down(768.0, &n6, 1024.0);
    Ok(net.detect(&[p3, p4, p5, p6]))
}

struct Builder {
    multiples: Multiples,
    net: Layers,
    /// Number of the next module.
    module: usize,
}

impl Builder {
    fn new(multiples: Multiples) -> Result<Self, String> {
        for (name, value) in
            [("depth_multiple", multiples.depth_multiple), ("width_multiple", multiples.width_multiple)]
        {
            if !(value > 0.0 && value <= MAX_MULTIPLE) {
                return Err(format!("{name} is {value}; expected more than 0, at most {MAX_MULTIPLE}"));
            }
        }
        Ok(Self { multiples, net: Layers::new(), module: 0 })
    }

    fn channels(&self, full: f64) -> usize {
        ((full * self.multiples.width_multiple / DIVISOR).ceil() * DIVISOR) as usize
    }

    fn depth(&self, full: f64) -> usize {
        (full * self.multiples.depth_multiple).round_ties_even().max(1.0) as usize
    }

    fn next_module(&mut self) -> String {
        self.module += 1;
        format!("model.{}", self.module - 1)
    }

    /// 6x6 with padding 2.
    fn stem(&mut self) {
        let (name, channels) = (self.next_module(), self.channels(64.0));
        let window = Window { kernel: 6, stride: 2, padding: [2; 4] };
        let function = Function::Activation;
        self.net.push(name, Op::Conv { channels, window, groups: 1, function }, &[PICTURE]);
    }

    /// Half the size, then bottlenecks with sums. Returns the last layer.
    fn stage(&mut self, channels: f64, depth: f64) -> String {
        let (name, last, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        self.net.conv(name, &last, channels, 3, 2);
        self.c3(channels, self.depth(depth), true)
    }

    fn c3(&mut self, channels: usize, depth: usize, sums: bool) -> String {
        let (name, input, half) = (self.next_module(), self.net.last(), channels / 2);
        let mut trunk = self.net.conv(format!("{name}.cv1"), &input, half, 1, 1);
        for index in 0..depth {
            let own = format!("{name}.m.{index}");
            let small = self.net.conv(format!("{own}.cv1"), &trunk, half, 1, 1);
            let large = self.net.conv(format!("{own}.cv2"), &small, half, 3, 1);
            trunk = match sums {
                true => self.net.push(format!("{own}.add"), Op::Add, &[&trunk, &large]),
                false => large,
            };
        }
        let other = self.net.conv(format!("{name}.cv2"), &input, half, 1, 1);
        let joined = self.net.push(format!("{name}.concat"), Op::Concat, &[&trunk, &other]);
        self.net.conv(format!("{name}.cv3"), &joined, channels, 1, 1)
    }

    /// Three poolings of 5x5 in a row.
    fn pyramid_pooling(&mut self, channels: f64) {
        let (name, last, channels) = (self.next_module(), self.net.last(), self.channels(channels));
        let half = channels / 2;
        let mut parts = vec![self.net.conv(format!("{name}.cv1"), &last, half, 1, 1)];
        for index in 0..3 {
            let pool = Op::MaxPool(Window::centred(5, 1));
            parts.push(self.net.push(format!("{name}.m.{index}"), pool, &[&parts[index]]));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let joined = self.net.push(format!("{name}.concat"), Op::Concat, &parts);
        self.net.conv(format!("{name}.cv2"), &joined, channels, 1, 1);
    }

    /// Twice the size, joined with a finer level. Returns the convolution before and the last layer.
    fn up(&mut self, own: f64, finer: &str, channels: f64) -> (String, String) {
        let (name, last, own) = (self.next_module(), self.net.last(), self.channels(own));
        let narrow = self.net.conv(name, &last, own, 1, 1);
        let name = self.next_module();
        let large = self.net.push(name, Op::Upsample(2), &[&narrow]);
        let name = self.next_module();
        self.net.push(name, Op::Concat, &[&large, finer]);
        let (channels, depth) = (self.channels(channels), self.depth(3.0));
        (narrow, self.c3(channels, depth, false))
    }

    /// Half the size, joined with a coarser level. Returns the last layer.
    fn down(&mut self, own: f64, coarser: &str, channels: f64) -> String {
        let (name, last, own) = (self.next_module(), self.net.last(), self.channels(own));
        let small = self.net.conv(name, &last, own, 3, 2);
        let name = self.next_module();
        self.net.push(name, Op::Concat, &[&small, coarser]);
        let (channels, depth) = (self.channels(channels), self.depth(3.0));
        self.c3(channels, depth, false)
    }

    /// What follows the backbone of three levels.
    fn neck(mut self, p3: &str, p4: &str) -> Vec<Layer> {
        self.pyramid_pooling(1024.0);
        let (n5, _) = self.up(512.0, p4, 512.0);
        let (n4, p3) = self.up(256.0, p3, 256.0);
        let p4 = self.down(256.0, &n4, 512.0);
        let p5 = self.down(512.0, &n5, 1024.0);
        self.detect(&[p3, p4, p5])
    }

    fn detect(mut self, levels: &[String]) -> Vec<Layer> {
        let name = self.next_module();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        self.net.detect(name, &levels)
    }
}
