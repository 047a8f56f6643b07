//! W046: all namespaces together can be looked at.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W046",
    severity: Severity::Error,
    title: "too many namespaces for a topology of this size",
    explanation: "\
Each namespace is a whole copy of the topology, and `check` looks at all of them. Together they may have 2,000,000 values: that is a topology of a thousand
servers two hundred times. Keep namespaces that seldom are looked at together in files of their own, which include what they share.

  wrong   namespaces: {anna: {local: true, ports: 17000}, ...}                  # and hundreds more
  right   include: base.yaml                                                    # dev-anna.yaml
          namespaces: {anna: {local: true, ports: 17000}}",
};

pub(crate) fn topology(namespaces: usize, values: usize, most: usize, place: Place) -> Diagnostic {
    let message = format!("{namespaces} namespaces have {values} values together, and {most} is the most");
    Diagnostic::new(&RULE, place, message)
        .label("each is a copy of the topology")
        .help("keep namespaces in files of their own, which include what they share")
}
