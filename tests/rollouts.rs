//! Rollouts under load, through the real binary: nothing is lost, nothing repeated, and the order kept, by a count that
//! doesn't ask waldo.

mod flotilla;
mod playground;

use flotilla::{Flotilla, RATE};

#[test]
fn a_flotilla_under_load_loses_nothing_and_keeps_the_order() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    for round in 1..=3 {
        flotilla.wait_for_load(&format!("round {round}"));
        flotilla.wait_until_whole(&format!("round {round}"));
    }
    flotilla.down();
}
