//! Just enough SVG for plots: lines, rectangles and text.

use std::fmt::{Display, Write};

use crate::text;

/// A drawing in the making. Coordinates are pixels from the top left corner.
#[derive(Debug)]
pub struct Svg(String);

/// On which side of its point a text lies.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    /// Right of it.
    Start,
    /// About it.
    Middle,
    /// Left of it.
    End,
}

impl Svg {
    /// A white sheet.
    pub fn new(width: f64, height: f64) -> Self {
        let mut svg = Self(String::new());
        svg.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">"
        ));
        svg.rectangle([0.0, 0.0, width, height], "#ffffff");
        svg
    }

    fn add(&mut self, element: impl Display) {
        writeln!(self.0, "{element}").expect("a String takes everything");
    }

    /// A filled rectangle: left, top, width, height.
    pub fn rectangle(&mut self, [x, y, width, height]: [f64; 4], fill: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
        ));
    }

    /// A line through points, of that many pixels.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &str, thickness: f64) {
        let points: Vec<String> = points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{thickness}\"/>",
            points.join(" ")
        ));
    }

    /// A text whose base line is at `y`.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, colour: &str, text: &str) {
        self.placed_text(format_args!("x=\"{x:.1}\" y=\"{y:.1}\""), anchor, colour, text);
    }

    /// A text that reads from bottom to top.
    pub fn text_upwards(&mut self, (x, y): (f64, f64), anchor: Anchor, colour: &str, text: &str) {
        let place = format_args!("transform=\"translate({x:.1} {y:.1}) rotate(-90)\"");
        self.placed_text(place, anchor, colour, text);
    }

    fn placed_text(&mut self, place: impl Display, anchor: Anchor, colour: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.add(format_args!("<text {place} text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"));
    }

    /// The whole file.
    pub fn finish(mut self) -> String {
        self.add("</svg>");
        self.0
    }
}

/// Text without characters that XML reads as markup or does not allow, and none that deceives.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text::line(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // Controls are spelled out already; these two are the only others that XML 1.0 lacks (Char, 2.2).
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_file() {
        let mut svg = Svg::new(10.0, 20.0);
        svg.text((1.0, 2.0), Anchor::End, "#000000", "<b> & \u{1}\u{1b}\u{202e}\n\u{ffff}");
        let file = svg.finish();
        assert!(file.contains(">&lt;b&gt; &amp; \\u{1}\\u{1b}\\u{202e}\\n\u{fffd}</text>"), "{file}");
        assert!(file.starts_with("<svg ") && file.ends_with("</svg>\n"), "{file}");
    }
}
