use super::*;
use ylb_source::ir::Graph;

use crate::histogram::Histogram;
use crate::samples::{self, SIZE, pictures};

/// Every choice within the budget, measured as a whole: none is better than the one that is found by more than a fiftieth of its loss.
/// Budgets are so many parts of what the most bits take more than the fewest.
fn compare_with_all(sample: Graph, unit: fn(f64) -> Budget, widths: &[i32], bits: &[u32]) {
    let network = Forward::new(sample, SIZE).unwrap();
    let structure = Structure::of(&network);
    let pictures = pictures(4);
    let histograms: Vec<Histogram> = crate::observe(&network, &structure, &pictures, &|_| {}).unwrap();
    let grids = histograms.iter().map(|own| bits.iter().map(|&bits| own.grid(bits)).collect()).collect();
    let trials = Trials::measure(&network, &structure, widths, grids, (&pictures, SIZE), &|_| {}).unwrap();
    let Groups { groups, fixed } = match unit(1.0) {
        Budget::Bytes(_) => by_bytes(&trials, &structure),
        Budget::Cycles(_) => by_cycles(&trials, &network, &structure),
    };
    let ends = [0, usize::MAX].map(|end| {
        let cost = |ways: &Vec<Way>| ways[end.min(ways.len() - 1)].cost;
        fixed + groups.iter().map(cost).sum::<f64>()
    });
    let too_small =
        within(unit(ends[0] * 0.99), &trials, &network, &structure).map(|_| ()).unwrap_err().to_string();
    assert!(too_small.contains("too small: with the fewest bits it takes"), "{too_small}");
    let mut all = 0;
    for share in [0.15, 0.3, 0.5, 0.8] {
        let most = ends[0] + share * (ends[1] - ends[0]);
        let budget = unit(most);
        let found = within(budget, &trials, &network, &structure).unwrap();
        assert!(found.cost <= most);
        let (mut least, mut count) = (f64::INFINITY, 0);
        let mut chosen = vec![0; groups.len()];
        loop {
            let ways = || groups.iter().zip(&chosen).map(|(ways, &index)| &ways[index]);
            if fixed + ways().map(|way| way.cost).sum::<f64>() <= most {
                let mut choice = Choice {
                    weights: vec![0; structure.convolutions.len()],
                    grids: vec![0; structure.grids],
                };
                for way in ways() {
                    way.weights.iter().for_each(|&(conv, width)| choice.weights[conv] = width);
                    way.grid.iter().for_each(|&(grid, width)| choice.grids[grid] = width);
                }
                least = least.min(trials.joint(&choice).unwrap());
                count += 1;
            }
            let Some(place) = (0..groups.len()).find(|&group| chosen[group] + 1 < groups[group].len()) else {
                break;
            };
            chosen[..place].fill(0);
            chosen[place] += 1;
        }
        println!("{budget}: {} of {least}, the least of {count}", found.loss);
        all += count;
        assert!(found.loss <= 1.02 * least, "{budget}: {} of {least}", found.loss);
    }
    assert!(all > 100, "{all}");
}

#[test]
fn no_other_bits_lose_less_in_so_many_bytes() {
    compare_with_all(samples::network(), Budget::Bytes, &[127, 31, 14, 7, 3, 1], &[8]);
}

#[test]
fn no_other_bits_lose_less_in_so_many_cycles() {
    compare_with_all(samples::stack(), Budget::Cycles, &[127, 14, 3, 1], &[8, 6, 5, 4]);
}
