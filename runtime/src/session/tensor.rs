//! A picture as a tensor of numbers, as the source model takes it.

use std::sync::Arc;

use ylb_format::model::{PixelRange, Preprocessing};

use super::Session;
use crate::error::SessionError;

impl Session {
    /// Runs the network alone on a tensor `[1, 3, height, width]` as the source model takes it: every
    /// element is k/255 with an integer k from 0 to 255, or, of a model with a mean and a deviation of the picture, what
    /// these make of it, or of k where the model's range is that of bytes.
    ///
    /// # Errors
    /// If the length is wrong or an element is no such number.
    pub fn run_tensor(&mut self, tensor: &[f32]) -> Result<(), SessionError> {
        self.check_length(tensor.len())?;
        let network = Arc::clone(&self.network);
        let input = &network.model().input;
        let plane = tensor.len() / 3;
        let byte = |(index, &value): (usize, &f32)| byte(&input.preprocessing, index / plane, value);
        // All of them before the first is written: the input's memory may be that of the last outputs.
        if let Some(index) = tensor.iter().enumerate().position(|element| byte(element).is_none()) {
            return Err(SessionError::TensorValue { index, value: tensor[index] });
        }
        self.fill_and_infer(|store, bytes| {
            let (width, height) = (store.layout.width, store.layout.height);
            for (index, pixel) in
                tensor.iter().enumerate().map(byte).map(Option::unwrap_or_default).enumerate()
            {
                let (channel, y, x) = (index / (width * height), index / width % height, index % width);
                bytes[store.offset(y as isize, x as isize) + channel] =
                    input.pixel_levels.of(channel)[usize::from(pixel)];
            }
        })
    }
}

/// The byte k that an element of a channel stands for.
fn byte(preprocessing: &Preprocessing, channel: usize, value: f32) -> Option<u8> {
    let Preprocessing { range, mean, deviation, .. } = preprocessing;
    let normalized = (*mean, *deviation) != ([0.0; 3], [1.0; 3]);
    let scaled = if normalized {
        let own = value * deviation[channel] + mean[channel];
        if *range == PixelRange::Bytes { own } else { own * 255.0 }
    } else {
        value * 255.0
    };
    let rounded = scaled.round();
    ((0.0..=255.0).contains(&rounded) && (scaled - rounded).abs() < 1e-3).then_some(rounded as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_bytes_or_what_normalization_makes_of_them() {
        let plain = Preprocessing::default();
        let normalized = Preprocessing {
            mean: [0.485, 0.456, 0.406],
            deviation: [0.229, 0.224, 0.225],
            ..Preprocessing::default()
        };
        let of_bytes = Preprocessing {
            mean: [123.675, 116.28, 103.53],
            deviation: [58.395, 57.12, 57.375],
            range: PixelRange::Bytes,
            ..Preprocessing::default()
        };
        for k in 0..=255u8 {
            let real = f32::from(k) / 255.0;
            assert_eq!(byte(&plain, 1, real), Some(k));
            for channel in 0..3 {
                let own = (real - normalized.mean[channel]) / normalized.deviation[channel];
                assert_eq!(byte(&normalized, channel, own), Some(k));
                let own = (f32::from(k) - of_bytes.mean[channel]) / of_bytes.deviation[channel];
                assert_eq!(byte(&of_bytes, channel, own), Some(k));
            }
        }
        assert_eq!(byte(&plain, 0, 0.5), None);
        assert_eq!(byte(&normalized, 0, 0.0), None);
        assert_eq!(byte(&of_bytes, 0, 9.0), None);
    }
}
