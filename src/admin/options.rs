//! The option syntax of mqadmin: commons-cli's PosixParser and HelpFormatter, as users know them.

use std::collections::HashMap;
use std::fmt::Write;
use std::str::FromStr;

use crate::base::{Error, Result, clock};

/// Width of the help text in columns.
const WIDTH: usize = 110;

/// Whether an option must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Optional,
    Required,
    /// Exactly one of all options of the command with this mark.
    OneOf,
}

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// One or two letters.
    pub short: &'static str,
    pub long: &'static str,
    /// Whether a value follows.
    pub value: bool,
    pub need: Need,
    pub doc: &'static str,
}

impl Opt {
    /// An optional option with a value.
    pub const fn value(short: &'static str, long: &'static str, doc: &'static str) -> Opt {
        Opt { short, long, value: true, need: Need::Optional, doc }
    }

    /// An option without a value.
    pub const fn flag(short: &'static str, long: &'static str, doc: &'static str) -> Opt {
        Opt { short, long, value: false, need: Need::Optional, doc }
    }

    /// The same, required.
    pub const fn required(mut self) -> Opt {
        self.need = Need::Required;
        self
    }

    /// The same, one of an exclusive group of which one is required.
    pub const fn one_of(mut self) -> Opt {
        self.need = Need::OneOf;
        self
    }
}

/// The options every command has.
pub const COMMON: [Opt; 2] = [
    Opt::flag("h", "help", "Print help"),
    Opt::value(
        "n",
        "namesrvAddr",
        "Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'",
    ),
];

/// What was given, by short name.
#[derive(Debug, Default)]
pub struct Args {
    given: HashMap<&'static str, String>,
}

impl Args {
    /// The trimmed value of an option.
    pub fn get(&self, short: &str) -> Option<&str> {
        self.given.get(short).map(|value| value.trim())
    }

    /// Whether the option was given.
    pub fn has(&self, short: &str) -> bool {
        self.given.contains_key(short)
    }

    /// The value of an option, or a default.
    pub fn get_or<'a>(&'a self, short: &str, default: &'a str) -> &'a str {
        self.get(short).unwrap_or(default)
    }

    /// The value of a required option; empty when the table did not require it.
    pub fn required(&self, short: &str) -> &str {
        self.get_or(short, "")
    }

    /// RocketMQ's booleans: `true` in any case, anything else is false.
    pub fn is_true(&self, short: &str) -> bool {
        self.get(short).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A number, or a default.
    pub fn number<T: FromStr>(&self, short: &str, default: T) -> Result<T> {
        Ok(self.number_if_given(short)?.unwrap_or(default))
    }

    /// A number.
    pub fn number_if_given<T: FromStr>(&self, short: &str) -> Result<Option<T>> {
        let read = |text: &str| {
            text.parse().map_err(|_| Error::Config(format!("-{short} {text}: expected a number")))
        };
        self.get(short).map(read).transpose()
    }

    /// A time in ms: a number, or `yyyy-MM-dd#HH:mm:ss:SSS` in local time.
    pub fn timestamp(&self, short: &str) -> Result<Option<i64>> {
        let read = |text: &str| {
            text.parse().ok().or_else(|| clock::parse_local(text)).ok_or_else(|| {
                Error::Config(format!("-{short} {text}: expected ms or yyyy-MM-dd#HH:mm:ss:SSS"))
            })
        };
        self.get(short).map(read).transpose()
    }
}

/// Reads the words behind a command's name; `Err` says what was wrong.
pub fn parse(options: &[Opt], words: &[String]) -> std::result::Result<Args, String> {
    let mut args = Args::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if !word.starts_with('-') || word == "-" {
            continue;
        }
        take(options, word, &mut words, &mut args)?;
    }
    check_required(options, &args)?;
    Ok(args)
}

/// Handles one word that begins with a dash, and the value behind it.
fn take<'w>(
    options: &[Opt],
    word: &str,
    words: &mut impl Iterator<Item = &'w String>,
    args: &mut Args,
) -> std::result::Result<(), String> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (long, None),
        };
        let option = by_long(options, name).ok_or(format!("Unrecognized option: {word}"))?;
        return store(args, option, value, words);
    }
    let name = &word[1..];
    if let Some(option) = by_short(options, name).or_else(|| by_long(options, name)) {
        return store(args, option, None, words);
    }
    // Bundled flags and `-tX`: letters one after another; one that takes a value eats the rest.
    for (at, letter) in name.char_indices() {
        let short = &name[at..at + letter.len_utf8()];
        let option = by_short(options, short).ok_or(format!("Unrecognized option: {word}"))?;
        let rest = &name[at + letter.len_utf8()..];
        if option.value && !rest.is_empty() {
            return store(args, option, Some(rest.to_string()), words);
        }
        store(args, option, None, words)?;
    }
    Ok(())
}

fn store<'w>(
    args: &mut Args,
    option: &Opt,
    value: Option<String>,
    words: &mut impl Iterator<Item = &'w String>,
) -> std::result::Result<(), String> {
    let value = match (option.value, value) {
        (false, _) => String::new(),
        (true, Some(value)) => value,
        (true, None) => {
            words.next().ok_or(format!("Missing argument for option: {}", option.short))?.clone()
        }
    };
    let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let value = unquoted.map_or(value.clone(), str::to_string);
    args.given.entry(option.short).or_insert(value);
    Ok(())
}

fn check_required(options: &[Opt], args: &Args) -> std::result::Result<(), String> {
    let missing = options.iter().find(|o| o.need == Need::Required && !args.has(o.short));
    if let Some(option) = missing {
        return Err(format!("Missing required option: {}", option.short));
    }
    let group: Vec<&Opt> = options.iter().filter(|o| o.need == Need::OneOf).collect();
    let given = group.iter().filter(|option| args.has(option.short)).count();
    if !group.is_empty() && given != 1 {
        let names: Vec<&str> = group.iter().map(|option| option.short).collect();
        return Err(format!("Exactly one of these options is required: {}", names.join(", ")));
    }
    Ok(())
}

fn by_short<'o>(options: &'o [Opt], name: &str) -> Option<&'o Opt> {
    options.iter().chain(&COMMON).find(|option| option.short == name)
}

/// Some of RocketMQ's long names end in a blank; with and without it are accepted.
fn by_long<'o>(options: &'o [Opt], name: &str) -> Option<&'o Opt> {
    options.iter().chain(&COMMON).find(|option| option.long.trim() == name.trim())
}

/// The help of a command.
pub fn help(command: &str, options: &[Opt]) -> String {
    let mut all: Vec<&Opt> = options.iter().chain(&COMMON).collect();
    all.sort_by_key(|option| option.short.to_lowercase());
    let mut text = synopsis(command, &all);
    let heads: Vec<String> = all.iter().map(|option| head(option)).collect();
    let column = heads.iter().map(String::len).max().unwrap_or(0) + 3;
    for (option, head) in all.iter().zip(&heads) {
        let mut lines = wrap(option.doc, WIDTH - column, 0).into_iter();
        let _ = writeln!(text, "{head:column$}{}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "{:column$}{line}", "");
        }
    }
    text
}

fn head(option: &Opt) -> String {
    let arg = if option.value { " <arg>" } else { "" };
    format!(" -{},--{}{arg}", option.short, option.long)
}

fn synopsis(command: &str, options: &[&Opt]) -> String {
    let mut words = vec!["usage:".to_string(), "mqadmin".to_string(), command.to_string()];
    let mut group_done = false;
    for option in options {
        let arg = if option.value { " <arg>" } else { "" };
        match option.need {
            Need::Optional => words.push(format!("[-{}{arg}]", option.short)),
            Need::Required => words.push(format!("-{}{arg}", option.short)),
            Need::OneOf if group_done => {}
            Need::OneOf => {
                group_done = true;
                let group = options.iter().filter(|option| option.need == Need::OneOf);
                let names: Vec<String> = group.map(|o| format!("-{} <arg>", o.short)).collect();
                words.push(format!("{} ", names.join(" | ")));
            }
        }
    }
    let mut text = String::new();
    for line in wrap(&words.join(" "), WIDTH, "usage: ".len()) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Breaks at blanks; lines behind the first begin with `indent` blanks.
fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(format!("{:indent$}{word}", ""));
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: [Opt; 2] = [
        Opt::value("t", "topic", "topic name").required(),
        Opt::flag("l", "list", "Use list format"),
    ];
    const UPDATE: [Opt; 3] = [
        Opt::value("b", "brokerAddr", "one broker").one_of(),
        Opt::value("c", "clusterName", "all masters").one_of(),
        Opt::value("s", "beginTimestamp ", "begin"),
    ];

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn every_spelling_of_a_value_is_read() {
        for line in ["-t X", "-tX", "--topic X", "--topic=X", "-topic X", "-lt X", "pos -t X pos"] {
            let args = parse(&ROUTE, &words(line)).unwrap();
            assert_eq!(args.get("t"), Some("X"), "{line}");
        }
        assert!(parse(&ROUTE, &words("-lt X")).unwrap().has("l"));
        assert_eq!(parse(&ROUTE, &words("-t \"X\"")).unwrap().get("t"), Some("X"));
        assert_eq!(parse(&ROUTE, &words("-t X -t Y")).unwrap().get("t"), Some("X"));
        assert_eq!(parse(&UPDATE, &words("-b a -s -1")).unwrap().get("s"), Some("-1"));
        assert_eq!(parse(&UPDATE, &words("-b a --beginTimestamp 5")).unwrap().get("s"), Some("5"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse(&ROUTE, &[]).unwrap_err().contains("required option: t"));
        assert!(parse(&ROUTE, &words("-t")).unwrap_err().contains("Missing argument"));
        assert!(parse(&ROUTE, &words("-t X -z")).unwrap_err().contains("Unrecognized"));
        assert!(parse(&UPDATE, &words("-b a -c b")).is_err());
        assert!(parse(&UPDATE, &[]).unwrap_err().contains("b, c"));
    }

    #[test]
    fn a_long_synopsis_is_wrapped_as_commons_cli_does() {
        let short = |name| Opt::value(name, "long", "doc");
        let options = [
            UPDATE[0],
            UPDATE[1],
            short("o"),
            short("p"),
            short("r"),
            short("s"),
            short("t").required(),
            short("u"),
            short("w"),
        ];
        let text = help("updateTopic", &options);
        let mut lines = text.lines();
        let first = "usage: mqadmin updateTopic -b <arg> | -c <arg>  [-h] [-n <arg>] [-o <arg>] \
                     [-p <arg>] [-r <arg>] [-s <arg>] -t";
        assert_eq!(lines.next(), Some(first));
        assert_eq!(lines.next(), Some("       <arg> [-u <arg>] [-w <arg>]"));
    }

    #[test]
    fn help_has_the_known_shape() {
        let text = help("topicRoute", &ROUTE);
        let first = text.lines().next().unwrap();
        assert_eq!(first, "usage: mqadmin topicRoute [-h] [-l] [-n <arg>] -t <arg>");
        assert!(text.contains("\n -t,--topic <arg>         topic name\n"), "{text}");
        assert!(help("updateTopic", &UPDATE).contains("-b <arg> | -c <arg> "));
    }
}
