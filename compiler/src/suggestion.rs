//! What was probably meant by a name that nothing has.

/// What is longer is no slip of the pen. Bytes.
const LONGEST: usize = 200;

/// The most similar of the candidates, if it is similar enough to be worth a question.
pub fn similar<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.chars().count().max(written.chars().count()) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// A help line for a name that nothing has: what was probably meant, or what there is.
pub fn help<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str> + Clone, kind: &str) -> String {
    if let Some(candidate) = similar(written, candidates.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    let names: Vec<_> = candidates.into_iter().map(|candidate| format!("`{candidate}`")).collect();
    match names.len() {
        0 => format!("there are no {kind}"),
        1..=12 => format!("{kind}: {}", names.join(", ")),
        more => format!("{kind}: {} and {} more", names[..12].join(", "), more - 12),
    }
}
