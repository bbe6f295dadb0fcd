//! The house rules of the source, checked on the source.

use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const INLINE_TEST_LINES_MAX: usize = 250;

/// The places where `unsafe` is allowed.
const UNSAFE_PLACES: [&str; 2] = ["src/sys/", "src/store/mapped.rs"];

/// Each top module of src/ with those that it may use, besides itself.
const USES: &[(&str, &[&str])] = &[
    ("base", &["sys"]),
    ("sys", &["base"]),
    ("config", &["base", "sys"]),
    ("message", &["base", "sys"]),
    ("protocol", &["base", "sys", "config", "message"]),
    ("net", &["base", "sys", "config", "message", "protocol"]),
    ("dispatch", &["base", "sys", "config", "message", "protocol", "net"]),
    ("store", &["base", "sys", "config", "message"]),
    ("namesrv", &["base", "sys", "config", "message", "protocol", "net", "dispatch"]),
    ("broker", &["base", "sys", "config", "message", "protocol", "net", "dispatch", "store"]),
    ("client", &["base", "sys", "config", "message", "protocol", "net"]),
    ("admin", &["base", "sys", "config", "message", "protocol", "net", "client"]),
    ("bench", &["base", "sys", "config", "message", "protocol", "store"]),
];

/// These stand above all others and may use every module.
const TOP: [&str; 3] = ["cli", "bin", "lib"];

/// Not to be in the source: it stands for work left undone, or for a look while debugging. Built at
/// run time, so that this list is not a finding.
fn banned() -> Vec<String> {
    ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!(")).to_vec()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path from the root, and text, of every file below `folder` with this ending.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                if path.file_name().is_some_and(|n| n != "target" && n != "node_modules") {
                    folders.push(path);
                }
            } else if path.to_string_lossy().ends_with(ending)
                && let Ok(text) = fs::read_to_string(&path)
            {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((name, text));
            }
        }
    }
    found
}

fn rust_files() -> Vec<(String, String)> {
    let mut all = files("src", ".rs");
    all.extend(files("tests", ".rs").into_iter().filter(|(n, _)| !n.starts_with("tests/interop")));
    all
}

fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// `name:line: what` for each line that `what` finds fault with.
fn faults(files: &[(String, String)], what: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, text) in files {
        for (index, line) in text.lines().enumerate() {
            findings.extend(what(name, line).map(|what| format!("{name}:{}: {what}", index + 1)));
        }
    }
    findings
}

#[test]
fn lines_are_short_and_calls_allowed() {
    let banned = banned();
    none(faults(&rust_files(), |name, line| {
        let columns = line.chars().count();
        // Bytes that a test compares with may stand as they were captured.
        let captured = name.ends_with("tests.rs") && line.contains('"');
        if columns > COLUMNS_MAX && !captured {
            return Some(format!("{columns} columns"));
        }
        if line.contains('\t') || line.ends_with(' ') {
            return Some("tab, or blank at the end".to_string());
        }
        banned.iter().find(|call| line.contains(*call)).map(|call| format!("{call} is banned"))
    }));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut findings = Vec::new();
    for (name, text) in rust_files() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{name}: {lines} lines"));
        }
        let tests = text.lines().skip_while(|line| !line.starts_with("mod tests {")).count();
        if tests > INLINE_TEST_LINES_MAX {
            findings.push(format!("{name}: {tests} lines of inline tests"));
        }
        if !name.ends_with("/tests.rs") && !text.starts_with("//! ") {
            findings.push(format!("{name}: no module doc"));
        }
    }
    none(findings);
}

/// Counts from a line that declares a function to the closing brace at the same indentation, which
/// is where rustfmt puts it.
#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for (name, text) in rust_files() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let is_function = ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn ", "const fn "]
                .iter()
                .any(|form| code.starts_with(form));
            if !is_function || code.ends_with('}') || code.ends_with(';') {
                continue;
            }
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let length = lines[start..].iter().position(|line| *line == end).unwrap_or(0) + 1;
            if length > FUNCTION_LINES_MAX {
                findings.push(format!("{name}:{}: function of {length} lines", start + 1));
            }
        }
    }
    none(findings);
}

#[test]
fn unsafe_stays_in_its_places() {
    let sources = files("src", ".rs");
    none(faults(&sources, |name, line| {
        let code = line.split("//").next().unwrap_or_default();
        let is_unsafe = code.contains("unsafe {")
            || code.contains("unsafe fn")
            || code.contains("unsafe impl")
            || code.contains("allow(unsafe_code)");
        let allowed = UNSAFE_PLACES.iter().any(|place| name.starts_with(place));
        (is_unsafe && !allowed).then(|| "unsafe outside its places".to_string())
    }));
}

/// The top module that a file belongs to.
fn module(name: &str) -> &str {
    name.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default()
}

/// Position and name of the top modules that `crate::...` paths name, `crate::{a, b::c}` included.
fn used(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        if !rest.starts_with('{') {
            used.push((at, first_word(rest)));
            continue;
        }
        let mut depth = 0;
        for (index, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => (),
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && (c == '{' || c == ',') {
                used.push((at, first_word(&rest[index + 1..])));
            }
        }
    }
    used.retain(|(_, name)| !name.is_empty());
    used
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The text with what stands behind `//` left out, lines kept.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_string() + "\n")
        .collect()
}

#[test]
fn imports_go_one_way() {
    let known = |module: &str| USES.iter().find(|(name, _)| *name == module);
    let mut findings = Vec::new();
    for (name, text) in files("src", ".rs") {
        let module = module(&name);
        if TOP.contains(&module) {
            continue;
        }
        let Some((_, allowed)) = known(module) else {
            findings.push(format!("{name}: module {module} is not in the table"));
            continue;
        };
        let code = without_comments(&text);
        for (at, used) in used(&code) {
            let top = known(&used).is_some() || used == "cli";
            if top && used != module && !allowed.contains(&used.as_str()) {
                let line = code[..at].lines().count().max(1);
                findings.push(format!("{name}:{line}: {module} uses {used}"));
            }
        }
    }
    none(findings);
}

#[test]
fn imports_are_found_in_all_forms() {
    let names = |code: &str| {
        used(&without_comments(code)).into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(names("use crate::base::Error;"), ["base"]);
    assert_eq!(names("use crate::{\n    base::{x, y},\n    net,\n};"), ["base", "net"]);
    assert_eq!(names("let x = crate::store::f(crate::net::y);"), ["store", "net"]);
    assert_eq!(names("//! crate::store is above"), [] as [String; 0]);
    assert_eq!(names("$crate::config::Row"), ["config"]);
}

/// No path of one person's machine, and nothing about how the project is worked on.
#[test]
fn nothing_names_a_workplace() {
    let places = ["work/", "home/user", "Users/"].map(|place| format!("/{place}"));
    let mut all = rust_files();
    for (folder, ending) in
        [("etc", ""), ("man", ""), ("scripts", ""), ("tests/interop", ""), ("tests/bench", "")]
    {
        all.extend(files(folder, ending));
    }
    none(faults(&all, |_, line| {
        places.iter().find(|place| line.contains(*place)).map(|place| format!("names {place}"))
    }));
}
