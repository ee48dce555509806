//! Staircases of many steps: a look-up among thresholds.

use super::RequantizeSpec;

/// Buckets for each threshold, at most.
const BUCKETS_PER_THRESHOLD: u64 = 4;

/// `levels[number of thresholds ≤ value]`, where the value is an accumulator or a scaled sum.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Search {
    /// Multipliers, `[term][channels]`, and bias of the scaled sum.
    scale: Option<(Vec<i32>, Vec<i64>)>,
    /// By channel, or one for all.
    tables: Vec<Table>,
    channels: usize,
}

/// A staircase, with the values between its first and its last threshold divided into buckets of a
/// power of two, so that a search begins close to its end.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    thresholds: Vec<i64>,
    levels: Vec<u8>,
    shift: u32,
    /// Number of thresholds that are not above the start of a bucket. The last bucket lies behind the
    /// last threshold.
    starts: Vec<u16>,
}

/// For every staircase.
pub(super) fn of(spec: &RequantizeSpec) -> Option<Search> {
    match spec {
        RequantizeSpec::Scale { .. } => None,
        RequantizeSpec::Staircase { thresholds, levels } => Some(Search::by_channel(thresholds, levels)),
        RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels } => {
            Some(Search::of_sums(multipliers, bias, thresholds, levels))
        }
    }
}

impl Search {
    /// A staircase of its own for every channel.
    pub(crate) fn by_channel(thresholds: &[Vec<i32>], levels: &[Vec<u8>]) -> Self {
        let table = |(thresholds, levels): (&Vec<i32>, &Vec<u8>)| {
            Table::new(thresholds.iter().copied().map(i64::from).collect(), levels.clone())
        };
        let tables: Vec<Table> = thresholds.iter().zip(levels).map(table).collect();
        Self { scale: None, channels: tables.len(), tables }
    }

    /// One staircase for the scaled sums of all channels.
    pub(crate) fn of_sums(multipliers: &[i32], bias: &[i64], thresholds: &[i64], levels: &[u8]) -> Self {
        Self {
            scale: Some((multipliers.to_vec(), bias.to_vec())),
            channels: bias.len(),
            tables: vec![Table::new(thresholds.to_vec(), levels.to_vec())],
        }
    }

    /// The level of an accumulator of each term.
    #[inline]
    pub(crate) fn level<const T: usize>(&self, channel: usize, accumulators: [i32; T]) -> u8 {
        // Behind the last channel there are lanes whose levels nobody reads.
        let channel = channel.min(self.channels - 1);
        match &self.scale {
            None => self.tables[channel].level(i64::from(accumulators[0])),
            Some((multipliers, bias)) => {
                let mut sum = bias[channel];
                for (term, accumulator) in accumulators.into_iter().enumerate() {
                    let multiplier = i64::from(multipliers[term * self.channels + channel]);
                    sum = sum.wrapping_add(multiplier * i64::from(accumulator));
                }
                self.tables[0].level(sum)
            }
        }
    }
}

impl Table {
    fn new(thresholds: Vec<i64>, levels: Vec<u8>) -> Self {
        let (shift, starts) = match (thresholds.first(), thresholds.last()) {
            (Some(&first), Some(&last)) => {
                let span = last.wrapping_sub(first) as u64;
                let most = BUCKETS_PER_THRESHOLD * thresholds.len() as u64;
                let shift = (0..63).find(|shift| span >> shift < most).unwrap_or(63);
                let start = |bucket: u64| {
                    let value = i128::from(first) + (i128::from(bucket) << shift);
                    thresholds.partition_point(|&t| i128::from(t) <= value) as u16
                };
                (shift, (0..(span >> shift) + 2).map(start).collect())
            }
            _ => (0, Vec::new()),
        };
        Self { thresholds, levels, shift, starts }
    }

    #[inline]
    fn level(&self, value: i64) -> u8 {
        let mut count = 0;
        if let Some(&first) = self.thresholds.first()
            && value >= first
        {
            let bucket = (value.wrapping_sub(first) as u64 >> self.shift) as usize;
            count = usize::from(self.starts[bucket.min(self.starts.len() - 1)]);
            while self.thresholds.get(count).is_some_and(|&threshold| threshold <= value) {
                count += 1;
            }
        }
        self.levels[count]
    }
}
