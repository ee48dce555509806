//! Why a source could not be read or computed.

use std::fmt;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is not of its format, is truncated, or contradicts itself.
    Malformed,
    /// The file or something it asks for is larger than is accepted.
    TooLarge,
    /// An operator, attribute or combination that is not known here.
    Unsupported,
}

/// A failure: what was found, at which node, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    kind: ErrorKind,
    node: Option<(String, String)>,
    message: String,
}

/// Errors that say at which node of a graph they happened.
pub trait Blame: Sized {
    /// The same failure, blamed on a node (its name and its operator) unless it already is on one.
    #[must_use]
    fn at(self, name: &str, op_type: &str) -> Self;
}

impl SourceError {
    /// A failure that concerns the file as a whole.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, node: None, message: message.into() }
    }

    /// Shorthand for [`ErrorKind::Malformed`].
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Name of the node where it happened, if it was at one.
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

impl Blame for SourceError {
    fn at(mut self, name: &str, op_type: &str) -> Self {
        self.node.get_or_insert_with(|| (name.to_owned(), op_type.to_owned()));
        self
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some((name, op_type)) => write!(f, "node \"{name}\" ({op_type}): {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for SourceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn innermost_node_is_blamed() {
        let error = SourceError::unsupported("expected a constant").at("a", "Conv").at("b", "Add");
        assert_eq!(error.to_string(), "node \"a\" (Conv): expected a constant");
        assert_eq!((error.node_name(), error.op_type()), (Some("a"), Some("Conv")));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
