//! Detection heads full of noise: those of `tests/fixtures/detections.py`.

use super::noise::noise;
use ylb_format::model::{Detect, HeadMap, Value, ValueId, ValueKind};
use ylb_runtime::detect::{Elements, Head};

/// Rows, columns, stride and anchors of each feature map. The input has 80 columns and 64 rows.
pub const MAPS: [(u32, u32, u32, [[f32; 2]; 3]); 2] = [
    (8, 10, 8, [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]]),
    (4, 5, 16, [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]]),
];

/// A detection head and what the network left for it.
pub struct NoiseHeads {
    pub detect: Detect,
    pub values: Vec<Value>,
    pub accumulators: Vec<Vec<i32>>,
}

impl NoiseHeads {
    pub fn new(seed: u32, classes: u32) -> Self {
        let shift = 22;
        let channels = 3 * (5 + classes);
        let mut heads = Self {
            detect: Detect { classes, ..Detect::default() },
            values: Vec::new(),
            accumulators: Vec::new(),
        };
        for (index, (height, width, stride, anchors)) in MAPS.into_iter().enumerate() {
            let start = seed + 1000 * index as u32;
            let accumulator = |index| (noise(start, index) % 20_001) as i32 - 10_000;
            let multiplier = |channel: usize| {
                let factor = 500 + (noise(start + 1, channel) % 1500) as i32;
                if channel.is_multiple_of(5) { -factor } else { factor }
            };
            let bias = |channel| i64::from(noise(start + 2, channel) % (1 << shift)) - (1 << shift);
            heads.values.push(Value {
                name: String::new(),
                channels,
                height,
                width,
                kind: ValueKind::Accumulators,
            });
            let mut map = HeadMap::whole(ValueId(index as u32), stride, &heads.detect, 3);
            map.anchors = anchors.to_vec();
            let part = &mut map.parts[0];
            part.multipliers = (0..channels as usize).map(multiplier).collect();
            part.bias = (0..channels as usize).map(bias).collect();
            part.shift = shift as u8;
            heads.detect.maps.push(map);
            let count = (height * width * channels) as usize;
            heads.accumulators.push((0..count).map(accumulator).collect());
        }
        heads
    }

    /// What the network left for each feature map.
    pub fn heads(&self) -> Vec<Head<'_>> {
        let head = |(value, numbers): (&Value, _)| {
            let elements = Elements::Accumulators(numbers);
            Head::dense(elements, value.channels as usize, value.width as usize)
        };
        let numbers = self.accumulators.iter().map(Vec::as_slice);
        self.values.iter().zip(numbers).map(head).collect()
    }
}
