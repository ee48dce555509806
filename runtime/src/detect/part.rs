//! The parts of a feature map: some fields of its boxes each, and how to read them.

use std::ops::Range;

use ylb_format::model::{Encoding, HeadPart, Value, ValueKind};

use super::logit::{LogitScale, raw_logit};
use super::map::{Elements, Head, Map};
use super::rules::Site;

/// Some fields of a map's boxes, from one convolution.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Which fields.
    pub fields: Range<usize>,
    /// How to read [`Elements::Levels`]; `None` for accumulators.
    pub encoding: Option<Encoding>,
    /// Channels to logits.
    pub logits: LogitScale,
}

/// What is done with the numbers of a head, compiled for each kind of them.
pub(crate) trait Visit {
    /// What comes of it.
    type Output;

    /// Does it. `integer` reads one of the `elements`.
    fn visit<T: Copy>(self, elements: &[T], integer: impl Fn(T) -> i32) -> Self::Output;
}

/// A box of a map and its numbers, wherever they lie.
#[derive(Clone, Copy)]
pub(crate) struct BoxNumbers<'a> {
    /// The map.
    pub map: &'a Map,
    /// The heads of its parts.
    pub heads: &'a [Head<'a>],
    /// The box.
    pub site: Site,
}

impl Part {
    /// Takes a part and the value that it reads.
    pub fn new(part: &HeadPart, value: &Value) -> Self {
        Self {
            fields: part.fields.start as usize..part.fields.end as usize,
            encoding: match value.kind {
                ValueKind::Levels(encoding) => Some(encoding),
                ValueKind::Accumulators => None,
            },
            logits: LogitScale::new(part),
        }
    }

    /// Hands the numbers of a head on in their own type.
    ///
    /// # Panics
    /// If the head is not of the kind that the model says.
    pub fn visit<V: Visit>(&self, head: &Head<'_>, visitor: V) -> V::Output {
        match (head.elements, self.encoding) {
            (Elements::Accumulators(numbers), None) => visitor.visit(numbers, |number| number),
            (Elements::NarrowAccumulators(numbers), None) => visitor.visit(numbers, i32::from),
            (Elements::Levels(levels), Some(encoding)) => {
                visitor.visit(levels, |level| encoding.integer(level))
            }
            _ => panic!("a head is not of the kind that the model says"),
        }
    }

    /// Channel of a field of an anchor.
    #[inline]
    pub fn channel(&self, anchor: usize, field: usize) -> usize {
        anchor * self.fields.len() + (field - self.fields.start)
    }

    /// Which of the fields `wanted` are this part's.
    pub fn overlap(&self, wanted: &Range<usize>) -> Range<usize> {
        let start = self.fields.start.max(wanted.start);
        start..self.fields.end.min(wanted.end).max(start)
    }
}

/// Reads one number.
struct Read(usize);

impl Visit for Read {
    type Output = i32;

    #[inline]
    fn visit<T: Copy>(self, elements: &[T], integer: impl Fn(T) -> i32) -> i32 {
        integer(elements[self.0])
    }
}

impl<'a> BoxNumbers<'a> {
    /// The parts of the map with their heads.
    pub fn parts(&self) -> impl Iterator<Item = (&'a Part, &'a Head<'a>)> {
        self.map.parts.iter().zip(self.heads)
    }

    /// The raw logit of a field, and the part that it is of.
    ///
    /// # Panics
    /// If there is no such field.
    #[inline]
    fn raw(&self, field: usize) -> (i64, &'a Part) {
        let (part, head) =
            self.parts().find(|(part, _)| field < part.fields.end).expect("a field of the box");
        let channel = part.channel(self.site.anchor, field);
        let integer = part.visit(head, Read(head.start(self.site) + channel));
        (raw_logit(integer, part.logits.channels(channel, 1)[0]), part)
    }

    /// The logit of a field with [`LOGIT_BITS`](super::sigmoid::LOGIT_BITS) fraction bits.
    #[inline]
    pub fn wide(&self, field: usize) -> i64 {
        let (raw, part) = self.raw(field);
        part.logits.wide(raw)
    }

    /// The same clamped to the range of σ.
    #[inline]
    pub fn fixed(&self, field: usize) -> i32 {
        let (raw, part) = self.raw(field);
        part.logits.fixed(raw)
    }

    /// The logit of a field as a real number.
    pub fn real(&self, field: usize) -> f64 {
        let (raw, part) = self.raw(field);
        part.logits.real(raw)
    }
}

impl Head<'_> {
    /// Index of the first element of a cell.
    #[inline]
    pub(crate) fn start(&self, site: Site) -> usize {
        site.y * self.row_stride + site.x * self.pixel_stride
    }
}
