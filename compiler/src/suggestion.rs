//! What was probably meant by a name that nothing has.

/// What is longer is no slip of the pen. Bytes.
const LONGEST: usize = 200;
/// How many names are listed.
const MOST_LISTED: usize = 16;

/// The most similar of the candidates, if it is similar enough to be worth a question.
pub fn similar<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LONGEST {
        return None;
    }
    let length = written.chars().count();
    candidates
        .into_iter()
        // What differs in length by more differs by more.
        .filter(|candidate| {
            let other = candidate.chars().count();
            length.abs_diff(other) <= other.max(length) / 3
        })
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.chars().count().max(length) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// A help line for a name that nothing has: what was probably meant, or what there is.
pub fn help<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str> + Clone, kind: &str) -> String {
    if let Some(candidate) = similar(written, candidates.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    list(candidates, kind)
}

/// What there is, in a line.
pub fn list<'a>(candidates: impl IntoIterator<Item = &'a str> + Clone, kind: &str) -> String {
    let count = candidates.clone().into_iter().count();
    let names: Vec<_> = candidates.into_iter().take(MOST_LISTED).map(|candidate| format!("`{candidate}`")).collect();
    match count {
        0 => format!("there are no {kind}"),
        count if count > MOST_LISTED => format!("{kind}: {} and {} more", names.join(", "), count - MOST_LISTED),
        _ => format!("{kind}: {}", names.join(", ")),
    }
}
