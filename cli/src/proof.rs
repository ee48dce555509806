//! A model beside the source that it was made from: runs both on pictures.

use std::array;
use std::sync::Arc;

use anyhow::{Context, Result};
use image::RgbImage;
use ylb_converter::compare::{self, Codes, Comparison, Divergence, Executed, Reference, Verdict};
use ylb_converter::reference::FloatTensor;
use ylb_format::model::{Model, Preprocessing};
use ylb_runtime::picture::{Band, Letterbox};
use ylb_runtime::{Network, Picture, PixelFormat, Session, SessionOptions};
use ylb_source::Source;

use crate::model;
use crate::text;

/// Both models, ready to run.
pub struct Proof<'m> {
    model: &'m Model,
    reference: Reference<'m>,
    session: Session,
}

impl<'m> Proof<'m> {
    /// Prepares the source and starts the network; `threads` as in [`SessionOptions`].
    ///
    /// # Errors
    /// If the network was made from another file, or the source cannot be interpreted.
    pub fn new(source: &Source, network: &'m Arc<Network>, threads: usize) -> Result<Self> {
        let model = network.model();
        let reference = Reference::of_source(source, model)?;
        let options = SessionOptions { threads, keep_values: true, ..Default::default() };
        Ok(Self { model, reference, session: model::start(network, options)? })
    }

    /// Runs both on a picture, which is letterboxed as `run` does it; without one on a synthetic picture.
    ///
    /// # Errors
    /// If the source cannot be interpreted.
    pub fn compare(
        &mut self,
        picture: Option<&RgbImage>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Comparison> {
        let pixels = match picture {
            Some(picture) => letterboxed(input_size(self.model), &self.model.input.preprocessing, picture)?,
            None => compare::synthetic_picture(input_size(self.model)),
        };
        self.session.run_pixels(&pixels)?;
        let codes =
            self.session.codes().into_iter().map(|codes| Codes { name: codes.name, data: codes.data });
        let outputs = self.session.outputs().context("the model has no outputs to compare")?;
        let outputs = outputs.into_iter().map(|output| FloatTensor {
            name: output.name,
            shape: output.shape,
            data: output.data,
        });
        let executed = Executed { codes: codes.collect(), outputs: outputs.collect() };
        let comparison = self.reference.compare(&compare::planar(&pixels), &executed, progress);
        comparison.context("cannot interpret the source")
    }
}

/// Height and width.
fn input_size(model: &Model) -> [usize; 2] {
    let input = model.picture();
    [input.height as usize, input.width as usize]
}

/// Pixels of the network's input of `[height, width]`, row by row, as `run` makes them of a picture.
///
/// # Errors
/// If the picture has no pixels, or too many.
pub fn letterboxed(
    [height, width]: [usize; 2],
    wanted: &Preprocessing,
    picture: &RgbImage,
) -> Result<Vec<u8>> {
    let bytes: [u8; 256] = array::from_fn(|byte| byte as u8);
    let mut letterbox = Letterbox::by_channel([width, height], [&bytes; 3], wanted.fill).wanted_as(wanted);
    let (columns, rows) = picture.dimensions();
    let picture = Picture::new(picture.as_raw(), columns as usize, rows as usize, PixelFormat::Rgb)?;
    letterbox.prepare(&picture)?;
    let mut pixels = vec![0; 3 * width * height];
    let band = Band { rows: 0..height, levels: &mut pixels, row_stride: 3 * width };
    letterbox.fill(&picture, band, &mut letterbox.row_cache());
    Ok(pixels)
}

/// A comparison in a sentence without a verdict, such as `all 2432000 codes equal, outputs within
/// 6.1e-5`.
pub fn summary(comparison: &Comparison) -> String {
    let [elements, off_by_one, worse] = comparison.totals();
    let codes = match (off_by_one, worse) {
        (0, 0) => format!("all {elements} codes equal"),
        _ => format!("of {elements} codes {off_by_one} are off by one and {worse} by more"),
    };
    let largest = comparison.outputs.iter().map(|output| output.largest).fold(0.0, f64::max);
    format!("{codes}, outputs within {largest:.1e}")
}

/// Where a comparison diverges first, in words.
pub fn place(divergence: Divergence<'_>) -> String {
    match divergence {
        Divergence { node: "", tensor } => format!("tensor \"{}\" of the input", text::line(tensor)),
        Divergence { node, tensor } => {
            format!("layer \"{}\", tensor \"{}\"", text::line(node), text::line(tensor))
        }
    }
}

/// What `--close` lets pass.
pub const CLOSE_ALLOWS: &str = "--close allows activations of more than 4 bits to have 5 % of all codes off by one, and outputs \
                                0.03 standard deviations off in the mean";

/// A verdict as JSON has it.
pub fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "equal",
        Verdict::Close => "close",
        Verdict::Different => "different",
    }
}
