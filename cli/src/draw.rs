//! Boxes and labels on a picture.
//!
//! `embedded-graphics` draws; this module lends it the picture as a canvas, enlarges its bitmap fonts
//! for large pictures and chooses places and colours.

use std::convert::Infallible;

use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyleBuilder, Rectangle, StrokeAlignment};
use embedded_graphics::text::{Baseline, Text};
use image::RgbImage;

/// An object to mark.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Left, top, right and bottom edge in pixels.
    pub edges: [f32; 4],
    /// Class index: decides the colour.
    pub class: u32,
    /// What the label says.
    pub label: String,
}

/// Draws boxes and then labels, so that no box crosses a label. What comes first lies on top.
pub fn draw(picture: &mut RgbImage, marks: &[Mark]) {
    let style = Style::for_size(picture.width(), picture.height());
    let mut canvas = Canvas(picture);
    for mark in marks.iter().rev() {
        style.draw_box(&mut canvas, mark);
    }
    for mark in marks.iter().rev() {
        style.draw_label(&mut canvas, mark);
    }
}

/// Seven colours that stay apart for colour-blind people, the most distinct first: the palette of
/// M. Okabe and K. Ito, "Color Universal Design" (2008), without its black.
const PALETTE: [Rgb888; 7] = [
    Rgb888::new(0xe6, 0x9f, 0x00), // orange
    Rgb888::new(0x00, 0x72, 0xb2), // blue
    Rgb888::new(0x00, 0x9e, 0x73), // bluish green
    Rgb888::new(0xd5, 0x5e, 0x00), // vermilion
    Rgb888::new(0xcc, 0x79, 0xa7), // reddish purple
    Rgb888::new(0x56, 0xb4, 0xe9), // sky blue
    Rgb888::new(0xf0, 0xe4, 0x42), // yellow
];

/// A class's colour: the palette, then the palette darker, then lighter, then again.
pub fn class_colour(class: u32) -> Rgb888 {
    let len = PALETTE.len() as u32;
    let colour = PALETTE[(class % len) as usize];
    let towards = |target: u8| {
        let mix = |channel: u8| ((u16::from(channel) * 3 + u16::from(target) * 2) / 5) as u8;
        Rgb888::new(mix(colour.r()), mix(colour.g()), mix(colour.b()))
    };
    match class / len % 3 {
        0 => colour,
        1 => towards(0),
        _ => towards(255),
    }
}

/// Black or white, whichever is easier to read on a background: the luma of ITU-R BT.601.
pub fn text_colour(background: Rgb888) -> Rgb888 {
    let [r, g, b] = [background.r(), background.g(), background.b()].map(u32::from);
    if 299 * r + 587 * g + 114 * b > 128_000 { Rgb888::BLACK } else { Rgb888::WHITE }
}

/// Dots of the font between a label's text and the edge of its background.
const LABEL_MARGIN: Size = Size::new(2, 1);

/// Sizes of lines and letters, by the size of the picture.
struct Style {
    /// Width of a box's line in pixels.
    line_width: u32,
    font: &'static MonoFont<'static>,
    /// Pixels to a dot of the font, in both directions.
    scale: u32,
}

impl Style {
    /// Lines as thick as YOLOv5 draws them, letters as large as they stay readable when the picture
    /// is shown on a screen.
    fn for_size(width: u32, height: u32) -> Self {
        let mean = (width + height) as f32 / 2.0;
        let line_width = ((mean * 0.003).round() as u32).max(2);
        let text_height = mean * 0.026;
        let (font, scale) = match text_height {
            ..=11.0 => (&fonts::FONT_6X10, 1),
            ..=14.0 => (&fonts::FONT_7X13_BOLD, 1),
            ..=16.5 => (&fonts::FONT_9X15_BOLD, 1),
            ..=23.0 => (&fonts::FONT_10X20, 1),
            _ => (&fonts::FONT_9X15_BOLD, (text_height / 15.0).round() as u32),
        };
        Self { line_width, font, scale }
    }

    fn draw_box(&self, canvas: &mut Canvas<'_>, mark: &Mark) {
        let style = PrimitiveStyleBuilder::new()
            .stroke_color(class_colour(mark.class))
            .stroke_width(self.line_width)
            .stroke_alignment(StrokeAlignment::Inside)
            .build();
        let Ok(()) = canvas.rectangle(mark.edges).into_styled(style).draw(canvas);
    }

    /// Draws the label on the box's top edge; inside the box where there is no room above; moved to
    /// where the picture shows all of it, or, if it is too long for that, its beginning.
    fn draw_label(&self, canvas: &mut Canvas<'_>, mark: &Mark) {
        let background = class_colour(mark.class);
        let text = self.printable(&mark.label);
        let area = self.label_area(canvas.size(), canvas.rectangle(mark.edges), text.chars().count());
        let Ok(()) = canvas.fill_solid(&area, background);
        let origin = area.top_left + LABEL_MARGIN * self.scale;
        let style = MonoTextStyle::new(self.font, text_colour(background));
        let mut enlarged = Enlarged { canvas, origin, scale: self.scale };
        let Ok(_) = Text::with_baseline(&text, Point::zero(), style, Baseline::Top).draw(&mut enlarged);
    }

    /// Where the background of a label with so many letters goes.
    fn label_area(&self, picture: Size, object: Rectangle, letters: usize) -> Rectangle {
        let letter = self.font.character_size;
        let text = Size::new(letter.width * letters as u32, letter.height);
        let size = (text + LABEL_MARGIN * 2) * self.scale;
        let above = object.top_left.y - size.height as i32;
        let top = if above >= 0 { above } else { object.top_left.y };
        let last = |extent: u32, needed: u32| extent.saturating_sub(needed) as i32;
        let left = object.top_left.x.min(last(picture.width, size.width)).max(0);
        let top = top.min(last(picture.height, size.height)).max(0);
        Rectangle::new(Point::new(left, top), size)
    }

    /// The text with a question mark for every letter that the font lacks.
    fn printable(&self, text: &str) -> String {
        text.chars()
            .map(|letter| if matches!(letter, ' '..='~' | '\u{a0}'..='\u{ff}') { letter } else { '?' })
            .collect()
    }
}

/// The picture as embedded-graphics draws on it.
struct Canvas<'a>(&'a mut RgbImage);

impl Canvas<'_> {
    /// The pixels that edges enclose, inside the picture and at least one.
    fn rectangle(&self, [left, top, right, bottom]: [f32; 4]) -> Rectangle {
        let inside = |edge: f32, extent: u32| (edge.round() as i32).clamp(0, extent as i32 - 1);
        let (width, height) = self.0.dimensions();
        let first = Point::new(inside(left, width), inside(top, height));
        let last = Point::new(inside(right - 1.0, width), inside(bottom - 1.0, height));
        Rectangle::with_corners(first, first.component_max(last))
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                pixel.0 = [colour.r(), colour.g(), colour.b()];
            }
        }
        Ok(())
    }
}

/// A canvas on which a dot becomes a square of `scale` pixels, counted from an origin.
struct Enlarged<'c, 'p> {
    canvas: &'c mut Canvas<'p>,
    origin: Point,
    scale: u32,
}

impl Dimensions for Enlarged<'_, '_> {
    fn bounding_box(&self) -> Rectangle {
        Rectangle::new(Point::zero(), self.canvas.size() / self.scale)
    }
}

impl DrawTarget for Enlarged<'_, '_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, dots: I) -> Result<(), Infallible> {
        for Pixel(dot, colour) in dots {
            let square = Rectangle::new(self.origin + dot * self.scale as i32, Size::new_equal(self.scale));
            self.canvas.fill_solid(&square, colour)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    const GREY: Rgb<u8> = Rgb([90, 90, 90]);

    fn mark(edges: [f32; 4], label: &str) -> Mark {
        Mark { edges, class: 0, label: label.to_owned() }
    }

    /// The smallest rectangle, as (left, top, right, bottom), around everything that is not grey.
    fn painted(picture: &RgbImage) -> Option<(u32, u32, u32, u32)> {
        let pixels = picture.enumerate_pixels().filter(|(_, _, pixel)| **pixel != GREY);
        pixels
            .map(|(x, y, _)| (x, y, x + 1, y + 1))
            .reduce(|a, b| (a.0.min(b.0), a.1.min(b.1), a.2.max(b.2), a.3.max(b.3)))
    }

    fn drawn(width: u32, height: u32, marks: &[Mark]) -> RgbImage {
        let mut picture = RgbImage::from_pixel(width, height, GREY);
        draw(&mut picture, marks);
        picture
    }

    #[test]
    fn lines_follow_the_rule_of_yolov5() {
        // max(round((w + h) / 2 · 0.003), 2)
        for (width, height, line_width) in
            [(64, 64, 2), (640, 480, 2), (1000, 600, 2), (1920, 1080, 5), (4000, 3000, 11)]
        {
            assert_eq!(Style::for_size(width, height).line_width, line_width, "{width}x{height}");
        }
    }

    #[test]
    fn letters_grow_with_the_picture() {
        let height = |extent| {
            let style = Style::for_size(extent, extent);
            style.font.character_size.height * style.scale
        };
        let heights: Vec<u32> = (64..6000).step_by(16).map(height).collect();
        assert!(heights.is_sorted());
        assert_eq!((heights[0], heights[heights.len() - 1]), (10, 150));
    }

    #[test]
    fn a_box_is_drawn_just_inside_its_edges() {
        let mut picture = RgbImage::from_pixel(200, 100, GREY);
        let style = Style::for_size(200, 100);
        style.draw_box(&mut Canvas(&mut picture), &mark([20.0, 30.0, 60.0, 80.0], ""));
        assert_eq!(painted(&picture), Some((20, 30, 60, 80)));
        for (x, y, on_line) in
            [(20, 50, true), (21, 50, true), (22, 50, false), (40, 79, true), (40, 77, false)]
        {
            assert_eq!(*picture.get_pixel(x, y) == Rgb([0xe6, 0x9f, 0x00]), on_line, "({x}, {y})");
        }
    }

    #[test]
    fn labels_stay_inside_the_picture() {
        let style = Style::for_size(320, 240);
        let picture = Size::new(320, 240);
        for (left, top) in [(0, 0), (310, 0), (0, 236), (310, 236), (100, 5), (100, 100)] {
            let object = Rectangle::new(Point::new(left, top), Size::new(10, 4));
            let area = style.label_area(picture, object, 12);
            let bottom_right = area.top_left + area.size;
            assert!(area.top_left.x >= 0 && area.top_left.y >= 0, "{area:?}");
            assert!(bottom_right.x <= 320 && bottom_right.y <= 240, "{area:?}");
        }
        let roomy = style.label_area(picture, Rectangle::new(Point::new(50, 100), Size::new(10, 4)), 3);
        assert_eq!(roomy.top_left + roomy.size.y_axis(), Point::new(50, 100), "the label stands on its box");
    }

    #[test]
    fn a_label_too_long_shows_its_beginning() {
        let long = mark([10.0, 10.0, 20.0, 20.0], "a label that is far too long for this small picture");
        let (left, _, right, _) = painted(&drawn(64, 64, &[long])).unwrap();
        assert_eq!((left, right), (0, 64));
    }

    #[test]
    fn nothing_breaks_at_the_edges() {
        let edges = [
            [-5.0, -5.0, 1e9, 1e9],
            [63.9, 63.9, 64.0, 64.0],
            [70.0, 70.0, 80.0, 80.0],
            [f32::NAN; 4],
            [9.0, 9.0, 3.0, 3.0],
        ];
        for edges in edges {
            for (width, height) in [(64, 64), (1, 1), (1, 300)] {
                assert!(painted(&drawn(width, height, &[mark(edges, "Größe 猫 0.91")])).is_some());
            }
        }
        assert_eq!(painted(&drawn(64, 64, &[])), None);
    }

    #[test]
    fn letters_are_enlarged_as_squares() {
        let mut small = RgbImage::from_pixel(40, 20, GREY);
        let mut large = RgbImage::from_pixel(120, 60, GREY);
        let text = |canvas: &mut RgbImage, scale| {
            let style = MonoTextStyle::new(&fonts::FONT_9X15_BOLD, Rgb888::WHITE);
            let mut target = Enlarged { canvas: &mut Canvas(canvas), origin: Point::zero(), scale };
            Text::with_baseline("WBC", Point::zero(), style, Baseline::Top).draw(&mut target).unwrap();
        };
        text(&mut small, 1);
        text(&mut large, 3);
        assert!(painted(&small).is_some());
        assert!(large.enumerate_pixels().all(|(x, y, pixel)| pixel == small.get_pixel(x / 3, y / 3)));
    }

    #[test]
    fn the_first_twenty_one_classes_have_colours_of_their_own() {
        let colours: Vec<Rgb888> = (0..21).map(class_colour).collect();
        for (index, colour) in colours.iter().enumerate() {
            assert!(!colours[..index].contains(colour), "class {index}");
        }
        assert_eq!(class_colour(21), class_colour(0));
        assert_eq!((text_colour(PALETTE[6]), text_colour(PALETTE[1])), (Rgb888::BLACK, Rgb888::WHITE));
    }

    #[test]
    fn what_comes_first_lies_on_top() {
        let mut second = mark([10.0, 30.0, 50.0, 60.0], "");
        second.class = 1;
        let picture = drawn(64, 64, &[mark([10.0, 30.0, 50.0, 60.0], ""), second]);
        assert_eq!(*picture.get_pixel(10, 50), Rgb([0xe6, 0x9f, 0x00]));
    }
}
