//! What every value of a frame was, for comparisons.

use ylb_format::model::ValueKind;
use ylb_kernels::rows::Rows;

use super::Session;
use crate::bands::read_row;
use crate::ops::level_stride;
use crate::storage::Store;

/// The integer codes of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct CodesTensor {
    /// Name of the source model's tensor that holds them.
    pub name: String,
    /// 1, channels, height, width.
    pub shape: [usize; 4],
    /// Row-major codes as the exporting tool writes them.
    pub data: Vec<i16>,
}

impl Session {
    /// The codes of all named values of the last frame. Empty unless the session keeps values, and if
    /// there is no frame.
    pub fn codes(&self) -> Vec<CodesTensor> {
        let Some(executor) = self.team.state().filter(|_| self.keep_values && self.frame.is_some()) else {
            return Vec::new();
        };
        let program = executor.program();
        let values = self.network.model().values.iter().zip(&program.plan.storage);
        values
            .filter(|(value, _)| !value.name.is_empty())
            .filter_map(|(value, storage)| {
                let ValueKind::Levels(encoding) = &value.kind else {
                    return None;
                };
                let store = storage.any_store()?;
                let bytes = executor.store_bytes(store);
                let levels = nchw_levels(&program.rows, store, bytes, value.channels);
                let code = |level: u8| encoding.code(level) as i16;
                Some(CodesTensor {
                    name: value.name.clone(),
                    shape: [1, value.channels as usize, value.height as usize, value.width as usize],
                    data: levels.into_iter().map(code).collect(),
                })
            })
            .collect()
    }
}

/// Levels of a store as `[channel][row][column]`.
fn nchw_levels(rows: &Rows, store: &Store, bytes: &[u8], channels: u32) -> Vec<u8> {
    let (height, width) = (store.layout.height, store.layout.width);
    let stride = level_stride(channels);
    let channels = channels as usize;
    let mut levels = vec![0; channels * height * width];
    let mut buffer = vec![0; width * stride];
    for y in 0..height {
        let row = read_row(rows, store, bytes, y, stride, &mut buffer);
        for (x, pixel) in row.chunks_exact(stride).enumerate() {
            for (channel, &level) in pixel[..channels].iter().enumerate() {
                levels[(channel * height + y) * width + x] = level;
            }
        }
    }
    levels
}
