//! Writes what packages contain beside the program, from the program's own tables: man pages, shell completions and the
//! file of settings.
//!
//!     cargo run --no-default-features --example package_files -- DIRECTORY
//!
//! `SOURCE_DATE_EPOCH` in the environment is the date of the man pages.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap_complete::shells::{Bash, Fish, Zsh};
use clap_complete::{Generator, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use imds_exporter::cli;
use imds_exporter::config::VARIABLES;
use jiff::Timestamp;

const PROGRAM: &str = "imds-exporter";
const UNIT: &str = include_str!("../systemd/imds-exporter.service");

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).expect("a directory is given");
    let directory = Path::new(&directory);
    fs::create_dir_all(directory)?;
    man_pages(directory)?;
    let bash = completion(Bash, directory)?;
    // clap_complete writes the hyphen of the program's name in two ways, and finds no options of a command then.
    fs::write(&bash, fs::read_to_string(&bash)?.replace("imds__subcmd__exporter", "imds__exporter"))?;
    completion(Fish, directory)?;
    completion(Zsh, directory)?;
    fs::write(directory.join("default"), settings())
}

/// The command line without the text on variables, which has a section of its own in the manual.
fn command() -> clap::Command {
    let plain = |command: clap::Command| command.after_help(None::<&str>);
    plain(cli::command())
        .mut_subcommands(plain)
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("COMMANDS")
}

fn completion(shell: impl Generator, directory: &Path) -> io::Result<PathBuf> {
    generate_to(shell, &mut command(), PROGRAM, directory)
}

/// A page for the program and one for each command.
fn man_pages(directory: &Path) -> io::Result<()> {
    let mut command = command();
    command.build();
    for subcommand in command.get_subcommands().cloned() {
        let page = page(subcommand);
        let mut text = up_to_options(&page)?;
        section("SEE ALSO", see_also, &mut text)?;
        fs::write(directory.join(page.get_filename()), text)?;
    }
    let page = page(command);
    let mut text = up_to_options(&page)?;
    page.render_subcommands_section(&mut text)?;
    section("ENVIRONMENT", environment, &mut text)?;
    section("EXIT STATUS", exit_status, &mut text)?;
    section("FILES", files, &mut text)?;
    fs::write(directory.join(page.get_filename()), text)
}

/// The sections that every page begins with.
fn up_to_options(page: &Man) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    Ok(text)
}

fn page(command: clap::Command) -> Man {
    let epoch = env::var("SOURCE_DATE_EPOCH").map_or(0, |seconds| seconds.parse().expect("a number of seconds"));
    let date = Timestamp::from_second(epoch).expect("a time").strftime("%Y-%m-%d").to_string();
    Man::new(command).date(date).source(format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"))).manual("User Commands")
}

fn section(title: &str, body: impl FnOnce(&mut Roff), text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    body(&mut roff);
    roff.to_writer(text)
}

fn entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
}

fn see_also(roff: &mut Roff) {
    roff.text([bold(PROGRAM), roman("(1)")]);
}

fn environment(roff: &mut Roff) {
    roff.text([roman("An empty variable counts as unset.")]);
    for variable in VARIABLES {
        entry(roff, variable.name, &format!("{} Default: {}.", variable.meaning, variable.default));
    }
}

fn exit_status(roff: &mut Roff) {
    entry(roff, "0", "Success. For the commands' own codes, see their pages.");
    entry(roff, "64", "The command line or the configuration is wrong. All mistakes are named.");
    entry(roff, "70", "A bug in the program.");
}

fn files(roff: &mut Roff) {
    entry(roff, "/etc/default/imds-exporter", "The settings of the service, one VARIABLE=value per line.");
    entry(roff, "/var/lib/imds-exporter/state", "The state of the service, which contains no secret.");
}

/// The settings of the service, each commented out and with its default. Those that the unit itself sets are left out.
fn settings() -> String {
    let own = VARIABLES.iter().filter(|variable| variable.name.starts_with("IMDS_EXPORTER_"));
    let settable = own.filter(|variable| !UNIT.contains(&format!("Environment={}=", variable.name)));
    let settings = settable.map(|variable| {
        let default = if variable.default == "none" { "" } else { variable.default };
        format!("\n{}#{}={default}\n", comment(variable.meaning), variable.name)
    });
    let head = "The settings of imds-exporter.service, one VARIABLE=value per line. Apply a change with `systemctl restart \
                imds-exporter`. The variables of the AWS SDKs can be set here too: see imds-exporter(1).";
    comment(head) + &settings.collect::<String>()
}

/// Lines of at most 100 characters that begin with a hash.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if line.len() + word.len() < 100 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("# {word}"));
        }
    }
    lines.join("\n") + "\n"
}
