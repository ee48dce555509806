//! Label files: an object a line, as class, centre and size in fractions of the picture.

use anyhow::{Context, Result, bail, ensure};

/// An object in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// Index of its class.
    pub class: usize,
    /// Centre x, centre y, width and height as fractions of the picture, 0 to 1.
    pub place: [f64; 4],
}

impl Label {
    /// Left, top, right and bottom edge in a picture of that size in pixels.
    pub fn edges(&self, width: u32, height: u32) -> [f64; 4] {
        let [x, y, w, h] = self.place;
        let (width, height) = (f64::from(width), f64::from(height));
        [(x - w / 2.0) * width, (y - h / 2.0) * height, (x + w / 2.0) * width, (y + h / 2.0) * height]
    }
}

/// Reads the text of a label file. Empty lines are skipped.
///
/// # Errors
/// A sentence with the line's number, if a line is no label of one of that many classes.
pub fn parse(text: &str, classes: usize) -> Result<Vec<Label>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| label(line, classes).with_context(|| format!("line {}", index + 1))).collect()
}

fn label(line: &str, classes: usize) -> Result<Label> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[class, ref place @ ..] = fields.as_slice() else { bail!("the line is empty") };
    let place: [&str; 4] = place.try_into().ok().with_context(|| {
        format!(
            "expected 5 numbers (class, centre x, centre y, width, height), but there are {}",
            fields.len()
        )
    })?;
    // Some tools write classes as floats.
    let number = class.parse().ok().filter(|number: &f64| number.fract() == 0.0 && *number >= 0.0);
    let number = number.with_context(|| format!("\"{class}\" is no class number"))?;
    ensure!(
        number < classes as f64,
        "class {number}, but the data set names {classes} classes (0 to {})",
        classes.saturating_sub(1)
    );
    let mut numbers = [0.0; 4];
    for (number, text) in numbers.iter_mut().zip(place) {
        *number = text.parse().ok().with_context(|| format!("\"{text}\" is no number"))?;
        ensure!((0.0..=1.0).contains(number), "{text} is no fraction of the picture, 0 to 1");
    }
    Ok(Label { class: number as usize, place: numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_boxes() {
        let labels = parse("1 0.5 0.25 0.5 0.5\n\n  0.0\t0.1 0.2 0 1  \r\n", 2).unwrap();
        assert_eq!(labels[0], Label { class: 1, place: [0.5, 0.25, 0.5, 0.5] });
        assert_eq!(labels[0].edges(640, 480), [160.0, 0.0, 480.0, 240.0]);
        assert_eq!((labels.len(), labels[1].class), (2, 0));
        assert!(parse("\n", 1).unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, reason) in [
            ("0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1", "line 2: expected 5 numbers"),
            ("0 0.1 0.1 0.2 0.1 0.2 0.2", "but there are 7"),
            ("3 0.5 0.5 0.1 0.1", "line 1: class 3, but the data set names 3 classes (0 to 2)"),
            ("-1 0.5 0.5 0.1 0.1", "\"-1\" is no class number"),
            ("1.5 0.5 0.5 0.1 0.1", "\"1.5\" is no class number"),
            ("nan 0.5 0.5 0.1 0.1", "\"nan\" is no class number"),
            ("0 0.5 x 0.1 0.1", "\"x\" is no number"),
            ("0 320 0.5 0.1 0.1", "320 is no fraction of the picture"),
            ("0 nan 0.5 0.1 0.1", "nan is no fraction of the picture"),
        ] {
            let error = format!("{:#}", parse(text, 3).unwrap_err());
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }
}
