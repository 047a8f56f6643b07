//! `waldo init`: a topology to begin with, which runs as it is.

mod files;

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use waldo_compiler::topology::name;

use crate::exit::{Exit, Failure};

/// The most servers that a beginning has.
const MOST_SERVERS: u16 = 16;

/// What to begin with.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  waldo init                       asks, and writes into this directory
  waldo init words --servers 3     a new directory, three servers
  waldo init --speaks lines --yes  ordinary filters, no questions")]
pub struct Arguments {
    /// Where; by default here. It is made if it isn't there.
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// The topology's name; by default the directory's.
    #[arg(long)]
    name: Option<String>,
    /// On how many servers, all of them on this machine.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_SERVERS)))]
    servers: Option<u16>,
    /// How the programs speak.
    #[arg(long, value_enum)]
    speaks: Option<Speaks>,
    /// Let some records go round a loop.
    #[arg(long = "loop")]
    with_loop: bool,
    /// Ask nothing.
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Speaks {
    /// Python programs that answer each record
    Ack,
    /// Ordinary filters, such as grep and sort
    Lines,
}

/// What was chosen.
struct Choice {
    name: String,
    servers: u16,
    lines: bool,
    with_loop: bool,
}

/// Writes it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let choice = choose(arguments)?;
    let files = files::of(&choice.name, choice.servers, choice.lines, choice.with_loop);
    let directory = &arguments.directory;
    if let Some((taken, ..)) = files.iter().find(|(file, ..)| *file != files::IGNORE && directory.join(file).exists()) {
        return Err(Failure::new(format!("{} is there already; nothing was written", directory.join(taken).display()))
            .hint("name another directory: `waldo init DIR`"));
    }
    for (file, text, executable) in &files {
        write(&directory.join(file), text, *executable)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", directory.join(file).display())))?;
    }
    let here = directory.as_path() == Path::new(".");
    let place = if here { String::new() } else { format!(" {}", directory.display()) };
    println!("wrote {}", files.iter().map(|(file, ..)| *file).collect::<Vec<_>>().join(", "));
    println!("next:");
    println!("  waldo check{place}              what is wrong with it: nothing yet");
    println!("  waldo up{place} --until-idle    run it to its end; the answer is in");
    println!("     {}", directory.join(files::answer(choice.lines)).display());
    println!("  waldo graph{place} -o topology.svg");
    Ok(Exit::Ok)
}

fn choose(arguments: &Arguments) -> Result<Choice, Failure> {
    let own = arguments.directory.canonicalize().ok().or_else(|| std::path::absolute(&arguments.directory).ok());
    let default_name = own.as_deref().and_then(Path::file_name).map(|name| usable(&name.to_string_lossy()));
    let default_name = default_name.unwrap_or_else(|| "words".to_owned());
    let nothing_said =
        arguments.name.is_none() && arguments.servers.is_none() && arguments.speaks.is_none() && !arguments.with_loop;
    let asks = nothing_said && !arguments.yes && io::stdin().is_terminal() && io::stdout().is_terminal();
    let choice = if asks {
        let name = ask("name of the topology", &default_name)?;
        let servers = ask("servers on this machine", "1")?;
        let lines = ask("programs: ack (Python, each record answered) or lines (grep, sort)", "ack")?;
        let with_loop = lines != "lines" && ask("a loop (yes or no)", "no")?.starts_with('y');
        let servers = servers.parse().ok().filter(|servers| (1..=MOST_SERVERS).contains(servers)).ok_or_else(|| {
            Failure::new(format!("`{servers}` isn't a number of servers from 1 to {MOST_SERVERS}")).exit(Exit::Usage)
        })?;
        if !["ack", "lines"].contains(&lines.as_str()) {
            return Err(Failure::new(format!("`{lines}` is neither `ack` nor `lines`")).exit(Exit::Usage));
        }
        Choice { name, servers, lines: lines == "lines", with_loop }
    } else {
        Choice {
            name: arguments.name.clone().unwrap_or(default_name),
            servers: arguments.servers.unwrap_or(1),
            lines: arguments.speaks == Some(Speaks::Lines),
            with_loop: arguments.with_loop,
        }
    };
    if name::flaw(&choice.name).is_some() {
        return Err(Failure::new(format!("`{}` can't be the name of a topology", choice.name))
            .hint(format!(
                "lower-case letters, digits, `_` and `-`, and no word of the language: --name {}",
                usable(&choice.name)
            ))
            .exit(Exit::Usage));
    }
    if choice.lines && choice.with_loop {
        return Err(Failure::new("filters in a loop never see the end of their input")
            .hint("leave out --loop, or say --speaks ack")
            .exit(Exit::Usage));
    }
    Ok(choice)
}

/// A name made from any text.
fn usable(text: &str) -> String {
    name::mended(text).map_or_else(|| "words".to_owned(), |name| name.trim_end_matches(['-', '_']).to_owned())
}

fn ask(what: &str, default: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot ask: {error}"));
    print!("{what} [{default}]: ");
    io::stdout().flush().map_err(failed)?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer).map_err(failed)? == 0 {
        return Err(Failure::new("the answers ended; nothing was written").exit(Exit::Cancelled));
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}

/// Writes a file that must not be there yet, but for the list of what version control leaves alone, which is added to.
fn write(path: &Path, text: &str, executable: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let adds = path.ends_with(files::IGNORE);
    if adds && fs::read_to_string(path).is_ok_and(|old| old.lines().any(|line| text.trim_end() == line)) {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(!adds).create(adds).append(adds).mode(if executable { 0o755 } else { 0o644 });
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::usable;

    #[test]
    fn any_directory_has_a_usable_name() {
        for (text, expected) in
            [("calls", "calls"), ("My Calls!", "my-calls"), ("2024-x", "x"), ("", "words"), ("all", "words")]
        {
            assert_eq!(usable(text), expected);
        }
    }
}
