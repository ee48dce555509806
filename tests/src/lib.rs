//! What the cross-crate tests share.

pub mod fixtures;
pub mod npz;
pub mod random_model;
pub mod rng;
pub mod shared;
