//! Somebody else than waldo asks processes to end, again and again under load: each leaves and is started again, and
//! nothing is lost, repeated, or out of order, by a count that doesn't ask waldo.

mod flotilla;
mod playground;

use std::collections::BTreeMap;

use flotilla::Flotilla;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use playground::wait_until;

/// Processes that run on `s1`, with their incarnation.
fn incarnations(flotilla: &Flotilla) -> BTreeMap<String, (i32, u64)> {
    let status = flotilla.playground.status();
    let processes = status["servers"]["s1"]["processes"].as_object().into_iter().flatten();
    let running = processes.filter(|(_, about)| about["state"] == "ready");
    running
        .filter_map(|(name, about)| {
            Some((name.clone(), (i32::try_from(about["pid"].as_i64()?).ok()?, about["incarnation"].as_u64()?)))
        })
        .collect()
}

/// Asks these processes to end, all at once, so often; each time they have come back.
fn ask_to_end(names: &[&str], times: usize) {
    let mut flotilla = Flotilla::new(1_500);
    let text = flotilla.text();
    for stage in ["feed", "enter", "lap", "keep", "ask", "sieve", "file"] {
        let policy = if stage == "feed" { "policy: always, " } else { "" };
        flotilla.edit(&format!("  {stage}:\n"), &format!("  {stage}:\n    restart: {{{policy}backoff: 1ms}}\n"));
    }
    assert_ne!(text, flotilla.text());
    flotilla.up();
    for time in 0..times {
        let before = incarnations(&flotilla);
        for name in names {
            let (pid, _) = before[*name];
            kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        wait_until(&format!("time {time}: {names:?} are back"), || {
            let now = incarnations(&flotilla);
            names.iter().all(|name| now.get(*name).is_some_and(|(_, is)| *is > before[*name].1))
        });
    }
    flotilla.wait_for_load("all are back");
    flotilla.pause("all are back");
    for (flow, account) in flotilla.accounts() {
        assert_eq!((account.lost, account.repeated, account.rejected), (0, 0, 0), "{flow}: {account:?}");
    }
    flotilla.resume();
    flotilla.down();
}

#[test]
fn stages_that_are_asked_to_end_again_and_again_lose_nothing() {
    ask_to_end(&["enter.0", "lap.0", "keep.0", "file.0"], 30);
}

#[test]
fn programs_behind_bridges_that_are_asked_to_end_again_and_again_lose_nothing() {
    ask_to_end(&["ask.0", "sieve.0"], 15);
}

#[test]
fn portals_and_sources_that_are_asked_to_end_again_and_again_lose_nothing() {
    ask_to_end(&["relay", "feed.0"], 3);
}
