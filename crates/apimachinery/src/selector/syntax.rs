//! Reads the text of a label selector. The grammar, with what Kubernetes takes beside it (an empty value, an empty list,
//! commas without values between them), and its errors follow `labels.Parse`.
//!
//! ```text
//! selector    = [ requirement { "," requirement } ]
//! requirement = [ "!" ] key  |  key operator value  |  key ( "in" | "notin" ) "(" values ")"
//! ```

use super::label::{LabelSelectorError, Operator, Requirement, Spelling};
use crate::field_error::FieldError;
use crate::names;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(word) => word,
            Token::Symbol(symbol) => symbol,
            Token::End => "",
        }
    }
}

/// The longest first: `==` is not two `=`.
const SYMBOLS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

struct Parser<'a> {
    rest: &'a str,
}

/// Reads a whole selector.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, LabelSelectorError> {
    let mut parser = Parser { rest: text };
    let mut requirements = Vec::new();
    match parser.peek() {
        Token::End => return Ok(requirements),
        Token::Word(_) | Token::Symbol("!") => {}
        other => return Err(unexpected(other, "!, identifier, or 'end of string'")),
    }
    loop {
        let requirement =
            parser.requirement().map_err(|error| LabelSelectorError::Requirement(Box::new(error)))?;
        requirements.push(requirement);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => {}
            other => return Err(unexpected(other, "',' or 'end of string'")),
        }
        if !matches!(parser.peek(), Token::Word(_) | Token::Symbol("!")) {
            return Err(unexpected(parser.peek(), "identifier after ','"));
        }
    }
}

fn unexpected(found: Token<'_>, expected: &'static str) -> LabelSelectorError {
    LabelSelectorError::Unexpected { found: found.text().to_owned(), expected }
}

impl<'a> Parser<'a> {
    /// The next token, and the text behind it.
    fn scan(&self) -> (Token<'a>, &'a str) {
        let rest = self.rest.trim_start_matches(is_space);
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            return (Token::Symbol(symbol), &rest[symbol.len()..]);
        }
        let end = rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(rest.len());
        match rest.split_at(end) {
            ("", rest) => (Token::End, rest),
            (word, rest) => (Token::Word(word), rest),
        }
    }

    fn peek(&self) -> Token<'a> {
        self.scan().0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, rest) = self.scan();
        self.rest = rest;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, LabelSelectorError> {
        let is_negated = self.peek() == Token::Symbol("!");
        if is_negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(word) => word,
            other => return Err(unexpected(other, "identifier")),
        };
        // Kubernetes has no path for the whole text, and prints that.
        names::label_key(key)
            .map_err(|rule| LabelSelectorError::Broken(Box::new(FieldError::invalid("<nil>", key, rule))))?;
        if is_negated {
            return Requirement::new(key, Operator::DoesNotExist, [""; 0]);
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Requirement::new(key, Operator::Exists, [""; 0]);
        }
        let operator = match self.next() {
            Token::Word("in") => Operator::In(Spelling::Set),
            Token::Word("notin") => Operator::NotIn(Spelling::Set),
            Token::Symbol("=") => Operator::In(Spelling::Equals),
            Token::Symbol("==") => Operator::In(Spelling::DoubleEquals),
            Token::Symbol("!=") => Operator::NotIn(Spelling::Equals),
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => return Err(unexpected(other, "in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In(Spelling::Set) | Operator::NotIn(Spelling::Set) => self.list()?,
            _ => vec![self.value()?],
        };
        Requirement::new(key, operator, values)
    }

    /// One value; nothing is the empty value.
    fn value(&mut self) -> Result<&'a str, LabelSelectorError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok("");
        }
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(unexpected(other, "identifier")),
        }
    }

    /// Values in brackets; where there is none between commas, the empty value is meant.
    fn list(&mut self) -> Result<Vec<&'a str>, LabelSelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(LabelSelectorError::NoList { found: other.text().to_owned() }),
        }
        if !matches!(self.peek(), Token::Word(_) | Token::Symbol("," | ")")) {
            return Err(unexpected(self.peek(), "',', ')' or identifier"));
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                Token::Word(word) => {
                    self.next();
                    values.push(word);
                }
                Token::Symbol("," | ")") => values.push(""),
                other => return Err(unexpected(other, "',', or identifier")),
            }
            match self.next() {
                Token::Symbol(")") => return Ok(values),
                Token::Symbol(",") => {}
                other => return Err(unexpected(other, "',' or ')'")),
            }
        }
    }
}
