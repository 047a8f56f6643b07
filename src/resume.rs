//! `waldo __resume`: brings a rollout to an end whose deployer has gone. Started by a launcher that waits for it.

use waldo_runtime::rollout::{DeployError, Deployer};

use crate::{
    deploy::{Silent, exit_of},
    exit::{Exit, Failure},
    of_namespace::OfNamespace,
};

/// Brings it to an end, unless somebody else is at it.
pub fn run(namespace: &OfNamespace) -> Result<Exit, Failure> {
    let paths = namespace.paths();
    let deployer = match Deployer::take(&paths, "waldo, for a deployer that has gone") {
        Ok(deployer) => deployer,
        // It lives after all, or another launcher was quicker.
        Err(DeployError::Locked { .. }) => return Ok(Exit::Locked),
        Err(error) => return Err(Failure::new(error.to_string())),
    };
    let report = deployer.finish_what_was_left(&mut Silent).map_err(|error| Failure::new(error.to_string()))?;
    Ok(report.map_or(Exit::Ok, |report| exit_of(report.result)))
}
