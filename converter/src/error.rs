//! Why a model was not converted.

use std::fmt;

use ylb_source::{Blame, SourceError};

/// What kind of failure stopped a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is not an ONNX model, is truncated, or contradicts itself.
    Malformed,
    /// The file or something it asks for is larger than the converter accepts.
    TooLarge,
    /// A tensor's shape is not known; an option fixes it.
    DynamicShape,
    /// A weight or an activation is not quantized.
    NotQuantized,
    /// An operator, attribute or combination that the converter does not know.
    Unsupported,
    /// The network's outputs are not those of a detector of a family that is known.
    NotADetector,
    /// An exact integer form exists in principle but does not fit the file format.
    Inexact,
    /// A model was to be compared with a file that it was not made from.
    OtherSource,
}

/// A failed conversion: what was found, at which node, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertError {
    kind: ErrorKind,
    node: Option<(String, String)>,
    message: String,
}

impl ConvertError {
    /// A failure that concerns the file as a whole.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, node: None, message: message.into() }
    }

    /// Shorthand for [`ErrorKind::Malformed`].
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Name of the node that could not be converted, if it was one.
    pub fn node_name(&self) -> Option<&str> {
        self.node.as_ref().map(|(name, _)| name.as_str())
    }

    /// Operator type of that node, such as `Conv`.
    pub fn op_type(&self) -> Option<&str> {
        self.node.as_ref().map(|(_, op_type)| op_type.as_str())
    }

    /// What was found and what was expected instead.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Blame for ConvertError {
    fn at(mut self, name: &str, op_type: &str) -> Self {
        self.node.get_or_insert_with(|| (name.to_owned(), op_type.to_owned()));
        self
    }
}

/// What the source says of itself is said in the same words.
impl From<SourceError> for ConvertError {
    fn from(error: SourceError) -> Self {
        let kind = match error.kind() {
            ylb_source::ErrorKind::TooLarge => ErrorKind::TooLarge,
            ylb_source::ErrorKind::Unsupported => ErrorKind::Unsupported,
            // `Malformed`, and what later versions of that crate add.
            _ => ErrorKind::Malformed,
        };
        let node = error.node_name().zip(error.op_type());
        let node = node.map(|(name, op_type)| (name.to_owned(), op_type.to_owned()));
        Self { kind, node, message: error.message().to_owned() }
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some((name, op_type)) => write!(f, "node \"{name}\" ({op_type}): {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConvertError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn innermost_node_is_blamed() {
        let error = SourceError::unsupported("expected a constant").at("a", "Conv");
        let error = ConvertError::from(error).at("b", "Add");
        assert_eq!(error.to_string(), "node \"a\" (Conv): expected a constant");
        assert_eq!((error.node_name(), error.op_type()), (Some("a"), Some("Conv")));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = ConvertError::from(SourceError::malformed("truncated"));
        assert_eq!((error.to_string().as_str(), error.kind()), ("truncated", ErrorKind::Malformed));
    }
}
