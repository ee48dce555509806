//! Section METADATA.

use super::Result;
use super::cursor::Cursor;
use crate::limits::MAX_EXTENT;
use crate::model::Metadata;
use crate::weights::to_usize;

/// Bytes of an empty text.
const MIN_TEXT_LEN: usize = 2;

pub(super) fn read(fields: &mut Cursor<'_>) -> Result<Metadata> {
    let converter = fields.text()?;
    let source_name = fields.text()?;
    let source_format = fields.text()?;
    let source_sha256 = fields.array()?;
    let count = fields.count("class names", to_usize(MAX_EXTENT), MIN_TEXT_LEN)?;
    let class_names = (0..count).map(|_| fields.text()).collect::<Result<_>>()?;
    Ok(Metadata { converter, source_name, source_format, source_sha256, class_names })
}
