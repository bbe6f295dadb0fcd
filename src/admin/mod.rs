//! mqadmin: RocketMQ's admin tool. One table of commands; one file per subject.

mod cluster;
mod consume;
mod message;
pub mod options;
mod text;
mod topic;
mod track;

use options::{Args, Opt};
use text::{out, outln};

use crate::base::console::complain;
use crate::base::{Error, Result};
use crate::client;

/// One command of the tool.
struct Row {
    name: &'static str,
    doc: &'static str,
    options: &'static [Opt],
    run: fn(&client::Admin, &Args) -> Result<()>,
}

/// The commands, in the order RocketMQ lists them.
const COMMANDS: &[Row] = &[
    Row {
        name: "updateTopic",
        doc: "Update or create topic",
        options: topic::UPDATE,
        run: topic::update,
    },
    Row {
        name: "topicRoute",
        doc: "Examine topic route info",
        options: topic::ROUTE,
        run: topic::route,
    },
    Row {
        name: "topicStatus",
        doc: "Examine topic Status info",
        options: topic::STATUS,
        run: topic::status,
    },
    Row {
        name: "queryMsgById",
        doc: "Query Message by Id",
        options: message::QUERY_BY_ID,
        run: message::query_by_id,
    },
    Row {
        name: "queryMsgByKey",
        doc: "Query Message by Key",
        options: message::QUERY_BY_KEY,
        run: message::query_by_key,
    },
    Row {
        name: "clusterList",
        doc: "List all of clusters",
        options: cluster::LIST,
        run: cluster::list,
    },
    Row {
        name: "topicList",
        doc: "Fetch all topic list from name server",
        options: topic::LIST,
        run: topic::list,
    },
    Row { name: "sendMessage", doc: "Send a message", options: message::SEND, run: message::send },
    Row {
        name: "consumeMessage",
        doc: "Consume message",
        options: consume::CONSUME,
        run: consume::consume,
    },
];

/// The environment variable that makes a failed command exit with 1. Without it the status is 0,
/// as RocketMQ's tool always has it and existing scripts expect.
const STRICT: &str = "MQADMIN_STRICT_EXIT";

/// Runs the command line (without the program's name) and returns the exit code.
pub fn main(words: &[String]) -> i32 {
    match words {
        [] => {
            list_commands();
            0
        }
        [word] if word == "--version" => {
            outln!("mqadmin {}", env!("CARGO_PKG_VERSION"));
            0
        }
        [word, name, ..] if word == "help" => match find(name) {
            Some(row) => {
                out!("{}", options::help(row.name, row.options));
                0
            }
            None => unknown(name),
        },
        [name, rest @ ..] => match find(name) {
            Some(row) => run(row, rest),
            None => unknown(name),
        },
    }
}

fn run(row: &Row, words: &[String]) -> i32 {
    let args = match options::parse(row.options, words) {
        Ok(args) if args.has("h") => {
            out!("{}", options::help(row.name, row.options));
            return 0;
        }
        Ok(args) => args,
        Err(reason) => {
            out!("{}", options::help(row.name, row.options));
            complain(reason);
            return 1;
        }
    };
    match connect(&args).and_then(|admin| (row.run)(&admin, &args)) {
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("{} command failed\n{error}", row.name));
            i32::from(std::env::var_os(STRICT).is_some())
        }
    }
}

/// The name servers of `-n`, or of the environment.
fn connect(args: &Args) -> Result<client::Admin> {
    let list = match args.get("n") {
        Some(list) => list.to_string(),
        None => std::env::var("NAMESRV_ADDR").map_err(|_| {
            Error::Config("no name server: give -n HOST:PORT or set NAMESRV_ADDR".into())
        })?,
    };
    client::Admin::start(&list)
}

fn find(name: &str) -> Option<&'static Row> {
    COMMANDS.iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> i32 {
    outln!("The sub command {name} not exist.");
    0
}

fn list_commands() {
    outln!("The most commonly used mqadmin commands are:");
    for row in COMMANDS {
        outln!("   {:<20} {}", row.name, row.doc);
    }
    outln!("\nSee 'mqadmin help <command>' for more information on a specific command.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_options_are_unique() {
        for (index, row) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            for (at, option) in row.options.iter().enumerate() {
                let earlier = row.options[..at].iter().chain(&options::COMMON);
                for other in earlier {
                    assert_ne!(other.short, option.short, "{} -{}", row.name, option.short);
                    assert_ne!(other.long, option.long, "{} --{}", row.name, option.long);
                }
            }
        }
    }

    #[test]
    fn commands_are_found_in_any_case() {
        assert_eq!(find("topicroute").unwrap().name, "topicRoute");
        assert!(find("help").is_none());
    }
}
