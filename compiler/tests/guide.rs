//! Which servers own keys: through a whole compilation.

use std::collections::BTreeSet;

use waldo_compiler::{Choice, Sources, compile, plan::Plan};

const TOPOLOGY: &str = "\
topology: t
flows:
  call: {key: sender, guide: hash, from: clients}
  alert: {key: sender, guide: {table: {k: s3}, default: hash}, from: clients}
stages:
  score: {run: ./score, in: [call]}
  notify: {run: ./notify, in: [alert], \"on\": [s1, s2, s3]}
servers:
";

fn compiled(servers: &[&str]) -> Plan {
    let text = TOPOLOGY.to_owned() + &servers.join("\n") + "\n";
    compile(&Sources::of("waldo.yaml", text.as_str()), Choice::Only, None).expect(&text).plan
}

fn owners<'p>(plan: &'p Plan, flow: &str) -> BTreeSet<&'p str> {
    let of = plan.guide.owners(&plan.guide.flows[flow]);
    of.into_iter().map(|server| plan.guide.servers[usize::from(server)].as_str()).collect()
}

const S1: &str = "  s1: {address: 10.0.0.1, weight: 1.5}";
const S2: &str = "  s2: {address: 10.0.0.2}";
const S3: &str = "  s3: {address: 10.0.0.3}";
const S4: &str = "  s4: {address: 10.0.0.4, weight: 0.25}";

#[test]
fn servers_that_are_drained_or_without_weight_own_nothing() {
    let all = compiled(&[S1, S2, S3, S4]);
    assert_eq!(owners(&all, "call"), ["s1", "s2", "s3", "s4"].into());
    let drained = compiled(&[S1, "  s2: {address: 10.0.0.2, state: drained}", S3, S4]);
    assert_eq!(owners(&drained, "call"), ["s1", "s3", "s4"].into());
    assert_eq!(owners(&drained, "alert"), ["s1", "s3"].into());
    let weightless = compiled(&[S1, "  s2: {address: 10.0.0.2, weight: 0}", S3, S4]);
    assert_eq!(weightless.guide.tables, drained.guide.tables, "as if it were drained");
}

#[test]
fn only_servers_that_run_the_consumer_own_keys_also_behind_a_table() {
    assert_eq!(owners(&compiled(&[S1, S2, S3, S4]), "alert"), ["s1", "s2", "s3"].into());
}

#[test]
fn the_order_of_servers_and_their_addresses_do_not_matter() {
    let plan = compiled(&[S1, S2, S3, S4]);
    let other = compiled(&[S4, S2, "  s3: {address: 10.0.0.33}", S1]);
    assert_eq!(plan.guide.servers, other.guide.servers);
    assert_eq!(plan.guide.tables, other.guide.tables);
}

#[test]
fn flows_with_the_same_servers_and_weights_share_a_table() {
    assert_eq!(compiled(&[S1, S2, S3, S4]).guide.tables.len(), 2);
    assert_eq!(compiled(&[S1, S2, S3]).guide.tables.len(), 1);
}
