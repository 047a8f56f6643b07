//! What is outside: other files, and the environment's variables. Whoever uses the compiler answers for them.

/// What the text of a topology can ask for: the compiler itself has no files and no environment.
pub trait Environment {
    /// The value of a variable.
    ///
    /// # Errors
    /// Why it has none that can be used.
    fn variable(&self, name: &str) -> Result<String, Missing>;

    /// The names of all variables, to suggest one.
    fn variables(&self) -> Vec<String>;

    /// The names of the files that a pattern names, seen from the file `from`, in order.
    ///
    /// # Errors
    /// Why they can't be found, in words.
    fn matching(&self, from: &str, pattern: &str) -> Result<Vec<String>, String>;

    /// What is in a file.
    ///
    /// # Errors
    /// Why it can't be read, in words.
    fn read(&self, name: &str) -> Result<Vec<u8>, String>;

    /// What is the same for all names of a file.
    fn identity(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Why a variable has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It isn't set.
    Unset,
    /// Its value isn't text.
    NotText,
}

/// An environment without anything.
#[derive(Debug, Clone, Copy)]
pub struct Unaided;

impl Environment for Unaided {
    fn variable(&self, _: &str) -> Result<String, Missing> {
        Err(Missing::Unset)
    }

    fn variables(&self) -> Vec<String> {
        Vec::new()
    }

    fn matching(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Err("there are no other files here".to_owned())
    }
}
