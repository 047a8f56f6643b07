//! Topologies that meet on one machine, though no file tells: the second is refused before anything of it starts, and told
//! which other one is in its way.

mod playground;

use std::fs;

use playground::{Playground, free_ports};

/// A playground with topologies of these names, each in a directory of its own.
fn playground(topologies: [(&str, &str); 2], ports: u16) -> Playground {
    let playground = Playground::copy_of("hello");
    for (directory, name) in topologies {
        let text = format!(
            "topology: {name}\nflows: {{call: {{from: clients, guide: hash}}}}\n\
             stages: {{take: {{run: [sh, -c, 'while read -r call; do echo; done'], in: [call], speaks: ack}}}}\n\
             namespaces: {{dev: {{local: true, ports: {ports}}}}}\n"
        );
        fs::create_dir(playground.path().join(directory)).expect("a directory");
        fs::write(playground.path().join(directory).join("waldo.yaml"), text).expect("a topology");
    }
    playground
}

#[test]
fn a_port_that_another_topology_has_is_told_with_whose_it_is() {
    let ports = free_ports();
    let playground = playground([("one", "calls"), ("two", "bills")], ports);
    playground.run(playground.waldo(&["up", "one", "--detach", "--quiet"])).code(0);
    let second = playground.run(playground.waldo(&["up", "two", "--quiet"])).code(1);
    // Its door for links is looked at first.
    let said = format!("127.0.0.1:{}: portal intake of calls/dev does, on its server here", ports + 1);
    assert!(second.stderr.contains(&said), "{}", second.stderr);
    assert!(second.stderr.contains("end calls/dev with `waldo down`"), "{}", second.stderr);
    playground
        .run(playground.waldo(&["up", "two", "--detach", "--quiet", "--ports", &free_ports().to_string()]))
        .code(0);
    playground.run(playground.waldo(&["down", "two"])).code(0);
    playground.run(playground.waldo(&["down", "one"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_topology_whose_name_another_one_has_is_told_where_that_is_and_disturbs_nothing() {
    let playground = playground([("one", "calls"), ("two", "calls")], free_ports());
    playground.run(playground.waldo(&["up", "one", "--detach", "--quiet"])).code(0);
    let second = playground.run(playground.waldo(&["up", "two", "--quiet"])).code(5);
    let one = playground.path().join("one").canonicalize().expect("a directory");
    let said = format!("another topology of this name runs as calls/dev: {}", one.display());
    assert!(second.stderr.contains(&said), "{}", second.stderr);
    let status = playground.run(playground.waldo(&["status", "one"])).code(0);
    assert!(status.stdout.starts_with("calls/dev: flowing"), "{}", status.stdout);
    playground.run(playground.waldo(&["down", "one"])).code(0);
    playground.assert_nothing_left();
}
