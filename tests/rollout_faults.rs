//! What goes wrong in a rollout, through the real binary under load with a loop: a process that takes part in it dies,
//! sleeps or leaves in each of its phases, and everything flows again, with every record accounted for by a count that
//! doesn't ask waldo.

mod flotilla;
mod playground;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use flotilla::{
    Flotilla,
    blow::{Blow, PHASES, Victim},
};
use playground::{comes_about, wait_until};

/// Records that each source sends in a second.
const RATE: u64 = 700;

/// A flotilla whose topology changes to and fro in a way that needs every phase: keys move, a stage restarts, another one
/// is renamed, so that what is held for it is delivered before the switch.
struct Swaying {
    flotilla: Flotilla,
    there: bool,
    /// In how many cells keys may still be seen at former owners' that a cell which lost records, or in which a launcher died, has
    /// moved: then nobody waits until every key has come to its owner.
    unsettled: u8,
}

/// What a cell of the matrix has come to.
struct Cell {
    exit: Option<i32>,
    missing: u64,
    told: u64,
    took: Duration,
}

impl Swaying {
    fn new() -> Self {
        let mut flotilla = Flotilla::new(RATE);
        flotilla.edit("  s1: {address: 127.0.0.1}", "  s1: {address: 127.0.0.1, weight: 1}");
        // A source that ends well has finished, unless it is to be started again.
        flotilla.edit("    out: [call]\n", "    out: [call]\n    restart: always\n");
        let text = flotilla.text();
        let books = flotilla.playground.path().join("books").display().to_string();
        let keep = text.lines().find(|line| line.contains(", keep, ") && line.contains(&books)).expect("a sink");
        flotilla.edit(
            &format!("  keep:\n{keep}"),
            &format!("  keep:\n{}", keep.replace(&books, &format!("{books}, book=keep"))),
        );
        flotilla.up();
        Self { flotilla, there: false, unsettled: 0 }
    }

    fn sway(&mut self) {
        for (here, there) in [
            ("s1: {address: 127.0.0.1, weight: 1}", "s1: {address: 127.0.0.1, weight: 3}"),
            ("  keep:", "  store:"),
            ("grep .", "grep -e ."),
        ] {
            let (from, to) = if self.there { (there, here) } else { (here, there) };
            self.flotilla.edit(from, to);
        }
        self.there = !self.there;
    }

    /// Hits a rollout in this phase, and asserts all that has to be true afterwards.
    #[track_caller]
    fn cell(&mut self, phase: &str, victim: Victim, blow: Blow) -> Cell {
        let began = Instant::now();
        let what = format!("{blow:?} {victim:?} in {phase}");
        if self.unsettled > 0 {
            self.unsettled -= 1;
            self.flotilla.forget_moves();
        } else {
            self.flotilla.take_moves();
        }
        let lost_before = self.told_as_lost();
        self.sway();
        let outcome = self.flotilla.deploy_halted_at(phase).hit(victim, blow);
        let said = format!("{what}: {:?}\n{}\n{}", outcome.code, outcome.stdout, outcome.stderr);
        assert!(expected(phase, victim, blow).contains(&outcome.code), "{said}");
        if (victim, blow) == (Victim::Launcher, Blow::Kill) {
            // The last step may have been done before it died: then only the next command misses it.
            self.flotilla.playground.run(self.flotilla.deploy(&[]));
        }
        if (victim, blow) == (Victim::Launcher, Blow::Term) {
            self.bring_back(&said);
        } else {
            self.wait_until_well(&said);
            // Whatever came of it, asking again leads there.
            let again = self.flotilla.playground.run(self.flotilla.deploy(&[]));
            assert_eq!(again.code, Some(0), "{said}\nand again:\n{}\n{}", again.stdout, again.stderr);
        }
        self.wait_until_well(&said);
        let missing = if blow.may_lose(victim) {
            self.settle_losses(&said)
        } else {
            self.flotilla.wait_until_whole(&said);
            BTreeMap::new()
        };
        let told = self.told_as_lost();
        let told: BTreeMap<_, _> = told
            .into_iter()
            .map(|(flow, lost)| {
                let before = lost_before.get(&flow).copied().unwrap_or(0);
                (flow, lost.saturating_sub(before))
            })
            .collect();
        let of = |flows: &[&str]| flows.iter().filter_map(|flow| told.get(*flow)).sum::<u64>();
        let on_the_way = [("keep", of(&["call", "turn", "kept"])), ("file", of(&["call", "side", "answer", "plain"]))];
        for (book, told) in on_the_way {
            let missing = missing.get(book).copied().unwrap_or(0);
            assert!(missing <= told, "{said}\n{missing} are missing in {book}, {told} were told as lost");
        }
        if !blow.may_lose(victim) {
            assert_eq!(
                of(&["call", "turn", "kept", "side", "answer", "plain"]),
                0,
                "{said}\nnothing was lost: {told:?}"
            );
        }
        if blow.may_lose(victim) || victim == Victim::Launcher {
            self.unsettled = 2;
        }
        Cell {
            exit: outcome.code,
            missing: missing.get("keep").copied().unwrap_or(0),
            told: told.values().sum(),
            took: began.elapsed(),
        }
    }

    /// A server whose launcher was asked to stop has stopped once the rollout is over; the next deploy brings it back.
    #[track_caller]
    fn bring_back(&mut self, what: &str) {
        wait_until(what, || self.flotilla.playground.launchers_of("s1").is_empty());
        self.sway();
        let mut last = None;
        let came = comes_about(|| {
            let again = self.flotilla.playground.run(self.flotilla.deploy(&[]));
            let code = again.code;
            last = Some(again.stdout + &again.stderr);
            code == Some(0)
        });
        assert!(came, "{what}\nand again:\n{}", last.unwrap_or_default());
    }

    /// Waits until everything that the live plan wants runs, once, and flows.
    #[track_caller]
    fn wait_until_well(&mut self, what: &str) {
        let mut why = String::new();
        let well = comes_about(|| {
            why = self.flotilla.what_is_not_well();
            why.is_empty()
        });
        assert!(well, "{what}\n{why}");
        self.flotilla.wait_for_load(what);
    }

    /// How many records of each flow waldo says are lost.
    fn told_as_lost(&self) -> BTreeMap<String, u64> {
        self.flotilla.accounts().into_iter().map(|(flow, account)| (flow, account.lost)).collect()
    }

    /// Lets everything come to its end, and counts what hasn't come.
    #[track_caller]
    fn settle_losses(&mut self, what: &str) -> BTreeMap<&'static str, u64> {
        let missing = self.flotilla.book_losses(what);
        self.flotilla.assert_in_order(what);
        missing
    }
}

/// With which exit codes `waldo deploy` may end.
fn expected(phase: &str, victim: Victim, blow: Blow) -> &'static [Option<i32>] {
    let decided = PHASES.iter().position(|known| *known == phase) > PHASES.iter().position(|known| *known == "decide");
    match (victim, blow) {
        (Victim::Deployer, Blow::Kill) => &[None],
        // Launchers may have given it up meanwhile.
        (Victim::Deployer, Blow::Stop) => &[Some(0), Some(1)],
        (Victim::Deployer, Blow::Term) if !decided => &[Some(8)],
        (Victim::Deployer, Blow::Term) => &[Some(8), Some(0)],
        (_, Blow::Stop) | (Victim::Launcher, Blow::Term) => &[Some(0)],
        (_, Blow::Kill) => &[Some(0), Some(1), Some(3), Some(10)],
        (_, Blow::Term) => &[Some(0), Some(1), Some(3)],
    }
}

/// Runs cells, and prints them as a table: who was hit by what in which phase, and what came of it.
fn run(cells: impl Iterator<Item = (&'static str, Victim, Blow)>) {
    let mut swaying: Option<Swaying> = None;
    let mut table = String::new();
    let mut failed = Vec::new();
    for (phase, victim, blow) in cells {
        let mut now = swaying.take().unwrap_or_else(Swaying::new);
        let row = format!(
            "{:<10} {:<10} {:<5}",
            phase,
            format!("{victim:?}").to_lowercase(),
            format!("{blow:?}").to_lowercase()
        );
        match catch_unwind(AssertUnwindSafe(|| now.cell(phase, victim, blow))) {
            Ok(Cell { exit, missing, told, took }) => {
                let exit = exit.map_or("killed".to_owned(), |code| format!("exit {code}"));
                let lost =
                    if blow.may_lose(victim) { format!("{missing} lost, {told} told") } else { "0 lost".to_owned() };
                let _ = writeln!(table, "{row} {exit:<7} {lost:<24} 0 repeated  {:>5.1} s", took.as_secs_f64());
                swaying = Some(now);
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                let _ = writeln!(table, "{row} FAILED: {}", text.lines().next().unwrap_or_default());
                failed.push(format!("{row}: {text}"));
            }
        }
        // As it goes on: the whole takes a while.
        eprintln!("{}", table.lines().last().unwrap_or_default());
    }
    if let Some(swaying) = swaying {
        swaying.flotilla.down();
    }
    assert!(failed.is_empty(), "{} cells failed:\n{}", failed.len(), failed.join("\n"));
}

/// Every victim in every phase.
fn everywhere(blow: Blow) -> impl Iterator<Item = (&'static str, Victim, Blow)> {
    PHASES.into_iter().flat_map(move |phase| Victim::ALL.map(|victim| (phase, victim, blow)))
}

/// Two victims in each phase, taking turns, so that each is hit in several phases. `make matrix` hits all in all.
fn in_turns(victims: &'static [Victim], blow: Blow) -> impl Iterator<Item = (&'static str, Victim, Blow)> {
    let turn = move |turn: usize| victims[turn % victims.len()];
    let both = move |at: usize| [turn(at), turn(at + victims.len() / 2)];
    PHASES.into_iter().enumerate().flat_map(move |(at, phase)| both(at).map(|victim| (phase, victim, blow)))
}

#[test]
fn whoever_is_killed_in_whichever_phase_everything_flows_again() {
    run(in_turns(&[Victim::Launcher, Victim::Portal, Victim::Stage, Victim::Source], Blow::Kill));
}

#[test]
fn a_deployer_killed_in_whichever_phase_leaves_one_plan_or_the_other() {
    // Each takes as long as launchers wait for their deployer.
    let phases = ["hold", "decide", "switch", "settle", "release"];
    run(phases.into_iter().map(|phase| (phase, Victim::Deployer, Blow::Kill)));
}

#[test]
fn whoever_is_asked_to_end_in_whichever_phase_nothing_is_lost() {
    run(in_turns(&Victim::ALL, Blow::Term));
}

#[test]
fn whoever_sleeps_in_whichever_phase_nothing_is_lost() {
    let cells = PHASES.into_iter().zip(Victim::ALL.into_iter().cycle());
    run(cells.map(|(phase, victim)| (phase, victim, Blow::Stop)));
}

/// Whether a cell is one of those that are asked for in `CELLS`: its row has each of these words. Without it all are.
fn is_asked_for(&(phase, victim, blow): &(&str, Victim, Blow)) -> bool {
    let row = format!("{phase} {victim:?} {blow:?}").to_lowercase();
    let asked = std::env::var("CELLS").unwrap_or_default();
    asked.split_whitespace().all(|word| row.split(' ').any(|is| is == word))
}

#[test]
#[ignore = "takes a quarter of an hour: `make matrix`"]
fn the_whole_matrix() {
    let blows = [Blow::Kill, Blow::Term, Blow::Stop];
    run(blows.into_iter().flat_map(everywhere).filter(is_asked_for));
}
