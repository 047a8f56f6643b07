//! Rollouts: from the plan that is live to another one, losing nothing and repeating nothing.
//!
//! The deployer leads: it asks every launcher for one [`step`] after the other, each when all have done the one before
//! ([`machine`], pure; [`driver`], the rim). What must outlive it stands in the [`store`].

pub mod deployer;
pub mod driver;
mod halt;
pub mod machine;
pub mod rehearsal;
pub mod step;
pub mod store;

pub use deployer::{Conclusion, DeployError, Deployer, Report, Rollout};
pub use driver::Watcher;
pub use machine::{Effect, Event, Machine, Outcome, Part};
pub use step::{Failure, Progress, Stage, Step, StepName};
pub use store::{Decision, Intent, Store, StoreError};
