//! Constant tensors.

use crate::error::{ErrorKind, SourceError};

/// Most elements that a tensor made by evaluation may have; a hostile `Expand` is stopped here.
pub const MAX_ELEMENTS: usize = 1 << 25;

/// Type of a tensor's elements. Half floats become [`ElementType::F32`] when a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// Truth value.
    Bool,
    /// Signed integer of that many bits.
    Signed(u8),
    /// Unsigned integer of that many bits.
    Unsigned(u8),
}

impl ElementType {
    /// Smallest and largest integer, for integers.
    pub fn integer_range(self) -> Option<(i64, i64)> {
        match self {
            Self::Signed(bits @ 1..=63) => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
            Self::Signed(_) => Some((i64::MIN, i64::MAX)),
            Self::Unsigned(bits @ 1..=62) => Some((0, (1 << bits) - 1)),
            Self::Unsigned(_) => Some((0, i64::MAX)),
            _ => None,
        }
    }

    /// Whether it is one of the floating point types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F32 => f.write_str("float32"),
            Self::F64 => f.write_str("float64"),
            Self::Bool => f.write_str("bool"),
            Self::Signed(bits) => write!(f, "int{bits}"),
            Self::Unsigned(bits) => write!(f, "uint{bits}"),
        }
    }
}

/// Elements of a tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Elements of [`ElementType::F32`].
    F32(Vec<f32>),
    /// Elements of [`ElementType::F64`].
    F64(Vec<f64>),
    /// Integers and truth values of at most 8 bits, signed or not.
    Small(Vec<i16>),
    /// All other integers.
    Large(Vec<i64>),
}

/// A constant tensor. The number of elements always equals the product of the extents.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    element: ElementType,
    data: Data,
}

/// Product of extents, or an error where it exceeds [`MAX_ELEMENTS`].
pub fn element_count(shape: &[usize]) -> Result<usize, SourceError> {
    // An extent of 0 must not hide an overflow of the others.
    let bound = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent.max(1)));
    match bound {
        Some(bound) if bound <= MAX_ELEMENTS => Ok(shape.iter().product()),
        _ => Err(SourceError::new(
            ErrorKind::TooLarge,
            format!("a tensor of shape {shape:?} has more than {MAX_ELEMENTS} elements"),
        )),
    }
}

impl Tensor {
    /// A tensor of 32-bit floats.
    ///
    /// # Errors
    /// If the number of elements is not that of the shape.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Result<Self, SourceError> {
        Self::checked(shape, ElementType::F32, data.len(), Data::F32(data))
    }

    /// A tensor of 64-bit floats.
    ///
    /// # Errors
    /// If the number of elements is not that of the shape.
    pub fn f64(shape: &[usize], data: Vec<f64>) -> Result<Self, SourceError> {
        Self::checked(shape, ElementType::F64, data.len(), Data::F64(data))
    }

    /// A tensor of integers or truth values, saturated to their type's range.
    ///
    /// # Errors
    /// If the number of elements is not that of the shape, or the type is a float.
    pub fn integers(
        shape: &[usize],
        element: ElementType,
        values: impl ExactSizeIterator<Item = i64>,
    ) -> Result<Self, SourceError> {
        let len = values.len();
        let (low, high) = match element {
            ElementType::Bool => (0, 1),
            _ => element
                .integer_range()
                .ok_or_else(|| SourceError::malformed("integers in a tensor of floats"))?,
        };
        let data = if low >= -256 && high <= 255 {
            Data::Small(values.map(|value| value.clamp(low, high) as i16).collect())
        } else {
            Data::Large(values.map(|value| value.clamp(low, high)).collect())
        };
        Self::checked(shape, element, len, data)
    }

    /// A one-dimensional tensor of 64-bit integers, as shapes and axes are.
    pub fn indices(values: &[i64]) -> Self {
        let data = Data::Large(values.to_vec());
        Self { shape: vec![values.len()], element: ElementType::Signed(64), data }
    }

    fn checked(shape: &[usize], element: ElementType, len: usize, data: Data) -> Result<Self, SourceError> {
        if element_count(shape)? != len {
            return Err(SourceError::malformed(format!("a tensor of shape {shape:?} holds {len} elements")));
        }
        Ok(Self { shape: shape.to_vec(), element, data })
    }

    /// The extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements' type.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(values) => values.len(),
            Data::F64(values) => values.len(),
            Data::Small(values) => values.len(),
            Data::Large(values) => values.len(),
        }
    }

    /// Whether it has no elements, as shapes with an extent of 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element at a flat index as a 64-bit float. Integers beyond 2^53 are rounded.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn get(&self, index: usize) -> f64 {
        match &self.data {
            Data::F32(values) => f64::from(values[index]),
            Data::F64(values) => values[index],
            Data::Small(values) => f64::from(values[index]),
            Data::Large(values) => values[index] as f64,
        }
    }

    /// Element at a flat index as an integer; floats are truncated and saturated.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn get_integer(&self, index: usize) -> i64 {
        match &self.data {
            Data::F32(values) => values[index] as i64,
            Data::F64(values) => values[index] as i64,
            Data::Small(values) => i64::from(values[index]),
            Data::Large(values) => values[index],
        }
    }

    /// All elements as 64-bit floats.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len()).map(|index| self.get(index)).collect()
    }

    /// All elements as integers, as [`Tensor::get_integer`] gives them.
    pub fn to_integers(&self) -> Vec<i64> {
        (0..self.len()).map(|index| self.get_integer(index)).collect()
    }

    /// The only element of a tensor with one element of whatever shape.
    pub fn scalar(&self) -> Option<f64> {
        (self.len() == 1).then(|| self.get(0))
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// If the number of elements would differ.
    pub fn reshaped(mut self, shape: &[usize]) -> Result<Self, SourceError> {
        if element_count(shape)? != self.len() {
            return Err(SourceError::malformed(format!("shape {:?} cannot become {shape:?}", self.shape)));
        }
        self.shape = shape.to_vec();
        Ok(self)
    }

    /// The elements at the given flat indices, in a new shape.
    ///
    /// # Errors
    /// If their number is not that of the shape, or an index is out of range.
    pub fn gathered(&self, shape: &[usize], indices: &[usize]) -> Result<Self, SourceError> {
        fn pick<T: Copy>(values: &[T], indices: &[usize]) -> Option<Vec<T>> {
            indices.iter().map(|&index| values.get(index).copied()).collect()
        }
        let data = match &self.data {
            Data::F32(values) => pick(values, indices).map(Data::F32),
            Data::F64(values) => pick(values, indices).map(Data::F64),
            Data::Small(values) => pick(values, indices).map(Data::Small),
            Data::Large(values) => pick(values, indices).map(Data::Large),
        };
        let data = data.ok_or_else(|| SourceError::malformed("an index is out of range"))?;
        Self::checked(shape, self.element, indices.len(), data)
    }
}
