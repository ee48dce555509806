//! The layers of YOLOv3-tiny (Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018), from its published
//! configuration, by whose numbers they are called.

use crate::layer::{Layer, Op, PICTURE, Window};
use crate::layers::Layers;

/// Of both levels, finer first.
pub const ANCHORS: [[[f32; 2]; 3]; 2] =
    [[[10.0, 14.0], [23.0, 27.0], [37.0, 58.0]], [[81.0, 82.0], [135.0, 169.0], [344.0, 319.0]]];

/// The network with levels of strides 16 and 32.
pub fn layers() -> Vec<Layer> {
    let mut net = Layers::new();
    let mut last = PICTURE.to_owned();
    let mut finer = String::new();
    for (index, channels) in [16, 32, 64, 128, 256, 512].into_iter().enumerate() {
        let own = net.conv(format!("{}", 2 * index), &last, channels, 3, 1);
        if channels == 256 {
            finer.clone_from(&own);
        }
        // The last pooling leaves rows and columns as they are: a window has a row and a column more below and on the right.
        let window = match channels {
            512 => Window { kernel: 2, stride: 1, padding: [0, 0, 1, 1] },
            _ => Window::plain(2, 2),
        };
        last = net.push(format!("{}", 2 * index + 1), Op::MaxPool(window), &[&own]);
    }
    net.conv("12", &last, 1024, 3, 1);
    let narrow = net.conv("13", "12", 256, 1, 1);
    let coarse = net.conv("14", &narrow, 512, 3, 1);
    let side = net.conv("18", &narrow, 128, 1, 1);
    let large = net.push("19", Op::Upsample(2), &[&side]);
    let joined = net.push("20", Op::Concat, &[&large, &finer]);
    let fine = net.conv("21", &joined, 256, 3, 1);
    net.detect("yolo", &[&fine, &coarse])
}
