use super::*;

const GENERATION: u64 = 7;
const BOUNDS: Bounds = Bounds { idle: 30_000, switch: 20_000 };

/// `s1` holds and drains, `s2` only rewires, `s3` is untouched.
fn parts() -> Vec<Part> {
    let part = |server: &str, holds, changes, drains: &[&str]| Part {
        server: server.to_owned(),
        holds,
        changes,
        drains: drains.iter().map(|&flow| flow.to_owned()).collect(),
        rebuilt: Vec::new(),
    };
    vec![part("s3", false, false, &[]), part("s1", true, true, &["call"]), part("s2", false, true, &[])]
}

fn without_drains() -> Vec<Part> {
    parts().into_iter().map(|part| Part { drains: Vec::new(), ..part }).collect()
}

struct Rollout {
    machine: Machine,
    now: Moment,
}

impl Rollout {
    fn new(parts: Vec<Part>) -> Self {
        Self { machine: Machine::new(GENERATION, "plan".into(), "digest".to_owned(), parts, BOUNDS), now: 0 }
    }

    fn resumed(parts: Vec<Part>) -> Self {
        Self { machine: Machine::resume(GENERATION, "plan".into(), "digest".to_owned(), parts, BOUNDS), now: 0 }
    }

    /// One that has come to this phase without anything amiss.
    fn at(phase: Phase, parts: Vec<Part>) -> Self {
        let mut rollout = Self::new(parts);
        let mut effects = rollout.says(Event::Begin);
        while rollout.machine.phase() != phase {
            let next = effects.pop().expect("something is asked for in every phase");
            effects.extend(rollout.obey(next));
        }
        rollout
    }

    /// Does what an effect says, at once and well.
    fn obey(&mut self, effect: Effect) -> Vec<Effect> {
        match effect {
            Effect::Ask { server, step } => self.stands(&server, step.name(), Stage::Done),
            Effect::ProveDrained { .. } => self.says(Event::Drained),
            Effect::Decide(decision) => self.says(Event::Decided(decision)),
            Effect::Revive { server } => self.says(Event::Back { server }),
            Effect::Finish(outcome) => panic!("it ended with {outcome:?}"),
        }
    }

    fn says(&mut self, event: Event) -> Vec<Effect> {
        self.machine.handle(self.now, event)
    }

    fn stands(&mut self, server: &str, step: StepName, stage: Stage) -> Vec<Effect> {
        self.says(Event::Stands { server: server.to_owned(), generation: GENERATION, step, stage })
    }

    fn done(&mut self, server: &str, step: StepName) -> Vec<Effect> {
        self.stands(server, step, Stage::Done)
    }

    fn is_lost(&mut self, server: &str) -> Vec<Effect> {
        self.says(Event::Lost { server: server.to_owned() })
    }

    fn is_back(&mut self, server: &str) -> Vec<Effect> {
        self.says(Event::Back { server: server.to_owned() })
    }

    fn after(&mut self, milliseconds: u64) -> Vec<Effect> {
        self.now += milliseconds;
        self.says(Event::Tick)
    }
}

fn ask(server: &str, step: Step) -> Effect {
    Effect::Ask { server: server.to_owned(), step }
}

fn prepare() -> Step {
    Step::Prepare { plan: "plan".into(), digest: "digest".to_owned(), rebuilt: Vec::new() }
}

fn broken() -> Failure {
    Failure::Other("broken".to_owned())
}

fn failed(server: &str, step: StepName) -> Reason {
    Reason::Failed { server: server.to_owned(), step, failure: broken() }
}

fn late(servers: &[&str], step: StepName) -> Reason {
    Reason::Late { servers: servers.iter().map(|&server| server.to_owned()).collect(), step }
}

fn mixed(servers: &[&str], reason: Reason) -> Effect {
    Effect::Finish(Outcome::Mixed(servers.iter().map(|&server| server.to_owned()).collect(), reason))
}

const NOTHING: [Effect; 0] = [];

#[test]
fn a_rollout_asks_each_server_only_for_what_concerns_it_and_goes_on_when_all_have_done_it() {
    let mut rollout = Rollout::new(without_drains());
    let prepares = ["s1", "s2", "s3"].map(|server| ask(server, prepare()));
    assert_eq!(rollout.says(Event::Begin), prepares);
    assert_eq!(rollout.done("s2", StepName::Prepare), NOTHING);
    assert_eq!(rollout.done("s1", StepName::Prepare), NOTHING);
    assert_eq!(rollout.machine.waiting_for(), ["s3"]);
    assert_eq!(rollout.done("s3", StepName::Prepare), [ask("s1", Step::Hold)]);
    assert_eq!(rollout.done("s1", StepName::Hold), [ask("s1", Step::Idle)]);
    assert_eq!(rollout.done("s1", StepName::Idle), [Effect::Decide(Decision::Commit)]);
    let adopt = [ask("s1", Step::AdoptPortals), ask("s2", Step::AdoptPortals)];
    assert_eq!(rollout.says(Event::Decided(Decision::Commit)), adopt);
    for (step, next) in [
        (StepName::AdoptPortals, Step::Switch),
        (StepName::Switch, Step::Flush),
        (StepName::Flush, Step::HandOver),
        (StepName::HandOver, Step::Settle),
    ] {
        assert_eq!(rollout.done("s2", step), NOTHING);
        assert_eq!(rollout.done("s1", step), [ask("s1", next.clone()), ask("s2", next)]);
    }
    rollout.done("s1", StepName::Settle);
    let release = ["s1", "s2", "s3"].map(|server| ask(server, Step::Release));
    assert_eq!(rollout.done("s2", StepName::Settle), release);
    rollout.done("s1", StepName::Release);
    rollout.done("s2", StepName::Release);
    assert_eq!(rollout.done("s3", StepName::Release), [Effect::Finish(Outcome::Done)]);
}

#[test]
fn what_the_new_plan_has_no_place_for_is_delivered_before_all_is_held_and_proved_idle_again() {
    let mut rollout = Rollout::at(Phase::Idle, parts());
    let drain = Step::Drain { flows: vec!["call".to_owned()] };
    let proof = Effect::ProveDrained { flows: vec!["call".to_owned()] };
    assert_eq!(rollout.done("s1", StepName::Idle), [ask("s1", drain), proof]);
    assert_eq!(rollout.done("s1", StepName::Drain), NOTHING, "a server alone can't know that nothing more will come");
    assert_eq!(rollout.says(Event::Drained), [ask("s1", Step::HoldAgain)]);
    assert_eq!(rollout.done("s1", StepName::Hold), NOTHING, "a late answer to the first hold");
    assert_eq!(rollout.done("s1", StepName::HoldAgain), [ask("s1", Step::IdleAgain)]);
    assert_eq!(rollout.done("s1", StepName::Idle), NOTHING, "a late answer to the first proof");
    assert_eq!(rollout.says(Event::Drained), NOTHING);
    assert_eq!(rollout.done("s1", StepName::IdleAgain), [Effect::Decide(Decision::Commit)]);
}

#[test]
fn a_rollout_without_servers_that_hold_goes_from_verified_to_decided() {
    let parts = without_drains().into_iter().map(|part| Part { holds: false, ..part }).collect();
    let mut rollout = Rollout::at(Phase::Prepare, parts);
    rollout.done("s1", StepName::Prepare);
    rollout.done("s2", StepName::Prepare);
    assert_eq!(rollout.done("s3", StepName::Prepare), [Effect::Decide(Decision::Commit)]);
}

#[test]
fn a_failure_before_the_decision_aborts_everywhere_and_nothing_has_changed() {
    for (phase, step) in [
        (Phase::Prepare, StepName::Prepare),
        (Phase::Hold, StepName::Hold),
        (Phase::Idle, StepName::Idle),
        (Phase::Drain, StepName::Drain),
        (Phase::HoldAgain, StepName::HoldAgain),
        (Phase::IdleAgain, StepName::IdleAgain),
    ] {
        let mut rollout = Rollout::at(phase, parts());
        let mut aborts = vec![Effect::Decide(Decision::Abort)];
        aborts.extend(["s1", "s2", "s3"].map(|server| ask(server, Step::Abort)));
        assert_eq!(rollout.stands("s1", step, Stage::Failed(broken())), aborts, "{phase:?}");
        assert_eq!(rollout.says(Event::Decided(Decision::Abort)), NOTHING);
        rollout.done("s1", StepName::Abort);
        rollout.done("s2", StepName::Abort);
        let aborted = Effect::Finish(Outcome::Aborted(failed("s1", step)));
        assert_eq!(rollout.done("s3", StepName::Abort), [aborted]);
    }
}

#[test]
fn the_first_reason_is_the_one_that_is_told() {
    let mut rollout = Rollout::at(Phase::Idle, without_drains());
    rollout.stands("s1", StepName::Idle, Stage::Failed(Failure::NotIdle("tick>slow: 1".to_owned())));
    rollout.says(Event::Cancel);
    rollout.stands("s1", StepName::Abort, Stage::Failed(broken()));
    rollout.done("s2", StepName::Abort);
    let reason = Reason::Failed {
        server: "s1".to_owned(),
        step: StepName::Idle,
        failure: Failure::NotIdle("tick>slow: 1".to_owned()),
    };
    assert_eq!(rollout.done("s3", StepName::Abort), [Effect::Finish(Outcome::Aborted(reason))]);
}

#[test]
fn who_is_late_before_the_decision_is_named_and_the_rollout_aborted() {
    for (phase, step, bound) in [
        (Phase::Prepare, StepName::Prepare, SHORT),
        (Phase::Hold, StepName::Hold, SHORT),
        (Phase::Idle, StepName::Idle, BOUNDS.idle + GRACE),
        // All have answered that they deliver, and it has no end.
        (Phase::Drain, StepName::Drain, BOUNDS.idle + GRACE),
        (Phase::HoldAgain, StepName::HoldAgain, SHORT),
        (Phase::IdleAgain, StepName::IdleAgain, BOUNDS.idle + GRACE),
    ] {
        let mut rollout = Rollout::at(phase, parts());
        rollout.done("s2", step);
        rollout.done("s3", step);
        if phase == Phase::Drain {
            rollout.done("s1", step);
        }
        assert_eq!(rollout.machine.deadline(), bound);
        assert_eq!(rollout.after(bound - 1), NOTHING, "{phase:?}");
        assert_eq!(rollout.after(1)[0], Effect::Decide(Decision::Abort), "{phase:?}");
        rollout.done("s1", StepName::Abort);
        rollout.done("s2", StepName::Abort);
        let aborted = Effect::Finish(Outcome::Aborted(late(&["s1"], step)));
        assert_eq!(rollout.done("s3", StepName::Abort), [aborted]);
    }
}

#[test]
fn an_abort_that_somebody_does_not_hear_of_ends_mixed_and_names_him() {
    let mut rollout = Rollout::at(Phase::Hold, without_drains());
    rollout.says(Event::Cancel);
    rollout.done("s2", StepName::Abort);
    rollout.done("s3", StepName::Abort);
    assert_eq!(rollout.after(SHORT), [mixed(&["s1"], Reason::Cancelled)]);
}

#[test]
fn a_launcher_that_is_away_and_holds_nothing_does_not_delay_an_abort() {
    let mut rollout = Rollout::new(without_drains());
    assert_eq!(rollout.is_lost("s3"), [Effect::Revive { server: "s3".to_owned() }]);
    assert_eq!(rollout.says(Event::Begin), [ask("s1", prepare()), ask("s2", prepare())]);
    rollout.done("s1", StepName::Prepare);
    rollout.done("s2", StepName::Prepare);
    let aborts = [Effect::Decide(Decision::Abort), ask("s1", Step::Abort), ask("s2", Step::Abort)];
    assert_eq!(rollout.after(SHORT), aborts, "s3 was never asked for anything");
    assert_eq!(rollout.is_lost("s2"), NOTHING);
    let aborted = Effect::Finish(Outcome::Aborted(late(&["s3"], StepName::Prepare)));
    assert_eq!(rollout.done("s1", StepName::Abort), [aborted]);
}

#[test]
fn a_launcher_that_is_away_and_may_hold_is_told_of_an_abort_when_it_is_back() {
    let mut rollout = Rollout::at(Phase::Idle, without_drains());
    assert_eq!(rollout.is_lost("s1"), [Effect::Revive { server: "s1".to_owned() }]);
    let aborts = [Effect::Decide(Decision::Abort), ask("s2", Step::Abort), ask("s3", Step::Abort)];
    assert_eq!(rollout.says(Event::Cancel), aborts);
    rollout.done("s2", StepName::Abort);
    assert_eq!(rollout.done("s3", StepName::Abort), NOTHING);
    assert_eq!(rollout.is_back("s1"), [ask("s1", Step::Abort)]);
    let aborted = Effect::Finish(Outcome::Aborted(Reason::Cancelled));
    assert_eq!(rollout.done("s1", StepName::Abort), [aborted]);
}

#[test]
fn a_launcher_that_is_lost_is_asked_again_when_it_is_back_unless_it_had_done_the_step() {
    for phase in [Phase::Idle, Phase::AdoptPortals, Phase::Switch, Phase::Flush, Phase::HandOver, Phase::Settle] {
        let mut rollout = Rollout::at(phase, without_drains());
        let asked = rollout.machine.step(phase, &parts()[1]).expect("s1 is asked for something in this phase");
        assert_eq!(rollout.is_lost("s1"), [Effect::Revive { server: "s1".to_owned() }]);
        assert_eq!(rollout.is_lost("s1"), NOTHING);
        assert_eq!(rollout.is_back("s1"), [ask("s1", asked.clone())], "{phase:?}");
        rollout.is_lost("s3");
        assert_eq!(rollout.is_back("s3"), NOTHING, "it isn't asked for anything in this phase");
        if phase > Phase::Idle {
            rollout.done("s1", asked.name());
            rollout.is_lost("s1");
            assert_eq!(rollout.is_back("s1"), NOTHING);
        }
    }
}

#[test]
fn a_launcher_that_is_away_when_a_phase_begins_is_asked_when_it_is_back() {
    let mut rollout = Rollout::at(Phase::AdoptPortals, without_drains());
    rollout.done("s1", StepName::AdoptPortals);
    rollout.is_lost("s1");
    assert_eq!(rollout.done("s2", StepName::AdoptPortals), [ask("s2", Step::Switch)]);
    assert_eq!(rollout.done("s2", StepName::Switch), NOTHING);
    assert_eq!(rollout.is_back("s1"), [ask("s1", Step::Switch)]);
    assert_eq!(rollout.done("s1", StepName::Switch), [ask("s1", Step::Flush), ask("s2", Step::Flush)]);
}

#[test]
fn a_switch_that_fails_leads_back_once_every_record_is_in_its_place() {
    let mut rollout = Rollout::at(Phase::Switch, without_drains());
    assert_eq!(rollout.stands("s1", StepName::Switch, Stage::Failed(broken())), NOTHING, "s2 is still at it");
    assert_eq!(rollout.done("s2", StepName::Switch), [ask("s1", Step::Flush), ask("s2", Step::Flush)]);
    for step in [StepName::Flush, StepName::HandOver, StepName::Settle] {
        rollout.done("s1", step);
        let effects = rollout.done("s2", step);
        if step == StepName::Settle {
            assert_eq!(effects, [Effect::Finish(Outcome::GoBack(failed("s1", StepName::Switch)))]);
        }
    }
}

#[test]
fn without_a_way_back_a_plan_that_does_not_work_goes_live_and_that_is_told() {
    let mut rollout = Rollout::resumed(without_drains());
    rollout.machine = rollout.machine.without_way_back();
    assert_eq!(rollout.says(Event::Begin), [Effect::Decide(Decision::Abort)]);
    rollout.says(Event::Decided(Decision::Commit));
    rollout.done("s1", StepName::AdoptPortals);
    rollout.done("s2", StepName::AdoptPortals);
    rollout.stands("s1", StepName::Switch, Stage::Failed(broken()));
    rollout.done("s2", StepName::Switch);
    for step in [StepName::Flush, StepName::HandOver, StepName::Settle, StepName::Release] {
        assert_ne!(rollout.machine.phase(), Phase::Over);
        rollout.done("s1", step);
        rollout.done("s2", step);
    }
    let unhealthy = Effect::Finish(Outcome::Unhealthy(failed("s1", StepName::Switch)));
    assert_eq!(rollout.done("s3", StepName::Release), [unhealthy]);
}

#[test]
fn no_record_is_put_out_of_order_because_somebody_fails_to_flush_hand_over_or_settle() {
    for (phase, step) in [
        (Phase::AdoptPortals, StepName::AdoptPortals),
        (Phase::Flush, StepName::Flush),
        (Phase::HandOver, StepName::HandOver),
        (Phase::Settle, StepName::Settle),
    ] {
        let mut rollout = Rollout::at(phase, without_drains());
        rollout.done("s2", step);
        assert_eq!(rollout.stands("s1", step, Stage::Failed(broken())), NOTHING, "{phase:?}");
        assert_eq!(rollout.machine.phase(), phase);
        let mut other = Rollout { machine: rollout.machine.clone(), now: rollout.now };
        let until = rollout.machine.deadline();
        assert_eq!(rollout.after(until), [mixed(&["s1"], failed("s1", step))]);
        assert_ne!(other.done("s1", step), NOTHING, "it has come to it after all");
        assert!(other.machine.phase() > phase);
    }
}

#[test]
fn who_is_late_after_the_decision_is_named_and_the_servers_stay_as_they_are() {
    for (phase, step, bound) in [
        (Phase::AdoptPortals, StepName::AdoptPortals, SHORT),
        (Phase::Switch, StepName::Switch, BOUNDS.switch + GRACE),
        (Phase::Flush, StepName::Flush, BOUNDS.idle + GRACE),
        (Phase::HandOver, StepName::HandOver, BOUNDS.idle + GRACE),
        (Phase::Settle, StepName::Settle, SHORT),
        (Phase::Release, StepName::Release, SHORT),
    ] {
        let mut rollout = Rollout::at(phase, without_drains());
        rollout.done("s2", step);
        rollout.done("s3", step);
        assert_eq!(rollout.after(bound), [mixed(&["s1"], late(&["s1"], step))], "{phase:?}");
        assert_eq!(rollout.done("s1", step), NOTHING);
    }
}

#[test]
fn records_on_their_way_may_take_long_as_long_as_they_grow_less() {
    for (phase, step) in [(Phase::Flush, StepName::Flush), (Phase::HandOver, StepName::HandOver)] {
        let mut rollout = Rollout::at(phase, without_drains());
        rollout.done("s2", step);
        let bound = rollout.machine.deadline();
        for left in (1..10).rev() {
            rollout.now += bound - 1;
            let working = Stage::Working(vec![format!("relay: {left} records")]);
            assert_eq!(rollout.stands("s1", step, working), NOTHING);
        }
        rollout.now += bound - 1;
        let same = Stage::Working(vec!["relay: 1 records".to_owned()]);
        assert_eq!(rollout.stands("s1", step, same), NOTHING);
        assert_eq!(rollout.after(1), [mixed(&["s1"], late(&["s1"], step))], "nothing has moved for a whole bound");
    }
}

#[test]
fn one_who_wants_it_to_end_gets_the_old_plan_until_gates_open() {
    for phase in [Phase::Prepare, Phase::Hold, Phase::Idle, Phase::Drain, Phase::HoldAgain, Phase::IdleAgain] {
        let mut rollout = Rollout::at(phase, parts());
        assert_eq!(rollout.says(Event::Cancel)[0], Effect::Decide(Decision::Abort), "{phase:?}");
        rollout.done("s1", StepName::Abort);
        rollout.done("s2", StepName::Abort);
        let aborted = Effect::Finish(Outcome::Aborted(Reason::Cancelled));
        assert_eq!(rollout.done("s3", StepName::Abort), [aborted]);
    }
    for phase in [
        Phase::Deciding,
        Phase::AdoptPortals,
        Phase::Switch,
        Phase::Flush,
        Phase::HandOver,
        Phase::Settle,
        Phase::Release,
    ] {
        let mut rollout = Rollout::at(phase, without_drains());
        assert_eq!(rollout.says(Event::Cancel), NOTHING, "{phase:?}");
        let mut effects = rollout.says(Event::Decided(Decision::Commit));
        for step in [
            StepName::AdoptPortals,
            StepName::Switch,
            StepName::Flush,
            StepName::HandOver,
            StepName::Settle,
            StepName::Release,
        ] {
            for server in ["s1", "s2", "s3"] {
                effects = [effects, rollout.done(server, step)].concat();
            }
        }
        let outcome = if phase == Phase::Release { Outcome::Done } else { Outcome::GoBack(Reason::Cancelled) };
        assert_eq!(effects.last(), Some(&Effect::Finish(outcome)), "{phase:?}");
    }
}

#[test]
fn an_abort_that_was_first_wins_over_the_deployer_who_wants_to_commit() {
    let mut rollout = Rollout::at(Phase::Deciding, without_drains());
    let aborts = ["s1", "s2", "s3"].map(|server| ask(server, Step::Abort));
    assert_eq!(rollout.says(Event::Decided(Decision::Abort)), aborts);
    rollout.done("s1", StepName::Abort);
    rollout.done("s2", StepName::Abort);
    let aborted = Effect::Finish(Outcome::Aborted(Reason::OtherDecision));
    assert_eq!(rollout.done("s3", StepName::Abort), [aborted]);
}

#[test]
fn what_the_store_takes_no_decision_about_is_given_up() {
    let mut rollout = Rollout::at(Phase::Deciding, without_drains());
    let aborts = ["s1", "s2", "s3"].map(|server| ask(server, Step::Abort));
    let full = || "no room".to_owned();
    assert_eq!(rollout.says(Event::Undecidable(full())), aborts);
    assert_eq!(rollout.says(Event::Undecidable(full())), NOTHING, "once is enough");
    rollout.done("s1", StepName::Abort);
    rollout.done("s2", StepName::Abort);
    let aborted = Effect::Finish(Outcome::Aborted(Reason::Undecidable(full())));
    assert_eq!(rollout.done("s3", StepName::Abort), [aborted]);
    let mut decided = Rollout::at(Phase::Switch, without_drains());
    assert_eq!(decided.says(Event::Undecidable(full())), NOTHING, "it was decided before");
}

#[test]
fn the_store_is_waited_for_without_a_bound() {
    let mut rollout = Rollout::at(Phase::Deciding, without_drains());
    assert_eq!(rollout.machine.deadline(), Moment::MAX);
    assert_eq!(rollout.after(1_000_000_000), NOTHING);
    assert_eq!(rollout.says(Event::Decided(Decision::Commit)).len(), 2);
}

#[test]
fn one_who_goes_on_for_another_never_commits_what_was_not_decided() {
    let mut rollout = Rollout::resumed(without_drains());
    assert_eq!(rollout.says(Event::Begin), [Effect::Decide(Decision::Abort)]);
    let mut other = Rollout { machine: rollout.machine.clone(), now: 0 };
    let adopt = [ask("s1", Step::AdoptPortals), ask("s2", Step::AdoptPortals)];
    assert_eq!(rollout.says(Event::Decided(Decision::Commit)), adopt, "it was decided");
    let aborts = ["s1", "s2", "s3"].map(|server| ask(server, Step::Abort));
    assert_eq!(other.says(Event::Decided(Decision::Abort)), aborts, "it wasn't");
}

#[test]
fn what_a_launcher_gave_up_while_its_deployer_slept_is_given_up() {
    let mut rollout = Rollout::at(Phase::Idle, without_drains());
    let given_up = rollout.done("s1", StepName::Abort);
    assert_eq!(given_up.first(), Some(&Effect::Decide(Decision::Abort)));
    assert_eq!(rollout.machine.phase(), Phase::Aborting);
    let mut decided = Rollout::at(Phase::Switch, without_drains());
    assert_eq!(decided.done("s1", StepName::Abort), NOTHING, "none can, once it is decided");
}

#[test]
fn a_server_that_is_through_and_has_left_is_not_started_again() {
    let mut rollout = Rollout::at(Phase::Release, without_drains());
    assert_eq!(rollout.done("s1", StepName::Release), NOTHING);
    assert_eq!(rollout.is_lost("s1"), NOTHING);
    assert_eq!(rollout.is_lost("s2"), [Effect::Revive { server: "s2".to_owned() }]);
}

#[test]
fn what_was_said_of_another_rollout_step_or_server_changes_nothing() {
    let mut rollout = Rollout::at(Phase::Hold, without_drains());
    for generation in [GENERATION - 1, GENERATION + 1] {
        let stands =
            Event::Stands { server: "s1".to_owned(), generation, step: StepName::Hold, stage: Stage::Failed(broken()) };
        assert_eq!(rollout.says(stands), NOTHING);
    }
    for step in [StepName::Prepare, StepName::Idle, StepName::Release] {
        assert_eq!(rollout.done("s1", step), NOTHING);
        assert_eq!(rollout.stands("s1", step, Stage::Failed(broken())), NOTHING);
    }
    assert_eq!(rollout.done("s4", StepName::Hold), NOTHING);
    assert_eq!(rollout.done("s2", StepName::Hold), NOTHING);
    assert_eq!(rollout.is_lost("s4"), NOTHING);
    assert_eq!(rollout.is_back("s4"), NOTHING);
    assert_eq!(rollout.says(Event::Decided(Decision::Abort)), NOTHING);
    assert_eq!(rollout.says(Event::Begin), NOTHING);
    assert_eq!((rollout.machine.phase(), rollout.machine.waiting_for()), (Phase::Hold, vec!["s1"]));
}

#[test]
fn once_it_is_over_nothing_more_is_asked_of_anybody() {
    let mut rollout = Rollout::at(Phase::Hold, without_drains());
    rollout.says(Event::Cancel);
    for server in ["s1", "s2", "s3"] {
        rollout.done(server, StepName::Abort);
    }
    assert_eq!((rollout.machine.phase(), rollout.machine.deadline()), (Phase::Over, Moment::MAX));
    assert_eq!(rollout.is_lost("s1"), NOTHING);
    assert_eq!(rollout.is_back("s1"), NOTHING);
    assert_eq!(rollout.says(Event::Begin), NOTHING);
    assert_eq!(rollout.says(Event::Cancel), NOTHING);
    assert_eq!(rollout.after(1_000_000), NOTHING);
}
