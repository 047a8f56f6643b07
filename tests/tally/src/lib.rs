//! Stages for tests whose records are numbered, and a count of them that doesn't ask waldo.
//!
//! All stages of a flotilla share one directory, the *books*:
//!
//! ```text
//! books/
//!     sent/<source>      how far a source is with its numbers: two of 64 bits, little-endian (source.rs)
//!     unsure/<source>    numbers of which a source that was killed can't say whether it has sent them
//!     seen/<book>        one line for each record that a stage has received, by all its instances together, in the order
//!                        in which they received them: each line is one write to a file that is open for appending
//!     pause              while it is there, sources send nothing
//!     hang               while it is there, stages that were told `hangs=1` don't come to an end with a record
//! ```
//!
//! [`Count`] reads them: what is missing, what came twice, what came out of order.

mod count;
mod record;

pub use count::{Book, Count, Expected, Faults, Laps, Move, Sent};
pub use record::{Record, keys_of, laps_of};
