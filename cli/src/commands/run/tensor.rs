//! `run --tensor`: the network alone, from one NumPy file to another, for comparisons with the
//! exporting tool.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use ylb_runtime::SessionOptions;

use crate::args::RunArgs;
use crate::commands::{Outcome, UsageError};
use crate::files::{self, Reserved};
use crate::model;
use crate::npy::{self, Element, NpzWriter, PictureTensor};
use crate::output;
use crate::text;

/// What was written, for `--json`.
#[derive(Debug, Serialize)]
struct Document {
    model: String,
    files: Vec<Written>,
}

#[derive(Debug, Serialize)]
struct Written {
    path: String,
    tensors: Vec<Tensor>,
}

#[derive(Debug, Serialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

/// The picture of a `.npy` file, checked to be of the shape that a network needs.
fn read(path: &Path, expected: [usize; 4]) -> Result<PictureTensor> {
    ensure!(!path.is_dir(), "{} is a folder, but the tensor must be a .npy file", path.display());
    let tensor = File::open(path)
        .map_err(anyhow::Error::from)
        .and_then(|file| npy::read_picture(BufReader::new(file)))
        .with_context(|| format!("cannot load {}", path.display()))?;
    let shape = match &tensor {
        PictureTensor::Floats(array) => &array.shape,
        PictureTensor::Bytes(array) => &array.shape,
    };
    ensure!(
        *shape == expected,
        "{} has the shape {shape:?}, but the model needs {expected:?}",
        path.display()
    );
    if let PictureTensor::Floats(array) = &tensor {
        let whole = |&x: &f32| x.fract() == 0.0 && (0.0..=255.0).contains(&x);
        ensure!(
            array.data.iter().all(|&x| x <= 1.0) || !array.data.iter().all(whole),
            "{} holds whole numbers up to 255, but floats mean k/255 here, whatever the exported graph takes: divide \
             them by 255, or save the picture's bytes with .astype(numpy.uint8)",
            path.display()
        );
    }
    Ok(tensor)
}

/// Pixels of three planes one after the other.
fn interleaved(planes: &[u8]) -> Vec<u8> {
    let area = planes.len() / 3;
    (0..planes.len()).map(|index| planes[index % 3 * area + index / 3]).collect()
}

/// Runs the network on a `.npy` tensor and writes what was asked for.
///
/// # Errors
/// If a file cannot be read or written, or the tensor does not have the input's shape.
pub fn run(args: &RunArgs, tensor: &Path) -> Result<Outcome> {
    let inputs = Reserved::new([&args.model, tensor]);
    for (result, option) in [(&args.raw, "--raw"), (&args.codes, "--codes")] {
        result.iter().try_for_each(|path| inputs.check(path, option))?;
    }
    if args.codes.as_ref().is_some_and(|codes| Reserved::new(&args.raw).holds(codes)) {
        return Err(UsageError("--raw and --codes need files of their own".to_owned()).into());
    }
    let network = model::open(&args.model)?;
    let input = network.model().picture();
    let expected = [1, input.channels, input.height, input.width].map(|extent| extent as usize);
    let picture = read(tensor, expected)?;
    let keep_values = args.codes.is_some();
    let options = SessionOptions { threads: args.threads.count(), keep_values, ..Default::default() };
    let mut session = model::start(&network, options)?;
    match picture {
        PictureTensor::Floats(array) => session.run_tensor(&array.data)?,
        PictureTensor::Bytes(array) => session.run_pixels(&interleaved(&array.data))?,
    }

    let mut written = Vec::new();
    if let Some(path) = &args.raw {
        let outputs = session.outputs()?;
        let arrays = outputs
            .iter()
            .map(|output| (output.name.as_str(), output.shape.as_slice(), output.data.as_slice()));
        written.push(write_npz(path, arrays)?);
    }
    if let Some(path) = &args.codes {
        let codes = session.codes();
        let arrays =
            codes.iter().map(|codes| (codes.name.as_str(), codes.shape.as_slice(), codes.data.as_slice()));
        written.push(write_npz(path, arrays)?);
    }
    if args.json {
        output::print_json(&Document { model: args.model.display().to_string(), files: written })?;
    } else {
        for Written { path, tensors } in written {
            let tensors = output::count(tensors.len(), "tensor");
            output::print(format_args!("{tensors} written to {}\n", text::line(&path)))?;
        }
    }
    Ok(Outcome::Done)
}

fn write_npz<'a, T: Element + 'a>(
    path: &Path,
    arrays: impl Iterator<Item = (&'a str, &'a [usize], &'a [T])>,
) -> Result<Written> {
    let mut tensors = Vec::new();
    files::write(path, |writer| {
        let mut archive = NpzWriter::new(writer);
        for (name, shape, data) in arrays {
            archive.add(name, shape, data)?;
            tensors.push(Tensor { name: name.to_owned(), shape: shape.to_vec() });
        }
        archive.finish()?;
        Ok(())
    })?;
    Ok(Written { path: path.display().to_string(), tensors })
}
