//! By which arithmetic the levels of a network are made: chosen when it is loaded, as the cheapest that is equal to the
//! model's.

use serde::Serialize;
use ylb_runtime::{Network, StepInfo};

use crate::output::{self, millions};

/// The levels that one frame requantizes.
#[derive(Debug, PartialEq, Serialize)]
pub struct Requantization {
    /// All of them.
    pub levels: u64,
    /// Those by arithmetic that takes several times as long as the others.
    pub general_levels: u64,
    /// Most levels first.
    pub by_form: Vec<FormTotal>,
}

/// Sums over the layers with the same form.
#[derive(Debug, PartialEq, Serialize)]
pub struct FormTotal {
    /// `thresholds16`, `cells`, `search` and so on.
    pub form: &'static str,
    /// Whether it is general arithmetic.
    pub general: bool,
    /// Layers.
    pub layers: usize,
    /// Levels of a frame.
    pub levels: u64,
}

impl Requantization {
    /// Of a network.
    pub fn of(network: &Network) -> Self {
        let levels = |step: StepInfo<'_>| {
            let value = network.model().value(step.node.output);
            let levels = [value.channels, value.height, value.width].map(u64::from).iter().product();
            Some((step.requantization?, levels))
        };
        let layers = network.steps().filter_map(levels);
        Self::sums(
            layers.map(|(requantization, levels)| (requantization.form, requantization.general, levels)),
        )
    }

    /// Of form, generality and levels of layers.
    fn sums(layers: impl Iterator<Item = (&'static str, bool, u64)>) -> Self {
        let mut by_form: Vec<FormTotal> = Vec::new();
        for (form, general, levels) in layers {
            match by_form.iter_mut().find(|total| total.form == form) {
                Some(total) => {
                    total.layers += 1;
                    total.levels += levels;
                }
                None => by_form.push(FormTotal { form, general, layers: 1, levels }),
            }
        }
        by_form.sort_by_key(|total| std::cmp::Reverse(total.levels));
        let sum = |general: bool| {
            by_form.iter().filter(|total| total.general || !general).map(|total| total.levels).sum()
        };
        Self { levels: sum(false), general_levels: sum(true), by_form }
    }

    /// One line of text.
    pub fn line(&self) -> String {
        if self.by_form.is_empty() {
            return "nothing is requantized".to_owned();
        }
        let part = |total: &FormTotal| {
            format!("{} by {} ({})", millions(total.levels), total.form, output::count(total.layers, "layer"))
        };
        let parts: Vec<String> = self.by_form.iter().map(part).collect();
        let general = match self.general_levels {
            0 => "none by general arithmetic".to_owned(),
            levels => {
                format!("{} by general arithmetic, which takes several times as long", millions(levels))
            }
        };
        format!("levels of a picture: {}; {general}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_summed_by_form() {
        let layers = [("cells", false, 100_000), ("search", true, 3_000_000), ("cells", false, 2_000_000)];
        let found = Requantization::sums(layers.into_iter());
        assert_eq!((found.levels, found.general_levels), (5_100_000, 3_000_000));
        assert_eq!(
            found.line(),
            "levels of a picture: 3.00 M by search (1 layer), 2.10 M by cells (2 layers); 3.00 M by general arithmetic, \
             which takes several times as long"
        );
        let fast = Requantization::sums(layers.into_iter().filter(|layer| !layer.1));
        assert_eq!(
            fast.line(),
            "levels of a picture: 2.10 M by cells (2 layers); none by general arithmetic"
        );
        assert_eq!(Requantization::sums([].into_iter()).line(), "nothing is requantized");
    }
}
