//! Rollouts: from the plan that is live to another one, losing nothing and repeating nothing.
//!
//! The deployer leads: it asks every launcher for one [`step`] after the other, each when all have done the one before
//! ([`machine`], pure; [`driver`], the rim). What must outlive it stands in the [`store`].

pub mod halt;
pub mod machine;
pub mod step;
pub mod store;

pub use machine::{Effect, Event, Machine, Outcome, Part};
pub use step::{Failure, Progress, Stage, Step, StepName};
pub use store::{Decision, Intent, Store, StoreError};
