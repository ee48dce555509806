//! Finds objects in a picture:
//!
//! ```text
//! cargo run --release -p ylb-runtime --example detect -- models/cells-w4a4.ylb models/sample.jpg
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use ylb_runtime::{DetectOptions, Network, Picture, PixelFormat, Session, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(model), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: detect MODEL.ylb PICTURE".into());
    };

    let network = Arc::new(Network::open(&model)?);
    let mut session = Session::new(Arc::clone(&network), SessionOptions::default())?;

    let pixels = image::open(&path)?.to_rgb8();
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let picture = Picture::new(pixels.as_raw(), width, height, PixelFormat::Rgb)?;
    let names = &network.model().metadata.class_names;
    for found in session.detect(&picture, &DetectOptions::default())? {
        let name = names.get(found.class as usize).map_or("?", String::as_str);
        let [left, top, right, bottom] = [found.left, found.top, found.right, found.bottom];
        println!("{name} {:.2}: {left:.1} {top:.1} {right:.1} {bottom:.1}", found.confidence);
    }
    Ok(())
}
