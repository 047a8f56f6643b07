//! Templates: those that waldo brings along, and those that a user puts in their place.

use std::collections::BTreeMap;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, JsonTruthy, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable, TemplateError,
};
use serde_json::Value;

use super::escape;
use crate::suggestion;

/// The script that starts a server's launcher by hand.
pub const LAUNCH: &str = "launch.sh.hbs";
/// The unit of a server's launcher.
pub const SERVICE: &str = "launcher.service.hbs";
/// The target that all launchers of a namespace on one machine belong to.
pub const TARGET: &str = "namespace.target.hbs";

const BUILT_IN: [(&str, &str); 3] = [
    (LAUNCH, include_str!("../../../templates/launch.sh.hbs")),
    (SERVICE, include_str!("../../../templates/launcher.service.hbs")),
    (TARGET, include_str!("../../../templates/namespace.target.hbs")),
];

/// Why a template can't be used. Says which, where, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {template}{}: {what}", line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct Flaw {
    /// The template's file name.
    pub template: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub help: String,
}

/// The templates that a build is made with.
pub struct Templates {
    units: Handlebars<'static>,
    scripts: Handlebars<'static>,
    /// Whether any of them asks for the processes, which cost much to tell of.
    pub wants_processes: bool,
}

impl Templates {
    /// Waldo's own, with those of these names replaced: file name → text.
    ///
    /// # Errors
    /// If one can't be read, or has almost the name of one.
    pub fn with(overrides: &BTreeMap<String, String>) -> Result<Self, Flaw> {
        let known = BUILT_IN.map(|(name, _)| name);
        for name in overrides.keys().filter(|name| !known.contains(&name.as_str())) {
            // A directory called `templates` may well hold others' files; one that is almost of ours is a slip.
            if let Some(meant) = suggestion::similar(name, known) {
                let what = "there is no template of this name to replace".to_owned();
                return Err(Flaw {
                    template: name.clone(),
                    line: None,
                    what,
                    help: format!("did you mean `{meant}`?"),
                });
            }
        }
        let mut units = registry(escape::unit_text);
        let mut scripts = registry(escape::shell);
        units.register_helper("command", Box::new(Words { escape: escape::unit_word, prefixes: UNIT_PREFIXES }));
        units.register_helper("value", Box::new(Words { escape: escape::unit_value, prefixes: "" }));
        scripts.register_helper("command", Box::new(Words { escape: escape::shell, prefixes: "" }));
        for (name, text) in BUILT_IN {
            let text = overrides.get(name).map_or(text, String::as_str);
            let registry = if is_script(name) { &mut scripts } else { &mut units };
            registry.register_template_string(name, text).map_err(|error| unreadable(name, &error))?;
        }
        let wants_processes = overrides.values().any(|text| text.contains("processes"));
        Ok(Self { units, scripts, wants_processes })
    }

    /// Fills a template in.
    ///
    /// # Errors
    /// If it asks for something that isn't there.
    pub fn render(&self, name: &str, values: &Value) -> Result<String, Flaw> {
        let registry = if is_script(name) { &self.scripts } else { &self.units };
        registry.render(name, values).map_err(|error| unfillable(name, &error, values))
    }
}

fn is_script(name: &str) -> bool {
    name.ends_with(".sh.hbs")
}

fn registry(escape: fn(&str) -> String) -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_escape_fn(escape);
    registry.register_helper("if", Box::new(Condition { holds: true }));
    registry.register_helper("unless", Box::new(Condition { holds: false }));
    registry
}

fn unreadable(template: &str, error: &TemplateError) -> Flaw {
    let (line, _) = error.pos().unwrap_or((0, 0));
    let what = format!("it can't be read: {}", error.reason());
    let help = "a template is Handlebars: `{{name}}`, `{{#if name}}…{{/if}}`, `{{#each list}}…{{/each}}`".to_owned();
    Flaw { template: template.to_owned(), line: (line > 0).then_some(line), what, help }
}

fn unfillable(template: &str, error: &RenderError, values: &Value) -> Flaw {
    let (what, help) = match error.reason() {
        RenderErrorReason::MissingVariable(Some(variable)) => {
            let known: Vec<&str> =
                values.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
            (format!("there is no variable `{variable}`"), suggestion::help(variable, known, "variables"))
        }
        RenderErrorReason::HelperNotFound(helper) => (
            format!("there is no helper `{helper}`"),
            "helpers: `if`, `unless`, `each`, `with`, `command`, and in units `value`".to_owned(),
        ),
        RenderErrorReason::Other(what) => (what.clone(), "write the program's absolute path".to_owned()),
        other => (other.to_string(), "mend the template; docs/templates.md lists variables and helpers".to_owned()),
    };
    Flaw { template: template.to_owned(), line: error.line_no, what, help }
}

/// What systemd takes from the front of a command's first word, also in quotes, and gives a meaning of its own: `+` for
/// all rights. There is no escape for it. See systemd.service(5), "Command lines".
const UNIT_PREFIXES: &str = "@-:+!|";

/// A helper that writes its parameter, one text or a list of them, each escaped, with blanks between.
struct Words {
    escape: fn(&str) -> String,
    /// A list can't begin with a word that begins with one of these.
    prefixes: &'static str,
}

impl HelperDef for Words {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let not_text = || RenderErrorReason::InvalidParamType("a text or a list of texts");
        let parameter = helper.param(0).ok_or_else(not_text)?;
        if parameter.is_value_missing() {
            return Err(RenderErrorReason::MissingVariable(parameter.relative_path().cloned()).into());
        }
        let word = |value: &Value| match value {
            Value::String(text) => Ok((self.escape)(text)),
            Value::Number(number) => Ok((self.escape)(&number.to_string())),
            _ => Err(not_text()),
        };
        let words = match parameter.value() {
            Value::Array(list) => {
                let program = list.first().and_then(Value::as_str).unwrap_or_default();
                if program.starts_with(|first| self.prefixes.contains(first)) {
                    return Err(RenderErrorReason::Other(format!(
                        "systemd would not start a program `{program}`: it takes the first character for an order"
                    ))
                    .into());
                }
                list.iter().map(word).collect::<Result<Vec<_>, _>>()?
            }
            single => vec![word(single)?],
        };
        Ok(out.write(&words.join(" "))?)
    }
}

/// `if` and `unless`. The library's own take what isn't there for false, also in strict mode.
struct Condition {
    holds: bool,
}

impl HelperDef for Condition {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        state: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let parameter = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("if", 0))?;
        if parameter.is_value_missing() {
            return Err(RenderErrorReason::MissingVariable(parameter.relative_path().cloned()).into());
        }
        let holds = parameter.value().is_truthy(false) == self.holds;
        let part = if holds { helper.template() } else { helper.inverse() };
        part.map_or(Ok(()), |part| part.render(registry, context, state, out))
    }
}
