//! The weights of a topology's servers: what they are, and how others are written into its files.

use std::collections::BTreeMap;

use crate::{
    Choice, Refusal, choose,
    diagnostic::Diagnostics,
    outline,
    source::{Recorded, Sources, edit},
    topology::{self, literal::Weight},
};

/// The weights that the servers of a namespace have.
///
/// # Errors
/// [`Refusal`] where there is no such namespace; without errors of its own in a file that can't be read.
pub fn written(sources: &Sources, choice: Choice<'_>) -> Result<BTreeMap<String, Weight>, Refusal> {
    let outline = outline(sources).ok_or_else(|| Refusal::Errors(Diagnostics::default()))?;
    let namespace = choose(&outline, choice)?;
    let topology = topology::read(&outline, &namespace, &mut Diagnostics::default());
    Ok(topology.servers.into_iter().map(|(name, server)| (name, server.weight)).collect())
}

/// Files with other weights in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// What is to be read in place of the files as they were.
    pub recorded: Recorded,
    /// The files that differ: their names, and their text now.
    pub files: BTreeMap<String, String>,
}

/// Writes weights into a topology's files, so that the servers of a namespace have these. `None` where that can't be done by
/// changing plain values: a weight that is a variable, or that several servers have from one anchor.
pub fn rewrite(recorded: &Recorded, choice: Choice<'_>, weights: &BTreeMap<String, Weight>) -> Option<Rewritten> {
    let mut rewritten = Rewritten { recorded: recorded.clone(), files: BTreeMap::new() };
    for (server, weight) in weights {
        let sources = rewritten.recorded.again([]);
        let mut wanted = written(&sources, choice).ok()?;
        if wanted.insert(server.clone(), *weight) == Some(*weight) {
            continue;
        }
        let path = path(&sources, choice, server)?;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let edited = edit::set(&sources, &path, &weight.to_string())?;
        let name = sources.files().get(usize::from(edited.file.0))?.name.clone();
        let next = rewritten.recorded.clone().with_text(&name, &edited.text);
        // One place can say something of several servers.
        if written(&next.again([]), choice).ok()? != wanted {
            return None;
        }
        rewritten.recorded = next;
        rewritten.files.insert(name, edited.text);
    }
    Some(rewritten)
}

/// Where a server's weight is, or is to be: at the server in the namespace if that has one or is one of several, else at the server.
fn path(sources: &Sources, choice: Choice<'_>, server: &str) -> Option<Vec<String>> {
    let outline = outline(sources)?;
    let plain = ["servers", server, "weight"].map(str::to_owned).to_vec();
    let namespace = match choice {
        Choice::Local(_) => return Some(plain),
        Choice::Only | Choice::Named(_) => choose(&outline, choice).ok()?.name,
    };
    if !outline.declares_namespaces() {
        return Some(plain);
    }
    let own: Vec<String> = ["namespaces", &namespace, "servers", server, "weight"].map(str::to_owned).to_vec();
    let tree = sources.tree()?;
    let at = |path: &[String]| path.iter().try_fold(tree, |node, key| node.get(key).map(|entry| &entry.value));
    let is_shared = outline.namespaces().len() > 1;
    let is_there = |path: &[String]| at(path).is_some();
    Some(if is_there(&own) || is_shared || !is_there(&plain[..2]) { own } else { plain })
}

/// What to write by hand, where [`rewrite`] can't.
pub fn as_written(sources: &Sources, choice: Choice<'_>, weights: &BTreeMap<String, Weight>) -> String {
    let servers: Vec<String> =
        weights.iter().map(|(server, weight)| format!("{server}: {{weight: {weight}}}")).collect();
    let servers = format!("servers: {{{}}}", servers.join(", "));
    let namespace = weights.keys().next().and_then(|server| path(sources, choice, server));
    match namespace.as_deref() {
        Some([first, namespace, ..]) if first == "namespaces" => format!("namespaces: {{{namespace}: {{{servers}}}}}"),
        _ => servers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Source, Unaided};

    const FLOWS: &str = "topology: t\nflows: {x: {guide: hash}}\n";

    fn rewritten(text: &str, choice: Choice<'_>, weights: &[(&str, u64)]) -> Option<String> {
        let recorded = Recorded::read(vec![Source::new("waldo.yaml", text)], &Unaided).1;
        let weights = weights.iter().map(|&(server, weight)| (server.to_owned(), Weight(weight))).collect();
        let mut files = rewrite(&recorded, choice, &weights)?.files;
        assert!(files.len() <= 1);
        Some(files.remove("waldo.yaml").unwrap_or_else(|| text.to_owned()))
    }

    #[test]
    fn weights_are_written_where_they_are_or_belong() {
        let text = format!("{FLOWS}servers: {{s1: {{address: a, weight: 2}}, s2: {{address: b}}}}\n");
        let expected = text.replace("weight: 2", "weight: 1.5").replace("s2: {", "s2: {weight: 0.5, ");
        let weights = [("s1", 1_500_000), ("s2", 500_000)];
        assert_eq!(rewritten(&text, Choice::Only, &weights).unwrap(), expected);
        assert_eq!(rewritten(&text, Choice::Local("mine"), &weights).unwrap(), expected);
        assert_eq!(rewritten(&text, Choice::Only, &[("s1", 2_000_000)]).unwrap(), text, "nothing to change");
    }

    #[test]
    fn a_namespace_among_several_gets_weights_of_its_own() {
        let text =
            format!("{FLOWS}servers: {{s1: {{address: a}}}}\nnamespaces:\n  prod: {{}}\n  test: {{local: true}}\n");
        let expected = text.replace("prod: {}", "prod: {servers: {s1: {weight: 3}}}");
        assert_eq!(rewritten(&text, Choice::Named("prod"), &[("s1", 3_000_000)]).unwrap(), expected);
        let alone = text.replace("  test: {local: true}\n", "");
        let expected = alone.replace("{s1: {", "{s1: {weight: 3, ");
        assert_eq!(rewritten(&alone, Choice::Only, &[("s1", 3_000_000)]).unwrap(), expected);
    }

    #[test]
    fn a_place_that_says_something_of_several_servers_is_left_alone() {
        let text = format!(
            "{FLOWS}x-big: &big {{weight: 2}}\nservers:\n  s1: {{<<: *big, address: a}}\n  s2: {{<<: *big, address: b}}\n"
        );
        assert_eq!(rewritten(&text, Choice::Only, &[("s1", 1_000_000)]), None);
        let sources = Sources::of("waldo.yaml", &text);
        let weights = [("s1".to_owned(), Weight(500_000))].into();
        assert_eq!(as_written(&sources, Choice::Only, &weights), "servers: {s1: {weight: 0.5}}");
    }
}
