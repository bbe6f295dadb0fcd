//! The JSON header: read in one pass, straight into a Command, with fastjson's leniency; written in
//! the order in which Java writes it.

use crate::base::json::{self, Scanner};
use crate::base::{Error, Result};
use crate::protocol::command::{Command, Fields, language_name};
use crate::protocol::command::{language_of_name, language_of_number};

/// Reads the header of a frame into a new command; `Err` where Java closes the connection.
pub fn decode(header: &[u8], command: &mut Command) -> Result<()> {
    read(header, command, ext_fields)
}

/// The same but for the ext fields, which are passed over.
pub fn decode_head(header: &[u8], command: &mut Command) -> Result<()> {
    read(header, command, no_fields)
}

/// Reads the ext fields.
type ReadFields = fn(&mut Scanner<'_>) -> Result<Option<Fields>>;

fn read(header: &[u8], command: &mut Command, fields: ReadFields) -> Result<()> {
    let text = json::lossy(header);
    let read = members(&mut Scanner::new(&text), command, fields);
    read.map_err(|error| Error::Protocol(format!("header: {error}")))
}

fn members(scanner: &mut Scanner<'_>, command: &mut Command, fields: ReadFields) -> Result<()> {
    scanner.expect(b'{')?;
    while !scanner.closes(b'}')? {
        match scanner.plain_name() {
            Some(name) => member(command, &scanner.all()[name], scanner, fields)?,
            None => member(command, &scanner.name()?, scanner, fields)?,
        }
    }
    scanner.end()
}

const MEMBERS: [&str; 7] = ["code", "extFields", "flag", "language", "opaque", "remark", "version"];

fn member(
    command: &mut Command,
    name: &str,
    scanner: &mut Scanner<'_>,
    fields: ReadFields,
) -> Result<()> {
    match name {
        "code" => command.code = int(scanner)?,
        "flag" => command.flag = int(scanner)?,
        "opaque" => command.opaque = int(scanner)?,
        "version" => command.version = int(scanner)?,
        "language" => command.language = language(scanner)?,
        "remark" => {
            let mut remark = String::new();
            command.remark = push_value(scanner, &mut remark)?.then_some(remark);
        }
        "extFields" => command.fields = fields(scanner)?,
        // The frame says which codec it is.
        "serializeTypeCurrentRPC" => {
            scanner.raw()?;
        }
        other => match MEMBERS.iter().find(|known| json::same_name(other, known)) {
            Some(known) => member(command, known, scanner, fields)?,
            None => {
                scanner.raw()?;
            }
        },
    }
    Ok(())
}

/// A number, or its text; 0 when null.
fn int(scanner: &mut Scanner<'_>) -> Result<i32> {
    if let Some(value) = scanner.plain_number() {
        return Ok(value);
    }
    let here = scanner.clone();
    let mut text = String::new();
    let word = match scanner.peek()? {
        Some(b'"' | b'\'') => {
            scanner.push_text(&mut text)?;
            text.as_str()
        }
        _ => scanner.word()?,
    };
    if let Ok(value) = word.parse() {
        return Ok(value);
    }
    match word {
        "" | "null" | "false" => return Ok(0),
        "true" => return Ok(1),
        _ => {}
    }
    let float = word.parse::<f64>().ok().map(f64::trunc);
    let float = float.filter(|value| (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(value));
    float.map(|value| value as i32).ok_or_else(|| here.error("expected a number"))
}

fn language(scanner: &mut Scanner<'_>) -> Result<u8> {
    let here = scanner.clone();
    if matches!(scanner.peek()?, Some(b'"' | b'\'')) {
        return Ok(language_of_name(&scanner.text()?));
    }
    let word = scanner.word()?;
    if word == "null" {
        return Ok(language_of_name(""));
    }
    let number = word.parse().ok().and_then(language_of_number);
    number.ok_or_else(|| here.error("unknown language number"))
}

fn no_fields(scanner: &mut Scanner<'_>) -> Result<Option<Fields>> {
    if !opens_fields(scanner)? {
        return Ok(None);
    }
    loop {
        scanner.plain_members(|_, _| ());
        if scanner.closes(b'}')? {
            return Ok(None);
        }
        scanner.name()?;
        scanner.raw()?;
    }
}

/// Takes the bracket that the fields begin with; false when there is null instead.
fn opens_fields(scanner: &mut Scanner<'_>) -> Result<bool> {
    if scanner.peek()? == Some(b'{') {
        scanner.expect(b'{')?;
        return Ok(true);
    }
    let here = scanner.clone();
    match scanner.word() {
        Ok("null") => Ok(false),
        _ => Err(here.error("extFields is no object")),
    }
}

fn ext_fields(scanner: &mut Scanner<'_>) -> Result<Option<Fields>> {
    if !opens_fields(scanner)? {
        return Ok(None);
    }
    let mut fields = Fields::out_of(scanner.all());
    loop {
        scanner.plain_members(|name, value| fields.push_found(name, value));
        if scanner.closes(b'}')? {
            return Ok(Some(fields));
        }
        let name = match scanner.plain_name() {
            Some(name) => name,
            None => {
                let name = scanner.name()?;
                fields.append(|text| text.push_str(&name))
            }
        };
        let mut found = Ok(true);
        let value = fields.append(|text| found = push_value(scanner, text));
        if found? {
            fields.push_found(name, value);
        }
    }
}

/// Appends a value as text: a text itself, of anything else its JSON. False when it is null.
fn push_value(scanner: &mut Scanner<'_>, out: &mut String) -> Result<bool> {
    if matches!(scanner.peek()?, Some(b'"' | b'\'')) {
        scanner.push_text(out)?;
        return Ok(true);
    }
    let raw = scanner.raw()?;
    if raw == "null" {
        return Ok(false);
    }
    out.push_str(raw);
    Ok(true)
}

/// Appends the header of a command.
pub fn encode(command: &Command, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    json::push_number(out, command.code.into());
    if let Some(fields) = &command.fields {
        out.extend_from_slice(b",\"extFields\":{");
        match fields.as_json() {
            Some(json) => out.extend_from_slice(json.as_bytes()),
            None => push_fields(out, fields),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    json::push_number(out, command.flag.into());
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(language_name(command.language).as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    json::push_number(out, command.opaque.into());
    if let Some(remark) = &command.remark {
        out.extend_from_slice(b",\"remark\":\"");
        json::push_escaped(out, remark);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    json::push_number(out, command.version.into());
    out.push(b'}');
}

fn push_fields(out: &mut Vec<u8>, fields: &Fields) {
    for (index, (name, value)) in fields.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        json::push_escaped(out, name);
        out.extend_from_slice(b"\":\"");
        json::push_escaped(out, value);
        out.push(b'"');
    }
}
