//! `completion` and `man`: shell completions and manual pages, generated from the commands.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::command::command;
use crate::base::plain::Plain;

/// Print a script that completes commands and options in a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  source <(monedula completion bash)
  monedula completion zsh > ~/.zfunc/_monedula
  monedula completion fish > ~/.config/fish/completions/monedula.fish")]
#[group(skip)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub fn run(&self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "monedula", &mut script);
        ended(io::stdout().write_all(&script))
    }
}

/// Print the manual page, or write those of all commands into a folder
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula man | man -l -
  monedula man --dir /usr/local/share/man/man1")]
#[group(skip)]
pub struct Man {
    /// Write a page for each command into this folder
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

impl Man {
    pub fn run(&self) -> ExitCode {
        let mut whole = command();
        whole.build();
        ended(match &self.dir {
            Some(dir) => pages(&whole, dir, "monedula"),
            None => clap_mangen::Man::new(whole).render(&mut io::stdout().lock()),
        })
    }
}

fn pages(command: &clap::Command, dir: &Path, name: &str) -> io::Result<()> {
    let mut page = Vec::new();
    // Pages for clap's own `help` command would repeat the other pages.
    let own = command.get_subcommands();
    let own = own.filter(|one| !one.is_hide_set() && one.get_name() != "help");
    clap_mangen::Man::new(command.clone())
        .title(name.to_owned())
        .render(&mut page)?;
    std::fs::write(dir.join(format!("{name}.1")), page)?;
    for one in own {
        pages(one, dir, &format!("{name}-{}", one.get_name()))?;
    }
    Ok(())
}

fn ended(done: io::Result<()>) -> ExitCode {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("monedula: {}", Plain(&error));
            ExitCode::FAILURE
        }
        // The reader of the pipe has closed it, which is not an error.
        _ => ExitCode::SUCCESS,
    }
}
