use std::time::Instant;

use super::Expression;
use crate::base::limits::{SQL_BYTES_MAX, SQL_DEPTH_MAX, SQL_OPERATIONS_MAX, SQL_VARIABLES_MAX};
use crate::message::property;

const CASES: &str = include_str!("../../../tests/data/sql/cases.txt");
/// Made by Java: tests/data/sql/Table.java says how.
const TABLE: &str = include_str!("../../../tests/data/sql/table.txt");

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match (c, if c == '\\' { chars.next() } else { None }) {
            (_, Some('n')) => '\n',
            (_, Some('t')) => '\t',
            (_, Some('r')) => '\r',
            (_, Some('f')) => '\u{c}',
            (_, Some(other)) => other,
            (c, None) => c,
        });
    }
    out
}

fn property_set(line: &str) -> String {
    let mut parts = line.split('\t').skip(1);
    let mut properties = String::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        property::push(&mut properties, name, value);
    }
    properties
}

fn letters(expression: &str, sets: &[String]) -> String {
    let Ok(parsed) = Expression::parse(expression) else { return "E".into() };
    let letter = |properties: &String| match parsed.evaluate(properties) {
        Ok(Some(true)) => 'T',
        Ok(Some(false)) => 'F',
        Ok(None) => 'N',
        Err(_) => 'X',
    };
    sets.iter().map(letter).collect()
}

#[test]
fn every_case_of_the_table_is_as_java_has_it() {
    let sets: Vec<String> =
        CASES.lines().filter(|line| line.starts_with('@')).map(property_set).collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in TABLE.split_terminator('\n') {
        let (expected, expression) = line.split_once('\t').unwrap();
        let found = letters(&unescape(expression), &sets);
        if found != expected {
            wrong.push(format!("{expression}\n  java {expected}\n  here {found}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 1000 && sets.len() == 10);
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        ("", "a value is missing at character 1"),
        ("a > ", "a value is missing at character 5"),
        ("ä = 1", "ä stands where a word or a sign is expected at character 1"),
        ("a = 'ö' AND ?", "? stands where a word or a sign is expected at character 13"),
        ("a in (1)", "1 stands where a string is expected at character 7"),
        ("(a = 1 b", "b stands where ) is expected at character 8"),
        ("a > 'x'", "only numbers are greater or less at character 5"),
        ("a = 99999999999999999999", "an integer that 64 bits do not hold at character 5"),
        ("a = 'x", "' stands where a word or a sign is expected at character 5"),
    ] {
        assert_eq!(Expression::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn length_depth_and_cost_are_bounded() {
    let nested = |depth| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(SQL_DEPTH_MAX)).is_ok());
    assert!(Expression::parse(&nested(SQL_DEPTH_MAX + 1)).is_err());
    for prefix in ["NOT ", "+", "- ", "(-"] {
        assert!(Expression::parse(&prefix.repeat(SQL_BYTES_MAX / 5)).is_err());
    }
    let chain = |count| format!("a = 1{}", " = 1".repeat(count - 1));
    assert!(Expression::parse(&chain(SQL_OPERATIONS_MAX)).is_ok_and(|e| !e.matches("a\u{1}1")));
    assert!(Expression::parse(&chain(SQL_OPERATIONS_MAX + 1)).is_err());
    let names = |count| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>().join(" OR ");
    assert!(Expression::parse(&names(SQL_VARIABLES_MAX)).is_ok());
    assert!(Expression::parse(&names(SQL_VARIABLES_MAX + 1)).is_err());
    let long = format!("a IN ('{}')", "x".repeat(SQL_BYTES_MAX));
    assert!(Expression::parse(&long).unwrap_err().to_string().contains("at most"));
}

#[test]
fn of_several_properties_the_last_counts() {
    let expression = Expression::parse("a = 'y' AND b IS NULL").unwrap();
    assert!(expression.matches("a\u{1}x\u{2}b\u{1}\u{2}a\u{1}y\u{2}c"));
    assert!(!expression.matches("a\u{1}y\u{2}a\u{1}x"));
    assert!(expression.matches("\u{2}\u{1}\u{2}a\u{1}y"));
}

proptest::proptest! {
    #[test]
    fn no_text_does_harm(text in "[ -~\\n]{0,60}", values in "[ -~\u{1}\u{2}]{0,60}") {
        if let Ok(expression) = Expression::parse(&text) {
            let _ = expression.evaluate(&values);
        }
    }

    #[test]
    fn no_row_of_words_does_harm(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "a", "b", "1", "2.5", "'x'", "=", "<>", ">", "<=", "(", ")", "NOT", "AND", "OR", "IN",
            "BETWEEN", "IS", "NULL", "TRUE", "+", "-", ",", "5L", "/*", "*/", "--",
        ]), 0..30),
        value in "[0-9a-z.]{0,5}",
    ) {
        if let Ok(expression) = Expression::parse(&words.join(" ")) {
            let _ = expression.evaluate(&format!("a\u{1}{value}\u{2}b\u{1}1"));
        }
    }
}

/// `cargo test --release --lib sql -- --ignored --nocapture` prints the speed.
#[test]
#[ignore = "a measurement"]
fn speed_of_five_terms() {
    let text = "i > 1 AND j <= 9 AND d > 0.5 AND s = 'abc' AND t IN ('x', 'y')";
    let expression = Expression::parse(text).unwrap();
    let properties = property::from_pairs([
        ("UNIQ_KEY", "7F00000100002A139A5518B4AAC20000"),
        ("KEYS", "order-123456"),
        ("i", "5"),
        ("j", "7"),
        ("d", "2.5"),
        ("s", "abc"),
        ("t", "y"),
        ("TAGS", "TagA"),
        ("CLUSTER", "DefaultCluster"),
    ]);
    let began = Instant::now();
    let count = 5_000_000;
    let matched = (0..count).filter(|_| expression.matches(std::hint::black_box(&properties)));
    assert_eq!(matched.count(), count);
    let nanos = began.elapsed().as_nanos() / count as u128;
    println!("{nanos} ns an evaluation, {} a second", 1_000_000_000 / nanos.max(1));
}
