//! What a SQL92 filter expression says about a message.
//!
//! Conditions are true, false or null. A property is text or, where the message has none of that
//! name, null. Compared with a number, text is read as a number of that type; when that fails, the
//! whole evaluation fails, wherever it happens, and the message does not match. Null equals null
//! and is unequal to a value on its left; a null on the left of `=` gives null.
//!
//! Two things that Java reads as numbers are not numbers here: hexadecimal fractions (`0x1p3`) and
//! digits outside ASCII.

use std::cmp::Ordering;

use super::property::{NAME_VALUE_SEPARATOR, SEPARATOR_BYTE};
use super::sql::{Constant, Expression, Node, Order};
use crate::base::limits::SQL_VARIABLES_MAX;

/// An evaluation that came to no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// The values of the variables.
type Values<'a> = [Option<&'a str>];

impl Expression {
    /// Whether a message with this property string is wanted.
    pub fn matches(&self, properties: &str) -> bool {
        self.evaluate(properties) == Ok(Some(true))
    }

    /// True, false, or null (`None`).
    pub fn evaluate(&self, properties: &str) -> Result<Option<bool>, Failed> {
        let mut values = [None; SQL_VARIABLES_MAX];
        let values = &mut values[..self.variables.len()];
        self.fill(properties, values);
        self.root.condition(values)
    }

    /// Looks all variables up in one walk; of several properties with one name the last counts.
    fn fill<'a>(&self, properties: &'a str, values: &mut Values<'a>) {
        let separator = NAME_VALUE_SEPARATOR as u8;
        let bytes = properties.as_bytes();
        let mut start = 0;
        while start < bytes.len() {
            let rest = &bytes[start..];
            let end = find(rest, SEPARATOR_BYTE).unwrap_or(rest.len());
            if let Some(len) = find(&rest[..end], separator)
                && len + 1 < end
            {
                for (variable, value) in self.variables.iter().zip(values.iter_mut()) {
                    if variable.as_bytes() == &rest[..len] {
                        *value = properties.get(start + len + 1..start + end);
                    }
                }
            }
            start += end + 1;
        }
    }
}

fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    bytes.iter().position(|found| *found == byte)
}

impl Constant {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Constant::Null => Value::Null,
            Constant::Bool(value) => Value::Bool(*value),
            Constant::Int(value) => Value::Int(*value),
            Constant::Long(value) => Value::Long(*value),
            Constant::Double(value) => Value::Double(*value),
            Constant::Text(text) => Value::Text(text),
        }
    }
}

impl Node {
    /// The value of a node that the parser knows to be a condition.
    fn condition(&self, values: &Values) -> Result<Option<bool>, Failed> {
        match self {
            Node::Not(inner) => Ok(inner.condition(values)?.map(|value| !value)),
            Node::Cast(index) => Ok(values[*index].map(|_| false)),
            Node::And(parts) => fold(parts, values, false),
            Node::Or(parts) => fold(parts, values, true),
            Node::Equal(sides) => equal(sides.0.value(values)?, sides.1.value(values)?),
            Node::Compare(order, sides) => compare(*order, &sides.0, &sides.1, values),
            Node::In { variable, words, not } => Ok(values[*variable].map(|value| {
                let found = words.binary_search_by(|word| word.as_str().cmp(value)).is_ok();
                found != *not
            })),
            Node::Constant(Constant::Bool(value)) => Ok(Some(*value)),
            Node::Constant(_) | Node::Variable(_) | Node::Negate(_) => Ok(None),
        }
    }

    fn value<'a>(&'a self, values: &Values<'a>) -> Result<Value<'a>, Failed> {
        Ok(match self {
            Node::Constant(constant) => constant.value(),
            Node::Variable(index) => values[*index].map_or(Value::Null, Value::Text),
            Node::Negate(inner) => match inner.value(values)? {
                Value::Int(value) => Value::Int(value.wrapping_neg()),
                Value::Long(value) => Value::Long(value.wrapping_neg()),
                Value::Double(value) => Value::Double(-value),
                _ => Value::Null,
            },
            _ => self.condition(values)?.map_or(Value::Null, Value::Bool),
        })
    }
}

/// AND, which a false part decides, and OR, which a true one does: in order, and what comes behind
/// the deciding part is not evaluated.
fn fold(parts: &[Node], values: &Values, decides: bool) -> Result<Option<bool>, Failed> {
    let mut result = Some(!decides);
    for part in parts {
        match part.condition(values)? {
            Some(value) if value == decides => return Ok(Some(decides)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn equal(left: Value, right: Value) -> Result<Option<bool>, Failed> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Some(true)),
        (Value::Null, _) => Ok(None),
        (_, Value::Null) => Ok(Some(false)),
        (left, right) => order(&left, &right).map(|order| Some(order.is_eq())),
    }
}

fn compare(order_wanted: Order, left: &Node, right: &Node, values: &Values) -> Condition {
    let left = left.value(values)?;
    if matches!(left, Value::Null) {
        return Ok(None);
    }
    let found = match (left, right.value(values)?) {
        (_, Value::Null) => return Ok(None),
        (Value::Text(left), Value::Text(right)) => double_order(double(left)?, double(right)?),
        (left, right) => order(&left, &right)?,
    };
    Ok(Some(match order_wanted {
        Order::Greater => found.is_gt(),
        Order::GreaterOrEqual => found.is_ge(),
        Order::Less => found.is_lt(),
        Order::LessOrEqual => found.is_le(),
    }))
}

type Condition = Result<Option<bool>, Failed>;

/// The order of two values that are not null; text takes the type of the other side. What cannot be
/// compared is unequal, and the left side less.
pub(super) fn order(left: &Value, right: &Value) -> Result<Ordering, Failed> {
    use Value::{Bool, Double, Int, Long, Text};
    Ok(match (*left, *right) {
        (Text(left), Text(right)) => left.cmp(right),
        (Bool(left), Bool(right)) => left.cmp(&right),
        (Text(left), Bool(right)) => left.eq_ignore_ascii_case("true").cmp(&right),
        (Bool(_), Text(_)) => return Err(Failed),
        (Text(left), Int(right)) => integer::<i32>(left)?.cmp(&right),
        (Int(left), Text(right)) => left.cmp(&integer(right)?),
        (Text(left), Long(right)) => integer::<i64>(left)?.cmp(&right),
        (Long(left), Text(right)) => left.cmp(&integer(right)?),
        (Text(left), Double(right)) => double_order(double(left)?, right),
        (Double(left), Text(right)) => double_order(left, double(right)?),
        (Int(left), Int(right)) => left.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Int(left), Double(right)) => double_order(left.into(), right),
        (Double(left), Int(right)) => double_order(left, right.into()),
        (Long(left), Double(right)) => double_order(left as f64, right),
        (Double(left), Long(right)) => double_order(left, right as f64),
        (Double(left), Double(right)) => double_order(left, right),
        _ => Ordering::Less,
    })
}

/// Java's order: −0.0 is less than 0.0, NaN is the greatest and equals itself.
fn double_order(left: f64, right: f64) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (false, false) => left.total_cmp(&right),
        (left, right) => left.cmp(&right),
    }
}

/// Text as Java's `Integer.valueOf` and `Long.valueOf` read it.
fn integer<T: std::str::FromStr>(text: &str) -> Result<T, Failed> {
    text.parse().map_err(|_| Failed)
}

/// Text as Java's `Double.valueOf` reads it: blanks around it, and a type letter behind it.
fn double(text: &str) -> Result<f64, Failed> {
    let text = text.trim_matches(|c| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value = match unsigned {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let number = unsigned.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(unsigned);
            if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                return Err(Failed);
            }
            number.parse().map_err(|_| Failed)?
        }
    };
    Ok(if text.starts_with('-') { -value } else { value })
}
