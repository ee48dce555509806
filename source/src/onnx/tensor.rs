//! Tensors as ONNX stores them: raw bytes, or one of several typed lists.

use super::external::External;
use super::schema::TensorProto;
use crate::error::SourceError;
use crate::ir::{ElementType, Tensor, element_count};

/// Numbers of ONNX's `TensorProto.DataType`.
mod data_type {
    pub const FLOAT: i32 = 1;
    pub const UINT8: i32 = 2;
    pub const INT8: i32 = 3;
    pub const UINT16: i32 = 4;
    pub const INT16: i32 = 5;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    pub const BOOL: i32 = 9;
    pub const FLOAT16: i32 = 10;
    pub const DOUBLE: i32 = 11;
    pub const UINT32: i32 = 12;
    pub const UINT64: i32 = 13;
    pub const BFLOAT16: i32 = 16;
    pub const UINT4: i32 = 21;
    pub const INT4: i32 = 22;
    pub const UINT2: i32 = 25;
    pub const INT2: i32 = 26;
}

/// Element type for a number of `TensorProto.DataType`; `None` for text, complex numbers, 8-bit
/// floats and whatever else no quantized network needs.
pub fn element_type(data_type: i32) -> Option<ElementType> {
    Some(match data_type {
        data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 => ElementType::F32,
        data_type::DOUBLE => ElementType::F64,
        data_type::BOOL => ElementType::Bool,
        data_type::UINT2 => ElementType::Unsigned(2),
        data_type::UINT4 => ElementType::Unsigned(4),
        data_type::UINT8 => ElementType::Unsigned(8),
        data_type::UINT16 => ElementType::Unsigned(16),
        data_type::UINT32 => ElementType::Unsigned(32),
        data_type::UINT64 => ElementType::Unsigned(64),
        data_type::INT2 => ElementType::Signed(2),
        data_type::INT4 => ElementType::Signed(4),
        data_type::INT8 => ElementType::Signed(8),
        data_type::INT16 => ElementType::Signed(16),
        data_type::INT32 => ElementType::Signed(32),
        data_type::INT64 => ElementType::Signed(64),
        _ => return None,
    })
}

/// Translates a tensor.
pub fn decode(proto: &TensorProto, external: &mut External<'_>) -> Result<Tensor, SourceError> {
    const EXTERNAL: i32 = 1;
    let shape = proto
        .dims
        .iter()
        .map(|&extent| usize::try_from(extent))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| SourceError::malformed("a negative extent"))?;
    let data_type = proto.data_type.unwrap_or_default();
    let element = element_type(data_type)
        .ok_or_else(|| SourceError::unsupported(format!("elements of ONNX data type {data_type}")))?;
    let len = element_count(&shape)?;
    if proto.data_location == Some(EXTERNAL) || !proto.external_data.is_empty() {
        let raw = external.read(&proto.external_data, raw_len(data_type, element, len))?;
        return from_raw(&shape, data_type, element, &raw, len);
    }
    match &proto.raw_data {
        Some(raw) => from_raw(&shape, data_type, element, raw, len),
        None => from_lists(&shape, data_type, element, proto, len),
    }
}

/// Bytes of that many elements.
fn raw_len(data_type: i32, element: ElementType, len: usize) -> usize {
    let bits = match element {
        ElementType::F32 if data_type == data_type::FLOAT => 32,
        ElementType::F32 => 16,
        ElementType::F64 => 64,
        ElementType::Bool => 8,
        ElementType::Signed(bits) | ElementType::Unsigned(bits) => usize::from(bits),
    };
    (len * bits).div_ceil(8)
}

/// Little-endian numbers of `N` bytes each.
fn chunks<const N: usize>(raw: &[u8], len: usize) -> Result<Vec<[u8; N]>, SourceError> {
    if len.checked_mul(N) != Some(raw.len()) {
        return Err(SourceError::malformed(format!("{} bytes for {len} elements of {N} bytes", raw.len())));
    }
    Ok(raw.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok()).collect())
}

fn from_raw(
    shape: &[usize],
    data_type: i32,
    element: ElementType,
    raw: &[u8],
    len: usize,
) -> Result<Tensor, SourceError> {
    let integers = |values: Vec<i64>| Tensor::integers(shape, element, values.into_iter());
    match element {
        ElementType::F64 => {
            let values = chunks::<8>(raw, len)?.into_iter().map(f64::from_le_bytes);
            Tensor::f64(shape, values.collect())
        }
        ElementType::F32 if data_type == data_type::FLOAT => {
            let values = chunks::<4>(raw, len)?.into_iter().map(f32::from_le_bytes);
            Tensor::f32(shape, values.collect())
        }
        ElementType::F32 => {
            let halves = chunks::<2>(raw, len)?.into_iter().map(u16::from_le_bytes);
            Tensor::f32(shape, halves.map(|bits| half_to_f32(data_type, bits)).collect())
        }
        ElementType::Signed(bits @ (2 | 4)) => {
            let shift = 64 - u32::from(bits);
            integers(unpack(raw, bits, len)?.into_iter().map(|v| v << shift >> shift).collect())
        }
        ElementType::Unsigned(bits @ (2 | 4)) => integers(unpack(raw, bits, len)?),
        ElementType::Signed(8) => {
            integers(chunks::<1>(raw, len)?.into_iter().map(|b| i8::from_le_bytes(b).into()).collect())
        }
        ElementType::Signed(16) => {
            integers(chunks::<2>(raw, len)?.into_iter().map(|b| i16::from_le_bytes(b).into()).collect())
        }
        ElementType::Signed(32) => {
            integers(chunks::<4>(raw, len)?.into_iter().map(|b| i32::from_le_bytes(b).into()).collect())
        }
        ElementType::Signed(_) => {
            integers(chunks::<8>(raw, len)?.into_iter().map(i64::from_le_bytes).collect())
        }
        ElementType::Bool | ElementType::Unsigned(8) => {
            integers(chunks::<1>(raw, len)?.into_iter().map(|[byte]| byte.into()).collect())
        }
        ElementType::Unsigned(16) => {
            integers(chunks::<2>(raw, len)?.into_iter().map(|b| u16::from_le_bytes(b).into()).collect())
        }
        ElementType::Unsigned(32) => {
            integers(chunks::<4>(raw, len)?.into_iter().map(|b| u32::from_le_bytes(b).into()).collect())
        }
        ElementType::Unsigned(_) => integers(
            chunks::<8>(raw, len)?
                .into_iter()
                .map(|b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX))
                .collect(),
        ),
    }
}

/// Sub-byte integers, the first in the lowest bits of the first byte.
fn unpack(raw: &[u8], bits: u8, len: usize) -> Result<Vec<i64>, SourceError> {
    let per_byte = usize::from(8 / bits);
    if raw.len() != len.div_ceil(per_byte) {
        return Err(SourceError::malformed(format!("{} bytes for {len} elements of {bits} bits", raw.len())));
    }
    let mask = (1i64 << bits) - 1;
    let value = |index: usize| {
        let shift = (index % per_byte) * usize::from(bits);
        i64::from(raw[index / per_byte]) >> shift & mask
    };
    Ok((0..len).map(value).collect())
}

fn half_to_f32(data_type: i32, bits: u16) -> f32 {
    if data_type == data_type::BFLOAT16 {
        half::bf16::from_bits(bits).to_f32()
    } else {
        half::f16::from_bits(bits).to_f32()
    }
}

fn from_lists(
    shape: &[usize],
    data_type: i32,
    element: ElementType,
    proto: &TensorProto,
    len: usize,
) -> Result<Tensor, SourceError> {
    let words = &proto.int32_data;
    match element {
        ElementType::F64 => Tensor::f64(shape, proto.double_data.clone()),
        ElementType::F32 if data_type == data_type::FLOAT => Tensor::f32(shape, proto.float_data.clone()),
        // Half floats lie as bit patterns in the list of 32-bit integers.
        ElementType::F32 => {
            let values = words.iter().map(|&bits| half_to_f32(data_type, bits as u16));
            Tensor::f32(shape, values.collect())
        }
        ElementType::Signed(2 | 4) | ElementType::Unsigned(2 | 4) => {
            let raw: Vec<u8> = words.iter().map(|&word| word as u8).collect();
            from_raw(shape, data_type, element, &raw, len)
        }
        ElementType::Signed(64) => Tensor::integers(shape, element, proto.int64_data.iter().copied()),
        ElementType::Unsigned(32 | 64) => {
            let clamp = |&value: &u64| i64::try_from(value).unwrap_or(i64::MAX);
            Tensor::integers(shape, element, proto.uint64_data.iter().map(clamp))
        }
        _ => Tensor::integers(shape, element, words.iter().map(|&word| i64::from(word))),
    }
}

/// The number of `TensorProto.DataType` that an element type is written as.
pub fn data_type(element: ElementType) -> i32 {
    match element {
        ElementType::F32 => data_type::FLOAT,
        ElementType::F64 => data_type::DOUBLE,
        ElementType::Bool => data_type::BOOL,
        ElementType::Unsigned(2) => data_type::UINT2,
        ElementType::Unsigned(4) => data_type::UINT4,
        ElementType::Unsigned(8) => data_type::UINT8,
        ElementType::Unsigned(16) => data_type::UINT16,
        ElementType::Unsigned(32) => data_type::UINT32,
        ElementType::Unsigned(_) => data_type::UINT64,
        ElementType::Signed(2) => data_type::INT2,
        ElementType::Signed(4) => data_type::INT4,
        ElementType::Signed(8) => data_type::INT8,
        ElementType::Signed(16) => data_type::INT16,
        ElementType::Signed(32) => data_type::INT32,
        ElementType::Signed(_) => data_type::INT64,
    }
}

/// Writes a tensor as raw bytes.
pub fn encode(tensor: &Tensor, name: &str) -> TensorProto {
    let integers = || tensor.to_integers().into_iter();
    let raw: Vec<u8> = match tensor.element() {
        ElementType::F32 => {
            (0..tensor.len()).flat_map(|index| (tensor.get(index) as f32).to_le_bytes()).collect()
        }
        ElementType::F64 => (0..tensor.len()).flat_map(|index| tensor.get(index).to_le_bytes()).collect(),
        ElementType::Signed(bits @ (2 | 4)) | ElementType::Unsigned(bits @ (2 | 4)) => pack(integers(), bits),
        // Little-endian two's complement keeps its low bytes, whatever the width.
        ElementType::Bool | ElementType::Signed(8) | ElementType::Unsigned(8) => {
            integers().map(|value| value as u8).collect()
        }
        ElementType::Signed(16) | ElementType::Unsigned(16) => {
            integers().flat_map(|value| (value as u16).to_le_bytes()).collect()
        }
        ElementType::Signed(32) | ElementType::Unsigned(32) => {
            integers().flat_map(|value| (value as u32).to_le_bytes()).collect()
        }
        ElementType::Signed(_) | ElementType::Unsigned(_) => integers().flat_map(i64::to_le_bytes).collect(),
    };
    TensorProto {
        dims: tensor.shape().iter().map(|&extent| extent as i64).collect(),
        data_type: Some(data_type(tensor.element())),
        name: Some(name.into()).filter(|name: &String| !name.is_empty()),
        raw_data: Some(raw),
        ..TensorProto::default()
    }
}

/// What [`unpack`] reads.
fn pack(values: impl ExactSizeIterator<Item = i64>, bits: u8) -> Vec<u8> {
    let per_byte = usize::from(8 / bits);
    let mut raw = vec![0; values.len().div_ceil(per_byte)];
    for (index, value) in values.enumerate() {
        let low = (value & ((1 << bits) - 1)) as u8;
        raw[index / per_byte] |= low << ((index % per_byte) * usize::from(bits));
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_survive_writing_and_reading() {
        let mut external = External::new(None);
        let (signed, unsigned) = (ElementType::Signed, ElementType::Unsigned);
        let types = [2, 4, 8, 16, 32, 64].into_iter().flat_map(|bits| [signed(bits), unsigned(bits)]);
        for element in types.chain([ElementType::Bool]) {
            let (low, high) = element.integer_range().unwrap_or((0, 1));
            let values = [low, high, 0, 1, low / 2, high / 2, high - 1];
            let tensor = Tensor::integers(&[7], element, values.into_iter()).unwrap();
            assert_eq!(decode(&encode(&tensor, "a"), &mut external).unwrap(), tensor, "{element}");
        }
        let floats = Tensor::f32(&[2, 1], vec![0.1, f32::NEG_INFINITY]).unwrap();
        let doubles = Tensor::f64(&[], vec![0.1]).unwrap();
        for tensor in [floats, doubles, Tensor::f32(&[0], Vec::new()).unwrap()] {
            assert_eq!(decode(&encode(&tensor, ""), &mut external).unwrap(), tensor);
        }
    }
}
