//! Feature maps of several convolutions: which of them gives the boxes, which the objectness, which the classes.
//!
//! Where an output has the numbers of all of them, their order there tells: boxes come first, classes last. Where they
//! are outputs apart, boxes are what has a place in the picture, or what alone is not behind a logistic function. Raw heads
//! are told by their channels.

use std::collections::HashMap;

use ylb_format::limits::MAX_BINS;
use ylb_format::model::BoxRule;
use ylb_source::ir::{Tensor, TensorId};

use super::check::{Checker, SIDES};
use super::{Hints, Map, Part, families, not_a_detector};
use crate::error::ConvertError;

impl Checker<'_, '_> {
    /// Brings the parts of each map into the order of their fields, and finds the classes and the rule for boxes.
    ///
    /// # Errors
    /// If maps have different parts, or what they are cannot be told.
    pub fn find_parts(&mut self, hints: Hints) -> Result<(), ConvertError> {
        for index in 0..self.maps.len() {
            let parts = self.maps[index].parts.clone();
            if !(2..=3).contains(&parts.len()) {
                let error = not_a_detector(format!(
                    "{} heads of {:?} cells; expected one, or boxes and classes, or boxes, objectness and classes, for \
                     each feature map",
                    parts.len(),
                    self.maps[index].size
                ));
                return Err(self.finder.blame(parts[0].tensor, error));
            }
            let ordered = match self.order_in_an_output(&parts)? {
                Some(ordered) => ordered,
                None => match self
                    .boxes_apart(&parts)?
                    .map_or_else(|| self.boxes_beside_sigma(&parts), |own| Ok(Some(own)))?
                {
                    Some(boxes) => self.with_boxes(&parts, boxes),
                    None => self.order_by_channels(&parts, hints)?,
                },
            };
            self.maps[index].parts = ordered;
        }
        self.name_fields(hints)
    }

    /// The order of the parts in an output that has numbers of all of them.
    fn order_in_an_output(&self, parts: &[Part]) -> Result<Option<Vec<Part>>, ConvertError> {
        for &output in &self.finder.graph.outputs {
            let behind = self.finder.frontier(output)?;
            if !parts.iter().all(|part| behind.contains(&part.tensor)) {
                continue;
            }
            let zeros = self.run_zeros(output)?;
            let mut firsts = Vec::with_capacity(parts.len());
            for part in parts {
                firsts.push(self.moved_by(output, &zeros, &[part.tensor])?.first().copied());
            }
            let mut ordered: Vec<(Option<usize>, &Part)> = firsts.into_iter().zip(parts).collect();
            ordered.sort_by_key(|(first, _)| *first);
            if ordered.iter().all(|(first, _)| first.is_some()) {
                return Ok(Some(ordered.into_iter().map(|(_, part)| part.clone()).collect()));
            }
        }
        Ok(None)
    }

    /// The part that an output of boxes alone comes from: heads of zeros have boxes of different places there.
    fn boxes_apart(&self, parts: &[Part]) -> Result<Option<usize>, ConvertError> {
        for &output in &self.finder.graph.outputs {
            let behind = self.finder.frontier(output)?;
            let own: Vec<usize> =
                (0..parts.len()).filter(|&index| behind.contains(&parts[index].tensor)).collect();
            let &[part] = &own[..] else { continue };
            let zeros = self.run_zeros(output)?;
            if self
                .layout_of_rows(zeros.shape())
                .is_some_and(|(layout, columns)| columns >= SIDES && self.has_places(&zeros, layout, columns))
            {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// The only part that no output has a logistic function of, where there are such outputs: boxes have none, scores do.
    fn boxes_beside_sigma(&self, parts: &[Part]) -> Result<Option<usize>, ConvertError> {
        let mut others: Vec<usize> = (0..parts.len()).collect();
        for &output in &self.finder.graph.outputs {
            let behind = self.finder.frontier(output)?;
            others.retain(|&index| {
                behind != [parts[index].tensor] || self.run_zeros(output).is_ok_and(|zeros| !is_sigma(&zeros))
            });
        }
        Ok(match others[..] {
            [only] => Some(only),
            _ => None,
        })
    }

    /// Parts of which one is known to give the boxes.
    fn with_boxes(&self, parts: &[Part], boxes: usize) -> Vec<Part> {
        let mut rest: Vec<Part> = parts.to_vec();
        let first = rest.remove(boxes);
        // The objectness is one number, from the same branch as the boxes.
        rest.sort_by_key(|part| {
            (part.channels != 1, !self.share_input(part.tensor, first.tensor), part.tensor)
        });
        std::iter::once(first).chain(rest).collect()
    }

    /// Whether two heads are of one feature map.
    fn share_input(&self, a: TensorId, b: TensorId) -> bool {
        let read = |mut tensor: TensorId| loop {
            let node = self.finder.producer(tensor)?;
            let constant = |id: TensorId| self.finder.graph.constant(id).is_some();
            let input = node.inputs.iter().flatten().copied().find(|&id| !constant(id))?;
            if node.is("Conv") {
                return Some(input);
            }
            tensor = input;
        };
        read(a).is_some() && read(a) == read(b)
    }

    /// Raw heads, as far as their channels tell.
    fn order_by_channels(&self, parts: &[Part], hints: Hints) -> Result<Vec<Part>, ConvertError> {
        let boxes = match parts.len() {
            2 => boxes_of_two(&[parts[0].channels, parts[1].channels], hints),
            _ => self.boxes_of_three(parts),
        };
        let channels: Vec<String> = parts.iter().map(|part| part.channels.to_string()).collect();
        let unknown = || {
            not_a_detector(format!(
                "raw heads of {} channels: give the class names to tell boxes from classes",
                channels.join(" and ")
            ))
        };
        boxes.map(|boxes| self.with_boxes(parts, boxes)).ok_or_else(unknown)
    }

    /// Boxes have four numbers, and the objectness, one number, comes from the same branch.
    fn boxes_of_three(&self, parts: &[Part]) -> Option<usize> {
        let fours: Vec<usize> = (0..3).filter(|&index| parts[index].channels == SIDES).collect();
        if let &[only] = &fours[..] {
            return Some(only);
        }
        let objectness = parts.iter().find(|part| part.channels == 1)?;
        fours.into_iter().find(|&index| self.share_input(parts[index].tensor, objectness.tensor))
    }

    /// Says which fields each part has.
    fn name_fields(&mut self, hints: Hints) -> Result<(), ConvertError> {
        let channels = |map: &Map| map.parts.iter().map(|part| part.channels).collect::<Vec<_>>();
        let first = channels(&self.maps[0]);
        for map in &self.maps {
            if channels(map) != first {
                let error = not_a_detector(format!(
                    "heads of {:?} channels, and of {first:?} of another feature map; expected the same numbers of a box",
                    channels(map)
                ));
                return Err(self.finder.blame(map.parts[0].tensor, error));
            }
        }
        let boxes = match first[..] {
            [SIDES, 1, _] => Some(BoxRule::GridExp),
            [SIDES, _] => Some(BoxRule::Distances),
            [channels, _] if channels.is_multiple_of(SIDES) => u8::try_from(channels / SIDES)
                .ok()
                .filter(|bins| (2..=MAX_BINS).contains(bins))
                .map(|bins| BoxRule::Distributions { bins }),
            _ => None,
        };
        let Some(boxes) = boxes else {
            let hint = match (&first[..], &self.finder.graph.outputs[..]) {
                (&[_, last], &[output]) if last > SIDES && last.is_multiple_of(SIDES) => {
                    let what = self.finder.measured_from_centres(output);
                    format!(
                        "; if scores stand first, as NanoDet and PicoDet have them, where distances are measured from is not shown: {what}"
                    )
                }
                _ => String::new(),
            };
            let error = not_a_detector(format!(
                "heads of {first:?} channels; expected 4 numbers of a box, or 4 distributions of 2 to {MAX_BINS}, then \
                 classes; or 4, an objectness, then classes{hint}"
            ));
            return Err(self.finder.blame(self.maps[0].parts[0].tensor, error));
        };
        self.boxes = boxes;
        self.classes = *first.last().unwrap_or(&0);
        let Some(family) = self.families().next() else {
            return Err(not_a_detector("heads of no known family"));
        };
        match hints.family {
            Some(given) if !families::same_rule(given.boxes(), boxes) => {
                return Err(not_a_detector(format!(
                    "heads of {first:?} channels a feature map are not those of {} as was said (--head)",
                    given.name()
                )));
            }
            given => self.family = given.unwrap_or(family),
        }
        for map in &mut self.maps {
            let mut end = 0;
            for part in &mut map.parts {
                part.fields = end..end + part.channels;
                end = part.fields.end;
            }
        }
        Ok(())
    }

    /// Places in an output that differ from those of heads of zeros where some heads are random.
    pub(super) fn moved_by(
        &self,
        output: TensorId,
        zeros: &Tensor,
        tensors: &[TensorId],
    ) -> Result<Vec<usize>, ConvertError> {
        let mut heads = self.zeros()?;
        let random: HashMap<TensorId, Tensor> = self.random_heads()?;
        heads.extend(random.into_iter().filter(|(tensor, _)| tensors.contains(tensor)));
        let found = self.finder.run(output, heads)?;
        let differs = |&index: &usize| found.get(index).to_bits() != zeros.get(index).to_bits();
        Ok((0..found.len().min(zeros.len())).filter(differs).collect())
    }
}

/// Whether an output is logistic functions of heads that are zeros here.
fn is_sigma(zeros: &Tensor) -> bool {
    (0..zeros.len()).all(|index| zeros.get(index) == 0.5)
}

/// Which of two raw heads has the boxes: what is no number of classes, then what has distributions of the usual 16, then
/// what has four numbers, then what has any distributions.
fn boxes_of_two(channels: &[usize; 2], hints: Hints) -> Option<usize> {
    let sides = |&count: &usize| count.is_multiple_of(SIDES) && count / SIDES <= usize::from(MAX_BINS);
    let fits = |index: usize| match hints.family.map(|family| family.boxes()) {
        Some(BoxRule::Distances) => channels[index] == SIDES,
        Some(BoxRule::Distributions { .. }) => sides(&channels[index]) && channels[index] > SIDES,
        _ => sides(&channels[index]),
    };
    let candidates: Vec<usize> = (0..2).filter(|&index| fits(index)).collect();
    let [first, second] = match candidates[..] {
        [] => return None,
        [only] => return Some(only),
        _ => [0, 1],
    };
    if let Some(classes) = hints.classes {
        let others: Vec<usize> =
            [first, second].into_iter().filter(|&index| channels[1 - index] == classes).collect();
        match others[..] {
            [] => return None,
            [only] => return Some(only),
            // As exporters write them.
            _ => return Some(first),
        }
    }
    let of = |wanted: usize| match [channels[0] == wanted, channels[1] == wanted] {
        [true, false] => Some(0),
        [false, true] => Some(1),
        _ => None,
    };
    of(16 * SIDES).or_else(|| of(SIDES))
}
