//! The command line: which commands and options there are, declared once, and how they are read and explained.
//!
//! Must not know what the commands do. By hand on `lexopt`: what `clap` brings would be a tenth of the program and
//! of its resident memory, for a program that takes its settings from the environment.

use std::ffi::OsString;
use std::fmt::{self, Display, Write};

use lexopt::Arg::{Long, Short, Value as Word};

use crate::config::VARIABLES;

/// A command.
pub(super) struct Command<Run: 'static> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// What else its help says.
    pub(super) more: &'static str,
    /// Whether it reads the environment variables.
    pub(super) configured: bool,
    pub(super) options: &'static [Opt],
    pub(super) run: Run,
}

/// An option of a command.
pub(super) struct Opt {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Without one it is a switch.
    pub(super) value: Option<Value>,
}

/// What an option takes.
pub(super) struct Value {
    pub(super) shown: &'static str,
    pub(super) default: Option<&'static str>,
    pub(super) is_good: fn(&str) -> bool,
}

/// The options that were given, checked, and the defaults of the others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given(Vec<(&'static str, String)>);

impl Given {
    pub(super) fn has(&self, switch: &str) -> bool {
        self.text(switch).is_some()
    }

    /// The value of an option without a default.
    pub(super) fn text(&self, option: &str) -> Option<&str> {
        self.0.iter().find_map(|(name, value)| (*name == option).then_some(value.as_str()))
    }

    /// The value of an option with a default, read as `read` does.
    pub(super) fn value<T, E: fmt::Debug>(&self, option: &str, read: impl Fn(&str) -> Result<T, E>) -> T {
        read(self.text(option).expect("an option with a default has a value")).expect("values were checked")
    }
}

/// What a command line asks for.
pub(super) enum Asked<Run: 'static> {
    Run(&'static Command<Run>, Given),
    Help(Option<&'static Command<Run>>),
    Version,
}

/// What is wrong with a command line, in words, and which command's help may help.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) what: String,
    pub(super) command: Option<&'static str>,
}

/// Reads a command line without the program's name; without a command it asks for the first one.
pub(super) fn read<Run>(
    words: impl IntoIterator<Item = OsString>,
    commands: &'static [Command<Run>],
) -> Result<Asked<Run>, Mistake> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut command: Option<&'static Command<Run>> = None;
    let mut explain = false;
    let mut given = Given::default();
    loop {
        let options = command.map_or(&[][..], |command| command.options);
        let mistake = |what| Mistake { what, command: command.map(|command| command.name) };
        let Some(argument) = parser.next().map_err(|error| mistake(error.to_string()))? else { break };
        match argument {
            Short('h') | Long("help") => return Ok(Asked::Help(command)),
            Short('V') | Long("version") => return Ok(Asked::Version),
            Word(word) if command.is_none() && !explain && word == "help" => explain = true,
            Word(word) if command.is_none() => {
                let word = word.to_string_lossy();
                let known = commands.iter().find(|command| command.name == word);
                let names = commands.iter().map(|command| command.name);
                let what = || mistake(format!("there is no command {}{}", shown(&word), near(&word, "", names)));
                command = Some(known.ok_or_else(what)?);
            }
            Long(name) => {
                let Some(option) = options.iter().find(|option| option.name == name) else {
                    let known = options.iter().map(|option| option.name).chain(["help"]);
                    return Err(mistake(format!("there is no option --{}{}", shown(name), near(name, "--", known))));
                };
                if given.has(option.name) {
                    return Err(mistake(format!("--{} is given twice", option.name)));
                }
                let value = option.value.as_ref().map(|wanted| parser.value().map(|value| (value, wanted)));
                let value = match value.transpose().map_err(|error| mistake(error.to_string()))? {
                    None => String::new(),
                    Some((value, wanted)) => match value.into_string() {
                        Ok(text) if (wanted.is_good)(&text) => text,
                        Ok(text) => return Err(mistake(wrong(option, &text))),
                        Err(bytes) => return Err(mistake(wrong(option, &bytes.to_string_lossy()))),
                    },
                };
                given.0.push((option.name, value));
            }
            other => return Err(mistake(other.unexpected().to_string())),
        }
    }
    if explain {
        return Ok(Asked::Help(command));
    }
    let command = command.unwrap_or(&commands[0]);
    let missing = command.options.iter().filter(|option| !given.has(option.name));
    let defaults: Vec<_> = missing.filter_map(|option| Some((option.name, option.default()?.to_owned()))).collect();
    given.0.extend(defaults);
    Ok(Asked::Run(command, given))
}

fn wrong(option: &Opt, text: &str) -> String {
    let wanted = option.value.as_ref().map_or("", |value| value.shown);
    format!("--{} {}: that is no {wanted}", option.name, shown(text))
}

/// A word of the command line in an error: short and printable.
fn shown(word: &str) -> String {
    word.chars().take(80).flat_map(char::escape_debug).collect()
}

fn near<'a>(word: &str, dashes: &str, known: impl Iterator<Item = &'a str>) -> String {
    let distance = |name: &&str| strsim::damerau_levenshtein(name, word);
    let nearest = known.min_by_key(distance).filter(|name| distance(name) * 2 < name.len());
    nearest.map_or_else(String::new, |name| format!("; is it {dashes}{name}?"))
}

/// The help of a command, or of the whole.
pub(super) struct Help<Run: 'static> {
    pub(super) about: &'static str,
    pub(super) commands: &'static [Command<Run>],
    pub(super) command: Option<&'static Command<Run>>,
}

impl<Run> Display for Help<Run> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        if let Some(Command { name, about, more, options: own, .. }) = self.command {
            writeln!(f, "{about}")?;
            if !more.is_empty() {
                writeln!(f, "\n{more}")?;
            }
            writeln!(f, "\nUsage: imds-exporter {name}{}", if own.is_empty() { "" } else { " [OPTIONS]" })?;
            options.extend(own.iter().map(|option| (option.to_string(), option.explained())));
        } else {
            writeln!(f, "{}\n\nUsage: imds-exporter [COMMAND]\n\nCommands:", self.about)?;
            let commands = self.commands.iter().map(|command| (command.name.to_owned(), command.about.to_owned()));
            table(f, &commands.collect::<Vec<_>>())?;
            options.push(("-V, --version".to_owned(), "Print the version.".to_owned()));
        }
        options.push(("-h, --help".to_owned(), "Print this.".to_owned()));
        writeln!(f, "\nOptions:")?;
        table(f, &options)?;
        if self.command.is_none_or(|command| command.configured) {
            writeln!(f, "\nEnvironment variables (an empty one counts as unset):")?;
            for variable in VARIABLES {
                writeln!(f, "  {} [{}]\n      {}", variable.name, variable.default, variable.meaning)?;
            }
        }
        Ok(())
    }
}

impl Display for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}", self.name)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, " {}", value.shown))
    }
}

impl Opt {
    fn default(&self) -> Option<&'static str> {
        self.value.as_ref().and_then(|value| value.default)
    }

    fn explained(&self) -> String {
        let mut text = self.about.to_owned();
        if let Some(default) = self.default() {
            write!(text, " [default: {default}]").expect("a String takes all");
        }
        text
    }
}

fn table(f: &mut fmt::Formatter<'_>, rows: &[(String, String)]) -> fmt::Result {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter().try_for_each(|(name, about)| writeln!(f, "  {name:width$}  {about}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    const COMMANDS: &[Command<()>] = &[
        Command { name: "first", about: "The first", more: "", configured: true, options: &[], run: () },
        Command {
            name: "second",
            about: "The second",
            more: "",
            configured: false,
            options: &[
                Opt { name: "switch", about: "A switch", value: None },
                Opt {
                    name: "port",
                    about: "A port",
                    value: Some(Value {
                        shown: "PORT",
                        default: Some("80"),
                        is_good: |text| text.parse::<u16>().is_ok(),
                    }),
                },
            ],
            run: (),
        },
    ];

    fn asked(words: &[&str]) -> Result<Asked<()>, Mistake> {
        read(words.iter().map(OsString::from), COMMANDS)
    }

    fn given(words: &[&str]) -> (&'static str, Given) {
        match asked(words) {
            Ok(Asked::Run(command, given)) => (command.name, given),
            _ => panic!("{words:?} runs nothing"),
        }
    }

    #[test]
    fn commands_and_options_are_read() {
        assert_eq!(given(&[]), ("first", Given::default()));
        let (name, nothing) = given(&["second"]);
        assert_eq!((name, nothing.has("switch")), ("second", false));
        assert_eq!(nothing.value("port", str::parse::<u16>), 80);
        for words in [&["second", "--port", "81", "--switch"], &["second", "--switch", "--port=81"][..]] {
            let (_, given) = given(words);
            assert!(given.has("switch"));
            assert_eq!(given.value("port", str::parse::<u16>), 81);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, part) in [
            (&["secnd"][..], "is it second?"),
            (&["second", "--prot", "1"], "is it --port?"),
            (&["second", "--port"], "--port"),
            (&["second", "--port", "x"], "PORT"),
            (&["second", "--port", "1", "--port", "1"], "twice"),
            (&["second", "--switch=x"], "--switch"),
            (&["second", "word"], "word"),
            (&["second", "-x"], "-x"),
            (&["--switch"], "--switch"),
        ] {
            let Err(mistake) = asked(words) else { panic!("{words:?} is taken") };
            assert!(mistake.what.contains(part), "{words:?}: {}", mistake.what);
        }
        let hostile = OsString::from_vec(b"\xff\x1b[31m\n".repeat(1000));
        for words in [vec![hostile.clone()], vec!["second".into(), "--port".into(), hostile]] {
            let Err(mistake) = read(words, COMMANDS) else { panic!("it is taken") };
            assert!(mistake.what.len() < 1000 && !mistake.what.contains(['\n', '\x1b']), "{}", mistake.what);
        }
    }

    #[test]
    fn help_is_of_the_command_that_is_named() {
        for (words, name) in [
            (&["--help"][..], None),
            (&["-h"], None),
            (&["help"], None),
            (&["second", "--help"], Some("second")),
            (&["help", "second"], Some("second")),
        ] {
            let Ok(Asked::Help(command)) = asked(words) else { panic!("{words:?} is no call for help") };
            assert_eq!(command.map(|command| command.name), name);
            let help = Help { about: "It", commands: COMMANDS, command }.to_string();
            assert_eq!(help.contains("--port PORT"), name.is_some());
            assert_eq!(help.contains("The first"), name.is_none());
            assert_eq!(help.contains(VARIABLES[0].name), name.is_none());
        }
        assert!(matches!(asked(&["-V"]), Ok(Asked::Version)));
    }
}
