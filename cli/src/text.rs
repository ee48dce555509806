//! Text that comes from elsewhere: [`file`] reads text files.

pub mod file;
