use super::*;

fn sums(products: f64) -> Accumulators {
    Accumulators { products, weight: [127.0, 73.0], input: (128.0, None) }
}

/// The level by definition, in floats, of an accumulator of a channel.
fn expected(codes: &Codes, step: f64, x: f64) -> i64 {
    let level = codes.activation.value(x, 0.0) / step + f64::from(codes.zero());
    level.round_ties_even().clamp(0.0, f64::from(codes.max_level)) as i64
}

#[test]
fn staircases_are_those_of_their_functions() {
    for (_, activation) in NAMES.into_iter().filter(|(name, _)| !["relu", "prelu"].contains(name)) {
        for (grid, bits) in [(Grid::Signed, 8), (Grid::Signed, 4), (Grid::ZeroPoint, 8), (Grid::ZeroPoint, 2)]
        {
            let codes = Codes::new(activation, grid, bits);
            let mut random = (0..).map(|index| f64::from(index * 37 % 101) / 101.0);
            let map = codes.requantize(3, 20, sums(288.0), || random.next().unwrap());
            let Requantize::ScaledStaircase { multipliers, bias, thresholds, levels } = map else {
                panic!("a scaled staircase");
            };
            assert!(thresholds.is_sorted_by(|a, b| a < b) && levels.len() == thresholds.len() + 1);
            assert!(levels.windows(2).all(|pair| pair[0].abs_diff(pair[1]) == 1), "{activation:?}");
            let step = codes.step(f64::from(STEPS[3]) / 100.0);
            // The multipliers say what one accumulator stands for; the largest has 31 bits.
            let random = (0..).map(|index| f64::from(index * 37 % 101) / 101.0).take(40);
            let random: Vec<f64> = random.collect();
            let first = (1.6 * (random[0] + random[1] - 1.0)).exp2() * SPREAD
                / (288f64.sqrt() * 73.0 * (USUAL_OUTPUT / codes.step(USUAL_STEP)).max(0.5));
            let unit = f64::from(multipliers[0]) / first;
            for accumulator in (-20_000..20_000).step_by(331) {
                let sum = i64::from(multipliers[0]) * accumulator + bias[0];
                let level = levels[thresholds.partition_point(|&threshold| threshold <= sum)];
                let exact = expected(&codes, step, sum as f64 / unit);
                assert!(i64::from(level) == exact, "{activation:?} {bits}: {accumulator}: {level} {exact}");
            }
        }
    }
}

#[test]
fn channels_of_prelu_have_their_own() {
    let codes = Codes::new(Activation::Prelu, Grid::Signed, 4);
    let mut random = (0..).map(|index| f64::from(index * 37 % 101) / 101.0);
    let Requantize::Staircase { thresholds, levels } =
        codes.requantize(0, 8, sums(64.0), || random.next().unwrap())
    else {
        panic!("a staircase by channel");
    };
    assert!(levels.iter().all(|levels| levels.is_sorted() && levels.contains(&15) && levels[0] < 8));
    assert!(thresholds.iter().all(|thresholds| thresholds.is_sorted_by(|a, b| a < b)));
    assert_ne!(thresholds[0], thresholds[3]);
}

#[test]
fn grids_reach_below_zero() {
    let silu = |grid, bits| Codes::new(Activation::Silu, grid, bits);
    assert_eq!((silu(Grid::Signed, 8).low, silu(Grid::Signed, 8).zero_point), (-128, 0));
    let zero_point = silu(Grid::ZeroPoint, 8);
    assert_eq!(zero_point.low, 0);
    assert!((8..20).contains(&zero_point.zero_point), "{zero_point:?}");
    assert_eq!(Codes::new(Activation::Relu, Grid::Signed, 8).low, 0);
}

#[test]
fn names_are_read() {
    for (name, activation) in NAMES {
        assert_eq!((name.parse(), activation.name()), (Ok(activation), name));
    }
    assert!("elu".parse::<Activation>().is_err());
    assert_eq!("zero-point".parse(), Ok(Grid::ZeroPoint));
    assert!("unsigned".parse::<Grid>().is_err());
}
