//! What can be wrong with a node.

use thiserror::Error;

/// What can be wrong with a node or what it reads and writes.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum NodeProblem {
    /// It reads or writes no value of the model.
    #[error("it refers to value {value}, but there are {values} values")]
    UnknownValue {
        /// Index that the node gives.
        value: u32,
        /// Values of the model.
        values: usize,
    },
    /// It reads a value that no earlier node writes.
    #[error("it reads value {value}, which no earlier node has written")]
    ReadTooEarly {
        /// Index of the value.
        value: u32,
    },
    /// It writes a value that has been written.
    #[error("it writes value {value}, which is the input or was written by an earlier node")]
    WrittenTwice {
        /// Index of the value.
        value: u32,
    },
    /// Too few or too many inputs (terms of a convolution, addends, parts of a concatenation).
    #[error("it has {count} inputs instead of {min} to {max}")]
    InputCount {
        /// Inputs.
        count: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// It reads accumulators, which only the detection head does.
    #[error("it reads value {value}, which holds accumulators instead of levels")]
    InputIsAccumulators {
        /// Index of the value.
        value: u32,
    },
    /// It computes levels, but the value it writes holds accumulators.
    #[error("it computes levels, but its output holds accumulators")]
    OutputIsAccumulators,
    /// It is a convolution without requantization, but the value it writes holds levels.
    #[error("it computes accumulators, but its output holds levels")]
    OutputIsLevels,
    /// An input's channels, height or width are not what the operator and its first input ask for.
    #[error("input {input} is {}, where {} was expected", shape(actual), shape(expected))]
    InputShape {
        /// Which of the inputs.
        input: usize,
        /// Channels, height and width that the operator needs.
        expected: [u32; 3],
        /// Those of the value.
        actual: [u32; 3],
    },
    /// The output's channels, height or width are not what the operator computes.
    #[error("it computes {}, but its output is {}", shape(expected), shape(actual))]
    OutputShape {
        /// Channels, height and width that the operator computes.
        expected: [u64; 3],
        /// Those of the value.
        actual: [u64; 3],
    },
    /// The levels of an input do not mean the same as the output's.
    #[error("the encodings of input {input} and output differ")]
    Encoding {
        /// Which of the inputs.
        input: usize,
    },
    /// A look-up table has not one level for each of the input's.
    #[error("a table of {len} levels for an input of {levels}")]
    TableLen {
        /// Entries of the table.
        len: usize,
        /// Levels of the input.
        levels: usize,
    },
    /// A level that a table or staircase gives is beyond the output's encoding.
    #[error("it gives level {level}, but the output's largest is {max_level}")]
    LevelTooLarge {
        /// The level.
        level: u8,
        /// The output's largest level.
        max_level: u8,
    },
    /// A slice reaches beyond the channels of its input.
    #[error("{count} channels from channel {first} on of an input of {channels}")]
    SliceRange {
        /// The first channel taken.
        first: u32,
        /// How many are taken.
        count: u32,
        /// Channels of the input.
        channels: u32,
    },
    /// The first of two matrices has not as many channels as are summed.
    #[error("{summed} channels are multiplied with {weights}")]
    Summed {
        /// Channels of the first input.
        summed: u64,
        /// Channels of the second, or its positions in each group.
        weights: u64,
    },
    /// Positions of two matrices do not fall into areas of equally many.
    #[error("{areas} areas of {} and {} positions", positions[0], positions[1])]
    Areas {
        /// Number of areas.
        areas: u32,
        /// Positions of the first and of the second input.
        positions: [u64; 2],
    },
    /// An exponential is too large, or the first is 0.
    #[error("exponential {index} is {exponential}; expected at most 2^46, and the first more than 0")]
    Exponential {
        /// Which.
        index: usize,
        /// The number.
        exponential: u64,
    },
    /// A value is padded with 0, but no level of it stands for 0.
    #[error("it pads with 0, for which its input has no level")]
    NoZero,
    /// The factor of an upsampling is out of range.
    #[error("the factor {factor} is not 2 to {limit}")]
    UpsampleFactor {
        /// The factor.
        factor: u32,
        /// Largest factor.
        limit: u32,
    },
    /// Sums of several terms that are accumulators leave an i32.
    #[error("the sum of channel {channel} may not fit 32 bits")]
    SumRange {
        /// The output channel.
        channel: usize,
    },
    /// So many values make no whole number of rows and columns.
    #[error("it interleaves {count} values; expected 4, 9 or 16")]
    InterleaveCount {
        /// Their number.
        count: usize,
    },
    /// An operand of a join holds levels, but has a curve.
    #[error("input {input} holds levels, of which there is no curve")]
    InputIsLevels {
        /// Which of the inputs.
        input: usize,
    },
    /// An operand of a join refers to no curve.
    #[error("input {input} has curve {curve}, but there are {curves} curves")]
    UnknownCurve {
        /// Which of the inputs.
        input: usize,
        /// Index that it gives.
        curve: u8,
        /// Curves of the join.
        curves: usize,
    },
    /// Pieces of a curve are none, too many, too wide or too steep.
    #[error("curve {curve} has {pieces} pieces of 2^{width}, which are too many, too wide or too steep")]
    Pieces {
        /// Which.
        curve: u8,
        /// Its pieces.
        pieces: usize,
        /// Each is 2 to the power of this wide.
        width: u8,
    },
    /// The first or the last piece of a curve is no line.
    #[error("the ends of curve {curve} are no lines")]
    CurveEnds {
        /// Which.
        curve: u8,
    },
    /// A join of curves may leave 58 bits.
    #[error("what becomes of input {input} may not fit 58 bits")]
    CurveRange {
        /// Which of the inputs.
        input: usize,
    },
    /// A window's rows, columns or steps are out of range.
    #[error("a window with kernel {kernel:?} and stride {stride:?}: all must be 1 to {limit}")]
    Window {
        /// Rows and columns.
        kernel: [u32; 2],
        /// Steps.
        stride: [u32; 2],
        /// Largest extent and step.
        limit: u32,
    },
    /// Padding is as large as the kernel, so that a window could miss the input.
    #[error("the padding {padding:?} is not smaller than the kernel {kernel:?}")]
    Padding {
        /// Top, left, bottom, right.
        padding: [u32; 4],
        /// Rows and columns.
        kernel: [u32; 2],
    },
    /// The kernel is larger than the padded input.
    #[error("the kernel {kernel:?} exceeds the padded input {padded:?}")]
    WindowExceedsInput {
        /// Rows and columns of the kernel.
        kernel: [u32; 2],
        /// Rows and columns of the input with its padding.
        padded: [u32; 2],
    },
    /// Groups do not divide the channels.
    #[error("{groups} groups do not divide {channels} channels")]
    Groups {
        /// Groups.
        groups: u32,
        /// Output channels, or input channels of a term.
        channels: u32,
    },
    /// The extents of a term's weights are not what the convolution asks for.
    #[error("the weights of term {term} are {actual:?}, where {expected:?} was expected")]
    WeightShape {
        /// Which term.
        term: usize,
        /// Output channels, input channels of a group, kernel rows, kernel columns.
        expected: [u32; 4],
        /// The weights' shape.
        actual: [u32; 4],
    },
    /// Bits of a weight are out of range.
    #[error("the weights of term {term} have {bits} bits instead of 1 to 8")]
    WeightBits {
        /// Which term.
        term: usize,
        /// Bits.
        bits: u8,
    },
    /// An output channel sums more products than [`MAX_DEPTH`](crate::limits::MAX_DEPTH).
    #[error("term {term} sums {depth} products; the limit is {limit}")]
    Depth {
        /// Which term.
        term: usize,
        /// Weights of an output channel.
        depth: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The bit planes are not as long as the weights' shape and bits ask for.
    #[error("the weights of term {term} are {len} bytes instead of {expected}")]
    PlanesLen {
        /// Which term.
        term: usize,
        /// Bytes of the planes.
        len: usize,
        /// What they should be.
        expected: u64,
    },
    /// The bits behind the last weight of a plane are not zero.
    #[error("plane {plane} of the weights of term {term} has bits behind its last weight")]
    PlaneTail {
        /// Which term.
        term: usize,
        /// Which plane.
        plane: u8,
    },
    /// There are zero points, but not one for each output channel.
    #[error("term {term} has {len} zero points for {channels} output channels")]
    ZeroPointsLen {
        /// Which term.
        term: usize,
        /// Zero points.
        len: usize,
        /// Output channels.
        channels: u32,
    },
    /// A zero point is out of range.
    #[error("the zero point {zero_point} of term {term} is not in -255 to 255")]
    WeightZeroPoint {
        /// Which term.
        term: usize,
        /// The zero point.
        zero_point: i16,
    },
    /// An accumulator can leave an i32.
    #[error("an accumulator of term {term}, channel {channel}, can reach {magnitude}")]
    AccumulatorRange {
        /// Which term.
        term: usize,
        /// Which output channel.
        channel: usize,
        /// Bound of its magnitude.
        magnitude: i64,
    },
    /// A convolution without requantization has more than one term.
    #[error("{terms} terms cannot be one accumulator")]
    SeveralAccumulators {
        /// Terms.
        terms: usize,
    },
    /// There is not one multiplier for each term and channel.
    #[error("{len} multipliers for {terms} terms of {channels} channels")]
    MultipliersLen {
        /// Multipliers.
        len: usize,
        /// Terms.
        terms: usize,
        /// Channels that are requantized apart.
        channels: usize,
    },
    /// There is not one bias for each channel.
    #[error("{len} biases for {channels} channels")]
    BiasLen {
        /// Biases.
        len: usize,
        /// Channels that are requantized apart.
        channels: usize,
    },
    /// The shift is too large.
    #[error("the shift {shift} is not 0 to {limit}")]
    Shift {
        /// Right shift.
        shift: u8,
        /// Largest shift.
        limit: u8,
    },
    /// A scaled accumulator can leave an i64.
    #[error("channel {channel} can leave a 64-bit integer when it is requantized")]
    ScaledRange {
        /// Which channel.
        channel: usize,
    },
    /// A staircase over accumulators needs a single accumulator.
    #[error("a staircase over plain accumulators cannot have {terms} terms, or be of a sum")]
    StaircaseTerms {
        /// Terms.
        terms: usize,
    },
    /// There is not one staircase for each channel.
    #[error("{thresholds} lists of thresholds and {levels} of levels for {channels} channels")]
    StaircaseLists {
        /// Lists of thresholds.
        thresholds: usize,
        /// Lists of levels.
        levels: usize,
        /// Channels.
        channels: usize,
    },
    /// A staircase has too many thresholds.
    #[error("a staircase of {count} thresholds; the limit is {limit}")]
    ThresholdCount {
        /// Thresholds.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A staircase has not one level more than thresholds.
    #[error("a staircase of {thresholds} thresholds has {levels} levels")]
    StaircaseLevels {
        /// Thresholds.
        thresholds: usize,
        /// Levels.
        levels: usize,
    },
    /// Thresholds do not ascend.
    #[error("threshold {index} of channel {channel} does not exceed the one before")]
    ThresholdOrder {
        /// Which channel.
        channel: usize,
        /// Which threshold.
        index: usize,
    },
}

/// `channels×height×width`.
fn shape<T: std::fmt::Display>([channels, height, width]: &[T; 3]) -> String {
    format!("{channels}×{height}×{width}")
}
