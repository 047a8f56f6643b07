//! Pictures of a plan: what flows where, at three levels of detail, in three formats.
//!
//! [`picture`] says what is to be seen; [`dot`] and [`mermaid`] write it down for other programs; [`layout`] finds places for
//! everything, and [`svg`] draws it there.

pub mod dot;
pub mod layout;
pub mod mermaid;
pub mod picture;
pub mod svg;

pub use picture::{Level, Picture};
