//! Files that are damaged: converted or refused, never a panic.

use proptest::prelude::*;

use super::*;
use crate::convert;

/// `Relu(images + 0.5)` as an ONNX file: a picture of 3 channels, of which the rows are left open.
const ONNX: &[u8] =
    b"\x08\x07:g\x0a\x15\x0a\x06images\x0a\x01b\x12\x03sum\x22\x03Add\x0a\x10\x0a\x03sum\x12\x03out\x22\
    \x04Relu*\x0d\x08\x01\x10\x01B\x01bJ\x04\x00\x00\x00?Z\x1e\x0a\x06images\x12\x14\x0a\x12\x08\x01\x12\
    \x0e\x0a\x02\x08\x01\x0a\x02\x08\x03\x0a\x00\x0a\x02\x08\x08b\x0d\x0a\x03out\x12\x06\x0a\x04\x08\x01\
    \x12\x00B\x02\x10\x0d";

#[test]
fn the_file_itself_is_read() {
    let options = Options { image_size: Some([8, 8]), ..Options::default() };
    let error = convert(ONNX, "", &options, &mut |_| {}).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotADetector, None), "{error}");
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0..ONNX.len(), byte in any::<u8>()) {
        let mut bytes = ONNX.to_vec();
        bytes[at] = byte;
        _ = convert(&bytes, "", &Options::default(), &mut |_| {});
    }
}
