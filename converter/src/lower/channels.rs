//! Channels taken out of a feature map, and channels in another order.
//!
//! A feature's segments lie in one order, its channels may count in another: `order` says where in the segments each
//! channel is. Whatever works channel by channel keeps the segments as they are; a convolution over all channels puts its
//! weights in their order, and a depthwise one is in that order itself. So a channel shuffle costs nothing, and halves of
//! one are parts of the segments that it was made of.

use std::ops::Range;
use std::rc::Rc;

use ylb_source::ir::Node;
use ylb_source::quantizer::QuantizedConstant;

use super::{Feature, Lowering, Segment};
use crate::error::ConvertError;
use crate::passes::channels::ORDER;

/// Most segments that a feature map is cut into so that its channels lie in the order in which they count.
const MAX_RUNS: usize = 64;
/// Stretches of one segment that are cut out one by one.
const FEW_RUNS: usize = 8;

impl Lowering<'_> {
    /// The node that takes channels of a feature map.
    pub(super) fn channels(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let order = node.ints(ORDER).unwrap_or_default();
        let taken: Option<Vec<usize>> = order.iter().map(|&channel| usize::try_from(channel).ok()).collect();
        let Some(taken) = taken.filter(|taken| taken.iter().all(|&channel| channel < feature.channels()))
        else {
            return Err(ConvertError::malformed("takes channels that its input does not have"));
        };
        let places: Vec<usize> = taken.into_iter().map(|channel| feature.place(channel)).collect();
        self.taken(&feature, &places)
    }

    /// The channels of a feature that lie at some places of its segments, in the order of the places.
    fn taken(&mut self, feature: &Feature, places: &[usize]) -> Result<Feature, ConvertError> {
        let mut sorted = places.to_vec();
        sorted.sort_unstable();
        let segments = self.cut_runs(feature, &runs(feature, &sorted))?;
        let at = |place: &usize| sorted.binary_search(place).unwrap_or(0);
        let order: Vec<usize> = places.iter().map(at).collect();
        Ok(Feature { segments, ..feature.clone() }.ordered(order))
    }

    /// A feature whose channels lie in the order in which they count.
    pub(super) fn in_order(&mut self, feature: &Rc<Feature>) -> Result<Rc<Feature>, ConvertError> {
        let Some(order) = &feature.order else { return Ok(Rc::clone(feature)) };
        let runs = runs(feature, order);
        let stretches = runs.chunk_by(|(own, _), (other, _)| own == other).count();
        let segments = match stretches > MAX_RUNS {
            false => self.cut_runs(feature, &runs)?,
            // Of many parts in turn one value can be made, if they are codes of one scale.
            true => match self.as_one(feature)? {
                Some(whole) => self.gathered(&whole, order)?.into_iter().collect(),
                None => Vec::new(),
            },
        };
        if segments.is_empty() {
            return Err(ConvertError::unsupported(
                "reads channels in another order, as behind a channel shuffle; expected convolutions over all \
                 channels, depthwise ones, or what works element by element",
            ));
        }
        Ok(Rc::new(Feature { segments, order: None, ..feature.as_ref().clone() }))
    }

    /// Segments of stretches of channels; many of one segment are one.
    fn cut_runs(
        &mut self,
        feature: &Feature,
        runs: &[(usize, Range<usize>)],
    ) -> Result<Vec<Segment>, ConvertError> {
        let mut segments = Vec::new();
        for own in runs.chunk_by(|(own, _), (other, _)| own == other) {
            let segment = &feature.segments[own[0].0];
            if own.len() > FEW_RUNS {
                let channels: Vec<usize> = own.iter().flat_map(|(_, channels)| channels.clone()).collect();
                if let Some(gathered) = self.gathered(segment, &channels)? {
                    segments.push(gathered);
                    continue;
                }
            }
            for (_, channels) in own {
                segments.push(self.cut_out(segment, channels.clone())?);
            }
        }
        Ok(segments)
    }

    fn cut_out(&mut self, segment: &Segment, channels: Range<usize>) -> Result<Segment, ConvertError> {
        if channels.len() == segment.channels {
            return Ok(segment.clone());
        }
        Ok(Segment { channels: channels.len(), expr: self.part(segment, channels)? })
    }
}

/// Places in a feature's segments as stretches of channels of one segment, which is named by its index.
fn runs(feature: &Feature, places: &[usize]) -> Vec<(usize, Range<usize>)> {
    let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
    for &place in places {
        let (mut index, mut first) = (0, 0);
        while place >= first + feature.segments[index].channels {
            first += feature.segments[index].channels;
            index += 1;
        }
        let channel = place - first;
        match runs.last_mut() {
            Some((last, channels)) if *last == index && channels.end == channel => channels.end += 1,
            _ => runs.push((index, channel..channel + 1)),
        }
    }
    runs
}

impl Feature {
    /// Where in the segments a channel is.
    fn place(&self, channel: usize) -> usize {
        self.order.as_ref().map_or(channel, |order| order[channel])
    }

    /// The same segments, whose channels count in another order.
    pub(super) fn ordered(self, order: Vec<usize>) -> Self {
        let as_they_lie = order.iter().enumerate().all(|(channel, &place)| channel == place);
        Self { order: (!as_they_lie).then(|| Rc::from(order)), ..self }
    }

    /// Numbers of the channels as the channels lie; a single number stays one.
    pub(super) fn as_they_lie<T: Copy>(&self, numbers: &[T]) -> Vec<T> {
        let Some(order) = self.order.as_ref().filter(|_| numbers.len() > 1) else { return numbers.to_vec() };
        let mut lying = numbers.to_vec();
        for (&number, &place) in numbers.iter().zip(order.iter()) {
            lying[place] = number;
        }
        lying
    }
}

/// The order of the channels of several features one after another.
pub(super) fn joined_order(features: &[Rc<Feature>]) -> Vec<usize> {
    let mut first = 0;
    let mut order = Vec::new();
    for feature in features {
        let channels = feature.channels();
        order.extend((0..channels).map(|channel| first + feature.place(channel)));
        first += channels;
    }
    order
}

/// Weights over channels in another order: of a convolution over all channels, or of a depthwise one, whose outputs are in
/// that order then. `places` says where each input channel is.
pub(super) fn weights_in_order(
    quantized: &QuantizedConstant,
    [outputs, inputs, rows, columns]: [usize; 4],
    places: &[usize],
) -> QuantizedConstant {
    let taps = rows * columns;
    let mut own = quantized.clone();
    if inputs == places.len() {
        for output in 0..outputs {
            for (channel, &place) in places.iter().enumerate() {
                let [from, to] = [channel, place].map(|channel| (output * inputs + channel) * taps);
                own.codes[to..to + taps].copy_from_slice(&quantized.codes[from..from + taps]);
            }
        }
        return own;
    }
    let places = outputs_in_order(outputs, places);
    for (output, &place) in places.iter().enumerate() {
        let [from, to] = [output, place].map(|output| output * inputs * taps);
        own.codes[to..to + inputs * taps].copy_from_slice(&quantized.codes[from..from + inputs * taps]);
        if own.scale.len() > 1 {
            own.scale[place] = quantized.scale[output];
        }
        if own.zero_point.len() > 1 {
            own.zero_point[place] = quantized.zero_point[output];
        }
    }
    own
}

/// Where the outputs of a depthwise convolution are whose input channels are at some places.
pub(super) fn outputs_in_order(outputs: usize, places: &[usize]) -> Vec<usize> {
    let each = outputs / places.len().max(1);
    (0..outputs).map(|output| places[output / each] * each + output % each).collect()
}
