//! SQL92 filter expressions over the properties of a message, RocketMQ's dialect: the parser.
//!
//! ```text
//! selector   := and ( OR and )*
//! and        := equality ( AND equality )*
//! equality   := comparison ( ('=' | '<>') comparison | IS [NOT] NULL )*
//! comparison := unary ( ('>' | '>=' | '<' | '<=') unary
//!             | [NOT] BETWEEN unary AND unary
//!             | [NOT] IN '(' string (',' string)* ')' )*
//! unary      := ('+' | '-' | NOT) unary | literal | name | '(' selector ')'
//! ```
//!
//! What follows a complete expression and cannot continue it is ignored, as RocketMQ does. There is
//! no LIKE and no arithmetic. `sql_eval` has the meaning of an expression.

use super::sql_eval::order;
use super::sql_token::{Kind, Tokens};
use crate::base::limits::{SQL_BYTES_MAX, SQL_DEPTH_MAX, SQL_OPERATIONS_MAX, SQL_VARIABLES_MAX};

/// An expression, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Expression {
    pub(super) root: Node,
    /// Names of properties; `Node::Variable` holds an index.
    pub(super) variables: Vec<String>,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The character where it is wrong, from 1.
    pub at: usize,
    pub what: String,
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at character {}", self.what, self.at)
    }
}

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(Constant),
    Variable(usize),
    /// The number with the other sign.
    Negate(Box<Node>),
    Not(Box<Node>),
    /// A property where a condition stands: never true.
    Cast(usize),
    And(Vec<Node>),
    Or(Vec<Node>),
    /// `IS NULL` is an `Equal` with the constant null.
    Equal(Box<(Node, Node)>),
    Compare(Order, Box<(Node, Node)>),
    /// The words are sorted.
    In {
        variable: usize,
        words: Vec<String>,
        not: bool,
    },
}

/// A literal.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(String),
}

/// A comparison that asks which is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Expression {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Expression, Invalid> {
        if text.len() > SQL_BYTES_MAX {
            let what = format!("an expression is at most {SQL_BYTES_MAX} bytes long, not");
            return Err(Invalid { at: SQL_BYTES_MAX, what });
        }
        let tokens = Tokens::new(text);
        let mut parser = Parser { tokens, variables: Vec::new(), depth: 0, operations: 0 };
        let root = parser.either()?;
        let root = parser.condition(root)?;
        Ok(Expression { root, variables: parser.variables })
    }
}

type Parsed = Result<Node, Invalid>;

struct Parser<'a> {
    tokens: Tokens<'a>,
    variables: Vec<String>,
    /// How many signs, NOTs and parentheses are open.
    depth: usize,
    operations: usize,
}

impl Parser<'_> {
    fn either(&mut self) -> Parsed {
        let first = self.both()?;
        if self.tokens.peek()? != Kind::Or {
            return Ok(first);
        }
        let mut parts = vec![self.condition(first)?];
        while self.takes(Kind::Or)? {
            let next = self.both()?;
            parts.push(self.condition(next)?);
        }
        Ok(Node::Or(parts))
    }

    fn both(&mut self) -> Parsed {
        let first = self.equality()?;
        if self.tokens.peek()? != Kind::And {
            return Ok(first);
        }
        let mut parts = vec![self.condition(first)?];
        while self.takes(Kind::And)? {
            let next = self.equality()?;
            parts.push(self.condition(next)?);
        }
        Ok(Node::And(parts))
    }

    fn equality(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        loop {
            match self.tokens.peek()? {
                kind @ (Kind::Equal | Kind::NotEqual) => {
                    self.operation()?;
                    let right = self.comparison()?;
                    self.check_equal(&left, &right)?;
                    let equal = Node::Equal(Box::new((left, right)));
                    left = if kind == Kind::Equal { equal } else { Node::Not(Box::new(equal)) };
                }
                Kind::Is => {
                    self.operation()?;
                    let not = self.takes(Kind::Not)?;
                    self.expect(Kind::Null)?;
                    let null = Node::Constant(Constant::Null);
                    let equal = Node::Equal(Box::new((left, null)));
                    left = if not { Node::Not(Box::new(equal)) } else { equal };
                }
                _ => return Ok(left),
            }
        }
    }

    fn comparison(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let order = match self.tokens.peek()? {
                Kind::Greater => Order::Greater,
                Kind::GreaterOrEqual => Order::GreaterOrEqual,
                Kind::Less => Order::Less,
                Kind::LessOrEqual => Order::LessOrEqual,
                Kind::Between | Kind::In | Kind::Not => {
                    left = self.range_or_list(left)?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.operation()?;
            let right = self.unary()?;
            left = self.compare(order, left, right)?;
        }
    }

    /// `[NOT] BETWEEN` and `[NOT] IN`.
    fn range_or_list(&mut self, left: Node) -> Parsed {
        let not = self.takes(Kind::Not)?;
        if self.takes(Kind::In)? {
            return self.list(left, not);
        }
        self.expect(Kind::Between)?;
        self.count_operation()?;
        let low = self.unary()?;
        self.expect(Kind::And)?;
        let high = self.unary()?;
        if not {
            let below = self.compare(Order::Less, left.clone(), low)?;
            let above = self.compare(Order::Greater, left, high)?;
            return Ok(Node::Or(vec![below, above]));
        }
        if let (Node::Constant(low), Node::Constant(high)) = (&low, &high)
            && order(&low.value(), &high.value()).is_ok_and(std::cmp::Ordering::is_gt)
        {
            return Err(self.tokens.wrong("the first bound is greater than the second"));
        }
        let from = self.compare(Order::GreaterOrEqual, left.clone(), low)?;
        let to = self.compare(Order::LessOrEqual, left, high)?;
        Ok(Node::And(vec![from, to]))
    }

    fn list(&mut self, left: Node, not: bool) -> Parsed {
        self.count_operation()?;
        let Node::Variable(variable) = left else {
            return Err(self.tokens.wrong("IN asks about a property and nothing else"));
        };
        self.expect(Kind::Open)?;
        let mut words = vec![self.text()?];
        while self.takes(Kind::Comma)? {
            words.push(self.text()?);
        }
        self.expect(Kind::Close)?;
        words.sort_unstable();
        Ok(Node::In { variable, words, not })
    }

    fn unary(&mut self) -> Parsed {
        let kind = self.tokens.peek()?;
        if !matches!(kind, Kind::Plus | Kind::Minus | Kind::Not | Kind::Open) {
            return self.primary();
        }
        self.operation()?;
        self.depth += 1;
        if self.depth > SQL_DEPTH_MAX {
            return Err(self.tokens.wrong(&format!("nested deeper than {SQL_DEPTH_MAX} levels")));
        }
        let node = match kind {
            Kind::Open => {
                let inner = self.either()?;
                self.expect(Kind::Close)?;
                inner
            }
            Kind::Plus => self.unary()?,
            Kind::Minus => Node::Negate(Box::new(self.unary()?)),
            _ => {
                let inner = self.unary()?;
                Node::Not(Box::new(self.condition(inner)?))
            }
        };
        self.depth -= 1;
        Ok(node)
    }

    fn primary(&mut self) -> Parsed {
        let constant = match self.tokens.peek()? {
            Kind::Text => Constant::Text(self.text()?),
            Kind::Integer => self.integer()?,
            Kind::Float => self.float()?,
            Kind::Name => return self.variable(),
            kind => {
                self.tokens.next()?;
                match kind {
                    Kind::True => Constant::Bool(true),
                    Kind::False => Constant::Bool(false),
                    Kind::Null => Constant::Null,
                    _ => return Err(self.tokens.unexpected("a value")),
                }
            }
        };
        Ok(Node::Constant(constant))
    }

    fn integer(&mut self) -> Result<Constant, Invalid> {
        let digits = self.tokens.next()?.trim_end_matches(['l', 'L']);
        let Ok(value) = digits.parse::<i64>() else {
            return Err(self.tokens.wrong("an integer that 64 bits do not hold"));
        };
        Ok(i32::try_from(value).map_or(Constant::Long(value), Constant::Int))
    }

    fn float(&mut self) -> Result<Constant, Invalid> {
        match self.tokens.next()?.parse::<f64>() {
            Ok(value) if value.is_finite() && value > 0.0 => Ok(Constant::Double(value)),
            _ => Err(self.tokens.wrong("a decimal number that is too small or too great")),
        }
    }

    /// A string literal without its quotes.
    fn text(&mut self) -> Result<String, Invalid> {
        self.expect(Kind::Text)?;
        let quoted = self.tokens.last();
        Ok(quoted[1..quoted.len() - 1].replace("''", "'"))
    }

    fn variable(&mut self) -> Parsed {
        let name = self.tokens.next()?;
        let known = self.variables.iter().position(|known| known == name);
        if let Some(index) = known {
            return Ok(Node::Variable(index));
        }
        if self.variables.len() == SQL_VARIABLES_MAX {
            let what = format!("more than {SQL_VARIABLES_MAX} different properties");
            return Err(self.tokens.wrong(&what));
        }
        self.variables.push(name.to_owned());
        Ok(Node::Variable(self.variables.len() - 1))
    }

    /// A part that must say true or false.
    fn condition(&self, node: Node) -> Parsed {
        match node {
            Node::Variable(index) => Ok(Node::Cast(index)),
            _ if is_condition(&node) => Ok(node),
            _ => Err(self.tokens.wrong("what stands before is neither true nor false")),
        }
    }

    fn check_equal(&self, left: &Node, right: &Node) -> Result<(), Invalid> {
        let is_null = |node: &Node| matches!(node, Node::Constant(Constant::Null));
        if is_null(left) || is_null(right) {
            return Err(self.tokens.wrong("nothing equals NULL: IS NULL asks for it"));
        }
        match (left, right) {
            (Node::Constant(Constant::Bool(_)), Node::Constant(Constant::Bool(_))) => Ok(()),
            (Node::Constant(Constant::Bool(_)), Node::Constant(_)) => {
                Err(self.tokens.wrong("TRUE or FALSE is compared with another kind of value"))
            }
            _ => Ok(()),
        }
    }

    fn compare(&self, order: Order, left: Node, right: Node) -> Parsed {
        for side in [&left, &right] {
            let is_number = |constant: &Constant| {
                matches!(constant, Constant::Int(_) | Constant::Long(_) | Constant::Double(_))
            };
            let has_order = match side {
                Node::Constant(constant) => is_number(constant),
                _ => !is_condition(side),
            };
            if !has_order {
                return Err(self.tokens.wrong("only numbers are greater or less"));
            }
        }
        Ok(Node::Compare(order, Box::new((left, right))))
    }

    /// Takes an operator.
    fn operation(&mut self) -> Result<(), Invalid> {
        self.tokens.next()?;
        self.count_operation()
    }

    fn count_operation(&mut self) -> Result<(), Invalid> {
        self.operations += 1;
        if self.operations > SQL_OPERATIONS_MAX {
            let what = format!("more than {SQL_OPERATIONS_MAX} operators");
            return Err(self.tokens.wrong(&what));
        }
        Ok(())
    }

    fn takes(&mut self, kind: Kind) -> Result<bool, Invalid> {
        let is_next = self.tokens.peek()? == kind;
        if is_next {
            self.tokens.next()?;
        }
        Ok(is_next)
    }

    fn expect(&mut self, kind: Kind) -> Result<(), Invalid> {
        let found = self.tokens.peek()?;
        self.tokens.next()?;
        if found == kind { Ok(()) } else { Err(self.tokens.unexpected(kind.words())) }
    }
}

fn is_condition(node: &Node) -> bool {
    match node {
        Node::Constant(constant) => matches!(constant, Constant::Bool(_) | Constant::Null),
        Node::Variable(_) | Node::Negate(_) => false,
        Node::Not(_)
        | Node::Cast(_)
        | Node::And(_)
        | Node::Or(_)
        | Node::Equal(_)
        | Node::Compare(..)
        | Node::In { .. } => true,
    }
}

#[cfg(test)]
mod tests;
