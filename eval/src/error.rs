//! Why a data set cannot be used.

use std::error::Error;
use std::fmt;

/// What is wrong with a data set, in words. What lies under it is its [source](Error::source); written with `{:#}`, all
/// of it stands on one line.
#[derive(Debug)]
pub struct DatasetError {
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

pub(crate) type Result<T, E = DatasetError> = std::result::Result<T, E>;

impl DatasetError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None }
    }
}

impl fmt::Display for DatasetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source().filter(|_| f.alternate());
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for DatasetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Says what was being done when something failed, or was not there.
pub(crate) trait Context<T> {
    /// In these words.
    fn context(self, message: &str) -> Result<T>;
    /// In words that are made if it failed.
    fn with_context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Error + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn context(self, message: &str) -> Result<T> {
        self.with_context(|| message.to_owned())
    }

    fn with_context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| DatasetError { message: message(), cause: Some(Box::new(cause)) })
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, message: &str) -> Result<T> {
        self.with_context(|| message.to_owned())
    }

    fn with_context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.ok_or_else(|| DatasetError::new(message()))
    }
}

/// Returns an error of these words.
macro_rules! bail {
    ($($words:tt)*) => {
        return Err($crate::error::DatasetError::new(format!($($words)*)))
    };
}

/// Returns an error of these words unless something is so.
macro_rules! ensure {
    ($condition:expr, $($words:tt)*) => {
        match $condition {
            true => {}
            false => bail!($($words)*),
        }
    };
}

pub(crate) use {bail, ensure};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_on_one_line() {
        let lost = || -> Result<()> { bail!("no {} here", "file") };
        let error = lost().context("cannot open it").with_context(|| "the data set is wrong".into());
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "the data set is wrong");
        assert_eq!(format!("{error:#}"), "the data set is wrong: cannot open it: no file here");
        assert_eq!(None::<()>.context("nothing").unwrap_err().to_string(), "nothing");
    }
}
