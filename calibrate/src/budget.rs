//! Bits by layer within a budget: of each layer and width it is measured what the heads lose, and of all choices within the
//! budget that with the least sum is taken (as HAWQ-V3 does it: Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization",
//! 2021, with measured losses instead of derivatives).

use std::fmt;
use std::str::FromStr;

/// What a network may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Bytes of its file.
    Bytes(f64),
    /// Cycles for a picture, of a Cortex-A72 by the model of `cost`.
    Cycles(f64),
}

/// One way to do a group of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// What it costs.
    pub cost: f64,
    /// What is lost by it.
    pub loss: f64,
    /// The grid of the input that the group shares, and which of its widths.
    pub grid: Option<(usize, usize)>,
    /// Convolutions, and which of their widths.
    pub weights: Vec<(usize, usize)>,
}

/// Parts that a budget is counted in: what a way costs is rounded up to one.
const PARTS: usize = 1 << 14;

/// Leaves out ways that cost no less than another and lose no less. The rest is in the order of costs.
pub fn worthwhile(mut ways: Vec<Way>) -> Vec<Way> {
    ways.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.loss.total_cmp(&b.loss)));
    let mut least = f64::INFINITY;
    ways.retain(|way| {
        let better = way.loss < least;
        least = least.min(way.loss);
        better
    });
    ways
}

/// The ways, one for each group, with the least sum of losses whose costs are within a budget, to within a part of it for each
/// group; `None` if there are none.
pub fn best(groups: &[Vec<Way>], budget: f64) -> Option<Vec<usize>> {
    let cheapest: f64 = groups.iter().map(|ways| least_cost(ways)).sum();
    let free = budget - cheapest;
    if free < 0.0 {
        return None;
    }
    let part = (free / PARTS as f64).max(f64::MIN_POSITIVE);
    // By group and parts that are left for it and those before: the least loss, and the way to it.
    let mut losses = vec![0.0; PARTS + 1];
    let mut taken = Vec::with_capacity(groups.len());
    for ways in groups {
        let least = least_cost(ways);
        let parts: Vec<usize> = ways
            .iter()
            .map(|way| ((way.cost - least) / part).ceil().min(2.0 * PARTS as f64) as usize)
            .collect();
        let mut own = vec![(f64::INFINITY, 0); PARTS + 1];
        for (index, (way, &parts)) in ways.iter().zip(&parts).enumerate() {
            for left in parts..=PARTS {
                let loss = losses[left - parts] + way.loss;
                if loss < own[left].0 {
                    own[left] = (loss, index);
                }
            }
        }
        losses = own.iter().map(|(loss, _)| *loss).collect();
        taken.push((own, parts));
    }
    let (mut left, mut chosen) = (PARTS, Vec::with_capacity(groups.len()));
    for (own, parts) in taken.iter().rev() {
        let index = own[left].1;
        left -= parts[index];
        chosen.push(index);
    }
    chosen.reverse();
    Some(chosen)
}

/// Choices that differ from another in one or two groups and stay within the budget, those with the least sum of losses first.
pub fn neighbours(groups: &[Vec<Way>], chosen: &[usize], budget: f64, most: usize) -> Vec<Vec<usize>> {
    let way = |group: usize, index: usize| &groups[group][index];
    let spent: f64 = chosen.iter().enumerate().map(|(group, &index)| way(group, index).cost).sum();
    let moves: Vec<(usize, usize, f64, f64)> = (0..groups.len())
        .flat_map(|group| (0..groups[group].len()).map(move |index| (group, index)))
        .filter(|&(group, index)| chosen[group] != index)
        .map(|(group, index)| {
            let (old, new) = (way(group, chosen[group]), way(group, index));
            (group, index, new.cost - old.cost, new.loss - old.loss)
        })
        .collect();
    let mut found: Vec<(f64, [Option<usize>; 2])> = Vec::new();
    for (first, a) in moves.iter().enumerate() {
        if spent + a.2 <= budget {
            found.push((a.3, [Some(first), None]));
        }
        for (second, b) in moves.iter().enumerate().skip(first + 1) {
            if a.0 != b.0 && spent + a.2 + b.2 <= budget {
                found.push((a.3 + b.3, [Some(first), Some(second)]));
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let moved = |(_, indices): &(f64, [Option<usize>; 2])| {
        let mut other = chosen.to_vec();
        indices.iter().flatten().for_each(|&index| other[moves[index].0] = moves[index].1);
        other
    };
    found.iter().take(most).map(moved).collect()
}

fn least_cost(ways: &[Way]) -> f64 {
    ways.iter().map(|way| way.cost).fold(f64::INFINITY, f64::min)
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        type Unit = fn(f64) -> Budget;
        let units: [(&str, Unit, f64); 3] =
            [("Mcycles", Self::Cycles, 1e6), ("MB", Self::Bytes, 1e6), ("kB", Self::Bytes, 1e3)];
        let read = |(unit, kind, size): (&str, Unit, f64)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            (number.is_finite() && number > 0.0).then(|| kind(number * size))
        };
        units
            .into_iter()
            .find_map(read)
            .ok_or_else(|| "expected something like 300Mcycles or 1.3MB".to_owned())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millions = |x: f64| (x / 1e3).round() / 1e3;
        match *self {
            Self::Bytes(bytes) => write!(f, "{}MB", millions(bytes)),
            Self::Cycles(cycles) => write!(f, "{}Mcycles", millions(cycles)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(cost: f64, loss: f64) -> Way {
        Way { cost, loss, grid: None, weights: Vec::new() }
    }

    /// Groups whose numbers look random, of two to five ways.
    fn groups(count: usize, seed: u64) -> Vec<Vec<Way>> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        (0..count)
            .map(|group| worthwhile((0..2 + group % 4).map(|_| way(1.0 + next(), next())).collect()))
            .collect()
    }

    fn sums(groups: &[Vec<Way>], chosen: &[usize]) -> [f64; 2] {
        let ways = groups.iter().zip(chosen).map(|(ways, &index)| &ways[index]);
        ways.fold([0.0; 2], |[cost, loss], way| [cost + way.cost, loss + way.loss])
    }

    /// Every choice there is.
    fn all(groups: &[Vec<Way>]) -> Vec<Vec<usize>> {
        groups.iter().fold(vec![Vec::new()], |choices, ways| {
            let longer = |choice: Vec<usize>| {
                (0..ways.len()).map(move |index| choice.iter().copied().chain([index]).collect())
            };
            choices.into_iter().flat_map(longer).collect()
        })
    }

    #[test]
    fn no_other_choice_loses_less() {
        for seed in 0..20 {
            let groups = groups(7, seed);
            for budget in [7.5, 8.5, 9.5, 12.0] {
                let within = |choice: &&Vec<usize>| sums(&groups, choice)[0] <= budget;
                let choices = all(&groups);
                let least =
                    choices.iter().filter(within).map(|choice| sums(&groups, choice)[1]).reduce(f64::min);
                let found = best(&groups, budget);
                assert_eq!(found.is_some(), least.is_some(), "{seed} {budget}");
                let (Some(found), Some(least)) = (found, least) else { continue };
                let [cost, loss] = sums(&groups, &found);
                assert!(cost <= budget && loss <= 1.001 * least, "{seed} {budget}: {loss} of {least}");
            }
        }
    }

    #[test]
    fn neighbours_are_within_the_budget_and_near_ones_first() {
        let groups = groups(6, 3);
        let chosen = best(&groups, 9.0).unwrap();
        let near = neighbours(&groups, &chosen, 9.0, 30);
        assert!(near.len() > 10);
        let differences = |other: &Vec<usize>| other.iter().zip(&chosen).filter(|(a, b)| a != b).count();
        assert!(
            near.iter().all(|other| (1..=2).contains(&differences(other)) && sums(&groups, other)[0] <= 9.0)
        );
        assert!(near.windows(2).all(|pair| sums(&groups, &pair[0])[1] <= sums(&groups, &pair[1])[1] + 1e-12));
    }

    #[test]
    fn budgets_are_read_as_they_are_written() {
        for text in ["300Mcycles", "1.3MB", "0.85MB"] {
            assert_eq!(text.parse::<Budget>().unwrap().to_string(), text);
        }
        assert_eq!("850kB".parse(), Ok(Budget::Bytes(850e3)));
        for bad in ["", "MB", "300", "-1MB", "1.3 mb", "infMB", "0Mcycles", "1Gcycles"] {
            assert!(bad.parse::<Budget>().is_err(), "{bad}");
        }
    }
}
